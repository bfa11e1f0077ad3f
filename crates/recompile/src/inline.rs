//! Puts small functions into their callers.
//!
//! Only code that is called is treated so ([`crate::codegen::Form::Called`]), and nothing can be seen of it: the return address is pushed, registers
//! and stack are at every instruction what they would be, and whatever unwinds in the middle goes on in the small function's own resumed form. What is
//! saved is the call: host frames, copies between locals and globals, the comparison of what came back.
//!
//! A block of an inlined function needs an address of its own in the caller's graph: these lie above [`VIRTUAL`], where no code lies.

use crate::analysis::{Analysis, Context, Graph, Summary, build_graph, frame};
use crate::discover::{Block, Program, Term};
use crate::regs::RegSet;
use std::collections::{BTreeMap, HashMap};

/// Addresses from here on stand for blocks of inlined functions. Files with code up here are left alone.
const VIRTUAL: u32 = 0xe000_0000;
/// Instructions of a function that is put into its callers.
const SMALL: usize = 24;
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
    let sizes: Vec<Option<usize>> = (0..n).map(|f| size_if_small(program, analysis, f)).collect();
    (0..n).map(|f| expand(program, analysis, &sizes, f)).collect()
}

/// Instructions of function `f`, if it can be put into others.
fn size_if_small(program: &Program, analysis: &Analysis, f: usize) -> Option<usize> {
    let graph = analysis.graphs.get(f)?;
    if !graph.labels.is_empty() {
        return None;
    }
    let cx = Context { program, snippet: false, unknown_mods: analysis.unknown_mods };
    let mut size = 0;
    let mut returns = false;
    for &a in &graph.addrs {
        let block = program.blocks.get(&a)?;
        size += block.insns.len();
        if size > SMALL {
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
            Term::Call { .. } | Term::CallIndirect { .. } | Term::Trap => {}
            _ => return None,
        }
    }
    if !returns {
        return None;
    }
    // It must leave its frame as it found it.
    let frames = frame(&cx, graph, &analysis.summaries);
    for (b, &a) in graph.addrs.iter().enumerate() {
        let block = program.blocks.get(&a)?;
        let mut state = frames.at.get(b)?.clone()?;
        for (i, e) in block.insns.iter().zip(graph.effects.get(b)?) {
            state.step(i, e);
        }
        let leaves =
            matches!(block.term, Term::Ret) || matches!(block.term, Term::Jump(t) if !graph.index.contains_key(&t));
        if leaves && state.rsp != Some(0) {
            return None;
        }
    }
    Some(size)
}

struct Expansion<'a> {
    program: &'a Program,
    analysis: &'a Analysis,
    sizes: &'a [Option<usize>],
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
    fn choose(&mut self, f: usize, b: usize, target: u32, ret: u32) -> Option<usize> {
        let t = self.program.function_at(target)?;
        let size = (*self.sizes.get(t)?)?;
        let graph = self.analysis.graphs.get(f)?;
        let comes_back = graph.index.get(&ret).is_some_and(|r| graph.succs[b].contains(r));
        if !comes_back || size > self.budget || self.open.len() > DEPTH || self.open.contains(&t) {
            return None;
        }
        self.budget -= size;
        Some(t)
    }

    /// Copies function `t`, which goes on at `ret` when it returns. Its entry in the graph.
    fn copy(&mut self, t: usize, ret: u32) -> Option<u32> {
        let (program, analysis) = (self.program, self.analysis);
        let graph = analysis.graphs.get(t)?;
        self.checks_depth |= analysis.checks_depth.get(t).copied().unwrap_or(true);
        self.open.push(t);
        let own: HashMap<u32, u32> = graph.addrs.iter().map(|&a| (a, self.stand_in(a))).collect();
        for (b, a) in graph.addrs.iter().enumerate() {
            let mut block = program.blocks.get(a)?.clone();
            block.term = match block.term {
                Term::Jump(to) => match own.get(&to) {
                    Some(&to) => Term::Jump(to),
                    None => Term::Chain { target: to, ret },
                },
                Term::Cond { taken, fall } => Term::Cond { taken: *own.get(&taken)?, fall: *own.get(&fall)? },
                Term::Ret => Term::Return { ret },
                Term::Call { target, ret: site } => {
                    let site_here = own.get(&site).copied().unwrap_or_else(|| self.stand_in(site));
                    match self.choose(t, b, target, site) {
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
fn expand(program: &Program, analysis: &Analysis, sizes: &[Option<usize>], f: usize) -> Option<Inlined> {
    let graph = analysis.graphs.get(f)?;
    let mut x = Expansion {
        program,
        analysis,
        sizes,
        open: vec![f],
        addrs: graph.addrs.clone(),
        blocks: BTreeMap::new(),
        real: HashMap::new(),
        budget: BUDGET,
        checks_depth: *analysis.checks_depth.get(f)?,
    };
    for (b, a) in graph.addrs.iter().enumerate() {
        let block = program.blocks.get(a)?;
        if let Term::Call { target, ret } = block.term
            && let Some(t) = x.choose(f, b, target, ret)
        {
            let callee = x.copy(t, ret)?;
            x.blocks.insert(*a, Block { term: Term::Enter { callee, ret }, ..block.clone() });
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
    let cx = Context { program, snippet: false, unknown_mods: analysis.unknown_mods };
    let live = cx.liveness(&graph, &analysis.summaries, analysis.unknown, own);
    if !((*live.live_in.first()?) - own.live_in - RegSet::FLAGS).is_empty() {
        return None;
    }
    let frames = frame(&cx, &graph, &analysis.summaries);
    for (b, &a) in graph.addrs.iter().enumerate() {
        let block = graph.block(program, a)?;
        let Some(mut state) = frames.at.get(b)?.clone() else { continue };
        for (i, e) in block.insns.iter().zip(graph.effects.get(b)?) {
            state.step(i, e);
        }
        let behind = |ret: u32| frames.at.get(*graph.index.get(&ret)?)?.as_ref()?.rsp;
        let fits = match block.term {
            Term::Enter { ret, .. } => state.rsp.is_some() && behind(ret) == state.rsp,
            Term::Return { ret } | Term::Chain { ret, .. } => {
                state.rsp.is_some() && behind(ret) == state.rsp.map(|c| c + 8)
            }
            _ => true,
        };
        if !fits {
            return None;
        }
    }
    Some(Inlined { graph, own, checks_depth })
}
