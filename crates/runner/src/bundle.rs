//! Opening a bundle: each file once, without following links, refused when somebody else could write it.
//!
//! Nothing here takes time that grows with the files' contents: the manifest and the index of AOT code are read, everything else is mapped.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use megalith_engine::TARGET;
use megalith_manifest::{AotIndex, FsPlace, Manifest, Skipped};
use memmap2::Mmap;
use rustix::fs::{Mode, OFlags, openat};

use crate::failure::{Result, fail};

/// Largest manifest or index that is read.
const MAX_JSON: u64 = 256 << 20;

/// An open bundle.
pub struct Bundle {
    pub path: PathBuf,
    pub manifest: Manifest<Skipped>,
    pub index: AotIndex,
    /// The directory `aot/<target>`.
    aot: OwnedFd,
    /// The file that holds the container's files.
    files: File,
}

/// The container's files: the file system section, mapped.
pub struct Section {
    pub map: Mmap,
    pub file: File,
    /// Offset of the section in `file`.
    pub offset: u64,
}

impl Bundle {
    /// Opens the bundle at `path`.
    pub fn open(path: &Path) -> Result<Bundle> {
        let shown = path.display();
        let at = |name: &str| path.join(name);
        let dir = openat(rustix::fs::CWD, path, OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| {
                fail(format!("cannot open the bundle {shown}: {e}; give the directory that 'megalith build -o' wrote"))
            })?;
        let json = read(&dir, Manifest::FILE_NAME, &at(Manifest::FILE_NAME))?;
        let manifest =
            Manifest::parse(&json).map_err(|e| fail(format!("{}: {e}", at(Manifest::FILE_NAME).display())))?;
        let files = match manifest.fs.place {
            FsPlace::Section => open(&dir, &manifest.megabinary, &at(&manifest.megabinary))?,
            FsPlace::FilesImg => open(&dir, Manifest::FILES_IMG, &at(Manifest::FILES_IMG))?,
        };
        let compile = format!("run 'megalith compile {shown}' on this host first");
        let aot_dir = format!("aot/{TARGET}");
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let aot = openat(&dir, &*aot_dir, flags, Mode::empty())
            .map_err(|e| fail(format!("no code for this host in {}: {e}; {compile}", at(&aot_dir).display())))?;
        let index_path = at(&aot_dir).join(AotIndex::FILE_NAME);
        let json = read(&aot, AotIndex::FILE_NAME, &index_path)?;
        let index =
            AotIndex::from_json(&json).map_err(|e| fail(format!("{}: {e}; {compile}", index_path.display())))?;
        if index.target != TARGET || index.engine.wasmtime != megalith_engine::WASMTIME {
            return Err(fail(format!("{}: made for another target or engine; {compile}", index_path.display())));
        }
        if index.megabinary_hash != manifest.megabinary_hash {
            return Err(fail(format!("{}: made from another megabinary; {compile}", index_path.display())));
        }
        Ok(Bundle { path: path.into(), manifest, index, aot, files })
    }

    /// Opens a file of `aot/<target>`.
    pub fn aot_file(&self, name: &str) -> Result<File> {
        open(&self.aot, name, &self.aot_path(name))
    }

    /// Its path, for messages.
    pub fn aot_path(&self, name: &str) -> PathBuf {
        self.path.join("aot").join(TARGET).join(name)
    }

    /// Maps the container's files.
    pub fn section(&self) -> Result<Section> {
        let fs = &self.manifest.fs;
        let name = match fs.place {
            FsPlace::Section => &*self.manifest.megabinary,
            FsPlace::FilesImg => Manifest::FILES_IMG,
        };
        let bad = |why: String| fail(format!("{}: {why}; build the bundle again", self.path.join(name).display()));
        let len = self.files.metadata().map_err(|e| bad(e.to_string()))?.len();
        if fs.offset.checked_add(fs.size).is_none_or(|end| end > len) || fs.size == 0 {
            return Err(bad("it is shorter than the manifest says".into()));
        }
        let size = usize::try_from(fs.size).map_err(|e| bad(e.to_string()))?;
        // SAFETY: a private read-only mapping of a file that, as `open` has checked, only its owner and root can write; what is read from
        // it is checked by hash, and treated as bytes that may be anything.
        let map = unsafe { memmap2::MmapOptions::new().offset(fs.offset).len(size).map(&self.files) };
        let map = map.map_err(|e| bad(format!("cannot map it: {e}")))?;
        let file = self.files.try_clone().map_err(|e| bad(e.to_string()))?;
        Ok(Section { map, file, offset: fs.offset })
    }
}

/// Opens the regular file `name` of `dir` for reading. Refused when it is a link, or when group or others may write it.
fn open(dir: impl AsFd, name: &str, shown: &Path) -> Result<File> {
    let shown = shown.display();
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let fd = openat(dir, name, flags, Mode::empty())
        .map_err(|e| fail(format!("cannot open {shown}: {e}; is the bundle complete?")))?;
    let file = File::from(fd);
    let meta = file.metadata().map_err(|e| fail(format!("cannot stat {shown}: {e}")))?;
    if !meta.is_file() {
        return Err(fail(format!("{shown} is not a regular file")));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(fail(format!("{shown} can be written by its group or by others; run 'chmod go-w' on it")));
    }
    let me = rustix::process::geteuid().as_raw();
    if meta.uid() != me && meta.uid() != 0 {
        return Err(fail(format!("{shown} belongs to another user (uid {})", meta.uid())));
    }
    Ok(file)
}

/// Reads a JSON file whole.
fn read(dir: impl AsFd, name: &str, shown: &Path) -> Result<Vec<u8>> {
    let file = open(dir, name, shown)?;
    let bad = |e: String| fail(format!("cannot read {}: {e}", shown.display()));
    let len = file.metadata().map_err(|e| bad(e.to_string()))?.len();
    if len > MAX_JSON {
        return Err(bad(format!("it has {len} bytes, and more than {MAX_JSON} are refused")));
    }
    let mut bytes = Vec::with_capacity(len as usize);
    file.take(MAX_JSON).read_to_end(&mut bytes).map_err(|e| bad(e.to_string()))?;
    Ok(bytes)
}
