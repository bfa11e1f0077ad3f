//! Walks, mounts and locations.

use megalith_vfs::{
    Access, At, Budget, Cred, DirEntry, Errno, FileSystem, FileType, Inode, InodeId, LayeredFs, Location, OpenFlags,
    RenameFlags, Result, Stat, Vfs, WalkFlags, list_dir,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

fn tmpfs() -> Arc<LayeredFs> {
    LayeredFs::tmpfs(0o755, Budget::unlimited()).expect("tmpfs")
}

struct Here {
    vfs: Vfs,
    root: Location,
    cred: Cred,
}

impl Here {
    fn new() -> Here {
        let vfs = Vfs::new(tmpfs());
        Here { root: vfs.root(), vfs, cred: Cred::root() }
    }
    fn at(&self) -> At<'_> {
        At { root: &self.root, base: &self.root, cred: &self.cred }
    }
    fn mkdir(&self, path: &str) -> Location {
        self.vfs.mkdir(&self.at(), path.as_bytes(), 0o755).expect("mkdir")
    }
    fn create(&self, path: &str) -> Location {
        let flags = OpenFlags(OpenFlags::O_CREAT | OpenFlags::O_RDWR);
        self.vfs.open(&self.at(), path.as_bytes(), flags, 0o644, WalkFlags::FOLLOW).expect("create").location
    }
    fn find(&self, path: &str) -> Result<Location> {
        self.vfs.lookup(&self.at(), path.as_bytes(), WalkFlags::FOLLOW)
    }
    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.vfs.rename(&self.at(), from.as_bytes(), &self.at(), to.as_bytes(), RenameFlags::default())
    }
}

fn path(l: &Location) -> String {
    String::from_utf8(l.path(None)).expect("utf-8")
}

#[test]
fn locations_follow_renames() {
    let h = Here::new();
    h.mkdir("/a");
    let dir = h.mkdir("/a/b");
    let file = h.create("/a/b/f");
    assert_eq!(path(&file), "/a/b/f");
    h.rename("/a", "/z").expect("rename");
    assert_eq!(path(&file), "/z/b/f");
    h.rename("/z/b/f", "/g").expect("rename");
    assert_eq!((path(&file).as_str(), path(&dir).as_str()), ("/g", "/z/b"));
    let other = h.create("/other");
    h.rename("/other", "/g").expect("rename");
    assert_eq!((path(&file).as_str(), path(&other).as_str()), ("/g (deleted)", "/g"));
    assert!(file.is_deleted() && file.inode().stat().expect("stat").nlink == 0);
    assert_eq!(h.find("/g").expect("find"), other);
    h.vfs.rmdir(&h.at(), b"/z/b").expect("rmdir");
    assert_eq!(path(&dir), "/z/b (deleted)");
    assert_eq!(dir.cwd_path(&h.root), Err(Errno::ENOENT));
    // In a removed directory nothing can be made or found, but `..` still works.
    let inside = At { base: &dir, ..h.at() };
    assert_eq!(h.vfs.mkdir(&inside, b"x", 0o755).map(drop), Err(Errno::ENOENT));
    assert_eq!(h.vfs.lookup(&inside, b"x", WalkFlags::FOLLOW).map(drop), Err(Errno::ENOENT));
    assert_eq!(h.vfs.lookup(&inside, b"..", WalkFlags::FOLLOW).map(|l| path(&l)), Ok("/z".into()));
    assert_eq!(dir.inode().readdir(0, 10), Err(Errno::ENOENT));
    // A new directory of that name is another.
    let new = h.mkdir("/z/b");
    assert!(new != dir && !new.is_deleted());
}

#[test]
fn exchange_swaps_the_names_in_use() {
    let h = Here::new();
    h.mkdir("/a");
    h.mkdir("/b");
    let (x, y) = (h.create("/a/x"), h.mkdir("/b/y"));
    let z = h.create("/b/y/z");
    h.vfs
        .rename(&h.at(), b"/a/x", &h.at(), b"/b/y", RenameFlags { exchange: true, noreplace: false })
        .expect("exchange");
    assert_eq!([&x, &y, &z].map(path), ["/b/y", "/a/x", "/a/x/z"]);
    assert_eq!(h.find("/a/x/z").expect("find"), z);
    let inside = At { base: &y, ..h.at() };
    assert_eq!(h.vfs.lookup(&inside, b"..", WalkFlags::FOLLOW).map(|l| path(&l)), Ok("/a".into()));
}

#[test]
fn nobody_leaves_a_root() {
    let h = Here::new();
    let jail = h.mkdir("/jail");
    h.mkdir("/jail/in");
    h.create("/secret");
    h.vfs.symlink(&h.at(), b"/secret", b"/jail/abs").expect("symlink");
    h.vfs.symlink(&h.at(), b"../../../secret", b"/jail/in/rel").expect("symlink");
    let at = At { root: &jail, base: &jail, cred: &h.cred };
    for p in ["/secret", "../secret", "/../../secret", "in/../../secret", "abs", "in/rel", "/in/../..//../secret"] {
        assert_eq!(h.vfs.lookup(&at, p.as_bytes(), WalkFlags::FOLLOW).map(drop), Err(Errno::ENOENT), "{p}");
    }
    assert_eq!(h.vfs.lookup(&at, b"/..", WalkFlags::FOLLOW), Ok(jail.clone()));
    assert_eq!(jail.path(Some(&jail)), b"/");
    let outside = h.find("/secret").expect("find");
    assert_eq!(outside.path(Some(&jail)), b"(unreachable)/secret");
    for (bits, p, e) in [
        (8, "/secret", Errno::EXDEV),
        (8, "..", Errno::EXDEV),
        (8, "abs", Errno::EXDEV),
        (4, "abs", Errno::ELOOP),
        (16, "abs", Errno::ENOENT),
    ] {
        let flags = WalkFlags::from_resolve(bits).expect("flags");
        let at = At { root: &h.root, base: &jail, cred: &h.cred };
        assert_eq!(h.vfs.lookup(&at, p.as_bytes(), flags).map(drop), Err(e), "{bits} {p}");
    }
}

#[test]
fn symbolic_links_end() {
    let h = Here::new();
    h.create("/l0");
    for i in 0..60 {
        h.vfs.symlink(&h.at(), format!("l{i}").as_bytes(), format!("/l{}", i + 1).as_bytes()).expect("symlink");
    }
    h.vfs.symlink(&h.at(), b"loop", b"/loop").expect("symlink");
    assert!(h.find("/l40").is_ok());
    assert_eq!(h.find("/l41").map(drop), Err(Errno::ELOOP));
    assert_eq!(h.find("/loop").map(drop), Err(Errno::ELOOP));
    assert_eq!(h.find("/loop/x").map(drop), Err(Errno::ELOOP));
    // Targets that grow at every step.
    h.vfs.symlink(&h.at(), b"grow/grow/grow", b"/grow").expect("symlink");
    assert_eq!(h.find("/grow").map(drop), Err(Errno::ELOOP));
}

#[test]
fn mounts_cover_and_uncover() {
    let h = Here::new();
    h.mkdir("/mnt");
    h.create("/mnt/below");
    assert_eq!(h.vfs.mount(b"/nowhere", tmpfs(), false).map(drop), Err(Errno::ENOENT));
    h.vfs.mount(b"/mnt", tmpfs(), false).expect("mount");
    assert_eq!(h.find("/mnt/below").map(drop), Err(Errno::ENOENT));
    let f = h.create("/mnt/f");
    assert_eq!(path(&f), "/mnt/f");
    assert_eq!(h.find("/mnt/../mnt/f").expect("find"), f);
    assert_ne!(h.find("/mnt").expect("find").inode().id().dev, h.root.inode().id().dev);
    assert_eq!(h.rename("/mnt/f", "/f"), Err(Errno::EXDEV));
    assert_eq!(h.vfs.link(&h.at(), b"/mnt/f", WalkFlags::FOLLOW, &h.at(), b"/f"), Err(Errno::EXDEV));
    assert_eq!(h.vfs.rmdir(&h.at(), b"/mnt"), Err(Errno::EBUSY));
    assert_eq!(h.rename("/mnt", "/m"), Err(Errno::EBUSY));
    h.mkdir("/d");
    assert_eq!(h.rename("/d", "/mnt"), Err(Errno::EBUSY));
    let flags = WalkFlags::from_resolve(1).expect("flags");
    assert_eq!(h.vfs.lookup(&h.at(), b"/mnt", flags).map(drop), Err(Errno::EXDEV));
    // A second one on top, then read-only ones, with mount points that are made.
    h.vfs.mount(b"/mnt", tmpfs(), true).expect("mount");
    assert_eq!(h.find("/mnt/f").map(drop), Err(Errno::ENOENT));
    assert_eq!(h.vfs.mkdir(&h.at(), b"/mnt/x", 0o755).map(drop), Err(Errno::EROFS));
    h.vfs.unmount(b"/mnt").expect("unmount");
    assert_eq!(h.find("/mnt/f").expect("find"), f);
    h.vfs.mount_creating(b"/x//y/z/", tmpfs(), false).expect("mount");
    h.vfs.mount(b"/x/y/z/.", tmpfs(), false).expect("on top");
    assert_eq!(
        h.vfs.mounts().iter().map(|m| String::from_utf8_lossy(&m.path).into_owned()).collect::<Vec<_>>(),
        ["/", "/mnt", "/x/y/z", "/x/y/z"]
    );
    h.mkdir("/mnt/in");
    h.vfs.mount(b"/mnt/in", tmpfs(), false).expect("mount");
    assert_eq!(h.vfs.unmount(b"/mnt"), Err(Errno::EBUSY));
    h.vfs.unmount(b"/mnt/in").expect("unmount");
    h.vfs.unmount(b"/mnt").expect("unmount");
    assert_eq!(h.vfs.unmount(b"/mnt"), Err(Errno::EINVAL));
    assert!(h.find("/mnt/below").is_ok());
    // What was open still is.
    assert_eq!(f.inode().write_at(0, b"x"), Ok(1));
    h.vfs.rmdir(&h.at(), b"/d").expect("rmdir");
}

/// A directory with one magic link, `fd`.
struct Proc {
    dev: u64,
    target: Mutex<Option<Location>>,
}
struct ProcFs(Arc<Proc>);
struct Magic(Option<Location>);

impl FileSystem for ProcFs {
    fn root(&self) -> Arc<dyn Inode> {
        self.0.clone()
    }
    fn name(&self) -> &str {
        "proc"
    }
}
impl Inode for Proc {
    fn id(&self) -> InodeId {
        InodeId { dev: self.dev, ino: 1 }
    }
    fn file_type(&self) -> FileType {
        FileType::Directory
    }
    fn stat(&self) -> Result<Stat> {
        Ok(Stat { dev: self.dev, ino: 1, mode: 0o40555, nlink: 2, ..Stat::default() })
    }
    fn lookup(&self, name: &[u8]) -> Result<Arc<dyn Inode>> {
        if name == b"fd" { Ok(Arc::new(Magic(self.target.lock().expect("lock").clone()))) } else { Err(Errno::ENOENT) }
    }
    fn readdir(&self, cursor: u64, max: usize) -> Result<Vec<DirEntry>> {
        Ok(list_dir(1, 1, [(0, b"fd".to_vec(), 2, FileType::Symlink)], cursor, max))
    }
}
impl Inode for Magic {
    fn id(&self) -> InodeId {
        InodeId { dev: 77, ino: 2 }
    }
    fn file_type(&self) -> FileType {
        FileType::Symlink
    }
    fn stat(&self) -> Result<Stat> {
        Ok(Stat { dev: 77, ino: 2, mode: 0o120777, nlink: 1, ..Stat::default() })
    }
    fn readlink(&self) -> Result<Vec<u8>> {
        self.0.as_ref().map(|l| l.path(None)).ok_or(Errno::ENOENT)
    }
    fn follow(&self) -> Result<Option<Location>> {
        Ok(Some(self.0.clone().ok_or(Errno::ENOENT)?))
    }
}

#[test]
fn magic_links_lead_to_the_object() {
    let h = Here::new();
    let proc_dir = Arc::new(Proc { dev: 77, target: Mutex::new(None) });
    h.vfs.mount_creating(b"/proc", Arc::new(ProcFs(proc_dir.clone())), false).expect("mount");
    let f = h.create("/f");
    f.inode().write_at(0, b"still here").expect("write");
    *proc_dir.target.lock().expect("lock") = Some(f.clone());
    h.vfs.unlink(&h.at(), b"/f").expect("unlink");
    assert_eq!(h.vfs.readlink(&h.at(), b"/proc/fd").expect("readlink"), b"/f (deleted)");
    let o = h.vfs.open(&h.at(), b"/proc/fd", OpenFlags(0), 0, WalkFlags::FOLLOW).expect("open");
    assert_eq!(o.location, f);
    assert_eq!(o.inode.read_all(100).expect("read"), b"still here");
    assert_eq!(h.find("/proc/fd/x").map(drop), Err(Errno::ENOTDIR));
    let resolve = WalkFlags::from_resolve(2).expect("flags");
    assert_eq!(h.vfs.lookup(&h.at(), b"/proc/fd", resolve).map(drop), Err(Errno::ELOOP));
    // A directory, an object without a place, and nothing.
    let d = h.mkdir("/d");
    h.create("/d/x");
    *proc_dir.target.lock().expect("lock") = Some(d.clone());
    assert_eq!(h.find("/proc/fd/x").map(|l| path(&l)), Ok("/d/x".into()));
    assert_eq!(h.find("/proc/fd/").expect("find"), d);
    *proc_dir.target.lock().expect("lock") = Some(Location::anonymous(f.inode().clone(), b"pipe:[5]"));
    assert_eq!(h.vfs.readlink(&h.at(), b"/proc/fd").expect("readlink"), b"pipe:[5]");
    assert_eq!(h.find("/proc/fd").expect("find").inode().id(), f.inode().id());
    *proc_dir.target.lock().expect("lock") = None;
    assert_eq!(h.find("/proc/fd").map(drop), Err(Errno::ENOENT));
    let names: Vec<_> =
        h.find("/proc").expect("find").inode().readdir(0, 10).expect("readdir").into_iter().map(|e| e.name).collect();
    assert_eq!(names, [&b"."[..], b"..", b"fd"]);
}

#[test]
fn deep_trees_do_not_use_the_stack() {
    let h = Here::new();
    let mut dirs = vec![h.root.clone()];
    for _ in 0..50_000 {
        let here = dirs.pop().expect("one");
        let at = At { base: &here, ..h.at() };
        dirs.push(h.vfs.mkdir(&at, b"dir", 0o755).expect("mkdir"));
    }
    let deepest = dirs.pop().expect("one");
    assert_eq!(deepest.path(None).len(), 4 * 50_000);
    let at = At { base: &deepest, ..h.at() };
    // Moving the top below the bottom is noticed.
    assert_eq!(h.vfs.rename(&h.at(), b"/dir", &at, b"x", RenameFlags::default()), Err(Errno::EINVAL));
    h.rename("/dir", "/top").expect("rename");
    assert!(deepest.path(None).starts_with(b"/top/dir/"));
    drop(deepest);
    drop(h);
}

#[test]
fn permissions_are_checked_on_the_way() {
    let h = Here::new();
    h.mkdir("/closed");
    h.create("/closed/f");
    h.vfs.chmod(&h.find("/closed").expect("find"), &h.cred, 0o700).expect("chmod");
    let user = Cred::new(1000, 1000, &[50]);
    let at = At { cred: &user, ..h.at() };
    assert_eq!(h.vfs.lookup(&at, b"/closed/f", WalkFlags::FOLLOW).map(drop), Err(Errno::EACCES));
    assert_eq!(h.vfs.lookup(&at, b"/closed/..", WalkFlags::FOLLOW).map(drop), Err(Errno::EACCES));
    assert_eq!(h.vfs.open(&at, b"/closed", OpenFlags(0), 0, WalkFlags::FOLLOW).map(drop), Err(Errno::EACCES));
    assert!(h.vfs.stat(&at, b"/closed", WalkFlags::FOLLOW).is_ok());
    assert_eq!(h.vfs.mkdir(&at, b"/x", 0o755).map(drop), Err(Errno::EACCES));
    // By group, and not by others' rights when the group has none.
    let dir = h.find("/closed").expect("find");
    h.vfs.chown(&dir, &h.cred, None, Some(50)).expect("chown");
    h.vfs.chmod(&dir, &h.cred, 0o750).expect("chmod");
    assert!(h.vfs.lookup(&at, b"/closed/f", WalkFlags::FOLLOW).is_ok());
    h.vfs.chmod(&dir, &h.cred, 0o707).expect("chmod");
    assert_eq!(h.vfs.lookup(&at, b"/closed/f", WalkFlags::FOLLOW).map(drop), Err(Errno::EACCES));
    // Root executes nothing that nobody may execute.
    assert_eq!(h.vfs.access(&h.at(), b"/closed/f", Access::EXEC, WalkFlags::FOLLOW), Err(Errno::EACCES));
}

#[test]
fn walks_and_renames_run_side_by_side() {
    let h = Arc::new(Here::new());
    h.mkdir("/a");
    h.mkdir("/b");
    h.mkdir("/a/d");
    h.mkdir("/a/d/e");
    h.create("/a/d/e/f");
    let stop = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    for i in 0..2 {
        let (h, stop) = (h.clone(), stop.clone());
        threads.push(std::thread::spawn(move || {
            for _ in 0..20_000 {
                // Both fight for one directory; one of the two moves is there at any time.
                let (x, y) = if i == 0 { ("/a/d", "/b/d") } else { ("/b/d", "/a/d") };
                match h.rename(x, y) {
                    Ok(()) | Err(Errno::ENOENT) => {}
                    Err(e) => panic!("{e}"),
                }
            }
            stop.store(true, Ordering::Relaxed);
        }));
    }
    for _ in 0..2 {
        let (h, stop) = (h.clone(), stop.clone());
        threads.push(std::thread::spawn(move || {
            let mut found = 0;
            while !stop.load(Ordering::Relaxed) {
                for p in ["/a/d/e/f", "/b/d/e/f"] {
                    match h.find(p) {
                        Ok(l) => {
                            found += 1;
                            let p = path(&l);
                            assert!(p == "/a/d/e/f" || p == "/b/d/e/f", "{p}");
                            // From inside, `..` leads to where the directory is, and never out.
                            let up = h.vfs.lookup(
                                &At { base: &h.find("/").expect("root"), ..h.at() },
                                b"a/../b/../..",
                                WalkFlags::FOLLOW,
                            );
                            assert_eq!(up, Ok(h.root.clone()));
                        }
                        Err(Errno::ENOENT) => {}
                        Err(e) => panic!("{e}"),
                    }
                }
            }
            assert!(found > 0);
        }));
    }
    for t in threads {
        t.join().expect("thread");
    }
    // Afterwards the names in use are those of the file system.
    let l = h.find("/a/d/e/f").or_else(|_| h.find("/b/d/e/f")).expect("it is in one of the two");
    assert_eq!(h.find(&path(&l)).expect("find"), l);
}
