//! Recompiles x86-64 ELF files to WebAssembly objects ahead of time.
//!
//! The way of one file: [`elf`] reads headers, segments and hints; [`discover`] finds instructions, basic blocks and functions;
//! [`analysis`] computes what registers live where, which functions preserve what, and how the stack pointer moves; [`inline`] puts small functions into their callers;
//! [`structure`] turns each control flow graph into wasm's structured control flow; [`codegen`] emits the functions and
//! [`object`] the module. What an object looks like is the contract in `megalith-abi` and ARCHITECTURE.md.
//!
//! Nothing here knows of wasmtime, of the vkernel or of other files.

#![forbid(unsafe_code)]

mod analysis;
mod codegen;
mod discover;
mod elf;
mod hold;
mod inline;
mod object;
mod predict;
mod regs;
mod structure;

use megalith_abi::FileMeta;

/// SHA-256, in hexadecimal digits, of all that decides what [`recompile`] makes of a file: the sources of this crate and of those it is made of, and
/// the versions of the libraries. Part of every cache key.
pub const FINGERPRINT: &str = env!("MEGALITH_RECOMPILE_FINGERPRINT");

/// One recompiled file: the wasm object and, decoded, the metadata that it also carries.
#[derive(Clone, Debug)]
pub struct Object {
    pub wasm: Vec<u8>,
    pub meta: FileMeta,
}

/// Why a file cannot be recompiled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("not an x86-64 ELF file: {0}")]
    NotElf(&'static str),
    #[error("broken ELF file: {0}")]
    Broken(String),
    #[error("needs dynamic linking (program interpreter {0})")]
    Dynamic(String),
    #[error("loads outside the low 4 GiB of the address space")]
    Address,
    #[error("recompiling failed: {0}")]
    Internal(String),
}

/// Recompiles one statically linked ELF file.
pub fn recompile(file: &[u8]) -> Result<Object, Error> {
    let image = elf::Image::parse(file)?;
    let program = discover::discover(&image);
    object::build(&image, &program, codegen::Mode::Program)
}

/// Recompiles the straight piece of code `code` as if it lay at `addr`: function 0 of the object executes it. Falling or jumping out of it
/// unwinds with the complete state in the globals. For tests of instruction semantics.
pub fn recompile_snippet(code: &[u8], addr: u32) -> Result<Object, Error> {
    let image = elf::Image::snippet(code, addr)?;
    let program = discover::discover(&image);
    object::build(&image, &program, codegen::Mode::Snippet)
}
