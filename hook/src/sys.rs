//! The only unsafe code of the hook: where it starts, a timer, and signal handlers that end the process.
//!
//! It starts in C's `main`, not in the standard library's: that one reads `/proc/self/maps` and makes a dozen more
//! system calls before every start, and links a fifth of a megabyte, for things that this program does for itself.

#![allow(unsafe_code)]

use std::io;

const ALTERNATE_STACK: usize = 32 << 10;

/// The stack of the signal handlers: static, so that it needs no memory when there is none.
static mut STACK: [u8; ALTERNATE_STACK] = [0; ALTERNATE_STACK];

/// Where the C library enters the program. The arguments are read through `std::env`, which knows them on its own.
// SAFETY: `main` is the symbol that the C start files look for, with this signature; with `no_main` there is no other.
#[cfg(not(test))]
#[unsafe(no_mangle)]
extern "C" fn main(_argc: i32, _argv: *const *const u8) -> i32 {
    i32::from(crate::run())
}

/// Ignores a signal: signal(7). A write to a pipe whose reader has gone is to fail, not to kill.
pub(crate) fn ignore(signal: i32) {
    // SAFETY: SIG_IGN installs no code; the number is a constant of the caller's, and a wrong one is answered with an
    // error that changes nothing.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Gives signal handlers a stack of their own, so that they run when the stack has overflowed: sigaltstack(2).
pub(crate) fn use_alternate_stack() {
    let stack = libc::stack_t { ss_sp: (&raw mut STACK).cast(), ss_flags: 0, ss_size: ALTERNATE_STACK };
    // SAFETY: `stack` describes memory that lives for ever and that nothing else refers to; only its address is taken,
    // never a reference. The call copies the description; the old one is not asked for (null).
    unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) };
}

/// Ends the process at once, without destructors: _exit(2). May be called from a signal handler.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: takes an integer, touches no memory of ours, and does not return.
    unsafe { libc::_exit(status) }
}

/// Has `handler` called on `signal`: sigaction(2). It runs on the alternate stack where there is one, so that it also
/// runs when the stack has overflowed.
pub(crate) fn on_signal(signal: i32, handler: extern "C" fn(i32)) -> io::Result<()> {
    // SAFETY: an all-zero sigaction is a valid value: no flags, an empty mask, SIG_DFL.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_ONSTACK;
    // SAFETY: `action` is fully initialised above and outlives the call, which copies it; the old action is not
    // asked for (null). `handler` is an `extern "C" fn(i32)`, as is called where SA_SIGINFO is not set, and lives for
    // ever. That it only makes calls allowed in a handler is for its author: see `watchdog`.
    let rc = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends the process SIGALRM after `milliseconds` of real time, once: setitimer(2).
pub(crate) fn alarm(milliseconds: u64) -> io::Result<()> {
    let number = |n: u64| n.try_into().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    let value =
        libc::timeval { tv_sec: number(milliseconds / 1000)?, tv_usec: number(milliseconds % 1000 * 1000)? };
    let timer = libc::itimerval { it_interval: libc::timeval { tv_sec: 0, tv_usec: 0 }, it_value: value };
    // SAFETY: `timer` is initialised and outlives the call, which copies it; the old timer is not asked for (null).
    let rc = unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
