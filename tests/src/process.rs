//! Processes that a test starts: ended when their guard goes, by the pid that was started.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Calls `check` until it is true.
///
/// # Panics
/// After ten seconds, naming `what`.
pub fn wait_until(what: &str, mut check: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !check() {
        assert!(Instant::now() < until, "waited ten seconds for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A process that sleeps until its guard is dropped.
#[derive(Debug)]
pub struct Sleeper {
    child: Child,
}

impl Sleeper {
    /// Starts one in the test's own namespaces.
    #[must_use]
    pub fn start() -> Self {
        Self::unshared(&[])
    }

    /// Starts one in new namespaces: `flags` are those of unshare(1).
    #[must_use]
    pub fn unshared(flags: &[&str]) -> Self {
        let mut command = Command::new("unshare");
        command.args(flags).args(["/bin/busybox", "sleep", "100000"]);
        if flags.is_empty() {
            command = Command::new("/bin/busybox");
            command.arg0("busybox").args(["sleep", "100000"]);
        }
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let sleeper = Self { child: quiet.spawn().expect("start a process") };
        let comm = format!("/proc/{}/comm", sleeper.pid());
        // The namespaces are there when unshare has become the program.
        wait_until("a process in new namespaces", || {
            fs::read_to_string(&comm).is_ok_and(|name| name.trim() == "busybox")
        });
        sleeper
    }

    /// Starts one through a program that enters the network namespace `netns` and becomes it.
    #[must_use]
    pub fn under(entering: &[&str], netns: crate::Netns) -> Self {
        let mut command = Command::new(entering[0]);
        command.args(&entering[1..]).args(["/bin/busybox", "sleep", "100000"]);
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let sleeper = Self { child: quiet.spawn().expect("start a process") };
        wait_until("a process in the namespace", || crate::Netns::of(sleeper.pid()) == Some(netns));
        sleeper
    }

    /// Starts `command`, which has to become a sleeping busybox, under exactly `pid`.
    #[must_use]
    pub fn with_pid(pid: u32, command: &[&str]) -> Self {
        for _ in 0..50 {
            next_pid(pid);
            let mut start = Command::new(command[0]);
            let quiet =
                start.args(&command[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let sleeper = Self { child: quiet.spawn().expect("start a process") };
            if sleeper.pid() == pid {
                let comm = format!("/proc/{pid}/comm");
                wait_until("a process in its namespaces", || {
                    fs::read_to_string(&comm).is_ok_and(|name| name.trim() == "busybox")
                });
                return sleeper;
            }
        }
        panic!("pid {pid} was not given");
    }

    /// Ends it and leaves it a zombie, until its guard goes.
    pub fn end_unreaped(&mut self) {
        self.child.kill().expect("kill a child");
        let stat = format!("/proc/{}/stat", self.pid());
        wait_until("a zombie", || fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") Z ")));
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it now.
    pub fn end(self) {
        drop(self);
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A pid that no process has: that of one that was started and reaped.
#[must_use]
pub fn dead_pid() -> u32 {
    Sleeper::start().pid()
}

/// Has the kernel give `pid` to the next process of the node, unless another is quicker.
fn next_pid(pid: u32) {
    fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).expect("set the last pid");
}

/// Starts a process under exactly `pid`, which must be free.
#[must_use]
pub fn reuse(pid: u32) -> Sleeper {
    // A start time counts ticks of ten milliseconds: two processes of one tick cannot be told apart by it, and no
    // machine goes through all its numbers in one.
    std::thread::sleep(Duration::from_millis(30));
    for _ in 0..50 {
        next_pid(pid);
        let sleeper = Sleeper::start();
        if sleeper.pid() == pid {
            return sleeper;
        }
    }
    panic!("pid {pid} was not given again");
}
