//! The container's sealed files as the vfs wants them.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use megalith_image::{FileType as ImageType, fssection::Reader};
use megalith_manifest::{FileHash, Manifest};
use megalith_vfs::{FileType, LowerInode, LowerTree, MapSource, Timespec};
use memmap2::Mmap;

use crate::bundle::Section;
use crate::failure::{Result, fail};

/// The root directory's inode.
const ROOT: u32 = 0;

/// The file system section of a bundle.
pub struct Lower {
    reader: Reader<Mmap>,
    file: Arc<OwnedFd>,
    offset: u64,
    /// Where the root directory lists [`Manifest::OWN_DIR`], if it does.
    own: Option<usize>,
}

impl Lower {
    /// Opens the section and checks its tree index against `root`.
    pub fn open(section: Section, root: &FileHash) -> Result<Lower> {
        let Section { map, file, offset } = section;
        let reader = Reader::open(map, root).map_err(|e| fail(format!("{e}; build the bundle again")))?;
        let own = Manifest::OWN_DIR.as_bytes();
        let own = reader.readdir(ROOT).and_then(|mut entries| entries.position(|e| e.name == own));
        Ok(Lower { reader, file: Arc::new(file.into()), offset, own })
    }

    /// Where the bytes of the file `name` of [`Manifest::OWN_DIR`] lie. Its hash in the tree must be `hash`.
    pub fn own(&self, name: &str, hash: &FileHash) -> std::result::Result<MapSource, String> {
        self.source(format!("/{}/{name}", Manifest::OWN_DIR).as_bytes(), hash)
    }

    /// Where the bytes of the program at `path` lie. Its hash in the tree must be `hash`.
    pub fn source(&self, path: &[u8], hash: &FileHash) -> std::result::Result<MapSource, String> {
        let inode =
            self.reader.find_path(path).ok_or("the manifest names it, but the container's files have no such file")?;
        if self.reader.hash(inode).as_ref() != Some(hash) {
            return Err("its hash in the manifest is not that of the container's file".into());
        }
        let (_, len) = self.reader.data_range(inode).ok_or("it is not a regular file")?;
        let (fd, offset) = Lower::place(self, inode).ok_or("it does not begin on a page boundary")?;
        Ok(MapSource { fd, offset, len, sealed: true })
    }

    /// Where inode `n`'s bytes lie in the host file, if on a page boundary.
    fn place(&self, n: u32) -> Option<(Arc<OwnedFd>, u64)> {
        let (start, len) = self.reader.data_range(n)?;
        let offset = self.offset.checked_add(start)?;
        // An empty file has no place; a file of a foreign writer may lie anywhere.
        (len > 0 && offset.is_multiple_of(4096)).then(|| (Arc::clone(&self.file), offset))
    }
}

fn file_type(t: ImageType) -> FileType {
    match t {
        ImageType::Regular => FileType::Regular,
        ImageType::Directory => FileType::Directory,
        ImageType::Symlink => FileType::Symlink,
        ImageType::CharDevice => FileType::CharDevice,
        ImageType::BlockDevice => FileType::BlockDevice,
        ImageType::Fifo => FileType::Fifo,
    }
}

impl LowerTree for Lower {
    fn root(&self) -> u64 {
        ROOT.into()
    }
    fn inode_count(&self) -> u64 {
        self.reader.inode_count().into()
    }
    fn inode(&self, n: u64) -> Option<LowerInode> {
        let n = u32::try_from(n).ok()?;
        let i = self.reader.inode(n)?;
        // What guests do not see does not count.
        let own = u32::from(n == ROOT && self.own.is_some());
        Some(LowerInode {
            kind: file_type(i.file_type),
            mode: i.mode & 0o7777,
            uid: i.uid,
            gid: i.gid,
            mtime: Timespec { sec: i.mtime, nsec: i.mtime_nsec },
            size: i.size - u64::from(own),
            nlink: i.nlink - own,
            rdev: libc::makedev(i.rdev_major, i.rdev_minor),
            hash: self.reader.hash(n).map_or([0; 32], |h| h.0),
        })
    }
    fn lookup(&self, dir: u64, name: &[u8]) -> Option<u64> {
        if dir == u64::from(ROOT) && name == Manifest::OWN_DIR.as_bytes() {
            return None;
        }
        self.reader.lookup(u32::try_from(dir).ok()?, name).map(u64::from)
    }
    fn entry(&self, dir: u64, index: u64) -> Option<(&[u8], u64)> {
        let (dir, index) = (u32::try_from(dir).ok()?, usize::try_from(index).ok()?);
        let hidden = dir == ROOT && self.own.is_some_and(|own| index >= own);
        let e = self.reader.dir_entry(dir, index + usize::from(hidden))?;
        Some((e.name, e.inode.into()))
    }
    fn link_target(&self, n: u64) -> Option<&[u8]> {
        self.reader.symlink(u32::try_from(n).ok()?)
    }
    fn data(&self, n: u64) -> Option<&[u8]> {
        self.reader.data(u32::try_from(n).ok()?)
    }
    fn host_range(&self, n: u64) -> Option<(Arc<OwnedFd>, u64)> {
        let (_, len) = self.reader.data_range(u32::try_from(n).ok()?)?;
        // What follows the end of a file in its last page is not zeros: such a file is mapped from a copy.
        len.is_multiple_of(4096).then(|| Lower::place(self, u32::try_from(n).ok()?))?
    }
    fn has_been_checked(&self, n: u64) {
        const PAGE: usize = 4096;
        let Some(data) = u32::try_from(n).ok().and_then(|n| self.reader.data(n)) else { return };
        // Of small files, most pages are read again at once.
        if data.len() < 64 * PAGE {
            return;
        }
        let start = (data.as_ptr() as usize).next_multiple_of(PAGE);
        let end = (data.as_ptr() as usize + data.len()) & !(PAGE - 1);
        // SAFETY: whole pages of the section's mapping, which is shared, read-only and a file's: their bytes are the same before and after.
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
    }
    fn place(&self, n: u64) -> Option<u64> {
        Lower::place(self, u32::try_from(n).ok()?).map(|(_, offset)| offset)
    }
}
