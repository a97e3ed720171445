//! The demo's pod as data: its containers, written as containerd's CRI plugin writes them.

use porthole_registry::bounded;
use std::fs::{self, File};
use std::io::Read;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Error, Places};

/// The pod's name, and its pin's where nobody else has it.
pub(super) const NAME: &str = "hello";
/// The pod's Kubernetes namespace.
pub(super) const NAMESPACE: &str = "demo";
/// Both, as a target.
pub(super) const QUALIFIED: &str = "demo/hello";
/// Where the server listens.
pub(super) const PORT: u16 = 8080;
/// Beginning of the demo's cgroups, one a container, directly below the root.
pub(super) const CGROUP_PREFIX: &str = "porthole-demo-";
const NOBODY: u32 = 65534;
const IMAGE: &str = "localhost/porthole-demo:latest";
const KEPT: &str = "pod.json";

/// What a container of the pod is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    /// Holds the namespaces that the others join.
    Sandbox,
    /// The server.
    App,
    /// Waits.
    Sidecar,
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::App => "app",
            Self::Sidecar => "sidecar",
        }
    }
}

/// One container of the pod.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) role: Role,
    pub(super) id: String,
}

impl Member {
    pub(super) fn cgroup(&self) -> String {
        format!("{CGROUP_PREFIX}{}", &self.id[..12])
    }
}

/// Everything needed to make the pod, and to take it away again from another process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Pod {
    pub(super) uid: String,
    pub(super) members: Vec<Member>,
    /// The host's end of the pod's interface.
    pub(super) veth: String,
    pub(super) host_address: Ipv4Addr,
    pub(super) address: Ipv4Addr,
    pub(super) hook: PathBuf,
    /// What `cgroup.subtree_control` of the root said before, where there is one.
    pub(super) controllers: Option<String>,
    /// Whether it is meant to outlive the command.
    pub(super) kept: bool,
}

impl Pod {
    /// A new pod with ids that nobody has.
    pub(super) fn plan(
        hook: &Path,
        addresses: (Ipv4Addr, Ipv4Addr),
        controllers: Option<String>,
    ) -> Result<Self, Error> {
        let mut random = [0; 112];
        let source = Path::new("/dev/urandom");
        File::open(source)
            .and_then(|mut f| f.read_exact(&mut random))
            .map_err(Error::file("read", source))?;
        let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let (ids, rest) = text.split_at(3 * 64);
        let members = [Role::Sandbox, Role::App, Role::Sidecar]
            .into_iter()
            .zip(ids.as_bytes().chunks(64))
            .map(|(role, id)| Member { role, id: String::from_utf8_lossy(id).into_owned() })
            .collect();
        let uid = format!(
            "{}-{}-4{}-8{}-{}",
            &rest[..8],
            &rest[8..12],
            &rest[13..16],
            &rest[17..20],
            &rest[20..32]
        );
        Ok(Self {
            uid,
            members,
            veth: format!("vethdemo{}", &rest[26..32]),
            host_address: addresses.0,
            address: addresses.1,
            hook: hook.to_owned(),
            controllers,
            kept: false,
        })
    }

    /// The pod that is running or was left; None when its description was never written.
    pub(super) fn load(places: &Places) -> Option<Self> {
        let text = bounded::file(places.demo_dir().join(KEPT), bounded::FACTS).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Written before anything is made, so that everything made can be found.
    pub(super) fn save(&self, places: &Places) -> Result<(), Error> {
        let path = places.demo_dir().join(KEPT);
        let text = json!(self).to_string();
        fs::write(&path, text).map_err(Error::file("write", &path))
    }

    pub(super) fn member(&self, role: Role) -> &Member {
        let found = self.members.iter().find(|member| member.role == role);
        found.unwrap_or(&self.members[0])
    }

    fn annotations(&self, member: &Member) -> Value {
        let mut annotations = json!({
            "io.kubernetes.cri.container-type": if member.role == Role::Sandbox { "sandbox" } else { "container" },
            "io.kubernetes.cri.sandbox-id": self.member(Role::Sandbox).id,
            "io.kubernetes.cri.sandbox-name": NAME,
            "io.kubernetes.cri.sandbox-namespace": NAMESPACE,
            "io.kubernetes.cri.sandbox-uid": self.uid,
        });
        if member.role != Role::Sandbox {
            annotations["io.kubernetes.cri.container-name"] = member.role.name().into();
            annotations["io.kubernetes.cri.image-name"] = IMAGE.into();
        }
        annotations
    }

    /// The OCI configuration of a member; `sandbox_pid` is what the others join.
    pub(super) fn config(
        &self,
        member: &Member,
        program: &Path,
        places: &Places,
        sandbox_pid: Option<i32>,
    ) -> Value {
        let duty = if member.role == Role::App { "__demo-server" } else { "__demo-wait" };
        let mut config = json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": NOBODY, "gid": NOBODY},
                "args": ["/porthole", duty],
                "env": ["PATH=/"],
                "cwd": "/",
                "noNewPrivileges": true,
                "capabilities": {"bounding": [], "effective": [], "inheritable": [], "permitted": [], "ambient": []},
            },
            "root": {"path": "rootfs", "readonly": true},
            "mounts": mounts(program),
            "hooks": self.hooks(places),
            "annotations": self.annotations(member),
            "linux": {
                "cgroupsPath": format!("/{}", member.cgroup()),
                "namespaces": namespaces(sandbox_pid),
            },
        });
        if sandbox_pid.is_none() {
            config["hostname"] = NAME.into();
        }
        config
    }

    fn hooks(&self, places: &Places) -> Value {
        let stage = |name: &str| {
            let mut args = vec!["porthole-hook".to_owned()];
            if let Some(config) = &places.config {
                args.extend(["--config".to_owned(), config.display().to_string()]);
            }
            args.push(name.to_owned());
            json!([{"path": self.hook, "args": args}])
        };
        json!({
            "createRuntime": stage("createRuntime"),
            "poststop": stage("poststop"),
        })
    }
}

/// The program is bound, not copied: `/run` is often mounted noexec, and memory.
fn mounts(program: &Path) -> Value {
    json!([
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
        {"destination": "/porthole", "type": "bind", "source": program, "options": ["bind", "ro", "nosuid", "nodev"]},
    ])
}

fn namespaces(sandbox_pid: Option<i32>) -> Value {
    let shared = |kind: &str, file: &str| match sandbox_pid {
        Some(pid) => json!({"type": kind, "path": format!("/proc/{pid}/ns/{file}")}),
        None => json!({"type": kind}),
    };
    json!([
        {"type": "pid"},
        {"type": "mount"},
        shared("network", "net"),
        shared("ipc", "ipc"),
        shared("uts", "uts"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Pod {
        let addresses = (Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 18, 0, 2));
        Pod::plan(Path::new("/usr/libexec/porthole/porthole-hook"), addresses, None).unwrap()
    }

    fn places() -> Places {
        Places {
            run_dir: "/run/porthole".into(),
            netns_dir: "/run/netns".into(),
            config: Some("/c.toml".into()),
        }
    }

    #[test]
    fn the_qualified_name_is_made_of_both_names() {
        assert_eq!(QUALIFIED, format!("{NAMESPACE}/{NAME}"));
    }

    #[test]
    fn every_member_has_an_id_of_its_own_and_the_sandbox_comes_first() {
        let pod = pod();
        assert_eq!(pod.members.len(), 3);
        assert_eq!(pod.members[0].role, Role::Sandbox);
        assert!(pod.members.iter().all(|m| m.id.len() == 64 && m.id.bytes().all(|b| b.is_ascii_hexdigit())));
        assert_ne!(pod.member(Role::App).id, pod.member(Role::Sidecar).id);
        assert!(pod.veth.len() <= 15 && pod.uid.len() == 36);
    }

    #[test]
    fn the_configurations_are_what_the_oci_types_accept() {
        let pod = pod();
        for member in &pod.members {
            let pid = (member.role != Role::Sandbox).then_some(42);
            let config = pod.config(member, Path::new("/usr/bin/porthole"), &places(), pid);
            let spec: oci_spec::runtime::Spec = serde_json::from_value(config).unwrap();
            assert_eq!(spec.hostname().is_some(), pid.is_none());
        }
    }

    #[test]
    fn app_and_sidecar_join_the_network_of_the_sandbox() {
        let pod = pod();
        let config = pod.config(pod.member(Role::App), Path::new("/p"), &places(), Some(42));
        let namespaces = config["linux"]["namespaces"].as_array().unwrap();
        assert!(namespaces.contains(&json!({"type": "network", "path": "/proc/42/ns/net"})));
        assert!(namespaces.contains(&json!({"type": "mount"})));
    }

    #[test]
    fn the_hooks_get_the_configuration_that_porthole_got() {
        let args = &pod().hooks(&places())["poststop"][0]["args"];
        assert_eq!(*args, json!(["porthole-hook", "--config", "/c.toml", "poststop"]));
    }
}
