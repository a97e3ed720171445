//! OCI bundles over the node's busybox root filesystem.

use std::fs;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    Linux, LinuxBuilder, LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespaceBuilder, LinuxNamespaceType,
    Mount, MountBuilder, Process, ProcessBuilder, RootBuilder, Spec, SpecBuilder,
};
use serde_json::{Map, Value, json};

use crate::{Node, tools};

/// What a container runs unless a test says otherwise.
const SLEEP: [&str; 2] = ["/bin/sleep", "100000"];

/// The stages the hook is installed at, unless a test says otherwise.
pub const STAGES: [&str; 2] = ["createRuntime", "poststop"];

/// A bundle: a directory and the config.json in it.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// Id of its container.
    pub id: String,
    /// The directory.
    pub dir: PathBuf,
    config: Value,
}

impl Bundle {
    /// A container with all its namespaces new and the hook at every stage it needs.
    #[must_use]
    pub fn new(node: &Node) -> Self {
        let id = node.new_id();
        let dir = node.scratch().join("bundles").join(&id);
        let spec = spec(node, &id);
        let config = serde_json::to_value(spec).expect("a spec is JSON");
        Self { id, dir, config }.hooked(&STAGES)
    }

    /// An application container of a pod as containerd makes it: it joins the sandbox's namespaces by path.
    #[must_use]
    pub fn of_pod(node: &Node, namespace: &str, pod: &str, container: &str, netns: &str) -> Self {
        let annotations = containerd_annotations(namespace, pod, container);
        Self::new(node).annotations(&annotations).netns(netns)
    }

    /// Installs the hook at exactly `stages`.
    #[must_use]
    pub fn hooked(mut self, stages: &[&str]) -> Self {
        let path = tools::binary("porthole-hook");
        let hook = |stage: &str| json!([{ "path": path, "args": ["porthole-hook", stage] }]);
        self.config["hooks"] = stages.iter().map(|stage| ((*stage).to_owned(), hook(stage))).collect();
        self
    }

    /// Has every hook of ours read `file`.
    #[must_use]
    pub fn hook_config(mut self, file: &Path) -> Self {
        for hooks in self.config["hooks"].as_object_mut().expect("hooks").values_mut() {
            for hook in hooks.as_array_mut().expect("a list of hooks") {
                let args = hook["args"].as_array_mut().expect("arguments");
                if args[0] == "porthole-hook" {
                    args.splice(1..1, [json!("--config"), json!(file)]);
                }
            }
        }
        self
    }

    /// Puts a shell script before the hook of `stage`, and another after it.
    #[must_use]
    pub fn around(mut self, stage: &str, before: &str, after: &str) -> Self {
        // A hook that does not read its state to the end may kill crun by SIGPIPE.
        let whole = |script: &str| format!("({script}); status=$?; cat > /dev/null; exit $status");
        let shell = |script: &str| json!({ "path": "/bin/sh", "args": ["sh", "-c", whole(script)] });
        let hooks = self.config["hooks"][stage].as_array_mut().expect("a hook at this stage");
        hooks.insert(0, shell(before));
        hooks.push(shell(after));
        self
    }

    /// Replaces the annotations.
    #[must_use]
    pub fn annotations(mut self, annotations: &Map<String, Value>) -> Self {
        self.config["annotations"] = Value::Object(annotations.clone());
        self
    }

    /// Joins the network namespace at `path`.
    #[must_use]
    pub fn netns(mut self, path: &str) -> Self {
        self.namespaces().retain(|ns| ns["type"] != "network");
        self.namespaces().push(json!({ "type": "network", "path": path }));
        self
    }

    /// Has a new network namespace, after one was named.
    #[must_use]
    pub fn own_netns(mut self) -> Self {
        self.namespaces().retain(|ns| ns["type"] != "network");
        self.namespaces().push(json!({ "type": "network" }));
        self
    }

    /// Stays in the network namespace of the runtime.
    #[must_use]
    pub fn host_network(mut self) -> Self {
        self.namespaces().retain(|ns| ns["type"] != "network");
        self
    }

    /// Gives it a user namespace in which its root is host id 100000.
    #[must_use]
    pub fn user_namespace(mut self) -> Self {
        self.namespaces().push(json!({ "type": "user" }));
        let map: LinuxIdMapping = LinuxIdMappingBuilder::default()
            .container_id(0_u32)
            .host_id(100_000_u32)
            .size(65_536_u32)
            .build()
            .expect("an id mapping");
        self.config["linux"]["uidMappings"] = json!([map]);
        self.config["linux"]["gidMappings"] = json!([map]);
        self
    }

    /// Is in another directory.
    #[must_use]
    pub fn at(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = dir.into();
        self
    }

    /// Runs another command.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.config["process"]["args"] = json!(args);
        self
    }

    /// Mounts a host directory at `/out`, for the container to write to.
    #[must_use]
    pub fn with_output(mut self, dir: &Path) -> Self {
        let mount =
            json!({ "destination": "/out", "type": "bind", "source": dir, "options": ["rbind", "rw"] });
        self.config["mounts"].as_array_mut().expect("mounts").push(mount);
        self
    }

    /// Changes anything.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.config);
        self
    }

    /// Its config, as it will be written.
    #[must_use]
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// Its annotations.
    #[must_use]
    pub fn own_annotations(&self) -> Map<String, Value> {
        self.config["annotations"].as_object().cloned().unwrap_or_default()
    }

    /// Writes it to the disk.
    pub fn write(&self) -> &Self {
        fs::create_dir_all(&self.dir).expect("make the bundle");
        fs::write(self.dir.join("config.json"), self.config.to_string()).expect("write config.json");
        self
    }

    /// The state a runtime would hand to a hook.
    #[must_use]
    pub fn state(&self, pid: Option<u32>) -> Value {
        tools::state(&self.id, pid, &self.dir, &self.own_annotations())
    }

    fn namespaces(&mut self) -> &mut Vec<Value> {
        self.config["linux"]["namespaces"].as_array_mut().expect("a list of namespaces")
    }
}

/// The annotations containerd writes for an application container.
#[must_use]
pub fn containerd_annotations(namespace: &str, pod: &str, container: &str) -> Map<String, Value> {
    let pairs = [
        ("container-type", "container"),
        ("container-name", container),
        ("image-name", "example.org/shop/web:1"),
        ("sandbox-id", "5a4db0c5e8f1a9b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c8d7e6f5a4b3"),
        ("sandbox-name", pod),
        ("sandbox-namespace", namespace),
        ("sandbox-uid", "0b7a3c1e-9d52-4f68-8a3b-2c1d0e9f8a7b"),
    ];
    pairs.iter().map(|(key, value)| (format!("io.kubernetes.cri.{key}"), json!(value))).collect()
}

fn spec(node: &Node, id: &str) -> Spec {
    SpecBuilder::default()
        .version("1.0.2")
        .root(RootBuilder::default().path(node.rootfs()).readonly(true).build().expect("a root"))
        .process(process())
        .mounts(mounts())
        .linux(linux(node, id))
        .build()
        .expect("a spec")
}

fn process() -> Process {
    ProcessBuilder::default()
        .terminal(false)
        .args(SLEEP.map(str::to_owned))
        .env(["PATH=/bin".to_owned()])
        .cwd("/")
        .no_new_privileges(true)
        .build()
        .expect("a process")
}

fn mounts() -> Vec<Mount> {
    let of = |kind: &str, at: &str| {
        MountBuilder::default()
            .destination(at)
            .typ(kind)
            .source(kind)
            .options(Vec::new())
            .build()
            .expect("a mount")
    };
    vec![of("proc", "/proc"), of("tmpfs", "/dev"), of("tmpfs", "/tmp")]
}

fn linux(node: &Node, id: &str) -> Linux {
    use LinuxNamespaceType::{Ipc, Mount, Network, Pid, Uts};
    let namespaces = [Pid, Network, Ipc, Uts, Mount]
        .map(|kind| LinuxNamespaceBuilder::default().typ(kind).build().expect("a namespace"));
    LinuxBuilder::default()
        .namespaces(namespaces)
        .cgroups_path(node.cgroup(id))
        .build()
        .expect("a linux section")
}
