//! SELinux: the context of the command, by the kernel's own files and without libselinux.

use rustix::fs::{CWD, Mode, OFlags, fstatfs, openat};
use rustix::io::{Errno, read, write};

use super::{Context, attribute, installed};
use crate::exec::Target;
use crate::exec::args::Request;
use crate::exec::error::{ExecError, Step};

/// Where selinuxfs is mounted.
pub(super) const ROOT: &str = "/sys/fs/selinux";
const MAGIC: i64 = 0xf97c_ff8c;
/// The domain of commands; `config/selinux/porthole.cil` says what it may do.
const DOMAIN: &str = "porthole_debug_t";
/// For targets that have no level: dominates nothing that a container has.
const LOWEST: &str = "s0";

pub(super) const EXEC_REMEDY: &str = "the log has the denial (ausearch -m avc -ts recent): this domain may not enter \
    that one (transition, nnp_transition, nosuid_transition), or files of this type may not start it (entrypoint)";

/// Whether what it forbids is denied, or only logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Enforcing(bool);

/// `None` where it is not active, or does not show itself here.
pub(super) fn mode() -> Result<Option<Enforcing>, ExecError> {
    let subject = || format!("{ROOT}/enforce");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = match openat(CWD, subject(), flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(Step::Context.failed(subject())(error)),
    };
    if fstatfs(&file).map_err(Step::Context.failed(subject()))?.f_type != MAGIC {
        return Ok(None);
    }
    let mut digit = [0; 1];
    read(&file, &mut digit).map_err(Step::Context.failed(subject()))?;
    Ok(Some(Enforcing(digit != *b"0")))
}

/// `user:role:type` or `user:role:type:range`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Label<'a> {
    user: &'a str,
    role: &'a str,
    range: Option<&'a str>,
}

impl<'a> Label<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(4, ':').map(|part| Some(part).filter(|part| !part.is_empty()));
        let (user, role, _type) = (parts.next()??, parts.next()??, parts.next()??);
        Some(Self { user, role, range: parts.next().flatten() })
    }

    /// The lower end of the range: who may touch everything (`s0-s0:c0.c1023`) gives no such right to a command.
    fn level(&self) -> Option<&'a str> {
        self.range?.split('-').next()
    }
}

/// Whether this looks like one of SELinux's, not AppArmor's.
pub(super) fn is_label(text: &str) -> bool {
    !text.contains(' ') && Label::parse(text).is_some()
}

pub(super) fn resolve(
    request: &Request,
    target: &Target,
    current: &str,
    Enforcing(enforcing): Enforcing,
) -> Result<Context, ExecError> {
    let of_target = label_of(target);
    if request.follow_context {
        let Some(context) = of_target else {
            return Err(Step::Context.refused(
                format!("-Z: neither a record nor a living process tells the context of {}", target.label),
                "leave out -Z, or wait for a container to start",
            ));
        };
        if !is_valid(&context)? {
            return Err(Step::Context.refused(
                format!("-Z: {context}, the context of {}, is none to the loaded policy", target.label),
                "leave out -Z, or load the policy that the container was started with",
            ));
        }
        return Ok(Context::Selinux { context, enforcing });
    }
    let contexts = candidates(current, of_target.as_deref());
    for context in &contexts {
        if is_valid(context)? {
            return Ok(Context::Selinux { context: context.clone(), enforcing });
        }
    }
    let context = contexts.last().map(String::as_str).unwrap_or_default();
    let subject = format!("SELinux is active, and {context} is no context to the loaded policy");
    Err(Step::Context.refused(subject, load_remedy()))
}

fn load_remedy() -> String {
    let module = installed("selinux/porthole.cil");
    format!(
        "`porthole install` loads the policy module; by hand: semodule -i {module}; if it is loaded (semodule -l), the policy does not know \
         the target's level"
    )
}

/// The context of the command, in the order of trying. The caller's own user and role say in every denial whose command
/// it was, and changing them takes a right of its own; where policy gives them no such domain or level, those that
/// containers have do it.
fn candidates(current: &str, target: Option<&str>) -> Vec<String> {
    let caller = Label::parse(current);
    let target = target.and_then(Label::parse);
    // A policy without levels has none in any label.
    let level = match caller {
        Some(Label { range: None, .. }) => String::new(),
        _ => format!(":{}", target.and_then(|label| label.level()).unwrap_or(LOWEST)),
    };
    let owners = [caller.map(|label| (label.user, label.role)), Some(("system_u", "system_r"))];
    let mut contexts: Vec<_> =
        owners.into_iter().flatten().map(|(user, role)| format!("{user}:{role}:{DOMAIN}{level}")).collect();
    contexts.dedup();
    contexts
}

/// What the record says, else the living process.
fn label_of(target: &Target) -> Option<String> {
    let recorded = target.selinux.clone().filter(|label| is_label(label));
    recorded.or_else(|| {
        let process = target.process.as_ref()?;
        attribute(&process.proc_dir, "attr/current").ok().filter(|label| is_label(label))
    })
}

/// As security_check_context(3) asks. Where one may not ask, the write of the context itself will tell.
fn is_valid(context: &str) -> Result<bool, ExecError> {
    let ask = || {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        write(openat(CWD, format!("{ROOT}/context"), flags, Mode::empty())?, context.as_bytes())
    };
    match ask() {
        Ok(_) | Err(Errno::ACCESS | Errno::ROFS | Errno::PERM) => Ok(true),
        Err(Errno::INVAL) => Ok(false),
        Err(error) => Err(Step::Context.failed(format!("{ROOT}/context"))(error)),
    }
}

/// What a refused write to `attr/exec` means.
pub(super) fn refused(context: &str, error: Errno) -> ExecError {
    match error {
        Errno::INVAL => {
            Step::Context.refused(format!("{context} is none to the loaded policy"), load_remedy())
        }
        Errno::ACCESS => Step::Context.refused(
            format!("{context}: the domain that porthole runs in may not choose one"),
            "run porthole from a domain with process setexec: an administrator's shell, or a service's",
        ),
        error => Step::Context.failed(context)(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: &str = "unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023";
    const CONTAINER: &str = "system_u:system_r:container_t:s0:c1,c2";

    #[test]
    fn the_level_is_the_targets_and_the_user_the_callers_first() {
        assert_eq!(
            candidates(CALLER, Some(CONTAINER)),
            [
                "unconfined_u:unconfined_r:porthole_debug_t:s0:c1,c2",
                "system_u:system_r:porthole_debug_t:s0:c1,c2"
            ]
        );
    }

    #[test]
    fn a_system_service_has_one_candidate() {
        let init = "system_u:system_r:init_t:s0";
        assert_eq!(candidates(init, Some(CONTAINER)), ["system_u:system_r:porthole_debug_t:s0:c1,c2"]);
    }

    #[test]
    fn of_a_range_only_the_lower_end_counts() {
        let privileged = "system_u:system_r:spc_t:s0-s0:c0.c1023";
        assert_eq!(candidates(privileged, Some(privileged)), ["system_u:system_r:porthole_debug_t:s0"]);
    }

    #[test]
    fn without_a_label_of_the_target_the_level_is_the_lowest() {
        let init = "system_u:system_r:init_t:s0-s0:c0.c1023";
        assert_eq!(candidates(init, None), ["system_u:system_r:porthole_debug_t:s0"]);
    }

    #[test]
    fn a_policy_without_levels_gets_none() {
        assert_eq!(
            candidates("system_u:system_r:init_t", Some(CONTAINER)),
            ["system_u:system_r:porthole_debug_t"]
        );
    }

    #[test]
    fn a_label_of_another_module_is_told_apart() {
        assert!(is_label(CALLER) && is_label("u:r:t"));
        for other in ["unconfined", "docker-default (enforce)", "a:b", "a::c", "", "x//&:y:z:w (enforce)"] {
            assert!(!is_label(other), "{other}");
        }
    }
}
