//! Pipes and fifos.

use crate::errno::{Errno, Result};
use crate::file::{Caller, IoctlMemory, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM, Stream};
use crate::signal::{SI_KERNEL, SIGPIPE, SigInfo};
use crate::wait::{WaitQueue, lock};
use megalith_vfs::{Budget, Charge, FileType, Stat, Timespec};
use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Writes of at most this many bytes are atomic (`PIPE_BUF`).
pub const PIPE_BUF: usize = 4096;
/// Bytes a new pipe holds.
pub const CAPACITY: usize = 65536;
/// Largest capacity that F_SETPIPE_SZ gives (`fs.pipe-max-size`).
pub const MAX_CAPACITY: usize = 1 << 20;

/// A number for objects without an inode of a file system.
pub fn anonymous_ino() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(10_000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

struct State {
    /// Ring buffer, allocated at the first write.
    buf: Vec<u8>,
    /// For the buffer; a pipe must go on working when nothing is left, so that it is counted anyway.
    charge: Charge,
    start: usize,
    len: usize,
    capacity: usize,
    readers: usize,
    writers: usize,
    /// Ends ever opened, for the rendezvous of fifo opens.
    reader_opens: u64,
    writer_opens: u64,
}

/// The buffer between the ends.
pub struct Pipe {
    state: Mutex<State>,
    pub queue: WaitQueue,
    ino: u64,
    made: Timespec,
}

impl Pipe {
    /// A pipe without ends, whose buffer counts against `budget`.
    pub fn new(budget: &Arc<Budget>) -> Arc<Pipe> {
        Arc::new(Pipe {
            state: Mutex::new(State {
                buf: Vec::new(),
                charge: Charge::none(budget),
                start: 0,
                len: 0,
                capacity: CAPACITY,
                readers: 0,
                writers: 0,
                reader_opens: 0,
                writer_opens: 0,
            }),
            queue: WaitQueue::default(),
            ino: anonymous_ino(),
            made: Timespec::now(),
        })
    }

    /// An end for reading, writing or both.
    pub fn end(self: &Arc<Pipe>, read: bool, write: bool) -> Arc<PipeEnd> {
        {
            let mut s = lock(&self.state);
            s.readers += usize::from(read);
            s.writers += usize::from(write);
            s.reader_opens += u64::from(read);
            s.writer_opens += u64::from(write);
        }
        self.queue.wake();
        Arc::new(PipeEnd { pipe: Arc::clone(self), read, write })
    }

    /// (readers ever, writers ever): a fifo's open waits until the other side has opened.
    pub fn opens(&self) -> (u64, u64) {
        let s = lock(&self.state);
        (s.reader_opens, s.writer_opens)
    }
    /// Readers now, writers now.
    pub fn ends(&self) -> (usize, usize) {
        let s = lock(&self.state);
        (s.readers, s.writers)
    }
    /// Capacity in bytes.
    pub fn capacity(&self) -> usize {
        lock(&self.state).capacity
    }
    /// F_SETPIPE_SZ: rounds up to a power of two of pages; EBUSY when more is in the pipe.
    pub fn set_capacity(&self, n: usize) -> Result<usize> {
        let n = n.max(4096).checked_next_power_of_two().ok_or(Errno::EINVAL)?;
        if n > MAX_CAPACITY {
            return Err(Errno::EPERM);
        }
        let mut s = lock(&self.state);
        if s.len > n {
            return Err(Errno::EBUSY);
        }
        let mut all = vec![0; s.len];
        s.peek(&mut all);
        s.buf = Vec::new();
        s.charge.set_anyway(0);
        s.start = 0;
        s.len = 0;
        s.capacity = n;
        if !all.is_empty() {
            s.push(&all);
        }
        Ok(n)
    }
    /// Bytes that wait to be read.
    pub fn len(&self) -> usize {
        lock(&self.state).len
    }

    /// Reads; 0 at the end, `EAGAIN` when empty with writers.
    pub fn read(&self, buf: &mut [u8]) -> Result<usize> {
        let mut s = lock(&self.state);
        if s.len == 0 {
            return if s.writers == 0 || buf.is_empty() { Ok(0) } else { Err(Errno::EAGAIN) };
        }
        let n = s.peek(buf);
        s.start = (s.start + n) % s.buf.len().max(1);
        s.len -= n;
        if s.len == 0 {
            s.start = 0;
        }
        drop(s);
        self.queue.wake_for(POLLOUT);
        Ok(n)
    }

    /// Writes what fits; at most PIPE_BUF bytes all or nothing. `EPIPE` without readers.
    pub fn write(&self, data: &[u8]) -> Result<usize> {
        let mut s = lock(&self.state);
        if s.readers == 0 {
            return Err(Errno::EPIPE);
        }
        let room = s.capacity - s.len;
        if data.is_empty() {
            return Ok(0);
        }
        if room == 0 || data.len() <= PIPE_BUF && room < data.len() {
            return Err(Errno::EAGAIN);
        }
        let n = room.min(data.len());
        s.push(data.get(..n).unwrap_or_default());
        drop(s);
        self.queue.wake_for(POLLIN);
        Ok(n)
    }
}

impl State {
    /// Copies out what fits into `buf`.
    fn peek(&self, buf: &mut [u8]) -> usize {
        let n = self.len.min(buf.len());
        let first = n.min(self.buf.len() - self.start);
        let (a, b) = buf.split_at_mut(first);
        if let Some(src) = self.buf.get(self.start..self.start + first) {
            a.copy_from_slice(src);
        }
        if let (Some(dst), Some(src)) = (b.get_mut(..n - first), self.buf.get(..n - first)) {
            dst.copy_from_slice(src);
        }
        n
    }
    /// Appends; the caller has checked the room.
    fn push(&mut self, data: &[u8]) {
        if self.buf.len() < self.len + data.len() {
            // Grow in steps, so that small pipes stay small.
            let want = (self.len + data.len()).next_power_of_two().clamp(4096, self.capacity);
            let mut all = vec![0; want];
            self.peek(&mut all);
            self.charge.set_anyway(want as u64);
            self.buf = all;
            self.start = 0;
        }
        let size = self.buf.len();
        let at = (self.start + self.len) % size;
        let first = data.len().min(size - at);
        let (a, b) = data.split_at(first);
        if let Some(dst) = self.buf.get_mut(at..at + first) {
            dst.copy_from_slice(a);
        }
        if let Some(dst) = self.buf.get_mut(..b.len()) {
            dst.copy_from_slice(b);
        }
        self.len += data.len();
    }
}

/// One end (or, for a fifo opened O_RDWR, both).
pub struct PipeEnd {
    pub pipe: Arc<Pipe>,
    pub read: bool,
    pub write: bool,
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        {
            let mut s = lock(&self.pipe.state);
            s.readers -= usize::from(self.read);
            s.writers -= usize::from(self.write);
            if s.readers == 0 && s.writers == 0 {
                // A fifo forgets its contents when all ends are closed.
                s.start = 0;
                s.len = 0;
                s.buf = Vec::new();
                s.charge.set_anyway(0);
            }
        }
        self.pipe.queue.wake();
    }
}

/// SIGPIPE for the caller.
pub fn broken(c: &Caller<'_>) {
    c.process.post_to(c.kernel, c.tid, SigInfo::from_process(SIGPIPE, SI_KERNEL, c.process.pid, 0));
}

impl Stream for PipeEnd {
    fn read(&self, _: &Caller<'_>, buf: &mut [u8]) -> Result<usize> {
        self.pipe.read(buf)
    }
    fn write(&self, c: &Caller<'_>, data: &[u8]) -> Result<usize> {
        self.pipe.write(data).inspect_err(|e| {
            if *e == Errno::EPIPE {
                broken(c);
            }
        })
    }
    fn poll(&self) -> u32 {
        let s = lock(&self.pipe.state);
        let mut p = 0;
        if self.read {
            if s.len > 0 {
                p |= POLLIN | POLLRDNORM;
            }
            if s.writers == 0 && s.writer_opens > 0 {
                p |= POLLHUP;
            }
        }
        if self.write {
            if s.capacity - s.len >= PIPE_BUF {
                p |= POLLOUT | POLLWRNORM;
            }
            if s.readers == 0 {
                p |= POLLERR;
            }
        }
        p
    }
    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.pipe.queue)
    }
    fn ioctl(&self, _: &Caller<'_>, request: u32, arg: u64, mem: &mut dyn IoctlMemory) -> Result<i64> {
        if request == libc::FIONREAD as u32 {
            mem.put(arg, &(self.pipe.len() as i32).to_le_bytes())?;
            return Ok(0);
        }
        Err(Errno::ENOTTY)
    }
    fn stat(&self) -> Result<Stat> {
        let t = self.pipe.made;
        Ok(Stat {
            dev: 14,
            ino: self.pipe.ino,
            mode: FileType::Fifo.mode_bits() | 0o600,
            nlink: 1,
            blksize: 4096,
            atime: t,
            mtime: t,
            ctime: t,
            ..Stat::default()
        })
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn type_name(&self) -> &'static str {
        "pipe"
    }
}
