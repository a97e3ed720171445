//! Whom the command runs as.

use std::fs;
use std::path::Path;

use porthole_tests::tools;
use porthole_tests::{Container, Node, Runtime, on_a_node};

use crate::setting::{Running, bundle, command, exec, field, output, policy, web_0};

fn ids_in_a_user_namespace_come_from_its_map(node: &Node) {
    let container = Container::run(Runtime::Runc, &bundle(node).user_namespace());
    for (options, inside, outside) in [
        (&[][..], "0", "100000"),
        (&["-S", "33", "-G", "44"], "33", "100033"),
        (&["-S", "65535"], "65535", "165535"),
    ] {
        let mut words = vec!["-a"];
        words.extend(options);
        words.push("web-0");
        let id = [&words[..], &["--", "/bin/busybox", "id", "-u"]].concat();
        assert_eq!(output(&id).trim(), inside);
        let running = Running::start(&[&words[..], &["--", "/bin/sleep", "1000"]].concat(), "sleep");
        let status = fs::read_to_string(format!("/proc/{}/status", running.command().unwrap())).unwrap();
        assert!(field(&status, "Uid").split_whitespace().all(|id| id == outside), "{status}");
    }
    container.delete();
}

fn an_unmapped_id_is_125(node: &Node) {
    let container = Container::run(Runtime::Runc, &bundle(node).user_namespace());
    for option in ["-S", "-G"] {
        let outcome = exec(&["-U", option, "65536", "web-0", "--", "true"]);
        assert_eq!(outcome.status.code(), Some(125), "{outcome:?}");
        assert!(
            outcome.stderr.contains("65536 does not exist in the target's user namespace"),
            "{outcome:?}"
        );
    }
    container.delete();
}

fn the_user_behind_sudo_runs_the_command(node: &Node) {
    let container = web_0(node);
    policy(
        node,
        "[[rule]]\nusers = ['1234']\nprofiles = ['*']\nallow = ['root', 'user']\neffect = 'allow'\n",
    );
    let ids = |sudo: bool, options: &[&str]| {
        let words = [options, &["web-0", "--", "sh", "-c", "echo $(id -u) $(id -g) $(id -G)"]].concat();
        let mut command = command(&[], &words, Path::new("/"));
        if sudo {
            command.env("SUDO_UID", "1234").env("SUDO_GID", "567");
        }
        tools::run(command).expect_success().trim().to_owned()
    };
    assert_eq!(ids(true, &[]), "1234 567 567");
    assert_eq!(ids(false, &[]), "65534 65534 65534");
    assert_eq!(ids(true, &["-S", "7", "-G", "8"]), "7 8 8");
    assert_eq!(ids(true, &["--profile", "sysadmin"]), "0 0 0");
    assert_eq!(ids(true, &["--uid", "0"]), "0 0 0");
    assert!(ids(true, &["--preserve-credentials"]).starts_with("0 0 "));
    container.delete();
}

on_a_node!(requires(root, ip, runc):
    ids_in_a_user_namespace_come_from_its_map,
    an_unmapped_id_is_125,
    the_user_behind_sudo_runs_the_command,
);
