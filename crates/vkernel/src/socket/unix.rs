//! AF_UNIX (man 7 unix).

use super::addr::{Addr, Family};
use super::buffer::{Cred, Segment};
use super::{Outgoing, Role, Socket, State, UNIX_QUEUE};
use crate::errno::{Errno, Result};
use crate::file::POLLIN;
use crate::wait::lock;
use megalith_vfs::Location;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Socket {
    /// bind(2) to an abstract name, or with none to a free one.
    pub(super) fn bind_unix(self: &Arc<Socket>, addr: &Addr) -> Result<()> {
        let Addr::Unix(name) = addr else { return Err(Errno::EINVAL) };
        let mut st = lock(&self.state);
        if st.local.is_some() {
            // Binding automatically what has a name does nothing.
            return if name.is_empty() { Ok(()) } else { Err(Errno::EINVAL) };
        }
        let name = if name.is_empty() {
            self.net.bind_any_name(self)?
        } else {
            self.net.bind_name(self, name)?;
            Arc::clone(name)
        };
        st.local = Some(Addr::Unix(name));
        st.bound = true;
        Ok(())
    }

    /// bind(2) to the socket file at `location`, which was made for it.
    pub fn bind_path(self: &Arc<Socket>, path: &Arc<[u8]>, location: Location) -> Result<()> {
        let mut st = lock(&self.state);
        if st.local.is_some() {
            return Err(Errno::EINVAL);
        }
        let id = location.inode().id();
        self.net.bind_inode(self, id);
        st.local = Some(Addr::Unix(Arc::clone(path)));
        st.location = Some((location, id));
        st.bound = true;
        Ok(())
    }

    pub(super) fn connect_unix(
        self: &Arc<Socket>,
        addr: &Addr,
        target: Option<&Arc<Socket>>,
        cred: Cred,
        wait: bool,
    ) -> Result<()> {
        if self.wire().is_none() {
            return self.connect_unix_datagram(addr, target);
        }
        let Addr::Unix(name) = addr else { return Err(Errno::EINVAL) };
        if name.is_empty() {
            return Err(Errno::EINVAL);
        }
        let target = target.ok_or(Errno::ECONNREFUSED)?;
        let passcred = lock(&self.options).passcred;
        let named = lock(&self.state).local.is_some();
        if passcred && !named {
            self.bind_unix(&Addr::Unix([].into()))?;
        }
        let own = {
            let mut st = lock(&self.state);
            match st.role {
                Role::Idle => {}
                Role::Connected { .. } => return Err(Errno::EISCONN),
                _ => return Err(Errno::EINVAL),
            }
            st.cred = cred;
            st.local.clone().unwrap_or_else(|| Addr::Unix([].into()))
        };
        if target.kind != self.kind {
            return Err(Errno::EPROTOTYPE);
        }
        let shown = lock(&target.state).local.clone().unwrap_or_else(|| Addr::Unix([].into()));
        let conn = target.enqueue(self, own, shown.clone(), wait)?.ok_or(Errno::EAGAIN)?;
        let peer_cred = lock(&target.state).cred;
        let mut st = lock(&self.state);
        if !matches!(st.role, Role::Idle) {
            drop(st);
            self.net.discard(conn.close(0, true));
            return Err(Errno::EISCONN);
        }
        st.peer = Some(shown);
        st.peer_cred = peer_cred;
        st.role = Role::Connected { conn, side: 0, told: true };
        drop(st);
        self.end.queue.wake();
        Ok(())
    }

    fn connect_unix_datagram(self: &Arc<Socket>, addr: &Addr, target: Option<&Arc<Socket>>) -> Result<()> {
        if *addr == Addr::Unspec {
            let mut st = lock(&self.state);
            st.peer = None;
            st.target = None;
            return Ok(());
        }
        let Addr::Unix(name) = addr else { return Err(Errno::EINVAL) };
        if name.is_empty() {
            return Err(Errno::EINVAL);
        }
        let target = target.ok_or(Errno::ECONNREFUSED)?;
        if target.kind != self.kind {
            return Err(Errno::EPROTOTYPE);
        }
        target.accepts(self)?;
        let shown = lock(&target.state).local.clone().unwrap_or_else(|| addr.clone());
        let mut st = lock(&self.state);
        st.peer = Some(shown);
        st.target = Some(Arc::downgrade(target));
        drop(st);
        self.end.queue.wake();
        Ok(())
    }

    /// A socket that is connected to another takes datagrams of that one only.
    fn accepts(&self, from: &Arc<Socket>) -> Result<()> {
        match &lock(&self.state).target {
            Some(t) if !std::ptr::eq(t.as_ptr(), Arc::as_ptr(from)) => Err(Errno::EPERM),
            _ => Ok(()),
        }
    }

    /// Whether a datagram of `from` finds room here; with `note`, `from` is woken when there is again.
    pub(super) fn room_for(&self, from: &Arc<Socket>, note: bool) -> bool {
        let mut st = lock(&self.state);
        let sndbuf = from.end.sndbuf.load(Ordering::Relaxed);
        let room = has_room(&st, from, sndbuf, 0);
        if !room && note {
            block(&mut st, from);
        }
        room
    }

    pub(super) fn send_unix(self: &Arc<Socket>, data: &[u8], out: &mut Outgoing) -> Result<usize> {
        let sndbuf = self.end.sndbuf.load(Ordering::Relaxed);
        let (target, from, connected) = {
            let mut st = lock(&self.state);
            let connected = out.to.is_none();
            if st.shut_wr {
                return Err(Errno::EPIPE);
            }
            if let Some(e) = self.end.take_error() {
                return Err(e);
            }
            let target = match (&out.target, &st.target) {
                (Some(t), _) if !connected => Arc::clone(t),
                (_, Some(t)) if connected => match t.upgrade() {
                    Some(t) => t,
                    None => {
                        st.target = None;
                        st.peer = None;
                        return Err(Errno::ECONNREFUSED);
                    }
                },
                _ if connected => return Err(Errno::ENOTCONN),
                _ => return Err(Errno::ECONNREFUSED),
            };
            (target, st.local.clone(), connected)
        };
        if data.len() > sndbuf.saturating_sub(32) {
            return Err(Errno::EMSGSIZE);
        }
        if target.kind != self.kind {
            return Err(Errno::EPROTOTYPE);
        }
        target.accepts(self)?;
        let files = std::mem::take(&mut out.files);
        let mut segment = Some(Segment { from, cred: out.cred, files, ..Segment::new(data.to_vec()) });
        let r = self.push_flying(&mut segment, |segment| {
            let mut st = lock(&target.state);
            if matches!(st.role, Role::Closed) {
                return Err(Errno::ECONNREFUSED);
            }
            if st.shut_rd {
                return Err(Errno::EPIPE);
            }
            if !has_room(&st, self, sndbuf, data.len()) {
                block(&mut st, self);
                return Err(Errno::EAGAIN);
            }
            if let Some(s) = segment.take() {
                st.rx.push(s);
            }
            Ok(())
        });
        if let Some(s) = segment {
            out.files = s.files;
        }
        match r {
            Ok(()) => {
                target.end.queue.wake_for(POLLIN);
                Ok(data.len())
            }
            Err(e) => {
                if e == Errno::ECONNREFUSED && connected {
                    let mut st = lock(&self.state);
                    st.target = None;
                    st.peer = None;
                }
                Err(e)
            }
        }
    }

    /// The peer's name, for recvfrom(2) on a connection: none when it has none.
    pub(super) fn unix_peer_name(&self) -> Option<Addr> {
        match &lock(&self.state).peer {
            Some(a @ Addr::Unix(n)) if self.family == Family::Unix && !n.is_empty() => Some(a.clone()),
            _ => None,
        }
    }
}

/// Whether `len` bytes of `from` fit: as many datagrams as the system allows strangers, as many bytes as the sender's buffer allows.
fn has_room(st: &State, from: &Arc<Socket>, sndbuf: usize, len: usize) -> bool {
    let mutual = st.target.as_ref().is_some_and(|t| std::ptr::eq(t.as_ptr(), Arc::as_ptr(from)));
    (mutual || st.rx.len() <= UNIX_QUEUE) && (st.rx.is_empty() || st.rx.cost() + len <= sndbuf)
}

/// Has `from` woken when something is taken out.
fn block(st: &mut State, from: &Arc<Socket>) {
    if !st.blocked.iter().any(|w| std::ptr::eq(w.as_ptr(), Arc::as_ptr(from))) {
        st.blocked.retain(|w| w.strong_count() > 0);
        st.blocked.push(Arc::downgrade(from));
    }
}
