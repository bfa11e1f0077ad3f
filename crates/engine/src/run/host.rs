//! `vkernel.*`: what recompiled code imports (`megalith_abi::VKERNEL_IMPORTS`), as calls of the kernel's [`Task`].

use megalith_abi::{Reason, UNWIND, VKERNEL_MODULE};
use megalith_vkernel::{Outcome, Task};
use wasmtime::{AsContextMut, Caller, Linker};

use super::Guest;
use super::registers::Registers;

/// Calls `f` with the task and the registers of the calling instance. The task is out of the store meanwhile, because the registers
/// are reached through the store.
#[inline]
pub(super) fn with_task<R>(
    store: &mut impl AsContextMut<Data = Guest>,
    f: impl FnOnce(&mut Task, &mut Registers) -> R,
) -> wasmtime::Result<R> {
    let mut store = store.as_context_mut();
    let guest = store.data_mut();
    let (Some(mut task), Some(handles)) = (guest.task.take(), guest.registers.take()) else {
        return Err(wasmtime::Error::msg("the vkernel was entered without a task"));
    };
    let r = f(&mut task, &mut Registers { store: store.as_context_mut(), handles: &handles });
    let guest = store.data_mut();
    guest.task = Some(task);
    guest.registers = Some(handles);
    Ok(r)
}

/// The task alone.
#[inline]
fn task<'a>(caller: &'a mut Caller<'_, Guest>) -> wasmtime::Result<&'a mut Task> {
    caller.data_mut().task.as_deref_mut().ok_or_else(|| wasmtime::Error::msg("the vkernel was entered without a task"))
}

/// Defines all functions of module `vkernel`.
pub(super) fn define(l: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let m = VKERNEL_MODULE;
    l.func_wrap(
        m,
        "syscall",
        |mut c: Caller<'_, Guest>,
         nr: i64,
         a0: i64,
         a1: i64,
         a2: i64,
         a3: i64,
         a4: i64,
         a5: i64|
         -> wasmtime::Result<i64> {
            let args = [a0 as u64, a1 as u64, a2 as u64, a3 as u64, a4 as u64, a5 as u64];
            with_task(&mut c, |t, r| match t.syscall(r, nr as u64, args) {
                Outcome::Return(v) => v,
                Outcome::Unwind => UNWIND,
            })
        },
    )?;
    l.func_wrap(m, "resolve", |mut c: Caller<'_, Guest>, pc: i64| {
        with_task(&mut c, |t, r| match t.resolve(r, pc as u64) {
            // Bit 31 of the label would make the answer negative; there are never that many.
            Some((index, label)) if label <= i32::MAX as u32 => i64::from(index) | i64::from(label) << 32,
            _ => -1,
        })
    })?;
    l.func_wrap(m, "unwound", |mut c: Caller<'_, Guest>, reason: i32| {
        let reason = Reason::from_u32(reason as u32)
            .ok_or_else(|| wasmtime::Error::msg(format!("code unwound for the unknown reason {reason}")))?;
        with_task(&mut c, |t, r| t.unwound(r, reason))
    })?;
    l.func_wrap(m, "start", |mut c: Caller<'_, Guest>| with_task(&mut c, |t, r| t.start(r) as i64))?;
    l.func_wrap(m, "x87", |mut c: Caller<'_, Guest>, op: i32, arg: i32, addr: i64| {
        task(&mut c)?.x87(op as u32, arg as u32, addr as u64).map_err(|t| wasmtime::Error::from(X87Fault(t)))
    })?;
    l.func_wrap(m, "cpuid", |mut c: Caller<'_, Guest>, leaf: i32, subleaf: i32| {
        let (a, b, x, d) = task(&mut c)?.cpuid(leaf as u32, subleaf as u32);
        Ok((a as i32, b as i32, x as i32, d as i32))
    })?;
    l.func_wrap(m, "rdtsc", |mut c: Caller<'_, Guest>| Ok(task(&mut c)?.rdtsc() as i64))?;
    l.func_wrap(m, "udiv128", |hi: i64, lo: i64, d: i64| udiv128(hi as u64, lo as u64, d as u64))?;
    l.func_wrap(m, "sdiv128", sdiv128)?;
    l.func_wrap(m, "notice", |mut c: Caller<'_, Guest>, kind: i32, arg: i64| {
        task(&mut c)?.notice(kind as u32, arg as u64);
        Ok(())
    })?;
    Ok(())
}

/// An x87 operation that did not complete, on its way out of guest code.
#[derive(Clone, Copy, Debug)]
pub(super) struct X87Fault(pub(super) megalith_fpu::Trap);

impl std::fmt::Display for X87Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "x87 fault: {:?}", self.0)
    }
}

impl std::error::Error for X87Fault {}

/// Quotient and remainder of `hi:lo / d`, truncated to 64 bits; (0, 0) where x86 raises #DE for `d == 0` (the caller has checked).
fn udiv128(hi: u64, lo: u64, d: u64) -> (i64, i64) {
    let n = u128::from(hi) << 64 | u128::from(lo);
    match u128::from(d) {
        0 => (0, 0),
        d => ((n / d) as u64 as i64, (n % d) as u64 as i64),
    }
}

/// The same, signed.
fn sdiv128(hi: i64, lo: i64, d: i64) -> (i64, i64) {
    let n = i128::from(hi) << 64 | i128::from(lo as u64);
    match i128::from(d) {
        0 => (0, 0),
        d => (n.wrapping_div(d) as i64, n.wrapping_rem(d) as i64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn division() {
        assert_eq!(udiv128(1, 0, 2), (i64::MIN, 0));
        assert_eq!(udiv128(0, 7, 2), (3, 1));
        assert_eq!(sdiv128(-1, -7, 2), (-3, -1));
        assert_eq!(sdiv128(i64::MIN, 0, -1), (0, 0));
        assert_eq!(udiv128(1, 1, 0), (0, 0));
    }
}
