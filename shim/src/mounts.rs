//! The table of mounts: proc_pid_mountinfo(5).

use porthole_registry::bounded;
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) id: u64,
    /// The mount that it is on.
    pub(crate) parent: u64,
    pub(crate) point: PathBuf,
    /// Its peers: what is mounted there is seen in each of them.
    pub(crate) group: Option<u64>,
    /// The group whose mounts it receives.
    pub(crate) master: Option<u64>,
    /// Type of its file system.
    pub(crate) kind: String,
}

impl Mount {
    pub(crate) const fn is_shared(&self) -> bool {
        self.group.is_some()
    }

    /// Its propagation, as mount_namespaces(7) calls it.
    pub(crate) const fn propagation(&self) -> &'static str {
        match (self.group, self.master) {
            (Some(_), Some(_)) => "shared and slave",
            (Some(_), None) => "shared",
            (None, Some(_)) => "slave",
            (None, None) => "private",
        }
    }
}

/// All mounts of this mount namespace, oldest first.
pub(crate) fn read() -> std::io::Result<Vec<Mount>> {
    Ok(parse(&bounded::file("/proc/self/mountinfo", bounded::LISTS)?))
}

fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|&byte| byte == b'\n').filter_map(line).collect()
}

fn line(line: &[u8]) -> Option<Mount> {
    let fields: Vec<_> = line.split(|&byte| byte == b' ').collect();
    let dash = fields.iter().position(|field| *field == b"-")?;
    let optional = fields.get(6..dash)?;
    let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse().ok();
    let tagged = |tag: &[u8]| optional.iter().find_map(|field| number(field.strip_prefix(tag)?));
    Some(Mount {
        id: number(fields.first()?)?,
        parent: number(fields.get(1)?)?,
        point: unescape(fields.get(4)?),
        group: tagged(b"shared:"),
        master: tagged(b"master:"),
        kind: String::from_utf8_lossy(fields.get(dash + 1)?).into_owned(),
    })
}

/// `\040` is a blank.
fn unescape(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        let octal =
            tail.get(..3).filter(|_| first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

/// Where file systems of these types are mounted.
pub(crate) fn of_kinds(mounts: &[Mount], kinds: &[&str]) -> Vec<PathBuf> {
    let mounts = mounts.iter().filter(|mount| kinds.contains(&mount.kind.as_str()));
    mounts.map(|mount| mount.point.clone()).collect()
}

/// The mount that a path is on, and whether the path is its root: the last mount there hides those before it.
pub(crate) fn of<'m>(mounts: &'m [Mount], path: &Path) -> Option<(&'m Mount, bool)> {
    let longest = mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.point))
        .map(|mount| mount.point.as_os_str().len())
        .max()?;
    let mount = mounts
        .iter()
        .rfind(|mount| path.starts_with(&mount.point) && mount.point.as_os_str().len() == longest)?;
    Some((mount, mount.point == path))
}

/// As [`of`], by the kernel's own word of which mount that is: statx(2), Linux 5.8. A mount can be hidden by one above it.
pub(crate) fn at<'m>(mounts: &'m [Mount], path: &Path) -> Option<(&'m Mount, bool)> {
    let statx = statx(CWD, path, AtFlags::NO_AUTOMOUNT, StatxFlags::MNT_ID).ok();
    let statx = statx.filter(|statx| statx.stx_mask & StatxFlags::MNT_ID.bits() != 0);
    let seen = statx.and_then(|statx| {
        let is_root = statx.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
        mounts.iter().find(|mount| mount.id == statx.stx_mnt_id).map(|mount| (mount, is_root))
    });
    seen.or_else(|| of(mounts, path))
}

/// The mounts below `path` that its own mount covers and that are no peers of what covers them. Nobody can unmount them by
/// their names, and nobody can unlink the names: unlink(2), EBUSY.
pub(crate) fn covered<'m>(mounts: &'m [Mount], path: &Path) -> Vec<&'m Mount> {
    let mut covered = Vec::new();
    let Some((mut cover, true)) = of(mounts, path) else { return covered };
    while let Some(under) = mounts.iter().find(|mount| mount.id == cover.parent && mount.id != cover.id) {
        if cover.group.is_none() || cover.group != under.group {
            let is_below = |mount: &&Mount| mount.point != path && mount.point.starts_with(path);
            covered.extend(mounts.iter().filter(|mount| mount.parent == under.id).filter(is_below));
        }
        if under.point != path {
            break;
        }
        cover = under;
    }
    covered
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
        30 27 0:25 / /run rw shared:5 master:2 - tmpfs tmpfs rw\n\
        31 30 0:25 /netns /run/netns rw shared:5 - tmpfs tmpfs rw\n\
        32 31 0:4 net:[4026532200] /run/netns/a\\040b rw shared:7 - nsfs nsfs rw\n\
        broken\n";

    #[test]
    fn points_types_and_propagation_are_read() {
        let mounts = parse(TEXT);
        assert_eq!(mounts.len(), 4);
        assert_eq!((mounts[0].propagation(), mounts[0].kind.as_str()), ("private", "ext4"));
        assert_eq!((mounts[1].propagation(), mounts[2].propagation()), ("shared and slave", "shared"));
        assert_eq!((mounts[3].id, mounts[3].parent), (32, 31));
        assert_eq!(mounts[3].point, Path::new("/run/netns/a b"));
        assert_eq!((mounts[3].is_shared(), mounts[3].kind.as_str()), (true, "nsfs"));
    }

    #[test]
    fn what_a_mount_of_no_peer_covers_is_found() {
        let points = |text: &str| {
            let mounts = parse(text.as_bytes());
            covered(&mounts, Path::new("/run/netns"))
                .iter()
                .map(|mount| mount.point.clone())
                .collect::<Vec<_>>()
        };
        let pin =
            |id: u32, parent: u32| format!("{id} {parent} 0:4 net:[1] /run/netns/u rw - nsfs nsfs rw\n");
        let private =
            "30 1 0:25 / /run rw - tmpfs t rw\n31 30 0:25 /netns /run/netns rw shared:9 - tmpfs t rw\n";
        assert_eq!(points(&format!("{private}{}", pin(32, 31))), Vec::<PathBuf>::new());
        assert_eq!(points(&format!("{private}{}{}", pin(32, 31), pin(33, 30))), [Path::new("/run/netns/u")]);
        // Mounted twice, as iproute2 may do.
        let twice = "40 31 0:25 /netns /run/netns rw shared:9 - tmpfs t rw\n";
        assert_eq!(points(&format!("{private}{twice}{}", pin(33, 31))), Vec::<PathBuf>::new());
        assert_eq!(points(&format!("{private}{twice}{}", pin(33, 30))), [Path::new("/run/netns/u")]);
        let peers = private.replace("/run rw -", "/run rw shared:9 -");
        assert_eq!(points(&format!("{peers}{}{}", pin(32, 31), pin(33, 30))), Vec::<PathBuf>::new());
        assert_eq!(
            points(&format!("30 1 0:25 / /run rw - tmpfs t rw\n{}", pin(33, 30))),
            Vec::<PathBuf>::new()
        );
    }

    #[test]
    fn file_systems_are_found_by_type_whatever_the_optional_fields() {
        let mounts = parse(
            b"22 1 0:20 / /c rw - tmpfs tmpfs rw\n\
            23 22 0:21 / /c/cpu rw shared:5 - cgroup cgroup rw,cpu\n\
            24 22 0:22 / /c/unified rw shared:6 master:1 - cgroup2 cgroup2 rw\n",
        );
        assert_eq!(of_kinds(&mounts, &["cgroup", "cgroup2"]), ["/c/cpu", "/c/unified"].map(Path::new));
        assert_eq!(of_kinds(&mounts, &["cgroup2"]), [Path::new("/c/unified")]);
    }

    #[test]
    fn a_path_is_on_the_nearest_mount_above_it() {
        let mounts = parse(TEXT);
        let on = |path: &str| of(&mounts, Path::new(path)).map(|(mount, root)| (mount.point.clone(), root));
        assert_eq!(on("/run/netns"), Some(("/run/netns".into(), true)));
        assert_eq!(on("/run/netns/x"), Some(("/run/netns".into(), false)));
        assert_eq!(on("/run/netnsx"), Some(("/run".into(), false)));
        assert_eq!(on("/etc"), Some(("/".into(), false)));
    }
}
