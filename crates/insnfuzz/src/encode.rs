//! Makes instruction instances: concrete encodings of a form with varied registers, addressing modes, prefixes and immediates.

use crate::arena::{CODE_START, PADS, REGIONS};
use crate::forms::{Form, memory_only, reg_or_mem};
use crate::rng::Rng;
use iced_x86::{Code, Decoder, DecoderOptions, Encoder, Instruction, OpCodeOperandKind as K, OpKind, Register};

/// One encoding of a form, placed at [`CODE_START`].
#[derive(Clone, Debug)]
pub struct Instance {
    /// The form.
    pub form: Form,
    /// The instruction's bytes.
    pub bytes: Vec<u8>,
    /// The instruction, decoded from `bytes`.
    pub insn: Instruction,
}

/// Which registers memory operands may use; [`Registers::default`] allows all.
#[derive(Clone, Copy, Debug)]
pub struct Registers {
    /// Bit i: general register i may be an operand.
    pub operands: u16,
    /// Bit i: general register i may be a base or index.
    pub addresses: u16,
    /// rip-relative, absolute and segment-prefixed operands too.
    pub any_mode: bool,
}

impl Default for Registers {
    fn default() -> Self {
        Registers { operands: 0xffff, addresses: 0xffff, any_mode: true }
    }
}

const GPR64: [Register; 16] = {
    use Register::*;
    [RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15]
};
const GPR32: [Register; 16] = {
    use Register::*;
    [EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI, R8D, R9D, R10D, R11D, R12D, R13D, R14D, R15D]
};
const GPR16: [Register; 16] = {
    use Register::*;
    [AX, CX, DX, BX, SP, BP, SI, DI, R8W, R9W, R10W, R11W, R12W, R13W, R14W, R15W]
};
const GPR8: [Register; 16] = {
    use Register::*;
    [AL, CL, DL, BL, SPL, BPL, SIL, DIL, R8L, R9L, R10L, R11L, R12L, R13L, R14L, R15L]
};
const HIGH8: [Register; 4] = [Register::AH, Register::CH, Register::DH, Register::BH];

fn masked(rng: &mut Rng, set: &[Register; 16], mask: u16) -> Register {
    loop {
        let i = rng.below(16) as usize;
        if mask & (1 << i) != 0 || mask == 0 {
            return set[i];
        }
    }
}

fn byte_register(rng: &mut Rng, mask: u16) -> Register {
    let i = rng.below(4) as usize;
    if rng.one_in(5) && mask & (1 << i) != 0 { HIGH8[i] } else { masked(rng, &GPR8, mask) }
}

fn nth(rng: &mut Rng, first: Register, n: u64) -> Register {
    first + rng.below(n) as u32
}

/// A displacement: small, at the borders of disp8 and disp32 and of the 64 KiB below which a translator may fold it, or random.
fn displacement(rng: &mut Rng) -> i32 {
    match rng.below(8) {
        0 => 0,
        1..=3 => rng.u32() as i8 as i32,
        4 => rng.pick(&[1, -1, 127, 128, -128, -129, 0x7fff, 0x8000, 0xffff, 0x1_0000, -0x1_0000, 0xfff, 0x1000, -8]),
        5 => rng.pick(&[i32::MAX, i32::MIN, i32::MAX - 15, 0x1000_0000, -0x1000_0000]),
        6 => rng.u32() as i16 as i32,
        _ => rng.u32() as i32,
    }
}

/// Some address of a data page, or now and then just outside.
fn arena_address(rng: &mut Rng) -> u64 {
    let r = rng.pick(&REGIONS);
    let base = u64::from(r.start);
    match rng.below(8) {
        0 => (base + u64::from(r.len())).wrapping_sub(rng.below(40)),
        1 => (base + rng.below(u64::from(r.len()))) & !15,
        2 => base.wrapping_sub(rng.below(20)),
        _ => base + rng.below(u64::from(r.len())),
    }
}

fn set_memory(rng: &mut Rng, i: &mut Instruction, regs: Registers) {
    let disp = displacement(rng);
    i.set_memory_index_scale(1);
    let mut size = if disp == 0 && !rng.one_in(4) {
        0
    } else if i8::try_from(disp).is_ok() && !rng.one_in(4) {
        1
    } else {
        8
    };
    let mut set = &GPR64;
    if regs.any_mode {
        match rng.below(20) {
            0..=2 => {
                i.set_memory_base(Register::RIP);
                // Within 2 GiB of the code: the regions below 2^31.
                let mut a = arena_address(rng);
                while a > 0x8000_1000 {
                    a = arena_address(rng);
                }
                i.set_memory_displacement64(a);
                i.set_memory_displ_size(8);
                return;
            }
            3 => {
                let mut a = arena_address(rng);
                while a >= 0x8000_0000 {
                    a = arena_address(rng);
                }
                i.set_memory_displacement64(a);
                i.set_memory_displ_size(8);
                return;
            }
            4 => {
                set = &GPR32;
                size = size.min(4);
            }
            _ => {}
        }
        match rng.below(12) {
            0 => i.set_segment_prefix(Register::FS),
            1 if rng.one_in(3) => i.set_segment_prefix(Register::GS),
            _ => {}
        }
    }
    let shape = rng.below(8);
    if shape != 7 {
        i.set_memory_base(masked(rng, set, regs.addresses));
    } else {
        size = if set == &GPR32 { 4 } else { 8 };
    }
    if shape >= 4 {
        // rsp and esp (number 4) cannot be an index.
        i.set_memory_index(masked(rng, set, regs.addresses & !(1 << 4)));
        i.set_memory_index_scale(1 << rng.below(4));
    }
    let disp = if size == 1 { i32::from(disp as i8) } else { disp };
    i.set_memory_displ_size(size);
    let disp = if size == 0 { 0 } else { i64::from(disp) };
    i.set_memory_displacement64(if set == &GPR32 { disp as u32 as u64 } else { disp as u64 });
}

/// Immediates: borders and random bits.
fn immediate(rng: &mut Rng) -> u64 {
    match rng.below(4) {
        0 => rng.u64(),
        1 => rng.below(66),
        _ => rng.pick(&[
            0,
            1,
            !0,
            2,
            0x7f,
            0x80,
            0xff,
            0x7fff,
            0x8000,
            0xffff,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_ffff,
            1 << 63,
            0x1f,
            0x3f,
        ]),
    }
}

/// A random encoding of `form`, or `None` when this choice of operands cannot be encoded (try again) or the form has operands we do not make.
pub fn instance(form: Form, rng: &mut Rng, regs: Registers) -> Option<Instance> {
    let op = form.code.op_code();
    let mut i = Instruction::default();
    i.set_code(form.code);
    let mut imm8_seen = false;
    for (n, kind) in op.op_kinds().iter().copied().enumerate() {
        let n = n as u32;
        if memory_only(kind) || reg_or_mem(kind) && form.memory {
            i.set_op_kind(n, OpKind::Memory);
            if kind == K::mem_offs {
                i.set_memory_displ_size(8);
                i.set_memory_displacement64(arena_address(rng));
                if rng.one_in(6) {
                    i.set_segment_prefix(Register::FS);
                }
            } else {
                set_memory(rng, &mut i, regs);
                let fixed =
                    matches!(i.memory_base(), Register::RIP | Register::None) && i.memory_index() == Register::None;
                if fixed && op.memory_size().size() >= 16 && !rng.one_in(4) {
                    // No register can align it later.
                    i.set_memory_displacement64(i.memory_displacement64() & !15);
                }
            }
            continue;
        }
        let m = regs.operands;
        let register = match kind {
            K::r8_or_mem | K::r8_reg | K::r8_opcode => byte_register(rng, m),
            K::r16_or_mem | K::r16_reg | K::r16_reg_mem | K::r16_rm | K::r16_opcode => masked(rng, &GPR16, m),
            K::r32_or_mem | K::r32_reg | K::r32_reg_mem | K::r32_rm | K::r32_opcode => masked(rng, &GPR32, m),
            K::r64_or_mem | K::r64_reg | K::r64_reg_mem | K::r64_rm | K::r64_opcode => masked(rng, &GPR64, m),
            K::mm_or_mem | K::mm_reg | K::mm_rm => nth(rng, Register::MM0, 8),
            K::xmm_or_mem | K::xmm_reg | K::xmm_rm => nth(rng, Register::XMM0, 16),
            K::sti_opcode => nth(rng, Register::ST0, 8),
            K::st0 => Register::ST0,
            K::al => Register::AL,
            K::cl => Register::CL,
            K::ax => Register::AX,
            K::dx => Register::DX,
            K::eax => Register::EAX,
            K::rax => Register::RAX,
            _ => Register::None,
        };
        if register != Register::None {
            i.set_op_kind(n, OpKind::Register);
            i.set_op_register(n, register);
            continue;
        }
        let imm = immediate(rng);
        match kind {
            K::imm8 => {
                // The second 8-bit immediate of ENTER and EXTRQ has a kind of its own.
                let second = imm8_seen || matches!(form.code, Code::Enterq_imm16_imm8 | Code::Enterw_imm16_imm8);
                i.set_op_kind(n, if second { OpKind::Immediate8_2nd } else { OpKind::Immediate8 });
                if second {
                    let nesting = matches!(form.code, Code::Enterq_imm16_imm8 | Code::Enterw_imm16_imm8);
                    i.set_immediate8_2nd(if nesting && !rng.one_in(4) { (imm & 3) as u8 } else { imm as u8 });
                } else {
                    i.set_immediate8(imm as u8);
                }
                imm8_seen = true;
            }
            K::imm8_const_1 => {
                i.set_op_kind(n, OpKind::Immediate8);
                i.set_immediate8(1);
            }
            K::imm8sex16 => {
                i.set_op_kind(n, OpKind::Immediate8to16);
                i.set_immediate8to16(imm as i8 as i16);
            }
            K::imm8sex32 => {
                i.set_op_kind(n, OpKind::Immediate8to32);
                i.set_immediate8to32(imm as i8 as i32);
            }
            K::imm8sex64 => {
                i.set_op_kind(n, OpKind::Immediate8to64);
                i.set_immediate8to64(imm as i8 as i64);
            }
            K::imm16 => {
                i.set_op_kind(n, OpKind::Immediate16);
                i.set_immediate16(imm as u16);
            }
            K::imm32 => {
                i.set_op_kind(n, OpKind::Immediate32);
                i.set_immediate32(imm as u32);
            }
            K::imm32sex64 => {
                i.set_op_kind(n, OpKind::Immediate32to64);
                i.set_immediate32to64(i64::from(imm as i32));
            }
            K::imm64 => {
                i.set_op_kind(n, OpKind::Immediate64);
                i.set_immediate64(imm);
            }
            K::br64_1 => {
                i.set_op_kind(n, OpKind::NearBranch64);
                i.set_near_branch64(u64::from(rng.pick(&PADS[..4])));
            }
            K::br64_4 => {
                i.set_op_kind(n, OpKind::NearBranch64);
                i.set_near_branch64(u64::from(rng.pick(&PADS)));
            }
            K::seg_rSI => i.set_op_kind(n, if rng.one_in(12) { OpKind::MemorySegESI } else { OpKind::MemorySegRSI }),
            K::es_rDI => {
                // Both operands of a string instruction have one address size.
                let short =
                    n > 0 && i.op_kind(0) == OpKind::MemorySegESI || n == 0 && rng.one_in(12) && op.op_count() < 2;
                i.set_op_kind(n, if short { OpKind::MemoryESEDI } else { OpKind::MemoryESRDI });
            }
            K::seg_rDI => i.set_op_kind(n, OpKind::MemorySegRDI),
            K::seg_rBX_al => {
                i.set_op_kind(n, OpKind::Memory);
                i.set_memory_base(Register::RBX);
                i.set_memory_index(Register::AL);
                i.set_memory_index_scale(1);
            }
            _ => return None,
        }
    }
    let memory_destination = form.memory && i.op0_kind() == OpKind::Memory;
    if op.can_use_lock_prefix() && memory_destination && rng.one_in(3) {
        i.set_has_lock_prefix(true);
    }
    if i.is_string_instruction() {
        match rng.below(4) {
            0 | 1 if op.can_use_rep_prefix() => i.set_has_rep_prefix(true),
            2 if op.can_use_repne_prefix() => i.set_has_repne_prefix(true),
            _ => {}
        }
        if rng.one_in(12) && i.op_kinds().any(|k| matches!(k, OpKind::MemorySegRSI | OpKind::MemorySegESI)) {
            i.set_segment_prefix(Register::FS);
        }
    }
    let mut encoder = Encoder::new(64);
    encoder.encode(&i, u64::from(CODE_START)).ok()?;
    from_bytes(&encoder.take_buffer()).filter(|x| x.form == form)
}

/// The instance that `bytes` (exactly one instruction) encode at [`CODE_START`].
pub fn from_bytes(bytes: &[u8]) -> Option<Instance> {
    let mut d = Decoder::with_ip(64, bytes, u64::from(CODE_START), DecoderOptions::NONE);
    let insn = d.decode();
    if insn.is_invalid() || insn.len() != bytes.len() {
        return None;
    }
    Some(Instance { form: Form::of(&insn), bytes: bytes.to_vec(), insn })
}

/// An instance like one found in a file: same encoding, but what it addresses absolutely or relative to rip is moved to the arena, and its branch target to a landing pad.
pub fn harvested(bytes: &[u8], rng: &mut Rng) -> Option<Instance> {
    let found = from_bytes(bytes)?;
    let mut i = found.insn;
    let absolute = i.memory_base() == Register::None && i.memory_index() == Register::None;
    if i.is_ip_rel_memory_operand() || found.form.memory && absolute && i.segment_prefix() == Register::None {
        let mut a = arena_address(rng);
        while a >= 0x8000_0000 {
            a = arena_address(rng);
        }
        i.set_memory_displacement64(a);
    } else if i.op_kinds().any(|k| k == OpKind::NearBranch64) {
        i.set_near_branch64(u64::from(rng.pick(&PADS[..4])));
    } else {
        return Some(found);
    }
    let mut encoder = Encoder::new(64);
    encoder.encode(&i, u64::from(CODE_START)).ok()?;
    from_bytes(&encoder.take_buffer()).filter(|x| x.form == found.form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_that_is_compared_can_be_encoded() {
        let mut rng = Rng::new(7);
        let mut missing = Vec::new();
        let mut compared = 0;
        for form in Form::all() {
            if form.exclusion().is_some() {
                continue;
            }
            compared += 1;
            if !(0..200).any(|_| instance(form, &mut rng, Registers::default()).is_some()) {
                missing.push(form.to_string());
            }
        }
        assert!(missing.is_empty(), "{} of {compared}: {missing:?}", missing.len());
        assert!(compared > 1000, "{compared}");
    }
}
