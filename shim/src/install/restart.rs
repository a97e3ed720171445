//! Makes engines read their changed configuration: by a restart of their unit or script, or by a signal.

use super::engine::{Engine, docker};
use super::plan::{Plan, Reload};
use super::service::{self, Service};
use super::tree::Tree;
use crate::exit::Exit;
use crate::problem::Problem;
use std::time::{Duration, Instant, SystemTime};

/// How long an engine may take to answer after its start.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it may not be there at all, or be the one that was to be restarted.
const ABSENCE: Duration = Duration::from_secs(10);

/// The result for an engine.
#[derive(Debug)]
pub(super) struct Told<'a> {
    engine: &'a Engine,
    /// The restart or the signal. None where there was neither.
    by: Option<Means>,
}

impl Told<'_> {
    /// The unit or script that was restarted.
    pub(super) fn service(&self) -> Option<&Service> {
        match &self.by {
            Some(Means::Restart(service)) => Some(service),
            _ => None,
        }
    }
}

/// The way in which an engine reads its configuration again.
#[derive(Clone, Debug)]
enum Means {
    Restart(Service),
    Signal,
}

/// Makes an engine of the plan read its configuration, and waits for its answer. Returns whether it answers: an engine that
/// does not run reads it at its start, and the operator restarts others later.
pub(super) fn one<'a>(
    tree: &Tree,
    plan: &Plan,
    engine: &'a Engine,
    restart: bool,
) -> (Told<'a>, Result<bool, Problem>) {
    let untouched = |result| (Told { engine, by: None }, result);
    let pending = plan.reloads.iter().find(|pending| pending.is_of(engine));
    let means = match pending.map_or(Reload::Nothing, |pending| pending.reload) {
        _ if !tree.is_live() => return untouched(Ok(false)),
        Reload::Nothing => return untouched(Ok(false)),
        Reload::Restart if !restart || engine.daemon.is_none() => return untouched(Ok(false)),
        Reload::Restart => match Service::of(engine) {
            Ok(service) => Means::Restart(service),
            Err(why) => return untouched(Err(service::refusal(engine, &why))),
        },
        Reload::Signal => Means::Signal,
    };
    let since = SystemTime::now();
    let told = means.tell(engine, tree);
    let read = told.and_then(|told| if told { wait(engine, tree, since).map(|()| true) } else { Ok(false) });
    let read =
        read.and_then(|told| if told { engine.verify_started(tree, plan).map(|()| true) } else { Ok(false) });
    (Told { engine, by: Some(means) }, read)
}

impl Means {
    /// Restarts or signals the engine. Returns whether one runs.
    fn tell(&self, engine: &Engine, tree: &Tree) -> Result<bool, Problem> {
        match self {
            Self::Signal => docker::reload(engine, tree),
            Self::Restart(service) => service.restart().map(|()| true).map_err(|cause| {
                let what = format!("restart {} by `{service}`: {cause}", engine.title());
                Problem::new(Exit::Failed, what, service.log())
            }),
        }
    }
}

/// After the old configuration was put back: has the engines read that. What fails now is added to the problem.
pub(super) fn again(tree: &Tree, touched: &[Told<'_>], mut problem: Problem) -> Problem {
    for Told { engine, by } in touched {
        let Some(by) = by else { continue };
        problem.message += &match by.tell(engine, tree) {
            Ok(_) => format!("; {} runs with that again", engine.title()),
            Err(error) => format!("; {} could not be started with that: {}", engine.title(), error.message),
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
