//! What the one log line of a failed run says: container, stage, cause, remedy.

use porthole_registry::Error;
use porthole_registry::process::ProcessError;
use std::fmt;

/// Why a run of the hook did not do what it was called for.
#[derive(Debug)]
pub(crate) struct Failure {
    subject: String,
    cause: String,
    remedy: Option<&'static str>,
}

impl Failure {
    /// On a container, in a stage.
    pub(crate) fn new(subject: String, cause: impl fmt::Display, remedy: Option<&'static str>) -> Self {
        Self { subject, cause: cause.to_string(), remedy }
    }

    /// A registry's error, with its remedy.
    pub(crate) fn of(subject: String, error: &Error) -> Self {
        Self::new(subject, error, error.remedy())
    }

    /// A process' error, with its remedy.
    pub(crate) fn of_process(subject: String, error: ProcessError) -> Self {
        Self::of(subject, &error.into())
    }

    /// Called in a way that nobody is to call it.
    pub(crate) fn usage(cause: &str) -> Self {
        Self::new(
            "usage".to_owned(),
            cause,
            Some("the hook's arguments are `[--config FILE] createRuntime|prestart|poststart|poststop`"),
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.cause)?;
        self.remedy.map_or(Ok(()), |remedy| write!(f, "; {remedy}"))
    }
}
