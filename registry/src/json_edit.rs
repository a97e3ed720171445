//! Changing a JSON document that belongs to somebody else: every byte that is not ours stays.
//!
//! A document is never written anew from a tree, which would lose its spacing, its order, how its numbers are spelled
//! and what a tree cannot hold. Its text is cut at the offsets of the values in question, found by a parser that only
//! skips over values; what is put in is laid out as its siblings are.

mod layout;
mod scan;
#[cfg(test)]
mod tests;

use std::ops::Range;

use serde_json::{Map, Value};
use thiserror::Error;

use layout::Layout;
use scan::{Container, Kind};

/// Why a document was not read or changed; it is as it was.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Broken, with a comment in it, or with something behind it.
    #[error("no JSON: {0}")]
    NotJson(String),
    /// A value of another type than it has to be.
    #[error("{subject} is {found}, not {wanted}")]
    WrongType {
        /// The document, or the keys that lead to the value, with dots between them.
        subject: String,
        /// What it is.
        found: &'static str,
        /// What it would have to be.
        wanted: &'static str,
    },
    /// A key that is there more than once: parsers differ in which one they take.
    #[error("the key {0} is there twice")]
    DuplicateKey(String),
    /// A path without a key, where one has to be.
    #[error("no key is named")]
    NoKey,
}

/// The text of a JSON document whose outermost value is an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    text: String,
    root: Range<usize>,
}

/// Where a path leads.
enum Found {
    /// To a value, in a container of this layout.
    Value { value: Range<usize>, layout: Layout },
    /// To nothing: the container where the path ends, its layout, and how many keys of the path lead to it.
    Missing { container: Container, layout: Layout, depth: usize },
    /// To nothing: this null is where an object would have to be, `depth` keys down.
    Null { value: Range<usize>, layout: Layout, depth: usize },
}

impl Document {
    /// Takes a document; a byte order mark before it is no hindrance.
    ///
    /// # Errors
    /// When it is no JSON, or no object.
    pub fn parse(text: String) -> Result<Self, Error> {
        let start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let root = scan::document(&text, start).map_err(|e| Error::NotJson(e.to_string()))?;
        let document = Self { text, root };
        let kind = scan::kind(&document.text, &document.root);
        if kind != Kind::Object {
            return Err(wrong_type(&[], kind, Kind::Object));
        }
        document.container(&document.root, &[])?;
        Ok(document)
    }

    /// The value at `path` as it is written; the whole object where the path is empty.
    ///
    /// # Errors
    /// When something on the path is no object, or a key of it is there twice.
    pub fn get(&self, path: &[&str]) -> Result<Option<&str>, Error> {
        Ok(match self.find(path)? {
            Found::Value { value, .. } => Some(&self.text[value]),
            Found::Missing { .. } | Found::Null { .. } => None,
        })
    }

    /// Puts `value` at `path`: in place of what is there, else behind the last key. Objects that are missing on the
    /// way are made; null counts as missing.
    ///
    /// # Errors
    /// As [`Self::get`], and when the path is empty.
    pub fn set(&mut self, path: &[&str], value: &Value) -> Result<(), Error> {
        if path.is_empty() {
            return Err(Error::NoKey);
        }
        match self.find(path)? {
            Found::Value { value: old, layout } => self.replace(old, &layout.render(value)),
            Found::Null { value: old, layout, depth } => {
                self.replace(old, &layout.render(&nested(&path[depth..], value)));
            }
            Found::Missing { container, layout, depth } => {
                let member = layout.render_member(path[depth], &nested(&path[depth + 1..], value));
                self.append(&container, &layout, &member);
            }
        }
        Ok(())
    }

    /// Puts `value` behind the last element of the array at `path`, which is made where there is none; null counts as
    /// none.
    ///
    /// # Errors
    /// As [`Self::set`], and when something else than an array is there.
    pub fn push(&mut self, path: &[&str], value: &Value) -> Result<(), Error> {
        if path.is_empty() {
            return Err(Error::NoKey);
        }
        let Some((array, layout)) = self.array(path)? else {
            return self.set(path, &Value::Array(vec![value.clone()]));
        };
        let layout = layout.of(&self.text, &array);
        self.append(&array, &layout, &layout.render(value));
        Ok(())
    }

    /// Takes away the key at `path` and its comma. Returns whether it was there.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn remove(&mut self, path: &[&str]) -> Result<bool, Error> {
        let Some((last, before)) = path.split_last() else { return Err(Error::NoKey) };
        let Found::Value { value, .. } = self.find(before)? else { return Ok(false) };
        match scan::kind(&self.text, &value) {
            Kind::Object => {}
            Kind::Null => return Ok(false),
            kind => return Err(wrong_type(before, kind, Kind::Object)),
        }
        let container = self.container(&value, before)?;
        let Some(at) = self.position(&container, last, path)? else { return Ok(false) };
        self.keep_only(&container, |index| index != at);
        Ok(true)
    }

    /// Spells keys of the object at `path` as in `names`, if Go takes them for these: `Hooks` becomes `hooks`. Returns
    /// whether it has changed one.
    ///
    /// # Errors
    /// As [`Self::get`]. A key in two spellings is an error, since parsers differ in which one they take.
    pub fn spell(&mut self, path: &[&str], names: &[&str]) -> Result<bool, Error> {
        let Found::Value { value, .. } = self.find(path)? else { return Ok(false) };
        if scan::kind(&self.text, &value) != Kind::Object {
            return Ok(false);
        }
        let container = self.container(&value, path)?;
        let mut changes = Vec::new();
        for name in names {
            let mut alike = container.items.iter().filter_map(|item| item.key_like(&self.text, name));
            let first = alike.next();
            if alike.next().is_some() {
                return Err(Error::DuplicateKey([path, &[*name]].concat().join(".")));
            }
            let other = |key: &Range<usize>| self.text[key.clone()] != format!("\"{name}\"");
            changes.extend(first.filter(other).map(|key| (key, Value::from(*name).to_string())));
        }
        // From the end, so that earlier offsets stay valid.
        changes.sort_by_key(|(key, _)| std::cmp::Reverse(key.start));
        for (key, name) in &changes {
            self.replace(key.clone(), name);
        }
        Ok(!changes.is_empty())
    }

    /// Takes away each element of the array at `path` that `keep` does not want; no array, no element. Returns how
    /// many these were. An element that no [`Value`] can hold (a number without bounds, too many levels) is kept unasked.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn retain(&mut self, path: &[&str], mut keep: impl FnMut(&Value) -> bool) -> Result<usize, Error> {
        let Some((array, _)) = self.array(path)? else { return Ok(0) };
        let element = |text: &str| serde_json::from_str(text).map_or(true, |value| keep(&value));
        let wanted: Vec<bool> =
            array.items.iter().map(|item| &self.text[item.value.clone()]).map(element).collect();
        self.keep_only(&array, |index| wanted[index]);
        Ok(wanted.iter().filter(|wanted| !**wanted).count())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text.
    pub fn into_string(self) -> String {
        self.text
    }

    fn container(&self, value: &Range<usize>, path: &[&str]) -> Result<Container, Error> {
        let told = |e: serde_json::Error| match path {
            [] => Error::NotJson(e.to_string()),
            path => Error::NotJson(format!("{}: {e}", path.join("."))),
        };
        Container::read(&self.text, value).map_err(told)
    }

    /// The array at `path`, and the layout of what it is in.
    fn array(&self, path: &[&str]) -> Result<Option<(Container, Layout)>, Error> {
        let Found::Value { value, layout } = self.find(path)? else { return Ok(None) };
        match scan::kind(&self.text, &value) {
            Kind::Array => Ok(Some((self.container(&value, path)?, layout))),
            Kind::Null => Ok(None),
            kind => Err(wrong_type(path, kind, Kind::Array)),
        }
    }

    /// Which item of an object has this key; `path` leads to it.
    fn position(&self, object: &Container, key: &str, path: &[&str]) -> Result<Option<usize>, Error> {
        let mut named = object.items.iter().enumerate().filter(|(_, item)| item.is_named(&self.text, key));
        let first = named.next().map(|(index, _)| index);
        match named.next() {
            Some(_) => Err(Error::DuplicateKey(path.join("."))),
            None => Ok(first),
        }
    }

    fn find(&self, path: &[&str]) -> Result<Found, Error> {
        let (mut value, mut layout) = (self.root.clone(), Layout::around(&self.text));
        for (depth, key) in path.iter().enumerate() {
            let before = &path[..depth];
            match scan::kind(&self.text, &value) {
                Kind::Object => {}
                Kind::Null => return Ok(Found::Null { value, layout, depth }),
                kind => return Err(wrong_type(before, kind, Kind::Object)),
            }
            let container = self.container(&value, before)?;
            if depth == 0 {
                layout.learn(&self.text, &container);
            }
            layout = layout.of(&self.text, &container);
            match self.position(&container, key, &path[..=depth])? {
                Some(at) => value = container.items[at].value.clone(),
                None => return Ok(Found::Missing { container, layout, depth }),
            }
        }
        Ok(Found::Value { value, layout })
    }

    fn replace(&mut self, range: Range<usize>, with: &str) {
        self.root.end = self.root.end - range.len() + with.len();
        self.text.replace_range(range, with);
    }

    fn append(&mut self, container: &Container, layout: &Layout, item: &str) {
        match container.items.last() {
            Some(last) => self.replace(last.value.end..last.value.end, &layout.next(item)),
            None => self.replace(container.inside.clone(), &layout.only(item)),
        }
    }

    /// Takes away the items that are not kept, each with one comma.
    fn keep_only(&mut self, container: &Container, keep: impl Fn(usize) -> bool) {
        let items = &container.items;
        let Some(first) = (0..items.len()).find(|index| keep(*index)) else {
            if let Some(last) = items.last() {
                // Padding stays, as in `{ }`; lines go.
                let padding = last.value.end..container.inside.end;
                let is_padding = !self.text[padding.clone()].contains('\n');
                let end = if is_padding { padding.start } else { padding.end };
                self.replace(container.inside.start..end, "");
            }
            return;
        };
        for index in (first..items.len()).rev().filter(|index| !keep(*index)) {
            self.replace(items[index - 1].value.end..items[index].value.end, "");
        }
        self.replace(items[0].start..items[first].start, "");
    }
}

/// `value` below the keys of `path`.
fn nested(path: &[&str], value: &Value) -> Value {
    path.iter().rev().fold(value.clone(), |inner, key| Map::from_iter([((*key).to_owned(), inner)]).into())
}

fn wrong_type(path: &[&str], found: Kind, wanted: Kind) -> Error {
    let subject = if path.is_empty() { "the document".to_owned() } else { path.join(".") };
    Error::WrongType { subject, found: found.as_str(), wanted: wanted.as_str() }
}
