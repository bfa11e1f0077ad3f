//! The Python polyfill: CPython from Debian's source package as one static program, with our `main` (`polyfills/python`).
//!
//! The program uses the standard library of the image that it stands in (`/usr/lib/python3.11`), so it is built from the
//! version that Debian 12 has, with Debian's patches.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::{CALLS, FEWER_REGISTERS, TRAINED, TRAINING, kit};
use crate::{debian, paths, setup, sh};

/// Version of the language that is built.
pub const VERSION: &str = "3.11";

/// Changes when this module makes something else of the same inputs.
const REVISION: &str = "1";

/// Compiler options.
///
/// Not position-independent: addresses are constants, which is faster after recompilation and easier to analyse.
const CFLAGS: &str = "-O3 -fno-pie -fno-semantic-interposition -fno-stack-protector";
const OPT: &str = "-DNDEBUG -Wall";
const LDFLAGS: &str = "-static -no-pie";

/// Beside `TRAINED`: what was not trained is compiled as without a profile.
const UNTRAINED: &str = "-fprofile-partial-training -Wno-missing-profile";

/// The interpreter is optimised as a whole ([`LIBRARY`]), and more goes into its callers than a compiler thinks worth it: a call costs a recompiled program several times
/// what it costs otherwise. Not so the largest functions, of which the interpreter's loop is one: they have more than fits the registers as it is.
const WHOLE: &[&str] = &[
    "-flto",
    "-fno-fat-lto-objects",
    "--param=max-inline-insns-auto=40",
    "--param=max-inline-insns-single=200",
    "--param=inline-min-speedup=10",
    "--param=large-function-growth=20",
];

/// In the build tree: everything but main, linked and optimised.
const LIBRARY: &str = "library.o";

/// Of the program alone: main.c sees what is asked for while modules are warmed, and the kernel computes SHA-2 (polyfills/megalith_hash.h).
const LINK: &str = "-Wl,--wrap=getrandom -Wl,--wrap=getentropy -Wl,--wrap=clock_gettime -Wl,--wrap=getpid \
    -Wl,--wrap=sha256_block_data_order -Wl,--wrap=sha512_block_data_order";

/// Options of configure: Debian's (debian/rules), but for those that say how the program is linked.
///
/// `--without-computed-gotos`: the recompiler has one function per loop nest, and one `switch` costs it far less than 188
/// indirect jumps (5 to 35 times in the interpreter's loop).
const CONFIGURE: &[&str] = &[
    "--prefix=/usr",
    "--libdir=/usr/lib/x86_64-linux-gnu",
    "--build=x86_64-linux-gnu",
    "--enable-ipv6",
    "--enable-loadable-sqlite-extensions",
    "--with-dbmliborder=bdb:gdbm",
    "--without-computed-gotos",
    "--without-ensurepip",
    "--with-system-expat",
    "--with-ssl-default-suites=openssl",
    "--with-wheel-pkg-dir=/usr/share/python-wheels/",
    "--disable-shared",
    // Arithmetic is SSE2's, so nothing depends on the x87 control word, which conversions of floats to text would set and put back
    // each time: a call into the host here.
    "ac_cv_gcc_asm_for_x87=no",
];

/// Modules that configure's list names but that cannot be had, or not so.
const DROPPED: &[&str] = &[
    // libffi writes code at run time.
    "_ctypes",
    "_ctypes_test",
    // Terminal screens and windows are not what agents' tools use; their libraries bring large tables.
    "_curses",
    "_curses_panel",
    "_tkinter",
    // Berkeley DB and GDBM; `dbm.dumb` needs neither.
    "_dbm",
    "_gdbm",
    // Network information service, and sound hardware.
    "nis",
    "ossaudiodev",
];

/// Lines for `Modules/Setup.local`: what configure's checks miss because they link dynamically, and the test modules, which
/// configure would build as shared objects.
const MODULES: &str = "\
_crypt _cryptmodule.c -lcrypt
readline readline.c -lreadline -ltinfo
_sqlite3 _sqlite/blob.c _sqlite/connection.c _sqlite/cursor.c _sqlite/microprotocols.c _sqlite/module.c \
_sqlite/prepare_protocol.c _sqlite/row.c _sqlite/statement.c _sqlite/util.c -I$(srcdir)/Modules/_sqlite \
-DPY_SQLITE_ENABLE_LOAD_EXTENSION -lsqlite3 -lz -lm
_testbuffer _testbuffer.c
_testinternalcapi _testinternalcapi.c
_testcapi _testcapimodule.c
_testclinic _testclinic.c
_xxtestfuzz _xxtestfuzz/_xxtestfuzz.c _xxtestfuzz/fuzzer.c
_testimportmultiple _testimportmultiple.c
_testmultiphase _testmultiphase.c
xxlimited -UPy_BUILD_CORE_BUILTIN -UPy_BUILD_CORE xxlimited.c
xxlimited_35 -UPy_BUILD_CORE_BUILTIN -UPy_BUILD_CORE xxlimited_35.c
";

/// Our files, and what each takes the place of in CPython's tree. The paths are relative to `polyfills/python`.
const OURS: &[(&str, &str)] = &[
    ("main.c", "Programs/python.c"),
    ("library.c", "Python/dynload_shlib.c"),
    ("megalith.h", "Include/megalith.h"),
    ("../megalith_call.h", "Include/megalith_call.h"),
    ("../megalith_hash.h", "Include/megalith_hash.h"),
];

/// What the recipe makes, all in one directory of the cache.
pub struct Python {
    /// The program.
    pub program: PathBuf,
    /// The program for native tests: its snapshot call resumes at once, in the same process.
    pub simulated: PathBuf,
}

/// Builds the polyfill unless it is in the cache. `MEGALITH_PYTHON_DIR` names another directory that has it. Takes some minutes; what an interrupted run compiled is used by the next.
///
/// # Errors
/// The sources cannot be fetched, a patch does not apply, or something does not compile.
pub fn build() -> Result<Python> {
    let made = |dir: &Path| Python { program: dir.join("python"), simulated: dir.join("python-simulated") };
    if let Some(dir) = std::env::var_os("MEGALITH_PYTHON_DIR") {
        return Ok(made(Path::new(&dir)));
    }
    let source = debian::newest_source_package(&format!("python{VERSION}"))?;
    let inputs = Inputs::read(&source)?;
    let dir = paths::polyfill(&format!("python-{VERSION}"))?.join(&inputs.key);
    if dir.exists() {
        return Ok(made(&dir));
    }
    setup::python_builder()?;
    eprintln!("xtask: building the Python polyfill from {} (minutes)", source.version);
    let start = Instant::now();
    let work = paths::cache("python-build")?.join(&inputs.base);
    inputs.prepare(&source, &work)?;
    compile(&source, &inputs.training, &work)?;
    let tree = work.join("build");
    let link = kit::Link::of(&tree)?;
    paths::make_once(&dir, |dir| {
        for (built, name) in [("python", "python"), ("python-simulated", "python-simulated")] {
            let to = dir.join(name);
            sh::output(sh::command("strip", ["-o"]).arg(&to).arg(tree.join(built)))?;
        }
        fs::write(dir.join(CALLS), &inputs.calls)?;
        let objects = ["Programs/python.o", LIBRARY];
        kit::make(&tree, &objects, &link, &work.join("src/Include"), &dir.join(kit::NAME), CFLAGS)?;
        Ok(fs::write(dir.join("version"), format!("{}\n", source.version))?)
    })?;
    eprintln!("xtask: the Python polyfill: {:.0} s", start.elapsed().as_secs_f64());
    Ok(made(&dir))
}

/// All that the program is made of.
struct Inputs {
    /// Our C sources and the like: path in CPython's tree, bytes.
    files: Vec<(&'static str, Vec<u8>)>,
    /// Patches for `patch -p1`, in the order of their names.
    patches: Vec<PathBuf>,
    /// The system calls that the program may make.
    calls: Vec<u8>,
    /// Hash of what a build tree was made of: of all code, as a profile is of just that code.
    base: String,
    /// What the interpreter is trained with.
    training: PathBuf,
    /// Hash of everything.
    key: String,
}

impl Inputs {
    fn read(source: &debian::SourcePackage) -> Result<Self> {
        let ours = paths::root().join("polyfills/python");
        let mut patches: Vec<PathBuf> = fs::read_dir(ours.join("patches"))?
            .filter_map(|e| Some(e.ok()?.path()))
            .filter(|p| p.extension().is_some_and(|e| e == "patch"))
            .collect();
        patches.retain(|patch| !in_source(patch, &source.version));
        patches.sort();
        let mut hasher = Sha256::new();
        let flags = format!(
            "{REVISION} {CFLAGS} {FEWER_REGISTERS:?} {OPT} {LDFLAGS} {TRAINING:?} {TRAINED:?} {UNTRAINED} {WHOLE:?} {LINK} {CONFIGURE:?} {DROPPED:?} {MODULES}"
        );
        hasher.update(format!("{} {flags}", source.version));
        // Another compiler or C library makes another program.
        hasher.update(sh::text(&mut sh::command("gcc", ["--version"])).unwrap_or_default());
        let training = ours.join("train.py");
        for file in patches.iter().chain([&training]) {
            hasher.update(fs::read(file).with_context(|| format!("read {}", file.display()))?);
        }
        let mut files = Vec::new();
        for (name, place) in OURS {
            let bytes = fs::read(ours.join(name)).with_context(|| format!("read polyfills/python/{name}"))?;
            hasher.update(place);
            hasher.update(&bytes);
            files.push((*place, bytes));
        }
        let base = sh::hex(hasher.clone().finalize().get(..8).unwrap_or_default());
        let warm = header(&fs::read(ours.join("warm.py")).context("read polyfills/python/warm.py")?);
        hasher.update(&warm);
        files.push(("Include/megalith_warm.h", warm));
        let calls = fs::read(ours.join("calls.txt")).context("read polyfills/python/calls.txt")?;
        hasher.update(&calls);
        hasher.update(kit::REVISION);
        let key = sh::hex(hasher.finalize().get(..8).unwrap_or_default());
        Ok(Self { files, patches, calls, training, base, key })
    }

    /// Leaves `work/src` (patched, with our files) and `work/build` (configured).
    fn prepare(&self, source: &debian::SourcePackage, work: &Path) -> Result<()> {
        paths::make_once(work, |dir| {
            let tree = dir.join("src");
            sh::output(sh::command("cp", ["-a"]).arg(&source.tree).arg(&tree))?;
            for patch in &self.patches {
                sh::output(sh::command("patch", ["-p1", "--fuzz=0", "-i"]).arg(patch).current_dir(&tree))
                    .with_context(|| format!("apply {}", patch.display()))?;
            }
            Ok(fs::create_dir(dir.join("build"))?)
        })?;
        for (place, bytes) in &self.files {
            let path = work.join("src").join(place);
            // make goes by modification times: what did not change is not touched.
            if fs::read(&path).ok().as_ref() != Some(bytes) {
                fs::write(&path, bytes)?;
            }
        }
        Ok(())
    }
}

/// Whether the source has what a patch corrects: the patch names the Debian version that has it, in a line `In-Source-Since: VERSION`.
fn in_source(patch: &Path, version: &str) -> bool {
    let text = fs::read_to_string(patch).unwrap_or_default();
    let since = text.lines().find_map(|l| l.strip_prefix("In-Source-Since: "));
    since.is_some_and(|since| !debian::older(version, since.trim()))
}

/// A C array with the bytes of `text`, ending with a NUL.
fn header(text: &[u8]) -> Vec<u8> {
    let mut out = b"/* polyfills/python/warm.py */\nstatic const char MEGALITH_WARM_PY[] = {\n".to_vec();
    for line in text.chunks(20) {
        out.extend(line.iter().flat_map(|b| format!("{b},").into_bytes()));
        out.push(b'\n');
    }
    out.extend(b"0};\n");
    out
}

/// Configures and compiles in `work/build`, with a profile of what `program` does; leaves `python` and `python-simulated`.
fn compile(source: &debian::SourcePackage, program: &Path, work: &Path) -> Result<()> {
    let build = work.join("build");
    // The compiler's __DATE__ and __TIME__, which sys.version shows: those of Debian's own build.
    let epoch = sh::text(sh::command("dpkg-parsechangelog", ["-STimestamp"]).current_dir(&source.tree))?;
    let command = |program: &str| {
        let mut command = sh::command(program, [""; 0]);
        command.current_dir(&build).env("SOURCE_DATE_EPOCH", epoch.trim()).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        command.env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
        command
    };
    if !build.join("configured").exists() {
        eprintln!("xtask: Python: configure");
        let mut configure = command("../src/configure");
        configure.args(CONFIGURE).args([
            "CC=gcc",
            &format!("CFLAGS={CFLAGS}"),
            &format!("OPT={OPT}"),
            &format!("LDFLAGS={LDFLAGS}"),
            &format!("LINKFORSHARED={LINK}"),
        ]);
        sh::output(configure.env("MODULE_BUILDTYPE", "static"))?;
        let listed = fs::read_to_string(build.join("Modules/Setup.stdlib"))?;
        fs::write(build.join("Modules/Setup.local"), setup_local(&listed))?;
        // The lists of modules are now newer than the Makefile: make writes it again and asks to be called again.
        let _ = sh::output(command("make").arg("Makefile"));
        fs::write(build.join("configured"), "")?;
    }
    let jobs = std::thread::available_parallelism().map_or(2, usize::from);
    let make = |what: &[&str], options: &str, libraries: &str| {
        let mut make = command("make");
        make.arg(format!("-j{jobs}")).args(what);
        sh::output(make.arg(format!("CFLAGS_NODIST={options}")).arg(format!("LDFLAGS_NODIST={libraries}")))
    };
    if !build.join("trained").exists() {
        eprintln!("xtask: Python: make, to record a profile");
        let training = TRAINING.join(" ");
        make(&["python"], &training, &training)?;
        eprintln!("xtask: Python: training");
        train(program, work)?;
        fs::write(build.join("trained"), "")?;
    }
    eprintln!("xtask: Python: make");
    let trained = format!("{} {} {UNTRAINED}", FEWER_REGISTERS.join(" "), TRAINED.join(" "));
    let whole = format!("{trained} {}", WHOLE.join(" "));
    // What the tools that are built on the way made is there from the first time.
    let tools = ["--old-file=Programs/_freeze_module", "--old-file=_bootstrap_python"];
    let library = [&tools[..], &["AR=gcc-ar", "libpython3.11.a"]].concat();
    fs::write(build.join("make.log"), make(&library, &whole, "")?)?;
    let link = kit::Link::of(&build)?;
    eprintln!("xtask: Python: optimise it as a whole");
    let mut gcc = command("gcc");
    gcc.args(["-r", "-nostdlib", "-no-pie", "-flinker-output=nolto-rel", &format!("-flto={jobs}")]);
    sh::output(gcc.args(whole.split_whitespace()).args(["-o", LIBRARY]).args(&link.objects))?;
    // The two programs differ in main alone. The profile is that of the one that is not for tests, which is made last.
    for (name, main) in [("python-simulated", "-Wno-error=coverage-mismatch -w -DSIMULATE_RESUME"), ("python", "")] {
        let object = "Programs/python.o";
        let _ = fs::remove_file(build.join(object));
        make(&[object], &format!("{trained} {main}"), "")?;
        let mut gcc = command("gcc");
        gcc.args(link.before.iter().skip(1)).args(["-o", name, object, LIBRARY]);
        sh::output(gcc.args(&link.libs))?;
    }
    Ok(())
}

/// Runs `train.py` in the interpreter that records, and takes away everything but the record.
fn train(program: &Path, work: &Path) -> Result<()> {
    let build = work.join("build");
    // What compiling did itself, with the same functions, does not count.
    remove(&build, &["gcda"])?;
    // Extension modules are found by the names of files that nobody reads (`library.c`).
    let modules = tempfile::tempdir()?;
    let files = modules.path().join("lib-dynload");
    fs::create_dir(&files)?;
    for line in fs::read_to_string(build.join("Modules/Setup.local"))?.lines() {
        if let Some(name) =
            line.split_whitespace().next().filter(|name| name.starts_with(|c: char| c == '_' || c.is_alphabetic()))
        {
            fs::write(files.join(format!("{name}.so")), "")?;
        }
    }
    let path = std::env::join_paths([work.join("src/Lib"), files])?;
    // Without address randomisation and a secret for hashes: what is counted must not depend on them.
    let mut run = sh::command("setarch", ["-R"]);
    run.arg(build.join("python")).args(["-s", "-S", "-B"]).arg(program).current_dir(modules.path());
    run.env("PYTHONPATH", path).env("PYTHONHOME", modules.path()).env("PYTHONHASHSEED", "0").env("LC_ALL", "C.UTF-8");
    sh::output(&mut run).context("train the Python polyfill")?;
    remove(&build, &["o", "a"])?;
    Ok(fs::remove_file(build.join("python"))?)
}

/// Removes the files below `dir` with one of these extensions.
fn remove(dir: &Path, extensions: &[&str]) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            remove(&path, extensions)?;
        } else if extensions.iter().any(|e| path.extension().is_some_and(|x| x == *e)) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// `Modules/Setup.local` out of the `Modules/Setup.stdlib` that configure wrote: all that can be static, as builtin modules.
fn setup_local(listed: &str) -> String {
    let own: Vec<&str> = MODULES.lines().filter_map(|l| l.split_whitespace().next()).collect();
    let wanted = listed.lines().take_while(|l| *l != "# Test modules").filter(|line| {
        let name = line.split_whitespace().next().unwrap_or_default();
        !name.starts_with('#') && !DROPPED.contains(&name) && !own.contains(&name)
    });
    let mut text = wanted.collect::<Vec<_>>().join("\n");
    text += &format!("\n{MODULES}*disabled*\n{}\n", DROPPED.join(" "));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_goes_when_the_source_has_it() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let (plain, until) = (dir.path().join("a.patch"), dir.path().join("b.patch"));
        fs::write(&plain, "Why.\n--- a\n")?;
        fs::write(&until, "In-Source-Since: 3.11.2-6+deb12u9\n\nWhy.\n--- a\n")?;
        assert!(!in_source(&plain, "3.11.2-6+deb12u9"));
        assert!(!in_source(&until, "3.11.2-6+deb12u8"));
        assert!(in_source(&until, "3.11.2-6+deb12u9") && in_source(&until, "3.11.2-6+deb12u10"));
        Ok(())
    }

    #[test]
    fn modules_are_chosen_from_configures_list() {
        let listed = "*static*\n# a comment\narray arraymodule.c\n_ctypes _ctypes/_ctypes.c\nreadline readline.c\n# Test modules\n_testcapi x.c\n";
        let text = setup_local(listed);
        assert!(text.starts_with("*static*\narray arraymodule.c\n_crypt "), "{text}");
        assert_eq!(text.matches("\nreadline ").count(), 1);
        assert!(text.contains("*disabled*\n_ctypes "));
        assert!(text.lines().all(|l| !l.contains('=')), "makesetup takes lines with = for definitions");
    }

    #[test]
    fn a_header_holds_every_byte() {
        assert!(String::from_utf8(header(b"ab")).is_ok_and(|t| t.contains("{\n97,98,\n0};")));
    }
}
