//! The start and the end of a CRI pod through containerd, with the hook and without.

use std::fs;
use std::time::Duration;

use porthole_registry::hook_entry::{self, HookPath};
use porthole_registry::json_edit::Document;
use porthole_tests::engine::containerd::{CONFIG, config, ctr};
use porthole_tests::engine::{Containerd, PodOptions};
use porthole_tests::{Node, tools};

use crate::measure::{Effort, in_turn};
use crate::programs::Programs;
use crate::report::{Report, Table};

const LIMIT: f64 = 1.02;
/// Samples of each kind in a round.
const SAMPLES: usize = 50;
const SPEC: &str = "/etc/porthole-bench.json";

const WHY: &str = "\
Where the time goes: runc starts a shell, which becomes the hook, at createRuntime, before containerd answers; what the hook \
costs is in the tables above.";

/// Measures both.
pub fn measure(programs: &Programs, node: &Node, effort: Effort, report: &mut Report) {
    let containerd = Containerd::start(node, "2");
    fs::write(CONFIG, two_handlers(programs)).expect("write the configuration");
    containerd.restart();
    let options = |handler: &str| PodOptions { handler: handler.to_owned(), ..PodOptions::default() };
    let mut number = 0;
    let mut life = |handler: &str| {
        number += 1;
        let pod = containerd.run_pod("bench", &format!("pod-{number}"), &options(handler));
        let ended = containerd.remove_pod(&pod);
        [pod.took, ended]
    };
    let [with_start, without_start, with_end, without_end] = in_turn(effort, SAMPLES, || {
        let [with, without] = [life("hooked"), life("runc")];
        [with[0], without[0], with[1], without[1]]
    });
    let mut table = Table::new();
    let start = "start of a pod of one container, with the hook";
    table.limited((start, "without"), &with_start, &without_start, LIMIT, WHY);
    table.row("stop and removal of it, with the hook", "without", &with_end, &without_end);
    let text = format!(
        "containerd {}, CRI, a CNI bridge; `RunPodSandbox`, `CreateContainer` and `StartContainer`, added up as the client sees \
         them. One daemon with two runtime handlers, one of which has the base spec of `porthole install`. The 99th of \
         100 starts: {} ms with the hook, {} ms without ({:.2}).",
        containerd.version,
        milliseconds(with_start.p99()),
        milliseconds(without_start.p99()),
        with_start.p99() / without_start.p99(),
    );
    report.section("Pods through containerd", &text, &table);
    // The last pods' pins wait for somebody to see that the engine's own have gone: `porthole reconcile`, by its units.
    tools::porthole(&["reconcile"]).expect_success();
    node.expect_silence("the pods that were measured");
    fs::remove_file(SPEC).expect("remove the base spec");
}

/// A configuration with a handler that has the base spec, and one that has none.
fn two_handlers(programs: &Programs) -> String {
    let hook = HookPath::parse(&programs.hook).expect("a plain path to the hook");
    let mut spec =
        Document::parse(ctr(&["oci", "spec"]).expect_success().to_owned()).expect("containerd's own spec");
    hook_entry::add(&mut spec, &hook).expect("add the hook");
    fs::write(SPEC, spec.into_string()).expect("write the base spec");
    let table = "plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.hooked";
    format!(
        "{}\n[{table}]\n  runtime_type = 'io.containerd.runc.v2'\n  base_runtime_spec = '{SPEC}'\n",
        config(2)
    )
}

fn milliseconds(seconds: f64) -> String {
    let ms = Duration::from_secs_f64(seconds).as_secs_f64() * 1e3;
    format!("{ms:.0}")
}
