//! `megalith compile`: AOT code for this host.

use crate::bundle::Bundle;
use crate::cache::Cache;
use crate::progress::Progress;
use crate::stage::Stage;
use anyhow::{Context, Result, bail};
use megalith_engine::compile::Compiler;
use megalith_engine::{TARGET, WASMTIME};
use megalith_link::Megabinary;
use megalith_manifest::{AotFile, AotIndex, CodeHash, Engine, FileHash};
use rayon::prelude::*;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Args {
    /// Directory that `megalith build` wrote
    bundle: PathBuf,
    /// Number of threads; all cores unless given
    #[arg(long, value_name = "N", value_parser = jobs)]
    jobs: Option<usize>,
    /// Print one JSON report to standard output
    #[arg(long)]
    json: bool,
}

/// Parses `--jobs`.
pub fn jobs(s: &str) -> Result<usize, String> {
    s.parse().ok().filter(|n| (1..=1024).contains(n)).ok_or_else(|| "not a number from 1 to 1024".into())
}

/// Sets up as many threads as `--jobs` says, with stacks that deeply nested control flow does not exhaust.
pub fn set_jobs(jobs: Option<usize>) -> Result<()> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(jobs.unwrap_or(0)).stack_size(256 << 20);
    pool.build_global().context("cannot start threads")
}

#[derive(serde::Serialize)]
struct Report<'a> {
    bundle: String,
    target: &'a str,
    programs: usize,
    aot_bytes: u64,
    cached: usize,
    made: usize,
}

pub fn main(args: Args) -> Result<ExitCode> {
    set_jobs(args.jobs)?;
    let progress = Progress::new(args.json);
    let bundle = Bundle::open(&args.bundle)?;
    let module = bundle.megabinary()?;
    if FileHash::of(&module) != bundle.manifest.megabinary_hash {
        bail!(
            "{} does not have the hash that the manifest says; build the bundle again",
            bundle.path.join(&bundle.manifest.megabinary).display()
        );
    }
    let mega = Megabinary::parse(&module)
        .with_context(|| bundle.path.join(&bundle.manifest.megabinary).display().to_string())?;
    let cache = Cache::open()?;
    let aot_dir = bundle.aot_dir();
    if let Some(parent) = aot_dir.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    }
    let stage = Stage::new(&aot_dir)?;
    let index = write_aot(&mega, bundle.manifest.megabinary_hash, &cache, progress, &stage, "")?;
    stage.commit()?;
    let (cached, made) = cache.counts();
    let aot_bytes = index.files.values().map(|f| f.code_size).sum();
    if args.json {
        let bundle = bundle.path.display().to_string();
        let report = Report { bundle, target: TARGET, programs: index.files.len(), aot_bytes, cached, made };
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!(
            "{}: {} programs, {aot_bytes} bytes of code for {TARGET} ({made} compiled, {cached} from the cache)",
            bundle.path.display(),
            index.files.len()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Compiles every program of `mega` and writes code, metadata and index to directory `dir` of the stage.
pub fn write_aot(
    mega: &Megabinary<'_>,
    megabinary_hash: FileHash,
    cache: &Cache,
    progress: Progress,
    stage: &Stage,
    dir: &str,
) -> Result<AotIndex> {
    let compiler = Compiler::new(TARGET)?;
    let units = mega.units();
    let programs: Vec<(FileHash, &str)> = units
        .objects
        .iter()
        .map(|o| (FileHash(o.hash), o.entry_point.as_str()))
        .chain(units.wasi.iter().map(|w| (FileHash(w.hash), w.entry_point.as_str())))
        .collect();
    let step = progress.step("compiling", programs.len());
    let one = |(hash, name): &(FileHash, &str)| -> Result<(FileHash, AotFile)> {
        // A projection is cheap but not free: when its hash is known and its code is there, it is not made at all.
        let mut projection = None;
        let identity = cache.get("projection", &[&cache.tool.0, &megabinary_hash.0, &hash.0], || {
            let wasm = projection.insert(mega.project(&hash.0)?);
            Ok(FileHash::of(wasm).0.to_vec())
        })?;
        let code = cache.get("aot", &[compiler.fingerprint().as_bytes(), &identity], || {
            let wasm = projection.take().map_or_else(|| mega.project(&hash.0), Ok)?;
            compiler.compile(&wasm).with_context(|| format!("{name}: cannot compile it"))
        })?;
        let meta = match mega.file_meta_bytes(&hash.0) {
            Some(_) => mega.file_meta(&hash.0)?.to_start_file(),
            None => mega.data_image(&hash.0)?.unwrap_or_default().to_file(),
        };
        let file = AotFile {
            code: format!("{}.cwasm", hash.hex()),
            code_hash: CodeHash::of(&code),
            code_size: code.len() as u64,
            meta: format!("{}.meta", hash.hex()),
            meta_hash: FileHash::of(&meta),
            meta_size: meta.len() as u64,
        };
        stage.write(&format!("{dir}{}", file.code), &code)?;
        stage.write(&format!("{dir}{}", file.meta), &meta)?;
        step.done(name);
        Ok((*hash, file))
    };
    let files = programs.par_iter().map(one).collect::<Result<_>>()?;
    let index = AotIndex {
        schema: AotIndex::SCHEMA.into(),
        target: TARGET.into(),
        engine: Engine { wasmtime: WASMTIME.into(), config: compiler.fingerprint().into() },
        megabinary_hash,
        files,
    };
    stage.write(&format!("{dir}{}", AotIndex::FILE_NAME), &index.to_json()?)?;
    Ok(index)
}
