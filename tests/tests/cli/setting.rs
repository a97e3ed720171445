//! What the sentences share: pods with addresses, and calls of `porthole`.

use porthole_tests::tools::{self, Outcome};
use porthole_tests::{Bundle, Container, Node, Runtime};
use serde_json::Value;

/// Runs `porthole` with `words`.
pub fn porthole(words: &[&str]) -> Outcome {
    tools::porthole(words)
}

/// What `porthole -o json` prints.
#[track_caller]
pub fn json(words: &[&str]) -> Value {
    let outcome = porthole(&[&["-o", "json"], words].concat());
    serde_json::from_str(outcome.expect_success()).unwrap_or_else(|e| panic!("{e}: {outcome:?}"))
}

/// The error of a call that has to end with `status`.
#[track_caller]
pub fn error(status: i32, words: &[&str]) -> Value {
    let outcome = porthole(&[&["-o", "json"], words].concat());
    assert_eq!(outcome.status.code(), Some(status), "{outcome:?}");
    assert_eq!(outcome.stdout, "", "{outcome:?}");
    serde_json::from_str(&outcome.stderr).unwrap_or_else(|e| panic!("{e}: {outcome:?}"))
}

/// A container that is alone in its pod.
pub fn pod(node: &Node, namespace: &str, name: &str) -> Container {
    Container::run(Runtime::Runc, &Bundle::of_pod(node, namespace, name, "app", "/none").own_netns())
}

/// Runs `ip`, which has to succeed.
#[track_caller]
pub fn ip(words: &str) -> String {
    let words: Vec<_> = words.split(' ').collect();
    tools::ip(&words).expect_success().to_owned()
}

/// A pair of interfaces between the node and a pod, with an address on both ends.
pub fn connect(pin: &str, host: &str, address: &str) {
    ip(&format!("link add {host} type veth peer name eth0 netns {pin}"));
    ip(&format!("-n {pin} link set eth0 address 02:42:0a:58:00:07"));
    ip(&format!("-n {pin} addr add {address}/24 dev eth0"));
    ip(&format!("-n {pin} link set eth0 up"));
    ip(&format!("link set {host} up"));
}
