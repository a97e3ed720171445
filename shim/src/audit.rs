//! One line in the system log for every start, refusal and end of an exec, with the structured data of RFC 5424.

use crate::exec::{Caller, ExecError, Plan, Request, Target};
use crate::output;
use crate::policy::Verdict;
use porthole_registry::audit::Format;
use porthole_registry::text::is_deceptive;
use rustix::stdio::{stderr, stdin};
use rustix::termios::{isatty, ttyname};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use syslog::{Facility, Formatter5424, LogFormat, Logger, LoggerBackend, Severity};

const SOCKET: &str = "/dev/log";
/// The name of our structured data. The number is the one that RFC 5612 sets aside for examples: a tool without a
/// vendor has none of its own.
const SD_ID: &str = "porthole@32473";
/// Longer values are cut: 2048 bytes for a line is what every receiver has to take.
const LONGEST: usize = 1024;
/// A log daemon that stands still for this long is taken for none.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is told, and to whom: one socket, opened before anything is entered.
pub(crate) struct Log {
    logger: io::Result<Logger<LoggerBackend, Formatter>>,
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
        let mut field = |name, value: String| log.fields.push((name, value));
        let identity = &target.identity;
        let named = [
            ("namespace", &identity.namespace),
            ("pod", &identity.pod),
            ("container", &identity.container),
            ("id", &identity.id),
        ];
        for (name, value) in named {
            if let Some(value) = value {
                field(name, escape(value.as_bytes()));
            }
        }
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
        Self { logger: connect(format), fields, began: Instant::now() }
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
        let logger = match &mut self.logger {
            Ok(logger) => logger,
            Err(error) => return Err(io::Error::new(error.kind(), error.to_string())),
        };
        let mut data = BTreeMap::new();
        data.insert("event".to_owned(), event.name().to_owned());
        for (name, value) in self.fields.iter().chain(more) {
            data.insert((*name).to_owned(), cut(value));
        }
        let of = |name: &str| data.get(name).map_or("-", String::as_str);
        let who = if data.contains_key("user") { of("user") } else { of("uid") };
        let text = format!("{} {} by {who}", event.name(), of("target"));
        let message = (event, [(SD_ID.to_owned(), data)].into(), text);
        let sent = match event {
            Event::Refused => logger.warning(message),
            Event::Exec | Event::End => logger.notice(message),
        };
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

fn connect(format: Format) -> io::Result<Logger<LoggerBackend, Formatter>> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(SOCKET)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let host: String = host.chars().filter(char::is_ascii_graphic).take(255).collect();
    let whole = Formatter5424 {
        facility: Facility::LOG_AUTHPRIV,
        hostname: Some(if host.is_empty() { "-".to_owned() } else { host }),
        process: "porthole".to_owned(),
        pid: std::process::id(),
    };
    Ok(Logger::new(LoggerBackend::Unix(socket), Formatter { format, whole }))
}

/// Parameters and their values, by the name of the element.
type StructuredData = BTreeMap<String, BTreeMap<String, String>>;

/// Unless it is to be the whole line of RFC 5424: what syslog(3) writes before a message, and the structured data as the
/// first part of that. Whoever listens on `/dev/log` takes nothing else apart, unless told to: of a whole line journald
/// keeps no identifier, and to rsyslogd the name of the program is `1`. The time is theirs to tell.
struct Formatter {
    format: Format,
    whole: Formatter5424,
}

impl LogFormat<(Event, StructuredData, String)> for Formatter {
    fn format<W: io::Write>(
        &self,
        to: &mut W,
        severity: Severity,
        (event, data, text): (Event, StructuredData, String),
    ) -> syslog::Result<()> {
        if self.format == Format::Rfc5424 {
            return self.whole.format(to, severity, (event as u32, data, text));
        }
        let Formatter5424 { facility, process, pid, .. } = &self.whole;
        let priority = *facility as u8 | severity as u8;
        let data = self.whole.format_5424_structured_data(data);
        write!(to, "<{priority}>{process}[{pid}]: {data} {text}").map_err(syslog::Error::Write)
    }
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

fn cut(value: &str) -> String {
    if value.len() <= LONGEST {
        return value.to_owned();
    }
    let end = (0..=LONGEST - 3).rev().find(|&end| value.is_char_boundary(end)).unwrap_or(0);
    format!("{}...", value.get(..end).unwrap_or_default())
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
        assert_eq!(cut(&"x".repeat(LONGEST)).len(), LONGEST);
        let long = cut(&"é".repeat(LONGEST));
        assert!(long.len() <= LONGEST && long.ends_with("é..."));
    }
}
