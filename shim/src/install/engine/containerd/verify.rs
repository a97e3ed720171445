//! What containerd will read, asked before it is restarted: the intended keys have changed, and nothing else.

use super::config::{Effective, Runtime};
use crate::exit::Exit;
use crate::install::engine::Engine;
use crate::install::tree::Tree;
use crate::problem::Problem;
use std::path::PathBuf;
use toml::{Table, Value};

/// What the configuration is to be once the plan is applied.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Expected {
    /// The engine's main configuration.
    pub(super) config: PathBuf,
    /// Whether another program makes it of the written files at its start.
    pub(super) is_deferred: bool,
    /// What it was.
    pub(super) before: Effective,
    pub(super) runtimes: Vec<Hooked>,
}

/// A runtime as it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hooked {
    pub(super) name: String,
    pub(super) place: Vec<String>,
    pub(super) base_spec: Option<PathBuf>,
    pub(super) binary: Option<String>,
}

impl Hooked {
    fn is(&self, runtime: &Runtime) -> bool {
        runtime.place == self.place && runtime.base_spec == self.base_spec && runtime.binary == self.binary
    }
}

/// Asks the node's containerd what it would read now.
pub(super) fn verify(engine: &Engine, tree: &Tree, expected: Option<&Expected>) -> Result<(), Problem> {
    // Where it cannot be asked now, it could not before either: then nothing is expected.
    let Ok(after) = Effective::ask(tree, engine)? else { return Ok(()) };
    let Some(expected) = expected else { return Ok(()) };
    let found = after.runtimes();
    let missed: Vec<_> =
        expected.runtimes.iter().filter(|hooked| !found.iter().any(|runtime| hooked.is(runtime))).collect();
    let wrong = |what: String| {
        Problem::new(
            Exit::Failed,
            format!("containerd would not read {} as intended: {what}", engine.config.display()),
            "look at the files it imports: a later one overrides an earlier one, and one of another `version` replaces it; \
             `containerd config dump` shows what comes of them",
        )
    };
    if let Some(hooked) = missed.first() {
        return Err(wrong(format!("runtime {} does not get what was written", hooked.name)));
    }
    let [before, after] = [expected.before.clone(), after].map(|effective| comparable(effective, expected));
    let mut others = Vec::new();
    compare("", &before, &after, &mut others);
    others.truncate(3);
    if others.is_empty() { Ok(()) } else { Err(wrong(format!("{} would be another", others.join(", ")))) }
}

/// Without what is meant to change, and without what is as if it were not written.
fn comparable(mut effective: Effective, expected: &Expected) -> Table {
    for hooked in &expected.runtimes {
        if let Some(runtime) = effective.runtime_mut(&hooked.place) {
            runtime.remove("base_runtime_spec");
            if let Some(Value::Table(options)) = runtime.get_mut("options") {
                options.remove("BinaryName");
            }
        }
    }
    // 1.x lists every file that it has read, in any order.
    effective.0.remove("imports");
    drop_empty(&mut effective.0);
    effective.0
}

pub(super) fn drop_empty(table: &mut Table) {
    for (_, value) in table.iter_mut() {
        if let Value::Table(inner) = value {
            drop_empty(inner);
        }
    }
    table.retain(|_, value| match value {
        Value::String(text) => !text.is_empty(),
        Value::Integer(number) => *number != 0,
        Value::Boolean(yes) => *yes,
        Value::Array(array) => !array.is_empty(),
        Value::Table(table) => !table.is_empty(),
        _ => true,
    });
}

/// Collects the paths of what differs.
fn compare(at: &str, before: &Table, after: &Table, found: &mut Vec<String>) {
    let keys = before.keys().chain(after.keys().filter(|key| !before.contains_key(*key)));
    for key in keys {
        let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        match (before.get(key), after.get(key)) {
            (Some(Value::Table(before)), Some(Value::Table(after))) => compare(&path, before, after, found),
            (before, after) if before != after => found.push(path),
            _ => {}
        }
    }
}
