//! Running WASI modules: instances whose imports are `wasi_snapshot_preview1` and the poll, on a linear memory of the vkernel's.
//!
//! They have a wasmtime engine of their own, configured alike but for the host stack: code that was not recompiled by us sheds no
//! frames, and must not fill a guest thread's whole stack with them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail};
use megalith_abi::{VKERNEL_MODULE, WASI_IMPORTS, WASI_MAX_ARGS, WASI_MODULE, WASI_POLL};
use megalith_vkernel::{Program, Start, Task};
use wasmtime::{
    Caller, Engine, ExternType, FuncType, InstancePre, Linker, Module, ModuleExport, ResourceLimiter, Store, Trap,
    TypedFunc, Val, ValType, WasmBacktrace,
};

use super::code::{Code, CodeFile};
use super::memory::{self, SlotBases};
use super::{Inner, fault};

/// Host stack that wasm frames of a WASI program may use.
const STACK: usize = 16 << 20;
/// Entries that all tables of a program may have together; they are host memory.
const TABLE_ENTRIES: usize = 1 << 20;

/// wasmtime's data of one instance.
pub(super) struct WasiGuest {
    /// Boxed, and out of its place once the program has been left.
    task: Box<Task>,
    tables: Tables,
}

/// Bounds the tables. Memories are the vkernel's matter.
struct Tables {
    left: usize,
}

impl ResourceLimiter for Tables {
    fn memory_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(true)
    }
    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|m| desired > m) {
            return Ok(false);
        }
        let more = desired.saturating_sub(current);
        let fits = more <= self.left;
        if fits {
            self.left -= more;
        }
        Ok(fits)
    }
}

/// The process has ended while its code was running: leaves the instance.
#[derive(Debug)]
struct Ended;

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the process has ended")
    }
}

impl std::error::Error for Ended {}

/// Engine and imports of all WASI programs.
pub(super) struct WasiEngine {
    engine: Engine,
    linker: Linker<WasiGuest>,
}

impl WasiEngine {
    pub(super) fn new() -> Result<WasiEngine> {
        let mut c = super::config();
        c.max_wasm_stack(STACK).async_stack_size(STACK);
        let engine = Engine::new(&c).map_err(|e| anyhow::anyhow!("cannot set up wasmtime: {e:#}"))?;
        let mut linker = Linker::new(&engine);
        define(&engine, &mut linker).map_err(|e| anyhow::anyhow!("cannot define the WASI functions: {e:#}"))?;
        Ok(WasiEngine { engine, linker })
    }
}

/// Defines `wasi_snapshot_preview1.*` and `vkernel.poll`.
fn define(engine: &Engine, l: &mut Linker<WasiGuest>) -> wasmtime::Result<()> {
    let types = |s: &str| s.chars().map(|c| if c == 'l' { ValType::I64 } else { ValType::I32 }).collect::<Vec<_>>();
    for (index, (name, params, results)) in WASI_IMPORTS.iter().enumerate() {
        let ty = FuncType::new(engine, types(params), types(results));
        l.func_new(WASI_MODULE, name, ty, move |mut c: Caller<'_, WasiGuest>, params: &[Val], results: &mut [Val]| {
            let mut args = [0; WASI_MAX_ARGS];
            for (to, from) in args.iter_mut().zip(params) {
                *to = match from {
                    Val::I32(v) => u64::from(*v as u32),
                    Val::I64(v) => *v as u64,
                    _ => return Err(wasmtime::Error::msg("WASI functions take integers")),
                };
            }
            match c.data_mut().task.wasi_call(index, args) {
                Some(error) => {
                    if let Some(r) = results.first_mut() {
                        *r = Val::I32(error.into());
                    }
                    Ok(())
                }
                None => Err(wasmtime::Error::from(Ended)),
            }
        })?;
    }
    l.func_wrap(VKERNEL_MODULE, WASI_POLL, |mut c: Caller<'_, WasiGuest>| {
        if c.data_mut().task.wasi_poll() { Ok(()) } else { Err(wasmtime::Error::from(Ended)) }
    })?;
    Ok(())
}

/// Code of one WASI module. This is what `megalith_vkernel::Program::engine` holds for it.
pub struct WasiCode(Code<Loaded>);

/// A module that passed its checks.
pub(super) struct Loaded {
    pre: InstancePre<WasiGuest>,
    dispatch: ModuleExport,
}

impl WasiCode {
    /// `name` is the entry point's, for messages.
    pub fn new(name: &str, file: CodeFile) -> WasiCode {
        WasiCode(Code::new(name, file))
    }

    fn loaded(&self, wasi: &WasiEngine) -> Result<&Loaded, String> {
        self.0.loaded(&wasi.engine, |module| Loaded::new(module, &wasi.linker))
    }
}

impl Loaded {
    fn new(module: &Module, linker: &Linker<WasiGuest>) -> Result<Loaded> {
        for import in module.imports() {
            if import.module() != WASI_MODULE && (import.module(), import.name()) != (VKERNEL_MODULE, WASI_POLL) {
                bail!("imports {}.{}, which WASI programs do not get", import.module(), import.name());
            }
        }
        let dispatch = module.get_export_index("_dispatch").context("no export _dispatch")?;
        if !matches!(module.get_export("_dispatch"), Some(ExternType::Func(_))) {
            bail!("_dispatch is no function");
        }
        Ok(Loaded { pre: linker.instantiate_pre(module).map_err(|e| anyhow::anyhow!("{e:#}"))?, dispatch })
    }
}

impl Inner {
    /// The engine of WASI programs, made when the first one is added.
    pub(super) fn wasi(&self) -> Result<&WasiEngine, String> {
        self.wasi.get_or_init(|| WasiEngine::new().map_err(|e| format!("{e:#}"))).as_ref().map_err(Clone::clone)
    }

    /// One WASI process, from start to end. What keeps it from starting is reported before the process is gone, and with it perhaps the container.
    pub(super) fn run_wasi(&self, mut task: Box<Task>, code: &WasiCode, start: &Start) {
        let program = Arc::clone(task.program());
        match (self.load_wasi(&program, code), start) {
            (Ok((wasi, loaded)), Start::Program { hash, .. }) => {
                if task.wasi_start() {
                    self.drive_wasi(task, code, wasi, loaded, hash);
                }
            }
            (Ok(_), Start::Resume(_)) => (self.report)(&format!("{}: a WASI program cannot be resumed", code.0.name)),
            (Err(e), _) => {
                self.refused.store(true, Ordering::Release);
                (self.report)(&e);
            }
        }
    }

    /// Engine and module, with its data image; the first call checks both files.
    pub(super) fn load_wasi<'a>(
        &'a self,
        program: &Program,
        code: &'a WasiCode,
    ) -> Result<(&'a WasiEngine, &'a Loaded), String> {
        let wasi = self.wasi()?;
        let data = |e| format!("data image of {}: {e}; rebuild it with `megalith compile`", code.0.name);
        program.check_data().map_err(data)?;
        Ok((wasi, code.loaded(wasi)?))
    }

    fn drive_wasi(&self, task: Box<Task>, code: &WasiCode, wasi: &WasiEngine, loaded: &Loaded, hash: &[u64; 4]) {
        let bases = SlotBases { mem: task.slot().memory0(), map: task.slot().memory1() };
        let linear = task.wasi_memory();
        let guest = WasiGuest { task, tables: Tables { left: TABLE_ENTRIES } };
        let mut store = Store::new(&wasi.engine, guest);
        store.limiter(|g| &mut g.tables);
        fault::watch(&mut store, bases);
        let started = memory::with_wasi(bases, linear, || loaded.pre.instantiate(&mut store))
            .map_err(|e| format!("cannot start {}: {e:#}", code.0.name))
            .and_then(|instance| {
                let dispatch = instance.get_module_export(&mut store, &loaded.dispatch).and_then(|e| e.into_func());
                dispatch
                    .and_then(|f| f.typed(&store).ok())
                    .ok_or_else(|| format!("{}: _dispatch has the wrong type", code.0.name))
            });
        let dispatch: TypedFunc<(i64, i64, i64, i64), i32> = match started {
            Ok(f) => f,
            Err(e) => return (self.report)(&e),
        };
        let [a, b, c, d] = hash.map(|w| w as i64);
        let result = dispatch.call(&mut store, (a, b, c, d));
        let task = &mut store.data_mut().task;
        match result {
            _ if task.ended() => {}
            Ok(0) => task.wasi_returned(),
            Ok(e) => (self.report)(&format!("{}: the module does not know its own hash ({e})", code.0.name)),
            Err(e) => {
                let (signal, what) = describe(&e);
                task.wasi_trap(signal, &what);
            }
        }
        // The instance first, then the task: its slot may be reused at once.
        drop(store.into_data());
    }
}

/// Which signal a trap stands for, and a line about it.
fn describe(e: &wasmtime::Error) -> (i32, String) {
    let place = e
        .downcast_ref::<WasmBacktrace>()
        .and_then(|b| b.frames().first())
        .map(|f| match (f.func_name(), f.func_offset()) {
            (Some(name), Some(at)) => format!(" in {name}+{at:#x}"),
            (Some(name), None) => format!(" in {name}"),
            _ => String::new(),
        })
        .unwrap_or_default();
    let Some(trap) = e.downcast_ref::<Trap>() else {
        return (libc::SIGSEGV, format!("{e:#}").replace('\n', " "));
    };
    let signal = match trap {
        Trap::IntegerOverflow | Trap::IntegerDivisionByZero | Trap::BadConversionToInteger => libc::SIGFPE,
        Trap::UnreachableCodeReached => libc::SIGILL,
        _ => libc::SIGSEGV,
    };
    (signal, format!("{trap}{place}"))
}

#[cfg(all(test, feature = "compile"))]
mod tests {
    use super::*;
    use crate::compile::Compiler;
    use std::io::Write;

    const DISPATCH: &str = "(func (export \"_dispatch\") (param i64 i64 i64 i64) (result i32) (i32.const 0))";

    fn load(body: &str) -> Result<Loaded> {
        let wasi = WasiEngine::new()?;
        let code = Compiler::new(crate::TARGET)?.compile(&wat::parse_str(format!("(module {body})"))?)?;
        let mut file = tempfile::tempfile()?;
        file.write_all(&code)?;
        let module = CodeFile::map(&file, code.len() as u64, blake3::hash(&code).into())?.module(&wasi.engine)?;
        Loaded::new(&module, &wasi.linker)
    }

    #[test]
    fn imports_are_wasi_s_and_the_poll_alone() {
        let fine =
            "(import \"vkernel\" \"poll\" (func)) (import \"wasi_snapshot_preview1\" \"proc_exit\" (func (param i32)))";
        load(&format!("{fine} {DISPATCH}")).unwrap();
        for (import, why) in [
            ("(import \"vkernel\" \"syscall\" (func))", "vkernel.syscall"),
            ("(import \"env\" \"poll\" (func))", "env.poll"),
            ("(import \"wasi_snapshot_preview1\" \"no_such\" (func))", "no_such"),
            ("(import \"wasi_snapshot_preview1\" \"proc_exit\" (func (param i64)))", "proc_exit"),
        ] {
            let e = load(&format!("{import} {DISPATCH}")).err().expect("refused").to_string();
            assert!(e.contains(why), "{e}");
        }
        assert!(load(fine).err().expect("refused").to_string().contains("_dispatch"));
    }

    #[test]
    fn tables_are_bounded() {
        let mut t = Tables { left: 100 };
        assert!(t.table_growing(0, 60, None).unwrap());
        assert!(!t.table_growing(60, 101, None).unwrap());
        assert!(t.table_growing(60, 100, Some(100)).unwrap());
        assert!(!t.table_growing(100, 101, Some(100)).unwrap());
    }
}
