//! crun: `ROOT/ID/status`.

use super::files::{bundle, container_pid, each_state};
use super::{Candidate, Claim, Evidence, Found, StateKind};
use crate::container_id::ContainerId;
use serde::Deserialize;
use std::path::Path;

/// A real one has less than a KiB.
const LARGEST: u64 = 1 << 20;

pub(super) fn find(root: &Path, found: &mut Found) {
    // Its `.cache` is there too, without a status.
    each_state(root, "status", LARGEST, found, parse);
}

/// Reads a `status`.
///
/// # Errors
/// What is wrong with it, in words that quote nothing of it but numbers.
pub fn parse(id: ContainerId, json: &[u8]) -> Result<Candidate, String> {
    let status: Status = serde_json::from_slice(json)
        .map_err(|e| format!("no status of crun, at line {} column {}", e.line(), e.column()))?;
    let claim = Claim { pid: container_pid(status.pid)?, evidence: Evidence::Start(status.start) };
    let bundle = bundle(&status.bundle)?;
    Ok(Candidate { id, process: Some(claim), bundle, kind: StateKind::Crun })
}

#[derive(Deserialize)]
struct Status {
    pid: i64,
    #[serde(rename = "process-start-time")]
    start: u64,
    bundle: String,
}
