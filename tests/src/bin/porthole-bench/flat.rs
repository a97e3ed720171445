//! The hook with many pins, against the hook with none: two nodes side by side, so that both are measured in turn.

use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use porthole_tests::{Node, node};
use rustix::mount::{UnmountFlags, mount_bind, unmount};

use crate::EMPTY_NODE;
use crate::measure::{Effort, Series, in_turn};
use crate::pods::{Pod, Pods};
use crate::programs::Programs;
use crate::report::{Report, Table};

const LIMIT: f64 = 1.1;

const WHY: &str = "\
Where the time goes: the hook makes the same system calls whatever the number of pins. What grows is the kernel's work in \
`mount` and `umount2`, as the rows of the bare bind mount show.";

/// What one node measures at a time: createRuntime, poststop, and a bare bind mount of a namespace and its end.
type Sample = [Duration; 3];

fn sample(programs: &Programs, pod: &Pod) -> Sample {
    [pod.register(programs), pod.release(programs), bare_mount(pod.pid)]
}

/// What the kernel takes for one more mount below the pins, and one less.
fn bare_mount(pid: u32) -> Duration {
    let point = "/run/netns/bare";
    std::fs::write(point, "").expect("make a mount point");
    let start = std::time::Instant::now();
    mount_bind(format!("/proc/{pid}/ns/net"), point).expect("mount a namespace");
    unmount(point, UnmountFlags::DETACH).expect("unmount it");
    let took = start.elapsed();
    std::fs::remove_file(point).expect("remove the mount point");
    took
}

/// A node with no pin but the one that is measured.
#[derive(Debug)]
pub struct EmptyNode {
    process: Child,
    ask: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl EmptyNode {
    /// Starts one.
    pub fn start() -> Self {
        let mut command: Command = node::command("empty", &[EMPTY_NODE]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("start a node");
        let ask = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().expect("its output"));
        let mut node = Self { process, ask, answers };
        // It begins as a copy of this one's mounts: no pin may come between before it has its own.
        node.sample();
        node
    }

    fn sample(&mut self) -> Sample {
        let ask = self.ask.as_mut().expect("the node lives");
        ask.write_all(b"\n").expect("ask the node");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the node's answer");
        let mut numbers = line.split_whitespace().map(|word| word.parse().expect("a number"));
        std::array::from_fn(|_| Duration::from_nanos(numbers.next().expect("three numbers")))
    }
}

impl Drop for EmptyNode {
    fn drop(&mut self) {
        drop(self.ask.take());
        let status = self.process.wait().expect("wait for the node");
        assert!(status.success() || std::thread::panicking(), "the empty node: {status}");
    }
}

/// On the node without pins: one sample for each line of standard input.
pub fn serve(node: &Node) {
    let programs = Programs::find();
    let pods = Pods::start(&programs, node, 0, 1);
    // So that the directory of the pins is a mount before the first bare mount.
    pods.register(&programs);
    pods.release(&programs);
    for _ in stdin().lines() {
        let [create, stop, bare] = sample(&programs, pods.first()).map(|took| took.as_nanos());
        println!("{create} {stop} {bare}");
        stdout().flush().expect("answer");
    }
}

/// Medians at each level, and those without pins that were taken in turn with them.
#[derive(Debug, Default)]
pub struct Results {
    levels: Vec<(usize, [Series; 6])>,
}

impl Results {
    /// Measures at a level.
    pub fn measure(
        &mut self,
        programs: &Programs,
        node: &Node,
        empty: &mut EmptyNode,
        level: usize,
        effort: Effort,
    ) {
        let pods = Pods::start(programs, node, 60_000, 1);
        let series = in_turn(effort, 40, || {
            let [create, stop, bare] = sample(programs, pods.first());
            let [create_0, stop_0, bare_0] = empty.sample();
            [create, create_0, stop, stop_0, bare, bare_0]
        });
        self.levels.push((level, series));
    }

    /// The table.
    pub fn report(&self, report: &mut Report) {
        let mut table = Table::new();
        let with = "with none";
        for (level, [create, create_0, stop, stop_0, ..]) in &self.levels {
            let what = |stage: &str| format!("{stage} with {level} pins");
            table.limited((&what("createRuntime"), with), create, create_0, LIMIT, WHY);
            table.limited((&what("poststop"), with), stop, stop_0, LIMIT, WHY);
        }
        for (level, [.., bare, bare_0]) in &self.levels {
            table.row(&format!("bare mount and umount2 with {level} pins"), with, bare, bare_0);
        }
        let text = "Two nodes side by side: one with this many pins, made by the hook, of as many network namespaces; one \
                    with none. A pod more is registered and released on each in turn.";
        report.section("The hook with many pins", text, &table);
    }
}
