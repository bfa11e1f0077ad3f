//! The user-space kernel for recompiled x86-64 Linux guests and for WASI modules: processes, files, pipes, signals, memory mappings,
//! terminals, /proc, the exec gate and the syscall table. It knows nothing of WebAssembly engines: an engine implements
//! [`Machine`] (registers) and [`Launcher`] (threads and instances) and calls [`Task`].
//!
//! One host thread runs one guest thread at a time. Locks: the process tree first, then one process's own state (signals, descriptors,
//! memory), then a file object; no lock is held while a process waits.

mod calls;
mod cpuid;
mod devfs;
pub mod errno;
mod exec;
mod file;
mod futex;
mod gate;
mod hostio;
mod kernel;
mod limits;
mod locks;
mod memfile;
pub mod mm;
mod pipe;
mod process;
mod procfs;
mod program;
pub mod regs;
mod signal;
mod snapshot;
mod socket;
mod sys;
mod task;
mod thread;
mod timer;
mod tty;
mod turn;
mod wait;
mod wasi;

#[cfg(test)]
mod tests;

pub use calls::Calls;
pub use exec::search_path;
pub use gate::Policy;
pub use kernel::{Credentials, Fixed, Kernel, KernelConfig, Launcher, Limits, LineSink, StartError, Stdio, WaitStatus};
pub use program::{Abi, DataFile, Hash, MetaReader, Program, ProgramTable, SharedMap};
pub use regs::{Machine, Regs};
pub use snapshot::Snapshot;
pub use socket::outside::{Gateway, MAX_OUTSIDE};
pub use sys::{Support, SyscallEntry, docs_markdown, table};
pub use task::{FaultInfo, Outcome, Start, Task};
pub use wait::{Parked, Waiter};
pub use wasi::{WasiEntry, WasiMemory, docs_markdown as wasi_docs_markdown, table as wasi_table};
