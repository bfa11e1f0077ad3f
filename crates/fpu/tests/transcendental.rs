//! The transcendental instructions against correctly rounded results (`transcendental.txt`).

use megalith_fpu::ops::{Op, execute};
use megalith_fpu::{Fpu, MemFault, Memory};

struct NoMemory;

impl Memory for NoMemory {
    fn read(&mut self, addr: u32, _: &mut [u8]) -> Result<(), MemFault> {
        Err(MemFault { addr })
    }
    fn write(&mut self, addr: u32, _: &[u8]) -> Result<(), MemFault> {
        Err(MemFault { addr })
    }
}

/// `sign+exponent:significand` in hexadecimal, as the ten bytes of a register.
fn register(s: &str) -> [u8; 10] {
    let (se, sig) = s.split_once(':').unwrap();
    let (se, sig) = (u16::from_str_radix(se, 16).unwrap(), u64::from_str_radix(sig, 16).unwrap());
    let mut b = [0; 10];
    b[..8].copy_from_slice(&sig.to_le_bytes());
    b[8..].copy_from_slice(&se.to_le_bytes());
    b
}

#[test]
fn correctly_rounded() {
    let mut wrong = Vec::new();
    let lines = include_str!("transcendental.txt").lines().filter(|l| !l.starts_with('#'));
    let mut count = 0;
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let op = *Op::ALL.iter().find(|op| format!("{op:?}") == words[0]).unwrap();
        let mut image = Fpu::new().to_fxsave();
        image[4] = 3;
        for (i, w) in words[1..3].iter().enumerate() {
            image[32 + 16 * i..][..10].copy_from_slice(&register(w));
        }
        let mut fpu = Fpu::from_fxsave(&image);
        assert_eq!(execute(&mut fpu, op as u32, 0, 0, &mut NoMemory), Ok(0));
        let out = fpu.to_fxsave();
        // Of two results, the first is st1.
        let at = if matches!(op, Op::Fsincos | Op::Fptan) { 1 } else { 0 };
        let expected: Vec<[u8; 10]> = words[3..].iter().map(|w| register(w)).collect();
        for (i, want) in expected.iter().enumerate() {
            let got = &out[32 + 16 * (at - i.min(at))..][..10];
            if got != want {
                wrong.push(format!("{line}: {got:02x?}"));
            }
        }
        assert_ne!(fpu.status_word() & 0x20, 0, "{line}: inexact");
        count += 1;
    }
    assert!(count > 1000);
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
