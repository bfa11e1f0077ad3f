//! Arguments, environment, clocks, randomness, and the process itself.

use super::Call;
use crate::errno::{ERESTARTSYS, Errno, Result};
use crate::signal::{SI_USER, SigInfo};
use crate::sys::time::clock_value;
use crate::wait::lock;
use std::sync::Arc;

/// Address and strings of an array to write: each pointer to `pointers`, the NUL-terminated strings to `buf`.
fn give_strings(c: &mut Call<'_, '_>, strings: &[u8]) -> Result<()> {
    let (pointers, buf) = (c.ptr(0), c.ptr(1));
    let mut out = Vec::new();
    let mut at = buf;
    for s in strings.split_inclusive(|&b| b == 0) {
        out.extend_from_slice(&(at as u32).to_le_bytes());
        at += s.len() as u64;
    }
    c.room(pointers, out.len())?;
    c.c.put(buf, strings)?;
    c.c.put(pointers, &out)
}
fn give_sizes(c: &mut Call<'_, '_>, strings: &[u8]) -> Result<()> {
    let count = strings.iter().filter(|&&b| b == 0).count();
    c.room(c.ptr(1), 4)?;
    c.c.put_u32(c.ptr(0), count as u32)?;
    c.c.put_u32(c.ptr(1), strings.len() as u32)
}
fn args(c: &Call<'_, '_>) -> Arc<[u8]> {
    Arc::clone(&lock(&c.c.task.process.image).cmdline)
}
fn environ(c: &Call<'_, '_>) -> Arc<[u8]> {
    Arc::clone(&lock(&c.c.task.process.image).environ)
}
pub(super) fn args_get(c: &mut Call<'_, '_>) -> Result<()> {
    let s = args(c);
    give_strings(c, &s)
}
pub(super) fn args_sizes_get(c: &mut Call<'_, '_>) -> Result<()> {
    let s = args(c);
    give_sizes(c, &s)
}
pub(super) fn environ_get(c: &mut Call<'_, '_>) -> Result<()> {
    let s = environ(c);
    give_strings(c, &s)
}
pub(super) fn environ_sizes_get(c: &mut Call<'_, '_>) -> Result<()> {
    let s = environ(c);
    give_sizes(c, &s)
}

/// Preview 1 numbers its four clocks as Linux does: realtime, monotonic, process CPU time, thread CPU time.
fn clock(c: &Call<'_, '_>) -> Result<u32> {
    Some(c.u32(0)).filter(|&id| id <= 3).ok_or(Errno::EINVAL)
}
pub(super) fn clock_res_get(c: &mut Call<'_, '_>) -> Result<()> {
    clock(c)?;
    c.c.put_u64(c.ptr(1), 1)
}
pub(super) fn clock_time_get(c: &mut Call<'_, '_>) -> Result<()> {
    let id = clock(c)?;
    let t = clock_value(c.c, id)?;
    c.c.put_u64(c.ptr(2), u64::try_from(t.as_nanos()).unwrap_or(u64::MAX))
}

pub(super) fn random_get(c: &mut Call<'_, '_>) -> Result<()> {
    let (addr, len) = (c.ptr(0), c.u32(1) as usize);
    c.room(addr, len)?;
    let mut buf = vec![0u8; len.min(64 << 10)];
    let mut done = 0;
    while done < len {
        if c.c.task.interrupted() {
            return Err(ERESTARTSYS);
        }
        let chunk = buf.get_mut(..(len - done).min(64 << 10)).ok_or(Errno::EFAULT)?;
        c.c.task.kernel.fill_random(chunk)?;
        c.c.put(addr + done as u64, chunk)?;
        done += chunk.len();
    }
    Ok(())
}

pub(super) fn proc_exit(c: &mut Call<'_, '_>) -> Result<()> {
    let status = (c.u32(0) & 0xff) << 8;
    c.c.task.exit(status as i32);
    Ok(())
}

/// Linux number of a preview 1 signal. They agree up to `term`; preview 1 has no SIGSTKFLT.
fn signal(n: u32) -> Result<i32> {
    match n {
        1..=15 => Ok(n as i32),
        16..=30 => Ok(n as i32 + 1),
        _ => Err(Errno::EINVAL),
    }
}
pub(super) fn proc_raise(c: &mut Call<'_, '_>) -> Result<()> {
    let n = c.u32(0);
    if n == 0 {
        return Ok(());
    }
    let p = &c.c.task.process;
    let uid = lock(&p.ids).ruid;
    p.post(&c.c.task.kernel, SigInfo::from_process(signal(n)?, SI_USER, p.pid, uid));
    Ok(())
}
pub(super) fn sched_yield(c: &mut Call<'_, '_>) -> Result<()> {
    c.linux(crate::sys::proc::sched_yield, [0; 6]).map(drop)
}
