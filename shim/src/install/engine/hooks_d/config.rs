//! Which directories of hooks podman and CRI-O read: `hooks_dir`, of which the last one said counts.

use super::{ETC, Engine, EngineName};
use crate::exit::Exit;
use crate::install::engine::Version;
use crate::install::tree::Tree;
use crate::problem::Problem;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// What both read where nothing is configured.
const BUILT_IN: &str = "/usr/share/containers/oci/hooks.d";
/// Below podman's own settings there are its distribution's.
const PODMAN_DEFAULTS: &str = "/usr/share/containers/containers.conf";
const CRIO_SOCKET: &str = "/var/run/crio/crio.sock";

/// The directories that an engine reads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hooks {
    /// In its order: of files of one name the last directory's counts.
    pub(super) dirs: Vec<PathBuf>,
    /// The file that says so; none where it is built in.
    said_by: Option<PathBuf>,
}

impl Hooks {
    /// Reads what is configured.
    pub(super) fn of(engine: &Engine, tree: &Tree) -> Result<Self, Problem> {
        let key: &[&str] = match engine.name {
            EngineName::CriO => &["crio", "runtime", "hooks_dir"],
            _ => &["engine", "hooks_dir"],
        };
        let mut hooks = Self { dirs: vec![BUILT_IN.into()], said_by: None };
        // podman 5: `{append=true}` among the directories adds them, and those of later files, to what was said before.
        let mut append = false;
        for (path, table) in files(engine, tree)? {
            let Some(value) = find(&table, key) else { continue };
            let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
            let attribute = list.iter().rev().find_map(|item| item.get("append")?.as_bool());
            append = attribute.unwrap_or(append);
            let dirs = list.iter().filter_map(Value::as_str).map(PathBuf::from);
            if append {
                hooks.dirs.extend(dirs);
            } else {
                hooks.dirs = dirs.collect();
            }
            hooks.said_by = Some(path);
        }
        // From 5 on, podman takes an empty list for none at all, and then reads both.
        if hooks.dirs.is_empty()
            && engine.name == EngineName::Podman
            && engine.version >= Some(Version { major: 5, minor: 0 })
        {
            hooks.dirs = vec![BUILT_IN.into(), ETC.into()];
        }
        Ok(hooks)
    }

    /// A file of settings, read after all others, that adds a directory to those that are read.
    pub(super) fn drop_in(&self, engine: &Engine, dir: &Path) -> (PathBuf, String) {
        let said_by = self.said_by.as_deref().filter(|path| path.parent() == Some(&drop_ins(engine)));
        let said_by = said_by.and_then(Path::file_name).unwrap_or_default();
        let name = ["10-porthole.conf", "zz-porthole.conf"].into_iter().find(|name| said_by < *name);
        let path = drop_ins(engine).join(name.unwrap_or("zzz-porthole.conf"));
        let section = if engine.name == EngineName::CriO { "crio.runtime" } else { "engine" };
        let dirs: Vec<_> = self.dirs.iter().map(PathBuf::as_path).chain([dir]).collect();
        let list: String = dirs
            .iter()
            .map(|dir| format!("  {},\n", toml_edit::Value::from(dir.to_string_lossy().as_ref())))
            .collect();
        let text = format!("{HEAD}\n[{section}]\nhooks_dir = [\n{list}]\n");
        (path, text)
    }
}

/// The first line of a drop-in of ours.
pub(super) const HEAD: &str = "# Written by `porthole install`, removed by `porthole uninstall`.";

/// Where CRI-O listens.
pub(super) fn crio_socket(engine: &Engine, tree: &Tree) -> Result<PathBuf, Problem> {
    let files = files(engine, tree)?;
    let said = files.iter().rev().find_map(|(_, table)| find(table, &["crio", "api", "listen"])?.as_str());
    Ok(said.unwrap_or(CRIO_SOCKET).into())
}

/// Files that add to the engine's settings are in a directory beside these.
fn drop_ins(engine: &Engine) -> PathBuf {
    let mut name = engine.config.as_os_str().to_owned();
    name.push(".d");
    name.into()
}

/// An engine's settings, the last one that counts last.
fn files(engine: &Engine, tree: &Tree) -> Result<Vec<(PathBuf, Table)>, Problem> {
    let mut paths = Vec::new();
    if engine.name == EngineName::Podman {
        paths.push(PODMAN_DEFAULTS.into());
    }
    paths.push(engine.config.clone());
    let dir = drop_ins(engine);
    // CRI-O reads all files there, podman those of this ending.
    let counts = |name: &String| engine.name == EngineName::CriO || name.ends_with(".conf");
    paths.extend(tree.names(&dir).into_iter().filter(counts).map(|name| dir.join(name)));
    let mut files = Vec::new();
    for path in paths {
        let Some(text) = tree.text(&path)? else { continue };
        let table = text.parse::<Table>().map_err(|e| {
            Problem::new(
                Exit::Failed,
                format!("{}: {}", path.display(), e.to_string().replace('\n', " ")),
                "repair the file, then run this again",
            )
        })?;
        files.push((path, table));
    }
    Ok(files)
}

fn find<'a>(table: &'a Table, key: &[&str]) -> Option<&'a Value> {
    let (last, parents) = key.split_last()?;
    parents.iter().try_fold(table, |table, name| table.get(*name)?.as_table())?.get(*last)
}
