//! SSE scalar arithmetic against the host CPU.

use crate::gen_state::Rng;
use crate::rounds;
use megalith_fpu::sse::*;
use std::arch::asm;

/// Operands in, MXCSR in and out, result out.
type Run = fn(u64, u64, &mut u32) -> u64;

/// Types of the operands, and of a result in xmm0.
#[derive(Clone, Copy)]
enum Kind {
    F32,
    F64,
    IntToF32,
    IntToF64,
    F32ToF64,
    F64ToF32,
}

struct Case {
    insn: &'static str,
    kind: Kind,
    /// Bits of the result that count.
    mask: u64,
    host: Run,
    soft: Run,
}

/// One instruction on the host: operands in xmm0 (and rax) and xmm1, then `$finish` to get the result into rax.
macro_rules! case {
    ($insn:literal, $finish:literal, $kind:ident, $mask:expr, $soft:expr) => {{
        fn host(a: u64, b: u64, mxcsr: &mut u32) -> u64 {
            let (mut r, mut saved) = (a, 0u32);
            // SAFETY: MXCSR (all exceptions masked) is restored; only declared registers, locals and the stack below are touched.
            unsafe {
                asm!(
                    "stmxcsr [{saved}]", "ldmxcsr [{mxcsr}]", "movq xmm0, rax", "movq xmm1, {b}",
                    $insn, $finish,
                    "stmxcsr [{mxcsr}]", "ldmxcsr [{saved}]",
                    saved = in(reg) &raw mut saved, mxcsr = in(reg) mxcsr, b = in(reg) b, inout("rax") r,
                    out("xmm0") _, out("xmm1") _,
                );
            }
            r
        }
        Case { insn: $insn, kind: Kind::$kind, mask: $mask, host, soft: $soft }
    }};
}

/// The result is in xmm0.
macro_rules! xmm {
    ($insn:literal, $kind:ident, $soft:expr) => {
        case!($insn, "movq rax, xmm0", $kind, result_mask(Kind::$kind), $soft)
    };
}

/// The result is in rax.
macro_rules! gpr {
    ($insn:literal, $kind:ident, $soft:expr) => {
        case!($insn, "", $kind, u64::MAX, $soft)
    };
}

/// The result is ZF, PF and CF.
macro_rules! flags {
    ($insn:literal, $kind:ident, $soft:expr) => {
        case!($insn, "pushfq\npop rax", $kind, 0x45, $soft)
    };
}

fn result_mask(kind: Kind) -> u64 {
    match kind {
        Kind::F32 | Kind::IntToF32 | Kind::F64ToF32 => u32::MAX.into(),
        Kind::F64 | Kind::IntToF64 | Kind::F32ToF64 => u64::MAX,
    }
}

fn ones(c: bool) -> u64 {
    if c { u64::MAX } else { 0 }
}

fn cases() -> Vec<Case> {
    vec![
        xmm!("addss xmm0, xmm1", F32, |a, b, m| addf32(a as u32, b as u32, m).into()),
        xmm!("subss xmm0, xmm1", F32, |a, b, m| subf32(a as u32, b as u32, m).into()),
        xmm!("mulss xmm0, xmm1", F32, |a, b, m| mulf32(a as u32, b as u32, m).into()),
        xmm!("divss xmm0, xmm1", F32, |a, b, m| divf32(a as u32, b as u32, m).into()),
        xmm!("minss xmm0, xmm1", F32, |a, b, m| minf32(a as u32, b as u32, m).into()),
        xmm!("maxss xmm0, xmm1", F32, |a, b, m| maxf32(a as u32, b as u32, m).into()),
        xmm!("sqrtss xmm0, xmm0", F32, |a, _, m| sqrtf32(a as u32, m).into()),
        xmm!("cmpss xmm0, xmm1, 0", F32, |a, b, m| ones(cmpf32(a as u32, b as u32, 0, m))),
        xmm!("cmpss xmm0, xmm1, 1", F32, |a, b, m| ones(cmpf32(a as u32, b as u32, 1, m))),
        xmm!("cmpss xmm0, xmm1, 2", F32, |a, b, m| ones(cmpf32(a as u32, b as u32, 2, m))),
        xmm!("cmpss xmm0, xmm1, 3", F32, |a, b, m| ones(cmpf32(a as u32, b as u32, 3, m))),
        xmm!("cmpss xmm0, xmm1, 4", F32, |a, b, m| ones(cmpf32(a as u32, b as u32, 4, m))),
        xmm!("cmpss xmm0, xmm1, 5", F32, |a, b, m| ones(cmpf32(a as u32, b as u32, 5, m))),
        xmm!("cmpss xmm0, xmm1, 6", F32, |a, b, m| ones(cmpf32(a as u32, b as u32, 6, m))),
        xmm!("cmpss xmm0, xmm1, 7", F32, |a, b, m| ones(cmpf32(a as u32, b as u32, 7, m))),
        xmm!("roundss xmm0, xmm0, 0", F32, |a, _, m| roundf32(a as u32, 0, m).into()),
        xmm!("roundss xmm0, xmm0, 1", F32, |a, _, m| roundf32(a as u32, 1, m).into()),
        xmm!("roundss xmm0, xmm0, 2", F32, |a, _, m| roundf32(a as u32, 2, m).into()),
        xmm!("roundss xmm0, xmm0, 3", F32, |a, _, m| roundf32(a as u32, 3, m).into()),
        xmm!("roundss xmm0, xmm0, 4", F32, |a, _, m| roundf32(a as u32, 4, m).into()),
        xmm!("roundss xmm0, xmm0, 8", F32, |a, _, m| roundf32(a as u32, 8, m).into()),
        xmm!("roundss xmm0, xmm0, 11", F32, |a, _, m| roundf32(a as u32, 11, m).into()),
        xmm!("roundss xmm0, xmm0, 12", F32, |a, _, m| roundf32(a as u32, 12, m).into()),
        flags!("comiss xmm0, xmm1", F32, |a, b, m| comif32(a as u32, b as u32, m).into()),
        flags!("ucomiss xmm0, xmm1", F32, |a, b, m| ucomif32(a as u32, b as u32, m).into()),
        gpr!("cvtss2si eax, xmm0", F32, |a, _, m| f32_to_i32(a as u32, m) as u32 as u64),
        gpr!("cvtss2si rax, xmm0", F32, |a, _, m| f32_to_i64(a as u32, m) as u64),
        gpr!("cvttss2si eax, xmm0", F32, |a, _, m| f32_to_i32_trunc(a as u32, m) as u32 as u64),
        gpr!("cvttss2si rax, xmm0", F32, |a, _, m| f32_to_i64_trunc(a as u32, m) as u64),
        xmm!("cvtsi2ss xmm0, eax", IntToF32, |a, _, m| i32_to_f32(a as i32, m).into()),
        xmm!("cvtsi2ss xmm0, rax", IntToF32, |a, _, m| i64_to_f32(a as i64, m).into()),
        xmm!("addsd xmm0, xmm1", F64, |a, b, m| addf64(a, b, m)),
        xmm!("subsd xmm0, xmm1", F64, |a, b, m| subf64(a, b, m)),
        xmm!("mulsd xmm0, xmm1", F64, |a, b, m| mulf64(a, b, m)),
        xmm!("divsd xmm0, xmm1", F64, |a, b, m| divf64(a, b, m)),
        xmm!("minsd xmm0, xmm1", F64, |a, b, m| minf64(a, b, m)),
        xmm!("maxsd xmm0, xmm1", F64, |a, b, m| maxf64(a, b, m)),
        xmm!("sqrtsd xmm0, xmm0", F64, |a, _, m| sqrtf64(a, m)),
        xmm!("cmpsd xmm0, xmm1, 0", F64, |a, b, m| ones(cmpf64(a, b, 0, m))),
        xmm!("cmpsd xmm0, xmm1, 1", F64, |a, b, m| ones(cmpf64(a, b, 1, m))),
        xmm!("cmpsd xmm0, xmm1, 2", F64, |a, b, m| ones(cmpf64(a, b, 2, m))),
        xmm!("cmpsd xmm0, xmm1, 3", F64, |a, b, m| ones(cmpf64(a, b, 3, m))),
        xmm!("cmpsd xmm0, xmm1, 4", F64, |a, b, m| ones(cmpf64(a, b, 4, m))),
        xmm!("cmpsd xmm0, xmm1, 5", F64, |a, b, m| ones(cmpf64(a, b, 5, m))),
        xmm!("cmpsd xmm0, xmm1, 6", F64, |a, b, m| ones(cmpf64(a, b, 6, m))),
        xmm!("cmpsd xmm0, xmm1, 7", F64, |a, b, m| ones(cmpf64(a, b, 7, m))),
        xmm!("roundsd xmm0, xmm0, 0", F64, |a, _, m| roundf64(a, 0, m)),
        xmm!("roundsd xmm0, xmm0, 1", F64, |a, _, m| roundf64(a, 1, m)),
        xmm!("roundsd xmm0, xmm0, 2", F64, |a, _, m| roundf64(a, 2, m)),
        xmm!("roundsd xmm0, xmm0, 3", F64, |a, _, m| roundf64(a, 3, m)),
        xmm!("roundsd xmm0, xmm0, 4", F64, |a, _, m| roundf64(a, 4, m)),
        xmm!("roundsd xmm0, xmm0, 8", F64, |a, _, m| roundf64(a, 8, m)),
        xmm!("roundsd xmm0, xmm0, 11", F64, |a, _, m| roundf64(a, 11, m)),
        xmm!("roundsd xmm0, xmm0, 12", F64, |a, _, m| roundf64(a, 12, m)),
        flags!("comisd xmm0, xmm1", F64, |a, b, m| comif64(a, b, m).into()),
        flags!("ucomisd xmm0, xmm1", F64, |a, b, m| ucomif64(a, b, m).into()),
        gpr!("cvtsd2si eax, xmm0", F64, |a, _, m| f64_to_i32(a, m) as u32 as u64),
        gpr!("cvtsd2si rax, xmm0", F64, |a, _, m| f64_to_i64(a, m) as u64),
        gpr!("cvttsd2si eax, xmm0", F64, |a, _, m| f64_to_i32_trunc(a, m) as u32 as u64),
        gpr!("cvttsd2si rax, xmm0", F64, |a, _, m| f64_to_i64_trunc(a, m) as u64),
        xmm!("cvtsi2sd xmm0, eax", IntToF64, |a, _, m| i32_to_f64(a as i32, m)),
        xmm!("cvtsi2sd xmm0, rax", IntToF64, |a, _, m| i64_to_f64(a as i64, m)),
        xmm!("cvtss2sd xmm0, xmm0", F32ToF64, |a, _, m| f32_to_f64(a as u32, m)),
        xmm!("cvtsd2ss xmm0, xmm0", F64ToF32, |a, _, m| f64_to_f32(a, m).into()),
    ]
}

fn operand(rng: &mut Rng, kind: Kind) -> u64 {
    match kind {
        Kind::F32 | Kind::F32ToF64 => rng.f32().into(),
        // Near a rounding boundary of f32.
        Kind::F64ToF32 if rng.one_in(2) => {
            f64::from(f32::from_bits(rng.f32())).to_bits() ^ (rng.below(3) | 1 << rng.below(31))
        }
        Kind::F64 if rng.one_in(4) => f64::from(f32::from_bits(rng.f32())).to_bits() ^ rng.below(3),
        Kind::F64 | Kind::F64ToF32 => rng.f64(),
        Kind::IntToF32 | Kind::IntToF64 => rng.next() >> rng.below(64),
    }
}

#[test]
fn scalar() {
    let mut rng = Rng(0x1717_2929_aaaa_0007);
    let mut failed = Vec::new();
    for case in cases() {
        let mut bad = 0;
        for _ in 0..rounds() * 4 {
            let (a, mut b) = (operand(&mut rng, case.kind), operand(&mut rng, case.kind));
            if rng.one_in(8) {
                b = a ^ rng.below(2);
            }
            let mxcsr = MXCSR_DEFAULT | rng.next() as u32 & if rng.one_in(2) { 0xe040 } else { 0 };
            let (mut mh, mut ms) = (mxcsr, mxcsr);
            let (rh, rs) = ((case.host)(a, b, &mut mh) & case.mask, (case.soft)(a, b, &mut ms) & case.mask);
            if (rh, mh) != (rs, ms) {
                bad += 1;
                if bad <= 3 {
                    println!("{} {a:x} {b:x} mxcsr {mxcsr:x}: host {rh:x} {mh:x}, soft {rs:x} {ms:x}", case.insn);
                }
            }
        }
        if bad > 0 {
            failed.push(format!("{}: {bad} of {}", case.insn, rounds() * 4));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn approximations() {
    let mut rng = Rng(7);
    for _ in 0..rounds() * 20 {
        let x = f32::from_bits(rng.next() as u32);
        let r = f32::from_bits(rcpf32(x.to_bits()));
        if x.is_normal() && (f64::from(x).recip().abs() as f32).is_normal() {
            assert!((f64::from(r) * f64::from(x) - 1.0).abs() <= 1.5 / 4096.0, "1/{x}: {r}");
        }
        if x.is_normal() && x > 0.0 {
            let r = f64::from(f32::from_bits(rsqrtf32(x.to_bits())));
            assert!((r * f64::from(x).sqrt() - 1.0).abs() <= 1.5 / 4096.0, "1/sqrt({x}): {r}");
        }
    }
    for (x, rcp, rsqrt) in [
        (0, 0x7f80_0000, 0x7f80_0000),
        (0x8000_0000, 0xff80_0000, 0xff80_0000),
        (1, 0x7f80_0000, 0x7f80_0000),
        (0x8000_0001, 0xff80_0000, 0xff80_0000),
        (0x7f80_0000, 0, 0),
        (0xff80_0000, 0x8000_0000, 0xffc0_0000),
        (0x7f80_0001, 0x7fc0_0001, 0x7fc0_0001),
        (0xff80_0001, 0xffc0_0001, 0xffc0_0001),
        (0x7f7f_ffff, 0, 0x1f80_0000),
        (0x3f80_0000, 0x3f80_0000, 0x3f80_0000),
        (0x4080_0000, 0x3e80_0000, 0x3f00_0000),
    ] {
        assert_eq!((rcpf32(x), rsqrtf32(x)), (rcp, rsqrt), "{x:x}");
    }
}
