//! containerd with the hook in the base spec of application containers.

use std::fs;

use porthole_tests::child::Child;
use porthole_tests::engine::containerd::veths;
use porthole_tests::engine::{BUSYBOX, Containerd, PodOptions};
use porthole_tests::{Node, leaks, on_each_version, tools};

use crate::setting::{
    Counts, adopted, ended, hook_containers, is_reached, json, nothing_to_do, pin_of, pins, put_programs,
    reconcile, row_of, summary, take_programs_away,
};

fn a_pod_has_its_name_from_the_first_container_to_the_end_of_its_network(node: &Node, version: &str) {
    let containerd = Containerd::start(node, version);
    let early = containerd.run_pod("shop", "early", &PodOptions::default());
    hook_containers(&containerd);
    let plain = PodOptions::default();
    for _ in 0..3 {
        let pod = containerd.run_pod("shop", "web-0", &plain);
        assert_eq!((pins(node), node.pin("web-0")), (vec!["web-0".to_owned()], Some(pod.netns())));
        containerd.remove_pod(&pod);
    }
    let mut done = reconcile();
    done.retain(|(action, _)| action == "adopt");
    assert_eq!(done.len(), 2, "the pod that was there before the hook: {done:?}");
    let before = Counts::of(node);

    let mut pod = containerd.run_pod("shop", "web-0", &plain);
    let netns = pod.netns();
    let container = pod.containers[0].clone();
    assert_eq!(node.records().len(), 3, "the sandbox has no hook");
    assert_eq!((pin_of(node, &container.id).as_deref(), node.pin("web-0")), (Some("web-0"), Some(netns)));
    is_reached("web-0", "shop/web-0", &pod.ip);

    // The sandbox is adopted beside the container: one pin, and both are its members.
    assert_eq!(adopted().into_iter().collect::<Vec<_>>(), [pod.sandbox.as_str()]);
    nothing_to_do();
    assert_eq!(
        (pins(node), pin_of(node, &pod.sandbox).as_deref()),
        (vec!["early".to_owned(), "web-0".to_owned()], Some("web-0"))
    );
    let members = leaks::below(&node.run_dir().join(format!("netns/{}", netns.ino)));
    assert_eq!(members.iter().filter(|path| path.ends_with(".member")).count(), 2, "{members:?}");
    assert_eq!(
        summary(row_of(&json(&["list"]), &pod.sandbox)),
        ["web-0", "shop", "web-0", "sandbox", "containerd"]
    );

    // Its container crashes, and is made again.
    containerd.kill_container(&container);
    assert_eq!(node.pin("web-0"), Some(netns));
    let again = containerd.run_container(&mut pod, "c0", 1, &[], BUSYBOX);
    containerd.remove_container(&container);
    assert_eq!((pin_of(node, &again.id).as_deref(), pins(node).len()), (Some("web-0"), 2));
    assert!(node.record(&container.id).is_none());
    nothing_to_do();

    // Removed and made again at once, under the same name.
    containerd.remove_pod(&pod);
    let pod = containerd.run_pod("shop", "web-0", &plain);
    assert_eq!(
        (pin_of(node, &pod.containers[0].id).as_deref(), node.pin("web-0")),
        (Some("web-0"), Some(pod.netns()))
    );
    assert_eq!(pins(node), ["early", "web-0"]);
    Child::in_target("shop/web-0/c0").expect_general(pod.netns());

    // Stopped: the engine takes the network away, and one look ends the pod for porthole.
    containerd.stop_pod(&pod);
    assert!(!fs::exists(pod.netns_path.as_ref().unwrap()).unwrap() && veths().len() == 1);
    reconcile();
    nothing_to_do();
    containerd.remove_pod(&pod);
    before.expect(node);

    containerd.remove_pod(&early);
    assert_eq!(ended().len(), 2);
    assert_eq!((node.records(), pins(node), veths()), (vec![], vec![], vec![]));
    node.expect_silence("pods that came and went");
}

fn a_crash_looping_pod_keeps_its_name_and_a_restart_of_the_engine_all_of_them(node: &Node, version: &str) {
    let containerd = Containerd::start(node, version);
    hook_containers(&containerd);
    let mut looping =
        containerd.run_pod("shop", "looping", &PodOptions { crashes: 2, ..PodOptions::default() });
    let two = containerd.run_pod("shop", "two", &PodOptions { containers: 2, ..PodOptions::default() });
    let proxy =
        containerd.run_pod("shop", "proxy", &PodOptions { host_network: true, ..PodOptions::default() });
    assert_eq!(pins(node), ["looping", "two"]);
    // In back-off no container runs, and nobody has run reconcile.
    assert_eq!((looping.containers[0].pid, node.pin("looping")), (0, Some(looping.netns())));
    is_reached("looping", "shop/looping", &looping.ip);
    let rows = json(&["list"]);
    assert_eq!(row_of(&rows, &proxy.containers[0].id)["host_network"], true);

    let inodes = || pins(node).iter().map(|pin| node.pin(pin)).collect::<Vec<_>>();
    let had = inodes();
    containerd.restart();
    assert_eq!(inodes(), had);
    let crashed = looping.containers[0].clone();
    let again = containerd.run_container(&mut looping, "c0", 2, &[], BUSYBOX);
    containerd.remove_container(&crashed);
    let late = containerd.run_pod("shop", "late", &PodOptions::default());
    assert_eq!(
        (pin_of(node, &again.id).as_deref(), pins(node)),
        (Some("looping"), vec!["late".into(), "looping".into(), "two".into()])
    );
    is_reached("late", "shop/late", &late.ip);
    is_reached("two", "shop/two", &two.ip);
    assert_eq!(adopted().len(), 4, "the sandboxes");
    nothing_to_do();

    // Containers whose hook has gone run, and end.
    take_programs_away();
    containerd.restart();
    let without = containerd.run_pod("shop", "without", &PodOptions::default());
    assert!(without.containers[0].pid > 0 && node.pin("without").is_none());
    for pod in [&looping, &two, &proxy, &late, &without] {
        containerd.remove_pod(pod);
    }
    assert!(containerd.pods().is_empty() && veths().is_empty());
    put_programs();
    assert_eq!(ended().len(), 9);
    assert_eq!((node.records(), pins(node)), (vec![], vec![]));
    node.expect_silence("engines that restart");
}

fn a_pod_in_back_off_is_found_by_its_sandbox_and_keeps_its_resolver(node: &Node, version: &str) {
    let containerd = Containerd::start(node, version);
    hook_containers(&containerd);
    let pod = containerd.run_pod("shop", "web-0", &PodOptions::default());
    let (sandbox, container) = (pod.sandbox.as_str(), pod.containers[0].clone());
    assert_eq!(
        json(&["inspect", sandbox])["containers"][0]["id"],
        container.id,
        "by the id that crictl shows"
    );
    containerd.kill_container(&container);
    let row = &json(&["list"])[0];
    let expected = serde_json::json!({ "id": sandbox, "engine": "containerd", "ready": true });
    assert_eq!((&row["pod"], &row["sandbox"]), (&"web-0".into(), &expected));
    let plan = tools::porthole(&["exec", "--explain", sandbox, "--", "true"]);
    let plan = plan.expect_success();
    assert!(plan.contains("/etc/resolv.conf from the container's bundle"), "{plan}");
    containerd.remove_pod(&pod);
    reconcile();
    assert_eq!((pins(node), node.records()), (vec![], vec![]));
}

on_each_version!(containerd: containerd_1_6 "1.6", containerd_1_7 "1.7", containerd_2 "2": [
    a_pod_in_back_off_is_found_by_its_sandbox_and_keeps_its_resolver,
    a_pod_has_its_name_from_the_first_container_to_the_end_of_its_network,
    a_crash_looping_pod_keeps_its_name_and_a_restart_of_the_engine_all_of_them,
]);
