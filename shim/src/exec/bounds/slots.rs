//! Cgroups of v1 that stand ready: `porthole/slot-0` and so on, empty, with their limits set.
//!
//! To make three cgroups, to set their limits and to remove them takes a fifth of the time of a whole exec of a short
//! command. So the first few are kept for the next exec. One is taken only if it is as good as new: empty, its limits as
//! they have to be, and hardly any memory ever charged to it, since what a former command has put on a tmpfs stays
//! charged. v2 has one directory in place of three, and keeps none.

use rustix::io::Errno;

use super::super::error::ExecError;
use super::Life;
use super::hierarchy::{Hierarchy, Version};
use super::own::{Failed, Own, lock, read};

const COUNT: usize = 4;
/// What may ever have been charged to one that is used again.
const CHARGED: u64 = 32 << 20;

pub(super) fn is_slot(name: &str) -> bool {
    name.starts_with("slot-")
}

/// Takes one that nobody uses; none if all are in use.
pub(super) fn claim(hierarchies: &[Hierarchy]) -> Result<Option<Own>, ExecError> {
    let Some(first) = hierarchies.first() else { return Ok(None) };
    for number in 0..COUNT {
        let name = format!("slot-{number}");
        let make = |name: String| match Own::create(Version::V1, hierarchies, name, Life::Waited) {
            Ok(own) => Ok(Some(own)),
            Err(Failed::Lost) => Ok(None),
            Err(failed) => Err(ExecError::from(failed)),
        };
        let lock = match lock(&first.parent.join(&name)) {
            Ok(lock) => lock,
            Err(Errno::NOENT) => match make(name)? {
                Some(own) => return Ok(Some(own)),
                None => continue,
            },
            Err(_) => continue,
        };
        let (version, hierarchies) = (Version::V1, hierarchies.to_vec());
        let mut own = Own { version, hierarchies, name, life: Life::Free, lock };
        // Somebody's who was killed: a sweep sees to it.
        let members = read(&first.parent.join(&own.name).join("cgroup.procs"));
        if members.is_ok_and(|members| !members.is_empty()) {
            continue;
        }
        if as_new(&own) {
            own.life = Life::Waited;
            return Ok(Some(own));
        }
        if own.remove()
            && let Some(own) = make(own.name.clone())?
        {
            return Ok(Some(own));
        }
    }
    Ok(None)
}

fn as_new(own: &Own) -> bool {
    own.hierarchies.iter().all(|hierarchy| {
        let directory = hierarchy.parent.join(&own.name);
        let limits = hierarchy.knobs.iter().all(|knob| match read(&directory.join(knob.file)) {
            Ok(text) => knob.is(&text),
            Err(error) => error == Errno::NOENT && knob.is_optional(),
        });
        let memory = hierarchy.knobs.iter().find(|knob| knob.file == "memory.limit_in_bytes");
        limits
            && memory.is_none_or(|limit| {
                let most = read(&directory.join("memory.max_usage_in_bytes")).ok();
                let most = most.and_then(|text| text.trim().parse::<u64>().ok());
                most.is_some_and(|most| most <= CHARGED.min(limit.value / 2))
            })
    })
}
