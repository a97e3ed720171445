//! Whether the process that has a number now is the one whose number it was.

use super::{Candidate, Claim, Evidence};
use crate::process::{Process, ProcessError};
use std::time::{Duration, SystemTime};

/// Start times count ticks of ten milliseconds, files are stamped by a clock of the kernel's timer, and the wall clock may
/// be slewed in between. No kernel hands a number out again in so short a time unless it has gone through all others.
const SLACK: Duration = Duration::from_secs(2);

/// The container's process, if it still lives.
///
/// Where the state tells when the process started, that decides. Where it tells a number only, a process is believed for
/// its cgroup, which its runtime named after the container; engines can be told to name it otherwise, or to make none.
/// Then it has to be as old as the file with its number: a process that came to the number later started after that
/// was written.
pub(super) fn process(candidate: &Candidate) -> Result<Option<Process>, ProcessError> {
    let Some(Claim { pid, evidence }) = candidate.process else { return Ok(None) };
    let process = match Process::open(pid) {
        Ok(process) => process,
        Err(ProcessError::Gone(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let is_it = match evidence {
        Evidence::Start(start) => process.start() == start,
        Evidence::Written(written) => {
            in_cgroup_of(&process, candidate.id.as_str())
                || process.started_at().is_some_and(|started| is_as_old(started, written, SystemTime::now()))
        }
    };
    Ok(is_it.then_some(process))
}

/// A time of writing that is yet to come says that the clock was set back, and nothing else.
fn is_as_old(started: SystemTime, written: SystemTime, now: SystemTime) -> bool {
    written <= now + SLACK && started <= written + SLACK
}

fn in_cgroup_of(process: &Process, id: &str) -> bool {
    // A short id, given by hand, is part of too many words.
    let text = process.read("cgroup").unwrap_or_default();
    String::from_utf8_lossy(&text).lines().any(|line| names(line, id))
}

/// Whether a part of the cgroup's path is the id, or is made of it: `cri-containerd-ID.scope`, `libpod-ID`, `crio-ID`.
fn names(path: &str, id: &str) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    path.match_indices(id).any(|(at, _)| {
        let rest = &path[at + id.len()..];
        !is_word(path[..at].chars().next_back()) && !is_word(rest.chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    #[test]
    fn a_cgroup_is_a_containers_if_its_id_is_a_word_of_the_path() {
        let id = "0123456789abcdef";
        for path in [
            "4:memory:/k8s.io/0123456789abcdef",
            "0::/kubepods.slice/cri-containerd-0123456789abcdef.scope",
            "0::/machine.slice/libpod-0123456789abcdef.scope/container",
            "1:name=systemd:/kubepods/pod1/crio-0123456789abcdef",
            "0::/system.slice:docker:0123456789abcdef",
        ] {
            assert!(names(path, id), "{path}");
        }
        for path in ["0::/k8s.io/0123456789abcdef0", "0::/x0123456789abcdef", "0::/", ""] {
            assert!(!names(path, id), "{path}");
        }
        assert!(!names("0::/user.slice/session-c12.scope", "c1"));
    }

    #[test]
    fn a_process_younger_than_its_pid_file_is_another_one() {
        let at = |secs| UNIX_EPOCH + Duration::from_secs(secs);
        assert!(is_as_old(at(100), at(100), at(1000)));
        assert!(is_as_old(at(50), at(100), at(1000)));
        assert!(is_as_old(at(101), at(100), at(1000)), "within what clocks differ");
        assert!(!is_as_old(at(103), at(100), at(1000)));
        assert!(!is_as_old(at(100), at(2000), at(1000)), "the clock was set back");
    }

    #[test]
    fn one_s_own_start_is_in_the_past_and_not_long_ago() {
        let me = Process::open(i32::try_from(std::process::id()).unwrap()).unwrap();
        let age = SystemTime::now().duration_since(me.started_at().unwrap()).unwrap();
        assert!(age < Duration::from_secs(600), "{age:?}");
    }
}
