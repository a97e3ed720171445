//! From the text of `policy.toml` to rules. What is not understood is a mistake: a rule that says less than it seems to
//! would allow more.

use super::{Account, Command, Effect, Glob, HARMLESS, Namespace, Need, Policy, Rule};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;
use toml::Spanned;

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// From 1.
    pub(crate) line: usize,
    /// From 1, in characters.
    pub(crate) column: usize,
    pub(crate) what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.what)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rule: Vec<Spanned<Written>>,
}

type Texts = Spanned<Vec<Spanned<String>>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    effect: Spanned<String>,
    users: Option<Texts>,
    groups: Option<Texts>,
    namespaces: Option<Texts>,
    pods: Option<Texts>,
    commands: Option<Texts>,
    profiles: Option<Texts>,
    allow: Option<Texts>,
    writable: Option<Texts>,
    reason: Option<Spanned<String>>,
}

/// Something wrong at a place of the text.
type Wrong = (Range<usize>, String);

/// Reads the rules.
pub(crate) fn parse(text: &str) -> Result<Policy, Mistake> {
    let file: File = toml::from_str(text).map_err(|error| {
        let at = error.span().unwrap_or_default();
        mistake(text, &(at, error.message().to_owned()))
    })?;
    let rules = file.rule.into_iter().map(|written| rule(text, written)).collect::<Result<_, _>>();
    rules.map(|rules| Policy { rules }).map_err(|wrong| mistake(text, &wrong))
}

fn mistake(text: &str, (at, what): &Wrong) -> Mistake {
    let (line, column) = place(text, at.start);
    // What is wrong is quoted, and is shown on a terminal and in a log.
    let what = what.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Mistake { line, column, what }
}

fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn rule(text: &str, written: Spanned<Written>) -> Result<Rule, Wrong> {
    let span = written.span();
    let written = written.into_inner();
    let effect = match written.effect.get_ref().as_str() {
        "allow" => Effect::Allow,
        "deny" => Effect::Deny,
        other => {
            return Err((
                written.effect.span(),
                format!("effect is {other:?}: expected \"allow\" or \"deny\""),
            ));
        }
    };
    if effect == Effect::Allow && written.users.is_none() && written.groups.is_none() {
        return Err((
            span,
            "a rule that allows has to say whom: users or groups, \"*\" for everybody".into(),
        ));
    }
    if effect == Effect::Deny
        && let Some(what) = written.allow.as_ref().or(written.writable.as_ref())
    {
        return Err((what.span(), "a rule that denies has nothing to allow".to_owned()));
    }
    let mut profiles = list(written.profiles, glob)?;
    if profiles.is_empty() && effect == Effect::Allow {
        profiles = HARMLESS.map(Glob::new).to_vec();
    }
    Ok(Rule {
        line: place(text, span.start).0,
        effect,
        reason: written.reason.map(|reason| one_line(&reason)).transpose()?,
        users: list(written.users, user)?,
        groups: list(written.groups, group)?,
        namespaces: list(written.namespaces, |text| {
            if text == "-" { Ok(Namespace::None) } else { glob(text).map(Namespace::Like) }
        })?,
        pods: list(written.pods, glob)?,
        commands: list(written.commands, Command::parse)?,
        profiles,
        allow: list(written.allow, Need::from_str)?.into_iter().collect::<BTreeSet<_>>(),
        writable: list(written.writable, directory)?,
    })
}

/// An empty list, or an empty text in one, could mean everything or nothing: it is neither.
fn list<T>(texts: Option<Texts>, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, Wrong> {
    let Some(texts) = texts else { return Ok(Vec::new()) };
    if texts.get_ref().is_empty() {
        return Err((texts.span(), "the list is empty: leave the key out, or say what it is about".into()));
    }
    let each = texts.into_inner().into_iter().map(|text| {
        if text.get_ref().is_empty() {
            return Err((text.span(), "the text is empty: leave it out, or say what it is about".to_owned()));
        }
        read(text.get_ref()).map_err(|what| (text.span(), what))
    });
    each.collect()
}

fn glob(text: &str) -> Result<Glob, String> {
    if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err(format!("{text:?} has a blank or control character in it, and no name has"));
    }
    if let Some(c) = text.chars().find(|c| "[]{}\\".contains(*c)) {
        return Err(format!("{text:?}: {c:?} has no meaning: patterns know `*` and `?` alone"));
    }
    Ok(Glob::new(text))
}

/// A directory as the kernel names it. A pattern or a link could be made to mean another by those who write there.
pub(crate) fn directory(text: &str) -> Result<PathBuf, String> {
    let parts = text.strip_prefix('/').ok_or_else(|| format!("{text:?} is no absolute path"))?;
    if parts.split('/').any(|part| matches!(part, "" | "." | "..")) {
        let rule = "name one below /, without `//`, `.`, `..` and a last `/`";
        return Err(format!("{text:?} is no plain path of a directory: {rule}"));
    }
    if text.contains(|c: char| c.is_control() || "*?".contains(c)) {
        return Err(format!("{text:?} has a wildcard or control character in it: name each directory"));
    }
    Ok(text.into())
}

fn user(text: &str) -> Result<Account, String> {
    account(text, text)
}

fn group(text: &str) -> Result<Account, String> {
    account(text, text.strip_prefix('%').unwrap_or(text))
}

fn account(whole: &str, text: &str) -> Result<Account, String> {
    if text == "*" {
        return Ok(Account::Everybody);
    }
    if text.is_empty() || text.contains(|c: char| c.is_control() || c.is_whitespace() || "*?:%,".contains(c))
    {
        return Err(format!(
            "{whole:?} is neither a name nor a number, and no pattern is known here but \"*\""
        ));
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().map(Account::Id).map_err(|_| format!("{whole:?} is too large for an id"));
    }
    Ok(Account::Name(text.to_owned()))
}

fn one_line(reason: &Spanned<String>) -> Result<String, Wrong> {
    let text = reason.get_ref();
    if text.chars().any(char::is_control) || text.len() > 512 {
        return Err((reason.span(), "the reason has to be one line of at most 512 bytes".to_owned()));
    }
    Ok(text.clone())
}
