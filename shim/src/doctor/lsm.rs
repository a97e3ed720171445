//! Linux security modules: which are active, and whether they know of porthole's confinement.

use super::check::Check;
use super::{NEEDS_ROOT, Setting, Subject};
use crate::lsm::{WITHOUT, is_apparmor_active, knows_context, knows_profile};
use porthole_registry::bounded;

pub(super) const SUBJECT: Subject = Subject { checks: &["lsm", "lsm-policy"], look };

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
    let read = |path: &str| bounded::text(path, bounded::FACTS).ok().map(|text| text.trim().to_owned());
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
    fn the_active_modules_are_named() {
        let checks = judge(&Facts { selinux: Mode::Enforcing, selinux_knows: Some(true), ..facts() }, true);
        assert!(checks[0].evidence.contains("SELinux is enforcing"), "{}", checks[0].evidence);
        assert!(checks[0].evidence.contains("lockdown,capability,yama"));
    }
}
