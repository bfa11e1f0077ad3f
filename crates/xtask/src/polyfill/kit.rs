//! What `megalith build` links the Python polyfill anew with, to have native extensions of packages in it (`cli::extensions`).
//!
//! A directory beside the program:
//! - `interpreter.o`: everything of CPython and ours, not yet linked with libraries
//! - `lib*.a`: the libraries that it needs, but for those of the C compiler and the C library, which the user's compiler brings
//! - `include/`: the headers that extensions are compiled with
//! - `cflags`, `ldflags`, `libs`: words for the C compiler: to compile an extension, and before and after the objects of a link

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::sh;

/// Its name beside the program.
pub const NAME: &str = "kit";

/// Changes when this module makes something else of the same program.
pub const REVISION: &str = "kit 2";

/// Libraries that come with the C compiler.
const OF_THE_COMPILER: &[&str] = &["c", "dl", "m", "pthread", "rt", "util"];

/// How make links the program: words for the compiler.
pub struct Link {
    /// Before the objects, compiler included.
    pub before: Vec<String>,
    /// All objects and archives of the build tree but main's.
    pub objects: Vec<String>,
    pub libs: Vec<String>,
}

impl Link {
    /// Asks make, which knows it from what configure found: it tells when main is newer than the program.
    ///
    /// # Errors
    /// make tells of no link, or of one that does not look as expected.
    pub fn of(build: &Path) -> Result<Self> {
        let told = sh::text(
            sh::command("make", ["--dry-run", "--assume-new=Programs/python.o", "python"])
                .current_dir(build)
                .env_remove("MAKEFLAGS")
                .env_remove("MAKELEVEL"),
        )?;
        let link = told.lines().find_map(|l| l.split_once(" -o python Programs/python.o "));
        let (before, after) = link.context("make tells of no link")?;
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let (objects, libs) = words(after).into_iter().partition(|word| !word.starts_with('-'));
        Ok(Self { before: words(before), objects, libs })
    }
}

/// Makes it in `kit` out of the objects in `build` that the program consists of; `include` has CPython's headers, `cflags` are those that it was compiled with.
///
/// # Errors
/// A library is not where the compiler says.
pub fn make(build: &Path, objects: &[&str], link: &Link, include: &Path, kit: &Path, cflags: &str) -> Result<()> {
    fs::create_dir(kit)?;
    sh::output(sh::command("ld", ["-r", "-o"]).arg(kit.join("interpreter.o")).args(objects).current_dir(build))?;
    sh::output(sh::command("objcopy", ["--strip-debug"]).arg(kit.join("interpreter.o")))?;
    let libs = &link.libs;
    for name in libs.iter().filter_map(|word| word.strip_prefix("-l")).filter(|name| !OF_THE_COMPILER.contains(name)) {
        let file = format!("lib{name}.a");
        let found = sh::text(&mut sh::command("gcc", [format!("-print-file-name={file}")]))?;
        fs::copy(found.trim(), kit.join(&file)).with_context(|| format!("copy {}", found.trim()))?;
    }
    sh::output(sh::command("cp", ["-rL"]).arg(include).arg(kit.join("include")))?;
    fs::copy(build.join("pyconfig.h"), kit.join("include/pyconfig.h"))?;
    let ldflags = link.before.iter().skip(1).cloned().collect::<Vec<_>>().join(" ");
    fs::write(kit.join("cflags"), format!("{cflags} -fwrapv -fno-strict-aliasing\n"))?;
    fs::write(kit.join("ldflags"), ldflags + "\n")?;
    Ok(fs::write(kit.join("libs"), libs.join(" ") + "\n")?)
}
