//! What the sentences share: a node with porthole in `/usr`, and what doctor says of it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use porthole_tests::engine::system;
use porthole_tests::tools::{self, Outcome, run};
use porthole_tests::{Bundle, Container, Node, Runtime};
use serde_json::Value;

/// Where the node has porthole, the hook and the wrapper.
pub const PORTHOLE: &str = "/usr/bin/porthole";
pub const HOOK: &str = "/usr/libexec/porthole/porthole-hook";
pub const WRAPPER: &str = "/usr/libexec/porthole/porthole-runtime";

/// Where hooks are that every engine reads.
pub const HOOKS_D: &str = "/usr/share/containers/oci/hooks.d";

/// Gives the node an `/usr` and an `/etc` of its own, without engines and with porthole, as `make install` puts it there.
pub fn install() {
    system::make_own();
    for path in [PORTHOLE, HOOK, WRAPPER] {
        put(path);
    }
}

/// Puts one of our programs in its place, over what is there.
pub fn put(path: &str) {
    let path = Path::new(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    drop(fs::remove_file(path));
    fs::copy(tools::binary(path.file_name().unwrap().to_str().unwrap()), path).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

/// Writes a file and the directories above it.
pub fn write(path: &str, text: &str) {
    fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Runs the node's porthole.
pub fn porthole(words: &[&str]) -> Outcome {
    let mut command = Command::new(PORTHOLE);
    command.args(words).stdin(Stdio::null());
    run(command)
}

/// What doctor says, and with which status.
#[derive(Debug)]
pub struct Said {
    pub status: i32,
    pub document: Value,
}

/// Runs doctor with `words` before and after it.
#[track_caller]
pub fn doctor_with(options: &[&str], checks: &[&str]) -> Said {
    let outcome = porthole(&[options, &["-o", "json", "doctor"], checks].concat());
    let document = serde_json::from_str(&outcome.stdout).unwrap_or_else(|e| panic!("{e}: {outcome:?}"));
    Said { status: outcome.status.code().unwrap(), document }
}

/// Runs all checks.
#[track_caller]
pub fn doctor() -> Said {
    doctor_with(&[], &[])
}

impl Said {
    /// Checks that ended so, by name and subject.
    pub fn with(&self, verdict: &str) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let checks = self.document["checks"].as_array().unwrap().iter();
        checks
            .filter(|check| check["verdict"] == verdict)
            .map(|check| (text(&check["name"]), text(&check["subject"])))
            .collect()
    }

    /// The check of a name; of several, the first of the worst.
    #[track_caller]
    pub fn check(&self, name: &str) -> &Value {
        let checks = self.document["checks"].as_array().unwrap();
        let with = |verdict: &&str| checks.iter().find(|c| c["name"] == name && c["verdict"] == **verdict);
        let worst = ["fail", "warn", "ok", "skip"].iter().find_map(with);
        worst.unwrap_or_else(|| panic!("no check {name} in {:#}", self.document))
    }

    /// Asserts that nothing is wrong.
    #[track_caller]
    pub fn expect_health(&self) {
        assert_eq!((self.status, self.with("fail")), (0, vec![]), "{:#}", self.document);
    }

    /// Asserts that just these checks failed, each of them with words about it and a remedy.
    #[track_caller]
    pub fn expect_failures(&self, expected: &[(&str, &str)]) {
        let names: Vec<_> = self.with("fail").into_iter().map(|(name, _)| name).collect();
        let wanted: Vec<_> = expected.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            (self.status, names),
            (1, wanted.iter().map(ToString::to_string).collect()),
            "{:#}",
            self.document
        );
        for (name, words) in expected {
            self.expect("fail", name, words);
        }
    }

    /// Asserts how a check ended, with which words in it, and that it says what to do.
    #[track_caller]
    pub fn expect(&self, verdict: &str, name: &str, words: &str) {
        let check = self.check(name);
        assert_eq!(check["verdict"], verdict, "{check:#}");
        let said = format!("{}: {}", check["subject"].as_str().unwrap(), check["evidence"].as_str().unwrap());
        assert!(said.contains(words), "expected {words:?} in {check:#}");
        assert_eq!(check["remedy"].is_string(), ["warn", "fail"].contains(&verdict), "{check:#}");
    }
}

/// A container that is alone in its pod, with the hook that the node has.
pub fn bundle(node: &Node, name: &str) -> Bundle {
    Bundle::of_pod(node, "shop", name, "app", "/none").own_netns().with(|config| {
        for hooks in config["hooks"].as_object_mut().unwrap().values_mut() {
            hooks[0]["path"] = HOOK.into();
        }
    })
}

/// The same, running.
pub fn pod(node: &Node, name: &str) -> Container {
    Container::run(Runtime::Runc, &bundle(node, name))
}

/// Runs `porthole reconcile` of the node.
#[track_caller]
pub fn reconcile() {
    porthole(&["reconcile"]).expect_success();
}
