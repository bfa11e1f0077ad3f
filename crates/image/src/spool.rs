//! File contents on disk: one unlinked temporary file that all contents are appended to, mapped when the reading is done.

use crate::Error;
use megalith_manifest::FileHash;
use memmap2::Mmap;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

/// Where the bytes of one file lie in the spool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Extent {
    pub offset: u64,
    pub len: u64,
}

/// The spool while it is being written.
pub(crate) struct SpoolWriter {
    file: BufWriter<File>,
    len: u64,
}

/// The spool when it is complete.
pub(crate) struct Spool {
    map: Option<Mmap>,
}

/// An unlinked temporary file in `dir`, or in the system's directory for such.
pub(crate) fn temporary(dir: Option<&Path>) -> Result<File, Error> {
    let dir = dir.map_or_else(std::env::temp_dir, Path::to_path_buf);
    tempfile::tempfile_in(&dir).map_err(|e| Error::new(e).of(format_args!("temporary file in {}", dir.display())))
}

impl SpoolWriter {
    pub fn new(dir: Option<&Path>) -> Result<SpoolWriter, Error> {
        Ok(SpoolWriter { file: BufWriter::with_capacity(1 << 18, temporary(dir)?), len: 0 })
    }

    /// Appends all of `data`; says where it lies and what it hashes to.
    pub fn add(&mut self, mut data: impl Read) -> Result<(Extent, FileHash), Error> {
        let offset = self.len;
        let mut hasher = Sha256::new();
        let mut buffer = [0; 1 << 15];
        loop {
            let n = match data.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e.into()),
            };
            let bytes = buffer.get(..n).unwrap_or_default();
            hasher.update(bytes);
            self.file.write_all(bytes).map_err(|e| Error::new(e).of("writing a temporary file"))?;
            self.len += bytes.len() as u64;
        }
        Ok((Extent { offset, len: self.len - offset }, FileHash(hasher.finalize().into())))
    }

    pub fn finish(self) -> Result<Spool, Error> {
        let error = |e| Error::new(e).of("writing a temporary file");
        let file = self.file.into_inner().map_err(|e| error(e.into_error()))?;
        if self.len == 0 {
            return Ok(Spool { map: None });
        }
        // SAFETY: the file is unlinked and its only descriptor is ours and dropped here, so nobody writes or truncates it while it is mapped.
        let map = unsafe { Mmap::map(&file) }.map_err(error)?;
        Ok(Spool { map: Some(map) })
    }
}

impl Spool {
    /// The bytes of `extent`, which came from this spool.
    pub fn bytes(&self, extent: Extent) -> &[u8] {
        let all = self.map.as_deref().unwrap_or_default();
        usize::try_from(extent.offset)
            .ok()
            .zip(usize::try_from(extent.len).ok())
            .and_then(|(offset, len)| all.get(offset..)?.get(..len))
            .unwrap_or_default()
    }
}
