//! Signals: numbers, actions, pending sets, `siginfo_t`, and the frame that a handler runs on (Linux x86-64 layout).

use crate::process::Pid;
use crate::regs::Regs;
use crate::thread::Thread;
use megalith_abi::Gpr;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

pub const SIGHUP: i32 = 1;
pub const SIGINT: i32 = 2;
pub const SIGQUIT: i32 = 3;
pub const SIGILL: i32 = 4;
pub const SIGTRAP: i32 = 5;
pub const SIGBUS: i32 = 7;
pub const SIGFPE: i32 = 8;
pub const SIGKILL: i32 = 9;
pub const SIGSEGV: i32 = 11;
pub const SIGPIPE: i32 = 13;
pub const SIGALRM: i32 = 14;
pub const SIGCHLD: i32 = 17;
pub const SIGCONT: i32 = 18;
pub const SIGSTOP: i32 = 19;
pub const SIGTSTP: i32 = 20;
pub const SIGTTIN: i32 = 21;
pub const SIGTTOU: i32 = 22;
pub const SIGURG: i32 = 23;
pub const SIGXFSZ: i32 = 25;
pub const SIGWINCH: i32 = 28;
/// Highest signal number.
pub const NSIG: i32 = 64;

/// `si_code` values.
pub const SI_USER: i32 = 0;
pub const SI_KERNEL: i32 = 0x80;
pub const SI_TKILL: i32 = -6;
pub const SI_TIMER: i32 = -2;

pub const SA_NOCLDSTOP: u64 = 1;
pub const SA_NOCLDWAIT: u64 = 2;
pub const SA_ONSTACK: u64 = 0x0800_0000;
pub const SA_RESTART: u64 = 0x1000_0000;
pub const SA_NODEFER: u64 = 0x4000_0000;
pub const SA_RESETHAND: u64 = 0x8000_0000;
const SA_RESTORER: u64 = 0x0400_0000;

pub const SIG_DFL: u64 = 0;
pub const SIG_IGN: u64 = 1;

/// Bit of a signal in a set.
pub const fn bit(sig: i32) -> u64 {
    1 << (sig - 1)
}
/// Signals that can be neither blocked nor handled.
pub const UNBLOCKABLE: u64 = bit(SIGKILL) | bit(SIGSTOP);
/// Signals whose default action is to stop.
pub const STOPPING: u64 = bit(SIGSTOP) | bit(SIGTSTP) | bit(SIGTTIN) | bit(SIGTTOU);
/// Signals whose default action is to do nothing.
pub const IGNORED_BY_DEFAULT: u64 = bit(SIGCHLD) | bit(SIGCONT) | bit(SIGURG) | bit(SIGWINCH);
/// Signals that an instruction of the process itself raises; taken first.
const SYNCHRONOUS: u64 = bit(SIGSEGV) | bit(SIGBUS) | bit(SIGILL) | bit(SIGTRAP) | bit(SIGFPE) | bit(31);

/// `siginfo_t` as the guest sees it.
#[derive(Clone, Copy)]
pub struct SigInfo(pub [u8; 128]);

impl SigInfo {
    /// Signal, `si_code`, and zeros.
    pub fn new(sig: i32, code: i32) -> SigInfo {
        let mut s = SigInfo([0; 128]);
        s.put(0, &sig.to_le_bytes());
        s.put(8, &code.to_le_bytes());
        s
    }
    /// Sent by a process: kill(2), tkill(2), sigqueue(3).
    pub fn from_process(sig: i32, code: i32, pid: i32, uid: u32) -> SigInfo {
        let mut s = SigInfo::new(sig, code);
        s.put(16, &pid.to_le_bytes());
        s.put(20, &uid.to_le_bytes());
        s
    }
    /// SIGCHLD.
    pub fn child(sig: i32, code: i32, pid: i32, uid: u32, status: i32) -> SigInfo {
        let mut s = SigInfo::from_process(sig, code, pid, uid);
        s.put(24, &status.to_le_bytes());
        s
    }
    /// A fault at `addr`.
    pub fn fault(sig: i32, code: i32, addr: u64) -> SigInfo {
        let mut s = SigInfo::new(sig, code);
        s.put(16, &addr.to_le_bytes());
        s
    }
    /// A POSIX timer's expiry.
    pub fn timer(sig: i32, id: i32, value: u64) -> SigInfo {
        let mut s = SigInfo::new(sig, SI_TIMER);
        s.put(16, &id.to_le_bytes());
        s.put(24, &value.to_le_bytes());
        s
    }
    fn put(&mut self, at: usize, b: &[u8]) {
        if let Some(d) = self.0.get_mut(at..at + b.len()) {
            d.copy_from_slice(b);
        }
    }
    fn i32(&self, at: usize) -> i32 {
        self.0.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, i32::from_le_bytes)
    }
    /// The signal number.
    pub fn signo(&self) -> i32 {
        self.i32(0)
    }
    /// `si_code`.
    pub fn code(&self) -> i32 {
        self.i32(8)
    }
}

/// `struct kernel_sigaction`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Action {
    pub handler: u64,
    pub flags: u64,
    pub restorer: u64,
    pub mask: u64,
}

/// sigaltstack(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AltStack {
    pub sp: u64,
    pub size: u64,
    /// SS_DISABLE (2), SS_AUTODISARM (1 << 31).
    pub flags: u32,
}

impl AltStack {
    pub const NONE: AltStack = AltStack { sp: 0, size: 0, flags: 2 };
    /// Whether a handler that runs at `sp` runs on it.
    pub fn contains(&self, sp: u64) -> bool {
        self.size != 0 && sp > self.sp && sp - self.sp <= self.size
    }
}

/// Signals that have been sent and not been taken yet.
#[derive(Clone, Default)]
pub struct Pending {
    pub set: u64,
    queue: VecDeque<SigInfo>,
}

impl Pending {
    /// Adds a signal (1..=64). False when it is there already and does not queue, or when too many are queued.
    fn add(&mut self, info: SigInfo) -> bool {
        let sig = info.signo();
        if self.set & bit(sig) != 0 && (sig < 32 || self.queue.len() > 1024) {
            return false;
        }
        self.set |= bit(sig);
        self.queue.push_back(info);
        true
    }

    fn remove(&mut self, set: u64) {
        if self.set & set != 0 {
            self.set &= !set;
            self.queue.retain(|i| bit(i.signo()) & set == 0);
        }
    }

    /// Takes the next signal of `set`: faults first, then by number, queued ones in order.
    fn take(&mut self, set: u64) -> Option<SigInfo> {
        let ready = self.set & set;
        if ready == 0 {
            return None;
        }
        let pick = if ready & bit(SIGKILL) != 0 {
            bit(SIGKILL)
        } else if ready & SYNCHRONOUS != 0 {
            ready & SYNCHRONOUS
        } else {
            ready
        };
        let sig = pick.trailing_zeros() as i32 + 1;
        let i = self.queue.iter().position(|q| q.signo() == sig);
        let info = i.and_then(|i| self.queue.remove(i)).unwrap_or(SigInfo::new(sig, SI_USER));
        if !self.queue.iter().any(|q| q.signo() == sig) {
            self.set &= !bit(sig);
        }
        Some(info)
    }
}

/// What a thread has of its own.
pub struct Own {
    pub thread: Arc<Thread>,
    /// Sent to this thread (tgkill).
    pub pending: Pending,
    pub mask: u64,
    pub altstack: AltStack,
    /// What it waits for in sigtimedwait, though it blocks it.
    pub wanted: u64,
}

impl Own {
    /// A thread that blocks `mask`.
    pub fn new(thread: Arc<Thread>, mask: u64) -> Own {
        Own { thread, pending: Pending::default(), mask, altstack: AltStack::NONE, wanted: 0 }
    }
}

/// What the threads of a process are to do at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// All end, with this wait status.
    Exit(i32),
    /// All end but this one, which execs.
    Exec(Pid),
}

/// A process's signal state, and its threads.
pub struct Signals {
    /// Sent to the process.
    pub shared: Pending,
    /// The thread whose ID is the process's. Its part stays when it has ended before the others.
    pub main: Own,
    /// The other threads that have not ended.
    pub others: BTreeMap<Pid, Own>,
    /// `main` has ended.
    pub main_ended: bool,
    /// Threads whose tasks are not over: the last one ends the process.
    pub live: usize,
    pub ending: Option<Ending>,
    pub actions: [Action; 64],
    /// Stopped by job control; runs again after SIGCONT or SIGKILL.
    pub stopped: bool,
}

impl Signals {
    /// A process of one thread, nothing of which is blocked or handled.
    pub fn new(main: Arc<Thread>) -> Signals {
        Signals {
            shared: Pending::default(),
            main: Own::new(main, 0),
            others: BTreeMap::new(),
            main_ended: false,
            live: 1,
            ending: None,
            actions: [Action::default(); 64],
            stopped: false,
        }
    }

    /// A thread's part; that of the main thread for a number that no other has.
    pub fn own(&self, tid: Pid) -> &Own {
        if tid == self.main.thread.tid { &self.main } else { self.others.get(&tid).unwrap_or(&self.main) }
    }

    /// The same, to change it.
    pub fn own_mut(&mut self, tid: Pid) -> &mut Own {
        if tid == self.main.thread.tid { &mut self.main } else { self.others.get_mut(&tid).unwrap_or(&mut self.main) }
    }

    /// Whether the thread has not ended.
    pub fn has(&self, tid: Pid) -> bool {
        if tid == self.main.thread.tid { !self.main_ended } else { self.others.contains_key(&tid) }
    }

    /// The threads that have not ended, the main one first.
    pub fn threads(&self) -> impl Iterator<Item = &Own> {
        (!self.main_ended).then_some(&self.main).into_iter().chain(self.others.values())
    }

    /// The action of a signal (1..=64).
    pub fn action(&self, sig: i32) -> Action {
        self.actions.get((sig - 1) as usize).copied().unwrap_or_default()
    }

    /// Whether `sig` would be thrown away if delivered now.
    pub fn ignores(&self, sig: i32) -> bool {
        let h = self.action(sig).handler;
        h == SIG_IGN || h == SIG_DFL && IGNORED_BY_DEFAULT & bit(sig) != 0
    }

    /// What the child starts with that thread `tid` forks: `main` is its one thread.
    pub fn for_fork(&self, tid: Pid, main: Arc<Thread>) -> Signals {
        let own = self.own(tid);
        let mut child = Signals::new(main);
        (child.main.mask, child.main.altstack, child.actions) = (own.mask, own.altstack, self.actions);
        child
    }

    /// exec(2): handlers become default, the alternate stack goes away.
    pub fn reset_for_exec(&mut self) {
        for a in &mut self.actions {
            if a.handler != SIG_IGN {
                *a = Action::default();
            } else {
                *a = Action { handler: SIG_IGN, ..Action::default() };
            }
        }
        self.main.altstack = AltStack::NONE;
    }

    /// Adds a signal, for the process or for thread `to`. Returns false when it was dropped (ignored, or pending already); EAGAIN-like overflow of
    /// queued ones drops too.
    pub fn post(&mut self, info: SigInfo, to: Option<Pid>) -> bool {
        let sig = info.signo();
        if !(1..=NSIG).contains(&sig) {
            return false;
        }
        if bit(sig) & STOPPING != 0 {
            self.remove(bit(SIGCONT));
        }
        if sig == SIGCONT {
            self.remove(STOPPING);
        }
        let mask = to.map_or(&self.main, |t| self.own(t)).mask;
        if mask & bit(sig) == 0 && self.ignores(sig) && sig != SIGKILL {
            return false;
        }
        match to {
            // It is the process that is killed.
            Some(tid) if sig != SIGKILL => self.own_mut(tid).pending.add(info),
            _ => self.shared.add(info),
        }
    }

    /// Forgets pending signals of a set, of the process and of all threads.
    pub fn remove(&mut self, set: u64) {
        self.shared.remove(set);
        self.main.pending.remove(set);
        for o in self.others.values_mut() {
            o.pending.remove(set);
        }
    }

    /// What is pending for a thread, blocked or not.
    pub fn pending(&self, tid: Pid) -> u64 {
        self.shared.set | self.own(tid).pending.set
    }

    /// Takes the next pending signal of `set` for a thread: SIGKILL, then its own, then the process's.
    pub fn take(&mut self, tid: Pid, set: u64) -> Option<SigInfo> {
        if self.shared.set & set & bit(SIGKILL) != 0 {
            return self.shared.take(bit(SIGKILL));
        }
        self.own_mut(tid).pending.take(set).or_else(|| self.shared.take(set))
    }

    /// Whether a signal waits that the thread's mask lets through, or it is to end.
    pub fn deliverable(&self, tid: Pid) -> bool {
        self.pending(tid) & !self.own(tid).mask != 0 || self.ends(tid)
    }

    /// Whether the thread is to end because another one says so.
    pub fn ends(&self, tid: Pid) -> bool {
        self.ending.is_some_and(|e| e != Ending::Exec(tid))
    }

    /// Who is to look at a signal of the process's: the main thread if it does not block it, then any other.
    pub fn taker(&self, sig: i32) -> Option<&Own> {
        self.threads().find(|o| o.mask & !o.wanted & bit(sig) == 0)
    }
}

/// Bytes of `struct rt_sigframe` without the FPU state.
const FRAME: u64 = 440;
/// Bytes of the FXSAVE image.
pub const FXSAVE: u64 = 512;
const UC: u64 = 8;
const MC: u64 = UC + 40;
const SIGMASK: u64 = MC + 256;
const INFO: u64 = SIGMASK + 8;

/// Order of general registers in `struct sigcontext`.
const ORDER: [Gpr; 16] = [
    Gpr::R8,
    Gpr::R9,
    Gpr::R10,
    Gpr::R11,
    Gpr::R12,
    Gpr::R13,
    Gpr::R14,
    Gpr::R15,
    Gpr::Rdi,
    Gpr::Rsi,
    Gpr::Rbp,
    Gpr::Rbx,
    Gpr::Rdx,
    Gpr::Rax,
    Gpr::Rcx,
    Gpr::Rsp,
];

/// A frame ready to be written, and the registers the handler starts with.
pub struct Frame {
    pub addr: u64,
    pub bytes: Vec<u8>,
    pub fp_addr: u64,
    pub regs: Regs,
}

/// Builds the frame for a handler (`arch/x86/kernel/signal_64.c`, `x64_setup_rt_frame`). `mask` is what sigreturn restores.
pub fn build_frame(
    regs: &Regs,
    action: &Action,
    info: &SigInfo,
    mask: u64,
    alt: &AltStack,
    fault: Option<(u64, u64)>,
) -> Frame {
    let rsp = regs.get(Gpr::Rsp);
    let on_alt = alt.contains(rsp);
    let mut sp = if action.flags & SA_ONSTACK != 0 && alt.size != 0 && alt.flags & 2 == 0 && !on_alt {
        alt.sp.wrapping_add(alt.size)
    } else {
        rsp.wrapping_sub(128)
    };
    sp = sp.wrapping_sub(FXSAVE) & !63;
    let fp_addr = sp;
    let addr = (sp.wrapping_sub(FRAME) & !15).wrapping_sub(8);
    let mut b = vec![0u8; FRAME as usize];
    let mut put = |at: u64, data: &[u8]| {
        if let Some(d) = b.get_mut(at as usize..at as usize + data.len()) {
            d.copy_from_slice(data);
        }
    };
    put(0, &action.restorer.to_le_bytes());
    // UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS: no UC_FP_XSTATE, as there is no XSAVE.
    put(UC, &6u64.to_le_bytes());
    put(UC + 16, &alt.sp.to_le_bytes());
    let ss = if alt.size == 0 { 2 } else { alt.flags & !2 | u32::from(on_alt) };
    put(UC + 24, &ss.to_le_bytes());
    put(UC + 32, &alt.size.to_le_bytes());
    for (i, r) in ORDER.into_iter().enumerate() {
        put(MC + i as u64 * 8, &regs.get(r).to_le_bytes());
    }
    put(MC + 128, &regs.pc.to_le_bytes());
    put(MC + 136, &regs.rflags.to_le_bytes());
    put(MC + 144, &[0x33, 0, 0, 0, 0, 0, 0x2b, 0]);
    let (trap, cr2) = fault.unwrap_or((0, 0));
    put(MC + 160, &trap.to_le_bytes());
    put(MC + 168, &mask.to_le_bytes());
    put(MC + 176, &cr2.to_le_bytes());
    put(MC + 184, &fp_addr.to_le_bytes());
    put(SIGMASK, &mask.to_le_bytes());
    put(INFO, &info.0);
    let mut r = regs.clone();
    r.set(Gpr::Rsp, addr);
    r.set(Gpr::Rdi, info.signo() as u64);
    r.set(Gpr::Rsi, addr.wrapping_add(INFO));
    r.set(Gpr::Rdx, addr.wrapping_add(UC));
    r.set(Gpr::Rax, 0);
    r.pc = action.handler;
    r.rflags = r.rflags & !0x10500 | 2;
    Frame { addr, bytes: b, fp_addr, regs: r }
}

/// What rt_sigreturn(2) reads back.
pub struct Restored {
    pub regs: Regs,
    pub mask: u64,
    pub fp_addr: u64,
    pub altstack: AltStack,
}

/// Size of what [`parse_frame`] reads at the frame's address.
pub const FRAME_SIZE: usize = FRAME as usize;

/// Reads a frame back. `current` supplies what the frame does not hold (segment bases).
pub fn parse_frame(bytes: &[u8; FRAME_SIZE], current: Regs) -> Restored {
    let u64_at = |at: u64| -> u64 {
        bytes.get(at as usize..at as usize + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
    };
    let mut regs = current;
    for (i, r) in ORDER.into_iter().enumerate() {
        regs.set(r, u64_at(MC + i as u64 * 8));
    }
    regs.pc = u64_at(MC + 128);
    // CF PF AF ZF SF DF OF from the frame; IF and bit 1 are always set.
    regs.rflags = u64_at(MC + 136) & 0xcd5 | 0x202;
    Restored {
        regs,
        mask: u64_at(SIGMASK) & !UNBLOCKABLE,
        fp_addr: u64_at(MC + 184),
        altstack: AltStack { sp: u64_at(UC + 16), flags: u64_at(UC + 24) as u32, size: u64_at(UC + 32) },
    }
}

/// Whether an action may be used: the restorer is what x86-64 returns through.
pub fn has_restorer(a: &Action) -> bool {
    a.flags & SA_RESTORER != 0
}

/// Name of a signal (`SIGINT`, `SIGRTMIN+3`).
pub fn name(sig: i32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
        "WINCH", "IO", "PWR", "SYS",
    ];
    match usize::try_from(sig - 1).ok().and_then(|i| NAMES.get(i)) {
        Some(n) => format!("SIG{n}"),
        None if (32..=64).contains(&sig) => format!("SIGRTMIN+{}", sig - 34),
        None => sig.to_string(),
    }
}
