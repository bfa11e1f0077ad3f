//! Emits one wasm function per recompiled function.
//!
//! Registers are wasm locals inside the function and globals outside of it. Three sets steer the copying between the two: `live` (what matters to
//! anybody), `dirty` (the local may be newer than the global) and `need` (the local's value will be read). A call stores what is dirty and live, and
//! reloads what is needed and may have changed. See `megalith_abi` for the calling convention.

mod flags;
mod int;
mod mem;
mod sse;
mod string;
mod x87;

use crate::analysis::{ARGUMENTS, Analysis, Callee, Context, FrameState, Frames, Graph, Liveness, Summary, frame};
use crate::discover::{Block, JumpTable, Program, Term};
use crate::elf::Image;
use crate::hold::{self, Debt};
use crate::inline::Inlined;
use crate::regs::*;
use crate::structure::{Cfg, Emit, Exit, Node, NodeId, Structured, structure, visit_loops};
use flags::{Fl, Lazy};
use iced_x86::{Instruction, Mnemonic, OpKind, Register};
use megalith_abi::{Global, RETURNED, Reason, STACK_WINDOW, UNWIND};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use wasm_encoder::{BlockType, InstructionSink, MemArg, ValType};

/// What the generated code is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Program,
    /// A test of single instructions: everything is live at the end.
    Snippet,
}

/// A function is generated twice, so that code that is called pays nothing for code that is resumed: labels in the middle of loops make values
/// come from several places and loops have several entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Entered at its top. Calls return into it; everything that unwinds goes on in the other form.
    Called,
    /// Entered at a label only.
    Resumed,
}

/// Indices of the module that functions are generated for.
pub mod index {
    use wasm_encoder::ValType;

    pub const SYSCALL: u32 = 0;
    pub const X87: u32 = 1;
    pub const CPUID: u32 = 2;
    pub const RDTSC: u32 = 3;
    pub const UDIV128: u32 = 4;
    pub const SDIV128: u32 = 5;
    pub const NOTICE: u32 = 6;
    /// Imported functions, by the names above.
    pub const IMPORTS: [&str; 7] = ["syscall", "x87", "cpuid", "rdtsc", "udiv128", "sdiv128", "notice"];
    /// Type of recompiled functions.
    pub const FN_TYPE: u32 = 0;
    pub const TABLE_BASE: u32 = megalith_abi::GLOBALS;
    pub const BASE: u32 = megalith_abi::GLOBALS + 1;
    pub const PARAMS: [ValType; 4] = [ValType::I32, ValType::I64, ValType::I64, ValType::I64];
    pub const RESULTS: [ValType; 3] = [ValType::I32, ValType::I32, ValType::I64];

    /// Helper functions, in order after the recompiled ones.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub enum Helper {
        /// A recompiled function that jumps to the address in the global `Pc`. If no function can be entered there, the stack window is used up, or somebody wants our
        /// attention, it unwinds.
        Jump,
        /// The same for what [`Helper::Jump`] does not know: goes by the code map.
        JumpMap,
        /// `(a: i64, b: i64) -> i64`: x86's NaN result of a two-operand f64 operation whose result is a NaN.
        NanF64,
        /// `(a: i32, b: i32) -> i32`: the same for f32.
        NanF32,
        /// `(a: v128, b: v128, r: v128) -> v128`: fixes the NaN lanes of r, f64x2.
        NanF64x2,
        /// The same for f32x4.
        NanF32x4,
        /// `(dst: i32, src: i32, count: i32, size: i32)`: `rep movs` upwards, with x86's semantics for overlapping operands and faults.
        CopyUp,
        /// `(dst: i32, value: i64, count: i32, size: i32)`: `rep stos` upwards.
        FillUp,
        /// `(a: i64, b: i64) -> i64`: high half of the unsigned product.
        MulHighU,
        /// `(a: i64, b: i64) -> i64`: high half of the signed product.
        MulHighS,
        /// `(a: i32) -> i32`: rcpss on the bits of an f32.
        Rcp,
        /// `(a: i32) -> i32`: rsqrtss on the bits of an f32.
        Rsqrt,
        /// `(x: i64) -> i64`: x.
        Opaque,
        /// `(value: i64, slot: i32, changed: i32)`: a frame that unwinds gives rbx back, whose value at entry belongs into the stack slot at `slot`. If it is `changed`, `value` is what the
        /// register has now. The other registers of `megalith_abi::PRESERVED` follow.
        Hold0,
    }
}
use index::Helper;

/// Two conditional jumps that ask whether floats are equal.
struct AsksEqual {
    floats: Lazy,
    /// The second, which is reached if they are.
    next: u32,
    /// The flag that it asks for.
    flag: u8,
}

const ROOT: usize = usize::MAX;
const ENTRY: usize = usize::MAX - 1;
const RESUME_SWITCH: usize = usize::MAX - 2;
const SLOW_ENTRY: usize = usize::MAX - 3;

/// A generated function.
pub struct Code {
    pub locals: Vec<ValType>,
    pub body: Vec<u8>,
    /// Resume points: address and label (1 and up).
    pub labels: Vec<(u32, u32)>,
    /// Instructions without a translation.
    pub uncovered: Vec<(u32, String)>,
    /// Addresses at which it may leave for a poll, to be resumed there.
    pub polls: BTreeSet<u32>,
}

pub struct Module<'a> {
    pub image: &'a Image,
    pub program: &'a Program,
    pub analysis: &'a Analysis,
    /// Per function: what it becomes for its callers.
    pub inlined: &'a [Option<Inlined>],
    pub mode: Mode,
    /// Number of functions that have a second form.
    pub resumed: usize,
    /// Where the called forms may leave for a poll.
    pub polls: BTreeSet<u32>,
}

impl<'a> Module<'a> {
    fn context(&self) -> Context<'a> {
        Context { program: self.program, snippet: self.mode == Mode::Snippet, unknown_mods: self.analysis.unknown_mods }
    }
    pub fn function_index(f: usize) -> u32 {
        index::IMPORTS.len() as u32 + f as u32
    }
    pub fn helper_index(&self, h: Helper) -> u32 {
        Self::function_index(self.program.functions.len() + self.resumed) + h as u32
    }
}

/// Where control leaves the function at the end of a block.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Leave {
    /// To an address outside of the function.
    To(u32),
    /// To where the indirect jump's operand says.
    Indirect,
}

/// What an edge copies between locals and globals.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Copies {
    stores: RegSet,
    loads: RegSet,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct DirtyState {
    dirty: RegSet,
    /// Registers whose global still holds the entry value.
    global_entry: RegSet,
}

struct Gen<'a> {
    m: &'a Module<'a>,
    cx: Context<'a>,
    own: Summary,
    graph: &'a Graph,
    live: Liveness,
    frames: Frames,
    dirty_in: Vec<DirtyState>,
    /// Per block: what it stores at its end, because all its successors take it from the global.
    settle: Vec<RegSet>,
    /// What only some of a block's successors (block, successor) take from the global, or expect in the local: stored or loaded on the way there.
    edges: BTreeMap<(usize, usize), Copies>,
    edge_nodes: HashMap<(usize, usize), NodeId>,
    /// The keys of `edges`, in their nodes' order.
    edge_order: Vec<(usize, usize)>,
    need_in: Vec<RegSet>,
    need_out: Vec<RegSet>,
    single: BTreeMap<NodeId, NodeId>,
    form: Form,
    /// Label of a block that can be resumed at: none in code that is called.
    labels: HashMap<usize, u32>,
    /// Blocks that may leave, to be resumed, before they begin.
    polls: BTreeSet<usize>,
    polled: BTreeSet<u32>,
    leaves: Vec<(usize, Leave)>,
    /// Bytes between the frame base local and rsp at entry.
    depth: i32,
    /// Per block: what it finds in the locals. Everything else that is live is in the globals.
    have_in: Vec<RegSet>,
    /// Per block: what it loads from the globals at its start, because its own code reads it.
    fetch: Vec<RegSet>,
    /// Per block: what it loads at its end, because all its successors expect it in the locals.
    fetch_out: Vec<RegSet>,
    /// Looks at the stack window on entry.
    checks_depth: bool,
    /// Holds the registers that calls preserve ([`crate::hold`]): their globals are the caller's.
    holds: bool,
    /// Blocks that do with them what a holder does not: the resumed form has these.
    left: BTreeSet<usize>,
    /// Of the registers that are held, what stays in locals across calls.
    held: RegSet,
    /// The others in the place of whose globals there is the stack slot for their value at entry, which nothing else is in: offset from rsp at entry.
    homes: BTreeMap<u8, i32>,
    /// What the frame gives back in the states that it may unwind in; the local `hold_state` says in which it is.
    debts: Vec<Debt>,
    hold_state: u32,

    code: Vec<u8>,
    locals: Vec<ValType>,
    gpr: [Option<u32>; 16],
    xmm: [Option<u32>; 16],
    flag: [Option<u32>; 7],
    frame_base: u32,
    rsp_value: u32,
    dispatch: u32,
    ret_pc: u32,
    ret_rsp: u32,
    indirect_pc: u32,
    jump_index: HashMap<u32, (u32, Register)>,
    scratch: HashMap<ValType, (Vec<u32>, usize)>,
    lazies: Vec<Lazy>,
    fl: [Fl; 6],
    end_flags: HashMap<NodeId, [Fl; 6]>,
    /// The flags at the beginning of nodes to which they tell something.
    flags_at: HashMap<NodeId, [Fl; 6]>,

    /// State while a block is emitted.
    block_now: usize,
    state: Option<FrameState>,
    dirty: DirtyState,
    /// What is needed after the instruction being emitted, and before it.
    need_after: RegSet,
    need_before: RegSet,
    /// See [`Effect::narrow`].
    narrow: RegSet,
    /// The instruction changes nothing but its first operand, once: what was known of that to begin with holds when it is written.
    once: bool,
    /// Registers whose bits above the lowest 8, or 16, are known to be 0.
    low: Wide,
    /// The same at the end of nodes.
    end_low: HashMap<NodeId, Wide>,
    depth_now: u32,
    uncovered: Vec<(u32, String)>,
}

/// Whether instruction `i` writes only its first operand, a register, and flags.
fn writes_once(i: &Instruction) -> bool {
    use Mnemonic::*;
    let one = matches!(
        i.mnemonic(),
        Mov | Movzx | Add | Adc | Sub | Sbb | And | Or | Xor | Not | Neg | Inc | Dec | Shl | Shr | Sar | Rol | Ror
    );
    one && i.op0_kind() == OpKind::Register
}

/// Flags share one global: storing one stores all that are live.
fn group(stores: RegSet, live: RegSet) -> RegSet {
    if (stores & RegSet::FLAGS).is_empty() { stores } else { stores | (live & RegSet::FLAGS) }
}

/// Whether function `f` may be left in its middle and resumed: it makes calls, has loops, code may jump into it, or it has blocks that hold no registers.
pub fn resumes(m: &Module, f: usize) -> bool {
    let graph = &m.analysis.graphs[f];
    let term = |b: usize| m.program.blocks.get(&graph.addrs[b]).map(|x| &x.term);
    graph.has_loops()
        || !graph.labels.is_empty()
        || (0..graph.addrs.len()).any(|b| term(b).is_some_and(Gen::comes_back) && !graph.succs[b].is_empty())
        || held_in_part(m, f)
}

/// Whether function `f` holds registers, but not in all of its blocks.
fn held_in_part(m: &Module, f: usize) -> bool {
    if !m.analysis.may_hold(f) {
        return false;
    }
    let cx = m.context();
    let own = m.analysis.summaries[f];
    let mut graph = m.analysis.graphs[f].clone();
    cx.narrow(&mut graph, &m.analysis.summaries, m.analysis.unknown, own);
    let live = cx.liveness(&graph, &m.analysis.summaries, m.analysis.unknown, own);
    let frames = frame(&cx, &graph, &m.analysis.summaries, RegSet::PRESERVED);
    let left = hold::holds(&cx, &graph, &frames, &live, &m.analysis.summaries, own);
    left.is_some_and(|left| !left.is_empty())
}

/// Generates function `f` in one of its forms.
pub fn function(m: &Module, f: usize, form: Form) -> Code {
    let cx = m.context();
    let inlined = m.inlined.get(f).and_then(Option::as_ref).filter(|_| form == Form::Called);
    let own = inlined.map_or(m.analysis.summaries[f], |x| x.own);
    let mut graph = inlined.map_or(&m.analysis.graphs[f], |x| &x.graph).clone();
    cx.narrow(&mut graph, &m.analysis.summaries, m.analysis.unknown, own);
    let checks_depth = inlined.map_or(m.analysis.checks_depth[f], |x| x.checks_depth);
    let live = cx.liveness(&graph, &m.analysis.summaries, m.analysis.unknown, own);
    let holder = m.mode == Mode::Program && form == Form::Called && m.analysis.may_hold(f);
    let preserved = if holder { RegSet::PRESERVED } else { RegSet::EMPTY };
    let mut frames = frame(&cx, &graph, &m.analysis.summaries, preserved);
    let left =
        if preserved.is_empty() { None } else { hold::holds(&cx, &graph, &frames, &live, &m.analysis.summaries, own) };
    let holds = left.is_some();
    if !holds && !preserved.is_empty() {
        frames = frame(&cx, &graph, &m.analysis.summaries, RegSet::EMPTY);
    }
    let left: BTreeSet<usize> = left.into_iter().flatten().collect();
    for &b in &left {
        graph.leave(b);
    }
    let graph = &graph;
    let calls =
        (0..graph.addrs.len()).filter(|&b| graph.block(m.program, graph.addrs[b]).is_some_and(|x| x.term.is_call()));
    let homes = if holds && calls.count() > MANY_CALLS { hold::homes(m.program, graph, &frames) } else { None };
    let held = if holds && homes.is_none() { preserved } else { RegSet::EMPTY };
    let homes = homes.unwrap_or_default();
    let n = graph.addrs.len();
    let mut g = Gen {
        m,
        cx,
        own,
        graph,
        live,
        frames,
        dirty_in: vec![DirtyState::default(); n],
        settle: vec![RegSet::EMPTY; n],
        edges: BTreeMap::new(),
        edge_nodes: HashMap::new(),
        edge_order: Vec::new(),
        need_in: vec![RegSet::EMPTY; n],
        need_out: vec![RegSet::EMPTY; n],
        single: BTreeMap::new(),
        form,
        polls: BTreeSet::new(),
        polled: BTreeSet::new(),
        labels: HashMap::new(),
        leaves: Vec::new(),
        depth: 0,
        have_in: vec![RegSet::EMPTY; n],
        fetch: vec![RegSet::EMPTY; n],
        fetch_out: vec![RegSet::EMPTY; n],
        checks_depth: m.mode == Mode::Program && checks_depth,
        holds,
        left,
        held,
        homes,
        debts: Vec::new(),
        hold_state: 0,
        code: Vec::new(),
        locals: Vec::new(),
        gpr: [None; 16],
        xmm: [None; 16],
        flag: [None; 7],
        frame_base: 0,
        rsp_value: 0,
        dispatch: 0,
        ret_pc: 0,
        ret_rsp: 0,
        indirect_pc: 0,
        jump_index: HashMap::new(),
        scratch: HashMap::new(),
        lazies: Vec::new(),
        fl: [Fl::Local; 6],
        end_flags: HashMap::new(),
        flags_at: HashMap::new(),
        block_now: 0,
        state: None,
        dirty: DirtyState::default(),
        need_after: RegSet::EMPTY,
        need_before: RegSet::EMPTY,
        narrow: RegSet::EMPTY,
        once: false,
        low: Wide::NONE,
        end_low: HashMap::new(),
        depth_now: 0,
        uncovered: Vec::new(),
    };
    g.gpr[RDI as usize] = Some(1);
    g.gpr[RSI as usize] = Some(2);
    g.gpr[RDX as usize] = Some(3);
    g.frame_base = g.local(ValType::I32);
    g.rsp_value = g.local(ValType::I64);
    g.dispatch = g.local(ValType::I32);
    g.ret_pc = g.local(ValType::I32);
    g.ret_rsp = g.local(ValType::I32);
    g.indirect_pc = g.local(ValType::I32);
    g.hold_state = g.local(ValType::I32);
    g.measure_frame();
    g.choose_labels();
    if form == Form::Resumed && g.labels.is_empty() {
        // Nothing that can be resumed is ever reached.
        g.s().unreachable().end();
        return Code {
            locals: g.locals,
            body: g.code,
            labels: Vec::new(),
            uncovered: Vec::new(),
            polls: BTreeSet::new(),
        };
    }
    g.find_dirty();
    g.find_need();
    g.find_fetches();
    g.generate()
}

impl<'a> Gen<'a> {
    fn block(&self, b: usize) -> Option<&'a Block> {
        self.graph.block(self.m.program, *self.graph.addrs.get(b)?)
    }

    fn s(&mut self) -> InstructionSink<'_> {
        InstructionSink::new(&mut self.code)
    }

    fn local(&mut self, ty: ValType) -> u32 {
        self.locals.push(ty);
        3 + self.locals.len() as u32
    }

    /// A temporary that is free again at the next instruction.
    fn tmp(&mut self, ty: ValType) -> u32 {
        let (pool, used) = self.scratch.entry(ty).or_default();
        if let Some(&l) = pool.get(*used) {
            *used += 1;
            return l;
        }
        let l = self.local(ty);
        let (pool, used) = self.scratch.entry(ty).or_default();
        pool.push(l);
        *used += 1;
        l
    }

    fn release_tmps(&mut self) {
        for (_, used) in self.scratch.values_mut() {
            *used = 0;
        }
    }

    fn reg_local(&mut self, r: u8) -> u32 {
        match r {
            0..16 => {
                if let Some(l) = self.gpr[r as usize] {
                    return l;
                }
                let l = self.local(ValType::I64);
                self.gpr[r as usize] = Some(l);
                l
            }
            16..32 => {
                if let Some(l) = self.xmm[r as usize - 16] {
                    return l;
                }
                let l = self.local(ValType::V128);
                self.xmm[r as usize - 16] = Some(l);
                l
            }
            _ => {
                let i = (r - CF) as usize;
                if let Some(l) = self.flag[i] {
                    return l;
                }
                let l = self.local(ValType::I32);
                self.flag[i] = Some(l);
                l
            }
        }
    }

    // ---- preparation ----

    /// Finds how deep below the entry rsp this function reaches at known offsets.
    fn measure_frame(&mut self) {
        let mut lowest = 8i32;
        for b in 0..self.graph.addrs.len() {
            if let Some(Block { term: Term::JumpIndirect(Some(t)), insns, .. }) = self.block(b)
                && insns.last().is_some_and(|i| i.ip() as u32 != t.load)
            {
                let l = self.local(ValType::I64);
                self.jump_index.insert(t.load, (l, t.index));
            }
        }
        for b in 0..self.graph.addrs.len() {
            let (Some(mut state), Some(block)) = (self.frames.at[b].clone(), self.block(b)) else { continue };
            for (i, e) in block.insns.iter().zip(&self.graph.effects[b]) {
                if i.op_count() > 0
                    && (0..i.op_count()).any(|k| i.op_kind(k) == OpKind::Memory)
                    && let Some(at) = state.slot(i)
                {
                    lowest = lowest.max(-at);
                }
                state.step(i, e);
                if let Some(c) = state.rsp {
                    lowest = lowest.max(8 - c);
                }
            }
        }
        self.depth = (lowest + 15) & !15;
    }

    /// Decides where the function can be resumed: after calls, at loop headers, and where an indirect jump may lead.
    fn choose_labels(&mut self) {
        if self.m.mode == Mode::Snippet {
            return;
        }
        if self.form == Form::Called {
            self.polls = self.loop_headers(&BTreeSet::new());
            return;
        }
        let mut at: BTreeSet<usize> = self.graph.labels.iter().copied().collect();
        for b in 0..self.graph.addrs.len() {
            let ret = match self.block(b).map(|block| &block.term) {
                Some(&Term::Call { ret, .. } | &Term::CallIndirect { ret }) => ret,
                Some(&Term::Syscall { next }) => next,
                _ => continue,
            };
            at.extend(self.graph.index.get(&ret).filter(|r| self.graph.succs[b].contains(r)));
        }
        at.extend((0..self.graph.addrs.len()).filter(|&b| self.m.polls.contains(&self.graph.addrs[b])));
        // With others in it, a function's loops may have other heads, and so they may with each label.
        loop {
            let headers = self.loop_headers(&at);
            if headers.is_subset(&at) {
                break;
            }
            at.extend(headers);
        }
        self.labels = at.iter().zip(1..).map(|(&b, l)| (b, l)).collect();
        self.polls = at;
    }

    /// Blocks that are loop headers if the function is resumed at `labels`, or called if there are none.
    fn loop_headers(&self, labels: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut cfg = Cfg::default();
        // Block b is node b + 1.
        let root = cfg.add(Node::User(ROOT));
        for b in 0..self.graph.addrs.len() {
            let id = cfg.add(Node::User(b));
            if let Some(block) = self.block(b) {
                cfg.succs[id] = self.graph.succs[b].iter().map(|t| t + 1).collect();
                cfg.switch[id] = matches!(block.term, Term::JumpIndirect(_));
                cfg.size[id] = block.insns.len();
            }
        }
        for &b in labels {
            let id = cfg.add(Node::User(ROOT));
            cfg.resume[id] = true;
            cfg.succs[id] = vec![b + 1];
            cfg.succs[root].push(id);
        }
        if labels.is_empty() {
            cfg.succs[root] = vec![1];
        }
        let st = structure(cfg);
        let mut headers = BTreeSet::new();
        for (id, node) in st.cfg.nodes.iter().enumerate() {
            match *node {
                Node::User(b) if st.is_reachable(id) && st.is_header(id) => {
                    headers.insert(b);
                }
                Node::Dispatch { main, .. } => {
                    let mut t = main;
                    while let Node::Dispatch { main, .. } = st.cfg.nodes[t] {
                        t = main;
                    }
                    if let Node::User(b) = st.cfg.nodes[t] {
                        headers.insert(b);
                    }
                }
                _ => {}
            }
        }
        headers
    }

    fn callee_mods(&self, term: &Term) -> RegSet {
        let direction = if self.cx.snippet { RegSet::EMPTY } else { RegSet::one(DF) };
        match self.cx.callee(term) {
            Some(Callee::Direct(t)) => (self.m.analysis.summaries[t].mods - direction) | RegSet::one(RAX),
            Some(Callee::Unknown) => self.m.analysis.unknown_mods,
            None => RegSet::EMPTY,
        }
    }

    fn callee_reads(&self, term: &Term) -> RegSet {
        if self.m.mode == Mode::Snippet {
            return RegSet::EVERYTHING;
        }
        match self.cx.callee(term) {
            Some(Callee::Direct(t)) => self.m.analysis.summaries[t].live_in,
            Some(Callee::Unknown) => self.m.analysis.unknown.called,
            None => RegSet::EMPTY,
        }
    }

    /// What a direct call hands to the function that it goes to.
    fn passed(&self, term: &Term) -> RegSet {
        match self.cx.callee(term) {
            Some(Callee::Direct(t)) => self.m.analysis.summaries[t].live_in,
            _ => RegSet::EMPTY,
        }
    }

    /// What the end of block `b` stores to globals, given what is dirty: (stored, read as parameters or otherwise).
    fn term_stores(&self, b: usize, dirty: RegSet) -> (RegSet, RegSet) {
        let dirty = dirty - self.held;
        let Some(block) = self.block(b) else { return Default::default() };
        let out = self.live.live_out[b];
        let leave = |a: u32| -> (RegSet, RegSet) {
            if self.graph.index.contains_key(&a) {
                return Default::default();
            }
            let want = self.cx.tail_use(a, &self.m.analysis.summaries, self.own.ret_live) | self.own.kept;
            let known = self.m.program.function_at(a).is_some() && self.m.mode == Mode::Program;
            let params = if known { want & RegSet::PARAMS } else { RegSet::EMPTY };
            let stored = if known { self.stored_before_jump(a, want) } else { want };
            (group(dirty & stored, want), params)
        };
        let all = self.cx.everything();
        match &block.term {
            Term::Jump(a) => leave(*a),
            Term::Cond { taken, fall } => {
                let (a, b) = (leave(*taken), leave(*fall));
                (a.0 | b.0, a.1 | b.1)
            }
            Term::Ret => {
                let want = if self.cx.snippet { all } else { self.own.ret_live | self.own.kept };
                (group(dirty & (want - RegSet::one(RAX)), want), want & RegSet::one(RAX))
            }
            Term::Enter { .. } | Term::Return { .. } | Term::Check { .. } => Default::default(),
            Term::Call { .. } | Term::CallIndirect { .. } | Term::Chain { .. } => {
                let reads = self.callee_reads(&block.term);
                let spent = self.cx.callee(&block.term).map(|c| self.cx.spent(c, &self.m.analysis.summaries));
                let spent = spent.unwrap_or_default() - self.live.strong_out[b];
                let after = out - RegSet::one(RAX) - spent;
                if self.cx.snippet || !self.is_known_or_indirect(&block.term) {
                    return (group(dirty & all, all), RegSet::EMPTY);
                }
                let want = after | (reads - RegSet::PARAMS);
                (group(dirty & want, want), reads & RegSet::PARAMS)
            }
            Term::Syscall { .. } => {
                let want = out - RegSet::of(&[RAX, RCX, R11]);
                (group(dirty & want, want), RegSet::of(&[RAX, RDI, RSI, RDX, R10, R8, R9]))
            }
            Term::JumpIndirect(_) if self.cx.snippet => (group(dirty & all, all), RegSet::EMPTY),
            Term::JumpIndirect(Some(table)) => {
                let mut s = (RegSet::EMPTY, RegSet::EMPTY);
                for &a in &table.targets {
                    let (x, y) = leave(a);
                    s.0 |= x;
                    s.1 |= y;
                }
                s
            }
            Term::JumpIndirect(None) => {
                let want = self.m.analysis.unknown.jumped | self.own.ret_live | self.own.kept;
                (group(dirty & want, want), RegSet::PARAMS)
            }
            Term::JumpPredicted(t) => {
                let (stores, params) = leave(*t);
                (group(stores | (dirty & (ARGUMENTS - RegSet::PARAMS)), all), params | RegSet::PARAMS)
            }
            Term::Trap => (if self.cx.snippet { group(dirty & all, all) } else { RegSet::EMPTY }, RegSet::EMPTY),
            Term::Invalid(_) => {
                let want = self.wanted_by_invalid(b);
                (group(dirty & want, want), RegSet::EMPTY)
            }
        }
    }

    /// What is in the globals when the function leaves for where none of its code is.
    fn wanted_by_invalid(&self, b: usize) -> RegSet {
        if self.left.contains(&b) { self.live.live_in[b] } else { self.cx.everything() }
    }

    /// Terminators with something behind them: what they change is changed before the successors run.
    fn comes_back(term: &Term) -> bool {
        term.is_call() || matches!(term, Term::Syscall { .. })
    }

    fn is_known_or_indirect(&self, term: &Term) -> bool {
        match term {
            Term::Call { target, .. } | Term::Chain { target, .. } => self.m.program.function_at(*target).is_some(),
            _ => true,
        }
    }

    fn after_insn(&self, state: &mut FrameState, d: &mut DirtyState, i: &Instruction, e: &Effect) {
        let restored = state.restores(i);
        d.dirty |= e.defs;
        if let Some(r) = restored
            && (d.global_entry.has(r) || self.holds && RegSet::PRESERVED.has(r))
        {
            d.dirty.remove(r);
        }
        state.step(i, e);
    }

    /// The register that instruction `i` leaves with no more than one or two bytes in it.
    fn low_result(&self, i: &Instruction, e: &Effect) -> Wide {
        let size = i.op0_register().size();
        // What changes rsp is not among the registers that an instruction defines.
        if i.op0_register().full_register() == Register::RSP {
            return Wide::NONE;
        }
        if writes_once(i) && self.known_low(i.op0_register()) {
            let r = number(i.op0_register()).map_or(RegSet::EMPTY, RegSet::one) - e.narrow;
            return Wide([if size == 1 { r } else { RegSet::EMPTY }, r]);
        }
        let whole = |r: &u8| i.op0_kind() == OpKind::Register && (size >= 4 || e.narrow.has(*r));
        let Some(r) = number(i.op0_register()).filter(whole) else { return Wide::NONE };
        let from = match i.op1_kind() {
            OpKind::Memory => i.memory_size().size(),
            OpKind::Register => i.op1_register().size(),
            _ => 0,
        };
        let known = |level: usize| {
            number(i.op1_register()).is_some_and(|n| i.op1_kind() == OpKind::Register && self.low.0[level].has(n))
        };
        let fits = |level: usize, bytes: usize| match i.mnemonic() {
            Mnemonic::Movzx => from <= bytes || size >= 4 && known(level) && !is_high_byte(i.op1_register()),
            Mnemonic::Mov if i.op1_kind() == OpKind::Memory => from <= bytes,
            Mnemonic::Mov => size >= 4 && known(level),
            Mnemonic::Shr if i.op1_kind() == OpKind::Immediate8 => {
                let count = usize::from(i.immediate8() & if size == 8 { 63 } else { 31 });
                (8 * size).saturating_sub(count) <= 8 * bytes
            }
            Mnemonic::And => from == 0 && i.immediate(1) < 1 << (8 * bytes),
            _ => false,
        };
        let level = |level: usize, bytes: usize| if fits(level, bytes) { RegSet::one(r) } else { RegSet::EMPTY };
        Wide([level(0, 1), level(1, 2)])
    }

    fn after_term(&self, b: usize, d: &mut DirtyState) {
        let Some(block) = self.block(b) else { return };
        match &block.term {
            t if t.is_call() => {
                let (stores, _) = self.term_stores(b, d.dirty);
                d.dirty = d.dirty - stores;
                d.global_entry = d.global_entry - stores;
                let mods = self.callee_mods(&block.term);
                let mods = if self.holds { mods - RegSet::PRESERVED } else { mods };
                d.dirty = d.dirty - mods;
                d.global_entry = d.global_entry - mods;
                d.dirty.insert(RAX);
            }
            Term::Syscall { .. } => {
                let (stores, _) = self.term_stores(b, d.dirty);
                d.dirty = (d.dirty - stores) | RegSet::of(&[RAX, RCX, R11]);
                d.global_entry = d.global_entry - stores;
            }
            _ => {}
        }
    }

    /// Registers that code of this function reads from their locals, at the start of each block. What else is live there is wanted in its global only.
    fn read_locally(&self) -> Vec<RegSet> {
        let n = self.graph.addrs.len();
        let mut read = vec![RegSet::EMPTY; n];
        let mut work: Vec<usize> = (0..n).collect();
        while let Some(b) = work.pop() {
            let out = self.graph.succs[b].iter().fold(RegSet::EMPTY, |s, &t| s | read[t]);
            let mut set = match self.block(b).map(|x| &x.term) {
                Some(t) if t.is_call() => out & self.held,
                Some(Term::Syscall { .. }) => out - RegSet::of(&[RAX, RCX, R11]),
                Some(Term::JumpIndirect(Some(t))) => number(t.index).map_or(out, |r| out | RegSet::one(r)),
                _ => out,
            };
            set |= self.term_stores(b, RegSet::EMPTY).1;
            for e in self.graph.effects[b].iter().rev() {
                set = e.before(set);
            }
            if set != read[b] {
                read[b] = set;
                work.extend(&self.graph.preds[b]);
            }
        }
        read
    }

    /// A `loop` instruction changes rcx after everything else that a block stores.
    fn keep_counters(&self, mut local: Vec<RegSet>) -> Vec<RegSet> {
        for b in 0..local.len() {
            if self.block(b).and_then(|x| x.insns.last()).is_some_and(|i| i.is_loop() || i.is_loopcc()) {
                for &t in &self.graph.succs[b] {
                    local[t].insert(RCX);
                }
            }
        }
        local
    }

    /// What is dirty when the instructions of block `b` have run, and its frame then, given what is dirty at its start.
    fn before_term(&self, b: usize) -> Option<(DirtyState, FrameState)> {
        let mut d = self.dirty_in[b];
        let (mut state, block) = (self.frames.at[b].clone()?, self.block(b)?);
        for (i, e) in block.insns.iter().zip(&self.graph.effects[b]) {
            self.after_insn(&mut state, &mut d, i, e);
        }
        Some((d, state))
    }

    /// What is dirty at the end of block `b`.
    fn dirty_out(&self, b: usize) -> Option<DirtyState> {
        let (mut d, _) = self.before_term(b)?;
        self.after_term(b, &mut d);
        Some(d)
    }

    /// Finds what may be dirty at the start of each block. A register that is dirty on some ways to a block only counts as dirty if the block wants
    /// its local; otherwise those ways store it ([`Self::settle`]), lest the others have to load it first.
    fn find_dirty(&mut self) {
        let n = self.graph.addrs.len();
        let snippet = self.m.mode == Mode::Snippet;
        let params = if snippet { RegSet::PARAMS } else { RegSet::PARAMS & self.own.live_in };
        let mut seen = vec![false; n];
        if n == 0 {
            return;
        }
        let local: Vec<RegSet> = if snippet {
            vec![RegSet::EVERYTHING; n]
        } else {
            self.read_locally().into_iter().map(|l| l | RegSet::FLAGS).collect()
        };
        let local = self.keep_counters(local);
        self.dirty_in[0] = DirtyState { dirty: params, global_entry: RegSet::EVERYTHING - RegSet::PARAMS };
        seen[0] = true;
        // Where only a resume leads, everything is in the globals.
        let roots: &[usize] = if self.form == Form::Resumed { &self.graph.inner_entries } else { &[] };
        let mut work = roots.to_vec();
        for &b in roots {
            seen[b] = true;
        }
        work.push(0);
        while let Some(b) = work.pop() {
            if self.labels.contains_key(&b)
                && let Some(state) = &self.frames.at[b]
            {
                self.dirty_in[b].global_entry = self.dirty_in[b].global_entry & state.entry;
            }
            let Some(out) = self.dirty_out(b) else { continue };
            for &t in &self.graph.succs[b] {
                let old = self.dirty_in[t];
                // What is stored on the way overwrites the entry value.
                let stored = if seen[t] { self.stale(t, out.dirty) } else { RegSet::EMPTY };
                let d = DirtyState { global_entry: out.global_entry - stored, ..out };
                let new = if seen[t] {
                    let any = old.dirty | d.dirty;
                    // The function's entry and other roots have ways in that are not seen here.
                    let all = if t == 0 || roots.contains(&t) { any } else { old.dirty & d.dirty };
                    let dirty = (any & local[t]) | all;
                    DirtyState { dirty, global_entry: old.global_entry & d.global_entry }
                } else {
                    d
                };
                if !seen[t] || new != old {
                    // Who leads here may have more to store now.
                    work.extend(self.graph.preds[t].iter().filter(|&&p| p != b && seen[p] && new.dirty != old.dirty));
                    seen[t] = true;
                    self.dirty_in[t] = new;
                    work.push(t);
                }
            }
            let overwritten = |&t: &usize| !(self.stale(t, out.dirty) & self.dirty_in[t].global_entry).is_empty();
            if self.graph.succs[b].iter().any(overwritten) {
                work.push(b);
            }
        }
        for b in 0..n {
            let Some(out) = self.dirty_out(b) else { continue };
            let (common, rest) = self.by_successor(b, |t| self.stale(t, out.dirty));
            self.settle[b] = common;
            for (t, stores) in rest {
                self.edges.entry((b, t)).or_default().stores = stores;
            }
        }
    }

    /// Of `dirty` at the end of a block, what its successor `t` takes from the global.
    fn stale(&self, t: usize, dirty: RegSet) -> RegSet {
        dirty & self.live.live_in[t] & (RegSet::DATA - self.dirty_in[t].dirty - self.held)
    }

    /// What all successors of block `b` want, and what some want beside that.
    fn by_successor(&self, b: usize, want: impl Fn(usize) -> RegSet) -> (RegSet, Vec<(usize, RegSet)>) {
        let succs = &self.graph.succs[b];
        let common = succs.iter().map(|&t| want(t)).reduce(|a, b| a & b).unwrap_or_default();
        let rest = succs.iter().map(|&t| (t, want(t) - common)).filter(|x| !x.1.is_empty());
        (common, rest.collect())
    }

    /// What is copied on the way from block `b` to its successor `t`.
    fn copies(&self, b: usize, t: usize) -> Copies {
        self.edges.get(&(b, t)).copied().unwrap_or_default()
    }

    /// What block `b` needs at its end, before its terminator does anything.
    fn need_at_term(&self, b: usize, dirty: RegSet) -> RegSet {
        let Some(block) = self.block(b) else { return RegSet::EMPTY };
        let (stores, reads) = self.term_stores(b, dirty);
        let mut need = self.need_out[b];
        match &block.term {
            // Beside what is held, nothing but rsp and rax has to survive a call in the host's registers, which short functions would have to save first.
            t if t.is_call() => need = (need | self.live.live_out[b] | self.passed(t)) & self.held,
            Term::Syscall { .. } => need = need - RegSet::of(&[RAX, RCX, R11]),
            _ if self.left.contains(&b) => need |= self.live.live_in[b] & self.held,
            _ => {}
        }
        if let Term::JumpIndirect(Some(t)) = &block.term
            && let Some(n) = number(t.index)
        {
            need.insert(n);
        }
        need | stores | reads
    }

    fn dirty_at_term(&self, b: usize) -> RegSet {
        self.before_term(b).map_or(self.dirty_in[b], |(d, _)| d).dirty
    }

    fn find_need(&mut self) {
        let n = self.graph.addrs.len();
        let dirty: Vec<RegSet> = (0..n).map(|b| self.dirty_at_term(b)).collect();
        let mut queued = vec![true; n];
        let mut work: Vec<usize> = (0..n).collect();
        while let Some(b) = work.pop() {
            queued[b] = false;
            let way = |t: usize| self.need_in[t] | self.copies(b, t).stores;
            let out = self.graph.succs[b].iter().fold(self.settle[b], |s, &t| s | way(t));
            self.need_out[b] = out;
            let mut need = self.need_at_term(b, dirty[b]);
            for e in self.graph.effects[b].iter().rev() {
                need = e.before(need);
            }
            if self.polls.contains(&b) {
                // The poll's way out stores what is dirty.
                need |= (self.dirty_in[b].dirty | self.held) & self.live.live_in[b];
            }
            if need != self.need_in[b] {
                self.need_in[b] = need;
                for &p in &self.graph.preds[b] {
                    if !queued[p] {
                        queued[p] = true;
                        work.push(p);
                    }
                }
            }
        }
    }

    /// What the code of block `b` itself reads from locals before it writes them.
    fn reads_of(&self, b: usize) -> RegSet {
        let mut set = self.term_stores(b, RegSet::EMPTY).1;
        if let Some(Term::JumpIndirect(Some(t))) = self.block(b).map(|x| &x.term)
            && let Some(n) = number(t.index)
        {
            set.insert(n);
        }
        self.graph.effects[b].iter().rev().fold(set, |s, e| e.before(s)) & RegSet::DATA
    }

    /// Decides where registers are loaded from their globals: where they are read, or in front of a loop without calls that reads them. What a
    /// block is to find dirty every way to it has to bring along.
    fn find_fetches(&mut self) {
        let n = self.graph.addrs.len();
        let reads: Vec<RegSet> = (0..n).map(|b| self.reads_of(b)).collect();
        let defs: Vec<RegSet> = (0..n)
            .map(|b| self.graph.effects[b].iter().fold(RegSet::EMPTY, |s, e| s | e.defs) & RegSet::DATA)
            .collect();
        let calls: Vec<bool> = (0..n).map(|b| self.block(b).is_some_and(|x| x.term.is_call())).collect();
        let mut forced: Vec<RegSet> = (0..n).map(|b| self.dirty_in[b].dirty & self.need_in[b]).collect();
        let around: Vec<Vec<usize>> =
            (0..n).map(|b| if calls[b] { Vec::new() } else { self.graph.succs[b].clone() }).collect();
        visit_loops(&around, &self.graph.preds, |members, entries| {
            if members.len() > LARGE_LOOP {
                return true;
            }
            let used = members.iter().fold(RegSet::EMPTY, |s, &b| s | reads[b]);
            for &b in entries {
                forced[b] |= used & self.need_in[b];
            }
            false
        });
        let bring = |have: RegSet, b: usize, g: &Self| -> RegSet {
            let have = have | reads[b] | defs[b] | g.held;
            match g.block(b).map(|x| &x.term) {
                Some(t) if t.is_call() => RegSet::one(RAX) | g.held,
                Some(Term::Syscall { .. }) => {
                    (have - RegSet::of(&[RCX, R11])) | RegSet::one(RAX) | (g.need_out[b] & RegSet::of(&[RCX, R11]))
                }
                _ => have,
            }
        };
        // From "everything" down: what all ways bring along.
        let at_entry = RegSet::PARAMS & if self.m.mode == Mode::Snippet { RegSet::EMPTY } else { self.own.live_in };
        let at_entry = at_entry | self.held;
        let mut have: Vec<RegSet> = (0..n).map(|b| self.need_in[b] & RegSet::DATA).collect();
        let mut work: Vec<usize> = (0..n).collect();
        while let Some(b) = work.pop() {
            let mut all = if b == 0 {
                at_entry
            } else if self.graph.preds[b].is_empty() {
                RegSet::EMPTY
            } else {
                RegSet::DATA
            };
            for &p in &self.graph.preds[b] {
                all = all & bring(have[p], p, self);
            }
            let new = have[b] & (all | forced[b]);
            if new != have[b] {
                have[b] = new;
                work.extend(&self.graph.succs[b]);
            }
        }
        for b in 0..n {
            self.fetch[b] = reads[b] - have[b] - self.held;
            let brought = bring(have[b], b, self);
            let (common, rest) = self.by_successor(b, |t| (forced[t] & RegSet::DATA) - brought);
            self.fetch_out[b] = common;
            for (t, loads) in rest {
                self.edges.entry((b, t)).or_default().loads = loads;
            }
        }
        self.have_in = have;
    }

    // ---- generation ----

    fn generate(mut self) -> Code {
        let n = self.graph.addrs.len();
        let mut cfg = Cfg::default();
        let root = cfg.add(Node::User(ROOT));
        let entry = cfg.add(Node::User(ENTRY));
        // Block b is node b + 2.
        for b in 0..n {
            cfg.add(Node::User(b));
        }
        for b in 0..n {
            cfg.succs[b + 2] = self.graph.succs[b].iter().map(|&t| t + 2).collect();
            let Some(block) = self.block(b) else { continue };
            cfg.size[b + 2] = block.insns.len();
            cfg.switch[b + 2] = matches!(block.term, Term::JumpIndirect(Some(_)));
            let mut leaves: BTreeSet<Leave> = BTreeSet::new();
            match &block.term {
                Term::Jump(_) | Term::Cond { .. } => {
                    leaves.extend(
                        block.successors().into_iter().filter(|a| !self.graph.index.contains_key(a)).map(Leave::To),
                    );
                }
                Term::JumpIndirect(Some(t)) => {
                    leaves.insert(Leave::Indirect);
                    leaves
                        .extend(t.targets.iter().copied().filter(|a| !self.graph.index.contains_key(a)).map(Leave::To));
                }
                Term::JumpIndirect(None) => {}
                _ => {}
            }
            for l in leaves {
                let id = cfg.add(Node::User(n + self.leaves.len()));
                cfg.on_edge[id] = true;
                self.leaves.push((b, l));
                cfg.succs[b + 2].push(id);
            }
        }
        cfg.succs[root] = vec![entry];
        if self.form == Form::Called {
            cfg.succs[entry] = vec![2];
        }
        self.edge_order = self.edges.keys().copied().collect();
        for (k, &(b, t)) in self.edge_order.iter().enumerate() {
            let id = cfg.add(Node::User(n + self.leaves.len() + k));
            cfg.on_edge[id] = true;
            cfg.succs[id] = vec![t + 2];
            for s in cfg.succs[b + 2].iter_mut().filter(|s| **s == t + 2) {
                *s = id;
            }
            self.edge_nodes.insert((b, t), id);
        }
        let base = n + self.leaves.len() + self.edges.len();
        let mut labels: Vec<(usize, u32)> = self.labels.iter().map(|(&b, &l)| (b, l)).collect();
        labels.sort_by_key(|x| x.1);
        if self.form == Form::Called {
            if self.checks_depth || !self.holds && self.m.mode == Mode::Program {
                let slow = cfg.add(Node::User(SLOW_ENTRY));
                cfg.succs[root].push(slow);
                cfg.succs[slow] = vec![entry];
            }
        } else {
            let switch = cfg.add(Node::User(RESUME_SWITCH));
            cfg.switch[switch] = true;
            cfg.succs[root] = vec![switch];
            for &(b, l) in &labels {
                let id = cfg.add(Node::User(base + l as usize));
                cfg.resume[id] = true;
                cfg.succs[id] = vec![b + 2];
                cfg.succs[switch].push(id);
            }
        }
        let st = structure(cfg);
        self.single = st.single_pred();
        self.s().block(BlockType::Empty);
        if self.holds {
            self.s().block(BlockType::Empty);
        }
        self.s().block(BlockType::Empty);
        st.emit(&mut Emitting { g: &mut self, st: &st });
        self.s().end();
        // A call came back with another address than the one it was given.
        let (pc, rsp) = (self.ret_pc, self.ret_rsp);
        let rax = self.reg_local(RAX);
        self.s()
            .local_get(pc)
            .if_(BlockType::Empty)
            .local_get(pc)
            .i64_extend_i32_u()
            .global_set(Global::Pc as u32)
            .local_get(rsp)
            .i64_extend_i32_u()
            .global_set(u32::from(RSP))
            .local_get(rax)
            .global_set(u32::from(RAX))
            .i32_const(Reason::Return as i32)
            .global_set(Global::Reason as u32)
            .end();
        self.emit_hold();
        let (fb, depth) = (self.frame_base, self.depth);
        self.s().end().i32_const(0).local_get(fb).i32_const(depth + 8).i32_add().i64_const(0).end();
        let labels = labels.into_iter().map(|(b, l)| (self.graph.addrs[b], l)).collect();
        Code { locals: self.locals, body: self.code, labels, uncovered: self.uncovered, polls: self.polled }
    }

    /// Pushes the guest address `a` as i64 (relative to the load base unless the file is fixed).
    fn push_pc64(&mut self, a: u32) {
        let a = self.graph.real(a);
        if self.m.image.fixed {
            self.s().i64_const(i64::from(a));
        } else {
            self.s().global_get(index::BASE).i64_const(i64::from(a)).i64_add();
        }
    }

    fn push_pc32(&mut self, a: u32) {
        let a = self.graph.real(a);
        if self.m.image.fixed {
            self.s().i32_const(a as i32);
        } else {
            self.s().global_get(index::BASE).i32_wrap_i64().i32_const(a as i32).i32_add();
        }
    }

    /// Stores registers to their globals.
    fn store_globals(&mut self, set: RegSet) {
        for r in (set & (RegSet::DATA - self.held)).iter() {
            let l = self.reg_local(r);
            if let Some(&at) = self.homes.get(&r) {
                let offset = self.push_frame_base(self.frame_base, self.depth + at);
                self.s().local_get(l);
                self.store(8, offset);
            } else if !self.holds || !RegSet::PRESERVED.has(r) {
                self.s().local_get(l).global_set(u32::from(r));
            }
        }
        if !(set & RegSet::FLAGS).is_empty() {
            self.push_rflags(set);
            self.s().global_set(Global::Rflags as u32);
        }
    }

    /// Pushes what is at the home of register `r`.
    fn push_home(&mut self, r: u8) {
        let at = self.homes.get(&r).copied().unwrap_or_default();
        let offset = self.push_frame_base(self.frame_base, self.depth + at);
        self.load(8, offset);
    }

    /// Loads registers from their globals. Flags come as canonical locals.
    fn load_globals(&mut self, set: RegSet) {
        for r in (set & (RegSet::DATA - self.held)).iter() {
            let l = self.reg_local(r);
            if self.homes.contains_key(&r) {
                self.push_home(r);
            } else {
                self.s().global_get(u32::from(r));
            }
            self.s().local_set(l);
        }
        for r in (set & RegSet::FLAGS).iter() {
            let l = self.reg_local(r);
            let bit = RFLAGS_BIT[(r - CF) as usize];
            self.s()
                .global_get(Global::Rflags as u32)
                .i64_const(i64::from(bit))
                .i64_shr_u()
                .i32_wrap_i64()
                .i32_const(1)
                .i32_and()
                .local_set(l);
        }
    }

    /// Pushes rsp as i32.
    fn push_rsp32(&mut self) {
        match self.state.as_ref().and_then(|s| s.rsp) {
            Some(c) => {
                let (fb, d) = (self.frame_base, self.depth + c);
                self.s().local_get(fb);
                if d != 0 {
                    self.s().i32_const(d).i32_add();
                }
            }
            None => {
                let v = self.rsp_value;
                self.s().local_get(v).i32_wrap_i64();
            }
        }
    }

    fn push_rsp64(&mut self) {
        match self.state.as_ref().and_then(|s| s.rsp) {
            Some(_) => {
                self.push_rsp32();
                self.s().i64_extend_i32_u();
            }
            None => {
                let v = self.rsp_value;
                self.s().local_get(v);
            }
        }
    }

    fn store_rsp_global(&mut self) {
        self.push_rsp64();
        self.s().global_set(u32::from(RSP));
    }

    /// Goes to where the function returns "unwound"; `nested`: labels of the node's own code around this.
    fn return_unwound(&mut self, nested: u32) {
        let mut depth = self.depth_now + nested + 1;
        if self.holds && !self.give_back(false) {
            depth += 1;
        }
        self.s().br(depth);
    }

    /// Notes what the frame gives back if it unwinds as it is now. False: nothing.
    fn give_back(&mut self, calls: bool) -> bool {
        let debt = self.state.as_ref().and_then(|s| hold::debt(s, calls)).unwrap_or_default();
        if debt.is_empty() {
            return false;
        }
        let k = self.debts.iter().position(|d| *d == debt).unwrap_or_else(|| {
            self.debts.push(debt);
            self.debts.len() - 1
        });
        let l = self.hold_state;
        self.s().i32_const(k as i32 + 1).local_set(l);
        true
    }

    /// Gives back what the frame holds: the end of the block that [`Self::return_unwound`] leaves.
    fn emit_hold(&mut self) {
        if !self.holds {
            return;
        }
        self.s().end();
        let debts = std::mem::take(&mut self.debts);
        let (l, fb, depth) = (self.hold_state, self.frame_base, self.depth);
        for (k, debt) in debts.iter().enumerate() {
            self.s().local_get(l).i32_const(k as i32 + 1).i32_eq().if_(BlockType::Empty);
            for o in &debt.registers {
                if o.changed && self.homes.contains_key(&o.register) {
                    self.push_home(o.register);
                } else if o.changed {
                    let v = self.reg_local(o.register);
                    self.s().local_get(v);
                } else {
                    self.s().i64_const(0);
                }
                let at = megalith_abi::PRESERVED.iter().position(|&p| p as u8 == o.register).unwrap_or(0) as u32;
                let helper = self.m.helper_index(Helper::Hold0) + at;
                self.s().local_get(fb).i32_const(depth + o.slot).i32_add().i32_const(i32::from(o.changed)).call(helper);
            }
            for &(slot, ret) in &debt.returns {
                self.store_return_address(slot, ret);
            }
            self.s().end();
        }
    }

    /// Whether the frame is gone and all registers that calls preserve are the caller's again, so that other code can go on in its place.
    fn is_bare(&self) -> bool {
        let bare =
            |s: &FrameState| s.rsp == Some(0) && (!self.holds || hold::debt(s, true).is_some_and(|d| d.is_empty()));
        self.state.as_ref().is_some_and(bare)
    }

    /// Pushes the stack pointer that a call gets, `pushed` bytes below rsp. Who holds no registers says so: what it calls may rely on the globals.
    fn push_callee_rsp(&mut self, pushed: i32) {
        self.push_rsp32();
        if pushed != 0 {
            self.s().i32_const(pushed).i32_sub();
        }
        if !self.holds && self.m.mode == Mode::Program {
            let t = self.tmp(ValType::I32);
            self.s().local_tee(t).global_set(Global::HolderFloor as u32).local_get(t);
        }
    }

    /// Leaves with the registers already stored: rsp, pc and reason, then unwinds.
    fn exit_at(&mut self, pc: u32, reason: Reason, nested: u32) {
        self.store_rsp_global();
        self.push_pc64(pc);
        self.s().global_set(Global::Pc as u32).i32_const(reason as i32).global_set(Global::Reason as u32);
        self.return_unwound(nested);
    }

    /// Leaves at the instruction being emitted, whose operation did not happen.
    fn exit_here(&mut self, i: &Instruction, reason: Reason, nested: u32) {
        let set = if self.cx.snippet { self.dirty.dirty } else { self.dirty.dirty & self.need_before };
        let set = group(set, self.need_before);
        let fl = self.fl;
        self.store_globals(set);
        self.fl = fl;
        self.exit_at(i.ip() as u32, reason, nested);
    }

    fn push_params(&mut self, reads: RegSet) {
        // Any value would do. The compiler keeps constants across calls, which costs a register that must be saved first.
        self.push_params_or(reads, |g, _| g.push_rsp64());
    }

    /// Pushes the parameters beside rsp: those of `reads` from their locals, the others by `other`.
    fn push_params_or(&mut self, reads: RegSet, other: impl Fn(&mut Self, u8)) {
        for r in [RDI, RSI, RDX] {
            if reads.has(r) {
                let l = self.reg_local(r);
                self.s().local_get(l);
            } else {
                other(self, r);
            }
        }
    }

    /// Of `want`, what must be in the globals when this function tail-jumps to the function at `addr`: all but parameters, and those that it returns
    /// for this function, too, by not changing them.
    fn stored_before_jump(&self, addr: u32, want: RegSet) -> RegSet {
        let target = self.m.program.function_at(addr).and_then(|f| self.m.analysis.summaries.get(f));
        let through = target.map_or(RegSet::EMPTY, |s| self.own.ret_live - s.mods);
        (want - (RegSet::PARAMS - through)) | self.own.kept
    }

    /// Tail-jumps to an address outside the function.
    fn leave_to(&mut self, addr: u32) {
        let want = self.cx.tail_use(addr, &self.m.analysis.summaries, self.own.ret_live) | self.own.kept;
        let dirty = self.dirty.dirty;
        match self.m.program.function_at(addr) {
            Some(f) if self.m.mode == Mode::Program && self.is_bare() => {
                self.store_globals(group(dirty & self.stored_before_jump(addr, want), want));
                self.push_callee_rsp(0);
                self.push_params(want);
                self.s().return_call(Module::function_index(f));
            }
            _ => {
                self.store_globals(group(dirty & want, want));
                self.exit_at(addr, Reason::Return, 0);
            }
        }
    }

    /// Jumps to the address in `indirect_pc`, which is expected to be that of function `expected`; of what is dirty, `want` is stored.
    fn leave_indirect(&mut self, want: RegSet, expected: Option<usize>) {
        let stores = group(self.dirty.dirty & want, want);
        let pc = self.indirect_pc;
        self.store_globals(stores);
        if self.m.mode == Mode::Program && self.is_bare() {
            if let Some(f) = expected {
                self.push_is_entry(f);
                self.s().if_(BlockType::Empty);
                self.push_callee_rsp(0);
                self.push_params(RegSet::PARAMS);
                self.s().return_call(Module::function_index(f)).end();
            }
            let jump = self.m.helper_index(Helper::Jump);
            self.s().local_get(pc).i64_extend_i32_u().global_set(Global::Pc as u32);
            self.push_callee_rsp(0);
            self.push_params(RegSet::PARAMS);
            self.s().return_call(jump);
        } else {
            if self.m.mode == Mode::Program {
                self.store_globals(RegSet::PARAMS);
            }
            self.unwind_to_pc_local();
        }
    }

    /// Pushes whether `indirect_pc` is where function `f` is entered.
    fn push_is_entry(&mut self, f: usize) {
        let entry = self.m.program.functions.get(f).map_or(0, |f| f.entry);
        let pc = self.indirect_pc;
        self.s().local_get(pc);
        self.push_pc32(entry);
        self.s().i32_eq();
    }

    /// Whether block `b`, which goes on at `taken` or `fall`, and the block behind it ask together for nothing but whether two floats are equal: one jumps if they are not
    /// comparable, the other if they are not equal, both to the same place.
    fn asks_equal(&self, b: usize, taken: u32, fall: u32) -> Option<AsksEqual> {
        use iced_x86::ConditionCode as Cc;
        let floats = self.float_comparison()?;
        // The flag that is asked for, and where it leads to if the floats are not equal.
        let asked = |block: &Block| {
            let Term::Cond { taken, fall } = block.term else { return None };
            let last = block.insns.last().filter(|i| i.is_jcc_short_or_near())?;
            match last.condition_code() {
                Cc::p => Some((PF, taken, fall)),
                Cc::np => Some((PF, fall, taken)),
                Cc::ne => Some((ZF, taken, fall)),
                Cc::e => Some((ZF, fall, taken)),
                _ => None,
            }
        };
        let (first, unequal, next) = asked(self.block(b)?)?;
        let second = self.block(*self.graph.index.get(&next)?).filter(|x| x.insns.len() == 1)?;
        let (flag, also_unequal, _) = asked(second)?;
        (taken != fall && flag != first && unequal == also_unequal).then_some(AsksEqual { floats, next, flag })
    }

    fn block_exit(&mut self, st: &Structured, id: NodeId, b: usize, block: &Block) -> Exit {
        self.release_tmps();
        let target = |g: &Gen, a: u32| -> NodeId {
            let raw = match g.graph.index.get(&a) {
                Some(&t) => g.way_to(b, t),
                None => g.leaves.iter().position(|&(lb, l)| lb == b && l == Leave::To(a)).map_or(0, |k| {
                    st.cfg
                        .nodes
                        .iter()
                        .position(|n| matches!(n, Node::User(u) if *u == g.graph.addrs.len() + k))
                        .unwrap_or(0)
                }),
            };
            st.target(id, raw)
        };
        self.need_after = self.need_out[b];
        match &block.term {
            Term::Jump(a) => {
                self.settle_flags(st, id, b);
                let t = target(self, *a);
                Exit::Goto(t)
            }
            Term::Cond { taken, fall } => {
                let (t, f) = (target(self, *taken), target(self, *fall));
                self.settle_flags(st, id, b);
                if t == f {
                    if let Some(i) = block.insns.last() {
                        self.push_branch_condition(i);
                        self.s().drop();
                    }
                    return Exit::Goto(t);
                }
                if let Some(equal) = self.asks_equal(b, *taken, *fall) {
                    let next = if equal.next == *taken { t } else { f };
                    if self.single.get(&next) == Some(&id) {
                        let mut fl = self.fl;
                        fl[(equal.flag - CF) as usize] = Fl::Const(equal.flag == ZF);
                        self.flags_at.insert(next, fl);
                    }
                    self.push_equal(equal.floats);
                    if equal.next != *taken {
                        self.s().i32_eqz();
                    }
                } else if let Some(i) = block.insns.last() {
                    self.push_branch_condition(i);
                }
                Exit::Branch { then: t, otherwise: f }
            }
            Term::Ret => {
                self.emit_ret(block);
                Exit::Never
            }
            Term::Call { target: to, ret } | Term::Chain { target: to, ret } => {
                let to = *to;
                self.emit_call(b, block, Some(to), *ret);
                self.after_call(st, id, b, *ret)
            }
            Term::Enter { callee, ret } => {
                if !self.holds {
                    self.push_return_address(*ret);
                }
                self.settle_flags(st, id, b);
                Exit::Goto(target(self, *callee))
            }
            Term::Check { expect, likely, other } => {
                self.settle_flags(st, id, b);
                if let Some(i) = block.insns.last() {
                    self.push_operand_pc(i);
                }
                self.push_pc32(*expect);
                self.s().i32_eq();
                Exit::Branch { then: target(self, *likely), otherwise: target(self, *other) }
            }
            Term::Return { ret } => {
                if !self.holds {
                    self.emit_return(b, *ret);
                }
                self.settle_flags(st, id, b);
                Exit::Goto(target(self, *ret))
            }
            Term::CallIndirect { ret } => {
                self.emit_call(b, block, None, *ret);
                self.after_call(st, id, b, *ret)
            }
            Term::Syscall { next } => {
                self.emit_syscall(b, *next);
                self.after_call(st, id, b, *next)
            }
            Term::JumpIndirect(None) => {
                if let Some(i) = block.insns.last() {
                    self.push_operand_pc(i);
                    let t = self.indirect_pc;
                    self.s().local_set(t);
                }
                let want = if self.cx.snippet {
                    RegSet::EVERYTHING
                } else {
                    self.m.analysis.unknown.jumped | self.own.ret_live | self.own.kept | RegSet::PARAMS
                };
                self.leave_indirect(want, self.m.program.expected(block));
                Exit::Never
            }
            Term::JumpPredicted(to) => {
                if let Some(i) = block.insns.last() {
                    self.push_operand_pc(i);
                    let t = self.indirect_pc;
                    self.s().local_set(t);
                }
                self.emit_predicted(b, *to);
                Exit::Never
            }
            Term::JumpIndirect(Some(table)) => self.emit_table(st, id, b, block, table),
            Term::Trap => {
                if let Some(i) = block.insns.last() {
                    let i = *i;
                    self.emit_trap(&i);
                }
                Exit::Never
            }
            Term::Invalid(a) => {
                let want = self.wanted_by_invalid(b);
                self.store_globals(group(self.dirty.dirty & want, want));
                let a = *a;
                if self.left.contains(&b) {
                    self.polled.insert(a);
                }
                self.exit_at(a, Reason::Return, 0);
                Exit::Never
            }
        }
    }

    /// Tail-jumps to `to` if that is where the jump goes, and unwinds otherwise.
    fn emit_predicted(&mut self, b: usize, to: u32) {
        let (stores, _) = self.term_stores(b, self.dirty.dirty);
        self.store_globals(stores);
        let pc = self.indirect_pc;
        if let Some(f) = self.m.program.function_at(to).filter(|_| self.m.mode == Mode::Program && self.is_bare()) {
            self.s().local_get(pc);
            self.push_pc32(to);
            self.s().i32_eq().if_(BlockType::Empty);
            self.push_callee_rsp(0);
            self.push_params(RegSet::PARAMS);
            self.s().return_call(Module::function_index(f)).end();
        }
        self.store_globals(RegSet::PARAMS);
        self.unwind_to_pc_local();
    }

    /// Leaves for the address in `indirect_pc`, with the registers stored.
    fn unwind_to_pc_local(&mut self) {
        let pc = self.indirect_pc;
        self.store_rsp_global();
        self.s().local_get(pc).i64_extend_i32_u().global_set(Global::Pc as u32);
        self.s().i32_const(Reason::Return as i32).global_set(Global::Reason as u32);
        self.return_unwound(0);
    }

    fn emit_trap(&mut self, i: &Instruction) {
        use iced_x86::Code as C;
        let next = i.next_ip() as u32;
        let (pc, reason) = match i.code() {
            C::Int3 => (next, Reason::Breakpoint),
            C::Ud2 | C::Ud0_r64_rm64 | C::Ud1_r64_rm64 | C::Ud0_r32_rm32 | C::Ud1_r32_rm32 => {
                (i.ip() as u32, Reason::Undefined)
            }
            C::Hlt | C::Int_imm8 => (i.ip() as u32, Reason::Protection),
            _ => {
                self.uncovered.push((i.ip() as u32, format!("{:?}", i.code())));
                (i.ip() as u32, Reason::Undefined)
            }
        };
        let set = if self.cx.snippet { group(self.dirty.dirty, RegSet::EVERYTHING) } else { RegSet::EMPTY };
        self.store_globals(set);
        self.exit_at(pc, reason, 0);
    }

    fn emit_table(&mut self, st: &Structured, id: NodeId, b: usize, block: &Block, table: &JumpTable) -> Exit {
        self.settle_flags(st, id, b);
        let n = self.graph.addrs.len();
        let node_of = |leaves: &[(usize, Leave)], l: Leave| {
            let k = leaves.iter().position(|&x| x == (b, l)).unwrap_or(0);
            st.cfg.nodes.iter().position(|x| matches!(x, Node::User(u) if *u == n + k)).unwrap_or(0)
        };
        let mut targets = Vec::with_capacity(table.targets.len());
        for a in &table.targets {
            let raw = match self.graph.index.get(a) {
                Some(&t) => self.way_to(b, t),
                None => node_of(&self.leaves, Leave::To(*a)),
            };
            targets.push(st.target(id, raw));
        }
        let default = st.target(id, node_of(&self.leaves, Leave::Indirect));
        if let Some(i) = block.insns.last() {
            // A memory operand is only read when the table does not know the index.
            if i.op0_kind() == OpKind::Register {
                self.push_operand_pc(i);
                let t = self.indirect_pc;
                self.s().local_set(t);
            }
        }
        let index = match self.jump_index.get(&table.load).map(|x| x.0) {
            Some(l) => l,
            None => number(table.index).map_or(1, |r| self.reg_local(r)),
        };
        // An index above 32 bits must not become a small one.
        let narrow = number(table.index).is_some_and(|r| self.is_narrow(b, u64::from(table.load), r));
        self.s().local_get(index);
        if !narrow {
            self.s().i64_const(0xffff_ffff).local_get(index).i64_const(0xffff_ffff).i64_lt_u().select();
        }
        self.s().i32_wrap_i64();
        Exit::Switch { targets, default }
    }

    /// Whether register `r` is known to hold no more than 32 bits at the instruction at `before` in block `b`.
    fn is_narrow(&self, b: usize, before: u64, r: u8) -> bool {
        let narrow = |i: &Instruction| {
            // A bit scan of 0 leaves its whole destination as it was.
            i.op0_kind() == OpKind::Register
                && i.op0_register().is_gpr32()
                && !matches!(i.mnemonic(), Mnemonic::Bsf | Mnemonic::Bsr)
                && number(i.op0_register()) == Some(r)
        };
        if let Some((_, i)) = self.last_set(b, before, r) {
            return narrow(i);
        }
        let mut at = b;
        // What checks the index usually stands right before.
        for _ in 0..4 {
            // The entry and places that indirect jumps lead to have ways in that are not seen here.
            let &[p] = &self.graph.preds[at][..] else { return false };
            if at == 0 || self.graph.labels.contains(&at) {
                return false;
            }
            let Some(block) = self.block(p).filter(|x| matches!(x.term, Term::Jump(_) | Term::Cond { .. })) else {
                return false;
            };
            if let Some(k) = self.graph.effects[p].iter().rposition(|e| e.defs.has(r)) {
                return block.insns.get(k).is_some_and(narrow);
            }
            at = p;
        }
        false
    }

    /// The instruction of block `b` that sets register `r` last before the one at `before`, and its place.
    fn last_set(&self, b: usize, before: u64, r: u8) -> Option<(usize, &'a Instruction)> {
        let insns = &self.block(b)?.insns;
        let at = insns.iter().position(|i| i.ip() == before)?;
        let effects = &self.graph.effects[b];
        let k = (0..at).rev().find(|&k| effects.get(k).is_some_and(|e| e.defs.has(r)))?;
        Some((k, insns.get(k)?))
    }

    /// Continues at the return site, if it is in this function.
    fn after_call(&mut self, st: &Structured, id: NodeId, b: usize, ret: u32) -> Exit {
        if let Some(&t) = self.graph.index.get(&ret).filter(|t| self.graph.succs[b].contains(t)) {
            self.store_globals(self.settle[b]);
            self.load_globals(self.fetch_out[b]);
            self.settle_flags(st, id, b);
            Exit::Goto(st.target(id, self.way_to(b, t)))
        } else {
            // A call that was not expected to return did.
            self.store_globals(RegSet::one(RAX));
            self.exit_at(ret, Reason::Return, 0);
            Exit::Never
        }
    }

    fn emit_ret(&mut self, block: &Block) {
        let Some(i) = block.insns.last() else { return };
        let extra = if i.op_count() > 0 { i32::from(i.immediate16()) } else { 0 };
        let snippet = self.cx.snippet;
        let all = if snippet { RegSet::EVERYTHING } else { (self.own.ret_live | self.own.kept) - RegSet::one(RAX) };
        let stores = group(self.dirty.dirty & all, all);
        let want_rax = self.own.ret_live.has(RAX);
        let at = self.state.as_ref().and_then(|s| s.rsp);
        let pc = self.ret_pc;
        self.store_globals(stores);
        let normal = at == Some(0) && extra == 0 && !snippet;
        if !normal || !self.holds {
            // The return address: low 32 bits (guest addresses are below 4 GiB).
            match at {
                Some(c) => {
                    let (fb, d) = (self.frame_base, self.depth + c);
                    let offset = self.push_frame_base(fb, d);
                    self.load(8, offset);
                }
                None => {
                    self.push_rsp32();
                    self.load(8, 0);
                }
            }
            self.s().i32_wrap_i64().local_set(pc);
        }
        if !normal {
            let fb_entry = self.depth;
            let fb = self.frame_base;
            let dynamic = at.is_none() && extra == 0 && !snippet;
            if dynamic {
                self.push_rsp32();
                self.s().local_get(fb).i32_const(fb_entry).i32_add().i32_ne().if_(BlockType::Empty);
            }
            // Not this frame's own return address: let the trampoline sort it out.
            if want_rax && !snippet {
                self.store_globals(RegSet::one(RAX));
            }
            self.return_elsewhere(extra, u32::from(dynamic));
            if dynamic {
                self.s().end();
            } else {
                return;
            }
        }
        if self.holds {
            self.s().i32_const(RETURNED as i32);
        } else {
            // As an address it means something else.
            self.s().local_get(pc).i32_const(RETURNED as i32).i32_eq().if_(BlockType::Empty);
            if want_rax {
                self.store_globals(RegSet::one(RAX));
            }
            self.return_elsewhere(0, 1);
            self.s().end().local_get(pc);
        }
        self.push_rsp32();
        self.s().i32_const(8).i32_add();
        if want_rax {
            let l = self.reg_local(RAX);
            self.s().local_get(l);
        } else {
            self.s().i64_const(0);
        }
        self.s().return_();
    }

    fn emit_call(&mut self, b: usize, block: &Block, to: Option<u32>, ret: u32) {
        let (stores, reads) = self.term_stores(b, self.dirty.dirty);
        let direct = to.and_then(|t| self.m.program.function_at(t)).filter(|_| !self.cx.snippet);
        if to.is_none()
            && let Some(i) = block.insns.last()
        {
            self.push_operand_pc(i);
            let t = self.indirect_pc;
            self.s().local_set(t);
        }
        self.store_globals(stores);
        // Where a function jumps on, its own return address serves.
        let pushed = if matches!(block.term, Term::Chain { .. }) { 0 } else { 8 };
        if pushed != 0 && !self.holds {
            self.push_return_address(ret);
        }
        if direct.is_none() && (to.is_some() || self.cx.snippet) {
            // A direct call to a place that was not recompiled, or a call in a snippet. The trampoline takes the parameters from the globals.
            match to {
                Some(t) => self.push_pc64(t),
                None => {
                    let pc = self.indirect_pc;
                    self.s().local_get(pc).i64_extend_i32_u();
                }
            }
            self.s().global_set(Global::Pc as u32);
            self.store_globals(reads & RegSet::PARAMS);
            self.push_rsp64();
            self.s().i64_const(pushed).i64_sub().global_set(u32::from(RSP));
            self.s().i32_const(Reason::Return as i32).global_set(Global::Reason as u32);
            self.return_unwound(0);
            self.s().unreachable();
            return;
        }
        self.push_callee_rsp(pushed as i32);
        match direct {
            Some(f) => {
                self.push_params(reads);
                self.s().call(Module::function_index(f));
            }
            None => {
                // If nothing can be called, the globals take what is given here.
                self.push_params_or(reads, |g, r| {
                    g.s().global_get(u32::from(r));
                });
                let expected = self.m.program.expected(block);
                if let Some(f) = expected {
                    self.push_is_entry(f);
                    self.s().if_(BlockType::FunctionType(index::FN_TYPE)).call(Module::function_index(f)).else_();
                }
                let (pc, jump) = (self.indirect_pc, self.m.helper_index(Helper::Jump));
                self.s().local_get(pc).i64_extend_i32_u().global_set(Global::Pc as u32).call(jump);
                if expected.is_some() {
                    self.s().end();
                }
            }
        }
        let rax = self.reg_local(RAX);
        let (rsp, pc, depth) = (self.ret_rsp, self.ret_pc, self.depth_now);
        self.s().local_set(rax).local_set(rsp).local_tee(pc).i32_const(RETURNED as i32).i32_ne();
        if !self.holds {
            self.s().if_(BlockType::Empty).local_get(pc);
            self.push_pc32(ret);
            self.s().i32_ne().br_if(depth + 1).end();
        } else {
            self.s().if_(BlockType::Empty);
            self.give_back_after_call(b, pushed as i32, ret);
            self.s().br(depth + 1).end();
        }
        // Back: the returned rsp is worth more than a local that would have to survive the call.
        match self.state.as_ref().and_then(|s| s.rsp) {
            Some(c) => {
                let (fb, d) = (self.frame_base, self.depth + c + 8 - pushed as i32);
                self.s().local_get(rsp).i32_const(d).i32_sub().local_set(fb);
            }
            None => {
                let v = self.rsp_value;
                self.s().local_get(rsp).i64_extend_i32_u().local_set(v);
            }
        }
        self.fl = [Fl::Local; 6];
        self.load_globals(self.need_out[b] & RegSet::FLAGS);
        let mut d = self.dirty;
        self.after_term(b, &mut d);
        self.dirty = d;
    }

    /// What a call unwound, or came back elsewhere: the frame does so, too.
    fn give_back_after_call(&mut self, b: usize, pushed: i32, ret: u32) {
        if let Some(c) = self.state.as_ref().and_then(|s| s.rsp) {
            let (fb, d, rsp) = (self.frame_base, self.depth + c + 8 - pushed, self.ret_rsp);
            self.s().local_get(rsp).i32_const(d).i32_sub().local_set(fb);
        }
        match self.state.as_ref().and_then(|s| s.rsp) {
            Some(c) if pushed != 0 => self.store_return_address(c - pushed, ret),
            _ if pushed != 0 => self.push_return_address(ret),
            _ => {}
        }
        self.give_back(true);
        // What nobody reads need not have survived the call for this.
        let changed = self.state.as_ref().map_or(RegSet::EMPTY, |s| self.held - s.entry);
        let passed = self.block(b).map_or(RegSet::EMPTY, |x| self.passed(&x.term));
        for r in (changed - self.live.live_out[b] - passed).iter() {
            let l = self.reg_local(r);
            self.s().i64_const(0).local_set(l);
        }
    }

    /// Stores `ret` in the frame, `at` from rsp at entry.
    fn store_return_address(&mut self, at: i32, ret: u32) {
        let offset = self.push_frame_base(self.frame_base, self.depth + at);
        self.push_pc64(ret);
        self.s().i64_store(MemArg { offset, align: 0, memory_index: 0 });
    }

    /// Stores `ret` below rsp.
    fn push_return_address(&mut self, ret: u32) {
        match self.state.as_ref().and_then(|s| s.rsp) {
            Some(c) => self.store_return_address(c - 8, ret),
            None => {
                self.push_rsp32();
                self.s().i32_const(8).i32_sub();
                self.push_pc64(ret);
                self.s().i64_store(MemArg { offset: 0, align: 0, memory_index: 0 });
            }
        }
    }

    /// The return of a function that was put into this one: goes on here if the return address is still what was pushed.
    fn emit_return(&mut self, b: usize, ret: u32) {
        let pc = self.ret_pc;
        let at = self.state.as_ref().and_then(|s| s.rsp).unwrap_or(0);
        let offset = self.push_frame_base(self.frame_base, self.depth + at);
        self.load(8, offset);
        self.s().i32_wrap_i64().local_tee(pc);
        self.push_pc32(ret);
        self.s().i32_ne().if_(BlockType::Empty);
        // Where it goes on instead may be in this file, and read what a call would have stored.
        let all = self.cx.everything() | self.live.live_out[b];
        let fl = self.fl;
        self.store_globals(group(self.dirty.dirty & all, all));
        self.fl = fl;
        self.return_elsewhere(0, 1);
        self.s().end();
    }

    /// Unwinds to the return address that was popped, which is in `ret_pc`, and drops `extra` bytes behind it. The registers are stored.
    fn return_elsewhere(&mut self, extra: i32, nested: u32) {
        let pc = self.ret_pc;
        self.push_rsp64();
        self.s().i64_const(8 + i64::from(extra)).i64_add().global_set(u32::from(RSP));
        self.s().local_get(pc).i64_extend_i32_u().global_set(Global::Pc as u32);
        self.s().i32_const(Reason::Return as i32).global_set(Global::Reason as u32);
        self.return_unwound(nested);
    }

    fn emit_syscall(&mut self, b: usize, next: u32) {
        let (stores, _) = self.term_stores(b, self.dirty.dirty);
        self.store_globals(stores);
        self.store_rsp_global();
        self.push_pc64(next);
        self.s().global_set(Global::Pc as u32);
        for r in [RAX, RDI, RSI, RDX, R10, R8, R9] {
            let l = self.reg_local(r);
            self.s().local_get(l);
        }
        let rax = self.reg_local(RAX);
        self.s().call(index::SYSCALL).local_tee(rax).i64_const(UNWIND).i64_eq().if_(BlockType::Empty);
        self.s().i32_const(Reason::Syscall as i32).global_set(Global::Reason as u32);
        self.return_unwound(1);
        self.s().end();
        let need = self.need_out[b];
        if need.has(RCX) {
            let l = self.reg_local(RCX);
            self.push_pc64(next);
            self.s().local_set(l);
        }
        if need.has(R11) {
            let l = self.reg_local(R11);
            self.push_rflags(RegSet::FLAGS & need);
            self.s().local_set(l);
        }
        self.materialise(need);
        let mut d = self.dirty;
        self.after_term(b, &mut d);
        self.dirty = d;
    }

    /// Where the flags are at the beginning of a node.
    fn flags_before(&self, id: NodeId) -> [Fl; 6] {
        let before = self.single.get(&id).and_then(|p| self.end_flags.get(p));
        self.flags_at.get(&id).or(before).copied().unwrap_or([Fl::Local; 6])
    }

    /// What is known of the registers at the beginning of a node.
    fn low_before(&self, id: NodeId) -> Wide {
        self.single.get(&id).and_then(|p| self.end_low.get(p)).copied().unwrap_or_default()
    }

    fn emit_block(&mut self, st: &Structured, id: NodeId, b: usize, header: bool) -> Exit {
        let Some(block) = self.block(b) else {
            self.s().unreachable();
            return Exit::Never;
        };
        self.fl = self.flags_before(id);
        self.block_now = b;
        self.state = self.frames.at[b].clone();
        self.dirty = self.dirty_in[b];
        if header && self.polled_on_way_back(st, id).is_none() {
            self.emit_poll(b);
        }
        self.load_globals(self.fetch[b]);
        self.low = self.low_before(id);
        debug_assert!(
            !header || self.polls.contains(&b) || self.m.mode == Mode::Snippet,
            "a loop of {:x} could not be interrupted",
            self.graph.addrs[0]
        );
        // What is needed after each instruction.
        let effects = &self.graph.effects[b];
        let mut need = self.need_at_term(b, self.dirty_at_term(b));
        let mut after = vec![RegSet::EMPTY; effects.len()];
        for (k, e) in effects.iter().enumerate().rev() {
            after[k] = need;
            need = e.before(need);
        }
        let last = block.insns.len().saturating_sub(1);
        let own_term = !matches!(block.term, Term::Jump(_) | Term::Invalid(_))
            || block.insns.last().is_some_and(|i| i.flow_control() == iced_x86::FlowControl::UnconditionalBranch);
        for (k, i) in block.insns.iter().enumerate() {
            let e = &effects[k];
            self.need_after = after[k];
            self.need_before = e.before(after[k]);
            self.narrow = e.narrow;
            self.once = writes_once(i);
            if own_term && k == last {
                // The terminator itself; its effect on the frame is part of how it is emitted.
                break;
            }
            self.release_tmps();
            if !self.is_held(i) && !self.insn(i) {
                self.uncovered.push((i.ip() as u32, format!("{:?}", i.code())));
                self.exit_here(i, Reason::Undefined, 0);
                // Unreachable from here on, but the code must stay well-formed.
                self.end_flags.insert(id, [Fl::Local; 6]);
                return Exit::Never;
            }
            self.low = (self.low - Wide::all(e.defs)) | self.low_result(i, e);
            if let Some(mut s) = self.state.take() {
                let mut d = self.dirty;
                self.after_insn(&mut s, &mut d, i, e);
                self.dirty = d;
                self.state = Some(s);
            }
        }
        // Successors that do not know rsp's offset find it in the local.
        if self.state.as_ref().is_some_and(|s| s.rsp.is_some())
            && !matches!(block.term, Term::Ret | Term::Trap)
            && self.graph.succs[b].iter().any(|&t| self.frames.at[t].as_ref().is_some_and(|f| f.rsp.is_none()))
        {
            let v = self.rsp_value;
            self.push_rsp64();
            self.s().local_set(v);
        }
        if !Self::comes_back(&block.term) {
            self.store_globals(self.settle[b]);
            self.load_globals(self.fetch_out[b]);
        }
        let exit = self.block_exit(st, id, b, block);
        self.end_flags.insert(id, self.fl);
        if matches!(block.term, Term::Jump(_) | Term::Cond { .. }) {
            // The last instruction may be one that counts rcx down.
            let low = self.low - Wide::all(effects.last().map_or(RegSet::EMPTY, |e| e.defs));
            self.end_low.insert(id, if own_term { low } else { self.low });
        }
        exit
    }

    /// Whether `i` saves or restores a register that is held: the caller has it all the time.
    fn is_held(&self, i: &Instruction) -> bool {
        self.holds && self.state.as_ref().is_some_and(|s| hold::saves(s, i).is_some() || hold::restores(s, i).is_some())
    }

    /// At a loop header, or on the way back there: leave when somebody wants our attention.
    fn emit_poll(&mut self, b: usize) {
        if !self.polls.contains(&b) || self.m.mode == Mode::Snippet {
            return;
        }
        self.push_poll();
        self.s().if_(BlockType::Empty);
        self.poll_exit(b);
        self.s().end();
    }

    fn push_poll(&mut self) {
        self.s().i32_const(0).i32_atomic_load(MemArg {
            offset: u64::from(megalith_abi::MAP_POLL),
            align: 2,
            memory_index: 1,
        });
    }

    fn poll_exit(&mut self, b: usize) {
        let live = self.live.live_in[b];
        let stores = group(self.dirty_in[b].dirty & live, live);
        self.state = self.frames.at[b].clone();
        self.store_globals(stores);
        let a = self.graph.addrs[b];
        self.polled.insert(self.graph.real(a));
        self.exit_at(a, Reason::Poll, 1);
    }

    fn emit_entry(&mut self) -> Exit {
        let (fb, depth) = (self.frame_base, self.depth);
        self.s().local_get(0).i32_const(depth).i32_sub().local_set(fb);
        if self.frames.at.first().is_some_and(|f| f.as_ref().is_some_and(|f| f.rsp.is_none())) {
            let v = self.rsp_value;
            if self.m.mode == Mode::Snippet {
                self.s().global_get(u32::from(RSP)).local_set(v);
            } else {
                self.s().local_get(0).i64_extend_i32_u().local_set(v);
            }
        }
        // The direction flag is clear here, and locals start as 0.
        let direction = if self.cx.snippet { RegSet::EMPTY } else { RegSet::one(DF) };
        let need = self.need_in.first().copied().unwrap_or_default() & RegSet::FLAGS;
        let have = self.have_in.first().copied().unwrap_or_default();
        self.load_globals((need | have) - RegSet::PARAMS - direction);
        Exit::Goto(2)
    }

    /// Pushes whether the stack window is used up, or somebody wants our attention: recursion need not have loops. What needs all registers in the globals looks whether the caller holds
    /// some, too.
    fn push_entry_condition(&mut self) {
        if self.checks_depth {
            self.s().local_get(0).global_get(Global::StackFloor as u32).i32_sub();
            self.push_poll();
            self.s().i32_or().i32_const(STACK_WINDOW as i32).i32_gt_u();
        }
        if !self.holds {
            self.s().local_get(0).global_get(Global::HolderFloor as u32).i32_ne();
            if self.checks_depth {
                self.s().i32_or();
            }
        }
    }

    /// Behind [`Self::push_entry_condition`]: unwinds, unless rsp happens to be 0.
    fn emit_slow_entry(&mut self) {
        let (fb, depth) = (self.frame_base, self.depth);
        self.s().local_get(0).i32_const(depth).i32_sub().local_set(fb);
        self.s().local_get(0).if_(BlockType::Empty);
        self.store_globals(self.own.live_in & RegSet::PARAMS);
        self.s().local_get(0).i64_extend_i32_u().global_set(u32::from(RSP));
        self.push_pc64(self.graph.addrs[0]);
        self.s().global_set(Global::Pc as u32).i32_const(Reason::Depth as i32).global_set(Global::Reason as u32);
        self.state = None;
        self.return_unwound(1);
        self.s().end();
    }

    fn emit_resume(&mut self, b: usize) {
        self.load_globals(self.have_in[b] | (self.need_in[b] & RegSet::FLAGS));
        let (fb, depth, v) = (self.frame_base, self.depth, self.rsp_value);
        let known = self.frames.at[b].as_ref().map(|s| (s.rsp, s.rbp));
        match known {
            Some((Some(c), _)) => {
                self.s().global_get(u32::from(RSP)).i32_wrap_i64().i32_const(c + depth).i32_sub().local_set(fb);
            }
            Some((None, Some(c))) => {
                self.s().global_get(u32::from(RSP)).local_set(v);
                self.s().global_get(u32::from(RBP)).i32_wrap_i64().i32_const(c + depth).i32_sub().local_set(fb);
            }
            _ => {
                // Which slot is the frame's own return address is not known any more: no rsp equals this.
                self.s().global_get(u32::from(RSP)).local_set(v);
                self.s().i32_const(-1 - depth).local_set(fb);
            }
        }
    }

    /// Makes the flags that successors expect in canonical locals be there.
    fn settle_flags(&mut self, st: &Structured, id: NodeId, b: usize) {
        let mut want = RegSet::EMPTY;
        for &t in &self.graph.succs[b] {
            let way = st.target(id, self.way_to(b, t));
            let is_block = |n: NodeId| matches!(st.cfg.nodes.get(n), Some(Node::User(u)) if *u == t);
            let (from, to) =
                if self.edge_nodes.contains_key(&(b, t)) { (way, st.target(way, t + 2)) } else { (id, way) };
            if !is_block(to) || self.single.get(&to) != Some(&from) {
                want |= self.need_in[t];
            }
        }
        self.materialise(want);
    }

    /// The node that follows block `b` on its way to its successor `t`.
    fn way_to(&self, b: usize, t: usize) -> NodeId {
        self.edge_nodes.get(&(b, t)).copied().unwrap_or(t + 2)
    }
}

struct Emitting<'g, 'a> {
    g: &'g mut Gen<'a>,
    st: &'g Structured,
}

/// The successor of node `id` that is user node `user`.
fn user_successor(st: &Structured, id: NodeId, user: usize) -> Option<NodeId> {
    let is_it = |n: &NodeId| matches!(st.cfg.nodes.get(*n), Some(Node::User(u)) if *u == user);
    st.cfg.succs.get(id)?.iter().copied().find(is_it)
}

impl Emit for Emitting<'_, '_> {
    fn code(&mut self) -> &mut Vec<u8> {
        &mut self.g.code
    }

    fn has_way_back(&self, header: NodeId) -> bool {
        self.g.polled_on_way_back(self.st, header).is_some()
    }

    fn way_back(&mut self, header: NodeId, depth: u32) {
        if let Some(b) = self.g.polled_on_way_back(self.st, header) {
            self.g.emit_way_back(b, depth);
        }
    }

    fn node(&mut self, id: NodeId, node: &Node, header: bool, depth: u32) -> Exit {
        let g = &mut *self.g;
        g.depth_now = depth;
        g.release_tmps();
        let n = g.graph.addrs.len();
        let t = |to: NodeId| self.st.target(id, to);
        match node {
            Node::User(ROOT) => {
                if let Some(slow) = user_successor(self.st, id, SLOW_ENTRY) {
                    g.push_entry_condition();
                    Exit::Branch { then: slow, otherwise: t(1) }
                } else if let Some(switch) = user_successor(self.st, id, RESUME_SWITCH) {
                    Exit::Goto(switch)
                } else {
                    Exit::Goto(t(1))
                }
            }
            Node::User(SLOW_ENTRY) => {
                g.emit_slow_entry();
                Exit::Goto(t(1))
            }
            Node::User(ENTRY) => {
                g.emit_entry();
                Exit::Goto(t(2))
            }
            Node::User(RESUME_SWITCH) => {
                g.s().global_get(Global::Label as u32).i32_const(1).i32_sub();
                g.s().i32_const(0).global_set(Global::Label as u32);
                let targets = self.st.cfg.succs[id].clone();
                let default = targets.first().copied().unwrap_or(0);
                Exit::Switch { targets, default }
            }
            Node::User(u) if *u < n => g.emit_block(self.st, id, *u, header),
            Node::User(u) if *u < n + g.leaves.len() => {
                let (b, l) = g.leaves[*u - n];
                g.fl = g.flags_before(id);
                let at_term = g.before_term(b);
                g.dirty = at_term.as_ref().map_or(g.dirty_in[b], |(d, _)| *d);
                g.state = at_term.map(|(_, state)| state);
                match l {
                    Leave::To(a) => g.leave_to(a),
                    Leave::Indirect => {
                        if let Some(i) = g.block(b).and_then(|x| x.insns.last())
                            && i.op0_kind() != OpKind::Register
                        {
                            g.push_operand_pc(i);
                            let pc = g.indirect_pc;
                            g.s().local_set(pc);
                        }
                        // Parameters that are not in their locals are in the globals.
                        let have = g.have_in[b] | g.fetch[b] | g.fetch_out[b];
                        let have = g.graph.effects[b].iter().fold(have, |s, e| s | e.defs);
                        g.load_globals(RegSet::PARAMS - have);
                        // The table does not know the index: go on with what its known targets read.
                        let want = if g.cx.snippet { RegSet::EVERYTHING } else { g.need_out[b] };
                        g.leave_indirect(want, None);
                    }
                }
                Exit::Never
            }
            Node::User(u) if *u < n + g.leaves.len() + g.edge_order.len() => {
                let (b, to) = g.edge_order[*u - n - g.leaves.len()];
                let copies = g.copies(b, to);
                g.store_globals(copies.stores);
                g.load_globals(copies.loads);
                let (fl, low) = (g.flags_before(id), g.low_before(id));
                g.end_flags.insert(id, fl);
                g.end_low.insert(id, low);
                Exit::Goto(t(to + 2))
            }
            Node::User(u) => {
                let label = (*u - n - g.leaves.len() - g.edges.len()) as u32;
                let b = g.labels.iter().find(|x| *x.1 == label).map_or(0, |x| *x.0);
                g.emit_resume(b);
                Exit::Goto(t(b + 2))
            }
            Node::Dispatch { main, slow } => {
                let d = g.dispatch;
                g.s().local_get(d);
                if g.m.mode == Mode::Program && g.main_block(self.st, *main).is_some() {
                    g.push_poll();
                    g.s().i32_or();
                }
                Exit::Branch { then: *slow, otherwise: *main }
            }
            Node::Select { cases, main } => {
                let d = g.dispatch;
                if let Some(b) = g.main_block(self.st, *main) {
                    g.s().local_get(d).i32_eqz().if_(BlockType::Empty);
                    g.fl = [Fl::Local; 6];
                    g.poll_exit(b);
                    g.s().end();
                }
                let first = cases.first().map_or(0, |c| c.0);
                let last = cases.last().map_or(0, |c| c.0);
                let mut targets = vec![*main; (last - first + 1) as usize];
                for &(v, to) in cases {
                    if let Some(slot) = targets.get_mut((v - first) as usize) {
                        *slot = to;
                    }
                }
                g.s().local_get(d).i32_const(first as i32).i32_sub();
                Exit::Switch { targets, default: *main }
            }
            Node::Set { value, next } => {
                let d = g.dispatch;
                g.s().i32_const(*value as i32).local_set(d);
                Exit::Goto(*next)
            }
        }
    }
}

impl Gen<'_> {
    /// The block that node `header` is, if its loop polls on the way back: one that comes to its end at once does not pay for it then. What may be resumed polls at the top.
    fn polled_on_way_back(&self, st: &Structured, header: NodeId) -> Option<usize> {
        match st.cfg.nodes.get(header) {
            Some(&Node::User(b)) if self.form == Form::Called && st.has_few_ways_back(header) => {
                (b < self.graph.addrs.len() && self.polls.contains(&b)).then_some(b)
            }
            _ => None,
        }
    }

    /// Polls on the way back to loop header `b`, where all is as the header expects it.
    fn emit_way_back(&mut self, b: usize, depth: u32) {
        let (fl, state, depth_now) =
            (std::mem::replace(&mut self.fl, [Fl::Local; 6]), self.state.clone(), self.depth_now);
        self.depth_now = depth;
        self.emit_poll(b);
        (self.fl, self.state, self.depth_now) = (fl, state, depth_now);
    }

    /// The block that a dispatch node's main way leads to, if it can be resumed at.
    fn main_block(&self, st: &Structured, mut node: NodeId) -> Option<usize> {
        loop {
            match st.cfg.nodes[node] {
                Node::User(u) => {
                    let b = u;
                    return (b < self.graph.addrs.len() && self.polls.contains(&b)).then_some(b);
                }
                Node::Dispatch { main, .. } => node = main,
                _ => return None,
            }
        }
    }
}

/// A function with more calls keeps the registers that it holds on the stack: with so many ways through it, the engine's compiler copies values from one place to another at every turn.
const MANY_CALLS: usize = 200;

/// Loops with more blocks are looked at from the inside: what only a part of them reads is loaded there.
const LARGE_LOOP: usize = 16;
