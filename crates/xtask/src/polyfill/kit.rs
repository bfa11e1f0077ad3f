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
pub const REVISION: &str = "kit 1";

/// Libraries that come with the C compiler.
const OF_THE_COMPILER: &[&str] = &["c", "dl", "m", "pthread", "rt", "util"];

/// Makes it in `kit` out of a build tree in which the program was linked; `cflags` are those that it was compiled with.
///
/// # Errors
/// Something of the build tree is not as expected.
pub fn make(work: &Path, kit: &Path, cflags: &str) -> Result<()> {
    let build = work.join("build");
    // How the program was linked is known to make: it tells when main is newer than the program.
    let told = sh::text(
        sh::command("make", ["--dry-run", "--assume-new=Programs/python.o", "python"])
            .current_dir(&build)
            .env_remove("MAKEFLAGS")
            .env_remove("MAKELEVEL"),
    )?;
    let link = told.lines().find(|l| l.contains(" -o python Programs/python.o ")).context("make tells of no link")?;
    let (before, after) = link.split_once(" -o python ").context("a link has an output")?;
    let (objects, libs): (Vec<&str>, Vec<&str>) = after.split_whitespace().partition(|word| !word.starts_with('-'));
    fs::create_dir(kit)?;
    sh::output(sh::command("ld", ["-r", "-o"]).arg(kit.join("interpreter.o")).args(&objects).current_dir(&build))?;
    sh::output(sh::command("objcopy", ["--strip-debug"]).arg(kit.join("interpreter.o")))?;
    for name in libs.iter().filter_map(|word| word.strip_prefix("-l")).filter(|name| !OF_THE_COMPILER.contains(name)) {
        let file = format!("lib{name}.a");
        let found = sh::text(&mut sh::command("gcc", [format!("-print-file-name={file}")]))?;
        fs::copy(found.trim(), kit.join(&file)).with_context(|| format!("copy {}", found.trim()))?;
    }
    sh::output(sh::command("cp", ["-rL"]).arg(work.join("src/Include")).arg(kit.join("include")))?;
    fs::copy(build.join("pyconfig.h"), kit.join("include/pyconfig.h"))?;
    let ldflags = before.split_whitespace().skip(1).collect::<Vec<_>>().join(" ");
    fs::write(kit.join("cflags"), format!("{cflags} -fwrapv -fno-strict-aliasing\n"))?;
    fs::write(kit.join("ldflags"), ldflags + "\n")?;
    Ok(fs::write(kit.join("libs"), libs.join(" ") + "\n")?)
}
