#!/bin/sh
# Inside the virtual machine, as a service of systemd: porthole's units, its lines in the system log, and what bounds a command
# where cgroups are v2 and systemd's.
. /checks/common.sh

service=porthole-reconcile.service timer=porthole-reconcile.timer path=porthole-reconcile.path

unit_files() { systemctl list-unit-files --no-legend 'porthole*' | while read -r unit state _; do echo "$unit $state"; done; }
runs() { journalctl -q -u $service -o cat | grep -c '^Finished'; }
no_run() { [ "$(systemctl show -P ActiveState $service)" = inactive ]; }
# ran_since RUNS: more than so many runs have ended, and none is under way.
ran_since() { [ "$(runs)" -gt "$1" ] && no_run; }
# What the first process has to complain of; a kernel without automounts is how it is here.
complaints() { journalctl -q -b -p warning _PID=1 -o cat | grep -v autofs4; }
# container RUNTIME NAME …, of which no hook is told.
unhooked() { HOOK=/none container "$@"; }
missing() { ! [ -e "$1" ]; }

sentence 'systemd is the first process' '0 systemd' cat /proc/1/comm
sentence 'systemd is content' '0 running' systemctl is-system-running --wait

# Before a runtime, or a unit that has weights, has changed what systemd sets up.
unshare --net sleep 1000 &
target=$!
wait_for sh -c "[ \$(readlink /proc/$target/ns/net) != \$(readlink /proc/1/ns/net) ]"
controllers() { cat /sys/fs/cgroup/cgroup.subtree_control; }
sentence 'systemd hands down two controllers' '0 memory pids' controllers
sentence 'a command has a cgroup of its own' '0 0::/porthole/exec-*' \
    porthole exec --profile sysadmin "pid:$target" -- cat /proc/self/cgroup
sentence 'the third controller has been added for it' '0 cpu memory pids' controllers
kill $target

# --- install -----------------------------------------------------------------
# boots_after TIME: the timer as it is, but for the wait after a boot, which a slow machine may have behind it by now.
boots_after() {
    mkdir -p /run/systemd/system/$timer.d
    printf '[Timer]\nOnBootSec=\nOnBootSec=%s\nOnUnitInactiveSec=5min\nRandomizedDelaySec=0\n' "$1" >/run/systemd/system/$timer.d/boot.conf
}
boots_after 30min
sentence 'install brings the units' '0 *add     /etc/systemd/system/porthole-reconcile.service*' \
    porthole install --engine podman=5.4
sentence 'systemd has read them, and starts two at every boot' \
    "0 $path enabled $service static $timer enabled" unit_files
sentence 'both are started' '0 active active' systemctl is-active $timer $path
sentence 'the next run is planned' '0 *min*' systemctl show -P NextElapseUSecMonotonic $timer
sentence 'doctor finds the units' '0 *timer: enabled, and active*path: enabled, and active*service: in place*' \
    porthole doctor units
systemctl stop $timer $path
sentence 'doctor misses those that are stopped' '0 warn*timer: is enabled, and not active*warn*path: is enabled, and not*' \
    porthole doctor units
systemctl start timers.target paths.target
sentence 'the targets of a boot start them' '0 active active' systemctl is-active $timer $path
sentence 'a second install changes nothing' '0 *nothing to change*' porthole install --engine podman=5.4

# --- the timer, and what the service may -------------------------------------
sentence 'a container starts that no hook is told of' '0 ' unhooked crun web-0
sentence 'nothing is registered yet' '0 POD *AGE' porthole list
before=$(runs)
boots_after 1s
systemctl daemon-reload
systemctl restart $timer
wait_for sh -c "systemctl show -P MainPID $service | grep -v '^0'"
pid=$(systemctl show -P MainPID $service)
sentence 'the service has three capabilities, a filter and no new privileges' \
    '0 *CapEff: 0000000000280004*CapBnd: 0000000000280004*NoNewPrivs: 1*Seccomp: 2*' cat "/proc/$pid/status"
sentence 'the service is in the mount namespace of the host' '0 same' \
    sh -c "[ \$(readlink /proc/$pid/ns/mnt) = \$(readlink /proc/1/ns/mnt) ] && echo same"
sentence 'the timer starts the service' '0 ' wait_for ran_since "$before"
sentence 'the service succeeds' '0 success' systemctl show -P Result $service
sentence 'what ran already is adopted' '0 *web-0*' porthole list
sentence 'its pin is seen from the host' '0 */run/netns/web-0 *' grep /run/netns/web-0 /proc/1/mountinfo
sentence 'ip enters it' '0 *lo:*' ip netns exec web-0 ip -o link
sentence 'ip knows its process' "0 web-0" ip netns identify "$(pid_of web-0)"
sentence 'the next run is planned after one' '0 *min*' systemctl show -P NextElapseUSecMonotonic $timer

# --- the path unit -----------------------------------------------------------
sentence 'another container starts' '0 ' unhooked runc web-1
before=$(runs)
ip netns attach cni-1 "$(pid_of web-1)"
sentence 'a new network namespace starts the service' '0 ' wait_for ran_since "$before"
sentence 'the container in it is adopted' '0 *web-1*' porthole list
sentence 'its pin is beside the other names' '0 cni-1 web-0 web-1' ls /run/netns
adopted=$(runs)
runc kill web-1 KILL
wait_for missing "/proc/$(pid_of web-1)"

# --- the system log, as journald has it --------------------------------------
field() { journalctl -q -n 1 -o cat -t porthole SYSLOG_FACILITY=10 --output-fields="$1"; }
fields() { for name in "$@"; do field "$name"; done; }
sentence 'a command runs' '7 ' porthole exec web-0 -- sh -c 'exit 7'
sentence 'journald has it as of authpriv, a notice, of porthole' '0 10 5 porthole' \
    fields SYSLOG_FACILITY PRIORITY SYSLOG_IDENTIFIER
sentence 'journald has its process' "0 $(field _PID)" fields SYSLOG_PID
sentence 'journald has the structured data as the message' \
    '0 [[]porthole@32473 event="end" status="7" *command="sh -c exit*7"*[]] end shop/web-0/app by root' fields MESSAGE
sentence 'a refusal is a warning' '125 *policy*' \
    env SUDO_UID=1234 SUDO_GID=1234 SUDO_USER=ann porthole -o json exec web-0 -- id
sentence 'journald has the refusal as one' '0 4 [[]*event="refused"*[]] refused web-0 by ann' \
    fields PRIORITY MESSAGE
sentence 'a command that would forge a line runs' '0 ' porthole exec web-0 -- true 'a
<80>forged[1]: x'
sentence 'journald has no forged line' '0 ' journalctl -q -t forged
sentence 'a long command runs' '0 ' porthole exec web-0 -- true "$(seq 2000)"
sentence 'journald has a long line to its end' '0 *[.][.][.]"*] end shop/web-0/app by root' fields MESSAGE
sentence 'the hook ends well when it is told nonsense' '0 ' sh -c 'echo nonsense | /usr/libexec/porthole/porthole-hook createRuntime'
hooks() { for name in SYSLOG_FACILITY PRIORITY SYSLOG_IDENTIFIER; do journalctl -q -n 1 -o cat -t porthole-hook --output-fields=$name; done; }
sentence 'journald has the hooks line as of daemon, a warning, of porthole-hook' '0 3 4 porthole-hook' hooks

# --- rsyslogd, to which journald passes on ------------------------------------
printf '[Journal]\nForwardToSyslog=yes\n' >/etc/systemd/journald.conf
systemctl restart systemd-journald
systemctl enable --now rsyslog 2>/dev/null
sentence 'rsyslogd runs' '0 active' systemctl is-active rsyslog
sentence 'a command runs for it' '0 ' porthole exec web-0 -- true
wait_for grep -q 'end shop/web-0/app' /var/log/auth.log
sentence 'rsyslogd has it in authlog under its name' \
    '0 *porthole[[][1-9]*[]]: [[]porthole@32473 *event="end"*[]] end shop/web-0/app by root' \
    grep 'end shop/web-0/app' /var/log/auth.log
mkdir /run/alone
cat >/run/alone/conf <<'CONF'
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="/run/alone/log")
template(name="parts" type="string" string="%programname%|%procid%|%syslogfacility-text%|%syslogseverity-text%|%msg%\n")
*.* action(type="omfile" file="/run/alone/out" template="parts")
CONF
rsyslogd -f /run/alone/conf -i /run/alone/pid
wait_for test -S /run/alone/log
ln -sfn /run/alone/log /dev/log
sentence 'a command runs for it alone' '0 ' porthole exec web-0 -- true
wait_for grep -q 'end shop/web-0/app' /run/alone/out
sentence 'rsyslogd by itself tells its parts' '0 porthole|[1-9]*|authpriv|notice| [[]porthole@32473 *by root' \
    grep 'end shop/web-0/app' /run/alone/out
kill "$(cat /run/alone/pid)"
wait_for missing /run/alone/pid
sed -i 's/%programname%.*%msg%/%app-name%|%procid%|%msgid%|%structured-data%|%msg%/; s/Socket=/UseSpecialParser="off" &/' /run/alone/conf
rm -f /run/alone/log /run/alone/out
rsyslogd -f /run/alone/conf -i /run/alone/pid
wait_for test -S /run/alone/log
mkdir -p /etc/porthole
printf "[audit]\nformat = 'rfc5424'\n" >/etc/porthole/config.toml
sentence 'a command runs for one that expects RFC 5424' '0 ' porthole exec web-0 -- true
wait_for grep -q 'end shop/web-0/app' /run/alone/out
sentence 'rsyslogd that expects it takes RFC 5424 apart' \
    '0 porthole|[1-9]*|3|[[]porthole@32473 *event="end"*[]]|end shop/web-0/app by root' grep 'end shop/web-0/app' /run/alone/out
rm /etc/porthole/config.toml
ln -sfn /run/systemd/journal/dev-log /dev/log
kill "$(cat /run/alone/pid)"

# --- cgroup v2 ---------------------------------------------------------------
own() { echo "/sys/fs/cgroup$(cut -d: -f3 "/proc/$command/cgroup")"; }
limits() { for file in pids.max memory.max memory.swap.max cpu.weight; do cat "$(own)/$file"; done; }
left() { ls -d /sys/fs/cgroup/porthole/*-*; }
profile() { mkdir -p /etc/porthole/profiles.d && printf "extends = 'general'\n$2\n" >"/etc/porthole/profiles.d/$1.toml"; }
sentence 'of former commands no cgroup is left' '2 *No such file*' left
start porthole exec web-0 -- sleep 1000
sentence 'its limits are those of the profile' '0 512 1073741824 0 50' limits
systemctl daemon-reload
systemctl daemon-reexec
sentence 'systemd leaves them alone' '0 512 1073741824 0 50' limits
sentence 'the command dies with porthole' '0 ' dies
in_it() { porthole exec "$@" web-0 -- /bin/busybox cat /proc/self/cgroup; }
sentence 'nobody waits for it and it has a cgroup all the same' '0 0::/porthole/free-*' in_it -F
sentence 'with a pid namespace it has a cgroup of its own' '0 0::/porthole/exec-*' in_it -p
# Seen from the targets cgroup namespace.
sentence 'with all namespaces it has a cgroup of its own' '0 0::/../porthole/exec-*' in_it -a
sentence 'the targets cgroup is joined with all namespaces' '0 0::/' in_it -a --cgroup target
sentence 'the targets cgroup is joined on request' '0 0::/web-0' \
    porthole exec --cgroup target web-0 -- cat /proc/self/cgroup
profile small "memory = '16MiB'"
hog() { porthole exec --profile small web-0 -- dd if=/dev/zero of=/dev/null bs=64M count=1; }
sentence 'who takes too much memory is killed, and told so' '137 *used up its memory*' hog
sentence 'nobody else is' '0 1' sh -c "dmesg | grep -c 'Killed process'"
sentence 'who is killed for something else is not told so' '137 ' \
    porthole exec --profile small web-0 -- sh -c 'kill -9 $$'
profile few 'pids = 20'
start porthole exec --profile few web-0 -- sh -c 'bomb() { while :; do bomb & done; }; bomb & exec sleep 1000'
bomb=$(own)
sentence 'a fork bomb meets its limit' '0 ' wait_for grep -v 'max 0' "$bomb/pids.events"
sentence 'it gets no further' '0 ' sh -c "[ \$(cat $bomb/pids.current) -le 20 ]"
sentence 'the machine goes on' '0 running' systemctl is-system-running
kill -TERM "$porthole"
sentence 'it ends with exec' '0 ' wait_for missing "$bomb"
leave() { porthole exec "$@" web-0 -- sh -c '(trap "" TERM HUP; setsid sleep 4711 >/dev/null 2>&1 &); exit 3'; }
sentence 'a command leaves something in the background' '3 ' leave
sentence 'one with a pid namespace does' '3 ' leave -p
sentence 'one with all capabilities does' '3 ' leave --profile sysadmin
sentence 'that has ended with it' '1 ' sh -c 'grep -al 471[1] /proc/[0-9]*/cmdline'
start porthole exec web-0 -- sh -c 'setsid sleep 2000 & exec sleep 1000'
abandoned=$(own)
sentence 'porthole is killed' '0 ' dies
# Which does not wait for one that is slow to die.
swept() { porthole exec web-0 -- true && missing "$abandoned"; }
sentence 'a later exec ends what the killed one left' '0 ' wait_for swept
many() {
    pids=
    for _ in $(seq 20); do
        porthole exec web-0 -- sh -c 'exec grep -q ::/porthole/exec- /proc/self/cgroup' &
        pids="$pids $!"
    done
    for pid in $pids; do wait "$pid" || return; done
}
sentence 'twenty at once have one each' '0 ' many
sentence 'a timeout ends a command' '124 *' porthole exec --timeout 300ms web-0 -- sleep 1000
detached=$(porthole exec --detach web-0 -- sh -c 'exec sleep 1000 >/dev/null 2>&1')
sentence 'a detached command runs on in a cgroup' '0 0::/porthole/free-*' cat "/proc/$detached/cgroup"
kill -9 "$detached"
wait_for missing "/proc/$detached"
sentence 'an exec after its end runs' '0 ' porthole exec web-0 -- true
sentence 'no cgroup is left' '2 *No such file*' left

# --- no loop, no failure -----------------------------------------------------
sentence 'the pin that the service made has not started it again' "0 $adopted" runs
ip netns del cni-1
sentence 'a network namespace that goes starts the service' '0 ' wait_for ran_since "$adopted"
sentence 'the pin of a container that is dead has gone' '0 web-0' ls /run/netns
seconds() { cut -d. -f1 /proc/uptime; }
before=$(runs) began=$(seconds)
for number in $(seq 300); do : >"/run/netns/file$number"; done
rm /run/netns/file*
for number in $(seq 50); do
    ip netns add "n$number"
    ip netns del "n$number"
done
sentence 'hundreds of changes start it' '0 ' wait_for ran_since "$before"
spaced() { [ $((2 * ($(runs) - before))) -le $(($(seconds) - began + 1)) ]; }
sentence 'it runs no more often than every two seconds' '0 ' spaced
sentence 'the path unit goes on' '0 active waiting' systemctl show -P ActiveState -P SubState $path
systemctl start --no-block $service
wait_for sh -c "systemctl show -P MainPID $service | grep -v '^0'"
sentence 'to stop a run is no failure' '0 *success' sh -c "systemctl stop $service && systemctl show -P Result $service"
mv /usr/bin/porthole /usr/bin/porthole.away
: >/run/netns/x
sentence 'without porthole the service is left out' '0 ' wait_for sh -c "systemctl show -P ConditionResult $service | grep no"
sentence 'nothing has failed' '0 ' systemctl list-units --no-legend --failed
sentence 'systemd has no complaint' '1 ' complaints
rm /run/netns/x
printf '#!/bin/sh\nexit 1\n' >/usr/bin/porthole
chmod +x /usr/bin/porthole
sentence 'a porthole that fails is a failure of the service' '1 *failed*' systemctl start $service
mv /usr/bin/porthole.away /usr/bin/porthole
sentence 'doctor tells of the failure' '0 *warn*service: has failed (exit-code)*journalctl -u*' porthole doctor units

# --- uninstall ---------------------------------------------------------------
sentence 'uninstall takes the units away' '0 *nothing of porthole*is left programs stay*' porthole uninstall
sentence 'systemd knows no file of them' '0 ' unit_files
sentence 'systemd knows no unit of them' '0 ' systemctl list-units --all --no-legend 'porthole*'
sentence 'systemd is content without them' '0 running' systemctl is-system-running
sentence 'no pin is left' '0 ' ls /run/netns
crun delete --force web-0
runc delete --force web-1
