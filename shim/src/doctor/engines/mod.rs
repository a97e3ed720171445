//! Each engine on this node: whether it is configured to call the hook, and runs with that configuration.

pub(super) mod containerd;
mod docker;
pub(super) mod hooks_d;
mod written;

use super::check::{Check, Finding, few};
use super::{Setting, Subject};
use crate::engines::daemon::Daemon;
use crate::exit::Exit;
use crate::install::engine::{self as install, Engine, EngineName};
use crate::install::service;
use crate::install::state::State;
use crate::install::tree::Tree;
use crate::problem::Problem;
use porthole_registry::hook_entry::{PROGRAM, STAGES, is_ours};
use porthole_registry::stage::Stage;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Duration;
use std::time::SystemTime;
use written::Written;

pub(super) const SUBJECT: Subject =
    Subject { checks: &["engine-hook", "engine-loaded", "engine-mounts", "hooks-d"], look };

/// How long an engine may take to answer, so that one that hangs costs only its own line.
const PATIENCE: Duration = Duration::from_secs(8);

/// How an engine calls the hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    /// By the program itself: one that is gone fails every container.
    Direct,
    /// By something that looks first whether it is there.
    Guard,
}

/// What an engine's configuration says.
#[derive(Debug, Default)]
pub(super) struct Wiring {
    /// None where nothing calls the hook.
    pub(super) form: Option<Form>,
    /// By what, for people.
    pub(super) how: String,
    /// Containers that do without.
    pub(super) gaps: Vec<String>,
    /// Containers that `porthole install` leaves without the hook, and why.
    pub(super) left: Vec<String>,
    /// The file that has the hook, and counts after a restart of another program.
    pub(super) waits: Option<String>,
    /// Why the engine cannot be asked. Then its files alone are judged.
    pub(super) unasked: Option<String>,
    /// Why nothing has to call the hook.
    pub(super) unused: Option<&'static str>,
    /// Files that its daemon reads when it starts, and not later.
    pub(super) files: Vec<PathBuf>,
}

fn look(setting: &Setting) -> Vec<Check> {
    let state = setting.state();
    let mut checks = Vec::new();
    let mut mounts = Vec::new();
    for name in EngineName::ALL {
        let engines = engines(setting, &state, name);
        let running = engines.iter().find_map(|engine| engine.daemon.as_ref()).map(Daemon::pid);
        for engine in &engines {
            checks.extend(one(engine, setting, &state, running));
            mounts.extend(own_mounts(engine, setting));
        }
    }
    if checks.is_empty() {
        let evidence = "no container engine is on this node";
        let remedy = "install one; containers that a runtime is given by hand are registered if their bundle has the hook";
        checks.push(Check::warn("engine-hook", "engines", evidence, remedy));
    }
    if mounts.is_empty() {
        let all = "no engine has a mount namespace of its own";
        mounts.push(Check::skip("engine-mounts", "mount namespaces of engines", all));
    }
    checks.extend(mounts);
    checks.extend(hooks_d::look(setting));
    checks
}

/// The engines of a name: those that run, the one in the usual place, and those that have an installation.
fn engines(setting: &Setting, state: &State, name: EngineName) -> Vec<Engine> {
    let mut engines = Engine::all(&setting.tree, name, None, None);
    for config in state.configs(name) {
        if !engines.iter().any(|engine| engine.config == config) {
            engines.extend(Engine::find(&setting.tree, name, Some(config), None));
        }
    }
    engines
}

/// Checks an engine with a mount namespace of its own: it may see other files than doctor does.
fn own_mounts(engine: &Engine, setting: &Setting) -> Option<Check> {
    let daemon = engine.daemon.as_ref().filter(|daemon| daemon.has_own_mounts())?;
    // Its configuration, and the programs of ours that it calls.
    let named = super::named::find(&setting.tree, &setting.state());
    let called = named.program(PROGRAM).into_iter().chain(named.program("porthole-runtime"));
    let read: BTreeSet<_> = called.chain([engine.config.clone()]).collect();
    let unseen: Vec<_> = read
        .into_iter()
        .filter(|path| super::files::exists(path) && daemon.place(path) != *path)
        .map(|path| path.display().to_string())
        .collect();
    let good = format!(
        "process {} has one of its own, in which porthole looks up its pins of network namespaces",
        daemon.pid()
    );
    let mut findings = Vec::new();
    if !unseen.is_empty() {
        let seen =
            format!("process {} has one of its own, and does not see {} in it", daemon.pid(), few(&unseen));
        findings.push(Finding::fail(seen, "have the host's mounts propagate to that mount namespace"));
    }
    Some(Check::of("engine-mounts", engine.name.as_str(), good, findings))
}

fn one(engine: &Engine, setting: &Setting, state: &State, running: Option<i32>) -> Vec<Check> {
    let wiring = match engine.name {
        EngineName::Containerd => containerd::wiring(engine, &setting.tree),
        EngineName::Docker => docker::wiring(engine, &setting.tree),
        EngineName::CriO | EngineName::Podman => hooks_d::wiring(engine, &setting.tree),
    };
    let installed = state.files.iter().any(|entry| entry.is_of(engine));
    let calls = wiring.as_ref().is_ok_and(|wiring| wiring.form.is_some());
    if let Some(pid) = running.filter(|_| !calls && !installed && engine.daemon.is_none()) {
        let why =
            format!("does not run: the {} that runs is process {pid}, which reads another file", engine.name);
        return vec![Check::skip("engine-hook", label(engine), why)];
    }
    let mut checks = vec![hook(engine, &wiring, installed)];
    let Ok(wiring) = wiring else { return checks };
    if engine.name == EngineName::Podman {
        return checks;
    }
    let written = match engine.name {
        EngineName::CriO => {
            let read = install::hooks_d::read_at_start(engine, &setting.tree, state).into_iter();
            read.map(|(path, at)| Written { path, at }).max_by_key(|written| written.at)
        }
        _ => written::newest(&wiring.files),
    };
    let mut facts = Loaded {
        daemon: engine.daemon.as_ref().and_then(|daemon| Some((daemon.pid(), daemon.started()?))),
        written,
        answer: None,
        reads_again: engine.name == EngineName::Docker,
    };
    // After an uninstallation, too, it goes on with the configuration that it has read.
    let is_behind = engine.name == EngineName::CriO && facts.is_behind();
    if wiring.form.is_some() || is_behind {
        facts.answer = setting.is_root.then(|| ask(engine));
        checks.push(loaded(engine, &facts));
    }
    checks
}

/// Asks the running engine, for as long as there is patience with it.
fn ask(engine: &Engine) -> Result<(), Problem> {
    let (sender, receiver) = channel();
    let (name, log, engine) = (engine.title(), service::log(engine), engine.clone());
    std::thread::spawn(move || {
        // Whether it was started since its configuration was changed is asked elsewhere.
        let answer = Tree::open(Path::new("/")).and_then(|tree| engine.check(&tree, SystemTime::UNIX_EPOCH));
        // Nobody waits for one that comes too late.
        let _ = sender.send(answer);
    });
    receiver.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        Err(Problem::new(
            Exit::Failed,
            format!("{name} gives no answer within {} s", PATIENCE.as_secs()),
            format!("{log}, and restart it"),
        ))
    })
}

fn label(engine: &Engine) -> String {
    let version = engine.version.map(|version| format!(" {version}")).unwrap_or_default();
    let config =
        if engine.has_default_config() { String::new() } else { format!(" ({})", engine.config.display()) };
    format!("{}{version}{config}", engine.name)
}

/// The command that installs for this engine.
fn install(engine: &Engine) -> String {
    let config = if engine.has_default_config() {
        String::new()
    } else {
        format!(" --config {}", engine.config.display())
    };
    format!("`porthole install --engine {}{config}`", engine.name)
}

fn hook(engine: &Engine, wiring: &Result<Wiring, String>, installed: bool) -> Check {
    let (name, subject) = ("engine-hook", label(engine));
    let install = install(engine);
    let wiring = match wiring {
        Ok(wiring) => wiring,
        Err(cause) => {
            return Check::warn(name, subject, cause, "repair its configuration, or run this as root");
        }
    };
    if let Some(why) = wiring.unused {
        return Check::skip(name, subject, why);
    }
    let mut findings = Vec::new();
    let reconciled = "`porthole reconcile` registers them, at boot and now and then";
    match wiring.form {
        None if wiring.waits.is_some() => findings.push(Finding::warn(
            wiring.waits.clone().unwrap_or_default(),
            format!("restart it, its containers live on: {}", service::advice(engine)),
        )),
        None if wiring.gaps.is_empty() && !wiring.left.is_empty() => {
            findings.push(Finding::warn(format!("does not call the hook: {}", few(&wiring.left)), reconciled))
        }
        None if wiring.unasked.is_some() => findings.push(Finding::warn(
            format!(
                "cannot be asked what it reads: {}; its files, as far as they tell, do not call the hook",
                wiring.unasked.clone().unwrap_or_default()
            ),
            match &engine.daemon {
                Some(daemon) => {
                    format!("see whether process {}, {}, is {}", daemon.pid(), daemon.line(), engine.name)
                }
                None => install,
            },
        )),
        None if installed => findings.push(Finding::fail(
            "porthole was installed for it, and its configuration does not call the hook any more",
            format!("{install} puts that back"),
        )),
        None => {
            findings.push(Finding::warn("does not call the hook: its containers are not registered", install))
        }
        Some(Form::Direct) => findings.push(Finding::warn(
            format!(
                "calls the hook without a guard ({}): should it be missing one day, every container fails",
                wiring.how
            ),
            format!("{install} puts a guard in its place"),
        )),
        Some(Form::Guard) if !wiring.gaps.is_empty() => findings.push(Finding::warn(
            format!("{}; but not: {}", wiring.how, few(&wiring.gaps)),
            format!("{install}, unless that is meant"),
        )),
        Some(Form::Guard) if !wiring.left.is_empty() => findings
            .push(Finding::warn(format!("{}; but not: {}", wiring.how, few(&wiring.left)), reconciled)),
        Some(Form::Guard) => {}
    }
    Check::of(name, subject, &wiring.how, findings)
}

/// What is known of a daemon and its configuration.
struct Loaded {
    /// Its process, and when that was started.
    daemon: Option<(i32, SystemTime)>,
    /// The file that was changed last.
    written: Option<Written>,
    /// What the daemon says itself. None where it was not asked: sockets are root's.
    answer: Option<Result<(), Problem>>,
    /// It reads its configuration on a signal, so its start tells nothing.
    reads_again: bool,
}

impl Loaded {
    /// Whether it was started before its configuration was changed, and does not read it again.
    fn is_behind(&self) -> bool {
        let changed = |started| self.written.as_ref().is_some_and(|written| started < written.at);
        !self.reads_again && self.daemon.is_some_and(|(_, started)| changed(started))
    }
}

fn loaded(engine: &Engine, facts: &Loaded) -> Check {
    let (name, subject) = ("engine-loaded", engine.title());
    let Some((pid, _)) = facts.daemon else {
        return Check::skip(name, subject, "does not run: it reads its configuration when it starts");
    };
    if let Some(written) = facts.written.as_ref().filter(|_| facts.is_behind()) {
        return Check::warn(
            name,
            subject,
            format!("process {pid} was started before {} was changed", written.path.display()),
            format!("restart it, its containers live on: {}", service::advice(engine)),
        );
    }
    match &facts.answer {
        Some(Ok(())) => {
            Check::ok(name, subject, format!("process {pid} answers, and has read its configuration"))
        }
        Some(Err(problem)) => Check::fail(
            name,
            subject,
            &problem.message,
            problem.remedy.as_deref().unwrap_or("look at its log"),
        ),
        None => {
            Check::ok(name, subject, format!("process {pid} was started since its configuration was changed"))
        }
    }
}

/// How an entry of an OCI configuration calls the hook, if it does.
pub(super) fn form_of(entry: &Value) -> Option<Form> {
    let is_hook = entry["path"].as_str().is_some_and(|path| path.rsplit('/').next() == Some(PROGRAM));
    is_ours(entry).then_some(if is_hook { Form::Direct } else { Form::Guard })
}

/// How the hooks of an OCI configuration call ours: at which stages, and at which not.
pub(super) fn form_of_hooks(hooks: &Value) -> (Option<Form>, Vec<String>) {
    let (mut form, mut gaps) = (None, Vec::new());
    for stage in Stage::HOOKED {
        let entries = hooks[stage.as_str()].as_array().map(Vec::as_slice).unwrap_or_default();
        match entries.iter().filter_map(form_of).min() {
            Some(found) => form = Some(form.map_or(found, |known: Form| known.min(found))),
            None if STAGES.contains(&stage) => gaps.push(format!("stage {stage}")),
            None => {}
        }
    }
    (form, gaps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Verdict;
    use crate::install::engine::Version;
    use porthole_registry::hook_entry::{HookPath, entry};
    use serde_json::json;
    use std::time::SystemTime;

    fn engine() -> Engine {
        let version = Some(Version { major: 2, minor: 1 });
        Engine {
            name: EngineName::Containerd,
            version,
            program: None,
            config: "/etc/containerd/config.toml".into(),
            daemon: None,
        }
    }

    #[test]
    fn an_engine_that_calls_the_hook_through_a_guard_is_ok_and_every_other_way_is_told() {
        let wiring = |form, gaps: &[&str]| {
            let gaps = gaps.iter().map(|gap| (*gap).to_owned()).collect();
            Ok(Wiring { form, how: "base spec".into(), gaps, ..Wiring::default() })
        };
        let verdict = |wiring, installed| hook(&engine(), &wiring, installed).verdict;
        assert_eq!(verdict(wiring(Some(Form::Guard), &[]), true), Verdict::Ok);
        assert_eq!(verdict(wiring(Some(Form::Guard), &["stage poststop"]), true), Verdict::Warn);
        // `install` would leave it as it is again, so it is no remedy.
        for form in [None, Some(Form::Guard)] {
            let left = Wiring { form, left: vec!["runtime kata".into()], ..Wiring::default() };
            let check = hook(&engine(), &Ok(left), false);
            assert_eq!(check.verdict, Verdict::Warn);
            assert!(!check.remedy.unwrap().contains("install"));
        }
        assert_eq!(verdict(wiring(Some(Form::Direct), &[]), true), Verdict::Warn);
        assert_eq!(verdict(wiring(None, &[]), false), Verdict::Warn);
        assert_eq!(verdict(wiring(None, &[]), true), Verdict::Fail);
        assert_eq!(verdict(Err("no TOML".into()), true), Verdict::Warn);
        let unused = Wiring { unused: Some("makes no pods"), ..Wiring::default() };
        assert_eq!(verdict(Ok(unused), false), Verdict::Skip);
        let check = hook(&engine(), &wiring(None, &[]), false);
        assert_eq!(check.remedy.as_deref(), Some("`porthole install --engine containerd`"));
        assert_eq!(check.subject, "containerd 2.1");
    }

    #[test]
    fn a_daemon_older_than_its_configuration_has_to_be_restarted() {
        let now = SystemTime::now();
        let facts = |started, reads_again, answer| Loaded {
            daemon: Some((7, started)),
            written: Some(Written { path: "/c".into(), at: now }),
            answer,
            reads_again,
        };
        let (before, after) = (now - Duration::from_secs(9), now + Duration::from_secs(9));
        let verdict = |facts| loaded(&engine(), &facts).verdict;
        assert_eq!(verdict(facts(before, false, Some(Ok(())))), Verdict::Warn);
        assert_eq!(verdict(facts(after, false, Some(Ok(())))), Verdict::Ok);
        assert_eq!(verdict(facts(after, false, None)), Verdict::Ok);
        assert_eq!(verdict(facts(before, true, Some(Ok(())))), Verdict::Ok);
        assert_eq!(verdict(facts(after, false, Some(Err(Problem::failed("no CRI plugin"))))), Verdict::Fail);
        let none = Loaded { daemon: None, ..facts(after, false, None) };
        assert_eq!(verdict(none), Verdict::Skip);
    }

    #[test]
    fn a_guard_is_told_from_a_program_and_missing_stages_are_named() {
        let hook = HookPath::parse(Path::new("/usr/libexec/porthole/porthole-hook")).unwrap();
        let guard = entry(&hook, Stage::Poststop);
        let direct = json!({"path": hook.as_str(), "args": ["porthole-hook", "poststop"]});
        assert_eq!(form_of(&guard), Some(Form::Guard));
        assert_eq!(form_of(&direct), Some(Form::Direct));
        assert_eq!(form_of(&json!({"path": "/bin/true"})), None);
        let hooks = json!({"createRuntime": [guard], "poststart": [direct]});
        assert_eq!(form_of_hooks(&hooks), (Some(Form::Direct), vec!["stage poststop".to_owned()]));
        assert_eq!(form_of_hooks(&Value::Null).0, None);
    }
}
