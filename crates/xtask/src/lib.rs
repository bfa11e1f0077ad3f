//! The workshop: what `cargo xtask` does, and what the end-to-end tests need.
//!
//! Behaviour is judged by comparison: the same command runs natively (in a `chroot` into the same root file system,
//! [`native`]) and under Megalith ([`subject`]), and stdout, stderr, exit status and the files left behind must be the same.
//! The judge itself is proven by putting the native side on both ends (`--subject native`).
//!
//! This crate knows the command line of `megalith` and nothing of its inside, so it builds in seconds and without wasmtime.

pub mod bench;
pub mod conformance;
pub mod corpus;
pub mod cpython;
pub mod data;
pub mod debian;
pub mod demo;
pub mod fuzz;
pub mod known;
pub mod native;
pub mod oci;
pub mod packages;
pub mod page;
pub mod parallel;
pub mod paths;
pub mod polyfill;
pub mod quickjs;
pub mod setup;
pub mod sh;
pub mod subject;
pub mod survey;
pub mod terminal;
pub mod test262;
pub mod toolbox;
pub mod trace;
pub mod workspace;
