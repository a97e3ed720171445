//! Whether containerd's configuration, as it comes of all its files, calls the hook.

use super::{Form, Wiring, form_of_hooks};
use crate::engines::daemon;
use crate::install::engine::containerd::config::{self, Effective, Runtime};
use crate::install::engine::containerd::recover::waiting;
use crate::install::engine::{Engine, EngineName};
use crate::install::guard;
use crate::install::state::State;
use crate::install::tree::Tree;
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub(super) fn wiring(engine: &Engine, tree: &Tree) -> Result<Wiring, String> {
    let (paths, files): (Vec<_>, Vec<_>) = config::each(tree, &engine.config).into_iter().unzip();
    let files = files.into_iter().collect::<Result<Vec<_>, _>>().map_err(|problem| problem.message)?;
    // Of a version that nobody tells, as 1.x reads it: there a file replaces more of those before it.
    let major = config::major(engine, &files).unwrap_or(1);
    let (effective, unasked) =
        Effective::find(tree, engine, &files, major).map_err(|problem| problem.message)?;
    if effective.cri_is_disabled() {
        // As with the containerd that Docker brings.
        let unused = Some("its CRI plugin is disabled: no pods are made with it");
        return Ok(Wiring { unused, ..Wiring::default() });
    }
    let mut wiring = Wiring { files: paths, ..Wiring::default() };
    let mut called = Vec::new();
    for runtime in effective.runtimes() {
        let (form, how, gaps) = of(tree, &runtime);
        if let Some(form) = form {
            wiring.form = Some(wiring.form.map_or(form, |known| known.min(form)));
            called.push(how);
            wiring.gaps.extend(gaps.iter().map(|gap| format!("{gap} of runtime {}", runtime.name)));
        } else {
            let default = if runtime.name == effective.default_runtime() { ", the default one" } else { "" };
            let gap = format!("runtime {}{default}", runtime.name);
            if runtime.is_runc() {
                wiring.gaps.push(gap);
            } else {
                wiring.left.push(format!("{gap}, which install leaves as it is: {}", runtime.left()));
            }
        }
        wiring.files.extend(runtime.base_spec.iter().filter_map(|path| tree.locate(path).ok()));
    }
    wiring.how = called.join(", ");
    if let Some(why) = &unasked {
        wiring.how += &format!(" (told by its files alone: it cannot be asked: {why})");
    }
    wiring.unasked = unasked;
    // The program that writes the configuration reads its own files when it starts.
    for path in waiting(tree, &engine.config) {
        if wiring.form.is_none() {
            let path = path.display();
            wiring.waits = Some(format!(
                "{path} has the hook, and counts once the program that makes containerd's configuration of it is restarted"
            ));
        }
        wiring.files.push(path);
    }
    Ok(wiring)
}

fn of(tree: &Tree, runtime: &Runtime) -> (Option<Form>, String, Vec<String>) {
    let name = &runtime.name;
    if let Some(binary) = runtime.binary.as_deref().map(Path::new) {
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

/// The files that can name something of ours: its configuration, and the base specs in that.
pub(in crate::doctor) fn files(tree: &Tree, state: &State) -> BTreeSet<PathBuf> {
    let name = EngineName::Containerd;
    let running = daemon::of(name).into_iter().map(|daemon| daemon.config());
    let known = state.configs(name).into_iter().map(Path::to_owned);
    let mains: BTreeSet<_> = known.chain(running).chain([name.default_config().into()]).collect();
    let mut found = BTreeSet::new();
    for (path, file) in mains.iter().flat_map(|main| config::each(tree, main)) {
        found.insert(path);
        found.extend(file.iter().flat_map(|file| file.runtimes()).filter_map(|runtime| runtime.base_spec));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use porthole_registry::hook_entry::{self, HookPath};
    use porthole_registry::json_edit::Document;
    use std::fs;

    const SPEC: &str = "/etc/porthole/containerd/base-spec.json";

    /// A tree with these files of the configuration, a base spec with the hook, and no containerd that could be asked.
    fn in_tree<T>(files: &[(&str, &str)], test: impl FnOnce(&Engine, &Tree) -> T) -> T {
        let root = tempfile::tempdir().unwrap();
        let mut spec = Document::parse("{}".to_owned()).unwrap();
        hook_entry::add(
            &mut spec,
            &HookPath::parse(Path::new("/usr/libexec/porthole/porthole-hook")).unwrap(),
        )
        .unwrap();
        for (path, text) in files.iter().copied().chain([(SPEC, spec.as_str())]) {
            let place = root.path().join(path.trim_start_matches('/'));
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, text).unwrap();
        }
        let tree = Tree::open(root.path()).unwrap();
        test(&Engine::find(&tree, EngineName::Containerd, None, None).unwrap(), &tree)
    }

    #[test]
    fn what_an_imported_file_says_counts_where_containerd_cannot_be_asked() {
        let main = "version = 3\nimports = ['conf.d/*.toml']\n[plugins.'io.containerd.cri.v1.runtime'.containerd]\n\
                    runtimes.runc.runtime_type = 'io.containerd.runc.v2'\n\
                    runtimes.kata.runtime_type = 'io.containerd.kata.v2'\n";
        let ours = format!(
            "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]\nbase_runtime_spec = '{SPEC}'\n"
        );
        let files = [
            ("/etc/containerd/config.toml", main),
            ("/etc/containerd/conf.d/99-porthole.toml", ours.as_str()),
        ];
        in_tree(&files, |engine, tree| {
            let wiring = wiring(engine, tree).unwrap();
            assert_eq!(wiring.form, Some(Form::Guard));
            assert!(wiring.how.contains(&format!("runtime runc by its base spec {SPEC}")), "{}", wiring.how);
            assert!(wiring.how.contains("files alone"), "{}", wiring.how);
            assert_eq!((wiring.gaps.len(), wiring.left.len()), (0, 1));
            assert!(wiring.left[0].contains("kata") && wiring.left[0].contains("leaves as it is"));
            let named = super::files(tree, &State::default());
            assert!(files.iter().all(|(path, _)| named.contains(Path::new(path))), "{named:?}");
            assert!(named.contains(Path::new(SPEC)), "{named:?}");
        });
    }

    #[test]
    fn a_configuration_that_containerd_could_not_read_is_named_and_the_other_files_are_looked_at() {
        let files = [
            ("/etc/containerd/config.toml", "version = 2\nimports = ['/etc/containerd/more/*']\n"),
            ("/etc/containerd/more/a", "version = \n"),
            ("/etc/containerd/more/b", "version = 2\n"),
        ];
        in_tree(&files, |engine, tree| {
            assert!(wiring(engine, tree).unwrap_err().contains("/etc/containerd/more/a"));
            let named = super::files(tree, &State::default());
            assert_eq!(named.len(), 3, "{named:?}");
        });
    }
}
