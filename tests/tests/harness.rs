//! The harness has to notice: a test that cannot fail says nothing.

#![allow(clippy::unwrap_used, reason = "what fails here is the test")]

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Stdio};

use porthole_tests::node::{fails, tmpfs};
use porthole_tests::pod::EnginePin;
use porthole_tests::process::Sleeper;
use porthole_tests::{Bundle, Container, Node, Outcome, Runtime, log, on_a_node, requires, test_path, tools};

#[test]
fn a_body_that_fails_is_noticed() {
    requires!(root, ip);
    fails(test_path!(), "on purpose", |_| panic!("on purpose"));
}

#[test]
fn a_pin_that_is_left_is_noticed() {
    requires!(root, ip);
    fails(test_path!(), "left behind:\n  mount:", |_| {
        std::mem::forget(EnginePin::new_netns("/run/netns/left"));
    });
}

#[test]
fn a_mount_of_a_namespace_anywhere_is_noticed() {
    requires!(root, ip);
    fails(test_path!(), "/mnt/elsewhere", |_| {
        std::mem::forget(EnginePin::new_netns("/mnt/elsewhere/x"));
    });
}

#[test]
fn a_file_in_the_pin_directory_is_noticed() {
    requires!(root, ip);
    fails(test_path!(), "in the pin directory: /run/netns/left", |node| {
        fs::create_dir_all(node.netns_dir()).unwrap();
        fs::write(node.netns_dir().join("left"), "").unwrap();
    });
}

#[test]
fn a_record_that_is_left_is_noticed() {
    requires!(root, ip);
    fails(test_path!(), "in the registry: /run/porthole/containers/x.json", |node| {
        fs::create_dir_all(node.run_dir().join("containers")).unwrap();
        fs::write(node.run_dir().join("containers/x.json"), "{}").unwrap();
    });
}

#[test]
fn a_process_that_is_left_is_noticed() {
    requires!(root, ip);
    fails(test_path!(), "process: ", |_| std::mem::forget(Sleeper::start()));
}

#[test]
fn a_container_that_is_left_is_noticed_and_its_cgroups_are_removed() {
    requires!(root, ip, runc);
    fails(test_path!(), "cgroup: /sys/fs/cgroup/", |node| {
        let container = Container::run(Runtime::Runc, &Bundle::new(node).hooked(&[]));
        fs::write("/tmp/porthole-tests-token", node.token()).unwrap();
        std::mem::forget(container);
    });
    let token = fs::read_to_string("/tmp/porthole-tests-token").unwrap();
    fs::remove_file("/tmp/porthole-tests-token").unwrap();
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let dir = hierarchy.path().join(format!("porthole-tests-{token}"));
        assert!(!dir.exists(), "{}", dir.display());
    }
}

#[test]
fn a_log_line_that_was_not_expected_is_noticed() {
    requires!(root, ip, unshare);
    fails(test_path!(), "expected no log line", |node| {
        let _ = porthole_tests::HookRun::new("createRuntime", "rubbish").run();
        node.expect_silence("rubbish");
    });
}

fn a_node_is_apart_from_the_machine(node: &Node) {
    assert_eq!(fs::read_to_string("/proc/1/comm").unwrap().trim(), "sh");
    assert_eq!(tools::ip(&["-br", "link"]).expect_success().lines().count(), 1, "lo and nothing else");
    assert_eq!(fs::read_dir("/run").unwrap().count(), 0, "an empty /run");
    assert!(Path::new("/dev/log").exists() && !Path::new("/dev/sda").exists());
    assert_ne!(node.new_id(), node.new_id());
}

fn a_test_can_write_to_nothing_of_the_machine(node: &Node) {
    for place in ["/", "/etc", "/opt", "/root", "/usr/bin", "/var/lib", "/srv", env!("CARGO_MANIFEST_DIR")] {
        let file = Path::new(place).join("porthole-tests");
        let error = fs::write(&file, "").expect_err(place);
        assert_eq!(error.kind(), ErrorKind::ReadOnlyFilesystem, "{}", file.display());
    }
    fs::write(node.scratch().join("file"), "").unwrap();
}

/// The program that runs all tests, with a shell in their place.
fn guarded(script: &str) -> Outcome {
    let mut guard = Command::new(tools::binary("porthole-test-guard"));
    guard.args(["sh", "-c", script]).stdin(Stdio::null());
    tools::run(guard)
}

fn a_run_of_tests_can_write_to_nothing_of_the_machine_and_leaves_nothing(node: &Node) {
    let outcome = guarded("touch /tmp/porthole-x && rm /tmp/porthole-x && exit 7");
    assert_eq!((outcome.status.code(), outcome.stderr.as_str()), (Some(7), ""), "{outcome:?}");
    // The node has made some of this writable again.
    tmpfs("/var/lib", "mode=755");
    let outcome = guarded("touch /var/lib/x");
    assert!(!outcome.status.success() && outcome.stderr.contains("Read-only file system"), "{outcome:?}");
    let name = format!("porthole-tests-{}", node.token());
    let left = format!("/tmp/{name}");
    let outcome = guarded(&format!("touch {left}"));
    fs::remove_file(&left).unwrap();
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains(&format!("left on the machine: {left}\n")), "{outcome:?}");
}

fn every_line_of_the_log_is_kept_in_order(node: &Node) {
    let socket = std::os::unix::net::UnixDatagram::unbound().unwrap();
    let lines: Vec<_> = (0..500).map(|n| format!("<28>porthole-hook[1]: {n}")).collect();
    for line in &lines {
        socket.send_to(line.as_bytes(), log::SOCKET).unwrap();
    }
    assert_eq!(node.log(), lines);
}

on_a_node!(requires(root, ip):
    a_node_is_apart_from_the_machine,
    a_test_can_write_to_nothing_of_the_machine,
    a_run_of_tests_can_write_to_nothing_of_the_machine_and_leaves_nothing,
    every_line_of_the_log_is_kept_in_order,
);

/// What this program says of a need, with `waived` in the variable: its status and its output.
fn with_waiver(waived: &str) -> (bool, String) {
    let mut probe = Command::new(std::env::current_exe().unwrap());
    probe
        .args(["--exact", "needs_something_that_is_nowhere", "--ignored", "--nocapture"])
        .stdin(Stdio::null());
    // Not into the list of what was really left out.
    let elsewhere = tempfile::tempdir().unwrap();
    probe.env("PORTHOLE_WAIVE", waived).env("PORTHOLE_BIN_DIR", elsewhere.path());
    let output = probe.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
#[ignore = "run by the tests of waivers, with and without one"]
fn needs_something_that_is_nowhere() {
    requires!(nonexistent_program);
    panic!("it is there");
}

#[test]
fn a_missing_need_fails_and_says_what_to_install() {
    for waived in ["", "root", "nonexistent"] {
        let (passed, text) = with_waiver(waived);
        assert!(!passed, "{text}");
        assert!(text.contains("apt-get install nonexistent_program"), "{text}");
    }
}

#[test]
fn a_waived_need_is_said_loudly() {
    let (passed, text) = with_waiver("root, nonexistent_program");
    assert!(passed, "{text}");
    assert!(text.contains("NOT RUN: needs_something_that_is_nowhere"), "{text}");
}
