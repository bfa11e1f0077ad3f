//! Advisory file locks: fcntl(2) records and flock(2).

use crate::file::{Object, OpenFile};
use crate::process::Pid;
use crate::wait::{WaitQueue, lock};
use megalith_vfs::InodeId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// Who holds a record lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    Process(Pid),
    /// An open file description, by address.
    File(usize),
}

/// Bytes `start..end` of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    pub start: u64,
    pub end: u64,
    pub write: bool,
    pub owner: Owner,
}

impl Range {
    fn overlaps(&self, o: &Range) -> bool {
        self.start < o.end && o.start < self.end
    }
}

/// All locks of a container.
#[derive(Default)]
pub struct Locks {
    records: Mutex<HashMap<InodeId, Vec<Range>>>,
    /// Holders by description, and whether exclusive.
    flocks: Mutex<HashMap<InodeId, Vec<(usize, bool)>>>,
    /// Woken when a lock goes.
    pub queue: WaitQueue,
}

impl Locks {
    /// The first record that keeps `r` from being locked.
    pub fn conflict(&self, id: InodeId, r: &Range) -> Option<Range> {
        let records = lock(&self.records);
        records.get(&id)?.iter().find(|h| h.owner != r.owner && h.overlaps(r) && (h.write || r.write)).copied()
    }

    /// Takes `r` if nothing is in the way.
    pub fn try_lock(&self, id: InodeId, r: Range) -> bool {
        if self.conflict(id, &r).is_some() {
            return false;
        }
        self.cut(id, &r, Some(r));
        self.queue.wake();
        true
    }

    /// Gives the bytes of `r` up.
    pub fn unlock(&self, id: InodeId, r: &Range) {
        self.cut(id, r, None);
        self.queue.wake();
    }

    /// Removes the owner's records on the range and adds `new`.
    fn cut(&self, id: InodeId, r: &Range, new: Option<Range>) {
        let mut records = lock(&self.records);
        let held = records.entry(id).or_default();
        let mut out = Vec::with_capacity(held.len() + 2);
        for h in held.drain(..) {
            if h.owner != r.owner || !h.overlaps(r) {
                out.push(h);
                continue;
            }
            if h.start < r.start {
                out.push(Range { end: r.start, ..h });
            }
            if h.end > r.end {
                out.push(Range { start: r.end, ..h });
            }
        }
        out.extend(new);
        if out.is_empty() {
            records.remove(&id);
        } else {
            *held = out;
        }
    }

    /// flock(2): takes or converts the description's lock.
    pub fn try_flock(&self, id: InodeId, file: usize, write: bool) -> bool {
        let mut flocks = lock(&self.flocks);
        let held = flocks.entry(id).or_default();
        if held.iter().any(|(f, w)| *f != file && (write || *w)) {
            return false;
        }
        held.retain(|(f, _)| *f != file);
        held.push((file, write));
        drop(flocks);
        self.queue.wake();
        true
    }

    /// flock(2) with LOCK_UN.
    pub fn unflock(&self, id: InodeId, file: usize) {
        let mut flocks = lock(&self.flocks);
        if let Some(held) = flocks.get_mut(&id) {
            held.retain(|(f, _)| *f != file);
            if held.is_empty() {
                flocks.remove(&id);
            }
        }
        drop(flocks);
        self.queue.wake();
    }

    /// A process closes a descriptor: its records on the file go; the description's locks go with its last descriptor.
    pub fn closed(&self, pid: Pid, file: &Arc<OpenFile>) {
        let Object::Inode(i) = &file.object else { return };
        if lock(&self.records).is_empty() && lock(&self.flocks).is_empty() {
            return;
        }
        let id = i.id();
        let all = Range { start: 0, end: u64::MAX, write: false, owner: Owner::Process(pid) };
        self.unlock(id, &all);
        if Arc::strong_count(file) == 1 {
            let key = Arc::as_ptr(file) as usize;
            self.unlock(id, &Range { owner: Owner::File(key), ..all });
            self.unflock(id, key);
        }
    }
}
