//! Bringing records, pins and processes to agreement, by one decision table.

use crate::container_id::ContainerId;
use crate::deadline::Deadline;
use crate::error::{Error, Step};
use crate::host::Host;
use crate::identity::Kind;
use crate::lock::Lock;
use crate::namespace::NamespaceKind;
use crate::naming::Template;
use crate::process::{Process, ProcessError};
use crate::record::{NamespaceRecord, Record};
use crate::registration::{Registration, Registry};
use crate::store::RECORDS;
use crate::views::Seen;
use serde::Serialize;
use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

/// What there is of a record's container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The recorded process lives: pid, start time and boot agree.
    pub alive: bool,
    /// There is nothing to pin, or the pin is there and is that of the recorded namespace.
    pub pinned: bool,
    /// The network namespace has another member, or is found at its holder's path: a live sandbox, the engine's pin.
    pub held: bool,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// All is as it should be.
    Keep,
    /// Make the pin again.
    Repin,
    /// Drop the member and its record; the pin stays with the pod.
    DropMember,
    /// Remove record and pin.
    Release,
    /// Rename record and pin, since the engine has renamed the container.
    Rename,
    /// Remove a pin that no record tells of.
    Unpin,
    /// Move a record that cannot be read, or a stray that is in the registry's way, to quarantine.
    Quarantine,
    /// Remove what a hook that was killed has left.
    CleanUp,
    /// Register a container that runs, or pin a pod that is there.
    Adopt,
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Keep => "keep",
            Self::Repin => "repin",
            Self::DropMember => "drop-member",
            Self::Release => "release",
            Self::Rename => "rename",
            Self::Unpin => "unpin",
            Self::Quarantine => "quarantine",
            Self::CleanUp => "clean-up",
            Self::Adopt => "adopt",
        })
    }
}

/// The decision table for a record that can be read.
///
/// The other rows need no table: a record that cannot be read goes to quarantine, a pin of ours without
/// record is unpinned, and a live container without record is adopted: see [`crate::adopt`].
pub const fn decide(facts: Facts) -> Action {
    match facts {
        Facts { alive: true, pinned: true, .. } => Action::Keep,
        Facts { alive: true, pinned: false, .. } => Action::Repin,
        Facts { alive: false, held: true, .. } => Action::DropMember,
        Facts { alive: false, held: false, .. } => Action::Release,
    }
}

/// One thing that was done, or failed.
#[derive(Clone, Debug, Serialize)]
pub struct Done {
    /// What.
    pub action: Action,
    /// On what: a container's id, a pin's name, a file.
    pub subject: String,
    /// Why, or how it failed.
    pub detail: String,
    /// Whether it failed.
    pub failed: bool,
}

impl Done {
    /// A whole part of the work that failed.
    pub fn failed(action: Action, error: &Error) -> Self {
        Self { action, subject: "registry".to_owned(), detail: error.with_remedy(), failed: true }
    }
}

impl Registry {
    /// Brings records, pins and processes to agreement. Returns what it did; nothing where all agrees. A failure
    /// is a line of the result, and stops nothing else.
    ///
    /// Takes the lock for one record at a time, so that hooks get their turn.
    pub fn reconcile(&self, boot_id: &str, template: &Template, patience: Duration) -> Vec<Done> {
        let mut pass =
            Pass { registry: self, boot_id, template, patience, records: Vec::new(), done: Vec::new() };
        // Names come last, when those of ended containers are free.
        for part in [Pass::strays, Pass::records, Pass::index, Pass::going, Pass::draft, Pass::names] {
            if let Err(error) = part(&mut pass) {
                let is_locked =
                    matches!(error, Error::LockTimeout { .. } | Error::System { step: Step::Lock, .. });
                pass.note(Action::Keep, self.store.path().display().to_string(), "", Err(error));
                // One wait for the lock is enough.
                if is_locked {
                    break;
                }
            }
        }
        pass.done
    }

    /// What there is of the record's container.
    ///
    /// # Errors
    /// When the process can be neither opened nor said to be gone, or the registry cannot be read.
    pub fn facts(&self, record: &Record, boot_id: &str) -> Result<(Facts, Option<Process>), Error> {
        let process = match record.process(boot_id) {
            Ok(process) => Some(process),
            Err(ProcessError::Gone(_) | ProcessError::Reused { .. } | ProcessError::NotAPid(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let mut held = false;
        if let Some(netns) = record.netns().filter(|ns| !ns.host) {
            let others = self.store.members(netns.id.ino)?.iter().any(|member| *member != record.id);
            // A pod ends with its sandbox.
            let by_path = record.kind != Kind::Sandbox && self.held(netns.id)? != Seen::No;
            held = others || by_path;
        }
        let pinned = self.is_pinned(record)? && !self.is_unnamed(record)?;
        Ok((Facts { alive: process.is_some(), pinned, held }, process))
    }
}

impl Registry {
    /// Whether the index lacks the pin that the record names: its entry was damaged or removed.
    fn is_unnamed(&self, record: &Record) -> Result<bool, Error> {
        match (&record.pin, record.netns().filter(|ns| !ns.host)) {
            (Some(_), Some(netns)) => Ok(self.store.pin_name(netns.id.ino)?.is_none()),
            _ => Ok(false),
        }
    }
}

pub(crate) struct Pass<'a> {
    pub(crate) registry: &'a Registry,
    boot_id: &'a str,
    pub(crate) template: &'a Template,
    patience: Duration,
    /// The records, as read at the start of the pass through the index.
    pub(crate) records: Vec<Record>,
    done: Vec<Done>,
}

impl Pass<'_> {
    pub(crate) fn lock(&self) -> Result<Lock, Error> {
        self.registry.store.lock(Deadline::after(self.patience))
    }

    pub(crate) fn note(
        &mut self,
        action: Action,
        subject: impl Into<String>,
        why: impl Into<String>,
        result: Result<(), Error>,
    ) {
        let failed = result.is_err();
        let detail = result.err().map_or_else(|| why.into(), |error| error.with_remedy());
        self.done.push(Done { action, subject: subject.into(), detail, failed });
    }

    /// Moves strays out of the registry's way, and reports those that may be a newer version's.
    fn strays(&mut self) -> Result<(), Error> {
        let store = &self.registry.store;
        let (strays, unreadable) = store.strays();
        for error in unreadable {
            self.note(Action::Keep, store.path().display().to_string(), "", Err(error));
        }
        for stray in strays {
            let path = store.path().join(&stray.path).display().to_string();
            if stray.expected.is_none() {
                let why = format!("{stray}: left alone; remove it unless a newer porthole has written it");
                self.note(Action::Keep, path, why, Ok(()));
                continue;
            }
            let lock = self.lock()?;
            match store.quarantine(&lock, &stray.path) {
                Ok(now) => self.note(
                    Action::Quarantine,
                    now.display().to_string(),
                    format!("{path} was {stray}; see who made it, then remove it"),
                    Ok(()),
                ),
                Err(error) => self.note(Action::Quarantine, path, "", Err(error)),
            }
        }
        Ok(())
    }

    fn records(&mut self) -> Result<(), Error> {
        for (file, record) in self.registry.store.records()? {
            let id = match record {
                Ok(record) => match self.registry.facts(&record, self.boot_id) {
                    Ok((facts, _)) if decide(facts) == Action::Keep => continue,
                    _ => record.id,
                },
                Err(error) => {
                    self.quarantine(&file, &error)?;
                    continue;
                }
            };
            let lock = self.lock()?;
            // Once more under the lock: a hook may have changed it since.
            match self.registry.store.record(&id) {
                Ok(Some(record)) => self.record(&lock, record),
                Ok(None) => {}
                Err(error) => self.note(Action::Keep, id.as_str(), "", Err(error)),
            }
        }
        Ok(())
    }

    fn record(&mut self, lock: &Lock, record: Record) {
        let id = record.id.to_string();
        if let Err(error) = self.restore_name(lock, &record) {
            return self.note(Action::Keep, id, "", Err(error));
        }
        let (facts, process) = match self.registry.facts(&record, self.boot_id) {
            Ok(found) => found,
            Err(error) => return self.note(Action::Keep, id, "", Err(error)),
        };
        let action = decide(facts);
        let (why, result) = match action {
            Action::Repin => {
                ("its pin was missing or another namespace's", self.repin(lock, record, process))
            }
            Action::DropMember => {
                ("its process has ended; the pod lives on", self.registry.release_at_once(lock, &record))
            }
            Action::Release => ("its process has ended", self.registry.release_at_once(lock, &record)),
            Action::Keep
            | Action::Rename
            | Action::Unpin
            | Action::Quarantine
            | Action::CleanUp
            | Action::Adopt => return,
        };
        self.note(action, id, why, result);
    }

    /// Writes the pin's name into an index that has lost it; otherwise the pin would have no owner, and stay for ever.
    fn restore_name(&self, lock: &Lock, record: &Record) -> Result<(), Error> {
        let registry = self.registry;
        match (&record.pin, record.netns()) {
            (Some(pin), Some(netns))
                if registry.is_unnamed(record)? && registry.is_pin(&pin.name, netns.id)? =>
            {
                let path = registry.netns_dir.join(pin.name.as_str());
                registry.store.claim(lock, netns.id.ino, &path)
            }
            _ => Ok(()),
        }
    }

    fn repin(&self, lock: &Lock, mut record: Record, process: Option<Process>) -> Result<(), Error> {
        let Some(process) = process else { return Ok(()) };
        let path = format!("/proc/{}/ns/net", process.pid());
        let fail = || Step::OpenNamespace.on(path.clone());
        let fd = process.open_namespace(NamespaceKind::Net).map_err(fail())?;
        let id = crate::namespace::NamespaceId::of(&fd).map_err(fail())?;
        let ino = record.netns().map_or(id.ino, |ns| ns.id.ino);
        let host = Host::open().map_err(fail())?.namespace(NamespaceKind::Net) == Some(id);
        // A record of another version may lack this field.
        record.namespaces.insert(NamespaceKind::Net, NamespaceRecord { path, id, host });
        let netns = Some(fd).filter(|_| !host);
        let holder = self.registry.store.holder(ino)?;
        let registration = Registration { record, netns, template: self.template, holder };
        self.registry.register(lock, registration, Deadline::after(self.patience))
    }

    fn quarantine(&mut self, file: &str, error: &Error) -> Result<(), Error> {
        let lock = self.lock()?;
        match self.registry.store.quarantine(&lock, &Path::new(RECORDS).join(file)) {
            Ok(path) => self.note(Action::Quarantine, path.display().to_string(), error.to_string(), Ok(())),
            Err(error) => self.note(Action::Quarantine, file, "", Err(error)),
        }
        Ok(())
    }

    /// Members without a record, and pins without a member.
    fn index(&mut self) -> Result<(), Error> {
        let store = &self.registry.store;
        self.records = store.records()?.into_iter().filter_map(|(_, record)| record.ok()).collect();
        let recorded: HashSet<ContainerId> = self.records.iter().map(|record| record.id.clone()).collect();
        for ino in store.pinned()? {
            match self.entry(ino, &recorded) {
                Err(error @ Error::LockTimeout { .. }) => return Err(error),
                Err(error) => self.note(Action::Keep, format!("netns/{ino}"), "", Err(error)),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    fn entry(&mut self, ino: u64, recorded: &HashSet<ContainerId>) -> Result<(), Error> {
        let store = &self.registry.store;
        let members = store.members(ino)?;
        if !members.is_empty() && members.iter().all(|member| recorded.contains(member)) {
            return Ok(());
        }
        // Looked at before the lock is taken: a holder may take its time to answer, and a start waits for the lock.
        if members.is_empty() && self.registry.waits_for_its_holder(ino)? {
            return Ok(());
        }
        let lock = self.lock()?;
        for member in store.members(ino)? {
            if matches!(store.record(&member), Ok(None)) {
                let left = store.leave(&lock, ino, &member);
                self.note(Action::DropMember, member.as_str(), "there is no record of it", left);
            }
        }
        let name = store.pin_name(ino)?.map_or_else(|| format!("netns/{ino}"), |name| name.to_string());
        match self.registry.settle(&lock, ino) {
            Ok(false) => {}
            Ok(true) => self.note(Action::Unpin, name, "no member and no holder is left", Ok(())),
            Err(error) => self.note(Action::Unpin, name, "", Err(error)),
        }
        Ok(())
    }

    /// Pins that were on their way out when the hook that removed them was killed.
    fn going(&mut self) -> Result<(), Error> {
        let registry = self.registry;
        for ino in registry.store.going()? {
            let lock = self.lock()?;
            let name = registry.store.going_name(ino);
            let finished = registry.finish(&lock, ino);
            if finished.is_err() || matches!(name, Ok(Some(_))) {
                let name =
                    name.ok().flatten().map_or_else(|| format!("going/{ino}"), |name| name.to_string());
                self.note(Action::Unpin, name, "its removal was not finished", finished);
            }
        }
        Ok(())
    }

    fn draft(&mut self) -> Result<(), Error> {
        let lock = self.lock()?;
        match self.registry.store.remove_draft(&lock) {
            Ok(false) => {}
            Ok(true) => {
                self.note(Action::CleanUp, "containers/.draft", "left by a hook that was killed", Ok(()))
            }
            Err(error) => self.note(Action::CleanUp, "containers/.draft", "", Err(error)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_decision_table_has_an_action_for_every_row() {
        let row = |alive, pinned, held| decide(Facts { alive, pinned, held });
        for held in [true, false] {
            assert_eq!(row(true, true, held), Action::Keep);
            assert_eq!(row(true, false, held), Action::Repin);
        }
        for pinned in [true, false] {
            assert_eq!(row(false, pinned, true), Action::DropMember);
            assert_eq!(row(false, pinned, false), Action::Release);
        }
    }
}
