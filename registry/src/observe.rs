//! From a live container to its record: what the kernel says, completed by what its configuration says.
//! Reads only; nothing here changes anything.

use crate::container_id::ContainerId;
use crate::error::{Error, Step};
use crate::host::{Host, boot_id};
use crate::identity::Identity;
use crate::namespace::NamespaceKind;
use crate::oci::Spec;
use crate::process::Process;
use crate::record::{NamespaceRecord, Record, SCHEMA, Security};
use crate::stage::Stage;
use crate::text::line;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The longest path that the kernel opens, with its NUL: PATH_MAX.
const LONGEST_PATH: usize = 4096;
/// The number of bits in a set of capabilities.
const CAPABILITIES: usize = 64;
/// Twice the length of the longest name of a capability.
const LONGEST_CAPABILITY: usize = 48;

/// What to make a record of.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The container.
    pub id: ContainerId,
    /// Its bundle.
    pub bundle: &'a Path,
    /// The names that its engine gave it.
    pub identity: Identity,
    /// Its configuration, where that could be read.
    pub spec: Option<&'a Spec>,
    /// On whose behalf.
    pub stage: Stage,
}

/// Makes the record of a live container, and opens its network namespace unless that is the host's.
///
/// # Errors
/// When the process has ended meanwhile, or its namespaces may not be looked at.
pub fn observe(
    subject: Subject<'_>,
    process: &Process,
    host: &Host,
) -> Result<(Record, Option<OwnedFd>), Error> {
    let pid = process.pid();
    let Subject { id, bundle, identity, spec, stage } = subject;
    let mut namespaces = namespaces(process, host)?;
    let netns = match namespaces.get_mut(&NamespaceKind::Net) {
        Some(net) if !net.host => {
            let fd = process
                .open_namespace(NamespaceKind::Net)
                .map_err(Step::OpenNamespace.on(net.path.clone()))?;
            // The process may have moved between the look and the open; the descriptor is what will be pinned.
            net.id =
                crate::namespace::NamespaceId::of(&fd).map_err(Step::OpenNamespace.on(net.path.clone()))?;
            Some(fd)
        }
        _ => None,
    };
    let record = Record {
        schema: SCHEMA,
        id,
        bundle: recordable(bundle).unwrap_or_default(),
        engine: identity.engine,
        kind: identity.kind,
        pid,
        pid_start: process.start(),
        boot_id: boot_id().map_err(Step::BootId.on("/proc/sys/kernel/random/boot_id"))?,
        created: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        stage,
        name: identity.name,
        image: identity.image,
        pod: identity.pod,
        namespaces,
        cgroup: cgroup(process),
        rootfs: spec.and_then(|spec| rootfs(spec, bundle)),
        security: spec.map(asked_for).unwrap_or_default(),
        pin: None,
        original: None,
    };
    Ok((record, netns))
}

/// What is final only once the container's own program runs. Labels are not of it: what config.json asks for is what it
/// gets, while the process may still show the runtime's own, even at poststart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Final {
    cgroup: Option<String>,
}

impl Final {
    /// Of a process.
    pub fn observe(process: &Process) -> Self {
        Self { cgroup: cgroup(process) }
    }

    /// Brings the record up to date; what is not known stays as it is.
    pub fn write(self, record: &mut Record, stage: Stage) {
        record.stage = stage;
        if let Some(cgroup) = self.cgroup {
            record.cgroup = Some(cgroup);
        }
    }
}

/// The path of the container's network namespace in its own configuration.
pub fn holder(spec: &Spec) -> Option<PathBuf> {
    let path = PathBuf::from(spec.namespace("network")?.path.as_ref()?);
    (path.is_absolute() && path.as_os_str().len() < LONGEST_PATH).then_some(path)
}

fn namespaces(process: &Process, host: &Host) -> Result<BTreeMap<NamespaceKind, NamespaceRecord>, Error> {
    let mut namespaces = BTreeMap::new();
    for kind in NamespaceKind::ALL {
        let path = format!("/proc/{}/ns/{kind}", process.pid());
        match process.namespace(kind) {
            Ok(id) => {
                let host = host.namespace(kind) == Some(id);
                namespaces.insert(kind, NamespaceRecord { path, id, host });
            }
            // A kind that this kernel has not; a process that has ended says so for all of them.
            Err(Errno::NOENT | Errno::SRCH) if process.is_alive() => {}
            Err(Errno::NOENT | Errno::SRCH) => {
                return Err(crate::process::ProcessError::Gone(process.pid()).into());
            }
            Err(errno) => return Err(Step::OpenNamespace.on(path)(errno)),
        }
    }
    Ok(namespaces)
}

/// The cgroup: the path in the v2 hierarchy, or where that is the root (a hybrid machine) the one in a
/// v1 hierarchy that all runtimes use: cgroups(7), "/proc files".
pub fn cgroup(process: &Process) -> Option<String> {
    parse_cgroup(&String::from_utf8_lossy(&process.read("cgroup").ok()?))
}

fn parse_cgroup(text: &str) -> Option<String> {
    let mut v1 = None;
    for line in text.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        match controllers {
            "" if path != "/" => return whole(path),
            "memory" | "pids" if path != "/" => v1 = Some(path),
            _ => {}
        }
    }
    v1.and_then(whole)
}

/// A cgroup or a label is recorded whole or not at all: a part of it names another.
fn whole(text: &str) -> Option<String> {
    (text.len() < LONGEST_PATH).then(|| line(text))
}

fn rootfs(spec: &Spec, bundle: &Path) -> Option<PathBuf> {
    recordable(&bundle.join(spec.root.path.as_ref()?)).filter(|path| path.is_absolute())
}

/// A path that the kernel can open and a record can hold.
fn recordable(path: &Path) -> Option<PathBuf> {
    path.to_str().filter(|text| text.len() < LONGEST_PATH).map(PathBuf::from)
}

/// The name of a capability, if it can be one.
fn capability(name: &str) -> Option<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (name.len() <= LONGEST_CAPABILITY && name.chars().all(is_name)).then(|| name.to_owned())
}

fn asked_for(spec: &Spec) -> Security {
    let process = &spec.process;
    let root_of = |maps: &[crate::oci::IdMapping]| {
        maps.iter().find(|map| map.container_id == Some(0)).and_then(|map| map.host_id)
    };
    let owner = root_of(&spec.linux.uid_mappings).zip(root_of(&spec.linux.gid_mappings));
    Security {
        selinux: process.selinux_label.as_deref().and_then(whole),
        apparmor: process.apparmor_profile.as_deref().and_then(whole),
        no_new_privileges: process.no_new_privileges,
        uid: process.user.uid.unwrap_or_default(),
        gid: process.user.gid.unwrap_or_default(),
        capabilities: process
            .capabilities
            .bounding
            .iter()
            .filter_map(|name| capability(name))
            .take(CAPABILITIES)
            .collect(),
        seccomp: spec.linux.seccomp.0,
        userns_owner: owner.map(|(uid, gid)| [uid, gid]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup_is_that_of_v2_and_of_v1_where_v2_is_not_in_use() {
        assert_eq!(parse_cgroup("0::/kubepods/pod1/c1\n").as_deref(), Some("/kubepods/pod1/c1"));
        assert_eq!(parse_cgroup("4:memory:/k8s.io/c1\n1:cpu:/x\n0::/\n").as_deref(), Some("/k8s.io/c1"));
        assert_eq!(parse_cgroup("4:memory:/\n0::/\n"), None);
        assert_eq!(parse_cgroup("9:name=systemd:/a:b\n0::/s:t\n").as_deref(), Some("/s:t"));
    }

    #[test]
    fn a_label_or_a_cgroup_is_recorded_whole_or_not_at_all() {
        let long = format!("/{}", "a/".repeat(1000));
        assert_eq!(parse_cgroup(&format!("0::{long}\n")).as_deref(), Some(long.as_str()));
        assert_eq!(parse_cgroup(&format!("0::/{}\n", "a".repeat(LONGEST_PATH))), None);
        let label = format!("u:r:t:s0:{}", "c1,".repeat(300));
        let process = crate::oci::Process { selinux_label: Some(label.clone()), ..Default::default() };
        let mut spec = Spec { process, ..Spec::default() };
        assert_eq!(asked_for(&spec).selinux, Some(label));
        spec.process.selinux_label = Some("u".repeat(LONGEST_PATH));
        assert_eq!(asked_for(&spec).selinux, None);
    }

    #[test]
    fn whatever_a_configuration_holds_its_record_can_be_read_again() {
        let huge = "\u{1}\"\\".repeat(200 << 10);
        let mut spec = Spec { annotations: Default::default(), ..Spec::default() };
        spec.root.path = Some(huge.clone());
        spec.process.selinux_label = Some(huge.clone());
        spec.process.apparmor_profile = Some(huge.clone());
        spec.process.capabilities.bounding = vec![huge.clone(); 128];
        spec.process.capabilities.bounding.extend((0..128).map(|n| format!("CAP_{n:044}")));
        let clean = |text: &str| crate::text::clean(text);
        let pod = crate::identity::PodRef {
            name: clean(&huge).unwrap(),
            namespace: clean(&huge),
            uid: clean(&huge),
            sandbox_id: clean(&huge),
        };
        let identity =
            Identity { name: clean(&huge), image: clean(&huge), pod: Some(pod), ..Identity::default() };
        let subject = |bundle| Subject {
            id: ContainerId::parse(&"a".repeat(240)).unwrap(),
            bundle,
            identity: identity.clone(),
            spec: Some(&spec),
            stage: Stage::CreateRuntime,
        };
        let process = Process::open(std::process::id().try_into().unwrap()).unwrap();
        let host = Host::open().unwrap();
        let bundles = [format!("/{huge}"), format!("/{}", "\u{1}".repeat(4090))];
        for bundle in &bundles {
            let (mut record, _) = observe(subject(Path::new(bundle)), &process, &host).unwrap();
            record.cgroup = whole(&"\"".repeat(4090));
            let file = record.to_file().unwrap();
            assert_eq!(Record::parse(&file).unwrap().security.capabilities.len(), 64);
            assert!(file.len() < 128 << 10, "{} bytes: room for what a newer version adds", file.len());
        }
    }

    #[test]
    fn a_relative_namespace_path_holds_nothing() {
        let spec = |path: &str| {
            Spec::parse(
                format!(r#"{{"linux":{{"namespaces":[{{"type":"network","path":"{path}"}}]}}}}"#).as_bytes(),
            )
            .unwrap()
        };
        assert_eq!(holder(&spec("/run/netns/cni-1")), Some("/run/netns/cni-1".into()));
        assert_eq!(holder(&spec("proc/1/ns/net")), None);
        assert_eq!(holder(&Spec::default()), None);
    }
}
