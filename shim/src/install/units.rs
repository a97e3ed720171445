//! The service manager's units: reconcile at boot, now and then, and when the pins' directory changes.

use super::edit::Edit;
use super::engine::Context;
use super::plan::{Change, Owner, Plan, Rank};
use super::recover::Found;
use super::run;
use super::service::has_systemd;
use super::tree::{Content, Tree};
use crate::exit::Exit;
use crate::problem::Problem;
use std::path::{Path, PathBuf};

/// Where an administrator's units are.
const DIRECTORY: &str = "/etc/systemd/system";
/// Where packages put theirs.
const PACKAGED: [&str; 3] =
    ["/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];
/// systemd itself.
const MANAGERS: [&str; 2] = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"];
/// What the units run, as they are written.
const PORTHOLE: &str = "/usr/bin/porthole";

/// A unit: its name, its text, and the target that wants it.
struct Unit {
    name: &'static str,
    text: &'static str,
    wanted_by: Option<&'static str>,
}

const UNITS: [Unit; 3] = [
    Unit {
        name: "porthole-reconcile.service",
        text: include_str!("../../../config/systemd/porthole-reconcile.service"),
        wanted_by: None,
    },
    Unit {
        name: "porthole-reconcile.timer",
        text: include_str!("../../../config/systemd/porthole-reconcile.timer"),
        wanted_by: Some("timers.target"),
    },
    Unit {
        name: "porthole-reconcile.path",
        text: include_str!("../../../config/systemd/porthole-reconcile.path"),
        wanted_by: Some("paths.target"),
    },
];

/// Plans the units, where systemd manages the tree.
pub(super) fn install(context: &Context<'_>, plan: &mut Plan) -> Result<(), Problem> {
    let tree = context.tree;
    if tree.is_live() && !has_systemd() {
        plan.notes.push(
            "systemd does not run here, so no units are installed: run `porthole reconcile` at boot and now and then by other means"
                .to_owned(),
        );
        return Ok(());
    }
    if !MANAGERS.iter().any(|manager| tree.is_executable(Path::new(manager))) {
        return Ok(());
    }
    for unit in &UNITS {
        let own = Path::new(DIRECTORY).join(unit.name);
        let is_ours = context.state.entry(&own).is_some();
        let text = unit.text.replace(PORTHOLE, &context.programs.porthole.to_string_lossy());
        let packaged = PACKAGED.iter().map(|dir| Path::new(dir).join(unit.name));
        let packaged =
            packaged.into_iter().find(|path| matches!(tree.text(path), Ok(Some(known)) if known == text));
        // Masked, or written by the administrator: that is what is wanted here.
        if !is_ours && tree.look(&own)?.is_some_and(|known| known.as_text() != Some(&text)) {
            plan.notes.push(format!("{} is there already, and stays as it is", own.display()));
            continue;
        }
        let place = match packaged {
            Some(path) if !is_ours => path,
            _ => {
                plan.set(tree, &own, Rank::Unit, Owner::Porthole, Some(Content::text(text)), Edit::Own)?;
                own
            }
        };
        if let Some(target) = unit.wanted_by {
            enable(tree, plan, unit.name, target, place)?;
        }
    }
    Ok(())
}

/// Finds units of an installation, and the links that enable them, where no state has them.
pub(super) fn recover(tree: &Tree, found: &mut Found) {
    let normal = |text: &str| {
        text.split_ascii_whitespace()
            .map(|word| {
                let (key, value) = word.split_once('=').unwrap_or(("", word));
                // The one word that depends on the place of the program.
                if value.ends_with("/porthole") { key.to_owned() } else { word.to_owned() }
            })
            .collect::<Vec<_>>()
    };
    for unit in &UNITS {
        let own = Path::new(DIRECTORY).join(unit.name);
        let Ok(Some(content)) = tree.look(&own) else { continue };
        if content.as_text().is_none_or(|text| normal(text) != normal(unit.text)) {
            continue;
        }
        found.own(own.clone(), Rank::Unit, Owner::Porthole, None, &content);
        let wants =
            unit.wanted_by.map(|target| Path::new(DIRECTORY).join(format!("{target}.wants")).join(unit.name));
        let link = wants.and_then(|link| Some((tree.look(&link).ok()??, link)));
        if let Some((content @ Content::Link { .. }, link)) = link {
            found.own(link, Rank::Unit, Owner::Porthole, None, &content);
        }
    }
}

/// As `systemctl enable` does, which also works where no systemd runs.
fn enable(tree: &Tree, plan: &mut Plan, name: &str, target: &str, unit: PathBuf) -> Result<(), Problem> {
    let link = Path::new(DIRECTORY).join(format!("{target}.wants")).join(name);
    // A link to another place of the unit is as good: systemd goes by its name.
    if tree.look(&link)?.is_none() {
        let content = Some(Content::Link { target: unit });
        plan.set(tree, &link, Rank::Unit, Owner::Porthole, content, Edit::Own)?;
    }
    Ok(())
}

/// Stops the units that a plan removes, before it does.
pub(super) fn stop(tree: &Tree, plan: &Plan) -> Result<(), Problem> {
    if !is_managed(tree) || !units(plan).any(|change| change.after.is_none()) {
        return Ok(());
    }
    let names: Vec<_> = UNITS.iter().rev().map(|unit| unit.name).collect();
    systemctl(&[&["stop"], &names[..]].concat())
}

/// Has the running systemd read the units that a plan has changed, and starts those that start the service.
pub(super) fn reload(tree: &Tree, plan: &Plan) -> Result<(), Problem> {
    if !is_managed(tree) || units(plan).next().is_none() {
        return Ok(());
    }
    systemctl(&["daemon-reload"])?;
    if units(plan).any(|change| change.after.is_none()) {
        // One that had failed would be listed for ever. Of one that had not, systemctl says that it knows none.
        let names = UNITS.map(|unit| unit.name);
        let _ = systemctl(&[&["reset-failed"], &names[..]].concat());
        return Ok(());
    }
    let names: Vec<_> = UNITS.iter().filter(|unit| unit.wanted_by.is_some()).map(|unit| unit.name).collect();
    systemctl(&[&["start"], &names[..]].concat())
}

fn units(plan: &Plan) -> impl Iterator<Item = &Change> {
    plan.changes.iter().filter(|change| change.rank == Rank::Unit)
}

/// Whether the tree is that of a running systemd.
fn is_managed(tree: &Tree) -> bool {
    tree.is_live() && has_systemd()
}

fn systemctl(args: &[&str]) -> Result<(), Problem> {
    run::output(Path::new("/usr/bin/systemctl"), args).map(drop).map_err(|e| {
        Problem::new(
            Exit::Failed,
            format!("systemctl {}: {e}", args.join(" ")),
            "look at its log: `journalctl -u 'porthole-reconcile.*'`",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_names_porthole_where_install_replaces_it() {
        let [service, timer, path] = UNITS.map(|unit| unit.text);
        let lines: Vec<_> = service.lines().filter(|line| line.contains(PORTHOLE)).collect();
        let expected =
            ["ConditionFileIsExecutable=/usr/bin/porthole", "ExecStart=/usr/bin/porthole reconcile"];
        assert_eq!(lines, expected);
        assert!(!timer.contains(PORTHOLE) && !path.contains(PORTHOLE));
    }

    #[test]
    fn each_unit_says_itself_what_wants_it() {
        for unit in UNITS {
            let said = unit.text.lines().find_map(|line| line.strip_prefix("WantedBy="));
            assert_eq!(said, unit.wanted_by, "{}", unit.name);
        }
    }

    #[test]
    fn nothing_gives_the_service_a_mount_namespace_of_its_own() {
        let known = [
            "BindPaths",
            "BindReadOnlyPaths",
            "CacheDirectory",
            "DynamicUser",
            "ExecPaths",
            "InaccessiblePaths",
            "LogNamespace",
            "LogsDirectory",
            "MountAPIVFS",
            "MountFlags",
            "MountImages",
            "NoExecPaths",
            "PrivateDevices",
            "PrivateIPC",
            "PrivateMounts",
            "PrivateNetwork",
            "PrivateTmp",
            "PrivateUsers",
            "ProcSubset",
            "ProtectControlGroups",
            "ProtectHome",
            "ProtectHostname",
            "ProtectKernelLogs",
            "ProtectKernelModules",
            "ProtectKernelTunables",
            "ProtectProc",
            "ProtectSystem",
            "ReadOnlyPaths",
            "ReadWritePaths",
            "RootDirectory",
            "RootImage",
            "RuntimeDirectory",
            "StateDirectory",
            "TemporaryFileSystem",
        ];
        for line in UNITS[0].text.lines().filter(|line| !line.starts_with('#')) {
            let key = line.split('=').next().unwrap_or_default();
            assert!(!known.contains(&key), "{line}");
        }
    }
}
