//! Reading a bundle.

use anyhow::{Context, Result, bail};
use megalith_manifest::{AotIndex, FsPlace, Manifest};
use memmap2::Mmap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A bundle's manifest and where it lies.
pub struct Bundle {
    pub path: PathBuf,
    pub manifest: Manifest,
}

impl Bundle {
    /// Reads and checks the manifest.
    pub fn open(path: &Path) -> Result<Bundle> {
        let file = path.join(Manifest::FILE_NAME);
        let json = fs::read(&file).with_context(|| {
            format!("cannot read {}; give the directory that 'megalith build -o' wrote", file.display())
        })?;
        let manifest = Manifest::from_json(&json).with_context(|| file.display().to_string())?;
        Ok(Bundle { path: path.into(), manifest })
    }

    /// Maps the module.
    pub fn megabinary(&self) -> Result<Mmap> {
        self.map(&self.manifest.megabinary)
    }

    /// Name of the file that holds the container's files.
    pub fn fs_file(&self) -> &str {
        match self.manifest.fs.place {
            FsPlace::Section => &self.manifest.megabinary,
            FsPlace::FilesImg => Manifest::FILES_IMG,
        }
    }

    /// Maps one of the bundle's files. Refused as `run` refuses it: a link, or somebody else can write it.
    pub fn map(&self, name: &str) -> Result<Mmap> {
        let path = self.path.join(name);
        map(&path).with_context(|| path.display().to_string())
    }

    /// Directory of the AOT code for this host.
    pub fn aot_dir(&self) -> PathBuf {
        self.path.join("aot").join(megalith_engine::TARGET)
    }

    /// The index of the AOT code for this host.
    pub fn aot_index(&self) -> Result<AotIndex> {
        let file = self.aot_dir().join(AotIndex::FILE_NAME);
        let json = fs::read(&file).with_context(|| {
            format!("cannot read {}; run 'megalith compile {}'", file.display(), self.path.display())
        })?;
        AotIndex::from_json(&json).with_context(|| file.display().to_string())
    }
}

fn map(path: &Path) -> Result<Mmap> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let file = File::options().read(true).custom_flags(flags.bits() as i32).open(path).context("cannot open it")?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        bail!("not a regular file");
    }
    if meta.mode() & 0o022 != 0 {
        bail!("can be written by its group or by others; run 'chmod go-w' on it");
    }
    let me = rustix::process::geteuid().as_raw();
    if meta.uid() != me && meta.uid() != 0 {
        bail!("belongs to another user (uid {})", meta.uid());
    }
    // SAFETY: a private mapping of a file that only its owner and root can write; what is read from it is treated as bytes that may be anything.
    unsafe { Mmap::map(&file) }.context("cannot map it")
}
