//! Where cgroups of commands are, in each version of the kernel's interface, and what is set in them.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::error::{ExecError, Step};
use super::{NO_CGROUP, OwnLimits};
use porthole_registry::bounded;
use porthole_registry::bounds;

pub(super) const ROOT: &str = "/sys/fs/cgroup";
pub(super) const CONTROLLERS: [&str; 3] = ["pids", "memory", "cpu"];
/// Our directory in each hierarchy.
pub(super) const PARENT: &str = "porthole";

/// Of the kernel's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Version {
    /// A hierarchy for each controller.
    V1,
    /// One hierarchy.
    V2,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        })
    }
}

/// Which of the bounds this machine can keep.
pub(super) fn resolve(wanted: &bounds::Bounds) -> Result<OwnLimits, ExecError> {
    let root = Path::new(ROOT);
    let (version, there) = match bounded::text(root.join("cgroup.controllers"), bounded::FACTS) {
        Ok(text) => (Version::V2, CONTROLLERS.map(|name| text.split_whitespace().any(|word| word == name))),
        Err(_) => (Version::V1, CONTROLLERS.map(|name| root.join(name).join("cgroup.procs").exists())),
    };
    let [pids, memory, cpu] = there;
    if !there.contains(&true) {
        let what = format!("{ROOT} has none of the controllers pids, memory and cpu");
        return Err(Step::Bounds.refused(what, NO_CGROUP));
    }
    Ok(OwnLimits {
        version,
        pids: pids.then_some(wanted.pids),
        memory: memory.then_some(wanted.memory),
        cpu_weight: cpu.then_some(wanted.cpu_weight),
    })
}

/// A file of a cgroup, and what it has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Knob {
    pub(super) file: &'static str,
    pub(super) value: u64,
    /// Without swap the kernel has no such file.
    pub(super) optional: bool,
}

impl Knob {
    /// Whether the kernel need not have it.
    pub(super) fn is_optional(&self) -> bool {
        self.optional
    }

    /// Whether `text` says it. Memory is counted in pages.
    pub(super) fn is(&self, text: &str) -> bool {
        let slack = if self.file.starts_with("memory") { 64 << 10 } else { 1 };
        text.trim().parse::<u64>().is_ok_and(|is| is <= self.value && self.value - is < slack)
    }
}

/// One hierarchy: where our cgroups are in it, and what is set in each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) parent: PathBuf,
    pub(super) knobs: Vec<Knob>,
}

/// Those in use, the one with the lock first.
pub(super) fn hierarchies(root: &Path, limits: &OwnLimits) -> Vec<Hierarchy> {
    let knob = |file, value, optional| Knob { file, value, optional };
    let OwnLimits { version, pids, memory, cpu_weight } = *limits;
    let v1 = version == Version::V1;
    let pids = pids.map(|pids| ("pids", vec![knob("pids.max", pids, false)]));
    let memory = memory.map(|bytes| {
        let knobs = if v1 {
            // The second is memory and swap together.
            vec![
                knob("memory.limit_in_bytes", bytes, false),
                knob("memory.memsw.limit_in_bytes", bytes, true),
            ]
        } else {
            vec![knob("memory.max", bytes, false), knob("memory.swap.max", 0, true)]
        };
        ("memory", knobs)
    });
    let cpu = cpu_weight.map(|weight| {
        // 1024 shares are a weight of 100.
        let shares = (weight * 1024 / 100).max(2);
        ("cpu", vec![if v1 { knob("cpu.shares", shares, false) } else { knob("cpu.weight", weight, false) }])
    });
    let controllers = [pids, memory, cpu].into_iter().flatten();
    if v1 {
        let hierarchy = |(name, knobs)| Hierarchy { parent: root.join(name).join(PARENT), knobs };
        controllers.map(hierarchy).collect()
    } else {
        vec![Hierarchy {
            parent: root.join(PARENT),
            knobs: controllers.flat_map(|(_, knobs)| knobs).collect(),
        }]
    }
}
