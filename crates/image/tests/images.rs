//! Images of all formats, and what layers do.

mod common;
use common::*;
use megalith_image::{FileType, Format, Options, open};
use megalith_manifest::FileHash;
use serde_json::json;
use std::os::unix::fs::{PermissionsExt, symlink};

fn two_layers() -> Vec<Vec<u8>> {
    let lower = Tar::new()
        .dir("./", 0o755)
        .dir("bin/", 0o755)
        .file("bin/sh", 0o755, b"shell")
        .hard_link("bin/ash", "bin/sh")
        .file("bin/su", 0o4755, b"su")
        .symlink("sbin", "bin")
        .file("etc/old", 0o644, b"old")
        .end();
    let upper = Tar::new().file("etc/.wh.old", 0, b"").file("etc/new", 0o600, b"new").end();
    vec![lower, upper]
}

#[test]
fn every_format_and_compression_gives_the_same_tree() {
    let layers = two_layers();
    let packs: [Pack; 4] = [("", <[u8]>::to_vec), ("+gzip", gzip), ("+zstd", zstd), ("+gzip", zstd)];
    let scratch = Scratch::new();
    let mut digests = Vec::new();
    for pack in packs {
        let files = oci(&layers, pack);
        for (image, format) in [
            (scratch.open_dir(&files), Format::Oci),
            (scratch.open(&as_tar(&files)), Format::Oci),
            (scratch.open(&gzip(&as_tar(&files))), Format::Oci),
            (scratch.open(&zstd(&as_tar(&files))), Format::Oci),
            (scratch.open(&as_tar(&docker(&config(&layers), &layers))), Format::DockerArchive),
            (scratch.open(&gzip(&as_tar(&docker(&config(&layers), &layers)))), Format::DockerArchive),
        ] {
            let image = image.unwrap();
            assert_eq!(image.format, format);
            assert_eq!(image.container_id, FileHash::of(config(&layers).to_string().as_bytes()));
            assert_eq!(image.config.digest, Some(image.container_id));
            assert_eq!(image.config.entrypoint, ["/bin/sh"]);
            assert_eq!(image.config.cmd, ["-c", "true"]);
            assert_eq!(image.config.env, ["PATH=/bin", "A=b c"]);
            assert_eq!((&*image.config.working_dir, &*image.config.user), ("/tmp", "nobody"));
            assert_eq!(image.config.to_manifest().cmd, ["-c", "true"]);
            digests.push(image.rootfs.tree_digest().unwrap());
        }
    }
    digests.dedup();
    assert_eq!(digests.len(), 1);
    let image = scratch.open_dir(&oci(&layers, packs[0])).unwrap();
    assert_eq!(
        list(&image),
        [
            "/ 755 dir",
            "/bin 755 dir",
            "/bin/ash 755 shell",
            "/bin/sh 755 shell",
            "/bin/su 4755 su",
            "/etc 755 dir",
            "/etc/new 600 new",
            "/sbin 777 -> bin",
        ]
    );
    let executables: Vec<_> = image.rootfs.executables().into_iter().map(|(p, _)| p).collect();
    assert_eq!(executables, [&b"/bin/ash"[..], b"/bin/sh", b"/bin/su"]);
    let sh = image.rootfs.lookup(b"/sbin/sh", true).unwrap();
    assert_eq!(image.rootfs.lookup(b"bin/../../bin/ash", true), Some(sh));
    assert_eq!(image.rootfs.node(sh).nlink, 2);
    assert_eq!(image.rootfs.node(sh).regular().unwrap().hash, FileHash::of(b"shell"));
    assert_eq!(image.rootfs.node(0).nlink, 4);
    assert_eq!(
        image.rootfs.lookup(b"sbin", false).map(|id| image.rootfs.node(id).file_type()),
        Some(FileType::Symlink)
    );
}

#[test]
fn whiteouts_touch_lower_layers_only() {
    let base = || Tar::new().file("d/a", 0o644, b"1").file("d/sub/b", 0o644, b"1").file("d/sub/c", 0o644, b"1").end();
    let with = |upper: Tar| paths(&layers(&[base(), upper.end()]).unwrap());
    assert_eq!(with(Tar::new().file(".wh.d", 0, b"")), ["/"]);
    assert_eq!(with(Tar::new().file("d/.wh.sub", 0, b"")), ["/", "/d", "/d/a"]);
    assert_eq!(with(Tar::new().file("d/.wh.nothing", 0, b"").file("x/.wh.y", 0, b"")).len(), 6);
    // Opaque: before or after what the layer itself has there.
    let opaque = ["/", "/d", "/d/sub", "/d/sub/n"];
    assert_eq!(with(Tar::new().file("d/.wh..wh..opq", 0, b"").file("d/sub/n", 0, b"")), opaque);
    assert_eq!(with(Tar::new().file("d/sub/n", 0, b"").file("d/.wh..wh..opq", 0, b"")), opaque);
    assert_eq!(with(Tar::new().file(".wh..wh..opq", 0, b"")), ["/"]);
    // A file of the same layer stays, whatever the order.
    assert_eq!(with(Tar::new().file("d/a", 0, b"2").file("d/.wh.a", 0, b"")).len(), 6);
    assert_eq!(with(Tar::new().file("d/.wh.a", 0, b"").file("d/a", 0, b"2")).len(), 6);
    // A rename as hard link and whiteout: the old name goes, the node stays.
    let image = layers(&[base(), Tar::new().hard_link("d/z", "d/a").file("d/.wh.a", 0, b"").end()]).unwrap();
    assert_eq!(paths(&image), ["/", "/d", "/d/sub", "/d/sub/b", "/d/sub/c", "/d/z"]);
    assert_eq!(image.rootfs.node(image.rootfs.lookup(b"d/z", true).unwrap()).nlink, 1);
    // Names that aufs kept for itself.
    assert_eq!(with(Tar::new().dir(".wh..wh.plnk/", 0o755).file(".wh..wh.aufs", 0, b"")).len(), 6);
}

#[test]
fn upper_entries_replace_or_merge() {
    let lower = Tar::new().file("d/a", 0o644, b"1").file("f", 0o644, b"1").symlink("l", "d").end();
    let upper = Tar::new()
        .raw(b'5', b"d", b"", 0o1777, (7, 8), b"")
        .dir("f", 0o700)
        .file("f/x", 0o644, b"2")
        .dir("l", 0o755)
        .end();
    let image = layers(&[lower.clone(), upper]).unwrap();
    assert_eq!(list(&image), ["/ 755 dir", "/d 1777 dir", "/d/a 644 1", "/f 700 dir", "/f/x 644 2", "/l 755 dir"]);
    let d = image.rootfs.node(image.rootfs.lookup(b"d", true).unwrap());
    assert_eq!((d.meta.uid, d.meta.gid, d.meta.mtime), (7, 8, 1_700_000_000));
    // Writing to one name of a lower hard link in an upper layer leaves the other name alone.
    let lower = Tar::new().file("a", 0o644, b"1").hard_link("b", "a").end();
    let image = layers(&[lower, Tar::new().file("a", 0o644, b"2").end()]).unwrap();
    assert_eq!(list(&image), ["/ 755 dir", "/a 644 2", "/b 644 1"]);
    // A directory goes when a file comes.
    let lower = Tar::new().file("d/a", 0o644, b"1").end();
    assert_eq!(paths(&layers(&[lower, Tar::new().file("d", 0, b"").end()]).unwrap()), ["/", "/d"]);
}

#[test]
fn parents_resolve_inside_the_root() {
    let image = layers(&[
        Tar::new().symlink("bin", "usr/bin").symlink("abs", "/usr").symlink("out", "../../../usr").end(),
        Tar::new().file("bin/a", 0o644, b"1").file("/abs/b", 0o644, b"2").file("out/c", 0o644, b"3").end(),
    ])
    .unwrap();
    assert_eq!(paths(&image), ["/", "/abs", "/bin", "/out", "/usr", "/usr/b", "/usr/bin", "/usr/bin/a", "/usr/c"]);
    for (tar, why) in [
        (Tar::new().file("../x", 0, b""), "has a '..' component"),
        (Tar::new().file("a/../../x", 0, b""), "has a '..' component"),
        (Tar::new().file("a/../x", 0, b""), "has a '..' component"),
        (Tar::new().file(".wh...", 0, b""), "a whiteout that names no file"),
        (Tar::new().file("d/.wh.", 0, b""), "a whiteout that names no file"),
        (Tar::new().file("a", 0, b"").file("a/b", 0, b""), "'a' is not a directory"),
        (Tar::new().symlink("a", "b").symlink("b", "a").file("a/x", 0, b""), "too many symlinks"),
        (Tar::new().symlink("a", "a/a").file("a/x", 0, b""), "too many symlinks"),
        (Tar::new().hard_link("a", "nothing"), "hard link to 'nothing', which does not exist"),
        (Tar::new().hard_link("a", "a"), "hard link to 'a', which does not exist"),
        (Tar::new().hard_link("a", "../../etc/passwd"), "has a '..' component"),
        (Tar::new().dir("d", 0o755).hard_link("a", "d"), "which is a directory"),
        (Tar::new().hard_link("a", ""), "which does not exist"),
        (Tar::new().symlink("a", ""), "symlink target is empty"),
        (Tar::new().file(".", 0, b""), "must be a directory"),
        (Tar::new().symlink("/", "x"), "must be a directory"),
        (Tar::new().file("", 0, b""), "a member has no name"),
        (Tar::new().raw(b'S', b"s", b"", 0, (0, 0), b""), "sparse"),
        (Tar::new().raw(b'Z', b"s", b"", 0, (0, 0), b""), "member type 0x5a is not supported"),
        (Tar::new().pax(&[("GNU.sparse.major", b"1")]).file("s", 0, b""), "sparse"),
        (Tar::new().pax(&[("size", b"x")]).file("s", 0, b""), "pax extended header is broken"),
        (Tar::new().pax(&[("path", b"a\0b")]).file("s", 0, b""), "NUL"),
        (Tar::new().raw(b'x', b"p", b"", 0, (0, 0), b"99 a=b\n").file("s", 0, b""), "pax extended header is broken"),
        (Tar::new().pax(&[("uid", b"4294967296")]).file("s", 0, b""), "uid is out of range"),
        (Tar::new().pax(&[("path", &b"a/".repeat(3000))]).file("s", 0, b""), "longer than 4095 bytes"),
        (Tar::new().pax(&[("path", &b"a".repeat(256))]).file("s", 0, b""), "longer than 255 bytes"),
        (Tar::new().device(b'3', "dev", 4096, 0), "device number is out of range"),
    ] {
        let error = layers(&[tar.end()]).map(|i| paths(&i)).expect_err(why);
        assert!(error.contains(why), "{error:?} should say {why:?}");
        assert!(error.starts_with("layer 'layer0/layer.tar': "), "{error}");
    }
}

#[test]
fn symlink_chains_can_not_make_paths_too_long() {
    // Two symlinks of 2,000 bytes each on the way to a short name.
    let mut tar = Tar::new();
    let mut path = String::new();
    for i in 0..20 {
        let name = format!("{i:0>99}");
        path = format!("{path}/{name}");
        tar = tar.pax(&[("path", path.as_bytes())]).dir("d", 0o755);
    }
    tar = tar.pax(&[("linkpath", path.as_bytes())]).symlink("s", "x");
    let again = format!("s{path}");
    tar =
        tar.pax(&[("path", again.as_bytes())]).dir("d", 0o755).pax(&[("linkpath", again.as_bytes())]).symlink("t", "x");
    let error = layers(&[tar.file(&format!("t/{}", "q".repeat(97)), 0, b"").end()]).map(|i| paths(&i)).unwrap_err();
    assert!(error.contains("longer than 4095 bytes"), "{error}");
}

#[test]
fn long_names_numbers_and_special_files() {
    let long = "n".repeat(90) + "/" + &"m".repeat(90) + "/" + &"o".repeat(90);
    let gnu = Tar::new()
        .raw(b'L', b"././@LongLink", b"", 0, (0, 0), [long.as_bytes(), b"\0"].concat().as_slice())
        .raw(b'K', b"././@LongLink", b"", 0, (0, 0), [long.as_bytes(), b"\0"].concat().as_slice())
        .symlink("short", "short")
        .pax(&[
            ("path", b"pax/\xff\n"),
            ("uid", b"3000000"),
            ("gid", b"4294967295"),
            ("mtime", b"-1.25"),
            ("SCHILY.xattr.security.capability", b"\x01\n\x02=\n"),
            ("comment", b"x"),
        ])
        .file("x", 0o644, b"data")
        .raw(b'g', b"global", b"", 0, (0, 0), b"12 comment=x")
        .device(b'3', "dev/null", 1, 3)
        .device(b'4', "dev/sda", 8, 0)
        .raw(b'6', b"dev/fifo", b"", 0o600, (0, 0), b"")
        .raw(b'7', b"contiguous", b"", 0o600, (0, 0), b"c")
        .raw(0, b"old/", b"", 0o700, (0, 0), b"")
        .end();
    let image = layers(&[gnu]).unwrap();
    let fs = &image.rootfs;
    assert_eq!(image.notes, ["extended attributes of 1 files are left out"]);
    let node = |path: &[u8]| fs.node(fs.lookup(path, false).unwrap_or_else(|| panic!("{path:?}")));
    let link = node(long.as_bytes());
    assert_eq!(link.kind, megalith_image::NodeKind::Symlink(long.clone().into_bytes()));
    let meta = node(b"pax/\xff\n").meta;
    assert_eq!((meta.uid, meta.gid, meta.mtime, meta.mtime_nsec), (3_000_000, u32::MAX, -2, 750_000_000));
    assert_eq!(node(b"dev/null").kind, megalith_image::NodeKind::CharDevice { major: 1, minor: 3 });
    assert_eq!(node(b"dev/sda").kind, megalith_image::NodeKind::BlockDevice { major: 8, minor: 0 });
    assert_eq!(node(b"dev/fifo").file_type(), FileType::Fifo);
    assert_eq!(fs.data(fs.lookup(b"contiguous", true).unwrap()), b"c");
    assert_eq!(node(b"old").meta.mode, 0o700);
}

#[test]
fn the_image_for_this_platform_is_chosen() {
    let layers = two_layers();
    let pack: Pack = ("", <[u8]>::to_vec);
    let scratch = Scratch::new();
    let mut files = Files::new();
    let with = |mut manifest: serde_json::Value, key: &str, value: serde_json::Value| {
        manifest[key] = value;
        manifest
    };
    let amd64 = add_image(&mut files, &config(&layers), &layers, pack);
    let mut other = config(&layers[..1]);
    other["architecture"] = "arm64".into();
    let arm64 = add_image(&mut files, &other, &layers[..1], pack);
    let arm64 = with(arm64, "platform", json!({"os": "linux", "architecture": "arm64"}));
    let attestation = with(amd64.clone(), "platform", json!({"os": "unknown", "architecture": "unknown"}));
    let plain = with(amd64.clone(), "platform", json!({"os": "linux", "architecture": "amd64"}));
    let inner = json!({"manifests": [arm64, attestation, plain]}).to_string();
    let inner = blob(&mut files, INDEX, inner.as_bytes());
    set_index(&mut files, &[with(inner.clone(), "annotations", json!({"org.opencontainers.image.ref.name": "multi"}))]);
    assert_eq!(paths(&scratch.open_dir(&files).unwrap()).len(), 8);
    // Without platform in the descriptor the config says it.
    let mut bare = arm64.clone();
    bare.as_object_mut().unwrap().remove("platform");
    bare.as_object_mut().unwrap().remove("mediaType");
    set_index(&mut files, &[bare.clone(), amd64.clone()]);
    assert_eq!(paths(&scratch.open_dir(&files).unwrap()).len(), 8);
    set_index(&mut files, &[bare]);
    assert_eq!(scratch.open_dir(&files).map(|_| ()), Err("it holds no image for linux/amd64, but linux/arm64".into()));
    // A plain image is preferred to one that needs a newer CPU.
    let second = add_image(&mut files, &config(&layers[..1]), &layers[..1], pack);
    let v3 = with(second.clone(), "platform", json!({"os": "linux", "architecture": "amd64", "variant": "v3"}));
    set_index(&mut files, &[v3, plain]);
    assert_eq!(paths(&scratch.open_dir(&files).unwrap()).len(), 8);
    // Two images: by name.
    let named = |m: &serde_json::Value, n: &str| {
        with(m.clone(), "annotations", json!({"org.opencontainers.image.ref.name": n}))
    };
    set_index(&mut files, &[named(&amd64, "one"), named(&second, "docker.io/x/two:2")]);
    let error = scratch.open_dir(&files).map(|_| ()).unwrap_err();
    assert_eq!(error, "it holds 2 images for linux/amd64, name one of them: one, docker.io/x/two:2");
    for (reference, count) in [("one", Ok(8)), ("docker.io/x/two:2", Ok(8)), ("2", Ok(8)), ("three", Err(()))] {
        let options = Options { reference: Some(reference.into()), ..Options::default() };
        let image = scratch.open_with(&as_tar(&files), &options);
        assert_eq!(image.map(|i| paths(&i).len()).map_err(|_| ()), count, "{reference}");
    }
    let tags = |reference: &str| {
        let options = Options { reference: Some(reference.into()), ..Options::default() };
        scratch.open_with(&as_tar(&docker(&config(&layers), &layers)), &options).map(|_| ())
    };
    assert_eq!(tags("test:latest"), Ok(()));
    assert_eq!(tags("latest"), Ok(()));
    assert_eq!(tags("other"), Err("'manifest.json': it names no such image".into()));
}

#[test]
fn docker_archives_may_link_to_layers() {
    let layers = two_layers();
    let mut tar = Tar::new();
    let files = docker(&config(&[layers[0].clone(), layers[0].clone()]), &[layers[0].clone(), layers[0].clone()]);
    for (name, data) in &files {
        tar = match &**name {
            "layer1/layer.tar" => tar.symlink(name, "../layer0/layer.tar"),
            _ => tar.file(&format!("./{name}"), 0o644, data),
        };
    }
    assert_eq!(paths(&Scratch::new().open(&tar.end()).unwrap()).len(), 8);
    let mut tar = Tar::new();
    for (name, data) in &files {
        tar = match &**name {
            "layer1/layer.tar" => {
                tar.symlink(name, "../layer2/layer.tar").symlink("layer2/layer.tar", "../layer1/layer.tar")
            }
            _ => tar.file(name, 0o644, data),
        };
    }
    let error = Scratch::new().open(&tar.end()).map(|_| ()).unwrap_err();
    assert_eq!(error, "'layer1/layer.tar': leads through links in a circle");
}

#[test]
fn root_directories() {
    let scratch = Scratch::new();
    let root = scratch.path("root");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::write(root.join("bin/tool"), "tool").unwrap();
    std::fs::set_permissions(root.join("bin/tool"), std::fs::Permissions::from_mode(0o4711)).unwrap();
    std::fs::hard_link(root.join("bin/tool"), root.join("bin/a")).unwrap();
    symlink("/etc/passwd", root.join("link")).unwrap();
    symlink("..", root.join("bin/loop")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let image = open(&root).unwrap();
    assert_eq!(image.format, Format::Directory);
    assert_eq!(image.config, Default::default());
    assert_eq!(image.notes, ["1 sockets are left out"]);
    assert_eq!(paths(&image), ["/", "/bin", "/bin/a", "/bin/loop", "/bin/tool", "/link"]);
    let tool = image.rootfs.lookup(b"bin/tool", true).unwrap();
    assert_eq!(image.rootfs.lookup(b"bin/loop/bin/a", true), Some(tool));
    assert_eq!((image.rootfs.node(tool).nlink, image.rootfs.node(tool).meta.mode), (2, 0o4711));
    assert_eq!(image.container_id, image.rootfs.tree_digest().unwrap());
    assert_eq!(open(&root).unwrap().container_id, image.container_id);
    std::fs::set_permissions(root.join("bin/tool"), std::fs::Permissions::from_mode(0o711)).unwrap();
    assert_ne!(open(&root).unwrap().container_id, image.container_id);
    let empty = scratch.path("empty");
    std::fs::create_dir(&empty).unwrap();
    assert!(check(&empty, open(&empty)).map(|_| ()).unwrap_err().starts_with("the directory is empty"));
    let none = scratch.path("none");
    assert!(check(&none, open(&none)).map(|_| ()).unwrap_err().starts_with("No such file"));
}

#[test]
fn a_deep_directory_tree_is_read() {
    let scratch = Scratch::new();
    let deep = scratch.path("root").join("d/".repeat(300));
    std::fs::create_dir_all(&deep).unwrap();
    assert_eq!(paths(&open(scratch.path("root")).unwrap()).len(), 301);
}

#[test]
fn files_are_added_and_nothing_is_replaced() {
    use megalith_image::{Added, Builder, Meta, Options};
    use std::collections::BTreeMap;
    let mut builder = Builder::new(&Options::default()).unwrap();
    builder.directory("usr/lib", Meta::new(0o755)).unwrap();
    builder.file("usr/lib/there", Meta::new(0o644), &b"old"[..]).unwrap();
    builder.symlink("link", Meta::new(0o777), "usr").unwrap();
    let rootfs = builder.finish().unwrap();
    let file = |executable| Added::File { bytes: (*b"new").into(), executable };
    let add = |path: &str, added: Added| rootfs.with_added(&BTreeMap::from([(path.as_bytes().to_vec(), added)]), 7);
    let added = add("/usr/lib/a/b", file(true)).unwrap();
    let id = added.lookup(b"/usr/lib/a/b", false).unwrap();
    assert_eq!((added.data(id), added.node(id).meta.mode, added.node(id).meta.mtime), (&b"new"[..], 0o755, 7));
    let lib = added.lookup(b"/usr/lib", false).unwrap();
    assert_eq!(added.node(lib).nlink, 3, "a directory more");
    assert_eq!(added.data(added.lookup(b"/usr/lib/there", false).unwrap()), b"old");
    let link = add("/usr/s", Added::Symlink(b"lib/there".to_vec())).unwrap();
    assert_eq!(link.data(link.lookup(b"/usr/s", true).unwrap()), b"old");
    for (path, why) in [
        ("/usr/lib/there", "is in the image already"),
        ("/usr/lib", "is in the image already"),
        ("/usr/lib/there/x", "no directory"),
        ("/link/x", "no directory"),
        ("/usr/../x", "no path for a file"),
    ] {
        assert!(add(path, file(false)).err().unwrap().to_string().contains(why), "{path}");
    }
}
