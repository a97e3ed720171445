//! What comes on standard input and on the command line: exit status 0 and one log line, whatever it is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use porthole_tests::bundle::containerd_annotations;
use porthole_tests::{Bundle, HookRun, Node, Sandbox, on_a_node, tools};
use serde_json::json;

const STAGES: [&str; 4] = ["createRuntime", "prestart", "poststart", "poststop"];

fn web_0(node: &Node) -> Bundle {
    let bundle = Bundle::new(node).annotations(&containerd_annotations("shop", "web-0", "nginx"));
    bundle.write();
    bundle
}

/// Calls the hook at every stage with `stdin`: exit 0, one line with one of `words`, nothing registered.
#[track_caller]
fn is_refused(node: &Node, stdin: &[u8], words: &[&str]) {
    for stage in STAGES {
        let outcome = HookRun::new(stage, stdin).run();
        outcome.expect_success();
        assert!(outcome.took < Duration::from_millis(1500), "{stage}: {:?}", outcome.took);
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""), "nothing is printed");
        let line = node.expect_one_line(&[stage]);
        assert!(words.iter().any(|word| line.contains(word)), "expected one of {words:?} in {line}");
        assert!(!line.trim_end().contains('\n'), "one line: {line:?}");
    }
    assert_eq!((node.records().len(), node.pins().len()), (0, 0));
}

fn stdin_is_empty(node: &Node) {
    is_refused(node, b"", &["OCI state"]);
}

fn stdin_is_malformed(node: &Node) {
    let texts: [&[u8]; 9] = [
        b"{",
        b"null",
        b"[]",
        b"\"state\"",
        b"{}",
        b"{\"id\":\"x\"",
        b"\xff\xfe{\0}\0",
        b"{\"id\":7,\"bundle\":\"/\"}",
        b"\0\0\0\0",
    ];
    for text in texts {
        is_refused(node, text, &["OCI state", "id"]);
    }
}

fn stdin_nests_too_deep(node: &Node) {
    let deep = [b"{\"id\":".to_vec(), b"[".repeat(1 << 20)].concat();
    is_refused(node, &deep, &["OCI state"]);
}

fn id_is_hostile(node: &Node) {
    let ids = ["", ".", "..", "../x", "a/b", "a\nb", "a\0b", "\u{1b}[2J", "-rf", &"x".repeat(5000), "é"];
    for id in ids {
        let sandbox = Sandbox::start();
        let bundle = web_0(node);
        let mut state = bundle.state(Some(sandbox.pid()));
        state["id"] = json!(id);
        HookRun::with_state("createRuntime", &state).run().expect_success();
        let lines = node.log();
        if node.records().is_empty() {
            assert_eq!(lines.len(), 1, "{id:?}: {lines:?}");
            assert!(lines[0].contains("id"), "{lines:?}");
        } else {
            assert_eq!(lines.len(), 0, "{id:?}: {lines:?}");
            sandbox.end();
            HookRun::with_state("poststop", &state).run().expect_success();
        }
        assert_eq!((node.records().len(), node.pins().len()), (0, 0), "{id:?}");
    }
}

fn stdin_is_64_mebibytes(node: &Node) {
    // Of nothing, and of a state: neither is worth the memory.
    let bundle = web_0(node);
    let sandbox = Sandbox::start();
    let mut state = bundle.state(Some(sandbox.pid()));
    state["annotations"]["filler"] = json!("x".repeat(64 << 20));
    for stdin in [vec![b' '; 64 << 20], state.to_string().into_bytes()] {
        is_refused(node, &stdin, &["OCI state"]);
    }
}

fn stdin_is_read_to_its_end_whatever_it_is(node: &Node) {
    // crun dies of SIGPIPE when its hook does not read: so does `head`, and says so by its status.
    for args in ["createRuntime", "nonsense", "", "--config /nonexistent poststop", "--config"] {
        let hook = tools::binary("porthole-hook");
        let script = format!(
            "{{ head -c 8000000 /dev/zero; echo $? > /mnt/status; }} | {} {args}; echo $? >> /mnt/status",
            hook.display()
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]).stdin(Stdio::null());
        tools::run(command).expect_success();
        assert_eq!(fs::read_to_string("/mnt/status").unwrap(), "0\n0\n", "{args}");
        assert!(!node.log().is_empty(), "{args}");
    }
}

fn stdin_is_slow(node: &Node) {
    let bundle = web_0(node);
    let sandbox = Sandbox::start();
    let state = bundle.state(Some(sandbox.pid()));
    HookRun::with_state("createRuntime", &state).slowly(Duration::from_millis(400)).run().expect_success();
    assert_eq!(node.pin("web-0"), Some(sandbox.netns()), "within the deadline it is only slow");
    sandbox.end();
    HookRun::with_state("poststop", &bundle.state(None)).run().expect_success();
    node.expect_silence("a slow state");
}

fn stdin_never_ends(node: &Node) {
    let sandbox = Sandbox::start();
    let state = web_0(node).state(Some(sandbox.pid()));
    let run = HookRun::with_state("createRuntime", &state).slowly(Duration::from_millis(2500)).run();
    run.expect_success();
    node.expect_one_line(&["OCI state", "in time"]);
    assert_eq!((node.records().len(), node.pins().len()), (0, 0));
}

fn stdin_never_ends_and_the_hook_does(node: &Node) {
    let start = Instant::now();
    let mut hook = Command::new(tools::binary("porthole-hook"));
    let mut child = hook.arg("createRuntime").stdin(Stdio::piped()).spawn().unwrap();
    // Held open, and nothing written to it.
    let stdin = child.stdin.take();
    assert!(child.wait().unwrap().success());
    assert!(
        start.elapsed() < Duration::from_millis(1500),
        "the deadline is one second: {:?}",
        start.elapsed()
    );
    drop(stdin);
    node.expect_one_line(&["OCI state", "in time"]);
}

fn stage_is_unknown(node: &Node) {
    let state = web_0(node).state(None);
    for stage in ["nonsense", "createruntime", "", "adopt", "-h", "a\nb"] {
        HookRun::with_state(stage, &state).run().expect_success();
        let line = node.expect_one_line(&["stage"]);
        assert!(line.contains("createRuntime"), "says what there is: {line}");
    }
}

fn state_from_a_newer_specification(node: &Node) {
    let bundle = web_0(node);
    let sandbox = Sandbox::start();
    let mut state = bundle.state(Some(sandbox.pid()));
    state["ociVersion"] = json!("9.9.9-future");
    state["status"] = json!("hibernating");
    state["future"] = json!({ "nested": [1, { "a": null }] });
    HookRun::with_state("createRuntime", &state).run().expect_success();
    assert_eq!(node.pins(), ["web-0"]);
    sandbox.end();
    HookRun::with_state("poststop", &state).run().expect_success();
    node.expect_silence("a state from the future");
}

fn slashes_may_be_escaped(node: &Node) {
    // As crun 1.28 writes them.
    let bundle = web_0(node);
    let sandbox = Sandbox::start();
    let text = bundle.state(Some(sandbox.pid())).to_string().replace('/', "\\/");
    HookRun::new("createRuntime", text).run().expect_success();
    let record = node.record(&bundle.id).expect("recorded");
    assert_eq!(record["bundle"], bundle.dir.to_str().unwrap());
    sandbox.end();
    HookRun::with_state("poststop", &bundle.state(None)).run().expect_success();
    node.expect_silence("escaped slashes");
}

fn nothing_depends_on_directory_umask_or_environment(node: &Node) {
    for (cwd, umask) in [("/", 0o000), ("/mnt", 0o777), ("/proc", 0o077)] {
        // The first run of a node makes the directories.
        node.unmount_all(node.netns_dir());
        for dir in [node.netns_dir(), node.run_dir()] {
            let _ = fs::remove_dir_all(dir);
        }
        let bundle = web_0(node);
        let sandbox = Sandbox::start();
        let state = bundle.state(Some(sandbox.pid()));
        let hostile =
            [("RUST_LOG", "trace"), ("LD_PRELOAD", "/nonexistent"), ("TMPDIR", "/nonexistent"), ("PATH", "")];
        let run = HookRun::with_state("createRuntime", &state).cwd(cwd).umask(umask);
        hostile.iter().fold(run, |run, (name, value)| run.env(name, value)).run().expect_success();
        assert_eq!(node.pin("web-0"), Some(sandbox.netns()));
        let mode = |path: &str| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("/run/porthole"), mode("/run/netns")), (0o755, 0o755), "umask {umask:o}");
        assert_eq!(mode(&format!("/run/porthole/containers/{}.json", bundle.id)), 0o644, "umask {umask:o}");
        sandbox.end();
        HookRun::with_state("poststop", &bundle.state(None)).cwd(cwd).umask(umask).run().expect_success();
    }
    node.expect_silence("odd surroundings");
}

fn configuration_with_a_mistake_costs_one_line(node: &Node) {
    let file = node.scratch().join("config.toml");
    for text in ["speed = 9\n", "= = =\n", "deadline_ms = \"soon\"\n", "\u{feff}\0", "netns_dir = 7\n"] {
        fs::write(&file, text).unwrap();
        let bundle = web_0(node);
        let sandbox = Sandbox::start();
        let state = bundle.state(Some(sandbox.pid()));
        HookRun::with_state("createRuntime", &state).config(&file).run().expect_success();
        let line = node.expect_one_line(&["config.toml", "default"]);
        assert_eq!(node.pin("web-0"), Some(sandbox.netns()), "{line}");
        sandbox.end();
        HookRun::with_state("poststop", &bundle.state(None)).run().expect_success();
        node.expect_silence("without that file");
    }
}

fn on_error_fail_fails_for_those_who_want_it(node: &Node) {
    let file = node.scratch().join("config.toml");
    fs::write(&file, "on_error = \"fail\"\n").unwrap();
    let outcome = HookRun::new("createRuntime", "rubbish").config(&file).run();
    assert!(!outcome.status.success());
    assert!(outcome.stderr.contains("OCI state"), "the runtime shows it: {}", outcome.stderr);
    node.expect_one_line(&["OCI state"]);
}

fn what_the_runtime_shows_of_it_is_one_line_and_orders_nothing(node: &Node) {
    let file = node.scratch().join("config.toml");
    fs::write(&file, "on_error = \"fail\"\n").unwrap();
    let sandbox = Sandbox::start();
    let mut state = web_0(node).state(Some(sandbox.pid()));
    state["bundle"] = json!("/nowhere\nporthole-hook: forged \u{1b}[2J\u{9b}31m\u{202e}");
    let outcome = HookRun::with_state("createRuntime", &state).config(&file).run();
    assert!(outcome.stderr.contains("/nowhere?porthole-hook: forged ?[2J?31m?/config.json"), "{outcome:?}");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    let line = node.expect_one_line(&["/nowhere?porthole-hook: forged ?[2J?31m?/config.json"]);
    assert!(!line.contains(char::is_control), "{line:?}");
    sandbox.end();
    tools::reconcile();
}

fn without_a_system_log_the_line_is_on_stderr(node: &Node) {
    fs::rename("/dev/log", "/dev/log.away").unwrap();
    let outcome = HookRun::new("createRuntime", "rubbish").run();
    outcome.expect_success();
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("OCI state"), "{}", outcome.stderr);
    fs::rename("/dev/log.away", "/dev/log").unwrap();
    node.expect_silence("a node without a log");
}

fn neither_a_log_nor_a_stderr_that_stands_still_holds_up_the_hook(node: &Node) {
    fs::rename("/dev/log", "/dev/log.away").unwrap();
    let still = porthole_tests::log::StandsStill::at("/dev/log");
    let (reader, writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while rustix::io::write(&writer, &[b'x'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    for stage in STAGES {
        let mut hook = Command::new(tools::binary("porthole-hook"));
        hook.arg(stage).stdin(Stdio::null()).stderr(writer.try_clone().unwrap());
        let start = Instant::now();
        let mut child = hook.spawn().unwrap();
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None if start.elapsed() > Duration::from_secs(5) => {
                    child.kill().unwrap();
                    panic!("{stage}: it waits, and {:?}", child.wait());
                }
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        assert!(status.success(), "{stage}: {status}");
        assert!(start.elapsed() < Duration::from_millis(1500), "{stage}: {:?}", start.elapsed());
    }
    drop((reader, still));
    fs::remove_file("/dev/log").unwrap();
    fs::rename("/dev/log.away", "/dev/log").unwrap();
    node.expect_silence("a node whose log stands still");
}

fn hook_says_its_version(node: &Node) {
    let mut command = Command::new(tools::binary("porthole-hook"));
    command.arg("--version").stdin(Stdio::null());
    let outcome = tools::run(command);
    assert!(outcome.expect_success().starts_with("porthole-hook "), "{}", outcome.stdout);
    node.expect_silence("--version");
}

on_a_node!(requires(root, ip, unshare):
    stdin_is_empty,
    stdin_is_malformed,
    stdin_nests_too_deep,
    id_is_hostile,
    stdin_is_64_mebibytes,
    stdin_is_read_to_its_end_whatever_it_is,
    stdin_is_slow,
    stdin_never_ends,
    stdin_never_ends_and_the_hook_does,
    stage_is_unknown,
    state_from_a_newer_specification,
    slashes_may_be_escaped,
    nothing_depends_on_directory_umask_or_environment,
    configuration_with_a_mistake_costs_one_line,
    on_error_fail_fails_for_those_who_want_it,
    what_the_runtime_shows_of_it_is_one_line_and_orders_nothing,
    without_a_system_log_the_line_is_on_stderr,
    neither_a_log_nor_a_stderr_that_stands_still_holds_up_the_hook,
    hook_says_its_version,
);
