//! A file system that no longer answers.

use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mknodat, open};
use rustix::io::{read, write};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// A FUSE file system whose server never answers, until it is dropped.
#[derive(Debug)]
pub struct Hung {
    path: PathBuf,
    /// The kernel's requests come here, and nobody reads them.
    _server: Option<OwnedFd>,
    taker: Option<Taker>,
}

/// What reads the requests.
#[derive(Debug)]
struct Taker {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Hung {
    /// Mounts it at a new directory.
    #[must_use]
    pub fn mount(path: impl Into<PathBuf>) -> Self {
        let (path, server) = Self::mounted(path.into());
        Self { path, _server: Some(server), taker: None }
    }

    /// The same with a server that takes every request: SIGKILL does not end a process that waits for the answer.
    #[must_use]
    pub fn taking(path: impl Into<PathBuf>) -> Self {
        let (path, server) = Self::mounted(path.into());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || take(&server, &stopped));
        Self { path, _server: None, taker: Some(Taker { stop, thread }) }
    }

    fn mounted(path: PathBuf) -> (PathBuf, OwnedFd) {
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
        (path, server)
    }

    /// A file on it. A process that looks at it waits.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// Reads requests, and answers only the first one, without which the kernel sends no other: `struct fuse_in_header`,
/// `fuse_out_header` and `fuse_init_out` of linux/fuse.h.
fn take(server: &OwnedFd, stop: &AtomicBool) {
    let mut request = vec![0; 1 << 17];
    while !stop.load(Ordering::Relaxed) {
        let moment = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        if poll(&mut [PollFd::new(server, PollFlags::IN)], Some(&moment)) != Ok(1) {
            continue;
        }
        let Ok(length) = read(server, &mut request) else { continue };
        if length >= 40 && request[4..8] == 26_u32.to_ne_bytes() {
            let mut reply = [0_u8; 80];
            reply[..4].copy_from_slice(&80_u32.to_ne_bytes());
            reply[8..16].copy_from_slice(&request[8..16]);
            // Version 7.31 of the protocol, and room for one page.
            for (at, value) in [(16, 7_u32), (20, 31), (36, 4096)] {
                reply[at..at + 4].copy_from_slice(&value.to_ne_bytes());
            }
            write(server, &reply).expect("answer FUSE_INIT");
        }
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        if let Some(Taker { stop, thread }) = self.taker.take() {
            stop.store(true, Ordering::Relaxed);
            let _ = thread.join();
        }
        // A process that still waits gets an error when the server's end is closed.
        let _ = unmount(&self.path, UnmountFlags::DETACH);
    }
}
