//! The runtime's id of a container, in the one form that is safe as a file name.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::lenient::Lenient;

/// The longest id accepted: a file name of 255 bytes less the longest suffix the registry adds.
const LONGEST: usize = 240;

/// How many characters people and engines abbreviate an id to.
const SHORT: usize = 12;

/// A container's id as its runtime knows it: file name of its record, so nothing that could leave a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(Box<str>);

/// Why a string is no container id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadContainerId {
    /// Empty, or longer than a file name has room for.
    #[error("a container id has 1 to {LONGEST} bytes, this one has {got}")]
    Length {
        /// The length found.
        got: usize,
    },
    /// A name that means a directory.
    #[error("`.` and `..` are no container ids")]
    Directory,
    /// A byte that no runtime accepts.
    #[error("a container id is made of letters, digits and `_+-.`, but byte {at} is something else")]
    Character {
        /// Where it is, counted from 0.
        at: usize,
    },
}

impl BadContainerId {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        "use the full id that the container's runtime lists"
    }
}

impl ContainerId {
    /// Reads an id.
    pub fn parse(raw: &str) -> Result<Self, BadContainerId> {
        let odd = |b: u8| !(b.is_ascii_alphanumeric() || b"_+-.".contains(&b));
        match raw.bytes().position(odd) {
            _ if !(1..=LONGEST).contains(&raw.len()) => Err(BadContainerId::Length { got: raw.len() }),
            _ if matches!(raw, "." | "..") => Err(BadContainerId::Directory),
            Some(at) => Err(BadContainerId::Character { at }),
            None => Ok(Self(raw.into())),
        }
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve characters, as engines show it.
    pub fn short(&self) -> &str {
        self.0.get(..SHORT).unwrap_or(&self.0)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for ContainerId {
    type Error = BadContainerId;

    fn try_from(raw: String) -> Result<Self, Self::Error> {
        Self::parse(&raw)
    }
}

impl std::str::FromStr for ContainerId {
    type Err = BadContainerId;

    fn from_str(raw: &str) -> Result<Self, Self::Err> {
        Self::parse(raw)
    }
}

impl Lenient for Option<ContainerId> {
    fn from_text(value: &str) -> Self {
        ContainerId::parse(value).ok()
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_every_runtime_are_accepted() {
        for id in ["c1", "a_b+c-d.e", ".hidden", "-rf", &"a".repeat(64), &"a".repeat(240)] {
            assert_eq!(ContainerId::parse(id).unwrap().as_str(), id);
        }
    }

    #[test]
    fn what_could_leave_the_directory_is_refused() {
        assert_eq!(ContainerId::parse(""), Err(BadContainerId::Length { got: 0 }));
        assert_eq!(ContainerId::parse(&"a".repeat(241)), Err(BadContainerId::Length { got: 241 }));
        assert_eq!(ContainerId::parse("."), Err(BadContainerId::Directory));
        assert_eq!(ContainerId::parse(".."), Err(BadContainerId::Directory));
        for id in ["a/b", "../x", "a\nb", "a\0", "a b", "ä"] {
            assert!(matches!(ContainerId::parse(id), Err(BadContainerId::Character { .. })), "{id:?}");
        }
    }

    #[test]
    fn json_goes_through_the_same_door() {
        assert!(serde_json::from_str::<ContainerId>(r#""../x""#).is_err());
        let id: ContainerId = serde_json::from_str(r#""c1""#).unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), r#""c1""#);
    }

    #[test]
    fn the_short_form_is_twelve_characters_or_the_whole() {
        assert_eq!(ContainerId::parse("0123456789abcdef").unwrap().short(), "0123456789ab");
        assert_eq!(ContainerId::parse("c1").unwrap().short(), "c1");
    }
}
