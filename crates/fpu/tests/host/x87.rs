//! x87 instructions and their encodings.

use crate::gen_state::Rng;
use crate::{Case, Form, cpu::Cpu, rounds, run, show};
use megalith_fpu::ops::Op;

const fn case(op: Op, code: &'static [u8], form: Form) -> Case {
    Case { op, code, form }
}

/// Operation, encoding (memory operand `[rdx]`), what varies. `transcendental.rs` has the rest.
const CASES: &[Case] = &[
    case(Op::FldM32, &[0xd9, 0x02], Form::Mem),
    case(Op::FldM64, &[0xdd, 0x02], Form::Mem),
    case(Op::FldM80, &[0xdb, 0x2a], Form::Mem),
    case(Op::FldSti, &[0xd9, 0xc0], Form::Sti),
    case(Op::FildM16, &[0xdf, 0x02], Form::Mem),
    case(Op::FildM32, &[0xdb, 0x02], Form::Mem),
    case(Op::FildM64, &[0xdf, 0x2a], Form::Mem),
    case(Op::Fbld, &[0xdf, 0x22], Form::Mem),
    case(Op::Fld1, &[0xd9, 0xe8], Form::None),
    case(Op::Fldl2t, &[0xd9, 0xe9], Form::None),
    case(Op::Fldl2e, &[0xd9, 0xea], Form::None),
    case(Op::Fldpi, &[0xd9, 0xeb], Form::None),
    case(Op::Fldlg2, &[0xd9, 0xec], Form::None),
    case(Op::Fldln2, &[0xd9, 0xed], Form::None),
    case(Op::Fldz, &[0xd9, 0xee], Form::None),
    case(Op::FstM32, &[0xd9, 0x12], Form::Mem),
    case(Op::FstM64, &[0xdd, 0x12], Form::Mem),
    case(Op::FstSti, &[0xdd, 0xd0], Form::Sti),
    case(Op::FstpM32, &[0xd9, 0x1a], Form::Mem),
    case(Op::FstpM64, &[0xdd, 0x1a], Form::Mem),
    case(Op::FstpM80, &[0xdb, 0x3a], Form::Mem),
    case(Op::FstpSti, &[0xdd, 0xd8], Form::Sti),
    case(Op::FistM16, &[0xdf, 0x12], Form::Mem),
    case(Op::FistM32, &[0xdb, 0x12], Form::Mem),
    case(Op::FistpM16, &[0xdf, 0x1a], Form::Mem),
    case(Op::FistpM32, &[0xdb, 0x1a], Form::Mem),
    case(Op::FistpM64, &[0xdf, 0x3a], Form::Mem),
    case(Op::FisttpM16, &[0xdf, 0x0a], Form::Mem),
    case(Op::FisttpM32, &[0xdb, 0x0a], Form::Mem),
    case(Op::FisttpM64, &[0xdd, 0x0a], Form::Mem),
    case(Op::Fbstp, &[0xdf, 0x32], Form::Mem),
    case(Op::FaddM32, &[0xd8, 0x02], Form::Mem),
    case(Op::FaddM64, &[0xdc, 0x02], Form::Mem),
    case(Op::FiaddM16, &[0xde, 0x02], Form::Mem),
    case(Op::FiaddM32, &[0xda, 0x02], Form::Mem),
    case(Op::FaddSt0Sti, &[0xd8, 0xc0], Form::Sti),
    case(Op::FaddStiSt0, &[0xdc, 0xc0], Form::Sti),
    case(Op::FaddpStiSt0, &[0xde, 0xc0], Form::Sti),
    case(Op::FmulM32, &[0xd8, 0x0a], Form::Mem),
    case(Op::FmulM64, &[0xdc, 0x0a], Form::Mem),
    case(Op::FimulM16, &[0xde, 0x0a], Form::Mem),
    case(Op::FimulM32, &[0xda, 0x0a], Form::Mem),
    case(Op::FmulSt0Sti, &[0xd8, 0xc8], Form::Sti),
    case(Op::FmulStiSt0, &[0xdc, 0xc8], Form::Sti),
    case(Op::FmulpStiSt0, &[0xde, 0xc8], Form::Sti),
    case(Op::FsubM32, &[0xd8, 0x22], Form::Mem),
    case(Op::FsubM64, &[0xdc, 0x22], Form::Mem),
    case(Op::FisubM16, &[0xde, 0x22], Form::Mem),
    case(Op::FisubM32, &[0xda, 0x22], Form::Mem),
    case(Op::FsubSt0Sti, &[0xd8, 0xe0], Form::Sti),
    case(Op::FsubStiSt0, &[0xdc, 0xe8], Form::Sti),
    case(Op::FsubpStiSt0, &[0xde, 0xe8], Form::Sti),
    case(Op::FsubrM32, &[0xd8, 0x2a], Form::Mem),
    case(Op::FsubrM64, &[0xdc, 0x2a], Form::Mem),
    case(Op::FisubrM16, &[0xde, 0x2a], Form::Mem),
    case(Op::FisubrM32, &[0xda, 0x2a], Form::Mem),
    case(Op::FsubrSt0Sti, &[0xd8, 0xe8], Form::Sti),
    case(Op::FsubrStiSt0, &[0xdc, 0xe0], Form::Sti),
    case(Op::FsubrpStiSt0, &[0xde, 0xe0], Form::Sti),
    case(Op::FdivM32, &[0xd8, 0x32], Form::Mem),
    case(Op::FdivM64, &[0xdc, 0x32], Form::Mem),
    case(Op::FidivM16, &[0xde, 0x32], Form::Mem),
    case(Op::FidivM32, &[0xda, 0x32], Form::Mem),
    case(Op::FdivSt0Sti, &[0xd8, 0xf0], Form::Sti),
    case(Op::FdivStiSt0, &[0xdc, 0xf8], Form::Sti),
    case(Op::FdivpStiSt0, &[0xde, 0xf8], Form::Sti),
    case(Op::FdivrM32, &[0xd8, 0x3a], Form::Mem),
    case(Op::FdivrM64, &[0xdc, 0x3a], Form::Mem),
    case(Op::FidivrM16, &[0xde, 0x3a], Form::Mem),
    case(Op::FidivrM32, &[0xda, 0x3a], Form::Mem),
    case(Op::FdivrSt0Sti, &[0xd8, 0xf8], Form::Sti),
    case(Op::FdivrStiSt0, &[0xdc, 0xf0], Form::Sti),
    case(Op::FdivrpStiSt0, &[0xde, 0xf0], Form::Sti),
    case(Op::FcomM32, &[0xd8, 0x12], Form::Mem),
    case(Op::FcomM64, &[0xdc, 0x12], Form::Mem),
    case(Op::FicomM16, &[0xde, 0x12], Form::Mem),
    case(Op::FicomM32, &[0xda, 0x12], Form::Mem),
    case(Op::FcomSti, &[0xd8, 0xd0], Form::Sti),
    case(Op::FcompM32, &[0xd8, 0x1a], Form::Mem),
    case(Op::FcompM64, &[0xdc, 0x1a], Form::Mem),
    case(Op::FicompM16, &[0xde, 0x1a], Form::Mem),
    case(Op::FicompM32, &[0xda, 0x1a], Form::Mem),
    case(Op::FcompSti, &[0xd8, 0xd8], Form::Sti),
    case(Op::Fcompp, &[0xde, 0xd9], Form::None),
    case(Op::Fucom, &[0xdd, 0xe0], Form::Sti),
    case(Op::Fucomp, &[0xdd, 0xe8], Form::Sti),
    case(Op::Fucompp, &[0xda, 0xe9], Form::None),
    case(Op::Fcomi, &[0xdb, 0xf0], Form::Sti),
    case(Op::Fcomip, &[0xdf, 0xf0], Form::Sti),
    case(Op::Fucomi, &[0xdb, 0xe8], Form::Sti),
    case(Op::Fucomip, &[0xdf, 0xe8], Form::Sti),
    case(Op::Ftst, &[0xd9, 0xe4], Form::None),
    case(Op::Fxam, &[0xd9, 0xe5], Form::None),
    case(Op::Fchs, &[0xd9, 0xe0], Form::None),
    case(Op::Fabs, &[0xd9, 0xe1], Form::None),
    case(Op::Fsqrt, &[0xd9, 0xfa], Form::None),
    case(Op::Frndint, &[0xd9, 0xfc], Form::None),
    case(Op::Fscale, &[0xd9, 0xfd], Form::None),
    case(Op::Fxtract, &[0xd9, 0xf4], Form::None),
    case(Op::Fprem, &[0xd9, 0xf8], Form::None),
    case(Op::Fprem1, &[0xd9, 0xf5], Form::None),
    case(Op::Fxch, &[0xd9, 0xc8], Form::Sti),
    case(Op::Ffree, &[0xdd, 0xc0], Form::Sti),
    case(Op::Ffreep, &[0xdf, 0xc0], Form::Sti),
    case(Op::Fincstp, &[0xd9, 0xf7], Form::None),
    case(Op::Fdecstp, &[0xd9, 0xf6], Form::None),
    case(Op::Fninit, &[0xdb, 0xe3], Form::None),
    case(Op::Fnclex, &[0xdb, 0xe2], Form::None),
    case(Op::Fnstcw, &[0xd9, 0x3a], Form::Mem),
    case(Op::Fldcw, &[0xd9, 0x2a], Form::Mem),
    case(Op::FnstswM16, &[0xdd, 0x3a], Form::Mem),
    case(Op::FnstswAx, &[0xdf, 0xe0], Form::None),
    case(Op::Fnstenv, &[0xd9, 0x32], Form::Mem),
    case(Op::Fldenv, &[0xd9, 0x22], Form::Mem),
    case(Op::Fnsave, &[0xdd, 0x32], Form::Mem),
    case(Op::Frstor, &[0xdd, 0x22], Form::Mem),
    case(Op::Fnstenv14, &[0x66, 0xd9, 0x32], Form::Mem),
    case(Op::Fldenv14, &[0x66, 0xd9, 0x22], Form::Mem),
    case(Op::Fnsave94, &[0x66, 0xdd, 0x32], Form::Mem),
    case(Op::Frstor94, &[0x66, 0xdd, 0x22], Form::Mem),
    case(Op::Fwait, &[0x9b], Form::None),
    case(Op::Fnop, &[0xd9, 0xd0], Form::None),
    case(Op::Fnone, &[0xdb, 0xe0], Form::None),
    case(Op::FcomSti, &[0xdc, 0xd0], Form::Sti),
    case(Op::FcompSti, &[0xdc, 0xd8], Form::Sti),
    case(Op::FcompSti, &[0xde, 0xd0], Form::Sti),
    case(Op::Fxch, &[0xdd, 0xc8], Form::Sti),
    case(Op::Fxch, &[0xdf, 0xc8], Form::Sti),
    case(Op::FstpSti, &[0xdf, 0xd0], Form::Sti),
    case(Op::FstpSti, &[0xdf, 0xd8], Form::Sti),
];

/// Bytes for a memory operand: numbers of all types, by chance.
fn operand(rng: &mut Rng, op: Op) -> [u8; 128] {
    let mut m = [0; 128];
    for b in &mut m {
        *b = rng.next() as u8;
    }
    let name = format!("{op:?}");
    if name.contains("M32") && !name.starts_with("Fi") {
        m[..4].copy_from_slice(&rng.f32().to_le_bytes());
    } else if name.contains("M64") && !name.starts_with("Fi") {
        m[..8].copy_from_slice(&rng.f64().to_le_bytes());
    } else if op == Op::FldM80 {
        let (sig, se) = rng.ext();
        m[..8].copy_from_slice(&sig.to_le_bytes());
        m[8..10].copy_from_slice(&se.to_le_bytes());
    } else if op == Op::Fbld {
        for b in &mut m[..9] {
            *b = (rng.below(10) | rng.below(10) << 4) as u8;
        }
        if rng.one_in(8) {
            m[..9].fill(0);
        }
    } else if name.starts_with("Fi") && rng.one_in(3) {
        m[..8].copy_from_slice(&rng.pick(&[0u64, 1, u64::MAX, 1 << 63, 0x8000, 0x7fff, 0x8000_0000]).to_le_bytes());
    }
    m
}

/// Which states to try.
#[derive(Clone, Copy, PartialEq)]
enum States {
    /// All exceptions masked.
    Masked,
    /// Some not masked, but none pending.
    Unmasked,
    /// Any status word, so that exceptions may be pending.
    Pending,
}

/// Compares `n` states; the differences, as text.
fn check(case: &Case, rng: &mut Rng, n: usize, states: States) -> Vec<String> {
    let mut bad = Vec::new();
    let forms = if case.form == Form::Sti { 8 } else { 1 };
    for i in 0..forms {
        let mut code = case.code.to_vec();
        if let Some(last) = code.last_mut().filter(|_| case.form == Form::Sti) {
            *last += i;
        }
        let mut cpu = Cpu::new(&code);
        for _ in 0..n / forms as usize {
            let mut image = rng.image(states == States::Masked);
            if states == States::Pending {
                let sw = rng.next() as u16;
                image.0[2..4].copy_from_slice(&sw.to_le_bytes());
            }
            let mem = operand(rng, case.op);
            let rflags = rng.next() & 0x8d5 | 0x202;
            let (mut host, mut soft, r, _) = run(&mut cpu, case.op, &image, &mem, &[(i.into(), 0)], rng.next(), rflags);
            let r = r[0];
            match case.op {
                Op::FnstswAx => soft.rax = soft.rax & !0xffff | r.unwrap_or(0) as u64,
                Op::Fcomi | Op::Fcomip | Op::Fucomi | Op::Fucomip => {
                    soft.rflags = rflags & !0x8d5 | r.unwrap_or(0) as u64;
                }
                _ => {}
            }
            mask_pointers(case.op, &mut host.mem);
            if r.is_err() || host != soft {
                let input: [u8; 160] = image.0[..160].try_into().unwrap();
                let mut s = format!("{:?} i={i} {r:?}\n  in   {}\n", case.op, show(&input));
                s += &format!("  host {}\n  soft {}\n", show(&host.state), show(&soft.state));
                s += &format!("  mem  {:02x?}\n", &mem[..28]);
                if host.mem != soft.mem {
                    s += &format!("  hmem {:02x?}\n  smem {:02x?}\n", &host.mem[..28], &soft.mem[..28]);
                }
                s += &format!(
                    "  rax {:x} {:x} rflags {rflags:x}: {:x} {:x}",
                    host.rax, soft.rax, host.rflags, soft.rflags
                );
                bad.push(s);
            }
        }
    }
    bad
}

/// Instruction and operand pointers are not emulated.
fn mask_pointers(op: Op, mem: &mut [u8; 128]) {
    match op {
        Op::Fnstenv | Op::Fnsave => mem[12..26].fill(0),
        Op::Fnstenv14 | Op::Fnsave94 => mem[6..14].fill(0),
        _ => {}
    }
}

fn check_all(states: States, seed: u64) {
    let mut rng = Rng(seed);
    let mut failed = Vec::new();
    let only = std::env::var("FPU_OP").ok();
    for case in CASES {
        if only.as_ref().is_some_and(|o| *o != format!("{:?}", case.op)) {
            continue;
        }
        if states == States::Pending && waits(case.op) {
            continue;
        }
        let bad = check(case, &mut rng, rounds(), states);
        if !bad.is_empty() {
            for s in bad.iter().take(3) {
                println!("{s}");
            }
            failed.push(format!("{:?} {:02x?}: {} of {}", case.op, case.code, bad.len(), rounds()));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Whether the host would raise #MF for a pending exception.
fn waits(op: Op) -> bool {
    use Op::*;
    !matches!(op, Fninit | Fnclex | Fnstcw | FnstswM16 | FnstswAx | Fnstenv | Fnstenv14 | Fnsave | Fnsave94 | Fnone)
}

#[test]
fn masked() {
    check_all(States::Masked, 0x9e37_79b9_7f4a_7c15);
}

#[test]
fn unmasked() {
    check_all(States::Unmasked, 0x1234_5678_9abc_def1);
}

#[test]
fn pending() {
    check_all(States::Pending, 0x1234_5678_9abc_def3);
}

/// `fcmovcc`: encoding and condition.
#[test]
fn fcmov() {
    const CASES: [(u8, u8, u64, bool); 8] = [
        (0xda, 0xc0, 1, true),
        (0xda, 0xc8, 0x40, true),
        (0xda, 0xd0, 0x41, true),
        (0xda, 0xd8, 4, true),
        (0xdb, 0xc0, 1, false),
        (0xdb, 0xc8, 0x40, false),
        (0xdb, 0xd0, 0x41, false),
        (0xdb, 0xd8, 4, false),
    ];
    let mut rng = Rng(0x77aa_1234_5678_0001);
    for (a, b, flags, when_set) in CASES {
        for i in 0..8u8 {
            let mut cpu = Cpu::new(&[a, b + i]);
            for _ in 0..rounds() / 20 {
                let masked = rng.one_in(2);
                let image = rng.image(masked);
                let rflags = rng.next() & 0x8d5 | 0x202;
                let condition = (rflags & flags != 0) == when_set;
                let calls = [(i.into(), u64::from(condition) << 40)];
                let (host, soft, r, _) = run(&mut cpu, Op::Fcmov, &image, &[0; 128], &calls, 0, rflags);
                let input: [u8; 160] = image.0[..160].try_into().unwrap();
                assert!(
                    r[0].is_ok() && host == soft,
                    "i={i} {condition}\n{}\n{}\n{}",
                    show(&input),
                    show(&host.state),
                    show(&soft.state)
                );
            }
        }
    }
}
