//! The private mount view: which trees of the host the command sees, and how they are put together.
//!
//! unshare(CLONE_NEWNS) copies every mount of the namespace it leaves, and a node has thousands. So the view is not cut
//! down from a copy of the host's: it starts from a namespace that holds next to nothing (`base`), and gets the few
//! trees it needs as detached clones, made before the host's namespace is left.

mod assemble;
mod base;
mod hide;

use std::fmt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use serde::Serialize;

use super::dns::Dns;
use super::error::ExecError;

pub(crate) use assemble::{Start, assemble};
pub(crate) use hide::Hide;

/// What the command sees of file systems.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "mode")]
pub(crate) enum View {
    /// The target's mount namespace, or another root directory: nothing is built.
    Entered,
    /// The host's trees named here, read-only and without setuid, in a namespace of its own.
    Confined(Contents),
    /// A copy of the host's mount table, as it is.
    Host(Contents),
}

/// What is put into a private view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Contents {
    /// Trees of the host, in the order of mounting.
    pub(crate) trees: Vec<Tree>,
    /// Places that are covered, after all trees are there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) hidden: Vec<Hide>,
    /// A fresh sysfs, which shows the network namespace that was joined.
    pub(crate) sysfs: bool,
    /// A fresh procfs, which shows the pid namespace that was joined.
    pub(crate) procfs: bool,
    /// A `/dev` with harmless devices only, for a command that is root without its capabilities.
    pub(crate) small_dev: bool,
    /// The host's `/etc` lacks one of the files, and gets a directory of them laid over it as a whole.
    pub(crate) etc_merged: bool,
    /// Files in `/etc`.
    pub(crate) dns: Dns,
}

/// One mount of the host, without what is mounted below it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Tree {
    /// Where, in the host and in the view.
    pub(crate) path: PathBuf,
    /// May be written to, as far as the file system's permissions go.
    pub(crate) writable: bool,
    /// Device files work.
    pub(crate) devices: bool,
}

/// Mount points of the host that belong to a view, if they are mount points. `/run` does not: it holds the sockets of
/// engines and of the host's name services, the registry, the pins.
const SHOWN: [&str; 19] = [
    "/etc",
    "/home",
    "/mnt",
    "/nix",
    "/nix/store",
    "/opt",
    "/proc",
    "/root",
    "/srv",
    "/usr",
    "/usr/local",
    "/var",
    "/var/lib",
    "/var/log",
    "/var/tmp",
    "/dev",
    "/dev/pts",
    "/dev/shm",
    "/dev/mqueue",
];

/// Always writable.
const TMP: &str = "/tmp";
/// Never shown as the working directory: not there, or not the host's, in the view.
const HIDDEN: [&str; 2] = ["/run", "/sys"];
/// Shown as the working directory, but as they are: nobody works in them.
const NEVER_WRITABLE: [&str; 3] = ["/proc", "/dev", "/etc"];

impl Contents {
    /// The trees of a confined view: the root, the mount points above, those that `PATH` and the command lead to, then
    /// `/tmp` and the working directory, to which alone the command may write.
    pub(crate) fn trees(
        working_directory: &Path,
        programs: &[PathBuf],
        fresh_proc: bool,
        small_dev: bool,
        is_mount_point: impl Fn(&Path) -> bool,
    ) -> Vec<Tree> {
        let tree = |path: &Path| Tree {
            path: path.to_owned(),
            writable: false,
            devices: path.starts_with("/dev") && path != Path::new("/dev/shm"),
        };
        let mut trees = vec![tree(Path::new("/"))];
        let mut points: Vec<PathBuf> = SHOWN.iter().map(PathBuf::from).collect();
        for program in programs {
            points.extend(program.ancestors().map(Path::to_owned));
        }
        points.retain(|point| {
            let hidden = HIDDEN.iter().any(|hidden| point.starts_with(hidden));
            let replaced =
                (fresh_proc && point.starts_with("/proc")) || (small_dev && point == Path::new("/dev"));
            point.is_absolute() && point != Path::new("/") && !hidden && !replaced
        });
        points.sort();
        points.dedup();
        trees.extend(points.iter().filter(|point| is_mount_point(point)).map(|point| tree(point)));
        trees.push(Tree { writable: true, ..tree(Path::new(TMP)) });
        // Below /tmp, it is there already, unless it is on a mount of its own.
        let mut up_to_tmp =
            working_directory.ancestors().take_while(|directory| *directory != Path::new("/tmp"));
        let in_tmp = working_directory.starts_with("/tmp") && !up_to_tmp.any(&is_mount_point);
        if Self::writable(working_directory) && !in_tmp {
            trees.push(Tree { writable: true, devices: false, ..tree(working_directory) });
        }
        trees
    }

    /// Which of `paths` have to be covered in such a view.
    pub(crate) fn hidden<'a>(paths: impl Iterator<Item = &'a Path>) -> Result<Vec<Hide>, ExecError> {
        hide::resolve(paths, &HIDDEN)
    }

    /// Whether the working directory is a place to leave files in.
    pub(crate) fn writable(directory: &Path) -> bool {
        let below = |list: &[&str]| list.iter().any(|top| directory.starts_with(top));
        directory.is_absolute() && directory != Path::new("/") && !below(&HIDDEN) && !below(&NEVER_WRITABLE)
    }

    /// Whether a confined view has this directory at all.
    pub(crate) fn has(directory: &Path, hidden: &[Hide]) -> bool {
        let is_in = |top: &Path| directory.starts_with(top);
        let not_there = HIDDEN.iter().map(Path::new).chain(hidden.iter().map(|hide| hide.path.as_path()));
        directory.is_absolute() && !not_there.into_iter().any(is_in)
    }
}

/// Whether something is mounted at `path` itself, a last link not followed.
pub(crate) fn is_mount_point(path: &Path) -> bool {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    statx(CWD, path, flags, StatxFlags::empty())
        .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let contents = match self {
            Self::Entered => return f.write_str("the target's"),
            Self::Confined(contents) => {
                write!(f, "private; the host's, read-only and nosuid:")?;
                for tree in contents.trees.iter().filter(|tree| !tree.writable) {
                    write!(f, " {}", tree.path.display())?;
                }
                f.write_str("; writable, nosuid, nodev:")?;
                for tree in contents.trees.iter().filter(|tree| tree.writable) {
                    write!(f, " {}", tree.path.display())?;
                }
                f.write_str("; /run empty")?;
                if !contents.hidden.is_empty() {
                    f.write_str("; hidden:")?;
                }
                for hide in &contents.hidden {
                    write!(f, " {}", hide.path.display())?;
                }
                contents
            }
            Self::Host(contents) => {
                f.write_str("private copy of the host's, as it is")?;
                contents
            }
        };
        let parts = [
            (contents.sysfs, "; /sys of the target"),
            (contents.procfs, "; /proc of the target"),
            (contents.small_dev, "; /dev with null, zero, full, random, urandom, tty"),
        ];
        parts.iter().filter(|(there, _)| *there).try_for_each(|(_, text)| f.write_str(text))?;
        contents.dns.lines().try_for_each(|line| write!(f, "\n             {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trees(cwd: &str, programs: &[&str], mounts: &[&str]) -> Vec<String> {
        let programs: Vec<PathBuf> = programs.iter().map(PathBuf::from).collect();
        let trees = Contents::trees(Path::new(cwd), &programs, false, false, |p| {
            mounts.iter().any(|m| Path::new(m) == p)
        });
        let flags =
            |t: &Tree| format!("{}{}", if t.writable { "+w" } else { "" }, if t.devices { "+d" } else { "" });
        trees.iter().map(|t| format!("{}{}", t.path.display(), flags(t))).collect()
    }

    #[test]
    fn only_what_is_a_mount_point_becomes_a_tree() {
        assert_eq!(
            trees("/", &[], &["/proc", "/dev", "/home", "/data"]),
            ["/", "/dev+d", "/home", "/proc", "/tmp+w"]
        );
    }

    #[test]
    fn mounts_come_after_those_they_are_in() {
        assert_eq!(
            trees("/", &[], &["/dev/pts", "/dev", "/usr/local", "/usr"]),
            ["/", "/dev+d", "/dev/pts+d", "/usr", "/usr/local", "/tmp+w"]
        );
    }

    #[test]
    fn the_mounts_that_programs_are_on_are_shown() {
        assert_eq!(
            trees("/", &["/data/tools/bin"], &["/data", "/data/tools", "/other"]),
            ["/", "/data", "/data/tools", "/tmp+w"]
        );
    }

    #[test]
    fn the_working_directory_is_writable_last_and_without_devices() {
        assert_eq!(trees("/home/ann", &[], &["/home"]), ["/", "/home", "/tmp+w", "/home/ann+w"]);
        assert_eq!(trees("/tmp", &[], &["/tmp"]), ["/", "/tmp+w"]);
        assert_eq!(trees("/tmp/a/b", &[], &["/tmp"]), ["/", "/tmp+w"]);
        assert_eq!(trees("/tmp/a/b", &[], &["/tmp/a"]), ["/", "/tmp+w", "/tmp/a/b+w"]);
    }

    #[test]
    fn root_run_and_kernel_directories_never_become_writable() {
        for cwd in ["/", "/run", "/run/user/0", "/sys/kernel", "/proc/sys", "/dev/shm", "/etc/ssh"] {
            assert_eq!(trees(cwd, &["/run/bin"], &["/run", "/run/bin"]), ["/", "/tmp+w"], "{cwd}");
        }
    }

    #[test]
    fn shared_memory_has_no_devices() {
        assert_eq!(trees("/", &[], &["/dev", "/dev/shm"]), ["/", "/dev+d", "/dev/shm", "/tmp+w"]);
    }
}
