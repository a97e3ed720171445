//! Cgroups of a node. They are the one thing that namespaces do not take away with the node, so every container
//! gets a path below the node's own directory, and that directory is removed whatever happened.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, thread};

/// No directory is shared by nodes: one that goes with the last of them would go while another is entering.
const PREFIX: &str = "porthole-tests-";

/// The cgroups of one node, in every hierarchy.
#[derive(Debug)]
pub struct Cgroups {
    token: String,
}

impl Cgroups {
    /// `token` is unique to the node.
    #[must_use]
    pub fn new(token: &str) -> Self {
        Self { token: token.to_owned() }
    }

    /// The `cgroupsPath` of container `id`.
    #[must_use]
    pub fn path(&self, id: &str) -> String {
        format!("/{PREFIX}{}/{id}", self.token)
    }

    /// Directories of containers that are still there.
    #[must_use]
    pub fn left(&self) -> Vec<PathBuf> {
        self.dirs().iter().flat_map(|dir| subdirs(dir)).collect()
    }

    /// Removes everything of this node, waiting for processes that are about to be gone.
    pub fn remove(&self) {
        remove_patiently(&self.dirs(), Duration::from_secs(5));
    }

    /// Removes `path(id)` with the directories in it, which an engine may leave; those with a process stay.
    pub fn remove_empty(&self, id: &str) {
        let dirs: Vec<_> = self.dirs().iter().map(|dir| dir.join(id)).collect();
        remove_patiently(&dirs, Duration::from_secs(2));
    }

    /// Removes what is left of tests that were killed: of those whose process, named first in the token, has gone.
    pub fn remove_orphans() {
        for dir in hierarchies().iter().flat_map(|hierarchy| subdirs(hierarchy)) {
            if process_of(&dir).is_some_and(|process| !process.exists()) {
                remove_tree(&dir);
            }
        }
    }

    /// Whether this is a node's directory, of a test that runs.
    #[must_use]
    pub fn in_use(dir: &Path) -> bool {
        process_of(dir).is_some_and(|process| process.exists())
    }

    fn dirs(&self) -> Vec<PathBuf> {
        let name = format!("{PREFIX}{}", self.token);
        hierarchies().iter().map(|hierarchy| hierarchy.join(&name)).filter(|dir| dir.is_dir()).collect()
    }
}

/// The process of the test that a node's directory is named after.
fn process_of(dir: &Path) -> Option<PathBuf> {
    let token = dir.file_name()?.to_str()?.strip_prefix(PREFIX)?;
    Some(Path::new("/proc").join(token.split('-').next()?))
}

/// The v2 hierarchy, and each of v1.
fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let mut hierarchies = subdirs(root);
    // The node's own cover over the v2 hierarchy: crun makes plain directories in it.
    hierarchies.retain(|dir| dir.join("cgroup.procs").exists() && !dir.join("cgroup.type").exists());
    hierarchies.push(root.to_owned());
    hierarchies
}

fn subdirs(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

fn remove_patiently(dirs: &[PathBuf], patience: Duration) {
    let until = Instant::now() + patience;
    for dir in dirs {
        while !remove_tree(dir) && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn remove_tree(dir: &Path) -> bool {
    for sub in subdirs(dir) {
        remove_tree(&sub);
    }
    fs::remove_dir(dir).is_ok() || !dir.exists()
}
