//! Standard input: the OCI state, read to its end before anything else.
//!
//! A runtime that still writes while its hook exits dies of SIGPIPE, so what is too much is read over, not left.

use porthole_registry::deadline::Deadline;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read};
use rustix::stdio::stdin;

/// More than this is no OCI state. Kubernetes allows 256 KiB of annotations, which some engines repeat.
const LARGEST: usize = 4 << 20;

/// Reads the state.
///
/// # Errors
/// Says what is wrong: too large, not at its end in time, unreadable.
pub(crate) fn state(deadline: Deadline) -> Result<Vec<u8>, String> {
    let mut state = Vec::with_capacity(8 << 10);
    let total = read_to_end(deadline, |bytes| {
        if state.len() + bytes.len() <= LARGEST {
            state.extend_from_slice(bytes);
        }
    })?;
    if total > LARGEST {
        return Err(format!("OCI state on stdin: {total} bytes, more than the {LARGEST} that are read"));
    }
    Ok(state)
}

/// Reads standard input over.
pub(crate) fn drain(deadline: Deadline) {
    drop(read_to_end(deadline, |_| ()));
}

fn read_to_end(deadline: Deadline, mut take: impl FnMut(&[u8])) -> Result<usize, String> {
    let mut buffer = [0; 16 << 10];
    let mut total: usize = 0;
    loop {
        let input = stdin();
        let mut fds = [PollFd::new(&input, PollFlags::IN)];
        match poll(&mut fds, Some(&deadline.timespec())) {
            Ok(0) => return Err(format!("OCI state on stdin: not at its end in time, {total} bytes came")),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(format!("OCI state on stdin: {errno}")),
        }
        match read(input, &mut buffer) {
            Ok(0) => return Ok(total),
            Ok(length) => {
                total = total.saturating_add(length);
                take(&buffer[..length]);
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => return Err(format!("OCI state on stdin: {errno}")),
        }
    }
}
