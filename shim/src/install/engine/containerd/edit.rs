//! What is changed in a file of containerd's configuration, so that it can be made, and taken back from a text that somebody
//! else has edited since.

use super::text::{Malformed, Text, quoted};
use serde::{Deserialize, Serialize};

/// The changes in one file, in the order in which they were made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConfigEdit {
    /// The file is ours, as long as nobody writes into it.
    #[serde(default)]
    new_file: bool,
    #[serde(default)]
    sets: Vec<Set>,
}

/// A key that was set to a string.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Set {
    table: Vec<String>,
    key: String,
    value: String,
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
    pub(super) key: &'static str,
    pub(super) value: String,
    /// As [`Set::needed`].
    pub(super) needed: bool,
}

impl ConfigEdit {
    /// Sets what is wanted in `text`; `version` is that of a file that is new.
    pub(super) fn make(
        text: Option<&str>,
        version: i64,
        wanted: &[Wanted],
    ) -> Result<(String, Self), Malformed> {
        let mut edit = Self { new_file: text.is_none(), sets: Vec::new() };
        let new = || {
            format!(
                "# Written by `porthole install`, taken back by `porthole uninstall`.\nversion = {version}\n"
            )
        };
        let mut text = Text::parse(&text.map_or_else(new, str::to_owned))?;
        for wanted in wanted {
            let Wanted { table, key, value, needed } = wanted;
            if text.string(table, key) == Some(value) {
                continue;
            }
            let before = text.raw(table, key).map(str::to_owned);
            let made = text.set(table, key, &quoted(value))?;
            let (table, key, value) = (table.clone(), (*key).to_owned(), value.clone());
            edit.sets.push(Set { table, key, value, before, made, needed: *needed });
        }
        Ok((text.as_str().to_owned(), edit))
    }

    /// Whether exactly the wanted keys are set in `text`, by this edit.
    pub(super) fn stands(&self, text: &str, wanted: &[Wanted]) -> bool {
        let Ok(text) = Text::parse(text) else { return false };
        let is_set = |wanted: &Wanted| text.string(&wanted.table, wanted.key) == Some(&wanted.value);
        let is_wanted =
            |set: &Set| wanted.iter().any(|wanted| wanted.table == set.table && wanted.key == set.key);
        wanted.iter().all(is_set) && self.sets.iter().all(is_wanted)
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
            if text.string(&set.table, &set.key) == Some(&set.value) {
                match &set.before {
                    Some(before) => text.restore(&set.table, &set.key, before)?,
                    None if set.needed && text.length(&set.table) > 1 => {}
                    None => text.remove(&set.table, &set.key)?,
                }
            }
            for table in set.made.iter().rev() {
                if !text.remove_empty(table)? {
                    break;
                }
            }
        }
        let is_ours = self.new_file && text.length(&[]) <= 1 && text.get(&["version".to_owned()]).is_some();
        Ok((!is_ours).then(|| text.as_str().to_owned()))
    }
}
