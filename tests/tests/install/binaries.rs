//! Our programs, and the service manager's units.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use porthole_tests::engine::system;
use porthole_tests::tools::{Outcome, binary, run};
use porthole_tests::{Node, on_a_node};
use rustix::mount::{MountFlags, mount_remount};

const PROGRAMS: [&str; 3] = ["porthole", "porthole-hook", "porthole-runtime"];
const INSTALLED: [&str; 3] =
    ["/usr/bin/porthole", "/usr/libexec/porthole/porthole-hook", "/usr/libexec/porthole/porthole-runtime"];

/// A directory with our programs beside each other, as a build has them.
fn build(node: &Node) -> PathBuf {
    system::make_own();
    let dir = node.scratch().join("build");
    fs::create_dir_all(&dir).unwrap();
    for name in PROGRAMS {
        fs::copy(binary(name), dir.join(name)).unwrap();
    }
    dir
}

fn call(porthole: &Path, args: &[&str]) -> Outcome {
    let mut command = Command::new(porthole);
    command.args(args).stdin(Stdio::null());
    run(command)
}

fn install(dir: &Path, more: &[&str]) -> Outcome {
    call(&dir.join("porthole"), &[&["install", "--engine", "podman=5.4"], more].concat())
}

fn programs_are_copied_and_a_newer_build_replaces_them(node: &Node) {
    let dir = build(node);
    install(&dir, &[]).expect_success();
    let inodes = INSTALLED.map(|path| {
        let meta = fs::metadata(path).unwrap();
        assert_eq!((meta.permissions().mode() & 0o7777, meta.uid(), meta.gid()), (0o755, 0, 0), "{path}");
        meta.ino()
    });
    assert!(install(&dir, &[]).stdout.contains("nothing to change"));
    // Bytes behind the end of an ELF program mean nothing.
    let hook = dir.join(PROGRAMS[1]);
    let newer = [fs::read(&hook).unwrap(), b"newer".to_vec()].concat();
    fs::write(&hook, &newer).unwrap();
    let outcome = install(&dir, &[]);
    let changed: Vec<_> =
        outcome.expect_success().lines().filter(|line| line.starts_with("change")).collect();
    assert_eq!(changed, [format!("change  {}", INSTALLED[1])]);
    assert_eq!(fs::read(INSTALLED[1]).unwrap(), newer);
    let now = INSTALLED.map(|path| fs::metadata(path).unwrap().ino());
    assert_ne!(now[1], inodes[1], "a hook that runs keeps the file that it runs from");
    assert_eq!((now[0], now[2]), (inodes[0], inodes[2]));
    // What is installed can install, and takes itself away.
    assert!(
        call(Path::new(INSTALLED[0]), &["install", "--engine", "podman=5.4"])
            .stdout
            .contains("nothing to change")
    );
    call(Path::new(INSTALLED[0]), &["uninstall"]).expect_success();
    assert!(INSTALLED.iter().all(|path| !Path::new(path).exists()));
    assert!(!Path::new("/usr/libexec/porthole").exists());
}

fn programs_in_a_prefix_are_used_where_they_are(node: &Node) {
    let dir = build(node);
    let prefix = Path::new("/opt/site-tools");
    fs::create_dir_all(prefix.join("bin")).unwrap();
    fs::create_dir_all(prefix.join("libexec/porthole")).unwrap();
    fs::copy(binary(PROGRAMS[0]), prefix.join("bin/porthole")).unwrap();
    for name in &PROGRAMS[1..] {
        fs::copy(dir.join(name), prefix.join("libexec/porthole").join(name)).unwrap();
    }
    install(&prefix.join("bin"), &[]).expect_success();
    assert!(INSTALLED.iter().all(|path| !Path::new(path).exists()));
    let hook = "/usr/share/containers/oci/hooks.d/porthole-poststop.json";
    assert!(
        fs::read_to_string(hook)
            .unwrap()
            .contains("exec /opt/site-tools/libexec/porthole/porthole-hook poststop")
    );
    call(&prefix.join("bin/porthole"), &["uninstall"]).expect_success();
    assert!(prefix.join("libexec/porthole/porthole-hook").is_file(), "what install did not bring stays");
    assert!(!Path::new(hook).exists());
}

fn programs_that_will_not_do_are_refused(node: &Node) {
    let dir = build(node);
    let before = system::changes();
    let refused = |words: &[&str]| {
        let outcome = install(&dir, &[]);
        assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
        for word in words.iter().chain(&["help: "]) {
            assert!(outcome.stderr.contains(word), "{word}: {outcome:?}");
        }
        let mut after = system::changes();
        after.retain(|path, _| !path.starts_with("/var/lib/porthole"));
        assert_eq!(after, before);
    };
    fs::rename(dir.join(PROGRAMS[2]), dir.join("kept")).unwrap();
    refused(&["porthole-runtime: neither beside"]);
    fs::copy("/bin/ls", dir.join(PROGRAMS[2])).unwrap();
    refused(&["porthole-runtime: is dynamically linked"]);
    fs::write(dir.join(PROGRAMS[2]), "#!/bin/sh\n").unwrap();
    refused(&["porthole-runtime: is no ELF program"]);
    fs::rename(dir.join("kept"), dir.join(PROGRAMS[2])).unwrap();
    install(&dir, &["--dry-run"]).expect_success();
}

fn a_file_of_another_build_that_install_did_not_bring_is_refused(node: &Node) {
    let dir = build(node);
    fs::write(INSTALLED[0], "somebody else's").unwrap();
    let outcome = install(&dir, &[]);
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains(INSTALLED[0]), "{outcome:?}");
    assert_eq!(fs::read_to_string(INSTALLED[0]).unwrap(), "somebody else's");
}

fn programs_go_to_opt_where_usr_will_not_do(node: &Node) {
    let dir = build(node);
    for flag in [MountFlags::RDONLY, MountFlags::NOEXEC] {
        mount_remount("/usr", MountFlags::BIND | flag, c"").unwrap();
        let outcome = install(&dir, &["--dry-run"]);
        assert!(
            outcome.expect_success().contains("b/opt/porthole/libexec/porthole/porthole-hook"),
            "{outcome:?}"
        );
    }
    mount_remount("/opt", MountFlags::BIND | MountFlags::RDONLY, c"").unwrap();
    let outcome = install(&dir, &["--dry-run"]);
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    for word in ["/usr/bin is mounted noexec", "/opt/porthole/bin cannot be written", "help: "] {
        assert!(outcome.stderr.contains(word), "{word}: {outcome:?}");
    }
    mount_remount("/usr", MountFlags::BIND, c"").unwrap();
}

fn units_are_written_and_enabled_where_systemd_manages_the_tree(node: &Node) {
    let dir = build(node);
    let root = node.scratch().join("tree");
    fs::create_dir_all(root.join("usr/lib/systemd")).unwrap();
    let options = ["--root", root.to_str().unwrap()];
    install(&dir, &options).expect_success();
    assert!(!root.join("etc/systemd").exists(), "without systemd there are none");
    fs::copy("/bin/true", root.join("usr/lib/systemd/systemd")).unwrap();
    install(&dir, &options).expect_success();
    let units = root.join("etc/systemd/system");
    let service = fs::read_to_string(units.join("porthole-reconcile.service")).unwrap();
    assert!(service.contains("\nExecStart=/usr/bin/porthole reconcile\n"), "{service}");
    for (target, name) in [("timers", "porthole-reconcile.timer"), ("paths", "porthole-reconcile.path")] {
        let link = fs::read_link(units.join(format!("{target}.target.wants")).join(name)).unwrap();
        assert_eq!(link, Path::new("/etc/systemd/system").join(name));
        assert!(units.join(name).is_file());
    }
    assert!(install(&dir, &options).stdout.contains("nothing to change"));
    call(&dir.join("porthole"), &[&["uninstall"], &options[..]].concat()).expect_success();
    assert!(!root.join("etc/systemd").exists());

    // An administrator who does not want it has masked it.
    fs::create_dir_all(&units).unwrap();
    symlink("/dev/null", units.join("porthole-reconcile.path")).unwrap();
    let outcome = install(&dir, &options);
    assert!(outcome.expect_success().contains("porthole-reconcile.path is there already"), "{outcome:?}");
    assert_eq!(fs::read_link(units.join("porthole-reconcile.path")).unwrap(), Path::new("/dev/null"));
    assert!(!units.join("paths.target.wants").exists());
    assert!(units.join("porthole-reconcile.timer").is_file());
}

on_a_node!(requires(root):
    programs_are_copied_and_a_newer_build_replaces_them,
    programs_in_a_prefix_are_used_where_they_are,
    programs_that_will_not_do_are_refused,
    a_file_of_another_build_that_install_did_not_bring_is_refused,
    programs_go_to_opt_where_usr_will_not_do,
    units_are_written_and_enabled_where_systemd_manages_the_tree,
);
