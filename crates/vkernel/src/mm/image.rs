//! Start images, and slots that still hold one: an exec or a fork of the same program takes such a slot and maps nothing.
//!
//! While a process runs, its [`AddressSpace`](super::AddressSpace) notes each range in which it changed what the host has mapped ([`Changes`]). When
//! the process is gone, [`restore`] undoes that and puts the bytes of all pages back that the guest may have written: those that the host says are
//! private to this slot. Whatever is not simple (part of the image itself mapped over, text taken out of the code map, too many changes) is
//! not restored at all: the slot is then mapped over as a whole. Ranges where a file was mapped are always mapped over, never written to.

use super::scan;
use super::slot::{Raw, reserve};
use super::space::{Backing, PAGE, Prot, Vma, file_pages};
use crate::errno::{Errno, Result, last};
use crate::program::Program;
use crate::snapshot::Pages;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Ranges of each kind that are noted before the slot counts as too far gone.
const MAX_RANGES: usize = 16;
/// Pages without a file behind them that are filled with zeroes; beyond, they are dropped instead.
const MAX_PAGES: u64 = 64;
/// Bytes of writable file-backed segments that a start image keeps a copy of; programs with more are always mapped afresh.
pub(super) const MAX_DATA: u64 = 1 << 20;

/// What a recompiled program's memory is right after exec, its initial stack's contents apart. WASI modules have none.
pub struct StartImage {
    pub(super) areas: BTreeMap<u64, Vma>,
    pub(super) brk_start: u64,
    pub(super) brk: u64,
    pub(super) mmap_top: u64,
    pub(super) total: u64,
    /// Bytes of the areas that are writable and private to the process.
    pub(super) committed: u64,
    /// Bytes of the writable areas that a file lies behind, by start address.
    pub(super) data: Vec<(u64, Original)>,
}

/// What an area began with.
pub(super) enum Original {
    Copy(Box<[u8]>),
    /// So many bytes of a snapshot's pages, from an offset.
    Snapshot(Arc<Pages>, u64, u64),
}

impl Original {
    fn len(&self) -> u64 {
        match self {
            Original::Copy(bytes) => bytes.len() as u64,
            Original::Snapshot(_, _, len) => *len,
        }
    }
    /// The page at byte `at`.
    fn page(&self, at: u64) -> Option<&[u8]> {
        match self {
            Original::Copy(bytes) => bytes.get(usize::try_from(at).ok()?..)?.get(..PAGE as usize),
            Original::Snapshot(pages, offset, _) => pages.get(offset.checked_add(at)?, PAGE as usize),
        }
    }
}

impl StartImage {
    /// The area that contains `addr`.
    pub(super) fn find(&self, addr: u64) -> Option<(u64, &Vma)> {
        self.areas.range(..=addr).next_back().filter(|(_, v)| addr < v.end).map(|(&s, v)| (s, v))
    }
    fn overlaps(&self, r: &Range<u64>) -> bool {
        self.areas.range(..r.end).next_back().is_some_and(|(_, v)| v.end > r.start)
    }
    /// The bytes that `page` starts with.
    fn page(&self, page: u64) -> Option<&[u8]> {
        let (start, original) = self.data.iter().find(|(s, o)| *s <= page && page < s + o.len())?;
        original.page(page - start)
    }
    /// Whether this is the image that exec would make of a file seen under this path and number, with this stack; a snapshot has its own.
    pub fn fits(&self, path: &[u8], ino: u64, stack: Option<u64>) -> bool {
        let same = |v: &Vma| match &v.backing {
            Backing::File { source, .. } if source.anonymous.is_none() => *source.path == *path && source.ino == ino,
            _ => true,
        };
        let same_stack = |size| self.areas.last_key_value().is_some_and(|(s, v)| v.end - s == size);
        self.areas.values().all(same) && stack.is_none_or(same_stack)
    }
}

/// A set of ranges, coarsely kept.
#[derive(Clone, Default)]
pub(super) struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// Adds a range; false when there are too many.
    fn add(&mut self, r: Range<u64>) -> bool {
        if r.is_empty() {
            return true;
        }
        match self.0.iter_mut().find(|o| r.start <= o.end && o.start <= r.end) {
            Some(o) => *o = o.start.min(r.start)..o.end.max(r.end),
            None => self.0.push(r),
        }
        self.0.len() <= MAX_RANGES
    }
    pub(super) fn overlap(&self, r: &Range<u64>) -> bool {
        self.0.iter().any(|o| o.start < r.end && r.start < o.end)
    }
    fn contain(&self, r: &Range<u64>) -> bool {
        self.0.iter().any(|o| o.start <= r.start && r.end <= o.end)
    }
}

/// How a slot's mappings differ from the start image that it began with.
#[derive(Clone, Default)]
pub(super) struct Changes {
    /// What it began with. Without, it can only be mapped over.
    pub(super) image: Option<Arc<StartImage>>,
    /// Private anonymous memory was mapped or unmapped here.
    pub(super) anon: Ranges,
    /// Anything else was mapped here.
    pub(super) other: Ranges,
    /// Rights were changed here.
    pub(super) protect: Ranges,
}

/// Which kind of change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Anon,
    Other,
    Protect,
}

impl Changes {
    /// Notes a change.
    pub(super) fn note(&mut self, kind: Change, r: Range<u64>) {
        if self.image.is_none() {
            return;
        }
        let ranges = match kind {
            Change::Anon => &mut self.anon,
            Change::Other => &mut self.other,
            Change::Protect => &mut self.protect,
        };
        if !ranges.add(r) {
            self.give_up();
        }
    }
    /// The image, if all of it is still mapped, at most with other rights.
    pub(super) fn whole(&self) -> Option<&Arc<StartImage>> {
        self.image.as_ref().filter(|i| !self.anon.0.iter().chain(&self.other.0).any(|r| i.overlaps(r)))
    }
    /// The slot must be mapped over.
    pub(super) fn give_up(&mut self) {
        *self = Changes::default();
    }
}

/// What an address space leaves behind in its slot.
pub(super) struct Remains {
    pub(super) changes: Changes,
    pub(super) areas: BTreeMap<u64, Vma>,
}

/// Makes the slot hold its start image again, and nothing else. `None`: it must be mapped over. Nobody may use the slot any more.
pub(super) fn restore(raw: &Raw, left: &Remains) -> Option<Arc<StartImage>> {
    let changes = &left.changes;
    let image = changes.whole()?;
    let host = |addr: u64| raw.memory0 + addr as usize;
    for r in &changes.other.0 {
        reserve(host(r.start), (r.end - r.start) as usize, libc::PROT_NONE).ok()?;
    }
    for r in &changes.protect.0 {
        for (&start, v) in image.areas.range(..r.end) {
            let end = start + file_pages(&v.backing, v.end - start);
            let cut = r.start.max(start)..r.end.min(end);
            if !cut.is_empty() {
                protect(host(cut.start), (cut.end - cut.start) as usize, v.prot.host()).ok()?;
            }
        }
    }
    let mut pages = 0;
    let mut replace: Vec<Range<u64>> = Vec::new();
    // Where the guest can have written, at some time or other.
    let written = image
        .areas
        .iter()
        .map(|(&s, v)| (s..v.end, v))
        .filter(|(r, v)| v.prot.has(Prot::WRITE) || changes.protect.overlap(r));
    let mut looked: Vec<Range<u64>> = written.map(|(r, _)| r).chain(changes.anon.0.iter().cloned()).collect();
    looked.sort_unstable_by_key(|r| r.start);
    scan::private_pages_of(looked.into_iter().map(|r| host(r.start)..host(r.end)), |found| {
        let (mut at, end) = ((found.start - raw.memory0) as u64, (found.end - raw.memory0) as u64);
        while at < end {
            let (stop, area) = match image.find(at) {
                Some((_, v)) => (v.end.min(end), Some(v)),
                // Up to the next area of the image.
                None => (image.areas.range(at..end).next().map_or(end, |(&s, _)| s), None),
            };
            if area.is_none_or(|v| matches!(v.backing, Backing::Anon)) {
                pages += (stop - at) / PAGE;
            }
            let (address, len) = (host(at), (stop - at) as usize);
            match area {
                Some(v) if !v.prot.has(Prot::WRITE) => discard(address, len)?,
                Some(v) if matches!(v.backing, Backing::File { .. }) => {
                    for page in (at..stop).step_by(PAGE as usize) {
                        let bytes = image.page(page).ok_or(Errno::EFAULT)?;
                        // SAFETY: `bytes` is a page long, and the page at `page` is one of a private writable area of the slot, which nobody uses.
                        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), host(page) as *mut u8, bytes.len()) };
                    }
                }
                Some(_) if pages > MAX_PAGES => discard(address, len)?,
                // SAFETY: pages of a private, anonymous, writable area of the slot, which nobody uses.
                Some(_) => unsafe { std::ptr::write_bytes(address as *mut u8, 0, len) },
                None => {
                    let r = at..stop;
                    if !changes.anon.contain(&r) {
                        return Err(Errno::EFAULT);
                    }
                    if pages <= MAX_PAGES && left.writable(&r) {
                        // SAFETY: as above; that the host lets us write follows from the tree of areas.
                        unsafe { std::ptr::write_bytes(address as *mut u8, 0, len) };
                    } else {
                        replace.push(r);
                    }
                }
            }
            at = stop;
        }
        Ok(())
    })
    .ok()?;
    for r in replace {
        reserve(host(r.start), (r.end - r.start) as usize, libc::PROT_NONE).ok()?;
    }
    for r in &changes.anon.0 {
        if left.areas.range(..r.end).next_back().is_some_and(|(_, v)| v.end > r.start) {
            protect(host(r.start), (r.end - r.start) as usize, libc::PROT_NONE).ok()?;
        }
    }
    Some(Arc::clone(image))
}

impl Remains {
    /// The slot holds `image` as it is.
    pub(super) fn untouched(image: &Arc<StartImage>) -> Remains {
        Remains {
            changes: Changes { image: Some(Arc::clone(image)), ..Changes::default() },
            areas: image.areas.clone(),
        }
    }

    /// Whether the range is private anonymous memory that the host lets us write.
    fn writable(&self, r: &Range<u64>) -> bool {
        let mut at = r.start;
        while at < r.end {
            match self.areas.range(..=at).next_back() {
                Some((_, v)) if at < v.end && v.prot.has(Prot::WRITE) && matches!(v.backing, Backing::Anon) => {
                    at = v.end
                }
                _ => return false,
            }
        }
        true
    }
}

/// mprotect(2) on part of a slot.
pub(super) fn protect(at: usize, len: usize, prot: i32) -> Result<()> {
    // SAFETY: callers pass ranges of a slot's memory 0.
    if unsafe { libc::mprotect(at as *mut libc::c_void, len, prot) } < 0 { Err(last()) } else { Ok(()) }
}

/// Drops private pages: what is behind them shows again.
fn discard(at: usize, len: usize) -> Result<()> {
    // SAFETY: private pages of a slot that nobody uses; what lies behind them is the start image's own sealed file, or nothing.
    if unsafe { libc::madvise(at as *mut libc::c_void, len, libc::MADV_DONTNEED) } < 0 { Err(last()) } else { Ok(()) }
}

/// The start image of `program`, kept for the next start.
pub fn remembered(program: &Program, path: &[u8], ino: u64, stack: u64) -> Option<Arc<StartImage>> {
    crate::wait::lock(&program.start_image).clone().filter(|i| i.fits(path, ino, Some(stack)))
}
