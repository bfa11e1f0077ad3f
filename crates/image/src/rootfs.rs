use crate::spool::{Extent, Spool};
use crate::tree::numbered;
use crate::{Error, FileType, fssection};
use megalith_manifest::{FileHash, Manifest, NAME_MAX, PATH_MAX};
use std::collections::{BTreeMap, btree_map};
use std::fmt;
use std::sync::Arc;

/// Number of a node in its [`Rootfs`]; 0 is the root directory.
pub type NodeId = u32;

/// Permission bits, owner and time of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meta {
    /// Permission bits with setuid, setgid and sticky (07777).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of modification, seconds since 1970.
    pub mtime: i64,
    /// Its nanoseconds, below 1,000,000,000.
    pub mtime_nsec: u32,
}

impl Meta {
    /// Mode `mode`, root's, of 1970.
    pub fn new(mode: u32) -> Meta {
        Meta { mode: mode & 0o7777, uid: 0, gid: 0, mtime: 0, mtime_nsec: 0 }
    }
}

/// One file of any type. Hard links are several directory entries with one node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Permissions, owner, time.
    pub meta: Meta,
    /// Links as `st_nlink` counts them.
    pub nlink: u32,
    /// What it is.
    pub kind: NodeKind,
}

/// What a node is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NodeKind {
    Directory(Directory),
    Regular(Regular),
    /// With its target: any bytes but NUL, not empty.
    Symlink(Vec<u8>),
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
}

/// A directory.
#[derive(Clone, PartialEq, Eq)]
pub struct Directory {
    pub(crate) entries: BTreeMap<Vec<u8>, Link>,
    pub(crate) parent: NodeId,
    /// Length of the directory's path in bytes, to keep paths within `PATH_MAX`.
    pub(crate) path_len: usize,
}

/// A directory entry's node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub id: NodeId,
    /// The layer that made the entry; 0 in a finished tree.
    pub layer: u32,
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.entries().map(|(n, i)| (megalith_manifest::escape(n), i))).finish()
    }
}

impl Directory {
    /// The entries in byte order of their names, without `.` and `..`.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (&[u8], NodeId)> {
        self.entries.iter().map(|(name, link)| (&**name, link.id))
    }

    /// The entry `name`.
    pub fn get(&self, name: &[u8]) -> Option<NodeId> {
        self.entries.get(name).map(|link| link.id)
    }

    /// The parent directory; the root's is the root.
    pub fn parent(&self) -> NodeId {
        self.parent
    }
}

/// Where a regular file's bytes are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Data {
    /// In the spool: the image's own.
    Spooled(Extent),
    /// Added by the build.
    Added(Arc<[u8]>),
}

/// A file to add to a tree ([`Rootfs::with_added`]).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Added {
    /// A regular file, 0644 or 0755.
    File { bytes: Arc<[u8]>, executable: bool },
    /// A symlink with this target.
    Symlink(Vec<u8>),
}

/// A regular file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Regular {
    pub(crate) data: Data,
    /// SHA-256 of its bytes.
    pub hash: FileHash,
}

impl Regular {
    /// Size in bytes.
    pub fn size(&self) -> u64 {
        match &self.data {
            Data::Spooled(extent) => extent.len,
            Data::Added(bytes) => bytes.len() as u64,
        }
    }
}

impl Node {
    /// The type.
    pub fn file_type(&self) -> FileType {
        match self.kind {
            NodeKind::Directory(_) => FileType::Directory,
            NodeKind::Regular(_) => FileType::Regular,
            NodeKind::Symlink(_) => FileType::Symlink,
            NodeKind::CharDevice { .. } => FileType::CharDevice,
            NodeKind::BlockDevice { .. } => FileType::BlockDevice,
            NodeKind::Fifo => FileType::Fifo,
        }
    }

    /// A regular file with any execute bit set.
    pub fn is_executable(&self) -> bool {
        matches!(self.kind, NodeKind::Regular(_)) && self.meta.mode & 0o111 != 0
    }

    /// The directory, if it is one.
    pub fn directory(&self) -> Option<&Directory> {
        match &self.kind {
            NodeKind::Directory(d) => Some(d),
            _ => None,
        }
    }

    /// The regular file, if it is one.
    pub fn regular(&self) -> Option<&Regular> {
        match &self.kind {
            NodeKind::Regular(r) => Some(r),
            _ => None,
        }
    }
}

/// A container's root file system: a tree of nodes, and the contents of its files in a temporary file that is gone when this is dropped.
///
/// Nodes are numbered in the order of [`Rootfs::iter`]: depth first, names in byte order, at first sight.
pub struct Rootfs {
    pub(crate) nodes: Vec<Node>,
    pub(crate) spool: Arc<Spool>,
}

impl Rootfs {
    /// The node with number `id`; the root directory for a number that no node has.
    pub fn node(&self, id: NodeId) -> &Node {
        // There is always a root; numbers come from this tree's own methods.
        self.nodes.get(id as usize).unwrap_or(&self.nodes[0])
    }

    /// Number of nodes, the root directory included.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Every path with its node, depth first, the names of a directory in byte order; the root comes first, as `/`. A node with several
    /// links comes once for each.
    pub fn iter(&self) -> Iter<'_> {
        Iter { rootfs: self, stack: Vec::new(), path: Vec::new(), started: false }
    }

    /// The bytes of regular file `id`; empty for anything else.
    pub fn data(&self, id: NodeId) -> &[u8] {
        match self.node(id).regular().map(|r| &r.data) {
            Some(Data::Spooled(extent)) => self.spool.bytes(*extent),
            Some(Data::Added(bytes)) => bytes,
            None => &[],
        }
    }

    /// Follows an absolute or relative path from the root, with symlinks resolved inside the tree: also the last component's if `follow`.
    /// `None` if there is nothing, or after 40 symlinks.
    pub fn lookup(&self, path: &[u8], follow: bool) -> Option<NodeId> {
        let mut todo: Vec<Vec<u8>> = components(path).rev().map(<[u8]>::to_vec).collect();
        let (mut at, mut links) = (0, 0);
        while let Some(name) = todo.pop() {
            let dir = self.node(at).directory()?;
            match &*name {
                b"." => {}
                b".." => at = dir.parent,
                name => {
                    let next = dir.get(name)?;
                    match &self.node(next).kind {
                        NodeKind::Symlink(target) if follow || !todo.is_empty() => {
                            links += 1;
                            if links > MAX_SYMLINKS {
                                return None;
                            }
                            if target.starts_with(b"/") {
                                at = 0;
                            }
                            todo.extend(components(target).rev().map(<[u8]>::to_vec));
                        }
                        _ => at = next,
                    }
                }
            }
        }
        Some(at)
    }

    /// Every path of every regular file with an execute bit, in byte order of the paths: what becomes an entry of the manifest.
    pub fn executables(&self) -> Vec<(Vec<u8>, NodeId)> {
        let mut found: Vec<_> =
            self.iter().filter(|(_, _, node)| node.is_executable()).map(|(path, id, _)| (path, id)).collect();
        found.sort();
        found
    }

    /// Sum of the sizes of all regular files, each once.
    pub fn data_size(&self) -> u64 {
        self.nodes.iter().filter_map(|n| n.regular()).map(Regular::size).sum()
    }

    /// The same tree with regular files (mode 0444, root's, of 1970) of these names and bytes in the directory [`Manifest::OWN_DIR`], which guests do not
    /// see. Without files there is no such directory. Nodes are numbered anew.
    ///
    /// # Errors
    /// When the image has something of the directory's name.
    pub fn with_own(&self, files: &BTreeMap<String, Arc<[u8]>>) -> Result<Rootfs, Error> {
        let (mut nodes, spool) = (self.nodes.clone(), Arc::clone(&self.spool));
        if files.is_empty() {
            return Ok(Rootfs { nodes, spool });
        }
        let next = |nodes: &[Node]| NodeId::try_from(nodes.len()).map_err(Error::new);
        let mut dir = Directory { entries: BTreeMap::new(), parent: 0, path_len: Manifest::OWN_DIR.len() + 1 };
        for (name, bytes) in files {
            dir.entries.insert(name.clone().into(), Link { id: next(&nodes)?, layer: 0 });
            let kind = NodeKind::Regular(Regular { data: Data::Added(Arc::clone(bytes)), hash: FileHash::of(bytes) });
            nodes.push(Node { meta: Meta::new(0o444), nlink: 1, kind });
        }
        let own = Link { id: next(&nodes)?, layer: 0 };
        nodes.push(Node { meta: Meta::new(0o700), nlink: 2, kind: NodeKind::Directory(dir) });
        let root = nodes.first_mut().map(|n| &mut n.kind);
        let Some(NodeKind::Directory(root)) = root else { return Err(Error::new("the image has no root directory")) };
        if root.entries.insert(Manifest::OWN_DIR.into(), own).is_some() {
            return Err(Error::new(format_args!("the image has a file /{}, a name of ours", Manifest::OWN_DIR)));
        }
        Ok(Rootfs { nodes: numbered(nodes)?, spool })
    }

    /// The same tree with further files, by path from the root, in directories that are there or are made (0755, root's). `mtime` is the time of what is added.
    ///
    /// # Errors
    /// When a path is there already, or leads through something that is no directory: nothing is replaced.
    pub fn with_added(&self, files: &BTreeMap<Vec<u8>, Added>, mtime: i64) -> Result<Rootfs, Error> {
        let mut nodes = self.nodes.clone();
        let meta = |mode| Meta { mtime, ..Meta::new(mode) };
        for (path, added) in files {
            let refuse = |why: &str| Error::new(format_args!("{} {why}", megalith_manifest::escape(path)));
            let mut at: NodeId = 0;
            let mut names = components(path).peekable();
            while let Some(name) = names.next() {
                if name.len() > NAME_MAX || [&b"."[..], b".."].contains(&name) {
                    return Err(refuse("is no path for a file"));
                }
                let next = NodeId::try_from(nodes.len()).map_err(Error::new)?;
                let Some(NodeKind::Directory(dir)) = nodes.get_mut(at as usize).map(|n| &mut n.kind) else {
                    return Err(refuse("leads through something of the image that is no directory"));
                };
                let path_len = dir.path_len + name.len() + 1;
                if path_len >= PATH_MAX {
                    return Err(refuse("is too long"));
                }
                match (dir.entries.get(name), names.peek()) {
                    (Some(link), Some(_)) => at = link.id,
                    (Some(_), None) => return Err(refuse("is in the image already")),
                    (None, more) => {
                        let node = match (more, added) {
                            (Some(_), _) => {
                                let dir = Directory { entries: BTreeMap::new(), parent: at, path_len };
                                Node { meta: meta(0o755), nlink: 2, kind: NodeKind::Directory(dir) }
                            }
                            (None, Added::File { bytes, executable }) => {
                                let data = Data::Added(Arc::clone(bytes));
                                let kind = NodeKind::Regular(Regular { data, hash: FileHash::of(bytes) });
                                Node { meta: meta(if *executable { 0o755 } else { 0o644 }), nlink: 1, kind }
                            }
                            (None, Added::Symlink(target)) => {
                                Node { meta: meta(0o777), nlink: 1, kind: NodeKind::Symlink(target.clone()) }
                            }
                        };
                        dir.entries.insert(name.into(), Link { id: next, layer: 0 });
                        nodes.push(node);
                        at = next;
                    }
                }
            }
        }
        Ok(Rootfs { nodes: numbered(nodes)?, spool: Arc::clone(&self.spool) })
    }

    /// SHA-256 of the tree in canonical form: the tree index of the file system section with all data offsets 0 ([`fssection`]). Covers
    /// paths, types, modes, owners, times, link structure, device numbers, symlink targets and contents, nothing else.
    pub fn tree_digest(&self) -> Result<FileHash, Error> {
        Ok(FileHash::of(&fssection::encode_index(self, &[])?))
    }
}

/// Symlinks that one path may lead through, as in Linux.
pub(crate) const MAX_SYMLINKS: u32 = 40;

/// The components of a path, without empty ones.
pub(crate) fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|b| *b == b'/').filter(|c| !c.is_empty())
}

/// Iterator of [`Rootfs::iter`].
pub struct Iter<'a> {
    rootfs: &'a Rootfs,
    /// The directories that are being walked, each with the length of its path.
    stack: Vec<(btree_map::Iter<'a, Vec<u8>, Link>, usize)>,
    path: Vec<u8>,
    started: bool,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (Vec<u8>, NodeId, &'a Node);

    fn next(&mut self) -> Option<Self::Item> {
        let (id, path) = if !self.started {
            self.started = true;
            (0, b"/".to_vec())
        } else {
            loop {
                let (entries, path_len) = self.stack.last_mut()?;
                self.path.truncate(*path_len);
                if let Some((name, link)) = entries.next() {
                    self.path.push(b'/');
                    self.path.extend_from_slice(name);
                    break (link.id, self.path.clone());
                }
                self.stack.pop();
            }
        };
        let node = self.rootfs.node(id);
        if let NodeKind::Directory(d) = &node.kind {
            self.stack.push((d.entries.iter(), self.path.len()));
        }
        Some((path, id, node))
    }
}
