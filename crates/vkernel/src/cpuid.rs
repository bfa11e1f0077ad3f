//! The processor that guests see: x86-64 with SSE2 and nothing else.

use std::time::Instant;

/// CPUID.1:EDX, also AT_HWCAP: fpu tsc msr pae cx8 pge cmov mmx fxsr sse sse2.
pub const FEATURES_EDX: u32 =
    1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 13 | 1 << 15 | 1 << 23 | 1 << 24 | 1 << 25 | 1 << 26;
/// glibc reads cache sizes (leaves 2 and 4) of this vendor only, and without them takes every larger copy for one past all caches. Family
/// and model are those of no processor with quirks.
const VENDOR: &[u8; 12] = b"GenuineIntel";
const BRAND: &[u8; 48] = b"Megalith recompiled x86-64, SSE2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

fn word(b: &[u8], i: usize) -> u32 {
    b.get(i * 4..i * 4 + 4).and_then(|w| w.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// CPUID (Intel SDM volume 2): (eax, ebx, ecx, edx).
pub fn cpuid(leaf: u32, subleaf: u32) -> (u32, u32, u32, u32) {
    match leaf {
        0 => (4, word(VENDOR, 0), word(VENDOR, 2), word(VENDOR, 1)),
        // Family 6, model 15, stepping 1; CLFLUSH line size 64 is not reported as CLFLUSH is not.
        1 => (0x6f1, 0x0001_0000, 0, FEATURES_EDX),
        // See leaf 4.
        2 => (0xff01, 0, 0, 0),
        // 32 KiB of data, 32 KiB of instructions, 1 MiB, 8 MiB; lines of 64 bytes.
        4 => {
            let cache = |kind: u32, level: u32, ways: u32, sets: u32| {
                (kind | level << 5 | 1 << 8, (ways - 1) << 22 | 63, sets - 1, 0)
            };
            match subleaf {
                0 => cache(1, 1, 8, 64),
                1 => cache(2, 1, 8, 64),
                2 => cache(3, 2, 16, 1024),
                3 => cache(3, 3, 16, 8192),
                _ => (0, 0, 0, 0),
            }
        }
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
