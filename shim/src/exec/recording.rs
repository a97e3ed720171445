//! What the terminal shows, kept as an asciicast (version 2): a line of JSON for the session, and one for each event.
//! What is typed is not kept, except where the terminal shows it.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::stdio::stdin;
use rustix::termios::tcgetwinsize;
use serde_json::json;

use super::error::{ExecError, Step};
use super::impersonate::as_user;
use super::plan::{Caller, Plan};
use crate::policy::Invoker;

/// A recording that goes on.
#[derive(Debug)]
pub(crate) struct Recording {
    to: File,
    began: Instant,
    size: (u16, u16),
    text: Text,
    /// The first write that failed ends it: a session is not to be lost for its recording.
    failed: Option<io::Error>,
}

impl Recording {
    /// Makes the file, as the user who asks: where they may not write, nothing is written for them.
    pub(crate) fn begin(plan: &Plan, caller: &Caller) -> Result<Option<Self>, ExecError> {
        let Some(path) = &plan.record else { return Ok(None) };
        let failed = || Step::Record.failed(path.display().to_string());
        let to = File::from(create(path, &caller.invoker).map_err(failed())?);
        let size = tcgetwinsize(stdin()).ok().map(|size| (size.ws_col, size.ws_row));
        let (width, height) = size.filter(|&(width, height)| width > 0 && height > 0).unwrap_or((80, 24));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let term = caller.variable("TERM").map(|term| term.to_string_lossy().into_owned());
        let header = json!({
            "version": 2,
            "width": width,
            "height": height,
            "timestamp": now.as_secs(),
            "title": plan.target,
            "command": plan.command.join(" "),
            "env": { "TERM": term.unwrap_or_default() },
        });
        let began = Instant::now();
        let mut recording = Self { to, began, size: (width, height), text: Text::default(), failed: None };
        recording.write(&header);
        match recording.failed.take() {
            Some(error) => Err(failed()(error)),
            None => Ok(Some(recording)),
        }
    }

    /// The command wrote this.
    pub(crate) fn shown(&mut self, bytes: &[u8]) {
        let text = self.text.take(bytes);
        self.event("o", &text);
    }

    /// The terminal has another size.
    pub(crate) fn resized(&mut self, width: u16, height: u16) {
        if (width, height) != self.size && width > 0 && height > 0 {
            self.size = (width, height);
            self.event("r", &format!("{width}x{height}"));
        }
    }

    /// Writes what is left; the error is the first one there was.
    pub(crate) fn end(mut self) -> io::Result<()> {
        let rest = self.text.rest();
        self.event("o", &rest);
        self.failed.map_or(Ok(()), Err)
    }

    fn event(&mut self, code: &str, data: &str) {
        if !data.is_empty() {
            self.write(&json!([self.began.elapsed().as_secs_f64(), code, data]));
        }
    }

    fn write(&mut self, line: &serde_json::Value) {
        if self.failed.is_none() {
            self.failed = self.to.write_all(format!("{line}\n").as_bytes()).err();
        }
    }
}

/// Bytes as text, whatever pieces they come in.
#[derive(Debug, Default)]
struct Text(Vec<u8>);

impl Text {
    /// All that is complete; the beginning of a character waits for the rest of it.
    fn take(&mut self, bytes: &[u8]) -> String {
        self.0.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.0.len());
        let mut waiting = Vec::new();
        let mut chunks = self.0.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            let last = chunks.peek().is_none();
            if last && is_beginning(chunk.invalid()) {
                waiting = chunk.invalid().to_vec();
            } else if !chunk.invalid().is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.0 = waiting;
        text
    }

    fn rest(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.0)).into_owned()
    }
}

/// Whether more bytes could make a character of this.
fn is_beginning(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

fn create(path: &Path, invoker: &Invoker) -> io::Result<OwnedFd> {
    let flags =
        OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
    let open = || openat(CWD, path, flags, Mode::RUSR | Mode::WUSR).map_err(io::Error::from);
    // Where they may not write, nothing is written for them.
    if invoker.behind_sudo { as_user(invoker, open)? } else { open() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_survive_being_read_in_pieces() {
        let whole = "aé日🦀z".as_bytes();
        for cut in 0..whole.len() {
            let mut text = Text::default();
            let got = [text.take(&whole[..cut]), text.take(&whole[cut..]), text.rest()].concat();
            assert_eq!(got, "aé日🦀z", "{cut}");
        }
    }

    #[test]
    fn what_is_no_text_is_replaced_and_loses_nothing_after_it() {
        let mut text = Text::default();
        assert_eq!(text.take(b"a\xffb\xe6\x97"), "a\u{fffd}b");
        assert_eq!(text.take(b"c"), "\u{fffd}c");
        assert_eq!(text.take(b"\xf0\x9f"), "");
        assert_eq!(text.rest(), "\u{fffd}");
        assert_eq!(text.rest(), "");
    }
}
