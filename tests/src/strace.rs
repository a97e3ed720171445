//! Killing a program at every one of its system calls, by strace's fault injection.

use std::collections::HashMap;
use std::fs;

use crate::HookRun;

/// Calls about memory and locks of the program's own. Which of them a thread makes depends on what another one does
/// meanwhile, and a kill at one leaves what a kill at the next other call leaves.
const OWN: [&str; 6] = ["brk", "futex", "madvise", "mmap", "mprotect", "munmap"];

/// One system call of a run: its name, and which call of that name it is, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// As strace names it.
    pub name: String,
    /// Counted among the calls of this name.
    pub nth: usize,
    /// The whole line, for messages.
    pub line: String,
}

/// Traces one whole run and returns its steps, from after the program was loaded to its end.
#[must_use]
pub fn steps(run: HookRun) -> Vec<Step> {
    let file = "/mnt/strace.out";
    run.under(&["strace", "-qq", "-s", "80", "-o", file, "--"]).run().expect_success();
    let text = fs::read_to_string(file).expect("read the trace");
    let mut counts = HashMap::new();
    let mut steps = Vec::new();
    for line in text.lines() {
        let Some((name, _)) = line.split_once('(') else { continue };
        let nth = counts.entry(name.to_owned()).and_modify(|n| *n += 1).or_insert(1_usize);
        steps.push(Step { name: name.to_owned(), nth: *nth, line: line.to_owned() });
    }
    let loaded = steps.iter().position(|step| step.name == "execve").map_or(0, |at| at + 1);
    let mut steps = steps.split_off(loaded);
    steps.retain(|step| !OWN.contains(&step.name.as_str()));
    steps
}

/// Runs it and kills it as it enters `step`, which is then not done.
///
/// # Panics
/// When it was not killed: it makes other calls than it made when it was traced.
pub fn kill_at(run: HookRun, step: &Step) {
    let inject = format!("inject={}:signal=KILL:when={}", step.name, step.nth);
    let outcome = run.under(&["strace", "-qq", "-o", "/dev/null", "-e", &inject, "--"]).run();
    // strace ends as its program did.
    assert!(!outcome.status.success(), "not killed at {}: {outcome:?}", step.line);
}
