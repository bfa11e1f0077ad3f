//! Broken and hostile images: one line each, no panic, no hang.

mod common;
use common::*;
use megalith_image::Options;
use serde_json::json;

fn layer() -> Vec<u8> {
    Tar::new()
        .dir("bin", 0o755)
        .file("bin/a", 0o755, &b"contents".repeat(100))
        .pax(&[("path", b"bin/long")])
        .file("x", 0o644, b"y")
        .symlink("l", "bin")
        .hard_link("l/h", "bin/a")
        .file("bin/.wh.z", 0, b"")
        .end()
}

const RAW: Pack = ("", <[u8]>::to_vec);

fn refused(image: Result<megalith_image::Image, String>, why: &str) {
    let error = image.map(|i| paths(&i)).expect_err(why);
    assert!(error.contains(why), "{error:?} should say {why:?}");
}

#[test]
fn blobs_must_have_their_digests_and_sizes() {
    let scratch = Scratch::new();
    let good = oci(&[layer()], ("+gzip", gzip));
    let blobs: Vec<String> = good.keys().filter(|k| k.starts_with("blobs/")).cloned().collect();
    assert_eq!(blobs.len(), 3);
    for name in &blobs {
        let mut files = good.clone();
        let at = files[name].len() / 2;
        files.get_mut(name).unwrap()[at] ^= 1;
        refused(scratch.open_dir(&files), "its content does not have its digest");
        let mut files = good.clone();
        files.get_mut(name).unwrap().pop();
        refused(scratch.open_dir(&files), "its descriptor says");
        let mut files = good.clone();
        files.remove(name);
        refused(scratch.open_dir(&files), "No such file");
        refused(scratch.open(&as_tar(&files)), "not in the archive");
    }
    // diff_ids: of other content, and of another number of layers.
    let mut files = Files::new();
    let manifest = add_image(&mut files, &config(&[b"other".to_vec()]), &[layer()], RAW);
    set_index(&mut files, &[manifest]);
    refused(scratch.open_dir(&files), "its unpacked content does not have the digest");
    let mut files = Files::new();
    let manifest = add_image(&mut files, &config(&[]), &[layer()], RAW);
    set_index(&mut files, &[manifest]);
    refused(scratch.open_dir(&files), "'diff_ids' do not match the 1 layers");
}

#[test]
fn broken_json_and_digests_are_named() {
    let scratch = Scratch::new();
    let good = oci(&[layer()], RAW);
    let index = String::from_utf8(good["index.json"].clone()).unwrap();
    for (text, why) in [
        (String::new(), "'index.json': EOF"),
        ("{}".into(), "'index.json': it has no 'manifests'"),
        ("[]".into(), "'index.json': "),
        ("[".repeat(1 << 20), "'index.json': "),
        (index.replace("sha256:", "sha256:../../../../etc/"), "is not sha256 or sha512"),
        (index.replace("sha256:", "md5:"), "is not sha256 or sha512"),
        (index.replace("\"size\":", "\"size\":-"), "'index.json': "),
        (index.replace(MANIFEST, "text/plain"), "no image for linux/amd64, but text/plain"),
        (index.replace(MANIFEST, INDEX), "it has no 'manifests'"),
        (json!({"manifests": []}).to_string(), "no image for linux/amd64"),
    ] {
        let mut files = good.clone();
        files.insert("index.json".into(), text.into_bytes());
        refused(scratch.open_dir(&files), why);
        refused(scratch.open(&as_tar(&files)), why);
    }
    let mut files = good.clone();
    files.insert("oci-layout".into(), br#"{"imageLayoutVersion": "2.0.0"}"#.to_vec());
    refused(scratch.open_dir(&files), "'oci-layout': its version is not 1.x");
    let mut files = good.clone();
    files.insert("index.json".into(), vec![b' '; 17 << 20]);
    refused(scratch.open_dir(&files), "'index.json': its 17825792 bytes are too many");
    let mut files = good;
    files.remove("index.json");
    refused(scratch.open_dir(&files), "'index.json': No such file");
}

#[test]
fn unreadable_layer_types_are_named() {
    let scratch = Scratch::new();
    for media_type in ["application/vnd.oci.image.layer.v1.tar+encrypted", "application/vnd.in-toto+json"] {
        let mut files = Files::new();
        let config =
            blob(&mut files, "application/vnd.oci.image.config.v1+json", config(&[layer()]).to_string().as_bytes());
        let layer = blob(&mut files, media_type, &layer());
        let manifest = json!({"config": config, "layers": [layer]}).to_string();
        let manifest = blob(&mut files, MANIFEST, manifest.as_bytes());
        set_index(&mut files, &[manifest]);
        refused(scratch.open_dir(&files), &format!("a layer of type '{media_type}' is not supported"));
    }
    refused(layers(&[b"\xfd7zXZ\0abcdef".to_vec()]), "compressed with xz, which is not supported");
    refused(layers(&[b"BZh91AY".to_vec()]), "compressed with bzip2, which is not supported");
}

#[test]
fn indices_may_not_go_in_circles() {
    let scratch = Scratch::new();
    // An index that names itself can not have the right digest, but must not be followed either.
    let mut files = oci(&[layer()], RAW);
    let digest = format!("sha256:{}", "ab".repeat(32));
    let cyclic = json!({"manifests": [{"mediaType": INDEX, "digest": digest, "size": 200}]}).to_string();
    let cyclic = format!("{cyclic:<200}");
    files.insert(format!("blobs/sha256/{}", "ab".repeat(32)), cyclic.clone().into_bytes());
    files.insert("index.json".into(), cyclic.into_bytes());
    refused(scratch.open_dir(&files), "its content does not have its digest");
    // Deeper than anyone needs.
    let mut files = oci(&[layer()], RAW);
    let mut inner = json!([]);
    for _ in 0..12 {
        let index = json!({"manifests": inner}).to_string();
        inner = json!([blob(&mut files, INDEX, index.as_bytes())]);
    }
    set_index(&mut files, inner.as_array().unwrap());
    refused(scratch.open_dir(&files), "more than 8 indices inside one another");
    // 10 indices in each of 8 levels would be 10^8 visits.
    let mut files = oci(&[layer()], RAW);
    let mut inner = Vec::new();
    for _ in 0..8 {
        let index = json!({"manifests": inner}).to_string();
        inner = vec![blob(&mut files, INDEX, index.as_bytes()); 10];
    }
    set_index(&mut files, &inner);
    refused(scratch.open_dir(&files), "more than 10000 images in all indices");
}

#[test]
fn truncated_files_are_named() {
    let scratch = Scratch::new();
    refused(scratch.open(b""), "the file is empty");
    refused(scratch.open(b"#!/bin/sh\n"), "neither a directory nor a tar archive");
    refused(scratch.open(&b"text ".repeat(1000)), "neither a directory nor a tar archive");
    refused(scratch.open(&layer()), "the archive has neither 'index.json'");
    refused(scratch.open(&[0; 1024]), "the archive has neither");
    let whole = as_tar(&docker(&json!({}), &[layer()]));
    // Up to the last member's data; what is cut off behind is padding.
    for len in (1..whole.len() - 1024 - 512).step_by(509) {
        let error = scratch.open(&whole[..len]).map(|i| paths(&i)).unwrap_err();
        assert!(!error.is_empty());
    }
    for len in (1..gzip(&whole).len() - 1).step_by(13) {
        let error = scratch.open(&gzip(&whole)[..len]).map(|i| paths(&i)).unwrap_err();
        assert!(!error.is_empty());
    }
    refused(scratch.open(&gzip(&whole)[..gzip(&whole).len() - 9]), "gzip data end in the middle");
    refused(scratch.open(&zstd(&whole)[..zstd(&whole).len() - 1]), "zstd data");
    let mut bad = gzip(&whole);
    let at = bad.len() - 5;
    bad[at] ^= 1;
    refused(scratch.open(&bad), "gzip data are broken");
    // Layers.
    for len in (1..layer().len() - 1024).step_by(97) {
        if let Err(error) = layers(&[layer()[..len].to_vec()]) {
            assert!(error.starts_with("layer 'layer0/layer.tar': "), "{error}");
        } else {
            // Between members nothing shows that more should follow; only diff_ids would.
            assert!(len.is_multiple_of(512));
        }
    }
    refused(layers(&[gzip(&layer())[..100].to_vec()]), "gzip data end in the middle");
    let mut bad = layer();
    bad[512 + 3] ^= 1;
    refused(layers(&[bad]), "not a tar header (its checksum is wrong)");
}

#[test]
fn bombs_are_limited() {
    let scratch = Scratch::new();
    let bomb = gzip(&Tar::new().file("zeros", 0o644, &vec![0; 8 << 20]).end());
    assert!(bomb.len() < 100_000);
    let image = as_tar(&docker(&json!({}), &[bomb.clone(), bomb]));
    let limit = |max_bytes| Options { max_bytes, ..Options::default() };
    assert!(scratch.open_with(&image, &limit(20 << 20)).is_ok());
    // The limit is for all layers together.
    refused(
        scratch.open_with(&image, &limit(10 << 20)),
        "layer 'layer1/layer.tar': member 'zeros': it unpacks to more than the limit",
    );
    refused(scratch.open_with(&gzip(&vec![0; 4 << 20]), &limit(1 << 20)), "it unpacks to more than the limit");
    // Long end padding counts too.
    let padded = gzip(&[Tar::new().end(), vec![0; 4 << 20]].concat());
    refused(scratch.open_with(&as_tar(&docker(&json!({}), &[padded])), &limit(1 << 20)), "more than the limit");
    // An extended header that would fill memory.
    let tar = Tar::new().raw(b'x', b"pax", b"", 0, (0, 0), &vec![b' '; (1 << 20) + 1]).file("a", 0, b"");
    refused(layers(&[tar.end()]), "an extended header is larger than 1 MiB");
    // Too many files.
    let many = (0..200).fold(Tar::new(), |t, i| t.file(&format!("f{i}"), 0, b"")).end();
    let options = Options { max_nodes: 100, ..Options::default() };
    refused(scratch.open_with(&as_tar(&docker(&json!({}), &[many])), &options), "more than 100 files");
    // A size that no archive has.
    let huge = Tar::new().pax(&[("size", b"4611686018427387904")]).file("a", 0, b"");
    refused(layers(&[huge.end()]), "its size is out of range");
    let huge = Tar::new().pax(&[("size", b"4000000000000000000")]).file("a", 0, b"");
    refused(layers(&[huge.end()]), "member 'a': the archive ends here, in the middle");
}

#[test]
fn wrong_platforms_and_names() {
    let scratch = Scratch::new();
    let arm = json!({"architecture": "arm64", "os": "linux"});
    refused(scratch.open(&as_tar(&docker(&arm, &[layer()]))), "the image is for linux/arm64, not for linux/amd64");
    let mut files = docker(&json!({}), &[layer()]);
    let config = files.keys().find(|k| k.len() == 69).unwrap().clone();
    files.insert(config, b"{ }".to_vec());
    refused(scratch.open(&as_tar(&files)), "its content does not have its digest");
    for (manifest, why) in [
        (json!([]), "'manifest.json': it names no such image"),
        (json!({}), "'manifest.json': "),
        (json!([{"Config": "../x", "Layers": []}]), "'../x': not a path in the archive"),
        (json!([{"Config": "nothing", "Layers": []}]), "'nothing': not in the archive"),
        (json!([{"Config": "c", "Layers": ["/etc/passwd"]}]), "'/etc/passwd': not in the archive"),
        (json!([{"Config": "c"}, {"Config": "c", "RepoTags": ["a:1"]}]), "it names 2 images, name one of them: a:1"),
    ] {
        let mut files = Files::new();
        files.insert("c".into(), b"{}".to_vec());
        files.insert("manifest.json".into(), manifest.to_string().into_bytes());
        refused(scratch.open(&as_tar(&files)), why);
    }
}

/// Random damage, always the same: a panic or a hang fails the test, everything else must be one line (checked in `Scratch`).
#[test]
fn random_damage() {
    let scratch = Scratch::new();
    let packed: [Vec<u8>; 5] = [
        as_tar(&docker(&json!({}), &[layer(), layer()])),
        as_tar(&docker(&json!({}), &[gzip(&layer()), zstd(&layer())])),
        gzip(&as_tar(&docker(&json!({}), &[layer()]))),
        zstd(&as_tar(&docker(&json!({}), &[layer()]))),
        as_tar(&oci(&[layer()], ("+gzip", gzip))),
    ];
    let mut random = Random(0x853c_49e6_748f_ea9b);
    let options = Options { max_bytes: 64 << 20, max_nodes: 10_000, ..Options::default() };
    let (mut accepted, mut refused) = (0, 0);
    for round in 0..rounds(8000) {
        let mut image = packed[round % packed.len()].clone();
        for _ in 0..=random.below(4) {
            let at = random.below(image.len());
            match random.below(5) {
                0 => image[at] = random.below(256) as u8,
                1 => image[at] ^= 1 << random.below(8),
                2 => image.truncate(at.max(1)),
                3 => {
                    let from = random.below(image.len());
                    let len = random.below(600).min(image.len() - from.max(at));
                    image.copy_within(from..from + len, at);
                }
                _ => {
                    // A header field with a right checksum, to get past it.
                    let header = at / 512 * 512;
                    if let Some(block) = image.get_mut(header..header + 512) {
                        block[[0, 100, 108, 124, 136, 156, 157, 257, 329, 345][random.below(10)] + random.below(8)] =
                            b"0127x/.\0\xff\x80"[random.below(10)];
                        let mut fixed = tar::Header::from_byte_slice(block).clone();
                        fixed.set_cksum();
                        block.copy_from_slice(fixed.as_bytes());
                    }
                }
            }
        }
        match scratch.open_with(&image, &options) {
            Ok(image) => {
                accepted += 1;
                // What was accepted can be written and read.
                let mut section = Vec::new();
                let summary = megalith_image::fssection::write(&image.rootfs, &mut section, 0).unwrap();
                megalith_image::fssection::Reader::open(&*section, &summary.root).unwrap().check().unwrap();
            }
            Err(_) => refused += 1,
        }
    }
    assert!(accepted > 50 && refused > 500, "{accepted} {refused}");
}
