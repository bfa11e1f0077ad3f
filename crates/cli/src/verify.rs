//! `megalith verify`: everything that `run` would check, at once and without running.

use crate::bundle::Bundle;
use anyhow::{Context, Result, bail};
use megalith_abi::{DataImage, StartMeta};
use megalith_engine::compile::Compiler;
use megalith_engine::{TARGET, WASMTIME};
use megalith_image::FileType;
use megalith_image::fssection::Reader;
use megalith_link::Megabinary;
use megalith_manifest::{AotFile, CodeHash, FileHash, FsPlace, GuestPath, Kind, Manifest};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Args {
    /// Directory that `megalith build` wrote
    bundle: PathBuf,
    /// Public key that must have signed the manifest
    #[arg(long, value_name = "PUB")]
    key: Option<PathBuf>,
}

pub fn main(args: Args) -> Result<ExitCode> {
    if args.key.is_some() {
        bail!("--key: bundles are not signed in this version");
    }
    let bundle = Bundle::open(&args.bundle)?;
    let mut problems = Vec::new();
    for (what, check) in
        [("module", check_module as fn(&Bundle) -> Result<Vec<String>>), ("files", check_files), ("code", check_aot)]
    {
        match check(&bundle) {
            Ok(found) => problems.extend(found.into_iter().map(|p| format!("{what}: {p}"))),
            Err(e) => problems.push(format!("{what}: {e:#}")),
        }
    }
    if problems.is_empty() {
        println!(
            "{}: {} programs, everything as the manifest says",
            bundle.path.display(),
            bundle.manifest.binaries.len()
        );
        return Ok(ExitCode::SUCCESS);
    }
    for p in &problems {
        eprintln!("megalith: {}: {p}", bundle.path.display());
    }
    Ok(ExitCode::FAILURE)
}

/// What the manifest lets be in the module: the programs of the image, and those that stand in for some of them.
fn named(bundle: &Bundle) -> BTreeSet<FileHash> {
    let m = &bundle.manifest;
    m.binaries.values().map(|b| b.hash).chain(m.polyfills.values().map(|p| p.program)).collect()
}

/// The module: its hash, its validity, and that it starts exactly what the manifest names.
fn check_module(bundle: &Bundle) -> Result<Vec<String>> {
    let m = &bundle.manifest;
    let module = bundle.megabinary()?;
    if FileHash::of(&module) != m.megabinary_hash {
        bail!("{} does not have the hash {} that the manifest says", m.megabinary, m.megabinary_hash);
    }
    megalith_link::validate(&module)?;
    let mega = Megabinary::parse(&module)?;
    let mut problems = Vec::new();
    let known: BTreeMap<FileHash, &str> = mega.units().hashes.iter().map(|(h, n)| (FileHash(*h), n.as_str())).collect();
    for (path, b) in &m.binaries {
        if known.get(&b.hash) != Some(&b.entry_point.as_str()) {
            problems.push(format!("{path}: the module does not start it by {}", b.entry_point));
        }
    }
    let named = named(bundle);
    problems.extend(
        known.iter().filter(|(h, _)| !named.contains(h)).map(|(h, n)| format!("{n} ({h}) is not in the manifest")),
    );
    let range = mega.fs_range();
    if m.fs.place == FsPlace::Section && range != Some(m.fs.offset..m.fs.offset.saturating_add(m.fs.size)) {
        problems.push("the file system section is not where the manifest says".into());
    }
    Ok(problems)
}

/// The container's files: the tree, every file's bytes, and that programs are where the manifest says.
fn check_files(bundle: &Bundle) -> Result<Vec<String>> {
    let fs = &bundle.manifest.fs;
    let map = bundle.map(bundle.fs_file())?;
    let section = usize::try_from(fs.offset)
        .ok()
        .zip(fs.offset.checked_add(fs.size).and_then(|end| usize::try_from(end).ok()))
        .and_then(|(start, end)| map.get(start..end))
        .with_context(|| format!("{} is shorter than the manifest says", bundle.fs_file()))?;
    let reader = Reader::open(section, &fs.root).map_err(|e| anyhow::anyhow!("{e}"))?;
    reader.check().map_err(|e| anyhow::anyhow!("{e}"))?;
    let regular = |inode: &u32| reader.inode(*inode).is_some_and(|i| i.file_type == FileType::Regular);
    let broken: Vec<u32> =
        (0..reader.inode_count()).into_par_iter().filter(|i| regular(i) && !reader.data_matches(*i)).collect();
    let mut problems: Vec<String> =
        broken.iter().map(|i| format!("the bytes of inode {i} do not have their hash")).collect();
    let at = |path: &GuestPath| {
        let inode = reader.find_path(path.as_bytes())?;
        reader.inode(inode).filter(|i| i.file_type == FileType::Regular).zip(reader.hash(inode))
    };
    for (path, b) in &bundle.manifest.binaries {
        match at(path) {
            Some((inode, hash)) if hash == b.hash && inode.size == b.size => {}
            Some(_) => problems.push(format!("{path} is not the file that the manifest says")),
            None => problems.push(format!("{path} is not there")),
        }
    }
    for p in bundle.manifest.polyfills.values() {
        for (name, hash) in [(&p.file, p.program)].into_iter().chain(p.snapshot.iter().map(|s| (&s.file, s.hash))) {
            let inode = reader.find_path(format!("/{}/{name}", Manifest::OWN_DIR).as_bytes());
            if inode.and_then(|i| reader.hash(i)) != Some(hash) {
                problems.push(format!("{name} of {} is not what the manifest says", Manifest::OWN_DIR));
            }
        }
    }
    Ok(problems)
}

/// Whether file `name` of a program's two has the bytes that the index says.
fn is_as_listed(f: &AotFile, name: &str, bytes: &[u8]) -> bool {
    if name == f.code { CodeHash::of(bytes) == f.code_hash } else { FileHash::of(bytes) == f.meta_hash }
}

/// The AOT code: made by this engine from this module, whole, and every program has some.
fn check_aot(bundle: &Bundle) -> Result<Vec<String>> {
    let index = bundle.aot_index()?;
    let again = format!("run 'megalith compile {}'", bundle.path.display());
    if index.target != TARGET
        || index.engine.wasmtime != WASMTIME
        || index.engine.config != Compiler::new(TARGET)?.fingerprint()
    {
        bail!("made for another target, engine or processor; {again}");
    }
    if index.megabinary_hash != bundle.manifest.megabinary_hash {
        bail!("made from another module; {again}");
    }
    let dir = bundle.aot_dir();
    let mut problems: Vec<String> = index
        .files
        .par_iter()
        .flat_map_iter(|(_, f)| [(&f.code, f.code_size, f), (&f.meta, f.meta_size, f)])
        .filter_map(|(name, size, f)| {
            let path = dir.join(name);
            let relative = path.strip_prefix(&bundle.path).unwrap_or(&path).display().to_string();
            match bundle.map(&relative) {
                Err(e) => Some(format!("{e:#}")),
                Ok(map) if map.len() as u64 != size || !is_as_listed(f, name, &map) => {
                    Some(format!("{relative} is not what the index says"))
                }
                Ok(map) if map.starts_with(DataImage::MAGIC) => DataImage::place(&map, size)
                    .is_none()
                    .then(|| format!("{relative}: it does not fit a linear memory")),
                Ok(map) if name.ends_with(".meta") => {
                    StartMeta::parse(&map[..]).is_none().then(|| format!("{relative}: its header makes no sense"))
                }
                Ok(_) => None,
            }
        })
        .collect();
    for (path, b) in &bundle.manifest.binaries {
        let code = bundle.manifest.polyfills.get(&b.hash).map_or(b.hash, |p| p.program);
        if b.kind != Kind::Script && !index.files.contains_key(&code) {
            problems.push(format!("{path} was not compiled; {again}"));
        }
    }
    let named = named(bundle);
    problems.extend(index.files.keys().filter(|h| !named.contains(h)).map(|h| format!("{h} is not in the manifest")));
    Ok(problems)
}
