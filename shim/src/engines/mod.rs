//! The engines of a node: their names, and the daemons that run. Install, doctor and reconcile ask the process that runs
//! where its files are; a default path is for engines that do not run.

pub(crate) mod command_line;
pub(crate) mod crio;
pub(crate) mod daemon;
pub(crate) mod monitor;
pub(crate) mod running;
pub(crate) mod settings;
pub(crate) mod state;
pub(crate) mod views;

use serde::{Deserialize, Serialize};

/// An engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EngineName {
    /// containerd, as Kubernetes uses it.
    Containerd,
    /// CRI-O.
    CriO,
    /// podman.
    Podman,
    /// Docker.
    Docker,
}

impl EngineName {
    pub(crate) const ALL: [Self; 4] = [Self::Containerd, Self::CriO, Self::Podman, Self::Docker];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Podman => "podman",
            Self::Docker => "docker",
        }
    }

    /// The name of its daemon, of the unit that starts it and of its program.
    pub(crate) const fn daemon(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::CriO => "crio",
            Self::Podman => "podman",
            Self::Docker => "dockerd",
        }
    }

    /// Whether it has a daemon. podman has none that matters here.
    pub(crate) const fn has_daemon(self) -> bool {
        !matches!(self, Self::Podman)
    }

    /// Where its main configuration is, unless the operator says otherwise.
    pub(crate) const fn default_config(self) -> &'static str {
        match self {
            Self::Containerd => "/etc/containerd/config.toml",
            Self::CriO => "/etc/crio/crio.conf",
            Self::Podman => "/etc/containers/containers.conf",
            Self::Docker => "/etc/docker/daemon.json",
        }
    }
}

impl std::fmt::Display for EngineName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Major and minor version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Version {
    /// The first number with a dot in a text, as every engine answers to `--version`.
    pub(crate) fn find(text: &str) -> Option<Self> {
        let words = text.split(|c: char| !c.is_ascii_digit() && c != '.');
        words.into_iter().find_map(|word| {
            let (major, rest) = word.split_once('.')?;
            let minor = rest.split('.').next()?;
            Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_in_what_engines_say() {
        for (text, major, minor) in [
            ("containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u1", 1, 6),
            ("containerd github.com/containerd/containerd/v2 v2.1.9 1c4457e0", 2, 1),
            ("containerd containerd.io 1.7.24 88bf19b", 1, 7),
            ("Docker version 26.1.5+dfsg1, build 411e817", 26, 1),
            ("podman version 4.3.1", 4, 3),
            ("crio version 1.36.0", 1, 36),
        ] {
            assert_eq!(Version::find(text), Some(Version { major, minor }), "{text}");
        }
        assert_eq!(Version::find("no version"), None);
    }
}
