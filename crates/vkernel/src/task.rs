//! One running guest process on its host thread: what the engine calls.

use crate::cpuid;
use crate::errno::{ERESTARTNOHAND, ERESTARTSYS, Errno, Result};
use crate::exec::Loaded;
use crate::file::{Caller, OpenFile};
use crate::hostio::thread_cpu_ns;
use crate::kernel::Kernel;
use crate::mm::{AddressSpace, Backing, HostFile, Prot, Slot};
use crate::process::{INIT, Process};
use crate::program::Program;
use crate::regs::{Machine, Regs};
use crate::signal::{
    self, FRAME_SIZE, FXSAVE, IGNORED_BY_DEFAULT, SA_NODEFER, SA_RESETHAND, SA_RESTART, SIG_DFL, SIG_IGN, SIGBUS,
    SIGFPE, SIGILL, SIGKILL, SIGSEGV, SIGSTOP, SIGTRAP, STOPPING, SigInfo, bit,
};
use crate::snapshot::Resumed;
use crate::sys;
use crate::thread::{Leave, Thread};
use crate::turn::{Seat, Turn};
use crate::wait::{WaitQueue, Waiter, lock};
use megalith_abi::{Gpr, Notice, PIE_BASE, Reason};
use megalith_fpu::{Fpu, MemFault, Memory, Trap};
use std::cell::Cell;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Instant;

thread_local! {
    /// CPU nanoseconds of this thread at the last time they were added to a process.
    static ACCOUNTED: Cell<u64> = const { Cell::new(0) };
}

/// How a task begins.
pub enum Start {
    /// A fresh instance; call `_dispatch` with the words of the hash. `rsp` is what `vkernel.start` returns.
    Program { rsp: u64, hash: [u64; 4] },
    /// A fork child: an instance of the same projection; store the registers, then call `_resume`.
    Resume(Box<Regs>),
}

/// Result of a syscall for the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The value for rax.
    Return(i64),
    /// Return [`megalith_abi::UNWIND`]; registers are in the globals, `resolve` follows.
    Unwind,
}

/// A host fault in guest code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultInfo {
    /// Guest address (offset in memory 0) that was accessed; up to 4 GiB + guard.
    pub addr: u64,
    /// The access was a write, where the host tells.
    pub write: Option<bool>,
}

/// A syscall that a signal interrupted.
#[derive(Clone, Copy)]
struct Interrupted {
    nr: u64,
    args: [u64; 6],
    error: Errno,
}

/// A process that waits for its vfork child, on whose thread the child runs.
struct Suspended {
    process: Arc<Process>,
    thread: Arc<Thread>,
    leave: Leave,
    regs: Regs,
    fpu: Fpu,
    child: i32,
}

/// A signal frame of a synchronous fault.
#[derive(Clone, Copy)]
struct FaultFrame {
    addr: u64,
    /// Where it was put on the main stack: nothing below had ever been touched. `None` on an alternate stack.
    untouched_below: Option<u64>,
}

/// One running guest thread (with its vfork children) on this host thread.
pub struct Task {
    pub(crate) kernel: Arc<Kernel>,
    pub(crate) process: Arc<Process>,
    pub(crate) thread: Arc<Thread>,
    pub(crate) space: Arc<Mutex<AddressSpace>>,
    slot: Arc<Slot>,
    program: Arc<Program>,
    pub(crate) fpu: Fpu,
    rsp: u64,
    /// Registers to begin with.
    snapshot_regs: Option<Box<Regs>>,
    /// The process goes on elsewhere (exec) or has ended: leave the trampoline.
    ended: bool,
    /// The running syscall has put the registers where they belong: unwind.
    pub(crate) unwind: bool,
    interrupted: Option<Interrupted>,
    /// A system call that is performed when all frames have unwound.
    put_off: Option<(u64, [u64; 6])>,
    /// Addresses of syscall instructions at which a handler's return restarts the call.
    restart_points: Vec<u64>,
    /// End of a relative wait that is being restarted.
    pub(crate) restart_deadline: Option<Instant>,
    /// Mask to restore after the handler that ends a wait (sigsuspend, ppoll, ...).
    pub(crate) saved_mask: Option<u64>,
    /// Frames of synchronous faults, whose registers were lost: returning from them is fatal.
    fault_frames: Vec<FaultFrame>,
    vfork: Vec<Suspended>,
    cpu_base: Cell<Option<u64>>,
    /// The directory `/` that a WASI program was given.
    pub(crate) preopen: Option<Arc<OpenFile>>,
    /// Leave the trampoline, although the process goes on: see [`Task::parked`].
    parked: bool,
    /// Guest code of the task may run only now and then: see [`crate::turn`].
    pub(crate) seat: Option<Seat>,
    /// To be done in memory when the thread ends.
    pub(crate) leave: Leave,
}

impl Task {
    /// A task for a process with a new memory.
    pub(crate) fn new(
        kernel: Arc<Kernel>,
        process: Arc<Process>,
        program: Arc<Program>,
        space: AddressSpace,
        rsp: u64,
    ) -> Task {
        let slot = Arc::clone(space.slot());
        let seat = space.turn.as_ref().map(|t| Seat::new(t, &slot));
        let space = Arc::new(Mutex::new(space));
        *lock(&process.mm) = Some(Arc::clone(&space));
        *lock(&process.slot) = Some(Arc::clone(&slot));
        if process.main.attention.load(Ordering::Acquire) {
            slot.poll_word().store(megalith_abi::POLL_WANTED, Ordering::Release);
        }
        let thread = Arc::clone(&process.main);
        let mut task = Task::on(kernel, process, thread, program, space, slot, rsp);
        task.seat = seat;
        task
    }

    /// A task for another thread of the running process.
    pub(crate) fn sibling(&self, thread: Arc<Thread>, leave: Leave, turn: &Arc<Turn>) -> Task {
        let mut task = Task::on(
            Arc::clone(&self.kernel),
            Arc::clone(&self.process),
            thread,
            Arc::clone(&self.program),
            Arc::clone(&self.space),
            Arc::clone(&self.slot),
            self.rsp,
        );
        task.fpu = self.fpu.clone();
        task.leave = leave;
        task.seat = Some(Seat::new(turn, &self.slot));
        task
    }

    fn on(
        kernel: Arc<Kernel>,
        process: Arc<Process>,
        thread: Arc<Thread>,
        program: Arc<Program>,
        space: Arc<Mutex<AddressSpace>>,
        slot: Arc<Slot>,
        rsp: u64,
    ) -> Task {
        kernel.tasks.fetch_add(1, Ordering::AcqRel);
        Task {
            kernel,
            process,
            thread,
            space,
            slot,
            program,
            fpu: Fpu::new(),
            rsp,
            snapshot_regs: None,
            ended: false,
            unwind: false,
            interrupted: None,
            put_off: None,
            restart_points: Vec::new(),
            restart_deadline: None,
            saved_mask: None,
            fault_frames: Vec::new(),
            vfork: Vec::new(),
            cpu_base: Cell::new(None),
            preopen: None,
            parked: false,
            seat: None,
            leave: Leave::default(),
        }
    }

    /// The program to make an instance of.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// The memories to make an instance on. Keep the `Arc` as long as the instance lives.
    pub fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    /// Process ID of the process that runs now (for thread names and logs).
    pub fn pid(&self) -> i32 {
        self.process.pid
    }

    /// Whether the task is over: nothing of it may run any more.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Whether the trampoline was left because the process waits while its thread has something else to run. [`Task::waiter`] is where it
    /// waits; [`Task::unpark`], then `_resume` continue it, on any thread.
    pub fn parked(&self) -> bool {
        self.parked
    }

    /// What wakes the running thread.
    pub fn waiter(&self) -> &Arc<Waiter> {
        &self.thread.waiter
    }

    /// Undoes [`Task::parked`].
    pub fn unpark(&mut self) {
        self.parked = false;
    }

    /// Makes the running call, which must be one that can be restarted and has had no effect so far, wait off the thread: it is to return
    /// `ERESTARTSYS` and will be made again after a wake-up. Clear the waiter, then look whether there is something to wait for, then call this.
    pub(crate) fn park(&mut self) {
        self.parked = true;
    }

    /// `vkernel.start`: the initial stack pointer (of [`Start::Program`]), or 0 when the program begins from a snapshot, whose registers are then in place.
    pub fn start(&mut self, m: &mut dyn Machine) -> u64 {
        self.enter();
        match self.snapshot_regs.take() {
            Some(regs) => {
                m.store(&regs);
                0
            }
            None => self.rsp,
        }
    }

    /// Makes a task that has not started begin from a snapshot.
    pub(crate) fn begin_from(&mut self, resumed: Option<Resumed>) {
        let Some(r) = resumed else { return };
        r.apply(&mut lock(&self.process.signals));
        if r.leave.clear_tid != 0 {
            // The C library keeps its number there. It was writable when the snapshot was taken.
            let _ = lock(&self.space).write(r.leave.clear_tid, &self.process.pid.to_le_bytes());
        }
        self.leave = r.leave;
        self.fpu = r.fpu;
        self.snapshot_regs = Some(r.regs);
    }

    pub(crate) fn enter(&mut self) {
        if self.cpu_base.get().is_none() {
            // What the thread has done since was for this task, and while it slept its clock stood still.
            self.cpu_base.set(Some(ACCOUNTED.get()));
        }
    }

    /// Adds the CPU time since the last call to the process.
    pub(crate) fn account(&self) {
        let now = thread_cpu_ns();
        ACCOUNTED.set(now);
        let base = self.cpu_base.replace(Some(now)).unwrap_or(now);
        let more = now.saturating_sub(base);
        self.process.cpu_ns.fetch_add(more, Ordering::Relaxed);
        self.thread.cpu_ns.fetch_add(more, Ordering::Relaxed);
    }

    /// `vkernel.syscall`.
    #[inline]
    pub fn syscall(&mut self, m: &mut dyn Machine, nr: u64, args: [u64; 6]) -> Outcome {
        if sys::needs_registers(nr, args[0]) {
            // Frames may hold some: it is done when they have given them back.
            self.put_off = Some((nr, args));
            return Outcome::Unwind;
        }
        self.perform(m, nr, args)
    }

    /// Performs a system call.
    #[inline]
    pub(crate) fn perform(&mut self, m: &mut dyn Machine, nr: u64, args: [u64; 6]) -> Outcome {
        self.enter();
        let seated = self.seat.is_some();
        if seated {
            if self.process.one_left.load(Ordering::Acquire) {
                self.alone_again();
            }
            self.pause_turn();
        }
        let r = sys::dispatch(self, m, nr, args);
        if self.unwind {
            self.unwind = false;
            return Outcome::Unwind;
        }
        match r {
            Err(error) if error == ERESTARTSYS || error == ERESTARTNOHAND => {
                self.interrupted = Some(Interrupted { nr, args, error });
                Outcome::Unwind
            }
            r => {
                self.restart_deadline = None;
                let v = r.unwrap_or_else(Errno::to_ret);
                if seated && !self.begin_turn() || self.thread.attention.load(Ordering::Acquire) {
                    m.set_gpr(Gpr::Rax, v as u64);
                    return Outcome::Unwind;
                }
                Outcome::Return(v)
            }
        }
    }

    /// `vkernel.resolve`: (table index, label) at which the trampoline goes on, or `None` to leave it: the task has ended.
    /// Delivers signals first; may change all registers, `pc` included.
    pub fn resolve(&mut self, m: &mut dyn Machine, pc: u64) -> Option<(u32, u32)> {
        self.enter();
        m.set_pc(pc);
        if let Some((nr, args)) = self.put_off.take() {
            self.again(m, nr, args);
        }
        loop {
            if self.ended {
                return None;
            }
            if self.parked {
                self.give_up_turn();
                self.account();
                // The next thread's clock is another.
                self.cpu_base.set(None);
                return None;
            }
            if self.seat.is_none() {
                // With a seat, the word is cleared when the turn begins: until then it is somebody else's.
                self.slot.poll_word().store(0, Ordering::SeqCst);
            }
            if self.thread.attention.load(Ordering::SeqCst) {
                self.deliver(m);
                // A vfork parent may run here now: look again.
                continue;
            }
            if let Some(i) = self.interrupted.take() {
                // No handler ran: go on waiting.
                if let Some(mask) = self.saved_mask.take() {
                    self.set_mask(mask);
                }
                self.again(m, i.nr, i.args);
                continue;
            }
            let pc = m.pc();
            if let Some(found) = self.lookup(pc) {
                if !self.begin_turn() {
                    continue;
                }
                if !self.fault_frames.is_empty() {
                    self.drop_left_frames(m.gpr(Gpr::Rsp));
                }
                return Some(found);
            }
            if self.restart_points.contains(&pc) {
                let r = m.load();
                m.set_pc(pc.wrapping_add(2));
                let args = [Gpr::Rdi, Gpr::Rsi, Gpr::Rdx, Gpr::R10, Gpr::R8, Gpr::R9].map(|g| r.get(g));
                self.again(m, r.get(Gpr::Rax), args);
                continue;
            }
            self.bad_pc(m, pc);
        }
    }

    /// Forgets the frames of memory faults whose handlers were left by siglongjmp: rsp is above them again. What lies below the place that was chosen for
    /// such a frame only the handler has touched. It is dropped, as the next frame would otherwise be put below it, and the stack used up after
    /// some thousand faults.
    fn drop_left_frames(&mut self, rsp: u64) {
        // Who runs on the alternate stack may have interrupted such a handler, wherever that stack lies.
        if lock(&self.process.signals).own(self.thread.tid).altstack.contains(rsp) {
            return;
        }
        let mut space = lock(&self.space);
        let Some(stack) = space.stack().filter(|s| s.contains(&rsp)) else { return };
        self.fault_frames.retain(|f| {
            let left = (stack.start..rsp).contains(&f.addr);
            if left && let Some(untouched) = f.untouched_below {
                let _ = space.madvise(stack.start, untouched.saturating_sub(stack.start), libc::MADV_DONTNEED);
            }
            !left
        });
    }

    // ---- shared memory ----

    /// The address space has a new shared mapping of `file`: from now on its tasks take turns with those of all others that map it.
    /// `writable`: the mapping is, or can be made so.
    pub(crate) fn share(&mut self, file: HostFile, writable: bool) {
        let one = lock(&self.kernel.merging);
        let turn = Arc::clone(lock(&self.space).turn.get_or_insert_with(Turn::new));
        if writable {
            turn.make_exclusive();
        }
        let all: Vec<_> = lock(&self.kernel.tree).nodes.values().filter_map(|n| lock(&n.process.mm).clone()).collect();
        for other in all.iter().filter(|o| !Arc::ptr_eq(o, &self.space)) {
            let mut other = lock(other);
            if other.shares(Some(file)) {
                // Whoever has mapped the file and has no turn yet is about to come here.
                other.turn.get_or_insert_with(|| Arc::clone(&turn)).merge(&turn);
            }
        }
        drop(one);
        if self.seat.is_none() {
            self.seat = Some(Seat::new(&turn, &self.slot));
            // The end of the running call does not see to it yet. What there is to look at first, it does see.
            let _ = self.begin_turn();
        }
    }

    /// A mapping has gone, which may have been the last shared one.
    pub(crate) fn shares_less(&mut self) {
        if self.seat.is_none() {
            return;
        }
        let mut space = lock(&self.space);
        if !space.threaded() && !space.shares(None) {
            space.turn = None;
            self.seat = None;
        }
    }

    /// A system call begins, during which the turn may be taken away.
    #[cold]
    pub(crate) fn pause_turn(&self) {
        if let Some(seat) = &self.seat {
            seat.pause();
        }
    }

    /// Waits for the turn, if the task needs it to run guest code. False when there is something to look at first.
    pub(crate) fn begin_turn(&mut self) -> bool {
        self.hold_turn();
        !self.thread.attention.load(Ordering::SeqCst)
    }

    /// Has the turn, and keeps it until [`Self::pause_turn`]: no guest code that shares memory with the task's runs meanwhile.
    pub(crate) fn hold_turn(&mut self) {
        if let Some(mut seat) = self.seat.take() {
            seat.begin(|| {
                self.kernel.config.launcher.start_deferred();
                self.account();
            });
            self.seat = Some(seat);
        }
    }

    /// The task is about to sleep.
    pub(crate) fn give_up_turn(&self) {
        if let Some(seat) = &self.seat {
            seat.release();
        }
    }

    /// Others who wait for the turn go first.
    pub(crate) fn yield_turn(&self) {
        if let Some(seat) = &self.seat {
            seat.yield_to_others();
        }
    }

    /// Performs a syscall from within `resolve`.
    fn again(&mut self, m: &mut dyn Machine, nr: u64, args: [u64; 6]) {
        if let Outcome::Return(v) = self.perform(m, nr, args) {
            m.set_gpr(Gpr::Rax, v as u64);
        }
    }

    /// Load base of the running program.
    pub(crate) fn base(&self) -> u64 {
        if self.program.known_meta().is_ok_and(|m| m.fixed) { 0 } else { u64::from(PIE_BASE) }
    }

    /// The place in the program's code for a guest address, if its text is mapped there.
    fn lookup(&self, pc: u64) -> Option<(u32, u32)> {
        let (function, label) = self.program.known_meta().ok()?.resolve(pc.checked_sub(self.base())?)?;
        lock(&self.space).find(pc).filter(|(_, v)| v.text)?;
        Some((self.program.table_base.checked_add(function)?, label))
    }

    /// Code jumped to where no code is: one audit line, and SIGILL or SIGSEGV.
    fn bad_pc(&mut self, m: &mut dyn Machine, pc: u64) {
        let (text, mapped) = {
            let space = lock(&self.space);
            let v = space.find(pc);
            (v.is_some_and(|(_, v)| v.text), v.is_some())
        };
        let what = self.place(pc);
        let line = format!("pid {}: jump to {pc:#x}, which was not recompiled ({what})", self.process.pid);
        self.kernel.audit(&line);
        let info =
            if text { SigInfo::fault(SIGILL, 2, pc) } else { SigInfo::fault(SIGSEGV, if mapped { 2 } else { 1 }, pc) };
        self.force(m, info, Some((if text { 6 } else { 14 }, pc)), false);
    }

    /// File and offset of a guest address, for messages.
    fn place(&self, addr: u64) -> String {
        let space = lock(&self.space);
        match space.find(addr) {
            Some((start, v)) => match &v.backing {
                Backing::File { source, offset, .. } => {
                    format!("{} offset {:#x}", String::from_utf8_lossy(&source.path), offset + (addr - start))
                }
                Backing::Anon => "not a file".to_owned(),
            },
            None => "not mapped".to_owned(),
        }
    }

    /// `vkernel.unwound`.
    pub fn unwound(&mut self, m: &mut dyn Machine, reason: Reason) {
        let pc = m.pc();
        let (info, trap) = match reason {
            Reason::Return | Reason::Syscall | Reason::Poll | Reason::Depth => return,
            // `resolve` finds that nothing is at 0.
            Reason::Null => return m.set_pc(0),
            Reason::Divide => (SigInfo::fault(SIGFPE, 1, pc), 0),
            Reason::Undefined => {
                let line =
                    format!("pid {}: instruction at {pc:#x} has no translation ({})", self.process.pid, self.place(pc));
                self.kernel.audit(&line);
                (SigInfo::fault(SIGILL, 2, pc), 6)
            }
            Reason::Breakpoint => (SigInfo::new(SIGTRAP, signal::SI_KERNEL), 3),
            Reason::Protection => (SigInfo::fault(SIGSEGV, signal::SI_KERNEL, 0), 13),
            Reason::Float => (SigInfo::fault(SIGFPE, self.float_code(), pc), 16),
        };
        self.force(m, info, Some((trap, 0)), false);
    }

    /// `si_code` of a pending x87 exception.
    fn float_code(&self) -> i32 {
        let e = self.fpu.pending_exceptions();
        if e & 1 != 0 {
            7
        } else if e & 4 != 0 {
            3
        } else if e & 8 != 0 {
            4
        } else if e & 0x12 != 0 {
            5
        } else {
            6
        }
    }

    /// A host fault in guest code: the instance's frames are gone. True: call `_resume` (a handler runs, or the process ends in `resolve`).
    pub fn fault(&mut self, m: &mut dyn Machine, info: FaultInfo) -> bool {
        let signal = {
            let space = lock(&self.space);
            match space.find(info.addr) {
                None => SigInfo::fault(SIGSEGV, 1, info.addr),
                Some((_, v)) => {
                    let need = if info.write == Some(true) { Prot::WRITE } else { Prot::READ };
                    // A read-only page that faulted although it can be read was written to.
                    let file = matches!(v.backing, Backing::File { .. });
                    if v.prot.allows(need) && file && (info.write.is_some() || v.prot.allows(Prot::RW)) {
                        SigInfo::fault(SIGBUS, 2, info.addr)
                    } else {
                        SigInfo::fault(SIGSEGV, 2, info.addr)
                    }
                }
            }
        };
        self.force(m, signal, Some((14, info.addr)), true);
        true
    }

    /// The guest trapped in some other way than by a memory access: kills the process with SIGSEGV.
    pub fn trap(&mut self, _m: &mut dyn Machine, what: &str) {
        let line = format!("pid {}: killed: {what}", self.process.pid);
        self.kernel.audit(&line);
        self.exit(SIGSEGV);
    }

    /// Raises a signal for something the guest's own code did. `lost`: the registers in the globals are not those of the place.
    fn force(&mut self, m: &mut dyn Machine, info: SigInfo, trap: Option<(u64, u64)>, lost: bool) {
        let sig = info.signo();
        if lock(&self.process.signals).shared.set & bit(SIGKILL) != 0 {
            // What it faulted on may be what was taken away when it was killed.
            return self.exit_or_resume(m, SIGKILL);
        }
        let action = {
            let s = lock(&self.process.signals);
            let a = s.action(sig);
            if s.own(self.thread.tid).mask & bit(sig) != 0 || a.handler == SIG_IGN || a.handler == SIG_DFL {
                None
            } else {
                Some(a)
            }
        };
        self.interrupted = None;
        match action {
            Some(a) => self.handler(m, a, info, trap, lost),
            None => self.exit_or_resume(m, sig),
        }
    }

    /// Delivers what is pending: runs default actions, stops, and builds handler frames.
    pub(crate) fn deliver(&mut self, m: &mut dyn Machine) {
        let tid = self.thread.tid;
        loop {
            let process = Arc::clone(&self.process);
            let mut s = lock(&process.signals);
            if s.ends(tid) {
                drop(s);
                return self.over(0);
            }
            if s.stopped && s.shared.set & bit(SIGKILL) == 0 {
                drop(s);
                let waiter = Arc::clone(&self.thread.waiter);
                waiter.clear();
                let still = {
                    let s = lock(&process.signals);
                    s.stopped && !s.ends(tid)
                };
                if still {
                    self.kernel.config.launcher.start_deferred();
                    self.give_up_turn();
                    let _ = waiter.wait(None, &[]);
                }
                continue;
            }
            let mask = s.own(tid).mask;
            let Some(info) = s.take(tid, !mask) else {
                self.thread.attention.store(false, Ordering::SeqCst);
                return;
            };
            let sig = info.signo();
            let action = s.action(sig);
            if sig == SIGKILL {
                drop(s);
                return self.exit_or_resume(m, SIGKILL);
            }
            if action.handler == SIG_IGN && sig != SIGSTOP {
                continue;
            }
            if action.handler == SIG_DFL || sig == SIGSTOP {
                if IGNORED_BY_DEFAULT & bit(sig) != 0 {
                    continue;
                }
                if STOPPING & bit(sig) != 0 {
                    drop(s);
                    let orphaned = {
                        let tree = lock(&self.kernel.tree);
                        tree.nodes.get(&process.pid).is_none_or(|n| tree.orphaned(n.pgid, None))
                    };
                    if sig != SIGSTOP && orphaned {
                        continue;
                    }
                    {
                        let mut s = lock(&process.signals);
                        // A SIGCONT or SIGKILL that came meanwhile wins.
                        if s.shared.set & (bit(SIGKILL) | bit(signal::SIGCONT)) != 0 {
                            continue;
                        }
                        s.stopped = true;
                    }
                    if process.threaded.load(Ordering::Acquire) {
                        process.alert_all();
                    }
                    self.kernel.child_stopped(process.pid, sig);
                    continue;
                }
                drop(s);
                return self.exit_or_resume(m, sig);
            }
            drop(s);
            self.handler(m, action, info, None, false);
            if self.ended {
                return;
            }
        }
    }

    /// Builds the frame for a handler and makes it run next.
    fn handler(
        &mut self,
        m: &mut dyn Machine,
        action: signal::Action,
        info: SigInfo,
        trap: Option<(u64, u64)>,
        lost: bool,
    ) {
        let sig = info.signo();
        let mut regs = m.load();
        if let Some(i) = self.interrupted.take() {
            let restart = i.error == ERESTARTSYS && action.flags & SA_RESTART != 0;
            if restart {
                // The frame shows the registers as at the syscall instruction; sigreturn leads back to it.
                for (g, v) in [Gpr::Rdi, Gpr::Rsi, Gpr::Rdx, Gpr::R10, Gpr::R8, Gpr::R9].into_iter().zip(i.args) {
                    regs.set(g, v);
                }
                regs.set(Gpr::Rax, i.nr);
                regs.pc = regs.pc.wrapping_sub(2);
                if !self.restart_points.contains(&regs.pc) {
                    self.restart_points.push(regs.pc);
                }
            } else {
                regs.set(Gpr::Rax, Errno::EINTR.to_ret() as u64);
                self.restart_deadline = None;
            }
        }
        let (mask, alt) = {
            let mut s = lock(&self.process.signals);
            let own = s.own_mut(self.thread.tid);
            let alt = own.altstack;
            let saved = self.saved_mask.take().unwrap_or(own.mask);
            own.mask |= action.mask | if action.flags & SA_NODEFER == 0 { bit(sig) } else { 0 };
            own.mask &= !signal::UNBLOCKABLE;
            if action.flags & SA_RESETHAND != 0
                && let Some(a) = s.actions.get_mut((sig - 1) as usize)
            {
                a.handler = SIG_DFL;
            }
            (saved, alt)
        };
        self.blocks_more();
        let mut untouched_below = None;
        if lost {
            // The stack pointer in the global is not where the code was: below everything it may have used is safe.
            let low = lock(&self.space).lowest_touched_stack(regs.get(Gpr::Rsp));
            let on_alt = action.flags & signal::SA_ONSTACK != 0 && alt.size != 0;
            if let Some(low) = low
                && !on_alt
                && !alt.contains(regs.get(Gpr::Rsp))
            {
                regs.set(Gpr::Rsp, low);
                untouched_below = Some(low);
            }
        }
        let frame = signal::build_frame(&regs, &action, &info, mask, &alt, trap);
        let mut fx = vec![0u8; FXSAVE as usize];
        fx[..160].copy_from_slice(&self.fpu.to_fxsave());
        fx[24..28].copy_from_slice(&regs.mxcsr.to_le_bytes());
        fx[28..32].copy_from_slice(&0xffffu32.to_le_bytes());
        for (i, x) in regs.xmm.iter().enumerate() {
            fx[160 + i * 16..176 + i * 16].copy_from_slice(&x.to_le_bytes());
        }
        let written = {
            let space = lock(&self.space);
            space.write(frame.fp_addr, &fx).and_then(|()| space.write(frame.addr, &frame.bytes))
        };
        if written.is_err() || !signal::has_restorer(&action) {
            return self.exit_or_resume(m, SIGSEGV);
        }
        if alt.flags & (1 << 31) != 0 {
            lock(&self.process.signals).own_mut(self.thread.tid).altstack = signal::AltStack::NONE;
        }
        self.fault_frames.retain(|f| f.addr != frame.addr);
        if lost {
            self.fault_frames.push(FaultFrame { addr: frame.addr, untouched_below });
        }
        // The FPU is clean in a handler.
        self.fpu = Fpu::new();
        let mut regs = frame.regs;
        regs.mxcsr = 0x1f80;
        m.store(&regs);
    }

    /// rt_sigreturn(2).
    pub(crate) fn sigreturn(&mut self, m: &mut dyn Machine) -> Result<i64> {
        let current = m.load();
        let addr = current.get(Gpr::Rsp).wrapping_sub(8);
        if let Some(i) = self.fault_frames.iter().position(|f| f.addr == addr) {
            self.fault_frames.remove(i);
            let line = format!(
                "pid {}: a handler of a memory fault returned; the interrupted registers are not kept, so the process is killed",
                self.process.pid
            );
            self.kernel.audit(&line);
            self.exit_or_resume(m, SIGSEGV);
            self.unwind = true;
            return Ok(0);
        }
        let mut bytes = [0u8; FRAME_SIZE];
        let mut fx = [0u8; FXSAVE as usize];
        let restored = {
            let space = lock(&self.space);
            space.read(addr, &mut bytes).map(|()| signal::parse_frame(&bytes, current)).and_then(|r| {
                if r.fp_addr != 0 {
                    space.read(r.fp_addr, &mut fx)?;
                }
                Ok(r)
            })
        };
        self.unwind = true;
        let Ok(mut r) = restored else {
            self.exit_or_resume(m, SIGSEGV);
            return Ok(0);
        };
        if r.fp_addr != 0 {
            let mut x87 = [0u8; 160];
            x87.copy_from_slice(&fx[..160]);
            self.fpu = Fpu::from_fxsave(&x87);
            r.regs.mxcsr = u32::from_le_bytes([fx[24], fx[25], fx[26], fx[27]]) & 0xffff;
            for (i, x) in r.regs.xmm.iter_mut().enumerate() {
                let b = &fx[160 + i * 16..176 + i * 16];
                *x = u128::from_le_bytes(b.try_into().unwrap_or_default());
            }
        }
        self.set_mask(r.mask);
        {
            let mut s = lock(&self.process.signals);
            // As Linux does: an invalid alternate stack in the frame is ignored.
            if r.altstack.flags & 2 == 0 && r.altstack.size >= 2048 {
                s.own_mut(self.thread.tid).altstack =
                    signal::AltStack { flags: r.altstack.flags & (1 << 31), ..r.altstack };
            }
        }
        m.store(&r.regs);
        Ok(0)
    }

    /// Replaces the thread's signal mask.
    pub(crate) fn set_mask(&self, mask: u64) {
        let tid = self.thread.tid;
        {
            let mut s = lock(&self.process.signals);
            s.own_mut(tid).mask = mask & !signal::UNBLOCKABLE;
            if s.deliverable(tid) {
                self.thread.attention.store(true, Ordering::Release);
            }
        }
        self.blocks_more();
    }

    /// The thread may block more than before: what another one was not told of, as this one was to take it, is for the other now.
    fn blocks_more(&self) {
        if self.process.threaded.load(Ordering::Acquire) && lock(&self.process.signals).shared.set != 0 {
            self.process.retarget();
        }
    }

    /// The thread's signal mask.
    pub(crate) fn mask(&self) -> u64 {
        lock(&self.process.signals).own(self.thread.tid).mask
    }

    /// Whether a wait must end: a signal is to be handled or obeyed.
    pub(crate) fn interrupted(&self) -> bool {
        if !self.thread.attention.load(Ordering::Acquire) {
            return false;
        }
        let tid = self.thread.tid;
        let mut s = lock(&self.process.signals);
        // Ignored signals do not end a wait.
        let ready = s.pending(tid) & !s.own(tid).mask;
        for sig in 1..=signal::NSIG {
            if ready & bit(sig) != 0 && s.ignores(sig) && sig != SIGKILL {
                s.remove(bit(sig));
            }
        }
        let wake = s.deliverable(tid) || s.stopped;
        if !wake {
            self.thread.attention.store(false, Ordering::Release);
        }
        wake
    }

    /// Blocks until `ready` gives a value: it is asked again whenever one of the queues is woken, a host descriptor is ready or the
    /// deadline passes (`timed_out` is then true). A signal ends the wait with `interrupt`.
    pub(crate) fn block<T>(
        &self,
        queues: &[&WaitQueue],
        host: &[(BorrowedFd<'_>, i16)],
        deadline: Option<Instant>,
        interrupt: Errno,
        mut ready: impl FnMut(bool) -> Result<Option<T>>,
    ) -> Result<T> {
        let waiter = Arc::clone(&self.thread.waiter);
        let _registrations: Vec<_> = queues.iter().map(|q| q.register(&waiter)).collect();
        loop {
            waiter.clear();
            let timed_out = deadline.is_some_and(|d| Instant::now() >= d);
            if let Some(v) = ready(timed_out)? {
                return Ok(v);
            }
            if self.interrupted() {
                return Err(interrupt);
            }
            self.kernel.config.launcher.start_deferred();
            if self.seat.is_some() {
                // Other threads may ask how much time the process has used.
                self.account();
                self.give_up_turn();
            }
            waiter.wait(deadline, host)?;
        }
    }

    /// The process and kernel, for streams.
    pub(crate) fn caller(&self) -> Caller<'_> {
        Caller { kernel: &self.kernel, process: &self.process, tid: self.thread.tid }
    }

    // ---- ends and beginnings ----

    /// Ends the running process; a vfork parent goes on in this task.
    pub(crate) fn exit_or_resume(&mut self, m: &mut dyn Machine, status: i32) {
        let process = Arc::clone(&self.process);
        match self.vfork.pop() {
            None => self.exit(status),
            Some(parent) => {
                self.account();
                self.leave_memory();
                // The child's memory is the parent's: only the child's references go.
                self.resume_parent(m, parent);
                self.kernel.exit_process(&process, status);
            }
        }
    }

    /// Puts the vfork parent back on this task, its call returning the child's number.
    fn resume_parent(&mut self, m: &mut dyn Machine, parent: Suspended) {
        let mut regs = parent.regs;
        regs.set(Gpr::Rax, parent.child as u64);
        self.process = parent.process;
        self.thread = parent.thread;
        self.leave = parent.leave;
        self.fpu = parent.fpu;
        self.interrupted = None;
        self.saved_mask = None;
        m.store(&regs);
    }

    /// Nothing of the task runs any more.
    pub(crate) fn set_ended(&mut self) {
        self.ended = true;
    }

    /// Whether the running process is a vfork child, on its parent's task.
    pub(crate) fn is_vfork_child(&self) -> bool {
        !self.vfork.is_empty()
    }

    /// The task is over, and with it the vfork parents that wait in it.
    pub(crate) fn end_suspended(&mut self) {
        while let Some(p) = self.vfork.pop() {
            p.process.end_all(SIGKILL);
            self.kernel.thread_ended(&p.process, SIGKILL);
        }
    }

    /// The process has a new memory and program: it goes on in a task of its own.
    pub(crate) fn replace_image(&mut self, m: &mut dyn Machine, loaded: Loaded) {
        self.account();
        let Loaded { program, space, rsp, image, resumed } = loaded;
        *lock(&self.process.image) = image;
        let start = Start::Program { rsp, hash: program.hash_words() };
        let mut task = Task::new(Arc::clone(&self.kernel), Arc::clone(&self.process), program, space, rsp);
        task.begin_from(resumed);
        self.unwind = true;
        self.kernel.execs.fetch_add(1, Ordering::Relaxed);
        self.leave_memory();
        match self.vfork.pop() {
            Some(parent) => {
                self.resume_parent(m, parent);
                self.kernel.config.launcher.launch(task, start);
            }
            None => {
                self.ended = true;
                self.seat = None;
                self.kernel.config.launcher.replace(task, start);
            }
        }
    }

    /// vfork: `child` runs on this task from now on, with stack pointer `rsp`.
    pub(crate) fn enter_vfork(&mut self, m: &mut dyn Machine, child: Arc<Process>, rsp: Option<u64>, leave: Leave) {
        self.account();
        let mut regs = m.load();
        *lock(&child.mm) = Some(Arc::clone(&self.space));
        *lock(&child.slot) = Some(Arc::clone(&self.slot));
        let pid = child.pid;
        let thread = std::mem::replace(&mut self.thread, Arc::clone(&child.main));
        let parent = std::mem::replace(&mut self.process, child);
        let leave = std::mem::replace(&mut self.leave, leave);
        self.vfork.push(Suspended {
            process: parent,
            thread,
            leave,
            regs: regs.clone(),
            fpu: self.fpu.clone(),
            child: pid,
        });
        regs.set(Gpr::Rax, 0);
        if let Some(rsp) = rsp {
            regs.set(Gpr::Rsp, rsp);
        }
        m.store(&regs);
        self.unwind = true;
    }

    /// fork: a task for `child` with a copy of the memory, that goes on with `regs`.
    pub(crate) fn launch_fork(&mut self, child: Arc<Process>, space: AddressSpace, regs: Regs, leave: Leave) {
        let mut task = Task::new(Arc::clone(&self.kernel), child, Arc::clone(&self.program), space, self.rsp);
        task.fpu = self.fpu.clone();
        task.leave = leave;
        task.restart_points = self.restart_points.clone();
        task.fault_frames = self.fault_frames.clone();
        self.kernel.config.launcher.launch(task, Start::Resume(Box::new(regs)));
    }

    // ---- instructions that the host performs ----

    /// `vkernel.x87`.
    ///
    /// # Errors
    /// The operation did not complete: the caller must leave guest code, then call [`Task::x87_fault`] with what is returned.
    pub fn x87(&mut self, op: u32, arg: u32, addr: u64) -> std::result::Result<i64, Trap> {
        struct Guest<'a>(&'a mut AddressSpace);
        impl Memory for Guest<'_> {
            fn read(&mut self, addr: u32, buf: &mut [u8]) -> std::result::Result<(), MemFault> {
                self.0.read(addr.into(), buf).map_err(|_| self.first_bad(addr, buf.len(), Prot::READ))
            }
            fn write(&mut self, addr: u32, buf: &[u8]) -> std::result::Result<(), MemFault> {
                self.0.write(addr.into(), buf).map_err(|_| self.first_bad(addr, buf.len(), Prot::WRITE))
            }
        }
        impl Guest<'_> {
            fn first_bad(&self, addr: u32, len: usize, need: Prot) -> MemFault {
                let ok = self.0.accessible(addr.into(), len, need);
                MemFault { addr: addr.wrapping_add(ok as u32) }
            }
        }
        let space = Arc::clone(&self.space);
        megalith_fpu::ops::execute(&mut self.fpu, op, arg, addr, &mut Guest(&mut lock(&space)))
    }

    /// Raises what an x87 operation that did not complete stands for. The frames are gone; true: call `_resume`.
    pub fn x87_fault(&mut self, m: &mut dyn Machine, t: Trap) -> bool {
        let (info, trap) = match t {
            Trap::Memory(f) => {
                let mapped = lock(&self.space).find(f.addr.into()).is_some();
                (SigInfo::fault(SIGSEGV, if mapped { 2 } else { 1 }, f.addr.into()), (14, f.addr.into()))
            }
            Trap::Pending => (SigInfo::fault(SIGFPE, self.float_code(), m.pc()), (16, 0)),
            Trap::Undefined => (SigInfo::fault(SIGILL, 2, m.pc()), (6, 0)),
        };
        self.force(m, info, Some(trap), true);
        true
    }

    /// A general protection fault in guest code (the wasm trap `unreachable`): SIGSEGV without an address. True: call `_resume`.
    pub fn protection_fault(&mut self, m: &mut dyn Machine) -> bool {
        self.force(m, SigInfo::fault(SIGSEGV, signal::SI_KERNEL, 0), Some((13, 0)), true);
        true
    }

    /// `vkernel.cpuid`: (eax, ebx, ecx, edx).
    pub fn cpuid(&mut self, leaf: u32, subleaf: u32) -> (u32, u32, u32, u32) {
        cpuid::cpuid(leaf, subleaf)
    }

    /// `vkernel.rdtsc`.
    pub fn rdtsc(&mut self) -> u64 {
        cpuid::rdtsc()
    }

    /// `vkernel.notice`.
    pub fn notice(&mut self, kind: u32, arg: u64) {
        let Some(n) = Notice::from_u32(kind) else { return };
        // Once a container: a program that sets MXCSR tends to set it often.
        if self.kernel.noticed.fetch_or(1 << kind.min(31), Ordering::Relaxed) & 1 << kind.min(31) == 0 {
            let line = match n {
                Notice::Mxcsr => {
                    format!(
                        "pid {}: MXCSR set to {arg:#x}: rounding modes, FTZ, DAZ and unmasked exceptions have no effect on SSE",
                        self.process.pid
                    )
                }
            };
            self.kernel.audit(&line);
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if !self.ended {
            // The engine gave up on it (no thread, no instance): the process cannot go on.
            self.exit(SIGKILL);
        }
        debug_assert!(self.process.pid >= INIT);
        if self.kernel.tasks.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.kernel.finished.wake();
        }
    }
}
