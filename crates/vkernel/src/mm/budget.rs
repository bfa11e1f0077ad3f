//! What the address spaces of a container may have together under `--memory`.
//!
//! As on Linux, what a process reserves is not what it uses: private writable memory is *committed* when it is mapped, and resident once it is
//! touched. The limit is for what is resident, which only a look at the host's page tables tells (`Kernel::watch`). The commitment has a bound
//! of its own, above the limit by what the host can spare: however much is touched between two looks, the host has it.

use crate::errno::{Errno, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Accounts of a container's memory.
pub struct Budget {
    limit: Option<u64>,
    /// Most that may be committed.
    bound: u64,
    committed: AtomicU64,
    /// Committed since the last look.
    unseen: AtomicU64,
    /// Bytes in use at the last look.
    used: AtomicU64,
}

impl Budget {
    /// A budget of `limit` bytes, that can be overcommitted by `slack`.
    pub fn new(limit: Option<u64>, slack: u64) -> Arc<Budget> {
        let bound = limit.map_or(u64::MAX, |l| l.saturating_add(slack));
        Arc::new(Budget {
            limit,
            bound,
            committed: AtomicU64::new(0),
            unseen: AtomicU64::new(0),
            used: AtomicU64::new(0),
        })
    }
    /// The limit in bytes.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }
    /// Bytes in use at the last look.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
    /// Bytes committed since the last look began.
    pub fn unseen(&self) -> u64 {
        self.unseen.load(Ordering::Relaxed)
    }
    /// A look begins.
    pub fn seen(&self) {
        self.unseen.store(0, Ordering::Relaxed);
    }
    /// Records a look.
    pub fn set_used(&self, n: u64) {
        self.used.store(n, Ordering::Relaxed);
    }
    /// Commits `len` bytes more; `ENOMEM` past the bound.
    pub(super) fn take(&self, len: u64) -> Result<()> {
        let fits = |c: u64| c.checked_add(len).filter(|&c| c <= self.bound);
        match self.committed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => {
                self.unseen.fetch_add(len, Ordering::Relaxed);
                Ok(())
            }
            Err(_) => Err(Errno::ENOMEM),
        }
    }
    #[cfg(test)]
    pub(super) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }
    /// Commits bytes that are held already.
    pub(super) fn add(&self, len: u64) {
        self.committed.fetch_add(len, Ordering::Relaxed);
    }
    /// Gives `len` bytes back.
    pub(super) fn give(&self, len: u64) {
        self.committed.fetch_sub(len, Ordering::Relaxed);
    }
    /// Commits `len` bytes until the answer is dropped: for the time in which they are mapped.
    pub(super) fn hold(self: &Arc<Self>, len: u64) -> Result<Held> {
        self.take(len)?;
        Ok(Held { budget: Arc::clone(self), len })
    }
}

/// See [`Budget::hold`].
pub(super) struct Held {
    budget: Arc<Budget>,
    len: u64,
}

impl Held {
    /// The bytes stay committed; whoever gives them back knows how many.
    pub(super) fn keep(mut self) {
        self.len = 0;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give(self.len);
    }
}
