//! What is changed in a file of containerd's configuration, so that it can be made, and taken back from a text that somebody
//! else has edited since.

use super::text::{Malformed, Text, quoted};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// The changes in one file, in the order in which they were made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConfigEdit {
    /// The file is ours, as long as nobody writes into it.
    #[serde(default)]
    new_file: bool,
    #[serde(default)]
    sets: Vec<Set>,
}

/// A key that was set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Set {
    table: Vec<String>,
    key: String,
    value: Json,
    /// What it was before us, as it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    /// Tables that were made for it, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    made: Vec<Vec<String>>,
    /// It stays while anything else is in its table: without it that would mean something else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    needed: bool,
}

/// A key that is to be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) table: Vec<String>,
    pub(super) key: String,
    pub(super) value: Json,
    /// As [`Set::needed`].
    pub(super) needed: bool,
}

/// A value in TOML. None for a table, which is no single key.
pub(super) fn toml(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(quoted(text)),
        Json::Bool(_) | Json::Number(_) => Some(value.to_string()),
        Json::Array(values) => {
            let values: Option<Vec<_>> = values.iter().map(toml).collect();
            Some(format!("[{}]", values?.join(", ")))
        }
        Json::Null | Json::Object(_) => None,
    }
}

/// The line that a file of ours begins with.
pub(super) const HEAD: &str = "# Written by `porthole install`, taken back by `porthole uninstall`.";

impl ConfigEdit {
    /// Finds our edit in a text without a state: keys that name something of ours. `before` is the text before the edit, if
    /// that is known.
    pub(super) fn found(
        text: &str,
        before: Option<&str>,
        is_ours: impl Fn(&str) -> bool,
    ) -> Result<Self, Malformed> {
        let (text, before) = (Text::parse(text)?, before.map(Text::parse).transpose()?);
        let new_file = before.is_none() && text.as_str().starts_with(HEAD);
        let mut sets = Vec::new();
        for (table, key, value) in text.strings() {
            if !is_ours(&value) {
                continue;
            }
            let old = before.as_ref().and_then(|before| before.raw(&table, &key)).map(str::to_owned);
            let is_made = |path: &[String]| match &before {
                Some(before) => before.get(path).is_none(),
                None => new_file,
            };
            let made =
                (1..=table.len()).map(|depth| table[..depth].to_vec()).filter(|path| is_made(path)).collect();
            sets.push(Set { table, key, value: Json::String(value), before: old, made, needed: false });
        }
        // In a file of ours, all other keys are there for these.
        let needed = text
            .strings()
            .into_iter()
            .filter(|(table, _, value)| new_file && !table.is_empty() && !is_ours(value));
        let needed: Vec<_> = needed
            .map(|(table, key, value)| Set {
                table,
                key,
                value: Json::String(value),
                before: None,
                made: Vec::new(),
                needed: true,
            })
            .collect();
        Ok(Self { new_file, sets: needed.into_iter().chain(sets).collect() })
    }

    /// The strings that it sets.
    pub(super) fn values(&self) -> impl Iterator<Item = &str> {
        self.sets.iter().filter_map(|set| set.value.as_str())
    }

    /// Whether it sets nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// Sets what is wanted in `text`; `version` is that of a file that is new.
    pub(super) fn make(
        text: Option<&str>,
        version: i64,
        wanted: &[Wanted],
    ) -> Result<(String, Self), Malformed> {
        let mut edit = Self { new_file: text.is_none(), sets: Vec::new() };
        let new = || format!("{HEAD}\nversion = {version}\n");
        let mut text = Text::parse(&text.map_or_else(new, str::to_owned))?;
        for wanted in wanted {
            let Wanted { table, key, value, needed } = wanted;
            if text.json(table, key).as_ref() == Some(value) {
                continue;
            }
            let Some(written) = toml(value) else { continue };
            let before = text.raw(table, key).map(str::to_owned);
            let made = text.set(table, key, &written)?;
            let (table, key, value) = (table.clone(), key.clone(), value.clone());
            edit.sets.push(Set { table, key, value, before, made, needed: *needed });
        }
        Ok((text.as_str().to_owned(), edit))
    }

    /// Whether exactly the wanted keys are set in `text`, by this edit.
    pub(super) fn stands(&self, text: &str, wanted: &[Wanted]) -> bool {
        let Ok(text) = Text::parse(text) else { return false };
        let is_set = |wanted: &Wanted| text.json(&wanted.table, &wanted.key).as_ref() == Some(&wanted.value);
        let is_wanted =
            |set: &Set| wanted.iter().any(|wanted| wanted.table == set.table && wanted.key == set.key);
        wanted.iter().all(is_set) && self.sets.iter().all(is_wanted)
    }

    /// How many keys of a table are there only for others.
    fn needed(&self, text: &Text, table: &[String]) -> usize {
        let own = self.sets.iter().filter(|set| set.needed && set.table == table);
        own.filter(|set| text.json(table, &set.key).as_ref() == Some(&set.value)).count()
    }

    /// Whether a key of this name is set.
    pub(super) fn sets(&self, key: &str) -> bool {
        self.sets.iter().any(|set| set.key == key)
    }

    /// What a key was before us, where this has changed it.
    pub(super) fn before(&self, table: &[String], key: &str) -> Option<String> {
        let set = self.sets.iter().find(|set| set.table == table && set.key == key)?;
        let text = format!("{key} = {}", set.before.as_deref()?);
        Some(Text::parse(&text).ok()?.string(&[], key)?.to_owned())
    }

    /// The configuration without what is ours; none where nothing would be left of a file that we made.
    pub(super) fn take_back(&self, text: &str) -> Result<Option<String>, Malformed> {
        let mut text = Text::parse(text)?;
        for set in self.sets.iter().rev() {
            // Somebody has set it to something else: it is theirs now.
            if text.json(&set.table, &set.key).as_ref() == Some(&set.value) {
                match &set.before {
                    Some(before) => text.restore(&set.table, &set.key, before)?,
                    None if set.needed && text.length(&set.table) > self.needed(&text, &set.table) => {}
                    None => text.remove(&set.table, &set.key)?,
                }
            }
            for table in set.made.iter().rev() {
                if !text.remove_empty(table)? {
                    break;
                }
            }
        }
        // The version of a file that had none goes, unless somebody has added to the file.
        let is_ours = self.new_file && text.length(&[]) <= 1 && text.get(&["version".to_owned()]).is_some();
        Ok((!is_ours).then(|| text.as_str().to_owned()))
    }
}
