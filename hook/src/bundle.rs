//! The bundle's `config.json`, opened where the runtime sees it and read as far as it is plausible.

use porthole_registry::oci::Spec;
use rustix::fs::{self, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// More than this is no configuration; those of real containers have 5 to 50 KiB.
const LARGEST: u64 = 8 << 20;

/// Reads the configuration of the bundle.
///
/// # Errors
/// Says what is wrong with it: missing, no file, too large, no JSON.
pub(crate) fn spec(bundle: &Path) -> Result<Spec, String> {
    let path = bundle.join("config.json");
    let told = |cause: String| format!("{}: {cause}", path.display());
    if !bundle.is_absolute() {
        return Err(told("the bundle is no absolute path".into()));
    }
    read(&path)
        .map_err(|e| told(e.to_string()))
        .and_then(|bytes| Spec::parse(&bytes).map_err(|e| told(e.to_string())))
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    // Not blocking, so that a FIFO in its place cannot hold up the container.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = fs::openat(CWD, path, flags, Mode::empty())?;
    let stat = fs::fstat(&fd)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(std::io::Error::other("no regular file"));
    }
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    if size > LARGEST {
        return Err(Errno::FBIG.into());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    File::from(fd).take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}
