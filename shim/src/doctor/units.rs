//! The service manager's units, which run `porthole reconcile` at boot, now and then, and when pins come and go.

use super::check::{Check, Finding};
use super::{Setting, Subject};
use crate::install::tree::Tree;
use std::path::Path;

pub(super) const SUBJECT: Subject = Subject { checks: &["units"], look };

/// What is enabled, and what that starts.
const UNITS: [(&str, bool); 3] = [
    ("porthole-reconcile.timer", true),
    ("porthole-reconcile.path", true),
    ("porthole-reconcile.service", false),
];
/// Where units are, those of the administrator first.
const DIRECTORIES: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
];

/// What is known of a unit.
#[derive(Clone, Copy, Debug)]
struct Facts {
    is_there: bool,
    /// Linked to nothing: it never runs.
    is_masked: bool,
    is_enabled: bool,
}

fn look(setting: &Setting) -> Vec<Check> {
    if !Path::new("/run/systemd/system").is_dir() {
        let why = "systemd does not manage this node: run `porthole reconcile` at boot and now and then by other means";
        return vec![Check::skip("units", "systemd", why)];
    }
    UNITS.into_iter().map(|(unit, starts)| judge(unit, starts, gather(&setting.tree, unit))).collect()
}

fn gather(tree: &Tree, unit: &str) -> Facts {
    let place = DIRECTORIES
        .iter()
        .map(|dir| Path::new(dir).join(unit))
        .find(|path| std::fs::symlink_metadata(path).is_ok());
    let is_masked = place
        .as_ref()
        .is_some_and(|path| std::fs::read_link(path).is_ok_and(|target| target == Path::new("/dev/null")));
    let wanted_by = |dir: &str| {
        let wants = tree
            .names(Path::new(dir))
            .into_iter()
            .filter(|name| name.ends_with(".wants") || name.ends_with(".requires"));
        wants
            .into_iter()
            .any(|wants| std::fs::symlink_metadata(Path::new(dir).join(wants).join(unit)).is_ok())
    };
    Facts { is_there: place.is_some(), is_masked, is_enabled: DIRECTORIES.iter().any(|dir| wanted_by(dir)) }
}

fn judge(unit: &str, starts_by_itself: bool, facts: Facts) -> Check {
    let mut findings = Vec::new();
    if !facts.is_there {
        findings.push(Finding::warn("is not there", "`porthole install` puts it in place"));
    } else if facts.is_masked {
        findings.push(Finding::warn(
            "is masked: it never runs",
            format!("`systemctl unmask {unit}`, unless that is meant"),
        ));
    } else if starts_by_itself && !facts.is_enabled {
        findings.push(Finding::warn("is not enabled", format!("`systemctl enable --now {unit}`")));
    }
    Check::of("units", unit, if starts_by_itself { "enabled" } else { "in place" }, findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Verdict;

    #[test]
    fn a_unit_has_to_be_there_unmasked_and_enabled() {
        let all = Facts { is_there: true, is_masked: false, is_enabled: true };
        let verdict = |starts, facts| judge("x.timer", starts, facts).verdict;
        assert_eq!(verdict(true, all), Verdict::Ok);
        assert_eq!(verdict(true, Facts { is_there: false, ..all }), Verdict::Warn);
        assert_eq!(verdict(true, Facts { is_masked: true, ..all }), Verdict::Warn);
        assert_eq!(verdict(true, Facts { is_enabled: false, ..all }), Verdict::Warn);
        assert_eq!(verdict(false, Facts { is_enabled: false, ..all }), Verdict::Ok);
    }
}
