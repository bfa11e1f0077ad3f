//! Drives the fuzzing: form by form, encoding by encoding, state by state; then random basic blocks.

use crate::arena::{CODE_START, Contents};
use crate::cases::{Case, Profile, base_contents, case};
use crate::compare::{self, GPR_NAMES, Options, Run, differences, memory_differences};
use crate::encode::{Instance, Registers, harvested, instance};
use crate::forms::Form;
use crate::harvest::Census;
use crate::native::Native;
use crate::rng::Rng;
use crate::state::{Outcome, RSP, State};
use crate::translate::{LoadError, Translation};
use anyhow::Result;
use iced_x86::{
    FlowControl, Formatter, Instruction, InstructionInfoFactory, IntelFormatter, Mnemonic, OpAccess, OpKind, Register,
};
use serde::Serialize;

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// States a form.
    pub states: u64,
    /// Seed of everything random.
    pub seed: u64,
    /// Only forms whose name contains this (case does not matter).
    pub form: Option<String>,
    /// Random basic blocks.
    pub blocks: u64,
    /// Distinct encodings a form, at most.
    pub encodings: u64,
    /// What the comparison ignores.
    pub options: Options,
    /// Compare the CPU with itself instead of with the translation: proves the judge.
    pub self_check: bool,
}

/// One mismatch, with all that is needed to see it again.
#[derive(Clone, Debug, Serialize)]
pub struct Mismatch {
    /// Instruction bytes in hexadecimal.
    pub bytes: String,
    /// Disassembly.
    pub text: String,
    /// What differs.
    pub differences: Vec<String>,
    /// The registers that matter, at the start.
    pub input: Vec<String>,
}

/// What became of a form.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case", tag = "status", content = "reason")]
pub enum Status {
    /// Compared, and equal.
    Covered,
    /// Compared, and different.
    Failed,
    /// The translator does not cover it; its reason.
    Uncovered(String),
    /// Not compared; why.
    Excluded(String),
}

/// One line of the report.
#[derive(Clone, Debug, Serialize)]
pub struct FormResult {
    /// Name, as [`Form`] displays.
    pub form: String,
    /// What became of it.
    #[serde(flatten)]
    pub status: Status,
    /// cpuid features.
    pub features: String,
    /// At the x86-64-v1 level, which guests may rely on.
    pub baseline: bool,
    /// Sites in the files given.
    pub sites: u64,
    /// States compared.
    pub states: u64,
    /// Among them, runs that faulted on the CPU.
    pub faults: u64,
    /// States that differed.
    pub failures: u64,
    /// The first few distinct ones.
    pub mismatches: Vec<Mismatch>,
    /// Encodings of a covered form that the translator does not cover and that no file given holds: they trap, and `build` lists them.
    pub holes: Vec<String>,
}

/// The outcome of a campaign.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// All forms of 64-bit mode, or those asked for.
    pub forms: Vec<FormResult>,
    /// Blocks compared.
    pub blocks: u64,
    /// States over all blocks.
    pub block_states: u64,
    /// Blocks that differed.
    pub block_failures: u64,
    /// The first of them.
    pub block_mismatches: Vec<Mismatch>,
}

impl Report {
    /// True when something differed.
    pub fn failed(&self) -> bool {
        self.block_failures > 0 || self.forms.iter().any(|f| f.status == Status::Failed)
    }
}

/// Executors for one piece of code.
struct Bench<'a> {
    native: &'a mut Native,
    /// `None`: the CPU again.
    translation: Option<Translation>,
    profile: Profile,
    base: Contents,
    current: Contents,
    options: Options,
}

/// Simplifies a state.
type Edit = Box<dyn Fn(&mut State)>;

struct Verdict {
    faulted: bool,
    differences: Vec<String>,
}

impl<'a> Bench<'a> {
    fn new(
        native: &'a mut Native,
        code: &[Instance],
        rng: &mut Rng,
        plan: &Plan,
    ) -> Result<Result<Bench<'a>, LoadError>> {
        let bytes: Vec<u8> = code.iter().flat_map(|i| i.bytes.iter().copied()).collect();
        let mut translation = match (!plan.self_check).then(|| Translation::load(&bytes)).transpose() {
            Ok(t) => t,
            Err(e) => return Ok(Err(e)),
        };
        native.set_code(&bytes)?;
        let base = base_contents(rng);
        native.pages.write(&base, true)?;
        if let Some(t) = &mut translation {
            t.pages().write(&base, true)?;
        }
        let options = plan.options;
        Ok(Ok(Bench { native, translation, profile: Profile::new(code), current: base.clone(), base, options }))
    }

    fn run(&mut self, case: &Case) -> Result<Verdict> {
        let memory = self.profile.touches_memory();
        if memory {
            for (addr, bytes) in &case.patches {
                self.current.write(*addr, bytes);
            }
            // Read-only pages keep the base contents.
            self.native.pages.write(&self.current, false)?;
            if let Some(t) = &mut self.translation {
                t.pages().write(&self.current, false)?;
            }
        }
        let mut n = case.state;
        let native = self.run_native(&mut n);
        let mut t = case.state;
        let mut d = Vec::new();
        let (translated, memories) = match &mut self.translation {
            Some(translation) => {
                let outcome = translation.run(&mut t);
                let same = !memory || self.native.pages.same(translation.pages());
                (outcome, (!same).then(|| (self.native.pages.read(), translation.pages().read())))
            }
            None => {
                let first = self.native.pages.read();
                if memory {
                    self.native.pages.write(&self.current, false)?;
                }
                let outcome = self.run_native(&mut t);
                (Ok(outcome), Some((first, self.native.pages.read())))
            }
        };
        match translated {
            Ok(translated) => {
                let run = Run {
                    insns: &self.profile.insns,
                    before: &case.state,
                    native: (native, &n),
                    translated: (translated, &t),
                };
                d = differences(&run, self.options);
                if let Some((a, b)) = memories {
                    d.extend(memory_differences(&run, &a, &b));
                }
            }
            Err(e) => d.push(format!("outcome: cpu {native:x?}, translated: {e}")),
        }
        if memory {
            for (addr, bytes) in &case.patches {
                let old: Vec<u8> = self.base.read(*addr, bytes.len()).into_iter().map(|b| b.unwrap_or(0)).collect();
                self.current.write(*addr, &old);
            }
        }
        Ok(Verdict { faulted: matches!(native, Outcome::Fault(_)), differences: d })
    }

    fn run_native(&mut self, state: &mut State) -> Outcome {
        match self.native.run(state) {
            // The jump was made; its target is not executable here.
            Outcome::Fault(f) if f.signal == libc::SIGSEGV && f.pc == f.addr && f.pc != u64::from(CODE_START) => {
                Outcome::Done(f.pc)
            }
            Outcome::Fault(f) if f.signal == libc::SIGTRAP => Outcome::Done(f.pc.wrapping_sub(1)),
            o => o,
        }
    }

    /// Clears what the mismatch does not need.
    fn minimise(&mut self, case: &mut Case) -> Result<Vec<String>> {
        let mut last = self.run(case)?.differences;
        let edits: Vec<Edit> = (0..16)
            .flat_map(|i| -> [Edit; 2] {
                [Box::new(move |s: &mut State| s.gpr[i] = 0), Box::new(move |s: &mut State| s.fx.set_xmm(i, 0))]
            })
            .chain((0..8).map(|i| -> Edit { Box::new(move |s: &mut State| s.fx.set_st(i, [0; 10])) }))
            .chain([
                Box::new(|s: &mut State| s.rflags = 2) as Edit,
                Box::new(|s: &mut State| s.fx.set_mxcsr(0x1f80)),
                Box::new(|s: &mut State| s.fx.set_fcw(0x37f)),
                Box::new(|s: &mut State| s.fx.set_fsw(0)),
                Box::new(|s: &mut State| s.fs_base = 0),
                Box::new(|s: &mut State| s.gs_base = 0),
            ])
            .collect();
        // An operand may not be moved above 4 GiB or to the code.
        let fixed: u16 = self.address_registers();
        for (n, edit) in edits.iter().enumerate() {
            if n < 32 && n % 2 == 0 && fixed & (1 << (n / 2)) != 0 {
                continue;
            }
            if n >= 44 && fixed != 0 {
                continue;
            }
            let mut c = case.clone();
            edit(&mut c.state);
            let d = self.run(&c)?.differences;
            if !d.is_empty() {
                *case = c;
                last = d;
            }
        }
        Ok(last)
    }

    fn address_registers(&self) -> u16 {
        let mut f = InstructionInfoFactory::new();
        let mut set = 0;
        for i in &self.profile.insns {
            for m in f.info(i).used_memory() {
                for r in [m.base(), m.index()] {
                    if r.is_gpr() {
                        set |= 1 << (r.full_register().number() & 15);
                    }
                }
            }
            if i.is_string_instruction() {
                set |= 2;
            }
            if i.flow_control() != FlowControl::Next {
                set |= 1 << RSP | 2;
                if i.op_count() > 0 && i.op0_kind() == OpKind::Register {
                    set |= 1 << (i.op0_register().full_register().number() & 15);
                }
            }
        }
        set
    }

    fn describe(&self, case: &Case, differences: Vec<String>) -> Mismatch {
        let mut text = String::new();
        let mut f = IntelFormatter::new();
        for i in &self.profile.insns {
            if !text.is_empty() {
                text.push_str("; ");
            }
            f.format(i, &mut text);
        }
        let s = &case.state;
        let mut input = Vec::new();
        for (i, v) in s.gpr.iter().enumerate().filter(|(_, v)| **v != 0) {
            input.push(format!("{}={v:#x}", GPR_NAMES[i]));
        }
        if s.rflags & !2 != 0 {
            input.push(format!("flags={}", compare::flags(s.rflags)));
        }
        for i in 0..16 {
            if s.fx.xmm(i) != 0 {
                input.push(format!("xmm{i}={:032x}", s.fx.xmm(i)));
            }
        }
        let fpu = self.profile.insns.iter().any(|i| format!("{:?}", i.mnemonic()).starts_with('F'));
        if fpu {
            input.push(format!("fcw={:#x} fsw={:#x} ftw={:08b}", s.fx.fcw(), s.fx.fsw(), s.fx.ftw()));
        }
        for i in 0..8 {
            if s.fx.st(i) != [0; 10] {
                input
                    .push(format!("st{i}={}", s.fx.st(i).iter().rev().map(|b| format!("{b:02x}")).collect::<String>()));
            }
        }
        let get = |r: Register, _: usize, _: usize| Some(crate::cases::register_value(s, r));
        let mut c = self.base.clone();
        for (a, b) in &case.patches {
            c.write(*a, b);
        }
        for i in &self.profile.insns {
            let mut factory = InstructionInfoFactory::new();
            for m in factory.info(i).used_memory() {
                if let Some(a) = m.virtual_address(0, get) {
                    let n = m.memory_size().size().clamp(1, 16);
                    let bytes: String =
                        c.read(a as u32, n).iter().map(|b| b.map_or("..".into(), |b| format!("{b:02x}"))).collect();
                    input.push(format!("[{a:#x}]={bytes}"));
                }
            }
        }
        let bytes = self.profile.insns.iter().map(Instruction::len).sum::<usize>();
        let mut code = vec![0; bytes];
        self.native.code(&mut code);
        Mismatch { bytes: code.iter().map(|b| format!("{b:02x}")).collect(), text, differences, input }
    }
}

/// What a difference is about, to tell distinct ones apart.
fn kind(d: &[String]) -> String {
    d.iter()
        .map(|l| l.split(':').next().unwrap_or("").trim_end_matches(|c: char| c.is_ascii_hexdigit()))
        .collect::<Vec<_>>()
        .join(",")
}

fn form_seed(seed: u64, form: &Form) -> u64 {
    // FNV-1a of the name, so that a form's run does not depend on the others'.
    form.to_string().bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

/// Fuzzes one form.
///
/// # Errors
/// When the host refuses something the executors need.
pub fn fuzz_form(native: &mut Native, form: Form, census: &Census, plan: &Plan) -> Result<FormResult> {
    let sites = census.get(&form);
    let mut result = FormResult {
        form: form.to_string(),
        status: Status::Covered,
        features: form.features(),
        baseline: form.baseline(),
        sites: sites.map_or(0, |s| s.count),
        states: 0,
        faults: 0,
        failures: 0,
        mismatches: Vec::new(),
        holes: Vec::new(),
    };
    if let Some(why) = form.exclusion() {
        result.status = Status::Excluded(why.into());
        return Ok(result);
    }
    let mut rng = Rng::new(form_seed(plan.seed, &form));
    let (codes, found) = encodings(form, census, plan, &mut rng);
    if codes.is_empty() {
        result.status = Status::Excluded("cannot be encoded".into());
        return Ok(result);
    }
    let mut kinds = Vec::new();
    let mut uncovered = None;
    // A second round makes up for encodings whose fixed addresses allow few states.
    for (round, (at, code)) in (0..2).flat_map(|round| codes.iter().enumerate().map(move |c| (round, c))) {
        if round == 1 && (result.states >= plan.states || result.states == 0) {
            break;
        }
        let mut bench = match Bench::new(native, std::slice::from_ref(code), &mut rng, plan)? {
            Ok(b) => b,
            Err(LoadError::Uncovered(why)) => {
                if round == 1 {
                    continue;
                }
                uncovered = Some(why.clone());
                if at >= found {
                    let mut text = String::new();
                    IntelFormatter::new().format(&code.insn, &mut text);
                    result.holes.push(text);
                    continue;
                }
                result.failures += 1;
                note(&mut result, &mut kinds, plain(code, format!("not covered: {why}")));
                continue;
            }
            Err(LoadError::Broken(why)) => {
                result.failures += 1;
                note(&mut result, &mut kinds, plain(code, format!("object is broken: {why}")));
                continue;
            }
        };
        let mut bad = 0;
        let rest = if round == 0 { codes.len() - at } else { 1 };
        let each = plan.states.saturating_sub(result.states).div_ceil(rest as u64);
        for n in 0..each {
            let Some(mut c) = (0..32).find_map(|_| case(&bench.profile, &mut rng, n % 2 == 1)) else { continue };
            let v = bench.run(&c)?;
            result.states += 1;
            result.faults += u64::from(v.faulted);
            if v.differences.is_empty() {
                continue;
            }
            result.failures += 1;
            bad += 1;
            let k = kind(&v.differences);
            if !kinds.contains(&k) && kinds.len() < 6 {
                let d = bench.minimise(&mut c)?;
                kinds.push(k);
                let m = bench.describe(&c, d);
                result.mismatches.push(m);
            }
            if bad >= 40 {
                break;
            }
        }
    }
    match uncovered {
        Some(why) if result.states == 0 => {
            result.status = Status::Uncovered(why);
            result.mismatches.clear();
            result.holes.clear();
        }
        _ if result.failures > 0 => result.status = Status::Failed,
        _ => {}
    }
    Ok(result)
}

fn note(result: &mut FormResult, kinds: &mut Vec<String>, m: Mismatch) {
    let k = kind(&m.differences);
    if !kinds.contains(&k) && kinds.len() < 6 {
        kinds.push(k);
        result.mismatches.push(m);
    }
}

fn plain(code: &Instance, what: String) -> Mismatch {
    let mut text = String::new();
    IntelFormatter::new().format(&code.insn, &mut text);
    Mismatch {
        bytes: code.bytes.iter().map(|b| format!("{b:02x}")).collect(),
        text,
        differences: vec![what],
        input: Vec::new(),
    }
}

/// Distinct encodings: what files hold first (so many), then our own.
fn encodings(form: Form, census: &Census, plan: &Plan, rng: &mut Rng) -> (Vec<Instance>, usize) {
    let mut codes: Vec<Instance> = Vec::new();
    let samples = census.get(&form).map_or(&[][..], |s| &s.samples);
    for s in samples.iter().take(plan.encodings as usize / 2) {
        codes.extend(harvested(s, rng));
    }
    let found = codes.len();
    for _ in 0..plan.encodings * 4 {
        if codes.len() as u64 >= plan.encodings {
            break;
        }
        if let Some(i) = instance(form, rng, Registers::default())
            && !codes.iter().any(|c| c.bytes == i.bytes)
        {
            codes.push(i);
        }
    }
    (codes, found)
}

/// Registers that hold addresses in blocks and that blocks do not write: rbx, rbp, r13, r14.
const BLOCK_ADDRESSES: u16 = 1 << 3 | 1 << 5 | 1 << 13 | 1 << 14;

/// May `i` stand in a block: does it go on to the next, leave the address registers alone, read no undefined flag?
fn fits(i: &Instruction, undefined: u64, factory: &mut InstructionInfoFactory) -> bool {
    use Mnemonic::*;
    if i.flow_control() != FlowControl::Next || i.is_string_instruction() || compare::reads(i, undefined) {
        return false;
    }
    let leaks = matches!(
        i.mnemonic(),
        Fnstsw
            | Fnstenv
            | Fnsave
            | Fxsave
            | Fxsave64
            | Fxrstor
            | Fxrstor64
            | Fldenv
            | Frstor
            | Stmxcsr
            | Ldmxcsr
            | Xlatb
            | Maskmovq
            | Maskmovdqu
            | Enter
            | Leave
            | Popfq
            | Popf
            | Pushfq
            | Pushf
            | Bsf
            | Bsr
            | Rcpps
            | Rcpss
            | Rsqrtps
            | Rsqrtss
            | Fsin
            | Fcos
            | Fsincos
            | Fptan
            | Fpatan
            | F2xm1
            | Fyl2x
            | Fyl2xp1
            | Shld
            | Shrd
            | Ud2
    );
    let bits = matches!(i.mnemonic(), Bt | Bts | Btr | Btc) && i.op0_kind() == OpKind::Memory;
    if leaks || bits {
        return false;
    }
    if i.op_kinds().any(|k| k == OpKind::Memory)
        && (i.memory_index() != Register::None
            || i.memory_base() == Register::None
            || (i.memory_displacement64() as i64).abs() > 2000)
    {
        return false;
    }
    factory.info(i).used_registers().iter().all(|u| {
        let writes =
            !matches!(u.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::None | OpAccess::NoMemAccess);
        let r = u.register();
        !writes || !r.is_gpr() || {
            let n = r.full_register().number() & 15;
            BLOCK_ADDRESSES & (1 << n) == 0 && (n != RSP || i.is_stack_instruction())
        }
    })
}

/// A random block of 3 to 20 instructions of `forms`.
fn block(forms: &[Form], rng: &mut Rng) -> Vec<Instance> {
    let mut factory = InstructionInfoFactory::new();
    let regs = Registers { operands: !BLOCK_ADDRESSES & !(1 << RSP), addresses: BLOCK_ADDRESSES, any_mode: false };
    let want = 3 + rng.below(18) as usize;
    let mut code: Vec<Instance> = Vec::new();
    let mut undefined = 0;
    for _ in 0..400 {
        if code.len() == want {
            break;
        }
        let form = rng.pick(forms);
        let Some(mut i) = instance(form, rng, regs) else { continue };
        if !fits(&i.insn, undefined, &mut factory) {
            continue;
        }
        undefined = compare::after(undefined, &i.insn);
        let at: usize = code.iter().map(|c| c.bytes.len()).sum();
        i.insn.set_ip(u64::from(CODE_START) + at as u64);
        code.push(i);
    }
    code
}

/// Forms as often as code uses them would be dull: every form equally, but the general ones (moves, arithmetic) doubled.
fn fuzz_blocks(native: &mut Native, forms: &[Form], plan: &Plan, report: &mut Report) -> Result<()> {
    let mut rng = Rng::new(plan.seed ^ 0xb10c);
    if forms.is_empty() {
        return Ok(());
    }
    let general: Vec<Form> = forms
        .iter()
        .copied()
        .filter(|f| f.features().starts_with("INTEL") || f.features() == "X64" || f.features() == "CMOV")
        .collect();
    for _ in 0..plan.blocks {
        let pool = if rng.one_in(2) && !general.is_empty() { &general } else { forms };
        let code = block(pool, &mut rng);
        if code.len() < 3 {
            continue;
        }
        let mut bench = match Bench::new(native, &code, &mut rng, plan)? {
            Ok(b) => b,
            Err(LoadError::Uncovered(_)) => continue,
            Err(LoadError::Broken(why)) => {
                report.block_failures += 1;
                if let (Some(c), true) = (code.first(), report.block_mismatches.len() < 20) {
                    report.block_mismatches.push(plain(c, format!("object is broken: {why}")));
                }
                continue;
            }
        };
        report.blocks += 1;
        for n in 0..64 {
            let Some(mut c) = (0..8).find_map(|_| case(&bench.profile, &mut rng, n % 2 == 1)) else { continue };
            report.block_states += 1;
            let v = bench.run(&c)?;
            if !v.differences.is_empty() {
                report.block_failures += 1;
                if report.block_mismatches.len() < 20 {
                    let d = bench.minimise(&mut c)?;
                    report.block_mismatches.push(bench.describe(&c, d));
                }
                break;
            }
        }
    }
    Ok(())
}

/// Runs the whole plan. `progress` is called after each form.
///
/// # Errors
/// When the host refuses something the executors need.
pub fn run(plan: &Plan, census: &Census, mut progress: impl FnMut(&FormResult)) -> Result<Report> {
    let mut native = Native::new()?;
    let mut report = Report::default();
    let mut covered = Vec::new();
    let wanted = plan.form.as_ref().map(|f| f.to_lowercase());
    for form in Form::all() {
        if wanted.as_ref().is_some_and(|w| !form.to_string().to_lowercase().contains(w)) {
            continue;
        }
        let r = fuzz_form(&mut native, form, census, plan)?;
        if r.status == Status::Covered {
            covered.push(form);
        }
        progress(&r);
        report.forms.push(r);
    }
    fuzz_blocks(&mut native, &covered, plan, &mut report)?;
    Ok(report)
}
