//! How what `porthole exec` does is told to the system log: the `[audit]` table of the configuration.

use toml::Value;

/// What `exec` writes to the system log, and whether it has to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Whether nothing runs that the system log does not take.
    pub required: bool,
    /// What a line begins with.
    pub format: Format,
}

/// What is before the structured data of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Name and process, as syslog(3) writes them: what journald and rsyslogd take apart on `/dev/log`.
    #[default]
    Syslog,
    /// The whole header of RFC 5424: for a daemon that has been told to expect it there.
    Rfc5424,
}

impl Audit {
    /// Sets a key.
    ///
    /// # Errors
    /// What is wrong with it; nothing is changed then.
    pub(crate) fn set(&mut self, key: &str, value: &Value) -> Result<(), String> {
        match (key, value) {
            ("required", Value::Boolean(required)) => self.required = *required,
            ("required", _) => return Err("expected true or false".into()),
            ("format", value) => {
                self.format = match value.as_str() {
                    Some("syslog") => Format::Syslog,
                    Some("rfc5424") => Format::Rfc5424,
                    _ => return Err("expected \"syslog\" or \"rfc5424\"".into()),
                }
            }
            _ => return Err("unknown key".into()),
        }
        Ok(())
    }
}
