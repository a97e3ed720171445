//! What containerd is configured to do with its containers: by its own answer, where it can be asked.

use super::{Form, Wiring, form_of_hooks};
use crate::install::engine::{Engine, EngineName};
use crate::install::guard;
use crate::install::plan::Owner;
use crate::install::run;
use crate::install::state::State;
use crate::install::tree::Tree;
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// The plugin that has the runtimes: of configurations of version 2, and of version 3.
const PLUGINS: [&str; 2] = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"];
const MAIN: &str = "/etc/containerd/config.toml";
/// What it reads besides from 2.2 on.
const DROP_INS: &str = "/etc/containerd/conf.d";

/// A runtime of the CRI.
#[derive(Debug, Default, PartialEq, Eq)]
struct Runtime {
    name: String,
    is_default: bool,
    base_spec: Option<PathBuf>,
    binary: Option<PathBuf>,
}

pub(super) fn wiring(engine: &Engine, tree: &Tree) -> Result<Wiring, String> {
    let table = effective(engine, tree)?;
    if is_disabled(&table) {
        // As with the containerd that Docker brings.
        let unused = Some("its CRI plugin is disabled: no pods are made with it");
        return Ok(Wiring { unused, ..Wiring::default() });
    }
    let runtimes = runtimes(&table);
    let mut wiring = Wiring { files: own_files(tree, &engine.config), ..Wiring::default() };
    let mut called = Vec::new();
    for runtime in &runtimes {
        let (form, how, gaps) = of(tree, runtime);
        if let Some(form) = form {
            wiring.form = Some(wiring.form.map_or(form, |known| known.min(form)));
            called.push(how);
            wiring.gaps.extend(gaps.iter().map(|gap| format!("{gap} of runtime {}", runtime.name)));
        } else {
            let default = if runtime.is_default { ", the default one" } else { "" };
            wiring.gaps.push(format!("runtime {}{default}", runtime.name));
        }
        wiring.files.extend(runtime.base_spec.iter().filter_map(|path| tree.locate(path).ok()));
    }
    wiring.how = called.join(", ");
    Ok(wiring)
}

fn of(tree: &Tree, runtime: &Runtime) -> (Option<Form>, String, Vec<String>) {
    let name = &runtime.name;
    if let Some(binary) = &runtime.binary {
        let form = if guard::is_guard(binary) {
            Some(Form::Guard)
        } else {
            binary.file_name().is_some_and(|file| file == "porthole-runtime").then_some(Form::Direct)
        };
        if form.is_some() {
            return (form, format!("runtime {name} by {}", binary.display()), Vec::new());
        }
    }
    let Some(path) = &runtime.base_spec else { return (None, String::new(), Vec::new()) };
    let spec = tree.text(path).ok().flatten().and_then(|text| serde_json::from_str::<Json>(&text).ok());
    let (form, gaps) = form_of_hooks(&spec.unwrap_or_default()["hooks"]);
    (form, format!("runtime {name} by its base spec {}", path.display()), gaps)
}

/// What comes of all its files and of what it presets; of the main file alone where it cannot be asked.
fn effective(engine: &Engine, tree: &Tree) -> Result<Table, String> {
    let text = tree.text(&engine.config).map_err(|problem| problem.message)?;
    let config = engine.config.display().to_string();
    let answer = engine.program.as_ref().and_then(|program| {
        let args = ["--config", &config, "config", "dump"];
        let args = if text.is_some() { &args[..] } else { &args[2..] };
        run::output(&tree.locate(program).ok()?, args).ok()
    });
    let text = answer.or(text).unwrap_or_default();
    text.parse::<Table>().map_err(|error| format!("{config}: {}", error.message()))
}

fn is_disabled(table: &Table) -> bool {
    let disabled = table.get("disabled_plugins").and_then(Value::as_array).into_iter().flatten();
    disabled.filter_map(Value::as_str).any(|name| name == "cri" || PLUGINS.contains(&name))
}

fn runtimes(table: &Table) -> Vec<Runtime> {
    let plugins = table.get("plugins");
    let containerd = PLUGINS.iter().rev().find_map(|plugin| plugins?.get(plugin)?.get("containerd"));
    let default = containerd.and_then(|table| table.get("default_runtime_name")?.as_str()).unwrap_or("runc");
    let all = containerd.and_then(|table| table.get("runtimes")?.as_table()).into_iter().flatten();
    let path = |value: Option<&Value>| value?.as_str().filter(|text| !text.is_empty()).map(PathBuf::from);
    all.map(|(name, runtime)| Runtime {
        name: name.clone(),
        is_default: name == default,
        base_spec: path(runtime.get("base_runtime_spec")),
        binary: path(runtime.get("options").and_then(|options| options.get("BinaryName"))),
    })
    .collect()
}

/// The files of its configuration.
fn own_files(tree: &Tree, main: &Path) -> Vec<PathBuf> {
    let mut files = vec![main.to_owned()];
    let text = tree.text(main).ok().flatten().unwrap_or_default();
    let table: Table = text.parse().unwrap_or_default();
    let imports =
        table.get("imports").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let dir = main.parent().unwrap_or(Path::new("/"));
    let mut patterns: Vec<_> = imports.map(|import| dir.join(import)).collect();
    patterns.push(Path::new(DROP_INS).join("*.toml"));
    for pattern in patterns {
        match (pattern.parent(), pattern.file_name().and_then(|name| name.to_str())) {
            (Some(dir), Some("*.toml" | "*")) => {
                let names = tree.names(dir).into_iter().filter(|name| name.ends_with(".toml"));
                files.extend(names.map(|name| dir.join(name)));
            }
            _ => files.push(pattern),
        }
    }
    files
}

/// The files that can name something of ours: its configuration, and the base specs in that.
pub(in crate::doctor) fn files(tree: &Tree, state: &State) -> BTreeSet<PathBuf> {
    let of_engine = state.files.iter().filter(|entry| entry.owner == Owner::Engine(EngineName::Containerd));
    let mains = of_engine
        .map(|entry| entry.path.clone())
        .filter(|path| path.extension().is_some_and(|e| e == "toml"));
    let mut found: BTreeSet<PathBuf> =
        mains.chain([MAIN.into()]).flat_map(|main| own_files(tree, &main)).collect();
    let specs: Vec<_> = found
        .iter()
        .filter_map(|path| tree.text(path).ok().flatten()?.parse::<Table>().ok())
        .flat_map(|table| runtimes(&table))
        .filter_map(|runtime| runtime.base_spec)
        .collect();
    found.extend(specs);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_are_found_in_both_versions_of_the_configuration() {
        for plugin in PLUGINS {
            let text = format!(
                "[plugins.'{plugin}'.containerd]\ndefault_runtime_name = 'crun'\n\
                 [plugins.'{plugin}'.containerd.runtimes.runc]\nbase_runtime_spec = '/b.json'\n\
                 [plugins.'{plugin}'.containerd.runtimes.crun]\nbase_runtime_spec = ''\noptions.BinaryName = '/g'\n"
            );
            let found = runtimes(&text.parse().unwrap());
            let runc =
                Runtime { name: "runc".into(), base_spec: Some("/b.json".into()), ..Runtime::default() };
            let crun = Runtime {
                name: "crun".into(),
                is_default: true,
                binary: Some("/g".into()),
                ..Runtime::default()
            };
            assert!(found.len() == 2 && found.contains(&runc) && found.contains(&crun), "{found:?}");
        }
        assert_eq!(runtimes(&Table::new()), []);
    }

    #[test]
    fn a_cri_that_is_switched_off_is_noticed() {
        let disabled = |text: &str| is_disabled(&text.parse().unwrap());
        assert!(disabled("disabled_plugins = ['cri']"));
        assert!(disabled("disabled_plugins = ['io.containerd.grpc.v1.cri']"));
        assert!(!disabled("disabled_plugins = ['io.containerd.internal.v1.opt']"));
    }
}
