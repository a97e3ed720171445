//! The service manager's units, which run `porthole reconcile` at boot, now and then, and when pins come and go.

use super::check::{Check, Finding};
use super::{Setting, Subject};
use crate::install::run;
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
#[derive(Clone, Debug)]
struct Facts {
    is_there: bool,
    /// Linked to nothing: it never runs.
    is_masked: bool,
    is_enabled: bool,
    /// As systemd has it; none where it does not say.
    state: Option<State>,
}

/// What has become of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    /// `active`, `inactive`, `failed` or on the way there.
    active: String,
    /// Of the last run: `success`, or why not.
    result: String,
}

fn look(setting: &Setting) -> Vec<Check> {
    if !crate::install::service::has_systemd() {
        let why = "systemd does not manage this node: run `porthole reconcile` at boot and now and then by other means";
        return vec![Check::skip("units", "systemd", why)];
    }
    let units = UNITS.map(|(unit, _)| unit);
    let show = [&["show", "--property=Id,ActiveState,Result"], &units[..]].concat();
    let said = run::output(Path::new("/usr/bin/systemctl"), &show).unwrap_or_default();
    let check = |(unit, starts)| judge(unit, starts, &gather(&setting.tree, unit, &said));
    UNITS.into_iter().map(check).collect()
}

/// The state of a unit in what `systemctl show` says of several: paragraphs of `NAME=VALUE`.
fn state(said: &str, unit: &str) -> Option<State> {
    let value = |paragraph: &str, name: &str| {
        let mut values = paragraph.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        values.next().map(str::to_owned)
    };
    let own = said.split("\n\n").find(|paragraph| value(paragraph, "Id").as_deref() == Some(unit))?;
    Some(State { active: value(own, "ActiveState")?, result: value(own, "Result")? })
}

fn gather(tree: &Tree, unit: &str, said: &str) -> Facts {
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
    Facts {
        is_there: place.is_some(),
        is_masked,
        is_enabled: DIRECTORIES.iter().any(|dir| wanted_by(dir)),
        state: state(said, unit),
    }
}

fn judge(unit: &str, starts_by_itself: bool, facts: &Facts) -> Check {
    let active = facts.state.as_ref().map(|state| state.active.as_str());
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
    } else if let Some(State { result, .. }) = facts.state.as_ref().filter(|_| active == Some("failed")) {
        let remedy = format!("`journalctl -u {unit}` says why; `systemctl restart {unit}` tries again");
        findings.push(Finding::warn(format!("has failed ({result})"), remedy));
    } else if starts_by_itself && active == Some("inactive") {
        findings.push(Finding::warn("is enabled, and not active", format!("`systemctl start {unit}`")));
    }
    let well = match (starts_by_itself, active) {
        (false, _) => "in place",
        (true, None) => "enabled",
        (true, Some(_)) => "enabled, and active",
    };
    Check::of("units", unit, well, findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Verdict;

    #[test]
    fn a_unit_has_to_be_there_unmasked_and_enabled() {
        let all = Facts { is_there: true, is_masked: false, is_enabled: true, state: None };
        let verdict = |starts, facts: Facts| judge("x.timer", starts, &facts).verdict;
        assert_eq!(verdict(true, all.clone()), Verdict::Ok);
        assert_eq!(verdict(true, Facts { is_there: false, ..all.clone() }), Verdict::Warn);
        assert_eq!(verdict(true, Facts { is_masked: true, ..all.clone() }), Verdict::Warn);
        assert_eq!(verdict(true, Facts { is_enabled: false, ..all.clone() }), Verdict::Warn);
        assert_eq!(verdict(false, Facts { is_enabled: false, ..all }), Verdict::Ok);
    }

    #[test]
    fn what_starts_the_service_has_to_be_active_and_the_service_not_failed() {
        let said = "Result=success\nId=x.timer\nActiveState=inactive\n\nResult=exit-code\nId=x.service\nActiveState=failed\n";
        let verdict = |unit, starts, said| {
            let facts =
                Facts { is_there: true, is_masked: false, is_enabled: true, state: state(said, unit) };
            judge(unit, starts, &facts).verdict
        };
        assert_eq!(verdict("x.timer", true, said), Verdict::Warn);
        assert_eq!(verdict("x.service", false, said), Verdict::Warn);
        let well = said.replace("inactive", "active").replace("failed", "inactive");
        assert_eq!(verdict("x.timer", true, &well), Verdict::Ok);
        assert_eq!(verdict("x.service", false, &well), Verdict::Ok);
        assert_eq!(state(said, "y.timer"), None);
        assert_eq!(verdict("x.timer", true, ""), Verdict::Ok, "where systemd does not say");
    }
}
