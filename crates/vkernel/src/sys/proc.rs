//! Processes, identities, limits, and the system as a whole.

use super::Ctx;
use crate::errno::{ERESTARTSYS, Errno, Result};
use crate::exec::{self, ArgRoom, ExecRequest};
use crate::file::closed;
use crate::process::{Node, Pid, Process, State, WCONTINUED, WEXITED, WNOHANG, WNOWAIT, WUNTRACED, Waited, Which};
use crate::regs::Regs;
use crate::signal::{SIGCHLD, SigInfo};
use crate::thread::{Leave, Thread};
use crate::wait::{WaitQueue, lock};
use megalith_abi::Gpr;
use megalith_vfs::WalkFlags;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

const CLONE_VM: u64 = 0x100;
const CLONE_FS: u64 = 0x200;
const CLONE_FILES: u64 = 0x400;
const CLONE_SIGHAND: u64 = 0x800;
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_VFORK: u64 = 0x4000;
const CLONE_PARENT: u64 = 0x8000;
const CLONE_THREAD: u64 = 0x10000;
const CLONE_SETTLS: u64 = 0x8_0000;
const CLONE_PARENT_SETTID: u64 = 0x10_0000;
const CLONE_CHILD_CLEARTID: u64 = 0x20_0000;
const CLONE_CHILD_SETTID: u64 = 0x100_0000;
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const NAMESPACES: u64 = 0x7e02_0080;

pub(super) fn getpid(c: &mut Ctx<'_>) -> Result<i64> {
    Ok(c.task.process.pid.into())
}
pub(super) fn gettid(c: &mut Ctx<'_>) -> Result<i64> {
    Ok(c.task.thread.tid.into())
}
pub(super) fn getppid(c: &mut Ctx<'_>) -> Result<i64> {
    Ok(lock(&c.task.kernel.tree).nodes.get(&c.task.process.pid).map_or(0, |n| n.ppid.into()))
}

struct CloneArgs {
    flags: u64,
    exit_signal: i32,
    stack: u64,
    parent_tid: u64,
    child_tid: u64,
    tls: u64,
}

pub(super) fn fork(c: &mut Ctx<'_>) -> Result<i64> {
    make_process(c, &CloneArgs { flags: 0, exit_signal: SIGCHLD, stack: 0, parent_tid: 0, child_tid: 0, tls: 0 })
}
pub(super) fn vfork(c: &mut Ctx<'_>) -> Result<i64> {
    let flags = CLONE_VM | CLONE_VFORK;
    make_process(c, &CloneArgs { flags, exit_signal: SIGCHLD, stack: 0, parent_tid: 0, child_tid: 0, tls: 0 })
}
pub(super) fn clone(c: &mut Ctx<'_>) -> Result<i64> {
    let [flags, stack, parent_tid, child_tid, tls, _] = c.a;
    let args =
        CloneArgs { flags: flags & 0xffff_ff00, exit_signal: (flags & 0xff) as i32, stack, parent_tid, child_tid, tls };
    make_process(c, &args)
}
pub(super) fn clone3(c: &mut Ctx<'_>) -> Result<i64> {
    if c.a[1] < 64 {
        return Err(Errno::EINVAL);
    }
    let b = c.get_vec(c.a[0], c.a[1], 4096).map_err(|e| if e == Errno::EINVAL { Errno::E2BIG } else { e })?;
    let w = |i: usize| b.get(i * 8..i * 8 + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
    if b.get(88..).is_some_and(|r| r.iter().any(|&x| x != 0)) {
        return Err(Errno::E2BIG);
    }
    let (flags, stack, size) = (w(0), w(5), w(6));
    if w(4) > 64 || (stack == 0) != (size == 0) || flags & 0xff != 0 || w(8) != 0 || w(9) != 0 {
        return Err(Errno::EINVAL);
    }
    let stack = if stack == 0 { 0 } else { stack.wrapping_add(size) };
    make_process(c, &CloneArgs { flags, exit_signal: w(4) as i32, stack, parent_tid: w(3), child_tid: w(2), tls: w(7) })
}

impl CloneArgs {
    /// What the child begins with: the caller's registers, but for what the call returns and what was asked for.
    fn registers(&self, c: &mut Ctx<'_>) -> Regs {
        let mut regs = c.m.load();
        regs.set(Gpr::Rax, 0);
        if self.stack != 0 {
            regs.set(Gpr::Rsp, self.stack);
        }
        if self.flags & CLONE_SETTLS != 0 {
            regs.fs_base = self.tls;
        }
        regs
    }
    fn leave(&self) -> Leave {
        Leave { clear_tid: if self.flags & CLONE_CHILD_CLEARTID != 0 { self.child_tid } else { 0 }, robust_list: 0 }
    }
}

fn make_process(c: &mut Ctx<'_>, q: &CloneArgs) -> Result<i64> {
    let flags = q.flags;
    if flags & CLONE_THREAD != 0 {
        return make_thread(c, q);
    }
    if flags & NAMESPACES != 0 {
        return Err(Errno::EPERM);
    }
    let vm = flags & CLONE_VM != 0;
    if vm && flags & CLONE_VFORK == 0 || flags & (CLONE_FILES | CLONE_FS | CLONE_SIGHAND) != 0 && !vm {
        return Err(Errno::ENOSYS);
    }
    if flags & CLONE_SIGHAND != 0 || q.exit_signal > 64 {
        return Err(Errno::EINVAL);
    }
    let parent = Arc::clone(&c.task.process);
    c.task.kernel.committed_more();
    room_for_one(c)?;
    let space = if vm {
        None
    } else {
        let space = c.space().fork(&c.task.kernel.slots, c.task.base(), c.task.program());
        Some(space.map_err(|e| if e == Errno::EAGAIN { e } else { Errno::ENOMEM })?)
    };
    let kernel = Arc::clone(&c.task.kernel);
    let child = {
        let mut tree = lock(&kernel.tree);
        let pid = tree.new_pid();
        let main = Thread::new(pid, c.task.thread.affinity.load(Ordering::Relaxed));
        let mut signals = lock(&parent.signals).for_fork(c.task.thread.tid, Arc::clone(&main));
        if flags & CLONE_CLEAR_SIGHAND != 0 {
            signals.reset_for_exec();
        }
        if vm {
            signals.main.altstack = crate::signal::AltStack::NONE;
        }
        let (ppid, pgid, sid) = tree.nodes.get(&parent.pid).map_or((parent.pid, pid, pid), |n| {
            (if flags & CLONE_PARENT != 0 { n.ppid } else { parent.pid }, n.pgid, n.sid)
        });
        let child = Arc::new(Process {
            pid,
            main,
            threaded: AtomicBool::new(false),
            one_left: AtomicBool::new(false),
            signals: Mutex::new(signals),
            fds: Mutex::new(lock(&parent.fds).clone()),
            fs: Mutex::new(lock(&parent.fs).clone()),
            ids: Mutex::new(lock(&parent.ids).clone()),
            image: Mutex::new(lock(&parent.image).clone()),
            slot: Mutex::new(None),
            mm: Mutex::new(None),
            rlimits: Mutex::new(*lock(&parent.rlimits)),
            started: Instant::now(),
            cpu_ns: AtomicU64::new(0),
            children_cpu_ns: AtomicU64::new(0),
            max_rss: AtomicU64::new(0),
            children_max_rss: AtomicU64::new(0),
            nice: AtomicI32::new(parent.nice.load(Ordering::Relaxed)),
            dumpable: AtomicU32::new(parent.dumpable.load(Ordering::Relaxed)),
            death_signal: AtomicI32::new(0),
            timers: Mutex::default(),
            ended: AtomicBool::new(false),
            end: WaitQueue::default(),
        });
        tree.forks += 1;
        tree.nodes.insert(
            pid,
            Node {
                process: Arc::clone(&child),
                ppid,
                pgid,
                sid,
                state: State::Running,
                stop_report: None,
                continued: false,
                exit_signal: q.exit_signal,
                execed: false,
            },
        );
        child
    };
    let pid = child.pid;
    if flags & CLONE_PARENT_SETTID != 0 {
        let _ = c.put_u32(q.parent_tid, pid as u32);
    }
    let leave = q.leave();
    match space {
        Some(space) => {
            if flags & CLONE_CHILD_SETTID != 0 {
                let _ = space.write(q.child_tid, &pid.to_le_bytes());
            }
            let regs = q.registers(c);
            c.task.launch_fork(child, space, regs, leave);
            if flags & CLONE_VFORK != 0 {
                // The parent waits for exec or exit although nothing is shared.
                let kernel = Arc::clone(&c.task.kernel);
                let _ = c.task.block(&[&kernel.ended], &[], None, ERESTARTSYS, |_| {
                    let tree = lock(&kernel.tree);
                    let gone = tree.nodes.get(&pid).is_none_or(|n| n.execed || matches!(n.state, State::Zombie(_)));
                    Ok(gone.then_some(()))
                });
            }
            Ok(pid.into())
        }
        None => {
            if flags & CLONE_CHILD_SETTID != 0 {
                let _ = c.put_u32(q.child_tid, pid as u32);
            }
            c.task.enter_vfork(c.m, child, (q.stack != 0).then_some(q.stack), leave);
            Ok(0)
        }
    }
}

/// RLIMIT_NPROC and the container's own limit, which count threads.
fn room_for_one(c: &Ctx<'_>) -> Result<()> {
    let process = &c.task.process;
    let tree = lock(&c.task.kernel.tree);
    if tree.nodes.len() + tree.threads.len() >= c.task.kernel.config.limits.processes {
        return Err(Errno::EAGAIN);
    }
    let limit = lock(&process.rlimits)[6].0;
    let uid = lock(&process.ids).ruid;
    if uid != 0 {
        let all = tree.nodes.values().map(|n| &n.process).chain(tree.threads.values());
        if all.filter(|p| lock(&p.ids).ruid == uid).count() as u64 >= limit {
            return Err(Errno::EAGAIN);
        }
    }
    Ok(())
}

/// A thread: what is not shared then cannot be told apart here.
fn make_thread(c: &mut Ctx<'_>, q: &CloneArgs) -> Result<i64> {
    let flags = q.flags;
    if flags & CLONE_SIGHAND == 0 || flags & CLONE_VM == 0 || flags & (NAMESPACES | CLONE_PIDFD) != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & (CLONE_FS | CLONE_FILES) != CLONE_FS | CLONE_FILES || flags & CLONE_VFORK != 0 {
        return Err(Errno::ENOSYS);
    }
    room_for_one(c)?;
    let regs = q.registers(c);
    let tid = c.task.launch_thread(regs, q.leave(), |tid, space| {
        for (flag, addr) in [(CLONE_PARENT_SETTID, q.parent_tid), (CLONE_CHILD_SETTID, q.child_tid)] {
            if flags & flag != 0 {
                let _ = space.write(addr, &tid.to_le_bytes());
            }
        }
    })?;
    Ok(tid.into())
}

pub(super) fn execve(c: &mut Ctx<'_>) -> Result<i64> {
    let path = c.path(0)?;
    let base = lock(&c.task.process.fs).cwd.clone();
    do_exec(c, path, base, None, 1)
}
pub(super) fn execveat(c: &mut Ctx<'_>) -> Result<i64> {
    let (fd, flags) = (c.int(0), c.uint(4));
    if flags & !0x1100 != 0 {
        return Err(Errno::EINVAL);
    }
    let path = c.path(1)?;
    let p = super::fs::place(c, fd, &path)?;
    if path.is_empty() {
        if flags & 0x1000 == 0 {
            return Err(Errno::ENOENT);
        }
        return do_exec(c, format!("/dev/fd/{fd}").into_bytes(), p.base.clone(), Some(p.base), 2);
    }
    let location =
        c.task.kernel.vfs.lookup(&p.at(), &path, WalkFlags { follow: flags & 0x100 == 0, ..WalkFlags::NOFOLLOW })?;
    if location.inode().file_type() == megalith_vfs::FileType::Symlink {
        return Err(Errno::ELOOP);
    }
    let name = if path.first() == Some(&b'/') || fd == -100 {
        path
    } else {
        [format!("/dev/fd/{fd}/").as_bytes(), &path].concat()
    };
    do_exec(c, name, p.base, Some(location), 2)
}

fn do_exec(
    c: &mut Ctx<'_>,
    path: Vec<u8>,
    base: megalith_vfs::Location,
    location: Option<megalith_vfs::Location>,
    argv_at: usize,
) -> Result<i64> {
    let process = Arc::clone(&c.task.process);
    let limits = *lock(&process.rlimits);
    let mut room = ArgRoom::new(&limits);
    let argv = c.strings(c.a.get(argv_at).copied().unwrap_or(0), &mut room)?;
    let envp = c.strings(c.a.get(argv_at + 1).copied().unwrap_or(0), &mut room)?;
    if path.is_empty() {
        return Err(Errno::ENOENT);
    }
    let fs = lock(&process.fs).clone();
    let ids = lock(&process.ids).clone();
    let request = ExecRequest { path, base, location, expect: None, argv, envp };
    let loaded = exec::load(&c.task.kernel, &fs, &ids, &limits, &request)?;
    c.task.end_others()?;
    replace(c, loaded);
    Ok(0)
}

/// The process, which has one thread now, becomes what was loaded. Nothing fails here.
pub(super) fn replace(c: &mut Ctx<'_>, loaded: exec::Loaded) {
    let process = Arc::clone(&c.task.process);
    let closing = lock(&process.fds).take_cloexec();
    for e in closing {
        closed(&c.task.kernel, process.pid, e);
    }
    lock(&process.signals).reset_for_exec();
    {
        let mut ids = lock(&process.ids);
        ids.suid = ids.euid;
        ids.fsuid = ids.euid;
        ids.sgid = ids.egid;
        ids.fsgid = ids.egid;
    }
    for (_, t) in std::mem::take(&mut *lock(&process.timers)).into_iter().filter(|(id, _)| *id >= 0) {
        t.cancel();
    }
    process.dumpable.store(1, Ordering::Relaxed);
    if let Some(n) = lock(&c.task.kernel.tree).nodes.get_mut(&process.pid) {
        n.execed = true;
    }
    c.task.kernel.ended.wake();
    c.task.replace_image(c.m, loaded);
}

pub(super) fn exit(c: &mut Ctx<'_>) -> Result<i64> {
    let status = (c.int(0) & 0xff) << 8;
    c.task.exit_thread(c.m, status);
    c.task.unwind = true;
    Ok(0)
}
pub(super) fn exit_group(c: &mut Ctx<'_>) -> Result<i64> {
    let status = (c.int(0) & 0xff) << 8;
    c.task.exit_or_resume(c.m, status);
    c.task.unwind = true;
    Ok(0)
}

// ---- waiting for children ----

fn wait_for(c: &mut Ctx<'_>, which: Which, options: u32) -> Result<Option<Waited>> {
    let process = Arc::clone(&c.task.process);
    let kernel = Arc::clone(&c.task.kernel);
    if kernel.config.launcher.has_deferred() && kernel.config.strace.is_none() {
        c.task.waiter().clear();
        if let Some(w) = kernel.try_wait(&process, which, options)? {
            return Ok(Some(w));
        }
        if options & WNOHANG != 0 {
            // Asking over and over again must not keep the child from running.
            kernel.config.launcher.start_deferred();
            return Ok(None);
        }
        if !c.task.interrupted() {
            c.task.park();
        }
        return Err(ERESTARTSYS);
    }
    c.task.block(&[], &[], None, ERESTARTSYS, |_| {
        Ok(match kernel.try_wait(&process, which, options)? {
            Some(w) => Some(Some(w)),
            None if options & WNOHANG != 0 => Some(None),
            None => None,
        })
    })
}

/// `struct rusage`; `max_rss` in bytes.
fn rusage(cpu_ns: u64, max_rss: u64) -> [u8; 144] {
    let mut b = [0u8; 144];
    b[32..40].copy_from_slice(&(max_rss / 1024).to_le_bytes());
    b[..8].copy_from_slice(&(cpu_ns / 1_000_000_000).to_le_bytes());
    b[8..16].copy_from_slice(&(cpu_ns / 1000 % 1_000_000).to_le_bytes());
    b
}

pub(super) fn wait4(c: &mut Ctx<'_>) -> Result<i64> {
    let (pid, options) = (c.int(0), c.uint(2));
    if options & !(WNOHANG | WUNTRACED | WCONTINUED | 0xe000_0000) != 0 {
        return Err(Errno::EINVAL);
    }
    let which = match pid {
        -1 => Which::Any,
        0 => Which::Group(0),
        1.. => Which::Pid(pid),
        g => Which::Group(g.checked_neg().ok_or(Errno::ESRCH)?),
    };
    let Some(w) = wait_for(c, which, options & 0xff | WEXITED)? else { return Ok(0) };
    if c.a[1] != 0 {
        c.put_u32(c.a[1], w.status as u32)?;
    }
    if c.a[3] != 0 {
        c.put(c.a[3], &rusage(w.cpu_ns, w.max_rss))?;
    }
    Ok(w.pid.into())
}

pub(super) fn waitid(c: &mut Ctx<'_>) -> Result<i64> {
    let (kind, id, options) = (c.int(0), c.int(1), c.uint(3));
    if options & !(WNOHANG | WUNTRACED | WEXITED | WCONTINUED | WNOWAIT | 0xe000_0000) != 0
        || options & (WUNTRACED | WEXITED | WCONTINUED) == 0
    {
        return Err(Errno::EINVAL);
    }
    let mut nonblocking = false;
    let which = match kind {
        0 => Which::Any,
        1 if id > 0 => Which::Pid(id),
        2 if id >= 0 => Which::Group(id),
        3 if id >= 0 => {
            let file = c.file(1)?;
            let child = super::pidfd::process(&file)?;
            // Its number may be another's by now.
            if !c.task.kernel.process(child.pid).is_some_and(|p| Arc::ptr_eq(&p, child)) {
                return Err(Errno::ECHILD);
            }
            nonblocking = file.nonblocking() && options & WNOHANG == 0;
            Which::Pid(child.pid)
        }
        _ => return Err(Errno::EINVAL),
    };
    let w = wait_for(c, which, if nonblocking { options | WNOHANG } else { options })?;
    if nonblocking && w.is_none() {
        return Err(Errno::EAGAIN);
    }
    let info = match w {
        None => SigInfo([0; 128]),
        Some(w) => {
            let (code, status) = match w.status {
                0xffff => (6, crate::signal::SIGCONT),
                s if s & 0xff == 0x7f => (5, s >> 8),
                s if s & 0x7f == 0 => (1, s >> 8 & 0xff),
                s => (2, s & 0x7f),
            };
            SigInfo::child(SIGCHLD, code, w.pid, w.uid, status)
        }
    };
    if c.a[2] != 0 {
        c.put(c.a[2], &info.0)?;
    }
    if let Some(w) = w
        && c.a[4] != 0
    {
        c.put(c.a[4], &rusage(w.cpu_ns, w.max_rss))?;
    }
    Ok(0)
}

// ---- groups and sessions ----

pub(super) fn setpgid(c: &mut Ctx<'_>) -> Result<i64> {
    let me = c.task.process.pid;
    let (pid, pgid) = (c.int(0), c.int(1));
    if pgid < 0 {
        return Err(Errno::EINVAL);
    }
    let pid = if pid == 0 { me } else { pid };
    let pgid = if pgid == 0 { pid } else { pgid };
    let mut tree = lock(&c.task.kernel.tree);
    let own_sid = tree.nodes.get(&me).map_or(0, |n| n.sid);
    let n = tree.nodes.get(&pid).ok_or(Errno::ESRCH)?;
    if pid != me && n.ppid != me {
        return Err(Errno::ESRCH);
    }
    if pid != me && n.execed {
        return Err(Errno::EACCES);
    }
    if n.sid != own_sid || n.sid == pid {
        return Err(Errno::EPERM);
    }
    if pgid != pid && !tree.nodes.values().any(|n| n.pgid == pgid && n.sid == own_sid) {
        return Err(Errno::EPERM);
    }
    if let Some(n) = tree.nodes.get_mut(&pid) {
        n.pgid = pgid;
    }
    Ok(0)
}
fn node<R>(c: &Ctx<'_>, pid: Pid, f: impl FnOnce(&Node) -> R) -> Result<R> {
    let pid = if pid == 0 { c.task.process.pid } else { pid };
    lock(&c.task.kernel.tree).nodes.get(&pid).map(f).ok_or(Errno::ESRCH)
}
pub(super) fn getpgid(c: &mut Ctx<'_>) -> Result<i64> {
    node(c, c.int(0), |n| n.pgid.into())
}
pub(super) fn getpgrp(c: &mut Ctx<'_>) -> Result<i64> {
    node(c, 0, |n| n.pgid.into())
}
pub(super) fn getsid(c: &mut Ctx<'_>) -> Result<i64> {
    node(c, c.int(0), |n| n.sid.into())
}
pub(super) fn setsid(c: &mut Ctx<'_>) -> Result<i64> {
    let me = c.task.process.pid;
    let mut tree = lock(&c.task.kernel.tree);
    if tree.nodes.values().any(|n| n.pgid == me) {
        return Err(Errno::EPERM);
    }
    if let Some(n) = tree.nodes.get_mut(&me) {
        n.pgid = me;
        n.sid = me;
    }
    Ok(me.into())
}

// ---- identities ----

pub(super) fn getuid(c: &mut Ctx<'_>) -> Result<i64> {
    Ok(lock(&c.task.process.ids).ruid.into())
}
pub(super) fn geteuid(c: &mut Ctx<'_>) -> Result<i64> {
    Ok(lock(&c.task.process.ids).euid.into())
}
pub(super) fn getgid(c: &mut Ctx<'_>) -> Result<i64> {
    Ok(lock(&c.task.process.ids).rgid.into())
}
pub(super) fn getegid(c: &mut Ctx<'_>) -> Result<i64> {
    Ok(lock(&c.task.process.ids).egid.into())
}

/// Sets (real, effective, saved) IDs; -1 keeps one. Without privilege each new ID must be one of the old.
fn set_res(old: [u32; 3], new: [u32; 3], privileged: bool) -> Result<[u32; 3]> {
    let mut out = old;
    for (o, n) in out.iter_mut().zip(new) {
        if n != u32::MAX {
            if !privileged && !old.contains(&n) {
                return Err(Errno::EPERM);
            }
            *o = n;
        }
    }
    Ok(out)
}
fn change_uids(c: &Ctx<'_>, f: impl FnOnce([u32; 3], bool) -> Result<[u32; 3]>) -> Result<i64> {
    let mut i = lock(&c.task.process.ids);
    let p = i.privileged();
    let [r, e, s] = f([i.ruid, i.euid, i.suid], p)?;
    (i.ruid, i.euid, i.suid, i.fsuid) = (r, e, s, e);
    Ok(0)
}
fn change_gids(c: &Ctx<'_>, f: impl FnOnce([u32; 3], bool) -> Result<[u32; 3]>) -> Result<i64> {
    let mut i = lock(&c.task.process.ids);
    let p = i.privileged();
    let [r, e, s] = f([i.rgid, i.egid, i.sgid], p)?;
    (i.rgid, i.egid, i.sgid, i.fsgid) = (r, e, s, e);
    Ok(0)
}
fn set_one(n: u32) -> impl FnOnce([u32; 3], bool) -> Result<[u32; 3]> {
    move |old, p| {
        if n == u32::MAX {
            return Err(Errno::EINVAL);
        }
        if p {
            Ok([n; 3])
        } else if n == old[0] || n == old[2] {
            Ok([old[0], n, old[2]])
        } else {
            Err(Errno::EPERM)
        }
    }
}
fn set_re(r: u32, e: u32) -> impl FnOnce([u32; 3], bool) -> Result<[u32; 3]> {
    move |old, p| {
        let mut new = set_res(old, [r, e, u32::MAX], p)?;
        if r != u32::MAX || e != u32::MAX && e != old[0] {
            new[2] = new[1];
        }
        Ok(new)
    }
}
pub(super) fn setuid(c: &mut Ctx<'_>) -> Result<i64> {
    change_uids(c, set_one(c.uint(0)))
}
pub(super) fn setgid(c: &mut Ctx<'_>) -> Result<i64> {
    let n = c.uint(0);
    let root = lock(&c.task.process.ids).privileged();
    change_gids(c, |old, _| set_one(n)(old, root))
}
pub(super) fn setreuid(c: &mut Ctx<'_>) -> Result<i64> {
    change_uids(c, set_re(c.uint(0), c.uint(1)))
}
pub(super) fn setregid(c: &mut Ctx<'_>) -> Result<i64> {
    change_gids(c, set_re(c.uint(0), c.uint(1)))
}
pub(super) fn setresuid(c: &mut Ctx<'_>) -> Result<i64> {
    change_uids(c, |old, p| set_res(old, [c.uint(0), c.uint(1), c.uint(2)], p))
}
pub(super) fn setresgid(c: &mut Ctx<'_>) -> Result<i64> {
    change_gids(c, |old, p| set_res(old, [c.uint(0), c.uint(1), c.uint(2)], p))
}
fn put3(c: &Ctx<'_>, v: [u32; 3]) -> Result<i64> {
    for (a, v) in c.a.iter().zip(v) {
        c.put_u32(*a, v)?;
    }
    Ok(0)
}
pub(super) fn getresuid(c: &mut Ctx<'_>) -> Result<i64> {
    let v = {
        let i = lock(&c.task.process.ids);
        [i.ruid, i.euid, i.suid]
    };
    put3(c, v)
}
pub(super) fn getresgid(c: &mut Ctx<'_>) -> Result<i64> {
    let v = {
        let i = lock(&c.task.process.ids);
        [i.rgid, i.egid, i.sgid]
    };
    put3(c, v)
}
pub(super) fn setfsuid(c: &mut Ctx<'_>) -> Result<i64> {
    let n = c.uint(0);
    let mut i = lock(&c.task.process.ids);
    let old = i.fsuid;
    if i.privileged() || [i.ruid, i.euid, i.suid, i.fsuid].contains(&n) {
        i.fsuid = n;
    }
    Ok(old.into())
}
pub(super) fn setfsgid(c: &mut Ctx<'_>) -> Result<i64> {
    let n = c.uint(0);
    let mut i = lock(&c.task.process.ids);
    let old = i.fsgid;
    if i.privileged() || [i.rgid, i.egid, i.sgid, i.fsgid].contains(&n) {
        i.fsgid = n;
    }
    Ok(old.into())
}
pub(super) fn getgroups(c: &mut Ctx<'_>) -> Result<i64> {
    let g = Arc::clone(&lock(&c.task.process.ids).groups);
    let size = c.int(0);
    if size < 0 {
        return Err(Errno::EINVAL);
    }
    if size != 0 {
        if (size as usize) < g.len() {
            return Err(Errno::EINVAL);
        }
        c.put(c.a[1], &g.iter().flat_map(|g| g.to_le_bytes()).collect::<Vec<u8>>())?;
    }
    Ok(g.len() as i64)
}
pub(super) fn setgroups(c: &mut Ctx<'_>) -> Result<i64> {
    if !lock(&c.task.process.ids).privileged() {
        return Err(Errno::EPERM);
    }
    let n = c.uint(0);
    if n > 65536 {
        return Err(Errno::EINVAL);
    }
    let b = c.get_vec(c.a[1], u64::from(n) * 4, 65536 * 4)?;
    let groups: Vec<u32> = b.chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect();
    lock(&c.task.process.ids).groups = groups.into();
    Ok(0)
}

/// Capabilities that root has: those of a container (`docker run`'s default set).
pub(crate) const CAPABILITIES: u64 = 0xa804_25fb;

pub(super) fn capget(c: &mut Ctx<'_>) -> Result<i64> {
    let version = c.get_u32(c.a[0])?;
    let words = match version {
        0x1998_0330 => 1,
        0x2007_1026 | 0x2008_0522 => 2,
        _ => {
            c.put_u32(c.a[0], 0x2008_0522)?;
            return if c.a[1] == 0 { Ok(0) } else { Err(Errno::EINVAL) };
        }
    };
    let pid = c.get_u32(c.a[0].wrapping_add(4))? as i32;
    let p = if pid == 0 { Arc::clone(&c.task.process) } else { c.task.kernel.thread_group(pid).ok_or(Errno::ESRCH)? };
    if c.a[1] == 0 {
        return Ok(0);
    }
    let caps = if lock(&p.ids).privileged() { CAPABILITIES } else { 0 };
    let mut b = Vec::new();
    for i in 0..words {
        let w = (caps >> (32 * i)) as u32;
        for v in [w, w, 0] {
            b.extend_from_slice(&v.to_le_bytes());
        }
    }
    c.put(c.a[1], &b).map(|()| 0)
}
pub(super) fn capset(c: &mut Ctx<'_>) -> Result<i64> {
    let version = c.get_u32(c.a[0])?;
    let words = match version {
        0x1998_0330 => 1,
        0x2007_1026 | 0x2008_0522 => 2,
        _ => return Err(Errno::EINVAL),
    };
    let b = c.get_vec(c.a[1], words * 12, 24)?;
    let caps = if lock(&c.task.process.ids).privileged() { CAPABILITIES } else { 0 };
    for (i, w) in b.chunks_exact(12).enumerate() {
        let permitted = u32::from_le_bytes([w[4], w[5], w[6], w[7]]);
        if permitted & !((caps >> (32 * i)) as u32) != 0 {
            return Err(Errno::EPERM);
        }
    }
    // Dropping capabilities has no effect: they follow the user.
    Ok(0)
}

pub(super) fn prctl(c: &mut Ctx<'_>) -> Result<i64> {
    let p = Arc::clone(&c.task.process);
    match c.int(0) {
        1 => {
            let sig = c.int(1);
            if !(0..=64).contains(&sig) {
                return Err(Errno::EINVAL);
            }
            p.death_signal.store(sig, Ordering::Relaxed);
            Ok(0)
        }
        2 => c.put_u32(c.a[1], p.death_signal.load(Ordering::Relaxed) as u32).map(|()| 0),
        3 => Ok(p.dumpable.load(Ordering::Relaxed).into()),
        4 if c.a[1] <= 1 => {
            p.dumpable.store(c.a[1] as u32, Ordering::Relaxed);
            Ok(0)
        }
        7 => Ok(0),
        15 => {
            let mut name = match c.cstr(c.a[1], 16, Errno::E2BIG) {
                Err(Errno::E2BIG) => c.get::<16>(c.a[1])?.to_vec(),
                r => r?,
            };
            name.truncate(15);
            if c.task.thread.tid == p.pid {
                lock(&p.image).comm = name;
            } else {
                *lock(&c.task.thread.comm) = name;
            }
            Ok(0)
        }
        16 => {
            let mut b = p.thread_name(&c.task.thread);
            b.resize(16, 0);
            c.put(c.a[1], &b).map(|()| 0)
        }
        22 => Err(Errno::EINVAL),
        23 if c.a[1] <= 40 => Ok((CAPABILITIES >> c.a[1] & 1) as i64),
        36 => Ok(0),
        37 => c.put_u32(c.a[1], 0).map(|()| 0),
        38 if c.a[1] == 1 => {
            lock(&p.ids).no_new_privs = true;
            Ok(0)
        }
        39 => Ok(lock(&p.ids).no_new_privs.into()),
        29 => Ok(50_000),
        30 => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}

pub(super) fn arch_prctl(c: &mut Ctx<'_>) -> Result<i64> {
    const TASK_SIZE: u64 = 0x7fff_ffff_f000;
    match c.uint(0) {
        0x1001 if c.a[1] >= TASK_SIZE => Err(Errno::EPERM),
        0x1002 if c.a[1] >= TASK_SIZE => Err(Errno::EPERM),
        0x1001 => {
            c.m.set_gs_base(c.a[1]);
            Ok(0)
        }
        0x1002 => {
            c.m.set_fs_base(c.a[1]);
            Ok(0)
        }
        0x1003 => {
            let v = c.m.fs_base();
            c.put_u64(c.a[1], v).map(|()| 0)
        }
        0x1004 => {
            let v = c.m.gs_base();
            c.put_u64(c.a[1], v).map(|()| 0)
        }
        _ => Err(Errno::EINVAL),
    }
}

// ---- limits and scheduling ----

fn rlimit_common(c: &mut Ctx<'_>, pid: i32, resource: u32, new: u64, old: u64) -> Result<i64> {
    let target = if pid == 0 || pid == c.task.process.pid {
        Arc::clone(&c.task.process)
    } else {
        c.task.kernel.thread_group(pid).ok_or(Errno::ESRCH)?
    };
    let i = resource as usize;
    let current = lock(&target.rlimits).get(i).copied().ok_or(Errno::EINVAL)?;
    if new != 0 {
        let b: [u8; 16] = c.get(new)?;
        let soft = u64::from_le_bytes(b[..8].try_into().unwrap_or_default());
        let hard = u64::from_le_bytes(b[8..].try_into().unwrap_or_default());
        if soft > hard {
            return Err(Errno::EINVAL);
        }
        // Root in a container lacks CAP_SYS_RESOURCE; raising a hard limit is refused to everybody. Descriptors are bounded anyhow.
        if hard > current.1 || i == 7 && hard > 1 << 20 {
            return Err(Errno::EPERM);
        }
        if let Some(r) = lock(&target.rlimits).get_mut(i) {
            *r = (soft, hard);
        }
        let mm = lock(&target.mm).clone();
        if let Some(mm) = mm {
            let mut space = lock(&mm);
            match i {
                9 => space.limit_as = soft,
                2 => space.limit_data = soft,
                _ => {}
            }
        }
    }
    if old != 0 {
        let mut b = [0u8; 16];
        b[..8].copy_from_slice(&current.0.to_le_bytes());
        b[8..].copy_from_slice(&current.1.to_le_bytes());
        c.put(old, &b)?;
    }
    Ok(0)
}
pub(super) fn prlimit64(c: &mut Ctx<'_>) -> Result<i64> {
    rlimit_common(c, c.int(0), c.uint(1), c.a[2], c.a[3])
}
pub(super) fn getrlimit(c: &mut Ctx<'_>) -> Result<i64> {
    let r = lock(&c.task.process.rlimits).get(c.uint(0) as usize).copied().ok_or(Errno::EINVAL)?;
    let b: Vec<u8> = [r.0, r.1].iter().flat_map(|w| w.to_le_bytes()).collect();
    c.put(c.a[1], &b).map(|()| 0)
}
pub(super) fn setrlimit(c: &mut Ctx<'_>) -> Result<i64> {
    if c.a[1] == 0 {
        return Err(Errno::EFAULT);
    }
    rlimit_common(c, 0, c.uint(0), c.a[1], 0)
}
pub(super) fn getrusage(c: &mut Ctx<'_>) -> Result<i64> {
    c.task.account();
    let p = &c.task.process;
    let (ns, max_rss) = match c.int(0) {
        0 => (p.cpu_ns.load(Ordering::Relaxed), p.max_rss()),
        1 => (c.task.thread.cpu_ns.load(Ordering::Relaxed), p.max_rss()),
        -1 => (p.children_cpu_ns.load(Ordering::Relaxed), p.children_max_rss.load(Ordering::Relaxed)),
        _ => return Err(Errno::EINVAL),
    };
    c.put(c.a[1], &rusage(ns, max_rss)).map(|()| 0)
}

pub(super) fn getpriority(c: &mut Ctx<'_>) -> Result<i64> {
    if c.uint(0) > 2 {
        return Err(Errno::EINVAL);
    }
    let p = match (c.int(0), c.int(1)) {
        (0, pid) if pid != 0 => c.task.kernel.thread_group(pid).ok_or(Errno::ESRCH)?,
        _ => Arc::clone(&c.task.process),
    };
    Ok((20 - p.nice.load(Ordering::Relaxed)).into())
}
pub(super) fn setpriority(c: &mut Ctx<'_>) -> Result<i64> {
    let value = c.int(2).clamp(-20, 19);
    let root = lock(&c.task.process.ids).privileged();
    let targets = match (c.uint(0), c.int(1)) {
        (0, 0) => vec![Arc::clone(&c.task.process)],
        (0, pid) => vec![c.task.kernel.thread_group(pid).ok_or(Errno::ESRCH)?],
        (1, g) => {
            let tree = lock(&c.task.kernel.tree);
            let g = if g == 0 { tree.nodes.get(&c.task.process.pid).map_or(0, |n| n.pgid) } else { g };
            tree.group(g)
        }
        (2, _) => vec![Arc::clone(&c.task.process)],
        _ => return Err(Errno::EINVAL),
    };
    if targets.is_empty() {
        return Err(Errno::ESRCH);
    }
    for t in targets {
        if value < t.nice.load(Ordering::Relaxed) && !root {
            return Err(Errno::EACCES);
        }
        t.nice.store(value, Ordering::Relaxed);
    }
    Ok(0)
}

fn known(c: &Ctx<'_>, pid: i32) -> Result<()> {
    if pid < 0 {
        return Err(Errno::EINVAL);
    }
    if pid == 0 || c.task.kernel.thread_group(pid).is_some() { Ok(()) } else { Err(Errno::ESRCH) }
}
pub(crate) fn sched_yield(c: &mut Ctx<'_>) -> Result<i64> {
    c.task.kernel.config.launcher.start_deferred();
    c.task.yield_turn();
    std::thread::yield_now();
    Ok(0)
}
/// Processors that guests see.
pub(crate) fn cpus() -> usize {
    use std::sync::OnceLock;
    static N: OnceLock<usize> = OnceLock::new();
    *N.get_or_init(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(64))
}
/// Their bit mask.
pub(crate) fn all_cpus() -> u64 {
    u64::MAX >> (64 - cpus())
}
/// The thread that the sched_* calls mean by `tid`.
fn thread(c: &Ctx<'_>, tid: i32) -> Result<Arc<Thread>> {
    if tid == 0 {
        return Ok(Arc::clone(&c.task.thread));
    }
    let process = c.task.kernel.thread_group(tid).ok_or(Errno::ESRCH)?;
    let thread = Arc::clone(&lock(&process.signals).own(tid).thread);
    Ok(thread)
}
pub(super) fn sched_getaffinity(c: &mut Ctx<'_>) -> Result<i64> {
    let thread = thread(c, c.int(0))?;
    let len = c.uint(1);
    if len < 8 || !len.is_multiple_of(8) {
        return Err(Errno::EINVAL);
    }
    c.put_u64(c.a[2], thread.affinity.load(Ordering::Relaxed))?;
    Ok(8)
}
pub(super) fn sched_setaffinity(c: &mut Ctx<'_>) -> Result<i64> {
    let thread = thread(c, c.int(0))?;
    let b = c.get_vec(c.a[2], u64::from(c.uint(1)).min(128), 128)?;
    let first = b.iter().take(8).enumerate().fold(0u64, |m, (i, &x)| m | u64::from(x) << (8 * i));
    match first & all_cpus() {
        0 => Err(Errno::EINVAL),
        mask => {
            thread.affinity.store(mask, Ordering::Relaxed);
            Ok(0)
        }
    }
}
pub(super) fn sched_getscheduler(c: &mut Ctx<'_>) -> Result<i64> {
    known(c, c.int(0)).map(|()| 0)
}
pub(super) fn sched_setscheduler(c: &mut Ctx<'_>) -> Result<i64> {
    known(c, c.int(0))?;
    let priority = c.get_u32(c.a[2])?;
    match c.uint(1) & !0x4000_0000 {
        0 | 3 | 5 if priority == 0 => Ok(0),
        0 | 3 | 5 => Err(Errno::EINVAL),
        1 | 2 => Err(Errno::EPERM),
        _ => Err(Errno::EINVAL),
    }
}
pub(super) fn sched_getparam(c: &mut Ctx<'_>) -> Result<i64> {
    known(c, c.int(0))?;
    c.put_u32(c.a[1], 0).map(|()| 0)
}
pub(super) fn sched_setparam(c: &mut Ctx<'_>) -> Result<i64> {
    known(c, c.int(0))?;
    if c.get_u32(c.a[1])? == 0 { Ok(0) } else { Err(Errno::EINVAL) }
}
pub(super) fn sched_get_priority_max(c: &mut Ctx<'_>) -> Result<i64> {
    match c.uint(0) {
        0 | 3 | 5 => Ok(0),
        1 | 2 => Ok(99),
        _ => Err(Errno::EINVAL),
    }
}
pub(super) fn sched_get_priority_min(c: &mut Ctx<'_>) -> Result<i64> {
    match c.uint(0) {
        0 | 3 | 5 => Ok(0),
        1 | 2 => Ok(1),
        _ => Err(Errno::EINVAL),
    }
}
pub(super) fn sched_rr_get_interval(c: &mut Ctx<'_>) -> Result<i64> {
    known(c, c.int(0))?;
    c.put(c.a[1], &super::timespec_bytes(0, 100_000_000)).map(|()| 0)
}
pub(super) fn ioprio_get(c: &mut Ctx<'_>) -> Result<i64> {
    if c.uint(0) > 3 || c.uint(0) == 0 { Err(Errno::EINVAL) } else { Ok(0) }
}
pub(super) fn ioprio_set(c: &mut Ctx<'_>) -> Result<i64> {
    if c.uint(0) > 3 || c.uint(0) == 0 || c.uint(2) >> 13 > 3 { Err(Errno::EINVAL) } else { Ok(0) }
}
pub(super) fn getcpu(c: &mut Ctx<'_>) -> Result<i64> {
    for a in [c.a[0], c.a[1]] {
        if a != 0 {
            c.put_u32(a, 0)?;
        }
    }
    Ok(0)
}
pub(super) fn membarrier(c: &mut Ctx<'_>) -> Result<i64> {
    if c.uint(1) != 0 {
        return Err(Errno::EINVAL);
    }
    match c.uint(0) {
        // GLOBAL, GLOBAL_EXPEDITED, PRIVATE_EXPEDITED, and what registers for the last two.
        0 => Ok(0x1f),
        // Who shares memory takes turns, and a turn begins and ends with a barrier.
        1 | 2 | 4 | 8 | 16 => {
            std::sync::atomic::fence(Ordering::SeqCst);
            Ok(0)
        }
        _ => Err(Errno::EINVAL),
    }
}

// ---- the system ----

/// Release that uname(2) reports.
pub(crate) const RELEASE: &str = "6.1.0-megalith";
/// Version that uname(2) reports.
pub(crate) const VERSION: &str = "#1 SMP PREEMPT_DYNAMIC";

pub(super) fn uname(c: &mut Ctx<'_>) -> Result<i64> {
    let host = lock(&c.task.kernel.hostname).clone();
    let domain = lock(&c.task.kernel.domainname).clone();
    let mut b = vec![0u8; 6 * 65];
    let fields: [&[u8]; 6] = [b"Linux", &host, RELEASE.as_bytes(), VERSION.as_bytes(), b"x86_64", &domain];
    for (slot, v) in b.chunks_exact_mut(65).zip(fields) {
        let n = v.len().min(64);
        if let (Some(d), Some(s)) = (slot.get_mut(..n), v.get(..n)) {
            d.copy_from_slice(s);
        }
    }
    c.put(c.a[0], &b).map(|()| 0)
}
fn set_name(c: &Ctx<'_>, target: &Mutex<Vec<u8>>) -> Result<i64> {
    if !lock(&c.task.process.ids).privileged() {
        return Err(Errno::EPERM);
    }
    if c.int(1) < 0 || c.int(1) > 64 {
        return Err(Errno::EINVAL);
    }
    let name = c.get_vec(c.a[0], u64::from(c.uint(1)), 64)?;
    *lock(target) = name;
    Ok(0)
}
pub(super) fn sethostname(c: &mut Ctx<'_>) -> Result<i64> {
    let k = Arc::clone(&c.task.kernel);
    set_name(c, &k.hostname)
}
pub(super) fn setdomainname(c: &mut Ctx<'_>) -> Result<i64> {
    let k = Arc::clone(&c.task.kernel);
    set_name(c, &k.domainname)
}
pub(super) fn sysinfo(c: &mut Ctx<'_>) -> Result<i64> {
    let m = crate::procfs::memory(&c.task.kernel);
    let procs = {
        let tree = lock(&c.task.kernel.tree);
        tree.nodes.len() + tree.threads.len()
    }
    .min(65535) as u16;
    let mut b = [0u8; 112];
    let mut put = |at: usize, v: u64| b[at..at + 8].copy_from_slice(&v.to_le_bytes());
    put(0, c.task.kernel.started.elapsed().as_secs());
    put(32, m.total);
    put(40, m.free);
    b[80..82].copy_from_slice(&procs.to_le_bytes());
    b[104..108].copy_from_slice(&1u32.to_le_bytes());
    c.put(c.a[0], &b).map(|()| 0)
}
pub(super) fn getrandom(c: &mut Ctx<'_>) -> Result<i64> {
    if c.uint(2) & !7 != 0 || c.uint(2) & 6 == 6 {
        return Err(Errno::EINVAL);
    }
    let want = (c.a[1] as usize).min(32 << 20);
    let room = c.space().accessible(c.a[0], want, crate::mm::Prot::WRITE);
    if room == 0 && want > 0 {
        return Err(Errno::EFAULT);
    }
    let mut done = 0;
    let mut buf = vec![0u8; room.min(65536)];
    while done < room {
        let n = (room - done).min(buf.len());
        let b = buf.get_mut(..n).unwrap_or_default();
        c.task.kernel.fill_random(b)?;
        c.put(c.a[0] + done as u64, b)?;
        done += n;
    }
    Ok(done as i64)
}
pub(super) fn personality(c: &mut Ctx<'_>) -> Result<i64> {
    // Only the plain Linux personality; a question for the current one is answered. ADDR_NO_RANDOMIZE holds anyway.
    match c.uint(0) {
        0 | 0xffff_ffff | 0x4_0000 => Ok(0),
        _ => Err(Errno::EINVAL),
    }
}
pub(super) fn syslog(c: &mut Ctx<'_>) -> Result<i64> {
    match c.int(0) {
        9 | 10 => Ok(0),
        0..=8 => Err(Errno::EPERM),
        _ => Err(Errno::EINVAL),
    }
}
pub(super) fn set_tid_address(c: &mut Ctx<'_>) -> Result<i64> {
    c.task.leave.clear_tid = c.a[0];
    Ok(c.task.thread.tid.into())
}
pub(super) fn set_robust_list(c: &mut Ctx<'_>) -> Result<i64> {
    if c.a[1] != 24 {
        return Err(Errno::EINVAL);
    }
    c.task.leave.robust_list = c.a[0];
    Ok(0)
}
pub(super) fn get_robust_list(c: &mut Ctx<'_>) -> Result<i64> {
    let tid = c.int(0);
    if tid != 0 && tid != c.task.thread.tid {
        // Where another thread keeps its list only that thread knows.
        return Err(if c.task.kernel.thread_group(tid).is_some() { Errno::EPERM } else { Errno::ESRCH });
    }
    let head = c.task.leave.robust_list;
    c.put_u64(c.a[1], head)?;
    c.put_u64(c.a[2], 24).map(|()| 0)
}
/// Succeeds without doing anything.
pub(super) fn nothing(_: &mut Ctx<'_>) -> Result<i64> {
    Ok(0)
}
/// Refused to everybody.
pub(super) fn eperm(_: &mut Ctx<'_>) -> Result<i64> {
    Err(Errno::EPERM)
}
/// Deliberately not there.
pub(super) fn enosys(_: &mut Ctx<'_>) -> Result<i64> {
    Err(Errno::ENOSYS)
}
