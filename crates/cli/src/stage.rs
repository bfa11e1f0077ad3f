//! Writing a directory so that it is there whole or not at all.

use anyhow::{Context, Result, bail};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, Once};

/// Directories to remove when the user interrupts.
static OPEN: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn open() -> MutexGuard<'static, Vec<PathBuf>> {
    OPEN.lock().unwrap_or_else(|e| e.into_inner())
}

/// A directory beside its final place. Removed when dropped, and on SIGINT, SIGTERM and SIGHUP.
pub struct Stage {
    path: PathBuf,
    target: PathBuf,
}

impl Stage {
    /// Makes an empty directory that is to become `target`.
    pub fn new(target: &Path) -> Result<Stage> {
        static HANDLER: Once = Once::new();
        HANDLER.call_once(|| {
            // Without a handler an interrupt leaves the directory behind; nothing worse.
            let _ = ctrlc::set_handler(|| {
                for path in open().iter() {
                    // The main thread may still be adding files.
                    (0..20).find(|_| fs::remove_dir_all(path).is_ok() || !path.exists());
                }
                std::process::exit(130);
            });
        });
        let Some(name) = target.file_name() else {
            bail!("{} is not the name of a directory to write", target.display())
        };
        let parent = match target.parent() {
            Some(p) if !p.as_os_str().is_empty() => p,
            _ => Path::new("."),
        };
        let prefix = format!(".{}.", name.to_string_lossy());
        let mut open = open();
        let dir = tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir_in(parent)
            .with_context(|| format!("cannot make a directory in {}", parent.display()))?;
        let path = dir.keep();
        open.push(path.clone());
        drop(open);
        let stage = Stage { path, target: target.into() };
        fs::set_permissions(&stage.path, Permissions::from_mode(0o755))?;
        Ok(stage)
    }

    /// Writes a file, readable for all and writable for us, and brings it to the disk.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut file = self.create(name)?;
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .with_context(|| format!("cannot write {}", self.target.join(name).display()))
    }

    /// Where the directory is while it is being written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Creates a file, with its directories.
    pub fn create(&self, name: &str) -> Result<File> {
        let path = self.path.join(name);
        let shown = || format!("cannot create {}", self.target.join(name).display());
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).with_context(shown)?;
        }
        let file = File::options().read(true).write(true).create_new(true).open(&path).with_context(shown)?;
        file.set_permissions(Permissions::from_mode(0o644)).with_context(shown)?;
        Ok(file)
    }

    /// Puts the directory in place: atomically in exchange for `target` when that is there.
    pub fn commit(self) -> Result<()> {
        sync_directories(&self.path).with_context(|| format!("cannot write {}", self.target.display()))?;
        let exists = self.target.symlink_metadata().is_ok();
        let flags = if exists { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
        let mut open = open();
        renameat_with(CWD, &self.path, CWD, &self.target, flags)
            .with_context(|| format!("cannot put {} in place", self.target.display()))?;
        if !exists {
            open.retain(|p| *p != self.path);
        }
        drop(open);
        if let Some(parent) = self.target.parent() {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            // The rename is done; whether it is on the disk already is not worth an error.
            let _ = File::open(parent).and_then(|d| d.sync_all());
        }
        // Dropping removes what was there before.
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let mut open = open();
        if open.contains(&self.path) {
            let _ = fs::remove_dir_all(&self.path);
            open.retain(|p| *p != self.path);
        }
    }
}

/// Brings the directory entries below `dir` to the disk; files are synced as they are written.
fn sync_directories(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::set_permissions(entry.path(), Permissions::from_mode(0o755))?;
            sync_directories(&entry.path())?;
        }
    }
    File::open(dir)?.sync_all()
}

/// Refuses a target that is there and is neither an empty directory nor a bundle.
pub fn check_target(target: &Path) -> Result<()> {
    let Ok(meta) = target.symlink_metadata() else { return Ok(()) };
    if meta.is_dir() {
        let empty = fs::read_dir(target).with_context(|| format!("cannot read {}", target.display()))?.next().is_none();
        if empty || is_bundle(target) {
            return Ok(());
        }
    }
    bail!("{} is there and is not a bundle; give another name or remove it", target.display())
}

fn is_bundle(dir: &Path) -> bool {
    #[derive(serde::Deserialize)]
    struct Schema {
        schema: String,
    }
    let Ok(json) = fs::read(dir.join(megalith_manifest::Manifest::FILE_NAME)) else { return false };
    serde_json::from_slice::<Schema>(&json).is_ok_and(|s| s.schema.starts_with("megalith/"))
}
