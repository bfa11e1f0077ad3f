//! futex(2) wait queues.

use crate::errno::{Errno, Result};
use crate::mm::{AddressSpace, Backing, HostFile, Prot};
use crate::wait::{WaitQueue, lock};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a futex word is known by: the address space (by its slot) and address, or the host file and offset of shared memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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

struct Waiting {
    ticket: u64,
    key: Key,
    mask: u32,
    woken: bool,
}

/// All waits of a container.
#[derive(Default)]
pub struct Futexes {
    waiting: Mutex<Vec<Waiting>>,
    next: AtomicU64,
    pub queue: WaitQueue,
}

impl Futexes {
    /// Starts a wait; give the ticket back with [`Futexes::leave`].
    pub fn enqueue(&self, key: Key, mask: u32) -> u64 {
        let ticket = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.waiting).push(Waiting { ticket, key, mask, woken: false });
        ticket
    }
    /// Whether the wait was ended by a wake.
    pub fn woken(&self, ticket: u64) -> bool {
        lock(&self.waiting).iter().any(|w| w.ticket == ticket && w.woken)
    }
    /// Ends a wait.
    pub fn leave(&self, ticket: u64) {
        lock(&self.waiting).retain(|w| w.ticket != ticket);
    }
    /// Wakes up to `n` waits in order; returns how many.
    pub fn wake(&self, key: Key, n: usize, mask: u32) -> usize {
        let mut count = 0;
        for w in lock(&self.waiting).iter_mut() {
            if count >= n {
                break;
            }
            if w.key == key && !w.woken && w.mask & mask != 0 {
                w.woken = true;
                count += 1;
            }
        }
        if count > 0 {
            self.queue.wake();
        }
        count
    }
}
