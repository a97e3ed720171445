//! One line in the system log for every start, refusal and end of an exec, with the structured data of RFC 5424.

use crate::exec::{Caller, ExecError, Plan, Request, Target};
use crate::output;
use crate::policy::Verdict;
use porthole_registry::audit::Format;
use porthole_registry::text::is_deceptive;
use rustix::stdio::{stderr, stdin};
use rustix::termios::{isatty, ttyname};
use std::fmt::Write as _;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use syslog::{Facility, LogFormat, Logger, LoggerBackend, Severity};

const SOCKET: &str = "/dev/log";
/// The name of our structured data. The number is the one that RFC 5612 sets aside for examples: a tool without a
/// vendor has none of its own.
const SD_ID: &str = "porthole@32473";
/// Of a line: what every receiver has to take, by RFC 5424.
const LONGEST: usize = 2048;
/// A log daemon that stands still for this long is taken for none.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is told, and to whom: one socket, opened before anything is entered.
pub(crate) struct Log {
    /// The logger, and its socket, to be told not to wait.
    connection: io::Result<(Logger<LoggerBackend, Line>, UnixDatagram)>,
    fields: Vec<(&'static str, String)>,
    began: Instant,
}

impl Log {
    /// With all that is true of both the start and the end.
    pub(crate) fn open(
        format: Format,
        caller: &Caller,
        request: &Request,
        target: &Target,
        plan: &Plan,
    ) -> Self {
        let mut log = Self::beforehand(format, caller, request, &target.label, &plan.command, &plan.policy);
        log.name(Some(target));
        let mut field = |name, value: String| log.fields.push((name, value));
        let joined: Vec<_> =
            plan.namespaces.0.iter().map(|j| format!("{}:{}", j.namespace, j.inode)).collect();
        field("joined", joined.join(" "));
        field("capabilities", plan.capabilities.permitted.to_string());
        let (run_as, gid) = plan.ids.numbers(caller.uid);
        field("run_as", run_as.to_string());
        field("run_as_gid", gid.to_string());
        if let Some(path) = &plan.record {
            field("record", escape(path.as_os_str().as_bytes()));
        }
        log
    }

    /// With what is known before the target is looked at. `target` is what it was called.
    pub(crate) fn beforehand(
        format: Format,
        caller: &Caller,
        request: &Request,
        target: &str,
        command: &[String],
        policy: &Verdict,
    ) -> Self {
        let mut fields = Vec::with_capacity(24);
        let invoker = &caller.invoker;
        let mut field = |name, value: String| fields.push((name, value));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        field("exec", format!("{:x}-{:x}", now.as_nanos(), std::process::id()));
        field("uid", invoker.uid.to_string());
        if let Some(name) = &invoker.name {
            field("user", escape(name.as_bytes()));
        }
        field("sudo", if invoker.behind_sudo { "yes" } else { "no" }.to_owned());
        let tty = if caller.interactive { ttyname(stdin(), Vec::new()).ok() } else { None };
        field("tty", tty.map_or_else(|| "-".to_owned(), |tty| escape(tty.to_bytes())));
        field("target", escape(target.as_bytes()));
        field("profile", escape(request.profile.name.as_bytes()));
        let words = command.iter().map(|word| escape(word.as_bytes()));
        let words: Vec<_> = if request.command.is_empty() {
            words.collect()
        } else {
            request.command.iter().map(|word| escape(word.as_bytes())).collect()
        };
        field("command", words.join(" "));
        // Names only: values may be secrets.
        let variables: Vec<_> = request.variables.iter().map(|v| escape(v.name().as_bytes())).collect();
        if !variables.is_empty() {
            field("env", variables.join(" "));
        }
        field("policy", escape_text(&policy.by()));
        if let Some(identity) = &policy.identity {
            field("refused_for", escape_text(identity));
        }
        Self { connection: connect(format), fields, began: Instant::now() }
    }

    /// With what the target is called.
    pub(crate) fn name(&mut self, target: Option<&Target>) {
        let Some(Target { identity, .. }) = target else { return };
        let named = [
            ("namespace", &identity.namespace),
            ("pod", &identity.pod),
            ("container", &identity.container),
            ("id", &identity.id),
        ];
        for (name, value) in named {
            if let Some(value) = value {
                self.fields.push((name, escape(value.as_bytes())));
            }
        }
    }

    /// It was asked for, and is not done.
    pub(crate) fn refused(mut self) {
        let sent = self.send(Event::Refused, &[]);
        warn(sent);
    }

    /// It is about to be done. With `required`, it is not where nobody takes note of it.
    pub(crate) fn started(&mut self, required: bool) -> Result<(), ExecError> {
        let sent = self.send(Event::Exec, &[]);
        match sent {
            Err(error) if required => Err(crate::exec::not_logged(error)),
            sent => {
                warn(sent);
                Ok(())
            }
        }
    }

    /// It has ended, or never began.
    pub(crate) fn ended(mut self, result: Result<&u8, &ExecError>) {
        let mut fields = Vec::with_capacity(3);
        match result {
            Ok(status) => fields.push(("status", status.to_string())),
            Err(error) => {
                let report = error.report();
                fields.push(("status", report.status.to_string()));
                fields.push(("error", escape_text(&report.code)));
            }
        }
        fields.push(("milliseconds", self.began.elapsed().as_millis().to_string()));
        // Whoever had to be warned was when it began.
        let _ = self.send(Event::End, &fields);
    }

    fn send(&mut self, event: Event, more: &[(&'static str, String)]) -> io::Result<()> {
        let (logger, socket) = match &mut self.connection {
            Ok(connection) => connection,
            Err(error) => return Err(io::Error::new(error.kind(), error.to_string())),
        };
        let mut fields = vec![("event", event.name().to_owned())];
        fields.extend_from_slice(more);
        fields.extend_from_slice(&self.fields);
        let sent = match event {
            Event::Refused => logger.warning((event, fields)),
            Event::Exec | Event::End => logger.notice((event, fields)),
        };
        if sent.is_err() {
            // One that stood still is not waited for again.
            socket.set_nonblocking(true)?;
        }
        sent.map_err(|error| match error {
            syslog::Error::Write(error) | syslog::Error::Io(error) => error,
            other => io::Error::other(other.to_string()),
        })
    }
}

/// What happened; its number is the MSGID of RFC 5424.
#[derive(Clone, Copy)]
enum Event {
    Exec = 1,
    Refused = 2,
    End = 3,
}

impl Event {
    const fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Refused => "refused",
            Self::End => "end",
        }
    }
}

fn connect(format: Format) -> io::Result<(Logger<LoggerBackend, Line>, UnixDatagram)> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(SOCKET)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let same = socket.try_clone()?;
    Ok((Logger::new(LoggerBackend::Unix(same), Line(format)), socket))
}

/// A line of the log, as the syslog crate's logger has it made.
struct Line(Format);

impl LogFormat<(Event, Vec<(&'static str, String)>)> for Line {
    fn format<W: io::Write>(
        &self,
        to: &mut W,
        severity: Severity,
        (event, fields): (Event, Vec<(&'static str, String)>),
    ) -> syslog::Result<()> {
        let priority = Facility::LOG_AUTHPRIV as u8 | severity as u8;
        // One write: each is a datagram of its own.
        to.write_all(line(&head(priority, event, self.0), event, &fields).as_bytes())
            .map_err(syslog::Error::Write)
    }
}

/// Unless it is to be the whole line of RFC 5424: what syslog(3) writes before a message, and the structured data as the
/// first part of that. A daemon on `/dev/log` takes nothing else apart unless it is configured to: of a whole line journald
/// keeps no identifier, and to rsyslogd the name of the program is `1`. The time is theirs to tell.
fn head(priority: u8, event: Event, format: Format) -> String {
    let pid = std::process::id();
    if format == Format::Syslog {
        return format!("<{priority}>porthole[{pid}]: ");
    }
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let host: String = host.chars().filter(char::is_ascii_graphic).take(255).collect();
    let host = if host.is_empty() { "-" } else { &host };
    let now = humantime::format_rfc3339_micros(SystemTime::now());
    format!("<{priority}>1 {now} {host} porthole {pid} {} ", event as u32)
}

/// The longest that each of those that tell who did what, and where, can be: they are there whatever the others are.
const fn essential(name: &str) -> Option<usize> {
    match name.as_bytes() {
        b"target" => Some(320),
        b"user" | b"profile" | b"id" | b"error" => Some(80),
        b"event" | b"status" | b"milliseconds" | b"exec" | b"uid" | b"sudo" | b"run_as" | b"run_as_gid" => {
            Some(48)
        }
        _ => None,
    }
}

/// A line of at most [`LONGEST`] bytes: what is essential first, and of the others the longest cut until all have room.
fn line(head: &str, event: Event, fields: &[(&'static str, String)]) -> String {
    let of = |name: &str| fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value.as_str());
    let who = cut(of("user").or(of("uid")).unwrap_or("-"), 80);
    let text = format!("] {} {} by {who}", event.name(), cut(of("target").unwrap_or("-"), 160));
    let mut line = format!("{head}[{SD_ID}");
    for (name, value) in fields {
        if let Some(limit) = essential(name) {
            push(&mut line, name, value, limit);
        }
    }
    let others = || fields.iter().filter(|(name, _)| essential(name).is_none());
    let fixed =
        line.len() + text.len() + others().map(|(name, _)| name.len() + r#" ="""#.len()).sum::<usize>();
    let lengths: Vec<_> = others().map(|(_, value)| escaped(value)).collect();
    let limit = share(LONGEST.saturating_sub(fixed), lengths);
    for (name, value) in others() {
        push(&mut line, name, value, limit);
    }
    line + &text
}

fn push(line: &mut String, name: &str, value: &str, limit: usize) {
    // Writing to a String never fails.
    let _ = write!(line, " {name}=\"");
    for c in cut(value, limit).chars() {
        if is_escaped(c) {
            line.push('\\');
        }
        line.push(c);
    }
    line.push('"');
}

const fn is_escaped(c: char) -> bool {
    matches!(c, '"' | '\\' | ']')
}

/// How long a value is in structured data.
fn escaped(value: &str) -> usize {
    value.len() + value.chars().filter(|&c| is_escaped(c)).count()
}

/// The length to cut at, so that all of these together have room.
fn share(mut room: usize, mut lengths: Vec<usize>) -> usize {
    lengths.sort_unstable();
    for (at, &length) in lengths.iter().enumerate() {
        let each = room / (lengths.len() - at);
        if length > each {
            return each;
        }
        room -= length;
    }
    usize::MAX
}

/// For whoever sits there. A program that reads stderr asked for what the command says, and for nothing of ours.
fn warn(sent: io::Result<()>) {
    if let Err(error) = sent
        && isatty(stderr())
    {
        output::to_stderr(&format!("porthole: this is not in the system log: {SOCKET}: {error}"));
    }
}

/// One word, so that it can be told from the next and read back: blanks and backslashes with a backslash before them,
/// what does not show itself as `\n`, `\u{1b}` and the like, and what is no text as `\xff`.
fn escape(word: &[u8]) -> String {
    let mut text = String::with_capacity(word.len());
    if word.is_empty() {
        return "''".to_owned();
    }
    for chunk in word.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                ' ' | '\\' => text.extend(['\\', c]),
                c if is_deceptive(c) || c.is_whitespace() => text.extend(c.escape_default()),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            // Writing to a String never fails.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Text of several words.
fn escape_text(text: &str) -> String {
    text.split(' ')
        .map(|word| if word.is_empty() { String::new() } else { escape(word.as_bytes()) })
        .collect::<Vec<_>>()
        .join(" ")
}

/// A value that takes no more than `limit` bytes when it is escaped.
fn cut(value: &str, limit: usize) -> String {
    if escaped(value) <= limit {
        return value.to_owned();
    }
    let mut room = limit.saturating_sub("...".len());
    let fits = |c: &char| {
        let length = c.len_utf8() + usize::from(is_escaped(*c));
        room.checked_sub(length).map(|left| room = left).is_some()
    };
    let mut text: String = value.chars().take_while(fits).collect();
    text.push_str(if limit < "...".len() { "" } else { "..." });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_can_forge_a_line_or_another_word() {
        for (word, want) in [
            (&b"plain-1.0/x=y"[..], "plain-1.0/x=y"),
            (b"", "''"),
            (b"a b", "a\\ b"),
            (b"a\\b", "a\\\\b"),
            (b"a\n<85>1 forged", "a\\n<85>1\\ forged"),
            (b"\x1b[2J\0", "\\u{1b}[2J\\u{0}"),
            ("a\u{202e}b\u{2028}\u{a0}".as_bytes(), "a\\u{202e}b\\u{2028}\\u{a0}"),
            (b"\xff\xc3", "\\xff\\xc3"),
            ("größe".as_bytes(), "größe"),
        ] {
            assert_eq!(escape(word), want);
        }
        assert_eq!(escape_text("no rule\tof x"), "no rule\\tof x");
    }

    #[test]
    fn a_long_value_is_cut_between_characters() {
        assert_eq!(cut(&"x".repeat(99), 48).len(), 48);
        assert_eq!(cut("short", 5), "short");
        let long = cut(&"é".repeat(99), 48);
        assert!(long.len() <= 48 && long.ends_with("é..."), "{long}");
        let quoted = cut(&"\"".repeat(99), 48);
        assert!(escaped(&quoted) <= 48 && quoted.len() > 20, "{quoted}");
        assert_eq!((cut("long", 3), cut("long", 2)), ("...".to_owned(), String::new()));
    }

    #[test]
    fn the_longest_are_cut_first() {
        assert_eq!(share(100, vec![10, 20, 30]), usize::MAX);
        assert_eq!(share(100, vec![10, 200, 20]), 70);
        assert_eq!(share(100, vec![10, 200, 300]), 45);
        assert_eq!(share(0, vec![1, 2]), 0);
        assert_eq!(share(100, vec![]), usize::MAX);
    }

    #[test]
    fn a_line_has_room_for_what_is_essential_whatever_the_rest_is() {
        let long = |what: &str| what.repeat(64 << 10);
        for what in ["x", "\"", "é", "\\u{1b}"] {
            let mut fields = vec![("event", "end".to_owned()), ("status", "137".to_owned())];
            for name in ["exec", "uid", "run_as", "run_as_gid"] {
                fields.push((name, "4294967295".to_owned()));
            }
            for name in [
                "namespace",
                "pod",
                "container",
                "joined",
                "capabilities",
                "policy",
                "env",
                "record",
                "command",
            ] {
                fields.push((name, long(what)));
            }
            for (name, length) in [("target", 300), ("user", 32), ("profile", 64), ("id", 64)] {
                fields.push((name, "y".repeat(length)));
            }
            let host = "h".repeat(255);
            let head = format!("<85>1 2026-11-21T18:28:38.150169Z {host} porthole 4194304 3 ");
            let line = line(&head, Event::End, &fields);
            assert!(line.len() <= LONGEST && line.len() > LONGEST - 100, "{what}: {}", line.len());
            for (name, value) in fields.iter().filter(|(name, _)| essential(name).is_some()) {
                assert!(line.contains(&format!(" {name}=\"{value}\"")), "{what}: {name}: {line}");
            }
            assert!(line.ends_with(&format!(" by {}", "y".repeat(32))), "{what}: {line}");
        }
    }
}
