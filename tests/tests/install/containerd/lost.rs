//! `install.json` is lost, or no JSON: the files on the disk count.

use std::fs;
use std::path::Path;

use porthole_tests::engine::bundled::K0S;
use porthole_tests::engine::containerd::CONFIG;
use porthole_tests::engine::{Containerd, PodOptions};
use porthole_tests::{Node, tools};

use super::{
    SPEC, config, install, major, on_old_and_new, on_versions, pinned, site_config, tree, unchanged,
    uninstall,
};

const STATE: &str = "/var/lib/porthole/install.json";

/// Removes the state, or makes it unreadable.
fn lose(how: &str) {
    match how {
        "gone" => fs::remove_file(STATE).unwrap(),
        "cut" => {
            let text = fs::read_to_string(STATE).unwrap();
            fs::write(STATE, &text[..text.len() / 2]).unwrap();
        }
        _ => fs::write(STATE, b"\xff\xfe\0").unwrap(),
    }
}

/// The files that stay on purpose: programs of unknown origin, and a state that was kept aside.
fn remove_what_stays(said: &str) {
    for path in
        ["/usr/bin/porthole", "/usr/libexec/porthole/porthole-hook", "/usr/libexec/porthole/porthole-runtime"]
    {
        assert!(said.contains(path), "{path} is not in {said}");
        fs::remove_file(path).unwrap();
    }
    fs::remove_dir("/usr/libexec/porthole").unwrap();
    drop(fs::remove_file(format!("{STATE}.unreadable")));
    drop(fs::remove_dir("/var/lib/porthole"));
}

fn without_the_state_an_uninstall_takes_everything_back(node: &Node, version: &str) {
    let containerd = Containerd::configured(node, version, Some(&site_config(major(version))));
    let before = tree();
    for (method, how) in [("base-spec", "gone"), ("runtime", "cut"), ("base-spec", "bytes")] {
        install(&["--method", method, "--restart"]).expect_success();
        containerd.wait_ready();
        lose(how);
        let outcome = uninstall(&["--restart"]);
        let said = outcome.expect_success().to_owned();
        assert!(said.contains(CONFIG), "{how}: {said}");
        assert!(!config().contains("porthole") && !Path::new("/etc/porthole").exists(), "{how}: {said}");
        if how != "gone" {
            assert!(
                said.contains("cannot be read") && Path::new(&format!("{STATE}.unreadable")).exists(),
                "{said}"
            );
        }
        remove_what_stays(&said);
        unchanged(&before, how);
        containerd.wait_ready();
    }
}

fn without_the_state_an_installation_writes_it_anew(node: &Node, version: &str) {
    let containerd = Containerd::configured(node, version, Some(&site_config(major(version))));
    let before = tree();
    install(&["--restart"]).expect_success();
    containerd.wait_ready();
    for how in ["gone", "cut"] {
        lose(how);
        let outcome = tools::porthole(&["install", "--engine", "containerd"]);
        let said = outcome.expect_success();
        assert!(said.contains(SPEC) && said.contains("nothing to change"), "{said}");
        let state = fs::read_to_string(STATE).unwrap();
        assert!(state.contains(SPEC) && state.contains(CONFIG), "{state}");
        assert!(install(&[]).expect_success().contains("nothing to change"));
    }
    let pod = containerd.run_pod("shop", "web-0", &PodOptions::default());
    pinned(node, &pod);
    containerd.remove_pod(&pod);
    tools::reconcile();
    let outcome = uninstall(&["--restart"]);
    let said = outcome.expect_success().to_owned();
    remove_what_stays(&said);
    unchanged(&before, "uninstall");
    containerd.wait_ready();
}

fn a_site_s_base_spec_and_a_drop_in_are_found_without_the_state(node: &Node, version: &str) {
    const SITE: &str = "/etc/k0s/site-spec.json";
    let containerd = K0S.start(node, version, "");
    let spec = tools::run({
        let mut command = std::process::Command::new("/var/lib/k0s/bin/ctr");
        command.args(["oci", "spec"]);
        command
    });
    fs::write(SITE, spec.expect_success()).unwrap();
    fs::create_dir_all("/etc/k0s/containerd.d").unwrap();
    let drop_in = "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.site]\n\
                   runtime_type = 'io.containerd.runc.v2'\nbase_runtime_spec = '/etc/k0s/site-spec.json'\n";
    fs::write("/etc/k0s/containerd.d/10-site.toml", drop_in).unwrap();
    containerd.restart();
    let before = tree();
    install(&[]).expect_success();
    lose("gone");
    let outcome = install(&[]);
    let said = outcome.expect_success();
    assert!(said.contains("/etc/k0s/containerd.d/99-porthole.toml") && said.contains(SITE), "{said}");
    lose("gone");
    let outcome = uninstall(&[]);
    let said = outcome.expect_success().to_owned();
    remove_what_stays(&said);
    unchanged(&before, "uninstall");
}

on_old_and_new!(
    without_the_state_an_uninstall_takes_everything_back,
    without_the_state_an_installation_writes_it_anew
);

mod bundled {
    use super::*;
    on_versions!(v2 "2": a_site_s_base_spec_and_a_drop_in_are_found_without_the_state);
}
