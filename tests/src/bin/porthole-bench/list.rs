//! `porthole list` and `porthole identify` against `ip netns list` and `lsns`.

use std::path::Path;
use std::process::Command;

use crate::measure::{Effort, Series, in_turn, time};
use crate::pods::Pod;
use crate::programs::Programs;
use crate::report::{Report, Table};

const LIMIT: f64 = 1.0;

const WHY: &str = "\
Where the time goes: `ip netns list` reads one directory and, for the numbers of namespaces, asks one question each; \
`lsns` looks at processes alone. `porthole list` reads a record for each container, asks whether its process lives, opens \
its pin, enters the namespace and asks for its addresses: `setns` and three netlink messages are the larger part.";

/// All that was measured: the level, whether the pods' processes lived, and the samples.
#[derive(Debug, Default)]
pub struct Results {
    all: Vec<(usize, bool, [Series; 5])>,
}

impl Results {
    /// Measures at a level.
    pub fn measure(&mut self, programs: &Programs, pod: &Pod, level: usize, alive: bool, effort: Effort) {
        let inode = pod.ino.to_string();
        let run = |program: &Path, args: &[&str]| {
            let mut command = Command::new(program);
            command.args(args);
            time(command, None)
        };
        let series = in_turn(effort, 8, || {
            [
                run(&programs.porthole, &["list"]),
                run(&programs.porthole, &["identify", &inode]),
                run(&programs.porthole, &["identify", &pod.ip]),
                run(&programs.ip, &["netns", "list"]),
                run(&programs.lsns, &["-t", "net"]),
            ]
        });
        self.all.push((level, alive, series));
    }

    /// The table.
    pub fn report(&self, report: &mut Report) {
        let mut table = Table::new();
        let (ip, lsns) = ("`ip netns list`", "`lsns -t net`");
        for (level, alive, [list, by_inode, by_ip, ip_list, lsns_list]) in &self.all {
            let with = format!("{level} records{}", if *alive { "" } else { ", their processes ended" });
            for (command, series) in [("list", list), ("identify INODE", by_inode), ("identify IP", by_ip)] {
                let what = format!("`porthole {command}`, {with}");
                table.limited((&what, ip), series, ip_list, LIMIT, WHY);
                table.limited((&what, lsns), series, lsns_list, LIMIT, WHY);
            }
        }
        let text = "As many pins as records, and an address in each namespace. `lsns` looks at every process of the node, \
                    and finds no namespace without one: where the pods' processes have ended it has little to do, and little \
                    to show.";
        report.section("list and identify", text, &table);
    }
}
