//! The one door through which identity looks at the file system.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

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
        // A FIFO would block without NONBLOCK; a symbolic link is nothing that an engine puts there.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
        let meta = file.metadata().ok()?;
        if !meta.is_file() || meta.len() > limit {
            return None;
        }
        let mut content = Vec::with_capacity(usize::try_from(meta.len()).ok()?);
        // It may have grown since.
        file.take(limit.saturating_add(1)).read_to_end(&mut content).ok()?;
        (u64::try_from(content.len()).ok()? <= limit).then_some(content)
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
