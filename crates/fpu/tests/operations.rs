//! What holds for operations in general: numbers, pending exceptions, faults, images.

use megalith_fpu::ops::{Op, SRC_MEM, execute, mmx_arg};
use megalith_fpu::{Fpu, MemFault, Memory, Trap};

/// 1 KiB of memory at address 0x1000, whose bytes from `limit` on fault.
struct Limited {
    bytes: [u8; 1024],
    limit: u32,
}

impl Limited {
    fn new(limit: u32) -> Limited {
        Limited { bytes: [0; 1024], limit }
    }

    fn range(&self, addr: u32, len: usize) -> Result<std::ops::Range<usize>, MemFault> {
        let end = addr + len as u32;
        if addr < 0x1000 || addr >= self.limit {
            return Err(MemFault { addr });
        }
        if end > self.limit {
            return Err(MemFault { addr: self.limit });
        }
        Ok((addr - 0x1000) as usize..(end - 0x1000) as usize)
    }
}

impl Memory for Limited {
    fn read(&mut self, addr: u32, buf: &mut [u8]) -> Result<(), MemFault> {
        let r = self.range(addr, buf.len())?;
        buf.copy_from_slice(&self.bytes[r]);
        Ok(())
    }
    fn write(&mut self, addr: u32, buf: &[u8]) -> Result<(), MemFault> {
        let r = self.range(addr, buf.len())?;
        self.bytes[r].copy_from_slice(buf);
        Ok(())
    }
}

/// A state with some numbers: st0 = 1, st1 = log2(10), st2 = 0; and TOP = 5.
fn some_state() -> Fpu {
    let mut f = Fpu::new();
    let mut mem = Limited::new(0x1400);
    for op in [Op::Fldz, Op::Fldl2t, Op::Fld1] {
        assert_eq!(execute(&mut f, op as u32, 0, 0, &mut mem), Ok(0));
    }
    f
}

/// `some_state` with an unmasked exception pending.
fn pending_state() -> Fpu {
    let mut f = some_state();
    f.set_control_word(0x37e);
    let mut mem = Limited::new(0x1400);
    mem.bytes[..4].copy_from_slice(&0x7f80_0001u32.to_le_bytes());
    assert_eq!(execute(&mut f, Op::FaddM32 as u32, 0, 0x1000, &mut mem), Ok(0));
    assert!(f.pending());
    assert_eq!(f.pending_exceptions(), 1);
    f
}

/// Bytes of memory that the operation accesses at `addr`, given `SRC_MEM` in `arg`.
fn operand_size(op: Op) -> u32 {
    use Op::*;
    let name = format!("{op:?}");
    match op {
        Fbld | Fbstp => 10,
        Fnstcw | Fldcw | FnstswM16 | Pinsrw => 2,
        Fnstenv | Fldenv => 28,
        Fnsave | Frstor => 108,
        Fnstenv14 | Fldenv14 => 14,
        Fnsave94 | Frstor94 => 94,
        Fxsave | Fxrstor => 160,
        MovdMmM32 | MovdM32Mm | Punpcklbw | Punpcklwd | Punpckldq => 4,
        MovqM64Mm | MovqMmMm | Pshufw | Palignr | Cvtpi2ps | Cvtpi2pd | Cvtps2pi | Cvttps2pi => 8,
        Emms | MovdMmR | MovqMmR | MovdRMm | MovqRMm | Pmovmskb | Pextrw | Maskmovq | Cvtpd2pi | Cvttpd2pi
        | SseFlags => 0,
        _ if name.ends_with("M16") => 2,
        _ if name.ends_with("M32") => 4,
        _ if name.ends_with("M64") => 8,
        _ if name.ends_with("M80") => 10,
        _ if name.ends_with("Imm") => 0,
        _ if name.starts_with('P') => 8,
        _ => 0,
    }
}

#[test]
fn numbers() {
    for (i, &op) in Op::ALL.iter().enumerate() {
        assert_eq!(op as usize, i);
        assert_eq!(Op::from_u32(i as u32), Some(op));
    }
    let n = Op::ALL.len() as u32;
    for bad in [n, n + 1, u32::MAX] {
        let mut f = some_state();
        assert_eq!(execute(&mut f, bad, 0, 0, &mut Limited::new(0)), Err(Trap::Undefined));
        assert_eq!(f, some_state());
    }
}

#[test]
fn every_operation_is_there() {
    for &op in Op::ALL {
        for arg in [0, 1, 7, SRC_MEM, u32::MAX, 0x5555_5555] {
            let r = execute(&mut some_state(), op as u32, arg, 0x1000, &mut Limited::new(0x1400));
            assert!(r.is_ok(), "{op:?}: {r:?}");
        }
    }
}

#[test]
fn pending_exceptions_stop_waiting_operations() {
    use Op::*;
    for &op in Op::ALL {
        let mut f = pending_state();
        // The fault of the operand comes second.
        let r = execute(&mut f, op as u32, SRC_MEM, 0, &mut Limited::new(0));
        let waits = !matches!(
            op,
            Fninit
                | Fnclex
                | Fnstcw
                | FnstswM16
                | FnstswAx
                | Fnstenv
                | Fnstenv14
                | Fnsave
                | Fnsave94
                | Fnone
                | Fxsave
                | Fxrstor
                | SseFlags
        );
        assert_eq!(r == Err(Trap::Pending), waits, "{op:?}: {r:?}");
        if waits {
            assert_eq!(f, pending_state(), "{op:?}");
        }
    }
}

#[test]
fn faults_change_nothing() {
    for &op in Op::ALL {
        let size = operand_size(op);
        // Bytes 24..32 of the FXSAVE image are not accessed.
        let unused = |n| matches!(op, Op::Fxsave | Op::Fxrstor) && (24..32).contains(&n);
        for present in (0..size).filter(|&n| !unused(n)) {
            for state in [some_state(), Fpu::new()] {
                let mut f = state.clone();
                let mut mem = Limited::new(0x1000 + present);
                let r = execute(&mut f, op as u32, SRC_MEM, 0x1000, &mut mem);
                // Environments and state images are touched at their last byte first.
                let last_first = matches!(
                    op,
                    Op::Fnstenv
                        | Op::Fnstenv14
                        | Op::Fldenv
                        | Op::Fldenv14
                        | Op::Fnsave
                        | Op::Fnsave94
                        | Op::Frstor
                        | Op::Frstor94
                );
                let addr = 0x1000 + if last_first { size - 1 } else { present };
                assert_eq!(r, Err(Trap::Memory(MemFault { addr })), "{op:?} {present}");
                assert_eq!(f, state, "{op:?}");
            }
        }
        if op != Op::Maskmovq {
            let r = execute(&mut some_state(), op as u32, SRC_MEM, 0x1000, &mut Limited::new(0x1000 + size));
            assert!(r.is_ok(), "{op:?}: {r:?}");
        }
    }
}

#[test]
fn addresses_are_truncated() {
    let mut mem = Limited::new(0x1400);
    mem.bytes[8..16].copy_from_slice(&2.5f64.to_le_bytes());
    let mut f = Fpu::new();
    assert_eq!(execute(&mut f, Op::FldM64 as u32, 0, 0xdead_beef_0000_1008, &mut mem), Ok(0));
    assert_eq!(execute(&mut f, Op::FistpM32 as u32, 0, 0x1_0000_1010, &mut mem), Ok(0));
    assert_eq!(mem.bytes[16..20], 2i32.to_le_bytes());
}

#[test]
fn maskmovq_touches_all_bytes() {
    let mut f = Fpu::new();
    let mut mem = Limited::new(0x1008);
    mem.bytes[..8].copy_from_slice(&[9; 8]);
    let mut run = |op: Op, arg, addr| execute(&mut f, op as u32, arg, addr, &mut mem);
    run(Op::MovqMmR, mmx_arg(0, 0, 0), 0x0807_0605_0403_0201).unwrap();
    run(Op::MovqMmR, mmx_arg(1, 0, 0), 0x8000_8080).unwrap();
    assert_eq!(run(Op::Maskmovq, mmx_arg(0, 1, 0), 0x1000), Ok(0));
    // What the mask leaves out must be accessible all the same.
    run(Op::MovqMmR, mmx_arg(1, 0, 0), 0x80).unwrap();
    assert_eq!(run(Op::Maskmovq, mmx_arg(0, 1, 0), 0x1004), Err(Trap::Memory(MemFault { addr: 0x1008 })));
    assert_eq!(mem.bytes[..8], [1, 2, 9, 4, 9, 9, 9, 9]);
}

#[test]
fn images_hold_the_state() {
    for state in [some_state(), Fpu::new(), pending_state()] {
        assert_eq!(Fpu::from_fxsave(&state.to_fxsave()), state);
        for (save, restore) in [(Op::Fxsave, Op::Fxrstor), (Op::Fnsave, Op::Frstor), (Op::Fnsave94, Op::Frstor94)] {
            let mut mem = Limited::new(0x1400);
            let mut f = state.clone();
            assert_eq!(execute(&mut f, save as u32, 0, 0x1010, &mut mem), Ok(0));
            let mut back = Fpu::new();
            assert_eq!(execute(&mut back, restore as u32, 0, 0x1010, &mut mem), Ok(0));
            assert_eq!(back, state, "{save:?}");
            // `fnsave` leaves what `fninit` does; registers keep their contents but are empty.
            if save != Op::Fxsave {
                assert_eq!((f.control_word(), f.status_word(), f.tag_word()), (0x37f, 0, 0xffff));
            }
        }
    }
}

#[test]
fn fxsave_leaves_mxcsr_alone() {
    let mut mem = Limited::new(0x1400);
    mem.bytes.fill(0xaa);
    assert_eq!(execute(&mut some_state(), Op::Fxsave as u32, 0, 0x1000, &mut mem), Ok(0));
    assert_eq!(mem.bytes[24..32], [0xaa; 8]);
    assert_eq!(mem.bytes[160..], [0xaa; 864]);
    assert_eq!(mem.bytes[..6], [0x7f, 3, 0, 0x28, 0xe0, 0]);
}

#[test]
fn tag_word_tells_kinds_apart() {
    // st0 = 1 in R5, log2(10) in R6, 0 in R7.
    assert_eq!(some_state().tag_word(), 0x43ff);
    let mut f = some_state();
    let mut mem = Limited::new(0x1400);
    mem.bytes[..10].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x7f]);
    assert_eq!(execute(&mut f, Op::FldM80 as u32, 0, 0x1000, &mut mem), Ok(0));
    assert_eq!(f.tag_word(), 0x42ff);
}
