//! Porthole's own image, out of reach of what it enters.
//!
//! Until execve, a process inside is porthole; and a target can make its command a script whose interpreter is
//! `/proc/self/exe`, which makes it porthole again, then write to that file (CVE-2019-5736). So before anything hostile
//! is entered, porthole executes itself again from a read-only mount that exists nowhere else: whoever opens that
//! image, opens it read-only.

use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{CWD, Mode, OFlags, StatVfsMountFlags, fstatvfs, openat};
use rustix::mount::{OpenTreeFlags, open_tree};

use super::error::{ExecError, Step};
use super::plan::Caller;
use crate::sys::{self, MountAttributes};

fn failed<E: Into<std::io::Error>>(what: &str) -> impl FnOnce(E) -> ExecError {
    Step::SealImage.failed(what)
}

/// Comes back when this process runs from an image nobody can write to; else starts over from one.
pub(crate) fn image(caller: &Caller) -> Result<(), ExecError> {
    let exe = openat(CWD, "/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("/proc/self/exe"))?;
    if fstatvfs(&exe).map_err(failed("/proc/self/exe"))?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(());
    }
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let clone = open_tree(&exe, "", flags).map_err(failed("a clone of its mount"))?;
    let set = libc::MOUNT_ATTR_RDONLY;
    sys::mount_setattr(
        clone.as_fd(),
        MountAttributes { set, propagation: libc::MS_PRIVATE, recursive: false },
    )
    .map_err(failed("read-only"))?;
    let terminated = |bytes: Vec<u8>| CString::new(bytes).map_err(failed("the arguments"));
    let arguments =
        sys::arguments().iter().map(|a| terminated(a.as_bytes().to_vec())).collect::<Result<Vec<_>, _>>()?;
    let variables =
        caller.variables.iter().map(|(n, v)| terminated([n.as_bytes(), b"=", v.as_bytes()].concat()));
    let variables = variables.collect::<Result<Vec<_>, _>>()?;
    Err(failed("execute it again")(sys::fexecve(clone.as_fd(), &arguments, &variables)))
}
