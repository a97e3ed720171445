//! The directories in which the engines of this node keep the state of containers: those that daemons and the processes
//! beside containers name, and those that are configured or usual.

use super::crio::Settings;
use super::daemon::{self, Daemon};
use super::settings::{self, find};
use super::{EngineName, monitor};
use crate::install::engine::containerd::config;
use crate::install::tree::Tree;
use porthole_registry::adopt::{Engines, StateKind};
use porthole_registry::host::Host;
use std::path::{Path, PathBuf};

/// The files that name the storage of CRI-O and podman by default. The first that exists counts.
const STORAGE: [&str; 2] = ["/etc/containers/storage.conf", "/usr/share/containers/storage.conf"];

/// The directories that are configured, or usual, and those of the engines that run. A kind whose list is empty is
/// switched off, and stays so.
pub(crate) fn directories(configured: &Engines, host: &Host) -> Engines {
    let mut engines = configured.clone();
    let mut known: Vec<_> = monitor::all(host).into_iter().flat_map(|monitor| monitor.state).collect();
    if let Ok(tree) = Tree::open(Path::new("/")) {
        let daemons = daemon::all();
        known.extend(daemons.iter().flat_map(|daemon| of_daemon(&tree, daemon)));
        known.extend(storages(&tree, None));
    }
    for (kind, dir) in known {
        let list = configured.of(kind);
        // Compared under any name: a directory that is read twice is reported twice where it cannot be read.
        let is_known = engines.of(kind).iter().any(|known| is_same(known, &dir));
        if !list.is_empty() && !is_known {
            engines.add(kind, dir);
        }
    }
    engines
}

fn is_same(a: &Path, b: &Path) -> bool {
    let id = |path: &Path| rustix::fs::stat(path).map(|stat| (stat.st_dev, stat.st_ino));
    a == b || matches!((id(a), id(b)), (Ok(a), Ok(b)) if a == b)
}

/// The directories from a daemon's command line and configuration. A configuration that cannot be read gives none.
fn of_daemon(tree: &Tree, daemon: &Daemon) -> Vec<(StateKind, PathBuf)> {
    let mut found = match daemon.engine {
        EngineName::Containerd => {
            let told = daemon.path_option(&["--state", "-state"]);
            told.or_else(|| config::state(tree, &daemon.config()))
                .map(|dir| (StateKind::Containerd, dir))
                .into_iter()
                .collect()
        }
        EngineName::CriO => {
            let Ok(settings) = Settings::read(tree, &daemon.config(), Some(daemon)) else {
                return Vec::new();
            };
            let storages = settings.storages().into_iter().map(|dir| (StateKind::ContainersStorage, dir));
            storages.chain(settings.runtime_roots()).chain(storages_of(tree, daemon)).collect()
        }
        // The containerd that Docker starts is a daemon of its own.
        EngineName::Docker | EngineName::Podman => Vec::new(),
    };
    for (_, dir) in &mut found {
        *dir = daemon.place(dir);
    }
    found
}

/// The directories of containers/storage for a daemon whose environment names a file of its own.
fn storages_of(tree: &Tree, daemon: &Daemon) -> Vec<(StateKind, PathBuf)> {
    let named = daemon.variable("CONTAINERS_STORAGE_CONF").filter(|path| !path.is_empty());
    storages(tree, named.map(Path::new))
}

/// The directories of containers/storage by its own file.
fn storages(tree: &Tree, named: Option<&Path>) -> Vec<(StateKind, PathBuf)> {
    let is_there = |path: &&Path| tree.read(path).is_ok_and(|content| content.is_some());
    let Some(path) = named.or_else(|| STORAGE.map(Path::new).into_iter().find(is_there)) else {
        return Vec::new();
    };
    let files = settings::read(tree, vec![path.to_owned()]).unwrap_or_default();
    let dir = |key| {
        let path =
            files.first().and_then(|(_, table)| find(table, &["storage", key])?.as_str()).map(PathBuf::from);
        path.filter(|path| path.is_absolute())
    };
    let dirs = ["runroot", "graphroot"].into_iter().filter_map(dir);
    dirs.map(|dir| (StateKind::ContainersStorage, dir)).collect()
}
