//! The end of what was adopted: no hook tells of it, so the hooks of others look.

use porthole_tests::pod::EnginePin;
use porthole_tests::{Bundle, Container, Node, Runtime, on_a_node};

use crate::setting::{adopted, delete_task, reconcile, run_task, sandbox, task, unhooked};

fn any_later_release_takes_an_adopted_container_that_has_ended_along(node: &Node) {
    let container = Container::run(Runtime::Runc, &unhooked(node, "web-0"));
    adopted();
    container.delete();
    assert_eq!(node.pins(), ["web-0"], "nobody has told");
    let other =
        Container::run(Runtime::Runc, &Bundle::of_pod(node, "shop", "other", "app", "/none").own_netns());
    other.delete();
    assert_eq!(node.pins(), Vec::<String>::new());
    assert_eq!(node.records(), Vec::<String>::new());
    node.expect_silence("the end of an adopted container");
}

fn an_adopted_sandbox_does_not_outlive_its_pod_by_more_than_one_release(node: &Node) {
    let engine = EnginePin::new_netns("/run/engine-netns/cni-1");
    let pause = run_task(Runtime::Runc, &task(sandbox(node, "shop", "web-0", engine.path()), "k8s.io"));
    assert_eq!(adopted(), [pause.id()]);
    // A container that was made since has the hook.
    let netns = format!("/proc/{}/ns/net", pause.pid());
    let app = Container::run(Runtime::Runc, &Bundle::of_pod(node, "shop", "web-0", "app", &netns));
    assert_eq!(node.pins(), ["web-0"]);
    app.delete();
    assert_eq!(node.pins(), ["web-0"], "the sandbox is there still");
    delete_task(pause);
    engine.remove();
    let other =
        Container::run(Runtime::Runc, &Bundle::of_pod(node, "shop", "other", "app", "/none").own_netns());
    other.delete();
    assert_eq!(node.pins(), Vec::<String>::new());
    assert_eq!(reconcile(), []);
}

fn a_pod_made_again_has_the_name_of_the_adopted_one_before_it(node: &Node) {
    // More adopted pods than one run of the hook looks at.
    let others: Vec<_> =
        (0..8).map(|n| Container::run(Runtime::Runc, &unhooked(node, &format!("other-{n}")))).collect();
    let container = Container::run(Runtime::Runc, &unhooked(node, "web-0"));
    assert_eq!(adopted().len(), 9);
    container.delete();
    let again =
        Container::run(Runtime::Runc, &Bundle::of_pod(node, "shop", "web-0", "app", "/none").own_netns());
    assert_eq!(node.record(again.id()).unwrap()["pin"]["name"], "web-0");
    assert_eq!(node.pin("web-0"), Some(again.netns()));
    again.delete();
    others.into_iter().for_each(|container| drop(container.delete()));
    reconcile();
}

fn a_hooked_container_that_was_adopted_is_released_by_its_own_hook(node: &Node) {
    let bundle = Bundle::of_pod(node, "shop", "web-0", "app", "/none").own_netns();
    // As where the hook was not there yet when it was created.
    let container = Container::run(Runtime::Runc, &bundle.hooked(&["poststop"]));
    assert_eq!(adopted(), [container.id()]);
    container.delete();
    assert_eq!((node.records(), node.pins()), (vec![], vec![]));
    assert_eq!(reconcile(), []);
}

on_a_node!(requires(root, ip, runc):
    any_later_release_takes_an_adopted_container_that_has_ended_along,
    an_adopted_sandbox_does_not_outlive_its_pod_by_more_than_one_release,
    a_pod_made_again_has_the_name_of_the_adopted_one_before_it,
    a_hooked_container_that_was_adopted_is_released_by_its_own_hook,
);
