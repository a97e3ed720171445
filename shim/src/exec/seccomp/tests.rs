//! The program is run here, by an interpreter of classic BPF, for every number there can be.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use libc::{SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, SeccompRule, sock_filter};

use super::condition::Test;
use super::layout::{ARCHITECTURE, FOREIGN};
use super::*;

/// The reference, whose tables are those of the code.
const DOCUMENT: &str = include_str!("../../../../docs/reference/seccomp.md");

const CONFINED: [Base; 4] = [Base::Restricted, Base::General, Base::Netadmin, Base::Trace];

/// What the audit subsystem calls this architecture.
const NATIVE: u32 = if cfg!(target_arch = "aarch64") { 0xc000_00b7 } else { 0xc000_003e };

const EVERYWHERE: Reach = Reach { ipc: true, unix: true };
const NOWHERE: Reach = Reach { ipc: false, unix: false };

fn list(profile: Base) -> List {
    list_within(profile, EVERYWHERE)
}

fn list_within(profile: Base, reach: Reach) -> List {
    match Filter::resolve(profile, profile.capabilities(), reach) {
        Filter::On(list) => list,
        Filter::Off => panic!("{profile:?} has no filter"),
    }
}

fn program(list: List) -> BpfProgram {
    Filter::On(list).compile().unwrap().unwrap()
}

/// As linux/filter.h says, over a `struct seccomp_data`: the answer, and how many instructions it took.
fn run(program: &[sock_filter], architecture: u32, number: u32, arguments: [u64; 6]) -> (u32, usize) {
    let mut data = [0; 16];
    data[0] = number;
    data[1] = architecture;
    for (at, argument) in arguments.iter().enumerate() {
        data[4 + 2 * at] = u32::try_from(argument & 0xffff_ffff).unwrap();
        data[5 + 2 * at] = u32::try_from(argument >> 32).unwrap();
    }
    let (mut accumulator, mut at, mut steps) = (0, 0, 0);
    loop {
        let sock_filter { code, jt, jf, k } = program[at];
        at += 1;
        steps += 1;
        let mut branch = |taken: bool| at += usize::from(if taken { jt } else { jf });
        match code {
            0x20 => accumulator = data[usize::try_from(k / 4).unwrap()],
            0x54 => accumulator &= k,
            0x05 => at += usize::try_from(k).unwrap(),
            0x15 => branch(accumulator == k),
            0x25 => branch(accumulator > k),
            0x35 => branch(accumulator >= k),
            0x06 => return (k, steps),
            other => panic!("no such instruction as {other:#x}"),
        }
    }
}

fn answer(program: &[sock_filter], number: u32, arguments: [u64; 6]) -> u32 {
    run(program, NATIVE, number, arguments).0
}

fn errno(error: Error) -> u32 {
    SECCOMP_RET_ERRNO | error.number()
}

fn number(name: &str) -> u32 {
    let mut calls = GROUPS.iter().flat_map(|group| group.calls);
    calls.find(|call| call.name() == name).and_then(|call| call.number).unwrap_or_else(|| panic!("no {name}"))
}

/// All lists that there are.
fn lists() -> impl Iterator<Item = List> {
    CONFINED.into_iter().flat_map(|profile| [EVERYWHERE, NOWHERE].map(|reach| list_within(profile, reach)))
}

/// Arguments at which some condition changes its mind: each two values together, since a condition asks for two.
fn arguments() -> Vec<[u64; 6]> {
    let mut values = BTreeSet::from([0, 1, 17, 0xffff_ffff]);
    for condition in lists().flat_map(List::conditions) {
        for argument in condition.1.all {
            let (Test::Among(named) | Test::Outside(named) | Test::Without(named)) = argument.test;
            values.extend(named.iter().map(|(_, value)| u64::from(*value)));
        }
    }
    let truncated: Vec<u64> = values.iter().map(|value| value | 1 << 32).collect();
    values.extend(truncated);
    let pair = |first: u64| values.iter().map(move |second| [first, *second, 1, 1, 1, 1]);
    values.iter().copied().flat_map(pair).collect()
}

#[test]
fn the_tree_answers_as_the_compilers_own_program_does() {
    let arguments = arguments();
    for list in lists() {
        let rules: BTreeMap<i64, Vec<SeccompRule>> = list
            .verdicts()
            .into_iter()
            .filter_map(|(number, verdict)| match verdict {
                Verdict::Allow => Some((i64::from(number), Vec::new())),
                Verdict::If(condition) => Some((i64::from(number), condition.rules().unwrap())),
                Verdict::Deny(_) => None,
            })
            .collect();
        let (no, yes) = (SeccompAction::Errno(Error::Eperm.number()), SeccompAction::Allow);
        let chain: BpfProgram = SeccompFilter::new(rules, no, yes, ARCHITECTURE).unwrap().try_into().unwrap();
        let tree = program(list);
        let allowed = |program: &[sock_filter], number, arguments| {
            answer(program, number, arguments) == SECCOMP_RET_ALLOW
        };
        let looked_at: BTreeSet<_> = list.conditions().iter().map(|(name, _)| number(name)).collect();
        for number in (0..2048).chain(FOREIGN - 8..FOREIGN) {
            let of_interest = if looked_at.contains(&number) { usize::MAX } else { 1 };
            for arguments in arguments.iter().copied().take(of_interest) {
                let (by_tree, by_chain) =
                    (allowed(&tree, number, arguments), allowed(&chain, number, arguments));
                assert_eq!(by_tree, by_chain, "{list:?}: {number} {arguments:x?}");
            }
        }
    }
}

#[test]
fn what_is_in_no_list_is_denied() {
    for profile in CONFINED {
        let program = program(list(profile));
        let verdicts: BTreeMap<_, _> = list(profile).verdicts().into_iter().collect();
        for number in (0..4096).filter(|number| !verdicts.contains_key(number)) {
            assert_eq!(answer(&program, number, [0; 6]), errno(Error::Eperm), "{profile:?}: {number}");
        }
    }
}

#[test]
fn other_architectures_and_x32_are_killed() {
    let program = program(list(Base::Trace));
    for foreign in [0x4000_0003, 0x4000_0028, 0xc000_00f3, NATIVE ^ 0x4000_0000, 0] {
        assert_eq!(run(&program, foreign, number("read"), [0; 6]).0, SECCOMP_RET_KILL_PROCESS, "{foreign:x}");
    }
    for x32 in [FOREIGN, FOREIGN | 1, FOREIGN | 512, 0x7fff_ffff, 0x8000_0000, u32::MAX - 1] {
        assert_eq!(answer(&program, x32, [0; 6]), SECCOMP_RET_KILL_PROCESS, "{x32:x}");
    }
    assert_eq!(answer(&program, u32::MAX, [0; 6]), errno(Error::Enosys), "a call that a tracer leaves out");
}

#[test]
fn every_number_that_the_kernel_gave_away_is_in_one_group() {
    let mut seen = BTreeMap::new();
    for call in GROUPS.iter().flat_map(|group| group.calls) {
        if let Some(number) = call.number {
            assert_eq!(seen.insert(number, call.name()), None, "{} is there twice", call.name());
        }
    }
    let old = if cfg!(target_arch = "x86_64") { 0..335 } else { 0..292 };
    // Calls for modules that went before Linux 2.6, and numbers that aarch64 reserved and never used.
    let unused = |number: &u32| match number {
        174 | 177 | 178 => cfg!(target_arch = "x86_64"),
        244..260 => cfg!(target_arch = "aarch64"),
        _ => false,
    };
    for number in old.chain(424..470).filter(|number| !unused(number)) {
        assert!(seen.contains_key(&number), "{number} is neither allowed nor denied by name");
    }
}

#[test]
fn clone_makes_processes_and_no_namespace() {
    let program = program(list(Base::Netadmin));
    let clone = |flags: u64| answer(&program, number("clone"), [flags, 0, 0, 0, 0, 0]);
    let flags = |flags: libc::c_int| u64::from(u32::try_from(flags).unwrap());
    let of_a_thread =
        libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
    assert_eq!(clone(flags(libc::SIGCHLD)), SECCOMP_RET_ALLOW);
    assert_eq!(clone(flags(of_a_thread)), SECCOMP_RET_ALLOW);
    for namespace in [
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWNS,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWCGROUP,
    ] {
        assert_eq!(clone(flags(namespace | libc::SIGCHLD)), errno(Error::Eperm), "{namespace:x}");
        assert_eq!(clone(flags(namespace) | 1 << 40), errno(Error::Eperm), "the kernel looks at 32 bits");
    }
    assert_eq!(answer(&program, number("clone3"), [0; 6]), errno(Error::Enosys));
}

#[test]
fn nothing_is_typed_into_a_terminal() {
    let program = program(list(Base::Trace));
    let ioctl = |request: u64| answer(&program, number("ioctl"), [0, request, 0, 0, 0, 0]);
    // C libraries do not agree on its type.
    let low = |request: libc::Ioctl| u64::try_from(i128::from(request) & 0xffff_ffff).unwrap();
    for request in [libc::TIOCSTI, 0x541c] {
        let request = low(request);
        assert_eq!(ioctl(request), errno(Error::Eperm));
        assert_eq!(ioctl(request | 1 << 32), errno(Error::Eperm), "the kernel looks at 32 bits");
    }
    assert_eq!(ioctl(low(libc::TCGETS)), SECCOMP_RET_ALLOW);
    assert_eq!(ioctl(low(libc::TIOCGWINSZ)), SECCOMP_RET_ALLOW);
}

#[test]
fn tracing_is_for_trace_and_packets_are_for_who_may_see_them() {
    let family = |list: List, family: libc::c_int| {
        answer(&program(list), number("socket"), [u64::try_from(family).unwrap(), 3, 0, 0, 0, 0])
    };
    for profile in CONFINED {
        let traces = answer(&program(list(profile)), number("ptrace"), [0; 6]) == SECCOMP_RET_ALLOW;
        assert_eq!(traces, profile == Base::Trace);
        let packets = family(list(profile), libc::AF_PACKET) == SECCOMP_RET_ALLOW;
        assert_eq!(packets, profile != Base::Restricted, "{profile:?}");
        for other in
            [libc::AF_ALG, libc::AF_VSOCK, libc::AF_BLUETOOTH, libc::AF_XDP, libc::AF_KEY, libc::AF_RDS]
        {
            assert_eq!(family(list(profile), other), errno(Error::Eafnosupport), "{profile:?}: {other}");
        }
    }
    let raw = Base::General.capabilities();
    let of = |capabilities| Filter::resolve(Base::Restricted, capabilities, EVERYWHERE);
    assert_ne!(of(raw), of(Capabilities::NONE));
    assert_eq!(Filter::resolve(Base::Sysadmin, Capabilities::ALL, NOWHERE), Filter::Off);
    assert!(Filter::Off.compile().unwrap().is_none());
}

#[test]
fn limits_and_schedules_are_its_own() {
    let program = program(list(Base::Trace));
    let ask = |name, first: u64, second: u64| answer(&program, number(name), [first, second, 1, 1, 1, 1]);
    let (yes, no) = (SECCOMP_RET_ALLOW, errno(Error::Eperm));
    for name in [
        "prlimit64",
        "sched_setaffinity",
        "sched_setscheduler",
        "sched_setparam",
        "sched_setattr",
        "get_robust_list",
    ] {
        assert_eq!(ask(name, 0, 7), yes, "{name}");
        assert_eq!(ask(name, 1 << 32, 7), yes, "{name}: the kernel looks at 32 bits");
        for other in [1, 4242, 0xffff_ffff] {
            assert_eq!(ask(name, other, 0), no, "{name}: {other}");
        }
    }
    // Of a process, of a group, of a user.
    for (name, process) in [("setpriority", 0), ("ioprio_set", 1)] {
        for which in 0..4 {
            for who in [0, 1, 4242] {
                let wanted = if which == process && who == 0 { yes } else { no };
                assert_eq!(ask(name, which, who), wanted, "{name}: {which} {who}");
            }
        }
    }
    for reading in ["sched_getaffinity", "sched_getscheduler", "getpriority", "ioprio_get"] {
        assert_eq!(ask(reading, 1, 4242), yes, "{reading}");
    }
    assert_eq!(ask("prctl", 62, 3), no, "a cookie");
    assert_eq!(ask("prctl", 15, 1), yes, "a name");
}

#[test]
fn what_is_the_hosts_is_reached_by_no_call() {
    let all = [
        "shmget",
        "shmat",
        "shmctl",
        "semget",
        "semop",
        "semtimedop",
        "semctl",
        "msgget",
        "msgsnd",
        "msgrcv",
        "msgctl",
        "mq_open",
        "mq_unlink",
    ];
    for profile in CONFINED {
        let (own, hosts) = (program(list(profile)), program(list_within(profile, NOWHERE)));
        for name in all {
            assert_eq!(answer(&own, number(name), [0; 6]), SECCOMP_RET_ALLOW, "{profile:?}: {name}");
            assert_eq!(answer(&hosts, number(name), [0; 6]), errno(Error::Eperm), "{profile:?}: {name}");
        }
        for name in ["socket", "socketpair"] {
            let family = |family: libc::c_int| {
                answer(&hosts, number(name), [u64::try_from(family).unwrap(), 1, 0, 0, 0, 0])
            };
            assert_eq!(family(libc::AF_UNIX), errno(Error::Eafnosupport), "{profile:?}: {name}");
            assert_eq!(family(libc::AF_INET), SECCOMP_RET_ALLOW, "{profile:?}: {name}");
        }
    }
}

#[test]
fn a_leaf_is_found_in_few_steps() {
    for list in lists() {
        let program = program(list);
        assert!(program.len() < 200, "{list:?}: {} instructions, each of which costs", program.len());
        let conditions: BTreeSet<_> = list.conditions().iter().map(|(name, _)| number(name)).collect();
        for number in (0..600).filter(|number| !conditions.contains(number)) {
            let (_, steps) = run(&program, NATIVE, number, [0; 6]);
            assert!(steps <= 16, "{list:?}: {number} takes {steps} steps");
        }
    }
}

#[test]
fn the_reference_has_the_tables_of_the_code() {
    let tables = tables();
    assert!(DOCUMENT.contains(&tables), "docs/reference/seccomp.md does not have these lines:\n\n{tables}");
}

fn tables() -> String {
    let name = |call: &Call| format!("`{}`{}", call.name(), if call.x86_64_only { "ˣ" } else { "" });
    let names = |group: &Group| group.calls.iter().map(name).collect::<Vec<_>>().join(" ");
    let mut text = String::from("| allowed, for | calls |\n|---|---|\n");
    for group in GROUPS.iter().filter(|group| matches!(group.rule, Rule::Allow)) {
        writeln!(text, "| {} | {} |", group.what, names(group)).unwrap();
    }
    text.push_str("\n| by argument | under | made when the argument |\n|---|---|---|\n");
    for group in GROUPS {
        let rows = match group.rule {
            Rule::If(condition) => vec![("every profile", condition)],
            Rule::Family => vec![
                ("NET_RAW", &FAMILIES_AND_PACKET),
                ("others", &FAMILIES),
                ("NET_RAW, without Unix sockets", &FAMILIES_AND_PACKET_NOT_UNIX),
                ("others, without Unix sockets", &FAMILIES_NOT_UNIX),
            ],
            Rule::IfOrTrace(usual, wider) => vec![("`trace`", wider), ("others", usual)],
            Rule::Allow | Rule::Trace | Rule::OwnIpc | Rule::Deny | Rule::Missing => Vec::new(),
        };
        for (under, condition) in rows {
            writeln!(text, "| {} | {under} | {condition} |", names(group)).unwrap();
        }
    }
    text.push_str("\n| denied on purpose | calls | answer |\n|---|---|---|\n");
    for group in GROUPS {
        let answer = match group.rule {
            Rule::Deny => "EPERM",
            Rule::Trace => "EPERM; made under `trace`",
            Rule::OwnIpc => "EPERM; made where `-i` joins an IPC namespace of the target's own",
            Rule::Missing => "ENOSYS",
            Rule::Allow | Rule::If(_) | Rule::Family | Rule::IfOrTrace(..) => continue,
        };
        writeln!(text, "| {} | {} | {answer} |", group.what, names(group)).unwrap();
    }
    text
}
