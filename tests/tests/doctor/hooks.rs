//! What engines are configured to call: stale, broken, without a guard.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use porthole_tests::{Node, on_a_node};

use crate::setting::{HOOK, HOOKS_D, doctor, install, put, write};

/// A program that says it is podman, as far as doctor asks.
fn podman() {
    write("/usr/bin/podman", "#!/bin/sh\necho podman version 4.3.1\n");
    fs::set_permissions("/usr/bin/podman", Permissions::from_mode(0o755)).unwrap();
}

/// The files that packages can ship.
fn hooks() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/hooks.d");
    fs::create_dir_all(HOOKS_D).unwrap();
    for entry in fs::read_dir(config).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, Path::new(HOOKS_D).join(path.file_name().unwrap())).unwrap();
    }
}

fn an_engine_that_does_not_call_the_hook_is_a_warning(_node: &Node) {
    install();
    podman();
    let said = doctor();
    said.expect_health();
    said.expect("warn", "engine-hook", "podman 4.3: does not call the hook");
    let remedy = said.check("engine-hook")["remedy"].as_str().unwrap();
    assert_eq!(remedy, "`porthole install --engine podman`");
    hooks();
    let said = doctor();
    said.expect_health();
    said.expect("ok", "engine-hook", HOOKS_D);
    said.expect("ok", "hooks-d", "2 files, read by podman");
}

fn a_stage_that_is_missing_is_told(_node: &Node) {
    install();
    podman();
    hooks();
    fs::remove_file(format!("{HOOKS_D}/porthole-poststop.json")).unwrap();
    doctor().expect("warn", "engine-hook", "stage poststop");
}

fn an_entry_without_a_guard_is_a_warning(_node: &Node) {
    install();
    podman();
    hooks();
    let text = format!(
        r#"{{"version":"1.0.0","hook":{{"path":"{HOOK}","args":["porthole-hook","poststop"]}},"when":{{"always":true}},"stages":["poststop"]}}"#
    );
    write(&format!("{HOOKS_D}/porthole-poststop.json"), &text);
    doctor().expect("warn", "engine-hook", "without a guard");
}

fn an_entry_that_is_killed_before_the_deadline_of_the_hook_is_a_failure(_node: &Node) {
    install();
    podman();
    hooks();
    doctor().expect("ok", "hook-timeout", "2 calls of the hook");
    write("/etc/porthole/config.toml", "deadline_ms = 8000\n");
    doctor().expect("ok", "hook-timeout", "8000 ms");
    let file = format!("{HOOKS_D}/porthole-poststop.json");
    let text = fs::read_to_string(&file).unwrap();
    let shorter = text.replace("\"timeout\": 10", "\"timeout\": 5");
    assert_ne!(shorter, text);
    write(&file, &shorter);
    doctor().expect_failures(&[("hook-timeout", "porthole-poststop.json: `timeout` is 5 s")]);
    write("/etc/porthole/config.toml", "");
    doctor().expect_health();
}

fn files_that_name_a_hook_that_has_gone(_node: &Node) {
    install();
    hooks();
    fs::remove_file(HOOK).unwrap();
    let said = doctor();
    assert_eq!(said.status, 1);
    let stale: Vec<_> = said.with("fail").into_iter().filter(|(name, _)| name == "stale-config").collect();
    assert_eq!(stale.len(), 2, "{:#}", said.document);
    said.expect(
        "fail",
        "stale-config",
        &format!("porthole-createruntime.json: names {HOOK}, which is not there"),
    );
    assert!(said.check("stale-config")["remedy"].as_str().unwrap().contains("porthole install"));
    put(HOOK);
    doctor().expect_health();
}

fn stale_configuration_of_every_engine_is_found(_node: &Node) {
    install();
    let guard = "/etc/porthole/runtime/docker-runc";
    let daemon = format!(r#"{{"runtimes":{{"porthole":{{"path":"{guard}"}}}}}}"#);
    for (file, text, names) in [
        ("/etc/docker/daemon.json", daemon.as_str(), guard),
        (
            "/etc/containerd/config.toml",
            "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc]\n\
             base_runtime_spec = '/etc/porthole/containerd/runc.json'\n",
            "/etc/porthole/containerd/runc.json",
        ),
        (guard, "#!/bin/sh\nexec /usr/sbin/no-such-runc \"$@\"\n", "/usr/sbin/no-such-runc"),
        (
            "/etc/systemd/system/porthole-x.service",
            "[Service]\nExecStart=/opt/x/bin/porthole reconcile\n",
            "/opt/x/bin/porthole",
        ),
    ] {
        write(file, text);
        let said = doctor();
        said.expect("fail", "stale-config", &format!("{file}: names {names}, which is not there"));
        assert_eq!(said.status, 1);
        fs::remove_file(file).unwrap();
    }
    doctor().expect_health();
}

/// doctor reads a `daemon.json` as install and dockerd do.
fn a_mark_of_the_byte_order_before_docker_s_settings_is_none_of_them(_node: &Node) {
    install();
    write("/usr/bin/dockerd", "#!/bin/sh\necho Docker version 26.1.5\n");
    fs::set_permissions("/usr/bin/dockerd", Permissions::from_mode(0o755)).unwrap();
    let guard = "/etc/porthole/runtime/docker-runc";
    write(guard, "#!/bin/sh\nexec /bin/true \"$@\"\n");
    fs::set_permissions(guard, Permissions::from_mode(0o755)).unwrap();
    let text = format!(
        "\u{feff}{{\"runtimes\": {{\"porthole\": {{\"Path\": \"{guard}\"}}}}, \"default-runtime\": \"porthole\"}}"
    );
    write("/etc/docker/daemon.json", &text);
    doctor().expect("ok", "engine-hook", "runtime porthole of daemon.json");
    write("/etc/docker/daemon.json", "// a comment\n{}");
    doctor().expect("warn", "engine-hook", "/etc/docker/daemon.json");
}

fn a_file_of_hooks_that_cannot_be_read_is_fatal_to_who_reads_it(_node: &Node) {
    install();
    let file = format!("{HOOKS_D}/other.json");
    write(&file, "{");
    let said = doctor();
    said.expect_health();
    said.expect("warn", "hooks-d", "other.json: no JSON");
    podman();
    doctor().expect_failures(&[("hooks-d", "other.json: no JSON")]);
    write(
        &file,
        r#"{"version":"1.0.0","hook":{"path":"/bin/true"},"when":{"always":true},"stages":["prestop"]}"#,
    );
    doctor().expect_failures(&[("hooks-d", "unknown stage \"prestop\"")]);
    write(
        &file,
        r#"{"version":"1.0.0","hook":{"path":"/bin/true"},"when":{"always":true},"stages":["poststop"]}"#,
    );
    doctor().expect_health();
}

on_a_node!(requires(root):
    an_engine_that_does_not_call_the_hook_is_a_warning,
    a_stage_that_is_missing_is_told,
    an_entry_without_a_guard_is_a_warning,
    an_entry_that_is_killed_before_the_deadline_of_the_hook_is_a_failure,
    files_that_name_a_hook_that_has_gone,
    stale_configuration_of_every_engine_is_found,
    a_file_of_hooks_that_cannot_be_read_is_fatal_to_who_reads_it,
    a_mark_of_the_byte_order_before_docker_s_settings_is_none_of_them,
);
