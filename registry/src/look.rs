//! A look at a path that may be on a file system that does not answer.
//!
//! An operator chooses the path of a network namespace, and the look is made with the lock held: a look that does not
//! return would hold up every container of the node. The kernel answers from its cache without a wait. For the rest, a
//! thread looks, and has a moment to answer.

use crate::namespace::NamespaceId;
use rustix::fs::{self, AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

/// How long a file system may take to answer.
const PATIENCE: Duration = Duration::from_millis(100);

/// How to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Only where nothing can wait.
    Quickly,
    /// Elsewhere too, with a wait of a moment.
    Patiently,
}

/// The result of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Something with this identity.
    Inode(NamespaceId),
    /// Nothing, or nothing that may be looked at.
    Nothing,
    /// The file system does not answer, or not at once.
    Silence,
}

/// Looks at `path`, through links.
pub(crate) fn look(path: &Path, ask: Ask) -> Seen {
    match cached(path) {
        Seen::Silence if never_waits(path) => directly(path),
        Seen::Silence if ask == Ask::Patiently => patiently(path),
        seen => seen,
    }
}

/// Looks in the kernel's cache alone: openat2(2), `RESOLVE_CACHED` (Linux 5.12).
fn cached(path: &Path) -> Seen {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let seen = fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED).and_then(|fd| {
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        fs::statx(&fd, "", flags, StatxFlags::INO)
    });
    match seen {
        Ok(stat) => {
            let dev = fs::makedev(stat.stx_dev_major, stat.stx_dev_minor);
            Seen::Inode(NamespaceId { dev, ino: stat.stx_ino })
        }
        Err(Errno::AGAIN | Errno::INVAL | Errno::NOSYS | Errno::PERM) => Seen::Silence,
        Err(_) => Seen::Nothing,
    }
}

fn directly(path: &Path) -> Seen {
    NamespaceId::at(CWD, path).map_or(Seen::Nothing, Seen::Inode)
}

/// Whether a look at a path that is not in the kernel's cache never waits: at a namespace of a process, or in `/run`, where
/// the cache has every name that exists.
fn never_waits(path: &Path) -> bool {
    if is_namespace_of_a_process(path) {
        return true;
    }
    let device = |path: &Path| match cached(path) {
        Seen::Inode(id) => Some(id.dev),
        Seen::Nothing | Seen::Silence => None,
    };
    let known = path.ancestors().skip(1).find_map(device);
    known.is_some() && known == device(Path::new("/run"))
}

/// Whether it is `/proc/PID/ns/KIND`. Other links of a process can lead to any file system.
fn is_namespace_of_a_process(path: &Path) -> bool {
    let mut parts = path.iter().map(|part| part.to_str().unwrap_or_default());
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    [parts.next(), parts.next()] == [Some("/"), Some("proc")]
        && parts.next().is_some_and(is_number)
        && parts.next() == Some("ns")
        && parts.next().is_some_and(|kind| kind != "..")
        && parts.next().is_none()
}

fn patiently(path: &Path) -> Seen {
    let (sender, answer) = channel();
    let path = path.to_owned();
    // It ends with the process if it gets no answer.
    let asking = std::thread::Builder::new().stack_size(64 << 10).spawn(move || sender.send(directly(&path)));
    if asking.is_err() {
        return Seen::Silence;
    }
    answer.recv_timeout(PATIENCE).unwrap_or(Seen::Silence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_seen_at_once_is_seen_by_either_way() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, dir.path().join("link")).unwrap();
        let own = NamespaceId::at(CWD, "/proc/self/ns/net").unwrap();
        let own_path = format!("/proc/{}/ns/net", std::process::id());
        assert_eq!(look(Path::new(&own_path), Ask::Quickly), Seen::Inode(own));
        assert_eq!(look(Path::new("/proc/self/ns/net"), Ask::Patiently), Seen::Inode(own));
        assert_eq!(look(Path::new("/proc/4194305/ns/net"), Ask::Quickly), Seen::Nothing);
        assert_eq!(look(&dir.path().join("link"), Ask::Patiently), directly(&file));
        assert_eq!(look(&dir.path().join("none"), Ask::Patiently), Seen::Nothing);
        assert_eq!(look(Path::new("/run/porthole-none/none"), Ask::Quickly), Seen::Nothing);
        assert_eq!(look(&file.join("below"), Ask::Patiently), Seen::Nothing);
    }

    #[test]
    fn of_what_a_process_leads_to_its_namespaces_alone_never_wait() {
        assert!(is_namespace_of_a_process(Path::new("/proc/12/ns/net")));
        for path in [
            "/proc/12/root/ns",
            "/proc/12/root/mnt/x",
            "/proc/12/ns",
            "/proc/12/ns/..",
            "/proc/12/ns/net/x",
            "proc/1/ns/net",
        ] {
            assert!(!is_namespace_of_a_process(Path::new(path)), "{path}");
        }
    }
}
