//! `cargo xtask fuzz`: instructions against this CPU, then hostile input against every parser and every system call.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::corpus::{self, Corpus};
use crate::subject::{self, Job, Subject};
use crate::{debian, paths, setup, sh, survey};

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// States for each instruction form.
    #[arg(long, default_value_t = 10_000)]
    states: u64,
    /// The same seed runs the same states.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Damaged inputs for each reader of files.
    #[arg(long, default_value_t = 20_000)]
    rounds: u64,
    /// Only forms whose name contains this; no hostile input then.
    #[arg(long)]
    form: Option<String>,
    /// Prove the judge: compare the CPU with itself.
    #[arg(long)]
    self_check: bool,
    /// Instead, count the instructions of a Debian root that no test compares: writes docs/instructions.md.
    #[arg(long)]
    survey: bool,
}

/// Runs the fuzzers.
///
/// # Errors
/// A mismatch, a panic or a hang.
pub fn run(options: &Options) -> Result<()> {
    setup::packages()?;
    let package = debian::binary_package("busybox-static")?;
    cargo(&["build", "--release", "-p", "megalith-insnfuzz"])?;
    let fuzzer = paths::release("insnfuzz");
    if !Path::new(&fuzzer).exists() {
        bail!("{} was not built", fuzzer.display());
    }
    if options.survey {
        return survey::run(&fuzzer, &package);
    }
    let mut failed = Vec::new();
    let mut insnfuzz =
        sh::command(&fuzzer, ["--states", &options.states.to_string(), "--seed", &options.seed.to_string()]);
    if let Some(form) = &options.form {
        insnfuzz.args(["--form", form]);
    }
    if options.self_check {
        insnfuzz.arg("--self-check");
    }
    if let Err(error) = sh::run(insnfuzz.arg(package.files.join("bin/busybox"))) {
        failed.push(format!("instructions: {error:#}"));
    }
    if options.form.is_none() {
        if let Err(error) = hostile(options.rounds, options.seed) {
            failed.push(format!("hostile input: {error:#}"));
        }
        if let Err(error) = system_calls(options.seed) {
            failed.push(format!("system calls: {error:#}"));
        }
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("; "));
    }
    Ok(())
}

/// Damaged ELF files, modules, manifests and images.
fn hostile(rounds: u64, seed: u64) -> Result<()> {
    cargo(&["build", "--release", "-p", "megalith-hostile"])?;
    let corpus = corpus::standard()?;
    let bundle = subject::bundle(&corpus)?;
    let temporary = tempfile::tempdir()?;
    for (target, inputs, share) in hostile_inputs(&corpus, &bundle, temporary.path())? {
        eprintln!("xtask: hostile input: {target}");
        let mut command = sh::command(
            paths::release("hostile"),
            [target, "--rounds", &(rounds / share).max(1).to_string(), "--seed", &seed.to_string()],
        );
        sh::run(command.args(inputs).current_dir(paths::root()))?;
    }
    Ok(())
}

/// Good inputs for each target of `hostile`, and by how much its rounds are dearer than those of the cheapest.
///
/// # Errors
/// The small bundle cannot be built.
pub fn hostile_inputs(
    corpus: &Corpus,
    bundle: &Path,
    temporary: &Path,
) -> Result<Vec<(&'static str, Vec<PathBuf>, u64)>> {
    let hello = corpus.rootfs.join("opt/t/hello");
    let root = temporary.join("root");
    fs::create_dir_all(root.join("bin"))?;
    fs::copy(&hello, root.join("bin/hello"))?;
    std::os::unix::fs::symlink("hello", root.join("bin/hi"))?;
    fs::hard_link(root.join("bin/hello"), root.join("bin/hallo"))?;
    let layer = temporary.join("layer.tar");
    sh::output(sh::command("tar", ["-C"]).arg(&root).arg("-cf").arg(&layer).arg("."))?;
    let small = temporary.join("bundle");
    sh::output(sh::command(paths::release("megalith"), ["build"]).arg(&root).arg("-o").arg(&small))?;
    let manifests = [&small, bundle].map(|b| b.join("manifest.json"));
    Ok(vec![
        ("elf", vec![hello], 1),
        ("wasm", vec![small.join("container.wasm")], 1),
        ("manifest", manifests.to_vec(), 1),
        ("image", vec![layer], 10),
    ])
}

/// System calls with hostile arguments, from a guest.
fn system_calls(seed: u64) -> Result<()> {
    eprintln!("xtask: system calls with hostile arguments");
    let subject = Subject::megalith(&subject::bundle(&corpus::standard()?)?);
    let mut job = Job::new(["/opt/t/probe", "syscall-fuzz", &seed.to_string(), "1000", "500"]);
    job.timeout = Duration::from_secs(3600);
    let outcome = subject.run(&job)?;
    ensure!(outcome.status == 0 && outcome.text().contains("all ended: 1"), "{}", outcome.describe());
    Ok(())
}

fn cargo(arguments: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    sh::run(sh::command(cargo, arguments).current_dir(paths::root()))
}
