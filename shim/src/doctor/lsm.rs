//! Linux security modules: which are active, and whether they know of porthole's confinement.

use super::check::Check;
use super::{NEEDS_ROOT, Setting, Subject};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

pub(super) const SUBJECT: Subject = Subject { checks: &["lsm", "lsm-policy"], look };

/// The domain of a debug process.
const CONTEXT: &str = "system_u:system_r:porthole_debug_t:s0";
/// The profile of a debug process.
const PROFILE: &str = "porthole-debug";
/// Where AppArmor lists its profiles.
const PROFILES: &str = "/sys/kernel/security/apparmor/profiles";

/// What the lack of a policy means, wherever a module is active.
pub(crate) const WITHOUT: &str =
    "`porthole exec` ends with 125, but with --profile sysadmin (the caller's context) or -Z (the target's)";

/// A module, and whether it enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Absent,
    Permissive,
    Enforcing,
}

/// What is known of the modules.
#[derive(Clone, Debug)]
struct Facts {
    /// Those that are active, as the kernel lists them; none where securityfs is not mounted.
    active: Option<String>,
    selinux: Mode,
    apparmor: Mode,
    /// Whether the policy knows porthole's domain or profile. None where it may not be asked.
    selinux_knows: Option<bool>,
    apparmor_knows: Option<bool>,
    /// The operator installed with `--no-policy`.
    is_left_out: bool,
}

fn look(setting: &Setting) -> Vec<Check> {
    judge(&Facts { is_left_out: setting.state().without_policy, ..gather() }, setting.is_root)
}

fn gather() -> Facts {
    let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let selinux = match read("/sys/fs/selinux/enforce").as_deref() {
        None => Mode::Absent,
        Some("0") => Mode::Permissive,
        Some(_) => Mode::Enforcing,
    };
    let is_apparmor = is_apparmor_active();
    Facts {
        active: read("/sys/kernel/security/lsm"),
        selinux,
        apparmor: if is_apparmor { Mode::Enforcing } else { Mode::Absent },
        selinux_knows: (selinux != Mode::Absent).then(knows_context).flatten(),
        apparmor_knows: is_apparmor.then(knows_profile).flatten(),
        is_left_out: false,
    }
}

pub(crate) fn is_selinux_active() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

pub(crate) fn is_apparmor_active() -> bool {
    fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.first() == Some(&b'Y'))
}

/// Whether AppArmor's interface is there; who may not read it sees that too.
pub(crate) fn can_load_profiles() -> bool {
    Path::new(PROFILES).exists()
}

/// Whether AppArmor has porthole's profile. None where it cannot be asked.
pub(crate) fn knows_profile() -> Option<bool> {
    fs::read_to_string(PROFILES).ok().map(|text| has_profile(&text))
}

/// Whether SELinux has porthole's domain: selinuxfs answers what is written to `context`, and nothing is changed by it.
pub(crate) fn knows_context() -> Option<bool> {
    let mut file = OpenOptions::new().read(true).write(true).open("/sys/fs/selinux/context").ok()?;
    match file.write_all(format!("{CONTEXT}\0").as_bytes()) {
        Ok(()) => Some(true),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Some(false),
        Err(_) => None,
    }
}

/// `porthole-debug (enforce)`, a line each.
fn has_profile(profiles: &str) -> bool {
    profiles.lines().any(|line| line.split(" (").next() == Some(PROFILE))
}

fn judge(facts: &Facts, is_root: bool) -> Vec<Check> {
    let mut names = Vec::new();
    for (name, mode) in [("SELinux", facts.selinux), ("AppArmor", facts.apparmor)] {
        match mode {
            Mode::Absent => {}
            Mode::Permissive => names.push(format!("{name} is permissive")),
            Mode::Enforcing => names.push(format!("{name} is enforcing")),
        }
    }
    let mut evidence =
        if names.is_empty() { "neither SELinux nor AppArmor is active".to_owned() } else { names.join(", ") };
    if let Some(active) = &facts.active {
        evidence += &format!(" (the kernel lists {active})");
    }
    vec![Check::ok("lsm", "security modules", evidence), policy(facts, is_root)]
}

fn policy(facts: &Facts, is_root: bool) -> Check {
    let name = "lsm-policy";
    let (subject, knows) = match (facts.selinux, facts.apparmor) {
        (Mode::Absent, Mode::Absent) => return Check::skip(name, "policy", "no security module has one"),
        (Mode::Absent, _) => ("AppArmor profile porthole-debug", facts.apparmor_knows),
        // A permissive one too: `exec` enters the domain, or runs nothing.
        _ => ("SELinux domain porthole_debug_t", facts.selinux_knows),
    };
    match knows {
        Some(true) => Check::ok(name, subject, "is loaded"),
        Some(false) if facts.is_left_out => Check::warn(
            name,
            subject,
            format!("is not loaded, as `porthole install --no-policy` has left it: {WITHOUT}"),
            "`porthole install` without --no-policy loads it, or says why it does not load",
        ),
        Some(false) => Check::warn(
            name,
            subject,
            format!("is not loaded: {WITHOUT}"),
            "`porthole install` loads it; where it does not load, --no-policy says that this is meant",
        ),
        None if !is_root => Check::skip(name, subject, NEEDS_ROOT),
        None => Check::skip(name, subject, "the policy cannot be asked"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Verdict;

    fn facts() -> Facts {
        Facts {
            active: Some("lockdown,capability,yama".into()),
            selinux: Mode::Absent,
            apparmor: Mode::Absent,
            selinux_knows: None,
            apparmor_knows: None,
            is_left_out: false,
        }
    }

    fn verdict(facts: &Facts) -> Verdict {
        policy(facts, true).verdict
    }

    #[test]
    fn where_a_module_is_active_a_missing_policy_is_a_warning() {
        assert_eq!(verdict(&facts()), Verdict::Skip);
        let selinux = |mode, knows| Facts { selinux: mode, selinux_knows: knows, ..facts() };
        assert_eq!(verdict(&selinux(Mode::Permissive, Some(false))), Verdict::Warn);
        assert_eq!(verdict(&selinux(Mode::Enforcing, Some(false))), Verdict::Warn);
        assert_eq!(verdict(&selinux(Mode::Enforcing, Some(true))), Verdict::Ok);
        assert_eq!(verdict(&selinux(Mode::Enforcing, None)), Verdict::Skip);
        let apparmor = |knows| Facts { apparmor: Mode::Enforcing, apparmor_knows: knows, ..facts() };
        assert_eq!(verdict(&apparmor(Some(false))), Verdict::Warn);
        assert_eq!(verdict(&apparmor(Some(true))), Verdict::Ok);
    }

    #[test]
    fn a_policy_that_was_left_out_is_a_warning_that_says_so_until_it_is_there() {
        let facts = |knows| Facts {
            apparmor: Mode::Enforcing,
            apparmor_knows: Some(knows),
            is_left_out: true,
            ..facts()
        };
        let check = policy(&facts(false), true);
        assert_eq!(check.verdict, Verdict::Warn);
        assert!(check.evidence.contains("--no-policy") && check.remedy.is_some(), "{check:?}");
        assert_eq!(verdict(&facts(true)), Verdict::Ok);
    }

    #[test]
    fn a_profile_is_known_by_its_whole_name() {
        assert!(has_profile("lsb_release (enforce)\nporthole-debug (enforce)\n"));
        assert!(!has_profile("porthole-debug-x (enforce)\n/usr/bin/porthole-debug (complain)\n"));
    }

    #[test]
    fn the_active_modules_are_named() {
        let checks = judge(&Facts { selinux: Mode::Enforcing, selinux_knows: Some(true), ..facts() }, true);
        assert!(checks[0].evidence.contains("SELinux is enforcing"), "{}", checks[0].evidence);
        assert!(checks[0].evidence.contains("lockdown,capability,yama"));
    }
}
