//! What the sentences share: porthole as it is installed on a node, what it did, and what there is to be left behind.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use porthole_registry::hook_entry::{self, HookPath};
use porthole_registry::json_edit::Document;
use porthole_tests::engine::containerd::{CONFIG, config, ctr, veths};
use porthole_tests::engine::podman::HOOKS;
use porthole_tests::engine::{Containerd, Docker, Pod, docker};
use porthole_tests::process::wait_until;
use porthole_tests::{Netns, Node, leaks, tools};
use serde_json::Value;

/// Where the programs are that engines are told to start.
const PROGRAMS: &str = "/usr/libexec/porthole";

/// The base spec of containerd's containers.
const SPEC: &str = "/etc/containerd/porthole-base.json";

/// Puts the programs where engines look for them.
pub fn put_programs() {
    fs::create_dir_all(PROGRAMS).unwrap();
    for name in ["porthole-hook", "porthole-runtime"] {
        symlink(tools::binary(name), Path::new(PROGRAMS).join(name)).unwrap();
    }
}

/// Takes them away, while engines are still told to start them.
pub fn take_programs_away() {
    fs::remove_dir_all(PROGRAMS).unwrap();
}

/// The hook, in the words of a configuration.
pub fn hook() -> HookPath {
    HookPath::parse(&Path::new(PROGRAMS).join("porthole-hook")).unwrap()
}

/// Has containerd give the hook to application containers, and restarts it.
pub fn hook_containers(containerd: &Containerd) {
    put_programs();
    let mut spec = Document::parse(ctr(&["oci", "spec"]).expect_success().to_owned()).unwrap();
    assert!(hook_entry::add(&mut spec, &hook()).unwrap());
    fs::write(SPEC, spec.into_string()).unwrap();
    // The last table of the configuration is that of the runtime.
    let text = config(major(containerd)) + &format!("        base_runtime_spec = '{SPEC}'\n");
    fs::write(CONFIG, text).unwrap();
    containerd.restart();
}

/// Has containerd start every container through porthole, sandboxes included, and restarts it.
pub fn hook_sandboxes(containerd: &Containerd) {
    put_programs();
    let script = runtime("containerd", "/usr/sbin/runc");
    let plugin =
        if major(containerd) < 2 { "io.containerd.grpc.v1.cri" } else { "io.containerd.cri.v1.runtime" };
    let table = format!("[plugins.'{plugin}'.containerd.runtimes.runc.options]\n  BinaryName = '{script}'\n");
    fs::write(CONFIG, config(major(containerd)) + &table).unwrap();
    containerd.restart();
}

fn major(containerd: &Containerd) -> u32 {
    containerd.version.split('.').next().unwrap().parse().unwrap()
}

/// The script that an engine starts instead of the runtime `real`.
pub fn runtime(engine: &str, real: &str) -> String {
    let script = format!("/etc/porthole/runtime/{engine}-runc");
    let wrapper = format!("{PROGRAMS}/porthole-runtime");
    fs::create_dir_all("/etc/porthole/runtime").unwrap();
    let text = format!(
        "#!/bin/sh\ntest -x {wrapper} && exec {wrapper} --real {real} --hook {} -- \"$@\"\nexec {real} \"$@\"\n",
        hook()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    script
}

/// Has podman call the hook from now on.
pub fn hook_podman() {
    put_programs();
    fs::create_dir_all(HOOKS).unwrap();
    for stage in hook_entry::STAGES {
        let file = Path::new(HOOKS).join(format!("porthole-{stage}.json"));
        fs::write(file, hook_entry::hooks_d(&hook(), stage).to_string()).unwrap();
    }
}

/// Has Docker start containers through porthole from now on, without a restart.
pub fn hook_docker(node: &Node, engine: &Docker) {
    put_programs();
    let script = runtime("docker", "/usr/sbin/runc");
    let runtimes = serde_json::json!({ "porthole": { "path": script } });
    let more =
        serde_json::json!({ "runtimes": runtimes, "default-runtime": "porthole", "live-restore": true });
    fs::write(docker::CONFIG, docker::config(node, &more)).unwrap();
    engine.reload();
    wait_until("the runtime", || engine.info()["DefaultRuntime"] == "porthole");
}

/// Runs `porthole reconcile`, nothing of which may fail: action and subject of each thing that it did.
#[track_caller]
pub fn reconcile() -> Vec<(String, String)> {
    let of = |done: &Value, key: &str| done[key].as_str().unwrap().to_owned();
    let done = json(&["reconcile"]);
    let done = done.as_array().unwrap().iter().map(|done| {
        assert_eq!(done["failed"], false, "{done}");
        (of(done, "action"), of(done, "subject"))
    });
    done.collect()
}

/// Runs `porthole reconcile`, which does nothing but adopt: the ids.
#[track_caller]
pub fn adopted() -> BTreeSet<String> {
    subjects(&["adopt"])
}

/// Runs `porthole reconcile`, which does nothing but see that containers have ended: their ids.
#[track_caller]
pub fn ended() -> BTreeSet<String> {
    // All but the last of a pod leave a pin behind.
    subjects(&["drop-member", "release"])
}

#[track_caller]
fn subjects(actions: &[&str]) -> BTreeSet<String> {
    let done = reconcile();
    assert!(done.iter().all(|(action, _)| actions.contains(&action.as_str())), "{done:?}");
    done.into_iter().map(|(_, subject)| subject).collect()
}

/// Runs `porthole reconcile`, which has nothing to do.
#[track_caller]
pub fn nothing_to_do() {
    let outcome = tools::porthole(&["reconcile"]);
    assert_eq!(outcome.expect_success(), "nothing to do: registry and kernel agree\n");
}

/// What `porthole` prints for programs.
#[track_caller]
pub fn json(words: &[&str]) -> Value {
    let outcome = tools::porthole(&[&["-o", "json"], words].concat());
    serde_json::from_str(outcome.expect_success()).unwrap()
}

/// The row of `porthole list` or `identify` whose record has this id.
#[track_caller]
pub fn row_of<'a>(rows: &'a Value, id: &str) -> &'a Value {
    let row = rows.as_array().unwrap().iter().find(|row| row["record"]["id"] == id);
    row.unwrap_or_else(|| panic!("no {id} in {rows:#}"))
}

/// Pod, namespace, pin, kind and engine of a row.
pub fn summary(row: &Value) -> [&str; 5] {
    let text = |field: &str| row.pointer(field).and_then(Value::as_str).unwrap_or("-");
    ["/pod", "/namespace", "/pin", "/record/kind", "/record/engine"].map(text)
}

/// Names in the pin directory, without those that engines have there.
pub fn pins(node: &Node) -> Vec<String> {
    let mut pins = node.pins();
    pins.retain(|pin| !pin.starts_with("cni-") && !pin.starts_with("netns-"));
    pins
}

/// The pin that a record has.
#[track_caller]
pub fn pin_of(node: &Node, id: &str) -> Option<String> {
    let record = node.record(id).unwrap_or_else(|| panic!("there is no record of {id}"));
    record["pin"]["name"].as_str().map(str::to_owned)
}

/// Asserts that a pod is reached at its name by `ip netns exec` and by `porthole exec`.
#[track_caller]
pub fn is_reached(name: &str, target: &str, ip: &str) {
    let iproute = tools::ip(&["netns", "exec", name, "ip", "-br", "addr"]);
    let porthole = tools::porthole(&["exec", target, "--", "ip", "-br", "addr"]);
    for outcome in [iproute, porthole] {
        let shown = outcome.expect_success();
        assert!(shown.contains(&format!("{ip}/")), "{target} is not at {ip}:\n{shown}");
    }
}

/// The ids of a pod's containers that run, its sandbox first.
pub fn ids_of(pod: &Pod) -> Vec<&str> {
    let running = pod.containers.iter().filter(|container| container.pid != 0);
    std::iter::once(&pod.sandbox).chain(running.map(|container| &container.id)).map(String::as_str).collect()
}

/// What there is on a node that a pod could leave something of.
#[derive(Debug, PartialEq, Eq)]
pub struct Counts {
    mounts: usize,
    files: Vec<String>,
    records: Vec<String>,
    pins: Vec<String>,
    interfaces: Vec<String>,
    namespaces: usize,
}

impl Counts {
    /// Asserts that it is as it was. An engine that cleans up beside its command line gets five seconds.
    #[track_caller]
    pub fn expect(&self, node: &Node) {
        for _ in 0..50 {
            if Self::of(node) == *self {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        assert_eq!(Self::of(node), *self);
    }

    /// As it is now.
    pub fn of(node: &Node) -> Self {
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mut files = leaks::below(node.run_dir());
        files.extend(leaks::below(node.netns_dir()));
        // What `exec` keeps for the next one.
        files.retain(|path| !path.contains("/view"));
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let namespaces: BTreeSet<_> = pids.filter_map(Netns::of).map(|netns| netns.ino).collect();
        Self {
            mounts: mountinfo.lines().filter(|line| !line.contains("/run/porthole/view")).count(),
            files,
            records: node.records(),
            pins: node.pins(),
            interfaces: veths(),
            namespaces: namespaces.len()
                + leaks::nsfs_mounts().iter().filter(|line| line.contains("net:[")).count(),
        }
    }
}
