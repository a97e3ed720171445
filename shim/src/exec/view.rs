//! The private mount view: which trees of the host the command sees, and how they are put together.
//!
//! unshare(CLONE_NEWNS) copies every mount of the namespace it leaves, and a node has thousands. So the view is not cut
//! down from a copy of the host's: it starts from a namespace that holds next to nothing (`base`), and gets the few
//! trees it needs as detached clones, made before the host's namespace is left.

mod assemble;
mod base;
mod choose;
mod devices;
mod hide;
mod own;
mod procfs;
mod tools;

use std::fmt;
use std::path::{Path, PathBuf};

use porthole_registry::text;
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use serde::Serialize;

use super::dns::Dns;
use super::error::ExecError;

pub(crate) use assemble::{Places, assemble};
pub(crate) use choose::{Chosen, Question};
pub(crate) use devices::devpts;
pub(crate) use hide::Hide;
pub(crate) use tools::{Link, accounts};

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
    /// The root directory.
    pub(crate) root: Root,
    /// Trees of the host, in the order of mounting.
    pub(crate) trees: Vec<Tree>,
    /// Links in an empty root.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) links: Vec<Link>,
    /// Places that are covered, after all trees are there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) hidden: Vec<Hide>,
    /// A fresh sysfs, which shows the network namespace that was joined.
    pub(crate) sysfs: bool,
    /// The procfs of the pid namespace that was joined.
    pub(crate) procfs: bool,
    /// The host's `/etc` lacks one of the files, and gets a directory of them laid over it as a whole.
    pub(crate) etc_merged: bool,
    /// Whether `/run/xtables.lock` is there: an empty, read-only file of the view's own.
    pub(crate) xtables_lock: bool,
    /// Files in `/etc`.
    pub(crate) dns: Dns,
}

/// The root directory of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Root {
    /// The host's root directory.
    Host,
    /// Nothing of the host's but the trees that are named, and a `/tmp` of the view's own.
    Empty,
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
    /// A directory, and no file.
    #[serde(skip)]
    pub(crate) directory: bool,
    /// The caller's words lead there: no link is followed on the way.
    #[serde(skip)]
    pub(crate) found: bool,
}

impl Tree {
    /// A directory that nobody writes to.
    pub(crate) fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), writable: false, devices: false, directory: true, found: false }
    }
}

/// Mount points of the host that belong to a view, if they are mount points. `/run` does not: it holds the sockets of
/// engines and of the host's name services, the registry, the pins.
const SHOWN: [&str; 15] = [
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
];

/// Always writable.
const TMP: &str = "/tmp";
/// Not the host's in the view.
const HIDDEN: [&str; 3] = ["/run", "/sys", "/dev"];
/// Shown as the working directory, but as they are: nobody works in them.
const NEVER_WRITABLE: [&str; 2] = ["/proc", "/etc"];

impl Contents {
    /// The trees of a view of the host: the root, the mount points above, those that `programs` and the working directory
    /// are on, then `/tmp` and the directories to which alone the command may write.
    pub(crate) fn trees(
        working_directory: &Path,
        writable: &[PathBuf],
        programs: &[PathBuf],
        is_mount_point: impl Fn(&Path) -> bool,
    ) -> Vec<Tree> {
        let shown = |point: &Path| {
            let hidden = HIDDEN.iter().any(|hidden| point.starts_with(hidden));
            point.is_absolute() && point != Path::new("/") && !hidden
        };
        let known = SHOWN.iter().map(|path| Tree::of(Path::new(path)));
        let known = known.chain([Tree { writable: true, ..Tree::of(Path::new(TMP)) }]);
        let words = programs.iter().map(PathBuf::as_path).chain([working_directory]);
        let found = words.chain(writable.iter().map(PathBuf::as_path)).flat_map(Path::ancestors);
        let found = found.map(|path| Tree { found: true, ..Tree::of(path) });
        let mut points: Vec<_> = known.chain(found).filter(|tree| shown(&tree.path)).collect();
        points.sort_by(|a, b| (&a.path, a.found).cmp(&(&b.path, b.found)));
        points.dedup_by(|later, earlier| later.path == earlier.path);
        let mut trees = vec![Tree::of(Path::new("/"))];
        trees.extend(points.into_iter().filter(|tree| tree.writable || is_mount_point(&tree.path)));
        // Below /tmp, it is there already, unless it is on a mount of its own.
        let mut up_to_tmp =
            working_directory.ancestors().take_while(|directory| *directory != Path::new("/tmp"));
        let in_tmp = working_directory.starts_with("/tmp") && !up_to_tmp.any(&is_mount_point);
        let own = (Self::writable(working_directory) && !in_tmp).then_some(working_directory);
        let given = writable.iter().map(PathBuf::as_path).filter(|path| Some(*path) != own);
        trees.extend(given.chain(own).map(|path| Tree { writable: true, found: true, ..Tree::of(path) }));
        trees
    }

    /// The trees and links of a view that has the tools and nothing else of the host; `more` is what the configuration
    /// shows, `writable` to what the command may write.
    pub(crate) fn tools(
        more: &[PathBuf],
        writable: &[PathBuf],
        with_proc: bool,
        is_mount_point: impl Fn(&Path) -> bool,
    ) -> (Vec<Tree>, Vec<Link>) {
        let (mut trees, links) = tools::select(more, tools::kind_on_host, is_mount_point);
        if with_proc {
            trees.push(Tree::of(Path::new("/proc")));
        }
        trees.extend(writable.iter().map(|path| Tree { writable: true, found: true, ..Tree::of(path) }));
        (trees, links)
    }

    /// Which of `paths` have to be covered in such a view.
    pub(crate) fn hidden<'a>(paths: impl Iterator<Item = &'a Path>) -> Result<Vec<Hide>, ExecError> {
        hide::resolve(paths, &HIDDEN)
    }

    /// Whether the path is below that of another tree.
    fn is_below_another(&self, path: &Path) -> bool {
        self.trees.iter().any(|tree| tree.path != path && path.starts_with(&tree.path))
    }

    /// Places below the tools that are not for everybody.
    pub(crate) fn private() -> [&'static Path; tools::PRIVATE.len()] {
        tools::PRIVATE.map(Path::new)
    }

    /// Whether the working directory is a place to leave files in.
    pub(crate) fn writable(directory: &Path) -> bool {
        let below = |list: &[&str]| list.iter().any(|top| directory.starts_with(top));
        directory.is_absolute() && directory != Path::new("/") && !below(&HIDDEN) && !below(&NEVER_WRITABLE)
    }

    /// Whether a view with this root has a file that a link in `/etc` leads to.
    fn shows_linked(root: Root, place: &Path) -> bool {
        match root {
            Root::Host => place.is_absolute() && !HIDDEN.iter().any(|top| place.starts_with(top)),
            Root::Empty => tools::PROGRAMS.iter().any(|top| place.starts_with(top)),
        }
    }

    /// Whether a view of the host has this directory at all.
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
                f.write_str(match contents.root {
                    Root::Host => "private; the host's, read-only and nosuid:",
                    Root::Empty => "private; of the host nothing but, read-only and nosuid:",
                })?;
                for tree in contents.trees.iter().filter(|tree| !tree.writable) {
                    write!(f, " {}", text::word(&tree.path.display().to_string()))?;
                }
                for link in &contents.links {
                    write!(f, " {}", text::word(&link.path.display().to_string()))?;
                }
                if contents.trees.iter().any(|tree| tree.writable) {
                    f.write_str("; writable, nosuid, nodev:")?;
                }
                for tree in contents.trees.iter().filter(|tree| tree.writable) {
                    write!(f, " {}", text::word(&tree.path.display().to_string()))?;
                }
                if contents.root == Root::Empty {
                    f.write_str("; a /tmp of its own")?;
                }
                f.write_str(if contents.xtables_lock {
                    "; /run with xtables.lock alone"
                } else {
                    "; /run empty"
                })?;
                f.write_str("; /dev with null, zero, full, random, urandom, tty, pts")?;
                if !contents.hidden.is_empty() {
                    f.write_str("; hidden:")?;
                }
                for hide in &contents.hidden {
                    write!(f, " {}", text::word(&hide.path.display().to_string()))?;
                }
                contents
            }
            Self::Host(contents) => {
                f.write_str("private copy of the host's, as it is")?;
                contents
            }
        };
        let parts = [(contents.sysfs, "; /sys of the target"), (contents.procfs, "; /proc of the target")];
        parts.iter().filter(|(there, _)| *there).try_for_each(|(_, text)| f.write_str(text))?;
        contents.dns.lines().try_for_each(|line| write!(f, "\n             {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trees(cwd: &str, programs: &[&str], mounts: &[&str]) -> Vec<String> {
        let programs: Vec<PathBuf> = programs.iter().map(PathBuf::from).collect();
        let trees =
            Contents::trees(Path::new(cwd), &[], &programs, |p| mounts.iter().any(|m| Path::new(m) == p));
        assert!(trees.iter().all(|tree| !tree.devices));
        trees.iter().map(|t| format!("{}{}", t.path.display(), if t.writable { "+w" } else { "" })).collect()
    }

    #[test]
    fn only_what_is_a_mount_point_becomes_a_tree() {
        assert_eq!(trees("/", &[], &["/proc", "/dev", "/home", "/data"]), ["/", "/home", "/proc", "/tmp+w"]);
    }

    #[test]
    fn mounts_come_after_those_they_are_in() {
        assert_eq!(
            trees("/", &[], &["/var/lib", "/var", "/usr/local", "/usr"]),
            ["/", "/tmp+w", "/usr", "/usr/local", "/var", "/var/lib"]
        );
    }

    #[test]
    fn the_mounts_that_programs_and_the_working_directory_are_on_are_shown() {
        assert_eq!(
            trees("/", &["/data/tools/bin"], &["/data", "/data/tools", "/other"]),
            ["/", "/data", "/data/tools", "/tmp+w"]
        );
        assert_eq!(trees("/data/work", &[], &["/data"]), ["/", "/data", "/tmp+w", "/data/work+w"]);
    }

    #[test]
    fn the_working_directory_is_writable_and_last() {
        assert_eq!(trees("/home/ann", &[], &["/home"]), ["/", "/home", "/tmp+w", "/home/ann+w"]);
        assert_eq!(trees("/tmp", &[], &["/tmp"]), ["/", "/tmp+w"]);
        assert_eq!(trees("/tmp/a/b", &[], &["/tmp"]), ["/", "/tmp+w"]);
        assert_eq!(trees("/tmp/a/b", &[], &["/tmp/a"]), ["/", "/tmp+w", "/tmp/a", "/tmp/a/b+w"]);
    }

    #[test]
    fn a_mount_that_only_the_callers_words_lead_to_is_found() {
        let found = |path: &str| {
            let trees =
                Contents::trees(Path::new("/home/ann"), &["/srv/x".into()], &["/usr/bin".into()], |_| true);
            trees.iter().find(|tree| tree.path == Path::new(path)).map(|tree| tree.found)
        };
        assert_eq!(
            (found("/home"), found("/usr"), found("/usr/bin")),
            (Some(false), Some(false), Some(true))
        );
        assert_eq!((found("/srv/x"), found("/run")), (Some(true), None));
    }

    #[test]
    fn root_run_and_kernel_directories_never_become_writable() {
        for cwd in ["/", "/run", "/run/user/0", "/sys/kernel", "/proc/sys", "/dev/shm", "/etc/ssh"] {
            assert_eq!(trees(cwd, &["/run/bin"], &["/run", "/run/bin"]), ["/", "/tmp+w"], "{cwd}");
        }
    }
}
