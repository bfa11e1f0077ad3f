//! The layered file system: a sealed lower layer below a private upper layer in memory.
//!
//! One [`Node`] stands for one inode, wherever its names are. A lower inode gets its node at first use, under an inode
//! number that follows from its number in the lower tree; "copy-up" changes the node in place. So hard links stay
//! together, inode numbers are stable, and a renamed lower directory is simply a node with another name: its contents
//! are still looked up by lower inode, not by path. What a directory adds to its lower side is a map from names to
//! nodes and *whiteouts* (names that are hidden); a directory made here has no lower side, which makes it opaque.
//!
//! Locks: `Shared::tree` (all names; read by lookups) before `Node::meta`; `Node::content` before `Node::meta`; never
//! `tree` together with `content`.

use crate::budget::Charge;
use crate::content::{Content, MAX_SIZE, copy_from};
use crate::lock::{read, write};
use crate::xattr::{self, Xattrs};
use crate::{
    Access, Budget, Clock, ContentClass, DirEntry, Errno, FileSystem, FileType, Inode, InodeId, LowerTree, MapSource,
    NAME_MAX, NewNode, RenameFlags, Result, SetAttr, Stat, StatFs, Timespec, check_name, mode,
};
use sha2::{Digest, Sha256};
use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

/// A sealed file whose bytes do not have the hash that the tree says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Corrupt {
    /// Inode number in the lower tree.
    pub inode: u64,
    pub expected: [u8; 32],
    pub found: [u8; 32],
}

/// Receives what failed its check.
pub type CorruptReport = Box<dyn Fn(&Corrupt) + Send + Sync>;

/// How a [`LayeredFs`] is made.
pub struct LayeredOptions {
    /// The sealed layer; `None` makes a tmpfs.
    pub lower: Option<Arc<dyn LowerTree>>,
    /// What the upper layer's bytes (contents, and a fixed cost for each inode and name) count against; ENOSPC beyond.
    pub budget: Arc<Budget>,
    /// Refuse every change with EROFS.
    pub read_only: bool,
    /// Attributes of the root directory when there is no lower layer.
    pub root: NewNode,
    /// Source of time stamps.
    pub clock: Clock,
    /// Told, without any lock held, of a sealed file that fails its check (its opener gets EIO).
    pub on_corrupt: Option<CorruptReport>,
}

impl Default for LayeredOptions {
    /// An unlimited, writable tmpfs with a root of mode 1777.
    fn default() -> LayeredOptions {
        LayeredOptions {
            lower: None,
            budget: Budget::unlimited(),
            read_only: false,
            root: NewNode { mode: 0o1777, uid: 0, gid: 0 },
            clock: Timespec::now,
            on_corrupt: None,
        }
    }
}

/// What an inode and a name cost of the budget, about what they take of memory.
const NODE_COST: u64 = 400;
const NAME_COST: u64 = 128;
/// Largest number of hard links.
const LINK_MAX: u32 = 65000;
/// Readdir cursors: 1 and 2 are behind "." and "..", 3 + i behind the lower entry i; from here on the upper entries, in
/// order of creation.
const UPPER_CURSOR: u64 = 1 << 40;
/// Age at which an access time is renewed although the file did not change (relatime).
const ATIME_SECONDS: i64 = 24 * 3600;

/// A sealed lower layer, or nothing (tmpfs), below a private upper layer in memory.
pub struct LayeredFs {
    shared: Arc<Shared>,
    root: Arc<Node>,
}

struct Shared {
    dev: u64,
    options: LayeredOptions,
    next_ino: AtomicU64,
    tree: RwLock<Tree>,
    /// A file of the lower layer with several names was changed: which directories have it is not known.
    linked_changed: AtomicBool,
}

/// All names, and the nodes that have one.
#[derive(Default)]
struct Tree {
    nodes: HashMap<u64, Arc<Node>>,
    dirs: HashMap<u64, Dir>,
}

struct Dir {
    lower: Option<u64>,
    /// The root is its own parent.
    parent: u64,
    names: HashMap<Arc<[u8]>, Slot>,
    order: BTreeMap<u64, Arc<[u8]>>,
    next_cursor: u64,
    /// Something in it, or below, is not as in the lower layer any more.
    changed: bool,
    charge: Charge,
}

#[derive(Clone, Copy)]
enum Slot {
    Node { ino: u64, cursor: u64 },
    Whiteout,
}

/// An inode. Held by the tree while it has names, and by whoever uses it.
struct Node {
    shared: Arc<Shared>,
    me: Weak<Node>,
    ino: u64,
    kind: FileType,
    rdev: u64,
    lower: Option<u64>,
    /// The directory that the lower layer has it in.
    home: u64,
    /// Somebody changed it, and its directories know.
    changed: AtomicBool,
    /// Target of a symbolic link made here.
    target: Option<Box<[u8]>>,
    meta: RwLock<Meta>,
    /// A regular file's own bytes; `None` while they are the lower layer's (and for other types).
    content: RwLock<Option<Content>>,
    /// UNCHECKED, GOOD or BAD.
    checked: AtomicU8,
    generation: AtomicU64,
    shared_writable: AtomicBool,
    /// Extended attributes that were set; few inodes have any.
    xattrs: Mutex<Option<Box<Xattrs>>>,
    _charge: Charge,
}

#[derive(Clone, Copy)]
struct Meta {
    mode: u32,
    uid: u32,
    gid: u32,
    nlink: u32,
    /// Without a name, but may get one (O_TMPFILE).
    linkable: bool,
    atime: Timespec,
    mtime: Timespec,
    ctime: Timespec,
    btime: Timespec,
}

const UNCHECKED: u8 = 0;
const GOOD: u8 = 1;
const BAD: u8 = 2;

impl LayeredFs {
    /// Makes the file system. EINVAL when the lower tree has no root directory.
    pub fn new(options: LayeredOptions) -> Result<Arc<LayeredFs>> {
        // Device numbers of major 0, as the kernel gives to file systems without a device; high, to stay clear of the
        // host's.
        static NEXT_DEV: AtomicU64 = AtomicU64::new(0);
        let minor = 0x8000 + (NEXT_DEV.fetch_add(1, Ordering::Relaxed) & 0x7fff);
        let first_upper = options.lower.as_ref().map_or(1, |l| l.inode_count().min(1 << 48) + 1);
        let shared = Arc::new(Shared {
            dev: (minor & 0xff) | (minor & !0xff) << 12,
            next_ino: AtomicU64::new(first_upper),
            linked_changed: AtomicBool::new(false),
            tree: RwLock::new(Tree::default()),
            options,
        });
        let mut tree = write(&shared.tree);
        let root = match &shared.options.lower {
            Some(lower) => {
                let n = lower.root();
                let root = shared.load(&mut tree, n, n + 1)?;
                if root.kind != FileType::Directory {
                    return Err(Errno::EINVAL);
                }
                root
            }
            None => {
                let new = shared.options.root;
                let root = shared.fresh(FileType::Directory, &new, 0, None, 2)?;
                tree.nodes.insert(root.ino, root.clone());
                tree.dirs.insert(root.ino, shared.new_dir(None, root.ino));
                root
            }
        };
        drop(tree);
        Ok(Arc::new(LayeredFs { shared, root }))
    }

    /// A tmpfs whose root directory has the given mode and belongs to root.
    pub fn tmpfs(mode: u32, budget: Arc<Budget>) -> Result<Arc<LayeredFs>> {
        LayeredFs::new(LayeredOptions { budget, root: NewNode { mode, uid: 0, gid: 0 }, ..LayeredOptions::default() })
    }

    /// The budget that the upper layer counts against.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.shared.options.budget
    }
}

impl Drop for LayeredFs {
    fn drop(&mut self) {
        // Nodes hold `Shared`, which holds the tree.
        let tree = std::mem::take(&mut *write(&self.shared.tree));
        drop(tree);
    }
}

impl FileSystem for LayeredFs {
    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }
    fn name(&self) -> &str {
        if self.shared.options.lower.is_some() { "overlay" } else { "tmpfs" }
    }
    fn read_only(&self) -> bool {
        self.shared.options.read_only
    }
}

impl Shared {
    fn now(&self) -> Timespec {
        (self.options.clock)()
    }
    fn writable(&self) -> Result<()> {
        if self.options.read_only { Err(Errno::EROFS) } else { Ok(()) }
    }
    fn lower(&self) -> Option<&dyn LowerTree> {
        self.options.lower.as_deref()
    }
    fn new_dir(&self, lower: Option<u64>, parent: u64) -> Dir {
        Dir {
            lower,
            parent,
            names: HashMap::new(),
            order: BTreeMap::new(),
            next_cursor: UPPER_CURSOR,
            changed: false,
            charge: Charge::none(&self.options.budget),
        }
    }

    /// A new node of the upper layer, not in the tree yet.
    fn fresh(
        self: &Arc<Self>,
        kind: FileType,
        new: &NewNode,
        rdev: u64,
        target: Option<&[u8]>,
        nlink: u32,
    ) -> Result<Arc<Node>> {
        let charge = Charge::take(&self.options.budget, NODE_COST + target.map_or(0, |t| t.len() as u64))?;
        let now = self.now();
        let content = (kind == FileType::Regular).then(|| Content::empty(&self.options.budget));
        Ok(Arc::new_cyclic(|me| Node {
            shared: self.clone(),
            me: me.clone(),
            ino: self.next_ino.fetch_add(1, Ordering::Relaxed),
            kind,
            rdev,
            lower: None,
            home: 0,
            changed: AtomicBool::new(false),
            target: target.map(Into::into),
            meta: RwLock::new(Meta {
                mode: new.mode & mode::ALL,
                uid: new.uid,
                gid: new.gid,
                nlink,
                linkable: false,
                atime: now,
                mtime: now,
                ctime: now,
                btime: now,
            }),
            content: RwLock::new(content),
            checked: AtomicU8::new(UNCHECKED),
            generation: AtomicU64::new(1),
            shared_writable: AtomicBool::new(false),
            xattrs: Mutex::default(),
            _charge: charge,
        }))
    }

    /// The node of lower inode `n`, made now if this is its first use.
    fn load(self: &Arc<Self>, tree: &mut Tree, n: u64, parent: u64) -> Result<Arc<Node>> {
        let lower = self.lower().ok_or(Errno::EIO)?;
        let ino = n.checked_add(1).filter(|&i| i <= lower.inode_count()).ok_or(Errno::EIO)?;
        if let Some(node) = tree.nodes.get(&ino) {
            return Ok(node.clone());
        }
        let l = lower.inode(n).ok_or(Errno::EIO)?;
        let nlink = match (l.kind, l.nlink) {
            (FileType::Directory, 0) => {
                let subdirs = (0..)
                    .map_while(|i| lower.entry(n, i))
                    .filter(|(_, c)| lower.inode(*c).is_some_and(|c| c.kind == FileType::Directory))
                    .count();
                2 + subdirs as u32
            }
            (_, 0) => 1,
            (_, links) => links,
        };
        let node = Arc::new_cyclic(|me| Node {
            shared: self.clone(),
            me: me.clone(),
            ino,
            kind: l.kind,
            rdev: l.rdev,
            lower: Some(n),
            home: parent,
            changed: AtomicBool::new(false),
            target: None,
            meta: RwLock::new(Meta {
                mode: l.mode & mode::ALL,
                uid: l.uid,
                gid: l.gid,
                nlink,
                linkable: false,
                atime: l.mtime,
                mtime: l.mtime,
                ctime: l.mtime,
                btime: l.mtime,
            }),
            content: RwLock::new(None),
            checked: AtomicU8::new(UNCHECKED),
            generation: AtomicU64::new(1),
            shared_writable: AtomicBool::new(false),
            xattrs: Mutex::default(),
            _charge: Charge::none(&self.options.budget),
        });
        tree.nodes.insert(ino, node.clone());
        if l.kind == FileType::Directory {
            tree.dirs.insert(ino, self.new_dir(Some(n), parent));
        }
        Ok(node)
    }

    /// The node of the entry `name` of `dir`, or `None`. ENOENT when the directory is gone.
    fn entry(self: &Arc<Self>, tree: &mut Tree, dir: u64, name: &[u8]) -> Result<Option<Arc<Node>>> {
        match tree.find(self.lower(), dir, name)? {
            Found::Nothing => Ok(None),
            Found::Node(node) => Ok(Some(node)),
            Found::Lower(n) => self.load(tree, n, dir).map(Some),
        }
    }
}

enum Found {
    Nothing,
    Node(Arc<Node>),
    /// A lower inode without a node yet.
    Lower(u64),
}

impl Tree {
    fn find(&self, lower: Option<&dyn LowerTree>, dir: u64, name: &[u8]) -> Result<Found> {
        let d = self.dirs.get(&dir).ok_or(Errno::ENOENT)?;
        match d.names.get(name) {
            Some(Slot::Node { ino, .. }) => Ok(Found::Node(self.nodes.get(ino).ok_or(Errno::EIO)?.clone())),
            Some(Slot::Whiteout) => Ok(Found::Nothing),
            None => Ok(match d.lower.zip(lower).and_then(|(l, t)| t.lookup(l, name)) {
                None => Found::Nothing,
                Some(n) => match n.checked_add(1).and_then(|ino| self.nodes.get(&ino)) {
                    Some(node) => Found::Node(node.clone()),
                    None => Found::Lower(n),
                },
            }),
        }
    }

    /// Pays for one more name in `dir`, so that the change that follows cannot fail.
    fn reserve(&mut self, dir: u64, name: &[u8]) -> Result<()> {
        let d = self.dirs.get_mut(&dir).ok_or(Errno::ENOENT)?;
        if d.names.contains_key(name) {
            return Ok(());
        }
        d.charge.set(d.charge.bytes() + NAME_COST + name.len() as u64)
    }

    /// Something in `dir` is not as in the lower layer any more.
    fn mark(&mut self, mut dir: u64) {
        while let Some(d) = self.dirs.get_mut(&dir).filter(|d| !d.changed) {
            d.changed = true;
            dir = d.parent;
        }
    }

    /// Makes `name` name `ino`; [`Tree::reserve`] came before. A new entry goes to `cursor`, or behind all others.
    fn set(&mut self, dir: u64, name: &[u8], ino: u64, cursor: Option<u64>) {
        self.mark(dir);
        let Some(d) = self.dirs.get_mut(&dir) else { return };
        match d.names.get_mut(name) {
            Some(Slot::Node { ino: old, .. }) => *old = ino,
            slot => {
                let cursor = cursor.unwrap_or(d.next_cursor);
                d.next_cursor = d.next_cursor.max(cursor + 1);
                let name: Arc<[u8]> = name.into();
                d.order.insert(cursor, name.clone());
                match slot {
                    Some(slot) => *slot = Slot::Node { ino, cursor },
                    None => {
                        d.names.insert(name, Slot::Node { ino, cursor });
                    }
                }
            }
        }
    }

    /// Takes `name` away, leaving a whiteout where the lower layer has it. Returns the cursor of an upper entry.
    fn clear(&mut self, lower: Option<&dyn LowerTree>, dir: u64, name: &[u8]) -> Option<u64> {
        self.mark(dir);
        let d = self.dirs.get_mut(&dir)?;
        let hide = d.lower.zip(lower).is_some_and(|(l, t)| t.lookup(l, name).is_some());
        let cost = NAME_COST + name.len() as u64;
        let old = if hide { d.names.insert(name.into(), Slot::Whiteout) } else { d.names.remove(name) };
        let place = match old {
            Some(Slot::Node { cursor, .. }) => Some(cursor),
            _ => None,
        };
        if let Some(cursor) = place {
            d.order.remove(&cursor);
        }
        // A whiteout is paid for whatever is left: removing must work when space is used up, and the image bounds it.
        match (hide, old.is_some()) {
            (true, false) => d.charge.set_anyway(d.charge.bytes() + cost),
            (false, true) => d.charge.set_anyway(d.charge.bytes().saturating_sub(cost)),
            _ => {}
        }
        place
    }

    fn is_empty(&self, lower: Option<&dyn LowerTree>, dir: u64) -> bool {
        let Some(d) = self.dirs.get(&dir) else { return true };
        if !d.order.is_empty() {
            return false;
        }
        let Some((l, t)) = d.lower.zip(lower) else { return true };
        (0..).map_while(|i| t.entry(l, i)).all(|(name, _)| d.names.contains_key(name))
    }

    /// True when `dir` is `above` or below it.
    fn is_below(&self, mut dir: u64, above: u64) -> bool {
        loop {
            if dir == above {
                return true;
            }
            match self.dirs.get(&dir) {
                Some(d) if d.parent != dir => dir = d.parent,
                _ => return false,
            }
        }
    }

    fn touch(&self, dir: u64, now: Timespec, links: i32) {
        if let Some(node) = self.nodes.get(&dir) {
            let mut m = write(&node.meta);
            m.mtime = now;
            m.ctime = now;
            m.nlink = m.nlink.saturating_add_signed(links);
        }
    }

    /// Takes one name off `node`; the last one takes it out of the tree. The caller drops what is returned after the
    /// lock.
    fn unname(&mut self, node: &Arc<Node>, now: Timespec) -> Option<(Option<Arc<Node>>, Option<Dir>)> {
        let gone = {
            let mut m = write(&node.meta);
            m.ctime = now;
            m.nlink = if node.kind == FileType::Directory { 0 } else { m.nlink.saturating_sub(1) };
            m.nlink == 0
        };
        gone.then(|| (self.nodes.remove(&node.ino), self.dirs.remove(&node.ino)))
    }
}

impl Node {
    fn xattrs(&self) -> MutexGuard<'_, Option<Box<Xattrs>>> {
        self.xattrs.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn arc(&self) -> Result<Arc<Node>> {
        // A method runs on a borrowed Arc, so this cannot fail.
        self.me.upgrade().ok_or(Errno::EIO)
    }
    /// Comes before a change of anything but names; no lock is held.
    fn will_change(&self) {
        if self.lower.is_none() || self.changed.load(Ordering::Acquire) {
            return;
        }
        let links = self.lower.zip(self.shared.lower()).and_then(|(n, t)| t.inode(n)).map_or(0, |l| l.nlink);
        if self.kind == FileType::Directory {
            write(&self.shared.tree).mark(self.ino);
        } else if links > 1 {
            self.shared.linked_changed.store(true, Ordering::Release);
        } else {
            write(&self.shared.tree).mark(self.home);
        }
        self.changed.store(true, Ordering::Release);
    }
    fn require_dir(&self) -> Result<()> {
        if self.kind == FileType::Directory { Ok(()) } else { Err(Errno::ENOTDIR) }
    }
    fn require_file(&self) -> Result<()> {
        match self.kind {
            FileType::Regular => Ok(()),
            FileType::Directory => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Adds a new node under `name`.
    fn add(&self, name: &[u8], kind: FileType, new: &NewNode, rdev: u64, target: Option<&[u8]>) -> Result<Arc<Node>> {
        self.require_dir()?;
        check_name(name)?;
        self.shared.writable()?;
        let is_dir = kind == FileType::Directory;
        let mut guard = write(&self.shared.tree);
        let tree = &mut *guard;
        match tree.find(self.shared.lower(), self.ino, name)? {
            Found::Nothing => {}
            _ => return Err(Errno::EEXIST),
        }
        if is_dir && read(&self.meta).nlink >= u32::MAX - 1 {
            return Err(Errno::EMLINK);
        }
        tree.reserve(self.ino, name)?;
        let node = match self.shared.fresh(kind, new, rdev, target, if is_dir { 2 } else { 1 }) {
            Ok(n) => n,
            Err(e) => {
                // Give the reservation back (unless a whiteout owns it).
                if let Some(d) = tree.dirs.get_mut(&self.ino).filter(|d| !d.names.contains_key(name)) {
                    d.charge.set_anyway(d.charge.bytes().saturating_sub(NAME_COST + name.len() as u64));
                }
                return Err(e);
            }
        };
        tree.nodes.insert(node.ino, node.clone());
        if is_dir {
            tree.dirs.insert(node.ino, self.shared.new_dir(None, self.ino));
        }
        tree.set(self.ino, name, node.ino, None);
        tree.touch(self.ino, self.shared.now(), is_dir as i32);
        Ok(node)
    }

    fn remove(&self, name: &[u8], want_dir: bool) -> Result<()> {
        self.require_dir()?;
        self.shared.writable()?;
        let mut guard = write(&self.shared.tree);
        let tree = &mut *guard;
        let node = self.shared.entry(tree, self.ino, name)?.ok_or(Errno::ENOENT)?;
        match (node.kind == FileType::Directory, want_dir) {
            (true, false) => return Err(Errno::EISDIR),
            (false, true) => return Err(Errno::ENOTDIR),
            (true, true) if !tree.is_empty(self.shared.lower(), node.ino) => return Err(Errno::ENOTEMPTY),
            _ => {}
        }
        let now = self.shared.now();
        tree.clear(self.shared.lower(), self.ino, name);
        tree.touch(self.ino, now, -(want_dir as i32));
        let gone = tree.unname(&node, now);
        drop(guard);
        drop(gone);
        Ok(())
    }

    /// The lower layer's bytes, checked. EIO when the check fails or failed.
    fn sealed(&self) -> Result<&[u8]> {
        let n = self.lower.ok_or(Errno::EIO)?;
        let lower = self.shared.lower().ok_or(Errno::EIO)?;
        let data = lower.data(n).ok_or(Errno::EIO)?;
        match self.checked.load(Ordering::Acquire) {
            GOOD => return Ok(data),
            BAD => return Err(Errno::EIO),
            _ => {}
        }
        let l = lower.inode(n).ok_or(Errno::EIO)?;
        let found: [u8; 32] = Sha256::digest(data).into();
        lower.has_been_checked(n);
        if found == l.hash && data.len() as u64 == l.size {
            self.checked.store(GOOD, Ordering::Release);
            return Ok(data);
        }
        // One report, by whoever finds it first.
        if self.checked.swap(BAD, Ordering::AcqRel) != BAD
            && let Some(report) = &self.shared.options.on_corrupt
        {
            report(&Corrupt { inode: n, expected: l.hash, found });
        }
        Err(Errno::EIO)
    }

    fn lower_size(&self) -> u64 {
        self.lower.zip(self.shared.lower()).and_then(|(n, t)| t.inode(n)).map_or(0, |l| l.size)
    }

    /// Runs `f` on the file's own bytes, copying them up first (only the first `keep` bytes), and marks them as
    /// changed.
    fn change<T>(&self, keep: u64, f: impl FnOnce(&mut Content) -> Result<T>) -> Result<T> {
        self.require_file()?;
        self.shared.writable()?;
        self.will_change();
        // The check hashes the file and may report: not under the lock. The bytes are not needed when none are kept.
        let sealed = if keep > 0 && read(&self.content).is_none() { self.sealed()? } else { &[] };
        let mut guard = write(&self.content);
        if guard.is_none() {
            let kept = sealed.get(..sealed.len().min(usize::try_from(keep).unwrap_or(usize::MAX))).unwrap_or(&[]);
            *guard = Some(Content::copy_of(kept, &self.shared.options.budget)?);
        }
        let content = guard.as_mut().ok_or(Errno::EIO)?;
        // Before and after: a hash taken of a state in between must not be remembered.
        self.generation.fetch_add(1, Ordering::AcqRel);
        let result = f(content);
        self.generation.fetch_add(1, Ordering::AcqRel);
        if result.is_ok() {
            let now = self.shared.now();
            let mut m = write(&self.meta);
            m.mtime = now;
            m.ctime = now;
        }
        result
    }

    /// relatime. Nothing is recorded for the unchanged lower layer, as on overlayfs.
    fn accessed(&self) {
        if self.shared.options.read_only {
            return;
        }
        let now = self.shared.now();
        let m = *read(&self.meta);
        if m.atime <= m.mtime || m.atime <= m.ctime || now.sec.saturating_sub(m.atime.sec) >= ATIME_SECONDS {
            write(&self.meta).atime = now;
        }
    }
}

/// The node behind `inode` if it is of the same file system.
fn node_of(inode: &Arc<dyn Inode>, shared: &Arc<Shared>) -> Result<Arc<Node>> {
    let any: &dyn Any = inode.as_ref();
    let node = any.downcast_ref::<Node>().ok_or(Errno::EXDEV)?;
    if Arc::ptr_eq(&node.shared, shared) { node.arc() } else { Err(Errno::EXDEV) }
}

impl Inode for Node {
    fn id(&self) -> InodeId {
        InodeId { dev: self.shared.dev, ino: self.ino }
    }
    fn file_type(&self) -> FileType {
        self.kind
    }

    fn stat(&self) -> Result<Stat> {
        let (size, allocated) = match self.kind {
            FileType::Regular => match &*read(&self.content) {
                Some(c) => (c.len(), c.allocated()),
                None => (self.lower_size(), self.lower_size().div_ceil(4096) * 4096),
            },
            FileType::Directory => (4096, 4096),
            FileType::Symlink => (self.target.as_ref().map_or_else(|| self.lower_size(), |t| t.len() as u64), 0),
            _ => (0, 0),
        };
        let m = *read(&self.meta);
        Ok(Stat {
            dev: self.shared.dev,
            ino: self.ino,
            mode: self.kind.mode_bits() | m.mode,
            nlink: m.nlink.into(),
            uid: m.uid,
            gid: m.gid,
            rdev: self.rdev,
            size,
            blksize: 4096,
            blocks: allocated / 512,
            atime: m.atime,
            mtime: m.mtime,
            ctime: m.ctime,
            btime: m.btime,
        })
    }

    fn setattr(&self, attr: &SetAttr) -> Result<()> {
        self.shared.writable()?;
        self.will_change();
        let now = self.shared.now();
        let mut m = write(&self.meta);
        m.mode = attr.mode.map_or(m.mode, |v| v & mode::ALL);
        m.uid = attr.uid.unwrap_or(m.uid);
        m.gid = attr.gid.unwrap_or(m.gid);
        m.atime = attr.atime.unwrap_or(m.atime);
        m.mtime = attr.mtime.unwrap_or(m.mtime);
        m.ctime = now;
        Ok(())
    }

    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        self.require_dir()?;
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        // Bound outside of the match: its lock must be gone before the second one is taken.
        let found = read(&self.shared.tree).find(self.shared.lower(), self.ino, name)?;
        match found {
            Found::Nothing => Err(Errno::ENOENT),
            Found::Node(node) => Ok(node),
            Found::Lower(_) => match self.shared.entry(&mut write(&self.shared.tree), self.ino, name)? {
                Some(node) => Ok(node),
                None => Err(Errno::ENOENT),
            },
        }
    }

    fn create(&self, name: &[u8], new: &NewNode) -> Result<Arc<dyn Inode>> {
        Ok(self.add(name, FileType::Regular, new, 0, None)?)
    }
    fn mkdir(&self, name: &[u8], new: &NewNode) -> Result<Arc<dyn Inode>> {
        Ok(self.add(name, FileType::Directory, new, 0, None)?)
    }
    fn mknod(&self, name: &[u8], kind: FileType, rdev: u64, new: &NewNode) -> Result<Arc<dyn Inode>> {
        match kind {
            FileType::Directory | FileType::Symlink => Err(Errno::EINVAL),
            _ => Ok(self.add(name, kind, new, rdev, None)?),
        }
    }
    fn symlink(&self, name: &[u8], target: &[u8], new: &NewNode) -> Result<Arc<dyn Inode>> {
        if target.is_empty() || target.len() >= crate::PATH_MAX {
            return Err(if target.is_empty() { Errno::ENOENT } else { Errno::ENAMETOOLONG });
        }
        Ok(self.add(name, FileType::Symlink, new, 0, Some(target))?)
    }
    fn create_unlinked(&self, new: &NewNode, linkable: bool) -> Result<Arc<dyn Inode>> {
        self.require_dir()?;
        self.shared.writable()?;
        let node = self.shared.fresh(FileType::Regular, new, 0, None, 0)?;
        write(&node.meta).linkable = linkable;
        Ok(node)
    }

    fn link(&self, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        self.require_dir()?;
        check_name(name)?;
        self.shared.writable()?;
        let node = node_of(target, &self.shared)?;
        if node.kind == FileType::Directory {
            return Err(Errno::EPERM);
        }
        let mut guard = write(&self.shared.tree);
        let tree = &mut *guard;
        match tree.find(self.shared.lower(), self.ino, name)? {
            Found::Nothing => {}
            _ => return Err(Errno::EEXIST),
        }
        let now = self.shared.now();
        let mut m = write(&node.meta);
        if m.nlink == 0 && !m.linkable {
            return Err(Errno::ENOENT);
        }
        if m.nlink >= LINK_MAX {
            return Err(Errno::EMLINK);
        }
        tree.reserve(self.ino, name)?;
        m.nlink += 1;
        m.linkable = false;
        m.ctime = now;
        drop(m);
        tree.nodes.insert(node.ino, node.clone());
        tree.set(self.ino, name, node.ino, None);
        tree.touch(self.ino, now, 0);
        Ok(())
    }

    fn unlink(&self, name: &[u8]) -> Result<()> {
        self.remove(name, false)
    }
    fn rmdir(&self, name: &[u8]) -> Result<()> {
        self.remove(name, true)
    }

    fn rename(&self, name: &[u8], new_dir: &Arc<dyn Inode>, new_name: &[u8], flags: RenameFlags) -> Result<()> {
        self.require_dir()?;
        check_name(new_name)?;
        self.shared.writable()?;
        let to = node_of(new_dir, &self.shared)?;
        to.require_dir()?;
        let lower = self.shared.lower();
        let mut guard = write(&self.shared.tree);
        let tree = &mut *guard;
        let source = self.shared.entry(tree, self.ino, name)?.ok_or(Errno::ENOENT)?;
        let target = self.shared.entry(tree, to.ino, new_name)?;
        let source_dir = source.kind == FileType::Directory;
        let target_dir = target.as_ref().is_some_and(|t| t.kind == FileType::Directory);
        match &target {
            Some(_) if flags.noreplace => return Err(Errno::EEXIST),
            None if flags.exchange => return Err(Errno::ENOENT),
            // Two names of one file: nothing to do, and both stay (man 2 rename).
            Some(t) if t.ino == source.ino => return Ok(()),
            _ => {}
        }
        if source_dir && tree.is_below(to.ino, source.ino) {
            return Err(Errno::EINVAL);
        }
        if let Some(t) = target.as_ref().filter(|_| target_dir)
            && tree.is_below(self.ino, t.ino)
        {
            return Err(if flags.exchange { Errno::EINVAL } else { Errno::ENOTEMPTY });
        }
        let now = self.shared.now();
        let mut gone = None;
        if flags.exchange {
            let Some(t) = &target else { return Err(Errno::ENOENT) };
            tree.reserve(self.ino, name)?;
            tree.reserve(to.ino, new_name)?;
            tree.set(self.ino, name, t.ino, None);
            tree.set(to.ino, new_name, source.ino, None);
            if let Some(d) = tree.dirs.get_mut(&t.ino) {
                d.parent = self.ino;
            }
            write(&t.meta).ctime = now;
            let moved = source_dir as i32 - target_dir as i32;
            tree.touch(self.ino, now, -moved);
            tree.touch(to.ino, now, moved);
        } else {
            match &target {
                Some(_) if source_dir && !target_dir => return Err(Errno::ENOTDIR),
                Some(_) if !source_dir && target_dir => return Err(Errno::EISDIR),
                Some(t) if target_dir && !tree.is_empty(lower, t.ino) => return Err(Errno::ENOTEMPTY),
                _ => {}
            }
            tree.reserve(to.ino, new_name)?;
            if let Some(t) = &target {
                gone = tree.unname(t, now);
            }
            // Within a directory an entry keeps its place, so that a loop of readdir and rename comes to an end.
            let place = tree.clear(lower, self.ino, name).filter(|_| to.ino == self.ino);
            tree.set(to.ino, new_name, source.ino, place);
            tree.touch(self.ino, now, -(source_dir as i32));
            tree.touch(to.ino, now, source_dir as i32 - target_dir as i32);
        }
        if let Some(d) = tree.dirs.get_mut(&source.ino) {
            d.parent = to.ino;
        }
        write(&source.meta).ctime = now;
        drop(guard);
        drop(gone);
        Ok(())
    }

    fn readdir(&self, cursor: u64, max: usize) -> Result<Vec<DirEntry>> {
        self.require_dir()?;
        let mut out = Vec::new();
        {
            let tree = read(&self.shared.tree);
            let d = tree.dirs.get(&self.ino).ok_or(Errno::ENOENT)?;
            let mut cursor = cursor;
            while cursor < 2 && out.len() < max {
                let (name, ino): (&[u8], u64) = if cursor == 0 { (b".", self.ino) } else { (b"..", d.parent) };
                cursor += 1;
                out.push(DirEntry { name: name.to_vec(), ino, file_type: FileType::Directory, next: cursor });
            }
            if let Some((l, t)) = d.lower.zip(self.shared.lower()) {
                while (2..UPPER_CURSOR).contains(&cursor) && out.len() < max {
                    let Some((name, n)) = t.entry(l, cursor - 2) else { break };
                    cursor += 1;
                    if d.names.contains_key(name) {
                        continue;
                    }
                    let kind = t.inode(n).ok_or(Errno::EIO)?.kind;
                    out.push(DirEntry { name: name.to_vec(), ino: n.saturating_add(1), file_type: kind, next: cursor });
                }
            }
            for (&at, name) in d.order.range(cursor.max(UPPER_CURSOR)..).take(max.saturating_sub(out.len())) {
                if let Some(Slot::Node { ino, .. }) = d.names.get(name)
                    && let Some(node) = tree.nodes.get(ino)
                {
                    out.push(DirEntry { name: name.to_vec(), ino: *ino, file_type: node.kind, next: at + 1 });
                }
            }
        }
        if self.lower.is_none() {
            self.accessed();
        }
        Ok(out)
    }

    fn readlink(&self) -> Result<Vec<u8>> {
        if self.kind != FileType::Symlink {
            return Err(Errno::EINVAL);
        }
        if let Some(t) = &self.target {
            self.accessed();
            return Ok(t.to_vec());
        }
        self.lower.zip(self.shared.lower()).and_then(|(n, t)| t.link_target(n)).map(<[u8]>::to_vec).ok_or(Errno::EIO)
    }

    fn open(&self, access: Access) -> Result<Option<Arc<dyn Inode>>> {
        if self.kind == FileType::Regular && (access.read || access.exec) && read(&self.content).is_none() {
            self.sealed()?;
        }
        Ok(None)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.require_file()?;
        if offset > MAX_SIZE {
            return Err(Errno::EINVAL);
        }
        if let Some(c) = &*read(&self.content) {
            let n = c.read(offset, buf)?;
            self.accessed();
            return Ok(n);
        }
        let sealed = self.sealed()?;
        // It may have been copied up since; the old bytes are as good an answer as any to a read that overlaps the
        // write.
        Ok(copy_from(sealed, offset, buf))
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<usize> {
        self.require_file()?;
        if data.is_empty() {
            return Ok(0);
        }
        self.change(u64::MAX, |c| c.write(offset, data))
    }
    fn append(&self, data: &[u8]) -> Result<(u64, usize)> {
        self.require_file()?;
        if data.is_empty() {
            return Ok((self.stat()?.size, 0));
        }
        self.change(u64::MAX, |c| {
            let end = c.len();
            Ok((end, c.write(end, data)?))
        })
    }
    fn truncate(&self, size: u64) -> Result<()> {
        self.change(size, |c| c.truncate(size))
    }
    fn fallocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        let (keep, punch) = match mode {
            0 => (false, false),
            1 => (true, false),
            3 => (true, true),
            _ => return Err(Errno::EOPNOTSUPP),
        };
        if self.kind != FileType::Regular {
            return Err(if self.kind == FileType::Directory { Errno::EISDIR } else { Errno::ENODEV });
        }
        if len == 0 {
            return Err(Errno::EINVAL);
        }
        self.change(u64::MAX, |c| c.fallocate(keep, punch, offset, len))
    }
    fn seek_data(&self, offset: u64, data: bool) -> Result<u64> {
        self.require_file()?;
        if let Some(c) = &*read(&self.content) {
            return c.seek(offset, data);
        }
        let size = self.lower_size();
        if offset >= size { Err(Errno::ENXIO) } else { Ok(if data { offset } else { size }) }
    }

    fn map_source(&self, shared_writable: bool) -> Result<MapSource> {
        if self.kind != FileType::Regular {
            return Err(Errno::ENODEV);
        }
        if !shared_writable && read(&self.content).is_none() {
            let len = self.sealed()?.len() as u64;
            if let Some((fd, offset)) = self.lower.zip(self.shared.lower()).and_then(|(n, t)| t.host_range(n)) {
                return Ok(MapSource { fd, offset, len, sealed: true });
            }
        }
        if shared_writable {
            self.shared.writable()?;
            self.will_change();
        }
        let sealed = if read(&self.content).is_none() { self.sealed()? } else { &[] };
        let mut guard = write(&self.content);
        if shared_writable {
            self.shared_writable.store(true, Ordering::Release);
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
        if guard.is_none() {
            *guard = Some(Content::copy_of(sealed, &self.shared.options.budget)?);
        }
        let (fd, len) = guard.as_mut().ok_or(Errno::EIO)?.memfd(shared_writable)?;
        Ok(MapSource { fd, offset: 0, len, sealed: false })
    }

    fn unchanged_below(&self) -> bool {
        let as_it_was = |d: &Dir| d.lower.is_some() && !d.changed;
        self.lower.is_some()
            && !self.shared.linked_changed.load(Ordering::Acquire)
            && read(&self.shared.tree).dirs.get(&self.ino).is_some_and(as_it_was)
    }

    fn sealed_place(&self) -> Option<u64> {
        let unchanged = read(&self.content).is_none() && self.checked.load(Ordering::Acquire) == GOOD;
        self.lower.zip(self.shared.lower()).filter(|_| unchanged).and_then(|(n, t)| t.place(n))
    }

    fn content_class(&self) -> Result<ContentClass> {
        self.require_file()?;
        if read(&self.content).is_none() {
            self.sealed()?;
            let l = self.lower.zip(self.shared.lower()).and_then(|(n, t)| t.inode(n)).ok_or(Errno::EIO)?;
            return Ok(ContentClass::Sealed { hash: l.hash });
        }
        if self.shared_writable.load(Ordering::Acquire) {
            self.generation.fetch_add(1, Ordering::AcqRel);
        }
        Ok(ContentClass::Private { generation: self.generation.load(Ordering::Acquire) })
    }

    fn read_all(&self, limit: u64) -> Result<Vec<u8>> {
        self.require_file()?;
        if let Some(c) = &*read(&self.content) {
            let len = c.len();
            if len > limit {
                return Err(Errno::EFBIG);
            }
            let len = usize::try_from(len).map_err(|_| Errno::EFBIG)?;
            let mut out = Vec::new();
            out.try_reserve_exact(len).map_err(|_| Errno::ENOMEM)?;
            out.resize(len, 0);
            let n = c.read(0, &mut out)?;
            out.truncate(n);
            return Ok(out);
        }
        let sealed = self.sealed()?;
        if sealed.len() as u64 > limit { Err(Errno::EFBIG) } else { Ok(sealed.to_vec()) }
    }

    fn getxattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        match xattr::check(name, self.kind) {
            // To read what cannot be there is no offence.
            Ok(()) | Err(Errno::EPERM) => self.xattrs().as_deref().map_or(Err(Errno::ENODATA), |x| x.get(name)),
            Err(e) => Err(e),
        }
    }
    fn listxattr(&self) -> Result<Vec<Vec<u8>>> {
        Ok(self.xattrs().as_deref().map(Xattrs::names).unwrap_or_default())
    }
    fn setxattr(&self, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        xattr::check(name, self.kind)?;
        self.shared.writable()?;
        self.will_change();
        let mut xattrs = self.xattrs();
        let budget = &self.shared.options.budget;
        xattrs.get_or_insert_with(|| Box::new(Xattrs::new(budget))).set(name, value, flags)?;
        write(&self.meta).ctime = self.shared.now();
        Ok(())
    }
    fn removexattr(&self, name: &[u8]) -> Result<()> {
        xattr::check(name, self.kind)?;
        self.shared.writable()?;
        self.will_change();
        self.xattrs().as_deref_mut().map_or(Err(Errno::ENODATA), |x| x.remove(name))?;
        write(&self.meta).ctime = self.shared.now();
        Ok(())
    }

    fn statfs(&self) -> Result<StatFs> {
        let b = &self.shared.options.budget;
        // Without a limit, a number that programs which look for free space are content with: 1 TiB.
        let total = b.limit().min(1 << 40);
        let free = total.saturating_sub(b.used());
        Ok(StatFs {
            fs_type: if self.shared.options.lower.is_some() { 0x794c_7630 } else { 0x0102_1994 },
            bsize: 4096,
            blocks: total / 4096,
            bfree: free / 4096,
            bavail: free / 4096,
            files: total / NODE_COST,
            ffree: free / NODE_COST,
            namelen: NAME_MAX as u64,
            frsize: 4096,
            flags: self.shared.options.read_only as u64,
        })
    }
}
