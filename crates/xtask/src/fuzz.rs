//! `cargo xtask fuzz`: instructions against this CPU, then hostile input against every parser.

use std::path::Path;

use anyhow::{Result, bail};

use crate::{debian, paths, setup, sh};

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// States for each instruction form.
    #[arg(long, default_value_t = 10_000)]
    states: u64,
    /// The same seed runs the same states.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only forms whose name contains this; no hostile input then.
    #[arg(long)]
    form: Option<String>,
    /// Prove the judge: compare the CPU with itself.
    #[arg(long)]
    self_check: bool,
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
    let mut failed = Vec::new();
    let mut insnfuzz = sh::command(&fuzzer, ["--states", &options.states.to_string(), "--seed", &options.seed.to_string()]);
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
        // Hostile input lives in the crates' own tests: mutated images, ELF files, modules, manifests and system call arguments.
        // `MEGALITH_FUZZ` asks them for more rounds than `cargo test` has time for.
        for package in ["megalith-image", "megalith-recompile", "megalith-link", "megalith-manifest", "megalith-vkernel"] {
            if let Err(error) = cargo(&["test", "--release", "-p", package, "--", "hostile", "--include-ignored"]) {
                failed.push(format!("{package}: {error:#}"));
            }
        }
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("; "));
    }
    Ok(())
}

fn cargo(arguments: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    sh::run(sh::command(cargo, arguments).env("MEGALITH_FUZZ", "1").current_dir(paths::root()))
}
