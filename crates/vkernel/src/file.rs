//! Open file descriptions and descriptor tables.

use crate::errno::{Errno, Result};
use crate::kernel::Kernel;
use crate::process::{Pid, Process};
use crate::wait::{WaitQueue, lock};
use megalith_vfs::{FileType, Inode, Location, OpenFlags, Stat};
use std::any::Any;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Readiness bits of poll(2).
pub const POLLIN: u32 = 0x1;
pub const POLLPRI: u32 = 0x2;
pub const POLLOUT: u32 = 0x4;
pub const POLLERR: u32 = 0x8;
pub const POLLHUP: u32 = 0x10;
pub const POLLNVAL: u32 = 0x20;
pub const POLLRDNORM: u32 = 0x40;
pub const POLLWRNORM: u32 = 0x100;
pub const POLLWRBAND: u32 = 0x200;
pub const POLLRDHUP: u32 = 0x2000;

/// Who performs an operation.
pub struct Caller<'a> {
    pub kernel: &'a Arc<Kernel>,
    pub process: &'a Arc<Process>,
    /// Which thread of the process.
    pub tid: Pid,
}

/// Something that is read and written in sequence: pipe ends, terminals, host streams, event objects.
///
/// Operations never block: they answer `EAGAIN`, and the caller waits on [`Stream::queue`] and the host descriptor.
pub trait Stream: Any + Send + Sync {
    /// Reads what is there; 0 is the end. `EAGAIN`: nothing yet.
    fn read(&self, _c: &Caller<'_>, _buf: &mut [u8]) -> Result<usize> {
        Err(Errno::EINVAL)
    }
    /// Writes what there is room for. `EAGAIN`: no room yet.
    fn write(&self, _c: &Caller<'_>, _data: &[u8]) -> Result<usize> {
        Err(Errno::EINVAL)
    }
    /// Current readiness (`POLL*`).
    fn poll(&self) -> u32;
    /// Woken when readiness may have changed.
    fn queue(&self) -> Option<&WaitQueue>;
    /// A further queue, for objects with two directions.
    fn second_queue(&self) -> Option<&WaitQueue> {
        None
    }
    /// A host descriptor whose readiness matters instead.
    fn host(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    /// How long reading, or writing, may wait (SO_RCVTIMEO, SO_SNDTIMEO); `None`: as long as it takes.
    fn timeout(&self, _write: bool) -> Option<Duration> {
        None
    }
    /// ioctl(2) with a plain argument; those with memory go through `ioctl_mem`.
    fn ioctl(&self, _c: &Caller<'_>, _request: u32, _arg: u64, _mem: &mut dyn IoctlMemory) -> Result<i64> {
        Err(Errno::ENOTTY)
    }
    /// lseek(2) with SEEK_SET, SEEK_CUR or SEEK_END.
    fn seek(&self, _offset: i64, _whence: u32) -> Result<u64> {
        Err(Errno::ESPIPE)
    }
    /// Attributes.
    fn stat(&self) -> Result<Stat>;
    /// For casts to the concrete type.
    fn as_any(&self) -> &dyn Any;
    /// What /proc/PID/fd shows of objects without a name.
    fn type_name(&self) -> &'static str {
        "anon_inode"
    }
}

/// Guest memory for ioctl arguments.
pub trait IoctlMemory {
    /// Reads at `addr`.
    fn get(&mut self, addr: u64, buf: &mut [u8]) -> Result<()>;
    /// Writes at `addr`.
    fn put(&mut self, addr: u64, data: &[u8]) -> Result<()>;
}

/// What a description refers to.
#[derive(Clone)]
pub enum Object {
    /// A file or directory of the file system.
    Inode(Arc<dyn Inode>),
    Stream(Arc<dyn Stream>),
    /// Opened with O_PATH: a name only.
    Path,
}

/// An open file description: shared by dup and fork.
pub struct OpenFile {
    pub object: Object,
    /// Access mode and status flags (`O_APPEND`, `O_NONBLOCK`, ...).
    pub flags: AtomicU32,
    pub pos: Mutex<u64>,
    /// The name; absent for pipes, sockets and the like.
    pub location: Option<Location>,
    /// F_SETOWN, F_SETSIG: kept to be read back.
    pub owner: AtomicI32,
    pub seals: AtomicU32,
}

impl OpenFile {
    /// A description with position 0.
    pub fn new(object: Object, flags: u32, location: Option<Location>) -> Arc<OpenFile> {
        Arc::new(OpenFile {
            object,
            flags: AtomicU32::new(
                flags
                    & !(OpenFlags::O_CREAT
                        | OpenFlags::O_EXCL
                        | OpenFlags::O_TRUNC
                        | OpenFlags::O_NOCTTY
                        | OpenFlags::O_CLOEXEC),
            ),
            pos: Mutex::new(0),
            location,
            owner: AtomicI32::new(0),
            seals: AtomicU32::new(0),
        })
    }
    /// A stream without a name.
    pub fn stream(s: Arc<dyn Stream>, flags: u32) -> Arc<OpenFile> {
        OpenFile::new(Object::Stream(s), flags, None)
    }
    /// Status flags.
    pub fn flags(&self) -> u32 {
        self.flags.load(Ordering::Relaxed)
    }
    /// Whether it was opened for reading.
    pub fn readable(&self) -> bool {
        !matches!(self.object, Object::Path) && self.flags() & 3 != 1
    }
    /// Whether it was opened for writing.
    pub fn writable(&self) -> bool {
        !matches!(self.object, Object::Path) && matches!(self.flags() & 3, 1 | 2)
    }
    /// Whether operations must not block.
    pub fn nonblocking(&self) -> bool {
        self.flags() & OpenFlags::O_NONBLOCK != 0
    }
    /// The stream, if it is one.
    pub fn as_stream(&self) -> Option<&Arc<dyn Stream>> {
        match &self.object {
            Object::Stream(s) => Some(s),
            _ => None,
        }
    }
    /// The inode, if it is a file system object (also through O_PATH).
    pub fn inode(&self) -> Option<Arc<dyn Inode>> {
        match &self.object {
            Object::Inode(i) => Some(Arc::clone(i)),
            Object::Path => self.location.as_ref().map(|l| Arc::clone(l.inode())),
            Object::Stream(_) => None,
        }
    }
    /// fstat(2).
    pub fn stat(&self) -> Result<Stat> {
        match (&self.object, &self.location) {
            (_, Some(l)) => match &self.object {
                Object::Inode(i) => i.stat(),
                _ => l.inode().stat(),
            },
            (Object::Inode(i), None) => i.stat(),
            (Object::Stream(s), None) => s.stat(),
            (Object::Path, None) => Err(Errno::EBADF),
        }
    }
    /// Readiness; files are always ready.
    pub fn poll(&self) -> u32 {
        match &self.object {
            Object::Stream(s) => s.poll(),
            Object::Inode(_) => POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM,
            Object::Path => POLLNVAL,
        }
    }
    /// What /proc/PID/fd/N points at.
    pub fn link_text(&self, root: Option<&Location>) -> Vec<u8> {
        if let Some(l) = &self.location {
            return l.path(root);
        }
        match &self.object {
            Object::Stream(s) => {
                let st = s.stat().unwrap_or_default();
                match st.file_type() {
                    FileType::Fifo => format!("pipe:[{}]", st.ino).into_bytes(),
                    FileType::Socket => format!("socket:[{}]", st.ino).into_bytes(),
                    FileType::CharDevice => b"/dev/console".to_vec(),
                    _ => format!("anon_inode:[{}]", s.type_name()).into_bytes(),
                }
            }
            _ => b"anon_inode:[file]".to_vec(),
        }
    }
}

/// One descriptor.
#[derive(Clone)]
pub struct FdEntry {
    pub file: Arc<OpenFile>,
    pub cloexec: bool,
}

/// The descriptors of a process.
#[derive(Clone, Default)]
pub struct FdTable {
    entries: Vec<Option<FdEntry>>,
}

impl FdTable {
    /// The description behind a descriptor; `EBADF`.
    pub fn get(&self, fd: i32) -> Result<&Arc<OpenFile>> {
        self.entry(fd).map(|e| &e.file)
    }
    /// The descriptor; `EBADF`.
    pub fn entry(&self, fd: i32) -> Result<&FdEntry> {
        usize::try_from(fd).ok().and_then(|i| self.entries.get(i)).and_then(Option::as_ref).ok_or(Errno::EBADF)
    }
    /// The same, to be changed.
    pub fn entry_mut(&mut self, fd: i32) -> Result<&mut FdEntry> {
        usize::try_from(fd).ok().and_then(|i| self.entries.get_mut(i)).and_then(Option::as_mut).ok_or(Errno::EBADF)
    }
    /// Adds a descriptor at the lowest free number from `min` on; `EMFILE` at `limit`.
    pub fn add(&mut self, file: Arc<OpenFile>, cloexec: bool, min: i32, limit: u64) -> Result<i32> {
        let i = self.free(min, limit)?;
        self.set(i, FdEntry { file, cloexec });
        Ok(i as i32)
    }
    /// The lowest free number from `min` on. `EMFILE` when it is not below `limit`: descriptors from before the limit was lowered do not count.
    pub fn free(&self, min: i32, limit: u64) -> Result<usize> {
        let min = usize::try_from(min).map_err(|_| Errno::EINVAL)?;
        let free = (min..).find(|&i| self.entries.get(i).is_none_or(Option::is_none));
        free.filter(|&i| (i as u64) < limit).ok_or(Errno::EMFILE)
    }
    fn set(&mut self, i: usize, e: FdEntry) -> Option<FdEntry> {
        if i >= self.entries.len() {
            self.entries.resize(i + 1, None);
        }
        self.entries.get_mut(i).and_then(|slot| slot.replace(e))
    }
    /// Puts a description at a number (dup2); returns what was there. The caller has checked the limit.
    pub fn put(&mut self, fd: i32, file: Arc<OpenFile>, cloexec: bool) -> Option<FdEntry> {
        self.set(usize::try_from(fd).ok()?, FdEntry { file, cloexec })
    }
    /// Removes a descriptor; `EBADF`.
    pub fn remove(&mut self, fd: i32) -> Result<FdEntry> {
        usize::try_from(fd).ok().and_then(|i| self.entries.get_mut(i)).and_then(Option::take).ok_or(Errno::EBADF)
    }
    /// Descriptors in use.
    pub fn iter(&self) -> impl Iterator<Item = (i32, &FdEntry)> {
        self.entries.iter().enumerate().filter_map(|(i, e)| Some((i as i32, e.as_ref()?)))
    }
    /// Takes out the close-on-exec descriptors.
    pub fn take_cloexec(&mut self) -> Vec<FdEntry> {
        self.entries.iter_mut().filter(|e| e.as_ref().is_some_and(|e| e.cloexec)).filter_map(Option::take).collect()
    }
    /// Closes everything.
    pub fn close_all(self, kernel: &Kernel, pid: Pid) {
        for e in self.entries.into_iter().flatten() {
            closed(kernel, pid, e);
        }
    }
}

/// What closing a descriptor entails: record locks of the process on the file go.
pub fn closed(kernel: &Kernel, pid: Pid, e: FdEntry) {
    kernel.locks.closed(pid, &e.file);
    drop(e);
}

/// Locks the position of a description for an operation that uses and moves it.
pub fn position(f: &OpenFile) -> std::sync::MutexGuard<'_, u64> {
    lock(&f.pos)
}
