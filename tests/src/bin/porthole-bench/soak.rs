//! Many lives, several at once: nothing may be left.

use porthole_tests::{Node, leaks};

use crate::measure::Effort;
use crate::pods::Pods;
use crate::programs::Programs;
use crate::report::{Report, fact};

const AT_ONCE: usize = 8;
const CYCLES: usize = 10_000;

/// Registers and releases.
pub fn measure(programs: &Programs, node: &Node, effort: Effort, report: &mut Report) {
    let cycles = if effort.is_quick() { CYCLES / 50 } else { CYCLES };
    let pods = Pods::start(programs, node, 0, AT_ONCE);
    // What is made once and stays: the directories, the lock.
    pods.register(programs);
    pods.release(programs);
    node.expect_silence("all that was measured");
    let before = count(node);
    std::thread::scope(|scope| {
        for pod in pods.iter() {
            scope.spawn(move || {
                for _ in 0..cycles / AT_ONCE {
                    pod.register(programs);
                    pod.release(programs);
                }
            });
        }
    });
    let lines = node.log().len();
    let after = count(node);
    let names = ["mounts", "files and directories", "network namespaces that are pinned"];
    let mut facts: Vec<_> = names
        .iter()
        .zip(before.into_iter().zip(after))
        .map(|(what, (before, after))| fact(what, before, after))
        .collect();
    facts.push(fact("lines in the log", 0, lines));
    let text = format!(
        "{cycles} times createRuntime and poststop, {AT_ONCE} at once: what is there after, and was not before."
    );
    report.facts("Nothing is left", &text, &facts);
}

fn count(node: &Node) -> [usize; 3] {
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").expect("read mountinfo");
    let files = leaks::below(node.run_dir()).len() + leaks::below(node.netns_dir()).len();
    [mountinfo.lines().count(), files, node.pins().len()]
}
