//! The one door through which identity looks at the file system.

use std::path::Path;

use rustix::fs::{CWD, OFlags};

use crate::bounded::Regular;

/// Engines' own files, read up to a limit.
pub trait Files {
    /// The file's content; nothing where there is none, it cannot be read, or it is longer than `limit` bytes.
    fn read(&self, path: &Path, limit: u64) -> Option<Vec<u8>>;
}

/// The files of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path, limit: u64) -> Option<Vec<u8>> {
        // A symbolic link is nothing that an engine puts there.
        Regular::open(CWD, path, OFlags::NOFOLLOW).and_then(|file| file.read(limit)).ok()
    }
}

/// No files at all: identity from the documents alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &Path, _: u64) -> Option<Vec<u8>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_regular_file_within_the_limit_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, b"12345").unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(Disk.read(&file, 5).as_deref(), Some(&b"12345"[..]));
        assert_eq!(Disk.read(&file, 4), None);
        assert_eq!(Disk.read(&link, 5), None);
        assert_eq!(Disk.read(dir.path(), 5), None);
        assert_eq!(Disk.read(&dir.path().join("none"), 5), None);
        assert_eq!(Disk.read(Path::new("/dev/zero"), 5), None);
    }
}
