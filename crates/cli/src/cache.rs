//! Results kept by content under `$XDG_CACHE_HOME/megalith` (`~/.cache/megalith`): recompiled objects and AOT code.
//!
//! An entry is named by the SHA-256 of all that determines it, and begins with the SHA-256 of its own payload, which is checked at every use. An
//! entry that does not pass is made again. The cache never decides what runs: `run` looks at the bundle alone.

use anyhow::{Context, Result};
use megalith_manifest::FileHash;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The cache, or a stand-in that keeps nothing when there is no place for one.
pub struct Cache {
    /// What identifies this version of the tool: the hash of its executable. Part of the keys of what the tool itself makes.
    pub tool: FileHash,
    dir: Option<PathBuf>,
    hits: AtomicUsize,
    misses: AtomicUsize,
}

impl Cache {
    /// Opens the cache. A directory that others may write is not used.
    ///
    /// # Errors
    /// When the own executable cannot be read.
    pub fn open() -> Result<Cache> {
        let dir = directory().filter(|dir| usable(dir).is_ok_and(|ok| ok));
        Ok(Cache { tool: tool_version()?, dir, hits: AtomicUsize::new(0), misses: AtomicUsize::new(0) })
    }

    /// Entries found, and entries made.
    pub fn counts(&self) -> (usize, usize) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }

    /// The entry of `kind` (a directory) that `parts` determine; `make` makes it when it is not there.
    pub fn get(&self, kind: &str, parts: &[&[u8]], make: impl FnOnce() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
        let mut key = Sha256::new();
        for part in parts {
            key.update((part.len() as u64).to_le_bytes());
            key.update(part);
        }
        let name = FileHash(key.finalize().into()).hex();
        let path = self.dir.as_ref().map(|d| d.join(kind).join(name));
        if let Some(found) = path.as_deref().and_then(read) {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(found);
        }
        let bytes = make()?;
        self.misses.fetch_add(1, Ordering::Relaxed);
        if let Some(path) = path {
            // A cache that cannot be written is no reason to fail.
            let _ = write(&path, &FileHash::of(&bytes), &bytes);
        }
        Ok(bytes)
    }
}

/// Where the cache is, `None` without a home.
pub fn directory() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let base = base.or_else(|| std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".cache")));
    base.map(|b| b.join("megalith"))
}

/// Makes the directory; whether only we can write it.
fn usable(dir: &Path) -> Result<bool> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let meta = fs::metadata(dir)?;
    Ok(meta.mode() & 0o022 == 0 && meta.uid() == rustix::process::geteuid().as_raw())
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = fs::read(path).ok()?;
    let hash = FileHash(bytes.get(..32)?.try_into().ok()?);
    bytes.drain(..32);
    (FileHash::of(&bytes) == hash).then_some(bytes)
}

fn write(path: &Path, hash: &FileHash, bytes: &[u8]) -> Result<()> {
    let dir = path.parent().context("an entry lies in a directory")?;
    fs::create_dir_all(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(&hash.0)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

fn tool_version() -> Result<FileHash> {
    let path = std::env::current_exe().context("cannot find out where this executable lies")?;
    let file = fs::File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
    // SAFETY: a private mapping of the executable that is running, which cannot be written meanwhile (ETXTBSY).
    let map = unsafe { memmap2::Mmap::map(&file) }.with_context(|| format!("cannot map {}", path.display()))?;
    Ok(FileHash::of(&map))
}
