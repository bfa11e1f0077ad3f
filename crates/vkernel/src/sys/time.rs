//! Clocks, sleeping, timers.

use super::{Ctx, timespec_bytes};
use crate::errno::{ERESTARTNOHAND, Errno, Result};
use crate::signal::{SI_KERNEL, SIGALRM, SigInfo};
use crate::timer::Timer;
use crate::wait::lock;
use rustix::time::{ClockId, clock_gettime as host_clock};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Timers of setitimer(2) and alarm(2) in the process's table.
const ITIMER_REAL: i32 = -1;
const MAX_TIMERS: usize = 1024;

fn now(clock: u32) -> Option<Duration> {
    let id = match clock {
        0 => ClockId::Realtime,
        1 => ClockId::Monotonic,
        4 => ClockId::MonotonicRaw,
        5 => ClockId::RealtimeCoarse,
        6 => ClockId::MonotonicCoarse,
        7 => ClockId::Boottime,
        11 => ClockId::Realtime,
        _ => return None,
    };
    let t = host_clock(id);
    Some(Duration::new(t.tv_sec.max(0) as u64, t.tv_nsec as u32))
}

/// Time left until an absolute time of a clock.
pub(crate) fn until(t: Duration, realtime: bool) -> Duration {
    t.saturating_sub(now(u32::from(!realtime)).unwrap_or_default())
}

pub(crate) fn clock_value(c: &mut Ctx<'_>, clock: u32) -> Result<Duration> {
    if let Some(fixed) = c.task.kernel.fixed() {
        return Ok(fixed.time(matches!(clock, 0 | 5 | 11)));
    }
    if let Some(t) = now(clock) {
        return Ok(t);
    }
    // CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID, and the dynamic clock of a process.
    let ns = |n: &std::sync::atomic::AtomicU64| Ok(Duration::from_nanos(n.load(Ordering::Relaxed)));
    if clock == 2 || clock == 3 {
        c.task.account();
        return if clock == 2 { ns(&c.task.process.cpu_ns) } else { ns(&c.task.thread.cpu_ns) };
    }
    // Bit 2: of one thread. 2: the scheduler's clock.
    if clock as i32 & 3 == 2 && (clock as i32) < 0 {
        let (id, thread) = (!(clock as i32 >> 3), clock & 4 != 0);
        c.task.account();
        if thread {
            let id = if id == 0 { c.task.thread.tid } else { id };
            let s = lock(&c.task.process.signals);
            let own = Some(s.own(id)).filter(|o| o.thread.tid == id).ok_or(Errno::EINVAL)?;
            return ns(&own.thread.cpu_ns);
        }
        if id == 0 {
            return ns(&c.task.process.cpu_ns);
        }
        return ns(&c.task.kernel.process(id).ok_or(Errno::EINVAL)?.cpu_ns);
    }
    Err(Errno::EINVAL)
}

fn bytes(t: Duration) -> [u8; 16] {
    timespec_bytes(t.as_secs() as i64, t.subsec_nanos().into())
}

pub(super) fn clock_gettime(c: &mut Ctx<'_>) -> Result<i64> {
    let t = clock_value(c, c.uint(0))?;
    c.put(c.a[1], &bytes(t)).map(|()| 0)
}
pub(super) fn clock_getres(c: &mut Ctx<'_>) -> Result<i64> {
    let clock = c.uint(0);
    clock_value(c, clock)?;
    let ns = if matches!(clock, 5 | 6) { 4_000_000 } else { 1 };
    if c.a[1] != 0 {
        c.put(c.a[1], &timespec_bytes(0, ns))?;
    }
    Ok(0)
}
pub(super) fn clock_settime(c: &mut Ctx<'_>) -> Result<i64> {
    c.timespec(c.a[1])?;
    Err(Errno::EPERM)
}
pub(super) fn gettimeofday(c: &mut Ctx<'_>) -> Result<i64> {
    let t = clock_value(c, 0)?;
    if c.a[0] != 0 {
        c.put(c.a[0], &timespec_bytes(t.as_secs() as i64, t.subsec_micros().into()))?;
    }
    if c.a[1] != 0 {
        c.put(c.a[1], &[0; 8])?;
    }
    Ok(0)
}
pub(super) fn time(c: &mut Ctx<'_>) -> Result<i64> {
    let t = clock_value(c, 0)?.as_secs();
    if c.a[0] != 0 {
        c.put_u64(c.a[0], t)?;
    }
    Ok(t as i64)
}
pub(super) fn times(c: &mut Ctx<'_>) -> Result<i64> {
    c.task.account();
    let tick = |ns: u64| ns / 10_000_000;
    let p = &c.task.process;
    let (own, kids) = (tick(p.cpu_ns.load(Ordering::Relaxed)), tick(p.children_cpu_ns.load(Ordering::Relaxed)));
    if c.a[0] != 0 {
        let b: Vec<u8> = [own, 0, kids, 0].iter().flat_map(|w| w.to_le_bytes()).collect();
        c.put(c.a[0], &b)?;
    }
    Ok((now(7).unwrap_or_default().as_millis() / 10) as i64)
}

fn sleep(c: &mut Ctx<'_>, length: Duration, left_at: u64) -> Result<i64> {
    let deadline = c.deadline(Some(length));
    let r = c.task.block(&[], &[], deadline, ERESTARTNOHAND, |timed_out| Ok(timed_out.then_some(0)));
    if r.is_err() && left_at != 0 {
        let left = deadline.map_or(Duration::ZERO, |d| d.saturating_duration_since(std::time::Instant::now()));
        c.put(left_at, &bytes(left))?;
    }
    r
}
pub(super) fn nanosleep(c: &mut Ctx<'_>) -> Result<i64> {
    let t = c.timespec(c.a[0])?;
    sleep(c, t, c.a[1])
}
pub(super) fn clock_nanosleep(c: &mut Ctx<'_>) -> Result<i64> {
    let clock = c.uint(0);
    let t = c.timespec(c.a[2])?;
    if !matches!(clock, 0 | 1 | 7 | 11) {
        return Err(if clock == 2 { Errno::EOPNOTSUPP } else { Errno::EINVAL });
    }
    if c.uint(1) & 1 != 0 {
        let left = t.saturating_sub(now(clock).unwrap_or_default());
        return sleep(c, left, 0);
    }
    sleep(c, t, c.a[3])
}

// ---- interval timers ----

fn real_timer(c: &Ctx<'_>) -> Arc<Timer> {
    let mut timers = lock(&c.task.process.timers);
    let t = timers.entry(ITIMER_REAL).or_insert_with(|| {
        let process = Arc::downgrade(&c.task.process);
        let kernel = Arc::downgrade(&c.task.kernel);
        c.task.kernel.timers.timer(
            0,
            Box::new(move || {
                if let (Some(p), Some(k)) = (process.upgrade(), kernel.upgrade()) {
                    p.post(&k, SigInfo::new(SIGALRM, SI_KERNEL));
                }
            }),
        )
    });
    Arc::clone(t)
}
pub(super) fn alarm(c: &mut Ctx<'_>) -> Result<i64> {
    let secs = c.uint(0);
    let after = (secs != 0).then(|| Duration::from_secs(secs.into()));
    let (left, _) = real_timer(c).set(after, Duration::ZERO);
    // Rounded, but never to zero while it is armed.
    let mut s = left.as_secs() + u64::from(left.subsec_nanos() >= 500_000_000);
    if s == 0 && !left.is_zero() {
        s = 1;
    }
    Ok(s as i64)
}
fn timeval(c: &Ctx<'_>, addr: u64) -> Result<Duration> {
    let b: [u8; 16] = c.get(addr)?;
    let sec = i64::from_le_bytes(b[..8].try_into().unwrap_or_default());
    let usec = i64::from_le_bytes(b[8..].try_into().unwrap_or_default());
    if sec < 0 || !(0..1_000_000).contains(&usec) {
        return Err(Errno::EINVAL);
    }
    Ok(Duration::new(sec as u64, usec as u32 * 1000))
}
fn itimer_bytes((left, interval): (Duration, Duration)) -> Vec<u8> {
    [interval, left]
        .iter()
        .flat_map(|t| {
            timespec_bytes(
                t.as_secs() as i64,
                i64::from(t.subsec_micros()).max(i64::from(t.as_secs() == 0 && !t.is_zero())),
            )
        })
        .collect()
}
pub(super) fn setitimer(c: &mut Ctx<'_>) -> Result<i64> {
    match c.int(0) {
        0 => {}
        // Timers that count CPU time are not there.
        _ => return Err(Errno::EINVAL),
    }
    let (interval, value) = if c.a[1] == 0 {
        (Duration::ZERO, Duration::ZERO)
    } else {
        (timeval(c, c.a[1])?, timeval(c, c.a[1].wrapping_add(16))?)
    };
    let old = real_timer(c).set((!value.is_zero()).then_some(value), interval);
    if c.a[2] != 0 {
        c.put(c.a[2], &itimer_bytes(old))?;
    }
    Ok(0)
}
pub(super) fn getitimer(c: &mut Ctx<'_>) -> Result<i64> {
    let v = match c.int(0) {
        0 => real_timer(c).get(),
        1 | 2 => Default::default(),
        _ => return Err(Errno::EINVAL),
    };
    c.put(c.a[1], &itimer_bytes(v)).map(|()| 0)
}

// ---- POSIX timers ----

pub(super) fn timer_create(c: &mut Ctx<'_>) -> Result<i64> {
    let clock = c.uint(0);
    now(clock).ok_or(Errno::EINVAL)?;
    let (value, sig, notify, tid) = if c.a[1] == 0 {
        (None, SIGALRM, 0, 0)
    } else {
        let b: [u8; 24] = c.get(c.a[1])?;
        let word = |i: usize| i32::from_le_bytes(b[i..i + 4].try_into().unwrap_or_default());
        (Some(u64::from_le_bytes(b[..8].try_into().unwrap_or_default())), word(8), word(12), word(16))
    };
    match notify {
        0 if (1..=64).contains(&sig) => {}
        // SIGEV_THREAD_ID, which is what becomes of SIGEV_THREAD.
        4 if (1..=64).contains(&sig) => {
            c.task.kernel.thread_group(tid).filter(|p| Arc::ptr_eq(p, &c.task.process)).ok_or(Errno::EINVAL)?;
        }
        1 => {}
        _ => return Err(Errno::EINVAL),
    }
    let mut timers = lock(&c.task.process.timers);
    if timers.len() >= MAX_TIMERS {
        return Err(Errno::EAGAIN);
    }
    let id = (0..).find(|i| !timers.contains_key(i)).ok_or(Errno::EAGAIN)?;
    let process = Arc::downgrade(&c.task.process);
    let kernel = Arc::downgrade(&c.task.kernel);
    let timer = c.task.kernel.timers.timer(
        clock,
        Box::new(move || {
            if notify != 1
                && let (Some(p), Some(k)) = (process.upgrade(), kernel.upgrade())
            {
                let info = SigInfo::timer(sig, id, value.unwrap_or(id as u64));
                if notify == 4 { p.post_to(&k, tid, info) } else { p.post(&k, info) }
            }
        }),
    );
    timers.insert(id, timer);
    drop(timers);
    c.put_u32(c.a[2], id as u32).map(|()| 0)
}
fn timer(c: &Ctx<'_>) -> Result<Arc<Timer>> {
    let id = c.int(0);
    if id < 0 {
        return Err(Errno::EINVAL);
    }
    lock(&c.task.process.timers).get(&id).map(Arc::clone).ok_or(Errno::EINVAL)
}
fn itimerspec(c: &Ctx<'_>, addr: u64) -> Result<(Duration, Duration)> {
    Ok((c.timespec(addr)?, c.timespec(addr.wrapping_add(16))?))
}
fn itimerspec_bytes((left, interval): (Duration, Duration)) -> Vec<u8> {
    [interval, left].into_iter().flat_map(bytes).collect()
}
/// Arms `t` as timer_settime(2) and timerfd_settime(2) do. Returns the old setting.
pub(super) fn arm(c: &Ctx<'_>, t: &Arc<Timer>, absolute: bool, addr: u64) -> Result<(Duration, Duration)> {
    let (interval, value) = itimerspec(c, addr)?;
    let after = if value.is_zero() {
        None
    } else if absolute {
        Some(value.saturating_sub(now(t.clock).unwrap_or_default()))
    } else {
        Some(value)
    };
    Ok(t.set(after, interval))
}
pub(super) fn timer_settime(c: &mut Ctx<'_>) -> Result<i64> {
    let t = timer(c)?;
    let old = arm(c, &t, c.uint(1) & 1 != 0, c.a[2])?;
    if c.a[3] != 0 {
        c.put(c.a[3], &itimerspec_bytes(old))?;
    }
    Ok(0)
}
pub(super) fn timer_gettime(c: &mut Ctx<'_>) -> Result<i64> {
    let v = timer(c)?.get();
    c.put(c.a[1], &itimerspec_bytes(v)).map(|()| 0)
}
pub(super) fn timer_getoverrun(c: &mut Ctx<'_>) -> Result<i64> {
    Ok(timer(c)?.take_expirations().saturating_sub(1).min(i32::MAX as u64) as i64)
}
pub(super) fn timer_delete(c: &mut Ctx<'_>) -> Result<i64> {
    timer(c)?.cancel();
    lock(&c.task.process.timers).remove(&c.int(0));
    Ok(0)
}
pub(super) fn itimer_result(v: (Duration, Duration)) -> Vec<u8> {
    itimerspec_bytes(v)
}
pub(super) fn clock_known(clock: u32) -> bool {
    now(clock).is_some()
}
