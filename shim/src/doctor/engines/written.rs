//! Files of an engine's configuration: which of them was changed last, and when.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A file, and when it was last changed: its bytes, its name or its mode.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) path: PathBuf,
    pub(super) at: SystemTime,
}

/// The file that was changed last.
pub(super) fn newest(files: &[PathBuf]) -> Option<Written> {
    let of = |path: &PathBuf| {
        let meta = fs::metadata(path).ok()?;
        let since = Duration::new(u64::try_from(meta.ctime()).ok()?, u32::try_from(meta.ctime_nsec()).ok()?);
        Some(Written { path: path.clone(), at: UNIX_EPOCH.checked_add(since)? })
    };
    files.iter().filter_map(of).max_by_key(|written| written.at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_was_just_started_is_newer_than_a_file_that_was_there() {
        let file = std::env::current_exe().unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        let me = porthole_registry::process::Process::open(pid).unwrap().started_at().unwrap();
        assert!(newest(&[file]).unwrap().at < me + Duration::from_millis(20));
        assert!(me <= SystemTime::now() + Duration::from_millis(20));
    }
}
