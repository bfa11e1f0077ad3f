//! Many wasm modules become one, and one file's part is cut out of it again.
//!
//! * [`link`] merges recompiled objects (see `megalith-abi` for what an object looks like) and WASI modules into the *megabinary*. All objects are one
//!   unit: one memory 0, one memory 1, one table, one set of register globals. Each WASI module is a unit of its own.
//! * [`Linked::write_to`] writes it out, with the container's file system as its last, page-aligned section.
//! * [`Megabinary::parse`] reads a megabinary back, and [`Megabinary::project`] cuts out one file's *projection*: the module that is compiled
//!   ahead of time and instantiated at exec.
//!
//! # What the megabinary exports
//!
//! | name | what |
//! |---|---|
//! | `<entry point>` | `() -> ()`: starts that program |
//! | `_dispatch` | `(i64, i64, i64, i64) -> i32`: the file's SHA-256 as four big-endian words; runs its entry point and returns 0, or returns -13 |
//! | `_resume` | `() -> ()`: goes on where `vkernel.resolve` says (with at least one object) |
//! | `memory`, `map`, `table` | memory 0, memory 1 and table 0 of the object unit |
//! | `rax`, ... | the register globals, under `megalith_abi::Global::name` |
//! | `<entry point>.memory` | the memory that a WASI module exports as `memory` |
//!
//! A projection of an object exports the same, with its own entry point and hashes only, and `base` for an ET_DYN file; its table base is 1. It has no data and no `init`:
//! a new process starts from the start image. A projection of a WASI module exports `_dispatch`, the entry point, and
//! what the module exported (but `_start`). Its active data segments make the data image ([`Megabinary::data_image`]), or, when they have no plain places,
//! come along as passive segments that the entry point copies in. It has the code map's memory before
//! its own, of which it reads the poll word, and imports `vkernel.poll` for when that is set.
//!
//! # Custom sections of the megabinary, in this order
//!
//! | name | payload |
//! |---|---|
//! | `name` | names of functions, memories and globals |
//! | `megalith.file` | one for each ELF file: its SHA-256 (32 bytes), then its `FileMeta` (postcard) |
//! | `megalith.units` | [`Units`] (postcard): where each file's part lies, and what `_dispatch` knows |
//! | `megalith.pad` | zeros |
//! | `megalith.fs` | the container's files; begins at a multiple of the page size. Left out when they lie beside the module |
//!
//! Everything here is deterministic: the same inputs, in whatever order, give the same bytes. Inputs are validated; hostile ones give an [`Error`].

#![forbid(unsafe_code)]

mod assemble;
mod code;
mod layout;
mod merge;
mod module;
mod output;
mod project;

pub use layout::{ObjectUnit, Part, Span, Units, WasiUnit};
pub use merge::{Linked, Placed, link};
pub use output::Written;
pub use project::Megabinary;

use wasmparser::WasmFeatures;

/// SHA-256 of a file.
pub type FileHash = [u8; 32];

/// Name of the custom section with the container's file system; always the last section of the file.
pub const FS_SECTION: &str = "megalith.fs";
/// Name of the custom section before it, which puts the file system's first byte on a page boundary.
pub const PAD_SECTION: &str = "megalith.pad";
/// Name of the custom section that says where each file's part lies ([`Units`], postcard).
pub const UNITS_SECTION: &str = "megalith.units";
pub use megalith_abi::WASI_MODULE;
/// What `_dispatch` returns for a hash it does not know: -EACCES.
pub const EACCES: i32 = -13;
/// Engines refuse modules larger than this (1 GiB).
pub const MAX_MODULE: u64 = 1 << 30;
/// Engines refuse modules with more memories or tables than this.
pub const MAX_MEMORIES: usize = 100;

/// A recompiled ELF file.
#[derive(Clone, Debug)]
pub struct Object<'a> {
    /// SHA-256 of the ELF file.
    pub hash: FileHash,
    /// Name of its entry point (`ls_start`); becomes an export.
    pub entry_point: &'a str,
    /// The object, as `megalith-recompile` wrote it.
    pub wasm: &'a [u8],
}

/// A ready-made WASI preview 1 command.
#[derive(Clone, Debug)]
pub struct WasiModule<'a> {
    /// SHA-256 of the file.
    pub hash: FileHash,
    /// Name of its entry point; becomes an export.
    pub entry_point: &'a str,
    /// The file.
    pub wasm: &'a [u8],
}

/// Another hash that starts an existing entry point: a script, by its interpreter's.
#[derive(Clone, Debug)]
pub struct Alias<'a> {
    /// SHA-256 of the file.
    pub hash: FileHash,
    /// The entry point of one of the objects or WASI modules.
    pub entry_point: &'a str,
}

/// What goes into a megabinary. The order within each list does not matter.
#[derive(Clone, Debug, Default)]
pub struct LinkInputs<'a> {
    pub objects: Vec<Object<'a>>,
    pub wasi: Vec<WasiModule<'a>>,
    pub aliases: Vec<Alias<'a>>,
}

/// Why linking or projecting failed. One line each, naming the file by its entry point.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An input is not a valid module with the features that are used here.
    #[error("{name}: not a valid WebAssembly module: {source}")]
    Invalid { name: String, source: wasmparser::Error },
    /// An input is valid, but not what an object or a WASI command has to be.
    #[error("{name}: {what}")]
    Contract { name: String, what: String },
    /// The inputs do not go together.
    #[error("{0}")]
    Conflict(String),
    /// The module would be larger than engines accept.
    #[error("the module would have {size} bytes, and engines refuse more than {MAX_MODULE}")]
    TooLarge { size: u64 },
    /// The file is not a megabinary, or a damaged one.
    #[error("not a megabinary: {0}")]
    NotMegabinary(String),
    /// No program of this megabinary has that hash.
    #[error("no program has the hash {0}")]
    UnknownHash(String),
    /// Writing failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Error {
    fn contract(name: &str, what: impl Into<String>) -> Error {
        Error::Contract { name: name.into(), what: what.into() }
    }
}

/// The features that inputs and outputs may use: finished proposals, without garbage collection, exceptions, 64-bit memories and relaxed SIMD.
pub fn features() -> WasmFeatures {
    WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::REFERENCE_TYPES
        | WasmFeatures::GC_TYPES
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::SIMD
        | WasmFeatures::THREADS
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::FLOATS
        | WasmFeatures::MULTI_MEMORY
        | WasmFeatures::EXTENDED_CONST
}

/// Validates a module with [`features`].
///
/// # Errors
/// [`Error::Invalid`], with what is wrong and where.
pub fn validate(wasm: &[u8]) -> Result<(), Error> {
    let result = wasmparser::Validator::new_with_features(features()).validate_all(wasm);
    result.map(|_| ()).map_err(|source| Error::Invalid { name: "the module".into(), source })
}

/// Checks that `wasm` is a WASI preview 1 command that [`link`] takes: valid with [`features`], importing functions of [`WASI_MODULE`]
/// only, with the types of preview 1, with at most one memory, exporting `_start`. `name` stands in the error.
///
/// Returns how many memories and tables it has: what the WASI modules of a megabinary have together, 2 memories and 1 table for the objects included, may not
/// be more than [`MAX_MEMORIES`].
pub fn check_wasi(name: &str, wasm: &[u8]) -> Result<(usize, usize), Error> {
    let module = module::Module::parse_input(name, wasm)?;
    merge::check_wasi_module(name, &module)?;
    Ok((module.memories.len(), module.tables.len()))
}

/// Lower-case hex digits of `bytes`.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
