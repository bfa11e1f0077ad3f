//! Extended attributes of one inode of the upper layer (man 7 xattr).

use crate::budget::{Budget, Charge};
use crate::{Errno, FileType, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Only if there is none of the name (man 2 setxattr).
const XATTR_CREATE: u32 = 1;
/// Only if there is one of the name.
const XATTR_REPLACE: u32 = 2;
/// Longest name (`XATTR_NAME_MAX`).
const NAME_LIMIT: usize = 255;
/// Longest value (`XATTR_SIZE_MAX`), and most bytes of all names of an inode (`XATTR_LIST_MAX`).
const SIZE_LIMIT: usize = 65536;
/// What an attribute takes beside its bytes.
const COST: u64 = 128;

/// Names and values. Those of an image's files are left out.
#[derive(Debug)]
pub(crate) struct Xattrs {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    charge: Charge,
}

impl Xattrs {
    /// None yet; what is set is charged to `budget`.
    pub fn new(budget: &Arc<Budget>) -> Xattrs {
        Xattrs { values: BTreeMap::new(), charge: Charge::none(budget) }
    }

    /// A value; ENODATA.
    pub fn get(&self, name: &[u8]) -> Result<Vec<u8>> {
        self.values.get(name).cloned().ok_or(Errno::ENODATA)
    }

    /// All names, in order.
    pub fn names(&self) -> Vec<Vec<u8>> {
        self.values.keys().cloned().collect()
    }

    /// Sets a value. EEXIST, ENODATA: as `flags` (`XATTR_CREATE`, `XATTR_REPLACE`) want it. E2BIG, ENOSPC: no room.
    pub fn set(&mut self, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        let old = self.values.get(name).map(Vec::len);
        match (flags, old) {
            (XATTR_CREATE, Some(_)) => return Err(Errno::EEXIST),
            (XATTR_REPLACE, None) => return Err(Errno::ENODATA),
            (0 | XATTR_CREATE | XATTR_REPLACE, _) => {}
            _ => return Err(Errno::EINVAL),
        }
        let all: usize = self.values.keys().map(|n| n.len() + 1).sum();
        if value.len() > SIZE_LIMIT {
            return Err(Errno::E2BIG);
        }
        if old.is_none() && all + name.len() + 1 > SIZE_LIMIT {
            return Err(Errno::ENOSPC);
        }
        let before = old.map_or(0, |n| COST + (name.len() + n) as u64);
        let after = COST + (name.len() + value.len()) as u64;
        self.charge.set(self.charge.bytes().saturating_sub(before).saturating_add(after))?;
        self.values.insert(name.to_vec(), value.to_vec());
        Ok(())
    }

    /// Removes a value; ENODATA.
    pub fn remove(&mut self, name: &[u8]) -> Result<()> {
        let value = self.values.remove(name).ok_or(Errno::ENODATA)?;
        let cost = COST + (name.len() + value.len()) as u64;
        self.charge.set_anyway(self.charge.bytes().saturating_sub(cost));
        Ok(())
    }
}

/// Whether inodes of this type may have an attribute of this name: `user.` belongs to files and directories (EPERM), `trusted.` to whoever is
/// privileged, which the caller checks. EOPNOTSUPP: nobody's; ERANGE: too long.
pub(crate) fn check(name: &[u8], kind: FileType) -> Result<()> {
    if name.is_empty() || name.len() > NAME_LIMIT {
        return Err(Errno::ERANGE);
    }
    let plain = matches!(kind, FileType::Regular | FileType::Directory);
    let of = |namespace: &[u8]| name.strip_prefix(namespace).map(|rest| !rest.is_empty());
    match (of(b"user."), of(b"trusted.")) {
        (Some(true), _) if plain => Ok(()),
        (Some(true), _) => Err(Errno::EPERM),
        (_, Some(true)) => Ok(()),
        (Some(false), _) | (_, Some(false)) => Err(Errno::EINVAL),
        (None, None) => Err(Errno::EOPNOTSUPP),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_set_charged_and_given_back() {
        let budget = Budget::new(1000);
        let mut x = Xattrs::new(&budget);
        assert_eq!(x.get(b"user.a"), Err(Errno::ENODATA));
        assert_eq!(x.set(b"user.a", b"1", XATTR_REPLACE), Err(Errno::ENODATA));
        x.set(b"user.a", b"1", XATTR_CREATE).unwrap();
        assert_eq!(x.set(b"user.a", b"2", XATTR_CREATE), Err(Errno::EEXIST));
        assert_eq!(x.set(b"user.a", b"2", 4), Err(Errno::EINVAL));
        x.set(b"user.a", b"333", 0).unwrap();
        assert_eq!((x.get(b"user.a").unwrap(), budget.used()), (b"333".to_vec(), COST + 9));
        assert_eq!(x.set(b"user.b", &[0; 900], 0), Err(Errno::ENOSPC));
        assert_eq!(x.set(b"user.b", &[0; SIZE_LIMIT + 1], 0), Err(Errno::E2BIG));
        assert_eq!(x.names(), [b"user.a"]);
        x.remove(b"user.a").unwrap();
        assert_eq!((x.remove(b"user.a"), budget.used()), (Err(Errno::ENODATA), 0));
    }

    #[test]
    fn namespaces_have_rules() {
        assert_eq!(check(b"user.a", FileType::Regular), Ok(()));
        assert_eq!(check(b"user.a", FileType::Symlink), Err(Errno::EPERM));
        assert_eq!(check(b"trusted.a", FileType::Symlink), Ok(()));
        assert_eq!(check(b"user.", FileType::Regular), Err(Errno::EINVAL));
        assert_eq!(check(b"security.capability", FileType::Regular), Err(Errno::EOPNOTSUPP));
        assert_eq!(check(&[b'u'; 256], FileType::Regular), Err(Errno::ERANGE));
    }
}
