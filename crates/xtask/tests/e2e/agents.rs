//! The demo's image: an agent's tools in Python and Node, by path and by name; what `sealed` keeps the real interpreters from loading; HTTP between
//! processes of one container. The probes are in `tests/agents`.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest, Sha256};
use xtask::corpus::{self, Corpus};
use xtask::subject::{self, Job, Outcome, Stdin, Subject};
use xtask::terminal::Terminal;
use xtask::{paths, setup, sh, toolbox};

use crate::{Test, context};

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("agents::by-path", by_path),
        Test::ours("agents::by-name", by_name),
        Test::ours("agents::changed", changed),
        Test::new("agents::python::open", || open(PYTHON, "/probe/loads.py")),
        Test::new("agents::node::open", || open(NODE, "/probe/loads.js")),
        Test::ours("agents::python::sealed", || sealed("python", "/probe/loads.py", PYTHON_SEALED)),
        Test::ours("agents::python::sealed-allocators", sealed_allocators),
        Test::ours("agents::node::sealed", || sealed("node", "/probe/loads.js", NODE_SEALED)),
        Test::ours("agents::native-extensions", native_extensions),
        Test::ours("agents::packages", packages),
        Test::ours("agents::python::bytecode", python_bytecode),
        Test::new("agents::node::modules", node_modules),
        Test::ours("agents::node::bytecode", node_bytecode),
        Test::ours("agents::packages-without-locks", packages_without_locks),
        Test::new("agents::python::prompt", || prompt(PYTHON, python_prompt)),
        Test::new("agents::node::prompt", || prompt(NODE, node_prompt)),
        Test::new("agents::http::python", || http([PYTHON, "/probe/http/client.py", PYTHON, "/probe/http/server.py"])),
        Test::new("agents::http::node", || http([NODE, "/probe/http/client.js", NODE, "/probe/http/server.js"])),
        Test::new("agents::http::both", || http([PYTHON, "/probe/http/client.py", NODE, "/probe/http/server.js"])),
    ]
}

const PYTHON: &str = toolbox::PYTHON;
const NODE: &str = toolbox::NODE;

const RECORDS: &str = r#"[{"name": "pear", "kg": 3}, {"name": "apple", "kg": 5}, {"name": "Quince", "kg": 1}]"#;
const TEXT: &str = "# Seals\nA seal & its gate.\n\n## Kinds <of>\nA gate, a seal, é.\n";

/// What each tool is given.
const CALLS: &[(&str, &[&str], &str)] = &[
    ("report", &["--title", "Fruit"], RECORDS),
    ("report", &["--by", "kg", "--json"], RECORDS),
    ("report", &["--by", "none"], RECORDS),
    // An option that is megalith's, too, and the tool's own here.
    ("report", &["--help"], ""),
    ("outline", &[], TEXT),
    ("outline", &["--json"], TEXT),
];

/// Both sides: the demo's image with the probes in it.
struct Sides {
    corpus: Corpus,
    native: Subject,
    subject: Subject,
    /// Without one when the native side is judged.
    bundle: Option<std::path::PathBuf>,
}

fn sides() -> Result<&'static Sides> {
    static SIDES: OnceLock<Result<Sides, String>> = OnceLock::new();
    context::shared(&SIDES, || {
        setup::packages()?;
        let corpus = with_probes(toolbox::with_tools()?.corpus)?;
        let native = Subject::native(&context::xtask(), &corpus.rootfs);
        if context::judging_native() {
            return Ok(Sides { subject: native.clone(), native, bundle: None, corpus });
        }
        let mut options = Vec::new();
        let interpreters = [("python", PYTHON), ("node", NODE)];
        let scripts = toolbox::TOOLS.iter().map(|(name, _, path)| (*name, *path));
        for (name, path) in interpreters.into_iter().chain(scripts) {
            options.extend(["--tool".to_owned(), format!("{name}={path}")]);
        }
        let bundle = subject::bundle_with(&corpus, &options)?;
        Ok(Sides { native, subject: Subject::megalith(&bundle), bundle: Some(bundle), corpus })
    })
}

/// The demo's image, natively.
pub fn native() -> Result<&'static Subject> {
    Ok(&sides()?.native)
}

/// The demo's image under test.
pub fn subject() -> Result<&'static Subject> {
    Ok(&sides()?.subject)
}

/// Its bundle.
pub fn bundle() -> Result<&'static Path> {
    sides()?.bundle.as_deref().context("no bundle")
}

/// Native code in packages.
const EXTENSIONS: [&str; 2] = ["/probe/site-packages/native.so", "/probe/node_modules/native.node"];

/// The same files, as hard links, and `tests/agents` as `/probe`.
fn with_probes(base: Corpus) -> Result<Corpus> {
    let probes = corpus::tree(&paths::root().join("tests/agents"), "probe")?;
    let mut hasher = Sha256::new();
    hasher.update(&base.key);
    for (path, file, _) in &probes {
        hasher.update(path);
        if file.is_file() {
            hasher.update(fs::read(file)?);
        }
    }
    let key = sh::hex(hasher.finalize().get(..8).unwrap_or_default());
    let dir = paths::target().join("agents").join(&key);
    paths::make_once(&dir, |dir| {
        let root = dir.join("root");
        let linked = sh::output(sh::command("cp", ["-al"]).arg(&base.rootfs).arg(&root));
        if linked.is_err() {
            // The cache is on another file system.
            sh::output(sh::command("cp", ["-a", "-T"]).arg(&base.rootfs).arg(&root))?;
        }
        for (path, file, _) in &probes {
            let to = root.join(path);
            fs::create_dir_all(to.parent().context("a file has a directory")?)?;
            if file.is_file() {
                fs::copy(file, &to)?;
            }
        }
        for extension in EXTENSIONS {
            let to = root.join(extension.trim_start_matches('/'));
            fs::create_dir_all(to.parent().context("a file has a directory")?)?;
            let mut gcc = sh::command("gcc", ["-shared", "-fPIC", "-nostdlib", "-x", "c", "/dev/null", "-o"]);
            sh::output(gcc.arg(&to))?;
        }
        sh::output(sh::command("find", [root.join("probe")]).args(["-exec", "touch", "-d", "@1700000000", "{}", "+"]))?;
        Ok(())
    })?;
    Ok(Corpus { rootfs: dir.join("root"), image: dir.join("root"), busybox: base.busybox, key })
}

fn job(command: &[&str]) -> Job {
    Job { environment: toolbox::environment(), timeout: Duration::from_secs(120), ..Job::new(command.iter().copied()) }
}

fn path_of(tool: &str) -> Result<&'static str> {
    let found = toolbox::TOOLS.iter().find(|(name, ..)| *name == tool);
    found.map(|(_, _, path)| *path).context("no such tool")
}

/// `megalith tools call`, with `options` before the name.
fn call(options: &[&str], tool: &str, args: &[&str], input: &str) -> Result<Outcome> {
    let mut command = sh::command(paths::release("megalith"), ["tools"]);
    command.arg(sides()?.bundle.as_ref().context("no bundle")?).arg("call").args(options).args(["-e", "LANG=C.UTF-8"]);
    command.arg(tool).args(args);
    subject::run(command, &Stdin::Bytes(input.into()), Duration::from_secs(120))
}

fn same(native: &Outcome, ours: &Outcome) -> Result<()> {
    let equal = native.status == ours.status && native.stdout == ours.stdout && native.stderr == ours.stderr;
    ensure!(equal, "native:\n{}\n\nhere:\n{}", native.describe(), ours.describe());
    Ok(())
}

fn by_path() -> Result<()> {
    let sides = sides()?;
    for (tool, args, input) in CALLS {
        let mut job = job(&[&[path_of(tool)?], *args].concat());
        job.stdin = Stdin::Bytes(input.as_bytes().to_vec());
        let native = sides.native.run(&job)?;
        ensure!(!native.stdout.is_empty() || native.status == 1, "{}", native.describe());
        same(&native, &sides.subject.run(&job)?)?;
    }
    Ok(())
}

fn by_name() -> Result<()> {
    for (tool, args, input) in CALLS {
        let mut job = job(&[&[path_of(tool)?], *args].concat());
        job.stdin = Stdin::Bytes(input.as_bytes().to_vec());
        same(&sides()?.native.run(&job)?, &call(&[], tool, args, input)?)?;
    }
    Ok(())
}

/// One byte more, and neither the executable nor the tool starts.
fn changed() -> Result<()> {
    let bundle = sides()?.bundle.as_ref().context("no bundle")?;
    for (name, file, path) in toolbox::TOOLS {
        let script = format!("echo >> {path}; exec {path}");
        let outcome = Subject::megalith(bundle).run(&job(&["/bin/sh", "-c", &script]))?;
        refused(&outcome, path)?;
        let dir = tempfile::tempdir()?;
        let source = paths::root().join("demo/tools").join(file);
        let copy = dir.path().join(file);
        fs::copy(&source, &copy)?;
        let volume = format!("{}:{}:ro", dir.path().display(), Path::new(path).parent().context("a path")?.display());
        let outcome = call(&["-v", &volume], name, &[], if *name == "report" { RECORDS } else { TEXT })?;
        ensure!(outcome.status == 0, "the same bytes: {}", outcome.describe());
        fs::write(&copy, [&fs::read(&source)?[..], b"\n"].concat())?;
        refused(&call(&["-v", &volume], name, &[], RECORDS)?, path)?;
    }
    Ok(())
}

/// Native code in packages is listed, and refused where it is loaded, by one exception that says why.
fn native_extensions() -> Result<()> {
    let sides = sides()?;
    let inspect = sh::text(
        sh::command(paths::release("megalith"), ["inspect"]).arg(sides.bundle.as_ref().context("no bundle")?),
    )?;
    for extension in EXTENSIONS {
        let lines: Vec<_> = inspect.lines().filter(|l| l.starts_with(&format!("{extension}:"))).collect();
        ensure!(lines.len() == 1 && lines.iter().all(|l| l.contains("a native extension")), "{extension}: {lines:?}");
    }
    let import = "import sys; sys.path.insert(0, '/probe/site-packages'); import native";
    let python = sides.subject.run(&job(&[PYTHON, "-c", import]))?;
    let said = String::from_utf8_lossy(&python.stderr).into_owned();
    let last = said.lines().last().unwrap_or_default();
    let says = ["ImportError: ", EXTENSIONS[0], "--python recompile"].iter().all(|part| last.contains(part));
    ensure!(python.status == 1 && says, "{}", python.describe());
    let require = format!("try {{ require('{}') }} catch (e) {{ console.log(e.code, e.message) }}", EXTENSIONS[1]);
    let node = sides.subject.run(&job(&[NODE, "-e", &require]))?;
    ensure!(node.text().contains("ERR_DLOPEN_FAILED") && node.text().contains(EXTENSIONS[1]), "{}", node.describe());
    Ok(())
}

fn refused(outcome: &Outcome, path: &str) -> Result<()> {
    let said = String::from_utf8_lossy(&outcome.stderr).contains(&format!("refused to start {path}"));
    ensure!(outcome.status == 126 && said && outcome.stdout.is_empty(), "{}", outcome.describe());
    Ok(())
}

/// Without a policy everything loads, as it does natively.
fn open(interpreter: &str, probe: &str) -> Result<()> {
    let sides = sides()?;
    // The native side's root stays as it was: the image is made from it.
    let restore = "rm -r /probe /tmp/loads; cp -a /tmp/kept /probe; rm -r /tmp/kept";
    let script = format!("cp -a /probe /tmp/kept; {interpreter} {probe}; status=$?; {restore}; exit $status");
    let native = sides.native.run(&job(&["/bin/sh", "-c", &script]))?;
    ensure!(native.status == 0 && !native.stdout.is_empty(), "{}", native.describe());
    same(&native, &sides.subject.run(&job(&[interpreter, probe]))?)
}

const PYTHON_SEALED: &str = "\
a file of the image: as built
a written module: PermissionError: [Errno 13] sealed: a file to load as code is not part of the image as it was built: '/tmp/loads/written.py'
a written package: PermissionError: [Errno 13] sealed: a file to load as code is not part of the image as it was built: '/tmp/loads/package/__init__.py'
a changed module: PermissionError: [Errno 13] sealed: a file to load as code is not part of the image as it was built: '/probe/lib/changed.py'
bytecode without source: PermissionError: [Errno 13] sealed: a file to load as code is not part of the image as it was built: '/tmp/loads/bytecode/compiled.pyc'
forged bytecode of a file of the image: as built
an archive: ModuleNotFoundError: No module named 'zipped'
zipimport: ZipImportError: can't open Zip file: '/tmp/loads/archive.zip'
runpy: PermissionError: [Errno 13] sealed: a file to load as code is not part of the image as it was built: '/tmp/loads/script.py'
script
exec of what was read: None
-c: status 1, PermissionError: sealed: -c: code on the command line is not part of the image
standard input: status 1, PermissionError: sealed: <stdin>: code from standard input is not part of the image
- as a script: status 1, PermissionError: sealed: <stdin>: code from standard input is not part of the image
a written script: status 1, PermissionError: [Errno 13] sealed: a program is not part of the image as it was built: '/tmp/loads/script.py'
-m of a written module: status 1, PermissionError: [Errno 13] sealed: a file to load as code is not part of the image as it was built: '/tmp/loads/script.py'
PYTHONPATH: status 1, PermissionError: [Errno 13] sealed: a file to load as code is not part of the image as it was built: '/tmp/loads/written.py'
an archive as a script: status 1, PermissionError: [Errno 13] sealed: a program is not part of the image as it was built: '/tmp/loads/archive.zip'
";

const NODE_SEALED: &str = "\
a file of the image: as built
a written module: ERR_ACCESS_DENIED: /tmp/loads/written.js: not in the manifest: this process may load sealed code only
import() of a written module: ERR_ACCESS_DENIED: /tmp/loads/written.mjs: not in the manifest: this process may load sealed code only
a written package: ERR_ACCESS_DENIED: /tmp/loads/node_modules/package/main.js: not in the manifest: this process may load sealed code only
a changed module: ERR_ACCESS_DENIED: /probe/lib/changed.js: not in the manifest: this process may load sealed code only
JSON: data
eval of what was read: evaluated
-e: status 1, [Error: --eval: this process may load sealed code only] {
-p: status 1, [Error: --print: this process may load sealed code only] {
standard input: status 1, [Error: stdin: this process may load sealed code only] {
- as a script: status 1, [Error: stdin: this process may load sealed code only] {
a written script: status 1, Error: /tmp/loads/written.js: not in the manifest: this process may load sealed code only
-r: status 1, Error: /tmp/loads/written.js: not in the manifest: this process may load sealed code only
";

/// A tool is sealed, and so are its children.
fn sealed(tool: &str, probe: &str, expected: &str) -> Result<()> {
    let outcome = call(&[], tool, &[probe], "")?;
    ensure!(outcome.status == 0 && outcome.text() == expected, "expected\n{expected}\n{}", outcome.describe());
    Ok(())
}

/// The hook that follows the policy outlives every choice of allocators.
fn sealed_allocators() -> Result<()> {
    for variable in ["PYTHONMALLOC=debug", "PYTHONMALLOC=malloc", "PYTHONDEVMODE=1"] {
        let outcome = call(&["-e", variable], "report", &["--json"], RECORDS)?;
        ensure!(outcome.status == 0 && !outcome.stdout.is_empty(), "{variable}: {}", outcome.describe());
    }
    Ok(())
}

fn http(command: [&str; 4]) -> Result<()> {
    let sides = sides()?;
    let native = sides.native.run(&job(&command))?;
    ensure!(native.status == 0 && native.text().contains("after "), "{}", native.describe());
    same(&native, &sides.subject.run(&job(&command))?)
}

/// `megalith build` of the image with options, to `bundle`.
fn build(bundle: &Path, options: &[&str]) -> Result<Outcome> {
    let mut command = sh::command(paths::release("megalith"), ["build"]);
    command.arg(&sides()?.corpus.image).arg("-o").arg(bundle).args(options);
    subject::run(command, &Stdin::Empty, Duration::from_secs(600))
}

const USES: &str = "\
import os, sys, packaging.version
from packaging.version import Version
assert Version('1.10') > Version('1.9')
file = packaging.version.__file__
cached = packaging.version.__cached__
print(file, os.path.exists(cached), os.stat(file).st_mtime)
";

/// A Python and a Node package from lock files: where they lie, that they work, also sealed, with bytecode, and that the same lock gives the same bundle.
fn packages() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let locks = paths::root().join("tests/agents/locks");
    let (pip, npm) = (locks.join("requirements.txt"), locks.join("package.json"));
    let (pip, npm) = (pip.to_str().context("a path")?, npm.to_str().context("a path")?);
    let options = ["--pip", pip, "--npm", npm];
    let bundle = dir.path().join("b");
    let outcome = build(&bundle, &options)?;
    ensure!(outcome.status == 0, "{}", outcome.describe());
    let subject = Subject::megalith(&bundle);
    let python = subject.run(&job(&[PYTHON, "-c", USES]))?;
    let expected = "/usr/local/lib/python3.11/dist-packages/packaging/version.py True 315532800.0\n";
    ensure!(python.status == 0 && python.text() == expected, "{}", python.describe());
    // The bytecode is taken for the source's: nothing is compiled, so nothing is written.
    let verbose = subject.run(&job(&[PYTHON, "-v", "-c", "import packaging.version"]))?;
    let said = String::from_utf8_lossy(&verbose.stderr).into_owned();
    ensure!(
        said.contains(
            "code object from '/usr/local/lib/python3.11/dist-packages/packaging/__pycache__/version.cpython-311.pyc'"
        ),
        "{said}"
    );
    let uses = "console.log(require('semver').gt('1.10.0', '1.9.0'), require.resolve('semver'))";
    let mut node = job(&[NODE, "-e", uses]);
    node.environment.push("NODE_DEBUG_NATIVE=COMPILE_CACHE".into());
    let node = subject.run(&node)?;
    ensure!(node.status == 0 && node.text() == "true /node_modules/semver/index.js\n", "{}", node.describe());
    let files = loaded(&node, "/node_modules/semver/");
    ensure!(files.len() > 10 && files.iter().all(|(_, taken)| *taken), "{}", node.describe());
    // A command of a package is a program of the image.
    let command = subject.run(&job(&["/node_modules/.bin/semver", "-r", ">1", "0.9.0", "2.0.0"]))?;
    ensure!(command.status == 0 && command.text() == "2.0.0\n", "{}", command.describe());
    let again = dir.path().join("again");
    let outcome = build(&again, &options)?;
    ensure!(outcome.status == 0, "{}", outcome.describe());
    let hash = |bundle: &Path| sh::sha256_file(&bundle.join("container.wasm"));
    ensure!(hash(&bundle)? == hash(&again)?, "another module");
    Ok(())
}

/// Imports a module of the image that came without bytecode.
const BARE: &str =
    "import sys; sys.path.insert(0, '/probe/site-packages'); import bare.module; print(bare.module.VALUE)";

/// Modules of the image that have no bytecode get some, which is taken for theirs as long as they are as they were; what does not compile does not keep the image from being built.
fn python_bytecode() -> Result<()> {
    let subject = &sides()?.subject;
    let verbose = subject.run(&job(&[PYTHON, "-v", "-c", BARE]))?;
    let said = String::from_utf8_lossy(&verbose.stderr).into_owned();
    let from = "code object from '/probe/site-packages/bare/__pycache__/module.cpython-311.pyc'";
    ensure!(verbose.text() == "1\n" && said.contains(from) && !said.contains("wrote "), "{said}");
    let script = "echo 'VALUE = 22' > /probe/site-packages/bare/module.py; exec python3 -v -c \"$1\"";
    let changed = subject.run(&job(&["/bin/busybox", "sh", "-c", script, "sh", BARE]))?;
    let said = String::from_utf8_lossy(&changed.stderr).into_owned();
    ensure!(changed.text() == "22\n" && said.contains("bytecode is stale for 'bare.module'"), "{said}");
    let broken = BARE.replace("bare.module;", "bare.old;");
    let broken = subject.run(&job(&[PYTHON, "-c", &broken]))?;
    let said = String::from_utf8_lossy(&broken.stderr).into_owned();
    ensure!(broken.status == 1 && said.contains("SyntaxError: Missing parentheses"), "{said}");
    Ok(())
}

const MODULES: &str = "/probe/modules/main.js";

/// What a program sees of its modules is what it sees natively, though they come as bytecode.
fn node_modules() -> Result<()> {
    let sides = sides()?;
    for (command, last) in [(&[NODE, MODULES][..], "after a mark"), (&["/probe/bare/run.js"], ".mjs")] {
        let (native, ours) = (sides.native.run(&job(command))?, sides.subject.run(&job(command))?);
        ensure!(native.status == 0 && native.text().contains(last), "{}", native.describe());
        let equal = native.status == ours.status && native.text() == ours.text();
        ensure!(equal, "native:\n{}\n\nhere:\n{}", native.describe(), ours.describe());
    }
    Ok(())
}

/// Where the modules of a run came from: `(file, whether from bytecode)` for each below `dir`.
fn loaded(outcome: &Outcome, dir: &str) -> Vec<(String, bool)> {
    let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
    let lines = said.lines().filter_map(|l| l.strip_prefix("[compile cache] ")?.rsplit_once(": "));
    let files = lines.filter_map(|(file, what)| {
        let file = file.strip_prefix("file://").unwrap_or(file);
        Some((file.strip_prefix(dir)?.to_owned(), what == "taken"))
    });
    files.collect()
}

/// Modules come from bytecode as long as they are as they were, and so does everything that can be seen of them; what does not compile, and a module whose imports
/// have attributes, does not. Damaged bytecode is none, and `sealed` reads none that is not the image's.
fn node_bytecode() -> Result<()> {
    let sides = sides()?;
    let watched = |command: &[&str]| {
        let mut job = job(command);
        job.environment.push("NODE_DEBUG_NATIVE=COMPILE_CACHE".into());
        sides.subject.run(&job)
    };
    let image = watched(&[NODE, MODULES, "columns"])?;
    let files = [
        ("main.js", true),
        ("forms.js", true),
        ("evals.js", true),
        ("loose.cjs", true),
        ("broken.js", false),
        ("broken.mjs", false),
        ("esm/index.js", false),
        ("esm/live.js", true),
        ("bom.mjs", true),
        ("bom.js", true),
    ];
    let mut found = loaded(&image, "/probe/modules/");
    found.sort();
    let mut expected: Vec<_> = files.iter().map(|(file, taken)| ((*file).to_owned(), *taken)).collect();
    expected.sort();
    ensure!(image.status == 0 && found == expected, "{found:?}\n{}", image.describe());

    let bare = watched(&["/probe/bare/run.js"])?;
    let mut found = loaded(&bare, "/probe/bare/");
    found.sort();
    let expected = ["gr%C3%B6%C3%9Fe%201%25.mjs", "node_modules/y.js", "run.js"].map(|file| (file.to_owned(), true));
    ensure!(bare.status == 0 && found == expected, "{}", bare.describe());

    // The same files elsewhere are compiled when they are loaded.
    let script = "cp -R /probe/modules /tmp/modules && exec node /tmp/modules/main.js columns";
    let elsewhere = watched(&["/bin/sh", "-c", script])?;
    let found = loaded(&elsewhere, "/tmp/modules/");
    ensure!(found.len() == files.len() && found.iter().all(|(_, taken)| !taken), "{}", elsewhere.describe());
    let text = elsewhere.text().replace("/tmp/modules/", "/probe/modules/");
    ensure!(elsewhere.status == 0 && text == image.text(), "{}\n\n{}", elsewhere.describe(), image.describe());

    let changed = "echo 'export const count = 5, bump = 0;' > /probe/modules/esm/live.js; exec node \"$0\"";
    let changed = watched(&["/bin/sh", "-c", changed, "/probe/modules/esm/live.js"])?;
    ensure!(loaded(&changed, "/probe/modules/") == [("esm/live.js".into(), false)], "{}", changed.describe());

    // `forms.js` comes from what is left of the bytecode only while that is what was made of it.
    let cut = "for file in $0/*; do truncate -s 3000 $file; done; exec node $1";
    let zero = "for file in $0/*; do dd if=/dev/zero of=$file bs=1000 seek=2 count=5 conv=notrunc; done; exec node $1";
    for damage in [cut, zero] {
        let damaged = watched(&["/bin/busybox", "sh", "-c", damage, BYTECODE, MODULES])?;
        let whole = damaged.status == 0 && damaged.text().ends_with("after a mark after a mark\n");
        let found = loaded(&damaged, "/probe/modules/");
        ensure!(whole && found.contains(&("forms.js".into(), false)), "{}", damaged.describe());
    }
    let sealed = |args: &[&str], taken: bool| -> Result<()> {
        let args = [&["/probe/modules/touches.js"], args].concat();
        let outcome = call(&["-e", "NODE_DEBUG_NATIVE=COMPILE_CACHE"], "node", &args, "")?;
        let expected = [("touches.js".to_owned(), true), ("loose.cjs".to_owned(), taken)];
        let same =
            outcome.text() == "[ 'self', 'args', 'parent' ]\n" && loaded(&outcome, "/probe/modules/") == expected;
        ensure!(same, "{}", outcome.describe());
        Ok(())
    };
    sealed(&[], true)?;
    sealed(&[BYTECODE], false)
}

/// Where Node's bytecode lies.
const BYTECODE: &str = "/usr/share/megalith/node";

/// One line each: no lock, no hashes, another hash, no registry, a file that is there already.
fn packages_without_locks() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let locks = paths::root().join("tests/agents/locks");
    let write = |name: &str, text: &str| -> Result<String> {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().context("a directory")?)?;
        fs::write(&path, text)?;
        Ok(path.to_str().context("a path")?.to_owned())
    };
    let requirements = fs::read_to_string(locks.join("requirements.txt"))?;
    let (package, lock) =
        (fs::read_to_string(locks.join("package.json"))?, fs::read_to_string(locks.join("package-lock.json"))?);
    let fails = |options: &[&str], why: &str| -> Result<()> {
        let outcome = build(&dir.path().join("b"), options)?;
        let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
        let errors: Vec<_> = said.lines().filter(|l| l.starts_with("megalith: ")).collect();
        ensure!(outcome.status == 1 && errors.len() == 1, "{}", outcome.describe());
        ensure!(errors.iter().all(|l| l.contains(why)), "not '{why}': {said}");
        ensure!(!dir.path().join("b").exists(), "a bundle was left");
        Ok(())
    };
    fails(&["--pip", &write("none.txt", "packaging==26.3\n")?], "is not locked")?;
    fails(&["--pip", &write("option.txt", "--pre\n")?], "options have no place here")?;
    let digit = |text: &str, prefix: &str| {
        let at = text.find(prefix).map(|at| at + prefix.len()).unwrap_or_default();
        let other = if text.get(at..=at) == Some("0") { "1" } else { "0" };
        format!("{}{other}{}", text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default())
    };
    fails(&["--pip", &write("hash.txt", &digit(&requirements, "sha256:"))?], "HASHES")?;
    let alone = write("alone/package.json", &package)?;
    fails(&["--npm", &alone], "no package-lock.json beside it")?;
    write("other/package-lock.json", &digit(&lock, "sha512-"))?;
    fails(&["--npm", &write("other/package.json", &package)?], "EINTEGRITY")?;
    write("bare/package-lock.json", &lock.replace("\"integrity\"", "\"integrities\""))?;
    fails(&["--npm", &write("bare/package.json", &package)?], "no hash of 'node_modules/semver'")
}

const SOON: Duration = Duration::from_secs(20);

/// Talks with an interpreter on a terminal, first with Debian's, then with ours.
fn prompt(interpreter: &str, dialogue: fn(&mut Terminal) -> Result<()>) -> Result<()> {
    let sides = sides()?;
    let mut job = job(&[interpreter]);
    job.environment.extend(["TERM=vt100".to_owned(), "HOME=/tmp".to_owned()]);
    for (name, side) in [("native", &sides.native), ("here", &sides.subject)] {
        let mut terminal = Terminal::start(&side.command(&job, true))?;
        dialogue(&mut terminal).context(name)?;
    }
    Ok(())
}

/// Types lines and waits for what each brings: a part of the output that is not in the line.
fn type_lines(t: &mut Terminal, prompt: &str, lines: &[(&str, &str)]) -> Result<()> {
    t.expect(prompt, SOON)?;
    for (line, output) in lines {
        t.send(line)?;
        t.expect(output, SOON).with_context(|| format!("after {line:?}"))?;
        t.expect(prompt, SOON).with_context(|| format!("after {line:?}"))?;
    }
    Ok(())
}

fn python_prompt(t: &mut Terminal) -> Result<()> {
    t.expect("Python 3.11", SOON)?;
    let lines =
        [("6*7\r", "42"), ("import sys, os; sys.stdin.isatty(), sys.argv\r", "(True, [''])"), ("def f(x):\r", "...")];
    let more = [
        ("f('a' * 3)\r", "'AAA'"),
        ("_ + 'b'\r", "'AAAb'"),
        ("1/0\r", "ZeroDivisionError: division by zero"),
        ("os.getpid() > 0 and 'ali' + 've'\r", "'alive'"),
        ("'x\x7fab\x1b[D-\x05' + 'c'\r", "'a-bc'"),
        ("\x1b[A\r", "'a-bc'"),
        ("sys.ps1\r", "'>>> '"),
    ];
    type_lines(t, ">>> ", &lines[..2])?;
    t.send(lines[2].0)?;
    t.expect(lines[2].1, SOON)?;
    t.send("  return x.upper()\r")?;
    t.expect("...", SOON)?;
    t.send("\r")?;
    // Ctrl-C stops a program that runs, and takes back a line that is being typed.
    for line in ["while True: pass\r", "'typed', 'nev"] {
        t.send(line)?;
        t.expect(line.trim_end(), SOON)?;
        std::thread::sleep(Duration::from_millis(500));
        t.send("\x03")?;
        t.expect("KeyboardInterrupt", SOON)?;
        t.expect(">>> ", SOON)?;
    }
    // Nothing is shown in front of the prompt that this is the answer to.
    t.send("\r")?;
    type_lines(t, ">>> ", &more)?;
    t.send("sys.exit(3)\r")?;
    let status = t.wait(SOON)?;
    ensure!(status == 3, "exit status {status}");
    Ok(())
}

fn node_prompt(t: &mut Terminal) -> Result<()> {
    t.expect("Node.js v18", SOON)?;
    let lines = [
        ("6*7\r", "42"),
        ("const list = [1, {b: 'c' + 'd'}]\r", "undefined"),
        ("list[1]\r", "cd"),
        ("process.stdin.isTTY && 'term' + 'inal'\r", "terminal"),
        ("null.x\r", "Cannot read properties of null"),
        ("await Promise.resolve('lat' + 'er')\r", "later"),
        ("require('path').join('a', 'b')\r", "a/b"),
    ];
    type_lines(t, "> ", &lines)?;
    // Ctrl-C stops what runs, and what is waited for.
    for line in ["while (true);\r", "await new Promise((r) => setTimeout(r, 100000))\r"] {
        t.send(line)?;
        t.expect(line.trim_end(), SOON)?;
        std::thread::sleep(Duration::from_millis(500));
        t.send("\x03")?;
        t.expect("Script execution was interrupted", SOON)?;
    }
    type_lines(t, "> ", &[("5*5\r", "25")])?;
    t.send("process.exit(4)\r")?;
    let status = t.wait(SOON)?;
    ensure!(status == 4, "exit status {status}");
    Ok(())
}
