//! What can be wrong with the programs themselves.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use porthole_tests::{Node, on_a_node};
use rustix::mount::{MountFlags, mount_bind, mount_remount};

use crate::setting::{HOOK, WRAPPER, doctor, install, put, write};

fn mode(path: &str, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Copies another program into the place of the hook.
fn put_another(program: &str) {
    fs::remove_file(HOOK).unwrap();
    fs::copy(Path::new(program).canonicalize().unwrap(), HOOK).unwrap();
    mode(HOOK, 0o755);
}

fn each_thing_that_can_be_wrong_with_the_hook(_node: &Node) {
    install();
    doctor().expect_health();
    fs::remove_file(HOOK).unwrap();
    doctor().expect_failures(&[("hook-binary", "nor anywhere it is named")]);
    put(HOOK);
    put_another("/usr/bin/env");
    doctor().expect_failures(&[("hook-binary", "dynamically linked")]);
    // Static, and not the hook.
    put_another("/bin/busybox");
    doctor().expect_failures(&[("hook-binary", "does not tell its version")]);
    fs::write(HOOK, "#!/bin/sh\n").unwrap();
    doctor().expect_failures(&[("hook-binary", "no ELF program")]);
    put(HOOK);
    mode(HOOK, 0o644);
    doctor().expect_failures(&[("hook-binary", "not executable")]);
    mode(HOOK, 0o777);
    doctor().expect_failures(&[("hook-binary", "may be written by everybody")]);
    mode(HOOK, 0o755);
    chown(HOOK, Some(65534), Some(65534)).unwrap();
    doctor().expect_failures(&[("hook-binary", "belongs to uid 65534")]);
    chown(HOOK, Some(0), Some(0)).unwrap();
    doctor().expect_health();
}

fn a_directory_that_others_may_write_is_as_bad_as_a_program(_node: &Node) {
    install();
    mode("/usr/libexec/porthole", 0o777);
    doctor().expect_failures(&[
        ("hook-binary", "/usr/libexec/porthole may be written by everybody"),
        ("runtime-binary", "/usr/libexec/porthole may be written by everybody"),
    ]);
    mode("/usr/libexec/porthole", 0o755);
    doctor().expect_health();
}

fn a_program_on_a_file_system_that_is_noexec(_node: &Node) {
    install();
    let dir = Path::new(HOOK).parent().unwrap();
    mount_bind(dir, dir).unwrap();
    mount_remount(dir, MountFlags::BIND | MountFlags::NOEXEC, c"").unwrap();
    let said = doctor();
    assert_eq!(said.status, 1);
    said.expect("fail", "hook-binary", "noexec");
    said.expect("fail", "runtime-binary", "noexec");
}

fn a_program_that_a_boot_takes_away(_node: &Node) {
    install();
    fs::copy(HOOK, "/run/porthole-hook").unwrap();
    write(
        "/etc/containers/oci/hooks.d/x.json",
        r#"{"version":"1.0.0","hook":{"path":"/run/porthole-hook"},"stages":["poststop"]}"#,
    );
    doctor()
        .expect_failures(&[("hook-binary", "/run/porthole-hook: is below a directory that a boot empties")]);
}

fn a_wrapper_that_nothing_names_may_be_missing(_node: &Node) {
    install();
    fs::remove_file(WRAPPER).unwrap();
    let said = doctor();
    said.expect_health();
    said.expect("warn", "runtime-binary", "nor anywhere it is named");
}

on_a_node!(requires(root, busybox):
    each_thing_that_can_be_wrong_with_the_hook,
    a_directory_that_others_may_write_is_as_bad_as_a_program,
    a_program_on_a_file_system_that_is_noexec,
    a_program_that_a_boot_takes_away,
    a_wrapper_that_nothing_names_may_be_missing,
);
