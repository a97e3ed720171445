//! What a user of the host tries with `exec`, and what the rest of the host is to a command.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::chown;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use porthole_tests::node::tmpfs;
use porthole_tests::process::{Sleeper, wait_until};
use porthole_tests::tools;
use porthole_tests::{Bundle, Container, Node, Runtime, on_a_node, requires};
use rustix::fs::{CWD, FileType, Mode, RenameFlags, makedev, mknodat, renameat_with};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::setting::{SUDO, children, comm, command, exec_in, output, own_etc, policy, web_0, work};

/// Compiles a program of these tests.
fn compile(source: &Path, program: &Path) {
    let mut gcc = Command::new("gcc");
    gcc.args(["-static", "-O1", "-o"]).arg(program).arg(source);
    tools::run(gcc).expect_success();
}

/// The program with single attempts to escape: its status is the errno.
fn prober(directory: &Path) -> PathBuf {
    let program = directory.join("prober");
    compile(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/escape/prober.c")), &program);
    program
}

fn the_working_directory_is_not_mounted_over_the_tools(node: &Node) {
    requires!(gcc);
    let container = web_0(node);
    policy(node, "[[rule]]\nusers = ['1234']\ncommands = ['id']\nallow = ['directory']\neffect = 'allow'\n");
    // The more there is to resolve, the longer it takes, and the more often the link comes in between.
    let deep = work(node).join("a/".repeat(60));
    fs::create_dir_all(&deep).unwrap();
    let (place, other) = (deep.join("here"), deep.join("other"));
    fs::create_dir(&place).unwrap();
    let source = node.scratch().join("forged.c");
    fs::write(&source, "#include <stdio.h>\nint main(void) { puts(\"forged\"); }\n").unwrap();
    compile(&source, &place.join("id"));
    chown(&place, Some(1234), Some(567)).unwrap();
    std::os::unix::fs::symlink("/usr/bin", &other).unwrap();
    // By a descriptor, since the name is that of the link as often.
    let directory = File::open(&place).unwrap();
    let here = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    let named = format!("-w={}", place.display());
    let done = AtomicBool::new(false);
    let mut answers = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                renameat_with(CWD, &place, CWD, &other, RenameFlags::EXCHANGE).unwrap();
            }
        });
        for round in 0..150 {
            // The directory that the user is in, and every third time one that is named.
            let options: &[&str] = if round % 3 == 2 { &[&named] } else { &[] };
            let words = [options, &["web-0", "--", "id", "-u"]].concat();
            let mut id = command(&[], &words, &here);
            id.envs(SUDO);
            answers.push(tools::run(id));
        }
        done.store(true, Ordering::Relaxed);
    });
    let forged = answers.iter().filter(|answer| answer.stdout.contains("forged")).count();
    assert_eq!(forged, 0, "the user's program ran in place of the host's, of {} times", answers.len());
    assert!(answers.iter().any(|answer| answer.stdout == "1234\n"), "{:?}", answers[0]);
    container.delete();
}

/// A host of the node's own, where writing does no harm: directories of root's, and what is in them.
fn host(node: &Node) {
    own_etc(node);
    for directory in ["/tmp", "/srv", "/usr/local/bin"] {
        tmpfs(directory, if directory == "/tmp" { "mode=1777" } else { "mode=775" });
    }
    fs::create_dir_all("/etc/cron.d").unwrap();
    work(node);
}

/// Directories of the host that root could make files in.
const WRITABLE: [&str; 6] = ["/usr/local/bin", "/etc", "/etc/cron.d", "/tmp", "/srv", "/mnt/work"];

/// What of the host was written to by this command, which is a shell.
fn written(run: impl Fn(&Path, &str)) -> Vec<String> {
    let script = "for d in . /usr/local/bin /etc /etc/cron.d /tmp /srv /mnt/work; do echo attacked > $d/attacked; done";
    let mut found = Vec::new();
    for here in WRITABLE {
        run(Path::new(here), script);
        for directory in WRITABLE {
            let file = Path::new(directory).join("attacked");
            if file.exists() {
                found.push(format!("{directory} from {here}"));
                fs::remove_file(file).unwrap();
            }
        }
    }
    found
}

fn root_in_a_view_writes_to_no_host_directory(node: &Node) {
    host(node);
    let container = web_0(node);
    let root_of_a_namespace = Sleeper::unshared(&["-Urn"]);
    let target = format!("pid:{}", root_of_a_namespace.pid());
    let ways: [&[&str]; 6] = [
        &["--uid", "0", "web-0"],
        &["--uid", "0", "--gid", "0", "web-0"],
        &["--uid", "0", "--profile", "netadmin", "--cap-add", "DAC_OVERRIDE", "web-0"],
        &["--uid", "1234", "--gid", "0", "web-0"],
        &["-p", "--uid", "0", "web-0"],
        &["-U", "-n", "--uid", "0", &target],
    ];
    let mut wrong = Vec::new();
    for way in ways {
        let found = written(|here, script| drop(exec_in(here, &[way, &["--", "sh", "-c", script]].concat())));
        wrong.extend(found.into_iter().map(|what| format!("{way:?}: {what}")));
    }
    assert!(wrong.is_empty(), "root wrote to the host:\n{}", wrong.join("\n"));
    root_of_a_namespace.end();
    container.delete();
}

fn a_directory_that_is_named_is_writable_to_root_and_no_other(node: &Node) {
    host(node);
    let container = web_0(node);
    let way = ["--uid", "0", "--writable", "/mnt/work", "web-0"];
    let found =
        written(|here, script| drop(exec_in(here, &[&way[..], &["--", "sh", "-c", script]].concat())));
    assert!(!found.is_empty() && found.iter().all(|what| what.starts_with("/mnt/work from ")), "{found:?}");
    container.delete();
}

fn root_sees_only_what_the_list_has(node: &Node) {
    host(node);
    let secrets = [
        "/etc/shadow",
        "/etc/gshadow",
        "/etc/sudoers",
        "/etc/ssh/ssh_host_ed25519_key",
        "/etc/wireguard/wg0.conf",
        "/etc/letsencrypt/live/shop/privkey.pem",
        "/etc/netplan/50-wifi.yaml",
        "/etc/credstore/db",
        "/etc/NetworkManager/system-connections/home",
        "/etc/ssl/private/host.key",
        "/etc/cron.d/job",
        "/etc/of-the-host",
        "/srv/of-the-host",
        "/tmp/of-the-host",
        "/mnt/work/of-the-host",
    ];
    for path in secrets {
        fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
        fs::write(path, "hunter2\n").unwrap();
    }
    let container = web_0(node);
    let root_of_a_namespace = Sleeper::unshared(&["-Urn"]);
    let target = format!("pid:{}", root_of_a_namespace.pid());
    let ways: [&[&str]; 4] = [
        &["--uid", "0", "web-0"],
        &["--uid", "0", "--profile", "netadmin", "web-0"],
        &["--uid", "1234", "--gid", "0", "web-0"],
        &["-U", "-n", "--uid", "0", &target],
    ];
    // What a view has at its top: tools, and what belongs to the view itself.
    let top =
        ["bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "sys", "tmp", "usr"];
    let mut wrong = Vec::new();
    for way in ways {
        let run = |words: &[&str]| exec_in(Path::new("/mnt/work"), &[way, &["--"], words].concat());
        let listed = run(&["ls", "-A", "/"]);
        let listed = listed.expect_success().split_whitespace();
        let more: Vec<_> = listed.filter(|name| !top.contains(name)).collect();
        if !more.is_empty() {
            wrong.push(format!("{way:?}: at the top {more:?}"));
        }
        for path in secrets {
            if run(&["cat", path]).stdout.contains("hunter2") {
                wrong.push(format!("{way:?}: {path}"));
            }
        }
        // Tools go on working: a name of a user, a certificate, a library that is found by the cache.
        let tools = "id -un 0; test -d /etc/ssl/certs; ip -V";
        assert!(run(&["sh", "-ec", tools]).expect_success().starts_with("root\n"), "{way:?}");
    }
    assert!(wrong.is_empty(), "root sees of the host:\n{}", wrong.join("\n"));
    root_of_a_namespace.end();
    container.delete();
}

/// A terminal in which somebody works: the end that shows what is written to it, and its name.
fn window(uid: u32) -> (OwnedFd, String) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    chown(&name, Some(uid), None).unwrap();
    (master, name)
}

/// What came to be shown there.
fn shown(master: &OwnedFd) -> String {
    rustix::io::ioctl_fionbio(master, true).unwrap();
    let mut bytes = [0; 4096];
    let count = File::from(master.try_clone().unwrap()).read(&mut bytes).unwrap_or_default();
    String::from_utf8_lossy(&bytes[..count]).into_owned()
}

fn a_command_has_no_terminal_but_its_own(node: &Node) {
    let container = web_0(node);
    mknodat(CWD, "/dev/tty1", FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(4, 1)).unwrap();
    let mut wrong = Vec::new();
    for (uid, options) in [
        (65534, &[][..]),
        (65534, &["--profile", "restricted"]),
        (65534, &["-p"]),
        (65534, &["-p", "-n"]),
        (65534, &["-F"]),
        (0, &["--uid", "0"]),
        (1234, &["--uid", "1234"]),
    ] {
        // Its slave stays open, so that what is written is not lost.
        let (master, name) = window(uid);
        let slave = File::options().read(true).write(true).open(&name).unwrap();
        let script =
            format!("echo attacked > {name}; ls -d {name} /dev/tty[0-9]* /dev/pts/[0-9]* /dev/console");
        let outcome = exec_in(Path::new("/"), &[options, &["web-0", "--", "sh", "-c", &script]].concat());
        if shown(&master).contains("attacked") {
            wrong.push(format!("{options:?}: it wrote to {name}, a terminal of the same user"));
        }
        wrong.extend(outcome.stdout.lines().map(|line| format!("{options:?}: it has {line}")));
        drop(slave);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    container.delete();
}

fn abstract_sockets_of_the_host_are_out_of_reach_with_the_hosts_network(node: &Node) {
    requires!(gcc);
    let name = SocketAddr::from_abstract_name("porthole-escape").unwrap();
    let _listener = UnixListener::bind_addr(&name).unwrap();
    let program = prober(&work(node));
    let pod = |name: &str| Bundle::of_pod(node, "shop", name, "app", "/none").own_netns();
    let own = Container::run(Runtime::Runc, &pod("web-0"));
    let hosted = Container::run(Runtime::Runc, &pod("hosted").host_network());
    // A container has no directory in common with the host, but a shell.
    fs::copy(&program, node.rootfs().join("bin/prober")).unwrap();
    let copy = "cd $(mktemp -d) && cat > prober && chmod 755 prober && exec ./prober abstract-socket";
    let from_stdin = ["/bin/sh", "-c", copy];
    let inside = ["/bin/prober", "abstract-socket"];
    let mut wrong = Vec::new();
    for profile in ["restricted", "general", "netadmin", "trace", "sysadmin"] {
        for (options, target, words) in [
            (&["-p"][..], "web-0", &from_stdin[..]),
            (&["-n"], "hosted", &from_stdin),
            (&["-p", "-n"], "hosted", &from_stdin),
            (&["-n", "--uid", "0"], "hosted", &from_stdin),
            (&["-m"], "web-0", &inside),
            (&["-a"], "hosted", &inside),
        ] {
            let all = [&["--profile", profile], options, &[target, "--"], words].concat();
            let mut attempt = command(&[], &all, Path::new("/"));
            attempt.stdin(File::open(&program).unwrap());
            let outcome = tools::run(attempt);
            if outcome.status.success() != (profile == "sysadmin") {
                wrong.push(format!(
                    "{profile} {options:?} {target}: {} {}",
                    outcome.status,
                    outcome.stderr.trim()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "the socket is for sysadmin alone:\n{}", wrong.join("\n"));
    own.delete();
    hosted.delete();
}

/// A process that comes from this one and sleeps: porthole need not be its parent.
fn descendant(of: u32, program: &str) -> Option<u32> {
    children(of).into_iter().find_map(|child| {
        let sleeps =
            fs::read_to_string(format!("/proc/{child}/wchan")).is_ok_and(|at| at.contains("nanosleep"));
        if comm(child) == program && sleeps { Some(child) } else { descendant(child, program) }
    })
}

fn a_restricted_command_is_not_traced_by_another_process_of_its_user(node: &Node) {
    requires!(gcc, setpriv);
    let container = web_0(node);
    let here = work(node);
    let program = prober(&here);
    let as_nobody = |program: &str| {
        let mut setpriv = Command::new("setpriv");
        setpriv.args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--bounding-set=-all",
            "--",
            program,
        ]);
        setpriv
    };
    let attempts = [
        "ptrace-same-user",
        "read-memory-same-user",
        "proc-mem-same-user",
        "steal-fd-same-user",
        "proc-fd-same-user",
        "proc-root-same-user",
    ];
    let succeed = |pid: u32| -> Vec<&str> {
        let made = |attempt: &&&str| {
            let mut attack = as_nobody(program.to_str().unwrap());
            attack.arg(**attempt).env("SAME", pid.to_string()).current_dir(&here);
            tools::run(attack).status.success()
        };
        attempts.iter().filter(made).copied().collect()
    };
    // Against a process that is not porthole's each of them works.
    let mut plain = as_nobody("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
    wait_until("a process of the user", || {
        fs::read_to_string(format!("/proc/{}/comm", plain.id())).is_ok_and(|comm| comm == "sleep\n")
    });
    assert_eq!(succeed(plain.id()), attempts, "what is tried works on a process of the same user");
    plain.kill().unwrap();
    plain.wait().unwrap();
    let mut wrong = Vec::new();
    for options in [&["-n"][..], &["-p", "-n"], &["-a"]] {
        let words = [&["--profile", "restricted"], options, &["web-0", "--", "sleep", "1000"]].concat();
        let mut porthole = command(&[], &words, Path::new("/")).spawn().unwrap();
        let mut pid = None;
        wait_until("the command to sleep", || {
            pid = descendant(porthole.id(), "sleep");
            pid.is_some()
        });
        let found = succeed(pid.unwrap());
        porthole.kill().unwrap();
        porthole.wait().unwrap();
        if !found.is_empty() {
            wrong.push(format!("{options:?}: {found:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "another process of the user did to a restricted command:\n{}",
        wrong.join("\n")
    );
    container.delete();
}

fn a_limit_is_of_the_command_alone(node: &Node) {
    requires!(setpriv);
    let container = web_0(node);
    let mut other = Command::new("setpriv");
    other.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--", "sleep", "1000"]);
    let mut other = other.stdin(Stdio::null()).spawn().unwrap();
    wait_until("a process of the user", || {
        fs::read_to_string(format!("/proc/{}/comm", other.id())).is_ok_and(|comm| comm == "sleep\n")
    });
    let limits = || fs::read_to_string(format!("/proc/{}/limits", other.id())).unwrap();
    let before = limits();
    let pid = other.id().to_string();
    let outcome = exec_in(Path::new("/"), &["web-0", "--", "prlimit", "--pid", &pid, "--fsize=0"]);
    assert!(!outcome.status.success(), "{outcome:?}");
    assert_eq!(limits(), before, "another process of the user has the limits that it had");
    // Its own it may lower.
    assert_eq!(output(&["web-0", "--", "sh", "-c", "ulimit -f 7; ulimit -f"]).trim(), "7");
    output(&["web-0", "--", "nice", "-n", "5", "true"]);
    other.kill().unwrap();
    other.wait().unwrap();
    container.delete();
}

on_a_node!(requires(root, ip, runc):
    the_working_directory_is_not_mounted_over_the_tools,
    root_in_a_view_writes_to_no_host_directory,
    a_directory_that_is_named_is_writable_to_root_and_no_other,
    root_sees_only_what_the_list_has,
    a_command_has_no_terminal_but_its_own,
    abstract_sockets_of_the_host_are_out_of_reach_with_the_hosts_network,
    a_restricted_command_is_not_traced_by_another_process_of_its_user,
    a_limit_is_of_the_command_alone,
);
