//! Software floating point of an x86-64 guest.
//!
//! * [`Fpu`]: the x87 register file and its images (FXSAVE, FNSTENV, FNSAVE); MMX registers alias it.
//! * [`ops`]: every x87 and MMX instruction as a numbered operation, for recompiled code.
//! * [`sse`]: scalar SSE arithmetic with an explicit MXCSR, where host arithmetic does not do.
//!
//! All results come from integer arithmetic, so that every host gives the same bits. The behaviour follows the Intel SDM, volume 1,
//! chapter 8 and the instruction pages of volume 2. Where processors differ, this is what AMD ones (Zen 4) do; `tests/host` compares
//! with the processor it runs on:
//!
//! * a denormal divided by zero raises ZE only, not DE;
//! * `fld m32`/`m64` of a denormal pushes it even when DE is not masked;
//! * `fcom` and `fcomi` deliver the unordered result even when IE is not masked (the SDM: flags stay), `fcomp` then does not pop;
//! * `fcomi` and `fcmov` leave C1 alone unless the stack underflows;
//! * `fprem` and `fprem1` leave C0 and C3 alone when the result is a NaN;
//! * `fyl2x`, `fyl2xp1` and `f2xm1` set PE for exact results too, and go on for arguments out of their range;
//! * `emms` sets TOP to 0; the memory forms of `cvtpi2ps` and `cvtpi2pd` do not enter MMX state.
//!
//! Not kept: instruction and operand pointers and the last opcode, which read as 0.

#![forbid(unsafe_code)]

mod f80;
mod fpu;
mod mmx;
mod num;
pub mod ops;
pub mod sse;
mod transcendental;
mod x87;

pub use fpu::Fpu;

/// A guest memory access failed; nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemFault {
    /// Address of the first byte that cannot be accessed.
    pub addr: u32,
}

/// The guest's memory as operations see it. Addresses wrap at 4 GiB.
pub trait Memory {
    /// Reads `buf.len()` bytes at `addr`.
    fn read(&mut self, addr: u32, buf: &mut [u8]) -> Result<(), MemFault>;
    /// Writes `buf` at `addr`, all or nothing.
    fn write(&mut self, addr: u32, buf: &[u8]) -> Result<(), MemFault>;
}

/// Why an operation was not executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trap {
    /// A memory operand faulted (#PF): SIGSEGV or SIGBUS.
    Memory(MemFault),
    /// An unmasked x87 exception is pending (#MF): SIGFPE.
    Pending,
    /// No such operation (#UD): SIGILL.
    Undefined,
}

impl From<MemFault> for Trap {
    fn from(f: MemFault) -> Trap {
        Trap::Memory(f)
    }
}
