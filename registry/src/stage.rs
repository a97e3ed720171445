//! When a record was written: the stage of the hook, or adoption.

use crate::lenient::Lenient;
use serde::Serialize;
use std::fmt;

/// A stage of the container's life cycle: OCI runtime specification, "Lifecycle" and "POSIX-platform Hooks".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// After the namespaces exist, before pivot_root.
    CreateRuntime,
    /// The older name of the same moment.
    Prestart,
    /// After the user's process has started.
    Poststart,
    /// After the container has been deleted.
    Poststop,
    /// Registered by `porthole reconcile`, not by a hook.
    Adopt,
    /// One that a newer version knows.
    #[default]
    Unknown,
}

impl Stage {
    /// The stages that a runtime calls the hook in.
    pub const HOOKED: [Self; 4] = [Self::CreateRuntime, Self::Prestart, Self::Poststart, Self::Poststop];

    /// A hook's stage by the name that it has in the OCI specification.
    pub fn of_hook(name: &str) -> Option<Self> {
        Self::HOOKED.into_iter().find(|stage| stage.as_str() == name)
    }

    /// Its name in the OCI specification.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CreateRuntime => "createRuntime",
            Self::Prestart => "prestart",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
            Self::Adopt => "adopt",
            Self::Unknown => "unknown",
        }
    }
}

impl Lenient for Stage {
    fn from_text(value: &str) -> Self {
        let known = Self::HOOKED.into_iter().chain([Self::Adopt]);
        known.into_iter().find(|stage| stage.as_str() == value).unwrap_or_default()
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
