//! Names of containers on Docker and podman: which container has one, and for how long.

use porthole_tests::engine::Podman;
use porthole_tests::{Netns, Node, on_each_version, tools};

use crate::setting::{adopted, ended, hook_podman, json, nothing_to_do, pins};

/// Pods by `porthole list`.
fn listed() -> Vec<String> {
    let rows = json(&["list"]);
    rows.as_array().unwrap().iter().map(|row| row["pod"].as_str().unwrap().to_owned()).collect()
}

const VPN: [&str; 2] = ["--network", "ns:/run/netns/vpn"];

/// A network namespace that the operator makes and joins containers to.
fn operators_namespace() -> Netns {
    tools::ip(&["netns", "add", "vpn"]).expect_success();
    Netns::at("/run/netns/vpn").unwrap()
}

/// Older ones refuse to make a pod in a namespace by its path.
fn pods_join_by_path(version: &str) -> bool {
    !version.starts_with("4.")
}

fn a_container_in_an_operators_namespace_leaves_no_name_behind(node: &Node, version: &str) {
    let podman = Podman::new(node, version);
    hook_podman();
    let vpn = operators_namespace();
    for name in ["old", "new"] {
        let _ = podman.run(name, &VPN, &[]);
        assert_eq!((node.pin(name), listed()), (Some(vpn), vec![name.to_owned()]));
        podman.rm(name);
        let left = (node.pins(), node.records());
        assert_eq!(left, (vec!["vpn".to_owned()], vec![]), "nobody has run reconcile");
    }
    nothing_to_do();
    let _ = podman.run("last", &VPN, &[]);
    tools::ip(&["netns", "del", "vpn"]).expect_success();
    assert_eq!((node.pins(), node.pin("last")), (vec!["last".to_owned()], Some(vpn)));
    podman.rm("last");
    assert_eq!(node.pins(), Vec::<String>::new(), "the operator's namespace has ended with its last process");
    node.expect_silence("containers in a namespace of the operator's");
}

fn a_pod_in_an_operators_namespace_has_its_name_as_long_as_it_is_there(node: &Node, version: &str) {
    if !pods_join_by_path(version) {
        return;
    }
    let podman = Podman::new(node, version);
    hook_podman();
    let _ = operators_namespace();
    let _ = podman.pod_create("pod", &VPN);
    let _ = podman.run("app", &["--pod", "pod"], &[]);
    assert_eq!(pins(node), ["pod", "vpn"]);
    podman.rm("app");
    assert_eq!(pins(node), ["pod", "vpn"], "the pod lives on");
    podman.pod_rm("pod");
    assert_eq!((node.pins(), node.records()), (vec!["vpn".to_owned()], vec![]), "nobody has run reconcile");
    tools::ip(&["netns", "del", "vpn"]).expect_success();
    node.expect_silence("a pod in a namespace of the operator's");
}

fn an_adopted_container_in_an_operators_namespace_leaves_no_name_behind(node: &Node, version: &str) {
    let podman = Podman::new(node, version);
    let _ = operators_namespace();
    let _ = podman.run("old", &VPN, &[]);
    let has_pod = pods_join_by_path(version);
    let all = 1 + usize::from(has_pod);
    if has_pod {
        let _ = podman.pod_create("pod", &VPN);
    }
    assert_eq!(adopted().len(), all);
    podman.rm("old");
    if has_pod {
        podman.pod_rm("pod");
    }
    assert_eq!(ended().len(), all);
    assert_eq!((node.pins(), node.records()), (vec!["vpn".to_owned()], vec![]));
    tools::ip(&["netns", "del", "vpn"]).expect_success();
}

on_each_version!(podman: podman_4_3 "4.3", podman_5_4 "5.4": [
    a_container_in_an_operators_namespace_leaves_no_name_behind,
    a_pod_in_an_operators_namespace_has_its_name_as_long_as_it_is_there,
    an_adopted_container_in_an_operators_namespace_leaves_no_name_behind,
]);
