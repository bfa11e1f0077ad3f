//! A fixed sample of busybox's own test suite; all of it: `cargo xtask conformance`.

use anyhow::{Result, bail};
use xtask::conformance::{Part, SAMPLE, regressions, run_part};

use crate::{Test, context};

pub fn tests() -> Vec<Test> {
    SAMPLE.iter().map(|applet| Test::new(format!("busybox-suite::{applet}"), move || check(applet))).collect()
}

fn check(applet: &str) -> Result<()> {
    let (_, native, subject) = context::suite()?;
    let part = Part { name: applet.to_owned(), ash: false };
    let (wanted, outcome) = run_part(native, &part)?;
    if wanted.is_empty() {
        bail!("no case ran natively: {}", outcome.describe());
    }
    let (got, outcome) = run_part(subject, &part)?;
    let failures = regressions(&wanted, &got);
    if !failures.is_empty() {
        bail!("{failures:#?}\n{}", outcome.describe());
    }
    Ok(())
}
