//! Every recorded hook call of every engine, made again byte for byte: the same standard input, directory, umask
//! and environment, with a live process that has the recorded pid and the recorded namespaces.

#![allow(clippy::unwrap_used, reason = "what fails here is the test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use porthole_tests::node::tmpfs;
use porthole_tests::pod::EnginePin;
use porthole_tests::process::Sleeper;
use porthole_tests::{HookRun, Netns, Node, leaks, on_a_node, tools};
use serde_json::{Value, json};

/// One recorded call.
struct Call {
    file: String,
    stage: String,
    json: Value,
    state: Value,
}

impl Call {
    fn read(path: &Path) -> Self {
        let json: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let state = serde_json::from_str(json["stdin"].as_str().unwrap()).unwrap();
        let file = path.strip_prefix(fixtures().join("oci-state")).unwrap().to_str().unwrap().to_owned();
        Self { file, stage: json["stage"].as_str().unwrap().to_owned(), json, state }
    }

    fn id(&self) -> &str {
        self.state["id"].as_str().unwrap()
    }

    fn pid(&self) -> Option<u32> {
        self.state["pid"].as_u64().filter(|pid| *pid > 0).map(|pid| pid.try_into().unwrap())
    }

    fn bundle(&self) -> &Path {
        Path::new(self.state["bundle"].as_str().unwrap())
    }

    /// Whether its process shared a namespace with the hook.
    fn shares(&self, kind: &str) -> bool {
        self.json["process"]["ns"][kind] == self.json["hook"]["ns"][kind]
    }

    /// The path of the network namespace in config.json.
    fn netns_path(&self) -> Option<&str> {
        let namespaces = self.json["config"]["linux"]["namespaces"].as_array()?;
        namespaces.iter().find(|ns| ns["type"] == "network")?["path"].as_str()
    }

    /// Its place in a container's life, over all containers of a case: the sandbox comes first and goes last.
    fn order(&self) -> (usize, &str) {
        let stages = ["createRuntime", "prestart", "poststart", "poststop"];
        (stages.iter().position(|stage| *stage == self.stage).unwrap(), self.second())
    }

    fn second(&self) -> &str {
        if self.file.ends_with("-2.json") { "2" } else { "1" }
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// What the table beside the recordings says of each call: engine, kind, name, pod, namespace.
fn table() -> BTreeMap<String, [String; 5]> {
    let text = fs::read_to_string(fixtures().join("identity.tsv")).unwrap();
    let rows = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let columns: Vec<_> = line.split('\t').map(str::to_owned).collect();
        (columns[0].clone(), [1, 2, 3, 5, 6].map(|at| columns[at].clone()))
    });
    rows.collect()
}

/// The cases of the directories that start with one of `engines`, each with its calls in order.
fn cases(engines: &[&str]) -> BTreeMap<String, Vec<Call>> {
    let mut cases: BTreeMap<String, Vec<Call>> = BTreeMap::new();
    for dir in fs::read_dir(fixtures().join("oci-state")).unwrap().map(|entry| entry.unwrap().path()) {
        let name = dir.file_name().unwrap().to_str().unwrap().to_owned();
        if !engines.iter().any(|engine| name.starts_with(engine)) {
            continue;
        }
        for file in fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()) {
            let call = Call::read(&file);
            // The two halves of one pod's life were recorded as two cases.
            let case = call.json["case"]
                .as_str()
                .unwrap()
                .replace("pod-removed-member-then-infra", "pod-infra-then-member");
            cases.entry(format!("{name}/{case}")).or_default().push(call);
        }
    }
    for calls in cases.values_mut() {
        calls.sort_by(|a, b| a.order().cmp(&b.order()));
    }
    cases
}

/// The machine around a case: its processes and the engine's pins.
#[derive(Default)]
struct World {
    processes: BTreeMap<u32, Sleeper>,
    pins: BTreeMap<String, EnginePin>,
}

impl World {
    /// Makes what a call needs that is not there yet.
    fn prepare(&mut self, call: &Call) {
        let bundle = call.bundle();
        if call.json["config"].get("error").is_none() {
            fs::create_dir_all(bundle).unwrap();
            fs::write(bundle.join("config.json"), call.json["config"].to_string()).unwrap();
        }
        fs::create_dir_all(call.json["hook"]["cwd"].as_str().unwrap()).unwrap();
        self.write_engine_files(call);
        let Some(pid) = call.pid().filter(|pid| !self.processes.contains_key(pid)) else { return };
        let sleep = ["/bin/busybox", "sleep", "100000"];
        let net: &[&str] = if call.shares("net") { &[] } else { &["--net"] };
        let mut command = Vec::new();
        if let Some(path) = call.netns_path() {
            let sandbox = path.strip_prefix("/proc/").and_then(|rest| rest.split('/').next()?.parse().ok());
            let start = [&["unshare", "--ipc", "--uts"][..], net, &sleep].concat();
            match sandbox {
                Some(sandbox) if !self.processes.contains_key(&sandbox) => {
                    self.processes.insert(sandbox, Sleeper::with_pid(sandbox, &start));
                }
                None if !self.pins.contains_key(path) => {
                    let first = if net.is_empty() { Sleeper::start() } else { Sleeper::unshared(net) };
                    self.pins.insert(path.to_owned(), EnginePin::mount(first.pid(), path));
                }
                _ => {}
            }
            command = vec!["nsenter".to_owned(), format!("--net={path}")];
        }
        command.extend(["unshare", "--mount", "--ipc", "--uts"].map(str::to_owned));
        if call.netns_path().is_none() {
            command.extend(net.iter().map(|flag| (*flag).to_owned()));
        }
        if !call.shares("user") {
            command.push("--user".to_owned());
        }
        command.extend(sleep.map(str::to_owned));
        let command: Vec<_> = command.iter().map(String::as_str).collect();
        let mut process = Sleeper::with_pid(pid, &command);
        if call.json["process"]["state"] == "Z" {
            process.end_unreaped();
        }
        self.processes.insert(pid, process);
    }

    /// What podman and Docker had on disk; the recordings have only the calls.
    fn write_engine_files(&self, call: &Call) {
        let id = call.id();
        if call.file.starts_with("docker") {
            let dir = Path::new("/var/lib/docker/containers").join(id);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("config.v2.json"), json!({ "Name": "/web", "Config": {} }).to_string())
                .unwrap();
        } else if call.file.starts_with("podman") {
            let index = call.bundle().ancestors().nth(2).unwrap().join("containers.json");
            let known = fs::read(&index).ok().and_then(|text| serde_json::from_slice(&text).ok());
            let mut known: Vec<Value> = known.unwrap_or_default();
            let cgroup = call.json["config"]["linux"]["cgroupsPath"].as_str().unwrap_or_default();
            let name = match (call.json["config"]["hostname"].is_string(), call.file.contains("/pod-")) {
                (true, true) => format!("{}-infra", &cgroup.split('/').nth(2).unwrap()[..12]),
                (false, true) => "member".to_owned(),
                _ => "web".to_owned(),
            };
            known.retain(|entry| entry["id"] != id);
            known.push(json!({ "id": id, "names": [name], "metadata": json!({ "name": name }).to_string() }));
            fs::write(index, json!(known).to_string()).unwrap();
        }
    }
}

fn make(call: &Call) -> tools::Outcome {
    let hook = &call.json["hook"];
    let umask = u32::from_str_radix(hook["umask"].as_str().unwrap().trim_start_matches("0o"), 8).unwrap();
    let run = HookRun::new(&call.stage, call.json["stdin"].as_str().unwrap())
        .cwd(hook["cwd"].as_str().unwrap())
        .umask(umask);
    let variables = hook["env"].as_array().unwrap().iter().filter_map(|pair| pair.as_str()?.split_once('='));
    variables.fold(run, |run, (name, value)| run.env(name, value)).run()
}

fn is_registered(node: &Node, call: &Call, want: &[String; 5]) {
    let record = node.record(call.id()).unwrap_or_else(|| panic!("{}: no record", call.file));
    let [engine, kind, name, pod, namespace] =
        want.each_ref().map(|text| if text == "-" { json!(null) } else { json!(text) });
    let known = |found: &Value, want: &Value, what: &str| assert_eq!(found, want, "{}: {what}", call.file);
    known(&record["engine"], &engine, "engine");
    known(&record["kind"], &kind, "kind");
    known(&record["name"], &name, "name");
    known(&record["pod"]["name"], &pod, "pod");
    known(&record["pod"]["namespace"], &namespace, "namespace");
    known(&record["pid"], &json!(call.pid()), "pid");
    known(&record["namespaces"]["net"]["host"], &json!(call.shares("net")), "host network");
    known(&record["namespaces"]["user"]["host"], &json!(call.shares("user")), "host user namespace");
    if call.shares("net") {
        assert!(record["pin"].is_null(), "{}: pinned the host's network: {record}", call.file);
        return;
    }
    let pin = pod.as_str().or(name.as_str()).unwrap_or(&call.id()[..call.id().len().min(12)]);
    known(&record["pin"]["name"], &json!(pin), "pin");
    let netns = Netns::of(call.pid().unwrap());
    assert_eq!(node.pin(pin), netns, "{}: the pin is the container's namespace", call.file);
}

fn replay(node: &Node, name: &str, calls: &[Call], table: &BTreeMap<String, [String; 5]>) {
    let mut world = World::default();
    for call in calls {
        if call.stage == "poststop" {
            // Its process has ended, and nothing of the pod but the sandbox is known to be there.
            let same = |other: &&Call| other.id() == call.id();
            let pids = calls.iter().filter(same).filter_map(Call::pid);
            pids.for_each(|pid| drop(world.processes.remove(&pid)));
        }
        world.prepare(call);
        let before = node.record(call.id());
        let outcome = make(call);
        assert!(outcome.status.success(), "{}: {outcome:?}", call.file);
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""), "{}", call.file);
        node.expect_silence(&call.file);
        let zombie = call.json["process"]["state"] == "Z";
        match call.stage.as_str() {
            "poststop" => assert!(node.record(call.id()).is_none(), "{}: still recorded", call.file),
            _ if zombie => assert_eq!(node.record(call.id()), before, "{}", call.file),
            _ => is_registered(node, call, &table[&call.file]),
        }
    }
    drop(world);
    tools::reconcile();
    assert_eq!((node.records(), node.pins()), (vec![], vec![]), "{name}: after the pod's end");
    assert_eq!(leaks::nsfs_mounts(), Vec::<String>::new(), "{name}");
}

fn replay_all(node: &Node, engines: &[&str], at_least: usize) {
    // Where podman, Docker and the runtimes had their bundles.
    tmpfs("/var/lib", "mode=755");
    let (cases, table) = (cases(engines), table());
    let count: usize = cases.values().map(Vec::len).sum();
    assert!(count >= at_least, "{count} recorded calls of {engines:?}, expected {at_least}");
    for (name, calls) in &cases {
        replay(node, name, calls, &table);
    }
}

fn calls_by_containerd(node: &Node) {
    replay_all(node, &["containerd"], 46);
}

fn calls_by_cri_o(node: &Node) {
    replay_all(node, &["cri-o"], 18);
}

fn calls_by_docker(node: &Node) {
    replay_all(node, &["docker"], 10);
}

fn calls_by_podman(node: &Node) {
    replay_all(node, &["podman"], 40);
}

fn calls_by_runc_alone(node: &Node) {
    replay_all(node, &["runc"], 22);
}

fn calls_by_crun_alone(node: &Node) {
    replay_all(node, &["crun"], 30);
}

on_a_node!(requires(root, ip, unshare, nsenter):
    calls_by_containerd,
    calls_by_cri_o,
    calls_by_docker,
    calls_by_podman,
    calls_by_runc_alone,
    calls_by_crun_alone,
);

#[test]
fn every_recorded_call_is_replayed() {
    let dirs = fs::read_dir(fixtures().join("oci-state")).unwrap().map(|dir| dir.unwrap().path());
    let all: usize = dirs.map(|dir| fs::read_dir(dir).unwrap().count()).sum();
    let replayed = cases(&["containerd", "cri-o", "docker", "podman", "runc", "crun"]);
    assert_eq!(replayed.values().map(Vec::len).sum::<usize>(), all);
    assert!(all >= 171, "{all} recorded calls");
}
