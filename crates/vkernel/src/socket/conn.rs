//! Connections: two ends, each with what waits to be received there. TCP, and stream and sequenced packet sockets of AF_UNIX.
//!
//! Both ends share one lock. Nothing is dropped under it: calls hand back used-up segments, whose files may be sockets.

use super::buffer::{Buffer, Cred, Segment};
use crate::errno::{Errno, Result};
use crate::file::{POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP, POLLRDNORM, POLLWRBAND, POLLWRNORM};
use crate::wait::{WaitQueue, lock};
use megalith_vfs::Budget;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What a TCP end adds to the connection's capacity unless SO_SNDBUF or SO_RCVBUF say otherwise.
const TCP_BUFFER: usize = 256 << 10;

/// What others may need of a socket without its lock.
pub struct End {
    /// Woken at every change.
    pub queue: WaitQueue,
    /// `SO_ERROR`; 0 for none.
    pub error: AtomicI32,
    pub sndbuf: AtomicUsize,
    pub rcvbuf: AtomicUsize,
    /// SO_SNDBUF or SO_RCVBUF was set.
    pub sndbuf_set: AtomicBool,
    pub rcvbuf_set: AtomicBool,
    /// SO_RCVLOWAT.
    pub lowat: AtomicUsize,
    pub reuse_addr: AtomicBool,
    pub reuse_port: AtomicBool,
    pub v6only: AtomicBool,
    pub listening: AtomicBool,
}

impl End {
    /// An end with the system's buffer sizes.
    pub fn new(sndbuf: usize, rcvbuf: usize) -> Arc<End> {
        Arc::new(End {
            queue: WaitQueue::default(),
            error: AtomicI32::new(0),
            sndbuf: AtomicUsize::new(sndbuf),
            rcvbuf: AtomicUsize::new(rcvbuf),
            sndbuf_set: AtomicBool::new(false),
            rcvbuf_set: AtomicBool::new(false),
            lowat: AtomicUsize::new(1),
            reuse_addr: AtomicBool::new(false),
            reuse_port: AtomicBool::new(false),
            v6only: AtomicBool::new(false),
            listening: AtomicBool::new(false),
        })
    }
    /// The same settings for a socket that a listener makes.
    pub fn inherit(&self) -> Arc<End> {
        let copy = |b: &AtomicBool| AtomicBool::new(b.load(Ordering::Relaxed));
        let size = |n: &AtomicUsize| AtomicUsize::new(n.load(Ordering::Relaxed));
        Arc::new(End {
            queue: WaitQueue::default(),
            error: AtomicI32::new(0),
            sndbuf: size(&self.sndbuf),
            rcvbuf: size(&self.rcvbuf),
            sndbuf_set: copy(&self.sndbuf_set),
            rcvbuf_set: copy(&self.rcvbuf_set),
            lowat: size(&self.lowat),
            reuse_addr: copy(&self.reuse_addr),
            reuse_port: copy(&self.reuse_port),
            v6only: copy(&self.v6only),
            listening: AtomicBool::new(false),
        })
    }
    /// Leaves an error for the next call.
    pub fn set_error(&self, e: Errno) {
        self.error.store(e.raw(), Ordering::Release);
    }
    /// Takes the error that waits.
    pub fn take_error(&self) -> Option<Errno> {
        match self.error.swap(0, Ordering::AcqRel) {
            0 => None,
            e => Some(Errno::from_raw(e)),
        }
    }
    /// Whether an error waits.
    pub fn has_error(&self) -> bool {
        self.error.load(Ordering::Acquire) != 0
    }
}

/// How bytes travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wire {
    Tcp,
    UnixStream,
    /// SOCK_SEQPACKET: a stream of records.
    UnixRecords,
}

struct Half {
    rx: Buffer,
    /// Nothing more will be received (`RCV_SHUTDOWN`).
    rcv_shut: bool,
    /// Nothing more may be sent (`SEND_SHUTDOWN`).
    snd_shut: bool,
    /// The other side has said that it sends no more.
    fin: bool,
    /// The connection was reset.
    reset: bool,
    /// The socket of this side has been closed.
    closed: bool,
    /// This side wants to be told about room.
    no_space: bool,
}

/// A connection. Calls name the side that acts: 0 or 1.
pub struct Conn {
    halves: Mutex<[Half; 2]>,
    ends: [Arc<End>; 2],
    pub wire: Wire,
}

/// What a call took out of a connection.
#[derive(Default)]
pub struct Taken {
    pub len: usize,
    /// Length of the whole record, when it was longer than the room for it.
    pub full: usize,
    pub cred: Option<Cred>,
    pub files: Vec<Arc<crate::file::OpenFile>>,
    /// To be dropped where no lock is held.
    pub garbage: Vec<Segment>,
}

/// How to receive.
#[derive(Clone, Copy, Default, Debug)]
pub struct How {
    pub peek: bool,
    /// Only of one sender (SO_PASSCRED).
    pub creds: bool,
    /// Files may be taken: the caller holds the lock of what is in flight.
    pub files: bool,
    /// Bytes to be there at least, unless no more will come.
    pub least: usize,
}

fn own_peer(h: &mut [Half; 2], side: usize) -> (&mut Half, &mut Half) {
    let [a, b] = h;
    if side == 0 { (a, b) } else { (b, a) }
}

impl Conn {
    /// A connection between two ends.
    pub fn new(wire: Wire, a: &Arc<End>, b: &Arc<End>, budget: &Arc<Budget>) -> Arc<Conn> {
        let half = || Half {
            rx: Buffer::new(budget),
            rcv_shut: false,
            snd_shut: false,
            fin: false,
            reset: false,
            closed: false,
            no_space: false,
        };
        Arc::new(Conn { halves: Mutex::new([half(), half()]), ends: [Arc::clone(a), Arc::clone(b)], wire })
    }

    fn end(&self, side: usize) -> &End {
        let [a, b] = &self.ends;
        if side == 0 { a } else { b }
    }
    fn wake(&self, side: usize, events: u32) {
        self.end(side).queue.wake_for(events);
    }

    /// How much the other side's buffer takes of what `side` sends.
    fn limit(&self, side: usize) -> usize {
        let (own, peer) = (self.end(side), self.end(1 - side));
        if self.wire != Wire::Tcp {
            return own.sndbuf.load(Ordering::Relaxed);
        }
        let of = |set: &AtomicBool, n: &AtomicUsize| {
            if set.load(Ordering::Relaxed) { n.load(Ordering::Relaxed) } else { TCP_BUFFER }
        };
        of(&own.sndbuf_set, &own.sndbuf) + of(&peer.rcvbuf_set, &peer.rcvbuf)
    }
    /// Whether poll(2) is to say that there is room.
    fn roomy(&self, side: usize, peer: &Half) -> bool {
        let limit = self.limit(side);
        match self.wire {
            Wire::Tcp => peer.rx.cost() <= limit / 3 * 2,
            _ => peer.rx.cost() <= limit / 4,
        }
    }

    /// What keeps `side` from sending.
    fn check_send(&self, side: usize, own: &Half, peer: &Half) -> Result<()> {
        let end = self.end(side);
        if self.wire == Wire::Tcp {
            if end.has_error() || own.snd_shut {
                return Err(end.take_error().unwrap_or(Errno::EPIPE));
            }
            return Ok(());
        }
        if own.snd_shut && self.wire == Wire::UnixStream {
            return Err(Errno::EPIPE);
        }
        if let Some(e) = end.take_error() {
            return Err(e);
        }
        if own.snd_shut || peer.closed || peer.rcv_shut { Err(Errno::EPIPE) } else { Ok(()) }
    }

    /// Sends what there is room for.
    pub fn send(&self, side: usize, data: &[u8], cred: Option<Cred>) -> Result<usize> {
        let mut h = lock(&self.halves);
        let (own, peer) = own_peer(&mut h, side);
        self.check_send(side, own, peer)?;
        if data.is_empty() {
            return Ok(0);
        }
        if self.wire == Wire::Tcp && peer.closed {
            // Nobody there any more: the answer is a reset.
            own.reset = true;
            own.rcv_shut = true;
            own.snd_shut = true;
            self.end(side).set_error(Errno::EPIPE);
            let taken = data.len().min(self.limit(side));
            drop(h);
            self.end(side).queue.wake();
            return Ok(taken);
        }
        let room = self.limit(side).saturating_sub(peer.rx.cost());
        if room == 0 {
            own.no_space = true;
            return Err(Errno::EAGAIN);
        }
        let n = room.min(data.len());
        own.no_space = n < data.len();
        peer.rx.push_stream(data.get(..n).unwrap_or_default(), cred);
        drop(h);
        self.wake(1 - side, POLLIN);
        Ok(n)
    }

    /// Sends a record, or a piece of a stream with files, as a whole; takes it out of `segment` when it was sent.
    pub fn send_segment(&self, side: usize, segment: &mut Option<Segment>) -> Result<usize> {
        let mut h = lock(&self.halves);
        let (own, peer) = own_peer(&mut h, side);
        self.check_send(side, own, peer)?;
        let len = segment.as_ref().map_or(0, |s| s.rest().len());
        let limit = self.limit(side);
        if self.wire == Wire::UnixRecords && len > limit.saturating_sub(32) {
            return Err(Errno::EMSGSIZE);
        }
        // A first one always fits, whatever its overhead.
        if peer.rx.cost() > 0 && peer.rx.cost() + len > limit {
            own.no_space = true;
            return Err(Errno::EAGAIN);
        }
        let Some(s) = segment.take() else { return Ok(0) };
        peer.rx.push(s);
        drop(h);
        self.wake(1 - side, POLLIN);
        Ok(len)
    }

    /// Receives into `out`. `Ok` with length 0 is the end. `EBUSY`: there are files, come back with [`How::files`].
    pub fn recv(&self, side: usize, out: &mut [u8], how: How) -> Result<Taken> {
        let mut h = lock(&self.halves);
        let (own, peer) = own_peer(&mut h, side);
        let end = self.end(side);
        let records = self.wire == Wire::UnixRecords;
        if records && let Some(e) = end.take_error() {
            return Err(e);
        }
        if own.rx.is_empty() || !records && own.rx.bytes() < how.least && !own.rcv_shut && !end.has_error() {
            if own.fin && self.wire == Wire::Tcp {
                return Ok(Taken::default());
            }
            if let Some(e) = end.take_error() {
                return Err(e);
            }
            return if own.rcv_shut { Ok(Taken::default()) } else { Err(Errno::EAGAIN) };
        }
        let mut t = Taken { cred: own.rx.first().and_then(|s| s.cred), ..Taken::default() };
        let run = if records { 1 } else { own.rx.run(how.creds) };
        t.len = own.rx.peek(0, out, run);
        let mut with_files = None;
        if let Some((i, files)) = own.rx.files_within(t.len, run) {
            if !how.files {
                return Err(Errno::EBUSY);
            }
            if how.peek {
                t.files = files.to_vec();
            }
            with_files = Some(i);
        }
        t.full = if records { own.rx.first().map_or(0, |s| s.rest().len()) } else { t.len };
        if how.peek {
            return Ok(t);
        }
        if let Some(i) = with_files {
            t.files = own.rx.take_files(i);
        }
        if records {
            t.garbage.extend(own.rx.pop());
        } else {
            t.garbage = own.rx.consume(t.len);
        }
        let told = peer.no_space && self.roomy(1 - side, own);
        if told {
            peer.no_space = false;
        }
        drop(h);
        if told {
            self.wake(1 - side, POLLOUT);
        }
        Ok(t)
    }

    /// Readiness of `side`.
    pub fn poll(&self, side: usize) -> u32 {
        let mut h = lock(&self.halves);
        let (own, peer) = own_peer(&mut h, side);
        let end = self.end(side);
        let mut p = if end.has_error() { POLLERR } else { 0 };
        if own.rcv_shut && own.snd_shut {
            p |= POLLHUP;
        }
        if own.rcv_shut {
            p |= POLLIN | POLLRDNORM | POLLRDHUP;
        }
        let least = if self.wire == Wire::Tcp { end.lowat.load(Ordering::Relaxed) } else { 0 };
        if !own.rx.is_empty() && own.rx.bytes() >= least {
            p |= POLLIN | POLLRDNORM;
        }
        if own.snd_shut && self.wire == Wire::Tcp {
            p |= POLLOUT | POLLWRNORM;
        } else if peer.closed || self.roomy(side, peer) {
            p |= POLLOUT | POLLWRNORM;
            if self.wire != Wire::Tcp {
                p |= POLLWRBAND;
            }
        } else {
            own.no_space = true;
        }
        p
    }

    /// Whether the connection is over for `side` (`TCP_CLOSE`).
    pub fn over(&self, side: usize) -> bool {
        let mut h = lock(&self.halves);
        let (own, _) = own_peer(&mut h, side);
        self.wire == Wire::Tcp && (own.reset || own.snd_shut && own.fin)
    }

    /// State as the kernel numbers those of TCP (`include/net/tcp_states.h`).
    pub fn tcp_state(&self, side: usize) -> u8 {
        let mut h = lock(&self.halves);
        let (own, _) = own_peer(&mut h, side);
        match (own.snd_shut, own.fin) {
            _ if own.reset => 7,
            (false, false) => 1,
            (true, false) => 5,
            (false, true) => 8,
            (true, true) => 7,
        }
    }

    /// shutdown(2): whether receiving, sending ends.
    pub fn shutdown(&self, side: usize, receive: bool, send: bool) -> Result<()> {
        if self.over(side) {
            return Err(Errno::ENOTCONN);
        }
        let mut h = lock(&self.halves);
        let (own, peer) = own_peer(&mut h, side);
        own.rcv_shut |= receive;
        own.snd_shut |= send;
        if send {
            peer.rcv_shut = true;
            peer.fin = true;
        }
        if receive && self.wire != Wire::Tcp {
            peer.snd_shut = true;
        }
        drop(h);
        self.end(0).queue.wake();
        self.end(1).queue.wake();
        Ok(())
    }

    /// The socket of `side` goes. `abort`: SO_LINGER with time 0, or a connection that nobody accepted. Returns what is to be dropped.
    pub fn close(&self, side: usize, abort: bool) -> Vec<Segment> {
        let mut h = lock(&self.halves);
        let (own, peer) = own_peer(&mut h, side);
        own.closed = true;
        let garbage = own.rx.drain();
        let unread = abort || !garbage.is_empty();
        let end = self.end(1 - side);
        if !peer.closed && !peer.reset {
            if self.wire == Wire::Tcp {
                if unread {
                    end.set_error(if peer.fin { Errno::EPIPE } else { Errno::ECONNRESET });
                    peer.reset = true;
                    peer.snd_shut = true;
                } else {
                    peer.fin = true;
                }
                peer.rcv_shut = true;
            } else {
                if unread {
                    end.set_error(Errno::ECONNRESET);
                }
                peer.rcv_shut = true;
                peer.snd_shut = true;
            }
        }
        drop(h);
        end.queue.wake();
        self.end(side).queue.wake();
        garbage
    }

    /// Bytes that `side` can receive.
    pub fn readable(&self, side: usize) -> usize {
        let mut h = lock(&self.halves);
        let (own, _) = own_peer(&mut h, side);
        if self.wire == Wire::UnixRecords { own.rx.first().map_or(0, |s| s.rest().len()) } else { own.rx.bytes() }
    }
    /// Bytes that `side` has sent and nobody has received; of TCP, those that the other side has not acknowledged, which it does at once.
    pub fn unsent(&self, side: usize) -> usize {
        if self.wire == Wire::Tcp {
            return 0;
        }
        let mut h = lock(&self.halves);
        let (_, peer) = own_peer(&mut h, side);
        peer.rx.bytes()
    }

    /// Whether the socket of the other side has been closed.
    pub fn peer_closed(&self, side: usize) -> bool {
        let mut h = lock(&self.halves);
        own_peer(&mut h, side).1.closed
    }

    /// Calls `f` for each file in flight to `side`.
    pub fn each_file(&self, side: usize, f: &mut dyn FnMut(&Arc<crate::file::OpenFile>)) {
        let mut h = lock(&self.halves);
        let (own, _) = own_peer(&mut h, side);
        own.rx.iter().flat_map(|s| &s.files).for_each(f);
    }
    /// Takes everything that `side` could receive away.
    pub fn drain(&self, side: usize) -> Vec<Segment> {
        let mut h = lock(&self.halves);
        let (own, _) = own_peer(&mut h, side);
        own.rx.drain()
    }
}
