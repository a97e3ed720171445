//! The state of a command from outside: every profile, whoever asks, whatever runtime made the target.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use porthole_tests::child::Child;
use porthole_tests::process::wait_until;
use porthole_tests::{Container, Node, Runtime, on_a_node};

use crate::setting::{Running, SUDO, bundle, command, policy, profiles};

const RULE: &str = "[[rule]]\neffect = 'allow'\nusers = ['1234']\nprofiles = ['*']\n\
                    allow = ['enter', 'cap-add', 'root', 'user', 'env', 'directory', 'context', 'host', 'unbound']\n";

/// The state of a command that sleeps.
fn state(words: &[&str], sudo: bool) -> Child {
    let mut command = command(&[], words, Path::new("/"));
    command.stdout(Stdio::null()).stderr(Stdio::null()).env("SECRET", "hunter2");
    if sudo {
        command.envs(SUDO);
    }
    let running = Running::spawn(command, "sleep");
    let pid = running.command().unwrap();
    // Until then it is its loader, which has a library open.
    wait_until("it to sleep", || {
        fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|at| at.contains("nanosleep"))
    });
    Child::of(pid)
}

/// What does not depend on the profile.
fn is_hygienic(child: &Child, what: &str) {
    assert!(child.no_new_privs, "{what}");
    assert_eq!(child.groups, [0u32; 0], "{what}: no supplementary groups");
    assert_eq!(child.descriptors, [0, 1, 2], "{what}");
    assert!(child.own_cgroup, "{what}: a cgroup of its own");
    assert_eq!(child.oom_score_adj, 500, "{what}");
    assert!(!child.variables.iter().any(|name| name == "SECRET"), "{what}: {:?}", child.variables);
    assert!(child.variables.iter().any(|name| name == "PORTHOLE_TARGET"), "{what}: {:?}", child.variables);
}

fn the_state_is_the_profiles_whoever_asks_and_whoever_made_the_target(node: &Node) {
    policy(node, RULE);
    for runtime in [Runtime::Runc, Runtime::Crun] {
        let container = Container::run(runtime, &bundle(node));
        for (profile, capabilities) in profiles() {
            for sudo in [false, true] {
                let what = format!("{runtime:?}, {profile}, {}", if sudo { "ann by sudo" } else { "root" });
                // Tracing is for the target's processes; without -p there are the host's.
                let others: &[&str] = if profile == "trace" { &["-p", "-n"] } else { &["-n"] };
                let words = [&["--profile", profile], others, &["web-0", "--", "sleep", "1000"]].concat();
                let child = state(&words, sudo);
                is_hygienic(&child, &what);
                assert_eq!(child.capabilities, [capabilities; 5], "{what}");
                let (uid, gid) = match (profile, sudo) {
                    ("sysadmin", _) => (0, 0),
                    (_, true) => (1234, 567),
                    (_, false) => (65534, 65534),
                };
                assert_eq!((child.uids, child.gids), ([uid; 4], [gid; 4]), "{what}");
                let filtered = profile != "sysadmin";
                assert_eq!(child.seccomp, if filtered { 2 } else { 0 }, "{what}");
                assert_eq!(child.netns, Some(container.netns()), "{what}");
                let has = |option: &str| child.root.iter().any(|other| other == option);
                assert_eq!(has("ro") && has("nosuid"), filtered, "{what}: {:?}", child.root);
            }
        }
        container.delete();
    }
}

fn in_a_user_namespace_it_is_the_same_with_the_targets_ids(node: &Node) {
    let every = fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap();
    let every = (1u64 << (every.trim().parse::<u32>().unwrap() + 1)) - 1;
    for runtime in [Runtime::Runc, Runtime::Crun] {
        let container = Container::run(runtime, &bundle(node).user_namespace());
        for (profile, capabilities) in profiles() {
            let what = format!("{runtime:?}, {profile}");
            let child = state(&["--profile", profile, "-a", "web-0", "--", "/bin/sleep", "1000"], false);
            is_hygienic(&child, &what);
            let wanted = if profile == "sysadmin" { every } else { capabilities };
            assert_eq!(child.capabilities, [wanted; 5], "{what}");
            assert_eq!((child.uids, child.gids), ([100_000; 4], [100_000; 4]), "{what}");
            assert_eq!(child.seccomp, if profile == "sysadmin" { 0 } else { 2 }, "{what}");
            assert_eq!(child.netns, Some(container.netns()), "{what}");
        }
        container.delete();
    }
}

on_a_node!(requires(root, ip, runc, crun):
    the_state_is_the_profiles_whoever_asks_and_whoever_made_the_target,
    in_a_user_namespace_it_is_the_same_with_the_targets_ids,
);
