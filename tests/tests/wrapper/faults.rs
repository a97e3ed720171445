//! The wrapper killed, or tripped up, at any of its system calls: a whole configuration, and a runtime that runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use porthole_tests::tools::{self, binary};
use porthole_tests::{Node, Outcome, on_a_node};

const CONFIG: &str = "{\n  \"ociVersion\": \"1.0.2\"\n}\n";

/// Blocks and ignores every signal that can be.
const DEAF: [&str; 3] = ["/usr/bin/env", "--ignore-signal", "--block-signal"];

/// A runtime that tells what it got. Nothing but the shell itself looks: dash blocks all signals while it starts others.
const REAL: &str = r#"#!/bin/sh
while read -r key value; do
    case $key in SigBlk: | SigIgn:) echo "$key $value" ;; esac
done </proc/$$/status
echo "$@"
"#;

/// The output of a runtime that gets everything that was passed to `words`.
fn ran(words: &[&str]) -> String {
    prepare();
    let words = [words, &["/mnt/real", "create", "--bundle", "/mnt/bundle", "c1"]].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::null());
    tools::run(command).expect_success().to_owned()
}

/// Calls of the wrapper that it can be hit at, and how often it makes them.
const CALLS: [(&str, usize); 9] = [
    ("openat", 3),
    ("fstat", 1),
    ("read", 2),
    ("fchown", 1),
    ("fchmod", 1),
    ("flistxattr", 1),
    ("write", 1),
    ("renameat", 1),
    ("close", 3),
];

/// Runs the wrapper with `fault` at one call. The runtime, if it comes to that, says so.
fn with_fault(fault: &str, call: &str, nth: usize) -> Outcome {
    let inject = format!("inject={call}:{fault}:when={nth}");
    under(&["strace", "-qq", "-o", "/dev/null", "-e", &inject, "--"])
}

/// Runs the wrapper under another program.
fn under(words: &[&str]) -> Outcome {
    prepare();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(binary("porthole-runtime"));
    command.args(["--real", "/mnt/real", "--hook", "/x/porthole-hook", "--"]);
    command.args(["create", "--bundle", "/mnt/bundle", "c1"]).stdin(Stdio::null());
    tools::run(command)
}

fn prepare() {
    let _ = fs::remove_dir_all("/mnt/bundle");
    fs::create_dir("/mnt/bundle").unwrap();
    fs::write("/mnt/bundle/config.json", CONFIG).unwrap();
    fs::write("/mnt/real", REAL).unwrap();
    fs::set_permissions("/mnt/real", fs::Permissions::from_mode(0o755)).unwrap();
}

/// The configuration is one of two: that of before, or the one with the hook.
#[track_caller]
fn is_changed(what: &str) -> bool {
    let text = fs::read_to_string("/mnt/bundle/config.json").unwrap();
    if text == CONFIG {
        return false;
    }
    let document: serde_json::Value =
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{what}: {e}: {text}"));
    assert_eq!(document["hooks"].as_object().unwrap().len(), 2, "{what}");
    true
}

fn killed_at_any_call_it_leaves_a_whole_configuration(node: &Node) {
    let mut changed = 0;
    for (call, count) in CALLS {
        for nth in 1..=count {
            let outcome = with_fault("signal=KILL", call, nth);
            assert_eq!(outcome.status.signal(), Some(9), "{call} {nth}: {outcome:?}");
            changed += usize::from(is_changed(call));
        }
    }
    assert!(changed > 0, "after the last step it is changed");
    node.expect_silence("kills");
}

fn tripped_up_at_any_call_it_becomes_the_runtime_all_the_same(node: &Node) {
    let ran = ran(&[]);
    assert!(ran.starts_with("SigBlk: 0000000000000000\n"), "{ran}");
    for signal in ["SEGV", "ABRT", "BUS"] {
        for (call, nth) in [("openat", 1), ("read", 1), ("fchmod", 1), ("write", 1), ("renameat", 1)] {
            let outcome = with_fault(&format!("signal={signal}"), call, nth);
            assert_eq!(outcome.expect_success(), ran, "{signal} at {call}");
            node.expect_one_line(&["porthole-runtime", "crashed", "`porthole reconcile`"]);
            is_changed(call);
        }
    }
}

fn tripped_up_with_every_signal_blocked_and_ignored_it_passes_them_on_so(node: &Node) {
    let ran = ran(&DEAF);
    assert!(!ran.contains("SigBlk: 0000000000000000") && !ran.contains("SigIgn: 0000000000000000"), "{ran}");
    assert_eq!(under(&DEAF).expect_success(), ran);
    assert!(is_changed("no fault"));
    for signal in ["SEGV", "ABRT", "BUS", "ILL", "FPE"] {
        let fault = format!("inject=fchmod:signal={signal}");
        let strace = ["strace", "-qq", "-o", "/dev/null", "-e", &fault, "--"];
        let outcome = under(&[&strace[..], &DEAF].concat());
        assert_eq!(outcome.expect_success(), ran, "{signal}");
        node.expect_one_line(&["porthole-runtime", "crashed", "`porthole reconcile`"]);
        is_changed(signal);
    }
}

fn a_limit_on_the_size_of_files_costs_the_hook_and_passes_on(node: &Node) {
    let outcome = under(&["prlimit", "--fsize=4"]);
    // The runtime of this test writes more than the limit, and finds no signal ignored.
    assert_eq!((outcome.status.signal(), outcome.stdout.len()), (Some(25), 4), "{outcome:?}");
    node.expect_one_line(&["container c1: /mnt/bundle/config.json: write a file beside it: ", "os error 27"]);
    assert!(!is_changed("a limit"));
    assert_eq!(fs::read_dir("/mnt/bundle").unwrap().count(), 1, "something is left");
}

fn a_draft_that_a_killed_wrapper_of_the_same_number_left_is_no_hindrance(node: &Node) {
    let ran = ran(&[]);
    prepare();
    let script = "printf x >/mnt/bundle/.config.json.porthole-$$; exec \"$@\"";
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, "sh"]).arg(binary("porthole-runtime"));
    command.args(["--real", "/mnt/real", "--hook", "/x/porthole-hook", "--"]);
    command.args(["create", "--bundle", "/mnt/bundle", "c1"]).stdin(Stdio::null());
    let outcome = tools::run(command);
    assert_eq!(outcome.expect_success(), ran);
    assert!(is_changed("a draft"));
    assert_eq!(fs::read_dir("/mnt/bundle").unwrap().count(), 1, "something is left");
    node.expect_silence("a draft");
}

fn refused_at_any_call_it_says_so_and_changes_nothing(node: &Node) {
    let ran = ran(&[]);
    for (call, count) in CALLS.into_iter().filter(|(call, _)| *call != "close") {
        for nth in 1..=count {
            let outcome = with_fault("error=EIO", call, nth);
            assert_eq!(outcome.expect_success(), ran, "{call} {nth}");
            node.expect_one_line(&["container c1: /mnt/bundle/config.json: ", "os error 5"]);
            assert!(!is_changed(call), "{call} {nth}");
            assert_eq!(fs::read_dir("/mnt/bundle").unwrap().count(), 1, "{call} {nth}: something is left");
        }
    }
    node.expect_silence("refusals");
}

fn without_a_system_log_or_with_nobody_at_stderr_it_goes_on(_: &Node) {
    fs::rename("/dev/log", "/dev/log.away").unwrap();
    fs::create_dir("/mnt/bundle").unwrap();
    let wrapper = binary("porthole-runtime").display().to_string();
    // The reader of stderr has gone: who writes to it dies of SIGPIPE.
    let script = format!(
        "mkfifo /mnt/fifo; exec 4<>/mnt/fifo 5>/mnt/fifo; exec 4<&-; \
         {wrapper} --real /bin/echo -- create --bundle /mnt/bundle c1 2>&5; \
         {wrapper} --real /bin/echo -- create --bundle /mnt/bundle c2"
    );
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &script]).stdin(Stdio::null());
    let outcome = tools::run(command);
    assert_eq!(outcome.expect_success(), "create --bundle /mnt/bundle c1\ncreate --bundle /mnt/bundle c2\n");
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    assert!(outcome.stderr.starts_with("porthole-runtime: container c2: "), "{}", outcome.stderr);
    fs::rename("/dev/log.away", "/dev/log").unwrap();
}

on_a_node!(requires(root, ip, unshare, strace):
    killed_at_any_call_it_leaves_a_whole_configuration,
    tripped_up_at_any_call_it_becomes_the_runtime_all_the_same,
    tripped_up_with_every_signal_blocked_and_ignored_it_passes_them_on_so,
    a_limit_on_the_size_of_files_costs_the_hook_and_passes_on,
    a_draft_that_a_killed_wrapper_of_the_same_number_left_is_no_hindrance,
    refused_at_any_call_it_says_so_and_changes_nothing,
    without_a_system_log_or_with_nobody_at_stderr_it_goes_on,
);
