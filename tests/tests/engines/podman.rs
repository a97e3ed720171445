//! podman.

use porthole_tests::engine::Podman;
use porthole_tests::engine::containerd::veths;
use porthole_tests::{Node, leaks};

fn a_pod_and_a_container_have_a_namespace_and_an_address(node: &Node, version: &str) {
    let t = std::time::Instant::now();
    let podman = Podman::new(node, version);
    eprintln!("up {:?}", t.elapsed());
    assert!(podman.version.starts_with(version), "{}", podman.version);
    let pod = podman.pod_create("web", &[]);
    let web = podman.run("web-c0", &["--pod", "web"], &[]);
    assert!(pod.infra.ip.starts_with("10.88."), "{pod:?}");
    assert_eq!(web.netns(), pod.infra.netns());
    eprintln!("pod {:?}", t.elapsed());
    let alone = podman.run("alone", &[], &["sh", "-c", "sleep 1000"]);
    assert!(alone.ip.starts_with("10.88.") && alone.ip != pod.infra.ip, "{alone:?}");
    assert_ne!(alone.netns(), web.netns());
    assert_eq!(veths().len(), 2);
    eprintln!("run {:?}", t.elapsed());
    podman.rm("alone");
    podman.pod_rm("web");
    assert!(veths().is_empty() && leaks::nsfs_mounts().is_empty());
    eprintln!("removed {:?}", t.elapsed());
}

macro_rules! versions {
    ($($name:ident: $version:literal),+ $(,)?) => {
        $(mod $name {
            use porthole_tests::{node, requires, test_path};

            #[test]
            fn a_pod_and_a_container_have_a_namespace_and_an_address() {
                requires!(root, ip, podman);
                node::run(test_path!(), |node| {
                    super::a_pod_and_a_container_have_a_namespace_and_an_address(node, $version);
                });
            }
        })+
    };
}

versions!(podman_4_3: "4.3", podman_5_4: "5.4");
