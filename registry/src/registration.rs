//! Registering a container: the one of the registry's two changes that makes something.
//!
//! Order: index entry, pin, member, record. So at whatever line a process is killed, what exists is named by the index or
//! by a record, and `reconcile` finishes or undoes it.

use crate::container_id::ContainerId;
use crate::deadline::Deadline;
use crate::error::{Error, Failures, Step};
use crate::identity::{Identity, Kind};
use crate::lock::Lock;
use crate::look::{Ask, Seen, look};
use crate::namespace::NamespaceId;
use crate::naming::{PinName, Template, candidates};
use crate::netns_dir::NetnsDir;
use crate::pin::Found;
use crate::process::ProcessError;
use crate::record::{PinRecord, Record};
use crate::release::holds;
use crate::sandbox::Sandbox;
use crate::stage::Stage;
use crate::store::Store;
use crate::views::Views;
use rustix::fd::OwnedFd;
use rustix::fs;
use std::path::{Path, PathBuf};

/// All that a registration needs, computed before anything is changed.
#[derive(Debug)]
pub struct Registration<'a> {
    /// The record to write; its `pin` is filled in when the pin is known.
    pub record: Record,
    /// The network namespace to pin; none where it is the host's or could not be opened.
    pub netns: Option<OwnedFd>,
    /// How the pin is named.
    pub template: &'a Template,
    /// The network namespace's path in the container's own configuration. It holds the pin if the container is a pod's.
    pub holder: Option<PathBuf>,
}

/// All that the pin of a pod without a process needs.
#[derive(Debug)]
pub struct Reservation<'a> {
    /// The network namespace.
    pub netns: OwnedFd,
    /// Its identity.
    pub id: NamespaceId,
    /// How the pin is named.
    pub template: &'a Template,
    /// The sandbox.
    pub sandbox: Sandbox,
    /// The names that its engine gave it.
    pub identity: Identity,
    /// Where the engine has it pinned: for as long as the namespace is found there, the pin stays.
    pub holder: PathBuf,
}

/// The registry and the directory of its pins.
#[derive(Debug)]
pub struct Registry {
    /// Records and index.
    pub store: Store,
    pub(crate) netns_dir: PathBuf,
    pub(crate) views: Views,
}

/// The names that a pin may get.
struct Names<'a> {
    /// Best first.
    candidates: Vec<PinName>,
    /// The template, by which the owner of a taken name is known.
    template: &'a Template,
}

impl<'a> Names<'a> {
    fn of(template: &'a Template, identity: &Identity, id: &ContainerId) -> Self {
        Self { candidates: candidates(template, identity, id), template }
    }
}

impl Registry {
    /// Of the records in `store` and the pins in `netns_dir`.
    pub fn new(store: Store, netns_dir: PathBuf) -> Self {
        Self { store, netns_dir, views: Views::default() }
    }

    /// The same registry, with mount namespaces beside the host's in which engines can have their own pins.
    #[must_use]
    pub fn seeing(self, views: Views) -> Self {
        Self { views, ..self }
    }

    /// The mount namespaces beside the host's.
    pub const fn views(&self) -> &Views {
        &self.views
    }

    /// The mount namespace in which a holder is found, where the host's is not.
    fn mounts_of(&self, holder: &Path, id: NamespaceId) -> Option<u64> {
        if holds(holder, id) { None } else { self.views.find(holder, id) }
    }

    /// Registers a container. The record is written even where the pin cannot be made.
    ///
    /// # Errors
    /// Why there is no pin, or no record; a record without a pin is complete otherwise. Nothing is left half-made. There is
    /// no record for a process that ended during the wait for the lock: its poststop may be over, or never come. And no
    /// record is displaced while its process lives.
    pub fn register(
        &self,
        lock: &Lock,
        registration: Registration<'_>,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let Registration { mut record, netns, template, holder } = registration;
        if !record.is_running(&record.boot_id) {
            return Err(ProcessError::Gone(record.pid).into());
        }
        // A bad record of the same container is no reason to have none: it is written over.
        let known = self.store.record(&record.id).unwrap_or_default();
        if let Some(known) = known {
            let same = known.pid == record.pid && known.pid_start == record.pid_start;
            if same && known.boot_id == record.boot_id && self.is_pinned(&known)? {
                return Ok(());
            }
            if !same && known.is_running(&record.boot_id) {
                return Err(Error::Recorded { id: record.id.to_string(), pid: known.pid });
            }
            // An id that is used again after a stop that nobody told us of.
            if known.netns().map(|ns| ns.id) != record.netns().map(|ns| ns.id) {
                self.withdraw(lock, &known)?;
            }
            if same && known.boot_id == record.boot_id {
                record.continues(known);
            }
        }
        let (pin, unpinned) = match (netns, record.netns().map(|ns| ns.id)) {
            (Some(netns), Some(id)) => {
                let names = Names::of(template, &record.identity(), &record.id);
                match self.pin(lock, &record, &netns, id, &names, holder.as_deref(), deadline) {
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

    /// Pins the network namespace of a pod that has no process: its sandbox is nothing but the engine's pin, and none of
    /// its containers runs. The pin waits for the holder's end as that of a pod in back-off does. Returns its name; none
    /// where the namespace is pinned already, or the holder has gone by now.
    ///
    /// # Errors
    /// Why there is no pin.
    pub fn reserve(
        &self,
        lock: &Lock,
        reservation: &Reservation<'_>,
        deadline: Deadline,
    ) -> Result<Option<PinName>, Error> {
        let Reservation { netns, id, template, sandbox, identity, holder } = reservation;
        let dir = NetnsDir::create(&self.netns_dir, !self.views.engines().is_empty(), deadline)?;
        if let Some(name) = self.store.pin_name(id.ino)?
            && dir.look(&name)? == Found::Inode(*id)
        {
            return Ok(None);
        }
        let name = self.pin_name_of(lock, &dir, netns, *id, &Names::of(template, identity, &sandbox.id))?;
        let mut failures = Failures::default();
        failures.note(self.store.set_holder(lock, id.ino, holder, self.mounts_of(holder, *id)));
        if let Some(pod) = &identity.pod {
            failures.note(self.store.set_pod(lock, id.ino, pod));
        }
        failures.note(self.store.set_sandbox(lock, id.ino, sandbox));
        // Without members it is idle, or goes again.
        let went = self.settle(lock, id.ino);
        failures.into_result()?;
        Ok((!went?).then_some(name))
    }

    /// Writes a changed record of a container that is registered.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn update(&self, lock: &Lock, record: &Record) -> Result<(), Error> {
        self.store.write(lock, record)
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
        names: &Names<'_>,
        holder: Option<&Path>,
        deadline: Deadline,
    ) -> Result<PinName, Error> {
        let dir = NetnsDir::create(&self.netns_dir, !self.views.engines().is_empty(), deadline)?;
        let name = self.pin_name_of(lock, &dir, netns, ns, names)?;
        let mut failures = Failures::default();
        // The pin itself is no holder: a container that joins by our own name does not keep it alive for ever.
        let holds = |path: &&Path| outlives(record) && !is_same_place(path, &dir, &name);
        if let Some(holder) = holder.filter(holds) {
            failures.note(self.store.set_holder(lock, ns.ino, holder, self.mounts_of(holder, ns)));
        }
        // The sandbox names the pod, else its first member: a container that joins by a path does not rename it.
        if let Some(pod) = &record.pod
            && (record.kind == Kind::Sandbox || !self.store.pod(ns.ino).is_ok_and(|known| known.is_some()))
        {
            failures.note(self.store.set_pod(lock, ns.ino, pod));
        }
        if let Some(sandbox) = Sandbox::of(record)
            && (record.kind == Kind::Sandbox
                || !self.store.sandbox(ns.ino).is_ok_and(|known| known.is_some()))
        {
            failures.note(self.store.set_sandbox(lock, ns.ino, &sandbox));
        }
        failures.note(self.store.join(lock, ns.ino, &record.id));
        failures.note(self.store.set_idle(lock, ns.ino, false));
        if record.stage == Stage::Adopt {
            failures.note(self.store.set_adopted(lock, ns.ino));
        }
        match failures.into_result() {
            Ok(()) => Ok(name),
            Err(error) => {
                drop(self.store.leave(lock, ns.ino, &record.id));
                drop(self.settle(lock, ns.ino));
                Err(error)
            }
        }
    }

    /// The name that the namespace is pinned under; it is pinned if it was not.
    fn pin_name_of(
        &self,
        lock: &Lock,
        dir: &NetnsDir,
        netns: &OwnedFd,
        ns: NamespaceId,
        names: &Names<'_>,
    ) -> Result<PinName, Error> {
        match self.store.pin_name(ns.ino)? {
            Some(name) if dir.look(&name)? == Found::Inode(ns) => Ok(name),
            stale => {
                // The number was that of a namespace that has gone, or its pin was removed by somebody.
                if let Some(name) = stale {
                    dir.unpin(&name, ns)?;
                }
                self.store.forget(lock, ns.ino)?;
                self.pin_anew(lock, dir, netns, ns, names)
            }
        }
    }

    fn pin_anew(
        &self,
        lock: &Lock,
        dir: &NetnsDir,
        netns: &OwnedFd,
        ns: NamespaceId,
        names: &Names<'_>,
    ) -> Result<PinName, Error> {
        self.finish(lock, ns.ino)?;
        for name in &names.candidates {
            if !self.is_free(lock, dir, name, names.template)? {
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
        Err(Error::NamesTaken { names: names.candidates.iter().map(ToString::to_string).collect() })
    }

    /// Whether the name can be had. A pod that is made again meets the pin of the one before it where
    /// no hook was called at its end: that pin gives way. A pin with members, none of which has the name, gets another
    /// name.
    pub(crate) fn is_free(
        &self,
        lock: &Lock,
        dir: &NetnsDir,
        name: &PinName,
        template: &Template,
    ) -> Result<bool, Error> {
        match dir.look(name)? {
            Found::Nothing => return Ok(true),
            Found::Inode(id) if self.store.pin_name(id.ino)?.as_ref() == Some(name) => {
                self.drop_ended(lock, id.ino, |_| true)?;
                if !self.settle(lock, id.ino)? {
                    self.give_up_name(lock, dir, id.ino, name, template)?;
                }
            }
            Found::Inode(_) | Found::Bare => {
                for ino in self.store.going()? {
                    if self.store.going_name(ino).is_ok_and(|going| going.as_ref() == Some(name)) {
                        self.finish(lock, ino)?;
                    }
                }
            }
        }
        Ok(dir.look(name)? == Found::Nothing)
    }
}

/// Whether the engine keeps the network namespace beyond the container's end: that of a pod, whose containers come and go.
/// A sandbox ends with its pod. A container without a pod keeps no namespace that it has joined: an operator's `ip netns
/// add` is no pin of an engine's.
pub(crate) fn outlives(record: &Record) -> bool {
    record.kind == Kind::Container && record.pod.is_some()
}

/// Whether `path` is the pin itself, by whatever name its directory goes (`/var/run` is `/run`).
pub(crate) fn is_same_place(path: &Path, dir: &NetnsDir, name: &PinName) -> bool {
    if path.file_name().and_then(|file| file.to_str()) != Some(name.as_str()) {
        return false;
    }
    let here = fs::fstat(dir.fd()).map(|stat| (stat.st_dev, stat.st_ino));
    let there = path.parent().map(|parent| look(parent, Ask::Patiently));
    matches!((here, there), (Ok(here), Some(Seen::Inode(there))) if here == (there.dev, there.ino))
}
