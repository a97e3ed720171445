//! `porthole inspect`: everything about one pod or container.

use crate::cgroup::{self, Usage};
use crate::exit::ExitCode;
use crate::inventory::{Inventory, Pod, SandboxSummary, host};
use crate::list::{age, short};
use crate::netlink::{self, HostVeth, Link};
use crate::output::{Format, Page, few, or_dash, print_json};
use crate::problem::Problem;
use crate::target::Target;
use porthole_registry::config::Config;
use porthole_registry::identity::Kind;
use porthole_registry::namespace::{NamespaceId, NamespaceKind};
use porthole_registry::process::Process;
use porthole_registry::record::Record;
use rustix::fd::{AsFd, OwnedFd};
use serde::Serialize;
use std::collections::BTreeMap;

/// What no namespace isolates, whatever else is: the container sees the host's.
const NEVER_ISOLATED: &str = "/proc/{meminfo,stat,loadavg,cpuinfo,uptime}, most of /sys, the kernel's log, modules and \
keyrings, the SELinux policy";

/// So many of each are shown: who may change a pod's network may make any number of them.
const INTERFACES: usize = 64;
/// Of one interface.
const ADDRESSES: usize = 8;

#[derive(Serialize)]
struct Report<'a> {
    pod: Option<&'a str>,
    namespace: Option<&'a str>,
    pin: Option<&'a str>,
    network: Network,
    containers: Vec<Container<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sandbox: Option<SandboxSummary<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    namespaces: BTreeMap<NamespaceKind, Shared>,
    not_isolated: &'static str,
}

#[derive(Serialize)]
struct Network {
    inode: u64,
    host: bool,
    interfaces: Vec<Link>,
    host_side: Vec<HostVeth>,
}

#[derive(Serialize)]
struct Shared {
    inode: u64,
    host: bool,
}

#[derive(Serialize)]
struct Container<'a> {
    running: bool,
    started: String,
    /// Not `cgroup`: that is a field of the record.
    usage: Option<Usage>,
    #[serde(flatten)]
    record: &'a Record,
}

/// Runs the command.
pub(crate) fn run(words: &str, config: &Config, format: Format) -> Result<ExitCode, Problem> {
    let inventory = Inventory::read_for(words, config)?;
    let (report, page) = match inventory.resolve(words)? {
        Target::Pod(pod, record) => {
            let network = network(&inventory.open_netns(pod)?)?;
            let records = record.map_or_else(|| pod.containers.iter().collect(), |record| vec![record]);
            let containers: Vec<_> =
                records.into_iter().map(|record| container(&inventory, record)).collect();
            let report = Report {
                pod: Some(&pod.name),
                namespace: pod.namespace.as_deref(),
                pin: pod.pin.as_ref().map(|pin| pin.as_str()),
                network,
                containers,
                sandbox: pod.sandbox_summary(),
                namespaces: BTreeMap::new(),
                not_isolated: NEVER_ISOLATED,
            };
            let page = page(&report, &pod.label());
            (report, page)
        }
        Target::Process(process) => {
            let netns = netns_of(&process)?;
            let mut report = anonymous(network(&netns)?);
            report.namespaces = shared(&process)?;
            let page = page(&report, &format!("process {} (of no registered container)", process.pid()));
            (report, page)
        }
        Target::Netns(path, netns) => {
            let report = anonymous(network(&netns)?);
            let page = page(&report, &format!("{} (of no registered container)", path.display()));
            (report, page)
        }
    };
    if format == Format::Json {
        print_json(&report)?
    } else {
        page.print()?
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens the network namespace of a process.
pub(crate) fn netns_of(process: &Process) -> Result<OwnedFd, Problem> {
    let netns = process.open_namespace(NamespaceKind::Net);
    netns.map_err(|errno| Problem::failed(format!("open /proc/{}/ns/net: {errno}", process.pid())))
}

const fn anonymous(network: Network) -> Report<'static> {
    let containers = Vec::new();
    Report {
        pod: None,
        namespace: None,
        pin: None,
        network,
        containers,
        sandbox: None,
        namespaces: BTreeMap::new(),
        not_isolated: NEVER_ISOLATED,
    }
}

fn network(netns: &OwnedFd) -> Result<Network, Problem> {
    let id = NamespaceId::of(netns)
        .map_err(|errno| Problem::failed(format!("fstat of the network namespace: {errno}")))?;
    let is_host = host()?.namespace(NamespaceKind::Net) == Some(id);
    Ok(Network {
        inode: id.ino,
        host: is_host,
        interfaces: netlink::addresses(netns.as_fd())?,
        host_side: if is_host { Vec::new() } else { netlink::host_veth(netns.as_fd())? },
    })
}

fn container<'a>(inventory: &Inventory, record: &'a Record) -> Container<'a> {
    let process = inventory.process(record);
    let cgroup = process.as_ref().and_then(|process| process.read("cgroup").ok());
    let cgroup = cgroup.map(|text| cgroup::usage(&String::from_utf8_lossy(&text)));
    let started = record.started(&inventory.boot_id);
    Container { running: process.is_some(), started, usage: cgroup, record }
}

fn shared(process: &Process) -> Result<BTreeMap<NamespaceKind, Shared>, Problem> {
    let host = host()?;
    let of = |kind| {
        let id = process.namespace(kind).ok()?;
        Some((kind, Shared { inode: id.ino, host: host.namespace(kind) == Some(id) }))
    };
    Ok(NamespaceKind::ALL.into_iter().filter_map(of).collect())
}

fn page(report: &Report<'_>, title: &str) -> Page {
    let mut page = Page::default();
    write_page(&mut page, report, title);
    page
}

fn write_page(out: &mut Page, report: &Report<'_>, title: &str) {
    out.line(format_args!("{title}"));
    if let Some(pin) = report.pin {
        out.line(format_args!("  pin         {pin}  (ip netns exec {pin} …)"));
    }
    let Network { inode, host, interfaces, host_side } = &report.network;
    out.line(format_args!(
        "  network     net:[{inode}]{}",
        if *host { "  THE HOST'S: not isolated" } else { "" }
    ));
    let interfaces = if *host { &[] } else { interfaces.as_slice() };
    for link in interfaces.iter().take(INTERFACES) {
        let addresses: Vec<_> = link.addresses.iter().map(|(ip, prefix)| format!("{ip}/{prefix}")).collect();
        let state = if link.up { "up" } else { "down" };
        out.line(format_args!(
            "    {:<10}{:<5}{}  mtu {}  {}",
            link.name,
            state,
            or_dash(link.mac),
            link.mtu,
            few(&addresses, ADDRESSES, " ")
        ));
    }
    if let Some(more @ 1..) = interfaces.len().checked_sub(INTERFACES) {
        out.line(format_args!("    +{more} more"));
    }
    for veth in host_side.iter().take(INTERFACES) {
        let bridge = veth.master.as_ref().map(|bridge| format!(", port of {bridge}")).unwrap_or_default();
        out.line(format_args!(
            "    {} is {} on the host (interface {}{bridge})",
            veth.container_interface, veth.name, veth.index
        ));
    }
    for container in &report.containers {
        write_container(out, container);
    }
    if let Some(sandbox) = &report.sandbox {
        out.line(format_args!("  sandbox (sandbox)"));
        out.line(format_args!("    id        {}", sandbox.id));
        out.line(format_args!("    engine    {}", sandbox.engine));
        out.line(format_args!(
            "    state     {}: its engine {} the pod's network",
            sandbox.state(),
            if sandbox.ready { "keeps" } else { "has given up" }
        ));
    }
    if report.containers.is_empty() && report.pod.is_some() {
        out.line(format_args!(
            "  no container is running or registered: only the pin is left of the pod's network"
        ));
    }
    for (kind, ns) in &report.namespaces {
        out.line(format_args!(
            "  {kind:<12}[{}]{}",
            ns.inode,
            if ns.host { "  the host's: not isolated" } else { "" }
        ));
    }
    out.line(format_args!("  never isolated: {}", report.not_isolated));
}

fn write_container(out: &mut Page, container: &Container<'_>) {
    let record = container.record;
    let kind = if record.kind == Kind::Sandbox { "sandbox" } else { "container" };
    out.line(format_args!("  {kind} {}", Pod::container_label(record)));
    out.line(format_args!("    id        {}", record.id));
    out.line(format_args!("    engine    {}", record.engine));
    let state = if container.running { format!("pid {}", record.pid) } else { "ended".to_owned() };
    let started = &container.started;
    let ago = age(started).map(|age| format!(" ({age} ago)")).unwrap_or_default();
    out.line(format_args!("    process   {state}, started {started}{ago}"));
    out.line(format_args!("    record    made {} by {}", record.created, record.stage));
    if let Some(image) = &record.image {
        out.line(format_args!("    image     {image}"));
    }
    out.line(format_args!("    bundle    {}", record.bundle.display()));
    if let Some(rootfs) = &record.rootfs {
        out.line(format_args!("    rootfs    {}", rootfs.display()));
    }
    let of_host: Vec<_> =
        record.namespaces.iter().filter(|(_, ns)| ns.host).map(|(kind, _)| kind.proc_name()).collect();
    let own: Vec<_> = record
        .namespaces
        .iter()
        .filter(|(_, ns)| !ns.host)
        .map(|(kind, ns)| format!("{kind}:[{}]", ns.id.ino))
        .collect();
    out.line(format_args!("    isolated  {}", or_dash(Some(own.join(" ")))));
    out.line(format_args!("    shared    with the host: {}", or_dash(Some(of_host.join(" ")))));
    write_security(out, record);
    if let Some(cgroup) = &record.cgroup {
        out.line(format_args!("    cgroup    {cgroup}"));
    }
    if let Some(usage) = &container.usage {
        write_usage(out, usage);
    }
}

fn write_security(out: &mut Page, record: &Record) {
    let security = &record.security;
    let yes = |flag| if flag { "yes" } else { "no" };
    out.line(format_args!(
        "    security  uid {} gid {}, no new privileges: {}, seccomp: {}, SELinux: {}, AppArmor: {}",
        security.uid,
        security.gid,
        yes(security.no_new_privileges),
        yes(security.seccomp),
        or_dash(security.selinux.as_ref()),
        or_dash(security.apparmor.as_ref()),
    ));
    if let Some([uid, gid]) = security.userns_owner {
        out.line(format_args!("              root inside is uid {uid} gid {gid} on the host"));
    }
    let names: Vec<_> = security.capabilities.iter().map(|name| name.trim_start_matches("CAP_")).collect();
    out.line(format_args!("              capabilities: {}", or_dash(Some(names.join(" ")))));
}

fn write_usage(out: &mut Page, usage: &Usage) {
    let limit = |limit: Option<String>| limit.unwrap_or_else(|| "no limit".to_owned());
    out.line(format_args!(
        "    memory    {} of {}{}",
        or_dash(usage.memory_used.map(bytes)),
        limit(usage.memory_limit.map(bytes)),
        usage
            .oom_kills
            .filter(|&kills| kills > 0)
            .map(|kills| format!(", OOM kills: {kills}"))
            .unwrap_or_default(),
    ));
    let used = usage.cpu_seconds.map(|seconds| {
        let time = std::time::Duration::from_secs_f64(seconds);
        if time.as_secs() < 10 { format!("{seconds:.2}s") } else { short(time) }
    });
    out.line(format_args!(
        "    cpu       {} used, {}",
        or_dash(used),
        limit(usage.cpu_limit.map(|cpus| format!("{cpus:.2} CPUs")))
    ));
    out.line(format_args!(
        "    pids      {} of {}",
        or_dash(usage.pids_used),
        limit(usage.pids_limit.map(|pids| pids.to_string()))
    ));
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let step = units
        .iter()
        .enumerate()
        .rev()
        .find(|(power, _)| count >= 1 << (10 * power))
        .map_or(0, |(power, _)| power);
    let value = count as f64 / (1_u64 << (10 * step)) as f64;
    if step == 0 { format!("{count} B") } else { format!("{value:.1} {}", units[step]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_in_the_largest_unit_that_they_fill() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (268_435_456, "256.0 MiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
