//! Reading tar archives as a stream: ustar, pax and GNU headers (`man 5 tar`). `tar::Header` knows the fields; the loop is our own
//! because archives are hostile here: extended headers are limited, a pax size counts before data are skipped, and every error names member and offset.

use crate::Error;
use crate::error::shown;
use std::io::{self, Read};

const BLOCK: u64 = 512;
/// Longest pax extended header or GNU long name.
const MAX_EXTENDED: u64 = 1 << 20;

const TRUNCATED: &str = "the archive ends here, in the middle";

/// Members of an archive, one after the other.
pub(crate) struct Members<R> {
    input: R,
    /// Bytes of the archive read so far.
    at: u64,
    /// Bytes of the current member's data that are still to be read, and of the padding behind.
    left: u64,
    padding: u64,
    /// The current member, for messages.
    name: Vec<u8>,
}

/// One member without its data.
#[derive(Debug, Default)]
pub(crate) struct Member {
    pub path: Vec<u8>,
    pub kind: Kind,
    /// Target of a link.
    pub link: Vec<u8>,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: i64,
    pub mtime_nsec: u32,
    pub major: u32,
    pub minor: u32,
    pub size: u64,
    /// Where the data begin in the archive.
    pub data_at: u64,
    /// Whether there are extended attributes, which are not read.
    pub xattrs: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Kind {
    #[default]
    Regular,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// What extended headers say about the next member.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<(i64, u32)>,
    xattrs: bool,
}

/// Where to read from; one that can seek skips faster.
pub(crate) trait Input: Read + Sized {
    /// Skips `n` bytes; an early end may show only at the next read.
    fn skip(&mut self, n: u64) -> io::Result<()> {
        let got = io::copy(&mut self.by_ref().take(n), &mut io::sink())?;
        if got < n { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

impl<R: Input> Members<R> {
    pub fn new(input: R) -> Members<R> {
        Members { input, at: 0, left: 0, padding: 0, name: Vec::new() }
    }

    /// The input, behind what was read.
    pub fn into_inner(self) -> R {
        self.input
    }

    fn error(&self, why: impl std::fmt::Display) -> Error {
        match self.name.is_empty() {
            true => Error::new(format_args!("byte {} of the tar archive: {why}", self.at)),
            false => Error::new(format_args!("member {}: {why}", shown(&self.name))),
        }
    }

    fn failed(&self, e: io::Error) -> Error {
        match e.kind() {
            io::ErrorKind::UnexpectedEof => self.error(TRUNCATED),
            _ => self.error(Error::from(e)),
        }
    }

    /// A block, or `None` at the end of the input.
    fn block(&mut self) -> Result<Option<[u8; BLOCK as usize]>, Error> {
        let mut block = [0; BLOCK as usize];
        let mut have = 0;
        while let Some(rest) = block.get_mut(have..).filter(|r| !r.is_empty()) {
            match self.input.read(rest) {
                Ok(0) if have == 0 => return Ok(None),
                Ok(0) => return Err(self.failed(io::ErrorKind::UnexpectedEof.into())),
                Ok(n) => have += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failed(e)),
            }
        }
        self.at += BLOCK;
        Ok(Some(block))
    }

    /// The next member, or `None` at the end of the archive; what is left of the last one's data is skipped.
    pub fn next(&mut self) -> Result<Option<Member>, Error> {
        let rest = self.left + self.padding;
        self.input.skip(rest).map_err(|e| self.failed(e))?;
        self.at += rest;
        (self.left, self.padding) = (0, 0);
        self.name.clear();
        let mut extended = Extended::default();
        loop {
            let Some(block) = self.block()? else { return Ok(None) };
            if block.iter().all(|b| *b == 0) {
                return match self.block()? {
                    Some(second) if second.iter().any(|b| *b != 0) => Err(self.error("something follows the end mark")),
                    _ => Ok(None),
                };
            }
            let header = tar::Header::from_byte_slice(&block);
            if !has_checksum(&block) {
                return Err(self.error("not a tar header (its checksum is wrong)"));
            }
            let [flag] = header.as_old().linkflag;
            match flag {
                b'x' | b'X' => {
                    let data = self.extended(header)?;
                    self.pax(&data, &mut extended)?;
                }
                b'g' => drop(self.extended(header)?),
                b'L' => extended.path = Some(until_nul(&self.extended(header)?)),
                b'K' => extended.link = Some(until_nul(&self.extended(header)?)),
                _ => return self.member(header, extended).map(Some),
            }
        }
    }

    /// The data of an extended header.
    fn extended(&mut self, header: &tar::Header) -> Result<Vec<u8>, Error> {
        let size = number(&header.as_old().size).and_then(|n| u64::try_from(n).ok());
        let Some(size) = size.filter(|n| *n <= MAX_EXTENDED) else {
            return Err(self.error("an extended header is larger than 1 MiB"));
        };
        let mut data = Vec::new();
        let padded = size.next_multiple_of(BLOCK);
        let got = self.input.by_ref().take(padded).read_to_end(&mut data).map_err(|e| self.failed(e))?;
        self.at += got as u64;
        if (got as u64) < padded {
            return Err(self.failed(io::ErrorKind::UnexpectedEof.into()));
        }
        data.truncate(usize::try_from(size).unwrap_or(0));
        Ok(data)
    }

    fn pax(&self, mut data: &[u8], extended: &mut Extended) -> Result<(), Error> {
        let broken = || self.error("a pax extended header is broken");
        while !data.is_empty() {
            // LENGTH KEY=VALUE\n, where LENGTH counts the whole record; the value may hold newlines.
            let space = data.iter().take(20).position(|b| *b == b' ').ok_or_else(broken)?;
            let len: usize = decimal(&data[..space]).and_then(|n| usize::try_from(n).ok()).ok_or_else(broken)?;
            let record = data.get(space + 1..len).and_then(|r| r.strip_suffix(b"\n")).ok_or_else(broken)?;
            let equals = record.iter().position(|b| *b == b'=').ok_or_else(broken)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            data = data.get(len..).unwrap_or_default();
            match key {
                b"path" => extended.path = Some(value.to_vec()).filter(|v| !v.is_empty()),
                b"linkpath" => extended.link = Some(value.to_vec()).filter(|v| !v.is_empty()),
                b"size" => extended.size = Some(decimal(value).ok_or_else(broken)?),
                b"uid" => extended.uid = Some(decimal(value).ok_or_else(broken)?),
                b"gid" => extended.gid = Some(decimal(value).ok_or_else(broken)?),
                b"mtime" => extended.mtime = Some(time(value).ok_or_else(broken)?),
                _ if key.starts_with(b"SCHILY.xattr.") || key.starts_with(b"LIBARCHIVE.xattr.") => {
                    extended.xattrs = true
                }
                _ if key.starts_with(b"GNU.sparse.") => return Err(self.error("a sparse file (pax) is not supported")),
                _ => {}
            }
        }
        Ok(())
    }

    fn member(&mut self, header: &tar::Header, extended: Extended) -> Result<Member, Error> {
        let old = header.as_old();
        let mut member = Member {
            path: extended.path.unwrap_or_else(|| header.path_bytes().into_owned()),
            link: extended.link.unwrap_or_else(|| until_nul(&old.linkname)),
            xattrs: extended.xattrs,
            data_at: self.at,
            ..Member::default()
        };
        if member.path.is_empty() {
            return Err(self.error("a member has no name"));
        }
        self.name = member.path.clone();
        if member.path.contains(&0) || member.link.contains(&0) {
            return Err(self.error("its name or link target holds a NUL byte"));
        }
        let [flag] = old.linkflag;
        member.kind = match flag {
            // In archives older than POSIX a directory is a regular file whose name ends in a slash.
            0 | b'0' | b'7' if member.path.ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' => Kind::Regular,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' => Kind::CharDevice,
            b'4' => Kind::BlockDevice,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            b'S' => return Err(self.error("a sparse file (GNU) is not supported")),
            other => return Err(self.error(format_args!("member type {:#04x} is not supported", other))),
        };
        let field = |name: &str, bytes: &[u8]| {
            number(bytes).ok_or_else(|| self.error(format_args!("its {name} is not a number")))
        };
        let id = |name: &str, pax: Option<u64>, bytes: &[u8]| {
            let value =
                pax.map_or_else(|| field(name, bytes).map(|n| u32::try_from(n).ok()), |n| Ok(u32::try_from(n).ok()))?;
            value.ok_or_else(|| self.error(format_args!("its {name} is out of range")))
        };
        member.mode = u32::try_from(field("mode", &old.mode)? & 0o7777).unwrap_or(0);
        member.uid = id("uid", extended.uid, &old.uid)?;
        member.gid = id("gid", extended.gid, &old.gid)?;
        (member.mtime, member.mtime_nsec) = match extended.mtime {
            Some(mtime) => mtime,
            None => (field("mtime", &old.mtime)?, 0),
        };
        if matches!(member.kind, Kind::CharDevice | Kind::BlockDevice) {
            // The device fields are at the same place in ustar and GNU headers. Linux has 12 bits of major and 20 of minor number.
            let [major, minor] = header
                .as_ustar()
                .map(|u| [u.dev_major, u.dev_minor])
                .or_else(|| header.as_gnu().map(|g| [g.dev_major, g.dev_minor]))
                .ok_or_else(|| self.error("it has no device number"))?;
            member.major = id("device number", None, &major)?;
            member.minor = id("device number", None, &minor)?;
            if member.major >= 1 << 12 || member.minor >= 1 << 20 {
                return Err(self.error("its device number is out of range"));
            }
        }
        if member.kind == Kind::Regular {
            let size = match extended.size {
                Some(size) => Some(size),
                None => u64::try_from(field("size", &old.size)?).ok(),
            };
            // Below 2^62, so that sums of it do not overflow.
            member.size = size.filter(|s| *s < 1 << 62).ok_or_else(|| self.error("its size is out of range"))?;
        }
        self.left = member.size;
        self.padding = member.size.next_multiple_of(BLOCK) - member.size;
        Ok(member)
    }

    /// The data of the current member.
    pub fn data(&mut self) -> Data<'_, R> {
        Data(self)
    }
}

/// Reads a member's data; an archive that ends too early is an error.
pub(crate) struct Data<'a, R>(&'a mut Members<R>);

impl<R: Input> Read for Data<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = usize::try_from(self.0.left).unwrap_or(usize::MAX).min(buffer.len());
        if n == 0 {
            return Ok(0);
        }
        let got = match self.0.input.read(&mut buffer[..n]) {
            Ok(0) => return Err(Error::new(TRUNCATED).into()),
            Ok(got) => got,
            Err(e) => return Err(e),
        };
        self.0.left -= got as u64;
        self.0.at += got as u64;
        Ok(got)
    }
}

/// Whether a block's checksum is right, as that of a header is: the sum of all bytes, with blanks in place of the checksum.
fn has_checksum(block: &[u8; BLOCK as usize]) -> bool {
    let blank = |i: usize, b: u8| if (148..156).contains(&i) { b' ' } else { b };
    let sum: i64 = block.iter().enumerate().map(|(i, b)| i64::from(blank(i, *b))).sum();
    number(&tar::Header::from_byte_slice(block).as_old().cksum) == Some(sum)
}

/// Whether `start`, up to 512 bytes, can begin a tar archive: with a header, or empty as it is, with the end mark.
pub(crate) fn is_archive(start: &[u8]) -> bool {
    start.try_into().is_ok_and(|block| has_checksum(block) || *block == [0; BLOCK as usize])
}

fn until_nul(bytes: &[u8]) -> Vec<u8> {
    bytes.split(|b| *b == 0).next().unwrap_or_default().to_vec()
}

/// A number field: octal digits between blanks and NULs, nothing at all for 0, or (GNU) a big-endian number with the top bit set.
fn number(field: &[u8]) -> Option<i64> {
    if field.first().is_some_and(|b| b & 0x80 != 0) {
        // Two's complement in all bits but the first; fields have at most 12 bytes.
        let first = i128::from(field.first()? & 0x7f);
        let first = if first & 0x40 != 0 { first - 0x80 } else { first };
        return i64::try_from(field.iter().skip(1).fold(first, |n, b| n << 8 | i128::from(*b))).ok();
    }
    let digits = field.split(|b| *b == 0).next()?.trim_ascii();
    digits.iter().try_fold(0_i64, |n, b| match b {
        b'0'..=b'7' => n.checked_mul(8)?.checked_add(i64::from(b - b'0')),
        _ => None,
    })
}

/// Decimal digits and nothing else.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |n, b| match b {
        b'0'..=b'9' => n.checked_mul(10)?.checked_add(u64::from(b - b'0')),
        _ => None,
    })
}

/// A pax time: decimal seconds with an optional sign and fraction, as seconds rounded down and nanoseconds.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |t| (true, t));
    let mut parts = text.splitn(2, |b| *b == b'.');
    let sec = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nsec = fraction.iter().chain(b"000000000").take(9).fold(0, |n, b| n * 10 + u32::from(b - b'0'));
    match (negative, nsec) {
        (false, _) => Some((sec, nsec)),
        (true, 0) => Some((-sec, 0)),
        (true, _) => Some((-sec - 1, 1_000_000_000 - nsec)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"644", Some(0o644)),
            (b"\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"0000688\0", None),
            (b"-000644\0", None),
            (b"\x80\0\0\0\0\0\0\0\0\0\x01\x02", Some(0x102)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\x80\0\0\x01\0\0\0\0\0\0\0\0", None),
            (b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            assert_eq!(number(field), value, "{field:?}");
        }
    }

    #[test]
    fn times() {
        for (text, value) in [
            (&b"1"[..], Some((1, 0))),
            (b"1.5", Some((1, 500_000_000))),
            (b"1.0000000019", Some((1, 1))),
            (b"-1", Some((-1, 0))),
            (b"-1.25", Some((-2, 750_000_000))),
            (b"", None),
            (b"1.x", None),
            (b"--1", None),
            (b"99999999999999999999", None),
        ] {
            assert_eq!(time(text), value, "{text:?}");
        }
    }
}
