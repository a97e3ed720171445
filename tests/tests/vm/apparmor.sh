#!/bin/sh
# Inside the virtual machine, unconfined: what porthole and its commands do where AppArmor is active.
. /checks/common.sh

# What a container's root sees of /var, /root and /home through a command in its pid namespace.
seen_through() {
    start porthole exec -p "$1" -- sleep 1000 || return
    for place in var root home; do
        [ ! -e "/proc/$command/root/$place" ] || echo "/$place"
    done
    dies
}

sentence 'AppArmor is active' '0 Y' cat /sys/module/apparmor/parameters/enabled
sentence 'a container starts' '0 ' container crun web-0
sentence 'a profile that is not loaded is 125 and says how to load it' '125 *security_context*apparmor_parser -r*' \
    porthole -o json exec web-0 -- true
sentence 'sysadmin needs no profile' '0 unconfined' porthole exec --profile sysadmin web-0 -- cat /proc/self/attr/current
sentence 'install without a policy says what exec does then' '0 *is left out: --no-policy*ends with 125*' \
    porthole install --engine podman=5.4 --no-policy
sentence 'doctor warns of a policy that was left out' '0 warn *porthole install --no-policy*' porthole doctor lsm-policy
sentence 'and nothing is run then' '125 *security_context*' porthole -o json exec web-0 -- true
sentence 'but in the context of the caller' '0 unconfined' \
    porthole exec --profile sysadmin web-0 -- cat /proc/self/attr/current
sentence 'install loads the profile' '0 *load    AppArmor profile porthole-debug*' porthole install --engine podman=5.4
sentence 'a second install changes nothing' '0 *nothing to change*' porthole install --engine podman=5.4
sentence 'doctor finds it' '0 *is loaded*' porthole doctor lsm-policy
sentence 'the command has the profile' '0 porthole-debug (enforce)' porthole exec web-0 -- cat /proc/self/attr/current
sentence 'with the pid namespace too' '0 porthole-debug (enforce)' \
    porthole exec -pn web-0 -- cat /proc/self/attr/current
# Before Linux 6.17 the procfs is a clone of the target's own.
sentence 'the procfs is that of the target' '0 busybox 1 [0-9]*' porthole exec -p web-0 -- sh -c \
    'cat /proc/1/comm; cd /proc && echo [0-9]*'
sentence 'nothing is written to it' '[12] *Read-only file system*' porthole exec -p web-0 -- sh -c \
    'echo x >/proc/sys/kernel/hostname'
sentence 'of the host there are the tools alone' '0 bin dev *' porthole exec -p web-0 -- ls /
sentence 'the targets processes see no more through the command' '0 ' seen_through web-0
sentence 'a container without a procfs starts' '0 ' container crun bare -e 's#"destination": "/proc",#"destination": "/other",#'
sentence 'its procfs is not guessed' '125 *mount_view*/proc of the target*' porthole -o json exec -p bare -- true
sentence 'in the targets own file system too' '0 porthole-debug (enforce)' \
    porthole exec -mp web-0 -- /bin/busybox cat /proc/self/attr/current
sentence 'explain shows the profile' '0 *context      AppArmor porthole-debug *' porthole exec --explain web-0 -- true
sentence 'reading the network works' '0 *lo:*' porthole exec web-0 -- ip -o link
sentence 'raw sockets work' '0 *1 packets received*' porthole exec web-0 -- ping -c 1 127.0.0.1
sentence 'netadmin changes links' '0 ' porthole exec --profile netadmin web-0 -- ip link add d0 type dummy
mkdir -m 1777 /tmp/work
tmp() { cd /tmp/work && porthole exec web-0 -- sh -c 'echo x >file; cat file'; }
sentence 'tmp can be written to' '0 x' tmp

# As AppArmor alone has it: root with all capabilities, on the host's own file system.
profile() { sh -c 'printf "exec porthole-debug" >/proc/self/attr/apparmor/exec && exec "$@"' "$0" "$@"; }
sentence 'the profile reads no passwords' '1 *Permission denied' profile cat /etc/shadow
sentence 'the profile writes nothing to etc' '1 *Permission denied' profile touch /etc/new
sentence 'the profile writes nothing to var lib' '1 *Permission denied' profile touch /var/lib/new
sentence 'the profile mounts nothing' '255 *Permission denied' profile mount -t tmpfs tmpfs /tmp
sentence 'the profile kills nothing of the host' '1 *Permission denied' profile kill -0 1
sentence 'the profile enters no namespace' '1 *Permission denied' \
    profile nsenter "--net=/proc/$(pid_of web-0)/ns/net" true
sentence 'the profile is not left' '1 *' profile sh -c 'printf unconfined >/proc/self/attr/apparmor/current'

# porthole itself under a profile: no_new_privs lets it add one, not change it.
printf 'profile caller flags=(attach_disconnected) {\n /** rwlkmix,\n capability,\n network,\n mount,\n umount,\n signal,\n
 ptrace,\n unix,\n pivot_root,\n change_profile -> **,\n}\n' >/run/caller
sentence 'a profile for porthole loads' '0 *' apparmor_parser -r -K /run/caller
sentence 'a confined porthole adds the profile to its own' '0 *caller//&porthole-debug (enforce)' \
    sh -c 'printf "exec caller" >/proc/self/attr/apparmor/exec && exec porthole exec web-0 -- cat /proc/self/attr/current'

start porthole exec web-0 -- sleep 1000
sentence 'outside, attr says the same' '0 porthole-debug (enforce)' cat "/proc/$command/attr/apparmor/current"
sentence 'the command dies with porthole' '0 ' dies
sentence 'following a target that is not confined is 125' '125 *security_context*' \
    porthole -o json exec -Z web-0 -- true
sentence 'uninstall unloads the profile' '0 *unload  AppArmor profile porthole-debug*' porthole uninstall
sentence 'the registry has gone with it, and what runs is adopted again' '0 *adopt*web-0*' porthole reconcile
sentence 'without it nothing is run' '125 *security_context*porthole install*' porthole -o json exec web-0 -- true
sentence 'a confined container starts' '0 ' container crun web-1 -e 's#"process": {#"process": {"apparmorProfile": "caller",#'
sentence 'reconcile registers it' '0 *' porthole reconcile
sentence 'following its profile needs none of ours' '0 caller (enforce)' \
    porthole exec -Z web-1 -- cat /proc/self/attr/current
crun delete --force web-1
crun delete --force web-0
