//! The one reader of files: all of a file, or an error. A text that is cut in silence says something else than the file does: a
//! profile without its last lines keeps less from a command, a list of cgroups without them leaves a process behind.

use std::io::{Error, ErrorKind, Result};
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat};
use rustix::io::Errno;

/// For what the kernel says of one thing: a page in most cases, `uid_map` of 340 lines at most.
pub const FACTS: u64 = 1 << 20;
/// For what grows with the machine: its mounts, locks, processes, accounts.
pub const LISTS: u64 = 256 << 20;

/// Bytes of the first read where nothing says how many there are.
const FIRST: u64 = 4096;

/// A regular file that is open for reading.
#[derive(Debug)]
pub struct Regular {
    fd: OwnedFd,
    stat: Stat,
}

impl Regular {
    /// Opens `path`, seen from `dir`; `also` are further flags of open(2). A FIFO in its place does not hang.
    ///
    /// # Errors
    /// Those of open(2) and fstat(2), and that it is something else than a regular file.
    pub fn open(dir: impl AsFd, path: &Path, also: OFlags) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | also;
        let fd = openat(dir, path, flags, Mode::empty())?;
        let stat = fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Error::new(ErrorKind::InvalidInput, "is no regular file"));
        }
        Ok(Self { fd, stat })
    }

    /// The answer of fstat(2).
    pub const fn stat(&self) -> &Stat {
        &self.stat
    }

    /// All of it.
    ///
    /// # Errors
    /// Those of read(2), and that it is longer than `limit` bytes.
    pub fn read(&self, limit: u64) -> Result<Vec<u8>> {
        let length = u64::try_from(self.stat.st_size).unwrap_or(0);
        if length > limit {
            return Err(too_long(limit));
        }
        // The kernel's files have no length. One byte more tells whether the file has grown since.
        let first = if length == 0 { FIRST } else { length.saturating_add(1) };
        fill(self.fd.as_fd(), limit, first, End::Nothing).map_err(|errno| told(errno, limit))
    }
}

impl AsFd for Regular {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// All that is left of an open file.
///
/// # Errors
/// Those of read(2), and that it is longer than `limit` bytes.
pub fn read(file: impl AsFd, limit: u64) -> Result<Vec<u8>> {
    fill(file.as_fd(), limit, FIRST, End::Nothing).map_err(|errno| told(errno, limit))
}

/// The same of a file in a tmpfs, where a read is short at the end alone: one call less.
///
/// # Errors
/// The same.
pub fn read_of_tmpfs(file: impl AsFd, limit: u64) -> Result<Vec<u8>> {
    fill(file.as_fd(), limit, FIRST, End::Short).map_err(|errno| told(errno, limit))
}

/// All of the regular file at `path`.
///
/// # Errors
/// Those of [`Regular::open`] and [`Regular::read`].
pub fn file(path: impl AsRef<Path>, limit: u64) -> Result<Vec<u8>> {
    Regular::open(CWD, path.as_ref(), OFlags::empty())?.read(limit)
}

/// The same as text.
///
/// # Errors
/// The same, and that it is no UTF-8.
pub fn text(path: impl AsRef<Path>, limit: u64) -> Result<String> {
    utf8(file(path, limit)?)
}

/// Bytes as text.
///
/// # Errors
/// That they are no UTF-8.
pub fn utf8(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|_| Error::new(ErrorKind::InvalidData, "is no UTF-8 text"))
}

/// The proof of a file's end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// A read of nothing: the kernel's files, and those of other machines, give less than is asked for before it.
    Nothing,
    /// A read that gives less than is asked for.
    Short,
}

fn fill(file: BorrowedFd<'_>, limit: u64, first: u64, end: End) -> std::result::Result<Vec<u8>, Errno> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX - 1);
    let mut bytes = Vec::with_capacity(usize::try_from(first).unwrap_or(usize::MAX).min(limit + 1));
    loop {
        if bytes.len() == bytes.capacity() {
            bytes.reserve(bytes.len().max(1));
        }
        match rustix::io::read(file, spare_capacity(&mut bytes)) {
            Ok(0) => return Ok(bytes),
            Ok(_) if bytes.len() > limit => return Err(Errno::FBIG),
            Ok(_) if end == End::Short && bytes.len() < bytes.capacity() => return Ok(bytes),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn told(errno: Errno, limit: u64) -> Error {
    if errno == Errno::FBIG { too_long(limit) } else { errno.into() }
}

fn too_long(limit: u64) -> Error {
    Error::new(ErrorKind::FileTooLarge, format!("is larger than {limit} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_is_read_whole_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for length in [0, 1, 4095, 4096, 4097, 70_000] {
            let content: Vec<u8> = (0..=255).cycle().take(length).collect();
            std::fs::write(&path, &content).unwrap();
            let length = length as u64;
            assert_eq!(file(&path, length).unwrap(), content, "{length}");
            assert_eq!(read(std::fs::File::open(&path).unwrap(), length).unwrap(), content, "{length}");
            assert_eq!(
                read_of_tmpfs(std::fs::File::open(&path).unwrap(), length).unwrap(),
                content,
                "{length}"
            );
            if let Some(less) = length.checked_sub(1) {
                let open = || std::fs::File::open(&path).unwrap();
                for refused in [file(&path, less), read(open(), less), read_of_tmpfs(open(), less)] {
                    let error = refused.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::FileTooLarge, "{length}");
                    assert_eq!(error.to_string(), format!("is larger than {less} bytes"));
                }
            }
        }
    }

    #[test]
    fn a_file_that_grows_while_it_is_read_is_not_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "before").unwrap();
        let opened = Regular::open(CWD, &path, OFlags::empty()).unwrap();
        std::fs::File::options().append(true).open(&path).unwrap().write_all(b" and after").unwrap();
        assert_eq!(opened.read(64).unwrap(), b"before and after");
        let opened = Regular::open(CWD, &path, OFlags::empty()).unwrap();
        std::fs::File::options().append(true).open(&path).unwrap().write_all(b"!").unwrap();
        assert_eq!(opened.read(16).unwrap_err().kind(), ErrorKind::FileTooLarge);
    }

    #[test]
    fn files_of_the_kernel_are_read_to_their_end() {
        // Longer than what one read of it gives.
        let whole = file("/proc/kallsyms", LISTS).unwrap();
        assert!(whole.len() > 64 << 10 && whole.ends_with(b"\n"), "{} bytes", whole.len());
        assert_eq!(file("/proc/kallsyms", 64 << 10).unwrap_err().kind(), ErrorKind::FileTooLarge);
        assert_eq!(text("/proc/self/comm", 16).unwrap(), std::fs::read_to_string("/proc/self/comm").unwrap());
    }

    #[test]
    fn what_is_no_regular_file_neither_hangs_nor_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        for path in [fifo.as_path(), dir.path(), Path::new("/dev/zero")] {
            assert_eq!(file(path, 5).unwrap_err().kind(), ErrorKind::InvalidInput, "{}", path.display());
        }
        std::fs::write(dir.path().join("bytes"), b"\xff").unwrap();
        assert_eq!(text(dir.path().join("bytes"), 5).unwrap_err().kind(), ErrorKind::InvalidData);
        std::os::unix::fs::symlink("bytes", dir.path().join("link")).unwrap();
        let link = Regular::open(CWD, &dir.path().join("link"), OFlags::NOFOLLOW).unwrap_err();
        assert_eq!(Errno::from_io_error(&link), Some(Errno::LOOP));
    }
}
