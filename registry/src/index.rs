//! The index of pins: a directory for each pinned network namespace, named by its inode.
//!
//! `name`, `holder`, `mounts`, `pod` and `sandbox` are symbolic links, because one is made by a single system call and is
//! never torn: `name` points to the pin, `holder` to what else keeps the namespace alive, `mounts` names the mount
//! namespace in which the holder is found, where that is not the host's, `pod` the pod's namespace and name, and `sandbox` its
//! sandbox. The last two outlive the pod's last record. Every member container is an empty file `ID.member`. All look-ups cost the same
//! however many containers there are.

use crate::container_id::ContainerId;
use crate::error::{Error, Step};
use crate::identity::PodRef;
use crate::lock::Lock;
use crate::naming::PinName;
use crate::sandbox::Sandbox;
use crate::store::{IDLE, Store, WRITE, gone};
use rustix::fs::{self, AtFlags, FileType, Mode};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) const MEMBER: &str = ".member";
/// The links of an entry.
pub(crate) const LINKS: [&str; 5] = ["name", "holder", MOUNTS, "pod", "sandbox"];
pub(crate) const PINNED: &str = "netns";
pub(crate) const GOING: &str = "going";
pub(crate) const ADOPTED: &str = "adopted";
const MOUNTS: &str = "mounts";

impl Store {
    /// The name that the namespace with this inode is pinned under, by the index.
    ///
    /// # Errors
    /// When the entry cannot be read.
    pub fn pin_name(&self, ino: u64) -> Result<Option<PinName>, Error> {
        self.name_in(PINNED, ino)
    }

    /// The name that the going pin of this inode has, or had.
    pub(crate) fn going_name(&self, ino: u64) -> Result<Option<PinName>, Error> {
        self.name_in(GOING, ino)
    }

    fn name_in(&self, shelf: &str, ino: u64) -> Result<Option<PinName>, Error> {
        let target = self.link(&format!("{shelf}/{ino}/name"))?;
        Ok(target.and_then(|path| PinName::parse(path.file_name()?.to_str()?).ok()))
    }

    /// The path that keeps the namespace alive beside its members, if one is known. Only a pod outlives its
    /// containers: a container without a pod has joined a namespace that is not its own.
    ///
    /// # Errors
    /// When the entry cannot be read.
    pub fn holder(&self, ino: u64) -> Result<Option<PathBuf>, Error> {
        let is_a_pods = self.pod(ino)?.is_some();
        if is_a_pods { self.link(&format!("{PINNED}/{ino}/holder")) } else { Ok(None) }
    }

    /// The inode of the mount namespace in which the holder is found, where that is not the host's.
    ///
    /// # Errors
    /// When the entry cannot be read.
    pub fn holder_mounts(&self, ino: u64) -> Result<Option<u64>, Error> {
        let link = self.link(&format!("{PINNED}/{ino}/{MOUNTS}"))?;
        Ok(link.and_then(|target| target.to_str()?.parse().ok()))
    }

    /// The pod's namespace and name, as `NAMESPACE/NAME`, either of which may be empty.
    ///
    /// # Errors
    /// When the entry cannot be read.
    pub fn pod(&self, ino: u64) -> Result<Option<String>, Error> {
        Ok(self
            .link(&format!("{PINNED}/{ino}/pod"))?
            .and_then(|path| path.into_os_string().into_string().ok()))
    }

    pub(crate) fn set_pod(&self, _lock: &Lock, ino: u64, pod: &PodRef) -> Result<(), Error> {
        let label = format!("{}/{}", pod.namespace.as_deref().unwrap_or_default(), pod.name);
        self.set_link(PINNED, ino, "pod", Path::new(&label))
    }

    /// The sandbox of the pod, if its containers or its engine's state told which that is.
    ///
    /// # Errors
    /// When the entry cannot be read.
    pub fn sandbox(&self, ino: u64) -> Result<Option<Sandbox>, Error> {
        Ok(self.link(&format!("{PINNED}/{ino}/sandbox"))?.and_then(|link| Sandbox::from_link(&link)))
    }

    pub(crate) fn set_sandbox(&self, _lock: &Lock, ino: u64, sandbox: &Sandbox) -> Result<(), Error> {
        self.set_link(PINNED, ino, "sandbox", &sandbox.to_link())
    }

    fn link(&self, file: &str) -> Result<Option<PathBuf>, Error> {
        match fs::readlinkat(self.dir(), file, Vec::with_capacity(256)) {
            Ok(target) => Ok(Some(OsString::from_vec(target.into_bytes()).into())),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Step::Index.on(self.subject(file))(errno)),
        }
    }

    /// Writes down that the namespace is about to be pinned at `pin`: before it is, so that a pin that
    /// nobody knows of never exists.
    pub(crate) fn claim(&self, _lock: &Lock, ino: u64, pin: &Path) -> Result<(), Error> {
        self.make_entry(PINNED, ino)?;
        self.set_link(PINNED, ino, "name", pin)
    }

    /// Writes down what else keeps the namespace alive, and in which mount namespace where that is not the host's. A kill
    /// between the two leaves a holder that is looked for in one place too many, never in one too few.
    pub(crate) fn set_holder(
        &self,
        _lock: &Lock,
        ino: u64,
        holder: &Path,
        mounts: Option<u64>,
    ) -> Result<(), Error> {
        if let Some(mounts) = mounts {
            self.set_link(PINNED, ino, MOUNTS, Path::new(&mounts.to_string()))?;
            return self.set_link(PINNED, ino, "holder", holder);
        }
        self.set_link(PINNED, ino, "holder", holder)?;
        let file = format!("{PINNED}/{ino}/{MOUNTS}");
        gone(fs::unlinkat(self.dir(), &file, AtFlags::empty())).map_err(Step::Index.on(self.subject(&file)))
    }

    fn make_entry(&self, shelf: &str, ino: u64) -> Result<(), Error> {
        let entry = format!("{shelf}/{ino}");
        let make = || fs::mkdirat(self.dir(), &entry, Mode::from_raw_mode(0o755));
        match self.within(shelf, make) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(Step::Index.on(self.subject(&entry))(errno)),
        }
    }

    fn set_link(&self, shelf: &str, ino: u64, link: &str, target: &Path) -> Result<(), Error> {
        let file = format!("{shelf}/{ino}/{link}");
        let made = match fs::symlinkat(target, self.dir(), &file) {
            Err(Errno::EXIST) => gone(fs::unlinkat(self.dir(), &file, AtFlags::empty()))
                .and_then(|()| fs::symlinkat(target, self.dir(), &file)),
            made => made,
        };
        made.map_err(Step::Index.on(self.subject(&file)))
    }

    pub(crate) fn join(&self, _lock: &Lock, ino: u64, id: &ContainerId) -> Result<(), Error> {
        let file = format!("netns/{ino}/{id}{MEMBER}");
        fs::openat(self.dir(), &file, WRITE, Mode::from_raw_mode(0o644))
            .map(drop)
            .map_err(Step::Index.on(self.subject(&file)))
    }

    pub(crate) fn leave(&self, _lock: &Lock, ino: u64, id: &ContainerId) -> Result<(), Error> {
        let file = format!("netns/{ino}/{id}{MEMBER}");
        gone(fs::unlinkat(self.dir(), &file, AtFlags::empty())).map_err(Step::Index.on(self.subject(&file)))
    }

    /// The containers that are members of the namespace.
    ///
    /// # Errors
    /// When the entry cannot be read.
    pub fn members(&self, ino: u64) -> Result<Vec<ContainerId>, Error> {
        let entries = self.entries(format!("{PINNED}/{ino}"))?;
        let files = entries.iter().filter(|entry| entry.kind == FileType::RegularFile);
        Ok(files
            .filter_map(|file| ContainerId::parse(file.name.to_str()?.strip_suffix(MEMBER)?).ok())
            .collect())
    }

    /// The inodes of all pinned namespaces.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn pinned(&self) -> Result<Vec<u64>, Error> {
        self.numbers(PINNED, FileType::Directory)
    }

    /// Whether the container is a member of the namespace.
    ///
    /// # Errors
    /// When the entry cannot be looked at.
    pub fn is_member(&self, ino: u64, id: &ContainerId) -> Result<bool, Error> {
        self.has(&format!("{PINNED}/{ino}/{id}{MEMBER}"))
    }

    fn has(&self, file: &str) -> Result<bool, Error> {
        match fs::accessat(self.dir(), file, fs::Access::EXISTS, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(Step::Index.on(self.subject(file))(errno)),
        }
    }

    /// Removes the entry of a namespace that is pinned no more.
    pub(crate) fn forget(&self, lock: &Lock, ino: u64) -> Result<(), Error> {
        self.clear(&format!("{PINNED}/{ino}"))?;
        self.mark(ADOPTED, ino, false)?;
        self.set_idle(lock, ino, false)
    }

    /// Writes down that a pin of the namespace at `pin` is going, before it is made. It stays if [`Store::swap_names`] makes
    /// it the index's.
    pub(crate) fn set_going(&self, _lock: &Lock, ino: u64, pin: &Path) -> Result<(), Error> {
        self.make_entry(GOING, ino)?;
        self.set_link(GOING, ino, "name", pin)
    }

    /// Exchanges the index's name and that of the pin that is going, in one step.
    pub(crate) fn swap_names(&self, _lock: &Lock, ino: u64) -> Result<(), Error> {
        let (kept, going) = (format!("{PINNED}/{ino}/name"), format!("{GOING}/{ino}/name"));
        fs::renameat_with(self.dir(), &kept, self.dir(), &going, fs::RenameFlags::EXCHANGE)
            .map_err(Step::Index.on(self.subject(&going)))
    }

    /// Moves the entry out of the index: its pin is about to go.
    pub(crate) fn shelve(&self, lock: &Lock, ino: u64) -> Result<(), Error> {
        self.set_idle(lock, ino, false)?;
        self.mark(ADOPTED, ino, false)?;
        let (from, to) = (format!("{PINNED}/{ino}"), format!("{GOING}/{ino}"));
        self.within(GOING, || fs::renameat(self.dir(), &from, self.dir(), &to))
            .map_err(Step::Index.on(self.subject(&to)))
    }

    /// Removes what was moved there; that it is gone already is as good.
    pub(crate) fn unshelve(&self, _lock: &Lock, ino: u64) -> Result<(), Error> {
        self.clear(&format!("{GOING}/{ino}"))
    }

    /// The inodes whose pins are going: just now, or since a process that removed one was killed.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn going(&self) -> Result<Vec<u64>, Error> {
        self.numbers(GOING, FileType::Directory)
    }

    /// For how long the pin has been going; none when it has gone.
    pub(crate) fn going_since(&self, ino: u64) -> Option<Duration> {
        let stat = fs::statat(self.dir(), format!("{GOING}/{ino}"), AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let now = clock_gettime(ClockId::Realtime);
        Some(Duration::from_secs(u64::try_from(now.tv_sec - stat.st_ctime).unwrap_or(0)))
    }

    fn clear(&self, entry: &str) -> Result<(), Error> {
        for inner in self.entries(entry)? {
            let file = Path::new(entry).join(inner.name);
            match fs::unlinkat(self.dir(), &file, AtFlags::empty()) {
                // A newer version's file, or a stray: it goes with the entry.
                Err(Errno::ISDIR) => std::fs::remove_dir_all(self.path().join(&file))
                    .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO)),
                unlinked => gone(unlinked),
            }
            .map_err(Step::Index.on(self.subject(&file)))?;
        }
        gone(fs::unlinkat(self.dir(), entry, AtFlags::REMOVEDIR)).map_err(Step::Index.on(self.subject(entry)))
    }

    /// Marks a pin as one without members, or takes the mark away.
    pub(crate) fn set_idle(&self, _lock: &Lock, ino: u64, idle: bool) -> Result<(), Error> {
        self.mark(IDLE, ino, idle)
    }

    /// Whether a pin is marked as one without members.
    pub(crate) fn is_idle(&self, ino: u64) -> Result<bool, Error> {
        self.has(&format!("{IDLE}/{ino}"))
    }

    /// Marks a pin as one with members that no hook tells the end of.
    pub(crate) fn set_adopted(&self, _lock: &Lock, ino: u64) -> Result<(), Error> {
        self.mark(ADOPTED, ino, true)
    }

    fn mark(&self, directory: &str, ino: u64, marked: bool) -> Result<(), Error> {
        let file = format!("{directory}/{ino}");
        let done = if marked {
            self.within(directory, || fs::openat(self.dir(), &file, WRITE, Mode::from_raw_mode(0o644)))
                .map(drop)
        } else {
            gone(fs::unlinkat(self.dir(), &file, AtFlags::empty()))
        };
        done.map_err(Step::Index.on(self.subject(&file)))
    }

    /// The inodes of the pins that have, or had, adopted members.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn adopted(&self) -> Result<Vec<u64>, Error> {
        self.numbers(ADOPTED, FileType::RegularFile)
    }

    /// The inodes of the pins without members: those of pods in back-off, and of pods whose sandbox has
    /// no hook of its own to say that it has gone.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn idle(&self) -> Result<Vec<u64>, Error> {
        self.numbers(IDLE, FileType::RegularFile)
    }

    /// The inodes that a directory has an entry of this type for. Everything else is a stray, and passed over.
    fn numbers(&self, directory: &str, kind: FileType) -> Result<Vec<u64>, Error> {
        let entries = self.entries(directory)?.into_iter().filter(|entry| entry.kind == kind);
        Ok(entries.filter_map(|entry| number(&entry.name)).collect())
    }
}

/// The inode that a name stands for, if it is written as this program writes it.
pub(crate) fn number(name: &OsStr) -> Option<u64> {
    let text = name.to_str()?;
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::Deadline;

    #[test]
    fn a_directory_of_the_registry_that_has_gone_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path()).unwrap();
        for directory in ["containers", PINNED, GOING, IDLE] {
            std::fs::remove_dir(dir.path().join(directory)).unwrap();
        }
        let lock = store.lock(Deadline::after(Duration::from_secs(1))).unwrap();
        let id = ContainerId::parse("c1").unwrap();
        store.claim(&lock, 7, Path::new("/run/netns/web-0")).unwrap();
        store.join(&lock, 7, &id).unwrap();
        store.set_idle(&lock, 7, true).unwrap();
        assert_eq!((store.pinned().unwrap(), store.idle().unwrap()), (vec![7], vec![7]));
        assert!(store.is_member(7, &id).unwrap());
        store.shelve(&lock, 7).unwrap();
        assert_eq!(
            (store.pinned().unwrap(), store.going().unwrap(), store.idle().unwrap()),
            (vec![], vec![7], vec![])
        );
        assert_eq!(store.going_name(7).unwrap().unwrap().as_str(), "web-0");
        store.unshelve(&lock, 7).unwrap();
        assert_eq!(store.going().unwrap(), Vec::<u64>::new());
    }
}
