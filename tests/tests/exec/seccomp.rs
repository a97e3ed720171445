//! The filter of system calls: what it answers, what it kills, what works in spite of it.

mod lists;
mod others;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;

use porthole_tests::{Node, Outcome, on_a_node, requires, tools};
use serde_json::Value;

use crate::setting::{Running, exec, exec_in, field, output, web_0, work};
use lists::{ALLOWED, ANSWERS, DENIED, FAMILIES, TRACING};

const CONFINED: [&str; 4] = ["restricted", "general", "netadmin", "trace"];

/// The capabilities of another make no difference to the filter, but for packet sockets: with them all, it alone answers EPERM.
const POWERFUL: [&str; 4] = ["--cap-add", "ALL", "--uid", "0"];

fn prober(node: &Node) -> PathBuf {
    let program = work(node).join("prober");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/exec/seccomp/prober.c");
    let mut gcc = Command::new("gcc");
    gcc.args(["-static", "-O1", "-Wall", "-Werror", "-o"]).arg(&program).arg(source);
    tools::run(gcc).expect_success();
    program
}

fn probe(node: &Node, options: &[&str], argument: &[&str]) -> Outcome {
    let program = work(node).join("prober");
    let here = work(node);
    // For root, whom a view shows no working directory.
    let shown = if options.contains(&"sysadmin") { &[][..] } else { &["--writable", here.to_str().unwrap()] };
    let command = [options, shown, &["web-0", "--", program.to_str().unwrap()], argument].concat();
    exec_in(&here, &command)
}

fn answers(outcome: &Outcome) -> BTreeMap<String, String> {
    let pairs = outcome.expect_success().lines().filter_map(|line| line.split_once(' '));
    pairs.map(|(call, answer)| (call.to_owned(), answer.to_owned())).collect()
}

fn each_call_answers_what_the_reference_says(node: &Node) {
    requires!(gcc);
    let container = web_0(node);
    prober(node);
    let without = answers(&probe(node, &["--profile", "sysadmin"], &[]));
    for (profile, more) in
        CONFINED.iter().flat_map(|profile| [(*profile, &[][..]), (*profile, &POWERFUL[..])])
    {
        let with = answers(&probe(node, &[&["--profile", profile], more].concat(), &[]));
        let (tracing, raw) = (profile == "trace", profile != "restricted" || !more.is_empty());
        let expected = |call: &str| match call {
            "clone3" => Some("ENOSYS"),
            "socket:PACKET" => (!raw).then_some("EAFNOSUPPORT"),
            _ if FAMILIES.contains(&call) => Some("EAFNOSUPPORT"),
            _ if TRACING.contains(&call) => (!tracing).then_some("EPERM"),
            _ if DENIED.contains(&call) => Some("EPERM"),
            _ if ALLOWED.contains(&call) => None,
            _ => panic!("{call}: is it to be denied?"),
        };
        assert_eq!(with.len(), without.len(), "{profile}: {with:?}");
        for (call, answer) in &with {
            match expected(call) {
                Some(wanted) => assert_eq!(answer, wanted, "{profile} {more:?}: {call}"),
                None => assert_eq!(answer, &without[call], "{profile} {more:?}: {call} as without a filter"),
            }
        }
    }
    // Were it not for the filter, the kernel would answer otherwise. Of modules and ports it may know nothing.
    for (call, answer) in without.iter().filter(|(_, answer)| *answer != "ENOSYS") {
        assert!(!ANSWERS.contains(&answer.as_str()), "{call} answers {answer} even without a filter");
    }
    container.delete();
}

fn a_call_of_another_architecture_kills(node: &Node) {
    requires!(gcc);
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let container = web_0(node);
    prober(node);
    for profile in CONFINED {
        for call in ["int80", "x32"] {
            let outcome = probe(node, &["--profile", profile], &[call]);
            assert_eq!(outcome.status.code(), Some(128 + 31), "{profile}: {call}: SIGSYS: {outcome:?}");
            assert_eq!(outcome.stdout, "", "{profile}: {call}");
        }
        assert_eq!(
            probe(node, &["--profile", profile], &["skipped"]).expect_success(),
            "ENOSYS\n",
            "{profile}"
        );
        let direct = probe(node, &["-F", "--profile", profile], &["int80"]);
        assert_eq!(direct.status.signal(), Some(31), "{profile}: without a process between: {direct:?}");
    }
    let without = probe(node, &["--profile", "sysadmin"], &["int80"]);
    assert!(!without.status.success() || !without.stdout.is_empty(), "{without:?}");
    assert_ne!(without.status.code(), Some(128 + 31), "{without:?}");
    container.delete();
}

fn the_filter_is_in_force_in_every_profile_but_sysadmin(node: &Node) {
    let container = web_0(node);
    for profile in CONFINED {
        for options in [&["-n"][..], &["-p"], &["-a"], &["--uid", "0"]] {
            let words = [&["--profile", profile], options, &["web-0", "--", "sleep", "1000"]].concat();
            let running = Running::start(&words, "sleep");
            let status = fs::read_to_string(format!("/proc/{}/status", running.command().unwrap())).unwrap();
            assert_eq!(field(&status, "Seccomp"), "2", "{profile} {options:?}");
            assert!(field(&status, "Seccomp_filters").parse::<u32>().unwrap() >= 1, "{profile} {options:?}");
            assert_eq!(field(&status, "NoNewPrivs"), "1", "{profile} {options:?}");
        }
    }
    let status = output(&["--profile", "sysadmin", "web-0", "--", "cat", "/proc/self/status"]);
    assert_eq!(field(&status, "Seccomp"), "0", "as nsenter");
    container.delete();
}

fn what_the_command_starts_is_filtered_too(node: &Node) {
    let container = web_0(node);
    let status = output(&["web-0", "--", "sh", "-c", "sh -c 'cat /proc/self/status' | cat"]);
    assert_eq!(field(&status, "Seccomp"), "2");
    let unshare = exec(&["web-0", "--", "unshare", "-U", "true"]);
    assert!(!unshare.status.success() && unshare.stderr.contains("Operation not permitted"), "{unshare:?}");
    container.delete();
}

fn explain_shows_the_list(node: &Node) {
    let container = web_0(node);
    let plan = |profile: &str| -> Value {
        let text = output(&["-o", "json", "--explain", "--profile", profile, "web-0", "true"]);
        serde_json::from_str::<Value>(&text).unwrap()["seccomp"].clone()
    };
    let has = |list: &Value, call: &str| list.as_array().unwrap().contains(&call.into());
    for profile in CONFINED {
        let seccomp = plan(profile);
        assert_eq!(seccomp["mode"], "on", "{profile}");
        assert_eq!(seccomp["list"], profile);
        assert_eq!(seccomp["architecture"], std::env::consts::ARCH);
        assert_eq!(seccomp["default"], "EPERM");
        assert!(has(&seccomp["allowed"], "execve") && has(&seccomp["denied"], "bpf"), "{seccomp}");
        let traces = ["allowed", "denied"].map(|list| has(&seccomp[list], "ptrace"));
        assert_eq!(traces, [profile == "trace", profile != "trace"], "{profile}");
        assert!(seccomp["conditions"]["clone"].as_str().unwrap().contains("CLONE_NEWUSER"), "{seccomp}");
        let packets = seccomp["conditions"]["socket"].as_str().unwrap().contains("AF_PACKET");
        assert_eq!(packets, profile != "restricted", "{profile}");
        assert_eq!(seccomp["missing"], serde_json::json!(["clone3"]));
    }
    assert_eq!(plan("sysadmin"), serde_json::json!({ "mode": "off" }));
    let table = output(&["--explain", "web-0", "true"]);
    assert!(table.contains("\nsystem calls list general: "), "{table}");
    let table = output(&["--explain", "--profile", "sysadmin", "web-0", "true"]);
    assert!(table.contains("\nsystem calls all: the profile has no filter\n"), "{table}");
    container.delete();
}

/// Has each line of shell succeed under each profile.
#[track_caller]
fn works(profiles: &[&str], options: &[&str], lines: &[&str]) {
    for profile in profiles {
        for line in lines {
            let words = [&["--profile", profile], options, &["web-0", "--", "sh", "-ec", line]].concat();
            let outcome = exec(&words);
            assert!(
                outcome.status.success(),
                "{profile}: {line}: {}\n{}{}",
                outcome.status,
                outcome.stdout,
                outcome.stderr
            );
        }
    }
}

fn shells_languages_and_runtimes_work(node: &Node) {
    requires!(bash, perl, python3, runc, ps);
    let container = web_0(node);
    works(
        &CONFINED,
        &[],
        &[
            "test \"$(ls / | wc -l)\" -gt 1; ps -ef | grep -q ps",
            "bash -c 'coproc cat; echo x >&${COPROC[1]}; read -r line <&${COPROC[0]}; test $line = x; echo <(true)'",
            "perl -e 'use Socket; socketpair(my $a, my $b, AF_UNIX, SOCK_STREAM, 0) or die; exit(system(\"true\"))'",
            // Threads, subprocesses, shared memory, timers.
            "/usr/bin/python3 -c '
import asyncio, mmap, multiprocessing, signal, subprocess, threading
t = threading.Thread(target=lambda: subprocess.run([\"true\"], check=True)); t.start(); t.join()
mmap.mmap(-1, 4096)
p = multiprocessing.Process(target=print); p.start(); p.join(); assert p.exitcode == 0
asyncio.run(asyncio.sleep(0.01))
signal.setitimer(signal.ITIMER_REAL, 10)'",
            "runc --version",
        ],
    );
    container.delete();
}

fn tools_for_the_network_work(node: &Node) {
    requires!(busybox, curl, dig, nc, openssl);
    let container = web_0(node);
    works(
        &CONFINED,
        &["-w=/tmp"],
        &[
            "busybox httpd -f -p 127.0.0.1:8000 -h /etc & trap 'kill $!' EXIT; \
             curl -sS --retry 20 --retry-connrefused --retry-delay 0 http://127.0.0.1:8000/hosts | grep -q localhost",
            "nc -l 127.0.0.1 8001 </dev/null & trap 'kill $! || true' EXIT; \
             for try in 1 2 3 4 5 6 7 8 9; do echo | nc -N 127.0.0.1 8001 && exit; sleep 0.1; done; false",
            "dig +time=1 +tries=1 -p 8053 @127.0.0.1 example.org || test $? = 9",
            "openssl s_client -connect 127.0.0.1:8443 </dev/null 2>&1 | grep -q refused",
            "ip -br addr | grep -q lo; ip -d link; ip route; ip neigh",
            "ss -tulpan; ss -0; ss -x",
            "tc qdisc show; tc -s filter show dev lo",
        ],
    );
    works(&["general"], &[], &["busybox nslookup -type=a localhost 127.0.0.1 || test $? = 1"]);
    container.delete();
}

fn packets_can_be_seen_with_net_raw(node: &Node) {
    requires!(ping, tcpdump, traceroute);
    let container = web_0(node);
    works(
        &["general", "netadmin", "trace"],
        &[],
        &[
            "ping -c 1 -W 1 127.0.0.1",
            "traceroute -n -m 2 127.0.0.1; traceroute -n -I -m 2 127.0.0.1",
            "tcpdump -D | grep -q lo",
            // A ring that is mapped, with the program that the expression compiles to.
            "tcpdump -i lo -n -c 1 -w /tmp/porthole-$$.pcap icmp & \
             for try in 1 2 3 4 5 6 7 8 9 10; do ping -c 1 127.0.0.1 >&2; kill -0 $! || break; sleep 0.1; done; \
             wait $!; test -s /tmp/porthole-$$.pcap; rm /tmp/porthole-$$.pcap",
        ],
    );
    works(&["general"], &["--uid", "0"], &["ping -c 1 -W 1 127.0.0.1", "tcpdump -D"]);
    container.delete();
}

fn the_network_can_be_changed_with_net_admin(node: &Node) {
    requires!(ip, iptables, nft, tcpdump);
    let container = web_0(node);
    works(
        &["netadmin"],
        &["--uid", "0"],
        &[
            "ip link add porthole0 type veth peer name porthole1; ip link set porthole0 up; ip addr add 192.0.2.1/24 dev porthole0; \
             ip route add 198.51.100.0/24 dev porthole0; ip link del porthole0",
            "iptables -w -S",
            "nft list ruleset",
        ],
    );
    container.delete();
}

fn processes_can_be_traced_with_trace(node: &Node) {
    requires!(gdb, strace);
    let container = web_0(node);
    works(
        &["trace"],
        &["-p"],
        &[
            "strace -f -o /dev/null sh -c 'true | true'",
            "strace -f -o /dev/null -e inject=getcwd:error=ENOENT sh -c 'true'",
            "gdb -batch -ex run -ex bt /bin/true 2>&1 | tee /dev/stderr | grep -q 'exited normally'",
        ],
    );
    works(
        &["trace"],
        &["-p", "--uid", "0"],
        &[
            "sleep 1000 & pid=$!; timeout 1 strace -o /dev/null -p $pid || test $? = 124 -o $? = 143; kill $pid",
        ],
    );
    let outcome = exec(&["--profile", "general", "web-0", "--", "strace", "true"]);
    assert!(!outcome.status.success() && outcome.stderr.contains("Operation not permitted"), "{outcome:?}");
    container.delete();
}

on_a_node!(requires(root, ip, runc):
    each_call_answers_what_the_reference_says,
    a_call_of_another_architecture_kills,
    the_filter_is_in_force_in_every_profile_but_sysadmin,
    what_the_command_starts_is_filtered_too,
    explain_shows_the_list,
    shells_languages_and_runtimes_work,
    tools_for_the_network_work,
    packets_can_be_seen_with_net_raw,
    the_network_can_be_changed_with_net_admin,
    processes_can_be_traced_with_trace,
);
