//! Real container engines on a node, of several versions, at the places where a machine has them.
//!
//! ```no_run
//! # use porthole_tests::engine::{Containerd, PodOptions};
//! # fn body(node: &porthole_tests::Node) {
//! let containerd = Containerd::start(node, "1.7");               // a prefix of the version; "2" is what sid has
//! let pod = containerd.run_pod("shop", "web-0", &PodOptions::default());
//! containerd.restart();                                          // /etc/init.d/containerd restart; pods live on
//! containerd.remove_pod(&pod);
//! # }                                                            // the guard's end stops the daemon
//! ```
//!
//! The first engine gives the node an `/etc`, `/opt`, `/usr` and `/var/lib` of its own ([`system`]): the machine's
//! below, and everything that is written in the node's memory. So `porthole install` may write where it wants to;
//! [`system::changes`] says what differs from the machine. The machine's own engines, their settings and their data are
//! not to be seen; of what `tests/lab/engines` has unpacked, the programs of the asked version are at `/usr/bin` and
//! `/usr/sbin`. Several engines can be on one node; of runc and crun the node has those of the engine started last.
//!
//! Daemons are started, stopped and restarted by `/etc/init.d/NAME`, as on a system without systemd. A test that ends
//! has to remove its containers; the node finds those that are left. In a test that has failed, nothing is cleaned up:
//! the end of the node's first process takes everything. Images, without a registry: [`BUSYBOX`] and [`PAUSE`].
//!
//! A test says `requires!(root, containerd)`, `podman` or `docker`.

use std::path::{Path, PathBuf};
use std::{env, fs};

pub mod bundled;
pub mod containerd;
pub mod cri;
pub mod docker;
pub mod podman;
pub mod pods;
pub mod service;
pub mod started;
pub mod system;

pub use containerd::Containerd;
pub use cri::Cri;
pub use docker::Docker;
pub use podman::{Podman, PodmanPod};
pub use pods::{Pod, PodContainer, PodOptions};
pub use service::Service;
pub use started::Started;

/// An image with a shell, whose command sleeps.
pub const BUSYBOX: &str = "localhost/busybox:1";

/// The image of sandboxes.
pub const PAUSE: &str = "localhost/pause:1";

/// The versions of containerd that there are.
pub const CONTAINERDS: [&str; 3] = ["1.6", "1.7", "2"];

/// The versions of podman that there are.
pub const PODMANS: [&str; 2] = ["4.3", "5.4"];

/// The versions of Docker that there are.
pub const DOCKERS: [&str; 2] = ["20.10", "26.1"];

/// Where `tests/lab/engines` puts what it makes.
#[must_use]
pub fn lab() -> PathBuf {
    env::var_os("PORTHOLE_LAB").unwrap_or_else(|| "/var/cache/porthole-lab".into()).into()
}

/// Every image, in one file.
#[must_use]
pub fn images() -> String {
    lab().join("images.tar").display().to_string()
}

/// A Debian release whose packages are unpacked.
#[derive(Clone, Debug)]
pub struct Release {
    dir: PathBuf,
    /// The exact version of the package it was asked for.
    pub version: String,
}

impl Release {
    /// The release that has `version`, or one that begins with it, of `package`.
    ///
    /// # Errors
    /// When there is none: what there is.
    pub fn with(package: &str, version: &str) -> Result<Self, String> {
        let mut there = Vec::new();
        for suite in ["bookworm", "trixie", "sid"] {
            let Some(found) = Self::of(lab().join(suite), package) else { continue };
            if found
                .version
                .strip_prefix(version)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            {
                return Ok(found);
            }
            there.push(found.version);
        }
        Err(format!("there is no {package} {version} below {}, only {there:?}", lab().display()))
    }

    fn of(dir: PathBuf, package: &str) -> Option<Self> {
        let versions = fs::read_to_string(dir.join("versions")).ok()?;
        let version = versions.lines().find_map(|line| line.strip_prefix(package)?.strip_prefix(' '))?;
        // Without what Debian adds.
        let version = version.split(['~', '+', '-']).next()?.to_owned();
        Some(Self { dir, version })
    }

    /// Another package of the same release.
    #[must_use]
    pub fn sibling(&self, package: &str) -> Option<Self> {
        Self::of(self.dir.clone(), package)
    }

    /// A file or a directory of its `/usr`.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.join("root").join(path.trim_start_matches('/'))
    }

    /// Major and minor number.
    #[must_use]
    pub fn number(&self) -> (u32, u32) {
        let mut parts = self.version.split('.').map(|part| part.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }
}

/// Whether everything that tests of `engine` use is there.
///
/// # Errors
/// What is missing.
pub fn probe(engine: &str) -> Result<(), String> {
    let versions: &[(&str, &[&str])] = match engine {
        "containerd" => &[("containerd", &CONTAINERDS)],
        "podman" => &[("podman", &PODMANS)],
        _ => &[("docker.io", &DOCKERS)],
    };
    for (package, versions) in versions {
        versions.iter().try_for_each(|version| Release::with(package, version).map(drop))?;
    }
    let files = ["images.tar", "cri.pb"].map(|name| lab().join(name));
    files
        .iter()
        .find(|file| !file.is_file())
        .map_or(Ok(()), |file| Err(format!("{} is missing", file.display())))
}

/// Writes a file and the directories above it.
pub(crate) fn write(path: &str, text: &str) {
    let parent = Path::new(path).parent().expect("an absolute path");
    fs::create_dir_all(parent).unwrap_or_else(|e| panic!("make {}: {e}", parent.display()));
    fs::write(path, text).unwrap_or_else(|e| panic!("write {path}: {e}"));
}
