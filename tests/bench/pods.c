// Stands for many pods: processes with a network namespace each, and an address in it. Prints their pids, and ends them
// when its stdin ends.
//
// usage: pods FIRST COUNT    the addresses are 10.0.0.0 + FIRST, and so on
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int give_address(unsigned number) {
    struct ifreq request = {.ifr_name = "lo:0"};
    struct sockaddr_in *address = (struct sockaddr_in *)&request.ifr_addr;
    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl((10u << 24) + number);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0)
        return -1;
    int done = ioctl(fd, SIOCSIFADDR, &request);
    close(fd);
    return done;
}

static void pod(unsigned number, int ready) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    char ok = unshare(CLONE_NEWNET) == 0 && give_address(number) == 0;
    if (write(ready, &ok, 1) != 1 || !ok)
        _exit(1);
    close(ready);
    close(0);
    close(1);
    for (;;)
        pause();
}

int main(int argc, char **argv) {
    if (argc != 3)
        return 2;
    unsigned first = (unsigned)atoi(argv[1]), count = (unsigned)atoi(argv[2]);
    pid_t *pids = calloc(count, sizeof *pids);
    int ready[2];
    if (!pids || pipe(ready) != 0)
        return 1;
    for (unsigned i = 0; i < count; i++) {
        char ok = 0;
        pids[i] = fork();
        if (pids[i] == 0)
            pod(first + i, ready[1]);
        if (pids[i] < 0 || read(ready[0], &ok, 1) != 1 || !ok)
            return 1;
        printf("%d\n", pids[i]);
    }
    fflush(stdout);
    char end;
    while (read(0, &end, 1) > 0) {
    }
    for (unsigned i = 0; i < count; i++)
        kill(pids[i], SIGKILL);
    while (wait(NULL) > 0) {
    }
    return 0;
}
