//! The files that an image consists of, by name: in a directory or in a tar archive.

use crate::error::shown;
use crate::rootfs::components;
use crate::spool::temporary;
use crate::stream::{Limited, SeekingFile, decompress, is_compressed, peek};
use crate::tarball::{Kind, Members, is_archive};
use crate::{Error, Options};
use rustix::fs::{Mode, OFlags};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Names by which a symlink or hard link in an archive may be followed.
const MAX_LINKS: usize = 8;

pub(crate) enum Source {
    Directory(PathBuf),
    Archive(Archive),
}

/// An uncompressed tar archive and where its members lie.
pub(crate) struct Archive {
    file: File,
    len: u64,
    members: BTreeMap<Vec<u8>, Held>,
}

enum Held {
    Data {
        at: u64,
        len: u64,
    },
    /// Another member's name.
    Link(Vec<u8>),
}

/// Opens a file that must be a regular one; never waits for a fifo.
fn open_regular(path: &Path) -> Result<(File, u64), Error> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
        .map_err(|e| Error::new(io::Error::from(e)))?;
    let file = File::from(file);
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(Error::new("is not a regular file"));
    }
    Ok((file, meta.len()))
}

/// Part of a file.
struct Part<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let got = self.file.read_at(&mut buffer[..n], self.at)?;
        if got == 0 && n > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += got as u64;
        self.left -= got as u64;
        Ok(got)
    }
}

/// `name` relative to `dir` as a plain relative path; `None` if it leads out.
fn normal(dir: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let mut path: Vec<&[u8]> = Vec::new();
    for component in components(dir).chain(components(name)) {
        match component {
            b"." => {}
            b".." => drop(path.pop()?),
            _ => path.push(component),
        }
    }
    Some(path.join(&b'/'))
}

impl Source {
    /// Opens the archive `path` and lists its members; a compressed one is unpacked to a temporary file first.
    pub fn archive(path: &Path, options: &Options) -> Result<Source, Error> {
        let (mut file, mut len) = open_regular(path)?;
        if len == 0 {
            return Err(Error::new("the file is empty"));
        }
        if is_compressed(&peek(&mut BufReader::new(&file), 6)?) {
            let budget = Cell::new(options.max_bytes);
            let mut unpacked = temporary(options.spool_dir.as_deref())?;
            let part = Part { file: &file, at: 0, left: len };
            len = io::copy(&mut Limited { inner: decompress(part)?, budget: &budget }, &mut unpacked)?;
            file = unpacked;
        }
        io::Seek::rewind(&mut file)?;
        if !is_archive(&peek(&mut BufReader::new(&file), 512)?) {
            return Err(Error::new("neither a directory nor a tar archive (plain, gzip or zstd)"));
        }
        io::Seek::rewind(&mut file)?;
        let mut list = Members::new(SeekingFile(BufReader::new(file.try_clone()?)));
        let mut members = BTreeMap::new();
        while let Some(member) = list.next()? {
            // A name that leads out of the archive is nothing that anyone can ask for.
            let Some(name) = normal(b"", &member.path) else { continue };
            let parent = name.rsplitn(2, |b| *b == b'/').nth(1).unwrap_or_default();
            let held = match member.kind {
                Kind::Regular => Some(Held::Data { at: member.data_at, len: member.size }),
                Kind::HardLink => normal(b"", &member.link).map(Held::Link),
                Kind::Symlink => normal(parent, &member.link).map(Held::Link),
                _ => None,
            };
            if let Some(held) = held {
                members.insert(name, held);
                if members.len() as u64 > options.max_nodes {
                    return Err(Error::new(format_args!("the archive has more than {} members", options.max_nodes)));
                }
            }
        }
        Ok(Source::Archive(Archive { file, len, members }))
    }

    /// Whether there is a file `name`.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Source::Directory(dir) => dir.join(name).exists(),
            Source::Archive(archive) => archive.members.contains_key(name.as_bytes()),
        }
    }

    /// Opens file `name`, a relative path without `..`; gives its content and size.
    pub fn open(&self, name: &str) -> Result<(Box<dyn Read + '_>, u64), Error> {
        let failed = |e: Error| e.of(shown(name.as_bytes()));
        match self {
            Source::Directory(dir) => {
                let relative = normal(b"", name.as_bytes()).filter(|n| !n.is_empty() && !name.starts_with('/'));
                if relative.is_none() {
                    return Err(failed(Error::new("not a path in the image")));
                }
                let (file, len) = open_regular(&dir.join(name)).map_err(failed)?;
                Ok((Box::new(file.take(len)), len))
            }
            Source::Archive(archive) => archive.open(name).map_err(failed),
        }
    }

    /// The whole of file `name`, which must not be larger than `max` bytes.
    pub fn read(&self, name: &str, max: u64) -> Result<Vec<u8>, Error> {
        let (content, size) = self.open(name)?;
        let failed = |e: Error| e.of(shown(name.as_bytes()));
        if size > max {
            return Err(failed(Error::new(format_args!("its {size} bytes are too many (at most {max})"))));
        }
        let mut bytes = Vec::new();
        content.take(max).read_to_end(&mut bytes).map_err(|e| failed(e.into()))?;
        Ok(bytes)
    }
}

impl Archive {
    fn open(&self, name: &str) -> Result<(Box<dyn Read + '_>, u64), Error> {
        let mut name = normal(b"", name.as_bytes()).ok_or_else(|| Error::new("not a path in the archive"))?;
        for _ in 0..MAX_LINKS {
            match self.members.get(&name) {
                None => return Err(Error::new("not in the archive")),
                Some(Held::Link(target)) => name = target.clone(),
                Some(&Held::Data { at, len }) => {
                    if at.checked_add(len).is_none_or(|end| end > self.len) {
                        return Err(Error::new("the archive ends in the middle of it"));
                    }
                    return Ok((Box::new(Part { file: &self.file, at, left: len }), len));
                }
            }
        }
        Err(Error::new("leads through links in a circle"))
    }
}
