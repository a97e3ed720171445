//! What the target sees of the host through a command that has the tools of the host.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use porthole_tests::{Node, on_a_node, requires, tools};

use crate::finished::Running;
use crate::prey::{PROFILES, Prey, SHELL};

/// What a view of tools has at its top.
const TOP: [&str; 12] =
    ["bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "sys", "usr"];

/// What the host keeps there for itself, as files of the tools' own directories.
const OF_THE_HOST: [&str; 9] = [
    "/etc/shadow",
    "/etc/of-the-host",
    "/etc/cron.d",
    "/etc/ssh",
    "/etc/crontab",
    "/etc/fstab",
    "/etc/machine-id",
    "/tmp/of-the-host",
    "/mnt/host/of-the-host",
];

fn the_target_sees_the_tools_and_nothing_else_through_the_command(node: &Node) {
    let prey = Prey::new(node, &SHELL);
    let mut wrong = Vec::new();
    let ways = PROFILES.iter().flat_map(|profile| [(*profile, "65534"), (*profile, "0")]);
    for (profile, uid) in ways.chain([("general", "1234")]) {
        for mode in [&["-p"][..], &["-p", "-n"]] {
            let options = [&["--profile", profile, "--uid", uid], mode].concat();
            let running = Running::start(&prey, &options);
            // The container's own number of the command.
            let status = fs::read_to_string(format!("/proc/{}/status", running.pid)).unwrap();
            let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap();
            let pid = numbers.split_whitespace().last().unwrap();
            let root = format!("/proc/{pid}/root");
            let top = prey.inside(&format!("ls -A {root}/"));
            let top: BTreeSet<_> = top.split_whitespace().collect();
            let said = options.join(" ");
            assert!(top.contains("usr"), "{said}: the view has the tools: {top:?}");
            let more: Vec<_> = top.iter().filter(|name| !TOP.contains(name) && **name != "tmp").collect();
            if !more.is_empty() {
                wrong.push(format!("{said}: at the top {more:?}"));
            }
            for path in OF_THE_HOST {
                if prey.inside(&format!("[ -e {root}{path} ] && echo there")) == "there\n" {
                    wrong.push(format!("{said}: {path}"));
                }
            }
            for empty in ["run", "tmp"] {
                let listed = prey.inside(&format!("ls -A {root}/{empty}"));
                // A directory of the view's own, and a lock for programs that change the network.
                if !["", "lock", "lock\nxtables.lock"].contains(&listed.trim())
                    && !listed.contains("No such file")
                {
                    wrong.push(format!("{said}: in /{empty}: {}", listed.replace('\n', " ")));
                }
            }
            for place in ["/tmp", "/etc", "/run", "/mnt/host"] {
                prey.inside(&format!("echo attacked > {root}{place}/attacked"));
                if Path::new(place).join("attacked").exists() {
                    wrong.push(format!("{said}: a file was made in the host's {place}"));
                    fs::remove_file(Path::new(place).join("attacked")).unwrap();
                }
            }
            let users = prey.inside(&format!("cat {root}/etc/passwd | wc -l"));
            if users.trim().parse::<u32>().unwrap_or(99) > 3 {
                wrong.push(format!("{said}: {} users in /etc/passwd", users.trim()));
            }
            let cwd = prey.inside(&format!("readlink /proc/{pid}/cwd"));
            if cwd.trim() != "/" {
                wrong.push(format!("{said}: the working directory is {}", cwd.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "the target sees of the host:\n{}", wrong.join("\n"));
    prey.delete();
}

fn a_directory_of_the_host_is_refused_where_the_target_would_see_it(node: &Node) {
    let prey = Prey::new(node, &SHELL);
    for options in
        [&["-p", "-w=/var"][..], &["-p", "-r=/mnt"], &["-p", "-n", "-w=/mnt/host"], &["-p", "-n", "-r=/"]]
    {
        for profile in ["general", "sysadmin"] {
            let outcome = prey.run(&[&["--profile", profile], options].concat(), &["/bin/busybox", "true"]);
            assert_eq!(outcome.status.code(), Some(125), "{profile} {options:?}: {outcome:?}");
        }
    }
    prey.delete();
}

fn what_the_target_has_at_proc_is_not_taken_for_its_procfs(node: &Node) {
    requires!(nsenter);
    for file_system in ["tmpfs", "proc"] {
        let prey = Prey::new(node, &["/bin/sleep", "100000"]);
        // Of no pid namespace, or of the wrong one: that of the process that mounts it.
        let mut cover = Command::new("nsenter");
        cover.args(["--target", &prey.pid().to_string(), "--mount", "--", "/bin/busybox", "mount", "-t"]);
        cover.args([file_system, file_system, "/proc"]);
        tools::run(cover).expect_success();
        let script = "cat /proc/1/comm; echo /proc/[0-9]*";
        let outcome = prey.run(&["-p"], &["/bin/sh", "-c", script]);
        // Where the kernel makes no procfs by the namespace, there is none to be had.
        if outcome.status.code() == Some(125) {
            assert!(outcome.stderr.contains("/proc"), "{file_system}: {outcome:?}");
        } else {
            let (first, all) = outcome.expect_success().split_once('\n').unwrap();
            assert!(["sleep", "busybox"].contains(&first), "{file_system}: {outcome:?}");
            assert!(
                all.split_whitespace().count() <= 3,
                "{file_system}: only what is in the container: {all}"
            );
        }
        prey.delete();
    }
}

on_a_node!(requires(root, ip, runc):
    the_target_sees_the_tools_and_nothing_else_through_the_command,
    a_directory_of_the_host_is_refused_where_the_target_would_see_it,
    what_the_target_has_at_proc_is_not_taken_for_its_procfs,
);
