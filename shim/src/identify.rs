//! `porthole identify`: from something seen on the node to the pod that it belongs to.

use crate::exit::{Exit, ExitCode};
use crate::inventory::{Inventory, Pod};
use crate::list::show;
use crate::netlink::{self, Mac};
use crate::netns;
use crate::output::Format;
use crate::problem::Problem;
use crate::target::open_process;
use porthole_registry::config::Config;
use porthole_registry::namespace::NamespaceKind;
use porthole_registry::process::Process;
use porthole_registry::record::Record;
use rustix::fd::AsFd;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// How many network namespaces are open at a time.
const AT_ONCE: usize = 256;

/// Something by which a pod can be told.
#[derive(Debug, PartialEq, Eq)]
enum Trace {
    Pid(i32),
    Inode(u64),
    Ip(IpAddr),
    Mac(Mac),
    Netns(PathBuf),
    Cgroup(String),
    /// A host interface, or the name of a pin.
    Name(String),
}

impl Trace {
    fn parse(words: &str, netns_dir: &Path) -> Option<Self> {
        let (kind, rest) = words.split_once(':').unwrap_or(("", words));
        match kind {
            "pid" => return rest.parse().ok().map(Self::Pid),
            "inode" | "net" => return rest.trim_matches(['[', ']']).parse().ok().map(Self::Inode),
            "ip" => return rest.parse().ok().map(Self::Ip),
            "mac" => return rest.parse().ok().map(Self::Mac),
            "netns" => return Some(Self::Netns(netns_dir.join(rest))),
            "veth" => return Some(Self::Name(rest.to_owned())),
            "cgroup" => return Some(Self::Cgroup(rest.to_owned())),
            _ => {}
        }
        if let Ok(mac) = words.parse() {
            return Some(Self::Mac(mac));
        }
        if let Ok(ip) = words.parse() {
            return Some(Self::Ip(ip));
        }
        if let Ok(number) = words.parse::<u64>() {
            // The kernel numbers namespaces from 0xf0000000 or a little below it: no process id is that large.
            return Some(i32::try_from(number).map_or(Self::Inode(number), Self::Pid));
        }
        if words.starts_with('/') {
            let path = PathBuf::from(words);
            let is_netns = path.starts_with(netns_dir)
                || path.starts_with("/var/run/netns")
                || path.starts_with("/proc");
            return Some(if is_netns { Self::Netns(path) } else { Self::Cgroup(words.to_owned()) });
        }
        (!words.is_empty()).then(|| Self::Name(words.to_owned()))
    }
}

impl Trace {
    /// The inode of the network namespace that it is in or names, where that can be told before the registry is read.
    fn netns(&self) -> Option<u64> {
        match self {
            Self::Pid(pid) => Process::open(*pid).ok()?.namespace(NamespaceKind::Net).ok().map(|id| id.ino),
            Self::Inode(ino) => Some(*ino),
            Self::Netns(path) => netns::open(path).ok().map(|(_, id)| id.ino),
            Self::Ip(_) | Self::Mac(_) | Self::Cgroup(_) | Self::Name(_) => None,
        }
    }
}

/// Runs the command.
pub(crate) fn run(words: &str, config: &Config, format: Format) -> Result<ExitCode, Problem> {
    let forms = "pid, inode, IP, MAC, host interface, cgroup path or name below /run/netns; \
                 or with what it is in front: pid:, inode:, ip:, mac:, veth:, cgroup:, netns:";
    let trace = Trace::parse(words, &config.netns_dir).ok_or_else(|| {
        Problem::new(Exit::Usage, format!("{words:?} is nothing that a pod can be told by"), forms)
    })?;
    // Most are in one network namespace, where the index leads to their pod at once.
    let near = trace.netns().map(|ino| Inventory::read_netns(config, ino)).transpose()?;
    if let Some(inventory) = near.filter(|inventory| !inventory.pods.is_empty()) {
        let found = find(&inventory, &trace)?;
        if !found.is_empty() {
            return show(&inventory, &found, format).map(|()| ExitCode::SUCCESS);
        }
    }
    let inventory = Inventory::read_quickly(config)?;
    let found = find(&inventory, &trace)?;
    if found.is_empty() {
        let message = format!("{words:?} belongs to no registered pod");
        return Err(Problem::new(
            Exit::NoTarget,
            message,
            "`porthole list` shows what is registered; `porthole reconcile` registers what runs already",
        ));
    }
    show(&inventory, &found, format)?;
    Ok(ExitCode::SUCCESS)
}

type Found<'a> = Vec<(&'a Pod, Option<&'a Record>)>;

fn find<'a>(inventory: &'a Inventory, trace: &Trace) -> Result<Found<'a>, Problem> {
    let pod = |pod: Option<&'a Pod>| pod.into_iter().map(|pod| (pod, None)).collect();
    Ok(match trace {
        Trace::Pid(pid) => inventory.of_process(&open_process(*pid)?).into_iter().collect(),
        Trace::Inode(ino) => inventory.of_namespace(*ino),
        Trace::Ip(ip) => inventory.by_ip(*ip)?.into_iter().map(|pod| (pod, None)).collect(),
        Trace::Mac(mac) => by_link(inventory, |link| link.mac == Some(*mac)),
        Trace::Netns(path) => pod(inventory.of_netns(netns::named(path)?.1)),
        Trace::Cgroup(path) => {
            let path = path.trim_start_matches("/sys/fs/cgroup").trim_end_matches('/');
            let within = |record: &&Record| {
                record.cgroup.as_ref().is_some_and(|own| {
                    path == own
                        || path.strip_prefix(own.as_str()).is_some_and(|rest| rest.starts_with('/'))
                        || own.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
                })
            };
            let found = inventory.records().filter(|(_, record)| within(record));
            let found: Vec<_> = found.map(|(pod, record)| (pod, Some(record))).collect();
            inventory.live_of_one_name(&found)
        }
        Trace::Name(name) => match by_interface(inventory, name) {
            found if !found.is_empty() => found,
            // A record of an ended container may have a pin's name that belongs to another pod by now.
            _ => pod(inventory
                .pods
                .iter()
                .filter(|pod| pod.pin.as_ref().is_some_and(|pin| pin.as_str() == name))
                .max_by_key(|pod| inventory.holds(pod))),
        },
    })
}

impl Inventory {
    /// The containers that have a namespace with this inode, of whatever kind; the pod if it is the network's.
    fn of_namespace(&self, ino: u64) -> Found<'_> {
        if let Some(pod) = self.of_inode(ino) {
            return vec![(pod, None)];
        }
        let has = |record: &Record| {
            record.namespaces.values().any(|ns| ns.id.ino == ino && !ns.host)
                && record.is_running(&self.boot_id)
        };
        self.records().filter(|(_, record)| has(record)).map(|(pod, record)| (pod, Some(record))).collect()
    }
}

/// The pods that have an interface like this.
fn by_link(inventory: &Inventory, wanted: impl Fn(&netlink::Link) -> bool) -> Found<'_> {
    let pods = isolated(inventory);
    let links = netlink::links_of_each(&pods, |pod| inventory.open_netns(pod).ok());
    let has = |links: &Result<Vec<netlink::Link>, netlink::Error>| {
        links.as_ref().is_ok_and(|links| links.iter().any(&wanted))
    };
    pods.into_iter().zip(&links).filter(|(_, links)| has(links)).map(|(pod, _)| (pod, None)).collect()
}

/// The pod at the other end of a host interface.
fn by_interface<'a>(inventory: &'a Inventory, name: &str) -> Found<'a> {
    // In parts, as there may be more pods than a process may have open files.
    let found = isolated(inventory).chunks(AT_ONCE).find_map(|pods| {
        let open = |pod: &&'a Pod| Some((*pod, inventory.open_netns(pod).ok()?));
        let opened: Vec<_> = pods.iter().filter_map(open).collect();
        let fds: Vec<_> = opened.iter().map(|(_, fd)| fd.as_fd()).collect();
        let at = netlink::behind_host_veth(name, &fds).ok().flatten()?;
        opened.get(at).map(|(pod, _)| *pod)
    });
    found.map(|pod| (pod, None)).into_iter().collect()
}

/// The pods that are not on the host's network.
fn isolated(inventory: &Inventory) -> Vec<&Pod> {
    inventory.pods.iter().filter(|pod| !pod.on_host_network).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_what_it_looks_like_unless_it_says_what_it_is() {
        let parse = |words| Trace::parse(words, Path::new("/run/netns")).unwrap();
        assert_eq!(parse("4242"), Trace::Pid(4242));
        assert_eq!(parse("4026532201"), Trace::Inode(4_026_532_201));
        assert_eq!(parse("net:[4026532201]"), Trace::Inode(4_026_532_201));
        assert_eq!(parse("10.88.0.7"), Trace::Ip("10.88.0.7".parse().unwrap()));
        assert_eq!(parse("fd00::7"), Trace::Ip("fd00::7".parse().unwrap()));
        assert_eq!(parse("02:42:0a:58:00:07"), Trace::Mac(Mac([2, 0x42, 0xa, 0x58, 0, 7])));
        assert_eq!(parse("veth12ab"), Trace::Name("veth12ab".into()));
        assert_eq!(parse("/run/netns/web-0"), Trace::Netns("/run/netns/web-0".into()));
        assert_eq!(parse("/kubepods/pod1/c1"), Trace::Cgroup("/kubepods/pod1/c1".into()));
        assert_eq!(parse("pid:7"), Trace::Pid(7));
        assert_eq!(Trace::parse("", Path::new("/run/netns")), None);
    }
}
