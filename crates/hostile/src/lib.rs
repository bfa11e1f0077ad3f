//! Hostile input: every parser of the project against damaged files.
//!
//! A good input is damaged in ways that a fuzzer without coverage finds useful (bits, edge values in aligned fields, cut, repeated and moved blocks) and handed
//! to the code that reads such files in earnest. An error is fine. A panic, an abort, a hang or memory without bound is not. Seeds make every run repeatable.

pub mod mutate;
pub mod targets;
