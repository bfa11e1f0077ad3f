//! Polyfills: interpreters that answer for programs of an image that are not recompiled (ARCHITECTURE.md). Each is a static
//! x86-64 program, built from sources and kept in the cache under the hash of all that went into it.

pub mod python;

use anyhow::Result;

/// Builds every polyfill that is not in the cache.
///
/// # Errors
/// One cannot be fetched or built.
pub fn build_all() -> Result<()> {
    python::build()?;
    Ok(())
}
