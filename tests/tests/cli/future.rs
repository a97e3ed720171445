//! Records of another version of porthole: a node is upgraded and downgraded while its pods run.

use std::fs;
use std::path::PathBuf;

use porthole_tests::bundle::containerd_annotations;
use porthole_tests::{Bundle, HookRun, Node, Sandbox, on_a_node, tools};
use serde_json::{Value, json};

use crate::setting::{json, pod, porthole};

fn path(node: &Node, id: &str) -> PathBuf {
    node.run_dir().join(format!("containers/{id}.json"))
}

/// An addition of a future version, with its name.
type Addition = (&'static str, fn(&mut Value));

/// Each kind of addition that a future version may make to a record.
fn additions() -> Vec<Addition> {
    vec![
        ("schema", |record| record["schema"] = 2.into()),
        ("engine", |record| record["engine"] = "quark".into()),
        ("kind", |record| record["kind"] = "vm".into()),
        ("stage", |record| record["stage"] = "startContainer".into()),
        ("a namespace", |record| {
            record["namespaces"]["syslog"] =
                json!({ "path": "/proc/1/ns/syslog", "dev": 4, "ino": 7, "host": false });
        }),
        ("a namespace of another shape", |record| record["namespaces"]["syslog"] = "none".into()),
        ("fields", |record| {
            record["addresses"] = json!(["10.88.0.7"]);
            record["namespaces"]["net"]["cookie"] = u64::MAX.into();
            record["pod"]["labels"] = json!({ "app": "web" });
            record["security"]["landlock"] = json!({ "abi": 6 });
            record["pin"]["handle"] = "0badc0de".into();
        }),
        ("a field of another type", |record| {
            record["created"] = 1_795_964_652.into();
            record["rootfs"] = json!({ "path": "/r", "kind": "erofs" });
        }),
    ]
}

fn all(record: &mut Value) {
    additions().into_iter().for_each(|(_, add)| add(record));
}

fn change(node: &Node, id: &str, add: impl Fn(&mut Value)) -> Value {
    let mut record = node.record(id).expect("registered");
    add(&mut record);
    fs::write(path(node, id), record.to_string()).unwrap();
    record
}

fn a_live_record_from_the_future_is_a_target_and_never_goes_to_quarantine(node: &Node) {
    let container = pod(node, "shop", "web-0");
    let plain = node.record(container.id()).unwrap();
    for (what, add) in additions() {
        fs::write(path(node, container.id()), plain.to_string()).unwrap();
        let written = change(node, container.id(), add);
        let rows = json(&["list"]);
        assert_eq!((&rows[0]["pod"], &rows[0]["running"]), (&json!("web-0"), &json!(true)), "{what}: {rows}");
        assert_eq!(rows[0]["record"], written, "{what}: shown as it is");
        assert_eq!(json(&["inspect", "web-0"])["containers"][0]["id"], container.id(), "{what}");
        porthole(&["inspect", "web-0"]).expect_success();
        porthole(&["list"]).expect_success();
        porthole(&["exec", "web-0", "--", "true"]).expect_success();
        assert_eq!(json(&["reconcile"]), json!([]), "{what}");
        assert_eq!(node.record(container.id()), Some(written), "{what}: left as it is");
    }
    assert!(!node.run_dir().join("quarantine").exists());
    container.delete();
    node.expect_silence("records from the future");
}

fn a_hook_releases_what_a_newer_one_has_registered(node: &Node) {
    for (what, add) in additions() {
        let container = pod(node, "shop", "web-0");
        change(node, container.id(), add);
        container.delete();
        node.expect_silence(what);
        assert_eq!((node.records(), node.pins()), (vec![], vec![]), "{what}");
    }
}

fn what_is_written_again_keeps_what_is_not_understood(node: &Node) {
    let bundle = Bundle::new(node).annotations(&containerd_annotations("shop", "web-0", "nginx"));
    bundle.write();
    let sandbox = Sandbox::start();
    let call = |stage: &str, pid| {
        HookRun::with_state(stage, &bundle.state(pid)).run().expect_success();
        node.expect_silence(stage);
    };
    call("createRuntime", Some(sandbox.pid()));
    let mut expected = change(node, &bundle.id, all);
    // The hook brings stage and cgroup up to date, and nothing else.
    call("poststart", Some(sandbox.pid()));
    expected["stage"] = "poststart".into();
    let now = node.record(&bundle.id).unwrap();
    expected["cgroup"] = now["cgroup"].clone();
    assert_eq!(now, expected);
    // A pin that is made again, by reconcile and by the hook.
    tools::ip(&["netns", "del", "web-0"]).expect_success();
    let done = json(&["reconcile"]);
    assert_eq!((&done[0]["action"], &done[0]["failed"]), (&json!("repin"), &json!(false)), "{done}");
    assert_eq!(node.record(&bundle.id).unwrap(), expected);
    tools::ip(&["netns", "del", "web-0"]).expect_success();
    call("createRuntime", Some(sandbox.pid()));
    let now = node.record(&bundle.id).unwrap();
    assert_eq!(node.pin("web-0"), Some(sandbox.netns()));
    for kept in ["schema", "engine", "kind", "addresses", "namespaces", "pod", "pin"] {
        if kept != "engine" {
            assert_eq!(now[kept], expected[kept], "{kept}");
        }
    }
    assert_eq!(now["security"]["landlock"], expected["security"]["landlock"]);
    sandbox.end();
    call("poststop", None);
    assert_eq!((node.records(), node.pins()), (vec![], vec![]));
}

fn an_ended_record_from_the_future_is_released_by_reconcile(node: &Node) {
    let container = pod(node, "shop", "web-0");
    change(node, container.id(), all);
    container.kill();
    let done = json(&["reconcile"]);
    assert_eq!((done[0]["action"].as_str(), &done[0]["failed"]), (Some("release"), &json!(false)), "{done}");
    assert_eq!((node.records(), node.pins()), (vec![], vec![]));
    container.delete();
}

fn the_least_of_a_record_is_enough_to_release_it(node: &Node) {
    let container = pod(node, "shop", "web-0");
    let record = node.record(container.id()).unwrap();
    let ino = record["namespaces"]["net"]["ino"].clone();
    let mut least = json!({ "namespaces": { "net": { "ino": ino } } });
    for field in ["id", "pid", "pid_start", "boot_id"] {
        least[field] = record[field].clone();
    }
    fs::write(path(node, container.id()), least.to_string()).unwrap();
    container.delete();
    node.expect_silence("the least of a record");
    assert_eq!((node.records(), node.pins()), (vec![], vec![]));
}

fn a_file_from_the_future_in_the_index_stays_with_its_pin_and_goes_with_it(node: &Node) {
    let container = pod(node, "shop", "web-0");
    let entry = node.run_dir().join(format!("netns/{}", container.netns().ino));
    fs::write(entry.join("cookie"), "99").unwrap();
    fs::create_dir(entry.join("addresses")).unwrap();
    fs::write(entry.join("addresses/eth0"), "10.88.0.7").unwrap();
    std::os::unix::fs::symlink("loop", entry.join("loop")).unwrap();
    assert_eq!(json(&["reconcile"]), json!([]));
    assert_eq!(json(&["list"])[0]["pod"], "web-0");
    assert_eq!(fs::read_to_string(entry.join("addresses/eth0")).unwrap(), "10.88.0.7");
    container.delete();
    node.expect_silence("files from the future");
    assert_eq!(node.pins(), Vec::<String>::new());
    assert!(!entry.exists());
}

on_a_node!(requires(root, ip, runc):
    a_live_record_from_the_future_is_a_target_and_never_goes_to_quarantine,
    a_hook_releases_what_a_newer_one_has_registered,
    what_is_written_again_keeps_what_is_not_understood,
    an_ended_record_from_the_future_is_released_by_reconcile,
    the_least_of_a_record_is_enough_to_release_it,
    a_file_from_the_future_in_the_index_stays_with_its_pin_and_goes_with_it,
);
