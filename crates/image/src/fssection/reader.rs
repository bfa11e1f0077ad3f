use super::{DATA_ALIGN, DIRENT, HEADER, INDEX_MAGIC, INODE, ROOT, TRAILER, TRAILER_MAGIC, VERSION};
use crate::{Error, FileType};
use megalith_manifest::{FileHash, NAME_MAX, PATH_MAX};
use sha2::{Digest, Sha256};
use std::ops::{Deref, Range};

/// Reads a file system section in place, for example in a mapping of the file that holds it.
///
/// [`Reader::open`] checks the index against its expected root, in time proportional to the index and not to the files. The methods
/// then trust nothing: a number that leads out of bounds gives `None`, never a panic. [`Reader::check`] looks at everything but the files' bytes.
pub struct Reader<B> {
    section: B,
    inodes: Range<usize>,
    dirents: Range<usize>,
    names: Range<usize>,
    inode_count: u32,
}

/// What an inode says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InodeInfo {
    /// Type.
    pub file_type: FileType,
    /// `st_mode`: type and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// `st_nlink`.
    pub nlink: u32,
    /// Time of modification, seconds since 1970.
    pub mtime: i64,
    /// Its nanoseconds.
    pub mtime_nsec: u32,
    /// Device major number.
    pub rdev_major: u32,
    /// Device minor number.
    pub rdev_minor: u32,
    /// Regular files: bytes; symlinks: length of the target; directories: number of entries; else 0.
    pub size: u64,
}

/// One entry of a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirEntry<'a> {
    /// Name, without `/`.
    pub name: &'a [u8],
    /// Number of the inode.
    pub inode: u32,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// The range of `len` bytes from `start`, if it lies within `within` bytes.
fn range(start: u64, len: u64, within: usize) -> Option<Range<usize>> {
    let end = usize::try_from(start.checked_add(len)?).ok()?;
    (end <= within).then_some(usize::try_from(start).ok()?..end)
}

impl<B: Deref<Target = [u8]>> Reader<B> {
    /// Opens `section`, which is exactly the section, and checks that its tree index has the hash `expected_root`.
    pub fn open(section: B, expected_root: &FileHash) -> Result<Reader<B>, Error> {
        let (index, counts) =
            Self::find(&section).map_err(|why| Error::new(format_args!("file system section: {why}")))?;
        let root = section.get(index).map(FileHash::of);
        if root.as_ref() != Some(expected_root) {
            return Err(Error::new("file system section: the tree index does not have the expected hash"));
        }
        let [inodes, dirents, names] = counts;
        let inode_count = u32::try_from(inodes.len() / INODE).unwrap_or(0);
        Ok(Reader { section, inodes, dirents, names, inode_count })
    }

    /// Locates the index and its three tables.
    fn find(section: &[u8]) -> Result<(Range<usize>, [Range<usize>; 3]), &'static str> {
        let trailer_at = section.len().checked_sub(TRAILER).ok_or("it is too short")?;
        let trailer = section.get(trailer_at..).ok_or("it is too short")?;
        if trailer.get(24..) != Some(&TRAILER_MAGIC) || u64_at(trailer, 16) != Some(0) {
            return Err("it does not end in a trailer");
        }
        let (start, len) = u64_at(trailer, 0).zip(u64_at(trailer, 8)).ok_or("it is too short")?;
        let index =
            range(start, len, trailer_at).filter(|r| r.end == trailer_at).ok_or("the tree index lies elsewhere")?;
        let header = section.get(index.clone()).and_then(|i| i.get(..HEADER)).ok_or("the tree index is too short")?;
        if header.get(..8) != Some(&INDEX_MAGIC) {
            return Err("the tree index does not begin as one");
        }
        if u32_at(header, 8) != Some(VERSION) {
            return Err("the tree index has a version that is not known here");
        }
        let counts = [u32_at(header, 12), u32_at(header, 16)];
        let ([Some(inodes), Some(dirents)], Some(names)) = (counts, u64_at(header, 24)) else {
            return Err("the tree index is too short");
        };
        let mut at = index.start as u64 + HEADER as u64;
        let mut table = |len: u64| {
            let range = range(at, len, index.end).ok_or("the tree index is too short for its tables")?;
            at = range.end as u64;
            Ok::<_, &'static str>(range)
        };
        let tables =
            [table(u64::from(inodes) * INODE as u64)?, table(u64::from(dirents) * DIRENT as u64)?, table(names)?];
        if at != index.end as u64 || inodes == 0 || u32_at(header, 20) != Some(0) {
            return Err("the tree index is not as long as its tables");
        }
        Ok((index, tables))
    }

    /// The section's bytes.
    pub fn section(&self) -> &[u8] {
        &self.section
    }

    /// Number of inodes; they are numbered from 0, the root directory.
    pub fn inode_count(&self) -> u32 {
        self.inode_count
    }

    fn record(&self, inode: u32) -> Option<&[u8]> {
        let table = self.section.get(self.inodes.clone())?;
        let at = usize::try_from(inode).ok()?.checked_mul(INODE)?;
        table.get(at..at.checked_add(INODE)?)
    }

    fn name(&self, start: u64, len: u64) -> Option<&[u8]> {
        let names = self.section.get(self.names.clone())?;
        names.get(range(start, len, names.len())?)
    }

    /// What inode `inode` says, or `None` if there is no such inode or its type is not known.
    pub fn inode(&self, inode: u32) -> Option<InodeInfo> {
        let r = self.record(inode)?;
        let mode = u32_at(r, 0)?;
        Some(InodeInfo {
            file_type: FileType::from_mode(mode)?,
            mode,
            uid: u32_at(r, 4)?,
            gid: u32_at(r, 8)?,
            nlink: u32_at(r, 12)?,
            mtime: u64_at(r, 16)?.cast_signed(),
            mtime_nsec: u32_at(r, 24)?,
            rdev_major: u32_at(r, 28)?,
            rdev_minor: u32_at(r, 32)?,
            size: u64_at(r, 40)?,
        })
    }

    /// Record, size and start of `inode` if it is of type `file_type`.
    fn typed(&self, inode: u32, file_type: FileType) -> Option<(&[u8], u64, u64)> {
        let r = self.record(inode)?;
        (FileType::from_mode(u32_at(r, 0)?)? == file_type).then_some((r, u64_at(r, 40)?, u64_at(r, 48)?))
    }

    /// The directory's entries as bytes.
    fn entries(&self, dir: u32) -> Option<&[u8]> {
        let (_, count, first) = self.typed(dir, FileType::Directory)?;
        let table = self.section.get(self.dirents.clone())?;
        let (start, len) = (first.checked_mul(DIRENT as u64)?, count.checked_mul(DIRENT as u64)?);
        table.get(range(start, len, table.len())?)
    }

    fn entry(&self, record: &[u8]) -> Option<DirEntry<'_>> {
        let name = self.name(u64::from(u32_at(record, 0)?), u64::from(u32_at(record, 4)?))?;
        let inode = u32_at(record, 8)?;
        (inode < self.inode_count).then_some(DirEntry { name, inode })
    }

    /// The inode that `name` leads to in directory `dir`; `None` if `dir` is no directory or has no such entry. `.` and `..` are not entries.
    /// Takes O(log n) steps of n entries.
    pub fn lookup(&self, dir: u32, name: &[u8]) -> Option<u32> {
        let (entries, _) = self.entries(dir)?.as_chunks::<DIRENT>();
        let found = entries.binary_search_by(|e| self.entry(e).map_or(&b""[..], |e| e.name).cmp(name)).ok()?;
        self.entry(entries.get(found)?).map(|e| e.inode)
    }

    /// The inode that an absolute or relative path leads to from the root, following no symlinks and knowing no `.` and `..`.
    pub fn find_path(&self, path: &[u8]) -> Option<u32> {
        path.split(|b| *b == b'/').filter(|c| !c.is_empty()).try_fold(ROOT, |dir, name| self.lookup(dir, name))
    }

    /// Number of entries of a directory.
    pub fn entry_count(&self, dir: u32) -> Option<usize> {
        Some(self.entries(dir)?.len() / DIRENT)
    }

    /// The entry with number `n` (from 0, in byte order of names) of directory `dir`.
    pub fn dir_entry(&self, dir: u32, n: usize) -> Option<DirEntry<'_>> {
        let (entries, _) = self.entries(dir)?.as_chunks::<DIRENT>();
        self.entry(entries.get(n)?)
    }

    /// The entries of directory `dir` in byte order of names, without `.` and `..`; `None` if it is no directory.
    pub fn readdir(&self, dir: u32) -> Option<impl Iterator<Item = DirEntry<'_>>> {
        let (entries, _) = self.entries(dir)?.as_chunks::<DIRENT>();
        Some(entries.iter().filter_map(|e| self.entry(e)))
    }

    /// The parent of directory `dir`; the root's is the root. A parent's number is below its child's, so that going up ends.
    pub fn parent(&self, dir: u32) -> Option<u32> {
        let (r, ..) = self.typed(dir, FileType::Directory)?;
        u32_at(r, 36).filter(|p| *p < dir || (dir == ROOT && *p == ROOT))
    }

    /// The target of symlink `inode`.
    pub fn symlink(&self, inode: u32) -> Option<&[u8]> {
        let (_, len, start) = self.typed(inode, FileType::Symlink)?;
        self.name(start, len)
    }

    /// Offset from the start of the section, and length in bytes, of regular file `inode`'s data; within the section.
    pub fn data_range(&self, inode: u32) -> Option<(u64, u64)> {
        let (_, len, start) = self.typed(inode, FileType::Regular)?;
        range(start, len, self.section.len()).map(|_| (start, len))
    }

    /// How many bytes of regular file `inode` fill whole pages and can be mapped for a guest; the rest, [`Reader::data`] from there on, is to be copied into a
    /// page of zeros, because what follows it in the section is not zeros.
    pub fn whole_pages(&self, inode: u32) -> Option<u64> {
        self.data_range(inode).map(|(_, len)| len - len % DATA_ALIGN)
    }

    /// The data of regular file `inode`. Not checked: see [`Reader::data_matches`].
    pub fn data(&self, inode: u32) -> Option<&[u8]> {
        let (_, len, start) = self.typed(inode, FileType::Regular)?;
        self.section.get(range(start, len, self.section.len())?)
    }

    /// The SHA-256 that the data of regular file `inode` must have.
    pub fn hash(&self, inode: u32) -> Option<FileHash> {
        let (r, ..) = self.typed(inode, FileType::Regular)?;
        Some(FileHash(r.get(64..96)?.try_into().ok()?))
    }

    /// Hashes the data of regular file `inode`: whether they are what the index says. Takes time proportional to the file.
    pub fn data_matches(&self, inode: u32) -> bool {
        let (Some(data), Some(hash)) = (self.data(inode), self.hash(inode)) else { return false };
        <[u8; 32]>::from(Sha256::digest(data)) == hash.0
    }

    /// Checks the whole index, for `megalith verify`: that it is a tree as the format says (types, names, order, numbering, link counts, bounds).
    /// It does not read the files' data.
    pub fn check(&self) -> Result<(), Error> {
        // Links found to each inode, in order to compare with what it says.
        let mut links = vec![0_u32; self.inode_count as usize];
        let (mut next_entry, mut next_name) = (0_u64, 0_u64);
        for n in 0..self.inode_count {
            self.check_inode(n, &mut links, &mut next_entry, &mut next_name).ok_or_else(|| {
                Error::new(format_args!("file system section: inode {n} is not as the format demands"))
            })?;
        }
        for (n, found) in (0..).zip(&links) {
            let info = self.inode(n).ok_or_else(|| Error::new("file system section: no such inode"))?;
            let expected = match info.file_type {
                // Each directory counts itself (`.`) and is counted by its entry and its subdirectories.
                FileType::Directory => info.nlink.checked_sub(if n == ROOT { 1 } else { 0 }),
                _ => Some(info.nlink),
            };
            if expected != Some(*found) {
                return Err(Error::new(format_args!("file system section: inode {n} has a wrong number of links")));
            }
        }
        if next_entry != (self.dirents.len() / DIRENT) as u64 {
            return Err(Error::new("file system section: directory entries that no directory has"));
        }
        Ok(())
    }

    fn check_inode(&self, n: u32, links: &mut [u32], next_entry: &mut u64, next_name: &mut u64) -> Option<()> {
        let r = self.record(n)?;
        let info = self.inode(n)?;
        let start = u64_at(r, 48)?;
        let device = matches!(info.file_type, FileType::CharDevice | FileType::BlockDevice);
        let valid = info.mode & !0o177777 == 0
            && info.mtime_nsec < 1_000_000_000
            && (n != ROOT || info.file_type == FileType::Directory)
            && (device || (info.rdev_major, info.rdev_minor) == (0, 0))
            && (info.file_type == FileType::Directory || u32_at(r, 36)? == 0)
            && u64_at(r, 56)? == 0
            && (info.file_type == FileType::Regular || r.get(64..)?.iter().all(|b| *b == 0));
        if !valid {
            return None;
        }
        match info.file_type {
            FileType::Directory => {
                let parent = self.parent(n)?;
                *links.get_mut(n as usize)? += 1;
                if n != ROOT {
                    *links.get_mut(parent as usize)? += 1;
                }
                if start != *next_entry {
                    return None;
                }
                let mut last: &[u8] = b"";
                for i in 0..self.entry_count(n)? {
                    let entry = self.dir_entry(n, i)?;
                    let (name_at, len) = self.dirent_name(*next_entry)?;
                    let name = entry.name;
                    let plain = name != b"." && name != b".." && !name.contains(&b'/') && !name.contains(&0);
                    if name <= last || !plain || name.len() > NAME_MAX || name_at != *next_name {
                        return None;
                    }
                    last = name;
                    *next_name += len;
                    *next_entry += 1;
                    // A directory has one entry, in its parent, and a higher number, so that there are no cycles.
                    let child = self.inode(entry.inode)?;
                    if child.file_type == FileType::Directory && (self.parent(entry.inode)? != n || entry.inode == ROOT)
                    {
                        return None;
                    }
                    *links.get_mut(entry.inode as usize)? += 1;
                }
            }
            FileType::Regular => {
                self.data_range(n)?;
                if info.size == 0 && start != 0 {
                    return None;
                }
            }
            FileType::Symlink => {
                let target = self.symlink(n)?;
                if target.is_empty() || target.len() > PATH_MAX || target.contains(&0) {
                    return None;
                }
            }
            FileType::CharDevice | FileType::BlockDevice | FileType::Fifo => {
                if (info.size, start) != (0, 0) {
                    return None;
                }
            }
        }
        Some(())
    }

    /// Offset and length of the name of directory entry `n`, counted over all directories.
    fn dirent_name(&self, n: u64) -> Option<(u64, u64)> {
        let table = self.section.get(self.dirents.clone())?;
        let at = usize::try_from(n).ok()?.checked_mul(DIRENT)?;
        Some((u64::from(u32_at(table, at)?), u64::from(u32_at(table, at.checked_add(4)?)?)))
    }
}
