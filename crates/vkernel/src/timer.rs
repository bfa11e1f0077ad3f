//! Timers: one host thread that fires them all.

use crate::wait::lock;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Called at each expiry.
type Fire = Box<dyn Fn() + Send + Sync>;

struct Setting {
    next: Option<Instant>,
    interval: Duration,
    /// Counts changes: entries of the heap from before one are stale.
    generation: u64,
}

/// One timer, disarmed at first.
pub struct Timer {
    setting: Mutex<Setting>,
    fire: Fire,
    thread: Weak<TimerThread>,
    /// Expiries since the last call of [`Timer::take_expirations`].
    pub expirations: AtomicU64,
    /// Counts against the realtime clock (only matters for what is read back).
    pub clock: u32,
}

struct Entry(Instant, u64, Weak<Timer>);
impl PartialEq for Entry {
    fn eq(&self, o: &Entry) -> bool {
        self.0 == o.0
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, o: &Entry) -> Option<std::cmp::Ordering> {
        Some(self.cmp(o))
    }
}
impl Ord for Entry {
    fn cmp(&self, o: &Entry) -> std::cmp::Ordering {
        self.0.cmp(&o.0)
    }
}

/// The thread and its queue; started at first use.
pub struct TimerThread {
    heap: Mutex<BinaryHeap<Reverse<Entry>>>,
    changed: Condvar,
    running: AtomicBool,
}

impl TimerThread {
    /// No thread yet.
    pub fn new() -> Arc<TimerThread> {
        Arc::new(TimerThread { heap: Mutex::default(), changed: Condvar::new(), running: AtomicBool::new(false) })
    }

    /// A disarmed timer.
    pub fn timer(self: &Arc<TimerThread>, clock: u32, fire: Fire) -> Arc<Timer> {
        Arc::new(Timer {
            setting: Mutex::new(Setting { next: None, interval: Duration::ZERO, generation: 0 }),
            fire,
            thread: Arc::downgrade(self),
            expirations: AtomicU64::new(0),
            clock,
        })
    }

    fn start(self: &Arc<TimerThread>) {
        if !self.running.swap(true, Ordering::AcqRel) {
            let me = Arc::downgrade(self);
            let run = move || {
                while let Some(t) = me.upgrade() {
                    t.step();
                }
            };
            let _ = std::thread::Builder::new().name("megalith-timer".into()).spawn(run);
        }
    }

    fn step(&self) {
        let mut due = Vec::new();
        {
            let mut heap = lock(&self.heap);
            let now = Instant::now();
            while heap.peek().is_some_and(|Reverse(e)| e.0 <= now) {
                due.extend(heap.pop());
            }
            if due.is_empty() {
                // Looks up from time to time whether the kernel is gone.
                let wait =
                    heap.peek().map_or(Duration::from_secs(1), |Reverse(e)| e.0 - now).min(Duration::from_secs(1));
                drop(self.changed.wait_timeout(heap, wait).unwrap_or_else(PoisonError::into_inner));
                return;
            }
        }
        for Reverse(Entry(_, generation, timer)) in due {
            if let Some(t) = timer.upgrade() {
                t.expired(self, generation);
            }
        }
    }

    fn push(&self, e: Entry) {
        lock(&self.heap).push(Reverse(e));
        self.changed.notify_one();
    }
}

impl Timer {
    fn expired(self: &Arc<Timer>, thread: &TimerThread, generation: u64) {
        {
            let mut s = lock(&self.setting);
            if s.generation != generation {
                return;
            }
            s.next = None;
            if !s.interval.is_zero() {
                let next = Instant::now() + s.interval;
                s.next = Some(next);
                thread.push(Entry(next, generation, Arc::downgrade(self)));
            }
        }
        self.expirations.fetch_add(1, Ordering::AcqRel);
        (self.fire)();
    }

    /// Arms for `after` from now (`None` disarms), then every `interval`. Returns what was set before: time left and interval.
    pub fn set(self: &Arc<Timer>, after: Option<Duration>, interval: Duration) -> (Duration, Duration) {
        let old = self.get();
        let mut s = lock(&self.setting);
        s.generation += 1;
        // A tiny interval would keep the host busy for nothing.
        s.interval = if interval.is_zero() { interval } else { interval.max(Duration::from_micros(100)) };
        s.next = after.map(|a| Instant::now() + a.min(Duration::from_secs(3_000_000_000)));
        self.expirations.store(0, Ordering::Release);
        if let (Some(next), Some(thread)) = (s.next, self.thread.upgrade()) {
            thread.start();
            thread.push(Entry(next, s.generation, Arc::downgrade(self)));
        }
        old
    }

    /// Time left (zero when disarmed) and interval.
    pub fn get(&self) -> (Duration, Duration) {
        let s = lock(&self.setting);
        let left =
            s.next.map_or(Duration::ZERO, |n| n.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1)));
        (left, s.interval)
    }

    /// Disarms for good.
    pub fn cancel(self: &Arc<Timer>) {
        self.set(None, Duration::ZERO);
    }

    /// Expiries since the last call.
    pub fn take_expirations(&self) -> u64 {
        self.expirations.swap(0, Ordering::AcqRel)
    }
}
