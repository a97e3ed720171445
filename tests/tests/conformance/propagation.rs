//! `/run/netns` made private after pins were made there: each then has a second mount, which the directory's own covers.

use std::fs;
use std::path::Path;
use std::process::Command;

use porthole_tests::bundle::containerd_annotations;
use porthole_tests::process::Sleeper;
use porthole_tests::{Bundle, HookRun, Netns, Node, Sandbox, leaks, on_a_node, requires, tools};

fn bundle(node: &Node, pod: &str) -> Bundle {
    let bundle = Bundle::new(node).annotations(&containerd_annotations("shop", pod, "nginx"));
    bundle.write();
    bundle
}

fn call(stage: &str, bundle: &Bundle, pid: Option<u32>) {
    HookRun::with_state(stage, &bundle.state(pid)).run().expect_success();
}

/// A pod whose process is a sandbox's.
fn start(node: &Node, pod: &str) -> (Bundle, Sandbox) {
    let (bundle, sandbox) = (bundle(node, pod), Sandbox::start());
    call("createRuntime", &bundle, Some(sandbox.pid()));
    assert_eq!(node.pin(pod), Some(sandbox.netns()));
    (bundle, sandbox)
}

fn make_private(node: &Node) {
    let mut mount = Command::new("mount");
    mount.arg("--make-private").arg(node.netns_dir());
    tools::run(mount).expect_success();
}

fn nothing_is_left(node: &Node) {
    assert_eq!((node.records(), node.pins()), (vec![], vec![]));
    assert_eq!(leaks::below(node.netns_dir()), Vec::<String>::new());
}

fn a_pin_goes_with_its_pod_in_a_directory_made_private(node: &Node) {
    let (bundle, sandbox) = start(node, "web-0");
    let other = Operators::add("others");
    make_private(node);
    sandbox.end();
    call("poststop", &bundle, None);
    node.expect_silence("a release in a private directory");
    assert_eq!((node.records().len(), node.pins()), (0, vec!["others".to_owned()]));
    assert_eq!(Netns::at("/run/netns/others"), Some(other.0), "somebody else's stays as it is");
    other.remove(node);
    nothing_is_left(node);
}

fn a_pin_goes_from_another_mount_namespace_whatever_its_propagation(node: &Node) {
    for propagation in ["private", "slave", "shared"] {
        for before in [true, false] {
            let flags = ["--mount", "--propagation", propagation];
            let early = before.then(|| Sleeper::unshared(&flags));
            let (bundle, sandbox) = start(node, "web-0");
            make_private(node);
            let there = early.unwrap_or_else(|| Sleeper::unshared(&flags));
            sandbox.end();
            let run = HookRun::with_state("poststop", &bundle.state(None));
            let enter = format!("--mount=/proc/{}/ns/mnt", there.pid());
            run.under(&["nsenter", &enter]).run().expect_success();
            there.end();
            node.expect_silence(&format!("a release from a mount namespace that is {propagation}"));
            nothing_is_left(node);
            node.unmount_all(node.netns_dir());
        }
    }
}

fn reconcile_releases_what_has_ended_and_pins_where_everybody_sees_it(node: &Node) {
    // Whichever of them is looked at first, one is pinned anew after the release.
    let [(_, first), (ended, gone), (_, last)] = ["web-0", "web-1", "web-2"].map(|pod| start(node, pod));
    for pod in ["web-0", "web-2"] {
        tools::ip(&["netns", "del", pod]).expect_success();
    }
    make_private(node);
    gone.end();
    let done = tools::reconcile();
    assert!(done.iter().any(|line| line.contains("release") && line.contains(&ended.id)), "{done:?}");
    assert_eq!(node.pin("web-0"), Some(first.netns()), "{done:?}");
    assert_eq!(node.pin("web-2"), Some(last.netns()), "{done:?}");
    assert_eq!(node.pins().len(), 2);
    first.end();
    last.end();
    tools::reconcile();
    nothing_is_left(node);
}

fn without_the_right_to_change_mount_namespaces_it_says_so_and_reconcile_ends_it(node: &Node) {
    requires!(setpriv);
    let (bundle, sandbox) = start(node, "web-0");
    make_private(node);
    sandbox.end();
    let run = HookRun::with_state("poststop", &bundle.state(None));
    run.under(&["setpriv", "--bounding-set", "-sys_chroot", "--"]).run().expect_success();
    node.expect_one_line(&["remove pin /run/netns/web-0", "CAP_SYS_CHROOT"]);
    assert_eq!(node.pins(), ["web-0"]);
    let done = tools::reconcile();
    assert!(done.iter().any(|line| line.contains("unpin") && line.contains("web-0")), "{done:?}");
    nothing_is_left(node);
}

/// A namespace of `ip netns add`.
struct Operators(Netns);

impl Operators {
    fn add(name: &str) -> Self {
        tools::ip(&["netns", "add", name]).expect_success();
        Self(Netns::at(Path::new("/run/netns").join(name)).expect("a namespace"))
    }

    /// `ip netns del` cannot: it is as stuck as a pin.
    fn remove(self, node: &Node) {
        node.unmount_all(node.netns_dir());
        node.unmount_all(&node.netns_dir().join("others"));
        fs::remove_file(node.netns_dir().join("others")).unwrap();
    }
}

on_a_node!(requires(root, ip, nsenter, unshare):
    a_pin_goes_with_its_pod_in_a_directory_made_private,
    a_pin_goes_from_another_mount_namespace_whatever_its_propagation,
    reconcile_releases_what_has_ended_and_pins_where_everybody_sees_it,
    without_the_right_to_change_mount_namespaces_it_says_so_and_reconcile_ends_it,
);
