//! The processor that guests see: x86-64 with SSE2 and nothing else.

use std::time::Instant;

/// CPUID.1:EDX, also AT_HWCAP: fpu tsc msr pae cx8 pge cmov mmx fxsr sse sse2.
pub const FEATURES_EDX: u32 =
    1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 13 | 1 << 15 | 1 << 23 | 1 << 24 | 1 << 25 | 1 << 26;
/// Vendor string: not a real vendor's, so that no software applies a model's quirks.
const VENDOR: &[u8; 12] = b"MegalithWasm";
const BRAND: &[u8; 48] = b"Megalith recompiled x86-64, SSE2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

fn word(b: &[u8], i: usize) -> u32 {
    b.get(i * 4..i * 4 + 4).and_then(|w| w.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// CPUID (Intel SDM volume 2): (eax, ebx, ecx, edx).
pub fn cpuid(leaf: u32, _subleaf: u32) -> (u32, u32, u32, u32) {
    match leaf {
        0 => (1, word(VENDOR, 0), word(VENDOR, 2), word(VENDOR, 1)),
        // Family 6, model 15, stepping 1; CLFLUSH line size 64 is not reported as CLFLUSH is not.
        1 => (0x6f1, 0x0001_0000, 0, FEATURES_EDX),
        0x8000_0000 => (0x8000_0008, 0, 0, 0),
        // LAHF in 64-bit mode; syscall, nx, long mode.
        0x8000_0001 => (0, 0, 1, 1 << 11 | 1 << 20 | 1 << 29),
        0x8000_0002..=0x8000_0004 => {
            let i = (leaf - 0x8000_0002) as usize * 4;
            (word(BRAND, i), word(BRAND, i + 1), word(BRAND, i + 2), word(BRAND, i + 3))
        }
        0x8000_0008 => (0x3020, 0, 0, 0),
        _ => (0, 0, 0, 0),
    }
}

/// A time stamp counter of 1 GHz.
pub fn rdtsc() -> u64 {
    use std::sync::OnceLock;
    static BASE: OnceLock<Instant> = OnceLock::new();
    BASE.get_or_init(Instant::now).elapsed().as_nanos() as u64
}
