//! containerd: `base_runtime_spec` or `BinaryName` of the runtimes that CRI uses.

mod base_spec;
pub(crate) mod config;
mod edit;
pub(crate) mod generated;
pub(crate) mod recover;
mod running;
mod runtimes;
mod target;
#[cfg(test)]
mod tests;
mod text;
mod verify;

use super::{Context, Engine, EngineName};
use crate::engines::daemon;
use crate::exit::Exit;
use crate::install::edit::Edit;
use crate::install::plan::{Owner, Plan, Rank};
use crate::install::state::{Entry, State};
use crate::install::tree::{Content, Tree, failed};
use crate::install::uninstall::before_us;
use crate::install::{Method, guard};
use crate::problem::Problem;
use config::{Effective, Runtime};
pub(crate) use edit::ConfigEdit;
use edit::Wanted;
pub(crate) use generated::TemplateEdit;
use porthole_registry::hook_entry::HookPath;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use target::Target;
pub(crate) use verify::Expected;
use verify::Hooked;

const OWNER: Owner = Owner::Engine(EngineName::Containerd);

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
    /// The file to write into.
    target: Target,
    /// Its text without what is ours; none where it is to be made.
    text: Option<String>,
    /// Whether a runtime that the file names replaces containerd's preset.
    replaces: bool,
    /// The configuration that containerd reads without this installation.
    effective: &'a Effective,
    /// The files that this installation needs.
    used: Vec<PathBuf>,
    wanted: Vec<Wanted>,
    hooked: Vec<Hooked>,
}

/// Plans the change.
pub(super) fn install(engine: &Engine, context: &Context<'_>, plan: &mut Plan) -> Result<(), Problem> {
    let (tree, title) = (context.tree, engine.title());
    let files = config::files(tree, &engine.config)?;
    let major = config::major(engine, &files)?;
    let (effective, unasked) = Effective::find(tree, engine, &files, major)?;
    if let Some(why) = &unasked {
        plan.notes
            .push(format!("{title} cannot be asked what it reads ({why}): planned from its files alone"));
    }
    if effective.cri_is_disabled() {
        plan.notes
            .push(format!("{title}: its CRI plugin is disabled, so it runs no pods: nothing to do for it"));
        return Ok(());
    }
    if !is_read(engine, context, &effective, plan)? {
        return Ok(());
    }
    let method = method(engine, context)?;
    let ours = |path: &Path| context.state.entry(path).is_some_and(|entry| entry.is_of(engine));
    let target = target::choose(tree, engine, &files, (major, &effective), &ours)?;
    let mut install = Install {
        context,
        engine,
        hook: HookPath::parse(&context.programs.hook).map_err(|e| Problem::failed(e.to_string()))?,
        text: None,
        target,
        replaces: major < 2,
        effective: &effective,
        used: Vec::new(),
        wanted: Vec::new(),
        hooked: Vec::new(),
    };
    install.text = install.without_ours()?;
    // A file that an installation gave a version has none without it.
    let mut edits = installed(engine, context).filter(|(entry, _)| entry.path == install.target.path);
    install.target.sets_version |= edits.any(|(_, edit)| edit.sets("version"));
    if install.target.sets_version {
        let version = install.target.version.into();
        install.wanted.push(Wanted {
            table: Vec::new(),
            key: "version".to_owned(),
            value: version,
            needed: false,
        });
    }
    let (runtimes, others): (Vec<_>, Vec<_>) = effective.runtimes().into_iter().partition(Runtime::is_runc);
    plan.notes.extend(
        others
            .iter()
            .map(|other| format!("{title}: runtime {} is left as it is: {}", other.name, other.left())),
    );
    for runtime in &runtimes {
        match method {
            Method::Runtime => install.guard(runtime, plan)?,
            _ => install.base_spec(runtime, plan)?,
        }
    }
    if method != Method::Runtime && !runtimes.is_empty() {
        plan.notes.push(format!(
            "{title}: base-spec hooks the containers of pods, not their sandboxes: `porthole reconcile` registers these"
        ));
    }
    install.configuration(plan)?;
    install.take_back_the_rest(plan)?;
    if unasked.is_none() {
        let is_deferred = install.target.writer.is_some();
        let runtimes = install.hooked;
        plan.expected.push(Expected {
            config: engine.config.clone(),
            is_deferred,
            before: effective,
            runtimes,
        });
    }
    Ok(())
}

/// Whether a containerd reads the file, or will. If another containerd has taken its place, a file that the operator names is
/// an error, and the one in the usual place a note.
fn is_read(
    engine: &Engine,
    context: &Context<'_>,
    effective: &Effective,
    plan: &mut Plan,
) -> Result<bool, Problem> {
    if !context.tree.is_live() || engine.daemon.is_some() {
        return Ok(true);
    }
    let (title, config) = (engine.title(), engine.config.display());
    let listens = running::listener(effective);
    let daemons = daemon::of(EngineName::Containerd);
    if let Some(other) = daemons.iter().find(|daemon| Some(daemon.pid()) == listens) {
        let other = other.config();
        let remedy = format!("say so: --engine containerd --config {}", other.display());
        let what = format!("the running containerd reads {}, not {config}", other.display());
        if context.is_named {
            return Err(Problem::new(Exit::Failed, what, remedy));
        }
        plan.notes.push(format!("{what}: {config} is left as it is"));
        return Ok(false);
    }
    let others: Vec<_> = daemons.iter().map(|daemon| daemon.config().display().to_string()).collect();
    plan.notes.push(match others.as_slice() {
        [] => format!("{title} does not run: {config} counts once it is started"),
        others => format!(
            "{title} does not run: {config} counts once one is started with it; the one that runs reads {}",
            others.join(", ")
        ),
    });
    Ok(true)
}

/// The method to use: without a choice the one in use.
fn method(engine: &Engine, context: &Context<'_>) -> Result<Method, Problem> {
    match context.method {
        Method::Auto => {
            let own = || context.state.files.iter().filter(|entry| entry.is_of(engine));
            let runtime = own().any(|entry| guard::is_guard(&entry.path))
                && !own().any(|entry| base_spec::is_ours(&entry.path));
            Ok(if runtime && installed(engine, context).any(|(_, edit)| edit.sets("BinaryName")) {
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
fn installed<'a>(
    engine: &Engine,
    context: &'a Context<'_>,
) -> impl Iterator<Item = (&'a Entry, &'a ConfigEdit)> + use<'a> {
    let own: Vec<_> = context.state.files.iter().filter(|entry| entry.is_of(engine)).collect();
    own.into_iter().filter_map(|entry| match &entry.edit {
        Edit::Containerd(edit) => Some((entry, edit)),
        _ => None,
    })
}

impl Install<'_, '_> {
    /// The text of the target without our keys.
    fn without_ours(&self) -> Result<Option<String>, Problem> {
        let (tree, path) = (self.context.tree, &self.target.path);
        if self.is_in_template() {
            return Ok(tree.text(path)?.map(|text| generated::without(&text)));
        }
        let current = tree.read(path)?;
        let Some(entry) = self.context.state.entry(path) else { return tree.text(path) };
        let before = before_us(entry, current.as_ref())?;
        Ok(before.as_ref().and_then(Content::as_text).map(str::to_owned))
    }

    /// Whether the wanted keys have to be in the template itself, as a file that it could name would replace others.
    fn is_in_template(&self) -> bool {
        self.target.template.is_some() && self.replaces
    }

    /// Plans the file of the configuration.
    fn configuration(&mut self, plan: &mut Plan) -> Result<(), Problem> {
        // A version alone makes no difference.
        if self.wanted.iter().all(|wanted| wanted.table.is_empty()) {
            return Ok(());
        }
        if let Some(writer) = &self.target.writer {
            plan.notes.push(format!(
                "{}: {writer} writes {} anew from {} when it is restarted: restart {writer}",
                self.engine.title(),
                self.engine.config.display(),
                self.target.template.as_ref().unwrap_or(&self.target.path).display()
            ));
        }
        let path = self.target.path.clone();
        if let Some(template) = self.target.template.clone() {
            if self.is_in_template() {
                let last = self.appended()?;
                return self.template(&template, "", &last, plan);
            }
            self.template(
                &template,
                &format!("imports = [{}]", text::quoted(&path.to_string_lossy())),
                "",
                plan,
            )?;
        }
        self.used.push(path.clone());
        let tree = self.context.tree;
        let current = tree.text(&path)?;
        let known = installed(self.engine, self.context).find(|(entry, _)| entry.path == path);
        if let (Some((_, edit)), Some(text)) = (known, &current)
            && edit.stands(text, &self.wanted)
        {
            return Ok(());
        }
        let (text, edit) = ConfigEdit::make(self.text.as_deref(), self.target.version, &self.wanted)
            .map_err(|error| failed("edit", &path, error.0))?;
        let content = match tree.read(&path)? {
            Some(current) => current.with_text(text),
            None => Content::text(text),
        };
        plan.set(tree, &path, Rank::Config, OWNER, Some(content), Edit::Containerd(edit))
    }

    /// The wanted keys, as tables after the rest of the configuration.
    fn appended(&self) -> Result<String, Problem> {
        let before = self.text.clone().unwrap_or_default();
        let (after, _) = ConfigEdit::make(Some(&before), self.target.version, &self.wanted)
            .map_err(|error| failed("edit", &self.target.path, error.0))?;
        let is_table = |text: &&str| text.trim_start().starts_with('[');
        after
            .strip_prefix(&before)
            .filter(is_table)
            .map(str::to_owned)
            .ok_or_else(|| self.refuse("it already has a table of the runtime, to which no template can add"))
    }

    fn refuse(&self, why: &str) -> Problem {
        let writer = self.target.writer.clone().unwrap_or_default();
        generated::Generated { writer, extension: generated::Extension::Nothing }
            .refuse(&self.engine.config, why)
    }

    /// Plans the edit of a template.
    fn template(&mut self, path: &Path, first: &str, last: &str, plan: &mut Plan) -> Result<(), Problem> {
        let tree = self.context.tree;
        self.used.push(path.to_owned());
        let current = tree.read(path)?;
        let site = match (self.context.state.entry(path), tree.text(path)?) {
            (Some(Entry { edit: Edit::Template(edit), .. }), Some(text)) => edit.undo(&text),
            (_, text) => text.map(|text| generated::without(&text)),
        };
        // The configuration that was made of the template shows what will be made of it, without our lines.
        let made = generated::without(&tree.text(&self.engine.config)?.unwrap_or_default());
        if text::Text::parse(&format!("{first}\n{made}{last}")).is_err() {
            return Err(self.refuse("it already imports files, to which no template can add"));
        }
        let (text, edit) = TemplateEdit::make(site.as_deref(), first, last);
        let content = current.map_or_else(|| Content::text(&text), |file| file.with_text(text.clone()));
        plan.set(tree, path, Rank::Config, OWNER, Some(content), Edit::Template(edit))
    }

    /// Plans the end of what another method, or another configuration, needed. What a container may still call stays until
    /// `uninstall` has looked.
    fn take_back_the_rest(&self, plan: &mut Plan) -> Result<(), Problem> {
        let tree = self.context.tree;
        let rest = self.context.state.files.iter().filter(|entry| {
            entry.is_of(self.engine) && !self.used.contains(&entry.path) && !guard::is_guard(&entry.path)
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
pub(super) fn verify(engine: &Engine, tree: &Tree, plan: &Plan, has_started: bool) -> Result<(), Problem> {
    let expected = plan.expected.iter().find(|expected| expected.config == engine.config);
    // The result of another program is known after its start.
    match expected {
        Some(expected) if expected.is_deferred != has_started => Ok(()),
        expected => verify::verify(engine, tree, expected),
    }
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
