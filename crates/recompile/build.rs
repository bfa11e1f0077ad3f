//! Hashes all that decides what `recompile` writes: its own sources, those of the crates it is made of, and the versions of the libraries.

use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../..");
    let mut files = vec![root.join("Cargo.lock"), root.join("crates/recompile/build.rs")];
    for krate in ["abi", "fpu", "recompile"] {
        sources(&root.join("crates").join(krate).join("src"), &mut files);
    }
    files.sort();
    let mut hash = Sha256::new();
    for file in &files {
        let bytes = fs::read(file).expect("a source that was listed can be read");
        let name = file.strip_prefix(&root).unwrap_or(file).to_string_lossy().into_owned();
        for part in [name.as_bytes(), &bytes] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        println!("cargo::rerun-if-changed={}", file.display());
    }
    for krate in ["abi", "fpu", "recompile"] {
        println!("cargo::rerun-if-changed={}", root.join("crates").join(krate).join("src").display());
    }
    println!("cargo::rustc-env=MEGALITH_RECOMPILE_FINGERPRINT={:x}", hash.finalize());
}

/// All files below `dir`.
fn sources(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("the crate has sources").flatten() {
        if entry.path().is_dir() { sources(&entry.path(), files) } else { files.push(entry.path()) }
    }
}
