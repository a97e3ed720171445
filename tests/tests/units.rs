//! The service manager's units: correct as systemd sees them, and `porthole reconcile` can do its work within what the
//! service is left with.

#![allow(clippy::unwrap_used, reason = "what fails here is the test")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use porthole_tests::tools::{Outcome, binary, run};
use porthole_tests::{Bundle, Container, Node, Runtime, on_a_node};
use serde_json::Value;

const UNITS: [&str; 3] = ["service", "timer", "path"];

fn source(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/systemd").join(format!("porthole-reconcile.{kind}"))
}

/// The words of a setting of the service, of all its lines.
fn setting(key: &str) -> Vec<String> {
    let text = fs::read_to_string(source("service")).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

fn analyze(args: &[&str]) -> Outcome {
    let mut command = Command::new("systemd-analyze");
    command.args(args).stdin(Stdio::null()).env("SYSTEMD_COLORS", "0");
    run(command)
}

/// The units in a directory, with porthole where it is.
fn installed(node: &Node) -> Vec<String> {
    let dir = node.scratch().join("units");
    fs::create_dir_all(&dir).unwrap();
    UNITS
        .iter()
        .map(|kind| {
            let text = fs::read_to_string(source(kind)).unwrap();
            let path = dir.join(format!("porthole-reconcile.{kind}"));
            fs::write(&path, text.replace("/usr/bin/porthole", &binary("porthole").display().to_string()))
                .unwrap();
            path.display().to_string()
        })
        .collect()
}

fn systemd_has_nothing_to_say_about_the_units(node: &Node) {
    let units = installed(node);
    let units: Vec<_> = units.iter().map(String::as_str).collect();
    let outcome = analyze(&[&["verify"], &units[..]].concat());
    outcome.expect_success();
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""));
    // It does say what is wrong.
    let text = fs::read_to_string(units[0]).unwrap();
    fs::write(units[0], text.replace("NoNewPrivileges=yes", "NoNewPrivilege=yes")).unwrap();
    let outcome = analyze(&["verify", units[0]]);
    assert!(outcome.stderr.contains("NoNewPrivilege"), "{outcome:?}");
}

fn the_service_is_exposed_no_more_than_it_has_to_be(node: &Node) {
    let units = installed(node);
    let outcome = analyze(&["security", "--no-pager", "--offline=true", "--threshold=45", &units[0]]);
    let verdict = outcome.expect_success().lines().last().unwrap_or_default().to_owned();
    assert!(verdict.contains("Overall exposure level"), "{verdict}");
}

/// `porthole reconcile` as the service runs it, with these capabilities.
fn reconcile(capabilities: &[String]) -> Outcome {
    let kept: String = capabilities
        .iter()
        .map(|name| format!(",+{}", name.strip_prefix("CAP_").unwrap().to_lowercase()))
        .collect();
    let mut command = Command::new("sh");
    command.args(["-c", "umask 0077; exec \"$@\"", "sh"]);
    command.args(["setpriv", "--no-new-privs", "--inh-caps=-all", &format!("--bounding-set=-all{kept}")]);
    command.arg(binary("porthole")).args(["-o", "json", "reconcile", "--engine-state=runc=/mnt/state/Runc"]);
    command.stdin(Stdio::null()).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    run(command)
}

/// Actions and subjects of what was done, which all went well.
fn done(outcome: &Outcome) -> BTreeSet<(String, String)> {
    let list: Value = serde_json::from_str(outcome.expect_success()).unwrap();
    let word = |done: &Value, key: &str| done[key].as_str().unwrap().to_owned();
    let list = list.as_array().unwrap().iter();
    list.map(|done| (word(done, "action"), word(done, "subject"))).collect()
}

/// Two pods that no hook has seen: one of root's, one in a user namespace whose root owns its bundle.
fn pods(node: &Node) -> [Container; 2] {
    let unhooked = |name: &str| Bundle::of_pod(node, "shop", name, "app", "/none").own_netns().hooked(&[]);
    let plain = Container::run(Runtime::Runc, &unhooked("web-0"));
    let mapped = Container::run(Runtime::Runc, &unhooked("web-1").user_namespace());
    let bundle = &mapped.bundle().dir;
    fs::set_permissions(bundle, fs::Permissions::from_mode(0o700)).unwrap();
    chown(bundle, Some(100_000), Some(100_000)).unwrap();
    [plain, mapped]
}

fn remove(container: Container) {
    chown(&container.bundle().dir, Some(0), Some(0)).unwrap();
    container.delete();
}

fn the_services_capabilities_are_enough(node: &Node) {
    let capabilities = setting("CapabilityBoundingSet");
    assert_eq!(setting("NoNewPrivileges"), ["yes"]);
    let pods = pods(node);
    let ids = pods.each_ref().map(|pod| pod.id().to_owned());
    let expected: BTreeSet<_> = ids.iter().map(|id| ("adopt".to_owned(), id.clone())).collect();
    assert_eq!(done(&reconcile(&capabilities)), expected);
    for (name, pod) in ["web-0", "web-1"].iter().zip(&pods) {
        assert_eq!(node.pin(name), Some(pod.netns()), "{name}");
    }
    for path in ["/run/netns", "/run/porthole", "/run/porthole/containers"] {
        let mode = fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o755, "{path}: as it is without the service's umask");
    }
    assert_eq!(done(&reconcile(&capabilities)), BTreeSet::new(), "the second time there is nothing to do");
    pods.into_iter().for_each(remove);
    let expected: BTreeSet<_> = ids.iter().map(|id| ("release".to_owned(), id.clone())).collect();
    assert_eq!(done(&reconcile(&capabilities)), expected);
    assert_eq!(node.pins(), [""; 0]);
}

fn the_service_has_no_capability_that_it_could_do_without(node: &Node) {
    let all = setting("CapabilityBoundingSet");
    let pods = pods(node);
    for missing in &all {
        let rest: Vec<_> = all.iter().filter(|name| *name != missing).cloned().collect();
        let outcome = reconcile(&rest);
        let both = node.pin("web-0").is_some() && node.pin("web-1").is_some();
        assert!(!both, "without {missing} both pods have their pin: {outcome:?}");
        fs::remove_dir_all("/run/porthole").unwrap();
        for name in node.pins() {
            porthole_tests::tools::ip(&["netns", "del", &name]).expect_success();
        }
    }
    assert_eq!(done(&reconcile(&all)).len(), 2, "with all of them it does");
    pods.into_iter().for_each(remove);
    reconcile(&all).expect_success();
}

fn every_call_that_reconcile_makes_passes_the_services_filter(node: &Node) {
    let groups = analyze(&["syscall-filter", "--no-pager"]);
    let mut members: Vec<(String, Vec<String>)> = Vec::new();
    for line in groups.expect_success().lines().filter(|line| !line.trim().starts_with('#')) {
        match (line.strip_prefix("    "), members.last_mut()) {
            (Some(name), Some((_, names))) => names.push(name.to_owned()),
            _ => members.push((line.to_owned(), Vec::new())),
        }
    }
    let mut allowed = BTreeSet::from(["execve".to_owned()]);
    let text = fs::read_to_string(source("service")).unwrap();
    for list in text.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        let (forbid, words) = list.strip_prefix('~').map_or((false, list), |rest| (true, rest));
        for name in words.split(' ').flat_map(|word| expand(&members, word)) {
            if forbid {
                allowed.remove(&name)
            } else {
                allowed.insert(name)
            };
        }
    }
    assert!(allowed.contains("umount2") && !allowed.contains("setuid"), "{allowed:?}");
    let pods = pods(node);
    let mut called = BTreeSet::new();
    let mut trace = |expected: &str, error: &str| {
        let mut command = Command::new("strace");
        let inject = format!("inject=openat2:error={error}");
        command.args(["-f", "-qq", "-e", &inject, "-o", "/mnt/trace", "--"]).arg(binary("porthole"));
        command.args(["reconcile", "--engine-state=runc=/mnt/state/Runc"]).stdin(Stdio::null());
        let outcome = run(command);
        assert_eq!(outcome.expect_success().matches(expected).count(), 2, "{outcome:?}");
        for line in fs::read_to_string("/mnt/trace").unwrap().lines() {
            let call = line.split_once(' ').map_or(line, |(_, call)| call.trim_start());
            called.extend(call.split_once('(').map(|(name, _)| name.to_owned()));
        }
    };
    // RestrictSUIDSGID= refuses openat2, whose flags no filter can see: reconcile does without.
    trace("adopt", "ENOSYS");
    pods.into_iter().for_each(remove);
    trace("release", "EPERM");
    let refused: Vec<_> = called.difference(&allowed).collect();
    assert!(called.len() > 20 && refused.is_empty(), "{refused:?}");
    // RestrictNamespaces= forbids this one, whatever the list above says.
    assert!(!called.contains("setns"), "{called:?}");
}

fn expand(members: &[(String, Vec<String>)], word: &str) -> Vec<String> {
    match members.iter().find(|(group, _)| group == word) {
        Some((_, names)) => names.iter().flat_map(|name| expand(members, name)).collect(),
        None => vec![word.to_owned()],
    }
}

on_a_node!(requires(root, ip, runc, setpriv, strace, systemd):
    systemd_has_nothing_to_say_about_the_units,
    the_service_is_exposed_no_more_than_it_has_to_be,
    the_services_capabilities_are_enough,
    the_service_has_no_capability_that_it_could_do_without,
    every_call_that_reconcile_makes_passes_the_services_filter,
);
