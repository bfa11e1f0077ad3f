//! General instructions. Semantics follow the Intel SDM, volume 2; flags that it leaves undefined are not computed.

use super::flags::{Fl, Kind, Lazy};
use super::index::Helper;
use super::mem::{arg, ty};
use super::string::is_string;
use super::{Gen, index};
use crate::regs::*;
use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};
use megalith_abi::{Global, Reason};
use wasm_encoder::{BlockType, ValType};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Alu {
    Add,
    Adc,
    Sub,
    Sbb,
    And,
    Or,
    Xor,
    Cmp,
    Test,
}

impl Gen<'_> {
    /// Emits one instruction that does not end its block. False: there is no translation.
    pub fn insn(&mut self, i: &Instruction) -> bool {
        use Mnemonic::*;
        if let Some(&(l, r)) = self.jump_index.get(&(i.ip() as u32)) {
            self.push_gpr64(r);
            self.s().local_set(l);
        }
        match i.mnemonic() {
            Nop | Endbr64 | Endbr32 | Pause | Lfence | Mfence | Sfence | Prefetcht0 | Prefetcht1 | Prefetcht2
            | Prefetchnta | Prefetchw | Prefetch => {}
            Reservednop
                if !matches!(
                    i.code(),
                    Code::Reservednop_rm16_r16_0F0D | Code::Reservednop_rm32_r32_0F0D | Code::Reservednop_rm64_r64_0F0D
                ) => {}
            // Without shadow stacks these are the no-operations they are encoded as.
            Rdsspd | Rdsspq => {}
            Mov => self.mov(i),
            Movzx => {
                let size = self.op_size(i, 1);
                self.push_op(i, 1, size);
                self.widen(i);
            }
            Movsx | Movsxd => {
                let size = self.op_size(i, 1);
                self.push_op(i, 1, size);
                if self.op_size(i, 0) == 8 {
                    self.sign_extend(size);
                    self.s().i64_extend_i32_s();
                    self.pop_reg(i.op0_register());
                } else {
                    self.sign_extend(size);
                    self.pop_reg(i.op0_register());
                }
            }
            Movnti => self.mov(i),
            Lea => {
                self.push_lea64(i);
                if i.op0_register().size() < 8 {
                    self.s().i32_wrap_i64();
                }
                self.pop_reg(i.op0_register());
            }
            Push => self.push(i),
            Pop => self.pop(i),
            Add => self.alu(i, Alu::Add),
            Adc => self.alu(i, Alu::Adc),
            Sub => self.alu(i, Alu::Sub),
            Sbb => self.alu(i, Alu::Sbb),
            And => self.alu(i, Alu::And),
            Or => self.alu(i, Alu::Or),
            Xor => self.alu(i, Alu::Xor),
            Cmp => self.alu(i, Alu::Cmp),
            Test => self.alu(i, Alu::Test),
            Inc | Dec => self.inc_dec(i),
            Neg => self.neg(i),
            Not => self.unary_in_place(i, |g, size| {
                if size == 8 {
                    g.s().i64_const(-1).i64_xor();
                } else {
                    g.s().i32_const(-1).i32_xor();
                }
            }),
            Shl | Sal | Shr | Sar => self.shift(i),
            Rol | Ror => self.rotate(i),
            Rcl | Rcr => self.rotate_carry(i),
            Shld | Shrd => self.double_shift(i),
            Mul => self.mul_wide(i, false),
            Imul if i.op_count() == 1 => self.mul_wide(i, true),
            Imul => self.imul(i),
            Div => self.div(i, false),
            Idiv => self.div(i, true),
            Cbw => self.extend_acc(Register::AL, Register::AX, 1),
            Cwde => self.extend_acc(Register::AX, Register::EAX, 2),
            Cdqe => {
                self.push_reg(Register::EAX);
                self.s().i64_extend_i32_s();
                self.pop_reg(Register::RAX);
            }
            Cwd => {
                self.push_reg(Register::AX);
                self.s().i32_extend16_s().i32_const(31).i32_shr_s();
                self.pop_reg(Register::DX);
            }
            Cdq => {
                self.push_reg(Register::EAX);
                self.s().i32_const(31).i32_shr_s();
                self.pop_reg(Register::EDX);
            }
            Cqo => {
                self.push_reg(Register::RAX);
                self.s().i64_const(63).i64_shr_s();
                self.pop_reg(Register::RDX);
            }
            Xchg => self.xchg(i),
            Xadd => self.xadd(i),
            Cmpxchg => self.cmpxchg(i),
            Cmpxchg8b => self.cmpxchg8b(i),
            Bswap => self.bswap(i),
            Bsf | Bsr => self.bit_scan(i),
            // `rep bsf`: what compilers emit for bsf where the flags do not matter, and what processors run as tzcnt.
            Tzcnt => self.tzcnt(i),
            Bt | Bts | Btr | Btc => self.bit_test(i),
            Lahf => {
                self.s().i32_const(2);
                for r in [CF, PF, AF, ZF, SF] {
                    self.push_flag(r);
                    self.s().i32_const(RFLAGS_BIT[(r - CF) as usize] as i32).i32_shl().i32_or();
                }
                self.pop_reg(Register::AH);
            }
            Sahf => {
                for r in [CF, PF, AF, ZF, SF] {
                    if self.need_after.has(r) {
                        self.push_reg(Register::AH);
                        self.s().i32_const(RFLAGS_BIT[(r - CF) as usize] as i32).i32_shr_u().i32_const(1).i32_and();
                        self.pop_flag(r);
                    }
                }
            }
            Pushfq => {
                let set = RegSet::FLAGS;
                self.push_rflags(set);
                self.s().i64_const(0x200).i64_or();
                let v = self.tmp(ValType::I64);
                self.s().local_set(v);
                self.push_value(v, 8);
            }
            Popfq => {
                let v = self.tmp(ValType::I64);
                self.push_rsp32();
                self.load(8, 0);
                self.s().local_set(v);
                self.bump_rsp(8);
                for r in RegSet::FLAGS.iter() {
                    if self.need_after.has(r) {
                        let bit = RFLAGS_BIT[(r - CF) as usize];
                        self.s()
                            .local_get(v)
                            .i64_const(i64::from(bit))
                            .i64_shr_u()
                            .i32_wrap_i64()
                            .i32_const(1)
                            .i32_and();
                        if r == DF {
                            let l = self.reg_local(DF);
                            self.s().local_set(l);
                        } else {
                            self.pop_flag(r);
                        }
                    }
                }
            }
            Clc => self.set_const_flag(CF, false),
            Stc => self.set_const_flag(CF, true),
            Cmc => {
                self.push_flag(CF);
                self.s().i32_eqz();
                self.pop_flag(CF);
            }
            Cld | Std => {
                let l = self.reg_local(DF);
                self.s().i32_const(i32::from(i.mnemonic() == Std)).local_set(l);
            }
            Leave if i.code() == Code::Leaveq => self.leave(),
            Enter => return false,
            Xlatb => {
                self.push_reg(Register::RBX);
                self.s().i32_wrap_i64();
                self.push_reg(Register::AL);
                self.s().i32_add();
                self.load(1, 0);
                self.pop_reg(Register::AL);
            }
            Cpuid => self.cpuid(),
            Rdtsc => {
                let v = self.tmp(ValType::I64);
                self.s().call(index::RDTSC).local_set(v);
                let (a, d) = (self.reg_local(RAX), self.reg_local(RDX));
                self.s().local_get(v).i64_const(0xffff_ffff).i64_and().local_set(a);
                self.s().local_get(v).i64_const(32).i64_shr_u().local_set(d);
            }
            m if is_setcc(m) => {
                self.push_condition(i.condition_code());
                self.pop_op(i, 1);
            }
            m if is_cmov(m) => {
                let size = self.op_size(i, 0);
                // The operand is read, and may fault, whether or not it is moved.
                self.push_op(i, 1, size);
                self.push_reg(i.op0_register());
                self.push_condition(i.condition_code());
                self.s().select();
                self.pop_reg(i.op0_register());
            }
            // Some share their mnemonic with an SSE instruction.
            _ if is_string(i) => return self.string(i),
            _ => return self.sse(i) || self.x87(i),
        }
        true
    }

    /// Moves the i32 on the stack (already zero-extended) into operand 0.
    fn widen(&mut self, i: &Instruction) {
        if i.op0_register().size() == 8 {
            self.s().i64_extend_i32_u();
        }
        self.pop_reg(i.op0_register());
    }

    /// Pops the value of `size` bytes into operand 0 (register or memory).
    fn pop_op(&mut self, i: &Instruction, size: u32) {
        if i.op0_kind() == OpKind::Register {
            self.pop_reg(i.op0_register());
        } else {
            let v = self.tmp(ty(size));
            self.s().local_set(v);
            let offset = self.push_ea(i);
            self.s().local_get(v);
            self.store(size, offset);
        }
    }

    fn mov(&mut self, i: &Instruction) {
        let seg = |k: u32| i.op_kind(k) == OpKind::Register && i.op_register(k).is_segment_register();
        if seg(0) || seg(1) {
            // Selectors read as 0; loading one is not for user code here.
            if seg(1) {
                let size = self.op_size(i, 0);
                if size == 8 {
                    self.s().i64_const(0);
                } else {
                    self.s().i32_const(0);
                }
                self.pop_op(i, size);
            }
            return;
        }
        let size = self.op_size(i, 0);
        if i.op0_kind() == OpKind::Register && size == 4 && i.op1_kind() == OpKind::Memory {
            // One load fills the whole register; extending what was loaded would be another instruction.
            let offset = self.push_ea(i);
            self.s().i64_load32_u(arg(offset));
            self.pop_reg(i.op0_register().full_register());
        } else if i.op0_kind() == OpKind::Register {
            self.push_op(i, 1, size);
            // A register that gets its entry value back, when nobody reads it here, need not be written.
            self.pop_reg(i.op0_register());
        } else {
            let offset = self.push_ea(i);
            self.push_op(i, 1, size);
            self.store(size, offset);
        }
    }

    /// Pushes (guest stack) the value in local `v`.
    fn push_value(&mut self, v: u32, size: u32) {
        match self.state.as_ref().and_then(|s| s.rsp) {
            Some(c) => {
                let (fb, d) = (self.frame_base, self.depth + c - size as i32);
                let offset = self.push_frame_base(fb, d);
                self.s().local_get(v);
                self.store(size, offset);
            }
            None => {
                let r = self.rsp_value;
                self.s().local_get(r).i64_const(i64::from(size)).i64_sub().i32_wrap_i64().local_get(v);
                self.store(size, 0);
                self.s().local_get(r).i64_const(i64::from(size)).i64_sub().local_set(r);
            }
        }
    }

    /// Adds to rsp when it is a run-time value; a known offset is the analysis's business.
    fn bump_rsp(&mut self, by: i64) {
        if self.state.as_ref().and_then(|s| s.rsp).is_none() {
            let r = self.rsp_value;
            self.s().local_get(r).i64_const(by).i64_add().local_set(r);
        }
    }

    fn push(&mut self, i: &Instruction) {
        let size = match i.code() {
            Code::Push_r16 | Code::Push_rm16 | Code::Push_imm16 | Code::Pushw_imm8 => 2,
            _ => 8,
        };
        if i.op0_kind() == OpKind::Register && i.op0_register().is_segment_register() {
            self.s().i64_const(0);
        } else {
            self.push_op(i, 0, size);
        }
        let v = self.tmp(ty(size));
        self.s().local_set(v);
        self.push_value(v, size);
    }

    fn pop(&mut self, i: &Instruction) {
        let size = if i.op0_kind() == OpKind::Register { i.op0_register().size() as u32 } else { self.op_size(i, 0) };
        if let Some(s) = &self.state
            && let Some(r) = s.restores(i)
            && !self.need_after.has(r)
        {
            // The entry value comes back and only the global, which still holds it, matters.
            return;
        }
        let v = self.tmp(ty(size));
        match self.state.as_ref().and_then(|s| s.rsp) {
            Some(c) => {
                let (fb, d) = (self.frame_base, self.depth + c);
                let offset = self.push_frame_base(fb, d);
                self.load(size, offset);
                self.s().local_set(v);
            }
            None => {
                self.push_rsp32();
                self.load(size, 0);
                self.s().local_set(v);
            }
        }
        if i.op0_kind() == OpKind::Register && i.op0_register().full_register() == Register::RSP {
            if size == 8 {
                self.s().local_get(v);
                self.pop_reg(Register::RSP);
                return;
            }
            self.bump_rsp(i64::from(size));
            self.materialise_rsp();
            self.s().local_get(v);
            self.pop_reg(i.op0_register());
            return;
        }
        if i.op0_kind() == OpKind::Memory && i.memory_base() == Register::RSP {
            // The address is computed after rsp was incremented.
            let known = self.state.as_ref().and_then(|s| s.rsp);
            if known.is_some() {
                if let Some(s) = &mut self.state {
                    s.rsp = s.rsp.map(|c| c + size as i32);
                }
                let offset = self.push_ea(i);
                self.s().local_get(v);
                self.store(size, offset);
                if let Some(s) = &mut self.state {
                    s.rsp = known;
                }
            } else {
                let r = self.rsp_value;
                self.s().local_get(r).i64_const(i64::from(size)).i64_add().local_set(r);
                let offset = self.push_ea(i);
                self.s().local_get(v);
                // A store that faults must leave rsp alone, but a fault loses the registers anyway.
                self.store(size, offset);
            }
            return;
        }
        self.s().local_get(v);
        self.pop_op(i, size);
        self.bump_rsp(i64::from(size));
    }

    /// Puts rsp's present value into its local (before something computes with the local).
    fn materialise_rsp(&mut self) {
        if self.state.as_ref().is_some_and(|s| s.rsp.is_some()) {
            let v = self.rsp_value;
            self.push_rsp64();
            self.s().local_set(v);
        }
    }

    fn leave(&mut self) {
        let known = self.state.as_ref().and_then(|s| s.rbp);
        let rbp = self.reg_local(RBP);
        let v = self.tmp(ValType::I64);
        match known {
            Some(c) => {
                let (fb, d) = (self.frame_base, self.depth + c);
                let offset = self.push_frame_base(fb, d);
                self.load(8, offset);
                self.s().local_set(v);
            }
            None => {
                self.s().local_get(rbp).i32_wrap_i64();
                self.load(8, 0);
                self.s().local_set(v);
                let r = self.rsp_value;
                self.s().local_get(rbp).i64_const(8).i64_add().local_set(r);
            }
        }
        self.s().local_get(v).local_set(rbp);
    }

    /// Reads operand 0 for an operation that writes it back: the value goes to a temporary, the address (if memory) to another.
    fn read_modify(&mut self, i: &Instruction, size: u32) -> (u32, Option<u32>) {
        let v = self.tmp(ty(size));
        if i.op0_kind() == OpKind::Register {
            self.push_reg(i.op0_register());
            self.s().local_set(v);
            (v, None)
        } else {
            let a = self.address_tmp(i);
            self.s().local_get(a);
            self.load(size, 0);
            self.s().local_set(v);
            (v, Some(a))
        }
    }

    /// Writes local `r` back to where [`Self::read_modify`] read.
    fn write_back(&mut self, i: &Instruction, size: u32, at: Option<u32>, r: u32) {
        match at {
            Some(a) => {
                self.s().local_get(a).local_get(r);
                if keeps_memory(i) {
                    self.push_opaque(size);
                }
                self.store(size, 0);
            }
            None => {
                self.s().local_get(r);
                self.pop_reg(i.op0_register());
            }
        }
    }

    /// Passes the value on the stack through a function that the compiler does not look into.
    fn push_opaque(&mut self, size: u32) {
        let f = self.m.helper_index(Helper::Opaque);
        if size == 8 {
            self.s().call(f);
        } else {
            self.s().i64_extend_i32_u().call(f).i32_wrap_i64();
        }
    }

    fn op2(
        &mut self,
        size: u32,
        wide: fn(&mut wasm_encoder::InstructionSink),
        narrow: fn(&mut wasm_encoder::InstructionSink),
    ) {
        if size == 8 {
            wide(&mut self.s());
        } else {
            narrow(&mut self.s());
        }
    }

    fn alu(&mut self, i: &Instruction, op: Alu) {
        let size = match i.op0_kind() {
            OpKind::Register => i.op0_register().size() as u32,
            _ => self.op_size(i, 0),
        };
        let wanted = self.wanted(RegSet::ARITH);
        // rsp arithmetic with a known result moves no bits.
        let to_rsp = i.op0_kind() == OpKind::Register && i.op0_register() == Register::RSP;
        if to_rsp && wanted.is_empty() && self.rsp_stays_known(i) {
            return;
        }
        if is_zero_idiom(i) && matches!(op, Alu::Xor | Alu::Sub) {
            let z = self.local(ValType::I32);
            self.s().i32_const(0).local_set(z);
            if size == 8 {
                self.s().i64_const(0);
            } else {
                self.s().i32_const(0);
            }
            self.pop_reg(i.op0_register());
            if !wanted.is_empty() {
                self.set_lazy(RegSet::ARITH, Lazy { kind: Kind::Logic, size: 4, x: z, y: z });
            }
            return;
        }
        let writes = !matches!(op, Alu::Cmp | Alu::Test);
        let keep = !wanted.is_empty();
        let x = if keep { self.local(ty(size)) } else { self.tmp(ty(size)) };
        let y = if keep { self.local(ty(size)) } else { self.tmp(ty(size)) };
        let mut at = None;
        if writes && i.op0_kind() == OpKind::Memory {
            let a = self.address_tmp(i);
            self.s().local_get(a);
            self.load(size, 0);
            self.s().local_set(x);
            at = Some(a);
        } else {
            self.push_op(i, 0, size);
            self.s().local_set(x);
        }
        self.push_op(i, 1, size);
        self.s().local_set(y);
        let r = if keep { self.local(ty(size)) } else { self.tmp(ty(size)) };
        match op {
            Alu::Cmp => {
                if keep {
                    self.set_lazy(RegSet::ARITH, Lazy { kind: Kind::Sub, size, x, y });
                }
                return;
            }
            Alu::Test | Alu::And => {
                self.s().local_get(x).local_get(y);
                self.op2(
                    size,
                    |s| {
                        s.i64_and();
                    },
                    |s| {
                        s.i32_and();
                    },
                );
                self.s().local_set(r);
            }
            Alu::Or => {
                self.s().local_get(x).local_get(y);
                self.op2(
                    size,
                    |s| {
                        s.i64_or();
                    },
                    |s| {
                        s.i32_or();
                    },
                );
                self.s().local_set(r);
            }
            Alu::Xor => {
                self.s().local_get(x).local_get(y);
                self.op2(
                    size,
                    |s| {
                        s.i64_xor();
                    },
                    |s| {
                        s.i32_xor();
                    },
                );
                self.s().local_set(r);
            }
            Alu::Add => {
                self.s().local_get(x).local_get(y);
                self.op2(
                    size,
                    |s| {
                        s.i64_add();
                    },
                    |s| {
                        s.i32_add();
                    },
                );
                self.trim(size);
                self.s().local_set(r);
            }
            Alu::Sub => {
                self.s().local_get(x).local_get(y);
                self.op2(
                    size,
                    |s| {
                        s.i64_sub();
                    },
                    |s| {
                        s.i32_sub();
                    },
                );
                self.trim(size);
                self.s().local_set(r);
            }
            Alu::Adc | Alu::Sbb => {
                self.s().local_get(x).local_get(y);
                let add = op == Alu::Adc;
                if add {
                    self.op2(
                        size,
                        |s| {
                            s.i64_add();
                        },
                        |s| {
                            s.i32_add();
                        },
                    );
                } else {
                    self.op2(
                        size,
                        |s| {
                            s.i64_sub();
                        },
                        |s| {
                            s.i32_sub();
                        },
                    );
                }
                self.push_flag(CF);
                if size == 8 {
                    self.s().i64_extend_i32_u();
                }
                if add {
                    self.op2(
                        size,
                        |s| {
                            s.i64_add();
                        },
                        |s| {
                            s.i32_add();
                        },
                    );
                } else {
                    self.op2(
                        size,
                        |s| {
                            s.i64_sub();
                        },
                        |s| {
                            s.i32_sub();
                        },
                    );
                }
                self.trim(size);
                self.s().local_set(r);
            }
        }
        let partial = i.op0_kind() == OpKind::Register && size < 4 && !is_high_byte(i.op0_register());
        match op {
            // The second operand is zero-extended, so the rest of the register stays as it is.
            Alu::Or | Alu::Xor if partial => {
                let full = i.op0_register().full_register();
                self.push_gpr64(full);
                self.s().local_get(y).i64_extend_i32_u();
                if op == Alu::Or {
                    self.s().i64_or();
                } else {
                    self.s().i64_xor();
                }
                self.pop_reg(full);
            }
            _ if writes => self.write_back(i, size, at, r),
            _ => {}
        }
        if !keep {
            return;
        }
        match op {
            Alu::Add => self.set_lazy(RegSet::ARITH, Lazy { kind: Kind::Add, size, x, y: r }),
            Alu::Sub => self.set_lazy(RegSet::ARITH, Lazy { kind: Kind::Sub, size, x, y }),
            Alu::And | Alu::Or | Alu::Xor | Alu::Test => {
                self.set_lazy(RegSet::ARITH, Lazy { kind: Kind::Logic, size, x: r, y: r });
            }
            Alu::Adc | Alu::Sbb => {
                // The carry out of each bit: (x & y) | ((x | y) & ~r), with x inverted for a borrow.
                let sub = op == Alu::Sbb;
                if wanted.has(CF) {
                    self.push_not_if(x, sub, size);
                    self.s().local_get(y);
                    self.op2(
                        size,
                        |s| {
                            s.i64_and();
                        },
                        |s| {
                            s.i32_and();
                        },
                    );
                    self.push_not_if(x, sub, size);
                    self.s().local_get(y);
                    self.op2(
                        size,
                        |s| {
                            s.i64_or();
                        },
                        |s| {
                            s.i32_or();
                        },
                    );
                    self.push_not_if(r, !sub, size);
                    self.op2(
                        size,
                        |s| {
                            s.i64_and();
                        },
                        |s| {
                            s.i32_and();
                        },
                    );
                    self.op2(
                        size,
                        |s| {
                            s.i64_or();
                        },
                        |s| {
                            s.i32_or();
                        },
                    );
                    self.top_bit(size);
                    self.pop_flag(CF);
                }
                if wanted.has(OF) {
                    // add: (x ^ r) & (y ^ r); sub: (x ^ y) & (x ^ r)
                    self.s().local_get(x).local_get(if sub { y } else { r });
                    self.op2(
                        size,
                        |s| {
                            s.i64_xor();
                        },
                        |s| {
                            s.i32_xor();
                        },
                    );
                    self.s().local_get(if sub { x } else { y }).local_get(r);
                    self.op2(
                        size,
                        |s| {
                            s.i64_xor();
                        },
                        |s| {
                            s.i32_xor();
                        },
                    );
                    self.op2(
                        size,
                        |s| {
                            s.i64_and();
                        },
                        |s| {
                            s.i32_and();
                        },
                    );
                    self.top_bit(size);
                    self.pop_flag(OF);
                }
                if wanted.has(AF) {
                    self.s().local_get(x).local_get(y);
                    self.op2(
                        size,
                        |s| {
                            s.i64_xor();
                        },
                        |s| {
                            s.i32_xor();
                        },
                    );
                    self.s().local_get(r);
                    self.op2(
                        size,
                        |s| {
                            s.i64_xor();
                        },
                        |s| {
                            s.i32_xor();
                        },
                    );
                    if size == 8 {
                        self.s().i32_wrap_i64();
                    }
                    self.s().i32_const(4).i32_shr_u().i32_const(1).i32_and();
                    self.pop_flag(AF);
                }
                self.set_lazy(RegSet::of(&[ZF, SF, PF]), Lazy { kind: Kind::Logic, size, x: r, y: r });
            }
            Alu::Cmp => {}
        }
    }

    fn push_not_if(&mut self, l: u32, invert: bool, size: u32) {
        self.s().local_get(l);
        if invert {
            if size == 8 {
                self.s().i64_const(-1).i64_xor();
            } else {
                self.s().i32_const(-1).i32_xor();
            }
        }
    }

    /// Replaces the value on the stack by its top bit, as i32.
    fn top_bit(&mut self, size: u32) {
        if size == 8 {
            self.s().i64_const(63).i64_shr_u().i32_wrap_i64();
        } else {
            self.s().i32_const(8 * size as i32 - 1).i32_shr_u().i32_const(1).i32_and();
        }
    }

    /// Whether the analysis knows rsp's offset before and after `i`.
    fn rsp_stays_known(&self, i: &Instruction) -> bool {
        let Some(s) = &self.state else { return false };
        if s.rsp.is_none() {
            return false;
        }
        matches!(i.mnemonic(), Mnemonic::Add | Mnemonic::Sub)
            && matches!(i.op1_kind(), OpKind::Immediate8to64 | OpKind::Immediate32to64)
    }

    fn unary_in_place(&mut self, i: &Instruction, f: impl Fn(&mut Self, u32)) {
        let size = self.op_size(i, 0);
        let (v, at) = self.read_modify(i, size);
        self.s().local_get(v);
        f(self, size);
        self.trim(size);
        self.s().local_set(v);
        self.write_back(i, size, at, v);
    }

    fn inc_dec(&mut self, i: &Instruction) {
        let size = self.op_size(i, 0);
        let inc = i.mnemonic() == Mnemonic::Inc;
        let (v, at) = self.read_modify(i, size);
        let r = self.local(ty(size));
        self.s().local_get(v);
        let d = if inc { 1 } else { -1 };
        if size == 8 {
            self.s().i64_const(d).i64_add();
        } else {
            self.s().i32_const(d as i32).i32_add();
        }
        self.trim(size);
        self.s().local_set(r);
        self.write_back(i, size, at, r);
        let set = self.wanted(RegSet::of(&[PF, AF, ZF, SF, OF]));
        if !set.is_empty() {
            let kind = if inc { Kind::Inc } else { Kind::Dec };
            self.set_lazy(RegSet::of(&[PF, AF, ZF, SF, OF]), Lazy { kind, size, x: r, y: r });
        }
    }

    fn neg(&mut self, i: &Instruction) {
        let size = self.op_size(i, 0);
        let (v, at) = self.read_modify(i, size);
        let (x, y, r) = (self.local(ty(size)), self.local(ty(size)), self.tmp(ty(size)));
        if size == 8 {
            self.s()
                .i64_const(0)
                .local_set(x)
                .local_get(v)
                .local_set(y)
                .i64_const(0)
                .local_get(v)
                .i64_sub()
                .local_set(r);
        } else {
            self.s().i32_const(0).local_set(x).local_get(v).local_set(y).i32_const(0).local_get(v).i32_sub();
            self.trim(size);
            self.s().local_set(r);
        }
        self.write_back(i, size, at, r);
        if !self.wanted(RegSet::ARITH).is_empty() {
            self.set_lazy(RegSet::ARITH, Lazy { kind: Kind::Sub, size, x, y });
        }
    }

    /// Pushes the masked shift count as i32; `Some` when it is a constant.
    fn shift_count(&mut self, i: &Instruction, k: u32, size: u32) -> Option<u32> {
        let m = if size == 8 { 63 } else { 31 };
        match i.op_kind(k) {
            OpKind::Register => None,
            _ => Some(i.immediate(k) as u32 & m),
        }
    }

    fn shift(&mut self, i: &Instruction) {
        let size = self.op_size(i, 0);
        let bits = 8 * size;
        let m = if size == 8 { 63 } else { 31 };
        let constant = self.shift_count(i, 1, size);
        if constant == Some(0) {
            // Nothing changes, but a 32-bit destination is zero-extended and memory is touched.
            let (v, at) = self.read_modify(i, size);
            self.write_back(i, size, at, v);
            return;
        }
        let wanted = self.wanted(RegSet::ARITH);
        // Variable counts keep the old flags when the count is 0.
        let n = self.tmp(ValType::I32);
        match constant {
            Some(c) => {
                self.s().i32_const(c as i32).local_set(n);
            }
            None => {
                self.push_reg(Register::CL);
                self.s().i32_const(m).i32_and().local_set(n);
            }
        }
        let (v, at) = self.read_modify(i, size);
        let r = self.local(ty(size));
        let signed = i.mnemonic() == Mnemonic::Sar;
        let left = matches!(i.mnemonic(), Mnemonic::Shl | Mnemonic::Sal);
        self.s().local_get(v);
        if signed {
            self.sign_extend(size);
        }
        // Counts up to 31 on a value of 8 or 16 bits do the right thing in 32 bits. Wasm's shifts mask their counts as others do.
        if constant.is_none() && size >= 4 {
            self.push_gpr64(Register::RCX);
            if size == 4 {
                self.s().i32_wrap_i64();
            }
        } else {
            self.s().local_get(n);
            if size == 8 {
                self.s().i64_extend_i32_u();
            }
        }
        if size == 8 {
            match (left, signed) {
                (true, _) => self.s().i64_shl(),
                (_, true) => self.s().i64_shr_s(),
                _ => self.s().i64_shr_u(),
            };
        } else {
            match (left, signed) {
                (true, _) => self.s().i32_shl(),
                (_, true) => self.s().i32_shr_s(),
                _ => self.s().i32_shr_u(),
            };
            self.trim(size);
        }
        self.s().local_set(r);
        self.write_back(i, size, at, r);
        if wanted.is_empty() {
            return;
        }
        if constant.is_none() {
            self.materialise(wanted);
            let saved: Vec<(u8, u32)> = wanted.iter().map(|f| (f, self.reg_local(f))).collect();
            self.s().local_get(n).if_(BlockType::Empty);
            self.shift_flags(i, size, bits, v, n, r, wanted, left, signed);
            for (f, l) in saved {
                self.push_flag(f);
                self.s().local_set(l);
            }
            self.s().end();
            for f in wanted.iter() {
                self.fl[(f - CF) as usize] = Fl::Local;
            }
        } else {
            self.shift_flags(i, size, bits, v, n, r, wanted, left, signed);
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the operands of one shift")]
    fn shift_flags(
        &mut self,
        _i: &Instruction,
        size: u32,
        bits: u32,
        v: u32,
        n: u32,
        r: u32,
        wanted: RegSet,
        left: bool,
        signed: bool,
    ) {
        if wanted.has(CF) || wanted.has(OF) {
            // The last bit shifted out, with a 64-bit intermediate for the narrow sizes.
            self.s().local_get(v);
            if size < 8 {
                if signed {
                    self.sign_extend(size);
                    self.s().i64_extend_i32_s();
                } else {
                    self.s().i64_extend_i32_u();
                }
            }
            if left {
                // bit (bits - n): 0 when n > bits
                self.s().i32_const(bits as i32).local_get(n).i32_sub();
                if size < 8 {
                    // A negative amount wraps to a large one; those bits are zero.
                    self.s().i32_const(63).i32_and();
                }
                self.s().i64_extend_i32_u().i64_shr_u();
            } else {
                self.s().local_get(n).i32_const(1).i32_sub().i64_extend_i32_u();
                if signed {
                    self.s().i64_shr_s();
                } else {
                    self.s().i64_shr_u();
                }
            }
            self.s().i32_wrap_i64().i32_const(1).i32_and();
            self.pop_flag(CF);
        }
        if wanted.has(OF) {
            // Defined for a count of 1 only: left: msb(r) ^ CF; shr: msb(v); sar: 0.
            if left {
                self.s().local_get(r);
                self.top_bit(size);
                self.push_flag(CF);
                self.s().i32_xor();
            } else if signed {
                self.s().i32_const(0);
            } else {
                self.s().local_get(v);
                self.top_bit(size);
            }
            self.pop_flag(OF);
        }
        let rest = RegSet::of(&[ZF, SF, PF, AF]);
        self.set_lazy(rest, Lazy { kind: Kind::Logic, size, x: r, y: r });
    }

    fn rotate(&mut self, i: &Instruction) {
        let size = self.op_size(i, 0);
        let bits = 8 * size;
        let m = if size == 8 { 63 } else { 31 };
        let constant = self.shift_count(i, 1, size);
        let left = i.mnemonic() == Mnemonic::Rol;
        let n = self.tmp(ValType::I32);
        match constant {
            Some(c) => {
                self.s().i32_const(c as i32).local_set(n);
            }
            None => {
                self.push_reg(Register::CL);
                self.s().i32_const(m).i32_and().local_set(n);
            }
        }
        let (v, at) = self.read_modify(i, size);
        let r = self.tmp(ty(size));
        match size {
            8 => {
                self.s().local_get(v).local_get(n).i64_extend_i32_u();
                if left {
                    self.s().i64_rotl();
                } else {
                    self.s().i64_rotr();
                }
            }
            4 => {
                self.s().local_get(v).local_get(n);
                if left {
                    self.s().i32_rotl();
                } else {
                    self.s().i32_rotr();
                }
            }
            _ => {
                // Replicate the value so that one 32-bit rotation does it.
                self.s().local_get(v);
                if size == 1 {
                    self.s().i32_const(0x0101_0101).i32_mul();
                } else {
                    self.s().i32_const(0x0001_0001).i32_mul();
                }
                self.s().local_get(n);
                if left {
                    self.s().i32_rotl();
                } else {
                    self.s().i32_rotr();
                }
                self.trim(size);
            }
        }
        self.s().local_set(r);
        self.write_back(i, size, at, r);
        let wanted = self.wanted(RegSet::of(&[CF, OF]));
        if wanted.is_empty() || constant == Some(0) {
            return;
        }
        let dynamic = constant.is_none();
        if dynamic {
            self.materialise(RegSet::of(&[CF, OF]));
            self.s().local_get(n).if_(BlockType::Empty);
        }
        let (c, o) = (self.reg_local(CF), self.reg_local(OF));
        let low = |g: &mut Self| {
            g.s().local_get(r);
            if size == 8 {
                g.s().i32_wrap_i64();
            }
            g.s().i32_const(1).i32_and();
        };
        if left {
            low(self);
            self.s().local_set(c).local_get(r);
            self.top_bit(size);
            self.s().local_get(c).i32_xor().local_set(o);
        } else {
            self.s().local_get(r);
            self.top_bit(size);
            self.s().local_tee(c);
            // The bit below the top.
            self.s().local_get(r);
            if size == 8 {
                self.s().i64_const(62).i64_shr_u().i32_wrap_i64();
            } else {
                self.s().i32_const(bits as i32 - 2).i32_shr_u();
            }
            self.s().i32_const(1).i32_and().i32_xor().local_set(o);
        }
        if dynamic {
            self.s().end();
        }
        self.fl[0] = Fl::Local;
        self.fl[(OF - CF) as usize] = Fl::Local;
    }

    /// rcl and rcr, one bit at a time: rare, and counts are small.
    fn rotate_carry(&mut self, i: &Instruction) {
        let size = self.op_size(i, 0);
        let bits = 8 * size;
        let left = i.mnemonic() == Mnemonic::Rcl;
        let m = if size == 8 { 63 } else { 31 };
        let n = self.tmp(ValType::I32);
        match self.shift_count(i, 1, size) {
            Some(c) => {
                self.s().i32_const(c as i32);
            }
            None => {
                self.push_reg(Register::CL);
                self.s().i32_const(m).i32_and();
            }
        }
        if size < 4 {
            self.s().i32_const(bits as i32 + 1).i32_rem_u();
        }
        self.s().local_set(n);
        let (v, at) = self.read_modify(i, size);
        self.materialise(RegSet::of(&[CF, OF]));
        let (c, o) = (self.reg_local(CF), self.reg_local(OF));
        let t = self.tmp(ValType::I32);
        let widen = |g: &mut Self| {
            if size == 8 {
                g.s().i64_extend_i32_u();
            }
        };
        self.s().block(BlockType::Empty).loop_(BlockType::Empty).local_get(n).i32_eqz().br_if(1);
        if left {
            self.s().local_get(v);
            self.top_bit(size);
            self.s().local_set(t).local_get(v);
            if size == 8 {
                self.s().i64_const(1).i64_shl();
            } else {
                self.s().i32_const(1).i32_shl();
            }
            self.s().local_get(c);
            widen(self);
            if size == 8 {
                self.s().i64_or();
            } else {
                self.s().i32_or();
            }
            self.trim(size);
            self.s().local_set(v);
            // OF = msb(result) ^ CF
            self.s().local_get(v);
            self.top_bit(size);
            self.s().local_get(t).i32_xor().local_set(o);
        } else {
            // OF = msb(before) ^ CF(before)
            self.s().local_get(v);
            self.top_bit(size);
            self.s().local_get(c).i32_xor().local_set(o);
            self.s().local_get(v);
            if size == 8 {
                self.s().i32_wrap_i64();
            }
            self.s().i32_const(1).i32_and().local_set(t).local_get(v);
            if size == 8 {
                self.s().i64_const(1).i64_shr_u();
            } else {
                self.s().i32_const(1).i32_shr_u();
            }
            self.s().local_get(c);
            widen(self);
            if size == 8 {
                self.s().i64_const(63).i64_shl().i64_or();
            } else {
                self.s().i32_const(bits as i32 - 1).i32_shl().i32_or();
            }
            self.s().local_set(v);
        }
        self.s().local_get(t).local_set(c).local_get(n).i32_const(1).i32_sub().local_set(n).br(0).end().end();
        self.write_back(i, size, at, v);
    }

    fn double_shift(&mut self, i: &Instruction) {
        let size = self.op_size(i, 0);
        let bits = 8 * size;
        let left = i.mnemonic() == Mnemonic::Shld;
        let m = if size == 8 { 63 } else { 31 };
        let constant = self.shift_count(i, 2, size);
        let n = self.tmp(ValType::I32);
        match constant {
            Some(c) => {
                self.s().i32_const(c as i32).local_set(n);
            }
            None => {
                self.push_reg(Register::CL);
                self.s().i32_const(m).i32_and().local_set(n);
            }
        }
        let (v, at) = self.read_modify(i, size);
        let other = self.tmp(ty(size));
        self.push_reg(i.op1_register());
        self.s().local_set(other);
        let r = self.local(ty(size));
        if size == 8 {
            // (v << n) | (other >> 1 >> (63 - n)), and mirrored.
            self.s().local_get(v).local_get(n).i64_extend_i32_u();
            if left {
                self.s().i64_shl();
            } else {
                self.s().i64_shr_u();
            }
            self.s().local_get(other).i64_const(1);
            if left {
                self.s().i64_shr_u();
            } else {
                self.s().i64_shl();
            }
            self.s().i32_const(63).local_get(n).i32_sub().i64_extend_i32_u();
            if left {
                self.s().i64_shr_u();
            } else {
                self.s().i64_shl();
            }
            self.s().i64_or().local_set(r);
        } else {
            // Both halves in one i64 of 2 * bits.
            let pair = self.tmp(ValType::I64);
            let (hi, lo) = if left { (v, other) } else { (other, v) };
            self.s().local_get(hi).i64_extend_i32_u().i64_const(i64::from(bits)).i64_shl();
            self.s().local_get(lo).i64_extend_i32_u().i64_or().local_set(pair);
            if size == 2 {
                // Counts above 16 bring in the operand again.
                if left {
                    self.s().local_get(pair).i64_const(16).i64_shl().local_get(v).i64_extend_i32_u().i64_or();
                    self.s().local_get(n).i64_extend_i32_u().i64_shl().i64_const(32).i64_shr_u().i32_wrap_i64();
                } else {
                    self.s().local_get(v).i64_extend_i32_u().i64_const(32).i64_shl().local_get(pair).i64_or();
                    self.s().local_get(n).i64_extend_i32_u().i64_shr_u().i32_wrap_i64();
                }
                self.trim(2);
            } else {
                self.s().local_get(pair).local_get(n).i64_extend_i32_u();
                if left {
                    self.s().i64_shl().i64_const(32).i64_shr_u();
                } else {
                    self.s().i64_shr_u();
                }
                self.s().i32_wrap_i64();
            }
            self.s().local_set(r);
        }
        if constant == Some(0) {
            self.write_back(i, size, at, v);
            return;
        }
        self.write_back(i, size, at, r);
        let wanted = self.wanted(RegSet::ARITH);
        if wanted.is_empty() {
            return;
        }
        let dynamic = constant.is_none();
        let saved: Vec<(u8, u32)> = if dynamic {
            self.materialise(wanted);
            let saved = wanted.iter().map(|f| (f, self.reg_local(f))).collect();
            self.s().local_get(n).if_(BlockType::Empty);
            saved
        } else {
            Vec::new()
        };
        if wanted.has(CF) {
            self.s().local_get(v);
            if size < 8 {
                self.s().i64_extend_i32_u();
            }
            if left {
                self.s().i32_const(bits as i32).local_get(n).i32_sub();
            } else {
                self.s().local_get(n).i32_const(1).i32_sub();
            }
            self.s().i64_extend_i32_u().i64_shr_u().i32_wrap_i64().i32_const(1).i32_and();
            self.pop_flag(CF);
        }
        if wanted.has(OF) {
            // Whether the sign changed.
            self.s().local_get(v).local_get(r);
            self.op2(
                size,
                |s| {
                    s.i64_xor();
                },
                |s| {
                    s.i32_xor();
                },
            );
            self.top_bit(size);
            self.pop_flag(OF);
        }
        self.set_lazy(RegSet::of(&[ZF, SF, PF, AF]), Lazy { kind: Kind::Logic, size, x: r, y: r });
        if dynamic {
            for (f, l) in saved {
                self.push_flag(f);
                self.s().local_set(l);
            }
            self.s().end();
            for f in wanted.iter() {
                self.fl[(f - CF) as usize] = Fl::Local;
            }
        }
    }

    /// One-operand mul and imul.
    fn mul_wide(&mut self, i: &Instruction, signed: bool) {
        let size = self.op_size(i, 0);
        let wanted = self.wanted(RegSet::of(&[CF, OF]));
        match size {
            8 => {
                let (a, b) = (self.tmp(ValType::I64), self.tmp(ValType::I64));
                self.push_op(i, 0, 8);
                self.s().local_set(b);
                self.push_reg(Register::RAX);
                self.s().local_set(a);
                let (lo, hi) = (self.reg_local(RAX), self.reg_local(RDX));
                self.push_mul_high(a, b, signed);
                self.s().local_set(hi).local_get(a).local_get(b).i64_mul().local_set(lo);
                if !wanted.is_empty() {
                    self.s().local_get(hi);
                    if signed {
                        self.s().local_get(lo).i64_const(63).i64_shr_s().i64_ne();
                    } else {
                        self.s().i64_const(0).i64_ne();
                    }
                    self.overflow_flags(wanted);
                }
            }
            _ => {
                let p = self.tmp(ValType::I64);
                let widen = |g: &mut Self| {
                    if signed {
                        g.sign_extend(size);
                        g.s().i64_extend_i32_s();
                    } else {
                        g.s().i64_extend_i32_u();
                    }
                };
                self.push_op(i, 0, size);
                widen(self);
                self.push_reg(match size {
                    1 => Register::AL,
                    2 => Register::AX,
                    _ => Register::EAX,
                });
                widen(self);
                self.s().i64_mul().local_set(p);
                if size == 1 {
                    self.s().local_get(p).i32_wrap_i64();
                    self.pop_reg(Register::AX);
                } else {
                    let (lo, hi) =
                        if size == 2 { (Register::AX, Register::DX) } else { (Register::EAX, Register::EDX) };
                    self.s().local_get(p).i32_wrap_i64();
                    self.pop_reg(lo);
                    self.s().local_get(p).i64_const(i64::from(8 * size)).i64_shr_u().i32_wrap_i64();
                    self.pop_reg(hi);
                }
                if !wanted.is_empty() {
                    self.s().local_get(p);
                    self.push_fits(p, size, signed);
                    self.overflow_flags(wanted);
                }
            }
        }
    }

    /// With the product on the stack and in `p`: replaces it by whether it does not fit `size` bytes.
    fn push_fits(&mut self, p: u32, size: u32, signed: bool) {
        if signed {
            self.s().local_get(p);
            match size {
                1 => self.s().i64_extend8_s(),
                2 => self.s().i64_extend16_s(),
                _ => self.s().i64_extend32_s(),
            };
            self.s().i64_ne();
        } else {
            self.s().i64_const(i64::from(8 * size)).i64_shr_u().i64_const(0).i64_ne();
        }
    }

    /// Pushes the high 64 bits of the product of two i64 locals.
    fn push_mul_high(&mut self, a: u32, b: u32, signed: bool) {
        let f = self.m.helper_index(if signed { Helper::MulHighS } else { Helper::MulHighU });
        self.s().local_get(a).local_get(b).call(f);
    }

    /// Pops an i32 into CF and OF.
    fn overflow_flags(&mut self, wanted: RegSet) {
        let t = self.local(ValType::I32);
        self.s().local_set(t);
        for f in wanted.iter() {
            self.fl[(f - CF) as usize] = Fl::Tmp(t);
        }
    }

    /// Two- and three-operand imul.
    fn imul(&mut self, i: &Instruction) {
        let size = self.op_size(i, 0);
        let (a, b) = if i.op_count() == 2 { (0, 1) } else { (1, 2) };
        let wanted = self.wanted(RegSet::of(&[CF, OF]));
        if wanted.is_empty() {
            self.push_op(i, a, size);
            self.push_op(i, b, size);
            if size == 8 {
                self.s().i64_mul();
            } else {
                self.s().i32_mul();
            }
            self.pop_reg(i.op0_register());
            return;
        }
        if size == 8 {
            let (x, y, lo) = (self.tmp(ValType::I64), self.tmp(ValType::I64), self.tmp(ValType::I64));
            self.push_op(i, a, 8);
            self.s().local_set(x);
            self.push_op(i, b, 8);
            self.s().local_set(y);
            self.push_mul_high(x, y, true);
            self.s().local_get(x).local_get(y).i64_mul().local_tee(lo).i64_const(63).i64_shr_s().i64_ne();
            self.overflow_flags(wanted);
            self.s().local_get(lo);
        } else {
            let p = self.tmp(ValType::I64);
            for k in [a, b] {
                self.push_op(i, k, size);
                self.sign_extend(size);
                self.s().i64_extend_i32_s();
            }
            self.s().i64_mul().local_tee(p);
            self.push_fits(p, size, true);
            self.overflow_flags(wanted);
            self.s().local_get(p).i32_wrap_i64();
        }
        self.pop_reg(i.op0_register());
    }

    fn div(&mut self, i: &Instruction, signed: bool) {
        let size = self.op_size(i, 0);
        if size == 8 {
            return self.div64(i, signed);
        }
        // Dividend and divisor as i64; the quotient must fit.
        let (n, d, q) = (self.tmp(ValType::I64), self.tmp(ValType::I64), self.tmp(ValType::I64));
        self.push_op(i, 0, size);
        if signed {
            self.sign_extend(size);
            self.s().i64_extend_i32_s();
        } else {
            self.s().i64_extend_i32_u();
        }
        self.s().local_set(d);
        match size {
            1 => {
                self.push_reg(Register::AX);
                if signed {
                    self.s().i32_extend16_s().i64_extend_i32_s();
                } else {
                    self.s().i64_extend_i32_u();
                }
            }
            2 => {
                self.push_reg(Register::DX);
                self.s().i32_const(16).i32_shl();
                self.push_reg(Register::AX);
                self.s().i32_or();
                if signed {
                    self.s().i64_extend_i32_s();
                } else {
                    self.s().i64_extend_i32_u();
                }
            }
            _ => {
                self.push_reg(Register::EDX);
                self.s().i64_extend_i32_u().i64_const(32).i64_shl();
                self.push_reg(Register::EAX);
                self.s().i64_extend_i32_u().i64_or();
            }
        }
        self.s().local_set(n);
        // Zero divisor, or i64::MIN / -1 which wasm would trap on.
        self.s().local_get(d).i64_eqz();
        if signed && size == 4 {
            self.s().local_get(d).i64_const(-1).i64_eq().local_get(n).i64_const(i64::MIN).i64_eq().i32_and().i32_or();
        }
        self.s().if_(BlockType::Empty);
        self.exit_here(i, Reason::Divide, 1);
        self.s().end();
        self.s().local_get(n).local_get(d);
        if signed {
            self.s().i64_div_s();
        } else {
            self.s().i64_div_u();
        }
        self.s().local_tee(q);
        self.push_fits(q, size, signed);
        self.s().if_(BlockType::Empty);
        self.exit_here(i, Reason::Divide, 1);
        self.s().end();
        // Remainder first: it reads n and d only.
        let r = self.tmp(ValType::I32);
        self.s().local_get(n).local_get(q).local_get(d).i64_mul().i64_sub().i32_wrap_i64().local_set(r);
        match size {
            1 => {
                self.s()
                    .local_get(q)
                    .i32_wrap_i64()
                    .i32_const(0xff)
                    .i32_and()
                    .local_get(r)
                    .i32_const(8)
                    .i32_shl()
                    .i32_or();
                self.pop_reg(Register::AX);
            }
            2 => {
                self.s().local_get(q).i32_wrap_i64();
                self.pop_reg(Register::AX);
                self.s().local_get(r);
                self.pop_reg(Register::DX);
            }
            _ => {
                self.s().local_get(q).i32_wrap_i64();
                self.pop_reg(Register::EAX);
                self.s().local_get(r);
                self.pop_reg(Register::EDX);
            }
        }
    }

    fn div64(&mut self, i: &Instruction, signed: bool) {
        let d = self.tmp(ValType::I64);
        self.push_op(i, 0, 8);
        self.s().local_set(d);
        let (lo, hi) = (self.reg_local(RAX), self.reg_local(RDX));
        let (q, r) = (self.tmp(ValType::I64), self.tmp(ValType::I64));
        self.s().local_get(d).i64_eqz().if_(BlockType::Empty);
        self.exit_here(i, Reason::Divide, 1);
        self.s().end();
        if signed {
            // The usual case: rdx is rax's sign, and the quotient cannot overflow.
            self.s().local_get(hi).local_get(lo).i64_const(63).i64_shr_s().i64_eq();
            self.s().local_get(d).i64_const(-1).i64_ne().i32_and().if_(BlockType::Empty);
            self.s().local_get(lo).local_get(d).i64_div_s().local_set(q);
            self.s().local_get(lo).local_get(q).local_get(d).i64_mul().i64_sub().local_set(r);
            self.s().else_();
            self.signed_overflow(hi, lo, d);
            self.s().if_(BlockType::Empty);
            self.exit_here(i, Reason::Divide, 2);
            self.s().end();
            self.s().local_get(hi).local_get(lo).local_get(d).call(index::SDIV128).local_set(r).local_set(q);
            self.s().end();
        } else {
            self.s().local_get(hi).i64_eqz().if_(BlockType::Empty);
            self.s().local_get(lo).local_get(d).i64_div_u().local_set(q);
            self.s().local_get(lo).local_get(q).local_get(d).i64_mul().i64_sub().local_set(r);
            self.s().else_();
            self.s().local_get(hi).local_get(d).i64_ge_u().if_(BlockType::Empty);
            self.exit_here(i, Reason::Divide, 2);
            self.s().end();
            self.s().local_get(hi).local_get(lo).local_get(d).call(index::UDIV128).local_set(r).local_set(q);
            self.s().end();
        }
        self.s().local_get(q).local_set(lo).local_get(r).local_set(hi);
    }

    /// Pushes whether the signed quotient of hi:lo / d does not fit 64 bits.
    fn signed_overflow(&mut self, hi: u32, lo: u32, d: u32) {
        // |hi:lo| and |d| as unsigned; the quotient's magnitude must be below 2^63, or equal to it when negative.
        let (ah, al, ad, neg) =
            (self.tmp(ValType::I64), self.tmp(ValType::I64), self.tmp(ValType::I64), self.tmp(ValType::I32));
        self.s().local_get(hi).i64_const(0).i64_lt_s().if_(BlockType::Empty);
        self.s().i64_const(0).local_get(lo).i64_sub().local_set(al);
        self.s()
            .i64_const(0)
            .local_get(hi)
            .i64_sub()
            .local_get(lo)
            .i64_const(0)
            .i64_ne()
            .i64_extend_i32_u()
            .i64_sub()
            .local_set(ah);
        self.s().else_().local_get(hi).local_set(ah).local_get(lo).local_set(al).end();
        self.s().local_get(d).i64_const(0).i64_lt_s().if_(BlockType::Empty);
        self.s().i64_const(0).local_get(d).i64_sub().local_set(ad).else_().local_get(d).local_set(ad).end();
        self.s().local_get(hi).local_get(d).i64_xor().i64_const(0).i64_lt_s().local_set(neg);
        // Limit on the dividend's magnitude: ad << 63, plus ad when the quotient is negative (magnitude up to 2^63).
        // magnitude < (2^63 + neg) * ad  <=>  fits.
        let (lh, ll) = (self.tmp(ValType::I64), self.tmp(ValType::I64));
        self.s().local_get(ad).i64_const(1).i64_shr_u().local_set(lh);
        self.s().local_get(ad).i64_const(63).i64_shl().local_set(ll);
        self.s().local_get(neg).if_(BlockType::Empty);
        self.s().local_get(ll).local_get(ad).i64_add().local_set(ll);
        self.s().local_get(lh).local_get(ll).local_get(ad).i64_lt_u().i64_extend_i32_u().i64_add().local_set(lh);
        self.s().end();
        self.s().local_get(ah).local_get(lh).i64_gt_u();
        self.s().local_get(ah).local_get(lh).i64_eq().local_get(al).local_get(ll).i64_ge_u().i32_and().i32_or();
    }

    fn extend_acc(&mut self, from: Register, to: Register, size: u32) {
        self.push_reg(from);
        self.sign_extend(size);
        self.pop_reg(to);
    }

    fn xchg(&mut self, i: &Instruction) {
        let size = self.op_size(i, 0);
        // With memory, the register is the other operand, whichever comes first in the encoding.
        let (m, r) = if i.op0_kind() == OpKind::Memory || i.op1_kind() == OpKind::Register { (0, 1) } else { (1, 0) };
        let reg = i.op_register(r);
        let (a, b) = (self.tmp(ty(size)), self.tmp(ty(size)));
        if i.op_kind(m) == OpKind::Memory {
            let at = self.address_tmp(i);
            self.push_reg(reg);
            self.s().local_set(b).local_get(at);
            self.load(size, 0);
            self.s().local_set(a).local_get(at).local_get(b);
            self.store(size, 0);
            self.s().local_get(a);
            self.pop_reg(reg);
        } else {
            let other = i.op_register(m);
            if reg == Register::RSP || other == Register::RSP {
                self.materialise_rsp();
            }
            self.push_reg(reg);
            self.s().local_set(a);
            self.push_reg(other);
            self.s().local_set(b).local_get(a);
            self.pop_reg(other);
            self.s().local_get(b);
            self.pop_reg(reg);
        }
    }

    fn xadd(&mut self, i: &Instruction) {
        let size = self.op_size(i, 0);
        let (v, at) = self.read_modify(i, size);
        let (x, r) = (self.local(ty(size)), self.local(ty(size)));
        self.s().local_get(v).local_tee(x);
        self.push_reg(i.op1_register());
        if size == 8 {
            self.s().i64_add();
        } else {
            self.s().i32_add();
        }
        self.trim(size);
        self.s().local_set(r);
        // The source gets the old value first: with the same register twice, the sum wins.
        if at.is_some() {
            self.write_back(i, size, at, r);
            self.s().local_get(x);
            self.pop_reg(i.op1_register());
        } else {
            self.s().local_get(x);
            self.pop_reg(i.op1_register());
            self.write_back(i, size, at, r);
        }
        if !self.wanted(RegSet::ARITH).is_empty() {
            self.set_lazy(RegSet::ARITH, Lazy { kind: Kind::Add, size, x, y: r });
        }
    }

    fn cmpxchg(&mut self, i: &Instruction) {
        let size = self.op_size(i, 0);
        let acc = match size {
            1 => Register::AL,
            2 => Register::AX,
            4 => Register::EAX,
            _ => Register::RAX,
        };
        let (v, at) = self.read_modify(i, size);
        let (x, y) = (self.local(ty(size)), self.local(ty(size)));
        self.push_reg(acc);
        self.s().local_set(x).local_get(v).local_set(y);
        let eq = self.tmp(ValType::I32);
        self.s().local_get(x).local_get(y);
        if size == 8 {
            self.s().i64_eq();
        } else {
            self.s().i32_eq();
        }
        self.s().local_set(eq);
        // Memory is written either way (with the old value when the comparison fails).
        let src = self.tmp(ty(size));
        self.push_reg(i.op1_register());
        self.s().local_set(src);
        if at.is_some() {
            self.s().local_get(src).local_get(v).local_get(eq).select().local_set(src);
            self.write_back(i, size, at, src);
            // A register of 4 bytes is zero-extended only when it is written.
            self.s().local_get(eq).i32_eqz().if_(BlockType::Empty).local_get(v);
            self.pop_reg(acc);
            self.s().end();
        } else {
            self.s().local_get(eq).if_(BlockType::Empty).local_get(src);
            self.pop_reg(i.op0_register());
            self.s().else_().local_get(v);
            self.pop_reg(acc);
            self.s().end();
        }
        if !self.wanted(RegSet::ARITH).is_empty() {
            self.set_lazy(RegSet::ARITH, Lazy { kind: Kind::Sub, size, x, y });
        }
    }

    fn cmpxchg8b(&mut self, i: &Instruction) {
        let at = self.address_tmp(i);
        let (v, want) = (self.tmp(ValType::I64), self.tmp(ValType::I64));
        let eq = self.local(ValType::I32);
        self.s().local_get(at);
        self.load(8, 0);
        self.s().local_set(v);
        let pair = |g: &mut Self, hi: Register, lo: Register| {
            g.push_reg(hi);
            g.s().i64_extend_i32_u().i64_const(32).i64_shl();
            g.push_reg(lo);
            g.s().i64_extend_i32_u().i64_or();
        };
        pair(self, Register::EDX, Register::EAX);
        self.s().local_tee(want).local_get(v).i64_eq().local_set(eq).local_get(at);
        pair(self, Register::ECX, Register::EBX);
        self.s().local_get(v).local_get(eq).select();
        self.store(8, 0);
        self.s().local_get(eq).i32_eqz().if_(BlockType::Empty).local_get(v).i32_wrap_i64();
        self.pop_reg(Register::EAX);
        self.s().local_get(v).i64_const(32).i64_shr_u().i32_wrap_i64();
        self.pop_reg(Register::EDX);
        self.s().end();
        self.fl[(ZF - CF) as usize] = Fl::Tmp(eq);
    }

    fn bswap(&mut self, i: &Instruction) {
        let r = i.op0_register();
        match r.size() {
            8 => {
                let v = self.tmp(ValType::I64);
                self.push_reg(r);
                self.s().local_set(v);
                // Swap bytes, then 16-bit halves, then words.
                self.s().local_get(v).i64_const(8).i64_shr_u().i64_const(0x00ff_00ff_00ff_00ff).i64_and();
                self.s()
                    .local_get(v)
                    .i64_const(0x00ff_00ff_00ff_00ff)
                    .i64_and()
                    .i64_const(8)
                    .i64_shl()
                    .i64_or()
                    .local_set(v);
                self.s().local_get(v).i64_const(16).i64_shr_u().i64_const(0x0000_ffff_0000_ffff).i64_and();
                self.s().local_get(v).i64_const(0x0000_ffff_0000_ffff).i64_and().i64_const(16).i64_shl().i64_or();
                self.s().i64_const(32).i64_rotl();
                self.pop_reg(r);
            }
            4 => {
                let v = self.tmp(ValType::I32);
                self.push_reg(r);
                self.s().local_set(v);
                self.s().local_get(v).i32_const(8).i32_rotl().i32_const(0x00ff_00ff).i32_and();
                self.s().local_get(v).i32_const(8).i32_rotr().i32_const(0xff00_ff00_u32 as i32).i32_and().i32_or();
                self.pop_reg(r);
            }
            // Undefined by the manual; processors give zero.
            _ => {
                self.s().i32_const(0);
                self.pop_reg(r);
            }
        }
    }

    fn bit_scan(&mut self, i: &Instruction) {
        let size = self.op_size(i, 0);
        let forward = i.mnemonic() == Mnemonic::Bsf;
        let v = self.tmp(ty(size));
        self.push_op(i, 1, size);
        self.s().local_set(v);
        let zero = self.local(ValType::I32);
        self.s().local_get(v);
        self.eqz(size);
        self.s().local_set(zero);
        // A zero source leaves the destination as it was (documented by AMD, and what processors do).
        self.push_gpr64(i.op0_register().full_register());
        // Compilers take bsr's result from 31 or 63: as it is made so, two of these go, leaving the count.
        let top = if size == 8 { 63 } else { 31 };
        if !forward {
            self.s().i64_const(top).i64_xor();
        }
        self.s().local_get(v);
        match (size == 8, forward) {
            (true, true) => self.s().i64_ctz(),
            (true, false) => self.s().i64_clz(),
            (false, true) => self.s().i32_ctz().i64_extend_i32_u(),
            (false, false) => self.s().i32_clz().i64_extend_i32_u(),
        };
        self.s().local_get(zero).select();
        if !forward {
            self.s().i64_const(top).i64_xor();
        }
        if size == 2 {
            self.s().i32_wrap_i64();
            self.pop_reg(i.op0_register());
        } else {
            self.pop_reg(i.op0_register().full_register());
        }
        self.fl[(ZF - CF) as usize] = Fl::Tmp(zero);
    }

    fn tzcnt(&mut self, i: &Instruction) {
        let size = self.op_size(i, 0);
        let v = self.tmp(ty(size));
        self.push_op(i, 1, size);
        self.s().local_set(v);
        let (zero, r) = (self.local(ValType::I32), self.local(ty(size)));
        self.s().local_get(v);
        self.eqz(size);
        self.s().local_set(zero).local_get(v);
        match size {
            8 => self.s().i64_ctz().local_set(r),
            4 => self.s().i32_ctz().local_set(r),
            _ => self.s().i32_const(0x1_0000).i32_or().i32_ctz().local_set(r),
        };
        self.s().local_get(r);
        self.pop_reg(i.op0_register());
        self.fl[0] = Fl::Tmp(zero);
        if self.need_after.has(ZF) {
            self.s().local_get(r);
            self.eqz(size);
            self.pop_flag(ZF);
        }
    }

    fn bit_test(&mut self, i: &Instruction) {
        let size = self.op_size(i, 0);
        let bits = 8 * size as i64;
        let n = self.tmp(ty(size));
        self.push_op(i, 1, size);
        self.s().local_set(n);
        let (v, at);
        if i.op0_kind() == OpKind::Memory {
            let a = self.address_tmp(i);
            if i.op1_kind() == OpKind::Register {
                // A register offset reaches beyond the operand: signed, in units of the operand size.
                self.s().local_get(a).local_get(n);
                match size {
                    8 => self.s().i64_const(6).i64_shr_s().i64_const(3).i64_shl().i32_wrap_i64(),
                    4 => self.s().i32_const(5).i32_shr_s().i32_const(2).i32_shl(),
                    _ => self.s().i32_extend16_s().i32_const(4).i32_shr_s().i32_const(1).i32_shl(),
                };
                self.s().i32_add().local_set(a);
            }
            v = self.tmp(ty(size));
            self.s().local_get(a);
            self.load(size, 0);
            self.s().local_set(v);
            at = Some(a);
        } else {
            (v, at) = self.read_modify(i, size);
        }
        // n modulo the size.
        self.s().local_get(n);
        if size == 8 {
            self.s().i64_const(bits - 1).i64_and().local_set(n);
        } else {
            self.s().i32_const(bits as i32 - 1).i32_and().local_set(n);
        }
        self.s().local_get(v).local_get(n);
        if size == 8 {
            self.s().i64_shr_u().i32_wrap_i64();
        } else {
            self.s().i32_shr_u();
        }
        self.s().i32_const(1).i32_and();
        let cf = self.local(ValType::I32);
        self.s().local_set(cf);
        if i.mnemonic() != Mnemonic::Bt {
            self.s().local_get(v);
            if size == 8 {
                self.s().i64_const(1).local_get(n).i64_shl();
                match i.mnemonic() {
                    Mnemonic::Bts => self.s().i64_or(),
                    Mnemonic::Btr => self.s().i64_const(-1).i64_xor().i64_and(),
                    _ => self.s().i64_xor(),
                };
            } else {
                self.s().i32_const(1).local_get(n).i32_shl();
                match i.mnemonic() {
                    Mnemonic::Bts => self.s().i32_or(),
                    Mnemonic::Btr => self.s().i32_const(-1).i32_xor().i32_and(),
                    _ => self.s().i32_xor(),
                };
            }
            self.s().local_set(v);
            self.write_back(i, size, at, v);
        }
        self.fl[0] = Fl::Tmp(cf);
    }

    fn cpuid(&mut self) {
        self.push_reg(Register::EAX);
        self.push_reg(Register::ECX);
        self.s().call(index::CPUID);
        for r in [Register::EDX, Register::ECX, Register::EBX, Register::EAX] {
            self.pop_reg(r);
        }
    }

    /// Pushes MXCSR.
    pub fn push_mxcsr(&mut self) {
        self.s().global_get(Global::Mxcsr as u32);
    }
}

/// Whether a read-modify-write may leave memory as it was, visibly to a compiler: it would drop the store, and with it the fault on a read-only page.
fn keeps_memory(i: &Instruction) -> bool {
    use Mnemonic::*;
    match i.mnemonic() {
        Cmpxchg => matches!(i.op1_register().full_register(), Register::RAX),
        Add | Sub | Adc | Sbb | Or | Xor | Shl | Sal | Shr | Sar | Rol | Ror | Shld | Shrd | Rcl | Rcr | And => {
            let last = i.op_count().saturating_sub(1);
            let size = i.memory_size().size() as u32 * 8;
            match i.op_kind(last) {
                OpKind::Register | OpKind::Memory => false,
                _ if i.mnemonic() == And => true,
                _ if matches!(i.mnemonic(), Add | Sub | Or | Xor) => i.immediate(last) == 0,
                // With a carry that the compiler knows.
                _ if matches!(i.mnemonic(), Adc | Sbb) => true,
                _ => (i.immediate(last) as u32 & if size == 64 { 63 } else { 31 }).is_multiple_of(size.max(1)),
            }
        }
        _ => false,
    }
}

fn is_setcc(m: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(
        m,
        Seto | Setno
            | Setb
            | Setae
            | Sete
            | Setne
            | Setbe
            | Seta
            | Sets
            | Setns
            | Setp
            | Setnp
            | Setl
            | Setge
            | Setle
            | Setg
    )
}

fn is_cmov(m: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(
        m,
        Cmovo
            | Cmovno
            | Cmovb
            | Cmovae
            | Cmove
            | Cmovne
            | Cmovbe
            | Cmova
            | Cmovs
            | Cmovns
            | Cmovp
            | Cmovnp
            | Cmovl
            | Cmovge
            | Cmovle
            | Cmovg
    )
}
