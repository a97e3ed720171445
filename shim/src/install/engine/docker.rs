//! Docker: a runtime of ours in `daemon.json`, made the default one.
//!
//! What decides how this is done, seen on 20.10 and 26.1:
//! * SIGHUP has the daemon take `runtimes` and `default-runtime`, but only where the file names them: after a file without
//!   them it goes on with those it has. So what is taken away is first spelt out ([`reload`]).
//! * 20.10 dies of a `GET /info` when its default runtime is not among its runtimes: never take both away in one step.
//! * A container keeps the name of the runtime it was made with. Without that runtime it runs on, and can be stopped
//!   and removed, but not started; without the guard it cannot be entered or stopped either.
//! * `--default-runtime` on the command line and in the file: the daemon does not start. Runtimes of `--add-runtime` are
//!   forgotten at the next SIGHUP.

pub(crate) mod config;
mod containers;
mod daemon;
mod info;

use super::{Context, Engine, EngineName};
use crate::exit::Exit;
use crate::install::Method;
use crate::install::apply::replace;
use crate::install::edit::Edit;
use crate::install::guard;
use crate::install::plan::{Owner, Plan, Rank};
use crate::install::recover::{Found, backup};
use crate::install::state::{Entry, Kept, State};
use crate::install::tree::{Content, Tree, failed};
use crate::problem::Problem;
pub(crate) use config::ConfigEdit;
use config::{Config, NAME, STOCK};
use daemon::Daemon;
use std::path::{Path, PathBuf};

/// Where a service manager is told how to start the daemon: the settings of its script, units and their drop-ins.
const SETTINGS: [&str; 2] = ["/etc/default/docker", "/etc/sysconfig/docker"];
const UNIT_DIRS: [&str; 2] = ["/usr/lib/systemd/system", "/etc/systemd/system"];

/// The configuration of an engine, as dockerd reads it.
pub(crate) fn read(engine: &Engine, tree: &Tree) -> Result<Config, Problem> {
    Config::parse(tree.text(&engine.config)?.as_deref(), &engine.config)
}

/// Plans the change.
pub(super) fn install(engine: &Engine, context: &Context<'_>, plan: &mut Plan) -> Result<(), Problem> {
    if !matches!(context.method, Method::Auto | Method::Runtime) {
        plan.notes.push("docker is left as it is: it has no other method than runtime".to_owned());
        return Ok(());
    }
    let (tree, path) = (context.tree, &engine.config);
    let current = tree.read(path)?;
    let text = tree.text(path)?;
    let now = Config::parse(text.as_deref(), path)?;
    now.guard()?;
    let daemon = if tree.is_live() { Daemon::find(&now)? } else { None };
    unopposed(tree, path, daemon.as_ref())?;

    // The file without what is ours tells what our runtime stands in front of.
    let entry = context.state.entry(path);
    let (before, mut edit) = match entry {
        Some(entry) => site(entry, current.as_ref(), path)?,
        None => (now.clone(), now.edit(text.is_some())?),
    };
    let previous = match before.default_runtime()? {
        Some(name) if name == NAME => {
            // Installed, and the state of that is lost: the guard's name tells.
            let name = before.guard()?.as_deref().and_then(guarded);
            edit = edit.behind(name.as_deref());
            name
        }
        name => name,
    };
    let name = previous.unwrap_or_else(|| STOCK.to_owned());
    let (real, args) = match real(tree, &before, &name)? {
        Real::Program(path, args) => (path, args),
        Real::Shim(shim) => {
            plan.notes.push(format!(
                "docker is left as it is: its default runtime {name} is the containerd shim {shim}, which no wrapper \
                 can stand in front of; its containers are registered by `porthole reconcile`"
            ));
            return Ok(());
        }
    };
    let guard = guard::install_with(context, plan, EngineName::Docker, &name, &real, &args)?;

    if now.default_runtime()?.as_deref() != Some(NAME) || now.guard()?.as_ref() != Some(&guard) {
        let mut after = now.clone();
        after.install(&guard)?;
        let after = after.into_text();
        let after = current.map_or_else(|| Content::text(&after), |file| file.with_text(after.clone()));
        plan.set(
            tree,
            path,
            Rank::Config,
            Owner::Engine(EngineName::Docker),
            Some(after),
            Edit::Docker(edit),
        )?;
        tell_of_older(tree, &now, daemon.as_ref(), plan)?;
    }
    Ok(())
}

/// Finds our runtime in the configuration, where no state has it.
pub(in crate::install) fn recover(engine: &Engine, tree: &Tree, found: &mut Found) {
    let path = &engine.config;
    let edit = || -> Result<Option<ConfigEdit>, Problem> {
        let now = Config::parse(tree.text(path)?.as_deref(), path)?;
        let Some(guard) = now.guard()? else { return Ok(None) };
        let before = match backup(tree, path) {
            Some(text) => Config::parse(Some(&text), path)?.edit(true)?,
            // The file without our keys, as far as the file itself shows them.
            None => {
                let text =
                    now.edit(true)?.behind(guarded(&guard).as_deref()).undo(&now.clone().into_text())?;
                let rest = Config::parse(text.as_deref(), path)?;
                let edit = rest
                    .edit(rest.value(&[])?.is_some_and(|all| all != serde_json::json!({"runtimes": {}})))?;
                edit.behind(guarded(&guard).as_deref())
            }
        };
        Ok(Some(before))
    };
    if let Ok(Some(edit)) = edit() {
        found.edited(tree, engine, path.clone(), Edit::Docker(edit));
    }
}

/// The configuration as the site has it, of a file that was changed by an earlier installation.
fn site(entry: &Entry, current: Option<&Content>, path: &Path) -> Result<(Config, ConfigEdit), Problem> {
    let (text, exists) = match (&entry.before, current.and_then(Content::as_text)) {
        (Kept::Text(text), _) if entry.after.is(current) => (Some(text.clone()), true),
        (Kept::Nothing, _) if entry.after.is(current) => (None, false),
        (_, Some(text)) => {
            let text = entry.edit.undo(text)?;
            let exists = text.is_some();
            (text, exists)
        }
        _ => (None, false),
    };
    let before = Config::parse(text.as_deref(), path)?;
    let edit = before.edit(exists)?;
    Ok((before, edit))
}

/// The runtime that a guard of ours stands in front of; none for Docker's own.
fn guarded(guard: &Path) -> Option<String> {
    let name = guard.file_name()?.to_str()?.strip_prefix("docker-")?;
    Some(name.to_owned()).filter(|name| name != STOCK)
}

/// What a runtime of Docker's is.
enum Real {
    Program(PathBuf, Vec<String>),
    Shim(String),
}

fn real(tree: &Tree, config: &Config, name: &str) -> Result<Real, Problem> {
    let missing = |what: &str| {
        Problem::new(
            Exit::Failed,
            format!("docker: its default runtime {name} is {what}, which is not there"),
            "install it first: porthole calls it in the end",
        )
    };
    if name == STOCK {
        // In the order in which releases have named it.
        let path = tree.program(&["runc", "docker-runc"]).ok_or_else(|| missing("the program runc"))?;
        return Ok(Real::Program(path, Vec::new()));
    }
    let Some(runtime) = config.runtime(name)? else { return Ok(Real::Shim(name.to_owned())) };
    if let Some(shim) = runtime.shim {
        return Ok(Real::Shim(shim));
    }
    let text = runtime.path.to_str().unwrap_or_default();
    let path = match runtime.path.is_absolute() {
        true if tree.is_executable(&runtime.path) => Some(runtime.path.clone()),
        false if !text.contains('/') && !text.is_empty() => tree.program(&[text]),
        _ => None,
    };
    let path = path.ok_or_else(|| missing(&format!("the program {}", runtime.path.display())))?;
    Ok(Real::Program(path, runtime.args))
}

/// Makes sure that the daemon is not started with options that its file would contradict.
fn unopposed(tree: &Tree, file: &Path, daemon: Option<&Daemon>) -> Result<(), Problem> {
    let problem = |place: String, option: String| {
        let remedy = if option.starts_with("--config-file") {
            "name that file: --engine docker --config FILE"
        } else {
            "move the runtime from the command line to \"runtimes\" and \"default-runtime\" in daemon.json, restart Docker, \
             then run this again"
        };
        Problem::new(
            Exit::Failed,
            format!("docker: {place} has {option}, which daemon.json cannot change"),
            remedy,
        )
    };
    if let Some(option) = daemon.and_then(|daemon| daemon.conflict(file)) {
        return Err(problem("the command line of the running dockerd".to_owned(), option));
    }
    let mut places: Vec<_> = SETTINGS.iter().map(PathBuf::from).collect();
    for dir in UNIT_DIRS.map(Path::new) {
        places.push(dir.join("docker.service"));
        let drop_ins = dir.join("docker.service.d");
        places.extend(tree.names(&drop_ins).into_iter().map(|name| drop_ins.join(name)));
    }
    for place in places {
        let Some(text) = tree.text(&place).ok().flatten() else { continue };
        let lines = text.lines().map(str::trim_start).filter(|line| !line.starts_with(['#', ';']));
        let words = lines.flat_map(|line| line.split([' ', '\t', '"', '\'']));
        let words: Vec<_> = words.filter(|word| !word.is_empty()).map(str::to_owned).collect();
        if let Some(option) = daemon::conflict(&words, file) {
            return Err(problem(place.display().to_string(), option));
        }
    }
    Ok(())
}

/// Containers keep their runtime: those that are there already are none of our hook's.
fn tell_of_older(
    tree: &Tree,
    config: &Config,
    daemon: Option<&Daemon>,
    plan: &mut Plan,
) -> Result<(), Problem> {
    let runtimes = containers::runtimes(tree, config, data_root(daemon).as_deref())?;
    let older = runtimes.iter().filter(|runtime| *runtime != NAME).count();
    if older > 0 {
        plan.notes.push(format!(
            "docker: containers keep the runtime they were made with: {older} that are there already are registered by \
             `porthole reconcile`, and by themselves only once they are made anew"
        ));
    }
    Ok(())
}

fn data_root(daemon: Option<&Daemon>) -> Option<String> {
    daemon.and_then(|daemon| daemon.flag(&["--data-root", "--graph", "-g"]))
}

/// Tells the running daemon to read its configuration again, and waits until it goes by it. False where none runs.
///
/// A runtime of ours that the file no longer has is taken away in steps: first it is not the default any more, then it
/// is not there, then the file is as it is to be. For the moment between, the file spells out what the daemon is to forget.
///
/// # Errors
/// When the daemon does not do it, or when there is a container yet that needs what would be taken away.
pub(crate) fn reload(engine: &Engine, tree: &Tree) -> Result<bool, Problem> {
    let path = &engine.config;
    let wanted = tree.read(path)?;
    let text = tree.text(path)?;
    let config = Config::parse(text.as_deref(), path)?;
    let Some(daemon) = Daemon::find(&config)? else { return Ok(false) };
    let known = daemon.info()?.runtimes.remove(NAME);
    let mut told = config.clone();
    told.spell_out()?;
    let mut steps = Vec::new();
    if let (Some(known), None) = (known, told.guard()?)
        && guard::is_guard(&known.path)
    {
        let mut first = told.clone();
        first.add_runtime(&known.path)?;
        steps.push((first, true));
    }
    steps.push((told, false));
    let file = File { tree, path, wanted: wanted.as_ref() };
    let done = steps.into_iter().try_for_each(|(step, leaves)| {
        file.put(step.clone().into_text())?;
        daemon.take(&step)?;
        // Only now nobody can make another.
        if leaves && let Some(reason) = in_use(tree, &step, data_root(Some(&daemon)).as_deref())? {
            return Err(Problem::new(Exit::Failed, format!("docker: {reason}"), "run this again"));
        }
        Ok(())
    });
    file.put_back().and(done).map(|()| true)
}

/// The file while the daemon is told of something else than what is to stay in it.
struct File<'a> {
    tree: &'a Tree,
    path: &'a Path,
    wanted: Option<&'a Content>,
}

impl File<'_> {
    fn put(&self, text: String) -> Result<(), Problem> {
        let content = self.wanted.map_or_else(|| Content::text(""), Clone::clone).with_text(text);
        self.write(Some(&content))
    }

    fn put_back(&self) -> Result<(), Problem> {
        self.write(self.wanted)
    }

    fn write(&self, content: Option<&Content>) -> Result<(), Problem> {
        let there = self.tree.read(self.path)?;
        if there.as_ref() == content {
            return Ok(());
        }
        let place = self.tree.locate(self.path)?;
        match content {
            Some(content) => replace(&place, content, Some(&place)),
            None => std::fs::remove_file(&place),
        }
        .map_err(|e| failed("write", self.path, e))
    }
}

/// Whether it answers, and goes by its configuration.
pub(super) fn check(engine: &Engine, tree: &Tree) -> Result<(), Problem> {
    let config = read(engine, tree)?;
    match Daemon::find(&config)? {
        Some(daemon) => daemon::agrees(&daemon.info()?, &config),
        None => Err(Problem::new(Exit::Failed, "Docker does not run", "start it: `systemctl start docker`")),
    }
}

/// Whether a running daemon goes by something else than what it would read.
pub(super) fn is_behind(engine: &Engine, tree: &Tree) -> bool {
    let behind = || -> Result<bool, Problem> {
        let config = read(engine, tree)?;
        let Some(daemon) = Daemon::find(&config)? else { return Ok(false) };
        Ok(daemon::agrees(&daemon.info()?, &config).is_err())
    };
    tree.is_live() && behind().unwrap_or(false)
}

/// Why a file has to stay: Docker starts, enters and stops containers with the runtime they were made with.
pub(super) fn still_needed(tree: &Tree, state: &State, entry: &Entry) -> Result<Option<String>, Problem> {
    let of_docker = |other: &&Entry| matches!(other.edit, Edit::Docker(_));
    let Some(file) = std::iter::once(entry).chain(&state.files).find(of_docker) else {
        return in_use(tree, &Config::parse(None, &entry.path)?, None);
    };
    // What can no longer be read Docker cannot read either.
    let text = tree.text(&file.path).ok().flatten();
    let config = Config::parse(text.as_deref(), &file.path).or_else(|_| Config::parse(None, &file.path))?;
    let daemon = if tree.is_live() { Daemon::find(&config)? } else { None };
    in_use(tree, &config, data_root(daemon.as_ref()).as_deref())
}

fn in_use(tree: &Tree, config: &Config, data_root: Option<&str>) -> Result<Option<String>, Problem> {
    let count = containers::runtimes(tree, config, data_root)?.iter().filter(|name| *name == NAME).count();
    Ok((count > 0).then(|| {
        let (containers, were) = if count == 1 { ("container", "was") } else { ("containers", "were") };
        format!(
            "{count} {containers} {were} made with it, and cannot be started without: make them anew \
             (`docker ps -a`), then run this again"
        )
    }))
}
