//! Pods to be registered: real processes with real network namespaces, and the bundles and states that a runtime hands
//! to a hook.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use porthole_tests::bundle::containerd_annotations;
use porthole_tests::{Bundle, Netns, Node};
use serde_json::{Value, json};

use crate::measure::time;
use crate::programs::{Programs, stdin};

/// One pod.
#[derive(Debug)]
pub struct Pod {
    /// Its name, and that of its pin.
    pub name: String,
    /// Its address.
    pub ip: String,
    /// Its process.
    pub pid: u32,
    /// The inode of its network namespace.
    pub ino: u64,
    creating: PathBuf,
    stopped: PathBuf,
    record: PathBuf,
}

/// Pods that live until they are told to end.
#[derive(Debug)]
pub struct Pods {
    pods: Vec<Pod>,
    processes: Child,
}

impl Pods {
    /// Starts `count` of them, numbered from `first`.
    pub fn start(programs: &Programs, node: &Node, first: usize, count: usize) -> Self {
        let mut command = Command::new(&programs.pods);
        // Addresses of 10.0.0.0 end in neither 0 nor 255 from the first on.
        command.args([(first + 257).to_string(), count.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut processes = command.spawn().expect("start the pods");
        let output = BufReader::new(processes.stdout.take().expect("their pids"));
        let pids = output.lines().take(count).map(|line| line.expect("a pid").parse().expect("a number"));
        let pods: Vec<_> = (first..).zip(pids).map(|(number, pid)| Pod::new(node, number, pid)).collect();
        assert_eq!(pods.len(), count, "pods could not be started: too little memory, or too many processes?");
        Self { pods, processes }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.pods.len()
    }

    /// The first.
    pub fn first(&self) -> &Pod {
        &self.pods[0]
    }

    /// Every one.
    pub fn iter(&self) -> impl Iterator<Item = &Pod> {
        self.pods.iter()
    }

    /// Calls the hook for each: two at a time, to be done sooner.
    pub fn register(&self, programs: &Programs) {
        self.each(|pod| _ = pod.register(programs));
    }

    /// Calls the hook for each end.
    pub fn release(&self, programs: &Programs) {
        self.each(|pod| _ = pod.release(programs));
    }

    fn each(&self, call: impl Fn(&Pod) + Sync) {
        let call = &call;
        std::thread::scope(|scope| {
            for half in self.pods.chunks(self.pods.len().div_ceil(2)) {
                scope.spawn(move || half.iter().for_each(call));
            }
        });
    }

    /// Ends their processes; what is registered stays registered.
    pub fn end(&mut self) {
        drop(self.processes.stdin.take());
        self.processes.wait().expect("wait for the pods");
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        self.end();
    }
}

impl Pod {
    fn new(node: &Node, number: usize, pid: u32) -> Self {
        let name = format!("pod-{number}");
        let bundle = bundle(node, &name);
        bundle.write();
        let write = |file: &str, pid: Option<u32>| {
            let path = bundle.dir.join(file);
            fs::write(&path, bundle.state(pid).to_string()).expect("write a state");
            path
        };
        let address = (10 << 24) + u32::try_from(number + 257).expect("a small number");
        Self {
            ip: std::net::Ipv4Addr::from(address).to_string(),
            ino: Netns::of(pid).expect("the pod lives").ino,
            creating: write("creating", Some(pid)),
            stopped: write("stopped", None),
            record: node.run_dir().join(format!("containers/{}.json", bundle.id)),
            name,
            pid,
        }
    }

    /// createRuntime: pins.
    pub fn register(&self, programs: &Programs) -> Duration {
        time(programs.hook("createRuntime"), stdin(&self.creating))
    }

    /// poststart: refreshes.
    pub fn refresh(&self, programs: &Programs) -> Duration {
        time(programs.hook("poststart"), stdin(&self.creating))
    }

    /// poststop: unpins. The process goes on for the next turn, and nothing is released while the recorded process
    /// lives. So the record is changed to name a process that has ended.
    pub fn release(&self, programs: &Programs) -> Duration {
        if let Ok(text) = fs::read(&self.record) {
            let mut record: Value = serde_json::from_slice(&text).expect("a record is JSON");
            record["pid_start"] = json!(1);
            fs::write(&self.record, record.to_string()).expect("change the record");
        }
        time(programs.hook("poststop"), stdin(&self.stopped))
    }

    /// The most memory that a stage takes, in KiB.
    pub fn peak(&self, programs: &Programs, stage: &str) -> u64 {
        let mut command = Programs::bare(&programs.peak);
        command.arg(&programs.hook).arg(stage).stdin(File::open(&self.creating).expect("open the state"));
        let output = command.output().expect("start the hook");
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().unwrap_or_else(|_| panic!("{command:?}: {output:?}"))
    }

    /// Another program with the same standard input.
    pub fn instead(&self, command: Command) -> Duration {
        time(command, stdin(&self.creating))
    }
}

/// A bundle of the size that bundles have: most of it is a list of system calls.
fn bundle(node: &Node, pod: &str) -> Bundle {
    let names: Vec<_> = (0..400).map(|number| format!("system_call_{number}")).collect();
    let seccomp = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{ "names": names, "action": "SCMP_ACT_ALLOW" }],
    });
    let bundle = Bundle::new(node).annotations(&containerd_annotations("shop", pod, "web"));
    bundle.with(|config| config["linux"]["seccomp"] = seccomp)
}
