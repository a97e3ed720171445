//! A host with everything on it that would be worth getting at.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use porthole_tests::tools::{self, Outcome, binary};
use porthole_tests::{Node, node, process};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::mount::mount_bind;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::columns::Column;

/// The users that commands run as, in the host's numbers.
const USERS: [u32; 3] = [0, 65534, 100_000];

/// The host, its processes and its sockets.
pub struct Host {
    work: PathBuf,
    root: Child,
    others: Vec<(u32, Child)>,
    /// The window of a person, for whom everything is there that the column's user could open.
    _window: OwnedFd,
    terminal: String,
    _sockets: (Vec<UnixListener>, UnixDatagram),
}

impl Host {
    pub fn new(node: &Node) -> Self {
        node::own_top(node);
        let work = node.scratch().join("work");
        fs::create_dir_all(&work).unwrap();
        mode(&work, 0o777);
        own_etc(node);
        secrets(node);
        device("/dev/kmsg", FileType::CharacterDevice, 0o600, makedev(1, 11));
        device("/dev/porthole-disk", FileType::BlockDevice, 0o600, makedev(8, 0));
        device("/dev/tty1", FileType::CharacterDevice, 0o666, makedev(4, 1));
        device(work.join("device").to_str().unwrap(), FileType::CharacterDevice, 0o666, makedev(1, 3));
        prober(node, &work);
        // Numbers that no process of a container has, so that none is taken for one of the host's.
        fs::write("/proc/sys/kernel/ns_last_pid", "20000").unwrap();
        let root = sleep(Command::new("sleep"));
        let other = |uid| (uid, sleep(as_user(uid, "sleep")));
        let others = USERS.map(other).into();
        for uid in USERS {
            tools::run({
                let mut share = as_user(uid, work.join("prober").to_str().unwrap());
                share.arg("--shared");
                share
            })
            .expect_success();
        }
        let (window, terminal) = window();
        Self { work, root, others, _window: window, terminal, _sockets: sockets() }
    }

    /// A process of root's, with all capabilities.
    pub fn root(&self) -> u32 {
        self.root.id()
    }

    /// A process of this user's, without any.
    pub fn process_of(&self, uid: u32) -> u32 {
        self.others.iter().find(|(user, _)| *user == uid).unwrap().1.id()
    }

    /// Makes an attempt from the host itself.
    pub fn attempt(&self, name: &str) -> Outcome {
        run(&self.work.join("prober"), &[name])
    }

    /// Runs the prober by `porthole exec`, as the column says, in a directory that everybody may write to.
    pub fn probe(&self, column: &Column) -> Outcome {
        let mut command = Command::new(binary("porthole"));
        command.arg("exec").args(column.options()).current_dir(&self.work).stdin(Stdio::null());
        let variables = [
            ("ROOT", self.root().to_string()),
            ("SAME", self.process_of(column.user()).to_string()),
            ("USER_OF_HOST", column.user().to_string()),
            ("TERMINAL", self.terminal.clone()),
        ];
        for (name, value) in variables {
            command.args(["-e", &format!("{name}={value}")]);
        }
        command.args([column.target(), "--"]);
        if column.has_the_targets_files() {
            command.arg("/bin/prober");
        } else if column.has_the_working_directory() {
            command.arg("./prober");
        } else {
            // Where nothing of the host but its tools is seen, the program comes on standard input.
            let copy = "export STARTED_IN=$PWD; cd $(mktemp -d) && cat > prober && \
                        chmod 755 prober && exec ./prober";
            command.args(["/bin/sh", "-c", copy]).stdin(File::open(self.work.join("prober")).unwrap());
        }
        tools::run(command)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for uid in USERS {
            let mut unshare = as_user(uid, self.work.join("prober").to_str().unwrap());
            unshare.arg("--unshared");
            drop(tools::run(unshare));
        }
        for child in self.others.iter_mut().map(|(_, child)| child).chain([&mut self.root]) {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// A program as this user; root without capabilities is as little as a command can be that keeps root's uid.
fn as_user(uid: u32, program: &str) -> Command {
    let mut setpriv = Command::new("setpriv");
    setpriv
        .args(["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--clear-groups"])
        .arg(format!("--reuid={uid}"))
        .arg(format!("--regid={uid}"))
        .args(["--", program]);
    setpriv
}

/// A terminal that somebody works at: any user may open it, as the user may whose it is.
fn window() -> (OwnedFd, String) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    mode(Path::new(&name), 0o666);
    (master, name)
}

fn run(program: &Path, arguments: &[&str]) -> Outcome {
    let mut command = Command::new(program);
    command.args(arguments);
    tools::run(command)
}

fn sleep(mut command: Command) -> Child {
    let child = command.arg("1000").stdin(Stdio::null()).spawn().unwrap();
    let comm = format!("/proc/{}/comm", child.id());
    process::wait_until("a process of the host", || {
        fs::read_to_string(&comm).is_ok_and(|comm| comm == "sleep\n")
    });
    child
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn device(path: &str, kind: FileType, bits: u32, number: u64) {
    mknodat(CWD, path, kind, Mode::from_raw_mode(bits), number).unwrap();
    mode(Path::new(path), bits);
}

fn own_etc(node: &Node) {
    let copy = node.scratch().join("etc");
    let mut cp = Command::new("cp");
    cp.args(["-a", "/etc"]).arg(&copy);
    tools::run(cp).expect_success();
    mount_bind(&copy, "/etc").unwrap();
}

fn secrets(node: &Node) {
    for directory in ["/var/lib", "/srv", "/tmp"] {
        node::tmpfs(directory, if directory == "/tmp" { "mode=1777" } else { "mode=755" });
    }
    node::own_home(node);
    fs::create_dir_all("/srv/docker").unwrap();
    symlink("../../srv/docker", "/var/lib/docker").unwrap();
    let readable = 0o644;
    let secrets = [
        ("/etc/shadow", 0o600),
        ("/etc/ssh/ssh_host_ed25519_key", 0o600),
        ("/etc/wireguard/wg0.conf", 0o600),
        ("/etc/letsencrypt/live/shop/privkey.pem", 0o600),
        ("/etc/ssl/private/host.key", 0o600),
        ("/etc/netplan/50-wifi.yaml", 0o600),
        ("/etc/credstore/db", 0o600),
        (concat!("/root", "/.netrc"), 0o600),
        ("/srv/host/data", readable),
        ("/tmp/of-the-host", readable),
        ("/etc/kubernetes/admin.conf", readable),
        ("/var/lib/kubelet/pods/1/token", readable),
        ("/srv/docker/secret", readable),
    ];
    for (path, bits) in secrets {
        fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
        fs::write(path, "hunter2\n").unwrap();
        mode(Path::new(path), bits);
    }
}

fn sockets() -> (Vec<UnixListener>, UnixDatagram) {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;
    let at = |path: &str| {
        fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
        let socket = UnixListener::bind(path).unwrap();
        mode(Path::new(path), 0o777);
        socket
    };
    let named = |name: &str| SocketAddr::from_abstract_name(name).unwrap();
    let listeners = vec![
        at("/run/containerd/containerd.sock"),
        at("/run/docker.sock"),
        at("/var/lib/kubelet/kubelet.sock"),
        UnixListener::bind_addr(&named("porthole-escape")).unwrap(),
    ];
    (listeners, UnixDatagram::bind_addr(&named("porthole-escape-datagram")).unwrap())
}

/// Compiled here, and put where each column finds it.
fn prober(node: &Node, work: &Path) {
    let program = work.join("prober");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/escape/prober.c");
    let mut gcc = Command::new("gcc");
    gcc.args(["-static", "-O1", "-Wall", "-Werror", "-o"]).arg(&program).arg(source);
    tools::run(gcc).expect_success();
    for name in ["setuid", "capability"] {
        fs::copy(&program, work.join(name)).unwrap();
    }
    mode(&work.join("setuid"), 0o4755);
    run(&program, &["--grant", work.join("capability").to_str().unwrap()]).expect_success();
    fs::copy(&program, node.rootfs().join("bin/prober")).unwrap();
}
