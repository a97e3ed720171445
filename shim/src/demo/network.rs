//! The pod's interface: a veth to the host in a network that nobody uses.

use porthole_registry::bounded;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::path::PathBuf;

use super::{Error, Pod};
use crate::netlink::{self, RouteSocket, VethPair};

/// 198.18.0.0/15 is set aside for tests of network devices (RFC 2544): nobody routes it.
const RANGE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
const PREFIX: u8 = 30;
const NETWORKS: u32 = 1 << (PREFIX - 15);

/// An IPv4 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    base: u32,
    prefix: u8,
}

impl Network {
    fn overlaps(self, other: Self) -> bool {
        let prefix = self.prefix.min(other.prefix);
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        self.base & mask == other.base & mask
    }
}

/// Two addresses, the host's and the pod's, of the first /30 that no address and no route of the host touches.
pub(super) fn free_addresses() -> Result<(Ipv4Addr, Ipv4Addr), Error> {
    let path = PathBuf::from("/proc/self/net/route");
    // Absent where the kernel has no IPv4 routing; then nothing is taken by it.
    let routes = bounded::text(&path, bounded::LISTS).unwrap_or_default();
    let mut taken = read_routes(&routes);
    taken.extend(netlink::own_addresses()?.into_iter().filter_map(|(ip, prefix)| match ip {
        IpAddr::V4(ip) => Some(Network { base: ip.to_bits(), prefix }),
        IpAddr::V6(_) => None,
    }));
    free_network(&taken).ok_or(Error::NoSubnet)
}

fn free_network(taken: &[Network]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let base = (0..NETWORKS)
        .map(|number| RANGE.to_bits() + number * 4)
        .find(|base| !taken.iter().any(|t| t.overlaps(Network { base: *base, prefix: PREFIX })))?;
    Some((Ipv4Addr::from_bits(base + 1), Ipv4Addr::from_bits(base + 2)))
}

/// Destinations of `/proc/net/route`, without the default route.
fn read_routes(text: &str) -> Vec<Network> {
    let number = |field: Option<&str>| u32::from_str_radix(field?, 16).ok().map(u32::from_be);
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let base = number(fields.nth(1))?;
            let mask = number(fields.nth(5))?;
            let prefix = u8::try_from(mask.leading_ones()).ok()?;
            (prefix > 0).then_some(Network { base, prefix })
        })
        .collect()
}

/// Connects the pod, as a CNI plugin does between making the sandbox and starting it.
pub(super) fn connect(pod: &Pod, sandbox_pid: i32) -> Result<(), Error> {
    let path = PathBuf::from(format!("/proc/{sandbox_pid}/ns/net"));
    let netns = File::open(&path).map_err(Error::file("open", &path))?;
    netlink::create_veth(VethPair { near: &pod.veth, far: "eth0", netns: netns.as_fd() })?;
    let mut host = RouteSocket::open()?;
    netlink::add_address(&mut host, &pod.veth, pod.host_address.into(), PREFIX)?;
    netlink::bring_up(&mut host, &pod.veth)?;
    netlink::visit(netns.as_fd(), |socket| {
        netlink::bring_up(socket, "lo")?;
        netlink::add_address(socket, "eth0", pod.address.into(), PREFIX)?;
        netlink::bring_up(socket, "eth0")
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &str = "\
Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
x\t000012C6\t00000000\t0001\t0\t0\t0\tFCFFFFFF\t0\t0\t0
";

    #[test]
    fn routes_are_read_in_the_kernels_byte_order_and_the_default_route_takes_nothing() {
        let routes = read_routes(ROUTES);
        let at = |a, b, c, d, prefix| Network { base: Ipv4Addr::new(a, b, c, d).to_bits(), prefix };
        assert_eq!(routes, [at(192, 0, 2, 0, 24), at(198, 18, 0, 0, 30)]);
    }

    #[test]
    fn the_first_network_that_nobody_touches_is_taken() {
        let free = free_network(&read_routes(ROUTES)).unwrap();
        assert_eq!(free, (Ipv4Addr::new(198, 18, 0, 5), Ipv4Addr::new(198, 18, 0, 6)));
    }

    #[test]
    fn a_range_that_is_routed_as_a_whole_is_not_used() {
        let whole = Network { base: RANGE.to_bits(), prefix: 15 };
        assert_eq!(free_network(&[whole]), None);
        let around = Network { base: Ipv4Addr::new(128, 0, 0, 0).to_bits(), prefix: 1 };
        assert_eq!(free_network(&[around]), None);
    }
}
