//! The pod's name resolution: which files take the place of the host's in the command's `/etc`.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    CWD, Dir, FileType, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, fstat, fstatfs, open, openat, openat2,
};
use rustix::io::Errno;
use serde::Serialize;

use super::Target;
use super::error::{ExecError, Step};

/// No resolver file is larger; a hostile one is not read further.
const LIMIT: u64 = 1 << 20;
const FILES: [&str; 3] = ["resolv.conf", "hosts", "hostname"];
const NSSWITCH: &str = "nsswitch.conf";
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
            Self::Made => "porthole: root, nobody and the command's user",
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
    /// Reads everything now: what the target changes later does not matter.
    pub(crate) fn resolve(target: &Target) -> Result<Self, ExecError> {
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
                (None, Some(bundle)) => from_bundle(bundle, name).map(|read| (Source::Bundle, read)),
                (None, None) => None,
            };
            match found {
                Some((source, Ok(Some(content)))) => dns.put(name, source, content),
                Some((_, Err(error))) => dns.notes.push(format!("/etc/{name} of the target: {error}")),
                Some((_, Ok(None))) | None => {}
            }
            if !dns.has(name) {
                dns.notes.push(format!("/etc/{name} stays the host's: the target has none to show"));
            }
        }
        if !dns.has(NSSWITCH) {
            let host = match std::fs::read("/etc/nsswitch.conf") {
                Ok(text) => Some(text),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(Step::Dns.failed("/etc/nsswitch.conf")(error)),
            };
            let text = host.map_or_else(
                || MINIMAL_NSSWITCH.into(),
                |text| files_and_dns(&String::from_utf8_lossy(&text)),
            );
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
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let all = match open("/etc/netns", directory | OFlags::PATH, Mode::empty()) {
            Ok(all) => all,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(Step::Dns.failed("/etc/netns")(error)),
        };
        let own = match openat2(&all, pod, directory, Mode::empty(), beneath) {
            Ok(own) => own,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(Step::Dns.failed(subject())(error)),
        };
        for entry in Dir::read_from(&own).map_err(Step::Dns.failed(subject()))? {
            let entry = entry.map_err(Step::Dns.failed(subject()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == "." || name == ".." {
                continue;
            }
            let file = openat(&own, name.as_str(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
            match file.map_err(io::Error::from).and_then(|file| read_regular(&file)) {
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
        self.overlays.push(Overlay { name: name.to_owned(), source, content });
    }

    /// For people, one line each.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        let overlays = self.overlays.iter().map(|o| format!("/etc/{} from {}", o.name, o.source.name()));
        overlays.chain(self.notes.iter().cloned())
    }
}

/// Reads `path` as the process whose root this is would, without leaving that root. `None`: there is none.
fn read_in(root: BorrowedFd<'_>, path: &str) -> io::Result<Option<Vec<u8>>> {
    // O_PATH opens nothing: a FIFO cannot hang it, a device is not touched.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    match openat2(root, path, flags, Mode::empty(), within) {
        Ok(file) => read_regular(&file).map(Some),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn read_regular(file: &OwnedFd) -> io::Result<Vec<u8>> {
    use std::os::fd::AsRawFd;
    if FileType::from_raw_mode(fstat(file)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    // Reading has effects there: /proc/kmsg is empty afterwards, for everybody.
    if fstatfs(file)?.f_type == PROC_SUPER_MAGIC {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a file of the kernel's"));
    }
    let again = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let open = openat(CWD, again, flags, Mode::empty())?;
    let mut content = Vec::new();
    File::from(open).take(LIMIT + 1).read_to_end(&mut content)?;
    if content.len() as u64 > LIMIT {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB"));
    }
    Ok(content)
}

/// The source of the mount the engine made for `/etc/NAME`, which outlives the container's processes.
fn from_bundle(bundle: &Path, name: &str) -> Option<io::Result<Option<Vec<u8>>>> {
    let config = match File::open(bundle.join("config.json")) {
        Ok(config) => config,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return Some(Err(error)),
    };
    let mut text = Vec::new();
    if let Err(error) = config.take(16 * LIMIT).read_to_end(&mut text) {
        return Some(Err(error));
    }
    let source = mount_source(&text, name)?;
    let source = if source.is_absolute() { source } else { bundle.join(source) };
    let file = open(&source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    match file {
        Ok(file) => Some(read_regular(&file).map(Some)),
        Err(Errno::NOENT) => None,
        Err(error) => Some(Err(error.into())),
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
        File::create(dir.join("etc/big")).unwrap().set_len(LIMIT + 1).unwrap();
        assert!(read_in(root.as_fd(), "etc/big").is_err());
        File::create(dir.join("etc/fits")).unwrap().set_len(LIMIT).unwrap();
        assert!(read_in(root.as_fd(), "etc/fits").is_ok());
        std::fs::remove_dir_all(dir).unwrap();
    }

    fn tempfile(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("porthole-dns-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }
}
