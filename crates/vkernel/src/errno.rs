//! Error numbers, and the ones that never reach the guest.

pub use megalith_vfs::{Errno, Result};

/// Interrupted; restarted when no handler ran, or one with SA_RESTART (`include/linux/errno.h`).
pub const ERESTARTSYS: Errno = Errno::from_raw(512);
/// Interrupted; restarted only when no handler ran.
pub const ERESTARTNOHAND: Errno = Errno::from_raw(514);

/// The error number of the last failed libc call of this thread.
pub fn last() -> Errno {
    Errno::from(std::io::Error::last_os_error())
}
