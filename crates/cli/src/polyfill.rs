//! Interpreters of ours that stand in for programs of the image: which, why, and from what they start.

use crate::cache;
use crate::run::runner;
use crate::scan::{Class, File};
use anyhow::{Context, Result, anyhow, bail};
use megalith_image::Rootfs;
use megalith_manifest::{FileHash, GuestPath};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// Names the directory with the polyfills, instead of the one in the cache.
const VARIABLE: &str = "MEGALITH_POLYFILLS";

/// A language that there is a polyfill for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Language {
    Python,
    Node,
}

impl Language {
    pub fn name(self) -> &'static str {
        match self {
            Language::Python => "python",
            Language::Node => "node",
        }
    }

    /// Name of the entry point.
    pub fn entry_point(self) -> String {
        format!("{}_start", self.name())
    }

    /// What nearly every program loads: modules that are loaded before the snapshot is taken, beside those that were asked for.
    fn warmed(self) -> &'static [&'static str] {
        match self {
            Language::Python => &["json", "re", "hashlib", "datetime", "logging", "argparse"],
            Language::Node => &[],
        }
    }

    /// Whether a module of that name is this language's: Node's are given by path.
    fn takes(self, module: &str) -> bool {
        module.starts_with('/') == (self == Language::Node)
    }
}

/// What a program of the image was recognised as.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Interpreter {
    pub language: Language,
    /// As far as programs depend on it: `3.11`. Empty where any will do.
    pub version: String,
}

impl fmt::Display for Interpreter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.joined(" "))
    }
}

impl Interpreter {
    /// Name and version, if it has one, with `between`.
    fn joined(&self, between: &str) -> String {
        let name = self.language.name();
        if self.version.is_empty() { name.into() } else { format!("{name}{between}{}", self.version) }
    }
}

/// A polyfill that was chosen for a program.
#[derive(Clone)]
pub struct Chosen {
    pub interpreter: Interpreter,
    /// Why, in a few words.
    pub reason: String,
    /// Its ELF file.
    pub elf: Arc<[u8]>,
    /// The system calls that it may make.
    pub calls: Vec<String>,
    pub hash: FileHash,
}

impl Chosen {
    /// Name of its file among the container's own.
    pub fn file(&self) -> String {
        format!("{}.elf", self.interpreter.joined("-"))
    }

    /// Name of the file with its snapshot as a stand-in for `hash`.
    pub fn snapshot_file(&self, hash: &FileHash) -> String {
        format!("{}-{}.snapshot", self.interpreter.language.name(), hash.hex())
    }
}

/// Recognises an interpreter by what it is: by the function that every program around it calls, and by the name of its library.
pub fn recognise(elf: &[u8]) -> Option<Interpreter> {
    let has = |symbol: &[u8]| memchr::memmem::find(elf, symbol).is_some();
    if has(b"\0Py_BytesMain\0") && has(b".dynsym") {
        return Some(Interpreter { language: Language::Python, version: python_version(elf)? });
    }
    has(b"\0_ZN4node5StartEiPPc\0").then(|| Interpreter { language: Language::Node, version: String::new() })
}

/// The version that most names in the file have: `cpython-311` is in that of compiled modules, `python3.11` in that of library and directories.
fn python_version(elf: &[u8]) -> Option<String> {
    let mut seen: BTreeMap<u32, usize> = BTreeMap::new();
    for name in [&b"cpython-3"[..], b"python3."] {
        for at in memchr::memmem::find_iter(elf, name) {
            let digits = elf.iter().skip(at + name.len()).take(3).take_while(|b| b.is_ascii_digit());
            let minor = digits.fold(0, |n, digit| n * 10 + u32::from(digit - b'0'));
            *seen.entry(minor).or_default() += usize::from(minor > 0);
        }
    }
    let (minor, _) = seen.into_iter().max_by_key(|(_, n)| *n).filter(|(_, n)| *n > 0)?;
    Some(format!("3.{minor}"))
}

/// Where the polyfill for an interpreter lies.
fn place(i: &Interpreter) -> Option<PathBuf> {
    let dir = match std::env::var_os(VARIABLE) {
        Some(dir) => PathBuf::from(dir),
        None => cache::directory()?.join("polyfill"),
    };
    Some(dir.join(i.joined("-")).join("current").join(i.language.name()))
}

/// Where that lies which the polyfill for an interpreter is linked with anew.
pub fn kit(i: &Interpreter) -> Option<PathBuf> {
    Some(place(i)?.with_file_name("kit"))
}

/// The polyfill for an interpreter. `because` goes into the reason.
///
/// # Errors
/// One line that says what to do, when there is none.
pub fn find(interpreter: Interpreter, because: &str) -> Result<Chosen> {
    let path = place(&interpreter).context("neither HOME nor XDG_CACHE_HOME is set")?;
    let elf: Arc<[u8]> = match std::fs::read(&path) {
        Ok(bytes) => bytes.into(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            bail!(
                "there is no polyfill for {interpreter} in {}; run 'cargo xtask build' for those of python 3.11 and node, or 'megalith build --python recompile' to have another Python's own program recompiled",
                path.display()
            )
        }
        Err(e) => return Err(anyhow!(e).context(format!("cannot read {}", path.display()))),
    };
    let list = path.with_file_name("calls");
    let calls = std::fs::read_to_string(&list).with_context(|| {
        format!("cannot read what the polyfill may call in {}; 'cargo xtask build' makes it", list.display())
    })?;
    let hash = FileHash::of(&elf);
    Ok(Chosen { reason: format!("it is {interpreter}; {because}"), interpreter, elf, calls: words(&calls), hash })
}

/// The words of a list: lines, of which those that begin with `#` are comments.
fn words(list: &str) -> Vec<String> {
    let lines = list.lines().filter(|l| !l.starts_with('#'));
    lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

/// The interpreters among `files` that a polyfill stands in for, and those that none is there for, with why.
///
/// `wanted` says of a file whether the user asked for a polyfill (`Some(true)`), for none (`Some(false)`), or for neither.
///
/// # Errors
/// When the user asked for a polyfill that is not there.
pub fn choose(
    rootfs: &Rootfs,
    files: &BTreeMap<FileHash, File>,
    wanted: impl Fn(&File) -> Option<bool>,
) -> Result<(BTreeMap<FileHash, Chosen>, BTreeMap<FileHash, String>)> {
    let (mut chosen, mut missing) = (BTreeMap::new(), BTreeMap::new());
    for (hash, file) in files.iter().filter(|(_, f)| f.class == Class::Elf) {
        let Some(interpreter) = recognise(rootfs.data(file.node)) else { continue };
        let asked = match interpreter.language {
            Language::Python => wanted(file),
            Language::Node => None,
        };
        if asked == Some(false) {
            missing.insert(*hash, format!("it is {interpreter}, and --python recompile asks for no polyfill"));
            continue;
        }
        let because = if asked.is_some() { "asked for" } else { "the default for it" };
        match find(interpreter, because) {
            Ok(found) => {
                chosen.insert(*hash, found);
            }
            Err(e) if asked == Some(true) => return Err(e),
            Err(e) => {
                missing.insert(*hash, format!("{e:#}"));
            }
        }
    }
    let mut kinds: BTreeMap<Language, FileHash> = BTreeMap::new();
    for c in chosen.values() {
        if *kinds.entry(c.interpreter.language).or_insert(c.hash) != c.hash {
            bail!(
                "the image has several versions of {}; one polyfill of a language fits in a module",
                c.interpreter.language.name()
            );
        }
    }
    Ok((chosen, missing))
}

/// What came of taking a snapshot.
pub struct Taken {
    pub snapshot: Vec<u8>,
    /// Names of what was loaded before.
    pub warmed: Vec<String>,
    /// What was not loaded although it was asked for, and why: a line each.
    pub refused: Vec<String>,
}

/// Takes the snapshot of the polyfill that `path` of `bundle` starts, with what `warm` names and what the programs `scripts` import loaded. What programs import is found by
/// the interpreter, in their text; nothing of them runs.
///
/// # Errors
/// What the program said, when it ended before its snapshot.
pub fn snapshot(
    bundle: &Path,
    path: &GuestPath,
    language: Language,
    warm: &[String],
    scripts: &[&GuestPath],
) -> Result<Taken> {
    let mut names: Vec<String> = language.warmed().iter().map(ToString::to_string).collect();
    names.extend(warm.iter().filter(|w| language.takes(w)).cloned());
    let paths: Vec<String> = scripts.iter().map(ToString::to_string).filter(|p| !p.contains(':')).collect();
    let programs = (!paths.is_empty()).then(|| ["-e".to_owned(), format!("MEGALITH_SCRIPTS={}", paths.join(":"))]);
    let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
    let file = dir.path().join("snapshot");
    let guest =
        std::ffi::OsStr::new(std::str::from_utf8(path.as_bytes()).context("the interpreter's path is not UTF-8")?);
    let out = Command::new(runner()?)
        .arg("--snapshot")
        .arg(&file)
        .args(["--hostname", "megalith", "--timeout", "120", "-w", "/", "-u", "0:0", "-e"])
        .arg(format!("MEGALITH_WARM={}", names.join(":")))
        .args(programs.iter().flatten())
        .arg(bundle)
        .arg("--")
        .arg(guest)
        .stdin(std::process::Stdio::null())
        .output()
        .context("cannot start megalith-run for the snapshot")?;
    let said = String::from_utf8_lossy(&out.stderr);
    if !out.status.success() {
        bail!("{path}: cannot take its snapshot: {}", said.trim().replace('\n', "; "));
    }
    let snapshot = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let lines = |prefix: &str| said.lines().filter_map(|l| l.strip_prefix(prefix)).map(str::to_owned).collect();
    let (warmed, refused): (Vec<String>, Vec<String>) = (lines("megalith: warmed: "), lines("megalith: not warmed: "));
    // Who says nothing has loaded what it was told to.
    let silent = warmed.is_empty() && refused.is_empty();
    Ok(Taken { snapshot, warmed: if silent { names } else { warmed }, refused })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters_are_known_by_their_symbols() {
        let python = b"\x7fELF\0Py_BytesMain\0 lib/python3.11 /usr/lib/python3.11 python3.9x .dynsym";
        let found = recognise(python).unwrap();
        assert_eq!((found.language, &*found.version), (Language::Python, "3.11"));
        assert_eq!(recognise(b"\x7fELF\0_ZN4node5StartEiPPc\0").unwrap().language, Language::Node);
        // A program that prints the name is not the interpreter; neither is one without symbols.
        assert_eq!(recognise(b"\x7fELF call Py_BytesMain python3.11"), None);
    }

    #[test]
    fn lists_have_comments() {
        assert_eq!(words("# what it calls\nread write\n\n  open\n#x\n"), ["read", "write", "open"]);
    }

    #[test]
    fn modules_are_told_apart() {
        assert!(Language::Python.takes("requests") && !Language::Node.takes("requests"));
        assert!(Language::Node.takes("/app/node_modules/zod") && !Language::Python.takes("/app/node_modules/zod"));
    }
}
