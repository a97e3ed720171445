//! What containerd is configured to do: its files, as it reads them, and what it says that comes of them.

use super::text::Text;
use crate::exit::Exit;
use crate::install::engine::{Engine, Version};
use crate::install::run;
use crate::install::tree::Tree;
use crate::problem::Problem;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// The shim whose containers take hooks as runc does.
pub(crate) const RUNC_V2: &str = "io.containerd.runc.v2";
/// Its predecessor, which 1.x has. It takes the same options.
const RUNC_V1: &str = "io.containerd.runc.v1";
/// The plugin of the CRI's runtimes: in files of version 1, 2, and since.
const PLUGINS: [&str; 3] = ["cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"];
/// Tables of a single runtime each, which 1.x has beside `runtimes`.
const SINGLE: [&str; 2] = ["default_runtime", "untrusted_workload_runtime"];

/// The name of the plugin in files of a version.
pub(super) fn plugin(version: i64) -> &'static str {
    match version {
        ..2 => PLUGINS[0],
        2 => PLUGINS[1],
        _ => PLUGINS[2],
    }
}

/// One file of the configuration.
#[derive(Debug)]
pub(crate) struct File {
    pub(super) path: PathBuf,
    table: Table,
}

impl File {
    /// The version of its form.
    pub(super) fn version(&self) -> i64 {
        self.table.get("version").and_then(Value::as_integer).unwrap_or(1)
    }

    /// Whether it has a table of the CRI plugin.
    pub(super) fn has_plugin(&self) -> bool {
        let plugins = self.table.get("plugins").and_then(Value::as_table);
        plugins.is_some_and(|plugins| plugins.contains_key(plugin(self.version())))
    }

    /// Whether it names no plugin: only names of plugins depend on the version.
    pub(super) fn is_the_same_in_every_version(&self) -> bool {
        self.version() < 2 && !self.table.keys().any(|key| key.contains("plugins"))
    }

    /// The table of a runtime.
    pub(super) fn runtime(&self, place: &[String]) -> Option<&Table> {
        place.iter().try_fold(cri(&self.table)?, |table, key| table.get(key)?.as_table())
    }

    /// The runtimes that it names.
    pub(crate) fn runtimes(&self) -> Vec<Runtime> {
        named(&self.table)
    }

    /// The paths that it imports; relative ones are from its own directory.
    fn imports(&self) -> impl Iterator<Item = PathBuf> {
        let imports = self.table.get("imports").and_then(Value::as_array).into_iter().flatten();
        let dir = self.path.parent().unwrap_or(Path::new("/"));
        imports.filter_map(Value::as_str).map(|path| dir.join(path))
    }

    /// The directories of which it imports all files.
    pub(super) fn drop_in_directories(&self) -> impl Iterator<Item = PathBuf> {
        let is_all = |path: &PathBuf| path.file_name().is_some_and(|name| name == "*.toml" || name == "*");
        let dirs = self.imports().filter(is_all).filter_map(|path| path.parent().map(Path::to_owned));
        dirs.filter(|dir| !dir.to_string_lossy().contains(['*', '?', '[']))
    }
}

/// The files that containerd reads, in its order: the main one, what that imports, what these import. Of one that it could
/// not read, why.
pub(crate) fn each(tree: &Tree, main: &Path) -> Vec<(PathBuf, Result<File, Problem>)> {
    walk(tree, main, None).into_iter().filter_map(|(path, file)| Some((path, file.transpose()?))).collect()
}

/// The paths of the files in the order of reading, with `more` among them.
pub(super) fn order(tree: &Tree, main: &Path, more: Option<&Path>) -> Vec<PathBuf> {
    let files = walk(tree, main, more).into_iter();
    files
        .filter(|(path, file)| !matches!(file, Ok(None)) || more == Some(path))
        .map(|(path, _)| path)
        .collect()
}

fn walk(tree: &Tree, main: &Path, more: Option<&Path>) -> Vec<(PathBuf, Result<Option<File>, Problem>)> {
    let mut files: Vec<(PathBuf, _)> = Vec::new();
    let mut pending = VecDeque::from([main.to_owned()]);
    while let Some(path) = pending.pop_front() {
        if files.iter().any(|(known, _)| *known == path) {
            continue;
        }
        let file = read(tree, &path);
        for import in file.iter().flatten().flat_map(File::imports) {
            pending.extend(expand(tree, &import, more));
        }
        files.push((path, file));
    }
    files
}

/// The directory of state that the last of its files names.
pub(crate) fn state(tree: &Tree, main: &Path) -> Option<PathBuf> {
    let files = each(tree, main).into_iter().rev().filter_map(|(_, file)| file.ok());
    let mut said = files.filter_map(|file| Some(file.table.get("state")?.as_str()?.to_owned()));
    said.find(|state| !state.is_empty()).map(PathBuf::from)
}

/// All of them, where all can be read.
pub(super) fn files(tree: &Tree, main: &Path) -> Result<Vec<File>, Problem> {
    each(tree, main).into_iter().map(|(_, file)| file).collect()
}

pub(super) fn read(tree: &Tree, path: &Path) -> Result<Option<File>, Problem> {
    let Some(text) = tree.text(path)? else { return Ok(None) };
    let broken = |cause: String| {
        Problem::new(
            Exit::Failed,
            format!("{}: {cause}", path.display()),
            "repair it first: containerd could not start with it; nothing was changed",
        )
    };
    Text::parse(&text).map_err(|error| broken(error.0))?;
    let table: Table = toml::from_str(&text).map_err(|e| broken(e.message().to_owned()))?;
    Ok(Some(File { path: path.to_owned(), table }))
}

/// The files that a pattern names, with `more` among them. Only its last component may contain `*`.
fn expand(tree: &Tree, pattern: &Path, more: Option<&Path>) -> Vec<PathBuf> {
    let (Some(dir), Some(name)) = (pattern.parent(), pattern.file_name().and_then(|name| name.to_str()))
    else {
        return Vec::new();
    };
    if !name.contains('*') {
        return vec![pattern.to_owned()];
    }
    let mut names = tree.names(dir);
    names.extend(
        more.filter(|more| more.parent() == Some(dir))
            .and_then(|more| more.file_name()?.to_str())
            .map(str::to_owned),
    );
    names.sort();
    names.dedup();
    names.into_iter().filter(|file| matches(name, file)).map(|file| dir.join(file)).collect()
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).any(|at| rest.get(at..).is_some_and(|rest| matches(after, rest)))
        }),
    }
}

/// A runtime that the CRI can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Runtime {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) base_spec: Option<PathBuf>,
    pub(crate) binary: Option<String>,
    /// The place of its table, below that of the CRI's `containerd`.
    pub(super) place: Vec<String>,
}

impl Runtime {
    /// Whether its containers take hooks, and `BinaryName`, as those of runc do.
    pub(crate) fn is_runc(&self) -> bool {
        [RUNC_V2, RUNC_V1].contains(&self.kind.as_str())
    }
}

/// The configuration that comes of all files and of what containerd presets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Effective(pub(super) Table);

impl Effective {
    /// What containerd says, or, where it cannot be asked, what its files tell; then with why it cannot.
    pub(crate) fn find(
        tree: &Tree,
        engine: &Engine,
        files: &[File],
        major: u32,
    ) -> Result<(Self, Option<String>), Problem> {
        Ok(match Self::ask(tree, engine)? {
            Ok(effective) => (effective, None),
            Err(why) => (Self::guess(files, major).told(engine), Some(why)),
        })
    }

    /// Adds the options of the daemon's command line, which beat its files.
    pub(super) fn told(mut self, engine: &Engine) -> Self {
        let Some(daemon) = &engine.daemon else { return self };
        let text = |path: PathBuf| Value::String(path.to_string_lossy().into_owned());
        for (key, names) in [("state", ["--state", "-state"]), ("root", ["--root", "-root"])] {
            if let Some(path) = daemon.path_option(&names) {
                self.0.insert(key.to_owned(), text(path));
            }
        }
        if let Some(address) = daemon.path_option(&["--address", "-address", "-a"]) {
            let grpc = self.0.entry("grpc").or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(grpc) = grpc {
                grpc.insert("address".to_owned(), text(address));
            }
        }
        self
    }

    /// Asks the tree's containerd. Nothing where it cannot be run, and why.
    pub(super) fn ask(tree: &Tree, engine: &Engine) -> Result<Result<Self, String>, Problem> {
        let Some(program) = &engine.program else { return Ok(Err("its program is not there".to_owned())) };
        // What 1.x says without a file is its presets; asked to dump them, it wants the file.
        let exists = tree.read(&engine.config)?.is_some();
        let is_old = engine.version.is_some_and(|version| version.major < 2);
        let config = engine.config.display().to_string();
        let args: &[&str] =
            if exists || !is_old { &["--config", &config, "config", "dump"] } else { &["config", "default"] };
        let answer = match run::in_tree(tree, program, args) {
            Ok(answer) => answer,
            Err(run::Failure::Start(cause)) => return Ok(Err(cause)),
            Err(run::Failure::Run(cause)) => {
                return Err(Problem::new(
                    Exit::Failed,
                    format!("`{} {}`: {cause}", program.display(), args.join(" ")),
                    format!("repair {config}: containerd would not start with it"),
                ));
            }
        };
        let said = || format!("`{} {}`", program.display(), args.join(" "));
        let table: Table = match toml::from_str(&answer) {
            Ok(table) => table,
            Err(e) => return Ok(Err(format!("{}: its answer is no TOML: {}", said(), e.message()))),
        };
        if !table.contains_key("version") {
            return Ok(Err(format!("{}: its answer is no configuration", said())));
        }
        Ok(Ok(Self(table).told(engine)))
    }

    /// As far as it can be told from the files alone.
    fn guess(files: &[File], major: u32) -> Self {
        let mut all = Table::new();
        for file in files {
            let mut table = file.table.clone();
            if major < 2
                && let Some(Value::Table(plugins)) = table.get_mut("plugins")
            {
                // A later file's table of a plugin replaces an earlier one's.
                let known = all.entry("plugins").or_insert_with(|| Value::Table(Table::new()));
                for (name, plugin) in std::mem::take(plugins) {
                    if let Value::Table(known) = known {
                        known.insert(name, plugin);
                    }
                }
            }
            merge(&mut all, table);
        }
        if major >= 2 || named(&all).is_empty() {
            let mut preset = Table::new();
            preset.insert("runtime_type".to_owned(), RUNC_V2.into());
            let version = files.first().map_or(if major < 2 { 2 } else { 3 }, File::version);
            let path = ["plugins", plugin(version), "containerd", "runtimes", "runc"];
            let nested = path.iter().rev().fold(Value::Table(preset), |inner, key| {
                Value::Table(Table::from_iter([((*key).to_owned(), inner)]))
            });
            if let Value::Table(mut nested) = nested {
                merge(&mut nested, all);
                all = nested;
            }
        }
        Self(all)
    }

    pub(super) fn version(&self) -> Option<i64> {
        self.0.get("version").and_then(Value::as_integer)
    }

    /// Whether the CRI is switched off, as Docker's own packages do.
    pub(crate) fn cri_is_disabled(&self) -> bool {
        let disabled = self.0.get("disabled_plugins").and_then(Value::as_array).into_iter().flatten();
        disabled.filter_map(Value::as_str).any(|name| name == "cri" || PLUGINS.contains(&name))
    }

    /// Where containerd listens.
    pub(super) fn address(&self) -> PathBuf {
        let of = |table: Option<&Value>| Some(table?.get("address")?.as_str()?.to_owned());
        let plugins = self.0.get("plugins");
        of(self.0.get("grpc"))
            .filter(|address| !address.is_empty())
            .or_else(|| of(plugins.and_then(|plugins| plugins.get("io.containerd.server.v1.grpc"))))
            .unwrap_or_else(|| "/run/containerd/containerd.sock".to_owned())
            .into()
    }

    /// Where it keeps what runs.
    pub(super) fn state(&self) -> PathBuf {
        self.0
            .get("state")
            .and_then(Value::as_str)
            .filter(|state| !state.is_empty())
            .unwrap_or("/run/containerd")
            .into()
    }

    /// Every runtime, by name.
    pub(crate) fn runtimes(&self) -> Vec<Runtime> {
        named(&self.0)
    }

    /// The runtime of pods that ask for none.
    pub(crate) fn default_runtime(&self) -> &str {
        cri(&self.0).and_then(|table| table.get("default_runtime_name")?.as_str()).unwrap_or("runc")
    }

    /// The table of a runtime.
    pub(super) fn runtime_mut(&mut self, place: &[String]) -> Option<&mut Table> {
        let plugins = self.0.get_mut("plugins")?.as_table_mut()?;
        let plugin = PLUGINS.iter().rev().find(|plugin| plugins.contains_key(**plugin))?;
        let table = plugins.get_mut(*plugin)?.get_mut("containerd")?;
        place.iter().try_fold(table, |table, key| table.get_mut(key))?.as_table_mut()
    }

    /// The keys of a runtime's table that are set to something.
    pub(super) fn presets(&self, place: &[String]) -> Option<Table> {
        let mut table =
            place.iter().try_fold(cri(&self.0)?, |table, key| table.get(key)?.as_table())?.clone();
        super::verify::drop_empty(&mut table);
        Some(table)
    }
}

/// What the CRI is told of containerd.
fn cri(table: &Table) -> Option<&Table> {
    let plugins = table.get("plugins")?;
    PLUGINS.iter().rev().find_map(|name| plugins.get(*name)?.get("containerd")?.as_table())
}

fn named(table: &Table) -> Vec<Runtime> {
    let text = |table: &Value, key: &str| {
        table.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let cri = cri(table);
    let all = cri.and_then(|table| table.get("runtimes")?.as_table()).into_iter().flatten();
    let all = all.map(|(name, table)| (name.as_str(), table, vec!["runtimes".to_owned(), name.clone()]));
    // These tables always exist; one without a type is unused.
    let single = SINGLE.into_iter().filter_map(|name| Some((name, cri?.get(name)?, vec![name.to_owned()])));
    let single = single.filter(|(_, table, _)| text(table, "runtime_type").is_some());
    let mut found: Vec<_> = all
        .chain(single)
        .map(|(name, table, place)| Runtime {
            name: name.to_owned(),
            place,
            kind: text(table, "runtime_type").unwrap_or_default(),
            base_spec: text(table, "base_runtime_spec").map(PathBuf::from),
            binary: table.get("options").and_then(|options| text(options, "BinaryName")),
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(known)), Value::Table(more)) => merge(known, more),
            (_, value) => drop(into.insert(key, value)),
        }
    }
}

/// The version to plan for: the program's, else what the files tell.
pub(crate) fn major(engine: &Engine, files: &[File]) -> Result<u32, Problem> {
    match (engine.version, files.first().map(File::version)) {
        (Some(Version { major, .. }), _) => Ok(major),
        (None, Some(3..)) => Ok(2),
        (None, _) => Err(Problem::new(
            Exit::Failed,
            "containerd: its program cannot be asked for its version",
            "say it: --engine containerd=2.1",
        )),
    }
}
