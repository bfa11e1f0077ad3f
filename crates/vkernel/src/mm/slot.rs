//! Slots: the reserved address ranges that hold a guest's two linear memories.
//!
//! Memory 0 is 4 GiB and starts out wholly `PROT_NONE`; memory 1, the code map, is readable and writable and zero.
//! A slot is never zero-filled for reuse: what the guest mapped there may be a user's file. It is mapped over, or, where it is known what the
//! guest did, brought back to the start image that it began with (`image`).

use super::image::{self, Remains, StartImage};
use crate::errno::{Errno, Result, last};
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of memory 0 that the guest addresses.
pub const MEMORY0_SIZE: usize = 1 << 32;
/// Inaccessible bytes after each memory.
pub const GUARD_SIZE: usize = 64 << 20;
/// Bytes reserved for each memory, guard included.
pub const RESERVED: usize = MEMORY0_SIZE + GUARD_SIZE;
/// Bytes of memory 1 in use.
pub const MEMORY1_SIZE: usize = (megalith_abi::MAP_PAGES as usize) << 16;

/// Two reservations, by host address.
pub(super) struct Raw {
    pub(super) memory0: usize,
    memory1: usize,
}

/// Slots that still hold a start image and are kept for the next start of the same program. Each keeps the pages that were put back, which belong to
/// no process: 256 KiB of zeros at most, and the program's writable data.
const MAX_WARM: usize = 16;

/// Slots for reuse. Cheap to share; slots go back by being dropped.
pub struct SlotPool {
    free: Mutex<Vec<Raw>>,
    /// The last one used is the last.
    warm: Mutex<Vec<(Arc<StartImage>, Raw)>>,
    live: AtomicUsize,
    max_live: usize,
    max_free: usize,
}

impl SlotPool {
    /// A pool that hands out at most `max_live` slots at a time and keeps at most `max_free` unused ones.
    pub fn new(max_live: usize, max_free: usize) -> Arc<SlotPool> {
        Arc::new(SlotPool {
            free: Mutex::default(),
            warm: Mutex::default(),
            live: AtomicUsize::new(0),
            max_live,
            max_free,
        })
    }

    /// A clean slot: memory 0 inaccessible, memory 1 zero. `EAGAIN` when too many are live, `ENOMEM` when the host has no room.
    pub fn get(self: &Arc<SlotPool>) -> Result<Arc<Slot>> {
        if self.live.fetch_add(1, Ordering::AcqRel) >= self.max_live {
            self.live.fetch_sub(1, Ordering::AcqRel);
            return Err(Errno::EAGAIN);
        }
        let reused = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let raw = match reused.map_or_else(Raw::reserve, Ok) {
            Ok(raw) => raw,
            Err(e) => {
                self.live.fetch_sub(1, Ordering::AcqRel);
                return Err(e);
            }
        };
        Ok(self.slot(raw))
    }

    /// A slot that holds `image`, and in which nothing else can be seen. `EAGAIN` when too many are live.
    pub(super) fn warm(self: &Arc<SlotPool>, image: &Arc<StartImage>) -> Result<Option<Arc<Slot>>> {
        let raw = {
            let mut warm = self.warm.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(i) = warm.iter().rposition(|(have, _)| Arc::ptr_eq(have, image)) else { return Ok(None) };
            if self.live.fetch_add(1, Ordering::AcqRel) >= self.max_live {
                self.live.fetch_sub(1, Ordering::AcqRel);
                return Err(Errno::EAGAIN);
            }
            warm.remove(i).1
        };
        Ok(Some(self.slot(raw)))
    }

    fn slot(self: &Arc<SlotPool>, raw: Raw) -> Arc<Slot> {
        Arc::new(Slot { raw, remains: Mutex::default(), pool: Arc::clone(self) })
    }

    /// Keeps a slot that holds `image`; the one that was used the longest time ago goes.
    fn keep(&self, image: Arc<StartImage>, raw: Raw) {
        let oldest = {
            let mut warm = self.warm.lock().unwrap_or_else(PoisonError::into_inner);
            warm.push((image, raw));
            (warm.len() > MAX_WARM).then(|| warm.remove(0))
        };
        if let Some((_, raw)) = oldest {
            self.clean(raw);
        }
    }

    /// Maps over everything and keeps the slot, if there are not too many.
    fn clean(&self, raw: Raw) {
        let keep = self.free.lock().unwrap_or_else(PoisonError::into_inner).len() < self.max_free;
        if keep && raw.reset().is_ok() {
            self.free.lock().unwrap_or_else(PoisonError::into_inner).push(raw);
        } else {
            raw.release();
        }
    }

    /// Slots that hold a start image and wait for the next start.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.warm.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Slots in use.
    pub fn live(&self) -> usize {
        self.live.load(Ordering::Acquire)
    }
}

impl Drop for SlotPool {
    fn drop(&mut self) {
        for raw in self.free.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            raw.release();
        }
        for (_, raw) in self.warm.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            raw.release();
        }
    }
}

/// `mmap` of `len` bytes with MAP_PRIVATE, MAP_ANONYMOUS and MAP_NORESERVE; `at` = 0 lets the host choose.
pub(super) fn reserve(at: usize, len: usize, prot: i32) -> Result<usize> {
    let fixed = if at == 0 { 0 } else { libc::MAP_FIXED };
    // SAFETY: with `at` = 0 a fresh range is made; otherwise the range lies in a reservation that the caller owns and that nothing refers to.
    let p = unsafe {
        libc::mmap(
            at as *mut libc::c_void,
            len,
            prot,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | fixed,
            -1,
            0,
        )
    };
    if p == libc::MAP_FAILED { Err(last()) } else { Ok(p as usize) }
}

impl Raw {
    fn reserve() -> Result<Raw> {
        let memory0 = reserve(0, RESERVED, libc::PROT_NONE)?;
        let memory1 = reserve(0, RESERVED, libc::PROT_NONE)
            .and_then(|m| reserve(m, MEMORY1_SIZE, libc::PROT_READ | libc::PROT_WRITE))
            .inspect_err(|_| unmap(memory0))?;
        Ok(Raw { memory0, memory1 })
    }

    fn release(self) {
        unmap(self.memory0);
        unmap(self.memory1);
    }

    /// Makes the slot clean again by mapping over everything.
    fn reset(&self) -> Result<()> {
        reserve(self.memory0, MEMORY0_SIZE, libc::PROT_NONE)?;
        reserve(self.memory1, MEMORY1_SIZE, libc::PROT_READ | libc::PROT_WRITE)?;
        Ok(())
    }
}

fn unmap(at: usize) {
    // SAFETY: `at` is the start of a reservation of RESERVED bytes that nothing refers to any more.
    unsafe { libc::munmap(at as *mut libc::c_void, RESERVED) };
}

/// One guest's memories. Whoever uses a pointer into them holds an `Arc` of it; the last one returns it to the pool.
pub struct Slot {
    raw: Raw,
    /// What the address space left here when it went.
    remains: Mutex<Option<Remains>>,
    pool: Arc<SlotPool>,
}

impl Slot {
    /// Host address of memory 0: [`MEMORY0_SIZE`] bytes, then [`GUARD_SIZE`] inaccessible ones.
    pub fn memory0(&self) -> *mut u8 {
        ptr::with_exposed_provenance_mut(self.raw.memory0)
    }
    /// Host address of memory 1: [`MEMORY1_SIZE`] readable and writable bytes, inaccessible up to [`RESERVED`].
    pub fn memory1(&self) -> *mut u8 {
        ptr::with_exposed_provenance_mut(self.raw.memory1)
    }
    /// Leaves word of what the guest did to the slot. Without it the slot is mapped over.
    pub(super) fn leave(&self, remains: Remains) {
        *self.remains.lock().unwrap_or_else(PoisonError::into_inner) = Some(remains);
    }
    /// The poll word: [`megalith_abi::POLL_WANTED`] makes guest code unwind when it next polls.
    pub fn poll_word(&self) -> &AtomicU32 {
        // SAFETY: memory 1 starts with this aligned word, stays mapped read-write as long as the slot lives, and is only accessed atomically.
        unsafe { AtomicU32::from_ptr(self.memory1().add(megalith_abi::MAP_POLL as usize).cast()) }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let raw = Raw { memory0: self.raw.memory0, memory1: self.raw.memory1 };
        let remains = self.remains.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        match remains.and_then(|r| image::restore(&raw, &r)) {
            Some(image) => {
                self.poll_word().store(0, Ordering::Release);
                self.pool.keep(image, raw);
            }
            None => self.pool.clean(raw),
        }
        self.pool.live.fetch_sub(1, Ordering::AcqRel);
    }
}
