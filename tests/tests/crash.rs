//! Many at once, and killed at any moment: what is left after `reconcile` is consistent, and after the pods' end
//! it is nothing.

#![allow(clippy::unwrap_used, reason = "what fails here is the test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use porthole_tests::bundle::containerd_annotations;
use porthole_tests::pod::EnginePin;
use porthole_tests::strace::{Step, kill_at, steps};
use porthole_tests::{Bundle, Container, HookRun, Netns, Node, Runtime, Sandbox, leaks, on_a_node, tools};
use rustix::mount::{MountPropagationFlags, mount_change};

fn pod(node: &Node, n: usize) -> Bundle {
    Bundle::new(node).annotations(&containerd_annotations("shop", &format!("web-{n}"), "app"))
}

/// Does `work` on each item, all at once.
fn at_once<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    thread::scope(|scope| {
        let running: Vec<_> = items.into_iter().map(|item| scope.spawn(|| work(item))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn a_hundred_containers_at_once(node: &Node, runtime: Runtime) {
    // What is asked here is that all are right, not that a busy machine is fast.
    let config = deadline(node, 8_000);
    let bundles: Vec<_> = (0..100).map(|n| pod(node, n).hook_config(&config)).collect();
    let containers = at_once(bundles, |bundle| Container::run(runtime, &bundle));
    node.expect_silence("a hundred creates");
    let expected: BTreeSet<_> = (0..100).map(|n| format!("web-{n}")).collect();
    assert_eq!(node.pins().into_iter().collect::<BTreeSet<_>>(), expected);
    assert_eq!(leaks::pin_mounts(node.netns_dir()), 100, "one mount each");
    assert_eq!(node.records().len(), 100);
    for (n, container) in containers.iter().enumerate() {
        assert_eq!(node.pin(&format!("web-{n}")), Some(container.netns()), "web-{n} is the right one");
    }
    at_once(containers, |container| drop(container.delete()));
    node.expect_silence("a hundred deletes");
    assert_eq!((node.pins().len(), node.records().len()), (0, 0));
}

/// A configuration in which the hook has so much time.
fn deadline(node: &Node, ms: u32) -> PathBuf {
    let file = node.scratch().join(format!("deadline-{ms}.toml"));
    fs::write(&file, format!("deadline_ms = {ms}\n")).unwrap();
    file
}

fn a_hundred_that_have_no_time_are_mended_by_reconcile(node: &Node) {
    // Ten milliseconds: many do not get the lock, and each of them says so.
    let config = deadline(node, 10);
    let pods: Vec<_> = (0..100).map(|n| (pod(node, n), Sandbox::start())).collect();
    for (bundle, _) in &pods {
        bundle.write();
    }
    at_once(pods.iter().collect(), |(bundle, sandbox)| {
        let state = bundle.state(Some(sandbox.pid()));
        HookRun::with_state("createRuntime", &state).config(&config).run().expect_success();
    });
    let said = node.log();
    assert!(node.records().len() + said.len() >= 100, "who is not recorded has said so: {said:#?}");
    tools::reconcile();
    is_consistent(node, "registered in no time, reconciled");
    let states: Vec<_> = pods.iter().map(|(bundle, _)| bundle.state(None)).collect();
    let recorded = node.records().len();
    drop(pods);
    at_once(states, |state| {
        HookRun::with_state("poststop", &state).config(&config).run().expect_success();
    });
    let said = node.log().len();
    assert!(node.records().len() <= said.min(recorded), "who is still recorded has said so");
    tools::reconcile();
    is_empty(node, "released in no time, reconciled");
}

fn a_hundred_containers_of_one_pod_at_once(node: &Node) {
    let sandbox = Sandbox::start();
    let bundles: Vec<_> = (0..100).map(|_| pod(node, 0).netns(&sandbox.netns_path())).collect();
    for bundle in &bundles {
        bundle.write();
    }
    let members: Vec<_> = bundles.iter().map(|bundle| bundle.state(Some(sandbox.pid()))).collect();
    let config = deadline(node, 8_000);
    at_once(members.iter().collect(), |state| {
        HookRun::with_state("createRuntime", state).config(&config).run().expect_success();
    });
    assert_eq!((node.pins(), node.records().len()), (vec!["web-0".to_owned()], 100));
    assert_eq!(leaks::pin_mounts(node.netns_dir()), 1);
    sandbox.end();
    at_once(members.iter().collect(), |state| {
        HookRun::with_state("poststop", state).config(&config).run().expect_success();
    });
    assert_eq!((node.pins().len(), node.records().len()), (0, 0));
    node.expect_silence("a hundred members");
}

fn pods_that_come_and_go_at_once_leave_nothing(node: &Node) {
    // Names collide all the time, and reconcile runs beside.
    let bundles: Vec<Vec<_>> = (0..8).map(|n| (0..20).map(|_| pod(node, n % 3)).collect()).collect();
    let config = deadline(node, 8_000);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reconciling = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                tools::reconcile();
            }
        });
        at_once(bundles, |bundles| {
            for bundle in bundles {
                bundle.write();
                let sandbox = Sandbox::start();
                let state = bundle.state(Some(sandbox.pid()));
                HookRun::with_state("createRuntime", &state).config(&config).run().expect_success();
                let record = node.record(&bundle.id).expect("recorded");
                let name = record["pin"]["name"].as_str().unwrap_or_else(|| panic!("not pinned: {record}"));
                assert_eq!(node.pin(name), Some(sandbox.netns()), "{name} is its own");
                HookRun::with_state("poststart", &state).config(&config).run().expect_success();
                sandbox.end();
                HookRun::with_state("poststop", &state).config(&config).run().expect_success();
                assert!(node.record(&bundle.id).is_none());
            }
        });
        done.store(true, Ordering::Relaxed);
        reconciling.join().unwrap();
    });
    is_empty(node, "at the end");
    node.expect_silence("pods that come and go");
}

/// What is there is whole: each record's pin is that of its container, each pin has a record.
fn is_consistent(node: &Node, after: &str) {
    let mut pinned = BTreeSet::new();
    for id in node.records() {
        let record = node.record(&id).unwrap();
        let name = record["pin"]["name"].as_str().unwrap_or_else(|| panic!("{after}: no pin: {record}"));
        let pin = node.pin(name).unwrap_or_else(|| panic!("{after}: {name} is not pinned"));
        assert_eq!(record["namespaces"]["net"]["ino"], pin.ino, "{after}");
        pinned.insert(name.to_owned());
    }
    let pins: BTreeSet<_> = node.pins().into_iter().collect();
    assert_eq!(pins, pinned, "{after}: every pin has a record");
    let files = leaks::below(node.netns_dir()).len();
    assert_eq!(files, pins.len(), "{after}: no file without a mount");
    assert_eq!(leaks::pin_mounts(node.netns_dir()), pins.len(), "{after}: one mount each");
}

/// Nothing but the registry's own directories and lock.
fn is_empty(node: &Node, after: &str) {
    assert_eq!((node.pins(), node.records()), (vec![], vec![]), "{after}");
    assert_eq!(leaks::below(node.netns_dir()), Vec::<String>::new(), "{after}");
    let left: Vec<_> = ["containers", "netns", "going", "idle", "quarantine"]
        .iter()
        .flat_map(|dir| leaks::below(&node.run_dir().join(dir)))
        .collect();
    assert_eq!(left, Vec::<String>::new(), "{after}");
}

/// A record is the last thing made, and the last thing removed: if there is one at any moment, it is whole.
fn a_record_implies_its_pin(node: &Node, step: &Step) {
    for id in node.records() {
        let record = node.record(&id).expect("never a torn record");
        let name = record["pin"]["name"].as_str().unwrap();
        let ino = record["namespaces"]["net"]["ino"].as_u64();
        assert_eq!(
            node.pin(name).map(|pin| pin.ino),
            ino,
            "killed at {}: a record without its pin",
            step.line
        );
    }
}

fn killed_at_any_step_of_the_first_registration(node: &Node) {
    let probe = Sandbox::start();
    let bundle = pod(node, 0);
    bundle.write();
    let steps = steps(HookRun::with_state("createRuntime", &bundle.state(Some(probe.pid()))));
    assert!(steps.len() > 20, "{steps:#?}");
    probe.end();
    HookRun::with_state("poststop", &bundle.state(None)).run().expect_success();
    for step in &steps {
        // The very first run of a node makes the directories too.
        node.unmount_all(node.netns_dir());
        let _ = fs::remove_dir_all(node.netns_dir());
        let _ = fs::remove_dir_all(node.run_dir());
        let sandbox = Sandbox::start();
        let state = bundle.state(Some(sandbox.pid()));
        kill_at(HookRun::with_state("createRuntime", &state), step);
        a_record_implies_its_pin(node, step);
        tools::reconcile();
        is_consistent(node, &format!("killed at {}, reconciled", step.line));
        // The next call, of another stage, has the last word.
        HookRun::with_state("poststart", &state).run().expect_success();
        assert_eq!(node.pin("web-0"), Some(sandbox.netns()), "killed at {}", step.line);
        is_consistent(node, &format!("killed at {}, registered", step.line));
        sandbox.end();
        HookRun::with_state("poststop", &state).run().expect_success();
        is_empty(node, &format!("killed at {}, released", step.line));
    }
    node.expect_silence("kills while registering");
}

fn killed_while_refreshing(node: &Node) {
    let sandbox = Sandbox::start();
    let bundle = pod(node, 0);
    bundle.write();
    let call = |stage: &str| HookRun::with_state(stage, &bundle.state(Some(sandbox.pid())));
    call("createRuntime").run().expect_success();
    for step in &steps(call("poststart")) {
        kill_at(call("poststart"), step);
        a_record_implies_its_pin(node, step);
        assert_eq!(node.records(), [bundle.id.as_str()], "killed at {}", step.line);
        tools::reconcile();
        is_consistent(node, &format!("killed at {}, reconciled", step.line));
        assert_eq!(node.pin("web-0"), Some(sandbox.netns()));
    }
    let state = bundle.state(None);
    sandbox.end();
    HookRun::with_state("poststop", &state).run().expect_success();
    is_empty(node, "at the end");
    node.expect_silence("kills while refreshing");
}

fn killed_while_a_member_joins(node: &Node) {
    let sandbox = Sandbox::start();
    let first = pod(node, 0).netns(&sandbox.netns_path());
    let second = pod(node, 0).netns(&sandbox.netns_path());
    first.write();
    second.write();
    let call = |stage: &str, bundle: &Bundle, pid| HookRun::with_state(stage, &bundle.state(Some(pid)));
    call("createRuntime", &first, sandbox.pid()).run().expect_success();
    let member = sandbox_in(&sandbox.netns_path());
    let steps = steps(call("createRuntime", &second, member.pid()));
    member.end();
    HookRun::with_state("poststop", &second.state(None)).run().expect_success();
    for step in &steps {
        let member = sandbox_in(&sandbox.netns_path());
        kill_at(call("createRuntime", &second, member.pid()), step);
        a_record_implies_its_pin(node, step);
        tools::reconcile();
        is_consistent(node, &format!("killed at {}, reconciled", step.line));
        assert_eq!(node.pin("web-0"), Some(sandbox.netns()), "killed at {}", step.line);
        member.end();
        HookRun::with_state("poststop", &second.state(None)).run().expect_success();
        assert_eq!(node.records(), std::slice::from_ref(&first.id));
    }
    let last = first.state(None);
    sandbox.end();
    HookRun::with_state("poststop", &last).run().expect_success();
    is_empty(node, "at the end");
    node.expect_silence("kills while joining");
}

fn killed_at_any_step_of_the_last_release(node: &Node) {
    let bundle = pod(node, 0);
    bundle.write();
    let register = || {
        let sandbox = Sandbox::start();
        HookRun::with_state("createRuntime", &bundle.state(Some(sandbox.pid()))).run().expect_success();
        assert_eq!(node.pin("web-0"), Some(sandbox.netns()));
        sandbox.end();
    };
    let release = || HookRun::with_state("poststop", &bundle.state(None));
    register();
    let steps = steps(release());
    for step in &steps {
        register();
        kill_at(release(), step);
        tools::reconcile();
        is_empty(node, &format!("killed at {}, reconciled", step.line));
    }
    // The same, but the runtime tries again, as engines do.
    for step in &steps {
        register();
        kill_at(release(), step);
        release().run().expect_success();
        tools::reconcile();
        is_empty(node, &format!("killed at {}, released again", step.line));
    }
    node.expect_silence("kills while releasing");
}

fn killed_at_any_step_of_a_release_in_a_directory_made_private(node: &Node) {
    let bundle = pod(node, 0);
    bundle.write();
    let register = || {
        // Shared again: each time it is made private after the pin was made.
        node.unmount_all(node.netns_dir());
        let sandbox = Sandbox::start();
        HookRun::with_state("createRuntime", &bundle.state(Some(sandbox.pid()))).run().expect_success();
        mount_change(node.netns_dir(), MountPropagationFlags::PRIVATE).unwrap();
        sandbox.end();
    };
    let release = || HookRun::with_state("poststop", &bundle.state(None));
    register();
    let steps = steps(release());
    assert!(steps.iter().any(|step| step.line.contains("unshare(")), "a copy of the mount namespace is made");
    for step in &steps {
        register();
        kill_at(release(), step);
        tools::reconcile();
        is_empty(node, &format!("killed at {}, reconciled", step.line));
    }
    node.expect_silence("kills while releasing in a private directory");
}

fn killed_while_a_member_leaves(node: &Node) {
    let engine = EnginePin::new_netns("/run/engine-netns/cni-1");
    let sandbox = Sandbox::start();
    let bundle = pod(node, 0).netns(engine.path());
    bundle.write();
    let register = || {
        let entered = sandbox_in(engine.path());
        HookRun::with_state("createRuntime", &bundle.state(Some(entered.pid()))).run().expect_success();
        entered.end();
    };
    let release = || HookRun::with_state("poststop", &bundle.state(None));
    register();
    let steps = steps(release());
    assert_eq!(node.pin("web-0"), Some(engine.netns()), "the engine's pin holds it");
    for step in &steps {
        register();
        kill_at(release(), step);
        a_record_implies_its_pin(node, step);
        release().run().expect_success();
        tools::reconcile();
        assert_eq!(node.pin("web-0"), Some(engine.netns()), "killed at {}: the pod lives on", step.line);
        assert_eq!(node.records(), Vec::<String>::new());
    }
    drop(sandbox);
    engine.remove();
    tools::reconcile();
    is_empty(node, "at the end");
    node.expect_silence("kills while leaving");
}

fn killed_while_mending_what_a_kill_left(node: &Node) {
    // Two deaths in a row: at a step that leaves a file without a mount, then at every step of the next run.
    let bundle = pod(node, 0);
    bundle.write();
    let probe = Sandbox::start();
    // Not the first run of the node, which makes more calls.
    HookRun::with_state("createRuntime", &bundle.state(Some(probe.pid()))).run().expect_success();
    probe.end();
    HookRun::with_state("poststop", &bundle.state(None)).run().expect_success();
    let probe = Sandbox::start();
    let all = steps(HookRun::with_state("createRuntime", &bundle.state(Some(probe.pid()))));
    probe.end();
    HookRun::with_state("poststop", &bundle.state(None)).run().expect_success();
    let mounts: Vec<_> =
        all.iter().filter(|step| step.name.contains("mount") || step.name == "renameat").collect();
    assert!(!mounts.is_empty(), "{all:#?}");
    for first in mounts {
        for second in all.iter().rev().step_by(3) {
            let sandbox = Sandbox::start();
            let run = || HookRun::with_state("createRuntime", &bundle.state(Some(sandbox.pid())));
            kill_at(run(), first);
            // It makes other calls than a first run does; not every step is there to be killed at.
            let inject = format!("inject={}:signal=KILL:when={}", second.name, second.nth);
            let _ = run().under(&["strace", "-qq", "-o", "/dev/null", "-e", &inject, "--"]).run();
            let after = format!("killed at {}, then at {}", first.line, second.line);
            tools::reconcile();
            is_consistent(node, &after);
            run().run().expect_success();
            assert_eq!(node.pin("web-0"), Some(sandbox.netns()), "{after}");
            sandbox.end();
            HookRun::with_state("poststop", &bundle.state(None)).run().expect_success();
            is_empty(node, &after);
        }
    }
    node.expect_silence("two kills in a row");
}

/// A process in the network namespace at `path`.
fn sandbox_in(path: &str) -> porthole_tests::process::Sleeper {
    porthole_tests::process::Sleeper::under(&["nsenter", &format!("--net={path}")], Netns::at(path).unwrap())
}

porthole_tests::on_every_runtime!(a_hundred_containers_at_once);

on_a_node!(requires(root, ip, unshare, strace, nsenter):
    a_hundred_containers_of_one_pod_at_once,
    a_hundred_that_have_no_time_are_mended_by_reconcile,
    pods_that_come_and_go_at_once_leave_nothing,
    killed_at_any_step_of_the_first_registration,
    killed_while_refreshing,
    killed_while_a_member_joins,
    killed_at_any_step_of_the_last_release,
    killed_at_any_step_of_a_release_in_a_directory_made_private,
    killed_while_a_member_leaves,
    killed_while_mending_what_a_kill_left,
);
