//! Makes images to read.

#![allow(dead_code, reason = "each test file uses its part")]

use megalith_image::{Image, Options, open_with};
use megalith_manifest::FileHash;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A tar archive, written member by member.
pub struct Tar(pub Vec<u8>);

impl Tar {
    pub fn new() -> Tar {
        Tar(Vec::new())
    }

    /// A member with any fields; names may be anything that fits.
    pub fn raw(mut self, flag: u8, name: &[u8], link: &[u8], mode: u32, ids: (u64, u64), data: &[u8]) -> Tar {
        let mut h = tar::Header::new_ustar();
        let old = h.as_old_mut();
        old.linkflag = [flag];
        old.name[..name.len()].copy_from_slice(name);
        old.linkname[..link.len()].copy_from_slice(link);
        h.set_mode(mode);
        h.set_uid(ids.0);
        h.set_gid(ids.1);
        h.set_mtime(1_700_000_000);
        h.set_size(data.len() as u64);
        h.set_cksum();
        self.0.extend_from_slice(h.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, name: &str, mode: u32, data: &[u8]) -> Tar {
        self.raw(b'0', name.as_bytes(), b"", mode, (0, 0), data)
    }

    pub fn dir(self, name: &str, mode: u32) -> Tar {
        self.raw(b'5', name.as_bytes(), b"", mode, (0, 0), b"")
    }

    pub fn symlink(self, name: &str, target: &str) -> Tar {
        self.raw(b'2', name.as_bytes(), target.as_bytes(), 0o777, (0, 0), b"")
    }

    pub fn hard_link(self, name: &str, target: &str) -> Tar {
        self.raw(b'1', name.as_bytes(), target.as_bytes(), 0o644, (0, 0), b"")
    }

    pub fn device(mut self, flag: u8, name: &str, major: u32, minor: u32) -> Tar {
        let at = self.0.len();
        self = self.raw(flag, name.as_bytes(), b"", 0o600, (0, 0), b"");
        let mut block: [u8; 512] = self.0[at..at + 512].try_into().unwrap();
        let mut h = tar::Header::from_byte_slice(&block).clone();
        h.set_device_major(major).unwrap();
        h.set_device_minor(minor).unwrap();
        h.set_cksum();
        block.copy_from_slice(h.as_bytes());
        self.0[at..].copy_from_slice(&block);
        self
    }

    /// A pax extended header for the next member.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Tar {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let len = (rest + 1..).find(|n| *n == rest + n.to_string().len()).unwrap();
            data.extend_from_slice(format!("{len} {key}=").as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.raw(b'x', b"pax", b"", 0o644, (0, 0), &data)
    }

    pub fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(data).unwrap();
    out.finish().unwrap()
}

pub fn zstd(data: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(data, 1).unwrap()
}

pub fn sha(data: &[u8]) -> String {
    FileHash::of(data).to_string()
}

/// End of a layer's media type, and what packs a layer so.
pub type Pack = (&'static str, fn(&[u8]) -> Vec<u8>);

/// The files of an image, by name.
pub type Files = BTreeMap<String, Vec<u8>>;

pub fn config(layers: &[Vec<u8>]) -> Value {
    json!({
        "architecture": "amd64", "os": "linux",
        "config": {
            "User": "nobody", "Env": ["PATH=/bin", "A=b c"], "Entrypoint": ["/bin/sh"], "Cmd": ["-c", "true"],
            "WorkingDir": "/tmp", "Labels": {"x": "y"}, "StopSignal": "SIGINT", "Volumes": null,
        },
        "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|l| sha(l)).collect::<Vec<_>>()},
    })
}

/// Adds a blob; gives its descriptor.
pub fn blob(files: &mut Files, media_type: &str, data: &[u8]) -> Value {
    let digest = sha(data);
    files.insert(digest.replace("sha256:", "blobs/sha256/"), data.to_vec());
    json!({"mediaType": media_type, "digest": digest, "size": data.len()})
}

pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Adds an image with these unpacked layers, packed by `pack`; gives the manifest's descriptor.
pub fn add_image(files: &mut Files, config: &Value, layers: &[Vec<u8>], pack: Pack) -> Value {
    let config = blob(files, "application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
    let media_type = format!("application/vnd.oci.image.layer.v1.tar{}", pack.0);
    let layers: Vec<Value> = layers.iter().map(|l| blob(files, &media_type, &pack.1(l))).collect();
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
    blob(files, MANIFEST, manifest.to_string().as_bytes())
}

pub fn set_index(files: &mut Files, manifests: &[Value]) {
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    files.insert("index.json".into(), index.to_string().into_bytes());
    files.insert("oci-layout".into(), br#"{"imageLayoutVersion": "1.0.0"}"#.to_vec());
}

/// An OCI layout with one image.
pub fn oci(layers: &[Vec<u8>], pack: Pack) -> Files {
    let mut files = Files::new();
    let manifest = add_image(&mut files, &config(layers), layers, pack);
    set_index(&mut files, &[manifest]);
    files
}

/// A docker-archive with one image.
pub fn docker(config: &Value, layers: &[Vec<u8>]) -> Files {
    let mut files = Files::new();
    let config = config.to_string().into_bytes();
    let config_name = format!("{}.json", FileHash::of(&config).hex());
    let mut names = Vec::new();
    for (i, layer) in layers.iter().enumerate() {
        names.push(format!("layer{i}/layer.tar"));
        files.insert(names[i].clone(), layer.clone());
    }
    let manifest = json!([{"Config": config_name, "RepoTags": ["test:latest"], "Layers": names}]);
    files.insert(config_name, config);
    files.insert("manifest.json".into(), manifest.to_string().into_bytes());
    files
}

pub fn as_tar(files: &Files) -> Vec<u8> {
    files.iter().fold(Tar::new(), |t, (name, data)| t.file(name, 0o644, data)).end()
}

pub fn write_dir(dir: &Path, files: &Files) {
    for (name, data) in files {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, data).unwrap();
    }
}

/// A directory for one test.
pub struct Scratch(TempDir);

impl Scratch {
    pub fn new() -> Scratch {
        Scratch(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Opens bytes as an image file. An error must be one line that begins with the path and says more.
    pub fn open(&self, bytes: &[u8]) -> Result<Image, String> {
        self.open_with(bytes, &Options::default())
    }

    pub fn open_with(&self, bytes: &[u8], options: &Options) -> Result<Image, String> {
        let path = self.path("image");
        // A new file each time: ext4 waits for the disk when a file is truncated and written again.
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, bytes).unwrap();
        check(&path, open_with(&path, options))
    }

    pub fn open_dir(&self, files: &Files) -> Result<Image, String> {
        let path = self.path("layout");
        let _ = std::fs::remove_dir_all(&path);
        write_dir(&path, files);
        check(&path, open_with(&path, &Options::default()))
    }
}

pub fn check(path: &Path, result: Result<Image, megalith_image::Error>) -> Result<Image, String> {
    result.map_err(|e| {
        let line = e.to_string();
        let rest = line.strip_prefix(&format!("{}: ", path.display())).unwrap_or_else(|| panic!("{line}")).to_string();
        assert!(!rest.is_empty() && !rest.contains(char::is_control) && rest.len() < 2000, "{rest:?}");
        rest
    })
}

/// Opens one or more layers as a docker-archive without `diff_ids`.
pub fn layers(layers: &[Vec<u8>]) -> Result<Image, String> {
    Scratch::new().open(&as_tar(&docker(&json!({"architecture": "amd64", "os": "linux"}), layers)))
}

/// All paths with type and permissions, link count, owner and what is in it.
pub fn list(image: &Image) -> Vec<String> {
    let fs = &image.rootfs;
    fs.iter()
        .map(|(path, id, node)| {
            let what = match &node.kind {
                megalith_image::NodeKind::Regular(_) => String::from_utf8_lossy(fs.data(id)).into_owned(),
                megalith_image::NodeKind::Symlink(target) => format!("-> {}", String::from_utf8_lossy(target)),
                megalith_image::NodeKind::CharDevice { major, minor } => format!("c {major},{minor}"),
                megalith_image::NodeKind::BlockDevice { major, minor } => format!("b {major},{minor}"),
                megalith_image::NodeKind::Fifo => "fifo".into(),
                megalith_image::NodeKind::Directory(_) => "dir".into(),
            };
            format!("{} {:o} {}", String::from_utf8_lossy(&path), node.meta.mode, what)
        })
        .collect()
}

pub fn paths(image: &Image) -> Vec<String> {
    image.rootfs.iter().map(|(path, ..)| String::from_utf8_lossy(&path).into_owned()).collect()
}

/// How often to try damaged input: `normal`, unless `MEGALITH_FUZZ_ROUNDS` says otherwise, for longer runs by hand.
pub fn rounds(normal: usize) -> usize {
    std::env::var("MEGALITH_FUZZ_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(normal)
}

/// Numbers that look random and are always the same.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}
