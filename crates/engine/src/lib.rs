//! wasmtime, with its two sides apart.
//!
//! * Feature `compile`: [`compile::Compiler`] turns wasm into AOT code. It contains Cranelift; only `megalith` has it.
//! * Feature `run`: [`run`] maps AOT code and executes it under a `megalith-vkernel` kernel. It cannot compile anything.
//!
//! What both must agree on stands in one function of the private module `config`.

mod config;

#[cfg(feature = "compile")]
pub mod compile;
#[cfg(feature = "run")]
pub mod run;

pub use config::{GUARD, RESERVATION, TARGET, WASMTIME};
