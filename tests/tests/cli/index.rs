//! Many records: a target is found without reading them all, and means the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use porthole_tests::{Container, Node, on_a_node, tools};
use serde_json::{Value, json};

use crate::setting::{error, json, pod, porthole};

/// Records of containers that have ended, in network namespaces that have gone.
fn write_records(like: &Container, pods: std::ops::Range<u64>, namespace: &str) -> Vec<PathBuf> {
    let path = |id: &str| PathBuf::from(format!("/run/porthole/containers/{id}.json"));
    let model: Value = serde_json::from_slice(&fs::read(path(like.id())).unwrap()).unwrap();
    let write = |number: u64| {
        let mut record = model.clone();
        let id = format!("feed{number:08x}{namespace}");
        record["id"] = json!(id);
        record["pid"] = json!(4_000_000);
        record["pod"]["name"] = json!(format!("many-{number}"));
        record["pod"]["namespace"] = json!(namespace);
        record["namespaces"]["net"]["ino"] = json!(1_000 + number);
        record["pin"]["name"] = json!(format!("many-{number}.{namespace}"));
        fs::write(path(&id), record.to_string()).unwrap();
        path(&id)
    };
    pods.map(write).collect()
}

const INDEX: &str = "/run/porthole/names";

fn settle() {
    std::thread::sleep(Duration::from_millis(50));
}

fn a_target_means_the_same_with_and_without_an_index(node: &Node) {
    let container = pod(node, "shop", "web-0");
    let records = write_records(&container, 0..40, "shop");
    settle();
    let forms =
        ["web-0", "shop/web-0", "shop/web-0/app", "netns:web-0", &container.id()[..20], container.id()];
    let read = || forms.map(|target| json(&["inspect", target])["network"]["inode"].clone());
    let without = forms.map(|target| {
        drop(fs::remove_file(INDEX));
        json(&["inspect", target])["network"]["inode"].clone()
    });
    assert!(Path::new(INDEX).exists(), "made by the first look-up");
    assert_eq!(read(), without);
    // The name of a container of all forty, too.
    assert_eq!(error(4, &["inspect", "app"])["candidates"].as_array().unwrap().len(), 41);
    assert_eq!(error(4, &["inspect", "feed"])["candidates"].as_array().unwrap().len(), 40);
    records.iter().for_each(|path| fs::remove_file(path).unwrap());
    container.delete();
}

fn what_changed_since_is_seen_at_once(node: &Node) {
    let container = pod(node, "shop", "web-0");
    let mut records = write_records(&container, 0..40, "shop");
    settle();
    json(&["inspect", "web-0"]);
    assert!(Path::new(INDEX).exists());
    // A second pod of that name: ambiguous from now on, though the index knows of one.
    let second = pod(node, "stage", "web-0");
    assert_eq!(error(4, &["inspect", "web-0"])["code"], "ambiguous_target");
    second.delete();
    json(&["inspect", "web-0"]);
    for round in 0..20_u64 {
        let namespace = format!("round-{round}");
        records.extend(write_records(&container, 100 + round..101 + round, &namespace));
        // Right after a change, and again, when the index may have been made in between.
        assert_eq!(error(3, &["inspect", &format!("{namespace}/nothing")])["code"], "no_such_target");
        let found = error(3, &["inspect", &format!("{namespace}/many-{}", 100 + round)]);
        assert!(found["message"].as_str().unwrap().contains("has gone"), "found, but it has ended: {found}");
    }
    records.iter().for_each(|path| fs::remove_file(path).unwrap());
    assert_eq!(error(3, &["inspect", "shop/many-1"])["code"], "no_such_target");
    container.delete();
}

fn an_index_that_is_garbage_or_locked_is_passed_over(node: &Node) {
    let container = pod(node, "shop", "web-0");
    let records = write_records(&container, 0..40, "shop");
    settle();
    json(&["inspect", "web-0"]);
    let good = fs::read_to_string(INDEX).unwrap();
    let stamp = good.lines().next().unwrap();
    for bad in [
        "",
        "\n",
        "porthole names 1\n",
        "1 2 3",
        &format!("{stamp}\n"),
        &format!("{stamp}\nx\ty\n"),
        "\0\0\0",
    ] {
        fs::write(INDEX, bad).unwrap();
        assert_eq!(json(&["inspect", "web-0"])["pod"], "web-0", "{bad:?}");
    }
    fs::remove_file(INDEX).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", INDEX).unwrap();
    assert_eq!(json(&["inspect", "web-0"])["pod"], "web-0");
    assert!(!fs::symlink_metadata(INDEX).unwrap().is_symlink(), "replaced, not written through");
    records.iter().for_each(|path| fs::remove_file(path).unwrap());
    container.delete();
}

fn one_target_does_not_read_every_record(node: &Node) {
    porthole_tests::requires!(strace);
    let container = pod(node, "shop", "web-0");
    let records = write_records(&container, 0..200, "shop");
    settle();
    json(&["inspect", "web-0"]);
    let trace = node.scratch().join("trace");
    let mut strace = std::process::Command::new("strace");
    strace.args(["-f", "-qq", "-e", "trace=openat", "-o"]).arg(&trace).arg(tools::binary("porthole"));
    strace.args(["exec", "web-0", "--", "true"]).stdin(std::process::Stdio::null());
    tools::run(strace).expect_success();
    let trace = fs::read_to_string(trace).unwrap();
    let read = trace.lines().filter(|line| line.contains("containers/")).count();
    assert_eq!(read, 1, "{trace}");
    records.iter().for_each(|path| fs::remove_file(path).unwrap());
    container.delete();
    porthole(&["list"]).expect_success();
}

on_a_node!(requires(root, ip, runc):
    a_target_means_the_same_with_and_without_an_index,
    what_changed_since_is_seen_at_once,
    an_index_that_is_garbage_or_locked_is_passed_over,
    one_target_does_not_read_every_record,
);
