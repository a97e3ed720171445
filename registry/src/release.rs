//! Releasing a container, and removing the pins that nothing holds any more: the registry's other change.
//!
//! Order: member, index entry moved aside, record, mount, pin, entry. What a kill leaves in between is named by the index
//! or by a record, and `reconcile` finishes it.

use crate::container_id::ContainerId;
use crate::deadline::Deadline;
use crate::error::{Error, Failures, Step};
use crate::host::boot_id;
use crate::identity::Kind;
use crate::lock::Lock;
use crate::look::{Ask, Seen, look};
use crate::namespace::NamespaceId;
use crate::naming::PinName;
use crate::netns_dir::NetnsDir;
use crate::pin::{Found, HeldPin};
use crate::process::is_running;
use crate::record::Record;
use crate::registration::{Registry, is_same_place, outlives};
use crate::stage::Stage;
use crate::views;
use rustix::fs::CWD;
use std::path::Path;
use std::time::Duration;

/// How many pins without members one run of the hook looks at, so that its time has a bound.
const SWEEP: usize = 4;
/// A pin that has been going for so long is not being removed by anybody: no hook lives that long.
const ABANDONED: Duration = Duration::from_secs(65);

/// What keeps a pin that has no members.
#[derive(Clone, Copy)]
enum Holders<'a> {
    /// The path that the index knows, perhaps one more, and how to look at them.
    Known(Option<&'a Path>, Ask),
    /// Nothing: the pod has ended. An engine takes the pod's network away after that, and finds no pin of ours in its way.
    Over,
}

/// The result of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// The container is not registered any more.
    Done,
    /// Nothing was released: the recorded process lives. The end is that of an earlier container of the id, or of another
    /// one.
    Lives {
        /// Its number.
        pid: i32,
        /// When it started, in clock ticks since boot.
        start: u64,
    },
}

impl<'a> Holders<'a> {
    /// The holders at a container's end; `path` is the one in its own configuration.
    fn after(record: &Record, path: Option<&'a Path>) -> Self {
        match record.kind {
            Kind::Sandbox => Self::Over,
            Kind::Container => Self::Known(path.filter(|_| outlives(record)), Ask::Patiently),
        }
    }
}

/// What becomes of a pin.
enum Verdict {
    /// A member or a holder keeps it.
    Stays,
    /// Nothing does; where it is, unless it has gone already or is somebody else's by now.
    Goes { pin: Option<(NetnsDir, PinName, NamespaceId)> },
}

impl Registry {
    /// Releases a container: its member goes, and its pin if nothing else holds the namespace. `holder` is the
    /// path in the container's own configuration where that can still be read. Releasing what is not there is
    /// no error. While the recorded process lives, nothing is released. A pod ends with its sandbox, even if its engine has
    /// still to remove its own pin.
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
    ) -> Result<Released, Error> {
        let Some(record) = self.store.record(id)? else { return Ok(Released::Done) };
        // Most processes have ended by then, and the boot id is not needed.
        if is_running(record.pid, record.pid_start) && record.is_running(&this_boot()?) {
            return Ok(Released::Lives { pid: record.pid, start: record.pid_start });
        }
        let netns = record.netns().filter(|ns| !ns.host).map(|ns| ns.id.ino);
        let held = netns.map(|ino| self.begin_to_go(&lock, ino, &record, holder)).transpose()?.flatten();
        self.store.remove(&lock, id)?;
        let (Some(ino), Some(held)) = (netns, held) else { return Ok(Released::Done) };
        drop(lock);
        held.unmount()?;
        let lock = self.store.lock(deadline)?;
        self.finish(&lock, ino).map(|()| Released::Done)
    }

    /// First part of a release: the member goes, and where its namespace is to go too, the entry is moved aside.
    fn begin_to_go(
        &self,
        lock: &Lock,
        ino: u64,
        record: &Record,
        holder: Option<&Path>,
    ) -> Result<Option<HeldPin>, Error> {
        self.store.leave(lock, ino, &record.id)?;
        match self.judge(lock, ino, Holders::after(record, holder))? {
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

    /// Looks at a few of the pins without members and of those with adopted ones, and removes those that nothing holds.
    ///
    /// # Errors
    /// The first pin that could not be removed.
    pub fn sweep(&self, lock: &Lock, turn: usize) -> Result<(), Error> {
        let mut failures = Failures::default();
        let idle = failures.value(self.store.idle());
        // Start elsewhere each time, so that long-held pins do not hide the others.
        let start = if idle.is_empty() { 0 } else { turn % idle.len() };
        for ino in idle.iter().cycle().skip(start).take(SWEEP.min(idle.len())) {
            // `reconcile` waits for the holder on a dead file system, a sweep does not.
            failures.note(self.settle_by(lock, *ino, Ask::Quickly).map(drop));
        }
        // Those were made without the hook, and it will not be called at their end either.
        let adopted = failures.value(self.store.adopted());
        let start = if adopted.is_empty() { 0 } else { turn % adopted.len() };
        for ino in adopted.iter().cycle().skip(start).take(SWEEP.min(adopted.len())) {
            failures.note(self.drop_ended(lock, *ino, |record| record.stage == Stage::Adopt));
        }
        for ino in failures.value(self.store.going()).into_iter().take(SWEEP) {
            if self.store.going_since(ino).is_some_and(|since| since >= ABANDONED) {
                failures.note(self.finish(lock, ino));
            }
        }
        failures.into_result()
    }

    /// Takes the container out of its namespace, and the pin away if that was the last that held it.
    pub(crate) fn withdraw(&self, lock: &Lock, record: &Record) -> Result<(), Error> {
        let Some(netns) = record.netns().filter(|ns| !ns.host) else { return Ok(()) };
        self.store.leave(lock, netns.id.ino, &record.id)?;
        self.settle_with(lock, netns.id.ino, Holders::after(record, None)).map(drop)
    }

    /// Releases the members of a namespace whose processes have ended without anybody telling, those of them that are
    /// `meant`. A member without a record is reconcile's to judge.
    pub(crate) fn drop_ended(
        &self,
        lock: &Lock,
        ino: u64,
        meant: impl Fn(&Record) -> bool,
    ) -> Result<(), Error> {
        let boot = this_boot()?;
        for member in self.store.members(ino)? {
            if let Ok(Some(record)) = self.store.record(&member)
                && meant(&record)
                && !record.is_running(&boot)
            {
                self.release_at_once(lock, &record)?;
            }
        }
        Ok(())
    }

    /// Removes the pin of a namespace that has no member and no holder any more; a pin that only waits for its
    /// holder's end is marked idle. Returns whether it went.
    ///
    /// # Errors
    /// When the pin or its entry cannot be removed.
    pub fn settle(&self, lock: &Lock, ino: u64) -> Result<bool, Error> {
        self.settle_by(lock, ino, Ask::Patiently)
    }

    fn settle_by(&self, lock: &Lock, ino: u64, ask: Ask) -> Result<bool, Error> {
        self.settle_with(lock, ino, Holders::Known(None, ask))
    }

    fn settle_with(&self, lock: &Lock, ino: u64, holders: Holders<'_>) -> Result<bool, Error> {
        match self.judge(lock, ino, holders)? {
            Verdict::Stays => Ok(false),
            Verdict::Goes { pin } => {
                if let Some((dir, name, id)) = pin {
                    dir.unpin(&name, id)?;
                }
                self.store.forget(lock, ino).map(|()| true)
            }
        }
    }

    /// Whether the pin of a namespace stays. One that stays without members is marked idle.
    fn judge(&self, lock: &Lock, ino: u64, holders: Holders<'_>) -> Result<Verdict, Error> {
        if !self.store.members(ino)?.is_empty() {
            return Ok(Verdict::Stays);
        }
        // Killed between the entry and its name: no pin was made.
        let Some(name) = self.store.pin_name(ino)? else { return Ok(Verdict::Goes { pin: None }) };
        let Some(dir) = NetnsDir::open(&self.netns_dir)? else { return Ok(Verdict::Goes { pin: None }) };
        let Some(id) = self.pin_id(&dir, &name, ino)? else { return Ok(Verdict::Goes { pin: None }) };
        if let Holders::Known(other, ask) = holders {
            let is_held = |path: &Path| is_held(path, id, ask) || self.views.find(path, id).is_some();
            let is_other = |path: &&Path| !is_same_place(path, &dir, &name);
            let known = self.store.holder(ino)?;
            // A holder that cannot be looked at keeps the pin: `reconcile` sees more.
            let stays = other.filter(is_other).is_some_and(is_held)
                || known.as_deref().filter(is_other).is_some() && self.held_by(id, ask)? != views::Seen::No;
            if stays {
                self.store.set_idle(lock, ino, true)?;
                return Ok(Verdict::Stays);
            }
        }
        Ok(Verdict::Goes { pin: Some((dir, name, id)) })
    }

    /// Whether a pin without members is marked as one that waits for its holder, and the holder is there.
    ///
    /// # Errors
    /// When the index or the directory of the pins cannot be read.
    pub(crate) fn waits_for_its_holder(&self, ino: u64) -> Result<bool, Error> {
        if !self.store.is_idle(ino)? {
            return Ok(false);
        }
        let (Some(name), Some(dir)) = (self.store.pin_name(ino)?, NetnsDir::open(&self.netns_dir)?) else {
            return Ok(false);
        };
        match self.pin_id(&dir, &name, ino)? {
            Some(id) => Ok(self.held(id)? != views::Seen::No),
            None => Ok(false),
        }
    }

    /// Whether a namespace is found where its holder is, by the index.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn held(&self, id: NamespaceId) -> Result<views::Seen, Error> {
        self.held_by(id, Ask::Patiently)
    }

    fn held_by(&self, id: NamespaceId, ask: Ask) -> Result<views::Seen, Error> {
        let Some(path) = self.store.holder(id.ino)? else { return Ok(views::Seen::No) };
        Ok(match self.store.holder_mounts(id.ino)? {
            _ if is_held(&path, id, ask) => views::Seen::Yes,
            Some(mounts) => self.views.see(&path, mounts, id),
            None => views::Seen::No,
        })
    }

    /// The identity of the pin if it still is that of inode `ino`; none where the name is somebody else's.
    pub(crate) fn pin_id(
        &self,
        dir: &NetnsDir,
        name: &PinName,
        ino: u64,
    ) -> Result<Option<NamespaceId>, Error> {
        Ok(match dir.look(name)? {
            Found::Inode(id) if id.ino == ino && Some(id.dev) == nsfs() => Some(id),
            // A bare file is ours by the index.
            Found::Bare => Some(NamespaceId { dev: nsfs().unwrap_or_default(), ino }),
            Found::Inode(_) | Found::Nothing => None,
        })
    }
}

/// The device of all namespaces, so that a file of the same inode number is not taken for one.
pub(crate) fn nsfs() -> Option<u64> {
    NamespaceId::at(CWD, "/proc/self/ns/net").ok().map(|id| id.dev)
}

/// Whether the namespace is found at `path`, or may be.
pub(crate) fn holds(path: &Path, id: NamespaceId) -> bool {
    is_held(path, id, Ask::Patiently)
}

fn is_held(path: &Path, id: NamespaceId, ask: Ask) -> bool {
    match look(path, ask) {
        Seen::Inode(found) => found == id,
        Seen::Nothing => false,
        // A pin that stays too long does less harm than one that goes too early.
        Seen::Silence => true,
    }
}

fn this_boot() -> Result<String, Error> {
    boot_id().map_err(Step::BootId.on("/proc/sys/kernel/random/boot_id"))
}
