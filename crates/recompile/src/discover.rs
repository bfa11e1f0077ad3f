//! Finds instructions, basic blocks and functions.
//!
//! Roots are the entry point, FDE starts, symbols, relocations and pointers found in data. From these, recursive descent follows direct
//! control flow and jump tables. Functions are then cut out of the graph of blocks: every address that is called, that has a symbol or that
//! is pointed at starts one; a jump between functions is a tail call; small pieces that several functions jump to are cloned. A word of data that
//! happens to look like a pointer must not cut a function in two: see [`inner_pointers`].

use crate::elf::Image;
use crate::regs::{RegSet, number};
use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// How a basic block ends.
#[derive(Clone, Debug)]
pub enum Term {
    /// Goes on at the address (a jump, or the next block).
    Jump(u32),
    /// The last instruction is a conditional jump (jcc, jrcxz, loop).
    Cond { taken: u32, fall: u32 },
    /// The last instruction is a near return.
    Ret,
    /// The last instruction is a direct call.
    Call { target: u32, ret: u32 },
    /// The last instruction is an indirect call.
    CallIndirect { ret: u32 },
    /// The last instruction is an indirect jump, with the table it goes through if one was recognised.
    JumpIndirect(Option<JumpTable>),
    /// The last instruction is an indirect jump that most likely goes to the function at the address.
    JumpPredicted(u32),
    /// A direct call whose function follows in place, at `callee` in the same graph (see [`crate::inline`]).
    Enter { callee: u32, ret: u32 },
    /// The last instruction is the return of a function that was put into its caller, which goes on at `ret`.
    Return { ret: u32 },
    /// The last instruction jumps from a function that was put into its caller to function `target`, which returns to `ret`.
    Chain { target: u32, ret: u32 },
    /// The last instruction is an indirect jump of a function that was put into its caller; `likely` follows if it goes to `expect`.
    Check { expect: u32, likely: u32, other: u32 },
    /// The last instruction is `syscall`.
    Syscall { next: u32 },
    /// The last instruction always traps, or has no translation.
    Trap,
    /// Control runs into bytes that do not decode.
    Invalid(u32),
}

impl Term {
    /// Runs a function outside of the graph and goes on when it has returned.
    pub fn is_call(&self) -> bool {
        matches!(self, Term::Call { .. } | Term::CallIndirect { .. } | Term::Chain { .. })
    }
}

/// A recognised jump table: `targets[i]` is where the jump goes when register `index` holds `i` at instruction `load`.
#[derive(Clone, Debug)]
pub struct JumpTable {
    pub load: u32,
    pub index: Register,
    pub targets: Vec<u32>,
}

/// A basic block: straight code with one way in at the top.
#[derive(Clone, Debug)]
pub struct Block {
    pub insns: Vec<Instruction>,
    pub term: Term,
    /// Ends in a call behind which its function is over: it does not return.
    pub ends: bool,
}

impl Block {
    /// Addresses this block may go on at inside its function or by a tail jump; the return site for calls.
    pub fn successors(&self) -> Vec<u32> {
        match &self.term {
            _ if self.ends => vec![],
            Term::Jump(t) => vec![*t],
            Term::Cond { taken, fall } => vec![*taken, *fall],
            Term::Call { ret, .. } | Term::CallIndirect { ret } | Term::Return { ret } | Term::Chain { ret, .. } => {
                vec![*ret]
            }
            Term::Enter { callee, .. } => vec![*callee],
            Term::Check { likely, other, .. } => vec![*likely, *other],
            Term::Syscall { next } => vec![*next],
            Term::JumpIndirect(Some(t)) => {
                let set: BTreeSet<u32> = t.targets.iter().copied().collect();
                set.into_iter().collect()
            }
            _ => vec![],
        }
    }
}

/// A function: the blocks reached from its entry without passing another function's entry.
#[derive(Clone, Debug)]
pub struct Function {
    pub entry: u32,
    /// Block addresses; the entry first, the rest ascending.
    pub blocks: Vec<u32>,
}

/// The result of discovery.
pub struct Program {
    pub blocks: BTreeMap<u32, Block>,
    /// Sorted by entry address.
    pub functions: Vec<Function>,
    /// Entries whose address is taken (they may be called from anywhere).
    pub address_taken: HashSet<u32>,
    /// Entries that are called, or that only functions have their address taken for: not the pieces of larger functions, nor what lies inside of an FDE's range.
    pub starts: HashSet<u32>,
    /// Of these, those where an FDE begins.
    pub known_starts: HashSet<u32>,
    /// Addresses inside functions that may be the target of an indirect jump, or only look like it: they can be resumed at.
    pub labels: BTreeSet<u32>,
    /// Where indirect calls and jumps through a variable are expected to go, by the address of the instruction: the entry that the file has in it. Programs
    /// seldom put something else there; generated code looks.
    pub expected: HashMap<u32, u32>,
}

impl Program {
    /// The function that an indirect call or jump at the end of `block` is expected to go to.
    pub fn expected(&self, block: &Block) -> Option<usize> {
        self.function_at(*self.expected.get(&(block.insns.last()?.ip() as u32))?)
    }

    pub fn function_at(&self, addr: u32) -> Option<usize> {
        self.functions.binary_search_by_key(&addr, |f| f.entry).ok()
    }
}

/// Jump tables longer than this are cut off (the rest goes the slow way).
const MAX_TABLE: usize = 4096;
/// How many values the index of a jump table can have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bound {
    /// What the code checks.
    Exact(u64),
    /// It was a byte: the table need not have so many entries.
    Byte,
}

/// Values of a byte.
const BYTE_VALUES: u64 = 256;
/// Instructions before an indirect jump that are looked at for its table.
const HISTORY: usize = 100;
/// Code reached by several functions is cloned up to this many instructions, and becomes a function of its own above.
const CLONE_LIMIT: usize = 24;

struct Run {
    addrs: Vec<u32>,
    parent: Option<(usize, usize)>,
}

struct Finder<'a> {
    image: &'a Image,
    /// Instruction starts seen, as offsets into the text.
    seen: Vec<bool>,
    leaders: BTreeSet<u32>,
    runs: Vec<Run>,
    work: Vec<(u32, Option<(usize, usize)>)>,
    calls: BTreeSet<u32>,
    pointers: BTreeSet<u32>,
    tables: HashMap<u32, JumpTable>,
    /// Addresses of table entries.
    table_bytes: BTreeSet<u32>,
    /// Addresses where tables begin.
    table_starts: BTreeSet<u32>,
}

pub fn decode(image: &Image, addr: u32) -> Option<Instruction> {
    let bytes = image.bytes(addr);
    let bytes = bytes.get(..15).unwrap_or(bytes);
    let mut d = Decoder::with_ip(64, bytes, u64::from(addr), DecoderOptions::NONE);
    let i = d.decode();
    (!i.is_invalid()).then_some(i)
}

pub fn discover(image: &Image) -> Program {
    let len = image.text.len();
    let mut f = Finder {
        image,
        seen: vec![false; len],
        leaders: BTreeSet::new(),
        runs: Vec::new(),
        work: Vec::new(),
        calls: BTreeSet::new(),
        pointers: BTreeSet::new(),
        tables: HashMap::new(),
        table_bytes: BTreeSet::new(),
        table_starts: BTreeSet::new(),
    };
    f.root(image.entry);
    if !image.snippet {
        for &p in &image.code_pointers {
            f.pointers.insert(p);
            f.root(p);
        }
        for &a in image.symbols.keys() {
            f.root(a);
        }
        for r in &image.fdes {
            f.root(r.start);
        }
        f.explore();
        f.scan_data();
    }
    f.explore();
    let blocks = f.blocks();
    let mut entries: BTreeSet<u32> = f.calls.iter().copied().filter(|a| blocks.contains_key(a)).collect();
    entries.insert(image.entry);
    entries.extend(image.symbols.keys().copied().filter(|a| blocks.contains_key(a)));
    let inner = inner_pointers(image, &blocks, &f.pointers, &entries);
    entries.extend(f.pointers.iter().copied().filter(|a| blocks.contains_key(a) && !inner.contains(a)));
    let whole = |a: &u32| image.fde_of(*a).is_none_or(|r| r.start == *a);
    let starts: HashSet<u32> = entries.iter().copied().filter(whole).collect();
    let known_starts = starts.iter().copied().filter(|a| image.fde_of(*a).is_some()).collect();
    let Cut { functions, joined } = cut_functions(image, &blocks, entries, &inner);
    let known: HashSet<u32> = functions.iter().map(|f| f.entry).collect();
    let mut address_taken: HashSet<u32> = f.pointers.iter().copied().filter(|a| known.contains(a)).collect();
    address_taken.insert(image.entry);
    let labels = inner.into_iter().filter(|a| !known.contains(a)).chain(joined).collect();
    let jumps = blocks.values().filter(|b| matches!(b.term, Term::CallIndirect { .. } | Term::JumpIndirect(None)));
    let expected = jumps
        .filter_map(|b| {
            let last = b.insns.last()?;
            let value = image.bytes(u32::try_from(variable(last)?).ok()?).first_chunk()?;
            let target = u32::try_from(u64::from_le_bytes(*value)).ok()?;
            address_taken.contains(&target).then_some((last.ip() as u32, target))
        })
        .collect();
    Program { blocks, functions, address_taken, starts, known_starts, labels, expected }
}

/// The address of the variable that an indirect call or jump reads, if it is a constant.
fn variable(insn: &Instruction) -> Option<u64> {
    if insn.op0_kind() != OpKind::Memory
        || insn.memory_index() != Register::None
        || insn.segment_prefix() != Register::None
    {
        return None;
    }
    match insn.memory_base() {
        Register::RIP => Some(insn.ip_rel_memory_address()),
        Register::None => Some(insn.memory_displacement64()),
        _ => None,
    }
}

impl Finder<'_> {
    fn root(&mut self, addr: u32) {
        if self.image.is_code(addr) {
            self.leaders.insert(addr);
            self.work.push((addr, None));
        }
    }

    fn seen_at(&self, addr: u32) -> bool {
        addr.checked_sub(self.image.text.start).and_then(|o| self.seen.get(o as usize)).copied().unwrap_or(true)
    }

    fn explore(&mut self) {
        while let Some((addr, parent)) = self.work.pop() {
            self.run(addr, parent);
        }
    }

    /// Decodes from `addr` to the end of the straight run.
    fn run(&mut self, start: u32, parent: Option<(usize, usize)>) {
        let id = self.runs.len();
        self.runs.push(Run { addrs: Vec::new(), parent });
        let mut addr = start;
        loop {
            if self.seen_at(addr) {
                // Joins known code: its instructions must start a block here.
                self.leaders.insert(addr);
                return;
            }
            let Some(insn) = decode(self.image, addr) else { return };
            if let Some(s) = self.seen.get_mut((addr - self.image.text.start) as usize) {
                *s = true;
            }
            if let Some(run) = self.runs.get_mut(id) {
                run.addrs.push(addr);
            }
            let pos = self.runs.get(id).map_or(0, |r| r.addrs.len());
            let next = insn.next_ip() as u32;
            self.note_pointers(&insn);
            match insn.flow_control() {
                FlowControl::Next => {
                    if insn.code() == Code::Hlt {
                        return;
                    }
                }
                FlowControl::ConditionalBranch => {
                    let t = insn.near_branch_target() as u32;
                    self.branch(t, Some((id, pos)));
                    self.leaders.insert(next);
                    // The run goes on: conditional jumps stay in the history that jump tables are recognised from.
                }
                FlowControl::UnconditionalBranch => {
                    self.branch(insn.near_branch_target() as u32, Some((id, pos)));
                    return;
                }
                FlowControl::Call => {
                    if insn.code() == Code::Syscall {
                        self.leaders.insert(next);
                    } else if is_near_call(&insn) {
                        let t = insn.near_branch_target() as u32;
                        if self.image.is_code(t) && !self.image.snippet {
                            self.calls.insert(t);
                            self.root(t);
                        }
                        if self.ends_function(addr, next) || self.image.snippet {
                            return;
                        }
                        self.leaders.insert(next);
                    } else {
                        return;
                    }
                }
                FlowControl::IndirectCall => {
                    if self.ends_function(addr, next) || self.image.snippet {
                        return;
                    }
                    self.leaders.insert(next);
                }
                FlowControl::IndirectBranch => {
                    if let Some(table) = self.jump_table(id, &insn) {
                        for &t in &table.targets {
                            self.branch(t, Some((id, pos)));
                        }
                        self.tables.insert(addr, table);
                    }
                    return;
                }
                FlowControl::Return
                | FlowControl::Interrupt
                | FlowControl::XbeginXabortXend
                | FlowControl::Exception => {
                    return;
                }
            }
            addr = next;
        }
    }

    /// A call that is the last instruction of its FDE range does not return.
    fn ends_function(&self, addr: u32, next: u32) -> bool {
        self.image.fde_of(addr).is_some_and(|r| next >= r.end)
    }

    fn branch(&mut self, target: u32, parent: Option<(usize, usize)>) {
        if self.image.is_code(target) {
            self.leaders.insert(target);
            self.work.push((target, parent));
        }
    }

    /// Remembers code addresses that appear as immediates or rip-relative addresses.
    fn note_pointers(&mut self, insn: &Instruction) {
        if self.image.snippet {
            return;
        }
        let mut candidate = None;
        if insn.mnemonic() == Mnemonic::Lea && insn.is_ip_rel_memory_operand() {
            candidate = u32::try_from(insn.ip_rel_memory_address()).ok();
        } else if self.image.fixed && matches!(insn.mnemonic(), Mnemonic::Mov | Mnemonic::Push | Mnemonic::Cmp) {
            for i in 0..insn.op_count() {
                if matches!(insn.op_kind(i), OpKind::Immediate32 | OpKind::Immediate32to64 | OpKind::Immediate64) {
                    candidate = u32::try_from(insn.immediate(i)).ok();
                }
            }
        }
        if let Some(a) = candidate
            && self.image.is_code(a)
            && self.plausible(a)
        {
            self.pointers.insert(a);
            self.root(a);
        }
    }

    /// Whether `addr` looks like the start of code: a few instructions decode, and it is not inside a known one.
    fn plausible(&self, addr: u32) -> bool {
        if self.seen_at(addr) {
            return self.image.is_code(addr);
        }
        // Inside an instruction that is already known?
        for back in 1..15u32 {
            let Some(a) = addr.checked_sub(back) else { break };
            if a >= self.image.text.start
                && self.seen_at(a)
                && let Some(i) = decode(self.image, a)
                && (i.next_ip() as u32) > addr
            {
                return false;
            }
        }
        let mut a = addr;
        for _ in 0..8 {
            let Some(i) = decode(self.image, a) else { return false };
            if !matches!(i.flow_control(), FlowControl::Next | FlowControl::ConditionalBranch | FlowControl::Call) {
                return true;
            }
            a = i.next_ip() as u32;
        }
        true
    }

    /// Looks for code pointers in the data segments, and for PIE files in what relocations did not name.
    fn scan_data(&mut self) {
        if !self.image.fixed {
            return;
        }
        let mut found = Vec::new();
        for (segment, bytes) in self.image.loaded() {
            if segment.exec {
                continue;
            }
            let skip = (8 - segment.vaddr % 8) % 8;
            for (i, word) in bytes.get(skip as usize..).unwrap_or(&[]).as_chunks::<8>().0.iter().enumerate() {
                let at = (segment.vaddr + skip) as u32 + 8 * i as u32;
                if let Ok(a) = u32::try_from(u64::from_le_bytes(*word))
                    && self.image.is_code(a)
                    && !self.table_bytes.contains(&at)
                {
                    found.push((at, a));
                }
            }
        }
        for (at, a) in found {
            // Exploring one pointer may have recognised a table that holds the next.
            if !self.table_bytes.contains(&at) && self.plausible(a) {
                self.pointers.insert(a);
                self.root(a);
                self.explore();
            }
        }
    }

    /// The instructions before position `pos` of run `run`, the nearest first, following the way discovery came.
    fn history(&self, mut run: usize, mut pos: usize) -> Vec<Instruction> {
        let mut out = Vec::new();
        while out.len() < HISTORY {
            if pos == 0 {
                match self.runs.get(run).and_then(|r| r.parent) {
                    Some((r, p)) => (run, pos) = (r, p),
                    None => break,
                }
                continue;
            }
            pos -= 1;
            let Some(&a) = self.runs.get(run).and_then(|r| r.addrs.get(pos)) else { break };
            match decode(self.image, a) {
                Some(i) => out.push(i),
                None => break,
            }
        }
        out
    }

    /// Recognises `jmp [table + i*8]`, `mov r,[table + i*8]; jmp r` and `movsxd r,[table + i*4]; add r,table; jmp r` (or lea for add).
    fn jump_table(&mut self, run: usize, jmp: &Instruction) -> Option<JumpTable> {
        let pos = self.runs.get(run)?.addrs.len() - 1;
        let history = self.history(run, pos);
        let h = History { insns: &history };
        let (load, base, index, scale, relative, load_pos) = if jmp.op0_kind() == OpKind::Memory {
            let (base, index, scale) = h.table_address(jmp, 0)?;
            (jmp.ip() as u32, base, index, scale, None, 0)
        } else {
            let r = jmp.op0_register().full_register();
            let (i, def) = h.definition(r, 0)?;
            match def.mnemonic() {
                Mnemonic::Mov if def.op1_kind() == OpKind::Memory => {
                    let (base, index, scale) = h.table_address(def, i + 1)?;
                    (def.ip() as u32, base, index, scale, None, i + 1)
                }
                Mnemonic::Add | Mnemonic::Lea => {
                    let (a, b) = if def.mnemonic() == Mnemonic::Add && def.op1_kind() == OpKind::Register {
                        (def.op0_register(), def.op1_register())
                    } else if def.mnemonic() == Mnemonic::Lea
                        && def.memory_index_scale() == 1
                        && def.memory_displacement64() == 0
                        && def.memory_base() != Register::None
                        && def.memory_index() != Register::None
                    {
                        (def.memory_base(), def.memory_index())
                    } else {
                        return None;
                    };
                    let (a, b) = (a.full_register(), b.full_register());
                    // One of the two is the table's constant address, the other the loaded offset.
                    let pick = |offset: Register, table: Register| -> Option<_> {
                        let anchor = h.constant(table, i + 1)?;
                        let (j, ld) = h.definition(offset, i + 1)?;
                        if ld.mnemonic() != Mnemonic::Movsxd || ld.op1_kind() != OpKind::Memory {
                            return None;
                        }
                        let (base, index, scale) = h.table_address(ld, j + 1)?;
                        Some((ld.ip() as u32, base, index, scale, Some(anchor), j + 1))
                    };
                    pick(a, b).or_else(|| pick(b, a))?
                }
                _ => return None,
            }
        };
        let entry_size = if relative.is_some() { 4 } else { 8 };
        if scale != entry_size {
            return None;
        }
        let bound = h.bound(index, load_pos);
        // What only the index's being a byte says is no bound of the table.
        let (limit, bounded) = match bound {
            Some(Bound::Exact(n)) => (n.min(MAX_TABLE as u64), n < MAX_TABLE as u64),
            Some(Bound::Byte) => (BYTE_VALUES, false),
            None => (MAX_TABLE as u64, false),
        };
        let fde = self.image.fde_of(jmp.ip() as u32).cloned();
        let mut targets = Vec::new();
        // How many there are up to the last that leads into the function, without a bound.
        let mut inside = 0;
        for k in 0..limit as u32 {
            let at = base.checked_add(k.checked_mul(entry_size)?)?;
            // Without a bound, a table ends where another one starts.
            if !bounded && k > 0 && self.table_starts.contains(&at) {
                break;
            }
            let target = match relative {
                None => self.image.read_u64(at).and_then(|v| u32::try_from(v).ok()),
                Some(anchor) => self.image.read_u32(at).map(|v| anchor.wrapping_add(v)),
            };
            let Some(target) = target.filter(|&t| self.image.is_code(t)) else { break };
            let foreign = fde.as_ref().is_some_and(|r| !r.contains(&target));
            // Within a byte's values some may lead to a part of the function that lies elsewhere.
            if !bounded && foreign && bound != Some(Bound::Byte) {
                break;
            }
            // Where a comparison says that it is an entry, of its own function, what was taken for an instruction there (by a number that looks like a
            // pointer) is none.
            let certain = bounded && fde.is_some() && !foreign;
            if !certain && !self.plausible(target) {
                break;
            }
            targets.push(target);
            if !foreign {
                inside = targets.len();
            }
        }
        if !bounded {
            targets.truncate(inside);
        }
        if targets.is_empty() {
            return None;
        }
        self.table_starts.insert(base);
        for k in 0..targets.len() as u32 {
            self.table_bytes.insert(base + k * entry_size);
        }
        Some(JumpTable { load, index, targets })
    }

    /// Cuts the explored code into basic blocks at the leaders.
    fn blocks(&self) -> BTreeMap<u32, Block> {
        let mut out = BTreeMap::new();
        let mut work: Vec<u32> = self.leaders.iter().copied().collect();
        while let Some(start) = work.pop() {
            if out.contains_key(&start) {
                continue;
            }
            let mut insns = Vec::new();
            let mut addr = start;
            let term = loop {
                if addr != start && self.leaders.contains(&addr) {
                    break Term::Jump(addr);
                }
                if !self.image.is_code(addr) {
                    break Term::Invalid(addr);
                }
                let Some(insn) = decode(self.image, addr) else { break Term::Invalid(addr) };
                let next = insn.next_ip() as u32;
                insns.push(insn);
                if let Some(t) = self.terminator(&insn, addr, next) {
                    break t;
                }
                addr = next;
            };
            let ends = match term {
                Term::Call { ret, .. } | Term::CallIndirect { ret } => self.ends_function(addr, ret),
                _ => false,
            };
            let block = Block { insns, term, ends };
            work.extend(block.successors().into_iter().filter(|s| !out.contains_key(s) && self.image.is_code(*s)));
            out.insert(start, block);
        }
        out
    }

    /// Where a jump through an IFUNC slot is expected to go.
    fn predicted(&self, insn: &Instruction) -> Option<u32> {
        let slot = variable(insn)?;
        let resolver = self.image.irelative.get(&u32::try_from(slot).ok()?)?;
        let target = crate::predict::resolve(self.image, *resolver)?;
        // Its address is taken by the resolver, so it is a function.
        self.pointers.contains(&target).then_some(target)
    }

    fn terminator(&self, insn: &Instruction, addr: u32, next: u32) -> Option<Term> {
        Some(match insn.flow_control() {
            FlowControl::Next if insn.code() == Code::Hlt => Term::Trap,
            FlowControl::Next => return None,
            FlowControl::ConditionalBranch => Term::Cond { taken: insn.near_branch_target() as u32, fall: next },
            FlowControl::UnconditionalBranch if insn.op0_kind() == OpKind::NearBranch64 => {
                Term::Jump(insn.near_branch_target() as u32)
            }
            FlowControl::Call if insn.code() == Code::Syscall => Term::Syscall { next },
            FlowControl::Call if is_near_call(insn) => {
                Term::Call { target: insn.near_branch_target() as u32, ret: next }
            }
            FlowControl::IndirectCall if is_near_indirect(insn) => Term::CallIndirect { ret: next },
            FlowControl::IndirectBranch if is_near_indirect(insn) => match self.predicted(insn) {
                Some(target) => Term::JumpPredicted(target),
                None => Term::JumpIndirect(self.tables.get(&addr).cloned()),
            },
            FlowControl::Return if matches!(insn.code(), Code::Retnq | Code::Retnq_imm16) => Term::Ret,
            _ => Term::Trap,
        })
    }
}

fn is_near_call(insn: &Instruction) -> bool {
    insn.code() == Code::Call_rel32_64
}

fn is_near_indirect(insn: &Instruction) -> bool {
    matches!(insn.code(), Code::Call_rm64 | Code::Jmp_rm64)
}

/// Instructions before a jump, nearest first.
struct History<'a> {
    insns: &'a [Instruction],
}

/// Whether `i` is a call, which by convention preserves some registers, and `reg` is not one of them.
fn may_change(i: &Instruction, reg: Register) -> bool {
    let calls = matches!(i.flow_control(), FlowControl::Call | FlowControl::IndirectCall);
    calls && !number(reg).is_some_and(|n| RegSet::PRESERVED.has(n))
}

impl History<'_> {
    /// The nearest instruction at or after position `from` that writes `reg` (a full register).
    fn definition(&self, reg: Register, from: usize) -> Option<(usize, &Instruction)> {
        let mut before = self.insns.iter().enumerate().skip(from);
        before.find(|(_, i)| writes(i, reg) || may_change(i, reg)).filter(|(_, i)| writes(i, reg))
    }

    /// The constant that `reg` holds before position `from`, if it is one.
    fn constant(&self, reg: Register, from: usize) -> Option<u32> {
        let (i, def) = self.definition(reg, from)?;
        match def.mnemonic() {
            Mnemonic::Lea if def.is_ip_rel_memory_operand() => u32::try_from(def.ip_rel_memory_address()).ok(),
            Mnemonic::Mov if def.op1_kind() == OpKind::Register => {
                self.constant(def.op1_register().full_register(), i + 1)
            }
            Mnemonic::Mov
                if matches!(def.op1_kind(), OpKind::Immediate32 | OpKind::Immediate32to64 | OpKind::Immediate64) =>
            {
                u32::try_from(def.immediate(1)).ok()
            }
            _ => None,
        }
    }

    /// Splits the memory operand of `insn` into a constant table address and a scaled index register.
    fn table_address(&self, insn: &Instruction, from: usize) -> Option<(u32, Register, u32)> {
        let index = insn.memory_index();
        if index == Register::None || insn.segment_prefix() != Register::None {
            return None;
        }
        let disp = insn.memory_displacement64();
        let base = match insn.memory_base() {
            Register::None => 0,
            b => u64::from(self.constant(b.full_register(), from)?),
        };
        let table = u32::try_from(base.wrapping_add(disp)).ok()?;
        Some((table, index.full_register(), insn.memory_index_scale()))
    }

    /// The number of values `reg` can take at position `from`: from `cmp reg, n; ja` or `and reg, n` before it.
    fn bound(&self, reg: Register, from: usize) -> Option<Bound> {
        let mut reg = reg;
        let mut above = None;
        for (pos, insn) in self.insns.iter().enumerate().skip(from) {
            match insn.mnemonic() {
                Mnemonic::Ja | Mnemonic::Jbe => above = Some(1),
                Mnemonic::Jae | Mnemonic::Jb => above = Some(0),
                Mnemonic::Cmp
                    if insn.op0_kind() == OpKind::Register
                        && insn.op0_register().full_register() == reg
                        && above.is_some()
                        && insn.op1_kind() != OpKind::Register
                        && insn.op1_kind() != OpKind::Memory =>
                {
                    let imm = insn.immediate(1) & 0xffff_ffff;
                    return Some(Bound::Exact(imm.saturating_add(above.unwrap_or(0))));
                }
                Mnemonic::And
                    if insn.op0_kind() == OpKind::Register
                        && insn.op0_register().full_register() == reg
                        && insn.op1_kind() != OpKind::Register
                        && insn.op1_kind() != OpKind::Memory =>
                {
                    return Some(Bound::Exact((insn.immediate(1) & 0xffff_ffff).saturating_add(1)));
                }
                _ if may_change(insn, reg) => return None,
                // Flags do not survive a call.
                Mnemonic::Call => above = None,
                _ if writes(insn, reg) => match insn.mnemonic() {
                    // Copies and zero-extensions keep the bound; follow the source.
                    Mnemonic::Mov | Mnemonic::Movzx | Mnemonic::Movsxd if insn.op1_kind() == OpKind::Register => {
                        if insn.mnemonic() == Mnemonic::Movzx && insn.op1_register().size() == 1 {
                            // At most 256 values, and perhaps fewer by a comparison before.
                            let r = insn.op1_register().full_register();
                            let tail = History { insns: self.insns };
                            let at = self.insns.iter().position(|i| i.ip() == insn.ip())?;
                            return Some(match tail.bound(r, at + 1) {
                                Some(Bound::Exact(n)) if n <= BYTE_VALUES => Bound::Exact(n),
                                _ => Bound::Byte,
                            });
                        }
                        reg = insn.op1_register().full_register();
                    }
                    Mnemonic::Mov | Mnemonic::Movzx if insn.op1_kind() == OpKind::Memory => {
                        return self.bound_in_memory(insn, pos + 1).map(Bound::Exact);
                    }
                    Mnemonic::Lea => return self.bound_from_end(insn, pos, from).map(Bound::Exact),
                    _ => return None,
                },
                _ => {}
            }
        }
        None
    }

    /// The bound of what `lea r32,[x+n]` at position `at` makes of -n..=-1, the rest having left by `cmp x,-n; jb`, before or behind it. `from` is the
    /// position before the index is used.
    fn bound_from_end(&self, lea: &Instruction, at: usize, from: usize) -> Option<u64> {
        let x = lea.memory_base().full_register();
        let n = lea.memory_displacement64() as u32;
        if lea.op0_register().size() != 4
            || x == Register::None
            || lea.memory_index() != Register::None
            || n as i32 <= 0
        {
            return None;
        }
        // As long as x is what the lea read.
        let behind = (from..at).rev().take_while(|&i| self.insns.get(i).is_some_and(|i| !writes(i, x)));
        let before = (at + 1..self.insns.len())
            .take_while(|&i| self.insns.get(i).is_some_and(|i| !writes(i, x) && !may_change(i, x)));
        let compares = |&i: &usize| {
            let Some(cmp) = self.insns.get(i) else { return false };
            // What reads its flags is the first instruction behind it that jumps, if none changes them.
            let jump = self
                .insns
                .iter()
                .take(i)
                .rev()
                .find(|i| i.flow_control() != FlowControl::Next || i.rflags_modified() != 0);
            let above = match jump.map(Instruction::mnemonic) {
                Some(Mnemonic::Ja | Mnemonic::Jbe) => 1,
                Some(Mnemonic::Jae | Mnemonic::Jb) => 0,
                _ => return false,
            };
            cmp.mnemonic() == Mnemonic::Cmp
                && cmp.op0_kind() == OpKind::Register
                && cmp.op0_register().full_register() == x
                && cmp.op0_register().size() == 4
                && !matches!(cmp.op1_kind(), OpKind::Register | OpKind::Memory)
                && (cmp.immediate(1) as u32).checked_add(above).is_some_and(|least| least >= n.wrapping_neg())
        };
        behind.chain(before).find(compares).map(|_| u64::from(n))
    }

    /// The bound of what `load` loads: `cmp byte [m],10; ja ...; movzx eax,byte [m]`. `from` is the position before it.
    fn bound_in_memory(&self, load: &Instruction, from: usize) -> Option<u64> {
        let mut above = None;
        for insn in self.insns.iter().skip(from) {
            match insn.mnemonic() {
                Mnemonic::Ja | Mnemonic::Jbe => above = Some(1),
                Mnemonic::Jae | Mnemonic::Jb => above = Some(0),
                Mnemonic::Cmp if insn.op0_kind() == OpKind::Memory && same_memory(insn, load) => {
                    let known = above.is_some() && insn.op1_kind() != OpKind::Register;
                    return known.then(|| (insn.immediate(1) & 0xffff_ffff).saturating_add(above.unwrap_or(0)));
                }
                _ => {}
            }
            let jumps = matches!(insn.flow_control(), FlowControl::Next | FlowControl::ConditionalBranch);
            let stores =
                insn.op0_kind() == OpKind::Memory && !matches!(insn.mnemonic(), Mnemonic::Cmp | Mnemonic::Test);
            let moved = [load.memory_base(), load.memory_index()]
                .iter()
                .any(|&r| r != Register::None && writes(insn, r.full_register()));
            if !jumps || stores || moved {
                return None;
            }
        }
        None
    }
}

/// Whether the memory operands of two instructions are the same bytes, if no register changes.
fn same_memory(a: &Instruction, b: &Instruction) -> bool {
    a.memory_base() == b.memory_base()
        && a.memory_index() == b.memory_index()
        && a.memory_index_scale() == b.memory_index_scale()
        && a.memory_displacement64() == b.memory_displacement64()
        && a.segment_prefix() == b.segment_prefix()
        && a.memory_size().size() == b.memory_size().size()
}

/// Whether `insn` writes any part of the full register `reg` (explicit first operand; others are rare enough to give up on).
fn writes(insn: &Instruction, reg: Register) -> bool {
    match insn.mnemonic() {
        Mnemonic::Cmp | Mnemonic::Test | Mnemonic::Push | Mnemonic::Nop => false,
        Mnemonic::Mul | Mnemonic::Imul | Mnemonic::Div | Mnemonic::Idiv if insn.op_count() == 1 => {
            matches!(reg, Register::RAX | Register::RDX)
        }
        Mnemonic::Cdq | Mnemonic::Cqo => reg == Register::RDX,
        Mnemonic::Cdqe | Mnemonic::Cwde => reg == Register::RAX,
        Mnemonic::Xchg | Mnemonic::Xadd => {
            (0..2).any(|i| insn.op_kind(i) == OpKind::Register && insn.op_register(i).full_register() == reg)
        }
        _ => insn.op_count() > 0 && insn.op0_kind() == OpKind::Register && insn.op0_register().full_register() == reg,
    }
}

/// Of the addresses that something seems to point at, those that lie inside a function: behind the start of an FDE's range, or, without FDEs, where code
/// falls or branches on a condition into them, which compilers do to labels and not to functions.
fn inner_pointers(
    image: &Image,
    blocks: &BTreeMap<u32, Block>,
    pointers: &BTreeSet<u32>,
    entries: &BTreeSet<u32>,
) -> BTreeSet<u32> {
    let mut reached: HashSet<u32> = HashSet::new();
    for block in blocks.values() {
        match block.term {
            Term::Cond { taken, fall } => reached.extend([taken, fall]),
            Term::Jump(t) if block.insns.last().is_none_or(|i| i.flow_control() == FlowControl::Next) => {
                reached.insert(t);
            }
            _ => {}
        }
    }
    pointers
        .iter()
        .copied()
        .filter(|a| blocks.contains_key(a) && !entries.contains(a))
        .filter(|a| image.fde_of(*a).map_or(reached.contains(a), |r| r.start != *a))
        .collect()
}

/// What [`cut_functions`] makes.
struct Cut {
    /// Sorted by entry.
    functions: Vec<Function>,
    /// Places in functions where code joins them that only data seems to point at.
    joined: BTreeSet<u32>,
}

/// Cuts functions out of the block graph. Of `inner`, only what no function reaches becomes one, an *orphan*. Most of them are no code at all, but decoded from the middle of an instruction, and
/// so they do not cut other functions: where they join one they leave for a label in it.
fn cut_functions(
    image: &Image,
    blocks: &BTreeMap<u32, Block>,
    mut entries: BTreeSet<u32>,
    inner: &BTreeSet<u32>,
) -> Cut {
    loop {
        let mut owner: HashMap<u32, u32> = HashMap::new();
        let mut shared: BTreeSet<u32> = BTreeSet::new();
        let mut functions = Vec::with_capacity(entries.len());
        for &entry in &entries {
            let body = flood(blocks, entry, |a| entries.contains(&a));
            for &b in &body {
                if *owner.entry(b).or_insert(entry) != entry {
                    shared.insert(b);
                }
            }
            functions.push(Function { entry, blocks: body });
        }
        if image.snippet {
            return Cut { functions, joined: BTreeSet::new() };
        }
        // Blocks nobody owns: code reached only by jumps from dropped places, or FDE starts that nobody names.
        let mut more: BTreeSet<u32> = BTreeSet::new();
        for r in &image.fdes {
            if blocks.contains_key(&r.start) && !owner.contains_key(&r.start) {
                more.insert(r.start);
            }
        }
        // Shared pieces: where a function that does not share its source block enters them, if they are long.
        let mut sizes: HashMap<u32, usize> = HashMap::new();
        for f in &functions {
            let own: HashSet<u32> = f.blocks.iter().copied().collect();
            for b in &f.blocks {
                let Some(block) = blocks.get(b) else { continue };
                if shared.contains(b) {
                    continue;
                }
                for s in block.successors() {
                    if shared.contains(&s) && own.contains(&s) && !entries.contains(&s) {
                        let size = *sizes.entry(s).or_insert_with(|| {
                            let piece = flood(blocks, s, |a| entries.contains(&a));
                            piece.iter().filter_map(|b| blocks.get(b)).map(|b| b.insns.len()).sum()
                        });
                        if size > CLONE_LIMIT {
                            more.insert(s);
                        }
                    }
                }
            }
        }
        more.retain(|a| !entries.contains(a));
        if !more.is_empty() {
            entries.extend(more);
            continue;
        }
        // Each may reach the next.
        let ends = |a: u32| entries.contains(&a) || owner.contains_key(&a);
        let mut reached: HashSet<u32> = HashSet::new();
        let mut orphans: BTreeSet<u32> = BTreeSet::new();
        for &a in inner.iter().filter(|&&a| !ends(a)) {
            if !reached.contains(&a) {
                reached.extend(flood(blocks, a, ends));
                orphans.insert(a);
            }
        }
        let mut joined = BTreeSet::new();
        for &entry in &orphans {
            let body = flood(blocks, entry, |a| ends(a) || orphans.contains(&a));
            let leaves = body.iter().filter_map(|a| blocks.get(a)).flat_map(Block::successors);
            joined.extend(leaves.filter(|a| owner.contains_key(a) && !entries.contains(a)));
            functions.push(Function { entry, blocks: body });
        }
        functions.sort_by_key(|f| f.entry);
        return Cut { functions, joined };
    }
}

/// The blocks that `entry` reaches, itself first, but for those beyond a block where it ends.
fn flood(blocks: &BTreeMap<u32, Block>, entry: u32, ends: impl Fn(u32) -> bool) -> Vec<u32> {
    let mut seen = BTreeSet::new();
    let mut work = vec![entry];
    while let Some(a) = work.pop() {
        let Some(block) = blocks.get(&a) else { continue };
        if !seen.insert(a) {
            continue;
        }
        for s in block.successors() {
            if s == entry || !ends(s) {
                work.push(s);
            }
        }
    }
    let mut out = vec![entry];
    out.extend(seen.into_iter().filter(|&a| a != entry));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_data_points_at_does_not_cut_a_function() -> Result<(), crate::Error> {
        const START: u32 = 0x40_0000;
        // mov eax, 0x90909090: four NOPs, if one begins in its middle.
        let mut code = vec![0xb8, 0x90, 0x90, 0x90, 0x90];
        for _ in 0..2 * CLONE_LIMIT {
            code.extend([0x48, 0x01, 0xf8]); // add rax, rdi
        }
        code.push(0xc3);
        let mut image = Image::snippet(&code, START)?;
        image.snippet = false;
        image.symbols.insert(START, "f".to_owned());
        image.fdes.push(START..START + code.len() as u32);
        image.code_pointers.extend([START + 2, START + 3]);
        let program = discover(&image);
        let entries: Vec<u32> = program.functions.iter().map(|f| f.entry).collect();
        assert_eq!(entries, [START, START + 2]);
        let whole = &program.functions[0];
        assert!(whole.blocks.contains(&(START + 5)), "{:x?}", whole.blocks);
        // What an orphan reaches is part of it, also if data points there.
        assert_eq!(program.functions[1].blocks, [START + 2, START + 3]);
        assert_eq!(program.labels.iter().copied().collect::<Vec<_>>(), [START + 3, START + 5]);
        Ok(())
    }

    #[test]
    fn a_byte_is_no_bound_of_a_table() -> Result<(), crate::Error> {
        const START: u32 = 0x40_0000;
        // movzx eax, dil; jmp [table + rax * 8]; ret: a function. ret: another. Then the first one's table, and something that looks like more of it.
        let mut code = vec![0x40, 0x0f, 0xb6, 0xc7, 0xff, 0x24, 0xc5, 0x10, 0, 0x40, 0, 0xc3, 0xc3, 0, 0, 0];
        for target in [START + 11, START + 11, START + 12] {
            code.extend(u64::from(target).to_le_bytes());
        }
        let mut image = Image::snippet(&code, START)?;
        image.snippet = false;
        image.fdes.extend([START..START + 12, START + 12..START + 13]);
        let program = discover(&image);
        let targets = match program.blocks.get(&START).map(|b| &b.term) {
            Some(Term::JumpIndirect(Some(table))) => &*table.targets,
            _ => &[],
        };
        assert_eq!(targets, [START + 11, START + 11]);
        Ok(())
    }

    #[test]
    fn a_number_in_code_takes_no_entry_from_a_table() -> Result<(), crate::Error> {
        const START: u32 = 0x40_0000;
        let mut code = vec![0x83, 0xff, 0x01, 0x77, 0x0d]; // cmp edi, 1; ja START + 18
        code.extend([0x89, 0xf8, 0xff, 0x24, 0xc5, 0x28, 0, 0x40, 0]); // mov eax, edi; jmp [table + rax * 8]
        code.extend([0x31, 0xc0, 0xc3, 0x90, 0xc3]); // xor eax, eax; ret; and START + 17: nop; ret
        code.extend([0xb8, 0x0f, 0, 0x40, 0, 0xc3]); // another function: mov eax, START + 15, where rol bl, 0x90 could be
        code.resize(40, 0);
        for target in [START + 14, START + 17] {
            code.extend(u64::from(target).to_le_bytes());
        }
        let mut image = Image::snippet(&code, START)?;
        image.snippet = false;
        image.fixed = true;
        image.fdes.extend([START..START + 19, START + 19..START + 25]);
        let program = discover(&image);
        assert!(program.blocks.contains_key(&(START + 15)), "{:x?}", program.blocks.keys());
        let targets = match program.blocks.get(&(START + 5)).map(|b| &b.term) {
            Some(Term::JumpIndirect(Some(table))) => &*table.targets,
            _ => &[],
        };
        assert_eq!(targets, [START + 14, START + 17]);
        Ok(())
    }
}
