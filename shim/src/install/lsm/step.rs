//! Loading, unloading and labelling: the programs of the security module that are run, and how that is taken back.

use super::{Loaded, Module};
use crate::exit::Exit;
use crate::install::plan::Plan;
use crate::install::run;
use crate::install::state::State;
use crate::problem::Problem;
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// semodule builds the whole policy anew.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    Load,
    Unload,
    /// Files get the labels that the policy has for them.
    Label,
}

/// A program of the security module's that is to be run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Step {
    pub(super) module: Module,
    pub(crate) action: Action,
    pub(super) program: PathBuf,
    pub(super) args: Vec<String>,
    /// Of what is loaded, where it is ours to unload.
    #[serde(skip)]
    pub(super) digest: Option<String>,
}

/// Notes in the state what is going to be loaded.
pub(in crate::install) fn announce(plan: &Plan, state: &mut State) {
    for step in plan.policies.iter().filter(|step| step.digest.is_some()) {
        record(state, step.module, None);
    }
}

/// Runs the steps of a plan; those that are done are added to `done`.
pub(in crate::install) fn apply<'a>(plan: &'a Plan, done: &mut Vec<&'a Step>) -> Result<(), Problem> {
    for step in &plan.policies {
        step.run()
            .map_err(|e| Problem::new(Exit::Failed, format!("{}: {e}", step.command()), step.remedy()))?;
        done.push(step);
    }
    Ok(())
}

/// Notes in the state what was loaded.
pub(in crate::install) fn remember(done: &[&Step], state: &mut State) {
    for step in done.iter().filter(|step| step.digest.is_some()) {
        record(state, step.module, step.digest.clone());
    }
}

fn record(state: &mut State, module: Module, digest: Option<String>) {
    state.loaded.retain(|loaded| loaded.module != module);
    state.loaded.push(Loaded { module, digest });
}

/// Before files are put back: unloads what was not loaded before. Returns what could not be.
pub(in crate::install) fn withdraw(done: &[&Step], before: &State) -> Vec<String> {
    let was_loaded = |module| before.loaded.iter().any(|loaded| loaded.module == module);
    let is_new = |step: &&&Step| step.digest.is_some() && !was_loaded(step.module);
    let mut stuck = Vec::new();
    for step in done.iter().filter(is_new) {
        let file = step.args.last().map(PathBuf::from).unwrap_or_default();
        let undo = step.module.unload(step.program.clone(), &file);
        stuck.extend(undo.run().err().map(|e| format!("{} stays loaded: {e}", step.module.policy())));
    }
    stuck
}

/// After files were put back: loads what was loaded before, and labels files by that. What fails is added to the problem.
pub(in crate::install) fn again(
    done: &[&Step],
    before: &State,
    mut stuck: Vec<String>,
    mut problem: Problem,
) -> Problem {
    let was_loaded = |module| before.loaded.iter().any(|loaded| loaded.module == module);
    for step in done {
        let is_old = step.digest.is_some() && was_loaded(step.module);
        // A module that could not be loaded has labelled nothing.
        if is_old || step.action == Action::Label {
            stuck.extend(step.run().err().map(|e| format!("{}: {e}", step.command())));
        }
    }
    for cause in stuck {
        problem.message += &format!("; but {cause}");
    }
    problem
}

impl Step {
    fn run(&self) -> std::io::Result<()> {
        let args: Vec<_> = self.args.iter().map(String::as_str).collect();
        run::output_within(&self.program, &args, PATIENCE).map(drop)
    }

    pub(crate) fn command(&self) -> String {
        format!("{} {}", self.program.display(), self.args.join(" "))
    }

    /// What it is done to.
    pub(crate) const fn subject(&self) -> &'static str {
        match self.action {
            Action::Label => "files of porthole's, for SELinux",
            _ => self.module.policy(),
        }
    }

    const fn remedy(&self) -> &'static str {
        match (self.action, self.module) {
            (Action::Unload, _) => {
                "repair that, then run `porthole uninstall` again: the rest is left for it"
            }
            (Action::Label, _) => "look at the files that it names, then run this again",
            (Action::Load, Module::Apparmor) => {
                "AppArmor has to be 3.0 or later; a profile porthole-debug of your own in /etc/apparmor.d is left as it \
                 is, and loaded; --no-policy installs without one"
            }
            (Action::Load, Module::Selinux) => {
                "the policy has to be Fedora's, the reference policy, or one like them; with a module of your own \
                 that has porthole_debug_t loaded, none of porthole's is; --no-policy installs without one"
            }
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Load => "load",
            Self::Unload => "unload",
            Self::Label => "label",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn what_was_loaded_before_is_not_unloaded_by_an_installation_that_fails() {
        // Fails, and says so, where it is run.
        let program = PathBuf::from("/nonexistent/semodule");
        let step = Module::Selinux.load(program, Path::new("/m.cil"), Some("0".into()));
        let mut before = State::default();
        assert_eq!(withdraw(&[&step], &before).len(), 1);
        record(&mut before, Module::Apparmor, None);
        assert_eq!(withdraw(&[&step], &before).len(), 1);
        record(&mut before, Module::Selinux, Some("1".into()));
        assert_eq!(withdraw(&[&step], &before), [""; 0]);
        let problem = again(&[&step], &before, Vec::new(), Problem::failed("x"));
        assert!(
            problem.message.starts_with("x; but /nonexistent/semodule -i /m.cil: "),
            "{}",
            problem.message
        );
        // Nor what is not ours.
        let theirs = Step { digest: None, ..step };
        assert_eq!(withdraw(&[&theirs], &State::default()), [""; 0]);
    }
}
