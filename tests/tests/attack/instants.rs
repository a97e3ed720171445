//! At every instant, a process that the target's pid namespace can see has no more than the finished command.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use porthole_tests::process::wait_until;
use porthole_tests::{Node, on_a_node};

use crate::finished::{Finished, SHORT};
use crate::prey::{OWN, PROFILES, Prey, RECORD, VALUE, attacker, places};

/// Commands per profile. One was enough to be attacked in nearly all runs when there was something to attack.
const ROUNDS: usize = 12;

/// Lines of the attacker: pid, kind and value.
fn lines(files: &[&str], out: &Path) -> Vec<(u32, String, String)> {
    let texts = files.iter().map(|file| fs::read(out.join(file)).unwrap_or_default());
    let texts: Vec<_> = texts.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect();
    let line = |line: &str| {
        let mut fields = line.splitn(3, ' ');
        let pid = fields.next()?.parse().ok()?;
        Some((pid, fields.next()?.to_owned(), fields.next()?.to_owned()))
    };
    texts.iter().flat_map(|text| text.lines().filter_map(line)).collect()
}

/// What was found, by profile and kind: of how many processes, and no more than five of a kind.
fn told(mode: &[&str], wrong: &BTreeMap<(&str, String), BTreeMap<String, BTreeSet<u32>>>) -> String {
    let mut text = String::new();
    for ((profile, _), found) in wrong {
        for (what, pids) in found.iter().take(5) {
            writeln!(text, "{profile} {}: {what} ({} processes)", mode.join(" "), pids.len()).unwrap();
        }
        if found.len() > 5 {
            writeln!(text, "  and {} more like it", found.len() - 5).unwrap();
        }
    }
    text
}

fn no_process_in_the_targets_pid_namespace_ever_has_more_than_the_finished_command(
    node: &Node,
    mode: &[&str],
) {
    attacker(node);
    // The places are the host's, which is made along with the container; so they are written where it looks for them.
    let script = "until [ -e /out/places ]; do sleep 0.01; done; \
                  exec /bin/attacker /out \"$(cat /out/places)\" \"$@\"";
    let prey = Prey::new(node, &["/bin/sh", "-c", script, "sh", OWN, RECORD]);
    fs::write(prey.out().join("new"), places()).unwrap();
    fs::rename(prey.out().join("new"), prey.out().join("places")).unwrap();
    let options = |profile: &'static str| [&["--profile", profile], mode].concat();
    let finished = PROFILES.map(|profile| Finished::learn(&prey, &options(profile)));
    fs::write(prey.out().join("go"), "").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    let mut wrong = BTreeMap::<(&str, String), BTreeMap<String, BTreeSet<u32>>>::new();
    let mut weak = Vec::new();
    for (profile, finished) in PROFILES.into_iter().zip(&finished) {
        for _ in 0..ROUNDS {
            prey.exec(&options(profile), &SHORT).status().unwrap();
        }
        // What was traced has ended, and is written down.
        std::thread::sleep(std::time::Duration::from_millis(100));
        let seen = lines(&["tracer", "reader"], prey.out());
        for file in ["tracer", "reader"] {
            fs::File::options().write(true).open(prey.out().join(file)).unwrap().set_len(0).unwrap();
        }
        let count = |kind: &str| {
            seen.iter().filter(|line| line.1 == kind).map(|line| line.0).collect::<BTreeSet<_>>().len()
        };
        // An attack that finds nothing to attack proves nothing.
        let attacked = [("status", ROUNDS * 3 / 4), ("traced", ROUNDS / 4), ("memory-read", ROUNDS / 4)];
        for (kind, least) in attacked.into_iter().filter(|(kind, least)| count(kind) < *least) {
            weak.push(format!("{profile} {mode:?}: {kind} of {} processes, not {least}", count(kind)));
        }
        for (pid, kind, value) in &seen {
            // An empty word is the end of a command line that was longer once.
            if value.is_empty() || SHORT.contains(&value.as_str()) {
                continue;
            }
            if let Some(what) = finished.wrong(kind, value) {
                let place = wrong.entry((profile, kind.clone())).or_default();
                place.entry(what).or_default().insert(*pid);
            }
        }
    }
    assert!(wrong.is_empty(), "more than the finished command has:\n{}", told(mode, &wrong));
    assert!(weak.is_empty(), "the attack was weak:\n{}", weak.join("\n"));
    assert!(!Path::new("/etc/cron.d/attacked").exists(), "a file was made on the host");
    prey.delete();
}

/// Makes a test of each listed way in.
macro_rules! by_every_way {
    ($($module:ident: $mode:expr),+ $(,)?) => {
        $(mod $module {
            #[test]
            fn no_process_in_the_targets_pid_namespace_ever_has_more_than_the_finished_command() {
                porthole_tests::requires!(root, ip, runc, gcc);
                porthole_tests::node::run(porthole_tests::test_path!(), |node| {
                    super::no_process_in_the_targets_pid_namespace_ever_has_more_than_the_finished_command(node, $mode);
                });
            }
        })+
    };
}

by_every_way!(
    by_p: &["-p"],
    by_a: &["-a"],
    by_p_m: &["-p", "-m"],
    by_p_n: &["-p", "-n"],
);

fn a_value_of_e_is_on_no_command_line_in_the_target(node: &Node) {
    attacker(node);
    let prey = Prey::new(node, &["/bin/attacker", "--unprivileged", "/out", VALUE]);
    fs::write(prey.out().join("go"), "").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    let mut found = Vec::new();
    for mode in [&["-p"][..], &["-a"], &["-p", "-m"], &["-p", "-n"]] {
        for _ in 0..ROUNDS {
            prey.exec(mode, &SHORT).status().unwrap();
        }
        wait_until("the last to end", || fs::read_dir(format!("/proc/{}/root/proc", prey.pid())).is_ok());
        let seen = lines(&["nobody"], prey.out());
        let pids: BTreeSet<_> = seen.iter().map(|line| line.0).collect();
        assert!(pids.len() >= ROUNDS * 3 / 4, "{mode:?}: {} processes were seen", pids.len());
        let told = seen
            .iter()
            .filter(|(_, kind, value)| kind == "cmdline" && (value.contains(VALUE) || value.contains(OWN)));
        found.extend(told.map(|(pid, _, value)| format!("{mode:?}: pid {pid}: {value}")));
        fs::File::options().write(true).open(prey.out().join("nobody")).unwrap().set_len(0).unwrap();
    }
    assert!(found.is_empty(), "an unprivileged process of the target read:\n{}", found.join("\n"));
    prey.delete();
}

on_a_node!(requires(root, ip, runc, gcc):
    a_value_of_e_is_on_no_command_line_in_the_target,
);
