//! What a command may use up: its cgroup, its limits, its time; seen from outside.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use porthole_tests::process::wait_until;
use porthole_tests::{Node, on_a_node};

use crate::setting::{Running, children, comm, command, exec, exec_in, output, own_etc, send, web_0, work};

const ROOT: &str = "/sys/fs/cgroup";

/// Directories of the cgroup that `pid` has of its own, one for each controller; empty if it has none.
fn own_cgroup(pid: u32) -> Vec<PathBuf> {
    let membership = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let own = membership.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let hierarchy = Path::new(ROOT).join(controllers);
        path.starts_with("/porthole/").then(|| hierarchy.join(path.trim_start_matches('/')))
    });
    own.collect()
}

fn read(pid: u32, file: &str) -> String {
    let at = own_cgroup(pid).into_iter().map(|dir| dir.join(file)).find(|path| path.exists());
    fs::read_to_string(at.unwrap_or_else(|| panic!("no {file} in the cgroup of {pid}")))
        .unwrap()
        .trim()
        .to_owned()
}

/// Processes of the node in any cgroup of porthole's.
fn confined() -> Vec<u32> {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|&pid| !own_cgroup(pid).is_empty() && !is_zombie(pid)).collect()
}

fn is_zombie(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

fn status(words: &[&str]) -> Option<i32> {
    exec(words).status.code()
}

fn a_command_has_a_cgroup_of_its_own_with_limits(node: &Node) {
    let container = web_0(node);
    for options in [&["-n"][..], &["-p"], &["-a"], &["--profile", "sysadmin"], &["-F"]] {
        let words = [options, &["web-0", "--", "/bin/sleep", "1000"]].concat();
        let mut child = command(&[], &words, Path::new("/")).spawn().unwrap();
        let mut found = None;
        wait_until("the command", || {
            let pids = children(child.id()).into_iter().chain([child.id()]);
            found = pids.into_iter().find(|&pid| comm(pid) == "sleep");
            found.is_some()
        });
        let pid = found.unwrap();
        assert_eq!(own_cgroup(pid).len(), 3, "{options:?}: pids, memory and cpu");
        assert_eq!(read(pid, "pids.max"), "512", "{options:?}");
        assert_eq!(read(pid, "memory.limit_in_bytes"), (1u64 << 30).to_string(), "{options:?}");
        assert_eq!(read(pid, "cpu.shares"), "512", "{options:?}");
        assert_eq!(fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim(), "500");
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{options:?}");
        child.kill().unwrap();
        child.wait().unwrap();
        wait_until("the command to end", || comm(pid) != "sleep" || is_zombie(pid));
    }
    container.delete();
}

fn two_commands_share_no_cgroup(node: &Node) {
    let container = web_0(node);
    let one = Running::start(&["web-0", "sleep", "1000"], "sleep");
    let other = Running::start(&["web-0", "sleep", "1000"], "sleep");
    let of = |running: &Running| own_cgroup(running.command().unwrap());
    assert_eq!((of(&one).len(), of(&other).len()), (3, 3));
    assert!(of(&one).iter().all(|dir| !of(&other).contains(dir)));
    drop((one, other));
    container.delete();
}

fn a_higher_oom_score_of_the_caller_is_kept(node: &Node) {
    let container = web_0(node);
    let raise = ["sh", "-c", "echo 900 > /proc/self/oom_score_adj; exec \"$@\"", "sh"];
    let outcome = crate::setting::exec_under(&raise, &["web-0", "cat", "/proc/self/oom_score_adj"]);
    assert_eq!(outcome.expect_success().trim(), "900");
    container.delete();
}

fn a_fork_bomb_stays_inside_and_ends_with_exec(node: &Node) {
    let container = web_0(node);
    own_etc(node);
    fs::create_dir_all("/etc/porthole/profiles.d").unwrap();
    fs::write("/etc/porthole/profiles.d/few.toml", "extends = 'general'\npids = 20\n").unwrap();
    let bomb = "bomb() { while :; do bomb & done; }; bomb & exec sleep 1000";
    let words = ["--profile", "few", "web-0", "--", "bash", "-c", bomb];
    let mut command = command(&[], &words, Path::new("/"));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = Running::spawn(command, "sleep");
    let pid = running.command().unwrap();
    let failed = own_cgroup(pid).into_iter().map(|dir| dir.join("pids.events")).find(|path| path.exists());
    let failed = failed.unwrap();
    wait_until("the limit to be met", || {
        fs::read_to_string(&failed).is_ok_and(|text| text.trim() != "max 0")
    });
    let most: u32 = read(pid, "pids.current").parse().unwrap();
    assert!(most <= 20, "{most}");
    send(running.porthole(), "TERM");
    // The first process dies of it; all others are killed with the cgroup.
    running.wait();
    assert_eq!(confined(), Vec::<u32>::new());
    container.delete();
}

fn who_takes_too_much_memory_is_killed_and_told(node: &Node) {
    let container = web_0(node);
    own_etc(node);
    fs::create_dir_all("/etc/porthole/profiles.d").unwrap();
    fs::write("/etc/porthole/profiles.d/small.toml", "extends = 'general'\nmemory = '16MiB'\n").unwrap();
    let hog = ["--profile", "small", "web-0", "--", "sh", "-c", "exec tail /dev/zero"];
    for round in 0..2 {
        let outcome = exec(&hog);
        assert_eq!(outcome.status.code(), Some(137), "{round}: {outcome:?}");
        assert!(outcome.stderr.contains("used up its memory"), "{outcome:?}");
    }
    let killed = exec(&["--profile", "small", "web-0", "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(killed.status.code(), Some(137));
    assert!(!killed.stderr.contains("memory"), "not what another command did: {killed:?}");
    container.delete();
}

fn what_a_command_leaves_in_the_background_ends_with_it(node: &Node) {
    let container = web_0(node);
    let leave = "(trap '' TERM HUP; setsid sleep 1000 > /dev/null 2>&1 &) ; exit 3";
    for options in [&["-n"][..], &["-p"], &["--profile", "sysadmin"], &["--uid", "0"]] {
        let words = [options, &["web-0", "--", "bash", "-c", leave]].concat();
        assert_eq!(status(&words), Some(3), "{options:?}");
        assert_eq!(confined(), Vec::<u32>::new(), "{options:?}");
    }
    container.delete();
}

fn what_a_killed_porthole_leaves_the_next_exec_ends(node: &Node) {
    let container = web_0(node);
    let here = work(node);
    let pidfile = here.join("pid");
    let leave = "setsid sleep 1000 & echo $! > pid; exec sleep 1001";
    let mut running = Running::spawn(command(&[], &["web-0", "--", "bash", "-c", leave], &here), "sleep");
    let background = || fs::read_to_string(&pidfile).ok()?.trim().parse::<u32>().ok();
    wait_until("the background process", || background().is_some_and(|pid| comm(pid) == "sleep"));
    let (background, cgroup) = (background().unwrap(), own_cgroup(background().unwrap()));
    send(running.porthole(), "KILL");
    running.wait();
    let others = Running::start(&["web-0", "sleep", "1000"], "sleep");
    wait_until("its end", || comm(background) != "sleep" || is_zombie(background));
    drop(others);
    assert_eq!(status(&["web-0", "true"]), Some(0));
    assert_eq!(confined(), Vec::<u32>::new());
    // What stands ready for the next exec is all that may be left of it.
    let left: Vec<_> =
        cgroup.iter().filter(|dir| dir.exists() && !dir.to_string_lossy().contains("/slot-")).collect();
    assert!(left.is_empty(), "{left:?}");
    container.delete();
}

/// A cgroup that is locked is taken for one in use.
fn no_other_user_keeps_what_a_killed_porthole_leaves(node: &Node) {
    for mode in [0o700, 0o755] {
        kept_by_no_other_user(node, mode);
    }
}

/// With directories of this mode; an older version made them open to everybody.
fn kept_by_no_other_user(node: &Node, mode: u32) {
    let container = web_0(node);
    let mut running = Running::start(&["web-0", "--", "sh", "-c", "setsid sleep 1000 & sleep 1000"], "sh");
    let background = || confined().into_iter().find(|&pid| comm(pid) == "sleep");
    wait_until("the background", || background().is_some());
    let waiting: Vec<_> = own_cgroup(background().unwrap())
        .iter()
        .map(|dir| {
            fs::set_permissions(dir, fs::Permissions::from_mode(mode)).unwrap();
            let mut ann = std::process::Command::new("setpriv");
            ann.args(["--reuid", "1234", "--regid", "567", "--clear-groups", "flock", "-F"]);
            ann.arg(dir).args(["sleep", "1000"]).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    std::thread::sleep(Duration::from_millis(200));
    send(running.porthole(), "KILL");
    running.wait();
    std::thread::sleep(Duration::from_millis(200));
    // Of those at the same time on other nodes, one may be looking at it.
    wait_until("their end", || {
        exec(&["web-0", "--", "true"]).expect_success();
        confined().is_empty()
    });
    for mut ann in waiting {
        drop(ann.kill());
        ann.wait().unwrap();
    }
    container.delete();
}

fn a_timeout_ends_the_command_with_124(node: &Node) {
    let container = web_0(node);
    let start = Instant::now();
    assert_eq!(status(&["--timeout", "300ms", "web-0", "sleep", "1000"]), Some(124));
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(5), "{took:?}");
    assert_eq!(status(&["--timeout", "1m", "web-0", "--", "sh", "-c", "exit 5"]), Some(5));
    let heard = "trap 'exit 0' TERM; while :; do sleep 0.02; done";
    assert_eq!(status(&["--timeout", "200ms", "web-0", "--", "bash", "-c", heard]), Some(124));
    let start = Instant::now();
    let deaf = "trap '' TERM; while :; do sleep 0.02; done";
    assert_eq!(status(&["--timeout", "200ms", "web-0", "--", "bash", "-c", deaf]), Some(124));
    assert!(start.elapsed() >= Duration::from_secs(5), "it gets five seconds for its last words");
    for wrong in ["0s", "soon", "-1s", "5"] {
        assert_eq!(status(&["--timeout", wrong, "web-0", "true"]), Some(125), "{wrong}");
    }
    assert_eq!(status(&["-F", "--timeout", "1s", "web-0", "true"]), Some(125));
    assert_eq!(confined(), Vec::<u32>::new());
    container.delete();
}

fn a_detached_command_runs_on(node: &Node) {
    let container = web_0(node);
    for option in ["-n", "-p"] {
        let pid = output(&["--detach", option, "web-0", "--", "sleep", "1000"]);
        let pid: u32 = pid.trim().parse().unwrap();
        assert_eq!(comm(pid), "sleep");
        let cgroup = own_cgroup(pid);
        assert_eq!(cgroup.len(), 3, "{option}");
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        assert_eq!(fields[3], pid.to_string(), "{option}: a session of its own");
        assert_eq!(status(&["web-0", "true"]), Some(0));
        assert!(comm(pid) == "sleep" && !is_zombie(pid), "{option}: no other exec ends it");
        send(pid, "KILL");
        wait_until("its end", || comm(pid) != "sleep" || is_zombie(pid));
        assert_eq!(status(&["web-0", "true"]), Some(0));
        wait_until("its cgroup to go", || {
            assert_eq!(status(&["web-0", "true"]), Some(0));
            cgroup.iter().all(|dir| !dir.exists())
        });
    }
    let outcome = exec(&["--detach", "web-0", "--", "no-such-command"]);
    assert_eq!((outcome.status.code(), outcome.stdout.as_str()), (Some(127), ""), "{outcome:?}");
    assert_eq!(status(&["--detach", "-F", "web-0", "true"]), Some(125));
    container.delete();
}

fn the_targets_cgroup_is_joined_on_request(node: &Node) {
    let container = web_0(node);
    let membership = |pid: u32| -> Vec<String> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        text.lines().filter(|line| !line.starts_with("0:")).map(str::to_owned).collect()
    };
    for option in ["-n", "-a"] {
        let running =
            Running::start(&["--cgroup", "target", option, "web-0", "--", "/bin/sleep", "1000"], "sleep");
        assert_eq!(membership(running.command().unwrap()), membership(container.pid()), "{option}");
    }
    container.kill();
    let outcome = exec(&["--cgroup", "target", "web-0", "true"]);
    assert_eq!(outcome.status.code(), Some(125), "{outcome:?}");
    assert!(outcome.stderr.contains("no process of"), "{outcome:?}");
    container.delete();
}

/// The machine may have a v2 hierarchy without controllers: enough for joining, not for limits.
fn of_v2_the_targets_cgroup_is_joined_and_limits_need_controllers(node: &Node) {
    rustix::mount::mount("cgroup2", ROOT, "cgroup2", rustix::mount::MountFlags::empty(), c"").unwrap();
    let ours = Path::new(ROOT).join(node.cgroup("v2").trim_start_matches('/'));
    fs::create_dir_all(&ours).unwrap();
    let target = porthole_tests::process::Sleeper::unshared(&["--net"]);
    fs::write(ours.join("cgroup.procs"), target.pid().to_string()).unwrap();
    let pid = format!("pid:{}", target.pid());
    let words = ["--cgroup", "target", &pid, "--", "cat", "/proc/self/cgroup"];
    let membership = output(&words);
    assert!(membership.lines().any(|line| line == format!("0::{}", node.cgroup("v2"))), "{membership}");
    let controllers = fs::read_to_string(Path::new(ROOT).join("cgroup.controllers")).unwrap();
    if !controllers.contains("pids") {
        let outcome = exec(&[&pid, "--", "true"]);
        assert_eq!(outcome.status.code(), Some(125), "{outcome:?}");
        assert!(outcome.stderr.contains("none of the controllers"), "{outcome:?}");
    }
    target.end();
    wait_until("the cgroup to be empty", || fs::remove_dir(&ours).is_ok());
    fs::remove_dir(ours.parent().unwrap()).unwrap();
    node.unmount_all(Path::new(ROOT));
}

fn without_a_cgroup_only_on_request(node: &Node) {
    let container = web_0(node);
    let running = Running::start(&["--cgroup", "none", "web-0", "sleep", "1000"], "sleep");
    assert_eq!(own_cgroup(running.command().unwrap()), Vec::<PathBuf>::new());
    drop(running);
    let explained = output(&["--cgroup", "none", "--explain", "web-0", "true"]);
    assert!(explained.contains("no cgroup of its own"), "{explained}");
    let config = node.scratch().join("config.toml");
    fs::write(&config, "[exec]\ncgroup = 'none'\n").unwrap();
    let explained = output(&["--config", config.to_str().unwrap(), "--explain", "web-0", "true"]);
    assert!(explained.contains("no cgroup of its own"), "{explained}");
    porthole_tests::node::tmpfs(ROOT, "mode=755");
    let ran = work(node).join("ran");
    let outcome = exec_in(&work(node), &["web-0", "--", "touch", ran.to_str().unwrap()]);
    assert_eq!(outcome.status.code(), Some(125), "{outcome:?}");
    assert!(
        outcome.stderr.contains("bound what it uses") && outcome.stderr.contains("--cgroup none"),
        "{outcome:?}"
    );
    assert!(!ran.exists());
    assert_eq!(status(&["--cgroup", "none", "web-0", "true"]), Some(0));
    node.unmount_all(Path::new(ROOT));
    container.delete();
}

fn a_hundred_at_once_leave_no_cgroup(node: &Node) {
    let container = web_0(node);
    let words = ["web-0", "--", "sh", "-c", "grep :pids: /proc/self/cgroup"];
    let spawn = |_| command(&[], &words, Path::new("/")).stdout(Stdio::piped()).spawn().unwrap();
    let running: Vec<_> = (0..100).map(spawn).collect();
    for child in running {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let line = String::from_utf8(output.stdout).unwrap();
        let path = line.trim().rsplit(':').next().unwrap().trim_start_matches('/');
        assert!(path.starts_with("porthole/"), "{line}");
        for controller in ["pids", "memory", "cpu"] {
            let dir = Path::new(ROOT).join(controller).join(path);
            assert!(!dir.exists() || path.starts_with("porthole/slot-"), "{} is left", dir.display());
        }
    }
    assert_eq!(confined(), Vec::<u32>::new());
    container.delete();
}

/// The command has to end with porthole even if that ends before the command is one.
fn a_porthole_killed_before_the_command_starts_starts_none(node: &Node) {
    porthole_tests::requires!(strace);
    let container = web_0(node);
    let ran = work(node).join("ran");
    // The child is held up where it asks for the signal.
    for option in ["-n", "-p"] {
        let strace =
            ["strace", "-f", "-o", "/dev/null", "-e", "trace=prctl", "-e", "inject=prctl:delay_enter=20000"];
        let words = [option, "web-0", "--", "touch", ran.to_str().unwrap()];
        let mut tracer = command(&strace, &words, &work(node)).stderr(Stdio::null()).spawn().unwrap();
        let porthole = || children(tracer.id()).into_iter().find(|&pid| comm(pid) == "porthole");
        wait_until("porthole", || porthole().is_some());
        let porthole = porthole().unwrap();
        wait_until("its child", || !children(porthole).is_empty());
        send(porthole, "KILL");
        tracer.wait().unwrap();
        wait_until("the end of all", || confined().is_empty());
        assert!(!ran.exists(), "{option}");
    }
    container.delete();
}

fn explain_tells_the_bounds(node: &Node) {
    let container = web_0(node);
    let text = output(&["--explain", "--timeout", "90s", "web-0", "true"]);
    assert!(text.contains("512 processes and threads, 1 GiB memory, cpu weight 50 of 100"), "{text}");
    assert!(text.contains("no core dumps") && text.contains("ended after 1m 30s"), "{text}");
    container.delete();
}

on_a_node!(requires(root, ip, runc):
    a_command_has_a_cgroup_of_its_own_with_limits,
    two_commands_share_no_cgroup,
    a_higher_oom_score_of_the_caller_is_kept,
    a_fork_bomb_stays_inside_and_ends_with_exec,
    who_takes_too_much_memory_is_killed_and_told,
    what_a_command_leaves_in_the_background_ends_with_it,
    what_a_killed_porthole_leaves_the_next_exec_ends,
    no_other_user_keeps_what_a_killed_porthole_leaves,
    a_timeout_ends_the_command_with_124,
    a_detached_command_runs_on,
    the_targets_cgroup_is_joined_on_request,
    of_v2_the_targets_cgroup_is_joined_and_limits_need_controllers,
    without_a_cgroup_only_on_request,
    a_hundred_at_once_leave_no_cgroup,
    a_porthole_killed_before_the_command_starts_starts_none,
    explain_tells_the_bounds,
);
