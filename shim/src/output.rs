//! Printing: tables and JSON to stdout, everything else to stderr. A reader that has gone is no error.

use crate::problem::Problem;
use porthole_registry::text;
use serde::Serialize;
use std::fmt;
use std::io::{self, ErrorKind, Write};

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Columns for people
    #[default]
    Table,
    /// More columns
    Wide,
    /// For programs: stable names, one document
    Json,
}

/// Text for people: lines, each of which is one whatever the names are that stand in it.
#[derive(Debug, Default)]
pub(crate) struct Page(String);

impl Page {
    /// Adds a line.
    pub(crate) fn line(&mut self, line: fmt::Arguments<'_>) {
        self.0.push_str(&text::line(&line.to_string()));
        self.0.push('\n');
    }

    /// Prints it to stdout.
    pub(crate) fn print(&self) -> Result<(), Problem> {
        print(&self.0)
    }
}

/// Prints text to stdout, whose lines and tabs alone do something: for what has no names of others in it, or has them in
/// a [`Page`] or [`table`].
pub(crate) fn print(text: &str) -> Result<(), Problem> {
    print_exactly(&text::lines(text))
}

/// Prints to stdout what is porthole's own to the last byte: a document for programs, an order to the terminal.
pub(crate) fn print_exactly(text: &str) -> Result<(), Problem> {
    write(text).map_err(|error| Problem::failed(format!("write to stdout: {error}")))
}

/// The same, for those who have an error of their own.
pub(crate) fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Prints a document to stdout.
pub(crate) fn print_json(document: &impl Serialize) -> Result<(), Problem> {
    print_exactly(&json(document)?)
}

/// A document as text, which does nothing to a terminal.
pub(crate) fn json(document: &impl Serialize) -> Result<String, Problem> {
    let text = serde_json::to_string_pretty(document);
    text.map(|text| text::json(&text) + "\n").map_err(|e| Problem::failed(format!("write JSON: {e}")))
}

/// One line to stderr. If even that fails there is nobody to tell.
pub(crate) fn to_stderr(line: &str) {
    let _ = writeln!(io::stderr(), "{}", text::line(line));
}

/// An error on stderr: as one JSON object, or as a message, what could have been meant, and what to do.
pub(crate) fn report(
    document: &impl Serialize,
    message: &str,
    candidates: &[String],
    remedy: Option<&str>,
    format: Format,
) {
    if format == Format::Json {
        let document = serde_json::to_string(document).unwrap_or_default();
        let _ = writeln!(io::stderr(), "{}", text::json(&document));
        return;
    }
    // Readers of configuration say some things in several lines.
    to_stderr(&format!("porthole: {}", message.replace('\n', " ")));
    for candidate in candidates {
        to_stderr(&format!("  {candidate}"));
    }
    if let Some(remedy) = remedy {
        to_stderr(&format!("help: {remedy}"));
    }
}

/// A cell of a table, shown so that it is one cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell(String);

impl Cell {
    /// Several words, which are porthole's own or a person's.
    pub(crate) fn phrase(text: impl AsRef<str>) -> Self {
        Self(text::phrase(text.as_ref()))
    }
}

/// One word: names are.
impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self(text::word(text.as_ref()))
    }
}

/// Columns as wide as their widest cell, two blanks apart; no trailing blanks.
pub(crate) fn table(header: &[&str], rows: &[Vec<Cell>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.0.chars().count());
        cells.chain(header.get(column).map(|title| title.len())).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..header.len()).map(width).collect();
    let mut text = String::new();
    let titles: Vec<_> = header.iter().map(Cell::phrase).collect();
    for row in std::iter::once(&titles).chain(rows) {
        let mut line = String::new();
        for (Cell(cell), &width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count()));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The first of many, and how many more there are: a line that has an end. JSON has them all.
pub(crate) fn few<T: ToString>(all: &[T], shown: usize, between: &str) -> String {
    let first: Vec<_> = all.iter().take(shown).map(ToString::to_string).collect();
    let first = first.join(between);
    match all.len().checked_sub(shown) {
        Some(more @ 1..) => format!("{first}{between}+{more} more"),
        _ => first,
    }
}

/// A cell: the text, or a dash.
pub(crate) fn or_dash(text: Option<impl ToString>) -> String {
    text.map(|text| text.to_string()).filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_where_their_text_does() {
        let cells = |cells: [&str; 2]| cells.map(Cell::from).to_vec();
        let rows = vec![cells(["web-0", "1"]), cells(["é", ""])];
        assert_eq!(table(&["POD", "PID"], &rows), "POD    PID\nweb-0  1\né\n");
    }

    #[test]
    fn a_cell_is_one_cell_and_a_row_one_line() {
        let rows = vec![
            vec![Cell::from("web-0  shop"), Cell::phrase("up to  date")],
            vec![Cell::from("x\nweb-1"), Cell::phrase("\u{1b}[2Jgone")],
        ];
        let table = table(&["POD", "STATE"], &rows);
        assert_eq!(table, "POD          STATE\nweb-0␠␠shop  up to␠␠date\nx?web-1      ?[2Jgone\n");
    }

    #[test]
    fn a_line_of_a_page_is_one_line() {
        let mut page = Page::default();
        page.line(format_args!("name {}", "a\nforged \u{1b}[31m"));
        page.line(format_args!("second"));
        assert_eq!(page.0, "name a?forged ?[31m\nsecond\n");
    }

    #[test]
    fn of_many_the_first_are_shown_and_the_rest_is_counted() {
        assert_eq!(few(&[1, 2, 3], 3, ","), "1,2,3");
        assert_eq!(few(&[1, 2, 3, 4], 3, ","), "1,2,3,+1 more");
        assert_eq!(few::<u8>(&[], 3, ","), "");
        let many: Vec<_> = (0..65_000).collect();
        assert!(few(&many, 3, " ").ends_with("2 +64997 more"));
    }
}
