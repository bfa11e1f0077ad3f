//! What all sockets of a container share: who is bound where, and which descriptors are in flight.

use super::addr::Endpoint;
use super::buffer::Segment;
use super::conn::End;
use super::outside::Outside;
use super::{Kind, Socket};
use crate::errno::{Errno, Result};
use crate::file::OpenFile;
use crate::wait::lock;
use megalith_vfs::{Budget, InodeId};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// Ports that are picked (`net.ipv4.ip_local_port_range`).
pub const LOCAL_PORTS: std::ops::RangeInclusive<u16> = 32768..=60999;
/// Sockets that one container may have.
const MAX_SOCKETS: usize = 1 << 17;
/// Descriptors that may be in flight in one container.
const MAX_IN_FLIGHT: usize = 1 << 16;

/// Transports with ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    Tcp,
    Udp,
    UdpLite,
}

/// A socket at a port.
struct Binding {
    socket: Weak<Socket>,
    end: Arc<End>,
    ip: IpAddr,
    /// Of a connected UDP socket.
    peer: Option<Endpoint>,
    uid: u32,
}

impl Binding {
    /// Whether both could get the same packet.
    fn overlaps(&self, ip: IpAddr, v6only: bool) -> bool {
        let own_v6only = self.end.v6only.load(Ordering::Relaxed);
        match (self.ip, ip) {
            (IpAddr::V4(a), IpAddr::V4(b)) => a == b || a.is_unspecified() || b.is_unspecified(),
            (IpAddr::V6(a), IpAddr::V6(b)) => a == b || a.is_unspecified() || b.is_unspecified(),
            (IpAddr::V6(a), IpAddr::V4(_)) => a.is_unspecified() && !own_v6only,
            (IpAddr::V4(_), IpAddr::V6(b)) => b.is_unspecified() && !v6only,
        }
    }
    /// How well a packet to `to` from `from` fits; `None`: not at all.
    fn score(&self, to: IpAddr, from: Endpoint) -> Option<u32> {
        let mut score = match (self.ip, to) {
            (IpAddr::V6(a), IpAddr::V4(_)) if a.is_unspecified() && !self.end.v6only.load(Ordering::Relaxed) => 1,
            (IpAddr::V4(a), IpAddr::V4(_)) if a.is_unspecified() => 2,
            (IpAddr::V6(a), IpAddr::V6(_)) if a.is_unspecified() => 2,
            (a, b) if a == b => 3,
            _ => return None,
        };
        if let Some(p) = self.peer {
            if p != from {
                return None;
            }
            score += 4;
        }
        Some(score)
    }
}

#[derive(Default)]
struct Ports(BTreeMap<u16, Vec<Binding>>);

impl Ports {
    /// Whether `socket` may not be bound to (`ip`, `port`).
    fn taken(&self, t: Transport, socket: &Socket, ip: IpAddr, port: u16, uid: u32) -> bool {
        let new = &socket.end;
        let both = |a: &std::sync::atomic::AtomicBool, b: &std::sync::atomic::AtomicBool| {
            a.load(Ordering::Relaxed) && b.load(Ordering::Relaxed)
        };
        self.0.get(&port).is_some_and(|list| {
            list.iter().any(|b| {
                if std::ptr::eq(b.socket.as_ptr(), socket) || !b.overlaps(ip, new.v6only.load(Ordering::Relaxed)) {
                    return false;
                }
                let listening = b.end.listening.load(Ordering::Relaxed);
                let shared = both(&b.end.reuse_addr, &new.reuse_addr) && !(t == Transport::Tcp && listening);
                !(shared || both(&b.end.reuse_port, &new.reuse_port) && b.uid == uid)
            })
        })
    }
    /// The bound socket that gets what comes from `from` for (`to`, `port`).
    fn find(&self, to: IpAddr, port: u16, from: Endpoint, listening: bool) -> Option<Arc<Socket>> {
        let mut best: Vec<(u32, &Binding)> = Vec::new();
        for b in self.0.get(&port)? {
            if listening && !b.end.listening.load(Ordering::Acquire) {
                continue;
            }
            let Some(score) = b.score(to, from) else { continue };
            if best.first().is_some_and(|(s, _)| *s < score) {
                best.clear();
            }
            if best.first().is_none_or(|(s, _)| *s == score) {
                best.push((score, b));
            }
        }
        // Of a group with SO_REUSEPORT one is picked by the sender's port; otherwise the latest gets all.
        let group = best.iter().filter(|(_, b)| b.end.reuse_port.load(Ordering::Relaxed)).count();
        let i = if group > 1 { usize::from(from.port) % best.len() } else { best.len().checked_sub(1)? };
        best.get(i)?.1.socket.upgrade()
    }
}

#[derive(Default)]
struct Tables {
    tcp: Ports,
    udp: Ports,
    udp_lite: Ports,
    /// AF_UNIX sockets by type and abstract name, and by inode.
    names: HashMap<(Kind, Arc<[u8]>), Weak<Socket>>,
    inodes: HashMap<InodeId, Weak<Socket>>,
    all: BTreeMap<u64, Weak<Socket>>,
    next_port: u16,
    next_name: u32,
}

impl Tables {
    fn ports(&mut self, t: Transport) -> &mut Ports {
        match t {
            Transport::Tcp => &mut self.tcp,
            Transport::Udp => &mut self.udp,
            Transport::UdpLite => &mut self.udp_lite,
        }
    }
}

/// AF_UNIX sockets in flight: how often each, by the address of the description.
#[derive(Default)]
pub struct Flight {
    sockets: HashMap<usize, (Weak<OpenFile>, usize)>,
}

/// The sockets of a container.
///
/// Locks: [`Net::flight`] first, then one socket's state, then the tables or a connection. No two sockets' states are locked at a time.
pub struct Net {
    tables: Mutex<Tables>,
    flight: Mutex<Flight>,
    /// Descriptors in flight.
    flying: AtomicUsize,
    /// Sockets closed since the last search for garbage.
    closed: AtomicUsize,
    pub budget: Arc<Budget>,
    pub outside: Outside,
}

thread_local! {
    /// Files to be closed by the outermost call of [`close_files`] of this thread.
    static TRASH: RefCell<Option<Vec<Arc<OpenFile>>>> = const { RefCell::new(None) };
}

/// Drops files; those that they held in flight are dropped in a loop, not in a recursion as deep as the guest likes.
fn close_files(files: Vec<Arc<OpenFile>>) {
    let nested = TRASH.with_borrow_mut(|t| match t {
        Some(t) => {
            t.extend(files.iter().map(Arc::clone));
            true
        }
        None => {
            *t = Some(Vec::new());
            false
        }
    });
    // Nested: the outer call has them, so that this drops references only.
    drop(files);
    if nested {
        return;
    }
    loop {
        match TRASH.with_borrow_mut(|t| t.as_mut().and_then(Vec::pop)) {
            Some(f) => drop(f),
            None => {
                TRASH.with_borrow_mut(|t| *t = None);
                break;
            }
        }
    }
}

impl Net {
    /// No sockets; what waits in them counts against `budget`.
    pub fn new(budget: &Arc<Budget>, outside: Outside) -> Arc<Net> {
        Arc::new(Net {
            tables: Mutex::default(),
            flight: Mutex::default(),
            flying: AtomicUsize::new(0),
            closed: AtomicUsize::new(0),
            budget: Arc::clone(budget),
            outside,
        })
    }

    /// Notes a new socket, for /proc/net; `ENFILE` when there are too many.
    pub fn register(&self, s: &Arc<Socket>) -> Result<()> {
        let mut tables = lock(&self.tables);
        if tables.all.len() >= MAX_SOCKETS {
            return Err(Errno::ENFILE);
        }
        tables.all.insert(s.ino, Arc::downgrade(s));
        Ok(())
    }
    /// All sockets, by inode number.
    pub fn all(&self) -> Vec<Arc<Socket>> {
        lock(&self.tables).all.values().filter_map(Weak::upgrade).collect()
    }

    // ---- ports ----

    /// Binds to `at`, or with port 0 to a free port; tells which. `EADDRINUSE`.
    pub fn bind(&self, t: Transport, s: &Arc<Socket>, at: Endpoint, uid: u32) -> Result<u16> {
        let mut tables = lock(&self.tables);
        let port = if at.port == 0 {
            let (first, last) = (*LOCAL_PORTS.start(), *LOCAL_PORTS.end());
            let count = u32::from(last - first) + 1;
            let start = u32::from(tables.next_port);
            let free = (0..count).find_map(|i| {
                let p = first + u16::try_from((start + i) % count).unwrap_or(0);
                (!tables.ports(t).0.contains_key(&p)).then_some(p)
            });
            let port = free.ok_or(Errno::EADDRINUSE)?;
            tables.next_port = port - first + 1;
            port
        } else {
            if tables.ports(t).taken(t, s, at.ip, at.port, uid) {
                return Err(Errno::EADDRINUSE);
            }
            at.port
        };
        let b = Binding { socket: Arc::downgrade(s), end: Arc::clone(&s.end), ip: at.ip, peer: None, uid };
        tables.ports(t).0.entry(port).or_default().push(b);
        Ok(port)
    }
    /// Whether a bound TCP socket may listen, now that others may have been bound to the same port.
    pub fn may_listen(&self, s: &Socket, at: Endpoint, uid: u32) -> bool {
        !lock(&self.tables).tcp.taken(Transport::Tcp, s, at.ip, at.port, uid)
    }
    /// Puts a socket that a listener made beside it.
    pub fn bind_accepted(&self, s: &Arc<Socket>, at: Endpoint, uid: u32) {
        let b = Binding { socket: Arc::downgrade(s), end: Arc::clone(&s.end), ip: at.ip, peer: None, uid };
        lock(&self.tables).tcp.0.entry(at.port).or_default().push(b);
    }
    /// Changes what a UDP socket is bound and connected to.
    pub fn rebind(&self, t: Transport, s: &Socket, port: u16, ip: IpAddr, peer: Option<Endpoint>) {
        let mut tables = lock(&self.tables);
        if let Some(b) =
            tables.ports(t).0.get_mut(&port).and_then(|l| l.iter_mut().find(|b| std::ptr::eq(b.socket.as_ptr(), s)))
        {
            b.ip = ip;
            b.peer = peer;
        }
    }
    /// Gives a port up.
    pub fn unbind(&self, t: Transport, s: &Socket, port: u16) {
        let mut tables = lock(&self.tables);
        let ports = tables.ports(t);
        if let Some(list) = ports.0.get_mut(&port) {
            list.retain(|b| !std::ptr::eq(b.socket.as_ptr(), s));
            if list.is_empty() {
                ports.0.remove(&port);
            }
        }
    }
    /// The listener for a connection, or the receiver of a datagram.
    pub fn find(&self, t: Transport, to: Endpoint, from: Endpoint) -> Option<Arc<Socket>> {
        lock(&self.tables).ports(t).find(to.ip, to.port, from, t == Transport::Tcp)
    }

    // ---- AF_UNIX names ----

    /// Binds an abstract name; `EADDRINUSE`.
    pub fn bind_name(&self, s: &Arc<Socket>, name: &Arc<[u8]>) -> Result<()> {
        let mut tables = lock(&self.tables);
        let key = (s.kind, Arc::clone(name));
        if tables.names.contains_key(&key) {
            return Err(Errno::EADDRINUSE);
        }
        tables.names.insert(key, Arc::downgrade(s));
        Ok(())
    }
    /// Binds to a free abstract name of five hexadecimal digits.
    pub fn bind_any_name(&self, s: &Arc<Socket>) -> Result<Arc<[u8]>> {
        let mut tables = lock(&self.tables);
        for _ in 0..1 << 20 {
            let n = tables.next_name;
            tables.next_name = (n + 1) & 0xf_ffff;
            let name: Arc<[u8]> = format!("\0{n:05x}").into_bytes().into();
            let key = (s.kind, Arc::clone(&name));
            if let std::collections::hash_map::Entry::Vacant(free) = tables.names.entry(key) {
                free.insert(Arc::downgrade(s));
                return Ok(name);
            }
        }
        Err(Errno::ENOSPC)
    }
    /// Notes what listens behind an inode.
    pub fn bind_inode(&self, s: &Arc<Socket>, id: InodeId) {
        lock(&self.tables).inodes.insert(id, Arc::downgrade(s));
    }
    /// The socket of this type with this abstract name; `ECONNREFUSED`.
    pub fn by_name(&self, kind: Kind, name: &Arc<[u8]>) -> Result<Arc<Socket>> {
        lock(&self.tables).names.get(&(kind, Arc::clone(name))).and_then(Weak::upgrade).ok_or(Errno::ECONNREFUSED)
    }
    /// The socket bound to this inode; `ECONNREFUSED`.
    pub fn by_inode(&self, id: InodeId) -> Result<Arc<Socket>> {
        lock(&self.tables).inodes.get(&id).and_then(Weak::upgrade).ok_or(Errno::ECONNREFUSED)
    }
    /// Forgets a socket that is closed, and its name.
    pub fn forget(&self, s: &Socket, name: Option<&Arc<[u8]>>, inode: Option<InodeId>) {
        let mut tables = lock(&self.tables);
        tables.all.remove(&s.ino);
        if let Some(n) = name {
            tables.names.remove(&(s.kind, Arc::clone(n)));
        }
        if let Some(id) = inode {
            tables.inodes.remove(&id);
        }
    }

    // ---- descriptors in flight ----

    /// Keeps files from getting into flight or out of it.
    pub fn flight(&self) -> std::sync::MutexGuard<'_, Flight> {
        lock(&self.flight)
    }
    /// Sends files: `push` is called under the lock, and what it sent is noted. `ETOOMANYREFS`.
    pub fn launch<T>(&self, files: &[Arc<OpenFile>], push: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.flying.load(Ordering::Relaxed) + files.len() > MAX_IN_FLIGHT {
            self.search_garbage();
        }
        let mut flight = lock(&self.flight);
        if self.flying.load(Ordering::Relaxed) + files.len() > MAX_IN_FLIGHT {
            return Err(Errno::ETOOMANYREFS);
        }
        let r = push()?;
        self.flying.fetch_add(files.len(), Ordering::AcqRel);
        for f in files.iter().filter(|f| unix_socket(f).is_some()) {
            flight.sockets.entry(Arc::as_ptr(f) as usize).or_insert_with(|| (Arc::downgrade(f), 0)).1 += 1;
        }
        Ok(r)
    }
    /// Notes that files have been received.
    pub fn land(&self, flight: &mut Flight, files: &[Arc<OpenFile>]) {
        self.flying.fetch_sub(files.len(), Ordering::AcqRel);
        for f in files {
            let key = Arc::as_ptr(f) as usize;
            if let Some(e) = flight.sockets.get_mut(&key) {
                e.1 -= 1;
                if e.1 == 0 {
                    flight.sockets.remove(&key);
                }
            }
        }
    }
    /// Drops what nobody has received. To be called without any lock.
    pub fn discard(&self, segments: Vec<Segment>) {
        let files: Vec<Arc<OpenFile>> = segments.into_iter().flat_map(|s| s.files).collect();
        if files.is_empty() {
            return;
        }
        self.land(&mut lock(&self.flight), &files);
        close_files(files);
    }

    /// Called when a socket was closed: looks for garbage, the more seldom the more there is to look at.
    pub fn collect_garbage(&self) {
        let flying = self.flying.load(Ordering::Acquire);
        if flying != 0 && self.closed.fetch_add(1, Ordering::AcqRel) >= flying / 16 {
            self.search_garbage();
        }
    }

    /// Empties sockets in flight that nobody can reach any more: those that wait only in each other, man 7 unix.
    fn search_garbage(&self) {
        self.closed.store(0, Ordering::Release);
        let mut kept = Vec::new();
        let mut garbage = Vec::new();
        {
            let flight = lock(&self.flight);
            // All references to a candidate are those of messages.
            let candidates: HashMap<usize, Arc<Socket>> = flight
                .sockets
                .iter()
                .filter(|(_, (w, n))| w.strong_count() == *n)
                .filter_map(|(key, (w, _))| {
                    let f = w.upgrade()?;
                    let s = unix_socket(&f).cloned();
                    kept.push(f);
                    Some((*key, s?))
                })
                .collect();
            if !candidates.is_empty() {
                let inside: HashMap<usize, Vec<usize>> = candidates
                    .iter()
                    .map(|(key, s)| {
                        let mut files = Vec::new();
                        s.each_file(&mut |f| {
                            let key = Arc::as_ptr(f) as usize;
                            if candidates.contains_key(&key) {
                                files.push(key);
                            }
                        });
                        (*key, files)
                    })
                    .collect();
                let mut known: HashMap<usize, usize> = HashMap::new();
                for key in inside.values().flatten() {
                    *known.entry(*key).or_insert(0) += 1;
                }
                // What waits elsewhere, too, can be received, and so can all that waits in it.
                let mut reached: Vec<usize> = candidates
                    .keys()
                    .filter(|k| flight.sockets.get(k).is_some_and(|(_, n)| *n > known.get(k).copied().unwrap_or(0)))
                    .copied()
                    .collect();
                let mut alive: std::collections::HashSet<usize> = reached.iter().copied().collect();
                while let Some(k) = reached.pop() {
                    for &next in inside.get(&k).into_iter().flatten() {
                        if alive.insert(next) {
                            reached.push(next);
                        }
                    }
                }
                for (key, s) in &candidates {
                    if !alive.contains(key) {
                        garbage.extend(s.drain());
                    }
                }
            }
        }
        self.discard(garbage);
        close_files(kept);
    }
}

/// The AF_UNIX socket behind a description.
fn unix_socket(f: &Arc<OpenFile>) -> Option<&Arc<Socket>> {
    super::of(f).filter(|s| s.family == super::addr::Family::Unix)
}
