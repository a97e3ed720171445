//! At every instant, a process that the target's pid namespace can see has no more than the finished command.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use porthole_tests::{Node, on_a_node};

use crate::finished::{Finished, SHORT};
use crate::prey::{OWN, PROFILES, Prey, RECORD, VALUE, attacker, places};

/// Commands of one kind. When the fork came before the confinement, nearly each of them was attacked.
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

/// What an attack found on commands with these options. One that finds nothing to attack proves nothing: there are as many
/// commands as it takes for enough of them to be looked at, and traced.
fn attacked(prey: &Prey, options: &[&str]) -> Vec<(u32, String, String)> {
    let mut seen = Vec::new();
    for _ in 0..5 {
        for _ in 0..ROUNDS {
            prey.exec(options, &SHORT).status().unwrap();
        }
        // What was traced has ended, and is written down.
        std::thread::sleep(Duration::from_millis(100));
        seen.extend(lines(&["tracer", "reader"], prey.out()));
        for file in ["tracer", "reader"] {
            fs::File::options().write(true).open(prey.out().join(file)).unwrap().set_len(0).unwrap();
        }
        let of = |kind: &str| {
            let pids = seen.iter().filter(|line| line.1 == kind).map(|line| line.0);
            pids.collect::<BTreeSet<_>>().len()
        };
        if of("status") >= ROUNDS * 3 / 4 && of("traced") >= ROUNDS / 4 && of("memory-read") >= ROUNDS / 4 {
            return seen;
        }
    }
    panic!("{options:?}: of {} commands not enough were attacked", 5 * ROUNDS);
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
    prey: fn(&Node, &[&str]) -> Prey,
    mode: &[&str],
) {
    attacker(node);
    // The places are the host's, which is made along with the container; so they are written where it looks for them.
    let script = "until [ -e /out/places ]; do sleep 0.01; done; \
                  exec /bin/attacker /out \"$(cat /out/places)\" \"$@\"";
    let prey = prey(node, &["/bin/sh", "-c", script, "sh", OWN, RECORD]);
    fs::write(prey.out().join("new"), places()).unwrap();
    fs::rename(prey.out().join("new"), prey.out().join("places")).unwrap();
    let options = |profile: &'static str| [&["--profile", profile], mode].concat();
    let finished = PROFILES.map(|profile| Finished::learn(&prey, &options(profile)));
    fs::write(prey.out().join("go"), "").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let mut wrong = BTreeMap::<(&str, String), BTreeMap<String, BTreeSet<u32>>>::new();
    for (profile, finished) in PROFILES.into_iter().zip(&finished) {
        let seen = attacked(&prey, &options(profile));
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
    assert!(!Path::new("/etc/cron.d/attacked").exists(), "a file was made on the host");
    prey.delete();
}

/// Makes a test of each listed way in.
macro_rules! by_every_way {
    ($($module:ident: $prey:ident $mode:expr),+ $(,)?) => {
        $(mod $module {
            #[test]
            fn no_process_in_the_targets_pid_namespace_ever_has_more_than_the_finished_command() {
                porthole_tests::requires!(root, ip, runc, gcc);
                porthole_tests::node::run(porthole_tests::test_path!(), |node| {
                    super::no_process_in_the_targets_pid_namespace_ever_has_more_than_the_finished_command(
                        node,
                        super::Prey::$prey,
                        $mode,
                    );
                });
            }
        })+
    };
}

by_every_way!(
    by_p: new &["-p"],
    by_a: new &["-a"],
    by_p_m: new &["-p", "-m"],
    by_p_n: new &["-p", "-n"],
    by_p_at_a_terminal: at_a_terminal &["-p"],
    by_p_as_root: new &["-p", "--uid", "0"],
    by_a_of_a_user_namespace: boxed &["-a"],
    by_p_u_of_a_user_namespace: boxed &["-p", "-U"],
);

/// Where a process of the target without rights found the value of `-e`, or a variable of porthole's own.
fn found_by_nobody(node: &Node, profiles: &[&'static str], kind: &str) -> Vec<String> {
    attacker(node);
    let prey = Prey::new(node, &["/bin/attacker", "--unprivileged", "/out", VALUE]);
    fs::write(prey.out().join("go"), "").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let mut found = Vec::new();
    for mode in [&["-p"][..], &["-a"], &["-p", "-m"], &["-p", "-n"]] {
        for profile in profiles {
            for _ in 0..ROUNDS {
                prey.exec(&[&["--profile", profile], mode].concat(), &SHORT).status().unwrap();
            }
            let seen = lines(&["nobody"], prey.out());
            let pids: BTreeSet<_> = seen.iter().map(|line| line.0).collect();
            assert!(pids.len() >= ROUNDS / 2, "{mode:?}: {} processes were seen", pids.len());
            let told = seen
                .iter()
                .filter(|(_, at, value)| at == kind && (value.contains(VALUE) || value.contains(OWN)));
            let told = told.map(|(_, _, value)| format!("{profile} {}: {value}", mode.join(" ")));
            found.extend(told.collect::<BTreeSet<_>>());
            fs::File::options().write(true).open(prey.out().join("nobody")).unwrap().set_len(0).unwrap();
        }
    }
    prey.delete();
    found
}

fn a_value_of_e_is_on_no_command_line_in_the_target(node: &Node) {
    let found = found_by_nobody(node, &["restricted", "general"], "cmdline");
    assert!(found.is_empty(), "an unprivileged process of the target read:\n{}", found.join("\n"));
}

fn a_variable_of_the_command_is_read_by_no_unprivileged_process_of_the_target(node: &Node) {
    let found = found_by_nobody(node, &["restricted", "general"], "environ");
    assert!(found.is_empty(), "an unprivileged process of the target read:\n{}", found.join("\n"));
}

on_a_node!(requires(root, ip, runc, gcc):
    a_value_of_e_is_on_no_command_line_in_the_target,
    a_variable_of_the_command_is_read_by_no_unprivileged_process_of_the_target,
);
