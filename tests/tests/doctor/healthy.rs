//! A node on which all is well, and how it is told.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use porthole_tests::engine::system;
use porthole_tests::tools::run;
use porthole_tests::{Node, leaks, on_a_node};

use crate::setting::{PORTHOLE, doctor, doctor_with, install, pod, porthole};

fn a_node_with_hooked_pods_is_healthy(node: &Node) {
    install();
    doctor().expect_health();
    let pod = pod(node, "web-0");
    let said = doctor();
    said.expect_health();
    // There is no engine on this node: containers are runc's alone.
    assert_eq!(said.with("warn"), [("engine-hook".to_owned(), "engines".to_owned())], "{:#}", said.document);
    said.expect("ok", "pins", "1 pin for 1 record");
    said.expect("ok", "hook-binary", "static");
    said.expect("ok", "netns-directory", "a shared mount, on /run, which is shared; 1 pin");
    said.expect("ok", "registry-directory", "on a tmpfs");
    pod.delete();
    doctor().expect_health();
}

fn a_line_for_each_check_and_a_summary(_node: &Node) {
    install();
    fs::remove_file("/dev/log").unwrap();
    let outcome = porthole(&["doctor"]);
    let text = outcome.expect_success();
    let lines: Vec<_> = text.lines().collect();
    let hook = lines.iter().find(|line| line.contains("hook-binary")).unwrap();
    assert!(hook.starts_with("ok    hook-binary "), "{hook}");
    assert!(hook.contains("/usr/libexec/porthole/porthole-hook: static, "), "{hook}");
    let log = lines.iter().position(|line| line.starts_with("warn  system-log ")).expect("a line of the log");
    assert!(lines[log + 1].trim_start().starts_with("-> "), "{text}");
    let last = lines.last().unwrap();
    assert!(last.contains(" checks: ") && last.contains(" ok, 2 warnings, 0 failures"), "{last}");
}

fn a_document_for_programs(_node: &Node) {
    install();
    let document = doctor().document;
    let checks = document["checks"].as_array().unwrap();
    for check in checks {
        let keys: BTreeSet<_> = check.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, BTreeSet::from(["name", "subject", "verdict", "evidence", "remedy"]), "{check}");
        assert!(["ok", "warn", "fail", "skip"].contains(&check["verdict"].as_str().unwrap()), "{check}");
        assert!(check["evidence"].is_string() && check["name"].is_string(), "{check}");
    }
    let summary = document["summary"].as_object().unwrap();
    let sum: u64 = summary.values().map(|number| number.as_u64().unwrap()).sum();
    assert_eq!((summary.len(), sum), (4, checks.len() as u64));
}

fn only_the_checks_that_are_named(_node: &Node) {
    install();
    let said = doctor_with(&[], &["hook-binary", "kernel-calls"]);
    let names: Vec<_> = said.with("ok").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["hook-binary", "kernel-calls"], "{:#}", said.document);
    assert_eq!(said.document["checks"].as_array().unwrap().len(), 2);
    assert_eq!(porthole(&["doctor", "no-such-check"]).status.code(), Some(2));
}

fn it_changes_nothing(node: &Node) {
    install();
    let pod = pod(node, "web-0");
    let mountinfo = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let state =
        || (system::changes(), leaks::below(node.run_dir()), leaks::below(node.netns_dir()), mountinfo());
    let before = state();
    doctor().expect_health();
    porthole(&["doctor"]).expect_success();
    assert!(state() == before, "doctor has changed something");
    pod.delete();
    // Nor does it make a registry where there is none.
    fs::remove_dir_all(node.run_dir()).unwrap();
    doctor().expect_health();
    assert!(!node.run_dir().exists());
}

fn without_root_it_says_what_needs_root(node: &Node) {
    install();
    let pod = pod(node, "web-0");
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", PORTHOLE, "doctor"]);
    let outcome = run(command);
    let text = outcome.expect_success();
    let line =
        |name: &str| text.lines().find(|line| line.contains(&format!("  {name} "))).unwrap().to_owned();
    for name in ["unregistered-containers", "mount-namespace"] {
        assert!(line(name).starts_with("skip") && line(name).ends_with("needs root"), "{}", line(name));
    }
    for name in ["hook-binary", "pins", "dead-records", "records", "registry-lock"] {
        assert!(line(name).starts_with("ok"), "{}", line(name));
    }
    pod.delete();
}

on_a_node!(requires(root, ip, runc):
    a_node_with_hooked_pods_is_healthy,
    a_line_for_each_check_and_a_summary,
    a_document_for_programs,
    only_the_checks_that_are_named,
    it_changes_nothing,
    without_root_it_says_what_needs_root,
);
