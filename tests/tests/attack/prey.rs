//! A node with a hostile container, and what on that node is worth attacking.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use porthole_tests::process::wait_until;
use porthole_tests::tools::{self, Outcome, binary};
use porthole_tests::{Bundle, Container, Node, Runtime, node};
use rustix::mount::mount_bind;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};

/// In porthole's own environment.
pub const OWN: &str = "marker-of-portholes-environment";
/// In the record of the container.
pub const RECORD: &str = "marker-of-the-record";
/// A value of `-e`.
pub const VALUE: &str = "marker-of-a-value";

/// Every profile.
pub const PROFILES: [&str; 5] = ["restricted", "general", "netadmin", "trace", "sysadmin"];

/// The host's directories that are looked for through a process.
const PLACES: [&str; 11] = [
    "/etc",
    "/etc/cron.d",
    "/root",
    "/home",
    "/tmp",
    "/var",
    "/srv",
    "/opt",
    "/usr/bin",
    "/run",
    "/mnt/host",
];

/// Docker's default capabilities, and the one that lets a process look into others.
const CAPABILITIES: [&str; 15] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
    "CAP_SYS_PTRACE",
];

/// The hostile container, and its host.
pub struct Prey {
    out: PathBuf,
    porthole: PathBuf,
    container: Container,
    /// Both ends of the caller's terminal, where the caller is a person.
    terminal: Option<(OwnedFd, File)>,
}

impl Prey {
    /// A container whose first process is `program` with arguments, and to which the host's `out` is `/out`.
    pub fn new(node: &Node, program: &[&str]) -> Self {
        Self::with(node, program, |bundle| bundle)
    }

    /// The same with a user namespace of its own: its root has these capabilities over that alone.
    pub fn boxed(node: &Node, program: &[&str]) -> Self {
        Self::with(node, program, Bundle::user_namespace)
    }

    /// The same without any capability: its root is a user number and nothing more.
    pub fn bare(node: &Node, program: &[&str]) -> Self {
        Self::with(node, program, |bundle| {
            bundle.with(|config| config["process"]["capabilities"] = json!({}))
        })
    }

    /// The same with a person at a terminal who calls porthole.
    pub fn at_a_terminal(node: &Node, program: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = File::options().read(true).write(true).open(name).unwrap();
        Self { terminal: Some((master, slave)), ..Self::new(node, program) }
    }

    fn with(node: &Node, program: &[&str], change: impl FnOnce(Bundle) -> Bundle) -> Self {
        host(node);
        let out = node.scratch().join("out");
        fs::create_dir_all(&out).unwrap();
        fs::set_permissions(&out, fs::Permissions::from_mode(0o777)).unwrap();
        let bundle = Bundle::of_pod(node, "shop", "prey", "app", "/none")
            .own_netns()
            .with_output(&out)
            .args(program)
            .with(|config| {
                config["process"]["capabilities"] = ["bounding", "effective", "permitted"]
                    .map(|set| (set.to_owned(), json!(CAPABILITIES)))
                    .into_iter()
                    .collect::<serde_json::Map<String, Value>>()
                    .into();
                config["process"]["noNewPrivileges"] = json!(false);
                config["annotations"]["io.kubernetes.cri.image-name"] = json!(RECORD);
            });
        let container = Container::run(Runtime::Runc, &change(bundle));
        let record = node.record(container.id()).unwrap().to_string();
        assert!(record.contains(RECORD), "the record has what is looked for: {record}");
        // Whatever a hostile container does to the image, it does to a copy.
        let porthole = node.scratch().join("porthole");
        fs::copy(binary("porthole"), &porthole).unwrap();
        Self { out, porthole, container, terminal: None }
    }

    /// Where the container writes.
    pub fn out(&self) -> &Path {
        &self.out
    }

    /// The number that the container's user namespace has for a user of the host.
    pub fn number(&self, id: u32) -> u32 {
        let map = fs::read_to_string(format!("/proc/{}/uid_map", self.pid())).unwrap();
        let fields: Vec<u32> = map.split_whitespace().map(|field| field.parse().unwrap()).collect();
        let [inside, outside, count] = fields[..] else { panic!("{map}") };
        if (outside..outside.saturating_add(count)).contains(&id) { id - outside + inside } else { 65534 }
    }

    /// Pid of the container's first process.
    pub fn pid(&self) -> u32 {
        self.container.pid()
    }

    /// `porthole exec` of the target, with a secret in its environment and one in its words.
    pub fn exec(&self, options: &[&str], words: &[&str]) -> Command {
        let mut command = Command::new(&self.porthole);
        command.arg("exec").args(options).arg("-e").arg(format!("PASSWORD={VALUE}"));
        command.args(["shop/prey", "--"]).args(words).current_dir("/");
        command.env_clear().envs([("PATH", "/usr/bin:/bin"), ("TERM", "dumb"), ("OWN_SECRET", OWN)]);
        let end = || match &self.terminal {
            Some((_, slave)) => Stdio::from(slave.try_clone().unwrap()),
            None => Stdio::null(),
        };
        command.stdin(end()).stdout(end()).stderr(end());
        command
    }

    /// Runs it to its end.
    pub fn run(&self, options: &[&str], words: &[&str]) -> Outcome {
        tools::run(self.exec(options, words))
    }

    /// Has a shell in the container, which [`SHELL`] started, run `script`: what it printed.
    pub fn inside(&self, script: &str) -> String {
        let (new, answer) = (self.out.join("new"), self.out.join("answer"));
        drop(fs::remove_file(&answer));
        fs::write(&new, script).unwrap();
        fs::rename(&new, self.out.join("script")).unwrap();
        wait_until("the container to answer", || answer.exists());
        fs::read_to_string(answer).unwrap()
    }

    /// Deletes the container.
    pub fn delete(self) {
        self.container.delete();
    }
}

/// A first process that runs what it finds in `/out/script`.
pub const SHELL: [&str; 3] = [
    "/bin/sh",
    "-c",
    "while :; do if [ -e /out/script ]; then mv /out/script /out/running; sh /out/running > /out/part 2>&1; \
     mv /out/part /out/answer; fi; sleep 0.01; done",
];

/// An `/etc` that may be changed, a `/tmp` of the host's own, and a directory that only a host has.
fn host(node: &Node) {
    let copy = node.scratch().join("etc");
    if copy.exists() {
        return;
    }
    let mut cp = Command::new("cp");
    cp.args(["-a", "/etc"]).arg(&copy);
    tools::run(cp).expect_success();
    mount_bind(&copy, "/etc").unwrap();
    for directory in ["/etc/cron.d", "/mnt/host"] {
        fs::create_dir_all(directory).unwrap();
    }
    node::tmpfs("/tmp", "mode=1777");
    for file in ["/etc/of-the-host", "/tmp/of-the-host", "/mnt/host/of-the-host"] {
        fs::write(file, "of the host\n").unwrap();
    }
}

/// Device, inode and path of each of the host's directories, as the attacker reads them.
pub fn places() -> String {
    let place = |path: &str| {
        let found = fs::metadata(path).ok().filter(fs::Metadata::is_dir)?;
        Some(format!("{}:{}:{path}", found.dev(), found.ino()))
    };
    let all: Vec<_> = PLACES.iter().filter_map(|path| place(path)).collect();
    all.join(",")
}

/// Those of them that are below this root.
pub fn places_below(root: &str) -> Vec<String> {
    let same = |path: &&&str| {
        let (here, there) = (fs::metadata(path), fs::symlink_metadata(format!("{root}{path}")));
        matches!((here, there), (Ok(here), Ok(there)) if (here.dev(), here.ino()) == (there.dev(), there.ino()))
    };
    PLACES.iter().filter(same).map(|path| (*path).to_owned()).collect()
}

/// Compiles the attacker into the root file system of the node's containers.
pub fn attacker(node: &Node) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/attack/attacker.c");
    let mut gcc = Command::new("gcc");
    gcc.args(["-static", "-O2", "-Wall", "-Werror", "-o"])
        .arg(node.rootfs().join("bin/attacker"))
        .arg(source);
    tools::run(gcc).expect_success();
}
