//! `policy.toml` itself: read only if nobody but root can have written it.

use super::language::{self, Policy};
use porthole_registry::bounded;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use std::path::{Path, PathBuf};

/// More than this is no policy.
const MAX_BYTES: u64 = 1 << 20;

/// Where the policy is: beside the configuration that is in use.
pub(crate) fn beside(config: Option<&Path>) -> PathBuf {
    config.unwrap_or(Path::new(porthole_registry::config::DEFAULT_PATH)).with_file_name("policy.toml")
}

/// The rules; none where there is no file. An error tells what is wrong, and where.
pub(crate) fn load(path: &Path) -> Result<Option<Policy>, String> {
    let shown = path.display();
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match openat(CWD, path, flags, Mode::empty()) {
        Ok(file) => file,
        // A link that leads nowhere is a file that somebody wanted to be there.
        Err(Errno::NOENT) if std::fs::symlink_metadata(path).is_err() => return Ok(None),
        Err(error) => return Err(format!("{shown}: {error}")),
    };
    let stat = fstat(&file).map_err(|error| format!("{shown}: {error}"))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(format!("{shown}: it is no regular file"));
    }
    is_roots_alone(path, stat.st_uid, stat.st_mode)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let stat = rustix::fs::stat(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    is_roots_alone(directory, stat.st_uid, stat.st_mode)?;
    let bytes = bounded::read(&file, MAX_BYTES).map_err(|error| format!("{shown}: {error}"))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes().iter().take(valid).filter(|&&b| b == b'\n').count() + 1;
        format!("{shown}:{line}:1: it is no UTF-8")
    })?;
    language::parse(&text).map(Some).map_err(|mistake| format!("{shown}:{mistake}"))
}

fn is_roots_alone(path: &Path, uid: u32, mode: u32) -> Result<(), String> {
    if uid != 0 {
        return Err(format!("{}: it belongs to uid {uid}, not to root", path.display()));
    }
    if mode & 0o022 != 0 {
        return Err(format!(
            "{}: others than root can write to it (mode {:04o})",
            path.display(),
            mode & 0o7777
        ));
    }
    Ok(())
}
