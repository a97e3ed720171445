//! The registry: its configuration, its directories, its lock, its records.

use super::check::{Check, Finding, count, few};
use super::{NEEDS_ROOT, Setting, Subject, files};
use crate::locks::flock_holder;
use porthole_registry::record::SCHEMA;
use porthole_registry::store::Store;
use porthole_registry::stray::Stray;
use porthole_registry::{Error, bounded};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(super) const SUBJECT: Subject = Subject {
    checks: &[
        "configuration",
        "registry-directory",
        "registry-lock",
        "registry-entries",
        "records",
        "quarantine",
    ],
    look,
};

/// Its directories, besides itself.
const DIRECTORIES: [&str; 5] = ["containers", "netns", "going", "idle", "adopted"];
/// A change takes a fraction of a millisecond, and a queue of them changes hands.
const LONG: Duration = Duration::from_secs(1);

fn look(setting: &Setting) -> Vec<Check> {
    let run_dir = &setting.config.run_dir;
    let mut checks = configuration(&setting.config_problems);
    let store = match Store::open(run_dir) {
        Ok(Some(store)) => store,
        Ok(None) => {
            let evidence = "not there yet: the first container makes it";
            checks.push(Check::ok("registry-directory", run_dir.display().to_string(), evidence));
            return checks;
        }
        Err(error) => {
            checks.push(Check::fail(
                "registry-directory",
                run_dir.display().to_string(),
                error.to_string(),
                error.remedy().unwrap_or_default(),
            ));
            return checks;
        }
    };
    checks.push(directory(run_dir, &loose(run_dir), files::is_in_memory(run_dir)));
    checks.push(lock(run_dir));
    let (strays, unreadable) = store.strays();
    checks.push(entries(&run_dir.display().to_string(), &strays, &unreadable));
    checks.push(records(run_dir, &store));
    checks.push(quarantine(&run_dir.join("quarantine")));
    checks
}

fn configuration(problems: &[String]) -> Vec<Check> {
    let name = "configuration";
    if problems.is_empty() {
        return vec![Check::ok(name, "config.toml", "no mistake, or not there")];
    }
    let each = |problem: &String| {
        let remedy = "docs: reference/config.md lists every key; until then the hook goes by the default, and porthole refuses it";
        let (file, what) = problem.split_once(": ").unwrap_or(("config.toml", problem));
        Check::fail(name, file, what, remedy)
    };
    problems.iter().map(each).collect()
}

fn loose(run_dir: &Path) -> Vec<files::Loose> {
    let below = DIRECTORIES.iter().map(|name| run_dir.join(name));
    let all = std::iter::once(run_dir.to_owned()).chain(below);
    let of = |path: PathBuf| {
        let meta = std::fs::symlink_metadata(&path).ok()?;
        files::loose(&path, meta.mode(), meta.uid(), meta.gid(), true)
    };
    // Everything above it counts as well: who may rename it can put another in its place.
    let above = run_dir.parent().and_then(files::loose_on_the_way);
    all.filter_map(of).chain(above).collect()
}

fn directory(run_dir: &Path, loose: &[files::Loose], is_in_memory: bool) -> Check {
    let mut findings: Vec<_> = loose
        .iter()
        .map(|loose| {
            let path = loose.path.display();
            Finding::fail(
                format!("{path} {}", loose.how),
                format!("`chown root: {path} && chmod go-w {path}`"),
            )
        })
        .collect();
    if !is_in_memory {
        findings.push(Finding::warn(
            "is on no tmpfs: records and pins of an earlier boot stay until `porthole reconcile`",
            "mount a tmpfs at /run, or set run_dir in /etc/porthole/config.toml to a place on one",
        ));
    }
    Check::of(
        "registry-directory",
        run_dir.display().to_string(),
        "on a tmpfs, written by root alone",
        findings,
    )
}

/// Who holds the lock: /proc/locks tells, so it need not be taken.
fn lock(run_dir: &Path) -> Check {
    let path = run_dir.join("lock");
    let subject = path.display().to_string();
    let meta = match std::fs::symlink_metadata(&path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Check::ok("registry-lock", subject, "not there yet: the first change makes it");
        }
        Err(e) => {
            return Check::warn("registry-lock", subject, e.to_string(), "see why it cannot be looked at");
        }
    };
    let until = Instant::now() + LONG;
    let mut first = None;
    loop {
        let Ok(text) = bounded::text("/proc/locks", bounded::LISTS) else {
            return Check::skip("registry-lock", subject, "/proc/locks cannot be read");
        };
        let now = flock_holder(&text, meta.dev(), meta.ino());
        first = first.or(now);
        if now.is_none() || now != first {
            return Check::ok("registry-lock", subject, "not held for long");
        }
        if Instant::now() >= until {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = first.unwrap_or_default();
    let name = bounded::text(format!("/proc/{pid}/comm"), bounded::FACTS).unwrap_or_default();
    let evidence = format!(
        "held by process {pid} ({}) for more than {} s: hooks wait for it, and give up",
        name.trim(),
        LONG.as_secs()
    );
    Check::fail(
        "registry-lock",
        subject,
        evidence,
        format!("see what process {pid} does; its end releases the lock"),
    )
}

/// Strays in the registry.
fn entries(subject: &str, strays: &[Stray], unreadable: &[Error]) -> Check {
    let mut findings: Vec<_> = unreadable
        .iter()
        .map(|error| Finding::fail(error.to_string(), error.remedy().unwrap_or("see why it cannot be read")))
        .collect();
    let (in_the_way, unknown): (Vec<_>, Vec<_>) = strays.iter().partition(|stray| stray.expected.is_some());
    let told = |strays: &[&Stray]| {
        let each = strays.iter().map(|stray| format!("{} is {stray}", stray.path.display()));
        few(&each.collect::<Vec<_>>())
    };
    if !in_the_way.is_empty() {
        findings.push(Finding::fail(told(&in_the_way), "`porthole reconcile` moves them to quarantine"));
    }
    if !unknown.is_empty() {
        let remedy = "remove them, unless a newer porthole has written them: this one does not read them";
        findings.push(Finding::warn(told(&unknown), remedy));
    }
    Check::of("registry-entries", subject, "nothing but the registry's own", findings)
}

fn records(run_dir: &Path, store: &Store) -> Check {
    let subject = run_dir.join("containers").display().to_string();
    let listed = match store.files() {
        Ok(files) => files.iter().filter_map(|file| store.listed(file)).collect::<Vec<_>>(),
        Err(error) => {
            return Check::fail("records", subject, error.to_string(), error.remedy().unwrap_or_default());
        }
    };
    let bad: Vec<_> =
        listed.iter().filter_map(|(_, record)| Some(record.as_ref().err()?.to_string())).collect();
    let newer =
        listed.iter().filter(|(_, record)| record.as_ref().is_ok_and(|record| record.schema > SCHEMA));
    judge_records(&subject, listed.len(), newer.count(), &bad)
}

fn judge_records(subject: &str, all: usize, newer: usize, bad: &[String]) -> Check {
    if bad.is_empty() {
        let newer = match newer {
            0 => String::new(),
            newer => format!("; {newer} by a newer porthole, whose unknown fields are kept"),
        };
        return Check::ok(
            "records",
            subject,
            format!("{}, all of them readable{newer}", count(all, "record")),
        );
    }
    Check::fail(
        "records",
        subject,
        format!("{} of {} cannot be read: {}", bad.len(), count(all, "record"), few(bad)),
        "`porthole reconcile` moves them to quarantine and registers their containers again",
    )
}

fn quarantine(path: &Path) -> Check {
    let subject = path.display().to_string();
    match std::fs::read_dir(path) {
        Ok(entries) => {
            let names: Vec<_> =
                entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            judge_quarantine(&subject, &names)
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => judge_quarantine(&subject, &[]),
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            Check::skip("quarantine", subject, NEEDS_ROOT)
        }
        Err(e) => Check::warn(
            "quarantine",
            &subject,
            e.to_string(),
            format!("move {subject} away: it has to be a directory"),
        ),
    }
}

fn judge_quarantine(subject: &str, names: &[String]) -> Check {
    if names.is_empty() {
        return Check::ok("quarantine", subject, "empty");
    }
    let evidence = format!("{}, moved out of the way: {}", count(names.len(), "file"), few(names));
    Check::warn("quarantine", subject, evidence, "see what wrote them, then remove the files")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Verdict;

    #[test]
    fn each_mistake_of_the_configuration_is_a_failure_of_its_own() {
        assert_eq!(configuration(&[])[0].verdict, Verdict::Ok);
        let checks =
            configuration(&["/c.toml: speed: unknown key".into(), "/c.toml: pin.x: unknown key".into()]);
        assert_eq!((checks.len(), checks[0].subject.as_str()), (2, "/c.toml"));
        assert_eq!((checks[0].verdict, checks[0].evidence.as_str()), (Verdict::Fail, "speed: unknown key"));
    }

    #[test]
    fn a_directory_that_others_may_write_is_a_failure_and_one_that_stays_a_warning() {
        let verdict = |loose: &[_], memory| directory(Path::new("/run/porthole"), loose, memory).verdict;
        assert_eq!(verdict(&[], true), Verdict::Ok);
        assert_eq!(verdict(&[], false), Verdict::Warn);
        let loose =
            files::Loose { path: "/run/porthole".into(), how: "belongs to uid 7".into(), is_grave: false };
        assert_eq!(verdict(&[loose], true), Verdict::Fail);
    }

    #[test]
    fn what_is_in_the_registrys_way_is_a_failure_and_a_name_of_nobody_a_warning() {
        let stray = |path: &str, expected| Stray { path: path.into(), found: "a file", expected };
        let (way, name) = (stray("going/7", Some("a directory")), stray("netns/note", None));
        assert_eq!(entries("/r", &[], &[]).verdict, Verdict::Ok);
        let check = entries("/r", &[name.clone(), way], &[]);
        assert_eq!(check.verdict, Verdict::Fail);
        assert!(
            check.evidence.contains("going/7 is a file where a directory has to be"),
            "{}",
            check.evidence
        );
        assert!(check.evidence.contains("netns/note"), "{}", check.evidence);
        assert_eq!(entries("/r", &[name], &[]).verdict, Verdict::Warn);
    }

    #[test]
    fn the_holder_of_the_lock_is_found_and_who_waits_is_not() {
        let text = "1: POSIX  ADVISORY  WRITE 10 00:1b:73 0 EOF\n\
            2: -> FLOCK  ADVISORY  WRITE 11 00:1b:73 0 EOF\n\
            3: FLOCK  ADVISORY  WRITE 12 00:1b:73 0 EOF\n\
            4: FLOCK  ADVISORY  WRITE 13 00:1b:74 0 EOF\n";
        let dev = rustix::fs::makedev(0, 0x1b);
        assert_eq!(flock_holder(text, dev, 73), Some(12));
        assert_eq!(flock_holder(text, dev, 74), Some(13));
        assert_eq!(flock_holder(text, dev, 75), None);
    }

    #[test]
    fn records_that_cannot_be_read_and_those_that_were_moved_away_are_told() {
        assert_eq!(judge_records("/r", 2, 0, &[]).verdict, Verdict::Ok);
        assert_eq!(judge_records("/r", 2, 0, &["record of x: bad".into()]).verdict, Verdict::Fail);
        let newer = judge_records("/r", 2, 1, &[]);
        assert_eq!((newer.verdict, newer.evidence.contains("1 by a newer")), (Verdict::Ok, true));
        assert_eq!(judge_quarantine("/q", &[]).verdict, Verdict::Ok);
        assert_eq!(judge_quarantine("/q", &["x.json".into()]).verdict, Verdict::Warn);
    }
}
