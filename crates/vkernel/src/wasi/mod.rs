//! The WASI door: `wasi_snapshot_preview1` over the same processes, descriptors, files, pipes, terminals, signals and clocks that the Linux
//! door (`sys`) uses.
//!
//! A WASI program has no signal handlers, does not fork and does not exec; it is a process like others in everything else. Its linear memory is
//! an area of its address space that begins at 0, so that every pointer it passes is checked as a Linux program's is. It is given one directory,
//! `/`, as descriptor 3; see [`path`] for how names relative to it are understood.

mod errno;
mod fd;
mod misc;
mod path;
mod poll;
mod table;
#[cfg(test)]
mod tests;

pub use table::{WasiEntry, docs_markdown, table};

use crate::errno::{ERESTARTNOHAND, ERESTARTSYS, Errno, Result};
use crate::file::{Object, OpenFile};
use crate::kernel::Kernel;
use crate::mm::{AddressSpace, Prot, Slot};
use crate::program::Program;
use crate::regs::{Machine, Regs};
use crate::signal::SIGSEGV;
use crate::sys::Ctx;
use crate::task::Task;
use crate::wait::lock;
use megalith_abi::{Gpr, WASI_MAX_ARGS};
use megalith_vfs::OpenFlags;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// Descriptor of the directory `/`. wasi-libc looks for such directories from 3 on.
const PREOPEN: i32 = 3;

/// A call in progress.
struct Call<'c, 'a> {
    c: &'c mut Ctx<'a>,
    a: [u64; WASI_MAX_ARGS],
}

impl Call<'_, '_> {
    /// Argument as `u32`.
    fn u32(&self, i: usize) -> u32 {
        self.u64(i) as u32
    }
    /// Argument as `u64`.
    fn u64(&self, i: usize) -> u64 {
        self.a.get(i).copied().unwrap_or(0)
    }
    /// Argument as pointer: WASI's addresses have 32 bits.
    fn ptr(&self, i: usize) -> u64 {
        u64::from(self.u32(i))
    }
    /// Argument as descriptor.
    fn fd(&self, i: usize) -> i32 {
        self.u32(i) as i32
    }
    /// The description behind a descriptor argument.
    fn file(&self, i: usize) -> Result<Arc<OpenFile>> {
        self.open_file(self.fd(i))
    }
    fn open_file(&self, fd: i32) -> Result<Arc<OpenFile>> {
        let f = lock(&self.c.task.process.fds).get(fd).map(Arc::clone)?;
        if matches!(f.object, Object::Path) { Err(Errno::EBADF) } else { Ok(f) }
    }
    /// Whether `f` is the directory that the program was given.
    fn is_preopen(&self, f: &Arc<OpenFile>) -> bool {
        self.c.task.preopen.as_ref().is_some_and(|p| Arc::ptr_eq(p, f))
    }
    /// `EFAULT` unless the `len` bytes at `addr` can be written: asked before anything is done whose result would be lost.
    fn room(&self, addr: u64, len: usize) -> Result<()> {
        if self.c.space().accessible(addr, len, Prot::WRITE) < len { Err(Errno::EFAULT) } else { Ok(()) }
    }
    /// A path argument: address, then length.
    fn path(&self, i: usize) -> Result<Vec<u8>> {
        let len = self.u32(i + 1);
        if len as usize >= megalith_vfs::PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        self.c.get_vec(self.ptr(i), len.into(), megalith_vfs::PATH_MAX)
    }
    /// Has a Linux system call do the work.
    fn linux(&mut self, f: fn(&mut Ctx<'_>) -> Result<i64>, a: [u64; 6]) -> Result<i64> {
        self.c.a = a;
        f(self.c)
    }
}

/// What the signal code of the Linux door sees of a WASI program: no registers. They are only used to run handlers, of which there are none.
struct NoRegisters;

impl Machine for NoRegisters {
    fn load(&mut self) -> Regs {
        Regs::default()
    }
    fn store(&mut self, _: &Regs) {}
    fn gpr(&mut self, _: Gpr) -> u64 {
        0
    }
    fn set_gpr(&mut self, _: Gpr, _: u64) {}
    fn pc(&mut self) -> u64 {
        0
    }
    fn set_pc(&mut self, _: u64) {}
    fn fs_base(&mut self) -> u64 {
        0
    }
    fn set_fs_base(&mut self, _: u64) {}
    fn gs_base(&mut self) -> u64 {
        0
    }
    fn set_gs_base(&mut self, _: u64) {}
}

/// The linear memory of a WASI process, for the engine.
pub struct WasiMemory {
    slot: Arc<Slot>,
    space: Arc<Mutex<AddressSpace>>,
    program: Arc<Program>,
    kernel: Arc<Kernel>,
}

impl WasiMemory {
    /// Where it begins. [`crate::mm::RESERVED`] bytes are the slot's; those behind the end of the memory are inaccessible.
    pub fn base(&self) -> *mut u8 {
        self.slot.memory0()
    }
    /// Makes it, `size` bytes large (a page multiple), with the program's data image.
    ///
    /// # Errors
    /// `ENOMEM` past a limit, `EIO` when the data image is damaged, `ENOEXEC` when it does not fit.
    pub fn begin(&self, size: usize) -> Result<()> {
        lock(&self.space).map_linear(size as u64, self.program.data_image()?)
    }
    /// Makes it larger: `from` bytes, the size now, become `to`. Both are page multiples.
    ///
    /// # Errors
    /// `ENOMEM` past a limit.
    pub fn grow(&self, from: usize, to: usize) -> Result<()> {
        lock(&self.space).grow_linear(from as u64, to as u64)?;
        self.kernel.committed_more();
        Ok(())
    }
}

/// Calls for a task whose program's [`crate::Abi`] is WASI.
impl Task {
    /// The memory to make an instance with.
    pub fn wasi_memory(&self) -> WasiMemory {
        let (slot, program) = (Arc::clone(self.slot()), Arc::clone(self.program()));
        WasiMemory { slot, space: Arc::clone(&self.space), program, kernel: Arc::clone(&self.kernel) }
    }

    /// To be called once, before the program starts. False: the process was killed already.
    pub fn wasi_start(&mut self) -> bool {
        self.enter();
        let root = lock(&self.process.fs).root.clone();
        let dir = OpenFile::new(Object::Inode(Arc::clone(root.inode())), OpenFlags::O_DIRECTORY, Some(root));
        {
            let limit = lock(&self.process.rlimits)[7].0;
            let mut fds = lock(&self.process.fds);
            // What was inherited as 3 moves out of the way.
            if let Some(old) = fds.put(PREOPEN, Arc::clone(&dir), true) {
                let _ = fds.add(old.file, old.cloexec, PREOPEN + 1, limit.max(64));
            }
        }
        self.preopen = Some(dir);
        self.wasi_poll()
    }

    /// A call of function `index` of [`table`]: its error number (0: none), or `None` when the process has ended and its instance must be left.
    /// A call that a signal interrupts is restarted unless the signal ends the process.
    pub fn wasi_call(&mut self, index: usize, args: [u64; WASI_MAX_ARGS]) -> Option<u16> {
        self.enter();
        crate::procfs::set_current(self.process.pid, self.thread.tid);
        let entry = table::table().get(index)?;
        loop {
            let r = table::perform(self, entry, args);
            if self.ended() {
                return None;
            }
            if matches!(r, Err(e) if e == ERESTARTSYS || e == ERESTARTNOHAND) {
                if !self.wasi_poll() {
                    return None;
                }
                continue;
            }
            self.restart_deadline = None;
            if self.thread.attention.load(Ordering::Acquire) && !self.wasi_poll() {
                return None;
            }
            return Some(r.map_or_else(errno::number, |()| 0));
        }
    }

    /// The poll word was found set. False when the process has ended and its instance must be left; returns when a stopped process goes on.
    pub fn wasi_poll(&mut self) -> bool {
        loop {
            if self.ended() {
                return false;
            }
            self.slot().poll_word().store(0, Ordering::SeqCst);
            if !self.thread.attention.load(Ordering::SeqCst) {
                return true;
            }
            self.deliver(&mut NoRegisters);
        }
    }

    /// `_start` returned: the process ends with status 0.
    pub fn wasi_returned(&mut self) {
        if !self.ended() {
            self.exit(0);
        }
    }

    /// The program trapped: one audit line, and the process ends as by `signal`.
    pub fn wasi_trap(&mut self, signal: i32, what: &str) {
        if self.ended() {
            return;
        }
        let exe = lock(&self.process.image).exe.path(None);
        self.kernel.audit(&format!("pid {}: {}: killed: {what}", self.process.pid, String::from_utf8_lossy(&exe)));
        self.exit(if (1..=64).contains(&signal) { signal } else { SIGSEGV });
    }
}
