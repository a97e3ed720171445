//! `porthole inspect`: everything about one.

use porthole_tests::{Bundle, Container, Node, Runtime, on_a_node};
use serde_json::json;

use crate::setting::{connect, ip, json, porthole};

fn everything_about_one_is_shown(node: &Node) {
    let bundle = Bundle::of_pod(node, "shop", "web-0", "app", "/none").own_netns().with(|config| {
        config["linux"]["resources"] = json!({ "memory": { "limit": 33_554_432 }, "pids": { "limit": 64 } });
        config["process"]["capabilities"] = json!({ "bounding": ["CAP_CHOWN", "CAP_NET_BIND_SERVICE"] });
        config["process"]["user"] = json!({ "uid": 1000, "gid": 100 });
    });
    let container = Container::run(Runtime::Runc, &bundle);
    connect("web-0", "host0", "10.88.0.7");
    let found = json(&["inspect", "web-0"]);
    let network = &found["network"];
    assert_eq!((&network["host"], &network["inode"]), (&json!(false), &json!(container.netns().ino)));
    let eth0 = network["interfaces"].as_array().unwrap().iter().find(|link| link["name"] == "eth0").unwrap();
    assert!(eth0["addresses"].to_string().contains("10.88.0.7"), "{eth0}");
    assert_eq!(network["host_side"][0]["name"], "host0");
    let one = &found["containers"][0];
    assert_eq!(one["running"], true);
    assert_eq!(one["usage"]["memory_limit"], 33_554_432, "{one}");
    assert_eq!(one["usage"]["pids_limit"], 64, "{one}");
    assert!(one["usage"]["pids_used"].as_u64().is_some_and(|used| used >= 1), "{one}");
    let security = &one["security"];
    assert_eq!((&security["uid"], &security["gid"]), (&json!(1000), &json!(100)));
    assert_eq!(security["no_new_privileges"], true);
    assert_eq!(security["capabilities"], json!(["CAP_CHOWN", "CAP_NET_BIND_SERVICE"]));
    let text = porthole(&["inspect", "web-0"]).expect_success().to_owned();
    for word in [
        "shop/web-0",
        "ip netns exec web-0",
        "10.88.0.7/24",
        "eth0 is host0 on the host",
        "shared    with the host: user cgroup",
        "uid 1000 gid 100, no new privileges: yes",
        "capabilities: CHOWN NET_BIND_SERVICE",
        "of 32.0 MiB",
        "of 64",
        "never isolated:",
        container.id(),
    ] {
        assert!(text.contains(word), "{word:?} in:\n{text}");
    }
    container.delete();
}

fn a_bridge_behind_the_host_side_is_named(node: &Node) {
    let container =
        Container::run(Runtime::Runc, &Bundle::of_pod(node, "shop", "web-0", "app", "/none").own_netns());
    connect("web-0", "host0", "10.88.0.7");
    if porthole_tests::tools::ip(&["link", "add", "br0", "type", "bridge"]).status.success() {
        ip("link set host0 master br0");
        assert_eq!(json(&["inspect", "web-0"])["network"]["host_side"][0]["master"], "br0");
    } else {
        eprintln!("NOT CHECKED: this kernel has no bridges");
    }
    container.delete();
}

fn the_hosts_network_is_called_that(node: &Node) {
    let annotations = porthole_tests::bundle::containerd_annotations("kube-system", "proxy", "kube-proxy");
    let bundle = Bundle::new(node).annotations(&annotations).host_network();
    let container = Container::run(Runtime::Runc, &bundle);
    let found = json(&["inspect", "proxy"]);
    assert_eq!(found["network"]["host"], true, "{found}");
    assert!(found["pin"].is_null());
    let text = porthole(&["inspect", "proxy"]).expect_success().to_owned();
    assert!(text.contains("THE HOST'S: not isolated"), "{text}");
    container.delete();
}

on_a_node!(requires(root, ip, runc):
    everything_about_one_is_shown,
    a_bridge_behind_the_host_side_is_named,
    the_hosts_network_is_called_that,
);
