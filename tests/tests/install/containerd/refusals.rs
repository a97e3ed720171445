//! What cannot work is refused, or put back, and containerd runs as before.

use std::fs;
use std::path::Path;

use porthole_tests::Node;
use porthole_tests::engine::Containerd;
use porthole_tests::engine::containerd::CONFIG;

use super::{config, install, on_old_and_new, refused, tree, unchanged};

fn a_configuration_that_is_broken_is_refused_with_the_place(node: &Node, version: &str) {
    let containerd = Containerd::start(node, version);
    let sound = config();
    let lines = sound.lines().count();
    fs::write(CONFIG, format!("{sound}broken = = 1\n")).unwrap();
    let before = tree();
    let outcome = install(&["--restart"]);
    refused(&outcome, &[CONFIG, &format!("line {}, column 10", lines + 1), "nothing was changed"]);
    unchanged(&before, "a broken configuration");

    // Broken for containerd alone.
    fs::write(CONFIG, sound.replacen("version = ", "oom_score = 'high'\nversion = ", 1)).unwrap();
    let before = tree();
    refused(&install(&["--restart"]), &["config dump", "repair"]);
    unchanged(&before, "a value that cannot be");

    // Another file than the daemon reads.
    fs::write("/etc/containerd/other.toml", &sound).unwrap();
    fs::write(CONFIG, &sound).unwrap();
    let script = fs::read_to_string(containerd.service.script()).unwrap();
    let other = script
        .replace("/usr/bin/containerd -- ", "/usr/bin/containerd -- --config /etc/containerd/other.toml ");
    assert_ne!(script, other);
    fs::write(containerd.service.script(), other).unwrap();
    containerd.restart();
    let before = tree();
    refused(
        &install(&["--restart", "--config", CONFIG]),
        &["reads /etc/containerd/other.toml", "--config /etc/containerd/other.toml"],
    );
    unchanged(&before, "another configuration");
    let outcome = install(&["--restart"]);
    let said = outcome.expect_success();
    assert!(
        said.contains(&format!("reads /etc/containerd/other.toml, not {CONFIG}: {CONFIG} is left")),
        "{said}"
    );
    assert_eq!(config(), sound);
    assert!(fs::read_to_string("/etc/containerd/other.toml").unwrap().contains("base_runtime_spec"));
    super::uninstall(&["--engine", "containerd", "--config", "/etc/containerd/other.toml", "--restart"])
        .expect_success();
    unchanged(&before, "uninstall");
}

fn a_restart_that_fails_is_taken_back(node: &Node, version: &str) {
    let containerd = Containerd::start(node, version);
    let script = fs::read_to_string(containerd.service.script()).unwrap();

    // The script says that it failed.
    let failing = script.replace("restart | force-reload) stop;", "restart | force-reload) stop; if grep -q porthole /etc/containerd/config.toml; then echo no >&2; exit 7; fi;");
    assert_ne!(script, failing);
    fs::write(containerd.service.script(), &failing).unwrap();
    let before = tree();
    refused(
        &install(&["--restart"]),
        &["restart containerd", "everything is as it was", "runs with that again"],
    );
    unchanged(&before, "a script that fails");
    containerd.wait_ready();

    // It says nothing, and containerd does not come.
    fs::write(containerd.service.script(), failing.replace("echo no >&2; exit 7;", "exit 0;")).unwrap();
    let before = tree();
    refused(
        &install(&["--restart"]),
        &["does not answer", "everything is as it was", "runs with that again"],
    );
    unchanged(&before, "a daemon that does not come");
    containerd.wait_ready();

    // It says that it restarted, and did not.
    fs::write(
        containerd.service.script(),
        script.replace("restart | force-reload) stop; start ;;", "restart) ;;"),
    )
    .unwrap();
    let before = tree();
    let daemon = containerd.service.pid();
    let outcome = install(&["--restart"]);
    refused(&outcome, &["was started before its configuration was changed", "everything is as it was"]);
    unchanged(&before, "a restart that was none");
    assert_eq!(containerd.service.pid(), daemon);
    assert!(!Path::new("/etc/porthole").exists());
    fs::write(containerd.service.script(), script).unwrap();
}

on_old_and_new!(a_configuration_that_is_broken_is_refused_with_the_place, a_restart_that_fails_is_taken_back);
