//! The hook against a program that only reads its standard input, and against the same system calls in C.

use std::fs;
use std::process::Command;

use porthole_tests::Node;

use crate::measure::{Effort, in_turn};
use crate::pods::Pods;
use crate::programs::Programs;
use crate::report::{Report, Table};

const LIMIT: f64 = 1.8;

const WHY: &str = "\
Where the time goes: the C probe makes no more than the system calls that change something, and is the floor. Of the rest, \
the larger part is the start of a larger program (page faults of code that runs once, relocation of a static executable \
that can be loaded anywhere), the smaller one looking before and verifying after each change.";

/// Measures the stages.
pub fn measure(programs: &Programs, node: &Node, effort: Effort, report: &mut Report) {
    // Its namespace is the only one that is pinned at first, so `/run/netns` is there for the probe too.
    let pods = Pods::start(programs, node, 0, 2);
    let (mut all, probed) = (pods.iter(), "probed");
    let (pod, other) = (all.next().expect("a pod"), all.next().expect("another"));
    other.register(programs);
    for dir in ["containers", "netns"] {
        fs::create_dir_all(format!("/run/probe/{dir}")).expect("make the probe's directory");
    }
    let noop = || pod.instead(Programs::bare(&programs.noop));
    let probe = |args: &[&str]| {
        let mut command: Command = Programs::bare(&programs.probe);
        command.args(args);
        pod.instead(command)
    };
    let pid = pod.pid.to_string();
    let series = in_turn(effort, 60, || {
        [
            pod.register(programs),
            noop(),
            probe(&["create", &pid, probed]),
            pod.refresh(programs),
            noop(),
            pod.release(programs),
            noop(),
            probe(&["remove", probed]),
        ]
    });
    other.release(programs);
    fs::remove_dir_all("/run/probe").expect("remove the probe's directory");
    let [create, noop_1, probe_create, refresh, noop_2, stop, noop_3, probe_remove] = series;
    let mut table = Table::new();
    let nothing = "a program that reads stdin";
    table.limited(("createRuntime, pins", nothing), &create, &noop_1, LIMIT, WHY);
    table.limited(("poststart", nothing), &refresh, &noop_2, LIMIT, WHY);
    table.limited(("poststop, unpins", nothing), &stop, &noop_3, LIMIT, WHY);
    table.row("the floor: a C probe that pins", nothing, &probe_create, &noop_1);
    table.row("the floor: a C probe that unpins", nothing, &probe_remove, &noop_3);
    table.row("createRuntime, pins", "the C probe", &create, &probe_create);
    table.row("poststop, unpins", "the C probe", &stop, &probe_remove);
    let text = "From start to exit, against a static program in C that reads standard input to its end. The probe opens, \
                makes, mounts and renames what the hook does, with no parsing and no checks.";
    report.section("The hook", text, &table);
}
