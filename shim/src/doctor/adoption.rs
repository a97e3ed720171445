//! Containers that run and that the registry has never heard of.

use super::check::{Check, Finding, count, few};
use super::{NEEDS_ROOT, Setting, Subject};
use crate::engines::running::{self, Running};
use crate::engines::{state, views};
use porthole_registry::adopt::{Adoption, Missing, missing};
use porthole_registry::container_id::ContainerId;
use porthole_registry::host::{Host, boot_id};
use porthole_registry::registration::Registry;
use porthole_registry::store::Store;
use std::time::Duration;

pub(super) const SUBJECT: Subject =
    Subject { checks: &["unregistered-containers", "unregistered-pods", "engine-state"], look };

/// A container that is being registered is found before its record is: it has this long to become registered.
const GRACE: Duration = Duration::from_millis(1500);

/// The containers that run, by the state of the engines and by their processes.
struct Found {
    missing: Missing,
    /// How many containers run, by their processes.
    running: usize,
    /// Containers without a record that are in no state of an engine.
    unknown: Vec<Running>,
    /// Processes that may be containers without a record, below monitors with a root directory of their own.
    elsewhere: Vec<Running>,
}

fn look(setting: &Setting) -> Vec<Check> {
    if !setting.is_root {
        return SUBJECT
            .checks
            .iter()
            .map(|name| Check::skip(name, "state of the engines", NEEDS_ROOT))
            .collect();
    }
    let found = gather(setting).and_then(|first| {
        if first.missing.containers.is_empty() && first.missing.pods.is_empty() && first.unknown.is_empty() {
            return Ok(first);
        }
        std::thread::sleep(GRACE);
        let mut second = gather(setting)?;
        second.missing.containers.retain(|known| first.missing.containers.contains(known));
        second.missing.pods.retain(|known| first.missing.pods.contains(known));
        second.unknown.retain(|known| first.unknown.contains(known));
        Ok(second)
    });
    match found {
        Ok(found) => vec![judge(&found), judge_pods(&found.missing), judge_state(&found.missing)],
        Err(cause) => vec![Check::fail(
            "unregistered-containers",
            "state of the engines",
            cause,
            "`porthole doctor registry-directory` says more",
        )],
    }
}

fn gather(setting: &Setting) -> Result<Found, String> {
    let config = &setting.config;
    let host = Host::open().map_err(|errno| format!("open /proc/1/ns: {errno}"))?;
    let boot_id = boot_id().map_err(|errno| format!("read the boot id: {errno}"))?;
    let store = Store::open(&config.run_dir).map_err(|error| error.to_string())?;
    let registry = store.map(|store| Registry::new(store, config.netns_dir.clone()));
    let views = views::all(&host);
    let engines = state::directories(&config.engines, &host);
    let adoption = Adoption {
        engines: &engines,
        host: &host,
        boot_id: &boot_id,
        views: &views,
        template: &config.pin_name,
        patience: Duration::ZERO,
    };
    let running = running::containers(&host).len();
    let missing = missing(registry.as_ref(), &adoption);
    let store = registry.as_ref().map(|registry| &registry.store);
    let mut unknown = running::unregistered(&host, store, &boot_id);
    unknown.retain(|one| !missing.processes.contains(&one.pid));
    let elsewhere = running::elsewhere(&host, store, &boot_id);
    Ok(Found { missing, running, unknown, elsewhere })
}

fn judge(found: &Found) -> Check {
    let name = "unregistered-containers";
    let Found { missing, running, unknown, elsewhere } = found;
    let mut findings = Vec::new();
    if !unknown.is_empty() {
        let described: Vec<_> = unknown.iter().map(Running::describe).collect();
        let seen = format!(
            "{} of {running} that run have no record and are in no known state of an engine: {}",
            unknown.len(),
            few(&described)
        );
        let remedy = "`porthole reconcile --engine-state ENGINE=DIR` with the directory that the engine keeps its state in, \
                      and [engines] in the configuration, so that its timer looks there too";
        findings.push(Finding::fail(seen, remedy));
    }
    if !missing.containers.is_empty() {
        let remedy = "`porthole reconcile` registers them; if new ones come, an engine does not call the hook: see \
                      engine-hook";
        findings.push(Finding::fail(listed(&missing.containers), remedy));
    }
    if !elsewhere.is_empty() {
        let described: Vec<_> = elsewhere.iter().map(Running::describe).collect();
        let seen = format!(
            "{} without a record may run below an engine with a root directory of its own, which is not looked into: {}",
            count(elsewhere.len(), "container"),
            few(&described)
        );
        let remedy = "if they are containers, name the directory of their engine's state as the host sees it, in [engines] of \
                      the configuration";
        findings.push(Finding::warn(seen, remedy));
    }
    let number = unknown.len() + missing.containers.len();
    let subject = if number == 0 { "containers".to_owned() } else { count(number, "container") };
    Check::of(name, subject, "every one that runs is registered", findings)
}

fn judge_pods(missing: &Missing) -> Check {
    let name = "unregistered-pods";
    if missing.pods.is_empty() {
        return Check::ok(name, "pods", "every one with a sandbox is pinned, or on the host's network");
    }
    Check::warn(
        name,
        count(missing.pods.len(), "pod"),
        listed(&missing.pods),
        "`porthole reconcile` gives them their names, and its timer does so by itself",
    )
}

fn listed(missing: &[(ContainerId, String)]) -> String {
    few(&missing.iter().map(|(id, words)| format!("{} ({words})", id.short())).collect::<Vec<_>>())
}

fn judge_state(missing: &Missing) -> Check {
    let name = "engine-state";
    if missing.unreadable.is_empty() {
        return Check::ok(name, "engines' own state", "can be read");
    }
    let found: Vec<_> =
        missing.unreadable.iter().map(|what| format!("{}: {}", what.path.display(), what.cause)).collect();
    Check::warn(
        name,
        "engines' own state",
        few(&found),
        "containers of these cannot be adopted: look at the files",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Verdict;

    #[test]
    fn a_container_that_runs_unregistered_is_a_failure_with_its_name() {
        let judge_alone = |missing: &Missing| {
            let containers = missing.containers.clone();
            let missing = Missing { containers, ..Missing::default() };
            judge(&Found { missing, running: 0, unknown: Vec::new(), elsewhere: Vec::new() })
        };
        assert_eq!(judge_alone(&Missing::default()).verdict, Verdict::Ok);
        let id = ContainerId::parse("0123456789abcdef").unwrap();
        let missing =
            Missing { containers: vec![(id.clone(), "nginx of web-0".into())], ..Missing::default() };
        let check = judge_alone(&missing);
        assert_eq!(check.verdict, Verdict::Fail);
        assert!(check.evidence.contains("0123456789ab (nginx of web-0)"), "{}", check.evidence);
        assert_eq!(judge_pods(&missing).verdict, Verdict::Ok);
        let missing = Missing { pods: vec![(id, "sandbox of web-0".into())], ..Missing::default() };
        assert_eq!(
            (judge_alone(&missing).verdict, judge_pods(&missing).verdict),
            (Verdict::Ok, Verdict::Warn)
        );
    }
}
