//! containerd, its configuration and its daemon. Its pods: [`super::pods`].

use std::sync::Mutex;
use std::{fs, thread};

use serde_json::{Value, json};

use super::cri::{Cri, Reply};
use super::service::Service;
use super::{PAUSE, Release, images, system};
use crate::tools::{Outcome, run};
use crate::{Node, tools};

/// Where containerd listens.
pub const SOCKET: &str = "/run/containerd/containerd.sock";

/// The configuration of the engine.
pub const CONFIG: &str = "/etc/containerd/config.toml";

/// The interface of the node that pods are connected to.
pub const BRIDGE: &str = "cni0";

/// How long a call that has to work is repeated while the engine starts.
const PATIENCE: u32 = 20;

/// A running containerd, with the CRI.
#[derive(Debug)]
pub struct Containerd {
    /// The exact version.
    pub version: String,
    /// Its daemon.
    pub service: Service,
    pub(super) cgroup: String,
    socket: String,
    idle: Mutex<Vec<Cri>>,
}

/// A configuration as sites have it, for a version with this major number: the version that its tables are of, comments,
/// settings that nobody else knows.
#[must_use]
pub fn config(major: u32) -> String {
    // Without CAP_SYS_RESOURCE nobody may lower the score, and no sandbox would start.
    let may_lower = fs::write("/proc/self/oom_score_adj", "-998").is_ok();
    let restrict = !may_lower;
    if may_lower {
        fs::write("/proc/self/oom_score_adj", "0").expect("raise oom_score_adj");
    }
    if major < 2 {
        return format!(
            r#"# containerd of this node
version = 2

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    sandbox_image = "{PAUSE}"   # from our own registry
    restrict_oom_score_adj = {restrict}
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "/usr/lib/cni"
      conf_dir = "/etc/cni/net.d"
    [plugins."io.containerd.grpc.v1.cri".containerd]
      default_runtime_name = "runc"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
        runtime_type = "io.containerd.runc.v2"
"#
        );
    }
    format!(
        r#"# containerd of this node
version = 3

[plugins]
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = '{PAUSE}'   # from our own registry

  [plugins.'io.containerd.cri.v1.runtime']
    restrict_oom_score_adj = {restrict}
    [plugins.'io.containerd.cri.v1.runtime'.cni]
      bin_dirs = ['/usr/lib/cni']
      conf_dir = '/etc/cni/net.d'
    [plugins.'io.containerd.cri.v1.runtime'.containerd]
      default_runtime_name = 'runc'
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
        runtime_type = 'io.containerd.runc.v2'
"#
    )
}

/// Puts the programs of a version where they belong. Says which version that is.
pub(super) fn put(version: &str) -> Release {
    let release = Release::with("containerd", version).unwrap_or_else(|why| panic!("{why}"));
    for program in ["containerd", "containerd-shim-runc-v2", "ctr"] {
        system::put(&release, &format!("/usr/bin/{program}"));
    }
    system::copy(&release, "/usr/sbin/runc");
    release
}

/// Gives the node the network that connects its pods.
pub(super) fn network(release: &Release) {
    system::put(release, "/usr/lib/cni");
    let network = json!({ "cniVersion": "1.0.0", "name": "pods", "plugins": [{
        "type": "bridge", "bridge": BRIDGE, "isGateway": true,
        "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.88.0.0/16" }]] },
    }] });
    super::write("/etc/cni/net.d/10-pods.conflist", &format!("{network:#}\n"));
}

/// Runs `ctr` with `args`.
#[must_use]
pub fn ctr(args: &[&str]) -> Outcome {
    ctr_of("/usr/bin/ctr", args)
}

/// Runs the `ctr` at `program`.
pub(super) fn ctr_of(program: &str, args: &[&str]) -> Outcome {
    let mut command = std::process::Command::new(program);
    command.args(args);
    run(command)
}

impl Containerd {
    /// Starts `version`, or one that begins with it, with [`config`].
    #[must_use]
    pub fn start(node: &Node, version: &str) -> Self {
        Self::configured(node, version, None)
    }

    /// Starts `version` with another configuration.
    #[must_use]
    pub fn configured(node: &Node, version: &str, text: Option<&str>) -> Self {
        Self::told(node, version, text, "")
    }

    /// Starts `version` with another configuration, and with `words` on its command line.
    #[must_use]
    pub fn told(node: &Node, version: &str, text: Option<&str>, words: &str) -> Self {
        let release = put(version);
        super::write(CONFIG, text.unwrap_or(&config(release.number().0)));
        network(&release);
        let service = Service::new("containerd", format!("/usr/bin/containerd {words}").trim_end());
        let containerd = Self::of(node, release.version, service, SOCKET);
        containerd.service.call("start");
        containerd.wait_ready();
        ctr(&["-n", "k8s.io", "images", "import", &images()]).expect_success();
        containerd
    }

    /// A containerd that is started by `service`.
    pub(super) fn of(node: &Node, version: String, service: Service, socket: &str) -> Self {
        let cgroup = node.cgroup("");
        let cgroup = cgroup.trim_end_matches('/').to_owned();
        Self { version, service, cgroup, socket: socket.to_owned(), idle: Mutex::default() }
    }

    /// Restarts the daemon, and waits until it answers; pods live on.
    #[track_caller]
    pub fn restart(&self) {
        self.idle.lock().expect("no call panics").clear();
        self.service.call("restart");
        self.wait_ready();
    }

    /// Stops the daemon; pods live on.
    pub fn stop(&self) {
        self.service.call("stop");
    }

    /// Waits until it can start pods.
    #[track_caller]
    pub fn wait_ready(&self) {
        self.service.wait_for("containerd", || {
            let status = self.with_client(|cri| cri.patiently("Status", &json!({}), PATIENCE));
            // It answers before it can do anything.
            let Ok(Reply { fields: status, .. }) = status else { return false };
            let conditions = status["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.len() >= 2 && conditions.iter().all(|condition| condition["status"] == true)
        });
    }

    /// All that the daemon has said so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.service.log()
    }

    /// Calls `method` of the CRI. Calls from several threads are made side by side.
    ///
    /// # Errors
    /// What the engine says.
    pub fn try_call(&self, method: &str, fields: &Value) -> Result<Reply, String> {
        self.with_client(|cri| cri.call(method, fields))
    }

    /// Calls `method`, which has to work.
    #[track_caller]
    pub fn call(&self, method: &str, fields: &Value) -> Reply {
        self.try_call(method, fields).unwrap_or_else(|e| panic!("{e}\n{}", self.service.last_words()))
    }

    fn with_client<T>(&self, with: impl FnOnce(&mut Cri) -> T) -> T {
        let idle = self.idle.lock().expect("no call panics").pop();
        let mut cri = idle.unwrap_or_else(|| Cri::connect(&self.socket));
        let result = with(&mut cri);
        self.idle.lock().expect("no call panics").push(cri);
        result
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.idle.lock().expect("no call panics").clear();
            self.service.call("stop");
        }
    }
}

/// The node's interfaces that lead to pods.
#[must_use]
pub fn veths() -> Vec<String> {
    let links = tools::ip(&["-o", "link", "show", "type", "veth"]);
    links.expect_success().lines().map(str::to_owned).collect()
}
