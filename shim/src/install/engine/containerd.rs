//! containerd: `base_runtime_spec` or `BinaryName` of the runtimes that CRI uses.

mod base_spec;
pub(crate) mod config;
mod edit;
mod running;
#[cfg(test)]
mod tests;
mod text;
mod verify;

use super::{Context, Engine, EngineName};
use crate::exit::Exit;
use crate::install::edit::Edit;
use crate::install::plan::{Owner, Plan, Rank};
use crate::install::state::{Entry, State};
use crate::install::tree::{Content, Tree, failed};
use crate::install::uninstall::before_us;
use crate::install::{Method, guard};
use crate::problem::Problem;
use config::{Effective, File, Runtime};
pub(crate) use edit::ConfigEdit;
use edit::Wanted;
use porthole_registry::hook_entry::HookPath;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
pub(crate) use verify::Expected;
use verify::Hooked;

const OWNER: Owner = Owner::Engine(EngineName::Containerd);
/// The last of a directory's files that sites and other installers number.
const DROP_IN: &str = "99-porthole.toml";

impl ConfigEdit {
    /// The configuration without what is ours; none where nothing would be left of a file that we made.
    pub(crate) fn undo(&self, text: &str) -> Result<Option<String>, Problem> {
        self.take_back(text).map_err(|error| {
            Problem::new(
                Exit::Failed,
                format!("containerd's configuration: {}", error.0),
                "repair it, then run this again; what it was before porthole is beside it, FILE.porthole-backup",
            )
        })
    }
}

/// One installation.
struct Install<'a, 'b> {
    context: &'a Context<'b>,
    engine: &'a Engine,
    hook: HookPath,
    /// The file to write into, and the version of its form.
    target: PathBuf,
    version: i64,
    /// Its text without what is ours; none where it is to be made.
    text: Option<String>,
    /// Whether a runtime that the file names replaces what containerd presets.
    replaces: bool,
    /// The files that this installation needs.
    used: Vec<PathBuf>,
    wanted: Vec<Wanted>,
    hooked: Vec<Hooked>,
}

/// Plans the change.
pub(super) fn install(engine: &Engine, context: &Context<'_>, plan: &mut Plan) -> Result<(), Problem> {
    let tree = context.tree;
    let files = config::files(tree, &engine.config)?;
    let major = config::major(engine, &files)?;
    let (effective, unasked) = Effective::find(tree, engine, &files, major)?;
    if let Some(why) = &unasked {
        plan.notes
            .push(format!("containerd cannot be asked what it reads ({why}): planned from its files alone"));
    }
    if effective.cri_is_disabled() {
        plan.notes.push(
            "containerd: its CRI plugin is disabled, so it runs no pods: nothing to do for it".to_owned(),
        );
        return Ok(());
    }
    check(engine, &files, &effective, tree)?;
    let method = method(context)?;
    let (target, version) = target(&files, engine, major, &effective);
    // 1.x takes a number that it does not know for the last that it knows.
    let version = if major < 2 { 2 } else { version };
    let mut install = Install {
        context,
        engine,
        hook: HookPath::parse(&context.programs.hook).map_err(|e| Problem::failed(e.to_string()))?,
        text: without_ours(context, &target)?,
        target,
        version,
        replaces: major < 2,
        used: Vec::new(),
        wanted: Vec::new(),
        hooked: Vec::new(),
    };
    let (runtimes, others): (Vec<_>, Vec<_>) =
        effective.runtimes().into_iter().partition(|runtime| runtime.kind == config::RUNC_V2);
    for other in others {
        let Runtime { name, kind, .. } = other;
        plan.notes.push(format!(
            "containerd: runtime {name} is left as it is: its type is {kind:?}, not {}",
            config::RUNC_V2
        ));
    }
    for runtime in &runtimes {
        match method {
            Method::Runtime => install.guard(runtime, plan)?,
            _ => install.base_spec(runtime, plan)?,
        }
    }
    if method != Method::Runtime && !runtimes.is_empty() {
        plan.notes.push(
            "containerd: base-spec hooks the containers of pods, not their sandboxes: `porthole reconcile` registers these"
                .to_owned(),
        );
    }
    install.configuration(plan)?;
    install.take_back_the_rest(plan)?;
    if unasked.is_none() {
        plan.expected = Some(Expected { before: effective, runtimes: install.hooked });
    }
    Ok(())
}

/// Refuses what cannot be edited, or would not be read.
fn check(engine: &Engine, files: &[File], effective: &Effective, tree: &Tree) -> Result<(), Problem> {
    if let Some(main) = files.first()
        && main.version() < 2
    {
        return Err(Problem::new(
            Exit::Failed,
            format!("{}: is of version 1, in which runtimes cannot have what is needed", main.path.display()),
            "write it in version 2: `version = 2` at its top, and plugins by their full names, as in \
             [plugins.\"io.containerd.grpc.v1.cri\"]; `containerd config migrate` of 1.7 and later does it",
        ));
    }
    if tree.is_live()
        && let Some(other) = running::other_config(effective, &engine.config)
    {
        return Err(Problem::new(
            Exit::Failed,
            format!("the running containerd reads {}, not {}", other.display(), engine.config.display()),
            format!("say so: --engine containerd --config {}", other.display()),
        ));
    }
    Ok(())
}

/// The method to use: without a choice the one in use.
fn method(context: &Context<'_>) -> Result<Method, Problem> {
    match context.method {
        Method::Auto => {
            let is_guard = |entry: &Entry| entry.owner == OWNER && guard::is_guard(&entry.path);
            let is_base = |entry: &Entry| entry.owner == OWNER && entry.path == Path::new(base_spec::PATH);
            let files = &context.state.files;
            let runtime = files.iter().any(is_guard) && !files.iter().any(is_base);
            Ok(if runtime && installed(context).any(|(_, edit)| edit.sets("BinaryName")) {
                Method::Runtime
            } else {
                Method::BaseSpec
            })
        }
        Method::HooksD => Err(Problem::new(
            Exit::Usage,
            "containerd reads no hooks.d",
            "choose base-spec or runtime for it, or say for which engine hooks.d is meant: --engine podman",
        )),
        method => Ok(method),
    }
}

/// The files of the configuration that are changed already.
fn installed<'a>(context: &'a Context<'_>) -> impl Iterator<Item = (&'a Entry, &'a ConfigEdit)> {
    context.state.files.iter().filter_map(|entry| match &entry.edit {
        Edit::Containerd(edit) => Some((entry, edit)),
        _ => None,
    })
}

/// The file to write into: one of a directory that is imported, where that adds to what others say; else the one that says
/// it now.
fn target(files: &[File], engine: &Engine, major: u32, effective: &Effective) -> (PathBuf, i64) {
    let Some(main) = files.first() else {
        let version = if major < 2 { 2 } else { effective.version().unwrap_or(3) };
        return (engine.config.clone(), version);
    };
    if major < 2 {
        // There, the last file that has a table of the plugin replaces those before it.
        let file = files.iter().rev().find(|file| file.has_plugin()).unwrap_or(main);
        return (file.path.clone(), file.version());
    }
    match files.iter().find_map(File::drop_in_directory) {
        // Of another version than the main one it would replace the plugin's table.
        Some(dir) => (dir.join(DROP_IN), main.version()),
        None => (engine.config.clone(), main.version()),
    }
}

/// The text of a file of the configuration as it would be without us.
fn without_ours(context: &Context<'_>, path: &Path) -> Result<Option<String>, Problem> {
    let current = context.tree.read(path)?;
    let Some(entry) = context.state.entry(path) else { return context.tree.text(path) };
    let before = before_us(entry, current.as_ref())?;
    Ok(before.as_ref().and_then(Content::as_text).map(str::to_owned))
}

impl Install<'_, '_> {
    fn table(&self, runtime: &str, more: &[&str]) -> Vec<String> {
        let path = ["plugins", config::plugin(self.version), "containerd", "runtimes", runtime];
        path.iter().chain(more).map(|key| (*key).to_owned()).collect()
    }

    fn want(&mut self, runtime: &Runtime, more: &[&str], key: &'static str, value: String) {
        let named = self.text.as_deref().and_then(|text| text::Text::parse(text).ok());
        let table = self.table(&runtime.name, &[]);
        if self.replaces && named.is_none_or(|text| text.get(&table).is_none()) {
            let value = runtime.kind.clone();
            self.wanted.push(Wanted { table: table.clone(), key: "runtime_type", value, needed: true });
        }
        self.wanted.push(Wanted { table: self.table(&runtime.name, more), key, value, needed: false });
    }

    /// What a runtime's binary was before us, or is to be.
    fn real(&self, runtime: &Runtime) -> Result<Option<String>, Problem> {
        match &runtime.binary {
            Some(binary) if guard::is_guard(Path::new(binary)) => {
                let table = self.table(&runtime.name, &["options"]);
                let of_edit = installed(self.context).find_map(|(_, edit)| edit.before(&table, "BinaryName"));
                Ok(of_edit.filter(|binary| !binary.is_empty()))
            }
            binary => Ok(binary.clone()),
        }
    }

    fn base_spec(&mut self, runtime: &Runtime, plan: &mut Plan) -> Result<(), Problem> {
        let tree = self.context.tree;
        let ours = Path::new(base_spec::PATH);
        let site = runtime.base_spec.clone().filter(|path| path != ours);
        let binary = self.real(runtime)?;
        self.hooked.push(Hooked {
            name: runtime.name.clone(),
            base_spec: Some(site.clone().unwrap_or_else(|| ours.to_owned())),
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
        if !self.used.iter().any(|path| path == ours) {
            let text = base_spec::make(tree, self.engine, &self.hook)?;
            plan.set(tree, ours, Rank::Support, OWNER, Some(Content::text(text)), Edit::Own)?;
            self.used.push(ours.to_owned());
        }
        self.want(runtime, &[], "base_runtime_spec", base_spec::PATH.to_owned());
        Ok(())
    }

    fn guard(&mut self, runtime: &Runtime, plan: &mut Plan) -> Result<(), Problem> {
        let tree = self.context.tree;
        let script = Path::new(guard::DIRECTORY).join(format!("containerd-{}", runtime.name));
        let known = match &runtime.binary {
            Some(binary) if Path::new(binary) == script => {
                tree.text(&script)?.as_deref().and_then(guard::real)
            }
            _ => None,
        };
        let name = self.real(runtime)?.unwrap_or_else(|| "runc".to_owned());
        let real = match known {
            Some(real) => Some(real),
            None if name.starts_with('/') => {
                Some(PathBuf::from(&name)).filter(|path| tree.is_executable(path))
            }
            None => tree.program(&[name.as_str()]),
        };
        let real = real.ok_or_else(|| {
            Problem::new(
                Exit::Failed,
                format!("containerd: runtime {}: its program {name} is not there", runtime.name),
                "install it first, or set BinaryName in containerd's configuration to where it is",
            )
        })?;
        let path = guard::install(self.context, plan, EngineName::Containerd, &runtime.name, &real)?;
        let value = path.display().to_string();
        let base_spec = runtime.base_spec.clone().filter(|path| path != Path::new(base_spec::PATH));
        self.hooked.push(Hooked { name: runtime.name.clone(), base_spec, binary: Some(value.clone()) });
        self.used.push(path);
        self.want(runtime, &["options"], "BinaryName", value);
        Ok(())
    }

    /// Plans the file of the configuration.
    fn configuration(&mut self, plan: &mut Plan) -> Result<(), Problem> {
        if self.wanted.is_empty() {
            return Ok(());
        }
        let tree = self.context.tree;
        self.used.push(self.target.clone());
        let current = tree.text(&self.target)?;
        let known = installed(self.context).find(|(entry, _)| entry.path == self.target);
        if let (Some((_, edit)), Some(text)) = (known, &current)
            && edit.stands(text, &self.wanted)
        {
            return Ok(());
        }
        let (text, edit) = ConfigEdit::make(self.text.as_deref(), self.version, &self.wanted)
            .map_err(|error| failed("edit", &self.target, error.0))?;
        let content = match tree.read(&self.target)? {
            Some(current) => current.with_text(text),
            None => Content::text(text),
        };
        plan.set(tree, &self.target, Rank::Config, OWNER, Some(content), Edit::Containerd(edit))
    }

    /// Plans the end of what another method, or another configuration, needed. What a container may still call stays until
    /// `uninstall` has looked.
    fn take_back_the_rest(&self, plan: &mut Plan) -> Result<(), Problem> {
        let tree = self.context.tree;
        let rest = self.context.state.files.iter().filter(|entry| {
            entry.owner == OWNER && !self.used.contains(&entry.path) && !guard::is_guard(&entry.path)
        });
        for entry in rest {
            let current = tree.look(&entry.path)?;
            let after = before_us(entry, current.as_ref())?;
            plan.set(tree, &entry.path, entry.rank, OWNER, after, entry.edit.clone())?;
        }
        Ok(())
    }
}

/// Whether the files say what they were meant to, before anything reads them.
pub(super) fn verify(engine: &Engine, tree: &Tree, plan: &Plan) -> Result<(), Problem> {
    verify::verify(engine, tree, plan.expected.as_ref())
}

/// Whether it answers, with its CRI plugin loaded, and has been started since.
pub(super) fn answers(engine: &Engine, tree: &Tree, since: SystemTime) -> Result<(), Problem> {
    running::check(engine, tree, since)
}

/// Whether one listens that was started since.
pub(super) fn is_there(engine: &Engine, tree: &Tree, since: SystemTime) -> bool {
    running::is_there(engine, tree, since)
}

/// Whether one runs that has not read what was changed last.
pub(super) fn is_behind(engine: &Engine, tree: &Tree, state: &State) -> bool {
    running::is_behind(engine, tree, state)
}

/// Why a file has to stay.
pub(super) fn still_needed(tree: &Tree, state: &State, entry: &Entry) -> Result<Option<String>, Problem> {
    running::still_needed(tree, state, entry)
}
