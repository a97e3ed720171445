//! An index of all names, so that finding one target does not read a thousand records.
//!
//! A cache and nothing more: `<run_dir>/names` is as good as the directories it was made from are unchanged since, and
//! otherwise made again from the records. It only tells which records to read; what a target means, and whether it is
//! ambiguous, is told from the records themselves.

use crate::inventory::{Inventory, Pod};
use crate::netns;
use crate::target::Selector;
use porthole_registry::container_id::ContainerId;
use porthole_registry::deadline::Deadline;
use porthole_registry::namespace::NamespaceKind;
use porthole_registry::process::Process;
use porthole_registry::store::Store;
use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, statat};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::str::Split;
use std::time::{Duration, SystemTime};

const FILE: &str = "names";
const DRAFT: &str = ".names";
/// With fewer records than this, reading them all is as quick.
const WORTH_IT: usize = 16;
const BUFFER: usize = 16 << 10;
/// File times are as fine as the kernel's tick: what changed that recently may change again without a sign of it.
const TICK: Duration = Duration::from_millis(20);
/// The shortest prefix of an id that is taken for one.
pub(crate) const SHORTEST_PREFIX: usize = 4;

/// The state of the directories that records and idle pins are in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    text: String,
    newest: Duration,
}

impl Stamp {
    /// Taken before the records are read.
    pub(crate) fn of(store: &Store) -> Option<Self> {
        let mut stamp = Self { text: String::from("porthole names 2"), newest: Duration::ZERO };
        for directory in ["containers", "idle"] {
            let stat = statat(store.dir(), directory, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            let seconds = u64::try_from(stat.st_mtime).ok()?;
            let changed = Duration::new(seconds, u32::try_from(stat.st_mtime_nsec).ok()?);
            stamp.newest = stamp.newest.max(changed);
            write!(stamp.text, " {}:{}:{}", stat.st_dev, stat.st_ino, changed.as_nanos()).ok()?;
        }
        Some(stamp)
    }

    fn has_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        now.checked_sub(self.newest).is_some_and(|since| since > TICK)
    }
}

/// What may have to be read for a target.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Selected {
    /// Of these containers the records.
    pub(crate) containers: Vec<ContainerId>,
    /// Of these namespaces the pins without members.
    pub(crate) idle: Vec<u64>,
}

/// A pod, on one line: inode, namespace, name, pin, id of a sandbox without a record, then id and name of every container.
/// A pin without members has none.
struct Line<'a> {
    netns: &'a str,
    namespace: &'a str,
    pod: &'a str,
    pin: &'a str,
    sandbox: &'a str,
    containers: Split<'a, char>,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split('\t');
        let mut next = || fields.next();
        Some(Self {
            netns: next()?,
            namespace: next()?,
            pod: next()?,
            pin: next()?,
            sandbox: next()?,
            containers: fields,
        })
    }

    fn may_be(&self, wanted: &Wanted<'_>) -> bool {
        match wanted {
            Wanted::Word(word) => {
                let by_prefix = |field: &str| word.len() >= SHORTEST_PREFIX && field.starts_with(word);
                [self.pod, self.pin, self.sandbox].contains(word)
                    || by_prefix(self.sandbox)
                    || self.containers.clone().any(|field| field == *word || by_prefix(field))
            }
            Wanted::Pod(namespace, pod) => self.namespace == *namespace && self.pod == *pod,
            Wanted::Netns(ino) => self.netns == ino,
        }
    }

    fn add_to(mut self, selected: &mut Selected) -> Option<()> {
        let before = selected.containers.len();
        while let Some(id) = self.containers.next() {
            selected.containers.push(ContainerId::parse(id).ok()?);
            self.containers.next()?;
        }
        if selected.containers.len() == before {
            selected.idle.push(self.netns.parse().ok()?);
        }
        Some(())
    }
}

/// A target, as far as it can be looked up here.
enum Wanted<'a> {
    Word(&'a str),
    Pod(&'a str, &'a str),
    Netns(String),
}

impl<'a> Wanted<'a> {
    /// What a line has in it if it is meant.
    fn needle(&self) -> &str {
        match self {
            Self::Word(word) | Self::Pod(_, word) => word,
            Self::Netns(ino) => ino,
        }
    }

    fn of(selector: &'a Selector, netns_dir: &Path) -> Option<Self> {
        let at = |path: &Path| Some(Self::Netns(netns::open(path).ok()?.1.ino.to_string()));
        match selector {
            Selector::Word(word) => Some(Self::Word(word)),
            Selector::Pod(namespace, pod) | Selector::Container(namespace, pod, _) => {
                Some(Self::Pod(namespace, pod))
            }
            Selector::Pid(pid) => {
                let netns = Process::open(*pid).ok()?.namespace(NamespaceKind::Net).ok()?;
                Some(Self::Netns(netns.ino.to_string()))
            }
            Selector::Netns(name) => at(&netns_dir.join(name)),
            Selector::Path(path) => at(path),
            Selector::Ip(_) => None,
        }
    }
}

/// What to read for this target; none where the index cannot tell.
pub(crate) fn select(store: &Store, selector: &Selector, netns_dir: &Path) -> Option<Selected> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(store.dir(), FILE, flags, Mode::empty()).ok()?);
    let mut lines = BufReader::with_capacity(BUFFER, file);
    let mut stamp = String::new();
    lines.read_line(&mut stamp).ok()?;
    if stamp.trim_end() != Stamp::of(store)?.text {
        return None;
    }
    found_in(lines, &Wanted::of(selector, netns_dir)?)
}

/// Reads on line by line, with the memory of one buffer: pages that are not touched cost nothing.
fn found_in(mut lines: impl BufRead, wanted: &Wanted<'_>) -> Option<Selected> {
    let mut selected = Selected::default();
    let mut line = String::new();
    while lines.read_line(&mut line).ok()? > 0 {
        // Most lines have nothing to do with it, and end here.
        if line.contains(wanted.needle()) {
            let line = Line::parse(line.trim_end_matches('\n'))?;
            if line.may_be(wanted) {
                line.add_to(&mut selected)?;
            }
        }
        line.clear();
    }
    Some(selected)
}

/// Writes the index of what was read under `stamp`. Best effort: without it the next one reads everything again.
pub(crate) fn keep(store: &Store, stamp: &Stamp, inventory: &Inventory) {
    let records: usize = inventory.pods.iter().map(|pod| pod.containers.len().max(1)).sum();
    if records < WORTH_IT || !stamp.has_settled() || !rustix::process::geteuid().is_root() {
        return;
    }
    let Some(text) = text(stamp, &inventory.pods) else { return };
    // Only to be alone with the draft; whoever holds the lock has something better to do.
    let Ok(_lock) = store.lock(Deadline::after(Duration::ZERO)) else { return };
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(draft) = openat(store.dir(), DRAFT, flags, Mode::from_raw_mode(0o644)) else { return };
    if File::from(draft).write_all(text.as_bytes()).is_ok() {
        let _ = renameat(store.dir(), DRAFT, store.dir(), FILE);
    } else {
        let _ = rustix::fs::unlinkat(store.dir(), DRAFT, AtFlags::empty());
    }
}

fn text(stamp: &Stamp, pods: &[Pod]) -> Option<String> {
    let mut text = format!("{}\n", stamp.text);
    for pod in pods {
        let netns = pod.netns.map(|id| id.ino.to_string()).unwrap_or_default();
        let pin = pod.pin.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut fields = vec![netns.as_str(), pod.namespace.as_deref().unwrap_or_default(), &pod.name, &pin];
        fields.push(pod.sandbox_id().unwrap_or_default());
        for record in &pod.containers {
            fields.extend([record.id.as_str(), record.name.as_deref().unwrap_or_default()]);
        }
        // A name with a separator in it is no name that an index of lines can hold.
        if fields.iter().any(|field| field.contains(['\t', '\n'])) {
            return None;
        }
        writeln!(text, "{}", fields.join("\t")).ok()?;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "1\tshop\tweb-0\tweb-0\t5a5a111111\tabcdef0123\tapp\tabcd999999\tsidecar\n\
                         2\tstage\tweb-0\tweb-0.stage\t\tffff000000\tapp\n3\tshop\tidle-0\tidle-0\t5a5a222222\n";

    fn ids(wanted: &Wanted<'_>) -> (Vec<String>, Vec<u64>) {
        let found = found_in(LINES.as_bytes(), wanted).unwrap();
        (found.containers.iter().map(ToString::to_string).collect(), found.idle)
    }

    #[test]
    fn a_name_selects_whole_pods_and_all_that_have_it() {
        assert_eq!(ids(&Wanted::Word("web-0")).0.len(), 3, "ambiguous stays ambiguous");
        assert_eq!(ids(&Wanted::Word("sidecar")).0, ["abcdef0123", "abcd999999"]);
        assert_eq!(ids(&Wanted::Word("web-0.stage")).0, ["ffff000000"]);
        assert_eq!(ids(&Wanted::Pod("shop", "web-0")).0.len(), 2);
        assert_eq!(ids(&Wanted::Netns("2".into())).0, ["ffff000000"]);
        assert_eq!(ids(&Wanted::Word("idle-0")), (vec![], vec![3]));
        assert_eq!(ids(&Wanted::Word("5a5a222222")), (vec![], vec![3]), "by its sandbox");
        assert_eq!(ids(&Wanted::Word("5a5a")).0.len(), 2, "both");
    }

    #[test]
    fn a_prefix_selects_only_where_it_is_long_enough() {
        assert_eq!(ids(&Wanted::Word("ffff")).0, ["ffff000000"]);
        assert!(ids(&Wanted::Word("fff")).0.is_empty());
        assert!(ids(&Wanted::Word("none")).0.is_empty());
    }

    #[test]
    fn what_changed_a_moment_ago_is_not_kept() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let changed = |newest| Stamp { text: String::new(), newest };
        assert!(!changed(now).has_settled());
        assert!(!changed(now + Duration::from_secs(9)).has_settled());
        assert!(changed(now.checked_sub(Duration::from_secs(1)).unwrap()).has_settled());
    }
}
