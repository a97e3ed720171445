//! The runtime method: sandboxes, too.

use std::fs;
use std::path::Path;

use porthole_tests::engine::{Containerd, PodOptions};
use porthole_tests::{Node, tools};

use super::{SPEC, config, install, on_old_and_new, pinned, tree, unchanged, uninstall};

const GUARD: &str = "/etc/porthole/runtime/containerd-runc";

fn a_pod_has_its_name_before_any_container_of_it_runs(node: &Node, version: &str) {
    let containerd = Containerd::start(node, version);
    let before = tree();
    // From one method to the other: the first is taken back.
    install(&[]).expect_success();
    assert!(Path::new(SPEC).exists());
    let outcome = install(&["--method", "runtime", "--restart"]);
    outcome.expect_success();
    assert!(!Path::new(SPEC).exists() && !config().contains("base_runtime_spec"), "{}", config());
    assert!(config().contains(&format!("BinaryName = \"{GUARD}\"")), "{}", config());
    containerd.wait_ready();
    let installed = tree();
    for args in [&["--method", "runtime"][..], &[]] {
        let outcome = install(args);
        assert!(outcome.expect_success().contains("nothing to change"), "{outcome:?}");
    }
    unchanged(&installed, "a second installation");

    let empty = containerd.run_pod("shop", "empty", &PodOptions { containers: 0, ..PodOptions::default() });
    pinned(node, &empty);
    assert_eq!(node.record(&empty.sandbox).unwrap()["kind"], "sandbox");
    let crashed = containerd.run_pod("shop", "crashed", &PodOptions { crashes: 2, ..PodOptions::default() });
    pinned(node, &crashed);
    let mut web = containerd.run_pod("shop", "web-0", &PodOptions::default());
    pinned(node, &web);
    assert_eq!(
        node.records().iter().filter(|id| **id == web.sandbox || **id == web.containers[0].id).count(),
        2
    );

    // Without our programs it is the runtime that it stands for.
    fs::rename("/usr/libexec/porthole", "/usr/libexec/porthole-away").unwrap();
    let unhooked = containerd.run_pod("shop", "unhooked", &PodOptions::default());
    containerd.remove_pod(&unhooked);
    fs::rename("/usr/libexec/porthole-away", "/usr/libexec/porthole").unwrap();

    // Not restarted: containerd would still call it. Restarted: so would the ends of its containers.
    containerd.remove_pod(&empty);
    containerd.remove_pod(&crashed);
    let outcome = uninstall(&["--restart"]);
    let said = outcome.expect_success();
    assert!(said.contains(&format!("keep    {GUARD}: 2 containers made with it")), "{said}");
    assert!(Path::new(GUARD).exists() && !config().contains("porthole"));
    containerd.wait_ready();
    let container = web.containers[0].clone();
    containerd.kill_container(&container);
    containerd.remove_container(&container);
    // What is made in a pod of before is made as its sandbox was.
    containerd.run_container(&mut web, "c0", 1, &[], porthole_tests::engine::BUSYBOX);
    let outcome = uninstall(&[]);
    let said = outcome.expect_success();
    assert!(said.contains(&format!("keep    {GUARD}: 2 containers made with it")), "{said}");
    containerd.remove_pod(&web);
    let outcome = uninstall(&[]);
    assert!(outcome.expect_success().contains("nothing of porthole's installation is left"), "{outcome:?}");
    unchanged(&before, "the last uninstall");
    tools::reconcile();
    assert_eq!((node.pins(), node.records()), (vec![], vec![]));
}

fn a_guard_stays_until_containerd_was_restarted(node: &Node, version: &str) {
    let containerd = Containerd::start(node, version);
    let before = tree();
    install(&["--method", "runtime", "--restart"]).expect_success();
    containerd.wait_ready();
    let outcome = uninstall(&[]);
    let said = outcome.expect_success();
    assert!(said.contains(&format!("keep    {GUARD}: containerd has not been restarted")), "{said}");
    // Which it is right about.
    let pod = containerd.run_pod("shop", "web-0", &PodOptions::default());
    let bundle = format!("/run/containerd/io.containerd.runtime.v2.task/k8s.io/{}/runtime", pod.sandbox);
    assert_eq!(fs::read_to_string(bundle).unwrap().trim(), GUARD);
    containerd.remove_pod(&pod);
    containerd.restart();
    uninstall(&[]).expect_success();
    unchanged(&before, "the second uninstall");
    tools::reconcile();
}

on_old_and_new!(
    a_pod_has_its_name_before_any_container_of_it_runs,
    a_guard_stays_until_containerd_was_restarted
);
