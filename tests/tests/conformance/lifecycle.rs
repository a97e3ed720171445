//! One container, from create to delete.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use porthole_tests::bundle::containerd_annotations;
use porthole_tests::process::wait_until;
use porthole_tests::{Bundle, Container, HookRun, Netns, Node, Runtime, leaks, on_every_runtime, tools};
use serde_json::json;

fn registered_before_its_process_starts(node: &Node, runtime: Runtime) {
    let out = node.scratch().join("out");
    fs::create_dir(&out).unwrap();
    let bundle = Bundle::new(node)
        .annotations(&containerd_annotations("shop", "web-0", "nginx"))
        .with_output(&out)
        .args(&["/bin/sh", "-c", "echo ran > /out/ran; exec sleep 100000"]);
    let container = Container::create(runtime, &bundle);
    assert_eq!(container.status(), "created");
    assert!(!out.join("ran").exists(), "its own program has not run");
    assert_eq!(node.pin("web-0"), Some(container.netns()), "pinned while only created");
    let record = node.record(container.id()).expect("recorded while only created");
    assert_eq!(record["pid"], container.pid());
    container.start();
    wait_until("its program", || out.join("ran").exists());
    assert_eq!(node.pin("web-0"), Some(container.netns()), "the same namespace once it runs");
    container.delete();
    assert_eq!(node.pins(), Vec::<String>::new());
    assert!(node.records().is_empty());
    node.expect_silence("create, start and delete");
}

fn recorded_with_all_that_is_known_of_it(node: &Node, runtime: Runtime) {
    let annotations = containerd_annotations("shop", "web-0", "nginx");
    let container = Container::run(runtime, &Bundle::new(node).annotations(&annotations));
    let record = node.record(container.id()).expect("recorded");
    assert_eq!(record["schema"], 1);
    assert_eq!(record["id"], container.id());
    assert_eq!(record["bundle"], container.bundle().dir.to_str().unwrap());
    assert_eq!(record["engine"], "containerd");
    assert_eq!(record["kind"], "container");
    assert_eq!(record["name"], "nginx");
    assert_eq!(record["pod"]["name"], "web-0");
    assert_eq!(record["pod"]["namespace"], "shop");
    assert_eq!(record["pin"], json!({ "name": "web-0", "path": "/run/netns/web-0" }));
    assert_eq!(record["security"]["no_new_privileges"], true);
    assert_eq!(record["cgroup"], node.cgroup(container.id()), "the cgroup is final at createRuntime");
    for kind in ["net", "mnt", "pid", "ipc", "uts"] {
        let namespace = &record["namespaces"][kind];
        let meta = fs::metadata(format!("/proc/{}/ns/{kind}", container.pid())).unwrap();
        assert_eq!(namespace["ino"], std::os::unix::fs::MetadataExt::ino(&meta), "{kind}");
        assert_eq!(namespace["host"], false, "{kind}");
    }
    for kind in ["user", "cgroup"] {
        assert_eq!(record["namespaces"][kind]["host"], true, "{kind} is shared with the host");
    }
    let stat = fs::read_to_string(format!("/proc/{}/stat", container.pid())).unwrap();
    let start = stat.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap();
    assert_eq!(record["pid_start"], start.parse::<u64>().unwrap());
    container.delete();
}

fn secrets_are_never_recorded(node: &Node, runtime: Runtime) {
    let mut annotations = containerd_annotations("shop", "web-0", "nginx");
    annotations.insert("example.org/token".to_owned(), json!("hunter2-annotation"));
    let bundle = Bundle::new(node)
        .annotations(&annotations)
        .args(&["/bin/sh", "-c", "sleep 100000 # hunter2-argument"])
        .with(|config| config["process"]["env"] = json!(["PATH=/bin", "TOKEN=hunter2-variable"]));
    let container = Container::run(runtime, &bundle);
    for path in leaks::below(node.run_dir()) {
        let text = fs::read_to_string(&path).unwrap_or_default();
        assert!(!text.contains("hunter2"), "{path} has a secret in it: {text}");
    }
    container.delete();
}

fn modes_do_not_depend_on_the_umask(node: &Node, runtime: Runtime) {
    // crun calls hooks with umask 0, others with their own.
    let container = Container::run(runtime, &Bundle::new(node));
    let mode = |path: &str| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let mut paths = leaks::below(node.run_dir());
    paths.push(node.run_dir().display().to_string());
    for path in paths {
        if fs::symlink_metadata(&path).unwrap().is_symlink() {
            continue;
        }
        let others = mode(&path) & 0o022;
        assert_eq!(others, 0, "{path} can be written by others: {:o}", mode(&path));
    }
    assert_eq!(mode("/run/porthole"), 0o755);
    assert_eq!(mode(&format!("/run/porthole/containers/{}.json", container.id())), 0o644);
    assert_eq!(mode("/run/netns"), 0o755);
    container.delete();
}

fn host_network_container_is_recorded_not_pinned(node: &Node, runtime: Runtime) {
    let annotations = containerd_annotations("kube-system", "proxy", "kube-proxy");
    let container = Container::run(runtime, &Bundle::new(node).annotations(&annotations).host_network());
    let record = node.record(container.id()).expect("recorded");
    assert_eq!(record["namespaces"]["net"]["host"], true);
    assert!(record["pin"].is_null(), "{record}");
    assert_eq!(node.pins(), Vec::<String>::new());
    container.delete();
    assert!(node.records().is_empty());
    node.expect_silence("a container on the host's network");
}

fn path_that_names_the_hosts_network_is_not_pinned(node: &Node, runtime: Runtime) {
    // As containerd writes it for the containers of a pod on the host's network.
    let sandbox = porthole_tests::Sandbox::on_host_network();
    let bundle = Bundle::of_pod(node, "kube-system", "proxy", "kube-proxy", &sandbox.netns_path());
    let container = Container::run(runtime, &bundle);
    assert_eq!(node.record(container.id()).expect("recorded")["namespaces"]["net"]["host"], true);
    assert_eq!(node.pins(), Vec::<String>::new());
    container.delete();
    node.expect_silence("a container on the host's network by path");
}

fn user_namespace_is_no_obstacle(node: &Node, runtime: Runtime) {
    let annotations = containerd_annotations("shop", "web-0", "nginx");
    let container = Container::run(runtime, &Bundle::new(node).annotations(&annotations).user_namespace());
    assert_eq!(node.pin("web-0"), Some(container.netns()));
    let record = node.record(container.id()).expect("recorded");
    assert_eq!(record["namespaces"]["user"]["host"], false);
    assert_eq!(record["security"]["userns_owner"], json!([100_000, 100_000]));
    container.delete();
    node.expect_silence("a container with a user namespace");
}

fn registered_at_two_stages_is_registered_once(node: &Node, runtime: Runtime) {
    // Where an engine folds prestart into createRuntime, both are called.
    let annotations = containerd_annotations("shop", "web-0", "nginx");
    let stages = ["prestart", "createRuntime", "poststart", "poststop"];
    let container = Container::run(runtime, &Bundle::new(node).annotations(&annotations).hooked(&stages));
    assert_eq!(node.pins(), ["web-0"]);
    assert_eq!(node.records(), [container.id()]);
    container.delete();
    node.expect_silence("both stages");
}

fn registered_again_is_no_change(node: &Node, runtime: Runtime) {
    let annotations = containerd_annotations("shop", "web-0", "nginx");
    let container = Container::run(runtime, &Bundle::new(node).annotations(&annotations));
    let before = node.record(container.id());
    let inode = Netns::at("/run/netns/web-0");
    for _ in 0..3 {
        let state = container.bundle().state(Some(container.pid()));
        HookRun::with_state("createRuntime", &state).run().expect_success();
    }
    assert_eq!(node.record(container.id()), before);
    assert_eq!(node.pins(), ["web-0"]);
    assert_eq!(Netns::at("/run/netns/web-0"), inode);
    assert_eq!(leaks::pin_mounts(node.netns_dir()), 1, "one mount, not one on top of another");
    container.delete();
    node.expect_silence("four registrations");
}

fn missed_at_create_is_made_up_for_at_poststart(node: &Node, runtime: Runtime) {
    let annotations = containerd_annotations("shop", "web-0", "nginx");
    let bundle = Bundle::new(node).annotations(&annotations).hooked(&["poststart", "poststop"]);
    let container = Container::run(runtime, &bundle);
    assert_eq!(node.pin("web-0"), Some(container.netns()));
    assert_eq!(node.record(container.id()).expect("recorded")["stage"], "poststart");
    container.delete();
    node.expect_silence("a container first seen at poststart");
}

fn released_again_is_no_change(node: &Node, runtime: Runtime) {
    let bundle = Bundle::new(node);
    let container = Container::run(runtime, &bundle);
    container.delete();
    for _ in 0..2 {
        HookRun::with_state("poststop", &bundle.state(None)).run().expect_success();
    }
    node.expect_silence("three releases");
}

fn deleted_before_it_was_started_leaves_nothing(node: &Node, runtime: Runtime) {
    let bundle = Bundle::new(node);
    let container = Container::create(runtime, &bundle);
    assert_eq!(node.pins(), [bundle.id[..12].to_owned()]);
    container.delete();
    assert_eq!(node.pins(), Vec::<String>::new());
    node.expect_silence("create and delete");
}

fn exits_at_once_and_leaves_nothing(node: &Node, runtime: Runtime) {
    // At poststart its process may be gone, or a zombie.
    for _ in 0..5 {
        let container = Container::run(runtime, &Bundle::new(node).args(&["/bin/true"]));
        container.wait_stopped();
        container.delete();
    }
    node.expect_silence("containers that end at once");
}

fn pin_directory_that_is_missing_is_made(node: &Node, runtime: Runtime) {
    assert!(!node.netns_dir().exists());
    let container = Container::run(runtime, &Bundle::new(node));
    assert_eq!(node.pins().len(), 1);
    // As `ip netns add` leaves it, so that pins are seen in every mount namespace.
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let own =
        mountinfo.lines().find(|line| line.split(' ').nth(4) == Some("/run/netns")).expect("a mount point");
    assert!(own.contains(" shared:"), "{own}");
    container.delete();
    tools::ip(&["netns", "add", "by-hand"]).expect_success();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let count = mounts.lines().filter(|line| line.split(' ').nth(4) == Some("/run/netns")).count();
    assert_eq!(count, 1, "iproute2 takes the directory as it is");
    tools::ip(&["netns", "del", "by-hand"]).expect_success();
    node.expect_silence("the first container of a node");
}

on_every_runtime!(
    registered_before_its_process_starts,
    recorded_with_all_that_is_known_of_it,
    secrets_are_never_recorded,
    modes_do_not_depend_on_the_umask,
    host_network_container_is_recorded_not_pinned,
    path_that_names_the_hosts_network_is_not_pinned,
    user_namespace_is_no_obstacle,
    registered_at_two_stages_is_registered_once,
    registered_again_is_no_change,
    missed_at_create_is_made_up_for_at_poststart,
    released_again_is_no_change,
    deleted_before_it_was_started_leaves_nothing,
    exits_at_once_and_leaves_nothing,
    pin_directory_that_is_missing_is_made,
);
