//! Linux error numbers, and the ones that never leave the kernel.

pub use rustix::io::Errno;

/// Result of a kernel operation.
pub type Result<T> = std::result::Result<T, Errno>;

/// Interrupted; restarted after a handler with SA_RESTART, and when no handler ran (`include/linux/errno.h`).
pub const ERESTARTSYS: Errno = Errno::from_raw_os_error(512);
/// Interrupted; restarted only when no handler ran.
pub const ERESTARTNOHAND: Errno = Errno::from_raw_os_error(514);

/// The value a syscall returns to the guest for `e`.
pub fn ret(e: Errno) -> i64 {
    -i64::from(e.raw_os_error())
}

/// The error number of the last failed libc call of this thread.
pub fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
