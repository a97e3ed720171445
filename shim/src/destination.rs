//! From a target to what `exec` needs to enter it: descriptors of verified objects.

use crate::exec::{ExecArgs, Identity, Target as Destination, TargetProcess};
use crate::exit::Exit;
use crate::inspect::netns_of;
use crate::inventory::{Inventory, Pod, has_processes};
use crate::netns;
use crate::policy::PodName;
use crate::problem::Problem;
use crate::target::Target;
use porthole_registry::config::Config;
use porthole_registry::identity::Kind;
use porthole_registry::namespace::NamespaceId;
use porthole_registry::process::Process;
use porthole_registry::record::Record;
use rustix::fd::OwnedFd;
use std::path::Path;

/// Finds what the words mean, and opens it. Before a rule has allowed it nothing is opened but files of `/proc` and of
/// nsfs, which has no effect on anybody.
///
/// `ask` is whether the policy will be asked: then each pod is found that the target is of, for which everything that the
/// registry knows is read.
pub(crate) fn open(words: &str, args: &ExecArgs, config: &Config, ask: bool) -> Result<Destination, Problem> {
    let inventory = if ask { Inventory::read(config)? } else { Inventory::read_for(words, config)? };
    let identities = |netns: &OwnedFd, process: Option<&Process>| {
        if ask { inventory.identities(netns, process) } else { Ok(Vec::new()) }
    };
    match inventory.resolve(words)? {
        Target::Pod(pod, named) => {
            let (record, process) = match named {
                Some(record) => (Some(record), inventory.process(record)),
                None => member(&inventory, pod, args)?,
            };
            let netns = inventory.open_netns(pod)?;
            let identities = identities(&netns, process.as_ref())?;
            Ok(of_pod(pod, named, record, Opened { netns, process: process.map(open_process), identities }))
        }
        Target::Process(process) => {
            let netns = netns_of(&process)?;
            let identities = identities(&netns, Some(&process))?;
            let label = format!("pid:{}", process.pid());
            let opened = Opened { netns, process: Some(open_process(process)), identities };
            Ok(nameless(label, String::new(), opened))
        }
        Target::Netns(path, netns) => {
            let is_pin = path.parent() == Some(&config.netns_dir);
            let name = path.file_name().filter(|_| is_pin).and_then(|name| name.to_str());
            let identities = identities(&netns, None)?;
            if ask && identities.iter().any(|name| name.pod.is_none()) {
                must_be_known(&path, &netns)?;
            }
            let opened = Opened { netns, process: None, identities };
            Ok(nameless(path.display().to_string(), name.unwrap_or_default().to_owned(), opened))
        }
    }
}

/// Refuses a network namespace without a record and a process, if no path of the host leads to it: a container may
/// have it pinned in its file system, or hold it by a descriptor.
fn must_be_known(path: &Path, netns: &OwnedFd) -> Result<(), Problem> {
    let id = NamespaceId::of(netns).map_err(|_| netns::none_at(path))?;
    if netns::is_at(path, id) || has_processes(id)? { Ok(()) } else { Err(netns::none_at(path)) }
}

/// The opened objects of a target, and the pods that they belong to.
struct Opened {
    netns: OwnedFd,
    process: Option<TargetProcess>,
    identities: Vec<PodName>,
}

/// A target without a record.
fn nameless(label: String, pod: String, Opened { netns, process, identities }: Opened) -> Destination {
    Destination {
        label,
        identity: Identity::default(),
        identities,
        pod,
        netns,
        process,
        selinux: None,
        apparmor: None,
        bundle: None,
    }
}

fn of_pod(
    pod: &Pod,
    named: Option<&Record>,
    record: Option<&Record>,
    Opened { netns, process, identities }: Opened,
) -> Destination {
    let label = match named {
        Some(record) => format!("{}/{}", pod.label(), Pod::container_label(record)),
        None => pod.label(),
    };
    let identity = Identity {
        namespace: pod.namespace.clone(),
        pod: Some(pod.name.clone()),
        container: named.map(Pod::container_label),
        id: record.map(|record| record.id.to_string()).or_else(|| pod.sandbox_id().map(str::to_owned)),
    };
    let of_sandbox = || pod.sandbox.as_ref()?.sandbox.bundle.clone();
    Destination {
        label,
        identity,
        identities,
        pod: pod.pin.as_ref().map(ToString::to_string).unwrap_or_default(),
        netns,
        process,
        selinux: record.and_then(|record| record.security.selinux.clone()),
        apparmor: record.and_then(|record| record.security.apparmor.clone()),
        bundle: record.map(|record| record.bundle.clone()).or_else(of_sandbox),
    }
}

/// The member that stands for the pod: a live container, else its live sandbox, else one that has ended, for the
/// resolver files that its bundle names. For more than the network they are not alike, and none is guessed.
fn member<'a>(
    inventory: &Inventory,
    pod: &'a Pod,
    args: &ExecArgs,
) -> Result<(Option<&'a Record>, Option<Process>), Problem> {
    let live_of_kind = |kind| {
        let of_kind = pod.containers.iter().filter(move |record| record.kind == kind);
        of_kind.filter_map(|record| Some((record, inventory.process(record)?)))
    };
    let mut containers = live_of_kind(Kind::Container);
    let first = containers.next();
    if args.wants_a_container()
        && let (Some(first), Some(second)) = (&first, containers.next())
    {
        let what =
            format!("{:?} has several containers, and more than its network is asked for:", pod.label());
        let mut problem = Problem::new(Exit::Ambiguous, what, "name one: NAMESPACE/POD/CONTAINER, or its id");
        let candidate = |record: &Record| {
            format!("{}/{}  (id {})", pod.label(), Pod::container_label(record), record.id.short())
        };
        let all = [first.0, second.0].into_iter().chain(containers.map(|(record, _)| record));
        problem.candidates = all.map(candidate).collect();
        return Err(problem);
    }
    Ok(match first.or_else(|| live_of_kind(Kind::Sandbox).next()) {
        Some((record, process)) => (Some(record), Some(process)),
        None => (pod.containers.first(), None),
    })
}

fn open_process(process: Process) -> TargetProcess {
    let pid = process.pid();
    let (pidfd, proc_dir) = process.into_fds();
    TargetProcess { pid, pidfd, proc_dir }
}
