use crate::source::Source;
use crate::stream::{ContentDigest, Hasher, Hashing, Limited, decompress};
use crate::tarball::Members;
use crate::{Builder, Error, Rootfs, config, directory, docker, layer, oci};
use megalith_manifest::FileHash;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How to read an image.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which image, where there are several: its tag or reference as OCI's annotation `org.opencontainers.image.ref.name` or
    /// docker's `RepoTags` say, or its manifest's digest.
    pub reference: Option<String>,
    /// Directory for temporary files; the system's if `None`. It takes the unpacked image's size.
    pub spool_dir: Option<PathBuf>,
    /// Most bytes that all layers may unpack to, and that a compressed archive may. The limit stops decompression bombs; 64 GiB unless changed.
    pub max_bytes: u64,
    /// Most files in all layers together; 4,000,000 unless changed. Each takes some 200 bytes of memory.
    pub max_nodes: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { reference: None, spool_dir: None, max_bytes: 64 << 30, max_nodes: 4_000_000 }
    }
}

/// An image that has been read.
pub struct Image {
    /// What kind it was.
    pub format: Format,
    /// Its files.
    pub rootfs: Rootfs,
    /// Its config; of a root directory, an empty one.
    pub config: ImageConfig,
    /// SHA-256 of the image config's bytes (the image ID), or where there is no config [`Rootfs::tree_digest`].
    pub container_id: FileHash,
    /// What was left out, one line each: extended attributes, sockets, other file systems.
    pub notes: Vec<String>,
}

/// Kind of an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// OCI image layout, directory or tar (OCI image specification, `image-layout.md`).
    Oci,
    /// What `docker save` writes.
    DockerArchive,
    /// A directory that is a root file system.
    Directory,
}

/// The image's config, as far as it matters here (OCI image specification, `config.md`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ImageConfig {
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// Each `NAME=VALUE`.
    pub env: Vec<String>,
    /// Empty means `/`.
    pub working_dir: String,
    /// Empty means root.
    pub user: String,
    pub stop_signal: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// SHA-256 of the config's bytes; `None` for a root directory.
    pub digest: Option<FileHash>,
}

impl ImageConfig {
    /// The part that a manifest holds.
    pub fn to_manifest(&self) -> megalith_manifest::Config {
        megalith_manifest::Config {
            entrypoint: self.entrypoint.clone(),
            cmd: self.cmd.clone(),
            env: self.env.clone(),
            working_dir: self.working_dir.clone(),
            user: self.user.clone(),
        }
    }
}

/// Reads the image at `path` with default [`Options`].
pub fn open(path: impl AsRef<Path>) -> Result<Image, Error> {
    open_with(path, &Options::default())
}

/// Reads the image at `path`: an OCI image layout (directory or tar), a docker-archive, or a root file system directory. Tar archives may be compressed with
/// gzip or zstd.
///
/// Blobs are checked against their digests and sizes, and unpacked layers against the config's `diff_ids`. File contents go
/// to a temporary file. Errors are one line that begins with `path`.
pub fn open_with(path: impl AsRef<Path>, options: &Options) -> Result<Image, Error> {
    let path = path.as_ref();
    read(path, options).map_err(|e| e.of(path.display()))
}

fn read(path: &Path, options: &Options) -> Result<Image, Error> {
    if std::fs::metadata(path)?.is_dir() {
        let source = Source::Directory(path.to_path_buf());
        if source.has("oci-layout") || (source.has("index.json") && source.has("blobs")) {
            return read_oci(&source, options);
        }
        let mut notes = Vec::new();
        let rootfs = directory::read(path, options, &mut notes)?;
        let container_id = rootfs.tree_digest()?;
        return Ok(Image { format: Format::Directory, rootfs, config: ImageConfig::default(), container_id, notes });
    }
    let source = Source::archive(path, options)?;
    match (source.has("oci-layout") || source.has("index.json"), source.has("manifest.json")) {
        (true, _) => read_oci(&source, options),
        (false, true) => read_docker(&source, options),
        (false, false) => Err(Error::new(
            "the archive has neither 'index.json' (OCI layout) nor 'manifest.json' (docker-archive); unpack a root file system to a directory",
        )),
    }
}

fn read_oci(source: &Source, options: &Options) -> Result<Image, Error> {
    let chosen = oci::choose(source, options)?;
    let layers =
        chosen.layers.iter().map(|blob| (format!("layer {}", blob.digest), blob.digest.blob_path(), Some(blob)));
    unpack(source, options, Format::Oci, chosen.config, layers.collect())
}

fn read_docker(source: &Source, options: &Options) -> Result<Image, Error> {
    let (config, layers) = docker::choose(source, options)?;
    let layers = layers.into_iter().map(|name| (format!("layer '{name}'"), name, None));
    unpack(source, options, Format::DockerArchive, config, layers.collect())
}

/// Puts the layers on top of one another. Each has a name for messages, the name of its file, and its descriptor if there is one.
fn unpack(
    source: &Source,
    options: &Options,
    format: Format,
    parsed: config::Parsed,
    layers: Vec<(String, String, Option<&oci::Blob>)>,
) -> Result<Image, Error> {
    if parsed.diff_ids.as_ref().is_some_and(|ids| ids.len() != layers.len()) {
        return Err(Error::new(format_args!("the image config's 'diff_ids' do not match the {} layers", layers.len())));
    }
    let mut tree = Builder::new(options)?;
    let mut xattrs = 0;
    let budget = Cell::new(options.max_bytes);
    for (i, (shown, name, blob)) in layers.iter().enumerate() {
        if let Some(blob) = blob {
            oci::check_blob(source, blob)?;
        }
        let failed = |e: Error| e.of(shown);
        let diff_id = parsed.diff_ids.as_ref().and_then(|ids| ids.get(i));
        let hasher = diff_id.map_or_else(|| Hasher::Sha256(Default::default()), ContentDigest::hasher);
        let inner = decompress(source.open(name)?.0).map_err(failed)?;
        let mut archive = Members::new(Hashing::new(Limited { inner, budget: &budget }, hasher));
        layer::apply(&mut tree, &mut archive, &mut xattrs).map_err(failed)?;
        let found = archive.into_inner().finish().map_err(|e| failed(e.into()))?;
        if diff_id.is_some_and(|id| *id != found) {
            return Err(failed(Error::new("its unpacked content does not have the digest that the image config says")));
        }
    }
    let notes = match xattrs {
        0 => Vec::new(),
        n => vec![format!("extended attributes of {n} files are left out")],
    };
    Ok(Image { format, rootfs: tree.finish()?, config: parsed.config, container_id: parsed.digest, notes })
}
