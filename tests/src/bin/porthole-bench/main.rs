//! `make bench`: measures porthole against what it is compared with, on a node of its own, and writes
//! `docs/benchmarks.md`. Everything compared is run in turn, in one run; only ratios are claimed.

mod exec;
mod flat;
mod hook;
mod list;
mod measure;
mod pod_start;
mod pods;
mod programs;
mod report;
mod runtimes;
mod size;
mod soak;

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use porthole_tests::{Node, cgroups::Cgroups, need, node};

use measure::Effort;
use pods::Pods;
use programs::Programs;
use report::Report;

/// Arguments by which the program finds out what it was started for.
const MEASURE: &str = "measure";
const EMPTY_NODE: &str = "empty-node";

/// What sudo gives: a command is looked for in few places, not in those of whoever develops here.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How many pins there are: the last of them and all before are the levels of the hook's flatness.
const LEVELS: [usize; 3] = [100, 1_000, 5_000];

fn main() -> ExitCode {
    let role = env::args().nth(1);
    let inside = node::enter(|node| match role.as_deref() {
        Some(EMPTY_NODE) => flat::serve(node),
        _ => measure_all(node),
    });
    if inside {
        return ExitCode::SUCCESS;
    }
    // Panics with what is missing, and how to install it.
    if !need::all(&["root", "ip", "runc", "crun", "busybox", "nsenter", "unshare", "gcc", "containerd"]) {
        return ExitCode::FAILURE;
    }
    let built = Programs::build();
    let token = format!("bench-{}", std::process::id());
    let status =
        node::command(&token, &[MEASURE]).env("PORTHOLE_BIN_DIR", built.path()).env("PATH", PATH).status();
    Cgroups::new(&token).remove();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn measure_all(node: &Node) {
    let effort = Effort::asked_for();
    let programs = Programs::find();
    let mut report = Report::new(effort);
    step("size");
    size::measure(&programs, node, &mut report);
    step("hook");
    hook::measure(&programs, node, effort, &mut report);
    step("runc, crun");
    runtimes::measure(node, effort, &mut report);
    let mut everything: Vec<Pods> = Vec::new();
    let mut empty = flat::EmptyNode::start();
    let (mut exec, mut list) = (exec::Results::default(), list::Results::default());
    let mut flat = flat::Results::default();
    for level in effort.levels(&LEVELS) {
        let there: usize = everything.iter().map(Pods::count).sum();
        step(&format!("{level} pins"));
        if there == 0 {
            let few = Pods::start(&programs, node, 0, 1);
            few.register(&programs);
            exec.measure(&programs, few.first(), "few mounts", effort);
            everything.push(few);
        }
        let there: usize = everything.iter().map(Pods::count).sum();
        let more = Pods::start(&programs, node, there, level - there);
        more.register(&programs);
        everything.push(more);
        flat.measure(&programs, node, &mut empty, level, effort);
        if level == effort.crowd() {
            step(&format!("exec, list at {level} pins"));
            exec.measure(&programs, everything[0].first(), &format!("{level} pins"), effort);
            exec.measure_crowd(&programs, everything[0].first(), level, effort);
            list.measure(&programs, everything[1].first(), level, true, effort);
            everything.iter_mut().for_each(Pods::end);
            list.measure(&programs, everything[1].first(), level, false, effort);
        }
    }
    drop(empty);
    flat.report(&mut report);
    exec.report(&mut report);
    list.report(&mut report);
    step("end");
    for pods in &mut everything {
        pods.end();
        pods.release(&programs);
    }
    drop(everything);
    exec::forget_view(node);
    // Late: the kernel goes on taking their network namespaces apart for a while.
    step("pods of containerd");
    pod_start::measure(&programs, node, effort, &mut report);
    step("soak");
    soak::measure(&programs, node, effort, &mut report);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("docs").join("benchmarks.md");
    let text = report.finish();
    println!("{text}");
    if effort.is_quick() {
        println!("A smoke run: docs/benchmarks.md stays as it was.");
    } else {
        fs::create_dir_all(path.parent().expect("docs")).expect("make docs");
        fs::write(path, text).expect("write docs/benchmarks.md");
    }
}

fn step(what: &str) {
    eprintln!("porthole-bench: {what}");
}
