//! Makes states: half uniform, half built from edges, with address registers solved so that operands lie where something
//! can be seen: inside pages, across their ends, in read-only and unmapped pages, always below 4 GiB.

use crate::arena::{self, Contents, PADS, REGIONS};
use crate::encode::Instance;
use crate::rng::Rng;
use crate::state::{DF, FLAGS, RSP, State};
use iced_x86::{Instruction, InstructionInfoFactory, MemorySize, Mnemonic, OpKind, Register, UsedMemory};

/// Bytes written into the arena's base contents for one state.
pub type Patch = (u32, [u8; 32]);

/// The start of one run.
#[derive(Clone)]
pub struct Case {
    /// Registers.
    pub state: State,
    /// What differs from the base contents of memory.
    pub patches: Vec<Patch>,
}

/// What the generator must know of the code; computed once an encoding.
pub struct Profile {
    /// The instructions.
    pub insns: Vec<Instruction>,
    memory: Vec<UsedMemory>,
    x87: bool,
    aligned: bool,
    string: bool,
    branch: bool,
}

impl Profile {
    /// The profile of a sequence of instances.
    pub fn new(code: &[Instance]) -> Profile {
        let mut factory = InstructionInfoFactory::new();
        let mut p =
            Profile { insns: Vec::new(), memory: Vec::new(), x87: false, aligned: false, string: false, branch: false };
        for i in code {
            p.insns.push(i.insn);
            p.memory.extend(factory.info(&i.insn).used_memory().iter().copied());
            let name = format!("{:?}", i.insn.mnemonic());
            p.x87 |= name.starts_with('F') || i.insn.op_kinds().any(|_| false) || uses_mmx(&i.insn);
            let size = i.insn.memory_size().size();
            p.aligned |= size >= 16;
            p.string |= i.insn.is_string_instruction();
            p.branch |= i.insn.flow_control() != iced_x86::FlowControl::Next;
        }
        p
    }

    /// True when the code can write memory.
    pub fn touches_memory(&self) -> bool {
        !self.memory.is_empty()
    }
}

fn uses_mmx(i: &Instruction) -> bool {
    (0..i.op_count()).any(|n| i.op_kind(n) == OpKind::Register && i.op_register(n).is_mm())
        || matches!(i.mnemonic(), Mnemonic::Emms)
}

/// Edges of integers of all widths, and of shift counts.
fn edge(rng: &mut Rng) -> u64 {
    match rng.below(8) {
        0 => rng.pick(&[0, 1, !0, !0 - 1, 2]),
        1 => rng.pick(&[
            0x7f,
            0x80,
            0xff,
            0x100,
            0x7fff,
            0x8000,
            0xffff,
            0x1_0000,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_ffff,
            0x1_0000_0000,
            i64::MAX as u64,
            i64::MIN as u64,
            0xffff_ffff_8000_0000,
            0xffff_ffff_7fff_ffff,
            0xffff_ffff_ffff_ff80,
            0xf,
            0x10,
        ]),
        2 => 1 << rng.below(64),
        3 => (1_u64 << rng.below(64)).wrapping_sub(1),
        4 => !(1 << rng.below(64)),
        // All shift counts, beyond the operand size too.
        5 => rng.below(70),
        6 => rng.u64() & rng.pick(&[0xff, 0xffff, 0xffff_ffff]),
        _ => {
            // One byte repeated: equal bytes in a string, equal lanes in a vector.
            u64::from(rng.pick(&[0_u8, 1, 0x7f, 0x80, 0xff, 0x41])) * 0x0101_0101_0101_0101
        }
    }
}

fn f32_edge(rng: &mut Rng) -> u32 {
    let sign = (rng.u32() & 1) << 31;
    sign | match rng.below(16) {
        0 => 0,
        1 => 1,
        2 => 0x007f_ffff,
        3 => 0x0080_0000,
        4 => 0x7f7f_ffff,
        5 => 0x7f80_0000,
        6 => 0x7fc0_0000,
        7 => 0x7fc0_0000 | rng.u32() & 0x3f_ffff,
        8 => 0x7f80_0001,
        9 => 0x7f80_0000 | rng.u32() & 0x3f_ffff | 1,
        10 => 0x3f80_0000,
        11 => rng.u32() & 0x7f_ffff,
        // Around the borders of i32 and i64 conversion, and halves.
        12 => (rng
            .pick(&[2_147_483_648.0_f32, 9_223_372_036_854_775_808.0, 0.5, 1.5, 2.5, 4_294_967_296.0, 32768.0])
            .to_bits())
        .wrapping_add(rng.below(3) as u32)
        .wrapping_sub(1),
        13 => (0x3f80_0000 + (rng.u32() & 0x0fff_ffff)) & 0x7fff_ffff,
        14 => ((rng.below(200) as f32) / 4.0).to_bits(),
        _ => rng.u32() & 0x7fff_ffff,
    }
}

fn f64_edge(rng: &mut Rng) -> u64 {
    let sign = (rng.u64() & 1) << 63;
    sign | match rng.below(16) {
        0 => 0,
        1 => 1,
        2 => 0x000f_ffff_ffff_ffff,
        3 => 0x0010_0000_0000_0000,
        4 => 0x7fef_ffff_ffff_ffff,
        5 => 0x7ff0_0000_0000_0000,
        6 => 0x7ff8_0000_0000_0000,
        7 => 0x7ff8_0000_0000_0000 | rng.u64() >> 13,
        8 => 0x7ff0_0000_0000_0001,
        9 => 0x7ff0_0000_0000_0000 | rng.u64() >> 13 | 1,
        10 => 0x3ff0_0000_0000_0000,
        11 => rng.u64() >> 12,
        12 => (rng
            .pick(&[
                2_147_483_648.0_f64,
                2_147_483_647.5,
                2_147_483_648.5,
                9_223_372_036_854_775_808.0,
                0.5,
                1.5,
                2.5,
                4_294_967_296.0,
                32767.5,
                3.402_823_466_385_288_6e38,
                1.175_494_350_822_287_5e-38,
                1.401_298_464_324_817e-45,
            ])
            .to_bits())
        .wrapping_add(rng.below(3))
        .wrapping_sub(1),
        // Near the range of f32, so that narrowing rounds, overflows and underflows.
        13 => ((1023 - 160 + rng.below(320)) << 52) | rng.u64() >> 12,
        14 => (f64::from(rng.u32()) / 4.0).to_bits(),
        _ => rng.u64() >> 1,
    }
}

fn f80_edge(rng: &mut Rng) -> [u8; 10] {
    let sign = (rng.u32() as u16 & 1) << 15;
    let top = 1_u64 << 63;
    let (exp, sig) = match rng.below(18) {
        0 => (0, 0),
        1 => (0x3fff, top),
        2 => (0x7fff, top),
        3 => (0x7fff, top | 1 << 62),
        4 => (0x7fff, top | 1 << 62 | rng.u64() >> 2),
        5 => (0x7fff, top | rng.u64() >> 2 | 1),
        6 => (0, rng.u64() >> 1),
        7 => (0, 1),
        8 => (0, top | rng.u64() >> 1), // pseudo-denormal
        9 => (1, top),
        10 => (0x7ffe, !0),
        11 => (rng.u32() as u16 & 0x7fff, rng.u64()), // unnormals too
        12 => (0x7fff, rng.u64() >> 1),               // pseudo-infinity, pseudo-NaN
        // Integers and halves.
        13 => {
            let n = edge(rng) >> rng.below(3);
            if n == 0 { (0, 0) } else { (0x3fff + 63 - n.leading_zeros() as u16, n << n.leading_zeros()) }
        }
        // Exact f64 and f32 neighbours.
        14 => (0x3fff - 1100 + rng.below(2200) as u16, (top | rng.u64() >> 1) & !0x3ff),
        15 => (0x3fff - 160 + rng.below(320) as u16, (top | rng.u64() >> 1) & !0xff_ffff_ffff),
        16 => (0x3fff - 8 + rng.below(80) as u16, top | rng.u64() >> 1),
        _ => (rng.below(0x7fff) as u16, top | rng.u64() >> 1),
    };
    let mut b = [0; 10];
    b[..8].copy_from_slice(&sig.to_le_bytes());
    b[8..].copy_from_slice(&(sign | exp).to_le_bytes());
    b
}

fn xmm(rng: &mut Rng, edges: bool) -> u128 {
    if !edges {
        return u128::from(rng.u64()) << 64 | u128::from(rng.u64());
    }
    match rng.below(4) {
        0 => (0..4).fold(0, |v, _| v << 32 | u128::from(f32_edge(rng))),
        1 => u128::from(f64_edge(rng)) << 64 | u128::from(f64_edge(rng)),
        2 => u128::from(edge(rng)) << 64 | u128::from(edge(rng)),
        _ => {
            // Integer lanes of one width, each an edge.
            let w = rng.pick(&[8_u32, 16, 32]);
            (0..128 / w).fold(0_u128, |v, _| v << w | u128::from(edge(rng)) & ((1_u128 << w) - 1))
        }
    }
}

fn fill32(rng: &mut Rng, kind: u64, edges: bool) -> [u8; 32] {
    let mut b = [0; 32];
    match if edges { kind } else { 99 } {
        0 => b.chunks_mut(4).for_each(|c| c.copy_from_slice(&f32_edge(rng).to_le_bytes())),
        1 => b.chunks_mut(8).for_each(|c| c.copy_from_slice(&f64_edge(rng).to_le_bytes())),
        2 => b[..10].copy_from_slice(&f80_edge(rng)),
        3 => {
            // Packed decimal, mostly valid.
            b.iter_mut().for_each(|x| *x = (rng.below(10) << 4 | rng.below(10)) as u8);
            b[9] = rng.pick(&[0, 0x80, 0xff, 0x7f]);
            if rng.one_in(4) {
                b[rng.below(9) as usize] = 0xaf;
            }
        }
        4 | 5 => b.chunks_mut(8).for_each(|c| c.copy_from_slice(&edge(rng).to_le_bytes())),
        6 => b = [rng.pick(&[0, 1, 0xff, 0x80, 0x41]); 32],
        _ => b.chunks_mut(8).for_each(|c| c.copy_from_slice(&rng.u64().to_le_bytes())),
    }
    b
}

/// The base contents of memory for a batch of states.
pub fn base_contents(rng: &mut Rng) -> Contents {
    let mut c = Contents::default();
    for chunk in c.0.chunks_mut(32) {
        let (kind, edges) = (rng.below(7), rng.one_in(2));
        let b = fill32(rng, kind, edges);
        chunk.copy_from_slice(&b[..chunk.len()]);
    }
    c
}

/// The value of `r` (a whole or partial general register, or a segment's base) in `s`.
pub fn register_value(s: &State, r: Register) -> u64 {
    match r {
        Register::FS => s.fs_base,
        Register::GS => s.gs_base,
        _ if r.is_segment_register() || r == Register::None => 0,
        _ if r.is_gpr() => {
            let v = s.gpr[r.full_register().number() & 15];
            match r.size() {
                8 => v,
                4 => v & 0xffff_ffff,
                2 => v & 0xffff,
                _ if matches!(r, Register::AH | Register::CH | Register::DH | Register::BH) => {
                    s.gpr[r.number() & 3] >> 8 & 0xff
                }
                _ => v & 0xff,
            }
        }
        _ => 0,
    }
}

/// The address of a memory operand in state `s`.
pub fn address(s: &State, m: &UsedMemory) -> Option<u64> {
    m.virtual_address(0, |r, _, _| Some(register_value(s, r)))
}

/// A target for an operand of `size` bytes.
fn target(rng: &mut Rng, size: u64, aligned: bool) -> u64 {
    let r = rng.pick(&REGIONS);
    let (start, end) = (u64::from(r.start), r.end());
    let mut a = match rng.below(32) {
        0..=11 => start + rng.below(u64::from(r.len()) - 64),
        // At page starts and ends, inside.
        12..=15 => end - size.max(1) - rng.below(24),
        16..=18 => start + rng.below(24),
        // Across an inner page border, or the end.
        19..=21 => (start + 4096 * (1 + rng.below(u64::from(r.pages)))).wrapping_sub(1 + rng.below(size.max(2))),
        22 => 0x1000_3000 - rng.below(size + 8),
        23 => 0x1000_4000 - rng.below(size + 8),
        24 => rng.pick(&[0, 8, 0x100, 0xffff, 0x1000, 0xfff]),
        25 => end + rng.below(4096),
        26 => start.wrapping_sub(1 + rng.below(size + 8)),
        27 => rng.pick(&[0x2000_0000, 0x8000_1000, 0xffff_0000, 0xffff_ff00, 0x7fff_efff, 0x1000_5000]),
        _ => start + (rng.below(u64::from(r.len()) - 64)),
    };
    if rng.one_in(if aligned { 2 } else { 8 }) || aligned && rng.one_in(2) {
        a &= !15;
    }
    a
}

/// Solves `m`'s registers in `s` so that it addresses `want`.
fn solve(rng: &mut Rng, s: &mut State, m: &UsedMemory, want: u64) {
    let now = match address(s, m) {
        Some(a) => a,
        None => return,
    };
    let delta = want.wrapping_sub(now);
    let (base, index) = (m.base(), m.index());
    let gpr = |r: Register| r.is_gpr64() || r.is_gpr32();
    if base != Register::None && gpr(base) {
        if base == index {
            // (1 + scale) * r = want: set to zero what cannot be divided exactly.
            let k = 1 + u64::from(m.scale());
            let at = base.full_register().number() & 15;
            let rest = m.displacement();
            s.gpr[at] = want.wrapping_sub(rest).checked_div(k).unwrap_or(0);
            return;
        }
        let at = base.full_register().number() & 15;
        let v = s.gpr[at].wrapping_add(delta);
        s.gpr[at] = if base.is_gpr32() { v & 0xffff_ffff | s.gpr[at] & !0xffff_ffff } else { v };
        return;
    }
    if matches!(m.segment(), Register::FS | Register::GS) {
        let b = if m.segment() == Register::FS { &mut s.fs_base } else { &mut s.gs_base };
        let v = b.wrapping_add(delta);
        // A base must be canonical.
        if v as i64 >> 46 == 0 {
            *b = v;
            return;
        }
    }
    if index != Register::None && gpr(index) {
        let at = index.full_register().number() & 15;
        let scale = u64::from(m.scale());
        let v = s.gpr[at].wrapping_add((delta as i64 / scale as i64) as u64);
        s.gpr[at] = if index.is_gpr32() { v & 0xffff_ffff } else { v };
        // The quotient is exact only when the scale divides; a few bytes off do no harm, a wrapped product is right by modulus.
        let _ = rng;
    }
}

/// Makes a state for `p`, or `None` when the operands could not be brought below 4 GiB (try again).
pub fn case(p: &Profile, rng: &mut Rng, edges: bool) -> Option<Case> {
    let mut s = State::default();
    for g in &mut s.gpr {
        *g = if edges { edge(rng) } else { rng.u64() };
    }
    if edges && rng.one_in(4) {
        // Equal operands.
        let v = s.gpr[rng.below(16) as usize];
        for g in &mut s.gpr {
            if rng.one_in(2) {
                *g = v;
            }
        }
    }
    s.rflags = rng.u64() & FLAGS & if p.string || rng.one_in(4) { !0 } else { !DF } | 2;
    for i in 0..16 {
        let v = xmm(rng, edges);
        s.fx.set_xmm(i, v);
    }
    if edges && rng.one_in(6) {
        let v = s.fx.xmm(rng.below(16) as usize);
        for i in 0..16 {
            if rng.one_in(2) {
                s.fx.set_xmm(i, v);
            }
        }
    }
    // The translation keeps 32 bits of rsp (docs/compatibility.md); code that runs below 4 GiB cannot tell.
    s.gpr[RSP] &= 0xffff_ffff;
    let mxcsr = 0x1f80 | if rng.one_in(4) { rng.u32() & 0x3f } else { 0 };
    s.fx.set_mxcsr(mxcsr);
    x87_state(p, rng, &mut s, edges);
    s.fs_base = u64::from(rng.u32());
    s.gs_base = u64::from(rng.u32());
    integer_shapes(p, rng, &mut s, edges);

    let mut patches = Vec::new();
    if p.string {
        strings(rng, &mut s);
    }
    let single = p.insns.len() == 1;
    for m in &p.memory {
        let size = (m.memory_size().size() as u64).clamp(1, 512);
        if p.string && single && rng.one_in(2) {
            break; // keep what `strings` chose
        }
        let want = target(rng, size, p.aligned);
        solve(rng, &mut s, m, want);
    }
    for i in &p.insns {
        special_registers(rng, &mut s, i);
    }
    if p.branch {
        for i in &p.insns {
            branch_target(rng, &mut s, i, &mut patches);
        }
    }
    let mut popf = false;
    for i in &p.insns {
        if i.mnemonic() == Mnemonic::Popfq || i.mnemonic() == Mnemonic::Popf {
            popf = true;
            // TF, AC, NT and ID would change how the host itself runs.
            let mut b = [0; 32];
            b[..8].copy_from_slice(&(rng.u64() & FLAGS | 2).to_le_bytes());
            patches.push((s.gpr[RSP] as u32, b));
        }
    }
    if p.branch || popf {
        // What comes from a read-only page would be random: a target that is not canonical, or TF.
        for m in &p.memory {
            let a = address(&s, m)?;
            let read_only = |a: u64| REGIONS.iter().any(|r| !r.writable && a >= u64::from(r.start) && a < r.end());
            if read_only(a) || read_only(a.wrapping_add(7)) {
                return None;
            }
        }
    }
    for m in &p.memory {
        let a = address(&s, m)?;
        let size = (m.memory_size().size() as u64).clamp(8, 512);
        if a.saturating_add(size) > 1 << 32 || arena::near_code(a, size) {
            return None;
        }
        if !p.branch && !popf && rng.one_in(2) && arena::mapped(a) {
            let kind = kind_of(rng, m.memory_size());
            patches.push((a as u32, fill32(rng, kind, edges)));
        }
        if let [i] = &p.insns[..]
            && matches!(i.mnemonic(), Mnemonic::Ldmxcsr | Mnemonic::Fxrstor | Mnemonic::Fxrstor64)
        {
            patches.push((a as u32, mxcsr_image(rng, i.mnemonic() == Mnemonic::Ldmxcsr)));
        }
    }
    if s.gpr[RSP] >> 32 != 0 {
        return None;
    }
    for i in &p.insns {
        if !bit_string_in_range(&s, i) {
            return None;
        }
    }
    Some(Case { state: s, patches })
}

/// An operand of LDMXCSR, or the start of one of FXRSTOR: mostly without reserved bits, and never with bit 17, which is reserved except
/// on AMD's CPUs.
fn mxcsr_image(rng: &mut Rng, only_mxcsr: bool) -> [u8; 32] {
    let mut b = [0; 32];
    let v = match rng.below(8) {
        0 => rng.u32() & !(1 << 17),
        1 => rng.u32() & 0xffff,
        _ => 0x1f80 | rng.u32() & 0x3f,
    };
    if only_mxcsr {
        b[..4].copy_from_slice(&v.to_le_bytes());
        return b;
    }
    b[..2].copy_from_slice(&(0x37f_u16 | (rng.u32() as u16 & 0xc00)).to_le_bytes());
    b[2..4].copy_from_slice(&(rng.u32() as u16 & 0x7f7f).to_le_bytes());
    b[4] = rng.u32() as u8;
    b[24..28].copy_from_slice(&v.to_le_bytes());
    b
}

fn kind_of(rng: &mut Rng, m: MemorySize) -> u64 {
    use MemorySize::*;
    match m.element_type() {
        Float32 => 0,
        Float64 => 1,
        Float80 => 2,
        Bcd => 3,
        _ => rng.below(7),
    }
}

fn x87_state(p: &Profile, rng: &mut Rng, s: &mut State, edges: bool) {
    for i in 0..8 {
        let v = if edges || rng.one_in(2) {
            f80_edge(rng)
        } else {
            let mut b = [0; 10];
            b[..8].copy_from_slice(&(rng.u64() | 1 << 63).to_le_bytes());
            b[8..]
                .copy_from_slice(&((rng.u64() & 0x8000) as u16 | (0x3fff - 64 + rng.below(128)) as u16).to_le_bytes());
            b
        };
        s.fx.set_st(i, v);
    }
    if edges && rng.one_in(5) {
        let v = s.fx.st(0);
        s.fx.set_st(1 + rng.below(7) as usize, v);
    }
    if !p.x87 {
        return;
    }
    // All exceptions masked; every rounding mode; mostly 64-bit precision.
    let rc = if rng.one_in(2) { 0 } else { rng.below(4) as u16 };
    let pc = if rng.one_in(4) { rng.pick(&[0_u16, 2, 3]) } else { 3 };
    s.fx.set_fcw(0x7f | pc << 8 | rc << 10);
    let top = rng.below(8) as u16;
    let flags = if rng.one_in(4) { rng.u32() as u16 & 0x7f } else { 0 };
    s.fx.set_fsw(top << 11 | rng.u32() as u16 & 0x4700 | flags);
    if p.insns.len() == 1 && rng.one_in(12) {
        // Some exceptions unmasked; what is pending then shows in ES and B.
        let masks = rng.u32() as u16 & 0x3f;
        s.fx.set_fcw(s.fx.fcw() & !0x3f | masks);
        if s.fx.fsw() & !masks & 0x3f != 0 {
            s.fx.set_fsw(s.fx.fsw() | 0x8080);
        }
    }
    let tags = match rng.below(8) {
        0 => rng.u32() as u8,
        1 => 0,
        2 => 0xff,
        // One free register below the top, as code that pushes expects.
        _ => !(1 << ((top + 7) & 7)),
    };
    s.fx.set_ftw(tags);
}

/// Operands of instructions that are rarely interesting with random values.
fn integer_shapes(p: &Profile, rng: &mut Rng, s: &mut State, edges: bool) {
    for i in &p.insns {
        match i.mnemonic() {
            // A dividend that divides.
            Mnemonic::Div | Mnemonic::Idiv if !rng.one_in(4) => {
                s.gpr[2] = match rng.below(4) {
                    0 => 0,
                    1 => (s.gpr[0] as i64 >> 63) as u64,
                    2 => ((s.gpr[0] as i32) >> 31) as u64,
                    _ => edge(rng) & 0xff,
                };
                if rng.one_in(2) {
                    s.gpr[0] = if edges { edge(rng) } else { rng.u64() };
                }
            }
            Mnemonic::Cmpxchg | Mnemonic::Cmpxchg8b | Mnemonic::Cmpxchg16b if rng.one_in(2) => {
                // Memory is patched with repeated bytes now and then; make the comparison succeed sometimes.
                let v = u64::from(rng.pick(&[0_u8, 1, 0xff, 0x80, 0x41])) * 0x0101_0101_0101_0101;
                s.gpr[0] = v;
                s.gpr[2] = v;
                if i.op0_kind() == OpKind::Register {
                    let r = i.op0_register();
                    if r.is_gpr() {
                        s.gpr[r.full_register().number() & 15] = v;
                    }
                }
            }
            _ => {}
        }
    }
}

/// rsi, rdi and rcx for string instructions: short runs, overlapping ones, both directions.
fn strings(rng: &mut Rng, s: &mut State) {
    let size = 8;
    s.gpr[6] = target(rng, size, false);
    s.gpr[7] =
        if rng.one_in(2) { s.gpr[6].wrapping_add(rng.below(80)).wrapping_sub(40) } else { target(rng, size, false) };
    s.gpr[1] = match rng.below(16) {
        0 => 0,
        1 => 1,
        2 => rng.below(600),
        3 => rng.below(3000),
        // With a 32-bit address size only ecx counts.
        4 => rng.below(20) | rng.u64() << 32,
        _ => rng.below(40),
    };
    if rng.one_in(2) {
        s.gpr[0] = u64::from(rng.pick(&[0_u8, 1, 0x80, 0xff, 0x41])) * 0x0101_0101_0101_0101;
    }
}

fn special_registers(rng: &mut Rng, s: &mut State, i: &Instruction) {
    match i.mnemonic() {
        // Bit strings: an offset that stays near.
        Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc
            if i.op0_kind() == OpKind::Memory && i.op1_kind() == OpKind::Register =>
        {
            let r = i.op1_register();
            let base = [i.memory_base(), i.memory_index()].map(|b| b.full_register());
            if !base.contains(&r.full_register()) {
                let bits = rng.pick(&[3_u32, 6, 8, 12, 16, 20]);
                let v = (rng.u64() & ((1 << bits) - 1)).wrapping_sub(1 << (bits - 1));
                let at = r.full_register().number() & 15;
                s.gpr[at] = match r.size() {
                    2 => s.gpr[at] & !0xffff | v & 0xffff,
                    4 => v & 0xffff_ffff | rng.u64() << 32,
                    _ => v,
                };
            }
        }
        Mnemonic::Loop | Mnemonic::Loope | Mnemonic::Loopne | Mnemonic::Jrcxz | Mnemonic::Jecxz if rng.one_in(2) => {
            s.gpr[1] = rng.pick(&[0, 1, 2, 1 << 32, 1 << 32 | 1]);
        }
        _ => {}
    }
}

/// For BT and its kin with a register offset: is the addressed unit below 4 GiB and not at the code?
fn bit_string_in_range(s: &State, i: &Instruction) -> bool {
    let bit = matches!(i.mnemonic(), Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc);
    if !bit || i.op0_kind() != OpKind::Memory || i.op1_kind() != OpKind::Register {
        return true;
    }
    let r = i.op1_register();
    let v = register_value(s, r);
    let offset = match r.size() {
        2 => i64::from(v as i16),
        4 => i64::from(v as i32),
        _ => v as i64,
    } >> 3;
    let Some(ea) = i.virtual_address(0, 0, |r, _, _| Some(register_value(s, r))) else { return false };
    let a = ea.wrapping_add((offset & !7) as u64);
    let b = ea.wrapping_add(offset as u64);
    a < (1 << 32) - 16 && b < (1 << 32) - 16 && !arena::near_code(a.min(b), 32)
}

/// Gives indirect branches and returns a landing pad to go to.
fn branch_target(rng: &mut Rng, s: &mut State, i: &Instruction, patches: &mut Vec<Patch>) {
    use iced_x86::FlowControl::*;
    let pad = u64::from(rng.pick(&PADS));
    let to = if rng.one_in(8) { 0x1000_0000 + rng.below(0x7000) } else { pad };
    let mut put = |a: u64| {
        let mut b = [0; 32];
        b[..8].copy_from_slice(&to.to_le_bytes());
        if let Ok(a) = u32::try_from(a) {
            patches.push((a, b));
        }
    };
    match i.flow_control() {
        IndirectBranch | IndirectCall => match i.op0_kind() {
            OpKind::Register => {
                let r = i.op0_register();
                s.gpr[r.full_register().number() & 15] = to;
            }
            _ => {
                if let Some(a) = i.virtual_address(0, 0, |r, _, _| Some(register_value(s, r))) {
                    put(a);
                }
            }
        },
        Return => put(s.gpr[RSP]),
        _ => {}
    }
}
