//! containerd with porthole in front of the runtime: sandboxes have the hook as well.

use porthole_tests::engine::containerd::veths;
use porthole_tests::engine::{BUSYBOX, Containerd, PodOptions};
use porthole_tests::{Node, on_each_version};

use crate::setting::{
    Counts, ended, hook_sandboxes, is_reached, json, nothing_to_do, pin_of, pins, put_programs, row_of,
    summary, take_programs_away,
};

fn a_pod_has_its_name_while_its_sandbox_runs_and_no_longer(node: &Node, version: &str) {
    let containerd = Containerd::start(node, version);
    hook_sandboxes(&containerd);
    let plain = PodOptions::default();
    containerd.remove_pod(&containerd.run_pod("shop", "first", &plain));
    assert_eq!((node.records(), pins(node)), (vec![], vec![]), "nobody has run reconcile");
    let before = Counts::of(node);

    // No container yet, as while an image is pulled.
    let mut pod = containerd.run_sandbox("shop", "web-0", &plain);
    assert_eq!(
        (pin_of(node, &pod.sandbox).as_deref(), node.pin("web-0")),
        (Some("web-0"), Some(pod.netns()))
    );
    assert_eq!(
        summary(row_of(&json(&["list"]), &pod.sandbox)),
        ["web-0", "shop", "web-0", "sandbox", "containerd"]
    );
    is_reached("web-0", "shop/web-0", &pod.ip);
    let container = containerd.run_container(&mut pod, "c0", 0, &[], BUSYBOX);
    assert_eq!((pin_of(node, &container.id).as_deref(), node.records().len()), (Some("web-0"), 2));
    containerd.kill_container(&container);
    assert_eq!((pins(node), node.records()), (vec!["web-0".to_owned()], vec![pod.sandbox.clone()]));
    nothing_to_do();

    // Stopped, and at once it is gone.
    containerd.stop_pod(&pod);
    assert_eq!((pins(node), node.records()), (vec![], vec![]));
    containerd.remove_pod(&pod);
    before.expect(node);
    nothing_to_do();

    // The same name, again and again.
    for _ in 0..3 {
        let pod = containerd.run_pod("shop", "web-0", &plain);
        assert_eq!((pins(node), node.pin("web-0")), (vec!["web-0".to_owned()], Some(pod.netns())));
        containerd.remove_pod(&pod);
    }
    before.expect(node);
    node.expect_silence("pods with a hooked sandbox");

    // Without the programs pods start and end.
    let hooked = containerd.run_pod("shop", "hooked", &plain);
    take_programs_away();
    let without = containerd.run_pod("shop", "without", &plain);
    assert!(without.containers[0].pid > 0 && pins(node) == ["hooked"]);
    containerd.remove_pod(&hooked);
    containerd.remove_pod(&without);
    assert!(containerd.pods().is_empty() && veths().is_empty());
    put_programs();
    assert_eq!(ended().len(), 2);
}

on_each_version!(containerd: containerd_1_6 "1.6", containerd_1_7 "1.7", containerd_2 "2": [
    a_pod_has_its_name_while_its_sandbox_runs_and_no_longer,
]);
