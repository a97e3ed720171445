//! Adoption killed at any moment: the next run finishes it.

use std::fs;
use std::path::Path;
use std::process::Command;

use porthole_tests::pod::EnginePin;
use porthole_tests::{Node, Sandbox, on_a_node, tools};
use serde_json::json;

use crate::setting::{STORAGE, adopted, sandbox_without_process, userdata};

const CRUN: &str = "/run/engine/crun";
pub const TRACE: &str = "/mnt/trace";
/// System calls that change something, and those that a change waits for.
const CHANGES: &str = "mkdirat,symlinkat,renameat,unlinkat,mount,umount2,flock,openat,write";

/// What crun would have written of a container, whose process is `sandbox`.
fn status_of(sandbox: &Sandbox) {
    let stat = fs::read_to_string(format!("/proc/{}/stat", sandbox.pid())).unwrap();
    let start: u64 = stat.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap().parse().unwrap();
    let status = json!({ "pid": sandbox.pid(), "process-start-time": start, "bundle": "/run/engine/bundle" });
    fs::create_dir_all(Path::new(CRUN).join("c1")).unwrap();
    fs::write(Path::new(CRUN).join("c1/status"), status.to_string()).unwrap();
    fs::create_dir_all("/run/engine/bundle").unwrap();
    let annotations = porthole_tests::bundle::containerd_annotations("shop", "web-0", "app");
    fs::write("/run/engine/bundle/config.json", json!({ "annotations": annotations }).to_string()).unwrap();
}

fn traced(options: &[&str]) -> tools::Outcome {
    let mut command = Command::new("strace");
    command.args(["-qq", "-o", TRACE]).args(options).arg("--").arg(tools::binary("porthole"));
    command.args(["reconcile", &format!("--engine-state=crun={CRUN}")]);
    command.arg(format!("--engine-state=containers-storage={STORAGE}"));
    tools::run(command)
}

/// One more run, by the engines of these tests and the directory of this one.
fn finish() {
    let words = [
        "reconcile",
        &format!("--engine-state=crun={CRUN}"),
        &format!("--engine-state=containers-storage={STORAGE}"),
    ];
    tools::porthole(&words).expect_success();
}

fn killed_at_any_change_the_next_run_finishes_it(node: &Node) {
    let mut kills: Vec<(String, usize)> = Vec::new();
    // Traced twice, as the first run of the node makes more calls.
    for nth in [None, None].into_iter().chain((0..).map(Some)) {
        let sandbox = Sandbox::start();
        status_of(&sandbox);
        let engine = EnginePin::new_netns("/run/engine-netns/6b1d");
        let pod = sandbox_without_process(node, "shop", "web-1", engine.path());
        let killed: Option<(String, usize)> = nth.map(|nth: usize| kills[nth].clone());
        match &killed {
            None => {
                traced(&["-e", &format!("trace={CHANGES}")]).expect_success();
                kills = steps(&fs::read_to_string(TRACE).unwrap());
                assert!(kills.len() > 20, "{kills:?}");
            }
            Some((name, count)) => {
                let inject = format!("inject={name}:signal=KILL:when={count}");
                let outcome = traced(&["-e", &format!("trace={name}"), "-e", &inject]);
                assert!(!outcome.status.success(), "not killed at {killed:?}: {outcome:?}");
                finish();
            }
        }
        assert_eq!(node.records(), ["c1"], "{killed:?}");
        assert_eq!(node.pins(), ["web-0", "web-1"], "{killed:?}");
        assert_eq!(node.pin("web-0"), Some(sandbox.netns()), "{killed:?}");
        assert_eq!(node.pin("web-1"), Some(engine.netns()), "{killed:?}");
        assert_eq!(adopted(), Vec::<String>::new(), "{killed:?}");
        sandbox.end();
        engine.remove();
        fs::remove_dir_all(userdata(&pod)).unwrap();
        finish();
        assert_eq!((node.records(), node.pins()), (vec![], vec![]), "{killed:?}");
        if nth.is_some_and(|nth| nth + 1 == kills.len()) {
            break;
        }
    }
}

/// The calls of a trace from the first one that takes the lock, each by its name and its number among those.
pub fn steps(trace: &str) -> Vec<(String, usize)> {
    let mut counts = std::collections::HashMap::new();
    let mut steps = Vec::new();
    for line in trace.lines() {
        let Some((name, _)) = line.split_once('(') else { continue };
        let count = *counts.entry(name).and_modify(|n| *n += 1).or_insert(1_usize);
        if counts.contains_key("flock") && !line.contains("\"/proc") {
            steps.push((name.to_owned(), count));
        }
    }
    steps
}

on_a_node!(requires(root, ip, unshare, strace):
    killed_at_any_change_the_next_run_finishes_it,
);
