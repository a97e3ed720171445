//! The attempts, and where each is allowed.

use crate::columns::{
    ALL, ALL_OF_HOSTED, BOXED, GENERAL, HOSTED, MOUNT, NET, NETADMIN, PID, RESTRICTED, ROOT, SYSADMIN, Set,
    TRACE,
};
use crate::table::{Attempt, attempt};

/// No column at all.
const NOWHERE: Set = Set::NONE;
/// Root of the host without a filter, in every way in.
const HOST_ROOT: Set = SYSADMIN.without(BOXED);
/// The same where the host's file system is seen as it is.
const HOST_FILES: Set = SYSADMIN.and(NET.or(HOSTED).or(ROOT));
/// Where the host's processes have numbers.
const PIDS: Set = NET.or(HOSTED).or(ROOT).or(MOUNT);
/// The same without a filter.
const HOST_PIDS: Set = SYSADMIN.and(PIDS);
/// The same where the host's IPC namespace is kept.
const HOST_IPC: Set = SYSADMIN.and(NET.or(HOSTED).or(ROOT).or(MOUNT).or(PID));
/// The same where the host's network namespace is kept.
const HOST_NETWORK: Set = SYSADMIN.and(HOSTED.or(ALL_OF_HOSTED).or(MOUNT).or(PID));
/// Commands that may have raw sockets.
const RAW: Set = GENERAL.or(NETADMIN).or(TRACE).or(SYSADMIN);
/// Commands that may change networks.
const ADMIN: Set = NETADMIN.or(SYSADMIN);
/// Commands that work in the host's file system as a user of it.
const AS_A_USER: Set = NET.or(HOSTED).and(RESTRICTED.or(GENERAL).or(NETADMIN).or(TRACE));

const NET_RAW: &str =
    "NET_RAW, which the profile grants, in the target's network, or the host's where that is kept";
const NET_ADMIN: &str =
    "NET_ADMIN, which the profile grants, in the target's network, or the host's where that is kept";
const LINK: &str = "NET_ADMIN of the host's user namespace counts in each network namespace that this owns, and netlink names another by a process or an id; no filter sees what is in a message. Grant netadmin as you would grant the host's network";

/// All of them.
pub const ATTEMPTS: &[Attempt] = &[
    attempt("mount-tmpfs", "mount a new file system", SYSADMIN),
    attempt("mount-by-descriptor", "the same by fsopen", SYSADMIN),
    attempt("remount-root", "make `/` writable again", SYSADMIN),
    attempt("umount", "uncover what a mount covers", SYSADMIN),
    attempt("unshare-user", "a new user namespace", SYSADMIN),
    attempt("unshare-mnt", "a new mount namespace", SYSADMIN),
    attempt("unshare-net", "a new network namespace", SYSADMIN),
    attempt("unshare-pid", "a new pid namespace", SYSADMIN),
    attempt("unshare-ipc", "a new IPC namespace", SYSADMIN),
    attempt("unshare-uts", "a new UTS namespace", SYSADMIN),
    attempt("unshare-cgroup", "a new cgroup namespace", SYSADMIN),
    attempt("unshare-time", "a new time namespace", SYSADMIN),
    attempt("clone-user", "a process in a new user namespace", SYSADMIN),
    attempt("clone3-user", "the same where no filter sees the flags", SYSADMIN),
    attempt("setns-net", "enter the host's network namespace", HOST_FILES),
    attempt("setns-mnt", "enter the host's mount namespace", HOST_FILES),
    attempt("setns-pidfd", "both by a pidfd", HOST_PIDS),
    attempt("chroot-climb", "chroot and climb out by a descriptor", SYSADMIN),
    attempt("file-by-handle", "open a file by its handle, past directories", HOST_ROOT),
    attempt("ptrace-root", "trace a process of root's", HOST_PIDS),
    attempt("ptrace-same-user", "trace a process of the same user", HOST_PIDS),
    attempt("ptrace-porthole", "trace porthole", HOST_PIDS),
    attempt("read-memory-root", "process_vm_readv of root's process", HOST_PIDS),
    attempt("read-memory-same-user", "of a process of the same user", HOST_PIDS),
    attempt("proc-mem-root", "write to the memory of root's process by /proc/PID/mem", HOST_FILES),
    attempt("proc-mem-same-user", "to that of a process of the same user", HOST_FILES),
    attempt("proc-root-root", "around the view by /proc/PID/root of root's process", HOST_FILES),
    attempt("proc-root-same-user", "of a process of the same user", HOST_FILES),
    attempt("proc-root-write-same-user", "write to the host's /etc/passwd on that way", HOST_FILES),
    attempt("proc-environ-root", "read the environment of root's process", HOST_FILES),
    attempt("proc-fd-root", "open a descriptor of root's process", HOST_FILES),
    attempt("proc-fd-same-user", "of a process of the same user", HOST_FILES),
    attempt("proc-fd-porthole", "of porthole", HOST_FILES),
    attempt("proc-exe-porthole", "open porthole's image", HOST_FILES),
    attempt("steal-fd-root", "pidfd_getfd from root's process", HOST_PIDS),
    attempt("steal-fd-same-user", "from a process of the same user", HOST_PIDS),
    attempt("kill-root", "signal a process of root's", HOST_PIDS),
    attempt("kill-same-user", "signal a process of the same user", HOST_PIDS),
    attempt("kill-porthole", "signal porthole", HOST_PIDS),
    attempt("renice-root", "change the priority of root's process", HOST_PIDS),
    attempt("write-passwd", "open /etc/passwd for writing", HOST_FILES),
    attempt("write-program", "open /usr/bin/env for writing", HOST_FILES),
    attempt("write-top", "make a file in /", HOST_FILES),
    attempt("write-root-home", "make a file in /root", HOST_FILES),
    attempt("write-usr", "make a file in /usr/lib", HOST_FILES),
    attempt("write-var", "make a file in /var/lib", HOST_FILES),
    attempt("write-sysfs", "open a setting in /sys for writing", HOST_FILES),
    attempt("read-shadow", "read /etc/shadow", HOST_FILES),
    attempt("read-host-key", "read sshd's key", HOST_FILES),
    attempt("read-pod-token", "read a service account's token below /var/lib/kubelet", HOST_FILES),
    attempt("read-cluster-key", "read /etc/kubernetes/admin.conf, though its mode allows it", HOST_FILES),
    attempt("read-linked-engine", "read Docker's files, whose directory is a link", HOST_FILES),
    attempt("engine-socket", "connect to containerd.sock, though its mode allows it", HOST_FILES),
    attempt("docker-socket", "connect to docker.sock, though its mode allows it", HOST_FILES),
    attempt("kubelet-socket", "connect to a socket of kubelet", HOST_FILES),
    attempt("abstract-socket", "connect to an abstract socket of the host", HOST_NETWORK),
    attempt("raw-socket", "a raw socket", RAW).because(NET_RAW),
    attempt("packet-socket", "a packet socket", RAW).because(NET_RAW),
    attempt("change-link", "set a link up", ADMIN).because(NET_ADMIN),
    attempt("add-route", "add a route", ADMIN).because(NET_ADMIN),
    attempt("list-nftables", "speak to nftables", ADMIN).because(NET_ADMIN),
    attempt("link-in-host", "make a link in the host's network namespace by a pid", ADMIN.and(PIDS))
        .because(LINK),
    attempt("bpf-map", "a BPF map", HOST_ROOT),
    attempt("perf-kernel", "perf_event_open of the kernel", HOST_ROOT).depends(SYSADMIN.and(BOXED)),
    attempt("keyring", "look for the session keyring", SYSADMIN),
    attempt("add-key", "add a key", SYSADMIN),
    attempt("io-uring", "io_uring_setup", NOWHERE).depends(SYSADMIN),
    attempt("userfaultfd", "userfaultfd", HOST_ROOT).depends(SYSADMIN.and(BOXED)),
    attempt("module-load", "load a module", HOST_ROOT),
    attempt("module-unload", "unload a module", HOST_ROOT),
    attempt("kexec", "load a kernel", HOST_ROOT),
    attempt("reboot", "reboot, with a wrong number", SYSADMIN),
    attempt("kernel-log", "the kernel's log by syslog(2)", HOST_ROOT),
    attempt("sysrq", "open /proc/sysrq-trigger for writing", HOST_ROOT),
    attempt("core-pattern", "open core_pattern for writing", HOST_FILES).depends(SYSADMIN.and(PID)),
    attempt("modprobe-path", "open the path of modprobe for writing", HOST_ROOT),
    attempt("set-clock", "set the clock, to a wrong tick", HOST_ROOT),
    attempt("host-name", "set the host's name, with a wrong length", SYSADMIN),
    attempt("watch-files", "fanotify_init", HOST_ROOT),
    attempt("make-device", "make a device file and open it", HOST_FILES),
    attempt(
        "device-in-cwd",
        "open a device file in the working directory, though its mode allows it",
        HOST_FILES,
    ),
    attempt("device-kmsg", "open root's /dev/kmsg", HOST_FILES),
    attempt("device-disk", "open a disk of root's", HOST_FILES),
    attempt("terminal-input", "TIOCSTI", HOST_FILES.or(SYSADMIN.and(PID))),
    attempt("setuid-file", "run a setuid file", HOST_FILES),
    attempt("capability-file", "run a file with capabilities", HOST_FILES),
    attempt("another-user", "become another user", SYSADMIN),
    attempt("more-groups", "add a group", SYSADMIN),
    attempt("personality", "READ_IMPLIES_EXEC", SYSADMIN),
    attempt("x32-call", "a system call of x32", NOWHERE).depends(SYSADMIN).killed(ALL.without(SYSADMIN)),
    attempt("cgroup", "mount the cgroups and open another's cgroup.procs", HOST_ROOT),
    attempt("release-agent", "mount a hierarchy of version 1 and open its release_agent", NOWHERE)
        .depends(HOST_ROOT),
    attempt("shared-memory-root", "open a System V segment of root's", HOST_IPC),
    attempt("shared-memory-same-user", "open one of a process of the same user", HOST_IPC),
    attempt("semaphores-same-user", "System V semaphores of a process of the same user", HOST_IPC),
    attempt("messages-same-user", "a System V message queue of a process of the same user", HOST_IPC),
    attempt("queue-same-user", "a POSIX message queue of a process of the same user", HOST_IPC),
    attempt("limit-root", "change a limit of root's process by prlimit", HOST_PIDS),
    attempt("limit-same-user", "of a process of the same user", HOST_PIDS),
    attempt("renice-same-user", "change the priority of a process of the same user", HOST_PIDS),
    attempt("renice-every-process", "of all processes of the user at once", SYSADMIN),
    attempt("scheduler-same-user", "change the scheduling of a process of the same user", HOST_PIDS),
    attempt("affinity-same-user", "its processors", HOST_PIDS),
    attempt("io-priority-same-user", "its priority for input and output", HOST_PIDS),
    attempt("other-terminal", "open a terminal of the same user", HOST_FILES),
    attempt("input-of-other-terminal", "TIOCSTI on it", NOWHERE).depends(HOST_FILES),
    attempt("console", "open /dev/tty1, though its mode allows it", HOST_FILES),
    attempt("read-wireguard-key", "read a key of WireGuard's", HOST_FILES),
    attempt("read-letsencrypt-key", "a key of Let's Encrypt", HOST_FILES),
    attempt("read-tls-key", "a key below /etc/ssl/private", HOST_FILES),
    attempt("read-netplan", "netplan's password of a wireless network", HOST_FILES),
    attempt("read-credstore", "systemd's credentials", HOST_FILES),
    attempt("read-netrc", "root's .netrc", HOST_FILES),
    attempt(
        "read-srv",
        "a file of the host below /srv, which its mode allows everybody",
        HOST_FILES.or(AS_A_USER),
    )
    .because("the host's file system is there to be read, by its modes"),
    attempt(
        "read-tmp",
        "a file in the host's /tmp, which its mode allows everybody",
        HOST_FILES.or(AS_A_USER),
    )
    .because("/tmp is the host's, by its modes"),
    attempt(
        "write-cwd",
        "make a file in the caller's working directory, which everybody may write to",
        HOST_FILES.or(AS_A_USER),
    )
    .because("the caller works there"),
    attempt("abstract-datagram", "send to an abstract socket of the host", HOST_NETWORK),
];
