//! The limits and the use of a cgroup, as the kernel has them: cgroups(7), v2 and v1.

use porthole_registry::bounded;
use serde::Serialize;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";

/// What a cgroup may use and does use. None where there is no limit, or no such controller.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(crate) struct Usage {
    /// Bytes.
    pub(crate) memory_limit: Option<u64>,
    /// Bytes, page cache included.
    pub(crate) memory_used: Option<u64>,
    /// Processors, as a share of time: 0.5 is half of one.
    pub(crate) cpu_limit: Option<f64>,
    /// CPU time used so far, in seconds.
    pub(crate) cpu_seconds: Option<f64>,
    /// Processes and threads.
    pub(crate) pids_limit: Option<u64>,
    /// Processes and threads.
    pub(crate) pids_used: Option<u64>,
    /// How often the kernel killed a process of it for want of memory.
    pub(crate) oom_kills: Option<u64>,
}

/// Reads them for the cgroup of a process, given its `/proc/PID/cgroup`. In v1 each controller can have another path.
pub(crate) fn usage(membership: &str) -> Usage {
    let path = |wanted: &str| {
        membership.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            controllers.split(',').any(|controller| controller == wanted).then_some(path)
        })
    };
    if let Some(v2) = path("").map(|path| below(Path::new(ROOT), path))
        && v2.join("cgroup.controllers").exists()
    {
        return v2_usage(&|file| read(&v2.join(file)));
    }
    v1_usage(&|controller, file| {
        read(&below(&Path::new(ROOT).join(controller), path(controller)?).join(file))
    })
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn read(path: &Path) -> Option<String> {
    bounded::text(path, bounded::FACTS).ok()
}

/// A number; none for `max`.
fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The value of `key` in lines of `key value`.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| number(line.strip_prefix(key)?.strip_prefix(' ')?))
}

#[expect(clippy::cast_precision_loss, reason = "shown with two decimals")]
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn v2_usage(read: &dyn Fn(&str) -> Option<String>) -> Usage {
    let value = |file: &str| read(file).as_deref().and_then(number);
    let cpu_limit = read("cpu.max").and_then(|text| {
        let (quota, period) = text.trim().split_once(' ')?;
        ratio(number(quota)?, number(period)?)
    });
    Usage {
        memory_limit: value("memory.max"),
        memory_used: value("memory.current"),
        cpu_limit,
        cpu_seconds: read("cpu.stat").and_then(|text| ratio(keyed(&text, "usage_usec")?, 1_000_000)),
        pids_limit: value("pids.max"),
        pids_used: value("pids.current"),
        oom_kills: read("memory.events").and_then(|text| keyed(&text, "oom_kill")),
    }
}

/// v1 says "no limit" for memory by a number close to the largest.
const V1_NO_LIMIT: u64 = i64::MAX.cast_unsigned() - (64 << 10);

fn v1_usage(read: &dyn Fn(&str, &str) -> Option<String>) -> Usage {
    let value = |controller: &str, file: &str| read(controller, file).as_deref().and_then(number);
    let quota = value("cpu", "cpu.cfs_quota_us").zip(value("cpu", "cpu.cfs_period_us"));
    Usage {
        memory_limit: value("memory", "memory.limit_in_bytes").filter(|&limit| limit < V1_NO_LIMIT),
        memory_used: value("memory", "memory.usage_in_bytes"),
        cpu_limit: quota.and_then(|(quota, period)| ratio(quota, period)),
        cpu_seconds: value("cpuacct", "cpuacct.usage").and_then(|ns| ratio(ns, 1_000_000_000)),
        pids_limit: value("pids", "pids.max"),
        pids_used: value("pids", "pids.current"),
        oom_kills: read("memory", "memory.oom_control").and_then(|text| keyed(&text, "oom_kill")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_v2_are_read_and_max_is_none() {
        let usage = v2_usage(&|file| {
            Some(
                match file {
                    "memory.max" => "268435456\n",
                    "memory.current" => "1048576\n",
                    "cpu.max" => "50000 100000\n",
                    "cpu.stat" => "usage_usec 1500000\nuser_usec 1\n",
                    "pids.max" => "max\n",
                    "memory.events" => "oom 3\noom_kill 2\n",
                    _ => return None,
                }
                .to_owned(),
            )
        });
        let want = Usage {
            memory_limit: Some(268_435_456),
            memory_used: Some(1_048_576),
            cpu_limit: Some(0.5),
            cpu_seconds: Some(1.5),
            oom_kills: Some(2),
            ..Usage::default()
        };
        assert_eq!(usage, want);
    }

    #[test]
    fn limits_of_v1_are_read_and_its_largest_number_is_none() {
        let usage = v1_usage(&|controller, file| {
            Some(
                match (controller, file) {
                    ("memory", "memory.limit_in_bytes") => "9223372036854771712\n",
                    ("cpu", "cpu.cfs_quota_us") => "-1\n",
                    ("cpu", "cpu.cfs_period_us") => "100000\n",
                    ("pids", "pids.max") => "64\n",
                    _ => return None,
                }
                .to_owned(),
            )
        });
        assert_eq!(usage, Usage { pids_limit: Some(64), ..Usage::default() });
    }
}
