/* Makes one system call after the other with arguments that are wrong, and says how each ended: a call that a filter
   lets pass fails for its arguments, and harms nothing. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BAD 1L /* an address where nothing is */
#define NONE (-1L)

static void probe(const char *name, long number, long a, long b, long c, long d, long e) {
    errno = 0;
    long result = syscall(number, a, b, c, d, e, 0L);
    printf("%s %s\n", name, result < 0 ? strerrorname_np(errno) : "made");
}

#define CALL(name, ...) probe(#name, SYS_##name, __VA_ARGS__)

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IONBF, 0);
    if (argc > 1 && !strcmp(argv[1], "int80")) {
        long result = 20; /* getpid */
        __asm__ volatile("int $0x80" : "+a"(result) : : "memory");
        printf("%ld\n", result);
        return 0;
    }
    if (argc > 1 && !strcmp(argv[1], "x32")) {
        printf("%ld\n", syscall(0x40000000L | SYS_getpid));
        return 0;
    }
    if (argc > 1 && !strcmp(argv[1], "skipped")) {
        errno = 0;
        syscall(-1L);
        printf("%s\n", strerrorname_np(errno));
        return 0;
    }
    CALL(unshare, 1, 0, 0, 0, 0);
    CALL(setns, NONE, 0, 0, 0, 0);
    CALL(mount, BAD, BAD, BAD, 0, 0);
    CALL(umount2, BAD, 0, 0, 0, 0);
    CALL(mount_setattr, NONE, BAD, 0, BAD, 0);
    CALL(open_tree, NONE, BAD, 0, 0, 0);
    CALL(move_mount, NONE, BAD, NONE, BAD, 0);
    CALL(fsopen, BAD, 0, 0, 0, 0);
    CALL(fsconfig, NONE, 99, 0, 0, 0);
    CALL(fsmount, NONE, 0, 0, 0, 0);
    CALL(fspick, NONE, BAD, 0, 0, 0);
    CALL(pivot_root, BAD, BAD, 0, 0, 0);
    CALL(chroot, BAD, 0, 0, 0, 0);
    CALL(open_by_handle_at, NONE, BAD, 0, 0, 0);
    CALL(name_to_handle_at, NONE, BAD, BAD, BAD, 0);
    CALL(bpf, 9999, 0, 0, 0, 0);
    CALL(io_uring_setup, 0, BAD, 0, 0, 0);
    CALL(io_uring_enter, NONE, 0, 0, 0, 0);
    CALL(io_uring_register, NONE, 0, 0, 0, 0);
    CALL(userfaultfd, -1L, 0, 0, 0, 0);
    CALL(perf_event_open, BAD, 0, 0, NONE, 0);
    CALL(add_key, BAD, BAD, 0, 0, 0);
    CALL(request_key, BAD, BAD, 0, 0, 0);
    CALL(keyctl, 9999, 0, 0, 0, 0);
    CALL(init_module, BAD, 1, BAD, 0, 0);
    CALL(finit_module, NONE, BAD, 0, 0, 0);
    CALL(delete_module, BAD, 0, 0, 0, 0);
    CALL(kexec_load, 0, 0, 0, -1L, 0);
    CALL(kexec_file_load, NONE, NONE, 0, 0, -1L);
    CALL(reboot, 0, 0, 0, 0, 0);
    CALL(syslog, 9999, 0, 0, 0, 0);
    CALL(settimeofday, BAD, 0, 0, 0, 0);
    CALL(clock_settime, 9999, BAD, 0, 0, 0);
    CALL(sethostname, BAD, -1L, 0, 0, 0);
    CALL(setdomainname, BAD, -1L, 0, 0, 0);
    CALL(swapon, BAD, 0, 0, 0, 0);
    CALL(swapoff, BAD, 0, 0, 0, 0);
    CALL(quotactl, -1L, BAD, 0, BAD, 0);
    CALL(acct, BAD, 0, 0, 0, 0);
    CALL(process_madvise, NONE, BAD, 1, 0, 0);
    CALL(move_pages, 0, 1, BAD, 0, 0);
    CALL(fanotify_init, -1L, 0, 0, 0, 0);
#ifdef SYS_iopl
    CALL(iopl, 4, 0, 0, 0, 0);
    CALL(ioperm, -1L, 1, 1, 0, 0);
    CALL(modify_ldt, 9999, 0, 0, 0, 0);
#endif
    CALL(shmget, 0, 0, 0, 0, 0);
    CALL(semget, 0, -1L, 0, 0, 0);
    CALL(msgget, 0x7fffffffL, 0, 0, 0, 0);
    CALL(mq_open, BAD, 0, 0, 0, 0);
    CALL(prlimit64, 99999999, 99, 0, 0, 0);
    CALL(setpriority, 99, 99999999, 0, 0, 0);
    CALL(ioprio_set, 99, 99999999, 0, 0, 0);
    CALL(sched_setaffinity, 99999999, 8, BAD, 0, 0);
    CALL(sched_setscheduler, 99999999, 0, BAD, 0, 0);
    CALL(sched_setparam, 99999999, BAD, 0, 0, 0);
    CALL(sched_setattr, 99999999, BAD, 0, 0, 0);
    CALL(get_robust_list, 99999999, BAD, BAD, 0, 0);
    probe("prctl:SCHED_CORE", SYS_prctl, 62, 99, 0, 0, 0);
    CALL(clone3, BAD, 8, 0, 0, 0);

    CALL(ptrace, 99999, 99999999, 0, 0, 0);
    CALL(process_vm_readv, 99999999, BAD, 1, BAD, 1);
    CALL(process_vm_writev, 99999999, BAD, 1, BAD, 1);
    CALL(kcmp, 99999999, 99999999, 99, 0, 0);
    CALL(pidfd_getfd, NONE, 0, 0, 0, 0);

    /* A thread without shared signal handlers: no such clone. */
    const long none = CLONE_THREAD;
    probe("clone", SYS_clone, none, 0, 0, 0, 0);
    probe("clone:NEWUSER", SYS_clone, none | CLONE_NEWUSER, 0, 0, 0, 0);
    probe("clone:NEWNS", SYS_clone, none | CLONE_NEWNS, 0, 0, 0, 0);
    probe("clone:NEWNET", SYS_clone, none | CLONE_NEWNET, 0, 0, 0, 0);
    probe("clone:NEWPID", SYS_clone, none | CLONE_NEWPID, 0, 0, 0, 0);
    probe("clone:NEWIPC", SYS_clone, none | CLONE_NEWIPC, 0, 0, 0, 0);
    probe("clone:NEWUTS", SYS_clone, none | CLONE_NEWUTS, 0, 0, 0, 0);
    probe("clone:NEWCGROUP", SYS_clone, none | CLONE_NEWCGROUP, 0, 0, 0, 0);
    probe("ioctl", SYS_ioctl, NONE, 0x5401, 0, 0, 0);
    probe("ioctl:TIOCSTI", SYS_ioctl, NONE, 0x5412, 0, 0, 0);
    probe("ioctl:TIOCSTI:64", SYS_ioctl, NONE, 0x5412 | 1L << 32, 0, 0, 0);
    probe("ioctl:TIOCLINUX", SYS_ioctl, NONE, 0x541c, 0, 0, 0);
    probe("personality", SYS_personality, 0xffffffffL, 0, 0, 0, 0);
    probe("personality:READ_IMPLIES_EXEC", SYS_personality, 0x0400000, 0, 0, 0, 0);
    probe("personality:ADDR_NO_RANDOMIZE", SYS_personality, 0x0040000, 0, 0, 0, 0);

    /* No such type of socket. */
    static const struct { const char *name; int family; } families[] = {
        {"UNIX", AF_UNIX}, {"INET", AF_INET}, {"INET6", AF_INET6}, {"NETLINK", AF_NETLINK}, {"PACKET", AF_PACKET},
        {"ALG", AF_ALG}, {"VSOCK", AF_VSOCK}, {"BLUETOOTH", AF_BLUETOOTH}, {"XDP", AF_XDP}, {"KEY", AF_KEY},
        {"TIPC", AF_TIPC}, {"RDS", AF_RDS}, {"CAN", AF_CAN}, {"KCM", AF_KCM}, {"SMC", AF_SMC},
    };
    for (unsigned at = 0; at < sizeof families / sizeof *families; at++) {
        char name[32];
        snprintf(name, sizeof name, "socket:%s", families[at].name);
        probe(name, SYS_socket, families[at].family, 15, 0, 0, 0);
    }
    probe("socketpair:UNIX", SYS_socketpair, AF_UNIX, 15, 0, BAD, 0);
    probe("socketpair:TIPC", SYS_socketpair, AF_TIPC, 15, 0, BAD, 0);
    probe("unheard-of", 1000, 0, 0, 0, 0, 0);
    return 0;
}
