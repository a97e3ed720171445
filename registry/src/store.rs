//! Records on disk: one file a container, written beside its place and renamed into it.

use crate::bounded;
use crate::container_id::ContainerId;
use crate::error::{Error, Step};
use crate::lock::Lock;
use crate::record::{MAX_BYTES, Record};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::{self, Errno};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Made in this order, so that the last one stands for all.
const DIRECTORIES: [&str; 4] = [RECORDS, "netns", "going", IDLE];
pub(crate) const RECORDS: &str = "containers";
pub(crate) const RECORD: &str = ".json";
pub(crate) const IDLE: &str = "idle";
pub(crate) const DRAFT_NAME: &str = ".draft";
const DRAFT: &str = "containers/.draft";

/// The flags to open a file of the registry's for writing. A FIFO in its place does not block.
pub(crate) const WRITE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// An entry of one of the registry's directories.
pub(crate) struct Entry {
    pub(crate) name: OsString,
    pub(crate) kind: FileType,
}

/// A file of `containers/`, and the record in it or what is wrong with it.
pub type Listed = (String, Result<Record, Error>);

/// The registry's directory.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    run: OwnedFd,
}

impl Store {
    /// Opens the registry, and makes it where there is none yet.
    ///
    /// # Errors
    /// When a directory cannot be made, or something else stands in its place.
    pub fn create(path: &Path) -> Result<Self, Error> {
        if let Some(store) = Self::open(path)?
            && fs::accessat(&store.run, IDLE, fs::Access::EXISTS, AtFlags::empty()).is_ok()
        {
            return Ok(store);
        }
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
        made.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
            .map_err(Step::OpenRegistry.on(path.display().to_string()))?;
        let store = Self::open(path)?
            .ok_or(Errno::NOENT)
            .map_err(Step::OpenRegistry.on(path.display().to_string()))?;
        for directory in DIRECTORIES {
            match fs::mkdirat(&store.run, directory, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(Step::OpenRegistry.on(store.subject(directory))(errno)),
            }
        }
        Ok(store)
    }

    /// Opens the registry, if there is one.
    ///
    /// # Errors
    /// When it cannot be opened, or is no directory.
    pub fn open(path: &Path) -> Result<Option<Self>, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match fs::openat(CWD, path, flags, Mode::empty()) {
            Ok(run) => Ok(Some(Self { path: path.to_owned(), run })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => Err(not_a_directory(path)),
            Err(errno) => Err(Step::OpenRegistry.on(path.display().to_string())(errno)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// O_PATH descriptor of its directory.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.run.as_fd()
    }

    /// The record of this container, if there is one.
    ///
    /// # Errors
    /// [`Error::BadRecord`] when it cannot be understood.
    pub fn record(&self, id: &ContainerId) -> Result<Option<Record>, Error> {
        let record = self.read(&file_of(id))?;
        match record {
            Some(record) if record.id != *id => {
                Err(Error::BadRecord { id: id.to_string(), cause: format!("it is that of {}", record.id) })
            }
            record => Ok(record),
        }
    }

    /// All records, in no order; a bad one as the error that says so, with the name of its file.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn records(&self) -> Result<Vec<Listed>, Error> {
        Ok(self.files()?.iter().filter_map(|name| self.listed(name)).collect())
    }

    /// The names of the files that hold records, for those who share the reading of them between threads.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn files(&self) -> Result<Vec<String>, Error> {
        let names = self.entries(RECORDS)?.into_iter().filter_map(|entry| entry.name.into_string().ok());
        Ok(names.filter(|name| name.ends_with(RECORD)).collect())
    }

    /// The record in this file, or what is wrong with it; none where it was removed since its name was read.
    pub fn listed(&self, name: &str) -> Option<Listed> {
        let id = name.strip_suffix(".json")?;
        let record = match self.read(&format!("containers/{name}")) {
            Ok(Some(record)) if record.id.as_str() != id => {
                let cause = format!("it is that of {}", record.id);
                Err(Error::BadRecord { id: id.to_owned(), cause })
            }
            Ok(record) => Ok(record?),
            Err(error) => Err(error),
        };
        Some((name.to_owned(), record))
    }

    fn read(&self, file: &str) -> Result<Option<Record>, Error> {
        let id = || file.trim_start_matches("containers/").trim_end_matches(".json").to_owned();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match fs::openat(&self.run, file, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(Error::BadRecord { id: id(), cause: errno.to_string() }),
        };
        let bytes = bounded::read_of_tmpfs(&fd, MAX_BYTES)
            .map_err(|error| Error::BadRecord { id: id(), cause: error.to_string() })?;
        Record::parse(&bytes).map(Some).map_err(|cause| Error::BadRecord { id: id(), cause })
    }

    /// Writes a record: it is there, whole, or it is not.
    ///
    /// # Errors
    /// When it cannot be written, or could not be read again; an older record then stays as it was.
    pub fn write(&self, _lock: &Lock, record: &Record) -> Result<(), Error> {
        let json =
            record.to_file().map_err(|cause| Error::UnwritableRecord { id: record.id.to_string(), cause })?;
        let fail = |step: Step| step.on(self.subject(file_of(&record.id)));
        let flags = WRITE | OFlags::TRUNC;
        let open =
            || self.within(RECORDS, || fs::openat(&self.run, DRAFT, flags, Mode::from_raw_mode(0o644)));
        let draft = match open() {
            // A FIFO or a link in its place.
            Err(Errno::NXIO | Errno::LOOP) => {
                gone(fs::unlinkat(&self.run, DRAFT, AtFlags::empty())).and_then(|()| open())
            }
            opened => opened,
        };
        let written = draft
            .and_then(|fd| write_all(&fd, &json))
            // No fsync: the registry is on a tmpfs and means nothing after a reboot.
            .and_then(|()| fs::renameat(&self.run, DRAFT, &self.run, file_of(&record.id))); // COMMIT
        written.map_err(|errno| {
            // What is left of the draft is overwritten by the next one; it only takes space till then.
            let _ = fs::unlinkat(&self.run, DRAFT, AtFlags::empty());
            fail(Step::WriteRecord)(errno)
        })
    }

    /// Removes a record; that there is none is as good.
    ///
    /// # Errors
    /// When it cannot be unlinked.
    pub fn remove(&self, _lock: &Lock, id: &ContainerId) -> Result<(), Error> {
        gone(fs::unlinkat(&self.run, file_of(id), AtFlags::empty()))
            .map_err(Step::RemoveRecord.on(self.subject(file_of(id))))
    }

    /// Removes what a writer that was killed has left.
    ///
    /// # Errors
    /// When it cannot be unlinked.
    pub fn remove_draft(&self, _lock: &Lock) -> Result<bool, Error> {
        match fs::unlinkat(&self.run, DRAFT, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(Step::RemoveRecord.on(self.subject(DRAFT))(errno)),
        }
    }

    /// Does something in one of its directories, and makes that one first if it has gone: removed by somebody, or never
    /// made by an older version.
    pub(crate) fn within<T>(&self, directory: &str, work: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
        match work() {
            Err(Errno::NOENT) => match fs::mkdirat(&self.run, directory, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => work(),
                Err(errno) => Err(errno),
            },
            done => done,
        }
    }

    /// The contents of one of its directories; nothing where there is no such directory.
    pub(crate) fn entries(&self, directory: impl AsRef<Path>) -> Result<Vec<Entry>, Error> {
        let directory = directory.as_ref();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fail = |errno| Step::ReadRecord.on(self.subject(directory))(errno);
        let fd = match fs::openat(&self.run, directory, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(Vec::new()),
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(not_a_directory(&self.path.join(directory))),
            Err(errno) => return Err(fail(errno)),
        };
        let mut entries = Vec::new();
        for entry in Dir::new(fd).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                // Not every file system gives the type.
                FileType::Unknown => fs::statat(&self.run, directory.join(name), AtFlags::SYMLINK_NOFOLLOW)
                    .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode)),
                kind => kind,
            };
            entries.push(Entry { name: name.to_owned(), kind });
        }
        Ok(entries)
    }

    /// The path of something in it, for messages.
    pub(crate) fn subject(&self, name: impl AsRef<Path>) -> String {
        self.path.join(name).display().to_string()
    }
}

fn file_of(id: &ContainerId) -> String {
    format!("containers/{id}.json")
}

fn write_all(fd: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match io::write(fd, bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// "Already gone" is what a teardown wanted.
pub(crate) fn gone(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// The error for `path`, which is something else than a directory.
pub(crate) fn not_a_directory(path: &Path) -> Error {
    let found = match fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)
        .map(|stat| FileType::from_raw_mode(stat.st_mode))
    {
        Ok(FileType::Symlink) => "a symbolic link",
        Ok(FileType::RegularFile) => "a file",
        _ => "something else",
    };
    Error::NotADirectory { path: path.display().to_string(), found }
}
