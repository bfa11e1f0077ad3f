//! `poll_oneoff`: waiting for clocks and descriptors at once.

use super::{Call, errno};
use crate::errno::{Errno, Result};
use crate::file::{Object, POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, position};
use crate::sys::io::wait_ready;
use crate::sys::time::until;
use std::time::Duration;

const SUBSCRIPTION: usize = 48;
const EVENT: usize = 32;
/// Subscriptions of one call.
const MAX: u32 = 4096;
/// `eventrwflags::fd_readwrite_hangup`.
const HANGUP: u16 = 1;

/// What one subscription waits for.
#[derive(Clone, Copy)]
enum Wanted {
    Clock(Duration),
    /// Descriptor, and the poll(2) events it is ready with.
    File(i32, u32),
    /// It cannot be waited for.
    Bad(Errno),
}

struct Subscription {
    userdata: u64,
    tag: u8,
    wanted: Wanted,
}

fn field<const N: usize>(b: &[u8], at: usize) -> [u8; N] {
    b.get(at..at + N).and_then(|s| s.try_into().ok()).unwrap_or([0; N])
}

fn subscription(b: &[u8]) -> Result<Subscription> {
    let tag = b.get(8).copied().unwrap_or(0xff);
    let wanted = match tag {
        0 => {
            let timeout = Duration::from_nanos(u64::from_le_bytes(field(b, 24)));
            let absolute = u16::from_le_bytes(field(b, 40)) & 1 != 0;
            match u32::from_le_bytes(field(b, 16)) {
                id @ (0 | 1) if absolute => Wanted::Clock(until(timeout, id == 0)),
                0 | 1 => Wanted::Clock(timeout),
                2 | 3 => Wanted::Bad(Errno::EOPNOTSUPP),
                _ => Wanted::Bad(Errno::EINVAL),
            }
        }
        1 | 2 => {
            // A number that no descriptor can have must not look like poll(2)'s "leave this out".
            let fd = i32::try_from(u32::from_le_bytes(field(b, 16))).unwrap_or(i32::MAX);
            Wanted::File(fd, if tag == 1 { POLLIN } else { POLLOUT })
        }
        _ => return Err(Errno::EINVAL),
    };
    Ok(Subscription { userdata: u64::from_le_bytes(field(b, 0)), tag, wanted })
}

fn event(s: &Subscription, error: u16, bytes: u64, flags: u16) -> [u8; EVENT] {
    let mut e = [0; EVENT];
    e[..8].copy_from_slice(&s.userdata.to_le_bytes());
    e[8..10].copy_from_slice(&error.to_le_bytes());
    e[10] = s.tag;
    e[16..24].copy_from_slice(&bytes.to_le_bytes());
    e[24..26].copy_from_slice(&flags.to_le_bytes());
    e
}

/// Bytes that can be read from a descriptor, as far as one can tell without reading: of a stream, that there is something.
fn readable(c: &Call<'_, '_>, fd: i32) -> u64 {
    let Ok(f) = c.open_file(fd) else { return 0 };
    match &f.object {
        Object::Inode(i) => i.stat().map_or(0, |s| s.size.saturating_sub(*position(&f))),
        Object::Stream(s) if s.poll() & POLLIN != 0 => 1,
        _ => 0,
    }
}

pub(super) fn poll_oneoff(c: &mut Call<'_, '_>) -> Result<()> {
    let (input, output, count, result) = (c.ptr(0), c.ptr(1), c.u32(2), c.ptr(3));
    if count == 0 || count > MAX {
        return Err(Errno::EINVAL);
    }
    let raw = c.c.get_vec(input, u64::from(count) * SUBSCRIPTION as u64, MAX as usize * SUBSCRIPTION)?;
    c.room(output, count as usize * EVENT)?;
    c.room(result, 4)?;
    let subscriptions: Vec<Subscription> = raw.chunks_exact(SUBSCRIPTION).map(subscription).collect::<Result<_>>()?;
    let mut timeout: Option<Duration> = None;
    let mut fds = Vec::new();
    for s in &subscriptions {
        match s.wanted {
            Wanted::Clock(t) => timeout = Some(timeout.map_or(t, |old| old.min(t))),
            Wanted::File(fd, events) => fds.push((fd, events)),
            Wanted::Bad(_) => timeout = Some(Duration::ZERO),
        }
    }
    let (revents, ready) = wait_ready(c.c, &fds, timeout)?;
    let mut revents = revents.into_iter();
    // Nothing is ready: the shortest of the times has passed.
    let passed = if ready == 0 { timeout } else { Some(Duration::ZERO) };
    let mut events: Vec<u8> = Vec::new();
    for s in &subscriptions {
        match s.wanted {
            Wanted::Clock(t) if passed.is_some_and(|p| t <= p) => events.extend(event(s, 0, 0, 0)),
            Wanted::Clock(_) => {}
            Wanted::Bad(e) => events.extend(event(s, errno::number(e), 0, 0)),
            Wanted::File(fd, wanted) => match revents.next().unwrap_or(0) {
                0 => {}
                r if r & POLLNVAL != 0 => events.extend(event(s, errno::number(Errno::EBADF), 0, 0)),
                r => {
                    let bytes = if wanted == POLLIN { readable(c, fd) } else { 0 };
                    let flags = if r & (POLLHUP | POLLERR) != 0 { HANGUP } else { 0 };
                    events.extend(event(s, 0, bytes, flags));
                }
            },
        }
    }
    c.c.put(output, &events)?;
    c.c.put_u32(result, (events.len() / EVENT) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions() {
        let mut b = [0u8; SUBSCRIPTION];
        b[..8].copy_from_slice(&7u64.to_le_bytes());
        b[24..32].copy_from_slice(&5_000_000_000u64.to_le_bytes());
        let s = subscription(&b).unwrap();
        assert_eq!(s.userdata, 7);
        assert!(matches!(s.wanted, Wanted::Clock(d) if d == Duration::from_secs(5)));
        // An absolute time in the past.
        b[40] = 1;
        assert!(matches!(subscription(&b).unwrap().wanted, Wanted::Clock(Duration::ZERO)));
        b[16] = 2;
        assert!(matches!(subscription(&b).unwrap().wanted, Wanted::Bad(Errno::EOPNOTSUPP)));
        b[8] = 2;
        b[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(subscription(&b).unwrap().wanted, Wanted::File(i32::MAX, POLLOUT)));
        b[8] = 3;
        assert!(subscription(&b).is_err());
    }
}
