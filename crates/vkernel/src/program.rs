//! The programs that may start: one per recompiled file, found by hash.

use crate::calls::Calls;
use crate::errno::{self, Errno};
use crate::mm::{MapSource as MappedFile, StartImage};
use crate::snapshot::Snapshot;
use megalith_abi::{DataImage, StartMeta};
use megalith_vfs::MapSource;
use memmap2::{Mmap, UncheckedAdvice};
use sha2::{Digest, Sha256};
use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, OnceLock};

/// SHA-256 of a file's bytes.
pub type Hash = [u8; 32];

/// What a program expects of the kernel: which of its doors it uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Abi {
    /// x86-64 Linux system calls, from recompiled code ([`crate::Task::syscall`]).
    Linux,
    /// WASI preview 1 ([`crate::Task::wasi_call`]).
    Wasi,
}

/// What recompilation recorded of a file.
pub(crate) type Meta = StartMeta<SharedMap>;

/// A shared mapping of a [`StartMeta`] file that nobody changes. Shared, because address spaces get mappings of the same pages from it.
#[derive(Clone)]
pub struct SharedMap(Arc<Mmap>);

impl SharedMap {
    /// Maps `file` whole.
    ///
    /// # Errors
    /// What the host said.
    ///
    /// # Safety
    /// As [`Mmap::map`]: the file must not change.
    pub unsafe fn new(file: &File) -> io::Result<SharedMap> {
        // SAFETY: the caller's to see to. `Mmap::map` makes a shared mapping (`MAP_SHARED`, `PROT_READ`).
        Ok(SharedMap(Arc::new(unsafe { Mmap::map(file)? })))
    }

    /// Takes the pages out of our memory; those that are used again come back from the page cache.
    pub fn forget(&self) {
        // SAFETY: a shared file mapping without unwritten changes: its pages are the file's, before and after.
        let _ = unsafe { self.0.unchecked_advise(UncheckedAdvice::DontNeed) };
    }
}

impl AsRef<[u8]> for SharedMap {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Checks what recompilation recorded of a file ([`StartMeta`]) and hands it over; the error is one line that names what is damaged.
pub type MetaReader = Box<dyn Fn() -> Result<SharedMap, String> + Send + Sync>;

/// One recompiled ELF file, or one WASI module.
pub struct Program {
    pub abi: Abi,
    /// SHA-256 of the file.
    pub hash: Hash,
    /// Size of the file in bytes.
    pub size: u64,
    /// Name of its entry point, e.g. `ls_start`.
    pub entry_point: String,
    meta: OnceLock<Result<Meta, String>>,
    read_meta: MetaReader,
    /// Index of the file's first function in the table of the instance that runs it (1 in a projection).
    pub table_base: u32,
    /// The sealed bytes of the file, to map its segments from.
    pub source: MapSource,
    /// What the engine needs to make an instance; the vkernel never looks inside.
    pub engine: Arc<dyn Any + Send + Sync>,
    /// Whether `source` has the bytes of `hash`, once it has been looked at.
    source_checked: OnceLock<bool>,
    /// Its memory after exec, from the last start that made it. WASI modules have none: their processes start on empty slots.
    pub(crate) start_image: Mutex<Option<Arc<StartImage>>>,
    data: Option<DataFile>,
    /// What it may ask of the kernel.
    pub(crate) calls: Calls,
    /// What it starts from, unless the start says otherwise.
    pub(crate) snapshot: Option<Snapshot>,
}

/// File with the data image of a WASI module ([`DataImage`]).
pub struct DataFile {
    fd: Arc<OwnedFd>,
    size: u64,
    hash: Hash,
    checked: OnceLock<Option<(MappedFile, u64)>>,
}

impl DataFile {
    /// A file of `size` bytes that nobody changes. `hash` is what its bytes must have; they are checked at first use.
    pub fn new(fd: OwnedFd, size: u64, hash: Hash) -> DataFile {
        DataFile { fd: Arc::new(fd), size, hash, checked: OnceLock::new() }
    }

    /// What to map, and where.
    fn check(&self) -> Option<(MappedFile, u64)> {
        let mut header = [0; 64];
        rustix::io::pread(&*self.fd, &mut header, 0).ok().filter(|&n| n == header.len())?;
        let (address, len) = DataImage::place(&header, self.size)?;
        // Nobody changes the file: what was read first is what is hashed.
        if hash_file(&self.fd, self.size, Some)? != self.hash {
            return None;
        }
        let source = MappedFile {
            fd: Arc::clone(&self.fd),
            owner: None,
            base: DataImage::HEADER as u64,
            size: len,
            sealed: false,
            truncatable: false,
            anonymous: None,
            path: Arc::from(&b"[data image]"[..]),
            ino: 0,
            host: None,
        };
        Some((source, address))
    }
}

/// SHA-256 of `len` bytes of a file, which begin at `at(0)`. `None` when they cannot be read.
pub(crate) fn hash_file(fd: &OwnedFd, len: u64, at: impl Fn(u64) -> Option<u64>) -> Option<Hash> {
    let mut digest = Sha256::new();
    let mut buf = vec![0u8; 256 << 10];
    let mut done = 0;
    while done < len {
        let want = usize::try_from(len - done).map_or(buf.len(), |rest| rest.min(buf.len()));
        let n = rustix::io::pread(fd, buf.get_mut(..want)?, at(done)?).ok().filter(|&n| n > 0)?;
        digest.update(buf.get(..n)?);
        done += n as u64;
    }
    Some(digest.finalize().into())
}

impl Program {
    /// Describes a recompiled program. `read_meta` is called at its first start; `engine` is handed back with each [`crate::Task`] that runs it.
    pub fn new(
        hash: Hash,
        size: u64,
        entry_point: String,
        read_meta: MetaReader,
        table_base: u32,
        source: MapSource,
        engine: Arc<dyn Any + Send + Sync>,
    ) -> Program {
        Program {
            abi: Abi::Linux,
            hash,
            size,
            entry_point,
            meta: OnceLock::new(),
            read_meta,
            table_base,
            source,
            engine,
            source_checked: OnceLock::new(),
            start_image: Mutex::default(),
            data: None,
            calls: Calls::LINUX,
            snapshot: None,
        }
    }

    /// The same program as a polyfill, which makes the system calls `calls` and no other, and starts from `snapshot` if there is one.
    pub fn into_polyfill(self, calls: Calls, snapshot: Option<Snapshot>) -> Program {
        Program { calls, snapshot, ..self }
    }

    /// Describes a WASI module.
    pub fn wasi(
        hash: Hash,
        size: u64,
        entry_point: String,
        source: MapSource,
        data: DataFile,
        engine: Arc<dyn Any + Send + Sync>,
    ) -> Program {
        let p = Program::new(
            hash,
            size,
            entry_point,
            Box::new(|| Err("a WASI module has no metadata".into())),
            0,
            source,
            engine,
        );
        Program { abi: Abi::Wasi, data: Some(data), ..p }
    }

    /// What recompilation recorded; a WASI module has nothing. The first call reads it.
    ///
    /// # Errors
    /// What [`MetaReader`] said, or that it is no [`StartMeta`].
    pub(crate) fn meta(&self) -> Result<&Meta, &str> {
        let read = || {
            let damaged = || format!("metadata of {}: made by another version; compile again", self.entry_point);
            StartMeta::parse((self.read_meta)()?).ok_or_else(damaged)
        };
        self.meta.get_or_init(read).as_ref().map_err(String::as_str)
    }

    /// The same of a program that has been started.
    pub(crate) fn known_meta(&self) -> errno::Result<&Meta> {
        self.meta().map_err(|_| Errno::EIO)
    }

    /// Checks the data image of a WASI module, once for all its processes.
    ///
    /// # Errors
    /// `EIO` when it is not what was built.
    pub fn check_data(&self) -> errno::Result<()> {
        self.data_image().map(drop)
    }

    /// The data image of a WASI module: what to map where. `EIO` when the file is not what it must be.
    pub(crate) fn data_image(&self) -> errno::Result<Option<(&MappedFile, u64)>> {
        let Some(data) = &self.data else { return Ok(None) };
        match data.checked.get_or_init(|| data.check()) {
            Some((source, address)) => Ok(Some((source, *address))),
            None => Err(Errno::EIO),
        }
    }

    /// Checks the sealed bytes that the segments are mapped from, once for all processes. `checked_at` is where the file system has already checked
    /// them, if it was the sealed file itself that was started: a copy of it passes the gate by its own bytes.
    ///
    /// # Errors
    /// `EIO` when they are not those of the hash.
    pub(crate) fn check_source(&self, checked_at: Option<u64>) -> errno::Result<()> {
        if checked_at == Some(self.source.offset) {
            let _ = self.source_checked.set(true);
        }
        let good = self.source_checked.get_or_init(|| {
            let at = |n: u64| self.source.offset.checked_add(n);
            hash_file(&self.source.fd, self.source.len, at).is_some_and(|hash| hash == self.hash)
        });
        if *good { Ok(()) } else { Err(Errno::EIO) }
    }

    /// The hash as the four big-endian words that `_dispatch` takes.
    pub fn hash_words(&self) -> [u64; 4] {
        let mut w = [0; 4];
        for (w, b) in w.iter_mut().zip(self.hash.chunks_exact(8)) {
            *w = u64::from_be_bytes(b.try_into().unwrap_or_default());
        }
        w
    }
}

/// All programs of a container.
#[derive(Default)]
pub struct ProgramTable {
    by_hash: HashMap<Hash, Arc<Program>>,
    sizes: HashSet<u64>,
}

impl ProgramTable {
    /// An empty table.
    pub fn new() -> ProgramTable {
        ProgramTable::default()
    }
    /// Adds a program; one with the same hash is replaced.
    pub fn insert(&mut self, p: Program) {
        self.insert_for(p.hash, p.size, p);
    }
    /// Adds a program that stands in for the file of another hash and size.
    pub fn insert_for(&mut self, hash: Hash, size: u64, p: Program) {
        self.sizes.insert(size);
        self.by_hash.insert(hash, Arc::new(p));
    }
    /// The program with this hash.
    pub fn get(&self, hash: &Hash) -> Option<&Arc<Program>> {
        self.by_hash.get(hash)
    }
    /// Whether some program has this size.
    pub fn has_size(&self, size: u64) -> bool {
        self.sizes.contains(&size)
    }
    /// Number of programs.
    pub fn len(&self) -> usize {
        self.by_hash.len()
    }
    /// Whether there is no program.
    pub fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }
    /// The programs, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Program>> {
        self.by_hash.values()
    }
}
