//! Tasks that a thread was told to launch and has put off, because its own task will most likely soon wait for them.
//!
//! A thread puts off one task at most. It starts when the thread's task waits or ends, or elsewhere: when the thread blocks for something else, launches
//! another task, or has let the first one wait for longer than [`PATIENCE`]. A sweeping thread sees to the last; it sleeps while nothing is put off.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::Launch;

/// How long a task waits for its parent's thread; up to twice that passes before somebody notices.
const PATIENCE: Duration = Duration::from_millis(1);
/// The sweeping thread goes to sleep after so many looks without anything new.
const QUIET: u32 = 50;

type Place = Mutex<Option<(Launch, Instant)>>;

thread_local! {
    /// What the calling thread has put off. `None` on threads that run no guest.
    static HERE: RefCell<Option<Arc<Place>>> = const { RefCell::new(None) };
}

fn lock<T: ?Sized>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The places of all threads.
pub(super) struct Deferrals {
    places: Mutex<Vec<Arc<Place>>>,
    /// Starts a task that has waited for too long.
    overdue: Box<dyn Fn(Launch) + Send + Sync>,
    /// Counts what is put off.
    puts: AtomicU64,
    /// Whether the sweeping thread exists.
    sweeper: Mutex<bool>,
    /// Whether it does not look at the moment.
    asleep: AtomicBool,
    wake: Condvar,
}

/// Takes the thread's place away again.
pub(super) struct Here(Arc<Deferrals>);

impl Drop for Here {
    fn drop(&mut self) {
        if let Some(place) = HERE.take() {
            lock(&self.0.places).retain(|p| !Arc::ptr_eq(p, &place));
            if let Some((launch, _)) = lock(&place).take() {
                (self.0.overdue)(launch);
            }
        }
    }
}

/// From now on the calling thread runs guests, and may put tasks off.
pub(super) fn enter(deferrals: &Arc<Deferrals>) -> Here {
    let place = Arc::default();
    lock(&deferrals.places).push(Arc::clone(&place));
    HERE.set(Some(place));
    Here(Arc::clone(deferrals))
}

/// What the calling thread has put off, if it is still there.
pub(super) fn take() -> Option<Launch> {
    HERE.with_borrow(|h| h.as_ref().and_then(|p| lock(p).take())).map(|(launch, _)| launch)
}

/// Whether the calling thread has put off something that is still there.
pub(super) fn present() -> bool {
    HERE.with_borrow(|h| h.as_ref().is_some_and(|p| lock(p).is_some()))
}

impl Deferrals {
    /// `overdue` starts what has been waiting for too long.
    pub(super) fn new(overdue: Box<dyn Fn(Launch) + Send + Sync>) -> Arc<Deferrals> {
        Arc::new(Deferrals {
            places: Mutex::default(),
            overdue,
            puts: AtomicU64::new(0),
            sweeper: Mutex::default(),
            asleep: AtomicBool::new(true),
            wake: Condvar::new(),
        })
    }

    /// Puts `launch` off. Gives back what must be started instead: the task that was put off before, or `launch` itself on a thread that runs no guest.
    pub(super) fn put(self: &Arc<Self>, launch: Launch) -> Option<Launch> {
        let Some(place) = HERE.with_borrow(Clone::clone) else { return Some(launch) };
        if !self.watched() {
            return Some(launch);
        }
        lock(&place).replace((launch, Instant::now())).map(|(earlier, _)| earlier)
    }

    /// Sees to it that the sweeping thread looks. False when there is none.
    fn watched(self: &Arc<Self>) -> bool {
        self.puts.fetch_add(1, Ordering::SeqCst);
        if !self.asleep.load(Ordering::SeqCst) {
            return true;
        }
        let mut exists = lock(&self.sweeper);
        if !*exists {
            let me = Arc::downgrade(self);
            *exists = thread::Builder::new().name("guest-sweep".into()).spawn(move || Deferrals::sweep(&me)).is_ok();
        }
        self.wake.notify_one();
        *exists
    }

    fn sweep(me: &Weak<Deferrals>) {
        let (mut quiet, mut seen) = (0, 0);
        if let Some(me) = me.upgrade() {
            me.asleep.store(false, Ordering::SeqCst);
        }
        loop {
            thread::sleep(PATIENCE);
            let Some(me) = me.upgrade() else { return };
            let places = lock(&me.places).clone();
            let mut waiting = false;
            for place in places {
                let overdue = {
                    let mut p = lock(&place);
                    waiting |= p.is_some();
                    p.take_if(|(_, since)| since.elapsed() >= PATIENCE)
                };
                if let Some((launch, _)) = overdue {
                    (me.overdue)(launch);
                }
            }
            let puts = me.puts.load(Ordering::SeqCst);
            quiet = if puts == seen && !waiting { quiet + 1 } else { 0 };
            seen = puts;
            if quiet >= QUIET {
                quiet = 0;
                let mut guard = lock(&me.sweeper);
                me.asleep.store(true, Ordering::SeqCst);
                // `put` counts before it looks whether the sweeper sleeps.
                while me.puts.load(Ordering::SeqCst) == seen {
                    guard = me.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
                }
                me.asleep.store(false, Ordering::SeqCst);
            }
        }
    }
}
