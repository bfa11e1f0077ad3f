//! Root file systems of an agent's tool box: Debian's python3 and nodejs with all that they need, beside busybox, and Python and
//! Node packages from lock files with hashes.
//!
//! The native side runs Debian's own interpreters in the same root that the bundle under test is built from.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::corpus::{self, Corpus};
use crate::{debian, paths, sh};

/// Changes when what this module makes of the same input changes.
const REVISION: &str = "1";

/// Debian's interpreter.
pub const PYTHON: &str = "/usr/bin/python3.11";
/// Debian's interpreter.
pub const NODE: &str = "/usr/bin/node";
/// Where Debian's Python looks for packages that were not installed by dpkg.
const SITE: &str = "usr/local/lib/python3.11/dist-packages";

/// Fetched only because others depend on them; busybox does what they do, or nobody does it in a container.
const LEFT_OUT: &[&str] = &["busybox-static", "debconf", "dpkg", "net-tools", "perl-base", "tar"];

/// A root file system with its interpreters.
pub struct Toolbox {
    /// Image and root directory.
    pub corpus: Corpus,
    /// Versions worth telling: package, Debian version.
    pub versions: Vec<(String, String)>,
}

/// What is loaded before the snapshots of the interpreters are taken, beside what always is: modules of Python, packages of Node.
const WARMED: [&[&str]; 2] = [
    &["requests", "yaml", "jinja2", "bs4", "random", "tempfile", "secrets", "uuid", "ssl", "subprocess"],
    &["lodash", "semver", "commander", "js-yaml", "handlebars"],
];

/// Options of `megalith build` for [`with_packages`]: `--warm` for what starts are measured with.
pub fn warm() -> Vec<String> {
    let [python, node] = WARMED;
    let modules = python.iter().map(|m| (*m).to_owned());
    let packages = node.iter().map(|m| format!("/packages/node/node_modules/{m}"));
    modules.chain(packages).flat_map(|m| ["--warm".to_owned(), m]).collect()
}

/// The environment of both sides, beside PATH and HOME.
pub fn environment() -> Vec<String> {
    vec!["LANG=C.UTF-8".to_owned(), "TERM=dumb".to_owned()]
}

/// Python with its test suite.
///
/// # Errors
/// Packages cannot be fetched.
pub fn with_test_suite() -> Result<Toolbox> {
    build("cpython", &["python3", "libpython3.11-testsuite", "tzdata", "netbase"], &[], true, |_| Ok(()))
}

/// Python and Node with the packages of `tests/packages`, and the scripts that use them below `/packages`.
///
/// # Errors
/// Packages cannot be fetched, or their hashes are not those of the lock files.
pub fn with_packages() -> Result<Toolbox> {
    let tests = paths::root().join("tests/packages");
    let (python, node) = (tests.join("python"), tests.join("node"));
    let mut inputs = vec![python.join("requirements.txt"), node.join("package.json"), node.join("package-lock.json")];
    inputs.extend(scripts(&python)?);
    inputs.extend(scripts(&node)?);
    build("packages", &["python3", "nodejs", "tzdata", "netbase"], &inputs, true, |root| {
        let site = root.join(SITE);
        fs::create_dir_all(&site)?;
        eprintln!("xtask: installing the Python packages");
        let mut pip = sh::command("python3", ["-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]);
        pip.args(["--no-compile", "--disable-pip-version-check", "--root-user-action=ignore"]);
        // Wheels for any machine, whatever Python runs pip; nothing that is made from sources may compile.
        pip.args(["--platform", "any", "--implementation", "py", "--abi", "none", "--python-version", "3.11.2"]);
        pip.arg("--target").arg(&site).arg("-r").arg(python.join("requirements.txt")).env("CC", "false");
        sh::output(&mut pip)?;
        let to = root.join("packages/node");
        fs::create_dir_all(&to)?;
        for name in ["package.json", "package-lock.json"] {
            fs::copy(node.join(name), to.join(name))?;
        }
        eprintln!("xtask: installing the Node packages");
        let npm = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
        sh::output(sh::command("npm", npm).current_dir(&to))?;
        for (from, to) in [(&python, root.join("packages/python")), (&node, to)] {
            fs::create_dir_all(&to)?;
            for script in scripts(from)? {
                fs::copy(&script, to.join(script.file_name().context("a script has a name")?))?;
            }
        }
        Ok(())
    })
}

/// An agent's tools, one a language: name, file in `demo/tools`, path inside.
pub const TOOLS: &[(&str, &str, &str)] =
    &[("report", "report.py", "/opt/tools/report.py"), ("outline", "outline.js", "/opt/tools/outline.js")];

/// Python and Node with the tools of `demo/tools`, and the documents of busybox-static: the image of the demo.
///
/// # Errors
/// Packages cannot be fetched.
pub fn with_tools() -> Result<Toolbox> {
    let tools = paths::root().join("demo/tools");
    let inputs: Vec<_> = TOOLS.iter().map(|(_, file, _)| tools.join(file)).collect();
    let documents = debian::binary_package("busybox-static")?.files.join("usr/share/doc");
    build("tools", &["python3", "nodejs", "netbase"], &inputs, false, |root| {
        sh::output(sh::command("cp", ["-r"]).arg(&documents).arg(root.join("usr/share")))?;
        for (_, file, to) in TOOLS {
            let to = root.join(to.trim_start_matches('/'));
            fs::create_dir_all(to.parent().context("a tool has a directory")?)?;
            fs::copy(tools.join(file), &to)?;
            fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
        }
        Ok(())
    })
}

/// Where [`with_extensions`] has packages that only the native side uses: not a name by which builds know a directory of packages.
pub const NATIVE: &str = "native/packages";

/// Python with Debian's PyYAML, which has a native extension, and, for the native side, the packages of `tests/extensions` with theirs.
///
/// # Errors
/// Packages cannot be fetched, or their hashes are not those of the lock file.
pub fn with_extensions() -> Result<Toolbox> {
    let lock = paths::root().join("tests/extensions/requirements.txt");
    // The native numpy needs libstdc++.
    let packages = ["python3", "python3-yaml", "netbase", "libstdc++6"];
    build("extensions", &packages, std::slice::from_ref(&lock), false, |root| {
        let mut pip = sh::command("python3", ["-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]);
        pip.args(["--no-compile", "--disable-pip-version-check", "--root-user-action=ignore", "--only-binary=:all:"]);
        pip.args(["--platform", "manylinux2014_x86_64", "--implementation", "cp", "--abi", "cp311"]);
        pip.args(["--python-version", "3.11", "--target"]).arg(root.join(NATIVE)).arg("-r").arg(&lock);
        sh::output(&mut pip)?;
        Ok(())
    })
}

/// The scripts in a directory of `tests/packages`, sorted.
///
/// # Errors
/// The directory cannot be read.
pub fn scripts(dir: &Path) -> Result<Vec<std::path::PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))?;
    let mut found: Vec<_> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    found.retain(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("use_")));
    found.sort();
    Ok(found)
}

/// Unpacks packages, lets `fill` add to them, compiles Python's modules as Debian's installation does, and makes a corpus, with the small C programs if
/// `programs` says so.
fn build(
    name: &str,
    packages: &[&str],
    inputs: &[std::path::PathBuf],
    programs: bool,
    fill: impl Fn(&Path) -> Result<()>,
) -> Result<Toolbox> {
    let closure = debian::closure(packages)?;
    let mut hasher = Sha256::new();
    hasher.update(format!("{REVISION} {} {LEFT_OUT:?}", closure.key));
    for input in inputs {
        hasher.update(format!("{} {}", input.display(), sh::sha256_file(input)?));
    }
    let key = sh::hex(hasher.finalize().get(..8).unwrap_or_default());
    let dir = paths::cache("toolbox")?.join(format!("{name}-{key}"));
    paths::make_once(&dir, |dir| {
        for deb in &closure.files {
            let file = deb.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !LEFT_OUT.iter().any(|p| file.starts_with(&format!("{p}_"))) {
                sh::output(sh::command("dpkg-deb", ["-x"]).arg(deb).arg(dir))?;
            }
        }
        fill(dir)?;
        // A .pyc names the time of its source: set the times that the corpus will have first.
        let mtime = format!("@{}", corpus::MTIME);
        sh::output(sh::command("find", [dir]).args(["-exec", "touch", "-h", "-d", &mtime, "{}", "+"]))?;
        let mut compile = sh::command("chroot", [dir]);
        compile.args([PYTHON, "-I", "-m", "compileall", "-q", "/usr/lib/python3.11"]);
        if dir.join(SITE).exists() {
            compile.arg(format!("/{SITE}"));
        }
        // Some test data is no Python, on purpose: then the status is 1.
        compile.output().context("start chroot")?;
        Ok(())
    })?;
    let mut extra = Vec::new();
    let mut tops: Vec<_> = fs::read_dir(&dir)?.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
    tops.sort();
    for top in tops {
        extra.push((top.clone(), dir.join(&top), 0o755));
        extra.extend(corpus::tree(&dir.join(&top), &top)?);
    }
    let corpus = corpus::build(&format!("toolbox-{name}"), &extra, programs)?;
    let told = packages.iter().filter(|p| !matches!(**p, "tzdata" | "netbase" | "python3"));
    let mut versions = vec![("python3.11".to_owned(), closure.version("python3.11")?)];
    for package in told {
        versions.push(((*package).to_owned(), closure.version(package)?));
    }
    Ok(Toolbox { corpus, versions })
}
