//! The only unsafe code of the hook and the wrapper: where they start, signal handlers that end the process, the mask of
//! signals, and the start of another program in its place.
//!
//! They start in C's `main`, not in the standard library's: that one reads `/proc/self/maps` and makes a dozen more
//! system calls before every start, ignores SIGPIPE, and links a fifth of a megabyte, for things that these programs do
//! for themselves or must not do.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsString, c_char};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

const ALTERNATE_STACK: usize = 32 << 10;

/// The stack of the signal handlers: static, so that it needs no memory when there is none.
static mut STACK: [u8; ALTERNATE_STACK] = [0; ALTERNATE_STACK];

/// What the kernel passed to the program: `argv` with its null at the end, and `envp`.
static ARGV: AtomicPtr<*const c_char> = AtomicPtr::new(std::ptr::null_mut());
static ARGC: AtomicUsize = AtomicUsize::new(0);
static ENVP: AtomicPtr<*const c_char> = AtomicPtr::new(std::ptr::null_mut());

/// The signals that a mistake of the program's own ends in.
pub const CRASHES: [i32; 5] = [libc::SIGABRT, libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// The signals that [`take_over`] has changed, and those of them that were ignored and blocked before: bit N is signal N.
static TAKEN: AtomicU64 = AtomicU64::new(0);
static IGNORED: AtomicU64 = AtomicU64::new(0);
static BLOCKED: AtomicU64 = AtomicU64::new(0);

/// What [`exec`] starts: its path, and the first of the arguments that are passed on.
static PATH: AtomicPtr<c_char> = AtomicPtr::new(std::ptr::null_mut());
static FIRST: AtomicUsize = AtomicUsize::new(0);

/// Makes the function that the C library enters the program by, which calls `$run` and exits with its status.
///
/// Under test the usual `main` is there instead.
#[macro_export]
macro_rules! start {
    ($run:path) => {
        // SAFETY: `main` is the symbol that the C start files look for, with this signature; with `no_main` there is
        // no other.
        #[cfg(not(test))]
        #[unsafe(no_mangle)]
        extern "C" fn main(
            argc: i32,
            argv: *mut *const std::ffi::c_char,
            envp: *mut *const std::ffi::c_char,
        ) -> i32 {
            // SAFETY: these are the arguments of `main`.
            unsafe { $crate::sys::started(argc, argv, envp) };
            i32::from($run())
        }
    };
}

/// Keeps what `main` was called with.
///
/// # Safety
/// The arguments are those of C's `main`: two lists of strings that live and may be written to as long as the process
/// does, the first one of `argc` strings and a null.
pub unsafe fn started(argc: i32, argv: *mut *const c_char, envp: *mut *const c_char) {
    ARGV.store(argv, Ordering::Relaxed);
    ENVP.store(envp, Ordering::Relaxed);
    ARGC.store(usize::try_from(argc).unwrap_or(0), Ordering::Release);
}

/// What the program was called with, its own name first. Not every C library tells the standard library, which had no
/// part in the start.
pub fn arguments() -> Vec<OsString> {
    let (argc, argv) = (ARGC.load(Ordering::Acquire), ARGV.load(Ordering::Relaxed));
    if argv.is_null() {
        return Vec::new();
    }
    // SAFETY: by the contract of `started` this is a list of `argc` pointers, which stays.
    let strings = unsafe { std::slice::from_raw_parts(argv, argc) };
    // SAFETY: by that contract each is a string, which stays too.
    let bytes = |&string: &*const c_char| unsafe { CStr::from_ptr(string) }.to_bytes().to_vec();
    strings.iter().map(|string| OsString::from_vec(bytes(string))).collect()
}

/// Gets [`exec`] ready to start `path` with the arguments from number `first` on; there is at least one before them.
pub fn prepare(path: CString, first: usize) {
    FIRST.store(first, Ordering::Relaxed);
    // Never freed: a signal handler may need it at any time.
    PATH.store(path.into_raw(), Ordering::Release);
}

/// Becomes the program that was prepared: execve(2). Environment, directory, descriptors, mask and dispositions of signals
/// pass on as they were when this program began. Returns only when that fails. May be called from a signal handler.
pub fn exec() -> io::Error {
    give_back();
    let (path, first) = (PATH.load(Ordering::Acquire), FIRST.load(Ordering::Relaxed));
    let (argc, argv) = (ARGC.load(Ordering::Acquire), ARGV.load(Ordering::Relaxed));
    if path.is_null() || !(1..=argc).contains(&first) {
        return io::Error::from_raw_os_error(libc::EINVAL);
    }
    let args = argv.wrapping_add(first - 1);
    // SAFETY: by the contract of `started` the list has `argc` strings and may be written to, and `first - 1` is less
    // than `argc`. `path` is a C string that is never freed. There are no threads, and whoever reads the arguments
    // later on finds a C string there as before.
    unsafe { args.write(path) };
    // SAFETY: `path` is a C string; `args` points into a list of C strings that ends in a null, as does `envp`, by the
    // contract of `started`.
    unsafe { libc::execve(path, args, ENVP.load(Ordering::Relaxed)) };
    io::Error::last_os_error()
}

/// Ignores a signal: signal(7). A write to a pipe whose reader has gone is to fail, not to kill.
pub fn ignore(signal: i32) {
    // SAFETY: SIG_IGN installs no code; the number is a constant of the caller's, and a wrong one is answered with an
    // error that changes nothing.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Gives signal handlers a stack of their own, so that they run when the stack has overflowed: sigaltstack(2).
pub fn use_alternate_stack() {
    let stack = libc::stack_t { ss_sp: (&raw mut STACK).cast(), ss_flags: 0, ss_size: ALTERNATE_STACK };
    // SAFETY: `stack` describes memory that lives for ever and that nothing else refers to; only its address is taken,
    // never a reference. The call copies the description; the old one is not asked for (null).
    unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) };
}

/// Ends the process at once, without destructors: _exit(2). May be called from a signal handler.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: takes an integer, touches no memory of ours, and does not return.
    unsafe { libc::_exit(status) }
}

/// Has `handler` called on each of `signals` from now on: sigaction(2), sigprocmask(2). Some runtimes start hooks with every
/// signal blocked. It runs on the alternate stack where there is one, so that it also runs when the stack has overflowed.
///
/// # Errors
/// Those of sigaction(2).
pub fn on_signals(signals: &[i32], handler: extern "C" fn(i32)) -> io::Result<()> {
    let pending = pending();
    for &signal in signals {
        // It was sent before this program began. Ignoring it discards it.
        if pending & 1 << signal != 0 {
            ignore(signal);
        }
        act(signal, &action(handler as *const () as usize, libc::SA_ONSTACK))?;
    }
    mask(libc::SIG_UNBLOCK, signals.iter().fold(0, |bits, signal| bits | 1 << signal));
    Ok(())
}

/// The same for a program that becomes another one, which has to find signals as this one found them: [`exec`] restores
/// them. A handler runs once. Without a handler the signal is ignored.
///
/// # Errors
/// Those of sigaction(2).
pub fn take_over(signal: i32, handler: Option<extern "C" fn(i32)>) -> io::Result<()> {
    let bit = 1 << signal;
    // It was sent before this program began, so it is meant for the next one.
    if pending() & bit != 0 {
        return Ok(());
    }
    let flags = libc::SA_ONSTACK | libc::SA_NODEFER | libc::SA_RESETHAND;
    let new =
        handler.map_or(action(libc::SIG_IGN, 0), |handler| action(handler as *const () as usize, flags));
    let old = act(signal, &new)?;
    if old.sa_sigaction == libc::SIG_IGN {
        IGNORED.fetch_or(bit, Ordering::Relaxed);
    }
    TAKEN.fetch_or(bit, Ordering::Release);
    if handler.is_some() && mask(libc::SIG_UNBLOCK, bit) & bit != 0 {
        BLOCKED.fetch_or(bit, Ordering::Release);
    }
    Ok(())
}

/// Undoes [`take_over`].
fn give_back() {
    let (taken, ignored) = (TAKEN.swap(0, Ordering::Acquire), IGNORED.load(Ordering::Relaxed));
    let blocked = BLOCKED.swap(0, Ordering::Acquire);
    if blocked != 0 {
        mask(libc::SIG_BLOCK, blocked);
    }
    for signal in (1..64).filter(|signal| taken & (1 << signal) != 0) {
        let handler = if ignored & (1 << signal) == 0 { libc::SIG_DFL } else { libc::SIG_IGN };
        drop(act(signal, &action(handler, 0)));
    }
}

/// Changes the mask of signals by those whose bits are set, and returns what it was.
fn mask(how: i32, signals: u64) -> u64 {
    let mut set = empty_set();
    for signal in (1..64).filter(|signal| signals & (1 << signal) != 0) {
        // SAFETY: `set` is an initialised set of signals; a number that is none is answered with an error.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    let mut old = empty_set();
    // SAFETY: both are initialised and outlive the call, which reads one and fills the other.
    unsafe { libc::sigprocmask(how, &raw const set, &raw mut old) };
    bits(&old)
}

/// The signals that were sent while they were blocked.
fn pending() -> u64 {
    let mut set = empty_set();
    // SAFETY: the set is initialised and outlives the call, which fills it.
    unsafe { libc::sigpending(&raw mut set) };
    bits(&set)
}

fn empty_set() -> libc::sigset_t {
    // SAFETY: an all-zero set of signals is a valid value: the empty one.
    unsafe { std::mem::zeroed() }
}

fn bits(set: &libc::sigset_t) -> u64 {
    // SAFETY: the set is a reference to an initialised one; a number that is no signal's is answered with an error.
    let is_in = |signal: &i32| unsafe { libc::sigismember(set, *signal) } == 1;
    (1..64).filter(is_in).fold(0, |bits, signal| bits | 1 << signal)
}

/// Does `work` while SIGPIPE is ignored, which may be what it was before or not.
pub fn without_sigpipe(work: impl FnOnce()) {
    let old = act(libc::SIGPIPE, &action(libc::SIG_IGN, 0));
    work();
    if let Ok(old) = old {
        drop(act(libc::SIGPIPE, &old));
    }
}

fn action(handler: usize, flags: i32) -> libc::sigaction {
    // SAFETY: an all-zero sigaction is a valid value: no flags, an empty mask, SIG_DFL.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    action
}

/// Sets what is done on a signal, and returns what was done before.
fn act(signal: i32, new: &libc::sigaction) -> io::Result<libc::sigaction> {
    let mut old = action(libc::SIG_DFL, 0);
    // SAFETY: both are initialised and outlive the call, which copies one and fills the other. What `new` has for a
    // handler is SIG_IGN, what the kernel said before, or an `extern "C" fn(i32)`, as is called where SA_SIGINFO is not
    // set, that lives for ever: this function is called by those above alone. That it only makes calls allowed in a
    // handler is for its author.
    let rc = unsafe { libc::sigaction(signal, new, &raw mut old) };
    if rc == 0 { Ok(old) } else { Err(io::Error::last_os_error()) }
}
