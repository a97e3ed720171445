//! The change of each runtime of the CRI: a base spec with our hooks, or a script in front of its program.

use super::config::{self, RUNC_V2, Runtime};
use super::edit::Wanted;
use super::verify::Hooked;
use super::{Install, OWNER, base_spec, installed, text};
use crate::exit::Exit;
use crate::install::edit::Edit;
use crate::install::engine::{Engine, EngineName};
use crate::install::guard;
use crate::install::plan::{Plan, Rank};
use crate::install::tree::{Content, failed};
use crate::problem::Problem;
use serde_json::Value as Json;
use std::path::{Path, PathBuf};

impl Runtime {
    /// Why it is left as it is, and what can be done.
    pub(crate) fn left(&self) -> String {
        let Self { kind, .. } = self;
        if kind == "io.containerd.runtime.v1.linux" {
            return format!(
                "its type is {kind:?}, which containerd 2.0 no longer has; with {RUNC_V2:?}, and containerd restarted, `porthole \
                 install` hooks it; until then `porthole reconcile` registers its containers"
            );
        }
        format!(
            "its type is {kind:?}, and hooks are for runc's; `porthole reconcile` registers its containers"
        )
    }
}

impl Install<'_, '_> {
    fn table(&self, runtime: &Runtime, more: &[&str]) -> Vec<String> {
        let path = ["plugins", config::plugin(self.target.version), "containerd"];
        let path = path.iter().map(|key| (*key).to_owned()).chain(runtime.place.iter().cloned());
        path.chain(more.iter().map(|key| (*key).to_owned())).collect()
    }

    fn want(&mut self, runtime: &Runtime, more: &[&str], key: &str, value: String) {
        let named = self.text.as_deref().and_then(|text| text::Text::parse(text).ok());
        let table = self.table(runtime, &[]);
        if self.replaces && named.is_none_or(|text| text.get(&table).is_none()) {
            self.keep(runtime);
        }
        let wanted = Wanted {
            table: self.table(runtime, more),
            key: key.to_owned(),
            value: value.into(),
            needed: false,
        };
        self.wanted.push(wanted);
    }

    /// Writes the preset of a runtime into its new table, which replaces the preset.
    fn keep(&mut self, runtime: &Runtime) {
        let presets = self.effective.presets(&runtime.place).unwrap_or_default();
        let mut all: Vec<_> = presets.iter().map(|(key, value)| (Vec::new(), key, value)).collect();
        let options = presets.get("options").and_then(toml::Value::as_table).into_iter().flatten();
        all.extend(options.map(|(key, value)| (vec!["options"], key, value)));
        // The type comes first: without it the others would mean something else.
        all.sort_by_key(|(more, key, _)| (!more.is_empty(), *key != "runtime_type"));
        for (more, key, value) in all {
            let is_ours = ["base_runtime_spec", "BinaryName"].contains(&key.as_str());
            let Ok(value) = serde_json::to_value(value) else { continue };
            if !is_ours && !matches!(value, Json::Object(_)) {
                let table = self.table(runtime, &more);
                self.wanted.push(Wanted { table, key: key.clone(), value, needed: true });
            }
        }
    }

    /// The path of a file of ours. Each containerd of a node has its own.
    fn own(&self, plan: &Plan, usual: &str, other: impl Fn(&str) -> String) -> PathBuf {
        let path = PathBuf::from(usual);
        let config = &self.engine.config;
        let entry = self.context.state.entry(&path);
        let is_others = entry.is_some_and(|entry| entry.owner == OWNER && !entry.is_of_config(config));
        let of_others = |known: &Option<PathBuf>| known.as_ref().is_some_and(|known| known != config);
        if is_others || plan.changes.iter().any(|change| change.path == path && of_others(&change.config)) {
            return other(&slug(config)).into();
        }
        path
    }

    /// The runtime's program without us.
    fn real(&self, runtime: &Runtime) -> Option<String> {
        match &runtime.binary {
            Some(binary) if guard::is_guard(Path::new(binary)) => {
                let table = self.table(runtime, &["options"]);
                let mut edits = installed(self.engine, self.context);
                let before = edits.find_map(|(_, edit)| edit.before(&table, "BinaryName"));
                before.filter(|binary| !binary.is_empty())
            }
            binary => binary.clone(),
        }
    }

    pub(super) fn base_spec(&mut self, runtime: &Runtime, plan: &mut Plan) -> Result<(), Problem> {
        let tree = self.context.tree;
        let ours = self.own(plan, base_spec::PATH, |slug| format!("{}/{slug}.json", base_spec::DIRECTORY));
        let site = runtime.base_spec.clone().filter(|path| !base_spec::is_ours(path));
        let binary = self.real(runtime);
        self.hooked.push(Hooked {
            name: runtime.name.clone(),
            place: runtime.place.clone(),
            base_spec: Some(site.clone().unwrap_or_else(|| ours.clone())),
            binary,
        });
        if let Some(path) = site {
            let current = tree.read(&path)?.ok_or_else(|| {
                failed(
                    "read the base spec of the site",
                    &path,
                    "there is no such file, and containerd will not start",
                )
            })?;
            let text = tree.text(&path)?.unwrap_or_default();
            let text = base_spec::merge(&path, text, &self.hook)?;
            plan.set(tree, &path, Rank::Config, OWNER, Some(current.with_text(text)), Edit::BaseSpec)?;
            self.used.push(path);
            return Ok(());
        }
        if !self.used.contains(&ours) {
            let text = base_spec::make(tree, self.engine, &self.hook)?;
            plan.set(tree, &ours, Rank::Support, OWNER, Some(Content::text(text)), Edit::Own)?;
            self.used.push(ours.clone());
        }
        self.want(runtime, &[], "base_runtime_spec", ours.display().to_string());
        Ok(())
    }

    pub(super) fn guard(&mut self, runtime: &Runtime, plan: &mut Plan) -> Result<(), Problem> {
        let tree = self.context.tree;
        let usual = runtime.name.clone();
        let usual_path = guard::path(EngineName::Containerd, &usual);
        let name = |slug: &str| format!("{slug}-{usual}");
        let path = self.own(plan, &usual_path.to_string_lossy(), |slug| {
            guard::path(EngineName::Containerd, &name(slug)).to_string_lossy().into_owned()
        });
        let word = if path == usual_path { usual.clone() } else { name(&slug(&self.engine.config)) };
        let program = self.real(runtime);
        let known = match (&program, &runtime.binary) {
            // Our script is installed, and the value before it is not known, or was none.
            (None, Some(binary)) if Path::new(binary) == path => {
                tree.text(&path)?.as_deref().and_then(guard::real).filter(|real| tree.is_executable(real))
            }
            _ => None,
        };
        let is_recorded = self.context.state.entry(&path).is_some();
        let program = program.unwrap_or_else(|| "runc".to_owned());
        let found = find(self.engine, self.context.tree, &program);
        // Where the state is lost, the script names its runtime.
        let real = if is_recorded { found.or(known) } else { known.or(found) };
        let real = real.ok_or_else(|| {
            Problem::new(
                Exit::Failed,
                format!(
                    "{}: runtime {}: its program {program} is not there",
                    self.engine.title(),
                    runtime.name
                ),
                "install it first, or set BinaryName in containerd's configuration to where it is",
            )
        })?;
        if tree.is_live() && self.engine.daemon.is_none() && !program.starts_with('/') {
            plan.notes.push(format!(
                "{} does not run, so its PATH is not known: runtime {} is taken to be {}",
                self.engine.title(),
                runtime.name,
                real.display()
            ));
        }
        let path = guard::install(self.context, plan, EngineName::Containerd, &word, &real)?;
        let value = path.display().to_string();
        let base_spec = runtime.base_spec.clone().filter(|path| !base_spec::is_ours(path));
        self.hooked.push(Hooked {
            name: runtime.name.clone(),
            place: runtime.place.clone(),
            base_spec,
            binary: Some(value.clone()),
        });
        self.used.push(path);
        self.want(runtime, &["options"], "BinaryName", value);
        Ok(())
    }
}

/// The path at which the daemon finds a program. Where none runs, the path at which a service manager finds it.
fn find(engine: &Engine, tree: &crate::install::tree::Tree, program: &str) -> Option<PathBuf> {
    match &engine.daemon {
        Some(daemon) => daemon.finds(program),
        None if program.starts_with('/') => {
            Some(PathBuf::from(program)).filter(|path| tree.is_executable(path))
        }
        None => tree.program(&[program]),
    }
}

/// A path as a word of a file's name.
fn slug(path: &Path) -> String {
    let path = path.to_string_lossy();
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' || c == '_' { c } else { '-' };
    path.trim_start_matches('/').chars().map(plain).collect()
}
