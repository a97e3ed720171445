//! Conditions on one argument of a system call, compared as the kernel reads it: these arguments are all of 32 bits.

use std::fmt;

use libc::c_int;
use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

/// A value and its name.
pub(crate) type Named = (&'static str, u32);

/// What has to hold for a call to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    /// Which argument, from 0.
    pub(crate) argument: u8,
    /// What the manual calls it.
    pub(crate) name: &'static str,
    /// How it is compared.
    pub(crate) test: Test,
    /// What is answered where it does not hold.
    pub(crate) error: Error,
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
const QUERY: Named = ("0xffffffff", u32::MAX);

const fn family(families: &'static [Named]) -> Condition {
    Condition { argument: 0, name: "domain", test: Test::Among(families), error: Error::Eafnosupport }
}

const fn personality(values: &'static [Named]) -> Condition {
    Condition { argument: 0, name: "persona", test: Test::Among(values), error: Error::Eperm }
}

/// Sockets that reach what is meant to be reached. Each other family is code of the kernel that is seldom run.
pub(crate) static FAMILIES: Condition = family(named![AF_UNIX AF_INET AF_INET6 AF_NETLINK]);
/// The same, for a command that may see packets.
pub(crate) static FAMILIES_AND_PACKET: Condition =
    family(named![AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET]);
/// No new namespace: a user namespace has all capabilities in it, and with them code of the kernel.
pub(crate) static NO_NAMESPACE: Condition = Condition {
    argument: 0,
    name: "flags",
    test: Test::Without(
        named![CLONE_NEWNS CLONE_NEWCGROUP CLONE_NEWUTS CLONE_NEWIPC CLONE_NEWUSER CLONE_NEWPID CLONE_NEWNET],
    ),
    error: Error::Eperm,
};
/// Nothing is typed into a terminal, and nothing pasted.
pub(crate) static NO_TYPING: Condition = Condition {
    argument: 1,
    name: "request",
    test: Test::Outside(&[("TIOCSTI", 0x5412), ("TIOCLINUX", 0x541c)]),
    error: Error::Eperm,
};
/// Personalities that weaken nothing.
pub(crate) static PERSONALITIES: Condition = personality(&[LINUX, LINUX32, UNAME26, QUERY]);
/// The same, and addresses that are not random, which debuggers want.
pub(crate) static PERSONALITIES_AND_FIXED: Condition =
    personality(&[LINUX, LINUX32, UNAME26, QUERY, ADDR_NO_RANDOMIZE]);

impl Condition {
    /// For the compiler: the call is made when one of the rules holds.
    pub(crate) fn rules(&self) -> Result<Vec<SeccompRule>, BackendError> {
        let compare = |operator, value: u32| {
            SeccompCondition::new(self.argument, SeccompCmpArgLen::Dword, operator, u64::from(value))
        };
        match self.test {
            Test::Among(values) => values
                .iter()
                .map(|(_, value)| SeccompRule::new(vec![compare(SeccompCmpOp::Eq, *value)?]))
                .collect(),
            Test::Outside(values) => {
                let all = values.iter().map(|(_, value)| compare(SeccompCmpOp::Ne, *value));
                Ok(vec![SeccompRule::new(all.collect::<Result<_, _>>()?)?])
            }
            Test::Without(values) => {
                let mask = values.iter().fold(0, |mask, (_, bit)| mask | u64::from(*bit));
                Ok(vec![SeccompRule::new(vec![compare(SeccompCmpOp::MaskedEq(mask), 0)?])?])
            }
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (how, values) = match self.test {
            Test::Among(values) => ("is one of", values),
            Test::Outside(values) => ("is none of", values),
            Test::Without(values) => ("has none of", values),
        };
        write!(f, "{} {how}", self.name)?;
        values.iter().try_for_each(|(name, _)| write!(f, " {name}"))?;
        write!(f, ", else {}", self.error.name())
    }
}
