//! What a finished command has, read from outside: the measure for everything that is seen of it before.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use porthole_tests::process::wait_until;

use crate::prey::{Prey, places_below};

/// The words of a command that is the same program with and without the target's mount namespace.
pub const COMMAND: [&str; 3] = ["/bin/busybox", "sleep", "1000"];

/// The same for a short time. busybox writes into a number with a point while it reads it.
pub const SHORT: [&str; 3] = ["/bin/busybox", "usleep", "50000"];

/// What one command has.
pub struct Finished {
    status: BTreeSet<String>,
    words: BTreeSet<String>,
    environ: BTreeSet<String>,
    mounts: BTreeSet<String>,
    descriptors: BTreeSet<String>,
    links: BTreeSet<String>,
    sees: BTreeSet<String>,
}

/// A command that goes on until its guard is dropped.
pub struct Running {
    porthole: Child,
    /// Pid of the command, as the host numbers it.
    pub pid: u32,
}

impl Running {
    /// Starts it, and waits until it sleeps.
    pub fn start(prey: &Prey, options: &[&str]) -> Self {
        let mut running = Self { porthole: prey.exec(options, &COMMAND).spawn().unwrap(), pid: 0 };
        let namespace = |pid: u32| fs::metadata(format!("/proc/{pid}/ns/pid")).ok().map(|found| found.ino());
        let target = namespace(prey.pid());
        let cmdline = COMMAND.map(|word| format!("{word}\0")).concat();
        wait_until("the command to sleep", || {
            assert!(running.porthole.try_wait().unwrap().is_none(), "porthole exec {options:?} ended");
            let all = fs::read_dir("/proc").unwrap().flatten();
            let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
            let is = |pid: u32, file: &str, what: &str| {
                fs::read_to_string(format!("/proc/{pid}/{file}")).is_ok_and(|text| text.contains(what))
            };
            let mut found = pids.filter(|&pid| {
                namespace(pid) == target && is(pid, "cmdline", &cmdline) && is(pid, "wchan", "nanosleep")
            });
            running.pid = found.next().unwrap_or_default();
            running.pid != 0
        });
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.porthole.kill());
        drop(self.porthole.wait());
        // It dies with porthole; the next one must not be taken for it.
        let command = format!("/proc/{}", self.pid);
        let until = Instant::now() + Duration::from_secs(5);
        while Path::new(&command).exists() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Finished {
    /// Of a command with these options of `exec`.
    pub fn learn(prey: &Prey, options: &[&str]) -> Self {
        let running = Running::start(prey, options);
        let at = |file: &str| format!("/proc/{}/{file}", running.pid);
        let read = |file: &str| fs::read_to_string(at(file)).unwrap();
        let link = |file: &str| fs::read_link(at(file)).unwrap().display().to_string();
        let words = |file: &str| read(file).split_terminator('\0').map(str::to_owned).collect();
        let numbers = fs::read_dir(at("fd")).unwrap().flatten();
        let numbers = numbers.filter_map(|entry| entry.file_name().into_string().ok());
        Self {
            status: read("status").lines().map(|line| as_inside(prey, line)).collect(),
            words: words("cmdline"),
            environ: words("environ"),
            mounts: read("mountinfo").lines().map(mount).collect(),
            descriptors: numbers
                .map(|number| format!("{number} -> {}", link(&format!("fd/{number}"))))
                .collect(),
            links: BTreeSet::from([link("exe"), link("cwd")]),
            sees: places_below(&at("root")).into_iter().collect(),
        }
    }

    /// What is wrong with one line of the attacker, if anything is.
    pub fn wrong(&self, kind: &str, value: &str) -> Option<String> {
        let more = match kind {
            "status" => self.status_has_more(value),
            // The program's words, or its path where it was found by name.
            "cmdline" => !value.is_empty() && !self.words.contains(value) && !is_name_of_porthole(value),
            "environ" => !self.environ.contains(value),
            "mountinfo" => !self.mounts.contains(&mount(value)),
            "fd" => !self.descriptors.contains(value),
            "stolen" | "writes-to" | "cwd-is" | "exe-writable" | "memory" => true,
            "exe" => !self.links.contains(value) && !is_name_of_porthole(value),
            "cwd" => value != "/" && !self.links.contains(value),
            "sees" => !self.sees.contains(value.split(' ').next().unwrap_or_default()),
            _ => false,
        };
        let said = match kind {
            "mountinfo" => mount(value),
            "fd" | "stolen" => without_numbers(value),
            _ => value.to_owned(),
        };
        more.then(|| format!("{kind} {said}"))
    }

    fn status_has_more(&self, line: &str) -> bool {
        let Some((name, value)) = line.split_once(": ") else { return false };
        let own = self.status.iter().find_map(|own| own.strip_prefix(name)?.strip_prefix(": "));
        let own = own.unwrap_or_default().trim();
        let set = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let number = |text: &str| text.parse::<u32>().unwrap();
        match name {
            _ if name.starts_with("Cap") => set(value) & !set(own) != 0,
            "NoNewPrivs" | "Seccomp" => number(value) < number(own),
            "Uid" | "Gid" | "Groups" => value.trim() != own,
            _ => false,
        }
    }
}

/// A line of a status as a process of the container reads it.
fn as_inside(prey: &Prey, line: &str) -> String {
    let words = line.split_whitespace();
    let number = |word: &str| word.parse().map_or(word.to_owned(), |id| prey.number(id).to_string());
    match ["Uid:", "Gid:", "Groups:"].iter().any(|name| line.starts_with(name)) {
        true => words.map(number).collect::<Vec<_>>().join(" "),
        false => line.replace('\t', " "),
    }
}

/// What says no more than that it is porthole that becomes the command.
fn is_name_of_porthole(text: &str) -> bool {
    let name = text.rsplit('/').next().unwrap_or_default();
    ["porthole", "memfd:porthole"].contains(&name.trim_end_matches(" (deleted)"))
}

/// Numbers of pipes and processes are others each time, and say nothing.
fn without_numbers(text: &str) -> String {
    let parts = text.split_inclusive(|c: char| !c.is_ascii_digit());
    let is_number = |part: &str| part.len() > 3 && part.starts_with(|c: char| c.is_ascii_digit());
    parts.map(|part| if is_number(part) { "…" } else { part }).collect()
}

/// A mount without the numbers that every mount namespace gives anew.
fn mount(line: &str) -> String {
    let fields: Vec<_> = line.split(' ').collect();
    let kind = fields.iter().position(|field| *field == "-").unwrap();
    [&fields[3..6], &fields[kind + 1..kind + 3]].concat().join(" ")
}
