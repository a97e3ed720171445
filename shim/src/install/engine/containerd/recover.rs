//! Finds our keys in containerd's configuration, where no state has them.

use super::edit::ConfigEdit;
use super::generated::{self, TemplateEdit};
use super::{OWNER, base_spec, config};
use crate::install::edit::Edit;
use crate::install::engine::Engine;
use crate::install::guard;
use crate::install::plan::Rank;
use crate::install::recover::{Found, backup};
use crate::install::tree::Tree;
use porthole_registry::hook_entry;
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The places from which programs that write containerd's configuration anew take additions of a site.
const TEMPLATES: [&str; 2] = ["config.toml.tmpl", "config-v3.toml.tmpl"];
const DIRECTORIES: [&str; 3] = ["config.toml.d", "config-v3.toml.d", "containerd.d"];
const SOURCE: &str = "containerd-template.toml";

/// Templates and files beside a configuration that have our lines in them, and that containerd does not read itself.
pub(crate) fn waiting(tree: &Tree, main: &Path) -> Vec<PathBuf> {
    let text = |path: &Path| tree.text(path).ok().flatten();
    let templates = TEMPLATES.map(|name| main.with_file_name(name)).into_iter();
    let mut found: Vec<_> =
        templates.filter(|path| text(path).is_some_and(|text| generated::has_ours(&text))).collect();
    let read: Vec<_> = config::each(tree, main).into_iter().map(|(path, _)| path).collect();
    for path in others(tree, main).into_iter().filter(|path| !read.contains(path)) {
        let edit = text(&path).and_then(|text| ConfigEdit::found(&text, None, is_ours).ok());
        if edit.is_some_and(|edit| !edit.is_empty()) {
            found.push(path);
        }
    }
    found
}

/// Files from which another program takes additions of a site.
fn others(tree: &Tree, main: &Path) -> BTreeSet<PathBuf> {
    let mut paths = BTreeSet::from([main.with_file_name(SOURCE)]);
    for dir in DIRECTORIES.map(|name| main.with_file_name(name)) {
        let names = tree.names(&dir).into_iter().filter(|name| name.ends_with(".toml"));
        paths.extend(names.map(|name| dir.join(name)));
    }
    paths
}

/// Whether a value names a file of ours.
fn is_ours(value: &str) -> bool {
    base_spec::is_ours(Path::new(value)) || guard::is_guard(Path::new(value))
}

/// Finds the files of ours that belong to a containerd. A file that cannot be read is an error of the plan.
pub(in crate::install) fn recover(engine: &Engine, tree: &Tree, found: &mut Found) {
    let main = &engine.config;
    let text = |path: &Path| tree.text(path).ok().flatten();
    for template in TEMPLATES.map(|name| main.with_file_name(name)) {
        if let Some(text) = text(&template).filter(|text| generated::has_ours(text)) {
            found.edited(tree, engine, template, Edit::Template(TemplateEdit::of(&text)));
        }
    }
    let mut paths: BTreeSet<PathBuf> = config::each(tree, main).into_iter().map(|(path, _)| path).collect();
    paths.extend(others(tree, main));
    for path in paths {
        let Some(text) = text(&path) else { continue };
        // The lines of a template are in the generated file, too, and go with it.
        let own = generated::without(&text);
        let before = backup(tree, &path);
        let edit = ConfigEdit::found(&own, before.as_deref(), is_ours);
        let Ok(values) = ConfigEdit::found(&text, None, |_| true) else { continue };
        for value in values.values() {
            support(engine, tree, Path::new(value), found);
        }
        if let Ok(edit) = edit
            && !edit.is_empty()
        {
            found.edited(tree, engine, path, Edit::Containerd(edit));
        }
    }
}

/// A file that a configuration names: a script, a base spec of ours, or one of the site's with our hooks.
fn support(engine: &Engine, tree: &Tree, path: &Path, found: &mut Found) {
    let (is_script, is_spec) = (guard::is_guard(path), base_spec::is_ours(path));
    let is_json = path.extension().is_some_and(|extension| extension == "json");
    if !path.is_absolute() || !(is_script || is_json) || found.names(path) {
        return;
    }
    let Some(content) = tree.read(path).ok().flatten() else { return };
    if is_script || is_spec {
        found.own(path.to_owned(), Rank::Support, OWNER, Some(&engine.config), &content);
        return;
    }
    let spec: Option<Json> = content.as_text().and_then(|text| serde_json::from_str(text).ok());
    let hooks = spec.as_ref().and_then(|spec| spec["hooks"].as_object());
    let mut entries = hooks.into_iter().flatten().filter_map(|(_, stage)| stage.as_array()).flatten();
    if entries.any(hook_entry::is_ours) {
        found.edited(tree, engine, path.to_owned(), Edit::BaseSpec);
    }
}
