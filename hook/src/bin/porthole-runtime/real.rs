//! The real runtime: which one, and what is said when it cannot be executed.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use porthole_hook::sys;
use rustix::fs::{Access, access};

use crate::LOG;

/// Runtimes to look for where none is named, in this order.
const NAMES: [&str; 2] = ["runc", "crun"];

/// Where to look for one that is named without a directory, or not at all.
const DIRECTORIES: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Why there is no real runtime to become.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    status: u8,
}

impl Failure {
    /// The real runtime could not be executed: 127 where it is not there, 126 otherwise, as env(1) has it.
    pub(crate) fn of(real: &CStr, error: &io::Error) -> Self {
        let status = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
        let path = real.to_string_lossy();
        let remedy = "name the path of an OCI runtime with `--real`";
        Self { message: format!("execute the runtime {path}: {error}; {remedy}"), status }
    }

    fn missing(what: &str) -> Self {
        let message = format!(
            "{what} in {}; install an OCI runtime, or name its path with `--real`",
            DIRECTORIES.join(", ")
        );
        Self { message, status: 127 }
    }

    /// Says so where engines look for a runtime's reason to fail, and returns the status.
    pub(crate) fn told(&self) -> u8 {
        sys::without_sigpipe(|| LOG.to_stderr(&self.message));
        self.status
    }
}

/// The path of the real runtime.
pub(crate) fn path(named: Option<&OsStr>) -> Result<CString, Failure> {
    let Some(named) = named else {
        return NAMES.iter().find_map(|name| find(OsStr::new(name))).ok_or_else(|| {
            Failure::missing(&format!("no runtime is named, and none of {} is", NAMES.join(", ")))
        });
    };
    if !named.as_bytes().contains(&b'/') {
        let name = named.display();
        return find(named).ok_or_else(|| Failure::missing(&format!("the runtime {name} is not")));
    }
    // An argument has no NUL in it.
    CString::new(named.as_bytes()).map_err(|_| Failure::missing("the runtime is not"))
}

fn find(name: &OsStr) -> Option<CString> {
    let mut paths = DIRECTORIES.iter().map(|dir| Path::new(dir).join(name));
    let path = paths.find(|path| access(path, Access::EXEC_OK).is_ok())?;
    CString::new(path.into_os_string().as_bytes()).ok()
}
