//! The engine under Node, as `qjs`: QuickJS-ng's own tests, and a fixed sample of test262. All of it: `cargo xtask conformance`.

use anyhow::{Result, ensure};
use xtask::subject::Subject;
use xtask::test262::{self, Suite};

use crate::{Test, context};

/// Runs of test262, of 38,000.
const SAMPLE: usize = 600;

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("javascript::quickjs-ng", || check(&test262::own_tests()?)),
        Test::new("javascript::test262", || {
            let mut suite = test262::suite()?;
            test262::sample(&mut suite, SAMPLE);
            check(&suite)
        }),
    ]
}

fn check(suite: &Suite) -> Result<()> {
    let corpus = test262::corpus()?;
    let native = Subject::native(&context::xtask(), &corpus.rootfs);
    let (native, ours) = test262::compare(&native, &Subject::under_test(&corpus)?, suite)?;
    let passing = native.values().filter(|passed| **passed).count();
    // The engine has no Intl, which the suite is in part about.
    ensure!(passing * 5 > native.len() * 4, "natively only {passing} of {} pass", native.len());
    let bad = test262::regressions(&native, &ours);
    ensure!(bad.is_empty(), "{} of {passing} that pass natively do not: {bad:#?}", bad.len());
    Ok(())
}
