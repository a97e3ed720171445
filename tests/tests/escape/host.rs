//! A host with everything on it that would be worth getting at.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use porthole_tests::tools::{self, Outcome, binary};
use porthole_tests::{Node, node, process};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::mount::mount_bind;

/// The host, its processes and its sockets.
pub struct Host {
    work: PathBuf,
    root: Child,
    others: Vec<(u32, Child)>,
    _sockets: Vec<UnixListener>,
}

impl Host {
    pub fn new(node: &Node) -> Self {
        let work = node.scratch().join("work");
        fs::create_dir_all(&work).unwrap();
        mode(&work, 0o777);
        own_etc(node);
        secrets();
        device("/dev/kmsg", FileType::CharacterDevice, 0o600, makedev(1, 11));
        device("/dev/porthole-disk", FileType::BlockDevice, 0o600, makedev(8, 0));
        device(work.join("device").to_str().unwrap(), FileType::CharacterDevice, 0o666, makedev(1, 3));
        prober(node, &work);
        let root = sleep(Command::new("sleep"));
        // Root without capabilities is as little as a command can be that keeps root's uid.
        let least = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--clear-groups"];
        let other = |uid: u32| {
            let mut setpriv = Command::new("setpriv");
            setpriv
                .args(least)
                .arg(format!("--reuid={uid}"))
                .arg(format!("--regid={uid}"))
                .args(["--", "sleep"]);
            (uid, sleep(setpriv))
        };
        let others = vec![other(0), other(65534), other(100_000)];
        Self { work, root, others, _sockets: sockets() }
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

    /// Runs `porthole exec` in the directory where the prober is.
    pub fn exec(&self, words: &[&str]) -> Outcome {
        let mut command = Command::new(binary("porthole"));
        command.arg("exec").args(words).current_dir(&self.work).stdin(Stdio::null());
        tools::run(command)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        run(&self.work.join("prober"), &["--no-segment"]);
        for child in self.others.iter_mut().map(|(_, child)| child).chain([&mut self.root]) {
            drop(child.kill());
            drop(child.wait());
        }
    }
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

fn secrets() {
    node::tmpfs("/var/lib", "mode=755");
    node::tmpfs("/srv", "mode=755");
    fs::create_dir_all("/srv/docker").unwrap();
    symlink("../../srv/docker", "/var/lib/docker").unwrap();
    let readable = 0o644;
    let secrets = [
        ("/etc/shadow", 0o600),
        ("/etc/ssh/ssh_host_ed25519_key", 0o600),
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

fn sockets() -> Vec<UnixListener> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;
    let at = |path: &str| {
        fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
        let socket = UnixListener::bind(path).unwrap();
        mode(Path::new(path), 0o777);
        socket
    };
    let abstract_one = SocketAddr::from_abstract_name("porthole-escape").unwrap();
    vec![
        at("/run/containerd/containerd.sock"),
        at("/run/docker.sock"),
        at("/var/lib/kubelet/kubelet.sock"),
        UnixListener::bind_addr(&abstract_one).unwrap(),
    ]
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
    run(&program, &["--segment"]).expect_success();
}
