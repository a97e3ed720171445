//! Records, processes and pins against each other: what `porthole reconcile` would mend.

use super::check::{Check, count, few};
use super::{NEEDS_ROOT, Setting, Subject};
use crate::engines::views;
use porthole_registry::container_id::ContainerId;
use porthole_registry::host::{Host, boot_id};
use porthole_registry::identity::Engine;
use porthole_registry::namespace::NamespaceId;
use porthole_registry::registration::Registry;
use porthole_registry::store::Store;
use porthole_registry::views::Seen;
use porthole_registry::{Error, Found, NetnsDir};
use rustix::fs::CWD;
use rustix::io::Errno;
use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::time::Duration;

pub(super) const SUBJECT: Subject =
    Subject { checks: &["pins", "dead-records", "leaked-pins", "idle-pins", "unfinished-changes"], look };

/// A hook that is at work leaves things half-done for less than its deadline; only what stays so is wrong.
const GRACE: Duration = Duration::from_millis(1500);
const RECONCILE: &str = "`porthole reconcile`";

/// What does not agree, each by its name for people.
#[derive(Debug, Default)]
struct Facts {
    records: usize,
    pins: usize,
    idle: usize,
    /// Live containers whose pin is missing or another namespace's.
    unpinned: BTreeSet<String>,
    /// Records whose process has ended.
    dead: BTreeSet<String>,
    /// The same, where the engine tells of a container's end only when it is removed.
    ended: BTreeSet<String>,
    /// Pins that no record tells of, and whose holder has gone, too.
    leaked: BTreeSet<String>,
    /// Pins that wait for a holder that has gone.
    abandoned: BTreeSet<String>,
    /// Pins without members whose holder may not be looked at.
    unknown: BTreeSet<String>,
    /// Pins that are going, drafts.
    unfinished: BTreeSet<String>,
    /// Entries that cannot be looked at, each with why.
    unreadable: BTreeSet<String>,
}

fn look(setting: &Setting) -> Vec<Check> {
    let facts = gather(setting).and_then(|first| {
        if first.is_fine() {
            return Ok(first);
        }
        std::thread::sleep(GRACE);
        gather(setting).map(|second| second.and(&first))
    });
    match facts {
        Ok(facts) => judge(&facts),
        Err(Error::System { source: Errno::ACCESS | Errno::PERM, .. }) if !setting.is_root => {
            SUBJECT.checks.iter().map(|name| Check::skip(name, "registry", NEEDS_ROOT)).collect()
        }
        Err(error) => {
            vec![Check::fail("pins", "registry", error.to_string(), error.remedy().unwrap_or(RECONCILE))]
        }
    }
}

impl Facts {
    fn lists(&self) -> [&BTreeSet<String>; 7] {
        let Self { unpinned, dead, ended, leaked, abandoned, unfinished, unreadable, .. } = self;
        [unpinned, dead, ended, leaked, abandoned, unfinished, unreadable]
    }

    /// The value of a result, or the default, with the error kept: an entry that cannot be read costs itself alone.
    fn value<T: Default>(&mut self, of: &str, result: Result<T, Error>) -> T {
        result.unwrap_or_else(|error| {
            self.unreadable.insert(format!("{of}: {error}"));
            T::default()
        })
    }

    fn is_fine(&self) -> bool {
        self.lists().iter().all(|list| list.is_empty())
    }

    /// What was so then and still is.
    fn and(mut self, earlier: &Self) -> Self {
        let keep = |list: &mut BTreeSet<String>, earlier: &BTreeSet<String>| {
            list.retain(|name| earlier.contains(name))
        };
        keep(&mut self.unpinned, &earlier.unpinned);
        keep(&mut self.dead, &earlier.dead);
        keep(&mut self.ended, &earlier.ended);
        keep(&mut self.leaked, &earlier.leaked);
        keep(&mut self.abandoned, &earlier.abandoned);
        keep(&mut self.unfinished, &earlier.unfinished);
        keep(&mut self.unreadable, &earlier.unreadable);
        self
    }
}

fn gather(setting: &Setting) -> Result<Facts, Error> {
    let config = &setting.config;
    let mut facts = Facts::default();
    let Some(store) = Store::open(&config.run_dir)? else { return Ok(facts) };
    let boot = boot_id().map_err(porthole_registry::error::Step::BootId.on("random/boot_id"))?;
    let host = Host::open().map_err(porthole_registry::error::Step::OpenNamespace.on("/proc/1/ns"))?;
    let registry = Registry::new(store, config.netns_dir.clone()).seeing(views::all(&host));
    let store = &registry.store;
    let mut recorded = HashSet::new();
    for file in facts.value("records", store.files()) {
        // What cannot be read is another check's.
        let Some((_, Ok(record))) = store.listed(&file) else { continue };
        facts.records += 1;
        let label = record.pod.as_ref().map_or_else(String::new, |pod| format!(" of {}", pod.name));
        let label = format!("{}{label}", record.id.short());
        if record.is_running(&boot) {
            match registry.is_pinned(&record) {
                Ok(true) => {}
                Ok(false) => drop(facts.unpinned.insert(label)),
                Err(error) => facts.value(&label, Err(error)),
            }
        } else if record.engine == Engine::CriO {
            facts.ended.insert(label);
        } else {
            facts.dead.insert(label);
        }
        recorded.insert(record.id);
    }
    let idle: HashSet<_> = facts.value("idle", store.idle()).into_iter().collect();
    facts.idle = idle.len();
    let dir = NetnsDir::open(&config.netns_dir)?;
    for ino in facts.value("netns", store.pinned()) {
        facts.pins += 1;
        let looked = pin(&mut facts, &registry, dir.as_ref(), ino, &recorded, &idle);
        facts.value(&format!("netns/{ino}"), looked);
    }
    let going = facts.value("going", store.going());
    facts.unfinished.extend(going.iter().map(|ino| format!("going/{ino}")));
    let draft = "containers/.draft";
    if config.run_dir.join(draft).exists() {
        facts.unfinished.insert(draft.to_owned());
    }
    Ok(facts)
}

/// Looks at one entry of the index.
fn pin(
    facts: &mut Facts,
    registry: &Registry,
    dir: Option<&NetnsDir>,
    ino: u64,
    recorded: &HashSet<ContainerId>,
    idle: &HashSet<u64>,
) -> Result<(), Error> {
    let store = &registry.store;
    let members = store.members(ino)?;
    let strays = members.iter().filter(|id| !recorded.contains(*id));
    let name = store.pin_name(ino)?;
    let label = name.as_ref().map_or_else(|| format!("netns/{ino}"), ToString::to_string);
    facts.leaked.extend(strays.map(|id| format!("{label} (its member {} has no record)", id.short())));
    if !members.is_empty() {
        return Ok(());
    }
    let found = match (dir, &name) {
        (Some(dir), Some(name)) => dir.look(name)?,
        _ => Found::Nothing,
    };
    match (holder(registry, ino, found)?, idle.contains(&ino)) {
        (Held::Yes, _) => {}
        (Held::Unknown, _) => drop(facts.unknown.insert(label)),
        (Held::No, true) => drop(facts.abandoned.insert(label)),
        (Held::No, false) => drop(facts.leaked.insert(label)),
    }
    Ok(())
}

/// Whether something beside members keeps a namespace alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Yes,
    No,
    /// `/proc/PID/ns` of others is root's to look at.
    Unknown,
}

fn holder(registry: &Registry, ino: u64, found: Found) -> Result<Held, Error> {
    let Found::Inode(id) = found else { return Ok(Held::No) };
    if id.ino != ino {
        return Ok(Held::No);
    }
    Ok(match (registry.held(id)?, registry.store.holder(ino)?) {
        (Seen::Yes, _) => Held::Yes,
        (Seen::Unknown, _) => Held::Unknown,
        (Seen::No, Some(path)) => is_at(&path, id),
        (Seen::No, None) => Held::No,
    })
}

fn is_at(path: &Path, id: NamespaceId) -> Held {
    match NamespaceId::at(CWD, path) {
        Ok(found) if found == id => Held::Yes,
        Err(Errno::ACCESS | Errno::PERM) => Held::Unknown,
        _ => Held::No,
    }
}

fn judge(facts: &Facts) -> Vec<Check> {
    let listed = |names: &BTreeSet<String>| few(&names.iter().cloned().collect::<Vec<_>>());
    let line = |name: &'static str, good: String, found: &BTreeSet<String>, what: &str, remedy: &str| {
        if found.is_empty() {
            Check::ok(name, "registry", good)
        } else {
            Check::fail(name, count(found.len(), what), listed(found), remedy)
        }
    };
    let pins = line(
        "pins",
        format!(
            "{} for {}: every registered container that lives has its own",
            count(facts.pins, "pin"),
            count(facts.records, "record")
        ),
        &facts.unpinned,
        "live container",
        &format!("no pin, or that of another namespace: {RECONCILE} makes it"),
    );
    let dead = if facts.dead.is_empty() && !facts.ended.is_empty() {
        // CRI-O calls poststop when a container is removed, not when it ends.
        Check::warn(
            "dead-records",
            count(facts.ended.len(), "ended container"),
            listed(&facts.ended),
            format!("CRI-O tells of their end when they are removed; {RECONCILE} drops them now"),
        )
    } else {
        let good = "every recorded process lives".to_owned();
        let remedy = format!("their end was not told: {RECONCILE} removes what they left");
        line("dead-records", good, &facts.dead, "record", &remedy)
    };
    let leaked = line(
        "leaked-pins",
        "every pin has a record or a holder".to_owned(),
        &facts.leaked,
        "pin",
        &format!("nothing holds them: {RECONCILE} removes them"),
    );
    let unknown = if facts.unknown.is_empty() {
        String::new()
    } else {
        format!("; of {} the holder is root's to look at", facts.unknown.len())
    };
    let idle = line(
        "idle-pins",
        format!("{} without members, each waits for its pod's end{unknown}", count(facts.idle, "pin")),
        &facts.abandoned,
        "pin",
        &format!("the pod has gone: {RECONCILE} removes them"),
    );
    let unfinished = line(
        "unfinished-changes",
        "none".to_owned(),
        &facts.unfinished,
        "change",
        &format!("left by a hook that was killed: {RECONCILE} finishes them"),
    );
    let mut checks = vec![pins, dead, leaked, idle, unfinished];
    if !facts.unreadable.is_empty() {
        let remedy = format!("{RECONCILE} moves what is in the registry's way to quarantine");
        let subject = format!("{} that cannot be read", count(facts.unreadable.len(), "thing"));
        checks.push(Check::fail("pins", subject, listed(&facts.unreadable), remedy));
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Verdict;

    fn set(name: &str) -> BTreeSet<String> {
        BTreeSet::from([name.to_owned()])
    }

    fn wrong(facts: &Facts) -> Vec<(&'static str, Verdict)> {
        let checks = judge(facts);
        assert_eq!(checks.iter().map(|check| check.name).collect::<Vec<_>>(), SUBJECT.checks);
        let wrong = checks.iter().filter(|check| check.verdict != Verdict::Ok);
        wrong.map(|check| (check.name, check.verdict)).collect()
    }

    #[test]
    fn where_all_agrees_nothing_is_wrong() {
        assert_eq!(wrong(&Facts::default()), []);
        assert_eq!(wrong(&Facts { idle: 3, unknown: set("web-0"), ..Facts::default() }), []);
    }

    #[test]
    fn each_kind_of_disagreement_is_a_failure_of_its_own_line() {
        let fail = |name| [(name, Verdict::Fail)];
        assert_eq!(wrong(&Facts { unpinned: set("x"), ..Facts::default() }), fail("pins"));
        assert_eq!(wrong(&Facts { dead: set("x"), ..Facts::default() }), fail("dead-records"));
        assert_eq!(wrong(&Facts { leaked: set("x"), ..Facts::default() }), fail("leaked-pins"));
        assert_eq!(wrong(&Facts { abandoned: set("x"), ..Facts::default() }), fail("idle-pins"));
        assert_eq!(wrong(&Facts { unfinished: set("x"), ..Facts::default() }), fail("unfinished-changes"));
    }

    #[test]
    fn an_entry_that_cannot_be_read_is_told_beside_all_others() {
        let mut facts = Facts { dead: set("x"), ..Facts::default() };
        let error = Error::NotADirectory { path: "/run/porthole/netns/7".into(), found: "a file" };
        facts.value::<()>("netns/7", Err(error));
        let checks = judge(&facts);
        let failed: Vec<_> = checks.iter().filter(|check| check.verdict == Verdict::Fail).collect();
        assert_eq!((failed[0].name, failed[1].name), ("dead-records", "pins"));
        assert!(failed[1].evidence.contains("netns/7 is a file"), "{}", failed[1].evidence);
    }

    #[test]
    fn an_ended_container_that_cri_o_has_not_removed_is_a_warning() {
        assert_eq!(wrong(&Facts { ended: set("x"), ..Facts::default() }), [("dead-records", Verdict::Warn)]);
        let both = Facts { ended: set("x"), dead: set("y"), ..Facts::default() };
        assert_eq!(wrong(&both), [("dead-records", Verdict::Fail)]);
    }

    #[test]
    fn what_a_hook_was_just_doing_is_not_told() {
        let first = Facts { unpinned: set("a"), unfinished: set("going/1"), ..Facts::default() };
        let second = Facts { unpinned: set("b"), unfinished: set("going/1"), ..Facts::default() };
        assert_eq!(wrong(&second.and(&first)), [("unfinished-changes", Verdict::Fail)]);
    }
}
