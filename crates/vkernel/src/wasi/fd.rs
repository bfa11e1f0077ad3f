//! Descriptors: the `fd_*` and `sock_*` functions.

use super::Call;
use crate::errno::{Errno, Result};
use crate::file::{Object, OpenFile, closed};
use crate::sys::{fs, io, net};
use crate::wait::lock;
use megalith_vfs::{FileType, OpenFlags, SetTime, Stat, Timespec};
use std::sync::atomic::Ordering;

/// All 30 `rights` of preview 1.
const ALL_RIGHTS: u64 = (1 << 30) - 1;
/// fd_seek and fd_tell. A character device without them is what WASI libraries take for a terminal.
const SEEKING: u64 = 1 << 2 | 1 << 5;
const READ: u64 = 1 << 1;
/// fd_write, fd_allocate, fd_filestat_set_size.
pub(super) const WRITE: u64 = 1 << 6 | 1 << 8 | 1 << 22;

/// `fdflags` and the status flags of open(2) that they stand for. rsync is more than Linux has; sync is the nearest.
const FD_FLAGS: [(u32, u32); 5] =
    [(1, OpenFlags::O_APPEND), (2, O_DSYNC), (4, OpenFlags::O_NONBLOCK), (8, O_SYNC), (16, O_SYNC)];
const O_DSYNC: u32 = 0o10000;
const O_SYNC: u32 = 0o4_010_000;

/// Status flags of `fdflags`; `EINVAL` for unknown ones.
pub(super) fn status_flags(fdflags: u32) -> Result<u32> {
    if fdflags > 0x1f {
        return Err(Errno::EINVAL);
    }
    Ok(FD_FLAGS.iter().filter(|f| fdflags & f.0 != 0).fold(0, |s, f| s | f.1))
}

/// Vectors of one call (`IOV_MAX`).
const VECTORS: u32 = 1024;

/// `filetype`.
fn filetype(t: FileType) -> u8 {
    match t {
        FileType::Fifo => 0,
        FileType::BlockDevice => 1,
        FileType::CharDevice => 2,
        FileType::Directory => 3,
        FileType::Regular => 4,
        FileType::Socket => 6,
        FileType::Symlink => 7,
    }
}

/// `timestamp`: nanoseconds since 1970, which times before that cannot be.
fn timestamp(t: Timespec) -> u64 {
    u64::try_from(t.sec).map_or(0, |s| s.saturating_mul(1_000_000_000).saturating_add(t.nsec.into()))
}

/// `filestat`.
pub(super) fn filestat_bytes(s: &Stat) -> [u8; 64] {
    let mut b = [0u8; 64];
    let mut put = |at: usize, v: u64| b[at..at + 8].copy_from_slice(&v.to_le_bytes());
    put(0, s.dev);
    put(8, s.ino);
    put(16, filetype(s.file_type()).into());
    put(24, s.nlink);
    put(32, s.size);
    put(40, timestamp(s.atime));
    put(48, timestamp(s.mtime));
    put(56, timestamp(s.ctime));
    b
}

/// The new times that `fstflags` stands for.
pub(super) fn set_times_args(atime: u64, mtime: u64, flags: u32) -> Result<[SetTime; 2]> {
    let one = |t: u64, flags: u32| match flags & 3 {
        0 => Ok(SetTime::Keep),
        1 => Ok(SetTime::To(Timespec { sec: (t / 1_000_000_000) as i64, nsec: (t % 1_000_000_000) as u32 })),
        2 => Ok(SetTime::Now),
        _ => Err(Errno::EINVAL),
    };
    if flags > 0xf {
        return Err(Errno::EINVAL);
    }
    Ok([one(atime, flags)?, one(mtime, flags >> 2)?])
}

fn int(fd: i32) -> u64 {
    fd as i64 as u64
}

pub(super) fn advise(c: &mut Call<'_, '_>) -> Result<()> {
    // Preview 1 has sequential before random.
    let advice = match c.u32(3) {
        1 => 2,
        2 => 1,
        n => n,
    };
    let a = [int(c.fd(0)), c.u64(1), c.u64(2), advice.into(), 0, 0];
    c.linux(fs::fadvise64, a).map(drop)
}
pub(super) fn allocate(c: &mut Call<'_, '_>) -> Result<()> {
    let a = [int(c.fd(0)), 0, c.u64(1), c.u64(2), 0, 0];
    c.linux(fs::fallocate, a).map(drop)
}
pub(super) fn close(c: &mut Call<'_, '_>) -> Result<()> {
    let a = [int(c.fd(0)), 0, 0, 0, 0, 0];
    c.linux(io::close, a).map(drop)
}
pub(super) fn datasync(c: &mut Call<'_, '_>) -> Result<()> {
    let a = [int(c.fd(0)), 0, 0, 0, 0, 0];
    c.linux(fs::fdatasync, a).map(drop)
}
pub(super) fn sync(c: &mut Call<'_, '_>) -> Result<()> {
    let a = [int(c.fd(0)), 0, 0, 0, 0, 0];
    c.linux(fs::fsync, a).map(drop)
}

fn rights(f: &OpenFile) -> u64 {
    let mut r = ALL_RIGHTS;
    let seekable = match &f.object {
        Object::Stream(s) => s.seek(0, 1).is_ok(),
        Object::Inode(i) => i.file_type() != FileType::Directory,
        Object::Path => false,
    };
    if !seekable {
        r &= !SEEKING;
    }
    if !f.readable() {
        r &= !READ;
    }
    if !f.writable() {
        r &= !WRITE;
    }
    r
}
pub(super) fn fdstat_get(c: &mut Call<'_, '_>) -> Result<()> {
    let f = c.file(0)?;
    let mut b = [0u8; 24];
    b[0] = filetype(f.stat()?.file_type());
    let has = |flag: u32| f.flags() & flag == flag;
    let flags = u16::from(has(OpenFlags::O_APPEND))
        | u16::from(has(O_DSYNC) && !has(O_SYNC)) << 1
        | u16::from(f.nonblocking()) << 2
        | u16::from(has(O_SYNC)) << 4;
    b[2..4].copy_from_slice(&flags.to_le_bytes());
    b[8..16].copy_from_slice(&rights(&f).to_le_bytes());
    b[16..24].copy_from_slice(&ALL_RIGHTS.to_le_bytes());
    c.c.put(c.ptr(1), &b)
}
pub(super) fn fdstat_set_flags(c: &mut Call<'_, '_>) -> Result<()> {
    let f = c.file(0)?;
    let new = status_flags(c.u32(1))?;
    // As F_SETFL: how writes are made durable is decided when a file is opened.
    if new & !(OpenFlags::O_APPEND | OpenFlags::O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL);
    }
    let old = f.flags();
    f.flags.store(old & !(OpenFlags::O_APPEND | OpenFlags::O_NONBLOCK) | new, Ordering::Relaxed);
    Ok(())
}
pub(super) fn fdstat_set_rights(c: &mut Call<'_, '_>) -> Result<()> {
    c.file(0).map(drop)
}
pub(super) fn filestat_get(c: &mut Call<'_, '_>) -> Result<()> {
    let s = c.file(0)?.stat()?;
    c.c.put(c.ptr(1), &filestat_bytes(&s))
}
pub(super) fn filestat_set_size(c: &mut Call<'_, '_>) -> Result<()> {
    let a = [int(c.fd(0)), c.u64(1), 0, 0, 0, 0];
    c.linux(fs::ftruncate, a).map(drop)
}
pub(super) fn filestat_set_times(c: &mut Call<'_, '_>) -> Result<()> {
    let times = set_times_args(c.u64(1), c.u64(2), c.u32(3))?;
    match &c.file(0)?.location {
        Some(l) => fs::set_times(c.c, l, times).map(drop),
        None => Ok(()),
    }
}

pub(super) fn prestat_get(c: &mut Call<'_, '_>) -> Result<()> {
    let f = c.file(0)?;
    if !c.is_preopen(&f) {
        return Err(Errno::EBADF);
    }
    // Kind "directory", then the length of its name.
    c.c.put(c.ptr(1), &[0, 0, 0, 0, 1, 0, 0, 0])
}
pub(super) fn prestat_dir_name(c: &mut Call<'_, '_>) -> Result<()> {
    let f = c.file(0)?;
    if !c.is_preopen(&f) {
        return Err(Errno::EBADF);
    }
    if c.u32(2) < 1 {
        return Err(Errno::ENAMETOOLONG);
    }
    c.c.put(c.ptr(1), b"/")
}

/// Address and length of each vector at argument `at`.
fn vectors(c: &Call<'_, '_>, at: usize) -> Result<Vec<(u64, usize)>> {
    let count = c.u32(at + 1);
    if count > VECTORS {
        return Err(Errno::EINVAL);
    }
    let raw = c.c.get_vec(c.ptr(at), u64::from(count) * 8, VECTORS as usize * 8)?;
    let word = |b: &[u8]| b.try_into().map_or(0, u32::from_le_bytes);
    Ok(raw.chunks_exact(8).map(|b| (word(&b[..4]).into(), word(&b[4..]) as usize)).collect())
}

/// Reads or writes, with the vectors at argument 1, and puts the count at address `result`.
fn transfer(c: &mut Call<'_, '_>, at: Option<u64>, write: bool, result: u64) -> Result<()> {
    let f = c.file(0)?;
    if let Some(p) = at {
        io::seekable(&f, p)?;
    }
    let vectors = vectors(c, 1)?;
    c.room(result, 4)?;
    let n = io::transfer(c.c, &f, vectors, at, write)?;
    c.c.put_u32(result, n as u32)
}
pub(super) fn read(c: &mut Call<'_, '_>) -> Result<()> {
    let result = c.ptr(3);
    transfer(c, None, false, result)
}
pub(super) fn write(c: &mut Call<'_, '_>) -> Result<()> {
    let result = c.ptr(3);
    transfer(c, None, true, result)
}
pub(super) fn pread(c: &mut Call<'_, '_>) -> Result<()> {
    let (at, result) = (c.u64(3), c.ptr(4));
    transfer(c, Some(at), false, result)
}
pub(super) fn pwrite(c: &mut Call<'_, '_>) -> Result<()> {
    let (at, result) = (c.u64(3), c.ptr(4));
    transfer(c, Some(at), true, result)
}

pub(super) fn readdir(c: &mut Call<'_, '_>) -> Result<()> {
    let f = c.file(0)?;
    let Object::Inode(inode) = &f.object else { return Err(Errno::ENOTDIR) };
    if inode.file_type() != FileType::Directory {
        return Err(Errno::ENOTDIR);
    }
    let (buf, len, mut cookie, used) = (c.ptr(1), c.u32(2) as usize, c.u64(3), c.ptr(4));
    c.room(used, 4)?;
    c.room(buf, len)?;
    let mut done = 0;
    while done < len {
        let entries = inode.readdir(cookie, 128)?;
        if entries.is_empty() {
            break;
        }
        let mut out = Vec::new();
        for e in &entries {
            out.extend_from_slice(&e.next.to_le_bytes());
            out.extend_from_slice(&e.ino.to_le_bytes());
            out.extend_from_slice(&(e.name.len() as u32).to_le_bytes());
            out.extend_from_slice(&[filetype(e.file_type), 0, 0, 0]);
            out.extend_from_slice(&e.name);
            cookie = e.next;
        }
        // The last entry is cut where the buffer ends: a full buffer tells the caller to ask again.
        out.truncate(len - done);
        c.c.put(buf + done as u64, &out)?;
        done += out.len();
    }
    c.c.put_u32(used, done as u32)
}

pub(super) fn renumber(c: &mut Call<'_, '_>) -> Result<()> {
    let (from, to) = (c.fd(0), c.fd(1));
    let task = &c.c.task;
    let old = {
        let mut fds = lock(&task.process.fds);
        fds.entry(to)?;
        fds.entry(from)?;
        if from == to {
            return Ok(());
        }
        let e = fds.remove(from)?;
        fds.put(to, e.file, e.cloexec)
    };
    if let Some(e) = old {
        closed(&task.kernel, task.process.pid, e);
    }
    Ok(())
}

fn seek_to(c: &mut Call<'_, '_>, offset: u64, whence: u32, result: u64) -> Result<()> {
    if whence > 2 {
        return Err(Errno::EINVAL);
    }
    if matches!(&c.file(0)?.object, Object::Inode(i) if i.file_type() == FileType::Directory) {
        return Err(Errno::EISDIR);
    }
    c.room(result, 8)?;
    let a = [int(c.fd(0)), offset, whence.into(), 0, 0, 0];
    let at = c.linux(io::lseek, a)?;
    c.c.put_u64(result, at as u64)
}
pub(super) fn seek(c: &mut Call<'_, '_>) -> Result<()> {
    let (offset, whence, result) = (c.u64(1), c.u32(2), c.ptr(3));
    seek_to(c, offset, whence, result)
}
pub(super) fn tell(c: &mut Call<'_, '_>) -> Result<()> {
    let result = c.ptr(1);
    seek_to(c, 0, 1, result)
}

fn socket(c: &mut Call<'_, '_>) -> Result<()> {
    c.file(0)?;
    c.c.a = [int(c.fd(0)), 0, 0, 0, 0, 0];
    net::socket_at(c.c, 0).map(drop)
}
pub(super) fn sock_accept(c: &mut Call<'_, '_>) -> Result<()> {
    socket(c)?;
    // FDFLAGS_NONBLOCK is the one flag there is.
    let flags = match c.u32(1) {
        0 => 0,
        4 => OpenFlags::O_NONBLOCK,
        _ => return Err(Errno::EINVAL),
    };
    let result = c.ptr(2);
    c.room(result, 4)?;
    let a = [int(c.fd(0)), 0, 0, flags.into(), 0, 0];
    let fd = c.linux(net::accept4, a)?;
    c.c.put_u32(result, fd as u32)
}
pub(super) fn sock_recv(c: &mut Call<'_, '_>) -> Result<()> {
    socket(c)?;
    if c.u32(3) != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let (result, flags) = (c.ptr(4), c.ptr(5));
    c.room(flags, 2)?;
    transfer(c, None, false, result)?;
    c.c.put(flags, &[0, 0])
}
pub(super) fn sock_send(c: &mut Call<'_, '_>) -> Result<()> {
    socket(c)?;
    if c.u32(3) != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let result = c.ptr(4);
    transfer(c, None, true, result)
}
pub(super) fn sock_shutdown(c: &mut Call<'_, '_>) -> Result<()> {
    socket(c)?;
    // `sdflags` are bits: receiving, sending.
    let how = match c.u32(1) {
        1 => 0,
        2 => 1,
        3 => 2,
        _ => return Err(Errno::EINVAL),
    };
    let a = [int(c.fd(0)), how, 0, 0, 0, 0];
    c.linux(net::shutdown, a).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let t = SetTime::To(Timespec { sec: 1, nsec: 500 });
        assert_eq!(set_times_args(1_000_000_500, 0, 1).unwrap(), [t, SetTime::Keep]);
        assert_eq!(set_times_args(0, 0, 2 | 8).unwrap(), [SetTime::Now, SetTime::Now]);
        assert!(set_times_args(0, 0, 3).is_err());
        assert!(set_times_args(0, 0, 16).is_err());
        assert_eq!(timestamp(Timespec { sec: -1, nsec: 5 }), 0);
        assert_eq!(timestamp(Timespec { sec: 2, nsec: 5 }), 2_000_000_005);
    }
}
