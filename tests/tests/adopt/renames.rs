//! Names that change hands: after a kill at any moment the next run finishes the rename.

use std::fs;
use std::path::Path;
use std::process::Command;

use porthole_tests::process::Sleeper;
use porthole_tests::strace::{kill_at, steps as hook_steps};
use porthole_tests::{Bundle, HookRun, Netns, Node, Sandbox, leaks, on_a_node, tools};
use serde_json::{Map, Value, json};

use crate::kills::{TRACE, steps};
use crate::setting::{STORAGE, reconcile, userdata};

/// System calls that change something, and those that a change waits for.
const CHANGES: &str = "mkdirat,symlinkat,renameat,renameat2,unlinkat,mount,umount2,flock,openat,write";

/// A container of podman; its name is in the index of the storage.
fn of_podman(node: &Node) -> Bundle {
    let annotations = Map::from_iter([("io.container.manager".to_owned(), "libpod".into())]);
    let bundle = Bundle::new(node).annotations(&annotations);
    let dir = userdata(&bundle.id);
    let bundle = bundle.at(dir);
    bundle.write();
    bundle
}

/// The names that podman gives its containers.
fn call(names: &[(&Bundle, &str)]) {
    let entry =
        |(bundle, name): &(&Bundle, &str)| json!({ "id": bundle.id, "names": [name], "metadata": "{}" });
    let index: Vec<Value> = names.iter().map(entry).collect();
    // The id comes first, as podman writes it.
    let text = json!(index).to_string();
    fs::write(Path::new(STORAGE).join("overlay-containers/containers.json"), text).unwrap();
}

fn hook(stage: &str, bundle: &Bundle, pid: Option<u32>) -> HookRun {
    HookRun::with_state(stage, &bundle.state(pid))
}

fn traced(options: &[&str]) -> tools::Outcome {
    let mut command = Command::new("strace");
    command.args(["-qq", "-o", TRACE]).args(options).arg("--").arg(tools::binary("porthole"));
    tools::run({
        command.arg("reconcile");
        command
    })
}

fn whole(node: &Node, pins: &[&str], after: &str) {
    assert_eq!(node.pins(), pins, "{after}");
    assert_eq!(leaks::below(node.netns_dir()).len(), pins.len(), "{after}: no file without a mount");
    assert_eq!(leaks::pin_mounts(node.netns_dir()), pins.len(), "{after}: one mount each");
    assert_eq!(leaks::below(&node.run_dir().join("going")), Vec::<String>::new(), "{after}");
}

fn a_rename_that_is_killed_at_any_change_is_finished_by_the_next_run(node: &Node) {
    let bundle = of_podman(node);
    let mut kills: Vec<(String, usize)> = Vec::new();
    for nth in [None, None].into_iter().chain((0..).map(Some)) {
        let sandbox = Sandbox::start();
        call(&[(&bundle, "web")]);
        hook("createRuntime", &bundle, Some(sandbox.pid())).run().expect_success();
        assert_eq!(node.pin("web"), Some(sandbox.netns()));
        call(&[(&bundle, "web-old")]);
        let killed: Option<(String, usize)> = nth.map(|nth: usize| kills[nth].clone());
        let after = format!("{killed:?}");
        match &killed {
            None => {
                traced(&["-e", &format!("trace={CHANGES}")]).expect_success();
                kills = steps(&fs::read_to_string(TRACE).unwrap());
                assert!(kills.iter().any(|(name, _)| name == "renameat2"), "{kills:?}");
            }
            Some((name, count)) => {
                let inject = format!("inject={name}:signal=KILL:when={count}");
                let outcome = traced(&["-e", &format!("trace={name}"), "-e", &inject]);
                assert!(!outcome.status.success(), "not killed at {after}: {outcome:?}");
                let at = |name: &str| node.pin(name) == Some(sandbox.netns());
                assert!(at("web") || at("web-old"), "{after}: the container has a name at any moment");
                tools::reconcile();
            }
        }
        whole(node, &["web-old"], &after);
        let record = node.record(&bundle.id).unwrap();
        assert_eq!(
            (&record["name"], &record["pin"]["name"]),
            (&"web-old".into(), &"web-old".into()),
            "{after}"
        );
        assert_eq!(node.pin("web-old"), Some(sandbox.netns()), "{after}");
        assert_eq!(tools::reconcile(), Vec::<Value>::new(), "{after}");
        sandbox.end();
        hook("poststop", &bundle, None).run().expect_success();
        whole(node, &[], &after);
        if nth.is_some_and(|nth| nth + 1 == kills.len()) {
            break;
        }
    }
    node.expect_silence("renames that were killed");
}

/// A process in the network namespace of another.
fn beside(sandbox: &Sandbox) -> Sleeper {
    let path = format!("--net={}", sandbox.netns_path());
    Sleeper::under(&["nsenter", &path], sandbox.netns())
}

fn an_owner_that_is_registered_again_and_killed_at_any_step_has_its_name_at_last(node: &Node) {
    let (own, side) = (of_podman(node), of_podman(node));
    call(&[(&own, "own"), (&side, "side")]);
    let mut all = None;
    let mut next = 0;
    loop {
        let first = Sandbox::start();
        let joined = beside(&first);
        hook("createRuntime", &own, Some(first.pid())).run().expect_success();
        hook("createRuntime", &side, Some(joined.pid())).run().expect_success();
        let shared = Netns::of(joined.pid()).unwrap();
        assert_eq!((node.pin("own"), node.pins().len()), (Some(shared), 1));
        first.end();
        hook("poststop", &own, None).run().expect_success();
        let again = Sandbox::start();
        let start = || hook("createRuntime", &own, Some(again.pid()));
        let after = match &all {
            None => {
                let mut steps = hook_steps(start());
                steps.retain(|step| CHANGES.split(',').any(|name| name == step.name));
                all = Some(steps);
                "not killed".to_owned()
            }
            Some(steps) => {
                let step = &steps[next];
                kill_at(start(), step);
                next += 1;
                tools::reconcile();
                start().run().expect_success();
                format!("killed at {}", step.line)
            }
        };
        whole(node, &["own", "side"], &after);
        assert_eq!((node.pin("own"), node.pin("side")), (Some(again.netns()), Some(shared)), "{after}");
        assert_eq!(node.record(&side.id).unwrap()["pin"]["name"], "side", "{after}");
        assert_eq!(tools::reconcile(), Vec::<Value>::new(), "{after}");
        drop(joined);
        again.end();
        hook("poststop", &side, None).run().expect_success();
        hook("poststop", &own, None).run().expect_success();
        whole(node, &[], &after);
        if all.as_ref().is_some_and(|steps| next == steps.len()) {
            break;
        }
    }
    reconcile();
    node.expect_silence("owners that were killed");
}

on_a_node!(requires(root, ip, unshare, strace, nsenter):
    a_rename_that_is_killed_at_any_change_is_finished_by_the_next_run,
    an_owner_that_is_registered_again_and_killed_at_any_step_has_its_name_at_last,
);
