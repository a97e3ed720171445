//! Where engines keep the state of their containers.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A layout of state on disk; several engines share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StateKind {
    /// containerd's, and so Docker's, nerdctl's, k3s's: the directory `state` of its configuration.
    Containerd,
    /// That of the library containers/storage: CRI-O's and podman's run root and graph root.
    ContainersStorage,
    /// runc's `--root`.
    Runc,
    /// crun's `--root`.
    Crun,
}

impl StateKind {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Containerd, Self::ContainersStorage, Self::Runc, Self::Crun];

    /// Its name, in the configuration and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::ContainersStorage => "containers-storage",
            Self::Runc => "runc",
            Self::Crun => "crun",
        }
    }

    /// Where its state is unless somebody has put it elsewhere.
    const fn usual(self) -> &'static [&'static str] {
        match self {
            // Docker's is of the containerd that dockerd starts where there is none; k3s brings its own.
            Self::Containerd => &["/run/containerd", "/run/docker/containerd/daemon", "/run/k3s/containerd"],
            Self::ContainersStorage => &["/run/containers/storage", "/var/lib/containers/storage"],
            Self::Runc => &["/run/runc"],
            Self::Crun => &["/run/crun"],
        }
    }
}

impl fmt::Display for StateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is none of [`StateKind::ALL`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is none of containerd, containers-storage, runc, crun")]
pub struct UnknownEngine(String);

impl FromStr for StateKind {
    type Err = UnknownEngine;

    fn from_str(name: &str) -> Result<Self, UnknownEngine> {
        let kind = Self::ALL.into_iter().find(|kind| kind.as_str() == name);
        kind.ok_or_else(|| UnknownEngine(name.to_owned()))
    }
}

/// The directories that are looked through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engines(BTreeMap<StateKind, Vec<PathBuf>>);

impl Default for Engines {
    fn default() -> Self {
        let usual = |kind: StateKind| kind.usual().iter().map(PathBuf::from).collect();
        Self(StateKind::ALL.into_iter().map(|kind| (kind, usual(kind))).collect())
    }
}

impl Engines {
    /// None at all.
    pub const fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// Those with state of this kind.
    pub fn of(&self, kind: StateKind) -> &[PathBuf] {
        self.0.get(&kind).map_or(&[], Vec::as_slice)
    }

    /// Replaces those of this kind.
    pub fn set(&mut self, kind: StateKind, directories: Vec<PathBuf>) {
        self.0.insert(kind, directories);
    }

    /// Adds one.
    pub fn add(&mut self, kind: StateKind, directory: PathBuf) {
        let directories = self.0.entry(kind).or_default();
        if !directories.contains(&directory) {
            directories.push(directory);
        }
    }
}
