//! Sockets inside one container: AF_INET and AF_INET6 over a loopback that has no packets, AF_UNIX, and as much of AF_NETLINK as lists
//! interfaces. No host socket is opened here; what lies outside of the container is unreachable (`ENETUNREACH`), but for TCP to what was granted.
//!
//! Operations never block: they answer `EAGAIN`, and the system calls (`sys/net.rs`) wait on [`End::queue`].
//!
//! | module | what |
//! |---|---|
//! | `addr` | `struct sockaddr` |
//! | `buffer` | what waits to be received |
//! | `conn` | connections: TCP, AF_UNIX streams and records |
//! | `net` | ports, names, descriptors in flight |
//! | `inet`, `unix`, `netlink` | what the families do in their own way |
//! | `outside` | connections to what was granted outside |
//! | `option` | getsockopt(2), setsockopt(2), ioctl(2) |
//! | `listing` | /proc/net |

pub mod addr;
pub mod buffer;
pub mod conn;
mod inet;
mod listing;
pub mod net;
mod netlink;
pub mod option;
pub mod outside;
mod unix;

pub use listing::{FILES as PROC_NET, text as proc_net};

use crate::errno::{Errno, Result};
use crate::file::{
    Caller, IoctlMemory, OpenFile, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP, POLLRDNORM, POLLWRBAND, POLLWRNORM,
    Stream,
};
use crate::pipe::{anonymous_ino, broken};
use crate::wait::{WaitQueue, lock};
use addr::{Addr, Endpoint, Family};
use buffer::{Buffer, Cred, IpHeader, Segment};
use conn::{Conn, End, How, Wire};
use megalith_vfs::{Charge, FileType, InodeId, Location, Stat};
use net::{Net, Transport};
use option::Options;
use std::any::Any;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

/// Socket types (`SOCK_STREAM`, ...).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    Stream = 1,
    Datagram = 2,
    Raw = 3,
    SeqPacket = 5,
}

/// `net.core.wmem_default`, `rmem_default`, also the largest that setsockopt(2) takes before it doubles it.
pub const BUFFER_DEFAULT: usize = 212_992;
/// Middle values of `net.ipv4.tcp_wmem` and `tcp_rmem`.
const TCP_SNDBUF: usize = 16_384;
const TCP_RCVBUF: usize = 131_072;
/// `net.core.somaxconn`.
pub const SOMAXCONN: usize = 4096;
/// Datagrams that an AF_UNIX socket queues of strangers (`net.unix.max_dgram_qlen`).
const UNIX_QUEUE: usize = 10;
/// IPPROTO_UDPLITE: UDP with ports of its own; its checksums cover everything here.
const UDPLITE: u32 = 136;
/// Largest UDP payload.
const UDP_MAX: usize = 65_507;

/// What a socket takes beside its buffers, with its entries in tables.
const OBJECT: u64 = 2048;

/// Connections that wait for accept(2).
#[derive(Default)]
struct Listener {
    queue: VecDeque<Arc<Socket>>,
    backlog: usize,
    /// Who wants to connect and finds no room.
    waiting: VecDeque<Weak<Socket>>,
}

enum Role {
    Idle,
    Listening(Listener),
    /// TCP: waits for room in a listener's queue.
    Connecting(Endpoint),
    /// `told`: connect(2) has returned success.
    Connected {
        conn: Arc<Conn>,
        side: usize,
        told: bool,
    },
    /// TCP: an attempt without waiting has failed, and connect(2) has not told yet.
    Refused,
    Closed,
}

/// What changes in a socket's life, under its lock.
struct State {
    role: Role,
    /// The own name.
    local: Option<Addr>,
    /// Counts calls of connect(2): what comes of one must not be taken for another's.
    attempt: u64,
    /// Holds a port of the tables.
    bound: bool,
    /// The address was picked by connect(2): it goes when the connection goes.
    picked_ip: bool,
    peer: Option<Addr>,
    /// Datagrams.
    rx: Buffer,
    shut_rd: bool,
    shut_wr: bool,
    /// The file that an AF_UNIX name made; keeps the inode's number from being used again.
    location: Option<(Location, InodeId)>,
    /// Of who made, bound or connected it: what the peer sees with SO_PEERCRED.
    cred: Cred,
    peer_cred: Cred,
    /// Where datagrams of AF_UNIX go.
    target: Option<Weak<Socket>>,
    /// Who waits for room among the datagrams here.
    blocked: Vec<Weak<Socket>>,
}

/// A socket.
pub struct Socket {
    pub family: Family,
    pub kind: Kind,
    pub protocol: u32,
    pub ino: u64,
    /// User who made it.
    pub uid: u32,
    pub net: Arc<Net>,
    pub end: Arc<End>,
    state: Mutex<State>,
    pub options: Mutex<Options>,
    /// For the object itself: the queue of a listener keeps sockets that hold no descriptor.
    _charge: Charge,
}

/// What goes with data that is sent.
#[derive(Default)]
pub struct Outgoing {
    /// Where to; the address that was given, and for AF_UNIX the socket behind it.
    pub to: Option<Addr>,
    pub target: Option<Arc<Socket>>,
    /// Sender's IDs for SCM_CREDENTIALS.
    pub cred: Option<Cred>,
    /// SCM_RIGHTS.
    pub files: Vec<Arc<OpenFile>>,
    /// IP_TTL or IPV6_HOPLIMIT, IP_TOS or IPV6_TCLASS; `None`: what the socket's options say.
    pub hops: Option<u8>,
    pub class: Option<u8>,
    /// Do not raise SIGPIPE.
    pub quiet: bool,
}

/// What was received beside the data.
#[derive(Default)]
pub struct Incoming {
    pub len: usize,
    /// Length of the datagram, which may be longer.
    pub full: usize,
    pub from: Option<Addr>,
    pub to: Option<IpAddr>,
    pub header: IpHeader,
    pub cred: Option<Cred>,
    pub files: Vec<Arc<OpenFile>>,
}

/// The socket behind a description.
pub fn of(f: &OpenFile) -> Option<&Arc<Socket>> {
    f.as_stream().and_then(|s| s.as_any().downcast_ref::<SocketFile>()).map(|s| &s.0)
}

impl Socket {
    /// A socket of a type that [`Socket::check`] allows.
    fn make(
        net: &Arc<Net>,
        family: Family,
        kind: Kind,
        protocol: u32,
        end: Arc<End>,
        options: Options,
        cred: Cred,
    ) -> Result<Arc<Socket>> {
        let charge = Charge::take(&net.budget, OBJECT).map_err(|_| Errno::ENOBUFS)?;
        let s = Arc::new(Socket {
            family,
            kind,
            protocol,
            ino: anonymous_ino(),
            uid: cred.uid,
            net: Arc::clone(net),
            end,
            state: Mutex::new(State {
                role: Role::Idle,
                local: None,
                attempt: 0,
                bound: false,
                picked_ip: false,
                peer: None,
                rx: Buffer::new(&net.budget),
                shut_rd: false,
                shut_wr: false,
                location: None,
                cred,
                peer_cred: Cred::NONE,
                target: None,
                blocked: Vec::new(),
            }),
            options: Mutex::new(options),
            _charge: charge,
        });
        net.register(&s)?;
        Ok(s)
    }

    /// socket(2): `kind` without flags. `cred`: of the caller; `root`: it may do what needs privileges.
    pub fn new(net: &Arc<Net>, family: i32, kind: u32, protocol: u32, cred: Cred, root: bool) -> Result<Arc<Socket>> {
        let denied = if root { Errno::EPERM } else { Errno::EACCES };
        let family = match u16::try_from(family) {
            Ok(addr::AF_UNIX) => Family::Unix,
            Ok(addr::AF_INET) => Family::Inet,
            Ok(addr::AF_INET6) => Family::Inet6,
            Ok(addr::AF_NETLINK) => Family::Netlink,
            // AF_PACKET
            Ok(17) => return Err(Errno::EPERM),
            _ => return Err(Errno::EAFNOSUPPORT),
        };
        let kind = match kind {
            1 => Kind::Stream,
            2 => Kind::Datagram,
            3 => Kind::Raw,
            5 => Kind::SeqPacket,
            0 | 11.. => return Err(Errno::EINVAL),
            _ => return Err(Errno::ESOCKTNOSUPPORT),
        };
        let (kind, protocol) = match (family, kind) {
            (Family::Unix, _) if protocol > 1 => return Err(Errno::EPROTONOSUPPORT),
            (Family::Unix, Kind::Raw) => (Kind::Datagram, 0),
            (Family::Unix, k) => (k, 0),
            // NETLINK_ROUTE
            (Family::Netlink, Kind::Raw | Kind::Datagram) if protocol == 0 => (kind, 0),
            (Family::Netlink, Kind::Raw | Kind::Datagram) => return Err(Errno::EPROTONOSUPPORT),
            (_, Kind::Stream) if matches!(protocol, 0 | 6) => (kind, 6),
            (_, Kind::Datagram) if matches!(protocol, 0 | 17) => (kind, 17),
            (_, Kind::Datagram) if protocol == UDPLITE => (kind, UDPLITE),
            // ICMP without privileges, which `net.ipv4.ping_group_range` allows to nobody.
            (_, Kind::Datagram) if matches!(protocol, 1 | 58) => return Err(Errno::EACCES),
            (_, Kind::Stream | Kind::Datagram) => return Err(Errno::EPROTONOSUPPORT),
            (_, Kind::Raw) => return Err(denied),
            _ => return Err(Errno::ESOCKTNOSUPPORT),
        };
        let end = match (family, kind) {
            (Family::Inet | Family::Inet6, Kind::Stream) => End::new(TCP_SNDBUF, TCP_RCVBUF),
            _ => End::new(BUFFER_DEFAULT, BUFFER_DEFAULT),
        };
        Socket::make(net, family, kind, protocol, end, Options::default(), cred)
    }

    /// socketpair(2) of AF_UNIX.
    pub fn pair(net: &Arc<Net>, kind: u32, protocol: u32, cred: Cred) -> Result<[Arc<Socket>; 2]> {
        let make = || Socket::new(net, addr::AF_UNIX.into(), kind, protocol, cred, false);
        let (a, b) = (make()?, make()?);
        let conn = a.wire().map(|w| Conn::new(w, &a.end, &b.end, &net.budget));
        for (side, (s, other)) in [(&a, &b), (&b, &a)].into_iter().enumerate() {
            let mut st = lock(&s.state);
            st.peer = Some(Addr::Unix([].into()));
            st.peer_cred = cred;
            match &conn {
                Some(c) => st.role = Role::Connected { conn: Arc::clone(c), side, told: true },
                None => st.target = Some(Arc::downgrade(other)),
            }
        }
        Ok([a, b])
    }

    /// How connections of this type work; `None` for datagrams.
    fn wire(&self) -> Option<Wire> {
        match (self.family, self.kind) {
            (Family::Unix, Kind::Stream) => Some(Wire::UnixStream),
            (Family::Unix, Kind::SeqPacket) => Some(Wire::UnixRecords),
            (_, Kind::Stream) => Some(Wire::Tcp),
            _ => None,
        }
    }
    /// Whether data has no bounds between messages.
    pub fn is_stream(&self) -> bool {
        self.kind == Kind::Stream
    }
    fn is_tcp(&self) -> bool {
        self.family.is_inet() && self.kind == Kind::Stream
    }
    fn transport(&self) -> Transport {
        match self.protocol {
            6 => Transport::Tcp,
            UDPLITE => Transport::UdpLite,
            _ => Transport::Udp,
        }
    }
    /// The unspecified address of the family.
    fn any(&self) -> IpAddr {
        if self.family == Family::Inet6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
    }
    fn conn(&self) -> Option<(Arc<Conn>, usize)> {
        match &lock(&self.state).role {
            Role::Connected { conn, side, .. } => Some((Arc::clone(conn), *side)),
            _ => None,
        }
    }

    /// bind(2). `place`: the file that was made for a path of AF_UNIX.
    pub fn bind(self: &Arc<Socket>, to: &Addr, cred: Cred, root: bool) -> Result<()> {
        match self.family {
            Family::Unix => self.bind_unix(to),
            Family::Netlink => self.bind_netlink(to, cred),
            _ => self.bind_inet(to, cred, root),
        }
    }

    /// listen(2).
    pub fn listen(self: &Arc<Socket>, backlog: i32, cred: Cred) -> Result<()> {
        if self.wire().is_none() {
            return Err(Errno::EOPNOTSUPP);
        }
        let backlog = usize::try_from(backlog).unwrap_or(SOMAXCONN).min(SOMAXCONN);
        let mut st = lock(&self.state);
        match &mut st.role {
            Role::Listening(l) => {
                l.backlog = backlog;
                return Ok(());
            }
            Role::Idle | Role::Refused => {}
            _ => return Err(Errno::EINVAL),
        }
        if self.family == Family::Unix {
            if st.local.is_none() {
                return Err(Errno::EINVAL);
            }
        } else {
            self.ensure_port(&mut st, cred.uid)?;
            if let Some(Addr::Inet(at)) = st.local
                && !self.net.may_listen(self, at, cred.uid)
            {
                return Err(Errno::EADDRINUSE);
            }
        }
        st.shut_rd = false;
        st.shut_wr = false;
        st.cred = cred;
        st.role = Role::Listening(Listener { backlog, ..Listener::default() });
        self.end.listening.store(true, Ordering::Release);
        drop(st);
        self.end.queue.wake();
        Ok(())
    }

    /// accept(2): the socket and its peer's address.
    pub fn accept(&self) -> Result<(Arc<Socket>, Addr)> {
        if self.wire().is_none() {
            return Err(Errno::EOPNOTSUPP);
        }
        let new = {
            let mut st = lock(&self.state);
            let Role::Listening(l) = &mut st.role else { return Err(Errno::EINVAL) };
            let Some(s) = l.queue.pop_front() else {
                return Err(self.end.take_error().unwrap_or(Errno::EAGAIN));
            };
            s
        };
        self.promote();
        let peer = lock(&new.state).peer.clone().unwrap_or(Addr::Unspec);
        Ok((new, peer))
    }

    /// There is room in the queue: who waits for it goes on.
    fn promote(&self) {
        loop {
            let next = {
                let mut st = lock(&self.state);
                match &mut st.role {
                    Role::Listening(l) if l.queue.len() <= l.backlog => l.waiting.pop_front(),
                    _ => None,
                }
            };
            let Some(next) = next else { return };
            let Some(client) = next.upgrade() else { continue };
            if self.family == Family::Unix {
                client.end.queue.wake();
            } else {
                client.connect_waiting(self);
            }
        }
    }

    /// Puts a new socket for `conn` (as side 1) into the queue of a listener. `Ok(None)`: no room; `client` is told when there is, with `wait`.
    fn enqueue(&self, client: &Arc<Socket>, client_name: Addr, to: Addr, wait: bool) -> Result<Option<Arc<Conn>>> {
        let Some(wire) = self.wire() else { return Err(Errno::ECONNREFUSED) };
        let client_cred = lock(&client.state).cred;
        let mut st = lock(&self.state);
        let cred = st.cred;
        let shut = st.shut_rd;
        let Role::Listening(l) = &mut st.role else { return Err(Errno::ECONNREFUSED) };
        if shut {
            return Err(Errno::ECONNREFUSED);
        }
        if l.queue.len() > l.backlog {
            // Those that were closed meanwhile go.
            l.waiting.retain(|w| w.strong_count() > 0);
            if wait && !l.waiting.iter().any(|w| std::ptr::eq(w.as_ptr(), Arc::as_ptr(client))) {
                l.waiting.push_back(Arc::downgrade(client));
            }
            return Ok(None);
        }
        let end = self.end.inherit();
        let conn = Conn::new(wire, &client.end, &end, &self.net.budget);
        let options = lock(&self.options).clone();
        let server = Socket::make(
            &self.net,
            self.family,
            self.kind,
            self.protocol,
            end,
            options,
            Cred { uid: self.uid, ..cred },
        )?;
        {
            // Nobody else knows it yet.
            let mut new = lock(&server.state);
            new.role = Role::Connected { conn: Arc::clone(&conn), side: 1, told: true };
            new.local = Some(to.clone());
            new.peer = Some(client_name);
            new.cred = cred;
            new.peer_cred = client_cred;
            if let Addr::Inet(at) = to {
                self.net.bind_accepted(&server, at, self.uid);
                new.bound = true;
            }
        }
        l.queue.push_back(server);
        drop(st);
        self.end.queue.wake_for(POLLIN);
        Ok(Some(conn))
    }

    /// connect(2), without waiting for room in a listener's queue: then `EAGAIN`, and [`End::queue`] is woken. `EINPROGRESS` is the
    /// caller's to give.
    pub fn connect(self: &Arc<Socket>, to: &Addr, target: Option<&Arc<Socket>>, cred: Cred, wait: bool) -> Result<()> {
        match self.family {
            Family::Unix => self.connect_unix(to, target, cred, wait),
            Family::Netlink => Ok(()),
            _ if self.is_tcp() => self.connect_tcp(to, cred),
            _ => self.connect_udp(to, cred),
        }
    }

    /// Whether a TCP socket is neither connected nor about to be.
    pub fn is_idle(&self) -> bool {
        matches!(lock(&self.state).role, Role::Idle)
    }

    /// getsockname(2).
    pub fn local(&self) -> Addr {
        lock(&self.state).local.clone().unwrap_or_else(|| match self.family {
            Family::Unix => Addr::Unix([].into()),
            Family::Netlink => Addr::Netlink(0),
            _ => Addr::Inet(Endpoint { ip: self.any(), port: 0 }),
        })
    }
    /// getpeername(2); `ENOTCONN`.
    pub fn peer(&self) -> Result<Addr> {
        let st = lock(&self.state);
        match &st.role {
            Role::Connected { conn, side, .. } if conn.over(*side) => return Err(Errno::ENOTCONN),
            Role::Connected { .. } => {}
            _ if self.wire().is_some() => return Err(Errno::ENOTCONN),
            _ => {}
        }
        match &st.peer {
            Some(p) => Ok(p.clone()),
            None if self.family == Family::Netlink => Ok(Addr::Netlink(0)),
            None => Err(Errno::ENOTCONN),
        }
    }

    /// Sends. A stream takes what there is room for.
    pub fn send(self: &Arc<Socket>, c: &Caller<'_>, data: &[u8], out: &mut Outgoing) -> Result<usize> {
        if self.wire().is_none() {
            return match self.family {
                Family::Unix => self.send_unix(data, out),
                Family::Netlink => self.send_netlink(data, c.process.pid),
                _ => self.send_udp(data, out, lock(&c.process.ids).euid),
            };
        }
        let r = self.send_connected(data, out);
        if r == Err(Errno::EPIPE) && self.kind == Kind::Stream && !out.quiet {
            broken(c);
        }
        r
    }

    fn send_connected(&self, data: &[u8], out: &mut Outgoing) -> Result<usize> {
        let connected = {
            let st = lock(&self.state);
            match &st.role {
                Role::Connected { conn, side, .. } => Ok((Arc::clone(conn), *side)),
                Role::Connecting(_) => Err(Errno::EAGAIN),
                _ if self.is_tcp() => Err(self.end.take_error().unwrap_or(Errno::EPIPE)),
                _ if out.to.is_some() && self.kind == Kind::Stream => Err(Errno::EOPNOTSUPP),
                _ => Err(Errno::ENOTCONN),
            }
        };
        let (conn, side) = connected?;
        // TCP ignores an address; records do, too.
        if out.to.is_some() && conn.wire == Wire::UnixStream {
            return Err(Errno::EISCONN);
        }
        if conn.wire != Wire::UnixRecords && out.files.is_empty() {
            return conn.send(side, data, out.cred);
        }
        if data.is_empty() && conn.wire == Wire::UnixStream {
            return Ok(0);
        }
        // Files go with the first piece.
        let limit = self.end.sndbuf.load(Ordering::Relaxed) / 2;
        let part =
            if conn.wire == Wire::UnixStream { data.get(..limit.min(data.len())).unwrap_or_default() } else { data };
        let files = std::mem::take(&mut out.files);
        let mut segment = Some(Segment { cred: out.cred, files, ..Segment::new(part.to_vec()) });
        let r = self.push_flying(&mut segment, |s| conn.send_segment(side, s));
        if let Some(s) = segment {
            out.files = s.files;
        }
        r
    }

    /// Has `push` take a segment; its files are noted as in flight when it does.
    fn push_flying<T>(
        &self,
        segment: &mut Option<Segment>,
        push: impl FnOnce(&mut Option<Segment>) -> Result<T>,
    ) -> Result<T> {
        let files = segment.as_ref().map(|s| s.files.clone()).unwrap_or_default();
        if files.is_empty() { push(segment) } else { self.net.launch(&files, || push(segment)) }
    }

    /// Receives. Length 0 of a stream is its end.
    pub fn recv(&self, buf: &mut [u8], peek: bool, least: usize) -> Result<Incoming> {
        let creds = lock(&self.options).passcred;
        let mut how = How { peek, creds, files: false, least };
        let mut r = self.recv_with(buf, how);
        if r.as_ref().err() == Some(&Errno::EBUSY) {
            // Nothing is to come out of flight while somebody looks what is in it.
            let mut flight = self.net.flight();
            how.files = true;
            r = self.recv_with(buf, how);
            if let Ok((i, _)) = &r
                && !peek
            {
                self.net.land(&mut flight, &i.files);
            }
        }
        let (incoming, garbage) = r?;
        drop(garbage);
        Ok(incoming)
    }

    fn recv_with(&self, buf: &mut [u8], how: How) -> Result<(Incoming, Vec<Segment>)> {
        if self.wire().is_none() {
            return self.recv_datagram(buf, how);
        }
        let connected = {
            let st = lock(&self.state);
            match &st.role {
                Role::Connected { conn, side, .. } => Ok((Arc::clone(conn), *side)),
                Role::Connecting(_) => Err(Errno::EAGAIN),
                _ if self.is_tcp() => match self.end.take_error() {
                    Some(e) => Err(e),
                    None if st.shut_rd => return Ok((Incoming::default(), Vec::new())),
                    None => Err(Errno::ENOTCONN),
                },
                _ if self.kind == Kind::SeqPacket => Err(Errno::ENOTCONN),
                _ => Err(Errno::EINVAL),
            }
        };
        let (conn, side) = connected?;
        let t = conn.recv(side, buf, how)?;
        let from = if conn.wire == Wire::Tcp { None } else { self.unix_peer_name() };
        Ok((
            Incoming {
                len: t.len,
                full: t.full,
                from,
                to: None,
                header: IpHeader::default(),
                cred: t.cred,
                files: t.files,
            },
            t.garbage,
        ))
    }

    fn recv_datagram(&self, buf: &mut [u8], how: How) -> Result<(Incoming, Vec<Segment>)> {
        let mut st = lock(&self.state);
        if let Some(e) = self.end.take_error() {
            return Err(e);
        }
        let Some(first) = st.rx.first() else {
            return if st.shut_rd { Ok((Incoming::default(), Vec::new())) } else { Err(Errno::EAGAIN) };
        };
        if !first.files.is_empty() && !how.files {
            return Err(Errno::EBUSY);
        }
        let len = first.rest().len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..len), first.rest().get(..len)) {
            to.copy_from_slice(from);
        }
        let mut i = Incoming {
            len,
            full: first.rest().len(),
            from: first.from.clone(),
            to: first.to,
            header: first.header,
            cred: first.cred,
            files: Vec::new(),
        };
        if how.peek {
            i.files.clone_from(&first.files);
            return Ok((i, Vec::new()));
        }
        i.files = st.rx.take_files(0);
        let garbage = st.rx.pop().into_iter().collect();
        let blocked = std::mem::take(&mut st.blocked);
        drop(st);
        for s in blocked.iter().filter_map(Weak::upgrade) {
            s.end.queue.wake_for(POLLOUT);
        }
        Ok((i, garbage))
    }

    /// shutdown(2): 0 receiving, 1 sending, 2 both.
    pub fn shutdown(&self, how: u32) -> Result<()> {
        if how > 2 {
            return Err(Errno::EINVAL);
        }
        let (receive, send) = (how != 1, how != 0);
        let mut st = lock(&self.state);
        match &st.role {
            Role::Connected { conn, side, .. } => {
                let (conn, side) = (Arc::clone(conn), *side);
                drop(st);
                return conn.shutdown(side, receive, send);
            }
            Role::Listening(_) if self.is_tcp() => {
                if !receive {
                    return Ok(());
                }
                let Role::Listening(l) = std::mem::replace(&mut st.role, Role::Idle) else { return Ok(()) };
                self.end.listening.store(false, Ordering::Release);
                drop(st);
                self.refuse(l);
                self.end.queue.wake();
                return Ok(());
            }
            Role::Connecting(_) => {
                st.role = Role::Idle;
                self.forget_picked(&mut st);
                drop(st);
                self.end.queue.wake();
                return Ok(());
            }
            _ => {}
        }
        if self.is_tcp() || self.family == Family::Netlink {
            return Err(if self.is_tcp() { Errno::ENOTCONN } else { Errno::EOPNOTSUPP });
        }
        st.shut_rd |= receive;
        st.shut_wr |= send;
        let connected = st.peer.is_some();
        drop(st);
        self.end.queue.wake();
        if self.family.is_inet() && !connected { Err(Errno::ENOTCONN) } else { Ok(()) }
    }

    /// Ends a listener: who is in its queue is reset, who waits is refused.
    fn refuse(&self, l: Listener) {
        for s in l.queue {
            s.close_with(true);
        }
        for w in l.waiting {
            let Some(client) = w.upgrade() else { continue };
            if self.family == Family::Unix {
                client.end.queue.wake();
            } else {
                client.connection_refused();
            }
        }
    }

    /// The last descriptor has gone.
    fn close(&self) {
        let (linger, seconds) = lock(&self.options).linger;
        self.close_with(linger && seconds == 0);
    }

    fn close_with(&self, abort: bool) {
        let mut st = lock(&self.state);
        let role = std::mem::replace(&mut st.role, Role::Closed);
        self.end.listening.store(false, Ordering::Release);
        let mut garbage = st.rx.drain();
        let blocked = std::mem::take(&mut st.blocked);
        let local = st.local.take();
        let bound = std::mem::take(&mut st.bound);
        let location = st.location.take();
        st.target = None;
        drop(st);
        if bound && let Some(Addr::Inet(at)) = &local {
            self.net.unbind(self.transport(), self, at.port);
        }
        // Only the socket that was bound has the name in the tables; those from its queue show it, too.
        let name = match (&local, bound) {
            (Some(Addr::Unix(n)), true) if n.first() == Some(&0) => Some(n),
            _ => None,
        };
        self.net.forget(self, name, location.as_ref().filter(|_| bound).map(|l| l.1));
        match role {
            Role::Connected { conn, side, .. } => garbage.extend(conn.close(side, abort)),
            Role::Listening(l) => self.refuse(l),
            _ => {}
        }
        for s in blocked.iter().filter_map(Weak::upgrade) {
            s.end.queue.wake();
        }
        self.end.queue.wake();
        self.net.discard(garbage);
        if self.family == Family::Unix {
            self.net.collect_garbage();
        }
    }

    /// Readiness, as poll(2) tells it.
    pub fn poll(self: &Arc<Socket>) -> u32 {
        let st = lock(&self.state);
        let mut p = if self.end.has_error() { POLLERR } else { 0 };
        match &st.role {
            Role::Connected { conn, side, .. } => {
                let (conn, side) = (Arc::clone(conn), *side);
                drop(st);
                return conn.poll(side);
            }
            Role::Listening(l) => return p | if l.queue.is_empty() { 0 } else { POLLIN | POLLRDNORM },
            Role::Connecting(_) => return p,
            Role::Closed => return p | POLLHUP,
            Role::Idle | Role::Refused => {}
        }
        if st.shut_rd {
            p |= POLLIN | POLLRDNORM | POLLRDHUP;
        }
        if st.shut_rd && st.shut_wr || self.wire().is_some() {
            p |= POLLHUP;
        }
        if !st.rx.is_empty() {
            p |= POLLIN | POLLRDNORM;
        }
        let target = st.target.clone();
        drop(st);
        let room = match target.and_then(|t| t.upgrade()) {
            Some(t) => t.room_for(self, true),
            None => true,
        };
        if room {
            p |= POLLOUT | POLLWRNORM;
            if !self.is_tcp() {
                p |= POLLWRBAND;
            }
        }
        p
    }

    /// Bytes that a read gets (FIONREAD); `EINVAL` for a listener.
    pub fn readable(&self) -> Result<usize> {
        let st = lock(&self.state);
        match &st.role {
            Role::Connected { conn, side, .. } => Ok(conn.readable(*side)),
            Role::Listening(_) => Err(Errno::EINVAL),
            _ => Ok(st.rx.first().map_or(0, |s| s.rest().len())),
        }
    }
    /// SIOCOUTQ.
    pub fn unsent(&self) -> usize {
        self.conn().map_or(0, |(c, side)| c.unsent(side))
    }

    /// How long a call may wait (SO_RCVTIMEO, SO_SNDTIMEO).
    pub fn timeout(&self, write: bool) -> Option<Duration> {
        let o = lock(&self.options);
        if write { o.sndtimeo } else { o.rcvtimeo }
    }

    /// Calls `f` for each file that waits here, or in a connection that waits here.
    fn each_file(&self, f: &mut dyn FnMut(&Arc<OpenFile>)) {
        let waiting: Vec<Arc<Socket>> = {
            let st = lock(&self.state);
            st.rx.iter().flat_map(|s| &s.files).for_each(&mut *f);
            match &st.role {
                Role::Listening(l) => l.queue.iter().map(Arc::clone).collect(),
                _ => Vec::new(),
            }
        };
        for (c, side) in self.conn().into_iter().chain(waiting.iter().filter_map(|s| s.conn())) {
            c.each_file(side, f);
        }
    }
    /// Takes all that waits here.
    fn drain(&self) -> Vec<Segment> {
        let (mut out, waiting): (_, Vec<Arc<Socket>>) = {
            let mut st = lock(&self.state);
            let waiting = match &st.role {
                Role::Listening(l) => l.queue.iter().map(Arc::clone).collect(),
                _ => Vec::new(),
            };
            (st.rx.drain(), waiting)
        };
        for (c, side) in self.conn().into_iter().chain(waiting.iter().filter_map(|s| s.conn())) {
            out.extend(c.drain(side));
        }
        out
    }
}

/// What an open file description holds; the socket is closed with it.
pub struct SocketFile(pub Arc<Socket>);

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Stream for SocketFile {
    fn read(&self, _: &Caller<'_>, buf: &mut [u8]) -> Result<usize> {
        self.0.recv(buf, false, 1).map(|i| i.len)
    }
    fn write(&self, c: &Caller<'_>, data: &[u8]) -> Result<usize> {
        let mut out = Outgoing { cred: Some(sender(c)), ..Outgoing::default() };
        self.0.send(c, data, &mut out)
    }
    fn poll(&self) -> u32 {
        self.0.poll()
    }
    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.end.queue)
    }
    fn timeout(&self, write: bool) -> Option<Duration> {
        self.0.timeout(write)
    }
    fn ioctl(&self, c: &Caller<'_>, request: u32, arg: u64, mem: &mut dyn IoctlMemory) -> Result<i64> {
        option::ioctl(&self.0, c, request, arg, mem)
    }
    fn stat(&self) -> Result<Stat> {
        Ok(Stat {
            dev: 8,
            ino: self.0.ino,
            mode: FileType::Socket.mode_bits() | 0o777,
            nlink: 1,
            uid: self.0.uid,
            blksize: 4096,
            ..Stat::default()
        })
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn type_name(&self) -> &'static str {
        "socket"
    }
}

/// Real IDs of the caller, as SCM_CREDENTIALS has them.
pub fn sender(c: &Caller<'_>) -> Cred {
    let ids = lock(&c.process.ids);
    Cred { pid: c.process.pid, uid: ids.ruid, gid: ids.rgid }
}
/// Effective IDs of the caller, as SO_PEERCRED has them.
pub fn peer_cred(c: &Caller<'_>) -> Cred {
    let ids = lock(&c.process.ids);
    Cred { pid: c.process.pid, uid: ids.euid, gid: ids.egid }
}

#[cfg(test)]
mod tests;
