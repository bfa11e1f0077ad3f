//! `megalith`: turns container images into bundles, and looks at bundles. One file a verb.
//!
//! Exit status: 0 done, 1 an error (one line on standard error), 2 wrong usage; `run` has that of the program, as `docker run`.

#![deny(unsafe_op_in_unsafe_fn)]

mod build;
mod bundle;
mod bytecode;
mod cache;
mod compile;
mod completions;
mod extensions;
mod inspect;
mod packages;
mod polyfill;
mod progress;
mod run;
mod sandbox;
mod scan;
mod stage;
mod tools;
mod verify;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Turns a container image into one sealed WebAssembly module, and runs it
#[derive(Parser)]
#[command(name = "megalith", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Recompile an image's programs and write a bundle
    Build(build::Args),
    /// Compile a bundle's module for this host (build does it too)
    Compile(compile::Args),
    /// Run a bundle, or one program of it
    Run(Box<megalith_run::options::RunOptions>),
    /// Show every executable of a bundle: hash, entry point, kind, sizes, and what was not recompiled and why
    Inspect(inspect::Args),
    /// Check everything that run would check, without running
    Verify(verify::Args),
    /// List the tools of a bundle, or call one by name
    Tools(tools::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
}

fn main() -> ExitCode {
    let (result, failure) = match Cli::parse().verb {
        Verb::Build(args) => (build::main(args), 1),
        Verb::Compile(args) => (compile::main(args), 1),
        Verb::Run(_) => (run::main(), 125),
        Verb::Inspect(args) => (inspect::main(args), 1),
        Verb::Verify(args) => (verify::main(args), 1),
        Verb::Tools(args) => {
            let failure = args.failure();
            (tools::main(args), failure)
        }
        Verb::Completions(args) => (completions::main(args), 1),
    };
    match result {
        Ok(code) => code,
        Err(e) => {
            eprintln!("megalith: {e:#}");
            ExitCode::from(failure)
        }
    }
}
