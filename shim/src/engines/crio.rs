//! The settings of CRI-O: its files, and before them the command line and the environment of its daemon. crio(8),
//! crio.conf(5).

use super::daemon::Daemon;
use super::settings::{self, find};
use crate::install::tree::{Content, Tree};
use crate::problem::Problem;
use porthole_registry::adopt::StateKind;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// The directory of files that add to its main one, wherever that is.
const DROP_INS: &str = "/etc/crio/crio.conf.d";
const SOCKET: &str = "/var/run/crio/crio.sock";

/// The settings of one CRI-O.
#[derive(Debug)]
pub(crate) struct Settings<'a> {
    daemon: Option<&'a Daemon>,
    drop_ins: PathBuf,
    /// The last one counts.
    files: Vec<(PathBuf, Table)>,
}

impl<'a> Settings<'a> {
    /// Reads the settings of the CRI-O with the main file `config`, and of its daemon where one runs.
    pub(crate) fn read(tree: &Tree, config: &Path, daemon: Option<&'a Daemon>) -> Result<Self, Problem> {
        let set = |names: &[&str], variable: &str| daemon.and_then(|daemon| daemon.setting(names, variable));
        let drop_ins = daemon
            .and_then(|daemon| {
                daemon.path_setting(&["--config-dir", "-config-dir", "-d"], "CONTAINER_CONFIG_DIR")
            })
            .unwrap_or_else(|| DROP_INS.into());
        let mut paths = Vec::new();
        // An empty name stands for no file.
        if set(&["--config", "-config", "-c"], "CONTAINER_CONFIG").is_none_or(|path| !path.is_empty()) {
            paths.push(config.to_owned());
        }
        walk(tree, &drop_ins, &mut paths, 0);
        Ok(Self { daemon, drop_ins, files: settings::read(tree, paths)? })
    }

    /// The directory of the files that add to the main one.
    pub(crate) fn drop_ins(&self) -> &Path {
        &self.drop_ins
    }

    /// The value of a key in the last file that has it, and that file.
    pub(crate) fn value(&self, key: &[&str]) -> Option<(&Path, &Value)> {
        self.files.iter().rev().find_map(|(path, table)| Some((path.as_path(), find(table, key)?)))
    }

    /// The directories of hooks that its command line or environment names. No file overrides them.
    pub(crate) fn told_hooks_dirs(&self) -> Option<Vec<PathBuf>> {
        let said = self.daemon?.list_setting(&["--hooks-dir", "-hooks-dir"], "CONTAINER_HOOKS_DIR")?;
        Some(said.into_iter().map(PathBuf::from).collect())
    }

    /// A path from the command line, the environment or a file. An empty one counts as missing.
    fn path(&self, names: &[&str], variable: &str, key: &[&str]) -> Option<PathBuf> {
        let told = self.daemon.filter(|daemon| daemon.setting(names, variable).is_some());
        let path = match told {
            Some(daemon) => daemon.path_setting(names, variable),
            // An empty value leaves that of the files before it.
            None => self
                .files
                .iter()
                .rev()
                .filter_map(|(_, table)| find(table, key)?.as_str())
                .find(|path| !path.is_empty())
                .map(PathBuf::from),
        };
        path.filter(|path| path.is_absolute())
    }

    /// The path of its socket.
    pub(crate) fn listen(&self) -> PathBuf {
        let key = ["crio", "api", "listen"];
        self.path(&["--listen", "-listen"], "CONTAINER_LISTEN", &key).unwrap_or_else(|| SOCKET.into())
    }

    /// The directories in which it keeps its containers; storage.conf has those that it does not name.
    pub(crate) fn storages(&self) -> Vec<PathBuf> {
        let run = self.path(&["--runroot", "-runroot"], "CONTAINER_RUNROOT", &["crio", "runroot"]);
        let graph = self.path(&["--root", "-root", "-r"], "CONTAINER_ROOT", &["crio", "root"]);
        run.into_iter().chain(graph).collect()
    }

    /// The directories in which its runtimes keep their containers, of runtimes with a known state.
    pub(crate) fn runtime_roots(&self) -> Vec<(StateKind, PathBuf)> {
        let mut found = Vec::new();
        for (_, table) in &self.files {
            let runtimes = find(table, &["crio", "runtime", "runtimes"]).and_then(Value::as_table);
            for (name, runtime) in runtimes.into_iter().flatten() {
                let text = |key| runtime.as_table().and_then(|table| find(table, &[key])?.as_str());
                let program = text("runtime_path").filter(|path| !path.is_empty()).unwrap_or(name);
                found.extend(runtime_root(program, text("runtime_root").unwrap_or_default()));
            }
        }
        let told =
            self.daemon.and_then(|d| d.list_setting(&["--runtimes", "-runtimes"], "CONTAINER_RUNTIMES"));
        for runtime in told.unwrap_or_default() {
            // NAME:PATH:ROOT…
            let fields: Vec<_> = runtime.split(':').collect();
            if let [name, program, root, ..] = fields[..] {
                found.extend(runtime_root(if program.is_empty() { name } else { program }, root));
            }
        }
        found
    }
}

/// The state of a runtime below its `--root`, by the name of its program.
pub(super) fn runtime_root(program: &str, root: &str) -> Option<(StateKind, PathBuf)> {
    let name = program.rsplit('/').next()?;
    let kind = [StateKind::Crun, StateKind::Runc].into_iter().find(|kind| name.contains(kind.as_str()))?;
    Some((kind, PathBuf::from(root))).filter(|(_, root)| root.is_absolute())
}

/// All files below a directory, in lexical order, as it reads them.
fn walk(tree: &Tree, dir: &Path, paths: &mut Vec<PathBuf>, depth: usize) {
    for name in tree.names(dir) {
        let path = dir.join(name);
        let is_link = matches!(tree.look(&path), Ok(Some(Content::Link { .. })));
        if tree.is_dir(&path) && !is_link {
            if depth < 16 {
                walk(tree, &path, paths, depth + 1);
            }
        } else {
            paths.push(path);
        }
    }
}
