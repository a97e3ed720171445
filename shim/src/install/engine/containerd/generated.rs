//! A configuration that another program writes anew at each of its starts: k3s, RKE2, microk8s, k0s. An edit in it would
//! be lost with the restart that makes it count. Each writer has a place for additions of a site.

use crate::exit::Exit;
use crate::install::tree::Tree;
use crate::problem::Problem;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The number of lines in which the head of a file says who writes it.
const HEAD: usize = 20;
/// The beginning of a template that adds to the file of k3s or RKE2.
const BASE: &str = "{{ template \"base\" . }}";
/// The lines around our lines in a template. As comments they are in the generated file, too.
const BEGIN: &str = "# Added by `porthole install`, taken back by `porthole uninstall`.";
const END: &str = "# End of what `porthole install` has added.";

/// A file that is written anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Generated {
    /// The program that writes it.
    pub(super) writer: String,
    pub(super) extension: Extension,
}

/// The place from which its writer takes additions of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Extension {
    /// A Go template, which need not be there, and may contain [`BASE`].
    Template(PathBuf),
    /// A TOML file with variables in it.
    Source(PathBuf),
    /// A directory of files.
    Directory(PathBuf),
    /// No place is known.
    Nothing,
}

impl Generated {
    /// Whether another program writes the file: by its head, and by the files beside it.
    pub(super) fn of(tree: &Tree, path: &Path, version: i64) -> Result<Option<Self>, Problem> {
        let Some(text) = tree.text(path)? else { return Ok(None) };
        let head = head(&text);
        let is_marked = head.to_ascii_uppercase().contains("DO NOT EDIT");
        let is_k0s = head.replace(' ', "").contains("k0s_managed=true");
        let beside = |name: &str| path.with_file_name(name);
        let is_there = |path: &Path| matches!(tree.text(path), Ok(Some(_)));
        let name = if version < 3 { "config.toml.tmpl" } else { "config-v3.toml.tmpl" };
        let templates = [beside(name), beside("config.toml.tmpl"), beside("config-v3.toml.tmpl")];
        let is_own = templates.iter().any(|template| template == path);
        let source = beside("containerd-template.toml");
        let extension = if is_k0s {
            Extension::Directory(beside("containerd.d"))
        } else if path != source && is_there(&source) {
            Extension::Source(source)
        } else if let Some(template) = templates.iter().find(|template| !is_own && is_there(template)) {
            Extension::Template(template.clone())
        } else if is_marked && head.contains(".tmpl") {
            Extension::Template(beside(name))
        } else if is_marked {
            Extension::Nothing
        } else {
            return Ok(None);
        };
        Ok(Some(Self { writer: writer(&head, path, &extension), extension }))
    }

    /// Why nothing can be added, and what can be done.
    pub(super) fn refuse(&self, path: &Path, why: &str) -> Problem {
        let writer = &self.writer;
        Problem::new(
            Exit::Failed,
            format!(
                "{}: {writer} writes this file anew at each of its starts, so that an edit would be lost; {why}",
                path.display()
            ),
            format!(
                "have {writer} write `base_runtime_spec` itself, or import a directory of files; until then `porthole reconcile` \
                 registers the pods, now and then and at boot"
            ),
        )
    }
}

/// The comments that a file begins with.
fn head(text: &str) -> String {
    let lines = text.lines().take(HEAD).map(str::trim);
    let lines = lines.take_while(|line| line.is_empty() || line.starts_with('#'));
    lines.collect::<Vec<_>>().join("\n")
}

fn writer(head: &str, path: &Path, extension: &Extension) -> String {
    let known = [("rke2", "RKE2"), ("k3s", "k3s"), ("k0s", "k0s"), ("microk8s", "microk8s")];
    let place = path.display().to_string();
    let find = |text: &str| known.iter().find(|(name, _)| text.to_ascii_lowercase().contains(name));
    match find(head).or_else(|| find(&place)) {
        Some((_, name)) => (*name).to_owned(),
        None if matches!(extension, Extension::Source(_)) => "microk8s".to_owned(),
        None => "another program".to_owned(),
    }
}

/// The lines that were added to a template.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TemplateEdit {
    /// Whether the whole file is ours, as long as nobody adds to it.
    #[serde(default)]
    new_file: bool,
}

impl TemplateEdit {
    /// Makes a template with `first` before everything, and `last` after it.
    pub(super) fn make(template: Option<&str>, first: &str, last: &str) -> (String, Self) {
        let block = |text: &str| match text.trim_matches('\n') {
            "" => String::new(),
            text => format!("{BEGIN}\n{text}\n{END}\n"),
        };
        let mut text = template.map_or_else(|| format!("{BASE}\n"), str::to_owned);
        let (first, last) = (block(first), block(last));
        if !last.is_empty() && !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        (format!("{first}{text}{last}"), Self { new_file: template.is_none() })
    }

    /// The edit of a template without a state, by its text.
    pub(super) fn of(text: &str) -> Self {
        Self { new_file: without(text).trim() == BASE }
    }

    /// The template without our lines. None where nothing of somebody else's is left.
    pub(crate) fn undo(&self, text: &str) -> Option<String> {
        let rest = without(text);
        (!(self.new_file && rest.trim() == BASE)).then_some(rest)
    }
}

/// Whether our lines are in a template, or in a file that was made of it.
pub(super) fn has_ours(text: &str) -> bool {
    text.lines().any(|line| line == BEGIN)
}

/// A text without our lines.
pub(super) fn without(text: &str) -> String {
    let mut rest = String::new();
    let mut is_ours = false;
    for line in text.split_inclusive('\n') {
        match line.trim_end() {
            BEGIN => is_ours = true,
            END if is_ours => is_ours = false,
            _ if !is_ours => rest.push_str(line),
            _ => {}
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn found(files: &[(&str, &str)], version: i64) -> Option<(String, Extension)> {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(root.path().join(name), text).unwrap();
        }
        let tree = Tree::open(root.path()).unwrap();
        let found = Generated::of(&tree, &Path::new("/").join(files[0].0), version).unwrap();
        found.map(|found| (found.writer, found.extension))
    }

    #[test]
    fn a_file_that_is_written_anew_is_known_by_its_head_and_by_its_neighbours() {
        let k3s = "# File generated by k3s. DO NOT EDIT. Use config.toml.tmpl instead.\nversion = 2\n";
        let template = |name: &str| Extension::Template(Path::new("/").join(name));
        let of = |files: &[(&str, &str)], version| found(files, version);
        assert_eq!(of(&[("config.toml", k3s)], 2), Some(("k3s".into(), template("config.toml.tmpl"))));
        assert_eq!(of(&[("config.toml", k3s)], 3), Some(("k3s".into(), template("config-v3.toml.tmpl"))));
        let older = [("config.toml", k3s), ("config.toml.tmpl", BASE)];
        assert_eq!(of(&older, 3), Some(("k3s".into(), template("config.toml.tmpl"))));
        let unmarked = [("config.toml", "version = 3\n"), ("config-v3.toml.tmpl", BASE)];
        assert_eq!(of(&unmarked, 3), Some(("another program".into(), template("config-v3.toml.tmpl"))));
        let micro = [("containerd.toml", "version = 2\n"), ("containerd-template.toml", "version = 2\n")];
        let source = Extension::Source("/containerd-template.toml".into());
        assert_eq!(of(&micro, 2), Some(("microk8s".into(), source)));
        let k0s = Extension::Directory("/containerd.d".into());
        assert_eq!(
            of(&[("containerd.toml", "# k0s_managed=true\nversion = 3\n")], 3),
            Some(("k0s".into(), k0s))
        );
        let puppet = [("config.toml", "# Managed by Puppet.\n# Do not edit!\nversion = 2\n")];
        assert_eq!(of(&puppet, 2), Some(("another program".into(), Extension::Nothing)));
        for text in ["version = 2\n# DO NOT EDIT\n", "# containerd of this node\nversion = 2\n", ""] {
            assert_eq!(of(&[("config.toml", text)], 2), None, "{text}");
        }
    }

    #[test]
    fn a_template_gets_back_every_byte() {
        for site in ["{{ template \"base\" . }}\n\n[x]\n  a = 1\n", "a = 1", ""] {
            let (text, edit) = TemplateEdit::make(Some(site), "imports = []", "[y]\nb = 1");
            assert!(
                has_ours(&text) && text.contains("imports = []\n") && text.contains("[y]\nb = 1\n"),
                "{text}"
            );
            assert_eq!(edit.undo(&text).unwrap().trim_end(), site.trim_end());
        }
        let (text, edit) = TemplateEdit::make(None, "imports = []", "");
        assert_eq!(edit.undo(&text), None);
        assert_eq!(TemplateEdit::of(&text), edit);
        assert_eq!(edit.undo(&format!("{text}[z]\n")), Some(format!("{BASE}\n[z]\n")));
    }
}
