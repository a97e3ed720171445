//! A container's whole life under runc and crun, with the hook and without.

use std::fs;
use std::process::Command;
use std::time::Duration;

use porthole_tests::process::wait_until;
use porthole_tests::{Bundle, Node};
use rustix::process::{Pid, Signal, kill_process};

use crate::measure::{Effort, Series, in_turn, time};
use crate::report::{Report, Table};

const LIMIT: f64 = 1.05;

const WHY: &str = "\
Where the time goes: the runtime starts the hook twice, and each costs what the table above says; the more quickly a \
runtime makes a container, the more that is in proportion. A program that only reads stdin in the hook's place shows how \
much of it is the start of any hook.";

/// Measures both.
pub fn measure(node: &Node, effort: Effort, report: &mut Report) {
    let mut table = Table::new();
    for runtime in ["runc", "crun"] {
        let [create, whole] = lives(node, runtime, effort);
        for (calls, [with, with_noop, without]) in [("create", create), ("create, start, delete", whole)] {
            let what = |hook: &str| format!("{runtime} {calls} with {hook}");
            table.limited((&what("the hook"), "without"), &with, &without, LIMIT, WHY);
            table.row(&what("hooks that read stdin"), "without", &with_noop, &without);
            table.row(&what("the hook"), "hooks that read stdin", &with, &with_noop);
        }
    }
    let text = "With the hook at createRuntime and poststop. The container is killed before `delete`, outside of what is \
                measured, as `delete --force` waits in steps of 100 ms.";
    report.section("Containers", text, &table);
}

/// Of `create`, and of all calls: with the hook, with a program in its place, with none.
fn lives(node: &Node, runtime: &str, effort: Effort) -> [[Series; 3]; 2] {
    let hooked = Bundle::new(node);
    let with_noop = Bundle::new(node).with(|config| {
        for hooks in config["hooks"].as_object_mut().expect("hooks").values_mut() {
            hooks[0]["path"] = porthole_tests::tools::bin_dir().join("noop").to_string_lossy().into();
        }
    });
    let bare = Bundle::new(node).hooked(&[]);
    let bundles = [hooked, with_noop, bare];
    for bundle in &bundles {
        bundle.write();
    }
    let [a, b, c, whole_a, whole_b, whole_c] = in_turn(effort, 15, || {
        let [[a, whole_a], [b, whole_b], [c, whole_c]] =
            bundles.each_ref().map(|bundle| life(runtime, bundle));
        [a, b, c, whole_a, whole_b, whole_c]
    });
    [[a, b, c], [whole_a, whole_b, whole_c]]
}

/// What `create` takes, and all calls.
fn life(runtime: &str, bundle: &Bundle) -> [Duration; 2] {
    let call = |args: &[&str]| {
        let mut command = Command::new(runtime);
        command.args(["--root", "/mnt/state"]).args(args).arg(&bundle.id);
        time(command, None)
    };
    let (dir, pid_file) = (bundle.dir.to_string_lossy(), bundle.dir.join("pid"));
    let created = call(&["create", "--bundle", &dir, "--pid-file", &pid_file.to_string_lossy()]);
    let started = call(&["start"]);
    let pid = fs::read_to_string(&pid_file).expect("read the pid file");
    let number = pid.trim().parse().ok().and_then(Pid::from_raw).expect("a pid");
    kill_process(number, Signal::KILL).expect("kill the container");
    wait_until("the container to end", || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    });
    [created, created + started + call(&["delete"])]
}
