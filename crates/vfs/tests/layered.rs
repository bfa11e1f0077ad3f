//! The layered file system: copy-up, whiteouts, hard links, space, checks of sealed contents, what the exec gate is
//! told.

mod common;

use common::MemTree;
use megalith_vfs::{
    Access, At, Budget, ContentClass, Corrupt, Cred, Errno, FileSystem, FileType, Inode, LayeredFs, LayeredOptions,
    NewNode, OpenFlags, RenameFlags, Result, SetAttr, SetTime, Vfs, WalkFlags,
};
use sha2::{Digest, Sha256};
use std::sync::{Arc, Mutex};

const NEW: NewNode = NewNode { mode: 0o644, uid: 0, gid: 0 };

/// A lower layer:
/// /etc/{hosts,passwd}, /etc/same = /bin/same (hard link), /bin/{tool,sh -> tool}, /lib/deep/er/file, /empty/
fn lower() -> MemTree {
    let mut t = MemTree::new();
    let etc = t.dir(0, b"etc");
    t.file(etc, b"hosts", b"127.0.0.1 localhost\n");
    t.file(etc, b"passwd", b"root:x:0:0:\n");
    let bin = t.dir(0, b"bin");
    t.file(bin, b"tool", &[7; 10_000]);
    t.link(bin, b"sh", b"tool");
    let same = t.file(etc, b"same", b"same bytes");
    t.name(bin, b"same", same);
    let lib = t.dir(0, b"lib");
    let deep = t.dir(lib, b"deep");
    let er = t.dir(deep, b"er");
    t.file(er, b"file", b"content");
    t.dir(0, b"empty");
    t
}

struct Container {
    vfs: Vfs,
    budget: Arc<Budget>,
    reports: Arc<Mutex<Vec<Corrupt>>>,
}

fn setup(lower: Option<Arc<MemTree>>, limit: u64, read_only: bool) -> Container {
    let budget = Budget::new(limit);
    let reports = Arc::new(Mutex::new(Vec::new()));
    let log = reports.clone();
    let fs = LayeredFs::new(LayeredOptions {
        lower: lower.map(|l| l as Arc<dyn megalith_vfs::LowerTree>),
        budget: budget.clone(),
        read_only,
        on_corrupt: Some(Box::new(move |c| log.lock().expect("lock").push(*c))),
        ..LayeredOptions::default()
    });
    Container { vfs: Vfs::new(fs.expect("file system")), budget, reports }
}

impl Container {
    fn new() -> Container {
        setup(Some(lower().seal()), u64::MAX, false)
    }
    fn at<T>(&self, f: impl FnOnce(&Vfs, &At) -> T) -> T {
        let (root, cred) = (self.vfs.root(), Cred::root());
        f(&self.vfs, &At { root: &root, base: &root, cred: &cred })
    }
    fn inode(&self, path: &str) -> Result<Arc<dyn Inode>> {
        self.at(|v, at| Ok(v.lookup(at, path.as_bytes(), WalkFlags::NOFOLLOW)?.inode().clone()))
    }
    fn read(&self, path: &str) -> Result<Vec<u8>> {
        self.at(|v, at| v.open(at, path.as_bytes(), OpenFlags(0), 0, WalkFlags::FOLLOW)?.inode.read_all(1 << 20))
    }
    fn write(&self, path: &str, data: &[u8]) -> Result<usize> {
        let flags = OpenFlags(OpenFlags::O_CREAT | OpenFlags::O_TRUNC | OpenFlags::O_WRONLY);
        self.at(|v, at| v.open(at, path.as_bytes(), flags, 0o644, WalkFlags::FOLLOW)?.inode.write_at(0, data))
    }
    fn rename(&self, from: &str, to: &str, exchange: bool) -> Result<()> {
        self.at(|v, at| v.rename(at, from.as_bytes(), at, to.as_bytes(), RenameFlags { exchange, noreplace: false }))
    }
    fn unlink(&self, path: &str) -> Result<()> {
        self.at(|v, at| v.unlink(at, path.as_bytes()))
    }
    fn rmdir(&self, path: &str) -> Result<()> {
        self.at(|v, at| v.rmdir(at, path.as_bytes()))
    }
    fn mkdir(&self, path: &str) -> Result<()> {
        self.at(|v, at| v.mkdir(at, path.as_bytes(), 0o755).map(drop))
    }
    fn list(&self, path: &str) -> Vec<String> {
        let dir = self.inode(path).expect("directory");
        let (mut names, mut cursor) = (Vec::new(), 0);
        loop {
            // One at a time: every cursor is used.
            let some = dir.readdir(cursor, 1).expect("readdir");
            let Some(e) = some.first() else { break };
            assert_eq!(some.len(), 1);
            names.push(String::from_utf8_lossy(&e.name).into_owned());
            cursor = e.next;
        }
        assert_eq!(names.iter().filter(|n| *n == "." || *n == "..").count(), 2);
        names.retain(|n| n != "." && n != "..");
        names.sort();
        names
    }
}

#[test]
fn lower_files_are_seen_as_they_are() {
    let b = Container::new();
    assert_eq!(b.list("/"), ["bin", "empty", "etc", "lib"]);
    assert_eq!(b.list("/bin"), ["same", "sh", "tool"]);
    assert_eq!(b.read("/bin/sh").expect("read"), [7; 10_000]);
    let s = b.inode("/bin/tool").and_then(|i| i.stat()).expect("stat");
    assert_eq!((s.mode, s.nlink, s.size, s.blocks, s.mtime.sec), (0o100644, 1, 10_000, 24, 1_000_000));
    assert_eq!(b.inode("/").and_then(|i| i.stat()).expect("stat").nlink, 6);
    assert_eq!(b.inode("/bin/sh").and_then(|i| i.readlink()).expect("readlink"), b"tool");
    assert_eq!(b.budget.used(), 0, "looking costs nothing");
}

#[test]
fn hard_links_stay_together_when_copied_up() {
    let b = Container::new();
    let before = b.inode("/etc/same").and_then(|i| i.stat()).expect("stat");
    assert_eq!(before.nlink, 2);
    assert_eq!(b.inode("/bin/same").expect("inode").write_at(5, b"BYTES and more"), Ok(14));
    assert_eq!(b.read("/etc/same").expect("read"), b"same BYTES and more");
    let after = b.inode("/etc/same").and_then(|i| i.stat()).expect("stat");
    assert_eq!((after.ino, after.nlink, after.size), (before.ino, 2, 19));
    b.unlink("/bin/same").expect("unlink");
    assert_eq!(b.inode("/etc/same").and_then(|i| i.stat()).expect("stat").nlink, 1);
    assert_eq!(b.read("/etc/same").expect("read"), b"same BYTES and more");
    b.unlink("/etc/same").expect("unlink");
    assert_eq!(b.read("/etc/same"), Err(Errno::ENOENT));
}

#[test]
fn inode_numbers_survive_copy_up_and_rename() {
    let b = Container::new();
    let ino = |p| b.inode(p).expect("inode").id();
    let before = ino("/bin/tool");
    b.inode("/bin/tool").and_then(|i| i.setattr(&SetAttr { mode: Some(0o755), ..SetAttr::default() })).expect("chmod");
    assert_eq!(ino("/bin/tool"), before);
    b.inode("/bin/tool").and_then(|i| i.truncate(5)).expect("truncate");
    b.rename("/bin/tool", "/lib/deep/tool", false).expect("rename");
    assert_eq!(ino("/lib/deep/tool"), before);
    assert_eq!(b.read("/lib/deep/tool").expect("read"), [7; 5]);
    let s = b.inode("/lib/deep/tool").and_then(|i| i.stat()).expect("stat");
    assert_eq!((s.mode & 0o7777, s.size), (0o755, 5));
}

#[test]
fn removed_lower_names_stay_away_and_new_directories_are_opaque() {
    let b = Container::new();
    assert_eq!(b.rmdir("/lib/deep"), Err(Errno::ENOTEMPTY));
    b.unlink("/lib/deep/er/file").expect("unlink");
    b.rmdir("/lib/deep/er").expect("rmdir");
    assert!(b.list("/lib/deep").is_empty());
    b.rmdir("/lib/deep").expect("rmdir");
    assert!(b.list("/lib").is_empty());
    assert_eq!(b.inode("/lib/deep").map(drop), Err(Errno::ENOENT));
    b.mkdir("/lib/deep").expect("mkdir");
    assert_eq!(b.list("/lib"), ["deep"]);
    assert!(b.list("/lib/deep").is_empty(), "what was below must not shine through");
    assert_eq!(b.inode("/lib").and_then(|i| i.stat()).expect("stat").nlink, 3);
    b.unlink("/etc/hosts").expect("unlink");
    assert_eq!(b.write("/etc/hosts", b"new"), Ok(3));
    assert_eq!(b.list("/etc"), ["hosts", "passwd", "same"]);
    assert_eq!(b.read("/etc/hosts").expect("read"), b"new");
}

#[test]
fn lower_directories_move_as_a_whole() {
    let b = Container::new();
    b.rename("/lib/deep", "/etc/moved", false).expect("rename");
    assert!(b.list("/lib").is_empty());
    assert_eq!(b.read("/etc/moved/er/file").expect("read"), b"content");
    assert_eq!(b.read("/lib/deep/er/file"), Err(Errno::ENOENT));
    // A new directory of the old name is another one.
    b.mkdir("/lib/deep").expect("mkdir");
    assert!(b.list("/lib/deep").is_empty());
    b.write("/etc/moved/er/more", b"x").expect("write");
    b.rename("/etc/moved/er", "/lib/deep/er", false).expect("rename");
    assert_eq!(b.list("/lib/deep/er"), ["file", "more"]);
    assert_eq!(b.rename("/lib", "/lib/deep/er/lib", false), Err(Errno::EINVAL));
    assert_eq!(b.rename("/lib/deep/er", "/lib", false), Err(Errno::ENOTEMPTY));
    b.rename("/bin", "/empty", false).expect("an empty directory is replaced");
    assert_eq!(b.list("/"), ["empty", "etc", "lib"]);
    b.rename("/empty/tool", "/lib", true).expect("exchange");
    assert_eq!(b.list("/empty/tool/deep/er"), ["file", "more"]);
    assert_eq!(b.read("/lib").expect("read").len(), 10_000);
    assert_eq!(b.inode("/").and_then(|i| i.stat()).expect("stat").nlink, 4);
}

#[test]
fn a_loop_of_readdir_and_rename_ends() {
    let b = Container::new();
    for i in 0..50 {
        b.write(&format!("/etc/f{i}"), b"").expect("write");
    }
    let dir = b.inode("/etc").expect("inode");
    let (mut cursor, mut seen) = (0, 0);
    while let Some(e) = dir.readdir(cursor, 1).expect("readdir").pop() {
        cursor = e.next;
        seen += 1;
        assert!(seen < 200, "the same entries come back for ever");
        if e.file_type == FileType::Regular {
            let name = String::from_utf8_lossy(&e.name).into_owned();
            b.rename(&format!("/etc/{name}"), &format!("/etc/{name}.bak"), false).expect("rename");
        }
    }
    assert!(b.list("/etc").iter().all(|n| n.ends_with(".bak")));
}

#[test]
fn read_only_refuses_every_change() {
    let b = setup(Some(lower().seal()), u64::MAX, true);
    assert_eq!(b.read("/etc/hosts").expect("read"), b"127.0.0.1 localhost\n");
    assert_eq!(b.write("/etc/hosts", b"x"), Err(Errno::EROFS));
    assert_eq!(b.write("/etc/new", b"x"), Err(Errno::EROFS));
    assert_eq!(b.mkdir("/new"), Err(Errno::EROFS));
    assert_eq!(b.mkdir("/etc"), Err(Errno::EEXIST));
    assert_eq!(b.unlink("/etc/hosts"), Err(Errno::EROFS));
    assert_eq!(b.rmdir("/empty"), Err(Errno::EROFS));
    assert_eq!(b.rename("/empty", "/e", false), Err(Errno::EROFS));
    b.at(|v, at| {
        let l = v.lookup(at, b"/etc/hosts", WalkFlags::FOLLOW).expect("lookup");
        assert_eq!(v.chmod(&l, at.cred, 0o600), Err(Errno::EROFS));
        assert_eq!(v.chown(&l, at.cred, Some(1), None), Err(Errno::EROFS));
        assert_eq!(v.utimens(&l, at.cred, SetTime::Now, SetTime::Now), Err(Errno::EROFS));
        assert_eq!(v.link(at, b"/etc/hosts", WalkFlags::FOLLOW, at, b"/h"), Err(Errno::EROFS));
        assert_eq!(v.symlink(at, b"x", b"/h").map(drop), Err(Errno::EROFS));
        assert_eq!(v.access(at, b"/etc/hosts", Access::WRITE, WalkFlags::FOLLOW), Err(Errno::EROFS));
    });
    let i = b.inode("/etc/hosts").expect("inode");
    // Also without the checks in front.
    assert_eq!(i.write_at(0, b"x"), Err(Errno::EROFS));
    assert_eq!(i.truncate(0), Err(Errno::EROFS));
    assert_eq!(i.map_source(true).map(drop), Err(Errno::EROFS));
    assert!(matches!(i.content_class(), Ok(ContentClass::Sealed { .. })));
}

#[test]
fn space_is_limited_and_given_back() {
    let b = setup(Some(lower().seal()), 1 << 20, false);
    let big = vec![1u8; 4 << 20];
    let n = b.write("/big", &big).expect("a part fits");
    assert!(n > 900_000 && n < 1 << 20, "{n}");
    assert_eq!(b.inode("/big").expect("inode").write_at(n as u64, &big), Err(Errno::ENOSPC));
    assert_eq!(b.read("/big").expect("read").len(), n);
    // Removing works when nothing is left, also where it takes a whiteout.
    b.unlink("/etc/hosts").expect("unlink");
    b.unlink("/big").expect("unlink");
    assert!(b.budget.used() < 4096, "{}", b.budget.used());
    // Copying up counts, holes do not.
    b.inode("/bin/tool").expect("inode").write_at(0, b"x").expect("write");
    assert!(b.budget.used() > 10_000);
    b.write("/sparse", b"").expect("create");
    let sparse = b.inode("/sparse").expect("inode");
    sparse.truncate(1 << 40).expect("a hole of 1 TiB");
    assert_eq!(sparse.write_at(1 << 39, b"data"), Ok(4));
    assert!(b.budget.used() < 100_000, "{}", b.budget.used());
    assert_eq!(sparse.seek_data(0, true), Ok(1 << 39));
    let mut buf = [9; 8];
    assert_eq!(sparse.read_at((1 << 39) - 2, &mut buf), Ok(8));
    assert_eq!(&buf, b"\0\0data\0\0");
    assert_eq!(sparse.fallocate(0, 0, 1 << 30), Err(Errno::ENOSPC));
    // Names cost too.
    let mut made = 0;
    let e = loop {
        match b.write(&format!("/f{made}"), b"") {
            Ok(_) => made += 1,
            Err(e) => break e,
        }
    };
    assert_eq!(e, Errno::ENOSPC);
    assert!(made > 500 && made < 2000, "{made}");
    // An open file lives on without a name, and pays until it is closed.
    drop(sparse);
    b.unlink("/f0").expect("unlink");
    b.write("/keep", &[0; 100]).expect("write");
    let open = b.inode("/keep").expect("inode");
    b.unlink("/keep").expect("unlink");
    assert_eq!(open.stat().expect("stat").nlink, 0);
    assert_eq!(open.read_all(1000).expect("read").len(), 100);
    let with = b.budget.used();
    drop(open);
    assert!(b.budget.used() < with);
    let budget = b.budget.clone();
    drop(b);
    assert_eq!(budget.used(), 0);
}

#[test]
fn sealed_bytes_are_checked_at_first_use() {
    let mut t = lower();
    let bad = t.file(0, b"bad", b"as built");
    t.entries[bad as usize].data = b"As built".to_vec();
    let b = setup(Some(t.seal()), u64::MAX, false);
    assert_eq!(b.read("/bad"), Err(Errno::EIO));
    assert_eq!(b.read("/bad"), Err(Errno::EIO));
    let i = b.inode("/bad").expect("inode");
    assert_eq!(i.stat().expect("stat").size, 8);
    assert_eq!(i.read_at(0, &mut [0; 4]), Err(Errno::EIO));
    assert_eq!(i.content_class(), Err(Errno::EIO));
    assert_eq!(i.map_source(false).map(drop), Err(Errno::EIO));
    assert_eq!(i.write_at(0, b"x"), Err(Errno::EIO), "nothing bad is copied up");
    let reports = b.reports.lock().expect("lock").clone();
    assert_eq!(reports.len(), 1, "one report");
    assert_eq!(reports[0].inode, bad);
    assert_eq!(reports[0].found, <[u8; 32]>::from(Sha256::digest(b"As built")));
    // Who replaces all of it needs nothing of the old bytes.
    assert_eq!(b.write("/bad", b"good again"), Ok(10));
    assert_eq!(b.read("/bad").expect("read"), b"good again");
    assert_eq!(b.read("/etc/hosts").expect("read").len(), 20);
}

#[test]
fn the_gate_is_told_what_can_have_changed() {
    let b = Container::new();
    let i = b.inode("/etc/hosts").expect("inode");
    let hash: [u8; 32] = Sha256::digest(b"127.0.0.1 localhost\n").into();
    assert_eq!(i.content_class(), Ok(ContentClass::Sealed { hash }));
    // Attributes and names are not contents.
    i.setattr(&SetAttr { mode: Some(0o755), ..SetAttr::default() }).expect("chmod");
    b.rename("/etc/hosts", "/bin/hosts", false).expect("rename");
    assert_eq!(i.content_class(), Ok(ContentClass::Sealed { hash }));
    let class = || match i.content_class() {
        Ok(ContentClass::Private { generation }) => generation,
        other => panic!("{other:?}"),
    };
    i.write_at(3, b"").expect("nothing");
    assert_eq!(i.content_class(), Ok(ContentClass::Sealed { hash }), "nothing was written");
    i.write_at(3, b"x").expect("write");
    let mut last = class();
    assert_eq!(class(), last, "asking and reading change nothing");
    i.read_all(100).expect("read");
    i.map_source(false).expect("a private mapping");
    assert_eq!(class(), last);
    type Change = fn(&Arc<dyn Inode>);
    let changes: [Change; 4] = [
        |i| assert_eq!(i.write_at(0, b"y"), Ok(1)),
        |i| assert_eq!(i.append(b"y"), Ok((20, 1))),
        |i| i.truncate(4).expect("truncate"),
        |i| i.fallocate(3, 0, 2).expect("punch"),
    ];
    for change in changes {
        change(&i);
        assert_ne!(class(), last);
        last = class();
    }
    i.map_source(true).expect("a shared writable mapping");
    let a = class();
    assert!(a != last && class() != a, "every answer is a new one from here on");
    // New files, too.
    b.write("/new", b"#!/bin/sh\n").expect("write");
    assert!(matches!(b.inode("/new").expect("inode").content_class(), Ok(ContentClass::Private { .. })));
    assert_eq!(b.inode("/new").expect("inode").read_all(9), Err(Errno::EFBIG));
    assert_eq!(b.inode("/new").expect("inode").read_all(10).expect("read").len(), 10);
}

#[test]
fn mappings_see_the_files_bytes() {
    let b = Container::new();
    let i = b.inode("/bin/tool").expect("inode");
    let m = i.map_source(false).expect("map");
    assert!(m.sealed && m.offset.is_multiple_of(4096) && m.len == 10_000);
    let mut buf = [0; 100];
    rustix::io::pread(&m.fd, &mut buf, m.offset + 9_900).expect("pread");
    assert_eq!(buf, [7; 100]);
    // A writable shared mapping is of a copy.
    let w = i.map_source(true).expect("map");
    assert!(!w.sealed && w.offset == 0 && w.len == 10_000);
    rustix::io::pwrite(&w.fd, b"from a mapping", 20).expect("pwrite");
    assert_eq!(&b.read("/bin/tool").expect("read")[18..36], b"\x07\x07from a mapping\x07\x07");
    rustix::io::pread(&m.fd, &mut buf, m.offset).expect("pread");
    assert_eq!(buf, [7; 100], "the sealed bytes are as they were");
    i.write_at(0, b"write").expect("write");
    rustix::io::pread(&w.fd, &mut buf[..5], 0).expect("pread");
    assert_eq!(&buf[..5], b"write");
    i.truncate(100).expect("truncate");
    assert_eq!(rustix::fs::fstat(&w.fd).expect("fstat").st_size, 100, "pages past the end must fault");
    assert_eq!(b.inode("/etc").expect("inode").map_source(false).map(drop), Err(Errno::ENODEV));
}

#[test]
fn links_and_unnamed_files_keep_to_their_rules() {
    let b = Container::new();
    b.at(|v, at| {
        let tmp = v
            .open(at, b"/etc", OpenFlags(OpenFlags::O_TMPFILE | OpenFlags::O_RDWR), 0o600, WalkFlags::FOLLOW)
            .expect("tmpfile");
        assert!(tmp.created && tmp.location.is_deleted());
        tmp.inode.write_at(0, b"unnamed").expect("write");
        let by_fd = At { base: &tmp.location, ..*at };
        v.link(&by_fd, b"", WalkFlags { empty: true, ..WalkFlags::NOFOLLOW }, at, b"/etc/named").expect("link");
        assert_eq!(tmp.inode.stat().expect("stat").nlink, 1);
        // Once a file has lost its last name it gets none again.
        v.unlink(at, b"/etc/named").expect("unlink");
        let e = v.link(&by_fd, b"", WalkFlags { empty: true, ..WalkFlags::NOFOLLOW }, at, b"/etc/named");
        assert_eq!(e, Err(Errno::ENOENT));
        let other = LayeredFs::tmpfs(0o755, Budget::unlimited()).expect("tmpfs");
        assert_eq!(other.root().link(b"x", &b.inode("/etc/hosts").expect("inode")), Err(Errno::EXDEV));
        assert_eq!(v.link(at, b"/etc", WalkFlags::NOFOLLOW, at, b"/e"), Err(Errno::EPERM));
    });
}

#[test]
fn hostile_names_are_refused() {
    let b = Container::new();
    let root = b.inode("/").expect("inode");
    for (name, e) in [
        (&b""[..], Errno::EINVAL),
        (b".", Errno::EINVAL),
        (b"..", Errno::EINVAL),
        (b"a/b", Errno::EINVAL),
        (b"a\0b", Errno::EINVAL),
        (&[b'n'; 256], Errno::ENAMETOOLONG),
    ] {
        assert_eq!(root.create(name, &NEW).map(drop), Err(e), "{name:?}");
        assert_eq!(root.mkdir(name, &NEW).map(drop), Err(e));
        assert_eq!(root.link(name, &b.inode("/etc/hosts").expect("inode")), Err(e));
        assert_eq!(root.rename(b"etc", &root, name, RenameFlags::default()), Err(e));
        assert!(root.lookup(name).is_err() && root.unlink(name).is_err() && root.rmdir(name).is_err());
    }
    assert_eq!(root.create(&[0xff; 255], &NEW).map(drop), Ok(()));
    assert_eq!(b.mkdir("/a\0b"), Err(Errno::EINVAL));
    assert_eq!(b.mkdir(&format!("/{}", "x/".repeat(2048))), Err(Errno::ENAMETOOLONG));
    assert_eq!(b.inode(&"../".repeat(1300)).map(|i| i.id()), Ok(root.id()));
    assert_eq!(root.write_at(0, b"x"), Err(Errno::EISDIR));
    let f = b.inode("/etc/hosts").expect("inode");
    assert_eq!(f.write_at(u64::MAX, b"x"), Err(Errno::EFBIG));
    assert_eq!(f.write_at(i64::MAX as u64, b"x"), Err(Errno::EFBIG));
    assert_eq!(f.truncate(u64::MAX), Err(Errno::EFBIG));
    assert_eq!(f.fallocate(0, u64::MAX, u64::MAX), Err(Errno::EFBIG));
    assert_eq!(f.read_at(u64::MAX, &mut [0; 4]), Err(Errno::EINVAL));
    assert_eq!(f.readdir(0, 10), Err(Errno::ENOTDIR));
    for cursor in [3, 1 << 40, u64::MAX] {
        root.readdir(cursor, 10).expect("any cursor is an answer");
    }
    assert_eq!(f.lookup(b"x").map(drop), Err(Errno::ENOTDIR));
}

/// What `unchanged_below` says of /lib, /lib/deep, /etc and /bin.
fn unchanged(c: &Container) -> [bool; 4] {
    ["/lib", "/lib/deep", "/etc", "/bin"].map(|path| {
        c.at(|v, at| {
            let l = v.lookup(at, path.as_bytes(), WalkFlags::FOLLOW).expect(path);
            v.unchanged_below(&l)
        })
    })
}

#[test]
fn a_directory_knows_whether_anything_below_it_was_changed() {
    type Case<'a> = (&'a str, [bool; 4], &'a dyn Fn(&Container));
    let write = |path: &'static [u8], bytes: &'static [u8]| {
        move |c: &Container| {
            let flags = OpenFlags(OpenFlags::O_WRONLY | OpenFlags::O_CREAT);
            let opened = c.at(|v, at| v.open(at, path, flags, 0o644, WalkFlags::FOLLOW)).expect("open");
            opened.inode.write_at(0, bytes).expect("write");
        }
    };
    let changes: [Case; 8] = [
        ("a look", [true; 4], &|c| {
            c.at(|v, at| v.lookup(at, b"/lib/deep/er/file", WalkFlags::FOLLOW)).expect("look");
        }),
        ("contents", [false, false, true, true], &write(b"/lib/deep/er/file", b"x")),
        ("a new file", [false, true, true, true], &write(b"/lib/new", b"")),
        ("a name less", [true, true, false, true], &|c| c.at(|v, at| v.unlink(at, b"/etc/hosts")).expect("unlink")),
        ("a file with two names", [false; 4], &write(b"/etc/same", b"x")),
        ("attributes", [false, false, true, true], &|c| {
            let l = c.at(|v, at| v.lookup(at, b"/lib/deep/er", WalkFlags::FOLLOW)).expect("look");
            l.inode().setattr(&SetAttr { mode: Some(0o700), ..SetAttr::default() }).expect("mode");
        }),
        ("something else", [true; 4], &write(b"/empty/file", b"x")),
        ("a mount", [false, false, true, true], &|c| {
            let tmpfs = LayeredFs::tmpfs(0o755, c.budget.clone()).expect("tmpfs");
            c.vfs.mount(b"/lib/deep/er", tmpfs, false).expect("mount");
        }),
    ];
    for (what, expected, change) in changes {
        let c = Container::new();
        assert_eq!(unchanged(&c), [true; 4], "before {what}");
        change(&c);
        assert_eq!(unchanged(&c), expected, "{what}");
    }
    // What was mounted is no directory of the sealed layer.
    let c = Container::new();
    c.vfs.mount(b"/empty", LayeredFs::tmpfs(0o755, c.budget.clone()).expect("tmpfs"), false).expect("mount");
    let at_mount = c.at(|v, at| v.lookup(at, b"/empty", WalkFlags::FOLLOW)).expect("look");
    assert!(!c.vfs.unchanged_below(&at_mount));
}
