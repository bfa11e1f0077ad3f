//! Names and attributes of files.

use super::{Ctx, retry};
use crate::errno::{ERESTARTSYS, Errno, Result};
use crate::file::{Object, OpenFile, position};
use crate::locks::{Owner, Range};
use crate::memfile::MemFile;
use crate::pipe::Pipe;
use crate::wait::lock;
use megalith_vfs::{
    Access, At, ContentClass, Cred, DirEntry, FileType, Inode, Location, OpenFlags, RenameFlags, SetTime, Stat, StatFs,
    Timespec, WalkFlags,
};
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(crate) const AT_FDCWD: i32 = -100;
pub(crate) const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
const AT_REMOVEDIR: u32 = 0x200;
const AT_EACCESS: u32 = 0x200;
pub(crate) const AT_SYMLINK_FOLLOW: u32 = 0x400;
const AT_EMPTY_PATH: u32 = 0x1000;

/// Root, base and credentials of a path walk.
pub(crate) struct Place {
    pub root: Location,
    pub base: Location,
    pub cred: Cred,
}

impl Place {
    pub fn at(&self) -> At<'_> {
        At { root: &self.root, base: &self.base, cred: &self.cred }
    }
}

/// Where a path relative to `dirfd` starts.
pub(crate) fn place(c: &Ctx<'_>, dirfd: i32, path: &[u8]) -> Result<Place> {
    let (root, cwd) = {
        let fs = lock(&c.task.process.fs);
        (fs.root.clone(), fs.cwd.clone())
    };
    let base = if dirfd == AT_FDCWD || path.first() == Some(&b'/') {
        cwd
    } else {
        let f = lock(&c.task.process.fds).get(dirfd).map(Arc::clone)?;
        match &f.location {
            Some(l) => l.clone(),
            None if path.is_empty() => return Err(Errno::EINVAL),
            None => return Err(Errno::ENOTDIR),
        }
    };
    let cred = lock(&c.task.process.ids).fs();
    Ok(Place { root, base, cred })
}

fn umask(c: &Ctx<'_>) -> u32 {
    lock(&c.task.process.fs).umask
}

fn follow(yes: bool, empty: bool) -> WalkFlags {
    WalkFlags { follow: yes, empty, ..WalkFlags::NOFOLLOW }
}

/// Location of argument (dirfd, path) with `flags` of the `*at` calls. A descriptor without a name and an empty path is `None`.
pub(crate) fn at_path(c: &Ctx<'_>, dirfd: i32, path: &[u8], flags: u32) -> Result<Option<Location>> {
    if path.is_empty() && flags & AT_EMPTY_PATH != 0 && dirfd != AT_FDCWD {
        let f = lock(&c.task.process.fds).get(dirfd).map(Arc::clone)?;
        return Ok(f.location.clone());
    }
    let p = place(c, dirfd, path)?;
    let walk = follow(flags & AT_SYMLINK_NOFOLLOW == 0, flags & AT_EMPTY_PATH != 0);
    c.task.kernel.vfs.lookup(&p.at(), path, walk).map(Some)
}

// ---- open ----

/// The bytes of a script of the exec chain, when `path` (as given) or what it led to is one.
fn script_bytes(
    c: &Ctx<'_>,
    path: &[u8],
    found: Option<&Location>,
    root: &Location,
    cwd: &Location,
) -> Option<(Location, Arc<[u8]>)> {
    let image = lock(&c.task.process.image);
    for s in image.scripts.iter() {
        let by_name = s.arg == path && (path.first() == Some(&b'/') || *cwd == image.cwd_at_exec);
        let by_object = found.is_some_and(|l| {
            l.inode().id() == s.location.inode().id() || l.path(Some(root)) == s.location.path(Some(root))
        });
        if by_name || by_object {
            return Some((s.location.clone(), Arc::clone(&s.bytes)));
        }
    }
    None
}

pub(crate) fn open_common(
    c: &mut Ctx<'_>,
    dirfd: i32,
    path: &[u8],
    flags: u32,
    mode: u32,
    walk: WalkFlags,
) -> Result<i64> {
    let p = place(c, dirfd, path)?;
    let cloexec = flags & OpenFlags::O_CLOEXEC != 0;
    let mode = mode & 0o7777 & !umask(c);
    // Do not create or truncate anything when there is no descriptor to give.
    {
        let limit = lock(&c.task.process.rlimits)[7].0;
        lock(&c.task.process.fds).free(0, limit)?;
    }
    let plain_read =
        flags & (OpenFlags::O_ACCMODE | OpenFlags::O_TRUNC | OpenFlags::O_PATH | OpenFlags::O_DIRECTORY) == 0;
    let has_scripts = !lock(&c.task.process.image).scripts.is_empty();
    if has_scripts
        && plain_read
        && let Some((location, bytes)) = script_bytes(c, path, None, &p.root, &p.base)
    {
        return open_sealed(c, location, bytes, flags, cloexec);
    }
    let opened = c.task.kernel.vfs.open(&p.at(), path, OpenFlags(flags), mode, walk)?;
    if has_scripts
        && plain_read
        && let Some((location, bytes)) = script_bytes(c, path, Some(&opened.location), &p.root, &p.base)
    {
        return open_sealed(c, location, bytes, flags, cloexec);
    }
    if flags & OpenFlags::O_PATH != 0 {
        return c.add_fd(OpenFile::new(Object::Path, flags, Some(opened.location)), cloexec);
    }
    let file = open_object(c, opened.location, opened.inode, flags)?;
    c.add_fd(file, cloexec)
}

/// [`megalith_abi::PolyfillOp::OpenCode`].
pub(super) fn open_code(c: &mut Ctx<'_>) -> Result<i64> {
    let path = c.path(1)?;
    let flags = OpenFlags::O_RDONLY | OpenFlags::O_CLOEXEC;
    if !c.task.kernel.config.sealed {
        return open_common(c, AT_FDCWD, &path, flags, 0, WalkFlags::FOLLOW);
    }
    let kernel = Arc::clone(&c.task.kernel);
    let p = place(c, AT_FDCWD, &path)?;
    if let Some((location, bytes)) = script_bytes(c, &path, None, &p.root, &p.base) {
        return open_sealed(c, location, bytes, flags, true);
    }
    let opened = kernel.vfs.open(&p.at(), &path, OpenFlags(flags), 0, WalkFlags::FOLLOW)?;
    if let Some((location, bytes)) = script_bytes(c, &path, Some(&opened.location), &p.root, &p.base) {
        return open_sealed(c, location, bytes, flags, true);
    }
    if opened.inode.file_type() != FileType::Regular {
        return Err(Errno::EACCES);
    }
    if let ContentClass::Sealed { .. } = opened.inode.content_class()? {
        return c.add_fd(OpenFile::new(Object::Inode(opened.inode), flags, Some(opened.location)), true);
    }
    match crate::gate::known_bytes(&kernel, &opened.inode)? {
        Some(bytes) => open_sealed(c, opened.location, bytes, flags, true),
        None => {
            let shown = String::from_utf8_lossy(&opened.location.path(None)).into_owned();
            kernel.audit(&format!("refused to load {shown} as code: it is not what the container was built with"));
            Err(Errno::EACCES)
        }
    }
}

/// [`megalith_abi::PolyfillOp::Unchanged`].
pub(super) fn unchanged(c: &mut Ctx<'_>) -> Result<i64> {
    let path = c.path(1)?;
    let p = place(c, AT_FDCWD, &path)?;
    let at = p.at();
    let directory = c.task.kernel.vfs.lookup(&at, &path, WalkFlags::DIRECTORY)?;
    // Whoever is not root may have to be kept from looking at some of it.
    let unchanged = at.cred.uid == 0 && c.task.kernel.vfs.unchanged_below(&directory);
    Ok(if unchanged { directory.inode().id().ino as i64 } else { 0 })
}

fn open_sealed(c: &Ctx<'_>, location: Location, bytes: Arc<[u8]>, flags: u32, cloexec: bool) -> Result<i64> {
    let inode: Arc<dyn Inode> = Arc::new(crate::memfile::Sealed::new(Arc::clone(location.inode()), bytes));
    c.add_fd(OpenFile::new(Object::Inode(inode), flags, Some(location)), cloexec)
}

/// Makes the description for an object: devices and fifos become streams.
fn open_object(c: &mut Ctx<'_>, location: Location, inode: Arc<dyn Inode>, flags: u32) -> Result<Arc<OpenFile>> {
    // Magic links of /proc/self/fd lead to the streams themselves.
    if let Some(s) = (inode.as_ref() as &dyn std::any::Any).downcast_ref::<crate::procfs::StreamNode>() {
        return s.reopen(flags);
    }
    match inode.file_type() {
        FileType::Fifo => open_fifo(c, location, &inode, flags),
        FileType::Socket => Err(Errno::ENXIO),
        FileType::CharDevice | FileType::BlockDevice => {
            let rdev = inode.stat()?.rdev;
            let block = inode.file_type() == FileType::BlockDevice;
            let object = crate::devfs::open_device(&c.task.caller(), rdev, block, flags)?;
            Ok(OpenFile::new(object, flags, Some(location)))
        }
        _ => Ok(OpenFile::new(Object::Inode(inode), flags, Some(location))),
    }
}

fn open_fifo(c: &mut Ctx<'_>, location: Location, inode: &Arc<dyn Inode>, flags: u32) -> Result<Arc<OpenFile>> {
    let pipe = {
        let mut fifos = lock(&c.task.kernel.fifos);
        match fifos.get(&inode.id()).and_then(std::sync::Weak::upgrade) {
            Some(p) => p,
            None => {
                fifos.retain(|_, w| w.strong_count() > 0);
                let p = Pipe::new(&c.task.kernel.shared);
                fifos.insert(inode.id(), Arc::downgrade(&p));
                p
            }
        }
    };
    let (read, write) = match flags & 3 {
        0 => (true, false),
        1 => (false, true),
        _ => (true, true),
    };
    let nonblock = flags & OpenFlags::O_NONBLOCK != 0;
    let (readers, writers) = pipe.ends();
    if write && !read && nonblock && readers == 0 {
        return Err(Errno::ENXIO);
    }
    let before = pipe.opens();
    let end = pipe.end(read, write);
    let wait = !nonblock && (read != write) && if read { writers == 0 } else { readers == 0 };
    if wait {
        c.task.block(&[&pipe.queue], &[], None, ERESTARTSYS, |_| {
            let now = pipe.opens();
            Ok(if read { now.1 != before.1 } else { now.0 != before.0 }.then_some(()))
        })?;
    }
    Ok(OpenFile::new(Object::Stream(end), flags, Some(location)))
}

pub(super) fn open(c: &mut Ctx<'_>) -> Result<i64> {
    let path = c.path(0)?;
    let (flags, mode) = (c.uint(1), c.uint(2));
    open_common(c, AT_FDCWD, &path, flags, mode, WalkFlags::FOLLOW)
}
pub(super) fn openat(c: &mut Ctx<'_>) -> Result<i64> {
    let path = c.path(1)?;
    let (dirfd, flags, mode) = (c.int(0), c.uint(2), c.uint(3));
    open_common(c, dirfd, &path, flags, mode, WalkFlags::FOLLOW)
}
pub(super) fn openat2(c: &mut Ctx<'_>) -> Result<i64> {
    let path = c.path(1)?;
    if c.a[3] < 24 {
        return Err(Errno::EINVAL);
    }
    let how = c.get_vec(c.a[2], c.a[3], 4096)?;
    if how.get(24..).is_some_and(|rest| rest.iter().any(|&b| b != 0)) {
        return Err(Errno::E2BIG);
    }
    let word = |i: usize| how.get(i..i + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
    let (flags, mode, resolve) = (word(0), word(8), word(16));
    if flags >> 32 != 0 || mode & !0o7777 != 0 || mode != 0 && flags as u32 & (OpenFlags::O_CREAT | 0o20000000) == 0 {
        return Err(Errno::EINVAL);
    }
    let walk = WalkFlags::from_resolve(resolve)?;
    let dirfd = c.int(0);
    open_common(c, dirfd, &path, flags as u32, mode as u32, walk)
}
pub(super) fn creat(c: &mut Ctx<'_>) -> Result<i64> {
    let path = c.path(0)?;
    let mode = c.uint(1);
    open_common(
        c,
        AT_FDCWD,
        &path,
        OpenFlags::O_CREAT | OpenFlags::O_WRONLY | OpenFlags::O_TRUNC,
        mode,
        WalkFlags::FOLLOW,
    )
}

pub(super) fn memfd_create(c: &mut Ctx<'_>) -> Result<i64> {
    let name = c.cstr(c.a[0], 250, Errno::EINVAL)?;
    let flags = c.uint(1);
    if flags & !0x1f != 0 || flags & 4 != 0 {
        return Err(Errno::EINVAL);
    }
    let inode: Arc<dyn Inode> = Arc::new(MemFile::new(&c.task.kernel.shared)?);
    let mut label = b"/memfd:".to_vec();
    label.extend_from_slice(&name);
    label.extend_from_slice(b" (deleted)");
    let location = Location::anonymous(Arc::clone(&inode), &label);
    let f = OpenFile::new(Object::Inode(inode), 2, Some(location));
    f.seals.store(if flags & 2 != 0 { 0 } else { 1 }, Ordering::Relaxed);
    c.add_fd(f, flags & 1 != 0)
}
fn memfile(f: &OpenFile) -> Result<Arc<dyn Inode>> {
    let Object::Inode(i) = &f.object else { return Err(Errno::EINVAL) };
    if (i.as_ref() as &dyn std::any::Any).is::<MemFile>() { Ok(Arc::clone(i)) } else { Err(Errno::EINVAL) }
}
pub(super) fn add_seals(f: &OpenFile, seals: u32) -> Result<i64> {
    let i = memfile(f)?;
    if !f.writable() {
        return Err(Errno::EPERM);
    }
    match (i.as_ref() as &dyn std::any::Any).downcast_ref::<MemFile>() {
        Some(m) => m.add_seals(seals).map(|()| 0),
        None => Err(Errno::EINVAL),
    }
}
pub(super) fn get_seals(f: &OpenFile) -> Result<i64> {
    let i = memfile(f)?;
    (i.as_ref() as &dyn std::any::Any).downcast_ref::<MemFile>().map(|m| m.seals().into()).ok_or(Errno::EINVAL)
}

// ---- stat ----

fn stat_bytes(s: &Stat) -> [u8; 144] {
    let mut b = [0u8; 144];
    let mut put = |at: usize, v: u64| b[at..at + 8].copy_from_slice(&v.to_le_bytes());
    put(0, s.dev);
    put(8, s.ino);
    put(16, s.nlink);
    put(24, u64::from(s.mode) | u64::from(s.uid) << 32);
    put(32, s.gid.into());
    put(40, s.rdev);
    put(48, s.size);
    put(56, s.blksize);
    put(64, s.blocks);
    for (i, t) in [s.atime, s.mtime, s.ctime].into_iter().enumerate() {
        put(72 + i * 16, t.sec as u64);
        put(80 + i * 16, t.nsec.into());
    }
    b
}

pub(crate) fn stat_at(c: &Ctx<'_>, dirfd: i32, path: &[u8], flags: u32) -> Result<Stat> {
    if path.is_empty() && flags & AT_EMPTY_PATH != 0 && dirfd != AT_FDCWD {
        return lock(&c.task.process.fds).get(dirfd).map(Arc::clone)?.stat();
    }
    at_path(c, dirfd, path, flags)?.ok_or(Errno::EBADF)?.inode().stat()
}
pub(super) fn stat(c: &mut Ctx<'_>) -> Result<i64> {
    let s = stat_at(c, AT_FDCWD, &c.path(0)?, 0)?;
    c.put(c.a[1], &stat_bytes(&s)).map(|()| 0)
}
pub(super) fn lstat(c: &mut Ctx<'_>) -> Result<i64> {
    let s = stat_at(c, AT_FDCWD, &c.path(0)?, AT_SYMLINK_NOFOLLOW)?;
    c.put(c.a[1], &stat_bytes(&s)).map(|()| 0)
}
pub(super) fn fstat(c: &mut Ctx<'_>) -> Result<i64> {
    let s = c.file(0)?.stat()?;
    c.put(c.a[1], &stat_bytes(&s)).map(|()| 0)
}
pub(super) fn newfstatat(c: &mut Ctx<'_>) -> Result<i64> {
    if c.uint(3) & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | 0x800) != 0 {
        return Err(Errno::EINVAL);
    }
    let s = stat_at(c, c.int(0), &c.path(1)?, c.uint(3))?;
    c.put(c.a[2], &stat_bytes(&s)).map(|()| 0)
}
pub(super) fn statx(c: &mut Ctx<'_>) -> Result<i64> {
    if c.uint(2) & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | 0x6800) != 0 || c.uint(3) & 0x8000_0000 != 0 {
        return Err(Errno::EINVAL);
    }
    let s = stat_at(c, c.int(0), &c.path(1)?, c.uint(2))?;
    let mut b = [0u8; 256];
    {
        let mut put = |at: usize, d: &[u8]| b[at..at + d.len()].copy_from_slice(d);
        put(0, &0xfffu32.to_le_bytes());
        put(4, &(s.blksize as u32).to_le_bytes());
        put(16, &(s.nlink as u32).to_le_bytes());
        put(20, &s.uid.to_le_bytes());
        put(24, &s.gid.to_le_bytes());
        put(28, &(s.mode as u16).to_le_bytes());
        put(32, &s.ino.to_le_bytes());
        put(40, &s.size.to_le_bytes());
        put(48, &s.blocks.to_le_bytes());
        for (i, t) in [s.atime, s.btime, s.ctime, s.mtime].into_iter().enumerate() {
            put(64 + i * 16, &t.sec.to_le_bytes());
            put(72 + i * 16, &t.nsec.to_le_bytes());
        }
        let split = |d: u64| (((d >> 8 & 0xfff) | (d >> 32 & !0xfff)) as u32, ((d & 0xff) | (d >> 12 & !0xff)) as u32);
        let (maj, min) = split(s.rdev);
        put(128, &maj.to_le_bytes());
        put(132, &min.to_le_bytes());
        let (maj, min) = split(s.dev);
        put(136, &maj.to_le_bytes());
        put(140, &min.to_le_bytes());
    }
    c.put(c.a[4], &b).map(|()| 0)
}

fn statfs_bytes(s: &StatFs) -> Vec<u8> {
    let words = [
        s.fs_type, s.bsize, s.blocks, s.bfree, s.bavail, s.files, s.ffree, 0, s.namelen, s.frsize, s.flags, 0, 0, 0, 0,
    ];
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}
pub(super) fn statfs(c: &mut Ctx<'_>) -> Result<i64> {
    let l = at_path(c, AT_FDCWD, &c.path(0)?, 0)?.ok_or(Errno::EBADF)?;
    c.put(c.a[1], &statfs_bytes(&l.inode().statfs()?)).map(|()| 0)
}
pub(super) fn fstatfs(c: &mut Ctx<'_>) -> Result<i64> {
    let s = match c.file(0)?.inode() {
        Some(i) => i.statfs()?,
        // PIPEFS_MAGIC; nothing else is to be had of a pipe.
        None => StatFs { fs_type: 0x5049_5045, bsize: 4096, frsize: 4096, namelen: 255, ..StatFs::default() },
    };
    c.put(c.a[1], &statfs_bytes(&s)).map(|()| 0)
}

fn access_at(c: &mut Ctx<'_>, dirfd: i32, path: &[u8], mode: u32, flags: u32) -> Result<i64> {
    if flags & !(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let want = Access::from_bits(mode)?;
    let mut p = place(c, dirfd, path)?;
    if flags & AT_EACCESS == 0 {
        p.cred = lock(&c.task.process.ids).real();
    }
    let walk = follow(flags & AT_SYMLINK_NOFOLLOW == 0, flags & AT_EMPTY_PATH != 0);
    c.task.kernel.vfs.access(&p.at(), path, want, walk).map(|()| 0)
}
pub(super) fn access(c: &mut Ctx<'_>) -> Result<i64> {
    let (path, mode) = (c.path(0)?, c.uint(1));
    access_at(c, AT_FDCWD, &path, mode, 0)
}
pub(super) fn faccessat(c: &mut Ctx<'_>) -> Result<i64> {
    let (fd, path, mode) = (c.int(0), c.path(1)?, c.uint(2));
    access_at(c, fd, &path, mode, 0)
}
pub(super) fn faccessat2(c: &mut Ctx<'_>) -> Result<i64> {
    let (fd, path, mode, flags) = (c.int(0), c.path(1)?, c.uint(2), c.uint(3));
    access_at(c, fd, &path, mode, flags)
}

// ---- directories ----

pub(super) fn getcwd(c: &mut Ctx<'_>) -> Result<i64> {
    let mut path = {
        let fs = lock(&c.task.process.fs);
        fs.cwd.cwd_path(&fs.root)?
    };
    path.push(0);
    if path.len() as u64 > c.a[1] {
        return Err(Errno::ERANGE);
    }
    c.put(c.a[0], &path)?;
    Ok(path.len() as i64)
}
fn change_dir(c: &mut Ctx<'_>, to: Location) -> Result<i64> {
    let cred = lock(&c.task.process.ids).fs();
    let s = to.inode().stat()?;
    if s.file_type() != FileType::Directory {
        return Err(Errno::ENOTDIR);
    }
    cred.check(&s, Access::EXEC)?;
    lock(&c.task.process.fs).cwd = to;
    Ok(0)
}
pub(super) fn chdir(c: &mut Ctx<'_>) -> Result<i64> {
    let path = c.path(0)?;
    let p = place(c, AT_FDCWD, &path)?;
    let to = c.task.kernel.vfs.lookup(&p.at(), &path, WalkFlags::DIRECTORY)?;
    change_dir(c, to)
}
pub(super) fn fchdir(c: &mut Ctx<'_>) -> Result<i64> {
    let to = c.file(0)?.location.clone().ok_or(Errno::ENOTDIR)?;
    change_dir(c, to)
}
pub(super) fn chroot(c: &mut Ctx<'_>) -> Result<i64> {
    let path = c.path(0)?;
    let p = place(c, AT_FDCWD, &path)?;
    let to = c.task.kernel.vfs.lookup(&p.at(), &path, WalkFlags::DIRECTORY)?;
    p.cred.check(&to.inode().stat()?, Access::EXEC)?;
    if !lock(&c.task.process.ids).privileged() {
        return Err(Errno::EPERM);
    }
    lock(&c.task.process.fs).root = to;
    Ok(0)
}

fn getdents(c: &mut Ctx<'_>, encode: fn(&DirEntry, &mut Vec<u8>)) -> Result<i64> {
    let f = c.real_file(0)?;
    let Object::Inode(inode) = &f.object else { return Err(Errno::ENOTDIR) };
    if inode.file_type() != FileType::Directory {
        return Err(Errno::ENOTDIR);
    }
    let size = (c.uint(2) as usize).min(1 << 20);
    let mut pos = position(&f);
    let mut out = Vec::new();
    let mut next = *pos;
    'fill: loop {
        let entries = inode.readdir(next, 256)?;
        if entries.is_empty() {
            break;
        }
        for e in &entries {
            let before = out.len();
            encode(e, &mut out);
            if out.len() > size {
                out.truncate(before);
                if before == 0 {
                    return Err(Errno::EINVAL);
                }
                break 'fill;
            }
            next = e.next;
        }
    }
    c.put(c.a[1], &out)?;
    *pos = next;
    Ok(out.len() as i64)
}
pub(super) fn getdents64(c: &mut Ctx<'_>) -> Result<i64> {
    getdents(c, |e, out| {
        let len = (19 + e.name.len() + 1).next_multiple_of(8);
        let start = out.len();
        out.extend_from_slice(&e.ino.to_le_bytes());
        out.extend_from_slice(&e.next.to_le_bytes());
        out.extend_from_slice(&(len as u16).to_le_bytes());
        out.push(e.file_type.d_type());
        out.extend_from_slice(&e.name);
        out.resize(start + len, 0);
    })
}
pub(super) fn getdents_old(c: &mut Ctx<'_>) -> Result<i64> {
    getdents(c, |e, out| {
        let len = (18 + e.name.len() + 2).next_multiple_of(8);
        let start = out.len();
        out.extend_from_slice(&e.ino.to_le_bytes());
        out.extend_from_slice(&e.next.to_le_bytes());
        out.extend_from_slice(&(len as u16).to_le_bytes());
        out.extend_from_slice(&e.name);
        out.resize(start + len - 1, 0);
        out.push(e.file_type.d_type());
    })
}

pub(crate) fn mkdir_at(c: &mut Ctx<'_>, dirfd: i32, path: &[u8], mode: u32) -> Result<i64> {
    let p = place(c, dirfd, path)?;
    let mode = mode & 0o1777 & !umask(c);
    c.task.kernel.vfs.mkdir(&p.at(), path, mode).map(|_| 0)
}
pub(super) fn mkdir(c: &mut Ctx<'_>) -> Result<i64> {
    let (path, mode) = (c.path(0)?, c.uint(1));
    mkdir_at(c, AT_FDCWD, &path, mode)
}
pub(super) fn mkdirat(c: &mut Ctx<'_>) -> Result<i64> {
    let (fd, path, mode) = (c.int(0), c.path(1)?, c.uint(2));
    mkdir_at(c, fd, &path, mode)
}
pub(crate) fn unlink_at(c: &mut Ctx<'_>, dirfd: i32, path: &[u8], dir: bool) -> Result<i64> {
    let p = place(c, dirfd, path)?;
    let vfs = &c.task.kernel.vfs;
    if dir { vfs.rmdir(&p.at(), path) } else { vfs.unlink(&p.at(), path) }.map(|()| 0)
}
pub(super) fn rmdir(c: &mut Ctx<'_>) -> Result<i64> {
    let path = c.path(0)?;
    unlink_at(c, AT_FDCWD, &path, true)
}
pub(super) fn unlink(c: &mut Ctx<'_>) -> Result<i64> {
    let path = c.path(0)?;
    unlink_at(c, AT_FDCWD, &path, false)
}
pub(super) fn unlinkat(c: &mut Ctx<'_>) -> Result<i64> {
    if c.uint(2) & !AT_REMOVEDIR != 0 {
        return Err(Errno::EINVAL);
    }
    let (fd, path, dir) = (c.int(0), c.path(1)?, c.uint(2) != 0);
    unlink_at(c, fd, &path, dir)
}
pub(crate) fn rename_at(
    c: &mut Ctx<'_>,
    fd: i32,
    path: &[u8],
    new_fd: i32,
    new_path: &[u8],
    flags: u32,
) -> Result<i64> {
    let flags = RenameFlags::from_bits(flags)?;
    let (p, q) = (place(c, fd, path)?, place(c, new_fd, new_path)?);
    c.task.kernel.vfs.rename(&p.at(), path, &q.at(), new_path, flags).map(|()| 0)
}
pub(super) fn rename(c: &mut Ctx<'_>) -> Result<i64> {
    let (a, b) = (c.path(0)?, c.path(1)?);
    rename_at(c, AT_FDCWD, &a, AT_FDCWD, &b, 0)
}
pub(super) fn renameat(c: &mut Ctx<'_>) -> Result<i64> {
    let (a, b) = (c.path(1)?, c.path(3)?);
    rename_at(c, c.int(0), &a, c.int(2), &b, 0)
}
pub(super) fn renameat2(c: &mut Ctx<'_>) -> Result<i64> {
    let (a, b) = (c.path(1)?, c.path(3)?);
    rename_at(c, c.int(0), &a, c.int(2), &b, c.uint(4))
}
pub(crate) fn link_at(c: &mut Ctx<'_>, fd: i32, path: &[u8], new_fd: i32, new_path: &[u8], flags: u32) -> Result<i64> {
    if flags & !(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let (p, q) = (place(c, fd, path)?, place(c, new_fd, new_path)?);
    let walk = follow(flags & AT_SYMLINK_FOLLOW != 0, flags & AT_EMPTY_PATH != 0);
    c.task.kernel.vfs.link(&p.at(), path, walk, &q.at(), new_path).map(|()| 0)
}
pub(super) fn link(c: &mut Ctx<'_>) -> Result<i64> {
    let (a, b) = (c.path(0)?, c.path(1)?);
    link_at(c, AT_FDCWD, &a, AT_FDCWD, &b, 0)
}
pub(super) fn linkat(c: &mut Ctx<'_>) -> Result<i64> {
    let (a, b) = (c.path(1)?, c.path(3)?);
    link_at(c, c.int(0), &a, c.int(2), &b, c.uint(4))
}
pub(crate) fn symlink_at(c: &mut Ctx<'_>, target: &[u8], fd: i32, path: &[u8]) -> Result<i64> {
    let p = place(c, fd, path)?;
    c.task.kernel.vfs.symlink(&p.at(), target, path).map(|_| 0)
}
pub(super) fn symlink(c: &mut Ctx<'_>) -> Result<i64> {
    let (target, path) = (c.path(0)?, c.path(1)?);
    symlink_at(c, &target, AT_FDCWD, &path)
}
pub(super) fn symlinkat(c: &mut Ctx<'_>) -> Result<i64> {
    let (target, path) = (c.path(0)?, c.path(2)?);
    symlink_at(c, &target, c.int(1), &path)
}
fn readlink_at(c: &mut Ctx<'_>, fd: i32, path: &[u8], buf: u64, size: i32) -> Result<i64> {
    if size <= 0 {
        return Err(Errno::EINVAL);
    }
    let p = place(c, fd, path)?;
    let target = c.task.kernel.vfs.readlink(&p.at(), path)?;
    let n = target.len().min(size as usize);
    c.put(buf, target.get(..n).unwrap_or_default())?;
    Ok(n as i64)
}
pub(super) fn readlink(c: &mut Ctx<'_>) -> Result<i64> {
    let path = c.path(0)?;
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    readlink_at(c, AT_FDCWD, &path, c.a[1], c.int(2))
}
pub(super) fn readlinkat(c: &mut Ctx<'_>) -> Result<i64> {
    let path = c.path(1)?;
    readlink_at(c, c.int(0), &path, c.a[2], c.int(3))
}
fn mknod_at(c: &mut Ctx<'_>, fd: i32, path: &[u8], mode: u32, dev: u64) -> Result<i64> {
    let kind = if mode & 0o170000 == 0 { FileType::Regular } else { FileType::from_mode(mode).ok_or(Errno::EINVAL)? };
    match kind {
        FileType::Directory => return Err(Errno::EPERM),
        FileType::Symlink => return Err(Errno::EINVAL),
        _ => {}
    }
    let p = place(c, fd, path)?;
    let mode = mode & 0o7777 & !umask(c);
    c.task.kernel.vfs.mknod(&p.at(), path, kind, mode, dev & 0xffff_ffff).map(|_| 0)
}
pub(super) fn mknod(c: &mut Ctx<'_>) -> Result<i64> {
    let path = c.path(0)?;
    mknod_at(c, AT_FDCWD, &path, c.uint(1), c.a[2])
}
pub(super) fn mknodat(c: &mut Ctx<'_>) -> Result<i64> {
    let path = c.path(1)?;
    mknod_at(c, c.int(0), &path, c.uint(2), c.a[3])
}

// ---- attributes ----

fn chmod_to(c: &Ctx<'_>, l: &Location, mode: u32) -> Result<i64> {
    let cred = lock(&c.task.process.ids).fs();
    c.task.kernel.vfs.chmod(l, &cred, mode & 0o7777).map(|()| 0)
}
pub(super) fn chmod(c: &mut Ctx<'_>) -> Result<i64> {
    let l = at_path(c, AT_FDCWD, &c.path(0)?, 0)?.ok_or(Errno::EBADF)?;
    chmod_to(c, &l, c.uint(1))
}
pub(super) fn fchmod(c: &mut Ctx<'_>) -> Result<i64> {
    match &c.real_file(0)?.location {
        Some(l) => chmod_to(c, l, c.uint(1)),
        None => Ok(0),
    }
}
pub(super) fn fchmodat(c: &mut Ctx<'_>) -> Result<i64> {
    let l = at_path(c, c.int(0), &c.path(1)?, 0)?.ok_or(Errno::EBADF)?;
    chmod_to(c, &l, c.uint(2))
}
pub(super) fn fchmodat2(c: &mut Ctx<'_>) -> Result<i64> {
    if c.uint(3) & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let l = at_path(c, c.int(0), &c.path(1)?, c.uint(3))?.ok_or(Errno::EBADF)?;
    chmod_to(c, &l, c.uint(2))
}
fn chown_to(c: &Ctx<'_>, l: &Location, uid: u32, gid: u32) -> Result<i64> {
    let cred = lock(&c.task.process.ids).fs();
    let id = |n: u32| (n != u32::MAX).then_some(n);
    c.task.kernel.vfs.chown(l, &cred, id(uid), id(gid)).map(|()| 0)
}
pub(super) fn chown(c: &mut Ctx<'_>) -> Result<i64> {
    let l = at_path(c, AT_FDCWD, &c.path(0)?, 0)?.ok_or(Errno::EBADF)?;
    chown_to(c, &l, c.uint(1), c.uint(2))
}
pub(super) fn lchown(c: &mut Ctx<'_>) -> Result<i64> {
    let l = at_path(c, AT_FDCWD, &c.path(0)?, AT_SYMLINK_NOFOLLOW)?.ok_or(Errno::EBADF)?;
    chown_to(c, &l, c.uint(1), c.uint(2))
}
pub(super) fn fchown(c: &mut Ctx<'_>) -> Result<i64> {
    match &c.real_file(0)?.location {
        Some(l) => chown_to(c, l, c.uint(1), c.uint(2)),
        None => Ok(0),
    }
}
pub(super) fn fchownat(c: &mut Ctx<'_>) -> Result<i64> {
    if c.uint(4) & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let l = at_path(c, c.int(0), &c.path(1)?, c.uint(4))?.ok_or(Errno::EBADF)?;
    chown_to(c, &l, c.uint(2), c.uint(3))
}

pub(crate) fn set_times(c: &Ctx<'_>, l: &Location, times: [SetTime; 2]) -> Result<i64> {
    let cred = lock(&c.task.process.ids).fs();
    c.task.kernel.vfs.utimens(l, &cred, times[0], times[1]).map(|()| 0)
}
fn timeval_pair(c: &Ctx<'_>, addr: u64) -> Result<[SetTime; 2]> {
    if addr == 0 {
        return Ok([SetTime::Now; 2]);
    }
    let b: [u8; 32] = c.get(addr)?;
    let w = |i: usize| i64::from_le_bytes(b[i * 8..i * 8 + 8].try_into().unwrap_or_default());
    let one = |sec: i64, usec: i64| {
        if (0..1_000_000).contains(&usec) {
            Ok(SetTime::To(Timespec { sec, nsec: usec as u32 * 1000 }))
        } else {
            Err(Errno::EINVAL)
        }
    };
    Ok([one(w(0), w(1))?, one(w(2), w(3))?])
}
pub(super) fn utime(c: &mut Ctx<'_>) -> Result<i64> {
    let times = if c.a[1] == 0 {
        [SetTime::Now; 2]
    } else {
        let t = |v: u64| SetTime::To(Timespec { sec: v as i64, nsec: 0 });
        [t(c.get_u64(c.a[1])?), t(c.get_u64(c.a[1].wrapping_add(8))?)]
    };
    let l = at_path(c, AT_FDCWD, &c.path(0)?, 0)?.ok_or(Errno::EBADF)?;
    set_times(c, &l, times)
}
pub(super) fn utimes(c: &mut Ctx<'_>) -> Result<i64> {
    let times = timeval_pair(c, c.a[1])?;
    let l = at_path(c, AT_FDCWD, &c.path(0)?, 0)?.ok_or(Errno::EBADF)?;
    set_times(c, &l, times)
}
pub(super) fn futimesat(c: &mut Ctx<'_>) -> Result<i64> {
    let times = timeval_pair(c, c.a[2])?;
    let l = if c.a[1] == 0 {
        c.real_file(0)?.location.clone().ok_or(Errno::EINVAL)?
    } else {
        at_path(c, c.int(0), &c.path(1)?, 0)?.ok_or(Errno::EBADF)?
    };
    set_times(c, &l, times)
}
pub(super) fn utimensat(c: &mut Ctx<'_>) -> Result<i64> {
    let flags = c.uint(3);
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let times = if c.a[2] == 0 {
        [SetTime::Now; 2]
    } else {
        let b: [u8; 32] = c.get(c.a[2])?;
        let w = |i: usize| i64::from_le_bytes(b[i * 8..i * 8 + 8].try_into().unwrap_or_default());
        let one = |sec: i64, nsec: i64| match nsec {
            0x3fff_ffff => Ok(SetTime::Now),
            0x3fff_fffe => Ok(SetTime::Keep),
            0..1_000_000_000 => Ok(SetTime::To(Timespec { sec, nsec: nsec as u32 })),
            _ => Err(Errno::EINVAL),
        };
        [one(w(0), w(1))?, one(w(2), w(3))?]
    };
    let l = if c.a[1] == 0 { c.file(0)?.location.clone() } else { at_path(c, c.int(0), &c.path(1)?, flags)? };
    match l {
        Some(l) => set_times(c, &l, times),
        None => Ok(0),
    }
}

pub(super) fn truncate(c: &mut Ctx<'_>) -> Result<i64> {
    let size = size_arg(c, c.a[1])?;
    let path = c.path(0)?;
    let p = place(c, AT_FDCWD, &path)?;
    c.task.kernel.vfs.truncate(&p.at(), &path, size).map(|()| 0)
}
fn size_arg(c: &Ctx<'_>, n: u64) -> Result<u64> {
    if n > i64::MAX as u64 {
        return Err(Errno::EINVAL);
    }
    if n > lock(&c.task.process.rlimits)[1].0 {
        return Err(Errno::EFBIG);
    }
    Ok(n)
}
pub(crate) fn ftruncate(c: &mut Ctx<'_>) -> Result<i64> {
    let size = size_arg(c, c.a[1])?;
    let f = c.real_file(0)?;
    let Object::Inode(i) = &f.object else { return Err(Errno::EINVAL) };
    if !f.writable() || i.file_type() != FileType::Regular {
        return Err(Errno::EINVAL);
    }
    let cred = lock(&c.task.process.ids).fs();
    megalith_vfs::remove_privileges(i, &cred)?;
    i.truncate(size).map(|()| 0)
}
pub(crate) fn fallocate(c: &mut Ctx<'_>) -> Result<i64> {
    let f = c.real_file(0)?;
    let (mode, off, len) = (c.uint(1), c.a[2], c.a[3]);
    if !f.writable() {
        return Err(Errno::EBADF);
    }
    let Object::Inode(i) = &f.object else { return Err(Errno::ESPIPE) };
    let end = off.checked_add(len).filter(|&e| e <= i64::MAX as u64).ok_or(Errno::EINVAL)?;
    if len == 0 || off > i64::MAX as u64 {
        return Err(Errno::EINVAL);
    }
    size_arg(c, end)?;
    i.fallocate(mode, off, len).map(|()| 0)
}
pub(crate) fn fadvise64(c: &mut Ctx<'_>) -> Result<i64> {
    let f = c.real_file(0)?;
    if f.as_stream().is_some() {
        return Err(Errno::ESPIPE);
    }
    if c.uint(3) > 5 { Err(Errno::EINVAL) } else { Ok(0) }
}
pub(super) fn readahead(c: &mut Ctx<'_>) -> Result<i64> {
    let f = c.real_file(0)?;
    if f.readable() && f.as_stream().is_none() { Ok(0) } else { Err(Errno::EINVAL) }
}
pub(crate) fn fsync(c: &mut Ctx<'_>) -> Result<i64> {
    match &c.real_file(0)?.object {
        Object::Inode(i) => i.fsync(false).map(|()| 0),
        _ => Err(Errno::EINVAL),
    }
}
pub(crate) fn fdatasync(c: &mut Ctx<'_>) -> Result<i64> {
    match &c.real_file(0)?.object {
        Object::Inode(i) => i.fsync(true).map(|()| 0),
        _ => Err(Errno::EINVAL),
    }
}
pub(super) fn syncfs(c: &mut Ctx<'_>) -> Result<i64> {
    c.file(0).map(|_| 0)
}
pub(super) fn umask_call(c: &mut Ctx<'_>) -> Result<i64> {
    let new = c.uint(0) & 0o777;
    Ok(std::mem::replace(&mut lock(&c.task.process.fs).umask, new).into())
}

// ---- extended attributes ----

fn xattr_object(c: &Ctx<'_>, nofollow: bool) -> Result<Arc<dyn Inode>> {
    let flags = if nofollow { AT_SYMLINK_NOFOLLOW } else { 0 };
    Ok(Arc::clone(at_path(c, AT_FDCWD, &c.path(0)?, flags)?.ok_or(Errno::EBADF)?.inode()))
}
/// Attributes of `trusted.` are there for the privileged only.
const TRUSTED: &[u8] = b"trusted.";

/// Whether the caller may read (or `write`) an attribute: `trusted.` takes privileges, and nothing else than `hidden` is told of it; `user.` goes by
/// the permission bits (man 7 xattr).
fn xattr_access(c: &Ctx<'_>, inode: &dyn Inode, name: &[u8], want: Access, hidden: Errno) -> Result<()> {
    let cred = lock(&c.task.process.ids).fs();
    if name.starts_with(TRUSTED) && !cred.privileged() {
        return Err(hidden);
    }
    let stat = inode.stat()?;
    // In a directory where anybody may write, its owner's attributes are not anybody's.
    if want.write && stat.file_type() == FileType::Directory && stat.mode & 0o1000 != 0 && !cred.owns(&stat) {
        return Err(Errno::EPERM);
    }
    cred.check(&stat, want)
}
fn get_xattr(c: &mut Ctx<'_>, inode: Result<Arc<dyn Inode>>) -> Result<i64> {
    let name = c.cstr(c.a[1], 256, Errno::ERANGE)?;
    let inode = inode?;
    xattr_access(c, &*inode, &name, Access::READ, Errno::ENODATA)?;
    let v = inode.getxattr(&name)?;
    give(c, &v)
}
fn list_xattr(c: &mut Ctx<'_>, inode: Result<Arc<dyn Inode>>) -> Result<i64> {
    let root = lock(&c.task.process.ids).fs().privileged();
    let names = inode?.listxattr()?.into_iter().filter(|n| root || !n.starts_with(TRUSTED));
    let v: Vec<u8> = names.flat_map(|n| n.into_iter().chain([0])).collect();
    c.a[3] = c.a[2];
    c.a[2] = c.a[1];
    give(c, &v)
}
/// Copies to (argument 2, size argument 3); size 0 asks for the length.
fn give(c: &Ctx<'_>, v: &[u8]) -> Result<i64> {
    if c.a[3] != 0 {
        if (c.a[3]) < v.len() as u64 {
            return Err(Errno::ERANGE);
        }
        c.put(c.a[2], v)?;
    }
    Ok(v.len() as i64)
}
fn fd_inode(c: &Ctx<'_>) -> Result<Arc<dyn Inode>> {
    c.real_file(0)?.inode().ok_or(Errno::EOPNOTSUPP)
}
pub(super) fn getxattr(c: &mut Ctx<'_>) -> Result<i64> {
    let o = xattr_object(c, false);
    get_xattr(c, o)
}
pub(super) fn lgetxattr(c: &mut Ctx<'_>) -> Result<i64> {
    let o = xattr_object(c, true);
    get_xattr(c, o)
}
pub(super) fn fgetxattr(c: &mut Ctx<'_>) -> Result<i64> {
    let o = fd_inode(c);
    get_xattr(c, o)
}
pub(super) fn listxattr(c: &mut Ctx<'_>) -> Result<i64> {
    let o = xattr_object(c, false);
    list_xattr(c, o)
}
pub(super) fn llistxattr(c: &mut Ctx<'_>) -> Result<i64> {
    let o = xattr_object(c, true);
    list_xattr(c, o)
}
pub(super) fn flistxattr(c: &mut Ctx<'_>) -> Result<i64> {
    let o = fd_inode(c);
    list_xattr(c, o)
}
fn set_xattr(c: &mut Ctx<'_>, inode: Result<Arc<dyn Inode>>) -> Result<i64> {
    let name = c.cstr(c.a[1], 256, Errno::ERANGE)?;
    let value = c.get_vec(c.a[2], c.a[3], 65536).map_err(|e| if e == Errno::EINVAL { Errno::E2BIG } else { e })?;
    let inode = inode?;
    xattr_access(c, &*inode, &name, Access::WRITE, Errno::EPERM)?;
    inode.setxattr(&name, &value, c.uint(4)).map(|()| 0)
}
pub(super) fn setxattr(c: &mut Ctx<'_>) -> Result<i64> {
    let o = xattr_object(c, false);
    set_xattr(c, o)
}
pub(super) fn lsetxattr(c: &mut Ctx<'_>) -> Result<i64> {
    let o = xattr_object(c, true);
    set_xattr(c, o)
}
pub(super) fn fsetxattr(c: &mut Ctx<'_>) -> Result<i64> {
    let o = fd_inode(c);
    set_xattr(c, o)
}
fn remove_xattr(c: &mut Ctx<'_>, inode: Result<Arc<dyn Inode>>) -> Result<i64> {
    let name = c.cstr(c.a[1], 256, Errno::ERANGE)?;
    let inode = inode?;
    xattr_access(c, &*inode, &name, Access::WRITE, Errno::EPERM)?;
    inode.removexattr(&name).map(|()| 0)
}
pub(super) fn removexattr(c: &mut Ctx<'_>) -> Result<i64> {
    let o = xattr_object(c, false);
    remove_xattr(c, o)
}
pub(super) fn lremovexattr(c: &mut Ctx<'_>) -> Result<i64> {
    let o = xattr_object(c, true);
    remove_xattr(c, o)
}
pub(super) fn fremovexattr(c: &mut Ctx<'_>) -> Result<i64> {
    let o = fd_inode(c);
    remove_xattr(c, o)
}

// ---- locks ----

/// F_GETLK, F_SETLK, F_SETLKW and their open-file-description kin (36, 37, 38).
pub(super) fn record_lock(c: &mut Ctx<'_>, f: &Arc<OpenFile>, cmd: i32, arg: u64) -> Result<i64> {
    let inode = match &f.object {
        Object::Inode(i) => Arc::clone(i),
        _ => return Err(Errno::EBADF),
    };
    let b: [u8; 32] = c.get(arg)?;
    let kind = i16::from_le_bytes([b[0], b[1]]);
    let whence = i16::from_le_bytes([b[2], b[3]]);
    let start = i64::from_le_bytes(b[8..16].try_into().unwrap_or_default());
    let len = i64::from_le_bytes(b[16..24].try_into().unwrap_or_default());
    let base = match whence {
        0 => 0,
        1 => *position(f) as i64,
        2 => inode.stat()?.size as i64,
        _ => return Err(Errno::EINVAL),
    };
    let mut start = base.checked_add(start).ok_or(Errno::EOVERFLOW)?;
    let mut end = if len == 0 { i64::MAX } else { start.checked_add(len).ok_or(Errno::EOVERFLOW)? };
    if len < 0 {
        (start, end) = (end, start);
    }
    if start < 0 {
        return Err(Errno::EINVAL);
    }
    let ofd = cmd >= 36;
    let owner = if ofd { Owner::File(Arc::as_ptr(f) as usize) } else { Owner::Process(c.task.process.pid) };
    let range = Range { start: start as u64, end: end as u64, write: kind == 1, owner };
    let locks = &c.task.kernel.locks;
    match cmd {
        libc::F_GETLK | 36 => {
            if !matches!(kind, 0 | 1) {
                return Err(Errno::EINVAL);
            }
            let mut out = b;
            match locks.conflict(inode.id(), &range) {
                None => out[0..2].copy_from_slice(&2i16.to_le_bytes()),
                Some(r) => {
                    out[0..2].copy_from_slice(&i16::from(r.write).to_le_bytes());
                    out[2..4].copy_from_slice(&0i16.to_le_bytes());
                    out[8..16].copy_from_slice(&r.start.to_le_bytes());
                    let len = if r.end == i64::MAX as u64 { 0 } else { r.end - r.start };
                    out[16..24].copy_from_slice(&len.to_le_bytes());
                    let pid = if let Owner::Process(p) = r.owner { p } else { -1 };
                    out[24..28].copy_from_slice(&pid.to_le_bytes());
                }
            }
            c.put(arg, &out).map(|()| 0)
        }
        _ => {
            match kind {
                0 if !f.readable() => return Err(Errno::EBADF),
                1 if !f.writable() => return Err(Errno::EBADF),
                0 | 1 => {}
                2 => {
                    locks.unlock(inode.id(), &range);
                    return Ok(0);
                }
                _ => return Err(Errno::EINVAL),
            }
            if locks.try_lock(inode.id(), range) {
                return Ok(0);
            }
            if cmd == libc::F_SETLK || cmd == 37 {
                return Err(Errno::EAGAIN);
            }
            c.task
                .block(&[&locks.queue], &[], None, ERESTARTSYS, |_| Ok(locks.try_lock(inode.id(), range).then_some(0)))
        }
    }
}

pub(super) fn flock(c: &mut Ctx<'_>) -> Result<i64> {
    let f = c.real_file(0)?;
    let inode = match &f.object {
        Object::Inode(i) => i.id(),
        // Streams can be locked as well; nobody contends.
        _ => return Ok(0),
    };
    let op = c.uint(1);
    let locks = &c.task.kernel.locks;
    let key = Arc::as_ptr(&f) as usize;
    match op & !4 {
        1 | 2 => {
            let write = op & 3 == 2;
            if locks.try_flock(inode, key, write) {
                return Ok(0);
            }
            if op & 4 != 0 {
                return Err(Errno::EAGAIN);
            }
            c.task
                .block(&[&locks.queue], &[], None, ERESTARTSYS, |_| Ok(locks.try_flock(inode, key, write).then_some(0)))
        }
        8 => {
            locks.unflock(inode, key);
            Ok(0)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// tee(2), vmsplice(2): copies what one read gives. Kept for programs that probe.
pub(super) fn tee(c: &mut Ctx<'_>) -> Result<i64> {
    let f = c.real_file(0)?;
    // Nothing is duplicated: callers fall back to read and write.
    retry(c.task, &f, false, || Err(Errno::EINVAL))
}
