//! /proc/net (man 5 proc).

use super::addr::{Addr, Endpoint, Family};
use super::net::Net;
use super::{Kind, Role, Socket};
use crate::wait::lock;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

/// Names in /proc/net.
pub const FILES: &[&str] = &["dev", "if_inet6", "route", "tcp", "tcp6", "udp", "udp6", "unix"];

fn hex(e: Option<Endpoint>, v6: bool) -> String {
    let Some(e) = e else { return hex(Some(Endpoint { ip: IpAddr::from([0; 4]), port: 0 }), v6) };
    let mut s = String::new();
    let octets: Vec<u8> = match (e.ip, v6) {
        (IpAddr::V4(ip), false) => ip.octets().to_vec(),
        (IpAddr::V4(ip), true) if ip.is_unspecified() => vec![0; 16],
        (IpAddr::V4(ip), true) => ip.to_ipv6_mapped().octets().to_vec(),
        (IpAddr::V6(ip), _) => ip.octets().to_vec(),
    };
    for word in octets.chunks_exact(4) {
        let _ = write!(s, "{:08X}", u32::from_ne_bytes(word.try_into().unwrap_or_default()));
    }
    let _ = write!(s, ":{:04X}", e.port);
    s
}

fn endpoint(a: &Option<Addr>) -> Option<Endpoint> {
    match a {
        Some(Addr::Inet(e)) => Some(*e),
        _ => None,
    }
}

fn inet(all: &[Arc<Socket>], kind: Kind, family: Family) -> String {
    let v6 = family == Family::Inet6;
    let mut s = String::from(if v6 {
        "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    } else {
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    });
    let mut i = 0;
    for sock in all.iter().filter(|s| s.family == family && s.kind == kind) {
        let (local, peer, bound, waiting) = {
            let st = lock(&sock.state);
            let waiting = match &st.role {
                Role::Listening(l) => l.queue.len(),
                _ => st.rx.bytes(),
            };
            (endpoint(&st.local), endpoint(&st.peer), st.bound, waiting)
        };
        if !bound {
            continue;
        }
        let state = match kind {
            Kind::Stream => sock.tcp_state(),
            _ if peer.is_some() => 1,
            _ => 7,
        };
        let rx = if state == 1 && kind == Kind::Stream { sock.readable().unwrap_or(0) } else { waiting };
        let _ = writeln!(
            s,
            "{i:4}: {} {} {state:02X} 00000000:{rx:08X} 00:00000000 00000000 {:5}        0 {} 1 0000000000000000 0",
            hex(local, v6),
            hex(peer, v6),
            sock.uid,
            sock.ino
        );
        i += 1;
    }
    s
}

fn unix(all: &[Arc<Socket>]) -> Vec<u8> {
    let mut out = b"Num       RefCount Protocol Flags    Type St Inode Path\n".to_vec();
    for sock in all.iter().filter(|s| s.family == Family::Unix) {
        let (local, listening, connected) = {
            let st = lock(&sock.state);
            (st.local.clone(), matches!(st.role, Role::Listening(_)), matches!(st.role, Role::Connected { .. }))
        };
        let flags = if listening { 0x10000 } else { 0 };
        let state = if connected { 3 } else { 1 };
        out.extend(
            format!(
                "0000000000000000: 00000002 00000000 {flags:08X} {:04X} {state:02X} {:5}",
                sock.kind as i32, sock.ino
            )
            .bytes(),
        );
        if let Some(Addr::Unix(name)) = local {
            out.push(b' ');
            // NULs of abstract names are shown as @; a name is not to break the line.
            out.extend(name.iter().map(|&c| {
                if c == 0 {
                    b'@'
                } else if c == b'\n' {
                    b'?'
                } else {
                    c
                }
            }));
        }
        out.push(b'\n');
    }
    out
}

/// The text of a file of /proc/net.
pub fn text(net: &Net, name: &str) -> Vec<u8> {
    match name {
        "tcp" => inet(&net.all(), Kind::Stream, Family::Inet).into(),
        "tcp6" => inet(&net.all(), Kind::Stream, Family::Inet6).into(),
        "udp" => inet(&net.all(), Kind::Datagram, Family::Inet).into(),
        "udp6" => inet(&net.all(), Kind::Datagram, Family::Inet6).into(),
        "unix" => unix(&net.all()),
        "if_inet6" => b"00000000000000000000000000000001 01 80 10 80       lo\n".to_vec(),
        "route" => b"Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n".to_vec(),
        "dev" => b"Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0\n".to_vec(),
        _ => Vec::new(),
    }
}
