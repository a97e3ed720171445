//! Attempt by profile and mode: what is expected of each, and how the document shows it.

use std::fmt::Write;

use crate::attempts::ATTEMPTS;
use crate::columns::{COLUMNS, Column, MODES, PROFILES, Set};

/// What comes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// By whatever stands in its way first.
    Denied,
    /// It has no effect in the form in which it is tried.
    Allowed,
    /// By the filter.
    Killed,
    /// On how the kernel was built.
    Depends,
}

impl Verdict {
    /// Whether the prober's answer is that. What a kernel does not have, nobody gets.
    pub fn is(self, answer: &str) -> bool {
        match self {
            Self::Depends => answer != "not tried",
            Self::Killed => answer == "SYS",
            Self::Allowed => answer == "made" || answer == "ENOSYS",
            Self::Denied => answer.starts_with('E'),
        }
    }
}

/// One attempt, and what comes of it where. It is denied wherever nothing else is said.
pub struct Attempt {
    /// As the prober knows it.
    pub name: &'static str,
    /// What it does.
    what: &'static str,
    allowed: Set,
    killed: Set,
    depends: Set,
    /// Why it is allowed where a filter is in force.
    pub why: &'static str,
}

/// One that is allowed in these columns.
pub const fn attempt(name: &'static str, what: &'static str, allowed: Set) -> Attempt {
    Attempt { name, what, allowed, killed: Set::NONE, depends: Set::NONE, why: "" }
}

impl Attempt {
    /// Up to the kernel in these columns.
    pub const fn depends(self, columns: Set) -> Self {
        Self { depends: columns, ..self }
    }

    /// Ends the command in these columns.
    pub const fn killed(self, columns: Set) -> Self {
        Self { killed: columns, ..self }
    }

    /// Allowed where a filter is in force, for this reason.
    pub const fn because(self, why: &'static str) -> Self {
        Self { why, ..self }
    }

    /// In the column of this number.
    pub fn verdict(&self, column: usize) -> Verdict {
        let sets = [
            (self.depends, Verdict::Depends),
            (self.killed, Verdict::Killed),
            (self.allowed, Verdict::Allowed),
        ];
        sets.iter().find(|(set, _)| set.has(column)).map_or(Verdict::Denied, |(_, verdict)| *verdict)
    }
}

/// The profiles of one mode in which something else than denial comes of an attempt.
fn cell(attempt: &Attempt, mode: &str) -> String {
    let of_mode = || COLUMNS.iter().enumerate().filter(|(_, column)| column.mode.name == mode);
    let profiles = |verdict: Verdict| -> Vec<&Column> {
        of_mode().filter(|(at, _)| attempt.verdict(*at) == verdict).map(|(_, column)| column).collect()
    };
    let named = |columns: &[&Column]| -> String {
        let filtered: Vec<_> = columns.iter().filter(|column| !column.unfiltered()).collect();
        let name = |column: &&Column| match column.unfiltered() {
            true => column.profile.to_owned(),
            false => format!("**{}**", column.profile),
        };
        match (filtered.len(), columns.len()) {
            (of, all) if of == PROFILES.len() - 1 && all == of => "all filtered".to_owned(),
            (_, all) if all == PROFILES.len() => "**all**".to_owned(),
            _ => columns.iter().map(name).collect::<Vec<_>>().join(" "),
        }
    };
    let (allowed, killed, depends) =
        (profiles(Verdict::Allowed), profiles(Verdict::Killed), profiles(Verdict::Depends));
    let mut parts = Vec::new();
    if !allowed.is_empty() {
        parts.push(named(&allowed));
    }
    if !killed.is_empty() {
        parts.push(format!("*killed:* {}", named(&killed)));
    }
    if !depends.is_empty() {
        parts.push(format!("*depends:* {}", named(&depends)));
    }
    if parts.is_empty() { "–".to_owned() } else { parts.join("; ") }
}

/// As in the document.
pub fn rendered() -> String {
    let mut text = String::from("| attempt |");
    for mode in &MODES {
        write!(text, " {} |", mode.name).unwrap();
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(MODES.len()));
    text.push('\n');
    for attempt in ATTEMPTS {
        write!(text, "| `{}`: {} |", attempt.name, attempt.what).unwrap();
        for mode in &MODES {
            write!(text, " {} |", cell(attempt, mode.name)).unwrap();
        }
        text.push('\n');
    }
    text.push_str("\n| allowed in spite of a filter | why |\n|---|---|\n");
    for attempt in ATTEMPTS.iter().filter(|attempt| !attempt.why.is_empty()) {
        writeln!(text, "| `{}` | {} |", attempt.name, attempt.why).unwrap();
    }
    text
}
