//! A file system that no longer answers.

use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mknodat, open};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// A FUSE file system whose server never answers, until it is dropped.
#[derive(Debug)]
pub struct Hung {
    path: PathBuf,
    /// The kernel's requests come here, and nobody reads them.
    _server: OwnedFd,
}

impl Hung {
    /// Mounts it at a new directory.
    #[must_use]
    pub fn mount(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let device = Path::new("/mnt/fuse-device");
        if !device.exists() {
            let mode = Mode::RUSR | Mode::WUSR;
            mknodat(CWD, device, FileType::CharacterDevice, mode, makedev(10, 229)).expect("make a device");
        }
        let server =
            open(device, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).expect("open the FUSE device");
        fs::create_dir_all(&path).expect("make a mount point");
        let data = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
        let data = CString::new(data).expect("no NUL");
        mount("hung", &path, "fuse", MountFlags::empty(), data.as_c_str()).expect("mount a FUSE file system");
        Self { path, _server: server }
    }

    /// A file on it. A process that looks at it waits.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        // A process that still waits gets an error when the server's end is closed.
        let _ = unmount(&self.path, UnmountFlags::DETACH);
    }
}
