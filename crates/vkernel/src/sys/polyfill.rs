//! The calls that interpreters of ours make beside those of Linux, by number [`megalith_abi::POLYFILL_CALL`]; the first argument is the operation.
//! For all other programs there is no such call.

use super::{Ctx, fs, proc};
use crate::errno::{Errno, Result};
use crate::exec;
use crate::process::INIT;
use crate::snapshot::State;
use crate::wait::lock;
use megalith_abi::PolyfillOp;
use sha2::digest::generic_array::{ArrayLength, GenericArray};
use std::sync::Arc;

/// Performs an operation.
pub(super) fn call(c: &mut Ctx<'_>) -> Result<i64> {
    match PolyfillOp::from_u64(c.a[0]).filter(|&op| c.task.program().calls.has_op(op)) {
        Some(PolyfillOp::Snapshot) => snapshot(c),
        Some(PolyfillOp::Cold) => cold(c),
        Some(PolyfillOp::Policy) => Ok(c.task.kernel.config.sealed.into()),
        Some(PolyfillOp::OpenCode) => fs::open_code(c),
        Some(PolyfillOp::Sha256) => sha256(c),
        Some(PolyfillOp::Sha512) => sha512(c),
        Some(PolyfillOp::Unchanged) => fs::unchanged(c),
        None => Err(Errno::ENOSYS),
    }
}

/// Bytes that one call hashes at most, so that signals need not wait.
const HASHED: usize = 256 << 10;

/// Calls `compress` with the blocks at the second argument, a piece at a time, up to [`HASHED`] bytes of as many as the third says. Returns how many.
fn blocks<N: ArrayLength<u8>>(c: &Ctx<'_>, mut compress: impl FnMut(&[GenericArray<u8, N>])) -> Result<i64> {
    const PIECE: usize = 4 << 10;
    let count = usize::try_from(c.a[3]).unwrap_or(usize::MAX).min(HASHED / N::USIZE);
    let mut bytes = [0; PIECE];
    let mut piece = vec![GenericArray::default(); count.min(PIECE / N::USIZE)];
    let mut done = 0;
    while done < count {
        piece.truncate(count - done);
        let bytes = &mut bytes[..piece.len() * N::USIZE];
        c.space().read(c.a[2].checked_add((done * N::USIZE) as u64).ok_or(Errno::EFAULT)?, bytes)?;
        piece.iter_mut().zip(bytes.chunks_exact(N::USIZE)).for_each(|(to, from)| to.copy_from_slice(from));
        compress(&piece);
        done += piece.len();
    }
    Ok(done as i64)
}

/// [`PolyfillOp::Sha256`].
fn sha256(c: &mut Ctx<'_>) -> Result<i64> {
    let mut bytes = [0; 32];
    c.space().read(c.a[1], &mut bytes)?;
    let mut state = [0; 8];
    state.iter_mut().zip(bytes.as_chunks().0).for_each(|(s, w)| *s = u32::from_le_bytes(*w));
    let done = blocks(c, |piece| sha2::compress256(&mut state, piece))?;
    bytes.as_chunks_mut().0.iter_mut().zip(state).for_each(|(w, s)| *w = s.to_le_bytes());
    c.space().write(c.a[1], &bytes)?;
    Ok(done)
}

/// [`PolyfillOp::Sha512`].
fn sha512(c: &mut Ctx<'_>) -> Result<i64> {
    let mut bytes = [0; 64];
    c.space().read(c.a[1], &mut bytes)?;
    let mut state = [0; 8];
    state.iter_mut().zip(bytes.as_chunks().0).for_each(|(s, w)| *s = u64::from_le_bytes(*w));
    let done = blocks(c, |piece| sha2::compress512(&mut state, piece))?;
    bytes.as_chunks_mut().0.iter_mut().zip(state).for_each(|(w, s)| *w = s.to_le_bytes());
    c.space().write(c.a[1], &bytes)?;
    Ok(done)
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
