//! Names in use: the tree of directory entries that open files, working directories and mount points hold on to.
//!
//! A [`Location`] stays right when the object, or a directory above it, is renamed or removed. The tree holds only what
//! somebody refers to: a dentry keeps its parent alive, a parent knows its children weakly. Nothing is answered from
//! here: each walk asks the file system.

use crate::{FileSystem, FileType, Inode, InodeId};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLock, Weak};

use crate::lock::{mutex, read, write};

/// A mounted file system.
pub(crate) struct Mount {
    pub(crate) id: u64,
    pub(crate) fs: Arc<dyn FileSystem>,
    pub(crate) read_only: bool,
    /// Where it is mounted; `None` for the root and for anonymous objects.
    pub(crate) point: Option<Location>,
    /// Held while names are removed or moved.
    mutation: Mutex<()>,
    /// Odd while `mutation` is held; a walk that overlaps a mutation does not record what it found.
    seq: AtomicU64,
}

impl Mount {
    pub(crate) fn new(fs: Arc<dyn FileSystem>, read_only: bool, point: Option<Location>) -> Arc<Mount> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Arc::new(Mount { id, fs, read_only, point, mutation: Mutex::new(()), seq: AtomicU64::new(0) })
    }
    pub(crate) fn writable(&self) -> crate::Result<()> {
        if self.read_only || self.fs.read_only() { Err(crate::Errno::EROFS) } else { Ok(()) }
    }
    pub(crate) fn mutate(&self) -> Mutation<'_> {
        let guard = mutex(&self.mutation);
        self.seq.fetch_add(1, Ordering::SeqCst);
        Mutation { mount: self, _guard: guard }
    }
    /// An even sequence number, after waiting for a mutation in progress.
    fn settled(&self) -> u64 {
        loop {
            let seq = self.seq.load(Ordering::SeqCst);
            if seq & 1 == 0 {
                return seq;
            }
            drop(mutex(&self.mutation));
        }
    }
}

pub(crate) struct Mutation<'a> {
    mount: &'a Mount,
    _guard: MutexGuard<'a, ()>,
}

impl Drop for Mutation<'_> {
    fn drop(&mut self) {
        self.mount.seq.fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) struct Dentry {
    pub(crate) mount: Arc<Mount>,
    pub(crate) inode: Arc<dyn Inode>,
    link: RwLock<Link>,
    deleted: AtomicBool,
    /// What is mounted here. The mount table holds it; a mount holds its mount point.
    mounted: RwLock<Option<Weak<Dentry>>>,
    children: RwLock<HashMap<Box<[u8]>, Weak<Dentry>>>,
}

struct Link {
    parent: Option<Arc<Dentry>>,
    name: Box<[u8]>,
}

impl Dentry {
    fn new(mount: Arc<Mount>, inode: Arc<dyn Inode>, parent: Option<Arc<Dentry>>, name: &[u8]) -> Arc<Dentry> {
        Arc::new(Dentry {
            mount,
            inode,
            link: RwLock::new(Link { parent, name: name.into() }),
            deleted: AtomicBool::new(false),
            mounted: RwLock::new(None),
            children: RwLock::new(HashMap::new()),
        })
    }

    /// Takes the parent out and removes this dentry's weak entry there.
    fn unhook(&mut self) -> Option<Arc<Dentry>> {
        let link = self.link.get_mut().unwrap_or_else(|e| e.into_inner());
        let parent = link.parent.take()?;
        let mut children = write(&parent.children);
        // Only if it is ours: a new dentry may have taken the name.
        if children.get(&link.name).is_some_and(|w| w.strong_count() == 0) {
            children.remove(&link.name);
            if children.is_empty() {
                children.shrink_to_fit();
            }
        }
        drop(children);
        Some(parent)
    }
}

impl Drop for Dentry {
    fn drop(&mut self) {
        // A loop, because the chain of parents may be deeper than the stack.
        let mut parent = self.unhook();
        while let Some(p) = parent {
            parent = Arc::into_inner(p).and_then(|mut d| d.unhook());
        }
    }
}

/// A place in the tree of a [`crate::Vfs`]: an inode and the name under which it was reached. What an open file
/// description, a working directory, a root directory and a magic link hold. Cheap to clone.
#[derive(Clone)]
pub struct Location(pub(crate) Arc<Dentry>);

impl PartialEq for Location {
    /// Same object under the same name.
    fn eq(&self, other: &Location) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
impl Eq for Location {}

impl std::fmt::Debug for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} ({:?})", String::from_utf8_lossy(&self.path(None)), self.inode().id())
    }
}

impl Location {
    pub(crate) fn root_of(mount: Arc<Mount>) -> Location {
        let inode = mount.fs.root();
        Location(Dentry::new(mount, inode, None, b""))
    }

    /// An object outside of the tree (pipe, socket, memfd, O_TMPFILE file): `label` is what /proc/self/fd shows
    /// (`pipe:[17]`).
    pub fn anonymous(inode: Arc<dyn Inode>, label: &[u8]) -> Location {
        let mount = Mount::new(Arc::new(Anonymous(inode.clone())), false, None);
        Location(Dentry::new(mount, inode, None, label))
    }

    /// The location of `inode`, which was just made as `name` in this directory. Somebody may have removed the name
    /// already.
    pub(crate) fn made(&self, name: &[u8], inode: Arc<dyn Inode>) -> Location {
        match self.child(name) {
            Ok(l) if l.inode().id() == inode.id() => l,
            _ => self.gone(name, inode),
        }
    }

    /// A file without a name on the file system of `dir` (O_TMPFILE).
    pub(crate) fn unlinked(dir: &Location, inode: Arc<dyn Inode>) -> Location {
        let name = format!("#{}", inode.id().ino);
        dir.gone(name.as_bytes(), inode)
    }

    fn gone(&self, name: &[u8], inode: Arc<dyn Inode>) -> Location {
        let d = Dentry::new(self.0.mount.clone(), inode, Some(self.0.clone()), name);
        d.deleted.store(true, Ordering::Release);
        Location(d)
    }

    /// The object.
    pub fn inode(&self) -> &Arc<dyn Inode> {
        &self.0.inode
    }
    /// Number of the mount the object is on (`mnt_id` of /proc/self/fdinfo, statx).
    pub fn mount_id(&self) -> u64 {
        self.0.mount.id
    }
    /// True when the mount, or its file system, refuses changes.
    pub fn read_only(&self) -> bool {
        self.0.mount.writable().is_err()
    }
    /// True when this name is gone: unlinked, or replaced by a rename.
    pub fn is_deleted(&self) -> bool {
        self.0.deleted.load(Ordering::Acquire)
    }
    pub(crate) fn is_dir(&self) -> bool {
        self.0.inode.file_type() == FileType::Directory
    }
    pub(crate) fn same_mount(&self, other: &Location) -> bool {
        Arc::ptr_eq(&self.0.mount, &other.0.mount)
    }
    pub(crate) fn set_mounted(&self, root: Option<&Location>) {
        *write(&self.0.mounted) = root.map(|r| Arc::downgrade(&r.0));
    }
    pub(crate) fn is_mountpoint(&self) -> bool {
        read(&self.0.mounted).as_ref().is_some_and(|w| w.strong_count() > 0)
    }
    /// Down into what is mounted here, if anything (repeatedly).
    pub(crate) fn enter_mounts(mut self) -> Location {
        loop {
            let inner = read(&self.0.mounted).as_ref().and_then(Weak::upgrade);
            match inner {
                Some(d) => self = Location(d),
                None => return self,
            }
        }
    }
    /// The parent as `..` sees it, without regard to any process's root: `None` at the top.
    pub(crate) fn parent(&self) -> Option<Location> {
        let mut here = self.clone();
        loop {
            let up = read(&here.0.link).parent.clone();
            if let Some(p) = up {
                return Some(Location(p));
            }
            // The root of a mount: go on at the mount point.
            let point = here.0.mount.point.clone()?;
            here = point;
        }
    }
    /// Last component of the name (empty for a root).
    pub fn name(&self) -> Vec<u8> {
        read(&self.0.link).name.to_vec()
    }

    /// The absolute path as /proc/self/fd shows it: seen from `root` (`None`: the top of the tree), with " (deleted)"
    /// when the name is gone. Anonymous objects give their label.
    pub fn path(&self, root: Option<&Location>) -> Vec<u8> {
        let (mut path, reached) = self.components(root);
        if !reached {
            path.splice(0..0, b"(unreachable)".iter().copied());
        }
        if self.is_deleted() {
            path.extend_from_slice(b" (deleted)");
        }
        path
    }

    /// The path for getcwd(2): ENOENT when the directory was removed; "(unreachable)" in front when it is not below
    /// `root`.
    pub fn cwd_path(&self, root: &Location) -> crate::Result<Vec<u8>> {
        if self.is_deleted() {
            return Err(crate::Errno::ENOENT);
        }
        Ok(self.path(Some(root)))
    }

    /// Path bytes, and whether `root` was met on the way up.
    fn components(&self, root: Option<&Location>) -> (Vec<u8>, bool) {
        let mut names: Vec<Box<[u8]>> = Vec::new();
        let mut here = self.clone();
        let reached = loop {
            if root == Some(&here) {
                break true;
            }
            let (up, name) = {
                let link = read(&here.0.link);
                (link.parent.clone(), link.name.clone())
            };
            here = match (up, &here.0.mount.point) {
                (Some(p), _) => {
                    names.push(name);
                    Location(p)
                }
                (None, Some(point)) => point.clone(),
                (None, None) if !name.is_empty() => return (name.into_vec(), true),
                (None, None) => break root.is_none(),
            };
        };
        let mut path = Vec::with_capacity(names.iter().map(|n| n.len() + 1).sum::<usize>().max(1));
        for n in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(n);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        (path, reached)
    }

    /// True when `self` is `other` or below it.
    pub(crate) fn is_below(&self, other: &Location) -> bool {
        let mut here = Some(self.clone());
        while let Some(l) = here {
            if &l == other {
                return true;
            }
            here = l.parent();
        }
        false
    }

    /// The entry `name` as the file system has it now, mounts not entered.
    pub(crate) fn child(&self, name: &[u8]) -> crate::Result<Location> {
        loop {
            let seq = self.0.mount.settled();
            let inode = self.0.inode.lookup(name)?;
            // In use already? (The Arc is bound outside of the lock's scope: dropping the last one needs that lock.)
            let known = read(&self.0.children).get(name).and_then(Weak::upgrade);
            if let Some(d) = known
                && d.inode.id() == inode.id()
                && !d.deleted.load(Ordering::Acquire)
            {
                return Ok(Location(d));
            }
            let new = Dentry::new(self.0.mount.clone(), inode, Some(self.0.clone()), name);
            let mut children = write(&self.0.children);
            if self.0.mount.seq.load(Ordering::SeqCst) != seq {
                drop(children);
                continue;
            }
            // Somebody may have been faster.
            let other = children.get(name).and_then(Weak::upgrade);
            if let Some(d) = other {
                if d.inode.id() == new.inode.id() && !d.deleted.load(Ordering::Acquire) {
                    drop(children);
                    return Ok(Location(d));
                }
                children.insert(name.into(), Arc::downgrade(&new));
                drop(children);
                // The old one may go now, with the lock released.
                drop(d);
            } else {
                children.insert(name.into(), Arc::downgrade(&new));
                drop(children);
            }
            return Ok(Location(new));
        }
    }

    /// The dentry of `name`, if somebody uses it. For use under the mount's mutation lock.
    pub(crate) fn known_child(&self, name: &[u8]) -> Option<Location> {
        read(&self.0.children).get(name).and_then(Weak::upgrade).map(Location)
    }

    /// Marks the name as gone and forgets it. Under the mutation lock.
    pub(crate) fn detach(&self, name: &[u8]) {
        let child = write(&self.0.children).remove(name).and_then(|w| w.upgrade());
        if let Some(d) = child {
            d.deleted.store(true, Ordering::Release);
        }
    }

    /// Gives the dentry `child` of this directory its new place. Under the mutation lock, after [`Location::detach`] of
    /// the target.
    pub(crate) fn move_child(&self, name: &[u8], child: Option<Location>, new_dir: &Location, new_name: &[u8]) {
        let Some(child) = child else { return };
        {
            let mut children = write(&self.0.children);
            if children.get(name).is_some_and(|w| std::ptr::eq(w.as_ptr(), Arc::as_ptr(&child.0))) {
                children.remove(name);
            }
        }
        let old_parent = {
            let mut link = write(&child.0.link);
            link.name = new_name.into();
            link.parent.replace(new_dir.0.clone())
        };
        drop(old_parent);
        write(&new_dir.0.children).insert(new_name.into(), Arc::downgrade(&child.0));
    }
}

/// The "file system" of an object that lies in none.
struct Anonymous(Arc<dyn Inode>);

impl FileSystem for Anonymous {
    fn root(&self) -> Arc<dyn Inode> {
        self.0.clone()
    }
    fn name(&self) -> &str {
        "anon"
    }
}

/// True when two inodes are one.
pub(crate) fn same(a: InodeId, b: &Arc<dyn Inode>) -> bool {
    a == b.id()
}
