//! Which functions hold registers for their callers.
//!
//! A function that uses the registers that calls preserve as compilers do, between saving them to its frame and restoring them, need not take part in passing them on:
//! its caller has them, and has them still when it returns. Its saves then store nothing and its restores load nothing; what it puts into such a register meanwhile stays in a local, across its own
//! calls, too. Nor does it store the return addresses of its calls. When it unwinds, all becomes as it would have been: see `megalith_abi` for how ("held registers").
//!
//! What is not like that (setjmp, a stack unwinder, assembly, the cold half of a function) finds all registers in their globals and the stack as it should be: whoever calls it unwinds first.
//! That takes longer than holding saves, so functions that are about to call such code do not hold either ([`leads_to_readers`]).

use crate::analysis::{Context, FrameState, Frames, Graph, Liveness, Summary};
use crate::discover::{Program, Term};
use crate::regs::{Effect, RBP, RegSet, number};
use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};
use std::collections::BTreeMap;

/// A stack slot that a frame owes its caller's value of a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owed {
    pub register: u8,
    /// Offset of the slot from rsp at the function's entry.
    pub slot: i32,
    /// The register has another value now, which the frame holds.
    pub changed: bool,
}

/// What a frame gives back when it unwinds.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Debt {
    pub registers: Vec<Owed>,
    /// Return addresses of inlined functions, and their stack slots (offset from rsp at the function's entry).
    pub returns: Vec<(i32, u32)>,
}

impl Debt {
    pub fn is_empty(&self) -> bool {
        self.registers.is_empty() && self.returns.is_empty()
    }
}

/// What a frame gives back when it unwinds in `state`. None if a register's value at entry is nowhere to be found. `calls`: it has called, so that nothing of it lies below rsp.
pub fn debt(state: &FrameState, calls: bool) -> Option<Debt> {
    let floor = state.rsp.filter(|_| calls).unwrap_or(i32::MIN);
    let mut registers = Vec::new();
    for register in RegSet::PRESERVED.iter() {
        let mut changed = !state.entry.has(register);
        for (&slot, _) in state.slots.range(floor..).filter(|s| *s.1 == register) {
            registers.push(Owed { register, slot, changed });
            // The first takes the value along.
            changed = false;
        }
        if changed {
            return None;
        }
    }
    Some(Debt { registers, returns: state.returns.range(floor..).map(|(&slot, &ret)| (slot, ret)).collect() })
}

/// The register whose value at entry instruction `i`, executed in `state`, saves to a slot.
pub fn saves(state: &FrameState, i: &Instruction) -> Option<u8> {
    let r = match i.code() {
        Code::Push_r64 if state.rsp.is_some() => i.op0_register(),
        Code::Mov_rm64_r64 if i.op0_kind() == OpKind::Memory && state.slot(i).is_some() => i.op1_register(),
        _ => return None,
    };
    number(r).filter(|&r| RegSet::PRESERVED.has(r) && state.entry.has(r))
}

/// The register that instruction `i`, executed in `state`, restores.
pub fn restores(state: &FrameState, i: &Instruction) -> Option<u8> {
    state.restores(i).filter(|&r| RegSet::PRESERVED.has(r))
}

/// Where `i`, executed in `state`, accesses its frame at a known place: offset and size. A return's own access does not count.
fn frame_access(state: &FrameState, i: &Instruction) -> Option<(i32, i32)> {
    match i.mnemonic() {
        Mnemonic::Lea | Mnemonic::Nop => None,
        // A fence, or a look at whether the stack is there.
        Mnemonic::Or
            if matches!(i.op1_kind(), OpKind::Immediate8to64 | OpKind::Immediate8to32) && i.immediate(1) == 0 =>
        {
            None
        }
        Mnemonic::Pop => Some((state.rsp?, 8)),
        _ if (0..i.op_count()).any(|k| i.op_kind(k) == OpKind::Memory) => {
            Some((state.slot(i)?, i.memory_size().size().max(1) as i32))
        }
        _ => None,
    }
}

/// Whether the 8 bytes at `slot` and the `size` bytes at `at` have some in common.
fn overlaps(slot: i32, at: i32, size: i32) -> bool {
    slot < at.saturating_add(size) && at < slot.saturating_add(8)
}

/// Whether instruction `i`, executed in `state`, reads or writes a return address.
fn touches_return(state: &FrameState, i: &Instruction) -> bool {
    let Some((at, size)) = frame_access(state, i) else { return false };
    overlaps(0, at, size) || state.returns.keys().any(|&slot| overlaps(slot, at, size))
}

/// Whether instruction `i`, executed in `state`, reads a slot that nothing may have been stored to, other than to restore its register.
fn reads_slot(state: &FrameState, i: &Instruction) -> bool {
    let Some((at, size)) = frame_access(state, i) else { return false };
    use Mnemonic::*;
    let stores = i.op0_kind() == OpKind::Memory
        && matches!(
            i.mnemonic(),
            Mov | Movaps | Movups | Movdqa | Movdqu | Movapd | Movupd | Movq | Movd | Movss | Movsd | Movlps | Movhps
        );
    if stores || restores(state, i).is_some() {
        return false;
    }
    state.slots.iter().any(|(&slot, &r)| RegSet::PRESERVED.has(r) && overlaps(slot, at, size))
}

/// Whether the first of `insns` copies the frame pointer, and the others do not only reckon with it: a walk along the chain of frames begins so, and expects to find it in memory.
fn takes_frame(state: &FrameState, insns: &[Instruction], effects: &[Effect]) -> bool {
    let Some((i, rest)) = insns.split_first() else { return false };
    let registers = i.op_count() == 2 && (0..2).all(|k| i.op_kind(k) == OpKind::Register);
    let copies = i.mnemonic() == Mnemonic::Mov
        && registers
        && i.op1_register() == Register::RBP
        && i.op0_register() != Register::RSP
        && state.rbp.is_some_and(|at| state.slots.get(&at) == Some(&RBP));
    let Some(copy) = number(i.op0_register()).filter(|_| copies) else { return false };
    for (i, e) in rest.iter().zip(effects.iter().skip(1)) {
        let stored = i.op_count() > 1 && i.op0_kind() == OpKind::Memory && number(i.op1_register()) == Some(copy);
        if stored && i.mnemonic() != Mnemonic::Cmp || number(i.memory_base()) == Some(copy) {
            return true;
        }
        if e.defs.has(copy) {
            return false;
        }
    }
    true
}

/// Whether the first of `insns` only takes a saved register off the stack: what it pops it to is not read. `out`: what is read behind the block. A register that is saved
/// elsewhere, too, was pushed to align the stack.
fn drops_slot(state: &FrameState, insns: &[Instruction], effects: &[Effect], out: RegSet) -> bool {
    let Some(i) = insns.first() else { return false };
    let Some(r) = number(i.op0_register()).filter(|_| i.code() == Code::Pop_r64) else { return false };
    for e in effects.iter().skip(1) {
        if e.uses.has(r) || e.defs.has(r) {
            return !e.uses.has(r);
        }
    }
    let saved = state.rsp.and_then(|at| state.slots.get(&at));
    let twice = saved.is_some_and(|r| state.slots.values().filter(|&x| x == r).count() > 1);
    twice || !out.has(r)
}

/// Whether a block does with registers that calls preserve what a holder does. `out`: what is read behind it.
fn block_holds(state: &mut FrameState, block: &[Instruction], effects: &[Effect], out: RegSet) -> bool {
    for (k, (i, e)) in block.iter().zip(effects).enumerate() {
        let (insns, rest) = (block.get(k..).unwrap_or_default(), effects.get(k..).unwrap_or_default());
        let reads = reads_slot(state, i) && !drops_slot(state, insns, rest, out);
        if debt(state, false).is_none() || reads || touches_return(state, i) || takes_frame(state, insns, rest) {
            return false;
        }
        // Where a byte is written to, what else the register has does not count. And something has to be pushed to align the stack.
        let mut read = (e.uses - e.unread) | e.keeps;
        if i.code() == Code::Push_r64 {
            read = RegSet::EMPTY;
        } else if let Some(r) = saves(state, i)
            && number(i.memory_base()) != Some(r)
        {
            read.remove(r);
        }
        // A value that only one way to here has put into the register is what is meant, not what the caller has.
        if !(read & RegSet::PRESERVED & state.entry).is_empty() {
            return false;
        }
        state.step(i, e);
    }
    debt(state, false).is_some()
}

/// The one slot that each register is saved to, if there is one for each, and nothing else is ever there while the register has another value. `frames`: of a function that [`holds`].
pub fn homes(program: &Program, graph: &Graph, frames: &Frames) -> Option<BTreeMap<u8, i32>> {
    let mut homes = BTreeMap::new();
    let mut taken = BTreeMap::new();
    for (b, &a) in graph.addrs.iter().enumerate() {
        let (Some(mut state), Some(block)) = (frames.at[b].clone(), graph.block(program, a)) else { continue };
        for (i, e) in block.insns.iter().zip(&graph.effects[b]) {
            state.step(i, e);
            for o in debt(&state, false)?.registers.iter().filter(|o| o.changed) {
                if *homes.entry(o.register).or_insert(o.slot) != o.slot
                    || *taken.entry(o.slot).or_insert(o.register) != o.register
                {
                    return None;
                }
            }
        }
    }
    Some(homes)
}

/// Calls from a function to one that saves all registers (setjmp), up to which it is expected to get there. With 5, a shell's loop over built-in commands gets along without unwinding.
const NEAR: usize = 5;

/// A function that more than this many others call gets there seldom, or all of them would.
const MANY_CALLERS: usize = 32;

/// Registers that calls preserve that the function with this graph reads at its beginning, other than to save them.
fn read_first(program: &Program, graph: &Graph) -> RegSet {
    let Some((&a, effects)) = graph.addrs.first().zip(graph.effects.first()) else { return RegSet::EMPTY };
    let (mut read, mut written) = (RegSet::EMPTY, RegSet::EMPTY);
    for (i, e) in graph.block(program, a).iter().flat_map(|b| &b.insns).zip(effects) {
        let saves = i.code() == Code::Push_r64
            || i.mnemonic() == Mnemonic::Mov
                && i.op0_kind() == OpKind::Memory
                && matches!(i.memory_base(), Register::RSP | Register::RBP);
        if !saves {
            // Who writes a byte does not read the rest.
            read |= e.uses - e.unread - written;
        }
        written |= e.defs;
    }
    read & RegSet::PRESERVED
}

/// Functions whose address the instructions of the function with this graph have as an operand.
fn mentioned<'a>(program: &'a Program, graph: &'a Graph) -> impl Iterator<Item = usize> + 'a {
    let insns = graph.addrs.iter().filter_map(|&a| graph.block(program, a)).flat_map(|b| &b.insns);
    let operands = insns.flat_map(|i| (0..i.op_count()).map(move |k| (i, k)));
    let addresses = operands.filter_map(|(i, k)| match i.op_kind(k) {
        OpKind::Immediate32 | OpKind::Immediate64 | OpKind::Immediate32to64 => u32::try_from(i.immediate(k)).ok(),
        OpKind::Memory if i.is_ip_rel_memory_operand() => u32::try_from(i.ip_rel_memory_address()).ok(),
        _ => None,
    });
    addresses.filter_map(|a| program.function_at(a))
}

/// Functions that call one which returns and reads the registers that calls preserve: all of them, a few calls away (a chance call by way of a pointer counts), or some, directly
/// (assembly that passes arguments in them).
pub fn leads_to_readers(program: &Program, graphs: &[Graph], returns: &[bool]) -> Vec<bool> {
    let read: Vec<RegSet> = graphs.iter().map(|g| read_first(program, g)).collect();
    let reads = |f: usize| returns.get(f) == Some(&true) && read.get(f).is_some_and(|r| !r.is_empty());
    let mut leads: Vec<bool> = graphs.iter().map(|g| g.callees().any(reads)).collect();
    let mut callers = vec![Vec::new(); graphs.len()];
    for (f, g) in graphs.iter().enumerate() {
        let mut led: Vec<usize> = g.callees().chain(g.jumps()).chain(mentioned(program, g)).collect();
        led.sort_unstable();
        led.dedup();
        for t in led {
            callers[t].push(f);
        }
    }
    let mut last: Vec<usize> = (0..graphs.len()).filter(|&f| reads(f) && read[f] == RegSet::PRESERVED).collect();
    let mut near = vec![false; graphs.len()];
    for _ in 0..NEAR {
        let mut next: Vec<usize> = last.iter().flat_map(|&f| &callers[f]).copied().collect();
        next.retain(|&f| !near[f] && callers[f].len() <= MANY_CALLERS);
        next.sort_unstable();
        next.dedup();
        for &f in &next {
            near[f] = true;
            leads[f] = true;
        }
        last = next;
    }
    leads
}

/// Whether the function with this graph can hold registers, but for some blocks: it unwinds when it comes to those. `frames`: as they are if no call changes one. `own`: of this form of it.
pub fn holds(
    cx: &Context,
    graph: &Graph,
    frames: &Frames,
    live: &Liveness,
    summaries: &[Summary],
    own: Summary,
) -> Option<Vec<usize>> {
    let mut left = Vec::new();
    let mut reached = vec![false; graph.addrs.len()];
    let mut work = vec![0];
    while let Some(b) = work.pop() {
        if reached.get(b).is_none_or(|&r| r) {
            continue;
        }
        reached[b] = true;
        let Some(block) = graph.block(cx.program, graph.addrs[b]) else { continue };
        let mut state = frames.at[b].clone()?;
        debt(&state, false)?;
        let out = cx.strong_at_end(graph, b, live, summaries, own);
        let mut fits = block_holds(&mut state, &block.insns, &graph.effects[b], out);
        // It returns to where it was called from, with all registers as they were.
        let lost = !(RegSet::PRESERVED - state.entry).is_empty();
        let pops = block.insns.last().is_some_and(|i| i.op_count() != 0) || state.rsp.is_some_and(|c| c != 0);
        fits &= !(block.term.is_call() && debt(&state, true).is_none()
            || matches!(block.term, Term::Ret) && (lost || pops));
        if fits {
            work.extend(&graph.succs[b]);
        } else if b == 0 || graph.real(graph.addrs[b]) != graph.addrs[b] {
            return None;
        } else {
            left.push(b);
        }
    }
    Some(left)
}
