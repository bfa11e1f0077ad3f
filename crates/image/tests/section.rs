//! The file system section: written, read in place, read by tar readers, and damaged.

mod common;
use common::*;
use megalith_image::fssection::{self, Plan, Reader};
use megalith_image::{Builder, FileType, Meta, NodeKind, Options, Rootfs};
use megalith_manifest::FileHash;
use std::collections::BTreeMap;
use std::io::Read;

/// A tree with everything that needs care.
fn sample() -> Rootfs {
    let mut b = Builder::new(&Options::default()).unwrap();
    let meta = |mode, uid, gid, mtime, mtime_nsec| Meta { mode, uid, gid, mtime, mtime_nsec };
    b.directory("/", meta(0o711, 1, 2, 3, 4)).unwrap();
    let mut random = Random(7);
    // Sizes around block and page borders, so that every distance to the next page comes up.
    for (i, size) in [0, 1, 511, 512, 513, 3583, 3584, 4095, 4096, 4097, 7000, 8192, 70_000].into_iter().enumerate() {
        let data: Vec<u8> = (0..size).map(|_| random.below(256) as u8).collect();
        b.file(format!("data/f{i:02}"), meta(0o644, 0, 0, 1_700_000_000, 0), &*data).unwrap();
    }
    b.file("bin/tool", meta(0o6755, 3_000_000, u32::MAX, -5, 250_000_000), &b"tool"[..]).unwrap();
    b.hard_link("a-tool", "bin/tool").unwrap();
    b.file(b"bin/\xff\xfe", meta(0o1755, 0, 0, 1 << 40, 0), &b"odd"[..]).unwrap();
    let long = "x".repeat(120) + "/" + &"y".repeat(255);
    b.file(&long, Meta::new(0o644), &b"long"[..]).unwrap();
    b.hard_link("z-long", &long).unwrap();
    b.symlink("s-long", Meta::new(0o777), "t".repeat(4095)).unwrap();
    b.symlink("s", Meta::new(0o777), b"\xff".to_vec()).unwrap();
    b.hard_link("s2", "s").unwrap();
    b.char_device("dev/null", Meta::new(0o666), 1, 3).unwrap();
    b.block_device("dev/big", Meta::new(0o660), 4095, (1 << 20) - 1).unwrap();
    b.fifo("dev/fifo", Meta::new(0o600)).unwrap();
    b.directory("empty", meta(0o1777, 5, 6, -1, 999_999_999)).unwrap();
    b.finish().unwrap()
}

fn section(fs: &Rootfs, at: u64) -> (Vec<u8>, fssection::Summary) {
    let mut out = Vec::new();
    let summary = fssection::write(fs, &mut out, at).unwrap();
    assert_eq!(summary.len, out.len() as u64);
    (out, summary)
}

/// One line for each path, as the tree has it or as a reader does.
fn lines(fs: &Rootfs) -> Vec<String> {
    fs.iter()
        .map(|(path, id, node)| {
            let (size, rdev, what) = match &node.kind {
                NodeKind::Regular(r) => (r.size(), (0, 0), r.hash.to_string()),
                NodeKind::Symlink(t) => (t.len() as u64, (0, 0), format!("{t:?}")),
                NodeKind::Directory(d) => (d.entries().len() as u64, (0, 0), d.parent().to_string()),
                NodeKind::CharDevice { major, minor } | NodeKind::BlockDevice { major, minor } => {
                    (0, (*major, *minor), String::new())
                }
                NodeKind::Fifo => (0, (0, 0), String::new()),
            };
            let m = node.meta;
            let mode = node.file_type().bits() | m.mode;
            format!("{path:?} {id} {mode:o} {m:?} {} {size} {rdev:?} {what}", node.nlink)
        })
        .collect()
}

fn lines_read(fs: &Reader<&[u8]>, dir: u32, path: &[u8], out: &mut Vec<String>) {
    let visit = |id: u32, path: &[u8], out: &mut Vec<String>| {
        let i = fs.inode(id).unwrap();
        let what = match i.file_type {
            FileType::Regular => fs.hash(id).unwrap().to_string(),
            FileType::Symlink => format!("{:?}", fs.symlink(id).unwrap()),
            FileType::Directory => fs.parent(id).unwrap().to_string(),
            _ => String::new(),
        };
        let m = Meta { mode: i.mode & 0o7777, uid: i.uid, gid: i.gid, mtime: i.mtime, mtime_nsec: i.mtime_nsec };
        let rdev = (i.rdev_major, i.rdev_minor);
        out.push(format!("{path:?} {id} {:o} {m:?} {} {} {rdev:?} {what}", i.mode, i.nlink, i.size));
    };
    if dir == fssection::ROOT {
        visit(dir, b"/", out);
    }
    for entry in fs.readdir(dir).unwrap() {
        let path = [path, b"/", entry.name].concat();
        assert_eq!(fs.lookup(dir, entry.name), Some(entry.inode));
        assert_eq!(fs.find_path(&path), Some(entry.inode));
        visit(entry.inode, &path, out);
        if fs.inode(entry.inode).unwrap().file_type == FileType::Directory {
            lines_read(fs, entry.inode, &path, out);
        }
    }
}

#[test]
fn what_is_written_is_read() {
    let fs = sample();
    let (bytes, summary) = section(&fs, 4096);
    let reader = Reader::open(&*bytes, &summary.root).unwrap();
    reader.check().unwrap();
    let mut read = Vec::new();
    lines_read(&reader, fssection::ROOT, b"", &mut read);
    assert_eq!(read, lines(&fs));
    assert_eq!(reader.inode_count() as usize, fs.node_count());
    for (path, id, node) in fs.iter() {
        assert_eq!(reader.lookup(id, b"nothing"), None);
        assert_eq!(reader.data(id).is_some(), node.regular().is_some());
        if node.regular().is_some() {
            assert_eq!(reader.data(id).unwrap(), fs.data(id), "{path:?}");
            assert!(reader.data_matches(id));
        }
    }
    assert_eq!(reader.inode(reader.inode_count()), None);
    assert_eq!(reader.lookup(0, b".."), None);
    assert_eq!(reader.parent(0), Some(0));
}

#[test]
fn data_begin_at_pages_of_the_file() {
    let fs = sample();
    for at in (0..8192).step_by(512) {
        let plan = Plan::new(&fs, at).unwrap();
        let (bytes, summary) = section(&fs, at);
        assert_eq!(plan.summary(), summary);
        let reader = Reader::open(&*bytes, &summary.root).unwrap();
        for id in 0..reader.inode_count() {
            if let Some((offset, len)) = reader.data_range(id).filter(|(_, len)| *len > 0) {
                assert_eq!((offset + at) % 4096, 0);
                assert_eq!(offset, plan.data_offset(id));
                assert_eq!(&bytes[offset as usize..(offset + len) as usize], fs.data(id));
            }
        }
        // Only the offset modulo the page size matters; the tree digest does not depend on it at all.
        assert_eq!(section(&fs, at + 4096 * 77).0, bytes);
    }
    assert!(Plan::new(&fs, 100).is_err());
    assert_eq!(sample().tree_digest().unwrap(), fs.tree_digest().unwrap());
    assert_eq!(section(&sample(), 0), section(&fs, 0));
}

#[test]
fn the_tar_crate_reads_it() {
    let fs = sample();
    let (bytes, _) = section(&fs, 0);
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(&*bytes).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut data = Vec::new();
        entry.read_to_end(&mut data).unwrap();
        let name = entry.path_bytes().into_owned();
        let link = entry.link_name_bytes().map(|l| l.into_owned());
        found.insert(name, (entry.header().entry_type(), link, data, entry.header().mode().unwrap()));
    }
    let mut first: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    assert_eq!(found.len(), fs.iter().count());
    for (path, id, node) in fs.iter() {
        let mut name = path[1..].to_vec();
        if node.directory().is_some() {
            name = if name.is_empty() { b"./".to_vec() } else { [&name[..], b"/"].concat() };
        }
        let (kind, link, data, mode) = &found[&name];
        assert_eq!(*mode, node.meta.mode);
        match (first.get(&id), &node.kind) {
            (Some(first), _) => assert_eq!((kind.is_hard_link(), link.as_ref()), (true, Some(first))),
            (None, NodeKind::Regular(_)) => assert!(kind.is_file() && data == fs.data(id)),
            (None, NodeKind::Symlink(t)) => assert_eq!((kind.is_symlink(), link.as_ref()), (true, Some(t))),
            (None, NodeKind::Directory(_)) => assert!(kind.is_dir()),
            (None, NodeKind::CharDevice { .. }) => assert!(kind.is_character_special()),
            (None, NodeKind::BlockDevice { .. }) => assert!(kind.is_block_special()),
            (None, NodeKind::Fifo) => assert!(kind.is_fifo()),
        }
        if node.directory().is_none() {
            first.entry(id).or_insert(name);
        }
    }
}

/// Our own reader of layers gets back the same tree, times and owners included.
#[test]
fn it_is_a_layer() {
    let fs = sample();
    let (bytes, summary) = section(&fs, 0);
    for layer in [bytes[..summary.archive_len as usize].to_vec(), bytes] {
        assert_eq!(layers(&[layer]).unwrap().rootfs.tree_digest().unwrap(), fs.tree_digest().unwrap());
    }
}

/// GNU tar unpacks it to the same tree, where it is installed and may make devices.
#[test]
fn gnu_tar_reads_it() {
    let version = std::process::Command::new("tar").arg("--version").output();
    let is_gnu = version.is_ok_and(|v| String::from_utf8_lossy(&v.stdout).contains("GNU tar"));
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    if !is_gnu || !is_root {
        eprintln!("skipped: needs GNU tar and root");
        return;
    }
    let mut b = Builder::new(&Options::default()).unwrap();
    // Without what a file system may not hold: odd owners and times, devices, very long targets.
    for (path, _, node) in sample().iter() {
        let plain = Meta { mtime: 1_500_000_000, mtime_nsec: 5, uid: 3, gid: 4, ..node.meta };
        match &node.kind {
            NodeKind::Directory(_) => b.directory(&path, plain).unwrap(),
            NodeKind::Regular(_) => b.file(&path, plain, &*path.repeat(100)).unwrap(),
            NodeKind::Symlink(t) if t.len() < 1000 => b.symlink(&path, node.meta, t.clone()).unwrap(),
            NodeKind::Fifo => b.fifo(&path, node.meta).unwrap(),
            _ => {}
        }
    }
    b.hard_link("again", "data/f01").unwrap();
    let fs = b.finish().unwrap();
    let (bytes, _) = section(&fs, 512);
    let scratch = Scratch::new();
    std::fs::write(scratch.path("t.tar"), &bytes).unwrap();
    std::fs::create_dir(scratch.path("root")).unwrap();
    let out = std::process::Command::new("tar")
        .args(["--numeric-owner", "-xpf"])
        .arg(scratch.path("t.tar"))
        .arg("-C")
        .arg(scratch.path("root"))
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(String::from_utf8_lossy(&out.stderr), "");
    let back = megalith_image::open(scratch.path("root")).unwrap().rootfs;
    let without_link_times =
        |fs: &Rootfs| -> Vec<String> { lines(fs).into_iter().filter(|l| !l.contains(" 1[0-7]{5} ")).collect() };
    assert_eq!(without_link_times(&back), without_link_times(&fs));
}

#[test]
fn any_change_of_the_index_is_found() {
    let fs = sample();
    let (good, summary) = section(&fs, 0);
    let index = summary.archive_len as usize..(summary.archive_len + summary.index_len) as usize;
    for at in index.clone().step_by(37).chain(index.end..good.len()) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(Reader::open(&*bad, &summary.root).is_err(), "{at}");
    }
    assert!(Reader::open(&*good, &FileHash::of(b"")).is_err());
    for len in 0..64 {
        assert!(Reader::open(&good[..len], &summary.root).is_err());
        assert!(Reader::open(&good[..good.len() - 1 - len], &summary.root).is_err());
        assert!(Reader::open(&good[good.len() - len..], &summary.root).is_err());
    }
    // A changed file shows when it is hashed.
    let reader = Reader::open(&*good, &summary.root).unwrap();
    let tool = reader.find_path(b"/bin/tool").unwrap();
    let (offset, _) = reader.data_range(tool).unwrap();
    let mut bad = good.clone();
    bad[offset as usize] ^= 1;
    let reader = Reader::open(&*bad, &summary.root).unwrap();
    assert!(!reader.data_matches(tool) && reader.data_matches(reader.find_path(b"data/f08").unwrap()));
}

/// An index that is damaged but has the root it is expected to have: nothing may panic, and `check` finds what is no tree.
#[test]
fn a_hostile_index_is_harmless() {
    let fs = sample();
    let (good, summary) = section(&fs, 0);
    let start = summary.archive_len as usize;
    let end = start + summary.index_len as usize;
    let mut random = Random(99);
    let (mut opened, mut unsound) = (0, 0);
    for round in 0..rounds(20_000) {
        let mut bad = good[start..].to_vec();
        for _ in 0..=random.below(3) {
            let at = match round % 3 {
                0 => random.below(32),
                _ => random.below(end - start),
            };
            bad[at] = [0, 1, 0x7f, 0x80, 0xff, b'/', b'.', random.below(256) as u8][random.below(8)];
        }
        // The section without its archive: offsets of data then lead out of bounds or into the index.
        let len = bad.len();
        bad[len - 32..len - 24].copy_from_slice(&0_u64.to_le_bytes());
        let root = FileHash::of(&bad[..end - start]);
        let Ok(reader) = Reader::open(&*bad, &root) else { continue };
        opened += 1;
        unsound += u32::from(reader.check().is_err());
        for id in (0..reader.inode_count()).chain([u32::MAX, random.below(1 << 31) as u32]) {
            let _ = (reader.inode(id), reader.symlink(id), reader.hash(id), reader.data_range(id), reader.parent(id));
            let _ = (reader.lookup(id, b"tool"), reader.entry_count(id), reader.dir_entry(id, usize::MAX));
            reader.readdir(id).into_iter().flatten().for_each(|e| assert!(e.inode < reader.inode_count()));
            let _ = reader.data(id).map(<[u8]>::len);
        }
    }
    assert!(opened > 5000 && unsound > 1000, "{opened} {unsound}");
}

#[test]
fn check_refuses_cycles_and_wrong_links() {
    let mut b = Builder::new(&Options::default()).unwrap();
    b.file("a/b/f", Meta::new(0o644), &b"f"[..]).unwrap();
    let (good, summary) = section(&b.finish().unwrap(), 0);
    let start = summary.archive_len as usize;
    let end = start + summary.index_len as usize;
    // Inodes: / a b f; entries: a b f.
    let entry = |n: usize| start + 32 + 4 * 96 + n * 12;
    let inode = |n: usize| start + 32 + n * 96;
    let damaged: [(usize, u32); 8] = [
        (entry(1) + 8, 1),
        (entry(1) + 8, 0),
        (entry(1) + 8, 3),
        (entry(2) + 8, 2),
        (inode(2) + 36, 3),
        (inode(3) + 12, 2),
        (inode(3), 0o140644),
        (inode(0), 0o100644),
    ];
    for (at, value) in damaged {
        let mut bad = good.clone();
        bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let reader = Reader::open(&*bad, &FileHash::of(&bad[start..end])).unwrap();
        assert!(reader.check().is_err(), "{at} {value}");
    }
}
