//! Strays in the registry: each costs itself alone, and is reported.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use porthole_tests::engine::Podman;
use porthole_tests::{Node, leaks, on_a_node, tools};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;

use crate::setting::{json, pod, porthole};

/// The directories of the registry, and whether their entries are directories.
const DIRECTORIES: [(&str, bool); 5] =
    [("going", true), ("netns", true), ("idle", false), ("adopted", false), ("containers", false)];
/// Inodes that no namespace of the test has.
const NUMBERS: std::ops::Range<u64> = 90..95;

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// Puts each kind of stray into each directory.
fn scatter(node: &Node) {
    for (directory, has_directories) in DIRECTORIES {
        let at = node.run_dir().join(directory);
        fs::create_dir_all(&at).unwrap();
        let named = |n: u64| match directory {
            "containers" => at.join(format!("stray-{n}.json")),
            _ => at.join(n.to_string()),
        };
        if has_directories {
            fs::write(named(90), "").unwrap();
            fs::create_dir(named(91)).unwrap();
            for name in ["name", "holder", "pod"] {
                fs::write(named(91).join(name), "no link").unwrap();
            }
            fs::create_dir(named(91).join("c1.member")).unwrap();
        } else {
            fs::create_dir(named(90)).unwrap();
            fs::write(named(90).join("inner"), "").unwrap();
            symlink("nowhere", named(91)).unwrap();
        }
        symlink(named(92).file_name().unwrap(), named(92)).unwrap();
        fifo(&named(93));
        symlink(".", named(94)).unwrap();
        fs::write(at.join("007"), "").unwrap();
        fs::write(at.join("note"), "").unwrap();
        fs::create_dir(at.join("sub")).unwrap();
        fs::write(at.join(OsStr::from_bytes(b"\xff\xfe.json")), "").unwrap();
    }
}

fn remove(node: &Node) {
    for (directory, _) in DIRECTORIES {
        for path in leaks::below(&node.run_dir().join(directory)) {
            drop(fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)));
        }
        for entry in fs::read_dir(node.run_dir().join(directory)).into_iter().flatten().flatten() {
            let _ = fs::remove_file(entry.path());
        }
    }
    let _ = fs::remove_dir_all(node.run_dir().join("quarantine"));
}

fn gone(id: &str, done: &Value) -> bool {
    done.as_array().unwrap().iter().any(|done| done["action"] == "release" && done["subject"] == id)
}

fn a_stray_costs_itself_alone_and_is_told(node: &Node) {
    let lives = pod(node, "shop", "web-0");
    let ended = pod(node, "shop", "web-1");
    ended.kill();
    scatter(node);
    assert!(
        json(&["list"]).as_array().unwrap().iter().any(|row| row["pod"] == "web-0" && row["running"] == true)
    );
    let done = json(&["reconcile"]);
    assert!(done.as_array().unwrap().iter().all(|done| done["failed"] == false), "{done:#}");
    assert!(gone(ended.id(), &done), "{done:#}");
    assert_eq!(node.pins(), ["web-0"]);
    let told = |action: &str, what: &str| {
        let mut all = done.as_array().unwrap().iter();
        let found = all.find(|done| {
            done["action"] == action && format!("{} {}", done["subject"], done["detail"]).contains(what)
        });
        found.unwrap_or_else(|| panic!("{action} of {what}: {done:#}"))
    };
    for (directory, _) in DIRECTORIES {
        for n in NUMBERS {
            let is_entry = n == 91 && ["going", "netns"].contains(&directory);
            match directory {
                "containers" => drop(told("quarantine", &format!("quarantine/stray-{n}.json"))),
                _ if is_entry => drop(told("quarantine", &format!("{directory}-91-name"))),
                _ => drop(told("quarantine", &format!("quarantine/{directory}-{n}"))),
            }
        }
        for name in ["note", "007", "sub"] {
            let detail = told("keep", &format!("{directory}/{name}"))["detail"].as_str().unwrap();
            assert!(detail.contains("remove it unless"), "{detail}");
            assert!(node.run_dir().join(directory).join(name).exists(), "may be a newer version's");
        }
    }
    // Nothing is in the way any more.
    let again = json(&["reconcile"]);
    assert!(again.as_array().unwrap().iter().all(|done| done["action"] == "keep"), "{again:#}");
    lives.delete();
    ended.delete();
    assert_eq!(node.pins(), Vec::<String>::new());
    node.expect_silence("strays");
    remove(node);
}

fn hooks_register_and_release_among_strays(node: &Node) {
    pod(node, "shop", "web-0").delete();
    scatter(node);
    let (a, b) = (pod(node, "shop", "web-0"), pod(node, "stage", "web-0"));
    assert_eq!(node.pins(), ["web-0", "web-0.stage"]);
    a.delete();
    b.delete();
    assert_eq!(node.pins(), Vec::<String>::new());
    node.expect_silence("registering among strays");
    remove(node);
}

fn uninstall_takes_strays_along(node: &Node) {
    let _podman = Podman::new(node, "4.3");
    porthole(&["install", "--engine", "podman"]).expect_success();
    let pods = [pod(node, "shop", "web-0"), pod(node, "shop", "web-1")];
    scatter(node);
    // An entry that has lost its name: the record has it.
    let entry = node.run_dir().join(format!("netns/{}", pods[1].netns().ino));
    fs::remove_file(entry.join("name")).unwrap();
    fs::create_dir(entry.join("name")).unwrap();
    porthole(&["uninstall"]).expect_success();
    assert_eq!(node.pins(), Vec::<String>::new());
    assert!(!node.run_dir().exists());
    pods.into_iter().for_each(|pod| drop(pod.delete()));
    node.expect_silence("an uninstall");
}

fn a_directory_of_the_registry_that_is_none_is_moved_away_and_made_again(node: &Node) {
    for (directory, _) in DIRECTORIES {
        for kind in ["a file", "a loop", "a link"] {
            let web = pod(node, "shop", "web-0");
            let at = node.run_dir().join(directory);
            let _ = fs::remove_dir_all(&at);
            match kind {
                "a file" => fs::write(&at, "").unwrap(),
                "a loop" => symlink(directory, &at).unwrap(),
                _ => symlink("/mnt", &at).unwrap(),
            }
            porthole(&["list"]).expect_success();
            let done = json(&["reconcile"]);
            let moved = node.run_dir().join(format!("quarantine/{directory}"));
            assert_eq!(done[0]["subject"], moved.to_str().unwrap(), "{directory}, {kind}: {done:#}");
            assert!(done.as_array().unwrap().iter().all(|done| done["failed"] == false), "{done:#}");
            web.delete();
            let _ = node.log();
            tools::reconcile();
            let pins = node.pins();
            // Without a record and without an index, the owner of the pin is unknown.
            assert!(pins.is_empty() || directory == "containers", "{directory}, {kind}: {pins:?}");
            let again = pod(node, "shop", "web-0");
            again.delete();
            node.expect_silence("the next container");
            remove(node);
        }
    }
}

fn a_pin_whose_entry_was_damaged_gets_its_name_back(node: &Node) {
    let damages: [fn(&Path); 4] = [
        |entry| {
            fs::remove_dir_all(entry).unwrap();
            fs::write(entry, "").unwrap();
        },
        |entry| {
            fs::remove_dir_all(entry).unwrap();
            symlink(entry, entry).unwrap();
        },
        |entry| {
            fs::remove_file(entry.join("name")).unwrap();
            fs::create_dir(entry.join("name")).unwrap();
        },
        |entry| fs::remove_file(entry.join("name")).unwrap(),
    ];
    for (n, damage) in damages.iter().enumerate() {
        for ends_before in [false, true] {
            let web = pod(node, "shop", "web-0");
            damage(&node.run_dir().join(format!("netns/{}", web.netns().ino)));
            if ends_before {
                web.kill();
            }
            let done = json(&["reconcile"]);
            assert!(done.as_array().unwrap().iter().all(|done| done["failed"] == false), "{n}: {done:#}");
            let expected = if ends_before { vec![] } else { vec!["web-0"] };
            assert_eq!(node.pins(), expected, "{n}, {ends_before}: {done:#}");
            web.delete();
            assert_eq!(node.pins(), Vec::<String>::new(), "{n}, {ends_before}");
            node.expect_silence("a damaged entry");
            remove(node);
        }
    }
}

fn a_draft_of_another_type_holds_up_no_container(node: &Node) {
    pod(node, "shop", "web-0").delete();
    let draft = node.run_dir().join("containers/.draft");
    let makes: [fn(&Path); 3] =
        [fifo, |path| symlink(path, path).unwrap(), |path| symlink("/mnt/x", path).unwrap()];
    for make in makes {
        make(&draft);
        let web = pod(node, "shop", "web-0");
        assert_eq!(node.pins(), ["web-0"]);
        web.delete();
        node.expect_silence("a draft that gives way");
    }
    assert!(!Path::new("/mnt/x").exists(), "no link is followed");
    // A directory that is not empty stays.
    fs::create_dir_all(draft.join("inner")).unwrap();
    let web = pod(node, "shop", "web-0");
    node.expect_one_line(&["containers/", "reconcile"]);
    assert_eq!(node.pins(), Vec::<String>::new(), "no pin without a record");
    web.kill();
    let done = json(&["reconcile"]);
    assert_eq!(
        (done[0]["action"].as_str(), &done[0]["failed"]),
        (Some("quarantine"), &Value::Bool(false)),
        "{done}"
    );
    web.delete();
    let again = pod(node, "shop", "web-0");
    assert_eq!(node.pins(), ["web-0"]);
    again.delete();
    node.expect_silence("a draft that was moved away");
    remove(node);
}

fn what_reconcile_did_is_told_though_it_cannot_have_the_lock_any_more(node: &Node) {
    let web = pod(node, "shop", "web-0");
    fs::remove_file(node.run_dir().join("lock")).unwrap();
    fs::create_dir(node.run_dir().join("lock")).unwrap();
    web.kill();
    let outcome = porthole(&["-o", "json", "reconcile"]);
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    let done: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(done[0]["failed"], true, "{done}");
    assert!(done[0]["detail"].as_str().unwrap().contains("move that away"), "{done}");
    assert!(outcome.took < Duration::from_secs(5), "{outcome:?}");
    fs::remove_dir(node.run_dir().join("lock")).unwrap();
    tools::reconcile();
    web.delete();
}

on_a_node!(requires(root, ip, runc):
    a_stray_costs_itself_alone_and_is_told,
    hooks_register_and_release_among_strays,
    a_directory_of_the_registry_that_is_none_is_moved_away_and_made_again,
    a_pin_whose_entry_was_damaged_gets_its_name_back,
    a_draft_of_another_type_holds_up_no_container,
    what_reconcile_did_is_told_though_it_cannot_have_the_lock_any_more,
);

mod uninstall {
    use super::uninstall_takes_strays_along;

    porthole_tests::on_a_node!(requires(root, ip, runc, podman): uninstall_takes_strays_along);
}
