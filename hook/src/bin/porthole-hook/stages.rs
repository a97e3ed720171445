//! What is done in each stage: read, look, plan, and only then lock and change.

use crate::failure::Failure;
use crate::watchdog::{self, Step};
use crate::{LOG, bundle, input};
use porthole_registry::config::Config;
use porthole_registry::container_id::ContainerId;
use porthole_registry::deadline::Deadline;
use porthole_registry::host::Host;
use porthole_registry::identity::{Disk, Identity, identify};
use porthole_registry::observe::{Final, Subject, holder, observe};
use porthole_registry::oci::{Spec, State};
use porthole_registry::process::Process;
use porthole_registry::record::Record;
use porthole_registry::registration::{Registration, Registry};
use porthole_registry::stage::Stage;
use porthole_registry::store::Store;
use porthole_registry::views::{View, Views};
use porthole_registry::{Error, Lock, Released};
use std::path::Path;
use std::time::Duration;

/// The time that a process may need to end after it was killed.
const DYING: Duration = Duration::from_millis(100);

/// Runs one stage.
///
/// # Errors
/// What went wrong, one failure a line; what could be done all the same has been done.
pub(crate) fn run(stage: Stage, config: &Config, deadline: Deadline) -> Result<(), Vec<Failure>> {
    watchdog::at(Step::State);
    let subject = |what: &str| format!("{stage}: {what}");
    let stdin =
        input::state(deadline).map_err(|cause| vec![Failure::new(subject("no container"), cause, None)])?;
    let state = State::parse(&stdin)
        .map_err(|e| vec![Failure::new(subject("no container"), &e, Some(e.remedy()))])?;
    let id = ContainerId::parse(&state.id)
        .map_err(|e| vec![Failure::new(subject("no container"), e, Some(e.remedy()))])?;
    watchdog::container(id.as_str());
    watchdog::at(Step::Observe);
    let call = Call { stage, config, deadline, subject: format!("container {id}: {stage}"), id, state };
    let mut failures = Vec::new();
    if let Err(failure) = call.run(&mut failures) {
        failures.push(failure);
    }
    if failures.is_empty() { Ok(()) } else { Err(failures) }
}

/// One call of the hook.
struct Call<'a> {
    stage: Stage,
    config: &'a Config,
    deadline: Deadline,
    subject: String,
    id: ContainerId,
    state: State,
}

/// What is read of a container's configuration and of its engine's files.
struct Names {
    spec: Result<Spec, Failure>,
    identity: Identity,
}

impl Call<'_> {
    fn run(&self, failures: &mut Vec<Failure>) -> Result<(), Failure> {
        match self.stage {
            Stage::CreateRuntime | Stage::Prestart | Stage::Adopt | Stage::Unknown => {
                let process = self.process()?;
                self.register(&process, self.names(), failures)
            }
            Stage::Poststart => match self.process() {
                Ok(process) => self.refresh(&process, failures),
                // Ended already, as many a container does: poststop tells, or reconcile finds out.
                Err(_) => Ok(()),
            },
            Stage::Poststop => self.release(failures),
        }
    }

    fn failure(&self, error: &Error) -> Failure {
        Failure::of(self.subject.clone(), error)
    }

    fn process(&self) -> Result<Process, Failure> {
        let pid = self.state.pid.ok_or_else(|| {
            Failure::new(
                self.subject.clone(),
                "the OCI state names no process",
                Some("check which runtime wrote it"),
            )
        })?;
        Process::open(pid).map_err(|error| Failure::of_process(self.subject.clone(), error))
    }

    /// The configuration; without it the container is registered by what the state and the kernel tell.
    fn spec(&self) -> Result<Spec, Failure> {
        bundle::spec(Path::new(&self.state.bundle)).map_err(|cause| {
            Failure::new(
                self.subject.clone(),
                cause,
                Some("names and security context in the record may be incomplete"),
            )
        })
    }

    fn host(&self) -> Result<Host, Failure> {
        let cause = |errno| Failure::new(self.subject.clone(), format!("open /proc/1/ns: {errno}"), None);
        Host::open().map_err(cause)
    }

    /// Pins belong where pid 1 sees them. All that the runtime's own mount namespace shows has been opened by now.
    /// Returns the mount namespace that it has left: an engine's own pins are in that.
    fn enter_host(&self, host: &Host) -> Result<Views, Failure> {
        let enter = || {
            let Some(other) = host.other_mount_namespace()? else { return Ok(Views::default()) };
            let own = View::own()?;
            other.enter().map(|()| Views::one(own))
        };
        enter().map_err(|errno: rustix::io::Errno| {
            Failure::new(
                self.subject.clone(),
                format!("enter the host's mount namespace: {errno}; registered without a pin"),
                Some("run `porthole reconcile` on the host"),
            )
        })
    }

    /// What only the runtime's mount namespace may show.
    fn names(&self) -> Names {
        let spec = self.spec();
        let identity = identify(&self.state, spec.as_ref().ok(), &Disk);
        Names { spec, identity }
    }

    fn register(
        &self,
        process: &Process,
        Names { spec, identity }: Names,
        failures: &mut Vec<Failure>,
    ) -> Result<(), Failure> {
        let host = self.host()?;
        let spec = spec.map_err(|failure| failures.push(failure)).ok();
        let subject = Subject {
            id: self.id.clone(),
            bundle: Path::new(&self.state.bundle),
            identity,
            spec: spec.as_ref(),
            stage: self.stage,
        };
        let (record, mut netns) = observe(subject, process, &host).map_err(|error| self.failure(&error))?;
        let views = self.enter_host(&host).unwrap_or_else(|failure| {
            failures.push(failure);
            netns = None;
            Views::default()
        });
        let holder = spec.as_ref().and_then(holder);
        let registration = Registration { record, netns, template: &self.config.pin_name, holder };
        self.change(Store::create(&self.config.run_dir), views, |registry, lock| {
            registry.register(&lock, registration, self.deadline)
        })
    }

    fn refresh(&self, process: &Process, failures: &mut Vec<Failure>) -> Result<(), Failure> {
        let host = self.host()?;
        // Read for the case that the container is not registered, and read late where that makes no difference: most are.
        let mut names = None;
        if let Ok(Some(other)) = host.other_mount_namespace() {
            names = Some(self.names());
            // Not entered: registered without a pin, as createRuntime has said already.
            let _ = other.enter();
        }
        let store = Store::create(&self.config.run_dir).map_err(|error| self.failure(&error))?;
        let is_of = |record: &Record| record.pid == process.pid() && record.pid_start == process.start();
        match store.record(&self.id) {
            Ok(Some(record)) if is_of(&record) => {
                let found = Final::observe(process);
                self.change(Ok(store), Views::default(), |registry, lock| {
                    match registry.store.record(&self.id)? {
                        // Read again under the lock: `reconcile` may have given it another pin since.
                        Some(mut record) if is_of(&record) => {
                            found.write(&mut record, self.stage);
                            registry.update(&lock, &record)
                        }
                        // A quicker poststop has released it since the look.
                        _ => Ok(()),
                    }
                })
            }
            // Ended, and its number is another process's by now, which is not to be recorded in its place.
            Ok(Some(record)) if record.pid == process.pid() => Ok(()),
            // Missed so far, or of an earlier life.
            _ => self.register(process, names.unwrap_or_else(|| self.names()), failures),
        }
    }

    fn release(&self, failures: &mut Vec<Failure>) -> Result<(), Failure> {
        // The bundle is often gone by now, and the index knows the holder as well.
        let holder = self.spec().ok().as_ref().and_then(holder);
        let host = self.host()?;
        let views = self.enter_host(&host).unwrap_or_else(|failure| {
            failures.push(failure);
            Views::default()
        });
        let store = Store::open(&self.config.run_dir).map_err(|error| self.failure(&error))?;
        let Some(store) = store else { return Ok(()) };
        let registry = self.registry(store).seeing(views);
        let release = |lock| registry.release(lock, &self.id, holder.as_deref(), self.deadline);
        let mut released = self.locked(&registry, |lock| {
            // Here, where no container waits for its start. What goes wrong with other pods' pins is told, and is no
            // failure of this container.
            if let Err(error) = registry.sweep(&lock, usize::try_from(std::process::id()).unwrap_or(0)) {
                LOG.line(&Failure::of("sweep of idle pins".to_owned(), &error).to_string());
            }
            release(lock)
        })?;
        if let Released::Lives { pid, start } = released
            && let Ok(process) = Process::open_recorded(pid, start)
            && process.ends_by(self.deadline.or(Deadline::after(DYING)))
        {
            released = self.locked(&registry, release)?;
        }
        if let Released::Lives { pid, .. } = released {
            LOG.line(&format!(
                "{}: process {pid} of its record lives: nothing is released; this was the end of an earlier container of \
                 the id, or of one in another engine or under another `--root`",
                self.subject
            ));
        }
        Ok(())
    }

    fn registry(&self, store: Store) -> Registry {
        Registry::new(store, self.config.netns_dir.clone())
    }

    fn change(
        &self,
        store: Result<Store, Error>,
        views: Views,
        change: impl FnOnce(&Registry, Lock) -> Result<(), Error>,
    ) -> Result<(), Failure> {
        let registry = self.registry(store.map_err(|error| self.failure(&error))?).seeing(views);
        self.locked(&registry, |lock| change(&registry, lock))
    }

    fn locked<T>(
        &self,
        registry: &Registry,
        work: impl FnOnce(Lock) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        watchdog::at(Step::Lock);
        let lock = registry.store.lock(self.deadline).map_err(|error| self.failure(&error))?;
        watchdog::at(Step::Apply);
        work(lock).map_err(|error| self.failure(&error))
    }
}
