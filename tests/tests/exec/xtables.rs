//! iptables as it was before nftables: it takes a lock in `/run` first.

use std::path::Path;
use std::process::{Command, Stdio};

use porthole_tests::tools::run;
use porthole_tests::{Node, on_a_node, requires};

use crate::setting::{Running, exec, output, web_0};

const LOCK: &str = "/run/xtables.lock";

/// Whether this kernel has the old tables at all. Asks in a network namespace of its own.
fn has_old_tables(program: &str) -> bool {
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", program, "-S"]).stdin(Stdio::null());
    run(unshare).status.success()
}

fn netadmin<'a>(more: &[&'a str], pod: &'a str, command: &[&'a str]) -> Vec<&'a str> {
    [&["--profile", "netadmin"], more, &[pod, "--"], command].concat()
}

/// A command that holds the lock of a pod until its guard is dropped.
fn holder(pod: &str) -> Running {
    let script = format!("exec 9<{LOCK}; flock 9; exec sleep 600");
    Running::start(&netadmin(&[], pod, &["sh", "-c", &script]), "sleep")
}

fn rules_of_the_old_tables_are_listed_and_changed(node: &Node) {
    requires!(iptables);
    let container = web_0(node);
    // A view of the host, one of the tools alone, and one that the target sees through.
    for more in [&[] as &[&str], &["-S=0"], &["-n", "-p"]] {
        for program in ["iptables-legacy", "ip6tables-legacy"].into_iter().filter(|p| has_old_tables(p)) {
            let rule = ["-A", "INPUT", "-p", "tcp", "--dport", "9", "-j", "ACCEPT"];
            output(&netadmin(more, "web-0", &[&[program], &rule[..]].concat()));
            let rules = output(&netadmin(more, "web-0", &[program, "-S"]));
            assert!(
                rules.contains("-P INPUT ACCEPT\n") && rules.contains("--dport 9 -j ACCEPT\n"),
                "{rules}"
            );
            output(&netadmin(more, "web-0", &[program, "-F"]));
        }
        let script =
            "set -e; exec 9</run/xtables.lock; flock -n 9; iptables-nft -S; ebtables -L; nft list ruleset";
        let listed = output(&netadmin(more, "web-0", &["sh", "-c", script]));
        assert!(listed.contains("-P INPUT ACCEPT\n"), "{more:?}: {listed}");
    }
    container.delete();
}

fn nobody_holds_the_lock_against_another_command(node: &Node) {
    let container = web_0(node);
    let holding = holder("web-0");
    let take = exec(&netadmin(&[], "web-0", &["flock", "--nonblock", LOCK, "true"]));
    assert_eq!(take.status.code(), Some(0), "{take:?}");
    assert!(!Path::new(LOCK).exists(), "nothing of it is the host's");
    drop(holding);
    container.delete();
}

fn nothing_can_be_written_to_the_lock_or_beside_it(node: &Node) {
    let container = web_0(node);
    for user in ["-S=0", "-S=65534"] {
        for script in [
            "echo x >/run/xtables.lock",
            "rm /run/xtables.lock",
            "touch /run/x",
            "chmod 666 /run/xtables.lock",
        ] {
            let outcome = exec(&netadmin(&[user], "web-0", &["sh", "-c", script]));
            assert!(!outcome.status.success(), "{user} {script}: {outcome:?}");
        }
        let run = output(&netadmin(&[user], "web-0", &["ls", "/run"]));
        assert_eq!(run, "lock\nxtables.lock\n", "{user}");
    }
    let plan = output(&["--explain", "--profile", "netadmin", "web-0", "--", "true"]);
    assert!(plan.contains("; /run with xtables.lock alone; "), "{plan}");
    container.delete();
}

fn only_who_may_change_the_pods_own_network_has_the_lock(node: &Node) {
    let container = web_0(node);
    for words in
        [&["web-0"] as &[&str], &["--profile", "trace", "web-0"], &["--profile", "netadmin", "-u", "web-0"]]
    {
        let run = output(&[words, &["--", "ls", "/run"]].concat());
        assert_eq!(run, "lock\n", "{words:?}");
        let plan = output(&[&["--explain"], words, &["--", "true"]].concat());
        assert!(plan.contains("; /run empty; "), "{plan}");
    }
    container.delete();
}

on_a_node!(requires(root, ip, runc, unshare):
    rules_of_the_old_tables_are_listed_and_changed,
    nobody_holds_the_lock_against_another_command,
    nothing_can_be_written_to_the_lock_or_beside_it,
    only_who_may_change_the_pods_own_network_has_the_lock,
);
