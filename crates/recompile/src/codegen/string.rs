//! String instructions, with and without repeat prefixes, in both directions.

use super::Gen;
use super::flags::{Fl, Kind, Lazy};
use super::index::Helper;
use super::mem::ty;
use crate::regs::*;
use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};
use megalith_abi::Global;
use wasm_encoder::{BlockType, ValType};

/// Repeated instructions that are known to run as often at most are written out.
const UNROLLED: u32 = 16;

#[derive(Clone, Copy, PartialEq)]
enum Op {
    Movs,
    Stos,
    Lods,
    Scas,
    Cmps,
}

impl Gen<'_> {
    /// Emits a string instruction; false if `i` is none, or one with 32-bit addresses or a segment override.
    pub fn string(&mut self, i: &Instruction) -> bool {
        use Mnemonic::*;
        let (op, size) = match i.mnemonic() {
            Movsb => (Op::Movs, 1),
            Movsw => (Op::Movs, 2),
            Movsd => (Op::Movs, 4),
            Movsq => (Op::Movs, 8),
            Stosb => (Op::Stos, 1),
            Stosw => (Op::Stos, 2),
            Stosd => (Op::Stos, 4),
            Stosq => (Op::Stos, 8),
            Lodsb => (Op::Lods, 1),
            Lodsw => (Op::Lods, 2),
            Lodsd => (Op::Lods, 4),
            Lodsq => (Op::Lods, 8),
            Scasb => (Op::Scas, 1),
            Scasw => (Op::Scas, 2),
            Scasd => (Op::Scas, 4),
            Scasq => (Op::Scas, 8),
            Cmpsb => (Op::Cmps, 1),
            Cmpsw => (Op::Cmps, 2),
            Cmpsd => (Op::Cmps, 4),
            Cmpsq => (Op::Cmps, 8),
            _ => return false,
        };
        // The 67h prefix: esi, edi and ecx count, and are zero-extended when written.
        let narrow = (0..i.op_count()).any(|k| matches!(i.op_kind(k), OpKind::MemoryESEDI | OpKind::MemorySegESI));
        let segment = match i.segment_prefix() {
            Register::FS if op != Op::Stos && op != Op::Scas => Some(Global::FsBase),
            Register::GS if op != Op::Stos && op != Op::Scas => Some(Global::GsBase),
            _ => None,
        };
        let repeated = i.has_rep_prefix() || i.has_repne_prefix();
        let compares = matches!(op, Op::Scas | Op::Cmps);
        let wanted = self.wanted(RegSet::ARITH);
        let (x, y, ran) = (self.local(ty(size)), self.local(ty(size)), self.tmp(ValType::I32));
        if compares && repeated {
            self.materialise(RegSet::ARITH & (wanted | self.need_after));
            self.s().i32_const(0).local_set(ran);
        }
        let step = self.tmp(ValType::I64);
        let df = self.reg_local(DF);
        self.s().i64_const(-i64::from(size)).i64_const(i64::from(size)).local_get(df).select().local_set(step);
        let (rcx, rsi, rdi) = (self.reg_local(RCX), self.reg_local(RSI), self.reg_local(RDI));
        if repeated && !compares && op != Op::Lods && !narrow && segment.is_none() {
            // Upwards, in one go.
            self.s()
                .local_get(df)
                .i32_eqz()
                .local_get(rcx)
                .i64_const(32)
                .i64_shr_u()
                .i64_eqz()
                .i32_and()
                .if_(BlockType::Empty);
            if let Some(n) = self.constant_count(i).filter(|&n| n <= UNROLLED) {
                for k in 0..n {
                    let offset = (k * size) as i32;
                    self.s().local_get(rdi).i32_wrap_i64();
                    self.s().i32_const(offset).i32_add();
                    if op == Op::Movs {
                        self.s().local_get(rsi).i32_wrap_i64().i32_const(offset).i32_add();
                        self.load(size, 0);
                    } else {
                        self.push_acc(size);
                    }
                    self.store(size, 0);
                }
                self.finish_upwards(op, size, rsi, rdi, rcx);
            } else {
                self.s().local_get(rdi).i32_wrap_i64();
                let f = if op == Op::Movs {
                    self.s().local_get(rsi).i32_wrap_i64();
                    self.m.helper_index(Helper::CopyUp)
                } else {
                    let rax = self.reg_local(RAX);
                    self.s().local_get(rax);
                    self.m.helper_index(Helper::FillUp)
                };
                self.s().local_get(rcx).i32_wrap_i64().i32_const(size as i32).call(f);
                self.finish_upwards(op, size, rsi, rdi, rcx);
            }
            self.s().end();
        }
        if repeated {
            self.s().block(BlockType::Empty).loop_(BlockType::Empty).local_get(rcx);
            if narrow {
                self.s().i32_wrap_i64().i32_eqz().br_if(1);
            } else {
                self.s().i64_eqz().br_if(1);
            }
        }
        let push_source = |g: &mut Self| {
            g.s().local_get(rsi).i32_wrap_i64();
            if let Some(base) = segment {
                g.s().global_get(base as u32).i32_wrap_i64().i32_add();
            }
        };
        match op {
            Op::Movs => {
                self.s().local_get(rdi).i32_wrap_i64();
                push_source(self);
                self.load(size, 0);
                self.store(size, 0);
            }
            Op::Stos => {
                self.s().local_get(rdi).i32_wrap_i64();
                self.push_acc(size);
                self.store(size, 0);
            }
            Op::Lods => {
                push_source(self);
                self.load(size, 0);
                self.pop_reg(acc(size));
            }
            Op::Scas => {
                self.push_acc(size);
                self.s().local_set(x).local_get(rdi).i32_wrap_i64();
                self.load(size, 0);
                self.s().local_set(y);
            }
            Op::Cmps => {
                // The operand at rdi is read first: it decides the address when both fault.
                self.s().local_get(rdi).i32_wrap_i64();
                self.load(size, 0);
                self.s().local_set(y);
                push_source(self);
                self.load(size, 0);
                self.s().local_set(x);
            }
        }
        for (r, moves) in [(rsi, matches!(op, Op::Movs | Op::Lods | Op::Cmps)), (rdi, op != Op::Lods)] {
            if moves {
                self.s().local_get(r).local_get(step).i64_add();
                if narrow {
                    self.s().i64_const(0xffff_ffff).i64_and();
                }
                self.s().local_set(r);
            }
        }
        if repeated {
            self.s().local_get(rcx).i64_const(1).i64_sub();
            if narrow {
                self.s().i64_const(0xffff_ffff).i64_and();
            }
            self.s().local_set(rcx);
            if compares {
                self.s().i32_const(1).local_set(ran).local_get(x).local_get(y);
                if size == 8 {
                    self.s().i64_eq();
                } else {
                    self.s().i32_eq();
                }
                if i.has_repne_prefix() {
                    self.s().i32_eqz();
                }
                self.s().br_if(0);
            } else {
                self.s().br(0);
            }
            self.s().end().end();
        }
        if compares && !wanted.is_empty() {
            if repeated {
                let saved: Vec<(u8, u32)> = wanted.iter().map(|f| (f, self.reg_local(f))).collect();
                self.s().local_get(ran).if_(BlockType::Empty);
                self.set_lazy(RegSet::ARITH, Lazy { kind: Kind::Sub, size, x, y });
                for (f, l) in saved {
                    self.push_flag(f);
                    self.s().local_set(l);
                }
                self.s().end();
                for f in RegSet::ARITH.iter() {
                    self.fl[(f - CF) as usize] = Fl::Local;
                }
            } else {
                self.set_lazy(RegSet::ARITH, Lazy { kind: Kind::Sub, size, x, y });
            }
        }
        true
    }

    /// After a repeated instruction that went upwards: moves its pointers behind what it did, and clears the count.
    fn finish_upwards(&mut self, op: Op, size: u32, rsi: u32, rdi: u32, rcx: u32) {
        for (r, moves) in [(rsi, op == Op::Movs), (rdi, true)] {
            if moves {
                self.s().local_get(r).local_get(rcx).i64_const(i64::from(size)).i64_mul().i64_add().local_set(r);
            }
        }
        self.s().i64_const(0).local_set(rcx);
    }

    /// The value of rcx before `i`, where the block sets it to a constant.
    fn constant_count(&self, i: &Instruction) -> Option<u32> {
        let (k, set) = self.last_set(self.block_now, i.ip(), RCX)?;
        match set.code() {
            Code::Mov_r32_imm32 => Some(set.immediate32()),
            // The short way to write it.
            Code::Pop_r64 => {
                let push = self.block(self.block_now)?.insns.get(k.checked_sub(1)?)?;
                (push.code() == Code::Pushq_imm8).then(|| u32::try_from(push.immediate8to64()).ok()).flatten()
            }
            _ => None,
        }
    }

    fn push_acc(&mut self, size: u32) {
        self.push_reg(acc(size));
    }
}

/// Whether `i` is a string instruction (and not one of SSE with the same name).
pub fn is_string(i: &Instruction) -> bool {
    i.is_string_instruction()
}

fn acc(size: u32) -> Register {
    match size {
        1 => Register::AL,
        2 => Register::AX,
        4 => Register::EAX,
        _ => Register::RAX,
    }
}
