use super::{DATA_ALIGN, HEADER, INDEX_MAGIC, INODE, OFFSET_ALIGN, TRAILER, TRAILER_MAGIC, VERSION};
use crate::{Error, Node, NodeId, NodeKind, Rootfs};
use megalith_manifest::FileHash;
use std::io::Write;

const BLOCK: u64 = OFFSET_ALIGN;

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Root of the hash tree.
    pub root: FileHash,
    /// Length of the section in bytes.
    pub len: u64,
    /// Length of the archive, after which the index begins.
    pub archive_len: u64,
    /// Length of the tree index.
    pub index_len: u64,
}

/// Writes the file system section of `rootfs`, which the caller puts at `file_offset` (a multiple of 512) of a file. Shorthand for [`Plan`].
pub fn write(rootfs: &Rootfs, out: &mut impl Write, file_offset: u64) -> Result<Summary, Error> {
    Plan::new(rootfs, file_offset)?.write(out)
}

/// A section that is laid out but not written: its length and root are known beforehand, as a WASM section header needs.
pub struct Plan<'a> {
    rootfs: &'a Rootfs,
    file_offset: u64,
    /// Offset of each node's data from the start of the section.
    offsets: Vec<u64>,
    index: Vec<u8>,
    summary: Summary,
}

impl<'a> Plan<'a> {
    /// Lays out the section of `rootfs` for `file_offset`, which must be a multiple of 512. The result depends on `rootfs` and on `file_offset`
    /// modulo 4096 only.
    pub fn new(rootfs: &'a Rootfs, file_offset: u64) -> Result<Plan<'a>, Error> {
        if !file_offset.is_multiple_of(BLOCK) {
            return Err(Error::new("file system section: its offset in the file is not a multiple of 512"));
        }
        let file_offset = file_offset % DATA_ALIGN;
        let mut offsets = vec![0; rootfs.node_count()];
        let mut count = Archive { out: std::io::sink(), at: 0, file_offset };
        count.all(rootfs, Some(&mut offsets))?;
        let index = encode_index(rootfs, &offsets)?;
        let index_len = index.len() as u64;
        let summary = Summary {
            root: FileHash::of(&index),
            len: count.at + index_len + TRAILER as u64,
            archive_len: count.at,
            index_len,
        };
        Ok(Plan { rootfs, file_offset, offsets, index, summary })
    }

    /// Length and root of the section.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// Offset of regular file `id`'s data from the start of the section; 0 for anything else and for empty files.
    pub fn data_offset(&self, id: NodeId) -> u64 {
        self.offsets.get(id as usize).copied().unwrap_or(0)
    }

    /// Writes the section.
    pub fn write(&self, out: &mut impl Write) -> Result<Summary, Error> {
        let mut archive = Archive { out: &mut *out, at: 0, file_offset: self.file_offset };
        archive.all(self.rootfs, None)?;
        let failed = |e| Error::new(e).of("writing the file system section");
        out.write_all(&self.index).map_err(failed)?;
        let mut trailer = Vec::with_capacity(TRAILER);
        for word in [self.summary.archive_len, self.summary.index_len, 0] {
            trailer.extend_from_slice(&word.to_le_bytes());
        }
        trailer.extend_from_slice(&TRAILER_MAGIC);
        out.write_all(&trailer).map_err(failed)?;
        Ok(self.summary)
    }
}

/// The tree index; a node without an entry in `offsets` gets the data offset 0.
pub(crate) fn encode_index(rootfs: &Rootfs, offsets: &[u64]) -> Result<Vec<u8>, Error> {
    let too_many = || Error::new("file system section: more files or longer names than the format can hold");
    let (mut inodes, mut dirents) = (Vec::with_capacity(rootfs.node_count() * INODE), Vec::new());
    // Names of entries come before all symlink targets, whose offsets therefore follow in a second step.
    let (mut names, mut targets, mut entry_count) = (Vec::new(), Vec::new(), 0_u64);
    let names_len: u64 =
        rootfs.nodes.iter().filter_map(|n| n.directory()).flat_map(|d| d.entries()).map(|(n, _)| n.len() as u64).sum();
    for (id, node) in rootfs.nodes.iter().enumerate() {
        let mut hash = [0; 32];
        let (mut size, mut start, mut parent, mut rdev) = (0, 0, 0, (0, 0));
        match &node.kind {
            NodeKind::Directory(d) => {
                (size, start, parent) = (d.entries.len() as u64, entry_count, d.parent);
                entry_count += size;
                for (name, child) in d.entries() {
                    let at = u32::try_from(names.len()).map_err(|_| too_many())?;
                    let len = u32::try_from(name.len()).map_err(|_| too_many())?;
                    for word in [at, len, child] {
                        dirents.extend_from_slice(&word.to_le_bytes());
                    }
                    names.extend_from_slice(name);
                }
            }
            NodeKind::Regular(r) => {
                (size, start, hash) = (r.size(), offsets.get(id).copied().unwrap_or(0), r.hash.0);
            }
            NodeKind::Symlink(target) => {
                (size, start) = (target.len() as u64, names_len + targets.len() as u64);
                targets.extend_from_slice(target);
            }
            NodeKind::CharDevice { major, minor } | NodeKind::BlockDevice { major, minor } => rdev = (*major, *minor),
            NodeKind::Fifo => {}
        }
        let Node { meta, nlink, .. } = node;
        let mode = node.file_type().bits() | (meta.mode & 0o7777);
        for word in [mode, meta.uid, meta.gid, *nlink] {
            inodes.extend_from_slice(&word.to_le_bytes());
        }
        inodes.extend_from_slice(&meta.mtime.to_le_bytes());
        for word in [meta.mtime_nsec, rdev.0, rdev.1, parent] {
            inodes.extend_from_slice(&word.to_le_bytes());
        }
        for word in [size, start, 0] {
            inodes.extend_from_slice(&word.to_le_bytes());
        }
        inodes.extend_from_slice(&hash);
    }
    names.extend_from_slice(&targets);
    let counts = [rootfs.nodes.len() as u64, entry_count].map(u32::try_from);
    let [Ok(inode_count), Ok(dirent_count)] = counts else { return Err(too_many()) };
    let mut index = Vec::with_capacity(HEADER + inodes.len() + dirents.len() + names.len());
    index.extend_from_slice(&INDEX_MAGIC);
    for word in [VERSION, inode_count, dirent_count, 0] {
        index.extend_from_slice(&word.to_le_bytes());
    }
    index.extend_from_slice(&(names.len() as u64).to_le_bytes());
    for table in [&inodes, &dirents, &names] {
        index.extend_from_slice(table);
    }
    Ok(index)
}

/// A tar archive on its way out.
struct Archive<W> {
    out: W,
    /// Bytes written.
    at: u64,
    file_offset: u64,
}

impl<W: Write> Archive<W> {
    /// Writes all members and the end. With `offsets` it only counts, and notes where each node's data lie.
    fn all(&mut self, rootfs: &Rootfs, mut offsets: Option<&mut [u64]>) -> Result<(), Error> {
        // First path of each node: hard links point there.
        let mut first: Vec<Option<Vec<u8>>> = vec![None; rootfs.node_count()];
        for (path, id, node) in rootfs.iter() {
            let mut name = path.get(1..).unwrap_or_default().to_vec();
            if node.directory().is_some() {
                name = if name.is_empty() { b"./".to_vec() } else { [&name[..], b"/"].concat() };
            }
            let Some(first) = first.get_mut(id as usize) else { continue };
            let data = if first.is_none() { rootfs.data(id) } else { &[] };
            self.header(&name, node, first.as_deref(), data.len() as u64)?;
            if !data.is_empty() {
                match &mut offsets {
                    Some(offsets) => {
                        if let Some(offset) = offsets.get_mut(id as usize) {
                            *offset = self.at;
                        }
                        self.at += data.len() as u64;
                    }
                    None => self.bytes(data)?,
                }
                self.zeros(data.len().next_multiple_of(BLOCK as usize) - data.len())?;
            }
            if first.is_none() && node.nlink > 1 && node.directory().is_none() {
                *first = Some(name);
            }
        }
        self.zeros(2 * BLOCK as usize)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes).map_err(|e| Error::new(e).of("writing the file system section"))
    }

    fn zeros(&mut self, n: usize) -> Result<(), Error> {
        const ZEROS: [u8; 2 * BLOCK as usize] = [0; 2 * BLOCK as usize];
        self.bytes(ZEROS.get(..n).unwrap_or(&ZEROS))
    }

    /// Writes a member's header, with a pax header in front if something does not fit or data must be moved to a page boundary.
    /// `link` makes it a hard link.
    fn header(&mut self, name: &[u8], node: &Node, link: Option<&[u8]>, data_len: u64) -> Result<(), Error> {
        let mut pax = Pax::default();
        let mut header = tar::Header::new_ustar();
        let meta = &node.meta;
        let (flag, target): (u8, &[u8]) = match (&node.kind, link) {
            (_, Some(first)) => (b'1', first),
            (NodeKind::Directory(_), _) => (b'5', b""),
            (NodeKind::Regular(_), _) => (b'0', b""),
            (NodeKind::Symlink(target), _) => (b'2', target),
            (NodeKind::CharDevice { .. }, _) => (b'3', b""),
            (NodeKind::BlockDevice { .. }, _) => (b'4', b""),
            (NodeKind::Fifo, _) => (b'6', b""),
        };
        let fields = header.as_old_mut();
        fields.linkflag = [flag];
        pax.text("path", name, &mut fields.name);
        pax.text("linkpath", target, &mut fields.linkname);
        octal(u64::from(meta.mode & 0o7777), &mut fields.mode);
        pax.number("uid", u64::from(meta.uid), &mut fields.uid);
        pax.number("gid", u64::from(meta.gid), &mut fields.gid);
        pax.number("size", data_len, &mut fields.size);
        match u64::try_from(meta.mtime) {
            Ok(mtime) if meta.mtime_nsec == 0 => pax.number("mtime", mtime, &mut fields.mtime),
            _ => {
                octal(u64::try_from(meta.mtime).unwrap_or(0), &mut fields.mtime);
                pax.record("mtime", decimal_time(meta.mtime, meta.mtime_nsec).as_bytes());
            }
        }
        if let (NodeKind::CharDevice { major, minor } | NodeKind::BlockDevice { major, minor }, Some(ustar)) =
            (&node.kind, header.as_ustar_mut())
        {
            octal(u64::from(*major), &mut ustar.dev_major);
            octal(u64::from(*minor), &mut ustar.dev_minor);
        }
        header.set_cksum();
        if data_len > 0 {
            self.align(&mut pax);
        }
        if !pax.0.is_empty() {
            let mut extended = tar::Header::new_ustar();
            let fields = extended.as_old_mut();
            fields.linkflag = [b'x'];
            fields.name[..PAX_NAME.len()].copy_from_slice(PAX_NAME);
            octal(0o644, &mut fields.mode);
            octal(0, &mut fields.uid);
            octal(0, &mut fields.gid);
            octal(0, &mut fields.mtime);
            octal(pax.0.len() as u64, &mut fields.size);
            extended.set_cksum();
            self.bytes(extended.as_bytes())?;
            self.bytes(&pax.0)?;
            self.zeros(pax.0.len().next_multiple_of(BLOCK as usize) - pax.0.len())?;
        }
        self.bytes(header.as_bytes())
    }

    /// Lengthens `pax` so that the data behind the member's header begin at a multiple of [`DATA_ALIGN`] of the file.
    fn align(&self, pax: &mut Pax) {
        let data_at = self.file_offset + self.at + BLOCK;
        let gap = data_at.next_multiple_of(DATA_ALIGN) - data_at;
        let records = (pax.0.len() as u64).next_multiple_of(BLOCK);
        if gap == 0 && records == 0 {
            return;
        }
        // The extended header takes one block and its records; without any there must be a comment.
        let least = BLOCK + records.max(BLOCK);
        let room = if gap >= least { gap } else { gap + (least - gap).next_multiple_of(DATA_ALIGN) };
        let comment = room - BLOCK - pax.0.len() as u64;
        if comment >= BLOCK {
            pax.comment(comment);
        }
    }
}

/// Name of the members that are extended headers; readers do not show it.
const PAX_NAME: &[u8] = b"././@PaxHeader";

/// Writes `value` in octal digits with a NUL behind, if it fits.
fn octal(value: u64, field: &mut [u8]) -> bool {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}");
    let fits = text.len() == digits;
    if fits {
        field[..digits].copy_from_slice(text.as_bytes());
    } else {
        field[..digits].fill(b'0');
    }
    field[digits] = 0;
    fits
}

/// Seconds since 1970 as a decimal number; `nsec` counts forward from `sec` also before 1970.
fn decimal_time(sec: i64, nsec: u32) -> String {
    let total = i128::from(sec) * 1_000_000_000 + i128::from(nsec);
    let (sign, total) = (if total < 0 { "-" } else { "" }, total.unsigned_abs());
    let text = format!("{sign}{}.{:09}", total / 1_000_000_000, total % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// Records of a pax extended header.
#[derive(Default)]
struct Pax(Vec<u8>);

impl Pax {
    /// Appends `LENGTH KEY=VALUE\n`, where LENGTH counts the whole record.
    fn record(&mut self, key: &str, value: &[u8]) {
        let rest = key.len() + value.len() + 3;
        let mut len = rest + 1;
        while len != rest + len.to_string().len() {
            len = rest + len.to_string().len();
        }
        self.0.extend_from_slice(format!("{len} {key}=").as_bytes());
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }

    /// Appends a comment of `len` bytes in all, at least 16.
    fn comment(&mut self, len: u64) {
        let start = format!("{len} comment=");
        let blanks = usize::try_from(len).unwrap_or(0).saturating_sub(start.len() + 1);
        self.0.extend_from_slice(start.as_bytes());
        self.0.resize(self.0.len() + blanks, b' ');
        self.0.push(b'\n');
    }

    /// Puts `value` in `field`, or as much as fits and the whole in a record.
    fn text(&mut self, key: &str, value: &[u8], field: &mut [u8]) {
        let fits = value.len().min(field.len());
        field[..fits].copy_from_slice(&value[..fits]);
        if fits < value.len() {
            if std::str::from_utf8(value).is_err() {
                // Records are UTF-8 unless this says otherwise.
                self.record("hdrcharset", b"BINARY");
            }
            self.record(key, value);
        }
    }

    /// Puts `value` in `field` in octal, or 0 and the value in a record.
    fn number(&mut self, key: &str, value: u64, field: &mut [u8]) {
        if !octal(value, field) {
            self.record(key, value.to_string().as_bytes());
        }
    }
}
