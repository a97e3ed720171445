//! The engines that porthole can be installed for: which are there, what they read, and what they need after a change.

pub(crate) mod containerd;
pub(crate) mod docker;
pub(crate) mod hooks_d;

use super::edit::Edit;
use super::plan::{Owner, Pending, Plan, Reload};
use super::state::{Entry, State};
use super::tree::{Content, Tree};
use super::{Method, Programs};
use crate::engines::daemon::{self, Daemon};
pub(crate) use crate::engines::{EngineName, Version};
use crate::problem::Problem;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// An engine that is there.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    pub(crate) name: EngineName,
    /// Unknown where its program does not tell.
    pub(crate) version: Option<Version>,
    /// Its program, in the tree; none where only the operator says that it is there.
    pub(crate) program: Option<PathBuf>,
    /// Its main configuration, in the tree; need not exist.
    pub(crate) config: PathBuf,
    /// The daemon that reads this configuration, where one runs and the tree is the running system's.
    pub(crate) daemon: Option<Daemon>,
}

/// What an engine's part of a plan is made from.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) state: &'a State,
    pub(crate) programs: &'a Programs,
    pub(crate) method: Method,
    /// Whether the operator has named the configuration.
    pub(crate) is_named: bool,
}

impl Engine {
    /// Looks for an engine in the tree. `config` is where the operator says that its configuration is.
    pub(crate) fn find(
        tree: &Tree,
        name: EngineName,
        config: Option<&Path>,
        version: Option<Version>,
    ) -> Option<Self> {
        let daemons = if tree.is_live() { daemon::of(name) } else { Vec::new() };
        // A node has one CRI-O, and its daemon names its configuration.
        let told = || daemons.first().filter(|_| name == EngineName::CriO).map(Daemon::config);
        let config = config.map(Path::to_owned).or_else(told).unwrap_or_else(|| name.default_config().into());
        let daemon = daemons.into_iter().find(|daemon| daemon.reads(&config));
        let own = daemon.as_ref().and_then(Daemon::program).filter(|path| tree.is_executable(path));
        let program = own.or_else(|| tree.program(&[name.daemon()]));
        if program.is_none() && version.is_none() && tree.read(&config).ok().flatten().is_none() {
            return None;
        }
        let version = version.or_else(|| ask_version(tree, program.as_deref()?));
        Some(Self { name, version, program, config, daemon })
    }

    /// All engines of a name in the tree: those that run, each with its own configuration, and the one with the default
    /// configuration. `config` selects a single one.
    pub(crate) fn all(
        tree: &Tree,
        name: EngineName,
        config: Option<&Path>,
        version: Option<Version>,
    ) -> Vec<Self> {
        let mut found: Vec<_> = Self::find(tree, name, config, version).into_iter().collect();
        if config.is_some() || !tree.is_live() || !name.has_daemon() {
            return found;
        }
        // Docker starts a containerd of its own, which runs no pods.
        let of_docker: Vec<_> = daemon::of(EngineName::Docker).iter().map(Daemon::pid).collect();
        for daemon in daemon::of(name) {
            let config = daemon.config();
            let is_known = found.iter().any(|engine| daemon.reads(&engine.config));
            if !is_known && !daemon.parent().is_some_and(|parent| of_docker.contains(&parent)) {
                found.extend(Self::find(tree, name, Some(&config), version));
            }
        }
        found
    }

    /// An engine that is gone, and may have left files in the usual places.
    pub(crate) fn absent(name: EngineName) -> Self {
        Self { name, version: None, program: None, config: name.default_config().into(), daemon: None }
    }

    /// Whether its configuration is in the usual place.
    pub(crate) fn has_default_config(&self) -> bool {
        self.config == Path::new(self.name.default_config())
    }

    /// Its name and version, with its configuration if that is not in the usual place.
    pub(crate) fn title(&self) -> String {
        if self.has_default_config() {
            self.name.to_string()
        } else {
            format!("{} ({})", self.name, self.config.display())
        }
    }

    /// Adds what this engine needs to the plan.
    pub(crate) fn plan(&self, context: &Context<'_>, plan: &mut Plan) -> Result<(), Problem> {
        self.install(context, plan)?;
        plan.claim(self);
        self.plan_reload(context.tree, context.state, plan);
        Ok(())
    }

    fn install(&self, context: &Context<'_>, plan: &mut Plan) -> Result<(), Problem> {
        match self.name {
            EngineName::Containerd => containerd::install(self, context, plan),
            EngineName::Docker => docker::install(self, context, plan),
            EngineName::CriO | EngineName::Podman => hooks_d::install(self, context, plan),
        }
    }

    /// What it has to do to read a changed configuration.
    pub(crate) fn reload(&self, tree: &Tree, plan: &Plan) -> Reload {
        match self.name {
            EngineName::Containerd => Reload::Restart,
            EngineName::Docker => Reload::Signal,
            EngineName::CriO | EngineName::Podman => hooks_d::reload(self, tree, plan),
        }
    }

    /// Plans what it has to do after the changes of the plan, or after those of a run before that it has not read.
    pub(crate) fn plan_reload(&self, tree: &Tree, state: &State, plan: &mut Plan) {
        let reload = self.reload(tree, plan);
        plan.reload(self, reload);
        let is_planned = |pending: &Pending| pending.is_of(self) && pending.reload != Reload::Nothing;
        let planned = plan.reloads.iter().any(is_planned);
        let behind = || match self.name {
            EngineName::Docker => docker::is_behind(self, tree).then_some(reload),
            EngineName::Containerd => containerd::is_behind(self, tree, state).then_some(reload),
            EngineName::CriO => hooks_d::is_behind(self, tree, state).then_some(Reload::Restart),
            EngineName::Podman => None,
        };
        if !planned && let Some(reload) = behind() {
            plan.reloads.retain(|pending| !pending.is_of(self));
            plan.reloads.push(Pending { engine: self.name, config: self.config.clone(), reload });
        }
    }

    /// Whether the running engine answers, and has read its configuration. Says what is wrong.
    /// `since` is when it was told to.
    pub(crate) fn check(&self, tree: &Tree, since: SystemTime) -> Result<(), Problem> {
        match self.name {
            EngineName::Containerd => containerd::answers(self, tree, since),
            EngineName::Docker => docker::check(self, tree),
            EngineName::CriO | EngineName::Podman => hooks_d::check(self, tree),
        }
    }
}

impl Engine {
    /// Whether the changed files say what they are meant to, asked before anything reads them.
    pub(crate) fn verify(&self, tree: &Tree, plan: &Plan) -> Result<(), Problem> {
        match self.name {
            EngineName::Containerd => containerd::verify(self, tree, plan, false),
            EngineName::CriO | EngineName::Podman | EngineName::Docker => Ok(()),
        }
    }

    /// As [`Engine::verify`], for a configuration that another program has made at its restart.
    pub(crate) fn verify_started(&self, tree: &Tree, plan: &Plan) -> Result<(), Problem> {
        match self.name {
            EngineName::Containerd => containerd::verify(self, tree, plan, true),
            EngineName::CriO | EngineName::Podman | EngineName::Docker => Ok(()),
        }
    }

    /// containerd's own client: the one beside its program, the one in the daemon's `PATH`, or the node's.
    pub(super) fn ctr(&self, tree: &Tree) -> Option<PathBuf> {
        let beside = self.program.as_deref().and_then(Path::parent).map(|dir| dir.join("ctr"));
        let found = || self.daemon.as_ref()?.finds("ctr");
        beside.filter(|ctr| tree.is_executable(ctr)).or_else(found).or_else(|| tree.program(&["ctr"]))
    }

    /// Whether there is somebody to wait for, who was started at `since` or later.
    pub(crate) fn is_there(&self, tree: &Tree, since: SystemTime) -> bool {
        self.name != EngineName::Containerd || containerd::is_there(self, tree, since)
    }
}

/// The engines that read a file of one engine's.
pub(crate) fn readers(tree: &Tree, entry: &Entry, owner: EngineName) -> Vec<EngineName> {
    match owner {
        EngineName::CriO | EngineName::Podman => hooks_d::readers(tree, entry, owner),
        EngineName::Containerd | EngineName::Docker => vec![owner],
    }
}

/// Why a file of ours has to stay for the time being: an engine or a container would still call it.
pub(crate) fn still_needed(tree: &Tree, state: &State, entry: &Entry) -> Result<Option<String>, Problem> {
    match entry.owner {
        Owner::Engine(EngineName::Docker) => docker::still_needed(tree, state, entry),
        Owner::Engine(EngineName::Containerd) => containerd::still_needed(tree, state, entry),
        _ => Ok(None),
    }
}

/// A configuration that has to stay, without what makes new containers use it.
pub(crate) fn without_default(tree: &Tree, entry: &Entry) -> Result<Option<Content>, Problem> {
    match (&entry.edit, tree.read(&entry.path)?) {
        (Edit::Docker(edit), Some(content)) => {
            let text = content.as_text().map(|text| edit.without_default(text)).transpose()?;
            Ok(text.map(|text| content.with_text(text)))
        }
        _ => Ok(None),
    }
}

/// Asks a program of the tree for its version.
fn ask_version(tree: &Tree, program: &Path) -> Option<Version> {
    Version::find(&super::run::in_tree(tree, program, &["--version"]).ok()?)
}
