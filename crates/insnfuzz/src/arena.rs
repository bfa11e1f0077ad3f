//! The address space that fuzzed instructions see: a few writable and read-only pages at fixed guest addresses below
//! 4 GiB with holes between them, and one executable range that holds the instruction itself.
//!
//! The native executor maps the pages at these very addresses of this process; the translation side maps them at the
//! same offsets of a linear memory.

/// Guest page size in bytes.
pub const PAGE: u32 = 4096;

/// A run of pages with one protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Guest address of the first byte, page aligned.
    pub start: u32,
    /// Length in pages.
    pub pages: u32,
    /// Writable; readable in any case.
    pub writable: bool,
}

impl Region {
    /// Length in bytes.
    pub const fn len(&self) -> u32 {
        self.pages * PAGE
    }
    /// True for a region without pages.
    pub const fn is_empty(&self) -> bool {
        self.pages == 0
    }
    /// One past the last byte.
    pub const fn end(&self) -> u64 {
        self.start as u64 + self.len() as u64
    }
}

/// All data pages, in address order. What is not listed is unmapped (the code range apart).
pub const REGIONS: [Region; 6] = [
    // The lowest page a guest may map: address arithmetic that goes below it must fault.
    Region { start: 0x0001_0000, pages: 1, writable: true },
    Region { start: 0x1000_0000, pages: 3, writable: true },
    // Read-only between writable pages, so that an access can cross into it from both sides.
    Region { start: 0x1000_3000, pages: 1, writable: false },
    Region { start: 0x1000_4000, pages: 1, writable: true },
    // Across 2^31, where a wrong sign extension shows.
    Region { start: 0x7fff_f000, pages: 2, writable: true },
    // The last page a guest may map.
    Region { start: 0xfffe_f000, pages: 1, writable: true },
];

/// Bytes of all regions together.
pub const SIZE: usize = {
    let mut n = 0;
    let mut i = 0;
    while i < REGIONS.len() {
        n += REGIONS[i].len() as usize;
        i += 1;
    }
    n
};

/// Guest address of the executable range.
pub const CODE_BASE: u32 = 0x4000_0000;
/// Bytes of the executable range.
pub const CODE_LEN: u32 = 16 * PAGE;
/// Guest address at which instructions under test are placed.
pub const CODE_START: u32 = CODE_BASE + 0x8000;
/// Landing pads for branches: executing one ends the run with the program counter there. The first four are within reach of an 8-bit
/// displacement from short instructions at [`CODE_START`]; longer basic blocks must not reach [`PADS`]`[2]`.
pub const PADS: [u32; 6] =
    [CODE_START - 0x60, CODE_START - 0x40, CODE_START + 0x48, CODE_START + 0x68, CODE_BASE + 0x100, CODE_BASE + 0xf000];

/// The contents of all regions, concatenated in the order of [`REGIONS`].
#[derive(Clone, PartialEq, Eq)]
pub struct Contents(pub Vec<u8>);

impl Default for Contents {
    fn default() -> Self {
        Contents(vec![0; SIZE])
    }
}

impl Contents {
    /// Offset in the concatenation of guest address `addr`, or `None` when no region has it.
    pub fn offset(addr: u32) -> Option<usize> {
        let mut base = 0;
        for r in &REGIONS {
            if addr >= r.start && u64::from(addr) < r.end() {
                return Some(base + (addr - r.start) as usize);
            }
            base += r.len() as usize;
        }
        None
    }
    /// Guest address of byte `offset` of the concatenation.
    pub fn address(offset: usize) -> Option<u32> {
        let mut base = 0;
        for r in &REGIONS {
            let len = r.len() as usize;
            if offset < base + len {
                return Some(r.start + (offset - base) as u32);
            }
            base += len;
        }
        None
    }
    /// Writes those of `bytes` that fall into a region (read-only ones too: this is set-up, not a guest store).
    pub fn write(&mut self, addr: u32, bytes: &[u8]) {
        for (i, b) in bytes.iter().enumerate() {
            if let Some(slot) = Self::offset(addr.wrapping_add(i as u32)).and_then(|o| self.0.get_mut(o)) {
                *slot = *b;
            }
        }
    }
    /// Reads `n` bytes; those outside of every region are `None`.
    pub fn read(&self, addr: u32, n: usize) -> Vec<Option<u8>> {
        (0..n).map(|i| Self::offset(addr.wrapping_add(i as u32)).and_then(|o| self.0.get(o)).copied()).collect()
    }
}

/// True when some data page holds guest address `addr`.
pub fn mapped(addr: u64) -> bool {
    u32::try_from(addr).is_ok_and(|a| Contents::offset(a).is_some())
}

/// True when `[addr, addr + len)` touches the executable range or its surroundings.
pub fn near_code(addr: u64, len: u64) -> bool {
    let lo = u64::from(CODE_BASE) - 0x2_0000;
    let hi = u64::from(CODE_BASE + CODE_LEN) + 0x2_0000;
    addr < hi && addr.saturating_add(len) > lo
}
