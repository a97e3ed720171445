//! What the user names, and the pod or container that it means. Ambiguous is an error, never a guess.

use crate::exit::Exit;
use crate::inventory::{Inventory, Pod};
use crate::names::SHORTEST_PREFIX;
use crate::netns;
use crate::problem::Problem;
use porthole_registry::namespace::{NamespaceId, NamespaceKind};
use porthole_registry::process::Process;
use porthole_registry::record::Record;
use rustix::fd::OwnedFd;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

/// The words of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selector {
    /// A pod, a container, an id or the beginning of one, a pin.
    Word(String),
    /// `NAMESPACE/POD`
    Pod(String, String),
    /// `NAMESPACE/POD/CONTAINER`
    Container(String, String, String),
    /// `pid:N`
    Pid(i32),
    /// `ip:ADDRESS`
    Ip(IpAddr),
    /// `netns:NAME`
    Netns(String),
    /// A path, of a network namespace.
    Path(PathBuf),
}

impl Selector {
    /// Reads a target; see the variants for its forms.
    pub(crate) fn parse(words: &str) -> Result<Self, Problem> {
        let usage = |what: &str| {
            Problem::new(
                Exit::Usage,
                format!("target {words:?}: {what}"),
                "POD, NAMESPACE/POD, NAMESPACE/POD/CONTAINER, CONTAINER, an id, pid:N, ip:ADDRESS, netns:NAME or a path",
            )
        };
        if words.is_empty() {
            return Err(usage("it is empty"));
        }
        if words.starts_with('/') {
            return Ok(Self::Path(words.into()));
        }
        match words.split_once(':') {
            Some(("pid", pid)) => {
                let pid = pid.parse().ok().filter(|&pid: &i32| pid > 0);
                return pid.map(Self::Pid).ok_or_else(|| usage("it is no process id"));
            }
            Some(("ip", ip)) => return ip.parse().map(Self::Ip).map_err(|_| usage("it is no IP address")),
            Some(("netns", name)) if !name.is_empty() && !name.contains('/') => {
                return Ok(Self::Netns(name.to_owned()));
            }
            Some(("netns", _)) => return Err(usage("it is no name of a network namespace")),
            _ => {}
        }
        let parts: Vec<_> = words.split('/').map(str::to_owned).collect();
        if parts.iter().any(String::is_empty) {
            return Err(usage("a part of it is empty"));
        }
        match <[String; 3]>::try_from(parts) {
            Ok([namespace, pod, container]) => Ok(Self::Container(namespace, pod, container)),
            Err(parts) => match <[String; 2]>::try_from(parts) {
                Ok([namespace, pod]) => Ok(Self::Pod(namespace, pod)),
                Err(parts) => match <[String; 1]>::try_from(parts) {
                    Ok([word]) => Ok(Self::Word(word)),
                    Err(_) => Err(usage("it has too many parts")),
                },
            },
        }
    }
}

/// What a target means.
#[derive(Debug)]
pub(crate) enum Target<'a> {
    /// A pod, and the one container of it that was named, if one was.
    Pod(&'a Pod, Option<&'a Record>),
    /// A process that no record tells of.
    Process(Process),
    /// A network namespace without a record, and its path.
    Netns(PathBuf, OwnedFd),
}

/// Opens a process that somebody named.
pub(crate) fn open_process(pid: i32) -> Result<Process, Problem> {
    Process::open(pid)
        .map_err(|error| Problem::new(Exit::NoTarget, error.to_string(), "see `ps` for what runs"))
}

impl Inventory {
    /// Finds what the words mean.
    pub(crate) fn resolve(&self, words: &str) -> Result<Target<'_>, Problem> {
        match Selector::parse(words)? {
            Selector::Pid(pid) => self.by_pid(pid),
            Selector::Netns(name) => self.by_netns(self.netns_dir().join(name)),
            Selector::Path(path) => self.by_netns(path),
            Selector::Ip(ip) => {
                let found = self.by_ip(ip)?;
                self.only(words, &found.into_iter().map(|pod| (pod, None)).collect::<Vec<_>>())
            }
            Selector::Pod(namespace, name) => self.only(words, &self.pods_named(&namespace, &name)),
            Selector::Container(namespace, pod, name) => {
                let of_pods = self.pods_named(&namespace, &pod).into_iter().map(|(pod, _)| pod);
                let found = of_pods.flat_map(|pod| pod.containers.iter().map(move |record| (pod, record)));
                let found = found.filter(|(_, record)| Pod::container_label(record) == name);
                self.only(words, &found.map(|(pod, record)| (pod, Some(record))).collect::<Vec<_>>())
            }
            Selector::Word(word) => self.only(words, &self.by_word(&word)),
        }
    }

    fn pods_named(&self, namespace: &str, name: &str) -> Vec<(&Pod, Option<&Record>)> {
        let named = |pod: &&Pod| pod.name == name && pod.namespace.as_deref() == Some(namespace);
        self.pods.iter().filter(named).map(|pod| (pod, None)).collect()
    }

    fn by_word(&self, word: &str) -> Vec<(&Pod, Option<&Record>)> {
        // A whole id names one container and nothing else.
        if let Some((pod, record)) = self.records().find(|(_, record)| record.id.as_str() == word) {
            return vec![(pod, Some(record))];
        }
        let of_sandbox = |pod: &&Pod, is_it: &dyn Fn(&str) -> bool| pod.sandbox_id().is_some_and(is_it);
        // The id of a sandbox without a record means its pod.
        if let Some(pod) = self.pods.iter().find(|pod| of_sandbox(pod, &|id| id == word)) {
            return vec![(pod, None)];
        }
        let is_prefix = |id: &str| word.len() >= SHORTEST_PREFIX && id.starts_with(word);
        let is_it = |pod: &&Pod| {
            pod.name == word
                || pod.pin.as_ref().is_some_and(|pin| pin.as_str() == word)
                || of_sandbox(pod, &is_prefix)
        };
        let mut found: Vec<_> = self.pods.iter().filter(is_it).map(|pod| (pod, None)).collect();
        for (pod, record) in self.records() {
            let by_name = record.name.as_deref() == Some(word);
            let by_prefix = is_prefix(record.id.as_str());
            // A pod means its network namespace whichever of its containers has its name, too.
            let of_found_pod =
                found.iter().any(|(other, named)| named.is_none() && std::ptr::eq(*other, pod));
            if (by_name || by_prefix) && !of_found_pod {
                found.push((pod, Some(record)));
            }
        }
        found
    }

    fn only<'a>(&self, words: &str, found: &[(&'a Pod, Option<&'a Record>)]) -> Result<Target<'a>, Problem> {
        // A pod that was made again is meant, and not what is left of the one before.
        let current: Vec<_> = found.iter().filter(|(pod, _)| !pod.ended).copied().collect();
        let current = self.live_of_one_name(if current.is_empty() { found } else { &current });
        match &current[..] {
            [(pod, record)] => Ok(Target::Pod(pod, *record)),
            [] => Err(self.no_such(words)),
            several => {
                let label = |(pod, record): &(&Pod, Option<&Record>)| match record {
                    Some(record) => format!(
                        "{}/{}  (id {})",
                        pod.label(),
                        Pod::container_label(record),
                        record.id.short()
                    ),
                    None => match &pod.pin {
                        Some(pin) => format!("{}  (netns:{pin})", pod.label()),
                        None => pod.label(),
                    },
                };
                let candidates: BTreeSet<_> = several.iter().map(label).collect();
                let mut problem = Problem::new(
                    Exit::Ambiguous,
                    format!("{words:?} is ambiguous; it can be any of these:"),
                    "name it in full: NAMESPACE/POD, NAMESPACE/POD/CONTAINER, an id, or netns:NAME",
                );
                problem.candidates = candidates.into_iter().collect();
                Err(problem)
            }
        }
    }

    /// Leaves out ended containers with the full name of a live one: a container that was started again, at whose end no
    /// hook has run yet. An ended container with another name stays, as it may be the one that is meant.
    pub(crate) fn live_of_one_name<'a>(
        &self,
        found: &[(&'a Pod, Option<&'a Record>)],
    ) -> Vec<(&'a Pod, Option<&'a Record>)> {
        let name = |(pod, record): &(&Pod, Option<&Record>)| (pod.label(), record.map(Pod::container_label));
        let lives = |(pod, record): &(&Pod, Option<&Record>)| match record {
            Some(record) => record.is_running(&self.boot_id),
            None => pod.containers.iter().any(|record| record.is_running(&self.boot_id)),
        };
        if found.len() < 2 {
            return found.to_vec();
        }
        let live: BTreeSet<_> = found.iter().filter(|one| lives(one)).map(name).collect();
        found.iter().filter(|one| lives(one) || !live.contains(&name(one))).copied().collect()
    }

    fn no_such(&self, words: &str) -> Problem {
        let remedy = if self.pods.is_empty() {
            "the registry is empty: is the hook installed? `porthole reconcile` registers what runs already"
        } else {
            "`porthole list` shows what there is"
        };
        Problem::new(Exit::NoTarget, format!("there is no pod, container, id or pin {words:?}"), remedy)
    }

    fn by_pid(&self, pid: i32) -> Result<Target<'_>, Problem> {
        let process = open_process(pid)?;
        Ok(self
            .of_process(&process)
            .map_or(Target::Process(process), |(pod, record)| Target::Pod(pod, record)))
    }

    /// The pod that a process belongs to, and the container if that can be told: its first process, or one in the same
    /// pid and mount namespace.
    pub(crate) fn of_process(&self, process: &Process) -> Option<(&Pod, Option<&Record>)> {
        let id = |kind| process.namespace(kind).ok();
        let netns = id(NamespaceKind::Net)?;
        let same = |record: &Record, kind: NamespaceKind| {
            record.namespaces.get(&kind).is_some_and(|ns| !ns.host && Some(ns.id) == id(kind))
        };
        let first = self.records().find(|(_, record)| {
            record.pid == process.pid()
                && record.pid_start == process.start()
                && record.boot_id == self.boot_id
        });
        let container = first.or_else(|| {
            self.records().find(|(_, record)| {
                same(record, NamespaceKind::Mnt)
                    && record.netns().is_some_and(|ns| ns.id == netns)
                    && record.is_running(&self.boot_id)
            })
        });
        let container = container.map(|(pod, record)| (pod, Some(record)));
        container.or_else(|| self.of_netns(netns).map(|pod| (pod, None)))
    }

    fn by_netns(&self, path: PathBuf) -> Result<Target<'_>, Problem> {
        let (fd, id) = netns::named(&path)?;
        Ok(self.of_netns(id).map_or(Target::Netns(path, fd), |pod| Target::Pod(pod, None)))
    }

    /// The pod with this network namespace.
    pub(crate) fn of_netns(&self, id: NamespaceId) -> Option<&Pod> {
        self.of_inode(id.ino).filter(|pod| pod.netns == Some(id))
    }

    /// The pod whose network namespace has this number now.
    pub(crate) fn of_inode(&self, ino: u64) -> Option<&Pod> {
        let has = |pod: &&Pod| !pod.on_host_network && pod.netns.is_some_and(|id| id.ino == ino);
        self.pods.iter().filter(has).find(|pod| self.holds(pod))
    }

    /// The pods that have this address. Two can: addresses are unique only within one network.
    pub(crate) fn by_ip(&self, ip: IpAddr) -> Result<Vec<&Pod>, Problem> {
        let pods: Vec<_> = self.pods.iter().collect();
        let addresses = self.addresses(&pods);
        Ok(pods
            .into_iter()
            .zip(addresses)
            .filter(|(_, found)| found.contains(&ip))
            .map(|(pod, _)| pod)
            .collect())
    }

    /// The addresses of these pods, in order; none for those on the host's network. A namespace that cannot be asked has
    /// no addresses to show; `inspect` says why.
    pub(crate) fn addresses(&self, pods: &[&Pod]) -> Vec<Vec<IpAddr>> {
        let own: Vec<_> = pods.iter().filter(|pod| !pod.on_host_network).collect();
        let mut answers =
            crate::netlink::addresses_of_each(&own, |pod| self.open_netns(pod).ok()).into_iter();
        let answer = |pod: &&Pod| if pod.on_host_network { None } else { answers.next()?.ok() };
        pods.iter().map(answer).map(Option::unwrap_or_default).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_target_is_understood() {
        let parse = |words| Selector::parse(words).unwrap();
        assert_eq!(parse("web-0"), Selector::Word("web-0".into()));
        assert_eq!(parse("shop/web-0"), Selector::Pod("shop".into(), "web-0".into()));
        assert_eq!(
            parse("shop/web-0/nginx"),
            Selector::Container("shop".into(), "web-0".into(), "nginx".into())
        );
        assert_eq!(parse("pid:42"), Selector::Pid(42));
        assert_eq!(parse("ip:10.88.0.7"), Selector::Ip("10.88.0.7".parse().unwrap()));
        assert_eq!(parse("ip:fd00::7"), Selector::Ip("fd00::7".parse().unwrap()));
        assert_eq!(parse("netns:cni-3f0c"), Selector::Netns("cni-3f0c".into()));
        assert_eq!(parse("/run/netns/x"), Selector::Path("/run/netns/x".into()));
    }

    #[test]
    fn what_is_no_target_is_a_usage_error_that_shows_the_forms() {
        for words in
            ["", "a//b", "a/b/c/d", "pid:", "pid:0", "pid:-1", "pid:x", "ip:1.2", "netns:", "netns:a/b", "x/"]
        {
            let problem = Selector::parse(words).unwrap_err();
            assert_eq!(problem.exit, Exit::Usage, "{words}");
            assert!(problem.remedy.unwrap().contains("NAMESPACE/POD/CONTAINER"));
        }
    }
}
