//! What only a kernel with SELinux or AppArmor can show, on several kernels, and what only a machine can whose first process
//! is systemd, each in a virtual machine of its own: the scripts beside this file run inside, and say `PASS` or `FAIL` of
//! every sentence in them.

#![allow(clippy::unwrap_used, reason = "what fails here is the test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use porthole_tests::requires;
use porthole_tests::tools::binary;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The sentences of a script: each has to be said, so that one that ends early does not pass.
fn sentences(script: &str) -> BTreeSet<String> {
    let line = |line: &str| Some(line.trim().strip_prefix("sentence '")?.split_once('\'')?.0.to_owned());
    script.lines().filter_map(line).collect()
}

/// Without what only a debugger reads: the machine's memory holds everything there is in it.
fn stripped(name: &str, directory: &Path) -> String {
    let copy = directory.join(name);
    let status = Command::new("strip").arg("-o").arg(&copy).arg(binary(name)).status().unwrap();
    assert!(status.success(), "strip {name}");
    copy.display().to_string()
}

/// Boots `kernel` once, runs `script` in it, and compares what it says with what it has to say.
#[track_caller]
fn holds(kernel: &str, security: &str, script: &str) {
    let here = root().join("tests/tests/vm");
    let config = root().join("config");
    let text = std::fs::read_to_string(here.join(script)).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let mut run = Command::new(root().join("tests/lab/vm/run"));
    run.args(["--kernel", kernel, "--security", security]);
    if script == "systemd.sh" {
        run.arg("--systemd");
    }
    let add = |run: &mut Command, from: &str, to: &str| {
        run.arg("--add").arg(format!("{from}:{to}"));
    };
    add(&mut run, &stripped("porthole", scratch.path()), "/usr/bin/porthole");
    add(&mut run, &stripped("porthole-hook", scratch.path()), "/usr/libexec/porthole/porthole-hook");
    for file in ["common.sh", script] {
        add(&mut run, &here.join(file).display().to_string(), &format!("/checks/{file}"));
    }
    match security {
        "selinux" => {
            run.arg("--policy").arg(config.join("selinux/porthole.cil"));
        }
        // What `porthole install` looks for; it brings the profile with it.
        _ => {
            let runtime = stripped("porthole-runtime", scratch.path());
            add(&mut run, &runtime, "/usr/libexec/porthole/porthole-runtime");
        }
    }
    run.args(["--", "sh", &format!("/checks/{script}")]).stdin(Stdio::null());
    let output = run.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let passed: BTreeSet<_> =
        said.lines().filter_map(|l| l.strip_prefix("PASS ")).map(str::to_owned).collect();
    let wanted = sentences(&text);
    assert!(wanted.len() > 10, "{script} has no sentences");
    let missing: Vec<_> = wanted.difference(&passed).collect();
    let failed: Vec<_> = said.lines().filter(|line| !line.starts_with("PASS ")).collect();
    assert!(
        missing.is_empty() && failed.is_empty(),
        "kernel {kernel}: not said to pass: {missing:#?}\n{}\n{errors}",
        failed.join("\n")
    );
}

#[test]
fn selinux_confines_commands_and_hook_on_linux_6_1() {
    requires!(vm_6_1);
    holds("6.1", "selinux", "selinux.sh");
}

#[test]
fn selinux_confines_commands_and_hook_on_linux_6_12() {
    requires!(vm_6_12);
    holds("6.12", "selinux", "selinux.sh");
}

#[test]
fn selinux_confines_commands_and_hook_on_linux_7() {
    requires!(vm_7);
    holds("7", "selinux", "selinux.sh");
}

#[test]
fn apparmor_confines_commands_on_linux_6_1() {
    requires!(vm_6_1);
    holds("6.1", "apparmor", "apparmor.sh");
}

#[test]
fn apparmor_confines_commands_on_linux_6_12() {
    requires!(vm_6_12);
    holds("6.12", "apparmor", "apparmor.sh");
}

#[test]
fn systemd_runs_the_units_and_leaves_commands_their_bounds() {
    requires!(vm_6_12, systemd);
    holds("6.12", "apparmor", "systemd.sh");
}
