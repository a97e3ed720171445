/* A hostile process of a container: spins on the next pids of its pid namespace, without a pause, and writes down what it
   can get at of each process that is not its own, at as many instants as it can. It judges nothing: the test compares what
   is written here with what the finished command has.

   attacker OUT PLACES MARKER...
       waits for the file OUT/go; then a tracer and a reader spin, and write lines "PID KIND VALUE" to OUT/tracer and
       OUT/reader. PLACES are the host's directories, "DEVICE:INODE:PATH" with commas between; MARKERs are searched for in memory.
   attacker --unprivileged OUT MARKER...
       the same by a reader of user 65534 without capabilities, to OUT/nobody. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define LONGEST (1 << 20)
#define SYSCALL_STOPS 400

static char **markers;
static int marker_count;
static struct { dev_t device; ino_t inode; char path[64]; } places[32];
static int place_count;
static int output;

/* Each line once. */
static uint64_t known[1 << 18];
static unsigned known_count;

static void note(int pid, const char *kind, const char *value) {
    static char line[LONGEST + 128];
    int length = snprintf(line, sizeof line, "%d %s ", pid, kind);
    for (; *value && length < LONGEST; value++) line[length++] = *value >= ' ' ? *value : '?';
    line[length++] = '\n';
    uint64_t hash = 1469598103934665603u;
    for (int at = 0; at < length; at++) hash = (hash ^ (unsigned char)line[at]) * 1099511628211u;
    if (known_count > sizeof known / sizeof *known / 2) {
        memset(known, 0, sizeof known);
        known_count = 0;
    }
    uint64_t at = hash % (sizeof known / sizeof *known);
    while (known[at] && known[at] != hash) at = (at + 1) % (sizeof known / sizeof *known);
    if (known[at]) return;
    known[at] = hash;
    known_count++;
    if (write(output, line, length) < 0) _exit(1);
}

static char text[LONGEST];

static int of_process(int pid, const char *what, int flags) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, what);
    return open(path, flags | O_CLOEXEC);
}

static ssize_t contents(int pid, const char *what) {
    int file = of_process(pid, what, O_RDONLY);
    if (file < 0) return -1;
    ssize_t length = 0, count;
    while (length < LONGEST - 1 && (count = read(file, text + length, LONGEST - 1 - length)) > 0) length += count;
    close(file);
    text[length] = 0;
    return length;
}

static void status(int pid) {
    static const char *const fields[] = {"Uid:", "Gid:", "Groups:", "CapInh:", "CapPrm:", "CapEff:", "CapBnd:",
                                         "CapAmb:", "NoNewPrivs:", "Seccomp:", "Name:"};
    if (contents(pid, "status") <= 0) return;
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));)
        for (unsigned at = 0; at < sizeof fields / sizeof *fields; at++)
            if (!strncmp(line, fields[at], strlen(fields[at]))) {
                for (char *blank; (blank = strchr(line, '\t'));) *blank = ' ';
                note(pid, "status", line);
            }
}

/* Words that end in NUL. */
static void words(int pid, const char *what) {
    ssize_t length = contents(pid, what);
    for (ssize_t at = 0; at < length; at += strlen(text + at) + 1) note(pid, what, text + at);
}

static void mounts(int pid) {
    if (contents(pid, "mountinfo") <= 0) return;
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));)
        if (*line) note(pid, "mountinfo", line);
}

static void link_of(int pid, const char *what, const char *kind, const char *prefix) {
    char path[64], target[4096], value[4352];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, what);
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length < 0) return;
    target[length] = 0;
    snprintf(value, sizeof value, "%s%s", prefix, target);
    note(pid, kind, value);
}

static void descriptors(int pid) {
    int directory = of_process(pid, "fd", O_RDONLY | O_DIRECTORY);
    if (directory < 0) return;
    DIR *list = fdopendir(directory);
    if (!list) {
        close(directory);
        return;
    }
    for (struct dirent *entry; (entry = readdir(list));) {
        if (*entry->d_name == '.') continue;
        char what[300], prefix[300];
        snprintf(what, sizeof what, "fd/%s", entry->d_name);
        snprintf(prefix, sizeof prefix, "%s -> ", entry->d_name);
        link_of(pid, what, "fd", prefix);
    }
    closedir(list);
}

/* Nothing is left of what this makes, but of the one file that a host would execute. */
static void write_below(int pid, int root, const char *from) {
    for (int at = 0; at < place_count; at++) {
        int directory = openat(root, places[at].path + 1, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (directory < 0) continue;
        struct stat found;
        char value[128];
        if (!fstat(directory, &found) && found.st_dev == places[at].device && found.st_ino == places[at].inode) {
            snprintf(value, sizeof value, "%s by %s", places[at].path, from);
            note(pid, "sees", value);
            int file = openat(directory, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
            if (file >= 0) note(pid, "writes-to", value);
            if (file >= 0) close(file);
            if (!strcmp(places[at].path, "/etc/cron.d")) {
                file = openat(directory, "attacked", O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
                if (file >= 0) close(file);
            }
        }
        close(directory);
    }
}

static void roots(int pid) {
    int root = of_process(pid, "root", O_PATH | O_DIRECTORY);
    if (root >= 0) {
        write_below(pid, root, "root");
        close(root);
    }
    int cwd = of_process(pid, "cwd", O_PATH | O_DIRECTORY);
    if (cwd >= 0) {
        struct stat found;
        for (int at = 0; at < place_count && !fstat(cwd, &found); at++)
            if (found.st_dev == places[at].device && found.st_ino == places[at].inode) {
                note(pid, "cwd-is", places[at].path);
                int file = openat(cwd, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
                if (file >= 0) note(pid, "writes-to", places[at].path);
                if (file >= 0) close(file);
            }
        close(cwd);
    }
}

static void image(int pid) {
    link_of(pid, "exe", "exe", "");
    /* While it runs, no image can be opened for writing; once it has ended, one can that is neither on a read-only mount
       nor sealed. */
    struct statfs mount;
    int file = of_process(pid, "exe", O_RDONLY);
    if (file < 0) return;
    int seals = fcntl(file, F_GET_SEALS);
    int sealed = seals >= 0 && seals & F_SEAL_WRITE;
    if (!sealed && !fstatfs(file, &mount) && !(mount.f_flags & ST_RDONLY)) link_of(pid, "exe", "exe-writable", "");
    close(file);
}

static int remote(int pid, int mem, void *to, size_t length, uintptr_t from) {
    struct iovec here = {to, length}, there = {(void *)from, length};
    ssize_t count = process_vm_readv(pid, &here, 1, &there, 1, 0);
    return count > 0 ? count : mem >= 0 ? pread(mem, to, length, from) : -1;
}

static void memory(int pid) {
    static char maps[LONGEST], chunk[1 << 16];
    if (contents(pid, "maps") <= 0) return;
    strcpy(maps, text);
    int mem = of_process(pid, "mem", O_RDONLY);
    char *rest = maps;
    for (char *line; (line = strsep(&rest, "\n"));) {
        unsigned long from, to;
        char modes[8];
        if (sscanf(line, "%lx-%lx %7s", &from, &to, modes) != 3 || modes[0] != 'r' || modes[1] != 'w') continue;
        /* The chunks overlap, so that no marker lies between two. */
        for (; from < to && to - from < 64 << 20; from += sizeof chunk - 256) {
            size_t length = to - from < sizeof chunk ? to - from : sizeof chunk;
            int count = remote(pid, mem, chunk, length, from);
            if (count <= 0) break;
            note(pid, "memory-read", "yes");
            for (int at = 0; at < marker_count; at++)
                if (memmem(chunk, count, markers[at], strlen(markers[at]))) note(pid, "memory", markers[at]);
        }
    }
    if (mem >= 0) close(mem);
}

static void stolen(int pid) {
    int process = syscall(SYS_pidfd_open, pid, 0);
    if (process < 0) return;
    for (int number = 3; number < 24; number++) {
        int file = syscall(SYS_pidfd_getfd, process, number, 0);
        if (file < 0) continue;
        char own[64], target[4096], value[4352];
        snprintf(own, sizeof own, "/proc/self/fd/%d", file);
        ssize_t length = readlink(own, target, sizeof target - 1);
        target[length > 0 ? length : 0] = 0;
        snprintf(value, sizeof value, "%d -> %s", number, target);
        note(pid, "stolen", value);
        close(file);
    }
    close(process);
}

/* What lasts shortest comes first. */
static void everything(int pid, int deep) {
    roots(pid);
    status(pid);
    words(pid, "cmdline");
    link_of(pid, "cwd", "cwd", "");
    descriptors(pid);
    image(pid);
    words(pid, "environ");
    mounts(pid);
    if (deep) {
        stolen(pid);
        memory(pid);
    }
}

static int is_there(int pid) {
    char path[32];
    snprintf(path, sizeof path, "/proc/%d", pid);
    return !access(path, F_OK);
}

/* From one system call of the process to its next, looking at it at each. */
static void trace(int pid) {
    if (ptrace(PTRACE_SEIZE, pid, 0, 0)) return;
    note(pid, "traced", "yes");
    int result;
    ptrace(PTRACE_INTERRUPT, pid, 0, 0);
    for (int stops = 0; waitpid(pid, &result, __WALL) == pid && WIFSTOPPED(result); stops++) {
        int signal = WSTOPSIG(result), event = result >> 16;
        everything(pid, 1);
        if (stops > SYSCALL_STOPS) {
            ptrace(PTRACE_DETACH, pid, 0, 0);
            return;
        }
        int of_ours = signal == SIGTRAP || event;
        if (ptrace(PTRACE_SYSCALL, pid, 0, of_ours ? 0 : signal)) return;
    }
}

/* The number that was given out last, as the kernel tells it to a process of this namespace. */
static int last_pid(void) {
    static int file = -1;
    char line[128];
    if (file < 0) file = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
    ssize_t length = pread(file, line, sizeof line - 1, 0);
    if (length <= 0) return 0;
    line[length] = 0;
    char *blank = strrchr(line, ' ');
    return blank ? atoi(blank) : 0;
}

enum kind { TRACER, READER, NOBODY };

static void spin(enum kind kind, int own) {
    int seen = own, caught = 0;
    for (;;) {
        int last = last_pid();
        for (int pid = seen + 1; pid <= last + 1; pid++) {
            if (!is_there(pid)) continue;
            caught++;
            /* Every second one is left to run at its own speed. */
            if (kind == TRACER && caught % 2) trace(pid);
            while (is_there(pid)) {
                if (kind == NOBODY) {
                    words(pid, "cmdline");
                    status(pid);
                    words(pid, "environ");
                } else {
                    everything(pid, kind == TRACER);
                }
                /* One that started meanwhile is more interesting than one that has been seen. */
                if (last_pid() > pid) break;
            }
            seen = pid;
        }
    }
}

static void parse_places(char *list) {
    for (char *one; (one = strsep(&list, ",")) && place_count < 32;) {
        unsigned long device, inode;
        if (sscanf(one, "%lu:%lu:%63s", &device, &inode, places[place_count].path) != 3) continue;
        places[place_count].device = device;
        places[place_count++].inode = inode;
    }
}

static void start(const char *directory, const char *name, enum kind kind, int processes) {
    if (fork()) return;
    char path[512];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    output = open(path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0644);
    if (output < 0) _exit(1);
    snprintf(path, sizeof path, "%s/go", directory);
    while (access(path, F_OK)) usleep(1000);
    if (kind == NOBODY) {
        gid_t group = 65534;
        if (setgroups(0, NULL) || setresgid(group, group, group) || setresuid(group, group, group)) _exit(1);
    }
    /* Its siblings have their numbers by now. */
    usleep(50000);
    int last = last_pid();
    spin(kind, last > processes ? last : processes);
}

int main(int argc, char **argv) {
    int unprivileged = argc > 1 && !strcmp(argv[1], "--unprivileged");
    int first = unprivileged ? 2 : 1;
    if (argc < first + 1) return 2;
    char *directory = argv[first];
    if (!unprivileged && argc > 2) parse_places(argv[2]);
    markers = argv + first + (unprivileged ? 1 : 2);
    marker_count = argc - (markers - argv) > 0 ? argc - (markers - argv) : 0;
    if (unprivileged) {
        start(directory, "nobody", NOBODY, 2);
    } else {
        start(directory, "tracer", TRACER, 3);
        start(directory, "reader", READER, 3);
    }
    for (;;) pause();
}
