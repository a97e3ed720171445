//! Everything an exec will do, as data: computed without changing anything, shown by `--explain`, applied by `apply`.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use caps::Capability;
use rustix::process::geteuid;
use rustix::stdio::{stdin, stdout};
use rustix::termios::isatty;
use seccompiler::BpfProgram;
use serde::Serialize;

use super::Target;
use super::apart::Apart;
use super::args::Request;
use super::bounds::Bounds;
use super::capabilities::{Base, Capabilities, Sets};
use super::command::{self, Command};
use super::environment::{self, Account, Environment};
use super::error::{ExecError, Step};
use super::ids::{IdMap, Ids};
use super::launcher;
use super::lsm::Context;
use super::namespaces::Joins;
use super::permission;
use super::places::{Directory, OpenedDirectory, open_place};
use super::profiles::Profile;
use super::seccomp::{Filter, Reach};
use super::shield::Shield;
use super::view::{Chosen, Question, View};
use crate::policy::{Invoker, Verdict};
use porthole_registry::bounded;
use porthole_registry::hidden::Hidden;
use porthole_registry::namespace::NamespaceKind;
use porthole_registry::text;

/// Who asks, read once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller {
    /// Effective uid.
    pub(crate) uid: u32,
    /// The environment.
    pub(crate) variables: Vec<(OsString, OsString)>,
    /// Whether stdin and stdout are terminals.
    pub(crate) interactive: bool,
    /// Permitted capabilities.
    pub(crate) available: Capabilities,
    /// Who is behind it.
    pub(crate) invoker: Invoker,
    /// What says whether they may.
    pub(crate) policy: PathBuf,
}

impl Caller {
    /// From this process.
    pub(crate) fn read(policy: &Path) -> Result<Self, ExecError> {
        let variables: Vec<_> = std::env::vars_os().collect();
        let invoker = Invoker::read(&variables)
            .map_err(|what| Step::Policy.refused(what, "it has to be run through sudo, or as root"))?;
        Ok(Self {
            uid: geteuid().as_raw(),
            invoker,
            policy: policy.to_owned(),
            variables,
            interactive: isatty(stdin()) && isatty(stdout()),
            available: Capabilities::permitted()?,
        })
    }

    /// A variable of the caller's environment.
    pub(crate) fn variable(&self, name: &str) -> Option<&OsStr> {
        self.variables.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_os_str())
    }
}

/// The whole of it.
#[derive(Debug, Serialize)]
pub(crate) struct Plan {
    /// Whose namespaces.
    pub(crate) target: String,
    /// Whether it may be done, and why.
    pub(crate) policy: Verdict,
    /// Namespaces, in the order of joining.
    pub(crate) namespaces: Joins,
    /// Mounts.
    pub(crate) view: View,
    /// `-r`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) root: Option<PathBuf>,
    /// Where it starts.
    pub(crate) working_directory: Directory,
    /// Profile the capabilities are from.
    pub(crate) profile: Profile,
    /// The five capability sets.
    pub(crate) capabilities: Sets,
    /// Ids and groups.
    pub(crate) ids: Ids,
    /// cgroup and limits.
    pub(crate) bounds: Bounds,
    /// The host's processes.
    pub(crate) processes: Apart,
    /// Those that would trace it.
    pub(crate) shield: Shield,
    /// System calls.
    pub(crate) seccomp: Filter,
    /// The security module's context.
    pub(crate) context: Context,
    /// Always: no setuid file or file capability has any effect.
    pub(crate) no_new_privileges: bool,
    /// Names of its variables.
    pub(crate) environment: Environment,
    /// A terminal of its own.
    pub(crate) terminal: bool,
    /// A process of its own, which porthole waits for.
    pub(crate) fork: bool,
    /// Where what the terminal shows is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) record: Option<PathBuf>,
    /// A process of its own, which porthole leaves behind.
    pub(crate) detach: bool,
    /// Descriptors left open.
    pub(crate) descriptors: [u8; 3],
    /// Command and arguments.
    pub(crate) command: Vec<String>,
}

/// What goes with a plan and is not data: opened when the plan was made.
#[derive(Debug)]
pub(crate) struct Opened {
    /// `-r`
    pub(crate) root: Option<OwnedFd>,
    /// The directory to start in, or to show.
    pub(crate) directory: OpenedDirectory,
    /// Those that the command may write to.
    pub(crate) writable: Vec<OpenedDirectory>,
    /// Ready to execute.
    pub(crate) command: Command,
    /// Ready to be put in force.
    pub(crate) filter: Option<BpfProgram>,
}

impl Plan {
    /// Looks at target and caller; opens, reads, and changes nothing.
    pub(crate) fn resolve(
        request: &Request,
        target: &Target,
        caller: &Caller,
        hidden: &Hidden,
    ) -> Result<(Self, Opened), ExecError> {
        let namespaces = Joins::resolve(&request.namespaces, target)?;
        let maps = match (&target.process, namespaces.has(NamespaceKind::User)) {
            (Some(process), true) => Some((IdMap::of(process, "uid_map")?, IdMap::of(process, "gid_map")?)),
            _ => None,
        };
        let ids = Ids::resolve(request, caller, maps.as_ref())?;
        // In a user namespace that one joins, one has everything there is.
        let available = if maps.is_some() { every_capability() } else { caller.available };
        // The whole host's processes are not what the profile is for; whoever wants them names the capability.
        let tracing = Capabilities::of(Capability::CAP_SYS_PTRACE).minus(request.add);
        // Without a fork it stays outside of the pid namespace that its children are born in.
        let other_processes = request.fork && namespaces.has_other(NamespaceKind::Pid);
        let over_the_host = request.profile.base == Base::Trace && !other_processes;
        let drop = if over_the_host { request.drop.union(tracing) } else { request.drop };
        let capabilities = Sets::resolve(&request.profile, request.add, drop, available)?;
        let inside = namespaces.has(NamespaceKind::Mnt) || maps.is_some();
        let account =
            Account::resolve(&ids, caller, inside, || bounded::text("/etc/passwd", bounded::LISTS).ok());
        let environment = Environment::resolve(caller, &account, &target.label, &request.variables);
        let words = command::or_shell(&request.command, caller);
        let root =
            request.root.as_ref().map(|place| open_place(place, target, "root", Step::Root)).transpose()?;
        let past_permissions =
            ids.as_root() || !capabilities.permitted.disjoint(Capabilities::PAST_PERMISSIONS);
        let as_root = past_permissions || request.gid.is_some();
        // The command sees no directory that is closed to its user, and an error would tell what is there.
        let looks_as = Some(&caller.invoker).filter(|user| user.behind_sudo && !past_permissions);
        let programs = programs(&words, &environment);
        let question = Question {
            request,
            target,
            namespaces: &namespaces,
            has_root: root.is_some(),
            administers: capabilities.permitted.contains(Capabilities::of(Capability::CAP_NET_ADMIN)),
            as_root,
            ids: &ids,
            account: &account,
            programs: &programs,
            hidden,
            looks_as,
        };
        let Chosen { view, working_directory, directory, writable } = question.choose()?;
        let base = request.profile.base;
        let other_sockets = namespaces.has_other(NamespaceKind::Net);
        let processes = Apart::resolve(base, other_processes, other_sockets, &capabilities);
        let reach = Reach {
            ipc: namespaces.has_other(NamespaceKind::Ipc),
            unix: processes.leaves_unix_sockets(base, other_sockets),
        };
        let mut plan = Self {
            target: target.label.clone(),
            policy: Verdict::root(),
            root: root.as_ref().map(|root| root.path.clone()),
            working_directory,
            view,
            profile: request.profile.clone(),
            processes,
            shield: Shield::resolve(base, &namespaces, &capabilities),
            capabilities,
            ids,
            bounds: Bounds::resolve(request, target)?,
            seccomp: Filter::resolve(request.profile.base, capabilities.permitted, reach),
            context: Context::resolve(request, target)?,
            no_new_privileges: true,
            terminal: caller.interactive && request.fork && !request.detach,
            fork: request.fork,
            record: request.record.clone(),
            detach: request.detach,
            descriptors: [0, 1, 2],
            command: words.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
            namespaces,
            environment,
        };
        let mut command = Command::new(&words, &plan.environment)?;
        plan.policy = permission::ask(request, target, caller, &plan, &words, &writable)?;
        if let Some(program) = &plan.policy.program {
            command.pin(program)?;
        }
        if plan.launches() {
            launcher::can_be_found()?;
        }
        let filter = plan.seccomp.compile()?;
        Ok((plan, Opened { root: root.map(|root| root.fd), directory, writable, command, filter }))
    }

    /// Whether it is to be kept from anything.
    pub(crate) fn confined(&self) -> bool {
        self.profile.base != Base::Sysadmin
    }

    /// Whether the command is born in another pid namespace than porthole's.
    pub(crate) fn launches(&self) -> bool {
        self.fork && self.namespaces.has_other(NamespaceKind::Pid)
    }

    /// Whether what is inside could reach for porthole's own image.
    pub(crate) fn hostile(&self) -> bool {
        self.root.is_some() || self.namespaces.hostile()
    }
}

fn every_capability() -> Capabilities {
    caps::all().into_iter().map(Capabilities::of).fold(Capabilities::NONE, Capabilities::union)
}

/// Directories that the command may be in, where they really are. One that is missing is left out.
fn programs(words: &[OsString], environment: &Environment) -> Vec<PathBuf> {
    let named = words.first().map(Path::new).and_then(Path::parent).map(Path::to_owned);
    let all = std::env::split_paths(environment.path()).chain(named).filter(|path| path.is_absolute());
    // The usual ones link to places in /usr.
    let usual = |path: &Path| environment::usual_path().any(|usual| usual == path);
    all.filter_map(|path| if usual(&path) { Some(path) } else { std::fs::canonicalize(path).ok() }).collect()
}

/// A path that is one line, whatever it contains.
fn shown(path: &Path) -> String {
    text::line(&path.display().to_string())
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "target       {}", text::line(&self.target))?;
        writeln!(f, "policy       {}", self.policy)?;
        let joins: Vec<_> =
            self.namespaces.0.iter().map(|j| format!("{}:[{}]", j.namespace, j.inode)).collect();
        writeln!(f, "namespaces   {}", if joins.is_empty() { "none".to_owned() } else { joins.join(" ") })?;
        writeln!(f, "mounts       {}", self.view)?;
        if let Some(root) = &self.root {
            writeln!(f, "root         {}", shown(root))?;
        }
        match &self.working_directory {
            Directory::Root => writeln!(f, "directory    /")?,
            Directory::InView(path) | Directory::Opened(path) => {
                writeln!(f, "directory    {}", shown(path))?;
            }
        }
        writeln!(f, "capabilities {} (profile {})", self.capabilities.permitted, self.profile)?;
        writeln!(f, "             in all five sets; read back")?;
        writeln!(f, "ids          {}", self.ids)?;
        writeln!(f, "bounds       {}", self.bounds)?;
        writeln!(f, "processes    {}", self.processes)?;
        writeln!(f, "             {}", self.shield)?;
        writeln!(f, "system calls {}", self.seccomp)?;
        writeln!(f, "context      {}", self.context)?;
        writeln!(f, "privileges   no new ones; read back")?;
        writeln!(f, "environment  {}", self.environment)?;
        writeln!(f, "terminal     {}", if self.terminal { "one of its own" } else { "none" })?;
        if let Some(path) = &self.record {
            writeln!(f, "recording    {}", shown(path))?;
        }
        let process = match (self.detach, self.fork) {
            (true, _) => "a child; porthole does not wait",
            (false, true) => "a child; porthole waits",
            (false, false) => "porthole's own",
        };
        writeln!(f, "process      {process}")?;
        writeln!(f, "descriptors  0 1 2")?;
        writeln!(f, "command      {}", text::line(&self.command.join(" ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::dns::{Dns, Overlay, Source};
    use crate::exec::namespaces::Join;
    use crate::exec::view::{Contents, Hide, Root};

    fn plan() -> Plan {
        let caller = Caller { variables: vec![("TERM".into(), "xterm".into())], ..Caller::default() };
        let account = Account { home: "/".into(), user: "nobody".into() };
        let overlay = Overlay {
            name: "hosts".into(),
            source: Source::Process,
            place: None,
            content: b"secret".to_vec(),
        };
        let dns = Dns { overlays: vec![overlay], notes: vec!["/etc/hostname stays the host's".into()] };
        let trees = Contents::trees(Path::new("/srv"), &[], &[], |point| point == Path::new("/usr"));
        Plan {
            target: "shop/web-0".into(),
            policy: Verdict::root(),
            record: None,
            namespaces: Joins(vec![Join { namespace: NamespaceKind::Net, inode: 42 }]),
            view: View::Confined(Contents {
                root: Root::Host,
                trees,
                links: Vec::new(),
                hidden: vec![Hide { path: "/var/lib/kubelet".into(), directory: true }],
                sysfs: true,
                procfs: false,
                etc_merged: false,
                xtables_lock: false,
                dns,
            }),
            root: None,
            working_directory: Directory::InView("/srv".into()),
            profile: Base::General.into(),
            capabilities: Sets::exactly(Base::General.capabilities()),
            ids: Ids::Set { uid: 1000, gid: 100, host: None },
            bounds: Bounds::default(),
            shield: Shield::Capabilities,
            processes: Apart::On { signals: true, abstract_sockets: false },
            seccomp: Filter::Off,
            context: Context::None { reason: "no security module is active".into() },
            no_new_privileges: true,
            environment: Environment::resolve(&caller, &account, "shop/web-0", &[]),
            terminal: false,
            fork: true,
            detach: false,
            descriptors: [0, 1, 2],
            command: vec!["ip".into(), "addr".into()],
        }
    }

    #[test]
    fn a_plan_says_everything_that_will_happen() {
        assert_eq!(
            plan().to_string(),
            "target       shop/web-0\n\
             policy       allowed: root may do everything\n\
             namespaces   net:[42]\n\
             mounts       private; the host's, read-only and nosuid: / /usr; writable, nosuid, nodev: /tmp /srv; /run empty; /dev with null, zero, full, random, urandom, tty, pts; hidden: /var/lib/kubelet; /sys of the target\n             \
                          /etc/hosts from the target's file system\n             \
                          /etc/hostname stays the host's\n\
             directory    /srv\n\
             capabilities CAP_NET_RAW (profile general)\n             \
                          in all five sets; read back\n\
             ids          uid 1000, gid 100, no supplementary groups\n\
             bounds       no cgroup of its own: no limit on processes, memory or cpu\n             \
                          no core dumps, OOM score 500 or more\n\
             processes    apart from the host's: looks into none, signals none\n             \
                          not traced by others of its user: they lack its capabilities\n\
             system calls all: the profile has no filter\n\
             context      none: no security module is active\n\
             privileges   no new ones; read back\n\
             environment  HOME PATH PORTHOLE_TARGET TERM USER\n\
             terminal     none\n\
             process      a child; porthole waits\n\
             descriptors  0 1 2\n\
             command      ip addr\n"
        );
    }

    #[test]
    fn no_word_or_path_forges_a_line_of_the_plan() {
        let mut forged = Plan {
            command: vec!["true\npolicy       refused".into()],
            working_directory: Directory::InView("/srv/\u{1b}[2J\nids          uid 0".into()),
            ..plan()
        };
        let lines = |plan: &Plan| plan.to_string().lines().count();
        assert_eq!(lines(&forged), lines(&plan()));
        forged.target = "a\u{202e}b".into();
        assert!(forged.to_string().starts_with("target       a?b\n"));
    }

    #[test]
    fn a_plan_as_json_has_the_same_and_no_contents() {
        let json = serde_json::to_value(plan()).unwrap();
        assert_eq!(json["namespaces"][0]["inode"], 42);
        assert_eq!(json["view"]["mode"], "confined");
        assert_eq!(json["capabilities"]["ambient"][0], "CAP_NET_RAW");
        assert_eq!(json["ids"]["uid"], 1000);
        assert_eq!(json["no_new_privileges"], true);
        assert!(!json.to_string().contains("secret"));
    }

    #[test]
    fn what_lets_others_look_in_is_hostile() {
        let with = |namespace| {
            let mut plan = plan();
            plan.namespaces.0.push(Join { namespace, inode: 1 });
            plan.hostile()
        };
        assert!(!plan().hostile() && !with(NamespaceKind::Uts) && !with(NamespaceKind::Ipc));
        assert!(with(NamespaceKind::Mnt) && with(NamespaceKind::Pid) && with(NamespaceKind::User));
        assert!(Plan { root: Some("/".into()), ..plan() }.hostile());
    }
}
