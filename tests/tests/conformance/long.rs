//! A configuration of any length: its record can be read again.

use std::fs;

use porthole_registry::record::MAX_BYTES;
use porthole_tests::bundle::containerd_annotations;
use porthole_tests::{Bundle, HookRun, Node, Sandbox, on_a_node, tools};

fn a_record_of_a_configuration_without_measure_can_be_read_again(node: &Node) {
    let long = "\u{1}\"\\x".repeat(1 << 10);
    let names = containerd_annotations("shop", "web-0", "nginx");
    let bundle = Bundle::new(node).annotations(&names).with(|config| {
        let huge = |n: usize| format!("CAP_{n}{long}");
        config["process"]["capabilities"]["bounding"] = (0..24).map(huge).collect();
        config["process"]["selinuxLabel"] = long.clone().into();
        config["process"]["apparmorProfile"] = long.clone().into();
        config["root"]["path"] = long.repeat(40).into();
        config["hostname"] = long.clone().into();
        config["linux"]["cgroupsPath"] = long.clone().into();
        for name in ["container-name", "image-name", "sandbox-namespace", "sandbox-uid", "sandbox-id"] {
            config["annotations"][format!("io.kubernetes.cri.{name}")] = long.clone().into();
        }
    });
    bundle.write();
    let sandbox = Sandbox::start();
    for stage in ["createRuntime", "poststart"] {
        HookRun::with_state(stage, &bundle.state(Some(sandbox.pid()))).run().expect_success();
        node.expect_silence(stage);
        let file = node.run_dir().join(format!("containers/{}.json", bundle.id));
        assert!(fs::metadata(file).unwrap().len() <= MAX_BYTES / 2, "room for what others add");
    }
    let listed = tools::porthole(&["-o", "json", "list"]);
    assert!(listed.expect_success().contains("\"pod\": \"web-0\""), "{}", listed.stderr);
    assert!(listed.stderr.is_empty(), "{}", listed.stderr);
    assert_eq!(tools::reconcile(), Vec::<String>::new());
    sandbox.end();
    HookRun::with_state("poststop", &bundle.state(None)).run().expect_success();
    assert_eq!((node.records(), node.pins()), (vec![], vec![]));
}

fn a_bundle_without_measure_is_registered_without_it(node: &Node) {
    let bundle = Bundle::new(node).annotations(&containerd_annotations("shop", "web-0", "nginx"));
    bundle.write();
    let sandbox = Sandbox::start();
    let mut state = bundle.state(Some(sandbox.pid()));
    state["bundle"] = format!("/{}", "b".repeat(300 << 10)).into();
    HookRun::with_state("createRuntime", &state).run().expect_success();
    let lines = node.log();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(node.record(&bundle.id).unwrap()["bundle"], "");
    assert_eq!(tools::reconcile(), Vec::<String>::new());
    sandbox.end();
    HookRun::with_state("poststop", &bundle.state(None)).run().expect_success();
    assert_eq!((node.records(), node.pins()), (vec![], vec![]));
}

on_a_node!(requires(root, ip):
    a_record_of_a_configuration_without_measure_can_be_read_again,
    a_bundle_without_measure_is_registered_without_it,
);
