//! A look at a path that may be on a file system that does not answer.
//!
//! An operator chooses the path of a network namespace, and the look is made with the lock held: a look that does not
//! return would hold up every container of the node. The kernel answers from its cache without a wait. For the rest,
//! another process looks, and has a moment to answer.

use crate::bounded;
use crate::deadline::Deadline;
use crate::namespace::NamespaceId;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{self, AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
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

/// Whether `path` leads to the namespace with this identity, as far as its file system says so in a moment.
pub fn is_at(path: &Path, id: NamespaceId) -> bool {
    look(path, Ask::Patiently) == Seen::Inode(id)
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

/// The word that [`answer`] goes by.
const QUESTION: &str = "__look";

/// Asks another process, and waits for a moment. A file system that has taken the request and does not answer holds who
/// has asked until it does, SIGKILL or not: a thread would hold this process.
fn patiently(path: &Path) -> Seen {
    let mut ask = Command::new("/proc/self/exe");
    ask.arg(QUESTION).arg(path).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let Ok(mut asked) = ask.spawn() else { return Seen::Silence };
    let Some(from) = asked.stdout.take() else { return Seen::Silence };
    let until = Deadline::after(PATIENCE);
    while !matches!(poll(&mut [PollFd::new(&from, PollFlags::IN)], Some(&until.timespec())), Ok(1..)) {
        if until.passed() {
            return Seen::Silence;
        }
    }
    let answer = bounded::read(&from, bounded::FACTS);
    // It has answered, so it ends.
    let _ = asked.wait();
    let answer = answer.ok().and_then(|answer| parse(str::from_utf8(&answer).ok()?));
    answer.unwrap_or(Seen::Silence)
}

/// The answer of a program that was started by [`look`], which it prints before it does anything else; none for a program
/// that was started for something else. `arguments` are its own, its name first.
pub fn answer(arguments: &[OsString]) -> Option<String> {
    match arguments {
        [_, question, path] if question == QUESTION => Some(match directly(Path::new(path)) {
            Seen::Inode(id) => format!("{} {}\n", id.dev, id.ino),
            Seen::Nothing | Seen::Silence => "-\n".to_owned(),
        }),
        _ => None,
    }
}

fn parse(answer: &str) -> Option<Seen> {
    if answer == "-\n" {
        return Some(Seen::Nothing);
    }
    let (dev, ino) = answer.strip_suffix('\n')?.split_once(' ')?;
    Some(Seen::Inode(NamespaceId { dev: dev.parse().ok()?, ino: ino.parse().ok()? }))
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
        assert_eq!(look(Path::new("/proc/4194305/ns/net"), Ask::Quickly), Seen::Nothing);
        assert_eq!(look(&dir.path().join("link"), Ask::Quickly), directly(&file));
        assert_eq!(look(Path::new("/run/porthole-none/none"), Ask::Quickly), Seen::Nothing);
    }

    #[test]
    fn what_another_process_has_seen_is_understood() {
        let dir = tempfile::tempdir().unwrap();
        let ask = |path: &Path| answer(&["porthole".into(), QUESTION.into(), path.into()]).unwrap();
        assert_eq!(parse(&ask(dir.path())), Some(directly(dir.path())));
        assert_eq!(parse(&ask(&dir.path().join("none"))), Some(Seen::Nothing));
        for none in ["", "1 2", "1\n", "x y\n", "running 0 tests\n"] {
            assert_eq!(parse(none), None, "{none}");
        }
        assert_eq!(answer(&["porthole".into(), "list".into()]), None);
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
