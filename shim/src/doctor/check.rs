//! One line of what `porthole doctor` tells: what was looked at, what was seen, and what to do.

use porthole_registry::text::clean;
use serde::Serialize;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// As it should be.
    Ok,
    /// Could not be looked at, or does not matter here; the evidence says why.
    Skip,
    /// Works, and yet somebody should look at it.
    Warn,
    /// Something does not work, or will not.
    Fail,
}

impl Verdict {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skip => "skip",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// The outcome of a check on one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// Which check: a name that stays.
    pub(crate) name: &'static str,
    /// On what: a path, an engine, a container.
    pub(crate) subject: String,
    pub(crate) verdict: Verdict,
    /// What was seen.
    pub(crate) evidence: String,
    /// What to do, where something is to be done.
    pub(crate) remedy: Option<String>,
}

impl Check {
    fn new(
        name: &'static str,
        subject: &str,
        verdict: Verdict,
        evidence: &str,
        remedy: Option<&str>,
    ) -> Self {
        // Names of files and texts of others are in these: each stays one line without control characters.
        let line = |text: &str| clean(text).unwrap_or_default();
        Self {
            name,
            subject: line(subject),
            verdict,
            evidence: line(evidence),
            remedy: remedy.map(line).filter(|remedy| !remedy.is_empty()),
        }
    }

    pub(crate) fn ok(name: &'static str, subject: impl AsRef<str>, evidence: impl AsRef<str>) -> Self {
        Self::new(name, subject.as_ref(), Verdict::Ok, evidence.as_ref(), None)
    }

    pub(crate) fn skip(name: &'static str, subject: impl AsRef<str>, why: impl AsRef<str>) -> Self {
        Self::new(name, subject.as_ref(), Verdict::Skip, why.as_ref(), None)
    }

    pub(crate) fn warn(
        name: &'static str,
        subject: impl AsRef<str>,
        evidence: impl AsRef<str>,
        remedy: impl AsRef<str>,
    ) -> Self {
        Self::new(name, subject.as_ref(), Verdict::Warn, evidence.as_ref(), Some(remedy.as_ref()))
    }

    pub(crate) fn fail(
        name: &'static str,
        subject: impl AsRef<str>,
        evidence: impl AsRef<str>,
        remedy: impl AsRef<str>,
    ) -> Self {
        Self::new(name, subject.as_ref(), Verdict::Fail, evidence.as_ref(), Some(remedy.as_ref()))
    }

    /// What is found on one thing, as one line: all of it, the worst first, with the remedy for that. `good` is said where
    /// nothing is wrong.
    pub(crate) fn of(
        name: &'static str,
        subject: impl AsRef<str>,
        good: impl AsRef<str>,
        mut findings: Vec<Finding>,
    ) -> Self {
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.verdict));
        let Some(worst) = findings.first() else { return Self::ok(name, subject, good) };
        let seen: Vec<_> = findings.iter().map(|finding| finding.seen.as_str()).collect();
        Self::new(name, subject.as_ref(), worst.verdict, &seen.join("; "), Some(&worst.remedy))
    }
}

/// Something that is wrong with a thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) verdict: Verdict,
    pub(crate) seen: String,
    pub(crate) remedy: String,
}

impl Finding {
    pub(crate) fn fail(seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, seen: seen.into(), remedy: remedy.into() }
    }

    pub(crate) fn warn(seen: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, seen: seen.into(), remedy: remedy.into() }
    }
}

/// A few of many, for a line: the first, and how many more.
pub(crate) fn few(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{shown} and {more} more"),
        _ => shown,
    }
}

/// `1 pin`, `2 pins`.
pub(crate) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_decides_and_all_are_told() {
        let check = Check::of("x", "s", "good", vec![Finding::warn("a", "do a"), Finding::fail("b", "do b")]);
        assert_eq!(
            (check.verdict, check.evidence.as_str(), check.remedy.as_deref()),
            (Verdict::Fail, "b; a", Some("do b"))
        );
        assert_eq!(Check::of("x", "s", "good", vec![]), Check::ok("x", "s", "good"));
    }

    #[test]
    fn what_others_named_stays_on_one_line() {
        let check = Check::fail("x", "a\nok forged", "\u{1b}[31mb", "c\nd");
        assert!(![check.subject, check.evidence, check.remedy.unwrap()].concat().contains(char::is_control));
    }

    #[test]
    fn of_many_the_first_are_named_and_the_others_counted() {
        let names: Vec<_> = (1..=7).map(|n| n.to_string()).collect();
        assert_eq!(few(&names), "1, 2, 3, 4, 5 and 2 more");
        assert_eq!(few(&names[..5]), "1, 2, 3, 4, 5");
        assert_eq!((count(1, "pin"), count(2, "pin")), ("1 pin".to_owned(), "2 pins".to_owned()));
    }
}
