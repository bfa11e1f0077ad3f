//! Turns: processes with a writable mapping in common, and threads of a process, run one at a time (DESIGN.md, invariants 4 and 6).
//!
//! A locked instruction is translated to a plain load, operation and store, and guest code is interrupted where it polls and at calls of the kernel only.
//! So where no two of those who share memory run at the same time, every instruction is atomic and every order of stores is the program's own.
//!
//! An address space with a shared mapping of a file that can change has a [`Turn`], the same as all others that map the file; each task
//! that runs in it has a [`Seat`]; so has one whose tasks are threads. Guest code of such a task runs only while the seat is among [`State::running`], of which there is one at a time
//! once somebody may write. A task in a system call keeps the turn, as most calls are short, but the first in line takes it away when the
//! slice is over; before a task sleeps, it gives it up. In guest code the poll word asks for it. Who wakes up stands in line ahead of those who have
//! had their slice, though nobody is overtaken for more than some slices.
//!
//! When an address space gets a mapping in common with another turn's, the two become one: the older state forwards to the newer. They
//! come apart again when an address space has no shared mapping left, or is gone. Several tasks may have seats in one address space.

use crate::mm::Slot;
use crate::wait::lock;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How long a task runs while another waits for the turn.
const SLICE: Duration = Duration::from_millis(1);
/// Who has waited for so long is not overtaken any more.
const OVERTAKEN: Duration = Duration::from_millis(4);

/// What a group of address spaces takes turns at.
#[derive(Default)]
pub struct Turn {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Where everything has moved to.
    forward: Option<Arc<Turn>>,
    /// Somebody may write: one at a time. Without, all may run.
    exclusive: bool,
    running: Vec<Running>,
    /// First come, first served, but that who slept before goes ahead of those who have had a slice.
    queue: VecDeque<Waiting>,
}

struct Running {
    seat: u64,
    slot: Arc<Slot>,
    /// When it began to run; `None` while its thread has not noticed that it may.
    since: Option<Instant>,
    /// It is in a system call, so that the turn can be taken away at once.
    in_kernel: bool,
    /// It has been asked to give up the turn.
    asked: bool,
}

struct Waiting {
    seat: u64,
    slot: Arc<Slot>,
    thread: Thread,
    /// It slept before, instead of having run for a slice.
    slept: bool,
    since: Instant,
}

/// What one who stands in line is to do.
enum Next {
    Run,
    Wait(Duration),
    /// Until unparked: the first in line watches the time.
    Sleep,
}

impl State {
    fn room(&self) -> bool {
        !self.exclusive || self.running.is_empty()
    }

    /// Lets those in line run as far as there is room.
    fn admit(&mut self) {
        let mut changed = false;
        while self.room()
            && let Some(w) = self.queue.pop_front()
        {
            self.running.push(Running { seat: w.seat, slot: w.slot, since: None, in_kernel: false, asked: false });
            w.thread.unpark();
            changed = true;
        }
        if changed && let Some(w) = self.queue.front() {
            w.thread.unpark();
        }
    }

    fn release(&mut self, seat: u64) {
        if let Some(i) = self.running.iter().position(|r| r.seat == seat) {
            self.running.swap_remove(i);
            self.admit();
        }
    }

    /// A system call begins.
    fn pause(&mut self, seat: u64) {
        let wanted = !self.queue.is_empty();
        let Some(r) = self.running.iter_mut().find(|r| r.seat == seat) else { return };
        r.in_kernel = true;
        if r.asked && wanted {
            self.release(seat);
        }
    }

    /// Guest code is about to run: true when it may, otherwise the seat stands in line now. Who gets the turn clears the poll word, which threads of a
    /// process have in common: what else it was set for, the caller looks at next.
    fn begin(&mut self, seat: u64, slot: &Arc<Slot>, slept: bool) -> bool {
        let alone = self.running.len() == 1 || !self.exclusive;
        if let Some(r) = self.running.iter_mut().find(|r| r.seat == seat) {
            if alone && (!r.asked || self.queue.is_empty()) {
                slot.poll_word().store(0, Ordering::SeqCst);
                r.in_kernel = false;
                r.asked = false;
                r.since.get_or_insert_with(Instant::now);
                return true;
            }
            self.release(seat);
        }
        if self.queue.is_empty() && self.room() {
            slot.poll_word().store(0, Ordering::SeqCst);
            let since = Some(Instant::now());
            self.running.push(Running { seat, slot: Arc::clone(slot), since, in_kernel: false, asked: false });
            return true;
        }
        let at = match self.queue.iter().rposition(|w| !slept || w.slept || w.since.elapsed() >= OVERTAKEN) {
            Some(i) => i + 1,
            None => 0,
        };
        let (slot, thread, since) = (Arc::clone(slot), std::thread::current(), Instant::now());
        self.queue.insert(at, Waiting { seat, slot, thread, slept, since });
        false
    }

    /// For one in line.
    fn next(&mut self, seat: u64) -> Next {
        if self.queue.front().is_some_and(|w| w.seat == seat) {
            let mut left = SLICE;
            self.running.retain_mut(|r| {
                let Some(rest) = r.since.map(|s| SLICE.saturating_sub(s.elapsed())) else { return true };
                if !rest.is_zero() {
                    left = left.min(rest);
                } else if r.in_kernel {
                    return false;
                } else {
                    r.asked = true;
                    // Set after `asked`: who clears the word looks at that next.
                    r.slot.poll_word().store(megalith_abi::POLL_WANTED, Ordering::SeqCst);
                }
                true
            });
            self.admit();
            if self.queue.front().is_some_and(|w| w.seat == seat) {
                return Next::Wait(left);
            }
        }
        match self.running.iter_mut().find(|r| r.seat == seat) {
            Some(r) => {
                r.slot.poll_word().store(0, Ordering::SeqCst);
                r.since = Some(Instant::now());
                Next::Run
            }
            None => Next::Sleep,
        }
    }
}

impl Turn {
    /// A turn of nobody yet.
    pub fn new() -> Arc<Turn> {
        Arc::default()
    }

    /// The turn that this one has become.
    fn root(self: &Arc<Turn>) -> Arc<Turn> {
        let mut at = Arc::clone(self);
        loop {
            let next = lock(&at.state).forward.clone();
            match next {
                Some(n) => at = n,
                None => return at,
            }
        }
    }

    /// Works on the state, wherever it is now.
    fn with<R>(self: &Arc<Turn>, f: impl FnOnce(&mut State) -> R) -> R {
        let mut at = Arc::clone(self);
        loop {
            let mut s = lock(&at.state);
            let Some(next) = s.forward.clone() else { return f(&mut s) };
            drop(s);
            at = next;
        }
    }

    /// Somebody may write to what is shared: from now on only one starts to run at a time.
    pub fn make_exclusive(self: &Arc<Turn>) {
        self.with(|s| s.exclusive = true);
    }

    /// Makes two turns one. Only one thread at a time may do so in a container. Those who run at this moment have no memory in common: whose mapping
    /// leads to the merger is in a system call, and runs next when all of them have stopped.
    pub fn merge(self: &Arc<Turn>, other: &Arc<Turn>) {
        let (from, into) = (self.root(), other.root());
        if Arc::ptr_eq(&from, &into) {
            return;
        }
        // Nobody else ever holds two of these locks.
        let mut from = lock(&from.state);
        let mut state = lock(&into.state);
        state.exclusive |= from.exclusive;
        state.running.append(&mut from.running);
        state.queue.append(&mut from.queue);
        from.forward = Some(Arc::clone(&into));
        drop(from);
        state.admit();
        if let Some(w) = state.queue.front() {
            w.thread.unpark();
        }
    }
}

/// A task's place at a turn.
pub struct Seat {
    id: u64,
    turn: Arc<Turn>,
    slot: Arc<Slot>,
    /// It has given up the turn to sleep.
    slept: Cell<bool>,
}

impl Seat {
    /// A seat that does not have the turn. `slot` is where the poll word is.
    pub fn new(turn: &Arc<Turn>, slot: &Arc<Slot>) -> Seat {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Seat {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            turn: turn.root(),
            slot: Arc::clone(slot),
            slept: Cell::new(false),
        }
    }

    /// Returns when guest code may run. `idle` is called before the thread waits.
    pub fn begin(&mut self, idle: impl FnOnce()) {
        // The way is kept short.
        self.turn = self.turn.root();
        let slept = self.slept.take();
        if self.turn.with(|s| s.begin(self.id, &self.slot, slept)) {
            return;
        }
        idle();
        loop {
            match self.turn.with(|s| s.next(self.id)) {
                Next::Run => return,
                Next::Wait(d) => std::thread::park_timeout(d),
                Next::Sleep => std::thread::park(),
            }
        }
    }

    /// A system call begins: no guest code of this task runs until the next [`Self::begin`].
    pub fn pause(&self) {
        self.turn.with(|s| s.pause(self.id));
    }

    /// The task is about to sleep: it gives up the turn.
    pub fn release(&self) {
        self.slept.set(true);
        self.turn.with(|s| s.release(self.id));
    }

    /// The task gives up the turn to whoever waits, to stand in line behind them.
    pub fn yield_to_others(&self) {
        self.turn.with(|s| s.release(self.id));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.turn.with(|s| {
            s.queue.retain(|w| w.seat != self.id);
            s.release(self.id);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mm::SlotPool;
    use std::sync::atomic::{AtomicBool, AtomicUsize};

    /// A guest that runs until its poll word is set, over and over again: adds to `total` without any atomic instruction that would help.
    fn guest(mut seat: Seat, total: &AtomicUsize, inside: &AtomicUsize, rounds: usize) {
        for _ in 0..rounds {
            seat.slot.poll_word().store(0, Ordering::SeqCst);
            seat.begin(|| ());
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "another one runs");
            for _ in 0..100 {
                let n = total.load(Ordering::Relaxed);
                std::hint::spin_loop();
                total.store(n + 1, Ordering::Relaxed);
            }
            inside.fetch_sub(1, Ordering::SeqCst);
            seat.pause();
        }
        seat.release();
    }

    #[test]
    fn one_runs_at_a_time_and_everybody_comes_round() {
        let pool = SlotPool::new(8, 0);
        let turn = Turn::new();
        turn.make_exclusive();
        let (total, inside) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let seat = Seat::new(&turn, &pool.get().unwrap());
                scope.spawn(|| guest(seat, &total, &inside, 500));
            }
        });
        assert_eq!(total.load(Ordering::Relaxed), 4 * 500 * 100);
    }

    #[test]
    fn who_slept_goes_ahead_but_not_for_ever() {
        let slot = SlotPool::new(8, 0).get().unwrap();
        let mut s = State { exclusive: true, ..State::default() };
        assert!(s.begin(1, &slot, false));
        for (seat, slept) in [(2, false), (3, false), (4, true), (5, true), (6, false)] {
            assert!(!s.begin(seat, &slot, slept));
        }
        let line = |s: &State| s.queue.iter().map(|w| w.seat).collect::<Vec<_>>();
        assert_eq!(line(&s), [4, 5, 2, 3, 6]);
        s.queue[3].since -= OVERTAKEN;
        assert!(!s.begin(7, &slot, true));
        assert_eq!(line(&s), [4, 5, 2, 3, 7, 6]);
        s.release(1);
        assert_eq!(s.running[0].seat, 4);
    }

    /// Threads have one slot and one poll word: what was set for the one who has the turn is not lost because another one comes.
    #[test]
    fn only_who_gets_the_turn_clears_the_poll_word() {
        let slot = SlotPool::new(8, 0).get().unwrap();
        let mut s = State { exclusive: true, ..State::default() };
        assert!(s.begin(1, &slot, false));
        slot.poll_word().store(megalith_abi::POLL_WANTED, Ordering::SeqCst);
        assert!(!s.begin(2, &slot, false));
        assert_eq!(slot.poll_word().load(Ordering::SeqCst), megalith_abi::POLL_WANTED);
        s.release(1);
        assert!(matches!(s.next(2), Next::Run));
        assert_eq!(slot.poll_word().load(Ordering::SeqCst), 0);
    }

    #[test]
    fn who_runs_is_asked_to_stop_and_who_sleeps_in_the_kernel_loses_the_turn() {
        let pool = SlotPool::new(8, 0);
        let turn = Turn::new();
        turn.make_exclusive();
        let mut first = Seat::new(&turn, &pool.get().unwrap());
        let mut second = Seat::new(&turn, &pool.get().unwrap());
        first.begin(|| unreachable!("nobody else is there"));
        let waited = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                second.begin(|| waited.store(true, Ordering::SeqCst));
                second.pause();
                // It says no more: whoever wants the turn takes it.
            });
            while first.slot.poll_word().load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            assert!(waited.load(Ordering::SeqCst));
            first.begin(|| ());
        });
        assert_eq!(turn.with(|s| s.running.len()), 1);
    }

    #[test]
    fn readers_run_together_until_one_may_write() {
        let pool = SlotPool::new(8, 0);
        let turn = Turn::new();
        let mut seats: Vec<Seat> = (0..3).map(|_| Seat::new(&turn, &pool.get().unwrap())).collect();
        for s in &mut seats {
            s.begin(|| unreachable!("all may run"));
        }
        turn.make_exclusive();
        let mut writer = Seat::new(&turn, &pool.get().unwrap());
        let (total, inside) = (AtomicUsize::new(0), AtomicUsize::new(3));
        std::thread::scope(|scope| {
            for s in seats {
                let (total, inside) = (&total, &inside);
                scope.spawn(move || {
                    while s.slot.poll_word().load(Ordering::SeqCst) == 0 {
                        std::thread::yield_now();
                    }
                    inside.fetch_sub(1, Ordering::SeqCst);
                    s.pause();
                    guest(s, total, inside, 20);
                });
            }
            writer.begin(|| ());
            assert_eq!(inside.load(Ordering::SeqCst), 0, "a reader still runs");
            writer.pause();
            guest(writer, &total, &inside, 20);
        });
        assert_eq!(total.load(Ordering::Relaxed), 4 * 20 * 100);
    }

    #[test]
    fn two_turns_become_one() {
        let pool = SlotPool::new(8, 0);
        let turns = [Turn::new(), Turn::new(), Turn::new()];
        let (total, inside) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let mut held: Vec<Seat> = Vec::new();
        for t in &turns {
            t.make_exclusive();
            let mut seat = Seat::new(t, &pool.get().unwrap());
            seat.begin(|| unreachable!("each has its own turn"));
            held.push(seat);
        }
        std::thread::scope(|scope| {
            // One waits at each turn when they are joined, in both directions.
            for t in &turns {
                let seat = Seat::new(t, &pool.get().unwrap());
                scope.spawn(|| guest(seat, &total, &inside, 200));
            }
            turns[0].merge(&turns[1]);
            turns[2].merge(&turns[0]);
            turns[1].merge(&turns[2]);
            for s in held {
                s.pause();
                scope.spawn(|| guest(s, &total, &inside, 200));
            }
        });
        assert_eq!(total.load(Ordering::Relaxed), 6 * 200 * 100);
    }
}
