//! The MMX instructions: 64-bit vectors in the significands of the x87 registers.

use crate::ops::{Op, SRC_MEM};
use crate::{Fpu, Memory, Trap, sse};

type Done = Result<i64, Trap>;

/// Runs the MMX operation `op`; `None` when it is not one. The caller has checked for pending exceptions.
pub(crate) fn execute(f: &mut Fpu, op: Op, arg: u32, value: u64, mem: &mut dyn Memory) -> Option<Done> {
    let (dst, src, imm) = (arg & 7, arg >> 4 & 7, (arg >> 8) as u8);
    let addr = value as u32;
    Some(match op {
        Op::Emms => {
            f.emms();
            Ok(0)
        }
        Op::MovdMmR => Ok(set(f, dst, value & 0xffff_ffff)),
        Op::MovqMmR => Ok(set(f, dst, value)),
        Op::MovdRMm => Ok((get(f, src) & 0xffff_ffff) as i64),
        Op::MovqRMm => Ok(get(f, src) as i64),
        Op::MovdMmM32 => read::<4>(mem, addr).map(|v| set(f, dst, v)),
        Op::MovdM32Mm => store(f, mem, addr, &f.mm(src).to_le_bytes()[..4]),
        Op::MovqM64Mm => store(f, mem, addr, &f.mm(src).to_le_bytes()),
        Op::MovqMmMm => source(f, arg, addr, mem).map(|v| set(f, dst, v)),
        Op::Maskmovq => maskmovq(f, dst, src, addr, mem),
        Op::Pmovmskb => Ok(msb_mask(get(f, src)).into()),
        Op::Pextrw => Ok((get(f, src) >> (16 * (imm & 3)) & 0xffff) as i64),
        Op::Pinsrw => {
            let word = if arg & SRC_MEM != 0 { read::<2>(mem, addr) } else { Ok(value & 0xffff) };
            word.map(|w| {
                let shift = 16 * (imm & 3);
                let v = f.mm(dst) & !(0xffff << shift) | w << shift;
                set(f, dst, v)
            })
        }
        Op::Punpcklbw | Op::Punpcklwd | Op::Punpckldq => {
            let b = if arg & SRC_MEM != 0 { read::<4>(mem, addr) } else { Ok(f.mm(src)) };
            b.map(|b| {
                let v = unpack_low(op, f.mm(dst), b);
                set(f, dst, v)
            })
        }
        Op::PsllwImm
        | Op::PslldImm
        | Op::PsllqImm
        | Op::PsrlwImm
        | Op::PsrldImm
        | Op::PsrlqImm
        | Op::PsrawImm
        | Op::PsradImm => {
            let v = shift(op, f.mm(dst), imm.into())?;
            Ok(set(f, dst, v))
        }
        Op::Pshufw => source(f, arg, addr, mem).map(|v| {
            let words = u16s(v);
            let w = std::array::from_fn(|i| words[usize::from(imm >> (2 * i) & 3)]);
            set(f, dst, from_u16s(w))
        }),
        Op::Palignr => source(f, arg, addr, mem).map(|b| {
            let both = u128::from(f.mm(dst)) << 64 | u128::from(b);
            set(f, dst, if imm < 16 { (both >> (8 * imm)) as u64 } else { 0 })
        }),
        Op::Cvtpi2ps | Op::Cvtpi2pd | Op::Cvtps2pi | Op::Cvttps2pi | Op::Cvtpd2pi | Op::Cvttpd2pi => {
            convert(f, op, arg, value, mem)
        }
        Op::SseFlags => Ok(std::mem::take(&mut f.sse_flags).into()),
        _ => {
            let a = f.mm(dst);
            let _ = binary(op, a, 0)?;
            source(f, arg, addr, mem).map(|b| {
                let v = binary(op, a, b).unwrap_or(a);
                set(f, dst, v)
            })
        }
    })
}

/// Writes a register and enters MMX state.
fn set(f: &mut Fpu, dst: u32, v: u64) -> i64 {
    f.mmx_enter();
    f.set_mm(dst, v);
    0
}

/// Reads a register and enters MMX state.
fn get(f: &mut Fpu, src: u32) -> u64 {
    f.mmx_enter();
    f.mm(src)
}

/// Reads `N` bytes of memory, zero-extended.
fn read<const N: usize>(mem: &mut dyn Memory, addr: u32) -> Result<u64, Trap> {
    let mut b = [0; 8];
    if let Some(b) = b.get_mut(..N) {
        mem.read(addr, b)?;
    }
    Ok(u64::from_le_bytes(b))
}

/// The `mm/m64` operand.
fn source(f: &Fpu, arg: u32, addr: u32, mem: &mut dyn Memory) -> Result<u64, Trap> {
    if arg & SRC_MEM != 0 { read::<8>(mem, addr) } else { Ok(f.mm(arg >> 4)) }
}

fn store(f: &mut Fpu, mem: &mut dyn Memory, addr: u32, b: &[u8]) -> Done {
    mem.write(addr, b)?;
    f.mmx_enter();
    Ok(0)
}

/// Stores the bytes whose mask bit 7 is set. Runs of them are written separately, so a fault behind the first run leaves that one
/// written, as the SDM allows.
fn maskmovq(f: &mut Fpu, data: u32, mask: u32, addr: u32, mem: &mut dyn Memory) -> Done {
    // Processors touch all eight bytes, whatever the mask.
    let mask = msb_mask(f.mm(mask));
    let data = f.mm(data).to_le_bytes();
    let mut bytes = [0; 8];
    mem.read(addr, &mut bytes)?;
    for (k, (b, d)) in bytes.iter_mut().zip(data).enumerate() {
        if mask >> k & 1 != 0 {
            *b = d;
        }
    }
    mem.write(addr, &bytes)?;
    f.mmx_enter();
    Ok(0)
}

/// Conversions between integers in MMX registers and floats in xmm registers.
fn convert(f: &mut Fpu, op: Op, arg: u32, value: u64, mem: &mut dyn Memory) -> Done {
    let (dst, second) = (arg & 7, arg >> 8 & 1 == 1);
    let mut mxcsr = arg >> 16 & !0x3f;
    let result = match op {
        Op::Cvtpi2ps => {
            let v = source(f, arg, value as u32, mem)?;
            // The memory forms do not touch MMX state.
            if arg & SRC_MEM == 0 {
                f.mmx_enter();
            }
            let [a, b] = u32s(v).map(|n| sse::i32_to_f32(n as i32, &mut mxcsr));
            from_u32s([a, b]) as i64
        }
        Op::Cvtpi2pd => {
            let v = source(f, arg, value as u32, mem)?;
            if arg & SRC_MEM == 0 {
                f.mmx_enter();
            }
            let [a, b] = u32s(v);
            sse::i32_to_f64(if second { b } else { a } as i32, &mut mxcsr) as i64
        }
        Op::Cvtps2pi | Op::Cvttps2pi => {
            let v = if arg & SRC_MEM != 0 { read::<8>(mem, value as u32)? } else { value };
            let to = if op == Op::Cvtps2pi { sse::f32_to_i32 } else { sse::f32_to_i32_trunc };
            set(f, dst, from_u32s(u32s(v).map(|n| to(n, &mut mxcsr) as u32)))
        }
        _ => {
            let to = if op == Op::Cvtpd2pi { sse::f64_to_i32 } else { sse::f64_to_i32_trunc };
            let n = u64::from(to(value, &mut mxcsr) as u32);
            let old = f.mm(dst);
            set(f, dst, if second { old & 0xffff_ffff | n << 32 } else { old & !0xffff_ffff | n })
        }
    };
    f.sse_flags |= mxcsr & 0x3f;
    Ok(result)
}

// ---- lanes ----------------------------------------------------------------------------------------------------

fn u16s(v: u64) -> [u16; 4] {
    std::array::from_fn(|i| (v >> (16 * i)) as u16)
}

fn from_u16s(v: [u16; 4]) -> u64 {
    v.iter().rev().fold(0, |n, &w| n << 16 | u64::from(w))
}

fn u32s(v: u64) -> [u32; 2] {
    [v as u32, (v >> 32) as u32]
}

fn from_u32s([a, b]: [u32; 2]) -> u64 {
    u64::from(a) | u64::from(b) << 32
}

fn bytes(a: u64, b: u64, op: impl Fn(u8, u8) -> u8) -> u64 {
    let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
    u64::from_le_bytes(std::array::from_fn(|i| op(a[i], b[i])))
}

fn words(a: u64, b: u64, op: impl Fn(u16, u16) -> u16) -> u64 {
    let (a, b) = (u16s(a), u16s(b));
    from_u16s(std::array::from_fn(|i| op(a[i], b[i])))
}

fn dwords(a: u64, b: u64, op: impl Fn(u32, u32) -> u32) -> u64 {
    let (a, b) = (u32s(a), u32s(b));
    from_u32s([op(a[0], b[0]), op(a[1], b[1])])
}

fn msb_mask(v: u64) -> u8 {
    v.to_le_bytes().iter().rev().fold(0, |m, b| m << 1 | b >> 7)
}

fn unpack_low(op: Op, a: u64, b: u64) -> u64 {
    match op {
        Op::Punpcklbw => {
            let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
            u64::from_le_bytes(std::array::from_fn(|i| if i & 1 == 0 { a[i / 2] } else { b[i / 2] }))
        }
        Op::Punpcklwd => {
            let (a, b) = (u16s(a), u16s(b));
            from_u16s([a[0], b[0], a[1], b[1]])
        }
        _ => a & 0xffff_ffff | b << 32,
    }
}

/// The shifts; a count beyond the lane gives zeros, or copies of the sign.
fn shift(op: Op, a: u64, count: u64) -> Option<u64> {
    let n = count.min(64) as u32;
    let w = |op: fn(u16, u32) -> u16| words(a, 0, |x, _| op(x, n));
    let d = |op: fn(u32, u32) -> u32| dwords(a, 0, |x, _| op(x, n));
    Some(match op {
        Op::Psllw | Op::PsllwImm => w(|x, n| x.checked_shl(n).unwrap_or(0)),
        Op::Psrlw | Op::PsrlwImm => w(|x, n| x.checked_shr(n).unwrap_or(0)),
        Op::Psraw | Op::PsrawImm => w(|x, n| (x as i16 >> n.min(15)) as u16),
        Op::Pslld | Op::PslldImm => d(|x, n| x.checked_shl(n).unwrap_or(0)),
        Op::Psrld | Op::PsrldImm => d(|x, n| x.checked_shr(n).unwrap_or(0)),
        Op::Psrad | Op::PsradImm => d(|x, n| (x as i32 >> n.min(31)) as u32),
        Op::Psllq | Op::PsllqImm => a.checked_shl(n).unwrap_or(0),
        Op::Psrlq | Op::PsrlqImm => a.checked_shr(n).unwrap_or(0),
        _ => return None,
    })
}

fn i8_sat(n: i16) -> u8 {
    n.clamp(-0x80, 0x7f) as u8
}

fn i16_sat(n: i32) -> u16 {
    n.clamp(-0x8000, 0x7fff) as u16
}

/// Product of two words as signed 16-bit integers.
fn product(x: u16, y: u16) -> i32 {
    i32::from(x as i16) * i32::from(y as i16)
}

/// Adds or subtracts horizontally: the pairs of `a`, then those of `b`.
fn horizontal(a: u64, b: u64, op: impl Fn(u16, u16) -> u16) -> u64 {
    let (a, b) = (u16s(a), u16s(b));
    from_u16s([op(a[0], a[1]), op(a[2], a[3]), op(b[0], b[1]), op(b[2], b[3])])
}

fn horizontal32(a: u64, b: u64, op: impl Fn(u32, u32) -> u32) -> u64 {
    let (a, b) = (u32s(a), u32s(b));
    from_u32s([op(a[0], a[1]), op(b[0], b[1])])
}

/// Packs the words of `a`, then those of `b`, to bytes.
fn pack_words(a: u64, b: u64, op: impl Fn(i16) -> u8) -> u64 {
    let (a, b) = (u16s(a), u16s(b));
    u64::from_le_bytes(std::array::from_fn(|i| op(if i < 4 { a[i] } else { b[i - 4] } as i16)))
}

/// All ones when `c`.
fn ones<T: From<bool> + std::ops::Neg<Output = T>>(c: bool) -> T {
    -T::from(c)
}

/// The operations `mm = op(mm, mm/m64)`.
fn binary(op: Op, a: u64, b: u64) -> Option<u64> {
    Some(match op {
        Op::Punpckhbw => unpack_low(Op::Punpcklbw, a >> 32, b >> 32),
        Op::Punpckhwd => unpack_low(Op::Punpcklwd, a >> 32, b >> 32),
        Op::Punpckhdq => unpack_low(Op::Punpckldq, a >> 32, b >> 32),
        Op::Packsswb => pack_words(a, b, i8_sat),
        Op::Packuswb => pack_words(a, b, |n| n.clamp(0, 0xff) as u8),
        Op::Packssdw => {
            let [a, b] = [u32s(a), u32s(b)].map(|v| v.map(|n| i16_sat(n as i32)));
            from_u16s([a[0], a[1], b[0], b[1]])
        }
        Op::Pcmpgtb => bytes(a, b, |x, y| ones::<i8>(x as i8 > y as i8) as u8),
        Op::Pcmpgtw => words(a, b, |x, y| ones::<i16>(x as i16 > y as i16) as u16),
        Op::Pcmpgtd => dwords(a, b, |x, y| ones::<i32>(x as i32 > y as i32) as u32),
        Op::Pcmpeqb => bytes(a, b, |x, y| ones::<i8>(x == y) as u8),
        Op::Pcmpeqw => words(a, b, |x, y| ones::<i16>(x == y) as u16),
        Op::Pcmpeqd => dwords(a, b, |x, y| ones::<i32>(x == y) as u32),
        Op::Paddb => bytes(a, b, u8::wrapping_add),
        Op::Paddw => words(a, b, u16::wrapping_add),
        Op::Paddd => dwords(a, b, u32::wrapping_add),
        Op::Paddq => a.wrapping_add(b),
        Op::Paddsb => bytes(a, b, |x, y| (x as i8).saturating_add(y as i8) as u8),
        Op::Paddsw => words(a, b, |x, y| (x as i16).saturating_add(y as i16) as u16),
        Op::Paddusb => bytes(a, b, u8::saturating_add),
        Op::Paddusw => words(a, b, u16::saturating_add),
        Op::Psubb => bytes(a, b, u8::wrapping_sub),
        Op::Psubw => words(a, b, u16::wrapping_sub),
        Op::Psubd => dwords(a, b, u32::wrapping_sub),
        Op::Psubq => a.wrapping_sub(b),
        Op::Psubsb => bytes(a, b, |x, y| (x as i8).saturating_sub(y as i8) as u8),
        Op::Psubsw => words(a, b, |x, y| (x as i16).saturating_sub(y as i16) as u16),
        Op::Psubusb => bytes(a, b, u8::saturating_sub),
        Op::Psubusw => words(a, b, u16::saturating_sub),
        Op::Pmullw => words(a, b, u16::wrapping_mul),
        Op::Pmulhw => words(a, b, |x, y| (product(x, y) >> 16) as u16),
        Op::Pmulhuw => words(a, b, |x, y| ((u32::from(x) * u32::from(y)) >> 16) as u16),
        Op::Pmulhrsw => words(a, b, |x, y| (((product(x, y) >> 14) + 1) >> 1) as u16),
        Op::Pmaddwd => {
            let (a, b) = (u16s(a), u16s(b));
            let pair = |i: usize| product(a[i], b[i]).wrapping_add(product(a[i + 1], b[i + 1])) as u32;
            from_u32s([pair(0), pair(2)])
        }
        Op::Pmaddubsw => {
            let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
            let p = |i: usize| i32::from(a[i]) * i32::from(b[i] as i8);
            from_u16s(std::array::from_fn(|i| i16_sat(p(2 * i) + p(2 * i + 1))))
        }
        Op::Pmuludq => (a & 0xffff_ffff) * (b & 0xffff_ffff),
        Op::Pand => a & b,
        Op::Pandn => !a & b,
        Op::Por => a | b,
        Op::Pxor => a ^ b,
        Op::Pavgb => bytes(a, b, |x, y| ((u16::from(x) + u16::from(y) + 1) >> 1) as u8),
        Op::Pavgw => words(a, b, |x, y| ((u32::from(x) + u32::from(y) + 1) >> 1) as u16),
        Op::Pminub => bytes(a, b, u8::min),
        Op::Pmaxub => bytes(a, b, u8::max),
        Op::Pminsw => words(a, b, |x, y| (x as i16).min(y as i16) as u16),
        Op::Pmaxsw => words(a, b, |x, y| (x as i16).max(y as i16) as u16),
        Op::Psadbw => bytes(a, b, u8::abs_diff).to_le_bytes().iter().map(|&n| u64::from(n)).sum(),
        Op::Pshufb => {
            let bytes = a.to_le_bytes();
            let pick = |i: u8| if i & 0x80 != 0 { 0 } else { bytes[usize::from(i & 7)] };
            u64::from_le_bytes(b.to_le_bytes().map(pick))
        }
        Op::Phaddw => horizontal(a, b, u16::wrapping_add),
        Op::Phsubw => horizontal(a, b, u16::wrapping_sub),
        Op::Phaddsw => horizontal(a, b, |x, y| (x as i16).saturating_add(y as i16) as u16),
        Op::Phsubsw => horizontal(a, b, |x, y| (x as i16).saturating_sub(y as i16) as u16),
        Op::Phaddd => horizontal32(a, b, u32::wrapping_add),
        Op::Phsubd => horizontal32(a, b, u32::wrapping_sub),
        Op::Psignb => bytes(a, b, |x, y| x.wrapping_mul((y as i8).signum() as u8)),
        Op::Psignw => words(a, b, |x, y| x.wrapping_mul((y as i16).signum() as u16)),
        Op::Psignd => dwords(a, b, |x, y| x.wrapping_mul((y as i32).signum() as u32)),
        Op::Pabsb => bytes(b, 0, |x, _| (x as i8).unsigned_abs()),
        Op::Pabsw => words(b, 0, |x, _| (x as i16).unsigned_abs()),
        Op::Pabsd => dwords(b, 0, |x, _| (x as i32).unsigned_abs()),
        _ => return shift(op, a, b),
    })
}
