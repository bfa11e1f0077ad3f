//! What waits in a socket to be received.

use super::addr::Addr;
use crate::file::OpenFile;
use megalith_vfs::{Budget, Charge};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

/// What an element of a buffer costs beside its bytes; small datagrams must not be free.
pub const OVERHEAD: usize = 512;
/// Small writes to a stream are put together up to this size.
const GATHER: usize = 4096;

/// Who sent (`struct ucred`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cred {
    pub pid: i32,
    pub uid: u32,
    pub gid: u32,
}

impl Cred {
    /// Of nobody: what SO_PEERCRED gives without a peer.
    pub const NONE: Cred = Cred { pid: 0, uid: u32::MAX, gid: u32::MAX };

    /// `struct ucred`.
    pub fn bytes(self) -> [u8; 12] {
        let mut b = [0; 12];
        b[..4].copy_from_slice(&self.pid.to_ne_bytes());
        b[4..8].copy_from_slice(&self.uid.to_ne_bytes());
        b[8..].copy_from_slice(&self.gid.to_ne_bytes());
        b
    }
}

/// What travels in the header of a datagram's packet. There are no routers on the way that would count hops or look at the class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpHeader {
    /// Time to live, or hop limit.
    pub hops: u8,
    /// Type of service, or traffic class.
    pub class: u8,
}

/// A datagram, a record, or a piece of a stream.
pub struct Segment {
    pub(super) data: Vec<u8>,
    /// Bytes of `data` received already.
    pub(super) at: usize,
    /// The sender's address, of datagrams.
    pub from: Option<Addr>,
    /// The address it was sent to.
    pub to: Option<IpAddr>,
    /// What the header of its packet says.
    pub header: IpHeader,
    /// The sender, on AF_UNIX.
    pub cred: Option<Cred>,
    /// Descriptors in flight (SCM_RIGHTS).
    pub files: Vec<Arc<OpenFile>>,
}

impl Segment {
    /// A segment without sender and files.
    pub fn new(data: Vec<u8>) -> Segment {
        Segment { data, at: 0, from: None, to: None, header: IpHeader::default(), cred: None, files: Vec::new() }
    }
    /// What has not been received.
    pub fn rest(&self) -> &[u8] {
        self.data.get(self.at..).unwrap_or_default()
    }
    fn cost(&self) -> usize {
        self.data.capacity() + OVERHEAD + self.files.len() * 16
    }
}

/// A queue of segments, counted against the container's memory. It must go on working when nothing is left, so that it is counted anyway.
pub struct Buffer {
    segments: VecDeque<Segment>,
    bytes: usize,
    cost: usize,
    charge: Charge,
}

impl Buffer {
    /// An empty buffer.
    pub fn new(budget: &Arc<Budget>) -> Buffer {
        Buffer { segments: VecDeque::new(), bytes: 0, cost: 0, charge: Charge::none(budget) }
    }
    /// Bytes to be received.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
    /// Memory in use, as limits count it.
    pub fn cost(&self) -> usize {
        self.cost
    }
    /// Segments to be received.
    pub fn len(&self) -> usize {
        self.segments.len()
    }
    /// Whether there is nothing, not even an empty datagram.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }
    /// The next segment.
    pub fn first(&self) -> Option<&Segment> {
        self.segments.front()
    }
    /// All segments.
    pub fn iter(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter()
    }

    fn recount(&mut self, before: usize, after: usize) {
        self.cost = self.cost + after - before;
        self.charge.set_anyway(self.cost as u64);
    }

    /// Adds a segment of its own.
    pub fn push(&mut self, s: Segment) {
        self.bytes += s.rest().len();
        let cost = s.cost();
        self.segments.push_back(s);
        self.recount(0, cost);
    }

    /// Adds to a stream: what small writes of the same sender bring is put together.
    pub fn push_stream(&mut self, data: &[u8], cred: Option<Cred>) {
        if let Some(last) = self.segments.back_mut()
            && last.files.is_empty()
            && last.cred == cred
            && last.data.len() + data.len() <= GATHER.max(last.data.capacity())
        {
            let before = last.cost();
            last.data.extend_from_slice(data);
            let after = last.cost();
            self.bytes += data.len();
            self.recount(before, after);
            return;
        }
        self.push(Segment { cred, ..Segment::new(data.to_vec()) });
    }

    /// Copies bytes of the stream out, from `skip` on, without crossing to another sender's or past a segment with files: see
    /// [`Buffer::run`]. Returns the number of bytes.
    pub fn peek(&self, skip: usize, out: &mut [u8], run: usize) -> usize {
        let mut skip = skip;
        let mut done = 0;
        for s in self.segments.iter().take(run) {
            let rest = s.rest();
            if skip >= rest.len() {
                skip -= rest.len();
                continue;
            }
            let part = rest.get(skip..).unwrap_or_default();
            skip = 0;
            let n = part.len().min(out.len() - done);
            if let (Some(to), Some(from)) = (out.get_mut(done..done + n), part.get(..n)) {
                to.copy_from_slice(from);
            }
            done += n;
            if done == out.len() {
                break;
            }
        }
        done
    }

    /// How many segments one call may receive from together: a call ends behind files, and with `creds`, all are of one sender.
    pub fn run(&self, creds: bool) -> usize {
        let Some(first) = self.segments.front() else { return 0 };
        let together = self.segments.iter().take_while(|s| !creds || s.cred == first.cred);
        let mut n = 0;
        for s in together {
            n += 1;
            if !s.files.is_empty() {
                break;
            }
        }
        n
    }

    /// The files that come with the first `len` bytes of such a run, and the number of their segment.
    pub fn files_within(&self, len: usize, run: usize) -> Option<(usize, &[Arc<OpenFile>])> {
        let last = self.segments.get(run.checked_sub(1)?)?;
        let before: usize = self.segments.iter().take(run - 1).map(|s| s.rest().len()).sum();
        // (Records may be empty and still have files.)
        (!last.files.is_empty() && (len > before || run == 1)).then_some((run - 1, &last.files[..]))
    }

    /// Takes `n` bytes of the stream away; segments that are used up are handed back, to be dropped where no lock is held.
    pub fn consume(&mut self, mut n: usize) -> Vec<Segment> {
        let mut gone = Vec::new();
        while let Some(s) = self.segments.front_mut() {
            let take = s.rest().len().min(n);
            s.at += take;
            n -= take;
            self.bytes -= take;
            if !s.rest().is_empty() {
                break;
            }
            if let Some(s) = self.segments.pop_front() {
                self.recount(s.cost(), 0);
                gone.push(s);
            }
            if n == 0 {
                break;
            }
        }
        gone
    }

    /// Takes the files of segment `i`.
    pub fn take_files(&mut self, i: usize) -> Vec<Arc<OpenFile>> {
        let Some(s) = self.segments.get_mut(i) else { return Vec::new() };
        let before = s.cost();
        let files = std::mem::take(&mut s.files);
        let after = s.cost();
        self.recount(before, after);
        files
    }

    /// Takes the next segment.
    pub fn pop(&mut self) -> Option<Segment> {
        let s = self.segments.pop_front()?;
        self.bytes -= s.rest().len();
        self.recount(s.cost(), 0);
        Some(s)
    }

    /// Takes everything.
    pub fn drain(&mut self) -> Vec<Segment> {
        self.bytes = 0;
        self.cost = 0;
        self.charge.set_anyway(0);
        std::mem::take(&mut self.segments).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_put_together_and_taken_apart() {
        let budget = Budget::unlimited();
        let mut b = Buffer::new(&budget);
        let cred = |pid| Some(Cred { pid, uid: 0, gid: 0 });
        b.push_stream(b"abc", cred(1));
        b.push_stream(b"def", cred(1));
        b.push_stream(b"ghi", cred(2));
        assert_eq!((b.len(), b.bytes()), (2, 9));
        let mut out = [0; 9];
        assert_eq!(b.peek(0, &mut out, b.run(false)), 9);
        assert_eq!(&out, b"abcdefghi");
        assert_eq!(b.run(true), 1);
        assert_eq!(b.peek(2, &mut out, b.run(true)), 4);
        assert_eq!(&out[..4], b"cdef");
        assert!(budget.used() > 0);
        assert!(b.consume(4).is_empty());
        assert_eq!(b.consume(3).len(), 1);
        assert_eq!(b.bytes(), 2);
        assert_eq!(b.consume(2).len(), 1);
        assert_eq!((b.bytes(), b.cost(), budget.used()), (0, 0, 0));
    }

    #[test]
    fn large_writes_are_not_copied_together() {
        let mut b = Buffer::new(&Budget::unlimited());
        b.push_stream(&[1; 3000], None);
        b.push_stream(&[2; 3000], None);
        assert_eq!(b.len(), 2);
        assert!(b.cost() >= 6000 + 2 * OVERHEAD);
        assert_eq!(b.drain().len(), 2);
        assert_eq!(b.cost(), 0);
    }
}
