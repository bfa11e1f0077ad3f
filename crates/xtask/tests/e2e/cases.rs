//! Tests from files: see `tests/cases/README.md`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use xtask::paths;
use xtask::subject::{Job, Outcome, Stdin, Subject, snapshot};

use crate::{Test, context};

/// One case.
#[derive(Clone, Debug, Default)]
struct Case {
    script: String,
    /// Program and arguments before the script.
    run: Vec<String>,
    stdin: Option<String>,
    timeout: Option<u64>,
    golden: Option<PathBuf>,
    stderr: Option<String>,
    normalize: bool,
}

/// All cases below `tests/cases`.
pub fn tests() -> Vec<Test> {
    let root = paths::root().join("tests/cases");
    let mut tests = Vec::new();
    let mut files = Vec::new();
    for group in fs::read_dir(&root).into_iter().flatten().flatten().filter(|e| e.path().is_dir()) {
        files.extend(fs::read_dir(group.path()).into_iter().flatten().flatten().map(|e| e.path()));
    }
    files.sort();
    for file in files {
        let name = file.strip_prefix(&root).unwrap_or(&file).with_extension("").to_string_lossy().replace('/', "::");
        match file.extension().and_then(|e| e.to_str()) {
            Some("sh") => tests.push(from_file(&name, &file)),
            Some("list") => tests.extend(from_list(&name, &file)),
            _ => {}
        }
    }
    tests
}

fn from_file(name: &str, file: &Path) -> Test {
    match read(file) {
        Ok(case) if case.golden.is_some() => Test::ours(name, move || check(&case)),
        Ok(case) => Test::new(name, move || check(&case)),
        Err(error) => Test::new(name, move || Err(error)),
    }
}

fn from_list(name: &str, file: &Path) -> Vec<Test> {
    let text = match fs::read_to_string(file).with_context(|| format!("read {}", file.display())) {
        Ok(text) => text,
        Err(error) => return vec![Test::new(name, move || Err(error))],
    };
    let lines = text.lines().filter(|l| !l.trim().is_empty() && !l.starts_with('#'));
    lines
        .map(|line| match line.split_once(": ") {
            Some((case, script)) => {
                let script = Case { script: script.to_owned(), timeout: Some(120), ..Case::default() };
                Test::new(format!("{name}::{case}"), move || check(&script))
            }
            None => {
                let line = line.to_owned();
                Test::new(format!("{name}::?"), move || bail!("not `name: script`: {line}"))
            }
        })
        .collect()
}

fn read(file: &Path) -> Result<Case> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let mut case = Case { script: text.clone(), ..Case::default() };
    for line in text.lines() {
        let Some(line) = line.strip_prefix("# ") else { break };
        let (key, value) = line.split_once(": ").unwrap_or((line, ""));
        match key {
            "RUN" => case.run = value.split_whitespace().map(String::from).collect(),
            "STDIN" => case.stdin = Some(value.to_owned()),
            "TIMEOUT" => {
                case.timeout = Some(value.parse().with_context(|| format!("{}: TIMEOUT: {value}", file.display()))?)
            }
            "GOLDEN" => case.golden = Some(file.with_extension("golden")),
            "STDERR" => case.stderr = Some(value.to_owned()),
            "NORMALIZE" => case.normalize = true,
            // Other comments are comments.
            _ => {}
        }
    }
    Ok(case)
}

fn check(case: &Case) -> Result<()> {
    let context = context::get()?;
    let mut job =
        if case.run.is_empty() { Job::shell(&case.script) } else { Job::new(case.run.iter().chain([&case.script])) };
    job.volumes.push(format!("{}:/data:ro", context.data.display()));
    job.directory = "/work".into();
    job.timeout = Duration::from_secs(case.timeout.unwrap_or(60));
    if let Some(name) = &case.stdin {
        job.stdin = Stdin::File(context.data.join(name));
    }
    match &case.golden {
        Some(golden) => {
            let (outcome, _) = run(&context.subject, &job)?;
            if let Some(wanted) = &case.stderr {
                ensure!(
                    String::from_utf8_lossy(&outcome.stderr).contains(wanted),
                    "stderr has no {wanted:?}: {}",
                    outcome.describe()
                );
            }
            against_golden(golden, &outcome)
        }
        None => {
            let mut native = run(&context.native, &job)?;
            let mut ours = run(&context.subject, &job)?;
            ours.0.stderr = without_audit(&ours.0.stderr);
            ensure!(native.0.status != -1, "the native side ran out of time: {}", native.0.describe());
            if case.normalize {
                for outcome in [&mut native.0, &mut ours.0] {
                    outcome.stdout = without_numbers(&outcome.stdout);
                    outcome.stderr = without_numbers(&outcome.stderr);
                }
            }
            if native.0 != ours.0 {
                bail!("native:\n{}\n\nhere:\n{}", native.0.describe(), ours.0.describe());
            }
            ensure!(native.1 == ours.1, "files left behind\nnative: {:#?}\nhere: {:#?}", native.1, ours.1);
            Ok(())
        }
    }
}

type Files = std::collections::BTreeMap<String, String>;

/// Runs a job with an empty directory at `/work`. Returns what it left there, too.
fn run(subject: &Subject, job: &Job) -> Result<(Outcome, Files)> {
    let work = tempfile::tempdir()?;
    let mut job = job.clone();
    job.volumes.push(format!("{}:/work", work.path().display()));
    let outcome = subject.run(&job)?;
    Ok((outcome, snapshot(work.path())?))
}

fn against_golden(golden: &Path, outcome: &Outcome) -> Result<()> {
    let got = format!("status {}\n{}", outcome.status, outcome.text());
    if std::env::var_os("BLESS").is_some_and(|v| v == "1") {
        return Ok(fs::write(golden, got)?);
    }
    let wanted =
        fs::read_to_string(golden).with_context(|| format!("read {} (BLESS=1 writes it)", golden.display()))?;
    ensure!(wanted == got, "{} says\n{wanted}\ngot\n{}", golden.display(), outcome.describe());
    Ok(())
}

/// Without the lines that `megalith` itself adds for the user when it refuses or ends something.
fn without_audit(stderr: &[u8]) -> Vec<u8> {
    stderr.split_inclusive(|b| *b == b'\n').filter(|line| !line.starts_with(b"megalith: ")).flatten().copied().collect()
}

fn without_numbers(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for &byte in text {
        if !byte.is_ascii_digit() {
            out.push(byte);
        } else if out.last() != Some(&b'N') {
            out.push(b'N');
        }
    }
    out
}
