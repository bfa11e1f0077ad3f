//! Socket addresses: the guest's `struct sockaddr` and what they mean (man 7 ip, ipv6, unix, netlink).

use crate::errno::{Errno, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

pub const AF_UNSPEC: u16 = 0;
pub const AF_UNIX: u16 = 1;
pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;
pub const AF_NETLINK: u16 = 16;

/// Longest address a call takes (`struct sockaddr_storage`).
pub const ADDR_MAX: usize = 128;
/// `sizeof sun_path`.
const SUN_PATH: usize = 108;

/// Address families there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    Unix,
    Inet,
    Inet6,
    Netlink,
}

impl Family {
    /// As `sa_family` has it.
    pub fn number(self) -> u16 {
        match self {
            Family::Unix => AF_UNIX,
            Family::Inet => AF_INET,
            Family::Inet6 => AF_INET6,
            Family::Netlink => AF_NETLINK,
        }
    }
    /// Whether it is IPv4 or IPv6.
    pub fn is_inet(self) -> bool {
        matches!(self, Family::Inet | Family::Inet6)
    }
}

/// An IP address and port. IPv4-mapped IPv6 addresses are kept as IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Endpoint {
    pub ip: IpAddr,
    pub port: u16,
}

/// A socket address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Addr {
    /// `AF_UNSPEC`.
    Unspec,
    Inet(Endpoint),
    /// The used part of `sun_path`: nothing for an unnamed socket, a NUL first for an abstract name, otherwise a path without NUL.
    Unix(Arc<[u8]>),
    /// Port ID.
    Netlink(u32),
}

fn u16_at(b: &[u8], at: usize) -> u16 {
    b.get(at..at + 2).and_then(|b| b.try_into().ok()).map_or(0, u16::from_ne_bytes)
}

/// The address without the mapping of IPv4 into IPv6.
pub fn unmapped(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        v4 => v4,
    }
}

impl Addr {
    /// Reads a `struct sockaddr` of whatever family it says it is. `EINVAL` when it is too short, `EAFNOSUPPORT` for unknown families.
    pub fn parse(b: &[u8]) -> Result<Addr> {
        if b.len() < 2 {
            return Err(Errno::EINVAL);
        }
        match u16_at(b, 0) {
            AF_UNSPEC => Ok(Addr::Unspec),
            AF_INET => {
                let ip: [u8; 4] = b.get(4..8).and_then(|b| b.try_into().ok()).ok_or(Errno::EINVAL)?;
                if b.len() < 16 {
                    return Err(Errno::EINVAL);
                }
                Ok(Addr::Inet(Endpoint { ip: Ipv4Addr::from(ip).into(), port: u16_at(b, 2).to_be() }))
            }
            AF_INET6 => {
                let ip: [u8; 16] = b.get(8..24).and_then(|b| b.try_into().ok()).ok_or(Errno::EINVAL)?;
                Ok(Addr::Inet(Endpoint { ip: unmapped(Ipv6Addr::from(ip).into()), port: u16_at(b, 2).to_be() }))
            }
            AF_UNIX => {
                let name = b.get(2..).unwrap_or_default();
                if name.len() > SUN_PATH {
                    return Err(Errno::EINVAL);
                }
                let used = match name.first() {
                    None | Some(0) => name,
                    Some(_) => name.split(|&c| c == 0).next().unwrap_or_default(),
                };
                Ok(Addr::Unix(used.into()))
            }
            AF_NETLINK => {
                if b.len() < 12 {
                    return Err(Errno::EINVAL);
                }
                let pid = b.get(4..8).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes);
                Ok(Addr::Netlink(pid))
            }
            _ => Err(Errno::EAFNOSUPPORT),
        }
    }

    /// The `struct sockaddr` that a socket of `family` shows.
    pub fn bytes(&self, family: Family) -> Vec<u8> {
        let mut b = family.number().to_ne_bytes().to_vec();
        match self {
            Addr::Unspec => {}
            Addr::Inet(e) => {
                b.extend(e.port.to_be_bytes());
                if family == Family::Inet6 {
                    let ip = match e.ip {
                        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                        IpAddr::V6(v6) => v6,
                    };
                    b.extend([0; 4]);
                    b.extend(ip.octets());
                    b.extend([0; 4]);
                } else {
                    let ip = match e.ip {
                        IpAddr::V4(v4) => v4,
                        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
                    };
                    b.extend(ip.octets());
                    b.extend([0; 8]);
                }
            }
            Addr::Unix(name) => {
                b.extend_from_slice(name);
                if name.first().is_some_and(|&c| c != 0) {
                    b.push(0);
                }
            }
            Addr::Netlink(pid) => {
                b.extend([0; 2]);
                b.extend(pid.to_ne_bytes());
                b.extend([0; 4]);
            }
        }
        b
    }
}

/// The address that "any" stands for as a destination, and the loopback address that a socket gets as its own for one of that version.
pub fn destination(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// The own address for a connection to `to`, which is [local](super::outside::Outside::is_local).
pub fn source_for(to: IpAddr) -> IpAddr {
    match to {
        IpAddr::V4(v4) if v4.is_loopback() => Ipv4Addr::LOCALHOST.into(),
        own => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_written() {
        let e = Endpoint { ip: Ipv4Addr::new(127, 0, 0, 3).into(), port: 8080 };
        let b = Addr::Inet(e).bytes(Family::Inet);
        assert_eq!(b, [2, 0, 0x1f, 0x90, 127, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Addr::parse(&b), Ok(Addr::Inet(e)));
        let mapped = Addr::Inet(e).bytes(Family::Inet6);
        assert_eq!(mapped.len(), 28);
        assert_eq!(Addr::parse(&mapped), Ok(Addr::Inet(e)));
        assert_eq!(Addr::parse(&[1, 0, b'a', b'b', 0, b'c']), Ok(Addr::Unix(b"ab"[..].into())));
        assert_eq!(Addr::parse(&[1, 0, 0, b'b', 0]), Ok(Addr::Unix(b"\0b\0"[..].into())));
        assert_eq!(Addr::Unix(b"ab"[..].into()).bytes(Family::Unix), b"\x01\0ab\0");
    }

    #[test]
    fn short_and_foreign_addresses_are_refused() {
        let short = [2u8, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13];
        for n in 0..=short.len() {
            assert!(Addr::parse(&short[..n]).is_err(), "{n}");
        }
        assert_eq!(Addr::parse(&[17, 0, 0, 0]), Err(Errno::EAFNOSUPPORT));
        assert_eq!(Addr::parse(&[1; 2 + SUN_PATH + 1]), Err(Errno::EAFNOSUPPORT));
        let mut long = vec![1, 0];
        long.extend([b'x'; SUN_PATH + 1]);
        assert_eq!(Addr::parse(&long), Err(Errno::EINVAL));
    }
}
