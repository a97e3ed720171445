//! What a command says when it does not do what it was asked for: what failed, on what, why, and what to do.

use crate::exit::{Exit, ExitCode};
use crate::output::{self, Format};
use porthole_registry::Error;
use serde::Serialize;

/// An error that ends a command.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    pub(crate) remedy: Option<String>,
    /// What the target could have meant.
    pub(crate) candidates: Vec<String>,
}

#[derive(Serialize)]
struct Report<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    candidates: &'a [String],
}

impl Problem {
    pub(crate) fn new(exit: Exit, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        let remedy = Some(remedy.into()).filter(|remedy| !remedy.is_empty());
        Self { exit, message: message.into(), remedy, candidates: Vec::new() }
    }

    /// Something on this machine failed.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message, "")
    }

    /// Says it on stderr, as text or as one JSON object.
    pub(crate) fn report(&self, format: Format) {
        let Self { exit, message, remedy, candidates } = self;
        let (code, remedy) = (exit.code(), remedy.as_deref());
        output::report(&Report { code, message, remedy, candidates }, message, candidates, remedy, format);
    }

    /// Ends with its own status, or, in front of a command to be run, with that of env(1).
    pub(crate) fn end(&self, format: Format, before_command: bool) -> ExitCode {
        self.report(format);
        if before_command { ExitCode::from(125) } else { self.exit.into() }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::new(Exit::Failed, error.to_string(), error.remedy().unwrap_or_default())
    }
}

impl From<crate::netlink::Error> for Problem {
    fn from(error: crate::netlink::Error) -> Self {
        let cause = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        Self::new(Exit::Failed, format!("{error}{cause}"), error.remedy().unwrap_or_default())
    }
}

impl From<crate::demo::Error> for Problem {
    fn from(error: crate::demo::Error) -> Self {
        Self::new(Exit::Failed, error.chain(), error.remedy().unwrap_or_default())
    }
}
