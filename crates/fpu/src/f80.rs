//! The 80-bit format and arithmetic on it as the x87 does it.

use crate::num::*;

/// A double extended number as it lies in a register: 64-bit significand with explicit leading bit, sign and 15-bit exponent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ext {
    /// The significand.
    pub sig: u64,
    /// Bit 15 the sign, the rest the biased exponent.
    pub se: u16,
}

impl Ext {
    /// The real indefinite: the QNaN of masked invalid operations.
    pub const INDEFINITE: Ext = Ext { sig: 3 << 62, se: 0xffff };
    /// +0.
    pub const ZERO: Ext = Ext { sig: 0, se: 0 };
    /// +1.
    pub const ONE: Ext = Ext { sig: 1 << 63, se: 0x3fff };

    pub fn new(neg: bool, exp: i32, sig: u64) -> Ext {
        Ext { sig, se: u16::from(neg) << 15 | exp as u16 & 0x7fff }
    }

    pub fn zero(neg: bool) -> Ext {
        Ext::new(neg, 0, 0)
    }

    pub fn inf(neg: bool) -> Ext {
        Ext::new(neg, 0x7fff, 1 << 63)
    }

    pub fn neg(&self) -> bool {
        self.se >> 15 != 0
    }

    pub fn from_bytes(b: &[u8; 10]) -> Ext {
        let [a, b0, c, d, e, f, g, h, i, j] = *b;
        Ext { sig: u64::from_le_bytes([a, b0, c, d, e, f, g, h]), se: u16::from_le_bytes([i, j]) }
    }

    pub fn to_bytes(self) -> [u8; 10] {
        let mut b = [0; 10];
        b[..8].copy_from_slice(&self.sig.to_le_bytes());
        b[8..].copy_from_slice(&self.se.to_le_bytes());
        b
    }

    pub fn num(&self) -> Num {
        let (neg, exp, sig) = (self.neg(), i32::from(self.se & 0x7fff), self.sig);
        let integer = sig >> 63 == 1;
        let finite = |exp, denormal| {
            let lz = sig.leading_zeros();
            Num { neg, class: Class::Finite, exp: exp - 16383 - lz as i32, sig: sig << lz, denormal }
        };
        let special = |class| Num { neg, class, exp: 0, sig, denormal: false };
        match exp {
            0 if sig == 0 => Num::zero(neg),
            0 => finite(1, true),
            _ if !integer => special(Class::Unsupported),
            0x7fff if sig << 1 == 0 => special(Class::Inf),
            0x7fff if sig >> 62 & 1 == 1 => special(Class::QNan),
            0x7fff => special(Class::SNan),
            _ => finite(exp, false),
        }
    }

    /// A number that needs no rounding.
    pub fn exact(n: &Num) -> Ext {
        match n.class {
            Class::Zero => Ext::zero(n.neg),
            Class::Finite if (-16382..16384).contains(&n.exp) => Ext::new(n.neg, n.exp + 16383, n.sig),
            Class::Finite => {
                let r = round(&n.wide(), &F80, 64, Rc::Nearest, 0);
                Ext::new(n.neg, r.exp, r.sig)
            }
            _ => Ext::new(n.neg, 0x7fff, n.sig),
        }
    }
}

/// What a remainder says of the quotient.
pub enum Quotient {
    /// An operand was special: there is none.
    None,
    /// The operands are too far apart: the result has the same remainder and a smaller exponent.
    Partial,
    /// The low bits of the quotient.
    Complete(u64),
}

/// What an operation knows of the control word, and the exceptions it has met.
pub struct Ctx {
    pub rc: Rc,
    /// Significand bits by precision control.
    pub prec: u32,
    /// The exceptions that are not masked.
    pub unmasked: u16,
    /// Exceptions raised, and [`C1`].
    pub flags: u16,
}

impl Ctx {
    pub fn new(cw: u16) -> Ctx {
        let prec = match cw >> 8 & 3 {
            0 => 24,
            2 => 53,
            _ => 64,
        };
        Ctx { rc: Rc::from_bits(u32::from(cw >> 10)), prec, unmasked: !cw & 0x3f, flags: 0 }
    }

    pub fn invalid(&mut self) -> Ext {
        self.flags |= IE;
        Ext::INDEFINITE
    }

    /// Rounds to the precision in force.
    fn round(&mut self, w: Wide) -> Ext {
        self.round_to(w, self.prec)
    }

    pub fn round_to(&mut self, w: Wide, prec: u32) -> Ext {
        let r = round(&w, &F80, prec, self.rc, self.unmasked);
        self.flags |= r.flags;
        Ext::new(w.neg, r.exp, r.sig)
    }

    /// Meets one operand: `Some(result)` when it is a NaN or unsupported.
    pub fn special1(&mut self, a: &Num) -> Option<Ext> {
        match a.class {
            Class::Unsupported => Some(self.invalid()),
            Class::QNan | Class::SNan => {
                if a.class == Class::SNan {
                    self.flags |= IE;
                }
                Some(Ext::new(a.neg, 0x7fff, a.sig | 1 << 62))
            }
            _ => None,
        }
    }

    /// Meets two operands: `Some(result)` when one of them is a NaN or unsupported (SDM volume 1, table 4-7).
    pub fn special2(&mut self, a: &Num, b: &Num) -> Option<Ext> {
        if a.class == Class::Unsupported || b.class == Class::Unsupported {
            return Some(self.invalid());
        }
        if !a.is_nan() {
            return self.special1(b);
        }
        if !b.is_nan() {
            return self.special1(a);
        }
        if a.class == Class::SNan || b.class == Class::SNan {
            self.flags |= IE;
        }
        // A quiet NaN wins over a signalling one; of two alike the larger significand, then the positive one.
        let key = |n: &Num| (n.class == Class::QNan, n.sig, !n.neg);
        let n = if key(a) >= key(b) { a } else { b };
        Some(Ext::new(n.neg, 0x7fff, n.sig | 1 << 62))
    }

    pub fn denormals(&mut self, a: &Num, b: &Num) {
        if a.denormal || b.denormal {
            self.flags |= DE;
        }
    }

    /// `a + b`, or `a - b`.
    pub fn add(&mut self, a: &Num, b: &Num, subtract: bool) -> Ext {
        if let Some(r) = self.special2(a, b) {
            return r;
        }
        let b = Num { neg: b.neg != subtract, ..*b };
        if a.class == Class::Inf && b.class == Class::Inf && a.neg != b.neg {
            return self.invalid();
        }
        self.denormals(a, &b);
        match (a.class, b.class) {
            (Class::Inf, _) => return Ext::inf(a.neg),
            (_, Class::Inf) => return Ext::inf(b.neg),
            (Class::Zero, Class::Zero) if a.neg == b.neg => return Ext::zero(a.neg),
            _ => {}
        }
        let w = Wide::add(a.wide(), b.wide());
        if w.sig == 0 { Ext::zero(self.rc == Rc::Down) } else { self.round(w) }
    }

    pub fn mul(&mut self, a: &Num, b: &Num) -> Ext {
        if let Some(r) = self.special2(a, b) {
            return r;
        }
        let neg = a.neg != b.neg;
        let has = |c| a.class == c || b.class == c;
        if has(Class::Inf) && has(Class::Zero) {
            return self.invalid();
        }
        self.denormals(a, b);
        if has(Class::Inf) {
            return Ext::inf(neg);
        }
        if has(Class::Zero) {
            return Ext::zero(neg);
        }
        self.round(Wide::mul(a, b))
    }

    pub fn div(&mut self, a: &Num, b: &Num) -> Ext {
        if let Some(r) = self.special2(a, b) {
            return r;
        }
        let neg = a.neg != b.neg;
        if a.class == b.class && a.class != Class::Finite {
            return self.invalid();
        }
        if a.class == Class::Finite && b.class == Class::Zero {
            // No denormal exception here, as AMD processors do it.
            self.flags |= ZE;
            return Ext::inf(neg);
        }
        self.denormals(a, b);
        match (a.class, b.class) {
            (Class::Inf, _) => Ext::inf(neg),
            (_, Class::Inf) | (Class::Zero, _) => Ext::zero(neg),
            _ => self.round(Wide::div(a, b)),
        }
    }

    pub fn sqrt(&mut self, a: &Num) -> Ext {
        if let Some(r) = self.special1(a) {
            return r;
        }
        if a.class == Class::Zero {
            return Ext::zero(a.neg);
        }
        if a.neg {
            return self.invalid();
        }
        if a.class == Class::Inf {
            return Ext::inf(false);
        }
        self.denormals(a, a);
        self.round(Wide::sqrt(a))
    }

    pub fn frndint(&mut self, a: Ext) -> Ext {
        let n = a.num();
        if let Some(r) = self.special1(&n) {
            return r;
        }
        self.denormals(&n, &n);
        if n.class != Class::Finite || n.exp >= 63 {
            return a;
        }
        match n.to_integer(self.rc) {
            Some((mag, inexact, up)) => {
                self.flags |= if inexact { PE } else { 0 } | if up { C1 } else { 0 };
                Ext::exact(&Num::from_mag(n.neg, mag))
            }
            None => a,
        }
    }

    /// `a * 2^trunc(b)`.
    pub fn scale(&mut self, a: &Num, b: &Num) -> Ext {
        if let Some(r) = self.special2(a, b) {
            return r;
        }
        match (a.class, b.class) {
            (Class::Inf, Class::Inf) if b.neg => return self.invalid(),
            (Class::Zero, Class::Inf) if !b.neg => return self.invalid(),
            _ => {}
        }
        self.denormals(a, b);
        match (a.class, b.class) {
            (Class::Inf, _) => return Ext::inf(a.neg),
            (Class::Zero, _) => return Ext::zero(a.neg),
            (_, Class::Inf) => return if b.neg { Ext::zero(a.neg) } else { Ext::inf(a.neg) },
            _ => {}
        }
        // Beyond +-2^16 the result is out of any range.
        let mag = b.to_integer(Rc::Zero).map_or(0x1_0000, |(n, _, _)| n.min(0x1_0000)) as i32;
        self.round_to(a.wide().shifted(if b.neg { -mag } else { mag }), 64)
    }

    /// Exponent and significand of `a`.
    pub fn extract(&mut self, a: &Num) -> (Ext, Ext) {
        if let Some(r) = self.special1(a) {
            return (r, r);
        }
        match a.class {
            Class::Inf => (Ext::inf(false), Ext::inf(a.neg)),
            Class::Zero => {
                self.flags |= ZE;
                (Ext::inf(true), Ext::zero(a.neg))
            }
            _ => {
                self.denormals(a, a);
                (Ext::exact(&Num::from_i64(a.exp.into())), Ext::new(a.neg, 0x3fff, a.sig))
            }
        }
    }

    /// Remainder. `nearest` is `fprem1`, else `fprem`.
    pub fn rem(&mut self, a: &Num, b: &Num, nearest: bool) -> (Ext, Quotient) {
        if let Some(r) = self.special2(a, b) {
            return (r, Quotient::None);
        }
        if a.class == Class::Inf || b.class == Class::Zero {
            return (self.invalid(), Quotient::None);
        }
        self.denormals(a, b);
        if a.class == Class::Zero || b.class == Class::Inf {
            // A pseudo-denormal comes back normalized.
            let r = if a.class == Class::Zero { Ext::zero(a.neg) } else { self.round_to(a.wide(), 64) };
            return (r, Quotient::Complete(0));
        }
        let d = a.exp - b.exp;
        let (n, m) = (u128::from(a.sig), u128::from(b.sig));
        let (r, mut q, exp) = match d {
            i32::MIN..0 => (n, 0, a.exp),
            0..64 => ((n << d) % m, ((n << d) / m) as u64, b.exp),
            _ => {
                // Reduce the exponent difference by between 32 and 63, keeping it a multiple of 32 apart.
                let steps = (d & 31) | 32;
                let r = (n << steps) % m;
                let w = Wide::normal_at(a.neg, a.exp - steps, r);
                return (if r == 0 { Ext::zero(a.neg) } else { self.round_to(w, 64) }, Quotient::Partial);
            }
        };
        let mut w = Wide::normal_at(a.neg, exp, r);
        if nearest {
            // 2r against b: r * 2^exp and m * 2^b.exp.
            let half = match b.exp - exp {
                0 => (r << 1).cmp(&m),
                1 => r.cmp(&m),
                _ => std::cmp::Ordering::Less,
            };
            if half.is_gt() || half.is_eq() && q & 1 == 1 {
                q += 1;
                let bw = Wide { neg: !a.neg, exp: b.exp, sig: m << 64 };
                w = Wide::add(w, bw);
            }
        }
        (if w.sig == 0 { Ext::zero(a.neg) } else { self.round_to(w, 64) }, Quotient::Complete(q))
    }

    /// Compares; `None` is unordered. `quiet` NaNs raise no exception.
    pub fn compare(&mut self, a: &Num, b: &Num, quiet: bool) -> Option<std::cmp::Ordering> {
        let unsupported = a.class == Class::Unsupported || b.class == Class::Unsupported;
        if unsupported || a.is_nan() || b.is_nan() {
            if unsupported || !quiet || a.class == Class::SNan || b.class == Class::SNan {
                self.flags |= IE;
            }
            return None;
        }
        self.denormals(a, b);
        Some(order(a, b))
    }

    /// Rounds to a narrower format: the bits. NaNs are quieted (`IE` for signalling ones), the unsupported become the indefinite.
    pub fn narrow(&mut self, a: &Num, f: &Format) -> u64 {
        let r = match a.class {
            Class::Zero => Rounded { exp: 0, sig: 0, flags: 0, tiny: false },
            Class::Finite => round(&a.wide(), f, f.prec, self.rc, self.unmasked),
            Class::Inf => Rounded { exp: f.max_exp, sig: 1 << 63, flags: 0, tiny: false },
            Class::QNan | Class::SNan | Class::Unsupported => {
                let e = self.special1(a).unwrap_or(Ext::INDEFINITE);
                return pack(&Rounded { exp: f.max_exp, sig: e.sig, flags: 0, tiny: false }, f, e.neg());
            }
        };
        self.flags |= r.flags;
        pack(&r, f, a.neg)
    }

    /// Rounds to an integer of `bits` bits; the integer indefinite and `IE` when it does not fit.
    pub fn integer(&mut self, a: &Num, bits: u32, rc: Rc) -> i64 {
        let indefinite = i64::MIN >> (64 - bits);
        let limit = 1u64 << (bits - 1);
        let rounded = match a.class {
            Class::Zero | Class::Finite => a.to_integer(rc),
            _ => None,
        };
        match rounded {
            Some((mag, inexact, up)) if mag < limit || mag == limit && a.neg => {
                self.flags |= if inexact { PE } else { 0 } | if up { C1 } else { 0 };
                if a.neg { (mag as i64).wrapping_neg() } else { mag as i64 }
            }
            _ => {
                self.flags |= IE;
                indefinite
            }
        }
    }

    /// Packed decimal, 18 digits and a sign.
    pub fn bcd(&mut self, a: &Num) -> [u8; 10] {
        let rounded = match a.class {
            Class::Zero | Class::Finite => a.to_integer(self.rc),
            _ => None,
        };
        match rounded {
            Some((mag, inexact, up)) if mag < 1_000_000_000_000_000_000 => {
                self.flags |= if inexact { PE } else { 0 } | if up { C1 } else { 0 };
                let mut b = [0; 10];
                let mut n = mag;
                for byte in &mut b[..9] {
                    *byte = ((n % 10) | ((n / 10 % 10) << 4)) as u8;
                    n /= 100;
                }
                b[9] = u8::from(a.neg) << 7;
                b
            }
            _ => {
                self.flags |= IE;
                [0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff]
            }
        }
    }
}

/// Order of two numbers that are not NaN.
pub fn order(a: &Num, b: &Num) -> std::cmp::Ordering {
    use std::cmp::Ordering;
    let key = |n: &Num| match n.class {
        Class::Zero => (0, 0, 0),
        Class::Finite => (1, n.exp, n.sig),
        _ => (2, 0, 0),
    };
    let (ka, kb) = (key(a), key(b));
    if ka.0 == 0 && kb.0 == 0 {
        return Ordering::Equal;
    }
    match (a.neg && ka.0 != 0, b.neg && kb.0 != 0) {
        (false, false) => ka.cmp(&kb),
        (true, true) => kb.cmp(&ka),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
    }
}

/// The value of 18 packed decimal digits and a sign. Digits above 9 count as they are (the SDM leaves them undefined).
pub fn from_bcd(b: &[u8; 10]) -> Num {
    let mag = b[..9].iter().rev().fold(0u64, |n, d| n * 100 + u64::from(d >> 4) * 10 + u64::from(d & 15));
    Num::from_mag(b[9] >> 7 != 0, mag)
}
