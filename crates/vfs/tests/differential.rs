//! Random sequences of operations on a file system of this crate and on a real directory of the kernel: the same
//! results, errors and trees. Once with a tmpfs, and once with what the kernel's directory holds after a while as the
//! sealed lower layer.
//!
//! The kernel's side runs in a thread with a root directory (chroot) and file system user of its own, so that absolute
//! paths, `..` at the root and permissions take part. That needs root; without it, the test says that it did not run.

mod common;

use common::MemTree;
use megalith_vfs::{
    Access, At, Budget, Cred, Errno, FileType, LayeredFs, LayeredOptions, Location, OpenFlags, RenameFlags, Result,
    SetTime, Stat, Timespec, Vfs, WalkFlags, remove_privileges,
};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// xorshift64*.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

fn path(rng: &mut Rng) -> Vec<u8> {
    if rng.chance(1) {
        return rng.pick(&[&b""[..], b"/", b"//", b".", b"..", b"./", b"../"]).to_vec();
    }
    let mut p = Vec::new();
    if rng.chance(40) {
        p.push(b'/');
    }
    let depth = 1 + rng.below(4).min(rng.below(5));
    for i in 0..depth {
        if i > 0 {
            p.extend_from_slice(if rng.chance(5) { b"//" } else { b"/" });
        }
        match rng.below(200) {
            0..4 => p.push(b'.'),
            4..14 => p.extend_from_slice(b".."),
            14 => p.extend(std::iter::repeat_n(b'n', 255)),
            15 => p.extend(std::iter::repeat_n(b'n', 256)),
            16 => p.extend_from_slice(b"\xff\x01 "),
            _ => p.push(b'a' + rng.below(5) as u8),
        }
    }
    if rng.chance(6) {
        p.push(b'/');
    }
    p
}

/// One of the file systems that are compared.
trait Side {
    fn user(&mut self, cred: &Cred);
    fn mkdir(&mut self, base: Option<usize>, path: &[u8], mode: u32) -> Result<()>;
    fn mknod(&mut self, base: Option<usize>, path: &[u8], kind: FileType, mode: u32, rdev: u64) -> Result<()>;
    fn symlink(&mut self, target: &[u8], base: Option<usize>, path: &[u8]) -> Result<()>;
    fn link(
        &mut self,
        base: Option<usize>,
        path: &[u8],
        follow: bool,
        new_base: Option<usize>,
        new: &[u8],
    ) -> Result<()>;
    fn unlink(&mut self, base: Option<usize>, path: &[u8]) -> Result<()>;
    fn rmdir(&mut self, base: Option<usize>, path: &[u8]) -> Result<()>;
    fn rename(
        &mut self,
        base: Option<usize>,
        path: &[u8],
        new_base: Option<usize>,
        new: &[u8],
        flags: u32,
    ) -> Result<()>;
    /// Opens into the slot `fd`, which is closed first.
    fn open(&mut self, fd: usize, base: Option<usize>, path: &[u8], flags: u32, mode: u32, resolve: u64) -> Result<()>;
    fn stat(&mut self, base: Option<usize>, path: &[u8], follow: bool) -> Result<Stat>;
    fn readlink(&mut self, base: Option<usize>, path: &[u8]) -> Result<Vec<u8>>;
    fn access(&mut self, base: Option<usize>, path: &[u8], bits: u32) -> Result<()>;
    fn truncate(&mut self, path: &[u8], size: u64) -> Result<()>;
    fn chmod(&mut self, base: Option<usize>, path: &[u8], mode: u32) -> Result<()>;
    fn chown(
        &mut self,
        base: Option<usize>,
        path: &[u8],
        follow: bool,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Result<()>;
    fn utimens(&mut self, base: Option<usize>, path: &[u8], now: bool) -> Result<()>;
    fn chdir(&mut self, path: &[u8]) -> Result<()>;
    fn getcwd(&mut self) -> Result<Vec<u8>>;
    fn list(&mut self, path: &[u8]) -> Result<Vec<(Vec<u8>, FileType)>>;
    fn fd_path(&mut self, fd: usize) -> Result<Vec<u8>>;
    fn fd_stat(&mut self, fd: usize) -> Result<Stat>;
    fn fd_write(&mut self, fd: usize, offset: u64, data: &[u8]) -> Result<usize>;
    fn fd_read(&mut self, fd: usize, offset: u64, len: usize) -> Result<Vec<u8>>;
    fn fd_truncate(&mut self, fd: usize, size: u64) -> Result<()>;
    fn fd_fallocate(&mut self, fd: usize, mode: u32, offset: u64, len: u64) -> Result<()>;
    fn fd_seek(&mut self, fd: usize, offset: u64, data: bool) -> Result<u64>;
}

const FDS: usize = 6;

// The kernel's side.

struct Kernel {
    fds: [i32; FDS],
    proc_fds: i32,
}

fn check(r: i64) -> Result<i64> {
    if r < 0 { Err(std::io::Error::last_os_error().into()) } else { Ok(r) }
}

fn cstr(p: &[u8]) -> CString {
    CString::new(p).expect("paths of this test have no NUL")
}

fn from_libc(s: &libc::stat) -> Stat {
    Stat {
        dev: s.st_dev,
        ino: s.st_ino,
        mode: s.st_mode,
        nlink: s.st_nlink,
        uid: s.st_uid,
        gid: s.st_gid,
        rdev: s.st_rdev,
        size: s.st_size as u64,
        mtime: Timespec { sec: s.st_mtime, nsec: s.st_mtime_nsec as u32 },
        ..Stat::default()
    }
}

impl Kernel {
    /// Moves the calling thread into `root`.
    fn enter(root: &Path) -> std::io::Result<Kernel> {
        let root = cstr(root.as_os_str().as_bytes());
        // SAFETY: plain system calls; unshare gives this thread a root, working directory and umask of its own.
        unsafe {
            let proc_fds = libc::open(c"/proc/self/fd".as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY);
            if proc_fds < 0
                || libc::unshare(libc::CLONE_FS) != 0
                || libc::chroot(root.as_ptr()) != 0
                || libc::chdir(c"/".as_ptr()) != 0
            {
                return Err(std::io::Error::last_os_error());
            }
            libc::umask(0);
            Ok(Kernel { fds: [-1; FDS], proc_fds })
        }
    }
    fn base(&self, base: Option<usize>) -> i32 {
        base.map_or(libc::AT_FDCWD, |b| self.fds[b])
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        for fd in self.fds.into_iter().chain([self.proc_fds]).filter(|&f| f >= 0) {
            // SAFETY: descriptors of this struct.
            unsafe { libc::close(fd) };
        }
    }
}

/// A system call: all arguments as i64.
macro_rules! sys {
    ($nr:ident $(, $arg:expr)*) => {
        // SAFETY: pointers among the arguments are to live NUL-terminated strings or buffers of the stated length.
        check(unsafe { libc::syscall(libc::$nr $(, $arg as i64)*) })
    };
}

impl Side for Kernel {
    fn user(&mut self, cred: &Cred) {
        sys!(SYS_setfsuid, 0).ok();
        sys!(SYS_setgroups, cred.groups.len(), cred.groups.as_ptr()).expect("setgroups");
        sys!(SYS_setfsgid, cred.gid).ok();
        sys!(SYS_setfsuid, cred.uid).ok();
    }
    fn mkdir(&mut self, base: Option<usize>, path: &[u8], mode: u32) -> Result<()> {
        sys!(SYS_mkdirat, self.base(base), cstr(path).as_ptr(), mode).map(drop)
    }
    fn mknod(&mut self, base: Option<usize>, path: &[u8], kind: FileType, mode: u32, rdev: u64) -> Result<()> {
        sys!(SYS_mknodat, self.base(base), cstr(path).as_ptr(), kind.mode_bits() | mode, rdev).map(drop)
    }
    fn symlink(&mut self, target: &[u8], base: Option<usize>, path: &[u8]) -> Result<()> {
        sys!(SYS_symlinkat, cstr(target).as_ptr(), self.base(base), cstr(path).as_ptr()).map(drop)
    }
    fn link(
        &mut self,
        base: Option<usize>,
        path: &[u8],
        follow: bool,
        new_base: Option<usize>,
        new: &[u8],
    ) -> Result<()> {
        let flags = if follow { libc::AT_SYMLINK_FOLLOW } else { 0 };
        sys!(SYS_linkat, self.base(base), cstr(path).as_ptr(), self.base(new_base), cstr(new).as_ptr(), flags).map(drop)
    }
    fn unlink(&mut self, base: Option<usize>, path: &[u8]) -> Result<()> {
        sys!(SYS_unlinkat, self.base(base), cstr(path).as_ptr(), 0).map(drop)
    }
    fn rmdir(&mut self, base: Option<usize>, path: &[u8]) -> Result<()> {
        sys!(SYS_unlinkat, self.base(base), cstr(path).as_ptr(), libc::AT_REMOVEDIR).map(drop)
    }
    fn rename(
        &mut self,
        base: Option<usize>,
        path: &[u8],
        new_base: Option<usize>,
        new: &[u8],
        flags: u32,
    ) -> Result<()> {
        sys!(SYS_renameat2, self.base(base), cstr(path).as_ptr(), self.base(new_base), cstr(new).as_ptr(), flags)
            .map(drop)
    }
    fn open(&mut self, fd: usize, base: Option<usize>, path: &[u8], flags: u32, mode: u32, resolve: u64) -> Result<()> {
        let nonblock = if flags & OpenFlags::O_PATH == 0 { OpenFlags::O_NONBLOCK } else { 0 };
        let how = [u64::from(flags | nonblock), u64::from(mode), resolve];
        // EAGAIN: a rename anywhere on the host ran beside a `..` of a scoped walk (man 2 openat2).
        let new = loop {
            match sys!(SYS_openat2, self.base(base), cstr(path).as_ptr(), how.as_ptr(), 24) {
                Err(Errno::EAGAIN) => {}
                r => break r?,
            }
        };
        let old = std::mem::replace(&mut self.fds[fd], new as i32);
        if old >= 0 {
            sys!(SYS_close, old)?;
        }
        Ok(())
    }
    fn stat(&mut self, base: Option<usize>, path: &[u8], follow: bool) -> Result<Stat> {
        // SAFETY: an all-zero stat is valid.
        let mut s: libc::stat = unsafe { std::mem::zeroed() };
        let flags = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
        sys!(SYS_newfstatat, self.base(base), cstr(path).as_ptr(), &raw mut s, flags)?;
        Ok(from_libc(&s))
    }
    fn readlink(&mut self, base: Option<usize>, path: &[u8]) -> Result<Vec<u8>> {
        let mut buf = vec![0u8; 8192];
        let n = sys!(SYS_readlinkat, self.base(base), cstr(path).as_ptr(), buf.as_mut_ptr(), buf.len())?;
        buf.truncate(n as usize);
        Ok(buf)
    }
    fn access(&mut self, base: Option<usize>, path: &[u8], bits: u32) -> Result<()> {
        sys!(SYS_faccessat2, self.base(base), cstr(path).as_ptr(), bits, libc::AT_EACCESS).map(drop)
    }
    fn truncate(&mut self, path: &[u8], size: u64) -> Result<()> {
        sys!(SYS_truncate, cstr(path).as_ptr(), size).map(drop)
    }
    fn chmod(&mut self, base: Option<usize>, path: &[u8], mode: u32) -> Result<()> {
        sys!(SYS_fchmodat, self.base(base), cstr(path).as_ptr(), mode).map(drop)
    }
    fn chown(
        &mut self,
        base: Option<usize>,
        path: &[u8],
        follow: bool,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Result<()> {
        let flags = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
        let id = |i: Option<u32>| i.map_or(-1, i64::from);
        sys!(SYS_fchownat, self.base(base), cstr(path).as_ptr(), id(uid), id(gid), flags).map(drop)
    }
    fn utimens(&mut self, base: Option<usize>, path: &[u8], now: bool) -> Result<()> {
        let times = [libc::timespec { tv_sec: 1234, tv_nsec: if now { libc::UTIME_NOW } else { 5678 } }; 2];
        sys!(SYS_utimensat, self.base(base), cstr(path).as_ptr(), times.as_ptr(), 0).map(drop)
    }
    fn chdir(&mut self, path: &[u8]) -> Result<()> {
        sys!(SYS_chdir, cstr(path).as_ptr()).map(drop)
    }
    fn getcwd(&mut self) -> Result<Vec<u8>> {
        let mut buf = vec![0u8; 8192];
        let n = sys!(SYS_getcwd, buf.as_mut_ptr(), buf.len())?;
        buf.truncate(n as usize - 1);
        Ok(buf)
    }
    fn list(&mut self, path: &[u8]) -> Result<Vec<(Vec<u8>, FileType)>> {
        let fd = sys!(SYS_openat, libc::AT_FDCWD, cstr(path).as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY)?;
        let mut out = Vec::new();
        let mut buf = vec![0u8; 32768];
        loop {
            let n = sys!(SYS_getdents64, fd, buf.as_mut_ptr(), buf.len());
            let n = match n {
                Ok(n) => n as usize,
                Err(e) => {
                    sys!(SYS_close, fd)?;
                    return Err(e);
                }
            };
            if n == 0 {
                break;
            }
            let mut at = 0;
            while at < n {
                let len = u16::from_ne_bytes([buf[at + 16], buf[at + 17]]) as usize;
                let name = buf[at + 19..at + len].split(|&c| c == 0).next().unwrap_or(&[]).to_vec();
                out.push((name, FileType::from_mode(u32::from(buf[at + 18]) << 12).expect("d_type")));
                at += len;
            }
        }
        sys!(SYS_close, fd)?;
        out.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(out)
    }
    fn fd_path(&mut self, fd: usize) -> Result<Vec<u8>> {
        if self.fds[fd] < 0 {
            return Err(Errno::EBADF);
        }
        let mut buf = vec![0u8; 8192];
        let name = cstr(self.fds[fd].to_string().as_bytes());
        let n = sys!(SYS_readlinkat, self.proc_fds, name.as_ptr(), buf.as_mut_ptr(), buf.len())?;
        buf.truncate(n as usize);
        Ok(buf)
    }
    fn fd_stat(&mut self, fd: usize) -> Result<Stat> {
        // SAFETY: an all-zero stat is valid.
        let mut s: libc::stat = unsafe { std::mem::zeroed() };
        sys!(SYS_fstat, self.fds[fd], &raw mut s)?;
        Ok(from_libc(&s))
    }
    fn fd_write(&mut self, fd: usize, offset: u64, data: &[u8]) -> Result<usize> {
        sys!(SYS_pwrite64, self.fds[fd], data.as_ptr(), data.len(), offset).map(|n| n as usize)
    }
    fn fd_read(&mut self, fd: usize, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut buf = vec![0u8; len];
        let n = sys!(SYS_pread64, self.fds[fd], buf.as_mut_ptr(), len, offset)?;
        buf.truncate(n as usize);
        Ok(buf)
    }
    fn fd_truncate(&mut self, fd: usize, size: u64) -> Result<()> {
        sys!(SYS_ftruncate, self.fds[fd], size).map(drop)
    }
    fn fd_fallocate(&mut self, fd: usize, mode: u32, offset: u64, len: u64) -> Result<()> {
        sys!(SYS_fallocate, self.fds[fd], mode, offset, len).map(drop)
    }
    fn fd_seek(&mut self, fd: usize, offset: u64, data: bool) -> Result<u64> {
        sys!(SYS_lseek, self.fds[fd], offset, if data { libc::SEEK_DATA } else { libc::SEEK_HOLE }).map(|n| n as u64)
    }
}

// This crate's side, with as much of a kernel around it as the calls need.

struct Ours {
    vfs: Vfs,
    root: Location,
    cwd: Location,
    cred: Cred,
    fds: [Option<(megalith_vfs::Opened, OpenFlags)>; FDS],
}

impl Ours {
    /// Calls `f` with what a system call has at hand; EBADF for a base that is not open.
    fn with<T>(&self, base: Option<usize>, path: &[u8], f: impl FnOnce(&Vfs, &At) -> Result<T>) -> Result<T> {
        let base = match base {
            // An absolute path does not look at its dirfd, nor does an empty one get there.
            Some(b) if path.first() != Some(&b'/') && !path.is_empty() => {
                &self.fds[b].as_ref().ok_or(Errno::EBADF)?.0.location
            }
            _ => &self.cwd,
        };
        f(&self.vfs, &At { root: &self.root, base, cred: &self.cred })
    }
    fn file(&self, fd: usize, write: bool) -> Result<&megalith_vfs::Opened> {
        let (o, flags) = self.fds[fd].as_ref().ok_or(Errno::EBADF)?;
        let a = flags.access();
        let allowed = if write { a.write } else { a.read };
        if flags.has(OpenFlags::O_PATH) || !allowed { Err(Errno::EBADF) } else { Ok(o) }
    }
}

impl Side for Ours {
    fn user(&mut self, cred: &Cred) {
        self.cred = cred.clone();
    }
    fn mkdir(&mut self, base: Option<usize>, path: &[u8], mode: u32) -> Result<()> {
        self.with(base, path, |v, at| v.mkdir(at, path, mode)).map(drop)
    }
    fn mknod(&mut self, base: Option<usize>, path: &[u8], kind: FileType, mode: u32, rdev: u64) -> Result<()> {
        self.with(base, path, |v, at| v.mknod(at, path, kind, mode, rdev)).map(drop)
    }
    fn symlink(&mut self, target: &[u8], base: Option<usize>, path: &[u8]) -> Result<()> {
        self.with(base, path, |v, at| v.symlink(at, target, path)).map(drop)
    }
    fn link(
        &mut self,
        base: Option<usize>,
        path: &[u8],
        follow: bool,
        new_base: Option<usize>,
        new: &[u8],
    ) -> Result<()> {
        let flags = WalkFlags { follow, ..WalkFlags::NOFOLLOW };
        self.with(base, path, |_, at| self.with(new_base, new, |v, new_at| v.link(at, path, flags, new_at, new)))
    }
    fn unlink(&mut self, base: Option<usize>, path: &[u8]) -> Result<()> {
        self.with(base, path, |v, at| v.unlink(at, path))
    }
    fn rmdir(&mut self, base: Option<usize>, path: &[u8]) -> Result<()> {
        self.with(base, path, |v, at| v.rmdir(at, path))
    }
    fn rename(
        &mut self,
        base: Option<usize>,
        path: &[u8],
        new_base: Option<usize>,
        new: &[u8],
        flags: u32,
    ) -> Result<()> {
        let flags = RenameFlags::from_bits(flags)?;
        self.with(base, path, |_, at| self.with(new_base, new, |v, new_at| v.rename(at, path, new_at, new, flags)))
    }
    fn open(&mut self, fd: usize, base: Option<usize>, path: &[u8], flags: u32, mode: u32, resolve: u64) -> Result<()> {
        let flags = OpenFlags(flags);
        // With RESOLVE_IN_ROOT, an absolute path looks at its dirfd too.
        let by = if resolve & 0x10 != 0 && !path.is_empty() { b"relative" } else { path };
        let opened = self.with(base, by, |v, at| {
            let walk = WalkFlags::from_resolve(resolve)?;
            v.open(at, path, flags, mode, walk)
        })?;
        if !flags.has(OpenFlags::O_PATH) {
            match opened.inode.file_type() {
                FileType::Socket => return Err(Errno::ENXIO),
                FileType::Fifo if !flags.access().read => {
                    let reads = |o: &(megalith_vfs::Opened, OpenFlags)| {
                        o.0.inode.id() == opened.inode.id() && o.1.access().read && !o.1.has(OpenFlags::O_PATH)
                    };
                    if !self.fds.iter().flatten().any(reads) {
                        return Err(Errno::ENXIO);
                    }
                }
                _ => {}
            }
        }
        self.fds[fd] = Some((opened, flags));
        Ok(())
    }
    fn stat(&mut self, base: Option<usize>, path: &[u8], follow: bool) -> Result<Stat> {
        self.with(base, path, |v, at| v.stat(at, path, WalkFlags { follow, ..WalkFlags::NOFOLLOW }))
    }
    fn readlink(&mut self, base: Option<usize>, path: &[u8]) -> Result<Vec<u8>> {
        if path.is_empty() && base.is_none() {
            return Err(Errno::ENOENT);
        }
        if path.is_empty() {
            let l = &self.fds[base.unwrap_or(0)].as_ref().ok_or(Errno::EBADF)?.0.location;
            return self.vfs.readlink(&At { root: &self.root, base: l, cred: &self.cred }, path);
        }
        self.with(base, path, |v, at| v.readlink(at, path))
    }
    fn access(&mut self, base: Option<usize>, path: &[u8], bits: u32) -> Result<()> {
        self.with(base, path, |v, at| v.access(at, path, Access::from_bits(bits)?, WalkFlags::FOLLOW))
    }
    fn truncate(&mut self, path: &[u8], size: u64) -> Result<()> {
        self.with(None, path, |v, at| v.truncate(at, path, size))
    }
    fn chmod(&mut self, base: Option<usize>, path: &[u8], mode: u32) -> Result<()> {
        self.with(base, path, |v, at| v.chmod(&v.lookup(at, path, WalkFlags::FOLLOW)?, at.cred, mode))
    }
    fn chown(
        &mut self,
        base: Option<usize>,
        path: &[u8],
        follow: bool,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Result<()> {
        let flags = WalkFlags { follow, ..WalkFlags::NOFOLLOW };
        self.with(base, path, |v, at| v.chown(&v.lookup(at, path, flags)?, at.cred, uid, gid))
    }
    fn utimens(&mut self, base: Option<usize>, path: &[u8], now: bool) -> Result<()> {
        let t = if now { SetTime::Now } else { SetTime::To(Timespec { sec: 1234, nsec: 5678 }) };
        self.with(base, path, |v, at| v.utimens(&v.lookup(at, path, WalkFlags::FOLLOW)?, at.cred, t, t))
    }
    fn chdir(&mut self, path: &[u8]) -> Result<()> {
        self.cwd = self.with(None, path, |v, at| {
            let l = v.lookup(at, path, WalkFlags::DIRECTORY)?;
            at.cred.check(&l.inode().stat()?, Access::EXEC)?;
            Ok(l)
        })?;
        Ok(())
    }
    fn getcwd(&mut self) -> Result<Vec<u8>> {
        self.cwd.cwd_path(&self.root)
    }
    fn list(&mut self, path: &[u8]) -> Result<Vec<(Vec<u8>, FileType)>> {
        let o =
            self.with(None, path, |v, at| v.open(at, path, OpenFlags(OpenFlags::O_DIRECTORY), 0, WalkFlags::FOLLOW))?;
        let mut out = Vec::new();
        let mut cursor = 0;
        loop {
            let some = o.inode.readdir(cursor, 3)?;
            let Some(last) = some.last() else { break };
            cursor = last.next;
            out.extend(some.into_iter().map(|e| (e.name, e.file_type)));
        }
        out.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(out)
    }
    fn fd_path(&mut self, fd: usize) -> Result<Vec<u8>> {
        Ok(self.fds[fd].as_ref().ok_or(Errno::EBADF)?.0.location.path(Some(&self.root)))
    }
    fn fd_stat(&mut self, fd: usize) -> Result<Stat> {
        self.fds[fd].as_ref().ok_or(Errno::EBADF)?.0.inode.stat()
    }
    fn fd_write(&mut self, fd: usize, offset: u64, data: &[u8]) -> Result<usize> {
        let o = self.file(fd, true)?;
        if !data.is_empty() {
            remove_privileges(&o.inode, &self.cred)?;
        }
        o.inode.write_at(offset, data)
    }
    fn fd_read(&mut self, fd: usize, offset: u64, len: usize) -> Result<Vec<u8>> {
        let o = self.file(fd, false)?;
        let mut buf = vec![0; len];
        let n = o.inode.read_at(offset, &mut buf)?;
        buf.truncate(n);
        Ok(buf)
    }
    fn fd_truncate(&mut self, fd: usize, size: u64) -> Result<()> {
        let o = self.fds[fd].as_ref().filter(|o| !o.1.has(OpenFlags::O_PATH)).ok_or(Errno::EBADF)?;
        if !o.1.access().write || o.0.inode.file_type() != FileType::Regular {
            return Err(Errno::EINVAL);
        }
        remove_privileges(&o.0.inode, &self.cred)?;
        o.0.inode.truncate(size)
    }
    fn fd_fallocate(&mut self, fd: usize, mode: u32, offset: u64, len: u64) -> Result<()> {
        let o = self.file(fd, true)?;
        remove_privileges(&o.inode, &self.cred)?;
        o.inode.fallocate(mode, offset, len)
    }
    fn fd_seek(&mut self, fd: usize, offset: u64, data: bool) -> Result<u64> {
        let o = self.fds[fd].as_ref().filter(|o| !o.1.has(OpenFlags::O_PATH)).ok_or(Errno::EBADF)?;
        o.0.inode.seek_data(offset, data)
    }
}

/// What is comparable of a stat: everything but device, inode number, times and a directory's size.
fn key(s: Stat) -> (u32, u64, u32, u32, u64, u64, bool) {
    let size = if s.file_type() == FileType::Directory { 0 } else { s.size };
    (s.mode, s.nlink, s.uid, s.gid, s.rdev, size, s.mtime.sec == 1234)
}

/// One random operation on `side`, with `huge` file sizes or without; the same `rng` state gives the same one. Returns
/// a description and the result.
fn step(rng: &mut Rng, side: &mut dyn Side, huge: bool) -> (String, String) {
    let creds = [Cred::root(), Cred::new(1000, 1000, &[2000]), Cred::new(1001, 1001, &[2000, 1000])];
    let cred = if rng.chance(50) { creds[0].clone() } else { rng.pick(&creds) };
    let base = rng.chance(25).then(|| rng.below(FDS));
    let base2 = rng.chance(25).then(|| rng.below(FDS));
    let p = path(rng);
    let q = path(rng);
    let fd = rng.below(FDS);
    let mode = rng.pick(&[0o777u32, 0o755, 0o700, 0o644, 0o1777, 0o2775, 0o6755, 0o000, 0o600, 0o666]);
    let flag = rng.chance(50);
    let size = rng.pick(&[0u64, 1, 100, 4096, 5000, 16384, 20000, 70000, 1 << 33, (1 << 63) - 50001]);
    let size = if huge { size } else { size.min(70000) };
    let len = rng.pick(&[0usize, 1, 10, 4096, 9000, 40000]);
    let id = rng.pick(&[None, Some(0u32), Some(1000), Some(1001), Some(2000)]);
    let id2 = rng.pick(&[None, Some(0u32), Some(1000), Some(1001), Some(2000)]);
    let bits = rng.next();
    let mut op = rng.below(100);
    let (pt, qt) = (String::from_utf8_lossy(&p).into_owned(), String::from_utf8_lossy(&q).into_owned());
    side.user(&cred);
    // A closed descriptor is the system call's matter.
    let (base, base2) = (base.filter(|&b| side.fd_stat(b).is_ok()), base2.filter(|&b| side.fd_stat(b).is_ok()));
    // Reading and writing pipes is none of a file system's business.
    if op >= 90 && side.fd_stat(fd).is_ok_and(|s| s.file_type() == FileType::Fifo) {
        op = 84;
    }
    let show = |r: Result<()>| format!("{r:?}");
    let (what, result) = match op {
        0..14 => (format!("mkdir {base:?} {pt:?} {mode:o}"), show(side.mkdir(base, &p, mode))),
        14..17 => {
            let (kind, dev) =
                [(FileType::Fifo, 0), (FileType::Socket, 0), (FileType::Regular, 0), (FileType::CharDevice, 0x103)]
                    [(bits % 4) as usize];
            if kind == FileType::CharDevice && cred.uid == 0 {
                ("-".into(), String::new())
            } else {
                (format!("mknod {base:?} {pt:?} {kind:?} {mode:o}"), show(side.mknod(base, &p, kind, mode, dev)))
            }
        }
        17..24 => (format!("symlink {qt:?} {base:?} {pt:?}"), show(side.symlink(&q, base, &p))),
        24..29 => {
            (format!("link {base:?} {pt:?} {base2:?} {qt:?} follow {flag}"), show(side.link(base, &p, flag, base2, &q)))
        }
        29..33 => (format!("unlink {base:?} {pt:?}"), show(side.unlink(base, &p))),
        33..37 => (format!("rmdir {base:?} {pt:?}"), show(side.rmdir(base, &p))),
        37..51 => {
            let flags = if bits % 100 < 60 { 0 } else { (bits % 4) as u32 };
            (format!("rename {base:?} {pt:?} {base2:?} {qt:?} {flags}"), show(side.rename(base, &p, base2, &q, flags)))
        }
        51..67 => {
            use OpenFlags as O;
            let mut flags = [O::O_RDONLY, O::O_WRONLY, O::O_RDWR, O::O_RDWR][(bits % 4) as usize];
            for (i, f) in
                [O::O_CREAT, O::O_CREAT, O::O_EXCL, O::O_TRUNC, O::O_NOFOLLOW, O::O_DIRECTORY].into_iter().enumerate()
            {
                if bits >> (8 + 3 * i) & 7 < 3 {
                    flags |= f;
                }
            }
            if bits >> 32 & 15 == 0 {
                flags = O::O_PATH | flags & (O::O_NOFOLLOW | O::O_DIRECTORY);
            }
            if bits >> 32 & 31 == 1 {
                flags = O::O_TMPFILE | O::O_RDWR;
            }
            // Without O_CREAT, openat2 wants a mode of 0.
            let mode = if flags & (O::O_CREAT | (O::O_TMPFILE & !O::O_DIRECTORY)) == 0 { 0 } else { mode };
            // Not RESOLVE_NO_XDEV: no mounts here, and Linux answers EXDEV to absolute symbolic links by whether it had
            // looked at the root before.
            let resolve = if bits >> 37 & 3 == 0 { bits >> 39 & 0x1e } else { 0 };
            (
                format!("open {fd} {base:?} {pt:?} {flags:#o} {mode:o} {resolve:#x}"),
                show(side.open(fd, base, &p, flags, mode, resolve)),
            )
        }
        67..69 => (format!("stat {base:?} {pt:?} {flag}"), format!("{:?}", side.stat(base, &p, flag).map(key))),
        69..70 => (format!("readlink {base:?} {pt:?}"), format!("{:?}", side.readlink(base, &p))),
        70..72 => (format!("access {base:?} {pt:?} {}", bits % 8), show(side.access(base, &p, (bits % 8) as u32))),
        72..73 => (format!("truncate {pt:?} {size}"), show(side.truncate(&p, size % (1 << 33)))),
        73..77 => (format!("chmod {base:?} {pt:?} {mode:o}"), show(side.chmod(base, &p, mode))),
        77..80 => (format!("chown {base:?} {pt:?} {id:?} {id2:?} {flag}"), show(side.chown(base, &p, flag, id, id2))),
        80..81 => (format!("utimens {base:?} {pt:?} now {flag}"), show(side.utimens(base, &p, flag))),
        81..84 => (format!("chdir {pt:?}"), show(side.chdir(&p))),
        84..85 => ("getcwd".into(), format!("{:?}", side.getcwd().map(|p| String::from_utf8_lossy(&p).into_owned()))),
        85..87 => (format!("list {pt:?}"), format!("{:?}", side.list(&p))),
        87..89 => (format!("fd_path {fd}"), format!("{:?}", side.fd_path(fd).map(|p| hide_number(&p)))),
        89..90 => (format!("fd_stat {fd}"), format!("{:?}", side.fd_stat(fd).map(key))),
        90..94 => {
            let data: Vec<u8> = (0..len).map(|i| (bits as usize + i * 7) as u8).collect();
            (format!("fd_write {fd} {size} {len}"), format!("{:?}", side.fd_write(fd, size, &data)))
        }
        94..96 => (
            format!("fd_read {fd} {size} {len}"),
            format!("{:?}", side.fd_read(fd, size, len).map(|d| (d.len(), sum(&d)))),
        ),
        96..97 => (format!("fd_truncate {fd} {size}"), show(side.fd_truncate(fd, size % (1 << 33)))),
        97..99 => {
            let mode = [0, 1, 3, 0x10][(bits % 4) as usize];
            let at = size % (1 << 20);
            let len = len.max(1) as u64;
            // On what is no file, which of several errors comes first is the system call's matter.
            match side.fd_stat(fd) {
                Ok(s) if s.file_type() == FileType::Regular && mode != 0x10 => {
                    (format!("fd_fallocate {fd} {mode} {at} {len}"), show(side.fd_fallocate(fd, mode, at, len)))
                }
                _ => ("-".into(), String::new()),
            }
        }
        _ => match side.fd_stat(fd) {
            // Where holes lie is up to the file system; that a search ends inside of the file is not.
            Ok(s) if s.file_type() == FileType::Regular => {
                let at = size % (1 << 34);
                let r = side.fd_seek(fd, at, flag);
                let result = match r {
                    Ok(n) if n >= at && n <= s.size => "inside".into(),
                    Err(Errno::ENXIO) if flag && at < s.size => "inside".into(),
                    r => format!("{r:?}"),
                };
                (format!("fd_seek {fd} {size} {flag}"), result)
            }
            _ => ("-".into(), String::new()),
        },
    };
    let result = format!("{result} fd: {:?}", side.fd_stat(fd).map(key));
    (format!("uid {}: {what}", cred.uid), result)
}

/// The inode number in the name of an O_TMPFILE file is the file system's choice.
fn hide_number(p: &[u8]) -> String {
    let s = String::from_utf8_lossy(p).into_owned();
    match s.split_once('#') {
        Some((dir, _)) => format!("{dir}#N"),
        None => s,
    }
}

fn sum(d: &[u8]) -> u64 {
    d.iter().fold(7, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

/// The tree as text: every path with its attributes, contents and hard links.
fn dump(side: &mut dyn Side) -> String {
    side.user(&Cred::root());
    let mut out = String::new();
    let mut inodes = BTreeMap::new();
    let mut todo = vec![b"/".to_vec()];
    while let Some(dir) = todo.pop() {
        for (name, kind) in side.list(&dir).expect("list") {
            if name == b"." || name == b".." {
                continue;
            }
            let mut p = dir.clone();
            if p.last() != Some(&b'/') {
                p.push(b'/');
            }
            p.extend_from_slice(&name);
            if p.len() > 3000 {
                continue;
            }
            let s = side.stat(None, &p, false).expect("stat");
            assert_eq!(s.file_type(), kind);
            let n = inodes.len();
            let n = *inodes.entry(s.ino).or_insert(n);
            let mut line = format!("{:?} #{n} {:?}", String::from_utf8_lossy(&p), key(s));
            match kind {
                FileType::Directory => todo.push(p),
                FileType::Symlink => line += &format!(" {:?}", side.readlink(None, &p)),
                FileType::Regular => {
                    side.open(0, None, &p, 0, 0, 0).expect("open");
                    for at in [0, 4096, 16000, 60000, 1 << 33] {
                        let d = side.fd_read(0, at, 50000).expect("read");
                        line += &format!(" {}:{:x}", d.len(), sum(&d));
                    }
                }
                _ => {}
            }
            out += &line;
            out.push('\n');
        }
    }
    out
}

/// What the kernel's directory holds, as a sealed tree.
fn seal(side: &mut dyn Side) -> Arc<MemTree> {
    side.user(&Cred::root());
    let mut tree = MemTree::new();
    let mut inodes = BTreeMap::new();
    let mut todo = vec![(b"/".to_vec(), 0)];
    let take = |tree: &mut MemTree, n: u64, s: Stat| {
        let info = &mut tree.entries[n as usize].info;
        (info.mode, info.uid, info.gid, info.mtime, info.rdev) = (s.mode & 0o7777, s.uid, s.gid, s.mtime, s.rdev);
    };
    let root = side.stat(None, b"/", false).expect("stat");
    take(&mut tree, 0, root);
    while let Some((dir, parent)) = todo.pop() {
        for (name, kind) in side.list(&dir).expect("list") {
            let p = [dir.as_slice(), b"/", &name].concat();
            if name == b"." || name == b".." || p.len() > 3000 {
                continue;
            }
            let s = side.stat(None, &p, false).expect("stat");
            let n = *inodes.entry(s.ino).or_insert_with(|| {
                let data = match kind {
                    FileType::Symlink => side.readlink(None, &p).expect("readlink"),
                    FileType::Regular => {
                        side.open(0, None, &p, 0, 0, 0).expect("open");
                        side.fd_read(0, 0, 1 << 20).expect("read")
                    }
                    _ => Vec::new(),
                };
                let n = tree.add(kind, 0, &data);
                take(&mut tree, n, s);
                n
            });
            tree.name(parent, &name, n);
            if kind == FileType::Directory {
                todo.push((p, n));
            }
        }
    }
    tree.seal()
}

/// Runs `steps` operations on both sides, from the state `rng` on.
fn run(seed: u64, steps: usize, rng: &mut Rng, kernel: &mut Kernel, ours: &mut Ours) {
    let mut log = Vec::new();
    for i in 0..steps {
        let mut again = Rng(rng.0);
        let (what, expected) = step(rng, kernel, true);
        let (_, found) = step(&mut again, ours, true);
        log.push(format!("{i}: {what} -> {expected}"));
        if expected != found {
            let tail = log[log.len().saturating_sub(25)..].join("\n");
            panic!(
                "seed {seed}, step {i}: {what}\n  kernel: {expected}\n  ours:   {found}\n{tail}\n--- kernel\n{}",
                dump(kernel)
            );
        }
    }
    let (expected, found) = (dump(kernel), dump(ours));
    for (e, f) in expected.lines().zip(found.lines()) {
        assert_eq!(e, f, "seed {seed}: trees differ\n{}", log.join("\n"));
    }
    assert_eq!(expected, found, "seed {seed}: trees differ");
}

fn compare(seed: u64, steps: usize, dir: &Path, layered: bool) {
    let real = dir.join(format!("{seed}-{layered}"));
    std::fs::create_dir(&real).expect("create");
    std::fs::set_permissions(&real, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("chmod");
    let mut kernel = Kernel::enter(&real).expect("chroot");
    let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let budget = Budget::unlimited();
    let mut options = LayeredOptions { budget: budget.clone(), ..LayeredOptions::default() };
    options.root.mode = 0o777;
    if layered {
        // Something to begin with; huge sparse files only later.
        for _ in 0..400 {
            step(&mut rng, &mut kernel, false);
        }
        let tree = seal(&mut kernel);
        options.lower = Some(tree);
        for fd in &mut kernel.fds {
            if *fd >= 0 {
                sys!(SYS_close, *fd).expect("close");
            }
            *fd = -1;
        }
        kernel.chdir(b"/").expect("chdir");
    }
    let fs = LayeredFs::new(options).expect("file system");
    let vfs = Vfs::new(fs);
    let protected = |f: &str| PROTECTED.iter().any(|&(n, v)| n == f && v.load(std::sync::atomic::Ordering::Relaxed));
    vfs.set_protected(protected("symlinks"), protected("hardlinks"));
    let root = vfs.root();
    let mut ours = Ours { cwd: root.clone(), root, vfs, cred: Cred::root(), fds: Default::default() };
    run(seed, steps, &mut rng, &mut kernel, &mut ours);
    drop(ours);
    // Whatever was made is gone, and paid back.
    assert_eq!(budget.used(), 0);
}

use std::sync::atomic::AtomicBool;
static SYMLINKS: AtomicBool = AtomicBool::new(false);
static HARDLINKS: AtomicBool = AtomicBool::new(false);
const PROTECTED: [(&str, &AtomicBool); 2] = [("symlinks", &SYMLINKS), ("hardlinks", &HARDLINKS)];

#[test]
fn tmpfs_agrees_with_the_kernel() {
    random_operations(false);
}

#[test]
fn layers_agree_with_the_kernel() {
    random_operations(true);
}

fn random_operations(layered: bool) {
    // SAFETY: a system call without arguments.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("did not run: needs root for chroot and setfsuid");
        return;
    }
    for (name, flag) in PROTECTED {
        let on = std::fs::read_to_string(format!("/proc/sys/fs/protected_{name}")).is_ok_and(|s| s.trim() == "1");
        flag.store(on, std::sync::atomic::Ordering::Relaxed);
    }
    let count = |name: &str, default| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default);
    let (first, seeds, steps) = (count("VFS_FIRST", 1), count("VFS_SEEDS", 150), count("VFS_STEPS", 600));
    let dir = tempfile::Builder::new().prefix("vfs-diff").tempdir_in("/dev/shm").expect("tmpfs of the host");
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    for seed in first..first + seeds {
        let at = dir.path().to_owned();
        let thread = std::thread::spawn(move || {
            compare(seed as u64, steps, &at, layered);
        });
        if let Err(e) = thread.join() {
            std::panic::resume_unwind(e);
        }
    }
}
