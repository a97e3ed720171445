//! Real engines: not installed for, installed for, not restarted, with a hook that has gone.

use std::fs;
use std::time::{Duration, Instant};

use porthole_registry::hook_entry::{self, HookPath};
use porthole_registry::json_edit::Document;
use porthole_tests::engine::containerd::{self, CONFIG, Containerd};
use porthole_tests::engine::{Docker, PodOptions, Podman};
use porthole_tests::{Node, on_a_node};
use rustix::process::{Pid, Signal, kill_process};

use crate::setting::{HOOK, doctor, install, porthole, put, reconcile, write};

const BASE_SPEC: &str = "/etc/porthole/containerd/runc.json";

/// Has containerd's configuration name a base spec with the hook in it.
fn hook_containerd() {
    let text = fs::read_to_string(CONFIG).unwrap();
    let kind = "runtime_type = 'io.containerd.runc.v2'\n";
    assert!(text.contains(kind), "{text}");
    write(CONFIG, &text.replace(kind, &format!("{kind}        base_runtime_spec = '{BASE_SPEC}'\n")));
    let spec = containerd::ctr(&["oci", "spec"]).expect_success().to_owned();
    let mut spec = Document::parse(spec).unwrap();
    hook_entry::add(&mut spec, &HookPath::parse(HOOK.as_ref()).unwrap()).unwrap();
    write(BASE_SPEC, spec.as_str());
}

fn containerd_before_and_after_its_restart(node: &Node) {
    let containerd = Containerd::start(node, "2");
    install();
    let said = doctor();
    said.expect_health();
    said.expect("warn", "engine-hook", "does not call the hook");
    hook_containerd();
    let said = doctor();
    said.expect_health();
    said.expect("ok", "engine-hook", &format!("runtime runc by its base spec {BASE_SPEC}"));
    said.expect("warn", "engine-loaded", "was started before");
    containerd.restart();
    let said = doctor();
    said.expect_health();
    said.expect("ok", "engine-loaded", "answers");
    let pod = containerd.run_pod("shop", "web-0", &PodOptions::default());
    let said = doctor();
    said.expect_health();
    said.expect("ok", "unregistered-pods", "pinned");
    said.expect("ok", "pins", "1 pin for 1 record");
    // Its sandbox has no hook, and none of its containers has run: the pod has no name yet.
    let waiting = containerd.run_sandbox("shop", "web-1", &PodOptions::default());
    let said = doctor();
    said.expect_health();
    said.expect("warn", "unregistered-pods", "web-1");
    reconcile();
    doctor().expect("ok", "unregistered-pods", "pinned");
    containerd.remove_pod(&waiting);
    containerd.remove_pod(&pod);
    reconcile();
    doctor().expect_health();
}

fn containerd_with_a_hook_that_has_gone(node: &Node) {
    let containerd = Containerd::start(node, "2");
    install();
    hook_containerd();
    containerd.restart();
    fs::remove_file(HOOK).unwrap();
    // A guard: the container starts, and nobody knows of it.
    let pod = containerd.run_pod("shop", "web-0", &PodOptions::default());
    let said = doctor();
    said.expect("fail", "stale-config", &format!("{BASE_SPEC}: names {HOOK}, which is not there"));
    said.expect("fail", "unregistered-containers", "c0 of web-0");
    assert_eq!(said.status, 1);
    put(HOOK);
    reconcile();
    doctor().expect_health();
    containerd.remove_pod(&pod);
    reconcile();
}

fn podman_from_installation_to_its_end(node: &Node) {
    let podman = Podman::new(node, "5.4");
    install();
    let said = doctor();
    said.expect_health();
    said.expect("warn", "engine-hook", "podman 5.4: does not call the hook");
    porthole(&["install", "--engine", "podman"]).expect_success();
    let said = doctor();
    said.expect_health();
    said.expect("ok", "engine-hook", "files in ");
    let pod = podman.pod_create("web", &[]);
    let said = doctor();
    said.expect_health();
    said.expect("ok", "pins", "1 pin for 1 record");
    fs::remove_file(HOOK).unwrap();
    let alone = podman.run("alone", &[], &[]);
    let said = doctor();
    said.expect("fail", "stale-config", HOOK);
    said.expect("fail", "unregistered-containers", "alone");
    put(HOOK);
    reconcile();
    doctor().expect_health();
    podman.rm(&alone.id);
    podman.pod_rm(&pod.name);
    porthole(&["uninstall"]).expect_success();
    let said = doctor();
    said.expect_health();
    said.expect("warn", "engine-hook", "does not call the hook");
}

fn docker_from_installation_to_a_daemon_that_hangs(node: &Node) {
    let docker = Docker::start(node, "26.1");
    install();
    let said = doctor();
    said.expect_health();
    said.expect("warn", "engine-hook", "docker 26.1: does not call the hook");
    porthole(&["install", "--engine", "docker"]).expect_success();
    let said = doctor();
    said.expect_health();
    said.expect("ok", "engine-hook", "runtime porthole of daemon.json");
    said.expect("ok", "engine-loaded", "answers");
    let web = docker.run("web", &[], &[]);
    let said = doctor();
    said.expect_health();
    said.expect("ok", "pins", "1 pin for 1 record");
    let pid = docker.service.pid().and_then(|pid| Pid::from_raw(pid.try_into().unwrap())).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let begin = Instant::now();
    let said = doctor();
    kill_process(pid, Signal::CONT).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    assert_eq!(said.with("fail").len(), 1, "{:#}", said.document);
    said.expect("fail", "engine-loaded", "docker");
    said.expect("ok", "pins", "1 pin for 1 record");
    docker.rm(&web.id);
    doctor().expect_health();
    porthole(&["uninstall"]).expect_success();
}

mod on_containerd {
    use super::*;
    on_a_node!(requires(root, containerd):
        containerd_before_and_after_its_restart,
        containerd_with_a_hook_that_has_gone,
    );
}

mod on_podman {
    use super::*;
    on_a_node!(requires(root, podman): podman_from_installation_to_its_end);
}

mod on_docker {
    use super::*;
    on_a_node!(requires(root, docker): docker_from_installation_to_a_daemon_that_hangs);
}
