//! Packages of Python and Node that a build adds to the image: from lock files with hashes, fetched by the user's own pip and npm, which know the user's
//! registry. Nothing of a package runs outside of a container; what has to be built is built in one (`crate::extensions`).

use crate::bytecode;
use crate::cache::Cache;
use crate::extensions::{self, Built, Object};
use crate::progress::Progress;
use crate::sandbox::Sandbox;
use anyhow::{Context, Error, Result, anyhow, bail};
use megalith_image::{Added, Rootfs};
use megalith_manifest::FileHash;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// Changes when this module makes something else of the same input.
const REVISION: &[u8] = b"2";

/// Where Node's packages go: `require` and `import` look there from any script of the image.
const NODE_MODULES: &str = "/node_modules";

/// Modification time of what is added (1980-01-01): bytecode names its source's.
const MTIME: i64 = 315_532_800;

/// Files, by path below a directory.
#[derive(Serialize, Deserialize, Default)]
pub struct Tree(BTreeMap<Vec<u8>, Item>);

#[derive(Serialize, Deserialize)]
enum Item {
    File { bytes: Vec<u8>, executable: bool },
    Link(Vec<u8>),
}

impl Tree {
    /// The regular files.
    pub fn without_links(self) -> Tree {
        Tree(self.0.into_iter().filter(|(_, item)| matches!(item, Item::File { .. })).collect())
    }

    /// What becomes of it in an image, below the directory `prefix`.
    fn added(self, prefix: &str) -> impl Iterator<Item = (Vec<u8>, Added)> {
        self.0.into_iter().map(move |(path, item)| {
            let added = match item {
                Item::File { bytes, executable } => Added::File { bytes: bytes.into(), executable },
                Item::Link(target) => Added::Symlink(target),
            };
            ([prefix.as_bytes(), b"/", &path].concat(), added)
        })
    }

    /// The files and links of these paths.
    pub fn at(self, these: impl Fn(&[u8]) -> bool) -> Tree {
        Tree(self.0.into_iter().filter(|(path, _)| these(path)).collect())
    }

    /// Writes the regular files to `dir`, which need not be there yet.
    pub fn write(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir)?;
        for (path, item) in &self.0 {
            if let Item::File { bytes, .. } = item {
                let to = dir.join(OsStr::from_bytes(path));
                fs::create_dir_all(to.parent().context("a file has a directory")?)?;
                fs::write(&to, bytes)?;
            }
        }
        Ok(())
    }

    /// Files whose name ends like that of a shared object.
    fn shared_objects(&self) -> impl Iterator<Item = &str> {
        self.0.keys().filter_map(|path| std::str::from_utf8(path).ok()).filter(|path| path.ends_with(".so"))
    }
}

/// What is asked for.
pub struct Wanted<'a> {
    /// A `requirements.txt` with exact versions and hashes.
    pub pip: Option<&'a Path>,
    /// A `package.json`; its lock file lies beside it.
    pub npm: Option<&'a Path>,
    /// Whether native extensions of Python packages are built from sources.
    pub extensions: bool,
    /// Whether modules that have no bytecode get some.
    pub bytecode: bool,
    /// Whether a polyfill stands in for Python.
    pub python: bool,
    /// The image, to run code of packages in.
    pub image: &'a Path,
    /// Which of several.
    pub reference: Option<&'a str>,
    /// Its identity.
    pub image_id: FileHash,
}

/// What came of it.
pub struct Packages {
    /// The file system with the packages.
    pub rootfs: Rootfs,
    /// Native extensions of Python packages that are linked into the polyfill.
    pub linked: Option<Linked>,
    /// Those that are not, by path, and why.
    pub failed: BTreeMap<String, String>,
}

/// A polyfill with extensions in it.
pub struct Linked {
    /// Hash of the polyfill that it takes the place of.
    pub instead_of: FileHash,
    /// Its ELF file.
    pub elf: Arc<[u8]>,
    /// Paths of the files, in whose place the extensions are.
    pub files: Vec<String>,
}

/// Adds packages, and builds native extensions of Python packages, of the image's own, too.
///
/// # Errors
/// One line: no lock, what is wrong with it, what pip or npm said, or a file that the image has already. An extension that cannot be built is no error.
pub fn add(rootfs: &Rootfs, wanted: &Wanted<'_>, cache: &Cache, progress: Progress) -> Result<Packages> {
    let mut all = BTreeMap::new();
    let mut put = |prefix: &str, tree: Tree| all.extend(tree.added(prefix));
    let extensions = wanted.extensions && wanted.python;
    let bare = if wanted.bytecode && wanted.python { bytecode::bare_python(rootfs) } else { Vec::new() };
    let needed = wanted.pip.is_some() || extensions && !shared_objects(rootfs).is_empty() || !bare.is_empty();
    let sandbox = needed.then(|| Sandbox::new(rootfs, wanted));
    let python = match &sandbox {
        Some(Ok(sandbox)) if !bare.is_empty() => bytecode::python(rootfs, &bare, sandbox, cache, progress),
        _ => Ok(Tree::default()),
    };
    let mut origins = BTreeMap::new();
    if let (Some(file), Some(sandbox)) = (wanted.pip, &sandbox) {
        let named = || format!("--pip {}", file.display());
        let sandbox = sandbox.as_ref().map_err(|e| anyhow!("{e:#}")).with_context(named)?;
        let installed = pip(file, sandbox, cache, progress).with_context(named)?;
        let site = sandbox.site();
        for built in installed.built.into_iter().map(Rc::new) {
            let files: Vec<_> = built.files().map(str::to_owned).collect();
            origins.extend(files.into_iter().map(|f| (format!("{site}/{f}"), Origin::Built(Rc::clone(&built), f))));
        }
        origins.extend(installed.failed.into_iter().map(|(f, why)| (format!("{site}/{f}"), Origin::Failed(why))));
        put(&site, installed.tree);
    }
    if let Some(file) = wanted.npm {
        put(NODE_MODULES, npm(file, cache).with_context(|| format!("--npm {}", file.display()))?);
    }
    let rootfs = rootfs.with_added(&all, MTIME).map_err(|e| anyhow!("packages: {e}"))?;
    let rootfs = with_bytecode(rootfs, python, "Python", progress);
    let node = if wanted.bytecode { bytecode::node(&rootfs, cache, progress) } else { Ok(Tree::default()) };
    let rootfs = with_bytecode(rootfs, node, "Node", progress);
    let (mut linked, mut failed) = (None, BTreeMap::new());
    if let (Some(Ok(sandbox)), true) = (&sandbox, extensions) {
        let mut objects = Vec::new();
        for (path, object) in objects_of(&rootfs, origins, sandbox, cache, progress) {
            match object {
                Ok(object) => objects.push(object),
                Err(why) => drop(failed.insert(path, why)),
            }
        }
        if !objects.is_empty() {
            progress.note(&format!("linking {} native extensions into the Python polyfill", objects.len()));
            let kit = sandbox.kit().map_err(Error::msg)?;
            let elf = kit.link(&objects, &sandbox.polyfill, cache).context("the Python polyfill with extensions")?;
            let files = objects.into_iter().map(|o| format!("/{}", o.path)).collect();
            linked = Some(Linked { instead_of: sandbox.polyfill.hash, elf: elf.into(), files });
        }
    }
    // The interpreter reads them when it raises ImportError.
    let reason = |why: &String| Added::File { bytes: format!("{why}\n").into_bytes().into(), executable: false };
    let reasons = failed.iter().map(|(path, why)| (format!("{path}.reason").into_bytes(), reason(why)));
    // The image's own file of that name stays.
    let reasons = reasons.filter(|(path, _)| rootfs.lookup(path, false).is_none()).collect();
    let rootfs = rootfs.with_added(&reasons, MTIME).map_err(|e| anyhow!("packages: {e}"))?;
    Ok(Packages { rootfs, linked, failed })
}

/// The file system with bytecode. Without it programs start later: nothing that is wrong with it keeps an image from being built.
fn with_bytecode(rootfs: Rootfs, made: Result<Tree>, language: &str, progress: Progress) -> Rootfs {
    let added = made.and_then(|tree| {
        // What the image has itself stays.
        let new = tree.added("").filter(|(path, _)| rootfs.lookup(path, false).is_none()).collect::<BTreeMap<_, _>>();
        let more = (!new.is_empty()).then(|| rootfs.with_added(&new, MTIME));
        more.transpose().map_err(|e| anyhow!("{e}"))
    });
    match added {
        Ok(more) => more.unwrap_or(rootfs),
        Err(e) => {
            progress.note(&format!("modules of {language} are compiled when they are loaded: {e:#}"));
            rootfs
        }
    }
}

/// Where a shared object of a package is to come from.
enum Origin {
    /// From these sources, as this file.
    Built(Rc<Built>, String),
    Failed(String),
}

/// The native extensions of Python packages in a file system: their paths, compiled, or why they are not.
fn objects_of(
    rootfs: &Rootfs,
    mut origins: BTreeMap<String, Origin>,
    sandbox: &Sandbox<'_>,
    cache: &Cache,
    progress: Progress,
) -> Vec<(String, Result<Object, String>)> {
    let files = shared_objects(rootfs);
    if files.is_empty() {
        return Vec::new();
    }
    let owners = Owners::read(rootfs);
    let mut packages: BTreeMap<String, Result<Rc<Built>, String>> = BTreeMap::new();
    let mut offline = None;
    let mut object = |path: &str| -> Result<Object, String> {
        let version = &sandbox.polyfill.interpreter.version;
        extensions::module(path, version).ok_or_else(|| format!("it is no extension module for Python {version}"))?;
        let kit = sandbox.kit()?;
        let (built, file) = match origins.remove(path) {
            Some(Origin::Failed(why)) => return Err(why),
            Some(Origin::Built(built, file)) => (built, file),
            None => {
                let (_, file) = below_site(path).ok_or("it is in no directory of packages")?;
                let owner = owners.of(path).ok_or("no package of the image says that it is its own")?;
                let built = packages.entry(owner.line()).or_insert_with(|| {
                    if let Some(why) = &offline {
                        return Err(String::clone(why));
                    }
                    progress.note(&format!("building {owner} from its sources"));
                    let sdist = extensions::fetch(&owner, cache);
                    let built = sdist.and_then(|sdist| extensions::build(&sdist, sandbox, cache));
                    built.map(Rc::new).map_err(|e| {
                        if is_offline(&e) {
                            offline = Some(format!("{e:#}"));
                        }
                        format!("{owner}: {e:#}")
                    })
                });
                (Rc::clone(built.as_ref().map_err(|e| e.clone())?), file.to_owned())
            }
        };
        let inside = path.trim_start_matches('/');
        kit.compile(&built, &file, inside, &sandbox.polyfill, cache, progress).map_err(|e| format!("{e:#}"))
    };
    files.into_iter().map(|path| (path.clone(), object(&path))).collect()
}

/// The shared objects in directories of Python packages.
fn shared_objects(rootfs: &Rootfs) -> Vec<String> {
    let mut files = Vec::new();
    for (path, _, node) in rootfs.iter() {
        let Ok(path) = String::from_utf8(path) else { continue };
        if node.regular().is_some() && path.ends_with(".so") && below_site(&path).is_some() {
            files.push(path);
        }
    }
    files
}

/// Splits a path after the directory of packages that it is below.
pub fn below_site(path: &str) -> Option<(&str, &str)> {
    let ends = ["/dist-packages/", "/site-packages/"].iter().filter_map(|dir| path.find(dir).map(|at| at + dir.len()));
    ends.min().and_then(|at| path.split_at_checked(at))
}

/// Which packages of an image have which files.
struct Owners(Vec<Owner>);

struct Owner {
    site: String,
    package: Requirement,
    /// Files below the directory, where the package lists them.
    record: Option<String>,
    /// Names of what it has there otherwise.
    top_level: Vec<String>,
}

impl Owners {
    /// Reads what installers leave (`.dist-info`, `.egg-info`).
    fn read(rootfs: &Rootfs) -> Owners {
        let mut owners = Vec::new();
        for (path, id, node) in rootfs.iter() {
            let Ok(path) = std::str::from_utf8(&path) else { continue };
            let Some((site, name)) = below_site(path).filter(|_| node.regular().is_some()) else { continue };
            let dir = name.strip_suffix(".dist-info/METADATA").or_else(|| name.strip_suffix(".egg-info/PKG-INFO"));
            let alone = dir.or_else(|| name.strip_suffix(".egg-info"));
            let metadata = String::from_utf8_lossy(rootfs.data(id)).into_owned();
            let field = |name: &str| {
                let lines = metadata.lines().take_while(|l| !l.is_empty());
                lines.filter_map(|l| l.split_once(": ")).find(|(n, _)| *n == name).map(|(_, v)| v.trim().to_owned())
            };
            let package = alone.filter(|d| !d.contains('/'));
            let package = package.and_then(|_| Requirement::of(&field("Name")?, &field("Version")?));
            let Some(package) = package else { continue };
            let beside = |name: &str| {
                let path = format!("{}/{name}", path.rsplit_once('/').filter(|_| dir.is_some())?.0);
                Some(String::from_utf8_lossy(rootfs.data(rootfs.lookup(path.as_bytes(), true)?)).into_owned())
            };
            let tops = beside("top_level.txt").unwrap_or_else(|| package.name.to_ascii_lowercase().replace('-', "_"));
            let top_level = tops.split_whitespace().map(str::to_owned).collect();
            owners.push(Owner { site: site.into(), package, record: beside("RECORD"), top_level });
        }
        Owners(owners)
    }

    fn of(&self, path: &str) -> Option<Requirement> {
        let (site, file) = below_site(path)?;
        let top = file.split(['/', '.']).next()?;
        let listed =
            |o: &&Owner| o.record.as_ref().is_some_and(|r| r.lines().any(|l| l.split(',').next() == Some(file)));
        let named = |o: &&Owner| o.record.is_none() && o.top_level.iter().any(|t| t == top);
        let mut here = self.0.iter().filter(|o| o.site == site);
        here.clone().find(listed).or_else(|| here.find(named)).map(|o| o.package.clone())
    }
}

/// A version of a package.
#[derive(Clone, Debug)]
pub struct Requirement {
    name: String,
    version: String,
    /// SHA-256 of the files that are taken for it; any, if empty.
    hashes: Vec<String>,
    /// As the lock file has it.
    text: String,
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

impl Requirement {
    /// Without hashes. `None`: not the name and version of a package.
    fn of(name: &str, version: &str) -> Option<Requirement> {
        let plain = |text: &str| {
            let good = |b: u8| b.is_ascii_alphanumeric() || b"._-+!".contains(&b);
            text.bytes().all(good) && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        };
        let both = plain(name) && plain(version);
        both.then(|| Requirement { name: name.into(), version: version.into(), hashes: vec![], text: String::new() })
    }

    /// As a line of a requirements file, without conditions and extras.
    pub fn line(&self) -> String {
        let hashes: String = self.hashes.iter().map(|h| format!(" --hash=sha256:{h}")).collect();
        format!("{}=={}{hashes}", self.name, self.version)
    }
}

/// What a `requirements.txt` became.
#[derive(Serialize, Deserialize)]
struct Installed {
    /// The files, with bytecode.
    tree: Tree,
    /// Packages with extensions that were built from sources, without what they install.
    built: Vec<Built>,
    /// Shared objects of packages that cannot be built, and why.
    failed: Vec<(String, String)>,
}

/// Installs what a `requirements.txt` names, and compiles it.
fn pip(file: &Path, sandbox: &Sandbox<'_>, cache: &Cache, progress: Progress) -> Result<Installed> {
    let version = &sandbox.polyfill.interpreter.version;
    let lock = fs::read_to_string(file).context("cannot read it")?;
    let requirements = check_requirements(&lock)?;
    let image = &sandbox.image_id.0;
    // Most packages need no compiler, and without one those that do are told.
    let (extensions, polyfill, compiler) = (extensions::revision(), &sandbox.polyfill.hash.0, sandbox.compiler());
    let parts = [REVISION, b"pip", version.as_bytes(), polyfill, image, lock.as_bytes(), &extensions.0, compiler];
    let installed = cache.get("packages", &parts, || {
        let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
        let (to, list) = (dir.path().join("packages"), dir.path().join("requirements.txt"));
        let write = |wanted: &[&Requirement]| -> Result<()> {
            let lines: String = wanted.iter().map(|r| format!("{}\n", r.text)).collect();
            Ok(fs::write(&list, lines)?)
        };
        // Those that there is no wheel of for any machine, as pip says one by one.
        let (mut rest, mut from_sources) = (requirements.iter().collect::<Vec<_>>(), Vec::new());
        while !rest.is_empty() {
            write(&rest)?;
            let missing = match run_pip(&mut install(&list, &to, version, false)) {
                Ok(()) => break,
                Err(e) => rest.iter().position(|r| e.is_without(r)).ok_or(e)?,
            };
            from_sources.push(rest.remove(missing));
        }
        let (mut built, mut failed) = (Vec::new(), Vec::new());
        for package in from_sources {
            progress.note(&format!("building {package} from its sources"));
            let made = extensions::fetch(package, cache).and_then(|sdist| extensions::build(&sdist, sandbox, cache));
            match made {
                Ok(mut made) => {
                    std::mem::take(&mut made.site).write(&to)?;
                    built.push(made);
                }
                Err(e) if is_offline(&e) => return Err(e),
                // Then the wheel for this machine, whose shared objects cannot be loaded.
                Err(e) => {
                    let native = dir.path().join("native");
                    write(&[package])?;
                    if run_pip(&mut install(&list, &native, version, true)).is_err() {
                        bail!("{package}: {e:#}");
                    }
                    let tree = read_tree(&native, &[])?;
                    failed.extend(tree.shared_objects().map(|f| (f.to_owned(), format!("{package}: {e:#}"))));
                    tree.write(&to)?;
                    fs::remove_dir_all(&native)?;
                }
            }
        }
        // Commands belong to the Python that ran pip.
        fs::remove_dir_all(to.join("bin")).or_else(missing)?;
        set_times(&to)?;
        bytecode::compile_python(sandbox, &to, &sandbox.site(), &[])?;
        Ok(postcard::to_allocvec(&Installed { tree: read_tree(&to, &[])?, built, failed })?)
    })?;
    postcard::from_bytes(&installed).context("the cache has something else")
}

/// pip as it installs a list of requirements from wheels, those for any machine or those for this one.
pub fn install(list: &Path, to: &Path, version: &str, native: bool) -> Command {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--no-compile", "--no-input"]);
    pip.args(["--only-binary", ":all:", "--disable-pip-version-check", "--root-user-action=ignore"]);
    // Whatever Python runs pip.
    pip.args(["--python-version", version, "--abi", "none", "--platform", "any"]);
    if native {
        let tag = version.replace('.', "");
        pip.args(["--implementation", "cp", "--abi", "abi3", "--abi", &format!("cp{tag}")]);
        for platform in ["manylinux1", "manylinux2010", "manylinux2014", "manylinux_2_17", "manylinux_2_28"] {
            pip.args(["--platform", &format!("{platform}_x86_64")]);
        }
    } else {
        pip.args(["--implementation", "py"]);
    }
    pip.args(["--retries", "1", "--timeout", "20"]);
    pip.arg("--target").arg(to).arg("-r").arg(list);
    pip
}

/// Why pip failed.
#[derive(Debug)]
pub struct PipError {
    said: String,
    /// The exception of pip's HTTP library, when the index did not answer.
    offline: Option<&'static str>,
}

impl fmt::Display for PipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offline {
            // Nothing that differs from time to time: it may become part of a bundle.
            Some(exception) => write!(f, "pip: the package index cannot be reached ({exception})"),
            None => write!(f, "pip: {}", one_line(self.said.as_bytes())),
        }
    }
}

impl std::error::Error for PipError {}

impl PipError {
    /// Whether there is nothing to install for a requirement.
    fn is_without(&self, requirement: &Requirement) -> bool {
        let plain = |name: &str| name.to_ascii_lowercase().replace(['_', '.'], "-");
        let named = self.said.split("No matching distribution found for ").skip(1);
        let names = named.filter_map(|rest| rest.split(['=', '[', ' ', ';', '\n']).next());
        self.offline.is_none() && names.into_iter().any(|name| plain(name) == plain(&requirement.name))
    }
}

/// Whether an error is that of a package index that does not answer.
fn is_offline(error: &anyhow::Error) -> bool {
    error.chain().any(|e| e.downcast_ref::<PipError>().is_some_and(|e| e.offline.is_some()))
}

/// Runs pip.
pub fn run_pip(pip: &mut Command) -> Result<(), PipError> {
    let fail = |said: String| PipError { said, offline: None };
    let out = pip.stdin(Stdio::null()).output().map_err(|e| fail(format!("cannot start python3: {e}")))?;
    if out.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    let exceptions = [
        "NewConnectionError",
        "ConnectTimeout",
        "ProxyError",
        "ReadTimeout",
        "ConnectionError",
        "Max retries exceeded",
    ];
    let offline = exceptions.into_iter().find(|name| said.contains(name));
    Err(PipError { said, offline })
}

/// What a lock file requires: each one version with its hashes. Options are refused: they may name other files, and other registries than the user's.
fn check_requirements(lock: &str) -> Result<Vec<Requirement>> {
    let joined = lock.replace("\\\n", " ").replace("\\\r\n", " ");
    let mut all = Vec::new();
    for line in joined.lines() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with('-') {
            bail!("'{line}': options have no place here; the registry is that of your pip configuration");
        }
        let (requirement, marker) = line.split_once(';').map_or((line, ""), |(r, m)| (r, m));
        let hashes: Vec<&str> = line.split_whitespace().filter_map(|w| w.strip_prefix("--hash=sha256:")).collect();
        let sound = !hashes.is_empty()
            && hashes.iter().all(|h| h.len() == 64 && h.bytes().all(|b| b.is_ascii_hexdigit()))
            && !marker.contains("://");
        let named = requirement.split_whitespace().next().and_then(|w| w.split_once("=="));
        let package = named.filter(|_| sound).and_then(|(name, version)| {
            let (name, extras) = name.split_once('[').unwrap_or((name, "]"));
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-,".contains(&b);
            extras.strip_suffix(']').filter(|extras| extras.bytes().all(plain))?;
            Requirement::of(name, version)
        });
        let Some(package) = package else {
            let name = line.split_whitespace().next().unwrap_or_default();
            bail!(
                "'{name}' is not locked: write name==version --hash=sha256:..., as 'pip-compile --generate-hashes' does"
            );
        };
        let hashes = hashes.into_iter().map(str::to_owned).collect();
        all.push(Requirement { hashes, text: line.into(), ..package });
    }
    if all.is_empty() { Err(anyhow!("it names no package")) } else { Ok(all) }
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
    postcard::from_bytes(&tree).context("the cache has something else")
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
pub fn one_line(said: &[u8]) -> String {
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

/// Sets a file's time, in seconds since 1970. One that has no place there becomes 0.
pub fn set_time(path: &Path, seconds: i64) -> Result<()> {
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
    Ok(fs::File::options().write(true).open(path)?.set_modified(time.unwrap_or(UNIX_EPOCH))?)
}

/// Sets the time of every file, so that bytecode is the same whenever it is made.
fn set_times(dir: &Path) -> Result<()> {
    for path in entries(dir)? {
        let meta = fs::symlink_metadata(&path)?;
        if meta.is_dir() {
            set_times(&path)?;
        } else if meta.is_file() {
            set_time(&path, MTIME)?;
        }
    }
    Ok(())
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let found = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    Ok(found.map(|e| Ok(e?.path())).collect::<std::io::Result<_>>()?)
}

/// All files and links below `dir`; their paths begin with `prefix`. No link is followed: what a container left may lead anywhere.
pub fn read_tree(dir: &Path, prefix: &[u8]) -> Result<Tree> {
    let mut tree = Tree::default();
    if !fs::symlink_metadata(dir).with_context(|| format!("cannot read {}", dir.display()))?.is_dir() {
        bail!("{} is no directory", dir.display());
    }
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
    fn requirements_are_read() {
        let all = check_requirements(&format!("Markup_Safe[x,y]==2.1.5 ; python_version > '3' {HASH} \\\n {HASH}\n"))
            .unwrap();
        let hash = HASH.trim();
        assert_eq!(
            all.iter().map(Requirement::line).collect::<Vec<_>>(),
            [format!("Markup_Safe==2.1.5 {hash} {hash}")]
        );
        let error = |said: &str| PipError { said: said.into(), offline: None };
        let said = "ERROR: No matching distribution found for markup-safe[x]==2.1.5\n";
        assert!(all.iter().all(|r| error(said).is_without(r) && !error("ERROR: other").is_without(r)));
        assert!(Requirement::of("a", "1;b").is_none() && Requirement::of("-e", "1").is_none());
    }

    #[test]
    fn files_belong_to_packages() {
        assert_eq!(
            below_site("/usr/lib/python3/dist-packages/a/b.so"),
            Some(("/usr/lib/python3/dist-packages/", "a/b.so"))
        );
        assert_eq!(below_site("/usr/lib/a.so"), None);
        let owner = |name: &str, record: Option<&str>, top: &str| Owner {
            site: "/site-packages/".into(),
            package: Requirement::of(name, "1").unwrap(),
            record: record.map(str::to_owned),
            top_level: vec![top.into()],
        };
        let owners =
            Owners(vec![owner("a", Some("x/y.so,sha256=,1\n"), "x"), owner("b", None, "b"), owner("c", None, "_c")]);
        let of = |path: &str| owners.of(path).map(|r| r.name);
        assert_eq!(of("/site-packages/x/y.so").as_deref(), Some("a"));
        assert_eq!(of("/site-packages/b/z.so").as_deref(), Some("b"));
        assert_eq!(of("/site-packages/_c.abi3.so").as_deref(), Some("c"));
        assert_eq!((of("/site-packages/x/other.so"), of("/other/site-packages/b/z.so")), (None, None));
    }

    #[test]
    fn trees_do_not_follow_links() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/file"), "x").unwrap();
        std::os::unix::fs::symlink(dir.path().join("a"), dir.path().join("link")).unwrap();
        assert!(read_tree(&dir.path().join("link"), &[]).is_err());
        let tree = read_tree(dir.path(), b"p/").unwrap();
        assert_eq!(tree.0.keys().map(Vec::as_slice).collect::<Vec<_>>(), [&b"p/a/file"[..], b"p/link"]);
        assert_eq!(tree.without_links().at(|path| path.starts_with(b"p/a")).0.len(), 1);
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
