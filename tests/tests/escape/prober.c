/* Attempts to get out. Each runs in a process of its own and has no effect where it succeeds: what could have one is
   asked for in a form that is refused for its arguments, after the kernel has looked at permissions.

   prober            every attempt: a line with its name and what came of it, "made", an errno, or a signal
   prober NAME       this attempt alone; the status is the errno
   prober --gained   succeeds if this process has a capability that it could escape with
   prober --grant F  gives the file F the capability CAP_SYS_ADMIN
   prober --shared   makes what the user's other processes share: a segment, semaphores and queues
   prober --unshared takes it away again */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if_link.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <mqueue.h>
#include <net/if.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <signal.h>
#include <unistd.h>

/* Of root's segment; those of users come after it. */
#define KEY 0x706f7274

/* Processes of the host: root's, one of the same user, and porthole. */
static int root, same, porthole;

/* As the host numbers users, whom the attempts are made as. */
static int user;

/* 0 or an errno. */
static int of(long result) { return result < 0 ? errno : 0; }

/* The same, where this errno shows that it was the arguments that were refused. */
static int past(long result, int arguments) { return result < 0 && errno != arguments ? errno : 0; }

static int can_open(const char *path, int flags) { return of(open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)); }

/* The same for a file that not every kernel has. */
static int can_open_if_there(const char *path, int flags) {
    int error = can_open(path, flags);
    return error == ENOENT ? ENOSYS : error;
}

/* An empty file is what hides another. */
static int can_read(const char *path) {
    char byte;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return errno;
    ssize_t count = read(file, &byte, 1);
    return count < 0 ? errno : count == 0 ? ENODATA : 0;
}

static int of_process(int pid, const char *what, int flags) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, what);
    return can_open(path, flags);
}

static int can_make_in(const char *directory) { return of(open(directory, O_TMPFILE | O_WRONLY, 0600)); }

static int namespace_of(const char *kind, int type) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/%s", root, kind);
    int file = open(path, O_RDONLY);
    return file < 0 ? errno : of(setns(file, type));
}

static int connects(const char *path, int abstract) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path + abstract, path, sizeof address.sun_path - 2);
    socklen_t length = offsetof(struct sockaddr_un, sun_path) + abstract + strlen(path) + !abstract;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    return fd < 0 ? errno : of(connect(fd, (struct sockaddr *)&address, length));
}

/* The same without a connection, by a socket that has a peer already. */
static int sends_to(const char *name) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path + 1, name, sizeof address.sun_path - 2);
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair)) return errno;
    socklen_t length = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name);
    return of(sendto(pair[0], "x", 1, MSG_DONTWAIT, (struct sockaddr *)&address, length));
}

/* Sends a message and returns the errno of the answer. */
static int netlink(int family, struct nlmsghdr *message) {
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    struct { struct nlmsghdr header; struct nlmsgerr error; char rest[4096]; } answer;
    int fd = socket(AF_NETLINK, SOCK_RAW, family);
    if (fd < 0) return errno;
    struct timeval patience = {.tv_sec = 2};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (sendto(fd, message, message->nlmsg_len, 0, (struct sockaddr *)&kernel, sizeof kernel) < 0) return errno;
    if (recv(fd, &answer, sizeof answer, 0) < 0) return errno;
    return answer.header.nlmsg_type == NLMSG_ERROR ? -answer.error.error : 0;
}

static void attribute(struct nlmsghdr *message, int type, const void *data, int length) {
    struct rtattr *at = (void *)((char *)message + NLMSG_ALIGN(message->nlmsg_len));
    at->rta_type = type;
    at->rta_len = RTA_LENGTH(length);
    memcpy(RTA_DATA(at), data, length);
    message->nlmsg_len = NLMSG_ALIGN(message->nlmsg_len) + RTA_ALIGN(at->rta_len);
}

static int change_link(void) {
    struct { struct nlmsghdr header; struct ifinfomsg link; } message = {
        {sizeof message, RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0}, {.ifi_index = 1, .ifi_flags = IFF_UP, .ifi_change = IFF_UP}};
    return netlink(NETLINK_ROUTE, &message.header);
}

static int add_route(void) {
    struct { struct nlmsghdr header; struct rtmsg route; char space[64]; } message = {
        {NLMSG_LENGTH(sizeof(struct rtmsg)), RTM_NEWROUTE, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE, 1, 0},
        {.rtm_family = AF_INET, .rtm_dst_len = 24, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_STATIC,
         .rtm_scope = RT_SCOPE_LINK, .rtm_type = RTN_UNICAST}, {0}};
    uint32_t network = 0x000200c0, device = 1;
    attribute(&message.header, RTA_DST, &network, sizeof network);
    attribute(&message.header, RTA_OIF, &device, sizeof device);
    int error = netlink(NETLINK_ROUTE, &message.header);
    return error == EEXIST ? 0 : error;
}

/* A link that is there already, in the network namespace of a process of the host. */
static int add_link_for(int pid) {
    struct { struct nlmsghdr header; struct ifinfomsg link; char space[128]; } message = {
        {NLMSG_LENGTH(sizeof(struct ifinfomsg)), RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, 1, 0}, {0}, {0}};
    uint32_t process = pid;
    attribute(&message.header, IFLA_IFNAME, "lo", 3);
    attribute(&message.header, IFLA_NET_NS_PID, &process, sizeof process);
    int error = netlink(NETLINK_ROUTE, &message.header);
    return error == EEXIST ? 0 : error;
}

static int list_tables(void) {
    struct { struct nlmsghdr header; struct nfgenmsg family; } message = {
        {sizeof message, NFNL_SUBSYS_NFTABLES << 8 | 1, NLM_F_REQUEST | NLM_F_DUMP | NLM_F_ACK, 1, 0}, {0}};
    int error = netlink(NETLINK_NETFILTER, &message.header);
    return error == EINVAL || error == EOPNOTSUPP ? ENOSYS : error;
}

static int type_into_terminal(void) {
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || setsid() < 0 || grantpt(master) || unlockpt(master)) return errno;
    int terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
    if (terminal < 0 || ioctl(terminal, TIOCSCTTY, 0)) return errno;
    return of(ioctl(terminal, TIOCSTI, "x"));
}

/* That of another window of the same user. */
static int open_terminal(void) {
    const char *terminal = getenv("TERMINAL");
    return terminal ? can_open(terminal, O_RDWR) : ENOTTY;
}

static int type_into_other_terminal(void) {
    const char *terminal = getenv("TERMINAL");
    int file = open(terminal ? terminal : "", O_RDWR | O_NOCTTY);
    return file < 0 ? errno : of(ioctl(file, TIOCSTI, "x"));
}

static int make_device(void) {
    char name[64];
    snprintf(name, sizeof name, "device-%d", getpid());
    if (mknod(name, S_IFCHR | 0666, makedev(1, 3))) return errno;
    int error = can_open(name, O_RDWR);
    unlink(name);
    return error;
}

/* With whatever rights this file gives: has it any in the end? */
static int gained_by(const char *program) {
    pid_t child = fork();
    if (!child) {
        execl(program, program, "--gained", NULL);
        _exit(EACCES);
    }
    int status;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : EPERM;
}

static int gained(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &header, data)) return errno;
    return data[0].permitted & 1u << CAP_SYS_ADMIN ? 0 : EPERM;
}

static int grant(const char *path) {
    struct vfs_cap_data data = {.magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE,
                                .data = {{.permitted = 1u << CAP_SYS_ADMIN}}};
    return of(setxattr(path, "security.capability", &data, XATTR_CAPS_SZ_2, 0));
}

/* A directory to mount something on: the host's, or one that a container or a view of tools has. */
static const char *mount_point(void) {
    return !access("/mnt", F_OK) ? "/mnt" : !access("/out", F_OK) ? "/out" : "/tmp";
}

/* Mounts, tries to open a file of the mount for writing where one is named, and takes the mount away again. */
static int mounted(const char *type, const char *options, const char *file) {
    const char *at = mount_point();
    char path[64];
    if (mount("none", at, type, 0, options)) return errno;
    snprintf(path, sizeof path, "%s/%s", at, file ? file : "");
    int error = file ? can_open(path, O_WRONLY) : 0;
    umount2(at, MNT_DETACH);
    return error;
}

static int another_cgroup(void) { return mounted("cgroup2", NULL, "cgroup.procs"); }

/* One that there is already, or none. */
static int release_agent(void) { return mounted("cgroup", "memory", "release_agent"); }

static int remount(void) {
    struct statvfs root;
    if (statvfs("/", &root) || mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL)) return errno;
    if (root.f_flag & ST_RDONLY) mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL);
    return 0;
}

/* The way out of a chroot that holds a capability. */
static int climb(void) {
    int here = open("/", O_RDONLY | O_DIRECTORY);
    return chroot(mount_point()) ? errno : of(fchdir(here));
}

static int by_handle(void) {
    struct { struct file_handle handle; char bytes[8]; } handle = {{.handle_bytes = 8, .handle_type = 1}, {0}};
    int directory = open("/", O_RDONLY | O_DIRECTORY);
    return past(open_by_handle_at(directory, &handle.handle, O_RDONLY), ESTALE);
}

static int read_memory(int pid) {
    char byte;
    struct iovec here = {&byte, 1}, there = {(void *)1, 1};
    return past(process_vm_readv(pid, &here, 1, &there, 1, 0), EFAULT);
}

static int steal(int pid) {
    int process = syscall(SYS_pidfd_open, pid, 0);
    return process < 0 ? errno : of(syscall(SYS_pidfd_getfd, process, 1, 0));
}

static int enter_by_pidfd(void) {
    int process = syscall(SYS_pidfd_open, root, 0);
    return process < 0 ? errno : of(setns(process, CLONE_NEWNS | CLONE_NEWNET));
}

static int clone3_user(void) {
    struct { uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls; } args = {
        .flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
    long child = syscall(SYS_clone3, &args, sizeof args);
    if (!child) _exit(0);
    return of(child);
}

static int clone_user(void) {
    long child = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    if (!child) _exit(0);
    return of(child);
}

static int bpf_map(void) {
    struct { uint32_t type, key, value, entries; char rest[112]; } map = {2, 4, 4, 1, {0}};
    return of(syscall(SYS_bpf, 0, &map, sizeof map));
}

static int measure_kernel(void) {
    struct { uint32_t type, size; uint64_t config; char rest[112]; } event = {1, 128, 0, {0}};
    int error = of(syscall(SYS_perf_event_open, &event, 0, -1, -1, 0));
    return error == ENOENT || error == ENODEV ? ENOSYS : error;
}

static int set_clock(void) {
    struct timex wrong = {.modes = ADJ_TICK, .tick = 1};
    return past(adjtimex(&wrong), EINVAL);
}

static int foreign_call(void) {
#ifdef __x86_64__
    return of(syscall(0x40000000L | SYS_getpid));
#else
    return ENOSYS;
#endif
}

/* Each is asked for in a form that changes nothing, or is refused once permissions have been looked at. */
static int limit(int pid) {
    struct rlimit wrong = {.rlim_cur = 2, .rlim_max = 1};
    return past(syscall(SYS_prlimit64, pid, RLIMIT_CORE, &wrong, NULL), EINVAL);
}

static int schedule(int pid) {
    struct sched_param none = {0};
    return of(syscall(SYS_sched_setscheduler, pid, SCHED_OTHER, &none));
}

static int processors(int pid) {
    unsigned long none[16] = {0};
    return past(syscall(SYS_sched_setaffinity, pid, sizeof none, none), EINVAL);
}

/* The name of a queue that the user's other processes have. */
static const char *queue_name(void) {
    static char name[32];
    snprintf(name, sizeof name, "porthole-%d", user);
    return name;
}

static int share(void) {
    struct mq_attr size = {.mq_maxmsg = 1, .mq_msgsize = 1};
    if (shmget(KEY + user, 4096, IPC_CREAT | 0600) < 0 || semget(KEY + user, 1, IPC_CREAT | 0600) < 0) return errno;
    if (msgget(KEY + user, IPC_CREAT | 0600) < 0) return errno;
    return of(syscall(SYS_mq_open, queue_name(), O_CREAT | O_RDWR, 0600, &size));
}

static int unshare_all(void) {
    shmctl(shmget(KEY + user, 0, 0), IPC_RMID, NULL);
    semctl(semget(KEY + user, 0, 0), 0, IPC_RMID);
    msgctl(msgget(KEY + user, 0), IPC_RMID, NULL);
    return of(syscall(SYS_mq_unlink, queue_name()));
}

static int uring(void) {
    char parameters[120] = {0};
    return of(syscall(SYS_io_uring_setup, 1, parameters));
}

#define TRY(label, expression) static int label(void) { return expression; }

TRY(mount_tmpfs, mounted("tmpfs", NULL, NULL))
TRY(mount_by_descriptor, of(syscall(SYS_fsopen, "tmpfs", 0)))
static int umount_etc(void) {
    int error = past(umount2("/etc", UMOUNT_NOFOLLOW), EINVAL);
    return error == EBUSY ? 0 : error;
}
TRY(unshare_user, of(unshare(CLONE_NEWUSER)))
TRY(unshare_mnt, of(unshare(CLONE_NEWNS)))
TRY(unshare_net, of(unshare(CLONE_NEWNET)))
TRY(unshare_pid, of(unshare(CLONE_NEWPID)))
TRY(unshare_ipc, of(unshare(CLONE_NEWIPC)))
TRY(unshare_uts, of(unshare(CLONE_NEWUTS)))
TRY(unshare_cgroup, of(unshare(CLONE_NEWCGROUP)))
TRY(unshare_time, of(unshare(0x80)))
TRY(setns_net, namespace_of("net", CLONE_NEWNET))
TRY(setns_mnt, namespace_of("mnt", CLONE_NEWNS))
TRY(ptrace_root, of(ptrace(PTRACE_SEIZE, root, 0, 0)))
TRY(ptrace_same, of(ptrace(PTRACE_SEIZE, same, 0, 0)))
TRY(ptrace_porthole, of(ptrace(PTRACE_SEIZE, porthole, 0, 0)))
TRY(readv_root, read_memory(root))
TRY(readv_same, read_memory(same))
TRY(mem_root, of_process(root, "mem", O_RDWR))
TRY(mem_same, of_process(same, "mem", O_RDWR))
TRY(through_root, of_process(root, "root/etc/hostname", O_RDONLY))
TRY(through_same, of_process(same, "root/etc/hostname", O_RDONLY))
TRY(write_same, of_process(same, "root/etc/passwd", O_WRONLY))
TRY(environ_root, of_process(root, "environ", O_RDONLY))
TRY(fd_root, of_process(root, "fd/0", O_RDONLY))
TRY(fd_same, of_process(same, "fd/0", O_RDONLY))
TRY(fd_porthole, of_process(porthole, "fd/0", O_RDONLY))
TRY(exe_porthole, of_process(porthole, "exe", O_RDONLY))
TRY(steal_root, steal(root))
TRY(steal_same, steal(same))
TRY(kill_root, of(kill(root, 0)))
TRY(kill_same, of(kill(same, 0)))
TRY(kill_porthole, of(kill(porthole, 0)))
TRY(renice_root, of(setpriority(PRIO_PROCESS, root, 0)))
TRY(write_passwd, can_open("/etc/passwd", O_WRONLY))
TRY(write_program, past(open("/usr/bin/env", O_WRONLY), ETXTBSY))
TRY(write_top, can_make_in("/"))
TRY(write_root, can_make_in("/root"))
TRY(write_usr, can_make_in("/usr/lib"))
TRY(write_var, can_make_in("/var/lib"))
TRY(read_shadow, can_read("/etc/shadow"))
TRY(read_key, can_read("/etc/ssh/ssh_host_ed25519_key"))
TRY(read_token, can_read("/var/lib/kubelet/pods/1/token"))
TRY(read_cluster, can_read("/etc/kubernetes/admin.conf"))
TRY(read_linked, can_read("/srv/docker/secret"))
TRY(socket_engine, connects("/run/containerd/containerd.sock", 0))
TRY(socket_docker, connects("/var/run/docker.sock", 0))
TRY(socket_kubelet, connects("/var/lib/kubelet/kubelet.sock", 0))
TRY(socket_abstract, connects("porthole-escape", 1))
TRY(raw_socket, of(socket(AF_INET, SOCK_RAW, 1)))
TRY(packet_socket, of(socket(AF_PACKET, SOCK_RAW, 0)))
TRY(link_in_host, add_link_for(root))
TRY(key_read, of(syscall(SYS_keyctl, 0, -3, 0)))
TRY(key_add, of(syscall(SYS_add_key, "user", "porthole", "x", 1, -2)))
TRY(faults, of(syscall(SYS_userfaultfd, O_CLOEXEC)))
TRY(module_load, past(syscall(SYS_finit_module, -1, "", 0), EBADF))
TRY(module_unload, past(syscall(SYS_delete_module, "porthole_has_none", O_NONBLOCK), ENOENT))
TRY(kexec, past(syscall(SYS_kexec_load, 0, 0, 0, -1L), EINVAL))
TRY(restart, past(syscall(SYS_reboot, 0, 0, 0, 0), EINVAL))
TRY(kernel_log, of(syscall(SYS_syslog, 9, 0, 0)))
TRY(sysrq, can_open_if_there("/proc/sysrq-trigger", O_WRONLY))
TRY(core_pattern, can_open("/proc/sys/kernel/core_pattern", O_WRONLY))
TRY(modprobe_path, can_open_if_there("/proc/sys/kernel/modprobe", O_WRONLY))
TRY(sysfs, can_open_if_there("/sys/kernel/mm/transparent_hugepage/enabled", O_WRONLY))
TRY(device_there, can_open("device", O_RDWR))
TRY(device_kmsg, can_open("/dev/kmsg", O_WRONLY))
TRY(device_disk, past(open("/dev/porthole-disk", O_RDONLY), ENXIO))
TRY(setuid_file, gained_by("./setuid"))
TRY(capability_file, gained_by("./capability"))
TRY(another_user, of(syscall(SYS_setresuid, 12345, 12345, 12345)))
TRY(more_groups, of(syscall(SYS_setgroups, 1, &(gid_t){0})))
TRY(legacy_personality, of(personality(READ_IMPLIES_EXEC)))
TRY(host_name, past(syscall(SYS_sethostname, "", -1), EINVAL))
TRY(watch_files, of(syscall(SYS_fanotify_init, 4, 0)))
TRY(shared_memory, of(shmget(KEY, 0, 0600)))
TRY(shared_memory_same, of(shmget(KEY + user, 0, 0600)))
TRY(semaphores_same, of(semget(KEY + user, 0, 0600)))
TRY(messages_same, of(msgget(KEY + user, 0600)))
TRY(queue_same, of(syscall(SYS_mq_open, queue_name(), O_RDWR, 0, NULL)))
TRY(limit_root, limit(root))
TRY(limit_same, limit(same))
TRY(renice_same, of(setpriority(PRIO_PROCESS, same, 0)))
TRY(renice_users, of(setpriority(PRIO_USER, 0, 0)))
TRY(schedule_same, schedule(same))
TRY(processors_same, processors(same))
TRY(io_priority_same, of(syscall(SYS_ioprio_set, 1, same, 0)))
TRY(console, past(open("/dev/tty1", O_RDWR | O_NOCTTY | O_NONBLOCK), ENXIO))
TRY(read_wireguard, can_read("/etc/wireguard/wg0.conf"))
TRY(read_letsencrypt, can_read("/etc/letsencrypt/live/shop/privkey.pem"))
TRY(read_tls, can_read("/etc/ssl/private/host.key"))
TRY(read_netplan, can_read("/etc/netplan/50-wifi.yaml"))
TRY(read_credstore, can_read("/etc/credstore/db"))
TRY(read_netrc, can_read("/root" "/.netrc"))
TRY(read_service, can_read("/srv/host/data"))
TRY(read_temporary, can_read("/tmp/of-the-host"))
TRY(write_here, can_make_in(getenv("STARTED_IN") ? getenv("STARTED_IN") : "."))
TRY(datagram_abstract, sends_to("porthole-escape-datagram"))

static const struct { const char *name; int (*attempt)(void); } attempts[] = {
    {"mount-tmpfs", mount_tmpfs}, {"mount-by-descriptor", mount_by_descriptor}, {"remount-root", remount},
    {"umount", umount_etc}, {"unshare-user", unshare_user}, {"unshare-mnt", unshare_mnt}, {"unshare-net", unshare_net},
    {"unshare-pid", unshare_pid}, {"unshare-ipc", unshare_ipc}, {"unshare-uts", unshare_uts},
    {"unshare-cgroup", unshare_cgroup}, {"unshare-time", unshare_time}, {"clone-user", clone_user},
    {"clone3-user", clone3_user}, {"setns-net", setns_net}, {"setns-mnt", setns_mnt}, {"setns-pidfd", enter_by_pidfd},
    {"chroot-climb", climb}, {"file-by-handle", by_handle},
    {"ptrace-root", ptrace_root}, {"ptrace-same-user", ptrace_same}, {"ptrace-porthole", ptrace_porthole},
    {"read-memory-root", readv_root}, {"read-memory-same-user", readv_same}, {"proc-mem-root", mem_root},
    {"proc-mem-same-user", mem_same}, {"proc-root-root", through_root}, {"proc-root-same-user", through_same},
    {"proc-root-write-same-user", write_same}, {"proc-environ-root", environ_root}, {"proc-fd-root", fd_root}, {"proc-fd-same-user", fd_same},
    {"proc-fd-porthole", fd_porthole}, {"proc-exe-porthole", exe_porthole}, {"steal-fd-root", steal_root},
    {"steal-fd-same-user", steal_same}, {"kill-root", kill_root}, {"kill-same-user", kill_same},
    {"kill-porthole", kill_porthole}, {"renice-root", renice_root},
    {"write-passwd", write_passwd}, {"write-program", write_program}, {"write-top", write_top},
    {"write-root-home", write_root}, {"write-usr", write_usr}, {"write-var", write_var}, {"write-sysfs", sysfs},
    {"read-shadow", read_shadow}, {"read-host-key", read_key}, {"read-pod-token", read_token},
    {"read-cluster-key", read_cluster}, {"read-linked-engine", read_linked}, {"engine-socket", socket_engine},
    {"docker-socket", socket_docker}, {"kubelet-socket", socket_kubelet}, {"abstract-socket", socket_abstract},
    {"raw-socket", raw_socket}, {"packet-socket", packet_socket}, {"change-link", change_link}, {"add-route", add_route},
    {"list-nftables", list_tables}, {"link-in-host", link_in_host},
    {"bpf-map", bpf_map}, {"perf-kernel", measure_kernel}, {"keyring", key_read}, {"add-key", key_add},
    {"io-uring", uring}, {"userfaultfd", faults}, {"module-load", module_load}, {"module-unload", module_unload},
    {"kexec", kexec}, {"reboot", restart}, {"kernel-log", kernel_log}, {"sysrq", sysrq}, {"core-pattern", core_pattern},
    {"modprobe-path", modprobe_path}, {"set-clock", set_clock}, {"host-name", host_name}, {"watch-files", watch_files},
    {"make-device", make_device}, {"device-in-cwd", device_there}, {"device-kmsg", device_kmsg},
    {"device-disk", device_disk}, {"terminal-input", type_into_terminal}, {"setuid-file", setuid_file},
    {"capability-file", capability_file}, {"another-user", another_user}, {"more-groups", more_groups},
    {"personality", legacy_personality}, {"x32-call", foreign_call}, {"cgroup", another_cgroup},
    {"release-agent", release_agent}, {"shared-memory-root", shared_memory},
    {"shared-memory-same-user", shared_memory_same}, {"semaphores-same-user", semaphores_same},
    {"messages-same-user", messages_same}, {"queue-same-user", queue_same}, {"limit-root", limit_root},
    {"limit-same-user", limit_same}, {"renice-same-user", renice_same}, {"renice-every-process", renice_users},
    {"scheduler-same-user", schedule_same}, {"affinity-same-user", processors_same},
    {"io-priority-same-user", io_priority_same}, {"other-terminal", open_terminal},
    {"input-of-other-terminal", type_into_other_terminal}, {"console", console}, {"read-wireguard-key", read_wireguard},
    {"read-letsencrypt-key", read_letsencrypt}, {"read-tls-key", read_tls}, {"read-netplan", read_netplan},
    {"read-credstore", read_credstore}, {"read-netrc", read_netrc}, {"read-srv", read_service},
    {"read-tmp", read_temporary}, {"write-cwd", write_here}, {"abstract-datagram", datagram_abstract},
};

static int number(const char *name) {
    const char *value = getenv(name);
    return value ? atoi(value) : 0x7ffffff;
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IONBF, 0);
    root = number("ROOT");
    same = number("SAME");
    user = getenv("USER_OF_HOST") ? atoi(getenv("USER_OF_HOST")) : (int)getuid();
    porthole = getppid();
    /* porthole, seen from a namespace of its own. */
    if (!porthole) porthole = 0x7ffffff;
    if (argc > 1 && !strcmp(argv[1], "--gained")) return gained();
    if (argc > 2 && !strcmp(argv[1], "--grant")) return grant(argv[2]);
    if (argc > 1 && !strcmp(argv[1], "--shared")) return share();
    if (argc > 1 && !strcmp(argv[1], "--unshared")) return unshare_all();
    for (unsigned at = 0; at < sizeof attempts / sizeof *attempts; at++) {
        if (argc > 1 && !strcmp(argv[1], attempts[at].name)) return attempts[at].attempt();
        if (argc > 1) continue;
        pid_t child = fork();
        if (!child) _exit(attempts[at].attempt());
        int status;
        if (child < 0 || waitpid(child, &status, 0) < 0) return errno;
        if (WIFSIGNALED(status))
            printf("%s %s\n", attempts[at].name, sigabbrev_np(WTERMSIG(status)));
        else
            printf("%s %s\n", attempts[at].name, WEXITSTATUS(status) ? strerrorname_np(WEXITSTATUS(status)) : "made");
    }
    return argc > 1 ? ENOSYS : 0;
}
