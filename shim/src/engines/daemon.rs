//! A running daemon of an engine: the process, and what it was started with.
//!
//! A container can have processes of any name, so a daemon is one of the host's: root's, in the pid and user namespaces
//! of pid 1, with the root directory of pid 1. Its mount namespace may be another (`KUBENSMNT` of CRI-O).

use super::{EngineName, command_line};
use porthole_registry::bounded;
use porthole_registry::host::Host;
use porthole_registry::namespace::NamespaceKind;
use porthole_registry::process::Process;
use porthole_registry::views::View;
use rustix::fs::{Mode, OFlags, fstat, openat, readlinkat, stat};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A running daemon. All fields were read while it ran.
#[derive(Clone, Debug)]
pub(crate) struct Daemon {
    pub(crate) engine: EngineName,
    process: Arc<Process>,
    /// Its command line, `argv[0]` included.
    line: Vec<String>,
    environment: Vec<u8>,
    /// The file that it executes, as it names it; none where that may not be read.
    executable: Option<PathBuf>,
    directory: PathBuf,
    /// The view of its mount namespace, where that is not pid 1's.
    view: Option<Arc<View>>,
    unit: Option<String>,
}

/// The daemons of all engines, in the order of their start.
pub(crate) fn all() -> Vec<Daemon> {
    let Ok(host) = Host::open() else { return Vec::new() };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut found: Vec<_> = pids.filter_map(|pid| Daemon::of(pid, &host)).collect();
    found.sort_by_key(|daemon| (daemon.process.start(), daemon.pid()));
    // An engine can execute itself again for side work; the copy has the same command line and a later start.
    let mut daemons: Vec<Daemon> = Vec::new();
    for daemon in found {
        let parent = daemon.parent();
        let is_copy = |known: &Daemon| known.line == daemon.line && Some(known.pid()) == parent;
        if !daemons.iter().any(is_copy) {
            daemons.push(daemon);
        }
    }
    daemons
}

/// The daemons of one engine.
pub(crate) fn of(engine: EngineName) -> Vec<Daemon> {
    all().into_iter().filter(|daemon| daemon.engine == engine).collect()
}

impl Daemon {
    /// The daemon of process `pid`, if that is one of the host's.
    fn of(pid: i32, host: &Host) -> Option<Self> {
        let comm = bounded::text(format!("/proc/{pid}/comm"), bounded::FACTS).ok()?;
        let words = bounded::file(format!("/proc/{pid}/cmdline"), bounded::LISTS).ok()?;
        let called = words.split(|&byte| byte == 0).next().unwrap_or_default();
        let called = called.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        // A multi-call program is known by the name that it is called by.
        let named =
            |name: &EngineName| comm.trim_end() == name.daemon() || called == name.daemon().as_bytes();
        let engine = EngineName::ALL.into_iter().filter(|name| name.has_daemon()).find(named)?;
        let process = Process::open(pid).ok()?;
        if !is_hosts(&process, host) {
            return None;
        }
        Some(Self {
            engine,
            line: line(&process)?,
            environment: text(&process, "environ").unwrap_or_default(),
            executable: link(&process, "exe"),
            directory: link(&process, "cwd").unwrap_or_else(|| "/".into()),
            view: other_view(&process, host).map(Arc::new),
            unit: unit_of(&text(&process, "cgroup").unwrap_or_default()),
            process: Arc::new(process),
        })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// The process, held by descriptors.
    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// When it was started, rounded up.
    pub(crate) fn started(&self) -> Option<SystemTime> {
        // The start time is exact to a tick.
        self.process.started_at()?.checked_add(Duration::from_millis(20))
    }

    /// The words of its command line, its own name aside.
    pub(crate) fn words(&self) -> &[String] {
        self.line.get(1..).unwrap_or_default()
    }

    /// The value of an option. The last one counts.
    pub(crate) fn option(&self, names: &[&str]) -> Option<&str> {
        command_line::values(self.words(), names).last()
    }

    /// The value of an option that is a path: a relative one is seen from its working directory.
    pub(crate) fn path_option(&self, names: &[&str]) -> Option<PathBuf> {
        self.option(names).filter(|path| !path.is_empty()).map(|path| self.directory.join(path))
    }

    /// A variable of the environment that it was started with.
    pub(crate) fn variable(&self, name: &str) -> Option<&OsStr> {
        let mut variables = self.environment.split(|&byte| byte == 0);
        variables
            .find_map(|variable| variable.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
            .map(OsStr::from_bytes)
    }

    /// The main configuration that it reads.
    pub(crate) fn config(&self) -> PathBuf {
        let names: &[&str] = match self.engine {
            EngineName::Docker => &["--config-file"],
            // containerd takes every option with one dash or two.
            _ => &["--config", "-config", "-c"],
        };
        let said = match self.engine {
            EngineName::CriO => self.path_setting(names, "CONTAINER_CONFIG"),
            _ => self.path_option(names),
        };
        said.unwrap_or_else(|| self.engine.default_config().into())
    }

    /// Whether its main configuration is the file at `path`, under any name.
    pub(crate) fn reads(&self, path: &Path) -> bool {
        let own = self.config();
        own == path
            || matches!((stat(self.place(&own)), stat(path)), (Ok(a), Ok(b)) if (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
    }

    /// Whether it has a mount namespace of its own, and so may see other files than pid 1.
    pub(crate) fn has_own_mounts(&self) -> bool {
        self.view.is_some()
    }

    /// The path by which this process reaches a path of the daemon's mount namespace.
    pub(crate) fn place(&self, path: &Path) -> PathBuf {
        place(self.view.as_deref(), self.pid(), path)
    }

    /// The value of an option, else that of a variable of its environment. An empty value is a value.
    pub(crate) fn setting(&self, names: &[&str], variable: &str) -> Option<String> {
        let of_variable = || Some(self.variable(variable)?.to_string_lossy().into_owned());
        self.option(names).map(str::to_owned).or_else(of_variable)
    }

    /// The same for a setting that is a path. A relative one starts at its working directory.
    pub(crate) fn path_setting(&self, names: &[&str], variable: &str) -> Option<PathBuf> {
        self.setting(names, variable).filter(|path| !path.is_empty()).map(|path| self.directory.join(path))
    }

    /// The values of an option that may be given several times, each a list with commas; else those of the variable.
    pub(crate) fn list_setting(&self, names: &[&str], variable: &str) -> Option<Vec<String>> {
        let mut said: Vec<_> = command_line::values(self.words(), names).map(str::to_owned).collect();
        if said.is_empty() {
            said.push(self.variable(variable)?.to_string_lossy().into_owned());
        }
        let items = said.iter().flat_map(|list| list.split(',')).map(str::trim);
        Some(items.filter(|item| !item.is_empty()).map(str::to_owned).collect())
    }

    /// The path at which it finds a program: as given, or in the directories of its own `PATH`.
    pub(crate) fn finds(&self, program: &str) -> Option<PathBuf> {
        let is_program = |path: &PathBuf| {
            let meta = fs::metadata(self.place(path));
            meta.is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        };
        if program.contains('/') {
            return Some(self.directory.join(program)).filter(is_program);
        }
        let path = self.variable("PATH")?;
        let mut places = std::env::split_paths(path).map(|dir| self.directory.join(dir).join(program));
        places.find(is_program)
    }

    /// Its own program, under the engine's name where it has one: a multi-call program looks at its name.
    pub(crate) fn program(&self) -> Option<PathBuf> {
        let named = |path: &PathBuf| path.file_name().is_some_and(|name| name == self.engine.daemon());
        // After an upgrade the file that runs has no name any more, and the new file has its place.
        let strip = |path: &PathBuf| {
            let bytes = path.as_os_str().as_bytes();
            PathBuf::from(OsStr::from_bytes(bytes.strip_suffix(b" (deleted)").unwrap_or(bytes)))
        };
        let executable = self.executable.as_ref().map(strip);
        let called = || self.line.iter().take(2).find(|word| named(&PathBuf::from(word)));
        executable.clone().filter(named).or_else(|| self.finds(called()?)).or(executable)
    }

    /// The systemd unit that it runs in: `k3s.service` of a containerd that k3s has started.
    pub(crate) fn unit(&self) -> Option<&str> {
        self.unit.as_deref()
    }

    /// Its command line.
    pub(crate) fn line(&self) -> String {
        let line = self.line.join(" ");
        porthole_registry::text::clean(&line).unwrap_or_default()
    }

    pub(crate) fn parent(&self) -> Option<i32> {
        parent_in(&self.process.read("status").ok()?)
    }

    /// Whether a process is among its ancestors.
    pub(crate) fn has_ancestor(&self, pid: i32) -> bool {
        self.lineage().any(|ancestor| ancestor == pid)
    }

    /// The names of its ancestors, the nearest first, without pid 1.
    pub(crate) fn ancestors(&self) -> Vec<String> {
        let name = |pid| bounded::text(format!("/proc/{pid}/comm"), bounded::FACTS).ok();
        let is_plain = |name: &String| !name.is_empty() && !name.contains('/');
        let names = self.lineage().filter_map(name).map(|name| name.trim_end().to_owned());
        names.filter(is_plain).collect()
    }

    fn lineage(&self) -> impl Iterator<Item = i32> {
        let above = |pid: &i32| {
            let status = bounded::file(format!("/proc/{pid}/status"), bounded::LISTS).ok()?;
            parent_in(&status)
        };
        // A pid that is reused meanwhile can make a circle. This ends it.
        std::iter::successors(self.parent(), above).take(64).take_while(|pid| *pid > 1)
    }
}

/// The parent that a `/proc/PID/status` names.
fn parent_in(status: &[u8]) -> Option<i32> {
    let status = String::from_utf8_lossy(status);
    status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
}

/// The view of a process, where its mount namespace is not pid 1's.
pub(super) fn other_view(process: &Process, host: &Host) -> Option<View> {
    let is_other = matches!(
        (process.namespace(NamespaceKind::Mnt), host.namespace(NamespaceKind::Mnt)),
        (Ok(own), Some(host)) if own != host
    );
    is_other.then(|| View::of(process).ok()).flatten()
}

/// The path by which this process reaches a path of another process. It is the same path where both find the same file.
pub(super) fn place(view: Option<&View>, pid: i32, path: &Path) -> PathBuf {
    let Some(view) = view else { return path.to_owned() };
    let inside = view.open(path, OFlags::PATH).and_then(fstat);
    match (inside, stat(path)) {
        (Ok(a), Ok(b)) if (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino) => path.to_owned(),
        _ => {
            let path = view.resolve(path);
            Path::new(&format!("/proc/{pid}/root")).join(path.strip_prefix("/").unwrap_or(&path))
        }
    }
}

/// The command line of a process, `argv[0]` included.
pub(super) fn line(process: &Process) -> Option<Vec<String>> {
    let words = text(process, "cmdline")?;
    let line = words.strip_suffix(b"\0").unwrap_or(&words).split(|&byte| byte == 0);
    Some(line.map(|word| String::from_utf8_lossy(word).into_owned()).collect())
}

/// A file of a process's `/proc` directory.
fn text(process: &Process, name: &str) -> Option<Vec<u8>> {
    let file = openat(process.dir(), name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    bounded::read(&file, bounded::LISTS).ok()
}

/// A link of a process's `/proc` directory.
pub(super) fn link(process: &Process, name: &str) -> Option<PathBuf> {
    let target = readlinkat(process.dir(), name, Vec::new()).ok()?.into_bytes();
    Some(PathBuf::from(std::ffi::OsString::from_vec(target)))
}

/// Whether the process is one of the host's, with its root directory. What may not be looked at counts as the same: only
/// root can tell.
pub(super) fn is_hosts(process: &Process, host: &Host) -> bool {
    is_in_hosts_namespaces(process, host) && has_hosts_root(process)
}

/// Whether it is root's, in the host's pid and user namespaces.
pub(super) fn is_in_hosts_namespaces(process: &Process, host: &Host) -> bool {
    let is_same = |kind: NamespaceKind| match (process.namespace(kind), host.namespace(kind)) {
        (Ok(own), Some(host)) => own == host,
        _ => true,
    };
    let is_roots = fstat(process.dir()).is_ok_and(|stat| stat.st_uid == 0);
    is_roots && is_same(NamespaceKind::Pid) && is_same(NamespaceKind::User) && process.is_alive()
}

pub(super) fn has_hosts_root(process: &Process) -> bool {
    let root = |path: &str| stat(path).ok().map(|stat| (stat.st_dev, stat.st_ino));
    match (root(&format!("/proc/{}/root", process.pid())), root("/proc/1/root")) {
        (Some(own), Some(host)) => own == host,
        _ => true,
    }
}

/// The innermost service of a process's cgroup: systemd.service(5) names the cgroup after the unit.
fn unit_of(cgroup: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(cgroup);
    let paths = text.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let controllers = fields.next()?;
        fields.next().filter(|_| controllers.is_empty() || controllers == "name=systemd")
    });
    // The services of a user's own manager are not the system's.
    let paths = paths.filter(|path| !path.split('/').any(|name| name == "user.slice"));
    let service = |path: &str| path.rsplit('/').find(|name| name.ends_with(".service")).map(str::to_owned);
    paths.filter_map(service).next()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn daemon(engine: EngineName, line: &[&str], environment: &str) -> Daemon {
        let process = Process::open(i32::try_from(std::process::id()).unwrap()).unwrap();
        Daemon {
            engine,
            process: Arc::new(process),
            line: line.iter().map(|word| (*word).to_owned()).collect(),
            environment: environment.replace(' ', "\0").into_bytes(),
            executable: Some("/opt/k3s/bin/k3s".into()),
            directory: "/srv".into(),
            view: None,
            unit: None,
        }
    }

    #[test]
    fn what_a_daemon_was_told_beats_what_is_usual() {
        let engine = EngineName::Containerd;
        assert_eq!(daemon(engine, &["containerd"], "").config(), Path::new("/etc/containerd/config.toml"));
        let told = daemon(engine, &["containerd", "-c", "/a", "--config=b.toml", "--state", "/run/k0s"], "");
        assert_eq!(told.config(), Path::new("/srv/b.toml"));
        assert_eq!(told.path_option(&["--state"]), Some("/run/k0s".into()));
        assert_eq!(told.path_option(&["--root"]), None);
        let crio = daemon(EngineName::CriO, &["crio"], "A=b CONTAINER_CONFIG=/srv/crio.conf");
        assert_eq!(crio.config(), Path::new("/srv/crio.conf"));
        let docker = daemon(EngineName::Docker, &["dockerd", "--config-file=/d.json"], "");
        assert_eq!(docker.config(), Path::new("/d.json"));
    }

    #[test]
    fn a_program_is_found_where_the_daemon_itself_would_find_it() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("first"), dir.path().join("second"));
        for (dir, mode) in [(&first, 0o644), (&second, 0o755)] {
            fs::create_dir(dir).unwrap();
            fs::write(dir.join("runc"), "").unwrap();
            fs::set_permissions(dir.join("runc"), fs::Permissions::from_mode(mode)).unwrap();
            fs::copy(dir.join("runc"), dir.join("containerd")).unwrap();
        }
        let path = format!("PATH={}:{}", first.display(), second.display());
        let found = daemon(EngineName::Containerd, &["containerd", "-c", "/x"], &path);
        assert_eq!(found.finds("runc"), Some(second.join("runc")));
        assert_eq!(found.finds("crun"), None);
        assert_eq!(found.program(), Some(second.join("containerd")));
        // Without a name of its own it is what it executes.
        let other = daemon(EngineName::Containerd, &["x"], "");
        assert_eq!(other.program(), Some("/opt/k3s/bin/k3s".into()));
    }

    #[test]
    fn the_unit_is_that_of_the_process_that_started_the_daemon() {
        assert_eq!(unit_of(b"0::/system.slice/k3s.service\n").as_deref(), Some("k3s.service"));
        let v1 = b"5:memory:/x.service\n1:name=systemd:/system.slice/containerd.service/init\n0::/\n";
        assert_eq!(unit_of(v1).as_deref(), Some("containerd.service"));
        assert_eq!(unit_of(b"0::/user.slice/session-1.scope\n"), None);
    }

    #[test]
    fn this_process_is_no_daemon_of_an_engine() {
        let host = Host::open().unwrap();
        assert!(Daemon::of(i32::try_from(std::process::id()).unwrap(), &host).is_none());
    }
}
