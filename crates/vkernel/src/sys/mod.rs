//! System calls: one table declares each once; the modules hold the handlers.

mod event;
pub(crate) mod fs;
pub(crate) mod io;
mod mem;
pub(crate) mod net;
mod pidfd;
mod polyfill;
pub(crate) mod proc;
mod sig;
mod table;
pub(crate) mod time;
mod trace;

pub(crate) use proc::{CAPABILITIES, RELEASE, VERSION, all_cpus, cpus};
pub(crate) use sig::blocked_or_ignored;
pub(crate) use table::SLOTS;
pub use table::{Support, SyscallEntry, docs_markdown, table};

use crate::errno::{Errno, Result};
use crate::exec::{ARG_MAX_ONE, ArgRoom};
use crate::file::{IoctlMemory, OpenFile};
use crate::mm::AddressSpace;
use crate::regs::Machine;
use crate::task::Task;
use crate::wait::lock;
use megalith_vfs::PATH_MAX;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

/// Vectors of readv(2) and the like (`UIO_MAXIOV`).
const IOV_MAX: usize = 1024;
/// Bytes that one read or write transfers at most (`MAX_RW_COUNT`).
const MAX_RW: usize = 0x7fff_f000;

/// A system call in progress.
pub(crate) struct Ctx<'a> {
    pub task: &'a mut Task,
    pub m: &'a mut dyn Machine,
    pub a: [u64; 6],
}

/// Whether system call `nr` reads or writes registers that frames may hold, or leaves the frames for good: rt_sigreturn, clone, fork, vfork, execve, exit, exit_group, execveat, clone3, and
/// where a polyfill's snapshot is taken or let go. `first`: its first argument.
pub(crate) fn needs_registers(nr: u64, first: u64) -> bool {
    use megalith_abi::PolyfillOp::{Cold, Snapshot};
    matches!(nr, 15 | 56..=60 | 231 | 322 | 435)
        || nr == megalith_abi::POLYFILL_CALL && (first == Snapshot as u64 || first == Cold as u64)
}

/// Performs system call `nr`. What the program may not call is as unknown to it as what nobody may.
pub(crate) fn dispatch(task: &mut Task, m: &mut dyn Machine, nr: u64, a: [u64; 6]) -> Result<i64> {
    crate::procfs::set_current(task.process.pid, task.thread.tid);
    let entry = table::find(nr);
    let trace = task.kernel.config.strace.is_some();
    if trace {
        return trace::traced(task, m, nr, a, entry);
    }
    call(task, m, nr, a, entry)
}

fn call(task: &mut Task, m: &mut dyn Machine, nr: u64, a: [u64; 6], entry: Option<&SyscallEntry>) -> Result<i64> {
    match entry {
        Some(e) if task.program().calls.has(e.number) => (e.handler)(&mut Ctx { task, m, a }),
        None if nr == megalith_abi::POLYFILL_CALL && task.program().calls.has_own() => {
            polyfill::call(&mut Ctx { task, m, a })
        }
        _ => {
            let mut unknown = lock(&task.kernel.syscalls_unknown);
            // Numbers come from the guest: bounded.
            if unknown.len() < 1024 || unknown.contains_key(&nr) {
                *unknown.entry(nr).or_insert(0) += 1;
            }
            Err(Errno::ENOSYS)
        }
    }
}

impl IoctlMemory for &AddressSpace {
    fn get(&mut self, addr: u64, buf: &mut [u8]) -> Result<()> {
        AddressSpace::read(self, addr, buf)
    }
    fn put(&mut self, addr: u64, data: &[u8]) -> Result<()> {
        AddressSpace::write(self, addr, data)
    }
}

impl Ctx<'_> {
    /// Argument as C `int`.
    fn int(&self, i: usize) -> i32 {
        self.a.get(i).map_or(0, |&v| v as i32)
    }
    /// Argument as `unsigned int`.
    fn uint(&self, i: usize) -> u32 {
        self.a.get(i).map_or(0, |&v| v as u32)
    }
    /// The memory.
    pub(crate) fn space(&self) -> MutexGuard<'_, AddressSpace> {
        lock(&self.task.space)
    }
    /// Reads `N` bytes of guest memory.
    pub(crate) fn get<const N: usize>(&self, addr: u64) -> Result<[u8; N]> {
        let mut b = [0; N];
        self.space().read(addr, &mut b)?;
        Ok(b)
    }
    pub(crate) fn get_u32(&self, addr: u64) -> Result<u32> {
        self.get(addr).map(u32::from_le_bytes)
    }
    fn get_u64(&self, addr: u64) -> Result<u64> {
        self.get(addr).map(u64::from_le_bytes)
    }
    /// Writes guest memory.
    pub(crate) fn put(&self, addr: u64, data: &[u8]) -> Result<()> {
        self.space().write(addr, data)
    }
    pub(crate) fn put_u32(&self, addr: u64, v: u32) -> Result<()> {
        self.put(addr, &v.to_le_bytes())
    }
    pub(crate) fn put_u64(&self, addr: u64, v: u64) -> Result<()> {
        self.put(addr, &v.to_le_bytes())
    }
    /// Reads `len` bytes; `EINVAL` above `max`.
    pub(crate) fn get_vec(&self, addr: u64, len: u64, max: usize) -> Result<Vec<u8>> {
        let len = usize::try_from(len).ok().filter(|&l| l <= max).ok_or(Errno::EINVAL)?;
        let space = self.space();
        if space.accessible(addr, len, crate::mm::Prot::READ) < len {
            return Err(Errno::EFAULT);
        }
        let mut v = vec![0; len];
        space.read(addr, &mut v)?;
        Ok(v)
    }
    /// Reads a NUL-terminated string of at most `max` bytes with the NUL; `too_long` otherwise.
    fn cstr(&self, addr: u64, max: usize, too_long: Errno) -> Result<Vec<u8>> {
        let space = self.space();
        let mut out = Vec::new();
        let mut at = addr;
        while out.len() < max {
            // Up to the end of the page, so that the next page need not exist.
            let n = ((crate::mm::PAGE - at % crate::mm::PAGE) as usize).min(max - out.len()).min(if out.is_empty() {
                128
            } else {
                4096
            });
            let mut chunk = [0u8; 4096];
            let chunk = chunk.get_mut(..n).ok_or(Errno::EFAULT)?;
            space.read(at, chunk)?;
            if let Some(end) = chunk.iter().position(|&c| c == 0) {
                out.extend_from_slice(chunk.get(..end).unwrap_or_default());
                return Ok(out);
            }
            out.extend_from_slice(chunk);
            at = at.checked_add(n as u64).ok_or(Errno::EFAULT)?;
        }
        Err(too_long)
    }
    /// A path argument.
    fn path(&self, i: usize) -> Result<Vec<u8>> {
        self.cstr(self.a.get(i).copied().unwrap_or(0), PATH_MAX, Errno::ENAMETOOLONG)
    }
    /// A NULL-terminated array of strings (`argv`), within `room`.
    fn strings(&self, addr: u64, room: &mut ArgRoom) -> Result<Vec<Vec<u8>>> {
        let mut v = Vec::new();
        if addr == 0 {
            return Ok(v);
        }
        for i in 0u64.. {
            let p = self.get_u64(addr.checked_add(i * 8).ok_or(Errno::EFAULT)?)?;
            if p == 0 {
                break;
            }
            let s = self.cstr(p, ARG_MAX_ONE, Errno::E2BIG)?;
            room.string(&s)?;
            v.push(s);
        }
        Ok(v)
    }
    /// The description behind descriptor argument `i`.
    pub(crate) fn file(&self, i: usize) -> Result<Arc<OpenFile>> {
        lock(&self.task.process.fds).get(self.int(i)).map(Arc::clone)
    }
    /// The same, but not one opened with O_PATH.
    pub(crate) fn real_file(&self, i: usize) -> Result<Arc<OpenFile>> {
        let f = self.file(i)?;
        if matches!(f.object, crate::file::Object::Path) { Err(Errno::EBADF) } else { Ok(f) }
    }
    /// Adds a descriptor within RLIMIT_NOFILE.
    pub(crate) fn add_fd(&self, file: Arc<OpenFile>, cloexec: bool) -> Result<i64> {
        self.add_fd_from(file, cloexec, 0)
    }
    fn add_fd_from(&self, file: Arc<OpenFile>, cloexec: bool, min: i32) -> Result<i64> {
        let limit = lock(&self.task.process.rlimits)[7].0;
        lock(&self.task.process.fds).add(file, cloexec, min, limit).map(i64::from)
    }
    /// `struct timespec`; `EINVAL` when out of range.
    fn timespec(&self, addr: u64) -> Result<Duration> {
        let b: [u8; 16] = self.get(addr)?;
        let sec = i64::from_le_bytes(b[..8].try_into().unwrap_or_default());
        let nsec = i64::from_le_bytes(b[8..].try_into().unwrap_or_default());
        if sec < 0 || !(0..1_000_000_000).contains(&nsec) {
            return Err(Errno::EINVAL);
        }
        Ok(Duration::new(sec as u64, nsec as u32))
    }
    /// Deadline of a wait of `timeout`; that of the first attempt when the call is being restarted.
    pub(crate) fn deadline(&mut self, timeout: Option<Duration>) -> Option<Instant> {
        let timeout = timeout?;
        let d = match self.task.restart_deadline.take() {
            Some(d) => d,
            // Beyond a century nobody can tell the difference.
            None => Instant::now() + timeout.min(Duration::from_secs(3_000_000_000)),
        };
        self.task.restart_deadline = Some(d);
        Some(d)
    }
}

/// `struct timespec` in guest layout.
fn timespec_bytes(sec: i64, nsec: i64) -> [u8; 16] {
    let mut b = [0; 16];
    b[..8].copy_from_slice(&sec.to_le_bytes());
    b[8..].copy_from_slice(&nsec.to_le_bytes());
    b
}

/// Blocking point for a stream: waits until `op` gives something else than `EAGAIN`.
fn retry<T>(task: &Task, f: &OpenFile, write: bool, op: impl FnMut() -> Result<T>) -> Result<T> {
    retry_waiting(task, f, f.nonblocking(), write, op)
}

/// The same, whatever the description says about blocking. `EAGAIN` also when the stream's own timeout is over.
fn retry_waiting<T>(
    task: &Task,
    f: &OpenFile,
    nonblocking: bool,
    write: bool,
    mut op: impl FnMut() -> Result<T>,
) -> Result<T> {
    match op() {
        Err(Errno::EAGAIN) if !nonblocking => {}
        r => return r,
    }
    let Some(s) = f.as_stream() else { return Err(Errno::EAGAIN) };
    let queues: Vec<_> = s.queue().into_iter().chain(s.second_queue()).collect();
    let events = if write { libc::POLLOUT } else { libc::POLLIN };
    let host: Vec<_> = s.host().map(|fd| (fd, events)).into_iter().collect();
    let deadline = s.timeout(write).map(|t| Instant::now() + t.min(Duration::from_secs(3_000_000_000)));
    // A call with a timeout is not restarted (man 7 signal).
    let interrupt = if deadline.is_some() { Errno::EINTR } else { crate::errno::ERESTARTSYS };
    task.block(&queues, &host, deadline, interrupt, |timed_out| match op() {
        Ok(v) => Ok(Some(v)),
        Err(Errno::EAGAIN) if !timed_out => Ok(None),
        Err(e) => Err(e),
    })
}
