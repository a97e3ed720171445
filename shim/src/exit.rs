//! The exit statuses of `porthole`, all of them.

/// How a command ends. `exec` follows env(1) instead: the command's own status, or 125 to 127.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Failed, or a check found something.
    Failed = 1,
    /// Usage: wrong words, a broken configuration.
    Usage = 2,
    /// There is no such target.
    NoTarget = 3,
    /// The target is ambiguous.
    Ambiguous = 4,
    /// The policy does not allow it.
    Refused = 5,
}

impl Exit {
    /// What programs read in `-o json`.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::NoTarget => "no_such_target",
            Self::Ambiguous => "ambiguous_target",
            Self::Refused => "refused",
        }
    }
}

/// The status of the process. The standard library's tells its number to nobody but its own `main`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExitCode(u8);

impl ExitCode {
    pub(crate) const SUCCESS: Self = Self(0);
    pub(crate) const FAILURE: Self = Self(1);

    pub(crate) const fn number(self) -> u8 {
        self.0
    }
}

impl From<u8> for ExitCode {
    fn from(status: u8) -> Self {
        Self(status)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self(exit as u8)
    }
}
