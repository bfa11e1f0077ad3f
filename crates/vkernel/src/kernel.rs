//! The kernel object: configuration, process table, start and end of a container.

use crate::exec::{self, ExecRequest};
use crate::file::{FdTable, Object, OpenFile};
use crate::gate::{Gate, Policy};
use crate::limits;
use crate::locks::Locks;
use crate::mm::{Budget, SlotPool};
use crate::process::{FsState, INIT, INIT_PARENT, Ids, Node, Process, State, Tree, default_rlimits};
use crate::program::{Hash, ProgramTable};
use crate::signal::{self, SigInfo, Signals};
use crate::socket::outside::{Gateway, Outside};
use crate::sys;
use crate::task::{Start, Task};
use crate::thread::Thread;
use crate::timer::TimerThread;
use crate::tty::{HostStream, Tty};
use crate::wait::{WaitQueue, Waiter, lock};
use megalith_vfs::{Errno, InodeId, Vfs, WalkFlags};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

/// Runs tasks on host threads. Implemented by the engine.
///
/// A thread that runs a task may put off what it is told to launch, for a few milliseconds at most: most parents soon do nothing but wait for
/// their child, which then runs on the parent's own thread, without a hand-off between threads.
pub trait Launcher: Send + Sync {
    /// Runs `task` on a host thread: makes an instance of `task.program()` on the memories of `task.slot()`, starts it
    /// as `start` says, and drops the task when the trampoline has been left and [`Task::parked`] is false. Must not block on the new task.
    fn launch(&self, task: Task, start: Start);

    /// The same for a thread of a process whose task runs on the calling thread: nobody is going to wait for it as for a child.
    ///
    /// # Errors
    /// The task, when the host has no thread for it.
    fn launch_thread(&self, task: Task, start: Start) -> Result<(), Box<Task>> {
        self.launch(task, start);
        Ok(())
    }

    /// Whether the calling thread has put a task off, and would run it if its current task were parked.
    fn has_deferred(&self) -> bool {
        false
    }

    /// The calling thread is about to block, or at least has nothing better to do: what it has put off must start elsewhere.
    fn start_deferred(&self) {}

    /// The task of the calling thread is about to end: what is parked on this thread goes on there at once.
    fn ending(&self) {}

    /// The same for an exec: called on the thread of a process whose own task has just ended, so that the engine may run `task` on
    /// this very thread once the old instance has been left.
    fn replace(&self, task: Task, start: Start) {
        self.launch(task, start);
    }
}

/// Receives whole lines without a line end.
pub type LineSink = Arc<dyn Fn(&str) + Send + Sync>;

/// Limits of a container; `None` is unlimited.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of memory, all processes and files in memory together (`--memory`).
    pub memory: Option<u64>,
    /// Wall time (`--timeout`).
    pub timeout: Option<Duration>,
    /// Processes and threads that may exist at a time.
    pub processes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { memory: None, timeout: None, processes: 4096 }
    }
}

/// What a kernel is made of.
pub struct KernelConfig {
    /// The programs that may start.
    pub programs: ProgramTable,
    /// Which hash each path of the manifest stands for, and the scripts.
    pub policy: Policy,
    /// The container's files. The kernel mounts /proc and /dev on it.
    pub vfs: Arc<Vfs>,
    /// What pays for the private layers of `vfs` and for /dev.
    pub files: Arc<megalith_vfs::Budget>,
    /// Runs tasks.
    pub launcher: Arc<dyn Launcher>,
    /// Host name the guests see.
    pub hostname: String,
    pub limits: Limits,
    /// Receives one line per refused start and per trap.
    pub audit: LineSink,
    /// Receives one line per syscall (`--strace`).
    pub strace: Option<LineSink>,
    /// What polyfills load as code must have been there at build time.
    pub sealed: bool,
    /// The way to what the container may reach outside.
    pub gateway: Option<Arc<dyn Gateway>>,
    /// With it, time and randomness are the same in every run, and the first process's snapshot is taken.
    pub fixed: Option<Fixed>,
}

/// A run whose only purpose is a snapshot.
pub struct Fixed {
    /// Where the snapshot goes.
    snapshot: Mutex<Option<File>>,
    /// What the clocks say, in microseconds since they began; each look takes one.
    ticks: AtomicU64,
    /// Blocks of randomness given out.
    blocks: AtomicU64,
}

impl Fixed {
    /// Midnight of 1 January 2000, in seconds since 1970: what clocks begin with.
    pub const EPOCH: i64 = 946_684_800;

    /// The snapshot is to be written to `snapshot`.
    pub fn new(snapshot: File) -> Fixed {
        Fixed { snapshot: Mutex::new(Some(snapshot)), ticks: AtomicU64::new(0), blocks: AtomicU64::new(0) }
    }
    /// The file for the snapshot, once.
    pub(crate) fn take(&self) -> Option<File> {
        lock(&self.snapshot).take()
    }
    /// Whether the snapshot was taken.
    pub fn taken(&self) -> bool {
        lock(&self.snapshot).is_none()
    }
    /// The time on a clock: since 1970 if it is a calendar clock.
    pub(crate) fn time(&self, calendar: bool) -> Duration {
        let start = Duration::from_secs(if calendar { Fixed::EPOCH as u64 } else { 1 });
        start + Duration::from_micros(self.ticks.fetch_add(1, Ordering::Relaxed))
    }
    /// Bytes that nobody should take for random ones.
    fn fill(&self, buf: &mut [u8]) {
        for chunk in buf.chunks_mut(32) {
            let block = self.blocks.fetch_add(1, Ordering::Relaxed);
            let bytes = Sha256::digest(block.to_le_bytes());
            chunk.copy_from_slice(bytes.get(..chunk.len()).unwrap_or_default());
        }
    }
}

/// User and groups of the first process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

/// Standard input, output and error of the first process.
pub struct Stdio {
    /// Host descriptors for guest descriptors 0, 1 and 2.
    pub fds: [OwnedFd; 3],
    /// They are a host terminal: guests get a controlling terminal with the vkernel's own line discipline. The caller has
    /// put the host terminal into raw mode  and restores it at the end.
    pub tty: bool,
}

/// How the first process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitStatus {
    /// `exit(n)`.
    Exited(i32),
    /// Killed by a signal.
    Signaled(i32),
    /// `--timeout` passed.
    TimedOut,
    /// Killed because `--memory` was exceeded.
    OutOfMemory,
}

impl WaitStatus {
    /// Exit status as `docker run` gives it.
    pub fn code(self) -> i32 {
        match self {
            WaitStatus::Exited(n) => n & 0xff,
            WaitStatus::Signaled(s) => 128 + s,
            WaitStatus::TimedOut => 124,
            WaitStatus::OutOfMemory => 137,
        }
    }
}

/// Why the first process could not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartError {
    /// No such file (exit status 127).
    NotFound(String),
    /// The gate or the file's mode refused it (exit status 126).
    Refused(String),
    /// Our own error (exit status 125).
    Internal(String),
}

impl StartError {
    /// Exit status as `docker run` gives it.
    pub fn code(&self) -> i32 {
        match self {
            StartError::NotFound(_) => 127,
            StartError::Refused(_) => 126,
            StartError::Internal(_) => 125,
        }
    }
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StartError::NotFound(s) | StartError::Refused(s) | StartError::Internal(s) => f.write_str(s),
        }
    }
}

impl std::error::Error for StartError {}

/// A container's kernel.
pub struct Kernel {
    pub(crate) config: KernelConfig,
    pub(crate) vfs: Arc<Vfs>,
    pub(crate) gate: Gate,
    pub(crate) tree: Mutex<Tree>,
    pub(crate) slots: Arc<SlotPool>,
    /// Private memory of the processes.
    pub(crate) budget: Arc<Budget>,
    /// Held by who looks at the memory in use.
    pub(crate) looking: Mutex<()>,
    /// The host's numbers, with `--memory`.
    pub(crate) host: Option<limits::Host>,
    /// Memory that no process has to itself: memfds, shared anonymous mappings, pipes, sockets.
    pub(crate) shared: Arc<megalith_vfs::Budget>,
    /// Sockets, and what is in flight between them.
    pub(crate) net: Arc<crate::socket::net::Net>,
    pub(crate) locks: Locks,
    pub(crate) timers: Arc<TimerThread>,
    /// Buffers of named fifos in use.
    pub(crate) fifos: Mutex<HashMap<InodeId, Weak<crate::pipe::Pipe>>>,
    pub(crate) ptys: crate::tty::Ptys,
    pub(crate) console: OnceLock<Arc<Tty>>,
    pub(crate) futexes: crate::futex::Futexes,
    /// Held while two turns become one.
    pub(crate) merging: Mutex<()>,
    pub(crate) hostname: Mutex<Vec<u8>>,
    pub(crate) domainname: Mutex<Vec<u8>>,
    pub(crate) started: Instant,
    /// Woken when a process ends or execs.
    pub(crate) ended: WaitQueue,
    /// Woken when the first process has ended, and when the last task has.
    pub(crate) finished: WaitQueue,
    pub(crate) status: Mutex<Option<WaitStatus>>,
    pub(crate) timed_out: AtomicBool,
    /// The first process was killed for `--memory`.
    pub(crate) out_of_memory: AtomicBool,
    /// Tasks that exist; `wait` lets them end before it returns.
    pub(crate) tasks: AtomicI32,
    pub(crate) execs: AtomicU64,
    pub(crate) syscalls_unknown: Mutex<BTreeMap<u64, u64>>,
    pub(crate) noticed: AtomicU32,
    pub(crate) me: Weak<Kernel>,
}

impl Kernel {
    /// A kernel without processes. Mounts /proc, /dev and /dev/pts where the tree has such directories.
    ///
    /// # Errors
    /// When /proc/self/pagemap cannot be opened or a mount fails.
    pub fn new(config: KernelConfig) -> Result<Arc<Kernel>, Errno> {
        crate::mm::prepare()?;
        let vfs = Arc::clone(&config.vfs);
        let shared = megalith_vfs::Budget::new(config.limits.memory.unwrap_or(u64::MAX));
        let kernel = Arc::new_cyclic(|me: &Weak<Kernel>| Kernel {
            gate: Gate::default(),
            tree: Mutex::new(Tree::default()),
            // More than one slot a process: exec makes the new one before the old one goes.
            slots: SlotPool::new(config.limits.processes * 2 + 4, 64),
            budget: Budget::new(config.limits.memory, config.limits.memory.map_or(0, |_| limits::slack())),
            looking: Mutex::new(()),
            host: config.limits.memory.and_then(|_| limits::Host::new()),
            net: crate::socket::net::Net::new(&shared, Outside::new(config.gateway.clone())),
            shared,
            locks: Locks::default(),
            timers: TimerThread::new(),
            fifos: Mutex::default(),
            ptys: crate::tty::Ptys::default(),
            console: OnceLock::new(),
            futexes: crate::futex::Futexes::default(),
            merging: Mutex::new(()),
            hostname: Mutex::new(config.hostname.clone().into_bytes()),
            domainname: Mutex::new(b"(none)".to_vec()),
            started: Instant::now(),
            ended: WaitQueue::default(),
            finished: WaitQueue::default(),
            status: Mutex::new(None),
            timed_out: AtomicBool::new(false),
            out_of_memory: AtomicBool::new(false),
            tasks: AtomicI32::new(0),
            execs: AtomicU64::new(0),
            syscalls_unknown: Mutex::default(),
            noticed: AtomicU32::new(0),
            vfs,
            config,
            me: Weak::clone(me),
        });
        crate::devfs::mount(&kernel)?;
        crate::procfs::mount(&kernel)?;
        Ok(kernel)
    }

    /// Starts the first process (pid 1). `argv[0]` is looked up in the PATH of `envp` when it has no slash. With `expect`, nothing but a file of that
    /// hash starts.
    pub fn start_init(
        self: &Arc<Kernel>,
        argv: &[Vec<u8>],
        envp: &[Vec<u8>],
        cwd: &[u8],
        cred: &Credentials,
        stdio: Stdio,
        expect: Option<Hash>,
    ) -> Result<(), StartError> {
        let name = argv.first().ok_or_else(|| StartError::Internal("no command given".into()))?;
        let shown = String::from_utf8_lossy(name).into_owned();
        let ids = Ids::new(cred.uid, cred.gid, &cred.groups);
        let root = self.vfs.root();
        let fs_cred = ids.fs();
        let at = megalith_vfs::At { root: &root, base: &root, cred: &fs_cred };
        let cwd = if cwd.is_empty() { b"/" } else { cwd };
        let cwd = self.vfs.lookup(&at, cwd, WalkFlags::DIRECTORY).map_err(|e| {
            StartError::Internal(format!("working directory {}: {}", String::from_utf8_lossy(cwd), e.message()))
        })?;
        let at = megalith_vfs::At { base: &cwd, ..at };
        let path = exec::search_path(&self.vfs, &at, name, envp).map_err(|e| match e {
            Errno::ENOENT | Errno::ENOTDIR => StartError::NotFound(format!("{shown}: not found in the container")),
            e => StartError::Refused(format!("{shown}: {}", e.message())),
        })?;
        let fs = FsState { root, cwd, umask: 0o022 };
        let request = ExecRequest {
            path: path.clone(),
            base: fs.cwd.clone(),
            location: None,
            expect,
            argv: argv.to_vec(),
            envp: envp.to_vec(),
        };
        let limits = default_rlimits(self.config.limits.processes as u64);
        let loaded = exec::load(self, &fs, &ids, &limits, &request).map_err(|e| match e {
            Errno::ENOENT | Errno::ENOTDIR => StartError::NotFound(format!("{shown}: not found in the container")),
            Errno::EACCES => StartError::Refused(format!("{shown}: not a program of this bundle, or not executable")),
            // Already reported: files of the bundle are damaged.
            Errno::EIO => StartError::Internal(format!("{shown}: {}", Errno::EIO.message())),
            e => StartError::Refused(format!("{shown}: {}", e.message())),
        })?;
        let mut fds = FdTable::default();
        let Stdio { fds: host, tty } = stdio;
        let [stdin, stdout, stderr] = host.map(Arc::new);
        let mut session_tty = None;
        if tty {
            let t = Tty::host(stdin, stdout);
            let _ = self.console.set(Arc::clone(&t));
            // At once: Ctrl-C must work although nobody reads.
            t.start_reader(self);
            for _ in 0..3 {
                let file =
                    OpenFile::new(Object::Stream(t.slave()), libc::O_RDWR as u32, crate::devfs::console_location(self));
                let _ = fds.add(file, false, 0, 1024);
            }
            session_tty = Some(t);
        } else {
            for (fd, flags) in [(stdin, libc::O_RDONLY), (stdout, libc::O_WRONLY), (stderr, libc::O_WRONLY)] {
                let stream = HostStream::new(fd);
                let _ = fds.add(OpenFile::stream(stream, flags as u32), false, 0, 1024);
            }
        }
        let pid = lock(&self.tree).new_pid();
        let slot = Arc::clone(loaded.space.slot());
        let main = Thread::new(pid, sys::all_cpus());
        let process = Arc::new(Process {
            pid,
            main: Arc::clone(&main),
            threaded: AtomicBool::new(false),
            one_left: AtomicBool::new(false),
            signals: Mutex::new(Signals::new(main)),
            fds: Mutex::new(fds),
            fs: Mutex::new(fs),
            ids: Mutex::new(ids),
            image: Mutex::new(loaded.image),
            slot: Mutex::new(Some(slot)),
            mm: Mutex::new(None),
            rlimits: Mutex::new(limits),
            started: Instant::now(),
            cpu_ns: AtomicU64::new(0),
            children_cpu_ns: AtomicU64::new(0),
            max_rss: AtomicU64::new(0),
            children_max_rss: AtomicU64::new(0),
            nice: AtomicI32::new(0),
            dumpable: AtomicU32::new(1),
            death_signal: AtomicI32::new(0),
            timers: Mutex::default(),
            ended: AtomicBool::new(false),
            end: WaitQueue::default(),
        });
        {
            let mut tree = lock(&self.tree);
            tree.nodes.insert(
                pid,
                Node {
                    process: Arc::clone(&process),
                    ppid: INIT_PARENT,
                    pgid: pid,
                    sid: pid,
                    state: State::Running,
                    stop_report: None,
                    continued: false,
                    exit_signal: 0,
                    execed: true,
                },
            );
            if let Some(t) = session_tty {
                t.acquire(pid, pid);
                tree.terminals.insert(pid, t);
            }
        }
        self.watch().map_err(|e| StartError::Internal(format!("cannot watch the limits: {e}")))?;
        let start = Start::Program { rsp: loaded.rsp, hash: loaded.program.hash_words() };
        let mut task = Task::new(Arc::clone(self), process, loaded.program, loaded.space, loaded.rsp);
        task.begin_from(loaded.resumed);
        self.execs.fetch_add(1, Ordering::Relaxed);
        self.config.launcher.launch(task, start);
        Ok(())
    }

    /// Fills a buffer from the random source.
    pub(crate) fn fill_random(&self, buf: &mut [u8]) -> Result<(), Errno> {
        match &self.config.fixed {
            None => crate::devfs::fill_random(buf),
            Some(fixed) => {
                fixed.fill(buf);
                Ok(())
            }
        }
    }

    /// How the run for a snapshot goes, if it is one.
    pub fn fixed(&self) -> Option<&Fixed> {
        self.config.fixed.as_ref()
    }

    /// SIGKILL to every process, or to all but the first.
    pub(crate) fn kill_all(&self, init_too: bool) {
        let all: Vec<_> = lock(&self.tree).nodes.values().map(|n| Arc::clone(&n.process)).collect();
        for p in all {
            if init_too || p.pid != INIT {
                p.post(self, SigInfo::new(signal::SIGKILL, signal::SI_KERNEL));
            }
        }
    }

    /// The first process has ended.
    pub(crate) fn finish(&self, status: i32) {
        let s = if self.timed_out.load(Ordering::Acquire) {
            WaitStatus::TimedOut
        } else if self.out_of_memory.load(Ordering::Acquire) {
            WaitStatus::OutOfMemory
        } else if status & 0x7f == 0 {
            WaitStatus::Exited(status >> 8 & 0xff)
        } else {
            WaitStatus::Signaled(status & 0x7f)
        };
        *lock(&self.status) = Some(s);
        self.kill_all(false);
        self.finished.wake();
    }

    /// Waits until the first process is gone, kills all others, and tells how it ended.
    pub fn wait(&self) -> WaitStatus {
        let waiter = Waiter::new();
        let _r = self.finished.register(&waiter);
        let status = loop {
            waiter.clear();
            if let Some(s) = *lock(&self.status) {
                break s;
            }
            let _ = waiter.wait(None, &[]);
        };
        // The others have been killed; a thread that hangs in a host call may not end soon.
        let deadline = Instant::now() + Duration::from_secs(2);
        while self.tasks.load(Ordering::Acquire) > 0 && Instant::now() < deadline {
            waiter.clear();
            self.kill_all(false);
            let _ = waiter.wait(Some(Instant::now() + Duration::from_millis(20)), &[]);
        }
        status
    }

    /// After [`Kernel::wait`]: waits, no longer than `limit`, until all that was sent to places outside is with the host. Whether it is. What a container
    /// sent that was killed for its time or memory is not waited for.
    pub fn drain_outside(&self, limit: Duration) -> bool {
        let killed = self.timed_out.load(Ordering::Acquire) || self.out_of_memory.load(Ordering::Acquire);
        killed || self.net.outside.drain(Instant::now() + limit)
    }

    /// How the first process ended, if it has.
    pub fn status(&self) -> Option<WaitStatus> {
        *lock(&self.status)
    }

    /// Passes on a signal that the host sent to the runner: SIGWINCH to the terminal, all others to the first process.
    pub fn signal_init(&self, sig: i32) {
        if sig == signal::SIGWINCH
            && let Some(t) = self.console.get()
        {
            if let Some(fg) = t.refresh_window() {
                self.signal_group(fg, SigInfo::new(sig, signal::SI_KERNEL));
            }
            return;
        }
        if let Some(p) = self.process(INIT) {
            p.post(self, SigInfo::from_process(sig, signal::SI_USER, 0, 0));
        }
    }

    /// Starts that passed the gate so far.
    pub fn execs(&self) -> u64 {
        self.execs.load(Ordering::Relaxed)
    }

    /// Numbers of unknown syscalls and how often each was called.
    pub fn unknown_syscalls(&self) -> BTreeMap<u64, u64> {
        lock(&self.syscalls_unknown).clone()
    }

    /// Writes one audit line.
    pub(crate) fn audit(&self, line: &str) {
        (self.config.audit)(line);
    }
}
