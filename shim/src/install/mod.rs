//! `porthole install` and `porthole uninstall`: the engines of this node made to call the hook, and everything taken back.
//!
//! Detect, plan, show, apply, reload, check; what fails is put back. The plan is data ([`plan::Plan`]); what was changed is
//! remembered ([`state::State`]), so that `uninstall` reverses exactly that.

pub(crate) mod apply;
pub(crate) mod binaries;
pub(crate) mod edit;
pub(crate) mod engine;
pub(crate) mod guard;
pub(crate) mod lsm;
pub(crate) mod plan;
mod recover;
mod report;
pub(crate) mod restart;
pub(crate) mod run;
pub(crate) mod service;
mod settle;
pub(crate) mod state;
pub(crate) mod tree;
mod uninstall;
pub(crate) mod units;

use crate::exit::{Exit, ExitCode};
use crate::output::Format;
use crate::problem::Problem;
use engine::{Context, Engine, EngineName, Version};
use plan::{Owner, Plan};
use settle::{Settled, Settling};
use state::{Entry, State};
use std::path::{Path, PathBuf};
use tree::Tree;

/// How an engine is made to call the hook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Method {
    /// What suits the engine: hooks.d for CRI-O and podman, base-spec for containerd, runtime for Docker
    #[default]
    Auto,
    /// JSON files in a directory that the engine reads: CRI-O, podman
    #[value(name = "hooks.d")]
    HooksD,
    /// containerd's base_runtime_spec: containers of pods, not their sandboxes
    BaseSpec,
    /// A wrapper around the runtime: containerd, sandboxes too; Docker
    Runtime,
}

/// What both commands take.
#[derive(Debug, clap::Args)]
pub(crate) struct Selection {
    /// Only this engine: containerd, cri-o, podman or docker; with =VERSION where its program cannot be asked. Repeatable
    #[arg(long = "engine", value_name = "NAME[=VERSION]", value_parser = engine_option)]
    engines: Vec<(EngineName, Option<Version>)>,
    /// Another tree than the running system's: an image that is being built
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// Restart the engines that need it, and check that they answer
    #[arg(long)]
    restart: bool,
    /// Show what would be changed, as a diff, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The configuration of the engine, where it is not in its usual place; with one --engine
    #[arg(id = "config", long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct InstallArgs {
    #[command(flatten)]
    selection: Selection,
    /// How the engines are made to call the hook
    #[arg(long, value_enum, default_value_t, value_name = "METHOD")]
    method: Method,
    /// Load no policy: where SELinux or AppArmor is active, exec then needs --profile sysadmin, or -Z
    #[arg(long)]
    no_policy: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct UninstallArgs {
    #[command(flatten)]
    selection: Selection,
}

fn engine_option(word: &str) -> Result<(EngineName, Option<Version>), String> {
    let (name, version) = word.split_once('=').map_or((word, None), |(name, version)| (name, Some(version)));
    let known = EngineName::ALL.into_iter().find(|engine| engine.as_str() == name);
    let engine = known.ok_or("known are containerd, cri-o, podman, docker")?;
    let version =
        version.map(|version| Version::find(version).ok_or("a version is MAJOR.MINOR")).transpose()?;
    Ok((engine, version))
}

/// Our programs, by their paths in the tree.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    pub(crate) porthole: PathBuf,
    pub(crate) hook: PathBuf,
    pub(crate) runtime: PathBuf,
}

impl Selection {
    fn check(&self) -> Result<(), Problem> {
        if self.config.is_some() && self.engines.len() != 1 {
            return Err(Problem::new(
                Exit::Usage,
                "--config names the configuration of one engine, and there is not one --engine",
                "say which: --engine containerd --config FILE",
            ));
        }
        let paths = [Some(&self.root), self.config.as_ref()];
        if let Some(path) = paths.into_iter().flatten().find(|path| !path.is_absolute()) {
            return Err(Problem::new(Exit::Usage, format!("{}: is no absolute path", path.display()), ""));
        }
        Ok(())
    }

    /// Whether whoever asks can change what is to be changed.
    fn may_change(&self, tree: &Tree) -> Result<(), Problem> {
        if tree.is_live() && !self.dry_run && !rustix::process::geteuid().is_root() {
            return Err(Problem::new(
                Exit::Failed,
                "only root may change what the engines read",
                "sudo porthole …; or --dry-run, which shows what would be changed",
            ));
        }
        Ok(())
    }

    /// Whether an engine is meant.
    fn includes(&self, engine: EngineName) -> bool {
        self.engines.is_empty() || self.engines.iter().any(|(name, _)| *name == engine)
    }

    /// Whether the selection covers a changed file.
    fn covers(&self, entry: &Entry) -> bool {
        let of_config = || self.config.as_ref().is_none_or(|config| entry.is_of_config(config));
        matches!(entry.owner, Owner::Engine(name) if self.includes(name)) && of_config()
    }

    /// The engines in the tree that are meant.
    fn find(&self, tree: &Tree) -> Result<Vec<Engine>, Problem> {
        let mut found = Vec::new();
        for name in EngineName::ALL {
            if !self.includes(name) {
                continue;
            }
            let version =
                self.engines.iter().find(|(engine, _)| *engine == name).and_then(|(_, version)| *version);
            let engines = Engine::all(tree, name, self.config.as_deref(), version);
            if engines.is_empty() && !self.engines.is_empty() {
                return Err(Problem::new(
                    Exit::Failed,
                    format!("{name}: no program {} and no configuration of it is there", name.daemon()),
                    format!(
                        "say --engine {name}=VERSION if it is to come, --config FILE if its configuration is elsewhere"
                    ),
                ));
            }
            found.extend(engines);
        }
        Ok(found)
    }
}

/// Runs `porthole install`.
pub(crate) fn install(args: &InstallArgs, format: Format) -> Result<ExitCode, Problem> {
    let selection = &args.selection;
    selection.check()?;
    let tree = Tree::open(&selection.root)?;
    selection.may_change(&tree)?;
    let lock = (!selection.dry_run).then(|| state::lock(&tree)).transpose()?;
    let (state, notes) = State::complete(&tree, selection.config.as_deref(), !selection.dry_run)?;
    let engines = selection.find(&tree)?;
    if engines.is_empty() {
        return Err(Problem::new(
            Exit::Failed,
            format!("no container engine is in {}", tree.root().display()),
            "install one first, or say which is to come: --engine containerd=2.1",
        ));
    }
    let mut plan = Plan { notes, ..Plan::default() };
    let programs = binaries::install(&tree, &state, &mut plan)?;
    let is_named = selection.config.is_some();
    let context = Context { tree: &tree, state: &state, programs: &programs, method: args.method, is_named };
    let mut refused = Vec::new();
    let mut taken = Vec::new();
    for engine in engines {
        // The changes of a refused plan go with it.
        let mut attempt = plan.clone();
        match engine.plan(&context, &mut attempt) {
            Ok(()) => {
                plan = attempt;
                taken.push(engine);
            }
            Err(problem) => refused.push((engine.title(), problem)),
        }
    }
    let engines = taken;
    if engines.is_empty() {
        return Err(report::refusals(refused));
    }
    units::install(&context, &mut plan)?;
    if args.no_policy {
        lsm::leave_out(&context, &mut plan);
    } else {
        lsm::install(&context, &mut plan)?;
    }
    let plan = plan.in_order(false);
    report::plan(&plan, &engines, selection.dry_run, format)?;
    if selection.dry_run {
        return if refused.is_empty() { Ok(Exit::Done.into()) } else { Err(report::refusals(refused)) };
    }
    let settled = put(&tree, &state, &plan, &engines, selection.restart)?;
    drop(lock);
    report::installed(&plan, &settled, &engines, &tree, format)?;
    refused.extend(settled.refused.into_iter().map(|refused| (refused.engine.title(), refused.problem)));
    if refused.is_empty() { Ok(Exit::Done.into()) } else { Err(report::refusals(refused)) }
}

/// Applies a plan that installs, has the engines read it and checks that they did. On an error all is as it was. If one
/// engine refuses, its files are.
fn put<'a>(
    tree: &'a Tree,
    before: &State,
    plan: &'a Plan,
    engines: &'a [Engine],
    restart: bool,
) -> Result<Settled<'a>, Problem> {
    let is_known = |path: &Path| before.entry(path).is_some();
    let mut state = before.clone();
    state.without_policy = plan.without_policy;
    if plan.is_empty() {
        if State::load(tree).ok().as_ref() != Some(&state) {
            state.save(tree)?;
        }
        // What was written by a run that was killed may not have been read yet.
        let applied = apply::apply(plan, tree, is_known)?;
        return Settling::verify(tree, plan, engines, applied)
            .and_then(|settling| settling.reload(restart))
            .map_err(|failure| failure.problem);
    }
    for change in &plan.changes {
        state.remember(change)?;
    }
    let made = apply::directories(plan, tree);
    state.directories.extend(made.into_iter().filter(|dir| !before.directories.contains(dir)));
    state.has_changed(plan, engines);
    lsm::announce(plan, &mut state);
    // First, so that what a kill leaves half-done can be taken back.
    state.save(tree)?;
    let undo = |problem: Problem| before.save(tree).map_or_else(|stuck| stuck, |()| problem);
    let applied = apply::apply(plan, tree, is_known).map_err(undo)?;
    // Files that were given back are as they were.
    let is_given_back = |path: &&Path| state.entry(path).is_none();
    let given_back: Vec<_> =
        plan.changes.iter().map(|change| change.path.as_path()).filter(is_given_back).collect();
    let mut loaded = Vec::new();
    let settled = Settling::verify(tree, plan, engines, applied).and_then(|settling| {
        // Before an engine is told: the hook that it then starts is under the policy already.
        match lsm::apply(plan, &mut loaded) {
            Ok(()) => settling.reload(restart),
            Err(problem) => Err(settling.fail(problem)),
        }
    });
    match settled {
        Ok(settled) => {
            given_back.iter().for_each(|path| apply::tidy(tree, path));
            settled.refused.iter().for_each(|refused| state.restore(refused.engine, before));
            apply::sweep(tree, &mut state);
            lsm::remember(&loaded, &mut state);
            state.save(tree)?;
            Ok(settled)
        }
        Err(failure) => {
            // The state last: until then, what a kill leaves half-done can be taken back.
            let stuck = lsm::withdraw(&loaded, before);
            let problem = lsm::again(&loaded, before, stuck, failure.applied.revert(failure.problem));
            Err(undo(restart::again(tree, &failure.touched, problem)))
        }
    }
}

/// Runs `porthole uninstall`.
pub(crate) fn uninstall(args: &UninstallArgs, format: Format) -> Result<ExitCode, Problem> {
    args.selection.check()?;
    let tree = Tree::open(&args.selection.root)?;
    args.selection.may_change(&tree)?;
    uninstall::run(&args.selection, &tree, format)
}

/// The path of a file beside its tree's root, as the node will see it.
pub(crate) fn is_plain(path: &Path) -> bool {
    path.to_str().is_some_and(|path| {
        path.starts_with('/') && path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b))
    })
}
