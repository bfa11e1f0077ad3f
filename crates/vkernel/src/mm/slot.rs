//! Slots: the reserved address ranges that hold a guest's two linear memories.
//!
//! Memory 0 is 4 GiB and starts out wholly `PROT_NONE`; memory 1, the code map, is readable and writable and zero.
//! A slot is never zero-filled for reuse: what the guest mapped there may be a user's file. It is mapped over.

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
struct Raw {
    memory0: usize,
    memory1: usize,
}

/// Slots for reuse. Cheap to share; slots go back by being dropped.
pub struct SlotPool {
    free: Mutex<Vec<Raw>>,
    live: AtomicUsize,
    max_live: usize,
    max_free: usize,
}

impl SlotPool {
    /// A pool that hands out at most `max_live` slots at a time and keeps at most `max_free` unused ones.
    pub fn new(max_live: usize, max_free: usize) -> Arc<SlotPool> {
        Arc::new(SlotPool { free: Mutex::new(Vec::new()), live: AtomicUsize::new(0), max_live, max_free })
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
        Ok(Arc::new(Slot { raw, pool: Arc::clone(self) }))
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
    }
}

/// `mmap` of `len` bytes with MAP_PRIVATE, MAP_ANONYMOUS and MAP_NORESERVE; `at` = 0 lets the host choose.
fn reserve(at: usize, len: usize, prot: i32) -> Result<usize> {
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
    /// The poll word: non-zero makes guest code unwind at its next loop head.
    pub fn poll_word(&self) -> &AtomicU32 {
        // SAFETY: memory 1 starts with this aligned word, stays mapped read-write as long as the slot lives, and is only accessed atomically.
        unsafe { AtomicU32::from_ptr(self.memory1().add(megalith_abi::MAP_POLL as usize).cast()) }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let raw = Raw { memory0: self.raw.memory0, memory1: self.raw.memory1 };
        let keep = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner).len() < self.pool.max_free;
        if keep && raw.reset().is_ok() {
            self.pool.free.lock().unwrap_or_else(PoisonError::into_inner).push(raw);
        } else {
            raw.release();
        }
        self.pool.live.fetch_sub(1, Ordering::AcqRel);
    }
}
