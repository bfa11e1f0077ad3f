//! Volumes: directories and files of the host, at a place in the guest's tree.
//!
//! A [`Node`] holds an O_PATH descriptor of one host inode. Every access starts at such a descriptor and takes a single
//! name from there, by openat2 with RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS and RESOLVE_NO_SYMLINKS: `..` never reaches
//! the host (the guest's walk knows its own way up), and a symbolic link is read, never followed, by the host; its text
//! then means what it means in the guest's tree. To read or write, a descriptor is opened again through /proc/self/fd,
//! which cannot lead to another inode whatever happens to the names.

use crate::lock::mutex;
use crate::{
    Access, ContentClass, DirEntry, Errno, FileSystem, FileType, Inode, InodeId, MapSource, NewNode, RenameFlags,
    Result, SetAttr, Stat, StatFs, Timespec, check_name, mode,
};
use rustix::fs::{AtFlags, FallocateFlags, Gid, Mode, OFlags, RawDir, ResolveFlags, SeekFrom, Timestamps, Uid};
use rustix::io::{IoSlice, ReadWriteFlags};
use std::any::Any;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

/// A directory or regular file of the host. Guests see the host's owners, modes and inode numbers.
pub struct Volume {
    root: Arc<Node>,
}

/// What the nodes of a volume share.
struct Shared {
    /// /proc/self/fd of the host, by which descriptors are opened again.
    fds: OwnedFd,
    read_only: bool,
    /// Running as root: new files can be given to the guest's user.
    privileged: bool,
    root: InodeId,
}

struct Node {
    shared: Arc<Shared>,
    path: OwnedFd,
    id: InodeId,
    kind: FileType,
    reader: OnceLock<Arc<OwnedFd>>,
    writer: OnceLock<Arc<OwnedFd>>,
    /// For readdir; its position is set under the lock.
    dir: Mutex<Option<OwnedFd>>,
}

impl Volume {
    /// Opens the host directory or regular file `host` (symbolic links in this path are followed: it comes from the
    /// user). EACCES for anything else. Needs the host's /proc.
    pub fn open(host: &Path, read_only: bool) -> Result<Arc<Volume>> {
        let path = rustix::fs::open(host, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let (id, kind) = identify(&path)?;
        if !matches!(kind, FileType::Directory | FileType::Regular) {
            return Err(Errno::EACCES);
        }
        let fds = rustix::fs::open("/proc/self/fd", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let privileged = rustix::process::geteuid().is_root();
        let shared = Arc::new(Shared { fds, read_only, privileged, root: id });
        Ok(Arc::new(Volume { root: Node::new(shared, path, id, kind) }))
    }
}

impl FileSystem for Volume {
    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }
    fn name(&self) -> &str {
        "volume"
    }
    fn read_only(&self) -> bool {
        self.root.shared.read_only
    }
}

fn identify(fd: &OwnedFd) -> Result<(InodeId, FileType)> {
    let s = rustix::fs::fstat(fd)?;
    Ok((InodeId { dev: s.st_dev, ino: s.st_ino }, FileType::from_mode(s.st_mode).ok_or(Errno::EIO)?))
}

const RESOLVE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS).union(ResolveFlags::NO_SYMLINKS);

impl Node {
    fn new(shared: Arc<Shared>, path: OwnedFd, id: InodeId, kind: FileType) -> Arc<Node> {
        Arc::new(Node {
            shared,
            path,
            id,
            kind,
            reader: OnceLock::new(),
            writer: OnceLock::new(),
            dir: Mutex::new(None),
        })
    }

    fn writable(&self) -> Result<()> {
        if self.shared.read_only { Err(Errno::EROFS) } else { Ok(()) }
    }
    fn require_dir(&self, name: &[u8]) -> Result<()> {
        if self.kind == FileType::Directory { check_name(name) } else { Err(Errno::ENOTDIR) }
    }
    /// Devices, fifos and sockets of the host are not for guests.
    fn require_file(&self) -> Result<()> {
        match self.kind {
            FileType::Regular => Ok(()),
            FileType::Directory => Err(Errno::EISDIR),
            FileType::Symlink => Err(Errno::EINVAL),
            _ => Err(Errno::EACCES),
        }
    }

    fn child(&self, name: &[u8]) -> Result<Arc<Node>> {
        self.require_dir(name)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let path = rustix::fs::openat2(&self.path, name, flags, Mode::empty(), RESOLVE)?;
        let (id, kind) = identify(&path)?;
        Ok(Node::new(self.shared.clone(), path, id, kind))
    }

    /// The name of `fd` in /proc/self/fd.
    fn number(fd: &OwnedFd) -> String {
        fd.as_raw_fd().to_string()
    }

    /// Opens this very inode with other flags.
    fn reopen(&self, flags: OFlags) -> Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        Ok(rustix::fs::openat(&self.shared.fds, Self::number(&self.path), flags, Mode::empty())?)
    }

    fn reader(&self) -> Result<&Arc<OwnedFd>> {
        self.require_file()?;
        if let Some(fd) = self.reader.get() {
            return Ok(fd);
        }
        let fd = Arc::new(self.reopen(OFlags::RDONLY)?);
        Ok(self.reader.get_or_init(|| fd))
    }

    fn writer(&self) -> Result<&Arc<OwnedFd>> {
        self.require_file()?;
        self.writable()?;
        if let Some(fd) = self.writer.get() {
            return Ok(fd);
        }
        let fd = match self.reopen(OFlags::RDWR) {
            Err(Errno::EACCES) => self.reopen(OFlags::WRONLY)?,
            r => r?,
        };
        let fd = Arc::new(fd);
        Ok(self.writer.get_or_init(|| fd))
    }

    /// Gives a new object the owner and mode that the guest asked for, as far as the host lets us.
    fn adopt(&self, new: &NewNode) -> Result<()> {
        if self.shared.privileged {
            let s = rustix::fs::fstat(&self.path)?;
            if s.st_uid != new.uid || s.st_gid != new.gid {
                // In a user namespace without that ID, the host's owner stays.
                match self.setattr(&SetAttr { uid: Some(new.uid), gid: Some(new.gid), ..SetAttr::default() }) {
                    Err(Errno::EPERM | Errno::EINVAL) => {}
                    r => r?,
                }
            }
        }
        // The process's umask was applied at creation.
        if self.kind != FileType::Symlink {
            self.setattr(&SetAttr { mode: Some(new.mode), ..SetAttr::default() })?;
        }
        Ok(())
    }

    /// A node for the open, new file `fd`.
    fn created(&self, fd: OwnedFd, new: &NewNode) -> Result<Arc<Node>> {
        let path =
            rustix::fs::openat(&self.shared.fds, Self::number(&fd), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let (id, kind) = identify(&path)?;
        let node = Node::new(self.shared.clone(), path, id, kind);
        let _ = node.writer.set(Arc::new(fd));
        node.adopt(new)?;
        Ok(node)
    }
}

fn node_of(inode: &dyn Inode) -> Result<&Node> {
    let any: &dyn Any = inode;
    any.downcast_ref::<Node>().ok_or(Errno::EXDEV)
}

fn timespec(sec: i64, nsec: i64) -> Timespec {
    Timespec { sec, nsec: nsec as u32 }
}

impl Inode for Node {
    fn id(&self) -> InodeId {
        self.id
    }
    fn file_type(&self) -> FileType {
        self.kind
    }
    fn stat(&self) -> Result<Stat> {
        let s = rustix::fs::fstat(&self.path)?;
        let ctime = timespec(s.st_ctime, s.st_ctime_nsec as i64);
        Ok(Stat {
            dev: s.st_dev,
            ino: s.st_ino,
            mode: s.st_mode,
            nlink: s.st_nlink as u64,
            uid: s.st_uid,
            gid: s.st_gid,
            rdev: s.st_rdev,
            size: s.st_size as u64,
            blksize: s.st_blksize as u64,
            blocks: s.st_blocks as u64,
            atime: timespec(s.st_atime, s.st_atime_nsec as i64),
            mtime: timespec(s.st_mtime, s.st_mtime_nsec as i64),
            ctime,
            btime: ctime,
        })
    }

    fn setattr(&self, attr: &SetAttr) -> Result<()> {
        self.writable()?;
        let number = Self::number(&self.path);
        if attr.uid.is_some() || attr.gid.is_some() {
            // -1 would mean "leave it".
            if attr.uid == Some(u32::MAX) || attr.gid == Some(u32::MAX) {
                return Err(Errno::EINVAL);
            }
            rustix::fs::chownat(
                &self.path,
                c"",
                attr.uid.map(Uid::from_raw),
                attr.gid.map(Gid::from_raw),
                AtFlags::EMPTY_PATH,
            )?;
        }
        if let Some(bits) = attr.mode {
            rustix::fs::chmodat(&self.shared.fds, &number, Mode::from_raw_mode(bits & mode::ALL), AtFlags::empty())?;
        }
        if attr.atime.is_some() || attr.mtime.is_some() {
            let time = |t: Option<Timespec>| match t {
                Some(t) => rustix::fs::Timespec { tv_sec: t.sec, tv_nsec: t.nsec.into() },
                None => rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
            };
            let times = Timestamps { last_access: time(attr.atime), last_modification: time(attr.mtime) };
            rustix::fs::utimensat(&self.shared.fds, &number, &times, AtFlags::empty())?;
        }
        Ok(())
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        Ok(self.child(name)?)
    }

    fn create(&self, name: &[u8], new: &NewNode) -> Result<Arc<dyn Inode>> {
        self.require_dir(name)?;
        self.writable()?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat2(&self.path, name, flags, Mode::from_raw_mode(0o600), RESOLVE)?;
        Ok(self.created(fd, new)?)
    }
    fn create_unlinked(&self, new: &NewNode, linkable: bool) -> Result<Arc<dyn Inode>> {
        self.require_dir(b"tmpfile")?;
        self.writable()?;
        let mut flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        if !linkable {
            flags |= OFlags::EXCL;
        }
        let fd = rustix::fs::openat2(&self.path, c".", flags, Mode::from_raw_mode(0o600), RESOLVE)?;
        Ok(self.created(fd, new)?)
    }
    fn mkdir(&self, name: &[u8], new: &NewNode) -> Result<Arc<dyn Inode>> {
        self.require_dir(name)?;
        self.writable()?;
        rustix::fs::mkdirat(&self.path, name, Mode::from_raw_mode(0o700))?;
        let node = self.child(name)?;
        if node.kind == FileType::Directory {
            node.adopt(new)?;
        }
        Ok(node)
    }
    fn mknod(&self, name: &[u8], _kind: FileType, _rdev: u64, _new: &NewNode) -> Result<Arc<dyn Inode>> {
        self.require_dir(name)?;
        self.writable()?;
        Err(Errno::EACCES)
    }
    fn symlink(&self, name: &[u8], target: &[u8], new: &NewNode) -> Result<Arc<dyn Inode>> {
        self.require_dir(name)?;
        self.writable()?;
        rustix::fs::symlinkat(target, &self.path, name)?;
        let node = self.child(name)?;
        if node.kind == FileType::Symlink {
            node.adopt(new)?;
        }
        Ok(node)
    }

    fn link(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        self.require_dir(name)?;
        self.writable()?;
        let node = node_of(target.as_ref())?;
        if !Arc::ptr_eq(&node.shared, &self.shared) {
            return Err(Errno::EXDEV);
        }
        // By descriptor, so that it is this inode and no other.
        Ok(rustix::fs::linkat(&self.shared.fds, Self::number(&node.path), &self.path, name, AtFlags::SYMLINK_FOLLOW)?)
    }
    fn unlink(&self, name: &[u8]) -> Result<()> {
        self.require_dir(name)?;
        self.writable()?;
        Ok(rustix::fs::unlinkat(&self.path, name, AtFlags::empty())?)
    }
    fn rmdir(&self, name: &[u8]) -> Result<()> {
        self.require_dir(name)?;
        self.writable()?;
        Ok(rustix::fs::unlinkat(&self.path, name, AtFlags::REMOVEDIR)?)
    }
    fn rename(&self, name: &[u8], new_dir: &Arc<dyn Inode>, new_name: &[u8], flags: RenameFlags) -> Result<()> {
        self.require_dir(name)?;
        self.writable()?;
        let to = node_of(new_dir.as_ref())?;
        if !Arc::ptr_eq(&to.shared, &self.shared) {
            return Err(Errno::EXDEV);
        }
        to.require_dir(new_name)?;
        let mut host = rustix::fs::RenameFlags::empty();
        host.set(rustix::fs::RenameFlags::NOREPLACE, flags.noreplace);
        host.set(rustix::fs::RenameFlags::EXCHANGE, flags.exchange);
        Ok(rustix::fs::renameat_with(&self.path, name, &to.path, new_name, host)?)
    }

    fn readdir(&self, cursor: u64, max: usize) -> Result<Vec<DirEntry>> {
        self.require_dir(b"entries")?;
        if i64::try_from(cursor).is_err() {
            return Err(Errno::EINVAL);
        }
        let mut guard = mutex(&self.dir);
        let fd = match &mut *guard {
            Some(fd) => fd,
            none => none.insert(self.reopen(OFlags::RDONLY | OFlags::DIRECTORY)?),
        };
        rustix::fs::seek(&*fd, SeekFrom::Start(cursor))?;
        let mut buf = [MaybeUninit::<u8>::uninit(); 16384];
        let mut entries = RawDir::new(&*fd, &mut buf);
        let mut out = Vec::new();
        while out.len() < max {
            // One buffer full is enough; the caller goes on at the last cursor.
            if !out.is_empty() && entries.is_buffer_empty() {
                break;
            }
            let Some(e) = entries.next() else { break };
            let e = e?;
            let name = e.file_name().to_bytes().to_vec();
            let file_type = match e.file_type() {
                rustix::fs::FileType::Unknown => {
                    let s = rustix::fs::statat(&self.path, e.file_name(), AtFlags::SYMLINK_NOFOLLOW);
                    s.ok().and_then(|s| FileType::from_mode(s.st_mode)).unwrap_or(FileType::Regular)
                }
                t => FileType::from_mode(t.as_raw_mode()).unwrap_or(FileType::Regular),
            };
            // What is above the volume is not the guest's to know.
            let ino = if name == b".." && self.id == self.shared.root { self.id.ino } else { e.ino() };
            out.push(DirEntry { name, ino, file_type, next: e.next_entry_cookie() });
        }
        Ok(out)
    }

    fn readlink(&self) -> Result<Vec<u8>> {
        if self.kind != FileType::Symlink {
            return Err(Errno::EINVAL);
        }
        Ok(rustix::fs::readlinkat(&self.path, c"", Vec::new())?.into_bytes())
    }

    fn open(&self, access: Access) -> Result<Option<Arc<dyn Inode>>> {
        if self.kind == FileType::Directory {
            return Ok(None);
        }
        if access.write {
            self.writer()?;
        }
        if access.read || access.exec {
            self.reader()?;
        }
        self.require_file()?;
        Ok(None)
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        Ok(rustix::io::pread(self.reader()?, buf, offset)?)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<usize> {
        Ok(rustix::io::pwrite(self.writer()?, data, offset)?)
    }
    fn append(&self, data: &[u8]) -> Result<(u64, usize)> {
        let fd = self.writer()?;
        let n = rustix::io::pwritev2(fd, &[IoSlice::new(data)], 0, ReadWriteFlags::APPEND)?;
        let end = rustix::fs::fstat(fd)?.st_size as u64;
        Ok((end.saturating_sub(n as u64), n))
    }
    fn truncate(&self, size: u64) -> Result<()> {
        Ok(rustix::fs::ftruncate(self.writer()?, size)?)
    }
    fn fallocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        let flags = match mode {
            0 => FallocateFlags::empty(),
            1 => FallocateFlags::KEEP_SIZE,
            3 => FallocateFlags::KEEP_SIZE | FallocateFlags::PUNCH_HOLE,
            _ => return Err(Errno::EOPNOTSUPP),
        };
        Ok(rustix::fs::fallocate(self.writer()?, flags, offset, len)?)
    }
    fn seek_data(&self, offset: u64, data: bool) -> Result<u64> {
        let whence = if data { SeekFrom::Data(offset) } else { SeekFrom::Hole(offset) };
        let fd = match self.reader.get().or(self.writer.get()) {
            Some(fd) => fd,
            None => self.reader()?,
        };
        Ok(rustix::fs::seek(fd, whence)?)
    }
    fn fsync(&self, data_only: bool) -> Result<()> {
        match (self.writer.get(), self.kind) {
            (Some(fd), _) if data_only => Ok(rustix::fs::fdatasync(fd)?),
            (Some(fd), _) => Ok(rustix::fs::fsync(fd)?),
            (None, FileType::Directory) => Ok(rustix::fs::fsync(self.reopen(OFlags::RDONLY | OFlags::DIRECTORY)?)?),
            _ => Ok(()),
        }
    }

    fn map_source(&self, shared_writable: bool) -> Result<MapSource> {
        if self.kind != FileType::Regular {
            return Err(Errno::ENODEV);
        }
        let fd = if shared_writable { self.writer()? } else { self.reader()? };
        let len = rustix::fs::fstat(fd)?.st_size as u64;
        Ok(MapSource { fd: fd.clone(), offset: 0, len, sealed: false })
    }
    fn content_class(&self) -> Result<ContentClass> {
        self.require_file()?;
        Ok(ContentClass::Foreign)
    }

    fn statfs(&self) -> Result<StatFs> {
        let s = rustix::fs::fstatvfs(&self.path)?;
        let fs_type = rustix::fs::fstatfs(&self.path)?.f_type as u64;
        Ok(StatFs {
            fs_type,
            bsize: s.f_bsize,
            blocks: s.f_blocks,
            bfree: s.f_bfree,
            bavail: s.f_bavail,
            files: s.f_files,
            ffree: s.f_ffree,
            namelen: s.f_namemax,
            frsize: s.f_frsize,
            flags: s.f_flag.bits() | self.shared.read_only as u64,
        })
    }
}
