//! The few host calls that need `unsafe` outside of memory management.

/// poll(2); errors and interruptions count as nothing being ready.
pub fn poll(fds: &mut [libc::pollfd], timeout_ms: i32) -> i32 {
    // SAFETY: the pointer and the length are those of a live, exclusive slice.
    unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout_ms) }
}

/// Window size of a host terminal: rows, columns, and pixels.
pub fn window_size(fd: i32) -> Option<[u16; 4]> {
    let mut ws = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one `winsize`.
    let r = unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &raw mut ws) };
    (r == 0).then_some([ws.ws_row, ws.ws_col, ws.ws_xpixel, ws.ws_ypixel])
}

/// Bytes that can be read at once from a host descriptor (FIONREAD).
pub fn readable_bytes(fd: i32) -> Option<i32> {
    let mut n = 0i32;
    // SAFETY: FIONREAD writes one int.
    let r = unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut n) };
    (r == 0).then_some(n)
}

/// CPU time of the calling thread in nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}
