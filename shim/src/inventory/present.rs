//! Which records still say what is true: the kernel gives the number of a process, and of a namespace, to another once it
//! is free.

use crate::problem::Problem;
use porthole_registry::config::Config;
use porthole_registry::namespace::{NamespaceId, NamespaceKind};
use porthole_registry::record::Record;
use porthole_registry::store::Store;
use porthole_registry::{Found, NetnsDir};
use rustix::fs::CWD;
use std::path::PathBuf;

/// What is needed to tell.
#[derive(Debug)]
pub(super) struct Present {
    store: Option<Store>,
    netns_dir: PathBuf,
    boot_id: String,
}

impl Present {
    pub(super) fn new(config: &Config, boot_id: &str) -> Result<Self, Problem> {
        Ok(Self {
            store: Store::open(&config.run_dir)?,
            netns_dir: config.netns_dir.clone(),
            boot_id: boot_id.to_owned(),
        })
    }

    /// Whether the container's first process runs.
    pub(super) fn is_live(&self, record: &Record) -> bool {
        record.is_running(&self.boot_id)
    }

    /// Whether the pin on record is there, is of the network namespace on record, and is one that the index has the
    /// container below: a pin of another namespace with the same number and name is not.
    pub(super) fn is_pinned(&self, record: &Record) -> bool {
        let (Some(pin), Some(netns), Some(store)) = (&record.pin, record.netns(), &self.store) else {
            return false;
        };
        let look = || NetnsDir::open(&self.netns_dir).ok()??.look(&pin.name).ok();
        !netns.host
            && store.is_member(netns.id.ino, &record.id).unwrap_or(false)
            && look() == Some(Found::Inode(netns.id))
    }

    /// Whether the network namespace on record is the one that has its number now.
    pub(super) fn holds_netns(&self, record: &Record) -> bool {
        let Some(netns) = record.netns() else { return false };
        let of_process = || match NamespaceId::at(CWD, format!("/proc/{}/ns/net", record.pid).as_str()) {
            Ok(id) => id == netns.id,
            // Who may not look is told what is on record.
            Err(_) => true,
        };
        (self.is_live(record) && of_process()) || self.is_pinned(record)
    }

    /// The namespaces that the container has now, and those on record that its other processes may be in; of one that
    /// has ended the network namespace, as long as that is pinned. What is not so is no record of anything any more.
    pub(super) fn namespaces(&self, record: &Record) -> Option<Vec<NamespaceId>> {
        let on_record = record.namespaces.values().filter(|namespace| !namespace.host).map(|ns| ns.id);
        match record.process(&self.boot_id) {
            Ok(process) => {
                let now = NamespaceKind::ALL.into_iter().filter_map(|kind| process.namespace(kind).ok());
                Some(on_record.chain(now).collect())
            }
            Err(_) => self.is_pinned(record).then(|| record.netns().map(|ns| ns.id).into_iter().collect()),
        }
    }
}
