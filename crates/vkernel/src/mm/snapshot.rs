//! Address spaces as snapshots have them.

use super::scan;
use super::space::{AddressSpace, Backing, Label, MapRequest, MapSource, PAGE, Prot};
use crate::errno::{Errno, Result};
use crate::snapshot::State;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::ops::Range;

/// Untouched pages in a row that are worth an area of their own.
const GAP: u64 = 64 * PAGE;

/// One area of a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Area {
    start: u64,
    end: u64,
    /// `PROT_*`.
    prot: u32,
    heap: bool,
    stack: bool,
    text: bool,
    bytes: Bytes,
}

/// What an area begins as.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Bytes {
    Zero,
    /// The program's own file from this offset.
    Program(u64),
    /// The snapshot's pages from this offset.
    Pages(u64),
}

impl AddressSpace {
    /// Describes the memory in `state`, and says which ranges of it are the snapshot's pages, in their order. `program` is the file that the program's own
    /// segments are mapped from.
    ///
    /// # Errors
    /// `EBUSY` with a shared mapping, which no snapshot can hold.
    pub(crate) fn describe(&self, program: &MapSource, state: &mut State) -> Result<Vec<Range<u64>>> {
        let mut pages: Vec<Range<u64>> = Vec::new();
        let mut offset = 0;
        for (start, v) in self.areas() {
            let own = self.own_pages(start..v.end)?;
            // Ranges with what they begin as; `None` for the snapshot's pages.
            let mut parts: Vec<(Range<u64>, Option<Bytes>)> = Vec::new();
            match &v.backing {
                Backing::File { shared: true, .. } => return Err(Errno::EBUSY),
                Backing::File { source, offset, .. }
                    if own.is_empty() && source.base == program.base && source.size == program.size =>
                {
                    parts.push((start..v.end, Some(Bytes::Program(*offset))));
                }
                Backing::File { .. } => parts.push((start..v.end, None)),
                Backing::Anon => {
                    let mut from = start;
                    for r in own {
                        parts.extend([(from..r.start, Some(Bytes::Zero)), (r.clone(), None)]);
                        from = r.end;
                    }
                    parts.push((from..v.end, Some(Bytes::Zero)));
                }
            }
            for (r, bytes) in parts.into_iter().filter(|(r, _)| !r.is_empty()) {
                let bytes = bytes.unwrap_or_else(|| {
                    let bytes = Bytes::Pages(offset);
                    offset += r.end - r.start;
                    pages.push(r.clone());
                    bytes
                });
                state.areas.push(Area {
                    start: r.start,
                    end: r.end,
                    prot: v.prot.0,
                    heap: v.label == Label::Heap,
                    stack: v.label == Label::Stack,
                    text: v.text,
                    bytes,
                });
            }
        }
        (state.brk_start, state.brk, state.mmap_top) = (self.brk_start(), self.current_brk(), self.mmap_top());
        Ok(pages)
    }

    /// Where the process has pages of its own, small gaps included.
    fn own_pages(&self, area: Range<u64>) -> Result<Vec<Range<u64>>> {
        let base = self.host(0);
        let mut own: Vec<Range<u64>> = Vec::new();
        scan::private_pages(self.host(area.start)..self.host(area.end), |r| {
            let r = (r.start - base) as u64..(r.end - base) as u64;
            match own.last_mut() {
                Some(last) if r.start - last.end < GAP => last.end = r.end,
                _ => own.push(r),
            }
            Ok(())
        })?;
        Ok(own)
    }

    /// Writes what lies in `ranges`.
    pub(crate) fn write_pages(&self, ranges: &[Range<u64>], out: &mut impl Write) -> Result<()> {
        let mut page = vec![0; PAGE as usize];
        for at in ranges.iter().cloned().flat_map(|r| r.step_by(PAGE as usize)) {
            self.read(at, &mut page)?;
            out.write_all(&page).map_err(|_| Errno::EIO)?;
        }
        Ok(())
    }

    /// Maps what a snapshot describes into an empty address space; `program` as in [`Self::describe`], `pages` the snapshot's.
    pub(crate) fn map_snapshot(&mut self, state: &State, program: &MapSource, pages: &MapSource) -> Result<()> {
        for a in &state.areas {
            let len = a.end.checked_sub(a.start).ok_or(Errno::ENOEXEC)?;
            let (source, offset) = match a.bytes {
                Bytes::Zero => (None, 0),
                Bytes::Program(offset) => (Some(program), offset),
                Bytes::Pages(offset) => (Some(pages), offset),
            };
            let text = a.text && matches!(a.bytes, Bytes::Program(_)) && a.prot & Prot::WRITE.0 == 0;
            let backing = source.map_or(Backing::Anon, |s| Backing::File { source: s.clone(), offset, shared: false });
            self.mmap(MapRequest {
                addr: a.start,
                len,
                prot: Prot(a.prot & 7),
                backing,
                fixed: true,
                no_replace: true,
                label: if a.heap {
                    Label::Heap
                } else if a.stack {
                    Label::Stack
                } else {
                    Label::None
                },
                may_write: true,
                text,
            })?;
        }
        self.set_places(state.brk_start, state.brk, state.mmap_top)
    }
}
