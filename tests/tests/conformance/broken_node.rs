//! A node on which nothing can be registered: the container starts all the same, one log line says why, and
//! nothing half-made is left.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use porthole_tests::bundle::containerd_annotations;
use porthole_tests::pod::EnginePin;
use porthole_tests::process::wait_until;
use porthole_tests::{Bundle, Container, HookRun, Node, Runtime, Sandbox, leaks, on_every_runtime, tools};
use rustix::fs::{FlockOperation, flock};

/// A container hooked at the two stages at which something is made or taken away.
fn web_0(node: &Node) -> Bundle {
    let annotations = containerd_annotations("shop", "web-0", "nginx");
    Bundle::new(node).annotations(&annotations).hooked(&["createRuntime", "poststop"])
}

/// Creates and starts the container, which must succeed, with one log line that has `words` in it.
#[track_caller]
fn starts_with_one_line(node: &Node, runtime: Runtime, words: &[&str]) -> Container {
    let bundle = web_0(node);
    let container = Container::run(runtime, &bundle);
    assert_eq!(container.status(), "running");
    let line = node.expect_one_line(words);
    assert!(line.contains(&bundle.id), "the line names the container: {line}");
    assert!(line.contains("createRuntime"), "the line names the stage: {line}");
    assert!(line.starts_with('<') && line.contains("porthole-hook["), "RFC 3164: {line}");
    container
}

/// Makes the registry's directories, as any earlier container has.
fn warm_up(node: &Node, runtime: Runtime) {
    Container::run(runtime, &Bundle::new(node)).delete();
    node.expect_silence("a container before the trouble");
}

fn fill_run() -> Vec<String> {
    let fillers = ["/run/filler".to_owned()];
    let mut file = File::create(&fillers[0]).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    fillers.to_vec()
}

fn run_is_full(node: &Node, runtime: Runtime) {
    node.limit_run(1 << 20);
    let fillers = fill_run();
    let container = starts_with_one_line(node, runtime, &["No space left"]);
    assert_eq!(node.pins(), Vec::<String>::new(), "no pin without a record");
    container.delete();
    for filler in fillers {
        fs::remove_file(filler).unwrap();
    }
}

fn run_is_full_when_a_pod_ends(node: &Node, runtime: Runtime) {
    let container = Container::run(runtime, &web_0(node));
    node.limit_run(1 << 20);
    let fillers = fill_run();
    container.delete();
    assert_eq!(node.pins(), Vec::<String>::new());
    assert!(node.records().is_empty(), "to release takes no space");
    node.expect_silence("a release on a full disk");
    for filler in fillers {
        fs::remove_file(filler).unwrap();
    }
}

fn run_has_no_inode_left(node: &Node, runtime: Runtime) {
    warm_up(node, runtime);
    let count = leaks::below(Path::new("/run")).len() + 2;
    node.limit_run_inodes(count);
    let container = starts_with_one_line(node, runtime, &["No space left"]);
    assert_eq!(node.pins(), Vec::<String>::new());
    container.delete();
    node.limit_run_inodes(10_000);
    tools::reconcile();
}

fn pin_directory_is_read_only(node: &Node, runtime: Runtime) {
    node.make_read_only(node.netns_dir());
    let container = starts_with_one_line(node, runtime, &["/run/netns", "Read-only file system"]);
    container.delete();
    node.unmount_all(node.netns_dir());
}

fn registry_is_read_only(node: &Node, runtime: Runtime) {
    warm_up(node, runtime);
    node.make_read_only(node.run_dir());
    let container = starts_with_one_line(node, runtime, &["/run/porthole", "Read-only file system"]);
    assert_eq!(node.pins(), Vec::<String>::new());
    container.delete();
    node.unmount_all(node.run_dir());
}

fn pin_directory_is_a_file(node: &Node, runtime: Runtime) {
    fs::write(node.netns_dir(), "mine").unwrap();
    let container = starts_with_one_line(node, runtime, &["/run/netns", "not a directory"]);
    container.delete();
    assert_eq!(fs::read_to_string(node.netns_dir()).unwrap(), "mine", "left as it was");
}

fn pin_directory_is_a_symlink(node: &Node, runtime: Runtime) {
    let elsewhere = node.scratch().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, node.netns_dir()).unwrap();
    let container = starts_with_one_line(node, runtime, &["/run/netns", "symbolic link"]);
    assert_eq!(leaks::below(&elsewhere), Vec::<String>::new(), "nothing was made where it points to");
    container.delete();
    assert!(node.netns_dir().is_symlink(), "left as it was");
}

fn registry_is_a_file(node: &Node, runtime: Runtime) {
    fs::write(node.run_dir(), "mine").unwrap();
    let container = starts_with_one_line(node, runtime, &["/run/porthole", "not a directory"]);
    container.delete();
    assert_eq!(fs::read_to_string(node.run_dir()).unwrap(), "mine");
}

fn foreign_file_is_at_the_name(node: &Node, runtime: Runtime) {
    // Another name is free, so there is nothing to complain of.
    for content in ["mine", ""] {
        fs::create_dir_all(node.netns_dir()).unwrap();
        let foreign = node.netns_dir().join("web-0");
        fs::write(&foreign, content).unwrap();
        let container = Container::run(runtime, &web_0(node));
        assert_eq!(node.pin("web-0.shop"), Some(container.netns()), "{content:?}");
        container.delete();
        assert_eq!(node.pins(), Vec::<String>::new());
        assert_eq!(fs::read_to_string(&foreign).unwrap(), content, "never touched");
        fs::remove_file(foreign).unwrap();
        node.expect_silence("a foreign file");
    }
}

fn foreign_pin_is_at_the_name(node: &Node, runtime: Runtime) {
    tools::ip(&["netns", "add", "web-0"]).expect_success();
    let foreign = node.pin("web-0");
    let container = Container::run(runtime, &web_0(node));
    assert_eq!(node.pin("web-0.shop"), Some(container.netns()));
    container.delete();
    assert_eq!(node.pin("web-0"), foreign, "never touched");
    tools::ip(&["netns", "del", "web-0"]).expect_success();
    node.expect_silence("a foreign pin");
}

fn every_name_is_taken(node: &Node, runtime: Runtime) {
    fs::create_dir_all(node.netns_dir()).unwrap();
    let bundle = web_0(node);
    let names = ["web-0".to_owned(), "web-0.shop".to_owned(), format!("web-0.shop.{}", &bundle.id[..12])];
    for name in &names {
        fs::create_dir(node.netns_dir().join(name)).unwrap();
    }
    let container = Container::run(runtime, &bundle);
    node.expect_one_line(&[&bundle.id, "web-0.shop", "taken"]);
    assert_eq!(node.pins(), Vec::<String>::new());
    container.delete();
    for name in &names {
        fs::remove_dir(node.netns_dir().join(name)).unwrap();
    }
}

fn pin_taken_away_and_its_name_given_to_another(node: &Node, runtime: Runtime) {
    let container = Container::run(runtime, &web_0(node));
    tools::ip(&["netns", "del", "web-0"]).expect_success();
    tools::ip(&["netns", "add", "web-0"]).expect_success();
    let foreign = node.pin("web-0");
    container.delete();
    assert_eq!(node.pin("web-0"), foreign, "what is not ours by inode stays");
    tools::ip(&["netns", "del", "web-0"]).expect_success();
    node.expect_silence("a name that changed hands");
}

fn lock_is_held_past_the_deadline(node: &Node, runtime: Runtime) {
    warm_up(node, runtime);
    let held = File::open(node.run_dir().join("lock")).unwrap();
    flock(&held, FlockOperation::LockExclusive).unwrap();
    let start = Instant::now();
    let container = starts_with_one_line(node, runtime, &["lock"]);
    assert!(start.elapsed() < Duration::from_secs(2), "the deadline is one second: {:?}", start.elapsed());
    assert_eq!((node.pins().len(), node.records().len()), (0, 0), "nothing without the lock");
    drop(held);
    container.delete();
    node.expect_silence("a release once the lock is free");
}

fn the_pin_directory_is_locked_by_a_user(node: &Node, runtime: Runtime) {
    warm_up(node, runtime);
    node.unmount_all(node.netns_dir());
    let mut flock = Command::new("setpriv");
    flock.args(["--reuid", "1234", "--regid", "567", "--clear-groups", "flock", "-F"]).arg(node.netns_dir());
    let mut user = flock.args(["sleep", "100000"]).spawn().unwrap();
    let is_locked = || {
        let dir = File::open(node.netns_dir()).unwrap();
        rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive).is_err()
    };
    wait_until("the user's lock", is_locked);
    let bundle = web_0(node);
    bundle.write();
    let sandbox = Sandbox::start();
    let run = HookRun::with_state("createRuntime", &bundle.state(Some(sandbox.pid()))).run();
    run.expect_success();
    assert!(run.took < Duration::from_millis(500), "{:?}", run.took);
    assert_eq!(node.pin("web-0"), Some(sandbox.netns()));
    sandbox.end();
    HookRun::with_state("poststop", &bundle.state(None)).run().expect_success();
    node.unmount_all(node.netns_dir());
    let container = Container::run(runtime, &web_0(node));
    assert_eq!(node.pins(), ["web-0"]);
    container.delete();
    user.kill().unwrap();
    user.wait().unwrap();
    node.expect_silence("a directory that a user has locked");
}

fn lock_is_held_for_a_moment(node: &Node, runtime: Runtime) {
    warm_up(node, runtime);
    let held = File::open(node.run_dir().join("lock")).unwrap();
    flock(&held, FlockOperation::LockExclusive).unwrap();
    let release = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        drop(held);
    });
    let container = Container::run(runtime, &web_0(node));
    release.join().unwrap();
    assert_eq!(node.pins(), ["web-0"]);
    container.delete();
    node.expect_silence("a short wait");
}

fn lock_held_at_the_end_is_mended_by_reconcile(node: &Node, runtime: Runtime) {
    let container = Container::run(runtime, &web_0(node));
    let held = File::open(node.run_dir().join("lock")).unwrap();
    flock(&held, FlockOperation::LockExclusive).unwrap();
    let id = container.id().to_owned();
    container.delete();
    node.expect_one_line(&[&id, "poststop", "lock"]);
    drop(held);
    assert_eq!(node.pins(), ["web-0"], "what could not be released");
    tools::reconcile();
    assert_eq!(node.pins(), Vec::<String>::new());
}

fn failure_stops_the_container_of_those_who_want_it(node: &Node, runtime: Runtime) {
    let file = node.scratch().join("config.toml");
    fs::write(&file, "on_error = \"fail\"\n").unwrap();
    fs::write(node.netns_dir(), "mine").unwrap();
    let bundle = web_0(node).hook_config(&file);
    bundle.write();
    let created = runtime.create(&bundle.id, &bundle.dir);
    assert!(!created.status.success(), "{created:?}");
    let _ = runtime.delete(&bundle.id);
    let lines = node.log();
    assert!(!lines.is_empty() && lines[0].contains("not a directory"), "{lines:?}");
    fs::remove_file(node.netns_dir()).unwrap();
    // What was recorded goes by poststop, or where the runtime calls none, now.
    tools::reconcile();
}

fn malformed_record_of_the_same_id(node: &Node, runtime: Runtime) {
    warm_up(node, runtime);
    let bundle = web_0(node);
    for rubbish in ["", "{", "[]", "{\"schema\":1}", "\0\0\0"] {
        fs::write(node.run_dir().join(format!("containers/{}.json", bundle.id)), rubbish).unwrap();
        let container = Container::run(runtime, &bundle);
        assert_eq!(node.pins(), ["web-0"], "{rubbish:?}");
        assert_eq!(node.record(&bundle.id).expect("written over")["pin"]["name"], "web-0");
        container.delete();
        assert_eq!(node.pins(), Vec::<String>::new(), "{rubbish:?}");
    }
    node.expect_silence("a record that is written over");
}

fn shared_directory_of_another_program_is_taken_as_it_is(node: &Node, runtime: Runtime) {
    // Made by iproute2 before, with a pin of its own in it.
    tools::ip(&["netns", "add", "by-hand"]).expect_success();
    let engine = EnginePin::new_netns("/run/engine-netns/cni-4");
    let container = Container::run(runtime, &web_0(node).netns(engine.path()));
    assert_eq!(node.pins(), ["by-hand", "web-0"]);
    engine.remove();
    container.delete();
    assert_eq!(node.pins(), ["by-hand"]);
    tools::ip(&["netns", "del", "by-hand"]).expect_success();
    node.expect_silence("iproute2's directory");
}

on_every_runtime!(
    run_is_full,
    run_is_full_when_a_pod_ends,
    run_has_no_inode_left,
    pin_directory_is_read_only,
    registry_is_read_only,
    pin_directory_is_a_file,
    pin_directory_is_a_symlink,
    registry_is_a_file,
    foreign_file_is_at_the_name,
    foreign_pin_is_at_the_name,
    every_name_is_taken,
    pin_taken_away_and_its_name_given_to_another,
    lock_is_held_past_the_deadline,
    the_pin_directory_is_locked_by_a_user,
    lock_is_held_for_a_moment,
    lock_held_at_the_end_is_mended_by_reconcile,
    failure_stops_the_container_of_those_who_want_it,
    malformed_record_of_the_same_id,
    shared_directory_of_another_program_is_taken_as_it_is,
);
