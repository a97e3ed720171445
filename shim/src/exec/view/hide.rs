//! What of the host a confined view has and does not show: each place gets an empty directory, or an empty file, over
//! what is there.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;
use serde::Serialize;

use crate::exec::error::{ExecError, Step};

/// One place, by a path without links.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Hide {
    /// Where.
    pub(crate) path: PathBuf,
    /// A directory is there, and no file.
    pub(crate) directory: bool,
}

/// Those of `paths` that exist on the host, where they really are. Nothing below `elsewhere` is in the view anyway.
pub(crate) fn resolve<'a>(
    paths: impl Iterator<Item = &'a Path>,
    elsewhere: &[&str],
) -> Result<Vec<Hide>, ExecError> {
    let mut all = Vec::new();
    for path in paths {
        let failed = |error: io::Error| Step::View.failed(format!("look for {}", path.display()))(error);
        let mut real = path.to_owned();
        let mut found = open(path);
        if found == Err(Errno::LOOP) {
            match std::fs::canonicalize(path) {
                Ok(there) => {
                    found = open(&there);
                    real = there;
                }
                // A link that leads nowhere, from here; and from the view neither.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(error)),
            }
        }
        match found {
            Ok(directory) => all.push(Hide { path: real, directory }),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(error) => return Err(failed(error.into())),
        }
    }
    all.retain(|hide| !elsewhere.iter().any(|top| hide.path.starts_with(top)));
    // What is in a hidden directory is hidden with it.
    all.sort_by(|a, b| a.path.cmp(&b.path));
    all.dedup_by(|later, earlier| later.path.starts_with(&earlier.path));
    Ok(all)
}

/// Whether a directory is there, if anything is; no link is followed.
fn open(path: &Path) -> Result<bool, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let there = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
    Ok(FileType::from_raw_mode(fstat(&there)?.st_mode) == FileType::Directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_exists_is_hidden_where_it_really_is_and_once() {
        let dir = std::env::temp_dir().join(format!("porthole-hide-{}", std::process::id()));
        drop(fs::remove_dir_all(&dir));
        fs::create_dir_all(dir.join("data/docker/overlay")).unwrap();
        fs::write(dir.join("key"), "x").unwrap();
        symlink("data/docker", dir.join("docker")).unwrap();
        symlink("nowhere", dir.join("broken")).unwrap();
        let dir = fs::canonicalize(&dir).unwrap();
        let named =
            ["docker", "data/docker/overlay", "key", "broken", "missing", "key/below", "data/docker-2"]
                .map(|name| dir.join(name));
        fs::create_dir(dir.join("data/docker-2")).unwrap();
        let found = resolve(named.iter().map(PathBuf::as_path), &[]).unwrap();
        let hide = |name: &str, directory| Hide { path: dir.join(name), directory };
        assert_eq!(found, [hide("data/docker", true), hide("data/docker-2", true), hide("key", false)]);
        let none = resolve(named.iter().map(PathBuf::as_path), &[dir.to_str().unwrap()]).unwrap();
        assert_eq!(none, []);
        fs::remove_dir_all(dir).unwrap();
    }
}
