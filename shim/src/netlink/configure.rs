//! Making, naming, addressing and removing interfaces.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::socket::RouteSocket;
use super::{Error, links};

/// Two interfaces, each the other end of the other.
#[derive(Clone, Copy, Debug)]
pub struct VethPair<'a> {
    /// The end in the calling thread's namespace.
    pub near: &'a str,
    /// The end in another namespace.
    pub far: &'a str,
    /// That namespace.
    pub netns: BorrowedFd<'a>,
}

/// Makes both ends, down and without addresses.
pub fn create_veth(pair: VethPair<'_>) -> Result<(), Error> {
    let mut far = LinkMessage::default();
    far.attributes =
        vec![LinkAttribute::IfName(pair.far.to_owned()), LinkAttribute::NetNsFd(pair.netns.as_raw_fd())];
    let mut near = LinkMessage::default();
    near.attributes = vec![
        LinkAttribute::IfName(pair.near.to_owned()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far))),
        ]),
    ];
    let request = RouteNetlinkMessage::NewLink(near);
    RouteSocket::open()?.request("create a veth pair", request, NLM_F_CREATE | NLM_F_EXCL, |_| Ok(()))
}

/// Removes an interface of the calling thread's namespace, and with a veth its other end. False when there is none.
pub fn delete_link(name: &str) -> Result<bool, Error> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    let request = RouteNetlinkMessage::DelLink(message);
    match RouteSocket::open()?.request("remove an interface", request, 0, |_| Ok(())) {
        Err(error) if error.is_absent() => Ok(false),
        other => other.map(|()| true),
    }
}

/// Brings an interface of the socket's namespace up.
pub fn bring_up(socket: &mut RouteSocket, name: &str) -> Result<(), Error> {
    let mut message = LinkMessage::default();
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    socket.request("bring an interface up", RouteNetlinkMessage::SetLink(message), 0, |_| Ok(()))
}

/// Gives an interface of the socket's namespace an address.
pub fn add_address(socket: &mut RouteSocket, name: &str, ip: IpAddr, prefix: u8) -> Result<(), Error> {
    let link = links::one(socket, 0, Some(name))?.ok_or_else(|| Error::Refused {
        what: "give an interface an address",
        source: std::io::Error::from_raw_os_error(libc::ENODEV),
    })?;
    let mut message = AddressMessage::default();
    message.header.family = if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.header.prefix_len = prefix;
    message.header.index = link.index;
    message.attributes = vec![AddressAttribute::Local(ip), AddressAttribute::Address(ip)];
    let request = RouteNetlinkMessage::NewAddress(message);
    socket.request("give an interface an address", request, NLM_F_CREATE | NLM_F_EXCL, |_| Ok(()))
}
