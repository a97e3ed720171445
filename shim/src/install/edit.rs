//! What was done to a file that others write too, so that it can be taken back when they have edited it since.

use super::engine::{containerd, docker};
use crate::problem::Problem;
use porthole_registry::hook_entry;
use porthole_registry::json_edit::Document;
use serde::{Deserialize, Serialize};

/// An edit, as the install state remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Edit {
    /// The whole file is ours.
    Own,
    /// Our hooks in a site's base spec.
    BaseSpec,
    /// Keys of containerd's runtimes.
    Containerd(containerd::ConfigEdit),
    /// Lines in a template that containerd's configuration is made of.
    Template(containerd::TemplateEdit),
    /// Docker's runtimes.
    Docker(docker::ConfigEdit),
}

impl Edit {
    /// The text without what is ours; none where nothing of the text would be left.
    pub(crate) fn undo(&self, text: &str) -> Result<Option<String>, Problem> {
        match self {
            Self::Own => Ok(None),
            Self::BaseSpec => {
                let fail =
                    |e: porthole_registry::json_edit::Error| Problem::failed(format!("base spec: {e}"));
                let mut spec = Document::parse(text.to_owned()).map_err(fail)?;
                hook_entry::remove(&mut spec).map_err(fail)?;
                Ok(Some(spec.into_string()))
            }
            Self::Containerd(edit) => edit.undo(text),
            Self::Template(edit) => Ok(edit.undo(text)),
            Self::Docker(edit) => edit.undo(text),
        }
    }
}
