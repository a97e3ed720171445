//! What is the process's own: resource limits, and its place before the OOM killer.

use porthole_registry::bounded;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::super::error::{ExecError, Step};

/// Half-way to the first that is killed: a tool goes before what it was called to look at.
pub(crate) const OOM_SCORE: i32 = 500;

/// The cgroups of this process.
pub(super) fn memberships() -> Result<String, ExecError> {
    let all = bounded::file("/proc/self/cgroup", bounded::FACTS);
    let all = all.map_err(Step::Bounds.failed("/proc/self/cgroup"))?;
    Ok(String::from_utf8_lossy(&all).into_owned())
}

/// Sets both, and reads them back. The limit on open files stays the caller's.
pub(super) fn limit() -> Result<(), ExecError> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(Step::Bounds.failed("no core dumps"))?;
    if getrlimit(Resource::Core) != none {
        return Err(
            Step::Bounds.refused("the limit on core dumps does not read back as 0", "nothing was run")
        );
    }
    match raise_oom_score() {
        Ok(score) if score >= OOM_SCORE => Ok(()),
        Ok(score) => Err(Step::Bounds
            .refused(format!("oom_score_adj reads back as {score}, not as {OOM_SCORE}"), "nothing was run")),
        Err(error) => Err(Step::Bounds.failed("oom_score_adj")(error)),
    }
}

/// Who is higher already stays there: to go down takes a privilege, and is not what is wanted.
fn raise_oom_score() -> std::io::Result<i32> {
    let mut file = OpenOptions::new().read(true).write(true).open("/proc/self/oom_score_adj")?;
    let score = |file: &File| -> std::io::Result<i32> {
        let mut bytes = [0; 16];
        let count = file.read_at(&mut bytes, 0)?;
        let text = str::from_utf8(&bytes[..count]).unwrap_or_default();
        text.trim().parse().map_err(std::io::Error::other)
    };
    let before = score(&file)?;
    if before >= OOM_SCORE {
        return Ok(before);
    }
    file.write_all(OOM_SCORE.to_string().as_bytes())?;
    score(&file)
}
