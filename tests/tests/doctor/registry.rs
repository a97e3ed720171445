//! The registry's configuration, directories, lock and records.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use porthole_tests::process::wait_until;
use porthole_tests::{Node, on_a_node};

use crate::setting::{doctor, doctor_with, install, pod, reconcile, write};

fn each_mistake_in_the_configuration_is_a_line(_node: &Node) {
    install();
    write("/etc/porthole/config.toml", "speed = 9\ndeadline_ms = 1\n");
    doctor().expect_failures(&[("configuration", "/etc/porthole/config.toml: "), ("configuration", "")]);
    write("/etc/porthole/config.toml", "= =");
    doctor().expect_failures(&[("configuration", "/etc/porthole/config.toml: ")]);
    fs::remove_file("/etc/porthole/config.toml").unwrap();
    doctor().expect_health();
    let said = doctor_with(&["--config", "/no/such.toml"], &[]);
    said.expect_failures(&[("configuration", "/no/such.toml: ")]);
}

fn a_registry_that_others_may_write(node: &Node) {
    install();
    let pod = pod(node, "web-0");
    for path in [node.run_dir().to_owned(), node.run_dir().join("containers")] {
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        doctor().expect_failures(&[(
            "registry-directory",
            &format!("{} may be written by everybody", path.display()),
        )]);
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }
    doctor().expect_health();
    pod.delete();
}

fn a_registry_on_a_disk_is_a_warning(node: &Node) {
    install();
    fs::create_dir("/usr/porthole").unwrap();
    write("/etc/porthole/config.toml", "run_dir = '/usr/porthole'\n");
    let said = doctor();
    said.expect_health();
    said.expect("warn", "registry-directory", "no tmpfs");
    assert!(!node.run_dir().exists());
}

fn a_lock_that_is_held_for_long_names_its_holder(node: &Node) {
    install();
    let pod = pod(node, "web-0");
    let lock = node.run_dir().join("lock");
    let mut holder = Command::new("flock");
    holder.arg(&lock).args(["sleep", "100"]).stdin(Stdio::null());
    let mut holder = holder.spawn().unwrap();
    let held = format!(" {} ", holder.id());
    wait_until("the lock to be held", || fs::read_to_string("/proc/locks").unwrap().contains(&held));
    doctor().expect_failures(&[("registry-lock", &format!("held by process {}", holder.id()))]);
    // Its child has the lock as well.
    let children = format!("/proc/{0}/task/{0}/children", holder.id());
    let child = fs::read_to_string(children).unwrap().trim().parse().unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(child).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    holder.wait().unwrap();
    doctor().expect_health();
    pod.delete();
}

fn a_record_that_cannot_be_read(node: &Node) {
    install();
    let pod = pod(node, "web-0");
    let record = node.run_dir().join("containers/abcdef.json");
    fs::write(&record, "{").unwrap();
    doctor().expect_failures(&[("records", "record of abcdef")]);
    reconcile();
    let said = doctor();
    said.expect_health();
    said.expect("warn", "quarantine", "abcdef.json");
    fs::remove_dir_all(node.run_dir().join("quarantine")).unwrap();
    pod.delete();
}

fn strays_are_told_and_everything_else_is_looked_at(node: &Node) {
    install();
    let (pod, ended) = (pod(node, "web-0"), pod(node, "web-1"));
    doctor().expect_health();
    ended.kill();
    for directory in ["going", "netns"] {
        fs::write(node.run_dir().join(format!("{directory}/90")), "").unwrap();
        std::os::unix::fs::symlink("91", node.run_dir().join(format!("{directory}/91"))).unwrap();
    }
    for directory in ["idle", "containers/x.json"] {
        fs::create_dir_all(node.run_dir().join(format!("{directory}/92"))).unwrap();
    }
    let entry = node.run_dir().join("netns/94");
    fs::create_dir(&entry).unwrap();
    fs::write(entry.join("name"), "no link").unwrap();
    doctor().expect_failures(&[
        ("registry-entries", "netns/90 is a file where a directory has to be"),
        ("records", "record of x"),
        ("dead-records", "web-1"),
        ("pins", "netns/94"),
    ]);
    reconcile();
    doctor().expect_health();
    fs::write(node.run_dir().join("netns/note"), "").unwrap();
    let said = doctor();
    said.expect_health();
    said.expect("warn", "registry-entries", "netns/note");
    fs::remove_file(node.run_dir().join("netns/note")).unwrap();
    fs::remove_dir_all(node.run_dir().join("quarantine")).unwrap();
    pod.delete();
    ended.delete();
}

on_a_node!(requires(root, ip, runc):
    strays_are_told_and_everything_else_is_looked_at,
    each_mistake_in_the_configuration_is_a_line,
    a_registry_that_others_may_write,
    a_registry_on_a_disk_is_a_warning,
    a_lock_that_is_held_for_long_names_its_holder,
    a_record_that_cannot_be_read,
);
