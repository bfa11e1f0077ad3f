//! The executable from outside: build, inspect, verify, compile, and what happens when something is in the way.

use serde_json::Value;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A WASI command that exits with `status`.
fn wasi(status: i32) -> Vec<u8> {
    use wasm_encoder::*;
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], []);
    types.ty().function([], []);
    let mut imports = ImportSection::new();
    imports.import("wasi_snapshot_preview1", "proc_exit", EntityType::Function(0));
    let mut functions = FunctionSection::new();
    functions.function(1);
    let mut memories = MemorySection::new();
    memories.memory(MemoryType { minimum: 1, maximum: None, memory64: false, shared: false, page_size_log2: None });
    let mut exports = ExportSection::new();
    exports.export("memory", ExportKind::Memory, 0).export("_start", ExportKind::Func, 1);
    let mut code = CodeSection::new();
    let mut start = Function::new([]);
    start.instructions().i32_const(status).call(0).end();
    code.function(&start);
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&functions).section(&memories).section(&exports).section(&code);
    module.finish()
}

/// A directory with an image, a cache of its own, and room for bundles.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().expect("a directory"));
        place.add("bin/tool.wasm", &wasi(3), 0o755);
        place.add("bin/script", b"#!/bin/tool.wasm -x\n", 0o755);
        place.add("bin/orphan", b"#!/bin/sh\n", 0o755);
        place.add("bin/odd", b"whatever", 0o755);
        place.add("bin/broken", b"\x7fELF", 0o755);
        place.add("etc/data", b"not executable", 0o644);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn add(&self, name: &str, bytes: &[u8], mode: u32) {
        let path = self.path("image").join(name);
        fs::create_dir_all(path.parent().expect("in a directory")).expect("created");
        fs::write(&path, bytes).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
    }

    fn megalith(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_megalith"))
            .args(args)
            .current_dir(self.0.path())
            .env("XDG_CACHE_HOME", self.path("cache"))
            .output()
            .expect("megalith runs")
    }

    fn build(&self, bundle: &str) -> Value {
        let out = self.megalith(&["build", "image", "-o", bundle, "--json"]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        assert!(out.stderr.is_empty(), "--json is quiet");
        serde_json::from_slice(&out.stdout).expect("one JSON report")
    }

    /// The one line of an error, with exit status 1.
    fn error(&self, args: &[&str]) -> String {
        let out = self.megalith(args);
        let line = String::from_utf8_lossy(&out.stderr).trim_end().to_string();
        assert_eq!(out.status.code(), Some(1), "{line}");
        line
    }

    /// Names in the directory, to see that nothing is left behind.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.0.path())
            .expect("listed")
            .map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn build_inspect_verify() {
    let place = Place::new();
    let report = place.build("b");
    let programs = report["programs"].as_object().expect("an object");
    assert_eq!(programs.keys().collect::<Vec<_>>(), ["/bin/script", "/bin/tool.wasm"]);
    assert_eq!(programs["/bin/tool.wasm"]["kind"], "wasi");
    assert_eq!(programs["/bin/script"]["kind"], "script");
    assert_eq!(programs["/bin/script"]["entry_point"], programs["/bin/tool.wasm"]["entry_point"]);
    let not: Vec<_> = report["not_recompiled"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|n| n["path"].as_str().expect("a path"))
        .collect();
    assert_eq!(not, ["/bin/broken", "/bin/odd", "/bin/orphan"]);
    assert_eq!(place.names(), ["b", "cache", "image"]);
    for file in ["manifest.json", "container.wasm", "aot/x86_64-unknown-linux-gnu/index.json"] {
        assert_eq!(place.path("b").join(file).metadata().expect(file).mode() & 0o7777, 0o644, "{file}");
    }

    let verify = place.megalith(&["verify", "b"]);
    assert!(verify.status.success(), "{}", String::from_utf8_lossy(&verify.stderr));
    let inspect = String::from_utf8(place.megalith(&["inspect", "b"]).stdout).expect("text");
    assert!(
        inspect.contains("tool.wasm_start")
            && inspect.contains("/bin/orphan: its interpreter /bin/sh is not in the image"),
        "{inspect}"
    );
    let json: Value = serde_json::from_slice(&place.megalith(&["inspect", "b", "--json"]).stdout).expect("JSON");
    assert!(json["executables"][1]["aot_bytes"].as_u64() > Some(0));
}

#[test]
fn the_same_image_gives_the_same_bytes_from_the_cache_and_without() {
    let place = Place::new();
    let first = place.build("b1");
    let second = place.build("b2");
    assert_eq!(second["made"], 0);
    assert!(first["made"].as_u64() > Some(0));
    fs::remove_dir_all(place.path("cache")).expect("removed");
    let out = place.megalith(&["build", "image", "-o", "b3", "--jobs", "1"]);
    assert!(out.status.success());
    let files = |bundle: &str| {
        let mut all = Vec::new();
        let mut todo = vec![place.path(bundle)];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(dir).expect("listed") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    todo.push(path);
                } else {
                    let name = path.strip_prefix(place.path(bundle)).expect("below").to_path_buf();
                    all.push((name, fs::read(&path).expect("read")));
                }
            }
        }
        all.sort();
        all
    };
    assert!(files("b1") == files("b2"));
    assert!(files("b1") == files("b3"));
}

#[test]
fn a_damaged_cache_entry_is_made_again() {
    let place = Place::new();
    place.build("b");
    let mut damaged = 0;
    let dir = place.path("cache/megalith/aot");
    for entry in fs::read_dir(dir).expect("listed") {
        let path = entry.expect("an entry").path();
        let mut bytes = fs::read(&path).expect("read");
        *bytes.last_mut().expect("not empty") ^= 1;
        fs::write(&path, bytes).expect("written");
        damaged += 1;
    }
    assert_eq!(place.build("b")["made"], damaged);
    assert!(place.megalith(&["verify", "b"]).status.success());
}

#[test]
fn a_bundle_is_replaced_and_nothing_else_is() {
    let place = Place::new();
    place.build("b");
    let before = fs::metadata(place.path("b")).expect("there").ino();
    place.add("bin/tool.wasm", &wasi(4), 0o755);
    place.build("b");
    assert_ne!(fs::metadata(place.path("b")).expect("there").ino(), before);
    assert!(place.megalith(&["verify", "b"]).status.success());

    fs::create_dir(place.path("other")).expect("created");
    fs::write(place.path("other/file"), "mine").expect("written");
    assert!(place.error(&["build", "image", "-o", "other"]).contains("is not a bundle"));
    assert!(place.error(&["build", "image", "-o", "image/etc/data"]).contains("is not a bundle"));
    assert!(place.error(&["build", "nothing", "-o", "c"]).contains("nothing"));
    assert!(place.error(&["build", "image", "-o", "c", "--tool", "t=/bin/odd"]).contains("--tool t=/bin/odd"));
    assert_eq!(place.names(), ["b", "cache", "image", "other"]);
    assert_eq!(fs::read_dir(place.path("other")).expect("listed").count(), 1);
}

#[test]
fn verify_finds_every_changed_byte() {
    let place = Place::new();
    place.build("b");
    let flip = |path: &Path, at: usize| {
        let mut bytes = fs::read(path).expect("read");
        let at = at % bytes.len();
        bytes[at] ^= 0x10;
        fs::write(path, bytes).expect("written");
    };
    let aot = place.path("b/aot/x86_64-unknown-linux-gnu");
    let mut files = vec![place.path("b/container.wasm")];
    files.extend(fs::read_dir(aot).expect("listed").map(|e| e.expect("an entry").path()));
    for file in files {
        let size = fs::metadata(&file).expect("there").len() as usize;
        for at in [0, size / 3, size / 2, size - 1] {
            flip(&file, at);
            assert!(place.error(&["verify", "b"]).contains("megalith: "), "{} {at}", file.display());
            flip(&file, at);
        }
    }
    assert!(place.megalith(&["verify", "b"]).status.success());
    fs::set_permissions(place.path("b/container.wasm"), fs::Permissions::from_mode(0o666)).expect("set");
    assert!(place.error(&["verify", "b"]).contains("chmod go-w"));
}

#[test]
fn compile_makes_the_code_again() {
    let place = Place::new();
    place.build("b");
    fs::remove_dir_all(place.path("b/aot")).expect("removed");
    assert!(place.error(&["verify", "b"]).contains("megalith compile b"));
    assert!(place.megalith(&["compile", "b"]).status.success());
    assert!(place.megalith(&["verify", "b"]).status.success());
    assert!(place.megalith(&["compile", "b", "--json"]).status.success(), "also in exchange for what is there");
    assert_eq!(fs::read_dir(place.path("b/aot")).expect("listed").count(), 1);
}

#[test]
fn exit_statuses() {
    let place = Place::new();
    assert_eq!(place.megalith(&["build"]).status.code(), Some(2));
    assert_eq!(place.megalith(&["frobnicate"]).status.code(), Some(2));
    assert_eq!(place.megalith(&["--help"]).status.code(), Some(0));
    let bash = place.megalith(&["completions", "bash"]);
    assert!(bash.status.success() && String::from_utf8_lossy(&bash.stdout).contains("_megalith"));
    assert_eq!(place.megalith(&["inspect", "image"]).status.code(), Some(1));
    let run = Command::new(env!("CARGO_BIN_EXE_megalith"))
        .args(["run", "b"])
        .env("MEGALITH_RUN", "/nonexistent")
        .output()
        .expect("runs");
    assert_eq!(run.status.code(), Some(125));
    let passed = Command::new(env!("CARGO_BIN_EXE_megalith"))
        .args(["run", "b", "--", "x", "-y"])
        .env("MEGALITH_RUN", "/bin/echo")
        .output();
    assert_eq!(passed.expect("runs").stdout, b"b -- x -y\n");
}
