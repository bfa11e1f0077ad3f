//! End-to-end tests: cases from files (`tests/cases`), and those that need more than a script.
//!
//! `MEGALITH_SUBJECT=native` judges the native side instead of Megalith and so proves the judge.

mod agents;
mod bundles;
mod calls;
mod cases;
mod command_line;
mod context;
mod extensions;
mod hostile;
mod interactive;
mod javascript;
mod leaks;
mod libtest;
mod net;
mod no_jit;
mod polyfill;
mod second_engine;
mod suite;
mod toolbox;
mod tools;
mod wasi;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use libtest_mimic::{Arguments, Failed, Trial};
use xtask::paths;

/// A test: its name and what it does. An error is a failure.
pub struct Test {
    name: String,
    run: Box<dyn FnOnce() -> Result<()> + Send>,
    /// Not to be run now, and why.
    skip: Option<&'static str>,
}

impl Test {
    fn new(name: impl Into<String>, run: impl FnOnce() -> Result<()> + Send + 'static) -> Test {
        Test { name: name.into(), run: Box::new(run), skip: None }
    }

    /// A test of Megalith alone, which the native side cannot stand in for.
    fn ours(name: impl Into<String>, run: impl FnOnce() -> Result<()> + Send + 'static) -> Test {
        Test { skip: context::judging_native().then_some("the native side is judged"), ..Test::new(name, run) }
    }
}

/// `tests/known-failures.toml`.
#[derive(serde::Deserialize)]
struct KnownFailures {
    #[serde(default)]
    failure: Vec<KnownFailure>,
}

#[derive(serde::Deserialize)]
struct KnownFailure {
    name: String,
    reason: String,
}

fn known_failures() -> Result<BTreeMap<String, String>> {
    let path = paths::root().join("tests/known-failures.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let list: KnownFailures = toml::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
    Ok(list.failure.into_iter().map(|f| (f.name, f.reason)).collect())
}

/// A known failure must fail: one that passes is to be struck off the list.
fn must_fail(name: &str, reason: &str, result: Result<()>) -> Result<()> {
    match result {
        Ok(()) => {
            bail!("{name} passes now: strike it off tests/known-failures.toml (it stood there because: {reason})")
        }
        Err(_) => Ok(()),
    }
}

fn main() {
    let arguments = Arguments::from_args();
    let mut known = known_failures().unwrap_or_else(|error| {
        eprintln!("{error:#}");
        std::process::exit(2);
    });
    let mut tests = cases::tests();
    for more in [
        command_line::tests(),
        polyfill::tests(),
        agents::tests(),
        net::tests(),
        extensions::tests(),
        calls::tests(),
        javascript::tests(),
        toolbox::tests(),
        leaks::tests(),
        tools::tests(),
        interactive::tests(),
        libtest::tests(),
        bundles::tests(),
        no_jit::tests(),
        hostile::tests(),
        second_engine::tests(),
        suite::tests(),
        wasi::tests(),
    ] {
        tests.extend(more);
    }
    let mut trials: Vec<Trial> = Vec::new();
    for test in tests {
        let reason = known.remove(&test.name).filter(|_| !context::judging_native());
        let ignored = test.skip.is_some();
        let label = test.name.clone();
        let run = move || {
            let result = (test.run)();
            let result = match reason {
                Some(reason) => must_fail(&test.name, &reason, result),
                None => result,
            };
            result.map_err(|error| Failed::from(format!("{error:#}")))
        };
        trials.push(Trial::test(label, run).with_ignored_flag(ignored));
    }
    for name in known.into_keys() {
        trials.push(Trial::test(format!("known-failures::{name}"), || {
            Err("tests/known-failures.toml names no such test".into())
        }));
    }
    trials.sort_by(|a, b| a.name().cmp(b.name()));
    libtest_mimic::run(&arguments, trials).exit();
}
