//! The user-space kernel for recompiled x86-64 Linux guests: processes, files, pipes, signals, memory mappings,
//! terminals, /proc, the exec gate and the syscall table. It knows nothing of WebAssembly engines: an engine implements
//! [`Machine`] (registers) and [`Launcher`] (threads and instances) and calls [`Task`].
//!
//! One host thread runs one guest process.

pub mod errno;
pub mod mm;
pub mod regs;
mod kernel;
mod program;
mod task;

pub use kernel::{Credentials, Kernel, KernelConfig, Launcher, Limits, LineSink, StartError, Stdio, WaitStatus};
pub use program::{Hash, Program, ProgramTable};
pub use regs::{Machine, Regs};
pub use task::{FaultInfo, Outcome, Start, Task};
