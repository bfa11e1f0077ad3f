//! What lives where: liveness across functions, what functions preserve, and how the stack pointer moves.
//!
//! All sets are fixed points over the whole file. `live_in` and `ret_live` grow from nothing; `mods` (what a normal return may have changed) grows
//! from nothing too, which makes the assumption "a function preserves rbx" as strong as the code allows: a register counts as preserved when every
//! return finds in it the value it had at the entry, by way of a stack slot that no other rsp- or rbp-relative access touches.
//!
//! Liveness comes in two strengths. A register is *strongly* live when an instruction of the function, or of one that it calls, reads it, and *weakly*
//! when others may: the target of an indirect call, which may take six arguments or none, or what a callee calls. No value of before a call reaches such code in
//! a register that the call may change, so weak liveness ends there; and a function counts as returning something in a register that carries no results (or in
//! the flags) only if most of its callers read it. Without these two rules one indirect call, or one piece of data taken for code, makes
//! everything live everywhere. The direction flag is clear whenever a function is entered or left (System V ABI, section 3.2.1), so it is followed inside of functions only.

use crate::discover::{Block, Function, Program, Term};
use crate::hold;
use crate::regs::*;
use crate::structure::visit_loops;
use iced_x86::{Code, Instruction, InstructionInfoFactory, Mnemonic, OpKind, Register};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What callers need to know of a function.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Registers whose value at entry may matter.
    pub live_in: RegSet,
    /// Of these, what an instruction of the function itself reads.
    pub direct_in: RegSet,
    /// Of `mods` and rax, what a caller may read after a normal return.
    pub ret_live: RegSet,
    /// Registers that a normal return may leave changed.
    pub mods: RegSet,
    /// Registers that it changes and puts back: callers rely on their globals as well.
    pub kept: RegSet,
}

/// A control flow graph with effects, the input of liveness and code generation.
#[derive(Clone)]
pub struct Graph {
    /// Block addresses; index 0 is the entry.
    pub addrs: Vec<u32>,
    pub index: HashMap<u32, usize>,
    /// Successors inside the function (a return site for calls).
    pub succs: Vec<Vec<usize>>,
    pub preds: Vec<Vec<usize>>,
    pub effects: Vec<Vec<Effect>>,
    /// Blocks that an indirect jump may lead to.
    pub labels: Vec<usize>,
    /// Of these, the ones that nothing in the function reaches from its entry.
    pub inner_entries: Vec<usize>,
    /// Blocks that the program does not have, or not so: see [`crate::inline`].
    own: BTreeMap<u32, Block>,
    /// Addresses that those of inlined blocks stand for.
    real: HashMap<u32, u32>,
    exposed: Vec<Exposed>,
    /// Saves all registers that may carry arguments, used or not.
    saves_arguments: bool,
    /// Per block: functions (or `None`: unknown code) that leaving it by a jump leads to.
    leaves: Vec<Vec<Option<usize>>>,
    /// Per block: the function that its direct call goes to.
    calls: Vec<Option<usize>>,
}

impl Graph {
    /// The block at `addr`.
    pub fn block<'a>(&'a self, program: &'a Program, addr: u32) -> Option<&'a Block> {
        self.own.get(&addr).or_else(|| program.blocks.get(&addr))
    }

    /// The guest address that `addr` stands for.
    pub fn real(&self, addr: u32) -> u32 {
        self.real.get(&addr).copied().unwrap_or(addr)
    }

    /// Replaces block `b` by one that leaves the function for its resumed form.
    pub fn leave(&mut self, b: usize) {
        let addr = self.addrs[b];
        self.own.insert(addr, Block { insns: Vec::new(), term: Term::Invalid(addr), ends: false });
        for t in std::mem::take(&mut self.succs[b]) {
            self.preds[t].retain(|&p| p != b);
        }
        self.effects[b] = Vec::new();
        self.exposed[b] = Exposed::default();
        self.leaves[b] = Vec::new();
        self.calls[b] = None;
    }

    /// The functions that are called directly.
    pub fn callees(&self) -> impl Iterator<Item = usize> {
        self.calls.iter().flatten().copied()
    }

    /// The functions that are jumped to.
    pub fn jumps(&self) -> impl Iterator<Item = usize> {
        self.leaves.iter().flatten().flatten().copied()
    }

    pub fn has_loops(&self) -> bool {
        let mut any = false;
        visit_loops(&self.succs, &self.preds, |_, _| {
            any = true;
            false
        });
        any
    }
}

/// Of the blocks `labels`, those that nothing reaches from block 0.
fn inner_entries(labels: &[usize], succs: &[Vec<usize>]) -> Vec<usize> {
    if labels.is_empty() {
        return Vec::new();
    }
    let mut seen = vec![false; succs.len()];
    let mut work = vec![0];
    while let Some(b) = work.pop() {
        if seen.get(b).is_some_and(|s| !s) {
            seen[b] = true;
            work.extend(&succs[b]);
        }
    }
    labels.iter().copied().filter(|&b| !seen[b]).collect()
}

/// What the instructions of a block read before they write it, and what they write for certain.
#[derive(Clone, Copy, Default)]
struct Exposed {
    uses: RegSet,
    /// See [`weak_uses`].
    weak: RegSet,
    defs: RegSet,
}

impl Exposed {
    fn of(block: &Block, effects: &[Effect], snippet: bool) -> Exposed {
        let mut sum = Exposed::default();
        for (e, i) in effects.iter().zip(&block.insns).rev() {
            let kills = e.defs - e.keeps;
            let weak = if snippet { RegSet::EMPTY } else { weak_uses(i, e) };
            sum.uses = (sum.uses - kills) | (e.uses - weak);
            sum.weak = (sum.weak - kills) | weak;
            sum.defs |= kills;
        }
        sum
    }
}

/// Where a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callee {
    Direct(usize),
    Unknown,
}

pub struct Analysis {
    pub graphs: Vec<Graph>,
    pub summaries: Vec<Summary>,
    pub unknown: Unknown,
    /// What any target of an indirect call may change.
    pub unknown_mods: RegSet,
    /// Functions that look at the stack window on entry, so that the host's stack does not grow without bound.
    pub checks_depth: Vec<bool>,
    /// Per function: it can return.
    pub returns: Vec<bool>,
    /// Per function: nobody comes to its entry with a frame of his own, as the pieces of larger functions do.
    pub entered: Vec<bool>,
    /// Per function: see [`hold::leads_to_readers`].
    pub leads_to_readers: Vec<bool>,
}

impl Analysis {
    /// Whether function `f` may hold registers ([`hold`]).
    pub fn may_hold(&self, f: usize) -> bool {
        self.entered.get(f) == Some(&true) && self.leads_to_readers.get(f) == Some(&false)
    }
}

/// What code that is not known may read: what the functions of the file whose address is taken do read.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The target of an indirect call.
    pub called: RegSet,
    /// The target of an indirect jump, which may be a place in the middle of a function.
    pub jumped: RegSet,
}

/// Registers that code outside of the file may read by convention: what carries arguments (System V ABI, section 3.2.3) and what calls preserve.
const UNKNOWN_READS: RegSet = RegSet(0x00ff_ffff & !(1 << RSP) & !(1 << R11));

/// General registers that carry arguments of C functions (rax: how many are in SSE registers).
pub const ARGUMENTS: RegSet = RegSet(1 << RDI | 1 << RSI | 1 << RDX | 1 << RCX | 1 << R8 | 1 << R9 | 1 << RAX);
/// Registers that carry no arguments: live at a function's entry only when they are strongly live.
const NO_ARGUMENTS: RegSet = RegSet(1 << R10 | 1 << R11 | 0xff00_0000);
/// SSE registers that carry arguments.
const SSE_ARGUMENTS: RegSet = RegSet(0xff << 16);

/// Functions that can return. A call of one that cannot (`abort`, `exit`) ends its block for good: what lies behind is often another function.
pub fn returning(program: &Program) -> Vec<bool> {
    let mut returns = vec![false; program.functions.len()];
    loop {
        let mut changed = false;
        for (i, f) in program.functions.iter().enumerate() {
            if !returns[i] && may_return(program, f, &returns) {
                returns[i] = true;
                changed = true;
            }
        }
        if !changed {
            return returns;
        }
    }
}

fn may_return(program: &Program, f: &Function, returns: &[bool]) -> bool {
    let own: HashSet<u32> = f.blocks.iter().copied().collect();
    let mut seen: HashSet<u32> = HashSet::new();
    let mut work = vec![f.entry];
    while let Some(a) = work.pop() {
        if !own.contains(&a) {
            // A tail jump.
            if program.function_at(a).is_none_or(|t| returns[t]) {
                return true;
            }
            continue;
        }
        let Some(block) = program.blocks.get(&a).filter(|_| seen.insert(a)) else { continue };
        match &block.term {
            Term::Ret | Term::JumpIndirect(None) | Term::JumpPredicted(_) | Term::Invalid(_) => return true,
            Term::Call { target, .. } if program.function_at(*target).is_some_and(|t| !returns[t]) => {}
            _ => work.extend(block.successors()),
        }
    }
    false
}

/// The graph of the blocks `addrs`, the entry first. `own` are those that the program does not have so, `real` the addresses that theirs stand for.
pub fn build_graph(
    program: &Program,
    addrs: &[u32],
    own: BTreeMap<u32, Block>,
    real: HashMap<u32, u32>,
    returns: &[bool],
    snippet: bool,
) -> Graph {
    let mut factory = InstructionInfoFactory::new();
    let get = |a: &u32| own.get(a).or_else(|| program.blocks.get(a));
    // Elsewhere the direction flag is clear.
    let direction = snippet
        || addrs
            .iter()
            .filter_map(get)
            .flat_map(|b| &b.insns)
            .any(|i| matches!(i.mnemonic(), Mnemonic::Std | Mnemonic::Popfq));
    let index: HashMap<u32, usize> = addrs.iter().enumerate().map(|(i, &a)| (a, i)).collect();
    let mut succs = vec![Vec::new(); addrs.len()];
    let mut preds = vec![Vec::new(); addrs.len()];
    let mut effects = Vec::with_capacity(addrs.len());
    let mut exposed = Vec::with_capacity(addrs.len());
    let mut leaves = vec![Vec::new(); addrs.len()];
    let mut calls = vec![None; addrs.len()];
    for (i, a) in addrs.iter().enumerate() {
        let Some(block) = get(a) else {
            effects.push(Vec::new());
            exposed.push(Exposed::default());
            continue;
        };
        if let Term::Call { target, .. } | Term::Chain { target, .. } = block.term {
            calls[i] = program.function_at(target);
        }
        if let Term::JumpPredicted(t) = block.term {
            leaves[i].push(program.function_at(t));
        }
        let ends = calls[i].is_some_and(|t: usize| !returns[t]);
        let jumps = matches!(block.term, Term::Jump(_) | Term::Cond { .. } | Term::JumpIndirect(_));
        for s in block.successors() {
            if jumps && !index.contains_key(&s) {
                leaves[i].push(program.function_at(s));
            }
            if !ends
                && let Some(&t) = index.get(&s)
                && let Some(v) = succs.get_mut(i)
                && !v.contains(&t)
            {
                v.push(t);
                if let Some(p) = preds.get_mut(t) {
                    let p: &mut Vec<usize> = p;
                    p.push(i);
                }
            }
        }
        let mut list: Vec<Effect> = block.insns.iter().map(|i| effect(&mut factory, i)).collect();
        if !direction {
            list.iter_mut().for_each(|e| e.uses.remove(DF));
        }
        exposed.push(Exposed::of(block, &list, snippet));
        effects.push(list);
    }
    let saves_arguments = saves_arguments(addrs.iter().filter_map(get));
    let labels: Vec<usize> = (0..addrs.len()).filter(|&b| program.labels.contains(&addrs[b])).collect();
    let inner_entries = if snippet { Vec::new() } else { inner_entries(&labels, &succs) };
    let addrs = addrs.to_vec();
    Graph {
        own,
        real,
        addrs,
        index,
        succs,
        preds,
        effects,
        labels,
        inner_entries,
        exposed,
        saves_arguments,
        leaves,
        calls,
    }
}

/// Reads that compilers let happen without a meaning: what is pushed to align the stack, and the upper half that scalar conversions and square roots keep.
fn weak_uses(i: &Instruction, e: &Effect) -> RegSet {
    use Mnemonic::*;
    match i.mnemonic() {
        Push => e.uses - RegSet::PRESERVED,
        Cvtsi2sd | Cvtsi2ss | Cvtsd2ss | Cvtss2sd | Sqrtsd | Sqrtss if i.op1_register() != i.op0_register() => {
            number(i.op0_register()).map_or(RegSet::EMPTY, RegSet::one)
        }
        _ => RegSet::EMPTY,
    }
}

/// Whether a function stores xmm0 to xmm7 to the stack, as those with a variable number of arguments do (System V ABI, section 3.5.7) and those that
/// look something up before they jump on.
fn saves_arguments<'a>(blocks: impl Iterator<Item = &'a Block>) -> bool {
    let mut saved = RegSet::EMPTY;
    for i in blocks.flat_map(|b| &b.insns) {
        if matches!(i.mnemonic(), Mnemonic::Fxsave | Mnemonic::Fxsave64) {
            return true;
        }
        if matches!(i.mnemonic(), Mnemonic::Movaps | Mnemonic::Movups | Mnemonic::Movdqa | Mnemonic::Movdqu)
            && i.op0_kind() == OpKind::Memory
            && matches!(i.memory_base(), Register::RSP | Register::RBP | Register::RAX)
            && let Some(n) = number(i.op1_register())
        {
            saved.insert(n);
        }
    }
    (SSE_ARGUMENTS - saved).is_empty()
}

/// Full liveness of one function: what matters to anybody, at the start and the end of each block.
pub struct Liveness {
    pub live_in: Vec<RegSet>,
    pub live_out: Vec<RegSet>,
    /// Of `live_in` and `live_out`, what is strongly live.
    pub strong_in: Vec<RegSet>,
    pub strong_out: Vec<RegSet>,
}

/// Everything that the end of a block asks for beyond its successors.
#[derive(Clone, Copy, Default)]
struct TermUse {
    /// Read at the terminator.
    uses: RegSet,
    /// Perhaps read by unknown code.
    weak: RegSet,
    /// Overwritten by it (before the successors' demands count).
    defs: RegSet,
    /// Left with a value that nobody hands on.
    ends: RegSet,
}

pub struct Context<'a> {
    pub program: &'a Program,
    pub snippet: bool,
    /// What an unknown callee may change: everything, but the direction flag only if something in the file sets it.
    pub unknown_mods: RegSet,
}

impl Context<'_> {
    pub fn callee(&self, term: &Term) -> Option<Callee> {
        match term {
            Term::Call { target, .. } | Term::Chain { target, .. } => {
                Some(self.program.function_at(*target).map_or(Callee::Unknown, Callee::Direct))
            }
            Term::CallIndirect { .. } => Some(Callee::Unknown),
            _ => None,
        }
    }

    /// What code that is not known may read.
    pub fn everything(&self) -> RegSet {
        if self.snippet { RegSet::EVERYTHING } else { UNKNOWN_READS }
    }

    /// What leaving the function for `target` (not a block of it) needs.
    pub fn tail_use(&self, target: u32, summaries: &[Summary], own_ret: RegSet) -> RegSet {
        match self.program.function_at(target).and_then(|t| summaries.get(t)) {
            Some(s) if !self.snippet => s.live_in | own_ret,
            _ => self.everything(),
        }
    }

    /// What no value from before a call can be read from after it.
    pub fn spent(&self, callee: Callee, summaries: &[Summary]) -> RegSet {
        if self.snippet {
            return RegSet::EMPTY;
        }
        let mods = match callee {
            Callee::Direct(t) => summaries.get(t).map_or(RegSet::EMPTY, |s| s.mods),
            Callee::Unknown => self.unknown_mods,
        };
        mods - RegSet::PRESERVED - RegSet::one(RAX)
    }

    /// What the end of block `b` reads and overwrites.
    fn term_use(
        &self,
        graph: &Graph,
        b: usize,
        term: &Term,
        summaries: &[Summary],
        unknown: Unknown,
        own: Summary,
    ) -> TermUse {
        let mut t = TermUse::default();
        for leave in &graph.leaves[b] {
            match leave.and_then(|f| summaries.get(f)) {
                // What it may change it returns itself.
                Some(s) if !self.snippet => {
                    t.uses |= s.direct_in | (own.ret_live - s.mods) | own.kept;
                    t.weak |= s.live_in | own.ret_live;
                }
                _ => t.weak |= self.everything(),
            }
        }
        match term {
            Term::Jump(_) | Term::Cond { .. } => {}
            // Another variant of the same function may read any argument.
            Term::JumpPredicted(_) => t.weak |= ARGUMENTS | own.kept,
            Term::Ret => t.uses = if self.snippet { self.everything() } else { own.ret_live | own.kept },
            Term::Enter { .. } | Term::Return { .. } | Term::Check { .. } => {}
            Term::Call { .. } | Term::Chain { .. } => {
                t.defs.insert(RAX);
                match graph.calls[b].and_then(|f| summaries.get(f).map(|s| (f, s))) {
                    Some((f, s)) if !self.snippet => {
                        t.uses = s.direct_in;
                        t.weak = s.live_in;
                        t.ends = self.spent(Callee::Direct(f), summaries);
                    }
                    _ => t.weak = self.everything(),
                }
            }
            Term::CallIndirect { .. } => {
                t.weak = if self.snippet { self.everything() } else { unknown.called };
                t.ends = self.spent(Callee::Unknown, summaries);
                t.defs.insert(RAX);
            }
            Term::JumpIndirect(_) if self.snippet => t.uses = self.everything(),
            // What a table leads to counts as its successors do.
            Term::JumpIndirect(Some(table)) => {
                if let Some(n) = number(table.index) {
                    t.uses.insert(n);
                }
            }
            Term::JumpIndirect(None) => t.weak = unknown.jumped | own.ret_live,
            // How many arguments it has depends on rax.
            Term::Syscall { .. } => {
                t.uses = if self.snippet { self.everything() } else { RegSet::one(RAX) };
                t.weak = RegSet::of(&[RDI, RSI, RDX, R10, R8, R9]);
                t.defs = RegSet::of(&[RAX, RCX, R11]);
            }
            Term::Trap => t.uses = if self.snippet { self.everything() } else { RegSet::EMPTY },
            Term::Invalid(_) => t.weak = self.everything(),
        }
        t
    }

    /// What is strongly live when the instructions of block `b` have run.
    pub fn strong_at_end(
        &self,
        graph: &Graph,
        b: usize,
        live: &Liveness,
        summaries: &[Summary],
        own: Summary,
    ) -> RegSet {
        let Some(block) = graph.block(self.program, graph.addrs[b]) else { return RegSet::EVERYTHING };
        // What is read there is not known.
        if matches!(block.term, Term::CallIndirect { .. } | Term::JumpIndirect(_) | Term::Invalid(_)) {
            return RegSet::EVERYTHING;
        }
        let t = self.term_use(graph, b, &block.term, summaries, Unknown::default(), own);
        (live.strong_out[b] - t.defs) | t.uses
    }

    /// What instructions of the function itself read of the values at its entry.
    fn direct_in(&self, graph: &Graph, summaries: &[Summary]) -> RegSet {
        let n = graph.addrs.len();
        let mut read = vec![RegSet::EMPTY; n];
        let mut work: Vec<usize> = (0..n).collect();
        while let Some(b) = work.pop() {
            let ends = match graph.block(self.program, graph.addrs[b]).map(|x| &x.term) {
                Some(Term::Syscall { .. }) => RegSet::of(&[RAX, RCX, R11]),
                Some(t) => self.callee(t).map_or(RegSet::EMPTY, |c| self.spent(c, summaries) | RegSet::one(RAX)),
                None => RegSet::EMPTY,
            };
            let out = graph.succs[b].iter().fold(RegSet::EMPTY, |s, &t| s | read[t]);
            let exposed = &graph.exposed[b];
            let set = (out - ends - exposed.defs) | exposed.uses;
            if set != read[b] {
                read[b] = set;
                work.extend(&graph.preds[b]);
            }
        }
        let all = read.first().copied().unwrap_or_default() - RegSet::one(DF);
        if graph.saves_arguments { all - ARGUMENTS - SSE_ARGUMENTS } else { all }
    }

    /// Finds writes of one or two bytes behind which nobody reads the rest of the register: they need not keep it ([`Effect::narrow`]).
    pub fn narrow(&self, graph: &mut Graph, summaries: &[Summary], unknown: Unknown, own: Summary) {
        let n = graph.addrs.len();
        if self.snippet || graph.effects.iter().flatten().all(|e| e.parts == Wide::NONE) {
            return;
        }
        let mut at_term = vec![(Wide::NONE, Wide::NONE); n];
        for (b, a) in graph.addrs.iter().enumerate() {
            let Some(block) = graph.block(self.program, *a) else { continue };
            let t = self.term_use(graph, b, &block.term, summaries, unknown, own);
            let wide = match block.term {
                // It may go on elsewhere.
                Term::Return { .. } => RegSet::GENERAL,
                _ => (t.uses | t.weak) & RegSet::GENERAL,
            };
            at_term[b] = (Wide::all(wide), Wide::all(t.defs));
        }
        let after_insns = |b: usize, wide: &[Wide], graph: &Graph| {
            let out = graph.succs[b].iter().fold(Wide::NONE, |s, &t| s | wide[t]);
            (out - at_term[b].1) | at_term[b].0
        };
        let mut wide = vec![Wide::NONE; n];
        let mut work: Vec<usize> = (0..n).collect();
        while let Some(b) = work.pop() {
            let end = after_insns(b, &wide, graph);
            let start = graph.effects[b].iter().rev().fold(end, |s, e| e.wide_before(s));
            if start != wide[b] {
                wide[b] = start;
                work.extend(&graph.preds[b]);
            }
        }
        for b in 0..n {
            let mut after = after_insns(b, &wide, graph);
            for e in graph.effects[b].iter_mut().rev() {
                e.narrow = (e.parts - after).either();
                e.uses = e.uses - (e.narrow & e.unread);
                after = e.wide_before(after);
            }
            let block = graph.block(self.program, graph.addrs[b]);
            graph.exposed[b] = block.map(|x| Exposed::of(x, &graph.effects[b], false)).unwrap_or_default();
        }
    }

    pub fn liveness(&self, graph: &Graph, summaries: &[Summary], unknown: Unknown, own: Summary) -> Liveness {
        let n = graph.addrs.len();
        let mut strong = (vec![RegSet::EMPTY; n], vec![RegSet::EMPTY; n]);
        let mut weak = (vec![RegSet::EMPTY; n], vec![RegSet::EMPTY; n]);
        let mut work: Vec<usize> = (0..n).collect();
        let mut queued = vec![true; n];
        let terms: Vec<TermUse> = graph
            .addrs
            .iter()
            .enumerate()
            .map(|(i, a)| {
                graph
                    .block(self.program, *a)
                    .map(|b| self.term_use(graph, i, &b.term, summaries, unknown, own))
                    .unwrap_or_default()
            })
            .collect();
        while let Some(b) = work.pop() {
            queued[b] = false;
            let union = |sets: &[RegSet]| graph.succs[b].iter().fold(RegSet::EMPTY, |s, &t| s | sets[t]);
            (strong.1[b], weak.1[b]) = (union(&strong.0), union(&weak.0));
            let (term, exposed) = (&terms[b], &graph.exposed[b]);
            let s = (strong.1[b] - term.defs) | term.uses;
            let s = (s - exposed.defs) | exposed.uses;
            let w = (weak.1[b] - term.defs - term.ends) | term.weak;
            let w = (w - exposed.defs) | exposed.weak;
            if s != strong.0[b] || w != weak.0[b] {
                (strong.0[b], weak.0[b]) = (s, w);
                for &p in &graph.preds[b] {
                    if !queued[p] {
                        queued[p] = true;
                        work.push(p);
                    }
                }
            }
        }
        let all = |s: &[RegSet], w: &[RegSet]| s.iter().zip(w).map(|(&s, &w)| s | w).collect();
        Liveness {
            live_in: all(&strong.0, &weak.0),
            live_out: all(&strong.1, &weak.1),
            strong_in: strong.0,
            strong_out: strong.1,
        }
    }
}

pub fn analyse(program: &Program, snippet: bool) -> Analysis {
    let unknown_mods = if snippet { RegSet::EVERYTHING } else { RegSet::EVERYTHING - RegSet::one(DF) };
    let cx = Context { program, snippet, unknown_mods };
    let returns = returning(program);
    let graph = |f: &Function| build_graph(program, &f.blocks, BTreeMap::new(), HashMap::new(), &returns, snippet);
    let graphs: Vec<Graph> = program.functions.iter().map(graph).collect();
    let n = graphs.len();
    let mut s = vec![Summary::default(); n];
    // Who calls or tail-calls whom, for re-queueing.
    let mut callers: Vec<Vec<usize>> = vec![Vec::new(); n];
    for (i, g) in graphs.iter().enumerate() {
        for a in &g.addrs {
            let Some(b) = program.blocks.get(a) else { continue };
            let mut targets = b.successors();
            if let Term::Call { target, .. } | Term::JumpPredicted(target) = b.term {
                targets.push(target);
            }
            for t in targets {
                if let Some(f) = program.function_at(t)
                    && !callers[f].contains(&i)
                {
                    callers[f].push(i);
                }
            }
        }
    }
    // What functions may change.
    let mut queued = vec![true; n];
    let mut work: Vec<usize> = (0..n).rev().collect();
    while let Some(f) = work.pop() {
        queued[f] = false;
        let frame = frame(&cx, &graphs[f], &s, RegSet::EMPTY);
        if !(frame.mods - s[f].mods).is_empty() {
            s[f].mods |= frame.mods;
            for &c in &callers[f] {
                if !queued[c] {
                    queued[c] = true;
                    work.push(c);
                }
            }
        }
    }
    for (f, g) in graphs.iter().enumerate() {
        s[f].direct_in = cx.direct_in(g, &s);
        s[f].kept = g.effects.iter().flatten().fold(RegSet::EMPTY, |s, e| s | e.defs) & (RegSet::DATA - s[f].mods);
    }
    let mut unknown = Unknown { called: RegSet::PRESERVED, jumped: RegSet::PRESERVED };
    loop {
        settle_returns(&cx, &graphs, &callers, &mut s, unknown);
        let taken = program.functions.iter().zip(&s).filter(|(f, _)| program.address_taken.contains(&f.entry));
        let taken: Vec<RegSet> = taken.map(|(_, s)| s.live_in).collect();
        let entries = taken.iter().fold(RegSet::EMPTY, |all, &s| all | s);
        // Places in functions pass for functions now and then, and read anything. Whether a file's convention passes something in the
        // registers that carry no arguments in C shows in many functions.
        let unusual = NO_ARGUMENTS.iter().any(|r| 16 * taken.iter().filter(|s| s.has(r)).count() > taken.len());
        let passed = if unusual { RegSet::DATA } else { RegSet::DATA - NO_ARGUMENTS };
        let mut places = RegSet::EMPTY;
        for (f, g) in graphs.iter().enumerate().filter(|(_, g)| !g.labels.is_empty()) {
            let live = cx.liveness(g, &s, unknown, s[f]);
            places = g.labels.iter().fold(places, |set, &b| set | live.live_in[b]);
        }
        // What is called may be a place that was not taken for a function.
        let called = (entries & passed) | (places & (ARGUMENTS | SSE_ARGUMENTS));
        let jumped = (entries | places) & RegSet::DATA;
        let more = Unknown { called: unknown.called | called, jumped: unknown.jumped | jumped };
        if more == unknown {
            break;
        }
        unknown = more;
    }
    let checks_depth = checks_depth(program, &graphs);
    let leads_to_readers = hold::leads_to_readers(program, &graphs, &returns);
    let entered = entered(&cx, &graphs, &s);
    Analysis { graphs, summaries: s, unknown, unknown_mods, checks_depth, returns, entered, leads_to_readers }
}

/// Functions that are called, or jumped to by such functions in place of a return, and by nobody from the middle. (Where data were taken for code, that jumps anywhere.)
fn entered(cx: &Context, graphs: &[Graph], summaries: &[Summary]) -> Vec<bool> {
    let program = cx.program;
    let mut entered: Vec<bool> = program.functions.iter().map(|f| program.starts.contains(&f.entry)).collect();
    let mut jumps: Vec<Vec<usize>> = vec![Vec::new(); graphs.len()];
    let mut middle = vec![false; graphs.len()];
    for (f, g) in graphs.iter().enumerate() {
        if g.leaves.iter().all(Vec::is_empty) {
            continue;
        }
        let frames = frame(cx, g, summaries, RegSet::PRESERVED);
        for (b, targets) in g.leaves.iter().enumerate().filter(|(_, t)| !t.is_empty()) {
            let start = frames.at[b].as_ref().zip(g.block(program, g.addrs[b]));
            let state = start.map(|(state, block)| state.behind(block, &g.effects[b]));
            let bare = state.is_some_and(|s| s.rsp == Some(0) && (RegSet::PRESERVED - s.entry).is_empty());
            for &t in targets.iter().flatten() {
                if bare {
                    jumps[f].push(t);
                } else {
                    middle[t] = true;
                }
            }
        }
    }
    let mut work: Vec<usize> = (0..entered.len()).filter(|&f| entered[f]).collect();
    while let Some(f) = work.pop() {
        for &t in &jumps[f] {
            if !entered[t] {
                entered[t] = true;
                work.push(t);
            }
        }
    }
    let middle = |f: usize| middle[f] && !program.known_starts.contains(&program.functions[f].entry);
    entered.iter().enumerate().map(|(f, &e)| e && !middle(f)).collect()
}

/// Longest chain of calls without a check.
const UNCHECKED_CALLS: u32 = 16;

/// Chooses functions so that no chain of direct calls longer than [`UNCHECKED_CALLS`] goes without a check: those that call what was not recompiled, one in every
/// cycle, and some in long chains.
fn checks_depth(program: &Program, graphs: &[Graph]) -> Vec<bool> {
    let n = graphs.len();
    let mut callees: Vec<Vec<usize>> = vec![Vec::new(); n];
    let mut checks = vec![false; n];
    for (f, g) in graphs.iter().enumerate() {
        for (b, a) in g.addrs.iter().enumerate() {
            // A tail jump adds no frame, but what it leads to may call.
            callees[f].extend(g.leaves[b].iter().flatten());
            let Some(block) = program.blocks.get(a) else { continue };
            match &block.term {
                Term::Call { .. } => match g.calls[b] {
                    Some(t) => callees[f].push(t),
                    None => checks[f] = true,
                },
                // To any other function there is a check on the way ([`crate::codegen::index::Helper::Jump`]).
                Term::CallIndirect { .. } | Term::JumpIndirect(None) => callees[f].extend(program.expected(block)),
                _ => {}
            }
        }
        callees[f].sort_unstable();
        callees[f].dedup();
    }
    // Depth first; a call of a function that is still being looked at closes a cycle. `rank`: unchecked calls below.
    let mut rank: Vec<Option<u32>> = vec![None; n];
    let mut open = vec![false; n];
    for root in 0..n {
        if rank[root].is_some() {
            continue;
        }
        let mut stack = vec![(root, 0)];
        open[root] = true;
        while let Some((f, next)) = stack.last_mut() {
            let f = *f;
            if let Some(&t) = callees[f].get(*next) {
                *next += 1;
                if open[t] {
                    checks[t] = true;
                } else if rank[t].is_none() {
                    open[t] = true;
                    stack.push((t, 0));
                }
                continue;
            }
            let below = |t: &usize| if checks[*t] { 0 } else { rank[*t].map_or(0, |r| r + 1) };
            let deepest = callees[f].iter().map(below).max().unwrap_or(0);
            if deepest > UNCHECKED_CALLS {
                checks[f] = true;
            }
            rank[f] = Some(deepest);
            open[f] = false;
            stack.pop();
        }
    }
    checks
}

/// Brings `live_in` and `ret_live` of all functions to their fixed point, and lets functions return what most of their callers read.
fn settle_returns(cx: &Context, graphs: &[Graph], callers: &[Vec<usize>], s: &mut [Summary], unknown: Unknown) {
    let mut unusual = vec![RegSet::EMPTY; s.len()];
    loop {
        settle(cx, graphs, callers, s, unknown, &unusual);
        // Calls of each function, and how many of them are followed by a (strong, any) use of each register.
        let mut calls = vec![0u32; s.len()];
        let mut reads: Vec<BTreeMap<u8, (u32, u32)>> = vec![BTreeMap::new(); s.len()];
        for (f, g) in graphs.iter().enumerate() {
            let live = cx.liveness(g, s, unknown, s[f]);
            for (b, callee) in g.calls.iter().enumerate() {
                let Some(t) = *callee else { continue };
                calls[t] += 1;
                for r in (live.live_out[b] & s[t].mods).iter() {
                    let n = reads[t].entry(r).or_default();
                    n.0 += u32::from(live.strong_out[b].has(r));
                    n.1 += 1;
                }
            }
            // A tail jump stands for the calls of its function.
            for t in g.leaves.iter().flatten().flatten() {
                calls[*t] += 1;
                for r in (s[f].ret_live & s[*t].mods).iter() {
                    let n = reads[*t].entry(r).or_default();
                    n.0 += 1;
                    n.1 += 1;
                }
            }
        }
        let mut changed = false;
        for (t, reads) in reads.iter().enumerate() {
            for (&r, &(strong, any)) in reads {
                let count = if RegSet::RESULTS.has(r) { any } else { strong };
                if r != DF && 2 * count >= calls[t] && count > 0 && !unusual[t].has(r) {
                    unusual[t].insert(r);
                    changed = true;
                }
            }
        }
        if !changed {
            return;
        }
    }
}

/// The fixed point of `live_in` and `ret_live`, given what functions return beyond the usual.
fn settle(
    cx: &Context,
    graphs: &[Graph],
    callers: &[Vec<usize>],
    s: &mut [Summary],
    unknown: Unknown,
    unusual: &[RegSet],
) {
    let program = cx.program;
    let n = graphs.len();
    let direction = if cx.snippet { RegSet::EMPTY } else { RegSet::one(DF) };
    let mut indirect_ret = RegSet::EMPTY;
    let mut queued = vec![true; n];
    let mut work: Vec<usize> = (0..n).rev().collect();
    while let Some(f) = work.pop() {
        queued[f] = false;
        let g = &graphs[f];
        let live = cx.liveness(g, s, unknown, s[f]);
        let mut requeue = Vec::new();
        let at_entry = |sets: &[RegSet]| sets.first().copied().unwrap_or_default();
        let live_in = at_entry(&live.live_in) - direction - (NO_ARGUMENTS - at_entry(&live.strong_in));
        if live_in != s[f].live_in {
            s[f].live_in = live_in;
            requeue.extend(callers[f].iter().copied());
        }
        let own_ret = s[f].ret_live;
        // What a call is followed by a use of, as far as functions return it.
        let usual = RegSet::PRESERVED | RegSet::one(RAX);
        let returned =
            |b: usize, unusual: RegSet| (live.live_out[b] & (usual | unusual)) | (live.strong_out[b] & RegSet::RESULTS);
        let mut grow = |s: &mut [Summary], t: usize, set: RegSet| {
            // rax comes back as a result in any case.
            let set = set & ((s[t].mods | RegSet::one(RAX)) - direction);
            if !(set - s[t].ret_live).is_empty() {
                s[t].ret_live |= set;
                requeue.push(t);
            }
        };
        let mut indirect = RegSet::EMPTY;
        for (i, a) in g.addrs.iter().enumerate() {
            let Some(b) = program.blocks.get(a) else { continue };
            match (&b.term, cx.callee(&b.term)) {
                (_, Some(Callee::Direct(t))) => grow(s, t, returned(i, unusual[t])),
                (_, Some(Callee::Unknown)) => indirect |= returned(i, RegSet::EMPTY),
                (Term::JumpPredicted(t), _) => {
                    indirect |= own_ret;
                    if let Some(t) = program.function_at(*t) {
                        grow(s, t, own_ret & (usual | RegSet::RESULTS | unusual[t]));
                    }
                }
                (term, _) => {
                    if matches!(term, Term::JumpIndirect(_)) {
                        indirect |= own_ret;
                    }
                    // Of a table, too, other functions may be targets.
                    for t in b.successors() {
                        if !g.index.contains_key(&t)
                            && let Some(t) = program.function_at(t)
                        {
                            grow(s, t, own_ret & (usual | RegSet::RESULTS | unusual[t]));
                        }
                    }
                }
            }
        }
        // A caller that does not know its callee reads results and what calls preserve.
        indirect = indirect & (RegSet::PRESERVED | RegSet::RESULTS | RegSet::one(RAX));
        if !(indirect - indirect_ret).is_empty() {
            indirect_ret |= indirect;
            for (t, func) in program.functions.iter().enumerate() {
                if program.address_taken.contains(&func.entry) {
                    grow(s, t, indirect_ret);
                }
            }
        }
        for t in requeue {
            if !queued[t] {
                queued[t] = true;
                work.push(t);
            }
        }
    }
}

/// What is known of the frame at one point: offsets are relative to rsp at the function's entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameState {
    /// rsp's offset, or `None` when it is a run-time value.
    pub rsp: Option<i32>,
    /// rbp's offset, when rbp is a frame pointer.
    pub rbp: Option<i32>,
    /// Registers that hold the value they had at entry.
    pub entry: RegSet,
    /// Stack slots (8 bytes at an offset) that hold a register's entry value.
    pub slots: BTreeMap<i32, u8>,
    /// Stack slots with the return addresses of the functions that are inlined here and have been entered.
    pub returns: BTreeMap<i32, u32>,
}

impl FrameState {
    /// `known`: rsp is followed from here; a snippet starts with any value in it.
    fn start(known: bool) -> FrameState {
        FrameState {
            rsp: known.then_some(0),
            rbp: None,
            entry: RegSet::DATA,
            slots: BTreeMap::new(),
            returns: BTreeMap::new(),
        }
    }

    fn join(&mut self, o: &FrameState) -> bool {
        let before = self.clone();
        if self.rsp != o.rsp {
            self.drop_below(self.rsp.max(o.rsp));
            self.rsp = None;
        }
        if self.rbp != o.rbp {
            self.rbp = None;
        }
        self.entry = self.entry & o.entry;
        self.slots.retain(|k, v| o.slots.get(k) == Some(v));
        self.returns.retain(|k, v| o.returns.get(k) == Some(v));
        *self != before
    }

    /// What lies below rsp is nobody's once something else has run, or it is not known how far rsp has moved.
    fn drop_below(&mut self, rsp: Option<i32>) {
        let Some(rsp) = rsp else { return };
        self.slots.retain(|&k, _| k >= rsp);
        self.returns.retain(|&k, _| k >= rsp);
    }

    fn clobber(&mut self, at: i32, size: i32) {
        self.slots.retain(|&k, _| k + 8 <= at || at + size <= k);
    }

    /// Offset of a memory operand that is relative to a known rsp or rbp alone.
    pub fn slot(&self, i: &Instruction) -> Option<i32> {
        if i.memory_index() != Register::None
            || i.segment_prefix() == Register::FS
            || i.segment_prefix() == Register::GS
        {
            return None;
        }
        let d = i32::try_from(i.memory_displacement64() as i64).ok()?;
        match i.memory_base() {
            Register::RSP => self.rsp?.checked_add(d),
            Register::RBP => self.rbp?.checked_add(d),
            _ => None,
        }
    }

    /// Whether `i`, executed in this state, puts register `r`'s entry value back into it.
    pub fn restores(&self, i: &Instruction) -> Option<u8> {
        let (at, r) = match i.code() {
            Code::Pop_r64 => (self.rsp?, i.op0_register()),
            Code::Mov_r64_rm64 if i.op1_kind() == OpKind::Memory => (self.slot(i)?, i.op0_register()),
            Code::Leaveq => (self.rbp?, Register::RBP),
            _ => return None,
        };
        let n = number(r)?;
        (self.slots.get(&at) == Some(&n)).then_some(n)
    }

    /// The state when the instructions of `block` have run.
    pub fn behind(&self, block: &Block, effects: &[Effect]) -> FrameState {
        let mut state = self.clone();
        block.insns.iter().zip(effects).for_each(|(i, e)| state.step(i, e));
        state
    }

    pub fn step(&mut self, i: &Instruction, e: &Effect) {
        let restored = self.restores(i);
        let mut rsp = self.rsp;
        let mut rbp = if e.defs.has(RBP) { None } else { self.rbp };
        let mut stored = None;
        match i.mnemonic() {
            Mnemonic::Push => {
                let size = if matches!(i.op0_kind(), OpKind::Immediate16)
                    || i.op0_register().size() == 2
                    || i.code() == Code::Push_rm16
                {
                    2
                } else {
                    8
                };
                rsp = rsp.map(|c| c - size);
                if let Some(at) = rsp {
                    self.clobber(at, size);
                    if i.code() == Code::Push_r64 {
                        stored = Some((at, i.op0_register()));
                    }
                }
            }
            Mnemonic::Pushfq => {
                rsp = rsp.map(|c| c - 8);
                if let Some(at) = rsp {
                    self.clobber(at, 8);
                }
            }
            Mnemonic::Pop => {
                let size = if i.op0_register().size() == 2 || i.code() == Code::Pop_rm16 { 2 } else { 8 };
                rsp = rsp.map(|c| c + size);
                if i.op0_register() == Register::RSP {
                    rsp = None;
                }
            }
            Mnemonic::Popfq => rsp = rsp.map(|c| c + 8),
            Mnemonic::Leave => {
                rsp = self.rbp.map(|c| c + 8);
                rbp = None;
            }
            Mnemonic::Add | Mnemonic::Sub if e.rsp_write => {
                let imm = matches!(i.op1_kind(), OpKind::Immediate8to64 | OpKind::Immediate32to64)
                    .then(|| i32::try_from(i.immediate(1) as i64).ok())
                    .flatten();
                rsp = match (rsp, imm) {
                    (Some(c), Some(d)) => {
                        if i.mnemonic() == Mnemonic::Add {
                            c.checked_add(d)
                        } else {
                            c.checked_sub(d)
                        }
                    }
                    _ => None,
                };
            }
            Mnemonic::Mov if i.op0_kind() == OpKind::Register && i.op0_register() == Register::RSP => {
                rsp =
                    if i.op1_kind() == OpKind::Register && i.op1_register() == Register::RBP { self.rbp } else { None };
            }
            Mnemonic::Mov
                if i.op0_kind() == OpKind::Register
                    && i.op0_register() == Register::RBP
                    && i.op1_kind() == OpKind::Register
                    && i.op1_register() == Register::RSP =>
            {
                rbp = self.rsp;
            }
            Mnemonic::Lea if i.op0_register() == Register::RSP => rsp = self.slot(i),
            Mnemonic::Lea if i.op0_register() == Register::RBP => rbp = self.slot(i),
            // A call pushes and its callee pops; what a return leaves behind is the caller's business.
            Mnemonic::Call | Mnemonic::Ret => {}
            _ if e.rsp_write => rsp = None,
            _ => {}
        }
        // Other stores to known places.
        if i.op_count() > 0
            && i.op0_kind() == OpKind::Memory
            && i.mnemonic() != Mnemonic::Push
            && let Some(at) = self.slot(i)
        {
            self.clobber(at, i.memory_size().size().max(1) as i32);
            if i.code() == Code::Mov_rm64_r64 {
                stored = Some((at, i.op1_register()));
            }
        }
        // A frame far from its entry is not tracked.
        let sane = |c: Option<i32>| c.filter(|c| c.abs() < 1 << 28);
        if let Some((at, r)) = stored
            && let Some(n) = number(r)
            && n != RSP
            && self.entry.has(n)
        {
            self.slots.insert(at, n);
        }
        let rsp = sane(rsp);
        if rsp.is_none() {
            self.drop_below(self.rsp);
        }
        self.rsp = rsp;
        self.rbp = sane(rbp);
        self.entry = self.entry - e.defs;
        if let Some(r) = restored {
            self.entry.insert(r);
        }
    }
}

pub struct Frames {
    /// State at the start of each block (`None`: not reached from the entry).
    pub at: Vec<Option<FrameState>>,
    pub mods: RegSet,
}

/// Follows the frame through a function. `held`: registers that no call changes in this form of it.
pub fn frame(cx: &Context, graph: &Graph, summaries: &[Summary], held: RegSet) -> Frames {
    let n = graph.addrs.len();
    let mut at: Vec<Option<FrameState>> = vec![None; n];
    let mut work = Vec::new();
    if let Some(first) = at.first_mut() {
        *first = Some(FrameState::start(!cx.snippet));
        work.push(0);
    }
    for &b in &graph.inner_entries {
        at[b] = Some(FrameState { entry: RegSet::EMPTY, ..FrameState::start(false) });
        work.push(b);
    }
    let mut changed = RegSet::EMPTY;
    let mut exits: Vec<RegSet> = Vec::new();
    let mut wild = false;
    let step_block = |b: usize, state: &mut FrameState| -> Option<RegSet> {
        let block = graph.block(cx.program, graph.addrs[b])?;
        for (i, e) in block.insns.iter().zip(&graph.effects[b]) {
            state.step(i, e);
        }
        let mods = match cx.callee(&block.term) {
            Some(Callee::Direct(t)) => summaries.get(t).map_or(RegSet::EVERYTHING, |s| s.mods) | RegSet::one(RAX),
            Some(Callee::Unknown) => cx.unknown_mods,
            None if matches!(block.term, Term::Syscall { .. }) => RegSet::of(&[RAX, RCX, R11]),
            None => {
                if let Some(c) = state.rsp {
                    match block.term {
                        Term::Enter { ret, .. } => {
                            state.clobber(c.saturating_sub(8), 8);
                            state.rsp = c.checked_sub(8);
                            state.returns.insert(c.saturating_sub(8), ret);
                        }
                        Term::Return { .. } => {
                            state.returns.remove(&c);
                            state.rsp = c.checked_add(8);
                        }
                        _ => {}
                    }
                }
                return Some(RegSet::EMPTY);
            }
        };
        if cx.callee(&block.term).is_some() {
            state.drop_below(state.rsp);
        }
        if matches!(block.term, Term::Chain { .. })
            && let Some(c) = state.rsp
        {
            state.returns.remove(&c);
            state.rsp = c.checked_add(8);
        }
        let mods = mods - held;
        if mods.has(RBP) {
            state.rbp = None;
        }
        state.entry = state.entry - mods;
        Some(mods)
    };
    while let Some(b) = work.pop() {
        let Some(mut state) = at[b].clone() else { continue };
        step_block(b, &mut state);
        for &t in &graph.succs[b] {
            match &mut at[t] {
                Some(old) => {
                    if old.join(&state) {
                        work.push(t);
                    }
                }
                slot => {
                    *slot = Some(state.clone());
                    work.push(t);
                }
            }
        }
    }
    for (b, start) in at.iter().enumerate() {
        let Some(mut state) = start.clone() else { continue };
        for e in &graph.effects[b] {
            changed |= e.defs;
        }
        changed |= step_block(b, &mut state).unwrap_or_default();
        let Some(block) = graph.block(cx.program, graph.addrs[b]) else { continue };
        match &block.term {
            Term::Ret => exits.push(state.entry),
            Term::JumpIndirect(None) => wild = true,
            // A wrong prediction unwinds, and what resumes reads everything anew.
            Term::JumpPredicted(t) => match cx.program.function_at(*t).and_then(|t| summaries.get(t)) {
                Some(t) => {
                    changed |= t.mods;
                    exits.push(state.entry - t.mods);
                }
                None => wild = true,
            },
            _ => {
                for s in block.successors() {
                    if !graph.index.contains_key(&s) {
                        match cx.program.function_at(s).and_then(|t| summaries.get(t)) {
                            Some(t) => {
                                changed |= t.mods;
                                exits.push(state.entry - t.mods);
                            }
                            None => wild = true,
                        }
                    }
                }
                if matches!(block.term, Term::JumpIndirect(Some(_))) {
                    // Leaves through the table's default only by going astray; still a possible tail jump.
                    exits.push(state.entry);
                }
            }
        }
    }
    // An unknown tail jump may change anything.
    let kept = exits.iter().fold(RegSet::DATA, |s, &e| s & e);
    let mods = if wild { cx.unknown_mods } else { changed - kept };
    Frames { at, mods }
}
