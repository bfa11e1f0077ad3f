//! Register sets, and what one instruction reads and writes.

use iced_x86::{
    Code, EncodingKind, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register, RflagsBits,
};
use std::ops::{BitAnd, BitOr, BitOrAssign, Not, Sub};

/// A set of general registers (bits 0..16), SSE registers (16..32) and flags (32..39). rsp is tracked apart and never a member.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Hash)]
pub struct RegSet(pub u64);

pub const CF: u8 = 32;
pub const PF: u8 = 33;
pub const AF: u8 = 34;
pub const ZF: u8 = 35;
pub const SF: u8 = 36;
pub const OF: u8 = 37;
pub const DF: u8 = 38;
/// Bit of each flag in RFLAGS, in the order of the constants above.
pub const RFLAGS_BIT: [u32; 7] = [0, 2, 4, 6, 7, 11, 10];

pub const RAX: u8 = 0;
pub const RCX: u8 = 1;
pub const RDX: u8 = 2;
pub const RBX: u8 = 3;
pub const RSP: u8 = 4;
pub const RBP: u8 = 5;
pub const RSI: u8 = 6;
pub const RDI: u8 = 7;
pub const R8: u8 = 8;
pub const R9: u8 = 9;
pub const R10: u8 = 10;
pub const R11: u8 = 11;

impl RegSet {
    pub const EMPTY: RegSet = RegSet(0);
    /// Every general register but rsp.
    pub const GENERAL: RegSet = RegSet(0xffff & !(1 << RSP));
    /// Every general register but rsp, and every SSE register.
    pub const DATA: RegSet = RegSet(0xffff_ffff & !(1 << RSP));
    pub const FLAGS: RegSet = RegSet(0x7f << 32);
    pub const ARITH: RegSet = RegSet(0x3f << 32);
    pub const XMM: RegSet = RegSet(0xffff_0000);
    pub const EVERYTHING: RegSet = RegSet(Self::DATA.0 | Self::FLAGS.0);
    /// Registers that travel as parameters beside rsp.
    pub const PARAMS: RegSet = RegSet(1 << RDI | 1 << RSI | 1 << RDX);
    /// Registers that calls preserve (System V ABI, section 3.2.1).
    pub const PRESERVED: RegSet = RegSet(1 << RBX | 1 << RBP | 0xf << 12);
    /// Registers that carry results of C functions beside rax.
    pub const RESULTS: RegSet = RegSet(1 << RDX | 3 << 16);

    pub const fn one(r: u8) -> RegSet {
        RegSet(1 << r)
    }
    pub fn of(rs: &[u8]) -> RegSet {
        rs.iter().fold(RegSet::EMPTY, |s, &r| s | RegSet::one(r))
    }
    pub fn has(self, r: u8) -> bool {
        self.0 >> r & 1 != 0
    }
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
    pub fn insert(&mut self, r: u8) {
        self.0 |= 1 << r;
    }
    pub fn remove(&mut self, r: u8) {
        self.0 &= !(1 << r);
    }
    pub fn iter(self) -> impl Iterator<Item = u8> {
        let mut bits = self.0;
        std::iter::from_fn(move || {
            (bits != 0).then(|| {
                let r = bits.trailing_zeros() as u8;
                bits &= bits - 1;
                r
            })
        })
    }
}

impl BitOr for RegSet {
    type Output = RegSet;
    fn bitor(self, o: RegSet) -> RegSet {
        RegSet(self.0 | o.0)
    }
}
impl BitOrAssign for RegSet {
    fn bitor_assign(&mut self, o: RegSet) {
        self.0 |= o.0;
    }
}
impl BitAnd for RegSet {
    type Output = RegSet;
    fn bitand(self, o: RegSet) -> RegSet {
        RegSet(self.0 & o.0)
    }
}
impl Sub for RegSet {
    type Output = RegSet;
    fn sub(self, o: RegSet) -> RegSet {
        RegSet(self.0 & !o.0)
    }
}
impl Not for RegSet {
    type Output = RegSet;
    fn not(self) -> RegSet {
        RegSet(!self.0)
    }
}

/// What an instruction reads and writes. A partial write also reads.
#[derive(Clone, Copy, Default, Debug)]
pub struct Effect {
    pub uses: RegSet,
    pub defs: RegSet,
    /// Of `defs`, what may keep its value: flags of a shift whose count may be 0. If they matter afterwards, they matter before.
    pub keeps: RegSet,
    /// Reads or writes rsp in any way.
    pub rsp_write: bool,
    /// General registers whose bits above the lowest 8, and above the lowest 16, are read.
    pub wide: Wide,
    /// General registers that are written as a whole.
    pub whole: RegSet,
    /// General registers of which nothing but the lowest 8, or the lowest 16 bits are read and written.
    pub parts: Wide,
    /// Of `parts`, those that are not read.
    pub unread: RegSet,
    /// Of `parts`, those whose other bits nobody reads afterwards: what these become is open.
    pub narrow: RegSet,
}

/// Registers by how much of them is meant: what concerns the bits above the lowest 8, and those above the lowest 16.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Wide(pub [RegSet; 2]);

impl Wide {
    pub const NONE: Wide = Wide([RegSet::EMPTY; 2]);

    /// All bits of `registers`.
    pub fn all(registers: RegSet) -> Wide {
        Wide([registers; 2])
    }

    pub fn either(self) -> RegSet {
        self.0[0] | self.0[1]
    }

    fn insert(&mut self, level: usize, r: u8) {
        if let Some(set) = self.0.get_mut(level) {
            set.insert(r);
        }
    }
}

impl BitOr for Wide {
    type Output = Wide;
    fn bitor(self, o: Wide) -> Wide {
        Wide([self.0[0] | o.0[0], self.0[1] | o.0[1]])
    }
}
impl Sub for Wide {
    type Output = Wide;
    fn sub(self, o: Wide) -> Wide {
        Wide([self.0[0] - o.0[0], self.0[1] - o.0[1]])
    }
}

impl Effect {
    /// What matters before the instruction, if `after` matters after it.
    pub fn before(&self, after: RegSet) -> RegSet {
        (after - (self.defs - self.keeps)) | self.uses
    }

    /// The higher bits of which registers matter before the instruction, if those of `after` do after it.
    pub fn wide_before(&self, after: Wide) -> Wide {
        (after - Wide::all(self.whole)) | self.wide
    }
}

/// Number of a register in [`RegSet`], if it is tracked there (rsp included, as 4).
pub fn number(r: Register) -> Option<u8> {
    if r.is_gpr() {
        Some(r.full_register().number() as u8)
    } else if r.is_xmm() {
        (r.number() < 16).then(|| 16 + r.number() as u8)
    } else {
        None
    }
}

pub fn is_high_byte(r: Register) -> bool {
    matches!(r, Register::AH | Register::BH | Register::CH | Register::DH)
}

/// Maps iced's flag mask to a register set.
pub fn flag_set(bits: u32) -> RegSet {
    let mut s = RegSet::EMPTY;
    for (bit, r) in [
        (RflagsBits::CF, CF),
        (RflagsBits::PF, PF),
        (RflagsBits::AF, AF),
        (RflagsBits::ZF, ZF),
        (RflagsBits::SF, SF),
        (RflagsBits::OF, OF),
        (RflagsBits::DF, DF),
    ] {
        if bits & bit != 0 {
            s.insert(r);
        }
    }
    s
}

/// SSE instructions that write their whole destination register without reading it.
fn writes_whole_xmm(i: &Instruction) -> bool {
    use Mnemonic::*;
    match i.mnemonic() {
        Movaps | Movapd | Movups | Movupd | Movdqa | Movdqu | Lddqu | Movd | Movq | Pshufd | Pshuflw | Pshufhw
        | Sqrtps | Sqrtpd | Rcpps | Rsqrtps | Cvtdq2ps | Cvtdq2pd | Cvtps2dq | Cvttps2dq | Cvtpd2dq | Cvttpd2dq
        | Cvtps2pd | Cvtpd2ps | Cvtpi2pd | Movq2dq => true,
        Movss | Movsd => i.op1_kind() == OpKind::Memory,
        _ => false,
    }
}

/// `xor r,r`, `sub r,r`, `pxor x,x`, `xorps x,x`: the result is 0.
pub fn is_zero_idiom(i: &Instruction) -> bool {
    use Mnemonic::*;
    matches!(i.mnemonic(), Xor | Sub | Pxor | Xorps | Xorpd | Psubb | Psubw | Psubd | Psubq) && is_of_one_register(i)
}

/// Besides zero idioms, `pcmpeqb x,x`, `sbb r,r`, `or r,-1` and `and r,0`: the result does not depend on the register.
fn ignores_register(i: &Instruction) -> bool {
    use Mnemonic::*;
    let constant = |v: u64| {
        i.op_count() == 2
            && i.op0_kind() == OpKind::Register
            && i.op0_register().size() >= 4
            && matches!(i.op1_kind(), OpKind::Immediate8to32 | OpKind::Immediate8to64)
            && i.immediate(1) as u32 == v as u32
    };
    match i.mnemonic() {
        Or => constant(u64::MAX),
        And => constant(0),
        Pcmpeqb | Pcmpeqw | Pcmpeqd | Sbb => is_of_one_register(i),
        _ => is_zero_idiom(i),
    }
}

fn is_of_one_register(i: &Instruction) -> bool {
    i.op_count() == 2
        && i.op0_kind() == OpKind::Register
        && i.op1_kind() == OpKind::Register
        && i.op0_register() == i.op1_register()
        && (i.op0_register().is_xmm() || i.op0_register().size() >= 4)
}

pub fn effect(factory: &mut InstructionInfoFactory, i: &Instruction) -> Effect {
    let mut e = Effect::default();
    if matches!(i.mnemonic(), Mnemonic::Nop | Mnemonic::Endbr64 | Mnemonic::Endbr32 | Mnemonic::Pause) {
        return e;
    }
    if i.code() == Code::Syscall {
        // A terminator, which says itself what it reads and writes.
        return e;
    }
    if !matches!(i.encoding(), EncodingKind::Legacy | EncodingKind::D3NOW) {
        // None of these has a translation: it traps.
        e.defs = RegSet::EVERYTHING;
        e.wide = Wide::all(RegSet::GENERAL);
        return e;
    }
    let mut read_part = RegSet::EMPTY;
    let independent = ignores_register(i);
    for u in factory.info(i).used_registers() {
        let Some(n) = number(u.register()) else { continue };
        let (read, write, partial) = match u.access() {
            OpAccess::Read | OpAccess::CondRead => (true, false, false),
            OpAccess::Write => (false, true, false),
            OpAccess::CondWrite => (false, true, true),
            OpAccess::ReadWrite | OpAccess::ReadCondWrite => (true, true, false),
            _ => (false, false, false),
        };
        let partial = partial || write && if n < 16 { u.register().size() < 4 } else { !writes_whole_xmm(i) };
        if n == RSP {
            e.rsp_write |= write;
            continue;
        }
        if n < 16 && !independent {
            let conditional = matches!(u.access(), OpAccess::CondWrite | OpAccess::ReadCondWrite);
            let (size, high) = (u.register().size(), is_high_byte(u.register()));
            if read || conditional {
                read_part.insert(n);
            }
            for (level, bytes) in [1, 2].into_iter().enumerate() {
                if conditional || read && (size > bytes || high && bytes == 1) {
                    e.wide.insert(level, n);
                }
                if write && size == bytes && !high {
                    e.parts.insert(level, n);
                }
            }
        }
        if n < 16 && u.access() == OpAccess::Write && u.register().size() >= 4 {
            e.whole.insert(n);
        }
        if (read || partial) && !independent {
            e.uses.insert(n);
        }
        if write {
            e.defs.insert(n);
        }
    }
    let written = flag_set(i.rflags_modified());
    e.uses |= flag_set(i.rflags_read());
    e.defs |= written;
    if flags_are_conditional(i) {
        e.keeps |= written;
    }
    match i.mnemonic() {
        Mnemonic::Fxsave | Mnemonic::Fxsave64 => e.uses |= RegSet::XMM,
        Mnemonic::Fxrstor | Mnemonic::Fxrstor64 => e.defs |= RegSet::XMM,
        _ => {}
    }
    if uses_direction_flag(i) {
        e.uses.insert(DF);
    }
    if i.code() == Code::Cmpxchg_rm8_r8
        || matches!(i.mnemonic(), Mnemonic::Cmpxchg | Mnemonic::Cmpxchg8b | Mnemonic::Cmpxchg16b | Mnemonic::Cmovo)
    {
        // Conditional writes read what they may keep.
        e.uses |= e.defs & RegSet::DATA;
        e.wide = e.wide | Wide::all(e.defs & RegSet::GENERAL);
    }
    if i.has_rep_prefix() || i.has_repne_prefix() {
        e.uses |= e.defs & RegSet::DATA;
        e.wide = e.wide | Wide::all(e.defs & RegSet::GENERAL);
    }
    e.parts = e.parts - e.wide;
    e.unread = e.parts.either() - read_part;
    e
}

/// Shifts whose count may be 0 and repeated compares that may not run leave the flags as they were.
fn flags_are_conditional(i: &Instruction) -> bool {
    use Mnemonic::*;
    match i.mnemonic() {
        Shl | Sal | Shr | Sar | Rol | Ror | Rcl | Rcr | Shld | Shrd => {
            let last = i.op_count().saturating_sub(1);
            i.op_kind(last) != OpKind::Immediate8 || i.immediate8() & 0x1f == 0 || i.op0_register().size() < 4
        }
        Cmpsb | Cmpsw | Cmpsd | Cmpsq | Scasb | Scasw | Scasd | Scasq => i.has_rep_prefix() || i.has_repne_prefix(),
        _ => false,
    }
}

pub fn uses_direction_flag(i: &Instruction) -> bool {
    // Not the port instructions, which iced counts among them, nor SSE's movsd and cmpsd, which share a name.
    i.is_string_instruction()
}
