//! containerd: `base_runtime_spec` or `BinaryName` of the runtimes that CRI uses.

use super::{Context, Engine};
use crate::install::plan::Plan;
use crate::install::state::{Entry, State};
use crate::install::tree::Tree;
use crate::problem::Problem;
use serde::{Deserialize, Serialize};

/// What was changed in containerd's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConfigEdit {}

impl ConfigEdit {
    /// The configuration without what is ours.
    pub(crate) fn undo(&self, text: &str) -> Result<String, Problem> {
        Ok(text.to_owned())
    }
}

/// Plans the change.
pub(super) fn install(_engine: &Engine, _context: &Context<'_>, _plan: &mut Plan) -> Result<(), Problem> {
    Ok(())
}

/// Whether it answers, with its CRI plugin loaded.
pub(super) fn check(_engine: &Engine, _tree: &Tree) -> Result<(), Problem> {
    Ok(())
}

/// Why a file has to stay.
pub(super) fn still_needed(_tree: &Tree, _state: &State, _entry: &Entry) -> Result<Option<String>, Problem> {
    Ok(None)
}
