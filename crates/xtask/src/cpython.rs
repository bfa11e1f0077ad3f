//! CPython's own test suite (`Lib/test` of Debian's libpython3.11-testsuite), counted by test method.
//!
//! regrtest runs one process a test file and writes what became of each method as JUnit XML. What passes natively was counted once and
//! stands in `tests/cpython/native.txt`; a method of that list that fails, is skipped, is missing or hangs here is a failure.
//! `tests/cpython/left-out.toml` names what is left out, with reasons.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::subject::{self, Job, Subject};
use crate::toolbox::{self, Toolbox};
use crate::{known, parallel, paths};

/// Share of natively passing methods that must pass here.
pub const REQUIRED: f64 = 0.90;

/// Core-seconds that the fixed sample may take: four minutes on two cores.
const SAMPLE_SECONDS: f64 = 480.0;

/// What a test file is taken to cost here: its start, and this many times its native time.
const SAMPLE_COST: (f64, f64) = (1.0, 4.0);

/// When the native side gives up on a file.
const NATIVE_LIMIT: Duration = Duration::from_secs(600);

const LIST: &str = "tests/cpython/native.txt";
/// Failures of the sample that are known, with their reasons.
pub const KNOWN: &str = "tests/cpython/known-failures.toml";
const LEFT_OUT: &str = "tests/cpython/left-out.toml";

/// A test file and what passes in it natively.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TestFile {
    /// `test_json`, as regrtest names it.
    pub name: String,
    /// Its native run from start to end.
    pub seconds: f64,
    /// Identifiers of the methods that pass: `test.test_json.test_dump.TestPyDump.test_dump`.
    pub passes: BTreeSet<String>,
}

/// What became of the methods of one file.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// By identifier: what it was. Several runs of one method count as the worst of them.
    pub verdicts: BTreeMap<String, Verdict>,
    /// Exit status; -1 when time ran out.
    pub status: i32,
    /// From start to end.
    pub seconds: f64,
    /// What it printed at last, for people.
    pub tail: String,
}

/// What became of one method, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Verdict {
    /// It passed, or failed as its author expected.
    Pass,
    /// It skipped itself.
    Skipped,
    /// It failed.
    Fail,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct LeftOut {
    file: Vec<Named>,
    method: Vec<Named>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    /// A name, or a prefix and `*`.
    name: String,
    /// For those who read the list.
    #[serde(rename = "reason")]
    _reason: String,
}

impl Named {
    fn matches(&self, name: &str) -> bool {
        match self.name.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == self.name,
        }
    }
}

fn left_out() -> Result<LeftOut> {
    let path = paths::root().join(LEFT_OUT);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("parse {}", path.display()))
}

/// Names of the test files in a root directory, in order, without those that are left out.
///
/// # Errors
/// The directory or the list cannot be read.
pub fn files(root: &Path) -> Result<Vec<String>> {
    let left_out = left_out()?;
    let dir = root.join("usr/lib/python3.11/test");
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("read {}", dir.display()))? {
        let entry = entry?;
        let file = entry.file_name().to_string_lossy().into_owned();
        let name = match file.strip_suffix(".py") {
            Some(name) => name,
            None if entry.path().join("__init__.py").exists() => &file,
            None => continue,
        };
        if name.starts_with("test_") && !left_out.file.iter().any(|l| l.matches(name)) {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Runs one test file with regrtest.
///
/// # Errors
/// The subject cannot be started.
pub fn run_file(subject: &Subject, name: &str, limit: Duration) -> Result<Outcome> {
    let results = tempfile::tempdir()?;
    let xml = format!("/work/{name}.xml");
    let mut job = Job::new([toolbox::PYTHON, "-m", "test", "-v", "--junit-xml", &xml, name]);
    job.environment = toolbox::environment();
    job.volumes.push(format!("{}:/work", results.path().display()));
    // Whoever started us may ignore SIGINT; the tests count on its default.
    let inner = subject.command(&job, false);
    let mut command = Command::new("env");
    command.arg("--default-signal").arg(inner.get_program()).args(inner.get_args());
    let start = Instant::now();
    let outcome = subject::run(command, &job.stdin, limit)?;
    let seconds = start.elapsed().as_secs_f64();
    let log = format!("{}{}", outcome.text(), String::from_utf8_lossy(&outcome.stderr));
    let report = fs::read(results.path().join(format!("{name}.xml"))).unwrap_or_default();
    // The report is written at the very end: of a file that hangs or crashes, the log says what passed before.
    let verdicts = if report.is_empty() { from_log(&log) } else { from_junit(&String::from_utf8_lossy(&report)) };
    let lines: Vec<&str> = log.lines().collect();
    let tail = lines.get(lines.len().saturating_sub(12)..).unwrap_or_default().join("\n");
    Ok(Outcome { verdicts, status: outcome.status, seconds, tail })
}

fn add(verdicts: &mut BTreeMap<String, Verdict>, name: String, verdict: Verdict) {
    verdicts.entry(name).and_modify(|v| *v = (*v).max(verdict)).or_insert(verdict);
}

/// Reads the JUnit XML that `test.support.testresult` writes. It comes out of a guest: what is odd is left out.
fn from_junit(text: &str) -> BTreeMap<String, Verdict> {
    let mut verdicts = BTreeMap::new();
    // In text and attributes `<` is always escaped, so that tags can be found without a parser.
    for case in text.split("<testcase").skip(1) {
        let Some((tag, rest)) = case.split_once('>') else { continue };
        // A method with a failed subtest has no name there, and so is missing.
        let Some(name) = attribute(tag, "name") else { continue };
        let body = if tag.ends_with('/') { "" } else { rest.split("</testcase>").next().unwrap_or_default() };
        let verdict = if body.contains("<error") || body.contains("<failure") || attribute(tag, "outcome").is_some() {
            Verdict::Fail
        } else if body.contains("<skipped") {
            Verdict::Skipped
        } else {
            Verdict::Pass
        };
        add(&mut verdicts, name, verdict);
    }
    verdicts
}

/// The value of an attribute in a start tag.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    let (value, _) = rest.split_once('"')?;
    let mut out = String::new();
    let mut parts = value.split('&');
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (entity, rest) = part.split_once(';')?;
        match entity {
            "lt" => out.push('<'),
            "gt" => out.push('>'),
            "amp" => out.push('&'),
            "quot" => out.push('"'),
            "apos" => out.push('\''),
            _ => out.push(entity.strip_prefix('#')?.parse().ok().and_then(char::from_u32)?),
        }
        out.push_str(rest);
    }
    Some(out)
}

/// Reads unittest's verbose log: `test_x (test.test_y.Class.test_x) ... ok`, the docstring's first line in between if there is one.
fn from_log(log: &str) -> BTreeMap<String, Verdict> {
    let mut verdicts = BTreeMap::new();
    let mut current: Option<String> = None;
    for line in log.lines() {
        let (head, result) = line.rsplit_once(" ... ").map_or((line, ""), |(head, result)| (head, result.trim()));
        if let Some((method, rest)) = head.split_once(" (")
            && let Some((id, _)) = rest.split_once(')')
            && id.starts_with("test.")
            && id.ends_with(method)
        {
            current = Some(id.to_owned());
        }
        let verdict = match result {
            "ok" => Verdict::Pass,
            "FAIL" | "ERROR" => Verdict::Fail,
            _ if result.starts_with("skipped") => Verdict::Skipped,
            _ => continue,
        };
        if let Some(id) = current.take() {
            add(&mut verdicts, id, verdict);
        }
    }
    verdicts
}

/// Counts what passes natively and writes the list.
///
/// # Errors
/// A file cannot be run, or the list cannot be written.
pub fn count(toolbox: &Toolbox, native: &Subject) -> Result<()> {
    let left_out = left_out()?;
    let names = files(&toolbox.corpus.rootfs)?;
    let mut counted = Vec::new();
    // One after the other: some tests measure time.
    for name in &names {
        let outcome = run_file(native, name, NATIVE_LIMIT)?;
        if outcome.status != 0 {
            eprintln!("xtask: {name}: status {} natively", outcome.status);
        }
        let passed = outcome.verdicts.into_iter().filter(|(_, v)| *v == Verdict::Pass).map(|(id, _)| id);
        let passes: BTreeSet<String> = passed.filter(|id| !left_out.method.iter().any(|l| l.matches(id))).collect();
        if !passes.is_empty() {
            counted.push(TestFile { name: name.clone(), seconds: (outcome.seconds * 10.0).ceil() / 10.0, passes });
        }
    }
    let version = toolbox.versions.first().map_or("", |(_, v)| v.as_str());
    let path = paths::root().join(LIST);
    fs::write(&path, write_list(version, &counted)).with_context(|| format!("write {}", path.display()))?;
    let total: usize = counted.iter().map(|f| f.passes.len()).sum();
    eprintln!("xtask: wrote {}: {total} methods in {} files", path.display(), counted.len());
    Ok(())
}

/// The committed list.
///
/// # Errors
/// It cannot be read.
pub fn expected() -> Result<Vec<TestFile>> {
    let path = paths::root().join(LIST);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    read_list(&text).with_context(|| format!("read {}", path.display()))
}

const LIST_HEAD: &str = "\
# Test methods of Debian's libpython3.11-testsuite that pass natively. Written by `cargo xtask conformance --suite cpython --count`.
# A test file, how many methods, seconds; below it classes with the same methods. `test.FILE.` and `test_` are left off; `-` is no class,
# `/` begins a class that has its full name, `=` a method that has. %XX is a byte.
";

/// The inverse of [`read_list`].
fn write_list(version: &str, files: &[TestFile]) -> String {
    let mut text = format!("{LIST_HEAD}# python3.11 {version}\n");
    for file in files {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{} {} {:.1}", file.name, file.passes.len(), file.seconds);
        let module = format!("test.{}.", file.name);
        let mut methods: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for id in &file.passes {
            let (class, method) = match id.strip_prefix(&module) {
                Some(rest) => rest.rsplit_once('.').map_or(("-".into(), rest), |(c, m)| (escape(c), m)),
                None => id.rsplit_once('.').map_or(("/".into(), id.as_str()), |(c, m)| (format!("/{}", escape(c)), m)),
            };
            let method = match method.strip_prefix("test_") {
                Some(rest) if !rest.is_empty() => escape(rest),
                _ => format!("={}", escape(method)),
            };
            methods.entry(class).or_default().insert(method);
        }
        let mut classes: BTreeMap<BTreeSet<String>, Vec<String>> = BTreeMap::new();
        for (class, methods) in methods {
            classes.entry(methods).or_default().push(class);
        }
        let mut lines: Vec<String> = classes
            .iter()
            .map(|(m, c)| format!(" {}: {}\n", c.join(" "), m.iter().map(String::as_str).collect::<Vec<_>>().join(" ")))
            .collect();
        lines.sort();
        text.extend(lines);
    }
    text
}

/// Leaves what the list's syntax does not need.
fn escape(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_graphic() && !b"%:=/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    // A class that is called like the sign for none.
    if out == "-" { "%2D".into() } else { out }
}

fn unescape(name: &str) -> Result<String> {
    let mut parts = name.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (hex, rest) = part.split_at_checked(2).with_context(|| format!("{name}: % without two digits"))?;
        bytes.push(u8::from_str_radix(hex, 16).with_context(|| format!("{name}: %{hex}"))?);
        bytes.extend(rest.as_bytes());
    }
    Ok(String::from_utf8(bytes)?)
}

fn read_list(text: &str) -> Result<Vec<TestFile>> {
    let mut files: Vec<(TestFile, usize)> = Vec::new();
    for line in text.lines().filter(|l| !l.starts_with('#') && !l.is_empty()) {
        if let Some(entry) = line.strip_prefix(' ') {
            let (file, _) = files.last_mut().context("methods without a file")?;
            let (classes, methods) = entry.split_once(": ").with_context(|| format!("not understood: {line}"))?;
            for class in classes.split(' ') {
                let prefix = match class.strip_prefix('/') {
                    Some("") => String::new(),
                    Some(full) => format!("{}.", unescape(full)?),
                    None if class == "-" => format!("test.{}.", file.name),
                    None => format!("test.{}.{}.", file.name, unescape(class)?),
                };
                for method in methods.split(' ') {
                    let method = match method.strip_prefix('=') {
                        Some(full) => unescape(full)?,
                        None => format!("test_{}", unescape(method)?),
                    };
                    file.passes.insert(format!("{prefix}{method}"));
                }
            }
        } else {
            let words: Vec<&str> = line.split(' ').collect();
            let [name, count, seconds] = words[..] else { bail!("not understood: {line}") };
            let file = TestFile { name: name.to_owned(), seconds: seconds.parse()?, passes: BTreeSet::new() };
            files.push((file, count.parse()?));
        }
    }
    for (file, count) in &files {
        if file.passes.len() != *count {
            bail!("{}: {} methods, not {count}", file.name, file.passes.len());
        }
    }
    Ok(files.into_iter().map(|(file, _)| file).collect())
}

/// Known failures of the sample: identifier of a method to reason.
///
/// # Errors
/// The list cannot be read.
pub fn known_failures() -> Result<BTreeMap<String, String>> {
    known::failures(KNOWN)
}

/// The test file in a method's identifier: `test_json` of `test.test_json.T.test_x`.
pub fn file_of(id: &str) -> Option<&str> {
    id.strip_prefix("test.")?.split('.').next()
}

/// The fixed sample: test files in the order of their names' hashes, each one that still fits [`SAMPLE_SECONDS`].
pub fn sample(files: &[TestFile]) -> Vec<TestFile> {
    let mut order: Vec<(String, &TestFile)> =
        files.iter().map(|f| (crate::sh::hex(&Sha256::digest(&f.name)), f)).collect();
    order.sort_by(|a, b| a.0.cmp(&b.0));
    let mut left = SAMPLE_SECONDS;
    let mut chosen = Vec::new();
    for (_, file) in order {
        let cost = SAMPLE_COST.0 + SAMPLE_COST.1 * file.seconds;
        if cost <= left {
            left -= cost;
            chosen.push(file.clone());
        }
    }
    chosen.sort_by(|a, b| a.name.cmp(&b.name));
    chosen
}

/// The results of a run.
#[derive(Default)]
pub struct Report {
    /// Natively passing methods of the files that were run.
    pub expected: usize,
    /// Of these, how many pass here.
    pub passed: usize,
    /// Files in which some do not: name, what was expected and passed, how it ended, the methods.
    failures: Vec<Failure>,
    files: usize,
}

struct Failure {
    file: String,
    expected: usize,
    end: String,
    methods: Vec<String>,
    tail: String,
}

impl TestFile {
    /// When a run of this file counts as hanging.
    pub fn limit(&self) -> Duration {
        Duration::from_secs_f64(self.seconds * 10.0 + 60.0)
    }

    /// The methods that pass natively and not in `outcome`, each with what it did there; `None` is a method that was not seen.
    pub fn regressions<'a>(&'a self, outcome: &Outcome) -> Vec<(&'a str, Option<Verdict>)> {
        let verdict = |id: &'a String| (id.as_str(), outcome.verdicts.get(id).copied());
        self.passes.iter().map(verdict).filter(|(_, v)| *v != Some(Verdict::Pass)).collect()
    }
}

impl Outcome {
    /// How the file ended, for people.
    pub fn end(&self) -> String {
        match self.status {
            -1 => "hangs".to_owned(),
            status if self.verdicts.is_empty() => format!("status {status}, nothing ran"),
            status => format!("status {status}"),
        }
    }
}

/// Results of files, each in a file of its own, so that a run can be made in parts.
pub struct Kept {
    dir: PathBuf,
    /// Whether what is there already counts.
    pub resume: bool,
}

impl Kept {
    /// The results of one bundle (`name`), below Cargo's target directory.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn new(name: &str, resume: bool) -> Result<Kept> {
        let dir = paths::target().join("conformance/cpython").join(name);
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        Ok(Kept { dir, resume })
    }

    /// The outcome of `file`, or that of `run`, which is kept.
    fn get(&self, file: &TestFile, run: impl FnOnce() -> Result<Outcome>) -> Result<Outcome> {
        let path = self.dir.join(format!("{}.json", file.name));
        // A file that cannot be read was being written when a run was interrupted.
        if self.resume
            && let Ok(text) = fs::read(&path)
            && let Ok(outcome) = serde_json::from_slice(&text)
        {
            return Ok(outcome);
        }
        let outcome = run()?;
        fs::write(&path, serde_json::to_vec(&outcome)?).with_context(|| format!("write {}", path.display()))?;
        Ok(outcome)
    }
}

/// Runs `files` on `jobs` threads and compares with what passes natively.
///
/// # Errors
/// The subject cannot be started.
pub fn compare(subject: &Subject, files: &[TestFile], kept: &Kept, jobs: usize) -> Result<Report> {
    let outcomes = parallel::map_on(jobs, files, |file| {
        kept.get(file, || {
            let outcome = run_file(subject, &file.name, file.limit())?;
            let passed = file.passes.len() - file.regressions(&outcome).len();
            let (name, end, count) = (&file.name, outcome.end(), file.passes.len());
            eprintln!(
                "xtask: {name}: {passed} of {count}, {end}, {:.1} s, natively {:.1} s",
                outcome.seconds, file.seconds
            );
            Ok(outcome)
        })
    })?;
    let mut report = Report { files: files.len(), ..Report::default() };
    for (file, outcome) in files.iter().zip(&outcomes) {
        let methods: Vec<String> = file
            .regressions(outcome)
            .into_iter()
            .map(|(id, verdict)| {
                let short = id.strip_prefix(&format!("test.{}.", file.name)).unwrap_or(id);
                match verdict {
                    Some(Verdict::Skipped) => format!("{short} (skipped)"),
                    None => format!("{short} (missing)"),
                    _ => short.to_owned(),
                }
            })
            .collect();
        report.expected += file.passes.len();
        report.passed += file.passes.len() - methods.len();
        if !methods.is_empty() {
            let (expected, file, tail) = (file.passes.len(), file.name.clone(), outcome.tail.clone());
            report.failures.push(Failure { file, expected, end: outcome.end(), methods, tail });
        }
    }
    Ok(report)
}

impl Report {
    /// Share of the natively passing methods that pass.
    pub fn share(&self) -> f64 {
        self.passed as f64 / self.expected.max(1) as f64
    }

    /// For the page, and for people.
    pub fn text(&self, toolbox: &Toolbox) -> String {
        const SHOWN: usize = 12;
        let version = toolbox.versions.first().map_or("", |(_, v)| v.as_str());
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| libpython3.11-testsuite | test files | pass natively | pass here too | share |\n|---|--:|--:|--:|--:|\n| {version} | {} | {} | {} | {:.2} % |",
            self.files,
            self.expected,
            self.passed,
            self.share() * 100.0
        );
        if !self.failures.is_empty() {
            let _ = writeln!(text, "\nPass natively, not here:\n");
        }
        for f in &self.failures {
            let mut names = f.methods.iter().take(SHOWN).map(|m| format!("`{m}`")).collect::<Vec<_>>().join(", ");
            if f.methods.len() > SHOWN {
                let _ = write!(names, ", and {} more", f.methods.len() - SHOWN);
            }
            let _ = writeln!(text, "- {}, {} of {}, {}: {names}", f.file, f.methods.len(), f.expected, f.end);
        }
        text
    }

    /// The last lines that each failing file printed.
    pub fn tails(&self) -> String {
        self.failures.iter().map(|f| format!("=== {} ({})\n{}\n", f.file, f.end, f.tail)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn junit_reports_are_read() {
        let text = r#"<testsuites><testsuite start="x"><testcase name="test.a.T.test_1" status="run" result="completed" time="0.1" />
<testcase name="test.a.T.test_2 (&quot;x&quot; &lt;&#10;)" status="run"><skipped>why &lt;error</skipped></testcase>
<testcase name="test.a.T.test_3"><system-out>x</system-out><error type="E">t</error></testcase><testcase name="test.a.T.test_4"/><testcase/>
<testcase name="test.a.T.test_4"><failure /></testcase><testcase name="u" outcome="UNEXPECTED_SUCCESS" /><testcase name="broken"#;
        let got = from_junit(text);
        let wanted = [
            ("test.a.T.test_1", Verdict::Pass),
            ("test.a.T.test_2 (\"x\" <\n)", Verdict::Skipped),
            ("test.a.T.test_3", Verdict::Fail),
            ("test.a.T.test_4", Verdict::Fail),
            ("u", Verdict::Fail),
        ];
        assert_eq!(got, wanted.into_iter().map(|(n, v)| (n.to_owned(), v)).collect());
    }

    #[test]
    fn logs_are_read_up_to_where_they_end() {
        let log = "test_1 (test.a.T.test_1) ... ok\ntest_2 (test.a.T.test_2)\nDoc of it (x). ... ok\nnoise\ntest_3 (test.a.T.test_3) ... skipped 'no'\n\
                   test_4 (test.a.T.test_4) ... FAIL\ntest_5 (test.a.T.test_5) ... ";
        let got: Vec<_> = from_log(log).into_iter().map(|(n, v)| (n.chars().last().unwrap_or(' '), v)).collect();
        assert_eq!(got, [('1', Verdict::Pass), ('2', Verdict::Pass), ('3', Verdict::Skipped), ('4', Verdict::Fail)]);
    }

    #[test]
    fn the_list_is_read_as_it_was_written() -> Result<()> {
        let ids = [
            "test.test_a.A.test_x",
            "test.test_a.B.test_x",
            "test.test_a.sub.C.testY",
            "test.test_a.test_z",
            "other.D.test_é ü:=%",
            "plain",
            "test.test_a.-.test_",
            "test.test_a.f.<locals>.T.runTest",
        ];
        let files = [
            TestFile { name: "test_a".into(), seconds: 1.5, passes: ids.map(String::from).into() },
            TestFile { name: "test_b".into(), seconds: 0.0, passes: BTreeSet::new() },
        ];
        let text = write_list("1", &files);
        assert_eq!(read_list(&text)?, files, "{text}");
        assert!(read_list(&text.replace("test_a 8", "test_a 7")).is_err());
        Ok(())
    }

    #[test]
    fn kept_results_are_taken_when_a_run_goes_on() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let file = TestFile { name: "test_a".into(), seconds: 0.1, passes: ["test.test_a.T.x".to_owned()].into() };
        let outcome =
            Outcome { verdicts: [("test.test_a.T.x".to_owned(), Verdict::Fail)].into(), ..Outcome::default() };
        let kept = |resume| Kept { dir: dir.path().to_owned(), resume };
        assert_eq!(kept(true).get(&file, || Ok(outcome.clone()))?, outcome);
        assert_eq!(kept(true).get(&file, || bail!("run again"))?, outcome);
        assert_eq!(file.regressions(&outcome), [("test.test_a.T.x", Some(Verdict::Fail))]);
        assert!(kept(false).get(&file, || bail!("run again")).is_err());
        // Cut off in the middle of writing.
        fs::write(dir.path().join("test_a.json"), "{\"verdicts\"")?;
        assert_eq!(kept(true).get(&file, || Ok(Outcome::default()))?, Outcome::default());
        assert_eq!(file.regressions(&Outcome::default()), [("test.test_a.T.x", None)]);
        Ok(())
    }

    #[test]
    fn the_committed_list_holds_nothing_that_is_left_out() -> Result<()> {
        let left_out = left_out()?;
        let files = expected()?;
        assert!(files.len() > 300);
        for file in &files {
            assert!(!left_out.file.iter().any(|l| l.matches(&file.name)), "{}", file.name);
            for id in &file.passes {
                assert!(!left_out.method.iter().any(|l| l.matches(id)), "{id}");
            }
        }
        let sample = sample(&files);
        assert!(sample.len() > 30 && sample.len() < files.len());
        Ok(())
    }
}
