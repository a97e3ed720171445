//! The policy is asked before anything is opened on the caller's word, and errors do not tell secrets.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use porthole_tests::process::wait_until;
use porthole_tests::{Node, on_a_node, requires, tools};

use super::{refused, rule};
use crate::setting::{SUDO, as_ann, command, policy, web_0};

/// A directory that is root's alone.
fn private(node: &Node) -> PathBuf {
    let directory = node.scratch().join("private");
    fs::create_dir_all(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    directory
}

/// For ann there is nothing, or something elsewhere.
fn policies() -> [String; 2] {
    [String::new(), rule("namespaces = ['nowhere']")]
}

fn nothing_is_opened_before_the_policy_has_answered(node: &Node) {
    let container = web_0(node);
    let fifo = private(node).join("fifo");
    let fifo = fifo.to_str().unwrap();
    let mut mkfifo = Command::new("mkfifo");
    tools::run({
        mkfifo.arg(fifo);
        mkfifo
    })
    .expect_success();
    let mut writer = Command::new("sh").args(["-c", "exec echo released > \"$0\"", fifo]).spawn().unwrap();
    let stat = format!("/proc/{}/stat", writer.id());
    wait_until("the writer to wait", || fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(" S ")));
    for text in policies().into_iter().chain([rule("allow = ['host']")]) {
        policy(node, &text);
        assert_eq!(as_ann(&[fifo, "--", "true"]).status.code(), Some(125));
        assert!(writer.try_wait().unwrap().is_none(), "the writer of {fifo} went on");
        assert_eq!(as_ann(&["--explain", fifo, "--", "true"]).status.code(), Some(125));
        for words in [&["inspect", fifo][..], &["identify", &format!("netns:../..{fifo}")]] {
            assert_ne!(tools::porthole(words).status.code(), Some(0), "{words:?}");
        }
        let check = tools::porthole(&["policy", "check", "1234", fifo, "general", "true"]);
        assert_eq!(check.status.code(), Some(3), "{check:?}");
        assert!(writer.try_wait().unwrap().is_none(), "the writer of {fifo} went on");
    }
    writer.kill().unwrap();
    writer.wait().unwrap();
    container.delete();
}

fn a_directory_to_write_to_does_not_tell_what_is_in_one_that_is_closed(node: &Node) {
    let container = web_0(node);
    let private = private(node);
    fs::create_dir(private.join("name")).unwrap();
    let ask = |options: &[&str]| {
        let path = private.join("name");
        let options = [options, &["--writable", path.to_str().unwrap(), "web-0", "--", "true"]].concat();
        let outcome = as_ann(&options);
        assert_eq!(outcome.status.code(), Some(125), "{outcome:?}");
        outcome.stderr
    };
    for text in [rule(""), rule("writable = ['/srv']")] {
        policy(node, &text);
        for options in [&[][..], &["--explain"], &["-G", "567"]] {
            let there = ask(options);
            fs::rename(private.join("name"), private.join("other")).unwrap();
            assert_eq!(ask(options), there, "nothing");
            std::os::unix::fs::symlink("/etc", private.join("name")).unwrap();
            assert_eq!(ask(options), there, "a link");
            fs::remove_file(private.join("name")).unwrap();
            fs::rename(private.join("other"), private.join("name")).unwrap();
        }
    }
    container.delete();
}

/// Every open of a device node, by its driver, is one that has an effect.
fn no_device_is_opened_as_a_target(node: &Node) {
    requires!(strace);
    let container = web_0(node);
    let device = private(node).join("device");
    let device = device.to_str().unwrap();
    let mut mknod = Command::new("mknod");
    mknod.args([device, "c", "1", "3"]);
    tools::run(mknod).expect_success();
    for text in policies().into_iter().chain([rule("allow = ['host']")]) {
        policy(node, &text);
        let trace = node.scratch().join("trace");
        let under = ["strace", "-f", "-qq", "-s", "200", "-e", "trace=open,openat,openat2", "-o"];
        let under = [&under[..], &[trace.to_str().unwrap(), "--"]].concat();
        let mut exec = command(&under, &[device, "--", "true"], Path::new("/"));
        exec.envs(SUDO);
        assert_eq!(tools::run(exec).status.code(), Some(125));
        let calls = fs::read_to_string(&trace).unwrap();
        assert!(calls.contains("policy.toml"), "{calls}");
        let opened: Vec<_> =
            calls.lines().filter(|call| call.contains(device) && !call.contains("O_PATH")).collect();
        assert!(opened.is_empty(), "{opened:?}");
    }
    container.delete();
}

/// Of what a rule keeps the caller from, porthole reads nothing for them either.
fn the_files_of_a_denied_target_are_not_read(node: &Node) {
    requires!(strace);
    let container = web_0(node);
    let deny = "[[rule]]\neffect = 'deny'\nnamespaces = ['shop']\n";
    for (text, status) in [(rule(""), 0), (format!("{deny}{}", rule("")), 125)] {
        policy(node, &text);
        let trace = node.scratch().join("trace");
        let under = ["strace", "-f", "-qq", "-s", "200", "-e", "trace=open,openat,openat2", "-o"];
        let under = [&under[..], &[trace.to_str().unwrap(), "--"]].concat();
        let mut exec = command(&under, &["web-0", "--", "true"], Path::new("/"));
        exec.envs(SUDO);
        assert_eq!(tools::run(exec).status.code(), Some(status));
        let calls = fs::read_to_string(&trace).unwrap();
        assert_eq!(calls.contains("etc/resolv.conf"), status == 0, "{calls}");
    }
    container.delete();
}

/// The contents of a directory that the caller may not look into.
fn an_error_does_not_tell_what_is_in_a_private_directory(node: &Node) {
    let container = web_0(node);
    let private = private(node);
    fs::write(private.join("file"), "").unwrap();
    fs::write(private.join("tool"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(private.join("tool"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(private.join("directory")).unwrap();
    let is_told = |text: &str, words: &dyn Fn(&str) -> Vec<String>| {
        policy(node, text);
        let answer = |name: &str| {
            let path = private.join(name).to_str().unwrap().to_owned();
            let words = words(&path);
            let outcome = as_ann(&words.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(outcome.status.code(), Some(125), "{outcome:?}");
            (outcome.status.code(), outcome.stderr.replace(&path, "PATH"))
        };
        let absent = answer("absent");
        ["file", "tool", "directory", "file/below"].into_iter().any(|name| answer(name) != absent)
    };
    let target = |path: &str| [path, "--", "true"].map(str::to_owned).to_vec();
    for text in policies() {
        assert!(!is_told(&text, &target), "a target, with {text:?}");
    }
    assert!(!is_told(&rule("allow = ['enter', 'host']"), &target), "a target");
    let of_option = |option: &'static str| {
        move |path: &str| [&format!("{option}={path}"), "web-0", "--", "true"].map(str::to_owned).to_vec()
    };
    for option in ["-w", "-r"] {
        for text in policies().into_iter().chain([rule("")]) {
            assert!(!is_told(&text, &of_option(option)), "{option}, with {text:?}");
        }
    }
    let program = |path: &str| ["web-0", "--", path].map(str::to_owned).to_vec();
    for text in policies().into_iter().chain([rule("commands = ['ping']")]) {
        assert!(!is_told(&text, &program), "a program, with {text:?}");
    }
    container.delete();
}

fn who_may_nothing_is_refused_before_the_target_is_looked_for(node: &Node) {
    let container = web_0(node);
    drop(node.log());
    let other = "[[rule]]\nusers = ['4321']\neffect = 'allow'\n";
    policy(node, other);
    for target in ["web-0", "no-such-pod", "pid:999999", "/no/such/path", "ip:10.0.0.1"] {
        refused(&as_ann(&[target, "--", "true"]), "rule 1: it is about other users");
    }
    let said: Vec<_> = node.log().into_iter().filter(|line| line.contains("event=\"refused\"")).collect();
    assert_eq!(said.len(), 5, "{said:?}");
    assert!(said[1].contains("target=\"no-such-pod\"") && said[1].contains("user=\"ann\""), "{said:?}");
    container.delete();
}

on_a_node!(requires(root, ip, runc):
    a_directory_to_write_to_does_not_tell_what_is_in_one_that_is_closed,
    nothing_is_opened_before_the_policy_has_answered,
    no_device_is_opened_as_a_target,
    the_files_of_a_denied_target_are_not_read,
    an_error_does_not_tell_what_is_in_a_private_directory,
    who_may_nothing_is_refused_before_the_target_is_looked_for,
);
