//! The native executor: runs one instruction, or a basic block, on the host CPU from a given [`State`].
//!
//! The arena's pages are mapped at their guest addresses in this process (a PIE, so everything below 4 GiB is free), the
//! instruction is copied to its guest address, and a short assembly stub exchanges the complete register state with the host's. After the
//! instruction stands an indirect jump back to the stub. The rest of the code range is filled with `int3`.
//!
//! A fault arrives as a signal on an alternate stack; the handler notes what the kernel says and makes the
//! signal return continue at the stub's exit. Signals that arrive while nothing is executing natively go to the handler that was installed
//! before ([`Native::new`] must therefore run after wasmtime has installed its own).
//!
//! All `unsafe` of the native side is in this file.

use crate::arena::{self, CODE_BASE, CODE_LEN, CODE_START, PADS};
use crate::pages::{Pages, map_free, protect, unmap};
use crate::state::{FLAGS, Fault, FxArea, Outcome, State};
use std::cell::UnsafeCell;
use std::io;
use std::marker::PhantomData;
use std::mem::{offset_of, size_of};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// The assembly stub's variables. One native run happens at a time (see [`LOCK`]).
#[repr(C)]
struct Vars {
    host_rsp: u64,
    host_fs: u64,
    host_gs: u64,
    frame: u64,
    target: u64,
    saved_rdi: u64,
    landing: u64,
}

struct VarsCell(UnsafeCell<Vars>);
// SAFETY: only the holder of `LOCK` and, on the same thread, its stub and signal handler touch it.
unsafe impl Sync for VarsCell {}

static VARS: VarsCell = VarsCell(UnsafeCell::new(Vars {
    host_rsp: 0,
    host_fs: 0,
    host_gs: 0,
    frame: 0,
    target: 0,
    saved_rdi: 0,
    landing: 0,
}));

const GPR: usize = offset_of!(State, gpr);

// enter(rdi = *mut State): saves what the SysV ABI wants preserved on the host stack, loads the state and jumps to VARS.target.
// insnfuzz_exit: the guest's continuation; stores the state and falls into insnfuzz_leave, which returns to enter's caller.
core::arch::global_asm!(
    ".text",
    ".p2align 4",
    "insnfuzz_enter:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "sub rsp, 8",
    "stmxcsr [rsp]",
    "fnstcw [rsp + 4]",
    "mov [rip + {vars} + {host_rsp}], rsp",
    "mov [rip + {vars} + {frame}], rdi",
    "rdfsbase rax",
    "mov [rip + {vars} + {host_fs}], rax",
    "rdgsbase rax",
    "mov [rip + {vars} + {host_gs}], rax",
    "fxrstor64 [rdi + {fx}]",
    "mov rax, [rdi + {fs}]",
    "wrfsbase rax",
    "mov rax, [rdi + {gs}]",
    "wrgsbase rax",
    "push [rdi + {flags}]",
    "popfq",
    "mov rax, [rdi + {gpr} + 0]",
    "mov rcx, [rdi + {gpr} + 8]",
    "mov rdx, [rdi + {gpr} + 16]",
    "mov rbx, [rdi + {gpr} + 24]",
    "mov rsp, [rdi + {gpr} + 32]",
    "mov rbp, [rdi + {gpr} + 40]",
    "mov rsi, [rdi + {gpr} + 48]",
    "mov r8,  [rdi + {gpr} + 64]",
    "mov r9,  [rdi + {gpr} + 72]",
    "mov r10, [rdi + {gpr} + 80]",
    "mov r11, [rdi + {gpr} + 88]",
    "mov r12, [rdi + {gpr} + 96]",
    "mov r13, [rdi + {gpr} + 104]",
    "mov r14, [rdi + {gpr} + 112]",
    "mov r15, [rdi + {gpr} + 120]",
    "mov rdi, [rdi + {gpr} + 56]",
    "jmp [rip + {vars} + {target}]",
    // One entry per landing pad; `mov` leaves the flags alone.
    ".p2align 5",
    "insnfuzz_pads:",
    ".set i, 1",
    ".rept {pads}",
    "mov qword ptr [rip + {vars} + {landing}], i",
    "jmp insnfuzz_exit",
    ".p2align 5",
    ".set i, i + 1",
    ".endr",
    ".p2align 4",
    "insnfuzz_exit:",
    "mov [rip + {vars} + {saved_rdi}], rdi",
    "mov rdi, [rip + {vars} + {frame}]",
    "mov [rdi + {gpr} + 0], rax",
    "mov [rdi + {gpr} + 8], rcx",
    "mov [rdi + {gpr} + 16], rdx",
    "mov [rdi + {gpr} + 24], rbx",
    "mov [rdi + {gpr} + 32], rsp",
    "mov [rdi + {gpr} + 40], rbp",
    "mov [rdi + {gpr} + 48], rsi",
    "mov [rdi + {gpr} + 64], r8",
    "mov [rdi + {gpr} + 72], r9",
    "mov [rdi + {gpr} + 80], r10",
    "mov [rdi + {gpr} + 88], r11",
    "mov [rdi + {gpr} + 96], r12",
    "mov [rdi + {gpr} + 104], r13",
    "mov [rdi + {gpr} + 112], r14",
    "mov [rdi + {gpr} + 120], r15",
    "mov rsp, [rip + {vars} + {host_rsp}]",
    "pushfq",
    "pop [rdi + {flags}]",
    "mov rax, [rip + {vars} + {saved_rdi}]",
    "mov [rdi + {gpr} + 56], rax",
    "rdfsbase rax",
    "mov [rdi + {fs}], rax",
    "rdgsbase rax",
    "mov [rdi + {gs}], rax",
    "mov rax, [rip + {vars} + {host_fs}]",
    "wrfsbase rax",
    "fxsave64 [rdi + {fx}]",
    "insnfuzz_leave:",
    "mov rax, [rip + {vars} + {host_gs}]",
    "wrgsbase rax",
    // The guest may have set AC, NT or TF.
    "push 0x202",
    "popfq",
    "fninit",
    "ldmxcsr [rsp]",
    "fldcw [rsp + 4]",
    "add rsp, 8",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
    vars = sym VARS,
    host_rsp = const offset_of!(Vars, host_rsp),
    host_fs = const offset_of!(Vars, host_fs),
    host_gs = const offset_of!(Vars, host_gs),
    frame = const offset_of!(Vars, frame),
    target = const offset_of!(Vars, target),
    saved_rdi = const offset_of!(Vars, saved_rdi),
    landing = const offset_of!(Vars, landing),
    gpr = const GPR,
    flags = const offset_of!(State, rflags),
    fs = const offset_of!(State, fs_base),
    gs = const offset_of!(State, gs_base),
    fx = const offset_of!(State, fx),
    pads = const PADS.len(),
);

unsafe extern "C" {
    fn insnfuzz_enter(state: *mut State);
    fn insnfuzz_exit();
    fn insnfuzz_leave();
    fn insnfuzz_pads();
}
/// Distance between the entries at `insnfuzz_pads`.
const PAD_ENTRY: usize = 32;

/// Held while a [`Native`] exists: the arena's addresses and the stub's variables are there once.
static LOCK: Mutex<()> = Mutex::new(());
/// True between loading and storing the guest's state.
static RUNNING: AtomicBool = AtomicBool::new(false);
/// Thread that runs natively.
static OWNER: AtomicI32 = AtomicI32::new(0);
/// Signal of the fault that ended the run, or 0.
static FAULT_SIGNAL: AtomicI32 = AtomicI32::new(0);
static FAULT_CODE: AtomicI32 = AtomicI32::new(0);
static FAULT_ADDR: AtomicU64 = AtomicU64::new(0);
static FAULT_PC: AtomicU64 = AtomicU64::new(0);
/// Where the handler stores the registers at the fault.
static FAULT_STATE: AtomicPtr<State> = AtomicPtr::new(std::ptr::null_mut());

/// The last memory or arithmetic signal that was *not* a native run's, for the translation side: (signal, si_code, si_addr).
pub fn last_foreign_fault() -> (i32, i32, u64) {
    (
        FOREIGN_SIGNAL.swap(0, Ordering::Relaxed),
        FOREIGN_CODE.load(Ordering::Relaxed),
        FOREIGN_ADDR.load(Ordering::Relaxed),
    )
}
static FOREIGN_SIGNAL: AtomicI32 = AtomicI32::new(0);
static FOREIGN_CODE: AtomicI32 = AtomicI32::new(0);
static FOREIGN_ADDR: AtomicU64 = AtomicU64::new(0);

const SIGNALS: [i32; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP];
static PREVIOUS: OnceLock<[libc::sigaction; 5]> = OnceLock::new();

fn gettid() -> i32 {
    // SAFETY: gettid has no arguments. Not libc's wrapper: a handler must not depend on the guest's fs base. rcx and r11 are declared.
    unsafe {
        let tid: i64;
        core::arch::asm!("syscall", inlateout("rax") libc::SYS_gettid => tid, lateout("rcx") _, lateout("r11") _, options(nostack));
        tid as i32
    }
}

/// Signal handler. Runs with the guest's fs base until it has established that the fault is a native run's.
extern "C" fn on_signal(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    if RUNNING.load(Ordering::Relaxed) && OWNER.load(Ordering::Relaxed) == gettid() {
        // SAFETY: this thread is inside `Native::run`, so VARS holds what `insnfuzz_enter` stored and the kernel's `info` and
        // `context` are valid for the duration of the handler; FAULT_STATE points at the state that `run` borrows mutably. fpregs points
        // into the signal frame; its first 512 bytes are an FXSAVE image. Continuing at `insnfuzz_leave` with enter's rsp is what a normal exit does.
        unsafe {
            let vars = VARS.0.get();
            core::arch::asm!("wrfsbase {}", in(reg) (*vars).host_fs, options(nostack, preserves_flags));
            let uc = context.cast::<libc::ucontext_t>();
            let regs = &mut (*uc).uc_mcontext.gregs;
            FAULT_SIGNAL.store(signal, Ordering::Relaxed);
            FAULT_CODE.store((*info).si_code, Ordering::Relaxed);
            FAULT_ADDR.store((*info).si_addr() as u64, Ordering::Relaxed);
            FAULT_PC.store(regs[libc::REG_RIP as usize] as u64, Ordering::Relaxed);
            let state = &mut *FAULT_STATE.load(Ordering::Relaxed);
            const ORDER: [i32; 16] = [
                libc::REG_RAX,
                libc::REG_RCX,
                libc::REG_RDX,
                libc::REG_RBX,
                libc::REG_RSP,
                libc::REG_RBP,
                libc::REG_RSI,
                libc::REG_RDI,
                libc::REG_R8,
                libc::REG_R9,
                libc::REG_R10,
                libc::REG_R11,
                libc::REG_R12,
                libc::REG_R13,
                libc::REG_R14,
                libc::REG_R15,
            ];
            for (to, from) in state.gpr.iter_mut().zip(ORDER) {
                *to = regs[from as usize] as u64;
            }
            state.rflags = regs[libc::REG_EFL as usize] as u64;
            let fp = (*uc).uc_mcontext.fpregs;
            if !fp.is_null() {
                state.fx = fp.cast::<FxArea>().read_unaligned();
            }
            regs[libc::REG_RIP as usize] = insnfuzz_leave as *const () as i64;
            regs[libc::REG_RSP as usize] = (*vars).host_rsp as i64;
            regs[libc::REG_EFL as usize] = 0x202;
        }
        return;
    }
    FOREIGN_SIGNAL.store(signal, Ordering::Relaxed);
    // SAFETY: the kernel's siginfo.
    unsafe {
        FOREIGN_CODE.store((*info).si_code, Ordering::Relaxed);
        FOREIGN_ADDR.store((*info).si_addr() as u64, Ordering::Relaxed);
    }
    let previous = PREVIOUS.get().and_then(|p| SIGNALS.iter().position(|s| *s == signal).and_then(|i| p.get(i)));
    // SAFETY: hands the signal to whoever was registered before, as that registration asked: with three arguments, with one, or
    // by restoring the default action, after which the instruction faults again.
    unsafe {
        match previous {
            Some(p) if p.sa_sigaction > libc::SIG_IGN && p.sa_flags & libc::SA_SIGINFO != 0 => {
                let f: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) =
                    std::mem::transmute(p.sa_sigaction);
                f(signal, info, context);
            }
            Some(p) if p.sa_sigaction > libc::SIG_IGN => {
                let f: extern "C" fn(i32) = std::mem::transmute(p.sa_sigaction);
                f(signal);
            }
            _ => {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
    }
}

/// Alternate stack: the handler's frame is small, the kernel's (with AVX-512 or AMX state) is up to 11 KiB, and
/// a handler that we hand a signal to may want more.
const ALTSTACK: usize = 256 * 1024;

/// The native executor. One exists at a time in a process; others wait in [`Native::new`]. Bound to its thread by the alternate stack.
pub struct Native {
    _not_send: PhantomData<*mut ()>,
    /// The data pages.
    pub pages: Pages,
    block_len: usize,
    /// Last: fields drop in this order, and who waits for the lock maps the pages anew.
    _lock: MutexGuard<'static, ()>,
}

impl Native {
    /// Maps the arena and installs the signal handlers.
    ///
    /// # Errors
    /// When the host lacks FSGSBASE (Linux 5.9 and later on CPUs since 2012), or an address of the arena is taken.
    pub fn new() -> io::Result<Native> {
        let lock = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: plain query. Bit 1 of AT_HWCAP2: FSGSBASE is enabled.
        if unsafe { libc::getauxval(libc::AT_HWCAP2) } & 2 == 0 {
            return Err(io::Error::other("instruction fuzz needs the FSGSBASE instructions (CPU and Linux >= 5.9)"));
        }
        // wasmtime's handlers first: ours hand it what is not native's.
        crate::translate::engine();
        let pages = Pages::map_low()?;
        map_free(CODE_BASE, CODE_LEN)?;
        // SAFETY: the range was just mapped; nothing else refers to it.
        unsafe { std::ptr::write_bytes(CODE_BASE as *mut u8, 0xcc, CODE_LEN as usize) };
        install()?;
        let mut native = Native { _not_send: PhantomData, pages, block_len: 0, _lock: lock };
        for (i, pad) in PADS.iter().enumerate() {
            native.write_jump(*pad, insnfuzz_pads as *const () as usize + i * PAD_ENTRY);
        }
        native.set_code(&[0x90])?;
        Ok(native)
    }

    /// Writes `jmp [rip]` and its operand: 14 bytes that change no register and no flag.
    fn write_jump(&mut self, at: u32, to: usize) {
        let mut b = [0; 14];
        b[..6].copy_from_slice(&[0xff, 0x25, 0, 0, 0, 0]);
        b[6..].copy_from_slice(&(to as u64).to_le_bytes());
        // SAFETY: callers pass addresses in the code range, which is writable at this time, with 14 bytes of room.
        unsafe { std::ptr::copy_nonoverlapping(b.as_ptr(), at as *mut u8, b.len()) };
    }

    /// Places `code` at [`CODE_START`].
    ///
    /// # Errors
    /// When it reaches the first landing pad behind it, or the page protection cannot be changed.
    pub fn set_code(&mut self, code: &[u8]) -> io::Result<()> {
        let room = (arena::PADS[2] - CODE_START) as usize;
        // A block longer than the room in front of the near pads overwrites them: it has no branches.
        let far = code.len() + 14 > room;
        if code.len() > 0x1000 {
            return Err(io::Error::other("code does not fit"));
        }
        let page = CODE_START & !(arena::PAGE - 1);
        protect(page as usize, 2 * arena::PAGE, libc::PROT_READ | libc::PROT_WRITE)?;
        // SAFETY: [CODE_START, page + 2 pages) is ours and writable now; the lengths were checked against it.
        unsafe {
            std::ptr::write_bytes(CODE_START as *mut u8, 0xcc, self.block_len.max(code.len()) + 14);
            std::ptr::copy_nonoverlapping(code.as_ptr(), CODE_START as *mut u8, code.len());
        }
        if !far {
            for (i, pad) in PADS.iter().enumerate().take(4).skip(2) {
                self.write_jump(*pad, insnfuzz_pads as *const () as usize + i * PAD_ENTRY);
            }
        }
        self.write_jump(CODE_START + code.len() as u32, insnfuzz_exit as *const () as usize);
        self.block_len = code.len();
        // Changing the mapping's protection serializes: the CPU cannot keep stale instruction bytes.
        protect(CODE_BASE as usize, CODE_LEN, libc::PROT_READ | libc::PROT_EXEC)
    }

    /// Address after the code.
    pub fn end(&self) -> u64 {
        u64::from(CODE_START) + self.block_len as u64
    }

    /// Copies the first bytes of the code to `out`.
    pub fn code(&self, out: &mut [u8]) {
        let n = out.len().min(self.block_len);
        // SAFETY: the code range is mapped readable, and `set_code` wrote `block_len` bytes there.
        unsafe { std::ptr::copy_nonoverlapping(CODE_START as *const u8, out.as_mut_ptr(), n) };
    }

    /// Runs the code from `state`, and leaves the resulting state there (after a fault: the state in the signal frame).
    pub fn run(&mut self, state: &mut State) -> Outcome {
        state.rflags = (state.rflags & FLAGS) | 2;
        // FXRSTOR faults on reserved bits.
        let mxcsr = state.fx.mxcsr() & 0xffff;
        state.fx.set_mxcsr(mxcsr);
        FAULT_SIGNAL.store(0, Ordering::Relaxed);
        FAULT_STATE.store(state, Ordering::Relaxed);
        OWNER.store(gettid(), Ordering::Relaxed);
        // SAFETY: `self` proves that the lock is held, so VARS is ours. The stub obeys the C ABI; the code it jumps to can write the arena's
        // writable pages only (other addresses below 4 GiB are unmapped or read-only, and the caller keeps operand addresses below
        // 4 GiB) and comes back through insnfuzz_exit, a landing pad or a signal.
        unsafe {
            (*VARS.0.get()).target = u64::from(CODE_START);
            (*VARS.0.get()).landing = 0;
            RUNNING.store(true, Ordering::SeqCst);
            insnfuzz_enter(state);
            RUNNING.store(false, Ordering::SeqCst);
        }
        state.rflags &= FLAGS | 2;
        let signal = FAULT_SIGNAL.load(Ordering::Relaxed);
        if signal != 0 {
            return Outcome::Fault(Fault {
                signal,
                code: FAULT_CODE.load(Ordering::Relaxed),
                addr: FAULT_ADDR.load(Ordering::Relaxed),
                pc: FAULT_PC.load(Ordering::Relaxed),
            });
        }
        // SAFETY: as above.
        let landing = unsafe { (*VARS.0.get()).landing };
        match PADS.get((landing as usize).wrapping_sub(1)) {
            Some(pad) => Outcome::Done(u64::from(*pad)),
            None => Outcome::Done(self.end()),
        }
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        unmap(CODE_BASE, CODE_LEN);
    }
}

/// Installs the handlers (once a process) and this thread's alternate stack (once a thread).
fn install() -> io::Result<()> {
    thread_local! {
        static STACK: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    }
    if !STACK.get() {
        // The stack is leaked: the thread may get signals until it ends.
        let stack: &'static mut [u8] = Box::leak(vec![0; ALTSTACK].into_boxed_slice());
        let ss = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: ALTSTACK };
        // SAFETY: the stack is valid for ever and used for nothing else.
        if unsafe { libc::sigaltstack(&ss, std::ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        STACK.set(true);
    }
    let mut failed = None;
    PREVIOUS.get_or_init(|| {
        SIGNALS.map(|signal| {
            // SAFETY: an all-zero sigaction is a valid value; the handler is async-signal-safe (atomics and plain stores) and
            // runs on the alternate stack.
            unsafe {
                let mut old: libc::sigaction = std::mem::zeroed();
                let mut new: libc::sigaction = std::mem::zeroed();
                new.sa_sigaction = on_signal as *const () as usize;
                new.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
                if libc::sigaction(signal, &new, &mut old) != 0 {
                    failed = Some(io::Error::last_os_error());
                }
                old
            }
        })
    });
    failed.map_or(Ok(()), Err)
}

const _: () = assert!(size_of::<FxArea>() == 512 && offset_of!(State, fx) % 16 == 0);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Contents;
    use crate::rng::Rng;
    use crate::state::{AF, CF, DF, OF, PF, RSP, SF, ZF};

    fn random(rng: &mut Rng) -> State {
        let mut s = State::default();
        for g in &mut s.gpr {
            *g = rng.u64();
        }
        for i in 0..16 {
            s.fx.set_xmm(i, u128::from(rng.u64()) << 64 | u128::from(rng.u64()));
        }
        s.rflags = rng.u64() & FLAGS | 2;
        s
    }

    #[test]
    fn add_sub_and_shl_follow_the_manual() {
        let mut n = Native::new().unwrap();
        let mut rng = Rng::new(1);
        let common = |r: u64| {
            (if r == 0 { ZF } else { 0 })
                | (r >> 63 << 7)
                | if (r as u8).count_ones().is_multiple_of(2) { PF } else { 0 }
        };
        for (code, op) in [(&[0x48, 0x01, 0xd8][..], 0), (&[0x48, 0x29, 0xd8], 1), (&[0x48, 0xd3, 0xe0], 2)] {
            n.set_code(code).unwrap();
            for _ in 0..2000 {
                let before = random(&mut rng);
                let mut s = before;
                assert_eq!(n.run(&mut s), Outcome::Done(u64::from(CODE_START) + 3));
                let (a, b) = (before.gpr[0], before.gpr[3]);
                let (r, flags, mask) = match op {
                    0 => {
                        let r = a.wrapping_add(b);
                        let of = ((a ^ r) & (b ^ r)) >> 63 << 11;
                        (r, common(r) | u64::from(r < a) | ((a ^ b ^ r) & AF) | of, FLAGS)
                    }
                    1 => {
                        let r = a.wrapping_sub(b);
                        let of = ((a ^ b) & (a ^ r)) >> 63 << 11;
                        (r, common(r) | u64::from(a < b) | ((a ^ b ^ r) & AF) | of, FLAGS)
                    }
                    _ => match before.gpr[1] & 63 {
                        0 => (a, before.rflags & FLAGS, FLAGS),
                        c => (a << c, common(a << c) | (a >> (64 - c) & CF), CF | PF | ZF | SF | DF),
                    },
                };
                let flags = if op == 2 && before.gpr[1] & 63 == 0 { flags } else { flags | (before.rflags & DF) };
                assert_eq!(s.gpr[0], r);
                assert_eq!(s.rflags & mask, flags & mask, "{code:x?} {a:#x} {b:#x}");
                let mut rest = s;
                rest.gpr[0] = before.gpr[0];
                rest.rflags = before.rflags;
                rest.fx = before.fx;
                assert!(rest == before);
                assert_eq!(s.fx.xmm(7), before.fx.xmm(7));
                let _ = OF;
            }
        }
    }

    #[test]
    fn faults_carry_kind_and_address() {
        let mut n = Native::new().unwrap();
        let mut s = State::default();
        // mov [rax], ebx
        n.set_code(&[0x89, 0x18]).unwrap();
        for (addr, code) in [(0x1000_2ffe_u64, 2), (0x1000_3000, 2), (0x0, 1), (0x1000_4ffe, 1), (0x2000_0000, 1)] {
            s = State::default();
            s.gpr[0] = addr;
            s.gpr[RSP] = 0xdead_beef_0000;
            let at = if addr & 0xfff == 0xffe { addr + 2 } else { addr };
            match n.run(&mut s) {
                Outcome::Fault(f) => {
                    assert_eq!((f.signal, f.code, f.addr, f.pc), (libc::SIGSEGV, code, at, CODE_START.into()))
                }
                o => panic!("{o:?}"),
            }
            assert_eq!(s.gpr[RSP], 0xdead_beef_0000);
        }
        // div ebx by zero, ud2, hlt, int3
        for (bytes, signal) in [
            (&[0xf7, 0xf3][..], libc::SIGFPE),
            (&[0x0f, 0x0b], libc::SIGILL),
            (&[0xf4], libc::SIGSEGV),
            (&[0xcc], libc::SIGTRAP),
        ] {
            n.set_code(bytes).unwrap();
            s.gpr[3] = 0;
            match n.run(&mut s) {
                Outcome::Fault(f) => assert_eq!(f.signal, signal),
                o => panic!("{o:?}"),
            }
        }
    }

    #[test]
    fn branches_land_on_pads_and_calls_push() {
        let mut n = Native::new().unwrap();
        // jmp rax
        n.set_code(&[0xff, 0xe0]).unwrap();
        for pad in PADS {
            let mut s = State::default();
            s.gpr[0] = pad.into();
            assert_eq!(n.run(&mut s), Outcome::Done(pad.into()));
        }
        // call rax
        n.set_code(&[0xff, 0xd0]).unwrap();
        let mut s = State::default();
        s.gpr[0] = PADS[0].into();
        s.gpr[RSP] = 0x1000_1000;
        assert_eq!(n.run(&mut s), Outcome::Done(PADS[0].into()));
        assert_eq!(s.gpr[RSP], 0x1000_0ff8);
        let mut b = [0; 8];
        n.pages.load(0x1000_0ff8, &mut b).unwrap();
        assert_eq!(u64::from_le_bytes(b), u64::from(CODE_START) + 2);
    }

    #[test]
    fn fs_and_x87_and_xmm_state_goes_in_and_out() {
        let mut n = Native::new().unwrap();
        let mut s = State::default();
        // fld1; mov rax, fs:[rbx]; paddq xmm1, xmm2
        n.set_code(&[0xd9, 0xe8, 0x64, 0x48, 0x8b, 0x03, 0x66, 0x0f, 0xd4, 0xca]).unwrap();
        let mut c = Contents::default();
        c.write(0x1000_0010, &0x1122_3344_5566_7788_u64.to_le_bytes());
        n.pages.write(&c, true).unwrap();
        s.fs_base = 0x1000_0000;
        s.gpr[3] = 0x10;
        s.fx.set_xmm(1, 5);
        s.fx.set_xmm(2, 6 << 64 | 1);
        assert_eq!(n.run(&mut s), Outcome::Done(n.end()));
        assert_eq!(s.gpr[0], 0x1122_3344_5566_7788);
        assert_eq!(s.fx.xmm(1), 6 << 64 | 6);
        assert_eq!(s.fx.st(0), [0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f]);
        assert_eq!(s.fx.ftw(), 0x80);
        assert_eq!(s.fs_base, 0x1000_0000);
    }
}
