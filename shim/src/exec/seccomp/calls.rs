//! Every system call by name: what is allowed, what only under a condition, what is denied and why. Together the tables
//! have all numbers that the kernel has given away, which a test proves: what is not thought of is denied, and seen.

use super::condition::{
    Condition, ITS_IO_PRIORITY, ITS_PRIORITY, ITSELF, NO_COOKIE, NO_NAMESPACE, NO_TYPING, PERSONALITIES,
    PERSONALITIES_AND_FIXED,
};

/// A system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    symbol: &'static str,
    /// On this architecture, if it is there.
    pub(crate) number: Option<u32>,
    /// Only x86-64 has it.
    pub(crate) x86_64_only: bool,
}

impl Call {
    /// As in the manual.
    pub(crate) fn name(&self) -> &'static str {
        self.symbol.strip_prefix("SYS_").unwrap_or(self.symbol)
    }
}

/// Some that belong together.
#[derive(Debug)]
pub(crate) struct Group {
    /// What they are for, as in the reference.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the test that compares the reference with this"))]
    pub(crate) what: &'static str,
    /// What becomes of them.
    pub(crate) rule: Rule,
    /// They.
    pub(crate) calls: &'static [Call],
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule {
    /// Made.
    Allow,
    /// Made when its arguments are right.
    If(&'static Condition),
    /// Made for the families of sockets that the command may have.
    Family,
    /// Made in an IPC namespace that is not the host's, else denied.
    OwnIpc,
    /// The same, with more allowed to profile trace.
    IfOrTrace(&'static Condition, &'static Condition),
    /// Made under profile trace, else denied.
    Trace,
    /// EPERM.
    Deny,
    /// ENOSYS: there is another way to do it, which is looked for only when this one does not exist.
    Missing,
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "numbers of calls are small")]
const fn number(number: libc::c_long) -> u32 {
    number as u32
}

#[cfg(target_arch = "x86_64")]
macro_rules! x86_64_only {
    ($name:ident) => {
        Some(number(libc::$name))
    };
}
#[cfg(not(target_arch = "x86_64"))]
macro_rules! x86_64_only {
    ($name:ident) => {
        None
    };
}

/// Names of libc; after `x86_64` those that no other architecture has; after `since` those that libc has no name for,
/// with numbers that are the same everywhere.
macro_rules! calls {
    ($($name:ident)* $(; x86_64 $($old:ident)*)? $(; since $($new:ident $number:tt)*)?) => {
        &[
            $(Call { symbol: stringify!($name), number: Some(number(libc::$name)), x86_64_only: false },)*
            $($(Call { symbol: stringify!($old), number: x86_64_only!($old), x86_64_only: true },)*)?
            $($(Call { symbol: stringify!($new), number: Some($number), x86_64_only: false },)*)?
        ]
    };
}

/// Not in libc, and not the same everywhere.
const IO_PGETEVENTS: u32 = if cfg!(target_arch = "x86_64") { 333 } else { 292 };

const fn allow(what: &'static str, calls: &'static [Call]) -> Group {
    Group { what, rule: Rule::Allow, calls }
}

const fn deny(what: &'static str, calls: &'static [Call]) -> Group {
    Group { what, rule: Rule::Deny, calls }
}

const fn by(rule: Rule, what: &'static str, calls: &'static [Call]) -> Group {
    Group { what, rule, calls }
}

/// All there are.
pub(crate) static GROUPS: &[Group] = &[
    allow(
        "reading and writing",
        calls![
            SYS_read SYS_write SYS_readv SYS_writev SYS_pread64 SYS_pwrite64 SYS_preadv SYS_pwritev SYS_preadv2
            SYS_pwritev2 SYS_lseek SYS_sendfile SYS_splice SYS_tee SYS_vmsplice SYS_copy_file_range SYS_readahead
            SYS_fadvise64 SYS_io_setup SYS_io_destroy SYS_io_submit SYS_io_cancel SYS_io_getevents
            ; since io_pgetevents IO_PGETEVENTS
        ],
    ),
    allow(
        "descriptors",
        calls![
            SYS_openat SYS_openat2 SYS_close SYS_close_range SYS_dup SYS_dup3 SYS_fcntl SYS_flock SYS_pipe2
            SYS_eventfd2 SYS_signalfd4 SYS_memfd_create SYS_memfd_secret SYS_inotify_init1 SYS_inotify_add_watch
            SYS_inotify_rm_watch
            ; x86_64 SYS_open SYS_creat SYS_dup2 SYS_pipe SYS_eventfd SYS_signalfd SYS_inotify_init
        ],
    ),
    allow(
        "files and directories",
        calls![
            SYS_newfstatat SYS_fstat SYS_statx SYS_statfs SYS_fstatfs SYS_faccessat SYS_faccessat2 SYS_readlinkat
            SYS_getdents64 SYS_getcwd SYS_chdir SYS_fchdir SYS_mkdirat SYS_mknodat SYS_unlinkat SYS_renameat
            SYS_renameat2 SYS_linkat SYS_symlinkat SYS_truncate SYS_ftruncate SYS_fallocate SYS_fchmod SYS_fchmodat
            SYS_fchown SYS_fchownat SYS_utimensat SYS_umask SYS_fsync SYS_fdatasync SYS_sync SYS_syncfs
            SYS_sync_file_range
            ; x86_64 SYS_stat SYS_lstat SYS_access SYS_readlink SYS_getdents SYS_mkdir SYS_rmdir SYS_mknod
            SYS_unlink SYS_rename SYS_link SYS_symlink SYS_chmod SYS_chown SYS_lchown SYS_utime SYS_utimes
            SYS_futimesat
            ; since fchmodat2 452 cachestat 451 statmount 457 listmount 458 file_getattr 468 file_setattr 469
        ],
    ),
    allow(
        "extended attributes",
        calls![
            SYS_getxattr SYS_lgetxattr SYS_fgetxattr SYS_listxattr SYS_llistxattr SYS_flistxattr SYS_setxattr
            SYS_lsetxattr SYS_fsetxattr SYS_removexattr SYS_lremovexattr SYS_fremovexattr
            ; since setxattrat 463 getxattrat 464 listxattrat 465 removexattrat 466
        ],
    ),
    allow(
        "memory",
        calls![
            SYS_mmap SYS_munmap SYS_mremap SYS_mprotect SYS_madvise SYS_brk SYS_msync SYS_mincore SYS_mlock
            SYS_mlock2 SYS_munlock SYS_mlockall SYS_munlockall SYS_membarrier SYS_remap_file_pages SYS_pkey_mprotect
            SYS_pkey_alloc SYS_pkey_free SYS_mseal SYS_mbind SYS_get_mempolicy SYS_set_mempolicy
            SYS_set_mempolicy_home_node
            ; since map_shadow_stack 453
        ],
    ),
    allow(
        "processes and threads",
        calls![
            SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_wait4 SYS_waitid SYS_kill SYS_tkill SYS_tgkill
            SYS_getpid SYS_getppid SYS_gettid SYS_set_tid_address SYS_set_robust_list SYS_rseq
            SYS_futex SYS_futex_waitv SYS_getpgid SYS_setpgid SYS_getsid SYS_setsid SYS_pidfd_open
            SYS_pidfd_send_signal SYS_restart_syscall
            ; x86_64 SYS_fork SYS_vfork SYS_getpgrp SYS_arch_prctl SYS_set_thread_area SYS_get_thread_area
            ; since futex_wake 454 futex_wait 455 futex_requeue 456
        ],
    ),
    allow(
        "signals",
        calls![
            SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn SYS_rt_sigpending SYS_rt_sigsuspend
            SYS_rt_sigtimedwait SYS_rt_sigqueueinfo SYS_rt_tgsigqueueinfo SYS_sigaltstack
            ; x86_64 SYS_pause SYS_alarm
        ],
    ),
    allow(
        "scheduling and limits",
        calls![
            SYS_sched_yield SYS_sched_getaffinity SYS_sched_getparam SYS_sched_getscheduler SYS_sched_getattr
            SYS_sched_get_priority_max SYS_sched_get_priority_min SYS_sched_rr_get_interval SYS_getpriority
            SYS_ioprio_get SYS_getrlimit SYS_setrlimit SYS_getrusage SYS_getcpu SYS_times
        ],
    ),
    allow(
        "time",
        calls![
            SYS_nanosleep SYS_clock_nanosleep SYS_clock_gettime SYS_clock_getres SYS_gettimeofday SYS_getitimer
            SYS_setitimer SYS_timer_create SYS_timer_settime SYS_timer_gettime SYS_timer_getoverrun SYS_timer_delete
            SYS_timerfd_create SYS_timerfd_settime SYS_timerfd_gettime
            ; x86_64 SYS_time
        ],
    ),
    allow(
        "waiting for events",
        calls![
            SYS_ppoll SYS_pselect6 SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2
            ; x86_64 SYS_poll SYS_select SYS_epoll_create SYS_epoll_wait
        ],
    ),
    allow(
        "sockets that are there",
        calls![
            SYS_bind SYS_connect SYS_listen SYS_accept SYS_accept4 SYS_sendto SYS_recvfrom SYS_sendmsg SYS_recvmsg
            SYS_sendmmsg SYS_recvmmsg SYS_shutdown SYS_getsockname SYS_getpeername SYS_getsockopt SYS_setsockopt
        ],
    ),
    allow(
        "ids and capabilities, within what the command has",
        calls![
            SYS_getuid SYS_geteuid SYS_getgid SYS_getegid SYS_getresuid SYS_getresgid SYS_getgroups SYS_setuid
            SYS_setgid SYS_setreuid SYS_setregid SYS_setresuid SYS_setresgid SYS_setfsuid SYS_setfsgid SYS_setgroups
            SYS_capget SYS_capset
        ],
    ),
    allow(
        "confining itself further",
        calls![
            SYS_seccomp SYS_landlock_create_ruleset SYS_landlock_add_rule SYS_landlock_restrict_self
            ; since lsm_get_self_attr 459 lsm_list_modules 461
        ],
    ),
    allow("what system this is", calls![SYS_uname SYS_sysinfo SYS_getrandom]),
    by(Rule::Family, "new sockets", calls![SYS_socket SYS_socketpair]),
    by(Rule::If(&NO_NAMESPACE), "new processes", calls![SYS_clone]),
    by(
        Rule::If(&ITSELF),
        "scheduling and limits of itself",
        calls![
            SYS_prlimit64 SYS_sched_setaffinity SYS_sched_setscheduler SYS_sched_setparam SYS_sched_setattr
            SYS_get_robust_list
        ],
    ),
    by(Rule::If(&ITS_PRIORITY), "its own priority", calls![SYS_setpriority]),
    by(Rule::If(&ITS_IO_PRIORITY), "its own priority of input and output", calls![SYS_ioprio_set]),
    by(Rule::If(&NO_COOKIE), "its own attributes", calls![SYS_prctl]),
    by(Rule::If(&NO_TYPING), "devices and terminals", calls![SYS_ioctl]),
    by(
        Rule::IfOrTrace(&PERSONALITIES, &PERSONALITIES_AND_FIXED),
        "the execution domain",
        calls![SYS_personality],
    ),
    // A libc that finds it missing takes clone, whose flags are seen.
    by(Rule::Missing, "processes by flags in memory, where no filter sees them", calls![SYS_clone3]),
    by(
        Rule::Trace,
        "other processes",
        calls![SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev SYS_kcmp SYS_pidfd_getfd],
    ),
    by(
        Rule::OwnIpc,
        "System V and POSIX IPC: it is the host's, with all that its users have in it",
        calls![
            SYS_shmget SYS_shmat SYS_shmdt SYS_shmctl SYS_semget SYS_semop SYS_semtimedop SYS_semctl SYS_msgget
            SYS_msgsnd SYS_msgrcv SYS_msgctl SYS_mq_open SYS_mq_unlink SYS_mq_timedsend SYS_mq_timedreceive
            SYS_mq_notify SYS_mq_getsetattr
        ],
    ),
    deny("namespaces", calls![SYS_unshare SYS_setns]),
    deny(
        "mounts and roots",
        calls![
            SYS_mount SYS_umount2 SYS_mount_setattr SYS_open_tree SYS_move_mount SYS_fsopen SYS_fsconfig SYS_fsmount
            SYS_fspick SYS_pivot_root SYS_chroot
            ; since open_tree_attr 467
        ],
    ),
    deny("files by handle, past every directory", calls![SYS_open_by_handle_at SYS_name_to_handle_at]),
    deny("programs in the kernel", calls![SYS_bpf]),
    deny(
        "io_uring: its operations are seen by no filter",
        calls![
            SYS_io_uring_setup SYS_io_uring_enter SYS_io_uring_register
        ],
    ),
    deny("faults handled by programs, a means to win races in the kernel", calls![SYS_userfaultfd]),
    deny("measuring the kernel and others", calls![SYS_perf_event_open SYS_lookup_dcookie]),
    deny("keys", calls![SYS_add_key SYS_request_key SYS_keyctl]),
    deny(
        "the kernel itself",
        calls![
            SYS_init_module SYS_finit_module SYS_delete_module SYS_kexec_load SYS_kexec_file_load SYS_reboot
            SYS_syslog
            ; x86_64 SYS__sysctl
        ],
    ),
    deny(
        "the machine's clock, names and disks",
        calls![
            SYS_settimeofday SYS_clock_settime SYS_clock_adjtime SYS_adjtimex SYS_sethostname SYS_setdomainname
            SYS_swapon SYS_swapoff SYS_quotactl SYS_quotactl_fd SYS_acct SYS_vhangup
        ],
    ),
    deny("ports and segments of the processor", calls![; x86_64 SYS_iopl SYS_ioperm SYS_modify_ldt]),
    deny(
        "memory of other processes",
        calls![
            SYS_process_madvise SYS_process_mrelease SYS_move_pages SYS_migrate_pages
        ],
    ),
    deny("events of whole file systems", calls![SYS_fanotify_init SYS_fanotify_mark]),
    deny("the label of the next program", calls![; since lsm_set_self_attr 460]),
    deny(
        "of other times",
        calls![
            SYS_nfsservctl
            ; x86_64 SYS_uselib SYS_ustat SYS_sysfs SYS_getpmsg SYS_putpmsg SYS_afs_syscall SYS_tuxcall SYS_security
            SYS_vserver SYS_epoll_ctl_old SYS_epoll_wait_old
        ],
    ),
];
