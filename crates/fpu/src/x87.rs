//! The x87 instructions.

use std::cmp::Ordering;

use crate::f80::{Ctx, Ext, Quotient, from_bcd};
use crate::fpu::{C0, C2, C3, SF};
use crate::num::{C1, Class, F32, F64, IE, Num, Rc};
use crate::ops::Op;
use crate::transcendental as tr;
use crate::{Fpu, Memory, Trap};

type Done = Result<i64, Trap>;

/// The two-operand operations.
#[derive(Clone, Copy)]
enum Arith {
    Add,
    Mul,
    Sub,
    Subr,
    Div,
    Divr,
}

impl Arith {
    /// `dst op src`.
    fn apply(self, ctx: &mut Ctx, dst: &Num, src: &Num) -> Ext {
        match self {
            Arith::Add => ctx.add(dst, src, false),
            Arith::Mul => ctx.mul(dst, src),
            Arith::Sub => ctx.add(dst, src, true),
            Arith::Subr => ctx.add(src, dst, true),
            Arith::Div => ctx.div(dst, src),
            Arith::Divr => ctx.div(src, dst),
        }
    }
}

/// A memory operand's type.
#[derive(Clone, Copy)]
enum MemNum {
    F32,
    F64,
    I16,
    I32,
    I64,
}

fn load<const N: usize>(mem: &mut dyn Memory, addr: u32) -> Result<[u8; N], Trap> {
    let mut b = [0; N];
    mem.read(addr, &mut b)?;
    Ok(b)
}

/// A block whose last byte is touched before the rest, as the environment and state images are: it decides the address of a fault.
fn load_last_first<const N: usize>(mem: &mut dyn Memory, addr: u32) -> Result<[u8; N], Trap> {
    mem.read(addr.wrapping_add(N as u32 - 1), &mut [0])?;
    load(mem, addr)
}

/// The same for a store: the last byte is written first.
fn store_last_first(mem: &mut dyn Memory, addr: u32, b: &[u8]) -> Done {
    if let Some((last, _)) = b.split_last() {
        mem.write(addr.wrapping_add(b.len() as u32 - 1), &[*last])?;
    }
    store(mem, addr, b)
}

fn load_num(mem: &mut dyn Memory, addr: u32, kind: MemNum) -> Result<Num, Trap> {
    Ok(match kind {
        MemNum::F32 => Num::from_f32(u32::from_le_bytes(load(mem, addr)?)),
        MemNum::F64 => Num::from_f64(u64::from_le_bytes(load(mem, addr)?)),
        MemNum::I16 => Num::from_i64(i16::from_le_bytes(load(mem, addr)?).into()),
        MemNum::I32 => Num::from_i64(i32::from_le_bytes(load(mem, addr)?).into()),
        MemNum::I64 => Num::from_i64(i64::from_le_bytes(load(mem, addr)?)),
    })
}

/// Runs the x87 operation `op`; `None` when it is not one. The caller has checked for pending exceptions.
pub(crate) fn execute(f: &mut Fpu, op: Op, i: usize, value: u64, mem: &mut dyn Memory) -> Option<Done> {
    use Arith::*;
    use MemNum as M;
    let addr = value as u32;
    Some(match op {
        Op::FldM32 => fld_num(f, mem, addr, M::F32),
        Op::FldM64 => fld_num(f, mem, addr, M::F64),
        Op::FldM80 => load(mem, addr).map(|b| fld(f, Ext::from_bytes(&b), 0)),
        Op::FldSti => fld_sti(f, i),
        Op::FildM16 => fld_num(f, mem, addr, M::I16),
        Op::FildM32 => fld_num(f, mem, addr, M::I32),
        Op::FildM64 => fld_num(f, mem, addr, M::I64),
        Op::Fbld => load(mem, addr).map(|b| fld(f, Ext::exact(&from_bcd(&b)), 0)),
        Op::Fld1 => Ok(fld(f, Ext::ONE, 0)),
        Op::Fldz => Ok(fld(f, Ext::ZERO, 0)),
        Op::Fldl2t => fld_const(f, 0x4000, 0xd49a_784b_cd1b_8afe, &[Rc::Up]),
        Op::Fldl2e => fld_const(f, 0x3fff, 0xb8aa_3b29_5c17_f0bb, &[Rc::Nearest, Rc::Up]),
        Op::Fldpi => fld_const(f, 0x4000, 0xc90f_daa2_2168_c234, &[Rc::Nearest, Rc::Up]),
        Op::Fldlg2 => fld_const(f, 0x3ffd, 0x9a20_9a84_fbcf_f798, &[Rc::Nearest, Rc::Up]),
        Op::Fldln2 => fld_const(f, 0x3ffe, 0xb172_17f7_d1cf_79ab, &[Rc::Nearest, Rc::Up]),

        Op::FstM32 => fst_mem(f, mem, addr, 4, false),
        Op::FstM64 => fst_mem(f, mem, addr, 8, false),
        Op::FstpM32 => fst_mem(f, mem, addr, 4, true),
        Op::FstpM64 => fst_mem(f, mem, addr, 8, true),
        Op::FstpM80 => fst_mem(f, mem, addr, 10, true),
        Op::FstSti => fst_sti(f, i, false),
        Op::FstpSti => fst_sti(f, i, true),
        Op::FistM16 => fist(f, mem, addr, 2, false, false),
        Op::FistM32 => fist(f, mem, addr, 4, false, false),
        Op::FistpM16 => fist(f, mem, addr, 2, true, false),
        Op::FistpM32 => fist(f, mem, addr, 4, true, false),
        Op::FistpM64 => fist(f, mem, addr, 8, true, false),
        Op::FisttpM16 => fist(f, mem, addr, 2, true, true),
        Op::FisttpM32 => fist(f, mem, addr, 4, true, true),
        Op::FisttpM64 => fist(f, mem, addr, 8, true, true),
        Op::Fbstp => fbstp(f, mem, addr),

        Op::FaddM32 => arith_mem(f, mem, addr, M::F32, Add),
        Op::FaddM64 => arith_mem(f, mem, addr, M::F64, Add),
        Op::FiaddM16 => arith_mem(f, mem, addr, M::I16, Add),
        Op::FiaddM32 => arith_mem(f, mem, addr, M::I32, Add),
        Op::FaddSt0Sti => arith(f, 0, i, false, Add),
        Op::FaddStiSt0 => arith(f, i, 0, false, Add),
        Op::FaddpStiSt0 => arith(f, i, 0, true, Add),
        Op::FmulM32 => arith_mem(f, mem, addr, M::F32, Mul),
        Op::FmulM64 => arith_mem(f, mem, addr, M::F64, Mul),
        Op::FimulM16 => arith_mem(f, mem, addr, M::I16, Mul),
        Op::FimulM32 => arith_mem(f, mem, addr, M::I32, Mul),
        Op::FmulSt0Sti => arith(f, 0, i, false, Mul),
        Op::FmulStiSt0 => arith(f, i, 0, false, Mul),
        Op::FmulpStiSt0 => arith(f, i, 0, true, Mul),
        Op::FsubM32 => arith_mem(f, mem, addr, M::F32, Sub),
        Op::FsubM64 => arith_mem(f, mem, addr, M::F64, Sub),
        Op::FisubM16 => arith_mem(f, mem, addr, M::I16, Sub),
        Op::FisubM32 => arith_mem(f, mem, addr, M::I32, Sub),
        Op::FsubSt0Sti => arith(f, 0, i, false, Sub),
        Op::FsubStiSt0 => arith(f, i, 0, false, Sub),
        Op::FsubpStiSt0 => arith(f, i, 0, true, Sub),
        Op::FsubrM32 => arith_mem(f, mem, addr, M::F32, Subr),
        Op::FsubrM64 => arith_mem(f, mem, addr, M::F64, Subr),
        Op::FisubrM16 => arith_mem(f, mem, addr, M::I16, Subr),
        Op::FisubrM32 => arith_mem(f, mem, addr, M::I32, Subr),
        Op::FsubrSt0Sti => arith(f, 0, i, false, Subr),
        Op::FsubrStiSt0 => arith(f, i, 0, false, Subr),
        Op::FsubrpStiSt0 => arith(f, i, 0, true, Subr),
        Op::FdivM32 => arith_mem(f, mem, addr, M::F32, Div),
        Op::FdivM64 => arith_mem(f, mem, addr, M::F64, Div),
        Op::FidivM16 => arith_mem(f, mem, addr, M::I16, Div),
        Op::FidivM32 => arith_mem(f, mem, addr, M::I32, Div),
        Op::FdivSt0Sti => arith(f, 0, i, false, Div),
        Op::FdivStiSt0 => arith(f, i, 0, false, Div),
        Op::FdivpStiSt0 => arith(f, i, 0, true, Div),
        Op::FdivrM32 => arith_mem(f, mem, addr, M::F32, Divr),
        Op::FdivrM64 => arith_mem(f, mem, addr, M::F64, Divr),
        Op::FidivrM16 => arith_mem(f, mem, addr, M::I16, Divr),
        Op::FidivrM32 => arith_mem(f, mem, addr, M::I32, Divr),
        Op::FdivrSt0Sti => arith(f, 0, i, false, Divr),
        Op::FdivrStiSt0 => arith(f, i, 0, false, Divr),
        Op::FdivrpStiSt0 => arith(f, i, 0, true, Divr),

        Op::FcomM32 => fcom_mem(f, mem, addr, M::F32, false),
        Op::FcomM64 => fcom_mem(f, mem, addr, M::F64, false),
        Op::FicomM16 => fcom_mem(f, mem, addr, M::I16, false),
        Op::FicomM32 => fcom_mem(f, mem, addr, M::I32, false),
        Op::FcompM32 => fcom_mem(f, mem, addr, M::F32, true),
        Op::FcompM64 => fcom_mem(f, mem, addr, M::F64, true),
        Op::FicompM16 => fcom_mem(f, mem, addr, M::I16, true),
        Op::FicompM32 => fcom_mem(f, mem, addr, M::I32, true),
        Op::FcomSti => fcom(f, i, 0, false),
        Op::FcompSti => fcom(f, i, 1, false),
        Op::Fcompp => fcom(f, 1, 2, false),
        Op::Fucom => fcom(f, i, 0, true),
        Op::Fucomp => fcom(f, i, 1, true),
        Op::Fucompp => fcom(f, 1, 2, true),
        Op::Fcomi => fcomi(f, i, false, false),
        Op::Fcomip => fcomi(f, i, true, false),
        Op::Fucomi => fcomi(f, i, false, true),
        Op::Fucomip => fcomi(f, i, true, true),
        Op::Ftst => ftst(f),
        Op::Fxam => fxam(f),

        Op::Fchs => sign(f, |se| se ^ 0x8000),
        Op::Fabs => sign(f, |se| se & 0x7fff),
        Op::Fsqrt => unary(f, |ctx, _, n| ctx.sqrt(n)),
        Op::Frndint => unary(f, |ctx, a, _| ctx.frndint(a)),
        Op::F2xm1 => unary(f, tr::f2xm1),
        Op::Fscale => fscale(f),
        Op::Fxtract => two_results(f, |ctx, _, n| ctx.extract(n)),
        Op::Fprem => fprem(f, false),
        Op::Fprem1 => fprem(f, true),
        Op::Fyl2x => binary_pop(f, tr::fyl2x),
        Op::Fyl2xp1 => binary_pop(f, tr::fyl2xp1),
        Op::Fpatan => binary_pop(f, tr::fpatan),
        Op::Fptan => trig2(f, tr::fptan),
        Op::Fsincos => trig2(f, tr::fsincos),
        Op::Fsin => trig(f, tr::fsin),
        Op::Fcos => trig(f, tr::fcos),

        Op::Fcmov => fcmov(f, i, value != 0),
        Op::Fxch => fxch(f, i),
        Op::Ffree | Op::Ffreep => {
            f.clear_status(C1);
            f.free(i);
            if op == Op::Ffreep {
                f.pop();
            }
            Ok(0)
        }
        Op::Fincstp | Op::Fdecstp => {
            f.clear_status(C1);
            f.rotate(if op == Op::Fincstp { 1 } else { 7 });
            Ok(0)
        }
        Op::Fninit => {
            f.init();
            Ok(0)
        }
        Op::Fnclex => {
            f.clear_exceptions();
            Ok(0)
        }
        Op::Fnstcw => store(mem, addr, &f.control_word().to_le_bytes()),
        Op::Fldcw => load(mem, addr).map(|b| {
            f.set_control_word(u16::from_le_bytes(b));
            0
        }),
        Op::FnstswM16 => store(mem, addr, &f.status_word().to_le_bytes()),
        Op::FnstswAx => Ok(f.status_word().into()),
        Op::Fnstenv => store_last_first(mem, addr, &f.to_env28()).inspect(|_| f.mask_all()),
        Op::Fnstenv14 => store_last_first(mem, addr, &f.to_env14()).inspect(|_| f.mask_all()),
        Op::Fnsave => store_last_first(mem, addr, &f.to_fnsave()).inspect(|_| f.init()),
        Op::Fnsave94 => store_last_first(mem, addr, &f.to_fnsave94()).inspect(|_| f.init()),
        Op::Fldenv => load_last_first(mem, addr).map(|b| f.load_env28(&b)).map(|()| 0),
        Op::Fldenv14 => load_last_first(mem, addr).map(|b| f.load_env14(&b)).map(|()| 0),
        Op::Frstor => load_last_first(mem, addr).map(|b| f.load_fnsave(&b)).map(|()| 0),
        Op::Frstor94 => load_last_first(mem, addr).map(|b| f.load_fnsave94(&b)).map(|()| 0),
        Op::Fwait | Op::Fnop | Op::Fnone => Ok(0),
        Op::Fxsave => {
            let b = f.to_fxsave();
            store(mem, addr, &b[..24]).and_then(|_| store(mem, addr.wrapping_add(32), &b[32..]))
        }
        Op::Fxrstor => fxrstor(f, mem, addr),
        _ => return None,
    })
}

fn store(mem: &mut dyn Memory, addr: u32, b: &[u8]) -> Done {
    mem.write(addr, b)?;
    Ok(0)
}

fn fxrstor(f: &mut Fpu, mem: &mut dyn Memory, addr: u32) -> Done {
    let mut b = [0; 160];
    mem.read(addr, &mut b[..24])?;
    mem.read(addr.wrapping_add(32), &mut b[32..])?;
    let sse_flags = f.sse_flags;
    *f = Fpu::from_fxsave(&b);
    f.sse_flags = sse_flags;
    Ok(0)
}

// ---- loads and stores -----------------------------------------------------------------------------------------

/// Pushes `v`, whose conversion raised `flags`. A denormal is loaded even when that exception is not masked.
fn fld(f: &mut Fpu, v: Ext, flags: u16) -> i64 {
    if !f.empty(7) {
        if f.overflow() {
            f.push(Ext::INDEFINITE);
        }
    } else if f.commit(flags & IE) {
        f.push(v);
        f.set_status(flags);
    }
    0
}

fn fld_num(f: &mut Fpu, mem: &mut dyn Memory, addr: u32, kind: MemNum) -> Done {
    let n = load_num(mem, addr, kind)?;
    let mut ctx = f.ctx();
    let v = ctx.special1(&n).unwrap_or_else(|| Ext::exact(&n));
    ctx.denormals(&n, &n);
    Ok(fld(f, v, ctx.flags))
}

fn fld_sti(f: &mut Fpu, i: usize) -> Done {
    if f.empty(i) {
        if f.underflow() {
            f.push(Ext::INDEFINITE);
        }
        return Ok(0);
    }
    Ok(fld(f, f.st(i), 0))
}

/// Pushes a constant whose truncated significand is `sig`; `up` are the modes that round it up.
fn fld_const(f: &mut Fpu, se: u16, sig: u64, up: &[Rc]) -> Done {
    let sig = sig + u64::from(up.contains(&f.ctx().rc));
    Ok(fld(f, Ext { sig, se }, 0))
}

/// Stores st0 as f32, f64 or 80 bits.
fn fst_mem(f: &mut Fpu, mem: &mut dyn Memory, addr: u32, size: usize, pop: bool) -> Done {
    let empty = f.empty(0);
    let v = if empty { Ext::INDEFINITE } else { f.st(0) };
    let mut ctx = f.ctx();
    let bytes = match size {
        4 => u128::from(ctx.narrow(&v.num(), &F32)),
        8 => u128::from(ctx.narrow(&v.num(), &F64)),
        _ => u128::from(v.se) << 64 | u128::from(v.sig),
    };
    let flags = if empty { IE | SF } else { ctx.flags };
    store_result(f, mem, addr, &bytes.to_le_bytes()[..size], flags, pop)
}

/// Stores the result of a conversion that raised `flags`. Memory has nowhere to put the wrapped exponent of an unmasked
/// overflow or underflow: nothing is stored then, as after an unmasked invalid operation.
fn store_result(f: &mut Fpu, mem: &mut dyn Memory, addr: u32, bytes: &[u8], flags: u16, pop: bool) -> Done {
    use crate::num::{OE, UE};
    if flags & (IE | OE | UE) & f.ctx().unmasked == 0 {
        mem.write(addr, bytes)?;
        f.commit(flags);
        if pop {
            f.pop();
        }
    } else {
        // The store does not happen, but its page faults do.
        let mut old = [0; 10];
        let old = old.get_mut(..bytes.len()).unwrap_or_default();
        mem.read(addr, old)?;
        mem.write(addr, old)?;
        f.commit(flags & (IE | SF | OE | UE));
    }
    Ok(0)
}

fn fist(f: &mut Fpu, mem: &mut dyn Memory, addr: u32, size: usize, pop: bool, truncate: bool) -> Done {
    let empty = f.empty(0);
    let v = if empty { Ext::INDEFINITE } else { f.st(0) };
    let mut ctx = f.ctx();
    let rc = if truncate { Rc::Zero } else { ctx.rc };
    let n = ctx.integer(&v.num(), 8 * size as u32, rc);
    let flags = if empty { IE | SF } else { ctx.flags };
    store_result(f, mem, addr, &n.to_le_bytes()[..size], flags, pop)
}

fn fbstp(f: &mut Fpu, mem: &mut dyn Memory, addr: u32) -> Done {
    let empty = f.empty(0);
    let v = if empty { Ext::INDEFINITE } else { f.st(0) };
    let mut ctx = f.ctx();
    let b = ctx.bcd(&v.num());
    let flags = if empty { IE | SF } else { ctx.flags };
    store_result(f, mem, addr, &b, flags, true)
}

fn fst_sti(f: &mut Fpu, i: usize, pop: bool) -> Done {
    if f.empty(0) {
        if !f.underflow() {
            return Ok(0);
        }
        f.set_st(i, Ext::INDEFINITE);
    } else {
        f.commit(0);
        f.set_st(i, f.st(0));
    }
    if pop {
        f.pop();
    }
    Ok(0)
}

// ---- arithmetic -----------------------------------------------------------------------------------------------

fn arith(f: &mut Fpu, dst: usize, src: usize, pop: bool, op: Arith) -> Done {
    if f.empty(dst) || f.empty(src) {
        if !f.underflow() {
            return Ok(0);
        }
        f.set_st(dst, Ext::INDEFINITE);
    } else {
        let mut ctx = f.ctx();
        let v = op.apply(&mut ctx, &f.st(dst).num(), &f.st(src).num());
        if !f.commit(ctx.flags) {
            return Ok(0);
        }
        f.set_st(dst, v);
    }
    if pop {
        f.pop();
    }
    Ok(0)
}

fn arith_mem(f: &mut Fpu, mem: &mut dyn Memory, addr: u32, kind: MemNum, op: Arith) -> Done {
    let src = load_num(mem, addr, kind)?;
    unary(f, |ctx, _, n| op.apply(ctx, n, &src))
}

/// st0 = op(st0).
fn unary(f: &mut Fpu, op: impl FnOnce(&mut Ctx, Ext, &Num) -> Ext) -> Done {
    if f.empty(0) {
        if f.underflow() {
            f.set_st(0, Ext::INDEFINITE);
        }
        return Ok(0);
    }
    let mut ctx = f.ctx();
    let a = f.st(0);
    let v = op(&mut ctx, a, &a.num());
    if f.commit(ctx.flags) {
        f.set_st(0, v);
    }
    Ok(0)
}

/// `fchs`, `fabs`: no exception but stack underflow.
fn sign(f: &mut Fpu, op: fn(u16) -> u16) -> Done {
    unary(f, |_, a, _| Ext { se: op(a.se), ..a })
}

fn fscale(f: &mut Fpu) -> Done {
    if f.empty(0) || f.empty(1) {
        if f.underflow() {
            f.set_st(0, Ext::INDEFINITE);
        }
        return Ok(0);
    }
    let b = f.st(1).num();
    unary(f, |ctx, _, n| ctx.scale(n, &b))
}

/// st1 = op(st0, st1), pop.
fn binary_pop(f: &mut Fpu, op: fn(&mut Ctx, &Num, &Num) -> Ext) -> Done {
    let v = if f.empty(0) || f.empty(1) {
        if !f.underflow() {
            return Ok(0);
        }
        Ext::INDEFINITE
    } else {
        let mut ctx = f.ctx();
        let v = op(&mut ctx, &f.st(0).num(), &f.st(1).num());
        if !f.commit(ctx.flags) {
            return Ok(0);
        }
        v
    };
    f.pop();
    f.set_st(0, v);
    Ok(0)
}

/// Replaces st0 by two results: the first in its place, the second pushed.
fn two_results(f: &mut Fpu, op: impl FnOnce(&mut Ctx, Ext, &Num) -> (Ext, Ext)) -> Done {
    let (a, b) = if f.empty(0) || !f.empty(7) {
        let masked = if f.empty(0) { f.underflow() } else { f.overflow() };
        if !masked {
            return Ok(0);
        }
        (Ext::INDEFINITE, Ext::INDEFINITE)
    } else {
        let mut ctx = f.ctx();
        let st0 = f.st(0);
        let v = op(&mut ctx, st0, &st0.num());
        if !f.commit(ctx.flags) {
            return Ok(0);
        }
        v
    };
    f.set_st(0, a);
    f.push(b);
    Ok(0)
}

/// True when the argument of a trigonometric instruction is out of range: C2 is set and nothing else happens.
fn out_of_range(f: &mut Fpu) -> bool {
    f.clear_status(C2);
    if f.empty(0) {
        return false;
    }
    let n = f.st(0).num();
    if n.class == Class::Finite && n.exp >= 63 {
        f.clear_status(C1);
        f.set_status(C2);
        return true;
    }
    false
}

fn trig(f: &mut Fpu, op: fn(&mut Ctx, Ext, &Num) -> Ext) -> Done {
    if out_of_range(f) { Ok(0) } else { unary(f, op) }
}

fn trig2(f: &mut Fpu, op: fn(&mut Ctx, Ext, &Num) -> (Ext, Ext)) -> Done {
    let blocked = f.empty(0) || !f.empty(7);
    if !blocked && out_of_range(f) {
        return Ok(0);
    }
    f.clear_status(C2);
    two_results(f, op)
}

fn fprem(f: &mut Fpu, nearest: bool) -> Done {
    f.clear_status(C2);
    if f.empty(0) || f.empty(1) {
        if f.underflow() {
            f.set_st(0, Ext::INDEFINITE);
        }
        return Ok(0);
    }
    let mut ctx = f.ctx();
    let (v, quotient) = ctx.rem(&f.st(0).num(), &f.st(1).num(), nearest);
    if f.commit(ctx.flags) {
        f.set_st(0, v);
        let (q, complete) = match quotient {
            // Nothing was divided: C0 and C3 stay.
            Quotient::None => return Ok(0),
            Quotient::Partial => (0, false),
            Quotient::Complete(q) => (q, true),
        };
        let bit = |n: u32, c| if q >> n & 1 == 1 { c } else { 0 };
        f.clear_status(C0 | C1 | C3);
        f.set_status(bit(0, C1) | bit(1, C3) | bit(2, C0) | if complete { 0 } else { C2 });
    }
    Ok(0)
}

// ---- comparison -----------------------------------------------------------------------------------------------

fn codes(order: Option<Ordering>) -> u16 {
    match order {
        Some(Ordering::Greater) => 0,
        Some(Ordering::Less) => C0,
        Some(Ordering::Equal) => C3,
        None => C0 | C2 | C3,
    }
}

/// Compares st0 with `b` (`None`: empty) and sets the condition codes: false when nothing may be popped.
fn compare(f: &mut Fpu, b: Option<Num>, quiet: bool) -> bool {
    let mut ctx = f.ctx();
    let order = match b {
        Some(b) if !f.empty(0) => ctx.compare(&f.st(0).num(), &b, quiet),
        _ => {
            ctx.flags = IE | SF;
            None
        }
    };
    let ok = f.commit(ctx.flags);
    f.clear_status(C0 | C2 | C3);
    f.set_status(codes(order));
    ok
}

fn fcom(f: &mut Fpu, i: usize, pops: usize, quiet: bool) -> Done {
    let b = (!f.empty(i)).then(|| f.st(i).num());
    if compare(f, b, quiet) {
        for _ in 0..pops {
            f.pop();
        }
    }
    Ok(0)
}

fn fcom_mem(f: &mut Fpu, mem: &mut dyn Memory, addr: u32, kind: MemNum, pop: bool) -> Done {
    let b = load_num(mem, addr, kind)?;
    if compare(f, Some(b), false) && pop {
        f.pop();
    }
    Ok(0)
}

fn ftst(f: &mut Fpu) -> Done {
    compare(f, Some(Num::zero(false)), false);
    Ok(0)
}

/// Sets the flags even when an unmasked invalid operation occurs (AMD; Intel leaves them).
fn fcomi(f: &mut Fpu, i: usize, pop: bool, quiet: bool) -> Done {
    let mut ctx = f.ctx();
    let order = if f.empty(0) || f.empty(i) {
        ctx.flags = IE | SF;
        None
    } else {
        ctx.compare(&f.st(0).num(), &f.st(i).num(), quiet)
    };
    // C1 stays, except after a stack underflow.
    let c1 = if ctx.flags & SF == 0 { f.status_word() & C1 } else { 0 };
    let ok = f.commit(ctx.flags);
    f.set_status(c1);
    if ok && pop {
        f.pop();
    }
    Ok(match order {
        Some(Ordering::Greater) => 0,
        Some(Ordering::Less) => 1,
        Some(Ordering::Equal) => 0x40,
        None => 0x45,
    })
}

fn fxam(f: &mut Fpu) -> Done {
    let v = f.st(0);
    let n = v.num();
    let class = match n.class {
        _ if f.empty(0) => C3 | C0,
        Class::Unsupported => 0,
        Class::QNan | Class::SNan => C0,
        Class::Inf => C2 | C0,
        Class::Zero => C3,
        Class::Finite if n.denormal => C3 | C2,
        Class::Finite => C2,
    };
    f.clear_status(C0 | C1 | C2 | C3);
    f.set_status(class | if v.neg() { C1 } else { 0 });
    Ok(0)
}

// ---- stack ----------------------------------------------------------------------------------------------------

fn fcmov(f: &mut Fpu, i: usize, condition: bool) -> Done {
    if f.empty(0) || f.empty(i) {
        if f.underflow() {
            f.set_st(0, Ext::INDEFINITE);
        }
    } else if condition {
        // C1 stays.
        f.set_st(0, f.st(i));
    }
    Ok(0)
}

fn fxch(f: &mut Fpu, i: usize) -> Done {
    let get = |f: &Fpu, i| if f.empty(i) { Ext::INDEFINITE } else { f.st(i) };
    let (a, b) = (get(f, 0), get(f, i));
    if f.empty(0) || f.empty(i) {
        if !f.underflow() {
            return Ok(0);
        }
    } else {
        f.commit(0);
    }
    f.set_st(0, b);
    f.set_st(i, a);
    Ok(0)
}
