//! The linear memory of a WASI module: one area from address 0 on, which grows at its end.

use super::{AddressSpace, Backing, LIMIT, Label, MapSource, PAGE, Prot, Vma};
use crate::errno::{Errno, Result};

impl AddressSpace {
    /// Makes a linear memory of `size` bytes (a page multiple), zeros but for the pages of `image`: (file, address). Its size is the image's length.
    pub fn map_linear(&mut self, size: u64, image: Option<(&MapSource, u64)>) -> Result<()> {
        let Some((source, at)) = image.filter(|(source, _)| source.size > 0) else { return self.grow_linear(0, size) };
        let end = at.checked_add(source.size).filter(|&end| end <= size).ok_or(Errno::ENOEXEC)?;
        if !at.is_multiple_of(PAGE) || !end.is_multiple_of(PAGE) || size > LIMIT {
            return Err(Errno::ENOEXEC);
        }
        self.grow_linear(0, at)?;
        if self.total.saturating_add(source.size) > self.limit_as {
            return Err(Errno::ENOMEM);
        }
        let _held = self.hold(true, source.size)?;
        let backing = Backing::File { source: source.clone(), offset: 0, shared: false };
        self.host_map(at, end, Prot::RW, &backing)?;
        self.insert(at, Vma { end, prot: Prot::RW, backing, label: Label::None, text: false, may_write: true });
        self.grow_linear(end, size)
    }

    /// Makes the bytes from `from` to `to` (both page multiples) readable and writable zeros; `from` is where the linear memory ends now.
    /// `ENOMEM` past the limits of the process (RLIMIT_AS) or the container (`--memory`), or of the address space.
    pub fn grow_linear(&mut self, from: u64, to: u64) -> Result<()> {
        if !from.is_multiple_of(PAGE) || !to.is_multiple_of(PAGE) || from > to {
            return Err(Errno::EINVAL);
        }
        let len = to - from;
        if len == 0 {
            return Ok(());
        }
        if to > LIMIT || self.total.saturating_add(len) > self.limit_as || !self.is_free(from..to) {
            return Err(Errno::ENOMEM);
        }
        let _held = self.hold(true, len)?;
        self.host_open(from, to, Prot::RW)?;
        let vma =
            Vma { end: to, prot: Prot::RW, backing: Backing::Anon, label: Label::None, text: false, may_write: true };
        self.insert(from, vma);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Budget, SlotPool};
    use super::*;

    #[test]
    fn a_linear_memory_begins_at_zero_and_obeys_the_budget() {
        let pool = SlotPool::new(1, 0);
        let mut s = AddressSpace::new(&pool, &Budget::new(Some(1 << 19), 1 << 19)).unwrap();
        s.grow_linear(0, 0x10000).unwrap();
        s.grow_linear(0x10000, 0x20000).unwrap();
        assert_eq!(s.areas().count(), 1);
        s.write(0, b"first").unwrap();
        s.write(0x1fffe, b"ok").unwrap();
        assert_eq!(s.write(0x1ffff, b"no"), Err(Errno::EFAULT));
        assert_eq!(s.grow_linear(0x20000, 0x20000 + (2 << 20)), Err(Errno::ENOMEM));
        assert_eq!(s.grow_linear(0x20000, 1 << 32), Err(Errno::ENOMEM));
        assert_eq!(s.grow_linear(0x10000, 0x30000), Err(Errno::ENOMEM));
    }
}
