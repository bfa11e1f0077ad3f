//! Which system calls a program may make: all of the table's, or, if it is an interpreter of ours (a polyfill), those that its list names.

use crate::sys::{SLOTS, table};
use megalith_abi::PolyfillOp;

const WORDS: usize = SLOTS / 64;

/// A set of system calls, by number, and of a polyfill's own calls (`sys::polyfill`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Calls {
    numbers: [u64; WORDS],
    /// One bit an operation; programs of the image have none.
    ops: u8,
}

impl Calls {
    /// What programs of the image may call: all of the table's.
    pub(crate) const LINUX: Calls = Calls { numbers: [u64::MAX; WORDS], ops: 0 };

    /// The set with these names: those of the table ([`table`]) and of [`PolyfillOp::name`].
    ///
    /// # Errors
    /// One line, when a name is unknown.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Calls, String> {
        let mut calls = Calls { numbers: [0; WORDS], ops: 0 };
        for name in names {
            if let Some(op) = PolyfillOp::ALL.into_iter().find(|op| op.name() == name) {
                calls.ops |= bit(op);
                continue;
            }
            let entry = table().iter().find(|e| e.name == name);
            let word = entry.and_then(|e| Some((e.number, calls.numbers.get_mut(usize::from(e.number) / 64)?)));
            let (number, word) = word.ok_or_else(|| format!("there is no system call '{}'", name.escape_default()))?;
            *word |= 1 << (number % 64);
        }
        Ok(calls)
    }

    /// Whether system call `number` is in the set.
    #[inline]
    pub(crate) fn has(&self, number: u16) -> bool {
        self.numbers.get(usize::from(number) / 64).is_some_and(|word| word >> (number % 64) & 1 != 0)
    }

    /// Whether any of a polyfill's own calls is.
    pub(crate) fn has_own(&self) -> bool {
        self.ops != 0
    }

    /// Whether this one is.
    pub(crate) fn has_op(&self, op: PolyfillOp) -> bool {
        self.ops & bit(op) != 0
    }
}

fn bit(op: PolyfillOp) -> u8 {
    1 << op as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_named_and_nothing_else() {
        let calls = Calls::named(["read", "fchmodat2", "megalith_policy"]).unwrap();
        let has: Vec<u16> = (0..=u16::MAX).filter(|&n| calls.has(n)).collect();
        assert_eq!(has, [0, 452]);
        let ops: Vec<_> = PolyfillOp::ALL.into_iter().filter(|&op| calls.has_op(op)).collect();
        assert_eq!(ops, [PolyfillOp::Policy]);
        assert!(calls.has_own() && !Calls::named(["read"]).unwrap().has_own());
        assert!(table().iter().all(|e| Calls::LINUX.has(e.number)) && !Calls::LINUX.has_own());
    }

    #[test]
    fn unknown_names_are_refused() {
        for name in ["", "Read", "read ", "megalith_", "megalith_root", "io_uring_setup"] {
            assert!(Calls::named(["read", name]).unwrap_err().contains("no system call"), "{name}");
        }
    }
}
