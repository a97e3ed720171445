//! Making the changes of a plan: each file is replaced as a whole, with owner, mode and security label kept, and when one
//! cannot be, those before it are put back.

use super::edit::Edit;
use super::engine::Engine;
use super::plan::{Change, Plan};
use super::state::State;
use super::tree::{Content, Tree, failed};
use crate::exit::Exit;
use crate::problem::Problem;
use porthole_registry::attributes::Attributes;
use rustix::fs::{self, AtFlags, CWD, Gid, Mode, OFlags, Uid};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

/// What a backup's name ends in.
pub(crate) const BACKUP: &str = ".porthole-backup";

/// Changes that were made, to be kept or put back.
#[derive(Debug)]
pub(crate) struct Applied<'a> {
    tree: &'a Tree,
    done: Vec<&'a Change>,
    directories: Vec<PathBuf>,
    backups: Vec<PathBuf>,
}

/// Makes the changes. On an error nothing is changed, or the error says what could not be put back.
///
/// `is_known` says of a path whether a run before this one has changed it: then its backup is from before that run.
pub(crate) fn apply<'a>(
    plan: &'a Plan,
    tree: &'a Tree,
    is_known: impl Fn(&Path) -> bool,
) -> Result<Applied<'a>, Problem> {
    let mut applied = Applied { tree, done: Vec::new(), directories: Vec::new(), backups: Vec::new() };
    for change in &plan.changes {
        if let Err(problem) = applied.make(change, is_known(&change.path)) {
            return Err(applied.revert(problem));
        }
    }
    Ok(applied)
}

impl<'a> Applied<'a> {
    fn make(&mut self, change: &'a Change, is_known: bool) -> Result<(), Problem> {
        let path = &change.path;
        if self.tree.look_as(path, change.is_link())? != change.before {
            return Err(Problem::new(
                Exit::Failed,
                format!("{}: was changed by somebody else meanwhile", path.display()),
                "run this again",
            ));
        }
        let place = self.place(change)?;
        if let Some(parent) = path.parent() {
            self.make_directory(parent)?;
        }
        let Some(after) = &change.after else {
            std::fs::remove_file(&place).map_err(|e| failed("remove", path, e))?;
            self.done.push(change);
            return Ok(());
        };
        if change.edit != Edit::Own
            && let Some(before) = &change.before
        {
            self.back_up(path, &place, before, is_known)?;
        }
        if let Err(e) = replace(&place, after, Some(&place)) {
            // One that stays does no harm.
            self.backups.pop_if(|backup| *backup == backup_of(&place)).map(std::fs::remove_file);
            return Err(failed("write", path, e));
        }
        self.done.push(change);
        Ok(())
    }

    /// A link is replaced itself; a file that is reached by one is replaced where it is.
    fn place(&self, change: &Change) -> Result<PathBuf, Problem> {
        match (change.path.parent(), change.path.file_name()) {
            (Some(parent), Some(name)) if change.is_link() => Ok(self.tree.locate(parent)?.join(name)),
            _ => self.tree.locate(&change.path),
        }
    }

    fn make_directory(&mut self, path: &Path) -> Result<(), Problem> {
        let missing: Vec<_> = path.ancestors().take_while(|dir| !self.tree.is_dir(dir)).collect();
        for dir in missing.into_iter().rev() {
            let place = self.tree.locate(dir)?;
            std::fs::DirBuilder::new().mode(0o755).create(&place).map_err(|e| failed("make", dir, e))?;
            self.directories.push(dir.to_owned());
        }
        Ok(())
    }

    /// The backup of a file that is changed already stays: it is the file as it was before porthole. Another one is from an
    /// installation that has ended, and the file may have changed since.
    fn back_up(
        &mut self,
        path: &Path,
        place: &Path,
        before: &Content,
        is_known: bool,
    ) -> Result<(), Problem> {
        let backup = backup_of(place);
        if is_known && backup.exists() {
            return Ok(());
        }
        replace(&backup, before, Some(place)).map_err(|e| failed("write the backup of", path, e))?;
        self.backups.push(backup);
        Ok(())
    }

    /// Puts everything back, and tells why in `problem`.
    pub(crate) fn revert(mut self, problem: Problem) -> Problem {
        let all = std::mem::take(&mut self.done);
        self.put_back(&all, problem, "everything is as it was")
    }

    /// Takes back the changes for one engine. Those for the others stay.
    pub(crate) fn revert_for(&mut self, engine: &Engine, problem: Problem) -> Problem {
        let (own, rest) = self.done.iter().copied().partition::<Vec<_>, _>(|change| change.is_for(engine));
        self.done = rest;
        self.put_back(&own, problem, "its files are as they were")
    }

    fn put_back(&self, changes: &[&'a Change], mut problem: Problem, done: &str) -> Problem {
        let mut stuck = Vec::new();
        for change in changes.iter().rev() {
            let put_back = || -> Result<(), Problem> {
                let place = self.place(change)?;
                match &change.before {
                    Some(before) => {
                        replace(&place, before, Some(&place)).map_err(|e| failed("write", &change.path, e))
                    }
                    None => std::fs::remove_file(&place).map_err(|e| failed("remove", &change.path, e)),
                }
            };
            if let Err(error) = put_back() {
                stuck.push(error.message);
            }
        }
        let backups = changes.iter().filter_map(|change| Some(backup_of(&self.place(change).ok()?)));
        for backup in backups.filter(|backup| self.backups.contains(backup)) {
            // One that stays does no harm.
            let _ = std::fs::remove_file(backup);
        }
        for dir in self.directories.iter().rev() {
            let _ = self.tree.locate(dir).map(std::fs::remove_dir);
        }
        problem.message = if stuck.is_empty() {
            format!("{}; {done}", problem.message)
        } else {
            format!("{}; and not put back: {}", problem.message, stuck.join(", "))
        };
        problem
    }
}

/// The directories that a plan makes, outermost first.
pub(crate) fn directories(plan: &Plan, tree: &Tree) -> Vec<PathBuf> {
    let mut missing = Vec::new();
    for change in plan.changes.iter().filter(|change| change.after.is_some()) {
        let above = change.path.ancestors().skip(1).take_while(|dir| !tree.is_dir(dir));
        let mut above: Vec<_> =
            above.filter(|dir| !missing.iter().any(|known| known == dir)).map(Path::to_owned).collect();
        above.reverse();
        missing.extend(above);
    }
    missing
}

/// Removes what was put beside a file that is as it was: the backup, and what a run that was killed has left.
pub(crate) fn tidy(tree: &Tree, path: &Path) {
    let Ok(place) = tree.locate(path) else { return };
    let backup = backup_of(&place);
    for left in [draft_of(&place), draft_of(&backup), Some(backup)].into_iter().flatten() {
        // One that stays does no harm.
        let _ = std::fs::remove_file(left);
    }
}

/// Removes the directories that an installation has made, as far as they are empty.
pub(crate) fn sweep(tree: &Tree, state: &mut State) {
    let mut left = Vec::new();
    for dir in state.directories.iter().rev() {
        match tree.locate(dir).map(std::fs::remove_dir) {
            Ok(Err(e)) if e.kind() == io::ErrorKind::DirectoryNotEmpty => left.push(dir.clone()),
            _ => {}
        }
    }
    left.reverse();
    state.directories = left;
}

/// Where the backup of a file is.
pub(crate) fn backup_of(place: &Path) -> PathBuf {
    let mut name = place.as_os_str().to_owned();
    name.push(BACKUP);
    name.into()
}

/// Where a file is written before it is put in place.
pub(crate) fn draft_of(place: &Path) -> Option<PathBuf> {
    let mut name = std::ffi::OsString::from(".");
    name.push(place.file_name()?);
    name.push(".porthole-new");
    Some(place.with_file_name(name))
}

/// Puts a file in place, whole or not at all: written beside, synced, renamed. Owner, permission bits and extended
/// attributes (the security label among them) are those of `like`, if that exists.
pub(crate) fn replace(place: &Path, content: &Content, like: Option<&Path>) -> io::Result<()> {
    let draft = draft_of(place).ok_or(io::ErrorKind::InvalidInput)?;
    // Left by a run that was killed.
    let _ = std::fs::remove_file(&draft);
    let written = match content {
        Content::Link { target } => symlink(target, &draft),
        Content::File { bytes, mode } => write(&draft, bytes, *mode, like),
    };
    let renamed = written.and_then(|()| std::fs::rename(&draft, place)).and_then(|()| sync_directory(place));
    if renamed.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    renamed
}

fn write(draft: &Path, bytes: &[u8], mode: u32, like: Option<&Path>) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = std::fs::File::from(fs::openat(CWD, draft, flags, Mode::from_raw_mode(0o600))?);
    file.write_all(bytes)?;
    let old = like.and_then(|path| std::fs::File::open(path).ok());
    let metadata = old.as_ref().map(std::fs::File::metadata).transpose()?;
    if let Some(metadata) = &metadata {
        fs::fchown(&file, Some(Uid::from_raw(metadata.uid())), Some(Gid::from_raw(metadata.gid())))?;
    }
    let mode = metadata.map_or(mode, |metadata| metadata.mode() & 0o7777);
    fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    if let Some(old) = &old {
        Attributes::All.copy(old, &file)?;
    }
    file.sync_all()
}

fn sync_directory(place: &Path) -> io::Result<()> {
    let parent = place.parent().unwrap_or(Path::new("/"));
    fs::openat(CWD, parent, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .and_then(fs::fsync)
        .map_err(Into::into)
}

/// Whether there is a backup of a file.
pub(crate) fn has_backup(tree: &Tree, path: &Path) -> bool {
    tree.locate(path).is_ok_and(|place| fs::statat(CWD, backup_of(&place), AtFlags::SYMLINK_NOFOLLOW).is_ok())
}
