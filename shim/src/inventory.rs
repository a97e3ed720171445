//! Everything the registry knows, read once: the pods of this node and their containers.

mod groups;
mod identities;
mod present;

use crate::engines::views;
use crate::exit::Exit;
use crate::names::{self, Stamp};
use crate::netns;
use crate::problem::Problem;
use crate::share;
use crate::target::Selector;
pub(crate) use identities::has_processes;
use porthole_registry::config::Config;
use porthole_registry::host::{Host, boot_id};
use porthole_registry::identity::Kind;
use porthole_registry::look;
use porthole_registry::namespace::{NamespaceId, NamespaceKind};
use porthole_registry::naming::PinName;
use porthole_registry::process::Process;
use porthole_registry::record::Record;
use porthole_registry::registration::Registry;
use porthole_registry::sandbox::Sandbox;
use porthole_registry::store::{Listed, Store};
use porthole_registry::views::{Seen, Views};
use porthole_registry::{Error, Found, NetnsDir};
use present::Present;
use rustix::fd::OwnedFd;
use serde::Serialize;
use std::cell::LazyCell;
use std::collections::HashSet;
use std::path::Path;

/// Containers that share a network namespace; on the host's network, those that say they are one pod.
#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) namespace: Option<String>,
    pub(crate) netns: Option<NamespaceId>,
    pub(crate) on_host_network: bool,
    pub(crate) pin: Option<PinName>,
    /// Only records are left of it: the number of its network namespace is another's by now.
    pub(crate) ended: bool,
    /// Of a pod in back-off, where the index has it.
    pub(crate) sandbox: Option<Idle>,
    /// Empty for a pod in back-off, of which only the pin is left. The sandbox is the last.
    pub(crate) containers: Vec<Record>,
}

/// The sandbox of a pod without a container.
#[derive(Debug)]
pub(crate) struct Idle {
    pub(crate) sandbox: Sandbox,
    /// Whether its engine has the pod's network still, and has not stopped the sandbox.
    pub(crate) ready: bool,
}

/// The same, as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct SandboxSummary<'a> {
    pub(crate) id: &'a str,
    pub(crate) engine: &'static str,
    pub(crate) ready: bool,
}

impl SandboxSummary<'_> {
    /// Its state for people, in the place of a pid.
    pub(crate) const fn state(&self) -> &'static str {
        if self.ready { "ready" } else { "ended" }
    }

    /// Its id, as short as that of a container.
    pub(crate) fn short(&self) -> &str {
        self.id.get(..12).unwrap_or(self.id)
    }
}

impl Pod {
    /// The id of the pod's sandbox, where that has no record of its own.
    pub(crate) fn sandbox_id(&self) -> Option<&str> {
        let of_records =
            || self.containers.iter().find_map(|record| record.pod.as_ref()?.sandbox_id.as_deref());
        let id = self.sandbox.as_ref().map(|idle| idle.sandbox.id.as_str()).or_else(of_records)?;
        self.containers.iter().all(|record| record.id.as_str() != id).then_some(id)
    }

    /// The sandbox of a pod in back-off.
    pub(crate) fn sandbox_summary(&self) -> Option<SandboxSummary<'_>> {
        let Idle { sandbox, ready } = self.sandbox.as_ref()?;
        Some(SandboxSummary { id: sandbox.id.as_str(), engine: sandbox.engine.as_str(), ready: *ready })
    }

    /// `NAMESPACE/NAME`, or the name alone where there is no namespace: a target that means this pod.
    pub(crate) fn label(&self) -> String {
        self.namespace
            .as_ref()
            .map_or_else(|| self.name.clone(), |namespace| format!("{namespace}/{}", self.name))
    }

    /// What the container is called within the pod.
    pub(crate) fn container_label(record: &Record) -> String {
        match (&record.name, record.kind) {
            (Some(name), _) => name.clone(),
            (None, Kind::Sandbox) => "(sandbox)".to_owned(),
            (None, Kind::Container) => record.id.short().to_owned(),
        }
    }
}

/// The registry's contents.
#[derive(Debug)]
pub(crate) struct Inventory {
    pub(crate) pods: Vec<Pod>,
    pub(crate) boot_id: String,
    /// Files of the registry that cannot be read as records, and why.
    pub(crate) bad: Vec<Error>,
    config: Config,
    present: Present,
}

impl Inventory {
    /// Reads the registry. That there is none yet is no error.
    pub(crate) fn read(config: &Config) -> Result<Self, Problem> {
        Self::read_by(config, |store, files| files.iter().filter_map(|file| store.listed(file)).collect())
    }

    /// Like [`Inventory::read`], with the help of a second thread: for commands that only look.
    pub(crate) fn read_quickly(config: &Config) -> Result<Self, Problem> {
        Self::read_by(config, |store, files| {
            share::map(files, |file| store.listed(file)).into_iter().flatten().collect()
        })
    }

    fn read_by(config: &Config, read: impl Fn(&Store, &[String]) -> Vec<Listed>) -> Result<Self, Problem> {
        let mut inventory = Self::empty(config)?;
        let Some(store) = Store::open(&config.run_dir)? else { return Ok(inventory) };
        let stamp = Stamp::of(&store);
        let files = store.files().unwrap_or_else(|error| inventory.bad(error));
        inventory.take(read(&store, &files));
        let known: HashSet<u64> = inventory.pods.iter().filter_map(|pod| Some(pod.netns?.ino)).collect();
        let views = EveryView::new(every_view);
        // An entry that cannot be read costs itself alone.
        for ino in store.idle().unwrap_or_else(|error| inventory.bad(error)) {
            if !known.contains(&ino) {
                let pod = idle_pod(&store, config, ino, &views).unwrap_or_else(|error| inventory.bad(error));
                inventory.pods.extend(pod);
            }
        }
        inventory.pods.sort_by(|a, b| (&a.name, &a.namespace).cmp(&(&b.name, &b.namespace)));
        if let Some(stamp) = stamp {
            names::keep(&store, &stamp, &inventory);
        }
        Ok(inventory)
    }

    /// Reads what the target can mean, and no more where an index of the names tells that.
    pub(crate) fn read_for(words: &str, config: &Config) -> Result<Self, Problem> {
        let selector = Selector::parse(words)?;
        match Self::read_selected(&selector, config)? {
            Some(inventory) if !inventory.pods.is_empty() => Ok(inventory),
            _ => Self::read(config),
        }
    }

    fn read_selected(selector: &Selector, config: &Config) -> Result<Option<Self>, Problem> {
        let Some(store) = Store::open(&config.run_dir)? else { return Ok(None) };
        let Some(selected) = names::select(&store, selector, &config.netns_dir) else { return Ok(None) };
        let mut records = Vec::with_capacity(selected.containers.len());
        for id in &selected.containers {
            // Gone or bad since: then everything is looked at again.
            let Ok(Some(record)) = store.record(id) else { return Ok(None) };
            records.push(record);
        }
        let mut inventory = Self::empty(config)?;
        inventory.pods = groups::pods(records, &inventory.present, &config.pin_name);
        let views = EveryView::new(every_view);
        for ino in selected.idle {
            inventory.pods.extend(idle_pod(&store, config, ino, &views)?);
        }
        Ok(Some(inventory))
    }

    /// Reads what the registry's index has below a network namespace, and nothing else: the one pod that is there, or none.
    /// Costs the same however many pods there are.
    pub(crate) fn read_netns(config: &Config, ino: u64) -> Result<Self, Problem> {
        let mut inventory = Self::empty(config)?;
        let Some(store) = Store::open(&config.run_dir)? else { return Ok(inventory) };
        let files = store.members(ino)?.into_iter().map(|id| format!("{id}.json"));
        inventory.take(files.filter_map(|file| store.listed(&file)).collect());
        // The kernel hands numbers out again: a record of the one before may be there still.
        inventory.pods.retain(|pod| pod.netns.is_some_and(|id| id.ino == ino));
        if inventory.pods.is_empty() {
            inventory.pods.extend(idle_pod(&store, config, ino, &EveryView::new(every_view))?);
        }
        Ok(inventory)
    }

    /// Keeps an error to be reported, and goes on with the default.
    fn bad<T: Default>(&mut self, error: Error) -> T {
        self.bad.push(error);
        T::default()
    }

    fn empty(config: &Config) -> Result<Self, Problem> {
        let boot_id = this_boot()?;
        let present = Present::new(config, &boot_id);
        Ok(Self { pods: Vec::new(), boot_id, bad: Vec::new(), config: config.clone(), present })
    }

    /// Sorts records into pods.
    fn take(&mut self, listed: Vec<Listed>) {
        let mut records = Vec::with_capacity(listed.len());
        for (_, record) in listed {
            match record {
                Ok(record) => records.push(record),
                Err(error) => self.bad.push(error),
            }
        }
        self.pods = groups::pods(records, &self.present, &self.config.pin_name);
    }

    /// Every record, with the pod that it is of.
    pub(crate) fn records(&self) -> impl Iterator<Item = (&Pod, &Record)> {
        self.pods.iter().flat_map(|pod| pod.containers.iter().map(move |record| (pod, record)))
    }

    /// The registry to change.
    pub(crate) fn registry(config: &Config) -> Result<Registry, Problem> {
        Ok(Registry::new(Store::create(&config.run_dir)?, config.netns_dir.clone()))
    }

    /// The live process of a record, if it has one still.
    pub(crate) fn process(&self, record: &Record) -> Option<Process> {
        record.process(&self.boot_id).ok()
    }

    /// A descriptor of the pod's network namespace: from its pin, or from any live member. Verified by inode, so that a
    /// name that was given away meanwhile is not entered.
    pub(crate) fn open_netns(&self, pod: &Pod) -> Result<OwnedFd, Problem> {
        if let Some(fd) = self.open_pin(pod) {
            return Ok(fd);
        }
        for record in &pod.containers {
            let Some(process) = self.process(record) else { continue };
            if let Ok(fd) = process.open_namespace(NamespaceKind::Net)
                && (pod.netns.is_none() || NamespaceId::of(&fd).ok() == pod.netns)
            {
                return Ok(fd);
            }
        }
        Err(Problem::new(
            Exit::NoTarget,
            format!("{}: its network namespace has gone: no live container, no pin", pod.label()),
            "run `porthole reconcile`",
        ))
    }

    fn open_pin(&self, pod: &Pod) -> Option<OwnedFd> {
        let path = self.config.netns_dir.join(pod.pin.as_ref()?.as_str());
        let (fd, id) = netns::open(&path).ok()?;
        (Some(id) == pod.netns).then_some(fd)
    }

    /// Whether what the registry says of the pod's network namespace is true now, and not of one whose number the kernel
    /// has given to another since.
    pub(crate) fn holds(&self, pod: &Pod) -> bool {
        pod.containers.is_empty() || pod.containers.iter().any(|record| self.present.holds_netns(record))
    }

    /// Where the pins are.
    pub(crate) fn netns_dir(&self) -> &Path {
        &self.config.netns_dir
    }
}

/// The id of this boot.
pub(crate) fn this_boot() -> Result<String, Problem> {
    boot_id().map_err(|errno| Problem::failed(format!("read the boot id: {errno}")))
}

/// The host's namespaces.
pub(crate) fn host() -> Result<Host, Problem> {
    Host::open().map_err(|errno| Problem::failed(format!("open /proc/1/ns: {errno}")))
}

/// The mount namespaces of the node, looked for once, and only where a pod's holder is in another one than the host's.
type EveryView = LazyCell<Views>;

fn every_view() -> Views {
    Host::open().map(|host| views::all(&host)).unwrap_or_default()
}

/// Whether the namespace is found where its holder is: on the host, or in the mount namespace of an engine.
fn is_found(store: &Store, ino: u64, path: &Path, id: NamespaceId, views: &EveryView) -> bool {
    if look::is_at(path, id) {
        return true;
    }
    let Ok(Some(mounts)) = store.holder_mounts(ino) else { return false };
    views.see(path, mounts, id) == Seen::Yes
}

/// A pod without containers: the pin, and what the index says of whose it is.
fn idle_pod(store: &Store, config: &Config, ino: u64, views: &EveryView) -> Result<Option<Pod>, Error> {
    let Some(pin) = store.pin_name(ino)? else { return Ok(None) };
    let Some(dir) = NetnsDir::open(&config.netns_dir)? else { return Ok(None) };
    let Found::Inode(id) = dir.look(&pin)? else { return Ok(None) };
    if id.ino != ino {
        return Ok(None);
    }
    let sandbox = store.sandbox(ino)?.map(|sandbox| {
        let is_held =
            store.holder(ino).ok().flatten().is_some_and(|path| is_found(store, ino, &path, id, views));
        Idle { ready: is_held && !sandbox.is_stopped(), sandbox }
    });
    let label = store.pod(ino)?.unwrap_or_default();
    let (namespace, name) = label.split_once('/').unwrap_or(("", &label));
    Ok(Some(Pod {
        name: if name.is_empty() { pin.to_string() } else { name.to_owned() },
        namespace: Some(namespace.to_owned()).filter(|namespace| !namespace.is_empty()),
        netns: Some(id),
        on_host_network: false,
        pin: Some(pin),
        ended: false,
        sandbox,
        containers: Vec::new(),
    }))
}
