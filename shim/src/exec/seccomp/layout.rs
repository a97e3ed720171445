//! The program: seccompiler's conditions at the leaves of a search tree over ranges of numbers.
//!
//! seccompiler's own layout compares with one number after the other, in five instructions each: 1,600 for these lists.
//! The kernel runs a new filter once for every number there is, to know which it need not ask again, and translates
//! it into machine code: installing that takes longer than all else that an exec does. A tree has a tenth of the instructions and
//! needs eight to find a leaf.

use std::collections::BTreeMap;

use libc::{SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS};
use seccompiler::{BackendError, BpfProgram, SeccompAction, SeccompFilter, TargetArch, sock_filter};

use super::condition::{Condition, Error};

/// What becomes of the calls of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Made.
    Allow,
    /// Made, if the argument is right.
    If(Condition),
    /// Not made.
    Deny(Error),
}

/// Numbers from here on are no calls of this architecture: on x86-64 they are those of x32.
pub(crate) const FOREIGN: u32 = 0x4000_0000;
/// What a tracer makes of the number of a call that is to be left out.
const SKIPPED: u32 = u32::MAX;

/// Instructions of classic BPF, `linux/filter.h`.
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

const fn step(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

/// Goes on behind the next instruction when the comparison holds not.
const fn unless_next(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 1, k }
}

/// The architecture that porthole was built for.
pub(crate) const ARCHITECTURE: TargetArch =
    if cfg!(target_arch = "aarch64") { TargetArch::aarch64 } else { TargetArch::x86_64 };

/// The program for `verdicts`, by number; EPERM for all other numbers.
pub(crate) fn assemble(verdicts: &BTreeMap<u32, Verdict>) -> Result<BpfProgram, BackendError> {
    let mut program = head()?;
    program.push(step(LOAD, 0));
    let kill_or_skip = [
        unless_next(JUMP_IF_EQUAL, SKIPPED),
        step(RETURN, SECCOMP_RET_ERRNO | Error::Enosys.number()),
        step(RETURN, SECCOMP_RET_KILL_PROCESS),
    ];
    program.push(sock_filter { code: JUMP_IF_AT_LEAST, jt: 0, jf: 3, k: FOREIGN });
    program.extend(kill_or_skip);
    program.extend(tree(&ranges(verdicts))?);
    Ok(program)
}

/// The check of the architecture, which kills: what seccompiler begins every filter with, here one without calls.
fn head() -> Result<BpfProgram, BackendError> {
    let (none, all) = (SeccompAction::Errno(Error::Eperm.number()), SeccompAction::Allow);
    let mut program: BpfProgram = SeccompFilter::new(BTreeMap::new(), none, all, ARCHITECTURE)?.try_into()?;
    program.pop();
    Ok(program)
}

/// Neighbours with the same verdict become one, which begins at its first number.
fn ranges(verdicts: &BTreeMap<u32, Verdict>) -> Vec<(u32, Verdict)> {
    let denied = Verdict::Deny(Error::Eperm);
    let mut ranges = vec![(0, denied)];
    let mut push = |start: u32, verdict: Verdict| match ranges.last_mut() {
        Some((_, last)) if *last == verdict => {}
        Some((begins, last)) if *begins == start => *last = verdict,
        _ => ranges.push((start, verdict)),
    };
    let mut next = 0;
    for (&number, &verdict) in verdicts {
        if number != next {
            push(next, denied);
        }
        push(number, verdict);
        next = number + 1;
    }
    push(next, denied);
    ranges
}

fn tree(ranges: &[(u32, Verdict)]) -> Result<BpfProgram, BackendError> {
    let (lower, upper) = ranges.split_at(ranges.len() / 2);
    let Some((pivot, verdict)) = upper.first() else { return Ok(Vec::new()) };
    if lower.is_empty() {
        return leaf(verdict);
    }
    let below = tree(lower)?;
    let mut program = match u8::try_from(below.len()) {
        Ok(distance) => vec![sock_filter { code: JUMP_IF_AT_LEAST, jt: distance, jf: 0, k: *pivot }],
        // A conditional jump reaches no further than 255.
        Err(_) => {
            let distance =
                u32::try_from(below.len()).map_err(|_| BackendError::FilterTooLarge(below.len()))?;
            vec![unless_next(JUMP_IF_AT_LEAST, *pivot), step(JUMP, distance)]
        }
    };
    program.extend(below);
    program.extend(tree(upper)?);
    Ok(program)
}

fn leaf(verdict: &Verdict) -> Result<BpfProgram, BackendError> {
    Ok(match verdict {
        Verdict::Allow => vec![step(RETURN, SECCOMP_RET_ALLOW)],
        Verdict::Deny(error) => vec![step(RETURN, SECCOMP_RET_ERRNO | error.number())],
        Verdict::If(condition) => {
            let mut program = Vec::new();
            for rule in condition.rules()? {
                program.extend(BpfProgram::from(rule));
                program.push(step(RETURN, SECCOMP_RET_ALLOW));
            }
            program.push(step(RETURN, SECCOMP_RET_ERRNO | condition.error.number()));
            program
        }
    })
}
