//! The service manager's units: reconcile at boot, now and then, and when the pins' directory changes.

use super::engine::Context;
use super::plan::Plan;
use crate::problem::Problem;

/// Plans the units, where systemd manages the tree.
pub(super) fn install(_context: &Context<'_>, _plan: &mut Plan) -> Result<(), Problem> {
    Ok(())
}
