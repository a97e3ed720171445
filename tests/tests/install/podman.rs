//! podman and CRI-O: hooks.d.

use std::fs;
use std::path::{Path, PathBuf};

use porthole_tests::engine::{Podman, system};
use porthole_tests::tools::{self, Outcome, ip, porthole};
use porthole_tests::{Node, leaks, on_a_node};
use rustix::mount::{MountFlags, mount_remount};
use serde_json::Value;

/// What both engines read where nothing is configured.
const BUILT_IN: &str = "/usr/share/containers/oci/hooks.d";
const ETC: &str = "/etc/containers/oci/hooks.d";
const FILES: [&str; 2] = ["porthole-createruntime.json", "porthole-poststop.json"];

fn install() -> Outcome {
    let outcome = porthole(&["install", "--engine", "podman"]);
    outcome.expect_success();
    outcome
}

fn a_pod_has_one_pin_from_install_to_uninstall(node: &Node, version: &str) {
    let podman = Podman::new(node, version);
    let before = system::changes();
    let shown = porthole(&["install", "--engine", "podman", "--dry-run"]);
    assert!(shown.expect_success().contains(&format!("+++ b{BUILT_IN}/{}", FILES[0])), "{shown:?}");
    assert_eq!(system::changes(), before, "a dry run changes nothing");
    install();
    let installed = system::changes();
    for file in FILES {
        assert!(installed.contains_key(&Path::new(BUILT_IN).join(file)), "{file}");
    }
    assert!(install().stdout.contains("nothing to change"));
    assert_eq!(system::changes(), installed, "the second time nothing is changed");

    let pod = podman.pod_create("web", &[]);
    let first = podman.run("web-a", &["--pod", "web"], &[]);
    let second = podman.run("web-b", &["--pod", "web"], &[]);
    assert_eq!(node.pins().iter().filter(|name| !name.starts_with("netns-")).collect::<Vec<_>>(), ["web"]);
    assert_eq!(node.pin("web"), Some(pod.infra.netns()));
    assert_eq!(node.records().len(), 3, "the infra container and both of the pod");
    let shown = ip(&["netns", "exec", "web", "ip", "-4", "-br", "addr"]);
    assert!(shown.expect_success().contains(&pod.infra.ip), "{shown:?}");
    let listed = porthole(&["list"]);
    for name in [&first.name, &second.name] {
        assert!(listed.expect_success().contains(name), "{listed:?}");
    }
    podman.pod_rm("web");
    node.expect_silence("a pod from start to end");
    assert_eq!((node.pins(), node.records()), (vec![], vec![]));
    assert!(leaks::nsfs_mounts().is_empty());

    porthole(&["uninstall"]).expect_success();
    let after = system::changes();
    // Told by their paths: a program of ours would fill the screen.
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    assert!(after == before, "uninstall leaves every file as it was");
}

fn an_uninstall_takes_the_pins_of_what_runs_on(node: &Node, version: &str) {
    let podman = Podman::new(node, version);
    install();
    let kept = podman.run("kept", &[], &[]);
    // What every view starts from is mounted in the registry's directory.
    porthole(&["exec", "kept", "--", "true"]).expect_success();
    ip(&["netns", "add", "theirs"]).expect_success();
    let said = porthole(&["uninstall"]);
    assert!(said.expect_success().contains("(pins: 1, records: 1)"), "{said:?}");
    assert_eq!(node.pin("kept"), None);
    assert!(node.pin("theirs").is_some() && !node.run_dir().exists());
    // It runs on, and ends without anybody to tell.
    assert!(Path::new(&format!("/proc/{}", kept.pid)).exists());
    podman.rm("kept");
    node.expect_silence("a container whose hook has gone");
    ip(&["netns", "del", "theirs"]).expect_success();
    assert!(leaks::nsfs_mounts().is_empty());
}

fn a_hook_that_has_gone_fails_no_container(node: &Node, version: &str) {
    let podman = Podman::new(node, version);
    install();
    let kept = podman.run("kept", &[], &[]);
    assert_eq!(node.pin("kept"), Some(kept.netns()));
    fs::remove_file("/usr/libexec/porthole/porthole-hook").unwrap();
    let _ = podman.run("alone", &[], &[]);
    podman.call(&["stop", "--time", "0", "alone"]).expect_success();
    podman.rm("alone");
    podman.rm("kept");
    node.expect_silence("containers without a hook");
    tools::reconcile();
    assert_eq!((node.pins(), node.records()), (vec![], vec![]));
    // It comes back with the next installation.
    install();
    let _ = podman.run("again", &[], &[]);
    assert!(node.pin("again").is_some());
    podman.rm("again");
}

fn a_pod_from_before_is_adopted(node: &Node, version: &str) {
    let podman = Podman::new(node, version);
    let pod = podman.pod_create("old", &[]);
    let app = podman.run("old-app", &["--pod", "old"], &[]);
    install();
    assert_eq!(node.records(), [""; 0]);
    let done = tools::reconcile();
    assert_eq!(done.len(), 2, "{done:#?}");
    assert_eq!(node.pin("old"), Some(pod.infra.netns()));
    assert_eq!(app.netns(), pod.infra.netns());
    assert_eq!(tools::reconcile(), [""; 0]);
    // It was made without hooks: nothing tells of its end.
    podman.pod_rm("old");
    tools::reconcile();
    assert_eq!((node.pins(), node.records()), (vec![], vec![]));
}

/// Where podman is told to look elsewhere, and the files that it then runs.
fn files_go_where_podman_reads_them(node: &Node, version: &str) {
    let podman = Podman::new(node, version);
    let conf = "/etc/containers/containers.conf.d/50-site.conf";
    for (list, expected) in [
        (format!(r#"["{BUILT_IN}", "{ETC}"]"#), ETC),
        (format!(r#"["{ETC}", "{BUILT_IN}"]"#), ETC),
        (r#"["/etc/site/hooks.d"]"#.to_owned(), "/etc/site/hooks.d"),
        (r#"["/etc/site/hooks.d", "/run/site/hooks.d"]"#.to_owned(), "/etc/site/hooks.d"),
    ] {
        write(conf, &format!("[engine]\nhooks_dir = {list}\n"));
        install();
        assert!(Path::new(expected).join(FILES[0]).is_file(), "{list}: not in {expected}");
        let _ = podman.run("alone", &[], &[]);
        assert_eq!(node.records().len(), 1, "{list}");
        podman.rm("alone");
        assert_eq!(node.records().len(), 0, "{list}");
        node.expect_silence(&list);
        porthole(&["uninstall"]).expect_success();
        assert!(!Path::new(expected).exists() || fs::read_dir(expected).unwrap().next().is_none(), "{list}");
    }
}

fn where_usr_cannot_be_written_a_drop_in_adds_a_directory(node: &Node, version: &str) {
    let podman = Podman::new(node, version);
    write(&format!("{BUILT_IN}/site.json"), SITE);
    // What is mounted below it stays.
    mount_remount("/usr", MountFlags::BIND | MountFlags::RDONLY, c"").unwrap();
    let outcome = install();
    assert!(outcome.stdout.contains("/opt/porthole/libexec/porthole/porthole-hook"), "{outcome:?}");
    assert!(outcome.stdout.contains("/etc/containers/containers.conf.d/10-porthole.conf"), "{outcome:?}");
    let _ = podman.run("alone", &[], &[]);
    assert!(node.pin("alone").is_some());
    assert!(Path::new("/run/site").is_file(), "the site's own hook runs as well");
    podman.rm("alone");
    porthole(&["uninstall"]).expect_success();
    assert!(!Path::new("/opt/porthole").exists());
    assert!(!Path::new("/etc/containers/containers.conf.d/10-porthole.conf").exists());
}

const SITE: &str = r#"{"version": "1.0.0", "hook": {"path": "/bin/sh", "args": ["sh", "-c", "cat >/run/site"]},
"when": {"always": true}, "stages": ["createRuntime"]}"#;

fn write(path: &str, text: &str) {
    fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

macro_rules! versions {
    ($($name:ident: $version:literal),+ $(,)?) => {
        $(mod $name {
            use porthole_tests::{node, requires, test_path};

            versions!(@ $version: a_pod_has_one_pin_from_install_to_uninstall);
            versions!(@ $version: an_uninstall_takes_the_pins_of_what_runs_on);
            versions!(@ $version: a_hook_that_has_gone_fails_no_container);
            versions!(@ $version: a_pod_from_before_is_adopted);
            versions!(@ $version: files_go_where_podman_reads_them);
            versions!(@ $version: where_usr_cannot_be_written_a_drop_in_adds_a_directory);
        })+
    };
    (@ $version:literal: $test:ident) => {
        #[test]
        fn $test() {
            requires!(root, ip, podman);
            node::run(test_path!(), |node| super::$test(node, $version));
        }
    };
}

versions!(podman_4_3: "4.3", podman_5_4: "5.4");

/// A tree with CRI-O in it, configured by these files.
struct CrioTree(PathBuf);

impl CrioTree {
    fn new(node: &Node, name: &str, files: &[(&str, &str)]) -> Self {
        let root = node.scratch().join(name);
        fs::create_dir_all(root.join("usr/bin")).unwrap();
        fs::create_dir_all(root.join("etc")).unwrap();
        for (path, text) in files {
            write(&format!("{}{path}", root.display()), text);
        }
        Self(root)
    }

    fn call(&self, command: &str, more: &[&str]) -> Outcome {
        let root = self.0.display().to_string();
        porthole(&[&[command, "--root", &root], more].concat())
    }

    fn install(&self) -> Outcome {
        let outcome = self.call("install", &["--engine", "cri-o=1.36"]);
        outcome.expect_success();
        outcome
    }

    fn text(&self, path: &str) -> String {
        let path = self.0.join(path.trim_start_matches('/'));
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// Its files, without directories.
    fn files(&self) -> Vec<String> {
        let root = self.0.display().to_string();
        let below = leaks::below(&self.0).into_iter().filter(|path| !Path::new(path).is_dir());
        below.map(|path| path.strip_prefix(&root).unwrap_or(&path).to_owned()).collect()
    }
}

fn crio_reads_the_directory_that_was_said_last(node: &Node) {
    for (name, files, expected) in [
        ("unsaid", &[][..], BUILT_IN),
        ("empty", &[("/etc/crio/crio.conf", "[crio.runtime]\nlog_level = \"info\"\n")], BUILT_IN),
        ("main", &[("/etc/crio/crio.conf", "[crio.runtime]\nhooks_dir = [\"/etc/site\"]\n")], "/etc/site"),
        (
            "later",
            &[
                ("/etc/crio/crio.conf", "[crio.runtime]\nhooks_dir = [\"/etc/site\"]\n"),
                ("/etc/crio/crio.conf.d/10-crio.conf", "[crio.runtime]\nhooks_dir = [\"/etc/ten\"]\n"),
                ("/etc/crio/crio.conf.d/20-crio.conf", "[crio.runtime]\nhooks_dir = [\"/usr/twenty\"]\n"),
            ],
            "/usr/twenty",
        ),
    ] {
        let tree = CrioTree::new(node, name, files);
        let before = tree.files();
        tree.install();
        for (file, stage) in FILES.iter().zip(["createRuntime", "poststop"]) {
            let text: Value = serde_json::from_str(&tree.text(&format!("{expected}/{file}"))).unwrap();
            assert_eq!(text["version"], "1.0.0");
            assert_eq!(text["stages"], serde_json::json!([stage]));
            // One that CRI-O cannot find would be skipped until the file is touched; this one is always there.
            assert_eq!(text["hook"]["path"], "/bin/sh");
        }
        assert!(!tree.files().iter().any(|path| path.ends_with("porthole.conf")), "{name}");
        assert!(tree.install().stdout.contains("nothing to change"), "{name}");
        tree.call("uninstall", &[]).expect_success();
        let left: Vec<_> = tree.files().into_iter().filter(|path| !before.contains(path)).collect();
        assert!(left.iter().all(|path| path.starts_with("/var")), "{name}: {left:?}");
    }
}

fn crio_on_a_read_only_usr_gets_a_drop_in_that_is_read_last(node: &Node) {
    let late = ("/etc/crio/crio.conf.d/99-site.conf", "[crio.runtime]\nhooks_dir = [\"/usr/site\"]\n");
    for (name, files, drop_in, dirs) in [
        ("ro-plain", &[][..], "10-porthole.conf", [BUILT_IN, ETC]),
        ("ro-late", &[late][..], "zz-porthole.conf", ["/usr/site", ETC]),
    ] {
        let tree = CrioTree::new(node, name, files);
        let usr = tree.0.join("usr");
        node.make_read_only(&usr);
        let outcome = tree.install();
        assert!(outcome.stdout.contains(drop_in), "{outcome:?}");
        let text: toml::Table = tree.text(&format!("/etc/crio/crio.conf.d/{drop_in}")).parse().unwrap();
        let said = text["crio"]["runtime"]["hooks_dir"].as_array().unwrap();
        assert_eq!(said.iter().filter_map(|dir| dir.as_str()).collect::<Vec<_>>(), dirs, "{name}");
        assert!(
            tree.text(&format!("{ETC}/{}", FILES[1]))
                .contains("/opt/porthole/libexec/porthole/porthole-hook")
        );
        let shown = tree.call("install", &["--engine", "cri-o=1.36", "--dry-run"]);
        assert!(shown.expect_success().contains("nothing to change"), "{shown:?}");
        tree.call("uninstall", &[]).expect_success();
        assert!(
            !tree.files().iter().any(|path| path.contains("porthole") && !path.starts_with("/var")),
            "{name}"
        );
        node.unmount_all(&usr);
    }
}

fn what_is_somebody_elses_is_refused(node: &Node) {
    let foreign = format!("{BUILT_IN}/{}", FILES[0]);
    let tree = CrioTree::new(node, "foreign", &[(&foreign, SITE)]);
    let outcome = tree.call("install", &["--engine", "cri-o=1.36"]);
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains(&foreign) && outcome.stderr.contains("help:"), "{outcome:?}");
    assert_eq!(tree.text(&foreign), SITE);
    assert_eq!(tree.files(), [foreign.as_str()], "nothing else was written");

    // One of ours that was set up by hand is ours to change, and comes back.
    let by_hand = SITE.replace("cat >/run/site", "exec /usr/libexec/porthole/porthole-hook createRuntime");
    let tree = CrioTree::new(node, "by-hand", &[(&foreign, &by_hand)]);
    tree.install();
    assert_ne!(tree.text(&foreign), by_hand);
    tree.call("uninstall", &[]).expect_success();
    assert_eq!(tree.text(&foreign), by_hand);

    // Under another name it would be a second one.
    let other = format!("{BUILT_IN}/99-own.json");
    let tree = CrioTree::new(node, "other-name", &[(&other, &by_hand)]);
    let outcome = tree.install();
    assert!(outcome.stdout.contains(&format!("{other} runs porthole-hook too")), "{outcome:?}");

    let tree = CrioTree::new(node, "broken", &[("/etc/crio/crio.conf", "[crio.runtime\n")]);
    let outcome = tree.call("install", &["--engine", "cri-o=1.36"]);
    assert_eq!(outcome.status.code(), Some(1));
    assert!(outcome.stderr.contains("/etc/crio/crio.conf"), "{outcome:?}");
    assert_eq!(tree.files(), ["/etc/crio/crio.conf"]);
}

fn a_directory_of_two_engines_is_served_once_and_left_by_both(node: &Node) {
    let tree = CrioTree::new(
        node,
        "both",
        &[("/etc/crio/crio.conf", ""), ("/etc/containers/containers.conf", "# the site's\n")],
    );
    tree.call("install", &[]).expect_success();
    let hooks: Vec<_> = tree.files().into_iter().filter(|path| path.ends_with(".json")).collect();
    assert_eq!(hooks.iter().filter(|path| path.contains("hooks.d")).count(), 2, "{hooks:?}");
    for engine in ["podman", "cri-o"] {
        let outcome = tree.call("uninstall", &["--engine", engine]);
        assert!(outcome.expect_success().contains("reads it too"), "{outcome:?}");
        assert!(!tree.text(&format!("{BUILT_IN}/{}", FILES[0])).is_empty());
    }
    tree.call("uninstall", &[]).expect_success();
    let left: Vec<_> = tree.files().into_iter().filter(|path| !path.starts_with("/var")).collect();
    assert_eq!(left, ["/etc/containers/containers.conf", "/etc/crio/crio.conf"]);
}

fn a_method_that_the_engine_does_not_have_is_refused(node: &Node) {
    let tree = CrioTree::new(node, "method", &[]);
    let outcome = tree.call("install", &["--engine", "cri-o=1.36", "--method", "runtime"]);
    assert_eq!(outcome.status.code(), Some(2), "{outcome:?}");
    assert_eq!(tree.files(), [""; 0]);
}

on_a_node!(requires(root):
    crio_reads_the_directory_that_was_said_last,
    crio_on_a_read_only_usr_gets_a_drop_in_that_is_read_last,
    what_is_somebody_elses_is_refused,
    a_directory_of_two_engines_is_served_once_and_left_by_both,
    a_method_that_the_engine_does_not_have_is_refused,
);
