//! From what was found to records and pins.

use super::{Candidate, Engines, StateKind, Unreadable, find, spec, verify};
use crate::container_id::ContainerId;
use crate::deadline::Deadline;
use crate::error::{Error, Step};
use crate::host::Host;
use crate::identity::{Disk, Identity, Kind, identify};
use crate::look::{Ask, Seen, look};
use crate::namespace::{NamespaceId, NamespaceKind};
use crate::naming::Template;
use crate::observe::{Subject, holder, observe};
use crate::oci::{Spec, State};
use crate::process::{Process, ProcessError};
use crate::reconcile::{Action, Done};
use crate::registration::{Registration, Registry, Reservation};
use crate::release::nsfs;
use crate::sandbox::Sandbox;
use crate::stage::Stage;
use crate::text::clean;
use crate::views::Views;
use rustix::fd::OwnedFd;
use rustix::fs::{self, CWD, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

/// What adoption goes by.
#[derive(Debug)]
pub struct Adoption<'a> {
    /// Where engines' state is.
    pub engines: &'a Engines,
    /// The host's namespaces.
    pub host: &'a Host,
    /// This boot.
    pub boot_id: &'a str,
    /// The mount namespaces that engines can have their own pins in.
    pub views: &'a Views,
    /// How pins are named.
    pub template: &'a Template,
    /// How long to wait for the lock, each time.
    pub patience: Duration,
}

/// A container that is to be registered, or a pod to be pinned. Holds no descriptor: there may be thousands.
pub(super) struct Ready {
    pub(super) candidate: Candidate,
    pub(super) process: Option<(i32, u64)>,
    spec: Option<Spec>,
    pub(super) identity: Identity,
}

impl Registry {
    /// Registers the containers that run and have no record, and pins the pods whose sandbox has no process. Returns what
    /// it did; nothing where all have theirs. Stale records and pins are to be gone by then, so that names are free.
    ///
    /// Takes the lock for one container at a time, so that hooks get their turn.
    ///
    /// # Errors
    /// When the registry cannot be locked; what fails on one container is in the result.
    pub fn adopt(&self, adoption: &Adoption<'_>) -> Result<Vec<Done>, Error> {
        let found = find(adoption.engines);
        let mut done: Vec<_> = found.unreadable.into_iter().map(failed).collect();
        let mut ready = Vec::new();
        for candidate in found.candidates {
            match self.look(candidate, adoption) {
                Ok(one) => ready.extend(one),
                Err(unreadable) => done.push(failed(unreadable)),
            }
        }
        // The same order in every run, since names are given in it.
        ready.sort_by(|a, b| (rank(a), &a.candidate.id).cmp(&(rank(b), &b.candidate.id)));
        for one in ready {
            let (id, words) = (one.candidate.id.clone(), words(&one));
            let result = if one.process.is_some() {
                self.adopt_container(one, adoption)
            } else {
                self.adopt_pod(&one, adoption)
            };
            match result {
                Ok(false) => {}
                Ok(true) => done.push(Done {
                    action: Action::Adopt,
                    subject: id.to_string(),
                    detail: words,
                    failed: false,
                }),
                Err(Error::Process(ProcessError::Gone(_) | ProcessError::Reused { .. })) => {}
                Err(error @ Error::LockTimeout { .. }) => return Err(error),
                Err(error) => done.push(Done {
                    action: Action::Adopt,
                    subject: id.to_string(),
                    detail: error.to_string(),
                    failed: true,
                }),
            }
        }
        Ok(done)
    }

    /// Reads what there is of a candidate, unless there is nothing to be done about it.
    fn look(&self, candidate: Candidate, adoption: &Adoption<'_>) -> Result<Option<Ready>, Unreadable> {
        // One look at a file and at the process: all that an adopted container costs from then on.
        if self.is_recorded(&candidate.id, adoption.boot_id) { Ok(None) } else { examine(candidate) }
    }

    pub(super) fn is_recorded(&self, id: &ContainerId, boot_id: &str) -> bool {
        matches!(self.store.record(id), Ok(Some(record)) if record.is_running(boot_id))
    }

    /// Registers a container, unless it has ended or a hook has registered it since. Returns whether it did.
    fn adopt_container(&self, ready: Ready, adoption: &Adoption<'_>) -> Result<bool, Error> {
        let Ready { candidate: Candidate { id, bundle, .. }, process, spec, identity } = ready;
        let Some((pid, start)) = process else { return Ok(false) };
        let process = Process::open_recorded(pid, start)?;
        let holder = spec.as_ref().and_then(holder);
        let stage = Stage::Adopt;
        let subject = Subject { id: id.clone(), bundle: &bundle, identity, spec: spec.as_ref(), stage };
        let (record, netns) = observe(subject, &process, adoption.host)?;
        let deadline = Deadline::after(adoption.patience);
        let lock = self.store.lock(deadline)?;
        if self.is_recorded(&id, adoption.boot_id) {
            return Ok(false);
        }
        let registration = Registration { record, netns, template: adoption.template, holder };
        self.register(&lock, registration, deadline).map(|()| true)
    }

    /// Pins the network namespace of a pod without a process, if its engine still has it. Returns whether it did.
    fn adopt_pod(&self, ready: &Ready, adoption: &Adoption<'_>) -> Result<bool, Error> {
        let Some(reservation) = reservation(ready, adoption)? else { return Ok(false) };
        if self.is_reserved(&reservation)? {
            let ino = reservation.id.ino;
            // An older version has pinned it, and kept only the pod's name.
            if self.store.sandbox(ino)?.is_none() {
                let lock = self.store.lock(Deadline::after(adoption.patience))?;
                if self.is_reserved(&reservation)? {
                    self.store.set_sandbox(&lock, ino, &reservation.sandbox)?;
                }
            }
            return Ok(false);
        }
        let deadline = Deadline::after(adoption.patience);
        let lock = self.store.lock(deadline)?;
        Ok(self.reserve(&lock, &reservation, deadline)?.is_some())
    }

    /// Whether the namespace is pinned already: by an earlier run, or by the hook of one of the pod's containers.
    pub(super) fn is_reserved(&self, reservation: &Reservation<'_>) -> Result<bool, Error> {
        match self.store.pin_name(reservation.id.ino)? {
            Some(name) => self.is_pin(&name, reservation.id),
            None => Ok(false),
        }
    }
}

/// Reads what there is of a candidate that has no record, unless it does not run.
pub(super) fn examine(candidate: Candidate) -> Result<Option<Ready>, Unreadable> {
    let wrong = |cause: String| Unreadable { path: candidate.bundle.clone(), cause };
    let process = verify::process(&candidate).map_err(|error| wrong(error.to_string()))?;
    let process = process.map(|process| (process.pid(), process.start()));
    // A containerd or runtime directory without its process is of a container that has ended.
    if process.is_none() && candidate.kind != StateKind::ContainersStorage {
        return Ok(None);
    }
    let spec = match spec::read(&candidate.bundle) {
        // Of a container that does not run nothing is missing, and power cuts leave many a half-written file.
        Err(_) if process.is_none() => return Ok(None),
        read => read.map_err(wrong)?,
    };
    // Most without a process are containers that do not run. Asked first, as a name takes reading an index.
    if process.is_none() && !spec.as_ref().is_some_and(is_sandbox_without_process) {
        return Ok(None);
    }
    let state = State {
        id: candidate.id.to_string(),
        bundle: candidate.bundle.to_str().unwrap_or_default().to_owned(),
        ..State::default()
    };
    let identity = identify(&state, spec.as_ref(), &Disk);
    Ok(Some(Ready { candidate, process, spec, identity }))
}

/// What is to be pinned for a pod without a process; nothing where its engine has it no more.
pub(super) fn reservation<'a>(
    ready: &Ready,
    adoption: &Adoption<'a>,
) -> Result<Option<Reservation<'a>>, Error> {
    let Some(holder) = ready.spec.as_ref().and_then(holder) else { return Ok(None) };
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    if look(&holder, Ask::Patiently) == Seen::Silence {
        return Err(Step::OpenNamespace.on(holder.display().to_string())(Errno::TIMEDOUT));
    }
    let mut found = netns_in(&holder, fs::openat(CWD, &holder, flags, Mode::empty()))?;
    for view in adoption.views.engines() {
        if found.is_none() {
            found = netns_in(&holder, view.open(&holder, flags))?;
        }
    }
    let Some((netns, id)) = found else { return Ok(None) };
    if adoption.host.namespace(NamespaceKind::Net) == Some(id) {
        return Ok(None);
    }
    let identity = ready.identity.clone();
    let sandbox = Sandbox::new(&identity, &ready.candidate.id, &ready.candidate.bundle);
    Ok(Some(Reservation { netns, id, template: adoption.template, sandbox, identity, holder }))
}

/// The network namespace that an engine has at `path`, as it was opened; none where it has gone, or something else is there.
fn netns_in(path: &Path, opened: Result<OwnedFd, Errno>) -> Result<Option<(OwnedFd, NamespaceId)>, Error> {
    let fail = || Step::OpenNamespace.on(path.display().to_string());
    let fd = match opened {
        Ok(fd) => fd,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(errno) => return Err(fail()(errno)),
    };
    let id = NamespaceId::of(&fd).map_err(fail())?;
    // The kernel's own name for it, or the path where an engine has mounted it.
    let link = fs::readlinkat(CWD, format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new()).map_err(fail())?;
    let link = link.as_bytes();
    let is_netns = link.starts_with(b"/") || link == format!("net:[{}]", id.ino).as_bytes();
    Ok((Some(id.dev) == nsfs() && is_netns).then_some((fd, id)))
}

/// Sandboxes have the pod's name, so they come first; and a network namespace is called after the container that it was
/// made for, not after those that joined it.
fn rank(ready: &Ready) -> u8 {
    let joins = ready.spec.as_ref().and_then(holder).is_some();
    match (ready.identity.kind, joins) {
        (Kind::Sandbox, _) => 0,
        (Kind::Container, false) => 1,
        (Kind::Container, true) => 2,
    }
}

/// Whether this is a sandbox as CRI-O makes it where no process is needed: a network namespace of the engine's own.
fn is_sandbox_without_process(spec: &Spec) -> bool {
    let kind = spec.annotations.get("io.kubernetes.cri-o.ContainerType");
    kind.is_some_and(|kind| kind == "sandbox") && holder(spec).is_some()
}

/// Whose it is, and why it is adopted.
pub(super) fn words(ready: &Ready) -> String {
    let Identity { engine, kind, name, pod, .. } = &ready.identity;
    let pod = pod.as_ref().map(|pod| {
        let namespace = pod.namespace.as_ref().map(|namespace| format!(" ({namespace})")).unwrap_or_default();
        format!("{}{namespace}", pod.name)
    });
    let whose = match (kind, name, pod) {
        (Kind::Sandbox, _, Some(pod)) => format!("sandbox of {pod}"),
        (_, Some(name), Some(pod)) => format!("{name} of {pod}"),
        (_, Some(name), None) => name.clone(),
        (_, None, Some(pod)) => pod,
        (_, None, None) => ready.candidate.id.short().to_owned(),
    };
    let why =
        if ready.process.is_some() { "ran before it was registered" } else { "its network was not pinned" };
    format!("{whose}, {}: {why}", engine.as_str())
}

fn failed(Unreadable { path, cause }: Unreadable) -> Done {
    // Whatever the name of a file is, it is one cell of a table.
    let subject = clean(&path.display().to_string()).unwrap_or_default();
    Done { action: Action::Adopt, subject, detail: cause, failed: true }
}
