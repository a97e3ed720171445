//! Profiles: the built-in ones, and those of the site, which are files that extend one of them.

mod file;
mod list;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};

pub(crate) use file::Directory;
pub(crate) use list::run;

use super::bounds::Limits;
use super::capabilities::{Base, Capabilities};
use super::error::{ExecError, Step};

/// What the command may do and use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Profile {
    /// As on the command line.
    pub(crate) name: String,
    /// For people.
    pub(crate) description: String,
    /// The built-in profile that it is or extends.
    pub(crate) base: Base,
    /// Capabilities besides those of the base.
    pub(crate) add: Capabilities,
    /// Capabilities of the base that it has not.
    pub(crate) drop: Capabilities,
    /// Limits that it sets.
    pub(crate) bounds: Limits,
    /// How long a command may run.
    pub(crate) timeout: Option<Duration>,
    /// Paths of the host that the command does not see.
    pub(crate) hide: Vec<PathBuf>,
    /// Where a profile of the site is from.
    pub(crate) file: Option<PathBuf>,
}

impl From<Base> for Profile {
    fn from(base: Base) -> Self {
        let (name, description) = (base.name().to_owned(), base.description().to_owned());
        Self { name, description, base, ..Self::default() }
    }
}

impl Profile {
    /// The one with this name; without a name the default.
    pub(crate) fn named(name: Option<&str>) -> Result<Self, ExecError> {
        let Some(name) = name else { return Ok(Base::default().into()) };
        match Base::named(name) {
            Some(base) => Ok(base.into()),
            None => Directory::standard().profile(name),
        }
    }

    /// What it grants. `ALL` is everything that the caller has.
    pub(crate) fn capabilities(&self) -> Capabilities {
        self.base.capabilities().union(self.add).minus(self.drop)
    }
}

/// The name alone: what it means is in the plan's other fields.
impl Serialize for Profile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.file {
            Some(_) => write!(f, ", which extends {}", self.base.name()),
            None => Ok(()),
        }
    }
}

fn unknown(name: &str, known: &[String]) -> ExecError {
    Step::Request.refused(format!("there is no profile {name:?}"), format!("there are: {}", known.join(", ")))
}
