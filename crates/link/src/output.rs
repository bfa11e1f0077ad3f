//! Writing the megabinary with its file system.

use crate::{Error, FS_SECTION, Linked, MAX_MODULE, PAD_SECTION};
use megalith_abi::PAGE_SIZE;
use std::io::{self, Seek, SeekFrom, Write};

/// What [`Linked::write_to`] wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the whole file.
    pub len: u64,
    /// Offset of the file system's first byte; a multiple of the page size.
    pub fs_offset: u64,
    /// Bytes of the file system.
    pub fs_len: u64,
}

/// Bytes of a custom section's header: id, padded size, name length, name.
const fn header_len(name: &str) -> u64 {
    1 + 5 + 1 + name.len() as u64
}

/// `n` as LEB128 of always five bytes.
fn padded_leb(n: u32) -> [u8; 5] {
    [
        n as u8 & 0x7f | 0x80,
        (n >> 7) as u8 & 0x7f | 0x80,
        (n >> 14) as u8 & 0x7f | 0x80,
        (n >> 21) as u8 & 0x7f | 0x80,
        (n >> 28) as u8,
    ]
}

/// Header of a custom section with `len` bytes of payload.
fn header(name: &str, len: u64) -> Result<Vec<u8>, Error> {
    let size = u32::try_from(len + 1 + name.len() as u64).map_err(|_| Error::TooLarge { size: len })?;
    let mut bytes = vec![0];
    bytes.extend(padded_leb(size));
    bytes.push(name.len() as u8);
    bytes.extend(name.as_bytes());
    Ok(bytes)
}

impl Linked {
    /// Writes the module to `out`, which must be empty and at its start, with the file system as the last section. `fs` writes the file system to the
    /// writer it is given, whose position in the file (a multiple of the page size) is its second argument, and returns the number of bytes.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when the file would exceed [`MAX_MODULE`]; what was written until then is useless. [`Error::Io`] from `out` or `fs`.
    pub fn write_to<W: Write + Seek>(
        &self,
        out: &mut W,
        fs: impl FnOnce(&mut dyn Write, u64) -> io::Result<u64>,
    ) -> Result<Written, Error> {
        let page = u64::from(PAGE_SIZE);
        let start = self.wasm.len() as u64;
        let fs_offset = (start + header_len(PAD_SECTION) + header_len(FS_SECTION)).next_multiple_of(page);
        let padding = fs_offset - start - header_len(PAD_SECTION) - header_len(FS_SECTION);
        if fs_offset > MAX_MODULE {
            return Err(Error::TooLarge { size: fs_offset });
        }
        out.write_all(&self.wasm)?;
        out.write_all(&header(PAD_SECTION, padding)?)?;
        out.write_all(&vec![0; padding as usize])?;
        out.write_all(&header(FS_SECTION, 0)?)?;
        let mut counted = Counted { out: &mut *out, len: 0 };
        let said = fs(&mut counted, fs_offset)?;
        let fs_len = counted.len;
        if said != fs_len {
            return Err(io::Error::other(format!("the file system is {fs_len} bytes long, not {said}")).into());
        }
        let len = fs_offset + fs_len;
        if len > MAX_MODULE {
            return Err(Error::TooLarge { size: len });
        }
        out.seek(SeekFrom::Start(fs_offset - header_len(FS_SECTION)))?;
        out.write_all(&header(FS_SECTION, fs_len)?)?;
        out.seek(SeekFrom::Start(len))?;
        Ok(Written { len, fs_offset, fs_len })
    }
}

struct Counted<W> {
    out: W,
    len: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let n = self.out.write(buf)?;
        self.len += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
