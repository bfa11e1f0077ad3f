//! AF_NETLINK with NETLINK_ROUTE (man 7 rtnetlink): lists the one interface and its addresses (with those that connections to the outside come from),
//! which is what C libraries ask for.

use super::Socket;
use super::addr::Addr;
use super::buffer::{Cred, Segment};
use crate::errno::{Errno, Result};
use crate::file::POLLIN;
use crate::wait::lock;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

const HEADER: usize = 16;
/// Requests of one message that are answered.
const MAX_REQUESTS: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_MULTI: u16 = 2;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
/// Index of `lo`.
pub const LO_INDEX: u32 = 1;
/// MTU of `lo`.
pub const LO_MTU: u32 = 65_536;
/// IFF_UP, IFF_LOOPBACK, IFF_RUNNING.
pub const LO_FLAGS: u32 = 0x49;
/// IFF_LOWER_UP.
const LO_LOWER_UP: u32 = 0x1_0000;

fn align(b: &mut Vec<u8>) {
    b.resize(b.len().next_multiple_of(4), 0);
}
fn attribute(b: &mut Vec<u8>, kind: u16, data: &[u8]) {
    b.extend((data.len() as u16 + 4).to_ne_bytes());
    b.extend(kind.to_ne_bytes());
    b.extend_from_slice(data);
    align(b);
}
fn message(out: &mut Vec<u8>, kind: u16, flags: u16, seq: u32, pid: u32, body: &[u8]) {
    out.extend((body.len() as u32 + HEADER as u32).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend(seq.to_ne_bytes());
    out.extend(pid.to_ne_bytes());
    out.extend_from_slice(body);
    align(out);
}

fn link() -> Vec<u8> {
    let mut b = vec![0, 0];
    // ARPHRD_LOOPBACK
    b.extend(772u16.to_ne_bytes());
    b.extend(LO_INDEX.to_ne_bytes());
    b.extend((LO_FLAGS | LO_LOWER_UP).to_ne_bytes());
    b.extend([0; 4]);
    attribute(&mut b, 3, b"lo\0");
    attribute(&mut b, 13, &1000u32.to_ne_bytes());
    attribute(&mut b, 4, &LO_MTU.to_ne_bytes());
    attribute(&mut b, 1, &[0; 6]);
    attribute(&mut b, 2, &[0; 6]);
    b
}
fn address(ip: IpAddr) -> Vec<u8> {
    // AF_INET, AF_INET6; RT_SCOPE_HOST, RT_SCOPE_UNIVERSE
    let family = if ip.is_ipv4() { 2 } else { 10 };
    let (prefix, scope) = match ip {
        IpAddr::V4(ip) if ip.is_loopback() => (8, 254),
        IpAddr::V4(_) => (32, 0),
        IpAddr::V6(ip) => (128, if ip.is_loopback() { 254 } else { 0 }),
    };
    // IFA_F_PERMANENT
    let mut b = vec![family, prefix, 0x80, scope];
    b.extend(LO_INDEX.to_ne_bytes());
    match ip {
        IpAddr::V4(ip) => {
            attribute(&mut b, 1, &ip.octets());
            attribute(&mut b, 2, &ip.octets());
            attribute(&mut b, 3, b"lo\0");
        }
        IpAddr::V6(ip) => attribute(&mut b, 1, &ip.octets()),
    }
    b
}

/// The answer to one request, in a container of these `addresses`; its datagrams.
fn answer(addresses: &[IpAddr], kind: u16, flags: u16, seq: u32, pid: u32, header: &[u8], body: &[u8]) -> Vec<Vec<u8>> {
    let dump = flags & NLM_F_DUMP != 0;
    let family = body.first().copied().unwrap_or(0);
    let mut items: Vec<(u16, Vec<u8>)> = Vec::new();
    let error = |e: Errno| {
        let mut b = (-e.raw()).to_ne_bytes().to_vec();
        b.extend_from_slice(header);
        let mut out = Vec::new();
        message(&mut out, NLMSG_ERROR, 0, seq, pid, &b);
        vec![out]
    };
    match kind {
        // RTM_GETLINK
        18 => {
            let index = body.get(4..8).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes);
            if !dump && index != 0 && index != LO_INDEX {
                return error(Errno::ENODEV);
            }
            items.push((RTM_NEWLINK, link()));
        }
        // RTM_GETADDR
        22 if dump => {
            items.extend(
                addresses
                    .iter()
                    .filter(|ip| family == 0 || ip.is_ipv6() == (family == 10))
                    .map(|&ip| (RTM_NEWADDR, address(ip))),
            );
        }
        // RTM_GETROUTE and others that list: nothing.
        k if dump && k >= 16 && k % 4 == 2 => {}
        // RTM_NEW..., RTM_DEL...
        k if k >= 16 && k % 4 != 2 => return error(Errno::EPERM),
        _ => return error(Errno::EOPNOTSUPP),
    }
    let mut all = Vec::new();
    for (k, b) in items {
        message(&mut all, k, if dump { NLM_F_MULTI } else { 0 }, seq, pid, &b);
    }
    let mut out = Vec::new();
    if !all.is_empty() {
        out.push(all);
    }
    if dump {
        let mut done = Vec::new();
        message(&mut done, NLMSG_DONE, NLM_F_MULTI, seq, pid, &[0; 4]);
        out.push(done);
    } else if flags & NLM_F_ACK != 0 {
        let mut b = vec![0; 4];
        b.extend_from_slice(header);
        let mut ack = Vec::new();
        message(&mut ack, NLMSG_ERROR, 0, seq, pid, &b);
        out.push(ack);
    }
    out
}

impl Socket {
    pub(super) fn bind_netlink(&self, to: &Addr, cred: Cred) -> Result<()> {
        let Addr::Netlink(pid) = to else { return Err(Errno::EINVAL) };
        let mut st = lock(&self.state);
        match st.local {
            Some(Addr::Netlink(p)) if *pid != 0 && p != *pid => return Err(Errno::EINVAL),
            Some(_) => {}
            // Numbers are the sockets' own: they need not be told apart.
            None => st.local = Some(Addr::Netlink(if *pid == 0 { cred.pid as u32 } else { *pid })),
        }
        Ok(())
    }

    pub(super) fn send_netlink(self: &Arc<Socket>, data: &[u8], caller: i32) -> Result<usize> {
        let mut st = lock(&self.state);
        let pid = match st.local {
            Some(Addr::Netlink(p)) => p,
            _ => {
                st.local = Some(Addr::Netlink(caller as u32));
                caller as u32
            }
        };
        let mut addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        addresses.extend(self.net.outside.own());
        // As Linux lists them.
        addresses.sort_by_key(IpAddr::is_ipv6);
        let mut rest = data;
        for _ in 0..MAX_REQUESTS {
            let field = |at: usize| rest.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes);
            let (Some(len), Some(kinds), Some(seq)) = (field(0), field(4), field(8)) else { break };
            let len = len as usize;
            let (Some(header), Some(body)) = (rest.get(..HEADER), rest.get(HEADER..len)) else { break };
            let (kind, flags) = (kinds as u16, (kinds >> 16) as u16);
            // Not for requests: NLMSG_NOOP and the like.
            if kind >= 16 && flags & 1 != 0 {
                for d in answer(&addresses, kind, flags, seq, pid, header, body) {
                    if st.rx.cost() > self.end.rcvbuf.load(std::sync::atomic::Ordering::Relaxed) {
                        return Err(Errno::ENOBUFS);
                    }
                    st.rx.push(Segment { from: Some(Addr::Netlink(0)), ..Segment::new(d) });
                }
            }
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        drop(st);
        self.end.queue.wake_for(POLLIN);
        Ok(data.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_lists_lo_and_ends() {
        let header = [0; HEADER];
        let local = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into(), Ipv4Addr::new(10, 0, 2, 15).into()];
        let out = answer(&local, 22, NLM_F_DUMP | 1, 7, 5, &header, &[0]);
        assert_eq!(out.len(), 2);
        let kinds: Vec<u16> = out.iter().map(|m| u16::from_ne_bytes([m[4], m[5]])).collect();
        assert_eq!(kinds, [RTM_NEWADDR, NLMSG_DONE]);
        let first = u32::from_ne_bytes(out[0][..4].try_into().unwrap()) as usize;
        assert!(first < out[0].len(), "IPv6 follows");
        assert_eq!(&out[0][16..20], &[2, 8, 0x80, 254]);
        let (v4, v6) = (&answer(&local, 22, NLM_F_DUMP | 1, 7, 5, &header, &[2])[0], &address(local[1]));
        assert_eq!(&v6[..4], &[10, 128, 0x80, 254]);
        assert!(v4.ends_with(&address(local[2])) && address(local[2])[..4] == [2, 32, 0x80, 0]);
        assert_eq!(answer(&local, 16, 5, 1, 1, &header, &[])[0][16..20], (-1i32).to_ne_bytes());
    }
}
