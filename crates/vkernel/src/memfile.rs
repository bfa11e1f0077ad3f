//! Files in host memory: memfd_create(2), shared anonymous mappings, the sealed bytes of scripts.

use crate::errno::{Errno, Result};
use crate::mm;
use crate::pipe::anonymous_ino;
use crate::wait::lock;
use megalith_vfs::{
    Access, Budget, Charge, ContentClass, FileType, Inode, InodeId, MapSource, SetAttr, Stat, StatFs, Timespec,
};
use rustix::fs::{MemfdFlags, fallocate, ftruncate, memfd_create};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// Device number of anonymous files.
const DEV: u64 = 1;

fn memfd() -> Result<OwnedFd> {
    Ok(memfd_create("guest", MemfdFlags::CLOEXEC)?)
}

/// Which host file a descriptor stands for.
pub fn host_file(fd: impl AsFd) -> Result<mm::HostFile> {
    let s = rustix::fs::fstat(fd)?;
    Ok((s.st_dev, s.st_ino))
}

/// Memory for a shared anonymous mapping of `len` bytes; `ENOMEM` when `budget` has not so much.
pub fn shared_anonymous(len: u64, budget: &Arc<Budget>) -> Result<mm::MapSource> {
    let file = MemFile::new(budget)?;
    let size = len.next_multiple_of(mm::PAGE);
    file.truncate(size).map_err(|e| if e == Errno::ENOSPC { Errno::ENOMEM } else { e })?;
    let host = Some(host_file(&file.fd)?);
    Ok(mm::MapSource {
        fd: Arc::clone(&file.fd),
        owner: Some(Arc::new(file)),
        base: 0,
        size,
        sealed: false,
        truncatable: false,
        anonymous: None,
        path: Arc::from(b"/dev/zero (deleted)".as_slice()),
        ino: anonymous_ino(),
        host,
    })
}

/// A file of memfd_create(2).
pub struct MemFile {
    fd: Arc<OwnedFd>,
    ino: u64,
    attr: Mutex<Stat>,
    seals: AtomicU32,
    mapped: AtomicBool,
    /// The size is charged, not what is allocated: a mapping fills holes without a call.
    charge: Mutex<Charge>,
}

const SEAL_SEAL: u32 = 1;
const SEAL_SHRINK: u32 = 2;
const SEAL_GROW: u32 = 4;
const SEAL_WRITE: u32 = 8;
const SEAL_FUTURE_WRITE: u32 = 16;

impl MemFile {
    /// An empty file whose bytes `budget` pays for.
    pub fn new(budget: &Arc<Budget>) -> Result<MemFile> {
        let ino = anonymous_ino();
        let t = Timespec::now();
        let attr = Stat {
            dev: DEV,
            ino,
            mode: FileType::Regular.mode_bits() | 0o777,
            nlink: 0,
            blksize: 4096,
            atime: t,
            mtime: t,
            ctime: t,
            btime: t,
            ..Stat::default()
        };
        Ok(MemFile {
            fd: Arc::new(memfd()?),
            ino,
            attr: Mutex::new(attr),
            seals: AtomicU32::new(0),
            mapped: AtomicBool::new(false),
            charge: Mutex::new(Charge::none(budget)),
        })
    }
    /// F_GET_SEALS.
    pub fn seals(&self) -> u32 {
        self.seals.load(Ordering::Acquire)
    }
    /// F_ADD_SEALS.
    pub fn add_seals(&self, s: u32) -> Result<()> {
        if s & !0x1f != 0 {
            return Err(Errno::EINVAL);
        }
        if self.seals() & SEAL_SEAL != 0 {
            return Err(Errno::EPERM);
        }
        if s & SEAL_WRITE != 0 && self.mapped.load(Ordering::Acquire) {
            return Err(Errno::EBUSY);
        }
        self.seals.fetch_or(s, Ordering::AcqRel);
        Ok(())
    }
    /// Pays for a file of at least `size` bytes; `ENOSPC`, `EFBIG`. To be kept until it has them.
    fn grow(&self, size: u64) -> Result<MutexGuard<'_, Charge>> {
        let mut charge = lock(&self.charge);
        let bytes = size.checked_next_multiple_of(mm::PAGE).ok_or(Errno::EFBIG)?;
        if bytes > charge.bytes() {
            charge.set(bytes)?;
        }
        Ok(charge)
    }
    fn size(&self) -> Result<u64> {
        Ok(rustix::fs::fstat(&self.fd)?.st_size as u64)
    }
}

impl Inode for MemFile {
    fn id(&self) -> InodeId {
        InodeId { dev: DEV, ino: self.ino }
    }
    fn file_type(&self) -> FileType {
        FileType::Regular
    }
    fn stat(&self) -> Result<Stat> {
        let s = rustix::fs::fstat(&self.fd)?;
        Ok(Stat { size: s.st_size as u64, blocks: s.st_blocks as u64, ..*lock(&self.attr) })
    }
    fn setattr(&self, a: &SetAttr) -> Result<()> {
        let mut s = lock(&self.attr);
        if let Some(m) = a.mode {
            s.mode = FileType::Regular.mode_bits() | m & 0o7777;
        }
        s.uid = a.uid.unwrap_or(s.uid);
        s.gid = a.gid.unwrap_or(s.gid);
        s.atime = a.atime.unwrap_or(s.atime);
        s.mtime = a.mtime.unwrap_or(s.mtime);
        s.ctime = Timespec::now();
        Ok(())
    }
    fn open(&self, _: Access) -> Result<Option<Arc<dyn Inode>>> {
        Ok(None)
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        Ok(rustix::io::pread(&self.fd, buf, offset)?)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<usize> {
        let seals = self.seals();
        if seals & (SEAL_WRITE | SEAL_FUTURE_WRITE) != 0 {
            return Err(Errno::EPERM);
        }
        if seals & SEAL_GROW != 0 && offset.saturating_add(data.len() as u64) > self.size()? {
            return Err(Errno::EPERM);
        }
        let _charge = self.grow(offset.saturating_add(data.len() as u64))?;
        lock(&self.attr).mtime = Timespec::now();
        Ok(rustix::io::pwrite(&self.fd, data, offset)?)
    }
    fn truncate(&self, size: u64) -> Result<()> {
        let old = self.size()?;
        let seals = self.seals();
        if size < old && seals & SEAL_SHRINK != 0 || size > old && seals & SEAL_GROW != 0 {
            return Err(Errno::EPERM);
        }
        let mut charge = self.grow(size)?;
        ftruncate(&self.fd, size)?;
        // What was allocated behind the end before may still be there.
        let allocated = rustix::fs::fstat(&self.fd)?.st_blocks as u64 * 512;
        charge.set_anyway(size.next_multiple_of(mm::PAGE).max(allocated));
        Ok(())
    }
    fn fallocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        if self.seals() & (SEAL_WRITE | SEAL_GROW | SEAL_FUTURE_WRITE) != 0 {
            return Err(Errno::EPERM);
        }
        // Bytes behind the end (FALLOC_FL_KEEP_SIZE) are paid for, too.
        let _charge = self.grow(offset.saturating_add(len))?;
        Ok(fallocate(&self.fd, rustix::fs::FallocateFlags::from_bits_truncate(mode & 3), offset, len)?)
    }
    fn map_source(&self, shared_writable: bool) -> Result<MapSource> {
        if shared_writable {
            if self.seals() & (SEAL_WRITE | SEAL_FUTURE_WRITE) != 0 {
                return Err(Errno::EPERM);
            }
            self.mapped.store(true, Ordering::Release);
        }
        Ok(MapSource { fd: Arc::clone(&self.fd), offset: 0, len: self.size()?, sealed: false })
    }
    fn content_class(&self) -> Result<ContentClass> {
        Ok(ContentClass::Foreign)
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs { fs_type: 0x0102_1994, bsize: 4096, frsize: 4096, namelen: 255, ..StatFs::default() })
    }
}

/// A file as its bytes were when the gate checked them.
pub struct Sealed {
    inode: Arc<dyn Inode>,
    bytes: Arc<[u8]>,
}

impl Sealed {
    /// `bytes` under the attributes of `inode`.
    pub fn new(inode: Arc<dyn Inode>, bytes: Arc<[u8]>) -> Sealed {
        Sealed { inode, bytes }
    }
}

impl Inode for Sealed {
    fn id(&self) -> InodeId {
        self.inode.id()
    }
    fn file_type(&self) -> FileType {
        FileType::Regular
    }
    fn stat(&self) -> Result<Stat> {
        Ok(Stat { size: self.bytes.len() as u64, ..self.inode.stat()? })
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|o| self.bytes.get(o..)).unwrap_or_default();
        let n = rest.len().min(buf.len());
        if let (Some(d), Some(s)) = (buf.get_mut(..n), rest.get(..n)) {
            d.copy_from_slice(s);
        }
        Ok(n)
    }
    fn write_at(&self, _: u64, _: &[u8]) -> Result<usize> {
        Err(Errno::EBADF)
    }
}
