//! The bytes of a regular file of the upper layer: a vector while small, a memfd when large or mapped.

use crate::budget::Charge;
use crate::{Budget, Errno, Result};
use rustix::fs::{FallocateFlags, MemfdFlags, SeekFrom};
use std::os::fd::OwnedFd;
use std::sync::Arc;

const PAGE: u64 = 4096;
/// Files up to this size are vectors: below it, a memfd's page and descriptor cost more than they give.
const SMALL: u64 = 16 << 10;
/// Where the host refuses another descriptor, a file may stay a vector up to this size.
const SMALL_AT_MOST: u64 = 64 << 20;
/// Largest file size and offset (`loff_t`).
pub(crate) const MAX_SIZE: u64 = i64::MAX as u64;

#[derive(Debug)]
enum Store {
    Vec(Vec<u8>),
    Memfd(Memfd),
}

#[derive(Debug)]
struct Memfd {
    fd: Arc<OwnedFd>,
    len: u64,
    /// All pages below this are allocated (page multiple).
    dense: u64,
    /// Pages at or above `dense` may be allocated: the host must be asked how many there are.
    sparse: bool,
}

#[derive(Debug)]
pub(crate) struct Content {
    store: Store,
    charge: Charge,
    /// It has been mapped shared and writable.
    whole: bool,
}

fn page_up(n: u64) -> u64 {
    n.div_ceil(PAGE).saturating_mul(PAGE)
}

impl Memfd {
    fn new() -> Result<Memfd> {
        let flags = MemfdFlags::CLOEXEC;
        // Without execute permission where the host knows how (Linux 6.3).
        let fd = rustix::fs::memfd_create("megalith", flags | MemfdFlags::NOEXEC_SEAL).or_else(|e| match e {
            rustix::io::Errno::INVAL => rustix::fs::memfd_create("megalith", flags),
            e => Err(e),
        })?;
        Ok(Memfd { fd: Arc::new(fd), len: 0, dense: 0, sparse: false })
    }
    fn allocated(&self) -> Result<u64> {
        Ok((rustix::fs::fstat(&self.fd)?.st_blocks as u64).saturating_mul(512))
    }
    /// Brings `charge` up to date after pages in `start..end` were allocated.
    fn grew(&mut self, charge: &mut Charge, start: u64, end: u64) -> Result<()> {
        if start <= self.dense {
            self.dense = self.dense.max(page_up(end));
        } else {
            self.sparse = true;
        }
        if self.sparse {
            charge.set_anyway(self.allocated()?);
        }
        Ok(())
    }
    fn write_all(&mut self, mut offset: u64, mut data: &[u8]) -> Result<()> {
        while !data.is_empty() {
            let n = rustix::io::pwrite(&self.fd, data, offset)?;
            if n == 0 {
                return Err(Errno::EIO);
            }
            offset += n as u64;
            data = data.get(n..).unwrap_or(&[]);
            self.len = self.len.max(offset);
        }
        Ok(())
    }
}

impl Content {
    pub(crate) fn empty(budget: &Arc<Budget>) -> Content {
        Content { store: Store::Vec(Vec::new()), charge: Charge::none(budget), whole: false }
    }

    /// A copy of `bytes`.
    pub(crate) fn copy_of(bytes: &[u8], budget: &Arc<Budget>) -> Result<Content> {
        let mut c = Content::empty(budget);
        if c.write(0, bytes)? == bytes.len() { Ok(c) } else { Err(Errno::ENOSPC) }
    }

    pub(crate) fn len(&self) -> u64 {
        match &self.store {
            Store::Vec(v) => v.len() as u64,
            Store::Memfd(m) => m.len,
        }
    }

    /// Allocated bytes, for `st_blocks`.
    pub(crate) fn allocated(&self) -> u64 {
        match &self.store {
            Store::Vec(v) => page_up(v.len() as u64),
            Store::Memfd(m) => m.allocated().unwrap_or(0),
        }
    }

    pub(crate) fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        match &self.store {
            Store::Vec(v) => Ok(copy_from(v, offset, buf)),
            Store::Memfd(m) => {
                let mut done = 0;
                while let Some(rest) = buf.get_mut(done..).filter(|r| !r.is_empty()) {
                    match rustix::io::pread(&m.fd, rest, offset.saturating_add(done as u64).min(MAX_SIZE))? {
                        0 => break,
                        n => done += n,
                    }
                }
                Ok(done)
            }
        }
    }

    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) -> Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        if offset >= MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        let room = usize::try_from(MAX_SIZE - offset).unwrap_or(usize::MAX);
        let data = data.get(..data.len().min(room)).unwrap_or(data);
        let end = offset + data.len() as u64;
        if end > SMALL {
            self.want_memfd(end)?;
        }
        match &mut self.store {
            Store::Vec(v) => {
                grow_vec(v, &mut self.charge, end)?;
                if let Some(dst) = v.get_mut(offset as usize..end as usize) {
                    dst.copy_from_slice(data);
                }
                Ok(data.len())
            }
            Store::Memfd(m) => {
                // Pages that the write may allocate are paid for first.
                let start = (offset / PAGE * PAGE).max(m.dense.min(page_up(end)));
                let need = page_up(end).saturating_sub(start);
                let before = self.charge.bytes();
                let mut data = data;
                if self.charge.set(before.saturating_add(need)).is_err() {
                    let end = (start + self.charge.free() / PAGE * PAGE).min(end);
                    let fits = usize::try_from(end.saturating_sub(offset)).unwrap_or(0);
                    data = data.get(..fits).filter(|d| !d.is_empty()).ok_or(Errno::ENOSPC)?;
                    self.charge.set(before.saturating_add(page_up(end).saturating_sub(start)))?;
                }
                let done = m.write_all(offset, data);
                m.grew(&mut self.charge, offset, offset + data.len() as u64)?;
                self.charge_whole();
                done.map(|()| data.len())
            }
        }
    }

    pub(crate) fn truncate(&mut self, size: u64) -> Result<()> {
        if size > MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        if size > SMALL && size > self.len() {
            self.want_memfd(size)?;
        }
        match &mut self.store {
            Store::Vec(v) if size > v.len() as u64 => grow_vec(v, &mut self.charge, size),
            Store::Vec(v) => {
                v.truncate(size as usize);
                if v.capacity() > v.len().saturating_mul(2).max(256) {
                    v.shrink_to_fit();
                    self.charge.set(v.capacity() as u64)?;
                }
                Ok(())
            }
            Store::Memfd(m) => {
                if self.whole && size > m.len {
                    self.charge.set(self.charge.bytes().max(page_up(size)))?;
                }
                rustix::fs::ftruncate(&m.fd, size)?;
                let shrunk = size < m.len;
                m.len = size;
                m.dense = m.dense.min(page_up(size));
                if shrunk || m.sparse {
                    self.charge.set_anyway(m.allocated()?);
                }
                self.charge_whole();
                Ok(())
            }
        }
    }

    /// fallocate with mode 0, KEEP_SIZE or PUNCH_HOLE | KEEP_SIZE. The caller checked the mode and that the range is
    /// not empty.
    pub(crate) fn fallocate(&mut self, keep_size: bool, punch: bool, offset: u64, len: u64) -> Result<()> {
        let end = offset.checked_add(len).filter(|&e| e <= MAX_SIZE).ok_or(Errno::EFBIG)?;
        if !punch && end > SMALL {
            self.want_memfd(end)?;
        }
        match &mut self.store {
            Store::Vec(v) if punch => {
                let size = v.len() as u64;
                if let Some(hole) = v.get_mut(offset.min(size) as usize..end.min(size) as usize) {
                    hole.fill(0);
                }
                Ok(())
            }
            Store::Vec(_) if keep_size => Ok(()),
            Store::Vec(v) => grow_vec(v, &mut self.charge, end.max(v.len() as u64)),
            Store::Memfd(m) => {
                let mut flags = FallocateFlags::empty();
                if keep_size {
                    flags |= FallocateFlags::KEEP_SIZE;
                }
                if punch {
                    flags |= FallocateFlags::PUNCH_HOLE;
                    m.dense = m.dense.min(offset / PAGE * PAGE);
                    m.sparse = true;
                } else {
                    let start = (offset / PAGE * PAGE).max(m.dense.min(page_up(end)));
                    let need = page_up(end).saturating_sub(start);
                    self.charge.set(self.charge.bytes().saturating_add(need))?;
                }
                let done = rustix::fs::fallocate(&m.fd, flags, offset, len);
                if done.is_ok() && !keep_size {
                    m.len = m.len.max(end);
                }
                m.sparse = true;
                self.charge.set_anyway(m.allocated()?);
                self.charge_whole();
                Ok(done?)
            }
        }
    }

    /// SEEK_DATA and SEEK_HOLE.
    pub(crate) fn seek(&self, offset: u64, data: bool) -> Result<u64> {
        if offset >= self.len() {
            return Err(Errno::ENXIO);
        }
        match &self.store {
            Store::Vec(v) => Ok(if data { offset } else { v.len() as u64 }),
            Store::Memfd(m) => {
                Ok(rustix::fs::seek(&m.fd, if data { SeekFrom::Data(offset) } else { SeekFrom::Hole(offset) })?)
            }
        }
    }

    /// What a shared writable mapping can fill is paid for, holes included.
    fn charge_whole(&mut self) {
        if self.whole {
            self.charge.set_anyway(self.charge.bytes().max(page_up(self.len())));
        }
    }

    /// The memfd that holds the bytes, made now if there is none. `shared_writable`: for a mapping through which holes are filled without a call,
    /// so that the whole file is charged from now on; ENOSPC.
    pub(crate) fn memfd(&mut self, shared_writable: bool) -> Result<(Arc<OwnedFd>, u64)> {
        self.make_memfd()?;
        if shared_writable {
            self.charge.set(self.charge.bytes().max(page_up(self.len())))?;
            self.whole = true;
        }
        match &self.store {
            Store::Memfd(m) => Ok((m.fd.clone(), m.len)),
            Store::Vec(_) => Err(Errno::ENOMEM),
        }
    }

    /// A memfd for a file that is about to have `size` bytes; a vector is all right when the host gives none.
    fn want_memfd(&mut self, size: u64) -> Result<()> {
        match self.make_memfd() {
            Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM) if size <= SMALL_AT_MOST => Ok(()),
            r => r,
        }
    }

    fn make_memfd(&mut self) -> Result<()> {
        let Store::Vec(v) = &self.store else { return Ok(()) };
        let mut m = Memfd::new()?;
        m.write_all(0, v)?;
        m.dense = page_up(m.len);
        self.charge.set(m.dense)?;
        self.store = Store::Memfd(m);
        Ok(())
    }
}

/// Extends `v` with zeros to `end` bytes, paying for its capacity.
fn grow_vec(v: &mut Vec<u8>, charge: &mut Charge, end: u64) -> Result<()> {
    let end = usize::try_from(end).map_err(|_| Errno::EFBIG)?;
    if end <= v.len() {
        return Ok(());
    }
    if end > v.capacity() {
        let roomy = end.max(v.capacity().saturating_mul(2)).max(64);
        let cap = match charge.set(charge.bytes().max(roomy as u64)) {
            Ok(()) => roomy,
            Err(_) => {
                charge.set(charge.bytes().max(end as u64))?;
                end
            }
        };
        v.try_reserve_exact(cap - v.len()).map_err(|_| Errno::ENOMEM)?;
    }
    v.resize(end, 0);
    Ok(())
}

/// Copies what `bytes` has at `offset` into `buf`.
pub(crate) fn copy_from(bytes: &[u8], offset: u64, buf: &mut [u8]) -> usize {
    let from = usize::try_from(offset).ok().and_then(|o| bytes.get(o..)).unwrap_or(&[]);
    let n = from.len().min(buf.len());
    if let (Some(dst), Some(src)) = (buf.get_mut(..n), from.get(..n)) {
        dst.copy_from_slice(src);
    }
    n
}
