//! What people do with pins: the real iproute2 and tcpdump on a pod of a real runtime.

#![allow(clippy::unwrap_used, reason = "what fails here is the test")]

use std::process::{Child, Command, Stdio};

use porthole_tests::pod::EnginePin;
use porthole_tests::process::wait_until;
use porthole_tests::{Bundle, Container, HookRun, Node, Runtime, leaks, on_every_runtime, requires, tools};
use rustix::mount::{UnmountFlags, unmount};

/// A container of pod `web-0` that is alone in it.
fn web_0(node: &Node, runtime: Runtime) -> Container {
    Container::run(runtime, &Bundle::of_pod(node, "shop", "web-0", "app", "/none").own_netns())
}

fn ip(args: &[&str]) -> String {
    tools::ip(args).expect_success().to_owned()
}

/// A pair of interfaces between the node and the pod, with an address on both ends.
fn connect(pod: &str) {
    ip(&["link", "add", "host0", "type", "veth", "peer", "name", "eth0", "netns", pod]);
    ip(&["addr", "add", "10.88.0.1/24", "dev", "host0"]);
    ip(&["link", "set", "host0", "up"]);
    ip(&["-n", pod, "addr", "add", "10.88.0.7/24", "dev", "eth0"]);
    ip(&["-n", pod, "link", "set", "eth0", "up"]);
    ip(&["-n", pod, "link", "set", "lo", "up"]);
}

fn list_shows_the_pod(node: &Node, runtime: Runtime) {
    assert_eq!(ip(&["netns", "list"]), "");
    let container = web_0(node, runtime);
    let listed = ip(&["netns", "list"]);
    assert_eq!(listed.split_whitespace().next(), Some("web-0"), "{listed}");
    container.delete();
    assert_eq!(ip(&["netns", "list"]), "");
}

fn exec_sees_the_pods_addresses(node: &Node, runtime: Runtime) {
    let container = web_0(node, runtime);
    connect("web-0");
    let addresses = ip(&["netns", "exec", "web-0", "ip", "-br", "addr"]);
    assert!(addresses.contains("10.88.0.7/24"), "{addresses}");
    assert!(!addresses.contains("host0"), "not the node's: {addresses}");
    let own = format!("/proc/{}/ns/net", container.pid());
    let link = |path: &str| std::fs::read_link(path).unwrap().display().to_string();
    let seen = ip(&["netns", "exec", "web-0", "readlink", "/proc/self/ns/net"]);
    assert_eq!(seen.trim(), link(&own));
    container.delete();
    // The kernel takes them away a moment after the namespace has lost its last user.
    wait_until("the interfaces to go with the namespace", || !ip(&["-br", "link"]).contains("host0"));
}

fn pids_and_identify_agree(node: &Node, runtime: Runtime) {
    let container = web_0(node, runtime);
    let pid = container.pid().to_string();
    assert!(ip(&["netns", "pids", "web-0"]).lines().any(|line| line == pid));
    assert_eq!(ip(&["netns", "identify", &pid]).trim(), "web-0");
    assert_eq!(ip(&["netns", "identify", &std::process::id().to_string()]).trim(), "");
    container.delete();
}

fn other_tools_enter_by_the_pin(node: &Node, runtime: Runtime) {
    let container = web_0(node, runtime);
    connect("web-0");
    let mut nsenter = Command::new("nsenter");
    nsenter.args(["--net=/run/netns/web-0", "ip", "-br", "addr"]).stdin(Stdio::null());
    assert!(tools::run(nsenter).expect_success().contains("10.88.0.7/24"));
    assert!(ip(&["-n", "web-0", "-br", "link"]).contains("eth0"));
    assert!(ip(&["-all", "netns", "exec", "ip", "-br", "addr"]).contains("10.88.0.7/24"));
    container.delete();
}

fn tcpdump_reads_the_pods_packets(node: &Node, runtime: Runtime) {
    requires!(tcpdump);
    let container = web_0(node, runtime);
    connect("web-0");
    let file = node.scratch().join("pod.pcap");
    let mut tcpdump = Command::new("ip");
    tcpdump.args(["netns", "exec", "web-0", "tcpdump", "-i", "eth0", "-c", "2", "-U", "-w"]).arg(&file);
    let mut tcpdump =
        Ended(tcpdump.args(["icmp"]).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    // It has opened the interface when the file has its header.
    wait_until("tcpdump to listen", || std::fs::metadata(&file).is_ok_and(|meta| meta.len() >= 24));
    let mut ping = Command::new("/bin/busybox");
    ping.args(["ping", "-c", "2", "-i", "0.1", "10.88.0.7"]).stdin(Stdio::null());
    tools::run(ping).expect_success();
    assert!(tcpdump.0.wait().unwrap().success());
    let mut read = Command::new("tcpdump");
    read.args(["-n", "-r"]).arg(&file).stdin(Stdio::null());
    let packets = tools::run(read);
    assert!(
        packets.expect_success().contains("10.88.0.1 > 10.88.0.7: ICMP echo request"),
        "{}",
        packets.stdout
    );
    container.delete();
}

fn deleted_by_an_operator_and_healed_by_reconcile(node: &Node, runtime: Runtime) {
    let container = web_0(node, runtime);
    ip(&["netns", "del", "web-0"]);
    assert_eq!(node.pins(), Vec::<String>::new());
    assert!(!tools::reconcile().is_empty(), "it says what it did");
    assert_eq!(node.pin("web-0"), Some(container.netns()));
    assert!(tools::reconcile().is_empty(), "and the second time there is nothing to do");
    container.delete();
    node.expect_silence("a pin that was deleted");
}

fn deleted_by_an_operator_and_healed_by_the_hook(node: &Node, runtime: Runtime) {
    let engine = EnginePin::new_netns("/run/engine-netns/cni-1");
    let first = Container::run(runtime, &Bundle::of_pod(node, "shop", "web-0", "app", engine.path()));
    ip(&["netns", "del", "web-0"]);
    let second = Container::run(runtime, &Bundle::of_pod(node, "shop", "web-0", "sidecar", engine.path()));
    assert_eq!(node.pin("web-0"), Some(engine.netns()), "the next container of the pod brings it back");
    first.delete();
    assert_eq!(node.pins(), ["web-0"]);
    engine.remove();
    second.delete();
    node.expect_silence("a pin that came back");
}

fn deleted_by_an_operator_and_the_container_called_again(node: &Node, runtime: Runtime) {
    let container = web_0(node, runtime);
    ip(&["netns", "del", "web-0"]);
    let state = container.bundle().state(Some(container.pid()));
    HookRun::with_state("createRuntime", &state).run().expect_success();
    assert_eq!(node.pin("web-0"), Some(container.netns()));
    container.delete();
    node.expect_silence("a second registration");
}

fn deleted_by_an_operator_and_never_healed(node: &Node, runtime: Runtime) {
    let container = web_0(node, runtime);
    ip(&["netns", "del", "web-0"]);
    container.delete();
    assert_eq!(leaks::nsfs_mounts(), Vec::<String>::new());
    node.expect_silence("a release without a pin");
}

fn name_given_to_another_while_the_pod_lives(node: &Node, runtime: Runtime) {
    let engine = EnginePin::new_netns("/run/engine-netns/cni-1");
    let first = Container::run(runtime, &Bundle::of_pod(node, "shop", "web-0", "app", engine.path()));
    ip(&["netns", "del", "web-0"]);
    ip(&["netns", "add", "web-0"]);
    let foreign = node.pin("web-0");
    let second = Container::run(runtime, &Bundle::of_pod(node, "shop", "web-0", "sidecar", engine.path()));
    assert_eq!(node.pin("web-0.shop"), Some(engine.netns()), "the pod is pinned by its next name");
    assert_eq!(node.pin("web-0"), foreign, "what the operator made is left alone");
    tools::reconcile();
    assert_eq!(node.record(first.id()).unwrap()["pin"]["name"], "web-0.shop", "the first one is told");
    assert_eq!(node.pins(), ["web-0", "web-0.shop"]);
    first.delete();
    engine.remove();
    second.delete();
    assert_eq!(node.pin("web-0"), foreign);
    assert_eq!(node.pins(), ["web-0"]);
    ip(&["netns", "del", "web-0"]);
    node.expect_silence("a name that changed hands");
}

fn name_given_to_another_and_found_by_reconcile(node: &Node, runtime: Runtime) {
    let container = web_0(node, runtime);
    ip(&["netns", "del", "web-0"]);
    ip(&["netns", "add", "web-0"]);
    let foreign = node.pin("web-0");
    tools::reconcile();
    assert_eq!(node.pin("web-0"), foreign);
    assert_eq!(node.pin("web-0.shop"), Some(container.netns()));
    container.delete();
    assert_eq!(node.pins(), ["web-0"]);
    ip(&["netns", "del", "web-0"]);
    node.expect_silence("a name that changed hands");
}

fn unmounted_by_an_operator_and_healed(node: &Node, runtime: Runtime) {
    // Leaves an empty file, which is ours by the index.
    let container = web_0(node, runtime);
    unmount("/run/netns/web-0", UnmountFlags::DETACH).unwrap();
    assert_eq!(node.pins(), Vec::<String>::new());
    tools::reconcile();
    assert_eq!(node.pin("web-0"), Some(container.netns()));
    unmount("/run/netns/web-0", UnmountFlags::DETACH).unwrap();
    container.delete();
    assert_eq!(leaks::below(node.netns_dir()), Vec::<String>::new(), "the empty file goes too");
    node.expect_silence("a pin without its mount");
}

fn operators_own_namespaces_are_left_alone(node: &Node, runtime: Runtime) {
    ip(&["netns", "add", "lab"]);
    let container = web_0(node, runtime);
    container.kill();
    tools::reconcile();
    assert_eq!(node.pins(), ["lab"]);
    container.delete();
    assert_eq!(node.pins(), ["lab"]);
    ip(&["netns", "del", "lab"]);
    node.expect_silence("a namespace of somebody else");
}

fn attached_under_another_name_by_an_operator(node: &Node, runtime: Runtime) {
    // `ip netns attach` makes a second pin of the same namespace: the operator's own.
    let container = web_0(node, runtime);
    ip(&["netns", "attach", "mine", &container.pid().to_string()]);
    container.delete();
    assert_eq!(node.pins(), ["mine"], "ours goes, theirs stays");
    ip(&["netns", "del", "mine"]);
    node.expect_silence("a second pin");
}

/// Ended with its guard.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

on_every_runtime!(
    list_shows_the_pod,
    exec_sees_the_pods_addresses,
    pids_and_identify_agree,
    other_tools_enter_by_the_pin,
    tcpdump_reads_the_pods_packets,
    deleted_by_an_operator_and_healed_by_reconcile,
    deleted_by_an_operator_and_healed_by_the_hook,
    deleted_by_an_operator_and_the_container_called_again,
    deleted_by_an_operator_and_never_healed,
    name_given_to_another_while_the_pod_lives,
    name_given_to_another_and_found_by_reconcile,
    unmounted_by_an_operator_and_healed,
    operators_own_namespaces_are_left_alone,
    attached_under_another_name_by_an_operator,
);
