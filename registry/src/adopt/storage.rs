//! CRI-O and podman: `STORAGE/DRIVER-containers/ID/userdata/{config.json,pidfile}`.
//!
//! CRI-O has both in the run root and a copy of `config.json` in the graph root, and its bundle is the one in the run
//! root. podman has `pidfile` in the run root and `config.json` in the graph root, and its bundle is that one. So all
//! storages are looked through before a container is put together. CRI-O's sandboxes have no process unless they need
//! one: of those there is `config.json` alone, as there is of containers that do not run.

use super::files::{Directory, each_container, pid_in};
use super::{Candidate, Claim, Evidence, Found, StateKind};
use crate::container_id::ContainerId;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What the storages have of one container.
#[derive(Default)]
struct Parts {
    process: Option<Claim>,
    bundle: Option<PathBuf>,
}

pub(super) fn find(storages: &[PathBuf], found: &mut Found) {
    let mut containers: BTreeMap<ContainerId, Parts> = BTreeMap::new();
    for storage in storages {
        let opened = Directory::root(storage);
        let drivers = opened.and_then(|dir| dir.map(|dir| Ok((dir.names()?, dir))).transpose());
        let (names, storage) = match drivers {
            Ok(None) => continue,
            Ok(Some(opened)) => opened,
            Err(cause) => {
                found.unreadable(storage.clone(), cause);
                continue;
            }
        };
        for name in names.iter().filter(|name| name.ends_with("-containers")) {
            let Ok(Some(driver)) = storage.below(name) else { continue };
            each_container(&driver, found, |found, id, container| match container.below("userdata") {
                Ok(None) => {}
                Ok(Some(userdata)) => {
                    if let Err(cause) = containers.entry(id).or_default().add(&userdata) {
                        found.unreadable(userdata.path().to_owned(), cause);
                    }
                }
                Err(cause) => found.unreadable(container.path().to_owned(), cause),
            });
        }
    }
    for (id, Parts { process, bundle }) in containers {
        if let Some(bundle) = bundle {
            found.candidates.push(Candidate { id, process, bundle, kind: StateKind::ContainersStorage });
        }
    }
}

impl Parts {
    fn add(&mut self, userdata: &Directory) -> Result<(), String> {
        let has_config = userdata.has("config.json");
        let pidfile = userdata.read("pidfile", 64)?;
        if has_config && (self.bundle.is_none() || pidfile.is_some()) {
            self.bundle = Some(userdata.path().to_owned());
        }
        if let Some(content) = pidfile {
            let pid = pid_in(&content).map_err(|cause| format!("pidfile: {cause}"))?;
            self.process = Some(Claim { pid, evidence: Evidence::Written(content.written) });
        }
        Ok(())
    }
}
