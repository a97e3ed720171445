//! What `porthole reconcile` prints, and how a configuration with a mistake is met.

use std::fs;

use porthole_tests::{Node, on_a_node, tools};

use crate::setting::{error, json, pod, porthole};

fn what_was_done_is_printed(node: &Node) {
    let container = pod(node, "shop", "web-0");
    assert_eq!(porthole(&["reconcile"]).expect_success(), "nothing to do: registry and kernel agree\n");
    assert_eq!(json(&["reconcile"]), serde_json::json!([]));
    container.kill();
    let done = porthole(&["reconcile"]).expect_success().to_owned();
    let header: Vec<_> = done.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header, ["ACTION", "SUBJECT", "DETAIL"], "{done}");
    assert!(done.contains("release"), "{done}");
    assert!(node.records().is_empty() && node.pins().is_empty());
    container.delete();
    let again = pod(node, "shop", "web-0");
    again.kill();
    let done = json(&["reconcile"]);
    assert!(done[0]["action"].is_string() && done[0]["subject"].is_string(), "{done}");
    assert_eq!(done[0]["failed"], false, "{done}");
    again.delete();
}

fn something_that_failed_is_1(node: &Node) {
    let container = pod(node, "shop", "web-0");
    fs::write("/run/porthole/containers/abcdef.json", "{").unwrap();
    // The place for malformed records is taken.
    fs::write("/run/porthole/quarantine", "").unwrap();
    let outcome = porthole(&["reconcile"]);
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    assert!(outcome.stdout.contains("FAILED: "), "{outcome:?}");
    let outcome = porthole(&["-o", "json", "reconcile"]);
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    assert!(outcome.stdout.contains("\"failed\": true"), "{outcome:?}");
    fs::remove_file("/run/porthole/quarantine").unwrap();
    tools::reconcile();
    fs::remove_dir_all("/run/porthole/quarantine").unwrap();
    container.delete();
}

fn a_configuration_with_a_mistake_is_refused(node: &Node) {
    let file = node.scratch().join("config.toml");
    let name = file.to_str().unwrap();
    for text in
        ["speed = 9\n", "run_dir = 'relative'\n", "= = =\n", "deadline_ms = 1\n", "[pin]\nname = 'x'\n"]
    {
        fs::write(&file, text).unwrap();
        for command in [&["list"][..], &["identify", "1"], &["inspect", "x"], &["reconcile"]] {
            let report = error(2, &[&["--config", name], command].concat());
            assert_eq!(report["code"], "usage", "{text:?} {command:?}");
            assert!(report["message"].as_str().unwrap().contains(name), "{report}");
        }
        assert_eq!(error(125, &["--config", name, "exec", "x", "true"])["code"], "usage", "{text:?}");
    }
    fs::write(&file, "").unwrap();
    porthole(&["--config", name, "list"]).expect_success();
}

on_a_node!(requires(root, ip, runc):
    what_was_done_is_printed,
    something_that_failed_is_1,
    a_configuration_with_a_mistake_is_refused,
);
