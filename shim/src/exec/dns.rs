//! The pod's name resolution: which files take the place of the host's in the command's `/etc`.
//!
//! The command's user reads them, so only what everybody may read is shown. The host's are taken from directories
//! that root alone can write to, without following a link: what is at the path is what root put there.

mod host;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use porthole_registry::bounded::{self, Regular};
use porthole_registry::text;
use rustix::fs::{
    CWD, Dir, FileType, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, fstat, fstatfs, open, openat, openat2,
};
use rustix::io::Errno;
use serde::Serialize;

use super::Target;
use super::error::{ExecError, Step};
use super::impersonate::as_everybody;

/// No resolver file is larger; a hostile one is not read further.
const LIMIT: u64 = 1 << 20;
const FILES: [&str; 3] = ["resolv.conf", "hosts", "hostname"];
const NSSWITCH: &str = "nsswitch.conf";
const MINIMAL_HOSTS: &str = "127.0.0.1 localhost\n::1 localhost\n";
const MINIMAL_NSSWITCH: &str =
    "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\n";

/// Where the content of a file comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    /// `/etc/netns/NAME`, the administrator's word.
    NetnsDirectory,
    /// The file system of a living process.
    Process,
    /// A mount in the bundle's config.json.
    Bundle,
    /// The host's own, changed.
    HostEdited,
    /// The host's own, which is a link out of the view.
    HostLink,
    /// porthole's.
    Made,
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::NetnsDirectory => "/etc/netns",
            Self::Process => "the target's file system",
            Self::Bundle => "the container's bundle",
            Self::HostEdited => "the host's, with hosts: files dns",
            Self::HostLink => "the host's",
            Self::Made => "porthole: what every machine has",
        }
    }
}

/// One file of `/etc`, with the content it will have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Overlay {
    /// Its name below `/etc`.
    pub(crate) name: String,
    /// Where the content is from.
    pub(crate) source: Source,
    /// Where the host's link leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<PathBuf>,
    /// The content.
    #[serde(skip)]
    pub(crate) content: Vec<u8>,
}

/// What `/etc` will hold instead of the host's files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Dns {
    /// Files with their content.
    pub(crate) overlays: Vec<Overlay>,
    /// What could not be had, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
}

impl Dns {
    /// For a view without anybody's files: names of this machine, and the rest by DNS.
    pub(crate) fn made() -> Self {
        let mut dns = Self::default();
        dns.put("hosts", Source::Made, MINIMAL_HOSTS.into());
        dns.put(NSSWITCH, Source::Made, MINIMAL_NSSWITCH.into());
        dns
    }

    /// Reads everything now: what the target changes later does not matter.
    /// `of_host`: where the target has none to show, the host's file may be seen.
    pub(crate) fn resolve(target: &Target, of_host: bool) -> Result<Self, ExecError> {
        let mut dns = Self::default();
        dns.netns_directory(&target.pod)?;
        let root = match &target.process {
            Some(process) => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                match openat(&process.proc_dir, "root", flags, Mode::empty()) {
                    Ok(root) => Some(root),
                    Err(error) => {
                        dns.notes.push(format!("no resolver files of process {}: {error}", process.pid));
                        None
                    }
                }
            }
            None => None,
        };
        for name in FILES {
            if dns.has(name) {
                continue;
            }
            let found = match (&root, &target.bundle) {
                (Some(root), _) => Some((Source::Process, read_in(root.as_fd(), &format!("etc/{name}")))),
                (None, Some(bundle)) => {
                    from_bundle(bundle, name).map(|read| (Source::Bundle, read.map(Some)))
                }
                (None, None) => None,
            };
            match found {
                Some((source, Ok(Some(content)))) => dns.put(name, source, content),
                Some((_, Err(error))) => dns.notes.push(format!("/etc/{name} of the target: {error}")),
                Some((_, Ok(None))) | None => {}
            }
            if dns.has(name) {
                continue;
            }
            if of_host {
                dns.notes.push(host::stays(name));
            } else {
                dns.notes.push(format!("/etc/{name} is none of the host's: the target would see it"));
            }
        }
        if !of_host && !dns.has("hosts") {
            dns.put("hosts", Source::Made, MINIMAL_HOSTS.into());
        }
        if !dns.has(NSSWITCH) {
            let text = match open("/etc/nsswitch.conf", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
                Ok(file) => match read_public(&file) {
                    Ok(text) => files_and_dns(&String::from_utf8_lossy(&text)),
                    Err(error) => {
                        dns.notes.push(format!("/etc/nsswitch.conf of the host is left out: {error}"));
                        MINIMAL_NSSWITCH.to_owned()
                    }
                },
                Err(Errno::NOENT) => MINIMAL_NSSWITCH.to_owned(),
                Err(error) => return Err(Step::Dns.failed("/etc/nsswitch.conf")(error)),
            };
            dns.put(NSSWITCH, Source::HostEdited, text.into_bytes());
        }
        Ok(dns)
    }

    /// As iproute2 does for the name: each of its files takes the place of the host's.
    fn netns_directory(&mut self, pod: &str) -> Result<(), ExecError> {
        if pod.is_empty() {
            return Ok(());
        }
        let subject = || format!("/etc/netns/{pod}");
        let all = match roots_directory(Path::new("/etc/netns")) {
            Ok(Some(all)) => all,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                if std::fs::symlink_metadata(subject()).is_ok() {
                    self.notes.push(format!("{} is left out: {error}", subject()));
                }
                return Ok(());
            }
            Err(error) => return Err(Step::Dns.failed("/etc/netns")(error)),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let own = match openat2(&all, pod, flags, Mode::empty(), no_links()) {
            Ok(own) => own,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(Step::Dns.failed(subject())(error)),
        };
        // A directory that others may not search keeps from them what is in it, whatever the modes there.
        if let Err(error) = roots_alone(&own).and_then(|()| searchable(&all)).and_then(|()| searchable(&own))
        {
            self.notes.push(format!("{} is left out: {error}", subject()));
            return Ok(());
        }
        for entry in Dir::read_from(&own).map_err(Step::Dns.failed(subject()))? {
            let entry = entry.map_err(Step::Dns.failed(subject()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == "." || name == ".." {
                continue;
            }
            match open_below(&own, name.as_str()).and_then(|file| read_public(&file)) {
                Ok(content) => self.put(&name, Source::NetnsDirectory, content),
                Err(error) => self.notes.push(format!("/etc/netns/{pod}/{name} is left out: {error}")),
            }
        }
        Ok(())
    }

    fn has(&self, name: &str) -> bool {
        self.overlays.iter().any(|overlay| overlay.name == name)
    }

    fn put(&mut self, name: &str, source: Source, content: Vec<u8>) {
        self.overlays.push(Overlay { name: name.to_owned(), source, place: None, content });
    }

    /// For people, one line each.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let from = |o: &Overlay| match &o.place {
            Some(place) => format!("/etc/{} from {} {}", o.name, o.source.name(), place.display()),
            None => format!("/etc/{} from {}", o.name, o.source.name()),
        };
        let overlays = self.overlays.iter().map(from);
        overlays.chain(self.notes.iter().cloned()).map(|line| text::line(&line))
    }
}

/// Reads `path` as everybody in the root may, without leaving it. `None`: there is none. A mount namespace that a user of
/// the host has made has the host's directories in it, and links of theirs: root's rights would lead through those.
fn read_in(root: BorrowedFd<'_>, path: &str) -> io::Result<Option<Vec<u8>>> {
    // O_PATH opens nothing: a FIFO cannot hang it, a device is not touched.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    match as_everybody(|| openat2(root, path, flags, Mode::empty(), within))? {
        Ok(file) => read_public(&file).map(Some),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A regular file that everybody may read.
fn read_public(file: &OwnedFd) -> io::Result<Vec<u8>> {
    use std::os::fd::AsRawFd;
    let stat = fstat(file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(refused("not a regular file"));
    }
    // Reading has effects there: /proc/kmsg is empty afterwards, for everybody.
    if fstatfs(file)?.f_type == PROC_SUPER_MAGIC {
        return Err(refused("a file of the kernel's"));
    }
    if stat.st_mode & 0o004 == 0 {
        return Err(refused("not everybody may read it"));
    }
    let again = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    bounded::read(openat(CWD, again, flags, Mode::empty())?, LIMIT)
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

fn no_links() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS
}

fn open_below(directory: &OwnedFd, name: impl rustix::path::Arg) -> io::Result<OwnedFd> {
    match openat2(directory, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), no_links()) {
        Err(Errno::LOOP) => Err(refused("a symbolic link")),
        file => Ok(file?),
    }
}

/// A directory of the host, through none that anybody but root could have put something into. None: it is not there.
fn roots_directory(path: &Path) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut directory = open("/", flags, Mode::empty())?;
    let down = path.strip_prefix("/").map_err(|_| refused("not an absolute path"))?;
    for component in down.components() {
        let Component::Normal(name) = component else {
            return Err(refused("not a path that leads down alone"));
        };
        roots_alone(&directory)?;
        directory = match openat(&directory, name, flags, Mode::empty()) {
            Ok(next) => next,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::NOTDIR) => return Err(refused(&format!("{} is a link on the way", name.display()))),
            Err(error) => return Err(error.into()),
        };
    }
    roots_alone(&directory)?;
    Ok(Some(directory))
}

fn roots_alone(directory: &OwnedFd) -> io::Result<()> {
    let stat = fstat(directory)?;
    if stat.st_uid == 0 && stat.st_mode & 0o022 == 0 {
        return Ok(());
    }
    Err(refused("others than root can write to a directory on the way"))
}

fn searchable(directory: &OwnedFd) -> io::Result<()> {
    if fstat(directory)?.st_mode & 0o001 == 0 {
        return Err(refused("others than root may not look into its directory"));
    }
    Ok(())
}

/// The source of the mount the engine made for `/etc/NAME`, or the file that it keeps in the bundle, which outlives the container's processes.
fn from_bundle(bundle: &Path, name: &str) -> Option<io::Result<Vec<u8>>> {
    let config = match Regular::open(CWD, &bundle.join("config.json"), OFlags::empty()) {
        Ok(config) => config,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return Some(Err(error)),
    };
    let text = match config.read(16 * LIMIT) {
        Ok(text) => text,
        Err(error) => return Some(Err(error)),
    };
    // CRI-O keeps those of a sandbox beside its configuration, where no process needs a mount of them.
    let source = mount_source(&text, name).map_or_else(|| bundle.join(name), |source| bundle.join(source));
    read_roots(&source).transpose()
}

/// Engines keep these files where others cannot look, with modes that let everybody in their containers read them.
fn read_roots(source: &Path) -> io::Result<Option<Vec<u8>>> {
    // Every system has this link, and engines name what is behind it by it.
    let source = source
        .strip_prefix("/var/run")
        .map_or_else(|_| source.to_owned(), |rest| Path::new("/run").join(rest));
    let (Some(parent), Some(name)) = (source.parent(), source.file_name()) else {
        return Err(refused("not a regular file"));
    };
    let Some(directory) = roots_directory(parent)? else { return Ok(None) };
    match open_below(&directory, name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => read_public(&file?).map(Some),
    }
}

fn mount_source(config: &[u8], name: &str) -> Option<PathBuf> {
    #[derive(serde::Deserialize)]
    struct Config {
        #[serde(default)]
        mounts: Vec<Mount>,
    }
    #[derive(serde::Deserialize)]
    struct Mount {
        destination: PathBuf,
        source: Option<PathBuf>,
    }
    let config: Config = serde_json::from_slice(config).ok()?;
    let destination = Path::new("/etc").join(name);
    config.mounts.into_iter().rev().find(|mount| mount.destination == destination)?.source
}

/// The host's switch with one line changed: anything else on its `hosts` line would ask the host, not the pod.
fn files_and_dns(host: &str) -> String {
    let is_hosts = |line: &str| {
        line.trim_start().strip_prefix("hosts").is_some_and(|rest| rest.trim_start().starts_with(':'))
    };
    let mut text = String::with_capacity(host.len() + 20);
    for line in host.lines().filter(|line| !is_hosts(line)) {
        text.push_str(line);
        text.push('\n');
    }
    text.push_str("hosts: files dns\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_line_asks_files_and_dns_and_the_other_lines_stay() {
        let host = "# hosts: a comment\npasswd: files systemd\nhosts:\t mymachines resolve [!UNAVAIL=return] files\nhosts :x\nnetworks: files";
        assert_eq!(
            files_and_dns(host),
            "# hosts: a comment\npasswd: files systemd\nnetworks: files\nhosts: files dns\n"
        );
        assert_eq!(files_and_dns(""), "hosts: files dns\n");
    }

    #[test]
    fn the_last_mount_over_a_file_is_the_one_that_counts() {
        let config = br#"{"x":1,"mounts":[{"destination":"/etc/hosts","source":"/a"},{"destination":"/etc/hosts","source":"b"},{"destination":"/proc"}]}"#;
        assert_eq!(mount_source(config, "hosts"), Some("b".into()));
        assert_eq!(mount_source(config, "resolv.conf"), None);
        assert_eq!(mount_source(b"{", "hosts"), None);
    }

    #[test]
    fn links_do_not_lead_out_of_the_targets_root() {
        let dir = tempfile("links");
        std::fs::create_dir_all(dir.join("etc")).unwrap();
        std::os::unix::fs::symlink("../../../../../../etc/passwd", dir.join("etc/hosts")).unwrap();
        std::os::unix::fs::symlink("/etc/real", dir.join("etc/resolv.conf")).unwrap();
        std::fs::write(dir.join("etc/real"), "nameserver 10.0.0.1\n").unwrap();
        let root = open(&dir, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        assert!(read_in(root.as_fd(), "etc/hosts").unwrap().is_none());
        assert_eq!(read_in(root.as_fd(), "etc/resolv.conf").unwrap().unwrap(), b"nameserver 10.0.0.1\n");
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_is_not_a_regular_file_or_is_too_large_is_not_read() {
        let dir = tempfile("kinds");
        std::fs::create_dir_all(dir.join("etc/hosts")).unwrap();
        let root = open(&dir, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        assert!(read_in(root.as_fd(), "etc/hosts").is_err());
        use std::fs::File;
        File::create(dir.join("etc/big")).unwrap().set_len(LIMIT + 1).unwrap();
        assert!(read_in(root.as_fd(), "etc/big").is_err());
        File::create(dir.join("etc/fits")).unwrap().set_len(LIMIT).unwrap();
        assert!(read_in(root.as_fd(), "etc/fits").is_ok());
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn only_what_everybody_may_read_and_root_put_there_is_shown() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = tempfile("public");
        let mode = |name: &str, mode| {
            std::fs::set_permissions(dir.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        std::fs::write(dir.join("file"), "content").unwrap();
        symlink("file", dir.join("link")).unwrap();
        let at = |name: &str| {
            let directory = open(&dir, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
            open_below(&directory, name)
                .and_then(|file| read_public(&file))
                .map_err(|error| error.to_string())
        };
        for (bits, shown) in [(0o644, true), (0o444, true), (0o640, false), (0o600, false), (0o622, false)] {
            mode("file", bits);
            assert_eq!(at("file").is_ok(), shown, "{bits:o}: {:?}", at("file"));
        }
        mode("file", 0o644);
        assert_eq!(at("link").unwrap_err(), "a symbolic link");
        assert!(at("../file").is_err() && at(".").is_err());
        // Everybody can put something into the directory that this one is in.
        let error = read_roots(&dir.join("file")).unwrap_err().to_string();
        assert_eq!(error, "others than root can write to a directory on the way");
        assert!(
            read_roots(Path::new("relative")).is_err()
                && read_roots(Path::new("/etc/../etc/passwd")).is_err()
        );
        assert!(read_roots(Path::new("/etc/passwd")).unwrap().is_some());
        assert!(read_roots(Path::new("/nowhere/at/all")).unwrap().is_none());
        assert_eq!(
            read_roots(Path::new("/etc/shadow")).unwrap_err().to_string(),
            "not everybody may read it"
        );
        assert!(read_roots(Path::new("/proc/self/status")).is_err());
        std::fs::remove_dir_all(dir).unwrap();
    }

    fn tempfile(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("porthole-dns-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }
}
