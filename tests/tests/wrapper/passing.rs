//! What the real runtime finds: all as the engine left it, but for a bundle with a hook more.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use porthole_tests::tools::{self, binary};
use porthole_tests::{Node, Outcome, on_a_node};

/// A runtime that tells all it can see of itself. A shell runs it: the name of the script is the command of the runtime.
/// While another one looks, it has nothing open that comes and goes.
const TELL: &str = r#"
(
    cd /proc/$$ || exit
    tr '\0' '\n' <cmdline
    tr '\0' '\n' <environ
    readlink cwd root ns/*
    for fd in fd/*; do echo "$fd $(readlink "$fd")"; done
    grep -E '^(PPid|Umask|Uid|Gid|Groups|SigPnd|ShdPnd|SigBlk|SigIgn|SigCgt|Cap|NoNewPrivs|Seccomp|Threads)' status
    cat limits oom_score_adj cgroup timers comm
    cut -d ' ' -f 5-8 stat
) >/mnt/told 2>/dev/null
exit 42
"#;

/// Prepares odd surroundings, then calls `words`.
fn call(surroundings: &str, options: &[&str], words: &[&str]) -> String {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("cd /mnt/cwd; {surroundings}; exec \"$@\""), "sh", "env"]).args(options);
    command.args(["PATH=/usr/bin:/bin", "EMPTY=", "ODD=a b\n=c"]).args(words).stdin(Stdio::null());
    let outcome = tools::run(command);
    assert_eq!(outcome.status.code(), Some(42), "{outcome:?}");
    let told = fs::read_to_string("/mnt/told").unwrap();
    fs::remove_file("/mnt/told").unwrap();
    // The files that output goes to have another number in each call.
    let output = |line: &str| match line.strip_suffix(" (deleted)").and_then(|line| line.split_once('#')) {
        Some((before, _)) => format!("{before}output\n"),
        None => format!("{line}\n"),
    };
    told.lines().map(output).collect()
}

fn everything_passes_as_it_is(node: &Node) {
    let cwd = node.scratch().join("cwd");
    fs::create_dir(&cwd).unwrap();
    fs::write(cwd.join("create"), TELL).unwrap();
    fs::write(cwd.join("delete"), TELL).unwrap();
    let real = "/bin/dash";
    let wrapper = binary("porthole-runtime");
    let wrapper = wrapper.to_str().unwrap();
    let words: [&[&str]; 4] = [
        &["create", "--bundle", "/mnt/cwd", "", "a b", "--", "--real", "c1"],
        &["create", "c1"],
        &["create", "--bundle", "/nonexistent", "c1"],
        &["delete", "--force", "c1"],
    ];
    let surroundings = [
        (":", &["-i"][..]),
        ("exec 5</dev/null 7>/mnt/seven 9<>/mnt/nine; umask 027", &["-i", "--default-signal=PIPE"]),
        ("umask 0; ulimit -n 77; ulimit -c 0", &["-i", "--ignore-signal=PIPE,HUP,ABRT,SEGV,BUS"]),
        ("exec 3</dev/null", &["-i", "--block-signal=USR1,TERM,SEGV,PIPE,ALRM", "--ignore-signal=CHLD"]),
        // As crun has it for what it starts.
        ("ulimit -f 1000", &["-i", "--block-signal", "--ignore-signal"]),
        // With nothing at 0, 1 and 2 the first files that are opened get there.
        ("exec </dev/null >&- 2>&-", &["-i"]),
        ("exec <&- >&- 2>&-", &["-i"]),
    ];
    for (surroundings, options) in surroundings {
        for words in words {
            fs::write(cwd.join("config.json"), "{}").unwrap();
            let expected = call(surroundings, options, &[&[real], words].concat());
            let prefix = [wrapper, "--real", real, "--hook", "/x/porthole-hook", "--"];
            let found = call(surroundings, options, &[&prefix[..], words].concat());
            assert_eq!(found, expected, "{surroundings} {options:?} {words:?}");
            assert!(found.starts_with(&format!("{real}\n{}\n", words[0])), "{found}");
            assert!(
                found.contains(&format!(" /mnt/cwd/{}\n", words[0])),
                "the open script is among the files: {found}"
            );
            // The wrapper has been there all the same.
            let was_changed = fs::read_to_string(cwd.join("config.json")).unwrap().contains("porthole-hook");
            assert_eq!(was_changed, words[0] == "create" && !words.contains(&"/nonexistent"), "{words:?}");
        }
    }
    drop(node.log());
}

fn other_commands_read_no_file(node: &Node) {
    fs::write("/mnt/config.json", "{}").unwrap();
    for words in [
        &["state", "create"][..],
        &["--root", "/create", "delete", "--force", "c1"],
        &["--log", "run", "kill", "c1", "9"],
        &["exec", "c1", "run"],
        &["features"],
        &["spec", "--bundle", "/mnt"],
        &["--version"],
        &[],
    ] {
        let mut command = Command::new("strace");
        command.args(["-qq", "-o", "/mnt/trace", "-e", "trace=%file,%network,%process,%signal", "--"]);
        command.arg(binary("porthole-runtime")).args(["--real", "/bin/true", "--"]).args(words);
        command.current_dir("/mnt").stdin(Stdio::null());
        tools::run(command).expect_success();
        let trace = fs::read_to_string("/mnt/trace").unwrap();
        // The C library asks for its own path; what comes after the second execve is the real runtime's.
        let ours = trace.split("execve(").nth(1).unwrap();
        let calls: Vec<_> =
            ours.lines().skip(1).filter(|line| !line.starts_with("readlink(\"/proc/self/exe\"")).collect();
        assert_eq!(
            calls.len(),
            usize::from(calls.first().is_some_and(|l| l.starts_with("arch_prctl"))),
            "{calls:?}"
        );
    }
    assert_eq!(fs::read_to_string("/mnt/config.json").unwrap(), "{}");
    node.expect_silence("commands that make no container");
}

fn wrapper(args: &[&str]) -> Outcome {
    let mut command = Command::new(binary("porthole-runtime"));
    command.args(args).current_dir("/mnt").stdin(Stdio::null());
    tools::run(command)
}

fn a_real_runtime_that_is_not_there_is_told_on_stderr(node: &Node) {
    fs::write("/mnt/config.json", "{}").unwrap();
    fs::write("/mnt/no-program", "x").unwrap();
    for (real, status, words) in [
        ("/nonexistent/runc", 127, "No such file"),
        ("/mnt/no-program", 126, "Permission denied"),
        ("/mnt", 126, "Permission denied"),
        ("no-such-runtime", 127, "/usr/local/sbin"),
    ] {
        for command in ["create", "state"] {
            let outcome = wrapper(&["--real", real, "--", command, "c1"]);
            assert_eq!(outcome.status.code(), Some(status), "{outcome:?}");
            assert!(outcome.stderr.starts_with("porthole-runtime: "), "{outcome:?}");
            assert!(outcome.stderr.contains(words) && outcome.stderr.contains("--real"), "{outcome:?}");
            assert_eq!((outcome.stderr.lines().count(), outcome.stdout.as_str()), (1, ""));
        }
    }
    node.expect_silence("messages on stderr");
}

fn without_a_name_a_runtime_is_found(node: &Node) {
    for args in [&["--", "--version"][..], &["--real", "runc", "--version"]] {
        assert!(wrapper(args).expect_success().starts_with("runc version"), "{args:?}");
    }
    assert!(wrapper(&["--real=crun", "--", "--version"]).expect_success().starts_with("crun version"));
    assert!(wrapper(&["--version"]).expect_success().starts_with("porthole-runtime "));
    for args in [&[][..], &["--real"], &["--hook"]] {
        let outcome = wrapper(args);
        assert_eq!(outcome.status.code(), Some(2), "{outcome:?}");
        assert!(outcome.stderr.contains("usage: "), "{outcome:?}");
    }
    node.expect_silence("questions");
}

fn without_a_name_the_hook_is_the_one_beside_the_wrapper(node: &Node) {
    fs::write("/mnt/config.json", "{}").unwrap();
    wrapper(&["--real", "/bin/true", "--", "create", "c1"]).expect_success();
    let beside = format!("exec {} createRuntime;", binary("porthole-hook").display());
    assert!(fs::read_to_string("/mnt/config.json").unwrap().contains(&beside));
    let alone = Path::new("/mnt/alone");
    fs::copy(binary("porthole-runtime"), alone).unwrap();
    fs::write("/mnt/config.json", "{}").unwrap();
    let mut command = Command::new(alone);
    command.args(["--real", "/bin/true", "create", "c1"]).current_dir("/mnt").stdin(Stdio::null());
    tools::run(command).expect_success();
    let text = fs::read_to_string("/mnt/config.json").unwrap();
    assert!(text.contains("exec /usr/libexec/porthole/porthole-hook poststop;"), "{text}");
    node.expect_silence("two hooks");
}

fn a_hook_whose_path_needs_quotes_is_not_added(node: &Node) {
    fs::write("/mnt/config.json", "{}").unwrap();
    for hook in ["/a b/porthole-hook", "porthole-hook", "/x;reboot", "/$(x)"] {
        wrapper(&["--real", "/bin/true", "--hook", hook, "--", "create", "c1"]).expect_success();
        node.expect_one_line(&["container c1", "no absolute path"]);
    }
    assert_eq!(fs::read_to_string("/mnt/config.json").unwrap(), "{}");
}

on_a_node!(requires(root, ip, unshare, runc, crun, strace):
    everything_passes_as_it_is,
    other_commands_read_no_file,
    a_real_runtime_that_is_not_there_is_told_on_stderr,
    without_a_name_a_runtime_is_found,
    without_a_name_the_hook_is_the_one_beside_the_wrapper,
    a_hook_whose_path_needs_quotes_is_not_added,
);
