//! Capabilities, new privileges, keyrings.

use std::fs;

use porthole_tests::{Container, Node, Runtime, on_a_node, requires};

use crate::setting::{
    NET_ADMIN, NET_RAW, SYS_PTRACE, bundle, exec, exec_under, field, output, profiles, web_0, work,
};

const SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];

fn sets(status: &str) -> Vec<u64> {
    SETS.iter().map(|name| u64::from_str_radix(field(status, name), 16).unwrap()).collect()
}

fn the_five_sets_are_exactly_the_profiles(node: &Node) {
    let container = web_0(node);
    for (profile, wanted) in profiles() {
        // Tracing is for the target's processes; without -p there are the host's.
        let others: &[&str] = if profile == "trace" { &["-p", "-n"] } else { &["-n"] };
        for uid in ["65534", "0"] {
            let command = ["--profile", profile, "--uid", uid, "web-0", "--", "cat", "/proc/self/status"];
            let status = output(&[others, &command].concat());
            assert_eq!(sets(&status), [wanted; 5], "{profile} as uid {uid}");
            let ids = field(&status, "Uid").split_whitespace().all(|id| id == uid);
            assert!(ids, "{profile}: {}", field(&status, "Uid"));
            assert_eq!(field(&status, "Groups"), "", "{profile}: no supplementary groups");
        }
    }
    let status = output(&["web-0", "--", "cat", "/proc/self/status"]);
    assert_eq!(sets(&status), [NET_RAW; 5], "general is the default");
    container.delete();
}

fn tracing_the_hosts_processes_has_to_be_named(node: &Node) {
    let container = web_0(node);
    let sets_of = |options: &[&str]| {
        sets(&output(&[&["--profile", "trace"], options, &["web-0", "cat", "/proc/self/status"]].concat()))
    };
    assert_eq!(sets_of(&["-n"]), [NET_RAW; 5]);
    assert_eq!(sets_of(&["-n", "--cap-add", "SYS_PTRACE"]), [NET_RAW | SYS_PTRACE; 5]);
    container.delete();
    let hosts_pids = bundle(node).with(|config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().retain(|ns| ns["type"] != "pid");
    });
    let container = Container::run(Runtime::Runc, &hosts_pids);
    assert_eq!(sets_of(&["-n", "-p"]), [NET_RAW; 5], "its processes are among the host's");
    container.delete();
}

fn capabilities_are_added_and_dropped_by_name(node: &Node) {
    let container = web_0(node);
    let add = ["--cap-add", "net_admin,CAP_SYS_PTRACE", "--cap-drop", "NET_RAW"];
    let mut words = add.to_vec();
    words.extend(["web-0", "--", "cat", "/proc/self/status"]);
    assert_eq!(sets(&output(&words)), [NET_ADMIN | SYS_PTRACE; 5]);
    let none = output(&["--profile", "sysadmin", "--cap-drop", "ALL", "web-0", "cat", "/proc/self/status"]);
    assert_eq!(sets(&none), [0; 5]);
    container.delete();
}

fn no_new_privs_is_set_in_every_profile(node: &Node) {
    let container = web_0(node);
    for (profile, _) in profiles() {
        let status = output(&["--profile", profile, "web-0", "--", "cat", "/proc/self/status"]);
        assert_eq!(field(&status, "NoNewPrivs"), "1", "{profile}");
    }
    container.delete();
}

fn a_capability_the_caller_lacks_is_125_and_names_it(node: &Node) {
    requires!(setpriv);
    let container = web_0(node);
    let ran = work(node).join("ran");
    let touch = ["web-0", "--", "touch", ran.to_str().unwrap()];
    let outcome = exec_under(&["setpriv", "--bounding-set", "-net_raw", "--"], &touch);
    assert_eq!(outcome.status.code(), Some(125), "{outcome:?}");
    assert!(outcome.stderr.contains("CAP_NET_RAW"), "{outcome:?}");
    assert!(outcome.stderr.contains("help: "), "{outcome:?}");
    let outcome = exec(&["--cap-add", "FLY", "web-0", "true"]);
    assert_eq!(outcome.status.code(), Some(125), "a usage error of exec is ours: {outcome:?}");
    assert!(!ran.exists());
    container.delete();
}

fn without_setpcap_nothing_runs(node: &Node) {
    requires!(setpriv);
    let container = web_0(node);
    let ran = work(node).join("ran");
    // restricted reduces its capabilities in a user namespace of porthole's, in which it has this one.
    for profile in ["general", "trace", "sysadmin"] {
        let words = ["--profile", profile, "web-0", "--", "touch", ran.to_str().unwrap()];
        let outcome = exec_under(&["setpriv", "--bounding-set", "-setpcap", "--"], &words);
        assert_eq!(outcome.status.code(), Some(125), "{profile}: {outcome:?}");
        assert!(outcome.stderr.contains("reduce capabilities"), "{profile}: {outcome:?}");
        assert!(!ran.exists(), "{profile}");
    }
    container.delete();
}

fn the_callers_session_keyring_is_out_of_reach(node: &Node) {
    let container = web_0(node);
    // /proc/keys lists the keys that the reader may see: of a session keyring of root's, only whoever possesses it.
    let ids = |keys: &str| -> Vec<String> {
        let keyrings = keys.lines().filter(|line| line.contains(" keyring ") && line.contains("_ses"));
        keyrings.map(|line| line[..8].to_owned()).collect()
    };
    let mine = ids(&fs::read_to_string("/proc/keys").unwrap());
    for options in [&["-n"][..], &["-F"], &["-p"], &["--profile", "sysadmin", "--uid", "65534"]] {
        let theirs = output(&[options, &["web-0", "--", "cat", "/proc/keys"]].concat());
        let seen = ids(&theirs);
        assert_eq!(seen.len(), 1, "{options:?}: one of its own: {theirs}");
        assert!(!mine.contains(&seen[0]), "{options:?}: not the caller's: {theirs}");
    }
    container.delete();
}

on_a_node!(requires(root, ip, runc):
    the_five_sets_are_exactly_the_profiles,
    tracing_the_hosts_processes_has_to_be_named,
    capabilities_are_added_and_dropped_by_name,
    no_new_privs_is_set_in_every_profile,
    a_capability_the_caller_lacks_is_125_and_names_it,
    without_setpcap_nothing_runs,
    the_callers_session_keyring_is_out_of_reach,
);
