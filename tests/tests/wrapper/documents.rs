//! Configurations that cannot be changed: the real runtime gets them as they are, and says what it has to say.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use porthole_registry::hook_entry::PROGRAM;
use porthole_tests::tools::{self, binary};
use porthole_tests::{Node, Outcome, Runtime, on_a_node, on_every_runtime};
use rustix::fs::{XattrFlags, getxattr, setxattr};

use crate::installed::{Installed, text, web_0};

fn a_read_only_bundle_starts_without_the_hook(node: &Node, runtime: Runtime) {
    let porthole = Installed::new(node, runtime);
    let bundle = web_0(node);
    bundle.write();
    let before = text(&bundle);
    node.make_read_only(&bundle.dir);
    porthole.run(&bundle);
    node.expect_one_line(&[
        "porthole-runtime",
        &bundle.id,
        "config.json",
        "Read-only",
        "`porthole reconcile`",
    ]);
    assert_eq!(porthole.state(&bundle)["status"], "running");
    assert!(node.records().is_empty());
    assert_eq!(text(&bundle), before);
    porthole.delete(&bundle);
    node.unmount_all(&bundle.dir);
    node.expect_silence("the end of a container without the hook");
}

/// What was said, without when.
fn said(outcome: &Outcome) -> (Option<i32>, String) {
    let words = outcome.stderr.split(' ').filter(|word| !word.starts_with("time=\"") && !word.ends_with('Z'));
    (outcome.status.code(), words.collect::<Vec<_>>().join(" "))
}

fn what_is_wrong_with_a_bundle_is_told_by_the_real_runtime(node: &Node, runtime: Runtime) {
    let porthole = Installed::new(node, runtime);
    let bundle = web_0(node);
    bundle.write();
    let file = bundle.dir.join("config.json");
    for bad in ["{ broken", "[]", "{\"root\": 7}"] {
        fs::write(&file, bad).unwrap();
        let args = ["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id];
        let direct = porthole.call_directly(&args);
        assert!(!direct.status.success(), "a runtime that takes {bad}");
        let wrapped = porthole.call(&args);
        assert_eq!(said(&wrapped), said(&direct), "{bad}");
        let lines = node.log();
        // The third is as good as any for a hook, and as bad for a runtime.
        match bad.contains("root") {
            true => assert!(lines.is_empty(), "{lines:?}"),
            false => assert!(lines.len() == 1 && lines[0].contains("config.json"), "{lines:?}"),
        }
        assert_eq!(text(&bundle).contains(PROGRAM), bad.contains("root"));
    }
    fs::remove_file(&file).unwrap();
    let args = ["create", "--bundle", &bundle.dir.to_string_lossy(), &bundle.id];
    assert_eq!(said(&porthole.call(&args)), said(&porthole.call_directly(&args)));
    node.expect_one_line(&["config.json", "No such file"]);
}

/// Calls the wrapper for the container of `dir`, with a runtime that only tells that it ran.
fn create(dir: &Path) -> Outcome {
    let mut command = Command::new(binary("porthole-runtime"));
    command.args(["--real", "/bin/echo", "--hook", "/x/porthole-hook", "--", "create", "--bundle"]);
    command.arg(dir).arg("c1").stdin(Stdio::null());
    tools::run(command)
}

fn what_is_no_configuration_is_not_touched(node: &Node) {
    let dir = node.scratch().join("bundle");
    let file = dir.join("config.json");
    let elsewhere = node.scratch().join("elsewhere.json");
    fs::create_dir(&dir).unwrap();
    let content: &[(&str, &[u8], &str)] = &[
        ("empty", b"", "JSON"),
        ("not UTF-8", b"{\"a\":\"\xff\"}", "UTF-8"),
        ("not JSON", b"\x7fELF", "JSON"),
        ("two documents", b"{}{}", "JSON"),
        ("no object", b"[{}]", "an array"),
        ("hooks twice", b"{\"hooks\":{},\"hooks\":{}}", "twice"),
        ("hooks in two spellings", b"{\"hooks\":{},\"Hooks\":{}}", "twice"),
        ("no list", b"{\"hooks\":{\"poststop\":{}}}", "an object"),
        ("deep", &[b'['; 100_000], "JSON"),
    ];
    for (what, bytes, word) in content {
        fs::write(&file, bytes).unwrap();
        create(&dir).expect_success();
        node.expect_one_line(&["container c1", "config.json", word]);
        assert_eq!(&fs::read(&file).unwrap(), bytes, "{what}");
    }
    fs::remove_file(&file).unwrap();
    let make: [(&str, &dyn Fn()); 5] = [
        ("No such file", &|| ()),
        ("regular file", &|| fs::create_dir(&file).unwrap()),
        ("regular file", &|| tools_mkfifo(&file)),
        ("is larger than", &|| fs::File::create(&file).unwrap().set_len(64 << 20).unwrap()),
        ("os error 40", &|| {
            fs::write(&elsewhere, "{}").unwrap();
            symlink(&elsewhere, &file).unwrap();
        }),
    ];
    for (word, make) in make {
        make();
        let outcome = create(&dir);
        assert!(outcome.expect_success().starts_with("create --bundle"), "{}", outcome.stdout);
        assert!(outcome.took.as_secs() < 2, "{:?}", outcome.took);
        node.expect_one_line(&["container c1", word]);
        let _ = fs::remove_dir(&file).or_else(|_| fs::remove_file(&file));
    }
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "{}");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0, "nothing is left in the bundle");
}

fn tools_mkfifo(path: &Path) {
    let mut command = Command::new("mkfifo");
    command.arg(path);
    tools::run(command).expect_success();
}

fn owner_mode_and_label_stay(node: &Node) {
    let dir = node.scratch().join("bundle");
    let file = dir.join("config.json");
    fs::create_dir(&dir).unwrap();
    for (mode, owner, label) in
        [(0o600, 0, ""), (0o640, 1234, "a:b:c:s0:c1,c2"), (0o4755, 0, "long label \n ")]
    {
        let _ = fs::remove_file(&file);
        fs::write(&file, "{}").unwrap();
        chown(&file, Some(owner), Some(owner + 1)).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        // Not the name of a module's own attribute: a node may have that module, and its rules.
        for name in ["security.porthole-a", "security.porthole-b"].iter().filter(|_| !label.is_empty()) {
            setxattr(&file, *name, label.as_bytes(), XattrFlags::empty()).unwrap();
        }
        setxattr(&file, "trusted.porthole", b"not a label", XattrFlags::empty()).unwrap();
        let before = fs::metadata(&file).unwrap();
        create(&dir).expect_success();
        let after = fs::metadata(&file).unwrap();
        assert_ne!(before.ino(), after.ino(), "it is another file");
        assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), owner, owner + 1));
        let mut value = [0; 100];
        let copied = getxattr(&file, "security.porthole-b", &mut value).map_or(0, |length| length);
        assert_eq!(&value[..copied], label.as_bytes());
        assert!(getxattr(&file, "trusted.porthole", &mut value).is_err());
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing is left beside it");
    }
    node.expect_silence("files of several owners");
}

on_every_runtime!(
    a_read_only_bundle_starts_without_the_hook,
    what_is_wrong_with_a_bundle_is_told_by_the_real_runtime,
);

on_a_node!(requires(root, ip, unshare): what_is_no_configuration_is_not_touched, owner_mode_and_label_stay);
