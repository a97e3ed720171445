//! Calls that do not return: the hook ends within its deadline whatever it waits for, and the container starts.

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use porthole_tests::bundle::containerd_annotations;
use porthole_tests::hung::Hung;
use porthole_tests::log::StandsStill;
use porthole_tests::process::wait_until;
use porthole_tests::{
    Bundle, Container, HookRun, Node, Runtime, Sandbox, on_a_node, on_every_runtime, tools,
};
use serde_json::json;

const STAGES: [&str; 4] = ["createRuntime", "prestart", "poststart", "poststop"];

/// The deadline of one second, and the delay of a busy machine.
const IN_TIME: Duration = Duration::from_millis(1900);

/// Blocks and ignores every signal that can be.
const DEAF: [&str; 3] = ["/usr/bin/env", "--ignore-signal", "--block-signal"];

fn web_0(node: &Node) -> Bundle {
    Bundle::new(node).annotations(&containerd_annotations("shop", "web-0", "nginx"))
}

fn a_call_that_never_returns_delays_a_start_by_the_deadline(node: &Node, runtime: Runtime) {
    let hung = Hung::mount("/mnt/hung");
    let bundle = web_0(node).hook_config(&hung.file("config.toml")).with(|config| {
        for hooks in config["hooks"].as_object_mut().unwrap().values_mut() {
            hooks[0]["timeout"] = json!(5);
        }
    });
    let start = Instant::now();
    let container = Container::create(runtime, &bundle);
    let took = start.elapsed();
    assert!(took < IN_TIME, "{took:?}");
    node.expect_one_line(&["not done within 1000 ms", "reading its configuration", "`porthole reconcile`"]);
    container.start();
    assert_eq!(container.status(), "running");
    let start = Instant::now();
    container.delete();
    assert!(start.elapsed() < IN_TIME, "{:?}", start.elapsed());
    node.expect_one_line(&["not done within 1000 ms"]);
    println!("{runtime:?}: create took {} ms", took.as_millis());
}

/// Runs the hook, and fails if it does not end in time.
#[track_caller]
fn ends_in_time(mut hook: Command, what: &str) -> Duration {
    let start = Instant::now();
    let mut child = hook.spawn().unwrap();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if start.elapsed() > Duration::from_secs(4) => {
                child.kill().unwrap();
                panic!("{what}: it waits, and {:?}", child.wait());
            }
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    assert!(status.success(), "{what}: {status}");
    assert!(start.elapsed() < IN_TIME, "{what}: {:?}", start.elapsed());
    start.elapsed()
}

fn hook(under: &[&str], args: &[&str]) -> Command {
    let program = tools::binary("porthole-hook");
    let words: Vec<PathBuf> = under.iter().map(PathBuf::from).chain([program]).collect();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(args).stdin(Stdio::null()).stderr(Stdio::null());
    command
}

fn the_deadline_holds_with_every_signal_blocked_and_ignored(node: &Node) {
    let hung = Hung::mount("/mnt/hung");
    let config = hung.file("config.toml").display().to_string();
    for (under, stages) in [(&DEAF[..], &STAGES[..]), (&[][..], &STAGES[..1])] {
        for stage in stages {
            let took = ends_in_time(hook(under, &["--config", &config, stage]), stage);
            assert!(took > Duration::from_millis(900), "{under:?} {stage}: {took:?}");
            node.expect_one_line(&["not done within 1000 ms"]);
        }
    }
}

fn without_a_thread_to_be_had_the_hook_does_its_work(node: &Node) {
    let bundle = web_0(node);
    bundle.write();
    let sandbox = Sandbox::start();
    let refuse =
        ["/usr/bin/strace", "-qq", "-o", "/mnt/trace", "-e", "inject=clone,clone3:error=EAGAIN", "--"];
    let call = |stage: &str, pid| HookRun::with_state(stage, &bundle.state(pid)).under(&refuse).run();
    call("createRuntime", Some(sandbox.pid())).expect_success();
    assert!(fs::read_to_string("/mnt/trace").unwrap().contains("(INJECTED)"), "it asks for one");
    assert_eq!(node.pin("web-0"), Some(sandbox.netns()));
    sandbox.end();
    call("poststop", None).expect_success();
    node.expect_silence("a hook without a thread");
}

fn a_crash_is_told_with_every_signal_blocked_and_ignored(node: &Node) {
    for under in [&[][..], &DEAF] {
        for signal in ["SEGV", "ABRT", "BUS", "ILL", "FPE"] {
            let fault = format!("inject=umask:signal={signal}");
            let under = [under, &["/usr/bin/strace", "-qq", "-o", "/dev/null", "-e", &fault, "--"]].concat();
            ends_in_time(hook(&under, &["createRuntime"]), signal);
            node.expect_one_line(&["porthole-hook", "crashed", "`porthole reconcile`"]);
        }
    }
}

fn a_fifo_in_the_place_of_its_configuration_costs_one_line(node: &Node) {
    let fifo = node.scratch().join("fifo");
    let mut mkfifo = Command::new("mkfifo");
    mkfifo.arg(&fifo);
    tools::run(mkfifo).expect_success();
    let sandbox = Sandbox::start();
    let bundle = web_0(node);
    bundle.write();
    HookRun::with_state("createRuntime", &bundle.state(Some(sandbox.pid())))
        .config(&fifo)
        .run()
        .expect_success();
    node.expect_one_line(&["fifo", "no regular file"]);
    assert_eq!(node.pin("web-0"), Some(sandbox.netns()), "by the defaults");
    sandbox.end();
    HookRun::with_state("poststop", &bundle.state(None)).run().expect_success();
    node.expect_silence("the release");
}

fn a_holder_on_a_dead_file_system_holds_up_neither_its_pod_nor_another(node: &Node) {
    let hung = Hung::mount("/mnt/hung");
    let bundle = web_0(node).netns(&hung.file("netns").display().to_string());
    bundle.write();
    let sandbox = Sandbox::start();
    let state = bundle.state(Some(sandbox.pid()));
    HookRun::with_state("createRuntime", &state).run().expect_success();
    assert_eq!(node.pin("web-0"), Some(sandbox.netns()));
    let netns = sandbox.netns();
    sandbox.end();
    let run = HookRun::with_state("poststop", &bundle.state(None)).run();
    run.expect_success();
    assert!(run.took < Duration::from_millis(700), "{:?}", run.took);
    assert_eq!((node.records().len(), node.pin("web-0")), (0, Some(netns)), "its holder may still be there");
    // Other containers start and end as usual, and sweep the pin.
    let mut quickest = Duration::MAX;
    for _ in 0..3 {
        let (other, life) = (Bundle::new(node), Sandbox::start());
        other.write();
        let state = other.state(Some(life.pid()));
        HookRun::with_state("createRuntime", &state).run().expect_success();
        life.end();
        let run = HookRun::with_state("poststop", &other.state(None)).run();
        run.expect_success();
        quickest = quickest.min(run.took);
        assert_eq!((node.records().len(), node.pins().len()), (0, 1));
    }
    assert!(quickest < Duration::from_millis(90), "no time is spent on the dead one: {quickest:?}");
    let start = Instant::now();
    assert!(tools::reconcile().is_empty());
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    drop(hung);
    tools::reconcile();
    assert_eq!(node.pins(), Vec::<String>::new());
    node.expect_silence("a holder that has gone");
}

fn a_holder_whose_file_system_has_taken_the_request_holds_up_nothing(node: &Node) {
    let hung = Hung::taking("/mnt/hung");
    let bundle = web_0(node).netns(&hung.file("netns").display().to_string());
    bundle.write();
    let sandbox = Sandbox::start();
    let state = bundle.state(Some(sandbox.pid()));
    // A process that cannot end would keep each of these from returning.
    HookRun::with_state("createRuntime", &state).run().expect_success();
    let netns = sandbox.netns();
    assert_eq!(node.pin("web-0"), Some(netns));
    sandbox.end();
    HookRun::with_state("poststop", &bundle.state(None)).run().expect_success();
    assert_eq!((node.records().len(), node.pin("web-0")), (0, Some(netns)), "its holder may still be there");
    assert!(tools::reconcile().is_empty());
    tools::porthole(&["list"]).expect_success();
    drop(hung);
    tools::reconcile();
    assert_eq!(node.pins(), Vec::<String>::new());
    node.expect_silence("a holder that has gone");
}

fn reconcile_waits_for_dead_holders_without_the_lock(node: &Node) {
    let hung = Hung::mount("/mnt/hung");
    let holder = hung.file("netns").display().to_string();
    for number in 0..20 {
        let pod = format!("dead-{number}");
        let bundle = Bundle::new(node).annotations(&containerd_annotations("shop", &pod, "nginx"));
        let bundle = bundle.netns(&holder);
        bundle.write();
        let sandbox = Sandbox::start();
        HookRun::with_state("createRuntime", &bundle.state(Some(sandbox.pid()))).run().expect_success();
        sandbox.end();
        HookRun::with_state("poststop", &bundle.state(None)).run().expect_success();
    }
    assert_eq!(node.pins().len(), 20);
    let mut reconcile = Command::new(tools::binary("porthole"));
    let mut reconcile = reconcile.arg("reconcile").stdout(Stdio::null()).spawn().unwrap();
    let mut started = 0;
    while reconcile.try_wait().unwrap().is_none() {
        let (bundle, life) = (Bundle::new(node), Sandbox::start());
        bundle.write();
        HookRun::with_state("createRuntime", &bundle.state(Some(life.pid()))).run().expect_success();
        assert!(node.record(&bundle.id).is_some(), "it has had the lock");
        life.end();
        HookRun::with_state("poststop", &bundle.state(None)).run().expect_success();
        started += 1;
    }
    assert!(started > 1, "reconcile has waited for each holder");
    drop(hung);
    tools::reconcile();
    assert_eq!(node.pins(), Vec::<String>::new());
}

fn a_deadline_of_the_configuration_counts_from_the_start_of_the_hook(node: &Node) {
    let config = node.scratch().join("config.toml");
    let hung = Hung::mount("/mnt/hung");
    let sandbox = Sandbox::start();
    for (ms, at_least, at_most) in [(200, 150, 900), (2000, 1900, 2900)] {
        fs::write(&config, format!("deadline_ms = {ms}\n")).unwrap();
        let bundle = web_0(node).at(hung.file("bundle"));
        let state = bundle.state(Some(sandbox.pid()));
        let run = HookRun::with_state("createRuntime", &state).config(&config).run();
        run.expect_success();
        let took = run.took.as_millis();
        assert!((at_least..at_most).contains(&took), "{ms}: {took} ms");
        node.expect_one_line(&[&bundle.id, &format!("not done within {ms} ms"), "process and configuration"]);
    }
    assert!(node.records().is_empty());
}

/// The writing end of a stderr, and a guard that keeps it as it is. A function of [`MakeStderr`] makes it with so much room.
type Stderr = (Stdio, Box<dyn std::any::Any>);
type MakeStderr = fn(usize) -> Stderr;

fn pipe_with_room(room: usize) -> Stderr {
    let (reader, writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while rustix::io::write(&writer, &[b'x'; 4096]).is_ok() {}
    while rustix::io::write(&writer, b"x").is_ok() {}
    let mut gone = vec![0; room];
    (&reader).read_exact(&mut gone).unwrap();
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    (writer.into(), Box::new(reader))
}

fn socket_with_room(room: usize) -> Stderr {
    let (reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
    writer.set_nonblocking(true).unwrap();
    while rustix::io::write(&writer, &[b'x'; 64]).is_ok() {}
    let mut gone = vec![0; room];
    (&reader).read_exact(&mut gone).unwrap();
    writer.set_nonblocking(false).unwrap();
    (std::os::fd::OwnedFd::from(writer).into(), Box::new(reader))
}

fn terminal_with_room(room: usize) -> Stderr {
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let terminal = ioctl_tiocgptpeer(&master, flags).unwrap();
    rustix::io::ioctl_fionbio(&terminal, true).unwrap();
    while rustix::io::write(&terminal, &[b'x'; 64]).is_ok() {}
    while rustix::io::write(&terminal, b"x").is_ok() {}
    let mut gone = vec![0; room];
    let mut at = 0;
    while at < room {
        at += rustix::io::read(master.as_fd(), &mut gone[at..]).unwrap();
    }
    rustix::io::ioctl_fionbio(&terminal, false).unwrap();
    (terminal.into(), Box::new(master))
}

fn neither_a_full_log_nor_a_full_stderr_of_any_kind_holds_up_the_hook(node: &Node) {
    fs::rename("/dev/log", "/dev/log.away").unwrap();
    let still = StandsStill::at("/dev/log");
    let hung = Hung::mount("/mnt/hung");
    let dead = hung.file("config.toml").display().to_string();
    let make: [(&str, MakeStderr); 3] =
        [("pipe", pipe_with_room), ("socket", socket_with_room), ("terminal", terminal_with_room)];
    let quick = ["nonsense"];
    let slow = ["--config", &dead, "createRuntime"];
    for (args, at_least) in [(&quick[..], 0), (&slow, 900)] {
        for (kind, make) in make {
            for room in if at_least == 0 { &[0, 1, 30, 300, 4096][..] } else { &[0, 30] } {
                let what = format!("{kind} with room for {room}, {args:?}");
                let (stderr, keep) = make(*room);
                let mut command = hook(&DEAF, args);
                command.stderr(stderr);
                let took = ends_in_time(command, &what);
                assert!(took >= Duration::from_millis(at_least), "{what}: {took:?}");
                assert!(at_least > 0 || took < Duration::from_millis(900), "{what}: {took:?}");
                drop(keep);
            }
        }
    }
    drop(still);
    fs::remove_file("/dev/log").unwrap();
    fs::rename("/dev/log.away", "/dev/log").unwrap();
    node.expect_silence("a node whose log stands still");
}

fn a_reason_that_is_longer_than_a_pipe_does_not_wait_for_its_reader(node: &Node) {
    let config = node.scratch().join("config.toml");
    fs::write(&config, "on_error = \"fail\"\n").unwrap();
    let sandbox = Sandbox::start();
    let mut state = web_0(node).state(Some(sandbox.pid()));
    state["bundle"] = json!(format!("/{}", "x".repeat(200_000)));
    fs::write("/mnt/state.json", state.to_string()).unwrap();
    let (stderr, keep) = pipe_with_room(4096);
    let mut command = hook(&DEAF, &["--config", &config.display().to_string(), "createRuntime"]);
    command.stderr(stderr).stdin(fs::File::open("/mnt/state.json").unwrap());
    let start = Instant::now();
    let mut child = command.spawn().unwrap();
    wait_until("the end of the hook", || {
        child.try_wait().unwrap().is_some() || start.elapsed() > 3 * IN_TIME
    });
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(start.elapsed() < Duration::from_millis(900), "{:?}", start.elapsed());
    node.expect_one_line(&["createRuntime", "/xxxx"]);
    drop(keep);
    sandbox.end();
    tools::reconcile();
}

fn a_line_that_finds_room_on_stderr_is_whole(node: &Node) {
    fs::rename("/dev/log", "/dev/log.away").unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let children: Vec<_> = (0..20)
        .map(|_| {
            let mut command = hook(&[], &["nonsense"]);
            command.stderr(writer.try_clone().unwrap());
            command.spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    drop(writer);
    let mut text = String::new();
    (&reader).read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().count(), 20, "{text}");
    assert!(text.lines().all(|line| line.starts_with("porthole-hook: usage: ")), "{text}");
    fs::rename("/dev/log.away", "/dev/log").unwrap();
    node.expect_silence("a node without a log");
}

fn a_limit_on_the_size_of_files_costs_the_record_and_not_the_container(node: &Node) {
    let bundle = web_0(node);
    bundle.write();
    let sandbox = Sandbox::start();
    let state = bundle.state(Some(sandbox.pid()));
    let run = HookRun::with_state("createRuntime", &state).under(&["/usr/bin/prlimit", "--fsize=0"]).run();
    run.expect_success();
    node.expect_one_line(&[&bundle.id, "createRuntime", "write record", "os error 27"]);
    assert!(node.records().is_empty() && node.pins().is_empty(), "nothing half-made");
}

on_every_runtime!(a_call_that_never_returns_delays_a_start_by_the_deadline);

on_a_node!(requires(root, ip, unshare, strace):
    the_deadline_holds_with_every_signal_blocked_and_ignored,
    without_a_thread_to_be_had_the_hook_does_its_work,
    a_crash_is_told_with_every_signal_blocked_and_ignored,
    a_fifo_in_the_place_of_its_configuration_costs_one_line,
    a_holder_on_a_dead_file_system_holds_up_neither_its_pod_nor_another,
    a_holder_whose_file_system_has_taken_the_request_holds_up_nothing,
    reconcile_waits_for_dead_holders_without_the_lock,
    a_deadline_of_the_configuration_counts_from_the_start_of_the_hook,
    neither_a_full_log_nor_a_full_stderr_of_any_kind_holds_up_the_hook,
    a_reason_that_is_longer_than_a_pipe_does_not_wait_for_its_reader,
    a_line_that_finds_room_on_stderr_is_whole,
    a_limit_on_the_size_of_files_costs_the_record_and_not_the_container,
);
