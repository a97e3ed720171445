#!/bin/sh
# Inside the virtual machine, as init_t: what SELinux lets porthole, its commands and its hook do.
DEBUG=system_u:system_r:porthole_debug_t
. /checks/common.sh

denials() { dmesg | grep 'avc:  denied' | grep "$1"; }

# labelled RUNTIME NAME CATEGORIES
labelled() {
    mkdir -p "$lab/$2/rootfs" && chcon "system_u:object_r:container_file_t:s0:$3" "$lab/$2/rootfs" || return
    container "$1" "$2" -e "s/\"process\": {/&\"selinuxLabel\": \"system_u:system_r:container_t:s0:$3\",/" \
        -e "s/\"linux\": {/&\"mountLabel\": \"system_u:object_r:container_file_t:s0:$3\",/"
}

label() { ls -dZ "$@" | cut -d: -f3 | tr '\n' ' '; }
# in CONTEXT COMMAND…
in_context() { sh -c 'printf %s "$0" >/proc/self/attr/exec && exec "$@"' "$@"; }
# As SELinux alone has it: root with all capabilities, on the host's own file system.
domain() { in_context "$DEBUG:s0:c1,c2" "$@"; }

sentence 'the machine has cgroup v2 alone' '0 0::/' cat /proc/self/cgroup
sentence 'SELinux is enforcing' '0 1' cat /sys/fs/selinux/enforce
sentence 'files are labelled as the module says' '0 porthole_exec_t porthole_hook_exec_t' \
    label /usr/bin/porthole /usr/libexec/porthole/porthole-hook

# --- the hook, started by runtimes in their domain ---------------------------
sentence 'crun starts a container' '0 ' labelled crun web-0 c1,c2
sentence 'runc starts a container' '0 ' labelled runc web-1 c3,c4
sentence 'the hook runs in its own domain' '0 *porthole_hook_t*' \
    sh -c 'dmesg | grep "granted  { transition }" | grep -c . >/dev/null && dmesg | grep "granted.*porthole_hook_t" | head -1'
sentence 'the confined hook records and pins' '0 *web-0*web-1*' porthole list
sentence 'records have a type of their own' '0 porthole_var_run_t porthole_var_run_t' \
    label /run/porthole "/run/porthole/containers/web-0.json"
sentence 'the record has the label of the container' '0 *container_t:s0:c1,c2*' cat /run/porthole/containers/web-0.json
sentence 'the hook met no denial' '1 ' denials porthole_hook_t

# --- what is allowed ---------------------------------------------------------
sentence 'the command is in porthole_debug_t at the level of its target' "0 $DEBUG:s0:c1,c2" \
    porthole exec web-0 -- cat /proc/self/attr/current
sentence 'the command for another pod is at that ones level' "0 $DEBUG:s0:c3,c4" \
    porthole exec web-1 -- cat /proc/self/attr/current
at_level() { porthole exec "$@" web-0 -- cat /proc/self/attr/current; }
sentence 'profile restricted has the domain' "0 $DEBUG:s0:c1,c2" at_level --profile restricted
sentence 'profile netadmin has the domain' "0 $DEBUG:s0:c1,c2" at_level --profile netadmin
sentence 'profile trace has the domain' "0 $DEBUG:s0:c1,c2" at_level --profile trace
sentence 'with the pid namespace too' "0 $DEBUG:s0:c1,c2" porthole exec -pn web-0 -- cat /proc/self/attr/current
sentence 'in the targets own file system too' "0 $DEBUG:s0:c1,c2" \
    porthole exec -mp web-0 -- /bin/busybox cat /proc/self/attr/current
sentence 'without a process that waits too' "0 $DEBUG:s0:c1,c2" porthole exec -F web-0 -- cat /proc/self/attr/current
sentence 'explain shows the context' "0 *context      SELinux $DEBUG:s0:c1,c2 *" porthole exec --explain web-0 -- true
sentence 'sysadmin keeps the context of the caller' '0 system_u:system_r:init_t:s0-s0:c0.c1023' \
    porthole exec --profile sysadmin web-0 -- cat /proc/self/attr/current
sentence 'Z follows the label of the target' '0 system_u:system_r:container_t:s0:c1,c2' \
    porthole exec -Z -mp web-0 -- /bin/busybox cat /proc/self/attr/current
sentence 'reading the network works' '0 *lo:*' porthole exec web-0 -- ip -o link
sentence 'raw sockets work' '0 *1 packets received*' porthole exec web-0 -- ping -c 1 127.0.0.1
sentence 'netadmin changes links' '0 ' porthole exec --profile netadmin web-0 -- ip link add d0 type dummy
sentence 'files of the same level can be read' '0 of web-0' porthole exec web-0 -- cat $lab/web-0/rootfs/secret
sentence 'proc of the same level can be read' '0 *sleep*' porthole exec web-0 -- cat "/proc/$(pid_of web-0)/cmdline"
sentence 'processes of the same level can be signalled' '0 ' \
    porthole exec --cap-add KILL web-0 -- kill -0 "$(pid_of web-0)"
kept() { porthole exec web-0 -- echo kept >$lab/kept && cat $lab/kept; }
sentence 'output to a file of the host arrives' '0 kept' kept
mkdir -m 1777 /tmp/work
tmp() { (cd /tmp/work && porthole exec web-0 -- sh -c 'echo x >file; cat file' && label file); }
sentence 'tmp can be written to, with a type of its own' '0 x porthole_debug_tmp_t' tmp

# From outside, while it runs; then without porthole.
start porthole exec web-0 -- sleep 1000
sentence 'outside, attr says the same' "0 $DEBUG:s0:c1,c2" cat "/proc/$command/attr/current"
sentence 'outside, the capabilities are those of the profile' '0 *CapPrm: 0000000000002000*CapEff: 0000000000002000*' \
    cat "/proc/$command/status"
sentence 'outside, no new privileges' '0 *NoNewPrivs: 1*' cat "/proc/$command/status"
sentence 'outside, the user is nobody' '0 *Uid: 65534 65534 65534 65534*' cat "/proc/$command/status"
sentence 'outside, one cgroup' '0 0::/*' cat "/proc/$command/cgroup"
sentence 'the command dies with porthole' '0 ' dies
sentence 'nothing of what is allowed was denied' '1 ' denials 'porthole_\|container_t'

# --- what is not -------------------------------------------------------------
sentence 'files of another pod cannot be read' '1 *Permission denied' \
    porthole exec web-0 -- cat $lab/web-1/rootfs/secret
sentence 'proc of another pod cannot be read' '1 *Permission denied' \
    porthole exec web-0 -- cat "/proc/$(pid_of web-1)/cmdline"
sentence 'processes of another pod cannot be signalled' '1 *Permission denied' \
    porthole exec --cap-add KILL web-0 -- kill -0 "$(pid_of web-1)"
sentence 'the domain reads no passwords' '1 *Permission denied' domain cat /etc/shadow
sentence 'the domain writes nothing to etc' '1 *Permission denied' domain touch /etc/new
sentence 'the domain changes nothing in usr' '2 *Permission denied' domain sh -c 'echo >>/usr/bin/ip'
sentence 'the domain writes nothing to var' '1 *Permission denied' domain touch /var/lib/new
sentence 'the domain writes nothing to containers' '1 *Permission denied' domain touch $lab/web-0/rootfs/new
sentence 'the domain changes no record' '2 *Permission denied' \
    domain sh -c 'echo >>/run/porthole/containers/web-0.json'
sentence 'the domain enters no namespace' '1 *not permitted*' domain nsenter "--net=/proc/$(pid_of web-0)/ns/net" true
sentence 'the domain mounts nothing' '255 *Permission denied' domain mount -t tmpfs tmpfs /tmp
sentence 'the domain kills nothing of the host' '1 *Permission denied' domain kill -0 1
sentence 'the domain chooses no context' '1 *' domain sh -c "printf $DEBUG:s0 >/proc/self/attr/exec"
refused() { porthole -o json exec "$@"; }
sentence 'a forbidden transition is 125' '125 *security_context*' \
    in_context system_u:system_r:sealed_t:s0-s0:c0.c1023 porthole -o json exec web-0 -- true
sentence 'a target whose domain may not run the command is 125' '125 *security_context*' refused -Z web-0 -- true
sentence 'a program that is none stays 126' '126 *' porthole exec web-0 -- /etc/passwd
echo 0 >/sys/fs/selinux/enforce
sentence 'a permissive kernel is noted' '0 *(permissive*' porthole exec --explain web-0 -- true
echo 1 >/sys/fs/selinux/enforce
sed -i 's/s0:c3,c4/s0:c3,c4000/' /run/porthole/containers/web-1.json
sentence 'an unknown context is 125 and says where the module is' '125 *security_context*semodule -i*' \
    refused web-1 -- true
sentence 'following an unknown context is 125' '125 *security_context*' refused -Z web-1 -- true

# --- the end of containers ---------------------------------------------------
# So that each pin has a second mount, which takes a copy of the mount namespace to remove.
mount --make-private /run/netns
crun delete --force web-0
runc delete --force web-1
sentence 'the hook unpins and forgets' '1 *' sh -c 'ls /run/netns/* /run/porthole/containers/* | grep .'
sentence 'the hook met no denial to its end' '1 ' denials porthole_hook_t
