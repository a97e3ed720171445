//! Directories of hooks: who reads them, whether ours are in them, and whether what is in them can be read at all.

use super::{Check, Finding, Form, Setting, Wiring, form_of};
use crate::install::engine::{Engine, EngineName, hooks_d};
use crate::install::tree::Tree;
use porthole_registry::hook_entry::STAGES;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Where they are unless an engine says otherwise, and where packages put files for engines that come later.
const USUAL: [&str; 2] = ["/usr/share/containers/oci/hooks.d", "/etc/containers/oci/hooks.d"];
/// The stages that engines know.
const KNOWN: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// The directories, each with the engines that read it.
fn directories(tree: &Tree) -> BTreeMap<PathBuf, Vec<EngineName>> {
    let mut found: BTreeMap<PathBuf, Vec<EngineName>> = USUAL.map(|dir| (dir.into(), Vec::new())).into();
    for name in [EngineName::CriO, EngineName::Podman] {
        let Some(engine) = Engine::find(tree, name, None, None) else { continue };
        for dir in hooks_d::directories(&engine, tree).unwrap_or_default() {
            found.entry(dir).or_default().push(name);
        }
    }
    found
}

/// The files in a directory that engines look at.
fn files_in(tree: &Tree, dir: &Path) -> Vec<PathBuf> {
    let names = tree.names(dir).into_iter().filter(|name| name.ends_with(".json"));
    names.map(|name| dir.join(name)).collect()
}

/// All files of hooks on this node.
pub(in crate::doctor) fn files(tree: &Tree) -> BTreeSet<PathBuf> {
    directories(tree).keys().flat_map(|dir| files_in(tree, dir)).collect()
}

pub(super) fn wiring(engine: &Engine, tree: &Tree) -> Result<Wiring, String> {
    let dirs = hooks_d::directories(engine, tree).map_err(|problem| problem.message)?;
    let mut wiring = Wiring::default();
    let mut stages = BTreeSet::new();
    let mut places = BTreeSet::new();
    for file in dirs.iter().flat_map(|dir| files_in(tree, dir)) {
        let text = tree.text(&file).ok().flatten();
        let Some(hook) = text.and_then(|text| hooks_d::file::parse(&text).ok()) else { continue };
        let Some(form) = form_of(&hook["hook"]) else { continue };
        wiring.form = Some(wiring.form.map_or(form, |known: Form| known.min(form)));
        stages.extend(
            hook["stages"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned),
        );
        places.extend(file.parent().map(|dir| dir.display().to_string()));
    }
    let missing = STAGES.iter().filter(|stage| !stages.contains(stage.as_str()));
    wiring.gaps = missing.map(|stage| format!("stage {stage}")).collect();
    wiring.how = format!("files in {}", places.into_iter().collect::<Vec<_>>().join(", "));
    Ok(wiring)
}

/// A line for each directory that is there.
pub(super) fn look(setting: &Setting) -> Vec<Check> {
    let tree = &setting.tree;
    let dirs = directories(tree).into_iter().filter(|(dir, _)| tree.is_dir(dir));
    let mut checks: Vec<_> = dirs
        .map(|(dir, readers)| {
            let files: Vec<_> = files_in(tree, &dir)
                .into_iter()
                .map(|file| {
                    let wrong = match tree.text(&file) {
                        Ok(text) => wrong(&text.unwrap_or_default()),
                        Err(problem) => Some(problem.message),
                    };
                    (file, wrong)
                })
                .collect();
            judge(&dir, &readers, &files)
        })
        .collect();
    if checks.is_empty() {
        checks.push(Check::skip("hooks-d", "directories of hooks", "there is none"));
    }
    checks
}

fn judge(dir: &Path, readers: &[EngineName], files: &[(PathBuf, Option<String>)]) -> Check {
    let names: Vec<_> = readers.iter().map(ToString::to_string).collect();
    let read_by = if names.is_empty() {
        "read by no engine on this node".to_owned()
    } else {
        format!("read by {}", names.join(" and "))
    };
    let mut findings = Vec::new();
    for (file, wrong) in files {
        let Some(wrong) = wrong else { continue };
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let seen = format!("{name}: {wrong}");
        let remedy = format!("repair {}, or move it away", file.display());
        findings.push(if readers.is_empty() {
            Finding::warn(seen, remedy)
        } else {
            // podman starts no container with it, CRI-O does not start at all.
            Finding::fail(format!("{seen}: fatal to {}", names.join(" and ")), remedy)
        });
    }
    let good = format!("{}, {read_by}", super::super::check::count(files.len(), "file"));
    Check::of("hooks-d", dir.display().to_string(), good, findings)
}

/// What is wrong with the text of a hook, as engines read it.
fn wrong(text: &str) -> Option<String> {
    let hook = match hooks_d::file::parse(text) {
        Ok(hook) => hook,
        Err(error) => return Some(error),
    };
    // The older form has no version, and the same words in other places.
    if hook["version"].is_null() {
        return None;
    }
    if hook["version"] != "1.0.0" {
        return Some(format!("version {} is not known", hook["version"]));
    }
    if !hook["hook"]["path"].as_str().is_some_and(|path| path.starts_with('/')) {
        return Some("hook.path is no absolute path".to_owned());
    }
    let stages = hook["stages"].as_array().map(Vec::as_slice).unwrap_or_default();
    if stages.is_empty() {
        return Some("no stages".to_owned());
    }
    let unknown = stages.iter().find(|stage| !stage.as_str().is_some_and(|stage| KNOWN.contains(&stage)));
    unknown.map(|stage| format!("unknown stage {stage}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Verdict;

    #[test]
    fn what_engines_would_refuse_is_found() {
        let good =
            r#"{"version":"1.0.0","hook":{"path":"/bin/sh"},"when":{"always":true},"stages":["poststop"]}"#;
        assert_eq!(wrong(good), None);
        assert_eq!(
            wrong(&good.replace("poststop", "postStop")).as_deref(),
            Some("unknown stage \"postStop\"")
        );
        assert!(wrong(&good.replace("/bin/sh", "sh")).is_some());
        assert!(wrong(&good.replace("[\"poststop\"]", "[]")).is_some());
        assert!(wrong(&good.replace("1.0.0", "2.0.0")).is_some());
        assert!(wrong("{").is_some());
        assert!(wrong("").is_some());
    }

    #[test]
    fn a_broken_file_is_a_failure_where_an_engine_reads_it() {
        let files = [(PathBuf::from("/h/x.json"), Some("no JSON".to_owned()))];
        let verdict = |readers: &[_], files: &[_]| judge(Path::new("/h"), readers, files).verdict;
        assert_eq!(verdict(&[EngineName::Podman], &files), Verdict::Fail);
        assert_eq!(verdict(&[], &files), Verdict::Warn);
        assert_eq!(verdict(&[EngineName::Podman], &[("/h/x.json".into(), None)]), Verdict::Ok);
    }
}
