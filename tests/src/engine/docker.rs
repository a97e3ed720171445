//! Docker, on the containerd of its release, as Debian's packages set it up.

use std::process::{Command, Stdio};
use std::thread;

use serde_json::{Value, json};

use super::service::Service;
use super::{BUSYBOX, Release, Started, containerd, images, system};
use crate::Node;
use crate::tools::{Outcome, run};

/// The configuration of the engine.
pub const CONFIG: &str = "/etc/docker/daemon.json";

/// A running Docker.
#[derive(Debug)]
pub struct Docker {
    /// The exact version.
    pub version: String,
    /// Its daemon.
    pub service: Service,
    /// containerd's, where this has started one.
    containerd: Option<Service>,
}

/// A configuration as sites have it: what a node without a firewall needs, and with what is in `more`.
#[must_use]
pub fn config(node: &Node, more: &Value) -> String {
    let mut config = json!({
        "cgroup-parent": node.cgroup("").trim_end_matches('/'),
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "ip6tables": false,
        "iptables": false,
        "log-driver": "json-file",
        "log-opts": { "max-size": "10m" },
        "storage-driver": "overlay2",
        "userland-proxy": false,
    });
    for (key, value) in more.as_object().expect("settings are an object") {
        config[key] = value.clone();
    }
    format!("{config:#}\n")
}

impl Docker {
    /// Starts `version`, or one that begins with it, with [`config`].
    #[must_use]
    pub fn start(node: &Node, version: &str) -> Self {
        Self::configured(node, version, &config(node, &json!({})))
    }

    /// Starts `version` with another configuration, made from [`config`].
    #[must_use]
    pub fn configured(node: &Node, version: &str, text: &str) -> Self {
        let cgroup = node.cgroup("");
        assert!(
            text.contains(cgroup.trim_end_matches('/')),
            "containers would not be in a cgroup of the node"
        );
        let release = Release::with("docker.io", version).unwrap_or_else(|why| panic!("{why}"));
        system::put(&release, "/usr/sbin/dockerd");
        system::put(&release, "/usr/bin/docker");
        let containerd =
            (!std::path::Path::new(containerd::SOCKET).exists()).then(|| start_containerd(&release));
        super::write(CONFIG, text);
        let command = format!("/usr/sbin/dockerd --containerd={}", containerd::SOCKET);
        let docker = Self { version: release.version, service: Service::new("docker", &command), containerd };
        docker.service.call("start");
        docker.wait_ready();
        docker.call(&["load", "--quiet", "--input", &images()]).expect_success();
        docker
    }

    /// Restarts the daemon, and waits until it answers; it stops its containers unless it is set to `live-restore`.
    #[track_caller]
    pub fn restart(&self) {
        self.service.call("restart");
        self.wait_ready();
    }

    /// Has the daemon read its configuration again.
    pub fn reload(&self) {
        self.service.call("reload");
    }

    /// Waits until it answers.
    #[track_caller]
    pub fn wait_ready(&self) {
        self.service.wait_for("dockerd", || self.call(&["version"]).status.success());
    }

    /// All that the daemon has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.service.log()
    }

    /// Runs `docker` with `args`.
    #[must_use]
    pub fn call(&self, args: &[&str]) -> Outcome {
        let mut command = Command::new("/usr/bin/docker");
        command.args(args).stdin(Stdio::null()).env("HOME", "/mnt").env_remove("DOCKER_HOST");
        run(command)
    }

    /// What the daemon says of itself.
    #[track_caller]
    #[must_use]
    pub fn info(&self) -> Value {
        let outcome = self.call(&["info", "--format", "{{json .}}"]);
        serde_json::from_str(outcome.expect_success()).expect("information in JSON")
    }

    /// Starts a container of [`BUSYBOX`]; `options` are those of `docker run`, `command` may be empty.
    #[track_caller]
    #[must_use]
    pub fn run(&self, name: &str, options: &[&str], command: &[&str]) -> Started {
        let start = ["run", "--detach", "--name", name];
        self.call(&[&start, options, &[BUSYBOX], command].concat()).expect_success();
        self.inspect(name)
    }

    /// A container as it is now.
    #[track_caller]
    #[must_use]
    pub fn inspect(&self, container: &str) -> Started {
        Started::inspect(container, |words| self.call(words))
    }

    /// Removes a container, killing it first.
    #[track_caller]
    pub fn rm(&self, container: &str) {
        self.call(&["rm", "--force", "--volumes", container]).expect_success();
    }
}

/// The containerd of the same release, without the CRI.
fn start_containerd(release: &Release) -> Service {
    let release = release.sibling("containerd").expect("a release has both");
    containerd::put(&release.version);
    super::write(containerd::CONFIG, "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n");
    let service = Service::new("containerd", "/usr/bin/containerd");
    service.call("start");
    service.wait_for("containerd", || containerd::ctr(&["version"]).status.success());
    service
}

impl Drop for Docker {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.service.call("stop");
            self.containerd.iter().for_each(|service| service.call("stop"));
        }
    }
}
