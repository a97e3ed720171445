//! runc: `ROOT/ID/state.json`.

use super::files::{bundle, container_pid, each_state};
use super::{Candidate, Claim, Evidence, Found, StateKind};
use crate::container_id::ContainerId;
use serde::Deserialize;
use std::path::Path;

/// A real one has 8 to 40 KiB.
const LARGEST: u64 = 4 << 20;

pub(super) fn find(root: &Path, found: &mut Found) {
    each_state(root, "state.json", LARGEST, found, parse);
}

/// Reads a `state.json`.
///
/// # Errors
/// What is wrong with it, in words that quote nothing of it but numbers.
pub fn parse(id: ContainerId, json: &[u8]) -> Result<Candidate, String> {
    let state: State = serde_json::from_slice(json)
        .map_err(|e| format!("no state of runc, at line {} column {}", e.line(), e.column()))?;
    if state.id != id.as_str() {
        return Err("it is that of another container".to_owned());
    }
    let claim = Claim { pid: container_pid(state.pid)?, evidence: Evidence::Start(state.start) };
    // The last one: an annotation of the same name comes before it.
    let label = state.config.labels.iter().rev().find_map(|label| label.strip_prefix("bundle="));
    let bundle = bundle(label.unwrap_or_default())?;
    Ok(Candidate { id, process: Some(claim), bundle, kind: StateKind::Runc })
}

#[derive(Deserialize)]
struct State {
    id: String,
    #[serde(rename = "init_process_pid")]
    pid: i64,
    #[serde(rename = "init_process_start")]
    start: u64,
    config: Config,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    labels: Vec<String>,
}
