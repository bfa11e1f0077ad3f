//! What the running side wants of a [`FileMeta`], as a file to be mapped: all runs share its pages, and nothing is decoded but the header.

use crate::{CODE_LINE_ENTRY, FileMeta, PAGE_SIZE, ResumePoint, Segment};
use std::ops::Range;

/// The `aot/<target>/*.meta` file of a recompiled program, in `bytes`.
///
/// The file begins with [`StartMeta::MAGIC`] and 64-bit words: flags (1 `fixed`, 2 `exec_stack`), `entry`, the three numbers of `phdr`, the two of `text`,
/// bytes of code lines, number of resume points, number of segments; then for each segment address, file offset, size in the file, size in memory and
/// flags (4 read, 2 write, 1 execute). On the next page boundary the code lines begin, on the next after them the resume points: address, function, label,
/// 32 bits each. Everything is little-endian, and what lies between is zero.
#[derive(Debug)]
pub struct StartMeta<B> {
    /// As in [`FileMeta`], as all that follow.
    pub fixed: bool,
    pub entry: u64,
    pub segments: Vec<Segment>,
    pub phdr: (u64, u16, u16),
    pub exec_stack: bool,
    pub text: (u64, u64),
    bytes: B,
    lines: Range<usize>,
    resume: Range<usize>,
}

const PAGE: usize = PAGE_SIZE as usize;
/// Bytes of a resume point.
const POINT: usize = 12;

impl FileMeta {
    /// The file's contents ([`StartMeta`]).
    pub fn to_start_file(&self) -> Vec<u8> {
        let (phdr, size, count) = self.phdr;
        let mut words = vec![
            u64::from(self.fixed) | u64::from(self.exec_stack) << 1,
            self.entry,
            phdr,
            size.into(),
            count.into(),
            self.text.0,
            self.text.1,
            self.code_lines.len() as u64,
            self.resume.len() as u64,
            self.segments.len() as u64,
        ];
        for s in &self.segments {
            let rights = u64::from(s.read) << 2 | u64::from(s.write) << 1 | u64::from(s.exec);
            words.extend([s.vaddr, s.file_offset, s.file_size, s.mem_size, rights]);
        }
        let mut file = StartMeta::<()>::MAGIC.to_vec();
        file.extend(words.iter().flat_map(|w| w.to_le_bytes()));
        file.resize(file.len().next_multiple_of(PAGE), 0);
        file.extend_from_slice(&self.code_lines);
        file.resize(file.len().next_multiple_of(PAGE), 0);
        file.extend(self.resume.iter().flat_map(|r| [r.addr, r.function, r.label]).flat_map(u32::to_le_bytes));
        file
    }
}

impl<B> StartMeta<B> {
    /// First bytes of the file.
    pub const MAGIC: &[u8; 16] = b"megalith-start/1";
}

impl<B: AsRef<[u8]>> StartMeta<B> {
    /// Reads the header; `None` when the bytes are no such file.
    pub fn parse(bytes: B) -> Option<StartMeta<B>> {
        let all = bytes.as_ref();
        let (chunks, _) = all.strip_prefix(Self::MAGIC)?.as_chunks::<8>();
        let mut words = chunks.iter().map(|w| u64::from_le_bytes(*w));
        let flags = words.next().filter(|f| f & !3 == 0)?;
        let entry = words.next()?;
        let phdr = (words.next()?, words.next()?.try_into().ok()?, words.next()?.try_into().ok()?);
        let text = (words.next()?, words.next()?);
        let lines_len = usize::try_from(words.next()?).ok()?;
        let points = usize::try_from(words.next()?).ok()?;
        let count = words.next()?;
        let mut segments = Vec::new();
        for _ in 0..count {
            let (vaddr, file_offset, file_size, mem_size) =
                (words.next()?, words.next()?, words.next()?, words.next()?);
            let rights = words.next().filter(|r| r & !7 == 0)?;
            let (read, write, exec) = (rights & 4 != 0, rights & 2 != 0, rights & 1 != 0);
            segments.push(Segment { vaddr, file_offset, file_size, mem_size, read, write, exec });
        }
        let header = Self::MAGIC.len() + (chunks.len() - words.len()) * 8;
        let lines = header.next_multiple_of(PAGE);
        let lines = lines..lines.checked_add(lines_len)?;
        let resume = lines.end.checked_next_multiple_of(PAGE)?;
        let resume = resume..resume.checked_add(points.checked_mul(POINT)?)?;
        if resume.end != all.len() || !lines_len.is_multiple_of(CODE_LINE_ENTRY as usize) {
            return None;
        }
        Some(StartMeta {
            fixed: flags & 1 != 0,
            entry,
            segments,
            phdr,
            exec_stack: flags & 2 != 0,
            text,
            bytes,
            lines,
            resume,
        })
    }

    /// Length of the code lines in bytes.
    pub fn code_lines_len(&self) -> usize {
        self.lines.len()
    }

    /// The whole pages of the file that the code lines fill, with zeros behind them.
    pub fn code_pages(&self) -> &[u8] {
        self.bytes.as_ref().get(self.lines.start..self.resume.start).unwrap_or_default()
    }

    /// (file-local function index, label) of the place where code goes on at `addr` (relative to the load base unless fixed).
    pub fn resolve(&self, addr: u64) -> Option<(u32, u32)> {
        let addr = u32::try_from(addr).ok()?;
        let (points, _) = self.bytes.as_ref().get(self.resume.clone())?.as_chunks::<POINT>();
        let i = points.binary_search_by_key(&addr, |p| point(p).addr).ok()?;
        let p = point(points.get(i)?);
        Some((p.function, p.label))
    }
}

fn point(bytes: &[u8; POINT]) -> ResumePoint {
    let [a0, a1, a2, a3, f0, f1, f2, f3, l0, l1, l2, l3] = *bytes;
    ResumePoint {
        addr: u32::from_le_bytes([a0, a1, a2, a3]),
        function: u32::from_le_bytes([f0, f1, f2, f3]),
        label: u32::from_le_bytes([l0, l1, l2, l3]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> FileMeta {
        let segment = |vaddr, write| Segment {
            vaddr,
            file_offset: vaddr / 2,
            file_size: 100,
            mem_size: 200,
            read: true,
            write,
            exec: !write,
        };
        FileMeta {
            fixed: true,
            entry: 0x40_0010,
            segments: vec![segment(0x40_0000, false), segment(0x40_2000, true)],
            phdr: (0x40_0040, 56, 3),
            exec_stack: true,
            text: (0x40_0000, 0x40_1800),
            code_lines: (0..1536).map(|i| i as u8 | 1).collect(),
            resume: (0..500).map(|i| ResumePoint { addr: 0x40_0000 + i * 3, function: i, label: i % 7 }).collect(),
            ..FileMeta::default()
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let meta = meta();
        let file = meta.to_start_file();
        let read = StartMeta::parse(&file).expect("parses");
        assert!(read.fixed && read.exec_stack);
        assert_eq!((read.entry, read.phdr, read.text), (meta.entry, meta.phdr, meta.text));
        assert_eq!(read.segments, meta.segments);
        assert_eq!(read.code_lines_len(), meta.code_lines.len());
        assert_eq!(read.code_pages().len(), PAGE);
        assert!(read.code_pages().starts_with(&meta.code_lines));
        assert!(read.code_pages()[meta.code_lines.len()..].iter().all(|b| *b == 0));
        assert!((read.code_pages().as_ptr() as usize - file.as_ptr() as usize).is_multiple_of(PAGE));
        for r in &meta.resume {
            assert_eq!(read.resolve(r.addr.into()), Some((r.function, r.label)));
        }
        assert_eq!(read.resolve(0x40_0001), None);
        assert_eq!(read.resolve(0x1_0040_0000), None);
        let empty = FileMeta::default().to_start_file();
        let read = StartMeta::parse(&empty).expect("parses");
        assert!(read.code_pages().is_empty() && read.resolve(0).is_none());
    }

    #[test]
    fn damaged_files_are_refused_or_read() {
        let file = meta().to_start_file();
        for len in (0..file.len()).step_by(5) {
            assert!(StartMeta::parse(&file[..len]).is_none(), "{len} bytes");
        }
        // Whatever the header says: no panic.
        for at in 0..300 {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bad = file.clone();
                bad[at] = value;
                if let Some(read) = StartMeta::parse(&bad) {
                    read.resolve(0x40_0003);
                    assert!(read.code_lines_len() <= read.code_pages().len());
                }
            }
        }
    }
}
