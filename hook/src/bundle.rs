//! A bundle's `config.json`, opened in a way that cannot hang and read as far as it is plausible.

use std::io::Result;
use std::path::Path;

use porthole_registry::bounded::Regular;
use rustix::fd::AsFd;
use rustix::fs::OFlags;

/// More than this is no configuration; those of real containers have 5 to 50 KiB.
const LARGEST: u64 = 8 << 20;

/// Opens the file at `path`, seen from `dir`; `also` are flags of open(2).
///
/// # Errors
/// When it cannot be opened, or is no regular file.
pub fn open(dir: impl AsFd, path: &Path, also: OFlags) -> Result<Regular> {
    Regular::open(dir, path, also)
}

/// Reads what [`open`] opened.
///
/// # Errors
/// Those of read(2), and that it is too large.
pub fn read(file: &Regular) -> Result<Vec<u8>> {
    file.read(LARGEST)
}
