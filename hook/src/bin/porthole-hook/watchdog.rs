//! The last resort: whatever blocks or crashes the hook, it ends in time, with the status that the configuration asks for and
//! a line in the log.
//!
//! A system call that does not return (a dead file system) cannot be polled with a deadline, and a panic or a stack
//! overflow would end in SIGABRT. The code that runs then calls nothing that allocates, locks or waits.

use crate::LOG;
use porthole_hook::log::Line;
use porthole_hook::sys;
use porthole_registry::config::{Config, OnError};
use porthole_registry::deadline::Deadline;
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// The stack of the thread that waits: enough for one line.
const STACK: usize = 64 << 10;
const LONGEST_ID: usize = 256;

static STATUS: AtomicI32 = AtomicI32::new(0);
static DEADLINE_MS: AtomicU64 = AtomicU64::new(0);
static STEP: AtomicU8 = AtomicU8::new(0);
static ID: [AtomicU8; LONGEST_ID] = [const { AtomicU8::new(0) }; LONGEST_ID];
static ID_LENGTH: AtomicUsize = AtomicUsize::new(0);

/// What the hook is at, for the line that tells where it stopped.
#[derive(Clone, Copy)]
pub(crate) enum Step {
    /// Reading the hook's own configuration.
    Config,
    /// Reading standard input.
    State,
    /// Looking at the container's process and configuration.
    Observe,
    /// Waiting for the registry's lock.
    Lock,
    /// Changing the registry.
    Apply,
}

impl Step {
    const fn text(step: u8) -> &'static str {
        match step {
            0 => "reading its configuration",
            1 => "reading the OCI state from stdin",
            2 => "looking at the container's process and configuration",
            3 => "waiting for the registry's lock",
            _ => "changing the registry",
        }
    }
}

/// Says what the hook is at.
pub(crate) fn at(step: Step) {
    STEP.store(step as u8, Ordering::Relaxed);
}

/// Says which container the hook was called for.
pub(crate) fn container(id: &str) {
    for (place, byte) in ID.iter().zip(id.bytes()) {
        place.store(byte, Ordering::Relaxed);
    }
    ID_LENGTH.store(id.len().min(LONGEST_ID), Ordering::Release);
}

/// The clock of one run. It counts from the start of the program.
pub(crate) struct Clock {
    start: Instant,
    /// The thread that waits for the deadline.
    thread: Option<Thread>,
}

impl Clock {
    /// Starts it with the usual deadline, before anything that can wait.
    ///
    /// A thread waits for it. While a system call waits for a file system that does not answer, no handler of a signal
    /// runs, but a thread that ends the process ends such a wait too.
    pub(crate) fn start() -> Self {
        let start = Instant::now();
        let ms = milliseconds(&Config::default());
        DEADLINE_MS.store(ms, Ordering::Relaxed);
        let thread = std::thread::Builder::new().stack_size(STACK).spawn(move || wait(start));
        // Where no thread can be made, the runtime's own timeout remains.
        Self { start, thread: thread.ok().map(|handle| handle.thread().clone()) }
    }

    /// Takes deadline and status from the configuration. Returns the deadline of the work, a little earlier than that of
    /// the thread, which is for calls that take no deadline.
    pub(crate) fn set(&self, config: &Config) -> Deadline {
        STATUS.store(i32::from(config.on_error == OnError::Fail), Ordering::Relaxed);
        let ms = milliseconds(config);
        if DEADLINE_MS.swap(ms, Ordering::Relaxed) != ms {
            self.thread.as_ref().map(Thread::unpark);
        }
        Deadline::at(self.start + config.deadline * 9 / 10)
    }
}

fn milliseconds(config: &Config) -> u64 {
    u64::try_from(config.deadline.as_millis()).unwrap_or(1000)
}

fn left(start: Instant) -> Duration {
    Duration::from_millis(DEADLINE_MS.load(Ordering::Relaxed)).saturating_sub(start.elapsed())
}

fn wait(start: Instant) {
    while !left(start).is_zero() {
        std::thread::park_timeout(left(start));
    }
    out_of_time()
}

/// Turns a panic, an abort and a stack overflow into a line and an exit.
pub(crate) fn catch_crashes() {
    // A pipe without a reader and RLIMIT_FSIZE make a write fail, and kill nothing.
    sys::ignore(libc::SIGPIPE);
    sys::ignore(libc::SIGXFSZ);
    sys::use_alternate_stack();
    std::panic::set_hook(Box::new(|panic| {
        let mut line = begin();
        line.push(b"internal error: ");
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        line.push(
            text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("panic")
                .as_bytes(),
        );
        if let Some(place) = panic.location() {
            line.push(b" at ");
            line.push(place.file().as_bytes());
            line.push(b":");
            line.push_number(place.line().into());
        }
        end(&mut line);
    }));
    drop(sys::on_signals(&sys::CRASHES, crashed));
}

fn out_of_time() -> ! {
    let mut line = begin();
    line.push(b"not done within ");
    line.push_number(DEADLINE_MS.load(Ordering::Relaxed));
    line.push(b" ms, given up while ");
    line.push(Step::text(STEP.load(Ordering::Relaxed)).as_bytes());
    end(&mut line)
}

extern "C" fn crashed(_: i32) {
    let mut line = begin();
    line.push(b"crashed while ");
    line.push(Step::text(STEP.load(Ordering::Relaxed)).as_bytes());
    end(&mut line);
}

fn begin() -> Line {
    let mut line = LOG.begin();
    let length = ID_LENGTH.load(Ordering::Acquire);
    if length > 0 {
        line.push(b"container ");
        for byte in &ID[..length] {
            line.push(&[byte.load(Ordering::Relaxed)]);
        }
        line.push(b": ");
    }
    line
}

fn end(line: &mut Line) -> ! {
    line.push(b"; run `porthole reconcile`");
    line.send();
    sys::exit_now(STATUS.load(Ordering::Relaxed))
}
