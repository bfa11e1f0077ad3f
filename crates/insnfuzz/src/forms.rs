//! The list of instruction forms: iced-x86's opcode list for 64-bit mode, each by register or memory operand.

use iced_x86::{Code, CpuidFeature, EncodingKind, Instruction, Mnemonic, OpCodeOperandKind as K, OpKind};
use std::fmt;

/// An opcode with its r/m operand a register (or without one), or memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Form {
    /// The decoder's opcode.
    pub code: Code,
    /// True when it has an explicit memory operand.
    pub memory: bool,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let both = self.code.op_code().op_kinds().iter().any(|k| reg_or_mem(*k));
        let suffix = match (both, self.memory) {
            (true, true) => "/mem",
            (true, false) => "/reg",
            _ => "",
        };
        f.pad(&format!("{:?}{suffix}", self.code))
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Form {
    /// The form of a decoded instruction.
    pub fn of(i: &Instruction) -> Form {
        Form { code: i.code(), memory: i.op_kinds().any(|k| k == OpKind::Memory) }
    }

    /// All forms that decode in 64-bit mode, in the decoder's order.
    pub fn all() -> Vec<Form> {
        let mut forms = Vec::new();
        for code in Code::values() {
            let op = code.op_code();
            // Opcodes with WAIT in front (FSTENV) decode as two instructions.
            if !op.mode64() || !op.is_instruction() || op.fwait() || code == Code::INVALID {
                continue;
            }
            let kinds = op.op_kinds();
            let always = kinds.iter().any(|k| memory_only(*k) || *k == K::seg_rBX_al);
            let either = kinds.iter().any(|k| reg_or_mem(*k));
            if always {
                forms.push(Form { code, memory: true });
            } else {
                forms.push(Form { code, memory: false });
                if either {
                    forms.push(Form { code, memory: true });
                }
            }
        }
        forms
    }

    /// The cpuid features that the form needs, as iced names them.
    pub fn features(&self) -> String {
        self.code.cpuid_features().iter().map(|f| format!("{f:?}")).collect::<Vec<_>>().join("+")
    }

    /// True when guests may use the form without asking cpuid, or cpuid tells them that it is there: the x86-64-v1 level (without CLFLUSH).
    pub fn baseline(&self) -> bool {
        use CpuidFeature::*;
        self.code.cpuid_features().iter().all(|f| {
            matches!(
                f,
                INTEL8086
                    | INTEL186
                    | INTEL286
                    | INTEL386
                    | INTEL486
                    | X64
                    | CPUID
                    | CMOV
                    | CX8
                    | FPU
                    | FPU287
                    | FPU387
                    | FXSR
                    | MMX
                    | MULTIBYTENOP
                    | PAUSE
                    | SSE
                    | SSE2
                    | TSC
                    | SEP
                    | SYSCALL
            )
        })
    }

    /// Why the form is not compared with the host CPU, or `None` when it is.
    pub fn exclusion(&self) -> Option<&'static str> {
        let op = self.code.op_code();
        if op.encoding() != EncodingKind::Legacy {
            return Some("AVX or later encoding");
        }
        use Mnemonic::*;
        Some(match self.code.mnemonic() {
            Syscall | Sysenter | Int => "system call",
            Int3 | Int1 => "debug trap",
            Cpuid => "answers for this product, not for the host",
            Rdtsc | Rdtscp | Rdpmc | Rdpid | Rdpru => "time or machine state",
            Rdrand | Rdseed => "random",
            Sgdt | Sidt | Sldt | Str | Smsw | Lar | Lsl | Verr | Verw => "shows or tests descriptor tables",
            Xgetbv | Xsave | Xsave64 | Xsavec | Xsavec64 | Xsaveopt | Xsaveopt64 | Xrstor | Xrstor64 => {
                "extended state"
            }
            Rdfsbase | Rdgsbase | Wrfsbase | Wrgsbase => "moves the bases the host itself uses",
            Xbegin | Xend | Xabort | Xtest => "transactional memory",
            Iret | Iretd | Iretq | Retf | Lss | Lfs | Lgs => "far transfer or segment load",
            Monitor | Mwait | Monitorx | Mwaitx | Umonitor | Umwait | Tpause => "waits",
            Pushf | Popf | Pushfd | Popfd => "not in 64-bit mode",
            Jmpe | Ud0 | Ud1 => "undefined opcode",
            Encls | Enclu | Enclv | Vmcall | Vmmcall | Vmfunc | Vmlaunch | Vmresume | Vmxoff | Getsec | Skinit
            | Tdcall | Seamcall | Seamops | Seamret | Vmgexit | Pvalidate | Rmpadjust | Rmpupdate | Psmash => {
                "virtualization or enclave"
            }
            Fstsg | Frstpm | Fsetpm | Fnsetpm => "287 only",
            Fstpnce => "undocumented",
            Call | Jmp if self.code.op_code().op_kinds().iter().any(|k| matches!(k, K::farbr2_2 | K::farbr4_2)) => {
                "far transfer"
            }
            Call | Jmp
                if format!("{:?}", self.code).contains("m16") && format!("{:?}", self.code).contains("1616")
                    || matches!(self.code, Code::Call_m1632 | Code::Call_m1664 | Code::Jmp_m1632 | Code::Jmp_m1664) =>
            {
                "far transfer"
            }
            Reservednop if format!("{:?}", self.code).ends_with("_0F0D") => "PREFETCH, or undefined on this host",
            Movsxd if self.code == Code::Movsxd_r16_rm16 => "CPUs of the two vendors differ in what they load",
            Cli | Sti => "privileged",
            Bswap if self.code == Code::Bswap_r16 => "result is undefined",
            Loadall => "undocumented",
            _ => {
                if op.is_input_output() || op.cpl0() && !op.cpl3() {
                    return Some("privileged");
                }
                if op.op_kinds().iter().any(|k| matches!(k, K::seg_reg | K::es | K::cs | K::ss | K::ds | K::fs | K::gs))
                {
                    return Some("segment register");
                }
                let name = format!("{:?}", self.code);
                if name.contains("rel8_16")
                    || name.ends_with("_rel16")
                    || name.starts_with("Retnw")
                    || matches!(self.code, Code::Call_rm16 | Code::Jmp_rm16)
                {
                    return Some("16-bit near branch: CPUs of the two vendors differ");
                }
                let host = self.code.cpuid_features().iter().any(|f| !host_has(*f));
                if host {
                    return Some("this host does not have it");
                }
                return None;
            }
        })
    }
}

/// True for operands that are either a register or memory.
pub fn reg_or_mem(k: K) -> bool {
    matches!(
        k,
        K::r8_or_mem
            | K::r16_or_mem
            | K::r32_or_mem
            | K::r64_or_mem
            | K::mm_or_mem
            | K::xmm_or_mem
            | K::ymm_or_mem
            | K::zmm_or_mem
            | K::k_or_mem
            | K::bnd_or_mem_mpx
            | K::r32_or_mem_mpx
            | K::r64_or_mem_mpx
    )
}

/// True for operands that are memory with ModRM or an absolute address.
pub fn memory_only(k: K) -> bool {
    matches!(
        k,
        K::mem
            | K::mem_offs
            | K::mem_mpx
            | K::mem_mib
            | K::mem_vsib32x
            | K::mem_vsib64x
            | K::mem_vsib32y
            | K::mem_vsib64y
            | K::mem_vsib32z
            | K::mem_vsib64z
            | K::sibmem
    )
}

/// Whether this CPU has what `f` names; what is not known is taken to be absent.
fn host_has(f: CpuidFeature) -> bool {
    use CpuidFeature::*;
    match f {
        INTEL8086 | INTEL186 | INTEL286 | INTEL386 | INTEL486 | X64 | CPUID | CMOV | CX8 | FPU | FPU287 | FPU387
        | FXSR | MMX | MULTIBYTENOP | PAUSE | SSE | SSE2 | TSC | CLFSH | PREFETCHW => true,
        SSE3 => is_x86_feature_detected!("sse3"),
        SSSE3 => is_x86_feature_detected!("ssse3"),
        SSE4_1 => is_x86_feature_detected!("sse4.1"),
        SSE4_2 => is_x86_feature_detected!("sse4.2"),
        POPCNT => is_x86_feature_detected!("popcnt"),
        LZCNT => is_x86_feature_detected!("lzcnt"),
        BMI1 => is_x86_feature_detected!("bmi1"),
        CMPXCHG16B => is_x86_feature_detected!("cmpxchg16b"),
        MOVBE => is_x86_feature_detected!("movbe"),
        AES => is_x86_feature_detected!("aes"),
        PCLMULQDQ => is_x86_feature_detected!("pclmulqdq"),
        SHA => is_x86_feature_detected!("sha"),
        ADX => is_x86_feature_detected!("adx"),
        // Hints: no-operations where the feature is absent.
        PREFETCHWT1 | CET_IBT => true,
        _ => false,
    }
}
