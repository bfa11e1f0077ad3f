//! QuickJS-ng: its source, which the Node polyfill is made of, too, and a static `qjs` built of it as upstream builds it.

use std::path::PathBuf;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::{paths, sh};

/// The crate that carries QuickJS-ng's source and its own tests; version and hash are in `polyfills/node/quickjs/Cargo.lock`.
pub const CRATE: &str = "rquickjs-sys";

/// Options of upstream's release build (`CMakeLists.txt`; CMake's own for `Release` are the first two), static.
const CFLAGS: &[&str] =
    &["-O3", "-DNDEBUG", "-std=gnu11", "-funsigned-char", "-w", "-static", "-no-pie", "-D_GNU_SOURCE", "-I."];
const FILES: &[&str] = &[
    "qjs.c",
    "quickjs.c",
    "quickjs-libc.c",
    "libregexp.c",
    "libunicode.c",
    "dtoa.c",
    "gen/repl.c",
    "gen/standalone.c",
];

/// QuickJS-ng on this machine.
pub struct Source {
    /// Where Cargo unpacked it.
    pub dir: PathBuf,
    /// Version of the crate.
    pub version: String,
}

/// Has Cargo fetch the source.
///
/// # Errors
/// Cargo cannot fetch it, or its hash is not that of the lock file.
pub fn source() -> Result<Source> {
    let manifest = paths::root().join("polyfills/node/quickjs/Cargo.toml");
    let mut cargo = sh::command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), ["metadata"]);
    cargo.args(["--format-version=1", "--locked", "--manifest-path"]).arg(&manifest);
    let metadata: serde_json::Value = serde_json::from_slice(&sh::output(&mut cargo)?).context("cargo metadata")?;
    let packages = metadata.get("packages").and_then(|p| p.as_array());
    let found = packages.into_iter().flatten().find_map(|package| {
        let field = |name: &str| package.get(name)?.as_str();
        (field("name")? == CRATE).then(|| Some((field("manifest_path")?, field("version")?))).flatten()
    });
    let (manifest, version) = found.with_context(|| format!("cargo metadata does not name {CRATE}"))?;
    let dir = PathBuf::from(manifest).parent().context("a manifest has a directory")?.join("quickjs");
    Ok(Source { dir, version: version.to_owned() })
}

/// A static `qjs`, compiled for this machine unless it is in the cache.
///
/// # Errors
/// The source cannot be fetched or compiled.
pub fn qjs() -> Result<PathBuf> {
    let source = source()?;
    let compiler = sh::text(&mut sh::command("gcc", ["--version"]))?;
    let key = Sha256::digest(format!("{} {CFLAGS:?} {FILES:?} {compiler}", source.version));
    let dir = paths::cache("qjs")?.join(sh::hex(key.get(..8).unwrap_or_default()));
    paths::make_once(&dir, |dir| {
        eprintln!("xtask: compiling qjs");
        let mut gcc = sh::command("gcc", CFLAGS);
        gcc.arg("-o").arg(dir.join("qjs")).args(FILES).args(["-lm", "-lpthread"]).current_dir(&source.dir);
        sh::output(&mut gcc).map(drop)
    })?;
    Ok(dir.join("qjs"))
}
