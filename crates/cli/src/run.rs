//! `megalith run`: becomes `megalith-run`, which contains no compiler.

use anyhow::{Context, Result};
use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Names another executable than the `megalith-run` beside this one.
const VARIABLE: &str = "MEGALITH_RUN";

/// Replaces this process. The command line has been parsed, so that mistakes and `--help` are answered here; it is passed on as it came.
pub fn main() -> Result<ExitCode> {
    // Skip our name and the verb.
    become_runner(env::args_os().skip(2))
}

/// Replaces this process by `megalith-run` with these arguments.
pub fn become_runner(args: impl IntoIterator<Item = OsString>) -> Result<ExitCode> {
    let program = runner()?;
    let error = Command::new(&program).args(args).exec();
    Err(error).with_context(|| {
        format!("cannot start {}; it belongs beside megalith (or name it in {VARIABLE})", program.display())
    })
}

/// Where `megalith-run` is.
pub fn runner() -> Result<PathBuf> {
    Ok(match env::var_os(VARIABLE) {
        Some(path) => PathBuf::from(path),
        None => {
            env::current_exe().context("cannot find out where this executable lies")?.with_file_name("megalith-run")
        }
    })
}
