//! The look for anything left behind, after every test.

use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::cgroups::Cgroups;

/// Everything that should be gone, one line each.
#[must_use]
pub fn find(netns_dir: &Path, run_dir: &Path, cgroups: &Cgroups) -> Vec<String> {
    // What `exec` keeps for the next one: made once a boot, empty, and no container's.
    let own = ["view/mnt", "view/user"].map(|name| run_dir.join(name).display().to_string());
    let mut left = nsfs_mounts();
    left.retain(|line| !own.iter().any(|own| line.split(' ').nth(5) == Some(own)));
    left.extend(below(netns_dir).into_iter().map(|path| format!("in the pin directory: {path}")));
    let kept = [
        "lock",
        "names",
        "containers",
        "netns",
        "going",
        "idle",
        "adopted",
        "quarantine",
        "view",
        "view/mnt",
        "view/user",
    ];
    for path in below(run_dir) {
        let relative = path.strip_prefix(&format!("{}/", run_dir.display())).unwrap_or(&path);
        if !kept.contains(&relative) {
            left.push(format!("in the registry: {path}"));
        }
    }
    left.extend(cgroups.left().iter().map(|dir| format!("cgroup: {}", dir.display())));
    left.extend(processes());
    left
}

/// Mounts of namespaces anywhere in the node.
#[must_use]
pub fn nsfs_mounts() -> Vec<String> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").expect("read mountinfo");
    mountinfo.lines().filter(|line| line.contains(" - nsfs ")).map(|line| format!("mount: {line}")).collect()
}

/// How many mounts of namespaces there are in the pin directory, those on top of another included.
///
/// Each is there a second time below the directory's own mount, which is a peer of `/run`'s as iproute2
/// makes it: those copies come and go with the originals, and are not counted.
#[must_use]
pub fn pin_mounts(netns_dir: &Path) -> usize {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").expect("read mountinfo");
    let mounts: Vec<Vec<&str>> = mountinfo.lines().map(|line| line.split(' ').collect()).collect();
    let nsfs = |mount: &&Vec<&str>| mount.windows(2).any(|pair| pair == ["-", "nsfs"]);
    let top = mounts.iter().rfind(|mount| netns_dir == Path::new(mount[4]));
    let parents: Vec<_> = mounts.iter().filter(nsfs).chain(top).map(|mount| mount[0]).collect();
    mounts
        .iter()
        .filter(nsfs)
        .filter(|mount| Path::new(mount[4]).starts_with(netns_dir) && parents.contains(&mount[1]))
        .count()
}

/// Every path below `dir`, itself excluded.
#[must_use]
pub fn below(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        found.push(entry.path().display().to_string());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(below(&entry.path()));
        }
    }
    found.sort();
    found
}

/// Processes other than the test and the node's pid 1; those that are ending get a moment.
fn processes() -> Vec<String> {
    let until = Instant::now() + Duration::from_secs(2);
    loop {
        let left = others();
        if left.is_empty() || Instant::now() > until {
            return left;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn others() -> Vec<String> {
    let me = std::process::id();
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != 1 && *pid != me)
        .map(|pid| {
            let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("process: {pid} {}", comm.trim())
        })
        .collect()
}
