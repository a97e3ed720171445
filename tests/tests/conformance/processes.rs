//! The pid in the state: missing, dead, stale, or another process's by now. By hand, as no runtime does it at will.

use std::io::Write;
use std::process::{Command, Stdio};

use porthole_tests::bundle::containerd_annotations;
use porthole_tests::process::{dead_pid, reuse, wait_until};
use porthole_tests::{Bundle, HookRun, Netns, Node, Sandbox, on_a_node, tools};
use serde_json::{Value, json};

fn web_0(node: &Node) -> Bundle {
    let bundle = Bundle::new(node).annotations(&containerd_annotations("shop", "web-0", "nginx"));
    bundle.write();
    bundle
}

fn call(stage: &str, state: &Value) {
    let outcome = HookRun::with_state(stage, state).run();
    outcome.expect_success();
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""), "nothing is printed");
}

fn nothing_is_registered(node: &Node) {
    assert_eq!((node.records().len(), node.pins().len()), (0, 0));
}

fn pid_is_dead(node: &Node) {
    let bundle = web_0(node);
    call("createRuntime", &bundle.state(Some(dead_pid())));
    node.expect_one_line(&[&bundle.id, "createRuntime", "process"]);
    nothing_is_registered(node);
}

fn pid_is_no_pid(node: &Node) {
    let bundle = web_0(node);
    for pid in
        [json!(0), json!(-1), json!(4_000_000_000_u64), json!("7"), json!(null), json!(1.5), json!([1])]
    {
        let mut state = bundle.state(None);
        state["pid"] = pid.clone();
        call("createRuntime", &state);
        let line = node.expect_one_line(&["createRuntime"]);
        assert!(line.contains("process") || line.contains("OCI state"), "{pid}: {line}");
        nothing_is_registered(node);
    }
}

fn pid_is_missing_at_create(node: &Node) {
    let bundle = web_0(node);
    call("createRuntime", &bundle.state(None));
    node.expect_one_line(&[&bundle.id, "createRuntime", "process"]);
    nothing_is_registered(node);
}

/// Its first thread ends on a line of input, and another one goes on.
const THREADS: &str = "import ctypes, sys, threading, time
threading.Thread(target=lambda: time.sleep(600)).start()
sys.stdin.readline()
ctypes.CDLL(None).pthread_exit(None)";

fn a_process_whose_first_thread_has_ended_runs(node: &Node) {
    let mut threads = Command::new("unshare");
    threads.args(["--net", "/usr/bin/python3", "-c", THREADS]).stdin(Stdio::piped());
    let mut threads = threads.spawn().unwrap();
    let pid = threads.id();
    wait_until("a network namespace", || Netns::of(pid).is_some_and(|netns| Some(netns) != Netns::of(1)));
    let netns = Netns::of(pid);
    let bundle = web_0(node);
    call("createRuntime", &bundle.state(Some(pid)));
    threads.stdin.take().unwrap().write_all(b"\n").unwrap();
    let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    wait_until("the end of a thread", || stat().rsplit(')').next().unwrap().starts_with(" Z"));
    assert_eq!(tools::reconcile(), Vec::<String>::new());
    let listed = tools::porthole(&["list"]);
    assert!(listed.expect_success().contains(&pid.to_string()), "{listed:?}");
    call("poststop", &bundle.state(None));
    node.expect_one_line(&["lives", "nothing is released"]);
    assert_eq!((node.records().len(), node.pin("web-0")), (1, netns));
    threads.kill().unwrap();
    threads.wait().unwrap();
    call("poststop", &bundle.state(None));
    nothing_is_registered(node);
}

fn poststop_with_any_pid_releases(node: &Node) {
    for pid in [json!(null), json!(0), json!(-1), json!("stale"), json!("dead"), json!("own")] {
        let bundle = web_0(node);
        let sandbox = Sandbox::start();
        let other = Sandbox::start();
        call("createRuntime", &bundle.state(Some(sandbox.pid())));
        assert_eq!(node.pin("web-0"), Some(sandbox.netns()));
        let own = sandbox.pid();
        sandbox.end();
        let mut state = bundle.state(None);
        match pid.as_str() {
            Some("stale") => state["pid"] = json!(other.pid()),
            Some("dead") => state["pid"] = json!(dead_pid()),
            Some(_) => state["pid"] = json!(own),
            None if pid.is_null() => {}
            None => state["pid"] = pid.clone(),
        }
        call("poststop", &state);
        nothing_is_registered(node);
        node.expect_silence(&format!("poststop with pid {pid}"));
    }
}

fn pid_reused_before_poststop(node: &Node) {
    let bundle = web_0(node);
    let sandbox = Sandbox::start();
    let pid = sandbox.pid();
    call("createRuntime", &bundle.state(Some(pid)));
    sandbox.end();
    let bystander = reuse(pid);
    call("poststop", &bundle.state(Some(bystander.pid())));
    nothing_is_registered(node);
    node.expect_silence("a pid that is another process's by now");
}

fn pid_reused_before_poststart(node: &Node) {
    let bundle = web_0(node);
    let sandbox = Sandbox::start();
    let (pid, netns) = (sandbox.pid(), sandbox.netns());
    call("createRuntime", &bundle.state(Some(pid)));
    let before = node.record(&bundle.id).expect("recorded");
    sandbox.end();
    let bystander = reuse(pid);
    call("poststart", &bundle.state(Some(pid)));
    let after = node.record(&bundle.id).expect("recorded");
    assert_eq!(after["namespaces"]["net"], before["namespaces"]["net"], "not the bystander's");
    assert_eq!(node.pin("web-0"), Some(netns));
    bystander.end();
    call("poststop", &bundle.state(None));
    nothing_is_registered(node);
    let _ = node.log();
}

fn pid_reused_before_reconcile(node: &Node) {
    let bundle = web_0(node);
    let sandbox = Sandbox::start();
    let pid = sandbox.pid();
    call("createRuntime", &bundle.state(Some(pid)));
    sandbox.end();
    let bystander = reuse(pid);
    let done = tools::reconcile();
    assert!(done.iter().any(|line| line.contains(&bundle.id)), "says what it did: {done:?}");
    nothing_is_registered(node);
    bystander.end();
}

fn id_used_again_after_an_end_nobody_told_of(node: &Node) {
    let bundle = web_0(node);
    let first = Sandbox::start();
    call("createRuntime", &bundle.state(Some(first.pid())));
    first.end();
    let second = Sandbox::start();
    call("createRuntime", &bundle.state(Some(second.pid())));
    assert_eq!(node.pins(), ["web-0"]);
    assert_eq!(node.pin("web-0"), Netns::of(second.pid()), "the pin is that of the container that lives");
    second.end();
    call("poststop", &bundle.state(None));
    nothing_is_registered(node);
    node.expect_silence("an id used twice");
}

fn poststop_of_another_life_releases_nothing(node: &Node) {
    // The poststop is that of an earlier container of the id, or of one under another root of the runtime.
    let bundle = web_0(node);
    let first = Sandbox::start();
    call("createRuntime", &bundle.state(Some(first.pid())));
    let record = node.record(&bundle.id);
    for pid in [None, Some(0), Some(dead_pid()), Some(first.pid())] {
        let run = HookRun::with_state("poststop", &bundle.state(pid)).run();
        run.expect_success();
        assert!(run.took < std::time::Duration::from_millis(700), "{:?}", run.took);
        node.expect_one_line(&[&bundle.id, "poststop", &first.pid().to_string(), "nothing is released"]);
        assert_eq!((node.pin("web-0"), node.record(&bundle.id)), (Some(first.netns()), record.clone()));
    }
    first.end();
    call("poststop", &bundle.state(None));
    nothing_is_registered(node);
    node.expect_silence("the end of the recorded one");
}

fn of_two_containers_of_one_id_the_first_stays_recorded(node: &Node) {
    let bundle = web_0(node);
    let (first, second) = (Sandbox::start(), Sandbox::start());
    call("createRuntime", &bundle.state(Some(first.pid())));
    let record = node.record(&bundle.id);
    for stage in ["createRuntime", "prestart", "poststart"] {
        call(stage, &bundle.state(Some(second.pid())));
        node.expect_one_line(&[&bundle.id, stage, &first.pid().to_string(), "lives", "--root"]);
        assert_eq!((node.pin("web-0"), node.record(&bundle.id)), (Some(first.netns()), record.clone()));
        assert_eq!(node.pins(), ["web-0"]);
    }
    assert!(tools::reconcile().is_empty());
    first.end();
    call("poststop", &bundle.state(None));
    nothing_is_registered(node);
    call("createRuntime", &bundle.state(Some(second.pid())));
    assert_eq!(node.pin("web-0"), Some(second.netns()));
    second.end();
    call("poststop", &bundle.state(None));
    nothing_is_registered(node);
    node.expect_silence("one after the other");
}

fn a_process_that_takes_a_moment_to_end_is_released(node: &Node) {
    let bundle = web_0(node);
    let sandbox = Sandbox::start();
    call("createRuntime", &bundle.state(Some(sandbox.pid())));
    let ending = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(40));
        sandbox.end();
    });
    call("poststop", &bundle.state(None));
    ending.join().unwrap();
    nothing_is_registered(node);
    node.expect_silence("a process that was ending");
}

fn a_process_that_dies_while_the_lock_is_waited_for_is_not_registered(node: &Node) {
    let bundle = web_0(node);
    call("poststop", &bundle.state(None));
    let warm = Sandbox::start();
    call("createRuntime", &bundle.state(Some(warm.pid())));
    warm.end();
    call("poststop", &bundle.state(None));
    let held = std::fs::File::open(node.run_dir().join("lock")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let sandbox = Sandbox::start();
    let state = bundle.state(Some(sandbox.pid()));
    std::thread::scope(|scope| {
        scope.spawn(|| call("createRuntime", &state));
        std::thread::sleep(std::time::Duration::from_millis(300));
        sandbox.end();
        drop(held);
    });
    node.expect_one_line(&[&bundle.id, "createRuntime", "is gone"]);
    nothing_is_registered(node);
}

fn release_of_what_was_never_there(node: &Node) {
    call("poststop", &web_0(node).state(None));
    nothing_is_registered(node);
    node.expect_silence("a release of nothing");
}

fn hook_in_another_mount_namespace_pins_in_that_of_pid_1(node: &Node) {
    let bundle = web_0(node);
    let sandbox = Sandbox::start();
    let state = bundle.state(Some(sandbox.pid()));
    // Private: what is mounted there is not seen here.
    let run = HookRun::with_state("createRuntime", &state);
    run.under(&["unshare", "--mount", "--propagation", "private"]).run().expect_success();
    let pinned = node.pin("web-0") == Some(sandbox.netns());
    let record = node.record(&bundle.id).expect("recorded");
    let lines = node.log();
    assert_eq!(record["pin"].is_null(), !pinned, "the record says what is the case: {record}");
    assert!(pinned || lines.len() == 1, "pinned where people look, or said so: {lines:?}");
    sandbox.end();
    call("poststop", &bundle.state(None));
    nothing_is_registered(node);
}

on_a_node!(requires(root, ip, python3, unshare):
    pid_is_dead,
    pid_is_no_pid,
    pid_is_missing_at_create,
    poststop_with_any_pid_releases,
    a_process_whose_first_thread_has_ended_runs,
    pid_reused_before_poststop,
    pid_reused_before_poststart,
    pid_reused_before_reconcile,
    id_used_again_after_an_end_nobody_told_of,
    poststop_of_another_life_releases_nothing,
    of_two_containers_of_one_id_the_first_stays_recorded,
    a_process_that_takes_a_moment_to_end_is_released,
    a_process_that_dies_while_the_lock_is_waited_for_is_not_registered,
    release_of_what_was_never_there,
    hook_in_another_mount_namespace_pins_in_that_of_pid_1,
);
