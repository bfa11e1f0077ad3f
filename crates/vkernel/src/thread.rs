//! Threads of a guest process (clone(2) with CLONE_THREAD).
//!
//! Each has a task of its own: a host thread while it runs or waits, and an instance on the process's slot, with its own register globals. They take turns
//! ([`crate::turn`]), which is what makes their locked instructions atomic. A process's first thread is made with it and is most often the only one;
//! nothing here concerns it then but [`Process::threaded`], which is false.

use crate::errno::{Errno, Result};
use crate::kernel::Kernel;
use crate::mm::AddressSpace;
use crate::process::{Pid, Process};
use crate::regs::Regs;
use crate::signal::{Ending, Own};
use crate::task::{Start, Task};
use crate::turn::{Seat, Turn};
use crate::wait::{Waiter, lock};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// One thread, as others see it.
pub struct Thread {
    /// Thread ID; that of the main thread is the process's.
    pub tid: Pid,
    /// Something waits to be looked at before guest code goes on: a signal, a kill, a stop.
    pub attention: AtomicBool,
    pub waiter: Arc<Waiter>,
    /// CPU nanoseconds, as of the last time they were added to the process's.
    pub cpu_ns: AtomicU64,
    /// Bit mask of the processors it is to run on: what it was told last, without effect.
    pub affinity: AtomicU64,
    /// Name, at most 15 bytes. The main thread's is in the process's image.
    pub comm: Mutex<Vec<u8>>,
}

impl Thread {
    /// A thread that has nothing to look at. `affinity` is its creator's.
    pub fn new(tid: Pid, affinity: u64) -> Arc<Thread> {
        Arc::new(Thread {
            tid,
            attention: AtomicBool::new(false),
            waiter: Waiter::new(),
            cpu_ns: AtomicU64::new(0),
            affinity: AtomicU64::new(affinity),
            comm: Mutex::default(),
        })
    }
}

/// What a thread leaves behind in memory when it ends (man 2 set_tid_address, man 2 set_robust_list); addresses, 0 for none.
#[derive(Clone, Copy, Default)]
pub struct Leave {
    pub clear_tid: u64,
    pub robust_list: u64,
}

/// Locks of a robust list that are looked at (`ROBUST_LIST_LIMIT`).
const ROBUST_MAX: usize = 2048;
/// Bits of a robust lock's word.
const FUTEX_WAITERS: u32 = 0x8000_0000;
const FUTEX_OWNER_DIED: u32 = 0x4000_0000;
const FUTEX_TID_MASK: u32 = 0x3fff_ffff;

impl Process {
    /// The name of one of the threads, at most 15 bytes.
    pub fn thread_name(&self, thread: &Thread) -> Vec<u8> {
        if thread.tid == self.pid { lock(&self.image).comm.clone() } else { lock(&thread.comm).clone() }
    }

    /// Threads that have not ended.
    pub fn thread_count(&self) -> usize {
        if self.threaded.load(Ordering::Acquire) { lock(&self.signals).threads().count() } else { 1 }
    }

    /// All threads are to end with this wait status, unless they have been told otherwise already.
    pub fn end_all(&self, status: i32) {
        if !self.threaded.load(Ordering::Acquire) {
            return;
        }
        {
            let mut s = lock(&self.signals);
            if s.ending.is_some() {
                return;
            }
            s.ending = Some(Ending::Exit(status));
        }
        self.alert_all();
    }

    /// Has what is pending for the process looked at by a thread that does not block it, after another one has ended or blocked it.
    pub fn retarget(&self) {
        let takers: Vec<Arc<Thread>> = {
            let s = lock(&self.signals);
            let waiting = (1..=crate::signal::NSIG).filter(|&sig| s.shared.set & crate::signal::bit(sig) != 0);
            let takers: Vec<_> = waiting.filter_map(|sig| s.taker(sig)).map(|o| Arc::clone(&o.thread)).collect();
            for t in takers.iter().filter(|t| s.deliverable(t.tid)) {
                t.attention.store(true, Ordering::Release);
            }
            takers
        };
        for t in takers {
            self.kick(&t);
        }
    }
}

impl Kernel {
    /// The task of a thread is over. The last one ends the process: with the status that all were told to end with, or else its own.
    pub(crate) fn thread_ended(&self, process: &Arc<Process>, status: i32) {
        let mut status = status;
        if process.threaded.load(Ordering::Acquire) {
            let mut s = lock(&process.signals);
            s.live = s.live.saturating_sub(1);
            if s.live > 0 {
                process.one_left.store(s.live == 1, Ordering::Release);
                let execs = match s.ending {
                    Some(Ending::Exec(t)) => Some(Arc::clone(&s.own(t).thread)),
                    _ => None,
                };
                drop(s);
                if let Some(t) = execs {
                    t.waiter.wake();
                }
                return;
            }
            if let Some(Ending::Exit(all)) = s.ending {
                status = all;
            }
        }
        self.exit_process(process, status);
    }

    /// Takes a thread that is about to end out of the lists.
    fn forget_thread(&self, process: &Process, tid: Pid) {
        if tid != process.pid {
            lock(&self.tree).threads.remove(&tid);
        }
        let pending = {
            let mut s = lock(&process.signals);
            if tid == process.pid {
                s.main_ended = true;
            } else {
                s.others.remove(&tid);
            }
            s.shared.set != 0
        };
        if pending {
            process.retarget();
        }
    }
}

impl Task {
    /// clone(2) with CLONE_THREAD: a thread that begins with `regs`. `begin` is given its ID and the memory before it runs. `EAGAIN` when there are
    /// too many.
    pub(crate) fn launch_thread(
        &mut self,
        regs: Regs,
        leave: Leave,
        begin: impl FnOnce(Pid, &AddressSpace),
    ) -> Result<Pid> {
        if self.is_vfork_child() {
            // It runs on its parent's task, whose threads are others.
            return Err(Errno::ENOSYS);
        }
        let process = Arc::clone(&self.process);
        let thread = {
            let mut tree = lock(&self.kernel.tree);
            let tid = tree.new_pid();
            let thread = Thread::new(tid, self.thread.affinity.load(Ordering::Relaxed));
            let mut s = lock(&process.signals);
            if s.ending.is_some() {
                // This thread is about to end.
                return Err(Errno::EAGAIN);
            }
            process.threaded.store(true, Ordering::Release);
            process.one_left.store(false, Ordering::Release);
            let creator = s.own(self.thread.tid);
            let own = Own::new(Arc::clone(&thread), creator.mask);
            *lock(&thread.comm) = process.thread_name(&creator.thread);
            thread.attention.store(s.stopped, Ordering::Release);
            s.others.insert(tid, own);
            s.live += 1;
            drop(s);
            tree.forks += 1;
            tree.threads.insert(tid, Arc::clone(&process));
            thread
        };
        let turn = {
            let mut space = lock(&self.space);
            space.has_threads();
            begin(thread.tid, &space);
            Arc::clone(space.turn.get_or_insert_with(Turn::new))
        };
        turn.make_exclusive();
        self.sit(&turn);
        let tid = thread.tid;
        let task = self.sibling(thread, leave, &turn);
        match self.kernel.config.launcher.launch_thread(task, Start::Resume(Box::new(regs))) {
            Ok(()) => Ok(tid),
            Err(mut task) => {
                // Nothing of it is to be seen in memory.
                task.leave = Leave::default();
                task.over(0);
                Err(Errno::EAGAIN)
            }
        }
    }

    /// exit(2): ends the running thread, and the process when it is the only one.
    pub(crate) fn exit_thread(&mut self, m: &mut dyn crate::regs::Machine, status: i32) {
        if self.process.threaded.load(Ordering::Acquire) {
            self.over(status);
        } else {
            self.exit_or_resume(m, status);
        }
    }

    /// The running process ends with all of its threads; this one is the first.
    pub(crate) fn exit(&mut self, status: i32) {
        self.process.end_all(status);
        self.over(status);
    }

    /// This task is over, and with it its thread.
    pub(crate) fn over(&mut self, status: i32) {
        self.set_ended();
        let process = Arc::clone(&self.process);
        let tid = self.thread.tid;
        if process.threaded.load(Ordering::Acquire) {
            self.kernel.forget_thread(&process, tid);
        }
        self.leave_memory();
        self.seat = None;
        self.account();
        self.kernel.config.launcher.ending();
        self.kernel.thread_ended(&process, status);
        self.end_suspended();
    }

    /// Does what a thread asked to be done in memory at its end. Nobody sees it in memory that is not shared.
    pub(crate) fn leave_memory(&mut self) {
        let leave = std::mem::take(&mut self.leave);
        if self.seat.is_none() && !self.is_vfork_child() {
            return;
        }
        if leave.robust_list != 0 && self.holds_robust(leave.robust_list) {
            self.hold_turn();
            self.release_robust(leave.robust_list);
            self.pause_turn();
        }
        if leave.clear_tid != 0 {
            let key = {
                let space = lock(&self.space);
                let _ = space.write(leave.clear_tid, &[0; 4]);
                crate::futex::key(&space, leave.clear_tid, false)
            };
            if let Ok(key) = key {
                self.kernel.futexes.wake(key, 1, u32::MAX);
            }
        }
    }

    fn word(&self, at: u64) -> Result<u64> {
        let mut b = [0; 8];
        lock(&self.space).read(at, &mut b)?;
        Ok(u64::from_le_bytes(b))
    }

    /// Whether anything is in the robust list at `head`.
    fn holds_robust(&self, head: u64) -> bool {
        self.word(head).is_ok_and(|first| first != head) || self.word(head.wrapping_add(16)).is_ok_and(|p| p != 0)
    }

    /// Marks the locks that the thread holds as those of a dead owner (`kernel/futex/core.c`, `exit_robust_list`).
    fn release_robust(&self, head: u64) {
        let word = |at: u64| self.word(at);
        let (Ok(first), Ok(offset), Ok(pending)) =
            (word(head), word(head.wrapping_add(8)), word(head.wrapping_add(16)))
        else {
            return;
        };
        // Bit 0 of a pointer says that it is a lock with priority inheritance, which there are none of.
        let mut at = first & !1;
        for _ in 0..ROBUST_MAX {
            if at == head {
                break;
            }
            let next = word(at);
            if at != pending & !1 && !self.owner_died(at.wrapping_add(offset), false) {
                break;
            }
            let Ok(next) = next else { break };
            at = next & !1;
        }
        if pending & !1 != 0 {
            self.owner_died((pending & !1).wrapping_add(offset), true);
        }
    }

    /// Handles one lock. False when its word cannot be accessed. The caller has the turn.
    fn owner_died(&self, at: u64, pending: bool) -> bool {
        let (old, key) = {
            let space = lock(&self.space);
            let mut b = [0; 4];
            if !at.is_multiple_of(4) || space.read(at, &mut b).is_err() {
                return false;
            }
            let old = u32::from_le_bytes(b);
            if old & FUTEX_TID_MASK == self.thread.tid as u32
                && space.write(at, &(old & FUTEX_WAITERS | FUTEX_OWNER_DIED).to_le_bytes()).is_err()
            {
                return false;
            }
            (old, crate::futex::key(&space, at, false))
        };
        let owned = old & FUTEX_TID_MASK == self.thread.tid as u32;
        // An owner that died between unlocking and waking owes the wake-up.
        let owes = owned && old & FUTEX_WAITERS != 0 || pending && old == 0;
        if owes && let Ok(key) = key {
            self.kernel.futexes.wake(key, 1, u32::MAX);
        }
        true
    }

    /// exec(2): ends all other threads; this one is the main thread from now on. `EINTR` when it is to end itself.
    pub(crate) fn end_others(&mut self) -> Result<()> {
        let process = Arc::clone(&self.process);
        if !process.threaded.load(Ordering::Acquire) {
            return Ok(());
        }
        let tid = self.thread.tid;
        {
            let mut s = lock(&process.signals);
            if s.ending.is_some() {
                return Err(Errno::EINTR);
            }
            s.ending = Some(Ending::Exec(tid));
        }
        process.alert_all();
        self.kernel.config.launcher.start_deferred();
        let waiter = Arc::clone(&self.thread.waiter);
        loop {
            waiter.clear();
            if lock(&process.signals).live == 1 {
                break;
            }
            self.give_up_turn();
            waiter.wait(None, &[])?;
        }
        lock(&self.kernel.tree).threads.remove(&tid);
        let mut s = lock(&process.signals);
        if let Some(own) = s.others.remove(&tid) {
            s.main = Own { thread: Arc::clone(&process.main), ..own };
        }
        s.others.clear();
        (s.ending, s.main_ended) = (None, false);
        process.threaded.store(false, Ordering::Release);
        process.one_left.store(false, Ordering::Release);
        let look = s.deliverable(process.pid) || s.stopped;
        process.main.attention.store(look, Ordering::Release);
        drop(s);
        self.thread = Arc::clone(&process.main);
        Ok(())
    }

    /// The one thread that is left needs no turns any more, if nothing else is shared.
    #[cold]
    pub(crate) fn alone_again(&mut self) {
        if self.is_vfork_child() {
            return;
        }
        self.process.one_left.store(false, Ordering::Release);
        if lock(&self.process.signals).ending.is_some() {
            return;
        }
        if self.thread.tid == self.process.pid {
            self.process.threaded.store(false, Ordering::Release);
        }
        let mut space = lock(&self.space);
        space.has_one_thread();
        if !space.shares(None) {
            space.turn = None;
            self.seat = None;
        }
    }

    /// Gives the task a seat at `turn`, and the turn: it is in a system call, whose end does not see to it yet.
    fn sit(&mut self, turn: &Arc<Turn>) {
        if self.seat.is_none() {
            self.seat = Some(Seat::new(turn, self.slot()));
            // What there is to look at first, the end of the call does see.
            let _ = self.begin_turn();
        }
    }
}
