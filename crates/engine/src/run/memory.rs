//! Where linear memories lie: the two memories of a recompiled program are the current slot's, others are mapped afresh.

use std::cell::Cell;

use megalith_abi as abi;
use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

use crate::config::{GUARD, RESERVATION};

const MEM_BYTES: usize = (abi::MEM_PAGES << 16) as usize;
const MAP_BYTES: usize = (abi::MAP_PAGES << 16) as usize;

/// Host addresses of memory 0 and memory 1 of the address space a new instance is for.
#[derive(Clone, Copy, Debug)]
pub struct SlotBases {
    /// 4 GiB, then at least [`GUARD`] bytes that no access may reach.
    pub mem: *mut u8,
    /// 1 GiB, then no accessible byte up to [`RESERVATION`] + [`GUARD`], nor any of memory 0's.
    pub map: *mut u8,
}

thread_local! {
    static CURRENT: Cell<Option<SlotBases>> = const { Cell::new(None) };
}

/// Runs `f` with `slot` as the memory that instances made by this thread get.
pub(super) fn with_slot<R>(slot: SlotBases, f: impl FnOnce() -> R) -> R {
    CURRENT.set(Some(slot));
    let r = f();
    CURRENT.set(None);
    r
}

/// One of a slot's memories. The slot belongs to the address space, not to the instance: nothing is freed on drop.
struct SlotMemory {
    base: *mut u8,
    bytes: usize,
}

// SAFETY: the address is fixed and nothing is read through it here; who may access the bytes is the vkernel's matter.
unsafe impl Send for SlotMemory {}
// SAFETY: as above.
unsafe impl Sync for SlotMemory {}

// SAFETY: a slot is reserved (with its guard) for longer than the instance lives, never moves and never grows.
unsafe impl LinearMemory for SlotMemory {
    fn byte_size(&self) -> usize {
        self.bytes
    }
    fn byte_capacity(&self) -> usize {
        self.bytes
    }
    fn grow_to(&mut self, _: usize) -> wasmtime::Result<()> {
        Err(wasmtime::Error::msg("a slot does not grow"))
    }
    fn as_ptr(&self) -> *mut u8 {
        self.base
    }
}

/// An ordinary memory (of a WASI module): reserved whole, made accessible as it grows.
struct OwnMemory {
    base: *mut u8,
    bytes: usize,
    reserved: usize,
}

// SAFETY: owns its mapping.
unsafe impl Send for OwnMemory {}
// SAFETY: as above; shared references only read the fields.
unsafe impl Sync for OwnMemory {}

impl OwnMemory {
    fn new(bytes: usize, capacity: usize, guard: usize) -> Result<OwnMemory, String> {
        let reserved = capacity.checked_add(guard).ok_or("memory too large")?;
        // SAFETY: a new mapping at an address of the kernel's choice; the result is checked.
        let p = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                reserved,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if p == libc::MAP_FAILED {
            return Err(format!("cannot reserve a memory: {}", std::io::Error::last_os_error()));
        }
        let mut m = OwnMemory { base: p.cast(), bytes: 0, reserved };
        if bytes > capacity {
            return Err("memory too large".into());
        }
        m.open(bytes)?;
        Ok(m)
    }

    fn open(&mut self, bytes: usize) -> Result<(), String> {
        if bytes > self.bytes {
            // SAFETY: inside of the reservation (checked by the callers).
            let r = unsafe {
                libc::mprotect(self.base.add(self.bytes).cast(), bytes - self.bytes, libc::PROT_READ | libc::PROT_WRITE)
            };
            if r != 0 {
                return Err(format!("cannot grow a memory: {}", std::io::Error::last_os_error()));
            }
            self.bytes = bytes;
        }
        Ok(())
    }
}

impl Drop for OwnMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; the instance that used it is gone.
        unsafe { libc::munmap(self.base.cast(), self.reserved) };
    }
}

// SAFETY: the reservation and guard are what wasmtime asked for, and the base never moves.
unsafe impl LinearMemory for OwnMemory {
    fn byte_size(&self) -> usize {
        self.bytes
    }
    fn byte_capacity(&self) -> usize {
        RESERVATION as usize
    }
    fn grow_to(&mut self, new_size: usize) -> wasmtime::Result<()> {
        if new_size > RESERVATION as usize {
            return Err(wasmtime::Error::msg("memory too large"));
        }
        self.open(new_size).map_err(wasmtime::Error::msg)
    }
    fn as_ptr(&self) -> *mut u8 {
        self.base
    }
}

/// Serves both kinds.
pub(super) struct Memories;

// SAFETY: see the two `LinearMemory` implementations.
unsafe impl MemoryCreator for Memories {
    fn new_memory(
        &self,
        _ty: MemoryType,
        minimum: usize,
        maximum: Option<usize>,
        reserved: Option<usize>,
        guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        if reserved != Some(RESERVATION as usize) || guard as u64 != GUARD {
            return Err("the engine was configured with other memory sizes".into());
        }
        match (CURRENT.get(), minimum, maximum) {
            (Some(s), MEM_BYTES, Some(MEM_BYTES)) => Ok(Box::new(SlotMemory { base: s.mem, bytes: MEM_BYTES })),
            (Some(s), MAP_BYTES, Some(MAP_BYTES)) => Ok(Box::new(SlotMemory { base: s.map, bytes: MAP_BYTES })),
            (Some(_), ..) => Err("a recompiled program with a memory of its own".into()),
            (None, min, _) => Ok(Box::new(OwnMemory::new(min, RESERVATION as usize, guard)?)),
        }
    }
}
