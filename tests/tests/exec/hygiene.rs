//! What must not get in with the command, and what must not be reached from inside.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use porthole_tests::process::wait_until;
use porthole_tests::tools::{self, binary};
use porthole_tests::{Container, Node, Runtime, on_a_node};

use crate::setting::{Running, bundle, command, exec_under, web_0, work};

fn no_descriptor_of_the_caller_is_inherited(node: &Node) {
    let container = web_0(node);
    let open = ["bash", "-c", "exec 3</etc/passwd 7</ 200>/mnt/log; exec \"$@\"", "bash"];
    for options in [&["-n"][..], &["-F"], &["-p"], &["--profile", "sysadmin"]] {
        let mut words = options.to_vec();
        words.extend(["web-0", "--", "sh", "-c", "echo /proc/$$/fd/*"]);
        let fds = exec_under(&open, &words).expect_success().to_owned();
        let mut numbers: Vec<_> = fds.split_whitespace().filter_map(|fd| fd.rsplit('/').next()).collect();
        // The shell's own, for the list.
        numbers.retain(|fd| !["10", "255"].contains(fd));
        assert!(numbers.iter().all(|fd| ["0", "1", "2", "3"].contains(fd)), "{options:?}: {fds}");
        let mut words = options.to_vec();
        words.extend(["web-0", "--", "sh", "-c", "readlink /proc/$$/fd/3 /proc/$$/fd/7 /proc/$$/fd/200"]);
        assert_eq!(exec_under(&open, &words).stdout, "", "{options:?}");
    }
    container.delete();
}

fn closed_standard_descriptors_are_not_taken_by_others(node: &Node) {
    let container = web_0(node);
    let closed = ["sh", "-c", "exec \"$@\" <&- 2>&-", "sh"];
    let links = ["web-0", "--", "readlink", "/proc/self/fd/0", "/proc/self/fd/2"];
    let seen = exec_under(&closed, &links);
    assert_eq!(seen.expect_success(), "/dev/null\n/dev/null\n");
    container.delete();
}

fn secrets_in_the_environment_do_not_pass(node: &Node) {
    let container = web_0(node);
    for options in [&["-n"][..], &["-p"], &["--profile", "sysadmin"]] {
        let mut words = options.to_vec();
        words.extend(["-e", "ADDED=1", "-e", "KEPT", "web-0", "--", "env"]);
        let mut command = command(&[], &words, Path::new("/"));
        command.env("AWS_SECRET_ACCESS_KEY", "hunter2").env("LD_PRELOAD", "").env("KEPT", "yes");
        let seen = tools::run(command).expect_success().to_owned();
        let allowed = ["ADDED", "KEPT", "HOME", "LANG", "PATH", "PORTHOLE_TARGET", "TERM", "USER", "PWD"];
        for line in seen.lines() {
            let name = line.split('=').next().unwrap();
            assert!(allowed.contains(&name) || name.starts_with("LC_"), "{options:?}: {line}");
        }
        assert!(seen.contains("ADDED=1\n") && seen.contains("KEPT=yes\n"), "{seen}");
    }
    container.delete();
}

/// In the container: waits for a process that is not busybox, holds its image, and writes to it once it has ended.
const WRITER: &str = r#"
while :; do
  for p in /proc/[0-9]*; do
    case $(readlink $p/exe) in */busybox|'') continue;; esac
    exec 3<$p/exe || continue
    readlink $p/exe > /out/found
    while [ -e $p ]; do sleep 0.01; done
    if (echo pwned >> /proc/self/fd/3) 2>/out/why; then echo yes > /out/wrote; else echo no > /out/wrote; fi
    sleep 100000
  done
  sleep 0.01
done
"#;

fn porthole_in_a_container_cannot_be_read_or_written(node: &Node) {
    let out = work(node);
    // Whoever runs this in the container, runs what already runs: porthole, until it has become something else.
    let link = node.rootfs().join("bin/itself");
    std::os::unix::fs::symlink("/proc/self/exe", &link).unwrap();
    // With what lets it look into a command that has no capability.
    let hostile = bundle(node).with_output(&out).args(&["/bin/sh", "-c", WRITER]).with(|config| {
        let set = ["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"];
        config["process"]["capabilities"] =
            serde_json::json!({ "bounding": set, "effective": set, "permitted": set });
    });
    let container = Container::run(Runtime::Runc, &hostile);
    // A copy that nobody else executes, which would keep it from being written to as well.
    let porthole = node.scratch().join("porthole");
    fs::copy(binary("porthole"), &porthole).unwrap();
    let mut words = vec!["exec", "-m", "-p", "--uid", "0", "--profile", "restricted", "web-0", "--"];
    words.extend(["/bin/itself", "list", "--watch", "1"]);
    let mut command = Command::new(&porthole);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null());
    let watch = Running::spawn(command, "itself");
    wait_until("the container to hold the image", || out.join("found").exists());
    drop(watch);
    wait_until("the container to try", || out.join("wrote").exists());
    let why = fs::read_to_string(out.join("why")).unwrap();
    assert_eq!(fs::read_to_string(out.join("wrote")).unwrap(), "no\n", "{why}");
    assert!(why.contains("Read-only file system"), "{why}");
    assert!(fs::read(&porthole).unwrap() == fs::read(binary("porthole")).unwrap(), "it is what it was");
    container.delete();
}

fn a_value_of_e_is_not_on_portholes_own_command_line(node: &Node) {
    let container = web_0(node);
    for options in
        [&["-ePASSWORD=hunter2"][..], &["-e", "PASSWORD=hunter2"], &["--env=PASSWORD=hunter2", "-p"]]
    {
        let running = Running::start(&[options, &["web-0", "--", "sleep", "1000"]].concat(), "sleep");
        let line = fs::read_to_string(format!("/proc/{}/cmdline", running.porthole())).unwrap();
        assert!(!line.contains("hunter2") && line.ends_with("\0web-0\0--\0sleep\x001000\0"), "{line:?}");
        let pid = running.command().unwrap();
        // The kernel gives a program its name before its variables.
        wait_until("the command to have it", || {
            fs::read_to_string(format!("/proc/{pid}/environ"))
                .is_ok_and(|environ| environ.contains("PASSWORD=hunter2\0"))
        });
    }
    container.delete();
}

fn what_has_entered_cannot_be_looked_into_before_it_is_the_command(node: &Node) {
    let container = web_0(node);
    // Porthole itself, which waits outside, is root's alone.
    let running = Running::start(&["-p", "web-0", "--", "sleep", "1000"], "sleep");
    let owner = fs::metadata(format!("/proc/{}/environ", running.porthole())).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&owner), 0);
    let status = exec_under(&["setpriv", "--reuid", "65534", "--clear-groups", "--"], &["web-0", "true"]);
    assert_eq!(status.status.code(), Some(125), "without rights there is no way in: {status:?}");
    drop(running);
    container.delete();
}

on_a_node!(requires(root, ip, runc):
    no_descriptor_of_the_caller_is_inherited,
    closed_standard_descriptors_are_not_taken_by_others,
    secrets_in_the_environment_do_not_pass,
    porthole_in_a_container_cannot_be_read_or_written,
    a_value_of_e_is_not_on_portholes_own_command_line,
    what_has_entered_cannot_be_looked_into_before_it_is_the_command,
);
