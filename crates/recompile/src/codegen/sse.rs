//! SSE and SSE2 on xmm registers.
//!
//! Results are x86's by construction: where wasm leaves a NaN's bits open, they are computed from the operands; conversions that overflow give the
//! "integer indefinite"; min and max return the second operand as the manual says. MXCSR reads back as written. Of its sticky flags, those of a division by
//! zero and of an invalid operation on numbers are set (a NaN is looked for anyway, and what fits no integer), comparisons and the others are not; a
//! rounding mode, FTZ, DAZ or unmasked exception other than the default is reported by `vkernel.notice`.

use super::Gen;
use super::flags::{Kind, Lazy};
use super::index::{self, Helper};
use super::mem::arg;
use crate::regs::*;
use iced_x86::{Instruction, Mnemonic, OpKind, Register};
use megalith_abi::{Global, Notice};
use wasm_encoder::{BlockType, InstructionSink, Lane, MemArg, ValType};

type Ins = fn(&mut InstructionSink<'_>);

/// Lanes of a float operation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Ss,
    Sd,
    Ps,
    Pd,
}

impl Shape {
    fn scalar(self) -> bool {
        matches!(self, Shape::Ss | Shape::Sd)
    }
    fn double(self) -> bool {
        matches!(self, Shape::Sd | Shape::Pd)
    }
}

macro_rules! ins {
    ($($m:ident),+) => {
        |s: &mut InstructionSink<'_>| { s$(.$m())+; }
    };
}

impl Gen<'_> {
    fn xmm(&mut self, r: Register) -> u32 {
        self.reg_local(16 + r.number() as u8)
    }

    fn is_xmm(i: &Instruction, k: u32) -> bool {
        i.op_kind(k) == OpKind::Register && i.op_register(k).is_xmm()
    }

    fn is_mm(i: &Instruction) -> bool {
        (0..i.op_count()).any(|k| i.op_kind(k) == OpKind::Register && i.op_register(k).is_mm())
    }

    /// Pushes the address of a 16-byte operand that must be aligned (#GP, the wasm trap `unreachable`, when it is not).
    fn push_aligned(&mut self, i: &Instruction) {
        let a = self.address_tmp(i);
        self.s().local_get(a).i32_const(15).i32_and().if_(BlockType::Empty).unreachable().end().local_get(a);
    }

    /// Pushes operand `k` as v128.
    fn push_v(&mut self, i: &Instruction, k: u32, aligned: bool) {
        if Self::is_xmm(i, k) {
            let l = self.xmm(i.op_register(k));
            self.s().local_get(l);
        } else if aligned {
            self.push_aligned(i);
            self.s().v128_load(arg(0));
        } else {
            let offset = self.push_ea(i);
            self.s().v128_load(arg(offset));
        }
    }

    fn pop_v(&mut self, i: &Instruction) {
        let l = self.xmm(i.op0_register());
        self.s().local_set(l);
    }

    /// Pushes the low float of operand `k`.
    fn push_scalar(&mut self, i: &Instruction, k: u32, double: bool) {
        if Self::is_xmm(i, k) {
            let l = self.xmm(i.op_register(k));
            self.s().local_get(l);
            if double {
                self.s().f64x2_extract_lane(0);
            } else {
                self.s().f32x4_extract_lane(0);
            }
        } else {
            let offset = self.push_ea(i);
            if double {
                self.s().f64_load(arg(offset));
            } else {
                self.s().f32_load(arg(offset));
            }
        }
    }

    /// Pops a float into the low lane of operand 0, keeping the rest.
    fn pop_scalar(&mut self, i: &Instruction, double: bool) {
        let t = self.tmp(if double { ValType::F64 } else { ValType::F32 });
        let l = self.xmm(i.op0_register());
        self.s().local_set(t).local_get(l).local_get(t);
        if double {
            self.s().f64x2_replace_lane(0);
        } else {
            self.s().f32x4_replace_lane(0);
        }
        self.s().local_set(l);
    }

    /// Pushes what x86 makes of an operation whose result is a NaN: the first operand that is one, quiet, or the default. No call: what is in
    /// registers stays there.
    fn push_nan(&mut self, a: u32, b: u32, double: bool) {
        let mut s = self.s();
        if double {
            let quiet = 0x0008_0000_0000_0000;
            s.local_get(a).i64_reinterpret_f64().i64_const(quiet).i64_or();
            s.local_get(b).i64_reinterpret_f64().i64_const(quiet).i64_or();
            s.i64_const(0xfff8_0000_0000_0000_u64 as i64).local_get(b).local_get(b).f64_ne().select();
            s.local_get(a).local_get(a).f64_ne().select().f64_reinterpret_i64();
        } else {
            let quiet = 0x0040_0000;
            s.local_get(a).i32_reinterpret_f32().i32_const(quiet).i32_or();
            s.local_get(b).i32_reinterpret_f32().i32_const(quiet).i32_or();
            s.i32_const(0xffc0_0000_u32 as i32).local_get(b).local_get(b).f32_ne().select();
            s.local_get(a).local_get(a).f32_ne().select().f32_reinterpret_i32();
        }
    }

    /// `a op b`, both pushed by the caller's closures; fixes NaN results.
    fn float_op(&mut self, i: &Instruction, shape: Shape, scalar: (Ins, Ins), packed: (Ins, Ins), unary: bool) {
        let double = shape.double();
        if shape.scalar() {
            let t = if double { ValType::F64 } else { ValType::F32 };
            let (a, b, r) = (self.tmp(t), self.tmp(t), self.tmp(t));
            self.push_scalar(i, 1, double);
            self.s().local_set(b);
            if unary {
                self.s().local_get(b).local_set(a);
            } else {
                self.push_scalar(i, 0, double);
                self.s().local_tee(a);
            }
            self.s().local_get(b);
            if double {
                (scalar.1)(&mut self.s());
            } else {
                (scalar.0)(&mut self.s());
            }
            // Only a NaN is not at least itself. One jump tells, where equality takes two.
            self.s().local_tee(r).local_get(r);
            if double {
                self.s().f64_ge();
            } else {
                self.s().f32_ge();
            }
            self.s().i32_eqz().if_(BlockType::Empty);
            self.push_nan(a, b, double);
            self.s().local_set(r);
            self.raise_invalid(a, b, double);
            self.s().end();
            if is_division(i) {
                self.raise_division(a, b, double);
            }
            self.s().local_get(r);
            self.pop_scalar(i, double);
        } else {
            let (a, b, r) = (self.tmp(ValType::V128), self.tmp(ValType::V128), self.tmp(ValType::V128));
            self.push_v(i, 1, true);
            self.s().local_set(b);
            if unary {
                self.s().local_get(b).local_set(a);
            } else {
                self.push_v(i, 0, true);
                self.s().local_set(a).local_get(a);
            }
            self.s().local_get(b);
            if double {
                (packed.1)(&mut self.s());
            } else {
                (packed.0)(&mut self.s());
            }
            self.s().local_tee(r).local_get(r);
            if double {
                self.s().f64x2_ne();
            } else {
                self.s().f32x4_ne();
            }
            let f = self.m.helper_index(if double { Helper::NanF64x2 } else { Helper::NanF32x4 });
            self.s().v128_any_true().if_(BlockType::Empty);
            self.s().local_get(a).local_get(b).local_get(r).call(f).local_set(r).end();
            if is_division(i) {
                self.raise_divisions(a, b, double);
            }
            self.s().local_get(r);
            self.pop_v(i);
        }
    }

    /// Sets MXCSR's flag of an invalid operation where a NaN came of operands that are none.
    fn raise_invalid(&mut self, a: u32, b: u32, double: bool) {
        let mut s = self.s();
        s.global_get(Global::Mxcsr as u32).local_get(a).local_get(a);
        if double {
            s.f64_eq().local_get(b).local_get(b).f64_eq();
        } else {
            s.f32_eq().local_get(b).local_get(b).f32_eq();
        }
        s.i32_and().i32_or().global_set(Global::Mxcsr as u32);
    }

    /// Sets MXCSR's flag of a division by zero: of what is neither zero nor infinite nor a NaN.
    fn raise_division(&mut self, a: u32, b: u32, double: bool) {
        let mut s = self.s();
        if double {
            s.local_get(b).f64_const(0.0.into()).f64_eq().if_(BlockType::Empty).global_get(Global::Mxcsr as u32);
            s.local_get(a).f64_abs().f64_const(f64::INFINITY.into()).f64_lt();
            s.local_get(a).f64_const(0.0.into()).f64_ne();
        } else {
            s.local_get(b).f32_const(0.0.into()).f32_eq().if_(BlockType::Empty).global_get(Global::Mxcsr as u32);
            s.local_get(a).f32_abs().f32_const(f32::INFINITY.into()).f32_lt();
            s.local_get(a).f32_const(0.0.into()).f32_ne();
        }
        s.i32_and().i32_const(2).i32_shl().i32_or().global_set(Global::Mxcsr as u32).end();
    }

    /// The same for all lanes.
    fn raise_divisions(&mut self, a: u32, b: u32, double: bool) {
        let zero = self.tmp(ValType::V128);
        let mut s = self.s();
        s.local_get(b).v128_const(0);
        if double {
            s.f64x2_eq().local_tee(zero).v128_any_true().if_(BlockType::Empty).global_get(Global::Mxcsr as u32);
            s.local_get(a).f64x2_abs().f64_const(f64::INFINITY.into()).f64x2_splat().f64x2_lt();
            s.local_get(a).v128_const(0).f64x2_ne();
        } else {
            s.f32x4_eq().local_tee(zero).v128_any_true().if_(BlockType::Empty).global_get(Global::Mxcsr as u32);
            s.local_get(a).f32x4_abs().f32_const(f32::INFINITY.into()).f32x4_splat().f32x4_lt();
            s.local_get(a).v128_const(0).f32x4_ne();
        }
        s.v128_and().local_get(zero).v128_and().v128_any_true();
        s.i32_const(2).i32_shl().i32_or().global_set(Global::Mxcsr as u32).end();
    }

    /// min and max: `a` if it compares so against `b`, else `b`.
    fn min_max(&mut self, i: &Instruction, shape: Shape, max: bool) {
        let double = shape.double();
        if shape.scalar() {
            let t = if double { ValType::F64 } else { ValType::F32 };
            let (a, b) = (self.tmp(t), self.tmp(t));
            self.push_scalar(i, 1, double);
            self.s().local_set(b);
            self.push_scalar(i, 0, double);
            self.s().local_set(a).local_get(a).local_get(b).local_get(a).local_get(b);
            match (double, max) {
                (true, false) => self.s().f64_lt(),
                (true, true) => self.s().f64_gt(),
                (false, false) => self.s().f32_lt(),
                (false, true) => self.s().f32_gt(),
            };
            self.s().select();
            self.pop_scalar(i, double);
        } else {
            self.push_v(i, 1, true);
            self.push_v(i, 0, true);
            match (double, max) {
                (true, false) => self.s().f64x2_pmin(),
                (true, true) => self.s().f64x2_pmax(),
                (false, false) => self.s().f32x4_pmin(),
                (false, true) => self.s().f32x4_pmax(),
            };
            self.pop_v(i);
        }
    }

    fn compare(&mut self, i: &Instruction, shape: Shape) {
        let double = shape.double();
        let p = i.immediate8() & 7;
        let negate = p >= 4;
        if shape.scalar() {
            let t = if double { ValType::F64 } else { ValType::F32 };
            let (a, b) = (self.tmp(t), self.tmp(t));
            self.push_scalar(i, 1, double);
            self.s().local_set(b);
            self.push_scalar(i, 0, double);
            self.s().local_set(a);
            let two = |g: &mut Self, x: u32, y: u32, f64_: Ins, f32_: Ins| {
                g.s().local_get(x).local_get(y);
                if double {
                    f64_(&mut g.s());
                } else {
                    f32_(&mut g.s());
                }
            };
            match p & 3 {
                0 => two(self, a, b, ins!(f64_eq), ins!(f32_eq)),
                1 => two(self, a, b, ins!(f64_lt), ins!(f32_lt)),
                2 => two(self, a, b, ins!(f64_le), ins!(f32_le)),
                _ => {
                    two(self, a, a, ins!(f64_ne), ins!(f32_ne));
                    two(self, b, b, ins!(f64_ne), ins!(f32_ne));
                    self.s().i32_or();
                }
            }
            if negate {
                self.s().i32_eqz();
            }
            let m = self.tmp(ValType::I32);
            let l = self.xmm(i.op0_register());
            self.s().local_set(m).local_get(l).i32_const(0).local_get(m).i32_sub();
            if double {
                self.s().i64_extend_i32_s().i64x2_replace_lane(0);
            } else {
                self.s().i32x4_replace_lane(0);
            }
            self.s().local_set(l);
        } else {
            let (a, b) = (self.tmp(ValType::V128), self.tmp(ValType::V128));
            self.push_v(i, 1, true);
            self.s().local_set(b);
            self.push_v(i, 0, true);
            self.s().local_set(a);
            let two = |g: &mut Self, x: u32, y: u32, f64_: Ins, f32_: Ins| {
                g.s().local_get(x).local_get(y);
                if double {
                    f64_(&mut g.s());
                } else {
                    f32_(&mut g.s());
                }
            };
            match p & 3 {
                0 => two(self, a, b, ins!(f64x2_eq), ins!(f32x4_eq)),
                1 => two(self, a, b, ins!(f64x2_lt), ins!(f32x4_lt)),
                2 => two(self, a, b, ins!(f64x2_le), ins!(f32x4_le)),
                _ => {
                    two(self, a, a, ins!(f64x2_ne), ins!(f32x4_ne));
                    two(self, b, b, ins!(f64x2_ne), ins!(f32x4_ne));
                    self.s().v128_or();
                }
            }
            if negate {
                self.s().v128_not();
            }
            self.pop_v(i);
        }
    }

    /// comiss, ucomiss, comisd, ucomisd.
    fn compare_flags(&mut self, i: &Instruction, double: bool) {
        let t = if double { ValType::F64 } else { ValType::F32 };
        let (x, y) = (self.local(t), self.local(t));
        self.push_scalar(i, 0, double);
        self.s().local_set(x);
        self.push_scalar(i, 1, double);
        self.s().local_set(y);
        if !self.wanted(RegSet::ARITH).is_empty() {
            for f in [OF, SF, AF] {
                self.set_const_flag(f, false);
            }
            self.set_lazy(
                RegSet::of(&[ZF, PF, CF]),
                Lazy { kind: Kind::Float, size: if double { 8 } else { 4 }, x, y },
            );
        }
    }

    /// Two-operand integer operation whose wasm form takes (destination, source).
    fn int_op(&mut self, i: &Instruction, f: Ins) {
        self.push_v(i, 0, true);
        self.push_v(i, 1, true);
        f(&mut self.s());
        self.pop_v(i);
    }

    fn shuffle_op(&mut self, i: &Instruction, lanes: [Lane; 16]) {
        self.push_v(i, 0, true);
        self.push_v(i, 1, true);
        self.s().i8x16_shuffle(lanes);
        self.pop_v(i);
    }

    fn zero(&mut self) {
        self.s().v128_const(0);
    }

    /// Shifts of 16-, 32- and 64-bit lanes.
    fn vector_shift(&mut self, i: &Instruction, width: u32, f: Ins, arithmetic: bool) {
        let l = self.xmm(i.op0_register());
        if i.op1_kind() == OpKind::Immediate8 {
            let n = u32::from(i.immediate8());
            if n >= width && !arithmetic {
                self.zero();
            } else {
                self.s().local_get(l).i32_const(n.min(width - 1) as i32);
                f(&mut self.s());
            }
            self.s().local_set(l);
            return;
        }
        let n = self.tmp(ValType::I64);
        self.push_v(i, 1, true);
        self.s().i64x2_extract_lane(0).local_set(n);
        if arithmetic {
            self.s().local_get(l).local_get(n).i64_const(i64::from(width) - 1);
            self.s().local_get(n).i64_const(i64::from(width) - 1).i64_lt_u().select().i32_wrap_i64();
            f(&mut self.s());
        } else {
            self.s().local_get(l).local_get(n).i32_wrap_i64();
            f(&mut self.s());
            self.zero();
            self.s().local_get(n).i64_const(i64::from(width)).i64_lt_u().select();
        }
        self.s().local_set(l);
    }

    fn promote_nan(&mut self) {
        // f32 on the stack -> f64, with x86's NaN.
        let (a, bits) = (self.tmp(ValType::F32), self.tmp(ValType::I64));
        let r = self.tmp(ValType::F64);
        self.s().local_tee(a).f64_promote_f32().local_set(r).local_get(a).local_get(a).f32_ne().if_(BlockType::Empty);
        self.s().local_get(a).i32_reinterpret_f32().i64_extend_i32_u().local_tee(bits).i64_const(32).i64_shl();
        self.s()
            .i64_const(i64::MIN)
            .i64_and()
            .local_get(bits)
            .i64_const(0x7f_ffff)
            .i64_and()
            .i64_const(29)
            .i64_shl()
            .i64_or();
        self.s().i64_const(0x7ff8_0000_0000_0000).i64_or().f64_reinterpret_i64().local_set(r).end().local_get(r);
    }

    fn demote_nan(&mut self) {
        let (a, bits) = (self.tmp(ValType::F64), self.tmp(ValType::I64));
        let r = self.tmp(ValType::F32);
        self.s().local_tee(a).f32_demote_f64().local_set(r).local_get(a).local_get(a).f64_ne().if_(BlockType::Empty);
        self.s()
            .local_get(a)
            .i64_reinterpret_f64()
            .local_tee(bits)
            .i64_const(32)
            .i64_shr_u()
            .i64_const(0x8000_0000)
            .i64_and();
        self.s().local_get(bits).i64_const(29).i64_shr_u().i64_const(0x3f_ffff).i64_and().i64_or();
        self.s().i64_const(0x7fc0_0000).i64_or().i32_wrap_i64().f32_reinterpret_i32().local_set(r).end().local_get(r);
    }

    /// Float to integer register; `nearest` rounds first, otherwise truncates.
    fn float_to_int(&mut self, i: &Instruction, double: bool, nearest: bool) {
        let t = if double { ValType::F64 } else { ValType::F32 };
        let a = self.tmp(t);
        self.push_scalar(i, 1, double);
        if nearest {
            if double {
                self.s().f64_nearest();
            } else {
                self.s().f32_nearest();
            }
        }
        let wide = i.op0_register().size() == 8;
        let r = self.tmp(if wide { ValType::I64 } else { ValType::I32 });
        let limit = if wide { 9_223_372_036_854_775_808.0 } else { 2_147_483_648.0 };
        let mut s = self.s();
        s.local_tee(a);
        match (wide, double) {
            (true, true) => s.i64_trunc_sat_f64_s(),
            (true, false) => s.i64_trunc_sat_f32_s(),
            (false, true) => s.i32_trunc_sat_f64_s(),
            (false, false) => s.i32_trunc_sat_f32_s(),
        };
        s.local_set(r).local_get(a);
        if double {
            s.f64_abs().f64_const(limit.into()).f64_lt();
        } else {
            s.f32_abs().f32_const((limit as f32).into()).f32_lt();
        }
        s.i32_eqz().if_(BlockType::Empty);
        if wide {
            s.i64_const(i64::MIN);
        } else {
            s.i32_const(i32::MIN);
        }
        // The least integer is the one number out of this range that has a result, and the same.
        s.local_set(r).global_get(Global::Mxcsr as u32).local_get(a);
        if double {
            s.f64_trunc().f64_const((-limit).into()).f64_ne();
        } else {
            s.f32_trunc().f32_const((-limit as f32).into()).f32_ne();
        }
        s.i32_or().global_set(Global::Mxcsr as u32).end().local_get(r);
        self.pop_reg(i.op0_register());
    }

    /// The same for all lanes, to 32-bit integers: of floats four, of doubles two, with zeros above.
    fn floats_to_ints(&mut self, i: &Instruction, double: bool, nearest: bool) {
        let (v, r, fits) = (self.tmp(ValType::V128), self.tmp(ValType::V128), self.tmp(ValType::V128));
        let limit = 2_147_483_648.0;
        self.push_v(i, 1, true);
        let mut s = self.s();
        if nearest {
            if double {
                s.f64x2_nearest();
            } else {
                s.f32x4_nearest();
            }
        }
        s.local_set(v).local_get(v);
        if double {
            s.i32x4_trunc_sat_f64x2_s_zero().local_set(r);
            s.local_get(v).f64x2_abs().f64_const(limit.into()).f64x2_splat().f64x2_lt();
            s.local_tee(fits).i64x2_all_true();
        } else {
            s.i32x4_trunc_sat_f32x4_s().local_set(r);
            s.local_get(v).f32x4_abs().f32_const((limit as f32).into()).f32x4_splat().f32x4_lt();
            s.local_tee(fits).i32x4_all_true();
        }
        s.i32_eqz().if_(BlockType::Empty);
        s.local_get(r).i32_const(i32::MIN).i32x4_splat().local_get(fits);
        if double {
            // The lower half of each, and ones for the zeros above.
            s.v128_const(-1)
                .i8x16_shuffle(std::array::from_fn(|k| if k < 8 { 8 * (k / 4) + k % 4 } else { 16 + k } as Lane));
        }
        s.v128_bitselect().local_set(r);
        // The least integer is the one number out of this range that has a result, and the same.
        s.global_get(Global::Mxcsr as u32).local_get(v);
        if double {
            s.f64x2_trunc().f64_const((-limit).into()).f64x2_splat().f64x2_eq();
            s.local_get(fits).v128_or().i64x2_all_true();
        } else {
            s.f32x4_trunc().f32_const((-limit as f32).into()).f32x4_splat().f32x4_eq();
            s.local_get(fits).v128_or().i32x4_all_true();
        }
        s.i32_eqz().i32_or().global_set(Global::Mxcsr as u32).end().local_get(r);
        self.pop_v(i);
    }

    fn lane_move(&mut self, to: u32, to_lane: Lane, from: u32, from_lane: Lane) {
        self.s().local_get(to).local_get(from).i64x2_extract_lane(from_lane).i64x2_replace_lane(to_lane).local_set(to);
    }

    /// Half of an xmm register to or from memory.
    fn half(&mut self, i: &Instruction, lane: Lane) {
        if Self::is_xmm(i, 0) {
            let l = self.xmm(i.op0_register());
            let offset = self.push_ea(i);
            self.s().local_get(l).v128_load64_lane(arg(offset), lane).local_set(l);
        } else {
            let l = self.xmm(i.op1_register());
            let offset = self.push_ea(i);
            self.s().local_get(l).v128_store64_lane(arg(offset), lane);
        }
    }

    /// Emits an SSE instruction on xmm registers; false if `i` is none of those covered.
    pub fn sse(&mut self, i: &Instruction) -> bool {
        use Mnemonic::*;
        if Self::is_mm(i) {
            return false;
        }
        let lanes = |f: fn(usize) -> usize| -> [Lane; 16] { std::array::from_fn(|k| f(k) as Lane) };
        match i.mnemonic() {
            Movaps | Movapd | Movdqa | Movntps | Movntpd | Movntdq | Movups | Movupd | Movdqu => {
                let aligned = !matches!(i.mnemonic(), Movups | Movupd | Movdqu);
                if Self::is_xmm(i, 0) {
                    self.push_v(i, 1, aligned);
                    self.pop_v(i);
                } else {
                    let l = self.xmm(i.op1_register());
                    let offset = if aligned {
                        self.push_aligned(i);
                        0
                    } else {
                        self.push_ea(i)
                    };
                    self.s().local_get(l).v128_store(arg(offset));
                }
            }
            Movss | Movsd => {
                let double = i.mnemonic() == Movsd;
                if Self::is_xmm(i, 0) && Self::is_xmm(i, 1) {
                    let (d, s) = (self.xmm(i.op0_register()), self.xmm(i.op1_register()));
                    self.s().local_get(d).local_get(s);
                    if double {
                        self.s().f64x2_extract_lane(0).f64x2_replace_lane(0);
                    } else {
                        self.s().f32x4_extract_lane(0).f32x4_replace_lane(0);
                    }
                    self.s().local_set(d);
                } else if Self::is_xmm(i, 0) {
                    let offset = self.push_ea(i);
                    if double {
                        self.s().v128_load64_zero(arg(offset));
                    } else {
                        self.s().v128_load32_zero(arg(offset));
                    }
                    self.pop_v(i);
                } else {
                    let l = self.xmm(i.op1_register());
                    let offset = self.push_ea(i);
                    self.s().local_get(l);
                    if double {
                        self.s().v128_store64_lane(arg(offset), 0);
                    } else {
                        self.s().v128_store32_lane(arg(offset), 0);
                    }
                }
            }
            Movlps | Movlpd => self.half(i, 0),
            Movhps | Movhpd => self.half(i, 1),
            Movhlps => {
                let (d, s) = (self.xmm(i.op0_register()), self.xmm(i.op1_register()));
                self.lane_move(d, 0, s, 1);
            }
            Movlhps => {
                let (d, s) = (self.xmm(i.op0_register()), self.xmm(i.op1_register()));
                self.lane_move(d, 1, s, 0);
            }
            Movd | Movq => {
                if Self::is_xmm(i, 0) {
                    if Self::is_xmm(i, 1) {
                        let l = self.xmm(i.op1_register());
                        self.zero();
                        self.s().local_get(l).i64x2_extract_lane(0).i64x2_replace_lane(0);
                    } else if i.op1_kind() == OpKind::Register {
                        let wide = i.op1_register().size() == 8;
                        self.zero();
                        self.push_reg(i.op1_register());
                        if wide {
                            self.s().i64x2_replace_lane(0);
                        } else {
                            self.s().i32x4_replace_lane(0);
                        }
                    } else {
                        let wide = i.memory_size().size() == 8;
                        let offset = self.push_ea(i);
                        if wide {
                            self.s().v128_load64_zero(arg(offset));
                        } else {
                            self.s().v128_load32_zero(arg(offset));
                        }
                    }
                    self.pop_v(i);
                } else {
                    let l = self.xmm(i.op1_register());
                    if i.op0_kind() == OpKind::Register {
                        let wide = i.op0_register().size() == 8;
                        self.s().local_get(l);
                        if wide {
                            self.s().i64x2_extract_lane(0);
                        } else {
                            self.s().i32x4_extract_lane(0);
                        }
                        self.pop_reg(i.op0_register());
                    } else {
                        let wide = i.memory_size().size() == 8;
                        let offset = self.push_ea(i);
                        self.s().local_get(l);
                        if wide {
                            self.s().v128_store64_lane(arg(offset), 0);
                        } else {
                            self.s().v128_store32_lane(arg(offset), 0);
                        }
                    }
                }
            }
            Movmskps | Movmskpd | Pmovmskb => {
                let l = self.xmm(i.op1_register());
                self.s().local_get(l);
                match i.mnemonic() {
                    Movmskps => self.s().i32x4_bitmask(),
                    Movmskpd => self.s().i64x2_bitmask(),
                    _ => self.s().i8x16_bitmask(),
                };
                if i.op0_register().size() == 8 {
                    self.s().i64_extend_i32_u();
                }
                self.pop_reg(i.op0_register());
            }
            Maskmovdqu => {
                let (v, m) = (self.xmm(i.op1_register()), self.xmm(i.op2_register()));
                if i.segment_prefix() == Register::FS || i.segment_prefix() == Register::GS {
                    return false;
                }
                // Processors touch all 16 bytes, whatever the mask: merge, and write them back.
                let rdi = self.reg_local(RDI);
                self.s().local_get(rdi).i32_wrap_i64();
                self.s().local_get(v).local_get(rdi).i32_wrap_i64().v128_load(arg(0));
                self.s().local_get(m).i32_const(7).i8x16_shr_s().v128_bitselect().v128_store(arg(0));
            }

            Addss | Addsd | Addps | Addpd => {
                self.float_op(i, shape(i), (ins!(f32_add), ins!(f64_add)), (ins!(f32x4_add), ins!(f64x2_add)), false);
            }
            Subss | Subsd | Subps | Subpd => {
                self.float_op(i, shape(i), (ins!(f32_sub), ins!(f64_sub)), (ins!(f32x4_sub), ins!(f64x2_sub)), false);
            }
            Mulss | Mulsd | Mulps | Mulpd => {
                self.float_op(i, shape(i), (ins!(f32_mul), ins!(f64_mul)), (ins!(f32x4_mul), ins!(f64x2_mul)), false);
            }
            Divss | Divsd | Divps | Divpd => {
                self.float_op(i, shape(i), (ins!(f32_div), ins!(f64_div)), (ins!(f32x4_div), ins!(f64x2_div)), false);
            }
            Sqrtss | Sqrtsd | Sqrtps | Sqrtpd => {
                self.float_op(
                    i,
                    shape(i),
                    (ins!(f32_sqrt), ins!(f64_sqrt)),
                    (ins!(f32x4_sqrt), ins!(f64x2_sqrt)),
                    true,
                );
            }
            Minss | Minsd | Minps | Minpd => self.min_max(i, shape(i), false),
            Maxss | Maxsd | Maxps | Maxpd => self.min_max(i, shape(i), true),
            Cmpss | Cmpsd | Cmpps | Cmppd => self.compare(i, shape(i)),
            Comiss | Ucomiss => self.compare_flags(i, false),
            Comisd | Ucomisd => self.compare_flags(i, true),
            Rcpss | Rsqrtss => {
                let f = self.m.helper_index(if i.mnemonic() == Rcpss { Helper::Rcp } else { Helper::Rsqrt });
                self.push_scalar(i, 1, false);
                self.s().i32_reinterpret_f32().call(f).f32_reinterpret_i32();
                self.pop_scalar(i, false);
            }
            Rcpps | Rsqrtps => {
                let f = self.m.helper_index(if i.mnemonic() == Rcpps { Helper::Rcp } else { Helper::Rsqrt });
                let v = self.tmp(ValType::V128);
                self.push_v(i, 1, true);
                self.s().local_tee(v);
                for k in 0..4u8 {
                    self.s().local_get(v).i32x4_extract_lane(k).call(f).i32x4_replace_lane(k);
                }
                self.pop_v(i);
            }
            Andps | Andpd | Pand => self.int_op(i, ins!(v128_and)),
            Orps | Orpd | Por => self.int_op(i, ins!(v128_or)),
            Xorps | Xorpd | Pxor => {
                if is_zero_idiom(i) {
                    self.zero();
                    self.pop_v(i);
                } else {
                    self.int_op(i, ins!(v128_xor));
                }
            }
            Andnps | Andnpd | Pandn => {
                // ~destination & source
                self.push_v(i, 1, true);
                self.push_v(i, 0, true);
                self.s().v128_andnot();
                self.pop_v(i);
            }
            Unpcklps | Punpckldq => self.shuffle_op(i, lanes(|k| k % 4 + 4 * (k / 8) + 16 * (k / 4 % 2))),
            Unpckhps | Punpckhdq => self.shuffle_op(i, lanes(|k| 8 + k % 4 + 4 * (k / 8) + 16 * (k / 4 % 2))),
            Unpcklpd | Punpcklqdq => self.shuffle_op(i, lanes(|k| k % 8 + 16 * (k / 8))),
            Unpckhpd | Punpckhqdq => self.shuffle_op(i, lanes(|k| 8 + k % 8 + 16 * (k / 8))),
            Punpcklbw => self.shuffle_op(i, lanes(|k| k / 2 + 16 * (k % 2))),
            Punpckhbw => self.shuffle_op(i, lanes(|k| 8 + k / 2 + 16 * (k % 2))),
            Punpcklwd => self.shuffle_op(i, lanes(|k| k % 2 + 2 * (k / 4) + 16 * (k / 2 % 2))),
            Punpckhwd => self.shuffle_op(i, lanes(|k| 8 + k % 2 + 2 * (k / 4) + 16 * (k / 2 % 2))),
            Shufps => {
                let n = i.immediate8();
                let l = std::array::from_fn(|k| {
                    let lane = k / 4;
                    (n >> (2 * lane) & 3) * 4 + (k % 4) as u8 + if lane >= 2 { 16 } else { 0 }
                });
                self.shuffle_op(i, l);
            }
            Shufpd => {
                let n = i.immediate8();
                let l = std::array::from_fn(|k| (n >> (k / 8) & 1) * 8 + (k % 8) as u8 + if k >= 8 { 16 } else { 0 });
                self.shuffle_op(i, l);
            }
            Pshufd | Pshuflw | Pshufhw => {
                let n = i.immediate8();
                let m = i.mnemonic();
                let l: [Lane; 16] = std::array::from_fn(|k| match m {
                    Pshufd => (n >> (2 * (k / 4)) & 3) * 4 + (k % 4) as u8,
                    Pshuflw if k < 8 => (n >> (2 * (k / 2)) & 3) * 2 + (k % 2) as u8,
                    Pshufhw if k >= 8 => 8 + (n >> (2 * (k / 2 - 4)) & 3) * 2 + (k % 2) as u8,
                    _ => k as u8,
                });
                let v = self.tmp(ValType::V128);
                self.push_v(i, 1, true);
                self.s().local_tee(v).local_get(v).i8x16_shuffle(l);
                self.pop_v(i);
            }
            Paddb => self.int_op(i, ins!(i8x16_add)),
            Paddw => self.int_op(i, ins!(i16x8_add)),
            Paddd => self.int_op(i, ins!(i32x4_add)),
            Paddq => self.int_op(i, ins!(i64x2_add)),
            Psubb | Psubw | Psubd | Psubq if is_zero_idiom(i) => {
                self.zero();
                self.pop_v(i);
            }
            Psubb => self.int_op(i, ins!(i8x16_sub)),
            Psubw => self.int_op(i, ins!(i16x8_sub)),
            Psubd => self.int_op(i, ins!(i32x4_sub)),
            Psubq => self.int_op(i, ins!(i64x2_sub)),
            Paddsb => self.int_op(i, ins!(i8x16_add_sat_s)),
            Paddsw => self.int_op(i, ins!(i16x8_add_sat_s)),
            Paddusb => self.int_op(i, ins!(i8x16_add_sat_u)),
            Paddusw => self.int_op(i, ins!(i16x8_add_sat_u)),
            Psubsb => self.int_op(i, ins!(i8x16_sub_sat_s)),
            Psubsw => self.int_op(i, ins!(i16x8_sub_sat_s)),
            Psubusb => self.int_op(i, ins!(i8x16_sub_sat_u)),
            Psubusw => self.int_op(i, ins!(i16x8_sub_sat_u)),
            Pmullw => self.int_op(i, ins!(i16x8_mul)),
            Pmaddwd => self.int_op(i, ins!(i32x4_dot_i16x8_s)),
            Pavgb => self.int_op(i, ins!(i8x16_avgr_u)),
            Pavgw => self.int_op(i, ins!(i16x8_avgr_u)),
            Pminub => self.int_op(i, ins!(i8x16_min_u)),
            Pmaxub => self.int_op(i, ins!(i8x16_max_u)),
            Pminsw => self.int_op(i, ins!(i16x8_min_s)),
            Pmaxsw => self.int_op(i, ins!(i16x8_max_s)),
            Pcmpeqb => self.int_op(i, ins!(i8x16_eq)),
            Pcmpeqw => self.int_op(i, ins!(i16x8_eq)),
            Pcmpeqd => self.int_op(i, ins!(i32x4_eq)),
            Pcmpgtb => self.int_op(i, ins!(i8x16_gt_s)),
            Pcmpgtw => self.int_op(i, ins!(i16x8_gt_s)),
            Pcmpgtd => self.int_op(i, ins!(i32x4_gt_s)),
            Packsswb => self.int_op(i, ins!(i8x16_narrow_i16x8_s)),
            Packssdw => self.int_op(i, ins!(i16x8_narrow_i32x4_s)),
            Packuswb => self.int_op(i, ins!(i8x16_narrow_i16x8_u)),
            Pmulhw | Pmulhuw => {
                let (a, b) = (self.tmp(ValType::V128), self.tmp(ValType::V128));
                self.push_v(i, 0, true);
                self.s().local_set(a);
                self.push_v(i, 1, true);
                self.s().local_set(b).local_get(a).local_get(b);
                if i.mnemonic() == Pmulhw {
                    self.s().i32x4_extmul_low_i16x8_s().local_get(a).local_get(b).i32x4_extmul_high_i16x8_s();
                } else {
                    self.s().i32x4_extmul_low_i16x8_u().local_get(a).local_get(b).i32x4_extmul_high_i16x8_u();
                }
                self.s().i8x16_shuffle(lanes(|k| 4 * (k / 2) + 2 + k % 2));
                self.pop_v(i);
            }
            Pmuludq => {
                let even = lanes(|k| if k < 8 { 8 * (k / 4) + k % 4 } else { k });
                for k in [0, 1] {
                    let v = self.tmp(ValType::V128);
                    self.push_v(i, k, true);
                    self.s().local_tee(v).local_get(v).i8x16_shuffle(even);
                }
                self.s().i64x2_extmul_low_i32x4_u();
                self.pop_v(i);
            }
            Psadbw => {
                let (a, b) = (self.tmp(ValType::V128), self.tmp(ValType::V128));
                self.push_v(i, 0, true);
                self.s().local_set(a);
                self.push_v(i, 1, true);
                self.s()
                    .local_set(b)
                    .local_get(a)
                    .local_get(b)
                    .i8x16_sub_sat_u()
                    .local_get(b)
                    .local_get(a)
                    .i8x16_sub_sat_u();
                self.s().v128_or().i16x8_extadd_pairwise_i8x16_u().i32x4_extadd_pairwise_i16x8_u().local_tee(a);
                self.s()
                    .i64_const(0xffff_ffff)
                    .i64x2_splat()
                    .v128_and()
                    .local_get(a)
                    .i32_const(32)
                    .i64x2_shr_u()
                    .i64x2_add();
                self.pop_v(i);
            }
            Psllw => self.vector_shift(i, 16, ins!(i16x8_shl), false),
            Pslld => self.vector_shift(i, 32, ins!(i32x4_shl), false),
            Psllq => self.vector_shift(i, 64, ins!(i64x2_shl), false),
            Psrlw => self.vector_shift(i, 16, ins!(i16x8_shr_u), false),
            Psrld => self.vector_shift(i, 32, ins!(i32x4_shr_u), false),
            Psrlq => self.vector_shift(i, 64, ins!(i64x2_shr_u), false),
            Psraw => self.vector_shift(i, 16, ins!(i16x8_shr_s), true),
            Psrad => self.vector_shift(i, 32, ins!(i32x4_shr_s), true),
            Pslldq | Psrldq => {
                let n = i.immediate8().min(16);
                let l = self.xmm(i.op0_register());
                let left = i.mnemonic() == Pslldq;
                let lanes: [Lane; 16] = std::array::from_fn(|k| {
                    let k = k as u8;
                    // Index 16 and above: zero.
                    if left { if k >= n { k - n } else { 16 } } else { (k + n).min(16) }
                });
                self.s().local_get(l);
                self.zero();
                self.s().i8x16_shuffle(lanes).local_set(l);
            }
            Pextrw => {
                let l = self.xmm(i.op1_register());
                if i.op0_kind() != OpKind::Register {
                    return false;
                }
                self.s().local_get(l).i16x8_extract_lane_u(i.immediate8() & 7);
                if i.op0_register().size() == 8 {
                    self.s().i64_extend_i32_u();
                }
                self.pop_reg(i.op0_register());
            }
            Pinsrw => {
                let l = self.xmm(i.op0_register());
                self.s().local_get(l);
                if i.op1_kind() == OpKind::Register {
                    self.push_gpr64(i.op1_register().full_register());
                    self.s().i32_wrap_i64();
                } else {
                    let offset = self.push_ea(i);
                    self.load(2, offset);
                }
                self.s().i16x8_replace_lane(i.immediate8() & 7).local_set(l);
            }
            Cvtsi2ss | Cvtsi2sd => {
                let double = i.mnemonic() == Cvtsi2sd;
                let size = self.op_size(i, 1);
                self.push_op(i, 1, size);
                match (size == 8, double) {
                    (true, true) => self.s().f64_convert_i64_s(),
                    (true, false) => self.s().f32_convert_i64_s(),
                    (false, true) => self.s().f64_convert_i32_s(),
                    (false, false) => self.s().f32_convert_i32_s(),
                };
                self.pop_scalar(i, double);
            }
            Cvttss2si => self.float_to_int(i, false, false),
            Cvttsd2si => self.float_to_int(i, true, false),
            Cvtss2si => self.float_to_int(i, false, true),
            Cvtsd2si => self.float_to_int(i, true, true),
            Cvtss2sd => {
                self.push_scalar(i, 1, false);
                self.promote_nan();
                self.pop_scalar(i, true);
            }
            Cvtsd2ss => {
                self.push_scalar(i, 1, true);
                self.demote_nan();
                self.pop_scalar(i, false);
            }
            Cvtps2pd => {
                let v = self.tmp(ValType::V128);
                if Self::is_xmm(i, 1) {
                    self.push_v(i, 1, false);
                } else {
                    let offset = self.push_ea(i);
                    self.s().v128_load64_zero(arg(offset));
                }
                self.s().local_set(v);
                self.zero();
                for k in 0..2u8 {
                    self.s().local_get(v).f32x4_extract_lane(k);
                    self.promote_nan();
                    self.s().f64x2_replace_lane(k);
                }
                self.pop_v(i);
            }
            Cvtpd2ps => {
                let v = self.tmp(ValType::V128);
                self.push_v(i, 1, true);
                self.s().local_set(v);
                self.zero();
                for k in 0..2u8 {
                    self.s().local_get(v).f64x2_extract_lane(k);
                    self.demote_nan();
                    self.s().f32x4_replace_lane(k);
                }
                self.pop_v(i);
            }
            Cvtdq2ps => {
                self.push_v(i, 1, true);
                self.s().f32x4_convert_i32x4_s();
                self.pop_v(i);
            }
            Cvtdq2pd => {
                if Self::is_xmm(i, 1) {
                    self.push_v(i, 1, false);
                } else {
                    let offset = self.push_ea(i);
                    self.s().v128_load64_zero(arg(offset));
                }
                self.s().f64x2_convert_low_i32x4_s();
                self.pop_v(i);
            }
            Cvtps2dq | Cvttps2dq => self.floats_to_ints(i, false, i.mnemonic() == Cvtps2dq),
            Cvtpd2dq | Cvttpd2dq => self.floats_to_ints(i, true, i.mnemonic() == Cvtpd2dq),
            Ldmxcsr => {
                let v = self.tmp(ValType::I32);
                let offset = self.push_ea(i);
                self.load(4, offset);
                self.s().local_tee(v).i32_const(!0xffff).i32_and().if_(BlockType::Empty).unreachable().end();
                self.s().local_get(v).global_set(Global::Mxcsr as u32);
                self.s().local_get(v).i32_const(0xffc0).i32_and().i32_const(0x1f80).i32_ne().if_(BlockType::Empty);
                self.s().i32_const(Notice::Mxcsr as i32).local_get(v).i64_extend_i32_u().call(index::NOTICE).end();
            }
            Stmxcsr => {
                let offset = self.push_ea(i);
                self.push_mxcsr();
                self.s().i32_store(arg(offset));
            }
            Fxsave | Fxsave64 | Fxrstor | Fxrstor64 => self.fxsave(i),
            _ => return false,
        }
        true
    }

    fn fxsave(&mut self, i: &Instruction) {
        use megalith_fpu::ops::Op;
        let save = matches!(i.mnemonic(), Mnemonic::Fxsave | Mnemonic::Fxsave64);
        let a = self.address_tmp(i);
        let at = |o: u64| MemArg { offset: o, align: 0, memory_index: 0 };
        self.s().local_get(a).i32_const(15).i32_and().if_(BlockType::Empty).unreachable().end();
        // The last byte is touched first.
        if save {
            let f = self.m.helper_index(Helper::Opaque);
            self.s().local_get(a).local_get(a).i64_load8_u(at(511)).call(f).i64_store8(at(511));
        } else {
            self.s().local_get(a).i32_load8_u(at(511)).drop().local_get(a).i32_load8_u(at(0)).drop();
            self.s()
                .local_get(a)
                .i32_load(at(24))
                .i32_const(!0xffff)
                .i32_and()
                .if_(BlockType::Empty)
                .unreachable()
                .end();
        }
        let op = if save { Op::Fxsave } else { Op::Fxrstor };
        self.s().i32_const(op as i32).i32_const(0).local_get(a).i64_extend_i32_u().call(index::X87).drop();
        if save {
            self.s().local_get(a).global_get(Global::Mxcsr as u32).i32_store(at(24));
            self.s().local_get(a).i32_const(0xffff).i32_store(at(28));
        } else {
            self.s().local_get(a).i32_load(at(24)).global_set(Global::Mxcsr as u32);
        }
        for k in 0..16u8 {
            let l = self.reg_local(16 + k);
            let o = 160 + 16 * u64::from(k);
            if save {
                self.s().local_get(a).local_get(l).v128_store(at(o));
            } else {
                self.s().local_get(a).v128_load(at(o)).local_set(l);
            }
        }
    }
}

fn is_division(i: &Instruction) -> bool {
    matches!(i.mnemonic(), Mnemonic::Divss | Mnemonic::Divsd | Mnemonic::Divps | Mnemonic::Divpd)
}

/// The lanes that a float instruction works on, from its name.
fn shape(i: &Instruction) -> Shape {
    use Mnemonic::*;
    match i.mnemonic() {
        Addss | Subss | Mulss | Divss | Sqrtss | Minss | Maxss | Cmpss => Shape::Ss,
        Addsd | Subsd | Mulsd | Divsd | Sqrtsd | Minsd | Maxsd | Cmpsd => Shape::Sd,
        Addps | Subps | Mulps | Divps | Sqrtps | Minps | Maxps | Cmpps => Shape::Ps,
        _ => Shape::Pd,
    }
}
