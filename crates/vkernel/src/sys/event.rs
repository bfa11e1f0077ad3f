//! eventfd, timerfd, epoll.

use super::Ctx;
use super::io::{sigset, with_mask};
use crate::errno::{ERESTARTNOHAND, Errno, Result};
use crate::file::{Caller, OpenFile, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM, Stream};
use crate::pipe::anonymous_ino;
use crate::timer::Timer;
use crate::wait::{WaitQueue, lock};
use megalith_vfs::{OpenFlags, Stat};
use std::any::Any;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

pub(super) fn anonymous_stat(ino: u64) -> Stat {
    Stat { dev: 15, ino, mode: 0o600, nlink: 1, blksize: 4096, ..Stat::default() }
}

struct EventFd {
    count: Mutex<u64>,
    semaphore: bool,
    queue: WaitQueue,
    ino: u64,
}

impl Stream for EventFd {
    fn read(&self, _: &Caller<'_>, buf: &mut [u8]) -> Result<usize> {
        let out = buf.get_mut(..8).ok_or(Errno::EINVAL)?;
        let mut n = lock(&self.count);
        if *n == 0 {
            return Err(Errno::EAGAIN);
        }
        let v = if self.semaphore { 1 } else { *n };
        *n -= v;
        drop(n);
        out.copy_from_slice(&v.to_le_bytes());
        self.queue.wake();
        Ok(8)
    }
    fn write(&self, _: &Caller<'_>, data: &[u8]) -> Result<usize> {
        let v = data.get(..8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes).ok_or(Errno::EINVAL)?;
        if v == u64::MAX {
            return Err(Errno::EINVAL);
        }
        let mut n = lock(&self.count);
        *n = n.checked_add(v).filter(|&s| s < u64::MAX).ok_or(Errno::EAGAIN)?;
        drop(n);
        self.queue.wake();
        // A longer write counts as one of 8 bytes.
        Ok(data.len())
    }
    fn poll(&self) -> u32 {
        let n = *lock(&self.count);
        (if n > 0 { POLLIN | POLLRDNORM } else { 0 }) | if n < u64::MAX - 1 { POLLOUT | POLLWRNORM } else { 0 }
    }
    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }
    fn stat(&self) -> Result<Stat> {
        Ok(anonymous_stat(self.ino))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn type_name(&self) -> &'static str {
        "eventfd"
    }
}

fn eventfd_common(c: &mut Ctx<'_>, flags: u32) -> Result<i64> {
    if flags & !(1 | OpenFlags::O_NONBLOCK | OpenFlags::O_CLOEXEC) != 0 {
        return Err(Errno::EINVAL);
    }
    let e = Arc::new(EventFd {
        count: Mutex::new(c.uint(0).into()),
        semaphore: flags & 1 != 0,
        queue: WaitQueue::default(),
        ino: anonymous_ino(),
    });
    c.add_fd(OpenFile::stream(e, 2 | flags & OpenFlags::O_NONBLOCK), flags & OpenFlags::O_CLOEXEC != 0)
}
pub(super) fn eventfd(c: &mut Ctx<'_>) -> Result<i64> {
    eventfd_common(c, 0)
}
pub(super) fn eventfd2(c: &mut Ctx<'_>) -> Result<i64> {
    let flags = c.uint(1);
    eventfd_common(c, flags)
}

struct TimerFd {
    timer: Arc<Timer>,
    queue: Arc<WaitQueue>,
    ino: u64,
}

impl Stream for TimerFd {
    fn read(&self, _: &Caller<'_>, buf: &mut [u8]) -> Result<usize> {
        let out = buf.get_mut(..8).ok_or(Errno::EINVAL)?;
        match self.timer.take_expirations() {
            0 => Err(Errno::EAGAIN),
            n => {
                out.copy_from_slice(&n.to_le_bytes());
                Ok(8)
            }
        }
    }
    fn poll(&self) -> u32 {
        if self.timer.expirations.load(std::sync::atomic::Ordering::Acquire) > 0 { POLLIN | POLLRDNORM } else { 0 }
    }
    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }
    fn stat(&self) -> Result<Stat> {
        Ok(anonymous_stat(self.ino))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn type_name(&self) -> &'static str {
        "timerfd"
    }
}

impl Drop for TimerFd {
    fn drop(&mut self) {
        self.timer.cancel();
    }
}

pub(super) fn timerfd_create(c: &mut Ctx<'_>) -> Result<i64> {
    let (clock, flags) = (c.uint(0), c.uint(1));
    if flags & !(OpenFlags::O_NONBLOCK | OpenFlags::O_CLOEXEC) != 0 || !super::time::clock_known(clock) {
        return Err(Errno::EINVAL);
    }
    let queue = Arc::new(WaitQueue::default());
    let q = Arc::clone(&queue);
    let timer = c.task.kernel.timers.timer(clock, Box::new(move || q.wake()));
    let t = Arc::new(TimerFd { timer, queue, ino: anonymous_ino() });
    c.add_fd(OpenFile::stream(t, flags & OpenFlags::O_NONBLOCK), flags & OpenFlags::O_CLOEXEC != 0)
}
fn timerfd(c: &Ctx<'_>) -> Result<Arc<Timer>> {
    let f = c.real_file(0)?;
    let t = f.as_stream().and_then(|s| s.as_any().downcast_ref::<TimerFd>()).ok_or(Errno::EINVAL)?;
    Ok(Arc::clone(&t.timer))
}
pub(super) fn timerfd_settime(c: &mut Ctx<'_>) -> Result<i64> {
    let t = timerfd(c)?;
    let old = super::time::arm(c, &t, c.uint(1) & 1 != 0, c.a[2])?;
    if c.a[3] != 0 {
        c.put(c.a[3], &super::time::itimer_result(old))?;
    }
    Ok(0)
}
pub(super) fn timerfd_gettime(c: &mut Ctx<'_>) -> Result<i64> {
    let v = timerfd(c)?.get();
    c.put(c.a[1], &super::time::itimer_result(v)).map(|()| 0)
}

const EPOLLONESHOT: u32 = 1 << 30;
const EPOLLET: u32 = 1 << 31;

/// Epolls that may watch each other (`EP_MAX_NESTS`).
const MAX_NESTING: u32 = 5;
/// Bits of epoll_ctl(2) that are no readiness.
const EPOLLEXCLUSIVE: u32 = 1 << 28;
const EPOLLWAKEUP: u32 = 1 << 29;

struct Interest {
    file: Weak<OpenFile>,
    events: u32,
    data: u64,
    /// Disarmed by EPOLLONESHOT.
    off: bool,
    /// What was there at the last report, for EPOLLET: readiness, and the wake-ups so far. `None`: not reported yet.
    last: Option<(u32, (u64, u64))>,
}

impl Interest {
    /// Whether an edge has come since the last report, now that `now` is ready.
    fn fresh(&self, f: &Arc<OpenFile>, now: u32, wakes: (u64, u64)) -> bool {
        let Some((ready, (inputs, outputs))) = self.last else { return true };
        if f.as_stream().is_some_and(|s| s.host().is_some()) {
            // The host tells of readiness, not of its changes.
            return now & !ready != 0;
        }
        now & !ready != 0
            || now & !POLLOUT != 0 && inputs != wakes.0
            || self.events & POLLOUT != 0 && outputs != wakes.1
    }
}

#[derive(Default)]
struct Interests {
    map: BTreeMap<(i32, usize), Interest>,
    /// Where the last look for ready ones ended: the next begins behind it, so that all get their turn.
    next: (i32, usize),
}

struct Epoll {
    interest: Mutex<Interests>,
    /// Counts changes by epoll_ctl(2).
    changes: AtomicU64,
    queue: WaitQueue,
    ino: u64,
}

fn epoll_of(f: &OpenFile) -> Option<&Epoll> {
    f.as_stream().and_then(|s| s.as_any().downcast_ref::<Epoll>())
}

/// Wake-ups so far of what `f` is woken by.
fn wakes(f: &Arc<OpenFile>, depth: u32) -> (u64, u64) {
    let Some(s) = f.as_stream() else { return (0, 0) };
    let own = s.queue().into_iter().chain(s.second_queue()).map(WaitQueue::wakes);
    let inner = epoll_of(f).filter(|_| depth < MAX_NESTING).map(Epoll::files).unwrap_or_default();
    let inner = inner.iter().map(|f| wakes(f, depth + 1));
    own.chain(inner).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
}

/// `f`, and what it watches when it is an epoll: all whose queues wake who waits for `f`.
pub(super) fn sources(f: &Arc<OpenFile>, out: &mut Vec<Arc<OpenFile>>) {
    fn collect(f: &Arc<OpenFile>, depth: u32, out: &mut Vec<Arc<OpenFile>>) {
        out.push(Arc::clone(f));
        if depth < MAX_NESTING
            && let Some(e) = epoll_of(f)
        {
            e.files().iter().for_each(|f| collect(f, depth + 1, out));
        }
    }
    collect(f, 0, out);
}

/// Levels of epolls below and with `f`; `ELOOP` when `forbidden` is among them or there are too many.
fn depth_below(f: &Arc<OpenFile>, forbidden: &Epoll, depth: u32) -> Result<u32> {
    let Some(e) = epoll_of(f) else { return Ok(0) };
    if std::ptr::eq(e, forbidden) || depth >= MAX_NESTING {
        return Err(Errno::ELOOP);
    }
    let mut most = 0;
    for f in e.files() {
        most = most.max(depth_below(&f, forbidden, depth + 1)?);
    }
    Ok(most + 1)
}

impl Epoll {
    /// What is watched and still open.
    fn files(&self) -> Vec<Arc<OpenFile>> {
        lock(&self.interest).map.values().filter_map(|i| i.file.upgrade()).collect()
    }

    /// Ready entries (events, data), at most `max`; `report`: marks them as reported.
    fn ready(&self, max: usize, report: bool) -> Vec<(u32, u64)> {
        let mut out = Vec::new();
        // Dropped last: closing a file takes other locks.
        let mut files = Vec::new();
        let mut guard = lock(&self.interest);
        let Interests { map, next } = &mut *guard;
        map.retain(|_, i| i.file.strong_count() > 0);
        let keys: Vec<_> =
            map.range((Bound::Excluded(*next), Bound::Unbounded)).chain(map.range(..=*next)).map(|(k, _)| *k).collect();
        for key in keys {
            if out.len() >= max {
                break;
            }
            let Some(i) = map.get_mut(&key) else { continue };
            let Some(f) = i.file.upgrade() else { continue };
            if i.off {
                files.push(f);
                continue;
            }
            let wakes = wakes(&f, 0);
            let now = f.poll() & (i.events & 0xffff | POLLERR | POLLHUP);
            let fresh = now != 0 && (i.events & EPOLLET == 0 || i.fresh(&f, now, wakes));
            files.push(f);
            if report && i.events & EPOLLET != 0 {
                i.last = Some(if fresh { (now, wakes) } else { (now, i.last.map_or(wakes, |l| l.1)) });
            }
            if !fresh {
                continue;
            }
            if report {
                *next = key;
                i.off = i.events & EPOLLONESHOT != 0;
            }
            out.push((now, i.data));
        }
        drop(guard);
        out
    }
}

impl Stream for Epoll {
    fn poll(&self) -> u32 {
        if self.ready(1, false).is_empty() { 0 } else { POLLIN | POLLRDNORM }
    }
    fn queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }
    fn stat(&self) -> Result<Stat> {
        Ok(anonymous_stat(self.ino))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
    fn type_name(&self) -> &'static str {
        "eventpoll"
    }
}

pub(super) fn epoll_create(c: &mut Ctx<'_>) -> Result<i64> {
    if c.int(0) <= 0 {
        return Err(Errno::EINVAL);
    }
    make_epoll(c, false)
}
pub(super) fn epoll_create1(c: &mut Ctx<'_>) -> Result<i64> {
    if c.uint(0) & !OpenFlags::O_CLOEXEC != 0 {
        return Err(Errno::EINVAL);
    }
    let cloexec = c.uint(0) != 0;
    make_epoll(c, cloexec)
}
fn make_epoll(c: &mut Ctx<'_>, cloexec: bool) -> Result<i64> {
    let e = Arc::new(Epoll {
        interest: Mutex::default(),
        changes: AtomicU64::new(0),
        queue: WaitQueue::default(),
        ino: anonymous_ino(),
    });
    c.add_fd(OpenFile::stream(e, 2), cloexec)
}
fn with_epoll<R>(c: &Ctx<'_>, f: impl FnOnce(&Epoll) -> Result<R>) -> Result<R> {
    let file = c.real_file(0)?;
    f(file.as_stream().and_then(|s| s.as_any().downcast_ref::<Epoll>()).ok_or(Errno::EINVAL)?)
}
/// Keeps two epolls from being put into each other at the same time.
static NESTING: Mutex<()> = Mutex::new(());

pub(super) fn epoll_ctl(c: &mut Ctx<'_>) -> Result<i64> {
    let (op, fd) = (c.int(1), c.int(2));
    let target = lock(&c.task.process.fds).get(fd).map(Arc::clone)?;
    let event = if op == 2 {
        None
    } else {
        let b: [u8; 12] = c.get(c.a[3])?;
        let events = u32::from_le_bytes([b[0], b[1], b[2], b[3]]) & !EPOLLWAKEUP;
        Some((events, u64::from_le_bytes(b[4..].try_into().unwrap_or_default())))
    };
    // Regular files are always ready, and refused.
    if target.as_stream().is_none() {
        return Err(Errno::EPERM);
    }
    let nested = epoll_of(&target).is_some();
    // EPOLLEXCLUSIVE wakes all here: at least one is what it promises.
    let with = EPOLLEXCLUSIVE | EPOLLET | POLLIN | POLLOUT | POLLERR | POLLHUP | POLLRDNORM | POLLWRNORM;
    if let Some((events, _)) = event
        && events & EPOLLEXCLUSIVE != 0
        && (op != 1 || nested || events & !with != 0)
    {
        return Err(Errno::EINVAL);
    }
    with_epoll(c, |e| {
        if epoll_of(&target).is_some_and(|t| std::ptr::eq(t, e)) {
            return Err(Errno::EINVAL);
        }
        let _order = (op == 1 && nested).then(|| lock(&NESTING));
        if op == 1 && nested {
            depth_below(&target, e, 1)?;
        }
        let key = (fd, Arc::as_ptr(&target) as usize);
        let new = |(events, data)| Interest { file: Arc::downgrade(&target), events, data, off: false, last: None };
        let mut interest = lock(&e.interest);
        match (op, event) {
            (1, Some((events, data))) => {
                if interest.map.contains_key(&key) {
                    return Err(Errno::EEXIST);
                }
                interest.map.insert(key, new((events, data)));
            }
            (2, _) => {
                interest.map.remove(&key).ok_or(Errno::ENOENT)?;
            }
            (3, Some(event)) => {
                let i = interest.map.get_mut(&key).ok_or(Errno::ENOENT)?;
                if i.events & EPOLLEXCLUSIVE != 0 {
                    return Err(Errno::EINVAL);
                }
                *i = new(event);
            }
            _ => return Err(Errno::EINVAL),
        }
        drop(interest);
        e.changes.fetch_add(1, Ordering::SeqCst);
        e.queue.wake();
        Ok(0)
    })
}
fn wait(c: &mut Ctx<'_>, timeout: Option<Duration>) -> Result<i64> {
    let max = c.int(2);
    if max <= 0 || max as usize > i32::MAX as usize / 12 {
        return Err(Errno::EINVAL);
    }
    let deadline = c.deadline(timeout);
    let file = c.real_file(0)?;
    let e = epoll_of(&file).ok_or(Errno::EINVAL)?;
    let ready = loop {
        let changes = e.changes.load(Ordering::SeqCst);
        let mut files = Vec::new();
        sources(&file, &mut files);
        let mut queues = Vec::new();
        let mut host = Vec::new();
        for s in files.iter().filter_map(|f| f.as_stream()) {
            queues.extend(s.queue().into_iter().chain(s.second_queue()));
            host.extend(s.host().map(|fd| (fd, libc::POLLIN)));
        }
        let r = c.task.block(&queues, &host, deadline, ERESTARTNOHAND, |timed_out| {
            let r = e.ready(max as usize, true);
            if !r.is_empty() || timed_out {
                return Ok(Some(Some(r)));
            }
            // Something else is to be waited for now.
            Ok((e.changes.load(Ordering::SeqCst) != changes).then_some(None))
        })?;
        if let Some(r) = r {
            break r;
        }
    };
    c.task.restart_deadline = None;
    let bytes: Vec<u8> =
        ready.iter().flat_map(|(ev, data)| ev.to_le_bytes().into_iter().chain(data.to_le_bytes())).collect();
    c.put(c.a[1], &bytes)?;
    Ok(ready.len() as i64)
}
pub(super) fn epoll_wait(c: &mut Ctx<'_>) -> Result<i64> {
    let t = c.int(3);
    wait(c, u64::try_from(t).ok().map(Duration::from_millis))
}
pub(super) fn epoll_pwait(c: &mut Ctx<'_>) -> Result<i64> {
    let mask = sigset(c, c.a[4], c.a[5])?;
    let t = c.int(3);
    with_mask(c, mask, |c| wait(c, u64::try_from(t).ok().map(Duration::from_millis)))
}
pub(super) fn epoll_pwait2(c: &mut Ctx<'_>) -> Result<i64> {
    let timeout = if c.a[3] == 0 { None } else { Some(c.timespec(c.a[3])?) };
    let mask = sigset(c, c.a[4], c.a[5])?;
    with_mask(c, mask, |c| wait(c, timeout))
}
