//! The policy of the security module, where one is active: `porthole exec` runs nothing without it. AppArmor's profile is
//! loaded at every boot from where it is put; SELinux keeps a module of its own store's.

mod step;

use super::edit::Edit;
use super::engine::Context;
use super::plan::{Owner, Plan, Rank};
use super::recover::Found;
use super::state::State;
use super::tree::{Content, Tree};
use crate::lsm as kernel;
use crate::problem::Problem;
use porthole_registry::naming;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
pub(crate) use step::{Action, Step};
pub(super) use step::{again, announce, apply, remember, withdraw};

/// Where AppArmor's profiles are, which it loads at boot.
const PROFILES: &str = "/etc/apparmor.d";
/// SELinux's configuration.
const SELINUX_CONFIG: &str = "/etc/selinux/config";
/// The SELinux module below a prefix, as `make install` puts it.
const MODULE: &str = "share/porthole/selinux/porthole.cil";
/// Its name.
const MODULE_NAME: &str = "porthole";
/// What it labels; the rest of its patterns is below these.
const LABELLED: [&str; 7] = [
    "/usr/bin/porthole",
    "/usr/local/bin/porthole",
    "/usr/libexec/porthole",
    "/usr/local/libexec/porthole",
    "/opt/porthole",
    "/etc/porthole",
    "/run/porthole",
];

/// A security module that there is a policy for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Module {
    Apparmor,
    Selinux,
}

/// A policy that was loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Loaded {
    module: Module,
    /// Of its text. None from before it is loaded until it is.
    digest: Option<String>,
}

impl Module {
    const ALL: [Self; 2] = [Self::Apparmor, Self::Selinux];

    const fn text(self) -> &'static str {
        match self {
            Self::Apparmor => include_str!("../../../config/apparmor/porthole-debug"),
            Self::Selinux => include_str!("../../../config/selinux/porthole.cil"),
        }
    }

    const fn policy(self) -> &'static str {
        match self {
            Self::Apparmor => "AppArmor profile porthole-debug",
            Self::Selinux => "SELinux module porthole",
        }
    }

    const fn loader(self) -> (&'static str, &'static str) {
        match self {
            Self::Apparmor => ("apparmor_parser", "apparmor"),
            Self::Selinux => ("semodule", "policycoreutils"),
        }
    }

    fn is_active(self) -> bool {
        match self {
            Self::Apparmor => kernel::is_apparmor_active(),
            Self::Selinux => kernel::is_selinux_active(),
        }
    }

    /// Whether the running system, or the one that is being built, confines by it.
    fn is_meant(self, tree: &Tree) -> bool {
        match self {
            _ if tree.is_live() => self.is_active(),
            Self::Apparmor => tree.is_dir(Path::new(PROFILES)),
            Self::Selinux => matches!(tree.text(Path::new(SELINUX_CONFIG)), Ok(Some(_))),
        }
    }

    /// Whether the kernel has the policy. None where it cannot be asked.
    fn is_known(self) -> Option<bool> {
        match self {
            Self::Apparmor => kernel::knows_profile(),
            Self::Selinux => kernel::knows_context(),
        }
    }

    /// Where its policy is put. An image-based host has `/usr` read-only.
    fn place(self, context: &Context<'_>) -> PathBuf {
        let (tree, state) = (context.tree, context.state);
        if self == Self::Apparmor {
            return Path::new(PROFILES).join("porthole-debug");
        }
        let beside = context.programs.porthole.parent().and_then(Path::parent);
        let prefixes = beside.into_iter().chain([Path::new("/usr"), Path::new("/opt/porthole")]);
        let places: Vec<_> = prefixes.map(|prefix| prefix.join(MODULE)).collect();
        let is_there = |place: &&PathBuf| {
            state.entry(place).is_some() || matches!(tree.text(place), Ok(Some(text)) if text == self.text())
        };
        let can_be = |place: &&PathBuf| place.parent().is_some_and(|dir| tree.can_write(dir));
        let found = places.iter().find(is_there).or_else(|| places.iter().find(can_be));
        found.or(places.first()).cloned().unwrap_or_default()
    }

    /// The file that was put somewhere by an installation.
    fn file_of(self, state: &State) -> Option<&Path> {
        let name = match self {
            Self::Apparmor => "apparmor.d/porthole-debug",
            Self::Selinux => MODULE,
        };
        state.files.iter().map(|entry| entry.path.as_path()).find(|path| path.ends_with(name))
    }

    fn load(self, program: PathBuf, file: &Path, digest: Option<String>) -> Step {
        let flag = if self == Self::Apparmor { "-r" } else { "-i" };
        let args = vec![flag.to_owned(), file.display().to_string()];
        Step { module: self, action: Action::Load, program, args, digest }
    }

    fn unload(self, program: PathBuf, file: &Path) -> Step {
        let args = match self {
            Self::Apparmor => vec!["-R".to_owned(), file.display().to_string()],
            Self::Selinux => vec!["-r".to_owned(), MODULE_NAME.to_owned()],
        };
        Step { module: self, action: Action::Unload, program, args, digest: None }
    }
}

/// Plans the policies' files, and on the running system that they are loaded. After everything else: what that changes
/// is labelled.
pub(super) fn install(context: &Context<'_>, plan: &mut Plan) -> Result<(), Problem> {
    for module in Module::ALL {
        if module.is_meant(context.tree) {
            plan_module(module, context, plan)?;
        }
    }
    Ok(())
}

/// Plans that none is loaded and none put in place, as the operator wants it, and says what that costs. What is loaded
/// already stays: `uninstall` unloads what is ours.
pub(super) fn leave_out(context: &Context<'_>, plan: &mut Plan) {
    plan.without_policy = true;
    let tree = context.tree;
    for module in Module::ALL.into_iter().filter(|module| module.is_meant(tree)) {
        let policy = module.policy();
        plan.notes.push(match tree.is_live().then(|| module.is_known()).flatten() {
            Some(true) => format!("{policy} is in the kernel already, and stays as it is: --no-policy"),
            _ => format!("{policy} is left out: --no-policy; without it {}", kernel::WITHOUT),
        });
    }
}

fn plan_module(module: Module, context: &Context<'_>, plan: &mut Plan) -> Result<(), Problem> {
    let (tree, state) = (context.tree, context.state);
    let file = module.place(context);
    let known = if tree.is_live() { module.is_known() } else { None };
    let loaded = state.loaded.iter().find(|loaded| loaded.module == module);
    let mut is_ours = loaded.is_some() || state.entry(&file).is_some();
    // Somebody's own, under whatever name: a second one would not go with it.
    if module == Module::Selinux && !is_ours && known == Some(true) {
        plan.notes.push("SELinux's policy has porthole_debug_t already, and stays as it is".to_owned());
        label(tree, plan);
        return Ok(());
    }
    let there = tree.look(&file)?;
    let text = match &there {
        Some(content) if state.entry(&file).is_none() && content.as_text() != Some(module.text()) => {
            plan.notes.push(format!("{} is there already, and stays as it is", file.display()));
            tree.text(&file)?.unwrap_or_default()
        }
        _ => {
            let content = Some(Content::text(module.text()));
            plan.set(tree, &file, Rank::Support, Owner::Porthole, content, Edit::Own)?;
            is_ours |= there.is_none();
            module.text().to_owned()
        }
    };
    if !tree.is_live() {
        if module == Module::Selinux {
            plan.notes.push(format!(
                "{}: `porthole install` at the first boot loads it; `semodule -n -i {}`, run with chroot, before",
                module.policy(),
                file.display()
            ));
        }
        return Ok(());
    }
    let digest = naming::hash(&text);
    let is_loaded = loaded.is_some_and(|loaded| loaded.digest.as_ref() == Some(&digest));
    // A profile that somebody else has put there is read at boot, whether porthole is installed or not.
    let is_kept = is_ours || module == Module::Selinux;
    let is_done = if is_kept { is_loaded && known != Some(false) } else { known == Some(true) };
    if !is_done {
        let (loader, package) = module.loader();
        let missing = |what: &str| {
            let policy = module.policy();
            format!(
                "{policy} is not loaded, and `porthole exec` needs it: {what}, then run `porthole install` again"
            )
        };
        let Some(program) = tree.program(&[loader]) else {
            plan.notes.push(missing(&format!("there is no {loader}; install the package {package}")));
            return Ok(());
        };
        // As in a container: the module is the host's.
        if module == Module::Apparmor && !kernel::can_load_profiles() {
            plan.notes.push(missing("there is no /sys/kernel/security/apparmor; mount securityfs there"));
            return Ok(());
        }
        plan.policies.push(module.load(program, &file, is_kept.then_some(digest)));
    }
    if module == Module::Selinux {
        label(tree, plan);
    }
    Ok(())
}

/// Files that are new have the label of their directory, until they are given their own.
fn label(tree: &Tree, plan: &mut Plan) {
    if plan.changes.is_empty() && plan.policies.is_empty() {
        return;
    }
    let Some(program) = tree.program(&["restorecon"]) else { return };
    // What cannot be labelled has the label that its image was made with.
    let paths = LABELLED.into_iter().filter(|path| tree.can_write(Path::new(path)));
    let args = ["-RFi"].into_iter().chain(paths).map(str::to_owned).collect();
    plan.policies.push(Step { module: Module::Selinux, action: Action::Label, program, args, digest: None });
}

/// Finds AppArmor's profile, where no state has it. SELinux's module can be a package's.
pub(super) fn recover(tree: &Tree, found: &mut Found) {
    let path = Path::new(PROFILES).join("porthole-debug");
    let content = tree.look(&path).ok().flatten();
    if let Some(content) = content.filter(|content| content.as_text() == Some(Module::Apparmor.text())) {
        found.own(path, Rank::Support, Owner::Porthole, None, &content);
    }
}

/// Plans that what an installation has loaded is unloaded.
pub(super) fn uninstall(tree: &Tree, state: &State, plan: &mut Plan) {
    for module in Module::ALL {
        let is_recorded = state.loaded.iter().any(|loaded| loaded.module == module);
        let file = module.file_of(state);
        let known = if tree.is_live() && module.is_active() { module.is_known() } else { None };
        let is_there = match module {
            // It is in the kernel alone.
            Module::Apparmor => {
                tree.is_live()
                    && known == Some(true)
                    && file.is_some_and(|file| matches!(tree.read(file), Ok(Some(_))))
            }
            Module::Selinux => {
                (is_recorded && known != Some(false)) || (file.is_some() && known == Some(true))
            }
        };
        if !is_there {
            continue;
        }
        let (loader, _) = module.loader();
        match tree.program(&[loader]).filter(|_| tree.is_live()) {
            Some(program) => {
                plan.policies.push(module.unload(program, file.unwrap_or(Path::new("/"))));
                if module == Module::Selinux {
                    label(tree, plan);
                }
            }
            None if module == Module::Apparmor => plan
                .notes
                .push(format!("{} stays loaded until the next boot: there is no {loader}", module.policy())),
            None => plan
                .notes
                .push(format!("{} stays: take it away with `semodule -r {MODULE_NAME}`", module.policy())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_the_module_has_a_label_for_is_labelled() {
        let patterns: Vec<_> = Module::Selinux
            .text()
            .lines()
            .filter_map(|line| line.strip_prefix("(filecon \"")?.split('"').next())
            .flat_map(|pattern| match pattern.split_once("(local/)?") {
                Some((start, end)) => vec![format!("{start}{end}"), format!("{start}local/{end}")],
                // A link on systems that are as they should be.
                None => vec![pattern.replace("(var/)?", "")],
            })
            .collect();
        assert!(patterns.len() > 7, "{patterns:?}");
        for pattern in patterns {
            let path = pattern.split(['(', '*']).next().unwrap_or_default();
            assert!(LABELLED.iter().any(|known| Path::new(path).starts_with(known)), "{pattern}");
        }
    }

    #[test]
    fn policies_have_the_names_that_exec_asks_for() {
        assert!(Module::Selinux.text().contains("\n(type porthole_debug_t)\n"));
        assert!(Module::Apparmor.text().contains("\nprofile porthole-debug flags="));
    }
}
