//! What the sentences share: a pod, ways to call `exec`, an `/etc` that may be changed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use porthole_tests::process::wait_until;
use porthole_tests::tools::{self, Outcome, binary};
use porthole_tests::{Bundle, Container, Node, Runtime};
use rustix::mount::mount_bind;

/// A bundle of pod `shop/web-0`, which has a network namespace of its own.
pub fn bundle(node: &Node) -> Bundle {
    Bundle::of_pod(node, "shop", "web-0", "app", "/none").own_netns()
}

/// The container of pod `shop/web-0`.
pub fn web_0(node: &Node) -> Container {
    Container::run(Runtime::Runc, &bundle(node))
}

/// Runs `porthole exec` with `words`, from `/`.
pub fn exec(words: &[&str]) -> Outcome {
    exec_in(Path::new("/"), words)
}

/// The same from another directory.
pub fn exec_in(directory: &Path, words: &[&str]) -> Outcome {
    tools::run(command(&[], words, directory))
}

/// The same below other programs: `under` are those with their arguments.
pub fn exec_under(under: &[&str], words: &[&str]) -> Outcome {
    tools::run(command(under, words, Path::new("/")))
}

/// What `exec` prints on stdout, when it succeeds.
#[track_caller]
pub fn output(words: &[&str]) -> String {
    exec(words).expect_success().to_owned()
}

/// The command line, to be changed further.
pub fn command(under: &[&str], words: &[&str], directory: &Path) -> Command {
    let porthole = binary("porthole").display().to_string();
    let mut all: Vec<&str> = under.to_vec();
    all.extend([porthole.as_str(), "exec"]);
    all.extend(words);
    let mut command = Command::new(all[0]);
    command.args(&all[1..]).current_dir(directory).stdin(Stdio::null());
    command
}

/// An exec that goes on until its guard is dropped.
pub struct Running {
    porthole: Child,
}

impl Running {
    /// Starts it; it has to become `program`.
    pub fn start(words: &[&str], program: &str) -> Self {
        let mut command = command(&[], words, Path::new("/"));
        command.stdout(Stdio::null());
        Self::spawn(command, program)
    }

    pub fn spawn(mut command: Command, program: &str) -> Self {
        let running = Self { porthole: command.spawn().unwrap() };
        wait_until(program, || running.command().is_some_and(|pid| comm(pid) == program));
        running
    }

    /// Pid of porthole.
    pub fn porthole(&self) -> u32 {
        self.porthole.id()
    }

    /// Pid of the command, once there is one.
    pub fn command(&self) -> Option<u32> {
        children(self.porthole()).first().copied()
    }

    /// Waits for porthole's end: its status.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        self.porthole.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.porthole.kill());
        drop(self.porthole.wait());
    }
}

pub fn comm(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

pub fn children(pid: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parent = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
    };
    pids.filter(|&child| parent(child) == Some(pid)).collect()
}

/// A directory that everybody may write to.
pub fn work(node: &Node) -> PathBuf {
    let directory = node.scratch().join("work");
    fs::create_dir_all(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
    directory
}

/// Gives the node an `/etc` of its own, a copy of the machine's.
pub fn own_etc(node: &Node) {
    let copy = node.scratch().join("etc");
    let mut cp = Command::new("cp");
    cp.args(["-a", "/etc"]).arg(&copy);
    tools::run(cp).expect_success();
    mount_bind(&copy, "/etc").unwrap();
}

/// Gives the node a policy.
pub fn policy(node: &Node, text: &str) {
    let directory = Path::new("/etc/porthole");
    if !directory.is_dir() {
        own_etc(node);
        fs::create_dir(directory).unwrap();
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write("/etc/porthole/policy.toml", text).unwrap();
    fs::set_permissions("/etc/porthole/policy.toml", fs::Permissions::from_mode(0o644)).unwrap();
}

/// What sudo says of a user.
pub const SUDO: [(&str, &str); 3] = [("SUDO_UID", "1234"), ("SUDO_GID", "567"), ("SUDO_USER", "ann")];

/// Runs `porthole exec` as ann does through sudo, from `/`.
pub fn as_ann(words: &[&str]) -> Outcome {
    let mut command = command(&[], words, Path::new("/"));
    command.envs(SUDO);
    tools::run(command)
}

/// Sends a signal by name.
pub fn send(pid: u32, signal: &str) {
    let mut kill = Command::new("kill");
    kill.args(["-s", signal, &pid.to_string()]);
    tools::run(kill).expect_success();
}

/// The value of a field of a `/proc/PID/status`.
pub fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).trim()
}

/// See capabilities(7).
pub const NET_ADMIN: u64 = 1 << 12;
/// See capabilities(7).
pub const NET_RAW: u64 = 1 << 13;
/// See capabilities(7).
pub const SYS_PTRACE: u64 = 1 << 19;

/// Profiles, and what each gives of what the caller has.
pub fn profiles() -> [(&'static str, u64); 5] {
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let all = u64::from_str_radix(field(&own, "CapPrm"), 16).unwrap();
    [
        ("restricted", 0),
        ("general", NET_RAW),
        ("netadmin", NET_RAW | NET_ADMIN),
        ("trace", NET_RAW | SYS_PTRACE),
        ("sysadmin", all),
    ]
}
