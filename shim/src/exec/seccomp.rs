//! The system calls that the command may make.

use super::capabilities::Base;
use super::error::{ExecError, Step};
use seccompiler::BpfProgram;
use serde::Serialize;
use std::fmt;

/// The filter, as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "mode")]
pub(crate) enum Filter {
    /// None: the profile allows everything.
    Off,
    /// An allowlist.
    On,
}

impl Filter {
    /// That of a profile.
    pub(crate) fn resolve(profile: Base) -> Self {
        let _ = profile;
        Self::Off
    }

    /// As the kernel takes it; none where nothing is filtered.
    pub(crate) fn compile(&self) -> Result<Option<BpfProgram>, ExecError> {
        Ok(None)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not filtered")
    }
}

/// Puts the filter in force for this thread and all that it becomes.
pub(crate) fn apply(program: &BpfProgram) -> Result<(), ExecError> {
    seccompiler::apply_filter(program)
        .map_err(|e| Step::Seccomp.failed("the filter")(std::io::Error::other(e)))
}
