//! The end of the command, and its signals.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use porthole_tests::process::wait_until;
use porthole_tests::{Node, on_a_node};

use crate::setting::{Running, comm, command, exec, field, send, web_0, work};

fn status(words: &[&str]) -> Option<i32> {
    exec(words).status.code()
}

fn exit_status_is_the_commands(node: &Node) {
    let container = web_0(node);
    for options in [&["web-0"][..], &["-F", "web-0"], &["-p", "web-0"]] {
        let with = |command: &[&str]| status(&[options, &["--"], command].concat());
        assert_eq!(with(&["true"]), Some(0), "{options:?}");
        assert_eq!(with(&["sh", "-c", "exit 7"]), Some(7), "{options:?}");
        assert_eq!(with(&["/etc/passwd"]), Some(126), "{options:?}");
        assert_eq!(with(&["/nonexistent/command"]), Some(127), "{options:?}");
        assert_eq!(with(&["no-such-command-anywhere"]), Some(127), "{options:?}");
    }
    for (signal, number) in [("TERM", 15), ("KILL", 9), ("USR1", 10)] {
        let kill = format!("kill -{signal} $$");
        assert_eq!(status(&["web-0", "--", "sh", "-c", &kill]), Some(128 + number), "{signal}");
    }
    container.delete();
}

fn what_is_porthole_s_own_is_125(node: &Node) {
    let container = web_0(node);
    for words in [
        &["no-such-pod", "true"][..],
        &["a//b", "true"],
        &[],
        &["--no-such-option", "web-0", "true"],
        &["--profile", "root", "web-0", "true"],
        &["-S", "x", "web-0", "true"],
        &["-S", "0", "--preserve-credentials", "web-0", "true"],
        &["-Z", "web-0", "true"],
        &["-w=/nonexistent", "web-0", "true"],
        &["web-0", "--", ""],
    ] {
        let outcome = exec(words);
        assert_eq!(outcome.status.code(), Some(125), "{words:?}: {outcome:?}");
        assert!(!outcome.stderr.is_empty(), "{words:?}");
    }
    assert_eq!(status(&["--help"]), Some(0));
    container.delete();
}

/// Writes the name of every signal it gets, and ends after TERM.
const NOTES: &str = r#"
for s in HUP INT QUIT USR1 USR2 ALRM VTALRM CONT WINCH; do trap "echo $s" $s; done
trap 'echo TERM; exit 3' TERM
echo ready
while :; do sleep 0.02; done
"#;

fn each_forwarded_signal_arrives_once(node: &Node) {
    let container = web_0(node);
    for option in ["-n", "-p"] {
        let here = work(node);
        let got = || fs::read_to_string(here.join("got")).unwrap_or_default();
        let mut notes = command(&[], &[option, "web-0", "--", "bash", "-c", NOTES], &here);
        notes.stdout(fs::File::create(here.join("got")).unwrap());
        let mut running = Running::spawn(notes, "bash");
        wait_until("the command to be ready", || got() == "ready\n");
        let mut expected = "ready\n".to_owned();
        for signal in ["HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "VTALRM", "CONT", "WINCH", "TERM"] {
            send(running.porthole(), signal);
            expected += &format!("{signal}\n");
            wait_until(signal, || got() == expected);
        }
        assert_eq!(running.wait().code(), Some(3), "{option}");
        assert_eq!(got(), expected, "{option}: none twice");
    }
    container.delete();
}

fn the_command_dies_with_porthole(node: &Node) {
    let container = web_0(node);
    for words in [
        &["web-0", "--", "sleep", "1000"][..],
        &["-p", "web-0", "--", "sleep", "1000"],
        &["-a", "web-0", "--", "/bin/sleep", "1000"],
        &["--profile", "sysadmin", "web-0", "--", "sleep", "1000"],
    ] {
        let mut running = Running::start(words, "sleep");
        let command = running.command().unwrap();
        send(running.porthole(), "KILL");
        running.wait();
        wait_until("the command to end", || comm(command) != "sleep" || is_zombie(command));
    }
    container.delete();
}

fn a_signal_at_any_instant_ends_the_command_and_no_other_way(node: &Node) {
    let container = web_0(node);
    let mut wrong = Vec::new();
    for options in [&["-p"][..], &["-a"], &["-n"]] {
        let words = [options, &["web-0", "--", "/bin/sleep", "1000"]].concat();
        for instant in 0..60 {
            let mut porthole = command(&[], &words, Path::new("/")).stderr(Stdio::piped()).spawn().unwrap();
            std::thread::sleep(Duration::from_micros(500) * instant);
            send(porthole.id(), "TERM");
            let until = Instant::now() + Duration::from_secs(3);
            let ended = loop {
                match porthole.try_wait().unwrap() {
                    None if Instant::now() < until => std::thread::sleep(Duration::from_millis(2)),
                    ended => break ended,
                }
            };
            drop(porthole.kill());
            let said = porthole.wait_with_output().unwrap().stderr;
            // Itself, where it has not come to wait for anything.
            let by_signal =
                ended.is_some_and(|status| status.code() == Some(143) || status.signal() == Some(15));
            if !by_signal || !said.is_empty() {
                wrong.push(format!("{options:?}, {instant}: {ended:?} {}", String::from_utf8_lossy(&said)));
            }
        }
    }
    container.delete();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A background process of a command whose porthole has gone is ended by nobody.
fn a_limit_of_the_caller_ends_the_command_and_not_porthole(node: &Node) {
    let container = web_0(node);
    for option in ["-n", "-p"] {
        let words = [option, "web-0", "--", "sleep", "1000"];
        let limited = ["prlimit", "--cpu=777:unlimited", "--fsize=4096", "--"];
        let running = Running::spawn(command(&limited, &words, Path::new("/")), "sleep");
        send(running.porthole(), "XFSZ");
        let limit = |pid: u32| {
            let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
            let line = limits.lines().find_map(|line| line.strip_prefix("Max cpu time")).unwrap();
            line.split_whitespace().next().unwrap().to_owned()
        };
        let command = running.command().unwrap();
        wait_until("porthole to be without it", || limit(running.porthole()) == "unlimited");
        assert_eq!(limit(command), "777");
        let status = fs::read_to_string(format!("/proc/{command}/status")).unwrap();
        let ignored = u64::from_str_radix(field(&status, "SigIgn"), 16).unwrap();
        let (sigpipe, sigxfsz) = (1 << 12, 1 << 24);
        assert_eq!(ignored & (sigpipe | sigxfsz), 0, "{option}: {ignored:x}");
        assert_eq!((comm(running.porthole()), comm(command)), ("porthole".into(), "sleep".into()));
    }
    container.delete();
}

fn is_zombie(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

fn without_a_fork_porthole_becomes_the_command(node: &Node) {
    let container = web_0(node);
    let mut child = command(&[], &["-F", "web-0", "--", "sleep", "1000"], Path::new("/")).spawn().unwrap();
    wait_until("the command", || comm(child.id()) == "sleep");
    child.kill().unwrap();
    child.wait().unwrap();
    container.delete();
}

on_a_node!(requires(root, ip, runc):
    exit_status_is_the_commands,
    what_is_porthole_s_own_is_125,
    each_forwarded_signal_arrives_once,
    the_command_dies_with_porthole,
    a_signal_at_any_instant_ends_the_command_and_no_other_way,
    a_limit_of_the_caller_ends_the_command_and_not_porthole,
    without_a_fork_porthole_becomes_the_command,
);
