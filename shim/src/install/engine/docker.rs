//! Docker: a runtime of ours in `daemon.json`, made the default one.

use super::{Context, Engine};
use crate::install::plan::Plan;
use crate::install::state::{Entry, State};
use crate::install::tree::Tree;
use crate::problem::Problem;
use serde::{Deserialize, Serialize};

/// What was changed in `daemon.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConfigEdit {}

impl ConfigEdit {
    /// The configuration without what is ours.
    pub(crate) fn undo(&self, text: &str) -> Result<String, Problem> {
        Ok(text.to_owned())
    }

    /// The configuration with our runtime, but without it being the default.
    pub(crate) fn without_default(&self, text: &str) -> Result<String, Problem> {
        Ok(text.to_owned())
    }
}

/// Plans the change.
pub(super) fn install(_engine: &Engine, _context: &Context<'_>, _plan: &mut Plan) -> Result<(), Problem> {
    Ok(())
}

/// Tells the running daemon to read its configuration again. False where none runs.
pub(crate) fn signal() -> Result<bool, Problem> {
    Ok(false)
}

/// Whether it answers, with our runtime as its default.
pub(super) fn check(_engine: &Engine) -> Result<(), Problem> {
    Ok(())
}

/// Why a file has to stay.
pub(super) fn still_needed(_tree: &Tree, _state: &State, _entry: &Entry) -> Result<Option<String>, Problem> {
    Ok(None)
}
