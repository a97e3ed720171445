//! Network interfaces of any network namespace, asked of the kernel through rtnetlink, without leaving our own.
//!
//! A netlink socket belongs to the namespace it was made in. So a short-lived thread enters the namespace, makes the
//! socket and asks there; the calling thread never moves, and every thread has ended when a function here returns.

mod configure;
mod links;
mod peer;
mod socket;
mod visit;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::str::FromStr;

use serde::{Serialize, Serializer};

pub use configure::{VethPair, add_address, bring_up, create_veth, delete_link};
pub use peer::{HostVeth, behind_host_veth, host_links, host_veth};
pub use socket::RouteSocket;
pub use visit::{visit, visit_each};

/// A step of the conversation with the kernel that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No thread could be started, or it ended before it had an answer.
    #[error("start a thread for a network namespace")]
    Thread(#[source] io::Error),
    /// `setns(2)` refused.
    #[error("enter a network namespace")]
    Enter(#[source] io::Error),
    /// `socket(2)` refused.
    #[error("open a netlink socket")]
    Socket(#[source] io::Error),
    /// The request could not be sent or its answer not be read.
    #[error("{what}: talk to the kernel through netlink")]
    Talk {
        /// What was asked.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The kernel understood and refused.
    #[error("{what}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// An answer that does not follow the protocol.
    #[error("{what}: malformed answer from the kernel: {detail}")]
    Malformed {
        /// What was asked.
        what: &'static str,
        /// What is wrong with the answer.
        detail: String,
    },
}

impl Error {
    /// What the reader can do about it.
    pub fn remedy(&self) -> Option<&'static str> {
        let source = match self {
            Self::Enter(source) | Self::Refused { source, .. } => source,
            _ => return None,
        };
        (source.kind() == io::ErrorKind::PermissionDenied)
            .then_some("needs CAP_SYS_ADMIN and CAP_NET_ADMIN: run as root")
    }

    /// True when the kernel says that there is no such interface, or no longer.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Refused { source, .. }
            if matches!(source.raw_os_error(), Some(libc::ENODEV | libc::ENOENT)))
    }
}

/// A hardware address, written `02:42:0a:58:00:07`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = BadMac;

    fn from_str(raw: &str) -> Result<Self, BadMac> {
        let mut bytes = [0; 6];
        let mut parts = raw.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2 && !p.starts_with('+')).ok_or(BadMac)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| BadMac)?;
        }
        if parts.next().is_some() { Err(BadMac) } else { Ok(Self(bytes)) }
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Not a hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a hardware address has six bytes in hexadecimal: 02:42:0a:58:00:07")]
pub struct BadMac;

/// One network interface of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Its number, valid in its namespace only.
    pub index: u32,
    /// `eth0`.
    pub name: String,
    /// `veth`, `bridge`, `vlan`, …; `loopback` or `physical` for what has no kind in the kernel.
    pub kind: String,
    /// None where the link layer has no six-byte address.
    pub mac: Option<Mac>,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// Addresses with their prefix lengths, in the kernel's order.
    pub addresses: Vec<(IpAddr, u8)>,
    /// The interface this one is tied to: a veth's other end, a vlan's parent. Its number is valid in `peer_nsid`.
    pub peer_index: Option<u32>,
    /// The namespace of `peer_index`, as this namespace numbers others; None when it is this one.
    pub peer_nsid: Option<i32>,
    /// The bridge or bond this interface is a port of.
    pub master: Option<u32>,
}

/// Every interface of a namespace with its addresses.
pub fn addresses(netns: BorrowedFd<'_>) -> Result<Vec<Link>, Error> {
    visit(netns, links::with_addresses)
}

/// Every address of the calling thread's own namespace, with its prefix length.
pub fn own_addresses() -> Result<Vec<(IpAddr, u8)>, Error> {
    let links = links::with_addresses(&mut RouteSocket::open()?)?;
    Ok(links.into_iter().flat_map(|link| link.addresses).collect())
}

/// The addresses by which a namespace can be reached from outside it, for the namespace that `open` finds for each item, in
/// order: no loopback and no link-local ones. Costs one dump a namespace, shared between two threads.
pub fn addresses_of_each<I: Sync>(
    items: &[I],
    open: impl Fn(&I) -> Option<OwnedFd> + Sync,
) -> Vec<Result<Vec<IpAddr>, Error>> {
    visit_each(items, open, links::reachable_addresses)
}

/// [`addresses`] for the namespace that `open` finds for each item, in order.
pub fn links_of_each<I: Sync>(
    items: &[I],
    open: impl Fn(&I) -> Option<OwnedFd> + Sync,
) -> Vec<Result<Vec<Link>, Error>> {
    visit_each(items, open, links::with_addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hardware_address_survives_the_way_to_text_and_back() {
        let mac = Mac([2, 0x42, 0xa, 0x58, 0, 7]);
        assert_eq!(mac.to_string(), "02:42:0a:58:00:07");
        assert_eq!(mac.to_string().parse(), Ok(mac));
        assert_eq!("02:42:0A:58:00:07".parse(), Ok(mac));
    }

    #[test]
    fn what_is_no_hardware_address_is_refused() {
        for raw in [
            "",
            "02:42",
            "02:42:0a:58:00:07:01",
            "02:42:0a:58:00:7",
            "02:42:0a:58:00:+7",
            "zz:42:0a:58:00:07",
        ] {
            assert_eq!(raw.parse::<Mac>(), Err(BadMac), "{raw}");
        }
    }
}
