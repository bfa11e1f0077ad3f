//! Access to the register globals of the calling instance.

use megalith_abi::Gpr;

/// The complete register state of a guest process, x87/MMX apart (that is the task's own).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regs {
    /// General registers in x86 numbering order (rax rcx rdx rbx rsp rbp rsi rdi r8..r15).
    pub gpr: [u64; 16],
    /// SSE registers.
    pub xmm: [u128; 16],
    pub fs_base: u64,
    pub gs_base: u64,
    /// Arithmetic flags and DF at their architectural bits; bit 1 is set.
    pub rflags: u64,
    /// Guest address at which code goes on.
    pub pc: u64,
    pub mxcsr: u32,
}

impl Default for Regs {
    fn default() -> Regs {
        Regs { gpr: [0; 16], xmm: [0; 16], fs_base: 0, gs_base: 0, rflags: 0x202, pc: 0, mxcsr: 0x1f80 }
    }
}

impl Regs {
    /// One general register.
    pub fn get(&self, r: Gpr) -> u64 {
        self.gpr[r as usize]
    }
    /// Sets one general register.
    pub fn set(&mut self, r: Gpr, v: u64) {
        self.gpr[r as usize] = v;
    }
}

/// The register globals of the instance that called the kernel. Implemented by the engine (and by tests).
pub trait Machine {
    /// All registers.
    fn load(&mut self) -> Regs;
    /// Replaces all registers.
    fn store(&mut self, regs: &Regs);
    /// One general register.
    fn gpr(&mut self, r: Gpr) -> u64;
    /// Sets one general register.
    fn set_gpr(&mut self, r: Gpr, v: u64);
    /// The global `pc`.
    fn pc(&mut self) -> u64;
    /// Sets the global `pc`.
    fn set_pc(&mut self, pc: u64);
    /// Base of the fs: segment.
    fn fs_base(&mut self) -> u64;
    /// Sets the base of the fs: segment.
    fn set_fs_base(&mut self, v: u64);
    /// Base of the gs: segment.
    fn gs_base(&mut self) -> u64;
    /// Sets the base of the gs: segment.
    fn set_gs_base(&mut self, v: u64);
}
