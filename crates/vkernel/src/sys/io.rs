//! Reading, writing, descriptors, pipes, polling.

use super::{Ctx, IOV_MAX, MAX_RW, net, retry};
use crate::devfs;
use crate::errno::{ERESTARTNOHAND, Errno, Result};
use crate::file::{FdEntry, Object, OpenFile, POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, POLLPRI, closed, position};
use crate::mm::Prot;
use crate::pipe::{Pipe, PipeEnd};
use crate::signal::{SI_USER, SIGXFSZ, SigInfo};
use crate::socket;
use crate::task::Task;
use crate::wait::lock;
use megalith_vfs::{FileType, Inode, OpenFlags, remove_privileges};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Bytes moved per step through a buffer of the kernel.
const CHUNK: usize = 256 << 10;

/// Reads from a description to guest memory. `at`: positioned read, without moving the position.
fn read_to(task: &Task, f: &Arc<OpenFile>, addr: u64, len: usize, at: Option<u64>) -> Result<usize> {
    if !f.readable() {
        return Err(Errno::EBADF);
    }
    let len = len.min(MAX_RW);
    let room = lock(&task.space).accessible(addr, len, Prot::WRITE);
    if room == 0 && len > 0 {
        return Err(Errno::EFAULT);
    }
    match &f.object {
        Object::Inode(inode) => {
            if inode.file_type() == FileType::Directory {
                return Err(Errno::EISDIR);
            }
            let mut pos = at.is_none().then(|| position(f));
            let start = at.unwrap_or_else(|| pos.as_deref().copied().unwrap_or(0));
            let n = read_inode(task, inode, start, addr, room)?;
            if let Some(p) = &mut pos {
                **p = start + n as u64;
            }
            Ok(n)
        }
        Object::Stream(s) => {
            if at.is_some() {
                return Err(Errno::ESPIPE);
            }
            if let Some(s) = socket::of(f) {
                return if len == 0 { Ok(0) } else { net::receive(task, f, s, &[(addr, room)], 0).map(|r| r.result) };
            }
            let mut small = [0u8; 4096];
            let mut big = Vec::new();
            let want = room.min(CHUNK);
            let buf: &mut [u8] = if want <= small.len() {
                small.get_mut(..want).unwrap_or_default()
            } else {
                big.resize(want, 0);
                &mut big
            };
            let n = retry(task, f, false, || s.read(&task.caller(), buf))?;
            lock(&task.space).write(addr, buf.get(..n).unwrap_or_default())?;
            let mut done = n;
            // Sources that never run dry fill the whole buffer.
            while done < room && done.is_multiple_of(CHUNK) && devfs::is_endless(f) {
                let want = (room - done).min(CHUNK);
                let n = s.read(&task.caller(), buf.get_mut(..want).unwrap_or_default())?;
                lock(&task.space).write(addr + done as u64, buf.get(..n).unwrap_or_default())?;
                done += n;
            }
            Ok(done)
        }
        Object::Path => Err(Errno::EBADF),
    }
}

fn read_inode(task: &Task, inode: &Arc<dyn Inode>, start: u64, addr: u64, len: usize) -> Result<usize> {
    let mut done = 0;
    let direct = lock(&task.space).slice_mut(addr, len, |s| s.map(|buf| inode.read_at(start, buf)))?;
    if let Some(r) = direct {
        return r;
    }
    let mut buf = vec![0u8; len.min(CHUNK)];
    while done < len {
        let want = (len - done).min(buf.len());
        let b = buf.get_mut(..want).unwrap_or_default();
        let n = match inode.read_at(start + done as u64, b) {
            Ok(n) => n,
            Err(e) if done == 0 => return Err(e),
            Err(_) => break,
        };
        lock(&task.space).write(addr + done as u64, b.get(..n).unwrap_or_default())?;
        done += n;
        if n < want {
            break;
        }
    }
    Ok(done)
}

/// Writes guest memory to a description.
fn write_from(task: &Task, f: &Arc<OpenFile>, addr: u64, len: usize, at: Option<u64>) -> Result<usize> {
    if !f.writable() {
        return Err(Errno::EBADF);
    }
    let len = len.min(MAX_RW);
    let have = lock(&task.space).accessible(addr, len, Prot::READ);
    if have == 0 && len > 0 {
        return Err(Errno::EFAULT);
    }
    match &f.object {
        Object::Inode(inode) => {
            if have == 0 {
                return Ok(0);
            }
            let cred = lock(&task.process.ids).fs();
            remove_privileges(inode, &cred)?;
            let append = f.flags() & OpenFlags::O_APPEND != 0 && inode.file_type() == FileType::Regular;
            let mut pos = at.is_none().then(|| position(f));
            let mut start = at.unwrap_or_else(|| pos.as_deref().copied().unwrap_or(0));
            let have = limit_size(task, inode, if append { None } else { Some(start) }, have)?;
            let space = lock(&task.space);
            let write = |data: &[u8], start: u64| -> Result<(u64, usize)> {
                if append { inode.append(data) } else { Ok((start, inode.write_at(start, data)?)) }
            };
            let direct = space.slice(addr, have, |s| s.map(|data| write(data, start)))?;
            let n = match direct {
                Some(r) => {
                    let (at, n) = r?;
                    start = at;
                    n
                }
                None => {
                    let mut done = 0;
                    let mut buf = vec![0u8; have.min(CHUNK)];
                    while done < have {
                        let want = (have - done).min(buf.len());
                        let b = buf.get_mut(..want).unwrap_or_default();
                        space.read(addr + done as u64, b)?;
                        match write(b, start + done as u64) {
                            Ok((at, n)) => {
                                if done == 0 {
                                    start = at;
                                }
                                done += n;
                                if n < want {
                                    break;
                                }
                            }
                            Err(e) if done == 0 => return Err(e),
                            Err(_) => break,
                        }
                    }
                    done
                }
            };
            if let Some(p) = &mut pos {
                **p = start + n as u64;
            }
            Ok(n)
        }
        Object::Stream(s) => {
            if at.is_some() {
                return Err(Errno::ESPIPE);
            }
            if let Some(s) = socket::of(f) {
                return net::transmit(task, f, s, &[(addr, have)], 0, &mut socket::Outgoing::default());
            }
            let mut done = 0;
            loop {
                let want = (have - done).min(CHUNK);
                let mut data = vec![0u8; want];
                lock(&task.space).read(addr + done as u64, &mut data)?;
                match write_stream(task, f, s, &data) {
                    (n, None) => done += n,
                    (n, Some(_)) if done + n > 0 => return Ok(done + n),
                    (_, Some(e)) => return Err(e),
                }
                if done >= have {
                    return Ok(done);
                }
            }
        }
        Object::Path => Err(Errno::EBADF),
    }
}

/// Writes all of `data`, blocking as needed: bytes written, and what ended it early.
fn write_stream(
    task: &Task,
    f: &Arc<OpenFile>,
    s: &Arc<dyn crate::file::Stream>,
    data: &[u8],
) -> (usize, Option<Errno>) {
    let mut done = 0;
    loop {
        let rest = data.get(done..).unwrap_or_default();
        match retry(task, f, true, || s.write(&task.caller(), rest)) {
            Ok(n) => done += n,
            Err(e) => return (done, Some(e)),
        }
        if done >= data.len() {
            return (done, None);
        }
    }
}

/// RLIMIT_FSIZE: how much may be written at `start`; SIGXFSZ and `EFBIG` when nothing.
fn limit_size(task: &Task, inode: &Arc<dyn Inode>, start: Option<u64>, len: usize) -> Result<usize> {
    let limit = lock(&task.process.rlimits)[1].0;
    if limit == u64::MAX || inode.file_type() != FileType::Regular {
        return Ok(len);
    }
    let start = start.map_or_else(|| inode.stat().map(|s| s.size), Ok)?;
    if start >= limit && len > 0 {
        task.process.post(&task.kernel, SigInfo::new(SIGXFSZ, SI_USER));
        return Err(Errno::EFBIG);
    }
    Ok(len.min(usize::try_from(limit - start).unwrap_or(usize::MAX)))
}

pub(super) fn read(c: &mut Ctx<'_>) -> Result<i64> {
    let f = c.real_file(0)?;
    read_to(c.task, &f, c.a[1], c.a[2] as usize, None).map(|n| n as i64)
}
pub(super) fn write(c: &mut Ctx<'_>) -> Result<i64> {
    let f = c.real_file(0)?;
    write_from(c.task, &f, c.a[1], c.a[2] as usize, None).map(|n| n as i64)
}

pub(crate) fn seekable(f: &OpenFile, pos: u64) -> Result<()> {
    if pos > i64::MAX as u64 {
        return Err(Errno::EINVAL);
    }
    match &f.object {
        Object::Stream(_) => Err(Errno::ESPIPE),
        _ => Ok(()),
    }
}
pub(super) fn pread64(c: &mut Ctx<'_>) -> Result<i64> {
    let f = c.real_file(0)?;
    seekable(&f, c.a[3])?;
    read_to(c.task, &f, c.a[1], c.a[2] as usize, Some(c.a[3])).map(|n| n as i64)
}
pub(super) fn pwrite64(c: &mut Ctx<'_>) -> Result<i64> {
    let f = c.real_file(0)?;
    seekable(&f, c.a[3])?;
    write_from(c.task, &f, c.a[1], c.a[2] as usize, Some(c.a[3])).map(|n| n as i64)
}

/// The vectors of readv(2) and writev(2).
pub(super) fn iovec(c: &Ctx<'_>, addr: u64, count: u64) -> Result<Vec<(u64, usize)>> {
    if count > IOV_MAX as u64 {
        return Err(Errno::EINVAL);
    }
    let raw = c.get_vec(addr, count * 16, IOV_MAX * 16)?;
    let mut total: u64 = 0;
    raw.chunks_exact(16)
        .map(|b| {
            let base = u64::from_le_bytes(b[..8].try_into().unwrap_or_default());
            let len = u64::from_le_bytes(b[8..].try_into().unwrap_or_default());
            total = total.checked_add(len).filter(|&t| t <= i64::MAX as u64).ok_or(Errno::EINVAL)?;
            Ok((base, len as usize))
        })
        .collect()
}

fn vectored(c: &mut Ctx<'_>, at: Option<u64>, write: bool) -> Result<i64> {
    let f = c.real_file(0)?;
    if let Some(p) = at {
        seekable(&f, p)?;
    }
    let vecs = iovec(c, c.a[1], c.a[2])?;
    transfer(c, &f, vecs, at, write).map(|n| n as i64)
}

/// Reads to, or writes from, the given (address, length) pairs in turn. `at`: the position, for positioned calls on what is seekable.
pub(crate) fn transfer(
    c: &mut Ctx<'_>,
    f: &Arc<OpenFile>,
    vecs: Vec<(u64, usize)>,
    at: Option<u64>,
    write: bool,
) -> Result<usize> {
    if let Some(s) = socket::of(f) {
        return match write {
            true => net::transmit(c.task, f, s, &vecs, 0, &mut socket::Outgoing::default()),
            false if vecs.iter().all(|v| v.1 == 0) => Ok(0),
            false => net::receive(c.task, f, s, &vecs, 0).map(|r| r.result),
        };
    }
    if write && f.as_stream().is_some() && vecs.iter().map(|v| v.1).sum::<usize>() <= CHUNK {
        return gather_write(c, f, &vecs);
    }
    let mut done = 0usize;
    for (base, len) in vecs.into_iter().filter(|v| v.1 > 0) {
        let at = at.map(|p| p + done as u64);
        let r = if write { write_from(c.task, f, base, len, at) } else { read_to(c.task, f, base, len, at) };
        match r {
            Ok(n) => {
                done += n;
                if n < len {
                    break;
                }
                // A stream that has given something is not waited for again.
                if !write && f.as_stream().is_some_and(|s| s.poll() & POLLIN == 0) {
                    break;
                }
            }
            Err(e) if done == 0 => return Err(e),
            Err(_) => break,
        }
    }
    Ok(done)
}

/// One write of all vectors, so that a pipe gets them together.
fn gather_write(c: &mut Ctx<'_>, f: &Arc<OpenFile>, vecs: &[(u64, usize)]) -> Result<usize> {
    if !f.writable() {
        return Err(Errno::EBADF);
    }
    let Some(s) = f.as_stream() else { return Err(Errno::EBADF) };
    let mut data = Vec::new();
    for &(base, len) in vecs {
        let start = data.len();
        data.resize(start + len, 0);
        let r = c.space().read(base, data.get_mut(start..).unwrap_or_default());
        if let Err(e) = r {
            if start == 0 {
                return Err(e);
            }
            data.truncate(start);
            break;
        }
    }
    match write_stream(c.task, f, s, &data) {
        (0, Some(e)) => Err(e),
        (n, _) => Ok(n),
    }
}
pub(super) fn readv(c: &mut Ctx<'_>) -> Result<i64> {
    vectored(c, None, false)
}
pub(super) fn writev(c: &mut Ctx<'_>) -> Result<i64> {
    vectored(c, None, true)
}
pub(super) fn preadv(c: &mut Ctx<'_>) -> Result<i64> {
    vectored(c, Some(c.a[3]), false)
}
pub(super) fn pwritev(c: &mut Ctx<'_>) -> Result<i64> {
    vectored(c, Some(c.a[3]), true)
}

const RWF_HIPRI: u64 = 1;
const RWF_DSYNC: u64 = 2;
const RWF_SYNC: u64 = 4;

/// preadv2 and pwritev2. That something is urgent (RWF_HIPRI) changes nothing here.
fn flagged(c: &mut Ctx<'_>, write: bool) -> Result<i64> {
    let flags = c.a[5];
    if flags & !(RWF_HIPRI | RWF_DSYNC | RWF_SYNC) != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let n = vectored(c, (c.a[3] != u64::MAX).then_some(c.a[3]), write)?;
    if write
        && flags & (RWF_DSYNC | RWF_SYNC) != 0
        && let Object::Inode(i) = &c.real_file(0)?.object
    {
        i.fsync(flags & RWF_SYNC == 0)?;
    }
    Ok(n)
}
pub(super) fn preadv2(c: &mut Ctx<'_>) -> Result<i64> {
    flagged(c, false)
}
pub(super) fn pwritev2(c: &mut Ctx<'_>) -> Result<i64> {
    flagged(c, true)
}

pub(crate) fn lseek(c: &mut Ctx<'_>) -> Result<i64> {
    let f = c.real_file(0)?;
    let inode = match &f.object {
        Object::Inode(i) => i,
        Object::Stream(s) => return Ok(s.seek(c.a[1] as i64, c.uint(2))? as i64),
        Object::Path => return Err(Errno::EBADF),
    };
    let mut pos = position(&f);
    let off = c.a[1] as i64;
    let at = |base: u64| -> Result<u64> {
        let v = (base as i64).checked_add(off).ok_or(Errno::EOVERFLOW)?;
        u64::try_from(v).map_err(|_| Errno::EINVAL)
    };
    let new = match c.uint(2) {
        0 => at(0)?,
        1 => at(*pos)?,
        2 => at(inode.stat()?.size)?,
        3 | 4 if off < 0 => return Err(Errno::ENXIO),
        w @ (3 | 4) => inode.seek_data(off as u64, w == 3)?,
        _ => return Err(Errno::EINVAL),
    };
    *pos = new;
    Ok(new as i64)
}

pub(crate) fn close(c: &mut Ctx<'_>) -> Result<i64> {
    let e = lock(&c.task.process.fds).remove(c.int(0))?;
    closed(&c.task.kernel, c.task.process.pid, e);
    Ok(0)
}
pub(super) fn close_range(c: &mut Ctx<'_>) -> Result<i64> {
    let (first, last, flags) = (c.uint(0), c.uint(1), c.uint(2));
    if first > last || flags & !6 != 0 {
        return Err(Errno::EINVAL);
    }
    let mut fds = lock(&c.task.process.fds);
    let hit: Vec<i32> = fds.iter().map(|(fd, _)| fd).filter(|&fd| (first..=last).contains(&(fd as u32))).collect();
    let mut gone: Vec<FdEntry> = Vec::new();
    for fd in hit {
        if flags & 4 != 0 {
            fds.entry_mut(fd)?.cloexec = true;
        } else {
            gone.push(fds.remove(fd)?);
        }
    }
    drop(fds);
    for e in gone {
        closed(&c.task.kernel, c.task.process.pid, e);
    }
    Ok(0)
}

pub(super) fn dup(c: &mut Ctx<'_>) -> Result<i64> {
    let f = c.file(0)?;
    c.add_fd(f, false)
}
fn dup_to(c: &mut Ctx<'_>, cloexec: bool) -> Result<i64> {
    let f = c.file(0)?;
    let to = c.int(1);
    if to < 0 || to as u64 >= lock(&c.task.process.rlimits)[7].0 {
        return Err(Errno::EBADF);
    }
    let old = lock(&c.task.process.fds).put(to, f, cloexec);
    if let Some(e) = old {
        closed(&c.task.kernel, c.task.process.pid, e);
    }
    Ok(to.into())
}
pub(super) fn dup2(c: &mut Ctx<'_>) -> Result<i64> {
    if c.int(0) == c.int(1) {
        c.file(0)?;
        return Ok(c.int(0).into());
    }
    dup_to(c, false)
}
pub(super) fn dup3(c: &mut Ctx<'_>) -> Result<i64> {
    if c.int(0) == c.int(1) || c.uint(2) & !OpenFlags::O_CLOEXEC != 0 {
        return Err(Errno::EINVAL);
    }
    dup_to(c, c.uint(2) != 0)
}

fn make_pipe(c: &mut Ctx<'_>, flags: u32) -> Result<i64> {
    if flags & !(OpenFlags::O_CLOEXEC | OpenFlags::O_NONBLOCK | OpenFlags::O_DIRECT) != 0 {
        return Err(Errno::EINVAL);
    }
    let pipe = Pipe::new(&c.task.kernel.shared);
    let cloexec = flags & OpenFlags::O_CLOEXEC != 0;
    let nb = flags & OpenFlags::O_NONBLOCK;
    // Check the result's place first: nothing may be left behind on EFAULT.
    let at = c.a[0];
    if c.space().accessible(at, 8, Prot::WRITE) < 8 {
        return Err(Errno::EFAULT);
    }
    let r = c.add_fd(OpenFile::stream(pipe.end(true, false), nb), cloexec)?;
    let w = match c.add_fd(OpenFile::stream(pipe.end(false, true), nb | 1), cloexec) {
        Ok(w) => w,
        Err(e) => {
            let _ = lock(&c.task.process.fds).remove(r as i32);
            return Err(e);
        }
    };
    c.put_u32(at, r as u32)?;
    c.put_u32(at + 4, w as u32)?;
    Ok(0)
}
pub(super) fn pipe(c: &mut Ctx<'_>) -> Result<i64> {
    make_pipe(c, 0)
}
pub(super) fn pipe2(c: &mut Ctx<'_>) -> Result<i64> {
    let flags = c.uint(1);
    make_pipe(c, flags)
}

pub(super) fn fcntl(c: &mut Ctx<'_>) -> Result<i64> {
    let (fd, cmd, arg) = (c.int(0), c.int(1), c.a[2]);
    let f = c.file(0)?;
    let pipe = |f: &OpenFile| -> Result<Arc<Pipe>> {
        let s = f.as_stream().ok_or(Errno::EBADF)?;
        Ok(Arc::clone(&s.as_any().downcast_ref::<PipeEnd>().ok_or(Errno::EBADF)?.pipe))
    };
    match cmd {
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => {
            let min = arg as i32;
            if min < 0 || min as u64 >= lock(&c.task.process.rlimits)[7].0 {
                return Err(Errno::EINVAL);
            }
            c.add_fd_from(f, cmd == libc::F_DUPFD_CLOEXEC, min)
        }
        libc::F_GETFD => Ok(lock(&c.task.process.fds).entry(fd)?.cloexec.into()),
        libc::F_SETFD => {
            lock(&c.task.process.fds).entry_mut(fd)?.cloexec = arg & 1 != 0;
            Ok(0)
        }
        libc::F_GETFL => Ok(i64::from(f.flags() | 0o100_000)),
        libc::F_SETFL => {
            const MAY: u32 =
                OpenFlags::O_APPEND | OpenFlags::O_NONBLOCK | OpenFlags::O_DIRECT | OpenFlags::O_NOATIME | 0o20000;
            let old = f.flags();
            f.flags.store(old & !MAY | arg as u32 & MAY, Ordering::Relaxed);
            Ok(0)
        }
        libc::F_GETLK | libc::F_SETLK | libc::F_SETLKW | 36..=38 => super::fs::record_lock(c, &f, cmd, arg),
        libc::F_SETOWN => {
            f.owner.store(arg as i32, Ordering::Relaxed);
            Ok(0)
        }
        libc::F_GETOWN => Ok(f.owner.load(Ordering::Relaxed).into()),
        10 => Ok(0),
        11 => Ok(0),
        libc::F_GETPIPE_SZ => Ok(pipe(&f)?.capacity() as i64),
        libc::F_SETPIPE_SZ => Ok(pipe(&f)?.set_capacity(arg as u32 as usize)? as i64),
        libc::F_ADD_SEALS => super::fs::add_seals(&f, arg as u32),
        libc::F_GET_SEALS => super::fs::get_seals(&f),
        libc::F_GETLEASE => Ok(2),
        _ => Err(Errno::EINVAL),
    }
}

pub(super) fn ioctl(c: &mut Ctx<'_>) -> Result<i64> {
    let f = c.real_file(0)?;
    let (request, arg) = (c.uint(1), c.a[2]);
    const FIONREAD: u32 = 0x541b;
    const FIONBIO: u32 = 0x5421;
    const FIONCLEX: u32 = 0x5450;
    const FIOCLEX: u32 = 0x5451;
    match request {
        FIOCLEX | FIONCLEX => {
            lock(&c.task.process.fds).entry_mut(c.int(0))?.cloexec = request == FIOCLEX;
            return Ok(0);
        }
        FIONBIO => {
            let on = c.get_u32(arg)? != 0;
            let old = f.flags();
            f.flags
                .store(if on { old | OpenFlags::O_NONBLOCK } else { old & !OpenFlags::O_NONBLOCK }, Ordering::Relaxed);
            return Ok(0);
        }
        _ => {}
    }
    match &f.object {
        Object::Stream(s) => {
            let space = Arc::clone(&c.task.space);
            let caller = c.task.caller();
            // Job control on a terminal may stop the caller: it is asked again after the signal.
            let guard = lock(&space);
            let r = s.ioctl(&caller, request, arg, &mut &*guard);
            drop(guard);
            if r == Err(Errno::EINTR) { Err(crate::errno::ERESTARTSYS) } else { r }
        }
        Object::Inode(i) if request == FIONREAD && i.file_type() == FileType::Regular => {
            let left = i.stat()?.size.saturating_sub(*position(&f));
            c.put_u32(arg, left.min(i32::MAX as u64) as u32)?;
            Ok(0)
        }
        _ => Err(Errno::ENOTTY),
    }
}

// ---- waiting for several descriptors ----

/// Waits until one of `fds` (descriptor, events) is ready; fills `revents` and counts.
pub(crate) fn wait_ready(c: &mut Ctx<'_>, fds: &[(i32, u32)], timeout: Option<Duration>) -> Result<(Vec<u32>, i64)> {
    let files: Vec<Option<Arc<OpenFile>>> = {
        let table = lock(&c.task.process.fds);
        fds.iter().map(|(fd, _)| table.get(*fd).ok().cloned()).collect()
    };
    let deadline = c.deadline(timeout);
    let mut queues = Vec::new();
    let mut host = Vec::new();
    // What an epoll among them watches wakes, too.
    let mut sources = Vec::new();
    for (f, (_, events)) in files.iter().zip(fds) {
        let mut of = Vec::new();
        if let Some(f) = f {
            super::event::sources(f, &mut of);
        }
        sources.extend(of.into_iter().map(|f| (f, *events)));
    }
    for (f, events) in &sources {
        if let Some(s) = f.as_stream() {
            queues.extend(s.queue().into_iter().chain(s.second_queue()));
            if let Some(fd) = s.host() {
                host.push((fd, (*events & (POLLIN | POLLOUT | POLLPRI)) as i16));
            }
        }
    }
    let nonblocking = timeout == Some(Duration::ZERO);
    let r = c.task.block(&queues, &host, deadline, ERESTARTNOHAND, |timed_out| {
        let mut ready = 0;
        let revents: Vec<u32> = files
            .iter()
            .zip(fds)
            .map(|(f, (fd, events))| {
                let r = match f {
                    Some(f) => f.poll() & (events | POLLERR | POLLHUP | POLLNVAL),
                    None if *fd < 0 => 0,
                    None => POLLNVAL,
                };
                ready += i64::from(r != 0);
                r
            })
            .collect();
        Ok((ready > 0 || timed_out || nonblocking).then_some((revents, ready)))
    });
    if r.is_ok() {
        c.task.restart_deadline = None;
    }
    r
}

/// Runs a wait with another signal mask (ppoll and its like).
pub(super) fn with_mask<T>(c: &mut Ctx<'_>, mask: Option<u64>, f: impl FnOnce(&mut Ctx<'_>) -> Result<T>) -> Result<T> {
    let Some(mask) = mask else { return f(c) };
    let old = c.task.mask();
    c.task.set_mask(mask);
    let r = f(c);
    match r {
        // The handler runs under the temporary mask; its return restores the old one.
        Err(e) if e == ERESTARTNOHAND || e == crate::errno::ERESTARTSYS => c.task.saved_mask = Some(old),
        _ => c.task.set_mask(old),
    }
    r
}

/// The sigset argument of ppoll and its like.
pub(super) fn sigset(c: &Ctx<'_>, addr: u64, size: u64) -> Result<Option<u64>> {
    if addr == 0 {
        return Ok(None);
    }
    if size != 8 {
        return Err(Errno::EINVAL);
    }
    c.get_u64(addr).map(Some)
}

fn poll_common(c: &mut Ctx<'_>, timeout: Option<Duration>) -> Result<i64> {
    let n = c.a[1];
    if n > lock(&c.task.process.rlimits)[7].0.max(1024) {
        return Err(Errno::EINVAL);
    }
    let addr = c.a[0];
    let raw = c.get_vec(addr, n * 8, 1 << 20)?;
    let fds: Vec<(i32, u32)> = raw
        .chunks_exact(8)
        .map(|b| (i32::from_le_bytes([b[0], b[1], b[2], b[3]]), u32::from(u16::from_le_bytes([b[4], b[5]]))))
        .collect();
    let (revents, ready) = wait_ready(c, &fds, timeout)?;
    let mut out = raw;
    for (b, r) in out.chunks_exact_mut(8).zip(revents) {
        b[6..8].copy_from_slice(&(r as u16).to_le_bytes());
    }
    c.put(addr, &out)?;
    Ok(ready)
}
pub(super) fn poll(c: &mut Ctx<'_>) -> Result<i64> {
    let t = c.int(2);
    poll_common(c, u64::try_from(t).ok().map(Duration::from_millis))
}
pub(super) fn ppoll(c: &mut Ctx<'_>) -> Result<i64> {
    let timeout = if c.a[2] == 0 { None } else { Some(c.timespec(c.a[2])?) };
    let mask = sigset(c, c.a[3], c.a[4])?;
    with_mask(c, mask, |c| poll_common(c, timeout))
}

fn select_common(c: &mut Ctx<'_>, timeout: Option<Duration>) -> Result<i64> {
    let n = c.int(0);
    if n < 0 {
        return Err(Errno::EINVAL);
    }
    let n = (n as usize).min(65536);
    let bytes = n.div_ceil(64) * 8;
    let sets = [c.a[1], c.a[2], c.a[3]];
    let mut input = Vec::new();
    for &s in &sets {
        input.push(if s == 0 { vec![0; bytes] } else { c.get_vec(s, bytes as u64, 1 << 16)? });
    }
    let has = |set: usize, fd: usize| {
        input.get(set).and_then(|s: &Vec<u8>| s.get(fd / 8)).is_some_and(|b| b >> (fd % 8) & 1 != 0)
    };
    let mut fds = Vec::new();
    for fd in 0..n {
        let events = if has(0, fd) { POLLIN } else { 0 }
            | if has(1, fd) { POLLOUT } else { 0 }
            | if has(2, fd) { POLLPRI } else { 0 };
        if events != 0 {
            lock(&c.task.process.fds).get(fd as i32)?;
            fds.push((fd as i32, events));
        }
    }
    // Errors and hang-ups end the wait only where the set asks for what they imply.
    let (revents, _) = wait_ready(c, &fds, timeout)?;
    let mut out = vec![vec![0u8; bytes]; 3];
    let mut count = 0;
    for ((fd, events), r) in fds.iter().zip(revents) {
        let fd = *fd as usize;
        let hit = [r & (POLLIN | POLLHUP | POLLERR) != 0, r & (POLLOUT | POLLERR) != 0, r & POLLPRI != 0];
        for (set, (hit, want)) in hit.into_iter().zip([POLLIN, POLLOUT, POLLPRI]).enumerate() {
            if hit && events & want != 0 {
                count += 1;
                if let Some(b) = out.get_mut(set).and_then(|o| o.get_mut(fd / 8)) {
                    *b |= 1 << (fd % 8);
                }
            }
        }
    }
    for (s, o) in sets.iter().zip(out) {
        if *s != 0 {
            c.put(*s, &o)?;
        }
    }
    Ok(count)
}
pub(super) fn select(c: &mut Ctx<'_>) -> Result<i64> {
    let timeout = if c.a[4] == 0 {
        None
    } else {
        let b: [u8; 16] = c.get(c.a[4])?;
        let sec = i64::from_le_bytes(b[..8].try_into().unwrap_or_default());
        let usec = i64::from_le_bytes(b[8..].try_into().unwrap_or_default());
        if sec < 0 || usec < 0 {
            return Err(Errno::EINVAL);
        }
        Some(Duration::from_secs(sec as u64).saturating_add(Duration::from_micros(usec as u64)))
    };
    select_common(c, timeout)
}
pub(super) fn pselect6(c: &mut Ctx<'_>) -> Result<i64> {
    let timeout = if c.a[4] == 0 { None } else { Some(c.timespec(c.a[4])?) };
    let mask = if c.a[5] == 0 {
        None
    } else {
        let (p, size) = (c.get_u64(c.a[5])?, c.get_u64(c.a[5].wrapping_add(8))?);
        sigset(c, p, size)?
    };
    with_mask(c, mask, |c| select_common(c, timeout))
}

// ---- copying between descriptors ----

/// Copies up to `len` bytes between two descriptions through a buffer.
fn copy(
    task: &Task,
    from: &Arc<OpenFile>,
    mut from_at: Option<u64>,
    to: &Arc<OpenFile>,
    mut to_at: Option<u64>,
    len: usize,
) -> Result<usize> {
    if !from.readable() || !to.writable() {
        return Err(Errno::EBADF);
    }
    let len = len.min(MAX_RW);
    let mut buf = vec![0u8; len.min(CHUNK)];
    let mut done = 0;
    while done < len {
        let want = (len - done).min(buf.len());
        let b = buf.get_mut(..want).unwrap_or_default();
        let n = match &from.object {
            Object::Inode(i) => {
                let mut pos = position(from);
                let n = i.read_at(from_at.unwrap_or(*pos), b);
                if let (Ok(n), None) = (&n, from_at) {
                    *pos += *n as u64;
                }
                n
            }
            Object::Stream(s) if done == 0 || s.poll() & (POLLIN | POLLHUP) != 0 => {
                retry(task, from, false, || s.read(&task.caller(), b))
            }
            Object::Stream(_) => break,
            Object::Path => Err(Errno::EBADF),
        };
        let n = match n {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if done == 0 => return Err(e),
            Err(_) => break,
        };
        if let Some(p) = &mut from_at {
            *p += n as u64;
        }
        let data = b.get(..n).unwrap_or_default();
        let w = match &to.object {
            Object::Inode(i) => {
                let mut pos = position(to);
                let at = to_at.unwrap_or(*pos);
                let n = limit_size(task, i, Some(at), data.len())?;
                let data = data.get(..n).unwrap_or_default();
                let r = if to.flags() & OpenFlags::O_APPEND != 0 {
                    i.append(data)
                } else {
                    i.write_at(at, data).map(|n| (at, n))
                };
                if let (Ok((at, n)), None) = (&r, to_at) {
                    *pos = at + *n as u64;
                }
                r.map(|r| r.1)
            }
            Object::Stream(s) => match write_stream(task, to, s, data) {
                (0, Some(e)) => Err(e),
                (n, _) => Ok(n),
            },
            Object::Path => Err(Errno::EBADF),
        };
        let w = match w {
            Ok(w) => w,
            Err(e) => {
                if let (Object::Inode(_), None) = (&from.object, from_at) {
                    *position(from) -= n as u64;
                }
                if done == 0 {
                    return Err(e);
                }
                break;
            }
        };
        if let Some(p) = &mut to_at {
            *p += w as u64;
        }
        done += w;
        if w < n {
            if let (Object::Inode(_), None) = (&from.object, from_at) {
                *position(from) -= (n - w) as u64;
            }
            break;
        }
    }
    Ok(done)
}

/// An offset argument by reference.
fn offset_at(c: &Ctx<'_>, addr: u64) -> Result<Option<u64>> {
    if addr == 0 {
        return Ok(None);
    }
    let v = c.get_u64(addr)?;
    if v > i64::MAX as u64 { Err(Errno::EINVAL) } else { Ok(Some(v)) }
}

pub(super) fn sendfile(c: &mut Ctx<'_>) -> Result<i64> {
    let (to, from) = (c.real_file(0)?, c.real_file(1)?);
    let at = offset_at(c, c.a[2])?;
    if !matches!(&from.object, Object::Inode(i) if i.file_type() == FileType::Regular) {
        return Err(Errno::EINVAL);
    }
    let n = copy(c.task, &from, at, &to, None, c.a[3] as usize)?;
    if let Some(a) = at {
        c.put_u64(c.a[2], a + n as u64)?;
    }
    Ok(n as i64)
}
pub(super) fn copy_file_range(c: &mut Ctx<'_>) -> Result<i64> {
    let (from, to) = (c.real_file(0)?, c.real_file(2)?);
    if c.a[5] != 0 {
        return Err(Errno::EINVAL);
    }
    for f in [&from, &to] {
        match &f.object {
            Object::Inode(i) if i.file_type() == FileType::Regular => {}
            Object::Inode(i) if i.file_type() == FileType::Directory => return Err(Errno::EISDIR),
            _ => return Err(Errno::EINVAL),
        }
    }
    if to.flags() & OpenFlags::O_APPEND != 0 {
        return Err(Errno::EBADF);
    }
    let (a, b) = (offset_at(c, c.a[1])?, offset_at(c, c.a[3])?);
    let n = copy(c.task, &from, a, &to, b, c.a[4] as usize)?;
    if let Some(a) = a {
        c.put_u64(c.a[1], a + n as u64)?;
    }
    if let Some(b) = b {
        c.put_u64(c.a[3], b + n as u64)?;
    }
    Ok(n as i64)
}
pub(super) fn splice(c: &mut Ctx<'_>) -> Result<i64> {
    let (from, to) = (c.real_file(0)?, c.real_file(2)?);
    let is_pipe = |f: &OpenFile| f.as_stream().is_some_and(|s| s.as_any().is::<PipeEnd>());
    if !is_pipe(&from) && !is_pipe(&to) {
        return Err(Errno::EINVAL);
    }
    if is_pipe(&from) && c.a[1] != 0 || is_pipe(&to) && c.a[3] != 0 {
        return Err(Errno::ESPIPE);
    }
    let (a, b) = (offset_at(c, c.a[1])?, offset_at(c, c.a[3])?);
    let n = copy(c.task, &from, a, &to, b, (c.a[4] as usize).min(crate::pipe::CAPACITY))?;
    if let Some(a) = a {
        c.put_u64(c.a[1], a + n as u64)?;
    }
    if let Some(b) = b {
        c.put_u64(c.a[3], b + n as u64)?;
    }
    Ok(n as i64)
}
