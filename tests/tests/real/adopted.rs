//! Pods that containerd made before porthole came.

use std::collections::BTreeSet;

use porthole_tests::engine::containerd::veths;
use porthole_tests::engine::{Containerd, Pod, PodOptions};
use porthole_tests::{Netns, Node, on_each_version, tools};
use serde_json::Value;

use crate::setting::{
    adopted, ended, ids_of, is_reached, json, nothing_to_do, pin_of, pins, row_of, summary,
};

/// Twenty pods, of every kind, started four at once.
fn twenty(containerd: &Containerd) -> Vec<Pod> {
    let plain = PodOptions::default;
    let mut wanted: Vec<(String, String, PodOptions)> = vec![
        ("shop".into(), "two".into(), PodOptions { containers: 2, ..plain() }),
        ("kube-system".into(), "proxy".into(), PodOptions { host_network: true, ..plain() }),
        ("shop".into(), "crashed".into(), PodOptions { crashes: 2, ..plain() }),
        ("shop".into(), "empty".into(), PodOptions { containers: 0, ..plain() }),
        ("blue".into(), "twin".into(), plain()),
        ("green".into(), "twin".into(), plain()),
    ];
    wanted.extend((0..14).map(|n| ("shop".into(), format!("web-{n}"), plain())));
    let wanted = &wanted;
    let start = |lane: usize| {
        let of_lane = wanted.iter().skip(lane).step_by(4);
        of_lane
            .map(|(namespace, name, options)| containerd.run_pod(namespace, name, options))
            .collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..4).map(|lane| scope.spawn(move || start(lane))).collect();
        lanes.into_iter().flat_map(|lane| lane.join().unwrap()).collect()
    })
}

fn a_node_with_twenty_pods_has_them_all_by_name_after_one_reconcile(node: &Node, version: &str) {
    let containerd = Containerd::start(node, version);
    let pods = twenty(&containerd);
    assert_eq!((pods.len(), node.records(), pins(node)), (20, vec![], vec![]));
    let find = |name: &str| pods.iter().find(|pod| pod.name == name).unwrap();

    let all: BTreeSet<_> = pods.iter().flat_map(ids_of).map(str::to_owned).collect();
    assert_eq!(all.len(), 20 + 19, "two have no container that runs, one has two");
    assert_eq!(adopted(), all);
    nothing_to_do();

    // Each is at its name, and of two of one name one is at a longer one.
    let on_network: Vec<_> = pods.iter().filter(|pod| pod.netns_path.is_some()).collect();
    assert_eq!((on_network.len(), pins(node).len()), (19, 19));
    for pod in &on_network {
        let pin = pin_of(node, &pod.sandbox).unwrap();
        assert_eq!(node.pin(&pin), Some(pod.netns()), "{pod:?}");
        assert!(pin == pod.name || (pod.name == "twin" && pin == format!("twin.{}", pod.namespace)), "{pin}");
        assert!(ids_of(pod).iter().all(|id| pin_of(node, id).as_ref() == Some(&pin)), "{pod:?}");
        is_reached(&pin, &format!("{}/{}", pod.namespace, pod.name), &pod.ip);
    }
    let proxy = find("proxy");
    assert!(ids_of(proxy).iter().all(|id| pin_of(node, id).is_none()));

    they_are_shown_as_what_they_are(&pods);

    // Half of them go, then the others.
    let (first, second) = pods.split_at(10);
    for (half, others) in [(first, second), (second, &[])] {
        for pod in half {
            containerd.remove_pod(pod);
        }
        assert_eq!(ended(), half.iter().flat_map(ids_of).map(str::to_owned).collect());
        nothing_to_do();
        let left = others.iter().filter(|pod| pod.netns_path.is_some()).count();
        assert_eq!((pins(node).len(), veths().len()), (left, left));
    }
    assert_eq!((node.records(), node.pins()), (vec![], vec![]));
    node.expect_silence("adoption");
}

fn they_are_shown_as_what_they_are(pods: &[Pod]) {
    let find = |name: &str| pods.iter().find(|pod| pod.name == name).unwrap();
    let rows = json(&["list"]);
    let (two, empty, crashed, proxy) = (find("two"), find("empty"), find("crashed"), find("proxy"));
    assert_eq!(summary(row_of(&rows, &two.sandbox)), ["two", "shop", "two", "sandbox", "containerd"]);
    for container in &two.containers {
        let row = row_of(&rows, &container.id);
        assert_eq!(summary(row), ["two", "shop", "two", "container", "containerd"]);
        assert_eq!(row["container"], container.name.as_str());
        assert_eq!((&row["ips"][0], &row["running"]), (&two.ip.as_str().into(), &true.into()));
        assert_eq!(row["record"]["pod"]["uid"], two.uid.as_str());
    }
    // Without a container that runs, the sandbox is what there is.
    for pod in [empty, crashed] {
        let row = row_of(&rows, &pod.sandbox);
        assert_eq!(summary(row), [&pod.name, "shop", &pod.name, "sandbox", "containerd"]);
        assert_eq!((&row["ips"][0], &row["netns"]), (&pod.ip.as_str().into(), &pod.netns().ino.into()));
    }
    let row = row_of(&rows, &proxy.containers[0].id);
    assert_eq!(summary(row), ["proxy", "kube-system", "-", "container", "containerd"]);
    assert_eq!(row["host_network"], true);
    let host = Netns::of(std::process::id()).unwrap().ino;
    assert_eq!(row["netns"], host);
    let table = tools::porthole(&["list", "--namespace", "green"]).expect_success().to_owned();
    assert!(table.contains("twin") && !table.contains("blue"), "{table}");

    for what in [format!("ip:{}", empty.ip), format!("pid:{}", empty.pid), format!("netns:{}", empty.name)] {
        let rows = json(&["identify", &what]);
        assert_eq!(summary(row_of(&rows, &empty.sandbox))[..2], ["empty", "shop"], "{what}");
    }
    let shown = json(&["inspect", "shop/two"]);
    assert_eq!(
        (&shown["pod"], &shown["namespace"], &shown["pin"]),
        (&"two".into(), &"shop".into(), &"two".into())
    );
    assert_eq!(shown["containers"].as_array().unwrap().len(), 3);
    assert_eq!(shown["network"]["host_side"][0]["master"], "cni0", "{shown:#}");
    let ambiguous = tools::porthole(&["-o", "json", "inspect", "twin"]);
    assert_eq!(ambiguous.status.code(), Some(4), "{ambiguous:?}");
    let told: Value = serde_json::from_str(&ambiguous.stderr).unwrap();
    assert_eq!(told["candidates"].as_array().unwrap().len(), 2, "{told}");
}

on_each_version!(containerd: containerd_1_6 "1.6", containerd_1_7 "1.7", containerd_2 "2": [
    a_node_with_twenty_pods_has_them_all_by_name_after_one_reconcile,
]);
