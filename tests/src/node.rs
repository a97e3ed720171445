//! A node: the test runs again as a process tree with pid, mount and network namespaces of its own, so that
//! whatever it does to `/run`, to mounts or to interfaces ends with it.

use std::ffi::CString;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_change,
    mount_remount, unmount,
};
use rustix::process::{chdir, pivot_root};
use serde_json::Value;

use crate::cgroups::Cgroups;
use crate::log::SystemLog;
use crate::pod::Netns;
use crate::{leaks, machine, tools};

/// Set in the environment of a test that runs on its node: the node's token.
const INSIDE: &str = "PORTHOLE_NODE";

/// The node a test body runs on.
#[derive(Debug)]
pub struct Node {
    token: String,
    cgroups: Cgroups,
    log: SystemLog,
    ids: AtomicU32,
}

/// Turns the type name of a test's inner function into the test's path.
#[must_use]
pub fn path_of(type_name: &'static str) -> &'static str {
    let path = type_name.trim_end_matches("::here").trim_end_matches("::{{closure}}");
    path.split_once("::").map_or(path, |(_, test)| test)
}

/// Runs `body` on a node of its own, then looks for anything it left.
///
/// # Panics
/// When the body fails, or leaves something.
pub fn run(test: &str, body: impl FnOnce(&Node)) {
    if let Ok(token) = env::var(INSIDE) {
        return inside(token, body);
    }
    let output = outside(test);
    let (stdout, stderr) = texts(&output);
    print!("{stdout}");
    eprint!("{stderr}");
    assert!(output.status.success(), "{test} failed on its node");
    // A name that libtest does not know passes with no test run.
    assert!(stdout.contains("1 passed"), "{test} did not run on its node");
}

/// Runs `body` on a node of its own, where it has to fail with `words`: for tests of the harness itself.
///
/// # Panics
/// When it passes, or says something else.
pub fn fails(test: &str, words: &str, body: impl FnOnce(&Node)) {
    if let Ok(token) = env::var(INSIDE) {
        return inside(token, body);
    }
    let output = outside(test);
    let (_, stderr) = texts(&output);
    assert!(!output.status.success(), "{test} passed on its node");
    assert!(stderr.contains(words), "{test}: expected {words:?} in:\n{stderr}");
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn outside(test: &str) -> Output {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let token = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    Cgroups::remove_orphans();
    let output = command(&token, &["--exact", test, "--nocapture", "--test-threads=1"]).output();
    Cgroups::new(&token).remove();
    output.expect("start unshare")
}

/// A command that runs this program again, with `args`, on a node of its own; `token` is unique to the node.
#[must_use]
pub fn command(token: &str, args: &[&str]) -> Command {
    let exe = env::current_exe().expect("path of this program");
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount", "--net", "--kill-child", "--mount-proc"]);
    // Pid 1 has to reap; a shell does. `exit` keeps it from becoming the program.
    command.args(["sh", "-c", "\"$@\"; exit $?", "sh"]).arg(exe).args(args).env(INSIDE, token);
    // Whether the tests were started through sudo is not what they test.
    for name in ["SUDO_UID", "SUDO_GID", "SUDO_USER", "SUDO_COMMAND"] {
        command.env_remove(name);
    }
    command
}

/// Runs `body` if this process was started by [`command`], then looks for anything it left. Returns whether it was.
///
/// # Panics
/// When the body fails, or leaves something.
pub fn enter(body: impl FnOnce(&Node)) -> bool {
    let token = env::var(INSIDE).ok();
    token.map(|token| inside(token, body)).is_some()
}

fn inside(token: String, body: impl FnOnce(&Node)) {
    set_up();
    let cgroups = Cgroups::new(&token);
    let node = Node { token, cgroups, log: SystemLog::listen(), ids: AtomicU32::new(0) };
    build_rootfs(&node.rootfs());
    body(&node);
    let left = leaks::find(node.netns_dir(), node.run_dir(), &node.cgroups);
    assert!(left.is_empty(), "left behind:\n  {}", left.join("\n  "));
}

fn set_up() {
    // As under systemd: what is mounted here is seen in every mount namespace that is not private.
    mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC).expect("share /");
    machine::make_read_only();
    // What the machine has mounted below its own /run would be taken for something left behind.
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").expect("read mountinfo");
    let below_run = |line: &&str| line.split(' ').nth(4).is_some_and(|point| point.starts_with("/run/"));
    for line in mountinfo.lines().rev().filter(below_run) {
        let _ = unmount(line.split(' ').nth(4).unwrap_or_default(), UnmountFlags::DETACH);
    }
    tmpfs("/run", "mode=755");
    tmpfs("/mnt", "mode=755");
    tmpfs("/var/tmp", "mode=1777");
    if Path::new("/etc/porthole").is_dir() {
        tmpfs("/etc/porthole", "mode=755");
    }
    // On a machine with both cgroup versions runtimes are confused by a v2 hierarchy they may not use.
    if Path::new("/sys/fs/cgroup/unified").is_dir() {
        tmpfs("/sys/fs/cgroup/unified", "mode=755");
    }
    devices();
    // A hundred programs may want to write to the log at once; what finds it full goes elsewhere.
    fs::write("/proc/sys/net/unix/max_dgram_qlen", "4096").expect("lengthen the queue of the log");
    tools::ip(&["link", "set", "lo", "up"]).expect_success();
}

fn devices() {
    tmpfs("/dev", "mode=755");
    let nodes =
        [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
    for (name, major, minor) in nodes {
        let path = format!("/dev/{name}");
        let mode = Mode::from_raw_mode(0o666);
        mknodat(CWD, &path, FileType::CharacterDevice, mode, makedev(major, minor)).expect("make a device");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("set a device's mode");
    }
    for (name, target) in [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")]
    {
        symlink(target, format!("/dev/{name}")).expect("make a link in /dev");
    }
    fs::create_dir("/dev/pts").expect("make /dev/pts");
    let data = CString::new("newinstance,ptmxmode=0666,mode=0620").expect("no NUL");
    mount("devpts", "/dev/pts", "devpts", MountFlags::empty(), data.as_c_str()).expect("mount devpts");
    symlink("pts/ptmx", "/dev/ptmx").expect("make /dev/ptmx");
    fs::create_dir("/dev/shm").expect("make /dev/shm");
}

/// Mounts an empty tmpfs at `target`.
pub fn tmpfs(target: &str, options: &str) {
    let data = CString::new(options).expect("no NUL");
    mount("tmpfs", target, "tmpfs", MountFlags::empty(), data.as_c_str())
        .unwrap_or_else(|e| panic!("mount a tmpfs at {target}: {e}"));
}

/// Gives the node a home of root's own, over the machine's: the programs under test may be in that.
pub fn own_home(node: &Node) {
    let [upper, work] = ["home", "home-work"].map(|name| node.scratch().join(name));
    for directory in [&upper, &work] {
        fs::create_dir_all(directory).expect("make a directory");
    }
    let data = format!("lowerdir=/root,upperdir={},workdir={}", upper.display(), work.display());
    let data = CString::new(data).expect("no NUL");
    mount("overlay", "/root", "overlay", MountFlags::empty(), data.as_c_str()).expect("mount an overlay");
}

/// Gives the node a root directory of its own, over the machine's, with all mounts below it: files written to it go with
/// the node.
pub fn own_top(node: &Node) {
    let [top, upper, work] = ["top", "top-upper", "top-work"].map(|name| node.scratch().join(name));
    for directory in [&top, &upper, &work] {
        fs::create_dir_all(directory).expect("make a directory");
    }
    // pivot_root(2) refuses a root that is shared.
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).expect("make / private");
    let mut below: Vec<_> =
        machine::mount_points().into_iter().filter(|point| point != Path::new("/")).collect();
    below.sort();
    below.dedup_by(|later, earlier| later.starts_with(earlier));
    let data = format!("lowerdir=/,upperdir={},workdir={}", upper.display(), work.display());
    let data = CString::new(data).expect("no NUL");
    mount("overlay", &top, "overlay", MountFlags::empty(), data.as_c_str()).expect("mount an overlay");
    for point in below {
        let place = top.join(point.strip_prefix("/").expect("an absolute path"));
        mount_bind_recursive(&point, &place).unwrap_or_else(|e| panic!("bind {}: {e}", point.display()));
    }
    chdir(&top).expect("change to the new root");
    pivot_root(".", ".").expect("change the root");
    unmount(".", UnmountFlags::DETACH).expect("unmount the old root");
    chdir("/").expect("change to /");
    mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC).expect("share /");
}

/// A root filesystem with nothing but busybox, shared read-only by every container of the node.
fn build_rootfs(root: &Path) {
    for dir in ["bin", "dev", "etc", "proc", "run", "sys", "tmp", "out"] {
        fs::create_dir_all(root.join(dir)).expect("make the root filesystem");
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("copy /bin/busybox");
    for name in ["sh", "sleep", "true", "false", "cat", "echo", "ls", "touch", "readlink", "ip", "kill"] {
        symlink("busybox", root.join("bin").join(name)).expect("link a program");
    }
}

impl Node {
    /// The node's scratch space, which is not below `/run`.
    #[must_use]
    pub fn scratch(&self) -> &'static Path {
        Path::new("/mnt")
    }

    /// The root filesystem of every container.
    #[must_use]
    pub fn rootfs(&self) -> PathBuf {
        self.scratch().join("rootfs")
    }

    /// Where pins are.
    #[must_use]
    pub fn netns_dir(&self) -> &'static Path {
        Path::new("/run/netns")
    }

    /// The registry.
    #[must_use]
    pub fn run_dir(&self) -> &'static Path {
        Path::new("/run/porthole")
    }

    /// A `cgroupsPath` for container `id`, removed with the node.
    #[must_use]
    pub fn cgroup(&self, id: &str) -> String {
        self.cgroups.path(id)
    }

    /// A container id as engines make them: 64 hexadecimal digits, another at every call.
    #[must_use]
    pub fn new_id(&self) -> String {
        let n = self.ids.fetch_add(1, Ordering::Relaxed);
        format!("{n:012x}{:052x}", u64::from(std::process::id()) * 0x9e37_79b9)
    }

    /// Takes the log lines that came since the last call.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.take()
    }

    /// Takes the log lines that came since the last call, but those that tell who ran what by `porthole exec`.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        self.log().into_iter().filter(|line| !line.contains("[porthole@")).collect()
    }

    /// Asserts that nobody has complained since the last look.
    pub fn expect_silence(&self, after: &str) {
        let lines = self.complaints();
        assert!(lines.is_empty(), "{after}: expected no log line, got {lines:#?}");
    }

    /// Asserts that exactly one line was logged since the last look, which has each of `words` in it.
    pub fn expect_one_line(&self, words: &[&str]) -> String {
        let lines = self.complaints();
        assert_eq!(lines.len(), 1, "expected one log line with {words:?}, got {lines:#?}");
        for word in words {
            assert!(lines[0].contains(word), "expected {word:?} in the log line {:?}", lines[0]);
        }
        lines[0].clone()
    }

    /// Names in the pin directory that a namespace is mounted at, sorted.
    #[must_use]
    pub fn pins(&self) -> Vec<String> {
        let prefix = format!("{}/", self.netns_dir().display());
        let mounts = leaks::nsfs_mounts();
        let points = mounts.iter().filter_map(|line| line.split(' ').nth(5));
        let mut names: Vec<_> = points.filter_map(|p| p.strip_prefix(&prefix)).map(str::to_owned).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The namespace pinned at `name`.
    #[must_use]
    pub fn pin(&self, name: &str) -> Option<Netns> {
        self.pins().iter().any(|pin| pin == name).then(|| Netns::at(self.netns_dir().join(name)))?
    }

    /// The record of a container.
    #[must_use]
    pub fn record(&self, id: &str) -> Option<Value> {
        let text = fs::read(self.run_dir().join("containers").join(format!("{id}.json"))).ok()?;
        Some(serde_json::from_slice(&text).expect("a record is JSON"))
    }

    /// Ids of all records, sorted.
    #[must_use]
    pub fn records(&self) -> Vec<String> {
        let paths = leaks::below(&self.run_dir().join("containers"));
        let names = paths.iter().filter_map(|path| path.rsplit('/').next()?.strip_suffix(".json"));
        names.map(str::to_owned).collect()
    }

    /// Gives `/run` no more than `bytes`.
    pub fn limit_run(&self, bytes: u64) {
        let data = CString::new(format!("size={bytes}")).expect("no NUL");
        mount_remount("/run", MountFlags::empty(), data.as_c_str()).expect("remount /run");
    }

    /// Gives `/run` no more than `count` files and directories.
    pub fn limit_run_inodes(&self, count: usize) {
        let data = CString::new(format!("nr_inodes={count}")).expect("no NUL");
        mount_remount("/run", MountFlags::empty(), data.as_c_str()).expect("remount /run");
    }

    /// Makes `dir` a read-only mount point.
    pub fn make_read_only(&self, dir: &Path) {
        fs::create_dir_all(dir).expect("make the directory");
        mount_bind(dir, dir).expect("bind the directory");
        mount_remount(dir, MountFlags::BIND | MountFlags::RDONLY, c"").expect("remount it read-only");
    }

    /// Unmounts what is at `dir`, all of it.
    pub fn unmount_all(&self, dir: &Path) {
        while unmount(dir, UnmountFlags::DETACH).is_ok() {}
    }

    /// Unique to this node on the whole machine.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }
}
