//! The last resort: whatever trips up the wrapper, the real runtime is executed.
//!
//! A panic calls a function of ours first. Running out of memory or of stack ends in a signal; what handles it calls
//! nothing that allocates or locks.

use porthole_hook::sys;

use crate::LOG;

/// The status where nothing else is left: the real runtime was there and could not be executed.
const FAILED: i32 = 126;

/// Has the real runtime executed after a mistake of ours. It is prepared already.
pub(crate) fn arm() {
    sys::use_alternate_stack();
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or(("an unknown place", 0), |place| (place.file(), place.line()));
        go_on(b"internal error", Some(place))
    }));
    for signal in sys::CRASHES {
        drop(sys::take_over(signal, Some(crashed)));
    }
    // RLIMIT_FSIZE: the write fails, and the bundle stays as it is.
    drop(sys::take_over(libc::SIGXFSZ, None));
}

extern "C" fn crashed(_: i32) {
    go_on(b"crashed", None);
}

fn go_on(what: &[u8], place: Option<(&str, u32)>) {
    let mut line = LOG.begin();
    line.push(what);
    if let Some((file, number)) = place {
        line.push(b" at ");
        line.push(file.as_bytes());
        line.push(b":");
        line.push_number(number.into());
    }
    line.push(b" while adding the hook; the container starts without it, `porthole reconcile` registers it");
    sys::without_sigpipe(|| line.send());
    // It has been told why nothing can be done any more.
    drop(sys::exec());
    sys::exit_now(FAILED)
}
