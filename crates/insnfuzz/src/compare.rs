//! What must be equal: everything but what the manuals leave undefined and what `docs/compatibility.md` names.

use crate::arena::{CODE_START, Contents};
use crate::cases::register_value;
use crate::state::{AF, CF, DF, FLAGS, Fault, OF, Outcome, PF, SF, State, ZF};
use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpKind, Register, RflagsBits};

/// What may be ignored.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Compare the sticky exception flags of MXCSR too.
    pub mxcsr_flags: bool,
}

/// The RFLAGS bits (as [`crate::state::FLAGS`]) among iced's.
pub fn from_iced(bits: u32) -> u64 {
    [
        (RflagsBits::OF, OF),
        (RflagsBits::SF, SF),
        (RflagsBits::ZF, ZF),
        (RflagsBits::AF, AF),
        (RflagsBits::CF, CF),
        (RflagsBits::PF, PF),
        (RflagsBits::DF, DF),
    ]
    .iter()
    .filter(|(b, _)| bits & b != 0)
    .fold(0, |f, (_, x)| f | x)
}

/// The operand size in bits of a shift's destination.
fn operand_bits(i: &Instruction) -> u64 {
    let bytes = if i.op0_kind() == OpKind::Register { i.op0_register().size() } else { i.memory_size().size() };
    bytes as u64 * 8
}

/// A shift's or rotate's masked count, in state `s`; `None` for other instructions.
fn shift_count(i: &Instruction, s: &State) -> Option<u64> {
    use Mnemonic::*;
    if !matches!(i.mnemonic(), Shl | Shr | Sar | Sal | Rol | Ror | Rcl | Rcr | Shld | Shrd) {
        return None;
    }
    let last = i.op_count() - 1;
    let raw = match i.op_kind(last) {
        OpKind::Register => register_value(s, Register::CL),
        _ => i.immediate(last),
    };
    Some(raw & if operand_bits(i) == 64 { 63 } else { 31 })
}

/// Flags that `i` leaves undefined when executed in state `s` (Intel SDM, the instructions' pages; iced's tables where it does not depend on operands).
pub fn undefined_flags(i: &Instruction, s: &State) -> u64 {
    use Mnemonic::*;
    let Some(count) = shift_count(i, s) else { return from_iced(i.rflags_undefined()) };
    let bits = operand_bits(i);
    let overflow = if count == 1 { 0 } else { OF };
    match i.mnemonic() {
        _ if count == 0 => 0,
        Rol | Ror | Rcl | Rcr => overflow,
        Shld | Shrd if count > bits => CF | PF | AF | ZF | SF | OF,
        Shld | Shrd => AF | overflow,
        Sar => AF | overflow,
        _ => AF | overflow | if count >= bits { CF } else { 0 },
    }
}

/// Flags that may be undefined after `i` whatever the state; for blocks, where the state in the middle is not known.
pub fn maybe_undefined_flags(i: &Instruction) -> u64 {
    let mut s = State::default();
    let mut f = 0;
    for count in [1, 2, 15, 31, 63] {
        s.gpr[1] = count;
        f |= undefined_flags(i, &s);
    }
    f
}

/// Bit i: general register i is undefined after `i` in state `s`. bsf and bsr of 0 leave the destination alone, as AMD documents and
/// every CPU does; that is compared.
pub fn undefined_gprs(i: &Instruction, s: &State) -> u16 {
    match (i.mnemonic(), shift_count(i, s)) {
        (Mnemonic::Shld | Mnemonic::Shrd, Some(c)) if c > operand_bits(i) && i.op0_kind() == OpKind::Register => {
            1 << (i.op0_register().full_register().number() & 15)
        }
        _ => 0,
    }
}

/// True when the memory result of `i` in state `s` is undefined.
fn undefined_memory(i: &Instruction, s: &State) -> bool {
    matches!((i.mnemonic(), shift_count(i, s)), (Mnemonic::Shld | Mnemonic::Shrd, Some(c)) if c > operand_bits(i) && i.op0_kind() == OpKind::Memory)
}

/// x87 status word bits that the manual defines after `i`.
pub fn defined_fsw(i: &Instruction) -> u16 {
    use Mnemonic::*;
    const ALL: u16 = 0xffff;
    const C1: u16 = 0x200;
    const C023: u16 = 0x4500;
    match i.mnemonic() {
        Fcom | Fcomp | Fcompp | Fucom | Fucomp | Fucompp | Ficom | Ficomp | Ftst | Fxam | Fprem | Fprem1 => ALL,
        // C2 says whether the operand was in range.
        Fsin | Fcos | Fsincos | Fptan => ALL & !(C1 | 0x4100),
        F2xm1 | Fyl2x | Fyl2xp1 | Fpatan => ALL & !(C1 | C023),
        Fldenv | Frstor | Fxrstor | Fxrstor64 | Fnstcw | Fnstsw | Fnclex | Wait | Fnop => {
            ALL & if i.mnemonic() == Fnclex { !0x4700 } else { !0 }
        }
        _ if format!("{:?}", i.mnemonic()).starts_with('F') => ALL & !C023,
        _ => ALL,
    }
}

/// Instructions whose x87 result may differ by one unit in the last place.
fn transcendental(i: &Instruction) -> bool {
    use Mnemonic::*;
    matches!(i.mnemonic(), Fsin | Fcos | Fsincos | Fptan | Fpatan | F2xm1 | Fyl2x | Fyl2xp1)
}

fn within_ulp(a: [u8; 10], b: [u8; 10]) -> bool {
    // Sign-magnitude as one ordered number: the significand follows the exponent, with its integer bit dropped.
    let key = |x: [u8; 10]| {
        let mut sig = [0; 8];
        sig.copy_from_slice(&x[..8]);
        let se = u16::from_le_bytes([x[8], x[9]]);
        let mag = i128::from(se & 0x7fff) << 63 | i128::from(u64::from_le_bytes(sig) & (u64::MAX >> 1));
        if se & 0x8000 != 0 { -mag } else { mag }
    };
    (key(a) - key(b)).abs() <= 1
}

/// rcpps, rsqrtps and their scalars: relative error at most 1.5 * 2^-12 (Intel SDM).
fn approximate(i: &Instruction) -> bool {
    use Mnemonic::*;
    matches!(i.mnemonic(), Rcpps | Rcpss | Rsqrtps | Rsqrtss)
}

fn approximates(native: u128, translated: u128) -> bool {
    (0..4).all(|lane| {
        let (a, b) = ((native >> (lane * 32)) as u32, (translated >> (lane * 32)) as u32);
        let (x, y) = (f32::from_bits(a), f32::from_bits(b));
        // Both are within the bound of the exact value, so within twice the bound of each other.
        a == b || x.is_finite() && y.is_finite() && ((x - y) / x).abs() <= 3.0 / 4096.0
    })
}

/// Everything about one run that the comparison needs.
pub struct Run<'a> {
    /// The instructions; one, or a block.
    pub insns: &'a [Instruction],
    /// The start.
    pub before: &'a State,
    /// How the host CPU ended, its registers then, and its memory.
    pub native: (Outcome, &'a State),
    /// The same in translation.
    pub translated: (Outcome, &'a State),
}

/// MXCSR's misaligned exception mask.
const MXCSR_MM: u32 = 1 << 17;

/// The differences that count, one line each. Empty: equal.
pub fn differences(r: &Run<'_>, o: Options) -> Vec<String> {
    let mut d = Vec::new();
    match (r.native.0, r.translated.0) {
        (Outcome::Done(a), Outcome::Done(b)) => {
            if a != b {
                d.push(format!("next pc: cpu {a:#x}, translated {b:#x}"));
            }
        }
        (Outcome::Fault(a), Outcome::Fault(b)) => {
            if a.signal != b.signal || a.code != b.code {
                d.push(format!(
                    "fault: cpu signal {} code {}, translated signal {} code {}",
                    a.signal, a.code, b.signal, b.code
                ));
            } else if a.addr != b.addr && !either_may_fault(r, a.addr, b.addr) && !address_unknown(r, &b) {
                d.push(format!("fault address: cpu {:#x}, translated {:#x}", a.addr, b.addr));
            }
            return d;
        }
        // Whether bytes that the mask leaves out fault depends on the CPU (Intel SDM, MASKMOVQ).
        (Outcome::Fault(_), Outcome::Done(_))
            if r.insns.iter().any(|i| matches!(i.mnemonic(), Mnemonic::Maskmovq | Mnemonic::Maskmovdqu)) =>
        {
            return d;
        }
        // AMD's CPUs have a bit more in MXCSR (AMD64 manual volume 2, section 11.3.1, MM); the guest's MXCSR_MASK does not.
        (Outcome::Done(_), Outcome::Fault(f))
            if f.signal == libc::SIGSEGV && r.native.1.fx.mxcsr() & 0xffff_0000 == MXCSR_MM =>
        {
            return d;
        }
        // In a block, the compiler may drop a store that puts back what was just loaded. Single instructions must fault on read-only pages.
        (Outcome::Fault(f), Outcome::Done(_))
            if r.insns.len() > 1 && f.signal == libc::SIGSEGV && f.code == SEGV_ACCERR =>
        {
            return d;
        }
        (a, b) => {
            d.push(format!("outcome: cpu {a:x?}, translated {b:x?}"));
            return d;
        }
    }
    let (n, t) = (r.native.1, r.translated.1);
    let one = if let [i] = r.insns { Some(i) } else { None };
    let undefined = one.map_or(0, |i| undefined_gprs(i, r.before));
    for (i, name) in GPR_NAMES.iter().enumerate() {
        let mask = if i == crate::state::RSP { 0xffff_ffff } else { u64::MAX };
        if (n.gpr[i] ^ t.gpr[i]) & mask != 0 && undefined & (1 << i) == 0 {
            d.push(format!("{name}: cpu {:#x}, translated {:#x}", n.gpr[i], t.gpr[i]));
        }
    }
    let defined = FLAGS & !one.map_or_else(|| block_undefined(r.insns), |i| undefined_flags(i, r.before));
    if (n.rflags ^ t.rflags) & defined != 0 {
        let differ = flags((n.rflags ^ t.rflags) & defined);
        d.push(format!(
            "flags {differ}: cpu {}, translated {} (defined: {})",
            flags(n.rflags & defined),
            flags(t.rflags & defined),
            flags(defined)
        ));
    }
    let approximate = r.insns.iter().any(approximate);
    for i in 0..16 {
        let (a, b) = (n.fx.xmm(i), t.fx.xmm(i));
        if a != b && !(approximate && approximates(a, b)) {
            d.push(format!("xmm{i}: cpu {a:032x}, translated {b:032x}"));
        }
    }
    // A division's flag of a division by zero must be equal, and a conversion's to integers of an invalid operation. That is not set for signalling NaNs and
    // comparisons: elsewhere it may be missing, but not too much.
    let division =
        |i: &Instruction| matches!(i.mnemonic(), Mnemonic::Divss | Mnemonic::Divsd | Mnemonic::Divps | Mnemonic::Divpd);
    let divides = r.insns.iter().any(division);
    let converts = one.is_some_and(to_integer);
    let unfounded = t.fx.mxcsr() & !n.fx.mxcsr() & 0x3f;
    let mask = if o.mxcsr_flags { 0xffff } else { 0xffc0 | unfounded | u32::from(divides) << 2 | u32::from(converts) };
    if (n.fx.mxcsr() ^ t.fx.mxcsr()) & mask != 0 {
        d.push(format!("mxcsr: cpu {:#x}, translated {:#x}", n.fx.mxcsr(), t.fx.mxcsr()));
    }
    x87(r, n, t, &mut d);
    if n.fs_base != t.fs_base || n.gs_base != t.gs_base {
        d.push(format!("bases: cpu {:#x} {:#x}, translated {:#x} {:#x}", n.fs_base, n.gs_base, t.fs_base, t.gs_base));
    }
    d
}

/// Whether `i` makes integers of floats.
fn to_integer(i: &Instruction) -> bool {
    use Mnemonic::*;
    matches!(i.mnemonic(), Cvtss2si | Cvttss2si | Cvtsd2si | Cvttsd2si | Cvtps2dq | Cvttps2dq | Cvtpd2dq | Cvttpd2dq)
}

const SEGV_ACCERR: i32 = 2;

/// The x87 unit's SIGFPE carries the address of the instruction, which in a block only the running side's address map knows.
fn address_unknown(r: &Run<'_>, f: &Fault) -> bool {
    r.insns.len() > 1 && f.signal == libc::SIGFPE && f.addr == u64::from(CODE_START)
}

/// Several addresses of one instruction may fault, and the manuals do not say which is reported: those of two memory operands, and those within an operand
/// that microcode moves in pieces (the images of FXSAVE, FNSAVE, FNSTENV; the masked bytes of MASKMOVQ). True when both addresses are such.
fn either_may_fault(r: &Run<'_>, cpu: u64, translated: u64) -> bool {
    let [i] = r.insns else { return false };
    let mut factory = InstructionInfoFactory::new();
    let operands: Vec<(u64, u64)> = factory
        .info(i)
        .used_memory()
        .iter()
        .filter_map(|m| {
            let size = match m.memory_size().size() as u64 {
                // iced does not know the size of a repeated access, nor of ENTER's.
                0 => 8,
                n => n,
            };
            crate::cases::address(r.before, m).map(|a| (a, size))
        })
        .collect();
    let inside = |x: u64| operands.iter().any(|(a, n)| x >= *a && x < a + n);
    let pieces = operands.len() > 1
        || operands.iter().any(|(_, n)| *n > 16)
        || matches!(i.mnemonic(), Mnemonic::Fldenv | Mnemonic::Fnstenv | Mnemonic::Maskmovq | Mnemonic::Maskmovdqu);
    pieces && inside(cpu) && inside(translated)
}

fn x87(r: &Run<'_>, n: &State, t: &State, d: &mut Vec<String>) {
    if n.fx.fcw() != t.fx.fcw() {
        d.push(format!("fcw: cpu {:#x}, translated {:#x}", n.fx.fcw(), t.fx.fcw()));
    }
    let defined = r.insns.iter().fold(!0, |m, i| m & defined_fsw(i));
    if (n.fx.fsw() ^ t.fx.fsw()) & defined != 0 {
        d.push(format!("fsw: cpu {:#06x}, translated {:#06x} (mask {defined:#06x})", n.fx.fsw(), t.fx.fsw()));
    }
    if n.fx.ftw() != t.fx.ftw() {
        d.push(format!("ftw: cpu {:08b}, translated {:08b}", n.fx.ftw(), t.fx.ftw()));
    }
    let loose = r.insns.iter().any(transcendental);
    for i in 0..8 {
        let (a, b) = (n.fx.st(i), t.fx.st(i));
        if a != b && !(loose && within_ulp(a, b)) {
            d.push(format!("st{i}: cpu {}, translated {}", hex(a), hex(b)));
        }
    }
}

fn hex(x: [u8; 10]) -> String {
    x.iter().rev().map(|b| format!("{b:02x}")).collect()
}

/// Flags undefined at the end of a block.
pub fn block_undefined(insns: &[Instruction]) -> u64 {
    let mut undefined = 0;
    for i in insns {
        undefined = after(undefined, i);
    }
    undefined
}

/// Undefined flags after `i`, given those before.
pub fn after(undefined: u64, i: &Instruction) -> u64 {
    let may = maybe_undefined_flags(i);
    let always = !matches!(
        i.mnemonic(),
        Mnemonic::Shl
            | Mnemonic::Shr
            | Mnemonic::Sar
            | Mnemonic::Sal
            | Mnemonic::Rol
            | Mnemonic::Ror
            | Mnemonic::Rcl
            | Mnemonic::Rcr
            | Mnemonic::Shld
            | Mnemonic::Shrd
    ) && !i.has_rep_prefix()
        && !i.has_repne_prefix();
    let written = from_iced(i.rflags_written() | i.rflags_cleared() | i.rflags_set());
    (if always { undefined & !written } else { undefined }) | may
}

/// True when `i` reads one of `undefined`.
pub fn reads(i: &Instruction, undefined: u64) -> bool {
    from_iced(i.rflags_read()) & undefined != 0
        || matches!(i.mnemonic(), Mnemonic::Pushfq | Mnemonic::Lahf) && undefined != 0
}

/// Compares memory; `native` and `translated` are the whole arena.
pub fn memory_differences(r: &Run<'_>, native: &Contents, translated: &Contents) -> Vec<String> {
    let done = matches!((r.native.0, r.translated.0), (Outcome::Done(_), Outcome::Done(_)));
    if !done || native == translated {
        return Vec::new();
    }
    if let [i] = r.insns {
        if undefined_memory(i, r.before) {
            return Vec::new();
        }
        if matches!(i.mnemonic(), Mnemonic::Fxsave | Mnemonic::Fxsave64) {
            // MXCSR_MASK says which CPU it is: AMD's have bit 17.
            let ea = i.virtual_address(0, 0, |x, _, _| Some(register_value(r.before, x))).unwrap_or(0) as u32;
            let (mut n, mut t) = (native.clone(), translated.clone());
            n.write(ea.wrapping_add(28), &[0; 4]);
            t.write(ea.wrapping_add(28), &[0; 4]);
            return byte_differences(&n, &t);
        }
    }
    byte_differences(native, translated)
}

fn byte_differences(native: &Contents, translated: &Contents) -> Vec<String> {
    let mut d = Vec::new();
    let mut at = 0;
    while at < native.0.len() && d.len() < 4 {
        if native.0[at] != translated.0[at] {
            let end = (at + 16).min(native.0.len());
            d.push(format!(
                "memory at {:#x}: cpu {:02x?}, translated {:02x?}",
                Contents::address(at).unwrap_or(0),
                &native.0[at..end],
                &translated.0[at..end]
            ));
            at = end;
        } else {
            at += 1;
        }
    }
    d
}

/// Names of the general registers in encoding order.
pub const GPR_NAMES: [&str; 16] =
    ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];

/// Flags by name.
pub fn flags(f: u64) -> String {
    let names = [(CF, "CF"), (PF, "PF"), (AF, "AF"), (ZF, "ZF"), (SF, "SF"), (DF, "DF"), (OF, "OF")];
    let s: Vec<&str> = names.iter().filter(|(b, _)| f & b != 0).map(|(_, n)| *n).collect();
    if s.is_empty() { "-".into() } else { s.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::from_bytes;

    fn insn(bytes: &[u8]) -> Instruction {
        from_bytes(bytes).unwrap().insn
    }

    fn with_cl(cl: u64) -> State {
        let mut s = State::default();
        s.gpr[1] = cl;
        s
    }

    #[test]
    fn undefined_flags_of_shifts_follow_the_count() {
        // shl eax, cl
        let i = insn(&[0xd3, 0xe0]);
        assert_eq!(undefined_flags(&i, &with_cl(0)), 0);
        assert_eq!(undefined_flags(&i, &with_cl(32)), 0);
        assert_eq!(undefined_flags(&i, &with_cl(1)), AF);
        assert_eq!(undefined_flags(&i, &with_cl(2)), AF | OF);
        // shl al, cl: CF too when everything is shifted out
        assert_eq!(undefined_flags(&insn(&[0xd2, 0xe0]), &with_cl(8)), AF | OF | CF);
        // sar al, cl: CF is the sign
        assert_eq!(undefined_flags(&insn(&[0xd2, 0xf8]), &with_cl(9)), AF | OF);
        // rol eax, 1 and 2
        assert_eq!(undefined_flags(&insn(&[0xd1, 0xc0]), &with_cl(0)), 0);
        assert_eq!(undefined_flags(&insn(&[0xc1, 0xc0, 2]), &with_cl(0)), OF);
        // shld ax, cx, cl with a count above 16: everything
        assert_eq!(undefined_gprs(&insn(&[0x66, 0x0f, 0xa5, 0xc8]), &with_cl(17)), 1);
        assert_eq!(undefined_gprs(&insn(&[0x66, 0x0f, 0xa5, 0xc8]), &with_cl(16)), 0);
        // mul: CF and OF are defined, the rest is not
        assert_eq!(undefined_flags(&insn(&[0xf7, 0xe1]), &with_cl(0)), SF | ZF | AF | PF);
    }

    #[test]
    fn every_part_of_the_state_counts() {
        // add rax, rbx
        let insns = [insn(&[0x48, 0x01, 0xd8])];
        let before = State::default();
        let changes: [fn(&mut State); 10] = [
            |s| s.gpr[15] ^= 1 << 63,
            |s| s.gpr[RSP_INDEX] ^= 1 << 31,
            |s| s.rflags ^= DF,
            |s| s.rflags ^= AF,
            |s| s.fx.set_xmm(15, 1 << 127),
            |s| s.fx.set_st(7, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80]),
            |s| s.fx.set_ftw(1),
            |s| s.fx.set_fcw(0x27f),
            |s| s.fx.set_mxcsr(0x9f80),
            |s| s.fs_base = 1,
        ];
        let done = Outcome::Done(0x4000_8003);
        let check = |n: (Outcome, &State), t: (Outcome, &State)| {
            differences(&Run { insns: &insns, before: &before, native: n, translated: t }, Options::default())
        };
        assert!(check((done, &before), (done, &before)).is_empty());
        for (n, change) in changes.iter().enumerate() {
            let mut t = before;
            change(&mut t);
            assert_eq!(check((done, &before), (done, &t)).len(), 1, "change {n}");
        }
        assert_eq!(check((done, &before), (Outcome::Done(0), &before)).len(), 1);
        let fault = |addr| Outcome::Fault(Fault { signal: libc::SIGSEGV, code: 1, addr, pc: 0x4000_8000 });
        assert_eq!(check((fault(0), &before), (done, &before)).len(), 1);
        assert_eq!(check((done, &before), (fault(0), &before)).len(), 1);
        let mut amd = before;
        amd.fx.set_mxcsr(before.fx.mxcsr() | MXCSR_MM);
        assert!(check((done, &amd), (fault(0), &before)).is_empty());
        assert_eq!(check((fault(0), &before), (fault(1), &before)).len(), 1);
        assert!(check((fault(1), &before), (fault(1), &before)).is_empty());
        let mut c = Contents::default();
        c.write(0x7fff_ffff, &[1]);
        let run = Run { insns: &insns, before: &before, native: (done, &before), translated: (done, &before) };
        assert_eq!(memory_differences(&run, &Contents::default(), &c).len(), 1);
    }
    const RSP_INDEX: usize = crate::state::RSP;

    #[test]
    fn one_unit_in_the_last_place_is_across_binades_too() {
        let below = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0x3f];
        let one = [0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f];
        let above = [1, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f];
        assert!(within_ulp(below, one) && within_ulp(one, above) && !within_ulp(below, above));
        let minus = [0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0xbf];
        assert!(!within_ulp(one, minus));
    }

    #[test]
    fn undefined_flags_do_not_reach_a_reader_in_a_block() {
        // shl eax, 3; then adc reads CF (defined), seto reads OF (undefined); cmp defines it again
        let u = after(0, &insn(&[0xc1, 0xe0, 3]));
        assert!(!reads(&insn(&[0x11, 0xc8]), u));
        assert!(reads(&insn(&[0x0f, 0x90, 0xc0]), u));
        let u = after(u, &insn(&[0x39, 0xc8]));
        assert!(!reads(&insn(&[0x0f, 0x90, 0xc0]), u));
    }
}
