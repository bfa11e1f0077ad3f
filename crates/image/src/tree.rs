//! A root file system while it is put together.

use crate::error::shown;
use crate::rootfs::{Data, Directory, Link, MAX_SYMLINKS, Regular, components};
use crate::spool::SpoolWriter;
use crate::{Error, FileType, Meta, Node, NodeId, NodeKind, Options, Rootfs};
use megalith_manifest::{NAME_MAX, PATH_MAX};
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

const ROOT: NodeId = 0;

/// Puts a [`Rootfs`] together path by path, from one or more layers.
///
/// Paths are taken as relative to the root and resolved inside it: symlinks on the way are followed, absolute ones from the root, and `..` in a target stays
/// at the root; `..` in a path itself is refused. Directories that are missing on the way are made (0755, root's, of 1970). A file replaces what
/// was there; a directory keeps the entries of a directory that was there.
pub struct Builder {
    nodes: Vec<Node>,
    /// For each directory the layer that made it or last put something in or below it.
    touched: Vec<u32>,
    layer: u32,
    pub(crate) spool: SpoolWriter,
    max_nodes: usize,
}

/// What can be put in a tree besides hard links and data that come as a stream.
pub(crate) enum Entry {
    Directory,
    Symlink(Vec<u8>),
    CharDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Fifo,
}

/// A place in a directory.
struct Place<'a> {
    dir: NodeId,
    name: &'a [u8],
}

impl Builder {
    /// An empty tree with a root directory of mode 0755.
    pub fn new(options: &Options) -> Result<Builder, Error> {
        let root = Directory { entries: BTreeMap::new(), parent: ROOT, path_len: 0 };
        Ok(Builder {
            nodes: vec![Node { meta: Meta::new(0o755), nlink: 0, kind: NodeKind::Directory(root) }],
            touched: vec![0],
            layer: 0,
            spool: SpoolWriter::new(options.spool_dir.as_deref())?,
            max_nodes: usize::try_from(options.max_nodes).unwrap_or(usize::MAX),
        })
    }

    /// Makes a directory, or changes the metadata of the one that is there.
    pub fn directory(&mut self, path: impl AsRef<[u8]>, meta: Meta) -> Result<(), Error> {
        self.entry(path.as_ref(), meta, Entry::Directory)
    }

    /// Makes a regular file with all bytes of `data`.
    pub fn file(&mut self, path: impl AsRef<[u8]>, meta: Meta, data: impl Read) -> Result<(), Error> {
        let path = path.as_ref();
        let id = self.regular(meta, data)?;
        let Some(place) = self.place(path, true)? else { return Err(no_name(path)) };
        self.put(&place, id)
    }

    /// Makes a symlink.
    pub fn symlink(&mut self, path: impl AsRef<[u8]>, meta: Meta, target: impl Into<Vec<u8>>) -> Result<(), Error> {
        self.entry(path.as_ref(), meta, Entry::Symlink(target.into()))
    }

    /// Makes a fifo.
    pub fn fifo(&mut self, path: impl AsRef<[u8]>, meta: Meta) -> Result<(), Error> {
        self.entry(path.as_ref(), meta, Entry::Fifo)
    }

    /// Makes a character device.
    pub fn char_device(&mut self, path: impl AsRef<[u8]>, meta: Meta, major: u32, minor: u32) -> Result<(), Error> {
        self.entry(path.as_ref(), meta, Entry::CharDevice { major, minor })
    }

    /// Makes a block device.
    pub fn block_device(&mut self, path: impl AsRef<[u8]>, meta: Meta, major: u32, minor: u32) -> Result<(), Error> {
        self.entry(path.as_ref(), meta, Entry::BlockDevice { major, minor })
    }

    /// Makes `path` another name of the file `target` (not of a directory; a symlink at the end of `target` is not followed, as in `link(2)`).
    pub fn hard_link(&mut self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Result<(), Error> {
        let (path, target) = (path.as_ref(), target.as_ref());
        let missing = || Error::new(format_args!("hard link to {}, which does not exist", shown(target)));
        let from = self.place(target, false)?.ok_or_else(missing)?;
        let id = self.dir(from.dir).and_then(|d| d.get(from.name)).ok_or_else(missing)?;
        if self.dir(id).is_some() {
            return Err(Error::new(format_args!("hard link to {}, which is a directory", shown(target))));
        }
        let Some(place) = self.place(path, true)? else { return Err(no_name(path)) };
        self.put(&place, id)
    }

    /// What follows is a new layer on top.
    pub(crate) fn next_layer(&mut self) {
        self.layer += 1;
    }

    pub(crate) fn entry(&mut self, path: &[u8], meta: Meta, entry: Entry) -> Result<(), Error> {
        let kind = match entry {
            Entry::Directory => {
                let (dir, name) = match self.place(path, true)? {
                    None => (ROOT, None),
                    Some(place) => (place.dir, Some(place.name)),
                };
                let existing = match name {
                    None => Some(ROOT),
                    Some(name) => self.dir(dir).and_then(|d| d.get(name)).filter(|id| self.dir(*id).is_some()),
                };
                let id = match (existing, name) {
                    (Some(id), _) => id,
                    (None, name) => self.make_directory(&Place { dir, name: name.unwrap_or_default() })?,
                };
                self.touch(id);
                if let Some(node) = self.nodes.get_mut(id as usize) {
                    node.meta = meta;
                }
                return Ok(());
            }
            Entry::Symlink(target) => {
                if target.is_empty() || target.len() > PATH_MAX || target.contains(&0) {
                    return Err(Error::new("symlink target is empty, longer than 4095 bytes or holds a NUL byte"));
                }
                NodeKind::Symlink(target)
            }
            Entry::CharDevice { major, minor } => NodeKind::CharDevice { major, minor },
            Entry::BlockDevice { major, minor } => NodeKind::BlockDevice { major, minor },
            Entry::Fifo => NodeKind::Fifo,
        };
        let Some(place) = self.place(path, true)? else { return Err(no_name(path)) };
        let id = self.new_node(meta, kind)?;
        self.put(&place, id)
    }

    /// A new regular file that no directory holds yet.
    pub(crate) fn regular(&mut self, meta: Meta, data: impl Read) -> Result<NodeId, Error> {
        let (extent, hash) = self.spool.add(data)?;
        self.new_node(meta, NodeKind::Regular(Regular { data: Data::Spooled(extent), hash }))
    }

    /// Puts `id` in directory `dir`, which is known to be one, under the plain name `name`.
    pub(crate) fn put_in(&mut self, dir: NodeId, name: &[u8], id: NodeId) -> Result<(), Error> {
        self.check_name(dir, name)?;
        self.put(&Place { dir, name }, id)
    }

    /// Makes or finds directory `name` in `dir`.
    pub(crate) fn directory_in(&mut self, dir: NodeId, name: &[u8], meta: Meta) -> Result<NodeId, Error> {
        self.check_name(dir, name)?;
        let id = self.make_directory(&Place { dir, name })?;
        if let Some(node) = self.nodes.get_mut(id as usize) {
            node.meta = meta;
        }
        Ok(id)
    }

    /// Makes a node of any type but directory and regular file.
    pub(crate) fn special(&mut self, meta: Meta, kind: NodeKind) -> Result<NodeId, Error> {
        self.new_node(meta, kind)
    }

    /// Removes what earlier layers have at `path`: the whiteout `.wh.NAME`. What this layer made stays.
    pub(crate) fn whiteout(&mut self, path: &[u8]) -> Result<(), Error> {
        let Some(place) = self.place(path, false)? else { return Ok(()) };
        let Place { dir, name } = place;
        let name = name.to_vec();
        self.remove_lower(dir, &name);
        Ok(())
    }

    /// Removes what earlier layers have in the directory `path`: the whiteout `.wh..wh..opq`. What this layer made stays.
    pub(crate) fn opaque(&mut self, path: &[u8]) -> Result<(), Error> {
        // The directory as a place to put a name in, so that symlinks on the way are followed as for the layer's other members.
        let mut probe = path.to_vec();
        probe.extend_from_slice(b"/x");
        let Some(Place { dir, .. }) = self.place(&probe, false)? else { return Ok(()) };
        let names: Vec<Vec<u8>> = self.dir(dir).map(|d| d.entries.keys().cloned().collect()).unwrap_or_default();
        for name in names {
            self.remove_lower(dir, &name);
        }
        Ok(())
    }

    /// Removes entry `name` of `dir` if it is an earlier layer's; if this layer touched it and it is a directory, removes in it what is an earlier layer's.
    fn remove_lower(&mut self, dir: NodeId, name: &[u8]) {
        let mut todo = vec![(dir, name.to_vec())];
        while let Some((dir, name)) = todo.pop() {
            let Some(Link { id, layer }) = self.dir(dir).and_then(|d| d.entries.get(&name)).copied() else { continue };
            let below = self.dir(id).filter(|_| self.touched.get(id as usize) == Some(&self.layer));
            if let Some(below) = below {
                todo.extend(below.entries.keys().map(|n| (id, n.clone())));
            } else if layer != self.layer
                && let Some(d) = self.dir_mut(dir)
            {
                d.entries.remove(&name);
            }
        }
    }

    fn dir(&self, id: NodeId) -> Option<&Directory> {
        self.nodes.get(id as usize)?.directory()
    }

    fn dir_mut(&mut self, id: NodeId) -> Option<&mut Directory> {
        match &mut self.nodes.get_mut(id as usize)?.kind {
            NodeKind::Directory(d) => Some(d),
            _ => None,
        }
    }

    /// Makes a directory and those above it this layer's: a whiteout that comes later in the layer must not take them away.
    fn touch(&mut self, mut dir: NodeId) {
        while let (Some(touched), Some(d)) = (self.touched.get_mut(dir as usize), self.nodes.get(dir as usize)) {
            let Some(d) = d.directory().filter(|_| *touched != self.layer) else { break };
            *touched = self.layer;
            dir = d.parent;
        }
    }

    fn new_node(&mut self, meta: Meta, kind: NodeKind) -> Result<NodeId, Error> {
        let id = u32::try_from(self.nodes.len()).ok().filter(|_| self.nodes.len() < self.max_nodes);
        let id = id.ok_or_else(|| Error::new(format_args!("more than {} files", self.max_nodes)))?;
        self.nodes.push(Node { meta, nlink: 0, kind });
        self.touched.push(self.layer);
        Ok(id)
    }

    fn check_name(&self, dir: NodeId, name: &[u8]) -> Result<(), Error> {
        let dir_len = self.dir(dir).map_or(0, |d| d.path_len);
        if name.len() > NAME_MAX {
            return Err(Error::new(format_args!("name {} is longer than 255 bytes", shown(name))));
        }
        if name.is_empty() || name == b"." || name == b".." || name.contains(&0) || name.contains(&b'/') {
            return Err(Error::new(format_args!("name {} is not a file's name", shown(name))));
        }
        if dir_len + 1 + name.len() > PATH_MAX {
            return Err(Error::new(format_args!("path of {} is longer than 4095 bytes", shown(name))));
        }
        Ok(())
    }

    /// Makes directory `place` in place of anything else that may be there.
    fn make_directory(&mut self, place: &Place) -> Result<NodeId, Error> {
        let path_len = self.dir(place.dir).map_or(0, |d| d.path_len) + 1 + place.name.len();
        let directory = Directory { entries: BTreeMap::new(), parent: place.dir, path_len };
        let id = self.new_node(Meta::new(0o755), NodeKind::Directory(directory))?;
        self.put(place, id)?;
        Ok(id)
    }

    fn put(&mut self, place: &Place, id: NodeId) -> Result<(), Error> {
        self.touch(place.dir);
        let link = Link { id, layer: self.layer };
        match self.dir_mut(place.dir) {
            Some(d) => drop(d.entries.insert(place.name.to_vec(), link)),
            None => {
                return Err(Error::new(format_args!("{} lies in something that is no directory", shown(place.name))));
            }
        }
        Ok(())
    }

    /// Finds the directory that `path` lies in, and its last component; `None` for the root itself, and, unless `make`, also if a directory
    /// on the way does not exist. With `make` missing directories are made.
    fn place<'a>(&mut self, path: &'a [u8], make: bool) -> Result<Option<Place<'a>>, Error> {
        let mut names = components(path).filter(|c| *c != b".").peekable();
        if components(path).any(|c| c == b"..") {
            return Err(Error::new(format_args!("path {} has a '..' component", shown(path))));
        }
        let mut dir = ROOT;
        while let Some(name) = names.next() {
            if names.peek().is_none() {
                self.check_name(dir, name)?;
                return Ok(Some(Place { dir, name }));
            }
            match self.descend(dir, name, make).map_err(|e| e.of(format_args!("path {}", shown(path))))? {
                Some(next) => dir = next,
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The directory that `name` in `dir` is or, through symlinks, leads to.
    fn descend(&mut self, dir: NodeId, name: &[u8], make: bool) -> Result<Option<NodeId>, Error> {
        let mut todo = vec![name.to_vec()];
        let (mut at, mut links) = (dir, 0);
        while let Some(name) = todo.pop() {
            let Some(here) = self.dir(at) else { return Err(Error::new("a parent is not a directory")) };
            match &*name {
                b"." => continue,
                b".." => {
                    at = here.parent;
                    continue;
                }
                _ => {}
            }
            let Some(next) = here.get(&name) else {
                if !make {
                    return Ok(None);
                }
                self.check_name(at, &name)?;
                at = self.make_directory(&Place { dir: at, name: &name })?;
                continue;
            };
            match self.nodes.get(next as usize).map(|n| &n.kind) {
                Some(NodeKind::Directory(_)) => at = next,
                Some(NodeKind::Symlink(target)) => {
                    links += 1;
                    if links > MAX_SYMLINKS {
                        return Err(Error::new(format_args!("{} leads through too many symlinks", shown(&name))));
                    }
                    if target.starts_with(b"/") {
                        at = ROOT;
                    }
                    todo.extend(components(target).rev().map(<[u8]>::to_vec));
                }
                _ if make => {
                    return Err(Error::new(format_args!("{} is not a directory", shown(&name))));
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// Completes the tree.
    pub fn finish(self) -> Result<Rootfs, Error> {
        Ok(Rootfs { nodes: numbered(self.nodes)?, spool: Arc::new(self.spool.finish()?) })
    }

    /// Whether something is at `path`, and its type (symlinks on the way are followed, at the end not).
    pub fn file_type(&mut self, path: impl AsRef<[u8]>) -> Result<Option<FileType>, Error> {
        let Some(place) = self.place(path.as_ref(), false)? else { return Ok(None) };
        let id = self.dir(place.dir).and_then(|d| d.get(place.name));
        Ok(id.and_then(|id| self.nodes.get(id as usize)).map(Node::file_type))
    }
}

fn no_name(path: &[u8]) -> Error {
    Error::new(format_args!("path {} is the root, which must be a directory", shown(path)))
}

/// Numbers the nodes that can be reached from the root in walking order and counts their links.
pub(crate) fn numbered(from: Vec<Node>) -> Result<Vec<Node>, Error> {
    const UNSEEN: NodeId = NodeId::MAX;
    let mut new_id = vec![UNSEEN; from.len()];
    let mut links = vec![0_u32; from.len()];
    let mut order = Vec::new();
    let mut todo = vec![ROOT];
    while let Some(old) = todo.pop() {
        let at = old as usize;
        let (Some(node), Some(id), Some(count)) = (from.get(at), new_id.get_mut(at), links.get_mut(at)) else {
            continue;
        };
        *count += 1;
        if *id != UNSEEN {
            continue;
        }
        *id = u32::try_from(order.len()).map_err(Error::new)?;
        order.push(old);
        if let NodeKind::Directory(d) = &node.kind {
            todo.extend(d.entries.values().rev().map(|link| link.id));
        }
    }
    let mut old_nodes: Vec<Option<Node>> = from.into_iter().map(Some).collect();
    let mut nodes = Vec::with_capacity(order.len());
    let renumbered = |old: NodeId| new_id.get(old as usize).copied().unwrap_or(ROOT);
    for old in order {
        let Some(mut node) = old_nodes.get_mut(old as usize).and_then(Option::take) else { continue };
        node.nlink = links.get(old as usize).copied().unwrap_or(1);
        if let NodeKind::Directory(d) = &mut node.kind {
            // `.` and the entry in the parent; one more for `..` of each subdirectory follows below.
            node.nlink = 2;
            d.parent = renumbered(d.parent);
            d.entries.values_mut().for_each(|link| *link = Link { id: renumbered(link.id), layer: 0 });
        }
        nodes.push(node);
    }
    let parents: Vec<NodeId> = nodes.iter().skip(1).filter_map(|n| n.directory()).map(|d| d.parent).collect();
    for parent in parents {
        if let Some(node) = nodes.get_mut(parent as usize) {
            node.nlink += 1;
        }
    }
    Ok(nodes)
}
