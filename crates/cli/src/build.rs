//! `megalith build`: an image becomes a bundle.

use crate::cache::Cache;
use crate::compile::{jobs, set_jobs, write_aot};
use crate::packages::{self, Linked as LinkedExtensions, Packages, Wanted};
use crate::polyfill::{self, Chosen, Language};
use crate::progress::Progress;
use crate::scan::{self, Class, File};
use crate::stage::{Stage, check_target};
use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;
use megalith_engine::TARGET;
use megalith_image::fssection::{Plan, Summary};
use megalith_image::{Image, Rootfs};
use megalith_link::{Alias, LinkInputs, Linked, MAX_MEMORIES, MAX_MODULE, Megabinary, Object, WasiModule};
use megalith_manifest::{
    AotIndex, Binary, FileHash, FileSystem, FsPlace, GuestPath, Kind, Manifest, NotRecompiled, Polyfill, Scripts,
    Snapshot, entry_points,
};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufWriter, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

/// File name of the module in a bundle.
const MEGABINARY: &str = "container.wasm";

#[derive(clap::Args)]
pub struct Args {
    /// OCI image layout (directory or tar), docker-archive, or root file system directory
    image: PathBuf,
    /// Directory to write; an existing bundle is replaced at once, when the new one is complete
    #[arg(short, long, value_name = "BUNDLE")]
    output: PathBuf,
    /// Make a program or script of the image callable by name: see `megalith tools`
    #[arg(long = "tool", value_name = "NAME=PATH", value_parser = tool)]
    tools: Vec<(String, GuestPath)>,
    /// What stands for python3, everywhere or at one path: a polyfill, or the image's own, recompiled
    #[arg(long, value_name = "[PATH=]auto|polyfill|recompile", value_parser = python)]
    python: Vec<(Option<GuestPath>, Python)>,
    /// Load this Python module, or the Node module with this path, before the interpreter's snapshot is taken
    #[arg(long, value_name = "MODULE", value_parser = module)]
    warm: Vec<String>,
    /// Let interpreters start from their files, not from snapshots
    #[arg(long, conflicts_with = "warm")]
    no_snapshots: bool,
    /// Add the Python packages of this requirements.txt, in which every line is name==version --hash=sha256:...
    #[arg(long, value_name = "FILE")]
    pip: Option<PathBuf>,
    /// Add the Node packages of this package.json, with the package-lock.json beside it
    #[arg(long, value_name = "FILE")]
    npm: Option<PathBuf>,
    /// Do not build native extensions of Python packages from their sources
    #[arg(long)]
    no_extensions: bool,
    /// Do not compile modules of Python and Node that have no bytecode
    #[arg(long)]
    no_bytecode: bool,
    /// What interpreters may read as code: anything, or only what is in the image
    #[arg(long, default_value = "open")]
    scripts: ScriptPolicy,
    /// Which image of a layout with several: its tag or digest
    #[arg(long, value_name = "NAME")]
    reference: Option<String>,
    /// Number of threads; all cores unless given
    #[arg(long, value_name = "N", value_parser = jobs)]
    jobs: Option<usize>,
    /// Print one JSON report to standard output
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Python {
    Auto,
    Polyfill,
    Recompile,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScriptPolicy {
    Open,
    Sealed,
}

fn tool(s: &str) -> Result<(String, GuestPath), String> {
    let (name, path) = s.split_once('=').ok_or("not of the form NAME=PATH")?;
    Ok((name.into(), GuestPath::new(path).map_err(|e| e.to_string())?))
}

fn python(s: &str) -> Result<(Option<GuestPath>, Python), String> {
    let (path, mode) = match s.rsplit_once('=') {
        Some((path, mode)) => (Some(GuestPath::new(path).map_err(|e| e.to_string())?), mode),
        None => (None, s),
    };
    let mode =
        <Python as ValueEnum>::from_str(mode, false).map_err(|_| "not auto, polyfill or recompile".to_string())?;
    Ok((path, mode))
}

fn module(s: &str) -> Result<String, String> {
    let good = !s.is_empty() && !s.contains([':', '\0']);
    good.then(|| s.into()).ok_or_else(|| "not the name or path of a module".into())
}

impl Args {
    /// Whether a polyfill is to stand in for a Python interpreter; `None` when nothing was said. What was said of a path goes first, then what was said last.
    fn wants_polyfill(&self, rootfs: &Rootfs, file: &File) -> Option<bool> {
        let mode = |of_path: bool| {
            let said = |(path, _): &&(Option<GuestPath>, Python)| match path {
                Some(path) => of_path && file_hash(rootfs, path) == rootfs.node(file.node).regular().map(|f| f.hash),
                None => !of_path,
            };
            self.python.iter().rev().find(said).map(|(_, mode)| *mode)
        };
        match mode(true).or_else(|| mode(false))? {
            Python::Auto => None,
            Python::Polyfill => Some(true),
            Python::Recompile => Some(false),
        }
    }

    /// Checks that the paths of `--python` lead to Python.
    fn check_python(&self, rootfs: &Rootfs) -> Result<()> {
        for path in self.python.iter().filter_map(|(path, _)| path.as_ref()) {
            let node = rootfs.lookup(path.as_bytes(), true).filter(|node| rootfs.node(*node).regular().is_some());
            let node = node.with_context(|| format!("--python {path}=...: not a regular file of the image"))?;
            if polyfill::recognise(rootfs.data(node)).is_none_or(|found| found.language != Language::Python) {
                bail!("--python {path}=...: that file is no Python interpreter");
            }
        }
        Ok(())
    }
}

/// Native extensions of Python packages.
struct Extensions {
    /// The polyfill with those in it that were built.
    linked: Option<LinkedExtensions>,
    /// The others, by path, and why.
    failed: BTreeMap<String, String>,
}

/// What the image's executables turned out to be.
struct Programs {
    files: BTreeMap<FileHash, File>,
    /// What stands in for some of the files.
    polyfills: BTreeMap<FileHash, Chosen>,
    objects: BTreeMap<FileHash, Vec<u8>>,
    wasi: BTreeSet<FileHash>,
    /// Script -> the program that interprets it.
    scripts: BTreeMap<FileHash, FileHash>,
    not_recompiled: Vec<NotRecompiled>,
}

#[derive(serde::Serialize)]
struct Report<'a> {
    bundle: String,
    container_id: FileHash,
    megabinary_hash: FileHash,
    megabinary_bytes: u64,
    aot_bytes: u64,
    fs_place: FsPlace,
    programs: &'a BTreeMap<GuestPath, Binary>,
    not_recompiled: &'a [NotRecompiled],
    notes: &'a [String],
    cached: usize,
    made: usize,
    seconds: f64,
}

pub fn main(args: Args) -> Result<ExitCode> {
    let start = Instant::now();
    set_jobs(args.jobs)?;
    check_target(&args.output)?;
    let progress = Progress::new(args.json);
    progress.note(&format!("reading {}", args.image.display()));
    let options = megalith_image::Options { reference: args.reference.clone(), ..megalith_image::Options::default() };
    let mut image = megalith_image::open_with(&args.image, &options).map_err(|e| anyhow!("{e}"))?;
    for note in &image.notes {
        progress.note(note);
    }
    args.check_python(&image.rootfs)?;
    let cache = Cache::open()?;
    let (pip, npm) = (args.pip.as_deref(), args.npm.as_deref());
    if pip.is_some() || npm.is_some() {
        progress.note("adding packages");
    }
    let python = !args.python.contains(&(None, Python::Recompile));
    let wanted = Wanted {
        pip,
        npm,
        extensions: !args.no_extensions,
        bytecode: !args.no_bytecode,
        python,
        image: &args.image,
        reference: args.reference.as_deref(),
        image_id: image.container_id,
    };
    let Packages { rootfs, linked, failed } = packages::add(&image.rootfs, &wanted, &cache, progress)?;
    image.rootfs = rootfs;
    let extensions = Extensions { linked, failed };
    let mut programs = sort_out(&image, &args, &extensions, &cache, progress)?;
    let names = name(&programs);
    let linked = link(&image.rootfs, &programs, &names)?;

    let mega = Megabinary::parse(&linked.wasm)?;
    list_uncovered(&mut programs, &mega)?;
    let writer = Writer {
        args: &args,
        image: &image,
        programs: &programs,
        names: &names,
        linked: &linked,
        mega: &mega,
        cache: &cache,
        progress,
    };
    let mut snapshots = BTreeMap::new();
    if !programs.polyfills.is_empty() && !args.no_snapshots {
        // The interpreters run in a bundle that has no snapshots yet.
        let stage = Stage::new(&args.output)?;
        writer.write(&stage, &snapshots)?;
        snapshots = take_snapshots(stage.path(), &image.rootfs, &programs, &args, progress)?;
    }
    let stage = Stage::new(&args.output)?;
    let Whole { manifest, index, megabinary_bytes } = writer.write(&stage, &snapshots)?;
    let megabinary_hash = manifest.megabinary_hash;
    stage.commit()?;

    let (cached, made) = cache.counts();
    let aot_bytes = index.files.values().map(|f| f.code_size).sum();
    let report = Report {
        bundle: args.output.display().to_string(),
        container_id: manifest.container_id,
        megabinary_hash,
        megabinary_bytes,
        aot_bytes,
        fs_place: manifest.fs.place,
        programs: &manifest.binaries,
        not_recompiled: &manifest.not_recompiled,
        notes: &image.notes,
        cached,
        made,
        seconds: start.elapsed().as_secs_f64(),
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        summarize(&report);
    }
    Ok(ExitCode::SUCCESS)
}

/// All that goes into a bundle.
struct Writer<'a> {
    args: &'a Args,
    image: &'a Image,
    programs: &'a Programs,
    names: &'a BTreeMap<FileHash, String>,
    linked: &'a Linked,
    mega: &'a Megabinary<'a>,
    cache: &'a Cache,
    progress: Progress,
}

/// A bundle that was written.
struct Whole {
    manifest: Manifest,
    index: AotIndex,
    megabinary_bytes: u64,
}

/// A snapshot of the interpreter that stands in for a file, and what was loaded before it was taken.
type Snapshots = BTreeMap<FileHash, (Arc<[u8]>, Vec<String>)>;

impl Writer<'_> {
    /// Writes all files of the bundle.
    fn write(&self, stage: &Stage, snapshots: &Snapshots) -> Result<Whole> {
        let mut own: BTreeMap<String, Arc<[u8]>> = BTreeMap::new();
        for (hash, chosen) in &self.programs.polyfills {
            own.insert(chosen.file(), Arc::clone(&chosen.elf));
            // Without a snapshot yet there is an empty file in its place: inode numbers, which programs remember, are the same before and after.
            if !self.args.no_snapshots {
                let snapshot = snapshots.get(hash).map_or_else(|| Arc::from([]), |(bytes, _)| Arc::clone(bytes));
                own.insert(chosen.snapshot_file(hash), snapshot);
            }
        }
        let rootfs = self.image.rootfs.with_own(&own).map_err(|e| anyhow!("{e}"))?;
        let (fs, megabinary_hash, megabinary_bytes) = write_module(stage, self.linked, &rootfs, self.progress)?;
        let manifest = manifest(self.args, self.image, self.programs, self.names, snapshots, fs, megabinary_hash)?;
        stage.write(Manifest::FILE_NAME, &manifest.to_json()?)?;
        let dir = format!("aot/{TARGET}/");
        let index = write_aot(self.mega, megabinary_hash, self.cache, self.progress, stage, &dir)?;
        Ok(Whole { manifest, index, megabinary_bytes })
    }
}

/// Runs every polyfill up to the point where it wants its snapshot taken.
fn take_snapshots(bundle: &Path, rootfs: &Rootfs, p: &Programs, args: &Args, progress: Progress) -> Result<Snapshots> {
    let step = progress.step("warming", p.polyfills.len());
    let mut all = BTreeMap::new();
    let mut refused = Vec::new();
    for (hash, chosen) in &p.polyfills {
        let path = p.files.get(hash).and_then(|f| f.paths.first()).context("an interpreter got lost")?;
        let interpreted = |path: &GuestPath| p.scripts.get(&file_hash(rootfs, path)?).filter(|by| *by == hash).copied();
        let scripts: Vec<_> =
            args.tools.iter().map(|(_, path)| path).filter(|path| interpreted(path).is_some()).collect();
        let taken = polyfill::snapshot(bundle, path, chosen.interpreter.language, &args.warm, &scripts)?;
        all.insert(*hash, (taken.snapshot.into(), taken.warmed));
        refused.extend(taken.refused);
        step.done(&path.to_string());
    }
    drop(step);
    for line in refused {
        progress.note(&format!("not warmed: {line}"));
    }
    Ok(all)
}

/// Hash of the file that a path leads to.
fn file_hash(rootfs: &Rootfs, path: &GuestPath) -> Option<FileHash> {
    let file = rootfs.lookup(path.as_bytes(), true).and_then(|node| rootfs.node(node).regular())?;
    Some(file.hash)
}

/// The summary for people: standard output, with what was not recompiled in full up to a screenful.
fn summarize(r: &Report<'_>) {
    const SHOWN: usize = 20;
    // Whole files first.
    let (files, places): (Vec<_>, Vec<_>) = r.not_recompiled.iter().partition(|n| n.offset.is_none());
    for n in files.into_iter().chain(places).take(SHOWN) {
        println!("not recompiled: {}", describe(n));
    }
    if let Some(more) = r.not_recompiled.len().checked_sub(SHOWN).filter(|n| *n > 0) {
        println!("not recompiled: {more} more; 'megalith inspect {}' lists them", r.bundle);
    }
    println!(
        "{}: {} programs, module {} bytes, code {} bytes, {:.1} s ({} results made, {} from the cache)",
        r.bundle,
        r.programs.len(),
        r.megabinary_bytes,
        r.aot_bytes,
        r.seconds,
        r.made,
        r.cached
    );
}

/// One line: file, and for a place in it offset and bytes, and why.
pub fn describe(n: &NotRecompiled) -> String {
    match (n.offset, &n.bytes) {
        (Some(offset), Some(bytes)) => format!("{} +0x{offset:x} {bytes}: {}", n.path, n.reason),
        (Some(offset), None) => format!("{} +0x{offset:x}: {}", n.path, n.reason),
        _ => format!("{}: {}", n.path, n.reason),
    }
}

/// Scans the image and recompiles what can be.
fn sort_out(
    image: &Image,
    args: &Args,
    extensions: &Extensions,
    cache: &Cache,
    progress: Progress,
) -> Result<Programs> {
    let (rootfs, env) = (&image.rootfs, &image.config.env);
    let extra: Vec<GuestPath> = args.tools.iter().map(|(_, path)| path.clone()).collect();
    let files = scan::scan(rootfs, &extra)?;
    let (mut polyfills, missing) = polyfill::choose(rootfs, &files, |file| args.wants_polyfill(rootfs, file))?;
    for chosen in polyfills.values_mut() {
        if let Some(linked) = extensions.linked.as_ref().filter(|linked| linked.instead_of == chosen.hash) {
            chosen.hash = FileHash::of(&linked.elf);
            chosen.elf = Arc::clone(&linked.elf);
            chosen.reason += &format!("; linked with {}", linked.files.join(", "));
        }
    }
    let name = |f: &File| f.paths.first().map(GuestPath::to_string).unwrap_or_default();
    let images = files.iter().filter(|(hash, f)| f.class == Class::Elf && !polyfills.contains_key(*hash));
    let mut elf: BTreeMap<FileHash, (&[u8], String)> =
        images.map(|(hash, f)| (*hash, (rootfs.data(f.node), name(f)))).collect();
    elf.extend(polyfills.values().map(|p| (p.hash, (&*p.elf, p.interpreter.to_string()))));
    let step = progress.step("recompiling", elf.len());
    let results: Vec<(FileHash, Result<Vec<u8>>)> = elf
        .par_iter()
        .map(|(hash, (bytes, name))| {
            let parts = [megalith_recompile::FINGERPRINT.as_bytes(), &hash.0];
            let object = cache.get("object", &parts, || recompile(bytes));
            step.done(name);
            (*hash, object)
        })
        .collect();
    drop(step);

    let mut not_recompiled = Vec::new();
    let mut refuse = |file: &File, reason: String| {
        let whole =
            |path: &GuestPath| NotRecompiled { path: path.clone(), offset: None, bytes: None, reason: reason.clone() };
        not_recompiled.extend(file.paths.iter().map(whole));
    };
    let mut objects = BTreeMap::new();
    for (hash, object) in results {
        match (object, files.get(&hash)) {
            (Ok(object), _) => {
                objects.insert(hash, object);
            }
            (Err(e), Some(file)) => {
                let polyfill = missing.get(&hash).map(|why| format!("; {why}")).unwrap_or_default();
                refuse(file, format!("{e:#}{polyfill}"));
            }
            (Err(e), None) => return Err(e.context("cannot recompile a polyfill")),
        }
    }
    let mut wasi = BTreeSet::new();
    let mut scripts = BTreeMap::new();
    // What the recompiled programs need.
    let (mut memories, mut tables) = (2, 1);
    for (hash, file) in &files {
        match &file.class {
            Class::Wasm => match megalith_link::check_wasi("module", rootfs.data(file.node)) {
                Ok((m, t)) if memories + m > MAX_MEMORIES || tables + t > MAX_MEMORIES => {
                    refuse(file, format!("engines take no more than {MAX_MEMORIES} memories and tables in one module"));
                }
                Ok((m, t)) => {
                    (memories, tables) = (memories + m, tables + t);
                    wasi.insert(*hash);
                }
                Err(e) => refuse(file, e.to_string()),
            },
            Class::Other(why) => refuse(file, (*why).into()),
            Class::Elf | Class::Script(_) => {}
        }
    }
    for (hash, file) in &files {
        if let Class::Script(_) = &file.class {
            match scan::final_interpreter(rootfs, &files, env, file) {
                Ok(by) if objects.contains_key(&by) || wasi.contains(&by) || polyfills.contains_key(&by) => {
                    scripts.insert(*hash, by);
                }
                Ok(by) => {
                    let path =
                        files.get(&by).and_then(|f| f.paths.first()).map(GuestPath::to_string).unwrap_or_default();
                    refuse(file, format!("its interpreter {path} was not recompiled"));
                }
                Err(why) => refuse(file, why),
            }
        }
    }
    let extensions = native_extensions(rootfs, &polyfills, extensions)?;
    // Those marked as executable are in the list as programs.
    let known: BTreeSet<&GuestPath> = extensions.iter().map(|n| &n.path).collect();
    not_recompiled.retain(|n| !known.contains(&n.path));
    not_recompiled.extend(extensions);
    Ok(Programs { files, polyfills, objects, wasi, scripts, not_recompiled })
}

/// The shared objects among the packages of languages that polyfills stand in for: no polyfill loads one, and an import says so.
fn native_extensions(
    rootfs: &Rootfs,
    polyfills: &BTreeMap<FileHash, Chosen>,
    extensions: &Extensions,
) -> Result<Vec<NotRecompiled>> {
    let has = |language| polyfills.values().any(|c| c.interpreter.language == language);
    let (python, node) = (has(Language::Python), has(Language::Node));
    let within = |path: &[u8], dir: &[u8]| memchr::memmem::find(path, dir).is_some();
    let mut found = Vec::new();
    for (path, _, entry) in rootfs.iter() {
        let site = within(&path, b"/dist-packages/") || within(&path, b"/site-packages/");
        let text = String::from_utf8_lossy(&path);
        let reason = if python && site && path.ends_with(b".so") {
            if extensions.linked.as_ref().is_some_and(|linked| linked.files.iter().any(|file| *file == text)) {
                continue;
            }
            let why = extensions.failed.get(&*text).map(|why| format!(" ({why})")).unwrap_or_default();
            format!(
                "a native extension: its import raises ImportError{why}; the way out is --python recompile, once dynamically linked programs can be recompiled"
            )
        } else if node && within(&path, b"/node_modules/") && path.ends_with(b".node") {
            "a native extension: it does not load (ERR_DLOPEN_FAILED)".to_owned()
        } else {
            continue;
        };
        if entry.regular().is_some() {
            let path = GuestPath::new(path)?;
            found.push(NotRecompiled { path, offset: None, bytes: None, reason });
        }
    }
    Ok(found)
}

/// Recompiles one ELF file. A panic on a strange file costs that file, not the build.
fn recompile(file: &[u8]) -> Result<Vec<u8>> {
    match catch_unwind(AssertUnwindSafe(|| megalith_recompile::recompile(file))) {
        Ok(object) => Ok(object?.wasm),
        Err(_) => bail!("recompiling failed: internal error (please report it with the file)"),
    }
}

/// Entry point of every program that starts; a script's is its interpreter's.
fn name(p: &Programs) -> BTreeMap<FileHash, String> {
    let own = p.objects.keys().chain(&p.wasi);
    let paths = own.filter_map(|h| Some((h, p.files.get(h)?))).flat_map(|(h, f)| f.paths.iter().map(|path| (path, *h)));
    let reserved = p.polyfills.values().map(|c| c.interpreter.language.entry_point()).collect();
    let mut names = entry_points(paths, &reserved);
    for (hash, chosen) in &p.polyfills {
        let name = chosen.interpreter.language.entry_point();
        names.extend([(*hash, name.clone()), (chosen.hash, name)]);
    }
    for (script, by) in &p.scripts {
        if let Some(name) = names.get(by).cloned() {
            names.insert(*script, name);
        }
    }
    names
}

fn link(rootfs: &Rootfs, p: &Programs, names: &BTreeMap<FileHash, String>) -> Result<Linked> {
    let entry_point =
        |hash: &FileHash| names.get(hash).map(String::as_str).with_context(|| format!("{hash} has no entry point"));
    let mut inputs = LinkInputs::default();
    for (hash, object) in &p.objects {
        inputs.objects.push(Object { hash: hash.0, entry_point: entry_point(hash)?, wasm: object });
    }
    for hash in &p.wasi {
        let node = p.files.get(hash).map(|f| f.node).context("a module got lost")?;
        inputs.wasi.push(WasiModule { hash: hash.0, entry_point: entry_point(hash)?, wasm: rootfs.data(node) });
    }
    for hash in p.scripts.keys().chain(p.polyfills.keys()) {
        inputs.aliases.push(Alias { hash: hash.0, entry_point: entry_point(hash)? });
    }
    Ok(megalith_link::link(&inputs)?)
}

/// Writes the module with the container's files, or those beside it when the module would become too large.
fn write_module(
    stage: &Stage,
    linked: &Linked,
    rootfs: &Rootfs,
    progress: Progress,
) -> Result<(FileSystem, FileHash, u64)> {
    let image = |e: megalith_image::Error| anyhow!("{e}");
    let mut file = stage.create(MEGABINARY)?;
    let mut out = BufWriter::with_capacity(1 << 20, &mut file);
    let expected = Plan::new(rootfs, 0).map_err(image)?.summary();
    // Headers and padding take less than two pages.
    let inside = linked.wasm.len() as u64 + expected.len + 8192 <= MAX_MODULE;
    let fs = if inside {
        let mut summary = None;
        let written = linked.write_to(&mut out, |mut w: &mut dyn Write, offset| {
            let s: Summary = Plan::new(rootfs, offset).and_then(|plan| plan.write(&mut w)).map_err(io::Error::other)?;
            summary = Some(s);
            Ok(s.len)
        })?;
        let summary = summary.context("the file system was not written")?;
        FileSystem { root: summary.root, place: FsPlace::Section, offset: written.fs_offset, size: written.fs_len }
    } else {
        out.write_all(&linked.wasm)?;
        progress.note(&format!(
            "the container's files ({} bytes) go to {} beside the module",
            expected.len,
            Manifest::FILES_IMG
        ));
        let files = stage.create(Manifest::FILES_IMG)?;
        let mut files = BufWriter::with_capacity(1 << 20, files);
        let summary = Plan::new(rootfs, 0).and_then(|plan| plan.write(&mut files)).map_err(image)?;
        files.into_inner().map_err(|e| e.into_error())?.sync_all()?;
        FileSystem { root: summary.root, place: FsPlace::FilesImg, offset: 0, size: summary.len }
    };
    out.flush()?;
    drop(out);
    file.sync_all()?;
    // SAFETY: a private mapping of a file that was created just now in a directory of our own.
    let map = unsafe { memmap2::Mmap::map(&file) }.context("cannot map the module")?;
    Ok((fs, FileHash::of(&map), map.len() as u64))
}

/// Adds the places in recompiled files that have no translation.
fn list_uncovered(p: &mut Programs, mega: &Megabinary<'_>) -> Result<()> {
    for hash in p.objects.keys() {
        let Some(path) = p.files.get(hash).and_then(|f| f.paths.first()) else { continue };
        let meta = mega.file_meta(&hash.0)?;
        p.not_recompiled.extend(meta.uncovered.iter().map(|u| NotRecompiled {
            path: path.clone(),
            offset: meta.file_offset(u.addr.into()),
            bytes: Some(u.bytes.iter().map(|b| format!("{b:02x}")).collect()),
            reason: u.reason.clone(),
        }));
    }
    p.not_recompiled.sort();
    Ok(())
}

fn manifest(
    args: &Args,
    image: &Image,
    p: &Programs,
    names: &BTreeMap<FileHash, String>,
    snapshots: &Snapshots,
    fs: FileSystem,
    megabinary_hash: FileHash,
) -> Result<Manifest> {
    let mut binaries = BTreeMap::new();
    for (hash, entry_point) in names {
        let Some(file) = p.files.get(hash) else { continue };
        let kind = match file.class {
            Class::Elf if p.polyfills.contains_key(hash) => Kind::Polyfill,
            Class::Elf => Kind::Elf,
            Class::Wasm => Kind::Wasi,
            _ => Kind::Script,
        };
        for path in &file.paths {
            binaries
                .insert(path.clone(), Binary { hash: *hash, entry_point: entry_point.clone(), kind, size: file.size });
        }
    }
    let mut agent_tools = BTreeMap::new();
    let mut agent_tool_paths = BTreeMap::new();
    for (name, path) in &args.tools {
        let hash = file_hash(&image.rootfs, path).filter(|hash| names.contains_key(hash));
        let hash = hash.with_context(|| format!("--tool {name}={path}: it was not recompiled"))?;
        if agent_tools.insert(name.clone(), hash).is_some() {
            bail!("--tool {name} is given twice");
        }
        agent_tool_paths.insert(name.clone(), path.clone());
    }
    Ok(Manifest {
        schema: Manifest::SCHEMA.into(),
        container_id: image.container_id,
        megabinary: MEGABINARY.into(),
        megabinary_hash,
        binaries,
        agent_tools,
        agent_tool_paths,
        polyfills: p
            .polyfills
            .iter()
            .map(|(hash, chosen)| (*hash, describe_polyfill(hash, chosen, snapshots)))
            .collect(),
        config: image.config.to_manifest(),
        fs,
        scripts: match args.scripts {
            ScriptPolicy::Open => Scripts::Open,
            ScriptPolicy::Sealed => Scripts::Sealed,
        },
        not_recompiled: p.not_recompiled.clone(),
    })
}

fn describe_polyfill(hash: &FileHash, chosen: &Chosen, snapshots: &Snapshots) -> Polyfill {
    let snapshot = snapshots.get(hash).map(|(bytes, warmed)| Snapshot {
        file: chosen.snapshot_file(hash),
        hash: FileHash::of(bytes),
        warmed: warmed.clone(),
    });
    Polyfill {
        name: chosen.interpreter.language.name().into(),
        version: chosen.interpreter.version.clone(),
        reason: chosen.reason.clone(),
        program: chosen.hash,
        file: chosen.file(),
        calls: chosen.calls.clone(),
        snapshot,
    }
}
