//! Adoption: containers that run already, found in the state that their engines keep on disk.
//!
//! What is found there is trusted in nothing but that it was written by root once: a file may be of a container that has
//! ended, be half written, or be something else altogether. One that cannot be read is told of and costs only itself.

mod containerd;
mod crun;
mod files;
mod missing;
mod register;
mod runc;
mod sources;
mod spec;
mod storage;
mod verify;

#[cfg(test)]
mod tests;

use crate::container_id::ContainerId;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

pub use crun::parse as parse_crun_status;
pub use missing::{Missing, missing};
pub use register::Adoption;
pub use runc::parse as parse_runc_state;
pub use sources::{Engines, StateKind, UnknownEngine};

/// Something that may be a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub id: ContainerId,
    /// Its first process; none of a sandbox that was made without one.
    pub process: Option<Claim>,
    /// Its bundle, as its engine hands it to the runtime: `config.json` is in it.
    pub bundle: PathBuf,
    /// In whose state it was found.
    pub kind: StateKind,
}

/// What the state says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its number; 2 or more.
    pub pid: i32,
    /// By what it can be told from another process with the same number.
    pub evidence: Evidence,
}

/// What tells that a number still is that of the container's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// When it started, in clock ticks since boot.
    Start(u64),
    /// When its number was written down.
    Written(SystemTime),
}

/// Something that looks like a container's state and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Which file or directory.
    pub path: PathBuf,
    /// What is wrong with it.
    pub cause: String,
}

/// All that was found.
#[derive(Debug, Default)]
pub struct Found {
    /// One for each container; two of one id only if they name different processes.
    pub candidates: Vec<Candidate>,
    /// What could not be read.
    pub unreadable: Vec<Unreadable>,
}

/// Looks through the state of all engines.
pub fn find(engines: &Engines) -> Found {
    let mut found = Found::default();
    // In this order: of a container that is found twice, the engine's bundle is the one that names are derived from.
    for root in engines.of(StateKind::Containerd) {
        containerd::find(root, &mut found);
    }
    storage::find(engines.of(StateKind::ContainersStorage), &mut found);
    for root in engines.of(StateKind::Runc) {
        runc::find(root, &mut found);
    }
    for root in engines.of(StateKind::Crun) {
        crun::find(root, &mut found);
    }
    found.candidates = merged(std::mem::take(&mut found.candidates));
    found
}

/// Those that are the same container as one.
fn merged(candidates: Vec<Candidate>) -> Vec<Candidate> {
    let mut by_id: BTreeMap<ContainerId, Vec<Candidate>> = BTreeMap::new();
    for candidate in candidates {
        let same = by_id.entry(candidate.id.clone()).or_default();
        let pid = |candidate: &Candidate| candidate.process.map(|claim| claim.pid);
        let twin = same
            .iter_mut()
            .find(|other| pid(other).is_none() || pid(&candidate).is_none() || pid(other) == pid(&candidate));
        match twin {
            Some(twin) => {
                let exact = matches!(candidate.process, Some(Claim { evidence: Evidence::Start(_), .. }));
                if twin.process.is_none() || exact {
                    twin.process = candidate.process.or(twin.process);
                }
            }
            None => same.push(candidate),
        }
    }
    by_id.into_values().flatten().collect()
}

impl Found {
    fn unreadable(&mut self, path: PathBuf, cause: impl Into<String>) {
        self.unreadable.push(Unreadable { path, cause: cause.into() });
    }

    /// Keeps what one directory says of a container: a candidate, nothing yet, or what is wrong with it.
    fn note(&mut self, directory: &files::Directory, candidate: Result<Option<Candidate>, String>) {
        match candidate {
            Ok(candidate) => self.candidates.extend(candidate),
            Err(cause) => self.unreadable(directory.path().to_owned(), cause),
        }
    }
}
