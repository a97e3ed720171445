//! The running containerd: whether it answers with its CRI plugin, has read its configuration, and what would still call
//! a guard.

use super::config::Effective;
use crate::exit::Exit;
use crate::install::engine::{Engine, EngineName};
use crate::install::guard;
use crate::install::run;
use crate::install::service;
use crate::install::state::{Entry, State};
use crate::install::tree::Tree;
use crate::problem::Problem;
use porthole_registry::bounded;
use porthole_registry::process::Process;
use rustix::net::sockopt::socket_peercred;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How exactly the start of a process is known.
const TOLERANCE: Duration = Duration::from_millis(50);
/// Plugins of the CRI. Those that a version does not have are not listed by it.
const PLUGINS: [(&str, &str); 3] = [
    ("io.containerd.grpc.v1", "cri"),
    ("io.containerd.cri.v1", "runtime"),
    ("io.containerd.cri.v1", "images"),
];

/// Whether it answers, with its CRI plugin loaded, and was started at `since` or later.
pub(super) fn check(engine: &Engine, tree: &Tree, since: SystemTime) -> Result<(), Problem> {
    let fail = |what: String| {
        Problem::new(Exit::Failed, format!("{}: {what}", engine.title()), service::log(engine))
    };
    let Ok(effective) = Effective::ask(tree, engine)? else { return Ok(()) };
    let address = effective.address();
    let pid = daemon(&address).map_err(|e| fail(format!("{} does not answer: {e}", address.display())))?;
    if is_older(pid, since) {
        return Err(fail(format!(
            "process {pid} was started before its configuration was changed, and not since"
        )));
    }
    // Without its client nothing more can be asked: k0s brings none.
    let Some(ctr) = engine.ctr(tree) else { return Ok(()) };
    let address = address.display().to_string();
    let list = run::in_tree(tree, &ctr, &["--address", &address, "plugins", "ls"])
        .map_err(|failure| fail(format!("`ctr plugins ls`: {failure}")))?;
    let status = |(kind, id): (&str, &str)| {
        let words = list.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
        let mut rows = words.filter(|words| words.len() > 2 && words[0] == kind && words[1] == id);
        rows.next().and_then(|words| words.last().map(|word| (*word).to_owned()))
    };
    if status(PLUGINS[0]).is_none() {
        return Err(fail("it has no CRI plugin".to_owned()));
    }
    let bad = PLUGINS
        .into_iter()
        .find_map(|plugin| status(plugin).filter(|status| status != "ok").map(|s| (plugin, s)));
    match bad {
        None => Ok(()),
        Some(((kind, id), status)) => Err(fail(format!("its plugin {kind}.{id} is in state {status}"))),
    }
}

/// Whether one listens that was started at `since` or later.
pub(super) fn is_there(engine: &Engine, tree: &Tree, since: SystemTime) -> bool {
    let Ok(Ok(effective)) = Effective::ask(tree, engine) else { return false };
    daemon(&effective.address()).is_ok_and(|pid| !is_older(pid, since))
}

fn is_older(pid: u32, since: SystemTime) -> bool {
    started(pid).is_some_and(|started| started + TOLERANCE < since)
}

/// The process that listens at an address.
fn daemon(address: &Path) -> std::io::Result<u32> {
    let socket = UnixStream::connect(address)?;
    let pid = socket_peercred(&socket)?.pid;
    Ok(pid.as_raw_nonzero().get().unsigned_abs())
}

/// When a process was started.
fn started(pid: u32) -> Option<SystemTime> {
    Process::open(i32::try_from(pid).ok()?).ok()?.started_at()
}

/// The process that listens where a containerd with this configuration would.
pub(super) fn listener(effective: &Effective) -> Option<i32> {
    i32::try_from(daemon(&effective.address()).ok()?).ok()
}

/// Why a guard has to stay: containerd, or a container, would still call it.
pub(super) fn still_needed(tree: &Tree, state: &State, entry: &Entry) -> Result<Option<String>, Problem> {
    if !guard::is_guard(&entry.path) || !tree.is_live() {
        return Ok(None);
    }
    let name = EngineName::Containerd;
    let config = entry.config.as_deref().or_else(|| state.config(name));
    let engine = Engine::find(tree, name, config, None);
    let asked = engine.as_ref().and_then(|engine| Effective::ask(tree, engine).ok()?.ok());
    let effective = asked.unwrap_or_else(|| {
        let unknown = Effective(toml::Table::new());
        engine.as_ref().map_or(unknown.clone(), |engine| unknown.told(engine))
    });
    let count = containers(&effective.state(), &entry.path);
    if count > 0 {
        let s = if count == 1 { "container" } else { "containers" };
        return Ok(Some(format!("{count} {s} made with it still there; stopping one calls it")));
    }
    let behind = "containerd has not been restarted since its configuration was changed";
    Ok(engine.filter(|engine| has_not_read(engine, &effective, state)).map(|_| behind.to_owned()))
}

/// Whether the running containerd was started before its configuration was changed last.
pub(super) fn is_behind(engine: &Engine, tree: &Tree, state: &State) -> bool {
    tree.is_live()
        && Effective::ask(tree, engine)
            .ok()
            .and_then(Result::ok)
            .is_some_and(|effective| has_not_read(engine, &effective, state))
}

fn has_not_read(engine: &Engine, effective: &Effective, state: &State) -> bool {
    let Some(changed) = state.changed(engine) else { return false };
    daemon(&effective.address()).is_ok_and(|pid| is_older(pid, changed))
}

/// How many containers are recorded as made with a runtime.
fn containers(state: &Path, runtime: &Path) -> usize {
    let below = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let tasks = below(&state.join("io.containerd.runtime.v2.task"))
        .flat_map(|namespace| below(&namespace).collect::<Vec<_>>());
    let is_made_with = |bundle: &PathBuf| {
        let text = bounded::text(bundle.join("runtime"), bounded::FACTS);
        text.is_ok_and(|text| Path::new(text.trim()) == runtime)
    };
    tasks.filter(is_made_with).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_was_started_before_now_and_after_its_parent() {
        let own = started(std::process::id()).unwrap();
        assert!(own <= SystemTime::now() + Duration::from_millis(20));
        assert!(started(1).unwrap() <= own + Duration::from_millis(20));
    }

    #[test]
    fn containers_are_counted_by_the_runtime_that_made_them() {
        let state = std::env::temp_dir().join(format!("porthole-tasks-{}", std::process::id()));
        for (namespace, id, runtime) in [
            ("k8s.io", "a", "/etc/porthole/runtime/containerd-runc"),
            ("k8s.io", "b", "runc"),
            ("moby", "c", ""),
        ] {
            let bundle = state.join("io.containerd.runtime.v2.task").join(namespace).join(id);
            std::fs::create_dir_all(&bundle).unwrap();
            std::fs::write(bundle.join("runtime"), runtime).unwrap();
        }
        assert_eq!(containers(&state, Path::new("/etc/porthole/runtime/containerd-runc")), 1);
        assert_eq!(containers(&state, Path::new("/etc/porthole/runtime/containerd-crun")), 0);
        std::fs::remove_dir_all(state).unwrap();
    }
}
