//! Where things lie: the repository, Cargo's target directory, and the cache outside of both.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result};

/// Root of the repository.
pub fn root() -> PathBuf {
    // Cargo runs us with the manifest directory of the moment; a binary that was moved falls back on where it was built.
    let manifest =
        env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).filter(|p| p.join("../../ARCHITECTURE.md").exists());
    let crate_dir = manifest.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    crate_dir.join("../..").canonicalize().unwrap_or(crate_dir)
}

/// Cargo's target directory.
pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// An executable of the release build, e.g. `megalith`. `MEGALITH_BIN_DIR` names another directory to look in.
pub fn release(name: &str) -> PathBuf {
    match env::var_os("MEGALITH_BIN_DIR") {
        Some(dir) => PathBuf::from(dir).join(name),
        None => target().join("release").join(name),
    }
}

/// A directory under `~/.cache/megalith/xtask` (`XDG_CACHE_HOME` is respected), created when missing.
pub fn cache(name: &str) -> Result<PathBuf> {
    cached("xtask", name)
}

/// The directory `~/.cache/megalith/polyfill/NAME`, where `megalith` looks for polyfills; created when missing.
pub fn polyfill(name: &str) -> Result<PathBuf> {
    cached("polyfill", name)
}

fn cached(kind: &str, name: &str) -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME").filter(|v| !v.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    let dir = base.join("megalith").join(kind).join(name);
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(dir)
}

/// Makes `dir` by `fill`ing a temporary sibling and renaming it, so that a directory that exists is complete. Returns `dir`.
pub fn make_once(dir: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    if dir.exists() {
        return Ok(dir.to_owned());
    }
    let parent = dir.parent().context("a directory to make needs a parent")?;
    fs::create_dir_all(parent)?;
    let temporary = tempfile::Builder::new().prefix(".making-").tempdir_in(parent)?;
    fill(temporary.path())?;
    // A temporary directory is private; what is made here is read by guests too.
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o755))?;
    let path = temporary.keep();
    match fs::rename(&path, dir) {
        Ok(()) => {}
        // Another process was faster: what it made is the same.
        Err(_) if dir.exists() => fs::remove_dir_all(&path)?,
        Err(e) => return Err(e).with_context(|| format!("rename to {}", dir.display())),
    }
    Ok(dir.to_owned())
}
