//! The functions that the linker writes itself.

use crate::assemble::{DeferredSegments, Poll};
use crate::{EACCES, FileHash};
use megalith_abi::{
    Global, GlobalType, Gpr, MAP_POLL, PRESERVED, RETURNED, Reason, SLOTS_END, STACK_WINDOW, VKERNEL_IMPORTS,
    WASI_IMPORTS,
};
use wasm_encoder::{BlockType, Function, Instruction as I, MemArg, ValType};
use wasmparser::{FuncType, ValType as PType};

/// `() -> ()`.
pub fn unit_type() -> FuncType {
    FuncType::new([], [])
}

/// Type of a recompiled function.
pub fn recompiled_type() -> FuncType {
    FuncType::new([PType::I32, PType::I64, PType::I64, PType::I64], [PType::I32, PType::I32, PType::I64])
}

/// Type of `_dispatch`.
pub fn dispatch_type() -> FuncType {
    FuncType::new([PType::I64; 4], [PType::I32])
}

/// Type of `_run`.
pub fn run_type() -> FuncType {
    FuncType::new([PType::I32], [])
}

/// Value types as the lists of imports spell them.
fn types(s: &str) -> Vec<PType> {
    s.chars().map(|c| if c == 'i' { PType::I32 } else { PType::I64 }).collect()
}

/// Type of the vkernel function called `name`, when there is one.
pub fn vkernel_type(name: &str) -> Option<FuncType> {
    VKERNEL_IMPORTS
        .iter()
        .find(|f| f.0 == name)
        .map(|(_, params, results)| FuncType::new(types(params), types(results)))
}

/// Type of the WASI function called `name`, when there is one.
pub fn wasi_type(name: &str) -> Option<FuncType> {
    WASI_IMPORTS.iter().find(|f| f.0 == name).map(|(_, params, results)| FuncType::new(types(params), types(results)))
}

/// Value type of register global `i`.
pub fn register_type(i: u32) -> ValType {
    match Global::val_type(i) {
        GlobalType::I32 => ValType::I32,
        GlobalType::I64 => ValType::I64,
        GlobalType::V128 => ValType::V128,
    }
}

/// Function indices of the vkernel imports that the trampoline needs.
#[derive(Clone, Copy)]
pub struct Trampoline {
    pub resolve: u32,
    pub unwound: u32,
    pub start: u32,
}

fn gpr(r: Gpr) -> u32 {
    Global::Gpr0 as u32 + r as u32
}

/// Functions that one entry of a projection's table stands for.
pub const SWITCHED: u32 = 256;

/// Type of a function that goes on as another: the parameters of a recompiled function, then the index that the other has in the unit's table.
pub fn enter_type() -> FuncType {
    let recompiled = recompiled_type();
    FuncType::new(recompiled.params().iter().copied().chain([PType::I32]), recompiled.results().iter().copied())
}

/// Goes on as the function with the given index (from 1 on), by way of table 0, which has the [`switch`]es. `enter_type`: index of [`enter_type`].
pub fn enter(enter_type: u32) -> Function {
    let mut f = Function::new([]);
    (0..=INDEX).for_each(|p| _ = f.instruction(&I::LocalGet(p)));
    f.instruction(&I::LocalGet(INDEX)).instruction(&I::I32Const(1)).instruction(&I::I32Sub);
    f.instruction(&I::I32Const(SWITCHED.ilog2() as i32)).instruction(&I::I32ShrU);
    f.instruction(&I::ReturnCallIndirect { type_index: enter_type, table_index: 0 }).instruction(&I::End);
    f
}

/// Goes on as the one of `functions` (at most [`SWITCHED`]) that the index says.
pub fn switch(functions: std::ops::Range<u32>) -> Function {
    let mut f = Function::new([]);
    let n = functions.len() as u32;
    (0..=n).for_each(|_| _ = f.instruction(&I::Block(BlockType::Empty)));
    f.instruction(&I::LocalGet(INDEX)).instruction(&I::I32Const(1)).instruction(&I::I32Sub);
    f.instruction(&I::I32Const(SWITCHED as i32 - 1)).instruction(&I::I32And);
    f.instruction(&I::BrTable((0..n).collect(), n));
    for to in functions {
        f.instruction(&I::End);
        (0..INDEX).for_each(|p| _ = f.instruction(&I::LocalGet(p)));
        f.instruction(&I::ReturnCall(to));
    }
    f.instruction(&I::End).instruction(&I::Unreachable).instruction(&I::End);
    f
}

/// The last parameter of [`enter_type`].
const INDEX: u32 = 4;

/// `_run(first)`: enters the function with index `first` in the table, or where `vkernel.resolve` says when it is 0, and goes on until `resolve` answers -1. `call`: calls the function with the
/// parameters and index on the operand stack.
pub fn run(t: Trampoline, call: I<'_>) -> Function {
    const FIRST: u32 = 0;
    const R: u32 = 1;
    const RAX: u32 = 2;
    const PC: u32 = 3;
    const RSP: u32 = 4;
    let mut f = Function::new([(2, ValType::I64), (4, ValType::I32)]);
    // A fault may have come in the middle of unwinding.
    for k in 0..PRESERVED.len() as u32 {
        f.instruction(&I::I32Const(0)).instruction(&I::GlobalSet(Global::WantedBy0 as u32 + k));
    }
    f.instruction(&I::Loop(BlockType::Empty));

    f.instruction(&I::LocalGet(FIRST)).instruction(&I::I32Eqz).instruction(&I::If(BlockType::Empty));
    f.instruction(&I::GlobalGet(Global::Pc as u32)).instruction(&I::Call(t.resolve)).instruction(&I::LocalTee(R));
    f.instruction(&I::I64Const(0))
        .instruction(&I::I64LtS)
        .instruction(&I::If(BlockType::Empty))
        .instruction(&I::Return)
        .instruction(&I::End);
    f.instruction(&I::LocalGet(R)).instruction(&I::I64Const(32)).instruction(&I::I64ShrU).instruction(&I::I32WrapI64);
    f.instruction(&I::GlobalSet(Global::Label as u32));
    f.instruction(&I::LocalGet(R)).instruction(&I::I32WrapI64).instruction(&I::LocalSet(FIRST));
    f.instruction(&I::End);

    // A stack below what can be mapped: 0 must stay outside of the window.
    f.instruction(&I::GlobalGet(gpr(Gpr::Rsp))).instruction(&I::I32WrapI64).instruction(&I::LocalTee(RSP));
    f.instruction(&I::I32Const(STACK_WINDOW as i32 - 256)).instruction(&I::I32Sub).instruction(&I::I32Const(1));
    f.instruction(&I::LocalGet(RSP)).instruction(&I::I32Const(STACK_WINDOW as i32)).instruction(&I::I32GeU);
    f.instruction(&I::Select).instruction(&I::GlobalSet(Global::StackFloor as u32));

    f.instruction(&I::I32Const(Reason::Null as i32)).instruction(&I::GlobalSet(Global::Reason as u32));
    f.instruction(&I::LocalGet(RSP)).instruction(&I::GlobalSet(Global::HolderFloor as u32));
    f.instruction(&I::LocalGet(RSP));
    for r in [Gpr::Rdi, Gpr::Rsi, Gpr::Rdx] {
        f.instruction(&I::GlobalGet(gpr(r)));
    }
    f.instruction(&I::LocalGet(FIRST)).instruction(&call);
    f.instruction(&I::LocalSet(RAX)).instruction(&I::LocalSet(RSP)).instruction(&I::LocalSet(PC));
    f.instruction(&I::I32Const(0)).instruction(&I::LocalSet(FIRST));

    f.instruction(&I::LocalGet(PC)).instruction(&I::I32Eqz).instruction(&I::If(BlockType::Empty));
    for (k, r) in PRESERVED.into_iter().enumerate() {
        give(&mut f, k as u32, gpr(r));
    }
    f.instruction(&I::GlobalGet(Global::Reason as u32)).instruction(&I::Call(t.unwound));
    f.instruction(&I::Else);
    f.instruction(&I::LocalGet(PC)).instruction(&I::I32Const(RETURNED as i32)).instruction(&I::I32Eq);
    f.instruction(&I::If(BlockType::Empty)).instruction(&I::LocalGet(RSP)).instruction(&I::I32Const(8));
    f.instruction(&I::I32Sub).instruction(&I::I32Load(MemArg { offset: 0, align: 0, memory_index: 0 }));
    f.instruction(&I::LocalSet(PC)).instruction(&I::End);
    f.instruction(&I::LocalGet(PC)).instruction(&I::I64ExtendI32U).instruction(&I::GlobalSet(Global::Pc as u32));
    f.instruction(&I::LocalGet(RSP)).instruction(&I::I64ExtendI32U).instruction(&I::GlobalSet(gpr(Gpr::Rsp)));
    f.instruction(&I::LocalGet(RAX)).instruction(&I::GlobalSet(gpr(Gpr::Rax)));
    f.instruction(&I::I32Const(Reason::Return as i32)).instruction(&I::GlobalSet(Global::Reason as u32));
    f.instruction(&I::End);

    f.instruction(&I::Br(0)).instruction(&I::End).instruction(&I::End);
    f
}

/// Gives the value of global `register` to those who want it in place of what preserved register `k` holds ([`Global::WantedBy0`]), and the register its own. `_run`'s locals 5 and 6 are used.
fn give(f: &mut Function, k: u32, register: u32) {
    const AT: u32 = 5;
    const LEFT: u32 = 6;
    let slot = MemArg { offset: 0, align: 0, memory_index: 0 };
    let wanted = Global::WantedBy0 as u32 + k;
    f.instruction(&I::GlobalGet(wanted)).instruction(&I::LocalTee(AT)).instruction(&I::If(BlockType::Empty));
    // No more frames than this have unwound, whatever the guest has put in a slot's place.
    f.instruction(&I::I32Const(STACK_WINDOW as i32)).instruction(&I::LocalSet(LEFT));
    f.instruction(&I::Block(BlockType::Empty)).instruction(&I::Loop(BlockType::Empty));
    f.instruction(&I::LocalGet(AT)).instruction(&I::I32Const(SLOTS_END as i32)).instruction(&I::I32LeU);
    f.instruction(&I::BrIf(1));
    f.instruction(&I::LocalGet(AT)).instruction(&I::I32Load(slot));
    f.instruction(&I::LocalGet(AT)).instruction(&I::GlobalGet(register)).instruction(&I::I64Store(slot));
    f.instruction(&I::LocalSet(AT));
    f.instruction(&I::LocalGet(LEFT))
        .instruction(&I::I32Const(1))
        .instruction(&I::I32Sub)
        .instruction(&I::LocalTee(LEFT));
    f.instruction(&I::BrIf(0)).instruction(&I::End).instruction(&I::End);
    f.instruction(&I::LocalGet(AT)).instruction(&I::I32Const(SLOTS_END as i32)).instruction(&I::I32Eq);
    f.instruction(&I::If(BlockType::Empty)).instruction(&I::GlobalGet(Global::Held0 as u32 + k));
    f.instruction(&I::GlobalSet(register)).instruction(&I::End);
    f.instruction(&I::I32Const(0)).instruction(&I::GlobalSet(wanted)).instruction(&I::End);
}

/// The entry point of an object: copy its data in (`init`), ask for the stack, run from table entry `entry`. No stack (0): the program begins from a
/// snapshot, whose registers the kernel has put in place.
pub fn object_entry(t: Trampoline, run: u32, init: Option<u32>, entry: u32) -> Function {
    let mut f = Function::new([(1, ValType::I64)]);
    if let Some(init) = init {
        f.instruction(&I::Call(init));
    }
    f.instruction(&I::Call(t.start)).instruction(&I::LocalTee(0)).instruction(&I::I64Eqz);
    f.instruction(&I::If(BlockType::Result(ValType::I32))).instruction(&I::I32Const(0)).instruction(&I::Else);
    f.instruction(&I::LocalGet(0)).instruction(&I::GlobalSet(gpr(Gpr::Rsp)));
    f.instruction(&I::I32Const(entry as i32)).instruction(&I::End);
    f.instruction(&I::Call(run)).instruction(&I::End);
    f
}

/// `_resume`.
pub fn resume(run: u32) -> Function {
    let mut f = Function::new([]);
    f.instruction(&I::I32Const(0)).instruction(&I::Call(run)).instruction(&I::End);
    f
}

/// The entry point of a WASI module: what instantiation would have done, then its start function and `_start`. Data are only copied where the global `filled`,
/// if there is one, reads as 0.
pub fn wasi_entry(segments: &DeferredSegments, filled: Option<u32>, start: Option<u32>, main: u32) -> Function {
    let mut f = Function::new([]);
    for s in &segments.elements {
        f.raw(s.offset.iter().copied()).instruction(&I::I32Const(0)).instruction(&I::I32Const(s.len as i32));
        f.instruction(&I::TableInit { elem_index: s.segment, table: s.target }).instruction(&I::ElemDrop(s.segment));
    }
    if let Some(filled) = filled {
        f.instruction(&I::GlobalGet(filled)).instruction(&I::I32Eqz).instruction(&I::If(BlockType::Empty));
    }
    for s in &segments.data {
        f.raw(s.offset.iter().copied()).instruction(&I::I32Const(0)).instruction(&I::I32Const(s.len as i32));
        f.instruction(&I::MemoryInit { mem: s.target, data_index: s.segment }).instruction(&I::DataDrop(s.segment));
    }
    if filled.is_some() {
        f.instruction(&I::End);
    }
    if let Some(start) = start {
        f.instruction(&I::Call(start));
    }
    f.instruction(&I::Call(main)).instruction(&I::End);
    f
}

/// Looks at the poll word and calls when it is set. Leaves the operand stack as it is.
pub fn poll(f: &mut Function, poll: Poll) {
    let word = MemArg { offset: u64::from(MAP_POLL), align: 2, memory_index: poll.memory };
    f.instruction(&I::I32Const(0)).instruction(&I::I32AtomicLoad(word)).instruction(&I::If(BlockType::Empty));
    f.instruction(&I::Call(poll.function)).instruction(&I::End);
}

/// `_dispatch`: `hashes` (sorted, each once) with the function to call. A binary search, one word after the other, written out as code.
pub fn dispatch(hashes: &[(FileHash, u32)]) -> Function {
    let mut f = Function::new([]);
    let words: Vec<([u64; 4], u32)> = hashes.iter().map(|(h, f)| (words(h), *f)).collect();
    word(&mut f, &words, 0);
    f.instruction(&I::I32Const(EACCES)).instruction(&I::End);
    f
}

/// The four big-endian words of a hash.
pub fn words(hash: &FileHash) -> [u64; 4] {
    let mut words = [0; 4];
    for (w, bytes) in words.iter_mut().zip(hash.chunks_exact(8)) {
        *w = bytes.iter().fold(0, |w, b| w << 8 | u64::from(*b));
    }
    words
}

/// Code that tells hashes apart that agree in the words before `level`; falls through when none matches.
fn word(f: &mut Function, hashes: &[([u64; 4], u32)], level: u32) {
    let groups: Vec<_> = hashes.chunk_by(|a, b| a.0[level as usize] == b.0[level as usize]).collect();
    search(f, &groups, level);
}

fn search(f: &mut Function, groups: &[&[([u64; 4], u32)]], level: u32) {
    let value = |group: &[([u64; 4], u32)]| group[0].0[level as usize] as i64;
    match groups {
        [] => {}
        [group] => {
            f.instruction(&I::LocalGet(level)).instruction(&I::I64Const(value(group))).instruction(&I::I64Eq);
            f.instruction(&I::If(BlockType::Empty));
            match (level, *group) {
                (3, [(_, function), ..]) => {
                    f.instruction(&I::Call(*function)).instruction(&I::I32Const(0)).instruction(&I::Return);
                }
                _ => word(f, group, level + 1),
            }
            f.instruction(&I::End);
        }
        _ => {
            let (low, high) = groups.split_at(groups.len() / 2);
            f.instruction(&I::LocalGet(level)).instruction(&I::I64Const(value(high[0]))).instruction(&I::I64LtU);
            f.instruction(&I::If(BlockType::Empty));
            search(f, low, level);
            f.instruction(&I::Else);
            search(f, high, level);
            f.instruction(&I::End);
        }
    }
}
