//! CRI pods of containerd, on a CNI bridge: what a kubelet asks for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::BUSYBOX;
use super::containerd::{Containerd, ctr};
use crate::pod::Netns;
use crate::process::wait_until;

/// What a pod is like that is not one container with an address of its own.
#[derive(Clone, Debug)]
pub struct PodOptions {
    /// How many application containers it has, called `c0`, `c1`, …; none is what a pod has whose image cannot be pulled.
    pub containers: u32,
    /// On the node's own network.
    pub host_network: bool,
    /// In the node's own pid namespace.
    pub host_pid: bool,
    /// How often `c0` has been started and has ended at once; after that it is not running, as in `CrashLoopBackOff`.
    pub crashes: u32,
    /// Another uid than the one that is made from namespace and name.
    pub uid: Option<String>,
    /// How often the sandbox was made anew.
    pub attempt: u32,
    /// More annotations of the pod.
    pub annotations: Vec<(String, String)>,
    /// What containers run, if not the image's command.
    pub command: Vec<String>,
    /// The image of the containers.
    pub image: String,
    /// The runtime of the engine's configuration; the default one if empty.
    pub handler: String,
}

impl Default for PodOptions {
    fn default() -> Self {
        Self {
            containers: 1,
            host_network: false,
            host_pid: false,
            crashes: 0,
            uid: None,
            attempt: 0,
            annotations: Vec::new(),
            command: Vec::new(),
            image: BUSYBOX.to_owned(),
            handler: String::new(),
        }
    }
}

/// A pod that was started.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Its namespace, of Kubernetes.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Id of its sandbox.
    pub sandbox: String,
    /// Pid of the sandbox's process.
    pub pid: u32,
    /// Where the engine has pinned its network namespace; `None` on the node's own network.
    pub netns_path: Option<PathBuf>,
    /// Its address, empty on the node's own network.
    pub ip: String,
    /// Its application containers that were started last, by name.
    pub containers: Vec<PodContainer>,
    /// What the calls that started it took, added up: `RunPodSandbox`, then `CreateContainer` and `StartContainer` of each.
    pub took: Duration,
    config: Value,
}

/// An application container.
#[derive(Clone, Debug)]
pub struct PodContainer {
    /// `c0`, `c1`, …
    pub name: String,
    /// How often it was made anew.
    pub attempt: u32,
    /// Its id.
    pub id: String,
    /// Pid of its process; 0 when it has ended.
    pub pid: u32,
}

impl Pod {
    /// Its network namespace, as its sandbox has it.
    #[must_use]
    pub fn netns(&self) -> Netns {
        Netns::of(self.pid).expect("the sandbox lives")
    }
}

impl Containerd {
    /// Starts a pod and looks at it.
    #[track_caller]
    #[must_use]
    pub fn run_pod(&self, namespace: &str, name: &str, options: &PodOptions) -> Pod {
        let mut pod = self.run_sandbox(namespace, name, options);
        for n in 0..options.containers {
            let name = format!("c{n}");
            let crashes = if n == 0 { options.crashes } else { 0 };
            for attempt in 0..crashes {
                let ended = self.run_container(&mut pod, &name, attempt, &["/bin/false"], &options.image);
                wait_until("the container to end", || self.state_of(&ended) == "CONTAINER_EXITED");
            }
            if crashes == 0 {
                let command: Vec<_> = options.command.iter().map(String::as_str).collect();
                self.run_container(&mut pod, &name, 0, &command, &options.image);
            }
        }
        for container in &mut pod.containers {
            container.pid = self.pid_of(container);
        }
        pod
    }

    /// Starts a pod's sandbox alone.
    #[track_caller]
    #[must_use]
    pub fn run_sandbox(&self, namespace: &str, name: &str, options: &PodOptions) -> Pod {
        let (config, uid) = self.sandbox_config(namespace, name, options);
        let reply =
            self.call("RunPodSandbox", &json!({ "config": config, "runtime_handler": options.handler }));
        let sandbox = text(&reply.fields["pod_sandbox_id"]);
        let status =
            self.call("PodSandboxStatus", &json!({ "pod_sandbox_id": sandbox, "verbose": true })).fields;
        let info = info(&status);
        let spaces = info["runtimeSpec"]["linux"]["namespaces"].as_array().cloned().unwrap_or_default();
        let netns = spaces.iter().find(|space| space["type"] == "network").map(|space| text(&space["path"]));
        Pod {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid,
            sandbox,
            pid: pid(&info),
            netns_path: netns.filter(|path| !path.is_empty()).map(PathBuf::from),
            ip: text(&status["status"]["network"]["ip"]),
            containers: Vec::new(),
            took: reply.elapsed,
            config,
        }
    }

    fn sandbox_config(&self, namespace: &str, name: &str, options: &PodOptions) -> (Value, String) {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let uid = options.uid.clone().unwrap_or_else(|| format!("{count:08x}-1d0e-4aa5-9a3c-6b0f5a7d2c11"));
        let mode = |host: bool, own: &str| if host { "NODE" } else { own }.to_owned();
        let annotations: Map<_, _> =
            options.annotations.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        let config = json!({
            "metadata": { "name": name, "namespace": namespace, "uid": uid, "attempt": options.attempt },
            "hostname": if options.host_network { "" } else { name },
            "labels": labels(namespace, name, &uid),
            "annotations": annotations,
            "log_directory": format!("/mnt/logs/{namespace}_{name}_{uid}"),
            "linux": { "cgroup_parent": self.cgroup, "security_context": { "namespace_options": {
                "network": mode(options.host_network, "POD"), "pid": mode(options.host_pid, "CONTAINER"),
            } } },
        });
        (config, uid)
    }

    /// Starts a container in a pod, in place of one of the same name; `command` may be empty.
    #[track_caller]
    pub fn run_container(
        &self,
        pod: &mut Pod,
        name: &str,
        attempt: u32,
        command: &[&str],
        image: &str,
    ) -> PodContainer {
        let mut labels = labels(&pod.namespace, &pod.name, &pod.uid);
        labels["io.kubernetes.container.name"] = name.into();
        let config = json!({
            "metadata": { "name": name, "attempt": attempt },
            "image": { "image": image },
            "command": command,
            "labels": labels,
            "annotations": { "io.kubernetes.container.restartCount": attempt.to_string() },
            "log_path": format!("{name}/{attempt}.log"),
            "linux": { "security_context": pod.config["linux"]["security_context"] },
        });
        let fields = json!({ "pod_sandbox_id": pod.sandbox, "config": config, "sandbox_config": pod.config });
        let created = self.call("CreateContainer", &fields);
        let id = text(&created.fields["container_id"]);
        let started = self.call("StartContainer", &json!({ "container_id": id }));
        pod.took += created.elapsed + started.elapsed;
        let container = PodContainer { name: name.to_owned(), attempt, id, pid: 0 };
        pod.containers.retain(|other| other.name != name);
        pod.containers.push(container.clone());
        container
    }

    /// Kills the process of a container, as if it had crashed, and waits until the engine knows.
    pub fn kill_container(&self, container: &PodContainer) {
        let pid = self.pid_of(container).try_into().ok().and_then(rustix::process::Pid::from_raw);
        let pid = pid.expect("the container lives");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("kill a container");
        wait_until("the container to end", || self.state_of(container) == "CONTAINER_EXITED");
    }

    /// Removes a container that has ended, or not.
    pub fn remove_container(&self, container: &PodContainer) {
        self.call("RemoveContainer", &json!({ "container_id": container.id }));
    }

    /// Stops a pod as a kubelet does: its containers, then its sandbox, with its network. What the calls took.
    pub fn stop_pod(&self, pod: &Pod) -> Duration {
        let stop = |container: &PodContainer| {
            self.call("StopContainer", &json!({ "container_id": container.id, "timeout": 1 })).elapsed
        };
        let containers: Duration = pod.containers.iter().map(stop).sum();
        containers + self.call("StopPodSandbox", &json!({ "pod_sandbox_id": pod.sandbox })).elapsed
    }

    /// Removes a pod, all of its containers included; stops it first. What the calls took.
    pub fn remove_pod(&self, pod: &Pod) -> Duration {
        self.stop_pod(pod) + self.call("RemovePodSandbox", &json!({ "pod_sandbox_id": pod.sandbox })).elapsed
    }

    /// Removes every pod.
    pub fn remove_all(&self) {
        for id in self.pods().into_keys() {
            self.call("StopPodSandbox", &json!({ "pod_sandbox_id": id }));
            self.call("RemovePodSandbox", &json!({ "pod_sandbox_id": id }));
        }
    }

    /// Every pod there is: `NAMESPACE/NAME` by id of the sandbox.
    #[must_use]
    pub fn pods(&self) -> BTreeMap<String, String> {
        let list = self.call("ListPodSandbox", &json!({})).fields;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let name = |item: &Value| {
            format!("{}/{}", text(&item["metadata"]["namespace"]), text(&item["metadata"]["name"]))
        };
        items.iter().map(|item| (text(&item["id"]), name(item))).collect()
    }

    /// Runs a command in a container; its output.
    pub fn exec(&self, container: &PodContainer, command: &[&str]) -> String {
        let id = container.id.as_str();
        // The protocol has bytes in base64: the file's way is shorter.
        let args = ["-n", "k8s.io", "tasks", "exec", "--exec-id", &format!("x{}", std::process::id()), id];
        ctr(&[&args[..], command].concat()).expect_success().to_owned()
    }

    /// `CONTAINER_RUNNING`, `CONTAINER_EXITED`, …
    #[must_use]
    pub fn state_of(&self, container: &PodContainer) -> String {
        let status = self.call("ContainerStatus", &json!({ "container_id": container.id })).fields;
        status["status"]["state"].as_str().unwrap_or("CONTAINER_CREATED").to_owned()
    }

    fn pid_of(&self, container: &PodContainer) -> u32 {
        let fields = json!({ "container_id": container.id, "verbose": true });
        let status = self.call("ContainerStatus", &fields).fields;
        if status["status"]["state"] == "CONTAINER_RUNNING" { pid(&info(&status)) } else { 0 }
    }
}

fn labels(namespace: &str, name: &str, uid: &str) -> Value {
    json!({
        "io.kubernetes.pod.namespace": namespace,
        "io.kubernetes.pod.name": name,
        "io.kubernetes.pod.uid": uid,
    })
}

/// What a verbose status says beyond the protocol.
fn info(status: &Value) -> Value {
    serde_json::from_str(status["info"]["info"].as_str().unwrap_or("{}")).expect("the engine's own JSON")
}

fn pid(info: &Value) -> u32 {
    info["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
