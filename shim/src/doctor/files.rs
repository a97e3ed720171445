//! What is asked about files: who may change them, and what they are on.

use crate::install::binaries::is_volatile;
use rustix::fs::{CWD, StatVfsMountFlags, statfs, statvfs};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Somebody else than root may change something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loose {
    /// The file, or a directory above it.
    pub(super) path: PathBuf,
    pub(super) how: String,
    /// Everybody, or a user; not only a group.
    pub(super) is_grave: bool,
}

/// Whether somebody else than root may write a file or directory, by its owner and its mode.
pub(super) fn loose(path: &Path, mode: u32, uid: u32, gid: u32, is_directory: bool) -> Option<Loose> {
    let found = |how: String, is_grave| Some(Loose { path: path.to_owned(), how, is_grave });
    // In a sticky directory nobody renames or removes what is another's.
    let sticky = is_directory && mode & 0o1000 != 0;
    if uid != 0 {
        found(format!("belongs to uid {uid}"), true)
    } else if mode & 0o002 != 0 && !sticky {
        found(format!("may be written by everybody (mode {:04o})", mode & 0o7777), true)
    } else if mode & 0o020 != 0 && gid != 0 && !sticky {
        found(format!("may be written by group {gid} (mode {:04o})", mode & 0o7777), false)
    } else {
        None
    }
}

/// The worst of a file and the directories above it.
pub(super) fn loose_on_the_way(path: &Path) -> Option<Loose> {
    let of = |path: &Path| {
        let meta = path.metadata().ok()?;
        loose(path, meta.mode(), meta.uid(), meta.gid(), meta.is_dir())
    };
    path.ancestors().filter_map(of).max_by_key(|loose| loose.is_grave)
}

/// Whether a path is on a file system in memory.
pub(super) fn is_in_memory(path: &Path) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    statfs(path).is_ok_and(|stat| u64::try_from(stat.f_type).is_ok_and(|kind| [TMPFS, RAMFS].contains(&kind)))
}

/// Why what is at a path will not be there after the next boot.
pub(super) fn passing(path: &Path) -> Option<&'static str> {
    if is_volatile(path) {
        Some("below a directory that a boot empties")
    } else {
        is_in_memory(path).then_some("on a file system in memory, which a boot empties")
    }
}

/// Whether nothing may be executed from where a path is.
pub(super) fn is_noexec(path: &Path) -> bool {
    statvfs(path).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::NOEXEC))
}

/// The type of its SELinux label.
pub(super) fn selinux_type(path: &Path) -> Option<String> {
    let mut label = vec![0; 4096];
    let length = rustix::fs::getxattr(path, "security.selinux", &mut label[..]).ok()?;
    type_of(&String::from_utf8_lossy(&label[..length]))
}

fn type_of(label: &str) -> Option<String> {
    label.trim_end_matches('\0').split(':').nth(2).map(str::to_owned)
}

/// Whether there is something at a path, whatever it is.
pub(super) fn exists(path: &Path) -> bool {
    rustix::fs::statat(CWD, path, rustix::fs::AtFlags::empty()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_may_change_is_found_by_mode_and_owner() {
        let grave =
            |mode, uid, gid, dir| loose(Path::new("/x"), mode, uid, gid, dir).map(|loose| loose.is_grave);
        for (mode, uid, gid, dir, expected) in [
            (0o755, 0, 0, false, None),
            (0o775, 0, 0, true, None),
            (0o775, 0, 50, true, Some(false)),
            (0o757, 0, 0, false, Some(true)),
            (0o1777, 0, 0, true, None),
            (0o1777, 0, 0, false, Some(true)),
            (0o755, 1000, 0, true, Some(true)),
        ] {
            assert_eq!(grave(mode, uid, gid, dir), expected, "{mode:o} {uid} {gid} {dir}");
        }
    }

    #[test]
    fn the_type_of_a_label_is_its_third_part() {
        assert_eq!(type_of("system_u:object_r:bin_t:s0\0").as_deref(), Some("bin_t"));
        assert_eq!(type_of("unlabeled"), None);
    }

    #[test]
    fn proc_is_in_no_memory_file_system_that_a_boot_empties() {
        assert!(!is_in_memory(Path::new("/proc")));
        assert_eq!(
            passing(Path::new("/run/porthole/porthole-hook")),
            Some("below a directory that a boot empties")
        );
    }
}
