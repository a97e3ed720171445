//! `porthole identify`: from what is seen on the node to the pod.

use std::fs;

use porthole_tests::process::wait_until;
use porthole_tests::{Bundle, Container, Node, Runtime, on_a_node};
use serde_json::json;

use crate::setting::{connect, error, ip, json, pod, porthole};

fn every_trace_leads_to_its_pod(node: &Node) {
    let other = pod(node, "shop", "db-0");
    let container = pod(node, "shop", "web-0");
    connect("web-0", "host0", "10.88.0.7");
    let inode = container.netns().ino;
    let cgroup = node.cgroup(container.id());
    let pid = container.pid();
    for trace in [
        pid.to_string(),
        format!("pid:{pid}"),
        inode.to_string(),
        format!("net:[{inode}]"),
        "10.88.0.7".to_owned(),
        "ip:10.88.0.7".to_owned(),
        "02:42:0a:58:00:07".to_owned(),
        "mac:02:42:0a:58:00:07".to_owned(),
        "host0".to_owned(),
        "veth:host0".to_owned(),
        cgroup.clone(),
        format!("cgroup:{cgroup}"),
        "web-0".to_owned(),
        "netns:web-0".to_owned(),
        "/run/netns/web-0".to_owned(),
        format!("/proc/{pid}/ns/net"),
    ] {
        let rows = json(&["identify", &trace]);
        assert_eq!(rows.as_array().unwrap().len(), 1, "{trace}: {rows}");
        assert_eq!((&rows[0]["pod"], &rows[0]["namespace"]), (&json!("web-0"), &json!("shop")), "{trace}");
    }
    assert!(porthole(&["identify", "host0"]).expect_success().contains("web-0"));
    container.delete();
    other.delete();
}

fn a_child_process_belongs_to_its_container(node: &Node) {
    let bundle = Bundle::of_pod(node, "shop", "web-0", "app", "/none").own_netns().args(&[
        "/bin/sh",
        "-c",
        "sleep 5000 & wait",
    ]);
    let container = Container::run(Runtime::Runc, &bundle);
    let children = format!("/proc/{0}/task/{0}/children", container.pid());
    wait_until("the child", || fs::read_to_string(&children).is_ok_and(|text| !text.trim().is_empty()));
    let child = fs::read_to_string(&children).unwrap().trim().to_owned();
    let rows = json(&["identify", &child]);
    assert_eq!((&rows[0]["pod"], &rows[0]["container"]), (&json!("web-0"), &json!("app")), "{rows}");
    container.delete();
}

fn what_belongs_to_no_pod_is_3(node: &Node) {
    let container = pod(node, "shop", "web-0");
    let own = std::process::id().to_string();
    for trace in
        ["192.0.2.1", "02:00:00:00:00:99", "lo", "no-such-interface", "4026531840", "/no/cgroup", &own]
    {
        assert_eq!(error(3, &["identify", trace])["code"], "no_such_target", "{trace}");
    }
    container.delete();
}

fn a_veth_pair_with_a_colliding_index_is_not_taken_for_the_pods(node: &Node) {
    let container = pod(node, "shop", "web-0");
    ip("netns add third");
    // The pod's other end is number 77 of a third namespace; number 77 of the node is another pair, whose other end has
    // the number of the pod's.
    ip("-n third link add far0 index 77 type veth peer name eth0 index 5 netns web-0");
    ip("link add host0 index 77 type veth peer name x0 index 5 netns third");
    let found = json(&["inspect", "web-0"]);
    assert_eq!(found["network"]["host_side"], json!([]), "{found}");
    assert_eq!(error(3, &["identify", "host0"])["code"], "no_such_target");
    // And one that is.
    ip("link add real0 type veth peer name eth1 netns web-0");
    let found = json(&["inspect", "web-0"]);
    let sides = found["network"]["host_side"].as_array().unwrap();
    assert_eq!(sides.len(), 1, "{found}");
    assert_eq!((&sides[0]["name"], &sides[0]["container_interface"]), (&json!("real0"), &json!("eth1")));
    assert_eq!(json(&["identify", "real0"])[0]["pod"], "web-0");
    ip("netns del third");
    container.delete();
}

on_a_node!(requires(root, ip, runc):
    every_trace_leads_to_its_pod,
    a_child_process_belongs_to_its_container,
    what_belongs_to_no_pod_is_3,
    a_veth_pair_with_a_colliding_index_is_not_taken_for_the_pods,
);
