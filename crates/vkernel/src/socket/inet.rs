//! AF_INET and AF_INET6 (man 7 ip, ipv6, tcp, udp).

use super::addr::{Addr, Endpoint, Family, destination, source_for};
use super::buffer::{Cred, IpHeader, OVERHEAD, Segment};
use super::net::Transport;
use super::{Kind, Outgoing, Role, Socket, State, UDP_MAX};
use crate::errno::{Errno, Result};
use crate::file::POLLIN;
use crate::wait::lock;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Socket {
    /// The endpoint that `addr` gives a socket of this family.
    fn endpoint(&self, addr: &Addr) -> Result<Endpoint> {
        match addr {
            Addr::Inet(e) if e.ip.is_ipv4() || self.family != Family::Inet => Ok(*e),
            _ => Err(Errno::EAFNOSUPPORT),
        }
    }
    fn v6only(&self) -> bool {
        self.end.v6only.load(Ordering::Relaxed)
    }

    pub(super) fn bind_inet(self: &Arc<Socket>, addr: &Addr, cred: Cred, root: bool) -> Result<()> {
        let at = match addr {
            // For compatibility: no family, any address.
            Addr::Unspec if self.family == Family::Inet => Endpoint { ip: self.any(), port: 0 },
            a => self.endpoint(a)?,
        };
        if self.family == Family::Inet6 && self.v6only() && at.ip.is_ipv4() {
            return Err(Errno::EINVAL);
        }
        let group = self.kind == Kind::Datagram && at.ip.is_multicast();
        if !at.ip.is_unspecified() && !self.net.outside.is_local(at.ip) && !group {
            return Err(Errno::EADDRNOTAVAIL);
        }
        if (1..1024).contains(&at.port) && !root {
            return Err(Errno::EACCES);
        }
        let mut st = lock(&self.state);
        if st.bound || !matches!(st.role, Role::Idle | Role::Refused) {
            return Err(Errno::EINVAL);
        }
        let port = self.net.bind(self.transport(), self, at, cred.uid)?;
        st.local = Some(Addr::Inet(Endpoint { port, ..at }));
        st.bound = true;
        Ok(())
    }

    /// Gives an unbound socket a port.
    pub(super) fn ensure_port(self: &Arc<Socket>, st: &mut State, uid: u32) -> Result<()> {
        if !st.bound {
            let at = Endpoint { ip: self.any(), port: 0 };
            let port = self.net.bind(self.transport(), self, at, uid).map_err(|_| Errno::EAGAIN)?;
            st.local = Some(Addr::Inet(Endpoint { port, ..at }));
            st.bound = true;
        }
        Ok(())
    }

    /// Checks that `to` is inside of the container and reached from the own address; gives the own endpoint towards it.
    fn route(&self, st: &State, to: Endpoint) -> Result<Endpoint> {
        let own = match st.local {
            Some(Addr::Inet(e)) => e,
            _ => Endpoint { ip: self.any(), port: 0 },
        };
        if !self.net.outside.is_local(to.ip)
            || self.family == Family::Inet && to.ip.is_ipv6()
            || to.ip.is_ipv4() && self.v6only()
        {
            return Err(Errno::ENETUNREACH);
        }
        if own.ip.is_unspecified() {
            return Ok(Endpoint { ip: source_for(to.ip), port: own.port });
        }
        match (own.ip, to.ip) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => Ok(own),
            _ => Err(Errno::ENETUNREACH),
        }
    }

    /// The same for TCP, which reaches what was granted outside of it, too.
    fn route_tcp(&self, st: &State, to: Endpoint) -> Result<Endpoint> {
        let fits = to.ip.is_ipv4() && !self.v6only() || to.ip.is_ipv6() && self.family == Family::Inet6;
        let Some(source) = self.net.outside.source_for(to).filter(|_| fits) else {
            return self.route(st, to);
        };
        match st.local {
            Some(Addr::Inet(own)) if own.ip.is_unspecified() || own.ip == source => {
                Ok(Endpoint { ip: source, port: own.port })
            }
            Some(Addr::Inet(_)) => Err(Errno::ENETUNREACH),
            _ => Ok(Endpoint { ip: source, port: 0 }),
        }
    }

    // ---- TCP ----

    /// One attempt: `EAGAIN` when the listener's queue is full, and the socket waits for room.
    pub(super) fn connect_tcp(self: &Arc<Socket>, addr: &Addr, cred: Cred) -> Result<()> {
        let (to, own, attempt) = {
            let mut st = lock(&self.state);
            match &mut st.role {
                Role::Connected { told, .. } => {
                    if *addr == Addr::Unspec {
                        return self.disconnect_tcp(st);
                    }
                    return if std::mem::replace(told, true) { Err(Errno::EISCONN) } else { Ok(()) };
                }
                Role::Connecting(_) if *addr == Addr::Unspec => {
                    st.role = Role::Idle;
                    self.forget_picked(&mut st);
                    return Ok(());
                }
                Role::Connecting(_) => return Err(Errno::EAGAIN),
                Role::Refused => {
                    st.role = Role::Idle;
                    return Err(self.end.take_error().unwrap_or(Errno::ECONNABORTED));
                }
                Role::Listening(_) => return Err(Errno::EISCONN),
                Role::Closed => return Err(Errno::EBADF),
                Role::Idle => {}
            }
            if *addr == Addr::Unspec {
                return Ok(());
            }
            let to = self.endpoint(addr)?;
            if to.ip.is_multicast() {
                return Err(Errno::ENETUNREACH);
            }
            let to = Endpoint { ip: destination(to.ip), ..to };
            self.route_tcp(&st, to)?;
            self.ensure_port(&mut st, cred.uid)?;
            let own = self.route_tcp(&st, to)?;
            st.picked_ip = matches!(st.local, Some(Addr::Inet(e)) if e.ip.is_unspecified());
            st.local = Some(Addr::Inet(own));
            st.cred = cred;
            st.shut_rd = false;
            st.shut_wr = false;
            st.role = Role::Connecting(to);
            st.attempt += 1;
            (to, own, st.attempt)
        };
        if !self.net.outside.is_local(to.ip) {
            return match self.net.outside.connect(self, to, attempt) {
                Ok(()) => Err(Errno::EAGAIN),
                Err(e) => {
                    self.connection_failed(e, None);
                    Err(e)
                }
            };
        }
        match self.net.find(Transport::Tcp, to, own) {
            Some(listener) => self.knock(&listener, own, to),
            None => Err(self.refused_now()),
        }
    }

    /// Tries a listener, while the role is [`Role::Connecting`].
    fn knock(self: &Arc<Socket>, listener: &Socket, own: Endpoint, to: Endpoint) -> Result<()> {
        match listener.enqueue(self, Addr::Inet(own), Addr::Inet(to), true) {
            Ok(Some(conn)) => {
                let mut st = lock(&self.state);
                if !matches!(st.role, Role::Connecting(_)) {
                    // Given up meanwhile.
                    drop(st);
                    self.net.discard(conn.close(0, true));
                    return Err(Errno::ECONNABORTED);
                }
                st.peer = Some(Addr::Inet(to));
                st.role = Role::Connected { conn, side: 0, told: false };
                drop(st);
                self.end.queue.wake();
                Ok(())
            }
            Ok(None) => Err(Errno::EAGAIN),
            Err(_) => Err(self.refused_now()),
        }
    }

    /// The listener has room now.
    pub(super) fn connect_waiting(self: &Arc<Socket>, listener: &Socket) {
        let ends = {
            let st = lock(&self.state);
            match (&st.role, &st.local) {
                (Role::Connecting(to), Some(Addr::Inet(own))) => Some((*own, *to)),
                _ => None,
            }
        };
        if let Some((own, to)) = ends {
            // What goes wrong is told by the role.
            let _ = self.knock(listener, own, to);
        }
    }

    /// The connection attempt has failed. Returns what connect(2) is to say.
    fn refused_now(&self) -> Errno {
        self.connection_refused();
        Errno::ECONNREFUSED
    }
    pub(super) fn connection_refused(&self) {
        self.connection_failed(Errno::ECONNREFUSED, None);
    }
    /// `attempt`: only if it is still that one.
    pub(super) fn connection_failed(&self, why: Errno, attempt: Option<u64>) {
        let mut st = lock(&self.state);
        if matches!(st.role, Role::Connecting(_)) && attempt.is_none_or(|attempt| attempt == st.attempt) {
            st.role = Role::Refused;
            st.shut_rd = true;
            st.shut_wr = true;
            self.forget_picked(&mut st);
            self.end.set_error(why);
        }
        drop(st);
        self.end.queue.wake();
    }
    /// connect(2) tells of the failure itself: what was left for later is taken back.
    pub fn take_refusal(&self) {
        let mut st = lock(&self.state);
        if matches!(st.role, Role::Refused) {
            st.role = Role::Idle;
            let _ = self.end.take_error();
        }
    }
    /// connect(2) tells of success.
    pub fn take_success(&self) {
        if let Role::Connected { told, .. } = &mut lock(&self.state).role {
            *told = true;
        }
    }
    pub(super) fn forget_picked(&self, st: &mut State) {
        if std::mem::take(&mut st.picked_ip)
            && let Some(Addr::Inet(e)) = &mut st.local
        {
            e.ip = self.any();
        }
    }

    /// connect(2) with AF_UNSPEC.
    fn disconnect_tcp(&self, mut st: std::sync::MutexGuard<'_, State>) -> Result<()> {
        let Role::Connected { conn, side, .. } = std::mem::replace(&mut st.role, Role::Idle) else { return Ok(()) };
        st.peer = None;
        self.forget_picked(&mut st);
        drop(st);
        self.net.discard(conn.close(side, true));
        Ok(())
    }

    // ---- UDP ----

    pub(super) fn connect_udp(self: &Arc<Socket>, addr: &Addr, cred: Cred) -> Result<()> {
        let mut st = lock(&self.state);
        if *addr == Addr::Unspec {
            st.peer = None;
            self.forget_picked(&mut st);
            if let Some(Addr::Inet(e)) = st.local {
                self.net.rebind(self.transport(), self, e.port, e.ip, None);
            }
            return Ok(());
        }
        let to = self.endpoint(addr)?;
        let to = Endpoint { ip: destination(to.ip), ..to };
        if st.picked_ip {
            self.forget_picked(&mut st);
        }
        self.route(&st, to)?;
        self.ensure_port(&mut st, cred.uid)?;
        let own = self.route(&st, to)?;
        st.picked_ip = matches!(st.local, Some(Addr::Inet(e)) if e.ip.is_unspecified());
        st.local = Some(Addr::Inet(own));
        st.peer = Some(Addr::Inet(to));
        self.net.rebind(self.transport(), self, own.port, own.ip, Some(to));
        Ok(())
    }

    pub(super) fn send_udp(self: &Arc<Socket>, data: &[u8], out: &Outgoing, uid: u32) -> Result<usize> {
        if data.len() > UDP_MAX {
            return Err(Errno::EMSGSIZE);
        }
        let options = lock(&self.options).clone();
        let (own, to, connected) = {
            let mut st = lock(&self.state);
            let (to, connected) = match (&out.to, &st.peer) {
                (Some(a), _) => (self.endpoint(a)?, false),
                (None, Some(Addr::Inet(p))) => (*p, true),
                _ => return Err(Errno::EDESTADDRREQ),
            };
            if to.port == 0 {
                return Err(Errno::EINVAL);
            }
            if st.shut_wr {
                return Err(Errno::EPIPE);
            }
            if let Some(e) = self.end.take_error() {
                return Err(e);
            }
            let to = Endpoint { ip: destination(to.ip), ..to };
            if let IpAddr::V4(ip) = to.ip
                && ip.is_loopback()
                && ip.octets() == [127, 255, 255, 255]
                && !options.broadcast
            {
                return Err(Errno::EACCES);
            }
            self.route(&st, to)?;
            self.ensure_port(&mut st, uid)?;
            (self.route(&st, to)?, to, connected)
        };
        let number = |level, name| u8::try_from(options.number(level, name)).unwrap_or(0);
        let (hops, class) = match to.ip {
            IpAddr::V4(_) => (number(libc::SOL_IP, libc::IP_TTL), number(libc::SOL_IP, libc::IP_TOS)),
            IpAddr::V6(_) => {
                (number(libc::SOL_IPV6, libc::IPV6_UNICAST_HOPS), number(libc::SOL_IPV6, libc::IPV6_TCLASS))
            }
        };
        let header = IpHeader { hops: out.hops.unwrap_or(hops), class: out.class.unwrap_or(class) };
        match self.net.find(self.transport(), to, own) {
            Some(s) => s.deliver_udp(data, own, to, header),
            // As an ICMP message would.
            None if connected => {
                self.end.set_error(Errno::ECONNREFUSED);
                self.end.queue.wake();
            }
            None => {}
        }
        Ok(data.len())
    }

    /// A datagram arrives; it is lost when there is no room.
    fn deliver_udp(&self, data: &[u8], from: Endpoint, to: Endpoint, header: IpHeader) {
        let mut st = lock(&self.state);
        if matches!(st.role, Role::Closed)
            || st.rx.cost() + data.len() + OVERHEAD > self.end.rcvbuf.load(Ordering::Relaxed)
        {
            return;
        }
        st.rx.push(Segment { from: Some(Addr::Inet(from)), to: Some(to.ip), header, ..Segment::new(data.to_vec()) });
        drop(st);
        self.end.queue.wake_for(POLLIN);
    }
}
