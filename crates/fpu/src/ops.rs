//! The operations that recompiled code asks for by number: `vkernel.x87(op, arg, addr) -> i64`.
//!
//! Each x87 and MMX instruction of 64-bit mode is one [`Op`] (the two-destination SSE2 conversions take two calls).
//!
//! # Operands
//!
//! * x87 operations: `arg` is the register number `i` of `st(i)`; operations with a memory operand take its effective
//!   address in `addr` (truncated to 32 bits). Everything else is ignored.
//! * MMX operations: `arg` is built by [`mmx_arg`]: bits 0..=2 the destination register (or the only one), bits 4..=6
//!   the source register, bit 7 ([`SRC_MEM`]) says that the source is memory at `addr` instead, bits 8..=15 the
//!   immediate byte, bits 16..=31 the low half of MXCSR (conversions only).
//! * Operations with a general register or half an xmm register as operand take its value in `addr`.
//!
//! # Results
//!
//! 0 unless the description of the operation says otherwise.
//!
//! # Waiting
//!
//! Every operation except the `Fn*` ones, `Fxsave` and `Fxrstor` first answers [`Trap::Pending`] when an unmasked exception is
//! pending (#MF). An operation that meets an unmasked exception itself records it and returns `Ok`.

use crate::{Fpu, Memory, Trap, mmx, x87};

/// `arg` bit of MMX operations: the source operand is memory at `addr`.
pub const SRC_MEM: u32 = 1 << 7;

/// `arg` of an MMX operation: destination register, source register, immediate byte.
pub const fn mmx_arg(dst: u32, src: u32, imm: u8) -> u32 {
    (dst & 7) | (src & 7) << 4 | (imm as u32) << 8
}

macro_rules! ops {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// One operation; the discriminant is the `op` argument of `vkernel.x87`.
        #[repr(u32)]
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        pub enum Op { $($(#[$doc])* $name,)* }

        impl Op {
            /// All operations in numerical order.
            pub const ALL: &'static [Op] = &[$(Op::$name,)*];
        }
    };
}

impl Op {
    /// The operation with number `n`.
    pub fn from_u32(n: u32) -> Option<Op> {
        Op::ALL.get(n as usize).copied()
    }
}

ops! {
    // ---- x87: loads -------------------------------------------------------------------------------------------
    /// `fld m32fp`: push.
    FldM32,
    /// `fld m64fp`: push.
    FldM64,
    /// `fld m80fp`: push.
    FldM80,
    /// `fld st(i)`: push.
    FldSti,
    /// `fild m16int`.
    FildM16,
    /// `fild m32int`.
    FildM32,
    /// `fild m64int`.
    FildM64,
    /// `fbld m80bcd`.
    Fbld,
    /// `fld1`.
    Fld1,
    /// `fldl2t`: log2(10), rounded by RC.
    Fldl2t,
    /// `fldl2e`: log2(e), rounded by RC.
    Fldl2e,
    /// `fldpi`, rounded by RC.
    Fldpi,
    /// `fldlg2`: log10(2), rounded by RC.
    Fldlg2,
    /// `fldln2`: ln(2), rounded by RC.
    Fldln2,
    /// `fldz`.
    Fldz,

    // ---- x87: stores ------------------------------------------------------------------------------------------
    /// `fst m32fp`.
    FstM32,
    /// `fst m64fp`.
    FstM64,
    /// `fst st(i)`.
    FstSti,
    /// `fstp m32fp`.
    FstpM32,
    /// `fstp m64fp`.
    FstpM64,
    /// `fstp m80fp`.
    FstpM80,
    /// `fstp st(i)` (also the aliases DF D0+i, DF D8+i, and `fstpnce` D9 D8+i).
    FstpSti,
    /// `fist m16int`.
    FistM16,
    /// `fist m32int`.
    FistM32,
    /// `fistp m16int`.
    FistpM16,
    /// `fistp m32int`.
    FistpM32,
    /// `fistp m64int`.
    FistpM64,
    /// `fisttp m16int`.
    FisttpM16,
    /// `fisttp m32int`.
    FisttpM32,
    /// `fisttp m64int`.
    FisttpM64,
    /// `fbstp m80bcd`.
    Fbstp,

    // ---- x87: arithmetic. `St0Sti`: st0 = st0 op st(i). `StiSt0`: st(i) = st(i) op st0 (reversed forms swap the
    // operands, not the destination). `Pop`: `StiSt0`, then pop. ---------------------------------------------------
    /// `fadd m32fp`.
    FaddM32,
    /// `fadd m64fp`.
    FaddM64,
    /// `fiadd m16int`.
    FiaddM16,
    /// `fiadd m32int`.
    FiaddM32,
    /// `fadd st0, st(i)`.
    FaddSt0Sti,
    /// `fadd st(i), st0`.
    FaddStiSt0,
    /// `faddp st(i), st0`.
    FaddpStiSt0,
    /// `fmul m32fp`.
    FmulM32,
    /// `fmul m64fp`.
    FmulM64,
    /// `fimul m16int`.
    FimulM16,
    /// `fimul m32int`.
    FimulM32,
    /// `fmul st0, st(i)`.
    FmulSt0Sti,
    /// `fmul st(i), st0`.
    FmulStiSt0,
    /// `fmulp st(i), st0`.
    FmulpStiSt0,
    /// `fsub m32fp`: st0 - m.
    FsubM32,
    /// `fsub m64fp`.
    FsubM64,
    /// `fisub m16int`.
    FisubM16,
    /// `fisub m32int`.
    FisubM32,
    /// `fsub st0, st(i)`: st0 = st0 - st(i).
    FsubSt0Sti,
    /// `fsub st(i), st0` (DC E8+i): st(i) = st(i) - st0.
    FsubStiSt0,
    /// `fsubp st(i), st0` (DE E8+i).
    FsubpStiSt0,
    /// `fsubr m32fp`: m - st0.
    FsubrM32,
    /// `fsubr m64fp`.
    FsubrM64,
    /// `fisubr m16int`.
    FisubrM16,
    /// `fisubr m32int`.
    FisubrM32,
    /// `fsubr st0, st(i)`: st0 = st(i) - st0.
    FsubrSt0Sti,
    /// `fsubr st(i), st0` (DC E0+i): st(i) = st0 - st(i).
    FsubrStiSt0,
    /// `fsubrp st(i), st0` (DE E0+i).
    FsubrpStiSt0,
    /// `fdiv m32fp`: st0 / m.
    FdivM32,
    /// `fdiv m64fp`.
    FdivM64,
    /// `fidiv m16int`.
    FidivM16,
    /// `fidiv m32int`.
    FidivM32,
    /// `fdiv st0, st(i)`: st0 = st0 / st(i).
    FdivSt0Sti,
    /// `fdiv st(i), st0` (DC F8+i): st(i) = st(i) / st0.
    FdivStiSt0,
    /// `fdivp st(i), st0` (DE F8+i).
    FdivpStiSt0,
    /// `fdivr m32fp`: m / st0.
    FdivrM32,
    /// `fdivr m64fp`.
    FdivrM64,
    /// `fidivr m16int`.
    FidivrM16,
    /// `fidivr m32int`.
    FidivrM32,
    /// `fdivr st0, st(i)`: st0 = st(i) / st0.
    FdivrSt0Sti,
    /// `fdivr st(i), st0` (DC F0+i): st(i) = st0 / st(i).
    FdivrStiSt0,
    /// `fdivrp st(i), st0` (DE F0+i).
    FdivrpStiSt0,

    // ---- x87: comparison --------------------------------------------------------------------------------------
    /// `fcom m32fp`.
    FcomM32,
    /// `fcom m64fp`.
    FcomM64,
    /// `ficom m16int`.
    FicomM16,
    /// `ficom m32int`.
    FicomM32,
    /// `fcom st(i)` (also the alias DC D0+i).
    FcomSti,
    /// `fcomp m32fp`.
    FcompM32,
    /// `fcomp m64fp`.
    FcompM64,
    /// `ficomp m16int`.
    FicompM16,
    /// `ficomp m32int`.
    FicompM32,
    /// `fcomp st(i)` (also the aliases DC D8+i, DE D0+i).
    FcompSti,
    /// `fcompp`.
    Fcompp,
    /// `fucom st(i)`.
    Fucom,
    /// `fucomp st(i)`.
    Fucomp,
    /// `fucompp`.
    Fucompp,
    /// `fcomi st0, st(i)`. Result: ZF (0x40), PF (4) and CF (1) of rflags; OF, SF and AF are cleared by the instruction.
    Fcomi,
    /// `fcomip st0, st(i)`; as [`Op::Fcomi`].
    Fcomip,
    /// `fucomi st0, st(i)`; as [`Op::Fcomi`].
    Fucomi,
    /// `fucomip st0, st(i)`; as [`Op::Fcomi`].
    Fucomip,
    /// `ftst`.
    Ftst,
    /// `fxam`.
    Fxam,

    // ---- x87: other arithmetic --------------------------------------------------------------------------------
    /// `fchs`.
    Fchs,
    /// `fabs`.
    Fabs,
    /// `fsqrt`.
    Fsqrt,
    /// `frndint`.
    Frndint,
    /// `fscale`.
    Fscale,
    /// `fxtract`.
    Fxtract,
    /// `fprem`.
    Fprem,
    /// `fprem1`.
    Fprem1,
    /// `f2xm1`.
    F2xm1,
    /// `fyl2x`.
    Fyl2x,
    /// `fyl2xp1`.
    Fyl2xp1,
    /// `fptan`.
    Fptan,
    /// `fpatan`.
    Fpatan,
    /// `fsin`.
    Fsin,
    /// `fcos`.
    Fcos,
    /// `fsincos`.
    Fsincos,

    // ---- x87: stack and control -------------------------------------------------------------------------------
    /// `fcmovcc st0, st(i)` for all eight conditions: `addr` is non-zero when the condition holds.
    Fcmov,
    /// `fxch st(i)` (also the aliases DD C8+i, DF C8+i).
    Fxch,
    /// `ffree st(i)`.
    Ffree,
    /// `ffreep st(i)` (DF C0+i).
    Ffreep,
    /// `fincstp`.
    Fincstp,
    /// `fdecstp`.
    Fdecstp,
    /// `fninit`. Does not wait.
    Fninit,
    /// `fnclex`. Does not wait.
    Fnclex,
    /// `fnstcw m16`. Does not wait.
    Fnstcw,
    /// `fldcw m16`.
    Fldcw,
    /// `fnstsw m16`. Does not wait.
    FnstswM16,
    /// `fnstsw ax`. Does not wait. Result: the status word.
    FnstswAx,
    /// `fnstenv m28byte`. Does not wait.
    Fnstenv,
    /// `fldenv m28byte`.
    Fldenv,
    /// `fnsave m108byte`. Does not wait.
    Fnsave,
    /// `frstor m108byte`.
    Frstor,
    /// `fnstenv m14byte` (operand size prefix). Does not wait.
    Fnstenv14,
    /// `fldenv m14byte`.
    Fldenv14,
    /// `fnsave m94byte`. Does not wait.
    Fnsave94,
    /// `frstor m94byte`.
    Frstor94,
    /// `fwait`/`wait`: answers [`Trap::Pending`] or does nothing. Emit it in front of the `fn` operation for `fstcw` and its like.
    Fwait,
    /// `fnop`: as [`Op::Fwait`].
    Fnop,
    /// `fneni`, `fndisi`, `fnsetpm`, `frstpm`: nothing. Does not wait.
    Fnone,
    /// The x87 part of `fxsave`/`fxsave64` at `addr`: bytes 0..24 and 32..160. MXCSR, its mask and the xmm registers are the caller's.
    /// The whole 512 byte area is checked for by the caller (#GP when misaligned). Does not wait.
    Fxsave,
    /// The x87 part of `fxrstor`/`fxrstor64` at `addr`: bytes 0..24 and 32..160. Does not wait.
    Fxrstor,

    // ---- MMX: moves -------------------------------------------------------------------------------------------
    /// `emms`.
    Emms,
    /// `movd mm, r32`: register `dst` = zero-extended low half of `addr`.
    MovdMmR,
    /// `movq mm, r64`, `movdq2q mm, xmm`: register `dst` = `addr` (the low half of xmm).
    MovqMmR,
    /// `movd r32, mm`: result: the low half of register `src`, zero-extended.
    MovdRMm,
    /// `movq r64, mm`, `movq2dq xmm, mm`: result: register `src`.
    MovqRMm,
    /// `movd mm, m32`: register `dst` from memory.
    MovdMmM32,
    /// `movd m32, mm`: register `src` to memory.
    MovdM32Mm,
    /// `movq mm, mm/m64`.
    MovqMmMm,
    /// `movq m64, mm` and `movntq m64, mm`: register `src` to memory.
    MovqM64Mm,
    /// `maskmovq mm, mm`: `dst` is the data register, `src` the mask, `addr` the destination (from rdi).
    Maskmovq,
    /// `pmovmskb r32, mm`: result: the mask of register `src`.
    Pmovmskb,
    /// `pextrw r32, mm, imm8`: result: the word of register `src`.
    Pextrw,
    /// `pinsrw mm, r32, imm8`: `addr` is the value; with [`SRC_MEM`], the address of a 16-bit word (`m16` form).
    Pinsrw,
    /// `pshufw mm, mm/m64, imm8`.
    Pshufw,

    // ---- MMX: `op mm, mm/m64` ---------------------------------------------------------------------------------
    /// `punpcklbw mm, mm/m32` (reads 4 bytes of memory).
    Punpcklbw,
    /// `punpcklwd mm, mm/m32` (reads 4 bytes of memory).
    Punpcklwd,
    /// `punpckldq mm, mm/m32` (reads 4 bytes of memory).
    Punpckldq,
    /// `punpckhbw`.
    Punpckhbw,
    /// `punpckhwd`.
    Punpckhwd,
    /// `punpckhdq`.
    Punpckhdq,
    /// `packsswb`.
    Packsswb,
    /// `packssdw`.
    Packssdw,
    /// `packuswb`.
    Packuswb,
    /// `pcmpgtb`.
    Pcmpgtb,
    /// `pcmpgtw`.
    Pcmpgtw,
    /// `pcmpgtd`.
    Pcmpgtd,
    /// `pcmpeqb`.
    Pcmpeqb,
    /// `pcmpeqw`.
    Pcmpeqw,
    /// `pcmpeqd`.
    Pcmpeqd,
    /// `paddb`.
    Paddb,
    /// `paddw`.
    Paddw,
    /// `paddd`.
    Paddd,
    /// `paddq`.
    Paddq,
    /// `paddsb`.
    Paddsb,
    /// `paddsw`.
    Paddsw,
    /// `paddusb`.
    Paddusb,
    /// `paddusw`.
    Paddusw,
    /// `psubb`.
    Psubb,
    /// `psubw`.
    Psubw,
    /// `psubd`.
    Psubd,
    /// `psubq`.
    Psubq,
    /// `psubsb`.
    Psubsb,
    /// `psubsw`.
    Psubsw,
    /// `psubusb`.
    Psubusb,
    /// `psubusw`.
    Psubusw,
    /// `pmullw`.
    Pmullw,
    /// `pmulhw`.
    Pmulhw,
    /// `pmulhuw`.
    Pmulhuw,
    /// `pmaddwd`.
    Pmaddwd,
    /// `pmuludq`.
    Pmuludq,
    /// `pand`.
    Pand,
    /// `pandn`.
    Pandn,
    /// `por`.
    Por,
    /// `pxor`.
    Pxor,
    /// `psllw mm, mm/m64`.
    Psllw,
    /// `pslld mm, mm/m64`.
    Pslld,
    /// `psllq mm, mm/m64`.
    Psllq,
    /// `psrlw mm, mm/m64`.
    Psrlw,
    /// `psrld mm, mm/m64`.
    Psrld,
    /// `psrlq mm, mm/m64`.
    Psrlq,
    /// `psraw mm, mm/m64`.
    Psraw,
    /// `psrad mm, mm/m64`.
    Psrad,
    /// `psllw mm, imm8`.
    PsllwImm,
    /// `pslld mm, imm8`.
    PslldImm,
    /// `psllq mm, imm8`.
    PsllqImm,
    /// `psrlw mm, imm8`.
    PsrlwImm,
    /// `psrld mm, imm8`.
    PsrldImm,
    /// `psrlq mm, imm8`.
    PsrlqImm,
    /// `psraw mm, imm8`.
    PsrawImm,
    /// `psrad mm, imm8`.
    PsradImm,
    /// `pavgb`.
    Pavgb,
    /// `pavgw`.
    Pavgw,
    /// `pminub`.
    Pminub,
    /// `pmaxub`.
    Pmaxub,
    /// `pminsw`.
    Pminsw,
    /// `pmaxsw`.
    Pmaxsw,
    /// `psadbw`.
    Psadbw,
    /// `pshufb` (SSSE3).
    Pshufb,
    /// `phaddw`.
    Phaddw,
    /// `phaddd`.
    Phaddd,
    /// `phaddsw`.
    Phaddsw,
    /// `phsubw`.
    Phsubw,
    /// `phsubd`.
    Phsubd,
    /// `phsubsw`.
    Phsubsw,
    /// `pmaddubsw`.
    Pmaddubsw,
    /// `pmulhrsw`.
    Pmulhrsw,
    /// `psignb`.
    Psignb,
    /// `psignw`.
    Psignw,
    /// `psignd`.
    Psignd,
    /// `pabsb`.
    Pabsb,
    /// `pabsw`.
    Pabsw,
    /// `pabsd`.
    Pabsd,
    /// `palignr mm, mm/m64, imm8`.
    Palignr,

    // ---- MMX: conversions. Bits 16..=31 of `arg` are MXCSR; flags raised are gathered for `SseFlags`. ----------------
    /// `cvtpi2ps xmm, mm/m64`, source register `src` or memory. Result: two f32, the new low half of xmm.
    Cvtpi2ps,
    /// `cvtpi2pd xmm, mm/m64`, source register `src` or memory. Bit 8 of `arg` (the immediate) chooses the element.
    /// Result: one f64, the new low (0) or high (1) half of xmm.
    Cvtpi2pd,
    /// `cvtps2pi mm, xmm/m64`: `addr` holds two f32 (the low half of xmm), or with [`SRC_MEM`] their address.
    Cvtps2pi,
    /// `cvttps2pi mm, xmm/m64`; as [`Op::Cvtps2pi`].
    Cvttps2pi,
    /// `cvtpd2pi mm, xmm/m128`: `addr` holds one f64; bit 8 of `arg` (the immediate) says which half of xmm it is and so which
    /// half of the register to write. Two calls; the caller loads (and checks the alignment of) a memory operand.
    Cvtpd2pi,
    /// `cvttpd2pi mm, xmm/m128`; as [`Op::Cvtpd2pi`].
    Cvttpd2pi,
    /// Result: the MXCSR exception flags (bits 0..=5) raised by conversions since the last call, which it forgets. Does not wait.
    SseFlags,
}

/// Runs operation `op` (an [`Op`] number) on `fpu`.
///
/// A memory fault leaves the FPU state as it was. Unknown numbers are [`Trap::Undefined`].
pub fn execute(fpu: &mut Fpu, op: u32, arg: u32, addr: u64, mem: &mut dyn Memory) -> Result<i64, Trap> {
    let op = Op::from_u32(op).ok_or(Trap::Undefined)?;
    if waits(op) && fpu.pending() {
        return Err(Trap::Pending);
    }
    x87::execute(fpu, op, arg as usize & 7, addr, mem)
        .or_else(|| mmx::execute(fpu, op, arg, addr, mem))
        .unwrap_or(Err(Trap::Undefined))
}

/// Whether `op` raises #MF for a pending exception first.
fn waits(op: Op) -> bool {
    use Op::*;
    !matches!(
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
    )
}
