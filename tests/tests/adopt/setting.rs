//! What the sentences share: containers that no hook has seen, engines' directories, and calls of `porthole reconcile`.

use std::fs;
use std::path::{Path, PathBuf};

use porthole_tests::bundle::containerd_annotations;
use porthole_tests::tools::{self, Outcome};
use porthole_tests::{Bundle, Container, Node, Runtime};
use serde_json::{Value, json};

/// containerd's state.
pub const CONTAINERD: &str = "/run/engine/containerd";
/// The run root of containers/storage.
pub const STORAGE: &str = "/run/engine/storage";

/// Runs `porthole reconcile` where the engines of these tests have their state.
pub fn run(words: &[&str]) -> Outcome {
    let engines = [
        "--engine-state=runc=/mnt/state/Runc".to_owned(),
        "--engine-state=crun=/mnt/state/Crun".to_owned(),
        format!("--engine-state=containerd={CONTAINERD}"),
        format!("--engine-state=containers-storage={STORAGE}"),
    ];
    let engines: Vec<_> = engines.iter().map(String::as_str).collect();
    tools::porthole(&[&["-o", "json", "reconcile"], &engines[..], words].concat())
}

/// What it did: action and subject of each thing, none of which may have failed.
#[track_caller]
pub fn reconcile() -> Vec<(String, String)> {
    let outcome = run(&[]);
    let done: Value = serde_json::from_str(outcome.expect_success()).unwrap();
    let of = |done: &Value, key: &str| done[key].as_str().unwrap().to_owned();
    done.as_array()
        .unwrap()
        .iter()
        .map(|done| {
            assert_eq!(done["failed"], false, "{done}");
            (of(done, "action"), of(done, "subject"))
        })
        .collect()
}

/// The ids that it adopted, in its order, where it did nothing else.
#[track_caller]
pub fn adopted() -> Vec<String> {
    let done = reconcile();
    assert!(done.iter().all(|(action, _)| action == "adopt"), "{done:?}");
    done.into_iter().map(|(_, id)| id).collect()
}

/// A container of a pod of its own, without hooks.
pub fn unhooked(node: &Node, name: &str) -> Bundle {
    Bundle::of_pod(node, "shop", name, "app", "/none").own_netns().hooked(&[])
}

/// Makes the bundle a task of containerd: its bundle is there.
pub fn task(bundle: Bundle, namespace: &str) -> Bundle {
    let dir: PathBuf = [CONTAINERD, "io.containerd.runtime.v2.task", namespace, &bundle.id].iter().collect();
    bundle.at(dir)
}

/// Runs a task, as containerd does: its pid file is written once the runtime has created it.
pub fn run_task(runtime: Runtime, bundle: &Bundle) -> Container {
    let container = Container::run(runtime, bundle);
    fs::write(bundle.dir.join("init.pid"), container.pid().to_string()).unwrap();
    container
}

/// Deletes a task and its directory.
pub fn delete_task(task: Container) {
    let dir = task.bundle().dir.clone();
    task.delete();
    fs::remove_dir_all(dir).unwrap();
}

/// A sandbox of containerd, which joins the engine's pin.
pub fn sandbox(node: &Node, namespace: &str, pod: &str, netns: &str) -> Bundle {
    let mut annotations = containerd_annotations(namespace, pod, "");
    annotations.remove("io.kubernetes.cri.container-name");
    annotations.insert("io.kubernetes.cri.container-type".to_owned(), "sandbox".into());
    Bundle::new(node).hooked(&[]).annotations(&annotations).netns(netns)
}

/// Annotations of CRI-O.
pub fn cri_o(kind: &str, namespace: &str, pod: &str, sandbox: &str) -> Value {
    json!({
        "io.container.manager": "cri-o",
        "io.kubernetes.cri-o.ContainerType": kind,
        "io.kubernetes.cri-o.SandboxID": sandbox,
        "io.kubernetes.container.name": if kind == "sandbox" { "POD" } else { "app" },
        "io.kubernetes.pod.name": pod,
        "io.kubernetes.pod.namespace": namespace,
        "io.kubernetes.pod.uid": "0b7a3c1e-9d52-4f68-8a3b-2c1d0e9f8a7b",
    })
}

/// The directory of a container in the storage.
pub fn userdata(id: &str) -> PathBuf {
    Path::new(STORAGE).join("overlay-containers").join(id).join("userdata")
}

/// What CRI-O leaves of a sandbox that needs no process.
pub fn sandbox_without_process(node: &Node, namespace: &str, pod: &str, netns: &str) -> String {
    let id = node.new_id();
    let config = json!({
        "annotations": cri_o("sandbox", namespace, pod, &id),
        "hostname": pod,
        "linux": { "namespaces": [{ "type": "network", "path": netns }] },
    });
    fs::create_dir_all(userdata(&id)).unwrap();
    fs::write(userdata(&id).join("config.json"), config.to_string()).unwrap();
    id
}
