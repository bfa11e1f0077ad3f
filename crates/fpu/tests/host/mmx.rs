//! MMX instructions and their encodings.

use crate::gen_state::Rng;
use crate::{cpu::Cpu, rounds, run, show};
use megalith_fpu::ops::{Op, SRC_MEM, mmx_arg};

/// `op mm, mm/m64`: the opcode bytes.
const BINARY: &[(Op, &[u8])] = &[
    (Op::Punpcklbw, &[0x0f, 0x60]),
    (Op::Punpcklwd, &[0x0f, 0x61]),
    (Op::Punpckldq, &[0x0f, 0x62]),
    (Op::Packsswb, &[0x0f, 0x63]),
    (Op::Pcmpgtb, &[0x0f, 0x64]),
    (Op::Pcmpgtw, &[0x0f, 0x65]),
    (Op::Pcmpgtd, &[0x0f, 0x66]),
    (Op::Packuswb, &[0x0f, 0x67]),
    (Op::Punpckhbw, &[0x0f, 0x68]),
    (Op::Punpckhwd, &[0x0f, 0x69]),
    (Op::Punpckhdq, &[0x0f, 0x6a]),
    (Op::Packssdw, &[0x0f, 0x6b]),
    (Op::MovqMmMm, &[0x0f, 0x6f]),
    (Op::Pcmpeqb, &[0x0f, 0x74]),
    (Op::Pcmpeqw, &[0x0f, 0x75]),
    (Op::Pcmpeqd, &[0x0f, 0x76]),
    (Op::Psrlw, &[0x0f, 0xd1]),
    (Op::Psrld, &[0x0f, 0xd2]),
    (Op::Psrlq, &[0x0f, 0xd3]),
    (Op::Paddq, &[0x0f, 0xd4]),
    (Op::Pmullw, &[0x0f, 0xd5]),
    (Op::Psubusb, &[0x0f, 0xd8]),
    (Op::Psubusw, &[0x0f, 0xd9]),
    (Op::Pminub, &[0x0f, 0xda]),
    (Op::Pand, &[0x0f, 0xdb]),
    (Op::Paddusb, &[0x0f, 0xdc]),
    (Op::Paddusw, &[0x0f, 0xdd]),
    (Op::Pmaxub, &[0x0f, 0xde]),
    (Op::Pandn, &[0x0f, 0xdf]),
    (Op::Pavgb, &[0x0f, 0xe0]),
    (Op::Psraw, &[0x0f, 0xe1]),
    (Op::Psrad, &[0x0f, 0xe2]),
    (Op::Pavgw, &[0x0f, 0xe3]),
    (Op::Pmulhuw, &[0x0f, 0xe4]),
    (Op::Pmulhw, &[0x0f, 0xe5]),
    (Op::Psubsb, &[0x0f, 0xe8]),
    (Op::Psubsw, &[0x0f, 0xe9]),
    (Op::Pminsw, &[0x0f, 0xea]),
    (Op::Por, &[0x0f, 0xeb]),
    (Op::Paddsb, &[0x0f, 0xec]),
    (Op::Paddsw, &[0x0f, 0xed]),
    (Op::Pmaxsw, &[0x0f, 0xee]),
    (Op::Pxor, &[0x0f, 0xef]),
    (Op::Psllw, &[0x0f, 0xf1]),
    (Op::Pslld, &[0x0f, 0xf2]),
    (Op::Psllq, &[0x0f, 0xf3]),
    (Op::Pmuludq, &[0x0f, 0xf4]),
    (Op::Pmaddwd, &[0x0f, 0xf5]),
    (Op::Psadbw, &[0x0f, 0xf6]),
    (Op::Psubb, &[0x0f, 0xf8]),
    (Op::Psubw, &[0x0f, 0xf9]),
    (Op::Psubd, &[0x0f, 0xfa]),
    (Op::Psubq, &[0x0f, 0xfb]),
    (Op::Paddb, &[0x0f, 0xfc]),
    (Op::Paddw, &[0x0f, 0xfd]),
    (Op::Paddd, &[0x0f, 0xfe]),
    (Op::Pshufb, &[0x0f, 0x38, 0x00]),
    (Op::Phaddw, &[0x0f, 0x38, 0x01]),
    (Op::Phaddd, &[0x0f, 0x38, 0x02]),
    (Op::Phaddsw, &[0x0f, 0x38, 0x03]),
    (Op::Pmaddubsw, &[0x0f, 0x38, 0x04]),
    (Op::Phsubw, &[0x0f, 0x38, 0x05]),
    (Op::Phsubd, &[0x0f, 0x38, 0x06]),
    (Op::Phsubsw, &[0x0f, 0x38, 0x07]),
    (Op::Psignb, &[0x0f, 0x38, 0x08]),
    (Op::Psignw, &[0x0f, 0x38, 0x09]),
    (Op::Psignd, &[0x0f, 0x38, 0x0a]),
    (Op::Pmulhrsw, &[0x0f, 0x38, 0x0b]),
    (Op::Pabsb, &[0x0f, 0x38, 0x1c]),
    (Op::Pabsw, &[0x0f, 0x38, 0x1d]),
    (Op::Pabsd, &[0x0f, 0x38, 0x1e]),
];

/// `op mm, mm/m64, imm8`.
const BINARY_IMM: &[(Op, &[u8])] = &[(Op::Pshufw, &[0x0f, 0x70]), (Op::Palignr, &[0x0f, 0x3a, 0x0f])];

/// `op mm, imm8`: opcode and ModRM reg field.
const SHIFT_IMM: &[(Op, u8, u8)] = &[
    (Op::PsrlwImm, 0x71, 2),
    (Op::PsrawImm, 0x71, 4),
    (Op::PsllwImm, 0x71, 6),
    (Op::PsrldImm, 0x72, 2),
    (Op::PsradImm, 0x72, 4),
    (Op::PslldImm, 0x72, 6),
    (Op::PsrlqImm, 0x73, 2),
    (Op::PsllqImm, 0x73, 6),
];

/// One instruction: its code, its operation and argument, and whether `addr` is rax.
struct Insn {
    op: Op,
    code: Vec<u8>,
    arg: u32,
    value: Value,
}

#[derive(Clone, Copy, PartialEq)]
enum Value {
    Nothing,
    /// Register rax.
    Rax,
    /// The low half of xmm0; the result is the low half.
    Xmm,
    /// Both halves of xmm0, one call each.
    XmmBoth,
    /// Two results, the halves of xmm0.
    ToXmmBoth,
}

fn instructions(rng: &mut Rng) -> Vec<Insn> {
    let mut all = Vec::new();
    let mut add = |op, code: &[&[u8]], arg, value| all.push(Insn { op, code: code.concat(), arg, value });
    let mut regs = || (rng.below(8) as u32, rng.below(8) as u32);
    for (ops, with_imm) in [(BINARY, false), (BINARY_IMM, true)] {
        for &(op, code) in ops {
            for imm in 0..if with_imm { 24 } else { 1 } {
                let imm = imm * 11 % 27;
                let (d, s) = regs();
                let tail: &[u8] = if with_imm { &[imm] } else { &[] };
                add(op, &[code, &[0xc0 | (d << 3 | s) as u8], tail], mmx_arg(d, s, imm), Value::Nothing);
                add(op, &[code, &[(d << 3 | 2) as u8], tail], mmx_arg(d, 0, imm) | SRC_MEM, Value::Nothing);
            }
        }
    }
    for &(op, code, reg) in SHIFT_IMM {
        for imm in [0, 1, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255] {
            let (d, _) = regs();
            add(op, &[&[0x0f, code, 0xc0 | reg << 3 | d as u8, imm]], mmx_arg(d, 0, imm), Value::Nothing);
        }
    }
    for _ in 0..3 {
        let (d, s) = regs();
        let (dm, sm) = ((d << 3) as u8, (s << 3) as u8);
        add(Op::Emms, &[&[0x0f, 0x77]], 0, Value::Nothing);
        add(Op::MovdMmR, &[&[0x0f, 0x6e, 0xc0 | dm]], mmx_arg(d, 0, 0), Value::Rax);
        add(Op::MovqMmR, &[&[0x48, 0x0f, 0x6e, 0xc0 | dm]], mmx_arg(d, 0, 0), Value::Rax);
        add(Op::MovqMmR, &[&[0xf2, 0x0f, 0xd6, 0xc0 | dm]], mmx_arg(d, 0, 0), Value::Xmm);
        add(Op::MovdRMm, &[&[0x0f, 0x7e, 0xc0 | sm]], mmx_arg(0, s, 0), Value::Nothing);
        add(Op::MovqRMm, &[&[0x48, 0x0f, 0x7e, 0xc0 | sm]], mmx_arg(0, s, 0), Value::Nothing);
        add(Op::MovqRMm, &[&[0xf3, 0x0f, 0xd6, 0xc0 | s as u8]], mmx_arg(0, s, 0), Value::Xmm);
        add(Op::MovdMmM32, &[&[0x0f, 0x6e, 2 | dm]], mmx_arg(d, 0, 0), Value::Nothing);
        add(Op::MovdM32Mm, &[&[0x0f, 0x7e, 2 | sm]], mmx_arg(0, s, 0), Value::Nothing);
        add(Op::MovqM64Mm, &[&[0x0f, 0x7f, 2 | sm]], mmx_arg(0, s, 0), Value::Nothing);
        add(Op::MovqM64Mm, &[&[0x0f, 0xe7, 2 | sm]], mmx_arg(0, s, 0), Value::Nothing);
        add(Op::Maskmovq, &[&[0x0f, 0xf7, 0xc0 | dm | s as u8]], mmx_arg(d, s, 0), Value::Nothing);
        add(Op::Pmovmskb, &[&[0x0f, 0xd7, 0xc0 | s as u8]], mmx_arg(0, s, 0), Value::Nothing);
        for imm in [0, 1, 2, 3, 6, 255] {
            add(Op::Pextrw, &[&[0x0f, 0xc5, 0xc0 | s as u8, imm]], mmx_arg(0, s, imm), Value::Nothing);
            add(Op::Pinsrw, &[&[0x0f, 0xc4, 0xc0 | dm, imm]], mmx_arg(d, 0, imm), Value::Rax);
            add(Op::Pinsrw, &[&[0x0f, 0xc4, 2 | dm, imm]], mmx_arg(d, 0, imm) | SRC_MEM, Value::Nothing);
        }
        add(Op::Cvtpi2ps, &[&[0x0f, 0x2a, 0xc0 | s as u8]], mmx_arg(0, s, 0), Value::Xmm);
        add(Op::Cvtpi2ps, &[&[0x0f, 0x2a, 2]], SRC_MEM, Value::Xmm);
        add(Op::Cvtpi2pd, &[&[0x66, 0x0f, 0x2a, 0xc0 | s as u8]], mmx_arg(0, s, 0), Value::ToXmmBoth);
        add(Op::Cvtpi2pd, &[&[0x66, 0x0f, 0x2a, 2]], SRC_MEM, Value::ToXmmBoth);
        for (op, code) in [(Op::Cvtps2pi, 0x2d), (Op::Cvttps2pi, 0x2c)] {
            add(op, &[&[0x0f, code, 0xc0 | dm]], mmx_arg(d, 0, 0), Value::Xmm);
            add(op, &[&[0x0f, code, 2 | dm]], mmx_arg(d, 0, 0) | SRC_MEM, Value::Nothing);
        }
        for (op, code) in [(Op::Cvtpd2pi, 0x2d), (Op::Cvttpd2pi, 0x2c)] {
            add(op, &[&[0x66, 0x0f, code, 0xc0 | dm]], mmx_arg(d, 0, 0), Value::XmmBoth);
        }
    }
    all
}

/// A vector: random, equal lanes, extremes.
fn vector(rng: &mut Rng) -> u64 {
    let r = rng.next();
    match rng.below(6) {
        0 => u64::from_le_bytes(std::array::from_fn(|_| rng.pick(&[0, 1, 0x7f, 0x80, 0x81, 0xff]))),
        1 => (0..4).fold(0, |v, _| v << 16 | rng.pick(&[0, 1, 0x7fff, 0x8000, 0x8001, 0xffff, 0x00ff, 0xff80])),
        2 => rng.below(70),
        3 => u64::from(rng.f32()) << 32 | u64::from(rng.f32()),
        _ => r,
    }
}

#[test]
fn mmx() {
    let mut rng = Rng(0x5555_1234_9999_0001);
    let mut failed = Vec::new();
    for insn in instructions(&mut rng) {
        let mut cpu = Cpu::new(&insn.code);
        let mut bad = 0;
        for _ in 0..rounds() / 10 {
            let mut image = rng.image(true);
            for i in 0..8 {
                let v = vector(&mut rng);
                image.0[32 + 16 * i..][..8].copy_from_slice(&v.to_le_bytes());
            }
            let mxcsr = 0x1f80 | (rng.next() as u32 & 0xe040);
            image.0[24..28].copy_from_slice(&mxcsr.to_le_bytes());
            let both = matches!(insn.op, Op::Cvtpd2pi | Op::Cvttpd2pi);
            let xmm = [0; 2].map(|_: u64| if both { rng.f64() } else { vector(&mut rng) });
            image.0[160..168].copy_from_slice(&xmm[0].to_le_bytes());
            image.0[168..176].copy_from_slice(&xmm[1].to_le_bytes());
            let mut mem = [0; 128];
            mem[..8].copy_from_slice(&vector(&mut rng).to_le_bytes());
            let rax = vector(&mut rng);
            let arg = insn.arg | mxcsr << 16;
            let calls: &[(u32, u64)] = match insn.value {
                Value::ToXmmBoth => &[(arg, 0), (arg | 1 << 8, 0)],
                Value::Nothing => &[(arg, 0)],
                Value::Rax => &[(arg, rax)],
                Value::Xmm if insn.arg & SRC_MEM != 0 => &[(arg, 0)],
                Value::Xmm => &[(arg, xmm[0])],
                Value::XmmBoth => &[(arg, xmm[0]), (arg | 1 << 8, xmm[1])],
            };
            let (host, mut soft, results, flags) = run(&mut cpu, insn.op, &image, &mem, calls, rax, 0x202);
            let r = results.iter().map(|r| r.unwrap_or(0) as u64).collect::<Vec<_>>();
            match (insn.op, insn.value) {
                (Op::MovdRMm | Op::Pmovmskb | Op::Pextrw, _) | (Op::MovqRMm, Value::Nothing) => soft.rax = r[0],
                (Op::Cvtpi2ps, _) => soft.xmm[0] = r[0],
                (Op::MovqRMm, _) => soft.xmm = [r[0], 0],
                (Op::Cvtpi2pd, _) => soft.xmm = [r[0], r[1]],
                _ => {}
            }
            soft.mxcsr |= flags;
            if results.iter().any(|r| r.is_err()) || host != soft {
                bad += 1;
                if bad <= 2 {
                    let input: [u8; 160] = image.0[..160].try_into().unwrap();
                    println!("{:?} {:02x?} {results:x?}\n  in   {}", insn.op, insn.code, show(&input));
                    println!("  host {}\n  soft {}", show(&host.state), show(&soft.state));
                    println!("  mem {:02x?} {:02x?} {:02x?}", &mem[..16], &host.mem[..16], &soft.mem[..16]);
                    println!("  rax {rax:x}: {:x} {:x}", host.rax, soft.rax);
                    println!(
                        "  xmm {xmm:x?}: {:x?} {:x?} mxcsr {mxcsr:x}: {:x} {:x}",
                        host.xmm, soft.xmm, host.mxcsr, soft.mxcsr
                    );
                }
            }
        }
        if bad > 0 {
            failed.push(format!("{:?} {:02x?}: {bad} of {}", insn.op, insn.code, rounds() / 10));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
