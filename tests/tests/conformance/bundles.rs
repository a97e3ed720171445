//! Bundles whose config.json cannot be read when the hook looks, or says more than it should.

use porthole_tests::bundle::containerd_annotations;
use porthole_tests::{Bundle, Container, Node, Runtime, on_every_runtime};
use serde_json::json;

fn web_0(node: &Node) -> Bundle {
    Bundle::new(node)
        .annotations(&containerd_annotations("shop", "web-0", "nginx"))
        .hooked(&["createRuntime", "poststop"])
}

/// Runs `spoil` on config.json before the hook and puts the good one back after it: the runtime needs it.
#[track_caller]
fn starts_with_spoilt_config(node: &Node, runtime: Runtime, spoil: &str, words: &[&str]) {
    let bundle = web_0(node);
    let dir = bundle.dir.display();
    let before = format!("cd {dir} && cp config.json good && {spoil}");
    let after = format!("cd {dir} && rm -rf config.json && mv good config.json");
    let container = Container::run(runtime, &bundle.clone().around("createRuntime", &before, &after));
    assert_eq!(container.status(), "running");
    // The names are in the state too, so the pod is pinned with no configuration to read.
    assert_eq!(node.pin("web-0"), Some(container.netns()));
    let line = node.expect_one_line(&[&bundle.id, "config.json"]);
    assert!(words.iter().any(|word| line.contains(word)), "expected one of {words:?} in {line}");
    container.delete();
    assert_eq!(node.pins(), Vec::<String>::new());
    node.expect_silence("the release");
}

fn config_is_missing(node: &Node, runtime: Runtime) {
    starts_with_spoilt_config(node, runtime, "rm config.json", &["No such file"]);
}

fn config_is_empty(node: &Node, runtime: Runtime) {
    starts_with_spoilt_config(node, runtime, ": > config.json", &["is empty"]);
}

fn config_is_truncated(node: &Node, runtime: Runtime) {
    starts_with_spoilt_config(node, runtime, "head -c 300 good > config.json", &["ends too early"]);
}

fn config_is_huge(node: &Node, runtime: Runtime) {
    let spoil = "truncate -s 67108864 config.json";
    starts_with_spoilt_config(node, runtime, spoil, &["is larger than"]);
}

fn config_is_not_json(node: &Node, runtime: Runtime) {
    starts_with_spoilt_config(node, runtime, "cp /bin/busybox config.json", &["line 1"]);
}

fn config_is_json_of_another_shape(node: &Node, runtime: Runtime) {
    starts_with_spoilt_config(node, runtime, "echo '[1, 2]' > config.json", &["no JSON object"]);
}

fn config_is_a_directory(node: &Node, runtime: Runtime) {
    starts_with_spoilt_config(node, runtime, "rm config.json && mkdir config.json", &["regular file"]);
}

fn config_is_a_fifo(node: &Node, runtime: Runtime) {
    starts_with_spoilt_config(node, runtime, "rm config.json && mkfifo config.json", &["regular file"]);
}

fn config_nests_too_deep(node: &Node, runtime: Runtime) {
    let spoil = "head -c 1000000 /dev/zero | tr '\\0' '[' > config.json";
    starts_with_spoilt_config(node, runtime, spoil, &["line 1", "recursion"]);
}

fn config_has_unknown_fields(node: &Node, runtime: Runtime) {
    let bundle = web_0(node).with(|config| {
        config["org.example.future"] = json!({ "deep": [[[{ "er": null }]]] });
        config["linux"]["futureNamespaces"] = json!(["a", 1, null]);
        config["process"]["futureField"] = json!(1.5e300);
    });
    let container = Container::run(runtime, &bundle);
    assert_eq!(node.pin("web-0"), Some(container.netns()));
    container.delete();
    node.expect_silence("fields from the future");
}

fn config_is_gone_at_the_end(node: &Node, runtime: Runtime) {
    let engine = porthole_tests::pod::EnginePin::new_netns("/run/engine-netns/cni-9");
    let bundle = web_0(node).netns(engine.path());
    let container = Container::run(
        runtime,
        &bundle.clone().around("poststop", &format!("rm {}/config.json", bundle.dir.display()), "true"),
    );
    container.delete();
    assert_eq!(node.pins(), ["web-0"], "what holds the namespace was written down when the pin was made");
    engine.remove();
    porthole_tests::tools::reconcile();
    assert_eq!(node.pins(), Vec::<String>::new());
    node.expect_silence("a release without a configuration");
}

fn annotations_are_in_the_config_alone(node: &Node, runtime: Runtime) {
    // Some callers leave them out of the state; by hand, as these runtimes do not.
    let container = Container::run(runtime, &web_0(node).hooked(&["poststop"]));
    let mut state = container.bundle().state(Some(container.pid()));
    state.as_object_mut().unwrap().remove("annotations");
    porthole_tests::HookRun::with_state("createRuntime", &state).run().expect_success();
    assert_eq!(node.pin("web-0"), Some(container.netns()));
    container.delete();
    node.expect_silence("annotations in config.json");
}

fn a_thousand_annotations(node: &Node, runtime: Runtime) {
    let mut annotations = containerd_annotations("shop", "web-0", "nginx");
    for n in 0..1000 {
        annotations.insert(format!("example.org/{n}"), json!("x".repeat(200)));
    }
    let container = Container::run(runtime, &web_0(node).annotations(&annotations));
    assert_eq!(node.pin("web-0"), Some(container.netns()));
    container.delete();
    node.expect_silence("200 KiB of annotations");
}

on_every_runtime!(
    config_is_missing,
    config_is_empty,
    config_is_truncated,
    config_is_huge,
    config_is_not_json,
    config_is_json_of_another_shape,
    config_is_a_directory,
    config_is_a_fifo,
    config_nests_too_deep,
    config_has_unknown_fields,
    config_is_gone_at_the_end,
    annotations_are_in_the_config_alone,
    a_thousand_annotations,
);
