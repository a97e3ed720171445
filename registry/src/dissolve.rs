//! The end of the registry: every pin and every record goes, whatever still runs.

use crate::deadline::Deadline;
use crate::error::{Error, Failures, Step};
use crate::netns_dir::NetnsDir;
use crate::pin::Found;
use crate::record::Record;
use crate::registration::Registry;
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use std::time::Duration;

/// What there was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dissolved {
    /// Records that were removed.
    pub records: usize,
    /// Pins that were removed.
    pub pins: usize,
}

impl Registry {
    /// Removes all pins that are ours, all records, and the registry's directory. Names that are somebody else's stay;
    /// containers do not notice.
    ///
    /// # Errors
    /// The first thing that could not be removed; everything else is gone then.
    pub fn dissolve(&self, patience: Duration) -> Result<Dissolved, Error> {
        let lock = self.store.lock(Deadline::after(patience))?;
        let mut dissolved = Dissolved::default();
        let mut failures = Failures::default();
        // A stray in the place of a directory has no entries, and goes with the rest.
        for ino in failures.value(entries(self.store.pinned())) {
            match self.unpin(ino) {
                Ok(was_there) => dissolved.pins += usize::from(was_there),
                // Its entry stays: it tells whose the name is.
                Err(error) => {
                    failures.note(Err(error));
                    continue;
                }
            }
            failures.note(self.store.forget(&lock, ino));
        }
        for ino in failures.value(entries(self.store.going())) {
            if self.store.going_name(ino).is_ok() {
                failures.note(self.finish(&lock, ino));
            }
        }
        for (_, record) in failures.value(entries(self.store.records())) {
            if let Ok(record) = record {
                // The index may have lost the name.
                match self.unpin_recorded(&record) {
                    Ok(was_there) => dissolved.pins += usize::from(was_there),
                    Err(error) => {
                        failures.note(Err(error));
                        continue;
                    }
                }
                failures.note(self.store.remove(&lock, &record.id));
                dissolved.records += 1;
            }
        }
        failures.into_result()?;
        // What every view of `exec` starts from is mounted below it.
        for point in ["view/user", "view/mnt", "view"] {
            let _ = unmount(self.store.path().join(point), UnmountFlags::DETACH);
        }
        let path = self.store.path();
        std::fs::remove_dir_all(path)
            .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
            .map_err(Step::RemoveRecord.on(path.display().to_string()))?;
        Ok(dissolved)
    }

    /// Removes the pin of a namespace, whatever holds it. Returns whether there was one. An entry without a readable name
    /// has no pin to remove.
    fn unpin(&self, ino: u64) -> Result<bool, Error> {
        if let (Ok(Some(name)), Some(dir)) = (self.store.pin_name(ino), NetnsDir::open(&self.netns_dir)?)
            && let Some(id) = self.pin_id(&dir, &name, ino)?
        {
            return dir.unpin(&name, id).map(|_| true);
        }
        Ok(false)
    }
}

impl Registry {
    fn unpin_recorded(&self, record: &Record) -> Result<bool, Error> {
        match (&record.pin, record.netns(), NetnsDir::open(&self.netns_dir)?) {
            (Some(pin), Some(netns), Some(dir)) if dir.look(&pin.name)? == Found::Inode(netns.id) => {
                dir.unpin(&pin.name, netns.id)
            }
            _ => Ok(false),
        }
    }
}

fn entries<T: Default>(listed: Result<T, Error>) -> Result<T, Error> {
    match listed {
        Err(Error::NotADirectory { .. }) => Ok(T::default()),
        listed => listed,
    }
}
