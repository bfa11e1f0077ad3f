//! Hostile input, a fixed share of `cargo xtask fuzz`.

use std::time::Duration;

use anyhow::{Result, ensure};
use xtask::subject::{self, Stdin};
use xtask::{fuzz, paths, sh};

use crate::{Test, context};

/// Damaged inputs for the cheapest target.
const ROUNDS: u64 = 2000;

pub fn tests() -> Vec<Test> {
    ["elf", "wasm", "manifest", "image"]
        .iter()
        .map(|target| Test::ours(format!("hostile::{target}"), move || check(target)))
        .collect()
}

fn check(target: &str) -> Result<()> {
    let context = context::get()?;
    let temporary = tempfile::tempdir()?;
    let bundle = subject::bundle(&context.corpus)?;
    for (name, inputs, share) in fuzz::hostile_inputs(&context.corpus, &bundle, temporary.path())? {
        if name == target {
            let mut command = sh::command(paths::release("hostile"), [name, "--rounds", &(ROUNDS / share).to_string()]);
            command.args(inputs).current_dir(paths::root());
            let outcome = subject::run(command, &Stdin::Empty, Duration::from_secs(300))?;
            ensure!(outcome.status == 0, "{}", outcome.describe());
        }
    }
    Ok(())
}
