//! Text from outside, made fit for records, tables and log lines.

use std::fmt::Write;

/// The longest text kept, in bytes: longer than any name or image reference an engine accepts.
const LONGEST: usize = 512;

/// `raw` as one printable line of bounded length, or nothing when nothing is left of it.
///
/// Whoever creates a container chooses its names. A newline would forge a log line, an escape sequence would
/// reprogram a terminal, and a bidirectional override would show another name than the one that is there; each
/// such character becomes `?`.
pub fn clean(raw: &str) -> Option<String> {
    let mut line = String::with_capacity(raw.len().min(LONGEST));
    for c in raw.trim().chars() {
        let c = if is_deceptive(c) { '?' } else { c };
        if line.len() + c.len_utf8() > LONGEST {
            break;
        }
        line.push(c);
    }
    line.truncate(line.trim_end().len());
    (!line.is_empty()).then_some(line)
}

/// `raw` as it is shown on one line of its own: what would end the line or rewrite the screen becomes `?`.
pub fn line(raw: &str) -> String {
    raw.chars().map(|c| if is_deceptive(c) { '?' } else { c }).collect()
}

/// Text of several lines, each of which is shown as [`line()`] does it.
pub fn lines(raw: &str) -> String {
    raw.chars().map(|c| if is_deceptive(c) && !matches!(c, '\n' | '\t') { '?' } else { c }).collect()
}

/// A name, shown as one word: a blank in it is `␠`, so that it cannot be taken for two, nor for the next column.
pub fn word(raw: &str) -> String {
    raw.chars().map(one).collect()
}

/// A sentence, shown in a column of a table: a single blank in it stays, those that could pass for the space between two
/// columns are `␠`.
pub fn phrase(raw: &str) -> String {
    let mut shown = String::with_capacity(raw.len());
    let mut rest = raw.chars().peekable();
    while let Some(c) = rest.next() {
        let is_between = !shown.is_empty()
            && !shown.ends_with([' ', '␠'])
            && rest.peek().is_some_and(|next| !next.is_whitespace());
        shown.push(if c == ' ' && is_between { c } else { one(c) });
    }
    shown
}

/// A JSON document with the same values and without a character that does something to a terminal: serde escapes the
/// first 32 only. The characters that this escapes stand in strings alone.
pub fn json(document: &str) -> String {
    let mut shown = String::with_capacity(document.len());
    for c in document.chars() {
        if is_deceptive(c) && c != '\n' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(c);
        }
    }
    shown
}

fn one(c: char) -> char {
    match c {
        c if is_deceptive(c) => '?',
        c if c.is_whitespace() => '␠',
        c => c,
    }
}

/// Whether a character does something else than show itself: controls, invisible ones, and those that reorder text.
pub fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_foreign_names_stay_as_they_are() {
        for name in ["web-0", "localhost/lab/busybox:1", "größe", "日本語", "a b"] {
            assert_eq!(clean(name).as_deref(), Some(name));
        }
    }

    #[test]
    fn no_character_that_forges_a_line_or_a_name_survives() {
        for (raw, want) in [
            ("a\nb", "a?b"),
            ("a\r\n<1>forged", "a??<1>forged"),
            ("\u{1b}[2Jx", "?[2Jx"),
            ("a\0b", "a?b"),
            ("a\u{9b}31m", "a?31m"),
            ("abc\u{202e}cba", "abc?cba"),
            ("a\u{2028}b\u{200b}c", "a?b?c"),
        ] {
            assert_eq!(clean(raw).as_deref(), Some(want));
        }
    }

    #[test]
    fn a_name_is_one_word_and_a_sentence_makes_no_column() {
        assert_eq!(word("web-0"), "web-0");
        assert_eq!(word(" a b\u{a0}c\u{3000}\n\u{1b}[2J"), "␠a␠b␠c␠??[2J");
        assert_eq!(phrase("pin of web-0 is gone"), "pin of web-0 is gone");
        assert_eq!(phrase("a  b   c"), "a␠␠b␠␠␠c");
        assert_eq!(phrase(" a\u{a0}b \u{2003}c "), "␠a␠b␠␠c␠");
        assert_eq!(phrase("a\nb"), "a?b");
        assert_eq!(line("a  b\nc\u{202e}"), "a  b?c?");
        assert_eq!(lines("a\tb\nc\r\u{9b}"), "a\tb\nc??");
    }

    #[test]
    fn a_json_document_keeps_its_values_and_does_nothing_to_a_terminal() {
        let value = serde_json::json!({ "a\u{202e}b": "\u{7f}\u{9b}31m\n\u{e0041}é\u{feff}" });
        let shown = json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(!shown.chars().any(|c| is_deceptive(c) && c != '\n'), "{shown:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        assert_eq!(json("{\n  \"é\": 1\n}\n"), "{\n  \"é\": 1\n}\n");
    }

    #[test]
    fn text_is_cut_between_characters_and_nothing_is_no_text() {
        let long = clean(&"é".repeat(400)).unwrap();
        assert_eq!(long.len(), LONGEST);
        let cut_at_a_space = clean(&format!("{} {}", "x".repeat(LONGEST - 1), "y")).unwrap();
        assert_eq!(clean(&cut_at_a_space), Some(cut_at_a_space));
        assert_eq!(clean(""), None);
        assert_eq!(clean(" \n "), None);
    }
}
