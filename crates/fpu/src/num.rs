//! Numbers between unpacking and rounding: exact (or sticky) arithmetic on sign, exponent and significand, shared by all formats.

/// Invalid operation (x87 status word and MXCSR alike).
pub const IE: u16 = 0x01;
/// Denormal operand.
pub const DE: u16 = 0x02;
/// Division by zero.
pub const ZE: u16 = 0x04;
/// Overflow.
pub const OE: u16 = 0x08;
/// Underflow.
pub const UE: u16 = 0x10;
/// Inexact result.
pub const PE: u16 = 0x20;
/// Condition code 1 of the x87 status word: the last rounding was away from zero.
pub const C1: u16 = 0x200;

/// Rounding mode, in the encoding of the x87 control word and MXCSR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rc {
    Nearest,
    Down,
    Up,
    Zero,
}

impl Rc {
    /// The mode in the low two bits of `n`.
    pub fn from_bits(n: u32) -> Rc {
        match n & 3 {
            0 => Rc::Nearest,
            1 => Rc::Down,
            2 => Rc::Up,
            _ => Rc::Zero,
        }
    }
}

/// A binary interchange format, as far as rounding needs to know it.
pub struct Format {
    /// Significand bits, the leading one included.
    pub prec: u32,
    pub bias: i32,
    /// The biased exponent of infinities and NaNs.
    pub max_exp: i32,
    /// What the exponent of a result is moved by when overflow or underflow is not masked.
    pub wrap: i32,
}

pub const F32: Format = Format { prec: 24, bias: 127, max_exp: 0xff, wrap: 192 };
pub const F64: Format = Format { prec: 53, bias: 1023, max_exp: 0x7ff, wrap: 1536 };
pub const F80: Format = Format { prec: 64, bias: 16383, max_exp: 0x7fff, wrap: 24576 };

/// What kind of datum an operand is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    Zero,
    Finite,
    Inf,
    QNan,
    SNan,
    /// An 80-bit encoding that is none (pseudo-infinity, pseudo-NaN, unnormal).
    Unsupported,
}

/// An operand of any format. For `Finite` the value is `sig * 2^(exp - 63)` with the top bit of `sig` set; for NaNs `sig` is
/// the 80-bit format's significand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Num {
    pub neg: bool,
    pub class: Class,
    pub exp: i32,
    pub sig: u64,
    /// The encoding was denormal or pseudo-denormal.
    pub denormal: bool,
}

impl Num {
    pub const fn zero(neg: bool) -> Num {
        Num { neg, class: Class::Zero, exp: 0, sig: 0, denormal: false }
    }

    pub fn is_nan(&self) -> bool {
        matches!(self.class, Class::QNan | Class::SNan)
    }

    /// The integer `n`.
    pub fn from_i64(n: i64) -> Num {
        Num::from_mag(n < 0, n.unsigned_abs())
    }

    /// The integer `mag` with a sign.
    pub fn from_mag(neg: bool, mag: u64) -> Num {
        if mag == 0 {
            return Num::zero(neg);
        }
        let lz = mag.leading_zeros();
        Num { neg, class: Class::Finite, exp: 63 - lz as i32, sig: mag << lz, denormal: false }
    }

    /// Unpacks an IEEE 754 format with an implicit leading bit: `frac` has `f.prec - 1` bits.
    fn unpack(f: &Format, neg: bool, exp: i32, frac: u64) -> Num {
        let top = frac << (64 - f.prec);
        if exp == f.max_exp {
            let class = match frac {
                0 => Class::Inf,
                _ if top >> 62 & 1 == 1 => Class::QNan,
                _ => Class::SNan,
            };
            return Num { neg, class, exp: 0, sig: top | 1 << 63, denormal: false };
        }
        if exp == 0 {
            if frac == 0 {
                return Num::zero(neg);
            }
            let lz = top.leading_zeros();
            return Num { neg, class: Class::Finite, exp: 1 - f.bias - lz as i32, sig: top << lz, denormal: true };
        }
        Num { neg, class: Class::Finite, exp: exp - f.bias, sig: top | 1 << 63, denormal: false }
    }

    pub fn from_f32(b: u32) -> Num {
        Num::unpack(&F32, b >> 31 != 0, (b >> 23 & 0xff) as i32, u64::from(b & 0x7f_ffff))
    }

    pub fn from_f64(b: u64) -> Num {
        Num::unpack(&F64, b >> 63 != 0, (b >> 52 & 0x7ff) as i32, b & 0xf_ffff_ffff_ffff)
    }

    /// As a [`Wide`]; zero for everything that is not finite.
    pub fn wide(&self) -> Wide {
        Wide {
            neg: self.neg,
            exp: self.exp,
            sig: u128::from(if self.class == Class::Finite { self.sig } else { 0 }) << 64,
        }
    }

    /// Rounds the magnitude of a finite number to an integer: `(integer, inexact, away from zero)`, or `None` from 2^64 on.
    pub fn to_integer(self, rc: Rc) -> Option<(u64, bool, bool)> {
        if self.class != Class::Finite {
            return Some((0, false, false));
        }
        if self.exp > 63 {
            return None;
        }
        let fixed = shift_right_jam(u128::from(self.sig) << 64, (63 - self.exp) as u32);
        let (int, frac) = ((fixed >> 64) as u64, fixed as u64);
        let up = round_up(rc, self.neg, int & 1 == 1, frac.cmp(&(1 << 63)), frac != 0);
        Some((int.checked_add(u64::from(up))?, frac != 0, up))
    }
}

/// Whether to add one unit: `half` compares what is cut off with half a unit.
fn round_up(rc: Rc, neg: bool, odd: bool, half: std::cmp::Ordering, inexact: bool) -> bool {
    match rc {
        Rc::Nearest => half.is_gt() || half.is_eq() && odd,
        Rc::Down => inexact && neg,
        Rc::Up => inexact && !neg,
        Rc::Zero => false,
    }
}

/// `v >> n`, with the lowest bit set when ones were lost.
pub fn shift_right_jam(v: u128, n: u32) -> u128 {
    match n {
        0 => v,
        1..=127 => v >> n | u128::from(v << (128 - n) != 0),
        _ => u128::from(v != 0),
    }
}

/// A finite number before rounding: `sig * 2^(exp - 127)` with the top bit of `sig` set, or 0 when `sig` is 0. The lowest bit is sticky.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wide {
    pub neg: bool,
    pub exp: i32,
    pub sig: u128,
}

impl Wide {
    /// Normalizes `sig * 2^(exp - 127)`.
    pub fn normal(neg: bool, exp: i32, sig: u128) -> Wide {
        let lz = sig.leading_zeros();
        if sig == 0 { Wide { neg, exp: 0, sig } } else { Wide { neg, exp: exp - lz as i32, sig: sig << lz } }
    }

    /// `r * 2^(exp - 63)` for an `r` of at most 64 bits.
    pub fn normal_at(neg: bool, exp: i32, r: u128) -> Wide {
        Wide::normal(neg, exp, r << 64)
    }

    /// Sum of two numbers that have at most 64 significant bits each. An exact zero has `sig` 0 and the sign of `a`.
    pub fn add(a: Wide, b: Wide) -> Wide {
        if b.sig == 0 {
            return a;
        }
        if a.sig == 0 {
            return b;
        }
        let (a, b) = if (a.exp, a.sig) >= (b.exp, b.sig) { (a, b) } else { (b, a) };
        let (x, y) = (a.sig >> 1, shift_right_jam(b.sig >> 1, (a.exp - b.exp) as u32));
        Wide::normal(a.neg, a.exp + 1, if a.neg == b.neg { x + y } else { x - y })
    }

    /// Product of two finite non-zero numbers.
    pub fn mul(a: &Num, b: &Num) -> Wide {
        Wide::normal(a.neg != b.neg, a.exp + b.exp + 1, u128::from(a.sig) * u128::from(b.sig))
    }

    /// Quotient of two finite non-zero numbers.
    pub fn div(a: &Num, b: &Num) -> Wide {
        let d = u128::from(b.sig);
        // a/b lies in (1/2, 2), so the first quotient fits 64 bits.
        let n = u128::from(a.sig) << 63;
        let (q1, r1) = (n / d, n % d);
        let n = r1 << 64;
        let (q2, r2) = (n / d, n % d);
        Wide::normal(a.neg != b.neg, a.exp - b.exp, (q1 << 64 | q2) | u128::from(r2 != 0))
    }

    /// Square root of a finite positive number.
    pub fn sqrt(a: &Num) -> Wide {
        // Make the exponent even; the radicand is then n * 2^(2k), n in [2^126, 2^128).
        let odd = a.exp & 1 != 0;
        let n = u128::from(a.sig) << if odd { 64 } else { 63 };
        let s = n.isqrt();
        let r = n - s * s;
        // The next bit of the root is set if and only if n > (s + 1/2)^2, that is r > s; it is never exactly half.
        let sig = s << 64 | u128::from(r > s) << 63 | u128::from(r != 0);
        Wide { neg: false, exp: (a.exp - i32::from(odd)) / 2, sig }
    }

    /// The number times 2^n.
    pub fn shifted(self, n: i32) -> Wide {
        Wide { exp: self.exp + n, ..self }
    }
}

/// A rounded result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rounded {
    /// Biased exponent field: 0 for zeros and denormals, `max_exp` for infinity.
    pub exp: i32,
    /// Significand, the leading bit at bit 63.
    pub sig: u64,
    /// `OE`, `UE`, `PE` and [`C1`].
    pub flags: u16,
    /// The result is below the smallest normal number (after rounding), whether or not that is an underflow.
    pub tiny: bool,
}

/// Rounds the top bits of `sig` to `prec` bits: `(significand in the top bits, carry out, inexact, rounded away from zero)`.
fn round_sig(sig: u128, prec: u32, neg: bool, rc: Rc) -> (u64, bool, bool, bool) {
    let drop = 128 - prec;
    let rem = sig & ((1 << drop) - 1);
    let up = round_up(rc, neg, sig >> drop & 1 == 1, rem.cmp(&(1 << (drop - 1))), rem != 0);
    let kept = (sig >> drop) + u128::from(up);
    let carry = kept >> prec != 0;
    let top = if carry { 1 << 63 } else { (kept as u64) << (64 - prec) };
    (top, carry, rem != 0, up)
}

/// Rounds `w` (not zero) to `prec` significand bits in the exponent range of `f`. `unmasked` holds the `OE` and `UE` bits that are not
/// masked: such a result is rounded with an unbounded exponent and its exponent then moved by `f.wrap`.
pub fn round(w: &Wide, f: &Format, prec: u32, rc: Rc, unmasked: u16) -> Rounded {
    let exp = w.exp + f.bias;
    let (sig, carry, inexact, up) = round_sig(w.sig, prec, w.neg, rc);
    let exact_flags = |inexact, up| if inexact { PE } else { 0 } | if up { C1 } else { 0 };
    let normal = exp + i32::from(carry);
    if normal <= 0 {
        if unmasked & UE != 0 {
            let exp = normal + f.wrap;
            if exp <= 0 {
                // Too small even so (only fscale gets here).
                return Rounded { exp: 0, sig: 0, flags: UE | PE, tiny: true };
            }
            return Rounded { exp, sig, flags: UE | exact_flags(inexact, up), tiny: true };
        }
        let (sig, _, inexact, up) = round_sig(shift_right_jam(w.sig, (1 - exp) as u32), prec, w.neg, rc);
        let flags = exact_flags(inexact, up) | if inexact { UE } else { 0 };
        return Rounded { exp: (sig >> 63) as i32, sig, flags, tiny: true };
    }
    if normal >= f.max_exp {
        if unmasked & OE != 0 {
            let exp = normal - f.wrap;
            if exp >= f.max_exp {
                return Rounded { exp: f.max_exp, sig: 1 << 63, flags: OE | PE | C1, tiny: false };
            }
            return Rounded { exp, sig, flags: OE | exact_flags(inexact, up), tiny: false };
        }
        let to_inf = match rc {
            Rc::Nearest => true,
            Rc::Down => w.neg,
            Rc::Up => !w.neg,
            Rc::Zero => false,
        };
        return if to_inf {
            Rounded { exp: f.max_exp, sig: 1 << 63, flags: OE | PE | C1, tiny: false }
        } else {
            Rounded { exp: f.max_exp - 1, sig: u64::MAX << (64 - prec), flags: OE | PE, tiny: false }
        };
    }
    Rounded { exp: normal, sig, flags: exact_flags(inexact, up), tiny: false }
}

/// Packs a rounded result into an IEEE 754 format with an implicit leading bit.
pub fn pack(r: &Rounded, f: &Format, neg: bool) -> u64 {
    let frac_bits = f.prec - 1;
    let frac = (r.sig << 1 >> 1) >> (64 - f.prec);
    let exp_bits = if f.prec == 24 { 8 } else { 11 };
    u64::from(neg) << (frac_bits + exp_bits) | (r.exp as u64) << frac_bits | frac
}
