//! The plain data that crosses this crate's boundary: credentials, `struct stat`, directory entries, open flags.

use crate::{Errno, Result};
use std::sync::{Arc, OnceLock};

/// Longest path that a system call accepts, including the terminating NUL (`PATH_MAX`).
pub const PATH_MAX: usize = 4096;
/// Longest name of a directory entry (`NAME_MAX`).
pub const NAME_MAX: usize = 255;
/// Symbolic links that one walk follows before it fails with ELOOP (`MAXSYMLINKS`).
pub const MAX_SYMLINKS: u32 = 40;

/// Mode bits (man 7 inode).
pub mod mode {
    /// Mask of the file type bits.
    pub const S_IFMT: u32 = 0o170000;
    /// Set-user-ID.
    pub const S_ISUID: u32 = 0o4000;
    /// Set-group-ID; on a directory, new entries inherit its group.
    pub const S_ISGID: u32 = 0o2000;
    /// Sticky: only owners may remove entries of the directory.
    pub const S_ISVTX: u32 = 0o1000;
    /// Everything chmod can change.
    pub const ALL: u32 = 0o7777;
}

/// Flags of open(2), with the numbers of x86-64.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OpenFlags(pub u32);

impl OpenFlags {
    pub const O_RDONLY: u32 = 0;
    pub const O_WRONLY: u32 = 1;
    pub const O_RDWR: u32 = 2;
    pub const O_ACCMODE: u32 = 3;
    pub const O_CREAT: u32 = 0o100;
    pub const O_EXCL: u32 = 0o200;
    pub const O_NOCTTY: u32 = 0o400;
    pub const O_TRUNC: u32 = 0o1000;
    pub const O_APPEND: u32 = 0o2000;
    pub const O_NONBLOCK: u32 = 0o4000;
    pub const O_DIRECT: u32 = 0o40000;
    pub const O_DIRECTORY: u32 = 0o200000;
    pub const O_NOFOLLOW: u32 = 0o400000;
    pub const O_NOATIME: u32 = 0o1000000;
    pub const O_CLOEXEC: u32 = 0o2000000;
    pub const O_PATH: u32 = 0o10000000;
    /// `__O_TMPFILE | O_DIRECTORY`, as user space spells it.
    pub const O_TMPFILE: u32 = 0o20200000;

    /// True when all bits of `bits` are set.
    pub fn has(self, bits: u32) -> bool {
        self.0 & bits == bits
    }
    /// What the access mode allows (mode 3 asks for both permissions and gives neither; treated as read and write).
    pub fn access(self) -> Access {
        match self.0 & Self::O_ACCMODE {
            0 => Access::READ,
            1 => Access::WRITE,
            _ => Access { read: true, write: true, exec: false },
        }
    }
}

/// A set of permissions: asked for by access(2) and open(2), needed by a walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Access {
    pub read: bool,
    pub write: bool,
    pub exec: bool,
}

impl Access {
    pub const READ: Access = Access { read: true, write: false, exec: false };
    pub const WRITE: Access = Access { read: false, write: true, exec: false };
    pub const EXEC: Access = Access { read: false, write: false, exec: true };
    /// What changing a directory needs: write and search.
    pub const CHANGE: Access = Access { read: false, write: true, exec: true };

    /// From the `mode` argument of access(2): R_OK 4, W_OK 2, X_OK 1; EINVAL for other bits.
    pub fn from_bits(bits: u32) -> Result<Access> {
        if bits > 7 {
            return Err(Errno::EINVAL);
        }
        Ok(Access { read: bits & 4 != 0, write: bits & 2 != 0, exec: bits & 1 != 0 })
    }
}

/// The credentials that file system operations use (man 7 credentials: the *file system* user and group ID).
/// For access(2) the caller builds one from the real IDs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cred {
    /// fsuid. 0 has all file capabilities (CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_CHOWN, CAP_FSETID, CAP_MKNOD).
    pub uid: u32,
    /// fsgid.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Arc<[u32]>,
}

impl Cred {
    /// uid 0, gid 0, no further groups.
    pub fn root() -> Cred {
        Cred::new(0, 0, &[])
    }
    /// The given IDs.
    pub fn new(uid: u32, gid: u32, groups: &[u32]) -> Cred {
        Cred { uid, gid, groups: groups.into() }
    }
    /// True when the holder has the capabilities of root.
    pub fn privileged(&self) -> bool {
        self.uid == 0
    }
    /// True when `gid` is the file system group or one of the supplementary groups.
    pub fn in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }
    /// Owner, or privileged (CAP_FOWNER).
    pub fn owns(&self, stat: &Stat) -> bool {
        self.privileged() || self.uid == stat.uid
    }
    /// Checks the permission bits of `stat`: EACCES when `want` is not granted. Read-only file systems are the mount's
    /// concern.
    pub fn check(&self, stat: &Stat, want: Access) -> Result<()> {
        let want_bits = (want.read as u32) << 2 | (want.write as u32) << 1 | want.exec as u32;
        let granted = if self.uid == stat.uid {
            stat.mode >> 6
        } else if self.in_group(stat.gid) {
            stat.mode >> 3
        } else {
            stat.mode
        };
        if want_bits & !granted & 7 == 0 {
            return Ok(());
        }
        // CAP_DAC_OVERRIDE: everything, but execution of a non-directory needs at least one execute bit.
        if self.privileged() && (!want.exec || stat.file_type() == FileType::Directory || stat.mode & 0o111 != 0) {
            return Ok(());
        }
        Err(Errno::EACCES)
    }
}

/// Type of a file (the S_IFMT bits of its mode).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum FileType {
    Regular,
    Directory,
    Symlink,
    Fifo,
    CharDevice,
    BlockDevice,
    Socket,
}

impl FileType {
    /// The S_IFMT bits.
    pub fn mode_bits(self) -> u32 {
        match self {
            FileType::Fifo => 0o010000,
            FileType::CharDevice => 0o020000,
            FileType::Directory => 0o040000,
            FileType::BlockDevice => 0o060000,
            FileType::Regular => 0o100000,
            FileType::Symlink => 0o120000,
            FileType::Socket => 0o140000,
        }
    }
    /// The type in the S_IFMT bits of `mode`, `None` for a value that Linux does not define.
    pub fn from_mode(mode: u32) -> Option<FileType> {
        use FileType::*;
        [Regular, Directory, Symlink, Fifo, CharDevice, BlockDevice, Socket]
            .into_iter()
            .find(|t| t.mode_bits() == mode & mode::S_IFMT)
    }
    /// `d_type` of getdents64: the type bits shifted down by 12 (DT_REG is 8).
    pub fn d_type(self) -> u8 {
        (self.mode_bits() >> 12) as u8
    }
}

/// A point in time since 1970-01-01 UTC; `nsec` below 1e9.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Timespec {
    pub sec: i64,
    pub nsec: u32,
}

/// See [`Timespec::fix`].
static FIXED: OnceLock<Timespec> = OnceLock::new();

impl Timespec {
    /// The host's real-time clock, in ticks as the kernel stamps files; or what [`Timespec::fix`] said.
    pub fn now() -> Timespec {
        if let Some(fixed) = FIXED.get() {
            return *fixed;
        }
        let t = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        Timespec { sec: t.tv_sec, nsec: t.tv_nsec as u32 }
    }

    /// Stops the clock of this process's files at `self`, for good: what is made while a snapshot is taken must not say when that was.
    pub fn fix(self) {
        FIXED.get_or_init(|| self);
    }
}

/// Where a file system takes its time stamps from.
pub type Clock = fn() -> Timespec;

/// Identity of an inode: `st_dev` and `st_ino`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct InodeId {
    pub dev: u64,
    pub ino: u64,
}

/// `struct stat` (man 3type stat) and the birth time of statx. `blocks` counts 512-byte units.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stat {
    pub dev: u64,
    pub ino: u64,
    /// Type and permission bits.
    pub mode: u32,
    pub nlink: u64,
    pub uid: u32,
    pub gid: u32,
    pub rdev: u64,
    pub size: u64,
    pub blksize: u64,
    pub blocks: u64,
    pub atime: Timespec,
    pub mtime: Timespec,
    pub ctime: Timespec,
    pub btime: Timespec,
}

impl Stat {
    /// The file type of `mode` (an undefined type counts as a regular file).
    pub fn file_type(&self) -> FileType {
        FileType::from_mode(self.mode).unwrap_or(FileType::Regular)
    }
}

/// `struct statfs` (man 2 statfs).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StatFs {
    /// File system magic (`TMPFS_MAGIC`, ...).
    pub fs_type: u64,
    pub bsize: u64,
    pub blocks: u64,
    pub bfree: u64,
    pub bavail: u64,
    pub files: u64,
    pub ffree: u64,
    pub namelen: u64,
    pub frsize: u64,
    /// ST_RDONLY (1) and its like.
    pub flags: u64,
}

/// One entry of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirEntry {
    pub name: Vec<u8>,
    pub ino: u64,
    pub file_type: FileType,
    /// Cursor that goes on after this entry (`d_off`).
    pub next: u64,
}

/// What a new inode starts with. The mode has the permission bits only, the umask already applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewNode {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// Changes to an inode's attributes; `None` leaves a field as it is. ctime is set by every change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SetAttr {
    /// Permission bits (`mode::ALL`).
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub atime: Option<Timespec>,
    pub mtime: Option<Timespec>,
}

/// Flags of renameat2(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RenameFlags {
    /// RENAME_NOREPLACE: EEXIST when the target exists.
    pub noreplace: bool,
    /// RENAME_EXCHANGE: swap the two.
    pub exchange: bool,
}

impl RenameFlags {
    /// From the `flags` argument of renameat2(2); EINVAL for other bits (RENAME_WHITEOUT included) and for both at
    /// once.
    pub fn from_bits(bits: u32) -> Result<RenameFlags> {
        if bits >= 3 {
            return Err(Errno::EINVAL);
        }
        Ok(RenameFlags { noreplace: bits & 1 != 0, exchange: bits & 2 != 0 })
    }
}

/// One new timestamp of utimensat(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetTime {
    /// UTIME_OMIT.
    Keep,
    /// UTIME_NOW.
    Now,
    To(Timespec),
}
