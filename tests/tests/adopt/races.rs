//! Adoption and hooks at once.

use std::fs::{self, File};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use porthole_tests::process::wait_until;
use porthole_tests::{Bundle, Container, HookRun, Node, Runtime, on_a_node};
use rustix::fs::{FlockOperation, flock};

use crate::setting::{adopted, reconcile, run};

fn hooks_and_adoption_at_once_leave_one_record_of_each(node: &Node) {
    for runtime in [Runtime::Runc, Runtime::Crun] {
        let bundles: Vec<_> = (0..12)
            .map(|n| Bundle::of_pod(node, "shop", &format!("web-{n}"), "app", "/none").own_netns())
            .collect();
        let done = AtomicBool::new(false);
        let containers: Vec<_> = thread::scope(|scope| {
            let adopting = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    run(&[]).expect_success();
                }
            });
            let making: Vec<_> =
                bundles.iter().map(|bundle| scope.spawn(|| Container::run(runtime, bundle))).collect();
            let made = making.into_iter().map(|one| one.join().unwrap()).collect();
            done.store(true, Ordering::Relaxed);
            adopting.join().unwrap();
            made
        });
        assert_eq!(adopted(), Vec::<String>::new(), "{runtime:?}");
        assert_eq!((node.records().len(), node.pins().len()), (12, 12), "{runtime:?}");
        for (n, container) in containers.iter().enumerate() {
            assert_eq!(node.pin(&format!("web-{n}")), Some(container.netns()), "{runtime:?}");
            assert_eq!(node.record(container.id()).unwrap()["pid"], container.pid());
        }
        // And at their end.
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    run(&[]).expect_success();
                }
            });
            let ending: Vec<_> =
                containers.into_iter().map(|container| scope.spawn(|| drop(container.delete()))).collect();
            ending.into_iter().for_each(|one| one.join().unwrap());
            done.store(true, Ordering::Relaxed);
        });
        reconcile();
        assert_eq!((node.records(), node.pins()), (vec![], vec![]), "{runtime:?}");
    }
    node.expect_silence("a race");
}

fn poststart_keeps_what_was_written_while_it_waited(node: &Node) {
    let bundle = Bundle::of_pod(node, "shop", "web-0", "app", "/none").own_netns().hooked(&["createRuntime"]);
    let container = Container::run(Runtime::Runc, &bundle);
    let file = node.run_dir().join("containers").join(format!("{}.json", container.id()));
    let held = File::open(node.run_dir().join("lock")).unwrap();
    flock(&held, FlockOperation::LockExclusive).unwrap();
    let state = bundle.state(Some(container.pid()));
    thread::scope(|scope| {
        let hook = scope.spawn(move || HookRun::with_state("poststart", &state).run());
        // It has read the record by the time it has the lock open.
        let waits = || {
            let pids = fs::read_dir("/proc").unwrap().flatten();
            pids.filter(|pid| {
                fs::read_to_string(pid.path().join("comm")).is_ok_and(|comm| comm == "porthole-hook\n")
            })
            .flat_map(|pid| fs::read_dir(pid.path().join("fd")).into_iter().flatten().flatten())
            .any(|fd| fs::read_link(fd.path()).is_ok_and(|path| path == node.run_dir().join("lock")))
        };
        wait_until("the hook to wait for the lock", waits);
        // What a reconcile does that re-pins it under another name.
        let mut record = node.record(container.id()).unwrap();
        record["pin"]["name"] = "web-0.shop".into();
        fs::write(file.with_extension("new"), record.to_string()).unwrap();
        fs::rename(file.with_extension("new"), &file).unwrap();
        thread::sleep(Duration::from_millis(20));
        drop(held);
        hook.join().unwrap().expect_success();
    });
    let record = node.record(container.id()).unwrap();
    assert_eq!((&record["stage"], &record["pin"]["name"]), (&"poststart".into(), &"web-0.shop".into()));
    container.delete();
    reconcile();
    node.expect_silence("a refresh");
}

on_a_node!(requires(root, ip, runc, crun):
    hooks_and_adoption_at_once_leave_one_record_of_each,
    poststart_keeps_what_was_written_while_it_waited,
);
