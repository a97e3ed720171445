//! containerd: base specs and wrappers, on running nodes.

mod distributions;
mod image;
mod lifecycle;
mod lost;
mod refusals;
mod shapes;
mod versions;
mod wrapper;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use porthole_tests::engine::containerd::{self, CONFIG};
use porthole_tests::engine::system::{self, Change};
use porthole_tests::tools::Outcome;
use porthole_tests::{Node, tools};

/// Where the base spec of ours is.
const SPEC: &str = "/etc/porthole/containerd/base-spec.json";

/// Makes a test of each listed `fn(&Node, &str)` for the first and the last version.
macro_rules! on_old_and_new {
    ($($name:ident),+ $(,)?) => {
        $crate::containerd::on_versions!(v1_6 "1.6", v2 "2": $($name),+);
    };
}

/// Makes a test of each listed `fn(&Node, &str)` for each version.
macro_rules! on_versions {
    ($module:ident $version:literal: $($name:ident),+) => {
        mod $module {
            $(#[test]
            fn $name() {
                porthole_tests::requires!(root, ip, containerd);
                porthole_tests::node::run(porthole_tests::test_path!(), |node| super::$name(node, $version));
            })+
        }
    };
    ($module:ident $version:literal, $($modules:ident $versions:literal),+: $($name:ident),+) => {
        $crate::containerd::on_versions!($module $version: $($name),+);
        $crate::containerd::on_versions!($($modules $versions),+: $($name),+);
    };
}

pub(crate) use {on_old_and_new, on_versions};

/// Runs `porthole install` for containerd.
fn install(args: &[&str]) -> Outcome {
    tools::porthole(&[&["install", "--engine", "containerd"], args].concat())
}

/// Runs `porthole uninstall`.
fn uninstall(args: &[&str]) -> Outcome {
    tools::porthole(&[&["uninstall"], args].concat())
}

/// Asserts that it failed, with each of `words` in what it said.
#[track_caller]
fn refused(outcome: &Outcome, words: &[&str]) {
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    for word in words {
        assert!(outcome.stderr.contains(word), "{word:?} is not in: {}", outcome.stderr);
    }
}

/// The tree as it is, content, modes and owners.
fn tree() -> BTreeMap<PathBuf, Change> {
    system::changes()
}

/// Asserts that the tree is as it was.
#[track_caller]
fn unchanged(before: &BTreeMap<PathBuf, Change>, after: &str) {
    let now = tree();
    let other: Vec<_> =
        before.keys().chain(now.keys()).filter(|path| before.get(*path) != now.get(*path)).collect();
    assert!(other.is_empty(), "{after}: not as before: {other:#?}");
}

/// A configuration with what sites have in theirs: comments, keys that nobody knows, a second runtime.
fn site_config(major: u32) -> String {
    let table = if major < 2 { "\"io.containerd.grpc.v1.cri\"" } else { "'io.containerd.cri.v1.runtime'" };
    containerd::config(major)
        + &format!(
            "        [plugins.{table}.containerd.runtimes.kata]   # not ours\n          \
             runtime_type = \"io.containerd.kata.v2\"\n          pod_annotations = [\n            \"a\", # one\n          ]\n\n\
             [plugins.\"io.containerd.site.v1.site\"]\n  key = 'of nobody else'\n\n# end of the file\n"
        )
}

fn config() -> String {
    fs::read_to_string(CONFIG).expect("read the configuration")
}

/// The number before the first dot.
fn major(version: &str) -> u32 {
    version.split('.').next().and_then(|major| major.parse().ok()).expect("a version")
}

/// The bundle's configuration of a container in CRI's namespace.
fn bundle(id: &str) -> serde_json::Value {
    let path = Path::new("/run/containerd/io.containerd.runtime.v2.task/k8s.io").join(id).join("config.json");
    serde_json::from_slice(&fs::read(path).expect("read a bundle")).expect("a bundle's configuration")
}

/// Asserts that a pin of the pod's name leads to it.
#[track_caller]
fn pinned(node: &Node, pod: &porthole_tests::engine::Pod) {
    assert_eq!(node.pin(&pod.name), Some(pod.netns()), "{}", pod.name);
    let addresses = tools::ip(&["netns", "exec", &pod.name, "ip", "-br", "addr"]);
    assert!(addresses.expect_success().contains(&pod.ip), "{}: {addresses:?}", pod.ip);
}
