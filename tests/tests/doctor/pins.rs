//! Records, processes and pins that do not agree.

use std::fs;

use porthole_tests::pod::EnginePin;
use porthole_tests::{Container, Node, Runtime, on_a_node, tools};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};

use crate::setting::{bundle, doctor, doctor_with, install, pod, reconcile, write};

fn a_record_whose_process_has_ended(node: &Node) {
    install();
    let pod = pod(node, "web-0");
    pod.kill();
    let said = doctor();
    said.expect_failures(&[("dead-records", "of web-0")]);
    assert!(said.check("dead-records")["remedy"].as_str().unwrap().contains("porthole reconcile"));
    reconcile();
    doctor().expect_health();
    pod.delete();
}

fn a_pin_that_hides_behind_a_name_that_a_unit_goes_by(node: &Node) {
    install();
    let (web, amphora) = (pod(node, "web-0"), pod(node, "amphora"));
    write("/etc/systemd/system/vpn.service", "[Service]\nExecStart=/sbin/ip netns exec vpn true\n");
    let said = doctor();
    said.expect_health();
    let evidence = said.check("pin-names")["evidence"].as_str().unwrap().to_owned();
    assert!(evidence.starts_with("2 of 2 pins with a pod"), "{evidence}");
    write(
        "/etc/systemd/system/lb.service.d/netns.conf",
        "[Service]\nNetworkNamespacePath=/run/netns/amphora\n",
    );
    let said = doctor();
    let check = said.check("pin-names");
    assert_eq!(check["verdict"], "warn");
    assert!(
        check["evidence"].as_str().unwrap().contains("amphora is the network of shop/amphora"),
        "{check}"
    );
    assert_eq!(said.status, 0);
    web.delete();
    amphora.delete();
}

fn a_live_container_without_its_pin(node: &Node) {
    install();
    let pod = pod(node, "web-0");
    tools::ip(&["netns", "del", "web-0"]).expect_success();
    doctor().expect_failures(&[("pins", "of web-0")]);
    reconcile();
    doctor().expect_health();
    pod.delete();
}

fn a_pin_that_no_record_tells_of(node: &Node) {
    install();
    let pod = pod(node, "web-0");
    fs::remove_file(format!("/run/porthole/containers/{}.json", pod.id())).unwrap();
    doctor().expect_failures(&[("leaked-pins", "web-0 (its member")]);
    reconcile();
    doctor().expect_health();
    pod.delete();
}

fn a_pin_that_outlived_its_pod(node: &Node) {
    install();
    let engines = EnginePin::new_netns("/run/engine/web-0");
    let pod = Container::run(Runtime::Runc, &bundle(node, "web-0").netns(engines.path()));
    pod.delete();
    let said = doctor();
    said.expect_health();
    said.expect("ok", "idle-pins", "1 pin without members");
    engines.remove();
    doctor().expect_failures(&[("idle-pins", "web-0")]);
    reconcile();
    doctor().expect_health();
    assert!(node.pins().is_empty());
    fs::remove_dir("/run/engine").unwrap();
}

fn what_a_hook_that_was_killed_has_left(node: &Node) {
    install();
    let pod = pod(node, "web-0");
    fs::create_dir("/run/porthole/going/4026599999").unwrap();
    fs::write("/run/porthole/containers/.draft", "{").unwrap();
    doctor().expect_failures(&[("unfinished-changes", "containers/.draft, going/4026599999")]);
    reconcile();
    doctor().expect_health();
    pod.delete();
}

fn a_private_directory_of_pins(node: &Node) {
    install();
    let dir = node.netns_dir();
    fs::create_dir(dir).unwrap();
    doctor().expect_health();
    mount_bind(dir, dir).unwrap();
    mount_change(dir, MountPropagationFlags::PRIVATE).unwrap();
    // Whoever made it a mount may have wanted it so: the hook leaves it.
    let pod = pod(node, "web-0");
    doctor().expect_failures(&[("netns-directory", "a private mount")]);
    pod.delete();
    mount_change(dir, MountPropagationFlags::SHARED).unwrap();
    doctor().expect_health();
}

fn a_directory_of_pins_that_is_a_file(node: &Node) {
    install();
    fs::write(node.netns_dir(), "").unwrap();
    doctor().expect("fail", "netns-directory", "is a file");
    fs::remove_file(node.netns_dir()).unwrap();
    doctor().expect_health();
}

fn a_live_container_that_is_not_registered(node: &Node) {
    install();
    let config = "/etc/porthole/config.toml";
    write(config, "[engines]\nrunc = ['/mnt/state/Runc']\n");
    doctor().expect_health();
    let pod = Container::run(Runtime::Runc, &bundle(node, "web-0").hooked(&[]));
    // Without a registry as with one.
    assert!(!node.run_dir().exists());
    doctor().expect_failures(&[("unregistered-containers", "app of web-0")]);
    doctor_with(&["--config", config], &["unregistered-containers"])
        .expect_failures(&[("unregistered-containers", "app of web-0")]);
    reconcile();
    doctor().expect_health();
    pod.kill();
    reconcile();
    pod.delete();
}

on_a_node!(requires(root, ip, runc):
    a_record_whose_process_has_ended,
    a_pin_that_hides_behind_a_name_that_a_unit_goes_by,
    a_live_container_without_its_pin,
    a_pin_that_no_record_tells_of,
    a_pin_that_outlived_its_pod,
    what_a_hook_that_was_killed_has_left,
    a_private_directory_of_pins,
    a_directory_of_pins_that_is_a_file,
    a_live_container_that_is_not_registered,
);
