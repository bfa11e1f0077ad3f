//! Connections that lead out of the container, to what was granted: TCP only.
//!
//! To the guest such a connection is like any other ([`Conn`]); its other side is held by two host threads, which carry bytes between it and a host
//! socket. That socket comes from a [`Gateway`]: nothing here opens one.

use super::addr::Endpoint;
use super::conn::{Conn, End, How, Wire};
use super::{Role, Socket, TCP_RCVBUF, TCP_SNDBUF};
use crate::errno::{Errno, Result};
use crate::wait::{Waiter, lock};
use rustix::net::Shutdown;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What lies outside of a container, as far as it was granted.
pub trait Gateway: Send + Sync {
    /// Whether connections to `to` are granted.
    fn grants(&self, to: SocketAddr) -> bool;
    /// Connects, which may take as long as the network likes; a blocking socket.
    ///
    /// # Errors
    /// That of connect(2).
    fn connect(&self, to: SocketAddr) -> Result<OwnedFd>;
}

/// The own addresses of connections that lead out (any that nobody else has: nothing is ever sent from them).
const OWN: (IpAddr, IpAddr) =
    (IpAddr::V4(Ipv4Addr::new(10, 0, 2, 15)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 2, 15)));
/// Connections that lead out at a time: two threads each.
const MAX_OPEN: usize = 512;
/// How much one thread carries at a time.
const PIECE: usize = 64 << 10;
/// How often a connection whose guest has gone looks whether the other side ends it, too, in milliseconds; at the second time it is given up, as TCP gives up
/// (`net.ipv4.tcp_fin_timeout`).
const FIN_TIMEOUT: i32 = 60_000;

/// A container's way out.
#[derive(Default)]
pub struct Outside {
    gateway: Option<Arc<dyn Gateway>>,
    open: Arc<AtomicUsize>,
}

/// Counts a connection as long as it lives.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Outside {
    pub fn new(gateway: Option<Arc<dyn Gateway>>) -> Outside {
        Outside { gateway, open: Arc::default() }
    }

    /// The own address for a connection to `to`, if that is granted.
    pub(super) fn source_for(&self, to: Endpoint) -> Option<IpAddr> {
        let granted = self.gateway.as_ref()?.grants(SocketAddr::new(to.ip, to.port));
        granted.then_some(if to.ip.is_ipv4() { OWN.0 } else { OWN.1 })
    }

    /// Begins to connect a socket that is [`Role::Connecting`].
    pub(super) fn connect(&self, socket: &Arc<Socket>, to: Endpoint) -> Result<()> {
        let gateway = Arc::clone(self.gateway.as_ref().ok_or(Errno::ENETUNREACH)?);
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let open = Open(Arc::clone(&self.open));
        if before >= MAX_OPEN {
            return Err(Errno::EAGAIN);
        }
        let socket = Arc::downgrade(socket);
        spawn(move || {
            let host = gateway.connect(SocketAddr::new(to.ip, to.port));
            let Some(socket) = socket.upgrade() else { return };
            match host {
                Ok(host) => {
                    let end = End::new(TCP_SNDBUF, TCP_RCVBUF);
                    let conn = socket.connected_outside(to, &end);
                    drop(socket);
                    if let Some(conn) = conn {
                        Bridge { conn, end, host, _open: open }.run();
                    }
                }
                Err(e) => socket.connection_failed(e),
            }
        })
    }
}

/// A thread that ends by itself; the container does not wait for it.
fn spawn(f: impl FnOnce() + Send + 'static) -> Result<()> {
    let builder = std::thread::Builder::new().name("outside".into()).stack_size(256 << 10);
    builder.spawn(f).map(drop).map_err(|_| Errno::EAGAIN)
}

impl Socket {
    /// The connection attempt has succeeded, if it is still wanted; gives the connection, whose side 1 ends in `end`.
    fn connected_outside(&self, to: Endpoint, end: &Arc<End>) -> Option<Arc<Conn>> {
        let mut st = lock(&self.state);
        if !matches!(st.role, Role::Connecting(_)) {
            return None;
        }
        let conn = Conn::new(Wire::Tcp, &self.end, end, &self.net.budget);
        st.peer = Some(super::Addr::Inet(to));
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
}

impl Bridge {
    fn run(self) {
        let bridge = Arc::new(self);
        let out = Arc::clone(&bridge);
        if spawn(move || out.carry_out()).is_err() {
            bridge.reset();
            return;
        }
        bridge.carry_in();
        // Whoever of the two ends last closes the host socket.
    }

    /// Nothing more goes either way.
    fn reset(&self) {
        drop(self.conn.close(1, true));
        let _ = rustix::net::shutdown(&self.host, Shutdown::Both);
    }

    /// From the guest to the host socket.
    fn carry_out(&self) {
        let waiter = Waiter::new();
        let _registered = self.end.queue.register(&waiter);
        let mut buf = vec![0; PIECE];
        loop {
            waiter.clear();
            match self.conn.recv(1, &mut buf, How { least: 1, ..How::default() }) {
                Ok(taken) if taken.len == 0 => {
                    let _ = rustix::net::shutdown(&self.host, Shutdown::Write);
                    return;
                }
                Ok(taken) => {
                    let mut data = buf.get(..taken.len).unwrap_or_default();
                    while !data.is_empty() {
                        match rustix::io::write(&self.host, data) {
                            Ok(n) => data = data.get(n..).unwrap_or_default(),
                            Err(rustix::io::Errno::INTR) => {}
                            Err(_) => return self.reset(),
                        }
                    }
                }
                Err(Errno::EAGAIN) => {
                    let _ = waiter.wait(None, &[]);
                }
                Err(_) => return self.reset(),
            }
        }
    }

    /// From the host socket to the guest.
    fn carry_in(&self) {
        let waiter = Waiter::new();
        let _registered = self.end.queue.register(&waiter);
        let mut buf = vec![0; PIECE];
        let mut gone = false;
        loop {
            let mut fds = [libc::pollfd { fd: self.host.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
            if crate::hostio::poll(&mut fds, FIN_TIMEOUT) <= 0 {
                if self.conn.peer_closed(1) && std::mem::replace(&mut gone, true) {
                    return self.reset();
                }
                continue;
            }
            let n = match rustix::io::read(&self.host, &mut buf) {
                Ok(0) => {
                    // Side 1 sends no more; what it still receives goes out.
                    let _ = self.conn.shutdown(1, false, true);
                    return;
                }
                Ok(n) => n,
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return self.reset(),
            };
            let mut data = buf.get(..n).unwrap_or_default();
            while !data.is_empty() {
                waiter.clear();
                match self.conn.send(1, data, None) {
                    Ok(n) => data = data.get(n..).unwrap_or_default(),
                    Err(Errno::EAGAIN) => {
                        let _ = waiter.wait(None, &[]);
                    }
                    Err(_) => return self.reset(),
                }
            }
        }
    }
}
