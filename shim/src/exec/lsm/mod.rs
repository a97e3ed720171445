//! The security module's context of the command: SELinux, AppArmor. Decided from what the kernel says of itself, so
//! that no library of theirs is needed; written by the process that becomes the command, and read back.

mod apparmor;
mod selinux;

use std::fmt;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, pread, read, write};
use serde::Serialize;

use super::Target;
use super::args::Request;
use super::capabilities::Base;
use super::error::{ExecError, Step};

/// The context that the command gets, as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "module")]
pub(crate) enum Context {
    /// No security module that confines is active; why that is known.
    None {
        /// What was looked at.
        reason: String,
    },
    /// That of the caller, unchanged.
    Callers {
        /// As the kernel names it.
        label: String,
    },
    /// An SELinux context, by its whole name.
    Selinux {
        /// `user:role:type:level`
        context: String,
        /// Whether the kernel enforces it, or only logs what it would have denied.
        enforcing: bool,
    },
    /// An AppArmor profile.
    Apparmor {
        /// Its name.
        profile: String,
        /// Added to the caller's own, which is no less confined: under no_new_privs the kernel lets nobody leave that.
        stacked: bool,
    },
}

impl Context {
    /// What the system and the target ask for.
    pub(crate) fn resolve(request: &Request, target: &Target) -> Result<Self, ExecError> {
        let current = match own("current") {
            Ok(current) => current,
            // What a kernel says that has no module to ask.
            Err(Errno::INVAL | Errno::NOENT) => return nothing_active(request),
            Err(error) => return Err(Step::Context.failed("/proc/thread-self/attr/current")(error)),
        };
        let selinux = selinux::mode()?;
        let apparmor = selinux.is_none() && crate::lsm::is_apparmor_active();
        if request.profile.base == Base::Sysadmin && !request.follow_context {
            return Ok(Self::Callers { label: current });
        }
        match selinux {
            Some(mode) => selinux::resolve(request, target, &current, mode),
            None if apparmor => apparmor::resolve(request, target, &current),
            None if selinux::is_label(&current) => Err(Step::Context.refused(
                format!("SELinux is active, and {} shows nothing of it", selinux::ROOT),
                "mount -t selinuxfs selinuxfs /sys/fs/selinux, or run porthole outside this container",
            )),
            None if request.follow_context => nothing_active(request),
            None => Ok(Self::None {
                reason: "the active security module is neither SELinux nor AppArmor".to_owned(),
            }),
        }
    }

    /// Opens what is needed to apply it, while `/proc` is the host's. Only the process that opens it can write to it.
    pub(crate) fn open(&self) -> Result<Door, ExecError> {
        let places = match self {
            Self::None { .. } | Self::Callers { .. } => return Ok(Door(None)),
            Self::Selinux { .. } => &["exec"][..],
            Self::Apparmor { .. } => &apparmor::PLACES,
        };
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        for place in places {
            match openat(CWD, format!("/proc/thread-self/attr/{place}"), flags, Mode::empty()) {
                Ok(door) => return Ok(Door(Some(door))),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(Step::Context.failed(format!("attr/{place}"))(error)),
            }
        }
        Err(Step::Context.failed("/proc/thread-self/attr")(Errno::NOENT))
    }

    /// Whether the command is in another context than porthole.
    pub(crate) fn changes(&self) -> bool {
        self.request().is_some()
    }

    /// What the kernel is told, in one write: it takes no second one as the rest of the first.
    fn request(&self) -> Option<String> {
        match self {
            Self::None { .. } | Self::Callers { .. } => None,
            Self::Selinux { context, .. } => Some(context.clone()),
            Self::Apparmor { profile, stacked: false } => Some(format!("exec {profile}")),
            Self::Apparmor { profile, stacked: true } => Some(format!("stack {profile}")),
        }
    }

    /// Whether this is what was asked for, as the kernel writes it.
    fn reads_as(&self, label: &str) -> bool {
        match self {
            Self::None { .. } | Self::Callers { .. } => true,
            Self::Selinux { context, .. } => context == label,
            Self::Apparmor { profile, .. } => apparmor::has(label, profile),
        }
    }

    /// What an execve that failed means: where nothing else forbids to execute the file, it was the context.
    /// `permitted` tells that.
    pub(crate) fn blame(&self, error: ExecError, permitted: impl FnOnce() -> bool) -> ExecError {
        match &error {
            ExecError::NotExecutable { command, source } if self.denies(source) && permitted() => {
                self.denied(command, source)
            }
            _ => error,
        }
    }

    /// The same for porthole's own image, which has to be the first that is executed into the context where the command is
    /// born in another pid namespace.
    pub(crate) fn blame_launch(&self, source: std::io::Error) -> ExecError {
        if self.denies(&source) {
            return self.denied("porthole's own image", &source);
        }
        Step::Launch.failed("porthole's own image")(source)
    }

    fn denies(&self, source: &std::io::Error) -> bool {
        source.kind() == ErrorKind::PermissionDenied && self.changes()
    }

    fn denied(&self, program: &str, source: &std::io::Error) -> ExecError {
        let remedy = match self {
            Self::Selinux { .. } => selinux::EXEC_REMEDY,
            _ => apparmor::EXEC_REMEDY,
        };
        Step::Context.refused(format!("{self}: {program} may not be executed into it: {source}"), remedy)
    }
}

fn nothing_active(request: &Request) -> Result<Context, ExecError> {
    if request.follow_context {
        return Err(Step::Context.refused(
            "-Z: neither SELinux nor AppArmor is active, so the target has no context to follow",
            "leave out -Z",
        ));
    }
    Ok(Context::None { reason: "neither SELinux nor AppArmor is active".to_owned() })
}

/// An attribute of this thread.
fn own(name: &str) -> Result<String, Errno> {
    attribute(CWD, &format!("/proc/thread-self/attr/{name}"))
}

fn attribute(directory: impl std::os::fd::AsFd, path: &str) -> Result<String, Errno> {
    let file = openat(directory, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    // A page is all the kernel ever gives.
    let mut buffer = [0; 4096];
    let length = read(&file, &mut buffer)?;
    Ok(text(buffer.get(..length).unwrap_or_default()))
}

/// Without the end of line or of string that one module or the other writes.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches(['\0', '\n']).to_owned()
}

/// Where an installation has a file of `config/`.
fn installed(name: &str) -> String {
    let beside = || Some(std::env::current_exe().ok()?.parent()?.parent()?.join("share/porthole").join(name));
    let there = beside().filter(|path| path.exists());
    there.unwrap_or_else(|| PathBuf::from("/usr/share/porthole").join(name)).display().to_string()
}

/// The place to which the context is written.
#[derive(Debug)]
pub(crate) struct Door(Option<OwnedFd>);

impl Door {
    /// Has the next execve enter the context.
    pub(crate) fn apply(&self, context: &Context) -> Result<(), ExecError> {
        let (Some(door), Some(request)) = (&self.0, context.request()) else { return Ok(()) };
        let written = write(door, request.as_bytes()).map_err(|error| match context {
            Context::Selinux { .. } => selinux::refused(&context.to_string(), error),
            _ => apparmor::refused(&context.to_string(), error),
        })?;
        let mut buffer = [0; 4096];
        let length = pread(door, &mut buffer, 0).map_err(Step::Context.failed("read back"))?;
        let label = text(buffer.get(..length).unwrap_or_default());
        if written != request.len() || !context.reads_as(&label) {
            return Err(
                Step::Context.refused(format!("{context} reads back as {label:?}"), "nothing was run")
            );
        }
        Ok(())
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None { reason } => write!(f, "none: {reason}"),
            Self::Callers { label } => write!(f, "the caller's own: {label}"),
            Self::Selinux { context, enforcing: true } => write!(f, "SELinux {context}"),
            Self::Selinux { context, enforcing: false } => {
                write!(f, "SELinux {context} (permissive: denials are logged, nothing is denied)")
            }
            Self::Apparmor { profile, stacked: false } => write!(f, "AppArmor {profile}"),
            Self::Apparmor { profile, stacked: true } => {
                write!(f, "AppArmor {profile}, on top of the caller's own")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selinux() -> Context {
        Context::Selinux { context: "system_u:system_r:porthole_debug_t:s0:c1,c2".into(), enforcing: true }
    }

    fn not_executable(errno: i32) -> ExecError {
        let source = std::io::Error::from_raw_os_error(errno);
        ExecError::NotExecutable { command: "dig".into(), source }
    }

    #[test]
    fn an_execve_that_the_file_permits_was_refused_by_the_context() {
        for errno in [libc::EACCES, libc::EPERM] {
            let report = selinux().blame(not_executable(errno), || true).report();
            assert_eq!((report.code.as_str(), report.status), ("security_context", 125));
            assert!(
                report.message.contains("porthole_debug_t") && report.message.contains("dig"),
                "{report:?}"
            );
        }
    }

    #[test]
    fn an_execve_that_fails_for_other_reasons_is_not_blamed_on_the_context() {
        assert_eq!(selinux().blame(not_executable(libc::EACCES), || false).status(), 126);
        assert_eq!(selinux().blame(not_executable(libc::ENOEXEC), || true).status(), 126);
        let none = Context::None { reason: String::new() };
        assert_eq!(none.blame(not_executable(libc::EACCES), || true).status(), 126);
    }

    #[test]
    fn what_reads_back_is_compared_whole() {
        assert!(selinux().reads_as("system_u:system_r:porthole_debug_t:s0:c1,c2"));
        assert!(!selinux().reads_as("system_u:system_r:porthole_debug_t:s0:c1"));
        let profile = Context::Apparmor { profile: "porthole-debug".into(), stacked: false };
        assert!(profile.reads_as("porthole-debug (enforce)"));
        assert!(!profile.reads_as("porthole-debug-2 (enforce)"));
        assert!(!profile.reads_as(""));
    }

    #[test]
    fn a_context_of_one_s_own_writes_nothing() {
        let callers = Context::Callers { label: "unconfined".into() };
        assert_eq!(callers.request(), None);
        assert!(callers.open().unwrap().apply(&callers).is_ok());
    }

    #[test]
    fn the_ends_that_kernels_write_are_no_part_of_a_label() {
        assert_eq!(text(b"system_u:system_r:init_t:s0\0"), "system_u:system_r:init_t:s0");
        assert_eq!(text(b"porthole-debug (enforce)\n"), "porthole-debug (enforce)");
    }
}
