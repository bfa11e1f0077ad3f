//! The complete register state of one run, as both executors take and return it.

/// Index of rsp in [`State::gpr`].
pub const RSP: usize = 4;

/// An FXSAVE image (Intel SDM Vol. 1, Table 10-2).
#[repr(C, align(16))]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FxArea(pub [u8; 512]);

impl Default for FxArea {
    /// The state after FNINIT with MXCSR's reset value.
    fn default() -> Self {
        let mut fx = FxArea([0; 512]);
        fx.set_fcw(0x37f);
        fx.set_mxcsr(0x1f80);
        fx
    }
}

macro_rules! field {
    ($get:ident, $set:ident, $ty:ty, $at:expr, $doc:expr) => {
        #[doc = $doc]
        pub fn $get(&self) -> $ty {
            let mut b = [0; size_of::<$ty>()];
            b.copy_from_slice(&self.0[$at..$at + size_of::<$ty>()]);
            <$ty>::from_le_bytes(b)
        }
        #[doc = concat!("Sets: ", $doc)]
        pub fn $set(&mut self, v: $ty) {
            self.0[$at..$at + size_of::<$ty>()].copy_from_slice(&v.to_le_bytes());
        }
    };
}

impl FxArea {
    field!(fcw, set_fcw, u16, 0, "x87 control word.");
    field!(fsw, set_fsw, u16, 2, "x87 status word.");
    field!(ftw, set_ftw, u8, 4, "Abridged x87 tag word: bit i is set when *physical* register i is not empty.");
    field!(mxcsr, set_mxcsr, u32, 24, "MXCSR.");
    field!(mxcsr_mask, set_mxcsr_mask, u32, 28, "Mask of MXCSR bits that the CPU has.");

    /// The 10 bytes of x87 register ST(i) (relative to the top of stack); MMX registers lie in the low 8.
    pub fn st(&self, i: usize) -> [u8; 10] {
        let mut b = [0; 10];
        let at = 32 + (i & 7) * 16;
        b.copy_from_slice(&self.0[at..at + 10]);
        b
    }
    /// Sets ST(i).
    pub fn set_st(&mut self, i: usize, v: [u8; 10]) {
        let at = 32 + (i & 7) * 16;
        self.0[at..at + 10].copy_from_slice(&v);
    }
    /// XMM register `i`.
    pub fn xmm(&self, i: usize) -> u128 {
        let mut b = [0; 16];
        let at = 160 + (i & 15) * 16;
        b.copy_from_slice(&self.0[at..at + 16]);
        u128::from_le_bytes(b)
    }
    /// Sets XMM register `i`.
    pub fn set_xmm(&mut self, i: usize, v: u128) {
        let at = 160 + (i & 15) * 16;
        self.0[at..at + 16].copy_from_slice(&v.to_le_bytes());
    }
}

/// All registers that an unprivileged 64-bit program has, AVX and later apart.
#[repr(C, align(16))]
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct State {
    /// General registers in encoding order.
    pub gpr: [u64; 16],
    /// CF PF AF ZF SF DF OF at their architectural places; bit 1 is set.
    pub rflags: u64,
    /// Base that the fs: prefix adds.
    pub fs_base: u64,
    /// Base that the gs: prefix adds.
    pub gs_base: u64,
    pad: u64,
    /// x87, MMX, SSE.
    pub fx: FxArea,
}

/// RFLAGS bits that are part of the state.
pub const FLAGS: u64 = CF | PF | AF | ZF | SF | DF | OF;
/// Carry.
pub const CF: u64 = 1;
/// Parity.
pub const PF: u64 = 4;
/// Auxiliary carry.
pub const AF: u64 = 0x10;
/// Zero.
pub const ZF: u64 = 0x40;
/// Sign.
pub const SF: u64 = 0x80;
/// Direction.
pub const DF: u64 = 0x400;
/// Overflow.
pub const OF: u64 = 0x800;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Completed; the next instruction is at this address.
    Done(u64),
    /// Faulted.
    Fault(Fault),
}

/// A fault as Linux reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Signal number.
    pub signal: i32,
    /// `si_code`.
    pub code: i32,
    /// `si_addr`: for SIGSEGV the data address, for SIGFPE and SIGILL the instruction's.
    pub addr: u64,
    /// The instruction pointer in the signal frame.
    pub pc: u64,
}
