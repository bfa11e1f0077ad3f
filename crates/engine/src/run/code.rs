//! AOT code: files mapped read-execute once, before the first guest instruction, and turned into modules when reached.
//!
//! Nothing is ever copied or made writable, and after start-up nothing becomes executable: [`CodeFile::map`] is the only
//! place of the running side that asks for `PROT_EXEC`.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::{Mutex, OnceLock};

use anyhow::{Context, Result, bail, ensure};

/// An AOT file, mapped read-execute for the life of the process.
pub struct CodeFile {
    map: &'static [u8],
    /// What the file's bytes must hash to.
    hash: [u8; 32],
    checked: OnceLock<bool>,
}

/// Address ranges of all mapped code files, for [`Published`].
static RANGES: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

impl CodeFile {
    /// Maps `file` whole. `size` and `hash` (BLAKE3) are what the index says; the size is checked here, the hash at first use.
    ///
    /// # Errors
    /// When the size differs or mapping fails. The message does not name the file.
    pub fn map(file: &File, size: u64, hash: [u8; 32]) -> Result<CodeFile> {
        let len = file.metadata().context("cannot stat")?.len();
        ensure!(len == size, "it has {len} bytes, the index says {size}");
        let len = usize::try_from(len)?;
        ensure!(len > 0, "it is empty");
        // SAFETY: a new mapping at an address of the kernel's choice; its result is checked.
        let p = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_EXEC,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                0,
            )
        };
        if p == libc::MAP_FAILED {
            bail!("cannot map it: {}", std::io::Error::last_os_error());
        }
        let start = p as usize;
        RANGES.lock().unwrap_or_else(|e| e.into_inner()).push((start, start + len));
        // SAFETY: the mapping is `len` bytes long and is never unmapped. That nobody truncates or rewrites the file is the
        // caller's to see to (the runner refuses files that others may write).
        let map = unsafe { std::slice::from_raw_parts(p.cast::<u8>(), len) };
        Ok(CodeFile { map, hash, checked: OnceLock::new() })
    }

    /// Takes the pages that hashing and loading have touched, and the heap that they leave free, out of our memory; those that run come back from the page cache. A large interpreter would count
    /// whole otherwise, in every run.
    fn forget(&self) {
        // SAFETY: a private mapping of ours that nothing has written to: its pages are the file's, before and after.
        unsafe { libc::madvise(self.map.as_ptr().cast_mut().cast(), self.map.len(), libc::MADV_DONTNEED) };
        // What reading manifests and code descriptions took for a while.
        // SAFETY: it only gives free memory of the heap back.
        unsafe { libc::malloc_trim(0) };
    }

    /// The module in this file, after its hash has been checked (once).
    ///
    /// # Errors
    /// When the bytes are not those of the index, or wasmtime does not accept them (another version or configuration).
    pub fn module(&self, engine: &wasmtime::Engine) -> Result<wasmtime::Module> {
        let ok = *self.checked.get_or_init(|| blake3::hash(self.map) == self.hash);
        ensure!(ok, "its bytes do not match the hash in the index; rebuild it with `megalith compile`");
        // SAFETY: the bytes are what the compile side wrote (their hash was checked just now), they live as long as the process,
        // and nothing writes to them.
        let m = unsafe { wasmtime::Module::deserialize_raw(engine, NonNull::from(self.map)) };
        m.map_err(|e| anyhow::anyhow!("{e:#}"))
    }
}

/// Code of one entry point as `L`, made of its module when first started.
pub(super) struct Code<L> {
    /// The entry point's, for messages.
    pub(super) name: String,
    file: CodeFile,
    loaded: OnceLock<Result<L, String>>,
}

impl<L> Code<L> {
    pub(super) fn new(name: &str, file: CodeFile) -> Code<L> {
        Code { name: name.into(), file, loaded: OnceLock::new() }
    }

    /// What `make` makes of the module; the first call checks the file's hash and takes as long as that takes.
    pub(super) fn loaded(
        &self,
        engine: &wasmtime::Engine,
        make: impl FnOnce(&wasmtime::Module) -> Result<L>,
    ) -> Result<&L, String> {
        let load = || {
            let module = self.file.module(engine).map_err(|e| format!("AOT code of {}: {e:#}", self.name))?;
            let made = make(&module).map_err(|e| format!("module of {}: {e:#}", self.name));
            self.file.forget();
            made
        };
        self.loaded.get_or_init(load).as_ref().map_err(Clone::clone)
    }
}

/// Tells wasmtime that code is executable already. Refuses everything that lies outside of the mapped code files.
pub(super) struct Published;

impl wasmtime::CustomCodeMemory for Published {
    fn required_alignment(&self) -> usize {
        4096
    }

    fn publish_executable(&self, ptr: *const u8, len: usize) -> wasmtime::Result<()> {
        let (start, end) = (ptr as usize, (ptr as usize).saturating_add(len));
        let ranges = RANGES.lock().unwrap_or_else(|e| e.into_inner());
        if ranges.iter().any(|&(s, e)| s <= start && end <= e) {
            return Ok(());
        }
        Err(wasmtime::Error::msg("code outside of the mapped AOT files"))
    }

    fn unpublish_executable(&self, _: *const u8, _: usize) -> wasmtime::Result<()> {
        Ok(())
    }
}
