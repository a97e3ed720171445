//! An index of all names, so that finding one target does not read a thousand records.
//!
//! A cache and nothing more: `<run_dir>/names` is as good as the directories it was made from are unchanged since, and
//! otherwise made again from the records. It only tells which records to read; what a target means, and whether it is
//! ambiguous, is told from the records themselves.

use crate::inventory::{Inventory, Pod};
use crate::target::Selector;
use porthole_registry::container_id::ContainerId;
use porthole_registry::deadline::Deadline;
use porthole_registry::namespace::{NamespaceId, NamespaceKind};
use porthole_registry::process::Process;
use porthole_registry::store::Store;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, renameat, statat};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

const FILE: &str = "names";
const DRAFT: &str = ".names";
/// With fewer records than this, reading them all is as quick.
const WORTH_IT: usize = 16;
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
        let mut stamp = Self { text: String::from("1"), newest: Duration::ZERO };
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

/// One record or idle pin. A pod is made of the lines with one `pod_key`.
struct Line<'a> {
    pod_key: &'a str,
    id: &'a str,
    netns: &'a str,
    namespace: &'a str,
    pod: &'a str,
    container: &'a str,
    pin: &'a str,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split('\t');
        let mut next = || fields.next();
        let (pod_key, id, netns, namespace) = (next()?, next()?, next()?, next()?);
        Some(Self { pod_key, id, netns, namespace, pod: next()?, container: next()?, pin: next()? })
    }

    fn may_be(&self, wanted: &Wanted<'_>) -> bool {
        match wanted {
            Wanted::Word(word) => {
                let by_prefix = word.len() >= SHORTEST_PREFIX && self.id.starts_with(word);
                by_prefix || [self.id, self.pod, self.container, self.pin].contains(word)
            }
            Wanted::Pod(namespace, pod) => self.namespace == *namespace && self.pod == *pod,
            Wanted::Netns(ino) => self.netns == ino,
        }
    }
}

/// A target, as far as it can be looked up here.
enum Wanted<'a> {
    Word(&'a str),
    Pod(&'a str, &'a str),
    Netns(String),
}

impl<'a> Wanted<'a> {
    fn of(selector: &'a Selector, netns_dir: &Path) -> Option<Self> {
        let at = |path: &Path| Some(Self::Netns(NamespaceId::at(CWD, path).ok()?.ino.to_string()));
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
    let mut text = String::new();
    let mut file = File::from(openat(store.dir(), FILE, flags, Mode::empty()).ok()?);
    text.reserve(usize::try_from(file.metadata().ok()?.len()).ok()? + 1);
    file.read_to_string(&mut text).ok()?;
    let (stamp, lines) = text.split_once('\n')?;
    if stamp != Stamp::of(store)?.text {
        return None;
    }
    found_in(lines, &Wanted::of(selector, netns_dir)?)
}

fn found_in(lines: &str, wanted: &Wanted<'_>) -> Option<Selected> {
    let matching = |line: &Line<'_>| line.may_be(wanted);
    let mut keys: Vec<&str> =
        lines.lines().filter_map(Line::parse).filter(matching).map(|line| line.pod_key).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut selected = Selected::default();
    if keys.is_empty() {
        return Some(selected);
    }
    for line in lines.lines().filter_map(Line::parse) {
        if keys.binary_search(&line.pod_key).is_err() {
        } else if line.id.is_empty() {
            selected.idle.push(line.netns.parse().ok()?);
        } else {
            selected.containers.push(ContainerId::parse(line.id).ok()?);
        }
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
    for (number, pod) in pods.iter().enumerate() {
        let netns = pod.netns.map(|id| id.ino.to_string()).unwrap_or_default();
        let pin = pod.pin.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut line = |id: &str, container: &str| {
            let namespace = pod.namespace.as_deref().unwrap_or_default();
            let fields = [&number.to_string(), id, &netns, namespace, &pod.name, container, &pin];
            // A name with a separator in it is no name that an index of lines can hold.
            if fields.iter().any(|field| field.contains(['\t', '\n'])) {
                return None;
            }
            writeln!(text, "{}", fields.join("\t")).ok()
        };
        if pod.containers.is_empty() {
            line("", "")?;
        }
        for record in &pod.containers {
            line(record.id.as_str(), record.name.as_deref().unwrap_or_default())?;
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "0\tabcdef0123\t1\tshop\tweb-0\tapp\tweb-0\n0\tabcd999999\t1\tshop\tweb-0\tsidecar\tweb-0\n\
                         1\tffff000000\t2\tstage\tweb-0\tapp\tweb-0.stage\n2\t\t3\tshop\tidle-0\t\tidle-0\n";

    fn ids(wanted: &Wanted<'_>) -> (Vec<String>, Vec<u64>) {
        let found = found_in(LINES, wanted).unwrap();
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
