//! State that is wrong: it costs only itself.

use std::fs;
use std::path::Path;
use std::process::Command;

use porthole_tests::process::reuse;
use porthole_tests::{Container, Node, Runtime, Sandbox, on_a_node, tools};
use serde_json::Value;

use crate::setting::{CONTAINERD, adopted, delete_task, reconcile, run, run_task, task, unhooked};

fn one_broken_state_is_one_failure_and_the_others_are_adopted(node: &Node) {
    let containers = ["web-0", "web-1", "web-2", "web-3"]
        .map(|name| run_task(Runtime::Runc, &task(unhooked(node, name), "k8s.io")));
    let [cut, pid, linked, good] = &containers;
    let dir = |container: &Container| container.bundle().dir.clone();
    let config = fs::read(dir(cut).join("config.json")).unwrap();
    fs::write(dir(cut).join("config.json"), &config[..config.len() / 2]).unwrap();
    fs::write(dir(pid).join("init.pid"), "1").unwrap();
    fs::rename(dir(linked).join("config.json"), dir(linked).join("real")).unwrap();
    std::os::unix::fs::symlink("real", dir(linked).join("config.json")).unwrap();
    // Without the runtime's root, which has the truth.
    let only = format!("--engine-state=containerd={CONTAINERD}");
    let outcome = tools::porthole(&["-o", "json", "reconcile", &only]);
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    let done: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let failed: Vec<_> = done.as_array().unwrap().iter().filter(|done| done["failed"] == true).collect();
    assert_eq!(failed.len(), 3, "{done}");
    for done in failed {
        assert_eq!(done["action"], "adopt");
        let subject = Path::new(done["subject"].as_str().unwrap());
        assert!(containers.iter().any(|container| dir(container) == subject), "{done}");
    }
    assert_eq!(node.records(), [good.id()]);
    assert_eq!(node.pins(), ["web-3"]);
    let table = tools::porthole(&["reconcile", &only]);
    assert_eq!(table.status.code(), Some(1), "{table:?}");
    assert!(table.stdout.contains("FAILED: config.json"), "{table:?}");
    containers.into_iter().for_each(delete_task);
    reconcile();
}

fn a_number_that_another_process_has_by_now_is_not_adopted(node: &Node) {
    let container = run_task(Runtime::Runc, &task(unhooked(node, "web-0"), "k8s.io"));
    let (dir, pid) = (container.bundle().dir.clone(), container.pid());
    container.delete();
    // The file is as old as a container that ran for a while; the process that has its number is not.
    let mut touch = Command::new("touch");
    touch.args(["-d", "1 minute ago"]).arg(dir.join("init.pid"));
    tools::run(touch).expect_success();
    let sleeper = reuse(pid);
    assert_eq!(adopted(), Vec::<String>::new());
    assert_eq!((node.records(), node.pins()), (vec![], vec![]));
    sleeper.end();
    fs::remove_dir_all(dir).unwrap();
}

fn a_process_in_the_containers_cgroup_is_believed_whatever_the_clock_says(node: &Node) {
    let container = run_task(Runtime::Runc, &task(unhooked(node, "web-0"), "k8s.io"));
    let mut touch = Command::new("touch");
    touch.args(["-d", "1 day ago"]).arg(container.bundle().dir.join("init.pid"));
    tools::run(touch).expect_success();
    let only = format!("--engine-state=containerd={CONTAINERD}");
    tools::porthole(&["reconcile", &only]).expect_success();
    assert_eq!(node.records(), [container.id()]);
    delete_task(container);
    reconcile();
}

fn a_runtimes_state_of_another_start_is_not_adopted(node: &Node) {
    let sandbox = Sandbox::start();
    for (root, file, state) in [
        (
            "/mnt/state/Runc",
            "state.json",
            r#"{"id":"c1","init_process_pid":PID,"init_process_start":1,"config":{"labels":["bundle=/b"]}}"#,
        ),
        ("/mnt/state/Crun", "status", r#"{"pid":PID,"process-start-time":1,"bundle":"/b"}"#),
    ] {
        let dir = Path::new(root).join("c1");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(file), state.replace("PID", &sandbox.pid().to_string())).unwrap();
        assert_eq!(adopted(), Vec::<String>::new(), "{file}");
        fs::remove_dir_all(&dir).unwrap();
    }
    assert_eq!(node.records(), Vec::<String>::new());
    sandbox.end();
}

fn a_hostile_name_is_one_plain_cell(node: &Node) {
    let odd = Path::new(CONTAINERD).join("io.containerd.runtime.v2.task/k8s.io/a\n\u{1b}[2Jb");
    fs::create_dir_all(&odd).unwrap();
    let outcome = run(&[]);
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    let done: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let subject = done[0]["subject"].as_str().unwrap();
    assert!(subject.ends_with("a??[2Jb") && !subject.contains(char::is_control), "{subject:?}");
    fs::remove_dir_all(&odd).unwrap();
    assert_eq!(node.records(), Vec::<String>::new());
}

on_a_node!(requires(root, ip, runc):
    one_broken_state_is_one_failure_and_the_others_are_adopted,
    a_number_that_another_process_has_by_now_is_not_adopted,
    a_process_in_the_containers_cgroup_is_believed_whatever_the_clock_says,
    a_runtimes_state_of_another_start_is_not_adopted,
    a_hostile_name_is_one_plain_cell,
);
