//! What both sides are put to: busybox's own test suite, here, and [`crate::packages`], [`crate::cpython`] and
//! [`crate::test262`].
//!
//! busybox's suite is that of the Debian source package which the busybox-static package was built from, with the configuration of
//! the static build. It is part of the image (its scripts are started by `exec`, so the gate must know them) and runs unchanged:
//! `sh runtest APPLET`, one container for each applet, so that a hang costs one applet only.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::corpus::{self, Corpus};
use crate::subject::{Job, Outcome, Subject};
use crate::{cpython, debian, packages, page, parallel, setup, sh, test262, toolbox};

/// Share of natively passing cases that must pass here.
pub const REQUIRED: f64 = 0.98;

/// In these not a single case may fail.
const STRICT: &[&str] = &[
    "sha256sum",
    "md5sum",
    "gzip",
    "gunzip",
    "bzip2",
    "bunzip2",
    "bzcat",
    "xz",
    "unxz",
    "xzcat",
    "sort",
    "grep",
    "sed",
    "awk",
    "find",
    "tar",
    "diff",
    "dd",
    "cpio",
    "bc",
    "dc",
];

/// Applets whose cases are the fixed sample in `cargo xtask test`: quick, and each of a kind.
pub const SAMPLE: &[&str] = &[
    "awk",
    "bunzip2",
    "busybox",
    "cp",
    "cpio",
    "cut",
    "date",
    "dd",
    "diff",
    "expr",
    "find",
    "grep",
    "gzip",
    "head",
    "ln",
    "ls",
    "md5sum",
    "mv",
    "od",
    "printf",
    "sed",
    "seq",
    "sha256sum",
    "sort",
    "tar",
    "test",
    "touch",
    "tr",
    "uniq",
    "wc",
    "xargs",
];

/// What became of one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It passed.
    Pass,
    /// It failed.
    Fail,
    /// The suite skipped it.
    Skipped,
    /// The suite says the configuration has it not.
    Untested,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Verdict::Pass => "PASS",
            Verdict::Fail => "FAIL",
            Verdict::Skipped => "SKIPPED",
            Verdict::Untested => "UNTESTED",
        }
    }
}

/// Verdicts by case: `applet: name`, numbered where a name comes again.
pub type Verdicts = BTreeMap<String, Verdict>;

/// One part of a suite that runs in a container of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Applet (`awk`), or directory of ash_test (`ash-misc`).
    pub name: String,
    /// Whether it belongs to `shell/ash_test`.
    pub ash: bool,
}

/// The suite inside an image.
pub struct Suite {
    /// Image and root directory.
    pub corpus: Corpus,
    /// All its parts, in order.
    pub parts: Vec<Part>,
    /// Version of the source package.
    pub source: String,
}

/// Fetches the suite and makes its image.
///
/// # Errors
/// The source package cannot be fetched or a helper does not compile.
pub fn suite() -> Result<Suite> {
    let package = debian::binary_package("busybox-static")?;
    let tree = debian::source_package("busybox", &package)?;
    let mut extra = Vec::new();
    for dir in ["testsuite", "shell/ash_test"] {
        extra.push((format!("suite/{dir}"), tree.join(dir), 0o755));
        extra.extend(corpus::tree(&tree.join(dir), &format!("suite/{dir}"))?);
    }
    let config = tree.join("debian/config/pkg/static");
    for path in ["suite/.config", "suite/shell/ash_test/.config"] {
        extra.push((path.into(), config.clone(), 0o644));
    }
    extra.push(("suite/busybox".into(), "/bin/busybox".into(), 0o120_777));
    extra.push(("suite/shell/ash_test/ash".into(), "/bin/busybox".into(), 0o120_777));
    let helpers = tempfile::tempdir()?;
    for helper in ["printenv", "recho", "zecho"] {
        let (source, to) = (tree.join("shell/ash_test").join(format!("{helper}.c")), helpers.path().join(helper));
        sh::output(sh::command("gcc", ["-O2", "-static", "-w", "-o"]).arg(&to).arg(source))?;
        extra.push((format!("suite/shell/ash_test/{helper}"), to, 0o755));
    }
    let corpus = corpus::build("suite", &extra, false)?;
    Ok(Suite { parts: parts(&tree)?, corpus, source: package.source_version })
}

/// Applets with tests in either style, then the directories of ash_test.
fn parts(tree: &std::path::Path) -> Result<Vec<Part>> {
    let mut applets = Vec::new();
    for entry in fs::read_dir(tree.join("testsuite"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // all_sourcecode looks at busybox's C files, mount.testroot belongs to the mount tests.
        if name.starts_with("all_") || name.ends_with(".testroot") {
            continue;
        }
        if let Some(applet) = name.strip_suffix(".tests") {
            applets.push(applet.to_owned());
        } else if entry.file_type()?.is_dir() {
            applets.push(name);
        }
    }
    applets.sort();
    applets.dedup();
    let mut modules = Vec::new();
    for entry in fs::read_dir(tree.join("shell/ash_test"))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            modules.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    modules.sort();
    let part = |ash| move |name| Part { name, ash };
    Ok(applets.into_iter().map(part(false)).chain(modules.into_iter().map(part(true))).collect())
}

/// Runs one part.
///
/// # Errors
/// The subject cannot be started.
pub fn run_part(subject: &Subject, part: &Part) -> Result<(Verdicts, Outcome)> {
    let (directory, script) =
        if part.ash { ("/suite/shell/ash_test", "run-all") } else { ("/suite/testsuite", "runtest") };
    let mut job = Job::new(["/bin/busybox", "sh", script, &part.name]);
    job.directory = directory.into();
    job.timeout = Duration::from_secs(180);
    let common = ["SKIP_KNOWN_BUGS=y", "SKIP_INTERNET_TESTS=y", "SHELL=/bin/sh", "bindir=/suite"];
    job.environment = common.map(String::from).to_vec();
    if !part.ash {
        // As Debian's own build runs it.
        job.environment.extend(["LANG=C.UTF-8".to_owned(), "LC_ALL=C.UTF-8".to_owned()]);
    }
    let outcome = subject.run(&job)?;
    let verdicts = if part.ash { ash_verdicts(&outcome.text()) } else { verdicts(&part.name, &outcome.text()) };
    Ok((verdicts, outcome))
}

/// Reads what runtest prints: `PASS: name` and so on.
fn verdicts(applet: &str, text: &str) -> Verdicts {
    let mut found = Verdicts::new();
    for line in text.lines() {
        let kinds = [Verdict::Pass, Verdict::Fail, Verdict::Skipped, Verdict::Untested];
        let hit = kinds.into_iter().find_map(|v| Some((v, line.strip_prefix(v.name())?.strip_prefix(": ")?)));
        if let Some((verdict, name)) = hit {
            insert(&mut found, format!("{applet}: {name}"), verdict);
        }
    }
    found
}

/// Reads what run-all prints: `ash-misc/name.tests: ok`.
fn ash_verdicts(text: &str) -> Verdicts {
    let mut found = Verdicts::new();
    for line in text.lines() {
        let Some((name, result)) = line.rsplit_once(':') else { continue };
        match result.trim() {
            "ok" => insert(&mut found, name.to_owned(), Verdict::Pass),
            "fail" => insert(&mut found, name.to_owned(), Verdict::Fail),
            _ => {}
        }
    }
    found
}

fn insert(verdicts: &mut Verdicts, name: String, verdict: Verdict) {
    let mut key = name.clone();
    let mut number = 1;
    while verdicts.contains_key(&key) {
        number += 1;
        key = format!("{name} #{number}");
    }
    verdicts.insert(key, verdict);
}

/// Runs parts on all cores.
///
/// # Errors
/// The subject cannot be started.
pub fn run_all(subject: &Subject, parts: &[Part], label: &str) -> Result<Vec<Verdicts>> {
    parallel::map(parts, |part| {
        let (verdicts, outcome) = run_part(subject, part)?;
        if outcome.status == -1 {
            eprintln!("xtask: {label}: {} hangs", part.name);
        }
        Ok(verdicts)
    })
}

/// Natively passing cases that do not pass here: name and what it was instead.
pub fn regressions(native: &Verdicts, ours: &Verdicts) -> Vec<(String, &'static str)> {
    native
        .iter()
        .filter(|(_, verdict)| **verdict == Verdict::Pass)
        .filter_map(|(name, _)| match ours.get(name) {
            Some(Verdict::Pass) => None,
            Some(other) => Some((name.clone(), other.name())),
            None => Some((name.clone(), "missing or hanging")),
        })
        .collect()
}

/// A suite that both sides are put to.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judge {
    /// busybox's own test suite.
    Busybox,
    /// Python and Node packages, one real use each.
    Packages,
    /// CPython's Lib/test.
    Cpython,
    /// test262 and QuickJS-ng's own tests.
    Test262,
}

/// Options of `cargo xtask conformance`.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Who is judged: `megalith`, or `native` to prove the judge.
    #[arg(long, default_value = "megalith")]
    subject: String,
    /// Suites to run; without any, all.
    #[arg(long = "suite", value_enum)]
    suites: Vec<Judge>,
    /// A bundle to judge instead of the one that is built from the suite's image.
    #[arg(long)]
    bundle: Option<PathBuf>,
    /// Runs Lib/test natively only, and writes the list of what passes.
    #[arg(long)]
    count: bool,
    /// Runs only the sample of Lib/test that `cargo xtask test` runs.
    #[arg(long)]
    sample: bool,
    /// Takes the results of Lib/test's files that an earlier run of the same bundle left (below target/conformance), and runs the others only.
    #[arg(long)]
    resume: bool,
    /// How many files of Lib/test run at a time; without it, one for each core.
    #[arg(long)]
    jobs: Option<NonZeroUsize>,
    /// Applets or directories of ash_test, packages (`python/requests`), test files (`test_json`), or beginnings of paths of test262 to run; without any, all of
    /// them run and docs/compatibility.md is written.
    parts: Vec<String>,
}

impl Options {
    /// Both sides for a corpus: native, and who is judged.
    fn sides(&self, corpus: &Corpus) -> Result<(Subject, Subject)> {
        let native = Subject::native(&std::env::current_exe()?, &corpus.rootfs);
        let subject = match (&self.bundle, self.subject.as_str()) {
            (Some(bundle), _) => Subject::megalith(bundle),
            (None, "native") => native.clone(),
            (None, _) => Subject::megalith(&crate::subject::bundle(corpus)?),
        };
        Ok((native, subject))
    }

    /// Whether the results belong on the page.
    fn is_full(&self) -> bool {
        self.parts.is_empty() && self.bundle.is_none() && !self.sample && self.subject != "native"
    }

    fn wants(&self, name: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|p| p == name)
    }
}

/// Runs the suites on both sides and reports.
///
/// # Errors
/// A suite reaches less than it must.
pub fn run(options: &Options) -> Result<()> {
    setup::packages()?;
    let all = [Judge::Busybox, Judge::Packages, Judge::Cpython, Judge::Test262];
    let mut failed = Vec::new();
    for judge in all.into_iter().filter(|j| options.suites.is_empty() || options.suites.contains(j)) {
        let result = match judge {
            Judge::Busybox => run_busybox(options),
            Judge::Packages => run_packages(options),
            Judge::Cpython => run_cpython(options),
            Judge::Test262 => run_test262(options),
        };
        if let Err(error) = result {
            eprintln!("xtask: FAILED: {error:#}");
            failed.push(format!("{judge:?}"));
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn run_packages(options: &Options) -> Result<()> {
    let mut cases = packages::cases()?;
    cases.retain(|c| options.wants(&c.name()));
    let toolbox = toolbox::with_packages()?;
    let (native, subject) = options.sides(&toolbox.corpus)?;
    eprintln!("xtask: {} packages, natively and {}", cases.len(), options.subject);
    let report = packages::compare(&native, &subject, &cases)?;
    let text = report.text(&toolbox)?;
    print!("{text}");
    if options.is_full() {
        let head = format!(
            "Packages that agents' tools use (`tests/packages`: versions and hashes from lock files), each put to one real use, first natively by\n\
             Debian's interpreters in a chroot, then under Megalith, on {}. Same means the same stdout and status.",
            page::when()?
        );
        page::put("Python and Node packages", &format!("{head}\n\n{text}"))?;
    }
    let complaints = report.complaints(&cases)?;
    if !complaints.is_empty() {
        bail!("{}", complaints.join("\n  "));
    }
    Ok(())
}

fn run_cpython(options: &Options) -> Result<()> {
    let toolbox = toolbox::with_test_suite()?;
    if options.count {
        let native = Subject::native(&std::env::current_exe()?, &toolbox.corpus.rootfs);
        return cpython::count(&toolbox, &native);
    }
    let mut files = cpython::expected()?;
    if options.sample {
        files = cpython::sample(&files);
    }
    files.retain(|f| options.wants(&f.name));
    let (_, subject) = options.sides(&toolbox.corpus)?;
    eprintln!("xtask: {} files of Lib/test, {}", files.len(), options.subject);
    let kept = cpython::Kept::new(&subject.key()?, options.resume)?;
    let jobs = options.jobs.map_or_else(parallel::cores, NonZeroUsize::get);
    let report = cpython::compare(&subject, &files, &kept, jobs)?;
    let text = report.text(&toolbox);
    print!("{text}");
    if options.is_full() {
        let head = format!(
            "CPython's own tests, one process a test file (regrtest, default resources), on {}. What passes natively was counted once\n\
             (`tests/cpython/native.txt`); a method of that list that fails, is skipped, is missing or hangs here counts as a failure. Left out are the\n\
             files and methods of `tests/cpython/left-out.toml`. A hanging file ends after ten times its native time and a minute.",
            page::when()?
        );
        page::put("CPython's Lib/test", &format!("{head}\n\n{text}"))?;
    } else {
        eprint!("{}", report.tails());
    }
    if report.share() < cpython::REQUIRED {
        bail!(
            "{:.2} % of Lib/test's natively passing methods pass ({} % are required)",
            report.share() * 100.0,
            cpython::REQUIRED * 100.0
        );
    }
    Ok(())
}

fn run_test262(options: &Options) -> Result<()> {
    let corpus = test262::corpus()?;
    let mut body =
        format!("Run by one static qjs, natively and recompiled, on {}. What passes natively counts.", page::when()?);
    let mut low = Vec::new();
    let (native, subject) = options.sides(&corpus)?;
    for suite in [test262::own_tests(), test262::suite()] {
        let mut suite = match suite {
            Ok(suite) => suite,
            Err(error) => {
                println!("not run: {error:#}");
                let _ = write!(body, "\n\nNot run: {error:#}.");
                continue;
            }
        };
        let wanted = |name: &str| options.parts.is_empty() || options.parts.iter().any(|p| name.starts_with(p));
        suite.scenarios.retain(|s| wanted(&s.name));
        if suite.scenarios.is_empty() {
            continue;
        }
        eprintln!("xtask: {}: {} runs, natively and {}", suite.name, suite.scenarios.len(), options.subject);
        let (theirs, ours) = test262::compare(&native, &subject, &suite)?;
        let (text, share) = test262::text(&suite, &theirs, &ours);
        print!("{text}");
        let _ = write!(body, "\n\n{text}");
        if share < test262::REQUIRED {
            low.push(format!("{}: {:.2} %", suite.name, share * 100.0));
        }
    }
    if options.is_full() {
        page::put("test262", &body)?;
    }
    if !low.is_empty() {
        bail!("{} ({} % are required)", low.join(", "), test262::REQUIRED * 100.0);
    }
    Ok(())
}

/// Runs busybox's suite on both sides and reports.
///
/// # Errors
/// Fewer cases pass than [`REQUIRED`], or one fails in an applet that must be right.
fn run_busybox(options: &Options) -> Result<()> {
    let suite = suite()?;
    let parts: Vec<Part> = suite.parts.iter().filter(|p| options.wants(&p.name)).cloned().collect();
    if parts.is_empty() {
        bail!("the suite has none of: {}", options.parts.join(" "));
    }
    let (native_side, subject) = options.sides(&suite.corpus)?;
    eprintln!("xtask: busybox's test suite, natively");
    let native = run_all(&native_side, &parts, "native")?;
    eprintln!("xtask: busybox's test suite, {}", options.subject);
    let ours = run_all(&subject, &parts, &options.subject)?;

    let mut report = Report::default();
    for ((part, native), ours) in parts.iter().zip(&native).zip(&ours) {
        report.add(part, native, ours);
    }
    let text = report.text();
    print!("{text}");
    if options.is_full() {
        write_page(&suite, &text)?;
    }
    let share = report.main.share();
    if share < REQUIRED || !report.strict.is_empty() {
        bail!(
            "{:.2} % of the natively passing cases pass ({} % are required); failures where none is allowed: {}",
            share * 100.0,
            REQUIRED * 100.0,
            report.strict.len()
        );
    }
    Ok(())
}

/// Sums of one suite.
#[derive(Default)]
struct Sums {
    native: BTreeMap<&'static str, usize>,
    passed: usize,
    failures: Vec<(String, &'static str)>,
}

impl Sums {
    fn native_passes(&self) -> usize {
        self.native.get("PASS").copied().unwrap_or_default()
    }

    fn share(&self) -> f64 {
        self.passed as f64 / self.native_passes().max(1) as f64
    }
}

#[derive(Default)]
struct Report {
    main: Sums,
    ash: Sums,
    strict: Vec<String>,
}

impl Report {
    fn add(&mut self, part: &Part, native: &Verdicts, ours: &Verdicts) {
        let failures = regressions(native, ours);
        if !part.ash && STRICT.contains(&part.name.as_str()) {
            self.strict.extend(failures.iter().map(|(name, _)| name.clone()));
        }
        let sums = if part.ash { &mut self.ash } else { &mut self.main };
        for verdict in native.values() {
            *sums.native.entry(verdict.name()).or_default() += 1;
        }
        sums.passed += native.values().filter(|v| **v == Verdict::Pass).count() - failures.len();
        sums.failures.extend(failures);
    }

    fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| suite | native: pass | fail | skipped | untested | passes here too | share |\n|---|--:|--:|--:|--:|--:|--:|"
        );
        for (name, sums) in [("testsuite", &self.main), ("shell/ash_test", &self.ash)] {
            let n = |verdict: Verdict| sums.native.get(verdict.name()).copied().unwrap_or_default();
            let _ = writeln!(
                text,
                "| {name} | {} | {} | {} | {} | {} | {:.2} % |",
                n(Verdict::Pass),
                n(Verdict::Fail),
                n(Verdict::Skipped),
                n(Verdict::Untested),
                sums.passed,
                sums.share() * 100.0
            );
        }
        for (name, sums) in [("testsuite", &self.main), ("shell/ash_test", &self.ash)] {
            if !sums.failures.is_empty() {
                let _ = writeln!(text, "\n{name}: passes natively, not here:\n");
                for (case, what) in &sums.failures {
                    let _ = writeln!(text, "- `{}`: {what}", case.replace('`', "'"));
                }
            }
        }
        text
    }
}

fn write_page(suite: &Suite, text: &str) -> Result<()> {
    let head = format!(
        "busybox's own test suite (`testsuite/` and `shell/ash_test` of Debian's source package busybox {}, configuration of the static\n\
         build) run on busybox-static {}, first natively in a chroot, then under Megalith, on {}. A case that passes\n\
         natively and fails, is skipped, is missing or hangs here counts as a failure. Skipped and untested cases are those that the suite's\n\
         own configuration checks leave out, and `SKIP_KNOWN_BUGS` and `SKIP_INTERNET_TESTS`, as in Debian's build.",
        suite.source,
        suite.corpus.busybox,
        page::when()?
    );
    page::put("busybox", &format!("{head}\n\n{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_read_and_repeated_names_are_numbered() {
        let found = verdicts("sed", "PASS: a\nnoise PASS: b\nFAIL: a\nSKIPPED: c\nPASS: a\n");
        assert_eq!(found.len(), 4);
        assert_eq!(found["sed: a #2"], Verdict::Fail);
        assert_eq!(found["sed: c"], Verdict::Skipped);
        let ours = verdicts("sed", "PASS: a\nFAIL: a\n");
        assert_eq!(regressions(&found, &ours), [("sed: a #3".to_owned(), "missing or hanging")]);
        assert_eq!(ash_verdicts("ash-misc/a.tests: ok\nash-misc/b.tests: fail\n").len(), 2);
    }
}
