//! Polyfills: interpreters that answer for programs of an image that are not recompiled (ARCHITECTURE.md). Each is a static
//! x86-64 program, built from sources and kept in the cache under the hash of all that went into it.

mod kit;
pub mod node;
pub mod python;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};

use crate::paths;

/// Builds every polyfill that is not in the cache.
///
/// # Errors
/// One cannot be fetched or built.
pub fn build_all() -> Result<()> {
    publish(node::build()?.parent())?;
    publish(python::build()?.program.parent())
}

/// Changes when another polyfill is `current`.
pub fn key() -> String {
    let Ok(dir) = paths::polyfill(".") else { return String::new() };
    let languages = fs::read_dir(dir).into_iter().flatten().filter_map(|e| Some(e.ok()?.path()));
    let mut all: Vec<_> = languages
        .filter_map(|l| Some(format!("{} {}\n", l.display(), fs::read_link(l.join("current")).ok()?.display())))
        .collect();
    all.sort();
    all.concat()
}

/// Beside a polyfill's program: the list of the system calls that it may make, which `megalith build` puts into the manifest.
pub const CALLS: &str = "calls";

/// Compiler options that leave registers out. Recompiled code has four fewer of the processor's for the program's (the memory, the run's state, the frame and the stack take them), and this compiler,
/// with a profile, knows better what to keep on the stack than the engine's does: richards is a fifth faster.
const FEWER_REGISTERS: &[&str] = &["-ffixed-r14", "-ffixed-r15"];

/// Compiler options where it records what a training program makes an interpreter do.
const TRAINING: &[&str] = &["-fprofile-generate", "-fprofile-update=single"];
/// And where it uses that. Functions stay in one piece, and loops as they are, as the recompiler puts them together again.
const TRAINED: &[&str] = &[
    "-fprofile-use",
    "-fno-reorder-blocks-and-partition",
    "-fno-unroll-loops",
    "-fno-peel-loops",
    "-fno-split-loops",
    "-fno-unswitch-loops",
    "-fno-tree-vectorize",
    // Otherwise the compiler copies in a loop of words what it saw to be short mostly, however long it is.
    "-mmemcpy-strategy=unrolled_loop:16:noalign,libcall:-1:noalign",
];

/// Makes `current` beside the directory of a polyfill lead there: where `megalith build` looks.
fn publish(dir: Option<&Path>) -> Result<()> {
    let places = dir.and_then(|d| Some((d.parent()?, d.file_name()?)));
    let (parent, name) = places.context("a polyfill lies in a directory")?;
    let link = parent.join("current");
    if fs::read_link(&link).is_ok_and(|to| to == name) {
        return Ok(());
    }
    let new = parent.join(format!(".current-{}", std::process::id()));
    symlink(name, &new).and_then(|()| fs::rename(&new, &link)).with_context(|| format!("make {}", link.display()))
}
