//! Per-file metadata that `recompile` writes beside the code and the running side reads back.

use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is known of one recompiled ELF file; the running side has what it needs of it as a [`crate::StartMeta`]. Carried as custom section
/// [`FileMeta::SECTION`] of an object and, per file, in the megabinary; encoded with postcard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMeta {
    /// True for ET_EXEC: addresses are absolute. False for ET_DYN: they are relative to the load base.
    pub fixed: bool,
    /// Entry address (`e_entry`).
    pub entry: u64,
    /// PT_LOAD segments in address order.
    pub segments: Vec<Segment>,
    /// Address, entry size and count of the program headers, for AT_PHDR, AT_PHENT and AT_PHNUM. Address 0 when they are not loaded.
    pub phdr: (u64, u16, u16),
    /// PT_GNU_STACK asked for an executable stack (refused: there is no executable data here).
    pub exec_stack: bool,
    /// Start and end of the executable range that `code_lines` describes; the start is page aligned.
    pub text: (u64, u64),
    /// Code lines of `text` ([`crate::CODE_LINE`]), ready to be copied into memory 1.
    #[serde(deserialize_with = "bytes")]
    pub code_lines: Vec<u8>,
    /// Functions in order of their file-local index (table index minus the file's table base): those that are called, then those that resume one.
    pub functions: Vec<FunctionMeta>,
    /// Addresses at which an unwound process can go on, sorted by address.
    pub resume: Vec<ResumePoint>,
    /// What was not recompiled, sorted by address.
    pub uncovered: Vec<Uncovered>,
}

/// Bytes in one go: in postcard they are encoded as a sequence of `u8` is, but serde would read that one by one.
fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    struct Bytes;
    impl Visitor<'_> for Bytes {
        type Value = Vec<u8>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }
        fn visit_bytes<E>(self, v: &[u8]) -> Result<Vec<u8>, E> {
            Ok(v.to_vec())
        }
    }
    deserializer.deserialize_bytes(Bytes)
}

impl FileMeta {
    /// Name of the custom section that carries the metadata in an object.
    pub const SECTION: &str = "megalith.file";

    /// Offset in the ELF file of the byte at `addr`, if it is loaded from there.
    pub fn file_offset(&self, addr: u64) -> Option<u64> {
        self.segments.iter().find_map(|s| {
            let into = addr.checked_sub(s.vaddr).filter(|into| *into < s.file_size)?;
            s.file_offset.checked_add(into)
        })
    }

    /// (file-local function index, label) of the place where code goes on at `addr` (relative to the load base unless fixed).
    pub fn resolve(&self, addr: u64) -> Option<(u32, u32)> {
        let addr = u32::try_from(addr).ok()?;
        let i = self.resume.binary_search_by_key(&addr, |r| r.addr).ok()?;
        let r = self.resume.get(i)?;
        Some((r.function, r.label))
    }
}

/// One PT_LOAD segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    pub vaddr: u64,
    pub file_offset: u64,
    pub file_size: u64,
    pub mem_size: u64,
    pub read: bool,
    pub write: bool,
    pub exec: bool,
}

/// One recompiled function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionMeta {
    /// Address of the primary entry.
    pub addr: u32,
    /// Symbol name, when the file has one.
    pub name: Option<String>,
    /// The second body of a function: the trampoline enters it at a label, to go on with what was unwound.
    pub resumed: bool,
}

/// An address and the (function, label) that goes on there. Function entries have label 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumePoint {
    pub addr: u32,
    pub function: u32,
    pub label: u32,
}

/// An instruction that was reached by discovery but has no translation; executing it is SIGILL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uncovered {
    pub addr: u32,
    /// The instruction's bytes (at most 15).
    pub bytes: Vec<u8>,
    /// Why: the instruction form, or what went wrong.
    pub reason: String,
}
