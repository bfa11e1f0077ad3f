//! Independent jobs on all cores.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

/// `run` of each item, on as many threads as there are cores; the results in the items' order. All are run, whatever fails.
///
/// # Errors
/// That of the first item that failed.
pub fn map<T: Sync, R: Send>(items: &[T], run: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
    map_on(cores(), items, run)
}

/// How many threads [`map`] has.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

/// [`map`] on `threads` threads.
///
/// # Errors
/// That of the first item that failed.
pub fn map_on<T: Sync, R: Send>(threads: usize, items: &[T], run: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<Result<R>>>> = Mutex::new(items.iter().map(|_| None).collect());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(i) else { break };
                    let result = run(item);
                    if let Some(slot) = results.lock().unwrap_or_else(PoisonError::into_inner).get_mut(i) {
                        *slot = Some(result);
                    }
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.into_iter().map(|r| r.context("a job was not run")?).collect()
}
