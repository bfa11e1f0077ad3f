//! Predicts which variant an IFUNC resolver chooses, by running it over the file's initial data.
//!
//! The static C library calls its string functions through slots that resolvers fill in at start, from what cpuid says. The prediction assumes that no optional
//! processor feature is there. It is only ever a guess that generated code checks: a wrong one costs time, nothing else.

use crate::discover::decode;
use crate::elf::Image;
use crate::regs::is_high_byte;
use iced_x86::{ConditionCode, Instruction, Mnemonic, OpKind, Register};

const MAX_STEPS: usize = 400;

struct Machine<'a> {
    image: &'a Image,
    regs: [u64; 16],
    /// Result and operands of the last comparison: (a, b, is a subtraction), in 64 bits, with the operand size in bytes.
    last: (u64, u64, bool, u32),
}

/// The address that the resolver at `addr` would return.
pub fn resolve(image: &Image, addr: u32) -> Option<u32> {
    let mut m = Machine { image, regs: [0; 16], last: (0, 0, false, 8) };
    let mut pc = addr;
    for _ in 0..MAX_STEPS {
        let i = decode(image, pc)?;
        pc = i.next_ip() as u32;
        match i.mnemonic() {
            Mnemonic::Ret => return u32::try_from(m.regs[0]).ok().filter(|&a| image.is_code(a)),
            Mnemonic::Jmp => pc = direct(&i)?,
            m2 if m2 != Mnemonic::Jrcxz && i.is_jcc_short_or_near() => {
                if m.condition(i.condition_code())? {
                    pc = direct(&i)?;
                }
            }
            _ => m.step(&i)?,
        }
    }
    None
}

fn direct(i: &Instruction) -> Option<u32> {
    (i.op0_kind() == OpKind::NearBranch64).then(|| i.near_branch_target() as u32)
}

fn mask(size: u32) -> u64 {
    if size >= 8 { u64::MAX } else { (1 << (8 * size)) - 1 }
}

impl Machine<'_> {
    fn read(&self, i: &Instruction, k: u32) -> Option<u64> {
        Some(match i.op_kind(k) {
            OpKind::Register => {
                let r = i.op_register(k);
                if !r.is_gpr() {
                    return None;
                }
                let low = if is_high_byte(r) { 8 } else { 0 };
                self.regs[r.full_register().number()] >> low & mask(r.size() as u32)
            }
            OpKind::Memory => {
                let size = i.memory_size().size();
                let bytes = self.image.bytes(u32::try_from(self.address(i)?).ok()?);
                let mut v = [0; 8];
                // What lies past the file's bytes starts as zeros.
                for (to, from) in v.iter_mut().zip(bytes.iter().take(size.min(8))) {
                    *to = *from;
                }
                u64::from_le_bytes(v)
            }
            _ => i.immediate(k),
        })
    }

    fn address(&self, i: &Instruction) -> Option<u64> {
        if i.memory_segment() == Register::FS || i.memory_segment() == Register::GS {
            return None;
        }
        if i.is_ip_rel_memory_operand() {
            return Some(i.ip_rel_memory_address());
        }
        let mut a = i.memory_displacement64();
        for (r, scale) in [(i.memory_base(), 1), (i.memory_index(), u64::from(i.memory_index_scale()))] {
            if r != Register::None {
                a = a.wrapping_add(self.regs[r.full_register().number()].wrapping_mul(scale));
            }
        }
        Some(a)
    }

    fn write(&mut self, i: &Instruction, v: u64) -> Option<()> {
        if i.op0_kind() != OpKind::Register || !i.op0_register().is_gpr() {
            return None;
        }
        let r = i.op0_register();
        let slot = &mut self.regs[r.full_register().number()];
        *slot = match r.size() {
            8 => v,
            4 => v & 0xffff_ffff,
            _ if is_high_byte(r) => *slot & !0xff00 | (v & 0xff) << 8,
            s => *slot & !mask(s as u32) | v & mask(s as u32),
        };
        Some(())
    }

    fn step(&mut self, i: &Instruction) -> Option<()> {
        use Mnemonic::*;
        let size = match i.op0_kind() {
            OpKind::Register => i.op0_register().size() as u32,
            _ => i.memory_size().size() as u32,
        };
        match i.mnemonic() {
            Endbr64 | Nop => {}
            Mov | Movzx => {
                let v = self.read(i, 1)?;
                self.write(i, v)?;
            }
            Lea => {
                let v = self.address(i)?;
                self.write(i, v)?;
            }
            And | Or | Xor | Add | Sub | Test | Cmp => {
                let (a, b) = (self.read(i, 0)?, self.read(i, 1)? & mask(size));
                let (r, sub) = match i.mnemonic() {
                    And | Test => (a & b, false),
                    Or => (a | b, false),
                    Xor => (a ^ b, false),
                    Add => (a.wrapping_add(b), false),
                    _ => (a.wrapping_sub(b), true),
                };
                self.last = if sub { (a, b, true, size) } else { (r & mask(size), 0, true, size) };
                if !matches!(i.mnemonic(), Test | Cmp) {
                    self.write(i, r)?;
                }
            }
            Shr | Shl => {
                let (a, n) = (self.read(i, 0)?, self.read(i, 1)? & 31);
                let r = if i.mnemonic() == Shr { a >> n } else { a << n } & mask(size);
                self.last = (r, 0, true, size);
                self.write(i, r)?;
            }
            _ if i.condition_code() != ConditionCode::None && i.op_count() == 2 => {
                // cmovcc
                if self.condition(i.condition_code())? {
                    let v = self.read(i, 1)?;
                    self.write(i, v)?;
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn condition(&self, cc: ConditionCode) -> Option<bool> {
        let (a, b, _, size) = self.last;
        let shift = 64 - 8 * size.clamp(1, 8);
        let (sa, sb) = ((a << shift) as i64, (b << shift) as i64);
        Some(match cc {
            ConditionCode::e => a == b,
            ConditionCode::ne => a != b,
            ConditionCode::b => a < b,
            ConditionCode::ae => a >= b,
            ConditionCode::be => a <= b,
            ConditionCode::a => a > b,
            ConditionCode::l => sa < sb,
            ConditionCode::ge => sa >= sb,
            ConditionCode::le => sa <= sb,
            ConditionCode::g => sa > sb,
            ConditionCode::s => sa.wrapping_sub(sb) < 0,
            ConditionCode::ns => sa.wrapping_sub(sb) >= 0,
            _ => return None,
        })
    }
}
