//! Random states, with the edges of the formats over-represented.

use crate::cpu::Image;

/// xorshift64*.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 16) % n
    }
    pub fn pick<T: Copy>(&mut self, s: &[T]) -> T {
        s[self.below(s.len() as u64) as usize]
    }
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// A significand: full, short, long runs of ones or zeros, near a rounding boundary.
    pub fn sig(&mut self) -> u64 {
        let r = self.next();
        match self.below(8) {
            0 => 1 << 63,
            1 => r & (u64::MAX << self.below(64)),
            2 => u64::MAX << self.below(64),
            3 => r | (u64::MAX >> self.below(64)),
            4 => (r & !0xfff) | self.pick(&[0x3ff, 0x400, 0x401, 0x7ff, 0x800, 0xbff, 0xc00, 0xfff, 0]),
            5 => {
                (r & !0xff_ffff_ffff) | self.pick(&[0x7f_ffff_ffff, 0x80_0000_0000, 0x80_0000_0001, 0xff_ffff_ffff, 0])
            }
            6 => u64::MAX - self.below(4),
            _ => r,
        }
    }

    /// An 80-bit number: (significand, sign and exponent).
    pub fn ext(&mut self) -> (u64, u16) {
        let sign = (self.below(2) as u16) << 15;
        let sig = self.sig() | 1 << 63;
        let (sig, exp) = match self.below(24) {
            0 => (0, 0),
            1 => (1 << 63, 0x7fff),
            2 => (sig | 3 << 62, 0x7fff),
            3 => ((sig & !(1 << 62)) | 1 << self.below(62), 0x7fff),
            4 => (self.next() >> 1 >> self.below(63), 0),
            5 => (sig, 0),
            6 => (sig << 1 >> 1, self.next() as u16 & 0x7fff),
            7 => (self.pick(&[3 << 62, 1 << 63 | 1, 0, 1, 1 << 62]), 0x7fff),
            8 => (sig, self.below(80) as u16),
            9 => (sig, 0x7ffe - self.below(80) as u16),
            10 => (sig, self.next() as u16 & 0x7fff),
            11 => (sig, 0x3fff - 1022 + 60 - self.below(130) as u16),
            12 => (sig, 0x3fff - 126 + 30 - self.below(70) as u16),
            13 => (sig, self.pick(&[0x3fff + 127, 0x3fff + 128, 0x3fff + 1023, 0x3fff + 1024, 0x3fff + 126])),
            14 => (1 << 63, 0x3fff),
            15 => {
                let n = self.below(200000);
                let lz = n.leading_zeros();
                if n == 0 { (0, 0) } else { (n << lz, 0x3fff + 63 - lz as u16) }
            }
            16 | 17 => (sig, 0x3fff + 70 - self.below(140) as u16),
            _ => (sig, 0x3fff + 4 - self.below(8) as u16),
        };
        (sig, sign | exp)
    }

    pub fn f64(&mut self) -> u64 {
        let r = self.next();
        let frac = self.sig() << 1 >> 12;
        let exp = match self.below(8) {
            0 => 0,
            1 => 0x7ff,
            2 => r & 0x7ff,
            3 => self.pick(&[1, 2, 0x7fe, 0x7fd]),
            _ => 1023 + 20 - self.below(40),
        };
        let frac = if self.one_in(4) { self.pick(&[0, 1, 1 << 51, (1 << 52) - 1, 1 << 51 | 1]) } else { frac };
        (self.next() & 1 << 63) | exp << 52 | frac
    }

    pub fn f32(&mut self) -> u32 {
        let r = self.next();
        let frac = (self.sig() << 1 >> 41) as u32;
        let exp = match self.below(8) {
            0 => 0,
            1 => 0xff,
            2 => r as u32 & 0xff,
            3 => self.pick(&[1, 2, 0xfe, 0xfd]),
            _ => 127 + 15 - self.below(30) as u32,
        };
        let frac = if self.one_in(4) { self.pick(&[0, 1, 1 << 22, (1 << 23) - 1, 1 << 22 | 1]) } else { frac };
        (self.next() as u32 & 1 << 31) | exp << 23 | frac
    }

    /// A control word; `masked` leaves all exceptions masked.
    pub fn cw(&mut self, masked: bool) -> u16 {
        let pc = self.pick(&[0u16, 1, 2, 3, 3, 3]);
        let rc = self.below(4) as u16;
        let masks = if masked { 0x3f } else { self.next() as u16 & 0x3f };
        rc << 10 | pc << 8 | masks | 0x40
    }

    /// A state without a pending exception.
    pub fn image(&mut self, masked: bool) -> Image {
        let mut im = Image([0; 512]);
        let cw = self.cw(masked);
        let mut sw = self.next() as u16 & 0x7f00;
        if self.one_in(4) {
            sw |= self.next() as u16 & cw & 0x3f;
        }
        let top = u32::from(sw >> 11 & 7);
        let valid = match self.below(6) {
            0 => self.next() as u8,
            1 => 0xff,
            // Some registers in use from the top on.
            _ => (0xffu8 >> self.below(6)).rotate_left(top),
        };
        im.0[0..2].copy_from_slice(&cw.to_le_bytes());
        im.0[2..4].copy_from_slice(&sw.to_le_bytes());
        im.0[4] = valid;
        for i in 0..8 {
            let (sig, se) = self.ext();
            im.0[32 + 16 * i..][..8].copy_from_slice(&sig.to_le_bytes());
            im.0[40 + 16 * i..][..2].copy_from_slice(&se.to_le_bytes());
        }
        im.0[24..28].copy_from_slice(&0x1f80u32.to_le_bytes());
        im
    }
}
