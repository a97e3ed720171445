//! The words of `porthole exec`, and the request they make. Nothing here looks at the system, but for the file of a site's
//! profile.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::bounds::Limits;
use super::capabilities::Capabilities;
use super::environment::Variable;
use super::error::{ExecError, Step};
use super::namespaces::Selection;
use super::profiles::Profile;
use porthole_registry::bounds;
use porthole_registry::namespace::NamespaceKind;

/// Options of `porthole exec`, after its target.
///
/// The namespace options mean what they mean to nsenter: given none, the network namespace is joined, with the host's
/// own programs; given any, exactly those.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ExecArgs {
    /// Join all namespaces of the target
    #[arg(short = 'a', long)]
    pub(crate) all: bool,
    /// Join the mount namespace: the command is then the target's own, not the host's
    #[arg(short = 'm', long)]
    pub(crate) mount: bool,
    /// Join the UTS namespace (host name)
    #[arg(short = 'u', long)]
    pub(crate) uts: bool,
    /// Join the IPC namespace
    #[arg(short = 'i', long)]
    pub(crate) ipc: bool,
    /// Join the network namespace (the default when no namespace is named)
    #[arg(short = 'n', long)]
    pub(crate) net: bool,
    /// Join the PID namespace
    #[arg(short = 'p', long)]
    pub(crate) pid: bool,
    /// Join the cgroup namespace
    #[arg(short = 'C', long)]
    pub(crate) cgroup_namespace: bool,
    /// Join the user namespace; uid and gid are then the target's, 0 unless -S and -G say otherwise
    #[arg(short = 'U', long)]
    pub(crate) user: bool,
    /// Join the time namespace
    #[arg(short = 'T', long)]
    pub(crate) time: bool,
    /// Change the root directory to DIR of the host (-r=DIR), or to the target's
    #[arg(short = 'r', long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) root: Option<OsString>,
    /// Change the working directory to DIR of the host (-w=DIR), or to the target's
    #[arg(short = 'w', long, value_name = "DIR", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) wd: Option<OsString>,
    /// Show DIR of the host in the command's view, and let it write there as far as permissions go (repeatable)
    #[arg(long, value_name = "DIR")]
    pub(crate) writable: Vec<PathBuf>,
    /// Run as UID [default: the user behind sudo, else 65534; 0 in a user namespace]
    #[arg(short = 'S', long, visible_alias = "setuid", value_name = "UID")]
    pub(crate) uid: Option<u32>,
    /// Run as GID [default: the group behind sudo, else 65534; 0 in a user namespace]
    #[arg(short = 'G', long, visible_alias = "setgid", value_name = "GID")]
    pub(crate) gid: Option<u32>,
    /// Leave uid, gid and supplementary groups as they are
    #[arg(long, conflicts_with_all = ["uid", "gid"])]
    pub(crate) preserve_credentials: bool,
    /// Execute the command without a process that waits for it (with -p only its children are in the namespace)
    #[arg(short = 'F', long, conflicts_with = "timeout")]
    pub(crate) no_fork: bool,
    /// Use the SELinux context of the target
    #[arg(short = 'Z', long)]
    pub(crate) follow_context: bool,
    /// Add a variable to the environment, with VALUE or the caller's (repeatable)
    #[arg(short = 'e', long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<Variable>,
    /// What the command may do: restricted, general, netadmin, trace, sysadmin or one of the site; `porthole profiles` tells
    /// about them [default: general]
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Add a capability to those of the profile: NET_ADMIN or CAP_NET_ADMIN (repeatable, or with commas)
    #[arg(long, value_name = "CAP", value_delimiter = ',')]
    pub(crate) cap_add: Vec<Capabilities>,
    /// Take a capability from those of the profile; ALL takes all (repeatable, or with commas)
    #[arg(long, value_name = "CAP", value_delimiter = ',')]
    pub(crate) cap_drop: Vec<Capabilities>,
    /// Write what the terminal shows into FILE, as an asciicast; FILE must not exist
    #[arg(long, value_name = "FILE", conflicts_with = "no_fork")]
    pub(crate) record: Option<PathBuf>,
    /// Whose cgroup the command is in: one of its own with limits, the target's, or the caller's (none) [default: own]
    #[arg(long, value_name = "own|target|none")]
    pub(crate) cgroup: Option<bounds::Cgroup>,
    /// End the command after this time (30s, 5m), by SIGTERM, and SIGKILL 5 seconds later; the status is then 124
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    /// Print the command's process id and leave it running without porthole
    #[arg(long, conflicts_with_all = ["no_fork", "timeout"])]
    pub(crate) detach: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) explain: bool,
    /// The command and its arguments [default: $SHELL, else /bin/sh]
    #[arg(trailing_var_arg = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

impl ExecArgs {
    /// Whether something is asked for that the containers of a pod do not share.
    pub(crate) fn wants_a_container(&self) -> bool {
        let own = self.all
            || self.mount
            || self.pid
            || self.cgroup_namespace
            || self.cgroup == Some(bounds::Cgroup::Target)
            || self.user
            || self.time
            || self.follow_context;
        let places = [&self.root, &self.wd];
        own || places.into_iter().flatten().any(|place| place.is_empty())
    }
}

/// A directory of the host, or the target's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// That of the target's process.
    Target,
    /// A directory in the caller's mount namespace.
    Host(PathBuf),
}

/// What was asked for, in types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// Namespaces to join.
    pub(crate) namespaces: Selection,
    /// `-r`
    pub(crate) root: Option<Place>,
    /// `-w`
    pub(crate) working_directory: Option<Place>,
    /// `--writable`
    pub(crate) writable: Vec<PathBuf>,
    /// `-S`
    pub(crate) uid: Option<u32>,
    /// `-G`
    pub(crate) gid: Option<u32>,
    /// `--preserve-credentials`
    pub(crate) preserve_credentials: bool,
    /// Without `-F`
    pub(crate) fork: bool,
    /// `-Z`
    pub(crate) follow_context: bool,
    /// `-e`
    pub(crate) variables: Vec<Variable>,
    /// `--profile`
    pub(crate) profile: Profile,
    /// `--cap-add`
    pub(crate) add: Capabilities,
    /// `--cap-drop`
    pub(crate) drop: Capabilities,
    /// `--record`
    pub(crate) record: Option<PathBuf>,
    /// The cgroup and its limits, as options and profile say; what they leave open is the configuration's.
    pub(crate) bounds: Limits,
    /// Those of the configuration.
    pub(crate) defaults: bounds::Bounds,
    /// `--timeout`, or the profile's.
    pub(crate) timeout: Option<Duration>,
    /// `--detach`
    pub(crate) detach: bool,
    /// `--cgroup target` or `none`
    pub(crate) asks_for_another_cgroup: bool,
    /// Command and arguments; empty: a shell.
    pub(crate) command: Vec<OsString>,
}

impl TryFrom<&ExecArgs> for Request {
    type Error = ExecError;

    fn try_from(args: &ExecArgs) -> Result<Self, ExecError> {
        let place = |dir: &Option<OsString>| match dir {
            None => None,
            Some(dir) if dir.is_empty() => Some(Place::Target),
            Some(dir) => Some(Place::Host(dir.into())),
        };
        if args.command.first().is_some_and(|c| c.is_empty()) {
            return Err(Step::Request.refused("the command is an empty word", "give a command after --"));
        }
        let profile = Profile::named(args.profile.as_deref())?;
        if profile.timeout.is_some() && (args.no_fork || args.detach) {
            return Err(Step::Request.refused(
                format!(
                    "profile {} ends commands after a time, so porthole has to wait for them",
                    profile.name
                ),
                "leave out -F and --detach, or choose another profile",
            ));
        }
        Ok(Self {
            namespaces: selection(args),
            root: place(&args.root),
            working_directory: place(&args.wd),
            writable: args.writable.clone(),
            uid: args.uid,
            gid: args.gid,
            preserve_credentials: args.preserve_credentials,
            fork: !args.no_fork,
            follow_context: args.follow_context,
            variables: args.env.clone(),
            add: args.cap_add.iter().copied().fold(Capabilities::NONE, Capabilities::union),
            drop: args.cap_drop.iter().copied().fold(Capabilities::NONE, Capabilities::union),
            record: args.record.clone(),
            bounds: Limits { cgroup: args.cgroup, ..profile.bounds },
            defaults: bounds::Bounds::default(),
            // Whoever names a time may shorten the profile's, and not prolong it.
            timeout: args.timeout.into_iter().chain(profile.timeout).min(),
            detach: args.detach,
            asks_for_another_cgroup: args.cgroup.is_some_and(|cgroup| cgroup != bounds::Cgroup::Own),
            profile,
            command: args.command.clone(),
        })
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration.is_zero() { Err("no time at all".to_owned()) } else { Ok(duration) }
}

fn selection(args: &ExecArgs) -> Selection {
    if args.all {
        return Selection::All;
    }
    let flags = [
        (args.net, NamespaceKind::Net),
        (args.mount, NamespaceKind::Mnt),
        (args.uts, NamespaceKind::Uts),
        (args.ipc, NamespaceKind::Ipc),
        (args.pid, NamespaceKind::Pid),
        (args.cgroup_namespace, NamespaceKind::Cgroup),
        (args.user, NamespaceKind::User),
        (args.time, NamespaceKind::Time),
    ];
    let named: BTreeSet<_> =
        flags.into_iter().filter_map(|(given, namespace)| given.then_some(namespace)).collect();
    // -r and -w alone are about the host's view of the target: nsenter joins nothing for them, and neither do we.
    let nothing_named = named.is_empty() && args.root.is_none();
    Selection::These(if nothing_named { BTreeSet::from([NamespaceKind::Net]) } else { named })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        target: String,
        #[command(flatten)]
        exec: ExecArgs,
    }

    fn request(words: &str) -> Request {
        let line = Line::try_parse_from(std::iter::once("exec").chain(words.split(' '))).unwrap();
        assert_eq!(line.target, "T");
        Request::try_from(&line.exec).unwrap()
    }

    fn these(namespaces: &[NamespaceKind]) -> Selection {
        Selection::These(namespaces.iter().copied().collect())
    }

    #[test]
    fn without_a_namespace_option_the_network_namespace_is_joined() {
        assert_eq!(request("T true").namespaces, these(&[NamespaceKind::Net]));
        assert_eq!(request("T -w=/tmp -- true").namespaces, these(&[NamespaceKind::Net]));
    }

    #[test]
    fn namespace_options_name_exactly_what_is_joined_as_with_nsenter() {
        assert_eq!(request("T -m -- true").namespaces, these(&[NamespaceKind::Mnt]));
        assert_eq!(request("T -mn true").namespaces, these(&[NamespaceKind::Mnt, NamespaceKind::Net]));
        assert_eq!(
            request("T --uts --ipc --pid --cgroup-namespace --user --time true").namespaces,
            these(&[
                NamespaceKind::Uts,
                NamespaceKind::Ipc,
                NamespaceKind::Pid,
                NamespaceKind::Cgroup,
                NamespaceKind::User,
                NamespaceKind::Time
            ])
        );
        assert_eq!(request("T -a true").namespaces, Selection::All);
    }

    #[test]
    fn options_after_the_command_are_the_commands_own() {
        let request = request("T ping -c 1 -n 127.0.0.1");
        assert_eq!(request.command, ["ping", "-c", "1", "-n", "127.0.0.1"]);
        assert_eq!(request.namespaces, these(&[NamespaceKind::Net]));
    }

    #[test]
    fn two_dashes_end_the_options_and_are_not_part_of_the_command() {
        assert_eq!(request("T -- ip -br addr").command, ["ip", "-br", "addr"]);
        assert_eq!(request("T ip -- addr").command, ["ip", "--", "addr"]);
    }

    #[test]
    fn root_and_wd_without_a_directory_are_the_targets() {
        let request = request("T -r -w=/srv -m true");
        assert_eq!(request.root, Some(Place::Target));
        assert_eq!(request.working_directory, Some(Place::Host("/srv".into())));
    }

    #[test]
    fn an_unknown_capability_is_a_usage_error() {
        assert!(Line::try_parse_from(["exec", "T", "--cap-add", "NET_RAWW", "true"]).is_err());
    }

    #[test]
    fn an_empty_command_word_is_refused() {
        let line = Line::try_parse_from(["exec", "T", "--", ""]).unwrap();
        assert!(Request::try_from(&line.exec).is_err());
    }
}
