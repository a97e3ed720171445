//! The machine that tests run on. A test changes its own node alone: in its mount namespace the rest of the machine is
//! read-only, so that a call that would write to it fails.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount_bind, mount_remount};

use crate::cgroups::Cgroups;
use crate::tools;

/// Kernel interfaces, which namespaces and cgroups divide, and directories of which a node has its own. All tests have
/// `/tmp` for files between a test and its node.
const SHARED: [&str; 6] = ["/dev", "/mnt", "/proc", "/run", "/sys", "/tmp"];

/// Makes every mount of this mount namespace read-only, except those below [`SHARED`] and cargo's directory, in which
/// tests write side products.
///
/// # Panics
/// When a mount cannot be changed.
pub fn make_read_only() {
    let built = built();
    for open in [&built, Path::new("/tmp")] {
        mount_bind(open, open).unwrap_or_else(|e| panic!("bind {}: {e}", open.display()));
    }
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").expect("read mountinfo");
    for line in mountinfo.lines() {
        let mut fields = line.split(' ').skip(4);
        let point = unescaped(fields.next().unwrap_or_default());
        if SHARED.iter().any(|shared| point.starts_with(shared)) || point == built {
            continue;
        }
        let flags = fields.next().unwrap_or_default().split(',').fold(MountFlags::empty(), |all, word| {
            all | match word {
                "nosuid" => MountFlags::NOSUID,
                "nodev" => MountFlags::NODEV,
                "noexec" => MountFlags::NOEXEC,
                "noatime" => MountFlags::NOATIME,
                "nodiratime" => MountFlags::NODIRATIME,
                "relatime" => MountFlags::RELATIME,
                _ => MountFlags::empty(),
            }
        });
        match mount_remount(&point, flags | MountFlags::BIND | MountFlags::RDONLY, c"") {
            // Another mount covers it.
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::INVAL) => {}
            Err(e) => panic!("make {} read-only: {e}", point.display()),
        }
    }
}

/// The mount points, each once.
#[must_use]
pub fn mount_points() -> Vec<PathBuf> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").expect("read mountinfo");
    mountinfo.lines().map(|line| unescaped(line.split(' ').nth(4).unwrap_or_default())).collect()
}

/// The directory that cargo builds in, which it marks; else that of the programs.
fn built() -> PathBuf {
    let programs = tools::bin_dir();
    let marked = programs.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file());
    marked.unwrap_or(&programs).to_owned()
}

/// mountinfo writes spaces and a few other bytes of a path as octal numbers.
fn unescaped(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend(before.bytes());
        let code = after.get(..3).and_then(|code| u8::from_str_radix(code, 8).ok()).expect("an octal number");
        bytes.push(code);
        rest = &after[3..];
    }
    bytes.extend(rest.bytes());
    OsString::from_vec(bytes).into()
}

/// Names that tests could leave where they can write: in `/run`, `/tmp`, `/dev/shm`, and cgroups, but for those of a test
/// that still runs.
#[must_use]
pub fn names() -> BTreeSet<PathBuf> {
    let mut names = BTreeSet::new();
    for dir in ["/run", "/run/netns", "/tmp", "/dev/shm", "/sys/fs/cgroup"].map(Path::new) {
        names.extend(entries(dir));
    }
    for hierarchy in entries(Path::new("/sys/fs/cgroup")) {
        names.extend(entries(&hierarchy).filter(|path| path.is_dir()));
    }
    let of_others = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.starts_with("/tmp") && !name.starts_with("porthole")
    };
    names.retain(|path| !of_others(path) && !Cgroups::in_use(path));
    names
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_in_mountinfo_are_read_as_they_are() {
        assert_eq!(unescaped(r"/a\040b\134c\011"), Path::new("/a b\\c\t"));
        assert_eq!(unescaped("/"), Path::new("/"));
    }
}
