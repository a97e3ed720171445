//! Pods: containers that share a network namespace, and the life of its pin.

use porthole_tests::pod::EnginePin;
use porthole_tests::{Bundle, Container, Node, Runtime, Sandbox, on_every_runtime, tools};

fn two_containers_of_a_pod_share_one_pin(node: &Node, runtime: Runtime) {
    let sandbox = Sandbox::start();
    let member = |name: &str| Bundle::of_pod(node, "shop", "web-0", name, &sandbox.netns_path());
    let app = Container::run(runtime, &member("app"));
    let sidecar = Container::run(runtime, &member("sidecar"));
    assert_eq!(node.pins(), ["web-0"]);
    assert_eq!(node.pin("web-0"), Some(sandbox.netns()));
    for container in [&app, &sidecar] {
        assert_eq!(node.record(container.id()).expect("recorded")["pin"]["name"], "web-0");
    }
    app.delete();
    assert_eq!(node.pins(), ["web-0"], "the other one is still there");
    sandbox.end();
    sidecar.delete();
    assert_eq!(node.pins(), Vec::<String>::new(), "the last one takes it away");
    node.expect_silence("a pod of two");
}

fn crash_looping_container_keeps_the_pods_pin(node: &Node, runtime: Runtime) {
    let sandbox = Sandbox::start();
    for _ in 0..3 {
        let bundle =
            Bundle::of_pod(node, "shop", "web-0", "app", &sandbox.netns_path()).args(&["/bin/false"]);
        let container = Container::run(runtime, &bundle);
        container.wait_stopped();
        container.delete();
        assert_eq!(node.pins(), ["web-0"], "in back-off the pod is still enterable");
        assert_eq!(node.pin("web-0"), Some(sandbox.netns()));
        assert!(node.records().is_empty());
    }
    tools::ip(&["netns", "exec", "web-0", "true"]).expect_success();
    sandbox.end();
    let other = Container::run(runtime, &Bundle::new(node));
    assert!(node.pin("web-0").is_some(), "the start of another container waits for nobody's end");
    other.delete();
    assert_eq!(node.pins(), Vec::<String>::new(), "the next release finds that the pod has gone");
    node.expect_silence("a crash loop");
}

fn pin_waits_for_the_engines_pin(node: &Node, runtime: Runtime) {
    // containerd: the app's poststop comes before the engine takes its pin away.
    let engine = EnginePin::new_netns("/run/engine-netns/cni-1");
    let container = Container::run(runtime, &Bundle::of_pod(node, "shop", "web-0", "app", engine.path()));
    assert_eq!(node.pin("web-0"), Some(engine.netns()));
    container.delete();
    assert_eq!(node.pins(), ["web-0"], "the engine's pin still holds the namespace");
    engine.remove();
    tools::reconcile();
    assert_eq!(node.pins(), Vec::<String>::new());
    node.expect_silence("a pod that the engine pins");
}

fn pin_goes_at_once_when_the_engines_pin_went_before(node: &Node, runtime: Runtime) {
    // CRI-O: its pin is gone long before poststop comes.
    let engine = EnginePin::new_netns("/run/engine-netns/6b1d");
    let container = Container::run(runtime, &Bundle::of_pod(node, "shop", "web-0", "app", engine.path()));
    container.kill();
    engine.remove();
    container.delete();
    assert_eq!(node.pins(), Vec::<String>::new());
    node.expect_silence("a pod whose engine pin went first");
}

fn engines_pin_beside_ours_is_left_alone(node: &Node, runtime: Runtime) {
    // containerd and podman have theirs in the same directory.
    let container = {
        let engine = EnginePin::new_netns("/run/netns/cni-3f0c");
        let container = Container::run(runtime, &Bundle::of_pod(node, "shop", "web-0", "app", engine.path()));
        assert_eq!(node.pins(), ["cni-3f0c", "web-0"]);
        assert_eq!(node.pin("web-0"), Some(engine.netns()));
        container.kill();
        engine.remove();
        container
    };
    assert_eq!(node.pins(), ["web-0"]);
    container.delete();
    assert_eq!(node.pins(), Vec::<String>::new());

    let engine = EnginePin::new_netns("/run/netns/cni-77aa");
    let container =
        Container::run(runtime, &Bundle::of_pod(node, "shop", "web-1", "app", "/var/run/netns/cni-77aa"));
    container.delete();
    assert!(node.pins().contains(&"cni-77aa".to_owned()), "the engine's own is never removed");
    engine.remove();
    tools::reconcile();
    node.expect_silence("pins side by side");
}

/// As a wrapped runtime sees it: it joins the engine's pin.
fn hooked_sandbox(node: &Node, runtime: Runtime, engine: &EnginePin) -> Container {
    let mut annotations = porthole_tests::bundle::containerd_annotations("shop", "web-0", "");
    annotations.remove("io.kubernetes.cri.container-name");
    annotations.insert("io.kubernetes.cri.container-type".to_owned(), "sandbox".into());
    Container::run(runtime, &Bundle::new(node).annotations(&annotations).netns(engine.path()))
}

fn sandbox_and_its_containers_are_one_pod(node: &Node, runtime: Runtime) {
    let engine = EnginePin::new_netns("/run/engine-netns/cni-2");
    let sandbox = hooked_sandbox(node, runtime, &engine);
    assert_eq!(node.record(sandbox.id()).expect("recorded")["kind"], "sandbox");
    let path = format!("/proc/{}/ns/net", sandbox.pid());
    let app = Container::run(runtime, &Bundle::of_pod(node, "shop", "web-0", "app", &path));
    assert_eq!(node.pins(), ["web-0"]);
    app.delete();
    assert_eq!(node.pins(), ["web-0"]);
    sandbox.kill();
    engine.remove();
    sandbox.delete();
    assert_eq!(node.pins(), Vec::<String>::new());
    node.expect_silence("a pod with its sandbox");
}

fn a_sandbox_that_ends_takes_the_pin_of_an_empty_pod_along(node: &Node, runtime: Runtime) {
    let engine = EnginePin::new_netns("/run/engine-netns/cni-3");
    let sandbox = hooked_sandbox(node, runtime, &engine);
    sandbox.kill();
    sandbox.delete();
    assert_eq!(node.pins(), Vec::<String>::new(), "the engine's own is still there");
    // Not of one that has a container left.
    let sandbox = hooked_sandbox(node, runtime, &engine);
    let app = Container::run(runtime, &Bundle::of_pod(node, "shop", "web-0", "app", engine.path()));
    sandbox.kill();
    sandbox.delete();
    assert_eq!(node.pin("web-0"), Some(engine.netns()));
    app.delete();
    assert_eq!(node.pins(), ["web-0"]);
    engine.remove();
    assert_eq!(tools::reconcile().len(), 1);
    assert_eq!(node.pins(), Vec::<String>::new());
    node.expect_silence("a pod that ended with its sandbox");
}

fn joining_by_our_own_pin_does_not_keep_it_for_ever(node: &Node, runtime: Runtime) {
    let first =
        Container::run(runtime, &Bundle::of_pod(node, "shop", "web-0", "app", "/run/netns/none").own_netns());
    let second = Container::run(runtime, &Bundle::of_pod(node, "shop", "web-0", "debug", "/run/netns/web-0"));
    assert_eq!(node.pins(), ["web-0"]);
    first.delete();
    second.delete();
    assert_eq!(node.pins(), Vec::<String>::new());
    node.expect_silence("a container that joined by the pin");
}

fn pod_made_again_under_its_name_gets_its_name(node: &Node, runtime: Runtime) {
    // A StatefulSet: web-0 ends, and web-0 is there again a moment later.
    for _ in 0..3 {
        let sandbox = Sandbox::start();
        let container =
            Container::run(runtime, &Bundle::of_pod(node, "shop", "web-0", "app", &sandbox.netns_path()));
        assert_eq!(node.pin("web-0"), Some(sandbox.netns()));
        container.delete();
        sandbox.end();
    }
    tools::reconcile();
    assert_eq!(node.pins(), Vec::<String>::new());
    node.expect_silence("three pods of one name, one after the other");
}

on_every_runtime!(
    two_containers_of_a_pod_share_one_pin,
    crash_looping_container_keeps_the_pods_pin,
    pin_waits_for_the_engines_pin,
    pin_goes_at_once_when_the_engines_pin_went_before,
    engines_pin_beside_ours_is_left_alone,
    sandbox_and_its_containers_are_one_pod,
    a_sandbox_that_ends_takes_the_pin_of_an_empty_pod_along,
    joining_by_our_own_pin_does_not_keep_it_for_ever,
    pod_made_again_under_its_name_gets_its_name,
);
