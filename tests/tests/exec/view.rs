//! What the command sees of file systems, and what is left of it afterwards.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use porthole_tests::{Node, on_a_node, tools};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use crate::setting::{command, exec, exec_in, output, web_0, work};

fn the_view_is_read_only_but_for_cwd_and_tmp(node: &Node) {
    let container = web_0(node);
    let here = work(node);
    let name = format!("porthole-view-{}", node.token());
    let places = ["/", "/etc", "/usr", "/usr/bin", "/var", "/root", "/home", "/mnt", "/run", "/sys", "/dev"];
    let script = format!(
        "for d in {}; do touch $d/{name} 2>/dev/null && echo written $d; done; touch /tmp/{name} {name}-here",
        places.join(" ")
    );
    let outcome = exec_in(&here, &["web-0", "--", "sh", "-c", &script]);
    assert_eq!(outcome.expect_success(), "");
    assert!(here.join(format!("{name}-here")).exists(), "the working directory is the host's");
    fs::remove_file(format!("/tmp/{name}")).expect("/tmp is the host's");
    let mounts = exec_in(&here, &["web-0", "--", "cat", "/proc/self/mountinfo"]);
    for line in mounts.expect_success().lines() {
        let fields: Vec<_> = line.split(' ').collect();
        let has = |option: &str| fields[5].split(',').any(|it| it == option);
        assert!(has("nosuid"), "{line}");
        let writable = ["/tmp", here.to_str().unwrap()].contains(&fields[4]);
        assert_eq!(has("rw"), writable, "{line}");
        assert!(has("nodev") || fields[4].starts_with("/dev"), "{line}");
        assert!(!line.contains(" shared:") && !line.contains(" master:"), "nothing propagates: {line}");
    }
    container.delete();
}

fn setuid_and_device_files_in_cwd_do_not_work(node: &Node) {
    let container = web_0(node);
    let here = work(node);
    fs::copy("/bin/busybox", here.join("busybox")).unwrap();
    fs::set_permissions(here.join("busybox"), fs::Permissions::from_mode(0o4755)).unwrap();
    mknodat(CWD, here.join("null"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(1, 3))
        .unwrap();
    fs::set_permissions(here.join("null"), fs::Permissions::from_mode(0o666)).unwrap();
    let id = exec_in(&here, &["web-0", "--", "./busybox", "id", "-u"]);
    assert_eq!(id.expect_success().trim(), "65534");
    let outcome = exec_in(&here, &["web-0", "--", "cat", "null"]);
    assert!(!outcome.status.success() && outcome.stderr.contains("Permission denied"), "{outcome:?}");
    container.delete();
}

fn root_without_capabilities_sees_no_disk_and_no_engine_socket(node: &Node) {
    let container = web_0(node);
    let disk = Mode::from_raw_mode(0o600);
    mknodat(CWD, "/dev/sda", FileType::BlockDevice, disk, makedev(8, 0)).unwrap();
    fs::create_dir_all("/run/containerd").unwrap();
    let _engine = UnixListener::bind("/run/containerd/containerd.sock").unwrap();
    let listed = output(&["--uid", "0", "web-0", "--", "ls", "/dev"]);
    let expected = "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero";
    assert_eq!(listed.split_whitespace().collect::<Vec<_>>().join(" "), expected);
    for uid in ["0", "65534"] {
        let listed = output(&["--uid", uid, "web-0", "--", "ls", "/run"]);
        assert_eq!(listed.trim(), "lock", "nothing of the host's: no socket, no registry, no pin");
    }
    output(&["--uid", "0", "web-0", "--", "sh", "-c", "echo x > /dev/null; head -c 4 /dev/urandom"]);
    container.delete();
}

fn sys_class_net_is_the_pods(node: &Node) {
    let container = web_0(node);
    let peer = ["link", "add", "host0", "type", "veth", "peer", "name", "eth0", "netns", "web-0"];
    tools::ip(&peer).expect_success();
    for profile in ["general", "sysadmin"] {
        let names = output(&["--profile", profile, "web-0", "--", "ls", "/sys/class/net"]);
        let names: Vec<_> = names.split_whitespace().collect();
        assert!(names.contains(&"eth0") && names.contains(&"lo"), "{profile}: {names:?}");
        assert!(!names.contains(&"host0"), "{profile}: {names:?}");
    }
    container.delete();
}

fn proc_is_the_targets_with_p(node: &Node) {
    let container = web_0(node);
    let pids = output(&["-p", "-n", "web-0", "--", "sh", "-c", "cat /proc/1/comm; echo /proc/[0-9]*"]);
    let (first, all) = pids.split_once('\n').unwrap();
    assert!(["sleep", "busybox"].contains(&first), "{pids}");
    assert!(all.split_whitespace().count() <= 3, "only what is in the container: {all}");
    let pids = output(&["web-0", "--", "cat", "/proc/1/comm"]);
    assert_eq!(pids.trim(), "sh", "without -p it is the node's");
    container.delete();
}

fn mountinfo() -> BTreeSet<String> {
    fs::read_to_string("/proc/self/mountinfo").unwrap().lines().map(str::to_owned).collect()
}

fn nothing_but_the_pinned_view_is_left_in_the_hosts_mounts(node: &Node) {
    let container = web_0(node);
    let before = mountinfo();
    // The kernel mounts a mount namespace only in an older one, by numbers that each processor gives out from a block of
    // its own; on a node as young as this one that can be wrong. The next exec tries again.
    porthole_tests::process::wait_until("the view to be pinned", || {
        output(&["web-0", "true"]);
        mountinfo().iter().any(|line| line.contains(" /run/porthole/view/mnt "))
    });
    let after = mountinfo();
    let new: Vec<_> = after.difference(&before).collect();
    let points: BTreeSet<_> = new.iter().filter_map(|line| line.split(' ').nth(4)).collect();
    assert_eq!(points, BTreeSet::from(["/run/porthole/view", "/run/porthole/view/mnt"]), "{new:#?}");
    output(&["--profile", "sysadmin", "web-0", "true"]);
    output(&["-a", "web-0", "--", "/bin/true"]);
    run_a_hundred_at_once();
    assert_eq!(mountinfo(), after, "a hundred at once leave nothing");
    container.delete();
}

fn run_a_hundred_at_once() {
    let start =
        || command(&[], &["web-0", "--", "true"], Path::new("/")).stdout(Stdio::null()).spawn().unwrap();
    let many: Vec<_> = (0..100).map(|_| start()).collect();
    for mut one in many {
        assert!(one.wait().unwrap().success());
    }
}

fn made_by_a_hundred_at_once_the_view_is_pinned_once(node: &Node) {
    let container = web_0(node);
    run_a_hundred_at_once();
    let count = |at: &str| mountinfo().iter().filter(|line| line.split(' ').nth(4) == Some(at)).count();
    assert_eq!((count("/run/porthole/view"), count("/run/porthole/view/mnt")), (1, 1));
    container.delete();
}

/// Place, options and kind of every mount the command has, in order.
fn mounts_of(words: &[&str], here: &Path) -> Vec<String> {
    let outcome = exec_in(here, words);
    let line = |line: &str| {
        let fields: Vec<_> = line.split(' ').collect();
        let kind = fields.iter().position(|field| *field == "-").unwrap();
        format!("{} {} {} {}", fields[3], fields[4], fields[5], fields[kind + 1])
    };
    outcome.expect_success().lines().map(line).collect()
}

fn the_view_is_the_same_without_the_pin(node: &Node) {
    let container = web_0(node);
    let here = work(node);
    // A registry that cannot be made: no place for the pin.
    let config = node.scratch().join("config.toml");
    fs::write(&config, "run_dir = '/sys/porthole'\n").unwrap();
    let config = config.to_str().unwrap();
    let show = ["/run/netns/web-0", "--", "cat", "/proc/self/mountinfo"];
    let with = mounts_of(&show, &here);
    assert!(Path::new("/run/porthole/view/mnt").exists());
    let without = mounts_of(&[&["--config", config], &show[..]].concat(), &here);
    assert_eq!(with, without);
    // The lock is never had: the way without the pin is taken, in time.
    drop(tools::run({
        let mut umount = Command::new("umount");
        umount.args(["/run/porthole/view/mnt", "/run/porthole/view"]);
        umount
    }));
    let lock = fs::File::open("/run/porthole/lock").unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert_eq!(mounts_of(&show, &here), with, "with the registry locked by another");
    drop(lock);
    container.delete();
}

fn a_working_directory_that_is_not_in_the_view_is_not_entered(node: &Node) {
    let container = web_0(node);
    let outcome = exec_in(Path::new("/run"), &["web-0", "--", "pwd"]);
    assert_eq!(outcome.expect_success().trim(), "/");
    let outcome = exec(&["-w=/run", "web-0", "--", "pwd"]);
    assert_eq!(outcome.status.code(), Some(125), "{outcome:?}");
    assert_eq!(output(&["-w=/usr", "web-0", "--", "pwd"]).trim(), "/usr");
    container.delete();
}

on_a_node!(requires(root, ip, runc):
    the_view_is_read_only_but_for_cwd_and_tmp,
    setuid_and_device_files_in_cwd_do_not_work,
    root_without_capabilities_sees_no_disk_and_no_engine_socket,
    sys_class_net_is_the_pods,
    proc_is_the_targets_with_p,
    nothing_but_the_pinned_view_is_left_in_the_hosts_mounts,
    made_by_a_hundred_at_once_the_view_is_pinned_once,
    the_view_is_the_same_without_the_pin,
    a_working_directory_that_is_not_in_the_view_is_not_entered,
);
