//! Processes: what one owns, and the tree they form.

use crate::errno::{Errno, Result};
use crate::file::{FdTable, POLLIN};
use crate::gate::Script;
use crate::kernel::Kernel;
use crate::mm::{AddressSpace, Slot};
use crate::program::Program;
use crate::signal::{self, SigInfo, Signals};
use crate::thread::Thread;
use crate::tty::Tty;
use crate::wait::{WaitQueue, lock};
use megalith_vfs::{Cred, Location};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Process ID.
pub type Pid = i32;

/// All IDs of a process (man 7 credentials).
#[derive(Clone, Debug)]
pub struct Ids {
    pub ruid: u32,
    pub euid: u32,
    pub suid: u32,
    pub fsuid: u32,
    pub rgid: u32,
    pub egid: u32,
    pub sgid: u32,
    pub fsgid: u32,
    pub groups: Arc<[u32]>,
    /// Dumpable and no_new_privs are kept only to be read back.
    pub no_new_privs: bool,
}

impl Ids {
    /// Everything the same user and group.
    pub fn new(uid: u32, gid: u32, groups: &[u32]) -> Ids {
        Ids {
            ruid: uid,
            euid: uid,
            suid: uid,
            fsuid: uid,
            rgid: gid,
            egid: gid,
            sgid: gid,
            fsgid: gid,
            groups: groups.into(),
            no_new_privs: false,
        }
    }
    /// What file system operations use.
    pub fn fs(&self) -> Cred {
        Cred { uid: self.fsuid, gid: self.fsgid, groups: Arc::clone(&self.groups) }
    }
    /// What access(2) uses.
    pub fn real(&self) -> Cred {
        Cred { uid: self.ruid, gid: self.rgid, groups: Arc::clone(&self.groups) }
    }
    /// Whether the holder is root.
    pub fn privileged(&self) -> bool {
        self.euid == 0
    }
}

/// Root directory, working directory, umask.
#[derive(Clone)]
pub struct FsState {
    pub root: Location,
    pub cwd: Location,
    pub umask: u32,
}

/// What exec replaces and /proc shows.
#[derive(Clone)]
pub struct Image {
    pub program: Arc<Program>,
    /// At most 15 bytes.
    pub comm: Vec<u8>,
    /// NUL-terminated strings.
    pub cmdline: Arc<[u8]>,
    pub environ: Arc<[u8]>,
    /// The file that was executed.
    pub exe: Location,
    pub auxv: Arc<[u8]>,
    /// Scripts of the exec chain: opening one of these files gives the bytes that were checked.
    pub scripts: Arc<[Arc<Script>]>,
    /// Working directory at exec, from which the scripts' relative names count.
    pub cwd_at_exec: Location,
    /// Initial stack pointer, for /proc/PID/stat.
    pub start_stack: u64,
}

/// Resource limits: (soft, hard) by number (`RLIMIT_*`).
pub type Rlimits = [(u64, u64); 16];

/// Limits of the first process.
pub fn default_rlimits(processes: u64) -> Rlimits {
    const INF: u64 = u64::MAX;
    let mut r = [(INF, INF); 16];
    r[3] = (8 << 20, INF);
    r[4] = (0, INF);
    r[6] = (processes, processes);
    r[7] = (1024, 1 << 16);
    r[8] = (8 << 20, 8 << 20);
    r[11] = (4096, 4096);
    r[12] = (819_200, 819_200);
    r[13] = (0, 0);
    r[14] = (0, 0);
    r
}

/// One guest process.
pub struct Process {
    pub pid: Pid,
    /// The thread whose ID is the process's.
    pub main: Arc<Thread>,
    /// There are others, or have been since exec.
    pub threaded: AtomicBool,
    /// All threads but one have ended, and that one has not noticed.
    pub one_left: AtomicBool,
    /// Signals, and who the threads are.
    pub signals: Mutex<Signals>,
    pub fds: Mutex<FdTable>,
    pub fs: Mutex<FsState>,
    pub ids: Mutex<Ids>,
    pub image: Mutex<Image>,
    /// The slot whose poll word stops the process's code. `None` once it has ended.
    pub slot: Mutex<Option<Arc<Slot>>>,
    /// The memory. `None` once the process has ended.
    pub mm: Mutex<Option<Arc<Mutex<AddressSpace>>>>,
    pub rlimits: Mutex<Rlimits>,
    pub started: Instant,
    /// CPU nanoseconds of the process, and of its waited-for children.
    pub cpu_ns: AtomicU64,
    pub children_cpu_ns: AtomicU64,
    /// Most bytes in memory of the process, and of one of its waited-for children, as far as somebody looked ([`Process::max_rss`]).
    pub max_rss: AtomicU64,
    pub children_max_rss: AtomicU64,
    pub nice: AtomicI32,
    pub dumpable: AtomicU32,
    pub death_signal: AtomicI32,
    /// Posix timers and interval timers by ID; see `time.rs`.
    pub timers: Mutex<BTreeMap<i32, Arc<crate::timer::Timer>>>,
    /// It has ended, and is a zombie or has been waited for.
    pub ended: AtomicBool,
    /// Woken when it ends: for pidfds.
    pub end: WaitQueue,
}

impl Process {
    /// Sends a signal to the process. Wakes a thread that is to look at it.
    pub fn post(&self, kernel: &Kernel, info: SigInfo) {
        self.send(kernel, info, None);
    }

    /// Sends a signal to thread `tid` of the process.
    pub fn post_to(&self, kernel: &Kernel, tid: Pid, info: SigInfo) {
        self.send(kernel, info, Some(tid));
    }

    fn send(&self, kernel: &Kernel, info: SigInfo, to: Option<Pid>) {
        let sig = info.signo();
        let mut resumed = false;
        let other = {
            let mut s = lock(&self.signals);
            if to.is_some_and(|tid| !s.has(tid)) {
                // It has ended since it was looked up.
                return;
            }
            let posted = s.post(info, to);
            if s.stopped && (sig == signal::SIGCONT || sig == signal::SIGKILL) {
                s.stopped = false;
                resumed = true;
            } else if !posted {
                return;
            }
            let own = match to {
                Some(tid) => s.own(tid),
                None => s.taker(sig).unwrap_or(&s.main),
            };
            let thread = Arc::clone(&own.thread);
            if s.deliverable(thread.tid) {
                thread.attention.store(true, Ordering::Release);
            }
            (resumed || sig == signal::SIGKILL, thread)
        };
        match other {
            (true, _) if self.threaded.load(Ordering::Acquire) => self.alert_all(),
            (_, thread) => self.kick(&thread),
        }
        if resumed && sig == signal::SIGCONT {
            kernel.child_continued(self.pid);
        }
    }

    /// Most bytes in memory so far. Looks how many there are now: nothing counts them as they come and go.
    pub fn max_rss(&self) -> u64 {
        let mm = lock(&self.mm).clone();
        let now = mm.map_or(0, |mm| lock(&mm).resident());
        self.max_rss.fetch_max(now, Ordering::Relaxed).max(now)
    }

    /// Makes a thread look: out of guest code, out of a wait.
    pub fn kick(&self, thread: &Thread) {
        if let Some(slot) = &*lock(&self.slot) {
            slot.poll_word().store(megalith_abi::POLL_WANTED, Ordering::Release);
        }
        thread.waiter.wake();
    }

    /// Makes all threads look at what they are to do.
    pub fn alert_all(&self) {
        let threads: Vec<Arc<Thread>> = lock(&self.signals).threads().map(|o| Arc::clone(&o.thread)).collect();
        for t in threads {
            t.attention.store(true, Ordering::Release);
            self.kick(&t);
        }
    }

    /// Ends the waits of all threads, without any of them being interrupted.
    pub fn wake(&self) {
        self.main.waiter.wake();
        if self.threaded.load(Ordering::Acquire) {
            let others: Vec<Arc<Thread>> = lock(&self.signals).others.values().map(|o| Arc::clone(&o.thread)).collect();
            for t in others {
                t.waiter.wake();
            }
        }
    }
}

/// Whether a process runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Running,
    Stopped,
    /// Ended with this wait status.
    Zombie(i32),
}

/// A process in the tree.
pub struct Node {
    pub process: Arc<Process>,
    pub ppid: Pid,
    pub pgid: Pid,
    pub sid: Pid,
    pub state: State,
    /// Wait status of a stop that the parent has not been told of.
    pub stop_report: Option<i32>,
    /// The parent has not been told that the process goes on.
    pub continued: bool,
    /// Sent to the parent at exit; 0 for none.
    pub exit_signal: i32,
    /// Has called exec since fork: setpgid by the parent is refused.
    pub execed: bool,
}

/// The process tree.
#[derive(Default)]
pub struct Tree {
    pub nodes: BTreeMap<Pid, Node>,
    next: Pid,
    /// Controlling terminals by session.
    pub terminals: HashMap<Pid, Arc<Tty>>,
    /// Processes and threads ever made.
    pub forks: u64,
    /// Threads but for the main ones, by ID.
    pub threads: BTreeMap<Pid, Arc<Process>>,
}

/// First process.
pub const INIT: Pid = 1;
/// `kernel.pid_max`.
pub const PID_MAX: Pid = 4_194_304;

impl Tree {
    /// A number that no process, group or session has.
    pub fn new_pid(&mut self) -> Pid {
        loop {
            self.next = if self.next >= PID_MAX - 1 { 2 } else { self.next + 1 };
            let n = self.next;
            if !self.nodes.contains_key(&n)
                && !self.threads.contains_key(&n)
                && !self.nodes.values().any(|p| p.pgid == n || p.sid == n)
            {
                return n;
            }
        }
    }

    /// Members of a process group that have not ended.
    pub fn group(&self, pgid: Pid) -> Vec<Arc<Process>> {
        self.nodes
            .values()
            .filter(|n| n.pgid == pgid && !matches!(n.state, State::Zombie(_)))
            .map(|n| Arc::clone(&n.process))
            .collect()
    }

    /// Whether no member of the group has a parent in another group of the same session (`man 3p` "orphaned process group").
    /// `without` is left out: the process that is about to end.
    pub fn orphaned(&self, pgid: Pid, without: Option<Pid>) -> bool {
        !self.nodes.values().any(|n| {
            n.pgid == pgid
                && Some(n.process.pid) != without
                && !matches!(n.state, State::Zombie(_))
                && self.nodes.get(&n.ppid).is_some_and(|p| p.pgid != pgid && p.sid == n.sid && n.ppid != INIT_PARENT)
        })
    }
}

/// Parent of the first process.
pub const INIT_PARENT: Pid = 0;

/// Which children wait4(2) and waitid(2) mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    Any,
    Pid(Pid),
    Group(Pid),
}

/// What wait4(2) found.
#[derive(Clone, Copy, Debug)]
pub struct Waited {
    pub pid: Pid,
    pub uid: u32,
    pub status: i32,
    pub cpu_ns: u64,
    /// Of the child and of its children: see [`Process::max_rss`].
    pub max_rss: u64,
}

/// `WUNTRACED`, `WCONTINUED`, ... as bits of the options argument.
pub const WNOHANG: u32 = 1;
pub const WUNTRACED: u32 = 2;
pub const WEXITED: u32 = 4;
pub const WCONTINUED: u32 = 8;
pub const WNOWAIT: u32 = 0x0100_0000;

impl Kernel {
    /// The process with this number, if it has not been waited for.
    pub fn process(&self, pid: Pid) -> Option<Arc<Process>> {
        lock(&self.tree).nodes.get(&pid).map(|n| Arc::clone(&n.process))
    }

    /// The process that a thread belongs to; a process ID is that of its main thread.
    pub fn thread_group(&self, tid: Pid) -> Option<Arc<Process>> {
        let tree = lock(&self.tree);
        tree.nodes.get(&tid).map(|n| &n.process).or_else(|| tree.threads.get(&tid)).map(Arc::clone)
    }

    /// Sends a signal to all members of a group; false when there is none.
    pub fn signal_group(&self, pgid: Pid, info: SigInfo) -> bool {
        let members = lock(&self.tree).group(pgid);
        for p in &members {
            p.post(self, info);
        }
        !members.is_empty()
    }

    /// One look for a child that has something to report. `Ok(None)`: there are such children, but none has.
    pub fn try_wait(&self, parent: &Process, which: Which, options: u32) -> Result<Option<Waited>> {
        let mut tree = lock(&self.tree);
        let own_group = tree.nodes.get(&parent.pid).map_or(0, |n| n.pgid);
        let mut any = false;
        let mut found = None;
        for (&pid, n) in tree.nodes.iter_mut().filter(|(_, n)| n.ppid == parent.pid) {
            let matches = match which {
                Which::Any => true,
                Which::Pid(p) => p == pid,
                Which::Group(0) => n.pgid == own_group,
                Which::Group(g) => n.pgid == g,
            };
            if !matches {
                continue;
            }
            any = true;
            let status = match n.state {
                State::Zombie(status) if options & WEXITED != 0 => Some(status),
                _ if options & WUNTRACED != 0 && n.stop_report.is_some() => {
                    let s = n.stop_report;
                    if options & WNOWAIT == 0 {
                        n.stop_report = None;
                    }
                    s
                }
                _ if options & WCONTINUED != 0 && n.continued => {
                    n.continued = options & WNOWAIT != 0;
                    Some(0xffff)
                }
                _ => None,
            };
            if let Some(status) = status {
                let p = &n.process;
                let cpu = p.cpu_ns.load(Ordering::Relaxed) + p.children_cpu_ns.load(Ordering::Relaxed);
                let max_rss = p.max_rss.load(Ordering::Relaxed).max(p.children_max_rss.load(Ordering::Relaxed));
                found = Some((
                    Waited { pid, uid: lock(&p.ids).ruid, status, cpu_ns: cpu, max_rss },
                    matches!(n.state, State::Zombie(_)),
                ));
                break;
            }
        }
        if let Some((w, ended)) = found {
            if ended && options & WNOWAIT == 0 {
                tree.nodes.remove(&w.pid);
                parent.children_cpu_ns.fetch_add(w.cpu_ns, Ordering::Relaxed);
                if w.max_rss != 0 {
                    parent.children_max_rss.fetch_max(w.max_rss, Ordering::Relaxed);
                }
            }
            return Ok(Some(w));
        }
        if any { Ok(None) } else { Err(Errno::ECHILD) }
    }

    /// Tells the parent of `pid` about a change: SIGCHLD and a wake-up.
    fn notify_parent(&self, pid: Pid, code: i32, status: i32) {
        let (parent, uid, sig) = {
            let tree = lock(&self.tree);
            let Some(n) = tree.nodes.get(&pid) else { return };
            let Some(p) = tree.nodes.get(&n.ppid) else { return };
            (Arc::clone(&p.process), lock(&n.process.ids).ruid, n.exit_signal)
        };
        let action = lock(&parent.signals).action(signal::SIGCHLD);
        let stop = code == CLD_STOPPED || code == CLD_CONTINUED;
        let sig = if stop { signal::SIGCHLD } else { sig };
        if sig != 0 && !(stop && action.flags & signal::SA_NOCLDSTOP != 0) {
            parent.post(self, SigInfo::child(sig, code, pid, uid, status));
        }
        parent.wake();
    }

    /// Called when SIGCONT resumes a stopped process.
    pub(crate) fn child_continued(&self, pid: Pid) {
        {
            let mut tree = lock(&self.tree);
            // It may have gone on, and even ended, already.
            let Some(n) = tree.nodes.get_mut(&pid).filter(|n| n.state == State::Stopped) else { return };
            n.state = State::Running;
            n.stop_report = None;
            n.continued = true;
        }
        self.notify_parent(pid, CLD_CONTINUED, signal::SIGCONT);
    }

    /// Records that a process has stopped because of `sig`.
    pub(crate) fn child_stopped(&self, pid: Pid, sig: i32) {
        {
            let mut tree = lock(&self.tree);
            let Some(n) = tree.nodes.get_mut(&pid).filter(|n| n.state == State::Running) else { return };
            // A SIGCONT that overtook this one has cleared the flag.
            if !lock(&n.process.signals).stopped {
                return;
            }
            n.state = State::Stopped;
            n.stop_report = Some(sig << 8 | 0x7f);
            n.continued = false;
        }
        self.notify_parent(pid, CLD_STOPPED, sig);
    }

    /// Ends a process: its descriptors and memory go, its children get a new parent, its parent is told.
    pub(crate) fn exit_process(&self, p: &Arc<Process>, status: i32) {
        let fds = std::mem::take(&mut *lock(&p.fds));
        fds.close_all(self, p.pid);
        for (_, t) in std::mem::take(&mut *lock(&p.timers)) {
            t.cancel();
        }
        *lock(&p.mm) = None;
        *lock(&p.slot) = None;
        let mut hangups: Vec<(Pid, bool)> = Vec::new();
        let mut deaths: Vec<(Arc<Process>, i32)> = Vec::new();
        let mut reparented = false;
        let mut auto_reap = false;
        {
            let mut tree = lock(&self.tree);
            let Some(me) = tree.nodes.get(&p.pid) else { return };
            if matches!(me.state, State::Zombie(_)) {
                return;
            }
            let (pgid, sid, ppid) = (me.pgid, me.sid, me.ppid);
            // Groups that this exit orphans and that have stopped members get SIGHUP and SIGCONT.
            let mut candidates: Vec<Pid> = tree
                .nodes
                .values()
                .filter(|n| n.ppid == p.pid && n.sid == sid && n.pgid != pgid)
                .map(|n| n.pgid)
                .collect();
            candidates.sort_unstable();
            candidates.dedup();
            let was: Vec<Pid> = candidates.into_iter().filter(|&g| !tree.orphaned(g, None)).collect();
            let own_was = !tree.orphaned(pgid, None);
            if p.pid == sid
                && let Some(tty) = tree.terminals.remove(&sid)
            {
                let fg = tty.release(sid);
                if fg > 0 {
                    hangups.push((fg, true));
                }
            }
            for n in tree.nodes.values_mut() {
                if n.ppid == p.pid {
                    n.ppid = INIT;
                    reparented |= matches!(n.state, State::Zombie(_));
                    let sig = n.process.death_signal.load(Ordering::Relaxed);
                    if sig != 0 {
                        deaths.push((Arc::clone(&n.process), sig));
                    }
                }
            }
            for g in was.into_iter().chain(own_was.then_some(pgid)) {
                let stopped =
                    tree.nodes.values().any(|n| n.pgid == g && n.state == State::Stopped && n.process.pid != p.pid);
                if stopped && tree.orphaned(g, Some(p.pid)) {
                    hangups.push((g, false));
                }
            }
            if let Some(parent) = tree.nodes.get(&ppid) {
                let a = lock(&parent.process.signals).action(signal::SIGCHLD);
                auto_reap = a.handler == signal::SIG_IGN || a.flags & signal::SA_NOCLDWAIT != 0;
            }
            if let Some(me) = tree.nodes.get_mut(&p.pid) {
                me.state = State::Zombie(status);
                me.stop_report = None;
                me.continued = false;
            }
        }
        p.ended.store(true, Ordering::Release);
        p.end.wake_for(POLLIN);
        for (g, only_hup) in hangups {
            self.signal_group(g, SigInfo::new(signal::SIGHUP, signal::SI_KERNEL));
            if !only_hup {
                self.signal_group(g, SigInfo::new(signal::SIGCONT, signal::SI_KERNEL));
            }
        }
        for (child, sig) in deaths {
            child.post(self, SigInfo::new(sig, signal::SI_USER));
        }
        if reparented && let Some(init) = self.process(INIT) {
            init.post(self, SigInfo::new(signal::SIGCHLD, signal::SI_KERNEL));
            init.wake();
        }
        let (code, value) = if status & 0x7f == 0 { (CLD_EXITED, status >> 8) } else { (CLD_KILLED, status & 0x7f) };
        self.notify_parent(p.pid, code, value);
        if auto_reap {
            lock(&self.tree).nodes.remove(&p.pid);
        }
        if p.pid == INIT {
            self.finish(status);
        }
        self.ended.wake();
    }
}

const CLD_EXITED: i32 = 1;
const CLD_KILLED: i32 = 2;
const CLD_STOPPED: i32 = 5;
const CLD_CONTINUED: i32 = 6;
