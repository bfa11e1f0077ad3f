//! The run side: AOT code in, processes out. Contains no compiler.
//!
//! [`Runtime`] is the vkernel's [`Launcher`]: for every task it makes an instance of the task's program on the memories of the
//! task's slot and drives it until its trampoline is left. A guest process that runs, or waits in the kernel, has a host thread. One that
//! waits for a child which its thread can run meanwhile is *parked*: it has no frames, so any thread can take it up again.

mod code;
mod deferred;
mod fault;
mod host;
mod local;
mod memory;
mod pool;
mod program;
mod registers;
#[cfg(all(test, feature = "compile"))]
mod tests;
mod wasi;

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use megalith_vkernel::{FaultInfo, Launcher, Machine, Parked, Program, Start, Task, Waiter};
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
    deferrals: Arc<deferred::Deferrals>,
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

/// A task, and how it begins.
type Launch = (Box<Task>, Start);

thread_local! {
    /// An exec on this thread: what to run when the old instance has been left.
    static NEXT: RefCell<Option<Launch>> = const { RefCell::new(None) };
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
        Ok(Runtime(Arc::new_cyclic(|inner: &Weak<Inner>| {
            let inner = Weak::clone(inner);
            let overdue = move |launch| {
                if let Some(inner) = inner.upgrade() {
                    inner.spawn(Work::New(launch));
                }
            };
            Inner {
                engine,
                linker,
                threads: Arc::default(),
                deferrals: deferred::Deferrals::new(Box::new(overdue)),
                report,
                refused: AtomicBool::new(false),
                wasi: OnceLock::new(),
            }
        })))
    }

    /// Makes what WASI programs need. To be called before the first one runs, while everything is still allowed; costs nothing the second time.
    ///
    /// # Errors
    /// When wasmtime refuses its configuration on this host.
    pub fn prepare_wasi(&self) -> anyhow::Result<()> {
        self.0.wasi().map(drop).map_err(anyhow::Error::msg)
    }

    /// Begins to check and load the code of `program` on a thread of its own, for a start that comes soon. What is wrong with it shows then.
    pub fn prepare(&self, program: &Arc<Program>) {
        let (inner, program) = (Arc::clone(&self.0), Arc::clone(program));
        let load = move || {
            if let Some(code) = program.engine.downcast_ref::<WasiCode>() {
                let _ = inner.load_wasi(&program, code);
            } else if let Some(code) = program.engine.downcast_ref::<ProgramCode>() {
                let _ = code.loaded(&inner.engine, &inner.linker);
            }
        };
        // Without a thread for it, the start does it.
        let _ = self.0.threads.run(Box::new(load));
    }

    /// Whether some program did not start because its code failed its check; that process looks killed.
    pub fn refused(&self) -> bool {
        self.0.refused.load(Ordering::Acquire)
    }
}

impl Launcher for Runtime {
    fn launch(&self, task: Task, start: Start) {
        if let Some(launch) = self.0.deferrals.put((Box::new(task), start)) {
            self.0.spawn(Work::New(launch));
        }
    }

    fn launch_thread(&self, task: Task, start: Start) -> Result<(), Box<Task>> {
        // Where both sides can take it: it comes back when there is no thread for it.
        let launch = Arc::new(Mutex::new(Some((Box::new(task), start))));
        let (inner, theirs) = (Arc::clone(&self.0), Arc::clone(&launch));
        let take = |l: &Mutex<Option<Launch>>| l.lock().unwrap_or_else(PoisonError::into_inner).take();
        let job = move || {
            if let Some(launch) = take(&theirs) {
                inner.run(Work::New(launch));
            }
        };
        match self.0.threads.run(Box::new(job)) {
            Ok(()) => Ok(()),
            Err(_) => take(&launch).map_or(Ok(()), |(task, _)| Err(task)),
        }
    }

    fn replace(&self, task: Task, start: Start) {
        NEXT.set(Some((Box::new(task), start)));
    }

    fn has_deferred(&self) -> bool {
        deferred::present()
    }

    fn start_deferred(&self) {
        if let Some(launch) = deferred::take() {
            self.0.spawn(Work::New(launch));
        }
    }

    fn ending(&self) {
        local::end();
    }
}

/// An instance between two stretches of running.
struct Running {
    program: Arc<Program>,
    bases: SlotBases,
    store: Store<Guest>,
    instance: Instance,
}

// SAFETY: the addresses in `bases` are those of the slot that the task in the store keeps alive; nothing here belongs to one thread.
unsafe impl Send for Running {}

/// What a thread has to run.
enum Work {
    New(Launch),
    Resume(Running),
}

/// What keeps a task from running. The task, if it is still there, ends with this: to be reported before that, because the container may end with it.
struct Failed {
    line: String,
    _task: Option<Box<Task>>,
}

impl Failed {
    /// What was in `store` goes with it.
    fn with(line: String, store: Store<Guest>) -> Failed {
        Failed { line, _task: store.into_data().task }
    }
}

/// How an instance's trampoline was left.
enum Left {
    Ended,
    /// The process waits, see [`Task::parked`].
    Parked(Running),
}

/// A parked instance, on its process's waiter.
struct Sleeper {
    running: Running,
    inner: Arc<Inner>,
    waiter: Weak<Waiter>,
}

impl Parked for Sleeper {
    fn resumes_here(&self) -> bool {
        local::resumes(&self.waiter)
    }

    fn resume(self: Box<Self>) {
        self.inner.spawn(Work::Resume(self.running));
    }
}

/// When a panic ends the thread's work, what is parked there goes on elsewhere.
struct Elsewhere<'a>(&'a Arc<Inner>);

impl Drop for Elsewhere<'_> {
    fn drop(&mut self) {
        while let Some(running) = local::resumable(unpark) {
            self.0.spawn(Work::Resume(running));
        }
    }
}

/// Takes back what this module parked on `waiter`.
fn unpark(waiter: &Waiter) -> Option<Running> {
    sleeper(waiter.unpark()?)
}

fn sleeper(parked: Box<dyn Parked>) -> Option<Running> {
    let any: Box<dyn std::any::Any> = parked;
    Some(any.downcast::<Sleeper>().ok()?.running)
}

impl Inner {
    /// Runs `work` on another thread.
    fn spawn(self: &Arc<Self>, work: Work) {
        let inner = Arc::clone(self);
        if let Err((e, job)) = self.threads.run(Box::new(move || inner.run(work))) {
            (self.report)(&format!("cannot start a thread for a process: {e}"));
            // The task is in it: its process ends.
            drop(job);
        }
    }

    /// Runs `work`, what it execs, and what of its children is put off or parked on this thread, until nothing is left.
    fn run(self: &Arc<Self>, work: Work) {
        let _here = deferred::enter(&self.deferrals);
        let _elsewhere = Elsewhere(self);
        let mut work = Some(work);
        while let Some(w) = work.take() {
            let left = match w {
                Work::New((task, start)) => self.start(task, start),
                Work::Resume(running) => self.resume(running),
            };
            work = match left {
                Ok(Left::Parked(running)) => self.park(running),
                Ok(Left::Ended) => None,
                Err(failed) => {
                    (self.report)(&failed.line);
                    None
                }
            };
            if work.is_none() {
                // An exec; then whoever waits for what has just ended; then what was put off.
                work = NEXT
                    .take()
                    .map(Work::New)
                    .or_else(|| local::resumable(unpark).map(Work::Resume))
                    .or_else(|| deferred::take().map(Work::New));
            }
        }
    }

    /// Parks an instance, and tells what to run instead: the task that this thread has put off, or the instance itself, if it need not wait.
    fn park(self: &Arc<Self>, mut running: Running) -> Option<Work> {
        let waiter = running.store.data_mut().task.as_deref_mut().map(|task| {
            task.unpark();
            Arc::clone(task.waiter())
        })?;
        let parked = Sleeper { running, inner: Arc::clone(self), waiter: Arc::downgrade(&waiter) };
        if let Some(back) = waiter.park(Box::new(parked)) {
            return sleeper(back).map(Work::Resume);
        }
        local::push(waiter);
        deferred::take().map(Work::New)
    }

    /// A new instance for `task`, until its trampoline is left.
    fn start(&self, task: Box<Task>, start: Start) -> Result<Left, Failed> {
        let program = Arc::clone(task.program());
        if let Some(code) = program.engine.downcast_ref::<WasiCode>() {
            self.run_wasi(task, code, &start);
            return Ok(Left::Ended);
        }
        let bases = SlotBases { mem: task.slot().memory0(), map: task.slot().memory1() };
        let loaded = match self.loaded(&program) {
            Ok(loaded) => loaded,
            Err(line) => return Err(Failed { line, _task: Some(task) }),
        };
        let mut store = Store::new(&self.engine, Guest { task: Some(task), registers: None });
        fault::watch(&mut store, bases);
        match Inner::enter(&program, loaded, bases, &mut store, start) {
            Ok((instance, result)) => {
                Running { program: Arc::clone(&program), bases, store, instance }.settle(loaded, result)
            }
            Err(line) => Err(Failed::with(line, store)),
        }
    }

    /// Makes the instance and runs it as `start` says, until its trampoline is left or it traps.
    fn enter(
        program: &Program,
        loaded: &program::Loaded,
        bases: SlotBases,
        mut store: &mut Store<Guest>,
        start: Start,
    ) -> Result<(Instance, wasmtime::Result<()>), String> {
        let failed = |e: wasmtime::Error| format!("cannot start {}: {e:#}", program.entry_point);
        let instance = memory::with_slot(bases, || loaded.pre.instantiate(&mut store)).map_err(failed)?;
        let handles = registers::handles(store, &instance, loaded)
            .ok_or_else(|| format!("cannot start {}: register globals are missing", program.entry_point))?;
        store.data_mut().registers = Some(handles);
        let result = match start {
            Start::Program { hash, .. } => {
                let f: TypedFunc<(i64, i64, i64, i64), i32> = function(store, &instance, &loaded.dispatch)?;
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
                self::host::with_task(store, |_, r| r.store(&regs)).map_err(failed)?;
                drop(regs);
                let f: TypedFunc<(), ()> = function(store, &instance, &loaded.resume)?;
                f.call(&mut store, ())
            }
        };
        Ok((instance, result))
    }

    /// Goes on with an instance that was parked.
    fn resume(&self, mut running: Running) -> Result<Left, Failed> {
        let program = Arc::clone(&running.program);
        fault::watch(&mut running.store, running.bases);
        match self.loaded(&program).and_then(|loaded| Ok((loaded, running.call_resume(loaded)?))) {
            Ok((loaded, result)) => running.settle(loaded, result),
            Err(line) => Err(Failed::with(line, running.store)),
        }
    }

    fn loaded<'a>(&self, program: &'a Program) -> Result<&'a program::Loaded, String> {
        let code = program
            .engine
            .downcast_ref::<ProgramCode>()
            .ok_or_else(|| format!("{} has no code", program.entry_point))?;
        code.loaded(&self.engine, &self.linker).inspect_err(|_| self.refused.store(true, Ordering::Release))
    }
}

impl Running {
    fn call_resume(&mut self, loaded: &program::Loaded) -> Result<wasmtime::Result<()>, String> {
        let f: TypedFunc<(), ()> = function(&mut self.store, &self.instance, &loaded.resume)?;
        Ok(f.call(&mut self.store, ()))
    }

    /// Deals with traps, until the trampoline is left without one.
    fn settle(mut self, loaded: &program::Loaded, mut result: wasmtime::Result<()>) -> Result<Left, Failed> {
        while let Err(e) = result {
            let again = host::with_task(&mut self.store, |t, r| trapped(t, r, self.bases, &e));
            result = match again {
                Ok(false) => break,
                Ok(true) => match self.call_resume(loaded) {
                    Ok(result) => result,
                    Err(line) => return Err(Failed::with(line, self.store)),
                },
                // The kernel panicked and took the task with it.
                Err(_) => {
                    return Err(Failed { line: format!("{}: killed: {e:#}", self.program.entry_point), _task: None });
                }
            };
        }
        if self.store.data().task.as_ref().is_some_and(|t| t.parked() && !t.ended()) {
            return Ok(Left::Parked(self));
        }
        // The instance first, then the task: its slot may be reused at once.
        let guest = self.store.into_data();
        drop(guest);
        Ok(Left::Ended)
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
