//! containerd with CRI pods.

use std::collections::BTreeSet;
use std::time::Duration;

use porthole_tests::engine::containerd::{BRIDGE, veths};
use porthole_tests::engine::{BUSYBOX, Containerd, PodOptions};
use porthole_tests::{Netns, Node, leaks, node, on_each_version, requires, test_path, tools};

fn a_pod_has_a_namespace_and_an_address_and_outlives_a_restart(node: &Node, version: &str) {
    let containerd = Containerd::start(node, version);
    assert!(containerd.version.starts_with(version), "{}", containerd.version);
    let pod = containerd.run_pod("shop", "web-0", &PodOptions { containers: 2, ..PodOptions::default() });
    assert!(pod.ip.starts_with("10.88.") && pod.took > Duration::ZERO, "{pod:?}");
    assert_eq!(Netns::at(pod.netns_path.as_ref().unwrap()), Some(pod.netns()));
    let names: Vec<_> = pod.containers.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["c0", "c1"]);
    assert!(pod.containers.iter().all(|c| Netns::of(c.pid) == Some(pod.netns())), "{pod:?}");
    assert_eq!(veths().len(), 1, "one pod, one interface of the node");
    assert!(tools::ip(&["-br", "addr", "show", BRIDGE]).expect_success().contains("10.88.0.1/16"));

    let daemon = containerd.service.pid().unwrap();
    containerd.restart();
    assert_ne!(containerd.service.pid(), Some(daemon));
    assert_eq!(containerd.pods().into_values().collect::<Vec<_>>(), ["shop/web-0"]);
    assert_eq!(containerd.exec(&pod.containers[0], &["hostname"]).trim(), "web-0");
    assert!(containerd.exec(&pod.containers[1], &["ip", "addr"]).contains(&pod.ip));

    containerd.remove_pod(&pod);
    assert!(containerd.pods().is_empty() && veths().is_empty() && leaks::nsfs_mounts().is_empty());
}

fn pods_on_the_node_s_network_crashed_and_without_containers_are_told_apart(node: &Node, version: &str) {
    let containerd = Containerd::start(node, version);
    let options = PodOptions { host_network: true, ..PodOptions::default() };
    let proxy = containerd.run_pod("kube-system", "proxy", &options);
    assert_eq!(Some(proxy.netns()), Netns::of(std::process::id()));
    assert!(proxy.netns_path.is_none() && proxy.containers[0].pid > 0, "{proxy:?}");

    let crashed = containerd.run_pod("shop", "crashed", &PodOptions { crashes: 2, ..PodOptions::default() });
    assert_eq!(
        (crashed.containers.len(), crashed.containers[0].attempt, crashed.containers[0].pid),
        (1, 1, 0)
    );
    assert_ne!(crashed.netns(), proxy.netns());

    let empty = containerd.run_pod("shop", "empty", &PodOptions { containers: 0, ..PodOptions::default() });
    assert!(empty.containers.is_empty() && !empty.ip.is_empty(), "{empty:?}");

    let error = containerd.try_call("ContainerStatus", &serde_json::json!({ "container_id": "none" }));
    assert!(error.unwrap_err().contains("NOT_FOUND"));
    containerd.remove_all();
    assert!(containerd.pods().is_empty() && veths().is_empty());
}

fn a_container_that_was_killed_is_replaced_in_its_pod(node: &Node, version: &str) {
    let containerd = Containerd::start(node, version);
    let mut pod = containerd.run_pod("shop", "web-0", &PodOptions::default());
    let first = pod.containers[0].clone();
    containerd.kill_container(&first);
    let second = containerd.run_container(&mut pod, "c0", 1, &[], BUSYBOX);
    assert_ne!(first.id, second.id);
    assert_eq!(containerd.state_of(&second), "CONTAINER_RUNNING");
    containerd.remove_container(&first);
    containerd.remove_pod(&pod);
}

fn pods_are_started_side_by_side(node: &Node, version: &str) {
    let containerd = Containerd::start(node, version);
    let start = |n: usize| containerd.run_pod("shop", &format!("web-{n}"), &PodOptions::default());
    let pods: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..2).map(|t| scope.spawn(move || (t * 5..t * 5 + 5).map(start).collect::<Vec<_>>())).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let ips: BTreeSet<_> = pods.iter().map(|pod| pod.ip.clone()).collect();
    assert_eq!((ips.len(), veths().len(), containerd.pods().len()), (10, 10, 10));
    for pod in &pods {
        containerd.remove_pod(pod);
    }
    assert!(veths().is_empty() && leaks::nsfs_mounts().is_empty());
}

on_each_version!(containerd: containerd_1_6 "1.6", containerd_1_7 "1.7", containerd_2 "2": [
    a_pod_has_a_namespace_and_an_address_and_outlives_a_restart,
    pods_on_the_node_s_network_crashed_and_without_containers_are_told_apart,
    a_container_that_was_killed_is_replaced_in_its_pod,
]);

#[test]
fn pods_may_be_started_side_by_side() {
    requires!(root, ip, containerd);
    node::run(test_path!(), |node| pods_are_started_side_by_side(node, "2"));
}
