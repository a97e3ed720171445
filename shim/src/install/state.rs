//! What an installation has changed, so that `uninstall` can take back exactly that: `/var/lib/porthole/install.json`.

use super::edit::Edit;
use super::engine::EngineName;
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
    fn of(content: Option<&Content>) -> Self {
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
    /// When what an engine reads was changed last, in milliseconds since 1970.
    #[serde(default)]
    changed: Vec<(EngineName, u64)>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            files: Vec::new(),
            directories: Vec::new(),
            changed: Vec::new(),
        }
    }
}

impl State {
    /// Reads it; empty where nothing is installed.
    pub(crate) fn load(tree: &Tree) -> Result<Self, Problem> {
        let Some(text) = tree.text(Path::new(PATH))? else { return Ok(Self::default()) };
        let bad = |cause: String| {
            Problem::new(
                Exit::Failed,
                format!("{PATH}: {cause}"),
                "take the changes back by hand: a backup is beside each changed file, FILE.porthole-backup",
            )
        };
        let state: Self = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
        if state.schema != SCHEMA {
            return Err(bad(format!("schema {} is not known to this version of porthole", state.schema)));
        }
        Ok(state)
    }

    /// Whether nothing is installed.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.directories.is_empty()
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
        };
        match self.files.iter_mut().find(|known| known.path == change.path) {
            Some(known) => *known = entry,
            None => self.files.push(entry),
        }
        Ok(())
    }

    /// Notes that what the plan's engines read has changed now.
    pub(crate) fn has_changed(&mut self, plan: &Plan) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        for (engine, _) in &plan.reloads {
            self.changed.retain(|(name, _)| name != engine);
            self.changed.push((*engine, u64::try_from(now).unwrap_or_default()));
        }
    }

    /// When what an engine reads was changed last.
    pub(crate) fn changed(&self, engine: EngineName) -> Option<SystemTime> {
        let (_, millis) = self.changed.iter().find(|(name, _)| *name == engine)?;
        Some(SystemTime::UNIX_EPOCH + Duration::from_millis(*millis))
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
            return match std::fs::remove_file(&place) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(failed("remove", path, e)),
                // Made for it, and for nothing else; who has put something there keeps it.
                _ => {
                    let _ = place.parent().map(std::fs::remove_dir);
                    Ok(())
                }
            };
        }
        let text = crate::output::json(self)?;
        // It holds others' configuration, in which there can be secrets.
        super::apply::replace(&place, &Content::File { bytes: text.into_bytes(), mode: 0o600 }, None)
            .map_err(|e| failed("write", path, e))
    }
}

/// One installation at a time. Held until it is dropped; then a directory with nothing in it goes, too.
#[derive(Debug)]
pub(crate) struct Lock {
    place: PathBuf,
    _directory: std::os::fd::OwnedFd,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // One that an installation is remembered in stays.
        let _ = std::fs::remove_dir(&self.place);
    }
}

pub(crate) fn lock(tree: &Tree) -> Result<Lock, Problem> {
    use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, fstat, openat, stat};
    let directory = Path::new(PATH).parent().unwrap_or(Path::new("/"));
    let place = tree.locate(directory)?;
    loop {
        std::fs::create_dir_all(&place).map_err(|e| failed("make", directory, e))?;
        let fd = openat(CWD, &place, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| failed("open", directory, e))?;
        flock(&fd, FlockOperation::NonBlockingLockExclusive).map_err(|e| {
            Problem::new(
                Exit::Failed,
                format!("lock {}: {e}", directory.display()),
                "another installation is running: wait for it",
            )
        })?;
        // One that had it before may have removed the directory; then this is not what others lock.
        let (held, there) = (fstat(&fd), stat(&place));
        if held.is_ok_and(|held| there.is_ok_and(|there| held.st_ino == there.st_ino)) {
            return Ok(Lock { place, _directory: fd });
        }
    }
}
