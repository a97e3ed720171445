//! Reading interfaces and addresses out of the kernel's answers. Only the attributes needed are looked at, so that a
//! kernel that adds to or changes others is understood all the same.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{NlaBuffer, NlasIterator};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressMessage, AddressMessageBuffer};
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage, LinkMessageBuffer};

use super::socket::RouteSocket;
use super::{Error, Link, Mac};

const DUMP_LINKS: &str = "list interfaces";
const DUMP_ADDRESSES: &str = "list addresses";
/// `IFLA_INFO_KIND` of linux/if_link.h.
const INFO_KIND: u16 = 1;
/// Scopes from this on are of use on one link or inside the host only.
const RT_SCOPE_LINK: u8 = 253;

pub(super) fn with_addresses(socket: &mut RouteSocket) -> Result<Vec<Link>, Error> {
    let mut links = all(socket)?;
    let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    let addresses = socket.dump(DUMP_ADDRESSES, request, |found, payload| {
        found.extend(read_address(payload)?);
        Ok(())
    })?;
    for address in addresses {
        if let Some(link) = links.iter_mut().find(|link| link.index == address.link) {
            link.addresses.push((address.ip, address.prefix));
        }
    }
    Ok(links)
}

pub(super) fn reachable_addresses(socket: &mut RouteSocket) -> Result<Vec<IpAddr>, Error> {
    let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    socket.dump(DUMP_ADDRESSES, request, |found, payload| {
        found.extend(read_address(payload)?.filter(|a| a.scope < RT_SCOPE_LINK).map(|a| a.ip));
        Ok(())
    })
}

/// Every interface of the socket's namespace, without addresses.
pub(super) fn all(socket: &mut RouteSocket) -> Result<Vec<Link>, Error> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    socket.dump(DUMP_LINKS, RouteNetlinkMessage::GetLink(message), |found, payload| {
        found.push(read_link(payload)?);
        Ok(())
    })
}

/// One interface by number or, with `index` 0, by name.
pub(super) fn one(socket: &mut RouteSocket, index: u32, name: Option<&str>) -> Result<Option<Link>, Error> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    message.attributes.extend(name.map(|name| LinkAttribute::IfName(name.to_owned())));
    let mut found = None;
    let asked = socket.request("look up an interface", RouteNetlinkMessage::GetLink(message), 0, |payload| {
        found = Some(read_link(payload)?);
        Ok(())
    });
    match asked {
        Err(error) if error.is_absent() => Ok(None),
        other => other.map(|()| found),
    }
}

struct Address {
    link: u32,
    ip: IpAddr,
    prefix: u8,
    scope: u8,
}

/// None for an address family that is not IP.
fn read_address(payload: &[u8]) -> Result<Option<Address>, Error> {
    let malformed = |detail: String| Error::Malformed { what: DUMP_ADDRESSES, detail };
    let message = AddressMessageBuffer::new_checked(payload).map_err(|e| malformed(e.to_string()))?;
    let (mut local, mut address) = (None, None);
    for attribute in message.attributes() {
        let attribute = attribute.map_err(|e| malformed(e.to_string()))?;
        match attribute.kind() {
            libc::IFA_LOCAL => local = read_ip(attribute.value()),
            libc::IFA_ADDRESS => address = read_ip(attribute.value()),
            _ => {}
        }
    }
    // On a point-to-point link IFA_ADDRESS is the other side's.
    Ok(local.or(address).map(|ip| Address {
        link: message.index(),
        ip,
        prefix: message.prefix_len(),
        scope: message.scope(),
    }))
}

fn read_ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        Some(Ipv4Addr::from(v4).into())
    } else {
        <[u8; 16]>::try_from(bytes).ok().map(|v6| Ipv6Addr::from(v6).into())
    }
}

fn read_link(payload: &[u8]) -> Result<Link, Error> {
    let malformed = |detail: String| Error::Malformed { what: DUMP_LINKS, detail };
    let message = LinkMessageBuffer::new_checked(payload).map_err(|e| malformed(e.to_string()))?;
    let mut link = Link {
        index: message.link_index(),
        name: String::new(),
        kind: kind_of_layer(message.link_layer_type()).to_owned(),
        mac: None,
        mtu: 0,
        up: message.flags() & libc::IFF_UP.cast_unsigned() != 0,
        addresses: Vec::new(),
        peer_index: None,
        peer_nsid: None,
        master: None,
    };
    for attribute in message.attributes() {
        let attribute = attribute.map_err(|e| malformed(e.to_string()))?;
        let value = attribute.value();
        match attribute.kind() {
            libc::IFLA_IFNAME => link.name = read_text(value),
            libc::IFLA_ADDRESS => link.mac = value.try_into().ok().map(Mac),
            libc::IFLA_MTU => link.mtu = read_u32(value).unwrap_or_default(),
            libc::IFLA_LINK => link.peer_index = read_u32(value),
            libc::IFLA_LINK_NETNSID => link.peer_nsid = read_u32(value).map(u32::cast_signed),
            libc::IFLA_MASTER => link.master = read_u32(value),
            libc::IFLA_LINKINFO => link.kind = read_kind(value).unwrap_or(link.kind),
            _ => {}
        }
    }
    Ok(link)
}

fn read_kind(info: &[u8]) -> Option<String> {
    let kind = NlasIterator::new(info)
        .filter_map(Result::ok)
        .find(|nla: &NlaBuffer<&[u8]>| nla.kind() == INFO_KIND)?;
    Some(read_text(kind.value()))
}

fn kind_of_layer(layer: u16) -> &'static str {
    match layer {
        libc::ARPHRD_LOOPBACK => "loopback",
        libc::ARPHRD_ETHER => "physical",
        _ => "other",
    }
}

fn read_text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn read_u32(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|b| u32::from_ne_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_core::Emitable;
    use netlink_packet_route::address::AddressAttribute;
    use netlink_packet_route::link::{InfoKind, LinkFlags, LinkInfo};

    fn bytes(message: &impl Emitable) -> Vec<u8> {
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        bytes
    }

    #[test]
    fn a_veth_knows_the_number_and_the_namespace_of_its_other_end() {
        let mut message = LinkMessage::default();
        message.header.index = 2;
        message.header.flags = LinkFlags::Up;
        message.attributes = vec![
            LinkAttribute::IfName("eth0".into()),
            LinkAttribute::Mtu(1450),
            LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]),
            LinkAttribute::Link(7),
            LinkAttribute::LinkNetNsId(0),
            LinkAttribute::Controller(3),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth)]),
        ];
        let link = read_link(&bytes(&message)).unwrap();
        assert_eq!((link.index, link.name.as_str(), link.kind.as_str()), (2, "eth0", "veth"));
        assert_eq!((link.mtu, link.up, link.mac), (1450, true, Some(Mac([2, 0, 0, 0, 0, 1]))));
        assert_eq!((link.peer_index, link.peer_nsid, link.master), (Some(7), Some(0), Some(3)));
    }

    #[test]
    fn the_near_side_of_a_point_to_point_address_is_the_own_one() {
        let mut message = AddressMessage::default();
        message.header.prefix_len = 32;
        message.attributes = vec![
            AddressAttribute::Address([198, 18, 0, 1].into()),
            AddressAttribute::Local([198, 18, 0, 2].into()),
        ];
        let address = read_address(&bytes(&message)).unwrap().unwrap();
        assert_eq!((address.ip, address.prefix), (IpAddr::from([198, 18, 0, 2]), 32));
    }

    #[test]
    fn a_cut_message_is_an_error_and_no_panic() {
        let mut message = LinkMessage::default();
        message.attributes = vec![LinkAttribute::IfName("eth0".into())];
        let whole = bytes(&message);
        for length in 0..whole.len() {
            let _ = read_link(&whole[..length]);
            let _ = read_address(&whole[..length]);
        }
    }
}
