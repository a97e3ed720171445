//! `porthole doctor`: looks at everything that has to be right on a node, says what it saw, and what to do. It changes
//! nothing.
//!
//! For each subject facts are gathered, then judged: the judgement is a function without side effects. Every subject has a
//! thread of its own and a limited time, so that an engine that hangs is one line and not a hanging command.

mod adoption;
mod binaries;
mod check;
mod engines;
mod files;
mod kernel;
mod logging;
mod lsm;
mod named;
mod netns_dir;
mod pin_names;
mod pins;
mod registry;
mod report;
mod timeouts;
mod units;

use crate::exit::{Exit, ExitCode};
use crate::install::state::State;
use crate::install::tree::Tree;
use crate::output::Format;
use crate::problem::Problem;
use check::{Check, Verdict};
use clap::builder::PossibleValuesParser;
use porthole_registry::config::Config;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long everything together may take: a program that is asked for its version has 20 s of it.
const PATIENCE: Duration = Duration::from_secs(25);

/// The checks of each subject, in the order in which they are told.
const SUBJECTS: [Subject; 12] = [
    binaries::SUBJECT,
    engines::SUBJECT,
    timeouts::SUBJECT,
    registry::SUBJECT,
    netns_dir::SUBJECT,
    pins::SUBJECT,
    pin_names::SUBJECT,
    adoption::SUBJECT,
    units::SUBJECT,
    kernel::SUBJECT,
    lsm::SUBJECT,
    logging::SUBJECT,
];

/// Checks that share what they look at.
#[derive(Clone, Copy)]
struct Subject {
    checks: &'static [&'static str],
    look: fn(&Setting) -> Vec<Check>,
}

/// What every subject is looked at from.
#[derive(Debug)]
struct Setting {
    config: Config,
    /// What is wrong with the configuration.
    config_problems: Vec<String>,
    is_root: bool,
    tree: Tree,
    /// None where it may not be read.
    state: Option<Result<State, Problem>>,
}

impl Setting {
    /// What `porthole install` has written down, where there is something that can be read.
    fn state(&self) -> State {
        self.state.clone().and_then(Result::ok).unwrap_or_default()
    }
}

/// Why something cannot be looked at.
const NEEDS_ROOT: &str = "needs root";

#[derive(Debug, clap::Args)]
pub(crate) struct DoctorArgs {
    /// Only these checks; without any, all of them
    #[arg(value_name = "CHECK", value_parser = PossibleValuesParser::new(names()), hide_possible_values = true)]
    checks: Vec<String>,
}

fn names() -> Vec<&'static str> {
    SUBJECTS.iter().flat_map(|subject| subject.checks).copied().collect()
}

/// Runs the command. A configuration with a mistake is a finding here, not a refusal.
pub(crate) fn run(args: &DoctorArgs, config: Option<&Path>, format: Format) -> Result<ExitCode, Problem> {
    let (config, problems) = Config::load(config);
    let is_root = rustix::process::geteuid().is_root();
    let tree = Tree::open(Path::new("/"))?;
    let state = Some(State::load(&tree)).filter(|state| is_root || state.is_ok());
    let config_problems = problems.iter().map(ToString::to_string).collect();
    let setting = Arc::new(Setting { config, config_problems, is_root, tree, state });
    let wanted = |name: &str| args.checks.is_empty() || args.checks.iter().any(|check| check == name);
    let subjects = SUBJECTS.into_iter().filter(|subject| subject.checks.iter().any(|check| wanted(check)));
    let mut checks = look(subjects, &setting, PATIENCE);
    checks.retain(|check| wanted(check.name));
    report::print(&checks, format)?;
    let failed = checks.iter().any(|check| check.verdict == Verdict::Fail);
    Ok(if failed { Exit::Failed } else { Exit::Done }.into())
}

/// Looks at subjects side by side, for as long as there is patience.
fn look(subjects: impl Iterator<Item = Subject>, setting: &Arc<Setting>, patience: Duration) -> Vec<Check> {
    let until = Instant::now() + patience;
    let started: Vec<_> = subjects.map(|subject| (subject, start(subject, setting))).collect();
    let mut checks = Vec::new();
    for (Subject { checks: names, .. }, answer) in started {
        let left = until.saturating_duration_since(Instant::now());
        let (evidence, remedy) = match answer.map(|answer| answer.recv_timeout(left)) {
            Some(Ok(found)) => {
                checks.extend(found);
                continue;
            }
            Some(Err(RecvTimeoutError::Timeout)) => (
                format!("no answer within {} s", patience.as_secs()),
                "look for an engine or a file system that hangs: processes in state D",
            ),
            Some(Err(RecvTimeoutError::Disconnected)) => {
                ("ended without an answer".to_owned(), "this is a mistake in porthole: please report it")
            }
            None => (
                "no thread could be started".to_owned(),
                "see whether the node is out of processes or memory",
            ),
        };
        checks.extend(names.iter().map(|name| Check::fail(name, "the check itself", &evidence, remedy)));
    }
    checks
}

fn start(subject: Subject, setting: &Arc<Setting>) -> Option<Receiver<Vec<Check>>> {
    let (sender, receiver) = channel();
    let setting = Arc::clone(setting);
    let look = move || {
        // Nobody waits for it any more: its answer is of no use then.
        let _ = sender.send((subject.look)(&setting));
    };
    std::thread::Builder::new().name("doctor".to_owned()).spawn(look).ok().map(|_| receiver)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    pub(super) fn setting() -> Arc<Setting> {
        Arc::new(Setting {
            config: Config::default(),
            config_problems: Vec::new(),
            is_root: false,
            tree: Tree::open(Path::new("/")).unwrap(),
            state: None,
        })
    }

    #[test]
    fn every_check_has_a_name_of_its_own_in_kebab_case() {
        let names = names();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len(), "{names:?}");
        for name in names {
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{name}");
        }
    }

    #[test]
    fn a_subject_that_hangs_is_told_of_and_the_others_are_judged() {
        let stuck = Subject {
            checks: &["stuck"],
            look: |_| {
                std::thread::sleep(Duration::from_secs(60));
                Vec::new()
            },
        };
        let fine = Subject { checks: &["fine"], look: |_| vec![Check::ok("fine", "it", "is")] };
        let begin = Instant::now();
        let checks = look([stuck, fine].into_iter(), &setting(), Duration::from_millis(300));
        assert!(begin.elapsed() < Duration::from_secs(10));
        let verdicts: Vec<_> = checks.iter().map(|check| (check.name, check.verdict)).collect();
        assert_eq!(verdicts, [("stuck", Verdict::Fail), ("fine", Verdict::Ok)]);
    }

    #[test]
    fn a_check_that_panics_is_told_of() {
        let broken = Subject { checks: &["broken"], look: |_| panic!("on purpose") };
        let checks = look([broken].into_iter(), &setting(), Duration::from_secs(30));
        assert_eq!((checks[0].name, checks[0].verdict), ("broken", Verdict::Fail));
    }
}
