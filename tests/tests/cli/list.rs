//! `porthole list`.

use std::fs;
use std::process::{Command, Stdio};

use porthole_tests::bundle::containerd_annotations;
use porthole_tests::pod::EnginePin;
use porthole_tests::{Bundle, Container, Node, Runtime, on_a_node, tools};
use serde_json::{Map, Value, json};

use crate::setting::{connect, json, pod, porthole};

fn sandbox_annotations() -> Map<String, Value> {
    let mut annotations = containerd_annotations("shop", "web-0", "");
    annotations.remove("io.kubernetes.cri.container-name");
    annotations.insert("io.kubernetes.cri.container-type".to_owned(), "sandbox".into());
    annotations
}

fn fields_of_json_are_stable(node: &Node) {
    assert_eq!(json(&["list"]), json!([]), "an empty node is an empty list");
    let container = pod(node, "shop", "web-0");
    connect("web-0", "host0", "10.88.0.7");
    let rows = json(&["list"]);
    assert_eq!(rows.as_array().unwrap().len(), 1);
    let row = rows[0].as_object().unwrap();
    let fields: Vec<_> = row.keys().map(String::as_str).collect();
    let mut expected = [
        "pod",
        "namespace",
        "container",
        "pin",
        "plain_pin",
        "netns",
        "host_network",
        "ips",
        "running",
        "started",
        "record",
    ];
    expected.sort_unstable();
    let mut sorted = fields;
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    assert_eq!((&row["pod"], &row["namespace"]), (&json!("web-0"), &json!("shop")));
    assert_eq!((&row["container"], &row["pin"]), (&json!("app"), &json!("web-0")));
    assert_eq!(row["netns"], container.netns().ino);
    assert_eq!((&row["running"], &row["host_network"]), (&json!(true), &json!(false)));
    assert!(row["ips"].as_array().unwrap().contains(&json!("10.88.0.7")), "{row:?}");
    assert_eq!(row["record"]["id"], container.id());
    container.delete();
}

fn table_and_wide_have_their_columns(node: &Node) {
    let container = pod(node, "shop", "web-0");
    connect("web-0", "host0", "10.88.0.7");
    let table = porthole(&["list"]).expect_success().to_owned();
    let mut lines = table.lines();
    let header: Vec<_> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(header, ["POD", "NAMESPACE", "CONTAINER", "ENGINE", "PID", "NETNS", "IPS", "AGE"]);
    let cells: Vec<_> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(cells[..4], ["web-0", "shop", "app", "containerd"]);
    assert_eq!(cells[4], container.pid().to_string());
    assert!(cells[6].contains("10.88.0.7"), "{table}");
    let wide = porthole(&["-o", "wide", "list"]).expect_success().to_owned();
    for word in ["PIN", "ID", "KIND", "IMAGE", "CGROUP", "example.org/shop/web:1", &container.id()[..12]] {
        assert!(wide.contains(word), "{word}: {wide}");
    }
    let kinds = porthole(&["list", "--all-namespaces-types"]).expect_success().to_owned();
    assert!(kinds.contains("MNT") && kinds.contains("TIME") && kinds.contains('*'), "{kinds}");
    assert!(!table.contains('\x1b'), "no colour where there is no terminal");
    container.delete();
}

fn a_sandbox_has_a_row_only_where_it_is_alone_or_all_is_asked_for(node: &Node) {
    let engine = EnginePin::new_netns("/run/engine-netns/cni-2");
    let sandbox = Bundle::new(node).annotations(&sandbox_annotations()).netns(engine.path());
    let sandbox = Container::run(Runtime::Runc, &sandbox);
    let rows = |words: &[&str]| porthole(words).expect_success().lines().count() - 1;
    assert_eq!(rows(&["list"]), 1, "alone");
    assert!(porthole(&["list"]).stdout.contains("(sandbox)"));
    let path = format!("/proc/{}/ns/net", sandbox.pid());
    let app = Container::run(Runtime::Runc, &Bundle::of_pod(node, "shop", "web-0", "app", &path));
    assert_eq!(rows(&["list"]), 1);
    assert!(!porthole(&["list"]).stdout.contains("(sandbox)"));
    assert_eq!(rows(&["-o", "wide", "list"]), 2);
    assert_eq!(json(&["list"]).as_array().unwrap().len(), 2);
    app.delete();
    sandbox.kill();
    engine.remove();
    sandbox.delete();
}

fn a_malformed_record_does_not_hide_the_others(node: &Node) {
    let container = pod(node, "shop", "web-0");
    let bad = "/run/porthole/containers/abcdef.json";
    for text in ["", "{", "{\"schema\": 1}", "{\"schema\": 99}", "[]", "\u{0}"] {
        fs::write(bad, text).unwrap();
        let outcome = porthole(&["-o", "json", "list"]);
        let rows: Value = serde_json::from_str(outcome.expect_success()).unwrap();
        assert_eq!(rows.as_array().unwrap().len(), 1, "{text:?}");
        assert!(outcome.stderr.contains("abcdef") && outcome.stderr.contains("reconcile"), "{outcome:?}");
        porthole(&["exec", "web-0", "--", "true"]).expect_success();
    }
    let done = tools::reconcile();
    assert!(done.iter().any(|line| line.contains("quarantine")), "{done:?}");
    let outcome = porthole(&["list"]);
    assert!(outcome.expect_success().contains("web-0") && outcome.stderr.is_empty(), "{outcome:?}");
    fs::remove_dir_all("/run/porthole/quarantine").unwrap();
    container.delete();
}

fn a_pod_in_back_off_is_listed(node: &Node) {
    let engine = EnginePin::new_netns("/run/engine-netns/cni-1");
    let container =
        Container::run(Runtime::Runc, &Bundle::of_pod(node, "shop", "web-0", "app", engine.path()));
    container.kill();
    assert!(porthole(&["list"]).stdout.contains("ended"));
    container.delete();
    let rows = json(&["list"]);
    assert_eq!((&rows[0]["pod"], &rows[0]["namespace"]), (&json!("web-0"), &json!("shop")), "{rows}");
    assert_eq!((&rows[0]["running"], &rows[0]["pin"]), (&json!(false), &json!("web-0")), "{rows}");
    engine.remove();
    tools::reconcile();
}

fn filters_select(node: &Node) {
    let (shop, stage) = (pod(node, "shop", "web-0"), pod(node, "stage", "db-0"));
    let names = |words: &[&str]| -> Vec<String> {
        let rows = json(&[&["list"], words].concat());
        let names = rows.as_array().unwrap().iter().map(|row| row["pod"].as_str().unwrap().to_owned());
        names.collect()
    };
    assert_eq!(names(&[]), ["db-0", "web-0"]);
    assert_eq!(names(&["web"]), ["web-0"]);
    assert_eq!(names(&["-n", "stage"]), ["db-0"]);
    assert_eq!(names(&["--engine", "docker"]), Vec::<String>::new());
    assert_eq!(names(&["--engine", "containerd"]).len(), 2);
    shop.delete();
    stage.delete();
}

fn a_reader_that_has_gone_is_no_error_and_a_full_disk_is(node: &Node) {
    let container = pod(node, "shop", "web-0");
    let exe = tools::binary("porthole").display().to_string();
    for words in
        ["list", "-o json list", "inspect web-0", "--help", "completions bash", "exec --explain web-0"]
    {
        let script =
            format!("{exe} {words} | true; echo ${{PIPESTATUS[0]}}; {exe} {words} > /dev/full; echo $?");
        let mut bash = Command::new("bash");
        bash.args(["-c", &script]).stdin(Stdio::null());
        let outcome = tools::run(bash);
        let statuses: Vec<_> = outcome.stdout.lines().collect();
        assert!(!outcome.stderr.contains("panicked"), "{words}: {outcome:?}");
        assert_eq!(statuses[0], "0", "{words}: {outcome:?}");
        let full = if words.starts_with("exec") { "125" } else { "1" };
        assert!(statuses[1] == full || words == "--help", "{words}: {outcome:?}");
    }
    container.delete();
}

on_a_node!(requires(root, ip, runc):
    fields_of_json_are_stable,
    table_and_wide_have_their_columns,
    a_sandbox_has_a_row_only_where_it_is_alone_or_all_is_asked_for,
    a_malformed_record_does_not_hide_the_others,
    a_pod_in_back_off_is_listed,
    filters_select,
    a_reader_that_has_gone_is_no_error_and_a_full_disk_is,
);
