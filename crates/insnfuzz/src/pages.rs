//! The arena's pages at some base address of this process: 0 for the native executor, a linear memory's start for the translation.

use crate::arena::{Contents, REGIONS, Region};
use std::io;

/// Mapped arena pages. Unmapped on drop.
pub struct Pages {
    base: usize,
    owned: bool,
}

impl Pages {
    /// Maps the pages at their guest addresses, where nothing may be mapped yet.
    ///
    /// # Errors
    /// When an address is taken.
    pub fn map_low() -> io::Result<Pages> {
        let pages = Pages { base: 0, owned: true };
        for r in &REGIONS {
            map_free(r.start, r.len())?;
        }
        pages.protect_read_only(libc::PROT_READ)?;
        Ok(pages)
    }

    /// Makes the pages accessible inside the reservation that starts at `base`.
    ///
    /// # Safety
    /// `[base, base + 4 GiB)` is a private anonymous mapping that outlives the result and that nothing else accesses but through the result
    /// and wasm code.
    ///
    /// # Errors
    /// When the protection cannot be changed.
    pub unsafe fn open_at(base: usize) -> io::Result<Pages> {
        let pages = Pages { base, owned: false };
        for r in &REGIONS {
            protect(base + r.start as usize, r.len(), libc::PROT_READ | libc::PROT_WRITE)?;
        }
        pages.protect_read_only(libc::PROT_READ)?;
        Ok(pages)
    }

    /// Address of the guest's byte 0.
    pub fn base(&self) -> usize {
        self.base
    }

    fn protect_read_only(&self, prot: i32) -> io::Result<()> {
        for r in REGIONS.iter().filter(|r| !r.writable) {
            protect(self.base + r.start as usize, r.len(), prot)?;
        }
        Ok(())
    }

    /// Copies `c` into the pages. `read_only`: also into the read-only ones (two system calls more).
    ///
    /// # Errors
    /// When the page protection cannot be changed.
    pub fn write(&mut self, c: &Contents, read_only: bool) -> io::Result<()> {
        if read_only {
            self.protect_read_only(libc::PROT_READ | libc::PROT_WRITE)?;
        }
        let mut at = 0;
        for r in &REGIONS {
            let part = c.0.get(at..at + r.len() as usize).ok_or_else(|| io::Error::other("short contents"))?;
            at += part.len();
            if r.writable || read_only {
                // SAFETY: the region is mapped with this length and writable now.
                unsafe {
                    std::ptr::copy_nonoverlapping(part.as_ptr(), (self.base + r.start as usize) as *mut u8, part.len())
                };
            }
        }
        if read_only {
            self.protect_read_only(libc::PROT_READ)?;
        }
        Ok(())
    }

    fn region(&self, r: &Region) -> &[u8] {
        // SAFETY: REGIONS are mapped readable as long as `self` lives, and guest code, which writes them, does not run while the slice is borrowed:
        // running takes the executor, which owns `self`, mutably.
        unsafe { std::slice::from_raw_parts((self.base + r.start as usize) as *const u8, r.len() as usize) }
    }

    /// True when both hold the same bytes.
    pub fn same(&self, other: &Pages) -> bool {
        REGIONS.iter().all(|r| self.region(r) == other.region(r))
    }

    /// A copy of all bytes.
    pub fn read(&self) -> Contents {
        let mut c = Vec::new();
        for r in &REGIONS {
            c.extend_from_slice(self.region(r));
        }
        Contents(c)
    }

    /// Reads guest memory. `Err`: the first address that is not mapped.
    ///
    /// # Errors
    /// As said.
    pub fn load(&self, addr: u32, buf: &mut [u8]) -> Result<(), u32> {
        self.check(addr, buf.len(), false)?;
        for (i, b) in buf.iter_mut().enumerate() {
            // SAFETY: checked: every byte lies in a mapped region.
            *b = unsafe { ((self.base + addr.wrapping_add(i as u32) as usize) as *const u8).read_volatile() };
        }
        Ok(())
    }

    /// Writes guest memory, all or nothing. `Err`: the first address that is not mapped writable.
    ///
    /// # Errors
    /// As said.
    pub fn store(&self, addr: u32, buf: &[u8]) -> Result<(), u32> {
        self.check(addr, buf.len(), true)?;
        for (i, b) in buf.iter().enumerate() {
            // SAFETY: checked: every byte lies in a writable region.
            unsafe { ((self.base + addr.wrapping_add(i as u32) as usize) as *mut u8).write_volatile(*b) };
        }
        Ok(())
    }

    fn check(&self, addr: u32, len: usize, write: bool) -> Result<(), u32> {
        for i in 0..len {
            let a = addr.wrapping_add(i as u32);
            let ok = REGIONS.iter().any(|r| a >= r.start && u64::from(a) < r.end() && (r.writable || !write));
            if !ok {
                return Err(a);
            }
        }
        Ok(())
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if self.owned {
            for r in &REGIONS {
                unmap(r.start, r.len());
            }
        }
    }
}

/// Maps `[start, start + len)` readable and writable.
///
/// # Errors
/// When something is mapped there.
pub fn map_free(start: u32, len: u32) -> io::Result<()> {
    let at = start as usize as *mut libc::c_void;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: NOREPLACE never touches an existing mapping.
    let got = unsafe { libc::mmap(at, len as usize, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if got == libc::MAP_FAILED || got != at {
        return Err(io::Error::other(format!("cannot map the arena at {start:#x}: {}", io::Error::last_os_error())));
    }
    Ok(())
}

/// Changes the protection of pages of the arena or of the code range.
///
/// # Errors
/// As mprotect(2).
pub(crate) fn protect(start: usize, len: u32, prot: i32) -> io::Result<()> {
    // SAFETY: called for ranges of the arena and the code range only, which belong to one executor.
    if unsafe { libc::mprotect(start as *mut libc::c_void, len as usize, prot) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Removes a mapping made by [`map_free`].
pub(crate) fn unmap(start: u32, len: u32) {
    // SAFETY: called by the owner of the range when it goes.
    unsafe { libc::munmap(start as usize as *mut libc::c_void, len as usize) };
}
