//! What tests share: the corpus, both sides, the test data. Made at first use.

use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::{Result, anyhow};
use xtask::conformance::Suite;
use xtask::corpus::Corpus;
use xtask::subject::Subject;
use xtask::{conformance, corpus, data, setup, subject};

/// The corpus and both sides.
pub struct Context {
    pub corpus: Corpus,
    pub native: Subject,
    /// Who is judged.
    pub subject: Subject,
    /// Test data, mounted at `/data`.
    pub data: PathBuf,
}

/// Whether the native side is judged, to prove the judge.
pub fn judging_native() -> bool {
    std::env::var("MEGALITH_SUBJECT").is_ok_and(|s| s == "native")
}

/// The `xtask` executable of this build: the native side.
pub fn xtask() -> PathBuf {
    env!("CARGO_BIN_EXE_xtask").into()
}

/// What `cell` holds, made at first use.
pub fn shared<T>(cell: &'static OnceLock<Result<T, String>>, make: impl FnOnce() -> Result<T>) -> Result<&'static T> {
    cell.get_or_init(|| make().map_err(|e| format!("{e:#}"))).as_ref().map_err(|e| anyhow!("{e}"))
}

/// The shared context.
pub fn get() -> Result<&'static Context> {
    static CONTEXT: OnceLock<Result<Context, String>> = OnceLock::new();
    shared(&CONTEXT, || {
        setup::packages()?;
        let corpus = corpus::standard()?;
        let native = Subject::native(&xtask(), &corpus.rootfs);
        let subject = under_test(&corpus)?;
        Ok(Context { native, subject, data: data::directory()?, corpus })
    })
}

/// busybox's suite, with both sides.
pub fn suite() -> Result<&'static (Suite, Subject, Subject)> {
    static SUITE: OnceLock<Result<(Suite, Subject, Subject), String>> = OnceLock::new();
    shared(&SUITE, || {
        setup::packages()?;
        let suite = conformance::suite()?;
        let native = Subject::native(&xtask(), &suite.corpus.rootfs);
        let subject = under_test(&suite.corpus)?;
        Ok((suite, native, subject))
    })
}

fn under_test(corpus: &Corpus) -> Result<Subject> {
    if judging_native() {
        return Ok(Subject::native(&xtask(), &corpus.rootfs));
    }
    Ok(Subject::megalith(&subject::bundle(corpus)?))
}
