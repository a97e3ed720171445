//! What one command could do to the other processes of its user by system calls alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use porthole_tests::process::wait_until;
use porthole_tests::{Node, on_a_node, requires, tools};

use super::CONFINED;
use crate::setting::{exec, field, output, web_0, work};

/// A process of nobody outside, in a group of its own, that goes on writing to a file.
struct Victim {
    child: Child,
    log: PathBuf,
}

impl Victim {
    fn start(node: &Node) -> Self {
        let log = work(node).join("log");
        let script = format!("echo >>{0}; while sleep 0.01; do echo >>{0}; done", log.display());
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "setsid", "sh", "-c", &script]);
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        let victim = Self { child, log };
        wait_until("the victim to write", || victim.written() > 0);
        victim
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn written(&self) -> u64 {
        fs::metadata(&self.log).map_or(0, |file| file.len())
    }

    /// Limits, priorities, policy and processors.
    fn settings(&self) -> String {
        let of = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", self.pid())).unwrap();
        let stat = of("stat");
        let stat: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        // Priority, nice, real-time priority, policy: fields 18, 19, 40 and 41, of which the third is the first here.
        let schedule = [15, 16, 37, 38].map(|at| stat[at]);
        let mut ionice = Command::new("ionice");
        ionice.args(["-p", &self.pid().to_string()]);
        let io = tools::run(ionice).expect_success().to_owned();
        format!("{}{schedule:?} {} {io}", of("limits"), field(&of("status"), "Cpus_allowed"))
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn a_command_limits_and_schedules_itself_alone(node: &Node) {
    requires!(prlimit, renice, taskset, ionice, chrt, setpriv);
    let container = web_0(node);
    let mut victim = Victim::start(node);
    let before = victim.settings();
    let pid = victim.pid().to_string();
    for profile in CONFINED {
        let run = |words: &str| {
            let words: Vec<_> = words.split(' ').collect();
            exec(&[&["--profile", profile, "web-0", "--"], &words[..]].concat())
        };
        for to_another in [
            "prlimit --fsize=0 --pid PID",
            "renice -n 7 -p PID",
            "renice -n 7 -g PID",
            "renice -n 7 -u 65534",
            "taskset -p 1 PID",
            "ionice -c 3 -p PID",
            "ionice -c 3 -P PID",
            "ionice -c 3 -u 65534",
            "chrt -b -p 0 PID",
        ] {
            let outcome = run(&to_another.replace("PID", &pid));
            assert!(!outcome.status.success(), "{profile}: {to_another}: {outcome:?}");
            assert!(outcome.stderr.contains("not permitted"), "{profile}: {to_another}: {outcome:?}");
            assert_eq!(victim.settings(), before, "{profile}: {to_another}");
        }
        for to_itself in [
            "prlimit --nofile=64:64 true",
            "nice -n 1 true",
            "taskset 1 true",
            "ionice -c 3 true",
            "chrt -b 0 true",
        ] {
            run(to_itself).expect_success();
        }
        for reading in ["taskset -p PID", "ionice -p PID", "chrt -p PID", "nice"] {
            run(&reading.replace("PID", &pid)).expect_success();
        }
    }
    let written = victim.written();
    wait_until("the victim to go on", || victim.written() > written);
    assert!(victim.child.try_wait().unwrap().is_none(), "it lives");
    container.delete();
}

fn what_others_share_in_the_hosts_ipc_namespace_is_out_of_reach(node: &Node) {
    requires!(ipcmk, ipcrm, setpriv);
    let container = web_0(node);
    let as_nobody = |words: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).args(words);
        tools::run(command)
    };
    let id = |made: &str| made.rsplit(' ').next().unwrap().trim().to_owned();
    let made = [("-m", &["-M", "4096"][..]), ("-q", &["-Q"]), ("-s", &["-S", "1"])]
        .map(|(option, make)| (option, id(as_nobody(&[&["ipcmk"], make].concat()).expect_success())));
    for profile in CONFINED {
        for (option, id) in &made {
            let outcome = exec(&["--profile", profile, "web-0", "--", "ipcrm", option, id]);
            assert!(!outcome.status.success(), "{profile}: {option}: {outcome:?}");
        }
        for make in [&["-M", "4096"][..], &["-Q"], &["-S", "1"]] {
            let words = [&["--profile", profile, "web-0", "--", "ipcmk"], make].concat();
            assert!(!exec(&words).status.success(), "{profile}: {make:?}");
            let words = [&["--profile", profile, "-n", "-i", "web-0", "--", "ipcmk"], make].concat();
            exec(&words).expect_success();
        }
    }
    for (option, id) in &made {
        as_nobody(&["ipcrm", option, id]).expect_success();
    }
    assert!(Path::new("/proc/sysvipc/shm").exists(), "the kernel has them at all");
    let table = output(&["--explain", "web-0", "true"]);
    assert!(table.contains(" System V and POSIX IPC,"), "{table}");
    let table = output(&["--explain", "-n", "-i", "web-0", "true"]);
    assert!(!table.contains(" System V and POSIX IPC,"), "{table}");
    container.delete();
}

on_a_node!(requires(root, ip, runc):
    a_command_limits_and_schedules_itself_alone,
    what_others_share_in_the_hosts_ipc_namespace_is_out_of_reach,
);
