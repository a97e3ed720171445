//! The language of `policy.toml`: rules in order, the first that matches decides, and where none does the answer is no.
//!
//! Nothing here looks at the system: rules come from a text, and what is asked for comes as a [`Query`].

mod command;
mod glob;
mod parse;

pub(crate) use command::{Command, Program};
pub(crate) use parse::{directory, parse};

use self::glob::Glob;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// What a request has in it that a rule has to allow by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Need {
    /// The target's mount, pid or user namespace, its root or its working directory.
    Enter,
    /// A root directory on the host.
    Chroot,
    /// A file system without the view that may be the host's: its mount namespace, or one of a process of no container.
    HostMount,
    /// Capabilities besides those of the profile.
    CapAdd,
    /// uid or gid 0 of the host, the ids of porthole itself, or a capability that makes them.
    Root,
    /// A uid or gid that is not the user's own.
    User,
    /// Variables, where the rule names commands: they can make any program run another.
    Env,
    /// A working directory on the host that the user is not in.
    Directory,
    /// The target's own security context.
    Context,
    /// Rights in a namespace of the host: its network, or its processes for one who may trace.
    Host,
    /// Another cgroup than one of its own with limits, or a life beyond porthole's.
    Unbound,
}

impl Need {
    /// All of them.
    pub(crate) const ALL: [Self; 11] = [
        Self::Enter,
        Self::Chroot,
        Self::HostMount,
        Self::CapAdd,
        Self::Root,
        Self::User,
        Self::Env,
        Self::Directory,
        Self::Context,
        Self::Host,
        Self::Unbound,
    ];

    /// As it is written in a rule.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Enter => "enter",
            Self::Chroot => "chroot",
            Self::HostMount => "host-mount",
            Self::CapAdd => "cap-add",
            Self::Root => "root",
            Self::User => "user",
            Self::Env => "env",
            Self::Directory => "directory",
            Self::Context => "context",
            Self::Host => "host",
            Self::Unbound => "unbound",
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Need {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|need| need.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            format!("no such thing to allow as {name:?}: expected one of {known}")
        })
    }
}

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    /// Where the uid has one.
    pub(crate) name: Option<String>,
    /// Numbers of the groups.
    pub(crate) gids: BTreeSet<u32>,
    /// Names of the groups.
    pub(crate) groups: BTreeSet<String>,
}

/// A name of a target; empty if no record describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodName {
    /// The Kubernetes namespace.
    pub(crate) namespace: Option<String>,
    /// The pod, or the container on engines without pods.
    pub(crate) pod: Option<String>,
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.namespace, &self.pod) {
            (Some(namespace), Some(pod)) => write!(f, "{namespace}/{pod}"),
            (None, Some(pod)) => f.write_str(pod),
            (_, None) => f.write_str("what is no pod"),
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Query<'a> {
    pub(crate) user: &'a User,
    /// One of the names of the target; `None` before the target is looked at.
    pub(crate) target: Option<&'a PodName>,
    pub(crate) profile: &'a str,
    /// The program and its arguments; `None` before they are looked for.
    pub(crate) command: Option<(&'a Program, &'a [String])>,
    /// Before the target is looked at: those that the options alone tell.
    pub(crate) needs: &'a BTreeSet<Need>,
    /// Directories of the host that root's ids may write to, without links.
    pub(crate) writable: &'a [PathBuf],
}

/// A user or group as a rule names it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Account {
    Everybody,
    Name(String),
    Id(u32),
}

/// A namespace as a rule names it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Namespace {
    /// `-`: the target has none.
    None,
    Like(Glob),
}

/// What a rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Effect {
    Allow,
    Deny,
}

/// One `[[rule]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Where it is in the file.
    pub(crate) line: usize,
    pub(crate) effect: Effect,
    pub(crate) reason: Option<String>,
    users: Vec<Account>,
    groups: Vec<Account>,
    namespaces: Vec<Namespace>,
    pods: Vec<Glob>,
    commands: Vec<Command>,
    profiles: Vec<Glob>,
    allow: BTreeSet<Need>,
    writable: Vec<PathBuf>,
}

/// The rules, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) rules: Vec<Rule>,
}

/// What the rules say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Which rule decided, from 0.
    pub(crate) rule: Option<usize>,
    pub(crate) allowed: bool,
    /// What has to be run, and nothing else: the rule names commands, and this is the one that it means.
    pub(crate) program: Option<PathBuf>,
    /// Of every rule before that one, why it does not match.
    pub(crate) missed: Vec<String>,
}

impl Policy {
    /// The first rule that matches decides. `real` resolves the links of a directory that a rule names.
    ///
    /// Where the target or the command is not known yet, this is what can be said for all of them: it refuses what no
    /// target and no command would make allowed.
    pub(crate) fn decide(&self, query: &Query<'_>, real: &dyn Fn(&Path) -> PathBuf) -> Decision {
        let mut missed = Vec::new();
        for (index, rule) in self.rules.iter().enumerate() {
            match rule.misses(query, real) {
                Some(why) => missed.push(why),
                None if rule.effect == Effect::Deny && rule.depends_on_the_unknown(query) => {
                    missed.push("it may be about another target or command".to_owned());
                }
                None => {
                    let allowed = rule.effect == Effect::Allow;
                    let program = match query.command {
                        Some((Program::OfHost(path), _)) if !rule.commands.is_empty() => Some(path.clone()),
                        _ => None,
                    };
                    return Decision { rule: Some(index), allowed, program, missed };
                }
            }
        }
        Decision { rule: None, allowed: false, program: None, missed }
    }
}

impl Rule {
    /// Whether it has a key that is about what the query does not say yet.
    fn depends_on_the_unknown(&self, query: &Query<'_>) -> bool {
        (query.target.is_none() && !(self.namespaces.is_empty() && self.pods.is_empty()))
            || (query.command.is_none() && !self.commands.is_empty())
    }

    /// Why it does not match, if it does not. A part that is still unknown is no reason.
    fn misses(&self, query: &Query<'_>, real: &dyn Fn(&Path) -> PathBuf) -> Option<String> {
        let Query { user, target, profile, command, .. } = query;
        let nobody_named = self.users.is_empty() && self.groups.is_empty();
        let is_user = |account: &Account| match account {
            Account::Everybody => true,
            Account::Name(name) => user.name.as_ref() == Some(name),
            Account::Id(uid) => user.uid == *uid,
        };
        let is_group = |account: &Account| match account {
            Account::Everybody => true,
            Account::Name(name) => user.groups.contains(name),
            Account::Id(gid) => user.gids.contains(gid),
        };
        if !nobody_named && !self.users.iter().any(is_user) && !self.groups.iter().any(is_group) {
            return Some("it is about other users".to_owned());
        }
        if let Some(target) = target
            && let Some(why) = self.misses_target(target)
        {
            return Some(why.to_owned());
        }
        if !self.profiles.is_empty() && !self.profiles.iter().any(|glob| glob.matches(profile)) {
            return Some(format!("it is not about profile {profile}"));
        }
        if let Some((program, arguments)) = command
            && !self.commands.is_empty()
            && !self.commands.iter().any(|command| command.matches(program, arguments, real))
        {
            // One reason for both: it does not tell whether a file is there that the user may not look for.
            return Some("it is about other commands, or there is no such program".to_owned());
        }
        // A rule for everything is one for each thing.
        if self.effect == Effect::Deny || *profile == EVERYTHING {
            return None;
        }
        self.lacks(query)
    }

    fn misses_target(&self, PodName { namespace, pod }: &PodName) -> Option<&'static str> {
        let is_namespace = |like: &Namespace| match (like, namespace) {
            (Namespace::None, None) => true,
            (Namespace::Like(glob), Some(namespace)) => glob.matches(namespace),
            _ => false,
        };
        if !self.namespaces.is_empty() && !self.namespaces.iter().any(is_namespace) {
            return Some("it is about other namespaces");
        }
        let is_pod = |glob: &Glob| pod.as_ref().is_some_and(|pod| glob.matches(pod));
        (!self.pods.is_empty() && !self.pods.iter().any(is_pod)).then_some("it is about other pods")
    }

    /// The words and directories of the query that it does not allow.
    fn lacks(&self, query: &Query<'_>) -> Option<String> {
        let missing: Vec<_> = query
            .needs
            .iter()
            .filter(|need| !self.allow.contains(need))
            // A user who may run any program gains nothing by variables.
            .filter(|need| **need != Need::Env || !self.commands.is_empty())
            .map(|need| need.name())
            .collect();
        if !missing.is_empty() {
            return Some(format!("it does not allow {}", missing.join(", ")));
        }
        let named = |directory: &Path| self.writable.iter().any(|named| directory.starts_with(named));
        let directory = query.writable.iter().find(|directory| !named(directory))?;
        Some(format!("it does not allow writing to {}", directory.display()))
    }
}

/// The profile that leaves nothing out.
const EVERYTHING: &str = "sysadmin";
/// What an allowing rule is about that names no profiles.
const HARMLESS: [&str; 2] = ["restricted", "general"];

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everybody => f.write_str("*"),
            Self::Name(name) => f.write_str(name),
            Self::Id(id) => write!(f, "{id}"),
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("-"),
            Self::Like(glob) => glob.fmt(f),
        }
    }
}

/// A rule as it was understood: lists as text, what was left out filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Shown {
    pub(crate) rule: usize,
    pub(crate) line: usize,
    pub(crate) effect: Effect,
    pub(crate) users: Vec<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) namespaces: Vec<String>,
    pub(crate) pods: Vec<String>,
    pub(crate) commands: Vec<String>,
    pub(crate) profiles: Vec<String>,
    pub(crate) allow: Vec<&'static str>,
    pub(crate) writable: Vec<PathBuf>,
    pub(crate) reason: Option<String>,
}

impl Policy {
    /// Every rule, as it was understood.
    pub(crate) fn show(&self) -> Vec<Shown> {
        fn texts<T: fmt::Display>(list: &[T]) -> Vec<String> {
            list.iter().map(ToString::to_string).collect()
        }
        let shown = |(index, rule): (usize, &Rule)| Shown {
            rule: index + 1,
            line: rule.line,
            effect: rule.effect,
            users: texts(&rule.users),
            groups: texts(&rule.groups),
            namespaces: texts(&rule.namespaces),
            pods: texts(&rule.pods),
            commands: texts(&rule.commands),
            profiles: texts(&rule.profiles),
            allow: rule.allow.iter().map(|need| need.name()).collect(),
            writable: rule.writable.clone(),
            reason: rule.reason.clone(),
        };
        self.rules.iter().enumerate().map(shown).collect()
    }
}

#[cfg(test)]
mod tests;
