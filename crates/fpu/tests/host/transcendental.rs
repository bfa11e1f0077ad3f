//! The transcendental instructions against the host CPU: flags and special cases exactly, results to 1 unit in the last place.

use crate::gen_state::Rng;
use crate::{cpu::Cpu, rounds, run, show};
use megalith_fpu::ops::Op;

const CASES: &[(Op, u8)] = &[
    (Op::F2xm1, 0xf0),
    (Op::Fyl2x, 0xf1),
    (Op::Fptan, 0xf2),
    (Op::Fpatan, 0xf3),
    (Op::Fyl2xp1, 0xf9),
    (Op::Fsincos, 0xfb),
    (Op::Fsin, 0xfe),
    (Op::Fcos, 0xff),
];

/// Whether two registers differ by at most `ulps`.
fn close(a: &[u8], b: &[u8], ulps: u64) -> bool {
    let n = |b: &[u8]| u128::from_le_bytes(std::array::from_fn(|i| if i < 10 { b[i] } else { 0 }));
    // Without the explicit leading bit, neighbours are neighbours across powers of two as well.
    let key = |v: u128| (v >> 64 & 0x7fff) << 63 | v & (u128::MAX >> 65);
    let (a, b) = (n(a), n(b));
    a >> 79 == b >> 79 && key(a).abs_diff(key(b)) <= ulps.into()
}

fn check(masked: bool, seed: u64) {
    let mut rng = Rng(seed);
    let only = std::env::var("FPU_OP").ok();
    let mut failed = Vec::new();
    for &(op, code) in CASES {
        if only.as_ref().is_some_and(|o| *o != format!("{op:?}")) {
            continue;
        }
        let mut cpu = Cpu::new(&[0xd9, code]);
        let (mut bad, mut off) = (0, 0);
        for _ in 0..rounds() {
            let mut image = rng.image(masked);
            // Mostly arguments in the range of the instruction.
            if !rng.one_in(4) {
                let se = u16::from_le_bytes([image.0[40], image.0[41]]);
                let limit = match op {
                    Op::F2xm1 | Op::Fyl2xp1 => 0x3ffe,
                    Op::Fpatan | Op::Fyl2x => 0x7fff,
                    _ => 0x3fff + 5,
                };
                if se & 0x7fff > limit && se & 0x7fff != 0x7fff {
                    let se = se & 0x8000 | (limit - rng.below(4) as u16);
                    image.0[40..42].copy_from_slice(&se.to_le_bytes());
                }
                if op == Op::Fyl2x && rng.one_in(2) {
                    image.0[41] &= 0x7f;
                }
            }
            let (mut host, mut soft, r, _) = run(&mut cpu, op, &image, &[0; 128], &[(0, 0)], 0, 0x202);
            let exact = host.state == soft.state;
            // C1 says which way the last bit went.
            for s in [&mut host.state, &mut soft.state] {
                s[3] &= !2;
            }
            let regs_close =
                (0..8).all(|i| close(&host.state[32 + 16 * i..][..10], &soft.state[32 + 16 * i..][..10], 1));
            if !exact {
                off += 1;
            }
            let head = host.state[..5] == soft.state[..5];
            if r[0].is_err() || !head || !regs_close {
                bad += 1;
                if bad <= 3 {
                    let input: [u8; 160] = image.0[..160].try_into().unwrap();
                    println!("{op:?} i=\n  in   {}", show(&input));
                    println!("  host {}\n  soft {}", show(&host.state), show(&soft.state));
                }
            }
        }
        println!("{op:?}: {off} of {} not the same", rounds());
        if bad > 0 {
            failed.push(format!("{op:?}: {bad} of {}", rounds()));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn masked() {
    check(true, 0xabcd_0001_2222_3333);
}

#[test]
fn unmasked() {
    check(false, 0xabcd_0001_2222_3334);
}
