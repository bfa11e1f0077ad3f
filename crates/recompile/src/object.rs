//! Assembles the wasm object of one file: functions, helpers, data, metadata.

use crate::analysis::analyse;
use crate::codegen::{self, Form, Mode, Module, index};
use crate::discover::Program;
use crate::elf::Image;
use crate::inline::inline;
use crate::regs::{RDI, RDX, RSI, RSP};
use crate::{Error, Object};
use megalith_abi::*;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use wasm_encoder::{
    BlockType, CodeSection, CustomSection, DataCountSection, DataSection, EntityType, ExportKind, ExportSection,
    Function, FunctionSection, GlobalType as WasmGlobal, ImportSection, InstructionSink, MemArg, MemoryType, NameMap,
    NameSection, RefType, TableType, TypeSection, ValType,
};

const MEM0: fn(u64) -> MemArg = |offset| MemArg { offset, align: 0, memory_index: 0 };
const MEM1: fn(u64) -> MemArg = |offset| MemArg { offset, align: 0, memory_index: 1 };

fn val_types(s: &str) -> Vec<ValType> {
    s.chars().map(|c| if c == 'l' { ValType::I64 } else { ValType::I32 }).collect()
}

/// Parameter and result types, locals and body of each helper, in the order of [`index::Helper`].
struct HelperFn {
    name: &'static str,
    params: Vec<ValType>,
    results: Vec<ValType>,
    locals: Vec<ValType>,
    body: Vec<u8>,
}

/// The code of a file.
struct Bodies {
    /// Per function of the program.
    called: Vec<codegen::Code>,
    /// Index of a function of the program, and the code that resumes it.
    resumed: Vec<(usize, codegen::Code)>,
}

impl Bodies {
    /// Function of the program and code, in the order of their file-local index.
    fn all(&self) -> impl Iterator<Item = (usize, &codegen::Code)> {
        self.called.iter().enumerate().chain(self.resumed.iter().map(|(f, c)| (*f, c)))
    }
    fn len(&self) -> usize {
        self.called.len() + self.resumed.len()
    }
}

pub fn build(image: &Image, program: &Program, mode: Mode) -> Result<Object, Error> {
    let analysis = analyse(program, mode == Mode::Snippet);
    let inlined = if mode == Mode::Program { inline(program, &analysis) } else { Vec::new() };
    let mut module =
        Module { image, program, analysis: &analysis, inlined: &inlined, mode, resumed: 0, polls: BTreeSet::new() };
    let n = program.functions.len();
    let second: Vec<usize> = (0..n).filter(|&f| mode == Mode::Program && codegen::resumes(&module, f)).collect();
    module.resumed = second.len();
    let generate = |module: &mut Module| -> Bodies {
        let called: Vec<codegen::Code> =
            (0..n).into_par_iter().map(|f| codegen::function(module, f, Form::Called)).collect();
        module.polls = called.iter().flat_map(|c| &c.polls).copied().collect();
        let module = &*module;
        let resumed = second.par_iter().map(|&f| (f, codegen::function(module, f, Form::Resumed)));
        Bodies { called, resumed: resumed.collect() }
    };
    let codes = if mode == Mode::Snippet {
        let called = (0..n).map(|f| codegen::function(&module, f, Form::Called)).collect();
        Bodies { called, resumed: Vec::new() }
    } else {
        // Dominator trees of large functions are deep.
        let pool = rayon::ThreadPoolBuilder::new()
            .stack_size(512 << 20)
            .num_threads(rayon::current_num_threads())
            .build()
            .map_err(|e| Error::Internal(e.to_string()))?;
        pool.install(|| generate(&mut module))
    };
    let meta = metadata(image, program, &codes);
    if let Some(a) = module.polls.iter().find(|&&a| meta.resolve(u64::from(a)).is_none()) {
        return Err(Error::Internal(format!("no resume point at {a:#x}, where a loop polls")));
    }
    let wasm = encode(image, program, &codes, &meta)?;
    Ok(Object { wasm, meta })
}

fn metadata(image: &Image, program: &Program, codes: &Bodies) -> FileMeta {
    let functions = codes
        .all()
        .enumerate()
        .filter_map(|(k, (f, _))| {
            let addr = program.functions.get(f)?.entry;
            Some(FunctionMeta { addr, name: image.symbols.get(&addr).cloned(), resumed: k >= codes.called.len() })
        })
        .collect();
    let mut resume: BTreeMap<u32, ResumePoint> = BTreeMap::new();
    for (k, (_, c)) in codes.all().enumerate() {
        for &(addr, label) in &c.labels {
            resume.entry(addr).or_insert(ResumePoint { addr, function: k as u32, label });
        }
    }
    // A function's entry is always entered at its top, even where another function contains a copy of it.
    for (k, f) in program.functions.iter().enumerate() {
        resume.insert(f.entry, ResumePoint { addr: f.entry, function: k as u32, label: 0 });
    }
    let mut uncovered: BTreeMap<u32, Uncovered> = BTreeMap::new();
    for (_, c) in codes.all() {
        for (addr, reason) in &c.uncovered {
            let len = crate::discover::decode(image, *addr).map_or(1, |i| i.len());
            let bytes = image.bytes(*addr).get(..len).unwrap_or_default().to_vec();
            uncovered.entry(*addr).or_insert_with(|| Uncovered { addr: *addr, bytes, reason: reason.clone() });
        }
    }
    FileMeta {
        fixed: image.fixed,
        entry: u64::from(image.entry),
        segments: image.segments.clone(),
        phdr: image.phdr,
        exec_stack: image.exec_stack,
        text: (u64::from(image.text.start), u64::from(image.text.end)),
        code_lines: code_lines(image, program),
        functions,
        resume: resume.into_values().collect(),
        uncovered: uncovered.into_values().collect(),
    }
}

/// Name for people who look at the module: the symbol, where the function stands in the file, and whether this is the body that resumes it.
fn function_name(meta: &FileMeta, f: &FunctionMeta) -> String {
    let symbol = f.name.clone().unwrap_or_else(|| format!("sub_{:x}", f.addr));
    let place = meta.file_offset(f.addr.into()).map_or_else(String::new, |o| format!("@{o:#x}"));
    format!("{symbol}{place}{}", if f.resumed { ".resumed" } else { "" })
}

/// The code lines of the text, whole pages.
fn code_lines(image: &Image, program: &Program) -> Vec<u8> {
    let pages = image.text.len().div_ceil(PAGE_SIZE as usize);
    let lines = pages * (PAGE_SIZE / CODE_LINE) as usize;
    let mut out = Vec::with_capacity(lines * CODE_LINE_ENTRY as usize);
    let mut next = 0usize;
    for line in 0..lines as u32 {
        let start = image.text.start + line * CODE_LINE;
        let first = next as u32;
        let mut starts = 0u64;
        while let Some(f) = program.functions.get(next) {
            let Some(d) = f.entry.checked_sub(start).filter(|&d| d < CODE_LINE) else { break };
            starts |= 1 << d;
            next += 1;
        }
        out.extend_from_slice(&starts.to_le_bytes());
        out.extend_from_slice(&first.to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
    }
    out
}

fn encode(image: &Image, program: &Program, codes: &Bodies, meta: &FileMeta) -> Result<Vec<u8>, Error> {
    let first = index::IMPORTS.len() as u32;
    let helpers = helpers(image, program, first, codes.len() as u32);
    let mut types = TypeSection::new();
    types.ty().function(index::PARAMS, index::RESULTS);
    let mut imports = ImportSection::new();
    let mut type_count = 1u32;
    for name in index::IMPORTS {
        let (_, p, r) = VKERNEL_IMPORTS
            .iter()
            .find(|i| i.0 == name)
            .ok_or_else(|| Error::Internal(format!("no vkernel function {name}")))?;
        types.ty().function(val_types(p), val_types(r));
        imports.import(VKERNEL_MODULE, name, EntityType::Function(type_count));
        type_count += 1;
    }
    let memory = |pages| MemoryType {
        minimum: pages,
        maximum: Some(pages),
        memory64: false,
        shared: false,
        page_size_log2: None,
    };
    imports.import(UNIT_MODULE, "mem", memory(MEM_PAGES));
    imports.import(UNIT_MODULE, "map", memory(MAP_PAGES));
    imports.import(
        UNIT_MODULE,
        "table",
        TableType { element_type: RefType::FUNCREF, table64: false, minimum: 0, maximum: None, shared: false },
    );
    for g in 0..GLOBALS {
        let val_type = match Global::val_type(g) {
            GlobalType::I32 => ValType::I32,
            GlobalType::I64 => ValType::I64,
            GlobalType::V128 => ValType::V128,
        };
        let name = Global::name(g).ok_or_else(|| Error::Internal("global without a name".into()))?;
        imports.import(UNIT_MODULE, name, WasmGlobal { val_type, mutable: true, shared: false });
    }
    imports.import(FILE_MODULE, "table_base", WasmGlobal { val_type: ValType::I32, mutable: false, shared: false });
    if !image.fixed {
        imports.import(FILE_MODULE, "base", WasmGlobal { val_type: ValType::I64, mutable: true, shared: false });
    }

    let mut functions = FunctionSection::new();
    let mut code = CodeSection::new();
    let mut names = NameMap::new();
    for (k, name) in index::IMPORTS.iter().enumerate() {
        names.append(k as u32, name);
    }
    for (k, ((_, c), f)) in codes.all().zip(&meta.functions).enumerate() {
        names.append(first + k as u32, &function_name(meta, f));
        functions.function(index::FN_TYPE);
        let mut f = Function::new_with_locals_types(c.locals.iter().copied());
        f.raw(c.body.iter().copied());
        code.function(&f);
    }
    for (k, h) in helpers.iter().enumerate() {
        types.ty().function(h.params.iter().copied(), h.results.iter().copied());
        functions.function(type_count);
        type_count += 1;
        let mut f = Function::new_with_locals_types(h.locals.iter().copied());
        f.raw(h.body.iter().copied());
        code.function(&f);
        names.append(first + (codes.len() + k) as u32, h.name);
    }
    // init
    let init = first + (codes.len() + helpers.len()) as u32;
    types.ty().function([], []);
    functions.function(type_count);
    let (f, data, segments) = init_function(image, meta);
    code.function(&f);
    names.append(init, "megalith_init");

    let entry =
        program.function_at(image.entry).ok_or_else(|| Error::Internal("the entry point is no function".into()))?;
    let mut exports = ExportSection::new();
    exports.export("entry", ExportKind::Func, first + entry as u32);
    exports.export("init", ExportKind::Func, init);

    let mut name_section = NameSection::new();
    name_section.functions(&names);
    let meta_bytes = postcard::to_allocvec(meta).map_err(|e| Error::Internal(e.to_string()))?;
    let mut out = wasm_encoder::Module::new();
    out.section(&types)
        .section(&imports)
        .section(&functions)
        .section(&exports)
        .section(&DataCountSection { count: segments })
        .section(&code)
        .section(&data)
        .section(&CustomSection { name: FileMeta::SECTION.into(), data: meta_bytes.into() })
        .section(&name_section);
    Ok(out.finish())
}

/// Copies the file's segments and code lines into the memories, and fills in the first level of the code map.
fn init_function(image: &Image, meta: &FileMeta) -> (Function, DataSection, u32) {
    let mut data = DataSection::new();
    let mut count = 0u32;
    let mut body = Vec::new();
    let push_base = |body: &mut Vec<u8>, addr: u32| {
        let mut s = InstructionSink::new(body);
        if image.fixed {
            s.i32_const(addr as i32);
        } else {
            s.global_get(index::BASE).i32_wrap_i64().i32_const(addr as i32).i32_add();
        }
    };
    for (segment, bytes) in image.loaded() {
        if bytes.is_empty() {
            continue;
        }
        data.passive(bytes.iter().copied());
        push_base(&mut body, segment.vaddr as u32);
        InstructionSink::new(&mut body)
            .i32_const(0)
            .i32_const(bytes.len() as i32)
            .memory_init(0, count)
            .data_drop(count);
        count += 1;
    }
    data.passive(meta.code_lines.iter().copied());
    let mut s = InstructionSink::new(&mut body);
    s.i32_const(MAP_L2 as i32)
        .i32_const(0)
        .i32_const(meta.code_lines.len() as i32)
        .memory_init(1, count)
        .data_drop(count);
    count += 1;
    let pages = meta.code_lines.len() as u32 / (PAGE_SIZE / CODE_LINE * CODE_LINE_ENTRY);
    // local 0: page counter, local 1: address of its L1 entry
    push_base(&mut body, image.text.start);
    let mut s = InstructionSink::new(&mut body);
    s.i32_const(12).i32_shr_u().i32_const(3).i32_shl().i32_const(MAP_L1 as i32).i32_add().local_set(1);
    s.loop_(BlockType::Empty);
    s.local_get(1).local_get(0).i32_const(10).i32_shl().i32_const(MAP_L2 as i32).i32_add().i32_store(MEM1(0));
    s.local_get(1).global_get(index::TABLE_BASE).i32_store(MEM1(4));
    s.local_get(1).i32_const(8).i32_add().local_set(1);
    s.local_get(0).i32_const(1).i32_add().local_tee(0).i32_const(pages as i32).i32_lt_u().br_if(0).end();
    s.end();
    let mut f = Function::new_with_locals_types([ValType::I32, ValType::I32]);
    f.raw(body);
    (f, data, count)
}

/// Entries whose address is taken, by [`bucket`]: what indirect calls lead to, but for what only the code map knows.
fn buckets(program: &Program) -> (u32, BTreeMap<u32, Vec<(u32, usize)>>) {
    let taken: Vec<(u32, usize)> = program
        .functions
        .iter()
        .enumerate()
        .filter(|(_, f)| program.address_taken.contains(&f.entry))
        .map(|(k, f)| (f.entry, k))
        .take(MAX_BUCKETS as usize)
        .collect();
    let count = (4 * taken.len() as u32).next_power_of_two().min(MAX_BUCKETS);
    let mut out: BTreeMap<u32, Vec<(u32, usize)>> = BTreeMap::new();
    for (entry, k) in taken {
        out.entry(bucket(entry, count)).or_default().push((entry, k));
    }
    (count, out)
}

/// Longest switch of `megalith_jump`: the compiler takes 65,520 targets.
const MAX_BUCKETS: u32 = 1 << 15;

/// Functions begin at multiples of 16 mostly.
fn bucket(entry: u32, count: u32) -> u32 {
    (entry >> 4) & (count - 1)
}

/// Leaves the innermost block if the stack window is used up, or somebody wants attention.
fn leave_for_attention(s: &mut InstructionSink) {
    s.local_get(0).global_get(Global::StackFloor as u32).i32_sub();
    s.i32_const(0).i32_atomic_load(MemArg { offset: u64::from(MAP_POLL), align: 2, memory_index: 1 });
    s.i32_or().i32_const(STACK_WINDOW as i32).i32_gt_u().br_if(0);
}

/// Tail-calls `function` with the parameters that came.
fn pass_on(s: &mut InstructionSink, function: u32) {
    for p in 0..index::PARAMS.len() as u32 {
        s.local_get(p);
    }
    s.return_call(function);
}

/// The body of `megalith_jump`: a switch over what the address hashes to, which calls what it finds without a look at the code map or at the table of functions.
/// Each of those would be a load that waits for the one before. `first`: index of the first function; `jump_map`: of [`index::Helper::JumpMap`].
fn jump(s: &mut InstructionSink, image: &Image, program: &Program, first: u32, jump_map: u32) {
    // 0 to 3: rsp, rdi, rsi, rdx; 4: pc, relative to the load base
    let (count, buckets) = buckets(program);
    s.block(BlockType::Empty);
    leave_for_attention(s);
    s.global_get(Global::Pc as u32).i32_wrap_i64();
    if !image.fixed {
        s.global_get(index::BASE).i32_wrap_i64().i32_sub();
    }
    s.local_set(4);
    for _ in &buckets {
        s.block(BlockType::Empty);
    }
    let n = buckets.len() as u32;
    let mut targets = vec![n; count as usize];
    for (k, b) in buckets.keys().enumerate() {
        if let Some(t) = targets.get_mut(*b as usize) {
            *t = k as u32;
        }
    }
    s.local_get(4).i32_const(4).i32_shr_u().i32_const(count as i32 - 1).i32_and().br_table(targets, n);
    for (k, list) in buckets.values().enumerate() {
        s.end();
        for (j, &(entry, f)) in list.iter().enumerate() {
            s.local_get(4).i32_const(entry as i32);
            let last = j + 1 == list.len();
            if last {
                s.i32_ne().br_if(n - 1 - k as u32);
            } else {
                s.i32_eq().if_(BlockType::Empty);
            }
            pass_on(s, first + f as u32);
            if !last {
                s.end();
            }
        }
    }
    s.end();
    pass_on(s, jump_map);
}

/// Sets the sticky flag of an invalid operation in MXCSR.
fn raise_invalid(s: &mut InstructionSink<'_>) {
    s.global_get(Global::Mxcsr as u32).i32_const(1).i32_or().global_set(Global::Mxcsr as u32);
}

/// The helpers of a file whose recompiled functions are `codes`, from index `first_code` on.
fn helpers(image: &Image, program: &Program, first_code: u32, codes: u32) -> Vec<HelperFn> {
    use ValType::{F32, I32, I64, V128};
    let make = |name, params: &[ValType], results: &[ValType], locals: &[ValType], f: &dyn Fn(&mut InstructionSink)| {
        let mut body = Vec::new();
        let mut s = InstructionSink::new(&mut body);
        f(&mut s);
        s.end();
        HelperFn { name, params: params.to_vec(), results: results.to_vec(), locals: locals.to_vec(), body }
    };
    let first = first_code + codes;
    let nan64 = first + index::Helper::NanF64 as u32;
    let nan32 = first + index::Helper::NanF32 as u32;
    let jump_map = first + index::Helper::JumpMap as u32;
    let mut helpers = vec![
        make("megalith_jump", &index::PARAMS, &index::RESULTS, &[I32], &|s| {
            jump(s, image, program, first_code, jump_map)
        }),
        make("megalith_jump_map", &index::PARAMS, &index::RESULTS, &[I64, I32, I64, I64, I32], &|s| {
            // 0 to 3: rsp, rdi, rsi, rdx; 4: L1 entry, 5: line entry address, 6: starts, 7: bit, 8: pc
            s.block(BlockType::Empty);
            leave_for_attention(s);
            s.global_get(Global::Pc as u32).i32_wrap_i64().local_tee(8);
            s.i32_const(12).i32_shr_u().i32_const(3).i32_shl().i64_load(MEM1(u64::from(MAP_L1))).local_tee(4);
            s.i32_wrap_i64().i32_eqz().br_if(0);
            s.local_get(8).i32_const(6).i32_shr_u().i32_const(63).i32_and().i32_const(4).i32_shl();
            s.local_get(4).i32_wrap_i64().i32_add().local_tee(5).i64_load(MEM1(0)).local_set(6);
            s.i64_const(1).local_get(8).i64_extend_i32_u().i64_shl().local_tee(7);
            s.local_get(6).i64_and().i64_eqz().br_if(0);
            for k in 0..4 {
                s.local_get(k);
            }
            s.local_get(4).i64_const(32).i64_shr_u().i32_wrap_i64();
            s.local_get(5).i32_load(MEM1(8)).i32_add();
            s.local_get(6).local_get(7).i64_const(1).i64_sub().i64_and().i64_popcnt().i32_wrap_i64().i32_add();
            s.return_call_indirect(0, index::FN_TYPE).end();
            s.local_get(0).i64_extend_i32_u().global_set(u32::from(RSP));
            for (local, r) in [(1, RDI), (2, RSI), (3, RDX)] {
                s.local_get(local).global_set(u32::from(r));
            }
            s.i32_const(Reason::Return as i32).global_set(Global::Reason as u32);
            s.i32_const(0).local_get(0).i32_const(8).i32_add().i64_const(0);
        }),
        make("megalith_nan_f64", &[I64, I64], &[I64], &[], &|s| {
            for k in 0..2 {
                s.local_get(k).i64_const(i64::MAX).i64_and().i64_const(0x7ff0_0000_0000_0000).i64_gt_u();
                s.if_(BlockType::Empty).local_get(k).i64_const(0x0008_0000_0000_0000).i64_or().return_().end();
            }
            raise_invalid(s);
            s.i64_const(0xfff8_0000_0000_0000_u64 as i64);
        }),
        make("megalith_nan_f32", &[I32, I32], &[I32], &[], &|s| {
            for k in 0..2 {
                s.local_get(k).i32_const(i32::MAX).i32_and().i32_const(0x7f80_0000).i32_gt_u();
                s.if_(BlockType::Empty).local_get(k).i32_const(0x0040_0000).i32_or().return_().end();
            }
            raise_invalid(s);
            s.i32_const(0xffc0_0000_u32 as i32);
        }),
        make("megalith_nan_f64x2", &[V128, V128, V128], &[V128], &[], &|s| {
            for k in 0..2u8 {
                s.local_get(2).f64x2_extract_lane(k).local_get(2).f64x2_extract_lane(k).f64_ne().if_(BlockType::Empty);
                s.local_get(2).local_get(0).i64x2_extract_lane(k).local_get(1).i64x2_extract_lane(k);
                s.call(nan64).i64x2_replace_lane(k).local_set(2).end();
            }
            s.local_get(2);
        }),
        make("megalith_nan_f32x4", &[V128, V128, V128], &[V128], &[], &|s| {
            for k in 0..4u8 {
                s.local_get(2).f32x4_extract_lane(k).local_get(2).f32x4_extract_lane(k).f32_ne().if_(BlockType::Empty);
                s.local_get(2).local_get(0).i32x4_extract_lane(k).local_get(1).i32x4_extract_lane(k);
                s.call(nan32).i32x4_replace_lane(k).local_set(2).end();
            }
            s.local_get(2);
        }),
        make("megalith_copy_up", &[I32, I32, I32, I32], &[], &[], &|s| {
            // Whole 16-byte pieces while neither operand crosses a page and the source does not see the destination's new bytes.
            s.block(BlockType::Empty).loop_(BlockType::Empty).local_get(2).i32_eqz().br_if(1);
            s.block(BlockType::Empty);
            s.local_get(0).local_get(1).i32_sub().i32_const(16).i32_lt_u().br_if(0);
            s.local_get(2).i32_const(16).local_get(3).i32_ctz().i32_shr_u().i32_lt_u().br_if(0);
            for k in 0..2 {
                s.local_get(k).i32_const(4095).i32_and().i32_const(4080).i32_gt_u().br_if(0);
            }
            s.local_get(0).local_get(1).v128_load(MEM0(0)).v128_store(MEM0(0));
            for k in 0..2 {
                s.local_get(k).i32_const(16).i32_add().local_set(k);
            }
            s.local_get(2).i32_const(16).local_get(3).i32_ctz().i32_shr_u().i32_sub().local_set(2).br(1).end();
            // One element.
            s.block(BlockType::Empty);
            for (size, last) in [(1, false), (2, false), (4, false), (8, true)] {
                if !last {
                    s.local_get(3).i32_const(size).i32_eq().if_(BlockType::Empty);
                }
                s.local_get(0).local_get(1);
                match size {
                    1 => s.i32_load8_u(MEM0(0)).i32_store8(MEM0(0)),
                    2 => s.i32_load16_u(MEM0(0)).i32_store16(MEM0(0)),
                    4 => s.i32_load(MEM0(0)).i32_store(MEM0(0)),
                    _ => s.i64_load(MEM0(0)).i64_store(MEM0(0)),
                };
                if !last {
                    s.br(1).end();
                }
            }
            s.end();
            for k in 0..2 {
                s.local_get(k).local_get(3).i32_add().local_set(k);
            }
            s.local_get(2).i32_const(1).i32_sub().local_set(2).br(0).end().end();
        }),
        make("megalith_fill_up", &[I32, I64, I32, I32], &[], &[V128], &|s| {
            // 4: the pattern
            s.local_get(3).i32_const(1).i32_eq().if_(BlockType::Result(V128)).local_get(1).i32_wrap_i64().i8x16_splat();
            s.else_()
                .local_get(3)
                .i32_const(2)
                .i32_eq()
                .if_(BlockType::Result(V128))
                .local_get(1)
                .i32_wrap_i64()
                .i16x8_splat();
            s.else_()
                .local_get(3)
                .i32_const(4)
                .i32_eq()
                .if_(BlockType::Result(V128))
                .local_get(1)
                .i32_wrap_i64()
                .i32x4_splat();
            s.else_().local_get(1).i64x2_splat().end().end().end().local_set(4);
            s.block(BlockType::Empty).loop_(BlockType::Empty).local_get(2).i32_eqz().br_if(1);
            s.block(BlockType::Empty);
            s.local_get(2).i32_const(16).local_get(3).i32_ctz().i32_shr_u().i32_lt_u().br_if(0);
            s.local_get(0).i32_const(4095).i32_and().i32_const(4080).i32_gt_u().br_if(0);
            s.local_get(0).local_get(4).v128_store(MEM0(0));
            s.local_get(0).i32_const(16).i32_add().local_set(0);
            s.local_get(2).i32_const(16).local_get(3).i32_ctz().i32_shr_u().i32_sub().local_set(2).br(1).end();
            s.block(BlockType::Empty);
            for (size, last) in [(1, false), (2, false), (4, false), (8, true)] {
                if !last {
                    s.local_get(3).i32_const(size).i32_eq().if_(BlockType::Empty);
                }
                s.local_get(0).local_get(1);
                match size {
                    1 => s.i64_store8(MEM0(0)),
                    2 => s.i64_store16(MEM0(0)),
                    4 => s.i64_store32(MEM0(0)),
                    _ => s.i64_store(MEM0(0)),
                };
                if !last {
                    s.br(1).end();
                }
            }
            s.end();
            s.local_get(0).local_get(3).i32_add().local_set(0);
            s.local_get(2).i32_const(1).i32_sub().local_set(2).br(0).end().end();
        }),
        make("megalith_mul_high_u", &[I64, I64], &[I64], &[I64, I64, I64, I64, I64], &mul_high_u),
        make("megalith_mul_high_s", &[I64, I64], &[I64], &[I64, I64, I64, I64, I64], &|s| {
            mul_high_u(s);
            // Correct for negative operands.
            s.local_get(0).i64_const(63).i64_shr_s().local_get(1).i64_and().i64_sub();
            s.local_get(1).i64_const(63).i64_shr_s().local_get(0).i64_and().i64_sub();
        }),
        make("megalith_rcp", &[I32], &[I32], &[F32, I32], &|s| {
            reciprocal_specials(s, false);
            s.f32_const(1.0f32.into()).local_get(0).f32_reinterpret_i32().f32_div();
            flush_result(s);
        }),
        make("megalith_rsqrt", &[I32], &[I32], &[F32, I32], &|s| {
            reciprocal_specials(s, true);
            s.f32_const(1.0f32.into()).local_get(0).f32_reinterpret_i32().f32_sqrt().f32_div();
            flush_result(s);
        }),
        make("megalith_opaque", &[I64], &[I64], &[], &|s| {
            s.local_get(0);
        }),
    ];
    let hold =
        |k: u32| make(HOLD[k as usize % HOLD.len()], &[I64, I32, I32], &[], &[I32, I32, I32], &move |s| hold(s, k));
    helpers.extend((0..PRESERVED.len() as u32).map(hold));
    helpers
}

/// Names of the functions from [`index::Helper::Hold0`] on.
const HOLD: [&str; PRESERVED.len()] = [
    "megalith_hold_rbx",
    "megalith_hold_rbp",
    "megalith_hold_r12",
    "megalith_hold_r13",
    "megalith_hold_r14",
    "megalith_hold_r15",
];

/// The body of [`index::Helper::Hold0`] and the following, for the `k`th register.
fn hold(s: &mut InstructionSink, k: u32) {
    let (wanted, held) = (Global::WantedBy0 as u32 + k, Global::Held0 as u32 + k);
    // 0: value, 1: slot, 2: changed; 3: a slot that wants the value, 4: the next, 5: how many there may be
    s.local_get(2).if_(BlockType::Empty);
    // No more frames than this have unwound, whatever the guest has put in a slot's place.
    s.i32_const(STACK_WINDOW as i32).local_set(5);
    s.global_get(wanted).local_set(3);
    s.block(BlockType::Empty).loop_(BlockType::Empty);
    s.local_get(3).i32_const(SLOTS_END as i32).i32_le_u().br_if(1);
    s.local_get(3).i32_load(MEM0(0)).local_set(4);
    s.local_get(3).local_get(0).i64_store(MEM0(0));
    s.local_get(4).local_set(3);
    s.local_get(5).i32_const(1).i32_sub().local_tee(5).br_if(0).end().end();
    s.local_get(3).i32_eqz().if_(BlockType::Empty).local_get(0).global_set(held).end();
    s.local_get(1).i32_const(SLOTS_END as i32).i32_store(MEM0(0));
    s.else_();
    s.local_get(1).global_get(wanted).i32_store(MEM0(0));
    s.end();
    s.local_get(1).global_set(wanted);
}

/// rcp and rsqrt of NaNs (quieted), denormals and zeros (infinity), and for rsqrt of negative numbers (the default NaN).
fn reciprocal_specials(s: &mut InstructionSink, sqrt: bool) {
    s.local_get(0).i32_const(i32::MAX).i32_and().local_set(2);
    s.local_get(2).i32_const(0x7f80_0000).i32_gt_u().if_(BlockType::Empty);
    s.local_get(0).i32_const(0x0040_0000).i32_or().return_().end();
    s.local_get(2).i32_const(0x0080_0000).i32_lt_u().if_(BlockType::Empty);
    s.local_get(0).i32_const(i32::MIN).i32_and().i32_const(0x7f80_0000).i32_or().return_().end();
    if sqrt {
        s.local_get(0).i32_const(0).i32_lt_s().if_(BlockType::Empty).i32_const(0xffc0_0000_u32 as i32).return_().end();
    }
}

/// The f32 on the stack as bits, denormals and the smallest normal number as signed zeros.
fn flush_result(s: &mut InstructionSink) {
    s.i32_reinterpret_f32().local_tee(2).i32_const(i32::MIN).i32_and().local_get(2);
    s.local_get(2).i32_const(i32::MAX).i32_and().i32_const(0x0080_0000).i32_le_u().select();
}

/// High half of the unsigned product of locals 0 and 1, from 32-bit pieces. Uses locals 2..7.
fn mul_high_u(s: &mut InstructionSink) {
    let low = 0xffff_ffffi64;
    // 2: a0*b0, 3: a1*b0, 4: a0*b1, 5: a1*b1
    for (l, ha, hb) in [(2, false, false), (3, true, false), (4, false, true), (5, true, true)] {
        for (k, high) in [(0, ha), (1, hb)] {
            s.local_get(k);
            if high {
                s.i64_const(32).i64_shr_u()
            } else {
                s.i64_const(low).i64_and()
            };
        }
        s.i64_mul().local_set(l);
    }
    // carry = (a0b0 >> 32) + low(a1b0) + low(a0b1)
    s.local_get(2).i64_const(32).i64_shr_u().local_get(3).i64_const(low).i64_and().i64_add();
    s.local_get(4).i64_const(low).i64_and().i64_add().local_set(6);
    s.local_get(5).local_get(3).i64_const(32).i64_shr_u().i64_add().local_get(4).i64_const(32).i64_shr_u().i64_add();
    s.local_get(6).i64_const(32).i64_shr_u().i64_add();
}
