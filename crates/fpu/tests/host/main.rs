//! Every operation against the host CPU, bit for bit: load a state with FXRSTOR, run the instruction, FXSAVE, compare.
//!
//! `FPU_ROUNDS` sets the number of random states per instruction (default 4000).

#![cfg(target_arch = "x86_64")]

mod cpu;
mod gen_state;
mod mmx;
mod sse;
mod transcendental;
mod x87;

use megalith_fpu::ops::{Op, execute};
use megalith_fpu::{Fpu, MemFault, Memory};

use cpu::{Cpu, Image};

/// What an instruction's operand is.
#[derive(Clone, Copy, PartialEq)]
pub enum Form {
    /// The encoding is complete.
    None,
    /// The last byte is to be increased by `i` of st(i).
    Sti,
    /// The last byte is a ModRM reg field; memory at `[rdx]`.
    Mem,
}

/// One instruction under test.
#[derive(Clone, Copy)]
pub struct Case {
    pub op: Op,
    pub code: &'static [u8],
    pub form: Form,
}

/// Guest memory of a test: 128 bytes at address 0.
pub struct Bytes(pub [u8; 128]);

impl Memory for Bytes {
    fn read(&mut self, addr: u32, buf: &mut [u8]) -> Result<(), MemFault> {
        let at = addr as usize;
        buf.copy_from_slice(self.0.get(at..at + buf.len()).ok_or(MemFault { addr: addr.max(128) })?);
        Ok(())
    }
    fn write(&mut self, addr: u32, buf: &[u8]) -> Result<(), MemFault> {
        let at = addr as usize;
        self.0.get_mut(at..at + buf.len()).ok_or(MemFault { addr: addr.max(128) })?.copy_from_slice(buf);
        Ok(())
    }
}

/// Outcome of one run, host or software.
#[derive(PartialEq, Clone)]
pub struct Outcome {
    pub state: [u8; 160],
    pub mem: [u8; 128],
    pub rax: u64,
    pub rflags: u64,
    /// xmm0.
    pub xmm: [u64; 2],
    pub mxcsr: u32,
}

pub fn rounds() -> usize {
    std::env::var("FPU_ROUNDS").ok().and_then(|s| s.parse().ok()).unwrap_or(4000)
}

/// The parts of the image that count: control, status, tags, and the ten bytes of each register.
pub fn strip(image: &Image) -> [u8; 160] {
    let mut b = [0; 160];
    b[..5].copy_from_slice(&image.0[..5]);
    for i in 0..8 {
        b[32 + 16 * i..][..10].copy_from_slice(&image.0[32 + 16 * i..][..10]);
    }
    b
}

pub fn show(b: &[u8; 160]) -> String {
    let w = |i: usize| u16::from_le_bytes([b[i], b[i + 1]]);
    let mut s = format!("cw {:04x} sw {:04x} tags {:02x}", w(0), w(2), b[4]);
    for i in 0..8 {
        let at = 32 + 16 * i;
        let sig = u64::from_le_bytes(b[at..at + 8].try_into().unwrap());
        s += &format!(" {:04x}:{sig:016x}", w(at + 8));
    }
    s
}

/// Runs an instruction on the host and, as one or more calls `(arg, addr)`, in software: both outcomes, the results, and the gathered
/// SSE flags.
pub fn run(
    cpu: &mut Cpu,
    op: Op,
    image: &Image,
    mem: &[u8; 128],
    calls: &[(u32, u64)],
    rax: u64,
    rflags: u64,
) -> (Outcome, Outcome, Vec<Result<i64, megalith_fpu::Trap>>, u32) {
    let (out, hmem, hrax, hflags) = cpu.run(image, mem, rax, rflags);
    let (xmm, mxcsr) = sse_part(&out);
    let host = Outcome { state: strip(&out), mem: hmem, rax: hrax, rflags: hflags, xmm, mxcsr };
    let mut fpu = Fpu::from_fxsave(&image.0[..160].try_into().unwrap());
    let mut smem = Bytes(*mem);
    let results: Vec<_> =
        calls.iter().map(|&(arg, value)| execute(&mut fpu, op as u32, arg, value, &mut smem)).collect();
    let flags = execute(&mut fpu, Op::SseFlags as u32, 0, 0, &mut smem).unwrap_or(0) as u32;
    let (xmm, mxcsr) = sse_part(image);
    let soft = Outcome { state: fpu.to_fxsave(), mem: smem.0, rax, rflags, xmm, mxcsr };
    (host, soft, results, flags)
}

/// xmm0 and MXCSR.
fn sse_part(image: &Image) -> ([u64; 2], u32) {
    let q = |at: usize| u64::from_le_bytes(image.0[at..at + 8].try_into().unwrap());
    ([q(160), q(168)], q(24) as u32)
}
