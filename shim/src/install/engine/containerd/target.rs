//! Chooses the file for a change of containerd's configuration, so that the change counts: no file that is read later
//! overrides it, and no other program writes the file anew.

use super::config::{self, Effective, File, Runtime};
use super::generated::{Extension, Generated};
use crate::exit::Exit;
use crate::install::engine::Engine;
use crate::install::tree::Tree;
use crate::problem::Problem;
use std::path::{Path, PathBuf};

/// Names of our drop-in, in the order in which they are tried. Sites and other installers number theirs.
const DROP_INS: [&str; 2] = ["99-porthole.toml", "zz-porthole.toml"];

/// A file to write into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) path: PathBuf,
    /// The version of its form.
    pub(super) version: i64,
    /// Whether it gets a version: it has none, and no key that depends on one.
    pub(super) sets_version: bool,
    /// The program that makes containerd's configuration of it at its start. None where containerd reads it itself.
    pub(super) writer: Option<String>,
    /// The template that has to name the file, or to contain its keys.
    pub(super) template: Option<PathBuf>,
}

impl Target {
    fn new(path: PathBuf, version: i64) -> Self {
        Self { path, version, sets_version: false, writer: None, template: None }
    }
}

/// Chooses the file to write into. `ours` tells the files of an installation.
pub(super) fn choose(
    tree: &Tree,
    engine: &Engine,
    files: &[File],
    (major, effective): (u32, &Effective),
    ours: &dyn Fn(&Path) -> bool,
) -> Result<Target, Problem> {
    let target = plain(tree, engine, files, (major, effective), ours)?;
    let Some(generated) = Generated::of(tree, &target.path, target.version)? else { return Ok(target) };
    let writer = Some(generated.writer.clone());
    match &generated.extension {
        Extension::Source(path) => {
            let version = config::read(tree, path)?.map_or(target.version, |file| file.version());
            Ok(Target { writer, ..Target::new(path.clone(), version) })
        }
        Extension::Directory(dir) if major >= 2 => {
            Ok(Target { writer, ..Target::new(dir.join(last_name(tree, dir, ours)), target.version) })
        }
        Extension::Template(template) if major >= 2 => {
            let name = if target.version < 3 { "config.toml.d" } else { "config-v3.toml.d" };
            let path = engine.config.with_file_name(name).join(DROP_INS[0]);
            Ok(Target { writer, template: Some(template.clone()), ..Target::new(path, target.version) })
        }
        Extension::Template(template) => Ok(Target { writer, template: Some(template.clone()), ..target }),
        Extension::Directory(_) => Err(generated.refuse(
            &target.path,
            "containerd 1.x would take a file beside it for all of the CRI's settings",
        )),
        Extension::Nothing => {
            Err(generated.refuse(&target.path, "no place for additions of a site is known"))
        }
    }
}

/// The last file with the same keys, in the order in which containerd reads them.
fn plain(
    tree: &Tree,
    engine: &Engine,
    files: &[File],
    (major, effective): (u32, &Effective),
    ours: &dyn Fn(&Path) -> bool,
) -> Result<Target, Problem> {
    let Some(main) = files.first() else {
        let version = if major < 2 { 2 } else { effective.version().unwrap_or(3) };
        return Ok(Target::new(engine.config.clone(), version));
    };
    let newest = if major < 2 { 2 } else { 3 };
    if main.version() < 2 && files.iter().all(File::is_the_same_in_every_version) {
        return Ok(Target { sets_version: true, ..Target::new(main.path.clone(), newest) });
    }
    if major < 2 {
        // On 1.x, the last file with a table of the plugin replaces those before it.
        let file = files.iter().rev().find(|file| file.has_plugin()).unwrap_or(main);
        return Ok(Target::new(file.path.clone(), file.version()));
    }
    if main.version() < 2 {
        return Err(Problem::new(
            Exit::Failed,
            format!(
                "{}: is of version 1, from which containerd {major}.x takes no setting of the CRI",
                main.path.display()
            ),
            format!(
                "`containerd --config {} config migrate` prints it in version 3: look at it, and put it in its place",
                main.path.display()
            ),
        ));
    }
    let runtimes = effective.runtimes();
    let says = |file: &File| runtimes.iter().any(|runtime| file.says(runtime)) && !ours(&file.path);
    let others: Vec<&Path> = files.iter().filter(|file| says(file)).map(|file| file.path.as_path()).collect();
    let wins = |place: &PathBuf| {
        let order = config::order(tree, &engine.config, Some(place));
        let Some(at) = order.iter().position(|path| path == place) else { return false };
        order[at..].iter().all(|path| !others.contains(&path.as_path()))
    };
    let mut dirs: Vec<PathBuf> = Vec::new();
    for dir in files.iter().flat_map(File::drop_in_directories) {
        if !dirs.contains(&dir) {
            dirs.push(dir);
        }
    }
    let installed = files.iter().map(|file| file.path.clone()).filter(|path| ours(path));
    let named = DROP_INS.iter().flat_map(|name| dirs.iter().map(move |dir| dir.join(name)));
    let last = dirs.iter().rev().map(|dir| dir.join(last_name(tree, dir, ours)));
    let is_in_dir = |path: &PathBuf| path.parent().is_some_and(|dir| dirs.iter().any(|known| known == dir));
    let place = installed.filter(is_in_dir).chain(named).chain(last).find(wins);
    if let Some(place) = place {
        // A file of another version than the main one would replace the plugin's table.
        return Ok(Target::new(place, main.version()));
    }
    // The last file with these keys counts.
    let last = files.iter().rev().find(|file| says(file)).unwrap_or(main);
    Ok(Target::new(last.path.clone(), last.version()))
}

/// A name that sorts after all others in a directory.
fn last_name(tree: &Tree, dir: &Path, ours: &dyn Fn(&Path) -> bool) -> String {
    let names = tree.names(dir);
    let last = names.iter().rfind(|name| name.ends_with(".toml") && !ours(&dir.join(name)));
    let behind = |name: &&str| last.is_none_or(|last| *name > last.as_str());
    match DROP_INS.iter().copied().find(behind) {
        Some(name) => name.to_owned(),
        // A tilde sorts after the dot before `toml`.
        None => format!("{}~porthole.toml", last.map_or("zz", |last| last.trim_end_matches(".toml"))),
    }
}

impl File {
    /// Whether it has a key of a runtime that an installation sets.
    fn says(&self, runtime: &Runtime) -> bool {
        let Some(table) = self.runtime(&runtime.place) else { return false };
        let options = table.get("options").and_then(toml::Value::as_table);
        table.contains_key("base_runtime_spec")
            || options.is_some_and(|options| options.contains_key("BinaryName"))
    }
}
