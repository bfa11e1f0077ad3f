//! Connections that lead out of the container, to what was granted: TCP only.
//!
//! To the guest such a connection is like any other ([`Conn`]); its other side is held by two host threads, which carry bytes between it and a host
//! socket. That socket comes from a [`Gateway`]: nothing here opens one. Either thread ends when its direction has, and both when the connection is reset; the
//! socket is closed with the last of them.

use super::addr::Endpoint;
use super::conn::{Conn, End, How, Wire};
use super::{Addr, Role, Socket, TCP_RCVBUF, TCP_SNDBUF};
use crate::errno::{Errno, Result};
use crate::wait::{Waiter, lock};
use megalith_vfs::{Budget, Charge};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What lies outside of a container, as far as it was granted.
pub trait Gateway: Send + Sync {
    /// Where connections may go.
    fn granted(&self) -> &[SocketAddr];
    /// Connects, which may take as long as the network likes; a socket that does not block.
    ///
    /// # Errors
    /// That of connect(2).
    fn connect(&self, to: SocketAddr) -> Result<OwnedFd>;
}

/// The container's addresses outside, if anything there is granted (any that nobody else has: nothing is ever sent from them).
const OWN: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 0, 2, 15)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 2, 15))];
/// Connections that lead out at a time: two threads each.
pub const MAX_OUTSIDE: usize = 512;
/// How much one thread carries at a time.
const PIECE: usize = 32 << 10;
const STACK: usize = 128 << 10;
/// How long a connection whose guest has closed it may go without anything being carried (`net.ipv4.tcp_fin_timeout`).
const FIN_TIMEOUT: Duration = Duration::from_secs(60);
/// How soon a thread that waits for the host socket sees what happened elsewhere, in milliseconds.
const TICK: i32 = 1000;

#[derive(Default)]
struct Counts {
    /// Attempts and connections.
    open: usize,
    /// Connections that have something of the guest's to send, or may get some.
    sending: usize,
}

#[derive(Default)]
struct Bridges {
    counts: Mutex<Counts>,
    /// Told when `sending` becomes 0.
    sent: Condvar,
}

/// A container's way out.
#[derive(Default)]
pub struct Outside {
    gateway: Option<Arc<dyn Gateway>>,
    bridges: Arc<Bridges>,
}

/// Counts as long as it lives, and pays for what its threads take.
struct Open {
    bridges: Arc<Bridges>,
    _charge: Charge,
}

impl Open {
    fn new(bridges: &Arc<Bridges>, budget: &Arc<Budget>) -> Result<Open> {
        let charge = Charge::take(budget, 2 * (PIECE + STACK) as u64).map_err(|_| Errno::ENOBUFS)?;
        let mut counts = lock(&bridges.counts);
        if counts.open >= MAX_OUTSIDE {
            return Err(Errno::ENOBUFS);
        }
        counts.open += 1;
        Ok(Open { bridges: Arc::clone(bridges), _charge: charge })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        lock(&self.bridges.counts).open -= 1;
    }
}

/// Counts a connection as long as something of the guest's may be on its way.
struct Sending(Arc<Bridges>);

impl Sending {
    fn new(bridges: &Arc<Bridges>) -> Sending {
        lock(&bridges.counts).sending += 1;
        Sending(Arc::clone(bridges))
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        lock(&self.0.counts).sending -= 1;
        self.0.sent.notify_all();
    }
}

impl Outside {
    pub fn new(gateway: Option<Arc<dyn Gateway>>) -> Outside {
        Outside { gateway, bridges: Arc::default() }
    }

    /// The container's addresses beside the loopback's: one of each version that something was granted of.
    pub(super) fn own(&self) -> impl Iterator<Item = IpAddr> {
        let granted = self.gateway.as_ref().map_or(&[][..], |g| g.granted());
        OWN.into_iter().filter(|own| granted.iter().any(|to| to.is_ipv4() == own.is_ipv4()))
    }

    /// Whether packets to `ip` come back to this container.
    pub(super) fn is_local(&self, ip: IpAddr) -> bool {
        ip.is_loopback() || self.own().any(|own| own == ip)
    }

    /// The own address for a connection to `to`, if that lies outside and is granted.
    pub(super) fn source_for(&self, to: Endpoint) -> Option<IpAddr> {
        let granted = self.gateway.as_ref()?.granted().contains(&SocketAddr::new(to.ip, to.port));
        let outside = granted && !self.is_local(to.ip);
        self.own().find(|own| outside && own.is_ipv4() == to.ip.is_ipv4())
    }

    /// Begins to connect a socket that is [`Role::Connecting`] with this `attempt`.
    pub(super) fn connect(&self, socket: &Arc<Socket>, to: Endpoint, attempt: u64) -> Result<()> {
        let gateway = Arc::clone(self.gateway.as_ref().ok_or(Errno::ENETUNREACH)?);
        let open = Open::new(&self.bridges, &socket.net.budget)?;
        let socket = Arc::downgrade(socket);
        spawn(move || {
            let host = gateway.connect(SocketAddr::new(to.ip, to.port));
            let Some(socket) = socket.upgrade() else { return };
            match host {
                Ok(host) => {
                    let end = End::new(TCP_SNDBUF, TCP_RCVBUF);
                    // Before the guest can know of the connection: it may send, and end.
                    let sending = Sending::new(&open.bridges);
                    let conn = socket.connected_outside(to, &end, attempt);
                    drop(socket);
                    if let Some(conn) = conn {
                        Bridge::new(conn, end, host, open, sending).run();
                    }
                }
                // One that means "wait" would never end.
                Err(Errno::EAGAIN) => socket.connection_failed(Errno::ENOBUFS, Some(attempt)),
                Err(e) => socket.connection_failed(e, Some(attempt)),
            }
        })
    }

    /// Waits until all that guests have sent is with the host, or until `deadline`; to be called when the guests have ended. Whether it is.
    pub fn drain(&self, deadline: Instant) -> bool {
        let mut counts = lock(&self.bridges.counts);
        while counts.sending > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            counts = self.bridges.sent.wait_timeout(counts, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// A thread that ends by itself; the container does not wait for it.
fn spawn(f: impl FnOnce() + Send + 'static) -> Result<()> {
    let builder = std::thread::Builder::new().name("outside".into()).stack_size(STACK);
    builder.spawn(f).map(drop).map_err(|_| Errno::ENOBUFS)
}

impl Socket {
    /// The connection attempt has succeeded, if it is still wanted; gives the connection, whose side 1 ends in `end`.
    fn connected_outside(&self, to: Endpoint, end: &Arc<End>, attempt: u64) -> Option<Arc<Conn>> {
        let mut st = lock(&self.state);
        if !matches!(st.role, Role::Connecting(_)) || st.attempt != attempt {
            return None;
        }
        let conn = Conn::new(Wire::Tcp, &self.end, end, &self.net.budget);
        st.peer = Some(Addr::Inet(to));
        st.role = Role::Connected { conn: Arc::clone(&conn), side: 0, told: false };
        drop(st);
        self.end.queue.wake();
        Some(conn)
    }
}

/// A connection's side 1 and the host socket that it is one with.
struct Bridge {
    conn: Arc<Conn>,
    end: Arc<End>,
    host: OwnedFd,
    _open: Open,
    /// Bytes that went out.
    carried: AtomicU64,
    /// Gone when all that the guest has sent is with the host.
    sending: Mutex<Option<Sending>>,
    /// The connection was reset.
    dead: AtomicBool,
}

impl Bridge {
    fn new(conn: Arc<Conn>, end: Arc<End>, host: OwnedFd, open: Open, sending: Sending) -> Bridge {
        let (carried, dead) = (AtomicU64::new(0), AtomicBool::new(false));
        Bridge { conn, end, host, _open: open, carried, sending: Mutex::new(Some(sending)), dead }
    }

    fn run(self) {
        let bridge = Arc::new(self);
        let out = Arc::clone(&bridge);
        if spawn(move || out.carry_out()).is_err() {
            bridge.reset();
        }
        bridge.carry_in();
    }

    /// Nothing more goes either way: the guest is told, and the other side when both threads have let go of the socket.
    fn reset(&self) {
        if !self.dead.swap(true, Ordering::AcqRel) {
            // Closing answers with a reset then, not with an end as if all had been said.
            let _ = rustix::net::sockopt::set_socket_linger(&self.host, Some(Duration::ZERO));
            drop(self.conn.close(1, true));
        }
        self.all_sent();
    }
    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Nothing of the guest's is left to send.
    fn all_sent(&self) {
        drop(lock(&self.sending).take());
    }
    fn is_all_sent(&self) -> bool {
        lock(&self.sending).is_none()
    }

    /// Waits for the host socket, not for long: what is ready of `events`, errors and hang-ups.
    fn poll_host(&self, events: i16) -> i16 {
        let mut fds = [libc::pollfd { fd: self.host.as_raw_fd(), events, revents: 0 }];
        if crate::hostio::poll(&mut fds, TICK) < 0 {
            std::thread::sleep(Duration::from_millis(10));
        }
        fds[0].revents
    }

    /// From the guest to the host socket.
    fn carry_out(&self) {
        let waiter = Waiter::new();
        let _registered = self.end.queue.register(&waiter);
        let mut buf = vec![0; PIECE];
        while !self.is_dead() {
            waiter.clear();
            match self.conn.recv(1, &mut buf, How { least: 1, ..How::default() }) {
                Ok(taken) if taken.len == 0 => {
                    let _ = rustix::net::shutdown(&self.host, rustix::net::Shutdown::Write);
                    return self.all_sent();
                }
                Ok(taken) => {
                    if !self.write(buf.get(..taken.len).unwrap_or_default()) {
                        return self.reset();
                    }
                }
                // Woken by the connection, at its end, too.
                Err(Errno::EAGAIN) => {
                    let _ = waiter.wait(None, &[]);
                }
                Err(_) => return self.reset(),
            }
        }
    }

    /// Writes all of `data`; whether it could.
    fn write(&self, mut data: &[u8]) -> bool {
        while !data.is_empty() {
            match rustix::io::write(&self.host, data) {
                Ok(n) => {
                    data = data.get(n..).unwrap_or_default();
                    self.carried.fetch_add(n as u64, Ordering::Relaxed);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    self.poll_host(libc::POLLOUT);
                }
                Err(_) => return false,
            }
            if self.is_dead() {
                return false;
            }
        }
        true
    }

    /// From the host socket to the guest. Stays as long as the other direction does: it sees what happens to the connection.
    fn carry_in(&self) {
        let waiter = Waiter::new();
        let _registered = self.end.queue.register(&waiter);
        let mut buf = vec![0; PIECE];
        let mut ended = false;
        // When the guest was seen to be gone, and what had been carried then.
        let mut gone: Option<(Instant, u64)> = None;
        while !self.is_dead() {
            if ended && self.is_all_sent() {
                return;
            }
            if self.conn.peer_closed(1) {
                let carried = self.carried.load(Ordering::Relaxed);
                match gone {
                    Some((since, then)) if then == carried => {
                        if since.elapsed() > FIN_TIMEOUT {
                            return self.reset();
                        }
                    }
                    _ => gone = Some((Instant::now(), carried)),
                }
            }
            let ready = self.poll_host(if ended { 0 } else { libc::POLLIN });
            if ready == 0 {
                continue;
            }
            if ended {
                // An error, or the end of both directions.
                if !self.is_all_sent() {
                    self.reset();
                }
                return;
            }
            match rustix::io::read(&self.host, &mut buf) {
                Ok(0) => {
                    ended = true;
                    let _ = self.conn.shutdown(1, false, true);
                }
                // Nobody is there to read it.
                Ok(_) if self.conn.peer_closed(1) => return self.reset(),
                Ok(n) => {
                    if !self.deliver(&waiter, buf.get(..n).unwrap_or_default()) {
                        return self.reset();
                    }
                }
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                Err(_) => return self.reset(),
            }
        }
    }

    /// Gives all of `data` to the guest; whether it could.
    fn deliver(&self, waiter: &Arc<Waiter>, mut data: &[u8]) -> bool {
        while !data.is_empty() {
            waiter.clear();
            match self.conn.send(1, data, None) {
                Ok(n) => data = data.get(n..).unwrap_or_default(),
                Err(Errno::EAGAIN) => {
                    let _ = waiter.wait(None, &[]);
                }
                Err(_) => return false,
            }
        }
        true
    }
}
