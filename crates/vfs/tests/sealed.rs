//! The file system section of a bundle as the lower layer.

use megalith_image::fssection::{self, Reader};
use megalith_image::{Builder, Meta, Options};
use megalith_vfs::{
    At, ContentClass, Cred, Errno, FileType, Inode, LayeredFs, LayeredOptions, LowerTree, SealedTree, Vfs, WalkFlags,
};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// A section at an offset of a host file, as `container.wasm` has it; with `flip`, one byte of /bin/tool is another.
fn section(flip: bool) -> SealedTree<Vec<u8>> {
    const AT: usize = 8192;
    let mut b = Builder::new(&Options::default()).expect("builder");
    let meta = |mode| Meta { uid: 7, gid: 8, mtime: -5, mtime_nsec: 9, ..Meta::new(mode) };
    b.directory("bin", meta(0o755)).expect("directory");
    b.file("bin/tool", meta(0o4755), &[3u8; 5000][..]).expect("file");
    b.hard_link("bin/tool2", "bin/tool").expect("hard link");
    b.file("bin/empty", meta(0o644), &[][..]).expect("file");
    b.symlink("sh", meta(0o777), "bin/tool").expect("symlink");
    b.char_device("null", meta(0o666), 1, 3).expect("device");
    b.fifo("fifo", meta(0o600)).expect("fifo");
    let tree = b.finish().expect("tree");
    let mut bytes = vec![0u8; AT];
    let summary = fssection::write(&tree, &mut bytes, AT as u64).expect("section");
    if flip {
        let at = bytes.windows(5000).position(|w| w == [3u8; 5000]).expect("data");
        bytes[at + 4000] = 4;
    }
    let fd = rustix::fs::memfd_create("container.wasm", rustix::fs::MemfdFlags::CLOEXEC).expect("memfd");
    assert_eq!(rustix::io::pwrite(&fd, &bytes, 0), Ok(bytes.len()));
    let reader = Reader::open(bytes.split_off(AT), &summary.root).expect("reader");
    SealedTree::new(reader, Some((Arc::new(fd), AT as u64)))
}

fn inode(vfs: &Vfs, path: &str) -> Arc<dyn Inode> {
    let (root, cred) = (vfs.root(), Cred::root());
    let at = At { root: &root, base: &root, cred: &cred };
    vfs.lookup(&at, path.as_bytes(), WalkFlags::NOFOLLOW).expect(path).inode().clone()
}

fn mount(flip: bool) -> Vfs {
    let lower: Arc<dyn LowerTree> = Arc::new(section(flip));
    Vfs::new(LayeredFs::new(LayeredOptions { lower: Some(lower), ..LayeredOptions::default() }).expect("layers"))
}

#[test]
fn a_section_is_seen_as_it_was_written() {
    let vfs = mount(false);
    let tool = inode(&vfs, "/bin/tool");
    let s = tool.stat().expect("stat");
    assert_eq!((s.mode, s.uid, s.gid, s.nlink, s.size), (0o104755, 7, 8, 2, 5000));
    assert_eq!((s.mtime.sec, s.mtime.nsec), (-5, 9));
    assert_eq!(inode(&vfs, "/bin/tool2").id(), tool.id());
    assert_eq!(tool.read_all(5000).expect("read"), [3; 5000]);
    assert_eq!(tool.content_class(), Ok(ContentClass::Sealed { hash: Sha256::digest([3; 5000]).into() }));
    let m = tool.map_source(false).expect("map");
    assert!(m.sealed && m.len == 5000 && m.offset.is_multiple_of(4096));
    let mut buf = [0; 5000];
    assert_eq!(rustix::io::pread(&m.fd, &mut buf, m.offset), Ok(5000));
    assert_eq!(buf, [3; 5000]);
    assert_eq!(inode(&vfs, "/sh").readlink().expect("readlink"), b"bin/tool");
    let null = inode(&vfs, "/null").stat().expect("stat");
    assert_eq!((null.file_type(), null.rdev), (FileType::CharDevice, rustix::fs::makedev(1, 3)));
    assert_eq!(inode(&vfs, "/fifo").file_type(), FileType::Fifo);
    assert_eq!(inode(&vfs, "/").stat().expect("stat").nlink, 3);
    let names: Vec<_> = inode(&vfs, "/bin").readdir(0, 10).expect("readdir").into_iter().map(|e| e.name).collect();
    assert_eq!(names, [&b"."[..], b"..", b"empty", b"tool", b"tool2"]);
    // An empty file can be mapped too.
    assert_eq!(inode(&vfs, "/bin/empty").read_all(0).expect("read"), b"");
    assert_eq!(inode(&vfs, "/bin/empty").map_source(false).expect("map").len, 0);
}

#[test]
fn a_changed_byte_is_found() {
    let vfs = mount(true);
    assert_eq!(inode(&vfs, "/bin/tool").read_all(5000), Err(Errno::EIO));
    assert_eq!(inode(&vfs, "/bin/tool2").content_class(), Err(Errno::EIO));
    assert!(inode(&vfs, "/bin/empty").content_class().is_ok());
}

#[test]
fn numbers_from_anywhere_have_no_answer() {
    let t = section(false);
    for n in [t.inode_count(), u64::from(u32::MAX), u64::from(u32::MAX) + 1, u64::MAX] {
        assert!(t.inode(n).is_none() && t.data(n).is_none() && t.link_target(n).is_none() && t.host_range(n).is_none());
        assert!(t.lookup(n, b"bin").is_none() && t.entry(n, 0).is_none() && t.entry(0, n).is_none());
    }
}
