//! podman with pods and containers on its own bridge. There is no daemon: every call is a process.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::json;

use super::{BUSYBOX, PAUSE, Release, Started, images, system};
use crate::Node;
use crate::cgroups::Cgroups;
use crate::tools::{Outcome, run};

/// The hooks directory that podman reads, and that is not made here: a machine may not have it.
pub const HOOKS: &str = "/usr/share/containers/oci/hooks.d";

const CGROUP: &str = "podman";

/// podman on a node.
#[derive(Debug)]
pub struct Podman {
    /// The exact version.
    pub version: String,
    cgroup: String,
    cgroups: Cgroups,
}

/// A pod.
#[derive(Clone, Debug)]
pub struct PodmanPod {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// Its infra container, which has the pod's network.
    pub infra: Started,
}

impl Podman {
    /// Puts `version`, or one that begins with it, on the node, with the images.
    #[must_use]
    pub fn new(node: &Node, version: &str) -> Self {
        let release = Release::with("podman", version).unwrap_or_else(|why| panic!("{why}"));
        system::put(&release, "/usr/bin/podman");
        system::put(&release, "/usr/bin/conmon");
        system::copy(&release, "/usr/bin/crun");
        // Older ones insist on a firewall, which the kernel may not have.
        let networks = Release::with("netavark", "1.14").unwrap_or_else(|why| panic!("{why}"));
        system::put(&networks, "/usr/lib/podman/netavark");
        configure();
        let (cgroup, cgroups) = (node.cgroup(CGROUP), Cgroups::new(node.token()));
        let podman = Self { version: release.version, cgroup, cgroups };
        podman.call(&["load", "--quiet", "--input", &images()]).expect_success();
        podman
    }

    /// A call of podman, to be completed.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new("/usr/bin/podman");
        command.stdin(Stdio::null()).env("HOME", "/mnt");
        command
    }

    /// Runs `podman` with `args`.
    #[must_use]
    pub fn call(&self, args: &[&str]) -> Outcome {
        let mut command = self.command();
        command.args(args);
        run(command)
    }

    /// Makes and starts a pod with nothing but its infra container. `options` are those of `podman pod create`.
    #[track_caller]
    #[must_use]
    pub fn pod_create(&self, name: &str, options: &[&str]) -> PodmanPod {
        let create = ["pod", "create", "--name", name, "--cgroup-parent", &self.cgroup];
        let id = self.call(&[&create[..], options].concat()).expect_success().trim().to_owned();
        self.call(&["pod", "start", name]).expect_success();
        let infra = self.call(&["pod", "inspect", "--format", "{{.InfraContainerID}}", name]);
        PodmanPod { name: name.to_owned(), id, infra: self.inspect(infra.expect_success().trim()) }
    }

    /// Starts a container of [`BUSYBOX`]; `options` are those of `podman run`, `command` may be empty.
    #[track_caller]
    #[must_use]
    pub fn run(&self, name: &str, options: &[&str], command: &[&str]) -> Started {
        let mut start = vec!["run", "--detach", "--name", name];
        if !options.iter().any(|option| option.starts_with("--pod")) {
            start.extend(["--cgroup-parent", &self.cgroup]);
        }
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
        self.call(&["rm", "--force", "--time", "0", container]).expect_success();
    }

    /// Removes a pod with its containers.
    #[track_caller]
    pub fn pod_rm(&self, pod: &str) {
        self.call(&["pod", "rm", "--force", "--time", "0", pod]).expect_success();
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // With version 1 of cgroups, it leaves those of its pods and of its monitors. One that is in use stays.
        self.cgroups.remove_empty(CGROUP);
    }
}

fn configure() {
    let limits = fs::read_to_string("/proc/self/limits").expect("read the limits");
    let hard = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).expect("a limit");
        line[name.len()..].split_whitespace().nth(1).expect("a hard limit").replace("unlimited", "-1")
    };
    // Without CAP_SYS_RESOURCE a limit can only be lowered, and podman's own are higher than most.
    let (files, processes) = (hard("Max open files"), hard("Max processes"));
    let text = format!(
        r#"# podman of this node
[containers]
default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]
log_driver = "k8s-file"

[engine]
cgroup_manager = "cgroupfs"
env = ["NETAVARK_FW=none", "PODMAN_IGNORE_CGROUPSV1_WARNING=1"]
events_logger = "file"
helper_binaries_dir = ["/usr/lib/podman"]
infra_image = "{PAUSE}"
runtime = "crun"

[network]
network_backend = "netavark"
"#
    );
    super::write("/etc/containers/containers.conf", &text);
    let storage = r#"[storage]
driver = "overlay"
graphroot = "/var/lib/containers/storage"
runroot = "/run/containers/storage"
"#;
    super::write("/etc/containers/storage.conf", storage);
    super::write("/etc/containers/registries.conf", "unqualified-search-registries = []\n");
    let policy = json!({ "default": [{ "type": "insecureAcceptAnything" }] });
    super::write("/etc/containers/policy.json", &format!("{policy:#}\n"));
}
