//! A `/run` that is no shared mount: a container as a node, Docker in Docker, sysvinit. Mounts made there have no peers.

use std::fs;
use std::path::Path;
use std::process::Command;

use porthole_tests::bundle::containerd_annotations;
use porthole_tests::engine::Podman;
use porthole_tests::process::Sleeper;
use porthole_tests::{Bundle, HookRun, Netns, Node, Sandbox, leaks, on_a_node, tools};
use rustix::mount::{
    MountPropagationFlags, UnmountFlags, mount_bind, mount_bind_recursive, mount_change, unmount,
};

fn make_private() {
    mount_change("/run", MountPropagationFlags::PRIVATE).unwrap();
}

/// A name in the directory of the pins that an engine has made, and takes away as CRI-O does.
struct Engines {
    path: String,
    sandbox: Sandbox,
}

impl Engines {
    fn mount(name: &str) -> Self {
        fs::create_dir_all("/run/netns").unwrap();
        let (path, sandbox) = (format!("/run/netns/{name}"), Sandbox::start());
        fs::write(&path, "").unwrap();
        mount_bind(sandbox.netns_path(), &path).unwrap();
        Self { path, sandbox }
    }

    fn is_there(&self) -> bool {
        Netns::at(&self.path) == Some(self.sandbox.netns())
    }

    #[track_caller]
    fn remove(self) {
        assert!(self.is_there(), "{}", self.path);
        unmount(&self.path, UnmountFlags::DETACH).unwrap();
        fs::remove_file(&self.path).unwrap_or_else(|e| panic!("unlink {}: {e}", self.path));
        self.sandbox.end();
    }
}

/// A pod of ours.
struct Pod {
    name: String,
    bundle: Bundle,
    sandbox: Sandbox,
}

impl Pod {
    fn start(node: &Node, name: &str) -> Self {
        let bundle = Bundle::new(node).annotations(&containerd_annotations("shop", name, "nginx"));
        bundle.write();
        let pod = Self { name: name.to_owned(), bundle, sandbox: Sandbox::start() };
        pod.call("createRuntime", Some(pod.sandbox.pid()));
        assert_eq!(Netns::at(format!("/run/netns/{name}")), Some(pod.sandbox.netns()), "{name}");
        tools::ip(&["netns", "exec", name, "true"]).expect_success();
        tools::porthole(&["exec", name, "--", "true"]).expect_success();
        pod
    }

    fn call(&self, stage: &str, pid: Option<u32>) {
        HookRun::with_state(stage, &self.bundle.state(pid)).run().expect_success();
    }

    fn end(self) {
        let Self { name, bundle, sandbox } = self;
        sandbox.end();
        HookRun::with_state("poststop", &bundle.state(None)).run().expect_success();
        assert!(!Path::new("/run/netns").join(&name).exists(), "{name}");
    }
}

/// Whether a process in another mount namespace sees the pin of a pod.
fn sees(there: &Sleeper, pod: &Pod) -> bool {
    let mut look = Command::new("nsenter");
    let path = format!("/run/netns/{}", pod.name);
    look.arg(format!("--mount=/proc/{}/ns/mnt", there.pid())).args(["stat", "-Lc", "%i", &path]);
    tools::run(look).stdout.trim() == pod.sandbox.netns().ino.to_string()
}

fn nothing_is_left(node: &Node) {
    node.expect_silence("pods in a private /run");
    assert_eq!((node.records(), node.pins()), (vec![], vec![]));
    assert_eq!(leaks::below(node.netns_dir()), Vec::<String>::new());
}

fn what_was_mounted_before_is_held_by_nobody(node: &Node) {
    make_private();
    let [first, second, third] = ["cni-1", "cni-2", "cni-3"].map(Engines::mount);
    let [web_0, web_1] = ["web-0", "web-1"].map(|name| Pod::start(node, name));
    first.remove();
    assert!(second.is_there());
    let later = Engines::mount("cni-4");
    web_0.end();
    second.remove();
    web_1.end();
    third.remove();
    later.remove();
    nothing_is_left(node);
}

fn a_demo_holds_nothing(node: &Node) {
    make_private();
    let engines = Engines::mount("u");
    tools::porthole(&["demo"]).expect_success();
    engines.remove();
    nothing_is_left(node);
}

fn after_an_uninstall_nothing_is_held(node: &Node) {
    make_private();
    let _podman = Podman::new(node, "4.3");
    tools::porthole(&["install", "--engine", "podman"]).expect_success();
    let engines = Engines::mount("cni-1");
    let web = Pod::start(node, "web-0");
    tools::porthole(&["uninstall"]).expect_success();
    assert!(!Path::new("/run/netns/web-0").exists());
    engines.remove();
    web.sandbox.end();
    nothing_is_left(node);
}

fn an_uninstall_lets_go_of_what_an_earlier_version_held(node: &Node) {
    make_private();
    let _podman = Podman::new(node, "4.3");
    tools::porthole(&["install", "--engine", "podman"]).expect_success();
    let engines = Engines::mount("cni-1");
    let web = Pod::start(node, "web-0");
    cover();
    tools::porthole(&["uninstall"]).expect_success();
    engines.remove();
    web.sandbox.end();
    nothing_is_left(node);
}

fn what_is_mounted_after_the_first_pin_is_held_by_nobody_and_later_pins_are_seen(node: &Node) {
    make_private();
    let web_0 = Pod::start(node, "web-0");
    // The directory was empty, and is a shared mount of its own since.
    let there = Sleeper::unshared(&["--mount", "--propagation", "slave"]);
    let engines = Engines::mount("cni-1");
    let web_1 = Pod::start(node, "web-1");
    assert!(sees(&there, &web_0) && sees(&there, &web_1));
    // iproute2 finds it a mount, and has no reason to copy what is in it.
    tools::ip(&["netns", "add", "by-hand"]).expect_success();
    engines.remove();
    tools::ip(&["netns", "del", "by-hand"]).expect_success();
    web_0.end();
    web_1.end();
    there.end();
    nothing_is_left(node);
}

fn where_run_is_shared_later_pins_are_seen_whatever_was_mounted_before(node: &Node) {
    let engines = Engines::mount("cni-1");
    let there = Sleeper::unshared(&["--mount", "--propagation", "slave"]);
    let web_0 = Pod::start(node, "web-0");
    assert!(sees(&there, &web_0));
    let mounts = leaks::nsfs_mounts().iter().filter(|line| line.contains(" /run/netns/")).count();
    assert_eq!(mounts, 2, "each name is mounted once");
    engines.remove();
    web_0.end();
    there.end();
    nothing_is_left(node);
}

/// Mounts the directory on itself with copies of all that is in it, as iproute2 and earlier versions do.
fn cover() {
    mount_bind_recursive("/run/netns", "/run/netns").unwrap();
    mount_change("/run/netns", MountPropagationFlags::SHARED | MountPropagationFlags::REC).unwrap();
}

fn unlinks(engines: &Engines) -> bool {
    let _ = unmount(&engines.path, UnmountFlags::DETACH);
    fs::remove_file(&engines.path).is_ok()
}

fn pins_go_though_ip_netns_add_has_copied_them(node: &Node) {
    make_private();
    let engines = Engines::mount("cni-1");
    let web_0 = Pod::start(node, "web-0");
    // iproute2 mounts the directory on itself, with all that is in it.
    tools::ip(&["netns", "add", "by-hand"]).expect_success();
    let web_1 = Pod::start(node, "web-1");
    web_0.end();
    web_1.end();
    tools::ip(&["netns", "del", "by-hand"]).expect_success();
    assert!(!unlinks(&engines), "held by what iproute2 did");
    let Engines { path, sandbox } = engines;
    sandbox.end();
    tools::reconcile();
    fs::remove_file(path).unwrap();
    nothing_is_left(node);
}

fn doctor_finds_names_that_are_held_and_reconcile_lets_go_of_them(node: &Node) {
    make_private();
    let [stuck, live] = ["cni-1", "cni-2"].map(Engines::mount);
    let web_0 = Pod::start(node, "web-0");
    cover();
    let web_1 = Pod::start(node, "web-1");
    assert!(!unlinks(&stuck));
    let Engines { path, sandbox } = stuck;
    sandbox.end();
    let said = |words: &str| {
        let outcome = tools::porthole(&["-o", "json", "doctor", "netns-directory"]);
        assert!(outcome.stdout.contains(words), "{words}: {}", outcome.stdout);
    };
    said("a shared mount, on /run, which is private, covers another mount of 3 names");
    said("(EBUSY): cni-1, cni-2, web-0");
    let done = tools::reconcile();
    assert!(done.len() == 1 && done[0].contains("cni-1, cni-2, web-0"), "{done:?}");
    assert!(live.is_there(), "unlike its copy underneath");
    for pod in [&web_0, &web_1] {
        assert_eq!(node.pin(&pod.name), Some(pod.sandbox.netns()));
    }
    assert_eq!(tools::reconcile(), Vec::<String>::new());
    said("a shared mount, on /run, which is private; 3 pins");
    fs::remove_file(path).unwrap();
    live.remove();
    web_0.end();
    web_1.end();
    assert!(!Path::new("/run/.porthole-netns").exists());
    nothing_is_left(node);
}

fn a_cover_that_was_aside_when_its_mover_was_killed_comes_back(node: &Node) {
    make_private();
    let engines = Engines::mount("cni-1");
    cover();
    let web = Pod::start(node, "web-0");
    fs::create_dir("/run/.porthole-netns").unwrap();
    let mut aside = Command::new("mount");
    aside.args(["--move", "/run/netns", "/run/.porthole-netns"]);
    tools::run(aside).expect_success();
    assert_ne!(Netns::at("/run/netns/web-0"), Some(web.sandbox.netns()));
    tools::reconcile();
    assert_eq!(Netns::at("/run/netns/web-0"), Some(web.sandbox.netns()));
    engines.remove();
    web.end();
    nothing_is_left(node);
}

fn what_is_covered_and_was_not_copied_stays_while_it_is_used(node: &Node) {
    make_private();
    let engines = Engines::mount("cni-1");
    mount_bind("/run/netns", "/run/netns").unwrap();
    let web = Pod::start(node, "web-0");
    assert!(!engines.is_there(), "covered");
    tools::reconcile();
    web.end();
    unmount("/run/netns", UnmountFlags::DETACH).unwrap();
    engines.remove();
    nothing_is_left(node);
}

on_a_node!(requires(root, ip, nsenter, unshare):
    what_was_mounted_before_is_held_by_nobody,
    a_demo_holds_nothing,
    what_is_mounted_after_the_first_pin_is_held_by_nobody_and_later_pins_are_seen,
    where_run_is_shared_later_pins_are_seen_whatever_was_mounted_before,
    pins_go_though_ip_netns_add_has_copied_them,
    doctor_finds_names_that_are_held_and_reconcile_lets_go_of_them,
    a_cover_that_was_aside_when_its_mover_was_killed_comes_back,
    what_is_covered_and_was_not_copied_stays_while_it_is_used,
);

mod uninstall {
    use super::{after_an_uninstall_nothing_is_held, an_uninstall_lets_go_of_what_an_earlier_version_held};

    porthole_tests::on_a_node!(requires(root, ip, podman):
        after_an_uninstall_nothing_is_held,
        an_uninstall_lets_go_of_what_an_earlier_version_held,
    );
}
