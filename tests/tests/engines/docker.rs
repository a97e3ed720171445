//! Docker.

use porthole_tests::engine::Docker;
use porthole_tests::engine::containerd::veths;
use porthole_tests::{Node, leaks};

fn a_container_has_a_namespace_and_an_address(node: &Node, version: &str) {
    let t = std::time::Instant::now();
    let docker = Docker::start(node, version);
    eprintln!("up {:?}", t.elapsed());
    assert!(docker.version.starts_with(version), "{}", docker.version);
    assert!(docker.info()["ServerVersion"].as_str().unwrap().starts_with(version));
    let web = docker.run("web", &[], &[]);
    assert!(web.ip.starts_with("172.17.") && web.name == "web", "{web:?}");
    assert_ne!(Some(web.netns()), porthole_tests::Netns::of(std::process::id()));
    assert_eq!(veths().len(), 1);
    eprintln!("run {:?}", t.elapsed());
    docker.rm("web");
    assert!(veths().is_empty() && leaks::nsfs_mounts().is_empty());
    docker.restart();
    eprintln!("removed {:?}", t.elapsed());
    drop(docker);
    eprintln!("stopped {:?}", t.elapsed());
}

macro_rules! versions {
    ($($name:ident: $version:literal),+ $(,)?) => {
        $(mod $name {
            use porthole_tests::{node, requires, test_path};

            #[test]
            fn a_container_has_a_namespace_and_an_address() {
                requires!(root, ip, docker);
                node::run(test_path!(), |node| {
                    super::a_container_has_a_namespace_and_an_address(node, $version);
                });
            }
        })+
    };
}

versions!(docker_20_10: "20.10", docker_26_1: "26.1");
