//! Taking the demo away, whatever state it is in, and looking for what it may have left.

use crate::exit::ExitCode;
use porthole_registry::bounded;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use serde_json::json;

use super::error::chain;
use super::pod::{CGROUP_PREFIX, Member};
use super::{Error, Places, Pod, runtime};
use crate::{mounts, netlink};

/// How long an emptied cgroup may refuse to go: its dead are buried a moment later.
const PATIENCE: Duration = Duration::from_secs(1);

/// `porthole demo --end`.
pub(super) fn end_kept(places: &Places) -> Result<ExitCode, Error> {
    if !places.demo_dir().exists() {
        return Err(Error::NotRunning);
    }
    take_away(places)?;
    writeln!(io::stdout(), "The demo's pod is gone.").map_err(Error::Output)?;
    Ok(ExitCode::SUCCESS)
}

/// Ends the pod and removes everything the demo made. Goes on after a failure, and may be called at any time, again
/// and by another process than the one that made the pod.
pub(super) fn take_away(places: &Places) -> Result<(), Error> {
    let mut failures = Vec::new();
    if let Some(pod) = Pod::load(places) {
        end_pod(places, &pod, &mut failures);
    }
    let dir = places.demo_dir();
    // The description goes last, and stays when something is left: it is what the next attempt works from.
    if failures.is_empty() {
        note(&mut failures, &dir, remove_tree(&dir));
    }
    if failures.is_empty() { Ok(()) } else { Err(Error::Leftovers(failures)) }
}

/// Deletes the containers as an engine does, the sandbox last, then whatever a broken runtime may have left.
pub(super) fn end_pod(places: &Places, pod: &Pod, failures: &mut Vec<String>) {
    for member in pod.members.iter().rev() {
        let deleted = runtime::delete(places, member);
        for cgroup in cgroups_of(member) {
            note(failures, &cgroup, remove_cgroup(&cgroup));
        }
        // The runtime stumbled before it called the hook, or over something now gone.
        if record(places, member).exists() {
            note(failures, &pod.hook, poststop(places, pod, member));
        }
        let state = runtime::state_dir(places).join(&member.id);
        if let Err(error) = deleted {
            match remove_tree(&state) {
                Ok(()) => {}
                Err(_) => failures.push(chain(&error)),
            }
        }
    }
    // It goes with the namespace, but a moment later.
    if let Err(error) = netlink::delete_link(&pod.veth) {
        failures.push(chain(&error));
    }
    if let Some(before) = &pod.controllers {
        restore_controllers(before);
    }
}

/// What of the pod is still there, in words; empty when all is gone.
pub(super) fn traces(places: &Places, pod: &Pod) -> Result<Vec<String>, Error> {
    let mut found: Vec<PathBuf> = Vec::new();
    for member in &pod.members {
        found.extend(Some(record(places, member)).filter(|path| path.exists()));
        found.extend(cgroups_of(member));
    }
    let mut words: Vec<String> = found.iter().map(|path| path.display().to_string()).collect();
    if netlink::host_links()?.iter().any(|link| link.name == pod.veth) {
        words.push(format!("interface {}", pod.veth));
    }
    Ok(words)
}

/// What the machine has of the kinds of things the demo makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) mounts: usize,
    /// What porthole mounts once and keeps, demo or not: the netns directory, and the view of `exec`.
    pub(super) kept: BTreeSet<PathBuf>,
    pub(super) pins: usize,
    pub(super) records: usize,
    pub(super) index: usize,
    pub(super) interfaces: usize,
    pub(super) cgroups: usize,
}

impl Counts {
    pub(super) fn take(places: &Places) -> Result<Self, Error> {
        let path = Path::new("/proc/self/mountinfo");
        let mounts = mounts::read().map_err(Error::file("read", path))?;
        let (kept, other): (Vec<_>, Vec<_>) = mounts
            .into_iter()
            .map(|mount| mount.point)
            .partition(|point| *point == places.netns_dir || point.starts_with(&places.run_dir));
        Ok(Self {
            mounts: other.len(),
            kept: kept.into_iter().collect(),
            pins: entries(&places.netns_dir).count(),
            records: entries(&places.records()).count(),
            index: entries(&places.run_dir.join("netns")).count(),
            interfaces: netlink::host_links()?.len(),
            cgroups: cgroup_mounts().iter().flat_map(|mount| entries(mount)).filter(is_ours).count(),
        })
    }

    pub(super) fn rows(&self) -> [(&'static str, usize); 6] {
        [
            ("mounts, porthole's own aside", self.mounts),
            ("names in the netns directory", self.pins),
            ("records", self.records),
            ("indexed namespaces", self.index),
            ("host interfaces", self.interfaces),
            ("cgroups of the demo", self.cgroups),
        ]
    }
}

fn is_ours(entry: &fs::DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(CGROUP_PREFIX.as_bytes())
}

/// Where cgroup hierarchies are mounted: one with version 2, one a controller with version 1.
pub(super) fn cgroup_mounts() -> Vec<PathBuf> {
    mounts::of_kinds(&mounts::read().unwrap_or_default(), &["cgroup", "cgroup2"])
}

/// What the root of the version 2 hierarchy passes on to cgroups below it. The runtime turns on all that is there.
pub(super) fn root_controllers() -> Option<String> {
    bounded::text(controllers_file()?, bounded::FACTS).ok()
}

fn controllers_file() -> Option<PathBuf> {
    let mounts = mounts::read().ok()?;
    Some(mounts::of_kinds(&mounts, &["cgroup2"]).first()?.join("cgroup.subtree_control"))
}

/// Best effort: the kernel refuses while somebody else has begun to use a controller, and is right.
fn restore_controllers(before: &str) {
    let (Some(file), Some(now)) = (controllers_file(), root_controllers()) else { return };
    for controller in now.split_whitespace().filter(|c| !before.split_whitespace().any(|b| b == *c)) {
        let _ = fs::write(&file, format!("-{controller}"));
    }
}

fn cgroups_of(member: &Member) -> Vec<PathBuf> {
    let name = member.cgroup();
    cgroup_mounts().into_iter().map(|mount| mount.join(&name)).filter(|path| path.exists()).collect()
}

/// Kills what is in it, then removes it.
fn remove_cgroup(path: &Path) -> io::Result<()> {
    let started = Instant::now();
    loop {
        for pid in bounded::text(path.join("cgroup.procs"), bounded::LISTS).unwrap_or_default().lines() {
            if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
                runtime::kill_process(pid)?;
            }
        }
        match fs::remove_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy && started.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => return Ok(()),
        }
    }
}

fn record(places: &Places, member: &Member) -> PathBuf {
    places.records().join(format!("{}.json", member.id))
}

/// Tells the hook that a container is gone, in the runtime's place.
fn poststop(places: &Places, pod: &Pod, member: &Member) -> io::Result<()> {
    let bundle = places.demo_dir().join(member.role.name());
    let state =
        json!({"ociVersion": "1.0.2", "id": member.id, "status": "stopped", "pid": 0, "bundle": bundle});
    let mut command = Command::new(&pod.hook);
    if let Some(config) = &places.config {
        command.arg("--config").arg(config);
    }
    let mut hook = command.arg("poststop").env_clear().stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let sent = match hook.stdin.take() {
        Some(mut stdin) => stdin.write_all(state.to_string().as_bytes()),
        None => Ok(()),
    };
    let status = hook.wait()?;
    sent?;
    if status.success() { Ok(()) } else { Err(io::Error::other(status.to_string())) }
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn entries(dir: &Path) -> impl Iterator<Item = fs::DirEntry> {
    fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok)
}

fn note(failures: &mut Vec<String>, subject: &Path, outcome: io::Result<()>) {
    if let Err(error) = outcome {
        failures.push(format!("{}: {error}", subject.display()));
    }
}
