//! Who may enter what, and with which rights: `policy.toml`, asked before anything is changed.

mod ask;
mod file;
mod language;
mod show;
mod who;

pub(crate) use ask::{Asked, Names, find_program};
pub(crate) use file::beside;
pub(crate) use language::{Need, PodName, Program};
pub(crate) use show::{PolicyArgs, run};
pub(crate) use who::{Accounts, Invoker};

use language::{Policy, Query, User};
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// What the policy says of one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    /// Whether it may be done.
    pub(crate) allowed: bool,
    /// Which rule decided, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rule: Option<usize>,
    /// The name of the target that was refused, where it has others or was called something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) identity: Option<String>,
    /// Where that is: FILE:LINE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<String>,
    /// Why: the rule's own words, or ours.
    pub(crate) reason: String,
    /// What has to be run, and nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) program: Option<PathBuf>,
    /// Of every rule that does not match, why not.
    #[serde(skip)]
    pub(crate) missed: Vec<Missed>,
}

/// A rule that does not match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Missed {
    /// From 1.
    pub(crate) rule: usize,
    /// In the file.
    pub(crate) line: usize,
    /// Why not.
    pub(crate) why: String,
}

impl Verdict {
    /// Without a rule.
    fn plain(allowed: bool, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { allowed, rule: None, identity: None, place: None, reason, program: None, missed: Vec::new() }
    }

    /// For root: it could do all of it anyway.
    pub(crate) fn root() -> Self {
        Self::plain(true, "root may do everything")
    }

    /// For the log: `rule 3`, or what else decided.
    pub(crate) fn by(&self) -> String {
        self.rule.map_or_else(|| self.reason.clone(), |rule| format!("rule {rule}"))
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.allowed { "allowed" } else { "refused" })?;
        if let Some(identity) = &self.identity {
            write!(f, " for {identity}")?;
        }
        if let (Some(rule), Some(place)) = (self.rule, &self.place) {
            write!(f, " by rule {rule} ({place})")?;
        }
        if self.reason.is_empty() { Ok(()) } else { write!(f, ": {}", self.reason) }
    }
}

/// Groups whose members are root to sudo on the distributions that have them: Debian's, Fedora's, older Ubuntu's.
const ADMINISTRATORS: [&str; 3] = ["sudo", "wheel", "admin"];

/// Asks the file at `path`: `rules` is what there is to ask where there are rules.
fn decide(path: &Path, user: &User, rules: impl FnOnce(&Policy) -> Verdict) -> Verdict {
    match file::load(path) {
        Ok(Some(policy)) => rules(&policy),
        // They could have done all of it by `sudo -i`.
        Ok(None) if ADMINISTRATORS.iter().any(|group| user.groups.contains(*group)) => Verdict::plain(
            true,
            "there is no policy, and the user's group may do everything by sudo".to_owned(),
        ),
        Ok(None) => Verdict::plain(
            false,
            format!(
                "there is no {}, and without one nobody but root and the groups {} may do anything",
                path.display(),
                ADMINISTRATORS.join(", ")
            ),
        ),
        Err(what) => Verdict::plain(false, format!("the policy is broken, so it allows nothing: {what}")),
    }
}

fn by_rules(path: &Path, policy: &Policy, query: &Query<'_>) -> Verdict {
    let real = |directory: &Path| std::fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
    let decision = policy.decide(query, &real);
    let line = |index: usize| policy.rules.get(index).map_or(0, |rule| rule.line);
    let missed = decision.missed.into_iter().enumerate();
    let missed = missed.map(|(index, why)| Missed { rule: index + 1, line: line(index), why }).collect();
    match decision.rule.and_then(|index| Some((index, policy.rules.get(index)?))) {
        Some((index, rule)) => Verdict {
            allowed: decision.allowed,
            rule: Some(index + 1),
            identity: None,
            place: Some(format!("{}:{}", path.display(), rule.line)),
            reason: rule.reason.clone().unwrap_or_default(),
            program: decision.program,
            missed,
        },
        None => {
            Verdict { missed, ..Verdict::plain(false, format!("no rule of {} allows it", path.display())) }
        }
    }
}

/// How messages name a user.
fn label(user: &User) -> String {
    user.name.clone().unwrap_or_else(|| format!("uid {}", user.uid))
}
