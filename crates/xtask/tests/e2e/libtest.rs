//! A fixed sample of CPython's own tests; all of them: `cargo xtask conformance --suite cpython`.

use std::sync::OnceLock;

use anyhow::{Result, bail, ensure};
use xtask::cpython::{self, TestFile};
use xtask::subject::Subject;
use xtask::{setup, toolbox};

use crate::{Test, context};

pub fn tests() -> Vec<Test> {
    let files = match cpython::expected() {
        Ok(files) => files,
        Err(error) => return vec![Test::new("libtest", move || Err(error))],
    };
    let sample = cpython::sample(&files);
    let methods = |files: &[TestFile]| files.iter().map(|f| f.passes.len()).sum::<usize>();
    eprintln!(
        "Lib/test: a sample of {} files with {} methods, of {} with {}",
        sample.len(),
        methods(&sample),
        files.len(),
        methods(&files)
    );
    let names: Vec<String> = sample.iter().map(|f| f.name.clone()).collect();
    let mut tests: Vec<Test> =
        sample.into_iter().map(|file| Test::new(format!("libtest::{}", file.name), move || check(&file))).collect();
    tests.push(Test::new("libtest::known-failures", move || {
        let all = cpython::known_failures()?;
        let stray: Vec<_> = all.keys().filter(|id| !names.iter().any(|n| cpython::file_of(id) == Some(n))).collect();
        ensure!(stray.is_empty(), "{} names methods that are not in the sample: {stray:?}", cpython::KNOWN);
        Ok(())
    }));
    tests
}

fn subject() -> Result<&'static Subject> {
    static SUBJECT: OnceLock<Result<Subject, String>> = OnceLock::new();
    context::shared(&SUBJECT, || {
        setup::packages()?;
        Subject::under_test(&toolbox::with_test_suite()?.corpus)
    })
}

/// What passes natively passes here, but for what is known to fail.
fn check(file: &TestFile) -> Result<()> {
    let outcome = cpython::run_file(subject()?, &file.name, file.limit())?;
    let bad = file.regressions(&outcome);
    let mut known = cpython::known_failures()?;
    known.retain(|id, _| file.passes.contains(id));
    let new: Vec<_> = bad.iter().filter(|(id, _)| !known.contains_key(*id)).collect();
    if !new.is_empty() {
        bail!("{}; pass natively: {new:#?}\n{}", outcome.end(), outcome.tail);
    }
    if !context::judging_native() {
        let passing: Vec<_> = known.iter().filter(|(id, _)| bad.iter().all(|(b, _)| b != id)).collect();
        ensure!(passing.is_empty(), "pass now: strike them off {}: {passing:#?}", cpython::KNOWN);
    }
    Ok(())
}
