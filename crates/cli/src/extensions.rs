//! Native extensions of Python packages: built from sources, and linked into the Python polyfill.
//!
//! A static program loads no shared objects, so an extension has to be in the interpreter's own program. The sdist of the package is built in a
//! container, under the polyfill, with a recorder in the place of the compiler (`extensions/build_package.py`); nothing of a package runs outside. What
//! was recorded is compiled here, by the C compiler of this machine with the options of the polyfill, and linked with what `cargo xtask build` left
//! beside the program for that (its kit). Builds that try small programs on the compiler first (numpy's) have them compiled in the same way, one by one.
//!
//! What comes out of the container is hostile: paths must lie in the unpacked sdist, options be known ones, and everything that the compiler or the
//! assembler read (`#include`, `.incbin`) must be of the sdist, the kit, or the compiler's own directories. Each extension becomes one relocatable
//! object whose only global symbol is its init function, under a name of ours, so that extensions neither see nor replace each other's functions or
//! the interpreter's, as shared objects do not.

use crate::cache::Cache;
use crate::packages::{self, Requirement, Tree, one_line, run_pip};
use crate::polyfill;
use crate::progress::Progress;
use crate::sandbox::Sandbox;
use anyhow::{Context, Error, Result, anyhow, bail};
use megalith_manifest::FileHash;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Changes when this module makes something else of the same input.
const REVISION: &[u8] = b"3";

const BUILD_PACKAGE: &str = include_str!("extensions/build_package.py");
const FETCH_SDIST: &str = include_str!("extensions/fetch_sdist.py");
const LINK: &str = include_str!("extensions/link.c");

/// What builds need, as requirements with hashes: sets, in the order in which they are tried. Cython before version 3 is what older packages are
/// written for; the last is what numpy's are, as long as they use setuptools.
const TOOLS: [&str; 3] = [
    include_str!("extensions/tools-1.txt"),
    include_str!("extensions/tools-2.txt"),
    include_str!("extensions/tools-3.txt"),
];

/// How long the build of a package may take, but for the compiler, in a container.
const TIME: Duration = Duration::from_secs(1200);

/// CPU seconds that the compiler may take for a file, and for one that a build asks about.
const COMPILE: u32 = 900;
const QUESTION: u32 = 60;

/// Most units in a question, and most bytes in its answer.
const MAX_UNITS: usize = 64;
const MAX_OBJECT: u64 = 16 << 20;

/// Libraries that come with the C compiler.
const OF_THE_COMPILER: &[&str] = &["c", "dl", "m", "pthread", "rt", "util"];

/// Variables that add directories or options to the compiler's.
const VARIABLES: [&str; 6] =
    ["CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "COMPILER_PATH", "GCC_EXEC_PREFIX", "DEPENDENCIES_OUTPUT"];

/// A linker only links: it does not compile what says that it is to be compiled.
const LINK_OPTIONS: [&str; 2] = ["-fno-lto", "-fno-use-linker-plugin"];

/// Suffixes of extension modules, as the polyfill looks for them: those of the version, of the stable interface, of any.
fn suffixes(version: &str) -> [String; 3] {
    let tag = version.replace('.', "");
    [format!(".cpython-{tag}-x86_64-linux-gnu.so"), ".abi3.so".into(), ".so".into()]
}

/// Path without the suffix, and the name of the module, when the polyfill of that version looks for files of that name.
pub fn module<'a>(path: &'a str, version: &str) -> Option<(&'a str, &'a str)> {
    let stem = suffixes(version).iter().find_map(|suffix| path.strip_suffix(suffix.as_str()))?;
    let name = stem.rsplit('/').next().unwrap_or(stem);
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!name.is_empty() && name.chars().all(plain)).then_some((stem, name))
}

/// An extension, compiled.
pub struct Object {
    /// Its file in the image, from the root, without the first slash.
    pub path: String,
    /// The relocatable object.
    pub bytes: Vec<u8>,
}

/// What came of a package's sources: what it installs, and how its extensions are compiled.
#[derive(Serialize, Deserialize)]
pub struct Built {
    /// What goes into the directory of packages. In the place of a shared object is a text file.
    pub site: Tree,
    source: Tree,
    /// As `build_package.py` describes it.
    extensions: Vec<Planned>,
    /// The sources in a directory, and their hash.
    #[serde(skip)]
    unpacked: OnceCell<(TempDir, FileHash)>,
}

#[derive(Serialize, Deserialize)]
struct Planned {
    file: String,
    units: Vec<Unit>,
    libraries: Vec<String>,
    options: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Unit {
    source: String,
    include: Vec<String>,
    options: Vec<String>,
}

/// What `plan.json` holds.
#[derive(Deserialize)]
struct Plan {
    #[serde(default)]
    extensions: Vec<Planned>,
    error: Option<String>,
}

/// What a build asks the compiler, as `build_package.py` describes it.
#[derive(Deserialize)]
struct Question {
    /// Names the question in its reply.
    name: String,
    files: BTreeMap<String, String>,
    units: Vec<Unit>,
    libraries: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    /// In hexadecimal digits.
    Object(String),
    Error(String),
}

#[derive(Serialize)]
struct Reply {
    /// The question's name, if it has one that can be read.
    name: String,
    #[serde(flatten)]
    answer: Answer,
}

impl Built {
    fn unpacked(&self) -> Result<&(TempDir, FileHash)> {
        if let Some(unpacked) = self.unpacked.get() {
            return Ok(unpacked);
        }
        let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
        self.source.write(dir.path())?;
        let hash = FileHash::of(&postcard::to_allocvec(&self.source)?);
        Ok(self.unpacked.get_or_init(|| (dir, hash)))
    }

    /// Its extensions, by file below the directory of packages.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.extensions.iter().map(|e| e.file.as_str())
    }
}

/// Fetches the sdist of a package with the user's pip. Without hashes in the requirement any file of that name and version is taken.
///
/// # Errors
/// What pip said, in one line.
pub fn fetch(requirement: &Requirement, cache: &Cache) -> Result<Vec<u8>> {
    let line = requirement.line();
    let sdist = cache.get("packages", &[REVISION, b"sdist", line.as_bytes()], || {
        let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
        let file = dir.path().join("sdist");
        fs::write(dir.path().join("requirements.txt"), &line)?;
        let mut pip = Command::new("python3");
        pip.args(["-c", FETCH_SDIST]).arg(&file);
        pip.args(["download", "--quiet", "--no-deps", "--no-binary", ":all:", "--no-input", "--retries", "1"]);
        pip.args(["--timeout", "20", "--disable-pip-version-check"]);
        if line.contains("--hash=") {
            pip.arg("--require-hashes");
        }
        pip.args(["-d", ".", "-r", "requirements.txt"]);
        // What pip unpacks and leaves behind goes with the directory.
        run_pip(pip.current_dir(dir.path()).env("TMPDIR", dir.path()))?;
        fs::read(&file).context("pip fetched nothing")
    })?;
    Ok(sdist)
}

/// What the results of this module depend on, beside what they are made of and the compiler.
pub fn revision() -> FileHash {
    FileHash::of(&[REVISION, TOOLS.concat().as_bytes(), BUILD_PACKAGE.as_bytes()].concat())
}

/// Builds a package in a container. The compiler, if there is one, answers its questions; what it compiles is compiled later.
///
/// # Errors
/// Why its build does not work, in one line.
pub fn build(sdist: &[u8], sandbox: &Sandbox<'_>, cache: &Cache) -> Result<Built> {
    let hash = FileHash::of(sdist);
    let (polyfill, image) = (&sandbox.polyfill.hash.0, &sandbox.image_id.0);
    let parts = [&revision().0, &b"build"[..], &hash.0, polyfill, image, sandbox.compiler()];
    let built = cache.get("packages", &parts, || {
        let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
        let path = |name: &str| dir.path().join(name);
        fs::write(path("sdist"), sdist)?;
        fs::write(path("build_package.py"), BUILD_PACKAGE)?;
        fs::create_dir(path("tools"))?;
        for (n, list) in (1..).zip(TOOLS) {
            tools(list, sandbox, cache)?.write(&path("tools").join(n.to_string()))?;
        }
        let python = ["-I", "-S", "-B", "/megalith/build_package.py"];
        let end = Instant::now() + TIME;
        let timeout = TIME.as_secs().to_string();
        let answer = |question: &[u8]| answer(sandbox, question, end);
        let out = sandbox.converse(dir.path(), "/megalith", &["--timeout", &timeout], &python, answer)?;
        if !out.status.success() {
            bail!("its build failed: {}: {}", out.status, one_line(&out.stderr));
        }
        // Only what is a regular file leaves the container.
        let read = |name: &str| packages::read_tree(&path(name), &[]).map(Tree::without_links);
        let file = path("plan.json");
        let plan = fs::symlink_metadata(&file).is_ok_and(|m| m.is_file()).then(|| fs::read(&file));
        let plan: Plan =
            serde_json::from_slice(&plan.context("its build left no plan")??).context("its build's plan")?;
        if let Some(why) = plan.error {
            bail!("{}", one_line(why.as_bytes()));
        }
        let built = Built {
            site: read("site")?,
            source: read("source")?,
            extensions: plan.extensions,
            unpacked: OnceCell::new(),
        };
        Ok(postcard::to_allocvec(&built)?)
    })?;
    postcard::from_bytes(&built).context("the cache has something else")
}

/// One set of what builds need.
fn tools(list: &str, sandbox: &Sandbox<'_>, cache: &Cache) -> Result<Tree> {
    let version = &sandbox.polyfill.interpreter.version;
    let tree = cache.get("packages", &[REVISION, b"tools", version.as_bytes(), list.as_bytes()], || {
        let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
        let (to, requirements) = (dir.path().join("tools"), dir.path().join("requirements.txt"));
        fs::write(&requirements, list)?;
        run_pip(&mut packages::install(&requirements, &to, version, false))
            .context("cannot install setuptools and Cython")?;
        Ok(postcard::to_allocvec(&packages::read_tree(&to, &[])?)?)
    })?;
    postcard::from_bytes(&tree).context("the cache has something else")
}

/// What the polyfill is linked with anew, and the compiler that does it.
pub struct Kit {
    dir: PathBuf,
    cflags: Vec<String>,
    ldflags: Vec<String>,
    libs: Vec<String>,
    /// What the compiler says of itself.
    compiler: Vec<u8>,
    /// Where it looks for headers.
    headers: Vec<PathBuf>,
}

impl Kit {
    /// Opens the kit of a polyfill.
    ///
    /// # Errors
    /// One line: there is none, or no C compiler.
    pub fn open(interpreter: &polyfill::Interpreter) -> Result<Kit> {
        let dir = polyfill::kit(interpreter).context("neither HOME nor XDG_CACHE_HOME is set")?;
        let words = |name: &str| -> Result<Vec<String>> {
            let text = fs::read_to_string(dir.join(name)).with_context(|| {
                format!("there is nothing to link the polyfill with in {}; 'cargo xtask build' makes it", dir.display())
            })?;
            Ok(text.split_whitespace().map(str::to_owned).collect())
        };
        let (cflags, ldflags, libs) = (words("cflags")?, words("ldflags")?, words("libs")?);
        let gcc = |args: &[&str]| {
            let out = Command::new("gcc").args(args).env("LC_ALL", "C").stdin(Stdio::null()).output();
            let out = out.ok().filter(|out| out.status.success());
            out.context("there is no C compiler on this machine (gcc, with ld and objcopy)")
        };
        // With the parts that other languages need, whose absence builds are told of.
        let parts = ["-print-prog-name=cc1plus", "-print-file-name=libstdc++.a"];
        let compiler = [gcc(&["--version"])?.stdout, gcc(&parts[..1])?.stdout, gcc(&parts[1..])?.stdout].concat();
        // There may be none for C++; then its directories are those for C.
        let said = gcc(&["-E", "-v", "-xc++", "/dev/null"]).or_else(|_| gcc(&["-E", "-v", "-xc", "/dev/null"]))?.stderr;
        let said = String::from_utf8_lossy(&said).into_owned();
        let listed = said.lines().skip_while(|l| !l.starts_with("#include <")).filter(|l| l.starts_with(' '));
        let headers = listed.filter_map(|l| fs::canonicalize(l.trim()).ok()).collect();
        Ok(Kit { dir, cflags, ldflags, libs, compiler, headers })
    }

    /// What the compiler says of itself.
    pub fn compiler(&self) -> &[u8] {
        &self.compiler
    }

    /// Compiles one extension of a package. `path` is its file in the image, `file` the same below the directory of packages.
    ///
    /// # Errors
    /// Why it cannot be built, in one line.
    pub fn compile(
        &self,
        built: &Built,
        file: &str,
        path: &str,
        polyfill: &polyfill::Chosen,
        cache: &Cache,
        progress: Progress,
    ) -> Result<Object> {
        let planned = built.extensions.iter().find(|e| e.file == file);
        let planned = planned.with_context(|| format!("its sources do not make {file}"))?;
        let (_, name) = module(path, &polyfill.interpreter.version).context("it is no extension module")?;
        let libraries = self.libraries(planned)?;
        let mut library_bytes = Vec::new();
        for library in &libraries {
            library_bytes.extend(FileHash::of(&fs::read(library)?).0);
        }
        let (source, hash) = built.unpacked()?;
        let plan = postcard::to_allocvec(planned)?;
        let polyfill = &polyfill.hash.0;
        let parts = [REVISION, b"extension", polyfill, path.as_bytes(), &hash.0, &plan, &self.compiler, &library_bytes];
        let object = cache.get("packages", &parts, || {
            let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
            progress.note(&format!("compiling /{path}"));
            let made = self.make_object(planned, source.path(), path, name, &libraries, dir.path());
            // Reasons become part of a bundle: names that differ from time to time have no place in them.
            made.map_err(|e| anyhow!(without(without(format!("{e:#}"), &dir), source)))
        })?;
        Ok(Object { path: path.into(), bytes: object })
    }

    /// The same, of the sources in `tree`, in `dir`. Returns the relocatable object.
    fn make_object(
        &self,
        planned: &Planned,
        tree: &Path,
        path: &str,
        name: &str,
        libraries: &[PathBuf],
        dir: &Path,
    ) -> Result<Vec<u8>> {
        let symbol = init_symbol(path);
        let units = planned.units.par_iter().enumerate();
        let compiled = units.map(|(n, unit)| self.compile_unit(unit, tree, dir, &format!("unit{n}.o"), COMPILE));
        // Of several errors the first, whichever came first.
        let objects = compiled.collect::<Vec<_>>().into_iter().collect::<Result<Vec<_>>>()?;
        if objects.is_empty() {
            bail!("it has no sources");
        }
        let object = dir.join("extension.o");
        tool(Command::new("ld").args(["-r", "-o"]).arg(&object).args(&objects).args(libraries))?;
        let init = format!("PyInit_{name}");
        let rename = format!("--redefine-sym={init}={symbol}");
        // Constructors run at its import, by the name of their section, not in every Python process.
        let section = format!("--rename-section=.init_array={}", constructors(path));
        tool(Command::new("objcopy").args(["--strip-debug", &rename, &section]).arg(&object))?;
        tool(Command::new("objcopy").arg(format!("--keep-global-symbol={symbol}")).arg(&object))?;
        let has = |text: &str, word: &str| text.split_whitespace().any(|w| w == word);
        let symbols = tool(Command::new("nm").args(["-g", "--defined-only"]).arg(&object))?;
        if !has(&symbols, &symbol) {
            bail!("it has no function {init}");
        }
        let sections = tool(Command::new("objdump").args(["-h"]).arg(&object))?;
        let others = [".init_array", ".preinit_array", ".ctors", ".init", ".fini_array", ".dtors", ".fini"];
        if sections.contains(".gnu.lto_") {
            bail!("it has code for the linker to compile");
        }
        let other = |w: &str| others.iter().any(|c| w == *c || w.starts_with(&format!("{c}.")));
        if sections.split_whitespace().any(other) {
            bail!("it has constructors of an order, or destructors, which would run in every Python process");
        }
        let object = Object { path: path.into(), bytes: fs::read(&object)? };
        // Whether all that it needs is there.
        self.link_objects(&[&object], dir)?;
        Ok(object.bytes)
    }

    /// Static libraries that an extension is linked with, beside those of the compiler.
    fn libraries(&self, planned: &Planned) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        let of_options = planned.options.iter().filter_map(|o| o.strip_prefix("-l"));
        for name in planned.libraries.iter().map(String::as_str).chain(of_options) {
            found.extend(library(name)?);
        }
        let ignored = |o: &str| ["-pthread", "-s", "-shared", "-O1", "-O2", "-O3"].contains(&o) || o.starts_with("-l");
        match planned.options.iter().find(|o| !ignored(o)) {
            Some(option) => bail!("it asks for the linker's option '{}'", one_line(option.as_bytes())),
            None => Ok(found),
        }
    }

    /// Compiles what a build asks about, in `dir`.
    fn compile_question(&self, question: &Question, dir: &Path, end: Instant) -> Result<Answer> {
        let tree = dir.join("source");
        if question.units.len() > MAX_UNITS {
            bail!("too much is asked at once");
        }
        for (path, text) in &question.files {
            let path = inside(&tree, path)?;
            fs::create_dir_all(path.parent().unwrap_or(&tree))?;
            // Bytes, as Latin-1.
            let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
            fs::write(path, bytes.context("a question of its build is no text")?)?;
        }
        let mut objects = Vec::new();
        for (n, unit) in question.units.iter().enumerate() {
            if Instant::now() > end {
                bail!("its build asks for too long");
            }
            objects.push(self.compile_unit(unit, &tree, dir, &format!("unit{n}.o"), QUESTION)?);
        }
        let Some(libraries) = &question.libraries else {
            let object = objects.first().context("a question of its build about nothing")?;
            if fs::metadata(object)?.len() > MAX_OBJECT {
                bail!("what is asked becomes too large");
            }
            let mut digits = String::new();
            for byte in fs::read(object)? {
                write!(digits, "{byte:02x}")?;
            }
            return Ok(Answer::Object(digits));
        };
        let mut gcc = limited(QUESTION);
        gcc.args(LINK_OPTIONS).args(["-static", "-no-pie", "-o"]).arg(dir.join("program")).args(&objects);
        for name in libraries {
            match library(name)? {
                Some(path) => gcc.arg(path),
                None => gcc.arg(format!("-l{name}")),
            };
        }
        tool(&mut gcc)?;
        Ok(Answer::Object(String::new()))
    }

    /// Compiles one source, of `tree` in `dir`, which stands for what the build wrote.
    fn compile_unit(&self, unit: &Unit, tree: &Path, dir: &Path, name: &str, seconds: u32) -> Result<PathBuf> {
        let source = inside(tree, &unit.source)?;
        if !source.extension().is_some_and(|e| ["c", "cc", "cpp", "cxx"].iter().any(|known| e == *known)) {
            bail!("{} is neither C nor C++, which alone are compiled", one_line(unit.source.as_bytes()));
        }
        let (object, temporary) = (dir.join(name), dir.join("tmp"));
        fs::create_dir_all(&temporary)?;
        let mut arguments: Vec<OsString> = self.cflags.iter().map(OsString::from).collect();
        // Where the sources lie must not show (__FILE__).
        arguments.push(format!("-ffile-prefix-map={}=.", tree.display()).into());
        for option in &unit.options {
            match option_of(option) {
                Some(true) => arguments.push(option.into()),
                Some(false) => {}
                None => bail!("it asks for the compiler's option '{}'", one_line(option.as_bytes())),
            }
        }
        for path in &unit.include {
            arguments.extend(["-I".into(), inside(tree, path)?.into()]);
        }
        arguments.extend(["-I".into(), self.dir.join("include").into()]);
        // Relative names for __FILE__, so that the same sources make the same code.
        arguments.push(Path::new(".").join(source.strip_prefix(tree).unwrap_or(&source)).into());
        let gcc = || {
            let mut gcc = limited(seconds);
            gcc.args(["-w", "-fno-lto", "-fno-diagnostics-show-caret"]).args(&arguments);
            gcc.current_dir(tree).env("TMPDIR", &temporary);
            for variable in VARIABLES {
                gcc.env_remove(variable);
            }
            gcc
        };
        let [preprocessor, assembler] = ["preprocessor", "assembler"].map(|by| dir.join(format!("{name}.{by}")));
        let mut assembler_option = OsStr::new("-Wa,--MD,").to_owned();
        assembler_option.push(&assembler);
        let said =
            tool(gcc().args(["-c", "-MD", "-MF"]).arg(&preprocessor).arg(assembler_option).arg("-o").arg(&object));
        if said.is_err() {
            // Errors quote what was read, and that is only listed when there is none: what is told is what the compiler says of sources that read nothing else,
            // or that one file alone is missing.
            let missing = |e: &str| e.ends_with(": No such file or directory") && !e.contains("; ");
            let preprocessed = tool(gcc().args(["-M", "-MF"]).arg(&preprocessor));
            match preprocessed {
                Ok(_) => self.check_read(&[preprocessor], tree, &temporary)?,
                Err(e) if missing(&e.to_string()) => return Err(e),
                Err(_) => bail!("the compiler does not take its sources"),
            }
            tool(gcc().arg("-fsyntax-only"))?;
            bail!("the compiler, or the assembler, does not take its sources");
        }
        self.check_read(&[preprocessor, assembler], tree, &temporary)?;
        Ok(object)
    }

    /// Checks lists of what the compiler has read for files of this machine.
    fn check_read(&self, lists: &[PathBuf], tree: &Path, temporary: &Path) -> Result<()> {
        let mut allowed = vec![tree.into(), temporary.into(), self.dir.join("include")];
        for path in &mut allowed {
            *path = fs::canonicalize(&path)?;
        }
        allowed.extend(self.headers.iter().cloned());
        for list in lists {
            let list = fs::read(list).context("the compiler does not say what it read")?;
            for path in dependencies(&list) {
                let path = tree.join(OsStr::from_bytes(&path));
                // Temporary files of the compiler are gone by now; their names lie in their directory.
                let real = fs::canonicalize(&path).unwrap_or(path);
                let plain = real.components().all(|c| c != Component::ParentDir);
                if !plain || !allowed.iter().any(|dir| real.starts_with(dir)) {
                    bail!("its sources read {}, a file of this machine", one_line(real.as_os_str().as_bytes()));
                }
            }
        }
        Ok(())
    }

    /// Links the polyfill with extensions in it. Returns its ELF file.
    ///
    /// # Errors
    /// What the linker said, in one line.
    pub fn link(&self, objects: &[Object], polyfill: &polyfill::Chosen, cache: &Cache) -> Result<Vec<u8>> {
        let hashes: Vec<_> = objects.iter().map(|o| FileHash::of(&o.bytes)).collect();
        let mut parts: Vec<&[u8]> = vec![REVISION, b"polyfill", &polyfill.hash.0, &self.compiler, LINK.as_bytes()];
        parts.extend(objects.iter().zip(&hashes).flat_map(|(o, hash)| [o.path.as_bytes(), &hash.0]));
        let linked = cache.get("packages", &parts, || {
            let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
            let program = self.link_objects(&objects.iter().collect::<Vec<_>>(), dir.path())?;
            tool(Command::new("strip").arg(&program))?;
            Ok(fs::read(&program)?)
        })?;
        Ok(linked)
    }

    fn link_objects(&self, objects: &[&Object], dir: &Path) -> Result<PathBuf> {
        let mut table = LINK.to_owned();
        let mut entries = String::new();
        let mut files = Vec::new();
        for (n, object) in objects.iter().enumerate() {
            let stem = suffix_stem(&object.path).context("an extension's path has no suffix")?;
            if !stem.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\?".contains(&b)) {
                bail!("an extension has a path of strange characters");
            }
            let (symbol, name) = (init_symbol(&object.path), stem.rsplit('/').next().unwrap_or_default());
            let section = constructors(&object.path);
            table += &format!("EXTENSION({symbol}, {section})\n");
            entries += &format!("    {{\"{stem}\", \"PyInit_{name}\", {symbol}_once}},\n");
            let file = dir.join(format!("extension{n}.o"));
            fs::write(&file, &object.bytes)?;
            files.push(file);
        }
        table += "const struct _PyMegalith_Extension _PyMegalith_PackageExtensions[] = {\n";
        table += &format!("{entries}    {{NULL, NULL, NULL}},\n}};\n");
        fs::write(dir.join("extensions.c"), table)?;
        let mut gcc = Command::new("gcc");
        gcc.args(&self.cflags).arg("-I").arg(self.dir.join("include"));
        tool(gcc.args(["-c", "extensions.c", "-o", "extensions.o"]).current_dir(dir))?;
        let program = dir.join("python");
        let mut gcc = Command::new("gcc");
        gcc.args(&self.ldflags).args(LINK_OPTIONS).arg("-o").arg(&program).arg(self.dir.join("interpreter.o"));
        gcc.args(&files).arg(dir.join("extensions.o")).arg("-L").arg(&self.dir).args(&self.libs);
        tool(&mut gcc)?;
        Ok(program)
    }
}

/// Answers a line of a package's build in a container with another.
fn answer(sandbox: &Sandbox<'_>, question: &[u8], end: Instant) -> Vec<u8> {
    let mut name = String::new();
    let mut answered = || -> Result<Answer> {
        let mut question: Question = serde_json::from_slice(question).context("a question of its build")?;
        name = std::mem::take(&mut question.name);
        let kit = sandbox.kit().map_err(Error::msg)?;
        let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
        // Names that differ from time to time are not for it.
        kit.compile_question(&question, dir.path(), end).map_err(|e| anyhow!(without(format!("{e:#}"), &dir)))
    };
    let answer = answered().unwrap_or_else(|e| Answer::Error(format!("{e:#}")));
    let mut line = serde_json::to_vec(&Reply { name, answer }).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Text in which files of a directory have names below it.
fn without(text: String, dir: &TempDir) -> String {
    text.replace(&format!("{}/", dir.path().display()), "")
}

/// The compiler with limits: sources can have it work, read or write without end.
fn limited(seconds: u32) -> Command {
    let mut gcc = Command::new("sh");
    gcc.arg("-c").arg(format!("ulimit -v 8388608 && ulimit -f 524288 && ulimit -t {seconds} && exec gcc \"$@\""));
    gcc.arg("gcc");
    gcc
}

/// The static library of a name, but for those that the compiler brings itself.
fn library(name: &str) -> Result<Option<PathBuf>> {
    if OF_THE_COMPILER.contains(&name) {
        return Ok(None);
    }
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "_+.-".contains(c)) {
        bail!("it asks for a library of a strange name");
    }
    let said = tool(Command::new("gcc").arg(format!("-print-file-name=lib{name}.a")))?;
    // A name without directory: not found.
    let path = Path::new(said.trim());
    if !path.is_absolute() {
        bail!("the static library lib{name}.a is not on this machine (Debian has it in lib{name}-dev or the like)");
    }
    Ok(Some(path.into()))
}

/// Path without the longest suffix that extension modules have.
fn suffix_stem(path: &str) -> Option<&str> {
    let (dir, file) = path.rsplit_once('/').unwrap_or(("", path));
    let name = file.split('.').next().filter(|name| !name.is_empty() && file.ends_with(".so"))?;
    path.get(..if dir.is_empty() { name.len() } else { dir.len() + 1 + name.len() })
}

/// Name that the section with an extension's constructors has in the polyfill.
fn constructors(path: &str) -> String {
    format!("{}_constructors", init_symbol(path))
}

/// Name that the init function of an extension has in the polyfill.
fn init_symbol(path: &str) -> String {
    let hash = FileHash::of(path.as_bytes()).hex();
    format!("_PyMegalith_Extension_{}", hash.get(..32).unwrap_or(&hash))
}

/// What becomes of an option for the compiler: it is passed on (`true`), it makes no difference to us (`false`), or it is not known.
fn option_of(option: &str) -> Option<bool> {
    let defines = option.strip_prefix("-D").or_else(|| option.strip_prefix("-U"));
    if let Some(defined) = defines {
        let name = defined.split(['=', '(']).next().unwrap_or_default();
        let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        return plain.then_some(true);
    }
    if let Some(standard) = option.strip_prefix("-std=") {
        return standard.chars().all(|c| c.is_ascii_alphanumeric() || c == '+').then_some(true);
    }
    if ["-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics"].contains(&option) {
        return Some(true);
    }
    let ignored =
        ["-pthread", "-pipe", "-fPIC", "-fpic", "-fvisibility=hidden", "-fwrapv", "-fno-strict-aliasing", "-w"];
    let kinds = ["-W", "-O", "-g"];
    // `-Wl,`, `-Wa,` and `-Wp,` speak to other programs.
    let ignored = ignored.contains(&option) || kinds.iter().any(|k| option.starts_with(k)) && !option.contains(',');
    ignored.then_some(false)
}

/// A path below `dir` that leads nowhere else. `dir` has no links in it.
fn inside(dir: &Path, path: &str) -> Result<PathBuf> {
    let relative = Path::new(path);
    if !relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
        bail!("its build names {}, a file outside of its sources", one_line(path.as_bytes()));
    }
    Ok(dir.join(relative))
}

/// The files in a rule as compilers write them for make: `target: file file \` and further lines.
fn dependencies(rule: &[u8]) -> BTreeSet<Vec<u8>> {
    let start = rule.windows(2).position(|w| w == b": ").map_or(rule.len(), |at| at + 2);
    let mut found = BTreeSet::new();
    let mut word = Vec::new();
    let mut bytes = rule.get(start..).unwrap_or_default().iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => match bytes.next() {
                // The end of a line.
                Some(b'\n') | None => {}
                Some(escaped @ (b' ' | b'#' | b'\\' | b':')) => word.push(escaped),
                Some(other) => word.extend([b'\\', other]),
            },
            b'$' if bytes.peek() == Some(&b'$') => {
                bytes.next();
                word.push(b'$');
            }
            b' ' | b'\t' | b'\n' => {
                if !word.is_empty() {
                    found.insert(std::mem::take(&mut word));
                }
            }
            _ => word.push(byte),
        }
    }
    if !word.is_empty() {
        found.insert(word);
    }
    found
}

/// Runs a program of the C compiler; returns what it said.
fn tool(command: &mut Command) -> Result<String> {
    let name = match command.get_program().to_string_lossy() {
        name if name == "sh" => "gcc".to_owned(),
        name => name.into_owned(),
    };
    let out = command.env("LC_ALL", "C").env("SOURCE_DATE_EPOCH", "0").stdin(Stdio::null()).output();
    let out = out.map_err(|e| anyhow!("cannot start {name}: {e}"))?;
    if !out.status.success() {
        bail!("{name}: {}", one_line(&out.stderr));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_have_suffixes_of_their_python() {
        assert_eq!(module("/a/yaml/_yaml.cpython-311-x86_64-linux-gnu.so", "3.11"), Some(("/a/yaml/_yaml", "_yaml")));
        assert_eq!(module("/a/_x.abi3.so", "3.11"), Some(("/a/_x", "_x")));
        assert_eq!(module("/a/_x.so", "3.11"), Some(("/a/_x", "_x")));
        assert_eq!(module("/a/_x.cpython-310-x86_64-linux-gnu.so", "3.11"), None);
        assert_eq!(module("/a/libx.so.1", "3.11"), None);
        assert_eq!(suffix_stem("a/yaml/_yaml.cpython-311-x86_64-linux-gnu.so"), Some("a/yaml/_yaml"));
        assert_eq!((suffix_stem("_x.abi3.so"), suffix_stem("a/.so"), suffix_stem("a/x.py")), (Some("_x"), None, None));
    }

    #[test]
    fn only_known_options_pass() {
        for option in ["-DA", "-DA=\"b c\"", "-UNDEBUG", "-std=c99", "-std=c++11", "-fno-rtti"] {
            assert_eq!(option_of(option), Some(true), "{option}");
        }
        for option in ["-O3", "-Wall", "-g", "-fPIC"] {
            assert_eq!(option_of(option), Some(false), "{option}");
        }
        for option in [
            "-Wl,-x",
            "-Wp,-include,/etc/passwd",
            "-Wa,-a",
            "-include",
            "@file",
            "-fplugin=x.so",
            "-B.",
            "-D",
            "-std=@x",
            "/etc/x",
        ] {
            assert_eq!(option_of(option), None, "{option}");
        }
    }

    #[test]
    fn paths_stay_inside() {
        let dir = Path::new("/tree");
        assert_eq!(inside(dir, "a/./b.c").unwrap(), Path::new("/tree/a/./b.c"));
        for path in ["../b.c", "/etc/passwd", "a/../../b"] {
            assert!(inside(dir, path).unwrap_err().to_string().contains("outside of its sources"), "{path}");
        }
    }

    #[test]
    fn rules_of_make_are_read() {
        let found = dependencies(b"a.o: b.c \\\n c\\ d.h $$e.h\n");
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [&b"$e.h"[..], b"b.c", b"c d.h"]);
        assert!(dependencies(b"").is_empty());
    }

    /// Compiles `source` as a unit of a package.
    fn compile(source: &str) -> Result<PathBuf> {
        let dir = tempfile::tempdir()?;
        let (tree, kit) = (dir.path().join("source"), dir.path().join("kit"));
        fs::create_dir_all(&tree)?;
        fs::create_dir_all(kit.join("include"))?;
        fs::write(tree.join("a.c"), source)?;
        fs::write(tree.join("a.h"), "")?;
        let headers = vec!["/usr/include".into(), "/usr/lib/gcc".into()];
        let kit = Kit { dir: kit, cflags: vec![], ldflags: vec![], libs: vec![], compiler: vec![], headers };
        let unit = Unit { source: "a.c".into(), include: vec![], options: vec![] };
        kit.compile_unit(&unit, &tree, dir.path(), "a.o", 60)
    }

    #[test]
    fn sources_read_no_file_of_this_machine() {
        compile("#include <stdio.h>\n#include \"a.h\"\n").unwrap();
        for source in [
            "#include \"/etc/hosts.allow-or-not\"\n",
            "const char x[] =\n#include \"/proc/self/cmdline\"\n;",
            "__asm__(\".incbin \\\"/etc/passwd\\\"\");\n",
            "__asm__(\".incbin \\\"../../../../../../../../../../etc/passwd\\\"\");\n",
        ] {
            assert!(compile(source).is_err(), "{source}");
        }
        // Nor does an error quote one.
        for source in [
            "#include \"/etc/passwd\"\n",
            "#include \"/etc/passwd\"\n#include \"none.h\"\n#error x\n",
            "__asm__(\".include \\\"/etc/passwd\\\"\");\n",
            "int f(void) { return\n#include \"/etc/passwd\"\n; }\n#include \"none.h\"\n",
            "# 1 \"/etc/passwd\"\nint x = error;\n",
        ] {
            let why = compile(source).unwrap_err().to_string();
            assert!(!why.contains("root"), "{why}");
        }
        let why = compile("int x = y;\n").unwrap_err().to_string();
        assert!(why.contains("'y' undeclared"), "{why}");
        let why = compile("__asm__(\".incbin \\\"/etc/passwd\\\"\");\n").unwrap_err().to_string();
        assert_eq!(why, "its sources read /etc/passwd, a file of this machine");
    }
}
