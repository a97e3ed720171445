//! From create to delete.

use porthole_tests::{Bundle, Container, Node, Runtime, on_every_runtime};

fn container_of_the_harness_lives_and_goes(node: &Node, runtime: Runtime) {
    let bundle = Bundle::new(node).hooked(&[]);
    let container = Container::run(runtime, &bundle);
    assert_eq!(container.status(), "running");
    container.kill();
    container.wait_stopped();
    container.delete();
    assert!(runtime.state(&bundle.id).is_none());
}

on_every_runtime!(container_of_the_harness_lives_and_goes);
