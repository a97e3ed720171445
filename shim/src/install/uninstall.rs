//! Taking an installation back: what the engines read first, and what they would still call last.

use super::apply;
use super::edit::Edit;
use super::engine::{Engine, EngineName};
use super::plan::{Change, Owner, Plan, Rank};
use super::settle::Settling;
use super::state::{Entry, Kept, State};
use super::tree::{Content, Tree};
use super::{Selection, report, restart};
use crate::exit::{Exit, ExitCode};
use crate::output::Format;
use crate::problem::Problem;
use porthole_registry::config::Config;
use porthole_registry::dissolve::Dissolved;
use porthole_registry::registration::Registry;
use porthole_registry::store::Store;
use std::path::{Path, PathBuf};

/// How long it waits for the registry's lock.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// Runs the command.
pub(super) fn run(selection: &Selection, tree: &Tree, format: Format) -> Result<ExitCode, Problem> {
    let lock = || super::state::lock(tree);
    // There may be what a run has left that was killed before it did anything.
    let locked = !selection.dry_run && tree.is_dir(super::state::directory());
    let _lock = locked.then(lock).transpose()?;
    let (mut state, notes) = State::complete(tree, selection.config.as_deref(), locked)?;
    if state.is_empty() {
        if locked {
            state.save(tree)?;
        }
        return report::nothing_installed(tree, format);
    }
    let before = state.clone();
    let engines: Vec<Engine> =
        EngineName::ALL.into_iter().flat_map(|name| engines(selection, tree, &state, name)).collect();
    let mut taken = plan(selection, tree, &state, Phase::Config, &[])?;
    taken.notes.extend(notes);
    for engine in &engines {
        engine.plan_reload(tree, &state, &mut taken);
    }
    if selection.dry_run {
        let rest = plan(selection, tree, &state, Phase::Rest, &[])?;
        taken.changes.extend(rest.changes);
        taken.kept.extend(rest.kept);
        report::plan(&taken, &engines, true, format)?;
        return Ok(Exit::Done.into());
    }
    report::plan(&taken, &engines, false, format)?;
    super::units::stop(tree, &taken)?;
    let applied = apply::apply(&taken, tree, |_| true)?;
    state.has_changed(&taken, &engines);
    let settled = Settling::verify(tree, &taken, &engines, applied)
        .and_then(|settling| settling.reload(selection.restart))
        .map_err(|failure| restart::again(tree, &failure.touched, failure.applied.revert(failure.problem)))?;
    let stuck: Vec<_> = settled.refused.iter().map(|refused| refused.engine).collect();
    taken.changes.retain(|change| !stuck.iter().any(|engine| change.is_for(engine)));
    forget(&mut state, tree, &taken, &stuck)?;
    stuck.iter().for_each(|engine| state.restore(engine, &before));
    state.save(tree)?;
    if stuck.is_empty() {
        // Only now, since the engines that were restarted no longer call any of it.
        super::lsm::apply(&taken, &mut Vec::new())?;
    }
    if stuck.is_empty() && !remains(&state, selection) {
        state.loaded.clear();
        state.without_policy = false;
        state.save(tree)?;
    }
    let rest = plan(selection, tree, &state, Phase::Rest, &stuck)?;
    apply::apply(&rest, tree, |_| true)?;
    forget(&mut state, tree, &rest, &stuck)?;
    apply::sweep(tree, &mut state);
    state.save(tree)?;
    let dissolved = if state.files.is_empty() && tree.is_live() { dissolve()? } else { None };
    report::uninstalled(&taken, &rest, (&settled, &engines), (tree, &state), dissolved, format)?;
    if settled.refused.is_empty() {
        return Ok(Exit::Done.into());
    }
    let refused = settled.refused.into_iter().map(|refused| (refused.engine.title(), refused.problem));
    Err(report::refusals(refused.collect()))
}

/// The engines of a name that have files to give back.
fn engines(selection: &Selection, tree: &Tree, state: &State, name: EngineName) -> Vec<Engine> {
    let own = |entry: &&Entry| entry.owner == Owner::Engine(name) && selection.covers(entry);
    if state.files.iter().find(own).is_none() {
        return Vec::new();
    }
    let mut configs = state.configs(name);
    if let Some(config) = &selection.config {
        configs = vec![config];
    } else if configs.is_empty() {
        configs.push(Path::new(name.default_config()));
    }
    configs.into_iter().filter_map(|config| Engine::find(tree, name, Some(config), None)).collect()
}

/// Takes all pins and records away: nobody is left to remove them when their pods end.
fn dissolve() -> Result<Option<Dissolved>, Problem> {
    let (config, _) = Config::load(None);
    let Some(store) = Store::open(&config.run_dir)? else { return Ok(None) };
    // Pins are where pid 1 sees them.
    crate::inventory::host()?
        .enter_mount_namespace()
        .map_err(|errno| Problem::failed(format!("enter the host's mount namespace: {errno}")))?;
    let uncovered = crate::covered::release(&config.netns_dir, &store, PATIENCE);
    let dissolved = Registry::new(store, config.netns_dir).dissolve(PATIENCE)?;
    uncovered.map(|_| Some(dissolved))
}

/// Uninstalling is done in two steps, with the engines' reload between.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// What engines and the service manager read.
    Config,
    /// What that named.
    Rest,
}

impl Phase {
    fn includes(self, rank: Rank) -> bool {
        (self == Self::Config) == matches!(rank, Rank::Config | Rank::Unit)
    }
}

fn plan(
    selection: &Selection,
    tree: &Tree,
    state: &State,
    phase: Phase,
    stuck: &[&Engine],
) -> Result<Plan, Problem> {
    let mut plan = Plan::default();
    // What is all engines' stays as long as one of them is there.
    let some_remain = !stuck.is_empty() || remains(state, selection);
    for entry in state.files.iter().filter(|entry| phase.includes(entry.rank)) {
        match entry.owner {
            Owner::Porthole if some_remain => continue,
            Owner::Porthole => {}
            Owner::Engine(_) if stuck.iter().any(|engine| entry.is_of(engine)) => continue,
            Owner::Engine(name) => {
                if !selection.covers(entry) && super::engine::readers(tree, entry, name).len() < 2 {
                    continue;
                }
                let readers = super::engine::readers(tree, entry, name);
                let other = readers.iter().find(|name| !selection.includes(**name));
                if !readers.iter().any(|name| selection.includes(*name)) {
                    continue;
                }
                if let Some(other) = other {
                    plan.kept.push((entry.path.clone(), format!("{other} reads it too")));
                    continue;
                }
            }
        }
        if let Some(reason) = super::engine::still_needed(tree, state, entry)? {
            plan.kept.push((entry.path.clone(), reason));
            if let Some(after) = super::engine::without_default(tree, entry)? {
                plan.set(tree, &entry.path, entry.rank, entry.owner, Some(after), entry.edit.clone())?;
            }
            continue;
        }
        let current = tree.look_as(&entry.path, entry.is_link())?;
        let after = before_us(entry, current.as_ref())?;
        if after != current {
            plan.changes.push(Change {
                path: entry.path.clone(),
                rank: entry.rank,
                owner: entry.owner,
                before: current,
                after,
                edit: Edit::Own,
                config: entry.config.clone(),
            });
        }
    }
    if phase == Phase::Config && !some_remain {
        super::lsm::uninstall(tree, state, &mut plan);
    }
    Ok(plan.in_order(true))
}

/// Whether an engine that is not meant is installed for.
fn remains(state: &State, selection: &Selection) -> bool {
    let is_other = |entry: &Entry| matches!(entry.owner, Owner::Engine(_)) && !selection.covers(entry);
    state.files.iter().any(is_other)
}

/// What the file is to be: as it was before us where nobody else has touched it, else without what is ours.
pub(super) fn before_us(entry: &Entry, current: Option<&Content>) -> Result<Option<Content>, Problem> {
    let Some(content) = current else { return Ok(None) };
    if entry.before.is(current) {
        return Ok(current.cloned());
    }
    if entry.after.is(current) {
        return Ok(match &entry.before {
            Kept::Nothing => None,
            // Somebody else's, that ours has replaced: better than none.
            Kept::Program => Some(content.clone()),
            Kept::Text(text) => Some(content.with_text(text.clone())),
            Kept::Link(target) => Some(Content::Link { target: target.clone() }),
        });
    }
    match content.as_text() {
        Some(text) if entry.edit != Edit::Own => {
            Ok(entry.edit.undo(text)?.map(|text| content.with_text(text)))
        }
        // Ours as a whole, whoever has edited it: nothing names it any more.
        _ => Ok(None),
    }
}

/// Forgets the files that are as they were, and removes what was put beside them.
fn forget(state: &mut State, tree: &Tree, plan: &Plan, stuck: &[&Engine]) -> Result<(), Problem> {
    let is_stuck = |entry: &Entry| stuck.iter().any(|engine| entry.is_of(engine));
    let kept = |path: &PathBuf| plan.kept.iter().any(|(kept, _)| kept == path);
    for change in plan.changes.iter().filter(|change| !kept(&change.path)) {
        let entry = state.entry(&change.path).cloned();
        state.forget(&change.path);
        // Where somebody else has written into the file, the backup is the only way back to what it was.
        if entry.is_some_and(|entry| entry.before.is(change.after.as_ref())) {
            apply::tidy(tree, &change.path);
        }
    }
    // What was gone or as before already.
    for entry in state.files.clone() {
        let current = tree.look_as(&entry.path, entry.is_link())?;
        if !kept(&entry.path)
            && !is_stuck(&entry)
            && (current.is_none() || (entry.before.is(current.as_ref()) && entry.before != entry.after))
        {
            state.forget(&entry.path);
            apply::tidy(tree, &entry.path);
        }
    }
    Ok(())
}
