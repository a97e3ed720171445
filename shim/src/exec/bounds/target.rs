//! The target's cgroup, in every hierarchy that is mounted.

use porthole_registry::bounded;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::super::Target;
use super::super::error::{ExecError, Step};
use super::hierarchy::{CONTROLLERS, ROOT};

/// The lines of the target's `/proc/PID/cgroup` that can be joined.
pub(super) fn memberships(target: &Target) -> Result<Vec<String>, ExecError> {
    let Some(process) = &target.process else {
        return Err(Step::Bounds.refused(
            format!("no process of {} lives, so it has no cgroup to join", target.label),
            "use --cgroup own, or wait for a container to start",
        ));
    };
    let subject = || format!("cgroup of process {}", process.pid);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file =
        openat(&process.proc_dir, "cgroup", flags, Mode::empty()).map_err(Step::Bounds.failed(subject()))?;
    let text = bounded::read(&file, bounded::FACTS).and_then(bounded::utf8);
    let text = text.map_err(Step::Bounds.failed(subject()))?;
    let exists = |door: &Path| door.exists();
    joinable(Path::new(ROOT), &text, exists).map_err(|what| {
        Step::Bounds.refused(format!("{}: {what}", subject()), "use --cgroup own or --cgroup none")
    })
}

/// Opens what has to be written to.
pub(super) fn open(memberships: &[String]) -> Result<Vec<OwnedFd>, ExecError> {
    let exists = |door: &Path| door.exists();
    let doors = memberships.iter().filter_map(|line| door(Path::new(ROOT), line, exists));
    let open = |door: PathBuf| {
        if let Some(directory) = door.parent().filter(|directory| is_frozen(directory)) {
            return Err(Step::Bounds.refused(
                format!("{} is frozen, and so would be what joins it", directory.display()),
                "unpause the container, or use --cgroup own",
            ));
        }
        openat(CWD, &door, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(Step::Bounds.failed(door.display().to_string()))
    };
    doors.map(open).collect()
}

/// Whether processes in the cgroup stand still. Under v1 not even SIGKILL ends one then.
fn is_frozen(cgroup: &Path) -> bool {
    let says = |file: &str, what: &[&str]| {
        bounded::text(cgroup.join(file), bounded::FACTS)
            .is_ok_and(|text| text.lines().any(|line| what.contains(&line.trim())))
    };
    says("freezer.state", &["FROZEN", "FREEZING"]) || says("cgroup.events", &["frozen 1"])
}

/// Hierarchies that are not mounted are left out, unless they bound something.
fn joinable(root: &Path, text: &str, exists: impl Fn(&Path) -> bool) -> Result<Vec<String>, String> {
    let mut lines = Vec::new();
    // Where v2 is in v1's place, whatever is left of v1 bounds nothing.
    let v2 = exists(&root.join("cgroup.controllers"));
    for line in text.lines() {
        let (controllers, path) = parts(line).ok_or_else(|| format!("a line without a path: {line:?}"))?;
        if v2 && !controllers.is_empty() {
            continue;
        }
        if Path::new(path).components().any(|part| part.as_os_str() == "..") {
            return Err(format!("{path} is outside of what this cgroup namespace shows"));
        }
        let bounds = controllers.split(',').any(|controller| CONTROLLERS.contains(&controller));
        match door(root, line, &exists) {
            Some(_) => lines.push(line.to_owned()),
            None if bounds => return Err(format!("{controllers}:{path} is not below {}", root.display())),
            None => {}
        }
    }
    if lines.is_empty() { Err(format!("nothing of it is below {}", root.display())) } else { Ok(lines) }
}

fn parts(line: &str) -> Option<(&str, &str)> {
    line.split_once(':')?.1.split_once(':')
}

/// The file of the cgroup that takes a process. That of v1 moves one thread, which is all there is, and waits for nobody.
fn door(root: &Path, line: &str, exists: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let (controllers, path) = parts(line)?;
    let path = path.trim_start_matches('/');
    let named = controllers.strip_prefix("name=").unwrap_or(controllers);
    let candidates = if controllers.is_empty() {
        vec![root.join(path).join("cgroup.procs"), root.join("unified").join(path).join("cgroup.procs")]
    } else {
        let first = named.split(',').next().unwrap_or_default();
        [named, first].map(|name| root.join(name).join(path).join("tasks")).to_vec()
    };
    candidates.into_iter().find(|door| exists(door))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "9:name=systemd:/pod/x\n8:pids:/pod/x\n4:cpu,cpuacct:/pod/x\n0::/\n";

    fn at(text: &str, there: &[&str]) -> Result<Vec<String>, String> {
        joinable(Path::new("/c"), text, |door| there.iter().any(|t| door == Path::new(t)))
    }

    #[test]
    fn hierarchies_that_bound_something_have_to_be_there_and_others_need_not() {
        let all = ["/c/pids/pod/x/tasks", "/c/cpu,cpuacct/pod/x/tasks", "/c/systemd/pod/x/tasks"];
        let lines = at(V1, &all).unwrap();
        assert_eq!(lines, ["9:name=systemd:/pod/x", "8:pids:/pod/x", "4:cpu,cpuacct:/pod/x"]);
        assert_eq!(at(V1, &all[..2]).unwrap().len(), 2);
        assert!(at(V1, &all[1..]).unwrap_err().contains("pids:/pod/x"));
        let by_first_name = ["/c/pids/pod/x/tasks", "/c/cpu/pod/x/tasks"];
        assert_eq!(at(V1, &by_first_name).unwrap().len(), 2);
    }

    #[test]
    fn of_v2_there_is_one_and_it_has_to_be_there() {
        let lines = at("0::/kubepods/pod1/c1\n", &["/c/kubepods/pod1/c1/cgroup.procs"]).unwrap();
        assert_eq!(lines, ["0::/kubepods/pod1/c1"]);
        let mixed = ["/c/cgroup.controllers", "/c/cgroup.procs"];
        assert_eq!(at(V1, &mixed).unwrap(), ["0::/"]);
        assert!(at("0::/kubepods/pod1/c1\n", &[]).is_err());
        assert!(at("0::/../other\n", &["/c/../other/cgroup.procs"]).unwrap_err().contains("namespace"));
    }
}
