//! A sealed tree in memory, for tests.
#![allow(dead_code, reason = "not every test uses all of it")]

use megalith_vfs::{FileType, LowerInode, LowerTree, Timespec};
use sha2::{Digest, Sha256};
use std::os::fd::OwnedFd;
use std::sync::Arc;

pub struct Entry {
    pub info: LowerInode,
    /// Bytes of a file, or target of a symbolic link.
    pub data: Vec<u8>,
    /// Entries of a directory, sorted by name.
    pub names: Vec<(Vec<u8>, u64)>,
    /// Where the bytes lie in the host file.
    pub at: u64,
}

#[derive(Default)]
pub struct MemTree {
    pub entries: Vec<Entry>,
    pub file: Option<Arc<OwnedFd>>,
}

impl MemTree {
    /// A tree with a root directory of mode 755.
    pub fn new() -> MemTree {
        let mut t = MemTree::default();
        t.add(FileType::Directory, 0o755, b"");
        t
    }
    /// An inode without a name; returns its number.
    pub fn add(&mut self, kind: FileType, mode: u32, data: &[u8]) -> u64 {
        let info = LowerInode {
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: Timespec { sec: 1_000_000, nsec: 5 },
            size: data.len() as u64,
            nlink: 0,
            rdev: 0,
            hash: Sha256::digest(data).into(),
        };
        self.entries.push(Entry { info, data: data.to_vec(), names: Vec::new(), at: 0 });
        self.entries.len() as u64 - 1
    }
    /// Gives inode `n` a name in `dir`.
    pub fn name(&mut self, dir: u64, name: &[u8], n: u64) {
        self.entries[n as usize].info.nlink += 1;
        let names = &mut self.entries[dir as usize].names;
        let at = names.partition_point(|e| e.0.as_slice() < name);
        names.insert(at, (name.to_vec(), n));
    }
    pub fn file(&mut self, dir: u64, name: &[u8], data: &[u8]) -> u64 {
        let n = self.add(FileType::Regular, 0o644, data);
        self.name(dir, name, n);
        n
    }
    pub fn dir(&mut self, dir: u64, name: &[u8]) -> u64 {
        let n = self.add(FileType::Directory, 0o755, b"");
        self.name(dir, name, n);
        n
    }
    pub fn link(&mut self, dir: u64, name: &[u8], target: &[u8]) -> u64 {
        let n = self.add(FileType::Symlink, 0o777, target);
        self.name(dir, name, n);
        n
    }
    /// Sets the link counts of directories and lays the files out in a host file.
    pub fn seal(mut self) -> Arc<MemTree> {
        for n in 0..self.entries.len() {
            if self.entries[n].info.kind == FileType::Directory {
                let is_dir = |c: &(Vec<u8>, u64)| self.entries[c.1 as usize].info.kind == FileType::Directory;
                self.entries[n].info.nlink = 2 + self.entries[n].names.iter().filter(|c| is_dir(c)).count() as u32;
            }
        }
        let fd = rustix::fs::memfd_create("lower", rustix::fs::MemfdFlags::CLOEXEC).expect("memfd");
        let mut at = 4096;
        for e in &mut self.entries {
            e.at = at;
            rustix::io::pwrite(&fd, &e.data, at).expect("pwrite");
            at += (e.data.len() as u64).div_ceil(4096) * 4096;
        }
        self.file = Some(Arc::new(fd));
        Arc::new(self)
    }
    fn get(&self, n: u64, kind: FileType) -> Option<&Entry> {
        self.entries.get(n as usize).filter(|e| e.info.kind == kind)
    }
}

impl LowerTree for MemTree {
    fn root(&self) -> u64 {
        0
    }
    fn inode_count(&self) -> u64 {
        self.entries.len() as u64
    }
    fn inode(&self, n: u64) -> Option<LowerInode> {
        self.entries.get(n as usize).map(|e| e.info)
    }
    fn lookup(&self, dir: u64, name: &[u8]) -> Option<u64> {
        let names = &self.get(dir, FileType::Directory)?.names;
        names.binary_search_by(|e| e.0.as_slice().cmp(name)).ok().map(|i| names[i].1)
    }
    fn entry(&self, dir: u64, index: u64) -> Option<(&[u8], u64)> {
        self.get(dir, FileType::Directory)?.names.get(index as usize).map(|e| (e.0.as_slice(), e.1))
    }
    fn link_target(&self, n: u64) -> Option<&[u8]> {
        self.get(n, FileType::Symlink).map(|e| e.data.as_slice())
    }
    fn data(&self, n: u64) -> Option<&[u8]> {
        self.get(n, FileType::Regular).map(|e| e.data.as_slice())
    }
    fn host_range(&self, n: u64) -> Option<(Arc<OwnedFd>, u64)> {
        Some((self.file.clone()?, self.get(n, FileType::Regular)?.at))
    }
}
