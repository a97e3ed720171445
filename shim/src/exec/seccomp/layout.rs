//! The program: a search tree over ranges of numbers, with seccompiler's conditions at its leaves.
//!
//! seccompiler's own layout compares with one number after the other, in five instructions each: 1,600 for these lists.
//! The kernel checks and translates each of them, then runs the filter once for every number there is, to know which it
//! need not ask again. The tree has some 160, and finds a leaf in some ten.

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
    If(&'static Condition),
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

/// The architecture that porthole was built for.
pub(crate) const ARCHITECTURE: TargetArch =
    if cfg!(target_arch = "aarch64") { TargetArch::aarch64 } else { TargetArch::x86_64 };

/// The program for `verdicts`, in the order of their numbers; EPERM for all other numbers.
pub(crate) fn assemble(verdicts: &[(u32, Verdict)]) -> Result<BpfProgram, BackendError> {
    let mut backwards = Backwards::default();
    let root = backwards.tree(&ranges(verdicts))?;
    let killed = backwards.answer(SECCOMP_RET_KILL_PROCESS);
    let skipped = backwards.leaf(&Verdict::Deny(Error::Enosys))?;
    let foreign = backwards.branch(JUMP_IF_EQUAL, SKIPPED, skipped, killed)?;
    backwards.branch(JUMP_IF_AT_LEAST, FOREIGN, foreign, root)?;
    let mut program = head()?;
    program.push(step(LOAD, 0));
    program.extend(backwards.program.into_iter().rev());
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
fn ranges(verdicts: &[(u32, Verdict)]) -> Vec<(u32, Verdict)> {
    let denied = Verdict::Deny(Error::Eperm);
    let mut ranges = vec![(0, denied)];
    let mut push = |start: u32, verdict: Verdict| match ranges.last_mut() {
        Some((_, last)) if *last == verdict => {}
        Some((begins, last)) if *begins == start => *last = verdict,
        _ => ranges.push((start, verdict)),
    };
    let mut next = 0;
    for &(number, verdict) in verdicts {
        if number != next {
            push(next, denied);
        }
        push(number, verdict);
        next = number + 1;
    }
    push(next, denied);
    ranges
}

/// A program made from its end, since jumps lead forward: a place is how many instructions come after it.
#[derive(Default)]
struct Backwards {
    program: BpfProgram,
    /// Where what is looked at for several calls is.
    conditions: Vec<(&'static Condition, usize)>,
}

impl Backwards {
    fn push(&mut self, instruction: sock_filter) -> usize {
        self.program.push(instruction);
        self.program.len() - 1
    }

    /// An answer that is there already is used again, if a branch can reach it.
    fn answer(&mut self, answer: u32) -> usize {
        let same = self.program.iter().rposition(|instruction| *instruction == step(RETURN, answer));
        same.unwrap_or_else(|| self.push(step(RETURN, answer)))
    }

    fn tree(&mut self, ranges: &[(u32, Verdict)]) -> Result<usize, BackendError> {
        let (lower, upper) = ranges.split_at(ranges.len() / 2);
        match (lower, upper) {
            (_, []) => self.leaf(&Verdict::Deny(Error::Eperm)),
            ([], [(_, verdict), ..]) => self.leaf(verdict),
            (_, [(pivot, _), ..]) => {
                let (below, above) = (self.tree(lower)?, self.tree(upper)?);
                self.branch(JUMP_IF_AT_LEAST, *pivot, above, below)
            }
        }
    }

    fn leaf(&mut self, verdict: &Verdict) -> Result<usize, BackendError> {
        let condition = match *verdict {
            Verdict::Allow => return Ok(self.answer(SECCOMP_RET_ALLOW)),
            Verdict::Deny(error) => return Ok(self.answer(SECCOMP_RET_ERRNO | error.number())),
            Verdict::If(condition) => condition,
        };
        if let Some((_, place)) = self.conditions.iter().find(|(there, _)| *there == condition) {
            return Ok(*place);
        }
        let mut program = Vec::new();
        for rule in condition.rules()? {
            // A rule begins with a jump over another, which nothing leads to.
            program.extend(BpfProgram::from(rule).into_iter().skip(2));
            program.push(step(RETURN, SECCOMP_RET_ALLOW));
        }
        program.push(step(RETURN, SECCOMP_RET_ERRNO | condition.error.number()));
        self.program.extend(program.into_iter().rev());
        let place = self.program.len() - 1;
        self.conditions.push((condition, place));
        Ok(place)
    }

    fn branch(&mut self, code: u16, k: u32, yes: usize, no: usize) -> Result<usize, BackendError> {
        let (yes, no) = (self.within_reach(yes)?, self.within_reach(no)?);
        let (jt, jf) = (self.distance(yes)?, self.distance(no)?);
        Ok(self.push(sock_filter { code, jt, jf, k }))
    }

    /// A branch leads no further than 255 instructions, a jump anywhere.
    fn within_reach(&mut self, place: usize) -> Result<usize, BackendError> {
        let distance = self.program.len() - 1 - place;
        // The other side of the branch may need a jump too.
        if distance < usize::from(u8::MAX) {
            return Ok(place);
        }
        let distance = u32::try_from(distance).map_err(|_| BackendError::FilterTooLarge(distance))?;
        Ok(self.push(step(JUMP, distance)))
    }

    fn distance(&self, place: usize) -> Result<u8, BackendError> {
        let distance = self.program.len() - 1 - place;
        u8::try_from(distance).map_err(|_| BackendError::FilterTooLarge(distance))
    }
}
