//! What the layered file system needs of the sealed lower layer.

use crate::{FileType, Timespec};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Attributes of an inode of the sealed layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LowerInode {
    pub kind: FileType,
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Timespec,
    /// Bytes of a regular file, or of a symbolic link's target.
    pub size: u64,
    /// Names of a file; for a directory 2 + its subdirectories. 0: unknown (a file has one name then; a directory's
    /// entries are counted).
    pub nlink: u32,
    /// Device number of a device node, as `st_rdev`.
    pub rdev: u64,
    /// SHA-256 of a regular file's bytes.
    pub hash: [u8; 32],
}

/// The sealed tree: immutable, addressed by inode number below [`LowerTree::inode_count`]. Hard links share an inode.
/// Its structure (everything but file contents) was checked against the root hash by whoever opened it; contents are
/// checked here, at first use.
///
/// Answers must be cheap: the layered file system asks anew at every lookup. Numbers may come from anywhere, an unknown
/// one gives `None`.
pub trait LowerTree: Send + Sync + 'static {
    /// The root directory.
    fn root(&self) -> u64;
    /// All inode numbers are below this; below 2^48.
    fn inode_count(&self) -> u64;
    /// Attributes.
    fn inode(&self, n: u64) -> Option<LowerInode>;
    /// The entry `name` of directory `dir`.
    fn lookup(&self, dir: u64, name: &[u8]) -> Option<u64>;
    /// The entry number `index` (from 0) of directory `dir`, in a fixed order; `None` past the last. "." and ".." are
    /// not among them.
    fn entry(&self, dir: u64, index: u64) -> Option<(&[u8], u64)>;
    /// Target of a symbolic link.
    fn link_target(&self, n: u64) -> Option<&[u8]>;
    /// The bytes of a regular file, mapped.
    fn data(&self, n: u64) -> Option<&[u8]>;
    /// Where the same bytes lie in a host file, for mmap: page aligned. Something else may follow in the last page.
    fn host_range(&self, n: u64) -> Option<(Arc<OwnedFd>, u64)>;
    /// At which byte of the tree's host file they begin, for who wants to know whether two files are the same bytes. `None`: not known.
    fn place(&self, n: u64) -> Option<u64> {
        let _ = n;
        None
    }
    /// All bytes of file `n` have been read, to be checked. Whoever maps them may let go of their pages, which count as this process's memory.
    fn has_been_checked(&self, n: u64) {
        let _ = n;
    }
}
