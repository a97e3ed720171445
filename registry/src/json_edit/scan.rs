//! Where the values of a document are, by offsets into its text. Values are skipped over, not read: their depth is no
//! depth of the stack, and their numbers are never numbers.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// An object or array.
pub(super) struct Container {
    /// What is between its brackets.
    pub(super) inside: Range<usize>,
    /// Its members or elements.
    pub(super) items: Vec<Item>,
}

/// A member of an object, or an element of an array.
pub(super) struct Item {
    /// Where it begins: at its key, if it has one.
    pub(super) start: usize,
    /// Its key with its quotes.
    key: Option<Range<usize>>,
    /// Its value.
    pub(super) value: Range<usize>,
}

/// What kind of value begins somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    Array,
    Null,
    Text,
    Number,
    Bool,
}

impl Kind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::Array => "an array",
            Self::Null => "null",
            Self::Text => "a string",
            Self::Number => "a number",
            Self::Bool => "true or false",
        }
    }
}

/// The kind of the value at `value`, by its first character.
pub(super) fn kind(text: &str, value: &Range<usize>) -> Kind {
    match text.as_bytes().get(value.start) {
        Some(b'{') => Kind::Object,
        Some(b'[') => Kind::Array,
        Some(b'n') => Kind::Null,
        Some(b'"') => Kind::Text,
        Some(b't' | b'f') => Kind::Bool,
        _ => Kind::Number,
    }
}

/// The one value of the document that begins at `start`, with white space around it and nothing else.
pub(super) fn document(text: &str, start: usize) -> Result<Range<usize>, serde_json::Error> {
    serde_json::from_str(&text[start..]).map(|value| range(text, value))
}

impl Container {
    /// Reads the object or array at `value`.
    pub(super) fn read(text: &str, value: &Range<usize>) -> Result<Self, serde_json::Error> {
        let Items(pairs) = serde_json::from_str(&text[value.clone()])?;
        let items = pairs.into_iter().map(|(key, value)| {
            let (key, value) = (key.map(|key| range(text, key)), range(text, value));
            Item { start: key.as_ref().map_or(value.start, |key| key.start), key, value }
        });
        Ok(Self { inside: value.start + 1..value.end - 1, items: items.collect() })
    }

    /// The white space before an item, from the bracket or comma on.
    pub(super) fn before<'a>(&self, text: &'a str, index: usize) -> &'a str {
        let from = match index.checked_sub(1) {
            None => self.inside.start,
            Some(previous) => self.items[previous].value.end,
        };
        let between = &text[from..self.items[index].start];
        between.split_once(',').map_or(between, |(_, after)| after)
    }
}

impl Item {
    /// What is between its key and its value.
    pub(super) fn colon<'a>(&self, text: &'a str) -> Option<&'a str> {
        self.key.as_ref().map(|key| &text[key.end..self.value.start])
    }

    /// Whether `name` is its key, however it is escaped.
    pub(super) fn is_named(&self, text: &str, name: &str) -> bool {
        self.name(text).is_some_and(|key| key == name)
    }

    /// Where its key is, if Go takes it for `name`: in any case, and by Unicode's folding, which has one more `s` and `k`.
    pub(super) fn key_like(&self, text: &str, name: &str) -> Option<Range<usize>> {
        let fold = |c: char| match c {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            c => c.to_ascii_lowercase(),
        };
        let key = self.name(text)?;
        if key.chars().map(fold).eq(name.chars().map(fold)) { self.key.clone() } else { None }
    }

    fn name<'a>(&self, text: &'a str) -> Option<Cow<'a, str>> {
        let key = &text[self.key.clone()?];
        Some(match key.contains('\\') {
            false => Cow::Borrowed(key.trim_matches('"')),
            // A key that is half of a surrogate pair is nobody's name.
            true => serde_json::from_str::<String>(key).map_or(Cow::Borrowed("\u{fffd}"), Cow::Owned),
        })
    }
}

fn range(text: &str, part: &RawValue) -> Range<usize> {
    let start = part.get().as_ptr().addr() - text.as_ptr().addr();
    start..start + part.get().len()
}

/// Keys and values in their order, with keys that are there twice.
struct Items<'a>(Vec<(Option<&'a RawValue>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Items<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or array")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some((key, value)) = object.next_entry::<&RawValue, &RawValue>()? {
                    items.push((Some(key), value));
                }
                Ok(Items(items))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(value) = array.next_element::<&RawValue>()? {
                    items.push((None, value));
                }
                Ok(Items(items))
            }
        }
        from.deserialize_any(InOrder)
    }
}
