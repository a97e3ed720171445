//! Printing: tables and JSON to stdout, everything else to stderr. A reader that has gone is no error.

use crate::problem::Problem;
use serde::Serialize;
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

/// Prints to stdout.
pub(crate) fn print(text: &str) -> Result<(), Problem> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Problem::failed(format!("write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints a document to stdout.
pub(crate) fn print_json(document: &impl Serialize) -> Result<(), Problem> {
    print(&json(document)?)
}

/// A document as text.
pub(crate) fn json(document: &impl Serialize) -> Result<String, Problem> {
    let text = serde_json::to_string_pretty(document);
    text.map(|text| text + "\n").map_err(|e| Problem::failed(format!("write JSON: {e}")))
}

/// One line to stderr. If even that fails there is nobody to tell.
pub(crate) fn to_stderr(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// An error on stderr: as one JSON object, or as a message and what to do.
pub(crate) fn report(document: &impl Serialize, message: &str, remedy: Option<&str>, format: Format) {
    if format == Format::Json {
        to_stderr(&serde_json::to_string(document).unwrap_or_default());
        return;
    }
    to_stderr(&format!("porthole: {message}"));
    if let Some(remedy) = remedy {
        to_stderr(&format!("help: {remedy}"));
    }
}

/// Columns as wide as their widest cell, two blanks apart; no trailing blanks.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(header.get(column).map(|title| title.len())).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..header.len()).map(width).collect();
    let mut text = String::new();
    let titles: Vec<_> = header.iter().map(ToString::to_string).collect();
    for row in std::iter::once(&titles).chain(rows) {
        let mut line = String::new();
        for (cell, &width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count()));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
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
        let rows = [vec!["web-0".to_owned(), "1".to_owned()], vec!["é".to_owned(), String::new()]];
        assert_eq!(table(&["POD", "PID"], &rows), "POD    PID\nweb-0  1\né\n");
    }
}
