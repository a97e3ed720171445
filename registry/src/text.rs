//! Text from outside, made fit for records, tables and log lines.

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
    fn text_is_cut_between_characters_and_nothing_is_no_text() {
        let long = clean(&"é".repeat(400)).unwrap();
        assert_eq!(long.len(), LONGEST);
        let cut_at_a_space = clean(&format!("{} {}", "x".repeat(LONGEST - 1), "y")).unwrap();
        assert_eq!(clean(&cut_at_a_space), Some(cut_at_a_space));
        assert_eq!(clean(""), None);
        assert_eq!(clean(" \n "), None);
    }
}
