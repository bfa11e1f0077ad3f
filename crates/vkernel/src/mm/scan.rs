//! Which pages of a host range hold private data: the dirty pages that a fork must copy.

use crate::errno::{Errno, Result, last};
use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// `struct pm_scan_arg` of `linux/fs.h`.
#[repr(C)]
#[derive(Default)]
struct PmScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `struct page_region` of `linux/fs.h`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: libc::c_ulong = 0xc060_6610;
const PAGE_IS_FILE: u64 = 1 << 2;
const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_SWAPPED: u64 = 1 << 4;
const PAGE_IS_PFNZERO: u64 = 1 << 5;

fn pagemap() -> Result<&'static File> {
    static FILE: OnceLock<Option<File>> = OnceLock::new();
    FILE.get_or_init(|| File::open("/proc/self/pagemap").ok()).as_ref().ok_or(Errno::ENOSYS)
}

/// Opens what [`private_pages`] needs, so that it works after a sandbox closed `/proc`.
pub fn prepare() -> Result<()> {
    pagemap().map(drop)
}

/// Calls `found` with each host range within `range` (page aligned) whose pages are present (or swapped) and private: anonymous, or copied on write.
pub fn private_pages(range: Range<usize>, mut found: impl FnMut(Range<usize>) -> Result<()>) -> Result<()> {
    static NO_SCAN: AtomicBool = AtomicBool::new(false);
    let file = pagemap()?;
    if !NO_SCAN.load(Ordering::Relaxed) {
        let mut regions = [PageRegion::default(); 256];
        let mut start = range.start as u64;
        while start < range.end as u64 {
            let mut arg = PmScanArg {
                size: size_of::<PmScanArg>() as u64,
                start,
                end: range.end as u64,
                vec: regions.as_mut_ptr().expose_provenance() as u64,
                vec_len: regions.len() as u64,
                category_inverted: PAGE_IS_FILE | PAGE_IS_PFNZERO,
                category_mask: PAGE_IS_FILE | PAGE_IS_PFNZERO,
                category_anyof_mask: PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
                return_mask: PAGE_IS_PRESENT,
                ..PmScanArg::default()
            };
            // SAFETY: the argument is the structure this request takes, and `vec` points at `vec_len` regions that live through the call.
            let n = unsafe { libc::ioctl(file.as_raw_fd(), PAGEMAP_SCAN, &raw mut arg) };
            if n < 0 {
                let e = last();
                if e == Errno::ENOTTY || e == Errno::EINVAL || e == Errno::EPERM {
                    NO_SCAN.store(true, Ordering::Relaxed);
                    return by_entries(file, start as usize..range.end, found);
                }
                return Err(e);
            }
            for r in regions.iter().take(n as usize) {
                found(r.start as usize..r.end as usize)?;
            }
            if arg.walk_end <= start {
                break;
            }
            start = arg.walk_end;
        }
        return Ok(());
    }
    by_entries(file, range, found)
}

/// The same for several ranges, in ascending order. Ranges that lie close together are looked at in one go, and what is found between them is left out.
pub fn private_pages_of(
    ranges: impl Iterator<Item = Range<usize>>,
    mut found: impl FnMut(Range<usize>) -> Result<()>,
) -> Result<()> {
    // What one entry of a page middle directory covers: walking over so much of nothing costs less than another call.
    const NEAR: usize = 2 << 20;
    let mut group: Vec<Range<usize>> = Vec::new();
    let mut look = |group: &mut Vec<Range<usize>>| -> Result<()> {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { return Ok(()) };
        private_pages(first.start..last.end, |r| {
            for g in group.iter().skip(group.partition_point(|g| g.end <= r.start)).take_while(|g| g.start < r.end) {
                found(r.start.max(g.start)..r.end.min(g.end))?;
            }
            Ok(())
        })?;
        group.clear();
        Ok(())
    };
    for r in ranges {
        match group.last_mut() {
            Some(last) if last.end == r.start => {
                last.end = r.end;
                continue;
            }
            Some(last) if r.start - last.end > NEAR => look(&mut group)?,
            _ => {}
        }
        group.push(r);
    }
    look(&mut group)
}

/// [`private_pages`] by reading pagemap entries (kernels before 6.7). The zero page counts as private there.
fn by_entries(file: &File, range: Range<usize>, mut found: impl FnMut(Range<usize>) -> Result<()>) -> Result<()> {
    const PAGE: usize = 4096;
    let mut buf = [0u8; 8 * 512];
    let mut at = range.start;
    while at < range.end {
        let pages = ((range.end - at) / PAGE).min(512);
        let bytes = buf.get_mut(..pages * 8).ok_or(Errno::EINVAL)?;
        let n = file.read_at(bytes, (at / PAGE * 8) as u64).map_err(|_| Errno::EIO)?;
        for (i, entry) in bytes.get(..n).unwrap_or_default().chunks_exact(8).enumerate() {
            let e = u64::from_le_bytes(entry.try_into().unwrap_or_default());
            if (e >> 62) & 3 != 0 && (e >> 61) & 1 == 0 {
                found(at + i * PAGE..at + (i + 1) * PAGE)?;
            }
        }
        if n == 0 {
            return Err(Errno::EIO);
        }
        at += n / 8 * PAGE;
    }
    Ok(())
}
