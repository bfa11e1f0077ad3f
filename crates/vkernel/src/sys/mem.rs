//! Memory mapping.

use super::Ctx;
use crate::errno::{ERESTARTNOHAND, ERESTARTSYS, Errno, Result};
use crate::file::Object;
use crate::memfile::{host_file, shared_anonymous};
use crate::mm::{Backing, Label, MapRequest, MapSource, Prot};
use std::sync::Arc;

const MAP_SHARED: u32 = 1;
const MAP_PRIVATE: u32 = 2;
const MAP_SHARED_VALIDATE: u32 = 3;
const MAP_FIXED: u32 = 0x10;
const MAP_ANONYMOUS: u32 = 0x20;
const MAP_HUGETLB: u32 = 0x40000;
const MAP_FIXED_NOREPLACE: u32 = 0x10_0000;

fn prot(c: &Ctx<'_>, i: usize) -> Result<Prot> {
    let p = c.uint(i);
    // PROT_SEM (8), PROT_GROWSDOWN and PROT_GROWSUP are accepted without effect.
    if p & !0x0300_000f != 0 { Err(Errno::EINVAL) } else { Ok(Prot(p & 7)) }
}

pub(super) fn mmap(c: &mut Ctx<'_>) -> Result<i64> {
    let (addr, len, flags, offset) = (c.a[0], c.a[1], c.uint(3), c.a[5]);
    let prot = prot(c, 2)?;
    if flags & MAP_HUGETLB != 0 {
        return Err(Errno::ENOMEM);
    }
    if offset % crate::mm::PAGE != 0 || offset > i64::MAX as u64 - (1 << 33) {
        return Err(Errno::EINVAL);
    }
    let shared = match flags & 0xf {
        MAP_SHARED | MAP_SHARED_VALIDATE => true,
        MAP_PRIVATE => false,
        _ => return Err(Errno::EINVAL),
    };
    let mut may_write = true;
    let backing = if flags & MAP_ANONYMOUS != 0 {
        if shared {
            if len == 0 || len >= 1 << 32 {
                return Err(if len == 0 { Errno::EINVAL } else { Errno::ENOMEM });
            }
            Backing::File { source: shared_anonymous(len, &c.task.kernel.shared)?, offset: 0, shared: true }
        } else {
            Backing::Anon
        }
    } else {
        let f = c.real_file(4)?;
        if !f.readable() || shared && prot.has(Prot::WRITE) && !f.writable() {
            return Err(Errno::EACCES);
        }
        let inode = match &f.object {
            Object::Inode(i) => Arc::clone(i),
            Object::Stream(_) if f.location.as_ref().is_some_and(|_| crate::devfs::is_zero(&f)) => {
                // A private mapping of /dev/zero is anonymous memory.
                return map(
                    c,
                    addr,
                    len,
                    prot,
                    if shared { return Err(Errno::ENODEV) } else { Backing::Anon },
                    flags,
                    true,
                );
            }
            _ => return Err(Errno::ENODEV),
        };
        if prot.has(Prot::EXEC) {
            let path = f.location.as_ref().map(|l| l.path(None)).unwrap_or_default();
            let line =
                format!("pid {}: refused to map {} executable", c.task.process.pid, String::from_utf8_lossy(&path));
            c.task.kernel.audit(&line);
            return Err(Errno::EACCES);
        }
        may_write = !shared || f.writable();
        let s = inode.map_source(shared && f.writable())?;
        if shared && s.sealed && f.writable() {
            return Err(Errno::EACCES);
        }
        let path = f.location.as_ref().map(|l| l.path(None)).unwrap_or_default();
        // A sealed file is never written: a shared read-only mapping of it is a private one that stays as it is.
        let shared = shared && !s.sealed;
        let host = if shared { Some(host_file(&s.fd)?) } else { None };
        let source = MapSource {
            fd: s.fd,
            owner: (!s.sealed).then(|| Arc::clone(&inode)),
            base: s.offset,
            size: s.len,
            sealed: s.sealed,
            truncatable: !s.sealed,
            anonymous: None,
            path: path.into(),
            ino: inode.id().ino,
            host,
        };
        Backing::File { source, offset, shared }
    };
    map(c, addr, len, prot, backing, flags, may_write)
}

fn map(c: &mut Ctx<'_>, addr: u64, len: u64, prot: Prot, backing: Backing, flags: u32, may_write: bool) -> Result<i64> {
    let no_replace = flags & MAP_FIXED_NOREPLACE != 0;
    let shared = match &backing {
        Backing::File { source, shared: true, .. } => source.host,
        _ => None,
    };
    let request = MapRequest {
        addr,
        len,
        prot,
        backing,
        fixed: flags & MAP_FIXED != 0 || no_replace,
        no_replace,
        label: Label::None,
        may_write,
        text: false,
    };
    let addr = c.space().mmap(request)?;
    c.task.kernel.committed_more();
    match shared {
        Some(file) => c.task.share(file, may_write),
        None => c.task.shares_less(),
    }
    Ok(addr as i64)
}

pub(super) fn munmap(c: &mut Ctx<'_>) -> Result<i64> {
    let r = c.space().munmap(c.a[0], c.a[1]).map(|()| 0);
    c.task.shares_less();
    r
}
pub(super) fn mprotect(c: &mut Ctx<'_>) -> Result<i64> {
    let p = prot(c, 2)?;
    c.space().mprotect(c.a[0], c.a[1], p)?;
    c.task.kernel.committed_more();
    Ok(0)
}
pub(super) fn mremap(c: &mut Ctx<'_>) -> Result<i64> {
    let flags = c.uint(3);
    if flags & !7 != 0 {
        return Err(Errno::EINVAL);
    }
    let to = (flags & 2 != 0).then_some(c.a[4]);
    let r = c.space().mremap(c.a[0], c.a[1], c.a[2], flags & 1 != 0, to, flags & 4 != 0).map(|a| a as i64);
    c.task.shares_less();
    c.task.kernel.committed_more();
    r
}
pub(super) fn brk(c: &mut Ctx<'_>) -> Result<i64> {
    let to = c.a[0];
    let at = c.space().set_brk(to);
    c.task.kernel.committed_more();
    Ok(at as i64)
}
pub(super) fn madvise(c: &mut Ctx<'_>) -> Result<i64> {
    let advice = c.int(2);
    c.space().madvise(c.a[0], c.a[1], advice).map(|()| 0)
}
pub(super) fn msync(c: &mut Ctx<'_>) -> Result<i64> {
    c.space().msync(c.a[0], c.a[1], c.int(2)).map(|()| 0)
}
pub(super) fn mincore(c: &mut Ctx<'_>) -> Result<i64> {
    let v = c.space().mincore(c.a[0], c.a[1])?;
    c.put(c.a[2], &v).map(|()| 0)
}
/// mlock and its kin: nothing is ever swapped on the guest's account.
pub(super) fn mlock(c: &mut Ctx<'_>) -> Result<i64> {
    let start = c.a[0] & !(crate::mm::PAGE - 1);
    let len = (c.a[0] - start).checked_add(c.a[1]).ok_or(Errno::EINVAL)?;
    if len > 1 << 32 || len > 0 && !c.space().covered(start, len) { Err(Errno::ENOMEM) } else { Ok(0) }
}

/// futex(2), without priority inheritance.
pub(super) fn futex(c: &mut Ctx<'_>) -> Result<i64> {
    const WAIT: u32 = 0;
    const WAKE: u32 = 1;
    const REQUEUE: u32 = 3;
    const CMP_REQUEUE: u32 = 4;
    const WAKE_OP: u32 = 5;
    const WAIT_BITSET: u32 = 9;
    const WAKE_BITSET: u32 = 10;
    let (addr, value) = (c.a[0], c.uint(2));
    let (op, private, realtime) = (c.uint(1) & 0x7f, c.uint(1) & 0x80 != 0, c.uint(1) & 0x100 != 0);
    if !matches!(op, WAIT | WAKE | REQUEUE | CMP_REQUEUE | WAKE_OP | WAIT_BITSET | WAKE_BITSET) {
        return Err(Errno::ENOSYS);
    }
    let key_of = |c: &Ctx<'_>, addr: u64| {
        if !addr.is_multiple_of(4) { Err(Errno::EINVAL) } else { crate::futex::key(&c.space(), addr, private) }
    };
    let key = key_of(c, addr)?;
    let mask = if matches!(op, WAIT_BITSET | WAKE_BITSET) { c.uint(5) } else { u32::MAX };
    if mask == 0 {
        return Err(Errno::EINVAL);
    }
    // Where other calls have a timeout, these have a second count; both are signed.
    let second = c.a[3] as u32;
    if matches!(op, REQUEUE | CMP_REQUEUE) && (value.cast_signed() < 0 || second.cast_signed() < 0) {
        return Err(Errno::EINVAL);
    }
    match op {
        WAIT | WAIT_BITSET => {
            let timeout = if c.a[3] == 0 { None } else { Some(c.timespec(c.a[3])?) };
            let timeout = match timeout {
                Some(t) if op == WAIT_BITSET => Some(super::time::until(t, realtime)),
                t => t,
            };
            let deadline = c.deadline(timeout);
            let kernel = Arc::clone(&c.task.kernel);
            // The value is compared when the wait has begun: a wake in between is seen.
            let wait = kernel.futexes.enqueue(key, mask, c.task.waiter());
            let r = match c.get_u32(addr) {
                Err(e) => Err(e),
                Ok(v) if v != value => Err(Errno::EAGAIN),
                Ok(_) => {
                    let interrupt = if deadline.is_some() { ERESTARTNOHAND } else { ERESTARTSYS };
                    c.task.block(&[], &[], deadline, interrupt, |timed_out| {
                        if wait.woken() {
                            return Ok(Some(0));
                        }
                        if timed_out { Err(Errno::ETIMEDOUT) } else { Ok(None) }
                    })
                }
            };
            if kernel.futexes.leave(&wait) { Ok(0) } else { r }
        }
        WAKE | WAKE_BITSET => Ok(c.task.kernel.futexes.wake(key, at_least_one(value), mask) as i64),
        REQUEUE | CMP_REQUEUE => {
            let to = key_of(c, c.a[4])?;
            if op == CMP_REQUEUE && c.get_u32(addr)? != c.uint(5) {
                return Err(Errno::EAGAIN);
            }
            let (woken, moved) = c.task.kernel.futexes.requeue(key, value as usize, to, second as usize);
            Ok((woken + if op == CMP_REQUEUE { moved } else { 0 }) as i64)
        }
        _ => {
            let (other, operation) = (c.a[4], c.uint(5));
            let to = key_of(c, other)?;
            // No guest code that has a part in this memory runs meanwhile.
            c.task.hold_turn();
            let r = wake_op(c, other, operation);
            c.task.pause_turn();
            let mut n = c.task.kernel.futexes.wake(key, at_least_one(value), u32::MAX);
            if r? {
                n += c.task.kernel.futexes.wake(to, at_least_one(second), u32::MAX);
            }
            Ok(n as i64)
        }
    }
}

/// How many waits FUTEX_WAKE ends: Linux counts after it has woken one.
fn at_least_one(n: u32) -> usize {
    (n as i32).max(1) as usize
}

/// Changes the word at `addr` as FUTEX_WAKE_OP's `operation` says, and tells what its comparison says of the old value.
fn wake_op(c: &Ctx<'_>, addr: u64, operation: u32) -> Result<bool> {
    let (op, cmp) = (operation >> 28 & 7, operation >> 24 & 0xf);
    // Twelve bits each, signed.
    let (arg, with) = (((operation << 8) as i32) >> 20, ((operation << 20) as i32) >> 20);
    let arg = if operation >> 31 != 0 { 1i32 << (arg & 31) } else { arg };
    let old = c.get_u32(addr)? as i32;
    let new = match op {
        0 => arg,
        1 => old.wrapping_add(arg),
        2 => old | arg,
        3 => old & !arg,
        4 => old ^ arg,
        _ => return Err(Errno::ENOSYS),
    };
    c.put_u32(addr, new as u32)?;
    match cmp {
        0 => Ok(old == with),
        1 => Ok(old != with),
        2 => Ok(old < with),
        3 => Ok(old <= with),
        4 => Ok(old > with),
        5 => Ok(old >= with),
        _ => Err(Errno::ENOSYS),
    }
}

/// process_vm_readv(2) and its kin: no process may look into another.
pub(super) fn process_vm(_: &mut Ctx<'_>) -> Result<i64> {
    Err(Errno::EPERM)
}
