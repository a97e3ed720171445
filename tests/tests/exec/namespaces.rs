//! Which namespaces are joined: those named, of the right process, and no other.

use std::fs;

use porthole_tests::pod::EnginePin;
use porthole_tests::{Bundle, Container, Netns, Node, Runtime, on_a_node};
use serde_json::json;

use crate::setting::{Running, bundle, exec, output};

const KINDS: [(&str, &str); 8] = [
    ("-m", "mnt"),
    ("-u", "uts"),
    ("-i", "ipc"),
    ("-n", "net"),
    ("-p", "pid"),
    ("-C", "cgroup"),
    ("-U", "user"),
    ("-T", "time"),
];

fn namespace(pid: u32, kind: &str) -> String {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().display().to_string()
}

fn only_the_namespaces_named_are_joined(node: &Node) {
    let all_its_own = bundle(node).user_namespace().with(|config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "cgroup" }));
    });
    let container = Container::run(Runtime::Runc, &all_its_own);
    let target = container.pid();
    for (option, named) in KINDS {
        let running = Running::start(&[option, "web-0", "--", "sleep", "1000"], "sleep");
        let command = running.command().unwrap();
        for (_, kind) in KINDS {
            let is = namespace(command, kind);
            if kind == named {
                assert_eq!(is, namespace(target, kind), "{option}: {kind}");
            } else if kind == "mnt" {
                // A view of its own, neither the container's nor the node's.
                assert_ne!(is, namespace(target, kind), "{option}: {kind}");
                assert_ne!(is, namespace(std::process::id(), kind), "{option}: {kind}");
            } else {
                assert_eq!(is, namespace(std::process::id(), kind), "{option}: {kind} is the caller's");
            }
        }
    }
    container.delete();
}

fn all_joins_every_one(node: &Node) {
    let container = Container::run(Runtime::Runc, &bundle(node).user_namespace());
    let running = Running::start(&["-a", "web-0", "--", "sleep", "1000"], "sleep");
    for (_, kind) in KINDS {
        let command = running.command().unwrap();
        assert_eq!(namespace(command, kind), namespace(container.pid(), kind), "{kind}");
    }
    drop(running);
    container.delete();
}

fn without_an_option_the_network_is_joined(node: &Node) {
    let container = Container::run(Runtime::Runc, &bundle(node));
    let seen = output(&["web-0", "--", "readlink", "/proc/self/ns/net"]);
    assert_eq!(seen.trim(), namespace(container.pid(), "net"));
    container.delete();
}

fn a_namespace_the_target_does_not_have_is_refused(node: &Node) {
    let container = Container::run(Runtime::Runc, &bundle(node));
    let outcome = exec(&["-U", "web-0", "true"]);
    assert_eq!(outcome.status.code(), Some(125), "{outcome:?}");
    assert!(outcome.stderr.contains("no user namespace of its own"), "{outcome:?}");
    container.delete();
}

/// A container on a network namespace that the engine holds, with resolver files that the engine mounts.
fn on_engine_pin(node: &Node, engine: &EnginePin) -> Container {
    let resolver = node.scratch().join("resolv.conf");
    fs::write(&resolver, "nameserver 10.96.0.10\n").unwrap();
    fs::write(node.rootfs().join("etc/resolv.conf"), "").unwrap();
    let bundle = Bundle::of_pod(node, "shop", "web-0", "app", engine.path()).with(|config| {
        let mount = json!({
            "destination": "/etc/resolv.conf", "type": "bind", "source": resolver, "options": ["bind", "ro"],
        });
        config["mounts"].as_array_mut().unwrap().push(mount);
    });
    Container::run(Runtime::Runc, &bundle)
}

fn a_pod_in_back_off_is_entered_by_its_pin(node: &Node) {
    let engine = EnginePin::new_netns("/run/engine-netns/cni-1");
    let netns = format!("net:[{}]", Netns::at(engine.path()).unwrap().ino);
    let container = on_engine_pin(node, &engine);
    container.kill();
    // Ended, not deleted yet: the engine's files are still where its bundle says.
    let both = "readlink /proc/self/ns/net; cat /etc/resolv.conf";
    let seen = output(&["web-0", "--", "sh", "-c", both]);
    assert_eq!(seen, format!("{netns}\nnameserver 10.96.0.10\n"));
    container.delete();
    assert!(node.records().is_empty());
    for target in ["web-0", "shop/web-0", "netns:web-0", "/run/netns/web-0"] {
        let seen = output(&[target, "--", "readlink", "/proc/self/ns/net"]);
        assert_eq!(seen.trim(), netns, "{target}: only the pin is left");
    }
    engine.remove();
    porthole_tests::tools::reconcile();
    assert_eq!(exec(&["web-0", "true"]).status.code(), Some(125), "the pod has gone");
}

fn all_is_refused_without_a_living_process(node: &Node) {
    let engine = EnginePin::new_netns("/run/engine-netns/cni-1");
    let container = on_engine_pin(node, &engine);
    container.kill();
    for option in ["-a", "-m", "-p", "-u"] {
        let outcome = exec(&[option, "web-0", "--", "true"]);
        assert_eq!(outcome.status.code(), Some(125), "{option}: {outcome:?}");
        assert!(outcome.stderr.contains("no process of"), "{option}: {outcome:?}");
    }
    exec(&["-n", "web-0", "--", "true"]).expect_success();
    container.delete();
    engine.remove();
    porthole_tests::tools::reconcile();
}

on_a_node!(requires(root, ip, runc):
    only_the_namespaces_named_are_joined,
    all_joins_every_one,
    without_an_option_the_network_is_joined,
    a_namespace_the_target_does_not_have_is_refused,
    a_pod_in_back_off_is_entered_by_its_pin,
    all_is_refused_without_a_living_process,
);
