//! Path walks and the operations on names, with their permission checks (man 7 path_resolution; `fs/namei.c` for the
//! order of errors).

use crate::dentry::{Location, Mount, same};
use crate::lock::{read, write};
use crate::{
    Access, Cred, Errno, FileSystem, FileType, Inode, MAX_SYMLINKS, NAME_MAX, NewNode, OpenFlags, PATH_MAX,
    RenameFlags, Result, SetAttr, SetTime, Stat, Timespec, mode,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};

/// From where and as whom a path is walked: what a process brings to every path operation.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    /// The process's root directory: `/` and the top for `..`.
    pub root: &'a Location,
    /// Where relative paths start: the working directory, or what dirfd refers to.
    pub base: &'a Location,
    pub cred: &'a Cred,
}

/// How a walk treats what it meets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WalkFlags {
    /// Follow a symbolic link as the last component (always done when the path ends in a slash).
    pub follow: bool,
    /// ENOTDIR unless the result is a directory.
    pub directory: bool,
    /// An empty path means `base` itself (AT_EMPTY_PATH) instead of ENOENT.
    pub empty: bool,
    /// RESOLVE_NO_SYMLINKS: ELOOP at any symbolic link.
    pub no_symlinks: bool,
    /// RESOLVE_NO_MAGICLINKS: ELOOP at a magic link.
    pub no_magic: bool,
    /// RESOLVE_NO_XDEV: EXDEV where the path crosses a mount.
    pub no_xdev: bool,
    /// RESOLVE_BENEATH: EXDEV where the path leaves `base`.
    pub beneath: bool,
    /// RESOLVE_IN_ROOT: `base` is the root.
    pub in_root: bool,
}

impl WalkFlags {
    /// Follows a final symbolic link, as stat(2) does.
    pub const FOLLOW: WalkFlags = WalkFlags { follow: true, ..WalkFlags::NOFOLLOW };
    /// Does not, as lstat(2).
    pub const NOFOLLOW: WalkFlags = WalkFlags {
        follow: false,
        directory: false,
        empty: false,
        no_symlinks: false,
        no_magic: false,
        no_xdev: false,
        beneath: false,
        in_root: false,
    };
    /// Follows, and wants a directory, as chdir(2).
    pub const DIRECTORY: WalkFlags = WalkFlags { directory: true, ..WalkFlags::FOLLOW };

    /// From the `resolve` field of openat2(2): EINVAL for unknown bits and for BENEATH with IN_ROOT.
    pub fn from_resolve(bits: u64) -> Result<WalkFlags> {
        if bits & !0x1f != 0 || bits & 0x18 == 0x18 {
            return Err(Errno::EINVAL);
        }
        Ok(WalkFlags {
            no_xdev: bits & 1 != 0,
            no_magic: bits & 6 != 0,
            no_symlinks: bits & 4 != 0,
            beneath: bits & 8 != 0,
            in_root: bits & 0x10 != 0,
            ..WalkFlags::FOLLOW
        })
    }
}

/// Result of [`Vfs::walk`].
#[derive(Clone, Debug)]
pub struct Walked {
    /// Directory of the last component (the result itself for `/`, `.` and `..`).
    pub parent: Location,
    /// The last component; empty for `/`, `.` and `..`.
    pub name: Vec<u8>,
    /// What is there; `None` when everything but the last component exists.
    pub target: Option<Location>,
    /// The path ended in a slash.
    pub slash: bool,
}

/// Result of [`Vfs::open`].
#[derive(Clone)]
pub struct Opened {
    /// The name that was opened, for getcwd, /proc/self/fd and operations relative to the descriptor.
    pub location: Location,
    /// The object to read and write: `location.inode()`, or what [`Inode::open`] put in its place.
    pub inode: Arc<dyn Inode>,
    /// True when O_CREAT or O_TMPFILE made it.
    pub created: bool,
}

/// The last component of a path.
enum Last {
    Name(Vec<u8>),
    Dot,
    DotDot,
    Root,
}

struct Parent {
    dir: Location,
    last: Last,
    slash: bool,
}

/// State of one walk.
struct Walk<'a> {
    at: At<'a>,
    root: Location,
    flags: WalkFlags,
    links: u32,
    here: Location,
    rest: Vec<u8>,
    pos: usize,
}

/// The tree of mounted file systems that the processes of one container see. Shared by all of them; processes differ in
/// root and working directory ([`At`]).
///
/// All methods check permissions. `mode` arguments have the caller's umask already applied.
pub struct Vfs {
    /// Roots of the mounts, in mount order; the first is the root file system.
    mounts: RwLock<Vec<Location>>,
    root: Location,
    protect_symlinks: AtomicBool,
    protect_hardlinks: AtomicBool,
}

/// One line of /proc/self/mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountInfo {
    pub id: u64,
    pub fs_type: String,
    /// Path of the mount point from the top.
    pub path: Vec<u8>,
    pub read_only: bool,
    /// `st_dev` of its files.
    pub dev: u64,
}

impl Vfs {
    /// A tree whose root is the root of `fs`.
    pub fn new(fs: Arc<dyn FileSystem>) -> Vfs {
        let root = Location::root_of(Mount::new(fs, false, None));
        Vfs {
            mounts: RwLock::new(vec![root.clone()]),
            root,
            protect_symlinks: AtomicBool::new(true),
            protect_hardlinks: AtomicBool::new(true),
        }
    }

    /// `fs.protected_symlinks` and `fs.protected_hardlinks` (man 5 proc_sys_fs); both are on at first, as Debian sets
    /// them.
    pub fn set_protected(&self, symlinks: bool, hardlinks: bool) {
        self.protect_symlinks.store(symlinks, Ordering::Relaxed);
        self.protect_hardlinks.store(hardlinks, Ordering::Relaxed);
    }

    /// The top of the tree: what the first process has as root and working directory.
    pub fn root(&self) -> Location {
        self.root.clone()
    }

    /// Mounts `fs` at `path` (absolute, as root sees it). ENOENT when nothing is there, ENOTDIR when one side is a
    /// directory and the other is not.
    pub fn mount(&self, path: &[u8], fs: Arc<dyn FileSystem>, read_only: bool) -> Result<Location> {
        let cred = Cred::root();
        let point = self.lookup(&At { root: &self.root, base: &self.root, cred: &cred }, path, WalkFlags::FOLLOW)?;
        if point.is_dir() != (fs.root().file_type() == FileType::Directory) {
            return Err(Errno::ENOTDIR);
        }
        if point == self.root {
            return Err(Errno::EBUSY);
        }
        let root = Location::root_of(Mount::new(fs, read_only, Some(point.clone())));
        // Under the mutation lock, so that the mount point cannot be removed in between.
        let _mutation = point.0.mount.mutate();
        let mut mounts = write(&self.mounts);
        if point.is_deleted() {
            return Err(Errno::ENOENT);
        }
        mounts.push(root.clone());
        point.set_mounted(Some(&root));
        Ok(root)
    }

    /// As [`Vfs::mount`], but creates the mount point first when it is missing: directories (mode 755, root's) and, for
    /// a file system that is one file, an empty file.
    pub fn mount_creating(&self, path: &[u8], fs: Arc<dyn FileSystem>, read_only: bool) -> Result<Location> {
        let cred = Cred::root();
        let at = At { root: &self.root, base: &self.root, cred: &cred };
        let is_dir = fs.root().file_type() == FileType::Directory;
        let mut prefix = Vec::with_capacity(path.len());
        let mut components = path.split(|&c| c == b'/').filter(|c| !c.is_empty()).peekable();
        while let Some(component) = components.next() {
            prefix.push(b'/');
            prefix.extend_from_slice(component);
            match self.lookup(&at, &prefix, WalkFlags::FOLLOW) {
                Err(Errno::ENOENT) if components.peek().is_none() && !is_dir => {
                    self.open(
                        &at,
                        &prefix,
                        OpenFlags(OpenFlags::O_CREAT | OpenFlags::O_WRONLY),
                        0o644,
                        WalkFlags::FOLLOW,
                    )?;
                }
                Err(Errno::ENOENT) => match self.mkdir(&at, &prefix, 0o755) {
                    Ok(_) | Err(Errno::EEXIST) => {}
                    Err(e) => return Err(e),
                },
                Err(e) => return Err(e),
                Ok(_) => {}
            }
        }
        self.mount(path, fs, read_only)
    }

    /// Takes the topmost mount at `path` away. Open files on it go on working. EINVAL when it is no mount, EBUSY when
    /// something is mounted inside.
    pub fn unmount(&self, path: &[u8]) -> Result<()> {
        let cred = Cred::root();
        let root = self.lookup(&At { root: &self.root, base: &self.root, cred: &cred }, path, WalkFlags::FOLLOW)?;
        let mut mounts = write(&self.mounts);
        let i = mounts.iter().position(|m| *m == root).ok_or(Errno::EINVAL)?;
        let Some(point) = root.0.mount.point.clone() else { return Err(Errno::EBUSY) };
        if mounts.iter().any(|m| m.0.mount.point.as_ref().is_some_and(|p| p.same_mount(&root))) {
            return Err(Errno::EBUSY);
        }
        point.set_mounted(None);
        let gone = mounts.remove(i);
        drop(mounts);
        drop(gone);
        Ok(())
    }

    /// Whether everything below the directory `at` is as the sealed layer has it: nothing was changed ([`crate::Inode::unchanged_below`]), and nothing is mounted there.
    pub fn unchanged_below(&self, at: &Location) -> bool {
        let covers = |root: &Location| {
            let point = root.0.mount.point.clone();
            std::iter::successors(point, Location::parent).any(|l| l == *at)
        };
        at.inode().unchanged_below() && !read(&self.mounts).iter().any(covers)
    }

    /// All mounts, in mount order.
    pub fn mounts(&self) -> Vec<MountInfo> {
        let roots = read(&self.mounts).clone();
        roots
            .iter()
            .map(|r| MountInfo {
                id: r.mount_id(),
                fs_type: r.0.mount.fs.name().to_owned(),
                path: r.path(None),
                read_only: r.read_only(),
                dev: r.inode().id().dev,
            })
            .collect()
    }

    // Walks.

    /// Walks `path`. A missing last component is no error here: `target` is `None` then (but with a trailing slash and
    /// `directory` unset it is still up to the caller whether that is one).
    pub fn walk(&self, at: &At, path: &[u8], flags: WalkFlags) -> Result<Walked> {
        if path.is_empty() && flags.empty {
            return Ok(Walked {
                parent: at.base.clone(),
                name: Vec::new(),
                target: Some(at.base.clone()),
                slash: false,
            });
        }
        let mut walk = self.begin(at, path, flags)?;
        loop {
            let p = walk.run_to_last(self)?;
            let follow = flags.follow || p.slash;
            let name = match p.last {
                Last::Name(name) => name,
                Last::Dot | Last::Root => {
                    return finish(
                        Walked { target: Some(p.dir.clone()), parent: p.dir, name: Vec::new(), slash: p.slash },
                        flags,
                    );
                }
                Last::DotDot => {
                    let up = walk.up()?;
                    return finish(
                        Walked { target: Some(up.clone()), parent: up, name: Vec::new(), slash: p.slash },
                        flags,
                    );
                }
            };
            match walk.step(self, &name) {
                Err(Errno::ENOENT) if !p.dir.is_deleted() => {
                    return Ok(Walked { parent: p.dir, name, target: None, slash: p.slash });
                }
                Err(e) => return Err(e),
                Ok(next) if next.inode().file_type() == FileType::Symlink && follow => {
                    if let Some(target) = walk.follow(self, &p.dir, &next, p.slash)? {
                        return finish(Walked { parent: p.dir, name, target: Some(target), slash: p.slash }, flags);
                    }
                }
                Ok(next) => {
                    let w = Walked { parent: p.dir, name, target: Some(next), slash: p.slash };
                    return finish(w, WalkFlags { directory: flags.directory || p.slash, ..flags });
                }
            }
        }
    }

    /// Walks `path` to something that exists; ENOENT otherwise.
    pub fn lookup(&self, at: &At, path: &[u8], flags: WalkFlags) -> Result<Location> {
        self.walk(at, path, flags)?.target.ok_or(Errno::ENOENT)
    }

    fn begin<'a>(&self, at: &At<'a>, path: &[u8], flags: WalkFlags) -> Result<Walk<'a>> {
        if path.is_empty() {
            return Err(Errno::ENOENT);
        }
        if path.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        if path.contains(&0) {
            return Err(Errno::EINVAL);
        }
        let root = if flags.in_root { at.base.clone() } else { at.root.clone() };
        if (path.first() != Some(&b'/') || flags.in_root) && !at.base.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        Ok(Walk { at: *at, root, flags, links: 0, here: at.base.clone(), rest: path.to_vec(), pos: 0 })
    }

    /// Walks to the parent of the last component, for operations that make or remove a name.
    fn parent(&self, at: &At, path: &[u8]) -> Result<Parent> {
        self.begin(at, path, WalkFlags::NOFOLLOW)?.run_to_last(self)
    }

    /// Parent and name for making a new entry: EEXIST when it is there, ENOENT for a trailing slash on what is to be no
    /// directory, EROFS.
    fn new_entry(&self, at: &At, path: &[u8], dir: bool) -> Result<(Location, Vec<u8>)> {
        let p = self.parent(at, path)?;
        let Last::Name(name) = p.last else { return Err(Errno::EEXIST) };
        match find(&p.dir, &name) {
            Ok(_) => return Err(Errno::EEXIST),
            Err(Errno::ENOENT) => {}
            Err(e) => return Err(e),
        }
        if p.slash && !dir {
            return Err(Errno::ENOENT);
        }
        p.dir.0.mount.writable()?;
        self.may_create(&p.dir, at.cred)?;
        Ok((p.dir, name))
    }

    fn may_create(&self, dir: &Location, cred: &Cred) -> Result<()> {
        if dir.is_deleted() {
            return Err(Errno::ENOENT);
        }
        cred.check(&dir.inode().stat()?, Access::CHANGE)
    }

    /// Owner, group and mode of a new inode in `dir` (set-group-ID directories hand on their group).
    fn new_node(&self, dir: &Location, cred: &Cred, kind: FileType, mode: u32) -> Result<NewNode> {
        let d = dir.inode().stat()?;
        let mut mode = mode & mode::ALL;
        let mut gid = cred.gid;
        if d.mode & mode::S_ISGID != 0 {
            gid = d.gid;
            if kind == FileType::Directory {
                mode |= mode::S_ISGID;
            } else if mode & (mode::S_ISGID | 0o010) == mode::S_ISGID | 0o010
                && !cred.privileged()
                && !cred.in_group(gid)
            {
                mode &= !mode::S_ISGID;
            }
        }
        Ok(NewNode { mode, uid: cred.uid, gid })
    }

    /// Whether `cred` may take the entry `victim` out of `dir` (`may_delete` of `fs/namei.c`).
    fn may_delete(&self, dir: &Location, victim: &Arc<dyn Inode>, cred: &Cred, as_dir: bool) -> Result<()> {
        let d = dir.inode().stat()?;
        cred.check(&d, Access::CHANGE)?;
        if d.mode & mode::S_ISVTX != 0 && !cred.privileged() && cred.uid != d.uid && cred.uid != victim.stat()?.uid {
            return Err(Errno::EPERM);
        }
        match (as_dir, victim.file_type() == FileType::Directory) {
            (true, false) => Err(Errno::ENOTDIR),
            (false, true) => Err(Errno::EISDIR),
            _ if dir.is_deleted() => Err(Errno::ENOENT),
            _ => Ok(()),
        }
    }

    // Operations on names.

    /// mkdir(2).
    pub fn mkdir(&self, at: &At, path: &[u8], mode: u32) -> Result<Location> {
        let (dir, name) = self.new_entry(at, path, true)?;
        let new = self.new_node(&dir, at.cred, FileType::Directory, mode & (0o777 | mode::S_ISVTX))?;
        let inode = dir.inode().mkdir(&name, &new)?;
        Ok(dir.made(&name, inode))
    }

    /// mknod(2) for fifos, sockets, devices (`rdev` as in `st_rdev`; root only, EPERM) and regular files.
    pub fn mknod(&self, at: &At, path: &[u8], kind: FileType, mode: u32, rdev: u64) -> Result<Location> {
        match kind {
            FileType::Directory => return Err(Errno::EPERM),
            FileType::Symlink => return Err(Errno::EINVAL),
            _ => {}
        }
        let (dir, name) = self.new_entry(at, path, false)?;
        // Device 0 of a character device is a whiteout, which anybody may make.
        let device = kind == FileType::BlockDevice || (kind == FileType::CharDevice && rdev != 0);
        if device && !at.cred.privileged() {
            return Err(Errno::EPERM);
        }
        let new = self.new_node(&dir, at.cred, kind, mode)?;
        let inode = match kind {
            FileType::Regular => dir.inode().create(&name, &new)?,
            _ => dir.inode().mknod(&name, kind, rdev, &new)?,
        };
        Ok(dir.made(&name, inode))
    }

    /// symlink(2).
    pub fn symlink(&self, at: &At, target: &[u8], path: &[u8]) -> Result<Location> {
        if target.is_empty() {
            return Err(Errno::ENOENT);
        }
        if target.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let (dir, name) = self.new_entry(at, path, false)?;
        let new = self.new_node(&dir, at.cred, FileType::Symlink, 0o777)?;
        let inode = dir.inode().symlink(&name, target, &new)?;
        Ok(dir.made(&name, inode))
    }

    /// linkat(2): a further name `new_path` (seen from `new_at`) for what `path` names. `flags.follow` is
    /// AT_SYMLINK_FOLLOW, `flags.empty` AT_EMPTY_PATH.
    pub fn link(&self, at: &At, path: &[u8], flags: WalkFlags, new_at: &At, new_path: &[u8]) -> Result<()> {
        let old = self.lookup(at, path, flags)?;
        let p = self.parent(new_at, new_path)?;
        let Last::Name(name) = p.last else { return Err(Errno::EEXIST) };
        match find(&p.dir, &name) {
            Ok(_) => return Err(Errno::EEXIST),
            Err(Errno::ENOENT) if p.slash || p.dir.is_deleted() => return Err(Errno::ENOENT),
            Err(Errno::ENOENT) => {}
            Err(e) => return Err(e),
        }
        p.dir.0.mount.writable()?;
        if !old.same_mount(&p.dir) {
            return Err(Errno::EXDEV);
        }
        let stat = old.inode().stat()?;
        let cred = new_at.cred;
        if self.protect_hardlinks.load(Ordering::Relaxed) && !cred.owns(&stat) {
            let plain = stat.file_type() == FileType::Regular
                && stat.mode & mode::S_ISUID == 0
                && stat.mode & (mode::S_ISGID | 0o010) != mode::S_ISGID | 0o010
                && cred.check(&stat, Access { read: true, write: true, exec: false }).is_ok();
            if !plain {
                return Err(Errno::EPERM);
            }
        }
        self.may_create(&p.dir, cred)?;
        if stat.file_type() == FileType::Directory {
            return Err(Errno::EPERM);
        }
        p.dir.inode().link(&name, old.inode())
    }

    /// unlink(2).
    pub fn unlink(&self, at: &At, path: &[u8]) -> Result<()> {
        let p = self.parent(at, path)?;
        let Last::Name(name) = p.last else { return Err(Errno::EISDIR) };
        p.dir.0.mount.writable()?;
        let _mutation = p.dir.0.mount.mutate();
        let victim = find(&p.dir, &name)?;
        if p.slash {
            return Err(if victim.file_type() == FileType::Directory { Errno::EISDIR } else { Errno::ENOTDIR });
        }
        self.may_delete(&p.dir, &victim, at.cred, false)?;
        let known = p.dir.known_child(&name);
        if known.as_ref().is_some_and(Location::is_mountpoint) {
            return Err(Errno::EBUSY);
        }
        p.dir.inode().unlink(&name)?;
        p.dir.detach(&name);
        Ok(())
    }

    /// rmdir(2).
    pub fn rmdir(&self, at: &At, path: &[u8]) -> Result<()> {
        let p = self.parent(at, path)?;
        let name = match p.last {
            Last::Name(name) => name,
            Last::Dot => return Err(Errno::EINVAL),
            Last::DotDot => return Err(Errno::ENOTEMPTY),
            Last::Root => return Err(Errno::EBUSY),
        };
        p.dir.0.mount.writable()?;
        let _mutation = p.dir.0.mount.mutate();
        let victim = find(&p.dir, &name)?;
        self.may_delete(&p.dir, &victim, at.cred, true)?;
        let known = p.dir.known_child(&name);
        if known.as_ref().is_some_and(Location::is_mountpoint) {
            return Err(Errno::EBUSY);
        }
        p.dir.inode().rmdir(&name)?;
        p.dir.detach(&name);
        Ok(())
    }

    /// renameat2(2).
    pub fn rename(&self, at: &At, path: &[u8], new_at: &At, new_path: &[u8], flags: RenameFlags) -> Result<()> {
        let cred = at.cred;
        let from = self.parent(at, path)?;
        let to = self.parent(new_at, new_path)?;
        if !from.dir.same_mount(&to.dir) {
            return Err(Errno::EXDEV);
        }
        let Last::Name(name) = from.last else { return Err(Errno::EBUSY) };
        let Last::Name(new_name) = to.last else {
            return Err(if flags.noreplace { Errno::EEXIST } else { Errno::EBUSY });
        };
        from.dir.0.mount.writable()?;
        let _mutation = from.dir.0.mount.mutate();
        let source = find(&from.dir, &name)?;
        let target = match find(&to.dir, &new_name) {
            Ok(t) => Some(t),
            Err(Errno::ENOENT) if !to.dir.is_deleted() => None,
            Err(e) => return Err(e),
        };
        let source_dir = source.file_type() == FileType::Directory;
        let target_dir = target.as_ref().is_some_and(|t| t.file_type() == FileType::Directory);
        if flags.noreplace && target.is_some() {
            return Err(Errno::EEXIST);
        }
        if flags.exchange {
            if target.is_none() {
                return Err(Errno::ENOENT);
            }
            if !target_dir && to.slash {
                return Err(Errno::ENOTDIR);
            }
        }
        if !source_dir && (from.slash || (to.slash && !flags.exchange)) {
            return Err(Errno::ENOTDIR);
        }
        // The dentries in use. What is not in use can be nobody's ancestor.
        let moved = from.dir.known_child(&name).filter(|d| same(d.inode().id(), &source));
        let replaced = target.as_ref().and_then(|t| to.dir.known_child(&new_name).filter(|d| same(d.inode().id(), t)));
        if moved.as_ref().is_some_and(|m| to.dir.is_below(m)) {
            return Err(Errno::EINVAL);
        }
        if replaced.as_ref().is_some_and(|r| from.dir.is_below(r)) {
            return Err(if flags.exchange { Errno::EINVAL } else { Errno::ENOTEMPTY });
        }
        if target.as_ref().is_some_and(|t| same(source.id(), t)) {
            return Ok(());
        }
        self.may_delete(&from.dir, &source, cred, source_dir)?;
        match &target {
            None => self.may_create(&to.dir, cred)?,
            Some(t) => self.may_delete(&to.dir, t, cred, if flags.exchange { target_dir } else { source_dir })?,
        }
        // A directory that changes its parent has its `..` written.
        if from.dir != to.dir {
            if source_dir {
                cred.check(&source.stat()?, Access::WRITE)?;
            }
            if let Some(t) = target.as_ref().filter(|_| flags.exchange && target_dir) {
                cred.check(&t.stat()?, Access::WRITE)?;
            }
        }
        if [&moved, &replaced].into_iter().flatten().any(Location::is_mountpoint) {
            return Err(Errno::EBUSY);
        }
        from.dir.inode().rename(&name, to.dir.inode(), &new_name, flags)?;
        if flags.exchange {
            from.dir.move_child(&name, moved, &to.dir, &new_name);
            to.dir.move_child(&new_name, replaced, &from.dir, &name);
        } else {
            to.dir.detach(&new_name);
            from.dir.move_child(&name, moved, &to.dir, &new_name);
        }
        Ok(())
    }

    // Opening.

    /// open(2), openat2(2). `flags` of the walk come from openat2's `resolve` ([`WalkFlags::from_resolve`]), plus
    /// O_NOFOLLOW and O_DIRECTORY, which this function adds. Fifos, devices and sockets are permission-checked and
    /// returned: what opening them means is the caller's part (ENXIO for a socket).
    pub fn open(&self, at: &At, path: &[u8], flags: OpenFlags, mode: u32, walk: WalkFlags) -> Result<Opened> {
        use OpenFlags as O;
        if flags.has(O::O_PATH) {
            let walk = WalkFlags { follow: !flags.has(O::O_NOFOLLOW), directory: flags.has(O::O_DIRECTORY), ..walk };
            let location = self.lookup(at, path, walk)?;
            return Ok(Opened { inode: location.inode().clone(), location, created: false });
        }
        let access = flags.access();
        if flags.has(O::O_TMPFILE) {
            if !access.write {
                return Err(Errno::EINVAL);
            }
            let dir =
                self.lookup(at, path, WalkFlags { follow: !flags.has(O::O_NOFOLLOW), directory: true, ..walk })?;
            dir.0.mount.writable()?;
            // Also in a directory that was removed: Linux does not mind.
            at.cred.check(&dir.inode().stat()?, Access::CHANGE)?;
            let new = self.new_node(&dir, at.cred, FileType::Regular, mode)?;
            let inode = dir.inode().create_unlinked(&new, !flags.has(O::O_EXCL))?;
            let replaced = inode.open(access)?;
            let location = Location::unlinked(&dir, inode);
            return Ok(Opened { inode: replaced.unwrap_or_else(|| location.inode().clone()), location, created: true });
        }
        let create = flags.has(O::O_CREAT);
        if create && flags.has(O::O_DIRECTORY) {
            return Err(Errno::EINVAL);
        }
        let exclusive = create && flags.has(O::O_EXCL);
        let walk =
            WalkFlags { follow: !flags.has(O::O_NOFOLLOW) && !exclusive, directory: flags.has(O::O_DIRECTORY), ..walk };
        // A file may appear and vanish between looking and creating; each round is one consistent attempt.
        for _ in 0..100 {
            let (location, created) = if create {
                match self.open_or_create(at, path, mode, walk, exclusive) {
                    Err(Errno::ESTALE) => continue,
                    r => r?,
                }
            } else {
                (self.lookup(at, path, walk)?, false)
            };
            return self.open_location(at, location, flags, created);
        }
        Err(Errno::EAGAIN)
    }

    /// The O_CREAT half of open(2). ESTALE: try again.
    fn open_or_create(
        &self,
        at: &At,
        path: &[u8],
        mode: u32,
        flags: WalkFlags,
        exclusive: bool,
    ) -> Result<(Location, bool)> {
        let mut walk = self.begin(at, path, flags)?;
        loop {
            let p = walk.run_to_last(self)?;
            let name = match p.last {
                Last::Name(name) => name,
                last => {
                    if matches!(last, Last::DotDot) {
                        walk.up()?;
                    }
                    return Err(if exclusive { Errno::EEXIST } else { Errno::EISDIR });
                }
            };
            if p.slash {
                return Err(Errno::EISDIR);
            }
            match walk.step(self, &name) {
                Ok(next) if exclusive => {
                    drop(next);
                    return Err(Errno::EEXIST);
                }
                Ok(next) if next.inode().file_type() == FileType::Symlink && flags.follow => {
                    if let Some(target) = walk.follow(self, &p.dir, &next, false)? {
                        return Ok((target, false));
                    }
                }
                Ok(next) if next.is_dir() => return Err(Errno::EISDIR),
                Ok(next) => {
                    // `may_create_in_sticky`, with fs.protected_regular and fs.protected_fifos off.
                    if !matches!(next.inode().file_type(), FileType::Regular | FileType::Fifo) {
                        let (d, f) = (p.dir.inode().stat()?, next.inode().stat()?);
                        let open_to_all = d.mode & (mode::S_ISVTX | 0o002) == mode::S_ISVTX | 0o002;
                        if open_to_all && f.uid != d.uid && f.uid != at.cred.uid {
                            return Err(Errno::EACCES);
                        }
                    }
                    return Ok((next, false));
                }
                Err(Errno::ENOENT) => {
                    p.dir.0.mount.writable()?;
                    self.may_create(&p.dir, at.cred)?;
                    let new = self.new_node(&p.dir, at.cred, FileType::Regular, mode)?;
                    return match p.dir.inode().create(&name, &new) {
                        Ok(inode) => Ok((p.dir.made(&name, inode), true)),
                        Err(Errno::EEXIST) if !exclusive => Err(Errno::ESTALE),
                        Err(e) => Err(e),
                    };
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// The checks of open(2) on an object that was reached otherwise (also: opening /proc/self/fd/N again, O_PATH
    /// descriptors in execveat). With `created`, permissions and O_TRUNC do not matter.
    pub fn open_location(&self, at: &At, location: Location, flags: OpenFlags, created: bool) -> Result<Opened> {
        let kind = location.inode().file_type();
        let access = flags.access();
        let truncate = flags.has(OpenFlags::O_TRUNC);
        match kind {
            FileType::Symlink => return Err(Errno::ELOOP),
            FileType::Directory if access.write || truncate => return Err(Errno::EISDIR),
            _ => {}
        }
        if flags.has(OpenFlags::O_DIRECTORY) && kind != FileType::Directory {
            return Err(Errno::ENOTDIR);
        }
        if !created {
            let stat = location.inode().stat()?;
            let want = Access { write: access.write || truncate, ..access };
            if want.write && kind == FileType::Regular {
                location.0.mount.writable()?;
            }
            at.cred.check(&stat, want)?;
            if flags.has(OpenFlags::O_NOATIME) && !at.cred.owns(&stat) {
                return Err(Errno::EPERM);
            }
        }
        let replaced = location.inode().open(access)?;
        if truncate && !created && kind == FileType::Regular {
            remove_privileges(location.inode(), at.cred)?;
            location.inode().truncate(0)?;
        }
        Ok(Opened { inode: replaced.unwrap_or_else(|| location.inode().clone()), location, created })
    }

    // Attributes.

    /// stat(2), lstat(2), fstatat(2).
    pub fn stat(&self, at: &At, path: &[u8], flags: WalkFlags) -> Result<Stat> {
        self.lookup(at, path, flags)?.inode().stat()
    }

    /// readlink(2). An empty path means `at.base` (a symbolic link opened with O_PATH | O_NOFOLLOW).
    pub fn readlink(&self, at: &At, path: &[u8]) -> Result<Vec<u8>> {
        let l = self.lookup(at, path, WalkFlags { empty: true, ..WalkFlags::NOFOLLOW })?;
        l.inode().readlink().map_err(|e| if path.is_empty() && e == Errno::EINVAL { Errno::ENOENT } else { e })
    }

    /// access(2), faccessat2(2): build `at.cred` from the real IDs unless AT_EACCESS is given.
    pub fn access(&self, at: &At, path: &[u8], want: Access, flags: WalkFlags) -> Result<()> {
        let l = self.lookup(at, path, flags)?;
        at.cred.check(&l.inode().stat()?, want)?;
        let node = matches!(l.inode().file_type(), FileType::Regular | FileType::Directory | FileType::Symlink);
        if want.write && node { l.0.mount.writable() } else { Ok(()) }
    }

    /// truncate(2).
    pub fn truncate(&self, at: &At, path: &[u8], size: u64) -> Result<()> {
        let l = self.lookup(at, path, WalkFlags::FOLLOW)?;
        match l.inode().file_type() {
            FileType::Regular => {}
            FileType::Directory => return Err(Errno::EISDIR),
            _ => return Err(Errno::EINVAL),
        }
        l.0.mount.writable()?;
        at.cred.check(&l.inode().stat()?, Access::WRITE)?;
        l.inode().open(Access::WRITE)?;
        remove_privileges(l.inode(), at.cred)?;
        // Unlike ftruncate and O_TRUNC, this leaves the times alone when the size stays.
        if l.inode().stat()?.size == size {
            return Ok(());
        }
        l.inode().truncate(size)
    }

    /// chmod(2), fchmod(2) on a walked location.
    pub fn chmod(&self, location: &Location, cred: &Cred, mode: u32) -> Result<()> {
        location.0.mount.writable()?;
        if location.inode().file_type() == FileType::Symlink {
            return Err(Errno::EOPNOTSUPP);
        }
        let stat = location.inode().stat()?;
        if !cred.owns(&stat) {
            return Err(Errno::EPERM);
        }
        let mut mode = mode & mode::ALL;
        if !cred.privileged() && !cred.in_group(stat.gid) {
            mode &= !mode::S_ISGID;
        }
        location.inode().setattr(&SetAttr { mode: Some(mode), ..SetAttr::default() })
    }

    /// chown(2), lchown(2), fchown(2) on a walked location; `None` leaves an ID as it is.
    pub fn chown(&self, location: &Location, cred: &Cred, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        location.0.mount.writable()?;
        let stat = location.inode().stat()?;
        if !cred.privileged() {
            let own = cred.uid == stat.uid;
            if uid.is_some_and(|u| !own || u != stat.uid)
                || gid.is_some_and(|g| !own || (g != stat.gid && !cred.in_group(g)))
            {
                return Err(Errno::EPERM);
            }
        }
        let mut attr = SetAttr { uid, gid, ..SetAttr::default() };
        // Set-ID bits do not survive a change of owner, whoever makes it (man 2 chown).
        if stat.file_type() != FileType::Directory {
            let kept = without_set_ids(stat.mode, cred.privileged() || cred.in_group(stat.gid));
            if kept != stat.mode & mode::ALL {
                // Matters for a chown that changes nothing, which anybody may do.
                if !cred.owns(&stat) {
                    return Err(Errno::EPERM);
                }
                attr.mode = Some(kept);
            }
        }
        location.inode().setattr(&attr)
    }

    /// utimensat(2) on a walked location.
    pub fn utimens(&self, location: &Location, cred: &Cred, atime: SetTime, mtime: SetTime) -> Result<()> {
        if atime == SetTime::Keep && mtime == SetTime::Keep {
            return Ok(());
        }
        location.0.mount.writable()?;
        let stat = location.inode().stat()?;
        if !cred.owns(&stat) {
            if atime != SetTime::Now || mtime != SetTime::Now {
                return Err(Errno::EPERM);
            }
            cred.check(&stat, Access::WRITE)?;
        }
        let now = Timespec::now();
        let value = |t| match t {
            SetTime::Keep => Ok(None),
            SetTime::Now => Ok(Some(now)),
            SetTime::To(t) if t.nsec < 1_000_000_000 => Ok(Some(t)),
            SetTime::To(_) => Err(Errno::EINVAL),
        };
        location.inode().setattr(&SetAttr { atime: value(atime)?, mtime: value(mtime)?, ..SetAttr::default() })
    }
}

impl Walk<'_> {
    /// Goes on to the last component, which is not looked up; `self.here` is its directory then.
    fn run_to_last(&mut self, vfs: &Vfs) -> Result<Parent> {
        let mut absolute = false;
        if self.pos == 0 && self.rest.first() == Some(&b'/') {
            absolute = true;
            if self.flags.beneath {
                return Err(Errno::EXDEV);
            }
            self.go(self.root.clone())?;
        }
        loop {
            let Some(range) = self.component() else {
                // Nothing but slashes: only an absolute path can be that.
                let last = if absolute { Last::Root } else { Last::Dot };
                return Ok(Parent { dir: self.here.clone(), last, slash: true });
            };
            if !self.here.is_dir() {
                return Err(Errno::ENOTDIR);
            }
            self.at.cred.check(&self.here.inode().stat()?, Access::EXEC)?;
            self.pos = range.end;
            let name = self.rest.get(range).unwrap_or(&[]);
            if self.component().is_none() {
                let last = match name {
                    b"." => Last::Dot,
                    b".." => Last::DotDot,
                    _ => Last::Name(name.to_vec()),
                };
                return Ok(Parent { dir: self.here.clone(), last, slash: self.rest.get(self.pos) == Some(&b'/') });
            }
            match name {
                b"." => {}
                b".." => {
                    let up = self.up()?;
                    self.go(up)?;
                }
                _ => {
                    let next = self.step(vfs, name)?;
                    match next.inode().file_type() {
                        FileType::Symlink => {
                            let dir = self.here.clone();
                            if let Some(target) = self.follow(vfs, &dir, &next, false)? {
                                self.here = target;
                                continue;
                            }
                            // `follow` put the target in front of the rest.
                            if self.rest.first() == Some(&b'/') {
                                if self.flags.beneath {
                                    return Err(Errno::EXDEV);
                                }
                                self.go(self.root.clone())?;
                            }
                        }
                        FileType::Directory => self.here = next,
                        _ => return Err(Errno::ENOTDIR),
                    }
                }
            }
        }
    }

    /// Where the next component lies in `rest`.
    fn component(&self) -> Option<std::ops::Range<usize>> {
        let rest = self.rest.get(self.pos..)?;
        let start = rest.iter().position(|&c| c != b'/')?;
        let len = rest.get(start..)?.iter().position(|&c| c == b'/').unwrap_or(rest.len() - start);
        Some(self.pos + start..self.pos + start + len)
    }

    fn go(&mut self, to: Location) -> Result<()> {
        if self.flags.no_xdev && !to.same_mount(&self.here) {
            return Err(Errno::EXDEV);
        }
        self.here = to;
        Ok(())
    }

    /// `..`, which stays at the root.
    fn up(&self) -> Result<Location> {
        if self.here == self.root {
            return if self.flags.beneath { Err(Errno::EXDEV) } else { Ok(self.here.clone()) };
        }
        if self.flags.beneath && self.here == *self.at.base {
            return Err(Errno::EXDEV);
        }
        let up = self.here.parent().unwrap_or_else(|| self.here.clone());
        if self.flags.no_xdev && !up.same_mount(&self.here) {
            return Err(Errno::EXDEV);
        }
        // The parent may be covered by a mount that was made after this walk's start was reached.
        Ok(up.enter_mounts())
    }

    /// Looks `name` up in `self.here` and enters mounts.
    fn step(&self, _vfs: &Vfs, name: &[u8]) -> Result<Location> {
        check_find(&self.here, name)?;
        let next = self.here.child(name)?.enter_mounts();
        if self.flags.no_xdev && !next.same_mount(&self.here) {
            return Err(Errno::EXDEV);
        }
        Ok(next)
    }

    /// Follows the symbolic link `link` in `dir`. `Some`: a magic link's target. `None`: the target's text stands in
    /// front of the rest of the path, and the walk goes on in `dir`.
    fn follow(&mut self, vfs: &Vfs, dir: &Location, link: &Location, slash: bool) -> Result<Option<Location>> {
        if self.links >= MAX_SYMLINKS {
            return Err(Errno::ELOOP);
        }
        self.links += 1;
        if self.flags.no_symlinks {
            return Err(Errno::ELOOP);
        }
        if vfs.protect_symlinks.load(Ordering::Relaxed) {
            let d = dir.inode().stat()?;
            if d.mode & (mode::S_ISVTX | 0o002) == mode::S_ISVTX | 0o002 {
                let l = link.inode().stat()?;
                if l.uid != self.at.cred.uid && l.uid != d.uid {
                    return Err(Errno::EACCES);
                }
            }
        }
        if let Some(target) = link.inode().follow()? {
            if self.flags.no_magic {
                return Err(Errno::ELOOP);
            }
            if self.flags.beneath || self.flags.in_root || (self.flags.no_xdev && !target.same_mount(&self.here)) {
                return Err(Errno::EXDEV);
            }
            return Ok(Some(target));
        }
        let mut text = link.inode().readlink()?;
        if text.is_empty() {
            return Err(Errno::ENOENT);
        }
        match self.rest.get(self.pos..) {
            Some(rest) if !rest.is_empty() => text.extend_from_slice(rest),
            _ if slash => text.push(b'/'),
            _ => {}
        }
        self.rest = text;
        self.pos = 0;
        self.here = dir.clone();
        Ok(None)
    }
}

/// Applies `directory` to the result of a walk.
fn finish(w: Walked, flags: WalkFlags) -> Result<Walked> {
    match &w.target {
        Some(t) if flags.directory && !t.is_dir() => Err(Errno::ENOTDIR),
        _ => Ok(w),
    }
}

/// The entry `name` of `dir`, with the errors in Linux's order.
fn find(dir: &Location, name: &[u8]) -> Result<Arc<dyn Inode>> {
    check_find(dir, name)?;
    dir.inode().lookup(name)
}

fn check_find(dir: &Location, name: &[u8]) -> Result<()> {
    if dir.is_deleted() {
        return Err(Errno::ENOENT);
    }
    if name.len() > NAME_MAX { Err(Errno::ENAMETOOLONG) } else { Ok(()) }
}

/// Permission bits without those that must not survive a change by somebody else: set-user-ID, and set-group-ID where
/// the group may execute, or where the caller is `outside` of the group (`setattr_should_drop_sgid`).
fn without_set_ids(mode: u32, in_group: bool) -> u32 {
    let mut kept = mode & mode::ALL & !mode::S_ISUID;
    if mode & 0o010 != 0 || !in_group {
        kept &= !mode::S_ISGID;
    }
    kept
}

/// Clears set-ID bits before a write (of at least one byte), truncate or fallocate by somebody without privileges
/// (`file_remove_privs`). The caller does this for every change through a descriptor; it costs one `stat`, and nothing
/// for root.
pub fn remove_privileges(inode: &Arc<dyn Inode>, cred: &Cred) -> Result<()> {
    if cred.privileged() || inode.file_type() != FileType::Regular {
        return Ok(());
    }
    let stat = inode.stat()?;
    if stat.mode & (mode::S_ISUID | mode::S_ISGID) == 0 {
        return Ok(());
    }
    let kept = without_set_ids(stat.mode, cred.in_group(stat.gid));
    if kept == stat.mode & mode::ALL {
        return Ok(());
    }
    inode.setattr(&SetAttr { mode: Some(kept), ..SetAttr::default() })
}
