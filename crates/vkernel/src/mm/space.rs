//! Address spaces: the tree of virtual memory areas, and the host mappings that mirror it inside a slot.
//!
//! Guest pages are host pages. The host never gets PROT_EXEC: recompiled code lives elsewhere, so executable is a
//! property of the tree alone.

mod linear;

use super::budget::{Budget, Held};
use super::image::{self, Change, Changes, Remains, StartImage};
use super::scan;
use super::slot::{MEMORY0_SIZE, Slot, SlotPool};
use crate::errno::{Errno, Result, last};
use crate::program::Program;
use crate::snapshot::Pages;
use crate::turn::Turn;
use megalith_abi::{ADDR_LIMIT, MAP_L1, MAP_L2, MMAP_MIN_ADDR};
use megalith_vfs::Inode;
use std::collections::BTreeMap;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex};

/// Guest page size.
pub const PAGE: u64 = megalith_abi::PAGE_SIZE as u64;
const MIN: u64 = MMAP_MIN_ADDR as u64;
const LIMIT: u64 = ADDR_LIMIT as u64;
/// Unmapped bytes kept below the stack (Linux: `stack_guard_gap`, 256 pages).
const STACK_GAP: u64 = 256 * PAGE;
/// Bytes and ranges that are kept when they are unmapped.
const KEEP_MAX: u64 = 64 * PAGE;
const KEEP_RANGES: usize = 8;
/// Areas a process may have (Linux: `vm.max_map_count`; lower, because all processes share the host's).
const MAX_AREAS: usize = 8192;

/// Access rights of pages, as in `PROT_*`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prot(pub u32);

impl Prot {
    pub const NONE: Prot = Prot(0);
    pub const READ: Prot = Prot(1);
    pub const WRITE: Prot = Prot(2);
    pub const EXEC: Prot = Prot(4);
    pub const RW: Prot = Prot(3);

    /// Whether all of `other` is granted; on x86 write or execute implies read.
    pub fn allows(self, other: Prot) -> bool {
        let have = if self.0 != 0 { self.0 | 1 } else { 0 };
        have & other.0 == other.0
    }
    /// Whether any of `other` is set.
    pub fn has(self, other: Prot) -> bool {
        self.0 & other.0 != 0
    }
    /// What the host gets: never PROT_EXEC.
    pub(super) fn host(self) -> i32 {
        if self.0 == 0 {
            libc::PROT_NONE
        } else if self.0 & 2 != 0 {
            libc::PROT_READ | libc::PROT_WRITE
        } else {
            libc::PROT_READ
        }
    }
}

/// A host file to map.
#[derive(Clone)]
pub struct MapSource {
    /// The host file.
    pub fd: Arc<OwnedFd>,
    /// What pays for the file's bytes as long as they are mapped, even if nothing else refers to it.
    pub owner: Option<Arc<dyn Inode>>,
    /// Byte in the host file at which the guest's file starts (page aligned).
    pub base: u64,
    /// Bytes of the guest's file at the time of the call.
    pub size: u64,
    /// The host file goes on behind `size`: pages wholly past it must fault.
    pub sealed: bool,
    /// The file may become shorter while it is mapped, so that touching it may fault.
    pub truncatable: bool,
    /// These are pages of a snapshot, and to the guest private memory that no file lies behind. Their bytes.
    pub anonymous: Option<Arc<Pages>>,
    /// Path for /proc/PID/maps.
    pub path: Arc<[u8]>,
    /// Inode number for /proc/PID/maps.
    pub ino: u64,
    /// Which host file it is, however it was opened; only known of what is mapped shared.
    pub host: Option<HostFile>,
}

/// Device and inode number on the host.
pub type HostFile = (u64, u64);

/// What lies behind an area.
#[derive(Clone)]
pub enum Backing {
    /// Private zero pages.
    Anon,
    /// Pages of a file, from guest file offset `offset`.
    File { source: MapSource, offset: u64, shared: bool },
}

impl Backing {
    /// Private memory that, to the guest, no file lies behind.
    pub fn is_anonymous(&self) -> bool {
        match self {
            Backing::Anon => true,
            Backing::File { source, .. } => source.anonymous.is_some(),
        }
    }
    /// What follows behind memory of this kind when it grows by zero pages, or is dropped.
    fn grown(&self) -> Backing {
        if self.is_anonymous() { Backing::Anon } else { self.clone() }
    }
}

/// Special areas, as /proc/PID/maps names them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Label {
    None,
    Heap,
    Stack,
}

/// One virtual memory area.
#[derive(Clone)]
pub struct Vma {
    /// One past the last byte; the start is the key in the tree.
    pub end: u64,
    pub prot: Prot,
    pub backing: Backing,
    pub label: Label,
    /// Executable text of a program; its code is in the code map.
    pub text: bool,
    /// A shared file mapping that was not opened for writing may not be made writable.
    pub may_write: bool,
}

impl Vma {
    /// Pages of a snapshot lie behind it.
    fn is_snapshot(&self) -> bool {
        self.backing.is_anonymous() && !matches!(self.backing, Backing::Anon)
    }
    fn shared(&self) -> bool {
        matches!(self.backing, Backing::File { shared: true, .. })
    }
    /// Its pages become the process's own when they are written to.
    fn committed(&self) -> bool {
        self.prot.has(Prot::WRITE) && !self.shared()
    }
    /// Touching it may fault although the tree allows it.
    fn may_fault(&self, start: u64) -> bool {
        match &self.backing {
            // mremap(2) may have made it longer than its file.
            Backing::File { source, offset, .. } => {
                source.truncatable || align_up(source.size).saturating_sub(*offset) < self.end - start
            }
            Backing::Anon => false,
        }
    }
    /// Only this process's threads can change its bytes.
    fn exclusive(&self) -> bool {
        matches!(self.backing, Backing::Anon) || matches!(&self.backing, Backing::File { shared: false, .. })
    }
    /// The same area seen from `delta` bytes further on.
    fn advanced(&self, delta: u64) -> Vma {
        let mut v = self.clone();
        if let Backing::File { offset, .. } = &mut v.backing {
            *offset += delta;
        }
        v
    }
    /// Whether the two, which start at the same address, have the same private bytes behind them.
    fn same_bytes(&self, other: &Vma) -> bool {
        match (&self.backing, &other.backing) {
            (Backing::Anon, Backing::Anon) => true,
            (
                Backing::File { source: a, offset: oa, shared: false },
                Backing::File { source: b, offset: ob, shared: false },
            ) => Arc::ptr_eq(&a.fd, &b.fd) && a.base == b.base && a.size == b.size && oa == ob,
            _ => false,
        }
    }
    /// Whether `next`, which starts where this area (of `len` bytes) ends, continues it.
    fn continues(&self, len: u64, next: &Vma) -> bool {
        self.prot == next.prot
            && self.label == next.label
            && self.text == next.text
            && self.may_write == next.may_write
            && match (&self.backing, &next.backing) {
                (Backing::Anon, Backing::Anon) => true,
                (
                    Backing::File { source: a, offset: oa, shared: sa },
                    Backing::File { source: b, offset: ob, shared: sb },
                ) => Arc::ptr_eq(&a.fd, &b.fd) && a.base == b.base && sa == sb && oa + len == *ob,
                _ => false,
            }
    }
}

/// Options of [`AddressSpace::mmap`].
pub struct MapRequest {
    pub addr: u64,
    pub len: u64,
    pub prot: Prot,
    pub backing: Backing,
    pub fixed: bool,
    pub no_replace: bool,
    pub label: Label,
    pub may_write: bool,
    /// Recompiled text of the manifest's file: may be executable.
    pub text: bool,
}

/// A process's memory.
pub struct AddressSpace {
    slot: Arc<Slot>,
    areas: BTreeMap<u64, Vma>,
    brk_start: u64,
    brk: u64,
    /// One past the highest address that mmap chooses.
    mmap_top: u64,
    budget: Arc<Budget>,
    /// Bytes mapped, for RLIMIT_AS and /proc.
    total: u64,
    /// Bytes that the budget was asked for.
    committed: u64,
    /// RLIMIT_AS, RLIMIT_DATA: limits in bytes.
    pub limit_as: u64,
    pub limit_data: u64,
    /// What became of the start image on the host's side.
    changes: Changes,
    /// The code map has the program's text.
    code_mapped: bool,
    /// Unmapped ranges whose pages the host has kept ([`Self::host_close`]).
    kept: Vec<Range<u64>>,
    /// Whom the tasks of this memory take turns with, as long as there is a shared mapping, or threads.
    pub(crate) turn: Option<Arc<Turn>>,
    /// Several threads use it, or did: while one is in a call, others may run in it.
    threaded: bool,
}

/// How many of the first `len` bytes of a mapping have a page of the file behind them (all, unless the file is sealed and ends before).
pub(super) fn file_pages(backing: &Backing, len: u64) -> u64 {
    match backing {
        Backing::File { source, offset, .. } if source.sealed => align_up(source.size).saturating_sub(*offset).min(len),
        _ => len,
    }
}

fn align_up(n: u64) -> u64 {
    n.saturating_add(PAGE - 1) & !(PAGE - 1)
}
fn align_down(n: u64) -> u64 {
    n & !(PAGE - 1)
}

impl AddressSpace {
    /// An empty address space on a fresh slot.
    pub fn new(pool: &Arc<SlotPool>, budget: &Arc<Budget>) -> Result<AddressSpace> {
        Ok(AddressSpace {
            slot: pool.get()?,
            areas: BTreeMap::new(),
            brk_start: 0,
            brk: 0,
            mmap_top: LIMIT,
            budget: Arc::clone(budget),
            total: 0,
            committed: 0,
            limit_as: u64::MAX,
            limit_data: u64::MAX,
            changes: Changes::default(),
            code_mapped: false,
            kept: Vec::new(),
            turn: None,
            threaded: false,
        })
    }

    /// An address space that is the start image already. `None` when no slot has it ready, or when a limit is in the way (so that mapping it
    /// afresh finds out which).
    pub fn warm(
        pool: &Arc<SlotPool>,
        budget: &Arc<Budget>,
        image: &Arc<StartImage>,
        limits: (u64, u64),
    ) -> Result<Option<AddressSpace>> {
        let Some(slot) = (if image.total > limits.0 { None } else { pool.warm(image)? }) else { return Ok(None) };
        if budget.take(image.committed).is_err() {
            // The slot goes back as it came.
            slot.leave(Remains::untouched(image));
            return Ok(None);
        }
        Ok(Some(AddressSpace {
            slot,
            areas: image.areas.clone(),
            brk_start: image.brk_start,
            brk: image.brk,
            mmap_top: image.mmap_top,
            budget: Arc::clone(budget),
            total: image.total,
            committed: image.committed,
            limit_as: limits.0,
            limit_data: limits.1,
            changes: Changes { image: Some(Arc::clone(image)), ..Changes::default() },
            code_mapped: true,
            kept: Vec::new(),
            turn: None,
            threaded: false,
        }))
    }

    /// Records what has been mapped so far, program, code and stack, as the start image in `remember`. Nothing may have been written but to the stack.
    pub fn record_image(&mut self, remember: &Mutex<Option<Arc<StartImage>>>) {
        let mut data = Vec::new();
        let mut bytes = 0;
        for (start, v) in self.areas() {
            let Backing::File { source, .. } = &v.backing else { continue };
            // Only files that nobody changes, with all of the pages there.
            if !source.sealed || v.shared() || v.may_fault(start) {
                return;
            }
            if !v.prot.has(Prot::WRITE) {
                continue;
            }
            if let Backing::File { source: MapSource { anonymous: Some(pages), .. }, offset, .. } = &v.backing {
                data.push((start, image::Original::Snapshot(Arc::clone(pages), *offset, v.end - start)));
                continue;
            }
            bytes += v.end - start;
            if bytes > image::MAX_DATA {
                return;
            }
            let mut copy = vec![0; (v.end - start) as usize];
            if self.read(start, &mut copy).is_err() {
                return;
            }
            data.push((start, image::Original::Copy(copy.into())));
        }
        let image = Arc::new(StartImage {
            committed: self.committed,
            areas: self.areas.clone(),
            brk_start: self.brk_start,
            brk: self.brk,
            mmap_top: self.mmap_top,
            total: self.total,
            data,
        });
        self.changes = Changes { image: Some(Arc::clone(&image)), ..Changes::default() };
        *crate::wait::lock(remember) = Some(image);
    }

    /// The slot.
    pub fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }
    /// Bytes mapped.
    pub fn total(&self) -> u64 {
        self.total
    }
    /// Current program break.
    pub fn current_brk(&self) -> u64 {
        self.brk
    }
    /// First byte of the heap.
    pub fn brk_start(&self) -> u64 {
        self.brk_start
    }
    /// One past the highest address that mmap chooses.
    pub(super) fn mmap_top(&self) -> u64 {
        self.mmap_top
    }
    /// Sets where the heap starts and ends and below which address mmap chooses.
    pub(super) fn set_places(&mut self, brk_start: u64, brk: u64, mmap_top: u64) -> Result<()> {
        if brk_start > brk || brk > LIMIT || mmap_top > LIMIT {
            return Err(Errno::ENOEXEC);
        }
        (self.brk_start, self.brk, self.mmap_top) = (brk_start, brk, mmap_top);
        Ok(())
    }
    /// Areas by start address.
    pub fn areas(&self) -> impl DoubleEndedIterator<Item = (u64, &Vma)> {
        self.areas.iter().map(|(&s, v)| (s, v))
    }

    /// The area that contains `addr`.
    pub fn find(&self, addr: u64) -> Option<(u64, &Vma)> {
        self.areas.range(..=addr).next_back().filter(|(_, v)| addr < v.end).map(|(&s, v)| (s, v))
    }

    /// Whether there is a shared mapping: of `file`, or of any file that can change.
    pub(crate) fn shares(&self, file: Option<HostFile>) -> bool {
        self.areas.values().any(|v| match &v.backing {
            Backing::File { source, shared: true, .. } => file.is_none() || source.host == file,
            _ => false,
        })
    }

    /// From now on several threads use it.
    pub(crate) fn has_threads(&mut self) {
        self.threaded = true;
    }
    /// One thread is left.
    pub(crate) fn has_one_thread(&mut self) {
        self.threaded = false;
    }
    /// Whether several threads use it.
    pub(crate) fn threaded(&self) -> bool {
        self.threaded
    }

    pub(super) fn host(&self, addr: u64) -> usize {
        debug_assert!(addr <= MEMORY0_SIZE as u64);
        self.slot.memory0() as usize + addr as usize
    }

    // ---- tree ----

    /// Makes `addr` an area boundary.
    fn split(&mut self, addr: u64) {
        let Some((start, v)) = self.find(addr) else { return };
        if start == addr {
            return;
        }
        let right = v.advanced(addr - start);
        if let Some(v) = self.areas.get_mut(&start) {
            v.end = addr;
        }
        self.areas.insert(addr, right);
    }

    /// Takes the areas of a range out of the tree (cutting those that overlap its ends).
    fn cut(&mut self, r: Range<u64>) -> Vec<(u64, Vma)> {
        self.split(r.start);
        self.split(r.end);
        let keys: Vec<u64> = self.areas.range(r).map(|(&k, _)| k).collect();
        let cut: Vec<(u64, Vma)> = keys.into_iter().filter_map(|k| Some((k, self.areas.remove(&k)?))).collect();
        self.total -= cut.iter().map(|(s, v)| v.end - s).sum::<u64>();
        let committed = cut.iter().filter(|(_, v)| v.committed()).map(|(s, v)| v.end - s).sum();
        self.committed -= committed;
        self.budget.give(committed);
        cut
    }

    /// Adds an area to a free range and merges it with its neighbours where they continue each other. The caller holds what it commits: see
    /// [`Self::hold`].
    fn insert(&mut self, start: u64, vma: Vma) {
        self.total += vma.end - start;
        if vma.committed() {
            self.committed += vma.end - start;
            self.budget.add(vma.end - start);
        }
        let end = vma.end;
        let mut start = start;
        let mut vma = vma;
        if let Some((&ps, p)) = self.areas.range(..start).next_back()
            && p.end == start
            && p.continues(start - ps, &vma)
        {
            let mut merged = p.clone();
            merged.end = end;
            self.areas.remove(&ps);
            vma = merged;
            start = ps;
        }
        if let Some(n) = self.areas.get(&end)
            && vma.continues(end - start, n)
        {
            vma.end = n.end;
            self.areas.remove(&end);
        }
        self.areas.insert(start, vma);
    }

    /// The budget's word for `len` bytes, if they are committed, until they are in the tree; `ENOMEM`.
    fn hold(&self, committed: bool, len: u64) -> Result<Held> {
        self.budget.hold(if committed { len } else { 0 })
    }

    fn is_free(&self, r: Range<u64>) -> bool {
        self.areas.range(..r.end).next_back().is_none_or(|(_, v)| v.end <= r.start)
    }

    /// The highest free range of `len` bytes below `top`.
    fn find_free(&self, len: u64, top: u64) -> Option<u64> {
        let mut high = top;
        for (&start, v) in self.areas.range(..top).rev() {
            if v.end <= high && high - v.end >= len {
                return Some(high - len);
            }
            let gap = if v.label == Label::Stack { STACK_GAP } else { 0 };
            high = high.min(start.saturating_sub(gap));
            if high < MIN + len {
                return None;
            }
        }
        (high >= MIN + len).then(|| high - len)
    }

    // ---- host mappings ----

    fn host_map(&mut self, start: u64, end: u64, prot: Prot, backing: &Backing) -> Result<()> {
        let kind = if matches!(backing, Backing::Anon) { Change::Anon } else { Change::Other };
        self.changes.note(kind, start..end);
        let r = self.host_map_unnoted(start, end, prot, backing);
        if r.is_err() {
            self.changes.give_up();
        }
        r
    }

    /// Makes a range that no area covers private anonymous memory: the reservation is that already, and inaccessible.
    fn host_open(&mut self, start: u64, end: u64, prot: Prot) -> Result<()> {
        if end > LIMIT {
            return Err(Errno::ENOMEM);
        }
        self.changes.note(Change::Anon, start..end);
        self.kept.retain(|k| k.start < start || end < k.end);
        let r = match prot.host() {
            libc::PROT_NONE => Ok(()),
            host => image::protect(self.host(start), (end - start) as usize, host),
        };
        if r.is_err() {
            self.changes.give_up();
        }
        r
    }

    /// Takes a small range of ordinary memory away, but keeps its pages, as zeros, for the next mapping there: a stack for each child, say.
    /// False when it is for [`Self::host_unmap`] to do.
    fn host_close(&mut self, start: u64, v: &Vma) -> Result<bool> {
        let len = v.end - start;
        let kept: u64 = self.kept.iter().map(|r| r.end - r.start).sum();
        if self.threaded
            || !matches!(v.backing, Backing::Anon)
            || v.prot.host() != libc::PROT_READ | libc::PROT_WRITE
            || kept + len > KEEP_MAX
            || self.kept.len() >= KEEP_RANGES
        {
            return Ok(false);
        }
        self.changes.note(Change::Anon, start..v.end);
        let (from, to) = (self.host(start), self.host(v.end));
        scan::private_pages(from..to, |r| {
            // SAFETY: private pages of an area that is mapped read-write and that nobody else uses: the process's thread is in this call.
            unsafe { std::ptr::write_bytes(r.start as *mut u8, 0, r.end - r.start) };
            Ok(())
        })?;
        image::protect(from, to - from, libc::PROT_NONE)?;
        self.kept.push(start..v.end);
        Ok(true)
    }

    fn host_map_unnoted(&mut self, start: u64, end: u64, prot: Prot, backing: &Backing) -> Result<()> {
        let len = (end - start) as usize;
        let (flags, fd, offset) = match backing {
            Backing::Anon => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0),
            Backing::File { source, offset, shared } => {
                let kind = if *shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
                (kind, source.fd.as_raw_fd(), source.base.checked_add(*offset).ok_or(Errno::EOVERFLOW)?)
            }
        };
        let offset = i64::try_from(offset).map_err(|_| Errno::EOVERFLOW)?;
        if end > LIMIT || len == 0 {
            return Err(Errno::ENOMEM);
        }
        let behind = file_pages(backing, end - start);
        if behind < end - start {
            self.host_map_unnoted(start + behind, end, Prot::NONE, &Backing::Anon)?;
            return if behind == 0 { Ok(()) } else { self.host_map_unnoted(start, start + behind, prot, backing) };
        }
        // SAFETY: the range lies in memory 0 of the slot (checked), which holds guest bytes only, and no Rust reference into it is alive.
        let p = unsafe {
            libc::mmap(
                self.host(start) as *mut libc::c_void,
                len,
                prot.host(),
                flags | libc::MAP_FIXED | libc::MAP_NORESERVE,
                fd,
                offset,
            )
        };
        if p == libc::MAP_FAILED { Err(last()) } else { Ok(()) }
    }

    fn host_unmap(&mut self, start: u64, end: u64) -> Result<()> {
        self.host_map(start, end, Prot::NONE, &Backing::Anon)
    }

    fn host_protect(&mut self, start: u64, end: u64, prot: Prot, backing: &Backing) -> Result<()> {
        self.changes.note(Change::Protect, start..end);
        let end = start + file_pages(backing, end - start);
        if end == start {
            return Ok(());
        }
        let r = image::protect(self.host(start), (end - start) as usize, prot.host());
        if r.is_err() {
            self.changes.give_up();
        }
        r
    }

    // ---- system calls ----

    /// mmap(2). Returns the address.
    pub fn mmap(&mut self, q: MapRequest) -> Result<u64> {
        if q.len == 0 {
            return Err(Errno::EINVAL);
        }
        let len = align_up(q.len);
        if len >= LIMIT - MIN {
            return Err(Errno::ENOMEM);
        }
        if q.prot.has(Prot::EXEC) && !q.text {
            return Err(Errno::EACCES);
        }
        if self.areas.len() >= MAX_AREAS || self.total.saturating_add(len) > self.limit_as {
            return Err(Errno::ENOMEM);
        }
        let shared = matches!(q.backing, Backing::File { shared: true, .. });
        let _held = self.hold(q.prot.has(Prot::WRITE) && !shared, len)?;
        let addr = if q.fixed || q.no_replace {
            if !q.addr.is_multiple_of(PAGE) {
                return Err(Errno::EINVAL);
            }
            if q.addr < MIN {
                return Err(Errno::EPERM);
            }
            if q.addr > LIMIT - len {
                return Err(Errno::ENOMEM);
            }
            if q.no_replace && !self.is_free(q.addr..q.addr + len) {
                return Err(Errno::EEXIST);
            }
            q.addr
        } else {
            let hint = align_down(q.addr);
            if hint >= MIN && hint <= self.mmap_top.saturating_sub(len) && self.is_free(hint..hint + len) {
                hint
            } else {
                self.find_free(len, self.mmap_top).ok_or(Errno::ENOMEM)?
            }
        };
        let end = addr + len;
        if matches!(q.backing, Backing::Anon) && self.is_free(addr..end) {
            self.host_open(addr, end, q.prot)?;
        } else {
            self.host_map(addr, end, q.prot, &q.backing)?;
        }
        for (s, v) in self.cut(addr..end) {
            self.forget_code(s, &v);
        }
        let vma = Vma { end, prot: q.prot, backing: q.backing, label: q.label, text: q.text, may_write: q.may_write };
        self.insert(addr, vma);
        Ok(addr)
    }

    /// munmap(2).
    pub fn munmap(&mut self, addr: u64, len: u64) -> Result<()> {
        let len = align_up(len);
        if !addr.is_multiple_of(PAGE) || len == 0 || addr > LIMIT || len > LIMIT - addr {
            return Err(Errno::EINVAL);
        }
        if self.areas.len() >= MAX_AREAS + 64 {
            return Err(Errno::ENOMEM);
        }
        for (s, v) in self.cut(addr..addr + len) {
            self.forget_code(s, &v);
            if !self.host_close(s, &v).unwrap_or(false) {
                self.host_unmap(s, v.end)?;
            }
        }
        Ok(())
    }

    /// mprotect(2).
    pub fn mprotect(&mut self, addr: u64, len: u64, prot: Prot) -> Result<()> {
        let len = align_up(len);
        if !addr.is_multiple_of(PAGE) {
            return Err(Errno::EINVAL);
        }
        if len == 0 {
            return Ok(());
        }
        if addr > LIMIT || len > LIMIT - addr || !self.covered(addr, len) {
            return Err(Errno::ENOMEM);
        }
        if self.areas.len() >= MAX_AREAS {
            return Err(Errno::ENOMEM);
        }
        let end = addr + len;
        let (first, _) = self.find(addr).ok_or(Errno::ENOMEM)?;
        let mut more = 0;
        for (&s, v) in self.areas.range(first..end) {
            if prot.has(Prot::WRITE) && !v.shared() && !v.committed() {
                more += v.end.min(end) - s.max(addr);
            }
            if prot.has(Prot::EXEC) && (!v.text || prot.has(Prot::WRITE))
                || prot.has(Prot::WRITE) && v.shared() && !v.may_write
            {
                return Err(Errno::EACCES);
            }
        }
        let _held = self.budget.hold(more)?;
        for (s, mut v) in self.cut(addr..end) {
            if !prot.has(Prot::EXEC) {
                self.forget_code(s, &v);
                v.text = false;
            }
            self.host_protect(s, v.end, prot, &v.backing)?;
            v.prot = prot;
            self.insert(s, v);
        }
        Ok(())
    }

    /// Whether every page of the range is mapped.
    pub fn covered(&self, addr: u64, len: u64) -> bool {
        let mut at = addr;
        while at < addr + len {
            match self.find(at) {
                Some((_, v)) => at = v.end,
                None => return false,
            }
        }
        true
    }

    /// mremap(2). `new_addr` is given with MREMAP_FIXED.
    pub fn mremap(
        &mut self,
        old: u64,
        old_len: u64,
        new_len: u64,
        may_move: bool,
        new_addr: Option<u64>,
        keep_old: bool,
    ) -> Result<u64> {
        let old_len = align_up(old_len);
        let new_len = align_up(new_len);
        if !old.is_multiple_of(PAGE) || new_len == 0 || (new_addr.is_some() || keep_old) && !may_move {
            return Err(Errno::EINVAL);
        }
        if old_len == 0 || old > LIMIT || old_len > LIMIT - old || new_len >= LIMIT {
            return Err(Errno::EINVAL);
        }
        self.make_plain(old..old + old_len)?;
        let (start, v) = self.find(old).ok_or(Errno::EFAULT)?;
        if v.end < old + old_len || v.text {
            return Err(Errno::EFAULT);
        }
        let v = v.advanced(old - start);
        if let Some(to) = new_addr
            && (!to.is_multiple_of(PAGE)
                || to < MIN
                || to > LIMIT - new_len
                || (to < old + old_len && old < to + new_len))
        {
            return Err(Errno::EINVAL);
        }
        if keep_old && !v.backing.is_anonymous() {
            return Err(Errno::EINVAL);
        }
        if new_addr.is_none() && !keep_old {
            if new_len <= old_len {
                if new_len < old_len {
                    self.munmap(old + new_len, old_len - new_len)?;
                }
                return Ok(old);
            }
            let grow = new_len - old_len;
            if self.total.saturating_add(grow) > self.limit_as {
                return Err(Errno::ENOMEM);
            }
            let _held = self.hold(v.committed(), grow)?;
            let end = old + old_len;
            if end == self.find(old).map_or(0, |(_, v)| v.end)
                && end + grow <= self.mmap_top
                && self.is_free(end..end + grow)
            {
                let tail = v.advanced(old_len);
                let tail = Vma { end: end + grow, backing: tail.backing.grown(), ..tail };
                self.host_map(end, end + grow, tail.prot, &tail.backing)?;
                self.insert(end, tail);
                return Ok(old);
            }
        }
        if !may_move {
            return Err(Errno::ENOMEM);
        }
        if self.areas.len() >= MAX_AREAS {
            return Err(Errno::ENOMEM);
        }
        let to = match new_addr {
            Some(to) => {
                self.munmap(to, new_len)?;
                to
            }
            None => self.find_free(new_len, self.mmap_top).ok_or(Errno::ENOMEM)?,
        };
        let moved = old_len.min(new_len);
        let _held = self.hold(v.committed(), new_len)?;
        if self.total.saturating_add(new_len) > self.limit_as {
            return Err(Errno::ENOMEM);
        }
        self.changes.note(Change::Other, old..old + old_len);
        self.changes.note(Change::Other, to..to + new_len);
        // SAFETY: both ranges lie in memory 0 of the slot; the host moves the pages and leaves the old range unmapped, which the next
        // line makes part of the reservation again before anything else can take it (other threads' mmaps are never MAP_FIXED here).
        let p = unsafe {
            libc::mremap(
                self.host(old) as *mut libc::c_void,
                moved as usize,
                moved as usize,
                libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | libc::MREMAP_DONTUNMAP,
                self.host(to) as *mut libc::c_void,
            )
        };
        if p == libc::MAP_FAILED {
            // DONTUNMAP is for private anonymous memory (and newer kernels): copy instead.
            if let Err(e) = self.copy_mapping(&v, old, to, moved) {
                let _ = self.host_unmap(to, to + moved);
                return Err(e);
            }
        }
        if new_len > moved {
            let tail = v.advanced(moved);
            let tail = Vma { end: to + new_len, backing: tail.backing.grown(), ..tail };
            if let Err(e) = self.host_map(to + moved, to + new_len, tail.prot, &tail.backing) {
                let _ = self.host_unmap(to, to + new_len);
                return Err(e);
            }
            self.insert(to + moved, tail);
        }
        if keep_old {
            // Its pages have gone.
            self.host_map(old, old + old_len, v.prot, &Backing::Anon)?;
            if !matches!(v.backing, Backing::Anon) {
                self.cut(old..old + old_len);
                self.insert(old, Vma { end: old + old_len, backing: Backing::Anon, ..v.clone() });
            }
        } else {
            self.munmap(old, old_len)?;
        }
        self.insert(to, Vma { end: to + moved, ..v });
        Ok(to)
    }

    /// Makes the pages of a snapshot in a range plain memory with the same bytes, so that areas that are one to the guest are one in the tree, too.
    /// What lies beside the range is left alone: other threads may be writing to it.
    fn make_plain(&mut self, range: Range<u64>) -> Result<()> {
        const STEP: u64 = 1 << 20;
        let pieces = |space: &AddressSpace| -> Vec<(u64, Vma)> {
            let touched = space.areas.range(..range.end).rev().take_while(|(_, v)| v.end > range.start);
            touched.filter(|(_, v)| v.is_snapshot()).map(|(&s, v)| (s, v.clone())).collect()
        };
        if pieces(self).is_empty() {
            return Ok(());
        }
        self.split(range.start);
        self.split(range.end);
        for (start, v) in pieces(self) {
            let _held = self.hold(true, v.end - start)?;
            for at in (start..v.end).step_by(STEP as usize) {
                let end = (at + STEP).min(v.end);
                let open = Vma { end, prot: Prot::RW, backing: Backing::Anon, ..v.clone() };
                self.host_protect(at, end, Prot::RW, &v.backing)?;
                self.cut(at..end);
                self.insert(at, open.clone());
                let mut bytes = vec![0; (end - at) as usize];
                self.read(at, &mut bytes)?;
                self.host_map(at, end, Prot::RW, &Backing::Anon)?;
                self.write(at, &bytes)?;
                self.host_protect(at, end, v.prot, &Backing::Anon)?;
                self.cut(at..end);
                self.insert(at, Vma { prot: v.prot, ..open });
            }
        }
        Ok(())
    }

    /// Maps `v` again at `to` and copies its private pages from `from`.
    fn copy_mapping(&self, v: &Vma, from: u64, to: u64, len: u64) -> Result<()> {
        let src = self.host(from);
        let mut dirty = Vec::new();
        scan::private_pages(src..src + len as usize, |r| {
            dirty.push(r);
            Ok(())
        })?;
        copy_area(self.slot.memory0() as usize, self, v, from, to, len, &dirty)
    }

    /// madvise(2): MADV_DONTNEED and MADV_FREE drop pages, the rest has no effect.
    pub fn madvise(&mut self, addr: u64, len: u64, advice: i32) -> Result<()> {
        let len = align_up(len);
        if !addr.is_multiple_of(PAGE) || addr > LIMIT || len > LIMIT - addr {
            return Err(Errno::EINVAL);
        }
        match advice {
            libc::MADV_DONTNEED | libc::MADV_FREE | libc::MADV_REMOVE => {}
            0..=3 | 10..=25 => return Ok(()),
            _ => return Err(Errno::EINVAL),
        }
        let end = addr + len;
        let mut at = addr;
        while at < end {
            let (_, v) = self.find(at).ok_or(Errno::ENOMEM)?;
            let stop = v.end.min(end);
            if advice == libc::MADV_FREE && !v.backing.is_anonymous() || advice == libc::MADV_REMOVE && !v.shared() {
                return Err(Errno::EINVAL);
            }
            if advice != libc::MADV_FREE && v.is_snapshot() {
                // What lies behind must not show again.
                let v = Vma { end: stop, backing: Backing::Anon, ..v.clone() };
                let _held = self.hold(v.committed(), stop - at)?;
                self.host_map(at, stop, v.prot, &v.backing)?;
                self.cut(at..stop);
                self.insert(at, v);
            } else if advice != libc::MADV_FREE {
                if matches!(v.backing, Backing::File { .. }) {
                    // A page at the end of a segment shows its file's bytes, not zeros, from now on.
                    self.changes.give_up();
                }
                // SAFETY: the range is mapped guest memory in the slot; dropping its pages is what the guest asked for.
                let r = unsafe { libc::madvise(self.host(at) as *mut libc::c_void, (stop - at) as usize, advice) };
                if r < 0 {
                    return Err(last());
                }
            }
            at = stop;
        }
        Ok(())
    }

    /// msync(2).
    pub fn msync(&self, addr: u64, len: u64, flags: i32) -> Result<()> {
        let len = align_up(len);
        if !addr.is_multiple_of(PAGE)
            || flags & !(libc::MS_ASYNC | libc::MS_INVALIDATE | libc::MS_SYNC) != 0
            || flags & libc::MS_ASYNC != 0 && flags & libc::MS_SYNC != 0
        {
            return Err(Errno::EINVAL);
        }
        if addr > LIMIT || len > LIMIT - addr || !self.covered(addr, len) {
            return Err(Errno::ENOMEM);
        }
        if len > 0 {
            // SAFETY: msync changes no memory.
            let r = unsafe { libc::msync(self.host(addr) as *mut libc::c_void, len as usize, flags) };
            if r < 0 {
                return Err(last());
            }
        }
        Ok(())
    }

    /// mincore(2): one byte per page.
    pub fn mincore(&self, addr: u64, len: u64) -> Result<Vec<u8>> {
        let len = align_up(len);
        if !addr.is_multiple_of(PAGE) {
            return Err(Errno::EINVAL);
        }
        if addr > LIMIT || len > LIMIT - addr || !self.covered(addr, len) {
            return Err(Errno::ENOMEM);
        }
        let mut v = vec![0u8; (len / PAGE) as usize];
        if !v.is_empty() {
            // SAFETY: `v` has one byte for each page of the range.
            let r = unsafe { libc::mincore(self.host(addr) as *mut libc::c_void, len as usize, v.as_mut_ptr()) };
            if r < 0 {
                return Err(last());
            }
        }
        Ok(v)
    }

    /// Sets where the heap starts (exec).
    pub fn set_brk_start(&mut self, at: u64) {
        self.brk_start = align_up(at);
        self.brk = self.brk_start;
    }

    /// brk(2): the new (or, on failure, the old) break.
    pub fn set_brk(&mut self, to: u64) -> u64 {
        if to < self.brk_start || to > LIMIT || to - self.brk_start > self.limit_data {
            return self.brk;
        }
        let (old, new) = (align_up(self.brk), align_up(to));
        let done = if new > old {
            let request = MapRequest {
                addr: old,
                len: new - old,
                prot: Prot::RW,
                backing: Backing::Anon,
                fixed: true,
                no_replace: true,
                label: Label::Heap,
                may_write: true,
                text: false,
            };
            // A page must stay free above, as the heap may not run into a mapping.
            self.is_free(old..(new + PAGE).min(LIMIT)) && self.mmap(request).is_ok()
        } else {
            new == old || self.munmap(new, old - new).is_ok()
        };
        if done {
            self.brk = to;
        }
        self.brk
    }

    /// Bytes of a stack for which `size` are asked.
    pub fn stack_size(size: u64) -> u64 {
        align_up(size.clamp(PAGE * 32, 1 << 30))
    }

    /// Maps the stack of `size` bytes at the top and places later mappings below it. Returns one past its last byte.
    pub fn map_stack(&mut self, size: u64) -> Result<u64> {
        let size = AddressSpace::stack_size(size);
        let low = LIMIT - size;
        self.mmap(MapRequest {
            addr: low,
            len: size,
            prot: Prot::RW,
            backing: Backing::Anon,
            fixed: true,
            no_replace: true,
            label: Label::Stack,
            may_write: true,
            text: false,
        })?;
        self.mmap_top = low - STACK_GAP;
        Ok(LIMIT)
    }

    /// Where the main stack lies.
    pub fn stack(&self) -> Option<Range<u64>> {
        let mut parts = self.areas().filter(|(_, v)| v.label == Label::Stack).map(|(start, v)| start..v.end);
        let first = parts.next()?;
        Some(first.start..parts.next_back().map_or(first.end, |last| last.end))
    }

    /// The lowest address that the code on the stack of `rsp` may have used: its lowest page that was ever touched. Of a stack that is not the main one
    /// only so much is looked at as code can have gone down since it left its stack pointer where others see it.
    pub fn lowest_touched_stack(&self, rsp: u64) -> Option<u64> {
        let main = self.stack().filter(|s| s.contains(&rsp));
        let stack = main.or_else(|| {
            let (start, _) = self.find(rsp.checked_sub(1)?)?;
            Some(align_down(rsp.saturating_sub(2 * u64::from(megalith_abi::STACK_WINDOW))).max(start)..align_up(rsp))
        })?;
        let base = self.host(0);
        let mut lowest = None;
        let _ = scan::private_pages(self.host(stack.start)..self.host(stack.end), |r| {
            lowest.get_or_insert((r.start - base) as u64);
            Ok(())
        });
        lowest
    }

    /// Resident private bytes.
    pub fn resident(&self) -> u64 {
        let mut n = 0;
        let _ = scan::private_pages(self.host(0)..self.host(LIMIT), |r| {
            n += (r.end - r.start) as u64;
            Ok(())
        });
        n
    }

    /// Takes all memory away, at once and from whatever runs in it: the next access faults. For a process that has been killed. Not for a WASI
    /// process, whose engine relies on its linear memory.
    pub fn condemn(&mut self) -> Result<()> {
        self.changes.give_up();
        self.kept.clear();
        self.cut(0..LIMIT);
        super::slot::reserve(self.host(0), MEMORY0_SIZE, libc::PROT_NONE).map(drop)
    }

    /// The address space of a fork child: the same areas on another slot, with the dirty pages copied, and `program`'s text at `base` in its code map.
    pub fn fork(&self, pool: &Arc<SlotPool>, base: u64, program: &Program) -> Result<AddressSpace> {
        let held = self.budget.hold(self.committed)?;
        let ready = match self.changes.whole() {
            Some(image) => pool.warm(image)?,
            None => None,
        };
        let warm = ready.is_some();
        let mut child = AddressSpace {
            slot: ready.map_or_else(|| pool.get(), Ok)?,
            areas: self.areas.clone(),
            brk_start: self.brk_start,
            brk: self.brk,
            mmap_top: self.mmap_top,
            budget: Arc::clone(&self.budget),
            total: self.total,
            committed: self.committed,
            limit_as: self.limit_as,
            limit_data: self.limit_data,
            // The child's slot will differ from the image as this one does.
            changes: self.changes.clone(),
            code_mapped: warm,
            kept: Vec::new(),
            turn: if self.shares(None) { self.turn.clone() } else { None },
            threaded: false,
        };
        held.keep();
        // One look at the page tables for all areas; the ranges come in ascending order.
        let mut dirty = Vec::new();
        let scanned = scan::private_pages_of(self.written().map(|r| self.host(r.start)..self.host(r.end)), |r| {
            dirty.push(r);
            Ok(())
        });
        let copied = scanned.and_then(|()| {
            self.areas().try_for_each(|(start, v)| {
                if warm {
                    child.copy_from(self, start, v, &dirty)
                } else {
                    copy_area(child.slot.memory0() as usize, self, v, start, start, v.end - start, &dirty)
                }
            })
        });
        if let Err(e) = copied.and_then(|()| child.map_code(base, program)) {
            child.changes.give_up();
            return Err(e);
        }
        Ok(child)
    }

    /// Where the process can have private pages that differ from what is mapped there.
    fn written(&self) -> impl Iterator<Item = Range<u64>> {
        let unchanged = |start: u64, v: &Vma| {
            let r = start..v.end;
            self.changes
                .image
                .as_ref()
                .is_some_and(|i| i.find(start).is_some_and(|(_, i)| v.end <= i.end && !i.prot.has(Prot::WRITE)))
                && ![&self.changes.anon, &self.changes.other, &self.changes.protect].iter().any(|c| c.overlap(&r))
        };
        self.areas().filter(move |(s, v)| !v.shared() && !unchanged(*s, v)).map(|(s, v)| s..v.end)
    }

    /// Gives a fork child the area `v` of its parent.
    fn copy_from(&mut self, parent: &AddressSpace, start: u64, v: &Vma, dirty: &[Range<usize>]) -> Result<()> {
        let copy_all = |child: &AddressSpace| {
            copy_area(child.slot.memory0() as usize, parent, v, start, start, v.end - start, dirty)
        };
        let host = v.prot.host();
        let Some(image) = self.changes.image.as_ref().filter(|_| host != libc::PROT_NONE) else {
            return copy_all(self);
        };
        let range = start..v.end;
        let (here, len) = (self.host(start), (v.end - start) as usize);
        let known = match image.find(start) {
            // The slot's image has it, at most with other rights.
            Some((s, i)) => {
                let same = i.end >= v.end && i.advanced(start - s).same_bytes(v) && i.prot.has(Prot::WRITE);
                same.then(|| i.prot.host())
            }
            // Ordinary memory, where the slot has nothing yet.
            None => (matches!(v.backing, Backing::Anon) && image.areas.range(range.clone()).next().is_none())
                .then_some(libc::PROT_NONE),
        };
        let writable = libc::PROT_READ | libc::PROT_WRITE;
        match (known, image.find(start)) {
            (Some(now), _) if !self.changes.other.overlap(&range) => {
                let now = if now == writable { now } else { image::protect(here, len, writable).map(|()| writable)? };
                let delta = here.wrapping_sub(parent.host(start));
                let (first, end) = (parent.host(start), parent.host(v.end));
                for r in dirty.iter().skip(dirty.partition_point(|r| r.end <= first)).take_while(|r| r.start < end) {
                    let (a, b) = (r.start.max(first), r.end.min(end));
                    // SAFETY: present private pages of the parent, whose thread is in this call and which its area lets be read, and the same
                    // pages of the child's slot, which is mapped read-write here and which no guest runs on yet.
                    unsafe {
                        std::ptr::copy_nonoverlapping(a as *const u8, a.wrapping_add(delta) as *mut u8, b - a);
                    }
                }
                if now == host { Ok(()) } else { image::protect(here, len, host) }
            }
            // A part of the image that nobody can have written to.
            (None, Some((s, i)))
                if i.end >= v.end
                    && i.prot == v.prot
                    && i.advanced(start - s).same_bytes(v)
                    && ![&self.changes.other, &self.changes.anon, &self.changes.protect]
                        .iter()
                        .any(|c| c.overlap(&range)) =>
            {
                Ok(())
            }
            _ => copy_all(self),
        }
    }

    // ---- code map ----

    /// Enters a program's text, mapped at its load base, into the code map.
    pub fn map_code(&mut self, base: u64, program: &Program) -> Result<()> {
        if self.code_mapped {
            return Ok(());
        }
        self.code_mapped = true;
        let meta = program.known_meta()?;
        let lines_len = meta.code_lines_len() as u64;
        let start = meta.text.0.checked_add(base).ok_or(Errno::ENOEXEC)?;
        let end = meta.text.1.checked_add(base).ok_or(Errno::ENOEXEC)?;
        // 64 entries of 16 bytes a page.
        let pages = align_up(end.saturating_sub(start)) / PAGE;
        if !start.is_multiple_of(PAGE) || end > LIMIT || lines_len > pages * 1024 {
            return Err(Errno::ENOEXEC);
        }
        if pages == 0 || lines_len == 0 {
            return Ok(());
        }
        let memory1 = self.slot.memory1() as usize;
        let lines = meta.code_pages();
        if MAP_L2 as usize + lines.len() > super::slot::MEMORY1_SIZE {
            return Err(Errno::ENOEXEC);
        }
        // An old length of 0 asks for a second mapping of the same pages: all processes, of all runs, share them.
        // SAFETY: the metadata is a shared mapping that only can be read (`SharedMap`), and stays so; where it goes is checked to lie in memory 1 of our slot.
        let p = unsafe {
            libc::mremap(
                lines.as_ptr().cast_mut().cast::<libc::c_void>(),
                0,
                lines.len(),
                libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED,
                (memory1 + MAP_L2 as usize) as *mut libc::c_void,
            )
        };
        if p == libc::MAP_FAILED {
            return Err(last());
        }
        for i in 0..pages {
            // A page whose lines are not all there has none: every line of a page is needed.
            let lines = if (i + 1) * 1024 <= align_up(lines_len) { MAP_L2 + (i * 1024) as u32 } else { 0 };
            self.set_l1(start / PAGE + i, lines, program.table_base);
        }
        Ok(())
    }

    /// Writes the L1 entry of a guest page.
    fn set_l1(&self, page: u64, lines: u32, table_base: u32) {
        if page >= 1 << 20 {
            return;
        }
        let entry = u64::from(lines) | u64::from(table_base) << 32;
        // SAFETY: the table has 2^20 aligned entries at MAP_L1 in memory 1, which is mapped read-write. Guest code of another thread that reads an entry
        // meanwhile gets the old one or the new one, both of which lead to its own program.
        unsafe {
            self.slot.memory1().add(MAP_L1 as usize + page as usize * 8).cast::<u64>().write_volatile(entry.to_le())
        };
    }

    /// Takes an area's pages out of the code map.
    fn forget_code(&mut self, start: u64, v: &Vma) {
        if v.text {
            self.changes.give_up();
            for page in start / PAGE..v.end / PAGE {
                self.set_l1(page, 0, 0);
            }
        }
    }

    // ---- guest memory access ----

    /// How many of the `len` bytes at `addr` the guest could access with `need`.
    pub fn accessible(&self, addr: u64, len: usize, need: Prot) -> usize {
        let want = addr.saturating_add(len as u64);
        let mut at = addr;
        while at < want {
            match self.find(at) {
                Some((_, v)) if v.prot.allows(need) => at = v.end,
                _ => break,
            }
        }
        (at.min(want) - addr) as usize
    }

    fn check(&self, addr: u64, len: usize, need: Prot) -> Result<Access> {
        let want = addr.checked_add(len as u64).ok_or(Errno::EFAULT)?;
        let mut at = addr;
        let mut access = Access::Exclusive;
        while at < want {
            let (start, v) = self.find(at).ok_or(Errno::EFAULT)?;
            if !v.prot.allows(need) {
                return Err(Errno::EFAULT);
            }
            if v.may_fault(start) {
                access = Access::MayFault;
            } else if !v.exclusive() && access == Access::Exclusive {
                access = Access::Shared;
            }
            at = v.end;
        }
        Ok(access)
    }

    /// Reads guest memory; all of it or `EFAULT`.
    pub fn read(&self, addr: u64, buf: &mut [u8]) -> Result<()> {
        if buf.is_empty() {
            return Ok(());
        }
        match self.check(addr, buf.len(), Prot::READ)? {
            Access::MayFault => transfer(self.host(addr), buf.as_mut_ptr(), buf.len(), false),
            _ => {
                // SAFETY: the tree says that the range is mapped and readable, and its pages cannot go away: files behind them cannot shrink.
                // Guest memory never overlaps Rust objects; other guests writing to shared pages at the same time is the guests' own race.
                unsafe { std::ptr::copy_nonoverlapping(self.host(addr) as *const u8, buf.as_mut_ptr(), buf.len()) };
                Ok(())
            }
        }
    }

    /// Writes guest memory; all of it or `EFAULT`.
    pub fn write(&self, addr: u64, data: &[u8]) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        match self.check(addr, data.len(), Prot::WRITE)? {
            Access::MayFault => transfer(self.host(addr), data.as_ptr().cast_mut(), data.len(), true),
            _ => {
                // SAFETY: as in `read`, with write permission.
                unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), self.host(addr) as *mut u8, data.len()) };
                Ok(())
            }
        }
    }

    /// Hands `f` the guest bytes themselves when nobody else can change or unmap them meanwhile, `None` otherwise.
    pub fn slice_mut<R>(&mut self, addr: u64, len: usize, f: impl FnOnce(Option<&mut [u8]>) -> R) -> Result<R> {
        match self.check(addr, len, Prot::WRITE)? {
            Access::Exclusive if !self.threaded => {
                // SAFETY: private, mapped, writable memory that only this process's thread (the caller, who holds `&mut self`) accesses.
                Ok(f(Some(unsafe { std::slice::from_raw_parts_mut(self.host(addr) as *mut u8, len) })))
            }
            _ => Ok(f(None)),
        }
    }

    /// The same for reading.
    pub fn slice<R>(&self, addr: u64, len: usize, f: impl FnOnce(Option<&[u8]>) -> R) -> Result<R> {
        match self.check(addr, len, Prot::READ)? {
            Access::Exclusive if !self.threaded => {
                // SAFETY: private, mapped, readable memory that only this process's thread (the caller) accesses, and not while `f` runs.
                Ok(f(Some(unsafe { std::slice::from_raw_parts(self.host(addr) as *const u8, len) })))
            }
            _ => Ok(f(None)),
        }
    }
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        self.budget.give(self.committed);
        if self.changes.image.is_some() {
            let changes = std::mem::take(&mut self.changes);
            self.slot.leave(Remains { changes, areas: std::mem::take(&mut self.areas) });
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Private memory, whose pages go away only by calls of the process.
    Exclusive,
    /// Memory that other processes may change.
    Shared,
    /// A file that may have shrunk.
    MayFault,
}

/// Copies between guest memory at `guest` and `buf` through the host kernel, which answers EFAULT where an access would be SIGBUS.
fn transfer(guest: usize, buf: *mut u8, len: usize, write: bool) -> Result<()> {
    let local = libc::iovec { iov_base: buf.cast(), iov_len: len };
    let remote = libc::iovec { iov_base: guest as *mut libc::c_void, iov_len: len };
    // SAFETY: `buf` has `len` bytes (only read when writing to the guest); the kernel checks the guest side.
    let n = unsafe {
        let pid = libc::getpid();
        if write {
            libc::process_vm_writev(pid, &raw const local, 1, &raw const remote, 1, 0)
        } else {
            libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0)
        }
    };
    if n == len as isize { Ok(()) } else { Err(Errno::EFAULT) }
}

/// Maps `v` of `parent` (its bytes `from..from + len`) at `to` of the memory at host address `memory0`. Private pages, which `dirty` lists by
/// host address in ascending order, are copied.
fn copy_area(
    memory0: usize,
    parent: &AddressSpace,
    v: &Vma,
    from: u64,
    to: u64,
    len: u64,
    dirty: &[Range<usize>],
) -> Result<()> {
    let (flags, fd, offset) = match &v.backing {
        Backing::Anon => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0),
        Backing::File { source, offset, shared } => {
            let kind = if *shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
            (kind, source.fd.as_raw_fd(), source.base + offset)
        }
    };
    let src = parent.host(from);
    let len = file_pages(&v.backing, len);
    if len == 0 {
        return Ok(());
    }
    let end = src + len as usize;
    let first = dirty.partition_point(|r| r.end <= src);
    let dirty: Vec<Range<usize>> = if v.shared() {
        Vec::new()
    } else {
        let touched = dirty.get(first..).unwrap_or_default().iter().take_while(|r| r.start < end);
        touched.map(|r| r.start.max(src)..r.end.min(end)).collect()
    };
    if to + len > LIMIT {
        return Err(Errno::ENOMEM);
    }
    let dst = memory0 + to as usize;
    let prot = if dirty.is_empty() { v.prot.host() } else { libc::PROT_READ | libc::PROT_WRITE };
    // SAFETY: the target range lies in memory 0 of a slot that the caller owns and no guest runs on.
    let p = unsafe {
        libc::mmap(
            dst as *mut libc::c_void,
            len as usize,
            prot,
            flags | libc::MAP_FIXED | libc::MAP_NORESERVE,
            fd,
            offset as i64,
        )
    };
    if p == libc::MAP_FAILED {
        return Err(last());
    }
    if dirty.is_empty() {
        return Ok(());
    }
    let unreadable = v.prot.host() == libc::PROT_NONE;
    // SAFETY: `src` and `dst` are distinct ranges of `len` bytes of guest memory; the dirty pages are present private pages of the source, made
    // readable for the copy where the guest made them inaccessible (its thread is in this call), and the target is mapped read-write.
    unsafe {
        if unreadable && libc::mprotect(src as *mut libc::c_void, len as usize, libc::PROT_READ) < 0 {
            return Err(last());
        }
        for r in dirty {
            std::ptr::copy_nonoverlapping(r.start as *const u8, (dst + (r.start - src)) as *mut u8, r.end - r.start);
        }
        if unreadable && libc::mprotect(src as *mut libc::c_void, len as usize, libc::PROT_NONE) < 0 {
            return Err(last());
        }
        if v.prot.host() != libc::PROT_READ | libc::PROT_WRITE
            && libc::mprotect(dst as *mut libc::c_void, len as usize, v.prot.host()) < 0
        {
            return Err(last());
        }
    }
    Ok(())
}
