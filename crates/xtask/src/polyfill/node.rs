//! The Node polyfill: QuickJS-ng under Node's own JavaScript library, as one static program (`polyfills/node`).
//!
//! The library (`lib/` of Debian's source package nodejs), the engine (C source inside the crate `rquickjs-sys`) and a few npm
//! packages are fetched by their own clients with hashes checked; ours are the C functions between engine and system and the
//! JavaScript that gives them the shape which Node's library expects. All JavaScript is embedded as bytecode.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::{CALLS, FEWER_REGISTERS, TRAINED, TRAINING};
use crate::{debian, paths, quickjs, setup, sh};

/// Changes when this module makes something else of the same inputs.
const REVISION: &str = "1";

/// Compiler options of everything that goes into the program.
///
/// `DIRECT_DISPATCH=0`: one `switch` in the interpreter's loop costs the recompiler far less than an indirect jump at the end of
/// every instruction. No stack protector: the canary changes while frames are live, when a snapshot is resumed.
const CFLAGS: &[&str] = &[
    "-O3",
    "-DNDEBUG",
    "-fno-pie",
    "-fno-stack-protector",
    "-fno-strict-aliasing",
    "-fwrapv",
    "-D_GNU_SOURCE",
    "-DQUICKJS_NG_BUILD",
    "-DDIRECT_DISPATCH=0",
];

/// The kernel computes SHA-2 (`polyfills/megalith_hash.h`).
const LDFLAGS: &[&str] = &[
    "-static",
    "-no-pie",
    "-Wl,--wrap=sha256_block_data_order",
    "-Wl,--wrap=sha512_block_data_order",
    "-lcrypto",
    "-lz",
    "-lm",
];

/// Sources of the engine that are compiled as they are; `quickjs.c` itself is part of `engine.c`.
const ENGINE: &[&str] = &["libregexp", "libunicode", "dtoa"];

/// Our sources. `engine_modules.c` is part of `engine.c`.
const OURS: &[&str] =
    &["engine", "builtins", "bytecode", "main", "bytes", "files", "sockets", "process", "digest", "deflate"];

/// Parameters of the functions that the modules are compiled as.
const NODE: &str = "exports, require, module, process, internalBinding, primordials";
const BOOTSTRAP: &str = "process, require, internalBinding, primordials";
const PER_CONTEXT: &str = "exports, primordials, privateSymbols, perIsolateSymbols";
const REALM: &str = "process, getLinkedBinding, getInternalBinding, primordials";
const POLYFILL: &str = "exports, native, load, primordials, process";
const PACKAGE: &str = "exports, require, module, process";

/// Parts of Node's library that need what this program has not: other threads, HTTP/2, the inspector.
const LEFT_OUT: &[&str] = &[
    "internal/bootstrap/switches/does_not_own_process_state",
    "internal/bootstrap/switches/is_not_main_thread",
    "internal/cluster/",
    "internal/debugger/",
    "internal/http2/",
    "internal/inspector_async_hook",
    "internal/main/",
    "internal/policy/",
    "internal/process/worker_thread_only",
    "internal/test/",
    "internal/test_runner/",
    "internal/v8_prof",
    "internal/wasm_web_api",
    "internal/watch_mode/",
    "internal/worker.js",
    "test",
];

/// Modules of npm packages that stand in Node's own `deps`: (id, file in node_modules).
const DEPS: &[(&str, &str)] = &[
    ("internal/deps/cjs-module-lexer/lexer", "cjs-module-lexer/lexer.js"),
    ("internal/deps/acorn/acorn/dist/acorn", "acorn/dist/acorn.js"),
    ("internal/deps/acorn/acorn-walk/dist/walk", "acorn-walk/dist/walk.js"),
];

/// Files and directories of npm packages that `lib/npm.js` loads.
const PACKAGES: &[&str] = &[
    "@fastify/busboy/deps",
    "@fastify/busboy/lib",
    "http-parser-js/http-parser.js",
    "punycode/punycode.js",
    "tr46/index.js",
    "tr46/lib",
    "undici/lib/compat",
    "undici/lib/cookies",
    "undici/lib/core",
    "undici/lib/fetch",
    "undici/lib/fileapi",
    "undici/lib/handler",
    "undici/lib/timers.js",
    "webidl-conversions/lib",
    "whatwg-url/lib/encoding.js",
    "whatwg-url/lib/infra.js",
    "whatwg-url/lib/percent-encoding.js",
    "whatwg-url/lib/url-state-machine.js",
];

/// Builds the polyfill unless it is in the cache, and returns the program. `MEGALITH_NODE_DIR` names another directory that has
/// it (as `node`).
///
/// # Errors
/// The sources cannot be fetched, a patch does not apply, or something does not compile.
pub fn build() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("MEGALITH_NODE_DIR") {
        return Ok(Path::new(&dir).join("node"));
    }
    let ours = paths::root().join("polyfills/node");
    let source = debian::newest_source_package("nodejs")?;
    let key = key(&ours, &source.version)?;
    let dir = paths::polyfill("node")?.join(&key);
    if !dir.exists() {
        setup::node_builder()?;
        eprintln!("xtask: building the Node polyfill from {} and QuickJS-ng", source.version);
        let work = tempfile::tempdir()?;
        let build = Build { ours, work: work.path().to_owned(), key };
        build.prepare(&source.tree)?;
        build.compile()?;
        paths::make_once(&dir, |dir| {
            build.program(&dir.join("node"), &[])?;
            fs::copy(build.ours.join("calls.txt"), dir.join(CALLS))?;
            Ok(())
        })?;
    }
    Ok(dir.join("node"))
}

/// Hash of all that the program is made of.
fn key(ours: &Path, node: &str) -> Result<String> {
    let mut hasher = Sha256::new();
    hasher.update(format!(
        "{REVISION} {node} {CFLAGS:?} {FEWER_REGISTERS:?} {TRAINING:?} {TRAINED:?} {LDFLAGS:?} {LEFT_OUT:?} {DEPS:?} {PACKAGES:?}"
    ));
    // Another compiler or C library makes another program.
    hasher.update(sh::text(&mut sh::command("gcc", ["--version"])).unwrap_or_default());
    for name in [
        "src",
        "lib",
        "patches",
        "train.js",
        "package-lock.json",
        "quickjs/Cargo.lock",
        "calls.txt",
        "../megalith_call.h",
        "../megalith_hash.h",
    ] {
        for file in files(&ours.join(name))? {
            hasher.update(file.strip_prefix(ours)?.as_os_str().as_encoded_bytes());
            hasher.update(fs::read(&file)?);
        }
    }
    Ok(sh::hex(hasher.finalize().get(..8).unwrap_or_default()))
}

/// The file `path`, or all files below the directory `path`, sorted.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).with_context(|| format!("read {}", path.display()))? {
        found.extend(files(&entry?.path())?);
    }
    found.sort();
    Ok(found)
}

/// A build in a directory of its own.
struct Build {
    /// `polyfills/node`.
    ours: PathBuf,
    work: PathBuf,
    /// Hash of all that goes into it: bytecode of another build's is not read.
    key: String,
}

impl Build {
    /// Leaves `quickjs` (patched), `plain` (the engine as it is), `lib` (Node's library, patched) and `node_modules`.
    fn prepare(&self, node: &Path) -> Result<()> {
        let engine = quickjs::source()?.dir;
        let copy = |from: &Path, to: &str| sh::output(sh::command("cp", ["-rL"]).arg(from).arg(self.work.join(to)));
        copy(&engine, "plain")?;
        copy(&engine, "quickjs")?;
        copy(&node.join("lib"), "lib")?;
        for (tree, patch) in [("quickjs", "quickjs.patch"), ("lib", "node-lib.patch")] {
            let patch = self.ours.join("patches").join(patch);
            let mut command = sh::command("patch", ["-p1", "-i"]);
            sh::output(command.arg(&patch).current_dir(self.work.join(tree)))
                .with_context(|| format!("apply {}", patch.display()))?;
        }
        for name in ["package.json", "package-lock.json"] {
            fs::copy(self.ours.join(name), self.work.join(name))?;
        }
        // The lock file holds the hash of every package; no code of theirs runs here.
        let mut npm = sh::command("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=dev"]);
        sh::output(npm.current_dir(&self.work)).context("fetch the npm packages of the Node polyfill")?;
        Ok(())
    }

    /// Leaves an object file for each source, and the archive's.
    fn compile(&self) -> Result<()> {
        std::thread::scope(|scope| -> Result<()> {
            let tool = scope.spawn(|| self.archive());
            self.objects(TRAINING)?;
            tool.join().unwrap_or_else(|_| bail!("the thread that compiles the JavaScript panicked"))
        })?;
        let data = self.ours.join("src/builtins_data.S");
        // .incbin looks for the archive in the working directory.
        let mut gcc = sh::command("gcc", ["-c"]);
        sh::output(gcc.arg(&data).args(["-o", "builtins_data.o"]).current_dir(&self.work))?;
        let training = self.work.join("training");
        self.program(&training, TRAINING)?;
        // Without address randomisation: what is counted must not depend on where things lie.
        let mut run = sh::command("setarch", ["-R"]);
        sh::output(run.arg(&training).arg(self.ours.join("train.js"))).context("train the Node polyfill")?;
        self.objects(TRAINED)
    }

    /// Compiles all sources. A profile belongs to an object file's path, so it is the same each time.
    fn objects(&self, options: &[&str]) -> Result<()> {
        let engine = |name: &str| self.work.join("quickjs").join(format!("{name}.c"));
        let ours = |name: &str| self.ours.join("src").join(format!("{name}.c"));
        let mut jobs: Vec<_> = ENGINE.iter().map(|name| (*name, engine(name), "-w")).collect();
        jobs.extend(OURS.iter().map(|name| (*name, ours(name), "-Wall")));
        for (name, source, warnings) in &jobs {
            let mut gcc = sh::command("gcc", CFLAGS);
            gcc.args(FEWER_REGISTERS).args(options).arg(warnings);
            gcc.arg("-I").arg(self.work.join("quickjs")).arg("-I").arg(self.ours.join("src"));
            gcc.arg("-I").arg(paths::root().join("polyfills")).arg(format!("-DENGINE_ID=\"{}\"", self.key));
            sh::output(gcc.arg("-c").arg(source).arg("-o").arg(self.work.join(format!("{name}.o"))))?;
        }
        Ok(())
    }

    /// Links the objects.
    fn program(&self, to: &Path, options: &[&str]) -> Result<()> {
        let mut gcc = sh::command("gcc", ["-s", "-o"]);
        gcc.arg(to).args(options);
        gcc.args(OURS.iter().chain(ENGINE).map(|name| self.work.join(format!("{name}.o"))));
        sh::output(gcc.arg(self.work.join("builtins_data.o")).args(LDFLAGS)).map(drop)
    }

    /// Builds the bytecode compiler and runs it over all modules.
    fn archive(&self) -> Result<()> {
        let tool = self.work.join("compile_builtins");
        let plain = self.work.join("plain");
        let mut gcc = sh::command("gcc", ["-O1", "-w", "-D_GNU_SOURCE", "-DQUICKJS_NG_BUILD", "-I"]);
        gcc.arg(&plain).arg(self.ours.join("src/compile_builtins.c"));
        gcc.args(ENGINE.iter().map(|name| plain.join(format!("{name}.c"))));
        sh::output(gcc.args(["-lm", "-lpthread", "-o"]).arg(&tool))?;
        let mut command = sh::command(&tool, [self.work.join("builtins.bin")]);
        let mut child = command.stdin(Stdio::piped()).spawn()?;
        let mut input = child.stdin.take().context("a pipe to the bytecode compiler")?;
        for (id, (parameters, file)) in self.modules()? {
            writeln!(input, "{id}\t{parameters}\t{}", file.display())?;
        }
        drop(input);
        if !child.wait()?.success() {
            bail!("the JavaScript of the Node polyfill does not compile");
        }
        Ok(())
    }

    /// All modules: id, parameters of the function it becomes, file.
    fn modules(&self) -> Result<BTreeMap<String, (&'static str, PathBuf)>> {
        let mut modules = BTreeMap::new();
        let lib = self.work.join("lib");
        for file in files(&lib)? {
            let Some(id) = id(&file, &lib)? else { continue };
            if !LEFT_OUT.iter().any(|part| left_out(&id, part)) {
                modules.insert(id.clone(), (parameters(&id), file));
            }
        }
        let ours = self.ours.join("lib");
        for file in files(&ours)? {
            let Some(id) = id(&file, &ours)? else { continue };
            match id.strip_prefix("override/") {
                Some(id) => modules.insert(id.to_owned(), (NODE, file)),
                None if id == "boot" => modules.insert(format!("internal/megalith/{id}"), ("native, globalThis", file)),
                None => modules.insert(format!("internal/megalith/{id}"), (POLYFILL, file)),
            };
        }
        let packages = self.work.join("node_modules");
        for (id, file) in DEPS {
            modules.insert((*id).to_owned(), (NODE, packages.join(file)));
        }
        for part in PACKAGES {
            for file in files(&packages.join(part))? {
                let name = file.strip_prefix(&packages)?.to_string_lossy().into_owned();
                let (stem, file) = match name.strip_suffix(".json") {
                    Some(stem) => (stem.to_owned(), self.json_module(&name, &file)?),
                    None => match name.strip_suffix(".js") {
                        Some(stem) => (stem.to_owned(), file),
                        None => continue,
                    },
                };
                modules.insert(format!("npm/{stem}"), (PACKAGE, file));
            }
        }
        Ok(modules)
    }

    /// A JSON file as a module that exports it.
    fn json_module(&self, name: &str, file: &Path) -> Result<PathBuf> {
        let made = self.work.join(format!("{}.js", name.replace('/', "_")));
        fs::write(&made, format!("module.exports = {};", fs::read_to_string(file)?))?;
        Ok(made)
    }
}

/// An entry of `polyfills/node/modules.toml`.
#[derive(serde::Deserialize)]
pub struct Module {
    /// What `require` is called with.
    pub name: String,
    /// Whether it loads; otherwise `require` throws an exception that says "not available".
    pub there: bool,
    /// What a user should know.
    #[serde(default)]
    pub note: String,
}

/// The list of what is there.
///
/// # Errors
/// It cannot be read or is not understood.
pub fn modules() -> Result<Vec<Module>> {
    #[derive(serde::Deserialize)]
    struct List {
        module: Vec<Module>,
    }
    let path = paths::root().join("polyfills/node/modules.toml");
    let list: List = toml::from_str(&fs::read_to_string(&path)?).with_context(|| format!("read {}", path.display()))?;
    Ok(list.module)
}

/// The text of `docs/node.md`.
///
/// # Errors
/// See [`modules`].
pub fn documentation() -> Result<String> {
    let mut text = fs::read_to_string(paths::root().join("polyfills/node/node.md"))?;
    text += "\n| Module | There | Remarks |\n|---|---|---|\n";
    for module in modules()? {
        let there = if module.there { "yes" } else { "no: `require` throws" };
        text += &format!("| `{}` | {there} | {} |\n", module.name, module.note);
    }
    Ok(text)
}

/// The module id of a file below `root`: its path without `.js`.
fn id(file: &Path, root: &Path) -> Result<Option<String>> {
    Ok(file.strip_prefix(root)?.to_string_lossy().strip_suffix(".js").map(str::to_owned))
}

/// Whether `id` is meant by an entry of [`LEFT_OUT`]: a directory (`x/`), one file (`x.js`), or the beginning of a name.
fn left_out(id: &str, part: &str) -> bool {
    match part.strip_suffix(".js") {
        Some(whole) => id == whole,
        None => id.starts_with(part),
    }
}

fn parameters(id: &str) -> &'static str {
    if id.starts_with("internal/per_context/") {
        PER_CONTEXT
    } else if id == "internal/bootstrap/realm" {
        REALM
    } else if id.starts_with("internal/bootstrap/") {
        BOOTSTRAP
    } else {
        NODE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_what_is_left_out_mean_directories_files_or_beginnings() {
        assert!(left_out("internal/http2/core", "internal/http2/"));
        assert!(left_out("internal/worker", "internal/worker.js"));
        assert!(!left_out("internal/worker/io", "internal/worker.js"));
        assert!(left_out("test/reporters", "test"));
    }

    #[test]
    fn parameters_are_those_of_nodes_own_loader() {
        assert_eq!(parameters("internal/bootstrap/node"), BOOTSTRAP);
        assert_eq!(parameters("internal/bootstrap/realm"), REALM);
        assert_eq!(parameters("fs"), NODE);
    }
}
