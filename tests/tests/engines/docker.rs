//! Docker.

use porthole_tests::engine::containerd::veths;
use porthole_tests::engine::{Docker, docker};
use porthole_tests::process::wait_until;
use porthole_tests::{Netns, Node, leaks, on_each_version};
use serde_json::json;

fn a_container_has_a_namespace_and_an_address(node: &Node, version: &str) {
    let docker = Docker::start(node, version);
    assert!(docker.version.starts_with(version), "{}", docker.version);
    assert!(docker.info()["ServerVersion"].as_str().unwrap().starts_with(version));
    let web = docker.run("web", &[], &[]);
    assert!(web.ip.starts_with("172.17.") && web.name == "web", "{web:?}");
    assert_ne!(Some(web.netns()), Netns::of(std::process::id()));
    assert_eq!(veths().len(), 1);
    docker.rm("web");
    assert!(veths().is_empty() && leaks::nsfs_mounts().is_empty());
}

fn a_setting_is_taken_by_a_reload_and_a_container_outlives_a_restart(node: &Node, version: &str) {
    let docker = Docker::configured(node, version, &docker::config(node, &json!({ "live-restore": true })));
    let web = docker.run("web", &[], &[]);
    let more = json!({ "live-restore": true, "labels": ["site=here"] });
    std::fs::write(docker::CONFIG, docker::config(node, &more)).unwrap();
    docker.reload();
    wait_until("the new setting", || docker.info()["Labels"] == json!(["site=here"]));
    docker.restart();
    assert_eq!(docker.inspect("web").pid, web.pid);
    docker.rm("web");
}

on_each_version!(docker: docker_20_10 "20.10", docker_26_1 "26.1": [
    a_container_has_a_namespace_and_an_address,
    a_setting_is_taken_by_a_reload_and_a_container_outlives_a_restart,
]);
