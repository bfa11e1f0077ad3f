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
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

fn anonymous_stat(ino: u64) -> Stat {
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

struct Interest {
    file: Weak<OpenFile>,
    events: u32,
    data: u64,
    /// Disarmed by EPOLLONESHOT.
    off: bool,
    /// Readiness last reported, for EPOLLET.
    last: u32,
}

struct Epoll {
    interest: Mutex<BTreeMap<(i32, usize), Interest>>,
    queue: WaitQueue,
    ino: u64,
}

impl Epoll {
    /// Ready entries (events, data), at most `max`; `report`: marks them as reported.
    fn ready(&self, max: usize, report: bool) -> Vec<(u32, u64)> {
        let mut interest = lock(&self.interest);
        interest.retain(|_, i| i.file.strong_count() > 0);
        let mut out = Vec::new();
        for i in interest.values_mut() {
            if out.len() >= max {
                break;
            }
            let Some(f) = i.file.upgrade() else { continue };
            if i.off {
                continue;
            }
            let now = f.poll() & (i.events & 0xffff | POLLERR | POLLHUP);
            let fresh = if i.events & EPOLLET != 0 { now & !i.last } else { now };
            if report && i.events & EPOLLET != 0 {
                i.last = now;
            }
            if now == 0 || fresh == 0 {
                continue;
            }
            if report && i.events & EPOLLONESHOT != 0 {
                i.off = true;
            }
            out.push((now, i.data));
        }
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
    let e = Arc::new(Epoll { interest: Mutex::default(), queue: WaitQueue::default(), ino: anonymous_ino() });
    c.add_fd(OpenFile::stream(e, 2), cloexec)
}
fn with_epoll<R>(c: &Ctx<'_>, f: impl FnOnce(&Epoll) -> Result<R>) -> Result<R> {
    let file = c.real_file(0)?;
    f(file.as_stream().and_then(|s| s.as_any().downcast_ref::<Epoll>()).ok_or(Errno::EINVAL)?)
}
pub(super) fn epoll_ctl(c: &mut Ctx<'_>) -> Result<i64> {
    let (op, fd) = (c.int(1), c.int(2));
    let target = lock(&c.task.process.fds).get(fd).map(Arc::clone)?;
    let event = if op == 2 {
        None
    } else {
        let b: [u8; 12] = c.get(c.a[3])?;
        Some((u32::from_le_bytes([b[0], b[1], b[2], b[3]]), u64::from_le_bytes(b[4..].try_into().unwrap_or_default())))
    };
    // Nesting would need cycle checks; regular files are always ready and refused, as Linux does.
    match target.as_stream() {
        None => return Err(Errno::EPERM),
        Some(s) if s.as_any().is::<Epoll>() => return Err(Errno::EINVAL),
        Some(_) => {}
    }
    with_epoll(c, |e| {
        let key = (fd, Arc::as_ptr(&target) as usize);
        let mut interest = lock(&e.interest);
        match (op, event) {
            (1, Some((events, data))) => {
                if interest.contains_key(&key) {
                    return Err(Errno::EEXIST);
                }
                interest.insert(key, Interest { file: Arc::downgrade(&target), events, data, off: false, last: 0 });
            }
            (2, _) => {
                interest.remove(&key).ok_or(Errno::ENOENT)?;
            }
            (3, Some((events, data))) => {
                let i = interest.get_mut(&key).ok_or(Errno::ENOENT)?;
                *i = Interest { file: Arc::downgrade(&target), events, data, off: false, last: 0 };
            }
            _ => return Err(Errno::EINVAL),
        }
        drop(interest);
        e.queue.wake();
        Ok(0)
    })
}
fn wait(c: &mut Ctx<'_>, timeout: Option<Duration>) -> Result<i64> {
    let max = c.int(2);
    if max <= 0 || max > 1 << 20 {
        return Err(Errno::EINVAL);
    }
    let deadline = c.deadline(timeout);
    let file = c.real_file(0)?;
    let e = file.as_stream().and_then(|s| s.as_any().downcast_ref::<Epoll>()).ok_or(Errno::EINVAL)?;
    let files: Vec<Arc<OpenFile>> = lock(&e.interest).values().filter_map(|i| i.file.upgrade()).collect();
    let mut queues = vec![&e.queue];
    let mut host = Vec::new();
    for f in &files {
        if let Some(s) = f.as_stream() {
            queues.extend(s.queue().into_iter().chain(s.second_queue()));
            host.extend(s.host().map(|fd| (fd, libc::POLLIN)));
        }
    }
    let ready = c.task.block(&queues, &host, deadline, ERESTARTNOHAND, |timed_out| {
        let r = e.ready(max as usize, true);
        Ok((!r.is_empty() || timed_out).then_some(r))
    })?;
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
