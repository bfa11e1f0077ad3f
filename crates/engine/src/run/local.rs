//! What is parked on the calling thread: instances that wait for what the thread runs instead of them.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Weak};

use megalith_vkernel::Waiter;

thread_local! {
    /// Where this thread has parked instances, the last one at the end. Some may have been woken, and run elsewhere.
    static PARKED: RefCell<Vec<Arc<Waiter>>> = const { RefCell::new(Vec::new()) };
    /// The thread's task is about to end.
    static ENDING: Cell<bool> = const { Cell::new(false) };
}

/// Notes that the thread has parked an instance on `waiter`.
pub(super) fn push(waiter: Arc<Waiter>) {
    PARKED.with_borrow_mut(|p| p.push(waiter));
}

/// The thread's task ends now: the last parked instance is next.
pub(super) fn end() {
    ENDING.set(true);
}

/// Whether what is parked on `waiter` is what this thread takes up next, and at once.
pub(super) fn resumes(waiter: &Weak<Waiter>) -> bool {
    ENDING.get() && PARKED.with_borrow(|p| p.last().is_some_and(|top| std::ptr::eq(Arc::as_ptr(top), waiter.as_ptr())))
}

/// The last of the parked instances that `unpark` finds still there.
pub(super) fn resumable<R>(unpark: impl Fn(&Waiter) -> Option<R>) -> Option<R> {
    ENDING.set(false);
    while let Some(waiter) = PARKED.with_borrow_mut(Vec::pop) {
        if let Some(running) = unpark(&waiter) {
            return Some(running);
        }
    }
    None
}
