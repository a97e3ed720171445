//! Names of containers on Docker and podman: which container has one, and for how long.

use std::path::Path;

use porthole_tests::engine::{Docker, Podman, Started};
use porthole_tests::tools::Outcome;
use porthole_tests::{Netns, Node, on_each_version, tools};

use crate::setting::{
    adopted, ended, hook_docker, hook_podman, json, nothing_to_do, pin_of, pins, reconcile,
};

/// An engine that renames containers while they run.
trait Renames {
    fn run(&self, name: &str, options: &[&str]) -> Started;
    fn now(&self, name: &str) -> Started;
    fn call(&self, words: &[&str]) -> Outcome;
    fn rm(&self, name: &str);
}

impl Renames for Docker {
    fn run(&self, name: &str, options: &[&str]) -> Started {
        self.run(name, options, &[])
    }

    fn now(&self, name: &str) -> Started {
        self.inspect(name)
    }

    fn call(&self, words: &[&str]) -> Outcome {
        self.call(words)
    }

    fn rm(&self, name: &str) {
        self.rm(name);
    }
}

impl Renames for Podman {
    fn run(&self, name: &str, options: &[&str]) -> Started {
        self.run(name, options, &[])
    }

    fn now(&self, name: &str) -> Started {
        self.inspect(name)
    }

    fn call(&self, words: &[&str]) -> Outcome {
        self.call(words)
    }

    fn rm(&self, name: &str) {
        self.rm(name);
    }
}

/// The network namespace that a command entered.
#[track_caller]
fn inode(outcome: &Outcome) -> u64 {
    let link = outcome.expect_success().trim();
    let number = link.trim_start_matches("net:[").trim_end_matches(']');
    number.parse().unwrap_or_else(|e| panic!("{link}: {e}"))
}

/// Asserts that a container is at its name, for `ip netns exec`, for `porthole exec` and in the list.
#[track_caller]
fn is_at(node: &Node, name: &str, container: &Started) {
    let link = ["readlink", "/proc/self/ns/net"];
    let netns = container.netns();
    assert_eq!(node.pin(name), Some(netns), "the pin {name}");
    assert_eq!(inode(&tools::ip(&[&["netns", "exec", name], &link[..]].concat())), netns.ino);
    assert_eq!(inode(&tools::porthole(&[&["exec", name, "--"], &link[..]].concat())), netns.ino);
    let rows = json(&["list"]);
    let row = rows.as_array().unwrap().iter().find(|row| row["record"]["id"] == container.id.as_str());
    let row = row.unwrap_or_else(|| panic!("{name} is not listed"));
    assert_eq!((&row["record"]["name"], &row["pin"]), (&name.into(), &name.into()));
}

fn renamed_containers_are_found_by_their_new_names(node: &Node, engine: &impl Renames) {
    let first = engine.run("web", &[]);
    engine.call(&["rename", "web", "web-old"]).expect_success();
    let second = engine.run("web", &[]);
    assert_ne!(pin_of(node, &second.id).as_deref(), Some("web"), "nobody knows yet that it is free");
    let renamed = |of: &Started| ("rename".to_owned(), of.id.clone());
    assert_eq!(reconcile(), [renamed(&first), renamed(&second)]);
    is_at(node, "web-old", &first);
    is_at(node, "web", &second);
    assert_eq!(pins(node), ["web", "web-old"]);
    nothing_to_do();
    // They change names.
    for [from, to] in [["web", "between"], ["web-old", "web"], ["between", "web-old"]] {
        engine.call(&["rename", from, to]).expect_success();
    }
    reconcile();
    is_at(node, "web", &first);
    is_at(node, "web-old", &second);
    nothing_to_do();
    // A container on the host's network has no pin to rename.
    let on_host = engine.run("on-host", &["--network", "host"]);
    engine.call(&["rename", "on-host", "hosted"]).expect_success();
    assert_eq!(reconcile(), [renamed(&on_host)]);
    assert_eq!(node.record(&on_host.id).unwrap()["name"], "hosted");
    for name in ["hosted", "web", "web-old"] {
        engine.rm(name);
    }
    assert_eq!((pins(node), node.records()), (vec![], vec![]), "nobody has run reconcile");
    node.expect_silence("renames");
}

fn a_restarted_owner_has_its_name(node: &Node, engine: &impl Renames, hooked: bool) {
    let own = engine.run("own", &[]);
    let side = engine.run("side", &["--network", "container:own"]);
    if !hooked {
        assert_eq!(adopted().len(), 2);
    }
    assert_eq!((pins(node), node.pin("own")), (vec!["own".to_owned()], Some(own.netns())));
    engine.call(&["restart", "--time", "0", "own"]).expect_success();
    if !hooked {
        reconcile();
    }
    is_at(node, "own", &engine.now("own"));
    is_at(node, "side", &side);
    assert_eq!(pins(node), ["own", "side"]);
    nothing_to_do();
    engine.rm("side");
    engine.rm("own");
    if !hooked {
        ended();
    }
    assert_eq!((pins(node), node.records()), (vec![], vec![]));
    node.expect_silence("a restart of the owner");
}

fn renamed_by_docker(node: &Node, version: &str) {
    let docker = Docker::start(node, version);
    hook_docker(node, &docker);
    renamed_containers_are_found_by_their_new_names(node, &docker);
    end(node, docker);
}

/// Docker keeps a pin of its own for containers on the node's network.
fn end(node: &Node, docker: Docker) {
    drop(docker);
    node.unmount_all(Path::new("/run/docker/netns/default"));
}

fn renamed_by_podman(node: &Node, version: &str) {
    let podman = Podman::new(node, version);
    hook_podman();
    renamed_containers_are_found_by_their_new_names(node, &podman);
}

fn a_restarted_owner_of_a_shared_namespace_has_its_name_at_once(node: &Node, version: &str) {
    let docker = Docker::start(node, version);
    hook_docker(node, &docker);
    a_restarted_owner_has_its_name(node, &docker, true);
    end(node, docker);
}

fn an_adopted_owner_of_a_shared_namespace_has_its_name_after_reconcile(node: &Node, version: &str) {
    let docker = Docker::start(node, version);
    a_restarted_owner_has_its_name(node, &docker, false);
    end(node, docker);
}

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

/// Older versions refuse to make a pod in a namespace by its path.
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
    renamed_by_podman,
]);

on_each_version!(docker: docker_20_10 "20.10", docker_26_1 "26.1": [
    renamed_by_docker,
    a_restarted_owner_of_a_shared_namespace_has_its_name_at_once,
    an_adopted_owner_of_a_shared_namespace_has_its_name_after_reconcile,
]);
