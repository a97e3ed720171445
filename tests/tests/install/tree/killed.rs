//! Killed anywhere, and run again.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use porthole_tests::{Node, on_a_node, tools};

use super::setting::Tree;

/// The calls that change something in a run of a command, each as it is called and the how-manieth of its name it is.
fn changing_calls(tree: &Tree, command: &str) -> Vec<(String, usize)> {
    const CALLS: &str = "trace=rename,renameat2,mkdir,mkdirat,unlink,unlinkat,rmdir,symlink,symlinkat,fchmod,fchown,fsync,fsetxattr,flock,write";
    let trace = "/mnt/install.strace";
    let porthole = tree.command(command, &[]);
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-o", trace, "-e", CALLS, "--"])
        .arg(porthole.get_program())
        .args(porthole.get_args());
    tools::run(strace).expect_success();
    let mut counts = BTreeMap::<String, usize>::new();
    let mut calls = Vec::new();
    for line in fs::read_to_string(trace).unwrap().lines() {
        let Some((name, _)) = line.split_once('(') else { continue };
        let name = name.rsplit(' ').next().unwrap().to_owned();
        let count = counts.entry(name.clone()).or_default();
        *count += 1;
        calls.push((name, *count));
    }
    calls
}

/// Runs a command, and kills it as it enters a call.
fn kill_at(tree: &Tree, command: &str, (name, nth): &(String, usize)) {
    let porthole = tree.command(command, &[]);
    let inject = format!("inject={name}:signal=KILL:when={nth}");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &inject, "--"]).arg(porthole.get_program());
    strace.args(porthole.get_args());
    let outcome = tools::run(strace);
    assert!(!outcome.status.success(), "not killed at {name} {nth}: {outcome:?}");
}

fn killed_anywhere_an_uninstall_gives_everything_back(node: &Node) {
    let tree = Tree::new(node);
    fs::remove_dir_all(tree.at("/opt")).unwrap();
    let before = tree.list();
    let installing = changing_calls(&tree, "install");
    let uninstalling = changing_calls(&tree, "uninstall");
    assert_eq!(tree.list(), before);
    assert!(installing.len() > 10 && uninstalling.len() > 5, "{installing:?} {uninstalling:?}");
    for call in &installing {
        kill_at(&tree, "install", call);
        tree.uninstall().expect_success();
        assert_eq!(tree.list(), before, "install killed at {call:?}");
    }
    for call in &uninstalling {
        tree.install().expect_success();
        kill_at(&tree, "uninstall", call);
        tree.uninstall().expect_success();
        assert_eq!(tree.list(), before, "uninstall killed at {call:?}");
    }
    for call in &installing {
        kill_at(&tree, "install", call);
        tree.install().expect_success();
        assert!(tree.install().expect_success().contains("nothing to change"), "install killed at {call:?}");
        tree.uninstall().expect_success();
        assert_eq!(tree.list(), before, "install killed at {call:?}, and run again");
    }
}

on_a_node!(requires(root, strace): killed_anywhere_an_uninstall_gives_everything_back);
