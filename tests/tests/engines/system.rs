//! The node's own system directories.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use porthole_tests::engine::system::{self, Change};
use porthole_tests::engine::{Containerd, Docker, PodOptions, Podman};
use porthole_tests::node::fails;
use porthole_tests::{Node, on_a_node, requires, test_path};

fn what_is_written_is_told_and_what_is_undone_is_not(_: &Node) {
    system::make_own();
    let before = system::changes();
    assert!(
        before.values().all(|change| *change == Change::Gone || matches!(change, Change::Dir(..))),
        "{before:#?}"
    );

    let (passwd, own) =
        (fs::read("/etc/passwd").unwrap(), fs::metadata("/etc/passwd").unwrap().permissions());
    fs::write("/etc/passwd", "").unwrap();
    fs::create_dir_all("/usr/libexec/porthole").unwrap();
    fs::write("/usr/libexec/porthole/file", "text").unwrap();
    fs::remove_file("/etc/group").unwrap();
    let mut after = system::changes();
    after.retain(|path, _| !before.contains_key(path));
    assert_eq!(after[Path::new("/etc/group")], Change::Gone);
    assert_eq!(after[Path::new("/usr/libexec/porthole/file")], Change::File(0o644, 0, 0, b"text".to_vec()));
    assert_eq!(after[Path::new("/etc/passwd")], Change::File(own.mode() & 0o7777, 0, 0, Vec::new()));
    assert_eq!(after.len(), 4, "{after:#?}");

    fs::remove_dir_all("/usr/libexec/porthole").unwrap();
    fs::write("/etc/passwd", passwd).unwrap();
    let mut after = system::changes();
    after.remove(Path::new("/etc/group"));
    assert_eq!(after, before);
    fs::set_permissions("/etc/passwd", Permissions::from_mode(0o600)).unwrap();
    assert_ne!(system::changes(), before);
}

fn the_machine_is_not_changed(_: &Node) {
    // The test outside looks at this file; the node's own is not it.
    system::make_own();
    fs::write("/etc/porthole-tests-canary", "").unwrap();
}

fn a_node_may_have_every_engine_at_once(node: &Node) {
    let containerd = Containerd::start(node, "2");
    let docker = Docker::start(node, "26.1");
    let podman = Podman::new(node, "5.4");
    let pod = containerd.run_pod("shop", "web-0", &PodOptions::default());
    let (web, other) = (docker.run("web", &[], &[]), podman.run("other", &[], &[]));
    assert!(pod.netns() != web.netns() && web.netns() != other.netns());
    podman.rm("other");
    docker.rm("web");
    containerd.remove_pod(&pod);
}

on_a_node!(requires(root, ip, containerd, docker, podman):
    what_is_written_is_told_and_what_is_undone_is_not,
    a_node_may_have_every_engine_at_once,
);

#[test]
fn a_pod_that_is_left_is_noticed_and_goes_with_its_node() {
    requires!(root, ip, containerd);
    fails(test_path!(), "containerd-shim", |node| {
        let containerd = Containerd::start(node, "1.7");
        let pod = containerd.run_pod("shop", "web-0", &PodOptions::default());
        fs::write("/tmp/porthole-tests-pod", format!("{} {}", node.token(), pod.sandbox)).unwrap();
    });
    let text = fs::read_to_string("/tmp/porthole-tests-pod").unwrap();
    fs::remove_file("/tmp/porthole-tests-pod").unwrap();
    let (token, sandbox) = text.split_once(' ').unwrap();
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let dir = hierarchy.path().join(format!("porthole-tests-{token}"));
        assert!(!dir.exists(), "{}", dir.display());
    }
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let command = fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
        assert!(!command.contains(sandbox), "{command}");
    }
}

#[test]
fn what_a_node_writes_is_not_on_the_machine() {
    requires!(root, ip);
    porthole_tests::node::run(test_path!(), the_machine_is_not_changed);
    assert!(std::env::var_os("PORTHOLE_NODE").is_some() || !Path::new("/etc/porthole-tests-canary").exists());
}
