//! Which directories of hooks podman and CRI-O read: `hooks_dir`, of which the last one said counts.

use super::{ETC, Engine, EngineName};
use crate::engines::crio::Settings;
use crate::engines::settings::{self, find};
use crate::install::engine::Version;
use crate::install::tree::Tree;
use crate::problem::Problem;
use std::path::{Path, PathBuf};
use toml::Value;

/// What both read where nothing is configured.
const BUILT_IN: &str = "/usr/share/containers/oci/hooks.d";
/// Below podman's own settings there are its distribution's.
const PODMAN_DEFAULTS: &str = "/usr/share/containers/containers.conf";

/// The directories that an engine reads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hooks {
    /// In its order: of files of one name the last directory's counts.
    pub(super) dirs: Vec<PathBuf>,
    /// The file that says so; none where it is built in.
    said_by: Option<PathBuf>,
    /// Whether the daemon was started with them. Then no file overrides them.
    pub(super) are_told: bool,
    /// The directory of the files that are read after all others.
    drop_ins: PathBuf,
}

impl Hooks {
    /// Reads what is configured.
    pub(super) fn of(engine: &Engine, tree: &Tree) -> Result<Self, Problem> {
        let built_in = || vec![PathBuf::from(BUILT_IN)];
        if engine.name == EngineName::CriO {
            let settings = Settings::read(tree, &engine.config, engine.daemon.as_ref())?;
            let drop_ins = settings.drop_ins().to_owned();
            if let Some(dirs) = settings.told_hooks_dirs() {
                return Ok(Self { dirs, said_by: None, are_told: true, drop_ins });
            }
            let said = settings.value(&["crio", "runtime", "hooks_dir"]);
            let dirs = said.map_or_else(built_in, |(_, value)| directories(value));
            let said_by = said.map(|(path, _)| path.to_owned());
            return Ok(Self { dirs, said_by, are_told: false, drop_ins });
        }
        let drop_ins = beside(&engine.config);
        let mut hooks = Self { dirs: built_in(), said_by: None, are_told: false, drop_ins };
        // podman 5: `{append=true}` among the directories adds them, and those of later files, to what was said before.
        let mut append = false;
        for (path, table) in settings::read(tree, podman_files(engine, tree))? {
            let Some(value) = find(&table, &["engine", "hooks_dir"]) else { continue };
            let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
            let attribute = list.iter().rev().find_map(|item| item.get("append")?.as_bool());
            append = attribute.unwrap_or(append);
            if append {
                hooks.dirs.extend(directories(value));
            } else {
                hooks.dirs = directories(value);
            }
            hooks.said_by = Some(path);
        }
        // From 5 on, podman takes an empty list for none at all, and then reads both.
        if hooks.dirs.is_empty() && engine.version >= Some(Version { major: 5, minor: 0 }) {
            hooks.dirs = vec![BUILT_IN.into(), ETC.into()];
        }
        Ok(hooks)
    }

    /// A file of settings, read after all others, that adds a directory to those that are read.
    pub(super) fn drop_in(&self, engine: &Engine, dir: &Path) -> (PathBuf, String) {
        // A file in a subdirectory, which CRI-O reads too, sorts by the subdirectory.
        let said_by = self.said_by.as_deref().and_then(|path| path.strip_prefix(&self.drop_ins).ok());
        let said_by = said_by.and_then(|path| path.iter().next()).unwrap_or_default();
        let name = ["10-porthole.conf", "zz-porthole.conf"].into_iter().find(|name| said_by < *name);
        let path = self.drop_ins.join(name.unwrap_or("zzz-porthole.conf"));
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

/// The directories in a list; podman's may have an attribute among them.
fn directories(value: &Value) -> Vec<PathBuf> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(PathBuf::from).collect()
}

/// The directory of files that add to podman's settings, beside its main file.
fn beside(config: &Path) -> PathBuf {
    let mut name = config.as_os_str().to_owned();
    name.push(".d");
    name.into()
}

/// podman's files, in the order of reading: the last one counts.
fn podman_files(engine: &Engine, tree: &Tree) -> Vec<PathBuf> {
    let dir = beside(&engine.config);
    let names = tree.names(&dir).into_iter().filter(|name| name.ends_with(".conf"));
    let main = [PathBuf::from(PODMAN_DEFAULTS), engine.config.clone()];
    main.into_iter().chain(names.map(|name| dir.join(name))).collect()
}
