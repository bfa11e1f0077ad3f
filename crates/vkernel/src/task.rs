//! One running guest process on its host thread: what the engine calls.

use crate::mm::Slot;
use crate::program::Program;
use crate::regs::{Machine, Regs};
use megalith_abi::Reason;
use std::sync::Arc;

/// How a task begins.
pub enum Start {
    /// A fresh instance; call `_dispatch` with the words of the hash. `rsp` is what `vkernel.start` returns.
    Program { rsp: u64, hash: [u64; 4] },
    /// A fork child: an instance of the same projection; store the registers, then call `_resume`.
    Resume(Box<Regs>),
}

/// Result of a syscall for the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The value for rax.
    Return(i64),
    /// Return [`megalith_abi::UNWIND`]; registers are in the globals, `resolve` follows.
    Unwind,
}

/// A host fault in guest code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultInfo {
    /// Guest address (offset in memory 0) that was accessed; up to 4 GiB + guard.
    pub addr: u64,
    /// The access was a write, where the host tells.
    pub write: Option<bool>,
}

/// One running guest process (with its vfork children) on this host thread.
pub struct Task {
    program: Arc<Program>,
    slot: Arc<Slot>,
}

impl Task {
    /// The program to make an instance of.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// The memories to make an instance on. Keep the `Arc` as long as the instance lives.
    pub fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    /// `vkernel.start`: the initial stack pointer (of [`Start::Program`]).
    pub fn start(&self) -> u64 {
        0
    }

    /// `vkernel.syscall`.
    pub fn syscall(&mut self, _m: &mut dyn Machine, _nr: u64, _args: [u64; 6]) -> Outcome {
        Outcome::Return(-38)
    }

    /// `vkernel.resolve`: (table index, label) at which the trampoline goes on, or `None` to leave it: the task has ended.
    /// Delivers signals first; may change all registers, `pc` included.
    pub fn resolve(&mut self, _m: &mut dyn Machine, _pc: u64) -> Option<(u32, u32)> {
        None
    }

    /// `vkernel.unwound`.
    pub fn unwound(&mut self, _m: &mut dyn Machine, _reason: Reason) {}

    /// A host fault in guest code: the instance's frames are gone. True: call `_resume` (a handler runs, or the process ends in `resolve`).
    pub fn fault(&mut self, _m: &mut dyn Machine, _info: FaultInfo) -> bool {
        true
    }

    /// The guest exhausted the host stack or trapped in some other way than by a memory access: kills the process with SIGSEGV.
    pub fn trap(&mut self, _m: &mut dyn Machine, _what: &str) {}

    /// `vkernel.x87`.
    pub fn x87(&mut self, _m: &mut dyn Machine, _op: u32, _arg: u32, _addr: u64) -> i64 {
        0
    }

    /// `vkernel.cpuid`: (eax, ebx, ecx, edx).
    pub fn cpuid(&mut self, _leaf: u32, _subleaf: u32) -> (u32, u32, u32, u32) {
        (0, 0, 0, 0)
    }

    /// `vkernel.rdtsc`.
    pub fn rdtsc(&mut self) -> u64 {
        0
    }

    /// `vkernel.notice`.
    pub fn notice(&mut self, _kind: u32, _arg: u64) {}
}
