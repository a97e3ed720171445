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
    /// With the file system of a container that has a user namespace.
    pub inside: bool,
    /// Without a filter, with all capabilities that are to be had.
    pub unfiltered: bool,
}

const fn column(name: &'static str, options: &'static [&'static str], user: u32) -> Column {
    Column { name, options, user, inside: false, unfiltered: false }
}

const NOBODY: u32 = 65534;

pub const COLUMNS: [Column; 10] = [
    column("restricted", &["--profile", "restricted"], NOBODY),
    column("general", &["--profile", "general"], NOBODY),
    column("netadmin", &["--profile", "netadmin"], NOBODY),
    column("trace", &["--profile", "trace"], NOBODY),
    column("trace -p", &["--profile", "trace", "-p", "-n"], NOBODY),
    column("general as root", &["--profile", "general", "--uid", "0"], 0),
    column("netadmin as root", &["--profile", "netadmin", "--uid", "0"], 0),
    Column {
        inside: true,
        ..column("general -a, user namespace", &["--profile", "general", "-a"], 100_000)
    },
    Column { unfiltered: true, ..column("sysadmin", &["--profile", "sysadmin"], 0) },
    Column {
        inside: true,
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

const fn allowed(name: &'static str, what: &'static str, letters: &'static str, why: &'static str) -> Attempt {
    Attempt { name, what, letters, why }
}

/// All of them. The letters stand for the columns in their order: `d`enied, `a`llowed, `k`illed, `?` as the kernel is built.
pub const ATTEMPTS: &[Attempt] = &[
    attempt("mount-tmpfs", "", "ddddd dd d aa"),
    attempt("mount-by-descriptor", "", "ddddd dd d aa"),
    attempt("remount-root", "", "ddddd dd d aa"),
    attempt("umount", "", "ddddd dd d aa"),
    attempt("unshare-user", "", "ddddd dd d aa"),
    attempt("unshare-mnt", "", "ddddd dd d aa"),
    attempt("unshare-net", "", "ddddd dd d aa"),
    attempt("unshare-pid", "", "ddddd dd d aa"),
    attempt("unshare-ipc", "", "ddddd dd d aa"),
    attempt("unshare-uts", "", "ddddd dd d aa"),
    attempt("unshare-cgroup", "", "ddddd dd d aa"),
    attempt("unshare-time", "", "ddddd dd d aa"),
    attempt("clone-user", "", "ddddd dd d aa"),
    attempt("clone3-user", "", "ddddd dd d aa"),
    attempt("setns-net", "", "ddddd dd d aa"),
    attempt("setns-mnt", "", "ddddd dd d aa"),
    attempt("setns-pidfd", "", "ddddd dd d aa"),
    attempt("chroot-climb", "", "ddddd dd d aa"),
    attempt("file-by-handle", "", "ddddd dd d aa"),
    attempt("ptrace-root", "", "ddddd dd d aa"),
    attempt("ptrace-same-user", "", "ddddd dd d aa"),
    attempt("ptrace-porthole", "", "ddddd dd d aa"),
    attempt("read-memory-root", "", "ddddd dd d aa"),
    attempt("read-memory-same-user", "", "ddddd dd d aa"),
    attempt("proc-mem-root", "", "ddddd dd d aa"),
    attempt("proc-mem-same-user", "", "ddddd dd d aa"),
    attempt("proc-root-root", "", "ddddd dd d aa"),
    attempt("proc-root-same-user", "", "ddddd dd d aa"),
    attempt("proc-environ-root", "", "ddddd dd d aa"),
    attempt("proc-fd-root", "", "ddddd dd d aa"),
    attempt("proc-fd-same-user", "", "ddddd dd d aa"),
    attempt("proc-fd-porthole", "", "ddddd dd d aa"),
    attempt("proc-exe-porthole", "", "ddddd dd d aa"),
    attempt("steal-fd-root", "", "ddddd dd d aa"),
    attempt("steal-fd-same-user", "", "ddddd dd d aa"),
    attempt("kill-root", "", "ddddd dd d aa"),
    attempt("kill-same-user", "", "ddddd dd d aa"),
    attempt("kill-porthole", "", "ddddd dd d aa"),
    attempt("renice-root", "", "ddddd dd d aa"),
    attempt("write-passwd", "", "ddddd dd d aa"),
    attempt("write-program", "", "ddddd dd d aa"),
    attempt("write-top", "", "ddddd dd d aa"),
    attempt("write-root-home", "", "ddddd dd d aa"),
    attempt("write-usr", "", "ddddd dd d aa"),
    attempt("write-var", "", "ddddd dd d aa"),
    attempt("write-sysfs", "", "ddddd dd d aa"),
    attempt("read-shadow", "", "ddddd dd d aa"),
    attempt("read-host-key", "", "ddddd dd d aa"),
    attempt("read-pod-token", "", "ddddd dd d aa"),
    attempt("read-cluster-key", "", "ddddd dd d aa"),
    attempt("read-linked-engine", "", "ddddd dd d aa"),
    attempt("engine-socket", "", "ddddd dd d aa"),
    attempt("docker-socket", "", "ddddd dd d aa"),
    attempt("kubelet-socket", "", "ddddd dd d aa"),
    attempt("abstract-socket", "", "ddddd dd d aa"),
    attempt("raw-socket", "", "ddddd dd d aa"),
    attempt("packet-socket", "", "ddddd dd d aa"),
    attempt("change-link", "", "ddddd dd d aa"),
    attempt("add-route", "", "ddddd dd d aa"),
    attempt("list-nftables", "", "ddddd dd d aa"),
    attempt("link-in-host", "", "ddddd dd d aa"),
    attempt("bpf-map", "", "ddddd dd d aa"),
    attempt("perf-kernel", "", "ddddd dd d aa"),
    attempt("keyring", "", "ddddd dd d aa"),
    attempt("add-key", "", "ddddd dd d aa"),
    attempt("io-uring", "", "ddddd dd d aa"),
    attempt("userfaultfd", "", "ddddd dd d aa"),
    attempt("module-load", "", "ddddd dd d aa"),
    attempt("module-unload", "", "ddddd dd d aa"),
    attempt("kexec", "", "ddddd dd d aa"),
    attempt("reboot", "", "ddddd dd d aa"),
    attempt("kernel-log", "", "ddddd dd d aa"),
    attempt("sysrq", "", "ddddd dd d aa"),
    attempt("core-pattern", "", "ddddd dd d aa"),
    attempt("modprobe-path", "", "ddddd dd d aa"),
    attempt("set-clock", "", "ddddd dd d aa"),
    attempt("host-name", "", "ddddd dd d aa"),
    attempt("watch-files", "", "ddddd dd d aa"),
    attempt("make-device", "", "ddddd dd d aa"),
    attempt("device-in-cwd", "", "ddddd dd d aa"),
    attempt("device-kmsg", "", "ddddd dd d aa"),
    attempt("device-disk", "", "ddddd dd d aa"),
    attempt("terminal-input", "", "ddddd dd d aa"),
    attempt("setuid-file", "", "ddddd dd d aa"),
    attempt("capability-file", "", "ddddd dd d aa"),
    attempt("another-user", "", "ddddd dd d aa"),
    attempt("more-groups", "", "ddddd dd d aa"),
    attempt("personality", "", "ddddd dd d aa"),
    attempt("x32-call", "", "ddddd dd d aa"),
    attempt("cgroup", "", "ddddd dd d aa"),
    attempt("shared-memory-root", "", "ddddd dd d aa"),
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
