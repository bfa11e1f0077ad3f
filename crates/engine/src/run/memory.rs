//! Where linear memories lie: in the slot of the process that the instance is for.

use std::cell::Cell;

use megalith_abi as abi;
use megalith_vkernel::WasiMemory;
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

/// Whose memories are being made.
#[derive(Default)]
enum Current {
    #[default]
    None,
    /// Both memories of the slot.
    Recompiled(SlotBases),
    /// The code map, for its poll word; then the module's own.
    Wasi(SlotBases, WasiMemory),
    WasiLinear(WasiMemory),
}

thread_local! {
    static CURRENT: Cell<Current> = const { Cell::new(Current::None) };
}

/// Runs `f` with `slot` as the memory that instances made by this thread get.
pub(super) fn with_slot<R>(slot: SlotBases, f: impl FnOnce() -> R) -> R {
    CURRENT.set(Current::Recompiled(slot));
    let r = f();
    CURRENT.set(Current::None);
    r
}

/// The same for an instance of a WASI projection.
pub(super) fn with_wasi<R>(slot: SlotBases, memory: WasiMemory, f: impl FnOnce() -> R) -> R {
    CURRENT.set(Current::Wasi(slot, memory));
    let r = f();
    CURRENT.set(Current::None);
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

/// The linear memory of a WASI module: an area of its process's address space, which the vkernel grows.
struct LinearArea {
    memory: WasiMemory,
    bytes: usize,
}

// SAFETY: the slot is reserved (with its guard) for longer than the instance lives and never moves; what lies behind the area is inaccessible.
unsafe impl LinearMemory for LinearArea {
    fn byte_size(&self) -> usize {
        self.bytes
    }
    fn byte_capacity(&self) -> usize {
        RESERVATION as usize
    }
    fn grow_to(&mut self, new_size: usize) -> wasmtime::Result<()> {
        self.memory.grow(self.bytes, new_size).map_err(|e| wasmtime::Error::msg(e.message()))?;
        self.bytes = new_size;
        Ok(())
    }
    fn as_ptr(&self) -> *mut u8 {
        self.memory.base()
    }
}

/// Serves all kinds.
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
        match (CURRENT.take(), minimum, maximum) {
            (Current::Recompiled(s), MEM_BYTES, Some(MEM_BYTES)) => {
                CURRENT.set(Current::Recompiled(s));
                Ok(Box::new(SlotMemory { base: s.mem, bytes: MEM_BYTES }))
            }
            (Current::Recompiled(s), MAP_BYTES, Some(MAP_BYTES)) => {
                CURRENT.set(Current::Recompiled(s));
                Ok(Box::new(SlotMemory { base: s.map, bytes: MAP_BYTES }))
            }
            (Current::Recompiled(_), ..) => Err("a recompiled program with a memory of its own".into()),
            (Current::Wasi(s, memory), MAP_BYTES, Some(MAP_BYTES)) => {
                CURRENT.set(Current::WasiLinear(memory));
                Ok(Box::new(SlotMemory { base: s.map, bytes: MAP_BYTES }))
            }
            (Current::WasiLinear(memory), minimum, _) => {
                memory.begin(minimum).map_err(|e| format!("its memory of {minimum} bytes: {e}"))?;
                Ok(Box::new(LinearArea { memory, bytes: minimum }))
            }
            (Current::Wasi(..) | Current::None, ..) => Err("a memory that nobody asked for".into()),
        }
    }
}
