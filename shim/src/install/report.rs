//! What `install` and `uninstall` print: the plan, what was done, and what is left to the operator.

use super::engine::{Engine, EngineName};
use super::plan::{Plan, Reload};
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
}

#[derive(Serialize)]
struct ReloadRow {
    engine: EngineName,
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
        });
        let reloads = plan.reloads.iter().map(|&(engine, reload)| ReloadRow { engine, reload });
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
        for (engine, reload) in &plan.reloads {
            match reload {
                Reload::Restart => {
                    text += &format!("# {engine} has to be restarted then: --restart does it\n")
                }
                Reload::Signal => {
                    text += &format!("# {engine} would be told to read its configuration again\n")
                }
                Reload::Nothing => {}
            }
        }
    }
    print(&text)
}

const fn verb(change: &super::plan::Change) -> &'static str {
    match (&change.before, &change.after) {
        (None, _) => "add",
        (Some(_), None) => "remove",
        (Some(_), Some(_)) => "change",
    }
}

/// Tells what was done by `install`, and what is left to do.
pub(super) fn installed(
    plan: &Plan,
    ready: &[EngineName],
    tree: &Tree,
    format: Format,
) -> Result<(), Problem> {
    if format == Format::Json {
        return Ok(());
    }
    let mut text = done(plan, Some(tree));
    text += &reloads(plan, ready, tree.is_live());
    if tree.is_live() {
        text += "next: `porthole reconcile` registers what runs already, `porthole doctor` checks the node\n";
    }
    print(&text)
}

/// Tells what was done by `uninstall`, and what stays.
pub(super) fn uninstalled(
    config: &Plan,
    rest: &Plan,
    ready: &[EngineName],
    state: &State,
    dissolved: Option<Dissolved>,
    format: Format,
) -> Result<(), Problem> {
    if format == Format::Json {
        return Ok(());
    }
    let mut text = done(config, None) + &done(rest, None);
    text += &kept(rest);
    text += &reloads(config, ready, true);
    if state.files.is_empty() {
        if let Some(Dissolved { records, pins }) = dissolved {
            text +=
                &format!("remove  the registry (pins: {pins}, records: {records}); the containers run on\n");
        }
        text += "nothing of porthole's installation is left\n";
    } else {
        text += "run `porthole uninstall` again for what stays\n";
    }
    print(&text)
}

fn kept(plan: &Plan) -> String {
    plan.kept.iter().map(|(path, reason)| format!("{:<7} {}: {reason}\n", "keep", path.display())).collect()
}

/// There is nothing to take back.
pub(super) fn nothing_installed(tree: &Tree, format: Format) -> Result<ExitCode, Problem> {
    let root = tree.root().display();
    if format != Format::Json {
        print(&format!("nothing to change: porthole install has changed nothing below {root}\n"))?;
    }
    Ok(Exit::Done.into())
}

fn done(plan: &Plan, backups_in: Option<&Tree>) -> String {
    let mut text = String::new();
    for change in &plan.changes {
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

fn reloads(plan: &Plan, ready: &[EngineName], live: bool) -> String {
    let mut text = String::new();
    for (engine, reload) in &plan.reloads {
        if ready.contains(engine) {
            text += &format!("{engine}: reads the new configuration and answers\n");
        } else if *reload == Reload::Restart && live {
            text += &format!(
                "{engine}: reads it at its next start, containers live on: `systemctl restart {}`\n",
                engine.daemon()
            );
        }
    }
    text
}
