//! Containers that run and that the registry has never heard of.

use super::check::{Check, count, few};
use super::{NEEDS_ROOT, Setting, Subject};
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

fn look(setting: &Setting) -> Vec<Check> {
    if !setting.is_root {
        return SUBJECT
            .checks
            .iter()
            .map(|name| Check::skip(name, "state of the engines", NEEDS_ROOT))
            .collect();
    }
    let found = gather(setting).and_then(|first| {
        if first.containers.is_empty() && first.pods.is_empty() {
            return Ok(first);
        }
        std::thread::sleep(GRACE);
        let mut second = gather(setting)?;
        second.containers.retain(|known| first.containers.contains(known));
        second.pods.retain(|known| first.pods.contains(known));
        Ok(second)
    });
    match found {
        Ok(missing) => vec![judge(&missing), judge_pods(&missing), judge_state(&missing)],
        Err(cause) => vec![Check::fail(
            "unregistered-containers",
            "state of the engines",
            cause,
            "`porthole doctor registry-directory` says more",
        )],
    }
}

fn gather(setting: &Setting) -> Result<Missing, String> {
    let config = &setting.config;
    let host = Host::open().map_err(|errno| format!("open /proc/1/ns: {errno}"))?;
    let boot_id = boot_id().map_err(|errno| format!("read the boot id: {errno}"))?;
    let store = Store::open(&config.run_dir).map_err(|error| error.to_string())?;
    let registry = store.map(|store| Registry::new(store, config.netns_dir.clone()));
    let adoption = Adoption {
        engines: &config.engines,
        host: &host,
        boot_id: &boot_id,
        template: &config.pin_name,
        patience: Duration::ZERO,
    };
    Ok(missing(registry.as_ref(), &adoption))
}

fn judge(missing: &Missing) -> Check {
    let name = "unregistered-containers";
    if missing.containers.is_empty() {
        return Check::ok(name, "containers", "every one that runs is registered");
    }
    Check::fail(
        name,
        count(missing.containers.len(), "container"),
        listed(&missing.containers),
        "`porthole reconcile` registers them; if new ones come, an engine does not call the hook: see engine-hook",
    )
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
        "none of their containers has run yet: `porthole reconcile` gives them their names, its timer does so by itself",
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
        assert_eq!(judge(&Missing::default()).verdict, Verdict::Ok);
        let id = ContainerId::parse("0123456789abcdef").unwrap();
        let missing =
            Missing { containers: vec![(id.clone(), "nginx of web-0".into())], ..Missing::default() };
        let check = judge(&missing);
        assert_eq!(check.verdict, Verdict::Fail);
        assert!(check.evidence.contains("0123456789ab (nginx of web-0)"), "{}", check.evidence);
        assert_eq!(judge_pods(&missing).verdict, Verdict::Ok);
        let missing = Missing { pods: vec![(id, "sandbox of web-0".into())], ..Missing::default() };
        assert_eq!((judge(&missing).verdict, judge_pods(&missing).verdict), (Verdict::Ok, Verdict::Warn));
    }
}
