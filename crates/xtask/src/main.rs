//! `cargo xtask VERB`: see the README.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::{bench, conformance, demo, fuzz, native, polyfill, workspace};

/// Set-up, build, demo, test, bench, fuzz and conformance of Megalith.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Builds everything: target/release/megalith and megalith-run are ready afterwards.
    Build,
    /// Builds the polyfills alone; `build` does it, too.
    Polyfills,
    /// Formatting, lints, all tests.
    Test {
        /// Who the end-to-end tests judge: `megalith`, or `native` to prove the judge.
        #[arg(long)]
        subject: Option<String>,
        /// Names of tests, and options of the test runner.
        #[arg(last = true)]
        filter: Vec<String>,
    },
    /// An image from Debian's busybox, Python and Node, a bundle, a pipeline and an agent's tools in it, denied starts, a short table of ratios.
    Demo,
    /// Native and Megalith in turn: writes docs/benchmarks.md.
    Bench(bench::Options),
    /// busybox's own test suite, Python and Node packages, CPython's Lib/test, test262: writes docs/compatibility.md.
    Conformance(conformance::Options),
    /// Instruction fuzz against this CPU, and hostile input.
    Fuzz(fuzz::Options),
    /// Runs a program natively, with the options of `megalith run`: the other side of every comparison.
    #[command(hide = true)]
    Native(native::Options),
}

fn main() -> ExitCode {
    let done: Result<i32> = match Arguments::parse().verb {
        Verb::Build => workspace::build().map(|()| 0),
        Verb::Polyfills => polyfill::build_all().map(|()| 0),
        Verb::Test { subject, filter } => workspace::test(subject.as_deref(), &filter).map(|()| 0),
        Verb::Demo => demo::run().map(|()| 0),
        Verb::Bench(options) => bench::run(&options).map(|()| 0),
        Verb::Conformance(options) => conformance::run(&options).map(|()| 0),
        Verb::Fuzz(options) => fuzz::run(&options).map(|()| 0),
        Verb::Native(options) => native::run(&options),
    };
    match done {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(1)),
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
