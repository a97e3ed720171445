//! What a rule has to allow by name, and that no word allows more than it says.

use std::fs;
use std::path::Path;
use std::process::Command;

use porthole_tests::process::{Sleeper, wait_until};
use porthole_tests::{Node, on_a_node, tools};

use super::{refused, rule};
use crate::setting::{as_ann, command, policy, web_0};

/// Each word but one.
fn all_but(but: &str, keys: &str) -> String {
    let all = [
        "enter",
        "chroot",
        "host-mount",
        "cap-add",
        "root",
        "user",
        "env",
        "directory",
        "context",
        "host",
        "unbound",
    ];
    let allowed: Vec<_> = all.iter().filter(|need| **need != but).collect();
    rule(&format!("{keys}\nallow = {allowed:?}"))
}

fn what_is_dangerous_has_to_be_allowed_by_name(node: &Node) {
    let container = web_0(node);
    for (words, need) in [
        (&["-m"][..], "enter"),
        (&["-p", "-n"], "enter"),
        (&["-r"], "enter"),
        (&["-r=/"], "chroot"),
        (&["-w"], "enter"),
        (&["--cap-add", "NET_ADMIN"], "cap-add"),
        (&["--cap-add", "SETUID"], "root"),
        (&["-S", "0"], "root"),
        (&["-G", "0"], "root"),
        (&["--preserve-credentials"], "root"),
        (&["-S", "1235"], "user"),
        (&["-G", "568"], "user"),
        (&["-w=/"], "directory"),
        (&["-u"], "host"),
        (&["--profile", "trace", "--cap-add", "SYS_PTRACE"], "host"),
        (&["--cgroup", "none"], "unbound"),
        (&["--cgroup", "target"], "unbound"),
        (&["-F"], "unbound"),
    ] {
        let words = [words, &["web-0", "--", "/bin/busybox", "true"]].concat();
        let allow = |but: &str| all_but(but, "profiles = ['general', 'trace']");
        policy(node, &allow(need));
        refused(&as_ann(&words), &format!("does not allow {need}"));
        policy(node, &allow(""));
        as_ann(&words).expect_success();
    }
    policy(node, &rule(""));
    for words in [&["-S", "1234"][..], &["-G", "567"], &["-S", "65534", "-G", "65534"], &["-n", "-u", "-i"]] {
        as_ann(&[words, &["web-0", "--", "true"]].concat()).expect_success();
    }
    refused(&as_ann(&["pid:1", "--", "true"]), "host");
    refused(&as_ann(&["--profile", "netadmin", "web-0", "--", "true"]), "not about profile netadmin");
    refused(&as_ann(&["pid:1", "-m", "-n", "--", "true"]), "does not allow enter");
    container.delete();
}

/// What a container's hosts' files would show: the host's own `/etc`, not the view's.
fn enter_alone_does_not_drop_the_view(node: &Node) {
    let container = web_0(node);
    // A service of the host with a mount namespace of its own: its root is the host's.
    let service = Sleeper::unshared(&["--mount"]);
    let service = format!("pid:{}", service.pid());
    // The same with the network of its own, in which no right of the host's is asked for.
    let apart = Sleeper::unshared(&["--mount", "--net"]);
    let apart = format!("pid:{}", apart.pid());
    policy(node, &rule("allow = ['enter', 'root', 'host', 'directory', 'user']"));
    for (words, word) in [
        (&["-n", "-r=/", "-S", "0", "web-0"][..], "chroot"),
        (&["-n", "-r=/", "web-0"], "chroot"),
        (&["-n", "-m", "-r=/", "web-0"], "chroot"),
        (&["-m", "pid:1"], "host-mount"),
        (&["-n", "-m", "-S", "0", "pid:1"], "host-mount"),
        (&["-n", "-r", "pid:1"], "host-mount"),
        (&["-n", "-w", "pid:1"], "host-mount"),
        (&["-n", "-m", &service], "host-mount"),
        (&["-a", &service], "host-mount"),
        (&["-n", "-r", &service], "host-mount"),
        (&["-n", "-m", &apart], "host-mount"),
        (&["-a", &apart], "host-mount"),
    ] {
        let words = [words, &["--", "/bin/busybox", "true"]].concat();
        refused(&as_ann(&words), &format!("does not allow {word}"));
    }
    // The container's own file system is what the word is for.
    as_ann(&["-m", "-n", "web-0", "--", "/bin/busybox", "true"]).expect_success();
    as_ann(&["-n", "-r", "web-0", "--", "/bin/busybox", "true"]).expect_success();
    as_ann(&["-a", "web-0", "--", "/bin/busybox", "true"]).expect_success();
    policy(node, &rule("allow = ['enter', 'host', 'host-mount']"));
    as_ann(&["-n", "-m", &service, "--", "/bin/busybox", "true"]).expect_success();
    policy(node, &rule("allow = ['chroot']"));
    as_ann(&["-n", "-r=/", "web-0", "--", "/bin/busybox", "true"]).expect_success();
    container.delete();
}

/// Its child in a session of its own is still there when porthole and what it became have ended.
fn no_fork_is_unbound(node: &Node) {
    let container = web_0(node);
    policy(node, &rule(""));
    let script = "setsid sleep 4321 & exec sleep 4322";
    let words = ["-F", "web-0", "--", "sh", "-c", script];
    refused(&as_ann(&words), "does not allow unbound");
    policy(node, &rule("allow = ['unbound']"));
    let mut child = command(&[], &words, Path::new("/"));
    let mut child = child.envs(crate::setting::SUDO).spawn().unwrap();
    let cgroup = || fs::read_to_string(format!("/proc/{}/cgroup", child.id())).unwrap_or_default();
    let command_line = || fs::read(format!("/proc/{}/cmdline", child.id())).unwrap_or_default();
    wait_until("the command", || command_line().starts_with(b"sleep\x004322"));
    assert!(cgroup().contains("porthole"), "a cgroup of its own, as always: {}", cgroup());
    child.kill().unwrap();
    child.wait().unwrap();
    let mut pkill = Command::new("pkill");
    pkill.args(["-x", "-f", "sleep 4321"]);
    tools::run(pkill).expect_success();
    container.delete();
}

/// A user namespace in which 0 is root of the host: what may enter it is not what may be root.
fn root_by_the_map_of_a_user_namespace_is_root(node: &Node) {
    let container = web_0(node);
    let mapped = Sleeper::unshared(&["--user", "--map-root-user", "--net"]);
    let mapped = format!("pid:{}", mapped.pid());
    let words = ["-U", "-n", &mapped, "--", "/bin/busybox", "true"];
    policy(node, &rule("allow = ['enter', 'host']"));
    refused(&as_ann(&words), "does not allow root");
    policy(node, &rule("allow = ['enter', 'host', 'root']"));
    as_ann(&words).expect_success();
    container.delete();
}

/// In a user namespace of a user of the host one is that user.
fn another_user_by_the_map_of_a_user_namespace_is_another_user(node: &Node) {
    let container = web_0(node);
    let mut start = Command::new("setpriv");
    start.args(["--reuid", "4711", "--regid", "4711", "--clear-groups"]);
    start.args(["unshare", "--user", "--map-root-user", "--net", "/bin/busybox", "sleep", "1000"]);
    let mut somebody = start.spawn().unwrap();
    let comm = || fs::read_to_string(format!("/proc/{}/comm", somebody.id())).unwrap_or_default();
    wait_until("the user's process", || comm().trim() == "busybox");
    let target = format!("pid:{}", somebody.id());
    let words = ["-U", "-n", &target, "--", "/bin/busybox", "true"];
    policy(node, &rule("allow = ['enter', 'host', 'root']"));
    refused(&as_ann(&words), "does not allow user");
    policy(node, &rule("allow = ['enter', 'host', 'user']"));
    as_ann(&words).expect_success();
    somebody.kill().unwrap();
    somebody.wait().unwrap();
    container.delete();
}

fn directories_that_may_be_written_to_are_named_by_a_rule(node: &Node) {
    policy(node, &rule("writable = ['/srv/dumps']"));
    let check = |directory: &str| {
        tools::porthole(&["policy", "check", "--writable", directory, "1234", "shop/x", "general", "true"])
    };
    assert_eq!(check("/srv/dumps/today").status.code(), Some(0));
    let outcome = check("/srv/dumps2");
    assert!(
        outcome.status.code() == Some(5)
            && outcome.stdout.contains("it does not allow writing to /srv/dumps2"),
        "{outcome:?}"
    );
    for directory in ["srv", "/srv/../etc", "/"] {
        assert_eq!(check(directory).status.code(), Some(2), "{directory}");
    }
    let shown = tools::porthole(&["policy", "show"]);
    assert!(shown.expect_success().contains("/srv/dumps"), "{shown:?}");
}

on_a_node!(requires(root, ip, runc):
    what_is_dangerous_has_to_be_allowed_by_name,
    enter_alone_does_not_drop_the_view,
    no_fork_is_unbound,
    root_by_the_map_of_a_user_namespace_is_root,
    another_user_by_the_map_of_a_user_namespace_is_another_user,
    directories_that_may_be_written_to_are_named_by_a_rule,
);
