//! podman: pods and containers made before porthole came, and with its hook.

use std::collections::BTreeSet;

use porthole_tests::child::Child;
use porthole_tests::engine::{Podman, Started};
use porthole_tests::{Node, on_each_version};

use crate::setting::{
    Counts, adopted, ended, hook_podman, is_reached, json, nothing_to_do, pin_of, pins, row_of, summary,
    take_programs_away,
};

fn ids(of: &[&Started]) -> BTreeSet<String> {
    of.iter().map(|started| started.id.clone()).collect()
}

fn pods_and_containers_are_adopted_under_their_names(node: &Node, version: &str) {
    let podman = Podman::new(node, version);
    let web = podman.pod_create("web", &[]);
    let (c0, c1) =
        (podman.run("web-c0", &["--pod", "web"], &[]), podman.run("web-c1", &["--pod", "web"], &[]));
    let empty = podman.pod_create("empty", &[]);
    let alone = podman.run("alone", &[], &[]);
    let on_host = podman.run("on-host", &["--network", "host"], &[]);
    let stopped = podman.run("stopped", &[], &[]);
    podman.call(&["stop", "--time", "0", "stopped"]).expect_success();

    let all = ids(&[&web.infra, &c0, &c1, &empty.infra, &alone, &on_host]);
    assert_eq!(adopted(), all);
    nothing_to_do();
    assert_eq!(pins(node), ["alone", "empty", "web"]);
    for (name, started) in [("web", &web.infra), ("empty", &empty.infra), ("alone", &alone)] {
        assert_eq!(node.pin(name), Some(started.netns()));
        is_reached(name, name, &started.ip);
    }
    assert!(node.record(&stopped.id).is_none() && pin_of(node, &on_host.id).is_none());
    let rows = json(&["list"]);
    let row = |started: &Started| summary(row_of(&rows, &started.id));
    assert_eq!(row(&web.infra), ["web", "-", "web", "sandbox", "podman"]);
    assert_eq!(row(&empty.infra), ["empty", "-", "empty", "sandbox", "podman"]);
    assert_eq!(row(&c1), ["web", "-", "web", "container", "podman"]);
    assert_eq!(row(&alone), ["alone", "-", "alone", "container", "podman"]);
    assert_eq!(row_of(&rows, &c1.id)["container"], "web-c1");

    podman.pod_rm("web");
    podman.rm("alone");
    assert_eq!(ended(), ids(&[&web.infra, &c0, &c1, &alone]));
    podman.pod_rm("empty");
    podman.rm("on-host");
    podman.rm("stopped");
    assert_eq!(ended(), ids(&[&empty.infra, &on_host]));
    assert_eq!((node.records(), pins(node)), (vec![], vec![]));
    node.expect_silence("adoption");
}

fn a_hooked_pod_has_its_name_from_its_start_to_its_end(node: &Node, version: &str) {
    let podman = Podman::new(node, version);
    let early = podman.pod_create("early", &[]);
    hook_podman();
    // A pod that is older than the hook gets its name with the next container, and its infra container by adoption.
    let c0 = podman.run("early-c0", &["--pod", "early"], &[]);
    assert_eq!((node.pin("early"), node.records()), (Some(early.infra.netns()), vec![c0.id.clone()]));
    assert_eq!(adopted(), ids(&[&early.infra]));
    assert_eq!(
        (pins(node), pin_of(node, &early.infra.id).as_deref()),
        (vec!["early".to_owned()], Some("early"))
    );
    podman.pod_rm("early");
    ended();
    assert_eq!((node.records(), pins(node)), (vec![], vec![]));
    let before = Counts::of(node);

    for _ in 0..2 {
        let web = podman.pod_create("web", &[]);
        assert_eq!((pins(node), node.pin("web")), (vec!["web".to_owned()], Some(web.infra.netns())));
        Child::in_target("web").expect_general(web.infra.netns());
        assert_eq!(
            summary(row_of(&json(&["list"]), &web.infra.id)),
            ["web", "-", "web", "sandbox", "podman"]
        );
        let c0 = podman.run("web-c0", &["--pod", "web"], &[]);
        is_reached("web", "web", &web.infra.ip);
        podman.call(&["restart", "--time", "0", "web-c0"]).expect_success();
        assert_eq!((pins(node), pin_of(node, &c0.id).as_deref()), (vec!["web".to_owned()], Some("web")));
        podman.rm("web-c0");
        assert_eq!((pins(node), node.records()), (vec!["web".to_owned()], vec![web.infra.id.clone()]));
        nothing_to_do();
        podman.pod_rm("web");
        assert_eq!((node.records(), pins(node)), (vec![], vec![]), "nobody has run reconcile");
        let alone = podman.run("alone", &[], &[]);
        assert_eq!(node.pin("alone"), Some(alone.netns()));
        podman.rm("alone");
    }
    before.expect(node);
    node.expect_silence("pods with the hook");

    let alone = podman.run("alone", &[], &[]);
    take_programs_away();
    let without = podman.run("without", &[], &[]);
    assert!(without.pid > 0 && pins(node) == ["alone"], "{alone:?}");
    podman.rm("without");
    podman.rm("alone");
    ended();
    assert_eq!((node.records(), pins(node)), (vec![], vec![]));
}

on_each_version!(podman: podman_4_3 "4.3", podman_5_4 "5.4": [
    pods_and_containers_are_adopted_under_their_names,
    a_hooked_pod_has_its_name_from_its_start_to_its_end,
]);
