//! Conditions on the arguments of a system call, compared as the kernel reads them: these are all of 32 bits.

use std::fmt;

use libc::c_int;
use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

/// A value and its name.
pub(crate) type Named = (&'static str, u32);

/// What has to hold for a call to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    /// All of them.
    pub(crate) all: &'static [Argument],
    /// The answer where one does not hold.
    pub(crate) error: Error,
}

/// One argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Argument {
    /// Which, from 0.
    pub(crate) at: u8,
    /// What the manual calls it.
    pub(crate) name: &'static str,
    /// How it is compared.
    pub(crate) test: Test,
}

/// How an argument is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Test {
    /// It is one of these.
    Among(&'static [Named]),
    /// It is none of these.
    Outside(&'static [Named]),
    /// It has none of these bits.
    Without(&'static [Named]),
}

/// What a call that is not made answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// The answer of a kernel that forbids it.
    Eperm,
    /// Of one that does not have it.
    Enosys,
    /// Of one built without this family of sockets.
    Eafnosupport,
}

impl Error {
    /// Its number.
    #[allow(clippy::cast_sign_loss, reason = "numbers of errors are positive")]
    pub(crate) const fn number(self) -> u32 {
        let number: c_int = match self {
            Self::Eperm => libc::EPERM,
            Self::Enosys => libc::ENOSYS,
            Self::Eafnosupport => libc::EAFNOSUPPORT,
        };
        number as u32
    }

    /// As in the manual.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Eperm => "EPERM",
            Self::Enosys => "ENOSYS",
            Self::Eafnosupport => "EAFNOSUPPORT",
        }
    }
}

#[allow(clippy::cast_sign_loss, reason = "flags and families are compared bit by bit")]
const fn bits(value: c_int) -> u32 {
    value as u32
}

macro_rules! named {
    ($($name:ident)*) => { &[$((stringify!($name), bits(libc::$name)),)*] };
}

const ADDR_NO_RANDOMIZE: Named = ("ADDR_NO_RANDOMIZE", 0x0004_0000);
const LINUX: Named = ("PER_LINUX", 0);
const LINUX32: Named = ("PER_LINUX32", 8);
const UNAME26: Named = ("UNAME26", 0x0002_0000);
const ZERO: Named = ("0", 0);
const QUERY: Named = ("0xffffffff", u32::MAX);

const fn argument(at: u8, name: &'static str, test: Test) -> Argument {
    Argument { at, name, test }
}

macro_rules! condition {
    ($error:ident: $($at:literal $name:literal $test:ident $values:expr),+) => {
        Condition { all: &[$(argument($at, $name, Test::$test($values)),)+], error: Error::$error }
    };
}

/// Sockets that reach what is meant to be reached. Each other family is code of the kernel that is seldom run.
pub(crate) static FAMILIES: Condition =
    condition!(Eafnosupport: 0 "domain" Among named![AF_UNIX AF_INET AF_INET6 AF_NETLINK]);
/// The same, for a command that may see packets.
pub(crate) static FAMILIES_AND_PACKET: Condition =
    condition!(Eafnosupport: 0 "domain" Among named![AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET]);
/// Without those that have abstract names, which belong to a network namespace that is not the command's own.
pub(crate) static FAMILIES_NOT_UNIX: Condition =
    condition!(Eafnosupport: 0 "domain" Among named![AF_INET AF_INET6 AF_NETLINK]);
/// Both.
pub(crate) static FAMILIES_AND_PACKET_NOT_UNIX: Condition =
    condition!(Eafnosupport: 0 "domain" Among named![AF_INET AF_INET6 AF_NETLINK AF_PACKET]);
/// No new namespace: a user namespace has all capabilities in it, and with them code of the kernel.
pub(crate) static NO_NAMESPACE: Condition = condition!(Eperm: 0 "flags" Without named![
    CLONE_NEWNS CLONE_NEWCGROUP CLONE_NEWUTS CLONE_NEWIPC CLONE_NEWUSER CLONE_NEWPID CLONE_NEWNET
]);
/// Nothing is typed into a terminal, and nothing pasted.
pub(crate) static NO_TYPING: Condition =
    condition!(Eperm: 1 "request" Outside &[("TIOCSTI", 0x5412), ("TIOCLINUX", 0x541c)]);
/// Personalities that weaken nothing.
pub(crate) static PERSONALITIES: Condition =
    condition!(Eperm: 0 "persona" Among &[LINUX, LINUX32, UNAME26, QUERY]);
/// The same, and addresses that are not random, which debuggers want.
pub(crate) static PERSONALITIES_AND_FIXED: Condition =
    condition!(Eperm: 0 "persona" Among &[LINUX, LINUX32, UNAME26, QUERY, ADDR_NO_RANDOMIZE]);
/// The thread that calls: the kernel lets a process change each other one of its user.
pub(crate) static ITSELF: Condition = condition!(Eperm: 0 "pid" Among &[ZERO]);
/// The same, where an argument before it says of what the other is the number.
pub(crate) static ITS_PRIORITY: Condition =
    condition!(Eperm: 0 "which" Among &[("PRIO_PROCESS", 0)], 1 "who" Among &[ZERO]);
/// The same for input and output.
pub(crate) static ITS_IO_PRIORITY: Condition =
    condition!(Eperm: 0 "which" Among &[("IOPRIO_WHO_PROCESS", 1)], 1 "who" Among &[ZERO]);
/// No processor core shared with another process, or taken from it, by a cookie.
pub(crate) static NO_COOKIE: Condition = condition!(Eperm: 0 "option" Outside &[("PR_SCHED_CORE", 62)]);

impl Condition {
    /// For the compiler: the call is made when one of the rules holds.
    pub(crate) fn rules(&self) -> Result<Vec<SeccompRule>, BackendError> {
        let mut rules = vec![Vec::new()];
        for argument in self.all {
            let ways = argument.ways()?;
            let with = |rule: &Vec<_>| ways.iter().map(|way| [&rule[..], way].concat()).collect::<Vec<_>>();
            rules = rules.iter().flat_map(with).collect();
        }
        rules.into_iter().map(SeccompRule::new).collect()
    }
}

impl Argument {
    /// The ways in which it is right: of each, all comparisons hold.
    fn ways(&self) -> Result<Vec<Vec<SeccompCondition>>, BackendError> {
        let compare = |operator, value: u32| {
            SeccompCondition::new(self.at, SeccompCmpArgLen::Dword, operator, u64::from(value))
        };
        match self.test {
            Test::Among(values) => {
                values.iter().map(|(_, value)| Ok(vec![compare(SeccompCmpOp::Eq, *value)?])).collect()
            }
            Test::Outside(values) => {
                let all = values.iter().map(|(_, value)| compare(SeccompCmpOp::Ne, *value));
                Ok(vec![all.collect::<Result<_, _>>()?])
            }
            Test::Without(values) => {
                let mask = values.iter().fold(0, |mask, (_, bit)| mask | u64::from(*bit));
                Ok(vec![vec![compare(SeccompCmpOp::MaskedEq(mask), 0)?]])
            }
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, argument) in self.all.iter().enumerate() {
            write!(f, "{}{argument}", if at == 0 { "" } else { " and " })?;
        }
        write!(f, ", else {}", self.error.name())
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (how, values) = match self.test {
            Test::Among([(name, _)]) => return write!(f, "{} is {name}", self.name),
            Test::Among(values) => ("is one of", values),
            Test::Outside(values) => ("is none of", values),
            Test::Without(values) => ("has none of", values),
        };
        write!(f, "{} {how}", self.name)?;
        values.iter().try_for_each(|(name, _)| write!(f, " {name}"))
    }
}
