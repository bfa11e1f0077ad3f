//! Operands: registers, immediates and memory.

use super::Gen;
use super::index;
use crate::regs::*;
use iced_x86::{Instruction, OpKind, Register};
use megalith_abi::{Global, MMAP_MIN_ADDR};
use wasm_encoder::{MemArg, ValType};

/// Displacements up to here are folded into wasm's offset: the page below [`MMAP_MIN_ADDR`] is never mapped, so an address that would have
/// wrapped around faults either way.
const FOLD_LIMIT: i64 = MMAP_MIN_ADDR as i64 - 64;

pub fn arg(offset: u64) -> MemArg {
    MemArg { offset, align: 0, memory_index: 0 }
}

/// Type of values of an operand size: i64 for 8 bytes, i32 below.
pub fn ty(size: u32) -> ValType {
    if size == 8 { ValType::I64 } else { ValType::I32 }
}

/// Mask of the bits of an operand of 1 or 2 bytes.
pub fn mask(size: u32) -> i32 {
    if size == 1 { 0xff } else { 0xffff }
}

impl Gen<'_> {
    /// Pushes an i32 such that adding the returned offset gives frame base + `d`.
    pub fn push_frame_base(&mut self, fb: u32, d: i32) -> u64 {
        self.s().local_get(fb);
        if (0..FOLD_LIMIT as i32).contains(&d) {
            return d as u64;
        }
        self.s().i32_const(d).i32_add();
        0
    }

    /// Pushes the low 32 bits of an address register.
    fn push_addr_reg(&mut self, r: Register) {
        if r.full_register() == Register::RSP {
            self.push_rsp32();
        } else if let Some(n) = number(r) {
            let l = self.reg_local(n);
            self.s().local_get(l).i32_wrap_i64();
        } else {
            self.s().i32_const(0);
        }
    }

    /// Pushes the memory operand's address as i32; the returned offset belongs to the access.
    pub fn push_ea(&mut self, i: &Instruction) -> u64 {
        let (offset, _) = self.push_ea_parts(i, true);
        offset
    }

    /// Pushes the whole address as one i32.
    pub fn push_address(&mut self, i: &Instruction) {
        self.push_ea_parts(i, false);
    }

    /// Puts the whole address into a new temporary.
    pub fn address_tmp(&mut self, i: &Instruction) -> u32 {
        self.push_address(i);
        let t = self.tmp(ValType::I32);
        self.s().local_set(t);
        t
    }

    fn push_ea_parts(&mut self, i: &Instruction, fold: bool) -> (u64, ()) {
        let mut disp = i.memory_displacement64() as i64;
        let mut pushed = false;
        let segment = i.memory_segment();
        if segment == Register::FS || segment == Register::GS {
            let g = if segment == Register::FS { Global::FsBase } else { Global::GsBase };
            self.s().global_get(g as u32).i32_wrap_i64();
            pushed = true;
        } else if let Some(at) = self.state.as_ref().and_then(|s| s.slot(i)) {
            let (fb, d) = (self.frame_base, self.depth + at);
            if fold {
                return (self.push_frame_base(fb, d), ());
            }
            self.s().local_get(fb).i32_const(d).i32_add();
            return (0, ());
        }
        if i.is_ip_rel_memory_operand() {
            self.push_pc32(i.ip_rel_memory_address() as u32);
            if pushed {
                self.s().i32_add();
            }
            return (0, ());
        }
        let base = i.memory_base();
        if base != Register::None {
            let anchor = self.state.as_ref().and_then(|s| match base {
                Register::RSP => s.rsp,
                Register::RBP => s.rbp,
                _ => None,
            });
            match anchor {
                Some(c) => {
                    let fb = self.frame_base;
                    self.s().local_get(fb);
                    disp += i64::from(self.depth + c);
                }
                None => self.push_addr_reg(base),
            }
            if pushed {
                self.s().i32_add();
            }
            pushed = true;
        }
        if i.memory_index() != Register::None {
            self.push_addr_reg(i.memory_index());
            let shift = i.memory_index_scale().trailing_zeros();
            if shift > 0 {
                self.s().i32_const(shift as i32).i32_shl();
            }
            if pushed {
                self.s().i32_add();
            }
            pushed = true;
        }
        if !pushed {
            self.s().i32_const(disp as i32);
            return (0, ());
        }
        if fold && (0..FOLD_LIMIT).contains(&disp) {
            return (disp as u64, ());
        }
        if disp != 0 {
            self.s().i32_const(disp as i32).i32_add();
        }
        (0, ())
    }

    /// Pushes the effective address of `lea` with 64 bits.
    pub fn push_lea64(&mut self, i: &Instruction) {
        if self.state.as_ref().and_then(|s| s.slot(i)).is_some() {
            self.push_address(i);
            self.s().i64_extend_i32_u();
            return;
        }
        if i.is_ip_rel_memory_operand() {
            if self.m.image.fixed {
                self.s().i64_const(i.ip_rel_memory_address() as i64);
            } else {
                self.s().global_get(index::BASE).i64_const(i.ip_rel_memory_address() as i64).i64_add();
            }
            return;
        }
        let mut pushed = false;
        for (r, scale) in [(i.memory_base(), 1), (i.memory_index(), i.memory_index_scale())] {
            if r == Register::None {
                continue;
            }
            // 32-bit address registers count with their low half.
            self.push_gpr64(r.full_register());
            if r.size() == 4 {
                self.s().i64_const(0xffff_ffff).i64_and();
            }
            let shift = scale.trailing_zeros();
            if shift > 0 {
                self.s().i64_const(i64::from(shift)).i64_shl();
            }
            if pushed {
                self.s().i64_add();
            }
            pushed = true;
        }
        let disp = i.memory_displacement64() as i64;
        if !pushed {
            self.s().i64_const(disp);
        } else if disp != 0 {
            self.s().i64_const(disp).i64_add();
        }
        if i.memory_base().size() == 4 || i.memory_index().size() == 4 {
            self.s().i64_const(0xffff_ffff).i64_and();
        }
    }

    /// Pushes a full general register as i64.
    pub fn push_gpr64(&mut self, r: Register) {
        if r.full_register() == Register::RSP {
            self.push_rsp64();
        } else if let Some(n) = number(r) {
            let l = self.reg_local(n);
            self.s().local_get(l);
        } else {
            self.s().i64_const(0);
        }
    }

    /// Pushes a general register of its own size: i64, or i32 (zero-extended below 4 bytes).
    pub fn push_reg(&mut self, r: Register) {
        match r.size() {
            8 => self.push_gpr64(r),
            4 => {
                self.push_gpr64(r.full_register());
                self.s().i32_wrap_i64();
            }
            2 => {
                self.push_gpr64(r.full_register());
                self.s().i32_wrap_i64();
                if !self.known_low(r) {
                    self.s().i32_const(0xffff).i32_and();
                }
            }
            _ => {
                self.push_gpr64(r.full_register());
                self.s().i32_wrap_i64();
                if is_high_byte(r) {
                    self.s().i32_const(8).i32_shr_u();
                } else if self.known_low(r) {
                    return;
                }
                self.s().i32_const(0xff).i32_and();
            }
        }
    }

    /// Whether a part of a register, of one or two bytes, is known to be all that the register has.
    pub fn known_low(&self, r: Register) -> bool {
        let level = usize::from(r.size() > 1);
        r.size() < 4 && !is_high_byte(r) && number(r).is_some_and(|n| self.low.0[level].has(n))
    }

    /// Pops a value of the register's size and writes it.
    pub fn pop_reg(&mut self, r: Register) {
        let full = r.full_register();
        let l = if full == Register::RSP {
            self.rsp_value
        } else {
            number(r).map_or(self.rsp_value, |n| self.reg_local(n))
        };
        match r.size() {
            8 => {
                self.s().local_set(l);
            }
            4 => {
                self.s().i64_extend_i32_u().local_set(l);
            }
            _ if !is_high_byte(r) && number(r).is_some_and(|n| self.narrow.has(n)) => {
                self.s().i64_extend_i32_u().local_set(l);
            }
            size if self.once && self.known_low(r) => {
                // What it would keep is 0.
                self.s().i32_const(mask(size as u32)).i32_and().i64_extend_i32_u().local_set(l);
            }
            size => {
                let shift = if is_high_byte(r) { 8 } else { 0 };
                let m = i64::from(mask(size as u32)) << shift;
                self.s().i64_extend_i32_u();
                if shift > 0 {
                    self.s().i64_const(8).i64_shl();
                }
                self.s().i64_const(m).i64_and();
                self.push_gpr64(full);
                self.s().i64_const(!m).i64_and().i64_or().local_set(l);
            }
        }
    }

    /// Loads an operand of 1 to 8 bytes (zero-extended) from the address and offset.
    pub fn load(&mut self, size: u32, offset: u64) {
        let a = arg(offset);
        match size {
            1 => self.s().i32_load8_u(a),
            2 => self.s().i32_load16_u(a),
            4 => self.s().i32_load(a),
            _ => self.s().i64_load(a),
        };
    }

    pub fn store(&mut self, size: u32, offset: u64) {
        let a = arg(offset);
        match size {
            1 => self.s().i32_store8(a),
            2 => self.s().i32_store16(a),
            4 => self.s().i32_store(a),
            _ => self.s().i64_store(a),
        };
    }

    /// Size in bytes of operand `k`.
    pub fn op_size(&self, i: &Instruction, k: u32) -> u32 {
        match i.op_kind(k) {
            OpKind::Register => i.op_register(k).size() as u32,
            OpKind::Memory => i.memory_size().size() as u32,
            _ => 0,
        }
    }

    /// Pushes an immediate operand with the given size.
    pub fn push_imm(&mut self, i: &Instruction, k: u32, size: u32) {
        let v = i.immediate(k);
        match size {
            8 => self.s().i64_const(v as i64),
            4 => self.s().i32_const(v as i32),
            2 => self.s().i32_const((v & 0xffff) as i32),
            _ => self.s().i32_const((v & 0xff) as i32),
        };
    }

    /// Pushes operand `k` with `size` bytes: i64 for 8, otherwise i32, zero-extended below 4.
    pub fn push_op(&mut self, i: &Instruction, k: u32, size: u32) {
        match i.op_kind(k) {
            OpKind::Register => self.push_reg(i.op_register(k)),
            OpKind::Memory => {
                let offset = self.push_ea(i);
                self.load(size, offset);
            }
            _ => self.push_imm(i, k, size),
        }
    }

    /// Sign-extends the i32 on the stack from `size` bytes.
    pub fn sign_extend(&mut self, size: u32) {
        match size {
            1 => {
                self.s().i32_extend8_s();
            }
            2 => {
                self.s().i32_extend16_s();
            }
            _ => {}
        }
    }

    /// Pushes the target of an indirect call or jump as i32.
    pub fn push_operand_pc(&mut self, i: &Instruction) {
        if i.op0_kind() == OpKind::Register {
            self.push_gpr64(i.op0_register());
            self.s().i32_wrap_i64();
        } else {
            let offset = self.push_ea(i);
            self.s().i64_load(arg(offset)).i32_wrap_i64();
        }
    }
}
