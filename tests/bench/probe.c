// The floor under the hook: its changes to the system, in C, by the calls that are needed and no others. No parsing, no
// checks, no deadline, no log. What it makes is laid out as the hook's, in a directory of its own.
//
// usage: probe create PID NAME < STATE
//        probe remove NAME < STATE
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIR_FLAGS (O_PATH | O_DIRECTORY | O_CLOEXEC)

static const char *KINDS[] = {"net", "mnt", "pid", "ipc", "uts", "user", "cgroup", "time"};
static char state[16384];
static char path[512], from[64], to[64];

static int made(int fd) {
    if (fd >= 0)
        close(fd);
    return fd >= 0 ? 0 : 1;
}

static void look_at(const char *file, int dir) {
    static char text[4096];
    int fd = openat(dir, file, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && read(fd, text, sizeof text) > 0) {
    }
    made(fd);
}

static int lock(int run) {
    int fd = openat(run, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    return fd >= 0 && flock(fd, LOCK_EX) == 0 ? 0 : 1;
}

static int create(int run, int pins, const char *pid, const char *name) {
    struct stat stat;
    snprintf(path, sizeof path, "/proc/%s", pid);
    int process = open(path, DIR_FLAGS);
    int host = open("/proc/1/ns", DIR_FLAGS);
    look_at("stat", process);
    look_at("cgroup", process);
    look_at("/proc/sys/kernel/random/boot_id", AT_FDCWD);
    for (int i = 0; i < 8; i++) {
        snprintf(path, sizeof path, "ns/%s", KINDS[i]);
        if (fstatat(process, path, &stat, 0) != 0 || fstatat(host, KINDS[i], &stat, 0) != 0)
            return 1;
    }
    int netns = openat(process, "ns/net", O_RDONLY | O_CLOEXEC);
    snprintf(path, sizeof path, "netns/%s", name);
    if (netns < 0 || lock(run) || mkdirat(run, path, 0755) != 0)
        return 1;
    snprintf(path, sizeof path, "netns/%s/name", name);
    int pin = openat(pins, name, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    if (pin < 0 || symlinkat(name, run, path) != 0)
        return 1;
    snprintf(from, sizeof from, "/proc/self/fd/%d", netns);
    snprintf(to, sizeof to, "/proc/self/fd/%d", pin);
    if (mount(from, to, NULL, MS_BIND, NULL) != 0)
        return 1;
    snprintf(path, sizeof path, "netns/%s/member", name);
    if (made(openat(run, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644)))
        return 1;
    int draft = openat(run, "containers/.draft", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    snprintf(path, sizeof path, "containers/%s", name);
    return write(draft, state, 1024) != 1024 || renameat(run, "containers/.draft", run, path) != 0;
}

static int removal(int run, int pins, const char *name) {
    snprintf(path, sizeof path, "containers/%s", name);
    if (lock(run))
        return 1;
    look_at(path, run);
    int failed = unlinkat(run, path, 0);
    snprintf(path, sizeof path, "netns/%s/member", name);
    failed |= unlinkat(run, path, 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d/%s", pins, name);
    failed |= umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) | unlinkat(pins, name, 0);
    snprintf(path, sizeof path, "netns/%s/name", name);
    failed |= unlinkat(run, path, 0);
    snprintf(path, sizeof path, "netns/%s", name);
    return failed | unlinkat(run, path, AT_REMOVEDIR);
}

int main(int argc, char **argv) {
    while (read(0, state, sizeof state) > 0) {
    }
    int run = open("/run/probe", DIR_FLAGS);
    int pins = open("/run/netns", DIR_FLAGS);
    if (run < 0 || pins < 0)
        return 1;
    if (argc == 4 && strcmp(argv[1], "create") == 0)
        return create(run, pins, argv[2], argv[3]) ? 1 : 0;
    if (argc == 3 && strcmp(argv[1], "remove") == 0)
        return removal(run, pins, argv[2]) ? 1 : 0;
    return 2;
}
