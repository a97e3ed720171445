//! The OCI hook: records a container's namespaces and pins its network namespace.
//!
//! Whatever happens, a container is never failed for it: exit status 0, within a deadline, and one line in the log.

#![deny(unsafe_code)]
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(dead_code, reason = "the tests have another main"))]

mod bundle;
mod failure;
mod input;
mod invocation;
mod stages;
mod watchdog;

use failure::Failure;
use invocation::Invocation;
use porthole_hook::log::{self, Log};
use porthole_hook::sys;
use porthole_registry::config::{Config, OnError};
use porthole_registry::look;
use rustix::fs::Mode;
use watchdog::{Clock, Step};

/// Where failures are told.
const LOG: Log = Log::of("porthole-hook");
/// The status of a run that did what it could.
const DONE: u8 = 0;
/// The status of a failed run, for those who want a failure of the hook to fail the container.
const FAILED: u8 = 1;

porthole_hook::start!(run);

/// Runs the hook.
fn run() -> u8 {
    let arguments = sys::arguments();
    if let Some(answer) = look::answer(&arguments) {
        log::to_stdout(&answer);
        return DONE;
    }
    watchdog::catch_crashes();
    let clock = Clock::start();
    // Some runtimes call hooks with umask 0, some sites set 077: the modes below are meant as they are written.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    match Invocation::parse(arguments.into_iter().skip(1)) {
        Ok(Invocation::Version) => {
            log::to_stdout(concat!("porthole-hook ", env!("CARGO_PKG_VERSION"), "\n"));
            DONE
        }
        Ok(Invocation::Stage { stage, config }) => {
            watchdog::at(Step::Config);
            let (config, problems) = Config::load(config.as_deref());
            let deadline = clock.set(&config);
            for problem in problems {
                LOG.line(&format!("configuration: {problem}; its default is used"));
            }
            let result = stages::run(stage, &config, deadline);
            verdict(result, config.on_error)
        }
        Err(failure) => {
            // The runtime may be writing the state still, and would die of SIGPIPE.
            input::drain(clock.set(&Config::default()));
            verdict(Err(vec![failure]), OnError::Ignore)
        }
    }
}

fn verdict(result: Result<(), Vec<Failure>>, on_error: OnError) -> u8 {
    let Err(failures) = result else { return DONE };
    for failure in failures {
        let line = failure.to_string();
        LOG.line(&line);
        if on_error == OnError::Fail {
            LOG.to_stderr(&line);
        }
    }
    match on_error {
        OnError::Ignore => DONE,
        OnError::Fail => FAILED,
    }
}
