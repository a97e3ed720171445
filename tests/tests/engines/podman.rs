//! podman.

use std::fs;

use porthole_tests::engine::Podman;
use porthole_tests::engine::containerd::veths;
use porthole_tests::engine::podman::HOOKS;
use porthole_tests::{Node, leaks, on_each_version};
use serde_json::json;

fn a_pod_and_a_container_have_a_namespace_and_an_address(node: &Node, version: &str) {
    let podman = Podman::new(node, version);
    assert!(podman.version.starts_with(version), "{}", podman.version);
    let pod = podman.pod_create("web", &[]);
    let web = podman.run("web-c0", &["--pod", "web"], &[]);
    assert!(pod.infra.ip.starts_with("10.88."), "{pod:?}");
    assert_eq!(web.netns(), pod.infra.netns());
    let alone = podman.run("alone", &[], &["sh", "-c", "sleep 1000"]);
    assert!(alone.ip.starts_with("10.88.") && alone.ip != pod.infra.ip, "{alone:?}");
    assert_ne!(alone.netns(), web.netns());
    assert_eq!(veths().len(), 2);
    podman.rm("alone");
    podman.pod_rm("web");
    assert!(veths().is_empty() && leaks::nsfs_mounts().is_empty());
}

fn a_hook_in_the_hooks_directory_is_called(node: &Node, version: &str) {
    let podman = Podman::new(node, version);
    fs::create_dir_all(HOOKS).unwrap();
    let hook = json!({ "version": "1.0.0", "when": { "always": true }, "stages": ["createRuntime"],
        "hook": { "path": "/bin/sh", "args": ["sh", "-c", "cat >/mnt/called"] } });
    fs::write(format!("{HOOKS}/test.json"), hook.to_string()).unwrap();
    let web = podman.run("web", &[], &[]);
    assert!(fs::read_to_string("/mnt/called").unwrap().contains(&web.id));
    podman.rm("web");
}

on_each_version!(podman: podman_4_3 "4.3", podman_5_4 "5.4": [
    a_pod_and_a_container_have_a_namespace_and_an_address,
    a_hook_in_the_hooks_directory_is_called,
]);
