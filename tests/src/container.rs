//! A container of a runtime, from create to delete.

use std::fs;

use crate::pod::Netns;
use crate::process::wait_until;
use crate::tools::Outcome;
use crate::{Bundle, Runtime};

/// A container that was created and is not deleted yet. The node's end takes what a failed test leaves.
#[derive(Debug)]
pub struct Container {
    runtime: Runtime,
    bundle: Bundle,
}

impl Container {
    /// Creates it; its process waits to be started.
    ///
    /// # Panics
    /// When the runtime fails.
    #[track_caller]
    #[must_use]
    pub fn create(runtime: Runtime, bundle: &Bundle) -> Self {
        bundle.write();
        runtime.create(&bundle.id, &bundle.dir).expect_success();
        Self { runtime, bundle: bundle.clone() }
    }

    /// Creates and starts it.
    #[track_caller]
    #[must_use]
    pub fn run(runtime: Runtime, bundle: &Bundle) -> Self {
        let container = Self::create(runtime, bundle);
        container.start();
        container
    }

    /// Starts its process.
    #[track_caller]
    pub fn start(&self) {
        self.runtime.start(&self.bundle.id).expect_success();
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.bundle.id
    }

    /// Its bundle.
    #[must_use]
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// `created`, `running` or `stopped`.
    #[must_use]
    pub fn status(&self) -> String {
        let state = self.runtime.state(self.id()).expect("the runtime knows the container");
        state["status"].as_str().expect("a status").to_owned()
    }

    /// Pid of its first process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        let state = self.runtime.state(self.id()).expect("the runtime knows the container");
        state["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a pid")
    }

    /// Its network namespace, as its process has it.
    #[must_use]
    pub fn netns(&self) -> Netns {
        Netns::of(self.pid()).expect("the container lives")
    }

    /// Waits until its process has ended.
    pub fn wait_stopped(&self) {
        wait_until("the container to stop", || self.status() == "stopped");
    }

    /// Kills its process and waits for its end.
    pub fn kill(&self) {
        let pid = self.pid();
        self.runtime.kill(self.id()).expect_success();
        wait_until("the container to end", || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        });
    }

    /// Deletes it, as an engine does.
    ///
    /// # Panics
    /// When the runtime fails.
    #[track_caller]
    pub fn delete(self) -> Outcome {
        let outcome = self.runtime.delete(self.id());
        outcome.expect_success();
        outcome
    }
}
