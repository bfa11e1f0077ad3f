//! The calls that interpreters of ours make beside those of Linux, by number [`megalith_abi::POLYFILL_CALL`]; the first argument is the operation.
//! For all other programs there is no such call.

use super::{Ctx, fs, proc};
use crate::errno::{Errno, Result};
use crate::exec;
use crate::process::INIT;
use crate::snapshot::State;
use crate::wait::lock;
use megalith_abi::PolyfillOp;
use std::sync::Arc;

/// Performs an operation.
pub(super) fn call(c: &mut Ctx<'_>) -> Result<i64> {
    match PolyfillOp::from_u64(c.a[0]) {
        Some(PolyfillOp::Snapshot) => snapshot(c),
        Some(PolyfillOp::Cold) => cold(c),
        Some(PolyfillOp::Policy) => Ok(c.task.kernel.config.sealed.into()),
        Some(PolyfillOp::OpenCode) => fs::open_code(c),
        None => Err(Errno::ENOSYS),
    }
}

/// Takes the snapshot, if that is what the container runs for, and ends the process. Otherwise 0: a start like any other.
fn snapshot(c: &mut Ctx<'_>) -> Result<i64> {
    let kernel = Arc::clone(&c.task.kernel);
    let Some(fixed) = kernel.fixed().filter(|_| c.task.process.pid == INIT) else { return Ok(0) };
    // What a snapshot cannot hold.
    let alone = lock(&kernel.tree).nodes.len() == 1 && !c.space().threaded() && lock(&c.task.process.timers).is_empty();
    if !alone || lock(&c.task.process.fds).iter().any(|(fd, _)| fd > 2) {
        kernel.audit("no snapshot: the program has children, threads, timers, or open files other than 0, 1 and 2");
        return Err(Errno::EBUSY);
    }
    let file = fixed.take().ok_or(Errno::EBUSY)?;
    let regs = c.m.load();
    let mut state = State::new(&regs, &c.task.fpu, &lock(&c.task.process.signals), &c.task.leave);
    let written = {
        let space = c.space();
        let program = exec::program_file(c.task.program(), Arc::from(&b""[..]), 0);
        space.describe(&program, &mut state).and_then(|pages| state.write(file, |out| space.write_pages(&pages, out)))
    };
    if let Err(e) = written {
        kernel.audit(&format!("no snapshot: {}", e.message()));
        return Err(e);
    }
    c.task.exit_or_resume(c.m, 0);
    c.task.unwind = true;
    Ok(0)
}

/// Starts the program again, without its snapshot.
fn cold(c: &mut Ctx<'_>) -> Result<i64> {
    let process = Arc::clone(&c.task.process);
    let limits = *lock(&process.rlimits);
    let fs = lock(&process.fs).clone();
    let ids = lock(&process.ids).clone();
    let image = lock(&process.image).clone();
    let loaded = exec::load_cold(&c.task.kernel, &fs, &ids, &limits, &image)?;
    c.task.end_others()?;
    proc::replace(c, loaded);
    Ok(0)
}
