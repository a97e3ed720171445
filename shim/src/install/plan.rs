//! What is to be changed, as data: computed without changing anything, printed as a unified diff, applied by one function.

use super::edit::Edit;
use super::engine::{Engine, EngineName};
use super::tree::{Content, Tree};
use crate::problem::Problem;
use serde::{Deserialize, Serialize};
use similar::TextDiff;
use std::path::{Path, PathBuf};

/// When a change is made: what others need comes first, and goes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Rank {
    /// Our programs.
    Binary,
    /// Files of our own that the engines' configuration names: base specs, guards.
    Support,
    /// What the engines read.
    Config,
    /// What the service manager reads.
    Unit,
}

/// On whose behalf a file is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Owner {
    /// All engines': binaries, units.
    Porthole,
    /// One engine's.
    #[serde(untagged)]
    Engine(EngineName),
}

/// One file, before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// Its path in the tree.
    pub(crate) path: PathBuf,
    pub(crate) rank: Rank,
    pub(crate) owner: Owner,
    /// None where there is no such file.
    pub(crate) before: Option<Content>,
    /// None where it is to go.
    pub(crate) after: Option<Content>,
    /// How it is taken back once somebody else has edited the file too.
    pub(crate) edit: Edit,
    /// The main configuration of its engine, since a node can have several engines of one name.
    pub(crate) config: Option<PathBuf>,
}

impl Change {
    /// Whether it is made for this engine.
    pub(crate) fn is_for(&self, engine: &Engine) -> bool {
        self.owner == Owner::Engine(engine.name)
            && self.config.as_ref().is_none_or(|config| *config == engine.config)
    }

    /// Whether it is a link that is changed, and not what it leads to.
    pub(crate) fn is_link(&self) -> bool {
        let is_link = |content: &Option<Content>| matches!(content, Some(Content::Link { .. }));
        is_link(&self.before) || is_link(&self.after)
    }
}

/// What an engine has to do to read its changed configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reload {
    /// It has to be restarted; its containers live on.
    Restart,
    /// A signal will do.
    Signal,
    /// It reads it by itself.
    Nothing,
}

/// An engine with changes, and how it reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) engine: EngineName,
    /// Its main configuration.
    pub(crate) config: PathBuf,
    pub(crate) reload: Reload,
}

impl Pending {
    pub(crate) fn is_of(&self, engine: &Engine) -> bool {
        self.engine == engine.name && self.config == engine.config
    }
}

/// All that is to be done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) changes: Vec<Change>,
    /// Engines with changes, and what they need then.
    pub(crate) reloads: Vec<Pending>,
    /// Files of ours that stay for the time being, and why.
    pub(crate) kept: Vec<(PathBuf, String)>,
    /// The expected configuration of each containerd.
    pub(crate) expected: Vec<super::engine::containerd::Expected>,
    /// What the security module's programs are to do then.
    pub(crate) policies: Vec<super::lsm::Step>,
    /// No policy is loaded, because the operator wants none.
    pub(crate) without_policy: bool,
    /// What the operator should know.
    pub(crate) notes: Vec<String>,
}

impl Plan {
    /// What is at a path once the plan is applied, as far as it is planned.
    pub(crate) fn content(&self, tree: &Tree, path: &Path) -> Result<Option<Content>, Problem> {
        match self.changes.iter().find(|change| change.path == path) {
            Some(change) => Ok(change.after.clone()),
            None => tree.look(path),
        }
    }

    /// Adds a change. What is as it should be is none; a file that is changed already is changed further.
    pub(crate) fn set(
        &mut self,
        tree: &Tree,
        path: &Path,
        rank: Rank,
        owner: Owner,
        after: Option<Content>,
        edit: Edit,
    ) -> Result<(), Problem> {
        if let Some(change) = self.changes.iter_mut().find(|change| change.path == path) {
            change.after = after;
            change.edit = edit;
            self.changes.retain(|change| change.after != change.before);
        } else {
            // A file of somebody else's is edited where it is.
            let before = tree.look_as(path, edit == Edit::Own)?;
            // A file that somebody gave another mode keeps it.
            let same = match (&before, &after) {
                (Some(Content::File { bytes: a, mode: m }), Some(Content::File { bytes: b, mode: n })) => {
                    a == b && (m & 0o111 != 0) == (n & 0o111 != 0)
                }
                (before, after) => before == after,
            };
            if !same {
                let path = path.to_owned();
                self.changes.push(Change { path, rank, owner, before, after, edit, config: None });
            }
        }
        Ok(())
    }

    /// Says what an engine needs, if any of its files is changed.
    pub(crate) fn reload(&mut self, engine: &Engine, reload: Reload) {
        if self.changes.iter().any(|change| change.is_for(engine)) {
            self.reloads.push(Pending { engine: engine.name, config: engine.config.clone(), reload });
        }
    }

    /// Assigns the changes that have no engine yet to this one.
    pub(super) fn claim(&mut self, engine: &Engine) {
        let own = Owner::Engine(engine.name);
        for change in self.changes.iter_mut().filter(|change| change.owner == own) {
            change.config.get_or_insert_with(|| engine.config.clone());
        }
    }

    /// In the order in which they are to be made.
    pub(crate) fn in_order(mut self, undo: bool) -> Self {
        if undo {
            self.changes.sort_by_key(|change| std::cmp::Reverse(change.rank));
        } else {
            // What goes is named by nothing once the rest is done.
            self.changes.sort_by_key(|change| (change.after.is_none(), change.rank));
        }
        self
    }

    /// Whether everything is as it should be.
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.policies.is_empty()
    }

    /// The changes as one unified diff, which patch(1) would apply to the tree's root.
    pub(crate) fn diff(&self) -> String {
        self.changes.iter().map(diff).collect()
    }
}

fn diff(change: &Change) -> String {
    let name = |content: &Option<Content>, side: &str| {
        content
            .as_ref()
            .map_or_else(|| "/dev/null".to_owned(), |_| format!("{side}{}", change.path.display()))
    };
    let text = |content: &Option<Content>| match content {
        None => Some(String::new()),
        Some(Content::Link { target }) => Some(format!("-> {}\n", target.display())),
        Some(file) => file.as_text().map(str::to_owned),
    };
    let (old, new) = (name(&change.before, "a"), name(&change.after, "b"));
    match (text(&change.before), text(&change.after)) {
        (Some(before), Some(after)) => TextDiff::from_lines(&before, &after)
            .unified_diff()
            .context_radius(3)
            .header(&old, &new)
            .to_string(),
        _ => format!("Binary files {old} and {new} differ\n"),
    }
}
