//! Finds our edits on the disk that the state lacks: `install.json` can be lost, or come from a backup. The state is
//! completed from the disk, so that `install` and `uninstall` act on the files as they are.

use super::edit::Edit;
use super::engine::{Engine, EngineName, containerd, docker, hooks_d};
use super::plan::{Owner, Rank};
use super::state::{Entry, Kept, State};
use super::tree::{Content, Tree};
use super::{guard, lsm, units};
use crate::problem::Problem;
use std::path::{Path, PathBuf};

/// Directories that only an installation makes.
const DIRECTORIES: [&str; 3] = ["/etc/porthole", "/etc/porthole/runtime", "/etc/porthole/containerd"];

/// Files of ours that are found.
#[derive(Debug, Default)]
pub(super) struct Found {
    entries: Vec<Entry>,
}

impl Found {
    /// A file that is ours as a whole.
    pub(super) fn own(
        &mut self,
        path: PathBuf,
        rank: Rank,
        owner: Owner,
        config: Option<&Path>,
        content: &Content,
    ) {
        let (before, after) = (Kept::Nothing, Kept::of(Some(content)));
        self.add(Entry {
            path,
            rank,
            owner,
            before,
            after,
            edit: Edit::Own,
            config: config.map(Path::to_owned),
        });
    }

    /// A file with an edit of ours. Its former text is known where the backup exists.
    pub(super) fn edited(&mut self, tree: &Tree, engine: &Engine, path: PathBuf, edit: Edit) {
        let before = backup(tree, &path).map_or(Kept::Nothing, Kept::Text);
        // The text after the edit is not known, so the edit is taken out of the present text.
        let (owner, config) = (Owner::Engine(engine.name), Some(engine.config.clone()));
        self.add(Entry { path, rank: Rank::Config, owner, before, after: Kept::Nothing, edit, config });
    }

    fn add(&mut self, entry: Entry) {
        if !self.entries.iter().any(|known| known.path == entry.path) {
            self.entries.push(entry);
        }
    }

    /// Whether an engine's file names one of ours.
    pub(super) fn names(&self, path: &Path) -> bool {
        self.entries.iter().any(|entry| entry.path == path)
    }
}

/// The text of a file before our edit.
pub(super) fn backup(tree: &Tree, path: &Path) -> Option<String> {
    let mut name = path.as_os_str().to_owned();
    name.push(super::apply::BACKUP);
    tree.text(Path::new(&name)).ok().flatten()
}

/// Adds the edits that the state lacks. Returns their paths.
pub(super) fn complete(
    tree: &Tree,
    state: &mut State,
    config: Option<&Path>,
) -> Result<Vec<PathBuf>, Problem> {
    let mut found = Found::default();
    for name in EngineName::ALL {
        let mut engines = Engine::all(tree, name, None, None);
        let known = state.configs(name).into_iter().chain(config).map(Path::to_owned);
        for config in known.collect::<Vec<_>>() {
            if !engines.iter().any(|engine| engine.config == config) {
                engines.extend(Engine::find(tree, name, Some(&config), None));
            }
        }
        // An engine that was removed has left its files.
        if !engines.iter().any(Engine::has_default_config) {
            engines.push(Engine::absent(name));
        }
        for engine in &engines {
            match name {
                EngineName::Containerd => containerd::recover::recover(engine, tree, &mut found),
                EngineName::Docker => docker::recover(engine, tree, &mut found),
                EngineName::CriO | EngineName::Podman => hooks_d::recover(engine, tree, &mut found),
            }
        }
    }
    // Containers may still call scripts that no configuration names any more.
    for name in tree.names(Path::new(guard::DIRECTORY)) {
        let path = Path::new(guard::DIRECTORY).join(&name);
        let engine = EngineName::ALL.into_iter().find(|engine| name.starts_with(&format!("{engine}-")));
        let content = tree.read(&path).ok().flatten();
        if let (Some(engine), Some(content)) = (engine, content)
            && content.as_text().is_some_and(guard::is_script)
        {
            found.own(path, Rank::Support, Owner::Engine(engine), None, &content);
        }
    }
    units::recover(tree, &mut found);
    lsm::recover(tree, &mut found);
    let mut paths = Vec::new();
    for entry in found.entries {
        if state.entry(&entry.path).is_none() {
            paths.push(entry.path.clone());
            state.files.push(entry);
        }
    }
    if !paths.is_empty() {
        let made = DIRECTORIES.map(PathBuf::from).into_iter();
        let made: Vec<_> = made.filter(|dir| tree.is_dir(dir) && !state.directories.contains(dir)).collect();
        state.directories.extend(made);
    }
    Ok(paths)
}
