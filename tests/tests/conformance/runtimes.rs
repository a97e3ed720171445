//! What runtimes do differently, row by row, and what comes of it.

use std::fs;
use std::path::Path;

use porthole_tests::process::wait_until;
use porthole_tests::runtime::PoststopPid;
use porthole_tests::{Bundle, Container, Node, Runtime, on_every_runtime, tools};
use serde_json::Value;

/// The state that a shell hook before ours kept.
fn kept(path: &Path) -> Option<Value> {
    Some(serde_json::from_slice(&fs::read(path).ok()?).expect("a state is JSON"))
}

fn poststop_says_of_the_pid_what_the_table_says(node: &Node, runtime: Runtime) {
    let file = node.scratch().join("poststop.json");
    let bundle = Bundle::new(node).around("poststop", &format!("cat > {}", file.display()), "true");
    let container = Container::run(runtime, &bundle);
    let pid = container.pid();
    container.kill();
    container.wait_stopped();
    container.delete();
    let found = match kept(&file).expect("poststop was called").get("pid").and_then(Value::as_u64) {
        None => PoststopPid::Absent,
        Some(0) => PoststopPid::Zero,
        Some(stale) => {
            assert_eq!(stale, u64::from(pid));
            PoststopPid::Stale
        }
    };
    assert_eq!(found, runtime.traits().poststop_pid);
    assert_eq!(node.pins(), Vec::<String>::new(), "released whatever the state said");
    node.expect_silence("the release");
}

fn poststart_is_called_when_the_table_says(node: &Node, runtime: Runtime) {
    // runc up to 1.5 calls it at the end of create, when the program does not run yet.
    let bundle = Bundle::new(node).hooked(&["createRuntime", "poststart", "poststop"]);
    let container = Container::create(runtime, &bundle);
    let stage = |when: &str| {
        assert_eq!(node.pins().len(), 1, "{when}");
        node.record(container.id()).expect("recorded")["stage"].as_str().unwrap().to_owned()
    };
    assert_eq!(stage("created"), runtime.traits().last_stage_of_create);
    container.start();
    assert_eq!(stage("started"), "poststart");
    container.delete();
    node.expect_silence("all stages");
}

fn poststop_of_the_life_before_leaves_the_next_one_registered(node: &Node, runtime: Runtime) {
    // At the end of the first life a slow poststop hook of the site runs before ours. Meanwhile the id lives again.
    let slow = node.scratch().join("slow");
    let script = format!("test -e {0} || {{ touch {0}; sleep 1.5; }}", slow.display());
    let bundle = Bundle::new(node).around("poststop", &script, "true");
    let first = Container::run(runtime, &bundle);
    first.kill();
    first.wait_stopped();
    std::thread::scope(|scope| {
        let deleting = scope.spawn(|| first.delete());
        wait_until("the slow hook", || slow.exists());
        let again = runtime.create(&bundle.id, &bundle.dir);
        let registered = again.status.success();
        deleting.join().unwrap();
        // Some runtimes keep the id until the hooks have ended.
        assert_eq!(node.records().len(), usize::from(registered), "{again:?}");
        assert_eq!(node.pins().len(), usize::from(registered));
        let lines = node.log();
        assert_eq!(lines.len(), usize::from(registered), "{lines:?}");
        assert!(lines.iter().all(|line| line.contains("nothing is released")), "{lines:?}");
    });
    let _ = runtime.delete(&bundle.id);
    assert_eq!((node.records().len(), node.pins().len()), (0, 0));
    node.expect_silence("the end of the second life");
}

fn failed_create_is_cleaned_up_by_poststop_or_reconcile(node: &Node, runtime: Runtime) {
    // Another hook, after ours, fails the container.
    let file = node.scratch().join("poststop.json");
    let bundle = Bundle::new(node).around("createRuntime", "true", "exit 1").around(
        "poststop",
        &format!("cat > {}", file.display()),
        "true",
    );
    bundle.write();
    assert!(!runtime.create(&bundle.id, &bundle.dir).status.success());
    let _ = runtime.delete(&bundle.id);
    assert_eq!(file.exists(), runtime.traits().poststop_after_failed_create, "whether poststop is called");
    assert_eq!(node.records().is_empty(), file.exists());
    tools::reconcile();
    assert_eq!((node.records().len(), node.pins().len()), (0, 0));
    node.expect_silence("a container that failed");
}

fn command_that_does_not_exist_leaves_nothing(node: &Node, runtime: Runtime) {
    let bundle = Bundle::new(node).args(&["/bin/nonexistent"]);
    bundle.write();
    let created = runtime.create(&bundle.id, &bundle.dir).status.success();
    assert!(!created || !runtime.start(&bundle.id).status.success() || runtime == Runtime::Libcontainer);
    let _ = runtime.delete(&bundle.id);
    tools::reconcile();
    assert_eq!((node.records().len(), node.pins().len()), (0, 0));
    node.expect_silence("a container without a program");
}

fn bundle_gone_before_delete_leaves_nothing(node: &Node, runtime: Runtime) {
    let file = node.scratch().join("poststop.json");
    let bundle = Bundle::new(node).around("poststop", &format!("cat > {}", file.display()), "true");
    let container = Container::run(runtime, &bundle);
    container.kill();
    container.wait_stopped();
    fs::remove_dir_all(&bundle.dir).unwrap();
    let _ = runtime.delete(&bundle.id);
    assert_eq!(file.exists(), runtime.traits().poststop_without_bundle, "whether poststop is called");
    tools::reconcile();
    assert_eq!((node.records().len(), node.pins().len()), (0, 0));
    node.expect_silence("a bundle that was gone");
}

fn killed_behind_the_runtimes_back_is_released_by_reconcile(node: &Node, runtime: Runtime) {
    // A node that lost its runtime: nobody ever calls poststop.
    let container = Container::run(runtime, &Bundle::new(node).hooked(&["createRuntime", "poststart"]));
    container.kill();
    tools::reconcile();
    assert_eq!((node.records().len(), node.pins().len()), (0, 0));
    container.delete();
    node.expect_silence("reconcile");
}

on_every_runtime!(
    poststart_is_called_when_the_table_says,
    poststop_says_of_the_pid_what_the_table_says,
    poststop_of_the_life_before_leaves_the_next_one_registered,
    failed_create_is_cleaned_up_by_poststop_or_reconcile,
    command_that_does_not_exist_leaves_nothing,
    bundle_gone_before_delete_leaves_nothing,
    killed_behind_the_runtimes_back_is_released_by_reconcile,
);
