//! Scalar SSE arithmetic with an explicit MXCSR: the slow path for NaN results and for an MXCSR other than the default.
//!
//! Operands and results are bit patterns. Every function takes `mxcsr`, honours its rounding mode, DAZ and FTZ, and sets its sticky
//! exception flags. Masks matter only for what the SDM (volume 1, section 11.5) makes them matter for, such as which flags are set after
//! an unmasked pre-computation exception and whether FTZ applies; raising #XM, and then not storing the result, is the caller's part: see [`unmasked`].
//!
//! Binary operations are `dst op src`: when both are NaN, the first one (`a`, the destination) wins.

use std::cmp::Ordering;

use crate::f80::order;
use crate::num::*;

/// MXCSR after reset: all exceptions masked, round to nearest.
pub const MXCSR_DEFAULT: u32 = 0x1f80;
/// MXCSR bit: denormals are zeros.
pub const DAZ: u32 = 0x40;
/// MXCSR bit: flush to zero.
pub const FTZ: u32 = 0x8000;

/// The exception flags in `mxcsr` that are set and not masked: non-zero asks for #XM when the flags were clear before the operation.
pub const fn unmasked(mxcsr: u32) -> u32 {
    mxcsr & 0x3f & !(mxcsr >> 7)
}

/// One operation: format, MXCSR, and the flags met so far.
struct Op<'a> {
    fmt: &'static Format,
    mxcsr: &'a mut u32,
    flags: u16,
}

impl Op<'_> {
    fn new<'a>(fmt: &'static Format, mxcsr: &'a mut u32) -> Op<'a> {
        Op { fmt, mxcsr, flags: 0 }
    }

    fn rc(&self) -> Rc {
        Rc::from_bits(*self.mxcsr >> 13)
    }

    fn masked(&self, flag: u16) -> bool {
        *self.mxcsr >> 7 & u32::from(flag) != 0
    }

    fn sign_bit(&self) -> u64 {
        if self.fmt.prec == 24 { 1 << 31 } else { 1 << 63 }
    }

    fn quiet_bit(&self) -> u64 {
        1 << (self.fmt.prec - 2)
    }

    fn inf(&self, neg: bool) -> u64 {
        pack(&Rounded { exp: self.fmt.max_exp, sig: 1 << 63, flags: 0, tiny: false }, self.fmt, neg)
    }

    fn zero(&self, neg: bool) -> u64 {
        if neg { self.sign_bit() } else { 0 }
    }

    fn indefinite(&mut self) -> u64 {
        self.flags |= IE;
        self.inf(true) | self.quiet_bit()
    }

    /// Unpacks an operand; DAZ makes a zero of a denormal one.
    fn num(&self, bits: u64) -> Num {
        let n = if self.fmt.prec == 24 { Num::from_f32(bits as u32) } else { Num::from_f64(bits) };
        if n.denormal && *self.mxcsr & DAZ != 0 { Num::zero(n.neg) } else { n }
    }

    /// The result when one of the operands is NaN.
    fn nan(&mut self, ops: &[(u64, &Num)]) -> Option<u64> {
        if ops.iter().any(|(_, n)| n.class == Class::SNan) {
            self.flags |= IE;
        }
        ops.iter().find(|(_, n)| n.is_nan()).map(|(bits, _)| bits | self.quiet_bit())
    }

    fn denormals(&mut self, ops: &[&Num]) {
        if ops.iter().any(|n| n.denormal) {
            self.flags |= DE;
        }
    }

    fn round(&mut self, w: &Wide) -> u64 {
        self.round_to(w, self.fmt)
    }

    fn round_to(&mut self, w: &Wide, fmt: &Format) -> u64 {
        let mut r = round(w, fmt, fmt.prec, self.rc(), 0);
        if r.tiny && self.masked(UE) && *self.mxcsr & FTZ != 0 {
            self.flags |= UE | PE;
            return pack(&Rounded { exp: 0, sig: 0, flags: 0, tiny: true }, fmt, w.neg);
        }
        if r.tiny && !self.masked(UE) {
            r.flags |= UE;
        }
        self.flags |= r.flags & !C1;
        pack(&r, fmt, w.neg)
    }

    /// Sets the sticky flags: only those met before computing when one of them is not masked.
    fn done<T>(self, result: T) -> T {
        let before = self.flags & (IE | DE | ZE);
        let all = u32::from(before) & !(*self.mxcsr >> 7) == 0;
        *self.mxcsr |= u32::from(if all { self.flags } else { before });
        result
    }

    fn add(mut self, a: u64, b: u64, subtract: bool) -> u64 {
        let (x, y) = (self.num(a), self.num(b));
        if let Some(r) = self.nan(&[(a, &x), (b, &y)]) {
            return self.done(r);
        }
        let y = Num { neg: y.neg != subtract, ..y };
        if x.class == Class::Inf && y.class == Class::Inf && x.neg != y.neg {
            let r = self.indefinite();
            return self.done(r);
        }
        self.denormals(&[&x, &y]);
        let r = match (x.class, y.class) {
            (Class::Inf, _) => self.inf(x.neg),
            (_, Class::Inf) => self.inf(y.neg),
            (Class::Zero, Class::Zero) if x.neg == y.neg => self.zero(x.neg),
            _ => {
                let w = Wide::add(x.wide(), y.wide());
                if w.sig == 0 { self.zero(self.rc() == Rc::Down) } else { self.round(&w) }
            }
        };
        self.done(r)
    }

    fn mul(mut self, a: u64, b: u64) -> u64 {
        let (x, y) = (self.num(a), self.num(b));
        if let Some(r) = self.nan(&[(a, &x), (b, &y)]) {
            return self.done(r);
        }
        let neg = x.neg != y.neg;
        let has = |c| x.class == c || y.class == c;
        if has(Class::Inf) && has(Class::Zero) {
            let r = self.indefinite();
            return self.done(r);
        }
        self.denormals(&[&x, &y]);
        let r = if has(Class::Inf) {
            self.inf(neg)
        } else if has(Class::Zero) {
            self.zero(neg)
        } else {
            self.round(&Wide::mul(&x, &y))
        };
        self.done(r)
    }

    fn div(mut self, a: u64, b: u64) -> u64 {
        let (x, y) = (self.num(a), self.num(b));
        if let Some(r) = self.nan(&[(a, &x), (b, &y)]) {
            return self.done(r);
        }
        let neg = x.neg != y.neg;
        if x.class == y.class && x.class != Class::Finite {
            let r = self.indefinite();
            return self.done(r);
        }
        if x.class == Class::Finite && y.class == Class::Zero {
            self.flags |= ZE;
            let r = self.inf(neg);
            return self.done(r);
        }
        self.denormals(&[&x, &y]);
        let r = match (x.class, y.class) {
            (Class::Inf, _) => self.inf(neg),
            (_, Class::Inf) | (Class::Zero, _) => self.zero(neg),
            _ => self.round(&Wide::div(&x, &y)),
        };
        self.done(r)
    }

    fn sqrt(mut self, a: u64) -> u64 {
        let x = self.num(a);
        if let Some(r) = self.nan(&[(a, &x)]) {
            return self.done(r);
        }
        let r = match x.class {
            Class::Zero => self.zero(x.neg),
            _ if x.neg => self.indefinite(),
            Class::Inf => self.inf(false),
            _ => {
                self.denormals(&[&x]);
                self.round(&Wide::sqrt(&x))
            }
        };
        self.done(r)
    }

    /// `a` when `wanted(a, b)`, else `b` (also when one is NaN or both are zero).
    fn choose(mut self, a: u64, b: u64, wanted: Ordering) -> u64 {
        let (x, y) = (self.num(a), self.num(b));
        // DAZ makes a zero of the result as well.
        let bits = |op: &Self, bits, n: &Num| if n.class == Class::Zero { op.zero(n.neg) } else { bits };
        if x.is_nan() || y.is_nan() {
            self.flags |= IE;
            let r = bits(&self, b, &y);
            return self.done(r);
        }
        self.denormals(&[&x, &y]);
        let r = if order(&x, &y) == wanted { bits(&self, a, &x) } else { bits(&self, b, &y) };
        self.done(r)
    }

    /// Order, `None` when unordered; `quiet` NaNs raise no exception.
    fn compare(mut self, a: u64, b: u64, quiet: bool) -> Option<Ordering> {
        let (x, y) = (self.num(a), self.num(b));
        if x.is_nan() || y.is_nan() {
            if !quiet || x.class == Class::SNan || y.class == Class::SNan {
                self.flags |= IE;
            }
            return self.done(None);
        }
        self.denormals(&[&x, &y]);
        self.done(Some(order(&x, &y)))
    }

    fn integer(mut self, a: u64, bits: u32, truncate: bool) -> i64 {
        let x = self.num(a);
        let rc = if truncate { Rc::Zero } else { self.rc() };
        let limit = 1u64 << (bits - 1);
        let rounded = if matches!(x.class, Class::Zero | Class::Finite) { x.to_integer(rc) } else { None };
        let r = match rounded {
            Some((mag, inexact, _)) if mag < limit || mag == limit && x.neg => {
                self.flags |= if inexact { PE } else { 0 };
                if x.neg { (mag as i64).wrapping_neg() } else { mag as i64 }
            }
            _ => {
                self.flags |= IE;
                i64::MIN >> (64 - bits)
            }
        };
        self.done(r)
    }

    fn convert_int(mut self, n: i64) -> u64 {
        let n = Num::from_i64(n);
        let r = if n.class == Class::Zero { 0 } else { self.round(&n.wide()) };
        self.done(r)
    }

    fn round_int(mut self, a: u64, imm: u8) -> u64 {
        let x = self.num(a);
        if let Some(r) = self.nan(&[(a, &x)]) {
            return self.done(r);
        }
        let rc = if imm & 4 != 0 { self.rc() } else { Rc::from_bits(imm.into()) };
        let r = match (x.class, x.to_integer(rc)) {
            (Class::Zero, _) => self.zero(x.neg),
            (Class::Finite, Some((mag, inexact, _))) => {
                if inexact && imm & 8 == 0 {
                    self.flags |= PE;
                }
                if mag == 0 {
                    self.zero(x.neg)
                } else {
                    let w = Num::from_mag(x.neg, mag).wide();
                    pack(&round(&w, self.fmt, self.fmt.prec, rc, 0), self.fmt, x.neg)
                }
            }
            _ => a,
        };
        self.done(r)
    }

    /// Conversion to the other format.
    fn convert(mut self, a: u64, to: &'static Format) -> u64 {
        let x = self.num(a);
        let r = match x.class {
            Class::Zero => pack(&Rounded { exp: 0, sig: 0, flags: 0, tiny: false }, to, x.neg),
            Class::Finite => {
                self.denormals(&[&x]);
                self.round_to(&x.wide(), to)
            }
            _ => {
                self.nan(&[(a, &x)]);
                let sig = if x.is_nan() { x.sig | 1 << 62 } else { 1 << 63 };
                pack(&Rounded { exp: to.max_exp, sig, flags: 0, tiny: false }, to, x.neg)
            }
        };
        self.done(r)
    }
}

macro_rules! formats {
    ($bits:ty, $fmt:ident, $add:ident, $sub:ident, $mul:ident, $div:ident, $sqrt:ident, $min:ident, $max:ident, $cmp:ident, $comi:ident,
     $ucomi:ident, $to32:ident, $to32t:ident, $to64:ident, $to64t:ident, $from32:ident, $from64:ident, $round:ident, $t:literal) => {
        #[doc = concat!("`a + b` (", $t, ").")]
        pub fn $add(a: $bits, b: $bits, mxcsr: &mut u32) -> $bits {
            Op::new(&$fmt, mxcsr).add(a.into(), b.into(), false) as $bits
        }
        #[doc = concat!("`a - b` (", $t, ").")]
        pub fn $sub(a: $bits, b: $bits, mxcsr: &mut u32) -> $bits {
            Op::new(&$fmt, mxcsr).add(a.into(), b.into(), true) as $bits
        }
        #[doc = concat!("`a * b` (", $t, ").")]
        pub fn $mul(a: $bits, b: $bits, mxcsr: &mut u32) -> $bits {
            Op::new(&$fmt, mxcsr).mul(a.into(), b.into()) as $bits
        }
        #[doc = concat!("`a / b` (", $t, ").")]
        pub fn $div(a: $bits, b: $bits, mxcsr: &mut u32) -> $bits {
            Op::new(&$fmt, mxcsr).div(a.into(), b.into()) as $bits
        }
        #[doc = concat!("Square root of `a` (", $t, ").")]
        pub fn $sqrt(a: $bits, mxcsr: &mut u32) -> $bits {
            Op::new(&$fmt, mxcsr).sqrt(a.into()) as $bits
        }
        #[doc = concat!("`min` as `minss`/`minsd`: `b` unless `a < b` (", $t, ").")]
        pub fn $min(a: $bits, b: $bits, mxcsr: &mut u32) -> $bits {
            Op::new(&$fmt, mxcsr).choose(a.into(), b.into(), Ordering::Less) as $bits
        }
        #[doc = concat!("`max` as `maxss`/`maxsd`: `b` unless `a > b` (", $t, ").")]
        pub fn $max(a: $bits, b: $bits, mxcsr: &mut u32) -> $bits {
            Op::new(&$fmt, mxcsr).choose(a.into(), b.into(), Ordering::Greater) as $bits
        }
        #[doc = concat!("`cmpss`/`cmpsd` with predicate `imm & 7`: true is the all-ones mask (", $t, ").")]
        pub fn $cmp(a: $bits, b: $bits, imm: u8, mxcsr: &mut u32) -> bool {
            let signalling = matches!(imm & 3, 1 | 2);
            predicate(imm, Op::new(&$fmt, mxcsr).compare(a.into(), b.into(), !signalling))
        }
        #[doc = concat!("`comiss`/`comisd`: ZF (0x40), PF (4), CF (1) of rflags (", $t, ").")]
        pub fn $comi(a: $bits, b: $bits, mxcsr: &mut u32) -> u32 {
            rflags(Op::new(&$fmt, mxcsr).compare(a.into(), b.into(), false))
        }
        #[doc = concat!("`ucomiss`/`ucomisd`: ZF (0x40), PF (4), CF (1) of rflags (", $t, ").")]
        pub fn $ucomi(a: $bits, b: $bits, mxcsr: &mut u32) -> u32 {
            rflags(Op::new(&$fmt, mxcsr).compare(a.into(), b.into(), true))
        }
        #[doc = concat!("To i32, rounded by MXCSR; `i32::MIN` when it does not fit (", $t, ").")]
        pub fn $to32(a: $bits, mxcsr: &mut u32) -> i32 {
            Op::new(&$fmt, mxcsr).integer(a.into(), 32, false) as i32
        }
        #[doc = concat!("To i32, truncated; `i32::MIN` when it does not fit (", $t, ").")]
        pub fn $to32t(a: $bits, mxcsr: &mut u32) -> i32 {
            Op::new(&$fmt, mxcsr).integer(a.into(), 32, true) as i32
        }
        #[doc = concat!("To i64, rounded by MXCSR; `i64::MIN` when it does not fit (", $t, ").")]
        pub fn $to64(a: $bits, mxcsr: &mut u32) -> i64 {
            Op::new(&$fmt, mxcsr).integer(a.into(), 64, false)
        }
        #[doc = concat!("To i64, truncated; `i64::MIN` when it does not fit (", $t, ").")]
        pub fn $to64t(a: $bits, mxcsr: &mut u32) -> i64 {
            Op::new(&$fmt, mxcsr).integer(a.into(), 64, true)
        }
        #[doc = concat!("From i32 (", $t, ").")]
        pub fn $from32(n: i32, mxcsr: &mut u32) -> $bits {
            Op::new(&$fmt, mxcsr).convert_int(n.into()) as $bits
        }
        #[doc = concat!("From i64 (", $t, ").")]
        pub fn $from64(n: i64, mxcsr: &mut u32) -> $bits {
            Op::new(&$fmt, mxcsr).convert_int(n) as $bits
        }
        #[doc = concat!("`roundss`/`roundsd` with immediate `imm` (bits 0..=1 mode, 2 use MXCSR, 3 suppress PE) (", $t, ").")]
        pub fn $round(a: $bits, imm: u8, mxcsr: &mut u32) -> $bits {
            Op::new(&$fmt, mxcsr).round_int(a.into(), imm) as $bits
        }
    };
}

formats!(
    u32,
    F32,
    addf32,
    subf32,
    mulf32,
    divf32,
    sqrtf32,
    minf32,
    maxf32,
    cmpf32,
    comif32,
    ucomif32,
    f32_to_i32,
    f32_to_i32_trunc,
    f32_to_i64,
    f32_to_i64_trunc,
    i32_to_f32,
    i64_to_f32,
    roundf32,
    "f32"
);
formats!(
    u64,
    F64,
    addf64,
    subf64,
    mulf64,
    divf64,
    sqrtf64,
    minf64,
    maxf64,
    cmpf64,
    comif64,
    ucomif64,
    f64_to_i32,
    f64_to_i32_trunc,
    f64_to_i64,
    f64_to_i64_trunc,
    i32_to_f64,
    i64_to_f64,
    roundf64,
    "f64"
);

/// `cvtss2sd`.
pub fn f32_to_f64(a: u32, mxcsr: &mut u32) -> u64 {
    Op::new(&F32, mxcsr).convert(a.into(), &F64)
}

/// `cvtsd2ss`.
pub fn f64_to_f32(a: u64, mxcsr: &mut u32) -> u32 {
    Op::new(&F64, mxcsr).convert(a, &F32) as u32
}

fn predicate(imm: u8, order: Option<Ordering>) -> bool {
    let r = match imm & 3 {
        0 => order == Some(Ordering::Equal),
        1 => order == Some(Ordering::Less),
        2 => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        _ => order.is_none(),
    };
    r != (imm & 4 != 0)
}

fn rflags(order: Option<Ordering>) -> u32 {
    match order {
        Some(Ordering::Greater) => 0,
        Some(Ordering::Less) => 1,
        Some(Ordering::Equal) => 0x40,
        None => 0x45,
    }
}

/// `rcpss`/`rcpps`: 1/a to within 2^-13 (the SDM allows 1.5 * 2^-12). Denormal operands and results are zeros; no flags, no rounding mode.
pub fn rcpf32(a: u32) -> u32 {
    let n = Num::from_f32(a);
    match n.class {
        Class::Inf => a & 1 << 31,
        Class::Finite if !n.denormal => {
            // 1/sig in [2^14, 2^15] is rounded to 14 bits or so.
            let q = ((1u128 << 78) / u128::from(n.sig) + 1) >> 1;
            approximation(n.neg, q as u64, -n.exp - 14)
        }
        Class::Finite | Class::Zero => a & 1 << 31 | 0x7f80_0000,
        _ => a | 1 << 22,
    }
}

/// `rsqrtss`/`rsqrtps`: 1/sqrt(a) to within 2^-13 (the SDM allows 1.5 * 2^-12). Denormal operands are zeros; no flags, no rounding mode.
pub fn rsqrtf32(a: u32) -> u32 {
    let n = Num::from_f32(a);
    match n.class {
        Class::QNan | Class::SNan => a | 1 << 22,
        Class::Zero => a | 0x7f80_0000,
        Class::Finite if n.denormal => a & 1 << 31 | 0x7f80_0000,
        _ if n.neg => 0xffc0_0000,
        Class::Inf => 0,
        _ => {
            // a = m * 2^(2k), m in [1, 4): 2^28/m has the square root 2^14/sqrt(m).
            let odd = n.exp & 1;
            let m = u128::from(n.sig) << odd;
            let r = ((1u128 << 95) / m).isqrt() as u64;
            approximation(false, r, -(n.exp - odd) / 2 - 16)
        }
    }
}

/// `mag * 2^exp` rounded to f32, tiny results flushed to zero.
fn approximation(neg: bool, mag: u64, exp: i32) -> u32 {
    let w = Num::from_mag(neg, mag).wide().shifted(exp);
    let r = round(&w, &F32, 24, Rc::Zero, 0);
    if r.tiny { u32::from(neg) << 31 } else { pack(&r, &F32, neg) as u32 }
}
