//! A TOML text in which single keys are set and taken out again: cut at the places that the parser tells, so that every
//! other byte stays as somebody has written it, whichever way they write tables.

use std::ops::Range;
use toml_edit::{Document, Item, Key, TableLike};

/// The text of a configuration.
#[derive(Clone, Debug)]
pub(super) struct Text {
    text: String,
    doc: Document<String>,
}

/// The deepest table on a path that is there, and how it is written.
struct Deepest<'a> {
    table: &'a dyn TableLike,
    /// How many keys of the path lead to it.
    depth: usize,
    form: Form,
    /// Where an inline table is, braces included.
    span: Option<Range<usize>>,
    /// Whether an inline table is around it.
    inline: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Under a header of its own, or the root.
    Header,
    /// Only headers of tables in it are there.
    Implied,
    /// `a.b.c = 1`.
    Dotted,
    /// `{ … }`.
    Inline,
}

/// What can be wrong with a text: what, and where.
#[derive(Debug)]
pub(super) struct Malformed(pub(super) String);

impl Text {
    pub(super) fn parse(text: &str) -> Result<Self, Malformed> {
        match Document::parse(text.to_owned()) {
            Ok(doc) => Ok(Self { text: text.to_owned(), doc }),
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start.min(text.len()));
                let before = text.as_bytes()[..at].rsplit(|&byte| byte == b'\n').next().unwrap_or_default();
                let line = text.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count() + 1;
                let column = String::from_utf8_lossy(before).chars().count() + 1;
                Err(Malformed(format!(
                    "line {line}, column {column}: {}",
                    error.message().replace('\n', ", ")
                )))
            }
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// The item at a path.
    pub(super) fn get(&self, path: &[String]) -> Option<&Item> {
        let mut item = self.doc.as_item();
        for key in path {
            item = item.as_table_like()?.get(key)?;
        }
        Some(item)
    }

    /// The value of a key as it is written.
    pub(super) fn raw(&self, table: &[String], key: &str) -> Option<&str> {
        let span = self.get(table)?.as_table_like()?.get(key)?.span()?;
        self.text.get(span)
    }

    /// The value of a key.
    pub(super) fn json(&self, table: &[String], key: &str) -> Option<serde_json::Value> {
        let parsed: toml::Table = toml::from_str(&format!("value = {}", self.raw(table, key)?)).ok()?;
        serde_json::to_value(parsed.get("value")?).ok()
    }

    /// Every key whose value is a string: its table, its name and the value.
    pub(super) fn strings(&self) -> Vec<(Vec<String>, String, String)> {
        fn look(table: &dyn TableLike, at: &[String], found: &mut Vec<(Vec<String>, String, String)>) {
            for (key, item) in table.iter() {
                if let Some(inner) = item.as_table_like() {
                    let path: Vec<_> = at.iter().cloned().chain([key.to_owned()]).collect();
                    look(inner, &path, found);
                } else if let Some(value) = item.as_str() {
                    found.push((at.to_vec(), key.to_owned(), value.to_owned()));
                }
            }
        }
        let mut found = Vec::new();
        look(self.doc.as_table(), &[], &mut found);
        found
    }

    /// The string of a key.
    pub(super) fn string(&self, table: &[String], key: &str) -> Option<&str> {
        self.get(table)?.as_table_like()?.get(key)?.as_str()
    }

    /// Sets a key to a value, which is written as TOML. Returns the tables that had to be made, outermost first.
    pub(super) fn set(
        &mut self,
        path: &[String],
        key: &str,
        value: &str,
    ) -> Result<Vec<Vec<String>>, Malformed> {
        if let Some(span) = self.get(path).and_then(|item| item.as_table_like()?.get(key)?.span()) {
            self.cut(span, value)?;
            return Ok(Vec::new());
        }
        let deepest = self.deepest(path)?;
        let missing = &path[deepest.depth..];
        // A table of which there are only tables in it gets a header, too.
        let first = if deepest.form == Form::Implied && missing.is_empty() { 0 } else { 1 };
        let made = (deepest.depth + first..=path.len()).map(|depth| path[..depth].to_vec()).collect();
        let key = bare_or_quoted(key);
        let (at, insert) = match deepest.form {
            Form::Inline => {
                // Further tables in it can only be inline ones.
                let inner = missing.iter().rev().fold(format!("{key} = {value}"), |inner, name| {
                    format!("{} = {{ {inner} }}", bare_or_quoted(name))
                });
                self.in_inline(&deepest, &inner)?
            }
            Form::Dotted => {
                let prefix = self.dotted_prefix(&deepest, path)?;
                let names: String = missing.iter().map(|name| bare_or_quoted(name) + ".").collect();
                let line = format!("{prefix}{names}{key} = {value}");
                let end = last_end(deepest.table).ok_or_else(|| unplaced(path))?;
                if deepest.inline { (end, format!(", {line}")) } else { self.line_after(end, &line) }
            }
            Form::Header if missing.is_empty() && deepest.depth > 0 => {
                let header = deepest.span.clone().ok_or_else(|| unplaced(path))?;
                let end = last_end(deepest.table).unwrap_or(header.end);
                let like = last_start(deepest.table).unwrap_or(header.start);
                let indent = self.indent(like).to_owned();
                self.line_after(end, &format!("{indent}{key} = {value}"))
            }
            // Before the first header every key is one of the root's.
            Form::Header if missing.is_empty() => (0, format!("{key} = {value}{}", self.newline())),
            // A table may be opened at any place once; at the end it is in nobody's way.
            Form::Header | Form::Implied => {
                let names: Vec<_> = path.iter().map(|name| bare_or_quoted(name)).collect();
                let newline = self.newline();
                let gap = match self.text.as_str() {
                    "" => String::new(),
                    text if text.ends_with('\n') => newline.to_owned(),
                    _ => newline.repeat(2),
                };
                let block = format!("{gap}[{}]{newline}{key} = {value}{newline}", names.join("."));
                (self.text.len(), block)
            }
        };
        self.cut(at..at, &insert)?;
        Ok(made)
    }

    /// Sets a key that is there to what was there before, as it was written.
    pub(super) fn restore(&mut self, path: &[String], key: &str, raw: &str) -> Result<(), Malformed> {
        self.set(path, key, raw).map(drop)
    }

    /// How many keys are in a table.
    pub(super) fn length(&self, path: &[String]) -> usize {
        self.get(path).and_then(Item::as_table_like).map_or(0, TableLike::len)
    }

    /// Takes a key out, with its line or its comma.
    pub(super) fn remove(&mut self, path: &[String], key: &str) -> Result<(), Malformed> {
        let deepest = self.deepest(path)?;
        let Some((name, item)) = deepest.table.get_key_value(key) else { return Ok(()) };
        let (Some(name), Some(value)) = (name.span(), item.span()) else { return Err(unplaced(path)) };
        let cut = if deepest.inline || deepest.form == Form::Inline {
            self.with_comma(self.key_start(name.start)..value.end)
        } else {
            self.lines(name.start..value.end)
        };
        self.cut(cut, "")
    }

    /// Takes out a table with no key in it. Returns whether there is none, or it is not there; tables in it stay.
    pub(super) fn remove_empty(&mut self, path: &[String]) -> Result<bool, Malformed> {
        let Some(table) = self.get(path).and_then(Item::as_table_like) else { return Ok(true) };
        if last_end(table).is_some() {
            return Ok(false);
        }
        let Some((name, above)) = path.split_last() else { return Ok(false) };
        let deepest = self.deepest(path)?;
        match (deepest.form, deepest.span.clone()) {
            (Form::Header, Some(header)) => {
                let mut lines = self.lines(header);
                // The empty line that was put before it.
                let empty = format!("{0}{0}", self.newline());
                if self.text[..lines.start].ends_with(&empty) {
                    lines.start -= self.newline().len();
                }
                self.cut(lines, "")?;
            }
            (Form::Inline, Some(_)) => self.remove(above, name)?,
            _ => {}
        }
        Ok(true)
    }

    fn deepest(&self, path: &[String]) -> Result<Deepest<'_>, Malformed> {
        let root = self.doc.as_table();
        let mut deepest = Deepest { table: root, depth: 0, form: Form::Header, span: None, inline: false };
        for key in path {
            let Some(item) = deepest.table.get(key) else { break };
            let table = item
                .as_table_like()
                .ok_or_else(|| Malformed(format!("`{}` is no table", path[..=deepest.depth].join("."))))?;
            let form = match item {
                Item::Table(table) if table.is_dotted() => Form::Dotted,
                Item::Table(table) if table.is_implicit() => Form::Implied,
                Item::Table(_) => Form::Header,
                _ if table.is_dotted() => Form::Dotted,
                _ => Form::Inline,
            };
            deepest = Deepest {
                table,
                depth: deepest.depth + 1,
                form,
                span: item.span(),
                // What is within an inline table is so as well.
                inline: deepest.inline || deepest.form == Form::Inline,
            };
        }
        Ok(deepest)
    }

    /// Where and what to insert for one more key of an inline table.
    fn in_inline(&self, deepest: &Deepest<'_>, inner: &str) -> Result<(usize, String), Malformed> {
        if let Some(end) = last_end(deepest.table) {
            return Ok((end, format!(", {inner}")));
        }
        let span = deepest.span.clone().ok_or_else(|| Malformed("an inline table without a place".into()))?;
        let is_padded = self.text[span.start + 1..].starts_with(' ');
        Ok((span.start + 1, if is_padded { format!(" {inner}") } else { inner.to_owned() }))
    }

    /// The beginning of a dotted key up to the table that it leads to, as somebody has written it, with its indentation.
    fn dotted_prefix(&self, deepest: &Deepest<'_>, path: &[String]) -> Result<String, Malformed> {
        let name = first_key(deepest.table).and_then(Key::span).ok_or_else(|| unplaced(path))?;
        let start = if deepest.inline { self.key_start(name.start) } else { self.line_start(name.start) };
        Ok(self.text[start..name.start].to_owned())
    }

    /// Where a dotted key in an inline table begins, of which a later part is at `at`.
    fn key_start(&self, at: usize) -> usize {
        let bytes = self.text.as_bytes();
        let mut start = at;
        let (mut i, mut quote) = (at, None);
        while i > 0 {
            i -= 1;
            match (quote, bytes[i]) {
                (Some(open), byte) if byte == open => quote = None,
                (Some(_), _) => {}
                (None, byte @ (b'"' | b'\'')) => quote = Some(byte),
                (None, b',' | b'{') => break,
                (None, _) => {}
            }
            if quote.is_none() && !bytes[i].is_ascii_whitespace() {
                start = i;
            }
        }
        start
    }

    fn newline(&self) -> &'static str {
        if self.text.contains("\r\n") { "\r\n" } else { "\n" }
    }

    fn line_start(&self, at: usize) -> usize {
        self.text[..at].rfind('\n').map_or(0, |newline| newline + 1)
    }

    /// Behind the line that `at` is in.
    fn line_end(&self, at: usize) -> usize {
        self.text[at..].find('\n').map_or(self.text.len(), |newline| at + newline + 1)
    }

    fn lines(&self, span: Range<usize>) -> Range<usize> {
        self.line_start(span.start)..self.line_end(span.end)
    }

    fn indent(&self, at: usize) -> &str {
        let line = &self.text[self.line_start(at)..at];
        &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
    }

    fn line_after(&self, at: usize, line: &str) -> (usize, String) {
        let end = self.line_end(at);
        if self.text[..end].ends_with('\n') {
            (end, format!("{line}{}", self.newline()))
        } else {
            (end, format!("{}{line}", self.newline()))
        }
    }

    /// A key of an inline table, with the comma before it, or behind it where it is the first.
    fn with_comma(&self, key: Range<usize>) -> Range<usize> {
        let before = self.text[..key.start].trim_end();
        if before.ends_with(',') {
            return before.len() - 1..key.end;
        }
        let rest = &self.text[key.end..];
        match rest.trim_start().strip_prefix(',') {
            Some(after) => key.start..self.text.len() - after.trim_start().len(),
            None => before.len()..key.end,
        }
    }

    fn cut(&mut self, span: Range<usize>, insert: &str) -> Result<(), Malformed> {
        let mut text = self.text.clone();
        text.replace_range(span, insert);
        *self = Self::parse(&text)?;
        Ok(())
    }
}

fn unplaced(path: &[String]) -> Malformed {
    Malformed(format!("`{}` is written in a way that cannot be edited", path.join(".")))
}

/// The end of the last value that is written in the body of a table itself, in inline and dotted tables of it, too.
fn last_end(table: &dyn TableLike) -> Option<usize> {
    let ends = table.iter().filter_map(|(_, item)| match item {
        Item::Value(value) if value.as_inline_table().is_some_and(toml_edit::InlineTable::is_dotted) => {
            last_end(value.as_inline_table()?)
        }
        Item::Value(value) => value.span().map(|span| span.end),
        Item::Table(dotted) if dotted.is_dotted() => last_end(dotted),
        _ => None,
    });
    ends.max()
}

/// The beginning of the last key in the body of a table.
fn last_start(table: &dyn TableLike) -> Option<usize> {
    let own = |key: &str, item: &Item| match item {
        Item::Value(_) => table.key(key)?.span().map(|span| span.start),
        Item::Table(dotted) if dotted.is_dotted() => table.key(key)?.span().map(|span| span.start),
        _ => None,
    };
    table.iter().filter_map(|(key, item)| own(key, item)).max()
}

fn first_key(table: &dyn TableLike) -> Option<&Key> {
    let (name, _) = table.iter().next()?;
    table.key(name)
}

/// A key as TOML wants it.
fn bare_or_quoted(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(is_bare) { name.to_owned() } else { quoted(name) }
}

/// A string as TOML and containerd's parsers want it.
pub(super) fn quoted(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|c| match c {
            '"' | '\\' => format!("\\{c}"),
            c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
            c => c.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}
