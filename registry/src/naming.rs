//! Names of pins: file names below `/run/netns`, and arguments of `ip netns`.

mod template;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::container_id::ContainerId;
use crate::identity::{Identity, PodRef};
use crate::lenient::Lenient;
use template::Hole;
pub use template::{BadTemplate, Template};

/// The longest file name there is.
const LONGEST: usize = 255;

/// The name of a pin: never an option, never a path, never hidden.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PinName(Box<str>);

/// Why a string is no name of a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPinName {
    /// Empty, or longer than a file name can be.
    #[error("the name of a pin has 1 to {LONGEST} bytes, this one has {got}")]
    Length {
        /// The length found.
        got: usize,
    },
    /// It begins as an option or a hidden file does.
    #[error("the name of a pin begins with neither `-` nor `.`")]
    Start,
    /// A byte that is not allowed.
    #[error("the name of a pin is made of letters, digits and `._-`, but byte {at} is something else")]
    Character {
        /// Where it is, counted from 0.
        at: usize,
    },
}

impl BadPinName {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        "use a name that `porthole list` shows"
    }
}

fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-".contains(&byte)
}

impl PinName {
    /// Reads a name.
    pub fn parse(raw: &str) -> Result<Self, BadPinName> {
        match raw.bytes().position(|b| !is_allowed(b)) {
            _ if !(1..=LONGEST).contains(&raw.len()) => Err(BadPinName::Length { got: raw.len() }),
            _ if raw.starts_with(['-', '.']) => Err(BadPinName::Start),
            Some(at) => Err(BadPinName::Character { at }),
            None => Ok(Self(raw.into())),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<std::path::Path> for PinName {
    fn as_ref(&self) -> &std::path::Path {
        std::path::Path::new(&*self.0)
    }
}

impl fmt::Display for PinName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for PinName {
    type Error = BadPinName;

    fn try_from(raw: String) -> Result<Self, Self::Error> {
        Self::parse(&raw)
    }
}

impl std::str::FromStr for PinName {
    type Err = BadPinName;

    fn from_str(raw: &str) -> Result<Self, Self::Err> {
        Self::parse(raw)
    }
}

impl Lenient for Option<PinName> {
    fn from_text(value: &str) -> Self {
        PinName::parse(value).ok()
    }
}

impl From<PinName> for String {
    fn from(name: PinName) -> Self {
        name.0.into()
    }
}

/// A valid name made of any string, the same one each time; a valid name stays as it is.
///
/// What is not allowed becomes `-`, and what may not lead is left out. A name that is too long is cut and ends in a
/// hash of the whole; one of which nothing is left is that hash.
pub fn sanitize(raw: &str) -> PinName {
    let allowed = |c: char| if c.is_ascii() && u8::try_from(c).is_ok_and(is_allowed) { c } else { '-' };
    let mapped: String = raw.chars().map(allowed).collect();
    let name = mapped.trim_start_matches(['-', '.']);
    PinName(match name.len() {
        0 => hash(raw).into(),
        1..=LONGEST => name.into(),
        _ => format!("{}-{}", &name[..LONGEST - 17], hash(raw)).into(),
    })
}

/// FNV-1a: the standard library's hashers differ from one version or run to the next, and a pin's name must not.
pub fn hash(raw: &str) -> String {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    format!("{:016x}", raw.bytes().fold(0xcbf2_9ce4_8422_2325, mix))
}

/// The names a container's pin may have, best first; each is tried when those before it belong to other namespaces.
pub fn candidates(template: &Template, identity: &Identity, id: &ContainerId) -> Vec<PinName> {
    let name = identity.name.as_deref();
    let pod = identity.pod.as_ref();
    let namespace = pod.and_then(|pod: &PodRef| pod.namespace.as_deref());
    let base =
        pod.map(|pod| pod.name.as_str()).or(name).filter(|base| !base.is_empty()).unwrap_or(id.short());
    let longer = match namespace {
        Some(namespace) => format!("{base}.{namespace}"),
        None => base.to_owned(),
    };
    let own = template.fill(|hole| match hole {
        Hole::Pod => Some(base.to_owned()),
        Hole::Namespace => namespace.map(str::to_owned),
        Hole::Container => name.map(str::to_owned),
        Hole::Id => Some(id.as_str().to_owned()),
        Hole::Id12 => Some(id.short().to_owned()),
    });
    let unique = match base == id.short() && base != id.as_str() {
        true => id.as_str().to_owned(),
        false => format!("{longer}.{}", id.short()),
    };
    let mut names: Vec<PinName> = Vec::with_capacity(3);
    for raw in [own.as_str(), &longer, &unique] {
        let name = sanitize(if raw.is_empty() { base } else { raw });
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn names(template: &str, name: Option<&str>, pod: Option<(&str, Option<&str>)>) -> Vec<String> {
        let identity = Identity {
            name: name.map(str::to_owned),
            pod: pod.map(|(name, namespace)| PodRef {
                name: name.to_owned(),
                namespace: namespace.map(str::to_owned),
                ..PodRef::default()
            }),
            ..Identity::default()
        };
        let template = Template::parse(template).unwrap();
        candidates(&template, &identity, &ContainerId::parse(ID).unwrap())
            .into_iter()
            .map(String::from)
            .collect()
    }

    #[test]
    fn a_pods_names_grow_until_they_are_unique() {
        let pod = Some(("web-0", Some("shop")));
        assert_eq!(names("{pod}", Some("nginx"), pod), ["web-0", "web-0.shop", "web-0.shop.0123456789ab"]);
        assert_eq!(
            names("{namespace}.{pod}", Some("nginx"), pod),
            ["shop.web-0", "web-0.shop", "web-0.shop.0123456789ab"]
        );
        assert_eq!(names("{pod}", None, Some(("p1", None))), ["p1", "p1.0123456789ab"]);
    }

    #[test]
    fn without_a_pod_the_containers_name_or_id_stands_for_it() {
        assert_eq!(names("{pod}", Some("web"), None), ["web", "web.0123456789ab"]);
        assert_eq!(names("{pod}", None, None), ["0123456789ab", ID]);
        assert_eq!(names("{namespace}.{pod}", Some("web"), None), ["web", "web.0123456789ab"]);
        let short = ContainerId::parse("c1").unwrap();
        let names = candidates(&Template::default(), &Identity::default(), &short);
        assert_eq!(names, ["c1", "c1.c1"].map(sanitize));
    }

    #[test]
    fn an_empty_hole_takes_one_separator_with_it() {
        let pod = Some(("p1", None));
        assert_eq!(names("{pod}.{namespace}.{id12}", None, pod)[0], "p1.0123456789ab");
        assert_eq!(names("{container}-{namespace}_{pod}", None, pod)[0], "p1");
        assert_eq!(names("{container}", None, pod)[0], "p1");
        assert_eq!(names("k8s-{pod}-{container}", None, pod)[0], "k8s-p1");
    }

    #[test]
    fn hostile_names_become_plain_ones() {
        for (raw, want) in [
            ("web-0", "web-0"),
            ("../../etc/passwd", "etc-passwd"),
            ("-rf", "rf"),
            (".hidden", "hidden"),
            ("a\nb", "a-b"),
            ("a\0b", "a-b"),
            ("größe", "gr--e"),
            ("a b", "a-b"),
        ] {
            assert_eq!(sanitize(raw).as_str(), want);
        }
    }

    #[test]
    fn a_name_of_which_nothing_is_left_is_a_hash() {
        // The published FNV-1a value of the empty string.
        assert_eq!(sanitize("").as_str(), "cbf29ce484222325");
        assert_ne!(sanitize("日本"), sanitize("中国"));
        assert_eq!(sanitize("..").as_str().len(), 16);
    }

    #[test]
    fn long_names_are_cut_and_stay_different() {
        let (a, b) = (sanitize(&format!("{}a", "x".repeat(300))), sanitize(&format!("{}b", "x".repeat(300))));
        assert_eq!((a.as_str().len(), b.as_str().len()), (255, 255));
        assert_ne!(a, b);
        assert_eq!(sanitize(&"x".repeat(255)).as_str(), "x".repeat(255));
    }

    #[test]
    fn only_names_that_are_safe_everywhere_are_read() {
        for good in ["a", "web-0.shop", "_x", "0", &"x".repeat(255)] {
            assert_eq!(PinName::parse(good).unwrap().as_str(), good);
            assert_eq!(sanitize(good).as_str(), good);
        }
        assert_eq!(PinName::parse(""), Err(BadPinName::Length { got: 0 }));
        assert_eq!(PinName::parse(&"x".repeat(256)), Err(BadPinName::Length { got: 256 }));
        for bad in ["-rf", ".x", "..", "."] {
            assert_eq!(PinName::parse(bad), Err(BadPinName::Start));
        }
        assert_eq!(PinName::parse("a/b"), Err(BadPinName::Character { at: 1 }));
        assert!(serde_json::from_str::<PinName>(r#""a/b""#).is_err());
    }
}
