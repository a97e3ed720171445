//! How what is put into a document is laid out: as its siblings are, and where there are none, as the document is.

use serde_json::Value;

use super::scan::Container;

/// One level of indentation where the document does not show any.
const UNIT: &str = "  ";

/// The layout of the items of one object or array.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Where each item has a line of its own: the line break and indentation before an item, and before the bracket.
    lines: Option<Lines>,
    /// Between a comma and the next item on the same line.
    gap: String,
    /// Inside the brackets, on the same line.
    padding: String,
    /// Between a key and its value.
    colon: String,
    /// One level of indentation.
    unit: String,
}

#[derive(Clone, Debug)]
struct Lines {
    item: String,
    close: String,
}

impl Layout {
    /// That of the document as a whole, seen from outside: nothing is known of it yet.
    pub(super) fn around(text: &str) -> Self {
        let line = if text.contains("\r\n") { "\r\n" } else { "\n" };
        let lines = Lines { item: line.to_owned(), close: line.to_owned() };
        Self {
            lines: Some(lines),
            gap: " ".to_owned(),
            padding: String::new(),
            colon: ": ".to_owned(),
            unit: UNIT.to_owned(),
        }
    }

    /// Takes over what the outermost object shows of the document's habits.
    pub(super) fn learn(&mut self, text: &str, root: &Container) {
        let Some(first) = root.items.first() else { return };
        if let Some((_, indentation)) = root.before(text, 0).rsplit_once('\n') {
            self.unit = indentation.to_owned();
        }
        self.take_colon(first.colon(text));
    }

    /// The layout of `container`, which is an item of a container of this layout.
    pub(super) fn of(&self, text: &str, container: &Container) -> Self {
        let Some(last) = container.items.last() else {
            let inside = &text[container.inside.clone()];
            return match inside.is_empty() || inside.contains('\n') {
                true => self.inner(),
                false => Self { lines: None, padding: inside.to_owned(), ..self.clone() },
            };
        };
        let mut layout = self.clone();
        layout.take_colon(last.colon(text));
        let count = container.items.len();
        let before = container.before(text, count - 1);
        layout.lines = before.rfind('\n').map(|at| {
            let at = if before[..at].ends_with('\r') { at - 1 } else { at };
            // The bracket that ends it is there already.
            Lines { item: before[at..].to_owned(), close: String::new() }
        });
        if layout.lines.is_none() && count > 1 {
            layout.gap = before.to_owned();
        }
        layout
    }

    fn take_colon(&mut self, colon: Option<&str>) {
        if let Some(colon) = colon.filter(|colon| !colon.contains('\n')) {
            self.colon = colon.to_owned();
            self.gap = if colon.ends_with(':') { "" } else { " " }.to_owned();
        }
    }

    /// One level further in.
    fn inner(&self) -> Self {
        let inner =
            |lines: &Lines| Lines { item: format!("{}{}", lines.item, self.unit), close: lines.item.clone() };
        Self { lines: self.lines.as_ref().map(inner), padding: String::new(), ..self.clone() }
    }

    /// What goes behind the last item so that `item` follows it.
    pub(super) fn next(&self, item: &str) -> String {
        let before = self.lines.as_ref().map_or(&self.gap, |lines| &lines.item);
        format!(",{before}{item}")
    }

    /// What goes between brackets so that `item` is the only one.
    pub(super) fn only(&self, item: &str) -> String {
        let (before, after) = self.brackets();
        format!("{before}{item}{after}")
    }

    fn brackets(&self) -> (&str, &str) {
        match &self.lines {
            Some(lines) => (&lines.item, &lines.close),
            None => (&self.padding, &self.padding),
        }
    }

    /// A value that is an item of this layout.
    pub(super) fn render(&self, value: &Value) -> String {
        let inner = self.inner();
        let (brackets, items): (_, Vec<_>) = match value {
            Value::Object(members) if !members.is_empty() => {
                let member = |(key, value): (&String, &Value)| inner.render_member(key, value);
                (["{", "}"], members.iter().map(member).collect())
            }
            Value::Array(elements) if !elements.is_empty() => {
                (["[", "]"], elements.iter().map(|value| inner.render(value)).collect())
            }
            value => return value.to_string(),
        };
        let (before, after) = inner.brackets();
        let between = inner.next("");
        [brackets[0], before, &items.join(&between), after, brackets[1]].concat()
    }

    /// A member that is an item of this layout.
    pub(super) fn render_member(&self, key: &str, value: &Value) -> String {
        format!("{}{}{}", Value::from(key), self.colon, self.render(value))
    }
}
