//! Names: the `path_*` functions.
//!
//! WASI names are relative to a directory descriptor. Libraries that let programs use absolute names and names relative to a working directory
//! drop the leading slash of the former, look for the given directory with the longest matching name, and pass what is left: with `/` given,
//! `/etc/passwd` and `etc/passwd` arrive as the same call. [`place`] tells them apart as well as can be done.

use super::Call;
use super::fd::{WRITE, filestat_bytes, set_times_args, status_flags};
use crate::errno::{Errno, Result};
use crate::file::Object;
use crate::sys::fs::{
    AT_FDCWD, AT_SYMLINK_FOLLOW, AT_SYMLINK_NOFOLLOW, at_path, link_at, mkdir_at, open_common, place as linux_place,
    rename_at, set_times, stat_at, symlink_at, unlink_at,
};
use crate::wait::lock;
use megalith_vfs::{At, OpenFlags, WalkFlags};

/// `lookupflags::symlink_follow`.
const FOLLOW: u32 = 1;

const CREAT: u32 = 1;
const DIRECTORY: u32 = 2;
const EXCL: u32 = 4;
const TRUNC: u32 = 8;

/// `rights` that ask for reading: fd_read, fd_readdir.
const READING: u64 = 1 << 1 | 1 << 14;

/// What to walk for descriptor argument `dir` and path argument `path`: a descriptor and a path as Linux's `*at` calls take them.
fn place(c: &Call<'_, '_>, dir: usize, path: usize) -> Result<(i32, Vec<u8>)> {
    let fd = c.fd(dir);
    let f = c.open_file(fd)?;
    let path = c.path(path)?;
    if path.contains(&0) {
        return Err(Errno::EINVAL);
    }
    if c.is_preopen(&f) {
        return Ok((AT_FDCWD, if from_root(c, &path) { [b"/", path.as_slice()].concat() } else { path }));
    }
    if matches!(f.object, Object::Stream(_)) {
        return Err(Errno::ENOTDIR);
    }
    if leaves(&path) {
        return Err(Errno::EPERM);
    }
    Ok((fd, path))
}

/// Whether a name relative to the given directory `/` counts from there (and not from the working directory): when the root directory has an
/// entry with its first component.
fn from_root(c: &Call<'_, '_>, path: &[u8]) -> bool {
    let first = path.split(|&b| b == b'/').next().unwrap_or_default();
    if matches!(first, b"" | b"." | b"..") {
        return false;
    }
    let (root, cwd) = {
        let fs = lock(&c.c.task.process.fs);
        (fs.root.clone(), fs.cwd.clone())
    };
    if root == cwd {
        return true;
    }
    let cred = lock(&c.c.task.process.ids).fs();
    let at = At { root: &root, base: &root, cred: &cred };
    !matches!(c.c.task.kernel.vfs.lookup(&at, first, WalkFlags::NOFOLLOW), Err(Errno::ENOENT))
}

/// Whether a name by itself leads out of the directory that it is relative to.
fn leaves(path: &[u8]) -> bool {
    let mut depth = 0usize;
    path.first() == Some(&b'/')
        || path.split(|&b| b == b'/').any(|part| match part {
            b"" | b"." => false,
            b".." if depth == 0 => true,
            b".." => {
                depth -= 1;
                false
            }
            _ => {
                depth += 1;
                false
            }
        })
}

fn nofollow(lookup: u32) -> u32 {
    if lookup & FOLLOW != 0 { 0 } else { AT_SYMLINK_NOFOLLOW }
}

pub(super) fn create_directory(c: &mut Call<'_, '_>) -> Result<()> {
    let (dir, path) = place(c, 0, 1)?;
    mkdir_at(c.c, dir, &path, 0o777).map(drop)
}
pub(super) fn remove_directory(c: &mut Call<'_, '_>) -> Result<()> {
    let (dir, path) = place(c, 0, 1)?;
    unlink_at(c.c, dir, &path, true).map(drop)
}
pub(super) fn unlink_file(c: &mut Call<'_, '_>) -> Result<()> {
    let (dir, path) = place(c, 0, 1)?;
    unlink_at(c.c, dir, &path, false).map(drop)
}
pub(super) fn filestat_get(c: &mut Call<'_, '_>) -> Result<()> {
    let (dir, path) = place(c, 0, 2)?;
    let s = stat_at(c.c, dir, &path, nofollow(c.u32(1)))?;
    c.c.put(c.ptr(4), &filestat_bytes(&s))
}
pub(super) fn filestat_set_times(c: &mut Call<'_, '_>) -> Result<()> {
    let times = set_times_args(c.u64(4), c.u64(5), c.u32(6))?;
    let (dir, path) = place(c, 0, 2)?;
    let l = at_path(c.c, dir, &path, nofollow(c.u32(1)))?.ok_or(Errno::EBADF)?;
    set_times(c.c, &l, times).map(drop)
}
pub(super) fn link(c: &mut Call<'_, '_>) -> Result<()> {
    let flags = if c.u32(1) & FOLLOW != 0 { AT_SYMLINK_FOLLOW } else { 0 };
    let ((dir, path), (new_dir, new_path)) = (place(c, 0, 2)?, place(c, 4, 5)?);
    link_at(c.c, dir, &path, new_dir, &new_path, flags).map(drop)
}
pub(super) fn rename(c: &mut Call<'_, '_>) -> Result<()> {
    let ((dir, path), (new_dir, new_path)) = (place(c, 0, 1)?, place(c, 3, 4)?);
    rename_at(c.c, dir, &path, new_dir, &new_path, 0).map(drop)
}
pub(super) fn symlink(c: &mut Call<'_, '_>) -> Result<()> {
    let target = c.path(0)?;
    if target.contains(&0) {
        return Err(Errno::EINVAL);
    }
    let (dir, path) = place(c, 2, 3)?;
    symlink_at(c.c, &target, dir, &path).map(drop)
}
pub(super) fn readlink(c: &mut Call<'_, '_>) -> Result<()> {
    let (buf, size, used) = (c.ptr(3), c.u32(4) as usize, c.ptr(5));
    let (dir, path) = place(c, 0, 1)?;
    c.room(used, 4)?;
    let p = linux_place(c.c, dir, &path)?;
    let target = c.c.task.kernel.vfs.readlink(&p.at(), &path)?;
    let n = target.len().min(size);
    c.c.put(buf, target.get(..n).unwrap_or_default())?;
    c.c.put_u32(used, n as u32)
}

pub(super) fn open(c: &mut Call<'_, '_>) -> Result<()> {
    let (oflags, rights, fdflags) = (c.u32(4), c.u64(5), c.u32(7));
    let status = status_flags(fdflags)?;
    if oflags & !(CREAT | DIRECTORY | EXCL | TRUNC) != 0 {
        return Err(Errno::EINVAL);
    }
    if oflags & (CREAT | DIRECTORY) == CREAT | DIRECTORY {
        return Err(Errno::EINVAL);
    }
    let result = c.ptr(8);
    c.room(result, 4)?;
    let (dir, path) = place(c, 0, 2)?;
    let mut flags = match (rights & WRITE != 0, rights & READING != 0) {
        (true, true) => OpenFlags::O_RDWR,
        (true, false) => OpenFlags::O_WRONLY,
        (false, _) => OpenFlags::O_RDONLY,
    };
    let mut set = |on: bool, flag: u32| flags |= if on { flag } else { 0 };
    set(oflags & CREAT != 0, OpenFlags::O_CREAT);
    set(oflags & DIRECTORY != 0, OpenFlags::O_DIRECTORY);
    set(oflags & EXCL != 0, OpenFlags::O_EXCL);
    set(oflags & TRUNC != 0, OpenFlags::O_TRUNC);
    set(c.u32(1) & FOLLOW == 0, OpenFlags::O_NOFOLLOW);
    flags |= status;
    let fd = open_common(c.c, dir, &path, flags, 0o666, WalkFlags::FOLLOW)?;
    c.c.put_u32(result, fd as u32)
}

#[cfg(test)]
mod tests {
    use super::leaves;

    #[test]
    fn names_that_lead_out() {
        for out in ["/", "/a", "..", "a/../..", "./..", "a//../../b"] {
            assert!(leaves(out.as_bytes()), "{out}");
        }
        for inside in ["", ".", "a", "a/..", "a/b/../..", "./a/../b", "..a/..b"] {
            assert!(!leaves(inside.as_bytes()), "{inside}");
        }
    }
}
