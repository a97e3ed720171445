//! CRI-O by its daemon: a process with its name, command line, environment and mounts.

use std::fs;
use std::path::Path;

use porthole_tests::fake::{Fake, Running};
use porthole_tests::pod::EnginePin;
use porthole_tests::{Node, on_a_node};

use crate::setting::{Said, doctor_with, install, porthole, reconcile, write};

const CRIO: &str = "/usr/bin/crio";
const VERSION: &str = "crio version 1.36.0";
const ENGINES: &[&str] = &["engine-hook", "engine-loaded", "engine-mounts", "hooks-d"];
const STAGES: [&str; 2] = ["porthole-createruntime.json", "porthole-poststop.json"];

type Words<'a> = &'a [&'a str];
type Variables<'a> = &'a [(&'a str, &'a str)];
/// A path and its text.
type File<'a> = Option<(&'a str, &'a str)>;

fn start(words: &[&str], environment: &[(&str, &str)]) -> Running {
    Fake { words, environment, version: VERSION, ..Fake::default() }.start(CRIO)
}

fn engines() -> Said {
    doctor_with(&[], ENGINES)
}

/// Installs, where nothing restarts anything.
fn install_hooks() -> String {
    let outcome = porthole(&["install", "--engine", "cri-o", "--no-policy"]);
    outcome.expect_success().to_owned()
}

/// File times are those of the kernel's last tick, and starts of processes count ticks of ten milliseconds.
fn later() {
    std::thread::sleep(std::time::Duration::from_millis(100));
}

fn are_in(dir: &str) -> bool {
    STAGES.iter().all(|file| Path::new(dir).join(file).is_file())
}

/// Options of the daemon beat its files, and install writes where the daemon reads.
fn hooks_go_where_the_daemon_reads_them(_node: &Node) {
    install();
    write("/etc/crio/crio.conf", "[crio.runtime]\nhooks_dir = ['/etc/default-main']\n");
    write("/etc/crio/crio.conf.d/10-x.conf", "[crio.runtime]\nhooks_dir = ['/etc/default-drop-in']\n");
    write("/mnt/srv/crio.conf", "[crio.runtime]\nhooks_dir = ['/etc/told-main']\n");
    write("/mnt/srv/crio.d/sub/20-x", "[Crio.Runtime]\nHooks_Dir = ['/etc/told-drop-in']\n");
    fs::create_dir_all("/mnt/srv/empty").unwrap();
    let cases: [(Words<'_>, Variables<'_>, &str); 9] = [
        (&[], &[], "/etc/default-drop-in"),
        (&["--config", "/mnt/srv/crio.conf", "--config-dir=/mnt/srv/empty"], &[], "/etc/told-main"),
        (&["-c", "/mnt/srv/crio.conf", "-d", "/mnt/srv/crio.d"], &[], "/etc/told-drop-in"),
        (&["--config", "/mnt/srv/crio.conf"], &[], "/etc/default-drop-in"),
        (
            &[],
            &[("CONTAINER_CONFIG", "/mnt/srv/crio.conf"), ("CONTAINER_CONFIG_DIR", "/mnt/srv/empty")],
            "/etc/told-main",
        ),
        (
            &["--config-dir", "/mnt/srv/empty"],
            &[("CONTAINER_CONFIG_DIR", "/mnt/srv/crio.d")],
            "/etc/default-main",
        ),
        (&["--hooks-dir", "/etc/a", "--hooks-dir=/etc/b"], &[], "/etc/b"),
        (&["--hooks-dir=/etc/a, /etc/c"], &[("CONTAINER_HOOKS_DIR", "/etc/d")], "/etc/c"),
        (&[], &[("CONTAINER_HOOKS_DIR", "/etc/a,/etc/d")], "/etc/d"),
    ];
    for (words, environment, expected) in cases {
        let crio = start(words, environment);
        install_hooks();
        assert!(are_in(expected), "{words:?} {environment:?}: not in {expected}");
        engines().expect("ok", "engine-hook", &format!("files in {expected}"));
        porthole(&["uninstall"]).expect_success();
        crio.end();
    }
}

fn directories_that_the_daemon_was_told_and_that_cannot_be_written_are_refused(node: &Node) {
    install();
    node.make_read_only(Path::new("/mnt/hooks"));
    let crio = start(&["--hooks-dir", "/mnt/hooks"], &[]);
    let outcome = porthole(&["install", "--engine", "cri-o", "--no-policy"]);
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("/mnt/hooks") && outcome.stderr.contains("--hooks-dir"), "{outcome:?}");
    crio.end();
    node.unmount_all(Path::new("/mnt/hooks"));
}

fn a_restart_that_is_due_is_remembered_until_it_has_happened(node: &Node) {
    install();
    write("/etc/crio/crio.conf.d/10-crio.conf", "[crio.runtime]\n");
    later();
    let crio = start(&[], &[]);
    later();
    node.make_read_only(Path::new("/usr/share"));
    let said = install_hooks();
    assert!(said.contains("/etc/crio/crio.conf.d/10-porthole.conf"), "{said}");

    engines().expect("warn", "engine-loaded", "/etc/crio/crio.conf.d");
    let planned = || {
        let outcome = porthole(&["-o", "json", "install", "--engine", "cri-o", "--no-policy", "--dry-run"]);
        outcome.expect_success().contains("\"restart\"")
    };
    assert!(planned(), "a second installation knows that CRI-O has not been restarted");
    crio.end();
    let crio = start(&[], &[]);
    let said = doctor_with(&[], &["engine-loaded"]);
    assert!(said.check("engine-loaded")["evidence"].as_str().unwrap().contains("connect"), "{said:?}");
    assert!(!planned(), "it has been restarted");
    later();
    porthole(&["uninstall"]).expect_success();
    let said = engines();
    said.expect("warn", "engine-hook", "does not call the hook");
    said.expect("warn", "engine-loaded", "/etc/crio/crio.conf.d");
    crio.end();
    let crio = start(&[], &[]);
    let said = engines();
    assert!(!said.with("warn").iter().any(|(name, _)| name == "engine-loaded"), "{said:?}");
    crio.end();
    node.unmount_all(Path::new("/usr/share"));
}

fn a_directory_of_hooks_that_is_made_after_its_start_is_not_watched(_node: &Node) {
    install();
    write("/etc/crio/crio.conf", "[crio.runtime]\nhooks_dir = ['/etc/site/hooks.d']\n");
    later();
    let crio = start(&[], &[]);
    later();
    install_hooks();
    engines().expect("warn", "engine-loaded", "/etc/site/hooks.d");
    crio.end();
    let crio = start(&[], &[]);
    let said = engines();
    assert!(!said.with("warn").iter().any(|(name, _)| name == "engine-loaded"), "{said:?}");
    // Files that come and go in it are seen.
    later();
    write("/etc/site/hooks.d/other.json", "{\"version\":\"0.1.0\"}");
    let said = engines();
    assert!(!said.with("warn").iter().any(|(name, _)| name == "engine-loaded"), "{said:?}");
    crio.end();
}

fn mounts_of_its_own_are_told_and_what_it_does_not_see_is_a_failure(_node: &Node) {
    install();
    install_hooks_without_a_daemon();
    let through = &["unshare", "--mount", "--propagation", "slave"];
    let crio = Fake { through, version: VERSION, ..Fake::default() }.start(CRIO);
    engines().expect("ok", "engine-mounts", "one of its own");
    let enter = format!("--mount=/proc/{}/ns/mnt", crio.pid());
    let mut command = std::process::Command::new("nsenter");
    command.args([&enter, "mount", "-t", "tmpfs", "t", "/usr/libexec/porthole"]);
    porthole_tests::tools::run(command).expect_success();
    engines().expect("fail", "engine-mounts", "/usr/libexec/porthole/porthole-hook");
    crio.end();
    engines().expect("skip", "engine-mounts", "no engine");
}

fn install_hooks_without_a_daemon() {
    porthole(&["install", "--engine", "cri-o=1.36", "--no-policy"]).expect_success();
}

/// A containerd of k0s, on a machine that has its distribution's containerd too.
fn the_engine_that_runs_is_named_and_not_one_that_does_not(_node: &Node) {
    install();
    let distribution = Fake { version: "containerd 1.6.20", ..Fake::default() };
    distribution.start("/usr/bin/containerd").end();
    let words = &[
        "--root=/var/lib/k0s/containerd",
        "--state=/run/k0s/containerd",
        "--address=/run/k0s/containerd.sock",
        "--config=/etc/k0s/containerd.toml",
    ];
    write("/etc/k0s/containerd.toml", "version = 2\n");
    let k0s = Fake { words, version: "containerd 1.7.24", ..Fake::default() };
    let k0s = k0s.start("/var/lib/k0s/bin/containerd");
    let said = engines();
    let named = |verdict: &str| {
        let checks = said.with(verdict).into_iter();
        let mut named: Vec<_> =
            checks.filter(|(name, _)| name == "engine-hook").map(|(_, subject)| subject).collect();
        named.sort();
        named
    };
    assert_eq!(named("skip"), ["containerd 1.6"], "{:#}", said.document);
    assert_eq!(named("warn"), ["containerd 1.7 (/etc/k0s/containerd.toml)"], "{:#}", said.document);
    k0s.end();
    let said = engines();
    said.expect("warn", "engine-hook", "containerd 1.6");
    // A containerd of k3s: a multi-call program.
    let words =
        &["-c", "/var/lib/rancher/k3s/agent/etc/containerd/config.toml", "-a", "/run/k3s/containerd.sock"];
    let k3s = Fake { words, version: "containerd 2.1.5", ..Fake::default() };
    write("/var/lib/rancher/k3s/agent/etc/containerd/config.toml", "version = 3\n");
    let k3s = k3s.start("/var/lib/rancher/k3s/data/current/bin/containerd");
    let said = engines();
    said.expect(
        "warn",
        "engine-hook",
        "containerd 2.1 (/var/lib/rancher/k3s/agent/etc/containerd/config.toml)",
    );
    k3s.end();
}

/// The sandboxes of CRI-O need no process: they are found where it keeps them.
fn a_sandbox_without_a_process_is_found_where_cri_o_keeps_it(node: &Node) {
    install();
    let run = "/mnt/crio-run";
    let in_crio_conf = format!("[crio]\nroot = '/mnt/crio-lib'\nrunroot = '{run}'\n");
    let in_storage_conf = format!("[storage]\ndriver = 'overlay'\nrunroot = '{run}'\n");
    let cases: [(Words<'_>, Variables<'_>, File<'_>); 6] = [
        (&["--runroot", run], &[], None),
        (&["-r", run], &[], None),
        (&[], &[("CONTAINER_RUNROOT", run)], None),
        (&[], &[], Some(("/etc/crio/crio.conf.d/20-x.conf", &in_crio_conf))),
        (&[], &[], Some(("/etc/containers/storage.conf", &in_storage_conf))),
        (
            &[],
            &[("CONTAINERS_STORAGE_CONF", "/mnt/srv/storage.conf")],
            Some(("/mnt/srv/storage.conf", &in_storage_conf)),
        ),
    ];
    for (words, environment, file) in cases {
        if let Some((path, text)) = file {
            write(path, text);
        }
        let crio = start(words, environment);
        let engine = EnginePin::new_netns("/run/engine-netns/6b1d");
        let id = node.new_id();
        let config = serde_json::json!({
            "annotations": {
                "io.container.manager": "cri-o",
                "io.kubernetes.cri-o.ContainerType": "sandbox",
                "io.kubernetes.cri-o.SandboxID": id,
                "io.kubernetes.pod.name": "web-0",
                "io.kubernetes.pod.namespace": "shop",
            },
            "linux": { "namespaces": [{ "type": "network", "path": engine.path() }] },
        });
        write(&format!("{run}/overlay-containers/{id}/userdata/config.json"), &config.to_string());
        doctor_with(&[], &["unregistered-pods"]).expect("warn", "unregistered-pods", "sandbox of web-0");
        reconcile();
        assert_eq!(node.pin("web-0"), Some(engine.netns()), "{words:?} {environment:?} {file:?}");
        doctor_with(&[], &["unregistered-pods"]).expect("ok", "unregistered-pods", "pinned");
        engine.remove();
        reconcile();
        fs::remove_dir_all(run).unwrap();
        crio.end();
        if let Some((path, _)) = file {
            fs::remove_file(path).unwrap();
        }
    }
}

on_a_node!(requires(root, nsenter, unshare):
    a_sandbox_without_a_process_is_found_where_cri_o_keeps_it,
    hooks_go_where_the_daemon_reads_them,
    directories_that_the_daemon_was_told_and_that_cannot_be_written_are_refused,
    a_restart_that_is_due_is_remembered_until_it_has_happened,
    a_directory_of_hooks_that_is_made_after_its_start_is_not_watched,
    mounts_of_its_own_are_told_and_what_it_does_not_see_is_a_failure,
    the_engine_that_runs_is_named_and_not_one_that_does_not,
);
