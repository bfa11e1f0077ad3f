//! The kernel object: configuration, process table, start and end of a container.

use crate::program::ProgramTable;
use crate::task::{Start, Task};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// Runs tasks on host threads. Implemented by the engine.
pub trait Launcher: Send + Sync {
    /// Runs `task` on a host thread: makes an instance of `task.program()` on the memories of `task.slot()`, starts it
    /// as `start` says, and drops the task when the trampoline has been left. Must not block on the new task.
    fn launch(&self, task: Task, start: Start);

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
    /// Bytes of private memory, all processes together (`--memory`).
    pub memory: Option<u64>,
    /// Wall time (`--timeout`).
    pub timeout: Option<Duration>,
    /// Processes that may exist at a time.
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
    /// Runs tasks.
    pub launcher: Arc<dyn Launcher>,
    /// Host name the guests see.
    pub hostname: String,
    pub limits: Limits,
    /// Receives one line per refused start and per trap.
    pub audit: LineSink,
    /// Receives one line per syscall (`--strace`).
    pub strace: Option<LineSink>,
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
    /// `--memory` was exceeded.
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
}

impl Kernel {
    /// A kernel without processes.
    pub fn new(config: KernelConfig) -> Arc<Kernel> {
        Arc::new(Kernel { config })
    }

    /// Starts the first process (pid 1). `argv[0]` is looked up in the PATH of `envp` when it has no slash.
    pub fn start_init(
        self: &Arc<Kernel>,
        _argv: &[Vec<u8>],
        _envp: &[Vec<u8>],
        _cwd: &[u8],
        _cred: &Credentials,
        _stdio: Stdio,
    ) -> Result<(), StartError> {
        Err(StartError::Internal("not there yet".into()))
    }

    /// Waits until the first process is gone, kills all others, and tells how it ended.
    pub fn wait(&self) -> WaitStatus {
        WaitStatus::Exited(0)
    }

    /// Sends a signal that the host got to the first process (SIGWINCH, and on a terminal SIGINT and the like, to the foreground group).
    pub fn signal_init(&self, _signal: i32) {}
}
