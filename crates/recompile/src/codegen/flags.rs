//! Condition flags, computed only where somebody reads them.
//!
//! An instruction that sets flags leaves behind a [`Lazy`]: its operands in locals of their own. A consumer in the same block, or in
//! a block with that one way in, turns the common conditions into one comparison; elsewhere the flags wait in canonical locals, one i32 each.

use super::Gen;
use super::mem::mask;
use crate::regs::*;
use iced_x86::{ConditionCode, Instruction, Mnemonic};
use wasm_encoder::ValType;

/// Where one flag's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fl {
    /// In its canonical local.
    Local,
    /// In this local, as 0 or 1.
    Tmp(u32),
    Const(bool),
    /// To be computed from what `lazies[n]` left behind.
    Lazy(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// a + b = r; a and r are kept.
    Add,
    /// a - b; a and b are kept.
    Sub,
    /// r; carry and overflow are clear.
    Logic,
    Inc,
    Dec,
    /// Ordered comparison of floats x and y (`size` bytes each): ZF, PF and CF.
    Float,
}

#[derive(Clone, Copy, Debug)]
pub struct Lazy {
    pub kind: Kind,
    pub size: u32,
    pub x: u32,
    pub y: u32,
}

/// More locals than this, and flags are computed at once (wasm allows 50,000 locals).
const MANY_LOCALS: usize = 30_000;

impl Gen<'_> {
    /// The flags among `set` that are needed after this instruction.
    pub fn wanted(&self, set: RegSet) -> RegSet {
        self.need_after & set
    }

    /// Records that the flags in `set` now come from `lazy`.
    pub fn set_lazy(&mut self, set: RegSet, lazy: Lazy) {
        let n = self.lazies.len() as u32;
        self.lazies.push(lazy);
        for r in (set & RegSet::ARITH).iter() {
            self.fl[(r - CF) as usize] = Fl::Lazy(n);
        }
        if self.locals.len() > MANY_LOCALS {
            self.materialise(set);
        }
    }

    pub fn set_const_flag(&mut self, r: u8, v: bool) {
        self.fl[(r - CF) as usize] = Fl::Const(v);
    }

    /// Pops an i32 (0 or 1) into flag `r`.
    pub fn pop_flag(&mut self, r: u8) {
        let t = if self.locals.len() > MANY_LOCALS { self.reg_local(r) } else { self.local(ValType::I32) };
        self.s().local_set(t);
        self.fl[(r - CF) as usize] = if self.locals.len() > MANY_LOCALS { Fl::Local } else { Fl::Tmp(t) };
    }

    fn shr_msb(&mut self, size: u32) {
        match size {
            8 => self.s().i64_const(63).i64_shr_u().i32_wrap_i64(),
            4 => self.s().i32_const(31).i32_shr_u(),
            2 => self.s().i32_const(15).i32_shr_u().i32_const(1).i32_and(),
            _ => self.s().i32_const(7).i32_shr_u().i32_const(1).i32_and(),
        };
    }

    fn xor(&mut self, size: u32) {
        if size == 8 {
            self.s().i64_xor();
        } else {
            self.s().i32_xor();
        }
    }
    fn and(&mut self, size: u32) {
        if size == 8 {
            self.s().i64_and();
        } else {
            self.s().i32_and();
        }
    }
    fn sub(&mut self, size: u32) {
        if size == 8 {
            self.s().i64_sub();
        } else {
            self.s().i32_sub();
            self.trim(size);
        }
    }
    /// Cuts an i32 down to a 1- or 2-byte operand.
    pub fn trim(&mut self, size: u32) {
        if size < 4 {
            self.s().i32_const(mask(size)).i32_and();
        }
    }

    /// Pushes the result of a lazy operation.
    fn push_result(&mut self, l: Lazy) {
        match l.kind {
            Kind::Sub => {
                self.s().local_get(l.x).local_get(l.y);
                self.sub(l.size);
            }
            Kind::Add => {
                self.s().local_get(l.y);
            }
            _ => {
                self.s().local_get(l.x);
            }
        }
    }

    /// Pushes parity of the low byte of the value on the stack.
    pub fn parity(&mut self, size: u32) {
        if size == 8 {
            self.s().i32_wrap_i64();
        }
        self.s().i32_const(0xff).i32_and().i32_popcnt().i32_const(1).i32_and().i32_eqz();
    }

    pub fn eqz(&mut self, size: u32) {
        if size == 8 {
            self.s().i64_eqz();
        } else {
            self.s().i32_eqz();
        }
    }

    fn shr4(&mut self, size: u32) {
        if size == 8 {
            self.s().i32_wrap_i64();
        }
        self.s().i32_const(4).i32_shr_u().i32_const(1).i32_and();
    }

    /// Pushes flag `r` (one of CF..OF) as 0 or 1.
    pub fn push_flag(&mut self, r: u8) {
        let l = match self.fl[(r - CF) as usize] {
            Fl::Local => {
                let l = self.reg_local(r);
                self.s().local_get(l);
                return;
            }
            Fl::Tmp(t) => {
                self.s().local_get(t);
                return;
            }
            Fl::Const(v) => {
                self.s().i32_const(i32::from(v));
                return;
            }
            Fl::Lazy(n) => self.lazies[n as usize],
        };
        let size = l.size;
        if l.kind == Kind::Float {
            return self.push_float_flag(r, l);
        }
        match (r, l.kind) {
            (ZF, Kind::Sub) => {
                self.s().local_get(l.x).local_get(l.y);
                if size == 8 {
                    self.s().i64_eq();
                } else {
                    self.s().i32_eq();
                }
            }
            (ZF, _) => {
                self.push_result(l);
                self.eqz(size);
            }
            (SF, _) => {
                self.push_result(l);
                self.shr_msb(size);
            }
            (PF, _) => {
                self.push_result(l);
                self.parity(size);
            }
            (CF, Kind::Sub) => {
                self.s().local_get(l.x).local_get(l.y);
                if size == 8 {
                    self.s().i64_lt_u();
                } else {
                    self.s().i32_lt_u();
                }
            }
            (CF, Kind::Add) => {
                self.s().local_get(l.y).local_get(l.x);
                if size == 8 {
                    self.s().i64_lt_u();
                } else {
                    self.s().i32_lt_u();
                }
            }
            (OF, Kind::Sub) => {
                self.s().local_get(l.x).local_get(l.y);
                self.xor(size);
                self.s().local_get(l.x);
                self.push_result(l);
                self.xor(size);
                self.and(size);
                self.shr_msb(size);
            }
            (OF, Kind::Add) => {
                // b = r - a
                self.s().local_get(l.x).local_get(l.y);
                self.xor(size);
                self.s().local_get(l.y).local_get(l.x);
                self.sub(size);
                self.s().local_get(l.y);
                self.xor(size);
                self.and(size);
                self.shr_msb(size);
            }
            (OF, Kind::Inc) | (OF, Kind::Dec) => {
                let inc = l.kind == Kind::Inc;
                self.s().local_get(l.x);
                if size == 8 {
                    self.s().i64_const(if inc { i64::MIN } else { i64::MAX }).i64_eq();
                } else {
                    let top = 1u32 << (8 * size - 1);
                    self.s().i32_const(if inc { top } else { top - 1 } as i32).i32_eq();
                }
            }
            (AF, Kind::Sub) => {
                self.s().local_get(l.x).local_get(l.y);
                self.xor(size);
                self.push_result(l);
                self.xor(size);
                self.shr4(size);
            }
            (AF, Kind::Add) => {
                self.s().local_get(l.x).local_get(l.y);
                self.xor(size);
                self.s().local_get(l.y).local_get(l.x);
                self.sub(size);
                self.xor(size);
                self.shr4(size);
            }
            (AF, Kind::Inc | Kind::Dec) => {
                // The other operand is 1, which has no bit 4: carry out of bit 3 shows in r ^ a.
                self.s().local_get(l.x).local_get(l.x);
                let d = if l.kind == Kind::Inc { -1 } else { 1 };
                if size == 8 {
                    self.s().i64_const(d).i64_add();
                } else {
                    self.s().i32_const(d as i32).i32_add();
                }
                self.xor(size);
                self.shr4(size);
            }
            _ => {
                self.s().i32_const(0);
            }
        }
    }

    /// Pushes a flag of a comparison of floats. All are made of the same two comparisons, of which the engine's compiler makes one each.
    fn push_float_flag(&mut self, r: u8, l: Lazy) {
        self.s().local_get(l.x).local_get(l.y);
        if l.size == 8 {
            self.s().f64_ge();
        } else {
            self.s().f32_ge();
        }
        if r == CF {
            // Below or unordered.
            self.s().i32_eqz();
            return;
        }
        self.s().local_get(l.x).local_get(l.y);
        if l.size == 8 {
            self.s().f64_le();
        } else {
            self.s().f32_le();
        }
        if r == ZF {
            // Equal or unordered.
            self.s().i32_eq();
        } else {
            self.s().i32_or().i32_eqz();
        }
    }

    /// The comparison of floats that parity and zero flag come from, if it is one.
    pub fn float_comparison(&self) -> Option<Lazy> {
        match (self.fl[(PF - CF) as usize], self.fl[(ZF - CF) as usize]) {
            (Fl::Lazy(n), Fl::Lazy(m)) if n == m => {
                self.lazies.get(n as usize).copied().filter(|l| l.kind == Kind::Float)
            }
            _ => None,
        }
    }

    /// Pushes whether two floats are equal.
    pub fn push_equal(&mut self, l: Lazy) {
        self.s().local_get(l.x).local_get(l.y);
        if l.size == 8 {
            self.s().f64_eq();
        } else {
            self.s().f32_eq();
        }
    }

    /// Puts the needed flags of `set` into their canonical locals.
    pub fn materialise(&mut self, set: RegSet) {
        for r in (set & RegSet::ARITH).iter() {
            if self.fl[(r - CF) as usize] != Fl::Local {
                self.push_flag(r);
                let l = self.reg_local(r);
                self.s().local_set(l);
            }
        }
        for r in (set & RegSet::ARITH).iter() {
            self.fl[(r - CF) as usize] = Fl::Local;
        }
    }

    /// Pushes RFLAGS as i64, with the flags of `set`.
    pub fn push_rflags(&mut self, set: RegSet) {
        self.s().i32_const(2);
        for r in (set & RegSet::FLAGS).iter() {
            if r == DF {
                let l = self.reg_local(DF);
                self.s().local_get(l);
            } else {
                self.push_flag(r);
            }
            let bit = RFLAGS_BIT[(r - CF) as usize] as i32;
            self.s().i32_const(bit).i32_shl().i32_or();
        }
        self.s().i64_extend_i32_u();
    }

    /// The lazy operation that all of `flags` come from.
    fn common(&self, flags: &[u8]) -> Option<Lazy> {
        let mut n = None;
        for &r in flags {
            match self.fl[(r - CF) as usize] {
                Fl::Lazy(k) if n.is_none_or(|m| m == k) => n = Some(k),
                _ => return None,
            }
        }
        n.and_then(|k| self.lazies.get(k as usize).copied())
    }

    /// Pushes whether condition `cc` holds, as i32.
    pub fn push_condition(&mut self, cc: ConditionCode) {
        use ConditionCode::*;
        let (flags, negated): (&[u8], bool) = match cc {
            o => (&[OF], false),
            no => (&[OF], true),
            b => (&[CF], false),
            ae => (&[CF], true),
            e => (&[ZF], false),
            ne => (&[ZF], true),
            be => (&[CF, ZF], false),
            a => (&[CF, ZF], true),
            s => (&[SF], false),
            ns => (&[SF], true),
            p => (&[PF], false),
            np => (&[PF], true),
            l => (&[SF, OF], false),
            ge => (&[SF, OF], true),
            le => (&[ZF, SF, OF], false),
            g => (&[ZF, SF, OF], true),
            _ => (&[], false),
        };
        if let Some(lazy) = self.common(flags)
            && self.fused(cc, lazy)
        {
            return;
        }
        match cc {
            be | a => {
                self.push_flag(CF);
                self.push_flag(ZF);
                self.s().i32_or();
            }
            l | ge => {
                self.push_flag(SF);
                self.push_flag(OF);
                self.s().i32_xor();
            }
            le | g => {
                self.push_flag(SF);
                self.push_flag(OF);
                self.s().i32_xor();
                self.push_flag(ZF);
                self.s().i32_or();
            }
            _ => {
                for &f in flags {
                    self.push_flag(f);
                }
                if flags.is_empty() {
                    self.s().i32_const(1);
                }
            }
        }
        if negated {
            self.s().i32_eqz();
        }
    }

    /// Emits `cc` as one comparison of what a lazy operation kept, if there is one.
    fn fused(&mut self, cc: ConditionCode, z: Lazy) -> bool {
        use ConditionCode::*;
        let size = z.size;
        let wide = size == 8;
        match z.kind {
            Kind::Sub => {
                let signed = matches!(cc, l | ge | le | g);
                match cc {
                    e | ne | b | ae | be | a | l | ge | le | g => {}
                    s | ns => {
                        self.push_result(z);
                        self.push_sign(size, cc == s);
                        return true;
                    }
                    _ => return false,
                }
                for x in [z.x, z.y] {
                    self.s().local_get(x);
                    if signed {
                        self.sign_extend(size);
                    }
                }
                let mut k = self.s();
                match (cc, wide) {
                    (e, true) => k.i64_eq(),
                    (e, false) => k.i32_eq(),
                    (ne, true) => k.i64_ne(),
                    (ne, false) => k.i32_ne(),
                    (b, true) => k.i64_lt_u(),
                    (b, false) => k.i32_lt_u(),
                    (ae, true) => k.i64_ge_u(),
                    (ae, false) => k.i32_ge_u(),
                    (be, true) => k.i64_le_u(),
                    (be, false) => k.i32_le_u(),
                    (a, true) => k.i64_gt_u(),
                    (a, false) => k.i32_gt_u(),
                    (l, true) => k.i64_lt_s(),
                    (l, false) => k.i32_lt_s(),
                    (ge, true) => k.i64_ge_s(),
                    (ge, false) => k.i32_ge_s(),
                    (le, true) => k.i64_le_s(),
                    (le, false) => k.i32_le_s(),
                    (_, true) => k.i64_gt_s(),
                    (_, false) => k.i32_gt_s(),
                };
                true
            }
            Kind::Logic => {
                match cc {
                    e | be => {
                        self.s().local_get(z.x);
                        self.eqz(size);
                    }
                    ne | a => {
                        self.s().local_get(z.x);
                        if wide {
                            self.s().i64_const(0).i64_ne();
                        } else {
                            self.s().i32_const(0).i32_ne();
                        }
                    }
                    s | l => {
                        self.s().local_get(z.x);
                        self.push_sign(size, true);
                    }
                    ns | ge => {
                        self.s().local_get(z.x);
                        self.push_sign(size, false);
                    }
                    le | g => {
                        self.s().local_get(z.x);
                        self.sign_extend(size);
                        let mut k = self.s();
                        match (cc == le, wide) {
                            (true, true) => k.i64_const(0).i64_le_s(),
                            (true, false) => k.i32_const(0).i32_le_s(),
                            (false, true) => k.i64_const(0).i64_gt_s(),
                            (false, false) => k.i32_const(0).i32_gt_s(),
                        };
                    }
                    _ => return false,
                }
                true
            }
            Kind::Float => {
                let greater = match cc {
                    a | be => true,
                    ae | b => false,
                    _ => return false,
                };
                self.s().local_get(z.x).local_get(z.y);
                match (greater, wide) {
                    (true, true) => self.s().f64_gt(),
                    (true, false) => self.s().f32_gt(),
                    (false, true) => self.s().f64_ge(),
                    (false, false) => self.s().f32_ge(),
                };
                if matches!(cc, be | b) {
                    self.s().i32_eqz();
                }
                true
            }
            Kind::Add | Kind::Inc | Kind::Dec => match cc {
                s | ns => {
                    self.push_result(z);
                    self.push_sign(size, cc == s);
                    true
                }
                _ => false,
            },
        }
    }

    /// Replaces the value on the stack by whether it is negative (or not).
    fn push_sign(&mut self, size: u32, negative: bool) {
        self.sign_extend(size);
        let mut k = self.s();
        match (size == 8, negative) {
            (true, true) => k.i64_const(0).i64_lt_s(),
            (true, false) => k.i64_const(0).i64_ge_s(),
            (false, true) => k.i32_const(0).i32_lt_s(),
            (false, false) => k.i32_const(0).i32_ge_s(),
        };
    }

    /// Pushes whether the conditional jump `i` is taken.
    pub fn push_branch_condition(&mut self, i: &Instruction) {
        use crate::regs::RCX;
        let rcx = i.code().op_code().address_size();
        match i.mnemonic() {
            Mnemonic::Jrcxz => {
                let l = self.reg_local(RCX);
                self.s().local_get(l).i64_eqz();
            }
            Mnemonic::Jecxz => {
                let l = self.reg_local(RCX);
                self.s().local_get(l).i32_wrap_i64().i32_eqz();
            }
            Mnemonic::Loop | Mnemonic::Loope | Mnemonic::Loopne => {
                let l = self.reg_local(RCX);
                self.s().local_get(l).i64_const(1).i64_sub();
                if rcx == 32 {
                    self.s().i64_const(0xffff_ffff).i64_and();
                }
                self.s().local_tee(l).i64_const(0).i64_ne();
                if i.mnemonic() != Mnemonic::Loop {
                    self.push_flag(ZF);
                    if i.mnemonic() == Mnemonic::Loopne {
                        self.s().i32_eqz();
                    }
                    self.s().i32_and();
                }
            }
            _ => self.push_condition(i.condition_code()),
        }
    }
}
