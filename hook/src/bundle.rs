//! A bundle's `config.json`, opened in a way that cannot hang and read as far as it is plausible.

use std::fs::File;
use std::io::{Error, Read, Result};
use std::path::Path;

use rustix::fd::AsFd;
use rustix::fs::{self, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// More than this is no configuration; those of real containers have 5 to 50 KiB.
const LARGEST: u64 = 8 << 20;

/// Opens the file at `path`, seen from `dir`; `also` are flags of open(2).
///
/// # Errors
/// When it cannot be opened, is no regular file, or too large.
pub fn open(dir: impl AsFd, path: &Path, also: OFlags) -> Result<(File, Stat)> {
    // Not blocking, so that a FIFO in its place cannot hold up the container.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | also;
    let fd = fs::openat(dir, path, flags, Mode::empty())?;
    let stat = fs::fstat(&fd)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Error::other("no regular file"));
    }
    if size(&stat) > LARGEST {
        return Err(Errno::FBIG.into());
    }
    Ok((fd.into(), stat))
}

/// Reads what [`open`] opened.
///
/// # Errors
/// Those of read(2).
pub fn read(file: &File, stat: &Stat) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(size(stat)).unwrap_or(0) + 1);
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}
