//! A thousand pods.

use porthole_tests::engine::{Containerd, PodOptions};
use porthole_tests::{Node, node, requires, test_path};

use crate::setting::{Counts, hook_containers, reconcile};

const PODS: usize = 1_000;
const LANES: usize = 4;

fn leave_nothing(node: &Node) {
    let containerd = Containerd::start(node, "2");
    hook_containers(&containerd);
    let life = |name: &str| {
        let pod = containerd.run_pod("shop", name, &PodOptions::default());
        assert_eq!(node.pin(name), Some(pod.netns()), "{name}");
        containerd.remove_pod(&pod);
    };
    // What the first one makes stays.
    life("first");
    reconcile();
    let before = Counts::of(node);
    std::thread::scope(|scope| {
        for lane in 0..LANES {
            let life = &life;
            scope.spawn(move || (0..PODS / LANES).for_each(|n| life(&format!("web-{lane}-{n}"))));
        }
    });
    // The last pods' pins wait for somebody to see that the engine's own have gone.
    reconcile();
    before.expect(node);
    node.expect_silence("a thousand pods");
}

#[test]
fn a_thousand_pods_leave_nothing() {
    requires!(root, ip, containerd);
    node::run(test_path!(), leave_nothing);
}
