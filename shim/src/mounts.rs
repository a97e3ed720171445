//! The table of mounts: proc_pid_mountinfo(5).

use porthole_registry::bounded;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) point: PathBuf,
    /// What is mounted there is seen in its peers.
    pub(crate) is_shared: bool,
    /// Type of its file system.
    pub(crate) kind: String,
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
    Some(Mount {
        point: unescape(fields.get(4)?),
        is_shared: optional.iter().any(|field| field.starts_with(b"shared:")),
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
        assert_eq!((mounts[0].is_shared, mounts[0].kind.as_str()), (false, "ext4"));
        assert_eq!(mounts[3].point, Path::new("/run/netns/a b"));
        assert_eq!((mounts[3].is_shared, mounts[3].kind.as_str()), (true, "nsfs"));
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
