//! `megalith completions`.

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;
use std::process::ExitCode;

#[derive(clap::Args)]
pub struct Args {
    /// The shell; its script goes to standard output
    shell: Shell,
}

pub fn main(args: Args) -> Result<ExitCode> {
    clap_complete::generate(args.shell, &mut crate::Cli::command(), "megalith", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}
