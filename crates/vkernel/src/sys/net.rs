//! System calls on sockets.

use super::fs::{AT_FDCWD, place};
use super::{Ctx, IOV_MAX, MAX_RW, retry_waiting};
use crate::errno::{Errno, Result};
use crate::file::{Caller, OpenFile};
use crate::mm::Prot;
use crate::socket::addr::{ADDR_MAX, Addr, Family};
use crate::socket::buffer::Cred;
use crate::socket::{self, Incoming, Outgoing, Socket, SocketFile, option};
use crate::task::Task;
use crate::wait::lock;
use megalith_vfs::{Access, FileType, OpenFlags, Timespec, WalkFlags};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const SOCK_NONBLOCK: u32 = OpenFlags::O_NONBLOCK;
const SOCK_CLOEXEC: u32 = OpenFlags::O_CLOEXEC;
const MSG_OOB: u32 = 1;
const MSG_PEEK: u32 = 2;
const MSG_CTRUNC: u32 = 8;
const MSG_TRUNC: u32 = 0x20;
const MSG_DONTWAIT: u32 = 0x40;
const MSG_WAITALL: u32 = 0x100;
const MSG_ERRQUEUE: u32 = 0x2000;
const MSG_NOSIGNAL: u32 = 0x4000;
const MSG_WAITFORONE: u32 = 0x1_0000;
const MSG_CMSG_CLOEXEC: u32 = 0x4000_0000;
const SCM_RIGHTS: i32 = 1;
const SCM_CREDENTIALS: i32 = 2;
/// Descriptors in one message (`SCM_MAX_FD`).
const SCM_MAX: usize = 253;
/// Longest control data that is read (`net.core.optmem_max`).
const CONTROL_MAX: usize = 131_072;
/// Bytes moved per step through a buffer of the kernel.
const CHUNK: usize = 256 << 10;
/// Longer datagrams exist nowhere.
const DATAGRAM_MAX: usize = 1 << 20;
/// `sizeof(struct msghdr)`, and of its elements for several messages.
const MSGHDR: usize = 56;
const MMSGHDR: u64 = 64;

/// The socket behind a descriptor argument.
pub(crate) fn socket_at(c: &Ctx<'_>, i: usize) -> Result<(Arc<OpenFile>, Arc<Socket>)> {
    let f = c.real_file(i)?;
    let s = socket::of(&f).map(Arc::clone).ok_or(Errno::ENOTSOCK)?;
    Ok((f, s))
}

fn cred(c: &Ctx<'_>) -> Cred {
    socket::peer_cred(&c.task.caller())
}
fn root(c: &Ctx<'_>) -> bool {
    lock(&c.task.process.ids).privileged()
}

/// Adds a descriptor for a socket; closed again when there is no number for it.
fn add(c: &Ctx<'_>, s: Arc<Socket>, flags: u32) -> Result<i64> {
    let file = OpenFile::stream(Arc::new(SocketFile(s)), 2 | flags & SOCK_NONBLOCK);
    c.add_fd(file, flags & SOCK_CLOEXEC != 0)
}

pub(super) fn socket(c: &mut Ctx<'_>) -> Result<i64> {
    let (family, kind, protocol) = (c.int(0), c.uint(1), c.uint(2));
    if kind & !(0xf | SOCK_NONBLOCK | SOCK_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    let s = Socket::new(&c.task.kernel.net, family, kind & 0xf, protocol, cred(c), root(c))?;
    add(c, s, kind)
}

pub(super) fn socketpair(c: &mut Ctx<'_>) -> Result<i64> {
    let (family, kind, protocol) = (c.int(0), c.uint(1), c.uint(2));
    if kind & !(0xf | SOCK_NONBLOCK | SOCK_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    match family {
        1 => {}
        2 | 10 => {
            // As for a socket, but none of them comes in pairs.
            let s = Socket::new(&c.task.kernel.net, family, kind & 0xf, protocol, cred(c), root(c))?;
            drop(SocketFile(s));
            return Err(Errno::EOPNOTSUPP);
        }
        _ => return Err(Errno::EAFNOSUPPORT),
    }
    if c.space().accessible(c.a[3], 8, Prot::WRITE) < 8 {
        return Err(Errno::EFAULT);
    }
    let [a, b] = Socket::pair(&c.task.kernel.net, kind & 0xf, protocol, cred(c))?.map(SocketFile);
    let file = |s| OpenFile::stream(Arc::new(s), 2 | kind & SOCK_NONBLOCK);
    let cloexec = kind & SOCK_CLOEXEC != 0;
    let (a, b) = (file(a), file(b));
    let x = c.add_fd(a, cloexec)?;
    let y = match c.add_fd(b, cloexec) {
        Ok(y) => y,
        Err(e) => {
            let gone = lock(&c.task.process.fds).remove(x as i32);
            drop(gone);
            return Err(e);
        }
    };
    c.put_u32(c.a[3], x as u32)?;
    c.put_u32(c.a[3] + 4, y as u32)?;
    Ok(0)
}

// ---- addresses ----

fn address(c: &Ctx<'_>, at: u64, len: u64) -> Result<Addr> {
    let len = usize::try_from(len as u32 as i32).ok().filter(|&n| n <= ADDR_MAX).ok_or(Errno::EINVAL)?;
    Addr::parse(&c.get_vec(at, len as u64, ADDR_MAX)?)
}

/// Gives an address back: cut off at the room there is, with the full length.
fn put_address(c: &Ctx<'_>, bytes: &[u8], at: u64, len_at: u64) -> Result<()> {
    let room = usize::try_from(c.get_u32(len_at)? as i32).map_err(|_| Errno::EINVAL)?;
    c.put(at, bytes.get(..room.min(bytes.len())).unwrap_or_default())?;
    c.put_u32(len_at, bytes.len() as u32)
}

/// The socket that an AF_UNIX address names, for those who may write to it.
fn resolve(c: &Ctx<'_>, s: &Socket, addr: &Addr) -> Result<Option<Arc<Socket>>> {
    let Addr::Unix(name) = addr else { return Ok(None) };
    if s.family != Family::Unix || name.is_empty() {
        return Ok(None);
    }
    let net = &c.task.kernel.net;
    if name.first() == Some(&0) {
        return net.by_name(s.kind, name).map(Some);
    }
    let p = place(c, AT_FDCWD, name)?;
    let l = c.task.kernel.vfs.lookup(&p.at(), name, WalkFlags::FOLLOW)?;
    p.at().cred.check(&l.inode().stat()?, Access::WRITE)?;
    if l.inode().file_type() != FileType::Socket {
        return Err(Errno::ECONNREFUSED);
    }
    net.by_inode(l.inode().id()).map(Some)
}

pub(super) fn bind(c: &mut Ctx<'_>) -> Result<i64> {
    let (_, s) = socket_at(c, 0)?;
    let addr = address(c, c.a[1], c.a[2])?;
    match &addr {
        Addr::Unix(path) if s.family == Family::Unix && path.first().is_some_and(|&b| b != 0) => {
            let p = place(c, AT_FDCWD, path)?;
            let mode = 0o777 & !lock(&c.task.process.fs).umask;
            let made = c.task.kernel.vfs.mknod(&p.at(), path, FileType::Socket, mode, 0);
            let location = made.map_err(|e| if e == Errno::EEXIST { Errno::EADDRINUSE } else { e })?;
            if let Err(e) = s.bind_path(path, location) {
                let _ = c.task.kernel.vfs.unlink(&p.at(), path);
                return Err(e);
            }
        }
        _ => s.bind(&addr, cred(c), root(c))?,
    }
    Ok(0)
}

pub(super) fn listen(c: &mut Ctx<'_>) -> Result<i64> {
    let (_, s) = socket_at(c, 0)?;
    s.listen(c.int(1), cred(c)).map(|()| 0)
}

pub(super) fn connect(c: &mut Ctx<'_>) -> Result<i64> {
    let (f, s) = socket_at(c, 0)?;
    let addr = address(c, c.a[1], c.a[2])?;
    let target = resolve(c, &s, &addr)?;
    let cred = cred(c);
    let tcp = s.family.is_inet() && s.is_stream();
    if f.nonblocking() {
        let fresh = tcp && s.is_idle();
        return match s.connect(&addr, target.as_ref(), cred, tcp) {
            // As over a network: the answer is never there at once.
            Ok(()) if fresh && addr != Addr::Unspec => Err(Errno::EINPROGRESS),
            Err(Errno::EAGAIN | Errno::ECONNREFUSED) if fresh => Err(Errno::EINPROGRESS),
            Err(Errno::EAGAIN) if tcp => Err(Errno::EALREADY),
            r => r.map(|()| 0),
        };
    }
    let r = retry_waiting(c.task, &f, false, true, || s.connect(&addr, target.as_ref(), cred, true));
    if tcp {
        match r {
            Ok(()) => s.take_success(),
            Err(Errno::ECONNREFUSED) => s.take_refusal(),
            Err(Errno::EAGAIN) => return Err(Errno::EINPROGRESS),
            Err(_) => {}
        }
    }
    r.map(|()| 0)
}

pub(crate) fn accept_with(c: &mut Ctx<'_>, flags: u32) -> Result<i64> {
    if flags & !(SOCK_NONBLOCK | SOCK_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    let (f, s) = socket_at(c, 0)?;
    {
        // A connection that finds no descriptor stays in the queue.
        let limit = lock(&c.task.process.rlimits)[7].0;
        lock(&c.task.process.fds).free(0, limit)?;
    }
    let (new, peer) = retry_waiting(c.task, &f, f.nonblocking(), false, || s.accept())?;
    let family = new.family;
    let file = OpenFile::stream(Arc::new(SocketFile(new)), 2 | flags & SOCK_NONBLOCK);
    if c.a[1] != 0 {
        put_address(c, &peer.bytes(family), c.a[1], c.a[2])?;
    }
    c.add_fd(file, flags & SOCK_CLOEXEC != 0)
}
pub(super) fn accept(c: &mut Ctx<'_>) -> Result<i64> {
    accept_with(c, 0)
}
pub(crate) fn accept4(c: &mut Ctx<'_>) -> Result<i64> {
    let flags = c.uint(3);
    accept_with(c, flags)
}

pub(super) fn getsockname(c: &mut Ctx<'_>) -> Result<i64> {
    let (_, s) = socket_at(c, 0)?;
    put_address(c, &s.local().bytes(s.family), c.a[1], c.a[2]).map(|()| 0)
}
pub(super) fn getpeername(c: &mut Ctx<'_>) -> Result<i64> {
    let (_, s) = socket_at(c, 0)?;
    put_address(c, &s.peer()?.bytes(s.family), c.a[1], c.a[2]).map(|()| 0)
}
pub(crate) fn shutdown(c: &mut Ctx<'_>) -> Result<i64> {
    let (_, s) = socket_at(c, 0)?;
    s.shutdown(c.uint(1)).map(|()| 0)
}

pub(super) fn setsockopt(c: &mut Ctx<'_>) -> Result<i64> {
    let (_, s) = socket_at(c, 0)?;
    let len = usize::try_from(c.int(4)).map_err(|_| Errno::EINVAL)?;
    let value = c.get_vec(c.a[3], len.min(option::VALUE_MAX) as u64, option::VALUE_MAX)?;
    s.set_option(c.int(1), c.int(2), &value, root(c)).map(|()| 0)
}
pub(super) fn getsockopt(c: &mut Ctx<'_>) -> Result<i64> {
    let (_, s) = socket_at(c, 0)?;
    let room = usize::try_from(c.get_u32(c.a[4])? as i32).map_err(|_| Errno::EINVAL)?;
    let value = s.option(c.int(1), c.int(2))?;
    let n = room.min(value.len());
    c.put(c.a[3], value.get(..n).unwrap_or_default())?;
    c.put_u32(c.a[4], n as u32)?;
    Ok(0)
}

// ---- sending ----

/// Bytes of the given places in guest memory, in order.
struct Source<'a> {
    vecs: &'a [(u64, usize)],
    /// Bytes taken already.
    at: usize,
}

impl Source<'_> {
    /// The next `n` bytes, or what there is.
    fn take(&mut self, task: &Task, n: usize) -> Result<Vec<u8>> {
        let space = lock(&task.space);
        let mut out = Vec::new();
        let mut skip = self.at;
        for &(base, len) in self.vecs {
            if skip >= len {
                skip -= len;
                continue;
            }
            let part = (len - skip).min(n - out.len());
            let start = out.len();
            out.resize(start + part, 0);
            space.read(base.wrapping_add(skip as u64), out.get_mut(start..).unwrap_or_default())?;
            skip = 0;
            if out.len() == n {
                break;
            }
        }
        self.at += out.len();
        Ok(out)
    }
}

fn total(vecs: &[(u64, usize)]) -> usize {
    vecs.iter().fold(0usize, |n, v| n.saturating_add(v.1)).min(MAX_RW)
}

/// Sends the bytes of the given places (address, length); a stream takes all of them, blocking as needed.
pub(super) fn transmit(
    task: &Task,
    f: &Arc<OpenFile>,
    s: &Arc<Socket>,
    vecs: &[(u64, usize)],
    flags: u32,
    out: &mut Outgoing,
) -> Result<usize> {
    if flags & MSG_OOB != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let total = total(vecs);
    let dontwait = f.nonblocking() || flags & MSG_DONTWAIT != 0;
    out.quiet = flags & MSG_NOSIGNAL != 0;
    if out.cred.is_none() && s.family == Family::Unix {
        out.cred = Some(socket::sender(&task.caller()));
    }
    let mut source = Source { vecs, at: 0 };
    if !s.is_stream() {
        if total > DATAGRAM_MAX {
            return Err(Errno::EMSGSIZE);
        }
        let data = source.take(task, total)?;
        return retry_waiting(task, f, dontwait, true, || s.send(&task.caller(), &data, out));
    }
    let mut done = 0;
    loop {
        let data = match source.take(task, CHUNK.min(total - done)) {
            Err(_) if done > 0 => return Ok(done),
            r => r?,
        };
        let mut part = 0;
        loop {
            let rest = data.get(part..).unwrap_or_default();
            // What has been sent is told, without a signal.
            out.quiet |= done > 0;
            match retry_waiting(task, f, dontwait, true, || s.send(&task.caller(), rest, out)) {
                Ok(n) => {
                    part += n;
                    done += n;
                }
                Err(_) if done > 0 => return Ok(done),
                Err(e) => return Err(e),
            }
            if part >= data.len() {
                break;
            }
        }
        if done >= total {
            return Ok(done);
        }
    }
}

/// The vectors of a message.
fn vectors(c: &Ctx<'_>, at: u64, count: u64) -> Result<Vec<(u64, usize)>> {
    if count > IOV_MAX as u64 {
        return Err(Errno::EMSGSIZE);
    }
    super::io::iovec(c, at, count)
}

/// `struct msghdr`.
struct Header {
    name: u64,
    name_len: i32,
    vecs: Vec<(u64, usize)>,
    control: u64,
    control_len: u64,
}

fn header(c: &Ctx<'_>, at: u64) -> Result<Header> {
    let b: [u8; MSGHDR] = c.get(at)?;
    let word = |at: usize| b.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
    let name_len = word(8) as u32 as i32;
    if name_len < 0 {
        return Err(Errno::EINVAL);
    }
    Ok(Header {
        name: word(0),
        name_len,
        vecs: vectors(c, word(16), word(24))?,
        control: word(32),
        control_len: word(40),
    })
}

/// Reads the control messages of sendmsg(2).
fn control(c: &Ctx<'_>, s: &Socket, h: &Header, out: &mut Outgoing) -> Result<()> {
    if h.control == 0 || h.control_len == 0 {
        return Ok(());
    }
    if h.control_len > CONTROL_MAX as u64 {
        return Err(Errno::ENOBUFS);
    }
    let all = c.get_vec(h.control, h.control_len, CONTROL_MAX)?;
    let mut rest = &all[..];
    while rest.len() >= 16 {
        let word = |at: usize| rest.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, i32::from_le_bytes);
        let len = rest.get(..8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
        let len = usize::try_from(len).ok().filter(|&n| n >= 16 && n <= rest.len()).ok_or(Errno::EINVAL)?;
        let data = rest.get(16..len).unwrap_or_default();
        let (level, kind) = (word(8), word(12));
        match (s.family, level, kind) {
            (Family::Unix, libc::SOL_SOCKET, SCM_RIGHTS) => {
                let fds = data.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]]));
                if out.files.len() + fds.len() > SCM_MAX {
                    return Err(Errno::EINVAL);
                }
                let table = lock(&c.task.process.fds);
                for fd in fds {
                    out.files.push(Arc::clone(table.get(fd)?));
                }
            }
            (Family::Unix, libc::SOL_SOCKET, SCM_CREDENTIALS) => {
                let n = |at: usize| data.get(at..at + 4).and_then(|b| b.try_into().ok()).map(i32::from_le_bytes);
                let (Some(pid), Some(uid), Some(gid), 12) = (n(0), n(4), n(8), data.len()) else {
                    return Err(Errno::EINVAL);
                };
                let claimed = Cred { pid, uid: uid as u32, gid: gid as u32 };
                check_claim(&c.task.caller(), claimed)?;
                out.cred = Some(claimed);
            }
            (Family::Unix | Family::Netlink, l, _) if l != libc::SOL_SOCKET => {}
            (Family::Inet | Family::Inet6, libc::SOL_IP, libc::IP_PKTINFO) => {}
            (Family::Inet6, libc::SOL_IPV6, libc::IPV6_PKTINFO) => {}
            (Family::Inet | Family::Inet6, libc::SOL_IP, libc::IP_TTL) => out.hops = Some(small(data, 1)?),
            (Family::Inet | Family::Inet6, libc::SOL_IP, libc::IP_TOS) => {
                out.class = Some(if let [class] = data { *class } else { small(data, 0)? });
            }
            // -1: what the socket's option says.
            (Family::Inet6, libc::SOL_IPV6, libc::IPV6_HOPLIMIT) => {
                out.hops = if data == MINUS_ONE { None } else { Some(small(data, 0)?) };
            }
            // Linux cuts -1 to a byte.
            (Family::Inet6, libc::SOL_IPV6, libc::IPV6_TCLASS) => {
                out.class = Some(if data == MINUS_ONE { 255 } else { small(data, 0)? });
            }
            _ => return Err(Errno::EINVAL),
        }
        rest = rest.get(len.next_multiple_of(8)..).unwrap_or_default();
    }
    Ok(())
}

const MINUS_ONE: [u8; 4] = (-1i32).to_le_bytes();

/// An `int` from `least` to 255; `EINVAL`.
fn small(data: &[u8], least: u8) -> Result<u8> {
    let n = data.try_into().map(i32::from_le_bytes).map_err(|_| Errno::EINVAL)?;
    u8::try_from(n).ok().filter(|n| *n >= least).ok_or(Errno::EINVAL)
}

/// Whether the caller may say that it is `cred`.
fn check_claim(c: &Caller<'_>, cred: Cred) -> Result<()> {
    let (root, ids) = {
        let ids = lock(&c.process.ids);
        (ids.privileged(), ids.clone())
    };
    if cred.pid != c.process.pid && (!root || c.kernel.process(cred.pid).is_none()) {
        return Err(if root { Errno::ESRCH } else { Errno::EPERM });
    }
    let uid = [ids.ruid, ids.euid, ids.suid].contains(&cred.uid);
    let gid = [ids.rgid, ids.egid, ids.sgid].contains(&cred.gid);
    if root || uid && gid { Ok(()) } else { Err(Errno::EPERM) }
}

fn send_to(c: &Ctx<'_>, s: &Socket, at: u64, len: u64, out: &mut Outgoing) -> Result<()> {
    if at != 0 && len != 0 {
        let a = match address(c, at, len)? {
            Addr::Unspec if s.family == Family::Inet => {
                // No family means IPv4 here.
                let mut b = c.get_vec(at, len, ADDR_MAX)?;
                if let Some(f) = b.first_mut() {
                    *f = 2;
                }
                Addr::parse(&b)?
            }
            a => a,
        };
        // Connections do not care whom the address names.
        if !s.is_stream() {
            out.target = resolve(c, s, &a)?;
        }
        out.to = Some(a);
    }
    Ok(())
}

pub(super) fn sendto(c: &mut Ctx<'_>) -> Result<i64> {
    let (f, s) = socket_at(c, 0)?;
    let mut out = Outgoing::default();
    send_to(c, &s, c.a[4], c.a[5], &mut out)?;
    transmit(c.task, &f, &s, &[(c.a[1], c.a[2] as usize)], c.uint(3), &mut out).map(|n| n as i64)
}

fn send_message(c: &mut Ctx<'_>, f: &Arc<OpenFile>, s: &Arc<Socket>, at: u64, flags: u32) -> Result<i64> {
    let h = header(c, at)?;
    let mut out = Outgoing::default();
    control(c, s, &h, &mut out)?;
    send_to(c, s, h.name, (h.name_len as u64).min(ADDR_MAX as u64), &mut out)?;
    transmit(c.task, f, s, &h.vecs, flags, &mut out).map(|n| n as i64)
}
pub(super) fn sendmsg(c: &mut Ctx<'_>) -> Result<i64> {
    let (f, s) = socket_at(c, 0)?;
    let (at, flags) = (c.a[1], c.uint(2));
    send_message(c, &f, &s, at, flags)
}
pub(super) fn sendmmsg(c: &mut Ctx<'_>) -> Result<i64> {
    let (f, s) = socket_at(c, 0)?;
    let (at, count, flags) = (c.a[1], u64::from(c.uint(2)).min(IOV_MAX as u64), c.uint(3));
    for i in 0..count {
        let at = at.checked_add(i * MMSGHDR).ok_or(Errno::EFAULT)?;
        match send_message(c, &f, &s, at, flags).and_then(|n| c.put_u32(at + MSGHDR as u64, n as u32)) {
            Ok(()) => {}
            Err(_) if i > 0 => return Ok(i as i64),
            Err(e) => return Err(e),
        }
    }
    Ok(count as i64)
}

// ---- receiving ----

/// What a receiving call gives beside what came with the data.
pub(super) struct Received {
    /// The call's result.
    pub result: usize,
    pub with: Incoming,
    /// `MSG_TRUNC`.
    pub flags: u32,
}

/// Writes `data` behind the first `skip` bytes of the given places.
fn scatter(task: &Task, vecs: &[(u64, usize)], mut skip: usize, mut data: &[u8]) -> Result<()> {
    let space = lock(&task.space);
    for &(base, len) in vecs {
        if skip >= len {
            skip -= len;
            continue;
        }
        let n = (len - skip).min(data.len());
        let (now, later) = data.split_at(n);
        space.write(base.wrapping_add(skip as u64), now)?;
        data = later;
        skip = 0;
        if data.is_empty() {
            break;
        }
    }
    Ok(())
}

/// Receives to the given places (address, length).
pub(super) fn receive(
    task: &Task,
    f: &Arc<OpenFile>,
    s: &Arc<Socket>,
    vecs: &[(u64, usize)],
    flags: u32,
) -> Result<Received> {
    if flags & MSG_OOB != 0 {
        return Err(if s.is_stream() && s.family.is_inet() { Errno::EINVAL } else { Errno::EOPNOTSUPP });
    }
    if flags & MSG_ERRQUEUE != 0 {
        return Err(Errno::EAGAIN);
    }
    let stream = s.is_stream();
    let discard = flags & MSG_TRUNC != 0 && stream && s.family.is_inet();
    // Nothing is to be lost to a bad pointer.
    let mut room = 0;
    let wanted = total(vecs);
    for &(base, len) in vecs {
        let len = len.min(wanted - room);
        let ok = if discard { len } else { lock(&task.space).accessible(base, len, Prot::WRITE) };
        room += ok;
        if ok < len {
            break;
        }
    }
    if room == 0 && wanted > 0 {
        return Err(Errno::EFAULT);
    }
    let (peek, all) = (flags & MSG_PEEK != 0, flags & MSG_WAITALL != 0 && stream);
    let step = room.min(if stream { CHUNK } else { DATAGRAM_MAX });
    let dontwait = f.nonblocking() || flags & MSG_DONTWAIT != 0;
    let least = if stream && s.family.is_inet() { s.end.lowat.load(Ordering::Relaxed).min(room).max(1) } else { 1 };
    let mut small = [0u8; 4096];
    let mut big = Vec::new();
    let buf: &mut [u8] = if step <= small.len() {
        &mut small
    } else {
        big.resize(step, 0);
        &mut big
    };
    let mut r = Received { result: 0, with: Incoming::default(), flags: 0 };
    loop {
        let done = r.result;
        let want = step.min(room - done);
        let buf = buf.get_mut(..want).unwrap_or_default();
        // After the first piece only MSG_WAITALL waits for more.
        let at_once = dontwait || done > 0 && !all;
        let i = match retry_waiting(task, f, at_once, false, || s.recv(buf, peek, if done > 0 { 1 } else { least })) {
            Ok(i) => i,
            Err(_) if done > 0 => break,
            Err(e) => return Err(e),
        };
        if !discard {
            scatter(task, vecs, done, buf.get(..i.len).unwrap_or_default())?;
        }
        let (n, files) = (i.len, !i.files.is_empty());
        r.result += n;
        if !stream && i.full > n {
            r.flags |= MSG_TRUNC;
            if flags & MSG_TRUNC != 0 {
                r.result = i.full;
            }
        }
        if done == 0 {
            r.with = i;
        } else {
            r.with.files.extend(i.files);
        }
        // A piece with another sender or with files begins a call of its own, when anybody cares.
        let more = stream && !peek && n > 0 && !files && r.result < room && (all || n == want);
        if !more || !all && r.with.cred.is_some() && lock(&s.options).passcred {
            break;
        }
    }
    Ok(r)
}

pub(super) fn recvfrom(c: &mut Ctx<'_>) -> Result<i64> {
    let (f, s) = socket_at(c, 0)?;
    let r = receive(c.task, &f, &s, &[(c.a[1], c.a[2] as usize)], c.uint(3))?;
    if c.a[4] != 0 {
        match &r.with.from {
            Some(a) => put_address(c, &a.bytes(s.family), c.a[4], c.a[5])?,
            None => c.put_u32(c.a[5], 0)?,
        }
    }
    Ok(r.result as i64)
}

/// Writes control messages.
struct Control<'a, 'b> {
    c: &'a Ctx<'b>,
    at: u64,
    left: usize,
    used: usize,
    cut: bool,
}

impl Control<'_, '_> {
    fn put(&mut self, level: i32, kind: i32, data: &[u8]) -> Result<()> {
        if self.left < 16 {
            self.cut = true;
            return Ok(());
        }
        let mut len = 16 + data.len();
        if self.left < len {
            self.cut = true;
            len = self.left;
        }
        let mut b = (len as u64).to_le_bytes().to_vec();
        b.extend(level.to_le_bytes());
        b.extend(kind.to_le_bytes());
        b.extend_from_slice(data);
        b.truncate(len);
        self.c.put(self.at, &b)?;
        let step = (16 + data.len()).next_multiple_of(8).min(self.left);
        self.at += step as u64;
        self.left -= step;
        self.used += step;
        Ok(())
    }

    /// SCM_RIGHTS: as many descriptors as there is room for; the other files are closed.
    fn rights(&mut self, files: Vec<Arc<OpenFile>>, cloexec: bool) -> Result<()> {
        let count = files.len();
        let room = self.left.saturating_sub(16) / 4;
        let mut fds = Vec::new();
        for f in files {
            if fds.len() / 4 < room
                && let Ok(fd) = self.c.add_fd(f, cloexec)
            {
                fds.extend((fd as i32).to_le_bytes());
            }
        }
        if fds.len() / 4 < count {
            self.cut = true;
        }
        if !fds.is_empty() {
            self.put(libc::SOL_SOCKET, SCM_RIGHTS, &fds)?;
        }
        Ok(())
    }
}

/// The control messages of what was received: bytes used, and whether there was more.
fn put_control(c: &Ctx<'_>, s: &Socket, h: &Header, with: &mut Incoming, cloexec: bool) -> Result<(usize, bool)> {
    let left = if h.control == 0 { 0 } else { usize::try_from(h.control_len).unwrap_or(usize::MAX).min(CONTROL_MAX) };
    let mut out = Control { c, at: h.control, left, used: 0, cut: false };
    let options = lock(&s.options).clone();
    let asked = |level, name| options.number(level, name) != 0;
    if !s.is_stream() && (asked(libc::SOL_SOCKET, libc::SO_TIMESTAMP) || asked(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS))
    {
        let now = Timespec::now();
        if asked(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS) {
            let t = super::timespec_bytes(now.sec, i64::from(now.nsec));
            out.put(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &t)?;
        } else {
            let t = super::timespec_bytes(now.sec, i64::from(now.nsec) / 1000);
            out.put(libc::SOL_SOCKET, libc::SO_TIMESTAMP, &t)?;
        }
    }
    if options.passcred && s.family == Family::Unix {
        let cred = with.cred.unwrap_or(Cred { pid: 0, uid: 65534, gid: 65534 });
        out.put(libc::SOL_SOCKET, SCM_CREDENTIALS, &cred.bytes())?;
    }
    let files = std::mem::take(&mut with.files);
    if !files.is_empty() {
        out.rights(files, cloexec)?;
    }
    match with.to {
        Some(IpAddr::V4(ip)) if s.family == Family::Inet => {
            if asked(libc::SOL_IP, libc::IP_PKTINFO) {
                let mut b = 1i32.to_le_bytes().to_vec();
                b.extend(ip.octets());
                b.extend(ip.octets());
                out.put(libc::SOL_IP, libc::IP_PKTINFO, &b)?;
            }
            if asked(libc::SOL_IP, libc::IP_RECVTTL) {
                out.put(libc::SOL_IP, libc::IP_TTL, &i32::from(with.header.hops).to_le_bytes())?;
            }
            if asked(libc::SOL_IP, libc::IP_RECVTOS) {
                out.put(libc::SOL_IP, libc::IP_TOS, &[with.header.class])?;
            }
        }
        Some(ip) if s.family == Family::Inet6 => {
            if asked(libc::SOL_IPV6, libc::IPV6_RECVPKTINFO) {
                let ip = match ip {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                    IpAddr::V6(v6) => v6,
                };
                let mut b = ip.octets().to_vec();
                b.extend(1i32.to_le_bytes());
                out.put(libc::SOL_IPV6, libc::IPV6_PKTINFO, &b)?;
            }
            if asked(libc::SOL_IPV6, libc::IPV6_RECVHOPLIMIT) {
                out.put(libc::SOL_IPV6, libc::IPV6_HOPLIMIT, &i32::from(with.header.hops).to_le_bytes())?;
            }
            if asked(libc::SOL_IPV6, libc::IPV6_RECVTCLASS) {
                out.put(libc::SOL_IPV6, libc::IPV6_TCLASS, &i32::from(with.header.class).to_le_bytes())?;
            }
        }
        _ => {}
    }
    Ok((out.used, out.cut))
}

fn receive_message(c: &mut Ctx<'_>, f: &Arc<OpenFile>, s: &Arc<Socket>, at: u64, flags: u32) -> Result<i64> {
    let h = header(c, at)?;
    let mut r = receive(c.task, f, s, &h.vecs, flags)?;
    let mut msg_flags = r.flags | flags & MSG_CMSG_CLOEXEC;
    let (used, cut) = put_control(c, s, &h, &mut r.with, flags & MSG_CMSG_CLOEXEC != 0)?;
    if cut {
        msg_flags |= MSG_CTRUNC;
    }
    if h.name != 0 {
        let b = r.with.from.map(|a| a.bytes(s.family)).unwrap_or_default();
        let room = (h.name_len as usize).min(b.len());
        c.put(h.name, b.get(..room).unwrap_or_default())?;
        c.put_u32(at + 8, b.len() as u32)?;
    }
    c.put_u64(at + 40, used as u64)?;
    c.put_u32(at + 48, msg_flags)?;
    Ok(r.result as i64)
}
pub(super) fn recvmsg(c: &mut Ctx<'_>) -> Result<i64> {
    let (f, s) = socket_at(c, 0)?;
    let (at, flags) = (c.a[1], c.uint(2));
    receive_message(c, &f, &s, at, flags)
}
pub(super) fn recvmmsg(c: &mut Ctx<'_>) -> Result<i64> {
    let (f, s) = socket_at(c, 0)?;
    let (at, count, mut flags) = (c.a[1], u64::from(c.uint(2)).min(IOV_MAX as u64), c.uint(3));
    // As Linux has it: looked at only after a message has come.
    let end =
        if c.a[4] == 0 { None } else { Some(Instant::now() + c.timespec(c.a[4])?.min(Duration::from_secs(1 << 30))) };
    for i in 0..count {
        let at = at.checked_add(i * MMSGHDR).ok_or(Errno::EFAULT)?;
        match receive_message(c, &f, &s, at, flags & !MSG_WAITFORONE)
            .and_then(|n| c.put_u32(at + MSGHDR as u64, n as u32))
        {
            Ok(()) => {}
            Err(_) if i > 0 => return Ok(i as i64),
            Err(e) => return Err(e),
        }
        if flags & MSG_WAITFORONE != 0 {
            flags |= MSG_DONTWAIT;
        }
        if end.is_some_and(|e| Instant::now() >= e) {
            return Ok(i as i64 + 1);
        }
    }
    Ok(count as i64)
}
