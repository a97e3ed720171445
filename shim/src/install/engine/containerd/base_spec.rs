//! The OCI spec that containerd makes containers from, with our hooks in it.

use crate::exit::Exit;
use crate::install::engine::Engine;
use crate::install::run;
use crate::install::tree::{Tree, failed};
use crate::problem::Problem;
use porthole_registry::hook_entry::{self, HookPath};
use porthole_registry::json_edit::{self, Document};
use std::path::Path;

/// Ours, where a runtime has none of the site's.
pub(super) const PATH: &str = "/etc/porthole/containerd/base-spec.json";
/// The directory of our base specs.
pub(super) const DIRECTORY: &str = "/etc/porthole/containerd";

/// What containerd takes out of its presets only where there is no base spec: written into one, they would be every
/// container's, a thousand open files at most among them.
const PRESETS: [[&str; 2]; 3] =
    [["process", "rlimits"], ["process", "apparmorProfile"], ["linux", "seccomp"]];

/// Whether a spec is one of ours.
pub(super) fn is_ours(path: &Path) -> bool {
    path.starts_with(DIRECTORY)
}

/// The spec that the node's containerd would use without one, with our hooks.
pub(super) fn make(tree: &Tree, engine: &Engine, hook: &HookPath) -> Result<String, Problem> {
    let ctr = engine.ctr(tree);
    let cannot = |cause: String| {
        Problem::new(
            Exit::Failed,
            format!("containerd: no base spec can be made: {cause}"),
            "install containerd's `ctr`, or choose the other method: --engine containerd --method runtime",
        )
    };
    let ctr = ctr.ok_or_else(|| cannot("there is no `ctr`".to_owned()))?;
    let text = run::in_tree(tree, &ctr, &["oci", "spec"])
        .map_err(|failure| cannot(format!("`{} oci spec`: {failure}", ctr.display())))?;
    let edit = |text: String| -> Result<String, json_edit::Error> {
        let mut spec = Document::parse(text)?;
        for path in &PRESETS {
            spec.remove(path)?;
        }
        hook_entry::add(&mut spec, hook)?;
        Ok(spec.into_string())
    };
    let mut text = edit(text).map_err(|e| cannot(format!("`{} oci spec`: {e}", ctr.display())))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// A site's own spec with our hooks.
pub(super) fn merge(path: &Path, text: String, hook: &HookPath) -> Result<String, Problem> {
    let edit = |text: String| -> Result<String, json_edit::Error> {
        let mut spec = Document::parse(text)?;
        hook_entry::add(&mut spec, hook)?;
        Ok(spec.into_string())
    };
    edit(text).map_err(|e| failed("add the hooks to the base spec", path, e))
}
