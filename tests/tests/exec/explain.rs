//! Saying what would be done, and what went wrong.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use porthole_tests::{Node, leaks, on_a_node, tools};
use serde_json::Value;

use crate::setting::{exec, exec_in, output, web_0, work};

fn state() -> (BTreeSet<String>, BTreeSet<String>, String) {
    let files = leaks::below(Path::new("/run")).into_iter().collect();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap().lines().map(str::to_owned).collect();
    let namespaces = fs::read_link("/proc/self/ns/mnt").unwrap().display().to_string();
    (files, mounts, namespaces)
}

fn explain_changes_nothing(node: &Node) {
    let container = web_0(node);
    let before = state();
    for options in [&["-n"][..], &["-a"], &["--profile", "sysadmin"], &["-p", "-r"]] {
        let words = [options, &["--explain", "web-0", "--", "touch", "/tmp/porthole-explained"]].concat();
        let text = output(&words);
        assert!(text.starts_with("target       shop/web-0\n"), "{text}");
        assert!(text.ends_with("command      touch /tmp/porthole-explained\n"), "{text}");
    }
    assert_eq!(state(), before);
    assert!(!Path::new("/tmp/porthole-explained").exists());
    container.delete();
}

fn explain_json_is_the_plan(node: &Node) {
    let container = web_0(node);
    let plan: Value = serde_json::from_str(&output(&[
        "-o",
        "json",
        "--explain",
        "-e",
        "TOKEN=hunter2",
        "web-0",
        "--",
        "id",
    ]))
    .unwrap();
    assert_eq!(plan["target"], "shop/web-0");
    assert_eq!(plan["namespaces"][0]["namespace"], "net");
    assert_eq!(plan["namespaces"][0]["inode"], container.netns().ino);
    assert_eq!(plan["profile"], "general");
    for set in ["bounding", "inheritable", "permitted", "effective", "ambient"] {
        assert_eq!(plan["capabilities"][set], serde_json::json!(["CAP_NET_RAW"]), "{set}");
    }
    assert_eq!(plan["ids"]["uid"], 65534);
    assert_eq!(plan["no_new_privileges"], true);
    assert_eq!(plan["view"]["mode"], "confined");
    assert_eq!(plan["command"], serde_json::json!(["id"]));
    assert!(plan["environment"].as_array().unwrap().contains(&"TOKEN".into()));
    assert!(!plan.to_string().contains("hunter2"), "names of variables, no values");
    container.delete();
}

fn no_word_and_no_directory_forges_a_line_of_the_plan(node: &Node) {
    let container = web_0(node);
    let directory = work(node).join("here\npolicy       forged");
    fs::create_dir(&directory).unwrap();
    let path = directory.to_str().unwrap();
    for option in ["-u", &format!("--writable={path}"), &format!("-w={path}")] {
        let plan = exec_in(&directory, &["--explain", option, "web-0", "--", "x\ntarget       forged"]);
        let plan = plan.expect_success();
        assert!(!plan.lines().skip(2).any(|line| line.starts_with("policy ")), "{plan}");
        assert!(!plan.lines().skip(1).any(|line| line.starts_with("target ")), "{plan}");
    }
    container.delete();
}

fn an_error_as_json_has_a_code(node: &Node) {
    let container = web_0(node);
    for (words, code) in [
        (&["no-such-pod", "true"][..], "no_such_target"),
        (&["--no-such-option", "web-0", "true"], "usage"),
        (&["web-0", "--", "no-such-command"], "command_not_found"),
        (&["web-0", "--", "/etc/passwd"], "command_not_executable"),
        (&["-U", "web-0", "true"], "inspect"),
        (&["-Z", "web-0", "true"], "security_context"),
    ] {
        let outcome = tools::porthole(&[&["-o", "json", "exec"], words].concat());
        let report: Value = serde_json::from_str(&outcome.stderr).unwrap_or_else(|_| panic!("{outcome:?}"));
        assert_eq!(report["code"], code, "{words:?}: {report}");
        assert!(report["message"].as_str().is_some_and(|text| !text.is_empty()), "{report}");
        assert_eq!(outcome.stdout, "", "{words:?}");
    }
    let outcome = exec(&["no-such-pod", "true"]);
    assert!(outcome.stderr.starts_with("porthole: ") && outcome.stderr.contains("\nhelp: "), "{outcome:?}");
    container.delete();
}

on_a_node!(requires(root, ip, runc):
    explain_changes_nothing,
    explain_json_is_the_plan,
    no_word_and_no_directory_forges_a_line_of_the_plan,
    an_error_as_json_has_a_code,
);
