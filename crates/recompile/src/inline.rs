//! Puts small functions into their callers.
//!
//! Only code that is called is treated so ([`crate::codegen::Form::Called`]), and nothing can be seen of it: the return address is pushed, registers
//! and stack are at every instruction what they would be, and whatever unwinds in the middle goes on in the small function's own resumed form. What is
//! saved is the call: host frames, copies between locals and globals, the comparison of what came back.
//!
//! Of a larger function, what decides early that there is little to do may be put into callers too: the blocks from its entry to a return without
//! calls. Where they lead elsewhere, they must not have changed anything but registers, and the function is called after all.
//!
//! A block of an inlined function needs an address of its own in the caller's graph: these lie above [`VIRTUAL`], where no code lies.

use crate::analysis::{Analysis, Context, FrameState, Graph, Summary, build_graph, frame};
use crate::discover::{Block, Program, Term};
use crate::hold;
use crate::regs::{Effect, RegSet, number};
use crate::structure::visit_loops;
use iced_x86::{Code, CpuidFeature, FlowControl, Instruction, Mnemonic, OpKind, Register};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Addresses from here on stand for blocks of inlined functions. Files with code up here are left alone.
const VIRTUAL: u32 = 0xe000_0000;
/// Instructions of a function that is put into its callers.
const SMALL: usize = 24;
/// The same for a function with a loop, for calls in loops of a function that is not larger than [`BUDGET`] itself: the registers that the caller's
/// loop wants are better kept than saved and restored again and again. Without a loop of its own, such a function would take more from the
/// caller's registers than it gives.
const LOOPING: usize = 60;
/// Instructions of the beginning of a larger function.
const BEGINNING: usize = 16;
/// Instructions that one function takes in.
const BUDGET: usize = 400;
/// Inlined functions in one another.
const DEPTH: usize = 3;

/// A function with others in it.
pub struct Inlined {
    pub graph: Graph,
    /// Of the function as it stands here.
    pub own: Summary,
    pub checks_depth: bool,
}

/// The functions of `program` that take others in.
pub fn inline(program: &Program, analysis: &Analysis) -> Vec<Option<Inlined>> {
    let n = program.functions.len();
    if program.blocks.keys().next_back().is_some_and(|&a| a >= VIRTUAL - 16) {
        return (0..n).map(|_| None).collect();
    }
    let part = |f| {
        let part = whole(program, analysis, f).or_else(|| beginning(program, analysis, f))?;
        holds(program, analysis, f).then_some(part)
    };
    let parts: Vec<Option<Part>> = (0..n).map(part).collect();
    (0..n).map(|f| expand(program, analysis, &parts, f)).collect()
}

/// What of a function is put into its callers.
struct Part {
    /// Number of instructions.
    size: usize,
    /// Its blocks.
    blocks: BTreeSet<u32>,
    /// Blocks that lead out of the part, to where the function must be called: the registers that are on the stack then, the last pushed last.
    leads_out: BTreeMap<u32, Vec<Register>>,
}

/// Whether function `f` as such can hold registers: who takes it in shall be able to.
fn holds(program: &Program, analysis: &Analysis, f: usize) -> bool {
    let Some(own) = analysis.summaries.get(f).filter(|_| analysis.entered.get(f) == Some(&true)) else { return false };
    let Some(graph) = analysis.graphs.get(f) else { return false };
    let cx = Context { program, snippet: false, unknown_mods: analysis.unknown_mods };
    let live = cx.liveness(graph, &analysis.summaries, analysis.unknown, *own);
    let frames = frame(&cx, graph, &analysis.summaries, RegSet::PRESERVED);
    hold::holds(&cx, graph, &frames, &live, &analysis.summaries, *own).is_some_and(|left| left.is_empty())
}

/// Function `f`, if it is small and can be put into others.
fn whole(program: &Program, analysis: &Analysis, f: usize) -> Option<Part> {
    let graph = analysis.graphs.get(f)?;
    if !graph.labels.is_empty() {
        return None;
    }
    let cx = Context { program, snippet: false, unknown_mods: analysis.unknown_mods };
    let limit = if graph.has_loops() { LOOPING } else { SMALL };
    let mut size = 0;
    let mut returns = false;
    for &a in &graph.addrs {
        let block = program.blocks.get(&a)?;
        size += block.insns.len();
        if size > limit {
            return None;
        }
        let inside = |t: &u32| graph.index.contains_key(t);
        match &block.term {
            Term::Jump(t) => {
                let jumps = block.insns.last().is_some_and(|i| i.is_jmp_short_or_near());
                if !(inside(t) || jumps && program.function_at(*t).is_some()) {
                    return None;
                }
                returns |= !inside(t);
            }
            Term::Cond { taken, fall } if inside(taken) && inside(fall) => {}
            Term::Ret if block.insns.last().is_some_and(|i| i.op_count() == 0) => returns = true,
            Term::JumpPredicted(t) if program.function_at(*t).is_some() => returns = true,
            Term::Call { .. } | Term::CallIndirect { .. } | Term::Trap => {}
            _ => return None,
        }
    }
    if !returns {
        return None;
    }
    // It must leave its frame as it found it.
    let frames = frame(&cx, graph, &analysis.summaries, RegSet::EMPTY);
    for (b, &a) in graph.addrs.iter().enumerate() {
        let block = program.blocks.get(&a)?;
        let rsp = rsp_at_end(block, graph.effects.get(b)?, Some(frames.at.get(b)?.as_ref()?));
        let leaves = matches!(block.term, Term::Ret | Term::JumpPredicted(_))
            || matches!(block.term, Term::Jump(t) if !graph.index.contains_key(&t));
        if leaves && rsp != Some(0) {
            return None;
        }
    }
    Some(Part { size, blocks: graph.addrs.iter().copied().collect(), leads_out: BTreeMap::new() })
}

/// rsp's offset from its value at the function's entry when the instructions of a block have run, if it is known.
fn rsp_at_end(block: &Block, effects: &[Effect], start: Option<&FrameState>) -> Option<i32> {
    start?.behind(block, effects).rsp
}

/// What a block of a beginning has done when it is over.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Done {
    /// Registers pushed, if nothing else was written to memory and rsp was not changed otherwise.
    pushed: Option<Vec<Register>>,
    defs: RegSet,
}

impl Done {
    fn step(&mut self, i: &Instruction, e: &Effect) {
        self.defs |= e.defs;
        let Some(pushed) = &mut self.pushed else { return };
        if i.code() == Code::Push_r64 && number(i.op0_register()).is_some_and(|r| RegSet::PRESERVED.has(r)) {
            // The value at entry, or what a bail-out puts back is another.
            if number(i.op0_register()).is_some_and(|r| self.defs.has(r)) {
                self.pushed = None;
            } else {
                pushed.push(i.op0_register());
            }
            return;
        }
        let reads_only = i.op0_kind() != OpKind::Memory
            || matches!(i.mnemonic(), Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Bt | Mnemonic::Nop);
        let jumps = i.flow_control() != FlowControl::Next;
        let x87 = i.cpuid_features().iter().any(|f| matches!(f, CpuidFeature::FPU | CpuidFeature::MMX));
        if e.rsp_write || !(reads_only || jumps) || i.is_string_instruction() || x87 {
            self.pushed = None;
        }
    }
}

/// The beginning of function `f`, if it may return early.
fn beginning(program: &Program, analysis: &Analysis, f: usize) -> Option<Part> {
    let graph = analysis.graphs.get(f)?;
    let live_in = analysis.summaries.get(f)?.live_in;
    if !graph.labels.is_empty() || !(live_in & RegSet::FLAGS).is_empty() {
        return None;
    }
    let blocks: Vec<&Block> = graph.addrs.iter().map(|a| program.blocks.get(a)).collect::<Option<_>>()?;
    let returns = |b: &Block| matches!(b.term, Term::Ret) && b.insns.last().is_some_and(|i| i.op_count() == 0);
    let passes = |b: &Block| match &b.term {
        Term::Jump(t) => graph.index.contains_key(t),
        Term::Cond { taken, fall } => graph.index.contains_key(taken) && graph.index.contains_key(fall),
        _ => false,
    };
    // Instructions to the nearest return, without calls. Longer ways than a beginning has do not matter, so few rounds are enough.
    let mut way: Vec<Option<usize>> = vec![None; blocks.len()];
    let mut changed = true;
    while changed {
        changed = false;
        for (b, block) in blocks.iter().enumerate() {
            let behind = match block {
                x if returns(x) => Some(0),
                x if passes(x) => graph.succs.get(b)?.iter().filter_map(|&t| way[t]).min(),
                _ => None,
            };
            let here = behind.map(|n| n + block.insns.len()).filter(|&n| n <= BEGINNING);
            if here.is_some() && way[b].is_none_or(|w| here < Some(w)) {
                way[b] = here;
                changed = true;
            }
        }
    }
    let mut inside: Vec<bool> = way.iter().map(Option::is_some).collect();
    loop {
        if !*inside.first()? {
            return None;
        }
        // What has happened at the end of each block that the entry reaches.
        let mut at: Vec<Option<Done>> = vec![None; blocks.len()];
        at[0] = Some(Done { pushed: Some(Vec::new()), defs: RegSet::EMPTY });
        let mut leads_out = BTreeMap::new();
        let mut wrong = None;
        let mut work = vec![0];
        let mut reached = BTreeSet::new();
        while let Some(b) = work.pop() {
            reached.insert(b);
            let mut done = at[b].clone()?;
            for (i, e) in blocks[b].insns.iter().zip(&graph.effects[b]) {
                done.step(i, e);
            }
            for &t in &graph.succs[b] {
                if !inside[t] {
                    let restored = done.pushed.iter().flatten().filter_map(|&r| number(r)).collect::<Vec<_>>();
                    let lost = (done.defs & live_in & RegSet::DATA) - RegSet::of(&restored);
                    match &done.pushed {
                        Some(pushed) if lost.is_empty() => {
                            leads_out.insert(graph.addrs[b], pushed.clone());
                        }
                        _ => wrong = Some(b),
                    }
                    continue;
                }
                match &mut at[t] {
                    None => {
                        at[t] = Some(done.clone());
                        work.push(t);
                    }
                    Some(old) if *old == done => {}
                    Some(old) => {
                        let pushed = if old.pushed == done.pushed { old.pushed.clone() } else { None };
                        let both = Done { pushed, defs: old.defs | done.defs };
                        if both != *old {
                            *old = both;
                            work.push(t);
                        }
                    }
                }
            }
        }
        if let Some(b) = wrong {
            inside[b] = false;
            continue;
        }
        let size = reached.iter().map(|&b| blocks[b].insns.len()).sum();
        let useful = reached.iter().any(|&b| returns(blocks[b])) && size <= BEGINNING;
        let blocks = reached.iter().map(|&b| graph.addrs[b]).collect();
        return (useful && !leads_out.is_empty()).then_some(Part { size, blocks, leads_out });
    }
}

struct Expansion<'a> {
    program: &'a Program,
    analysis: &'a Analysis,
    parts: &'a [Option<Part>],
    /// Functions whose blocks are being copied, the outermost first.
    open: Vec<usize>,
    addrs: Vec<u32>,
    blocks: BTreeMap<u32, Block>,
    real: HashMap<u32, u32>,
    budget: usize,
    checks_depth: bool,
}

impl Expansion<'_> {
    /// A new address that stands for `real`.
    fn stand_in(&mut self, real: u32) -> u32 {
        let a = VIRTUAL + self.real.len() as u32;
        self.real.insert(a, real);
        a
    }

    /// The function that a call of `target` in block `b` of function `f` is to be replaced by.
    fn choose(&mut self, f: usize, b: usize, target: u32, ret: u32, in_loop: bool) -> Option<usize> {
        let t = self.program.function_at(target)?;
        let size = self.parts.get(t)?.as_ref()?.size;
        let graph = self.analysis.graphs.get(f)?;
        let comes_back = graph.index.get(&ret).is_some_and(|r| graph.succs[b].contains(r));
        let fits = size <= self.budget && (in_loop || size <= SMALL);
        if !comes_back || !fits || self.open.len() > DEPTH || self.open.contains(&t) {
            return None;
        }
        self.budget -= size;
        Some(t)
    }

    /// A block that undoes `pushed` and goes to the function at `entry`, which returns to `ret`.
    fn bail_out(&mut self, entry: u32, pushed: &[Register], ret: u32) -> Option<u32> {
        let pops = pushed.iter().rev().map(|&r| Instruction::with1(Code::Pop_r64, r));
        let jump = Instruction::with_branch(Code::Jmp_rel32_64, u64::from(entry));
        let mut insns: Vec<Instruction> = pops.chain([jump]).collect::<Result<_, _>>().ok()?;
        for i in &mut insns {
            i.set_ip(u64::from(entry));
        }
        let here = self.stand_in(entry);
        self.addrs.push(here);
        self.blocks.insert(here, Block { insns, term: Term::Chain { target: entry, ret }, ends: false });
        Some(here)
    }

    /// Copies function `t`, or what of it is put into callers, which goes on at `ret` when it returns. Its entry in the graph.
    fn copy(&mut self, t: usize, ret: u32) -> Option<u32> {
        let (program, analysis) = (self.program, self.analysis);
        let graph = analysis.graphs.get(t)?;
        let part = self.parts.get(t)?.as_ref()?;
        // A beginning makes no calls but that of its function, which checks for itself.
        self.checks_depth |= part.leads_out.is_empty() && analysis.checks_depth.get(t).copied().unwrap_or(true);
        self.open.push(t);
        let own: HashMap<u32, u32> = part.blocks.iter().map(|&a| (a, self.stand_in(a))).collect();
        for (b, a) in graph.addrs.iter().enumerate().filter(|(_, a)| part.blocks.contains(a)) {
            let mut block = program.blocks.get(a)?.clone();
            let out = match part.leads_out.get(a) {
                Some(pushed) => Some(self.bail_out(*graph.addrs.first()?, pushed, ret)?),
                None => None,
            };
            let inside = |t: u32| own.get(&t).copied().or(out);
            block.term = match block.term {
                Term::Jump(to) => match inside(to) {
                    Some(to) => Term::Jump(to),
                    None => Term::Chain { target: to, ret },
                },
                Term::Cond { taken, fall } => Term::Cond { taken: inside(taken)?, fall: inside(fall)? },
                Term::Ret => Term::Return { ret },
                Term::JumpPredicted(expect) => {
                    let likely = self.bail_out(expect, &[], ret)?;
                    let other = self.bail_out(*graph.addrs.first()?, &[], ret)?;
                    Term::Check { expect, likely, other }
                }
                Term::Call { target, ret: site } => {
                    let site_here = own.get(&site).copied().unwrap_or_else(|| self.stand_in(site));
                    match self.choose(t, b, target, site, false) {
                        Some(callee) => Term::Enter { callee: self.copy(callee, site_here)?, ret: site_here },
                        None => Term::Call { target, ret: site_here },
                    }
                }
                Term::CallIndirect { ret: site } => {
                    Term::CallIndirect { ret: own.get(&site).copied().unwrap_or_else(|| self.stand_in(site)) }
                }
                Term::Trap => Term::Trap,
                _ => return None,
            };
            let here = *own.get(a)?;
            self.addrs.push(here);
            self.blocks.insert(here, block);
        }
        self.open.pop();
        own.get(graph.addrs.first()?).copied()
    }
}

/// Function `f` with small functions in it, if it calls any.
fn expand(program: &Program, analysis: &Analysis, parts: &[Option<Part>], f: usize) -> Option<Inlined> {
    let graph = analysis.graphs.get(f)?;
    let mut x = Expansion {
        program,
        analysis,
        parts,
        open: vec![f],
        addrs: graph.addrs.clone(),
        blocks: BTreeMap::new(),
        real: HashMap::new(),
        budget: BUDGET,
        checks_depth: *analysis.checks_depth.get(f)?,
    };
    let sizes = graph.addrs.iter().filter_map(|a| program.blocks.get(a)).map(|b| b.insns.len());
    let own_size: usize = sizes.sum();
    // Calls in inner loops come first, and of these the smallest functions, until the budget is spent.
    let cx = Context { program, snippet: false, unknown_mods: analysis.unknown_mods };
    let frames = frame(&cx, graph, &analysis.summaries, RegSet::EMPTY);
    let mut depths = vec![0u32; graph.addrs.len()];
    visit_loops(&graph.succs, &graph.preds, |members, _| {
        members.iter().for_each(|&b| depths[b] += 1);
        true
    });
    let mut calls = Vec::new();
    for (b, a) in graph.addrs.iter().enumerate() {
        let block = program.blocks.get(a)?;
        if let Term::Call { target, ret } = block.term
            && rsp_at_end(block, graph.effects.get(b)?, frames.at.get(b)?.as_ref()).is_some()
            && let Some(part) = program.function_at(target).and_then(|t| parts.get(t)).and_then(Option::as_ref)
        {
            calls.push((Reverse(*depths.get(b)?), part.size, b, target, ret));
        }
    }
    calls.sort_unstable();
    for (Reverse(depth), _, b, target, ret) in calls {
        if let Some(t) = x.choose(f, b, target, ret, depth > 0 && own_size <= BUDGET) {
            let callee = x.copy(t, ret)?;
            let a = *graph.addrs.get(b)?;
            let block = program.blocks.get(&a)?.clone();
            x.blocks.insert(a, Block { term: Term::Enter { callee, ret }, ..block });
        }
    }
    if x.blocks.is_empty() {
        return None;
    }
    let (checks_depth, real) = (x.checks_depth, x.real);
    let graph = build_graph(program, &x.addrs, x.blocks, real, &analysis.returns, false);
    let old = *analysis.summaries.get(f)?;
    let changed = graph.effects.iter().flatten().fold(RegSet::EMPTY, |s, e| s | e.defs);
    let own = Summary { kept: changed & (RegSet::DATA - old.mods), ..old };
    // Callers hand over what the function as such reads, and its frame must be known where the others' are put on top.
    let live = cx.liveness(&graph, &analysis.summaries, analysis.unknown, own);
    if !((*live.strong_in.first()?) - own.live_in - RegSet::FLAGS).is_empty() {
        return None;
    }
    let frames = frame(&cx, &graph, &analysis.summaries, RegSet::EMPTY);
    for (b, &a) in graph.addrs.iter().enumerate() {
        let block = graph.block(program, a)?;
        let Some(state) = frames.at.get(b)?.as_ref() else { continue };
        let rsp = rsp_at_end(block, graph.effects.get(b)?, Some(state));
        let behind = |ret: u32| frames.at.get(*graph.index.get(&ret)?)?.as_ref()?.rsp;
        let fits = match block.term {
            Term::Enter { ret, .. } => rsp.is_some() && behind(ret) == rsp,
            Term::Return { ret } | Term::Chain { ret, .. } => rsp.is_some() && behind(ret) == rsp.map(|c| c + 8),
            _ => true,
        };
        if !fits {
            return None;
        }
    }
    Some(Inlined { graph, own, checks_depth })
}
