//! Host threads for guest processes, kept and reused: the last one to become idle is the first to run again.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

/// Bytes of a thread's stack that wasm frames may use. Reserved, and committed as far as it is touched.
pub(super) const WASM_STACK: usize = 256 << 20;
/// What host functions may use below that.
const HOST_STACK: usize = 1 << 20;

type Job = Box<dyn FnOnce() + Send>;

struct Worker {
    job: Mutex<Option<Job>>,
    ready: Condvar,
}

impl Worker {
    fn with(job: Job) -> Arc<Worker> {
        Arc::new(Worker { job: Mutex::new(Some(job)), ready: Condvar::new() })
    }
    fn take(&self) -> Option<Job> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Idle threads.
#[derive(Default)]
pub(super) struct Threads {
    idle: Mutex<Vec<Arc<Worker>>>,
}

impl Threads {
    /// Runs `job` on an idle thread, or on a new one.
    ///
    /// # Errors
    /// When the host makes no more threads; the job comes back.
    pub(super) fn run(self: &Arc<Self>, job: Job) -> Result<(), (io::Error, Job)> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(worker) => {
                *worker.job.lock().unwrap_or_else(PoisonError::into_inner) = Some(job);
                worker.ready.notify_one();
            }
            None => {
                let me = Worker::with(job);
                let (threads, worker) = (Arc::clone(self), Arc::clone(&me));
                thread::Builder::new()
                    .name("guest".into())
                    .stack_size(WASM_STACK + HOST_STACK)
                    .spawn(move || threads.work(worker))
                    .map(drop)
                    .or_else(|e| me.take().map_or(Ok(()), |job| Err((e, job))))?;
            }
        }
        Ok(())
    }

    fn work(self: Arc<Self>, me: Arc<Worker>) {
        loop {
            let mut next = me.job.lock().unwrap_or_else(PoisonError::into_inner);
            let job = loop {
                match next.take() {
                    Some(j) => break j,
                    None => next = me.ready.wait(next).unwrap_or_else(PoisonError::into_inner),
                }
            };
            drop(next);
            // A panic in a job is a bug; it has been reported by the panic hook, and must cost no more than its process.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
            release_stack();
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&me));
        }
    }
}

/// Gives the deep part of the calling thread's stack back to the host.
fn release_stack() {
    const KEEP: usize = 256 << 10;
    const PAGE: usize = 4096;
    let here = 0u8;
    let top = (&raw const here) as usize & !(PAGE - 1);
    // Below the frames in use: nothing of this range is live, and it stays inside of the stack.
    let (start, end) = (top - WASM_STACK + PAGE, top - KEEP);
    // SAFETY: the range lies in this thread's stack (which is WASM_STACK + HOST_STACK long and nearly unused here), below every live frame.
    unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
}
