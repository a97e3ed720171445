//! Identity of every recorded call of every runtime, against a table written from what the calls were made for.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use porthole_registry::identity::{Files, Identity, Kind, identify};
use porthole_registry::naming::{Template, candidates};
use porthole_registry::oci::{Spec, State};
use serde_json::Value;

/// A recorded call.
struct Call {
    name: String,
    engine: String,
    stdin: Vec<u8>,
    config: Value,
}

impl Call {
    /// `config.json`, where the hook found one.
    fn spec(&self) -> Option<Spec> {
        self.config.get("error").is_none().then(|| Spec::parse(self.config.to_string().as_bytes()).unwrap())
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}

fn calls() -> Vec<Call> {
    let root = fixtures().join("oci-state");
    let directories = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path());
    let files = directories.flat_map(|dir| fs::read_dir(dir).unwrap()).map(|entry| entry.unwrap().path());
    files
        .map(|path| {
            let call: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            Call {
                name: path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned(),
                engine: call["engine"].as_str().unwrap().to_owned(),
                stdin: call["stdin"].as_str().unwrap().into(),
                config: call["config"].clone(),
            }
        })
        .collect()
}

/// A row of the table: engine, kind, name, image, pod, namespace, uid, sandbox.
type Row = [String; 8];

fn table() -> BTreeMap<String, Row> {
    let table = fs::read_to_string(fixtures().join("identity.tsv")).unwrap();
    let rows = table.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let mut columns = line.split('\t').map(str::to_owned);
        let call = columns.next().unwrap();
        (call, columns.collect::<Vec<_>>().try_into().unwrap())
    });
    rows.collect()
}

/// The same eight columns of what was found.
fn row(found: &Identity) -> Row {
    let column = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let pod = found.pod.as_ref();
    let kind = if found.kind == Kind::Sandbox { "sandbox" } else { "container" };
    [
        found.engine.to_string(),
        kind.to_owned(),
        column(found.name.as_deref()),
        column(found.image.as_deref()),
        column(pod.map(|pod| pod.name.as_str())),
        column(pod.and_then(|pod| pod.namespace.as_deref())),
        column(pod.and_then(|pod| pod.uid.as_deref())),
        column(pod.and_then(|pod| pod.sandbox_id.as_deref())),
    ]
}

/// The engines' own files at the time of the calls.
#[derive(Default)]
struct Recorded(BTreeMap<PathBuf, String>);

impl Recorded {
    /// What podman and Docker had on disk; the recordings have only the calls. Names are those that the
    /// recorded commands gave: `--name web`, `--name member`, and an infra container's own.
    fn of(calls: &[Call]) -> Self {
        let mut files = Self::default();
        for call in calls {
            let state: Value = serde_json::from_slice(&call.stdin).unwrap();
            let (id, bundle) = (state["id"].as_str().unwrap(), Path::new(state["bundle"].as_str().unwrap()));
            if call.engine.starts_with("podman") {
                files.0.insert(bundle.join("config.json"), call.config.to_string());
                let cgroup = call.config["linux"]["cgroupsPath"].as_str().unwrap();
                let (name, image) = match (call.config["hostname"].as_str(), call.name.contains("/pod-")) {
                    (Some(_), true) => {
                        (format!("{}-infra", &cgroup.split('/').nth(2).unwrap()[..12]), "pause")
                    }
                    (None, true) => ("member".to_owned(), "distroless"),
                    _ => ("web".to_owned(), "busybox"),
                };
                let metadata =
                    format!(r#"{{\"image-name\":\"localhost/lab/{image}:1\",\"name\":\"{name}\"}}"#);
                let entry =
                    format!(r#"{{"id":"{id}","names":["{name}"],"layer":"x","metadata":"{metadata}"}}"#);
                let index =
                    files.0.entry(bundle.ancestors().nth(2).unwrap().join("containers.json")).or_default();
                *index = format!(
                    "{},{entry}]",
                    if index.is_empty() { "[{}" } else { index.trim_end_matches(']') }
                );
            } else if call.engine.starts_with("docker") {
                let path = format!("/var/lib/docker/containers/{id}/config.v2.json");
                let json = r#"{"Name":"/web","Config":{"Image":"localhost/lab/busybox:1","Labels":{}}}"#;
                files.0.insert(path.into(), json.to_owned());
            }
        }
        files
    }
}

impl Files for Recorded {
    fn read(&self, path: &Path, _: u64) -> Option<Vec<u8>> {
        self.0.get(path).map(|content| content.clone().into_bytes())
    }
}

#[test]
fn every_recorded_call_is_identified_as_the_table_says() {
    let (calls, mut table) = (calls(), table());
    let files = Recorded::of(&calls);
    assert!(calls.len() > 150, "only {} recorded calls were found", calls.len());
    let mut wrong = Vec::new();
    for call in &calls {
        let state = State::parse(&call.stdin).unwrap();
        let found = row(&identify(&state, call.spec().as_ref(), &files));
        let Some(want) = table.remove(&call.name) else {
            wrong.push(format!("{} is not in the table", call.name));
            continue;
        };
        if found != want {
            wrong.push(format!("{}:\n  found {found:?}\n  want  {want:?}", call.name));
        }
    }
    wrong.extend(table.into_keys().map(|name| format!("{name} is in the table but was not recorded")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_call_without_config_json_is_identified_by_what_is_left() {
    let (calls, table) = (calls(), table());
    let files = Recorded::of(&calls);
    let mut wrong = Vec::new();
    for call in &calls {
        let state = State::parse(&call.stdin).unwrap();
        let mut found = row(&identify(&state, None, &files));
        let mut want = table[&call.name].clone();
        if want[0] == "podman" {
            // The pod's id is in the cgroup's path alone; the pod's name of an infra container in its host name.
            (found[6], want[6]) = Default::default();
            if want[1] == "sandbox" {
                (found[4], want[4]) = Default::default();
            }
        }
        if found != want {
            wrong.push(format!("{}:\n  found {found:?}\n  want  {want:?}", call.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_recorded_call_has_a_name_for_its_pin() {
    let calls = calls();
    let files = Recorded::of(&calls);
    for call in &calls {
        let state = State::parse(&call.stdin).unwrap();
        let id = state.id.parse().unwrap();
        let names = candidates(&Template::default(), &identify(&state, call.spec().as_ref(), &files), &id);
        let want = match call.engine.split('-').next().unwrap() {
            "containerd" | "cri" => "p1",
            "podman" if call.name.contains("/pod-") => "p1",
            "podman" | "docker" => "web",
            _ if call.name.contains("/joined-") => "p1",
            _ => id.short(),
        };
        assert_eq!(names[0].as_str(), want, "{}", call.name);
        assert!(names.len() >= 2, "{}: {names:?}", call.name);
    }
}
