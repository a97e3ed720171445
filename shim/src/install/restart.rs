//! Having engines read their changed configuration: a restart by the service manager, or a signal.

use super::engine::{Engine, EngineName, docker};
use super::plan::{Plan, Reload};
use super::run;
use super::tree::Tree;
use crate::exit::Exit;
use crate::problem::Problem;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

/// How long an engine may take to answer after its start.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it may not be there at all, or be the one that was to be restarted.
const ABSENCE: Duration = Duration::from_secs(10);

/// An engine that was told, and how.
pub(super) type Touched<'a> = (&'a Engine, Reload);

/// Has each engine of the plan read its configuration, and waits until it answers. Returns those that do; of the others
/// the operator is told. An error names the engines that were touched before it.
pub(super) fn reload<'a>(
    tree: &Tree,
    plan: &Plan,
    engines: &'a [Engine],
    restart: bool,
) -> Result<Vec<EngineName>, (Vec<Touched<'a>>, Problem)> {
    let mut ready = Vec::new();
    let mut touched = Vec::new();
    if !tree.is_live() {
        return Ok(ready);
    }
    for (name, reload) in &plan.reloads {
        let Some(engine) = engines.iter().find(|engine| engine.name == *name) else { continue };
        let since = SystemTime::now();
        let told = match reload {
            Reload::Nothing => continue,
            Reload::Restart if !restart => continue,
            Reload::Restart => service(engine).map(|()| true),
            Reload::Signal => docker::reload(engine, tree),
        };
        touched.push((engine, *reload));
        match told.and_then(|told| if told { wait(engine, tree, since).map(|()| true) } else { Ok(false) }) {
            Ok(true) => ready.push(*name),
            // It does not run: it reads its configuration when it starts.
            Ok(false) => {}
            Err(problem) => return Err((touched, problem)),
        }
    }
    match super::units::reload(tree, plan) {
        Ok(()) => Ok(ready),
        Err(problem) => Err((touched, problem)),
    }
}

/// After the old configuration was put back: has the engines read that. What fails now is added to the problem.
pub(super) fn again(tree: &Tree, touched: &[Touched<'_>], mut problem: Problem) -> Problem {
    for (engine, reload) in touched {
        let told = match reload {
            Reload::Restart => service(engine),
            Reload::Signal => docker::reload(engine, tree).map(drop),
            Reload::Nothing => Ok(()),
        };
        problem.message += &match told {
            Ok(()) => format!("; {} runs with that again", engine.name),
            Err(error) => format!("; {} could not be started with that: {}", engine.name, error.message),
        };
    }
    problem
}

fn wait(engine: &Engine, tree: &Tree, since: SystemTime) -> Result<(), Problem> {
    let until = Instant::now() + PATIENCE;
    let mut seen = Instant::now();
    loop {
        let Err(problem) = engine.check(tree, since) else { return Ok(()) };
        let now = Instant::now();
        if engine.is_there(tree, since) {
            seen = now;
        }
        if now >= until || now.duration_since(seen) >= ABSENCE {
            return Err(problem);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Restarts an engine's service: by systemd where that runs, else by its init script.
fn service(engine: &Engine) -> Result<(), Problem> {
    let unit = match engine.name {
        EngineName::Docker => "docker",
        name => name.daemon(),
    };
    let script = Path::new("/etc/init.d").join(unit);
    let done = if Path::new("/run/systemd/system").is_dir() {
        run::output(Path::new("/usr/bin/systemctl"), &["restart", unit])
    } else if script.is_file() {
        run::output(&script, &["restart"])
    } else {
        return Err(Problem::new(
            Exit::Failed,
            format!("restart {}: neither systemd nor {} is there", engine.name, script.display()),
            "run this without --restart, and restart the engine by hand",
        ));
    };
    done.map(drop).map_err(|e| {
        Problem::new(
            Exit::Failed,
            format!("restart {}: {e}", engine.name),
            format!("look at what it logs: `journalctl -u {unit}`"),
        )
    })
}
