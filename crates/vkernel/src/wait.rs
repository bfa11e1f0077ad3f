//! Blocking: one [`Waiter`] a process, [`WaitQueue`]s on what it can wait for.

use crate::file::{POLLIN, POLLOUT};
use megalith_vfs::Result;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

/// Locks a mutex; a panic of another holder does not make the state unusable here.
pub fn lock<T: ?Sized>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A task that waits without occupying a host thread.
pub trait Parked: std::any::Any + Send {
    /// Whether the calling thread is about to take it back ([`Waiter::unpark`]) anyhow.
    fn resumes_here(&self) -> bool;
    /// Runs it on some other thread. Does not block.
    fn resume(self: Box<Self>);
}

#[derive(Default)]
struct State {
    woken: bool,
    /// The waiter is in poll(2) on its eventfd.
    polling: bool,
    /// The waiter is in a wait on the condition variable.
    waiting: bool,
    parked: Option<Box<dyn Parked>>,
}

/// What one process blocks on. A wake-up is kept until it is cleared, so none is lost between a check and the wait.
#[derive(Default)]
pub struct Waiter {
    state: Mutex<State>,
    cond: Condvar,
    event: OnceLock<OwnedFd>,
}

impl Waiter {
    /// A waiter that nobody woke.
    pub fn new() -> Arc<Waiter> {
        Arc::new(Waiter::default())
    }

    /// Ends the current or the next wait.
    pub fn wake(&self) {
        let mut s = lock(&self.state);
        s.woken = true;
        if s.polling {
            if let Some(fd) = self.event.get() {
                let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
            }
            return;
        }
        let parked = s.parked.take_if(|p| !p.resumes_here());
        let waiting = std::mem::take(&mut s.waiting);
        drop(s);
        if waiting {
            self.cond.notify_one();
        }
        if let Some(p) = parked {
            p.resume();
        }
    }

    /// Leaves `task` here until it is woken or taken back. Gives it back at once when a wake-up came since the last [`Self::clear`].
    pub fn park(&self, task: Box<dyn Parked>) -> Option<Box<dyn Parked>> {
        let mut s = lock(&self.state);
        if s.woken {
            return Some(task);
        }
        s.parked.replace(task)
    }

    /// Takes back what was parked, if it has not been woken.
    pub fn unpark(&self) -> Option<Box<dyn Parked>> {
        lock(&self.state).parked.take()
    }

    /// Forgets earlier wake-ups. Call it before checking the condition to wait for.
    pub fn clear(&self) {
        lock(&self.state).woken = false;
    }

    /// Waits for a wake-up, the deadline, or one of the host descriptors becoming ready for its events (`POLLIN`, ...).
    pub fn wait(&self, deadline: Option<Instant>, host: &[(BorrowedFd<'_>, i16)]) -> Result<()> {
        let mut s = lock(&self.state);
        if host.is_empty() {
            while !s.woken {
                s.waiting = true;
                s = match deadline {
                    None => self.cond.wait(s).unwrap_or_else(PoisonError::into_inner),
                    Some(d) => {
                        let left = d.saturating_duration_since(Instant::now());
                        if left.is_zero() {
                            return Ok(());
                        }
                        self.cond.wait_timeout(s, left).unwrap_or_else(PoisonError::into_inner).0
                    }
                };
            }
            return Ok(());
        }
        if s.woken {
            return Ok(());
        }
        if self.event.get().is_none() {
            let fd = rustix::event::eventfd(
                0,
                rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK,
            )?;
            let _ = self.event.set(fd);
        }
        let Some(event) = self.event.get() else { return Ok(()) };
        s.polling = true;
        drop(s);
        let mut fds: Vec<libc::pollfd> = Vec::with_capacity(host.len() + 1);
        fds.push(libc::pollfd { fd: event.as_raw_fd(), events: libc::POLLIN, revents: 0 });
        fds.extend(host.iter().map(|(fd, ev)| libc::pollfd { fd: fd.as_raw_fd(), events: *ev, revents: 0 }));
        let timeout = deadline.map_or(-1, |d| {
            let left = d.saturating_duration_since(Instant::now());
            i32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
        });
        crate::hostio::poll(&mut fds, timeout);
        let mut s = lock(&self.state);
        s.polling = false;
        let mut buf = [0u8; 8];
        let _ = rustix::io::read(event, &mut buf);
        Ok(())
    }
}

/// Those who wait for a change of one object.
#[derive(Default)]
pub struct WaitQueue {
    waiters: Mutex<Vec<Arc<Waiter>>>,
    count: AtomicUsize,
    /// Wake-ups so far for input, and for output.
    inputs: AtomicU64,
    outputs: AtomicU64,
}

impl WaitQueue {
    /// Wakes all: anything may have changed.
    pub fn wake(&self) {
        self.wake_for(POLLIN | POLLOUT);
    }

    /// Wakes all, because of input (`POLLIN`), output (`POLLOUT`) or both. Edge-triggered epoll looks at which.
    pub fn wake_for(&self, events: u32) {
        if events & POLLIN != 0 {
            self.inputs.fetch_add(1, Ordering::SeqCst);
        }
        if events & POLLOUT != 0 {
            self.outputs.fetch_add(1, Ordering::SeqCst);
        }
        if self.count.load(Ordering::SeqCst) != 0 {
            for w in lock(&self.waiters).iter() {
                w.wake();
            }
        }
    }

    /// Wake-ups so far for input and for output.
    pub fn wakes(&self) -> (u64, u64) {
        (self.inputs.load(Ordering::SeqCst), self.outputs.load(Ordering::SeqCst))
    }

    /// Has `w` woken by each [`Self::wake`] until the guard is dropped.
    pub fn register(&self, w: &Arc<Waiter>) -> Registration<'_> {
        lock(&self.waiters).push(Arc::clone(w));
        self.count.fetch_add(1, Ordering::SeqCst);
        Registration { queue: self, waiter: Arc::clone(w) }
    }
}

/// Keeps a waiter registered.
pub struct Registration<'a> {
    queue: &'a WaitQueue,
    waiter: Arc<Waiter>,
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        let mut v = lock(&self.queue.waiters);
        if let Some(i) = v.iter().position(|w| Arc::ptr_eq(w, &self.waiter)) {
            v.swap_remove(i);
            self.queue.count.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    /// Counts how often it is resumed; says of itself whether its thread will take it back.
    struct Sleeper {
        here: Arc<AtomicBool>,
        resumed: Arc<AtomicUsize>,
    }

    impl Parked for Sleeper {
        fn resumes_here(&self) -> bool {
            self.here.load(Ordering::Relaxed)
        }
        fn resume(self: Box<Self>) {
            self.resumed.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_parked_task_is_resumed_once_by_whoever_comes_first() {
        let (here, resumed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let sleeper = || Box::new(Sleeper { here: Arc::clone(&here), resumed: Arc::clone(&resumed) });
        let w = Waiter::new();
        // Woken between the look and the parking: it must look again.
        w.clear();
        w.wake();
        assert!(w.park(sleeper()).is_some());
        assert!(w.unpark().is_none());
        // Woken while parked.
        w.clear();
        assert!(w.park(sleeper()).is_none());
        w.wake();
        w.wake();
        assert_eq!(resumed.load(Ordering::Relaxed), 1);
        assert!(w.unpark().is_none(), "it runs elsewhere");
        // Its own thread comes back to it: a wake-up leaves it there.
        w.clear();
        assert!(w.park(sleeper()).is_none());
        here.store(true, Ordering::Relaxed);
        w.wake();
        assert_eq!(resumed.load(Ordering::Relaxed), 1);
        assert!(w.unpark().is_some());
    }
}
