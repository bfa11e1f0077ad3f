//! The two traits that a file system implements. Nothing here checks permissions: that is [`crate::Vfs`]'s part.

use crate::{
    Access, DirEntry, Errno, FileType, InodeId, Location, NewNode, RenameFlags, Result, SetAttr, Stat, StatFs,
};
use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A mountable file system.
pub trait FileSystem: Send + Sync + 'static {
    /// The root directory (or, for a volume that is one file, that file).
    fn root(&self) -> Arc<dyn Inode>;
    /// Type name as /proc/mounts shows it (`overlay`, `tmpfs`, `proc`).
    fn name(&self) -> &str;
    /// True when every change fails with EROFS.
    fn read_only(&self) -> bool {
        false
    }
}

/// What to pass to the host's mmap for a file mapping.
#[derive(Clone, Debug)]
pub struct MapSource {
    /// The host file.
    pub fd: Arc<OwnedFd>,
    /// Where in `fd` the guest file's byte 0 lies; page aligned.
    pub offset: u64,
    /// Size of the guest file now. Pages wholly past it must fault (SIGBUS).
    pub len: u64,
    /// The bytes are those of the sealed lower layer: map MAP_PRIVATE, or read-only. The host file goes on behind `len`
    /// with bytes that are not the guest's to see: map the whole pages only, and give a last partial page as anonymous
    /// memory with a copy of the bytes and zeros behind them.
    pub sealed: bool,
}

/// What the exec gate may conclude from the identity of an inode, without reading it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContentClass {
    /// Unchanged file of the sealed lower layer whose bytes were checked; this is their SHA-256.
    Sealed { hash: [u8; 32] },
    /// Bytes that only this process can change. A hash holds as long as the inode answers with the same generation:
    /// ask, [`Inode::read_all`], ask again, and remember the hash under ([`InodeId`], generation) when both answers are
    /// equal.
    Private { generation: u64 },
    /// Others can change the bytes at any time: read them into private memory and hash that, at every start.
    Foreign,
}

/// An object of a file system: file, directory, symbolic link, device, fifo or socket.
///
/// All methods are callable from any thread. A method never calls back into [`crate::Vfs`] while it holds a lock.
/// The default bodies answer what Linux answers for a type that lacks the operation.
pub trait Inode: Any + Send + Sync {
    /// `st_dev` and `st_ino`; never changes.
    fn id(&self) -> InodeId;
    /// Never changes.
    fn file_type(&self) -> FileType;
    /// All attributes.
    fn stat(&self) -> Result<Stat>;
    /// Changes attributes, all or none. Permissions were checked; the set-ID rules (man 2 chown) were applied by the
    /// caller.
    fn setattr(&self, _attr: &SetAttr) -> Result<()> {
        Err(Errno::EPERM)
    }

    // Directories. Names are non-empty, at most 255 bytes, without '/' and NUL, and neither "." nor "..".

    /// The entry `name`; ENOENT, ENOTDIR.
    fn lookup(&self, _name: &[u8]) -> Result<Arc<dyn Inode>> {
        Err(Errno::ENOTDIR)
    }
    /// Creates a regular file; EEXIST when there is such an entry.
    fn create(&self, _name: &[u8], _new: &NewNode) -> Result<Arc<dyn Inode>> {
        Err(Errno::EACCES)
    }
    /// Creates a regular file without a name in this directory's file system (O_TMPFILE). With `linkable`, link() may
    /// name it later.
    fn create_unlinked(&self, _new: &NewNode, _linkable: bool) -> Result<Arc<dyn Inode>> {
        Err(Errno::EOPNOTSUPP)
    }
    /// Creates a directory.
    fn mkdir(&self, _name: &[u8], _new: &NewNode) -> Result<Arc<dyn Inode>> {
        Err(Errno::EPERM)
    }
    /// Creates a fifo, socket or device node (`rdev` as in `st_rdev`).
    fn mknod(&self, _name: &[u8], _kind: FileType, _rdev: u64, _new: &NewNode) -> Result<Arc<dyn Inode>> {
        Err(Errno::EPERM)
    }
    /// Creates a symbolic link.
    fn symlink(&self, _name: &[u8], _target: &[u8], _new: &NewNode) -> Result<Arc<dyn Inode>> {
        Err(Errno::EPERM)
    }
    /// Adds `name` as a further name of `target`, which is of the same file system (EXDEV otherwise) and no directory
    /// (EPERM).
    fn link(&self, _name: &[u8], _target: &Arc<dyn Inode>) -> Result<()> {
        Err(Errno::EPERM)
    }
    /// Removes an entry that is no directory (EISDIR).
    fn unlink(&self, _name: &[u8]) -> Result<()> {
        Err(Errno::EPERM)
    }
    /// Removes an empty directory; ENOTEMPTY, ENOTDIR.
    fn rmdir(&self, _name: &[u8]) -> Result<()> {
        Err(Errno::EPERM)
    }
    /// Moves `name` to `new_name` in `new_dir` (of the same file system), man 2 rename.
    fn rename(&self, _name: &[u8], _new_dir: &Arc<dyn Inode>, _new_name: &[u8], _flags: RenameFlags) -> Result<()> {
        Err(Errno::EPERM)
    }
    /// The entries after `cursor` (0: from the start; else the `next` of an entry), at most `max` of them, "." and ".."
    /// included. Empty at the end. Entries that stay are returned exactly once, whatever changes around them. See
    /// [`list_dir`].
    fn readdir(&self, _cursor: u64, _max: usize) -> Result<Vec<DirEntry>> {
        Err(Errno::ENOTDIR)
    }

    // Symbolic links.

    /// The target of a symbolic link; EINVAL for others.
    fn readlink(&self) -> Result<Vec<u8>> {
        Err(Errno::EINVAL)
    }
    /// For magic links (/proc/PID/exe, /proc/PID/fd/N): the object itself, which a walk takes instead of reading the
    /// text. `Ok(None)`: an ordinary symbolic link.
    fn follow(&self) -> Result<Option<Location>> {
        Ok(None)
    }

    // Files.

    /// Called once for each open file description. A sealed file is checked against its hash here (EIO). `Some(inode)`:
    /// this description shall use that object instead (state of its own, as of a generated text in /proc).
    fn open(&self, _access: Access) -> Result<Option<Arc<dyn Inode>>> {
        Ok(None)
    }
    /// Reads at most `buf.len()` bytes at `offset`; 0 at or after the end.
    fn read_at(&self, _offset: u64, _buf: &mut [u8]) -> Result<usize> {
        Err(if self.file_type() == FileType::Directory { Errno::EISDIR } else { Errno::EINVAL })
    }
    /// Writes at `offset`; a gap behind the old end reads as zeros. Returns the bytes written (fewer when space ends in
    /// between). Does not clear set-ID bits: see [`crate::remove_privileges`].
    fn write_at(&self, _offset: u64, _data: &[u8]) -> Result<usize> {
        Err(Errno::EINVAL)
    }
    /// Writes at the end, atomically (O_APPEND). Returns (offset at which the data went, bytes written).
    fn append(&self, data: &[u8]) -> Result<(u64, usize)> {
        let end = self.stat()?.size;
        Ok((end, self.write_at(end, data)?))
    }
    /// Sets the size; the new part reads as zeros.
    fn truncate(&self, _size: u64) -> Result<()> {
        Err(if self.file_type() == FileType::Directory { Errno::EISDIR } else { Errno::EINVAL })
    }
    /// man 2 fallocate: mode 0, FALLOC_FL_KEEP_SIZE (1), FALLOC_FL_PUNCH_HOLE | KEEP_SIZE (3).
    fn fallocate(&self, _mode: u32, _offset: u64, _len: u64) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    /// The first offset at or after `offset` that holds data (`data`: SEEK_DATA) or a hole (SEEK_HOLE); ENXIO past the
    /// end.
    fn seek_data(&self, offset: u64, data: bool) -> Result<u64> {
        let size = self.stat()?.size;
        if offset >= size {
            return Err(Errno::ENXIO);
        }
        Ok(if data { offset } else { size })
    }
    /// fsync(2), or fdatasync(2) with `data_only`.
    fn fsync(&self, _data_only: bool) -> Result<()> {
        Ok(())
    }
    /// What to mmap; ENODEV when the object cannot be mapped. `shared_writable`: the caller makes a MAP_SHARED mapping
    /// that is, or by mprotect may become, writable; from then on the content generation changes with every question.
    fn map_source(&self, _shared_writable: bool) -> Result<MapSource> {
        Err(Errno::ENODEV)
    }
    /// For a file of class [`ContentClass::Sealed`]: at which byte of the sealed layer's host file the checked bytes begin. `None`: not known.
    fn sealed_place(&self) -> Option<u64> {
        None
    }
    /// Whether this is a directory of the sealed layer, and it and everything below it (names, attributes, contents) is as that layer has it. False when
    /// that is not known.
    fn unchanged_below(&self) -> bool {
        false
    }
    /// What the exec gate may conclude. Checks a sealed file against its hash when that was not done before (EIO).
    fn content_class(&self) -> Result<ContentClass> {
        Ok(ContentClass::Foreign)
    }
    /// A private copy of all bytes; EFBIG when there are more than `limit`.
    fn read_all(&self, limit: u64) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        loop {
            let have = out.len();
            // One byte past the limit is asked for, to tell "exactly the limit" from "more".
            let room = (limit - have as u64).saturating_add(1).min(1 << 20) as usize;
            let hint = self.stat()?.size.saturating_sub(have as u64).clamp(4096, 1 << 20) as usize;
            out.try_reserve(room.min(hint)).map_err(|_| Errno::ENOMEM)?;
            out.resize(have + room.min(hint), 0);
            let n = self.read_at(have as u64, &mut out[have..])?;
            out.truncate(have + n);
            if n == 0 {
                return Ok(out);
            }
            if out.len() as u64 > limit {
                return Err(Errno::EFBIG);
            }
        }
    }

    /// Numbers of the file system that the object is on.
    fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs { bsize: 4096, frsize: 4096, namelen: 255, ..StatFs::default() })
    }

    // Extended attributes (man 7 xattr).

    fn getxattr(&self, _name: &[u8]) -> Result<Vec<u8>> {
        Err(Errno::EOPNOTSUPP)
    }
    fn listxattr(&self) -> Result<Vec<Vec<u8>>> {
        Ok(Vec::new())
    }
    fn setxattr(&self, _name: &[u8], _value: &[u8], _flags: u32) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
    fn removexattr(&self, _name: &[u8]) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }
}

/// A `readdir` body for a directory whose entries are given as a whole (/proc, /dev): adds "." and "..". The first part of an entry
/// is its place, which it keeps when others come and go; they ascend, and become the cursor.
pub fn list_dir(
    ino: u64,
    parent_ino: u64,
    entries: impl IntoIterator<Item = (u64, Vec<u8>, u64, FileType)>,
    cursor: u64,
    max: usize,
) -> Vec<DirEntry> {
    let dots = [(1, b".".to_vec(), ino, FileType::Directory), (2, b"..".to_vec(), parent_ino, FileType::Directory)];
    let entries = entries.into_iter().map(|(place, name, ino, kind)| (place.saturating_add(3), name, ino, kind));
    dots.into_iter()
        .chain(entries)
        .filter(|(next, ..)| *next > cursor)
        .take(max)
        .map(|(next, name, ino, file_type)| DirEntry { name, ino, file_type, next })
        .collect()
}

/// Refuses names that no directory entry may have: EINVAL, ENAMETOOLONG. For file systems that get names from elsewhere
/// than a walk.
pub fn check_name(name: &[u8]) -> Result<()> {
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0) {
        return Err(Errno::EINVAL);
    }
    if name.len() > crate::NAME_MAX { Err(Errno::ENAMETOOLONG) } else { Ok(()) }
}
