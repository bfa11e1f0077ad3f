//! Byte accounting.

use crate::{Errno, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A limit on bytes, shared by all that counts against it (upper layers, guest memory). Cheap to share: `Arc<Budget>`.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    used: AtomicU64,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: u64) -> Arc<Budget> {
        Arc::new(Budget { limit, used: AtomicU64::new(0) })
    }
    /// No limit, only counting.
    pub fn unlimited() -> Arc<Budget> {
        Budget::new(u64::MAX)
    }
    /// Takes `n` bytes; false, and takes none, when they are not there.
    pub fn charge(&self, n: u64) -> bool {
        self.used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |u| u.checked_add(n).filter(|&u| u <= self.limit))
            .is_ok()
    }
    /// Takes `n` bytes that are in use already, also beyond the limit.
    pub fn charge_anyway(&self, n: u64) {
        let _ = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |u| Some(u.saturating_add(n)));
    }
    /// Gives `n` bytes back.
    pub fn release(&self, n: u64) {
        let _ = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |u| Some(u.saturating_sub(n)));
    }
    /// Bytes taken.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }
    /// The limit in bytes.
    pub fn limit(&self) -> u64 {
        self.limit
    }
    /// Bytes left.
    pub fn free(&self) -> u64 {
        self.limit.saturating_sub(self.used())
    }
}

/// What one object has taken of a budget; given back when it is dropped.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Charge {
    /// Nothing of `budget` yet.
    pub fn none(budget: &Arc<Budget>) -> Charge {
        Charge { budget: budget.clone(), bytes: 0 }
    }
    /// `bytes` of `budget`; ENOSPC when they are not there.
    pub fn take(budget: &Arc<Budget>, bytes: u64) -> Result<Charge> {
        let mut c = Charge::none(budget);
        c.set(bytes)?;
        Ok(c)
    }
    /// Bytes taken.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
    pub(crate) fn free(&self) -> u64 {
        self.budget.free()
    }
    /// Changes the charge to `bytes`; ENOSPC (and no change) when that is more than there is.
    pub fn set(&mut self, bytes: u64) -> Result<()> {
        if bytes > self.bytes {
            if !self.budget.charge(bytes - self.bytes) {
                return Err(Errno::ENOSPC);
            }
        } else {
            self.budget.release(self.bytes - bytes);
        }
        self.bytes = bytes;
        Ok(())
    }
    /// Changes the charge to `bytes` that are in use already.
    pub fn set_anyway(&mut self, bytes: u64) {
        if bytes > self.bytes {
            self.budget.charge_anyway(bytes - self.bytes);
        } else {
            self.budget.release(self.bytes - bytes);
        }
        self.bytes = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}
