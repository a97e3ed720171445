//! The look for what adoption would register, for those who only look.

use super::register::{Ready, examine, reservation, words};
use super::{Adoption, Unreadable, find};
use crate::container_id::ContainerId;
use crate::identity::Kind;
use crate::namespace::NamespaceKind;
use crate::process::Process;
use crate::registration::Registry;

/// What runs without being registered.
#[derive(Debug, Default)]
pub struct Missing {
    /// Containers, each with whose it is, for people.
    pub containers: Vec<(ContainerId, String)>,
    /// Sandboxes of pods whose network is not pinned either. Engines whose hooks are not called for sandboxes have them
    /// whenever no container of a pod could be started yet.
    pub pods: Vec<(ContainerId, String)>,
    /// State of engines that cannot be read.
    pub unreadable: Vec<Unreadable>,
    /// The processes of all containers that were found without a record, whether they need one or not.
    pub processes: Vec<i32>,
}

/// What [`Registry::adopt`] would register now; all that runs, where there is no registry yet. Takes no lock and changes
/// nothing, so a hook may be at work on what it names.
pub fn missing(registry: Option<&Registry>, adoption: &Adoption<'_>) -> Missing {
    let found = find(adoption.engines);
    let mut missing = Missing { unreadable: found.unreadable, ..Missing::default() };
    for candidate in found.candidates {
        if registry.is_some_and(|registry| registry.is_recorded(&candidate.id, adoption.boot_id)) {
            continue;
        }
        match examine(candidate) {
            Ok(None) => {}
            Ok(Some(ready)) => {
                missing.processes.extend(ready.process.map(|(pid, _)| pid));
                let what = (ready.candidate.id.clone(), words(&ready));
                if ready.process.is_some() && ready.identity.kind == Kind::Container {
                    missing.containers.push(what);
                } else if !is_pinned(registry, &ready, adoption) {
                    missing.pods.push(what);
                }
            }
            Err(unreadable) => missing.unreadable.push(unreadable),
        }
    }
    missing
}

/// Whether the pod of a sandbox has its pin, or needs none. What cannot be looked at has not: `reconcile` says why.
fn is_pinned(registry: Option<&Registry>, ready: &Ready, adoption: &Adoption<'_>) -> bool {
    let Some((pid, start)) = ready.process else {
        return match (reservation(ready, adoption), registry) {
            (Ok(None), _) => true,
            (Ok(Some(reservation)), Some(registry)) => registry.is_reserved(&reservation).unwrap_or(false),
            _ => false,
        };
    };
    let kind = NamespaceKind::Net;
    let netns = Process::open_recorded(pid, start).ok().and_then(|process| process.namespace(kind).ok());
    let Some(id) = netns else { return false };
    let is_pin = |registry: &Registry| {
        let name = registry.store.pin_name(id.ino).ok().flatten();
        name.is_some_and(|name| registry.is_pin(&name, id).unwrap_or(false))
    };
    adoption.host.namespace(kind) == Some(id) || registry.is_some_and(is_pin)
}
