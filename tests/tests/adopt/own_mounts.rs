//! An engine in a mount namespace of its own, as CRI-O with `KUBENSMNT`: its pins of network namespaces are seen there
//! alone, and the host has bare files at their paths.

use std::fs;
use std::process::Command;

use porthole_tests::fake::{Fake, Running};
use porthole_tests::{Bundle, HookRun, Netns, Node, Sandbox, on_a_node, requires, tools};
use serde_json::json;

use crate::setting::cri_o;

/// The path of the engine's pin; its directory is a link, as `/var/run` is.
const HOLDER: &str = "/run/link/u";
const RUN_ROOT: &str = "/mnt/crio-run";

/// A process with CRI-O's name, in a mount namespace from which no mount propagates to the host.
fn crio() -> Running {
    let words = &["--runroot", RUN_ROOT];
    let through = &["unshare", "--mount", "--propagation", "slave"];
    Fake { words, through, version: "crio version 1.36.0", ..Fake::default() }.start("/mnt/bin/crio")
}

/// nsenter's option for the engine's mount namespace.
fn entering(engine: &Running) -> String {
    format!("--mount=/proc/{}/ns/mnt", engine.pid())
}

fn inside(engine: &Running, script: &str) {
    let mut command = Command::new("nsenter");
    command.args([&entering(engine), "sh", "-ec", script]);
    tools::run(command).expect_success();
}

/// The engine pins the network namespace of `pid`.
fn hold(engine: &Running, pid: u32) {
    fs::create_dir_all("/run/pins").unwrap();
    drop(std::os::unix::fs::symlink("/run/pins", "/run/link"));
    inside(engine, &format!("touch {HOLDER}; mount --bind /proc/{pid}/ns/net {HOLDER}"));
    assert_ne!(Netns::at(HOLDER), Netns::of(pid), "the host does not see it");
}

/// The engine takes the pod's network away.
fn let_go(engine: &Running) {
    inside(engine, &format!("umount {HOLDER}; rm {HOLDER}"));
}

fn call(engine: &Running, stage: &str, bundle: &Bundle, pid: Option<u32>) {
    let run = HookRun::with_state(stage, &bundle.state(pid));
    run.under(&["nsenter", &entering(engine)]).run().expect_success();
}

/// A pod of the engine's whose only container has been registered by the hook.
fn start(node: &Node, engine: &Running) -> (Bundle, Sandbox, Netns) {
    let (app, bundle) = (Sandbox::start(), Bundle::new(node));
    hold(engine, app.pid());
    let annotations = cri_o("container", "shop", "web-0", &node.new_id());
    let bundle = bundle.annotations(annotations.as_object().unwrap()).netns(HOLDER);
    bundle.write();
    call(engine, "createRuntime", &bundle, Some(app.pid()));
    let netns = app.netns();
    assert_eq!(node.pin("web-0"), Some(netns));
    (bundle, app, netns)
}

fn a_crash_looping_pod_keeps_its_pin_from_poststop_to_the_end_of_the_pod(node: &Node) {
    let engine = crio();
    let (bundle, app, netns) = start(node, &engine);
    app.end();
    call(&engine, "poststop", &bundle, None);
    assert_eq!(node.pin("web-0"), Some(netns), "after poststop");
    // The hook of another engine, in the host's mount namespace, looks after idle pins too.
    HookRun::with_state("poststop", &Bundle::new(node).write().state(None)).run().expect_success();
    assert_eq!(node.pin("web-0"), Some(netns), "after another engine's poststop");
    assert_eq!(tools::reconcile(), [""; 0]);
    assert_eq!(node.pin("web-0"), Some(netns), "after reconcile");
    let said = tools::porthole(&["doctor", "idle-pins", "leaked-pins"]);
    assert!(said.expect_success().contains("1 pin without members"), "{said:?}");
    let_go(&engine);
    let done = tools::reconcile();
    assert!(done.len() == 1 && done[0].contains("unpin"), "{done:?}");
    assert!(node.pins().is_empty());
    engine.end();
    node.expect_silence("a pod of an engine with mounts of its own");
}

fn a_container_that_died_unseen_leaves_the_pin_to_its_pod(node: &Node) {
    let engine = crio();
    let (bundle, app, netns) = start(node, &engine);
    app.end();
    let done = tools::reconcile();
    assert!(done.len() == 1 && done[0].contains("drop-member"), "{done:?}");
    assert_eq!(node.pin("web-0"), Some(netns));
    let_go(&engine);
    // The hook in the engine's own mount namespace sees that it has gone.
    call(&engine, "poststop", &bundle, None);
    assert!(node.pins().is_empty());
    engine.end();
}

fn the_unit_s_filter_hides_no_holder_from_reconcile(node: &Node) {
    requires!(strace);
    let engine = crio();
    let (bundle, app, netns) = start(node, &engine);
    app.end();
    call(&engine, "poststop", &bundle, None);
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "inject=openat2:error=EPERM", "-o", "/mnt/trace", "--"]);
    command.arg(tools::binary("porthole")).arg("reconcile");
    tools::run(command).expect_success();
    assert_eq!(node.pin("web-0"), Some(netns));
    let_go(&engine);
    tools::reconcile();
    assert!(node.pins().is_empty());
    engine.end();
}

fn what_the_engine_has_mounted_in_the_directory_of_the_pins_is_not_covered(node: &Node) {
    let own = "/run/netns/0a598379";
    let (engine, app) = (crio(), Sandbox::start());
    inside(
        &engine,
        &format!("mkdir -p /run/netns; touch {own}; mount --bind /proc/{}/ns/net {own}", app.pid()),
    );
    let annotations = cri_o("container", "shop", "web-0", &node.new_id());
    let bundle = Bundle::new(node).annotations(annotations.as_object().unwrap()).netns(own);
    bundle.write();
    call(&engine, "createRuntime", &bundle, Some(app.pid()));
    assert_eq!(node.pin("web-0"), Some(app.netns()));
    inside(&engine, "test \"$(stat -fc %T /run/netns/web-0)\" = nsfs");
    // As CRI-O does at the end of a pod; `rm` fails where something is mounted there still.
    app.end();
    inside(&engine, &format!("umount {own}; rm {own}"));
    call(&engine, "poststop", &bundle, None);
    assert!(node.pins().is_empty());
    engine.end();
}

fn a_mount_namespace_that_is_gone_holds_nothing(node: &Node) {
    let engine = crio();
    let (_, app, _) = start(node, &engine);
    engine.end();
    app.end();
    let done = tools::reconcile();
    assert!(done.len() == 1 && done[0].contains("release"), "{done:?}");
    assert!(node.pins().is_empty());
}

fn a_sandbox_without_a_process_is_pinned_from_the_run_root_that_the_daemon_was_told(node: &Node) {
    let engine = crio();
    let app = Sandbox::start();
    let netns = app.netns();
    hold(&engine, app.pid());
    app.end();
    let id = node.new_id();
    let userdata = format!("{RUN_ROOT}/overlay-containers/{id}/userdata");
    fs::create_dir_all(&userdata).unwrap();
    let config = json!({
        "annotations": cri_o("sandbox", "shop", "web-0", &id),
        "hostname": "web-0",
        "linux": { "namespaces": [{ "type": "network", "path": HOLDER }] },
    });
    fs::write(format!("{userdata}/config.json"), config.to_string()).unwrap();
    let said = tools::porthole(&["doctor", "unregistered-pods"]);
    assert!(said.expect_success().contains("sandbox of web-0"), "{said:?}");
    let done = tools::reconcile();
    assert!(done.len() == 1 && done[0].contains("adopt") && done[0].contains(&id), "{done:?}");
    assert_eq!(node.pin("web-0"), Some(netns));
    assert_eq!(tools::reconcile(), [""; 0]);
    assert_eq!(node.pin("web-0"), Some(netns), "it stays for as long as the engine has it");
    let said = tools::porthole(&["doctor", "unregistered-pods", "idle-pins"]);
    assert!(said.expect_success().contains("1 pin without members"), "{said:?}");
    let_go(&engine);
    tools::reconcile();
    assert!(node.pins().is_empty());
    engine.end();
}

on_a_node!(requires(root, ip, nsenter, unshare):
    a_crash_looping_pod_keeps_its_pin_from_poststop_to_the_end_of_the_pod,
    a_container_that_died_unseen_leaves_the_pin_to_its_pod,
    the_unit_s_filter_hides_no_holder_from_reconcile,
    what_the_engine_has_mounted_in_the_directory_of_the_pins_is_not_covered,
    a_mount_namespace_that_is_gone_holds_nothing,
    a_sandbox_without_a_process_is_pinned_from_the_run_root_that_the_daemon_was_told,
);
