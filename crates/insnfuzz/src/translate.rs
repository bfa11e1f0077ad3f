//! The translation side: recompiles a snippet, instantiates it in wasmtime and runs it from a given [`State`].
//!
//! A small module of our own, the *shim*, owns what a linked unit would own (memories, table, register globals) and moves the
//! complete state between the globals and a scratch memory, so that one run costs one call. The reservation of memory 0 has the arena's pages
//! mapped at their guest addresses; a bad access is a host fault there, as in the runtime.

use crate::arena::{self, CODE_START};
use crate::native::last_foreign_fault;
use crate::pages::Pages;
use crate::state::{Fault, FxArea, Outcome, State};
use megalith_abi as abi;
use megalith_fpu::{Fpu, MemFault, Memory, Trap};
use std::sync::OnceLock;
use wasm_encoder as enc;
use wasmtime::{
    Caller, Config, Engine, Extern, Instance, LinearMemory, MemoryCreator, MemoryType, Module, OptLevel, Ref, Store,
    TypedFunc,
};

const RESERVATION: usize = 1 << 32;
const GUARD: usize = 64 << 20;

/// The process's one engine. Its creation installs wasmtime's signal handlers.
pub fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let mut c = Config::new();
        c.memory_reservation(RESERVATION as u64)
            .memory_guard_size(GUARD as u64)
            .memory_reservation_for_growth(0)
            .memory_may_move(false)
            .memory_init_cow(false)
            .guard_before_linear_memory(false)
            .signals_based_traps(true)
            .wasm_simd(true)
            .wasm_multi_memory(true)
            .wasm_threads(true)
            .wasm_tail_call(true)
            .cranelift_opt_level(OptLevel::Speed)
            .with_host_memory(std::sync::Arc::new(Memories));
        match Engine::new(&c) {
            Ok(e) => e,
            Err(e) => panic!("this host cannot run wasmtime: {e}"),
        }
    })
}

struct Memories;

struct Reservation {
    base: usize,
    bytes: usize,
    reserved: usize,
}

// SAFETY: reserves what wasmtime asks for and makes at most the declared size accessible.
unsafe impl MemoryCreator for Memories {
    fn new_memory(
        &self,
        _ty: MemoryType,
        minimum: usize,
        _maximum: Option<usize>,
        reserved_size: Option<usize>,
        guard_size: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        let reserved = reserved_size.unwrap_or(minimum).max(minimum) + guard_size;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping where the kernel likes.
        let p = unsafe { libc::mmap(std::ptr::null_mut(), reserved, libc::PROT_NONE, flags, -1, 0) };
        if p == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error().to_string());
        }
        let m = Reservation { base: p as usize, bytes: minimum, reserved };
        // The guest's address space stays unmapped but for the arena (see `Translation::load`).
        if minimum < RESERVATION {
            // SAFETY: the range was just mapped.
            let r = unsafe { libc::mprotect(p, minimum, libc::PROT_READ | libc::PROT_WRITE) };
            if r != 0 {
                return Err(std::io::Error::last_os_error().to_string());
            }
        }
        Ok(Box::new(m))
    }
}

// SAFETY: never moves, never grows; accesses outside of the accessible pages fault inside the reservation.
unsafe impl LinearMemory for Reservation {
    fn byte_size(&self) -> usize {
        self.bytes
    }
    fn byte_capacity(&self) -> usize {
        self.bytes
    }
    fn grow_to(&mut self, _: usize) -> wasmtime::Result<()> {
        Err(wasmtime::Error::msg("memories do not grow"))
    }
    fn as_ptr(&self) -> *mut u8 {
        self.base as *mut u8
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // SAFETY: the store that used the mapping is gone.
        unsafe { libc::munmap(self.base as *mut libc::c_void, self.reserved) };
    }
}

/// What host functions see.
struct Host {
    fpu: Fpu,
    pages: Option<Pages>,
    trap: Option<Trap>,
}

struct Guest<'a>(&'a Pages);

impl Memory for Guest<'_> {
    fn read(&mut self, addr: u32, buf: &mut [u8]) -> Result<(), MemFault> {
        self.0.load(addr, buf).map_err(|addr| MemFault { addr })
    }
    fn write(&mut self, addr: u32, buf: &[u8]) -> Result<(), MemFault> {
        self.0.store(addr, buf).map_err(|addr| MemFault { addr })
    }
}

/// Why a snippet cannot be run.
#[derive(Debug)]
pub enum LoadError {
    /// The recompiler does not cover it; its reason.
    Uncovered(String),
    /// Something is wrong with the object.
    Broken(String),
}

/// A snippet ready to run.
pub struct Translation {
    store: Store<Host>,
    run: TypedFunc<(), ()>,
    scratch: wasmtime::Memory,
    end: u64,
}

/// Slots of the shim's table: 0 is null, 1 the snippet's entry, the object's own functions from here.
const TABLE_BASE: i32 = 2;
const TABLE_SIZE: u64 = 64;

fn shim() -> &'static Module {
    static SHIM: OnceLock<Module> = OnceLock::new();
    SHIM.get_or_init(|| match Module::new(engine(), shim_bytes()) {
        Ok(m) => m,
        Err(e) => panic!("the shim does not compile: {e:?}"),
    })
}

/// Scratch memory: globals in index order, 16 bytes each.
fn shim_bytes() -> Vec<u8> {
    use enc::{Instruction as I, MemArg, ValType};
    let mut m = enc::Module::new();
    let mut types = enc::TypeSection::new();
    types.ty().function([], []);
    types
        .ty()
        .function([ValType::I32, ValType::I64, ValType::I64, ValType::I64], [ValType::I32, ValType::I32, ValType::I64]);
    m.section(&types);
    let mut functions = enc::FunctionSection::new();
    functions.function(0);
    m.section(&functions);
    let mut tables = enc::TableSection::new();
    tables.table(enc::TableType {
        element_type: enc::RefType::FUNCREF,
        minimum: TABLE_SIZE,
        maximum: None,
        table64: false,
        shared: false,
    });
    m.section(&tables);
    let mut memories = enc::MemorySection::new();
    for pages in [abi::MEM_PAGES, abi::MAP_PAGES, 1] {
        memories.memory(enc::MemoryType {
            minimum: pages,
            maximum: Some(pages),
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
    }
    m.section(&memories);
    let mut globals = enc::GlobalSection::new();
    let mut exports = enc::ExportSection::new();
    for i in 0..abi::GLOBALS {
        let (t, zero) = match abi::Global::val_type(i) {
            abi::GlobalType::I32 => (ValType::I32, enc::ConstExpr::i32_const(0)),
            abi::GlobalType::I64 => (ValType::I64, enc::ConstExpr::i64_const(0)),
            abi::GlobalType::V128 => (ValType::V128, enc::ConstExpr::v128_const(0)),
        };
        globals.global(enc::GlobalType { val_type: t, mutable: true, shared: false }, &zero);
        if let Some(name) = abi::Global::name(i) {
            exports.export(name, enc::ExportKind::Global, i);
        }
    }
    let i32t = |mutable| enc::GlobalType { val_type: ValType::I32, mutable, shared: false };
    globals.global(i32t(false), &enc::ConstExpr::i32_const(TABLE_BASE));
    globals.global(
        enc::GlobalType { val_type: ValType::I64, mutable: true, shared: false },
        &enc::ConstExpr::i64_const(0),
    );
    m.section(&globals);
    exports.export("table_base", enc::ExportKind::Global, abi::GLOBALS);
    exports.export("base", enc::ExportKind::Global, abi::GLOBALS + 1);
    exports.export("mem", enc::ExportKind::Memory, 0);
    exports.export("map", enc::ExportKind::Memory, 1);
    exports.export("scratch", enc::ExportKind::Memory, 2);
    exports.export("table", enc::ExportKind::Table, 0);
    exports.export("run", enc::ExportKind::Func, 0);
    m.section(&exports);
    let at = |i: u32| MemArg { offset: u64::from(i) * 16, align: 0, memory_index: 2 };
    let g = |g: abi::Global| g as u32;
    let mut f = enc::Function::new([(2, ValType::I32), (1, ValType::I64)]);
    for i in 0..abi::GLOBALS {
        f.instruction(&I::I32Const(0));
        f.instruction(&match abi::Global::val_type(i) {
            abi::GlobalType::I32 => I::I32Load(at(i)),
            abi::GlobalType::I64 => I::I64Load(at(i)),
            abi::GlobalType::V128 => I::V128Load(at(i)),
        });
        f.instruction(&I::GlobalSet(i));
    }
    for r in [abi::Gpr::Rsp, abi::Gpr::Rdi, abi::Gpr::Rsi, abi::Gpr::Rdx] {
        f.instruction(&I::GlobalGet(r as u32));
        if r == abi::Gpr::Rsp {
            f.instruction(&I::I32WrapI64);
        }
    }
    f.instruction(&I::I32Const(1));
    f.instruction(&I::CallIndirect { type_index: 1, table_index: 0 });
    f.instruction(&I::LocalSet(2)).instruction(&I::LocalSet(1)).instruction(&I::LocalTee(0));
    // A return: pc, rsp and rax are results. Otherwise all is in the globals.
    f.instruction(&I::If(enc::BlockType::Empty));
    f.instruction(&I::LocalGet(0)).instruction(&I::I64ExtendI32U).instruction(&I::GlobalSet(g(abi::Global::Pc)));
    f.instruction(&I::LocalGet(1)).instruction(&I::I64ExtendI32U).instruction(&I::GlobalSet(abi::Gpr::Rsp as u32));
    f.instruction(&I::LocalGet(2)).instruction(&I::GlobalSet(abi::Gpr::Rax as u32));
    f.instruction(&I::I32Const(abi::Reason::Return as i32)).instruction(&I::GlobalSet(g(abi::Global::Reason)));
    f.instruction(&I::End);
    for i in 0..abi::GLOBALS {
        f.instruction(&I::I32Const(0)).instruction(&I::GlobalGet(i));
        f.instruction(&match abi::Global::val_type(i) {
            abi::GlobalType::I32 => I::I32Store(at(i)),
            abi::GlobalType::I64 => I::I64Store(at(i)),
            abi::GlobalType::V128 => I::V128Store(at(i)),
        });
    }
    f.instruction(&I::End);
    let mut code = enc::CodeSection::new();
    code.function(&f);
    m.section(&code);
    m.finish()
}

impl Translation {
    /// Recompiles `code` for [`CODE_START`] and instantiates it.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(code: &[u8]) -> Result<Translation, LoadError> {
        let object =
            megalith_recompile::recompile_snippet(code, CODE_START).map_err(|e| LoadError::Broken(e.to_string()))?;
        if let Some(u) = object.meta.uncovered.first() {
            return Err(LoadError::Uncovered(u.reason.clone()));
        }
        let broken = |e: wasmtime::Error| LoadError::Broken(format!("{e:?}"));
        let module = Module::new(engine(), &object.wasm).map_err(broken)?;
        let mut store = Store::new(engine(), Host { fpu: Fpu::default(), pages: None, trap: None });
        let shim = Instance::new(&mut store, shim(), &[]).map_err(broken)?;
        let missing = |what: &str| LoadError::Broken(format!("unknown import {what}"));
        let mut imports = Vec::new();
        for i in module.imports() {
            imports.push(match i.module() {
                abi::UNIT_MODULE | abi::FILE_MODULE => {
                    shim.get_export(&mut store, i.name()).ok_or_else(|| missing(i.name()))?
                }
                abi::VKERNEL_MODULE => host_function(&mut store, i.name()).ok_or_else(|| missing(i.name()))?,
                other => return Err(missing(other)),
            });
        }
        let instance = Instance::new(&mut store, &module, &imports).map_err(broken)?;
        let entry = instance.get_func(&mut store, "entry").ok_or_else(|| missing("entry"))?;
        let table = shim.get_table(&mut store, "table").ok_or_else(|| missing("table"))?;
        for slot in [1, TABLE_BASE as u64] {
            table.set(&mut store, slot, Ref::Func(Some(entry))).map_err(broken)?;
        }
        let run = shim.get_typed_func(&mut store, "run").map_err(broken)?;
        let memory = |store: &mut Store<Host>, name| shim.get_memory(store, name).ok_or_else(|| missing(name));
        let scratch = memory(&mut store, "scratch")?;
        let base = memory(&mut store, "mem")?.data_ptr(&store) as usize;
        // SAFETY: memory 0's reservation (see `Memories`), which lives as long as the store that also owns the `Pages`. Only wasm code and host
        // functions, which go through the `Pages`, access it.
        let pages = unsafe { Pages::open_at(base) }.map_err(|e| LoadError::Broken(e.to_string()))?;
        store.data_mut().pages = Some(pages);
        Ok(Translation { store, run, scratch, end: u64::from(CODE_START) + code.len() as u64 })
    }

    /// Address after the code.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The data pages.
    pub fn pages(&mut self) -> &mut Pages {
        // `load` set it.
        self.store.data_mut().pages.as_mut().unwrap_or_else(|| unreachable!())
    }

    /// Runs the code from `state`, and leaves the resulting state there (unless it faulted: then the registers are not known).
    ///
    /// # Errors
    /// When it did something that no x86 instruction does.
    pub fn run(&mut self, state: &mut State) -> Result<Outcome, String> {
        let end = self.end;
        {
            let (mem, host) = self.scratch.data_and_store_mut(&mut self.store);
            host.fpu = Fpu::from_fxsave(&x87_part(&state.fx));
            host.trap = None;
            put(mem, state);
        }
        last_foreign_fault();
        let result = self.run.call(&mut self.store, ());
        if let Err(e) = result {
            return self.fault(&e);
        }
        let (mem, host) = self.scratch.data_and_store_mut(&mut self.store);
        let (pc, reason) = get(mem, state);
        let x87 = host.fpu.to_fxsave();
        // MXCSR and its mask, in the middle, are not the FPU's.
        state.fx.0[..24].copy_from_slice(&x87[..24]);
        state.fx.0[32..160].copy_from_slice(&x87[32..]);
        let fault = |signal, code, addr| Ok(Outcome::Fault(Fault { signal, code, addr, pc }));
        match abi::Reason::from_u32(reason) {
            Some(abi::Reason::Return) => Ok(Outcome::Done(pc)),
            Some(abi::Reason::Divide) => fault(libc::SIGFPE, FPE_INTDIV, pc),
            Some(abi::Reason::Undefined) => fault(libc::SIGILL, ILL_ILLOPN, pc),
            Some(abi::Reason::Breakpoint) => fault(libc::SIGTRAP, SI_KERNEL, 0),
            Some(abi::Reason::Protection) => fault(libc::SIGSEGV, SI_KERNEL, 0),
            Some(abi::Reason::Float) => fault(libc::SIGFPE, 0, pc),
            other => Err(format!("unwound with reason {other:?} ({reason}) at {pc:#x}, end {end:#x}")),
        }
    }

    fn fault(&mut self, e: &wasmtime::Error) -> Result<Outcome, String> {
        let pc = u64::from(CODE_START);
        let segv = |addr: u32| {
            let code = if arena::mapped(u64::from(addr)) { SEGV_ACCERR } else { SEGV_MAPERR };
            Ok(Outcome::Fault(Fault { signal: libc::SIGSEGV, code, addr: u64::from(addr), pc }))
        };
        let host = self.store.data_mut();
        match host.trap.take() {
            Some(Trap::Memory(f)) => return segv(f.addr),
            Some(Trap::Pending) => {
                let code = float_code(host.fpu.pending_exceptions());
                return Ok(Outcome::Fault(Fault { signal: libc::SIGFPE, code, addr: pc, pc }));
            }
            Some(Trap::Undefined) => {
                return Ok(Outcome::Fault(Fault { signal: libc::SIGILL, code: ILL_ILLOPN, addr: pc, pc }));
            }
            None => {}
        }
        if e.downcast_ref::<wasmtime::Trap>() == Some(&wasmtime::Trap::UnreachableCodeReached) {
            // What recompiled code does for a general protection fault.
            return Ok(Outcome::Fault(Fault { signal: libc::SIGSEGV, code: SI_KERNEL, addr: 0, pc }));
        }
        let base = host.pages.as_ref().map_or(0, Pages::base);
        let (signal, _, addr) = last_foreign_fault();
        let offset = (addr as usize).wrapping_sub(base);
        if matches!(signal, libc::SIGSEGV | libc::SIGBUS) && offset < RESERVATION + GUARD {
            // A folded displacement that carries past 4 GiB lands in the guard: the guest's address is below 64 KiB, unmapped as well.
            return segv(offset as u32);
        }
        if e.downcast_ref::<wasmtime::Trap>() == Some(&wasmtime::Trap::UnreachableCodeReached) {
            // `megalith-abi`: a general protection fault.
            return Ok(Outcome::Fault(Fault { signal: libc::SIGSEGV, code: SI_KERNEL, addr: 0, pc }));
        }
        Err(format!("trap: {}", e.root_cause()))
    }
}

/// `si_code` of SIGFPE for unmasked x87 exceptions, as Linux chooses it (arch/x86/kernel/fpu/core.c, `fpu__exception_code`).
fn float_code(exceptions: u16) -> i32 {
    const FPE_FLTDIV: i32 = 3;
    const FPE_FLTOVF: i32 = 4;
    const FPE_FLTUND: i32 = 5;
    const FPE_FLTRES: i32 = 6;
    const FPE_FLTINV: i32 = 7;
    [(0x1, FPE_FLTINV), (0x4, FPE_FLTDIV), (0x8, FPE_FLTOVF), (0x12, FPE_FLTUND), (0x20, FPE_FLTRES)]
        .iter()
        .find(|(bits, _)| exceptions & bits != 0)
        .map_or(0, |(_, code)| *code)
}

/// `si_code` values that libc does not name on this target.
const FPE_INTDIV: i32 = 1;
const ILL_ILLOPN: i32 = 2;
const SEGV_MAPERR: i32 = 1;
const SEGV_ACCERR: i32 = 2;
const SI_KERNEL: i32 = 0x80;

fn x87_part(fx: &FxArea) -> [u8; 160] {
    let mut b = [0; 160];
    b.copy_from_slice(&fx.0[..160]);
    b
}

fn put(mem: &mut [u8], s: &State) {
    let mut slot = |i: u32, v: &[u8]| {
        if let Some(d) = mem.get_mut(i as usize * 16..i as usize * 16 + v.len()) {
            d.copy_from_slice(v);
        }
    };
    for i in 0..16 {
        slot(i, &s.gpr[i as usize].to_le_bytes());
        slot(16 + i, &s.fx.xmm(i as usize).to_le_bytes());
    }
    use abi::Global::*;
    slot(FsBase as u32, &s.fs_base.to_le_bytes());
    slot(GsBase as u32, &s.gs_base.to_le_bytes());
    slot(Rflags as u32, &(s.rflags | 2).to_le_bytes());
    slot(Pc as u32, &0_u64.to_le_bytes());
    slot(Reason as u32, &u32::MAX.to_le_bytes());
    slot(Label as u32, &0_u32.to_le_bytes());
    let floor = (s.gpr[4] as u32).wrapping_sub(abi::STACK_WINDOW).wrapping_add(256);
    slot(StackFloor as u32, &floor.to_le_bytes());
    slot(Mxcsr as u32, &s.fx.mxcsr().to_le_bytes());
}

/// Stores the globals into `s`; (pc, reason).
fn get(mem: &[u8], s: &mut State) -> (u64, u32) {
    let slot = |i: u32| {
        let mut b = [0; 16];
        if let Some(v) = mem.get(i as usize * 16..i as usize * 16 + 16) {
            b.copy_from_slice(v);
        }
        u128::from_le_bytes(b)
    };
    for i in 0..16 {
        s.gpr[i as usize] = slot(i) as u64;
        s.fx.set_xmm(i as usize, slot(16 + i));
    }
    use abi::Global::*;
    s.fs_base = slot(FsBase as u32) as u64;
    s.gs_base = slot(GsBase as u32) as u64;
    s.rflags = slot(Rflags as u32) as u64 & (crate::state::FLAGS | 2);
    s.fx.set_mxcsr(slot(Mxcsr as u32) as u32);
    (slot(Pc as u32) as u64, slot(Reason as u32) as u32)
}

fn host_function(store: &mut Store<Host>, name: &str) -> Option<Extern> {
    use wasmtime::Func;
    let refuse = |what: &str| wasmtime::Error::msg(format!("{what} called"));
    Some(
        match name {
            "x87" => Func::wrap(
                &mut *store,
                |mut c: Caller<'_, Host>, op: i32, arg: i32, addr: i64| -> wasmtime::Result<i64> {
                    let host = c.data_mut();
                    let Some(pages) = host.pages.as_ref() else { return Err(wasmtime::Error::msg("no memory")) };
                    match megalith_fpu::ops::execute(
                        &mut host.fpu,
                        op as u32,
                        arg as u32,
                        addr as u64,
                        &mut Guest(pages),
                    ) {
                        Ok(v) => Ok(v),
                        Err(t) => {
                            host.trap = Some(t);
                            Err(wasmtime::Error::msg("x87 trap"))
                        }
                    }
                },
            ),
            "udiv128" => Func::wrap(&mut *store, |hi: i64, lo: i64, d: i64| -> wasmtime::Result<(i64, i64)> {
                let n = u128::from(hi as u64) << 64 | u128::from(lo as u64);
                let d = u128::from(d as u64);
                match (n.checked_div(d), n.checked_rem(d)) {
                    (Some(q), Some(r)) => Ok((q as i64, r as i64)),
                    _ => Err(wasmtime::Error::msg("udiv128 by zero")),
                }
            }),
            "sdiv128" => Func::wrap(&mut *store, |hi: i64, lo: i64, d: i64| -> wasmtime::Result<(i64, i64)> {
                let n = i128::from(hi) << 64 | i128::from(lo as u64);
                let d = i128::from(d);
                match (n.checked_div(d), n.checked_rem(d)) {
                    (Some(q), Some(r)) => Ok((q as i64, r as i64)),
                    _ => Err(wasmtime::Error::msg("sdiv128 by zero")),
                }
            }),
            "notice" => Func::wrap(&mut *store, |_: i32, _: i64| {}),
            "syscall" => Func::wrap(
                &mut *store,
                move |_: i64, _: i64, _: i64, _: i64, _: i64, _: i64, _: i64| -> wasmtime::Result<i64> {
                    Err(refuse("syscall"))
                },
            ),
            "cpuid" => Func::wrap(&mut *store, move |_: i32, _: i32| -> wasmtime::Result<(i32, i32, i32, i32)> {
                Err(refuse("cpuid"))
            }),
            "rdtsc" => Func::wrap(&mut *store, move || -> wasmtime::Result<i64> { Err(refuse("rdtsc")) }),
            "resolve" => Func::wrap(&mut *store, |_: i64| -> i64 { -1 }),
            "unwound" => Func::wrap(&mut *store, |_: i32| {}),
            "start" => Func::wrap(&mut *store, || -> i64 { 0 }),
            _ => return None,
        }
        .into(),
    )
}
