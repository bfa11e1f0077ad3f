//! The run side: AOT code in, processes out. Contains no compiler.
//!
//! [`Runtime`] is the vkernel's [`Launcher`]: for every task it makes an instance of the task's program on the memories of the
//! task's slot and drives it until its trampoline is left. One guest process is one host thread.

mod code;
mod fault;
mod host;
mod memory;
mod pool;
mod program;
mod registers;
#[cfg(all(test, feature = "compile"))]
mod tests;
mod wasi;

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use megalith_vkernel::{FaultInfo, Launcher, Machine, Start, Task};
use wasmtime::{Engine, Instance, Linker, Store, Trap, TypedFunc};

pub use code::CodeFile;
pub use program::ProgramCode;
pub use wasi::WasiCode;

use memory::SlotBases;
use registers::{Handles, Registers};

/// wasmtime's data of one instance.
pub(crate) struct Guest {
    /// Boxed, and out of its place while the kernel works on it.
    task: Option<Box<Task>>,
    registers: Option<Box<Handles>>,
}

/// Receives one line (without a line end) per event that the user should see.
pub type Report = Arc<dyn Fn(&str) + Send + Sync>;

/// wasmtime and the threads that guests run on. Cheap to clone.
#[derive(Clone)]
pub struct Runtime(Arc<Inner>);

struct Inner {
    engine: Engine,
    linker: Linker<Guest>,
    threads: Arc<pool::Threads>,
    report: Report,
    refused: AtomicBool,
    /// Made when the first WASI program is added.
    wasi: OnceLock<Result<wasi::WasiEngine, String>>,
}

/// The run side's configuration, but for the size of stacks.
fn config() -> wasmtime::Config {
    let mut c = crate::config::config();
    c.with_host_memory(Arc::new(memory::Memories)).with_custom_code_memory(Some(Arc::new(code::Published)));
    c
}

thread_local! {
    /// An exec on this thread: what to run when the old instance has been left.
    static NEXT: RefCell<Option<(Task, Start)>> = const { RefCell::new(None) };
}

impl Runtime {
    /// The run side's engine. Call once; everything it needs of the host (signal handlers) is set up here.
    ///
    /// # Errors
    /// When wasmtime refuses its configuration on this host.
    pub fn new(report: Report) -> anyhow::Result<Runtime> {
        let mut c = config();
        c.max_wasm_stack(pool::WASM_STACK).async_stack_size(pool::WASM_STACK);
        let engine = Engine::new(&c).map_err(|e| anyhow::anyhow!("cannot set up wasmtime: {e:#}"))?;
        fault::install().map_err(|e| anyhow::anyhow!("cannot take SIGBUS over: {e}"))?;
        let mut linker = Linker::new(&engine);
        host::define(&mut linker).map_err(|e| anyhow::anyhow!("cannot define the vkernel's functions: {e:#}"))?;
        Ok(Runtime(Arc::new(Inner {
            engine,
            linker,
            threads: Arc::default(),
            report,
            refused: AtomicBool::new(false),
            wasi: OnceLock::new(),
        })))
    }
}

impl Runtime {
    /// Makes what WASI programs need. To be called before the first one runs, while everything is still allowed; costs nothing the second time.
    ///
    /// # Errors
    /// When wasmtime refuses its configuration on this host.
    pub fn prepare_wasi(&self) -> anyhow::Result<()> {
        self.0.wasi().map(drop).map_err(anyhow::Error::msg)
    }

    /// Whether some program did not start because its code failed its check; that process looks killed.
    pub fn refused(&self) -> bool {
        self.0.refused.load(Ordering::Acquire)
    }
}

impl Launcher for Runtime {
    fn launch(&self, task: Task, start: Start) {
        let inner = Arc::clone(&self.0);
        if let Err(e) = self.0.threads.run(Box::new(move || inner.process(task, start))) {
            // The task went with the closure: dropping it has ended the process.
            (self.0.report)(&format!("cannot start a thread for a process: {e}"));
        }
    }

    fn replace(&self, task: Task, start: Start) {
        NEXT.set(Some((task, start)));
    }
}

impl Inner {
    /// A process from its first instance to its end, through all its execs.
    fn process(&self, mut task: Task, mut start: Start) {
        loop {
            if let Err(e) = self.run(task, start) {
                (self.report)(&e);
            }
            match NEXT.take() {
                Some(next) => (task, start) = next,
                None => break,
            }
        }
    }

    /// One instance, until its trampoline is left. The task is dropped after the instance.
    fn run(&self, task: Task, start: Start) -> Result<(), String> {
        let program = Arc::clone(task.program());
        if let Some(code) = program.engine.downcast_ref::<WasiCode>() {
            self.run_wasi(task, code, &start);
            return Ok(());
        }
        let slot = Arc::clone(task.slot());
        let code = program
            .engine
            .downcast_ref::<ProgramCode>()
            .ok_or_else(|| format!("{} has no code", program.entry_point))?;
        let loaded =
            code.loaded(&self.engine, &self.linker).inspect_err(|_| self.refused.store(true, Ordering::Release))?;
        let guest = Guest { task: Some(Box::new(task)), registers: None };
        let mut store = Store::new(&self.engine, guest);
        let bases = SlotBases { mem: slot.memory0(), map: slot.memory1() };
        fault::watch(&mut store, bases);
        let failed = |e: wasmtime::Error| format!("cannot start {}: {e:#}", program.entry_point);
        let instance = memory::with_slot(bases, || loaded.pre.instantiate(&mut store)).map_err(failed)?;
        let handles = registers::handles(&mut store, &instance, loaded)
            .ok_or_else(|| format!("cannot start {}: register globals are missing", program.entry_point))?;
        store.data_mut().registers = Some(handles);
        let mut result = match start {
            Start::Program { hash, .. } => {
                let f: TypedFunc<(i64, i64, i64, i64), i32> = function(&mut store, &instance, &loaded.dispatch)?;
                let h = hash.map(|w| w as i64);
                match f.call(&mut store, (h[0], h[1], h[2], h[3])) {
                    Ok(0) => Ok(()),
                    Ok(e) => {
                        return Err(format!("{}: the module does not know its own hash ({e})", program.entry_point));
                    }
                    Err(e) => Err(e),
                }
            }
            Start::Resume(regs) => {
                self::host::with_task(&mut store, |_, r| r.store(&regs)).map_err(failed)?;
                drop(regs);
                let f: TypedFunc<(), ()> = function(&mut store, &instance, &loaded.resume)?;
                f.call(&mut store, ())
            }
        };
        while let Err(e) = result {
            let again = host::with_task(&mut store, |t, r| trapped(t, r, bases, &e)).map_err(|_| {
                // The kernel panicked and took the task with it.
                format!("{}: killed: {e:#}", program.entry_point)
            })?;
            if !again {
                break;
            }
            let f: TypedFunc<(), ()> = function(&mut store, &instance, &loaded.resume)?;
            result = f.call(&mut store, ());
        }
        // The instance first, then the task: its slot may be reused at once.
        let guest = store.into_data();
        drop(guest);
        Ok(())
    }
}

/// Tells the kernel of a trap. True: call `_resume`.
fn trapped(task: &mut Task, regs: &mut Registers, bases: SlotBases, e: &wasmtime::Error) -> bool {
    let memory = matches!(e.downcast_ref::<Trap>(), Some(Trap::MemoryOutOfBounds));
    if let (true, Some(f)) = (memory, fault::take()) {
        let offset = f.addr.wrapping_sub(bases.mem as usize);
        if offset < fault::RESERVED {
            return task.fault(regs, FaultInfo { addr: offset as u64, write: Some(f.write) });
        }
    }
    if let Some(f) = e.downcast_ref::<host::X87Fault>() {
        return task.x87_fault(regs, f.0);
    }
    if matches!(e.downcast_ref::<Trap>(), Some(Trap::UnreachableCodeReached)) {
        return task.protection_fault(regs);
    }
    let what = match e.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => "host stack exhausted".to_string(),
        _ => format!("{e:#}").replace('\n', " "),
    };
    task.trap(regs, &what);
    !task.ended()
}

/// The exported function behind `export`.
fn function<P: wasmtime::WasmParams, R: wasmtime::WasmResults>(
    store: &mut Store<Guest>,
    instance: &Instance,
    export: &wasmtime::ModuleExport,
) -> Result<TypedFunc<P, R>, String> {
    instance
        .get_module_export(&mut *store, export)
        .and_then(|e| e.into_func())
        .and_then(|f| f.typed(&*store).ok())
        .ok_or_else(|| "an entry function is missing or has the wrong type".into())
}
