//! futex(2) wait queues.

use crate::errno::{Errno, Result};
use crate::mm::{AddressSpace, Backing, HostFile, Prot};
use crate::wait::{Waiter, lock};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// What a futex word is known by: the address space (by its slot) and address, or the host file and offset of shared memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Key {
    Private { slot: usize, addr: u64 },
    Shared { file: HostFile, offset: u64 },
}

/// The key of the word at `addr`; `EFAULT` when it cannot be read.
pub fn key(space: &AddressSpace, addr: u64, private: bool) -> Result<Key> {
    if space.accessible(addr, 4, Prot::READ) < 4 {
        return Err(Errno::EFAULT);
    }
    if let Some((start, v)) = space.find(addr)
        && !private
        && let Backing::File { source, offset, shared: true } = &v.backing
        && let Some(file) = source.host
    {
        return Ok(Key::Shared { file, offset: source.base + offset + (addr - start) });
    }
    Ok(Key::Private { slot: space.slot().memory0() as usize, addr })
}

/// One wait.
pub struct Wait {
    waiter: Arc<Waiter>,
    mask: u32,
    woken: AtomicBool,
    /// Where it stands; requeueing changes it.
    key: Mutex<Key>,
}

impl Wait {
    /// Whether it was ended by a wake.
    pub fn woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }
}

type Waits = HashMap<Key, VecDeque<Arc<Wait>>>;

/// Takes up to `n` waits out of their queue.
fn take(waits: &mut Waits, key: Key, n: usize, mask: u32) -> Vec<Arc<Wait>> {
    let mut taken = Vec::new();
    if let Some(queue) = waits.get_mut(&key) {
        queue.retain(|w| {
            let take = taken.len() < n && w.mask & mask != 0;
            if take {
                taken.push(Arc::clone(w));
            }
            !take
        });
        if queue.is_empty() {
            waits.remove(&key);
        }
    }
    taken
}

/// The same to wake them; to be told to their waiters when the lock is gone.
fn take_woken(waits: &mut Waits, key: Key, n: usize, mask: u32) -> Vec<Arc<Wait>> {
    let woken = take(waits, key, n, mask);
    for w in &woken {
        w.woken.store(true, Ordering::Release);
    }
    woken
}

fn tell(woken: &[Arc<Wait>]) -> usize {
    for w in woken {
        w.waiter.wake();
    }
    woken.len()
}

/// All waits of a container, those of a word in the order in which they began.
#[derive(Default)]
pub struct Futexes {
    waits: Mutex<Waits>,
}

impl Futexes {
    /// Starts a wait; [`Futexes::leave`] ends it.
    pub fn enqueue(&self, key: Key, mask: u32, waiter: &Arc<Waiter>) -> Arc<Wait> {
        let waiter = Arc::clone(waiter);
        let wait = Arc::new(Wait { waiter, mask, woken: AtomicBool::new(false), key: Mutex::new(key) });
        lock(&self.waits).entry(key).or_default().push_back(Arc::clone(&wait));
        wait
    }

    /// Ends a wait. True when a wake has ended it already, which then counted it.
    pub fn leave(&self, wait: &Arc<Wait>) -> bool {
        let mut waits = lock(&self.waits);
        if wait.woken() {
            return true;
        }
        let key = *lock(&wait.key);
        if let Some(queue) = waits.get_mut(&key) {
            queue.retain(|w| !Arc::ptr_eq(w, wait));
            if queue.is_empty() {
                waits.remove(&key);
            }
        }
        false
    }

    /// Wakes up to `n` waits in order; returns how many.
    pub fn wake(&self, key: Key, n: usize, mask: u32) -> usize {
        let woken = take_woken(&mut lock(&self.waits), key, n, mask);
        tell(&woken)
    }

    /// Wakes up to `n` waits, and has up to `more` of those that are left wait for `to` from now on. Returns how many were woken, and moved.
    pub fn requeue(&self, key: Key, n: usize, to: Key, more: usize) -> (usize, usize) {
        let (woken, moved) = {
            let mut waits = lock(&self.waits);
            let woken = take_woken(&mut waits, key, n, u32::MAX);
            let moved = take(&mut waits, key, more, u32::MAX);
            let count = moved.len();
            for w in &moved {
                *lock(&w.key) = to;
            }
            if count > 0 {
                waits.entry(to).or_default().extend(moved);
            }
            (woken, count)
        };
        (tell(&woken), moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(addr: u64) -> Key {
        Key::Private { slot: 1, addr }
    }

    #[test]
    fn waits_end_in_order_and_by_their_bits() {
        let f = Futexes::default();
        let waits: Vec<_> = [1, 2, 3, 4].map(|mask| f.enqueue(word(8), mask, &Waiter::new())).into();
        assert_eq!(f.wake(word(12), 9, u32::MAX), 0);
        assert_eq!(f.wake(word(8), 1, 2), 1);
        assert_eq!(f.wake(word(8), 2, u32::MAX), 2);
        let woken: Vec<bool> = waits.iter().map(|w| w.woken()).collect();
        assert_eq!(woken, [true, true, true, false]);
        assert!(f.leave(&waits[0]), "a wake counted it");
        assert!(!f.leave(&waits[3]));
        assert_eq!(f.wake(word(8), 9, u32::MAX), 0);
        assert!(lock(&f.waits).is_empty());
    }

    #[test]
    fn requeued_waits_stand_behind_those_of_the_other_word() {
        let f = Futexes::default();
        let first: Vec<_> = (0..4).map(|_| f.enqueue(word(8), u32::MAX, &Waiter::new())).collect();
        let other = f.enqueue(word(16), u32::MAX, &Waiter::new());
        assert_eq!(f.requeue(word(8), 1, word(16), 2), (1, 2));
        assert_eq!(f.wake(word(16), 2, u32::MAX), 2);
        let woken: Vec<bool> = first.iter().chain([&other]).map(|w| w.woken()).collect();
        assert_eq!(woken, [true, true, false, false, true]);
        // One that was moved and gives up leaves the queue that it is in now.
        assert!(!f.leave(&first[2]));
        assert_eq!(f.wake(word(16), 9, u32::MAX), 0);
        assert_eq!(f.wake(word(8), 9, u32::MAX), 1);
    }
}
