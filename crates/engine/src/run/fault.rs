//! What the host's signal handlers learn of a fault in guest code.
//!
//! wasmtime turns SIGSEGV in wasm code into a trap, and asks the store's own handler first: that one notes the exact address. On Linux wasmtime
//! leaves SIGBUS alone, which is what a guest gets for touching a file mapping past the end of the file; [`install`] hands those to
//! wasmtime's SIGSEGV handler.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{io, mem, ptr};

use wasmtime::Store;
use wasmtime::unix::StoreExt;

use super::memory::SlotBases;

/// A recorded SIGSEGV or SIGBUS.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostFault {
    /// Host address.
    pub(super) addr: usize,
    pub(super) write: bool,
}

thread_local! {
    static LAST: Cell<Option<HostFault>> = const { Cell::new(None) };
    /// Host address of memory 0 of the guest that this thread runs; 0 for none.
    static MEMORY0: Cell<usize> = const { Cell::new(0) };
}

type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

/// wasmtime's SIGSEGV handler.
static WASMTIME: AtomicUsize = AtomicUsize::new(0);

/// Takes SIGBUS over. To be called once wasmtime has installed its handlers, that is, after an engine has been made.
pub(super) fn install() -> io::Result<()> {
    // SAFETY: both structures are plain data of this frame; the new handler is async-signal-safe.
    unsafe {
        let mut segv: libc::sigaction = mem::zeroed();
        if libc::sigaction(libc::SIGSEGV, ptr::null(), &mut segv) != 0 {
            return Err(io::Error::last_os_error());
        }
        WASMTIME.store(segv.sa_sigaction, Ordering::Release);
        let mut bus: libc::sigaction = mem::zeroed();
        bus.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER | libc::SA_ONSTACK;
        bus.sa_sigaction = on_sigbus as Handler as usize;
        if libc::sigaction(libc::SIGBUS, &bus, ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

extern "C" fn on_sigbus(_: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the arguments are the host kernel's; only async-signal-safe things are done with them. The address that is called was read from the
    // disposition of SIGSEGV, whose handler has this signature (SA_SIGINFO).
    unsafe {
        let mut segv: libc::sigaction = mem::zeroed();
        let handler = WASMTIME.load(Ordering::Acquire);
        let memory0 = MEMORY0.get();
        let guest = memory0 != 0 && ((*info).si_addr() as usize).wrapping_sub(memory0) < RESERVED;
        // Where wasmtime does not know the code either, the handler before it has reset SIGSEGV: then this is a bug of ours, to die of.
        libc::sigaction(libc::SIGSEGV, ptr::null(), &mut segv);
        if guest && handler != 0 && segv.sa_sigaction == handler {
            mem::transmute::<usize, Handler>(handler)(libc::SIGSEGV, info, context);
        } else {
            libc::signal(libc::SIGBUS, libc::SIG_DFL);
        }
    }
}

/// Bytes from the start of memory 0 in which a fault is the guest's.
pub(super) const RESERVED: usize = megalith_vkernel::mm::RESERVED;

/// Makes faults that happen while `store` runs on this thread known to [`take`].
pub(super) fn watch<T>(store: &mut Store<T>, slot: SlotBases) {
    MEMORY0.set(slot.mem as usize);
    // SAFETY: the handler is async-signal-safe: it reads siginfo and the context, and writes a thread-local without destructor.
    unsafe {
        store.set_signal_handler(|signal, info, context| {
            if signal == libc::SIGSEGV {
                let context = context.cast::<libc::ucontext_t>();
                // Page fault error code, Intel SDM vol. 3, 4.7: bit 1 is set for a write.
                let write = (*context).uc_mcontext.gregs[libc::REG_ERR as usize] & 2 != 0;
                LAST.set(Some(HostFault { addr: (*info).si_addr() as usize, write }));
            } else {
                LAST.set(None);
            }
            false
        });
    }
}

/// The last fault on this thread since the previous call.
pub(super) fn take() -> Option<HostFault> {
    LAST.take()
}
