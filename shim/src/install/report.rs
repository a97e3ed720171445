//! What `install` and `uninstall` print: the plan, what was done, and what is left to the operator.

use super::engine::{Engine, EngineName};
use super::plan::{Change, Plan, Reload};
use super::service::{self, Service};
use super::settle::Settled;
use super::state::State;
use super::tree::Tree;
use crate::exit::{Exit, ExitCode};
use crate::output::{Format, print, print_json};
use crate::problem::Problem;
use porthole_registry::dissolve::Dissolved;
use serde::Serialize;

#[derive(Serialize)]
struct Document<'a> {
    dry_run: bool,
    engines: Vec<EngineRow>,
    changes: Vec<ChangeRow<'a>>,
    reloads: Vec<ReloadRow>,
    kept: Vec<KeptRow<'a>>,
    policies: &'a [super::lsm::Step],
    notes: &'a [String],
}

#[derive(Serialize)]
struct KeptRow<'a> {
    path: &'a std::path::Path,
    reason: &'a str,
}

#[derive(Serialize)]
struct EngineRow {
    name: EngineName,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    config: String,
}

#[derive(Serialize)]
struct ChangeRow<'a> {
    path: &'a std::path::Path,
    change: &'static str,
    owner: super::plan::Owner,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<&'a std::path::Path>,
}

#[derive(Serialize)]
struct ReloadRow {
    engine: EngineName,
    config: String,
    reload: Reload,
}

/// Shows what is going to be done.
pub(super) fn plan(plan: &Plan, engines: &[Engine], dry_run: bool, format: Format) -> Result<(), Problem> {
    if format == Format::Json {
        let engines = engines.iter().map(|engine| EngineRow {
            name: engine.name,
            version: engine.version.map(|version| version.to_string()),
            config: engine.config.display().to_string(),
        });
        let changes = plan.changes.iter().map(|change| ChangeRow {
            path: &change.path,
            change: verb(change),
            owner: change.owner,
            config: change.config.as_deref(),
        });
        let reloads = plan.reloads.iter().map(|pending| ReloadRow {
            engine: pending.engine,
            config: pending.config.display().to_string(),
            reload: pending.reload,
        });
        return print_json(&Document {
            dry_run,
            engines: engines.collect(),
            changes: changes.collect(),
            reloads: reloads.collect(),
            kept: plan.kept.iter().map(|(path, reason)| KeptRow { path, reason }).collect(),
            policies: &plan.policies,
            notes: &plan.notes,
        });
    }
    let mut text = String::new();
    for engine in engines {
        let version =
            engine.version.map_or_else(|| "of unknown version".to_owned(), |version| version.to_string());
        text += &format!("# {} {version}, configured by {}\n", engine.name, engine.config.display());
    }
    if dry_run || format == Format::Wide {
        text += &plan.diff();
    }
    text += &kept(plan);
    for note in &plan.notes {
        text += &format!("# {note}\n");
    }
    if plan.is_empty() {
        text += "nothing to change\n";
    } else if dry_run {
        for step in &plan.policies {
            text += &format!("# would {} {}: {}\n", step.action, step.subject(), step.command());
        }
        for (engine, reload) in pending(plan, engines) {
            let title = engine.title();
            text += &match (reload, Service::of(engine)) {
                (Reload::Nothing, _) => String::new(),
                (Reload::Signal, _) => format!("# {title} would be told to read its configuration again\n"),
                (Reload::Restart, Ok(service)) => {
                    format!("# {title} has to be restarted then: --restart does it, by `{service}`\n")
                }
                (Reload::Restart, Err(why)) if engine.daemon.is_some() => {
                    format!("# {title} has to be restarted then, by hand: {why}\n")
                }
                (Reload::Restart, Err(_)) => format!("# {title} does not run: it reads it when it starts\n"),
            };
        }
    }
    print(&text)
}

const fn verb(change: &Change) -> &'static str {
    match (&change.before, &change.after) {
        (None, _) => "add",
        (Some(_), None) => "remove",
        (Some(_), Some(_)) => "change",
    }
}

/// Tells what was done by `install`, and what is left to do.
pub(super) fn installed(
    plan: &Plan,
    settled: &Settled<'_>,
    engines: &[Engine],
    tree: &Tree,
    format: Format,
) -> Result<(), Problem> {
    if format == Format::Json {
        return Ok(());
    }
    let mut text = done(plan, Some(tree), settled);
    text += &reloads(plan, settled, engines, tree.is_live());
    if tree.is_live() {
        text += "next: `porthole reconcile` registers what runs already, `porthole doctor` checks the node\n";
    }
    print(&text)
}

/// Tells what was done by `uninstall`, and what stays.
pub(super) fn uninstalled(
    config: &Plan,
    rest: &Plan,
    (settled, engines): (&Settled<'_>, &[Engine]),
    (tree, state): (&Tree, &State),
    dissolved: Option<Dissolved>,
    format: Format,
) -> Result<(), Problem> {
    if format == Format::Json {
        return Ok(());
    }
    let mut text = done(config, None, settled) + &done(rest, None, settled);
    text += &kept(rest);
    text += &reloads(config, settled, engines, true);
    if state.files.is_empty() {
        if let Some(Dissolved { records, pins }) = dissolved {
            text +=
                &format!("remove  the registry (pins: {pins}, records: {records}); the containers run on\n");
        }
        text += "nothing of porthole's installation is left\n";
        text += &programs(tree, state);
    } else {
        text += "run `porthole uninstall` again for what stays\n";
    }
    print(&text)
}

/// The programs that stay, and the command that removes them.
fn programs(tree: &Tree, state: &State) -> String {
    let left = super::binaries::left(tree, state);
    if left.is_empty() {
        return String::new();
    }
    let list: Vec<_> = left.iter().map(|path| path.display().to_string()).collect();
    format!(
        "programs stay, since no state says that `porthole install` has put them there: remove them with the package manager, or \
         else by `rm {}`\n",
        list.join(" ")
    )
}

fn kept(plan: &Plan) -> String {
    plan.kept.iter().map(|(path, reason)| format!("{:<7} {}: {reason}\n", "keep", path.display())).collect()
}

/// There is nothing to take back.
pub(super) fn nothing_installed(tree: &Tree, format: Format) -> Result<ExitCode, Problem> {
    let root = tree.root().display();
    if format != Format::Json {
        let programs = programs(tree, &State::default());
        print(&format!("nothing to change: porthole install has changed nothing below {root}\n{programs}"))?;
    }
    Ok(Exit::Done.into())
}

fn done(plan: &Plan, backups_in: Option<&Tree>, settled: &Settled<'_>) -> String {
    let mut text = String::new();
    let is_refused = |change: &Change| settled.refused.iter().any(|refused| change.is_for(refused.engine));
    for change in plan.changes.iter().filter(|change| !is_refused(change)) {
        text += &format!("{:<7} {}", verb(change), change.path.display());
        if backups_in.is_some_and(|tree| super::apply::has_backup(tree, &change.path)) {
            text += &format!("   (as it was: {}{})", change.path.display(), super::apply::BACKUP);
        }
        text.push('\n');
    }
    for step in &plan.policies {
        text += &format!("{:<7} {}\n", step.action, step.subject());
    }
    text
}

/// The engines of a plan with changes, and how they read them.
fn pending<'a>(plan: &'a Plan, engines: &'a [Engine]) -> impl Iterator<Item = (&'a Engine, Reload)> {
    plan.reloads.iter().filter_map(|pending| {
        let engine = engines.iter().find(|engine| pending.is_of(engine))?;
        Some((engine, pending.reload))
    })
}

fn reloads(plan: &Plan, settled: &Settled<'_>, engines: &[Engine], live: bool) -> String {
    let mut text = String::new();
    for (engine, reload) in pending(plan, engines) {
        let title = engine.title();
        if let Some((_, service)) = settled.ready.iter().find(|(ready, _)| std::ptr::eq(*ready, engine)) {
            let by =
                service.as_ref().map(|service| format!(", restarted by `{service}`")).unwrap_or_default();
            text += &format!("{title}: reads the new configuration and answers{by}\n");
        } else if settled.refused.iter().any(|refused| std::ptr::eq(refused.engine, engine)) {
            // The problem names it.
        } else if reload == Reload::Restart && live {
            text += &match engine.daemon {
                Some(_) => format!(
                    "{title}: reads it at its next start, containers live on: {}\n",
                    service::advice(engine)
                ),
                None => format!("{title}: does not run, and reads it when it starts\n"),
            };
        }
    }
    text
}

/// The refusals of engines, as one problem.
pub(super) fn refusals(refused: Vec<(String, Problem)>) -> Problem {
    let mut refused = refused.into_iter();
    let Some((_, mut first)) = refused.next() else { return Problem::failed("no engine is left".to_owned()) };
    for (title, problem) in refused {
        first.message += &format!("; and {title}: {}", problem.message);
        first.remedy = match (first.remedy, problem.remedy) {
            (Some(one), Some(other)) if one != other => Some(format!("{one}; {title}: {other}")),
            (one, other) => one.or(other),
        };
    }
    first
}
