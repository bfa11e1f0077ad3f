//! The manifest of a bundle (`manifest.json`) and the index of its AOT code (`aot/<target>/index.json`): types, schema, the names of
//! entry points, and every check that can be made without reading a file. No I/O.
//!
//! What is read is untrusted until it has been checked: [`Manifest::from_json`] ([`Manifest::parse`]) and [`AotIndex::from_json`] are the only ways in
//! from bytes, and return either a value whose parts agree with one another or one line that says what is wrong.

#![forbid(unsafe_code)]

mod aot;
mod error;
mod hash;
mod json;
mod manifest;
mod names;
mod path;

pub use aot::{AotFile, AotIndex, Engine};
pub use error::Error;
pub use hash::{CodeHash, FileHash};
pub use manifest::{
    Binary, Config, FileSystem, FsPlace, Kind, Manifest, NotRecompiled, Omissions, Polyfill, Scripts, Skipped, Snapshot,
};
pub use names::entry_points;
pub use path::{GuestPath, NAME_MAX, PATH_MAX, escape, unescape};
