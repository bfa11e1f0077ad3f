//! The transcendental instructions: 128-bit series, so that results are within a hair of half a unit in the last place.
//!
//! Arguments of the trigonometric instructions are reduced with the 66-bit approximation of Pi (SDM volume 1, section 8.3.8). Precision
//! control does not apply. For arguments out of range, where the SDM leaves results undefined, AMD processors are followed: `f2xm1` of |x| > 1 and `fyl2xp1`
//! of x <= -1 give x.

use crate::f80::{Ctx, Ext};
use crate::num::{Class, F80, Num, PE, UE, Wide, ZE};

/// ln 2.
const LN2: Wide = Wide { neg: false, exp: -1, sig: 0xb17217f7_d1cf79ab_c9e3b398_03f2f6af };
/// 2 / ln 2.
const LOG2_E_2: Wide = Wide { neg: false, exp: 1, sig: 0xb8aa3b29_5c17f0bb_be87fed0_691d3e89 };
/// Pi.
const PI: Wide = Wide { neg: false, exp: 1, sig: 0xc90fdaa2_2168c234_c4c6628b_80dc1cd1 };
/// Pi / 2.
const PI_2: Wide = Wide { neg: false, exp: 0, sig: 0xc90fdaa2_2168c234_c4c6628b_80dc1cd1 };
/// Pi / 4.
const PI_4: Wide = Wide { neg: false, exp: -1, sig: 0xc90fdaa2_2168c234_c4c6628b_80dc1cd1 };
/// 3 Pi / 4.
const PI_3_4: Wide = Wide { neg: false, exp: 1, sig: 0x96cbe3f9_990e91a7_9394c9e8_a0a5159d };
/// atan(k / 8) for k = 1..=8.
const ATAN: [Wide; 8] = [
    Wide { neg: false, exp: -4, sig: 0xfeadd4d5_617b6e32_c897989f_3e888ef8 },
    Wide { neg: false, exp: -3, sig: 0xfadbafc9_6406eb15_6dc79ef5_f7a217e6 },
    Wide { neg: false, exp: -2, sig: 0xb7b0ca0f_26f78473_8aa32122_dcfe4483 },
    Wide { neg: false, exp: -2, sig: 0xed63382b_0dda7b45_6fe445ec_bc3a8d03 },
    Wide { neg: false, exp: -1, sig: 0x8f005d5e_f7f59f9b_5c835e16_65c43748 },
    Wide { neg: false, exp: -1, sig: 0xa4bc7d19_34f70924_19a87f2a_457dac9f },
    Wide { neg: false, exp: -1, sig: 0xb8053e2b_c2319e73_cb2da552_10a4443d },
    Wide { neg: false, exp: -1, sig: 0xc90fdaa2_2168c234_c4c6628b_80dc1cd1 },
];

/// The 66-bit Pi / 2, times 2^67.
const PI66: u128 = 0xc_90fd_aa22_168c_234c;

const ONE: Wide = Wide { neg: false, exp: 0, sig: 1 << 127 };
const ZERO: Wide = Wide { neg: false, exp: 0, sig: 0 };

// ---- 128-bit reals. Results are truncated: relative errors stay below 2^-125 an operation. ----------------------------------

fn negate(a: Wide) -> Wide {
    Wide { neg: !a.neg, ..a }
}

fn signed(neg: bool, a: Wide) -> Wide {
    Wide { neg, ..a }
}

fn sub(a: Wide, b: Wide) -> Wide {
    Wide::add(a, negate(b))
}

fn mul(a: Wide, b: Wide) -> Wide {
    let mask = u128::from(u64::MAX);
    let (ah, al, bh, bl) = (a.sig >> 64, a.sig & mask, b.sig >> 64, b.sig & mask);
    let (hl, lh) = (ah * bl, al * bh);
    let mid = ((al * bl) >> 64) + (hl & mask) + (lh & mask);
    let high = ah * bh + (hl >> 64) + (lh >> 64) + (mid >> 64);
    Wide::normal(a.neg != b.neg, a.exp + b.exp + 1, high)
}

/// Quotient of two non-zero numbers, bit by bit.
fn div(a: Wide, b: Wide) -> Wide {
    let (mut r, mut q) = (a.sig, 0u128);
    for i in 0..128 {
        let carry = i > 0 && r >> 127 == 1;
        if i > 0 {
            r <<= 1;
            q <<= 1;
        }
        if carry || r >= b.sig {
            r = r.wrapping_sub(b.sig);
            q |= 1;
        }
    }
    Wide::normal(a.neg != b.neg, a.exp - b.exp, q)
}

fn div_small(a: Wide, n: u32) -> Wide {
    Wide::normal(a.neg, a.exp, a.sig / u128::from(n))
}

/// Sums `first` and what `next(term, k)`, k = 1, 2, .. makes of the term before, until terms no longer matter. `scale` gives the
/// share of the k-th term that is summed.
fn series(first: Wide, next: impl Fn(Wide, u32) -> Wide, scale: impl Fn(Wide, u32) -> Wide) -> Wide {
    let (mut sum, mut term) = (first, first);
    for k in 1..100 {
        term = next(term, k);
        if term.sig == 0 || term.exp < sum.exp - 130 {
            // Not zero, so that the sum rounds to the right side.
            return Wide::add(sum, scale(term, k));
        }
        sum = Wide::add(sum, scale(term, k));
    }
    sum
}

/// e^t - 1 for |t| < 1.
fn expm1(t: Wide) -> Wide {
    series(t, |term, k| div_small(mul(term, t), k + 1), |term, _| term)
}

/// atanh(s) (`alternate` false) or atan(s) for small s.
fn arc(s: Wide, alternate: bool) -> Wide {
    let square = signed(alternate, mul(s, s));
    series(s, |term, _| mul(term, square), |term, k| div_small(term, 2 * k + 1))
}

fn sin_small(r: Wide) -> Wide {
    let square = signed(true, mul(r, r));
    series(r, |term, k| div_small(mul(term, square), 2 * k * (2 * k + 1)), |term, _| term)
}

fn cos_small(r: Wide) -> Wide {
    let square = signed(true, mul(r, r));
    series(ONE, |term, k| div_small(mul(term, square), (2 * k - 1) * 2 * k), |term, _| term)
}

/// log2 of a positive finite number; exact when it is a power of two.
fn log2(x: Wide) -> Wide {
    // x = 2^k * m with m between sqrt(1/2) and sqrt(2).
    const SQRT2: u128 = 0xb504f333_f9de6484_597d89b3_754abe9f;
    let up = i32::from(x.sig > SQRT2);
    let (k, m) = (x.exp + up, Wide { exp: -up, ..x });
    let whole = Num::from_i64(k.into()).wide();
    if m == ONE {
        return whole;
    }
    Wide::add(whole, mul(LOG2_E_2, arc(div(sub(m, ONE), Wide::add(m, ONE)), false)))
}

/// log2(1 + x) for x > -1, x not 0.
fn log2p1(x: Wide) -> Wide {
    if x.exp < -1 {
        let two = ONE.shifted(1);
        return mul(LOG2_E_2, arc(div(x, Wide::add(two, x)), false));
    }
    log2(Wide::add(ONE, x))
}

/// atan(y / x) for positive y <= x.
fn atan_ratio(y: Wide, x: Wide) -> Wide {
    let t = div(y, x);
    // The nearest k/8.
    let k = if t.exp >= -4 { ((t.sig >> (123 - t.exp)) as usize + 1) >> 1 } else { 0 };
    let Some(&base) = ATAN.get(k.wrapping_sub(1)) else {
        return arc(t, true);
    };
    let c = Num::from_mag(false, k as u64).wide().shifted(-3);
    let num = sub(y, mul(x, c));
    if num.sig == 0 {
        return base;
    }
    Wide::add(base, arc(div(num, Wide::add(x, mul(y, c))), true))
}

// ---- instructions ---------------------------------------------------------------------------------------------

/// Rounds a result that is not exact.
fn inexact(ctx: &mut Ctx, w: Wide) -> Ext {
    ctx.flags |= PE;
    ctx.round_to(Wide { sig: w.sig | 1, ..w }, F80.prec)
}

/// The argument modulo Pi / 2: (remainder between -Pi/4 and Pi/4, low bits of the quotient), for |x| < 2^63, sign ignored.
fn reduce(x: &Num) -> (Wide, u64) {
    if x.exp < -1 {
        return (signed(false, x.wide()), 0);
    }
    let (mut r, mut q, mut left) = (u128::from(x.sig), 0u64, (x.exp + 4) as u32);
    while left > 0 {
        let step = left.min(56);
        r <<= step;
        q = q << step | (r / PI66) as u64;
        r %= PI66;
        left -= step;
    }
    let fold = 2 * r > PI66;
    if fold {
        r = PI66 - r;
        q = q.wrapping_add(1);
    }
    (Wide::normal(fold, 60, r), q)
}

/// (sin x, cos x) of a finite number that is not zero.
fn sin_cos(x: &Num) -> (Wide, Wide) {
    let (r, q) = reduce(x);
    let (s, c) = (sin_small(r), cos_small(r));
    let (s, c) = match q & 3 {
        0 => (s, c),
        1 => (c, negate(s)),
        2 => (negate(s), negate(c)),
        _ => (negate(c), s),
    };
    (signed(s.neg != x.neg, s), c)
}

/// NaN, infinity (invalid) and zero (`zero`): the result; otherwise notes a denormal.
fn special<T>(ctx: &mut Ctx, x: &Num, both: fn(Ext) -> T, zero: fn(bool) -> T) -> Option<T> {
    if let Some(r) = ctx.special1(x) {
        return Some(both(r));
    }
    match x.class {
        Class::Inf => Some(both(ctx.invalid())),
        Class::Zero => Some(zero(x.neg)),
        _ => {
            ctx.denormals(x, x);
            None
        }
    }
}

pub fn fsin(ctx: &mut Ctx, _: Ext, x: &Num) -> Ext {
    if let Some(r) = special(ctx, x, |r| r, Ext::zero) {
        return r;
    }
    inexact(ctx, sin_cos(x).0)
}

pub fn fcos(ctx: &mut Ctx, _: Ext, x: &Num) -> Ext {
    if let Some(r) = special(ctx, x, |r| r, |_| Ext::ONE) {
        return r;
    }
    inexact(ctx, sin_cos(x).1)
}

/// (sine, cosine).
pub fn fsincos(ctx: &mut Ctx, _: Ext, x: &Num) -> (Ext, Ext) {
    if let Some(r) = special(ctx, x, |r| (r, r), |neg| (Ext::zero(neg), Ext::ONE)) {
        return r;
    }
    let (s, c) = sin_cos(x);
    (inexact(ctx, s), inexact(ctx, c))
}

/// (tangent, 1).
pub fn fptan(ctx: &mut Ctx, _: Ext, x: &Num) -> (Ext, Ext) {
    if let Some(r) = special(ctx, x, |r| (r, r), |neg| (Ext::zero(neg), Ext::ONE)) {
        return r;
    }
    let (s, c) = sin_cos(x);
    (inexact(ctx, div(s, c)), Ext::ONE)
}

pub fn f2xm1(ctx: &mut Ctx, _: Ext, x: &Num) -> Ext {
    if let Some(r) = ctx.special1(x) {
        return r;
    }
    ctx.denormals(x, x);
    match x.class {
        Class::Zero => return Ext::zero(x.neg),
        Class::Inf => return if x.neg { Ext::new(true, 0x3fff, 1 << 63) } else { Ext::inf(false) },
        _ => {}
    }
    if x.exp >= 0 {
        // 2^1 - 1 and 2^-1 - 1; beyond them the operand comes back. AMD processors call all of that inexact.
        ctx.flags |= PE;
        let is_minus_one = x.neg && x.exp == 0 && x.sig == 1 << 63;
        return if is_minus_one { Ext::new(true, 0x3ffe, 1 << 63) } else { Ext::exact(x) };
    }
    inexact(ctx, expm1(mul(x.wide(), LN2)))
}

/// y * log2(x).
pub fn fyl2x(ctx: &mut Ctx, x: &Num, y: &Num) -> Ext {
    if let Some(r) = ctx.special2(x, y) {
        return r;
    }
    if x.neg && x.class != Class::Zero {
        return ctx.invalid();
    }
    if x.class == Class::Zero {
        return match y.class {
            Class::Zero => ctx.invalid(),
            Class::Inf => Ext::inf(!y.neg),
            _ => {
                ctx.flags |= ZE;
                Ext::inf(!y.neg)
            }
        };
    }
    let log = if x.class == Class::Inf { ONE } else { log2(x.wide()) };
    times_log(ctx, x, y, log)
}

/// y * log2(x + 1).
pub fn fyl2xp1(ctx: &mut Ctx, x: &Num, y: &Num) -> Ext {
    if let Some(r) = ctx.special2(x, y) {
        return r;
    }
    if x.neg && x.class == Class::Inf {
        return ctx.invalid();
    }
    let out_of_range = x.neg && x.class == Class::Finite && x.exp >= 0;
    if out_of_range && y.class == Class::Finite {
        ctx.denormals(x, y);
        ctx.flags |= PE;
        return Ext::exact(x);
    }
    let log = match x.class {
        Class::Zero => signed(x.neg, ZERO),
        Class::Inf => ONE,
        _ if out_of_range => negate(ONE),
        _ => log2p1(x.wide()),
    };
    times_log(ctx, x, y, log)
}

/// y * log, where `log` (any non-zero number for infinity) is the logarithm belonging to x.
fn times_log(ctx: &mut Ctx, x: &Num, y: &Num, log: Wide) -> Ext {
    let neg = y.neg != log.neg;
    let infinite = x.class == Class::Inf || y.class == Class::Inf;
    if infinite && (y.class == Class::Zero || log.sig == 0) {
        return ctx.invalid();
    }
    ctx.denormals(x, y);
    if infinite {
        return Ext::inf(neg);
    }
    if y.class == Class::Zero || log.sig == 0 {
        return Ext::zero(neg);
    }
    let product = mul(y.wide(), log);
    if log.sig << 64 != 0 {
        return inexact(ctx, product);
    }
    // A logarithm of few bits is an integer, and the product exact: no sticky bit. AMD processors call it inexact all the same.
    let r = ctx.round_to(product, F80.prec);
    ctx.flags |= if r.num().denormal { UE | PE } else { PE };
    r
}

/// atan2(y, x).
pub fn fpatan(ctx: &mut Ctx, x: &Num, y: &Num) -> Ext {
    if let Some(r) = ctx.special2(x, y) {
        return r;
    }
    ctx.denormals(x, y);
    let angle = match (y.class, x.class) {
        (Class::Zero, _) | (Class::Finite, Class::Inf) if !x.neg => return Ext::zero(y.neg),
        (Class::Zero, _) | (Class::Finite, Class::Inf) => PI,
        (Class::Inf, Class::Inf) => {
            if x.neg {
                PI_3_4
            } else {
                PI_4
            }
        }
        (Class::Inf, _) | (_, Class::Zero) => PI_2,
        _ => {
            let (a, b) = (signed(false, y.wide()), signed(false, x.wide()));
            let acute = if (a.exp, a.sig) <= (b.exp, b.sig) { atan_ratio(a, b) } else { sub(PI_2, atan_ratio(b, a)) };
            if x.neg { sub(PI, acute) } else { acute }
        }
    };
    inexact(ctx, signed(y.neg, angle))
}
