//! From a target to what `exec` needs to enter it: descriptors of verified objects.

use crate::exec::{ExecArgs, Target as Destination, TargetProcess};
use crate::exit::Exit;
use crate::inspect::open_netns;
use crate::inventory::{Inventory, Pod};
use crate::problem::Problem;
use crate::target::Target;
use porthole_registry::config::Config;
use porthole_registry::identity::Kind;
use porthole_registry::namespace::NamespaceKind;
use porthole_registry::process::Process;
use porthole_registry::record::Record;

/// Finds what the words mean, and opens it.
pub(crate) fn open(words: &str, args: &ExecArgs, config: &Config) -> Result<Destination, Problem> {
    let inventory = Inventory::read_for(words, config)?;
    match inventory.resolve(words)? {
        Target::Pod(pod, record) => of_pod(&inventory, pod, record, args),
        Target::Process(process) => {
            let netns = process.open_namespace(NamespaceKind::Net);
            let netns = netns
                .map_err(|errno| Problem::failed(format!("open /proc/{}/ns/net: {errno}", process.pid())))?;
            let label = format!("pid:{}", process.pid());
            Ok(Destination {
                label,
                pod: String::new(),
                netns,
                process: Some(open_process(process)),
                bundle: None,
            })
        }
        Target::Netns(path) => {
            let is_pin = path.parent() == Some(&config.netns_dir);
            let name = path.file_name().filter(|_| is_pin).and_then(|name| name.to_str());
            let (label, pod) = (path.display().to_string(), name.unwrap_or_default().to_owned());
            Ok(Destination { label, pod, netns: open_netns(&path)?, process: None, bundle: None })
        }
    }
}

fn of_pod(
    inventory: &Inventory,
    pod: &Pod,
    named: Option<&Record>,
    args: &ExecArgs,
) -> Result<Destination, Problem> {
    let record = match named {
        Some(record) => Some(record),
        None => member(inventory, pod, args)?,
    };
    let label = match named {
        Some(record) => format!("{}/{}", pod.label(), Pod::container_label(record)),
        None => pod.label(),
    };
    Ok(Destination {
        label,
        pod: pod.pin.as_ref().map(ToString::to_string).unwrap_or_default(),
        netns: inventory.open_netns(pod)?,
        process: record.and_then(|record| inventory.process(record)).map(open_process),
        bundle: record.map(|record| record.bundle.clone()),
    })
}

/// The member that stands for the pod: a live container, else its live sandbox, else one that has ended, for the
/// resolver files that its bundle names. For more than the network they are not alike, and none is guessed.
fn member<'a>(inventory: &Inventory, pod: &'a Pod, args: &ExecArgs) -> Result<Option<&'a Record>, Problem> {
    let live = |record: &&Record| inventory.process(record).is_some();
    let of_kind = |kind| pod.containers.iter().filter(move |record| record.kind == kind);
    let containers: Vec<_> = of_kind(Kind::Container).filter(live).collect();
    if args.wants_a_container() && containers.len() > 1 {
        let what =
            format!("{:?} has several containers, and more than its network is asked for:", pod.label());
        let mut problem = Problem::new(Exit::Ambiguous, what, "name one: NAMESPACE/POD/CONTAINER, or its id");
        let candidate = |record: &&Record| {
            format!("{}/{}  (id {})", pod.label(), Pod::container_label(record), record.id.short())
        };
        problem.candidates = containers.iter().map(candidate).collect();
        return Err(problem);
    }
    let sandbox = || of_kind(Kind::Sandbox).find(live);
    Ok(containers.first().copied().or_else(sandbox).or_else(|| pod.containers.first()))
}

fn open_process(process: Process) -> TargetProcess {
    let pid = process.pid();
    let (pidfd, proc_dir) = process.into_fds();
    TargetProcess { pid, pidfd, proc_dir }
}
