//! Readers that decompress, count and hash.

use crate::Error;
use crate::tarball::Input;
use sha2::{Digest, Sha256, Sha512};
use std::cell::Cell;
use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::str::FromStr;

/// A content digest (OCI image specification, `descriptor.md`), of one of the registered algorithms.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum ContentDigest {
    Sha256(Vec<u8>),
    Sha512(Vec<u8>),
}

impl ContentDigest {
    fn parts(&self) -> (&'static str, &[u8]) {
        match self {
            ContentDigest::Sha256(d) => ("sha256", d),
            ContentDigest::Sha512(d) => ("sha512", d),
        }
    }

    /// Name of the blob in an image layout, relative to it.
    pub fn blob_path(&self) -> String {
        let (algorithm, digest) = self.parts();
        format!("blobs/{algorithm}/{}", hex(digest))
    }

    /// A hasher of the same algorithm.
    pub fn hasher(&self) -> Hasher {
        match self {
            ContentDigest::Sha256(_) => Hasher::Sha256(Sha256::new()),
            ContentDigest::Sha512(_) => Hasher::Sha512(Sha512::new()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (algorithm, digest) = self.parts();
        write!(f, "{algorithm}:{}", hex(digest))
    }
}

impl FromStr for ContentDigest {
    type Err = Error;

    fn from_str(s: &str) -> Result<ContentDigest, Error> {
        let shown: String = s.chars().take(140).collect();
        let broken =
            || Error::new(format_args!("digest '{shown}' is not sha256 or sha512 and lower-case hexadecimal digits"));
        let (algorithm, digits) = s.split_once(':').ok_or_else(broken)?;
        let nibble = |b: u8| match b {
            b'0'..=b'9' => Some(b - b'0'),
            b'a'..=b'f' => Some(b - b'a' + 10),
            _ => None,
        };
        let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
        let bytes: Option<Vec<u8>> =
            pairs.iter().map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?)).collect();
        match (algorithm, bytes, rest) {
            ("sha256", Some(bytes), []) if bytes.len() == 32 => Ok(ContentDigest::Sha256(bytes)),
            ("sha512", Some(bytes), []) if bytes.len() == 64 => Ok(ContentDigest::Sha512(bytes)),
            _ => Err(broken()),
        }
    }
}

/// SHA-256 or SHA-512.
pub(crate) enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(h) => h.update(bytes),
            Hasher::Sha512(h) => h.update(bytes),
        }
    }

    pub fn finish(self) -> ContentDigest {
        match self {
            Hasher::Sha256(h) => ContentDigest::Sha256(h.finalize().to_vec()),
            Hasher::Sha512(h) => ContentDigest::Sha512(h.finalize().to_vec()),
        }
    }
}

/// Hashes what is read through it.
pub(crate) struct Hashing<R> {
    inner: R,
    hasher: Hasher,
}

impl<R: Read> Hashing<R> {
    pub fn new(inner: R, hasher: Hasher) -> Hashing<R> {
        Hashing { inner, hasher }
    }

    /// Reads to the end and gives the digest of everything.
    pub fn finish(mut self) -> io::Result<ContentDigest> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(self.hasher.finish())
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.hasher.update(buffer.get(..n).unwrap_or_default());
        Ok(n)
    }
}

impl<R: Read> Input for Hashing<R> {}

/// Takes what is read through it out of a budget that several readers share; what exceeds it is an error.
pub(crate) struct Limited<'a, R> {
    pub inner: R,
    pub budget: &'a Cell<u64>,
}

impl<R: Read> Read for Limited<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        match self.budget.get().checked_sub(n as u64) {
            Some(left) => self.budget.set(left),
            None => return Err(Error::new("it unpacks to more than the limit").into()),
        }
        Ok(n)
    }
}

/// Largest window that a zstd frame may ask for, as a power of two: 128 MiB, the format's recommended limit for decoders.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Whether the data that begin with `start` are compressed, by their first bytes.
pub(crate) fn is_compressed(start: &[u8]) -> bool {
    [&b"\x1f\x8b"[..], b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\0"].iter().any(|magic| start.starts_with(magic))
}

/// Decompresses `input`, by what its first bytes say it is and not by what it is called.
pub(crate) fn decompress<'a>(mut input: impl Read + 'a) -> Result<Box<dyn Read + 'a>, Error> {
    let mut start = Vec::new();
    input.by_ref().take(6).read_to_end(&mut start)?;
    let is = |magic: &[u8]| start.starts_with(magic);
    let (gzip, zstd, bzip2, xz) = (is(b"\x1f\x8b"), is(b"\x28\xb5\x2f\xfd"), is(b"BZh"), is(b"\xfd7zXZ\0"));
    let input = BufReader::with_capacity(1 << 16, Cursor::new(start).chain(input));
    if gzip {
        return Ok(Box::new(Compressed { inner: flate2::bufread::MultiGzDecoder::new(input), what: "gzip" }));
    }
    if zstd {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG)?;
        return Ok(Box::new(Compressed { inner: decoder, what: "zstd" }));
    }
    if bzip2 || xz {
        let name = if xz { "xz" } else { "bzip2" };
        return Err(Error::new(format_args!("compressed with {name}, which is not supported (gzip and zstd are)")));
    }
    Ok(Box::new(input))
}

/// Says in errors which compression was broken.
struct Compressed<R> {
    inner: R,
    what: &'static str,
}

impl<R: Read> Read for Compressed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|e| match e.get_ref().is_some_and(|e| e.is::<Error>()) {
            true => e,
            false if e.kind() == io::ErrorKind::UnexpectedEof => {
                Error::new(format_args!("the {} data end in the middle", self.what)).into()
            }
            false => Error::new(format_args!("the {} data are broken: {e}", self.what)).into(),
        })
    }
}

impl<R: Read> Input for BufReader<R> {}

/// A file as an archive to be listed: skips by seeking.
pub(crate) struct SeekingFile(pub BufReader<std::fs::File>);

impl Read for SeekingFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Input for SeekingFile {
    fn skip(&mut self, n: u64) -> io::Result<()> {
        self.0.seek_relative(i64::try_from(n).map_err(io::Error::other)?)
    }
}

/// The first `n` bytes of `input`, or fewer.
pub(crate) fn peek(input: &mut impl BufRead, n: usize) -> io::Result<Vec<u8>> {
    let buffer = input.fill_buf()?;
    Ok(buffer.get(..n).unwrap_or(buffer).to_vec())
}
