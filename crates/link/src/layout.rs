//! What the `megalith.units` section says: where each file's part lies in the index spaces of the megabinary.

use crate::FileHash;
use serde::{Deserialize, Serialize};

/// Indices `first .. first + count` of one index space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub first: u32,
    pub count: u32,
}

impl Span {
    /// One past the last index, or `None` when that does not fit 32 bits.
    pub fn end(self) -> Option<u32> {
        self.first.checked_add(self.count)
    }
}

/// What belongs to one file alone, in each index space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub functions: Span,
    pub tables: Span,
    pub memories: Span,
    pub globals: Span,
    pub elements: Span,
    pub data: Span,
}

/// One recompiled ELF file in the megabinary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectUnit {
    pub hash: FileHash,
    pub entry_point: String,
    /// Its functions (recompiled ones first, then helpers) and own globals; `file.table_base` and `file.base` are not among them.
    pub part: Part,
    /// Its place in the table. Entry `i` is function `part.functions.first + i`.
    pub table: Span,
    /// Index of the function at `e_entry`.
    pub entry: u32,
    /// Index of the function that copies the data in.
    pub init: u32,
    /// The function imports it uses, ascending.
    pub imports: Vec<u32>,
    /// Global that holds `table.first`, when the object asked for it.
    pub table_base: Option<u32>,
    /// Global that holds the load base, for ET_DYN files.
    pub base: Option<u32>,
}

/// One WASI module in the megabinary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WasiUnit {
    pub hash: FileHash,
    pub entry_point: String,
    /// Everything of the module; the last function is the entry point.
    pub part: Part,
    /// The function imports it uses, ascending.
    pub imports: Vec<u32>,
    /// What it exported: name, kind as in the export section, index.
    pub exports: Vec<(String, u8, u32)>,
    /// Its data image: data segments, in this order, and the addresses that they go to. Empty when it has none.
    pub image: Vec<(u32, u32)>,
    /// A global that is 0; where it reads as 1, the entry point leaves the segments of `image` alone.
    pub filled: Option<u32>,
}

/// Payload of the `megalith.units` section (postcard).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Units {
    /// Sorted by hash.
    pub objects: Vec<ObjectUnit>,
    /// Sorted by hash.
    pub wasi: Vec<WasiUnit>,
    /// Every hash that `_dispatch` knows, with its entry point; sorted by hash.
    pub hashes: Vec<(FileHash, String)>,
}
