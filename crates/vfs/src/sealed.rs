//! The file system section of a bundle as the lower layer.

use crate::{FileType, LowerInode, LowerTree, Timespec};
use megalith_image::fssection::{ROOT, Reader};
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A [`LowerTree`] over a file system section ([`Reader`]) that lies in an open file. The reader has checked the tree
/// index; contents are checked by [`crate::LayeredFs`] at first use.
pub struct SealedTree<B> {
    reader: Reader<B>,
    file: Option<(Arc<OwnedFd>, u64)>,
}

impl<B: Deref<Target = [u8]>> SealedTree<B> {
    /// `file`: the host file that the section lies in (`container.wasm` or `files.img`) and the section's offset there;
    /// guests' file mappings map it. Without it, a file that is mapped is copied up first.
    pub fn new(reader: Reader<B>, file: Option<(Arc<OwnedFd>, u64)>) -> SealedTree<B> {
        SealedTree { reader, file }
    }
    /// The section.
    pub fn reader(&self) -> &Reader<B> {
        &self.reader
    }
}

/// `st_rdev` of a device number (`gnu_dev_makedev`).
fn makedev(major: u32, minor: u32) -> u64 {
    let (major, minor) = (u64::from(major), u64::from(minor));
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & !0xff) << 12 | (major & !0xfff) << 32
}

impl<B: Deref<Target = [u8]> + Send + Sync + 'static> LowerTree for SealedTree<B> {
    fn root(&self) -> u64 {
        ROOT.into()
    }
    fn inode_count(&self) -> u64 {
        self.reader.inode_count().into()
    }
    fn inode(&self, n: u64) -> Option<LowerInode> {
        let n = u32::try_from(n).ok()?;
        let i = self.reader.inode(n)?;
        let kind = FileType::from_mode(i.mode)?;
        Some(LowerInode {
            kind,
            mode: i.mode & crate::mode::ALL,
            uid: i.uid,
            gid: i.gid,
            mtime: Timespec { sec: i.mtime, nsec: i.mtime_nsec },
            size: i.size,
            nlink: i.nlink,
            rdev: makedev(i.rdev_major, i.rdev_minor),
            hash: if kind == FileType::Regular { self.reader.hash(n)?.0 } else { [0; 32] },
        })
    }
    fn lookup(&self, dir: u64, name: &[u8]) -> Option<u64> {
        self.reader.lookup(u32::try_from(dir).ok()?, name).map(u64::from)
    }
    fn entry(&self, dir: u64, index: u64) -> Option<(&[u8], u64)> {
        let e = self.reader.dir_entry(u32::try_from(dir).ok()?, usize::try_from(index).ok()?)?;
        Some((e.name, e.inode.into()))
    }
    fn link_target(&self, n: u64) -> Option<&[u8]> {
        self.reader.symlink(u32::try_from(n).ok()?)
    }
    fn data(&self, n: u64) -> Option<&[u8]> {
        self.reader.data(u32::try_from(n).ok()?)
    }
    fn host_range(&self, n: u64) -> Option<(Arc<OwnedFd>, u64)> {
        let (fd, base) = self.file.as_ref()?;
        let (start, len) = self.reader.data_range(u32::try_from(n).ok()?)?;
        let at = base.checked_add(start)?;
        // An empty file lies nowhere; a misaligned one (a section that was moved) cannot be mapped.
        (len > 0 && at.is_multiple_of(4096)).then(|| (fd.clone(), at))
    }
}

#[cfg(test)]
mod tests {
    use super::makedev;

    #[test]
    fn device_numbers_are_those_of_the_host() {
        for (major, minor) in [(1, 3), (5, 0), (136, 7), (0xabc, 0x12345), (0x12345, 0xfffff)] {
            assert_eq!(makedev(major, minor), rustix::fs::makedev(major, minor));
        }
    }
}
