//! Socket options and ioctls (man 7 socket, ip, ipv6, tcp, netdevice).

use super::addr::Family;
use super::buffer::Cred;
use super::netlink::{LO_FLAGS, LO_INDEX, LO_MTU};
use super::{BUFFER_DEFAULT, Kind, Role, Socket};
use crate::errno::{Errno, Result};
use crate::file::{Caller, IoctlMemory};
use crate::wait::lock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const SOL_SOCKET: i32 = 1;
const SOL_IP: i32 = 0;
const SOL_TCP: i32 = 6;
const SOL_UDP: i32 = 17;
const SOL_IPV6: i32 = 41;
/// Longest value that setsockopt(2) reads.
pub const VALUE_MAX: usize = 256;

/// Which sockets have an option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum For {
    All,
    Inet,
    Inet6,
    Tcp,
    Udp,
}

/// Options that are a number and have no effect here but to be read back: level, name, default, least, largest, for whom.
const NUMBERS: &[(i32, i32, i32, i32, i32, For)] = &[
    (SOL_SOCKET, libc::SO_KEEPALIVE, 0, 0, 1, For::All),
    (SOL_SOCKET, libc::SO_OOBINLINE, 0, 0, 1, For::All),
    (SOL_SOCKET, libc::SO_DONTROUTE, 0, 0, 1, For::All),
    (SOL_SOCKET, libc::SO_PRIORITY, 0, 0, 6, For::All),
    (SOL_SOCKET, libc::SO_NO_CHECK, 0, 0, 1, For::All),
    (SOL_SOCKET, libc::SO_BUSY_POLL, 0, 0, i32::MAX, For::All),
    (SOL_SOCKET, libc::SO_TIMESTAMP, 0, 0, 1, For::All),
    (SOL_SOCKET, libc::SO_TIMESTAMPNS, 0, 0, 1, For::All),
    (SOL_SOCKET, libc::SO_RXQ_OVFL, 0, 0, 1, For::All),
    (SOL_SOCKET, libc::SO_INCOMING_CPU, -1, 0, 4096, For::All),
    (SOL_SOCKET, libc::SO_PASSSEC, 0, 0, 1, For::All),
    (SOL_IP, libc::IP_TOS, 0, 0, 255, For::Inet),
    (SOL_IP, libc::IP_TTL, 64, 1, 255, For::Inet),
    (SOL_IP, libc::IP_MTU_DISCOVER, 1, 0, 5, For::Inet),
    (SOL_IP, libc::IP_RECVERR, 0, 0, 1, For::Inet),
    (SOL_IP, libc::IP_PKTINFO, 0, 0, 1, For::Inet),
    (SOL_IP, libc::IP_RECVTTL, 0, 0, 1, For::Inet),
    (SOL_IP, libc::IP_RECVTOS, 0, 0, 1, For::Inet),
    (SOL_IP, libc::IP_RECVOPTS, 0, 0, 1, For::Inet),
    (SOL_IP, libc::IP_MULTICAST_TTL, 1, 0, 255, For::Inet),
    (SOL_IP, libc::IP_MULTICAST_LOOP, 1, 0, 1, For::Inet),
    (SOL_IP, libc::IP_FREEBIND, 0, 0, 1, For::Inet),
    // IP_BIND_ADDRESS_NO_PORT
    (SOL_IP, 24, 0, 0, 1, For::Inet),
    (SOL_IPV6, libc::IPV6_UNICAST_HOPS, 64, 0, 255, For::Inet6),
    (SOL_IPV6, libc::IPV6_MULTICAST_HOPS, 1, 0, 255, For::Inet6),
    (SOL_IPV6, libc::IPV6_MULTICAST_LOOP, 1, 0, 1, For::Inet6),
    (SOL_IPV6, libc::IPV6_MULTICAST_IF, 0, 0, 1, For::Inet6),
    (SOL_IPV6, libc::IPV6_MTU_DISCOVER, 1, 0, 5, For::Inet6),
    (SOL_IPV6, libc::IPV6_RECVERR, 0, 0, 1, For::Inet6),
    (SOL_IPV6, libc::IPV6_RECVPKTINFO, 0, 0, 1, For::Inet6),
    (SOL_IPV6, libc::IPV6_RECVHOPLIMIT, 0, 0, 1, For::Inet6),
    (SOL_IPV6, libc::IPV6_RECVTCLASS, 0, 0, 1, For::Inet6),
    (SOL_IPV6, libc::IPV6_TCLASS, 0, -1, 255, For::Inet6),
    (SOL_IPV6, libc::IPV6_DONTFRAG, 0, 0, 1, For::Inet6),
    (SOL_TCP, libc::TCP_NODELAY, 0, 0, 1, For::Tcp),
    (SOL_TCP, libc::TCP_MAXSEG, 536, 88, 32767, For::Tcp),
    (SOL_TCP, libc::TCP_CORK, 0, 0, 1, For::Tcp),
    (SOL_TCP, libc::TCP_KEEPIDLE, 7200, 1, 32767, For::Tcp),
    (SOL_TCP, libc::TCP_KEEPINTVL, 75, 1, 32767, For::Tcp),
    (SOL_TCP, libc::TCP_KEEPCNT, 9, 1, 127, For::Tcp),
    (SOL_TCP, libc::TCP_SYNCNT, 6, 1, 127, For::Tcp),
    (SOL_TCP, libc::TCP_LINGER2, 60, i32::MIN, i32::MAX, For::Tcp),
    (SOL_TCP, libc::TCP_DEFER_ACCEPT, 0, 0, i32::MAX, For::Tcp),
    (SOL_TCP, libc::TCP_WINDOW_CLAMP, 0, 0, i32::MAX, For::Tcp),
    (SOL_TCP, libc::TCP_QUICKACK, 1, 0, 1, For::Tcp),
    (SOL_TCP, libc::TCP_USER_TIMEOUT, 0, 0, i32::MAX, For::Tcp),
    (SOL_TCP, libc::TCP_FASTOPEN, 0, 0, i32::MAX, For::Tcp),
    // TCP_NOTSENT_LOWAT
    (SOL_TCP, 25, -1, 0, i32::MAX, For::Tcp),
    (SOL_UDP, libc::UDP_CORK, 0, 0, 1, For::Udp),
];

/// What setsockopt(2) has set.
#[derive(Clone, Default)]
pub struct Options {
    pub broadcast: bool,
    /// SO_PASSCRED
    pub passcred: bool,
    /// On, and seconds.
    pub linger: (bool, i32),
    pub rcvtimeo: Option<Duration>,
    pub sndtimeo: Option<Duration>,
    /// Values of [`NUMBERS`] that were set.
    numbers: BTreeMap<(i32, i32), i32>,
}

impl Options {
    /// A number option that asks for control messages, or is sent in them.
    pub fn number(&self, level: i32, name: i32) -> i32 {
        let default = NUMBERS.iter().find(|n| (n.0, n.1) == (level, name)).map_or(0, |n| n.2);
        self.numbers.get(&(level, name)).copied().unwrap_or(default)
    }
}

fn int(v: &[u8]) -> Result<i32> {
    v.get(..4).and_then(|b| b.try_into().ok()).map(i32::from_ne_bytes).ok_or(Errno::EINVAL)
}
/// IP options may be a single byte.
fn short_int(v: &[u8]) -> Result<i32> {
    match v {
        [] => Err(Errno::EINVAL),
        [b, ..] if v.len() < 4 => Ok(i32::from(*b)),
        _ => int(v),
    }
}

/// `struct timeval`; 0 is forever.
fn timeval(v: &[u8]) -> Result<Option<Duration>> {
    let word =
        |at: usize| v.get(at..at + 8).and_then(|b| b.try_into().ok()).map(i64::from_ne_bytes).ok_or(Errno::EINVAL);
    let (sec, usec) = (word(0)?, word(8)?);
    if !(0..1_000_000).contains(&usec) {
        return Err(Errno::EDOM);
    }
    if sec < 0 {
        // In the past: do not wait at all.
        return Ok(Some(Duration::ZERO));
    }
    let d = Duration::from_secs(sec as u64) + Duration::from_micros(usec as u64);
    Ok((!d.is_zero()).then_some(d))
}
fn timeval_bytes(d: Option<Duration>) -> Vec<u8> {
    let d = d.unwrap_or_default();
    let mut b = (d.as_secs() as i64).to_ne_bytes().to_vec();
    b.extend(i64::from(d.subsec_micros()).to_ne_bytes());
    b
}

impl Socket {
    fn known(&self, level: i32, name: i32) -> Result<&'static (i32, i32, i32, i32, i32, For)> {
        let n = NUMBERS.iter().find(|n| (n.0, n.1) == (level, name)).ok_or(Errno::ENOPROTOOPT)?;
        let fits = match n.5 {
            For::All => true,
            For::Inet => self.family.is_inet(),
            For::Inet6 => self.family == Family::Inet6,
            For::Tcp => self.family.is_inet() && self.kind == Kind::Stream,
            For::Udp => self.family.is_inet() && self.kind == Kind::Datagram,
        };
        if fits { Ok(n) } else { Err(Errno::ENOPROTOOPT) }
    }
    /// Whether the socket has options of this level at all.
    fn has_level(&self, level: i32) -> bool {
        match level {
            SOL_SOCKET => true,
            SOL_IP => self.family.is_inet(),
            SOL_IPV6 => self.family == Family::Inet6,
            SOL_TCP => self.is_tcp(),
            SOL_UDP => self.family.is_inet() && self.kind == Kind::Datagram,
            _ => false,
        }
    }

    /// setsockopt(2).
    pub fn set_option(&self, level: i32, name: i32, v: &[u8], root: bool) -> Result<()> {
        if !self.has_level(level) {
            return Err(if self.family == Family::Unix { Errno::EOPNOTSUPP } else { Errno::ENOPROTOOPT });
        }
        let flag = |b: &AtomicBool| -> Result<()> {
            b.store(int(v)? != 0, Ordering::Relaxed);
            Ok(())
        };
        // Twice what is asked for, as Linux reckons with its bookkeeping.
        let size = |least: usize, force: bool| -> Result<usize> {
            if force && !root {
                return Err(Errno::EPERM);
            }
            let n = usize::try_from(int(v)?.max(0)).unwrap_or(0);
            Ok((n.min(BUFFER_DEFAULT) * 2).max(least))
        };
        let mut o = lock(&self.options);
        match (level, name) {
            (SOL_SOCKET, libc::SO_REUSEADDR) => flag(&self.end.reuse_addr)?,
            (SOL_SOCKET, libc::SO_REUSEPORT) => {
                int(v)?;
                if !self.family.is_inet() {
                    return Err(Errno::EOPNOTSUPP);
                }
                flag(&self.end.reuse_port)?;
            }
            (SOL_SOCKET, libc::SO_SNDBUF | libc::SO_SNDBUFFORCE) => {
                self.end.sndbuf.store(size(4608, name == libc::SO_SNDBUFFORCE)?, Ordering::Relaxed);
                self.end.sndbuf_set.store(true, Ordering::Relaxed);
                drop(o);
                self.end.queue.wake();
            }
            (SOL_SOCKET, libc::SO_RCVBUF | libc::SO_RCVBUFFORCE) => {
                self.end.rcvbuf.store(size(2304, name == libc::SO_RCVBUFFORCE)?, Ordering::Relaxed);
                self.end.rcvbuf_set.store(true, Ordering::Relaxed);
            }
            (SOL_SOCKET, libc::SO_RCVLOWAT) => {
                let n = match int(v)? {
                    n if n < 0 => i32::MAX,
                    0 => 1,
                    n => n,
                };
                // More than the buffers hold would never be there.
                self.end.lowat.store((n as usize).min(64 << 10), Ordering::Relaxed);
            }
            (SOL_SOCKET, libc::SO_BROADCAST) => o.broadcast = int(v)? != 0,
            (SOL_SOCKET, libc::SO_PASSCRED) => {
                let on = int(v)? != 0;
                if self.family != Family::Unix && self.family != Family::Netlink {
                    return Err(Errno::EOPNOTSUPP);
                }
                o.passcred = on;
            }
            (SOL_SOCKET, libc::SO_LINGER) => {
                let seconds = int(v.get(4..).unwrap_or_default())?;
                o.linger = (int(v)? != 0, seconds);
            }
            (SOL_SOCKET, libc::SO_RCVTIMEO) => o.rcvtimeo = timeval(v)?,
            (SOL_SOCKET, libc::SO_SNDTIMEO) => o.sndtimeo = timeval(v)?,
            (SOL_SOCKET, libc::SO_BINDTODEVICE) => {
                let name = v.split(|&c| c == 0).next().unwrap_or_default();
                if !name.is_empty() && name != b"lo" {
                    return Err(Errno::ENODEV);
                }
            }
            (SOL_SOCKET, libc::SO_MARK | libc::SO_DEBUG) => {
                if int(v)? != 0 {
                    return Err(if name == libc::SO_DEBUG { Errno::EACCES } else { Errno::EPERM });
                }
            }
            (SOL_SOCKET, libc::SO_ATTACH_FILTER | libc::SO_DETACH_FILTER | libc::SO_LOCK_FILTER) => {
                return Err(Errno::EPERM);
            }
            (
                SOL_SOCKET,
                libc::SO_TYPE
                | libc::SO_DOMAIN
                | libc::SO_PROTOCOL
                | libc::SO_ERROR
                | libc::SO_ACCEPTCONN
                | libc::SO_PEERCRED,
            ) => {
                return Err(Errno::ENOPROTOOPT);
            }
            (SOL_IPV6, libc::IPV6_V6ONLY) if self.family == Family::Inet6 => {
                let on = int(v)? != 0;
                drop(o);
                if lock(&self.state).bound {
                    return Err(Errno::EINVAL);
                }
                self.end.v6only.store(on, Ordering::Relaxed);
            }
            (SOL_IP, libc::IP_ADD_MEMBERSHIP | libc::IP_DROP_MEMBERSHIP | libc::IP_MULTICAST_IF)
                if self.family.is_inet() =>
            {
                if v.len() < 4 {
                    return Err(Errno::EINVAL);
                }
                // lo has no multicast.
                return Err(match name {
                    libc::IP_DROP_MEMBERSHIP => Errno::EADDRNOTAVAIL,
                    libc::IP_MULTICAST_IF if v.get(..4) == Some(&[0; 4]) => return Ok(()),
                    libc::IP_MULTICAST_IF => Errno::EADDRNOTAVAIL,
                    _ => Errno::ENODEV,
                });
            }
            (SOL_IPV6, libc::IPV6_ADD_MEMBERSHIP | libc::IPV6_DROP_MEMBERSHIP) if self.family == Family::Inet6 => {
                return Err(if v.len() < 20 { Errno::EINVAL } else { Errno::ENODEV });
            }
            (SOL_TCP, libc::TCP_CONGESTION) if self.is_tcp() => {
                let name = v.split(|&c| c == 0).next().unwrap_or_default();
                if name != b"cubic" && name != b"reno" {
                    return Err(Errno::ENOENT);
                }
            }
            // No protocols on top (TLS).
            (SOL_TCP, libc::TCP_ULP) if self.is_tcp() => return Err(Errno::ENOENT),
            (SOL_IP, libc::IP_MULTICAST_TTL) if self.is_tcp() => return Err(Errno::EINVAL),
            _ => {
                let &(_, _, default, least, most, _) = self.known(level, name)?;
                let mut n = if level == SOL_SOCKET || level == SOL_TCP { int(v)? } else { short_int(v)? };
                if (least, most) == (0, 1) {
                    n = i32::from(n != 0);
                } else if n == -1 && (level == SOL_IP || level == SOL_IPV6) {
                    n = default;
                } else if !(least..=most).contains(&n) {
                    return Err(if (level, name) == (SOL_SOCKET, libc::SO_PRIORITY) {
                        Errno::EPERM
                    } else {
                        Errno::EINVAL
                    });
                }
                o.numbers.insert((level, name), n);
            }
        }
        Ok(())
    }

    /// getsockopt(2): the value.
    pub fn option(&self, level: i32, name: i32) -> Result<Vec<u8>> {
        if !self.has_level(level) {
            // (As Linux has it: reading is refused in another way.)
            let inet6 = self.family == Family::Inet6;
            return Err(if inet6 { Errno::ENOPROTOOPT } else { Errno::EOPNOTSUPP });
        }
        let number = |n: i32| Ok(n.to_ne_bytes().to_vec());
        let flag = |b: &AtomicBool| Ok(i32::from(b.load(Ordering::Relaxed)).to_ne_bytes().to_vec());
        let o = lock(&self.options);
        match (level, name) {
            (SOL_SOCKET, libc::SO_TYPE) => number(self.kind as i32),
            (SOL_SOCKET, libc::SO_DOMAIN) => number(self.family.number().into()),
            (SOL_SOCKET, libc::SO_PROTOCOL) => number(self.protocol as i32),
            (SOL_SOCKET, libc::SO_ERROR) => number(self.end.take_error().map_or(0, Errno::raw)),
            (SOL_SOCKET, libc::SO_ACCEPTCONN) => flag(&self.end.listening),
            (SOL_SOCKET, libc::SO_REUSEADDR) => flag(&self.end.reuse_addr),
            (SOL_SOCKET, libc::SO_REUSEPORT) => flag(&self.end.reuse_port),
            (SOL_SOCKET, libc::SO_SNDBUF) => number(self.end.sndbuf.load(Ordering::Relaxed) as i32),
            (SOL_SOCKET, libc::SO_RCVBUF) => number(self.end.rcvbuf.load(Ordering::Relaxed) as i32),
            (SOL_SOCKET, libc::SO_RCVLOWAT) => number(self.end.lowat.load(Ordering::Relaxed) as i32),
            (SOL_SOCKET, libc::SO_SNDLOWAT) => number(1),
            (SOL_SOCKET, libc::SO_BROADCAST) => number(o.broadcast.into()),
            (SOL_SOCKET, libc::SO_PASSCRED) if !self.family.is_inet() => number(o.passcred.into()),
            (SOL_SOCKET, libc::SO_PASSCRED) => Err(Errno::EOPNOTSUPP),
            (SOL_SOCKET, libc::SO_LINGER) => {
                let mut b = i32::from(o.linger.0).to_ne_bytes().to_vec();
                b.extend(o.linger.1.to_ne_bytes());
                Ok(b)
            }
            (SOL_SOCKET, libc::SO_RCVTIMEO) => Ok(timeval_bytes(o.rcvtimeo)),
            (SOL_SOCKET, libc::SO_SNDTIMEO) => Ok(timeval_bytes(o.sndtimeo)),
            (SOL_SOCKET, libc::SO_BINDTODEVICE) => Ok(Vec::new()),
            (SOL_SOCKET, libc::SO_MARK | libc::SO_DEBUG) => number(0),
            (SOL_SOCKET, libc::SO_COOKIE) => Ok(self.ino.to_ne_bytes().to_vec()),
            (SOL_SOCKET, libc::SO_PEERCRED) => {
                drop(o);
                let cred = if self.family == Family::Unix { lock(&self.state).peer_cred } else { Cred::NONE };
                Ok(cred.bytes().to_vec())
            }
            (SOL_SOCKET, libc::SO_PEERNAME) => {
                drop(o);
                Ok(self.peer()?.bytes(self.family))
            }
            (SOL_IPV6, libc::IPV6_V6ONLY) if self.family == Family::Inet6 => flag(&self.end.v6only),
            (SOL_IP, libc::IP_MULTICAST_IF) if self.family.is_inet() => Ok(vec![0; 4]),
            (SOL_IP, libc::IP_OPTIONS) if self.family.is_inet() => Ok(Vec::new()),
            (SOL_IP, libc::IP_MTU) if self.family.is_inet() => {
                drop(o);
                self.peer()?;
                number(LO_MTU as i32)
            }
            (SOL_TCP, libc::TCP_CONGESTION) if self.is_tcp() => Ok(b"cubic\0\0\0\0\0\0\0\0\0\0\0".to_vec()),
            (SOL_TCP, libc::TCP_ULP) if self.is_tcp() => Ok(Vec::new()),
            (SOL_TCP, libc::TCP_INFO) if self.is_tcp() => {
                drop(o);
                let mut b = vec![0; 104];
                if let Some(state) = b.first_mut() {
                    *state = self.tcp_state();
                }
                Ok(b)
            }
            _ => {
                self.known(level, name)?;
                number(o.number(level, name))
            }
        }
    }

    /// As the kernel numbers the states of TCP (`include/net/tcp_states.h`).
    pub fn tcp_state(&self) -> u8 {
        let conn = match &lock(&self.state).role {
            Role::Connected { conn, side, .. } => Some((Arc::clone(conn), *side)),
            Role::Listening(_) => return 10,
            Role::Connecting(_) => return 2,
            _ => None,
        };
        conn.map_or(7, |(c, side)| c.tcp_state(side))
    }
}

const SIOCGIFNAME: u32 = 0x8910;
const SIOCGIFCONF: u32 = 0x8912;
const SIOCGIFFLAGS: u32 = 0x8913;
const SIOCGIFADDR: u32 = 0x8915;
const SIOCGIFDSTADDR: u32 = 0x8917;
const SIOCGIFBRDADDR: u32 = 0x8919;
const SIOCGIFNETMASK: u32 = 0x891b;
const SIOCGIFMETRIC: u32 = 0x891d;
const SIOCGIFMTU: u32 = 0x8921;
const SIOCGIFHWADDR: u32 = 0x8927;
const SIOCGIFINDEX: u32 = 0x8933;
const SIOCGIFTXQLEN: u32 = 0x8942;
/// `sizeof(struct ifreq)`: a name of 16 bytes, and a union.
const IFREQ: usize = 40;

/// ioctl(2) on a socket.
pub fn ioctl(s: &Arc<Socket>, _: &Caller<'_>, request: u32, arg: u64, mem: &mut dyn IoctlMemory) -> Result<i64> {
    match request {
        // FIONREAD
        0x541b => mem.put(arg, &(s.readable()? as i32).to_ne_bytes())?,
        // SIOCOUTQ
        0x5411 => mem.put(arg, &(s.unsent() as i32).to_ne_bytes())?,
        // SIOCATMARK: there is no urgent data.
        0x8905 if s.is_tcp() => mem.put(arg, &0i32.to_ne_bytes())?,
        // FIOSETOWN, SIOCSPGRP; FIOGETOWN, SIOCGPGRP
        0x8901 | 0x8902 => {}
        0x8903 | 0x8904 => mem.put(arg, &0i32.to_ne_bytes())?,
        SIOCGIFCONF => {
            let mut b = [0; 16];
            mem.get(arg, &mut b)?;
            let room = i32::from_ne_bytes([b[0], b[1], b[2], b[3]]);
            let to = u64::from_ne_bytes(b[8..].try_into().unwrap_or_default());
            let used = if to == 0 {
                IFREQ
            } else if room >= IFREQ as i32 {
                let mut entry = [0; IFREQ];
                entry[..2].copy_from_slice(b"lo");
                entry[16..18].copy_from_slice(&2u16.to_ne_bytes());
                entry[20..24].copy_from_slice(&[127, 0, 0, 1]);
                mem.put(to, &entry)?;
                IFREQ
            } else {
                0
            };
            mem.put(arg, &(used as i32).to_ne_bytes())?;
        }
        0x8910..=0x894f => return interface(request, arg, mem),
        _ => return Err(Errno::ENOTTY),
    }
    Ok(0)
}

/// Requests about one interface.
fn interface(request: u32, arg: u64, mem: &mut dyn IoctlMemory) -> Result<i64> {
    let mut r = [0; IFREQ];
    mem.get(arg, &mut r)?;
    let (name, value) = r.split_at_mut(16);
    let mut address = |ip: [u8; 4]| {
        value[..2].copy_from_slice(&2u16.to_ne_bytes());
        value[2..4].fill(0);
        value[4..8].copy_from_slice(&ip);
    };
    if request == SIOCGIFNAME {
        if value[..4] != LO_INDEX.to_ne_bytes() {
            return Err(Errno::ENODEV);
        }
        name.fill(0);
        name[..2].copy_from_slice(b"lo");
        mem.put(arg, &r)?;
        return Ok(0);
    }
    if name.split(|&c| c == 0).next() != Some(b"lo") {
        return Err(Errno::ENODEV);
    }
    match request {
        SIOCGIFADDR | SIOCGIFDSTADDR => address([127, 0, 0, 1]),
        SIOCGIFBRDADDR => address([0; 4]),
        SIOCGIFNETMASK => address([255, 0, 0, 0]),
        SIOCGIFFLAGS => value[..2].copy_from_slice(&(LO_FLAGS as u16).to_ne_bytes()),
        SIOCGIFMETRIC => value[..4].fill(0),
        SIOCGIFMTU => value[..4].copy_from_slice(&LO_MTU.to_ne_bytes()),
        SIOCGIFINDEX => value[..4].copy_from_slice(&LO_INDEX.to_ne_bytes()),
        SIOCGIFTXQLEN => value[..4].copy_from_slice(&1000i32.to_ne_bytes()),
        SIOCGIFHWADDR => {
            value[..16].fill(0);
            value[..2].copy_from_slice(&772u16.to_ne_bytes());
        }
        // Those that set something.
        0x8914 | 0x8916 | 0x8918 | 0x891a | 0x891c | 0x891e | 0x8922 | 0x8924 | 0x8943 => return Err(Errno::EPERM),
        _ => return Err(Errno::ENOTTY),
    }
    mem.put(arg, &r)?;
    Ok(0)
}
