//! Patterns: `*` stands for any text, `?` for one character, everything else for itself.

use std::fmt;

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glob(String);

impl Glob {
    pub(super) fn new(pattern: &str) -> Self {
        Self(pattern.to_owned())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for anything but itself.
    pub(super) fn is_pattern(text: &str) -> bool {
        text.contains(['*', '?'])
    }

    /// Whether the whole of `text` is like this.
    pub(super) fn matches(&self, text: &str) -> bool {
        like(&self.0, text, |_| true)
    }

    /// The same for a path, in which neither stands for a `/`.
    pub(super) fn matches_path(&self, path: &str) -> bool {
        like(&self.0, path, |c| c != '/')
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One step back to the last `*` is enough, so this takes no more steps than the product of both lengths.
fn like(pattern: &str, text: &str, wild: impl Fn(char) -> bool) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        let c = text[t];
        match pattern.get(p) {
            Some('*') => {
                back = Some((p + 1, t));
                p += 1;
            }
            Some('?') if wild(c) => (p, t) = (p + 1, t + 1),
            Some(&same) if same == c && same != '?' => (p, t) = (p + 1, t + 1),
            _ => match back {
                Some((after, from)) if wild(text[from]) => {
                    back = Some((after, from + 1));
                    (p, t) = (after, from + 1);
                }
                _ => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_text_has_to_be_like_the_pattern() {
        for (pattern, text, want) in [
            ("shop", "shop", true),
            ("shop", "shop-2", false),
            ("team-*", "team-", true),
            ("team-*", "team-a", true),
            ("team-*", "my-team-a", false),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a?c", "aéc", true),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "ba", false),
            ("a*a", "a", false),
            ("?", "?", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), want, "{pattern} {text}");
        }
    }

    #[test]
    fn in_a_path_nothing_stands_for_a_slash() {
        for (pattern, path, want) in [
            ("/usr/bin/*", "/usr/bin/curl", true),
            ("/usr/bin/*", "/usr/bin/x/curl", false),
            ("/*/curl", "/usr/bin/curl", false),
            ("/usr?bin/curl", "/usr/bin/curl", false),
            ("/usr/*bin/*", "/usr/sbin/ip", true),
        ] {
            assert_eq!(Glob::new(pattern).matches_path(path), want, "{pattern} {path}");
        }
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        let pattern = Glob::new(&"*a".repeat(200));
        assert!(!pattern.matches(&format!("{}b", "a".repeat(4000))));
    }
}
