//! Strays: files and directories in the registry that are not the registry's.
//!
//! An entry of another type at one of the registry's own names is in its way, and `reconcile` moves it to quarantine. An
//! unknown name may be a newer version's: it is passed over, reported, and left where it is.

use crate::container_id::ContainerId;
use crate::error::{Error, Step};
use crate::index::{ADOPTED, GOING, LINKS, MEMBER, PINNED, number};
use crate::lock::Lock;
use crate::store::{DRAFT_NAME, Entry, IDLE, RECORD, RECORDS, Store};
use rustix::fs::{self, AtFlags, FileType, Mode, RenameFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The registry's directories.
const DIRECTORIES: [&str; 5] = [RECORDS, PINNED, GOING, IDLE, ADOPTED];
/// The most entries of one name that quarantine keeps.
const NAMESAKES: usize = 100;

/// Something that is not the registry's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// Where, seen from the registry's directory.
    pub path: PathBuf,
    /// Its type.
    pub found: &'static str,
    /// The type that has to be there, where the stray is in the registry's way. None where its name is unknown too.
    pub expected: Option<&'static str>,
}

impl std::fmt::Display for Stray {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.expected {
            Some(expected) => write!(f, "{} where {expected} has to be", self.found),
            None => write!(f, "{} with a name that this version does not know", self.found),
        }
    }
}

impl Store {
    /// All strays, and the directories that cannot be read.
    pub fn strays(&self) -> (Vec<Stray>, Vec<Error>) {
        let (mut strays, mut unreadable) = (Vec::new(), Vec::new());
        for directory in DIRECTORIES {
            match self.type_of(Path::new(directory)) {
                None => continue,
                Some(FileType::Directory) => {}
                Some(found) => {
                    strays.push(Stray::at(directory, found, Some(FileType::Directory)));
                    continue;
                }
            }
            let entries = match self.entries(directory) {
                Ok(entries) => entries,
                Err(error) => {
                    unreadable.push(error);
                    continue;
                }
            };
            for Entry { name, kind } in entries {
                let path = Path::new(directory).join(&name);
                match expected(directory, &name) {
                    Expected::This(expected) if expected != kind => {
                        strays.push(Stray::at(path, kind, Some(expected)));
                    }
                    Expected::This(FileType::Directory) => {
                        self.strays_of(&path, &mut strays, &mut unreadable);
                    }
                    Expected::This(_) | Expected::Record => {}
                    Expected::Nothing => strays.push(Stray::at(path, kind, None)),
                }
            }
        }
        (strays, unreadable)
    }

    /// The strays in the entry of a pin. Unknown names there are a newer version's, and are not reported.
    fn strays_of(&self, entry: &Path, strays: &mut Vec<Stray>, unreadable: &mut Vec<Error>) {
        let entries = match self.entries(entry) {
            Ok(entries) => entries,
            Err(error) => return unreadable.push(error),
        };
        for Entry { name, kind } in entries {
            let expected = if LINKS.iter().any(|link| name == *link) {
                FileType::Symlink
            } else if is_id(&name, MEMBER) {
                FileType::RegularFile
            } else {
                continue;
            };
            if kind != expected {
                strays.push(Stray::at(entry.join(name), kind, Some(expected)));
            }
        }
    }

    fn type_of(&self, path: &Path) -> Option<FileType> {
        let stat = fs::statat(self.dir(), path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(FileType::from_raw_mode(stat.st_mode))
    }

    /// Moves an entry out of the registry's way, and returns its new path.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub fn quarantine(&self, _lock: &Lock, path: &Path) -> Result<PathBuf, Error> {
        let fail = |subject: &Path| Step::Quarantine.on(self.subject(subject));
        let directory = Path::new("quarantine");
        match fs::mkdirat(self.dir(), directory, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(fail(directory)(errno)),
        }
        // A record keeps its name; the name of anything else is made of its path.
        let name = match path.strip_prefix(RECORDS) {
            Ok(record) if !record.as_os_str().is_empty() => record.as_os_str().to_owned(),
            _ => path.iter().collect::<Vec<_>>().join(OsStr::new("-")),
        };
        let mut to = directory.join(&name);
        for namesake in 1..=NAMESAKES {
            match fs::renameat_with(self.dir(), path, self.dir(), &to, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(self.path().join(to)),
                Err(Errno::EXIST) => {
                    let mut name = name.clone();
                    name.push(format!(".{namesake}"));
                    to = directory.join(name);
                }
                Err(errno) => return Err(fail(&to)(errno)),
            }
        }
        Err(fail(&to)(Errno::EXIST))
    }
}

impl Stray {
    fn at(path: impl Into<PathBuf>, found: FileType, expected: Option<FileType>) -> Self {
        Self { path: path.into(), found: word(found), expected: expected.map(word) }
    }
}

/// The type that a name of one of the directories has to have.
enum Expected {
    This(FileType),
    /// Any type is read as a record, and the reading fails.
    Record,
    Nothing,
}

fn expected(directory: &str, name: &OsString) -> Expected {
    match directory {
        RECORDS if name == DRAFT_NAME => Expected::This(FileType::RegularFile),
        RECORDS if name.to_str().is_some_and(|name| name.ends_with(RECORD)) => Expected::Record,
        PINNED | GOING if number(name).is_some() => Expected::This(FileType::Directory),
        IDLE | ADOPTED if number(name).is_some() => Expected::This(FileType::RegularFile),
        _ => Expected::Nothing,
    }
}

fn is_id(name: &OsStr, suffix: &str) -> bool {
    let id = name.to_str().and_then(|name| name.strip_suffix(suffix));
    id.is_some_and(|id| ContainerId::parse(id).is_ok())
}

const fn word(kind: FileType) -> &'static str {
    match kind {
        FileType::Directory => "a directory",
        FileType::RegularFile => "a file",
        FileType::Symlink => "a symbolic link",
        _ => "something else",
    }
}
