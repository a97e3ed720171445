//! Pods as engines make them: a sandbox process with a network namespace, and the engine's own pin of it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::mount::{UnmountFlags, mount_bind, unmount};

use crate::process::Sleeper;

/// What a network namespace is, to the kernel: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Netns {
    /// Device of nsfs.
    pub dev: u64,
    /// Inode of the namespace.
    pub ino: u64,
}

impl Netns {
    /// The namespace behind `path`: a pin or a `/proc/PID/ns/net`.
    #[must_use]
    pub fn at(path: impl AsRef<Path>) -> Option<Self> {
        let meta = fs::metadata(path).ok()?;
        Some(Self { dev: meta.dev(), ino: meta.ino() })
    }

    /// The namespace of a process.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        Self::at(format!("/proc/{pid}/ns/net"))
    }
}

/// The sandbox (pause) process of a pod.
#[derive(Debug)]
pub struct Sandbox {
    sleeper: Sleeper,
}

impl Sandbox {
    /// A sandbox with network, ipc and uts namespaces of its own.
    #[must_use]
    pub fn start() -> Self {
        Self { sleeper: Sleeper::unshared(&["--net", "--ipc", "--uts"]) }
    }

    /// A sandbox on the node's own network.
    #[must_use]
    pub fn on_host_network() -> Self {
        Self { sleeper: Sleeper::unshared(&["--ipc", "--uts"]) }
    }

    /// Pid of the process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.sleeper.pid()
    }

    /// The path containerd writes into the configs of the pod's containers.
    #[must_use]
    pub fn netns_path(&self) -> String {
        format!("/proc/{}/ns/net", self.pid())
    }

    /// The pod's network namespace.
    #[must_use]
    pub fn netns(&self) -> Netns {
        Netns::of(self.pid()).expect("the sandbox lives")
    }

    /// The pod is gone, as far as its sandbox is concerned.
    pub fn end(self) {
        self.sleeper.end();
    }
}

/// A bind mount of a network namespace made by "the engine".
#[derive(Debug)]
pub struct EnginePin {
    path: PathBuf,
}

impl EnginePin {
    /// Mounts the namespace of `pid` at `path`.
    #[must_use]
    pub fn mount(pid: u32, path: &str) -> Self {
        let path = PathBuf::from(path);
        fs::create_dir_all(path.parent().expect("an absolute path")).expect("make the engine's directory");
        fs::write(&path, "").expect("make the engine's pin");
        mount_bind(format!("/proc/{pid}/ns/net"), &path).expect("mount the engine's pin");
        Self { path }
    }

    /// A pin of a new network namespace that no process is in.
    #[must_use]
    pub fn new_netns(path: &str) -> Self {
        let sandbox = Sandbox::start();
        Self::mount(sandbox.pid(), path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &str {
        self.path.to_str().expect("an ASCII path")
    }

    /// The namespace it holds.
    #[must_use]
    pub fn netns(&self) -> Netns {
        Netns::at(&self.path).expect("the pin is there")
    }

    /// Takes it away, as an engine does at the end of a pod.
    pub fn remove(self) {
        drop(self);
    }
}

impl Drop for EnginePin {
    fn drop(&mut self) {
        // Both fail only when the test has removed it already.
        let _ = unmount(&self.path, UnmountFlags::DETACH);
        drop(fs::remove_file(&self.path));
    }
}
