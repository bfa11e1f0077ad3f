//! Cargo over the whole workspace: `xtask build` and `xtask test`.
//!
//! The running side must not contain the compiler, and Cargo unifies features over the packages of one invocation: so
//! `megalith-run` is always built by an invocation of its own. One profile, `release`, serves everything.

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::{conformance, corpus, data, paths, polyfill, setup, sh};

/// The package of the running side.
const RUNNER: &str = "megalith-run";

fn cargo(arguments: &[&str]) -> Command {
    let mut command = sh::command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), arguments);
    command.current_dir(paths::root());
    // Set for us by `cargo run`; an inner cargo is to find its own.
    command.env_remove("CARGO_MANIFEST_DIR");
    command
}

/// Leaves `target/release/megalith`, `megalith-run`, the polyfills and all else that is built, ready to use.
///
/// # Errors
/// Something does not build.
pub fn build() -> Result<()> {
    step("build megalith", &mut cargo(&["build", "--release", "--workspace", "--exclude", RUNNER]))?;
    step("build megalith-run", &mut cargo(&["build", "--release", "-p", RUNNER]))?;
    polyfill::build_all()
}

/// Everything that must hold: formatting, lints, tests of every crate, and the end-to-end tests. The last lines are Cargo's.
///
/// # Errors
/// Anything fails; all of it is run nevertheless.
pub fn test(subject: Option<&str>, filter: &[String]) -> Result<()> {
    setup::packages()?;
    let mut failed = Vec::new();
    let mut attempt = |name: &str, command: &mut Command| {
        if let Err(error) = step(name, command) {
            eprintln!("xtask: FAILED: {name}: {error:#}");
            failed.push(name.to_owned());
        }
    };
    attempt("formatting", &mut cargo(&["fmt", "--all", "--check"]));
    // The same set of packages and targets for build, lints and tests: the same features, so nothing is compiled twice.
    let build = ["build", "--release", "--workspace", "--exclude", RUNNER, "--all-targets"];
    step("build", &mut cargo(&build))?;
    step("build megalith-run", &mut cargo(&["build", "--release", "-p", RUNNER]))?;
    attempt("lints", &mut cargo(&["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"]));
    // What the end-to-end tests need, fetched and made before the clock of any test runs.
    corpus::standard()?;
    data::directory()?;
    conformance::suite()?;
    polyfill::build_all()?;
    let runner = ["test", "--release", "-p", RUNNER];
    attempt("tests of megalith-run", &mut cargo(&runner));
    // `cargo test` runs the runner's tests with its own features; then make sure that the executable is the plain one.
    step("build megalith-run", &mut cargo(&["build", "--release", "-p", RUNNER]))?;
    let mut tests = cargo(&["test", "--release", "--no-fail-fast", "--workspace", "--exclude", RUNNER]);
    if let Some(subject) = subject {
        tests.env("MEGALITH_SUBJECT", subject);
    }
    if !filter.is_empty() {
        tests.arg("--").args(filter);
    }
    // Nothing is printed after it when all is well: the last lines are Cargo's.
    eprintln!("xtask: tests");
    if let Err(error) = sh::run(&mut tests) {
        failed.push(format!("tests ({error:#})"));
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn step(name: &str, command: &mut Command) -> Result<()> {
    eprintln!("xtask: {name}");
    let start = Instant::now();
    sh::run(command)?;
    eprintln!("xtask: {name}: {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}
