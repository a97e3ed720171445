//! What is refused, with the reason, and left as it is.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::process::Command;

use porthole_tests::process::wait_until;
use porthole_tests::{Node, on_a_node, tools};

use super::setting::*;

fn a_tree_that_cannot_be_written_is_left_alone(node: &Node) {
    let tree = Tree::new(node);
    let before = tree.list();
    node.make_read_only(&tree.root);
    let outcome = tree.install();
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("Read-only"), "{outcome:?}");
    let mut command = tree.command("install", &[]);
    command.arg("--dry-run");
    tools::run(command).expect_success();
    node.unmount_all(&tree.root);
    assert_eq!(tree.list(), before);
    // Only what is needed last.
    node.make_read_only(&tree.at("/etc/docker"));
    let outcome = tree.install();
    assert!(outcome.stderr.contains("everything is as it was"), "{outcome:?}");
    node.unmount_all(&tree.at("/etc/docker"));
    assert_eq!(tree.list(), before);
}

fn a_state_that_is_not_understood_is_not_touched(node: &Node) {
    let tree = Tree::new(node);
    tree.install().expect_success();
    let good = tree.read("/var/lib/porthole/install.json");
    let foreign = good.replacen("\"schema\": 1", "\"schema\": 999", 1);
    assert_ne!(good, foreign);
    tree.write("/var/lib/porthole/install.json", &foreign);
    let before = tree.list();
    for outcome in [tree.install(), tree.uninstall()] {
        assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
        assert!(
            outcome.stderr.contains("install.json") && outcome.stderr.contains("schema 999"),
            "{outcome:?}"
        );
    }
    assert_eq!(tree.list(), before);
}

fn a_state_that_is_none_is_kept_aside_and_made_anew_from_the_disk(node: &Node) {
    for cut in 0..6 {
        let tree = Tree::new(node);
        let before = tree.read("/etc/docker/daemon.json");
        tree.install().expect_success();
        let good = tree.read("/var/lib/porthole/install.json");
        let state = [&good[..good.len() / 2], "", "[]", "{}", "\u{0}\u{ff}", "gone"][cut];
        tree.write("/var/lib/porthole/install.json", state);
        if state == "gone" {
            fs::remove_file(tree.at("/var/lib/porthole/install.json")).unwrap();
        }
        let installed = tree.read("/etc/docker/daemon.json");
        if cut % 2 == 0 {
            tree.install().expect_success();
            assert_eq!(tree.read("/etc/docker/daemon.json"), installed, "{state}");
        }
        if state != "gone" {
            let kept = tree.at("/var/lib/porthole/install.json.unreadable");
            if cut % 2 == 0 {
                assert_eq!(fs::read_to_string(kept).unwrap(), state);
            }
        }
        tree.uninstall().expect_success();
        assert_eq!(tree.read("/etc/docker/daemon.json"), before, "{state}");
        assert!(!tree.at("/etc/porthole").exists(), "{state}");
        assert!(!tree.at("/usr/share/containers/oci/hooks.d/porthole-poststop.json").exists(), "{state}");
        assert!(!tree.at("/etc/systemd/system/porthole-reconcile.timer").exists(), "{state}");
    }
}

fn of_two_engines_one_that_is_refused_keeps_its_files_and_the_other_gets_its_own(node: &Node) {
    let tree = Tree::new(node);
    tree.write("/etc/docker/daemon.json", "{\n  \"a\": 1,\n}\n");
    let outcome = tree.install();
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    assert!(
        outcome.stderr.contains("daemon.json: line 3 column 1") || outcome.stderr.contains("line 3 column 1"),
        "{outcome:?}"
    );
    assert!(tree.at("/usr/share/containers/oci/hooks.d/porthole-poststop.json").exists(), "{outcome:?}");
    assert_eq!(tree.read("/etc/docker/daemon.json"), "{\n  \"a\": 1,\n}\n");
    assert!(!tree.at("/etc/porthole").exists(), "{outcome:?}");
    tree.uninstall().expect_success();
}

fn a_backup_is_of_the_file_before_this_installation(node: &Node) {
    let (tree, backup) = (Tree::new(node), "/etc/docker/daemon.json.porthole-backup");
    tree.install().expect_success();
    assert_eq!(tree.read(backup), SITE);
    // Somebody edits the file, so the backup is the only way back, and stays.
    let edited = tree.read("/etc/docker/daemon.json").replacen("json-file", "local", 1);
    tree.write("/etc/docker/daemon.json", &edited);
    tree.uninstall().expect_success();
    assert_eq!(tree.read(backup), SITE);
    let later = SITE.replace("json-file", "journald");
    tree.write("/etc/docker/daemon.json", &later);
    tree.install().expect_success();
    assert_eq!(tree.read(backup), later);
    fs::remove_file(tree.at("/var/lib/porthole/install.json")).unwrap();
    tree.uninstall().expect_success();
    assert_eq!(tree.read("/etc/docker/daemon.json"), later);
}

fn a_file_that_cannot_be_replaced_gets_no_backup(node: &Node) {
    let tree = Tree::new(node);
    let file = tree.at("/etc/docker/daemon.json");
    rustix::mount::mount_bind(&file, &file).unwrap();
    let outcome = tree.install();
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    assert!(!tree.at("/etc/docker/daemon.json.porthole-backup").exists(), "{outcome:?}");
    assert_eq!(tree.read("/etc/docker/daemon.json"), SITE);
    rustix::mount::unmount(&file, rustix::mount::UnmountFlags::DETACH).unwrap();
}

fn what_is_no_configuration_is_refused_with_the_reason(node: &Node) {
    let path = "/etc/docker/daemon.json";
    for (text, words) in [
        ("{\n  \"a\": 1,\n}\n", "line 3 column 1"),
        ("{ // ours\n}", "line 1 column 3"),
        ("[]", "object"),
        ("{\"runtimes\": {}, \"runtimes\": {}}", "twice"),
        ("{\"default-runtime\": 3}", "default-runtime"),
        ("{\"runtimes\": {\"porthole\": {\"path\": \"/usr/bin/mine\"}}}", "another name"),
        (
            "{\"runtimes\": {\"x\": {\"path\": \"/usr/bin/gone\"}}, \"default-runtime\": \"x\"}",
            "/usr/bin/gone",
        ),
        (
            "{\"runtimes\": {\"x\": {\"path\": \"runc\", \"runtimeArgs\": [\"$(id)\"]}}, \"default-runtime\": \"x\"}",
            "script",
        ),
        ("{\"runtimes\": {\"a/b\": {\"path\": \"runc\"}}, \"default-runtime\": \"a/b\"}", "script"),
    ] {
        let tree = Tree::new(node);
        tree.write(path, text);
        let said = tree.refuses();
        assert!(said.contains(words), "{text}: {said}");
    }
    let tree = Tree::new(node);
    let file = tree.at(path);
    fs::write(&file, b"{\"a\": \"\xff\"}").unwrap();
    assert!(tree.refuses().contains("UTF-8"));
    File::create(&file).unwrap().set_len(1 << 30).unwrap();
    assert!(tree.refuses().contains("larger"));
    fs::remove_file(&file).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &file,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert!(tree.refuses().contains("no regular file"));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(tree.refuses().contains("daemon.json"));
    fs::remove_dir(&file).unwrap();
    symlink("daemon.json", &file).unwrap();
    assert!(tree.refuses().contains("daemon.json"));
}

fn options_that_the_file_would_contradict_are_refused(node: &Node) {
    for (path, text) in [
        (
            "/etc/default/docker",
            "# DOCKER_OPTS=\"--dns 8.8.8.8\"\nDOCKER_OPTS=\"--default-runtime=nvidia\"\n",
        ),
        (
            "/usr/lib/systemd/system/docker.service",
            "[Service]\nExecStart=/usr/bin/dockerd -H fd:// --default-runtime crun\n",
        ),
        (
            "/etc/systemd/system/docker.service.d/site.conf",
            "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd \\\n  --add-runtime=x=/usr/bin/x\n",
        ),
        (
            "/etc/systemd/system/docker.service.d/file.conf",
            "[Service]\nExecStart=/usr/bin/dockerd --config-file /srv/d.json\n",
        ),
    ] {
        let tree = Tree::new(node);
        tree.write(path, text);
        let said = tree.refuses();
        assert!(said.contains(path) && said.contains("help: "), "{path}: {said}");
    }
    let tree = Tree::new(node);
    tree.write("/etc/default/docker", "# DOCKER_OPTS=\"--default-runtime=nvidia\"\n");
    tree.install().expect_success();
}

fn a_shim_as_the_default_is_left_as_it_is(node: &Node) {
    for text in [
        "{\"default-runtime\": \"io.containerd.kata.v2\"}",
        "{\"runtimes\": {\"kata\": {\"runtimeType\": \"io.containerd.kata.v2\"}}, \"default-runtime\": \"kata\"}",
    ] {
        let tree = Tree::new(node);
        tree.write("/etc/docker/daemon.json", text);
        let said = tree.install();
        assert!(said.expect_success().contains("docker is left as it is"), "{said:?}");
        assert_eq!(tree.read("/etc/docker/daemon.json"), text);
        assert!(!tree.at("/etc/porthole/runtime").exists());
    }
}

fn no_other_user_keeps_an_installation_from_its_lock(node: &Node) {
    let tree = Tree::new(node);
    fs::create_dir_all(tree.at("/var/lib/porthole")).unwrap();
    let mut ann = Command::new("setpriv");
    ann.args(["--reuid", "1234", "--regid", "567", "--clear-groups", "flock", "-F"]);
    let mut ann = ann.arg(tree.at("/var/lib/porthole")).args(["sleep", "1000"]).spawn().unwrap();
    wait_until("the user's lock", || {
        let directory = File::open(tree.at("/var/lib/porthole")).unwrap();
        rustix::fs::flock(&directory, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err()
    });
    tree.install().expect_success();
    let names = || fs::read_dir(tree.at("/var/lib/porthole")).unwrap().count();
    assert_eq!(names(), 1, "the state alone");
    // Another installation does.
    let lock = tree.at("/var/lib/porthole/lock");
    let held = File::create(&lock).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let outcome = tree.uninstall();
    assert!(
        !outcome.status.success() && outcome.stderr.contains("another installation is running"),
        "{outcome:?}"
    );
    // A kill leaves the lock's file, which locks nothing.
    drop(held);
    tree.uninstall().expect_success();
    assert!(!tree.at("/var/lib/porthole").exists());
    ann.kill().unwrap();
    ann.wait().unwrap();
}

fn a_tree_without_engines_is_an_error(node: &Node) {
    let tree = Tree::new(node);
    fs::remove_dir_all(tree.at("/etc/docker")).unwrap();
    let before = tree.list();
    let mut command = Command::new(tools::binary("porthole"));
    command.arg("install").arg("--root").arg(&tree.root);
    let outcome = tools::run(command);
    assert_eq!(outcome.status.code(), Some(1));
    assert!(outcome.stderr.contains("no container engine"), "{outcome:?}");
    assert_eq!(tree.list(), before);
}

on_a_node!(requires(root):
    a_tree_that_cannot_be_written_is_left_alone,
    a_state_that_is_not_understood_is_not_touched,
    a_state_that_is_none_is_kept_aside_and_made_anew_from_the_disk,
    of_two_engines_one_that_is_refused_keeps_its_files_and_the_other_gets_its_own,
    a_backup_is_of_the_file_before_this_installation,
    a_file_that_cannot_be_replaced_gets_no_backup,
    what_is_no_configuration_is_refused_with_the_reason,
    options_that_the_file_would_contradict_are_refused,
    a_shim_as_the_default_is_left_as_it_is,
    no_other_user_keeps_an_installation_from_its_lock,
    a_tree_without_engines_is_an_error,
);
