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
mod impersonate;
mod launcher;
mod lifeline;
mod lsm;
mod namespaces;
mod permission;
mod pinned;
mod places;
mod plan;
mod profiles;
mod pty;
mod recording;
mod seal;
mod seccomp;
mod shield;
mod view;
mod wait;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

pub(crate) use args::{ExecArgs, Request};
pub(crate) use environment::Variable;
pub(crate) use error::ExecError;
pub(crate) use launcher::guest;
pub(crate) use plan::{Caller, Plan};
pub(crate) use profiles::run as list_profiles;

use crate::audit::Log;
use crate::output;
use crate::policy::{Invoker, PodName};
use error::Step;
use porthole_registry::text;
use recording::Recording;

/// What exec needs to know of a target: kernel objects as descriptors, never a path that can be swapped.
#[derive(Debug)]
pub(crate) struct Target {
    /// For messages: `shop/web-0/nginx`.
    pub(crate) label: String,
    /// Its name in the log; empty if no record describes it.
    pub(crate) identity: Identity,
    /// Every pod that its namespaces and its process belong to: the policy has to allow each. Empty for root, who is not
    /// asked about.
    pub(crate) identities: Vec<PodName>,
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

/// What a target is called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The Kubernetes namespace.
    pub(crate) namespace: Option<String>,
    /// The pod.
    pub(crate) pod: Option<String>,
    /// The container, if one was named.
    pub(crate) container: Option<String>,
    /// The id of the container that stands for it.
    pub(crate) id: Option<String>,
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
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// `/run/porthole`, where the empty mount namespace is pinned.
    pub(crate) run_dir: PathBuf,
    /// What a command may use up unless its profile or an option says otherwise.
    pub(crate) bounds: porthole_registry::bounds::Bounds,
    /// What of the host a confined command does not see.
    pub(crate) hidden: porthole_registry::hidden::Hidden,
    /// `-o json`: `--explain` prints JSON.
    pub(crate) json: bool,
    /// `policy.toml`
    pub(crate) policy: PathBuf,
    /// What the system log is told.
    pub(crate) audit: porthole_registry::audit::Audit,
}

/// Where nothing may run that is not logged.
pub(crate) fn not_logged(error: std::io::Error) -> ExecError {
    Step::Audit.failed("/dev/log; the configuration says `audit.required`")(error)
}

/// Refuses what no rule would allow, whatever the target turns out to be: before anything is looked at on the caller's
/// word. `words` are those of the target. Returns whether the policy is to be asked: not for root.
pub(crate) fn ask_beforehand(words: &str, args: &ExecArgs, settings: &Settings) -> Result<bool, ExecError> {
    let variables: Vec<_> = std::env::vars_os().collect();
    if Invoker::read(&variables).is_ok_and(|invoker| invoker.is_root()) {
        return Ok(false);
    }
    let caller = Caller::read(&settings.policy)?;
    let request = Request::try_from(args)?;
    refuse_beforehand(words, None, &request, &caller, settings, args.explain)?;
    Ok(true)
}

/// Refuses, and logs that, where neither the rest of the plan nor the command would make it allowed.
fn refuse_beforehand(
    words: &str,
    target: Option<&Target>,
    request: &Request,
    caller: &Caller,
    settings: &Settings,
    explain: bool,
) -> Result<(), ExecError> {
    let verdict = permission::ask_beforehand(request, target, caller);
    if verdict.allowed {
        return Ok(());
    }
    let command = command::or_shell(&request.command, caller);
    let command: Vec<_> = command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    if !explain {
        let mut log = Log::beforehand(settings.audit.format, caller, request, words, &command, &verdict);
        log.name(target);
        log.refused();
    }
    Err(permission::refusal(&verdict, caller, words, &request.profile.name, &command))
}

/// Runs the command of `args` in `target`, or explains what that would be. The status is the process exit status; an
/// error's `report()` holds status, code, message and remedy.
pub(crate) fn run(target: &Target, args: &ExecArgs, settings: &Settings) -> Result<u8, ExecError> {
    let request = Request { defaults: settings.bounds, ..Request::try_from(args)? };
    let caller = Caller::read(&settings.policy)?;
    // The plan is made of what is read from the target. To explain what would be refused, it is made all the same.
    if !caller.invoker.is_root() && !args.explain {
        refuse_beforehand(&target.label, Some(target), &request, &caller, settings, false)?;
    }
    let (plan, opened) = Plan::resolve(&request, target, &caller, &settings.hidden)?;
    if plan.record.is_some() && !plan.terminal {
        return Err(Step::Request.refused(
            "--record: there is no terminal to record",
            "run it with stdin and stdout on a terminal; what goes through a pipe, tee(1) keeps",
        ));
    }
    if args.explain {
        let text = if settings.json {
            let json =
                serde_json::to_string_pretty(&plan).map_err(Step::Request.failed("the plan as JSON"))?;
            text::json(&json) + "\n"
        } else {
            text::lines(&plan.to_string())
        };
        return output::write(&text).map(|()| 0).map_err(Step::Request.failed("the plan on stdout"));
    }
    let mut log = Log::open(settings.audit.format, &caller, &request, target, &plan);
    if !plan.policy.allowed {
        log.refused();
        return Err(permission::refusal(
            &plan.policy,
            &caller,
            &plan.target,
            &plan.profile.name,
            &plan.command,
        ));
    }
    if plan.hostile() {
        seal::image(&caller)?;
    }
    let recording = Recording::begin(&plan, &caller)?;
    log.started(settings.audit.required)?;
    let result = apply::apply(&plan, target, &opened, &settings.run_dir, recording);
    log.ended(result.as_ref());
    result
}
