//! Volumes, and the ways out of them that must not be.

use megalith_vfs::{
    Access, At, Budget, ContentClass, Cred, Errno, FileSystem, FileType, LayeredFs, OpenFlags, Opened, RenameFlags,
    Result, SetTime, Timespec, Vfs, Volume, WalkFlags,
};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A tree with the host directory `dir` at /v.
struct Guest {
    vfs: Vfs,
    cred: Cred,
}

impl Guest {
    fn new(dir: &Path, read_only: bool) -> Guest {
        let vfs = Vfs::new(LayeredFs::tmpfs(0o755, Budget::unlimited()).expect("tmpfs"));
        vfs.mount_creating(b"/v", Volume::open(dir, read_only).expect("volume"), false).expect("mount");
        Guest { vfs, cred: Cred::root() }
    }
    fn at<T>(&self, f: impl FnOnce(&Vfs, &At) -> T) -> T {
        let root = self.vfs.root();
        f(&self.vfs, &At { root: &root, base: &root, cred: &self.cred })
    }
    fn open(&self, path: &str, flags: u32, mode: u32) -> Result<Opened> {
        self.at(|v, at| v.open(at, path.as_bytes(), OpenFlags(flags), mode, WalkFlags::FOLLOW))
    }
    fn read(&self, path: &str) -> Result<Vec<u8>> {
        self.open(path, OpenFlags::O_RDONLY, 0)?.inode.read_all(1 << 20)
    }
    fn write(&self, path: &str, data: &[u8]) -> Result<usize> {
        self.open(path, OpenFlags::O_WRONLY | OpenFlags::O_CREAT | OpenFlags::O_TRUNC, 0o640)?.inode.write_at(0, data)
    }
    fn list(&self, path: &str) -> Vec<String> {
        let dir = self.open(path, OpenFlags::O_DIRECTORY, 0).expect("open");
        let (mut names, mut cursor) = (Vec::new(), 0);
        while let Some(e) = dir.inode.readdir(cursor, 1).expect("readdir").pop() {
            names.push(String::from_utf8_lossy(&e.name).into_owned());
            cursor = e.next;
        }
        names.retain(|n| n != "." && n != "..");
        names.sort();
        names
    }
}

#[test]
fn what_a_guest_does_is_on_the_host() {
    let dir = tempfile::tempdir().expect("dir");
    let g = Guest::new(dir.path(), false);
    assert_eq!(g.write("/v/f", b"hello"), Ok(5));
    assert_eq!(std::fs::read(dir.path().join("f")).expect("read"), b"hello");
    assert_eq!(dir.path().join("f").metadata().expect("stat").mode(), 0o100640, "the host's umask does not count");
    let f = g.open("/v/f", OpenFlags::O_RDWR, 0).expect("open");
    assert_eq!(f.inode.append(b" there"), Ok((5, 6)));
    assert_eq!(f.inode.read_all(11).expect("read"), b"hello there");
    assert_eq!(f.inode.read_all(10), Err(Errno::EFBIG));
    assert_eq!(f.inode.content_class(), Ok(ContentClass::Foreign));
    f.inode.truncate(7).expect("truncate");
    f.inode.fsync(false).expect("fsync");
    assert_eq!(g.read("/v/f").expect("read"), b"hello t");
    let m = f.inode.map_source(true).expect("map");
    assert!(!m.sealed && m.len == 7);
    g.at(|v, at| {
        v.mkdir(at, b"/v/d", 0o2777).expect("mkdir");
        assert_eq!(dir.path().join("d").metadata().expect("stat").mode() & 0o777, 0o777);
        v.symlink(at, b"../f", b"/v/d/s").expect("symlink");
        assert_eq!(std::fs::read_link(dir.path().join("d/s")).expect("readlink"), Path::new("../f"));
        v.link(at, b"/v/f", WalkFlags::FOLLOW, at, b"/v/d/hard").expect("link");
        assert_eq!(v.stat(at, b"/v/f", WalkFlags::FOLLOW).expect("stat").nlink, 2);
        v.link(at, b"/v/d/s", WalkFlags::NOFOLLOW, at, b"/v/d/s2").expect("a link to the symbolic link");
        assert!(dir.path().join("d/s2").symlink_metadata().expect("stat").is_symlink());
        v.rename(at, b"/v/f", at, b"/v/d/g", RenameFlags::default()).expect("rename");
        assert_eq!(f.location.path(None), b"/v/d/g");
        assert_eq!(
            v.rename(at, b"/v/d/s", at, b"/v/d/g", RenameFlags { noreplace: true, exchange: false }),
            Err(Errno::EEXIST)
        );
        assert_eq!(v.rename(at, b"/v/d", at, b"/d", RenameFlags::default()), Err(Errno::EXDEV));
        let l = v.lookup(at, b"/v/d/g", WalkFlags::FOLLOW).expect("lookup");
        v.chmod(&l, at.cred, 0o4711).expect("chmod");
        let t = SetTime::To(Timespec { sec: 12345, nsec: 678 });
        v.utimens(&l, at.cred, SetTime::Keep, t).expect("utimens");
        let s = dir.path().join("d/g").metadata().expect("stat");
        assert_eq!((s.mode() & 0o7777, s.mtime(), s.mtime_nsec()), (0o4711, 12345, 678));
        let link = v.lookup(at, b"/v/d/s", WalkFlags::NOFOLLOW).expect("lookup");
        v.utimens(&link, at.cred, t, t).expect("utimens of a symbolic link");
        assert_eq!(dir.path().join("d/s").symlink_metadata().expect("stat").mtime(), 12345);
        assert_eq!(v.rmdir(at, b"/v/d"), Err(Errno::ENOTEMPTY));
        assert_eq!(v.unlink(at, b"/v/d"), Err(Errno::EISDIR));
        let tmp = v
            .open(at, b"/v/d", OpenFlags(OpenFlags::O_TMPFILE | OpenFlags::O_RDWR), 0o600, WalkFlags::FOLLOW)
            .expect("tmpfile");
        tmp.inode.write_at(0, b"tmp").expect("write");
        v.link(
            &At { base: &tmp.location, ..*at },
            b"",
            WalkFlags { empty: true, ..WalkFlags::NOFOLLOW },
            at,
            b"/v/d/tmp",
        )
        .expect("link");
        assert!(v.root().inode().statfs().is_ok() && l.inode().statfs().expect("statfs").blocks > 0);
    });
    assert_eq!(g.list("/v/d"), ["g", "hard", "s", "s2", "tmp"]);
    assert_eq!(std::fs::read(dir.path().join("d/tmp")).expect("read"), b"tmp");
    for n in 0..300 {
        std::fs::write(dir.path().join(format!("d/{n:03}")), b"").expect("write");
    }
    assert_eq!(g.list("/v/d").len(), 305);
    // Owners are those that the guest asks for, when the host lets us.
    if rustix::process::geteuid().is_root() {
        let user = Guest { cred: Cred::new(1234, 5678, &[]), ..g };
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).expect("chmod");
        user.write("/v/mine", b"").expect("write");
        let s = dir.path().join("mine").metadata().expect("stat");
        assert_eq!((s.uid(), s.gid()), (1234, 5678));
        std::fs::write(dir.path().join("closed"), b"x").expect("write");
        std::fs::set_permissions(dir.path().join("closed"), PermissionsExt::from_mode(0o600)).expect("chmod");
        assert_eq!(user.read("/v/closed"), Err(Errno::EACCES), "although the host's user could");
    }
}

#[test]
fn read_only_volumes_stay_as_they_are() {
    let dir = tempfile::tempdir().expect("dir");
    std::fs::write(dir.path().join("f"), b"data").expect("write");
    let g = Guest::new(dir.path(), true);
    assert_eq!(g.read("/v/f").expect("read"), b"data");
    assert_eq!(g.write("/v/f", b"x"), Err(Errno::EROFS));
    assert_eq!(g.write("/v/new", b"x"), Err(Errno::EROFS));
    g.at(|v, at| {
        assert_eq!(v.mkdir(at, b"/v/d", 0o777).map(drop), Err(Errno::EROFS));
        assert_eq!(v.unlink(at, b"/v/f"), Err(Errno::EROFS));
        assert_eq!(v.rename(at, b"/v/f", at, b"/v/g", RenameFlags::default()), Err(Errno::EROFS));
        assert_eq!(v.symlink(at, b"x", b"/v/s").map(drop), Err(Errno::EROFS));
        let l = v.lookup(at, b"/v/f", WalkFlags::FOLLOW).expect("lookup");
        assert_eq!(v.chmod(&l, at.cred, 0o777), Err(Errno::EROFS));
        // The file system itself refuses as well.
        assert_eq!(l.inode().write_at(0, b"x"), Err(Errno::EROFS));
        assert_eq!(l.inode().open(Access::WRITE).map(drop), Err(Errno::EROFS));
        assert_eq!(l.inode().map_source(true).map(drop), Err(Errno::EROFS));
        assert!(l.inode().map_source(false).is_ok());
    });
    assert_eq!(std::fs::read(dir.path().join("f")).expect("read"), b"data");
}

#[test]
fn symbolic_links_mean_what_they_mean_in_the_guest() {
    let outside = tempfile::tempdir().expect("dir");
    std::fs::write(outside.path().join("secret"), b"secret").expect("write");
    let dir = tempfile::tempdir().expect("dir");
    let o = outside.path().to_str().expect("utf-8");
    symlink("/etc/passwd", dir.path().join("abs")).expect("symlink");
    symlink(outside.path(), dir.path().join("dir")).expect("symlink");
    symlink(format!("../../../../../../../..{o}/secret"), dir.path().join("rel")).expect("symlink");
    symlink("/proc/self/root/etc/passwd", dir.path().join("magic")).expect("symlink");
    symlink("/proc/self/cwd", dir.path().join("cwd")).expect("symlink");
    std::fs::create_dir(dir.path().join("sub")).expect("mkdir");
    let g = Guest::new(dir.path(), false);
    for p in [
        "/v/abs",
        "/v/dir",
        "/v/dir/secret",
        "/v/rel",
        "/v/magic",
        "/v/cwd",
        "/v/cwd/Cargo.toml",
        "/v/../etc/passwd",
        "/v/sub/../../etc/passwd",
    ] {
        assert_eq!(g.read(p), Err(Errno::ENOENT), "{p}");
    }
    assert_eq!(g.write("/v/dir/new", b"x"), Err(Errno::ENOENT));
    // Writing through a dangling link makes the target, in the guest.
    g.at(|v, at| v.mkdir(at, b"/etc", 0o755).map(drop)).expect("mkdir");
    let before = std::fs::read("/etc/passwd").expect("read");
    assert_eq!(g.write("/v/abs", b"guest's own"), Ok(11));
    assert_eq!(g.read("/etc/passwd").expect("read"), b"guest's own");
    assert_eq!(std::fs::read("/etc/passwd").expect("read"), before);
    assert_eq!(std::fs::read_dir(outside.path()).expect("list").count(), 1);
    // Names that are paths do not get through to the host.
    let root = g.at(|v, at| v.lookup(at, b"/v", WalkFlags::FOLLOW)).expect("lookup").inode().clone();
    for name in [&b".."[..], b".", b"../x", b"sub/..", b"/etc/passwd", b"", b"a\0b"] {
        assert_eq!(root.lookup(name).map(drop), Err(Errno::EINVAL), "{name:?}");
        assert_eq!(root.unlink(name), Err(Errno::EINVAL));
    }
    // The way up from the volume is the guest's.
    assert_eq!(g.at(|v, at| v.lookup(at, b"/v/sub/../..", WalkFlags::FOLLOW)), Ok(g.vfs.root()));
}

#[test]
fn a_host_that_swaps_names_opens_no_way_out() {
    let outside = tempfile::tempdir().expect("dir");
    std::fs::write(outside.path().join("file"), b"secret").expect("write");
    let dir = tempfile::tempdir().expect("dir");
    let d = dir.path().to_owned();
    std::fs::create_dir(d.join("real")).expect("mkdir");
    std::fs::write(d.join("real/file"), b"inside").expect("write");
    symlink(outside.path(), d.join("link")).expect("symlink");
    let g = Guest::new(&d, false);
    let stop = Arc::new(AtomicBool::new(false));
    let swapper = std::thread::spawn({
        let (stop, d) = (stop.clone(), d.clone());
        move || {
            while !stop.load(Ordering::Relaxed) {
                let swap = rustix::fs::renameat_with(
                    rustix::fs::CWD,
                    d.join("real"),
                    rustix::fs::CWD,
                    d.join("link"),
                    rustix::fs::RenameFlags::EXCHANGE,
                );
                swap.expect("exchange");
            }
        }
    });
    let (mut inside, mut gone) = (0, 0);
    for _ in 0..20_000 {
        match g.read("/v/real/file") {
            Ok(data) => {
                assert_eq!(data, b"inside");
                inside += 1;
            }
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => gone += 1,
            Err(e) => panic!("{e}"),
        }
        if let Ok(n) = g.open("/v/real/new", OpenFlags::O_CREAT | OpenFlags::O_RDWR, 0o600) {
            n.inode.write_at(0, b"x").expect("write");
        }
    }
    stop.store(true, Ordering::Relaxed);
    swapper.join().expect("thread");
    assert!(inside > 0 && gone > 0, "{inside} {gone}");
    assert_eq!(std::fs::read_dir(outside.path()).expect("list").count(), 1);
}

#[test]
fn special_files_are_refused() {
    let dir = tempfile::tempdir().expect("dir");
    rustix::fs::mknodat(rustix::fs::CWD, dir.path().join("fifo"), rustix::fs::FileType::Fifo, 0o666.into(), 0)
        .expect("mkfifo");
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).expect("bind");
    let g = Guest::new(dir.path(), false);
    // A fifo without a writer would hang here.
    for p in ["/v/fifo", "/v/socket"] {
        for flags in [OpenFlags::O_RDONLY, OpenFlags::O_WRONLY, OpenFlags::O_RDWR] {
            assert_eq!(g.open(p, flags, 0).map(drop), Err(Errno::EACCES), "{p}");
        }
    }
    assert_eq!(g.at(|v, at| v.stat(at, b"/v/fifo", WalkFlags::FOLLOW)).map(|s| s.file_type()), Ok(FileType::Fifo));
    g.at(|v, at| {
        assert_eq!(v.mknod(at, b"/v/new", FileType::Fifo, 0o666, 0).map(drop), Err(Errno::EACCES));
        assert_eq!(v.mknod(at, b"/v/new", FileType::CharDevice, 0o666, 0x103).map(drop), Err(Errno::EACCES));
        v.unlink(at, b"/v/fifo").expect("unlink");
    });
    assert_eq!(Volume::open(&dir.path().join("socket"), false).map(drop), Err(Errno::EACCES));
    assert_eq!(Volume::open(Path::new("/dev/null"), false).map(drop), Err(Errno::EACCES));
    assert_eq!(Volume::open(&dir.path().join("none"), false).map(drop), Err(Errno::ENOENT));
}

#[test]
fn a_volume_may_be_one_file() {
    let dir = tempfile::tempdir().expect("dir");
    let file = dir.path().join("config");
    std::fs::write(&file, b"old").expect("write");
    let g = Guest::new(dir.path(), false);
    let volume = Volume::open(&file, false).expect("volume");
    assert!(!volume.read_only());
    assert_eq!(g.vfs.mount(b"/v", volume.clone(), false).map(drop), Err(Errno::ENOTDIR));
    g.vfs.mount_creating(b"/etc/app/config", volume, false).expect("mount");
    assert_eq!(g.read("/etc/app/config").expect("read"), b"old");
    assert_eq!(g.write("/etc/app/config", b"newer"), Ok(5));
    assert_eq!(std::fs::read(&file).expect("read"), b"newer");
    assert_eq!(g.read("/etc/app/config/x"), Err(Errno::ENOTDIR));
    assert_eq!(g.read("/etc/app/config/.."), Err(Errno::ENOTDIR));
    assert_eq!(g.at(|v, at| v.unlink(at, b"/etc/app/config")), Err(Errno::EBUSY));
    // Replaced on the host, it is still the file that was mounted.
    std::fs::write(dir.path().join("other"), b"other").expect("write");
    std::fs::rename(dir.path().join("other"), &file).expect("rename");
    assert_eq!(g.read("/etc/app/config").expect("read"), b"newer");
}

#[test]
fn changes_by_the_host_are_seen() {
    let dir = tempfile::tempdir().expect("dir");
    std::fs::write(dir.path().join("f"), b"one").expect("write");
    let g = Guest::new(dir.path(), false);
    let open = g.open("/v/f", OpenFlags::O_RDONLY, 0).expect("open");
    std::fs::write(dir.path().join("g"), b"two").expect("write");
    std::fs::rename(dir.path().join("g"), dir.path().join("f")).expect("rename");
    assert_eq!(g.read("/v/f").expect("read"), b"two");
    assert_eq!(open.inode.read_all(10).expect("read"), b"one");
    assert_ne!(g.open("/v/f", OpenFlags::O_RDONLY, 0).expect("open").location, open.location);
    std::fs::remove_file(dir.path().join("f")).expect("remove");
    assert_eq!(g.read("/v/f"), Err(Errno::ENOENT));
}
