//! Registering a container and releasing it: the registry's two changes.
//!
//! Order of a registration: index entry, pin, member, record. Order of a release: member, index entry moved aside,
//! record, mount, pin, entry. So at whatever line a process is killed, what exists is named by the index or by a record, and
//! `reconcile` finishes or undoes it.

use crate::container_id::ContainerId;
use crate::deadline::Deadline;
use crate::error::{Error, Failures, Step};
use crate::lock::Lock;
use crate::namespace::NamespaceId;
use crate::naming::PinName;
use crate::netns_dir::NetnsDir;
use crate::pin::{Found, HeldPin};
use crate::record::{PinRecord, Record};
use crate::store::Store;
use rustix::fd::OwnedFd;
use rustix::fs::{self, AtFlags, CWD};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How many pins without members one run of the hook looks at, so that its time has a bound.
const SWEEP: usize = 4;
/// A pin that has been going for so long is not being removed by anybody: no hook lives that long.
const ABANDONED: Duration = Duration::from_secs(65);

/// All that a registration needs, computed before anything is changed.
#[derive(Debug)]
pub struct Registration {
    /// The record to write; its `pin` is filled in when the pin is known.
    pub record: Record,
    /// The network namespace to pin; none where it is the host's or could not be opened.
    pub netns: Option<OwnedFd>,
    /// The names for the pin, in order of preference.
    pub candidates: Vec<PinName>,
    /// The network namespace's path in the container's own configuration.
    pub holder: Option<PathBuf>,
}

/// What becomes of a pin.
enum Verdict {
    /// A member or a holder keeps it.
    Stays,
    /// Nothing does; where it is, unless it has gone already or is somebody else's by now.
    Goes { pin: Option<(NetnsDir, PinName, NamespaceId)> },
}

/// The registry and the directory of its pins.
#[derive(Debug)]
pub struct Registry {
    /// Records and index.
    pub store: Store,
    netns_dir: PathBuf,
}

impl Registry {
    /// Of the records in `store` and the pins in `netns_dir`.
    pub const fn new(store: Store, netns_dir: PathBuf) -> Self {
        Self { store, netns_dir }
    }

    /// Registers a container. The record is written even where the pin cannot be made.
    ///
    /// # Errors
    /// Why there is no pin, or no record; a record without a pin is complete otherwise. Nothing is left half-made.
    pub fn register(&self, lock: &Lock, registration: Registration, deadline: Deadline) -> Result<(), Error> {
        let Registration { mut record, netns, candidates, holder } = registration;
        // A bad record of the same container is no reason to have none: it is written over.
        let known = self.store.record(&record.id).unwrap_or_default();
        if let Some(known) = known {
            let same = known.pid == record.pid && known.pid_start == record.pid_start;
            if same && known.boot_id == record.boot_id && self.is_pinned(&known)? {
                return Ok(());
            }
            // An id that is used again after a stop that nobody told us of.
            if known.netns().map(|ns| ns.id) != record.netns().map(|ns| ns.id) {
                self.withdraw(lock, &known)?;
            }
            record.created = if same { known.created } else { record.created };
        }
        let (pin, unpinned) = match (netns, record.netns().map(|ns| ns.id)) {
            (Some(netns), Some(id)) => {
                match self.pin(lock, &record, &netns, id, &candidates, holder.as_deref(), deadline) {
                    Ok(name) => (Some(name), None),
                    Err(error) => (None, Some(error)),
                }
            }
            _ => (None, None),
        };
        record.pin = pin.map(|name| PinRecord { path: self.netns_dir.join(name.as_str()), name });
        if let Err(error) = self.store.write(lock, &record) {
            // Without a record there is to be no member and no pin.
            drop(self.withdraw(lock, &record));
            return Err(error);
        }
        unpinned.map_or(Ok(()), Err)
    }

    /// Writes a changed record of a container that is registered.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn update(&self, lock: &Lock, record: &Record) -> Result<(), Error> {
        self.store.write(lock, record)
    }

    /// Releases a container: its member goes, and its pin if nothing else holds the namespace. `holder` is the
    /// path in the container's own configuration where that can still be read. Releasing what is not there is
    /// no error.
    ///
    /// Unmounting waits for the kernel, and a hundred containers may end at once: so it is done between two turns
    /// with the lock, on a mount that was taken hold of under it.
    ///
    /// # Errors
    /// The first thing that could not be removed; what stays is in the index, for the next hook or `reconcile`.
    pub fn release(
        &self,
        lock: Lock,
        id: &ContainerId,
        holder: Option<&Path>,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let Some(record) = self.store.record(id)? else { return Ok(()) };
        let netns = record.netns().filter(|ns| !ns.host).map(|ns| ns.id.ino);
        let held = netns.map(|ino| self.begin_to_go(&lock, ino, id, holder)).transpose()?.flatten();
        self.store.remove(&lock, id)?;
        let (Some(ino), Some(held)) = (netns, held) else { return Ok(()) };
        drop(lock);
        held.unmount()?;
        let lock = self.store.lock(deadline)?;
        self.finish(&lock, ino)
    }

    /// First part of a release: the member goes, and where its namespace is to go too, the entry is moved aside.
    fn begin_to_go(
        &self,
        lock: &Lock,
        ino: u64,
        id: &ContainerId,
        holder: Option<&Path>,
    ) -> Result<Option<HeldPin>, Error> {
        self.store.leave(lock, ino, id)?;
        match self.judge(lock, ino, holder)? {
            Verdict::Stays => Ok(None),
            Verdict::Goes { pin: Some((dir, name, id)) } => {
                let held = dir.hold(&name, id)?;
                // Left by one that was killed, under the same inode.
                self.finish(lock, ino)?;
                self.store.shelve(lock, ino)?;
                if held.is_none() {
                    self.finish(lock, ino)?;
                }
                Ok(held)
            }
            Verdict::Goes { pin: None } => self.store.forget(lock, ino).map(|()| None),
        }
    }

    /// Last part of a release, and all of it where the first process was killed: whatever is left of a going pin goes.
    ///
    /// # Errors
    /// When the pin or its entry cannot be removed.
    pub(crate) fn finish(&self, lock: &Lock, ino: u64) -> Result<(), Error> {
        if let Some(name) = self.store.going_name(ino)?
            && let Some(dir) = NetnsDir::open(&self.netns_dir)?
            && let Some(id) = self.pin_id(&dir, &name, ino)?
        {
            dir.unpin(&name, id)?;
        }
        self.store.unshelve(lock, ino)
    }

    /// Releases a container whose end nobody told of, all under the lock.
    ///
    /// # Errors
    /// The first thing that could not be removed; the record then stays.
    pub(crate) fn release_at_once(&self, lock: &Lock, record: &Record) -> Result<(), Error> {
        self.withdraw(lock, record)?;
        self.store.remove(lock, &record.id)
    }

    /// Looks at a few of the pins without members, and removes those whose holder has gone.
    ///
    /// # Errors
    /// The first pin that could not be removed.
    pub fn sweep(&self, lock: &Lock, turn: usize) -> Result<(), Error> {
        let idle = self.store.idle()?;
        let mut failures = Failures::default();
        // Start elsewhere each time, so that long-held pins do not hide the others.
        let start = if idle.is_empty() { 0 } else { turn % idle.len() };
        for ino in idle.iter().cycle().skip(start).take(SWEEP.min(idle.len())) {
            failures.note(self.settle(lock, *ino).map(drop));
        }
        for ino in self.store.going()?.into_iter().take(SWEEP) {
            if self.store.going_since(ino).is_some_and(|since| since >= ABANDONED) {
                failures.note(self.finish(lock, ino));
            }
        }
        failures.into_result()
    }

    /// Whether the pin that the record tells of is there; a record without a pin is complete only where
    /// there is none to be made.
    ///
    /// # Errors
    /// When the directory of the pins cannot be looked at.
    pub fn is_pinned(&self, record: &Record) -> Result<bool, Error> {
        let (Some(pin), Some(netns)) = (&record.pin, record.netns()) else {
            return Ok(record.on_host_network());
        };
        Ok(self.is_pin(&pin.name, netns.id)? && self.store.is_member(netns.id.ino, &record.id)?)
    }

    /// Whether `name` is a pin of the namespace `id`.
    ///
    /// # Errors
    /// When the directory of the pins cannot be looked at.
    pub fn is_pin(&self, name: &PinName, id: NamespaceId) -> Result<bool, Error> {
        let Some(dir) = NetnsDir::open(&self.netns_dir)? else { return Ok(false) };
        Ok(dir.look(name)? == Found::Inode(id))
    }

    /// Makes the container a member of its namespace's pin, which is made if there is none.
    #[expect(clippy::too_many_arguments, reason = "one call site; they are the parts of a Registration")]
    fn pin(
        &self,
        lock: &Lock,
        record: &Record,
        netns: &OwnedFd,
        ns: NamespaceId,
        candidates: &[PinName],
        holder: Option<&Path>,
        deadline: Deadline,
    ) -> Result<PinName, Error> {
        let dir = NetnsDir::create(&self.netns_dir, deadline)?;
        let name = match self.store.pin_name(ns.ino)? {
            Some(name) if dir.look(&name)? == Found::Inode(ns) => name,
            stale => {
                // The number was that of a namespace that has gone, or its pin was removed by somebody.
                if let Some(name) = stale {
                    dir.unpin(&name, ns)?;
                }
                self.store.forget(lock, ns.ino)?;
                self.pin_anew(lock, &dir, netns, ns, candidates)?
            }
        };
        let mut failures = Failures::default();
        // The pin itself is no holder: whoever joins by our own name must not keep it alive for ever.
        if let Some(holder) = holder.filter(|path| !is_same_place(path, &dir, &name)) {
            failures.note(self.store.set_holder(lock, ns.ino, holder));
        }
        if let Some(pod) = &record.pod {
            failures.note(self.store.set_pod(lock, ns.ino, pod));
        }
        failures.note(self.store.join(lock, ns.ino, &record.id));
        failures.note(self.store.set_idle(lock, ns.ino, false));
        match failures.into_result() {
            Ok(()) => Ok(name),
            Err(error) => {
                drop(self.store.leave(lock, ns.ino, &record.id));
                drop(self.settle(lock, ns.ino));
                Err(error)
            }
        }
    }

    fn pin_anew(
        &self,
        lock: &Lock,
        dir: &NetnsDir,
        netns: &OwnedFd,
        ns: NamespaceId,
        candidates: &[PinName],
    ) -> Result<PinName, Error> {
        self.finish(lock, ns.ino)?;
        for name in candidates {
            if !self.is_free(lock, dir, name)? {
                continue;
            }
            self.store.claim(lock, ns.ino, &self.netns_dir.join(name.as_str()))?;
            match dir.pin(name, netns, ns) {
                Ok(()) => return Ok(name.clone()),
                // Made by somebody else since we looked.
                Err(Error::System { step: Step::CreatePin, source: rustix::io::Errno::EXIST, .. }) => {}
                Err(error) => {
                    drop(self.store.forget(lock, ns.ino));
                    return Err(error);
                }
            }
        }
        drop(self.store.forget(lock, ns.ino));
        Err(Error::NamesTaken { names: candidates.iter().map(ToString::to_string).collect() })
    }

    /// Whether the name can be had. A pod that is made again meets the pin of the one before it where
    /// nothing told us that it went: that pin gives way.
    fn is_free(&self, lock: &Lock, dir: &NetnsDir, name: &PinName) -> Result<bool, Error> {
        match dir.look(name)? {
            Found::Nothing => return Ok(true),
            Found::Inode(id) if self.store.pin_name(id.ino)?.as_ref() == Some(name) => {
                self.settle(lock, id.ino)?;
            }
            Found::Inode(_) | Found::Bare => {
                for ino in self.store.going()? {
                    if self.store.going_name(ino)?.as_ref() == Some(name) {
                        self.finish(lock, ino)?;
                    }
                }
            }
        }
        Ok(dir.look(name)? == Found::Nothing)
    }

    /// Takes the container out of its namespace, and the pin away if that was the last that held it.
    fn withdraw(&self, lock: &Lock, record: &Record) -> Result<(), Error> {
        let Some(netns) = record.netns().filter(|ns| !ns.host) else { return Ok(()) };
        self.store.leave(lock, netns.id.ino, &record.id)?;
        self.settle(lock, netns.id.ino).map(drop)
    }

    /// Removes the pin of a namespace that has no member and no holder any more; a pin that only waits for its
    /// holder's end is marked idle. Returns whether it went.
    ///
    /// # Errors
    /// When the pin or its entry cannot be removed.
    pub fn settle(&self, lock: &Lock, ino: u64) -> Result<bool, Error> {
        match self.judge(lock, ino, None)? {
            Verdict::Stays => Ok(false),
            Verdict::Goes { pin } => {
                if let Some((dir, name, id)) = pin {
                    dir.unpin(&name, id)?;
                }
                self.store.forget(lock, ino).map(|()| true)
            }
        }
    }

    /// Whether the pin of a namespace stays. One that stays without members is marked idle. `holder` is one more path
    /// to look at than the index knows.
    fn judge(&self, lock: &Lock, ino: u64, holder: Option<&Path>) -> Result<Verdict, Error> {
        if !self.store.members(ino)?.is_empty() {
            return Ok(Verdict::Stays);
        }
        // Killed between the entry and its name: no pin was made.
        let Some(name) = self.store.pin_name(ino)? else { return Ok(Verdict::Goes { pin: None }) };
        let Some(dir) = NetnsDir::open(&self.netns_dir)? else { return Ok(Verdict::Goes { pin: None }) };
        let Some(id) = self.pin_id(&dir, &name, ino)? else { return Ok(Verdict::Goes { pin: None }) };
        let known = self.store.holder(ino)?;
        let mut holders = holder.into_iter().chain(known.as_deref());
        if holders.any(|path| holds(path, id) && !is_same_place(path, &dir, &name)) {
            self.store.set_idle(lock, ino, true)?;
            return Ok(Verdict::Stays);
        }
        Ok(Verdict::Goes { pin: Some((dir, name, id)) })
    }

    /// The identity of the pin if it still is that of inode `ino`; none where the name is somebody else's.
    fn pin_id(&self, dir: &NetnsDir, name: &PinName, ino: u64) -> Result<Option<NamespaceId>, Error> {
        Ok(match dir.look(name)? {
            Found::Inode(id) if id.ino == ino && Some(id.dev) == nsfs() => Some(id),
            // A bare file is ours by the index; which device it had does not matter for its removal.
            Found::Bare => Some(NamespaceId { dev: 0, ino }),
            Found::Inode(_) | Found::Nothing => None,
        })
    }
}

/// The device of all namespaces, so that a file of the same inode number is not taken for one.
fn nsfs() -> Option<u64> {
    NamespaceId::at(CWD, "/proc/self/ns/net").ok().map(|id| id.dev)
}

/// Whether the namespace is found at `path`.
pub(crate) fn holds(path: &Path, id: NamespaceId) -> bool {
    NamespaceId::at(CWD, path).is_ok_and(|found| found == id)
}

/// Whether `path` is the pin itself, by whatever name its directory goes (`/var/run` is `/run`).
fn is_same_place(path: &Path, dir: &NetnsDir, name: &PinName) -> bool {
    if path.file_name().and_then(|file| file.to_str()) != Some(name.as_str()) {
        return false;
    }
    let here = fs::fstat(dir.fd()).map(|stat| (stat.st_dev, stat.st_ino));
    let there = path.parent().map(|parent| fs::statat(CWD, parent, AtFlags::empty()));
    matches!((here, there), (Ok(here), Some(Ok(there))) if here == (there.st_dev, there.st_ino))
}
