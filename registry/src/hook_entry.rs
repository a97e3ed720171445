//! The hook as an entry of an OCI configuration: one form of it, wherever it is written.
//!
//! Runtimes fail a container whose hook cannot be started, and a path in a configuration outlives the program there:
//! bundles keep it as long as their containers live. So the program is `/bin/sh`, which looks first. Where there is no
//! hook it reads its state to the end, since a runtime that still writes while its hook exits may die of SIGPIPE.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use thiserror::Error;

use crate::json_edit::{self, Document};
use crate::stage::Stage;

/// The stages that the hook is wanted at. Not poststart, where nothing is known that was not at createRuntime.
pub const STAGES: [Stage; 2] = [Stage::CreateRuntime, Stage::Poststop];

/// The name of the hook's program.
pub const PROGRAM: &str = "porthole-hook";

/// What is before a stage's array of hooks in a configuration.
const HOOKS: &str = "hooks";

/// The time after which a runtime kills the hook and fails the container: a backstop, longer than every deadline of the hook.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Words of a shell after which a command begins.
const BEFORE_A_COMMAND: [&str; 8] = ["exec", "&&", "||", ";", "then", "else", "do", "!"];

/// The absolute path of a hook, of characters that mean nothing to a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookPath(String);

/// A path that cannot be written into a hook's entry.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0} is no absolute path of letters, digits and `/`, `.`, `_` and `-` to a program")]
pub struct BadHookPath(String);

impl HookPath {
    /// Takes a path, whether or not something is there.
    ///
    /// # Errors
    /// When it is relative, or has a character in it that would need quotes.
    pub fn parse(path: &Path) -> Result<Self, BadHookPath> {
        let bad = || BadHookPath(format!("{path:?}"));
        let text = path.to_str().ok_or_else(bad)?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        let is_fine = text.starts_with('/') && !text.ends_with('/') && text.chars().all(is_plain);
        is_fine.then(|| Self(text.to_owned())).ok_or_else(bad)
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HookPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The entry of the hook at a stage.
pub fn entry(hook: &HookPath, stage: Stage) -> Value {
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script(hook, stage)], "timeout": TIMEOUT.as_secs() })
}

fn script(hook: &HookPath, stage: Stage) -> String {
    format!("test -x {hook} && exec {hook} {stage}; while read -r x; do :; done")
}

/// The content of a file for a directory of hooks, as podman and CRI-O read it: OCI hooks 1.0.0.
pub fn hooks_d(hook: &HookPath, stage: Stage) -> Value {
    json!({
        "version": "1.0.0",
        "hook": entry(hook, stage),
        "when": { "always": true },
        "stages": [stage.as_str()],
    })
}

/// Whether an entry runs porthole's hook: as its program, or from a line that a shell is given.
pub fn is_ours(entry: &Value) -> bool {
    entry["path"].as_str().is_some_and(is_hook) || runs_hook(line_of(entry))
}

/// The line that an entry gives to a shell: the word after `-c`, which may stand together with other options (`sh -ec`).
fn line_of(entry: &Value) -> &str {
    let args = entry["args"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut words = args.iter().map(|arg| arg.as_str().unwrap_or_default());
    let is_c = |word: &str| word.strip_prefix('-').is_some_and(|options| options.ends_with('c'));
    words.find(|word| is_c(word)).and_then(|_| words.next()).unwrap_or_default()
}

/// Whether an entry of ours looks first whether the hook is there, as those that [`entry`] makes do.
pub fn is_guarded(entry: &Value) -> bool {
    is_ours(entry)
        && line_of(entry)
            .strip_prefix("test -x ")
            .is_some_and(|rest| is_hook(rest.split(' ').next().unwrap_or("")))
}

/// Whether a shell that is given `line` runs the hook: that it names it (`test -x …`) is not enough.
fn runs_hook(line: &str) -> bool {
    let spaced = line.replace(';', " ; ");
    let words: Vec<_> = spaced.split_ascii_whitespace().collect();
    let begins = |at: usize| at == 0 || BEFORE_A_COMMAND.contains(&words[at - 1]);
    words.iter().enumerate().any(|(at, word)| begins(at) && is_hook(word.trim_matches(['\'', '"'])))
}

fn is_hook(path: &str) -> bool {
    path.rsplit('/').next() == Some(PROGRAM)
}

/// Adds the hook to a configuration, behind the hooks that are there. Returns whether anything was changed: not where
/// exactly this hook is there already. One of ours of another form or path is replaced.
///
/// # Errors
/// When `hooks` or one of its stages is of another type than it has to be.
pub fn add(spec: &mut Document, hook: &HookPath) -> Result<bool, json_edit::Error> {
    // Go reads keys in any case; runtimes in other languages know this spelling alone.
    let mut changed = spec.spell(&[], &[HOOKS])?;
    // The usual case: one cut into a text that can be long.
    if spec.get(&[HOOKS])?.is_none_or(|hooks| hooks == "null") {
        let of_stage = |stage: Stage| (stage.as_str().to_owned(), json!([entry(hook, stage)]));
        spec.set(&[HOOKS], &Value::Object(STAGES.map(of_stage).into_iter().collect()))?;
        return Ok(true);
    }
    changed |= spec.spell(&[HOOKS], &Stage::HOOKED.map(Stage::as_str))?;
    // Registered at its older stage as well, the container would be registered twice; and what an older porthole asked for.
    for stage in Stage::HOOKED.into_iter().filter(|stage| !STAGES.contains(stage)) {
        changed |= take_out(spec, stage)?;
    }
    for stage in STAGES {
        let path = [HOOKS, stage.as_str()];
        let wanted = entry(hook, stage);
        let mut found = 0;
        let replaced = spec.retain(&path, |entry| {
            let is_wanted = *entry == wanted;
            found += usize::from(is_wanted);
            !is_ours(entry) || is_wanted && found == 1
        })?;
        if found == 0 {
            spec.push(&path, &wanted)?;
        }
        changed |= replaced > 0 || found == 0;
    }
    Ok(changed)
}

/// Takes the hook out of a configuration, and what that leaves empty: the list of a stage, and `hooks`. Returns whether
/// it was there.
///
/// # Errors
/// As [`add`].
pub fn remove(spec: &mut Document) -> Result<bool, json_edit::Error> {
    let mut changed = false;
    for stage in Stage::HOOKED {
        changed |= take_out(spec, stage)?;
    }
    if changed && spec.get(&[HOOKS])?.is_some_and(is_empty) {
        spec.remove(&[HOOKS])?;
    }
    Ok(changed)
}

/// Takes the hook out of one stage, and the stage with it when nothing else is there.
fn take_out(spec: &mut Document, stage: Stage) -> Result<bool, json_edit::Error> {
    let path = [HOOKS, stage.as_str()];
    if spec.retain(&path, |entry| !is_ours(entry))? == 0 {
        return Ok(false);
    }
    if spec.get(&path)?.is_some_and(is_empty) {
        spec.remove(&path)?;
    }
    Ok(true)
}

/// Whether nothing is between the brackets of an object or array.
fn is_empty(container: &str) -> bool {
    container.trim_matches(['[', ']', '{', '}']).trim_ascii().is_empty()
}

#[cfg(test)]
mod tests;
