//! Bytecode of an image's modules, made by the polyfills that read it: Python's beside each module (`.pyc`), Node's in a place of its own.

use crate::cache::Cache;
use crate::packages::{Tree, below_site, one_line, read_tree, set_time};
use crate::polyfill::Language;
use crate::progress::Progress;
use crate::sandbox::{self, Container, Sandbox};
use anyhow::{Context, Result, bail};
use megalith_image::{NodeId, Rootfs};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Changes when this module makes something else of the same input.
const REVISION: &[u8] = b"3";

/// Where Node's lies in the image, a file for each directory of modules (`polyfills/node/src/bytecode.c` reads them).
const NODE: &str = "usr/share/megalith/node";

/// Compiles the modules in `packages` with the image's polyfill, in a container where they are at `at`. What does not compile (a file for another version of
/// the language) stays without bytecode, as pip leaves it.
pub fn compile_python(sandbox: &Sandbox<'_>, packages: &Path, at: &str, options: &[&str]) -> Result<()> {
    let first = ["-I", "-m", "compileall", "-q", "--invalidation-mode", "timestamp"];
    let out = sandbox.python(packages, at, &[], &[&first, options, &[at]].concat())?;
    if !matches!(out.status.code(), Some(0 | 1)) {
        bail!("compiling the packages: {}: {}", out.status, one_line(&out.stderr));
    }
    Ok(())
}

/// Modules of an image's Python packages and standard library, beside which there is no bytecode: path, file, time. Where there is some, it is left to Python whether it is still its source's.
pub fn bare_python(rootfs: &Rootfs) -> Vec<(String, NodeId, i64)> {
    let mut bare = Vec::new();
    for (path, id, node) in rootfs.iter() {
        let Ok(path) = String::from_utf8(path) else { continue };
        let Some((dir, name)) = path.strip_suffix(".py").and_then(|p| p.rsplit_once('/')) else { continue };
        let library = ["/usr/lib/python3.", "/usr/local/lib/python3."].iter().any(|dir| path.starts_with(dir));
        if node.regular().is_none() || path.len() > MAX_PATH || !library && below_site(&path).is_none() {
            continue;
        }
        let beside = rootfs.lookup(format!("{dir}/__pycache__").as_bytes(), false);
        let start = format!("{name}.cpython-");
        let begins = |(entry, _): (&[u8], NodeId)| entry.starts_with(start.as_bytes());
        let taken = match beside.map(|d| rootfs.node(d).directory()) {
            None => false,
            // Something else of that name: there is no place for bytecode.
            Some(None) => true,
            Some(Some(dir)) => dir.entries().any(begins),
        };
        if !taken {
            bare.push((path, id, node.meta.mtime));
        }
    }
    bare
}

/// Bytecode for the modules `bare` (path, file, time), by path from the root: as their sources are in the image, so that a change of one is seen.
pub fn python(
    rootfs: &Rootfs,
    bare: &[(String, NodeId, i64)],
    sandbox: &Sandbox<'_>,
    cache: &Cache,
    progress: Progress,
) -> Result<Tree> {
    let version = format!("python{}", sandbox.polyfill.interpreter.version);
    // Other versions' libraries are of no use to this one.
    let other = |path: &str| path.split('/').any(|part| part.starts_with("python3.") && part != version);
    let bare: Vec<_> = bare.iter().filter(|(path, ..)| !other(path)).collect();
    if bare.is_empty() {
        return Ok(Tree::default());
    }
    let listed: Vec<u8> = bare
        .iter()
        .flat_map(|(path, id, mtime)| {
            let hash = rootfs.node(*id).regular().map_or([0; 32], |r| r.hash.0);
            [path.as_bytes(), &[0], &hash, &mtime.to_le_bytes()].concat()
        })
        .collect();
    let parts = [REVISION, b"python", &sandbox.polyfill.hash.0, &sandbox.image_id.0, &listed];
    let tree = cache.get("packages", &parts, || {
        progress.note(&format!("compiling {} modules of Python that have no bytecode", bare.len()));
        let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
        let mut files = Files::new(rootfs, dir.path());
        for (path, id, mtime) in &bare {
            set_time(&files.write(path, *id)?, *mtime)?;
        }
        compile_python(sandbox, dir.path(), "/modules", &["-s", "/modules", "-p", "/"])?;
        let made = read_tree(dir.path(), &[])?.without_links().at(|path| path.ends_with(b".pyc"));
        Ok(postcard::to_allocvec(&made)?)
    })?;
    postcard::from_bytes(&tree).context("the cache has something else")
}

/// Files of an image: path and file.
type Paths = Vec<(String, NodeId)>;

/// Sources longer than this are compiled when they are loaded.
const MAX_SOURCE: usize = 32 << 20;

/// The modules of Node in an image, and the package.json that say of what kind they are.
///
/// Modules are what a `package.json` in their directory or above it makes part of a package, what lies where Node looks for packages, what Node alone names like
/// that, and scripts that name Node in their first line. Other `.js` files may be web pages'.
fn node_modules(rootfs: &Rootfs) -> (Paths, Paths) {
    let (mut modules, mut packages, mut roots) = (Vec::new(), Vec::new(), BTreeSet::new());
    let files = || {
        let regular = rootfs.iter().filter(|(_, _, node)| node.regular().is_some());
        let fits = |(path, id): &(String, NodeId)| path.len() <= MAX_PATH && rootfs.data(*id).len() <= MAX_SOURCE;
        regular.filter_map(|(path, id, _)| Some((String::from_utf8(path).ok()?, id))).filter(fits)
    };
    for (path, id) in files() {
        if let Some(root) = path.strip_suffix("/package.json") {
            roots.insert(root.to_owned());
            packages.push((path, id));
        }
    }
    let in_package =
        |path: &str| path.match_indices('/').any(|(at, _)| path.get(..at).is_some_and(|d| roots.contains(d)));
    let places = ["/usr/share/nodejs/", "/usr/lib/nodejs/", "/usr/lib/node/"];
    for (path, id) in files() {
        let nodes = [".cjs", ".mjs"].iter().any(|end| path.ends_with(end));
        let placed =
            || in_package(&path) || path.contains("/node_modules/") || places.iter().any(|p| path.starts_with(p));
        if nodes || path.ends_with(".js") && placed() || is_script(rootfs.data(id)) {
            modules.push((path, id));
        }
    }
    (modules, packages)
}

/// Whether the first line names Node as the interpreter.
fn is_script(data: &[u8]) -> bool {
    let line = data.strip_prefix(b"#!").and_then(|rest| rest.get(..rest.len().min(256))?.split(|b| *b == b'\n').next());
    line.is_some_and(|line| line.split(|b| b" \t\r/".contains(b)).any(|word| word == b"node" || word == b"nodejs"))
}

/// Bytecode for the modules of Node in an image, by path from the root; nothing without Node.
///
/// # Errors
/// One line: why there is none. A module that does not compile is no error.
pub fn node(rootfs: &Rootfs, cache: &Cache, progress: Progress) -> Result<Tree> {
    let (modules, packages) = node_modules(rootfs);
    if modules.is_empty() {
        return Ok(Tree::default());
    }
    let Some((program, polyfill)) = sandbox::interpreter(rootfs, Language::Node, "modules are compiled by it")? else {
        return Ok(Tree::default());
    };
    let files = || modules.iter().chain(&packages);
    let listed: Vec<u8> = files()
        .flat_map(|(path, id)| {
            let hash = rootfs.node(*id).regular().map_or([0; 32], |r| r.hash.0);
            [path.as_bytes(), &[0], &hash].concat()
        })
        .collect();
    let tree = cache.get("packages", &[REVISION, b"node", &polyfill.hash.0, &listed], || {
        progress.note(&format!("compiling {} modules of Node", modules.len()));
        let dir = tempfile::tempdir().context("cannot make a temporary directory")?;
        // An image of the interpreter alone: nothing else of the image is needed.
        let (image, work) = (dir.path().join("image"), dir.path().join("work"));
        let node = rootfs.lookup(&program, true).context("Node is in the image")?;
        let to = Files::new(rootfs, &image).write("node", node)?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
        let mut copies = Files::new(rootfs, &work.join("files"));
        for (path, id) in files() {
            copies.write(path, *id)?;
        }
        let options = ["--timeout", "1200", "-e", "MEGALITH_PRECOMPILE=/work"];
        let out = Container::build(&image, None)?.run(&work, "/work", &options, b"/node", &[])?;
        if !out.status.success() {
            bail!("{}: {}", out.status, one_line(&out.stderr));
        }
        // Only what is a regular file leaves the container.
        let made = work.join("made");
        let made = if made.exists() { read_tree(&made, &[])?.without_links() } else { Tree::default() };
        let made = made.at(|path| path.strip_prefix(NODE.as_bytes()).is_some_and(|rest| rest.starts_with(b"/")));
        Ok(postcard::to_allocvec(&made)?)
    })?;
    postcard::from_bytes(&tree).context("the cache has something else")
}

/// Longer paths have no place below a temporary directory.
const MAX_PATH: usize = 3000;

/// Copies of files of an image below a directory. What the image has once is there once.
struct Files<'a> {
    rootfs: &'a Rootfs,
    dir: PathBuf,
    written: BTreeMap<NodeId, PathBuf>,
}

impl<'a> Files<'a> {
    fn new(rootfs: &'a Rootfs, dir: &Path) -> Files<'a> {
        Files { rootfs, dir: dir.to_owned(), written: BTreeMap::new() }
    }

    /// Writes a file to where `path` is from the root; returns where that is.
    fn write(&mut self, path: &str, file: NodeId) -> Result<PathBuf> {
        let to = self.dir.join(path.trim_start_matches('/'));
        fs::create_dir_all(to.parent().context("a file has a directory")?)?;
        match self.written.get(&file) {
            Some(first) => fs::hard_link(first, &to)?,
            None => {
                fs::write(&to, self.rootfs.data(file))?;
                self.written.insert(file, to.clone());
            }
        }
        Ok(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_name_their_interpreter() {
        for yes in
            ["#!/usr/bin/node\n", "#!/usr/bin/env node", "#! /usr/bin/env -S node --x\nnode", "#!/usr/bin/nodejs\r\n"]
        {
            assert!(is_script(yes.as_bytes()), "{yes}");
        }
        for no in ["", "#!", "node", "#!/bin/sh\nnode\n", "#!/usr/bin/nodemon\n"] {
            assert!(!is_script(no.as_bytes()), "{no}");
        }
    }
}
