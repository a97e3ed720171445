//! Attempt by profile: what is expected of each.

use std::fmt::Write;

/// Where the attempts are made from.
pub struct Column {
    /// As in the document.
    pub name: &'static str,
    /// Of `porthole exec`.
    pub options: &'static [&'static str],
    /// As whom, in the host's numbers.
    pub user: u32,
    /// Of which pod.
    pub target: &'static str,
    /// Without a filter, with all capabilities that are to be had.
    pub unfiltered: bool,
}

const fn column(name: &'static str, options: &'static [&'static str], user: u32) -> Column {
    Column { name, options, user, target: WEB, unfiltered: false }
}

/// A pod with a network of its own.
pub const WEB: &str = "web-0";
/// One that has a user namespace too.
pub const BOXED: &str = "boxed";
/// One in the host's network.
pub const HOSTED: &str = "hosted";

const NOBODY: u32 = 65534;

pub const COLUMNS: [Column; 11] = [
    column("restricted", &["--profile", "restricted"], NOBODY),
    column("general", &["--profile", "general"], NOBODY),
    column("netadmin", &["--profile", "netadmin"], NOBODY),
    column("trace", &["--profile", "trace"], NOBODY),
    column("trace -p", &["--profile", "trace", "-p", "-n"], NOBODY),
    Column { target: HOSTED, ..column("general, host network", &["--profile", "general"], NOBODY) },
    column("general as root", &["--profile", "general", "--uid", "0"], 0),
    column("netadmin as root", &["--profile", "netadmin", "--uid", "0"], 0),
    Column {
        target: BOXED,
        ..column("general -a, user namespace", &["--profile", "general", "-a"], 100_000)
    },
    Column { unfiltered: true, ..column("sysadmin", &["--profile", "sysadmin"], 0) },
    Column {
        target: BOXED,
        unfiltered: true,
        ..column("sysadmin -a, user namespace", &["--profile", "sysadmin", "-a"], 100_000)
    },
];

/// What comes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// By whatever stands in its way first.
    Denied,
    /// It has no effect in the form in which it is tried.
    Allowed,
    /// By the filter.
    Killed,
    /// On how the kernel was built.
    Depends,
}

impl Verdict {
    /// Whether the prober's answer is that. What a kernel does not have, nobody gets.
    pub fn is(self, answer: &str) -> bool {
        match self {
            Self::Depends => answer != "not tried",
            Self::Killed => answer == "SYS",
            Self::Allowed => answer == "made" || answer == "ENOSYS",
            Self::Denied => answer.starts_with('E'),
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Denied => "–",
            Self::Allowed => "**allowed**",
            Self::Killed => "killed",
            Self::Depends => "depends",
        }
    }
}

/// One attempt.
pub struct Attempt {
    /// As the prober knows it.
    pub name: &'static str,
    /// What it does.
    what: &'static str,
    /// A letter for each column.
    letters: &'static str,
    /// Why it is allowed where a filter is in force.
    pub why: &'static str,
}

impl Attempt {
    /// One for each column.
    pub fn verdicts(&self) -> Vec<Verdict> {
        let letters = self.letters.chars().filter(|letter| *letter != ' ');
        let verdicts: Vec<_> = letters
            .map(|letter| match letter {
                'd' => Verdict::Denied,
                'a' => Verdict::Allowed,
                'k' => Verdict::Killed,
                '?' => Verdict::Depends,
                other => panic!("{}: no verdict is written {other}", self.name),
            })
            .collect();
        assert_eq!(verdicts.len(), COLUMNS.len(), "{}", self.name);
        verdicts
    }
}

const fn attempt(name: &'static str, what: &'static str, letters: &'static str) -> Attempt {
    Attempt { name, what, letters, why: "" }
}

const fn allowed(
    name: &'static str,
    what: &'static str,
    letters: &'static str,
    why: &'static str,
) -> Attempt {
    Attempt { name, what, letters, why }
}

/// All of them. The letters stand for the columns in their order: `d`enied, `a`llowed, `k`illed, `?` as the kernel is built.
pub const ATTEMPTS: &[Attempt] = &[
    attempt("mount-tmpfs", "mount a new file system", "ddddd d dd d ad"),
    attempt("mount-by-descriptor", "the same by fsopen", "ddddd d dd d aa"),
    attempt("remount-root", "make `/` writable again", "ddddd d dd d aa"),
    attempt("umount", "uncover what a mount covers", "ddddd d dd d aa"),
    attempt("unshare-user", "a new user namespace", "ddddd d dd d aa"),
    attempt("unshare-mnt", "a new mount namespace", "ddddd d dd d aa"),
    attempt("unshare-net", "a new network namespace", "ddddd d dd d aa"),
    attempt("unshare-pid", "a new pid namespace", "ddddd d dd d aa"),
    attempt("unshare-ipc", "a new IPC namespace", "ddddd d dd d aa"),
    attempt("unshare-uts", "a new UTS namespace", "ddddd d dd d aa"),
    attempt("unshare-cgroup", "a new cgroup namespace", "ddddd d dd d aa"),
    attempt("unshare-time", "a new time namespace", "ddddd d dd d aa"),
    attempt("clone-user", "a process in a new user namespace", "ddddd d dd d aa"),
    attempt("clone3-user", "the same where no filter sees the flags", "ddddd d dd d aa"),
    attempt("setns-net", "enter the host's network namespace", "ddddd d dd d ad"),
    attempt("setns-mnt", "enter the host's mount namespace", "ddddd d dd d ad"),
    attempt("setns-pidfd", "both by a pidfd", "ddddd d dd d ad"),
    attempt("chroot-climb", "chroot and climb out by a descriptor", "ddddd d dd d ad"),
    attempt("file-by-handle", "open a file by its handle, past directories", "ddddd d dd d ad"),
    attempt("ptrace-root", "trace a process of root's", "ddddd d dd d ad"),
    attempt("ptrace-same-user", "trace a process of the same user", "ddddd d dd d ad"),
    attempt("ptrace-porthole", "trace porthole", "ddddd d dd d ad"),
    attempt("read-memory-root", "process_vm_readv of root's process", "ddddd d dd d ad"),
    attempt("read-memory-same-user", "of a process of the same user", "ddddd d dd d ad"),
    attempt("proc-mem-root", "write to the memory of root's process by /proc/PID/mem", "ddddd d dd d ad"),
    attempt("proc-mem-same-user", "to that of a process of the same user", "ddddd d dd d ad"),
    attempt("proc-root-root", "around the view by /proc/PID/root of root's process", "ddddd d dd d ad"),
    attempt("proc-root-same-user", "of a process of the same user", "ddddd d dd d ad"),
    attempt("proc-root-write-same-user", "write to the host's /etc/passwd on that way", "ddddd d dd d ad"),
    attempt("proc-environ-root", "read the environment of root's process", "ddddd d dd d ad"),
    attempt("proc-fd-root", "open a descriptor of root's process", "ddddd d dd d ad"),
    attempt("proc-fd-same-user", "of a process of the same user", "ddddd d dd d ad"),
    attempt("proc-fd-porthole", "of porthole", "ddddd d dd d ad"),
    attempt("proc-exe-porthole", "open porthole's image", "ddddd d dd d ad"),
    attempt("steal-fd-root", "pidfd_getfd from root's process", "ddddd d dd d ad"),
    attempt("steal-fd-same-user", "from a process of the same user", "ddddd d dd d ad"),
    attempt("kill-root", "signal a process of root's", "ddddd d dd d ad"),
    attempt("kill-same-user", "signal a process of the same user", "ddddd d dd d ad"),
    attempt("kill-porthole", "signal porthole", "ddddd d dd d ad"),
    attempt("renice-root", "change the priority of root's process", "ddddd d dd d ad"),
    attempt("write-passwd", "open /etc/passwd for writing", "ddddd d dd d ad"),
    attempt("write-program", "open /usr/bin/env for writing", "ddddd d dd d ad"),
    attempt("write-top", "make a file in /", "ddddd d dd d ad"),
    attempt("write-root-home", "make a file in /root", "ddddd d dd d ad"),
    attempt("write-usr", "make a file in /usr/lib", "ddddd d dd d ad"),
    attempt("write-var", "make a file in /var/lib", "ddddd d dd d ad"),
    attempt("write-sysfs", "open a setting in /sys for writing", "ddddd d dd d ad"),
    attempt("read-shadow", "read /etc/shadow", "ddddd d dd d ad"),
    attempt("read-host-key", "read sshd's key", "ddddd d dd d ad"),
    attempt("read-pod-token", "read a service account's token below /var/lib/kubelet", "ddddd d dd d ad"),
    attempt(
        "read-cluster-key",
        "read /etc/kubernetes/admin.conf, though its mode allows it",
        "ddddd d dd d ad",
    ),
    attempt("read-linked-engine", "read Docker's files, whose directory is a link", "ddddd d dd d ad"),
    attempt("engine-socket", "connect to containerd.sock, though its mode allows it", "ddddd d dd d ad"),
    attempt("docker-socket", "connect to docker.sock, though its mode allows it", "ddddd d dd d ad"),
    attempt("kubelet-socket", "connect to a socket of kubelet", "ddddd d dd d ad"),
    attempt("abstract-socket", "connect to an abstract socket of the host", "ddddd d dd d dd"),
    allowed(
        "raw-socket",
        "a raw socket",
        "daaaa a aa a aa",
        "NET_RAW, which the profile grants, in the target's network",
    ),
    allowed(
        "packet-socket",
        "a packet socket",
        "daaaa a aa a aa",
        "NET_RAW, which the profile grants, in the target's network",
    ),
    allowed(
        "change-link",
        "set a link up",
        "ddadd d da d aa",
        "NET_ADMIN, which the profile grants, in the target's network",
    ),
    allowed(
        "add-route",
        "add a route",
        "ddadd d da d aa",
        "NET_ADMIN, which the profile grants, in the target's network",
    ),
    allowed(
        "list-nftables",
        "speak to nftables",
        "ddadd d da d aa",
        "NET_ADMIN, which the profile grants, in the target's network",
    ),
    allowed(
        "link-in-host",
        "make a link in the host's network namespace by a pid",
        "ddadd d da d ad",
        "NET_ADMIN of the host's user namespace counts in each network namespace that this owns, and netlink names another by a process or an id; no filter sees what is in a message. Grant netadmin as you would grant the host's network",
    ),
    attempt("bpf-map", "a BPF map", "ddddd d dd d ad"),
    attempt("perf-kernel", "perf_event_open of the kernel", "ddddd d dd d a?"),
    attempt("keyring", "look for the session keyring", "ddddd d dd d aa"),
    attempt("add-key", "add a key", "ddddd d dd d aa"),
    attempt("io-uring", "io_uring_setup", "ddddd d dd d ??"),
    attempt("userfaultfd", "userfaultfd", "ddddd d dd d a?"),
    attempt("module-load", "load a module", "ddddd d dd d ad"),
    attempt("module-unload", "unload a module", "ddddd d dd d ad"),
    attempt("kexec", "load a kernel", "ddddd d dd d ad"),
    attempt("reboot", "reboot, with a wrong number", "ddddd d dd d aa"),
    attempt("kernel-log", "the kernel's log by syslog(2)", "ddddd d dd d ad"),
    attempt("sysrq", "open /proc/sysrq-trigger for writing", "ddddd d dd d ad"),
    attempt("core-pattern", "open core_pattern for writing", "ddddd d dd d ad"),
    attempt("modprobe-path", "open the path of modprobe for writing", "ddddd d dd d ad"),
    attempt("set-clock", "set the clock, to a wrong tick", "ddddd d dd d ad"),
    attempt("host-name", "set the host's name, with a wrong length", "ddddd d dd d aa"),
    attempt("watch-files", "fanotify_init", "ddddd d dd d ad"),
    attempt("make-device", "make a device file and open it", "ddddd d dd d ad"),
    attempt(
        "device-in-cwd",
        "open a device file in the working directory, though its mode allows it",
        "ddddd d dd d ad",
    ),
    attempt("device-kmsg", "open root's /dev/kmsg", "ddddd d dd d ad"),
    attempt("device-disk", "open a disk of root's", "ddddd d dd d ad"),
    attempt("terminal-input", "TIOCSTI", "ddddd d dd d ad"),
    attempt("setuid-file", "run a setuid file", "ddddd d dd d ad"),
    attempt("capability-file", "run a file with capabilities", "ddddd d dd d ad"),
    attempt("another-user", "become another user", "ddddd d dd d aa"),
    attempt("more-groups", "add a group", "ddddd d dd d aa"),
    attempt("personality", "READ_IMPLIES_EXEC", "ddddd d dd d aa"),
    attempt("x32-call", "a system call of x32", "kkkkk k kk k ??"),
    attempt("cgroup", "mount the cgroups and open another's cgroup.procs", "ddddd d dd d ad"),
    attempt("release-agent", "mount a hierarchy of version 1 and open its release_agent", "ddddd d dd d ?d"),
    attempt("shared-memory-root", "open a System V segment of root's", "ddddd d dd d ad"),
];

/// As in the document.
pub fn rendered() -> String {
    let mut text = String::from("| attempt |");
    for column in &COLUMNS {
        write!(text, " {} |", column.name).unwrap();
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(COLUMNS.len()));
    text.push('\n');
    for attempt in ATTEMPTS {
        write!(text, "| `{}`: {} |", attempt.name, attempt.what).unwrap();
        for verdict in attempt.verdicts() {
            write!(text, " {} |", verdict.word()).unwrap();
        }
        text.push('\n');
    }
    text.push_str("\n| allowed in spite of a filter | why |\n|---|---|\n");
    for attempt in ATTEMPTS.iter().filter(|attempt| !attempt.why.is_empty()) {
        writeln!(text, "| `{}` | {} |", attempt.name, attempt.why).unwrap();
    }
    text
}
