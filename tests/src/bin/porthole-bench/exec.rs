//! `porthole exec` against `nsenter` and `ip netns exec`.

use std::fs;
use std::path::Path;
use std::process::Command;

use porthole_tests::Node;

use crate::measure::{Effort, Series, in_turn, time, time_at_once};
use crate::pods::Pod;
use crate::programs::Programs;
use crate::report::{Report, Table};

/// How many at once.
const CROWD: usize = 100;

const WHY: &str = "\
Where the time goes: `nsenter -t PID -n` is one `setns` and one `exec`. With few mounts the difference is what `porthole exec` \
does besides: it takes away what the command may not have, gives it the pod's files in a mount namespace of its own, bounds it \
by a cgroup, filters its system calls, and writes two lines to the system log. The row without a cgroup shows what joining one \
costs where cgroups are of version 1, three hierarchies with a lock each. \
With many records most of it is reading them, one file each: a name may be that of a pod, of a container or the beginning \
of an id, and one that is ambiguous is refused.";

/// All that was measured.
#[derive(Debug, Default)]
pub struct Results {
    single: Vec<(String, [Series; 4])>,
    crowd: Vec<(usize, [Series; 3])>,
}

fn commands(programs: &Programs, pod: &Pod) -> [impl Fn() -> Command; 4] {
    let command = |program: &Path, args: Vec<String>| {
        let program = program.to_owned();
        move || {
            let mut command = Command::new(&program);
            command.args(&args);
            command
        }
    };
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let pid = pod.pid.to_string();
    [
        command(&programs.porthole, words(&["exec", &pod.name, "true"])),
        command(&programs.nsenter, words(&["-t", &pid, "-n", "true"])),
        command(&programs.ip, words(&["netns", "exec", &pod.name, "true"])),
        command(&programs.porthole, words(&["exec", "--cgroup", "none", &pod.name, "true"])),
    ]
}

/// Takes away what `exec` prepares once and keeps for the next time.
pub fn forget_view(node: &Node) {
    let dir = node.run_dir().join("view");
    node.unmount_all(&dir.join("mnt"));
    node.unmount_all(&dir);
    if dir.is_dir() {
        fs::remove_dir_all(&dir).expect("remove the prepared view");
    }
}

impl Results {
    /// One at a time.
    pub fn measure(&mut self, programs: &Programs, pod: &Pod, with: &str, effort: Effort) {
        let commands = commands(programs, pod);
        let series = in_turn(effort, 40, || std::array::from_fn(|at| time(commands[at](), None)));
        self.single.push((with.to_owned(), series));
    }

    /// Many at once.
    pub fn measure_crowd(&mut self, programs: &Programs, pod: &Pod, pins: usize, effort: Effort) {
        let commands = commands(programs, pod);
        let series = in_turn(effort, 3, || std::array::from_fn(|at| time_at_once(CROWD, &commands[at])));
        self.crowd.push((pins, series));
    }

    /// The table.
    pub fn report(&self, report: &mut Report) {
        let mut table = Table::new();
        let (nsenter, ip) = ("`nsenter -t PID -n true`", "`ip netns exec T true`");
        for (at, (with, [exec, entered, by_ip, unbound])) in self.single.iter().enumerate() {
            let what = format!("`porthole exec T true`, {with}");
            let limit = if at == 0 { 1.2 } else { 1.3 };
            table.limited((&what, nsenter), exec, entered, limit, WHY);
            table.row(&format!("`porthole exec --cgroup none T true`, {with}"), nsenter, unbound, entered);
            table.row(&what, ip, exec, by_ip);
            table.row(&format!("{ip}, {with}"), nsenter, by_ip, entered);
        }
        for (pins, [exec, entered, by_ip]) in &self.crowd {
            let what = format!("`porthole exec T true`, {pins} pins, {CROWD} at once");
            table.limited((&what, ip), exec, by_ip, 0.5, WHY);
            table.row(&what, nsenter, exec, entered);
            table.row(&format!("{ip}, {pins} pins, {CROWD} at once"), nsenter, by_ip, entered);
        }
        let text = "With as many records as pins. At once: all are started, then all are waited for.";
        report.section("exec", text, &table);
    }
}
