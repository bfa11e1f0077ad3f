//! x87 and MMX: every instruction is one call of `vkernel.x87`, whose state lives outside of the guest (crate `megalith-fpu`).

use super::Gen;
use super::flags::Fl;
use super::index;
use crate::regs::*;
use iced_x86::{Code, ConditionCode, Instruction, OpKind, Register};
use megalith_abi::Global;
use megalith_fpu::ops::{Op, SRC_MEM, mmx_arg};
use wasm_encoder::{BlockType, ValType};

/// The x87 operation of an instruction form that needs nothing but its operand.
fn x87_op(code: Code) -> Option<Op> {
    use Code::*;
    Some(match code {
        Fld_m32fp => Op::FldM32,
        Fld_m64fp => Op::FldM64,
        Fld_m80fp => Op::FldM80,
        Fld_sti => Op::FldSti,
        Fild_m16int => Op::FildM16,
        Fild_m32int => Op::FildM32,
        Fild_m64int => Op::FildM64,
        Fbld_m80bcd => Op::Fbld,
        Fld1 => Op::Fld1,
        Fldl2t => Op::Fldl2t,
        Fldl2e => Op::Fldl2e,
        Fldpi => Op::Fldpi,
        Fldlg2 => Op::Fldlg2,
        Fldln2 => Op::Fldln2,
        Fldz => Op::Fldz,
        Fst_m32fp => Op::FstM32,
        Fst_m64fp => Op::FstM64,
        Fst_sti => Op::FstSti,
        Fstp_m32fp => Op::FstpM32,
        Fstp_m64fp => Op::FstpM64,
        Fstp_m80fp => Op::FstpM80,
        Fstp_sti | Fstp_sti_DFD0 | Fstp_sti_DFD8 => Op::FstpSti,
        Fist_m16int => Op::FistM16,
        Fist_m32int => Op::FistM32,
        Fistp_m16int => Op::FistpM16,
        Fistp_m32int => Op::FistpM32,
        Fistp_m64int => Op::FistpM64,
        Fisttp_m16int => Op::FisttpM16,
        Fisttp_m32int => Op::FisttpM32,
        Fisttp_m64int => Op::FisttpM64,
        Fbstp_m80bcd => Op::Fbstp,
        Fadd_m32fp => Op::FaddM32,
        Fadd_m64fp => Op::FaddM64,
        Fiadd_m16int => Op::FiaddM16,
        Fiadd_m32int => Op::FiaddM32,
        Fadd_st0_sti => Op::FaddSt0Sti,
        Fadd_sti_st0 => Op::FaddStiSt0,
        Faddp_sti_st0 => Op::FaddpStiSt0,
        Fmul_m32fp => Op::FmulM32,
        Fmul_m64fp => Op::FmulM64,
        Fimul_m16int => Op::FimulM16,
        Fimul_m32int => Op::FimulM32,
        Fmul_st0_sti => Op::FmulSt0Sti,
        Fmul_sti_st0 => Op::FmulStiSt0,
        Fmulp_sti_st0 => Op::FmulpStiSt0,
        Fsub_m32fp => Op::FsubM32,
        Fsub_m64fp => Op::FsubM64,
        Fisub_m16int => Op::FisubM16,
        Fisub_m32int => Op::FisubM32,
        Fsub_st0_sti => Op::FsubSt0Sti,
        Fsub_sti_st0 => Op::FsubStiSt0,
        Fsubp_sti_st0 => Op::FsubpStiSt0,
        Fsubr_m32fp => Op::FsubrM32,
        Fsubr_m64fp => Op::FsubrM64,
        Fisubr_m16int => Op::FisubrM16,
        Fisubr_m32int => Op::FisubrM32,
        Fsubr_st0_sti => Op::FsubrSt0Sti,
        Fsubr_sti_st0 => Op::FsubrStiSt0,
        Fsubrp_sti_st0 => Op::FsubrpStiSt0,
        Fdiv_m32fp => Op::FdivM32,
        Fdiv_m64fp => Op::FdivM64,
        Fidiv_m16int => Op::FidivM16,
        Fidiv_m32int => Op::FidivM32,
        Fdiv_st0_sti => Op::FdivSt0Sti,
        Fdiv_sti_st0 => Op::FdivStiSt0,
        Fdivp_sti_st0 => Op::FdivpStiSt0,
        Fdivr_m32fp => Op::FdivrM32,
        Fdivr_m64fp => Op::FdivrM64,
        Fidivr_m16int => Op::FidivrM16,
        Fidivr_m32int => Op::FidivrM32,
        Fdivr_st0_sti => Op::FdivrSt0Sti,
        Fdivr_sti_st0 => Op::FdivrStiSt0,
        Fdivrp_sti_st0 => Op::FdivrpStiSt0,
        Fcom_m32fp => Op::FcomM32,
        Fcom_m64fp => Op::FcomM64,
        Ficom_m16int => Op::FicomM16,
        Ficom_m32int => Op::FicomM32,
        Fcom_st0_sti | Fcom_st0_sti_DCD0 => Op::FcomSti,
        Fcomp_m32fp => Op::FcompM32,
        Fcomp_m64fp => Op::FcompM64,
        Ficomp_m16int => Op::FicompM16,
        Ficomp_m32int => Op::FicompM32,
        Fcomp_st0_sti | Fcomp_st0_sti_DCD8 | Fcomp_st0_sti_DED0 => Op::FcompSti,
        Fcompp => Op::Fcompp,
        Fucom_st0_sti => Op::Fucom,
        Fucomp_st0_sti => Op::Fucomp,
        Fucompp => Op::Fucompp,
        Fcomi_st0_sti => Op::Fcomi,
        Fcomip_st0_sti => Op::Fcomip,
        Fucomi_st0_sti => Op::Fucomi,
        Fucomip_st0_sti => Op::Fucomip,
        Ftst => Op::Ftst,
        Fxam => Op::Fxam,
        Fchs => Op::Fchs,
        Fabs => Op::Fabs,
        Fsqrt => Op::Fsqrt,
        Frndint => Op::Frndint,
        Fscale => Op::Fscale,
        Fxtract => Op::Fxtract,
        Fprem => Op::Fprem,
        Fprem1 => Op::Fprem1,
        F2xm1 => Op::F2xm1,
        Fyl2x => Op::Fyl2x,
        Fyl2xp1 => Op::Fyl2xp1,
        Fptan => Op::Fptan,
        Fpatan => Op::Fpatan,
        Fsin => Op::Fsin,
        Fcos => Op::Fcos,
        Fsincos => Op::Fsincos,
        Fxch_st0_sti | Fxch_st0_sti_DDC8 | Fxch_st0_sti_DFC8 => Op::Fxch,
        Ffree_sti => Op::Ffree,
        Ffreep_sti => Op::Ffreep,
        Fincstp => Op::Fincstp,
        Fdecstp => Op::Fdecstp,
        Fninit => Op::Fninit,
        Fnclex => Op::Fnclex,
        Fnstcw_m2byte => Op::Fnstcw,
        Fldcw_m2byte => Op::Fldcw,
        Fnstsw_m2byte => Op::FnstswM16,
        Fnstsw_AX => Op::FnstswAx,
        Fnstenv_m28byte => Op::Fnstenv,
        Fldenv_m28byte => Op::Fldenv,
        Fnsave_m108byte => Op::Fnsave,
        Frstor_m108byte => Op::Frstor,
        Fnstenv_m14byte => Op::Fnstenv14,
        Fldenv_m14byte => Op::Fldenv14,
        Fnsave_m94byte => Op::Fnsave94,
        Frstor_m94byte => Op::Frstor94,
        Fnop => Op::Fnop,
        Fneni | Fndisi | Fnsetpm | Frstpm => Op::Fnone,
        Wait => Op::Fwait,
        Emms => Op::Emms,
        _ => return None,
    })
}

/// The MMX operation of `op mm, mm/m` and `op mm, imm8`, with or without a further immediate.
fn mmx_op(code: Code) -> Option<Op> {
    use Code::*;
    Some(match code {
        Pshufw_mm_mmm64_imm8 => Op::Pshufw,
        Punpcklbw_mm_mmm32 => Op::Punpcklbw,
        Punpcklwd_mm_mmm32 => Op::Punpcklwd,
        Punpckldq_mm_mmm32 => Op::Punpckldq,
        Punpckhbw_mm_mmm64 => Op::Punpckhbw,
        Punpckhwd_mm_mmm64 => Op::Punpckhwd,
        Punpckhdq_mm_mmm64 => Op::Punpckhdq,
        Packsswb_mm_mmm64 => Op::Packsswb,
        Packssdw_mm_mmm64 => Op::Packssdw,
        Packuswb_mm_mmm64 => Op::Packuswb,
        Pcmpgtb_mm_mmm64 => Op::Pcmpgtb,
        Pcmpgtw_mm_mmm64 => Op::Pcmpgtw,
        Pcmpgtd_mm_mmm64 => Op::Pcmpgtd,
        Pcmpeqb_mm_mmm64 => Op::Pcmpeqb,
        Pcmpeqw_mm_mmm64 => Op::Pcmpeqw,
        Pcmpeqd_mm_mmm64 => Op::Pcmpeqd,
        Paddb_mm_mmm64 => Op::Paddb,
        Paddw_mm_mmm64 => Op::Paddw,
        Paddd_mm_mmm64 => Op::Paddd,
        Paddq_mm_mmm64 => Op::Paddq,
        Paddsb_mm_mmm64 => Op::Paddsb,
        Paddsw_mm_mmm64 => Op::Paddsw,
        Paddusb_mm_mmm64 => Op::Paddusb,
        Paddusw_mm_mmm64 => Op::Paddusw,
        Psubb_mm_mmm64 => Op::Psubb,
        Psubw_mm_mmm64 => Op::Psubw,
        Psubd_mm_mmm64 => Op::Psubd,
        Psubq_mm_mmm64 => Op::Psubq,
        Psubsb_mm_mmm64 => Op::Psubsb,
        Psubsw_mm_mmm64 => Op::Psubsw,
        Psubusb_mm_mmm64 => Op::Psubusb,
        Psubusw_mm_mmm64 => Op::Psubusw,
        Pmullw_mm_mmm64 => Op::Pmullw,
        Pmulhw_mm_mmm64 => Op::Pmulhw,
        Pmulhuw_mm_mmm64 => Op::Pmulhuw,
        Pmaddwd_mm_mmm64 => Op::Pmaddwd,
        Pmuludq_mm_mmm64 => Op::Pmuludq,
        Pand_mm_mmm64 => Op::Pand,
        Pandn_mm_mmm64 => Op::Pandn,
        Por_mm_mmm64 => Op::Por,
        Pxor_mm_mmm64 => Op::Pxor,
        Psllw_mm_mmm64 => Op::Psllw,
        Pslld_mm_mmm64 => Op::Pslld,
        Psllq_mm_mmm64 => Op::Psllq,
        Psrlw_mm_mmm64 => Op::Psrlw,
        Psrld_mm_mmm64 => Op::Psrld,
        Psrlq_mm_mmm64 => Op::Psrlq,
        Psraw_mm_mmm64 => Op::Psraw,
        Psrad_mm_mmm64 => Op::Psrad,
        Psllw_mm_imm8 => Op::PsllwImm,
        Pslld_mm_imm8 => Op::PslldImm,
        Psllq_mm_imm8 => Op::PsllqImm,
        Psrlw_mm_imm8 => Op::PsrlwImm,
        Psrld_mm_imm8 => Op::PsrldImm,
        Psrlq_mm_imm8 => Op::PsrlqImm,
        Psraw_mm_imm8 => Op::PsrawImm,
        Psrad_mm_imm8 => Op::PsradImm,
        Pavgb_mm_mmm64 => Op::Pavgb,
        Pavgw_mm_mmm64 => Op::Pavgw,
        Pminub_mm_mmm64 => Op::Pminub,
        Pmaxub_mm_mmm64 => Op::Pmaxub,
        Pminsw_mm_mmm64 => Op::Pminsw,
        Pmaxsw_mm_mmm64 => Op::Pmaxsw,
        Psadbw_mm_mmm64 => Op::Psadbw,
        Pshufb_mm_mmm64 => Op::Pshufb,
        Phaddw_mm_mmm64 => Op::Phaddw,
        Phaddd_mm_mmm64 => Op::Phaddd,
        Phaddsw_mm_mmm64 => Op::Phaddsw,
        Phsubw_mm_mmm64 => Op::Phsubw,
        Phsubd_mm_mmm64 => Op::Phsubd,
        Phsubsw_mm_mmm64 => Op::Phsubsw,
        Pmaddubsw_mm_mmm64 => Op::Pmaddubsw,
        Pmulhrsw_mm_mmm64 => Op::Pmulhrsw,
        Psignb_mm_mmm64 => Op::Psignb,
        Psignw_mm_mmm64 => Op::Psignw,
        Psignd_mm_mmm64 => Op::Psignd,
        Pabsb_mm_mmm64 => Op::Pabsb,
        Pabsw_mm_mmm64 => Op::Pabsw,
        Pabsd_mm_mmm64 => Op::Pabsd,
        Palignr_mm_mmm64_imm8 => Op::Palignr,
        _ => return None,
    })
}

impl Gen<'_> {
    /// Emits an x87 or MMX instruction; false if `i` is none of those covered.
    pub fn x87(&mut self, i: &Instruction) -> bool {
        let code = i.code();
        if let Some(op) = x87_op(code) {
            self.x87_simple(i, op);
            return true;
        }
        if let Some(cc) = fcmov_condition(code) {
            self.s().i32_const(Op::Fcmov as i32).i32_const(st_index(i) as i32);
            self.push_condition(cc);
            self.s().i64_extend_i32_u().call(index::X87).drop();
            return true;
        }
        self.mmx(i)
    }

    fn x87_simple(&mut self, i: &Instruction, op: Op) {
        let memory = (0..i.op_count()).any(|k| i.op_kind(k) == OpKind::Memory);
        self.s().i32_const(op as i32).i32_const(st_index(i) as i32);
        if memory {
            self.push_address(i);
            self.s().i64_extend_i32_u();
        } else {
            self.s().i64_const(0);
        }
        self.s().call(index::X87);
        match op {
            Op::FnstswAx => {
                self.s().i32_wrap_i64();
                self.pop_reg(Register::AX);
            }
            Op::Fcomi | Op::Fcomip | Op::Fucomi | Op::Fucomip => {
                let v = self.tmp(ValType::I32);
                self.s().i32_wrap_i64().local_set(v);
                for f in [CF, PF, ZF] {
                    if self.need_after.has(f) {
                        self.s()
                            .local_get(v)
                            .i32_const(RFLAGS_BIT[(f - CF) as usize] as i32)
                            .i32_shr_u()
                            .i32_const(1)
                            .i32_and();
                        self.pop_flag(f);
                    }
                }
                for f in [OF, SF, AF] {
                    self.fl[(f - CF) as usize] = Fl::Const(false);
                }
            }
            _ => {
                self.s().drop();
            }
        }
    }

    /// Pushes op and arg for the MMX operation with destination `dst` and the given source operand, then the address or 0.
    fn mmx_call(&mut self, i: &Instruction, op: Op, dst: u32, src: u32, imm: u8, mxcsr: bool) {
        let memory = i.op_kind(src.min(i.op_count().saturating_sub(1))) == OpKind::Memory;
        let source =
            if !memory && src < i.op_count() && i.op_kind(src) == OpKind::Register && i.op_register(src).is_mm() {
                i.op_register(src).number() as u32
            } else {
                0
            };
        let arg = mmx_arg(dst, source, imm) | if memory { SRC_MEM } else { 0 };
        self.s().i32_const(op as i32).i32_const(arg as i32);
        if mxcsr {
            self.s().global_get(Global::Mxcsr as u32).i32_const(16).i32_shl().i32_or();
        }
        if memory {
            self.push_address(i);
            self.s().i64_extend_i32_u();
        } else {
            self.s().i64_const(0);
        }
        self.s().call(index::X87);
    }

    /// Gathers the exception flags that MMX conversions raised into MXCSR.
    fn gather_sse_flags(&mut self) {
        self.s().i32_const(Op::SseFlags as i32).i32_const(0).i64_const(0).call(index::X87).i32_wrap_i64();
        self.s().global_get(Global::Mxcsr as u32).i32_or().global_set(Global::Mxcsr as u32);
    }

    fn mmx(&mut self, i: &Instruction) -> bool {
        use Code::*;
        let number = |k: u32| i.op_register(k).number() as u32;
        let code = i.code();
        if let Some(op) = mmx_op(code) {
            let imm = (0..i.op_count()).find(|&k| i.op_kind(k) == OpKind::Immediate8).map_or(0, |_| i.immediate8());
            self.mmx_call(i, op, number(0), 1, imm, false);
            self.s().drop();
            return true;
        }
        let value = |g: &mut Self, op: Op, arg: u32| {
            g.s().i32_const(op as i32).i32_const(arg as i32);
        };
        match code {
            Movq_mm_mmm64 => {
                self.mmx_call(i, Op::MovqMmMm, number(0), 1, 0, false);
                self.s().drop();
            }
            Movd_mm_rm32 | Movq_mm_rm64 if i.op1_kind() == OpKind::Memory => {
                let op = if code == Movd_mm_rm32 { Op::MovdMmM32 } else { Op::MovqMmMm };
                self.mmx_call(i, op, number(0), 1, 0, false);
                self.s().drop();
            }
            Movd_mm_rm32 | Movq_mm_rm64 => {
                value(self, if code == Movd_mm_rm32 { Op::MovdMmR } else { Op::MovqMmR }, mmx_arg(number(0), 0, 0));
                self.push_gpr64(i.op1_register().full_register());
                self.s().call(index::X87).drop();
            }
            Movd_rm32_mm | Movq_rm64_mm | Movq_mmm64_mm | Movntq_m64_mm => {
                let src = mmx_arg(0, number(1), 0);
                if i.op0_kind() == OpKind::Memory {
                    value(self, if code == Movd_rm32_mm { Op::MovdM32Mm } else { Op::MovqM64Mm }, src);
                    self.push_address(i);
                    self.s().i64_extend_i32_u().call(index::X87).drop();
                } else if i.op0_register().is_mm() {
                    value(self, Op::MovqMmMm, mmx_arg(number(0), number(1), 0));
                    self.s().i64_const(0).call(index::X87).drop();
                } else {
                    let wide = i.op0_register().size() == 8;
                    value(self, if wide { Op::MovqRMm } else { Op::MovdRMm }, src);
                    self.s().i64_const(0).call(index::X87);
                    if !wide {
                        self.s().i32_wrap_i64();
                    }
                    self.pop_reg(i.op0_register());
                }
            }
            Movq2dq_xmm_mm => {
                let l = self.reg_local(16 + number(0) as u8);
                self.s().v128_const(0);
                value(self, Op::MovqRMm, mmx_arg(0, number(1), 0));
                self.s().i64_const(0).call(index::X87).i64x2_replace_lane(0).local_set(l);
            }
            Movdq2q_mm_xmm => {
                let l = self.reg_local(16 + number(1) as u8);
                value(self, Op::MovqMmR, mmx_arg(number(0), 0, 0));
                self.s().local_get(l).i64x2_extract_lane(0).call(index::X87).drop();
            }
            Pmovmskb_r32_mm | Pmovmskb_r64_mm | Pextrw_r32_mm_imm8 | Pextrw_r64_mm_imm8 => {
                let op = if matches!(code, Pmovmskb_r32_mm | Pmovmskb_r64_mm) { Op::Pmovmskb } else { Op::Pextrw };
                let imm = if op == Op::Pextrw { i.immediate8() } else { 0 };
                value(self, op, mmx_arg(0, number(1), imm));
                self.s().i64_const(0).call(index::X87);
                if i.op0_register().size() == 4 {
                    self.s().i32_wrap_i64();
                }
                self.pop_reg(i.op0_register());
            }
            Pinsrw_mm_r32m16_imm8 | Pinsrw_mm_r64m16_imm8 => {
                if i.op1_kind() == OpKind::Memory {
                    self.mmx_call(i, Op::Pinsrw, number(0), 1, i.immediate8(), false);
                } else {
                    value(self, Op::Pinsrw, mmx_arg(number(0), 0, i.immediate8()));
                    self.push_gpr64(i.op1_register().full_register());
                    self.s().call(index::X87);
                }
                self.s().drop();
            }
            Maskmovq_rDI_mm_mm => {
                if matches!(i.segment_prefix(), Register::FS | Register::GS) {
                    return false;
                }
                value(self, Op::Maskmovq, mmx_arg(number(1), number(2), 0));
                let rdi = self.reg_local(RDI);
                self.s().local_get(rdi).i64_const(0xffff_ffff).i64_and().call(index::X87).drop();
            }
            Cvtpi2ps_xmm_mmm64 => {
                let l = self.reg_local(16 + number(0) as u8);
                self.s().local_get(l);
                self.mmx_call(i, Op::Cvtpi2ps, 0, 1, 0, true);
                self.s().i64x2_replace_lane(0).local_set(l);
                self.gather_sse_flags();
            }
            Cvtpi2pd_xmm_mmm64 => {
                let l = self.reg_local(16 + number(0) as u8);
                self.s().v128_const(0);
                for k in 0..2u8 {
                    self.mmx_call(i, Op::Cvtpi2pd, 0, 1, k, true);
                    self.s().i64x2_replace_lane(k);
                }
                self.s().local_set(l);
                self.gather_sse_flags();
            }
            Cvtps2pi_mm_xmmm64 | Cvttps2pi_mm_xmmm64 => {
                let op = if code == Cvtps2pi_mm_xmmm64 { Op::Cvtps2pi } else { Op::Cvttps2pi };
                if i.op1_kind() == OpKind::Memory {
                    self.mmx_call(i, op, number(0), 1, 0, true);
                } else {
                    let l = self.reg_local(16 + number(1) as u8);
                    value(self, op, mmx_arg(number(0), 0, 0));
                    self.s().global_get(Global::Mxcsr as u32).i32_const(16).i32_shl().i32_or();
                    self.s().local_get(l).i64x2_extract_lane(0).call(index::X87);
                }
                self.s().drop();
                self.gather_sse_flags();
            }
            Cvtpd2pi_mm_xmmm128 | Cvttpd2pi_mm_xmmm128 => {
                let op = if code == Cvtpd2pi_mm_xmmm128 { Op::Cvtpd2pi } else { Op::Cvttpd2pi };
                let v = self.tmp(ValType::V128);
                if i.op1_kind() == OpKind::Memory {
                    // A pending x87 exception comes before a fault of the operand.
                    value(self, Op::Fwait, 0);
                    self.s().i64_const(0).call(index::X87).drop();
                    let a = self.address_tmp(i);
                    self.s().local_get(a).i32_const(15).i32_and().if_(BlockType::Empty).unreachable().end();
                    self.s().local_get(a).v128_load(super::mem::arg(0)).local_set(v);
                } else {
                    let l = self.reg_local(16 + number(1) as u8);
                    self.s().local_get(l).local_set(v);
                }
                for k in 0..2u8 {
                    value(self, op, mmx_arg(number(0), 0, k));
                    self.s().global_get(Global::Mxcsr as u32).i32_const(16).i32_shl().i32_or();
                    self.s().local_get(v).i64x2_extract_lane(k).call(index::X87).drop();
                }
                self.gather_sse_flags();
            }
            _ => return false,
        }
        true
    }
}

/// Number of the `st(i)` operand that is not simply st0.
fn st_index(i: &Instruction) -> u32 {
    (0..i.op_count())
        .filter(|&k| i.op_kind(k) == OpKind::Register && i.op_register(k).is_st())
        .map(|k| i.op_register(k).number() as u32)
        .max()
        .unwrap_or(0)
}

fn fcmov_condition(code: Code) -> Option<ConditionCode> {
    use Code::*;
    Some(match code {
        Fcmovb_st0_sti => ConditionCode::b,
        Fcmove_st0_sti => ConditionCode::e,
        Fcmovbe_st0_sti => ConditionCode::be,
        Fcmovu_st0_sti => ConditionCode::p,
        Fcmovnb_st0_sti => ConditionCode::ae,
        Fcmovne_st0_sti => ConditionCode::ne,
        Fcmovnbe_st0_sti => ConditionCode::a,
        Fcmovnu_st0_sti => ConditionCode::np,
        _ => return None,
    })
}
