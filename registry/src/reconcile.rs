//! Bringing records, pins and processes to agreement, by one decision table.

use crate::container_id::ContainerId;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::lock::Lock;
use crate::namespace::NamespaceKind;
use crate::naming::{Template, candidates};
use crate::process::{Process, ProcessError};
use crate::record::Record;
use crate::registration::{Registration, Registry};
use crate::views::Seen;
use serde::Serialize;
use std::collections::HashSet;
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
    /// Remove a pin that no record tells of.
    Unpin,
    /// Move a record that cannot be read out of the way.
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

impl Registry {
    /// Brings records, pins and processes to agreement. Returns what it did; nothing where all agrees.
    ///
    /// Takes the lock for one record at a time, so that hooks get their turn.
    ///
    /// # Errors
    /// When the registry cannot be read or locked at all; what fails on one record is in the result.
    pub fn reconcile(
        &self,
        boot_id: &str,
        template: &Template,
        patience: Duration,
    ) -> Result<Vec<Done>, Error> {
        let mut done = Vec::new();
        let mut pass = Pass { registry: self, boot_id, template, patience, done: &mut done };
        pass.records()?;
        pass.index()?;
        pass.going()?;
        pass.draft()?;
        Ok(done)
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
            held = others || self.held(netns.id)? != Seen::No;
        }
        Ok((Facts { alive: process.is_some(), pinned: self.is_pinned(record)?, held }, process))
    }
}

struct Pass<'a> {
    registry: &'a Registry,
    boot_id: &'a str,
    template: &'a Template,
    patience: Duration,
    done: &'a mut Vec<Done>,
}

impl Pass<'_> {
    fn lock(&self) -> Result<Lock, Error> {
        self.registry.store.lock(Deadline::after(self.patience))
    }

    fn note(
        &mut self,
        action: Action,
        subject: impl Into<String>,
        why: impl Into<String>,
        result: Result<(), Error>,
    ) {
        let failed = result.is_err();
        let detail = result.err().map_or_else(|| why.into(), |error| error.to_string());
        self.done.push(Done { action, subject: subject.into(), detail, failed });
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
            Action::Keep | Action::Unpin | Action::Quarantine | Action::CleanUp | Action::Adopt => return,
        };
        self.note(action, id, why, result);
    }

    fn repin(&self, lock: &Lock, mut record: Record, process: Option<Process>) -> Result<(), Error> {
        let Some(process) = process else { return Ok(()) };
        let path = format!("/proc/{}/ns/net", process.pid());
        let fail = || crate::error::Step::OpenNamespace.on(path.clone());
        let fd = process.open_namespace(NamespaceKind::Net).map_err(fail())?;
        let id = crate::namespace::NamespaceId::of(&fd).map_err(fail())?;
        let ino = record.netns().map_or(id.ino, |ns| ns.id.ino);
        if let Some(net) = record.namespaces.get_mut(&NamespaceKind::Net) {
            net.id = id;
        }
        let holder = self.registry.store.holder(ino)?;
        let candidates = candidates(self.template, &record.identity(), &record.id);
        let registration = Registration { record, netns: Some(fd), candidates, holder };
        self.registry.register(lock, registration, Deadline::after(self.patience))
    }

    fn quarantine(&mut self, file: &str, error: &Error) -> Result<(), Error> {
        let lock = self.lock()?;
        match self.registry.store.quarantine(&lock, file) {
            Ok(path) => self.note(Action::Quarantine, path.display().to_string(), error.to_string(), Ok(())),
            Err(error) => self.note(Action::Quarantine, file, "", Err(error)),
        }
        Ok(())
    }

    /// Members without a record, and pins without a member.
    fn index(&mut self) -> Result<(), Error> {
        let store = &self.registry.store;
        let recorded: HashSet<ContainerId> =
            store.records()?.into_iter().filter_map(|(_, record)| Some(record.ok()?.id)).collect();
        for ino in store.pinned()? {
            let members = store.members(ino)?;
            if !members.is_empty() && members.iter().all(|member| recorded.contains(member)) {
                continue;
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
        }
        Ok(())
    }

    /// Pins that were on their way out when the hook that removed them was killed.
    fn going(&mut self) -> Result<(), Error> {
        let registry = self.registry;
        for ino in registry.store.going()? {
            let lock = self.lock()?;
            if let Some(name) = registry.store.going_name(ino)? {
                let finished = registry.finish(&lock, ino);
                self.note(Action::Unpin, name.as_str(), "its removal was not finished", finished);
            } else {
                registry.finish(&lock, ino)?;
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
