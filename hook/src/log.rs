//! One line to syslog: a datagram to `/dev/log`, syslog(3) and RFC 3164. To stderr where nobody listens.
//!
//! Written here, not taken from a crate, because the watchdog has to send it from a signal handler: nothing below
//! [`send`] allocates, locks or waits.

use porthole_registry::text::{self, is_deceptive};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io;
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, send, sendto, socket_with,
};

/// Facility daemon (3), severity warning (4).
const PRIORITY: &[u8] = b"<28>";
const LONGEST: usize = 1024;

/// The log of one program.
#[derive(Clone, Copy, Debug)]
pub struct Log(&'static str);

impl Log {
    /// That of the program with this name.
    pub const fn of(program: &'static str) -> Self {
        Self(program)
    }

    /// Logs one line; control characters in it are made harmless, and what is too long is cut.
    pub fn line(self, text: &str) {
        let mut line = self.begin();
        line.push(text.as_bytes());
        line.send();
    }

    /// Begins a line, with the prefix that syslog wants.
    pub fn begin(self) -> Line {
        let mut line = Line { program: self.0, bytes: [0; LONGEST], length: 0, text: 0, full: false };
        line.push(PRIORITY);
        line.push(self.0.as_bytes());
        line.push(b"[");
        line.push_number(u64::from(std::process::id()));
        line.push(b"]: ");
        line.text = line.length;
        line
    }

    /// To the caller, who shows it as the reason why the container failed.
    pub fn to_stderr(self, line: &str) {
        write_at_once(format!("{}: {}\n", self.0, text::line(line)).as_bytes());
    }
}

/// A line under construction, of fixed size.
#[derive(Debug)]
pub struct Line {
    program: &'static str,
    bytes: [u8; LONGEST],
    length: usize,
    text: usize,
    full: bool,
}

impl Line {
    /// Adds to it, as far as there is room, without what would forge another line or rewrite a terminal.
    pub fn push(&mut self, text: &[u8]) {
        for chunk in text.utf8_chunks() {
            for c in chunk.valid().chars() {
                self.push_char(if is_deceptive(c) { '?' } else { c });
            }
            for _ in chunk.invalid() {
                self.push_char('?');
            }
        }
    }

    fn push_char(&mut self, c: char) {
        if self.full {
            return;
        }
        let length = c.len_utf8();
        match self.bytes.get_mut(self.length..self.length + length) {
            Some(place) => {
                c.encode_utf8(place);
                self.length += length;
            }
            // Half a character is none, and nothing comes after what is cut.
            None => self.full = true,
        }
    }

    /// Adds a number.
    pub fn push_number(&mut self, number: u64) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut rest = number;
        loop {
            at -= 1;
            digits[at] = b"0123456789"[usize::try_from(rest % 10).unwrap_or(0)];
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.push(&digits[at..]);
    }

    /// Sends it; to stderr where there is no syslog.
    pub fn send(&self) {
        if to_syslog(&self.bytes[..self.length]).is_err() {
            // In one piece, since other hooks may write to the same pipe.
            let mut whole = [0; 2 * LONGEST];
            let parts = [self.program.as_bytes(), b": ", &self.bytes[self.text..self.length], b"\n"];
            let mut length = 0;
            for part in parts {
                let Some(place) = whole.get_mut(length..length + part.len()) else { break };
                place.copy_from_slice(part);
                length += part.len();
            }
            write_at_once(&whole[..length]);
        }
    }
}

fn to_syslog(line: &[u8]) -> io::Result<()> {
    // Never waits: a syslog that does not read must not hold up a container.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    sendto(&socket, line, SendFlags::NOSIGNAL, &SocketAddrUnix::new(c"/dev/log")?).map(drop)
}

/// To standard output, for the person who asked for the version.
pub fn to_stdout(text: &str) {
    write_all(rustix::stdio::stdout(), text.as_bytes());
}

/// Writes to stderr as much as it takes without a wait: its reader may stand still, as a syslog may. Other processes write
/// through the same open file, so that one is not made non-blocking. A pipe and a terminal are opened once more; for a socket,
/// a flag of the call does it.
fn write_at_once(bytes: &[u8]) {
    let stderr = rustix::stdio::stderr();
    let Ok(stat) = fstat(stderr) else { return };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Socket => drop(send(stderr, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)),
        kind @ (FileType::Fifo | FileType::CharacterDevice) => {
            let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            match openat(CWD, c"/proc/self/fd/2", flags, Mode::empty()) {
                Ok(own) => write_all(own.as_fd(), bytes),
                // Its readers have gone.
                Err(io::Errno::NXIO) => {}
                // It cannot be opened. It takes a line without a wait if it has room for a page.
                Err(_) if kind == FileType::Fifo && has_room(stderr) => write_all(stderr, bytes),
                Err(_) => {}
            }
        }
        _ => write_all(stderr, bytes),
    }
}

fn has_room(pipe: BorrowedFd<'_>) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(&pipe, PollFlags::OUT)], Some(&at_once)) == Ok(1)
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match io::write(to, bytes) {
            Ok(written) if written > 0 => bytes = &bytes[written..],
            Err(io::Errno::INTR) => {}
            // There is nobody left to tell.
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_be_forged_by_what_it_reports() {
        let mut line = Log::of("x").begin();
        line.push(b"a\n<0>b\x1b[2J\0");
        line.push("c\u{9b}31m\u{202e}é".as_bytes());
        line.push(b"\xff");
        let text = String::from_utf8_lossy(&line.bytes[..line.length]).into_owned();
        assert!(text.ends_with("]: a?<0>b?[2J?c?31m?é?"), "{text}");
    }

    #[test]
    fn a_line_has_an_end() {
        let mut line = Log::of("x").begin();
        line.push(&[b'x'; 5000]);
        line.push_number(u64::MAX);
        assert_eq!(line.length, LONGEST);
        let mut line = Log::of("xx").begin();
        line.push("é".repeat(5000).as_bytes());
        assert!(line.length > LONGEST - 2 && str::from_utf8(&line.bytes[..line.length]).is_ok());
    }

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 7, 10, 4_294_967_295, u64::MAX] {
            let mut line = Log::of("x").begin();
            line.push_number(number);
            assert_eq!(&line.bytes[line.text..line.length], number.to_string().as_bytes());
        }
    }
}
