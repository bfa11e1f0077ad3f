//! A root file system in a directory.

use crate::error::shown;
use crate::rootfs::NodeId;
use crate::tree::Builder;
use crate::{Error, Meta, NodeKind, Options, Rootfs};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

/// A directory that is being walked.
struct Level {
    fd: OwnedFd,
    node: NodeId,
    /// Names that are still to come, last first.
    names: Vec<Vec<u8>>,
    path: Vec<u8>,
}

/// Reads the tree below `root`, one file system only, following no symlinks. `notes` gets a line for what is left out.
pub(crate) fn read(root: &Path, options: &Options, notes: &mut Vec<String>) -> Result<Rootfs, Error> {
    let mut tree = Builder::new(options)?;
    let fd = rustix::fs::open(root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(os)?;
    let top = rustix::fs::fstat(&fd).map_err(os)?;
    tree.directory("/", meta(&top)?)?;
    let names = names_in(&fd)?;
    if names.is_empty() {
        return Err(Error::new("the directory is empty: neither an OCI layout nor a root file system"));
    }
    let mut levels = vec![Level { fd, node: 0, names, path: Vec::new() }];
    let mut linked: HashMap<(u64, u64), NodeId> = HashMap::new();
    let mut left = options.max_bytes;
    let (mut sockets, mut mounts) = (0_u64, Vec::new());
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.pop() else {
            levels.pop();
            continue;
        };
        let path = [&level.path[..], b"/", &name].concat();
        let failed = |e: Error| e.of(shown(&path));
        let stat = rustix::fs::statat(&level.fd, &*name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| failed(os(e)))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let meta = meta(&stat).map_err(failed)?;
        if kind == FileType::Directory {
            let node = tree.directory_in(level.node, &name, meta).map_err(failed)?;
            if stat.st_dev != top.st_dev {
                mounts.push(shown(&path));
                continue;
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(&level.fd, &*name, flags, Mode::empty()).map_err(|e| failed(os(e)))?;
            let names = names_in(&fd).map_err(failed)?;
            levels.push(Level { fd, node, names, path });
            continue;
        }
        if stat.st_nlink > 1
            && let Some(id) = linked.get(&(stat.st_dev, stat.st_ino))
        {
            tree.put_in(level.node, &name, *id).map_err(failed)?;
            continue;
        }
        let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let id = match kind {
            FileType::RegularFile => regular(&mut tree, level, &name, &stat, meta, &mut left),
            FileType::Symlink => rustix::fs::readlinkat(&level.fd, &*name, Vec::new())
                .map_err(os)
                .and_then(|target| tree.special(meta, NodeKind::Symlink(target.into_bytes()))),
            FileType::CharacterDevice => tree.special(meta, NodeKind::CharDevice { major, minor }),
            FileType::BlockDevice => tree.special(meta, NodeKind::BlockDevice { major, minor }),
            FileType::Fifo => tree.special(meta, NodeKind::Fifo),
            _ => {
                sockets += 1;
                continue;
            }
        }
        .map_err(failed)?;
        tree.put_in(level.node, &name, id).map_err(failed)?;
        if stat.st_nlink > 1 {
            linked.insert((stat.st_dev, stat.st_ino), id);
        }
    }
    if sockets > 0 {
        notes.push(format!("{sockets} sockets are left out"));
    }
    if !mounts.is_empty() {
        notes.push(format!("other file systems are left out: {}", mounts.join(", ")));
    }
    tree.finish()
}

fn regular(
    tree: &mut Builder,
    level: &Level,
    name: &[u8],
    stat: &Stat,
    meta: Meta,
    left: &mut u64,
) -> Result<NodeId, Error> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(&level.fd, name, flags, Mode::empty()).map_err(os)?;
    let now = rustix::fs::fstat(&fd).map_err(os)?;
    let size = u64::try_from(now.st_size).unwrap_or(0);
    let changed = || Error::new("changed while it was read");
    if (now.st_dev, now.st_ino, now.st_mode, now.st_size) != (stat.st_dev, stat.st_ino, stat.st_mode, stat.st_size) {
        return Err(changed());
    }
    *left = left.checked_sub(size).ok_or_else(|| Error::new("all files up to here are larger than the limit"))?;
    // One byte more than there should be, to see that there is none.
    let mut file = File::from(fd).take(size + 1);
    let id = tree.regular(meta, &mut file)?;
    if file.limit() != 1 {
        return Err(changed());
    }
    Ok(id)
}

/// The names in a directory, in reverse byte order.
fn names_in(fd: &OwnedFd) -> Result<Vec<Vec<u8>>, Error> {
    let mut names = Vec::new();
    for entry in Dir::read_from(fd).map_err(os)? {
        let name = entry.map_err(os)?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(names)
}

fn meta(stat: &Stat) -> Result<Meta, Error> {
    let nsec = u32::try_from(stat.st_mtime_nsec).ok().filter(|n| *n < 1_000_000_000);
    Ok(Meta {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: stat.st_mtime,
        mtime_nsec: nsec.ok_or_else(|| Error::new("its time of modification is broken"))?,
    })
}

fn os(e: rustix::io::Errno) -> Error {
    Error::new(io::Error::from(e))
}
