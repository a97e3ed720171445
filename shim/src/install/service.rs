//! The service of an engine's daemon: the systemd unit that its process runs in, or the init script that has started it.
//! Any other unit or script would restart another daemon.

use super::engine::{Engine, EngineName};
use super::run;
use crate::engines::daemon::Daemon;
use crate::exit::Exit;
use crate::problem::Problem;
use porthole_registry::bounded;
use std::fmt;
use std::path::{Path, PathBuf};

/// Units of logins, in which somebody has started a daemon by hand.
const LOGINS: [&str; 6] = ["user@", "getty@", "serial-getty@", "console-getty.", "ssh.", "sshd."];
/// Where init scripts are.
const SCRIPTS: &str = "/etc/init.d";
/// The program that restarts units.
const SYSTEMCTL: &str = "/usr/bin/systemctl";

/// The service of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// A unit of systemd's.
    Unit(String),
    /// An init script.
    Script(PathBuf),
}

/// Whether systemd manages the running system.
pub(crate) fn has_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

impl Service {
    /// The service of this engine's daemon. An error says why none is known.
    pub(crate) fn of(engine: &Engine) -> Result<Self, String> {
        let usual = if engine.name == EngineName::Docker { "docker" } else { engine.name.daemon() };
        let Some(daemon) = &engine.daemon else {
            // The service of its name starts an engine that does not run, with the default configuration.
            let script = Path::new(SCRIPTS).join(usual);
            return match engine.has_default_config() {
                true if has_systemd() => Ok(Self::Unit(usual.to_owned())),
                true if script.is_file() => Ok(Self::Script(script)),
                _ => Err(format!("no {} that reads {} runs", engine.name, engine.config.display())),
            };
        };
        if has_systemd() {
            return unit(daemon);
        }
        let scripts = [usual].into_iter().map(str::to_owned).chain(daemon.ancestors());
        let scripts = scripts.map(|name| Path::new(SCRIPTS).join(name)).filter(|path| path.is_file());
        let texts = scripts.filter_map(|path| Some((bounded::text(&path, bounded::LISTS).ok()?, path)));
        let found = texts.into_iter().find(|(text, _)| starts(text, engine, daemon));
        found.map(|(_, path)| Self::Script(path)).ok_or_else(|| {
            format!("systemd does not run, and no script in {SCRIPTS} starts process {}", daemon.pid())
        })
    }

    /// Restarts it. An error says what failed.
    pub(crate) fn restart(&self) -> Result<(), String> {
        match self {
            Self::Unit(unit) => run::output(Path::new(SYSTEMCTL), &["restart", unit]),
            Self::Script(script) => run::output(script, &["restart"]),
        }
        .map(drop)
        .map_err(|e| e.to_string())
    }

    /// How to read what it logs.
    pub(crate) fn log(&self) -> String {
        match self {
            Self::Unit(unit) => format!("look at its log: `journalctl -u {unit}`"),
            Self::Script(_) => "look at its log".to_owned(),
        }
    }
}

/// The command that restarts it.
impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit(unit) => write!(f, "systemctl restart {unit}"),
            Self::Script(script) => write!(f, "{} restart", script.display()),
        }
    }
}

/// The operator's command to make the engine read its configuration.
pub(crate) fn advice(engine: &Engine) -> String {
    match (Service::of(engine), &engine.daemon) {
        (Ok(service), _) => format!("`{service}`"),
        (Err(why), Some(daemon)) => {
            format!("restart process {} as it was started, {}: {why}", daemon.pid(), daemon.line())
        }
        (Err(why), None) => why,
    }
}

/// How to read what an engine logs.
pub(crate) fn log(engine: &Engine) -> String {
    Service::of(engine).map_or_else(|_| "look at its log".to_owned(), |service| service.log())
}

/// The refusal to restart an engine.
pub(crate) fn refusal(engine: &Engine, why: &str) -> Problem {
    Problem::new(
        Exit::Failed,
        format!("restart {}: {why}", engine.title()),
        "run this without --restart, then restart the engine as it was started",
    )
}

fn unit(daemon: &Daemon) -> Result<Service, String> {
    let pid = daemon.pid();
    let Some(unit) = daemon.unit() else { return Err(format!("process {pid} runs in no unit of systemd's")) };
    if LOGINS.iter().any(|login| unit.starts_with(login)) {
        return Err(format!("process {pid} was started by hand, in {unit}"));
    }
    Ok(Service::Unit(unit.strip_suffix(".service").unwrap_or(unit).to_owned()))
}

/// Whether an init script has started this daemon: the pid file that it names says so; or, where it names none, it
/// calls the daemon's program, with the daemon's configuration.
fn starts(script: &str, engine: &Engine, daemon: &Daemon) -> bool {
    let words = || script.split(|c: char| c.is_whitespace() || "\"'=;&|()".contains(c));
    let pid_files = words().filter(|word| word.starts_with('/') && word.ends_with(".pid"));
    let pids: Vec<i32> =
        pid_files.filter_map(|file| bounded::text(file, bounded::FACTS).ok()?.trim().parse().ok()).collect();
    if !pids.is_empty() {
        return pids.iter().any(|&pid| pid == daemon.pid() || daemon.has_ancestor(pid));
    }
    let names = |path: &Path| words().any(|word| Path::new(word) == path);
    let program = engine.program.as_deref().is_some_and(names);
    let other = words()
        .any(|word| word.starts_with('/') && word.ends_with(".toml") && Path::new(word) != engine.config);
    program && (names(&engine.config) || (engine.has_default_config() && !other))
}
