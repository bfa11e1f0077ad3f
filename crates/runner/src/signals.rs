//! Signals that the host sends us go to the first guest process.

use std::io;
use std::sync::Arc;

use megalith_vkernel::Kernel;

/// What is passed on. On a terminal without `-t`, SIGTSTP stops the whole container as it stops any command.
const FORWARDED: &[i32] = &[
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
    libc::SIGCONT,
];

fn set() -> libc::sigset_t {
    // SAFETY: sigset_t is plain data, and sigemptyset initialises it.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for &s in FORWARDED {
            libc::sigaddset(&mut set, s);
        }
        set
    }
}

/// Blocks the signals in this thread, and so in all that it starts. Call before starting any.
pub fn block() {
    // SAFETY: the set is initialised; the old mask is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set(), std::ptr::null_mut()) };
}

/// Starts the thread that passes signals on.
pub fn forward(kernel: Arc<Kernel>) -> io::Result<()> {
    std::thread::Builder::new().name("signals".into()).stack_size(64 << 10).spawn(move || {
        let set = set();
        loop {
            let mut signal = 0;
            // SAFETY: both point to initialised values of this frame.
            if unsafe { libc::sigwait(&set, &mut signal) } == 0 {
                kernel.signal_init(signal);
            }
        }
    })?;
    Ok(())
}
