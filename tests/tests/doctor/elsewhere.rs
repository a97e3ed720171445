//! Engines that keep their state in unusual places: k0s, microk8s and k3s start a containerd with flags of their own.

use std::fs;
use std::path::Path;

use porthole_tests::engine::PodOptions;
use porthole_tests::engine::containerd::{self, Containerd};
use porthole_tests::fake::Fake;
use porthole_tests::{Node, on_a_node};

use crate::setting::{doctor, doctor_with, install, porthole, reconcile, write};

/// Starts a process in a mount namespace of its own, as a container is below its shim.
const CONTAINER: &[&str] = &["unshare", "--mount", "--net"];

/// The daemon's state is where `--state` says, and all that runs is registered from there.
fn pods_of_a_containerd_with_a_state_of_its_own(containerd: &Containerd) {
    let pod = containerd.run_pod("shop", "web-0", &PodOptions::default());
    doctor().expect("fail", "unregistered-containers", "c0 of web-0");
    reconcile();
    assert_eq!(porthole(&["reconcile"]).expect_success(), "nothing to do: registry and kernel agree\n");
    let said = doctor();
    said.expect_health();
    said.expect("ok", "pins", "1 pin for 2 records");
    containerd.remove_pod(&pod);
    reconcile();
}

fn a_state_directory_by_a_flag_is_looked_through(node: &Node) {
    install();
    let containerd = Containerd::told(node, "1.7", None, "--state /run/k0s/containerd");
    pods_of_a_containerd_with_a_state_of_its_own(&containerd);
}

fn a_state_directory_by_the_configuration_is_looked_through(node: &Node) {
    install();
    let text = format!("state = '/run/site/containerd'\n{}", containerd::config(2));
    let containerd = Containerd::configured(node, "2", Some(&text));
    pods_of_a_containerd_with_a_state_of_its_own(&containerd);
}

fn what_runs_while_its_engine_is_down_is_found_by_its_shim(node: &Node) {
    install();
    let containerd = Containerd::told(node, "2", None, "--state /run/k0s/containerd");
    let pod = containerd.run_pod("shop", "web-0", &PodOptions::default());
    containerd.stop();
    doctor().expect("fail", "unregistered-containers", "c0 of web-0");
    reconcile();
    assert_eq!(node.records().len(), 2);
    containerd.service.call("start");
    containerd.wait_ready();
    containerd.remove_pod(&pod);
    reconcile();
}

fn state_that_nobody_looks_through_is_no_all_clear(node: &Node) {
    install();
    write("/etc/porthole/config.toml", "[engines]\ncontainerd = []\n");
    let containerd = Containerd::start(node, "2");
    let pod = containerd.run_pod("shop", "web-0", &PodOptions::default());
    let said = doctor();
    said.expect("fail", "unregistered-containers", "2 of 2 that run");
    let netns = format!("net:[{}]", pod.netns().ino);
    said.expect("fail", "unregistered-containers", &format!("process {} (", pod.pid));
    said.expect("fail", "unregistered-containers", &netns);
    let remedy = said.check("unregistered-containers")["remedy"].as_str().unwrap();
    assert!(remedy.contains("--engine-state"), "{remedy}");
    let outcome = porthole(&["reconcile"]);
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("2 containers run unregistered"), "{outcome:?}");
    assert!(!outcome.stdout.contains("agree"), "{outcome:?}");
    let outcome = porthole(&["-o", "json", "reconcile"]);
    let done: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!((done.as_array().unwrap().len(), &done[0]["failed"]), (2, &true.into()), "{done}");
    // With the directory named, all is well.
    porthole(&["reconcile", "--engine-state", "containerd=/run/containerd"]).expect_success();
    doctor().expect_health();
    containerd.remove_pod(&pod);
    reconcile();
}

fn a_process_below_a_shim_or_conmon_runs_unregistered(_node: &Node) {
    install();
    let shim = ["-namespace", "k8s.io", "-id", "0f", "-address", "/run/site.sock"];
    let bundle = Path::new("/run/site/containerd/io.containerd.runtime.v2.task/k8s.io/0f");
    fs::create_dir_all(bundle).unwrap();
    let userdata = "/run/site/overlay-containers/0f/userdata";
    for (program, words, directory) in [
        ("/mnt/containerd-shim-runc-v2", &shim[..], bundle),
        ("/mnt/conmon", &["-b", userdata, "-c", "0f"], Path::new("/")),
    ] {
        let fake = Fake { words, directory: Some(directory), child: CONTAINER, ..Fake::default() };
        let fake = fake.start(program);
        let said = doctor_with(&[], &["unregistered-containers"]);
        said.expect_failures(&[("unregistered-containers", &format!("process {} (", fake.child()))]);
        let outcome = porthole(&["reconcile"]);
        assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
        assert!(outcome.stderr.contains("1 container runs unregistered"), "{outcome:?}");
        assert!(outcome.stdout.contains(&format!("pid {}", fake.child())), "{outcome:?}");
        fake.end();
        doctor().expect_health();
        reconcile();
    }
    fs::remove_dir_all("/run/site").unwrap();
}

fn what_is_no_container_of_an_engine_is_no_false_alarm(_node: &Node) {
    install();
    // A service with its own network and mounts; a shim of virtual machines; one in a pid namespace of its own, as in a
    // container; one whose child is a runtime at work.
    let cases: [(&str, &[&str], &[&str]); 4] = [
        ("/mnt/some-service", &[], CONTAINER),
        ("/mnt/containerd-shim-kata-v2", &[], CONTAINER),
        ("/mnt/containerd-shim-runc-v2", &["unshare", "--mount"], &["env"]),
        ("/mnt/conmon", &[], &["env"]),
    ];
    let fakes: Vec<_> = cases
        .into_iter()
        .map(|(program, through, child)| Fake { through, child, ..Fake::default() }.start(program))
        .collect();
    let hidden = porthole_tests::process::Sleeper::unshared(&["--mount", "--net"]);
    doctor_with(&[], &["unregistered-containers"]).expect_health();
    reconcile();
    drop((fakes, hidden));
}

/// Its pid file tells nothing: the process does.
fn a_dockerd_with_another_file_and_no_pid_file_is_found(_node: &Node) {
    install();
    let words = &["--pidfile", "/mnt/srv/docker.pid", "--config-file", "/mnt/srv/daemon.json"];
    let dockerd = Fake { words, version: "Docker version 26.1.5", ..Fake::default() };
    let dockerd = dockerd.start("/usr/bin/dockerd");
    let outcome = porthole(&["install", "--engine", "docker", "--no-policy"]);
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    assert!(outcome.stdout.contains("# docker 26.1, configured by /mnt/srv/daemon.json"), "{outcome:?}");
    assert!(outcome.stderr.contains("ask Docker at /run/docker.sock"), "{outcome:?}");
    let files = ["/etc/docker/daemon.json", "/mnt/srv/daemon.json"];
    assert!(files.iter().all(|file| !Path::new(file).exists()), "everything is as it was");
    let said = doctor_with(&[], &["engine-hook"]);
    said.expect("warn", "engine-hook", "docker 26.1 (/mnt/srv/daemon.json)");
    let remedy = said.check("engine-hook")["remedy"].as_str().unwrap();
    assert_eq!(remedy, "`porthole install --engine docker --config /mnt/srv/daemon.json`");
    dockerd.end();
}

on_a_node!(requires(root):
    a_dockerd_with_another_file_and_no_pid_file_is_found,
    a_process_below_a_shim_or_conmon_runs_unregistered,
    what_is_no_container_of_an_engine_is_no_false_alarm,
);

mod on_containerd {
    use super::*;
    on_a_node!(requires(root, containerd):
        a_state_directory_by_a_flag_is_looked_through,
        a_state_directory_by_the_configuration_is_looked_through,
        what_runs_while_its_engine_is_down_is_found_by_its_shim,
        state_that_nobody_looks_through_is_no_all_clear,
    );
}
