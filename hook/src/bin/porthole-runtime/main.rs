//! The runtime wrapper: adds porthole's hook to a bundle that is about to become a container, then becomes the real
//! runtime.
//!
//! Whatever happens, the real runtime is executed with exactly what the engine passed on; a container that could not be
//! hooked costs one line in the log.

#![deny(unsafe_code)]
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(dead_code, reason = "the tests have another main"))]

mod command;
mod inject;
mod invocation;
mod real;
mod rescue;

use command::Create;
use invocation::Invocation;
use porthole_hook::log::{self, Log};
use porthole_hook::sys;

/// Where failures are told.
const LOG: Log = Log::of("porthole-runtime");
/// The status of a call that names no arguments of a runtime.
const USAGE: u8 = 2;

porthole_hook::start!(run);

/// Runs the wrapper; returns only where there is no real runtime to become.
fn run() -> u8 {
    let args = sys::arguments();
    let invocation = match Invocation::parse(&args) {
        Ok(Invocation::Version) => {
            log::to_stdout(concat!("porthole-runtime ", env!("CARGO_PKG_VERSION"), "\n"));
            return 0;
        }
        Ok(Invocation::Run(run)) => run,
        Err(cause) => {
            LOG.to_stderr(&format!("{cause}; usage: {}", invocation::USAGE));
            return USAGE;
        }
    };
    let real = match real::path(invocation.real) {
        Ok(real) => real,
        Err(failure) => return failure.told(),
    };
    sys::prepare(real.clone(), invocation.first);
    if let Some(create) = Create::of(&args[invocation.first..]) {
        rescue::arm();
        if let Err(cause) = inject::into(&create, invocation.hook) {
            let line = format!(
                "{create}: {cause}; it starts without the hook, `porthole reconcile` registers it once it runs"
            );
            sys::without_sigpipe(|| LOG.line(&line));
        }
    }
    real::Failure::of(&real, &sys::exec()).told()
}
