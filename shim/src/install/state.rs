//! What an installation has changed, so that `uninstall` can take back exactly that: `/var/lib/porthole/install.json`.

use super::edit::Edit;
use super::engine::{Engine, EngineName};
use super::plan::{Change, Owner, Plan, Rank};
use super::tree::{Content, Tree, failed};
use crate::exit::Exit;
use crate::problem::Problem;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Where it is, in the tree.
pub(crate) const PATH: &str = "/var/lib/porthole/install.json";
const SCHEMA: u32 = 1;

/// A file as it was or is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kept {
    /// There was none.
    Nothing,
    /// With this text.
    Text(String),
    /// A link to there.
    Link(PathBuf),
    /// A program of ours, which nobody needs back.
    Program,
}

impl Kept {
    pub(super) fn of(content: Option<&Content>) -> Self {
        match content {
            None => Self::Nothing,
            Some(Content::Link { target }) => Self::Link(target.clone()),
            Some(file) => file.as_text().map_or(Self::Program, |text| Self::Text(text.to_owned())),
        }
    }

    /// Whether this is what is there. Of a program only that it is one is known.
    pub(crate) fn is(&self, content: Option<&Content>) -> bool {
        *self == Self::of(content)
    }
}

/// One file that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) path: PathBuf,
    pub(crate) rank: Rank,
    pub(crate) owner: Owner,
    pub(crate) before: Kept,
    pub(crate) after: Kept,
    pub(crate) edit: Edit,
    /// The main configuration of its engine. None in the state of an older version, which had one for each name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) config: Option<PathBuf>,
}

impl Entry {
    /// Whether it belongs to this engine.
    pub(crate) fn is_of(&self, engine: &Engine) -> bool {
        self.owner == Owner::Engine(engine.name) && self.is_of_config(&engine.config)
    }

    /// Whether it belongs to an engine with this main configuration.
    pub(crate) fn is_of_config(&self, config: &Path) -> bool {
        self.config.as_ref().is_none_or(|own| own == config)
    }

    /// Whether it is a link that was changed, and not what it leads to.
    pub(crate) fn is_link(&self) -> bool {
        matches!(self.before, Kept::Link(_)) || matches!(self.after, Kept::Link(_))
    }
}

/// All that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    schema: u32,
    /// The version of porthole that wrote it.
    pub(crate) version: String,
    pub(crate) files: Vec<Entry>,
    /// Directories that were made, outermost first.
    pub(crate) directories: Vec<PathBuf>,
    /// When what an engine reads was changed last.
    #[serde(default)]
    changed: Vec<Changed>,
    /// Policies of security modules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) loaded: Vec<super::lsm::Loaded>,
    /// The operator wanted none of them to be loaded.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) without_policy: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Changed {
    engine: EngineName,
    /// Its main configuration.
    config: PathBuf,
    /// In milliseconds since 1970.
    at: u64,
}

impl Changed {
    fn is_of(&self, engine: EngineName, config: &Path) -> bool {
        self.engine == engine && self.config == config
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            files: Vec::new(),
            directories: Vec::new(),
            changed: Vec::new(),
            loaded: Vec::new(),
            without_policy: false,
        }
    }
}

impl State {
    /// Reads it; empty where nothing is installed.
    pub(crate) fn load(tree: &Tree) -> Result<Self, Problem> {
        Self::read(tree)?.map_err(|cause| {
            Problem::new(
                Exit::Failed,
                format!("{PATH}: {cause}"),
                "`porthole install` finds on the disk what is installed, and writes it anew",
            )
        })
    }

    /// Reads it, or says why it cannot be read.
    fn read(tree: &Tree) -> Result<Result<Self, String>, Problem> {
        let path = Path::new(PATH);
        let Some(content) = tree.read(path)? else { return Ok(Ok(Self::default())) };
        let parsed = match &content {
            Content::File { bytes, .. } => serde_json::from_slice::<serde_json::Value>(bytes),
            Content::Link { .. } => return Ok(Err("is a link".to_owned())),
        };
        let value = match parsed {
            Ok(value) => value,
            Err(error) => return Ok(Err(error.to_string())),
        };
        if let Some(schema) = value["schema"].as_u64().filter(|schema| *schema != u64::from(SCHEMA)) {
            return Err(Problem::new(
                Exit::Failed,
                format!("{PATH}: schema {schema} is not known to this version of porthole"),
                "use the version of porthole that has written it",
            ));
        }
        let state = serde_json::from_value(value).map(|mut state: Self| {
            state.assign();
            state
        });
        Ok(state.map_err(|e| e.to_string()))
    }

    /// Reads it, and completes it from the disk. A file that cannot be read is kept aside if `keep` is set. Returns notes
    /// for the operator.
    pub(super) fn complete(
        tree: &Tree,
        config: Option<&Path>,
        keep: bool,
    ) -> Result<(Self, Vec<String>), Problem> {
        let mut notes = Vec::new();
        let mut state = match Self::read(tree)? {
            Ok(state) => state,
            Err(cause) => {
                let aside = PathBuf::from(format!("{PATH}.unreadable"));
                if keep {
                    std::fs::rename(tree.locate(Path::new(PATH))?, tree.locate(&aside)?)
                        .map_err(|e| failed("move aside", Path::new(PATH), e))?;
                }
                notes.push(format!(
                    "{PATH} cannot be read ({cause}): it is kept as {}, and the installation is read from the disk",
                    aside.display()
                ));
                Self::default()
            }
        };
        let found = super::recover::complete(tree, &mut state, config)?;
        if !found.is_empty() {
            let list: Vec<_> = found.iter().map(|path| path.display().to_string()).collect();
            notes.push(format!("installed, and not in {PATH}: {}", list.join(", ")));
        }
        Ok((state, notes))
    }

    /// Gives the entries of an older version their configuration.
    fn assign(&mut self) {
        for changed in &self.changed {
            let own = Owner::Engine(changed.engine);
            for entry in self.files.iter_mut().filter(|entry| entry.owner == own && entry.config.is_none()) {
                entry.config = Some(changed.config.clone());
            }
        }
    }

    /// Whether nothing is installed.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.directories.is_empty() && self.loaded.is_empty() && !self.without_policy
    }

    /// The entry of a file.
    pub(crate) fn entry(&self, path: &Path) -> Option<&Entry> {
        self.files.iter().find(|entry| entry.path == path)
    }

    /// Remembers a change that installs something. What the file was before us stays known across installations; what
    /// somebody else has written into it since is theirs.
    pub(crate) fn remember(&mut self, change: &Change) -> Result<(), Problem> {
        let after = Kept::of(change.after.as_ref());
        let before = match self.entry(&change.path) {
            Some(entry) if entry.after.is(change.before.as_ref()) => entry.before.clone(),
            Some(entry) => match change.before.as_ref().and_then(Content::as_text) {
                Some(text) => entry.edit.undo(text)?.map_or(Kept::Nothing, Kept::Text),
                None => Kept::of(change.before.as_ref()),
            },
            None => Kept::of(change.before.as_ref()),
        };
        if before == after && after != Kept::Program {
            self.forget(&change.path);
            return Ok(());
        }
        let entry = Entry {
            path: change.path.clone(),
            rank: change.rank,
            owner: change.owner,
            before,
            after,
            edit: change.edit.clone(),
            config: change.config.clone(),
        };
        match self.files.iter_mut().find(|known| known.path == change.path) {
            Some(known) => *known = entry,
            None => self.files.push(entry),
        }
        Ok(())
    }

    /// Notes that what the plan's engines read has changed now.
    pub(crate) fn has_changed(&mut self, plan: &Plan, engines: &[Engine]) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let at = u64::try_from(now).unwrap_or_default();
        let is_changed = |engine: &&Engine| plan.changes.iter().any(|change| change.is_for(engine));
        for engine in engines.iter().filter(is_changed) {
            self.changed.retain(|changed| !changed.is_of(engine.name, &engine.config));
            self.changed.push(Changed { engine: engine.name, config: engine.config.clone(), at });
        }
    }

    /// When what an engine reads was changed last.
    pub(crate) fn changed(&self, engine: &Engine) -> Option<SystemTime> {
        let changed = self.changed.iter().find(|changed| changed.is_of(engine.name, &engine.config))?;
        Some(SystemTime::UNIX_EPOCH + Duration::from_millis(changed.at))
    }

    /// The main configuration of an engine that was changed.
    pub(crate) fn config(&self, engine: EngineName) -> Option<&Path> {
        self.configs(engine).into_iter().next()
    }

    /// The main configurations of an engine's installations.
    pub(crate) fn configs(&self, engine: EngineName) -> Vec<&Path> {
        let changed = self.changed.iter().filter(|changed| changed.engine == engine);
        let entries = self.files.iter().filter(|entry| entry.owner == Owner::Engine(engine));
        let known = changed.map(|changed| changed.config.as_path());
        let mut found: Vec<&Path> = Vec::new();
        for config in known.chain(entries.filter_map(|entry| entry.config.as_deref())) {
            if !found.contains(&config) {
                found.push(config);
            }
        }
        found
    }

    /// Replaces the entries of an engine by those in `before`.
    pub(super) fn restore(&mut self, engine: &Engine, before: &Self) {
        self.files.retain(|entry| !entry.is_of(engine));
        self.files.extend(before.files.iter().filter(|entry| entry.is_of(engine)).cloned());
        self.changed.retain(|changed| !changed.is_of(engine.name, &engine.config));
        let known = before.changed.iter().filter(|changed| changed.is_of(engine.name, &engine.config));
        self.changed.extend(known.cloned());
    }

    /// Forgets a file that is as it was before us.
    pub(crate) fn forget(&mut self, path: &Path) {
        self.files.retain(|entry| entry.path != path);
    }

    /// Writes it, or removes it where it tells of nothing.
    pub(crate) fn save(&self, tree: &Tree) -> Result<(), Problem> {
        let path = Path::new(PATH);
        let place = tree.locate(path)?;
        if self.is_empty() {
            // Left by a run that was killed.
            let _ = super::apply::draft_of(&place).map(std::fs::remove_file);
            return match std::fs::remove_file(&place) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(failed("remove", path, e)),
                _ => Ok(()),
            };
        }
        let text = crate::output::json(self)?;
        // It holds others' configuration, in which there can be secrets.
        super::apply::replace(&place, &Content::File { bytes: text.into_bytes(), mode: 0o600 }, None)
            .map_err(|e| failed("write", path, e))
    }
}

/// One installation at a time, until this is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _fd: std::os::fd::OwnedFd,
    file: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
        // Where nothing is installed, the directory is there only for the lock. If it is not empty, it stays.
        let _ = self.file.parent().map(std::fs::remove_dir);
    }
}

/// Where the state is, alone.
pub(crate) fn directory() -> &'static Path {
    Path::new(PATH).parent().unwrap_or(Path::new("/"))
}

/// Locks the installation without a wait: a second process fails. Root alone can open the file, and so lock it.
pub(crate) fn lock(tree: &Tree) -> Result<Lock, Problem> {
    use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, fstat, openat, stat};
    let path = directory();
    let directory = tree.locate(path)?;
    std::fs::create_dir_all(&directory).map_err(|e| failed("make", path, e))?;
    let (path, file) = (path.join("lock"), directory.join("lock"));
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(CWD, &file, flags, Mode::RUSR | Mode::WUSR).map_err(|e| failed("open", &path, e))?;
    let busy = |cause: String| {
        let remedy = "another installation is running: wait for it, then run this again";
        Problem::new(Exit::Failed, format!("lock {}: {cause}", path.display()), remedy)
    };
    flock(&fd, FlockOperation::NonBlockingLockExclusive).map_err(|e| busy(e.to_string()))?;
    let ours = fstat(&fd).map_err(|e| failed("look at", &path, e))?;
    if stat(&file).is_ok_and(|now| (now.st_dev, now.st_ino) == (ours.st_dev, ours.st_ino)) {
        return Ok(Lock { _fd: fd, file });
    }
    Err(busy("it was removed meanwhile".to_owned()))
}
