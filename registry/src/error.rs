//! Errors: which step failed, on what, why, and what to do about it.

use crate::process::ProcessError;
use rustix::io::Errno;
use thiserror::Error;

/// Everything that can go wrong between a container and its record.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call.
    #[error("{step} {subject}: {source}")]
    System {
        /// What was tried.
        step: Step,
        /// On what.
        subject: String,
        /// Why not.
        source: Errno,
    },
    /// Another process held the registry's lock for too long.
    #[error("lock {path}: still held by another process after {waited_ms} ms")]
    LockTimeout {
        /// The lock file.
        path: String,
        /// How long it was waited for, in milliseconds.
        waited_ms: u128,
    },
    /// Something that is no directory stands where one has to be.
    #[error("{path} is {found}, not a directory")]
    NotADirectory {
        /// Where.
        path: String,
        /// What is there.
        found: &'static str,
    },
    /// Every name that the pin could have is taken.
    #[error("pin: every name is taken by something else: {}", names.join(", "))]
    NamesTaken {
        /// Those that were tried.
        names: Vec<String>,
    },
    /// A pin was made but another namespace is found there.
    #[error("pin {name}: another namespace is at that name than the one just mounted")]
    PinMismatch {
        /// The pin.
        name: String,
    },
    /// A record that is no record.
    #[error("record of {id}: {cause}")]
    BadRecord {
        /// The container, or the file's name.
        id: String,
        /// What is wrong with it.
        cause: String,
    },
    /// A record that could not be read again.
    #[error("record of {id} is not written: {cause}")]
    UnwritableRecord {
        /// The container.
        id: String,
        /// Why not.
        cause: String,
    },
    /// Another container of the same id.
    #[error("container {id} is recorded with process {pid}, which lives: nothing is recorded in its place")]
    Recorded {
        /// The id.
        id: String,
        /// The process on record.
        pid: i32,
    },
    /// The container's process.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// A step, as the message names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Open or make the registry's directories.
    OpenRegistry,
    /// Open or take the lock.
    Lock,
    /// Open, make or mount the directory of the pins.
    OpenNetnsDir,
    /// Write below the registry's index of pins.
    Index,
    /// Make the file that a pin is mounted on.
    CreatePin,
    /// Mount the namespace on it.
    MountPin,
    /// Unmount or unlink a pin.
    RemovePin,
    /// Write a record.
    WriteRecord,
    /// Read a record.
    ReadRecord,
    /// Unlink a record.
    RemoveRecord,
    /// Move a stray to quarantine.
    Quarantine,
    /// Open or compare a namespace.
    OpenNamespace,
    /// Find out which boot this is.
    BootId,
}

impl Step {
    const fn text(self) -> &'static str {
        match self {
            Self::OpenRegistry => "open registry",
            Self::Lock => "lock",
            Self::OpenNetnsDir => "open netns directory",
            Self::Index => "write index",
            Self::CreatePin => "create pin",
            Self::MountPin => "mount pin",
            Self::RemovePin => "remove pin",
            Self::WriteRecord => "write record",
            Self::ReadRecord => "read record",
            Self::RemoveRecord => "remove record",
            Self::Quarantine => "move to quarantine",
            Self::OpenNamespace => "open namespace",
            Self::BootId => "read boot id",
        }
    }

    /// Whether it changes files of the registry.
    const fn is_on_files(self) -> bool {
        matches!(
            self,
            Self::Index | Self::WriteRecord | Self::ReadRecord | Self::RemoveRecord | Self::Quarantine
        )
    }

    /// Makes the error of this step out of an errno, for `map_err`.
    pub fn on(self, subject: impl Into<String>) -> impl FnOnce(Errno) -> Error {
        move |source| Error::System { step: self, subject: subject.into(), source }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

impl Error {
    /// What the reader can do about it, in one sentence without a full stop.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::System { source: Errno::NOSPC | Errno::DQUOT, .. } => {
                Some("free space below /run, then run `porthole reconcile`")
            }
            Self::System { source: Errno::ROFS, .. } => {
                Some("make the directory writable, or set run_dir and netns_dir in /etc/porthole/config.toml")
            }
            Self::System { source: Errno::ACCESS | Errno::PERM, .. }
            | Self::Process(ProcessError::System { source: Errno::ACCESS | Errno::PERM, .. }) => Some(
                "needs root with CAP_SYS_ADMIN, CAP_SYS_CHROOT and CAP_SYS_PTRACE in the host's namespaces",
            ),
            Self::System { step: Step::RemovePin, source: Errno::BUSY, .. } => Some(
                "something is mounted on it that another mount covers: `findmnt` lists what is mounted on the directory; \
                 unmount that, then run `porthole reconcile`",
            ),
            Self::System {
                step,
                source: Errno::NOTDIR | Errno::ISDIR | Errno::LOOP | Errno::INVAL | Errno::NXIO,
                ..
            } if *step == Step::Lock => Some("something else stands in its place: move that away"),
            Self::System {
                step,
                source: Errno::NOTDIR | Errno::ISDIR | Errno::LOOP | Errno::INVAL | Errno::NXIO,
                ..
            } if step.is_on_files() => {
                Some("something else stands in its place: `porthole reconcile` moves that to quarantine")
            }
            Self::LockTimeout { .. } => Some(
                "see who holds it with `lslocks`; `porthole reconcile` registers what is missing and removes what is left",
            ),
            Self::NotADirectory { .. } => Some("move it away; it is made anew when it is next needed"),
            Self::NamesTaken { .. } => Some(
                "set [pin] name in /etc/porthole/config.toml, or remove those that are not needed with `ip netns del`",
            ),
            Self::PinMismatch { .. } => Some("run `porthole reconcile`"),
            Self::BadRecord { .. } => Some("`porthole reconcile` moves it to quarantine"),
            Self::UnwritableRecord { .. } => {
                Some("the container runs unregistered; look for overlong or odd text in its config.json")
            }
            Self::Recorded { .. } => Some(
                "two containers of one id run, in two engines or under two `--root`; when the first has ended, `porthole reconcile` \
                 registers the second one where it knows the engine's state",
            ),
            Self::Process(ProcessError::Gone(_) | ProcessError::Reused { .. }) => {
                Some("the container has ended; `porthole reconcile` removes what it left")
            }
            Self::System { .. } | Self::Process(_) => None,
        }
    }
}

impl Error {
    /// The error, and what to do about it where that is known.
    pub fn with_remedy(&self) -> String {
        self.remedy().map_or_else(|| self.to_string(), |remedy| format!("{self}; {remedy}"))
    }
}

/// Errors of a teardown, which goes on after each.
#[derive(Debug, Default)]
pub struct Failures(Vec<Error>);

impl Failures {
    /// Keeps the error, if it is one.
    pub fn note(&mut self, result: Result<(), Error>) {
        self.0.extend(result.err());
    }

    /// The value of a result, or the default where it is an error, which is kept.
    pub fn value<T: Default>(&mut self, result: Result<T, Error>) -> T {
        result.unwrap_or_else(|error| {
            self.0.push(error);
            T::default()
        })
    }

    /// Whether there was none so far.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first error, if there was one.
    ///
    /// # Errors
    /// That one; the others are its consequences more often than not.
    pub fn into_result(self) -> Result<(), Error> {
        self.0.into_iter().next().map_or(Ok(()), Err)
    }
}
