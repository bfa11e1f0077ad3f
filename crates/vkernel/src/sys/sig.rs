//! Signals.

use super::Ctx;
use super::io::{sigset, with_mask};
use crate::errno::{ERESTARTNOHAND, Errno, Result};
use crate::process::{INIT, Pid, State};
use crate::signal::{self, Action, AltStack, SI_TKILL, SI_USER, SIG_DFL, SIG_IGN, SIGCONT, SigInfo, UNBLOCKABLE, bit};
use crate::wait::lock;
use megalith_abi::Gpr;
use std::sync::Arc;

pub(super) fn valid(sig: i32) -> Result<i32> {
    if (1..=signal::NSIG).contains(&sig) { Ok(sig) } else { Err(Errno::EINVAL) }
}

pub(super) fn rt_sigaction(c: &mut Ctx<'_>) -> Result<i64> {
    let sig = valid(c.int(0))?;
    if c.a[3] != 8 {
        return Err(Errno::EINVAL);
    }
    let new = if c.a[1] == 0 {
        None
    } else {
        let b: [u8; 32] = c.get(c.a[1])?;
        let w = |i: usize| u64::from_le_bytes(b[i * 8..i * 8 + 8].try_into().unwrap_or_default());
        Some(Action { handler: w(0), flags: w(1), restorer: w(2), mask: w(3) & !UNBLOCKABLE })
    };
    if new.is_some() && UNBLOCKABLE & bit(sig) != 0 {
        return Err(Errno::EINVAL);
    }
    let old = {
        let mut s = lock(&c.task.process.signals);
        let old = s.action(sig);
        if let Some(new) = new {
            if let Some(a) = s.actions.get_mut((sig - 1) as usize) {
                *a = new;
            }
            if s.ignores(sig) {
                s.remove(bit(sig));
            }
        }
        old
    };
    if c.a[2] != 0 {
        let mut b = [0u8; 32];
        for (b, w) in b.chunks_exact_mut(8).zip([old.handler, old.flags, old.restorer, old.mask]) {
            b.copy_from_slice(&w.to_le_bytes());
        }
        c.put(c.a[2], &b)?;
    }
    Ok(0)
}

pub(super) fn rt_sigprocmask(c: &mut Ctx<'_>) -> Result<i64> {
    if c.a[3] != 8 {
        return Err(Errno::EINVAL);
    }
    let set = if c.a[1] == 0 { None } else { Some(c.get_u64(c.a[1])?) };
    let old = c.task.mask();
    if let Some(set) = set {
        c.task.set_mask(match c.int(0) {
            0 => old | set,
            1 => old & !set,
            2 => set,
            _ => return Err(Errno::EINVAL),
        });
    }
    if c.a[2] != 0 {
        c.put_u64(c.a[2], old)?;
    }
    Ok(0)
}

pub(super) fn rt_sigreturn(c: &mut Ctx<'_>) -> Result<i64> {
    c.task.sigreturn(c.m)
}

pub(super) fn rt_sigpending(c: &mut Ctx<'_>) -> Result<i64> {
    if c.a[1] > 8 {
        return Err(Errno::EINVAL);
    }
    let p = {
        let s = lock(&c.task.process.signals);
        let tid = c.task.thread.tid;
        s.pending(tid) & s.own(tid).mask
    };
    let b = p.to_le_bytes();
    c.put(c.a[0], b.get(..c.a[1] as usize).unwrap_or(&b)).map(|()| 0)
}

pub(super) fn rt_sigsuspend(c: &mut Ctx<'_>) -> Result<i64> {
    let mask = sigset(c, c.a[0].max(1), c.a[1])?;
    with_mask(c, mask, |c| c.task.block::<i64>(&[], &[], None, ERESTARTNOHAND, |_| Ok(None)))
}
pub(super) fn pause(c: &mut Ctx<'_>) -> Result<i64> {
    c.task.block::<i64>(&[], &[], None, ERESTARTNOHAND, |_| Ok(None))
}

pub(super) fn rt_sigtimedwait(c: &mut Ctx<'_>) -> Result<i64> {
    if c.a[3] != 8 {
        return Err(Errno::EINVAL);
    }
    let set = c.get_u64(c.a[0])? & !UNBLOCKABLE;
    let timeout = if c.a[2] == 0 { None } else { Some(c.timespec(c.a[2])?) };
    let deadline = c.deadline(timeout);
    let process = Arc::clone(&c.task.process);
    let tid = c.task.thread.tid;
    lock(&process.signals).own_mut(tid).wanted = set;
    let info = c.task.block(&[], &[], deadline, Errno::EINTR, |timed_out| {
        if let Some(i) = lock(&process.signals).take(tid, set) {
            return Ok(Some(i));
        }
        if timed_out { Err(Errno::EAGAIN) } else { Ok(None) }
    });
    lock(&process.signals).own_mut(tid).wanted = 0;
    let info = info?;
    if c.a[1] != 0 {
        c.put(c.a[1], &info.0)?;
    }
    Ok(info.signo().into())
}

pub(super) fn sigaltstack(c: &mut Ctx<'_>) -> Result<i64> {
    let rsp = c.m.gpr(Gpr::Rsp);
    let old = lock(&c.task.process.signals).own(c.task.thread.tid).altstack;
    if c.a[0] != 0 {
        let b: [u8; 24] = c.get(c.a[0])?;
        let w = |i: usize| u64::from_le_bytes(b[i * 8..i * 8 + 8].try_into().unwrap_or_default());
        let flags = w(1) as u32;
        if old.contains(rsp) {
            return Err(Errno::EPERM);
        }
        let new = match flags & !(1 << 31) {
            2 => AltStack::NONE,
            0 | 1 if w(2) < 2048 => return Err(Errno::ENOMEM),
            0 | 1 => AltStack { sp: w(0), size: w(2), flags: flags & (1 << 31) },
            _ => return Err(Errno::EINVAL),
        };
        lock(&c.task.process.signals).own_mut(c.task.thread.tid).altstack = new;
    }
    if c.a[1] != 0 {
        let flags = if old.size == 0 { 2 } else { old.flags | u32::from(old.contains(rsp)) };
        let b: Vec<u8> = [old.sp, flags.into(), old.size].iter().flat_map(|w| w.to_le_bytes()).collect();
        c.put(c.a[1], &b)?;
    }
    Ok(0)
}

/// Whether the caller may signal a process (man 2 kill).
pub(super) fn allowed(c: &Ctx<'_>, target: &Arc<crate::process::Process>, sig: i32) -> bool {
    let (e, r) = {
        let me = lock(&c.task.process.ids);
        (me.euid, me.ruid)
    };
    if e == 0 || target.pid == c.task.process.pid {
        return true;
    }
    let them = lock(&target.ids).clone();
    if [them.ruid, them.suid].contains(&e) || [them.ruid, them.suid].contains(&r) {
        return true;
    }
    let tree = lock(&c.task.kernel.tree);
    let sid = |p: Pid| tree.nodes.get(&p).map(|n| n.sid);
    sig == SIGCONT && sid(target.pid) == sid(c.task.process.pid)
}

pub(super) fn send(c: &Ctx<'_>, target: &Arc<crate::process::Process>, info: Option<SigInfo>) {
    if let Some(i) = info {
        target.post(&c.task.kernel, i);
    }
}

/// What a process sends; `None` for signal 0, which only asks whether it might.
pub(super) fn info(c: &Ctx<'_>, sig: i32, code: i32) -> Result<Option<SigInfo>> {
    if sig == 0 {
        return Ok(None);
    }
    let uid = lock(&c.task.process.ids).ruid;
    Ok(Some(SigInfo::from_process(valid(sig)?, code, c.task.process.pid, uid)))
}

pub(super) fn kill(c: &mut Ctx<'_>) -> Result<i64> {
    let (pid, sig) = (c.int(0), c.int(1));
    let info = info(c, sig, SI_USER)?;
    let targets: Vec<Arc<crate::process::Process>> = {
        let tree = lock(&c.task.kernel.tree);
        let own = tree.nodes.get(&c.task.process.pid).map_or(0, |n| n.pgid);
        match pid {
            // The ID of a thread stands for its process.
            1.. => {
                let process = tree.nodes.get(&pid).map(|n| &n.process).or_else(|| tree.threads.get(&pid));
                process.map(Arc::clone).into_iter().collect()
            }
            -1 => tree
                .nodes
                .values()
                .filter(|n| {
                    n.process.pid != INIT && n.process.pid != c.task.process.pid && !matches!(n.state, State::Zombie(_))
                })
                .map(|n| Arc::clone(&n.process))
                .collect(),
            0 => tree.group(own),
            g => tree.group(g.checked_neg().ok_or(Errno::ESRCH)?),
        }
    };
    if targets.is_empty() {
        return Err(Errno::ESRCH);
    }
    let mut any = false;
    for t in &targets {
        if allowed(c, t, sig) {
            any = true;
            send(c, t, info);
        }
    }
    if any { Ok(0) } else { Err(Errno::EPERM) }
}

fn thread_kill(c: &mut Ctx<'_>, tgid: Option<i32>, tid: i32, sig: i32) -> Result<i64> {
    if tid <= 0 || tgid.is_some_and(|t| t <= 0) {
        return Err(Errno::EINVAL);
    }
    let i = info(c, sig, SI_TKILL)?;
    let t = c.task.kernel.thread_group(tid).filter(|p| tgid.is_none_or(|t| t == p.pid)).ok_or(Errno::ESRCH)?;
    if !allowed(c, &t, sig) {
        return Err(Errno::EPERM);
    }
    if let Some(i) = i {
        t.post_to(&c.task.kernel, tid, i);
    }
    Ok(0)
}
pub(super) fn tkill(c: &mut Ctx<'_>) -> Result<i64> {
    thread_kill(c, None, c.int(0), c.int(1))
}
pub(super) fn tgkill(c: &mut Ctx<'_>) -> Result<i64> {
    thread_kill(c, Some(c.int(0)), c.int(1), c.int(2))
}

/// `tgid`: to this thread of the process of that number, and not to the process.
fn queue_info(c: &mut Ctx<'_>, tgid: Option<i32>, id: i32, sig: i32, addr: u64) -> Result<i64> {
    let mut i = SigInfo(c.get(addr)?);
    i.0[..4].copy_from_slice(&valid(sig)?.to_le_bytes());
    let t = c.task.kernel.thread_group(id).filter(|p| tgid.is_none_or(|t| t == p.pid)).ok_or(Errno::ESRCH)?;
    if (i.code() >= 0 || i.code() == SI_TKILL) && t.pid != c.task.process.pid {
        return Err(Errno::EPERM);
    }
    if !allowed(c, &t, sig) {
        return Err(Errno::EPERM);
    }
    match tgid {
        Some(_) => t.post_to(&c.task.kernel, id, i),
        None => t.post(&c.task.kernel, i),
    }
    Ok(0)
}
pub(super) fn rt_sigqueueinfo(c: &mut Ctx<'_>) -> Result<i64> {
    queue_info(c, None, c.int(0), c.int(1), c.a[2])
}
pub(super) fn rt_tgsigqueueinfo(c: &mut Ctx<'_>) -> Result<i64> {
    if c.int(0) <= 0 || c.int(1) <= 0 {
        return Err(Errno::EINVAL);
    }
    queue_info(c, Some(c.int(0)), c.int(1), c.int(2), c.a[3])
}

/// Whether SIGTTIN/SIGTTOU would not reach a thread: used by terminals.
pub(crate) fn blocked_or_ignored(p: &crate::process::Process, tid: Pid, sig: i32) -> bool {
    let s = lock(&p.signals);
    let h = s.action(sig).handler;
    s.own(tid).mask & bit(sig) != 0 || h == SIG_IGN && h != SIG_DFL
}
