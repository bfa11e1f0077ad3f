//! Packages of Python and Node that a build adds to the image: from lock files with hashes, fetched by the user's own pip and npm, which know the user's
//! registry. Nothing of a package runs outside of a container: no set-up scripts, no build steps.

use crate::cache::Cache;
use crate::polyfill::{self, Language};
use crate::run::runner;
use anyhow::{Context, Result, anyhow, bail};
use megalith_image::{Added, Rootfs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Changes when this module makes something else of the same input.
const REVISION: &[u8] = b"1";

/// Where Node's packages go: `require` and `import` look there from any script of the image.
const NODE_MODULES: &str = "/node_modules";

/// Modification time of what is added (1980-01-01): bytecode names its source's.
const MTIME: i64 = 315_532_800;

/// What was installed, by path below the directory of packages.
#[derive(Serialize, Deserialize, Default)]
struct Tree(BTreeMap<Vec<u8>, Item>);

#[derive(Serialize, Deserialize)]
enum Item {
    File { bytes: Vec<u8>, executable: bool },
    Link(Vec<u8>),
}

/// What is asked for.
pub struct Wanted<'a> {
    /// A `requirements.txt` with exact versions and hashes.
    pub pip: Option<&'a Path>,
    /// A `package.json`; its lock file lies beside it.
    pub npm: Option<&'a Path>,
    /// The image, to compile Python's modules in.
    pub image: &'a Path,
    /// Which of several.
    pub reference: Option<&'a str>,
}

/// The file system with the packages.
///
/// # Errors
/// One line: no lock, what is wrong with it, what pip or npm said, or a file that the image has already.
pub fn add(rootfs: &Rootfs, wanted: &Wanted<'_>, cache: &Cache) -> Result<Rootfs> {
    let mut all = BTreeMap::new();
    let mut put = |prefix: &str, tree: Tree| {
        for (path, item) in tree.0 {
            let added = match item {
                Item::File { bytes, executable } => Added::File { bytes: bytes.into(), executable },
                Item::Link(target) => Added::Symlink(target),
            };
            all.insert([prefix.as_bytes(), b"/", &path].concat(), added);
        }
    };
    if let Some(file) = wanted.pip {
        let (site, tree) = pip(rootfs, file, wanted, cache).with_context(|| format!("--pip {}", file.display()))?;
        put(&site, tree);
    }
    if let Some(file) = wanted.npm {
        put(NODE_MODULES, npm(file, cache).with_context(|| format!("--npm {}", file.display()))?);
    }
    rootfs.with_added(&all, MTIME).map_err(|e| anyhow!("packages: {e}"))
}

/// Installs what a `requirements.txt` names, and compiles it. Returns the directory in the image, too.
fn pip(rootfs: &Rootfs, file: &Path, wanted: &Wanted<'_>, cache: &Cache) -> Result<(String, Tree)> {
    let python = rootfs.executables().into_iter().find_map(|(path, node)| {
        let found = polyfill::recognise(rootfs.data(node))?;
        (found.language == Language::Python).then_some((path, found))
    });
    let (interpreter, python) = python.context("the image has no python3 that a polyfill stands in for")?;
    let version = python.version.clone();
    let chosen = polyfill::find(python, "packages are compiled by it")?;
    let site = format!("/usr/local/lib/python{version}/dist-packages");
    let lock = fs::read_to_string(file).context("cannot read it")?;
    check_requirements(&lock)?;
    let parts = [REVISION, b"pip", version.as_bytes(), &chosen.hash.0, lock.as_bytes()];
    let tree = cache.get("packages", &parts, || {
        let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
        let to = dir.path().join("packages");
        let requirements = dir.path().join("requirements.txt");
        fs::write(&requirements, &lock)?;
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--no-compile", "--no-input"]);
        pip.args(["--only-binary", ":all:", "--disable-pip-version-check", "--root-user-action=ignore"]);
        // Wheels for any machine, whatever Python runs pip.
        pip.args(["--platform", "any", "--implementation", "py", "--abi", "none", "--python-version", &version]);
        pip.args(["--retries", "1", "--timeout", "20"]);
        pip.arg("--target").arg(&to).arg("-r").arg(&requirements);
        run(&mut pip, "pip")?;
        // Commands belong to the Python that ran pip.
        fs::remove_dir_all(to.join("bin")).or_else(missing)?;
        set_times(&to)?;
        compile(wanted, OsStr::from_bytes(&interpreter), &to, &site)?;
        Ok(postcard::to_allocvec(&read_tree(&to, &[])?)?)
    })?;
    Ok((site, postcard::from_bytes(&tree.bytes).context("the cache has something else")?))
}

/// Compiles the modules in `packages` with the image's polyfill, in a container, where they lie at `site`. What does not compile (a file for another version of
/// the language) stays without bytecode, as pip leaves it.
fn compile(wanted: &Wanted<'_>, interpreter: &OsStr, packages: &Path, site: &str) -> Result<()> {
    let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
    let bundle = dir.path().join("bundle");
    let mut build = Command::new(std::env::current_exe().context("cannot find out where this executable lies")?);
    build.arg("build").arg(wanted.image).arg("-o").arg(&bundle).arg("--no-snapshots");
    if let Some(reference) = wanted.reference {
        build.args(["--reference", reference]);
    }
    run(&mut build, "megalith")?;
    let mut volume = packages.as_os_str().to_owned();
    volume.push(format!(":{site}"));
    let mut python = Command::new(runner()?);
    python.arg("-v").arg(volume).args(["-u", "0:0", "-w", "/"]).arg(&bundle).arg("--").arg(interpreter);
    let out = python
        .args(["-I", "-m", "compileall", "-q", "--invalidation-mode", "timestamp", site])
        .stdin(Stdio::null())
        .output()
        .context("cannot start megalith-run")?;
    if !matches!(out.status.code(), Some(0 | 1)) {
        bail!("compiling the packages: {}: {}", out.status, one_line(&out.stderr));
    }
    Ok(())
}

/// Whether every requirement is one version with its hashes. Options are refused: they may name other files, and other registries than the user's.
fn check_requirements(lock: &str) -> Result<()> {
    let joined = lock.replace("\\\n", " ").replace("\\\r\n", " ");
    let mut any = false;
    for line in joined.lines() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with('-') {
            bail!("'{line}': options have no place here; the registry is that of your pip configuration");
        }
        let (requirement, marker) = line.split_once(';').map_or((line, ""), |(r, m)| (r, m));
        let mut hashes = line.split_whitespace().filter_map(|w| w.strip_prefix("--hash=sha256:")).peekable();
        let plain = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-[],+!".contains(&b))
        };
        let named = requirement.split_whitespace().next().and_then(|w| w.split_once("=="));
        let good = named.is_some_and(|(name, version)| plain(name) && plain(version))
            && hashes.peek().is_some()
            && hashes.all(|h| h.len() == 64 && h.bytes().all(|b| b.is_ascii_hexdigit()))
            && !marker.contains("://");
        if !good {
            let name = line.split_whitespace().next().unwrap_or_default();
            bail!(
                "'{name}' is not locked: write name==version --hash=sha256:..., as 'pip-compile --generate-hashes' does"
            );
        }
        any = true;
    }
    if any { Ok(()) } else { Err(anyhow!("it names no package")) }
}

/// Installs what a `package-lock.json` names.
fn npm(file: &Path, cache: &Cache) -> Result<Tree> {
    let package = fs::read(file).context("cannot read it")?;
    let lock_path = file.with_file_name("package-lock.json");
    let lock = match fs::read(&lock_path) {
        Ok(lock) => lock,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            bail!("there is no package-lock.json beside it; 'npm install --package-lock-only' makes one")
        }
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", lock_path.display())),
    };
    check_lock(&lock)?;
    let tree = cache.get("packages", &[REVISION, b"npm", &package, &lock], || {
        let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
        fs::write(dir.path().join("package.json"), &package)?;
        fs::write(dir.path().join("package-lock.json"), &lock)?;
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund", "--loglevel=error"]);
        npm.args(["--fetch-retries=1", "--fetch-timeout=20000"]);
        run(npm.current_dir(dir.path()), "npm")?;
        // npm's own note of what it installed.
        let modules = dir.path().join("node_modules");
        fs::remove_file(modules.join(".package-lock.json")).or_else(missing)?;
        Ok(postcard::to_allocvec(&read_tree(&modules, &[])?)?)
    })?;
    postcard::from_bytes(&tree.bytes).context("the cache has something else")
}

/// Whether every package in a lock file comes with its hash.
fn check_lock(lock: &[u8]) -> Result<()> {
    let lock: serde_json::Value = serde_json::from_slice(lock).context("package-lock.json is no JSON")?;
    let packages = lock.get("packages").and_then(|p| p.as_object());
    let packages =
        packages.context("package-lock.json is of an old kind: 'npm install --package-lock-only' writes it anew")?;
    let hashed = |p: &serde_json::Value| {
        let integrity = p.get("integrity").and_then(|i| i.as_str()).unwrap_or_default();
        integrity.split_whitespace().any(|i| i.starts_with("sha512-") || i.starts_with("sha256-"))
    };
    let others = || packages.iter().filter(|(path, _)| !path.is_empty());
    if others().next().is_none() {
        bail!("package-lock.json names no package");
    }
    match others().find(|(_, p)| !hashed(p)) {
        Some((path, _)) => bail!("package-lock.json has no hash of '{}'", path.escape_default()),
        None => Ok(()),
    }
}

/// Runs a program that says in the end what went wrong.
fn run(command: &mut Command, name: &str) -> Result<()> {
    let out = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {name}"))?;
    if !out.status.success() {
        bail!("{name}: {}", one_line(&out.stderr));
    }
    Ok(())
}

/// The first lines that say what is wrong, as one.
fn one_line(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let errors = lines.iter().filter(|l| l.to_ascii_lowercase().contains("err")).take(2).copied().collect::<Vec<_>>();
    let line = if errors.is_empty() {
        lines.last().copied().unwrap_or("no reason given").to_owned()
    } else {
        errors.join("; ")
    };
    line.chars().filter(|c| !c.is_control()).take(400).collect()
}

fn missing(e: std::io::Error) -> std::io::Result<()> {
    if e.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(e) }
}

/// Sets the time of every file, so that bytecode is the same whenever it is made.
fn set_times(dir: &Path) -> Result<()> {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(MTIME.unsigned_abs());
    for path in entries(dir)? {
        let meta = fs::symlink_metadata(&path)?;
        if meta.is_dir() {
            set_times(&path)?;
        } else if meta.is_file() {
            fs::File::options().write(true).open(&path)?.set_modified(time)?;
        }
    }
    Ok(())
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let found = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    Ok(found.map(|e| Ok(e?.path())).collect::<std::io::Result<_>>()?)
}

/// All files and links below `dir`, whose names begin with `prefix`.
fn read_tree(dir: &Path, prefix: &[u8]) -> Result<Tree> {
    let mut tree = Tree::default();
    for path in entries(dir)? {
        let name = [prefix, path.file_name().unwrap_or_default().as_bytes()].concat();
        let meta = fs::symlink_metadata(&path)?;
        if meta.is_dir() {
            tree.0.extend(read_tree(&path, &[&name[..], b"/"].concat())?.0);
        } else if meta.is_symlink() {
            tree.0.insert(name, Item::Link(fs::read_link(&path)?.into_os_string().into_vec()));
        } else if meta.is_file() {
            let executable = meta.permissions().mode() & 0o111 != 0;
            tree.0.insert(name, Item::File { bytes: fs::read(&path)?, executable });
        }
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "--hash=sha256:c647aa4a12dfbad9333ca4e71fe62ddc36f4e63b2d260a37a8b83d2f043ac309";

    #[test]
    fn requirements_are_exact_and_hashed() {
        let good =
            format!("# a comment\nattrs==26.1.0 {HASH}\n\nidna==3.1 \\\n    {HASH} \\\n    {HASH}\n    # via attrs\n");
        check_requirements(&good).unwrap();
        check_requirements(&format!("a[b]==1.0 ; python_version > '3' {HASH}")).unwrap();
        for bad in
            ["attrs==26.1.0", "attrs", &format!("attrs>=26 {HASH}"), "a==1 --hash=md5:00", "a==1 --hash=sha256:12"]
        {
            assert!(check_requirements(bad).unwrap_err().to_string().contains("is not locked"), "{bad}");
        }
        let url = format!("a @ https://x/a.whl {HASH}");
        assert!(check_requirements(&url).unwrap_err().to_string().contains("is not locked"));
        for option in ["-r other.txt", "--index-url https://x", "-e ."] {
            assert!(check_requirements(option).unwrap_err().to_string().contains("options have no place"), "{option}");
        }
        assert!(check_requirements("# nothing\n").is_err());
    }

    #[test]
    fn locks_have_hashes() {
        let lock = |entry: &str| format!(r#"{{"packages": {{"": {{}}, "node_modules/a": {entry}}}}}"#).into_bytes();
        check_lock(&lock(r#"{"integrity": "sha512-abc"}"#)).unwrap();
        for bad in ["{}", r#"{"integrity": "sha1-abc"}"#, r#"{"link": true, "resolved": "../a"}"#] {
            assert!(check_lock(&lock(bad)).unwrap_err().to_string().contains("no hash of 'node_modules/a'"), "{bad}");
        }
        assert!(check_lock(br#"{"dependencies": {}}"#).unwrap_err().to_string().contains("old kind"));
        assert!(check_lock(b"{").is_err() && check_lock(br#"{"packages": {"": {}}}"#).is_err());
    }

    #[test]
    fn what_a_program_says_becomes_one_line() {
        assert_eq!(one_line(b"warn x\nERROR: no\n  detail\nERROR: two\nERROR: three\n"), "ERROR: no; ERROR: two");
        assert_eq!(one_line(b"\nplain\n\n"), "plain");
    }
}
