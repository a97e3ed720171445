//! The host's end of a container's interface.
//!
//! An interface number means nothing outside its own namespace, and a veth's other end may be in any. So the claim
//! "the other end is the host's number 7" is only believed when the host's number 7 names this interface and this
//! namespace as its own other end.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage, NsidMessageBuffer};
use rustix::fs::fstat;
use serde::Serialize;

use super::socket::RouteSocket;
use super::{Error, Link, addresses, links};

/// `NETNSA_NSID` of linux/net_namespace.h.
const NETNSA_NSID: u16 = 1;

/// The host's end of an interface of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostVeth {
    /// The container's end: `eth0`.
    pub container_interface: String,
    /// The host's end: `veth1a2b3c4d`.
    pub name: String,
    /// The host's number of it.
    pub index: u32,
    /// The bridge, bond or other interface it is a port of.
    pub master: Option<String>,
}

/// The host's ends of the interfaces of `target`, in the order of the container's interfaces. The host is the
/// namespace of the calling thread; none when that is the target itself.
pub fn host_veth(target: BorrowedFd<'_>) -> Result<Vec<HostVeth>, Error> {
    let own = File::open("/proc/thread-self/ns/net").map_err(Error::Enter)?;
    if is_same(own.as_fd(), target)? {
        return Ok(Vec::new());
    }
    let inside = addresses(target)?;
    let mut socket = RouteSocket::open()?;
    let mut found = Vec::new();
    for link in inside.iter().filter(|link| link.peer_nsid.is_some()) {
        let Some(index) = link.peer_index else { continue };
        let Some(candidate) = links::one(&mut socket, index, None)? else { continue };
        // Asked after the look-up: it is that which makes the kernel number the namespace.
        let target_id = namespace_id(&mut socket, target)?;
        if !is_end_of(&candidate, link.index, target_id) {
            continue;
        }
        let master = match candidate.master {
            Some(master) => links::one(&mut socket, master, None)?.map(|link| link.name),
            None => None,
        };
        found.push(HostVeth { container_interface: link.name.clone(), name: candidate.name, index, master });
    }
    Ok(found)
}

/// The host's interfaces without addresses; the host is the namespace of the calling thread.
pub fn host_links() -> Result<Vec<Link>, Error> {
    links::all(&mut RouteSocket::open()?)
}

/// The reverse of [`host_veth`]: which of `namespaces` the other end of the host's interface `name` is in. Asks the
/// host alone, so the number of namespaces hardly matters.
pub fn behind_host_veth(name: &str, namespaces: &[BorrowedFd<'_>]) -> Result<Option<usize>, Error> {
    let mut socket = RouteSocket::open()?;
    let Some(id) = links::one(&mut socket, 0, Some(name))?.and_then(|link| link.peer_nsid) else {
        return Ok(None);
    };
    for (position, netns) in namespaces.iter().enumerate() {
        if namespace_id(&mut socket, *netns)? == Some(id) {
            return Ok(Some(position));
        }
    }
    Ok(None)
}

fn is_end_of(candidate: &Link, index: u32, target_id: Option<i32>) -> bool {
    target_id.is_some() && candidate.peer_index == Some(index) && candidate.peer_nsid == target_id
}

fn namespace_id(socket: &mut RouteSocket, netns: BorrowedFd<'_>) -> Result<Option<i32>, Error> {
    const WHAT: &str = "ask for the number of a network namespace";
    let mut message = NsidMessage::default();
    message.attributes.push(NsidAttribute::Fd(netns.as_raw_fd().cast_unsigned()));
    let mut id = None;
    socket.request(WHAT, RouteNetlinkMessage::GetNsId(message), 0, |payload| {
        let malformed =
            |e: netlink_packet_core::DecodeError| Error::Malformed { what: WHAT, detail: e.to_string() };
        let answer = NsidMessageBuffer::new_checked(payload).map_err(malformed)?;
        for attribute in answer.attributes() {
            let attribute = attribute.map_err(malformed)?;
            if attribute.kind() == NETNSA_NSID {
                id = attribute.value().first_chunk().map(|b| i32::from_ne_bytes(*b));
            }
        }
        Ok(())
    })?;
    Ok(id.filter(|id| *id >= 0))
}

fn is_same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> Result<bool, Error> {
    let identity = |fd| fstat(fd).map(|s| (s.st_dev, s.st_ino)).map_err(|e| Error::Enter(e.into()));
    Ok(identity(one)? == identity(other)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(peer_index: Option<u32>, peer_nsid: Option<i32>) -> Link {
        Link {
            index: 7,
            name: "veth0".into(),
            kind: "veth".into(),
            mac: None,
            mtu: 1500,
            up: true,
            addresses: Vec::new(),
            peer_index,
            peer_nsid,
            master: None,
        }
    }

    #[test]
    fn only_an_interface_that_names_us_back_is_our_other_end() {
        assert!(is_end_of(&link(Some(2), Some(0)), 2, Some(0)));
    }

    #[test]
    fn the_same_number_in_a_third_namespace_is_not_our_other_end() {
        assert!(!is_end_of(&link(Some(2), Some(1)), 2, Some(0)));
        assert!(!is_end_of(&link(Some(3), Some(0)), 2, Some(0)));
        assert!(!is_end_of(&link(Some(2), None), 2, None));
        assert!(!is_end_of(&link(None, None), 2, None));
    }
}
