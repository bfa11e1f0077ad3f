//! Hand-written objects and WASI modules that follow the contract, for the linker to work on.
#![allow(dead_code, reason = "each test file uses a part of this")]

use megalith_abi::{
    CODE_LINE_ENTRY, FileMeta, FunctionMeta, GLOBALS, Global, GlobalType, Gpr, MAP_L1, MAP_L2, PIE_BASE, Reason,
    ResumePoint, Segment, UNWIND, VKERNEL_IMPORTS,
};
use wasm_encoder::*;

/// Address of the code, relative to the load base of a position-independent object.
pub const TEXT: u32 = 0x40_0000;
/// Address of the message.
pub const MESSAGE: u32 = 0x50_0000;

/// A program that writes its message, calls a second function through the code map, and exits with what that returned.
#[derive(Clone, Copy)]
pub struct Program {
    pub message: &'static str,
    pub status: u8,
    /// ET_DYN: adds the global `file.base` to every address.
    pub pie: bool,
}

pub const ONE: Program = Program { message: "one\n", status: 11, pie: false };
pub const TWO: Program = Program { message: "two, at the same addresses\n", status: 22, pie: false };
pub const PIE: Program = Program { message: "position-independent\n", status: 33, pie: true };

/// Something like a SHA-256.
pub fn hash(n: u8) -> [u8; 32] {
    std::array::from_fn(|i| n.wrapping_mul(167).wrapping_add((i as u8).wrapping_mul(n | 1)))
}

impl Program {
    pub fn base(&self) -> u32 {
        if self.pie { PIE_BASE } else { 0 }
    }

    /// Code lines of the one page of text: functions start at its bytes 0 and 0x40.
    pub fn code_lines() -> Vec<u8> {
        let mut lines = vec![0; 64 * CODE_LINE_ENTRY as usize];
        lines[0] = 1;
        lines[16] = 1;
        lines[24] = 1;
        lines
    }

    pub fn meta(&self) -> FileMeta {
        let function = |addr, name: &str| FunctionMeta { addr, name: Some(name.into()), resumed: false };
        FileMeta {
            fixed: !self.pie,
            entry: TEXT.into(),
            segments: vec![Segment {
                vaddr: MESSAGE.into(),
                file_offset: 0,
                file_size: self.message.len() as u64,
                mem_size: 4096,
                read: true,
                write: false,
                exec: false,
            }],
            text: (TEXT.into(), u64::from(TEXT) + 0x50),
            code_lines: Self::code_lines(),
            functions: vec![function(TEXT, "main"), function(TEXT + 0x40, "answer")],
            resume: vec![
                ResumePoint { addr: TEXT, function: 0, label: 0 },
                ResumePoint { addr: TEXT + 0x10, function: 0, label: 1 },
                ResumePoint { addr: TEXT + 0x40, function: 1, label: 0 },
            ],
            ..FileMeta::default()
        }
    }

    /// The object.
    pub fn object(&self) -> Vec<u8> {
        const SYSCALL: u32 = 0;
        let mut types = TypeSection::new();
        let val = |c: char| if c == 'i' { ValType::I32 } else { ValType::I64 };
        let (_, params, results) = VKERNEL_IMPORTS.iter().find(|f| f.0 == "syscall").expect("declared");
        let vals = |s: &str| s.chars().map(val).collect::<Vec<_>>();
        types.ty().function(vals(params), vals(results));
        types.ty().function(
            [ValType::I32, ValType::I64, ValType::I64, ValType::I64],
            [ValType::I32, ValType::I32, ValType::I64],
        );
        types.ty().function([], []);

        let mut imports = ImportSection::new();
        imports.import("vkernel", "syscall", EntityType::Function(0));
        let memory =
            |minimum| MemoryType { minimum, maximum: None, memory64: false, shared: false, page_size_log2: None };
        imports.import("unit", "mem", memory(65536));
        imports.import("unit", "map", memory(16384));
        let table =
            TableType { element_type: RefType::FUNCREF, table64: false, minimum: 0, maximum: None, shared: false };
        imports.import("unit", "table", table);
        for i in 0..GLOBALS {
            let val_type = match Global::val_type(i) {
                GlobalType::I32 => ValType::I32,
                GlobalType::I64 => ValType::I64,
                GlobalType::V128 => ValType::V128,
            };
            let ty = wasm_encoder::GlobalType { val_type, mutable: true, shared: false };
            imports.import("unit", Global::name(i).expect("named"), ty);
        }
        let table_base = GLOBALS;
        imports.import(
            "file",
            "table_base",
            wasm_encoder::GlobalType { val_type: ValType::I32, mutable: false, shared: false },
        );
        let base = GLOBALS + 1;
        if self.pie {
            imports.import(
                "file",
                "base",
                wasm_encoder::GlobalType { val_type: ValType::I64, mutable: true, shared: false },
            );
        }

        let mut functions = FunctionSection::new();
        functions.function(1).function(1).function(2);
        let mut exports = ExportSection::new();
        exports.export("entry", ExportKind::Func, 1).export("init", ExportKind::Func, 3);

        let addr = |f: &mut Function, at: u32| {
            f.instructions().i64_const(at.into());
            if self.pie {
                f.instructions().global_get(base).i64_add();
            }
        };
        let g = |r: Global| r as u32;
        let arg = |offset: u64, memory_index| MemArg { offset, align: 0, memory_index };
        let give_up = |f: &mut Function| {
            f.instructions()
                .i32_const(Reason::Syscall as i32)
                .global_set(g(Global::Reason))
                .i32_const(0)
                .i32_const(0)
                .i64_const(0)
                .return_();
        };

        let mut main = Function::new([(2, ValType::I64), (3, ValType::I32)]);
        let (t, bit, line, rsp, page) = (4, 5, 6, 7, 8);
        main.instructions().block(BlockType::Empty);
        main.instructions().global_get(g(Global::Label)).if_(BlockType::Empty);
        main.instructions().i32_const(0).global_set(g(Global::Label)).br(1).end();
        addr(&mut main, TEXT + 0x10);
        main.instructions().global_set(g(Global::Pc)).i64_const(1).i64_const(1);
        addr(&mut main, MESSAGE);
        main.instructions().i64_const(self.message.len() as i64).i64_const(0).i64_const(0).i64_const(0).call(SYSCALL);
        main.instructions().i64_const(UNWIND).i64_eq().if_(BlockType::Empty);
        give_up(&mut main);
        main.instructions().end().end();
        // Call TEXT + 0x40 by way of the code map.
        main.instructions().local_get(0).i32_const(8).i32_sub().local_tee(rsp);
        addr(&mut main, TEXT + 0x20);
        main.instructions().i64_store(arg(0, 0)).i64_const(5).global_set(Gpr::Rbx as u32);
        addr(&mut main, TEXT + 0x40);
        main.instructions().local_set(t);
        main.instructions()
            .local_get(t)
            .i32_wrap_i64()
            .i32_const(12)
            .i32_shr_u()
            .i32_const(3)
            .i32_shl()
            .local_set(page);
        main.instructions().local_get(rsp).local_get(1).local_get(2).local_get(3);
        main.instructions().local_get(page).i32_load(arg(MAP_L1 as u64, 1));
        main.instructions()
            .local_get(t)
            .i32_wrap_i64()
            .i32_const(4095)
            .i32_and()
            .i32_const(6)
            .i32_shr_u()
            .i32_const(4)
            .i32_shl();
        main.instructions().i32_add().local_set(line);
        main.instructions().local_get(t).i64_const(63).i64_and().local_set(bit);
        main.instructions().local_get(line).i32_load(arg(8, 1));
        main.instructions()
            .local_get(line)
            .i64_load(arg(0, 1))
            .i64_const(1)
            .local_get(bit)
            .i64_shl()
            .i64_const(1)
            .i64_sub();
        main.instructions().i64_and().i64_popcnt().i32_wrap_i64().i32_add();
        main.instructions().local_get(page).i32_load(arg(MAP_L1 as u64 + 4, 1)).i32_add();
        main.instructions().call_indirect(0, 1);
        main.instructions().local_set(t).local_set(rsp);
        main.instructions().i64_extend_i32_u();
        addr(&mut main, TEXT + 0x20);
        main.instructions().i64_ne().if_(BlockType::Empty).unreachable().end();
        addr(&mut main, TEXT + 0x30);
        main.instructions().global_set(g(Global::Pc)).i64_const(231).local_get(t);
        for _ in 0..5 {
            main.instructions().i64_const(0);
        }
        main.instructions().call(SYSCALL).drop();
        give_up(&mut main);
        main.instructions().unreachable().end();

        let mut answer = Function::new([]);
        answer.instructions().local_get(0).i64_load(arg(0, 0)).i32_wrap_i64();
        answer.instructions().local_get(0).i32_const(8).i32_add();
        answer.instructions().global_get(Gpr::Rbx as u32).i64_const(i64::from(self.status) - 5).i64_add().end();

        let mut init = Function::new([]);
        addr(&mut init, MESSAGE);
        init.instructions().i32_wrap_i64().i32_const(0).i32_const(self.message.len() as i32).memory_init(0, 0);
        init.instructions().i32_const(MAP_L2 as i32).i32_const(0).i32_const(1024).memory_init(1, 1);
        for (offset, value) in [(0, None), (4, Some(table_base))] {
            addr(&mut init, TEXT >> 9);
            if self.pie {
                // (base + TEXT) >> 12 << 3, and both are page aligned.
                init.instructions().drop();
                addr(&mut init, TEXT);
                init.instructions().i64_const(9).i64_shr_u();
            }
            init.instructions().i32_wrap_i64();
            match value {
                None => init.instructions().i32_const(MAP_L2 as i32),
                Some(global) => init.instructions().global_get(global),
            };
            init.instructions().i32_store(arg(u64::from(MAP_L1) + offset, 1));
        }
        init.instructions().end();

        let mut code = CodeSection::new();
        code.function(&main).function(&answer).function(&init);
        let mut data = DataSection::new();
        data.passive(self.message.bytes()).passive(Self::code_lines());
        let mut names = NameSection::new();
        let mut map = NameMap::new();
        map.append(1, "main");
        map.append(2, "answer");
        map.append(3, "init");
        names.functions(&map);
        let meta = postcard::to_stdvec(&self.meta()).expect("encodes");

        let mut module = Module::new();
        module.section(&types).section(&imports).section(&functions).section(&exports);
        module.section(&DataCountSection { count: 2 }).section(&code).section(&data).section(&names);
        module.section(&CustomSection { name: FileMeta::SECTION.into(), data: meta.into() });
        module.finish()
    }
}

/// A WASI command that prints its message with `fd_write`, calls through its own table, has a start function, and exits with the status
/// that the start function and the table call made up. One of its element segments has an
/// offset that is no plain constant.
pub fn wasi_command(message: &str, status: i32) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32; 4], [ValType::I32]);
    types.ty().function([ValType::I32], []);
    types.ty().function([], []);
    types.ty().function([], [ValType::I32]);
    let mut imports = ImportSection::new();
    imports.import("wasi_snapshot_preview1", "fd_write", EntityType::Function(0));
    imports.import("wasi_snapshot_preview1", "proc_exit", EntityType::Function(1));
    let mut functions = FunctionSection::new();
    functions.function(2).function(3).function(2);
    let mut tables = TableSection::new();
    tables.table(TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum: 4,
        maximum: None,
        shared: false,
    });
    let mut memories = MemorySection::new();
    memories.memory(MemoryType { minimum: 2, maximum: None, memory64: false, shared: false, page_size_log2: None });
    let mut globals = GlobalSection::new();
    let ty = |mutable| wasm_encoder::GlobalType { val_type: ValType::I32, mutable, shared: false };
    globals.global(ty(true), &ConstExpr::i32_const(0));
    let mut exports = ExportSection::new();
    exports.export("memory", ExportKind::Memory, 0).export("_start", ExportKind::Func, 4).export(
        "other",
        ExportKind::Func,
        3,
    );
    let mut elements = ElementSection::new();
    elements.active(None, &ConstExpr::i32_const(1), Elements::Functions((&[3][..]).into()));
    // Not a plain constant, so the linker leaves it to the entry point.
    elements.active(None, &ConstExpr::raw([0x41, 1, 0x41, 1, 0x6a]), Elements::Functions((&[3][..]).into()));
    let mut code = CodeSection::new();
    let mut begin = Function::new([]);
    begin.instructions().i32_const(100).global_set(0).end();
    let mut part = Function::new([]);
    part.instructions().global_get(0).i32_const(status - 100).i32_add().end();
    let arg = MemArg { offset: 0, align: 2, memory_index: 0 };
    let mut start = Function::new([]);
    start.instructions().i32_const(0).i32_const(1024).i32_store(arg);
    start.instructions().i32_const(4).i32_const(message.len() as i32).i32_store(arg);
    start.instructions().i32_const(1).i32_const(0).i32_const(1).i32_const(16).call(0).drop();
    start.instructions().i32_const(2).call_indirect(0, 3).call(1).end();
    code.function(&begin).function(&part).function(&start);
    let mut data = DataSection::new();
    data.active(0, &ConstExpr::i32_const(1024), message.bytes());
    let mut module = Module::new();
    module
        .section(&types)
        .section(&imports)
        .section(&functions)
        .section(&tables)
        .section(&memories)
        .section(&globals)
        .section(&exports);
    module.section(&StartSection { function_index: 2 }).section(&elements).section(&code).section(&data);
    module.finish()
}
