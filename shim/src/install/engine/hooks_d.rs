//! podman and CRI-O: a file for each stage, in a directory of hooks that the engine reads.
//!
//! Measured on podman 4.3 and 5.4: where nothing says otherwise, only `/usr/share/containers/oci/hooks.d` is read, as by
//! CRI-O; of files of one name that of the last directory counts; every `*.json` counts, hidden ones too, and one that
//! cannot be parsed fails every container. podman reads the files at every start of a container; CRI-O watches the
//! directories that it had, or made, when it started. It reads its settings at its start alone.

mod config;
pub(crate) mod file;

use super::{Context, Engine, EngineName, Entry, Method, State};
use crate::engines::crio::Settings;
use crate::engines::daemon::Daemon;
use crate::exit::Exit;
use crate::install::binaries::is_volatile;
use crate::install::edit::Edit;
use crate::install::plan::{Change, Owner, Plan, Rank, Reload};
use crate::install::recover::Found;
use crate::install::tree::{Content, Tree};
use crate::problem::Problem;
use config::Hooks;
use porthole_registry::hook_entry::{self, HookPath, STAGES};
use porthole_registry::stage::Stage;
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The administrator's directory: used where an engine reads it, and where none of those it reads can be written.
const ETC: &str = "/etc/containers/oci/hooks.d";

/// Plans the files, and what makes the engine read their directory where it would not.
pub(super) fn install(engine: &Engine, context: &Context<'_>, plan: &mut Plan) -> Result<(), Problem> {
    if !matches!(context.method, Method::Auto | Method::HooksD) {
        return Err(Problem::new(
            Exit::Usage,
            format!("{} calls hooks by hooks.d, and by no other method", engine.name),
            "name the engine that the method is for: --engine containerd --method runtime",
        ));
    }
    let tree = context.tree;
    let hook = HookPath::parse(&context.programs.hook).map_err(|e| Problem::failed(e.to_string()))?;
    let owner = Owner::Engine(engine.name);
    let hooks = Hooks::of(engine, tree)?;
    let is_usable = |dir: &Path| !is_volatile(dir) && tree.can_write(dir);
    // Where they are already; where an administrator would put them; the last, whose files come before others'.
    let has_ours = |dir: &&PathBuf| context.state.entry(&file(dir, STAGES[0])).is_some();
    let of_etc = |dir: &&PathBuf| dir.as_path() == Path::new(ETC) && is_usable(dir);
    let known = hooks.dirs.iter().find(has_ours).or_else(|| hooks.dirs.iter().find(of_etc));
    let chosen = known.or_else(|| hooks.dirs.iter().rev().find(|dir| is_usable(dir))).cloned();
    if chosen.is_none() && hooks.are_told {
        let dirs: Vec<_> = hooks.dirs.iter().map(|dir| dir.display().to_string()).collect();
        return Err(Problem::new(
            Exit::Failed,
            format!(
                "{} was started with the directories of hooks {:?}, none of which can be written",
                engine.name,
                dirs.join(", ")
            ),
            "start it without --hooks-dir and CONTAINER_HOOKS_DIR, or with a directory that can be written, then run this again",
        ));
    }
    let dir = chosen.clone().unwrap_or_else(|| ETC.into());
    for stage in STAGES {
        let path = file(&dir, stage);
        refuse_others(context, plan, &path)?;
        let text = crate::output::json(&hook_entry::hooks_d(&hook, stage))?;
        plan.set(tree, &path, Rank::Config, owner, Some(Content::text(text)), Edit::Own)?;
    }
    if chosen.is_none() {
        let (path, text) = hooks.drop_in(engine, &dir);
        refuse_other_drop_in(context, &path)?;
        // After the files: what CRI-O is told to read is there.
        plan.set(tree, &path, Rank::Config, owner, Some(Content::text(text)), Edit::Own)?;
        plan.notes.push(format!(
            "{}: no directory of hooks that it reads can be written; {} adds one",
            engine.name,
            path.display()
        ));
    }
    note_others(tree, &hooks.dirs, plan);
    Ok(())
}

/// Finds our files in the directories that an engine reads, where no state has them.
pub(in crate::install) fn recover(engine: &Engine, tree: &Tree, found: &mut Found) {
    let owner = Owner::Engine(engine.name);
    let Ok(hooks) = Hooks::of(engine, tree) else { return };
    let files = hooks.dirs.iter().flat_map(|dir| STAGES.map(|stage| file(dir, stage)));
    let drop_ins = hooks.drop_in(engine, Path::new(ETC)).0.parent().map(Path::to_owned).unwrap_or_default();
    let names = tree.names(&drop_ins).into_iter().filter(|name| name.ends_with("-porthole.conf"));
    for path in files.chain(names.map(|name| drop_ins.join(name))) {
        let Some(content) = tree.read(&path).ok().flatten() else { continue };
        // A hook that somebody has set up by hand under this name is given back at the end.
        let is_guard = |text: &str| file::parse(text).is_ok_and(|file| hook_entry::is_guarded(&file["hook"]));
        let is_ours = |text: &str| is_guard(text) || text.starts_with(config::HEAD);
        if content.as_text().is_some_and(is_ours) {
            found.own(path, Rank::Config, owner, Some(&engine.config), &content);
        }
    }
}

/// The file of a stage.
fn file(dir: &Path, stage: Stage) -> PathBuf {
    dir.join(format!("porthole-{}.json", stage.as_str().to_ascii_lowercase()))
}

/// Whether a file of a directory of hooks runs our hook.
fn runs_ours(text: &str) -> bool {
    file::parse(text).is_ok_and(|file| hook_entry::is_ours(&file["hook"]))
}

fn refuse_others(context: &Context<'_>, plan: &Plan, path: &Path) -> Result<(), Problem> {
    let is_ours = |content: &Content| content.as_text().is_some_and(runs_ours);
    match plan.content(context.tree, path)? {
        Some(content) if context.state.entry(path).is_none() && !is_ours(&content) => Err(Problem::new(
            Exit::Failed,
            format!("{}: is there already, and is no hook of porthole's", path.display()),
            "move it to another name, then run this again",
        )),
        _ => Ok(()),
    }
}

fn refuse_other_drop_in(context: &Context<'_>, path: &Path) -> Result<(), Problem> {
    if context.state.entry(path).is_some() || context.tree.look(path)?.is_none() {
        return Ok(());
    }
    Err(Problem::new(
        Exit::Failed,
        format!("{}: is there already, and not put there by `porthole install`", path.display()),
        "move what it says to a file of another name, then run this again",
    ))
}

/// A hook that somebody has set up by hand under another name would run a second time at every start.
fn note_others(tree: &Tree, dirs: &[PathBuf], plan: &mut Plan) {
    for dir in dirs {
        for name in tree.names(dir).into_iter().filter(|name| name.ends_with(".json")) {
            let path = dir.join(&name);
            let is_known = STAGES.iter().any(|&stage| path == file(dir, stage));
            if !is_known && matches!(tree.text(&path), Ok(Some(text)) if runs_ours(&text)) {
                let note = format!("{} runs porthole-hook too: remove it", path.display());
                if !plan.notes.contains(&note) {
                    plan.notes.push(note);
                }
            }
        }
    }
}

/// What CRI-O needs: it watches its directories, but settles at its start which these are.
pub(super) fn reload(engine: &Engine, tree: &Tree, plan: &Plan) -> Reload {
    let is_new = |change: &Change| {
        let is_config = change.path.extension().is_some_and(|extension| extension == "conf");
        let parent = change.path.parent().unwrap_or(Path::new("/"));
        is_config || !tree.is_dir(parent)
    };
    let own = |change: &&Change| change.owner == Owner::Engine(engine.name);
    if engine.name == EngineName::CriO && plan.changes.iter().filter(own).any(is_new) {
        Reload::Restart
    } else {
        Reload::Nothing
    }
}

/// The paths that CRI-O reads at its start alone, each with the time of its last change: the file that names the directories
/// of hooks, the directory of such files, which a file may have joined or left, and directories of hooks that were made
/// since.
pub(crate) fn read_at_start(engine: &Engine, tree: &Tree, state: &State) -> Vec<(PathBuf, SystemTime)> {
    let config = &engine.config;
    let Ok(settings) = Settings::read(tree, config, engine.daemon.as_ref()) else { return Vec::new() };
    let said = settings.value(&["crio", "runtime", "hooks_dir"]).map(|(path, _)| path);
    let changed = said.into_iter().chain([settings.drop_ins()]).filter_map(|path| {
        let stat = rustix::fs::stat(&tree.locate(path).ok()?).ok()?;
        Some((path.to_owned(), time(stat.st_ctime, stat.st_ctime_nsec.try_into().ok()?)?))
    });
    // CRI-O makes missing directories at its start, so it knows all that were not made since.
    let is_made = |dir: &&PathBuf| state.directories.iter().any(|made| dir.starts_with(made));
    let dirs = Hooks::of(engine, tree).map(|hooks| hooks.dirs).unwrap_or_default();
    let made = dirs.iter().filter(is_made).filter_map(|dir| {
        let place = tree.locate(dir).ok()?;
        let found = statx(CWD, &place, AtFlags::empty(), StatxFlags::BTIME).ok()?;
        let is_known = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
        let born = time(found.stx_btime.tv_sec, found.stx_btime.tv_nsec)?;
        is_known.then(|| (dir.clone(), born))
    });
    changed.chain(made).collect()
}

fn time(seconds: i64, nanoseconds: u32) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(u64::try_from(seconds).ok()?, nanoseconds))
}

/// Whether something that CRI-O reads at its start alone has changed since its start.
pub(super) fn is_behind(engine: &Engine, tree: &Tree, state: &State) -> bool {
    let started = engine.daemon.as_ref().and_then(Daemon::started);
    let changed = || read_at_start(engine, tree, state).into_iter().map(|(_, at)| at).max();
    started.is_some_and(|started| changed().is_some_and(|changed| started < changed))
}

/// Whether it answers after a restart. podman has no daemon to ask.
pub(super) fn check(engine: &Engine, tree: &Tree) -> Result<(), Problem> {
    if engine.name != EngineName::CriO {
        return Ok(());
    }
    let settings = Settings::read(tree, &engine.config, engine.daemon.as_ref())?;
    let socket = settings.listen();
    UnixStream::connect(&socket).map(drop).map_err(|e| {
        Problem::new(
            Exit::Failed,
            format!("connect to CRI-O at {}: {e}", socket.display()),
            "look at its log: `journalctl -u crio`",
        )
    })
}

/// The directories of hooks that an engine reads, the last with the last word.
pub(crate) fn directories(engine: &Engine, tree: &Tree) -> Result<Vec<PathBuf>, Problem> {
    Hooks::of(engine, tree).map(|hooks| hooks.dirs)
}

/// The engines that read a file: podman and CRI-O have one directory in common.
pub(super) fn readers(tree: &Tree, entry: &Entry, owner: EngineName) -> Vec<EngineName> {
    let mut readers = vec![owner];
    let dir = entry.path.parent().unwrap_or(Path::new("/"));
    let is_hook = STAGES.iter().any(|&stage| entry.path == file(dir, stage));
    for name in [EngineName::CriO, EngineName::Podman] {
        let reads = || {
            let engine = Engine::find(tree, name, None, None)?;
            Some(Hooks::of(&engine, tree).ok()?.dirs.iter().any(|known| known == dir))
        };
        if is_hook && name != owner && reads() == Some(true) {
            readers.push(name);
        }
    }
    readers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_that_packages_can_ship_are_those_that_install_writes() {
        let hook = HookPath::parse(Path::new("/usr/libexec/porthole/porthole-hook")).unwrap();
        for stage in STAGES {
            let path = file(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/hooks.d"), stage);
            let text = crate::output::json(&hook_entry::hooks_d(&hook, stage)).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{}", path.display());
            assert!(runs_ours(&text));
        }
    }
}
