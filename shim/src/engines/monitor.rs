//! Processes that engines start beside containers and that outlive a restart of the engine: containerd's shims, and
//! conmon of CRI-O and podman. Every container that runs has one, so they tell where its
//! state is, whatever the engine's configuration.

use super::command_line::values;
use super::crio::runtime_root;
use super::daemon::{has_hosts_root, is_in_hosts_namespaces, line, link, other_view, place};
use porthole_registry::adopt::StateKind;
use porthole_registry::bounded;
use porthole_registry::host::Host;
use porthole_registry::process::Process;
use std::path::{Path, PathBuf};

/// containerd's directory of tasks, below its state.
const TASKS: &str = "io.containerd.runtime.v2.task";

/// A process that looks after containers. They are its children.
#[derive(Debug)]
pub(crate) struct Monitor {
    pub(crate) process: Process,
    /// The directories of state that it names, as pid 1 or `/proc` has them.
    pub(crate) state: Vec<(StateKind, PathBuf)>,
    /// Whether an OCI runtime that calls hooks runs its containers, and no virtual machine.
    pub(crate) is_of_oci: bool,
    /// Whether its root directory is the host's. Every container can have a process of a monitor's name, with its own root;
    /// so can an engine that is packed with one, as a strict snap is.
    has_hosts_root: bool,
}

fn named(host: &Host) -> Vec<Monitor> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| of(pid, host)).collect()
}

/// All monitors of the host.
pub(crate) fn all(host: &Host) -> Vec<Monitor> {
    let mut found = named(host);
    found.retain(|monitor| monitor.has_hosts_root);
    found
}

/// Those that may be a monitor: by their names, and with a root directory of their own.
pub(crate) fn elsewhere(host: &Host) -> Vec<Monitor> {
    let mut found = named(host);
    found.retain(|monitor| !monitor.has_hosts_root);
    found
}

fn of(pid: i32, host: &Host) -> Option<Monitor> {
    let comm = bounded::text(format!("/proc/{pid}/comm"), bounded::FACTS).ok()?;
    // The kernel cuts comm after 15 bytes.
    let is_shim = comm.trim_end() == "containerd-shim";
    if !is_shim && !matches!(comm.trim_end(), "conmon" | "conmonrs") {
        return None;
    }
    let process = Process::open(pid).ok()?;
    if !is_in_hosts_namespaces(&process, host) {
        return None;
    }
    let words = line(&process)?;
    let (state, is_of_oci) = if is_shim {
        // A multi-call program, or the interpreter of a script, comes before its name.
        let mut names = words.iter().take(2).filter_map(|word| word.rsplit('/').next());
        let program = names.rfind(|name| name.starts_with("containerd-shim"))?;
        let is_of_oci = program == "containerd-shim" || program.starts_with("containerd-shim-runc-");
        // Its working directory is the bundle of its first container.
        let bundle = link(&process, "cwd");
        let state = bundle.as_deref().and_then(task_state).map(|dir| (StateKind::Containerd, dir));
        (state.into_iter().collect(), is_of_oci)
    } else {
        (of_conmon(&words), true)
    };
    let view = other_view(&process, host);
    let state = state.into_iter().map(|(kind, dir)| (kind, place(view.as_ref(), pid, &dir))).collect();
    let has_hosts_root = has_hosts_root(&process);
    Some(Monitor { process, state, is_of_oci, has_hosts_root })
}

/// The directory of state that a task's bundle is in.
fn task_state(bundle: &Path) -> Option<PathBuf> {
    bundle
        .ancestors()
        .find(|dir| dir.file_name().is_some_and(|name| name == TASKS))?
        .parent()
        .map(Path::to_owned)
}

/// The storage that a container's directory is in: `STORAGE/DRIVER-containers/ID/userdata`.
fn storage(userdata: &Path) -> Option<PathBuf> {
    let driver = userdata.parent()?.parent()?;
    let is_drivers = driver.file_name()?.to_str()?.ends_with("-containers");
    (is_drivers && userdata.ends_with("userdata")).then(|| driver.parent().map(Path::to_owned)).flatten()
}

/// The directories on conmon's command line: from its bundle, its pid file, and the `--root` that it gives to the runtime.
fn of_conmon(words: &[String]) -> Vec<(StateKind, PathBuf)> {
    let words = words.get(1..).unwrap_or_default();
    let mut found = Vec::new();
    let mut add = |dir: Option<PathBuf>| {
        found.extend(dir.filter(|dir| dir.is_absolute()).map(|dir| (StateKind::ContainersStorage, dir)));
    };
    values(words, &["--bundle", "-b"]).for_each(|bundle| add(storage(Path::new(bundle))));
    let files = values(words, &["--container-pidfile", "-p"]);
    files.for_each(|file| add(Path::new(file).parent().and_then(storage)));
    let program = values(words, &["--runtime", "-r"]).last().unwrap_or_default();
    let arguments: Vec<_> = values(words, &["--runtime-arg"]).map(str::to_owned).collect();
    found.extend(values(&arguments, &["--root"]).filter_map(|root| runtime_root(program, root)));
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_bundle_tells_where_the_state_is() {
        let task = "/run/k0s/containerd/io.containerd.runtime.v2.task/k8s.io/0f (deleted)";
        assert_eq!(task_state(Path::new(task)), Some("/run/k0s/containerd".into()));
        assert_eq!(task_state(Path::new("/run/k0s")), None);
        let userdata = "/srv/run/overlay-containers/0f/userdata";
        assert_eq!(storage(Path::new(userdata)), Some("/srv/run".into()));
        assert_eq!(storage(Path::new("/srv/run/x/0f/userdata")), None);
        assert_eq!(storage(Path::new("userdata")), None);
    }

    #[test]
    fn conmon_names_the_storages_of_cri_o_and_podman_and_the_root_of_their_runtime() {
        let crio = words(
            "/usr/bin/conmon -b /srv/run/overlay-containers/0f/userdata -c 0f --exit-dir /var/run/crio/exits \
             -P /srv/run/overlay-containers/0f/userdata/conmon-pidfile -p /srv/run/overlay-containers/0f/userdata/pidfile \
             -r /usr/libexec/crio/crun --runtime-arg --root=/run/site-crun --socket-dir-path /var/run/crio -u 0f -s",
        );
        let storage = |dir: &str| (StateKind::ContainersStorage, PathBuf::from(dir));
        assert_eq!(of_conmon(&crio), [storage("/srv/run"), (StateKind::Crun, "/run/site-crun".into())]);
        let podman = words(
            "/usr/bin/conmon --api-version 1 -c 0f -u 0f -r /usr/bin/runc -b /srv/lib/overlay-containers/0f/userdata \
             -p /srv/run/overlay-containers/0f/userdata/pidfile -n web --exit-dir /run/libpod/exits --log-level warning",
        );
        assert_eq!(of_conmon(&podman), [storage("/srv/lib"), storage("/srv/run")]);
        assert_eq!(of_conmon(&words("conmon --version")), []);
    }
}
