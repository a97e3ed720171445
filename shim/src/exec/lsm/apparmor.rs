//! AppArmor: the profile of the command.

use rustix::io::Errno;

use super::{Context, attribute, installed};
use crate::exec::Target;
use crate::exec::args::Request;
use crate::exec::error::{ExecError, Step};

/// The profile of commands; `config/apparmor/porthole-debug` says what it allows.
const PROFILE: &str = "porthole-debug";
/// Where the next execve's profile is written below `attr`: the module's own place, and that of kernels before 5.8.
pub(super) const PLACES: [&str; 2] = ["apparmor/exec", "exec"];

pub(super) const EXEC_REMEDY: &str = "the log has the denial (journalctl -k -g apparmor); the profile has to allow reading and mapping the program";

pub(super) fn resolve(request: &Request, target: &Target, current: &str) -> Result<Context, ExecError> {
    let profile = if request.follow_context { followed(target)? } else { PROFILE.to_owned() };
    // Under no_new_privs the kernel lets a confined process only add a profile to those it has; one that is not
    // confined may enter any.
    Ok(Context::Apparmor { profile, stacked: name(current) != "unconfined" })
}

/// The target's own profile, for `-Z`.
fn followed(target: &Target) -> Result<String, ExecError> {
    let living = || {
        let process = target.process.as_ref()?;
        let read = |place| attribute(&process.proc_dir, place).ok();
        read("attr/apparmor/current").or_else(|| read("attr/current"))
    };
    let label = target.apparmor.clone().or_else(living).unwrap_or_default();
    match name(&label) {
        "" => Err(Step::Context.refused(
            format!("-Z: neither a record nor a living process tells the profile of {}", target.label),
            "leave out -Z, or wait for a container to start",
        )),
        "unconfined" => Err(Step::Context.refused(
            format!("-Z: AppArmor does not confine {}", target.label),
            "leave out -Z: the command then has porthole's own profile",
        )),
        name => Ok(name.to_owned()),
    }
}

/// Without the mode: `docker-default (enforce)`.
fn name(label: &str) -> &str {
    label.rsplit_once(" (").map_or(label, |(name, _)| name)
}

/// Whether `profile` is the label, or one of those stacked in it.
pub(super) fn has(label: &str, profile: &str) -> bool {
    name(label) == profile || name(label).split("//&").any(|part| part == profile)
}

/// What a refused write of the profile means.
pub(super) fn refused(context: &str, error: Errno) -> ExecError {
    match error {
        Errno::NOENT => Step::Context.refused(
            format!("{context}: the profile is not loaded"),
            format!(
                "`porthole install` loads it; by hand: apparmor_parser -r {}",
                installed("apparmor/porthole-debug")
            ),
        ),
        Errno::ACCESS | Errno::PERM => Step::Context.refused(
            format!("{context}: the profile that porthole runs under does not allow the change"),
            "run porthole unconfined, or add `change_profile -> porthole-debug,` to that profile",
        ),
        error => Step::Context.failed(context)(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_is_no_part_of_a_profile_s_name() {
        assert_eq!(name("docker-default (enforce)"), "docker-default");
        assert_eq!(name("unconfined"), "unconfined");
        assert_eq!(name("a name (with parts) (complain)"), "a name (with parts)");
    }

    #[test]
    fn a_stacked_profile_is_found_in_the_label() {
        assert!(has("snap.lxd//&porthole-debug (enforce)", PROFILE));
        assert!(!has("snap.lxd//&porthole-debugger (enforce)", PROFILE));
    }

    #[test]
    fn a_profile_that_is_not_loaded_is_named_with_the_way_to_load_it() {
        let report = refused("AppArmor porthole-debug", Errno::NOENT).report();
        assert_eq!((report.code.as_str(), report.status), ("security_context", 125));
        assert!(report.remedy.unwrap().contains("by hand: apparmor_parser -r /"));
    }
}
