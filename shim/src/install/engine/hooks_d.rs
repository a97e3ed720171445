//! CRI-O and podman: OCI hooks 1.0.0, a JSON file for each stage in a directory that the engine reads.

use super::{Context, Engine};
use crate::install::plan::Plan;
use crate::problem::Problem;

/// Plans the files.
pub(super) fn install(_engine: &Engine, _context: &Context<'_>, _plan: &mut Plan) -> Result<(), Problem> {
    Ok(())
}
