//! The template of pins' names, as the configuration has it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::is_allowed;

/// How pins are named: text with `{pod}`, `{namespace}`, `{container}`, `{id}`, `{id12}` in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Hole(Hole),
}

/// What goes into a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hole {
    Pod,
    Namespace,
    Container,
    Id,
    Id12,
}

const HOLES: [(&str, Hole); 5] = [
    ("pod", Hole::Pod),
    ("namespace", Hole::Namespace),
    ("container", Hole::Container),
    ("id", Hole::Id),
    ("id12", Hole::Id12),
];

/// Why a string is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// A placeholder that does not exist.
    #[error("pin name template: there is no placeholder {{{}}}", .0.escape_debug())]
    Unknown(String),
    /// A brace without its counterpart.
    #[error("pin name template: a brace is left open, or closed without being opened")]
    Brace,
    /// Text that no pin's name can have.
    #[error("pin name template: {:?} is neither letter, digit nor one of `._-`", .0)]
    Character(char),
    /// No placeholder, so every pin would have the same name.
    #[error("pin name template: without a placeholder all pins would have the same name")]
    Constant,
}

impl BadTemplate {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        "write pin.name with {pod}, {namespace}, {container}, {id} or {id12}, as in \"{namespace}.{pod}\""
    }
}

impl Default for Template {
    fn default() -> Self {
        Self(vec![Part::Hole(Hole::Pod)])
    }
}

impl Template {
    /// Reads a template.
    pub fn parse(raw: &str) -> Result<Self, BadTemplate> {
        let mut parts = Vec::new();
        let mut rest = raw;
        while !rest.is_empty() {
            let (text, tail) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
            if text.contains('}') {
                return Err(BadTemplate::Brace);
            }
            if let Some(c) = text.chars().find(|&c| !u8::try_from(c).is_ok_and(is_allowed)) {
                return Err(BadTemplate::Character(c));
            }
            if !text.is_empty() {
                parts.push(Part::Text(text.into()));
            }
            rest = tail;
            if let Some(tail) = tail.strip_prefix('{') {
                let (name, after) = tail.split_once('}').ok_or(BadTemplate::Brace)?;
                let hole = HOLES.iter().find(|(known, _)| *known == name);
                parts.push(Part::Hole(hole.ok_or_else(|| BadTemplate::Unknown(name.to_owned()))?.1));
                rest = after;
            }
        }
        let has_hole = parts.iter().any(|part| matches!(part, Part::Hole(_)));
        if has_hole { Ok(Self(parts)) } else { Err(BadTemplate::Constant) }
    }

    /// Fills the holes. One with nothing to go in takes the separator beside it away, so that `{namespace}.{pod}` of a
    /// pod without a namespace does not begin with a dot.
    pub(super) fn fill(&self, value: impl Fn(Hole) -> Option<String>) -> String {
        let mut name = String::new();
        let mut swallow = false;
        for part in &self.0 {
            match part {
                Part::Text(text) if swallow => name.push_str(text.strip_prefix(SEPARATORS).unwrap_or(text)),
                Part::Text(text) => name.push_str(text),
                Part::Hole(hole) => match value(*hole) {
                    Some(value) => name.push_str(&value),
                    None if name.ends_with(SEPARATORS) => drop(name.pop()),
                    None => {
                        swallow = true;
                        continue;
                    }
                },
            }
            swallow = false;
        }
        name
    }
}

const SEPARATORS: [char; 3] = ['.', '-', '_'];

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Hole(hole) => {
                let name = HOLES.iter().find(|(_, known)| known == hole).map_or("", |(name, _)| name);
                write!(f, "{{{name}}}")
            }
        })
    }
}

impl TryFrom<String> for Template {
    type Error = BadTemplate;

    fn try_from(raw: String) -> Result<Self, Self::Error> {
        Self::parse(&raw)
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_refused_at_once_when_they_cannot_work() {
        for (raw, want) in [
            ("{pot}", BadTemplate::Unknown("pot".to_owned())),
            ("{}", BadTemplate::Unknown(String::new())),
            ("{pod", BadTemplate::Brace),
            ("pod}", BadTemplate::Brace),
            ("{pod}}", BadTemplate::Brace),
            ("{namespace}/{pod}", BadTemplate::Character('/')),
            ("ä{pod}", BadTemplate::Character('ä')),
            ("pod", BadTemplate::Constant),
            ("", BadTemplate::Constant),
        ] {
            assert_eq!(Template::parse(raw), Err(want), "{raw}");
        }
        let template = "a-{pod}.{namespace}_{container}{id}{id12}z";
        assert_eq!(Template::parse(template).unwrap().to_string(), template);
        assert_eq!(Template::parse("{pod}"), Ok(Template::default()));
    }
}
