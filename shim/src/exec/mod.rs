//! `porthole exec`: a program of the host in the namespaces of a target, confined.
//!
//! Words become a `Request` (types, no I/O), that becomes a `Plan` (data: everything is looked at and opened, nothing
//! changed), and `apply` alone changes anything, in a process that becomes the command or ends.

mod apart;
mod apply;
mod args;
mod bounds;
mod capabilities;
mod command;
mod dns;
mod environment;
mod error;
mod ids;
mod lifeline;
mod lsm;
mod namespaces;
mod plan;
mod pty;
mod seal;
mod seccomp;
mod view;
mod wait;

use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

pub(crate) use args::{ExecArgs, Request};
pub(crate) use error::ExecError;
pub(crate) use plan::{Caller, Plan};

use error::Step;

/// What exec needs to know of a target: kernel objects as descriptors, never a path that can be swapped.
#[derive(Debug)]
pub(crate) struct Target {
    /// For messages: `shop/web-0/nginx`.
    pub(crate) label: String,
    /// Name of the pin, for `/etc/netns/<pod>`; may be empty.
    pub(crate) pod: String,
    /// The network namespace, from a living member or the pin.
    pub(crate) netns: OwnedFd,
    /// A living, verified member; `None` for a pod in back-off, of which only the network namespace can be joined.
    pub(crate) process: Option<TargetProcess>,
    /// The SELinux label on record.
    pub(crate) selinux: Option<String>,
    /// The AppArmor profile on record.
    pub(crate) apparmor: Option<String>,
    /// Where the container's config.json is: for its resolver files when no process lives.
    pub(crate) bundle: Option<PathBuf>,
}

/// A process, opened and verified as a whole.
#[derive(Debug)]
pub(crate) struct TargetProcess {
    /// For messages.
    pub(crate) pid: i32,
    /// The process.
    pub(crate) pidfd: OwnedFd,
    /// `/proc/PID`, opened with O_PATH and O_DIRECTORY, verified together with `pidfd`.
    pub(crate) proc_dir: OwnedFd,
}

/// What the configuration and the global options say.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// `/run/porthole`, where the empty mount namespace is pinned.
    pub(crate) run_dir: PathBuf,
    /// What of the host a confined command does not see.
    pub(crate) hidden: porthole_registry::hidden::Hidden,
    /// `-o json`: `--explain` prints JSON.
    pub(crate) json: bool,
}

/// Runs the command of `args` in `target`, or explains what that would be. The status is the process exit status; an
/// error's `report()` holds status, code, message and remedy.
pub(crate) fn run(target: &Target, args: &ExecArgs, settings: &Settings) -> Result<u8, ExecError> {
    let request = Request::try_from(args)?;
    let caller = Caller::read()?;
    let (plan, opened) = Plan::resolve(&request, target, &caller, &settings.hidden)?;
    if args.explain {
        let text = if settings.json {
            let json =
                serde_json::to_string_pretty(&plan).map_err(Step::Request.failed("the plan as JSON"))?;
            format!("{json}\n")
        } else {
            plan.to_string()
        };
        return match std::io::stdout().write_all(text.as_bytes()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Step::Request.failed("the plan on stdout")(error))
            }
            _ => Ok(0),
        };
    }
    if plan.hostile() {
        seal::image(&caller)?;
    }
    apply::apply(&plan, target, &opened, &settings.run_dir)
}
