//! /dev: device nodes, what opening them gives, and /dev/pts.

use crate::errno::{Errno, Result};
use crate::file::{Caller, IoctlMemory, Object, OpenFile, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM, Stream};
use crate::kernel::Kernel;
use crate::wait::{WaitQueue, lock};
use megalith_vfs::{
    At, Cred, DirEntry, FileSystem, FileType, Inode, InodeId, LayeredFs, Location, OpenFlags, Stat, StatFs, Timespec,
    WalkFlags, list_dir,
};
use std::any::Any;
use std::sync::{Arc, Weak};

/// Major and minor number as `st_rdev` holds small ones.
const fn dev(major: u64, minor: u64) -> u64 {
    major << 8 | minor
}

const NULL: u64 = dev(1, 3);
const ZERO: u64 = dev(1, 5);
const FULL: u64 = dev(1, 7);
const RANDOM: u64 = dev(1, 8);
const URANDOM: u64 = dev(1, 9);
const TTY: u64 = dev(5, 0);
const CONSOLE: u64 = dev(5, 1);
const PTMX: u64 = dev(5, 2);

/// Mounts /dev and /dev/pts and makes the nodes.
pub fn mount(k: &Arc<Kernel>) -> Result<()> {
    let vfs = &k.vfs;
    let budget = Arc::clone(&k.config.files);
    vfs.mount_creating(b"/dev", LayeredFs::tmpfs(0o755, budget)?, false)?;
    let root = vfs.root();
    let cred = Cred::root();
    let at = At { root: &root, base: &root, cred: &cred };
    for (name, rdev, mode) in [
        ("null", NULL, 0o666),
        ("zero", ZERO, 0o666),
        ("full", FULL, 0o666),
        ("random", RANDOM, 0o666),
        ("urandom", URANDOM, 0o666),
        ("tty", TTY, 0o666),
        ("console", CONSOLE, 0o600),
    ] {
        vfs.mknod(&at, format!("/dev/{name}").as_bytes(), FileType::CharDevice, mode, rdev)?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        vfs.symlink(&at, target.as_bytes(), format!("/dev/{name}").as_bytes())?;
    }
    let shm = vfs.mkdir(&at, b"/dev/shm", 0o1777)?;
    vfs.chmod(&shm, &cred, 0o1777)?;
    vfs.mkdir(&at, b"/dev/pts", 0o755)?;
    vfs.mount(b"/dev/pts", Arc::new(PtsFs { kernel: Arc::downgrade(k) }), false)?;
    Ok(())
}

/// The name under which the first process has its terminal open.
pub fn console_location(k: &Kernel) -> Option<Location> {
    let root = k.vfs.root();
    let cred = Cred::root();
    k.vfs.lookup(&At { root: &root, base: &root, cred: &cred }, b"/dev/console", WalkFlags::FOLLOW).ok()
}

/// What opening a device gives.
pub fn open_device(c: &Caller<'_>, rdev: u64, block: bool, flags: u32) -> Result<Object> {
    if block {
        return Err(Errno::ENXIO);
    }
    let stream: Arc<dyn Stream> = match rdev {
        NULL | ZERO | FULL | RANDOM | URANDOM => Arc::new(Memory { rdev }),
        TTY => {
            let tree = lock(&c.kernel.tree);
            let sid = tree.nodes.get(&c.process.pid).map_or(0, |n| n.sid);
            tree.terminals.get(&sid).ok_or(Errno::ENXIO)?.slave()
        }
        CONSOLE => c.kernel.console.get().ok_or(Errno::EIO)?.slave(),
        PTMX => c.kernel.ptys.open_master(c.kernel)?,
        r if r >> 8 == 136 => {
            let slave = c.kernel.ptys.open_slave((r & 0xff) as u32)?;
            take_terminal(c, &slave, flags);
            slave
        }
        _ => return Err(Errno::ENXIO),
    };
    Ok(Object::Stream(stream))
}

/// A session leader without a terminal gets the one it opens (unless O_NOCTTY).
fn take_terminal(c: &Caller<'_>, slave: &crate::tty::TtyFile, flags: u32) {
    if flags & OpenFlags::O_NOCTTY != 0 {
        return;
    }
    let mut tree = lock(&c.kernel.tree);
    let Some(n) = tree.nodes.get(&c.process.pid) else { return };
    let (sid, pgid) = (n.sid, n.pgid);
    let taken = tree.terminals.values().any(|t| Arc::ptr_eq(t, slave.tty()));
    if sid == c.process.pid && !taken && !tree.terminals.contains_key(&sid) {
        slave.tty().acquire(sid, pgid);
        tree.terminals.insert(sid, Arc::clone(slave.tty()));
    }
}

/// Whether a description is /dev/zero.
pub fn is_zero(f: &OpenFile) -> bool {
    f.as_stream().and_then(|s| s.as_any().downcast_ref::<Memory>()).is_some_and(|m| m.rdev == ZERO)
}

/// Whether a description is a device whose reads never come up short: zero, full, random, urandom.
pub fn is_endless(f: &OpenFile) -> bool {
    f.as_stream().and_then(|s| s.as_any().downcast_ref::<Memory>()).is_some_and(|m| m.rdev != NULL)
}

/// Fills a buffer from the host's random source.
pub fn fill_random(mut b: &mut [u8]) -> Result<()> {
    while !b.is_empty() {
        let n = match rustix::rand::getrandom(&mut *b, rustix::rand::GetRandomFlags::empty()) {
            Ok(n) => n,
            Err(rustix::io::Errno::INTR) => 0,
            Err(e) => return Err(e.into()),
        };
        b = b.get_mut(n..).unwrap_or_default();
    }
    Ok(())
}

/// null, zero, full, random, urandom.
struct Memory {
    rdev: u64,
}

impl Stream for Memory {
    fn read(&self, c: &Caller<'_>, buf: &mut [u8]) -> Result<usize> {
        match self.rdev {
            NULL => return Ok(0),
            RANDOM | URANDOM => c.kernel.fill_random(buf)?,
            _ => buf.fill(0),
        }
        Ok(buf.len())
    }
    fn write(&self, _: &Caller<'_>, data: &[u8]) -> Result<usize> {
        if self.rdev == FULL && !data.is_empty() { Err(Errno::ENOSPC) } else { Ok(data.len()) }
    }
    fn poll(&self) -> u32 {
        POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM
    }
    fn queue(&self) -> Option<&WaitQueue> {
        None
    }
    fn seek(&self, _: i64, _: u32) -> Result<u64> {
        Ok(0)
    }
    fn ioctl(&self, _: &Caller<'_>, request: u32, arg: u64, mem: &mut dyn IoctlMemory) -> Result<i64> {
        // RNDGETENTCNT
        if request == 0x8004_5200 && matches!(self.rdev, RANDOM | URANDOM) {
            return mem.put(arg, &256u32.to_le_bytes()).map(|()| 0);
        }
        Err(Errno::ENOTTY)
    }
    fn stat(&self) -> Result<Stat> {
        Ok(Stat {
            dev: 5,
            ino: self.rdev,
            mode: FileType::CharDevice.mode_bits() | 0o666,
            nlink: 1,
            rdev: self.rdev,
            blksize: 4096,
            ..Stat::default()
        })
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// /dev/pts.
struct PtsFs {
    kernel: Weak<Kernel>,
}

const PTS_DEV: u64 = 20;

impl FileSystem for PtsFs {
    fn root(&self) -> Arc<dyn Inode> {
        Arc::new(PtsDir { kernel: Weak::clone(&self.kernel) })
    }
    fn name(&self) -> &str {
        "devpts"
    }
}

struct PtsDir {
    kernel: Weak<Kernel>,
}

impl Inode for PtsDir {
    fn id(&self) -> InodeId {
        InodeId { dev: PTS_DEV, ino: 1 }
    }
    fn file_type(&self) -> FileType {
        FileType::Directory
    }
    fn stat(&self) -> Result<Stat> {
        let t = Timespec::now();
        Ok(Stat {
            dev: PTS_DEV,
            ino: 1,
            mode: 0o40755,
            nlink: 2,
            blksize: 1024,
            atime: t,
            mtime: t,
            ctime: t,
            ..Stat::default()
        })
    }
    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        if name == b"ptmx" {
            return Ok(Arc::new(PtsNode { rdev: PTMX, ino: 2, mode: 0o666 }));
        }
        let text = std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        let n: u32 = text.parse().map_err(|_| Errno::ENOENT)?;
        let k = self.kernel.upgrade().ok_or(Errno::ENOENT)?;
        if n.to_string() != text || n > 255 || k.ptys.get(n).is_none() {
            return Err(Errno::ENOENT);
        }
        Ok(Arc::new(PtsNode { rdev: dev(136, n.into()), ino: 3 + u64::from(n), mode: 0o620 }))
    }
    fn readdir(&self, cursor: u64, max: usize) -> Result<Vec<DirEntry>> {
        let list = self.kernel.upgrade().map(|k| k.ptys.list()).unwrap_or_default();
        let pts = list
            .into_iter()
            .map(|n| (1 + u64::from(n), n.to_string().into_bytes(), 3 + u64::from(n), FileType::CharDevice));
        Ok(list_dir(1, 1, std::iter::once((0, b"ptmx".to_vec(), 2, FileType::CharDevice)).chain(pts), cursor, max))
    }
    fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs { fs_type: 0x1cd1, bsize: 4096, frsize: 4096, namelen: 255, ..StatFs::default() })
    }
}

struct PtsNode {
    rdev: u64,
    ino: u64,
    mode: u32,
}

impl Inode for PtsNode {
    fn id(&self) -> InodeId {
        InodeId { dev: PTS_DEV, ino: self.ino }
    }
    fn file_type(&self) -> FileType {
        FileType::CharDevice
    }
    fn stat(&self) -> Result<Stat> {
        let t = Timespec::now();
        Ok(Stat {
            dev: PTS_DEV,
            ino: self.ino,
            mode: FileType::CharDevice.mode_bits() | self.mode,
            nlink: 1,
            gid: if self.rdev == PTMX { 0 } else { 5 },
            rdev: self.rdev,
            blksize: 1024,
            atime: t,
            mtime: t,
            ctime: t,
            ..Stat::default()
        })
    }
    fn setattr(&self, _: &megalith_vfs::SetAttr) -> Result<()> {
        // grantpt(3) changes owner and mode; neither is kept.
        Ok(())
    }
}
