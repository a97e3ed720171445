//! containerd.

use porthole_tests::engine::containerd::{BRIDGE, veths};
use porthole_tests::engine::{Containerd, PodOptions};
use porthole_tests::{Netns, Node, tools};

fn a_pod_has_a_namespace_and_an_address_and_outlives_a_restart(node: &Node, version: &str) {
    let t = std::time::Instant::now();
    let containerd = Containerd::start(node, version);
    eprintln!("up {:?}", t.elapsed());
    assert!(containerd.version.starts_with(version), "{}", containerd.version);
    let pod = containerd.run_pod("shop", "web-0", &PodOptions { containers: 2, ..PodOptions::default() });
    eprintln!("pod {:?} {:?}", t.elapsed(), pod);
    assert!(pod.ip.starts_with("10.88."), "{pod:?}");
    assert_eq!(Netns::at(pod.netns_path.as_ref().unwrap()), Some(pod.netns()));
    assert!(pod.containers.iter().all(|c| Netns::of(c.pid) == Some(pod.netns())), "{pod:?}");
    assert_eq!(veths().len(), 1, "one pod, one interface of the node");
    tools::ip(&["-br", "link", "show", BRIDGE]).expect_success();
    let daemon = containerd.service.pid();
    containerd.restart();
    eprintln!("restarted {:?}", t.elapsed());
    assert_ne!(containerd.service.pid(), daemon);
    assert_eq!(containerd.pods().into_values().collect::<Vec<_>>(), ["shop/web-0"]);
    assert_eq!(containerd.exec(&pod.containers[0], &["hostname"]).trim(), "web-0");
    assert!(Netns::of(pod.pid).is_some(), "the sandbox lives");
    containerd.remove_pod(&pod);
    assert!(containerd.pods().is_empty() && veths().is_empty());
    eprintln!("removed {:?}", t.elapsed());
}

macro_rules! versions {
    ($($name:ident: $version:literal),+ $(,)?) => {
        $(mod $name {
            use porthole_tests::{node, requires, test_path};

            #[test]
            fn a_pod_has_a_namespace_and_an_address_and_outlives_a_restart() {
                requires!(root, ip, containerd);
                node::run(test_path!(), |node| {
                    super::a_pod_has_a_namespace_and_an_address_and_outlives_a_restart(node, $version);
                });
            }
        })+
    };
}

versions!(containerd_1_6: "1.6", containerd_1_7: "1.7", containerd_2: "2");
