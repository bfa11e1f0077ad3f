//! `--timeout` and `--memory`: a thread that looks now and then.
//!
//! Memory that the kernel hands out itself (files of the upper layers, memfds, shared anonymous mappings, pipes, sockets) is charged before it is there, and
//! refused at the limit. Private memory is only reserved by mmap(2), fork(2) and their kind, and comes into being when it is touched; the
//! thread looks how much of it there is, more often the closer the limit is, and so do those who reserve more. Past the limit the largest process gets SIGKILL and loses its
//! memory at once, as from Linux's OOM killer and reaper. What can be touched between two looks is bounded by what may be committed
//! ([`crate::mm::Budget`]).

use crate::kernel::Kernel;
use crate::mm::{self, AddressSpace};
use crate::process::{INIT, Process};
use crate::program::Abi;
use crate::signal::{SI_KERNEL, SIGKILL, SigInfo};
use crate::sys::cpus;
use crate::wait::lock;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

/// How long at most until the next look.
const SELDOM: Duration = Duration::from_millis(20);
/// How long at least.
const OFTEN: Duration = Duration::from_millis(1);
/// Bytes that one host CPU touches for the first time in a millisecond, at most.
const TOUCHED: u64 = 4 << 20;
/// Host memory beyond the limit that the runner's own bookkeeping may take: so much, a quarter of the limit, and something for each task.
const ALLOWANCE: u64 = 64 << 20;
const ALLOWANCE_TASK: u64 = 128 << 10;

/// What a container may commit beyond its limit: half of what the host has left now.
pub fn slack() -> u64 {
    let available = std::fs::read_to_string("/proc/meminfo").ok().and_then(|s| field(&s, "MemAvailable:"));
    available.unwrap_or_else(|| {
        let s = rustix::system::sysinfo();
        s.freeram as u64 * u64::from(s.mem_unit.max(1))
    }) / 2
}

/// A number of kB in a file of /proc, in bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let kb = text.lines().find_map(|l| l.strip_prefix(name))?.trim().strip_suffix("kB")?;
    kb.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The runner's own view of what it takes: private memory, swapped out or not.
pub struct Host {
    status: File,
    /// Before the first process.
    base: u64,
}

impl Host {
    /// To be called before a sandbox closes /proc.
    pub fn new() -> Option<Host> {
        let mut host = Host { status: File::open("/proc/self/status").ok()?, base: 0 };
        host.base = host.used()?;
        Some(host)
    }

    /// Bytes since the start.
    fn used(&self) -> Option<u64> {
        let mut buf = [0u8; 4096];
        let n = self.status.read_at(&mut buf, 0).ok()?;
        let text = std::str::from_utf8(buf.get(..n)?).ok()?;
        let all = field(text, "RssAnon:")?.saturating_add(field(text, "VmSwap:").unwrap_or(0));
        Some(all.saturating_sub(self.base))
    }
}

/// A process's memory, and those who run in it.
struct User {
    mm: Arc<Mutex<AddressSpace>>,
    processes: Vec<Arc<Process>>,
    resident: u64,
}

impl Kernel {
    /// Enforces `--timeout` and `--memory` from a thread of its own, if there are such limits. `EAGAIN` when there is no thread to be had.
    pub(crate) fn watch(&self) -> std::io::Result<()> {
        let (timeout, memory) = (self.config.limits.timeout, self.config.limits.memory);
        if timeout.is_none() && memory.is_none() {
            return Ok(());
        }
        let me = Weak::clone(&self.me);
        let started = self.started;
        let run = move || {
            let mut step = OFTEN;
            loop {
                std::thread::sleep(timeout.map_or(step, |t| t.saturating_sub(started.elapsed()).clamp(OFTEN, step)));
                let Some(k) = me.upgrade() else { return };
                if lock(&k.status).is_some() {
                    return;
                }
                if timeout.is_some_and(|t| started.elapsed() >= t) {
                    k.timed_out.store(true, Ordering::Release);
                    k.kill_all(true);
                    return;
                }
                step = memory.map_or(Duration::from_secs(3600), |limit| k.look(limit));
            }
        };
        std::thread::Builder::new().name("megalith-limits".into()).spawn(run).map(drop)
    }

    /// More memory has been committed: whoever does that looks from time to time, too. The thread may not get to it among many that are busy.
    /// No lock may be held.
    pub(crate) fn committed_more(&self) {
        if let Some(limit) = self.config.limits.memory
            && self.budget.unseen() > limit / 16
        {
            self.look(limit);
        }
    }

    /// Looks at the memory in use, and kills until it is within `limit`. Returns when to look again.
    fn look(&self, limit: u64) -> Duration {
        let _one = lock(&self.looking);
        self.budget.seen();
        let charged = self.shared.used().saturating_add(self.config.files.used());
        let anonymous = self.host.as_ref().and_then(Host::used);
        let mut total = anonymous.map_or(u64::MAX, |a| a.saturating_add(charged));
        let tasks = self.tasks.load(Ordering::Acquire).max(0) as u64;
        let bookkeeping = limit / 4 + ALLOWANCE + tasks * ALLOWANCE_TASK;
        let mut excess = anonymous.map_or(0, |a| a.saturating_sub(limit.saturating_add(bookkeeping)));
        // The runner's own memory is in `anonymous`: only who comes close to the limit is counted exactly.
        if total > limit {
            let mut users = self.memory_users();
            total = users.iter().map(|u| u.resident).sum::<u64>().saturating_add(charged);
            excess = excess.max(total.saturating_sub(limit));
            users.sort_unstable_by_key(|u| u.resident);
            while excess > 0
                && let Some(largest) = users.pop()
            {
                self.kill_for_memory(&largest, limit);
                excess = excess.saturating_sub(largest.resident.max(mm::PAGE));
                total = total.saturating_sub(largest.resident);
            }
        }
        self.budget.set_used(total);
        let pace = TOUCHED * cpus() as u64;
        Duration::from_millis(limit.saturating_sub(total) / pace).clamp(OFTEN, SELDOM)
    }

    /// Who has private memory, and has not been killed yet.
    fn memory_users(&self) -> Vec<User> {
        let mut users: Vec<User> = Vec::new();
        for n in lock(&self.tree).nodes.values() {
            let Some(mm) = lock(&n.process.mm).clone() else { continue };
            match users.iter_mut().find(|u| Arc::ptr_eq(&u.mm, &mm)) {
                Some(u) => u.processes.push(Arc::clone(&n.process)),
                None => users.push(User { mm, processes: vec![Arc::clone(&n.process)], resident: 0 }),
            }
        }
        for u in &mut users {
            u.resident = lock(&u.mm).resident();
        }
        users
    }

    /// SIGKILL to all who run in a memory, which is taken away from them before they notice.
    fn kill_for_memory(&self, user: &User, limit: u64) {
        let mut wasi = false;
        for p in &user.processes {
            let (comm, abi) = {
                let image = lock(&p.image);
                (String::from_utf8_lossy(&image.comm).into_owned(), image.program.abi)
            };
            wasi |= abi == Abi::Wasi;
            // Who is slow to end is said to be killed once.
            if lock(&p.signals).shared.set & crate::signal::bit(SIGKILL) == 0 {
                self.audit(&format!(
                    "pid {} ({comm}): killed, out of memory: it had {} KiB of the {} KiB that --memory allows to all",
                    p.pid,
                    user.resident >> 10,
                    limit >> 10
                ));
            }
            if p.pid == INIT {
                self.out_of_memory.store(true, Ordering::Release);
            }
            p.post(self, SigInfo::new(SIGKILL, SI_KERNEL));
        }
        if !wasi {
            // Where it fails, the process still ends by itself.
            let _ = lock(&user.mm).condemn();
        }
    }
}
