//! Python and Node packages put to one real use each (`tests/packages`), natively and under Megalith: the same stdout and status.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::subject::{Job, Outcome, Subject};
use crate::toolbox::{self, Toolbox};
use crate::{known, parallel, paths};

/// Languages, and how many of their packages must pass.
pub const REQUIRED: &[(&str, usize)] = &[("python", 46), ("node", 27)];

/// Failures that are known, with their reasons.
pub const KNOWN: &str = "tests/packages/known-failures.toml";

/// One package and the script that uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// `python` or `node`.
    pub language: &'static str,
    /// Name of the package, `-` written as `_`.
    pub package: String,
    /// What is started.
    command: Vec<String>,
}

impl Case {
    /// `python/requests`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.language, self.package)
    }
}

/// All scripts, in order.
///
/// # Errors
/// `tests/packages` cannot be read.
pub fn cases() -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for (language, interpreter) in [("python", toolbox::PYTHON), ("node", toolbox::NODE)] {
        for script in toolbox::scripts(&paths::root().join("tests/packages").join(language))? {
            let file = script.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let package = file.trim_start_matches("use_").split('.').next().unwrap_or_default().to_owned();
            cases.push(Case {
                language,
                package,
                command: vec![interpreter.to_owned(), format!("/packages/{language}/{file}")],
            });
        }
    }
    Ok(cases)
}

/// Runs one script.
///
/// # Errors
/// The subject cannot be started.
pub fn run_case(subject: &Subject, case: &Case) -> Result<Outcome> {
    let mut job = Job::new(case.command.iter().map(String::as_str));
    job.environment = toolbox::environment();
    job.timeout = Duration::from_secs(if subject.native { 120 } else { 300 });
    subject.run(&job)
}

/// What differs, in one line; nothing when it is the same. Warnings on stderr are nobody's business.
pub fn difference(native: &Outcome, ours: &Outcome) -> Option<String> {
    if native.status == ours.status && native.stdout == ours.stdout {
        return None;
    }
    let last = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let line = text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or_default().to_owned();
        line.chars().take(160).collect::<String>()
    };
    if ours.status == -1 {
        return Some("hangs".into());
    }
    if ours.status != native.status {
        return Some(format!("status {}: {}", ours.status, last(&ours.stderr)));
    }
    let (native, ours) = (String::from_utf8_lossy(&native.stdout), String::from_utf8_lossy(&ours.stdout));
    let line = native.lines().zip(ours.lines()).take_while(|(a, b)| a == b).count();
    Some(format!("stdout differs from line {}", line + 1))
}

/// The results of one run.
pub struct Report {
    /// By name: what differs.
    pub failures: BTreeMap<String, String>,
    /// By language: how many were run, and how many passed.
    pub counts: BTreeMap<&'static str, (usize, usize)>,
}

/// Runs all of `cases` on both sides.
///
/// # Errors
/// A script fails natively, so that there is nothing to compare with.
pub fn compare(native: &Subject, subject: &Subject, cases: &[Case]) -> Result<Report> {
    let outcomes = parallel::map(cases, |case| Ok((run_case(native, case)?, run_case(subject, case)?)))?;
    let mut report = Report { failures: BTreeMap::new(), counts: BTreeMap::new() };
    for (case, (native, ours)) in cases.iter().zip(&outcomes) {
        if native.status != 0 || native.stdout.is_empty() {
            bail!("{} fails natively: {}", case.name(), native.describe());
        }
        let (run, passed) = report.counts.entry(case.language).or_default();
        *run += 1;
        match difference(native, ours) {
            None => *passed += 1,
            Some(what) => drop(report.failures.insert(case.name(), what)),
        }
    }
    Ok(report)
}

impl Report {
    /// For the page, and for people.
    pub fn text(&self, toolbox: &Toolbox) -> Result<String> {
        let known = known::failures(KNOWN)?;
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ =
            writeln!(text, "| packages | interpreter, natively | run | same here | required |\n|---|---|--:|--:|--:|");
        for (language, required) in REQUIRED {
            let (run, passed) = self.counts.get(language).copied().unwrap_or_default();
            let package = if *language == "python" { "python3.11" } else { "nodejs" };
            let version = toolbox.versions.iter().find(|(name, _)| name == package).map_or("", |(_, v)| v.as_str());
            let _ = writeln!(text, "| {language} | {package} {version} | {run} | {passed} | {required} |");
        }
        if !self.failures.is_empty() {
            let _ = writeln!(text, "\nNot the same here:\n");
            for (name, what) in &self.failures {
                let reason = known.get(name).map(|r| format!(". {r}")).unwrap_or_default();
                let _ = writeln!(text, "- `{name}`: {}{reason}", what.replace('`', "'"));
            }
        }
        Ok(text)
    }

    /// What is wrong with the results: too few pass, one fails that is not known to, or passes that is.
    pub fn complaints(&self, cases: &[Case]) -> Result<Vec<String>> {
        let known = known::failures(KNOWN)?;
        let mut found = Vec::new();
        for (language, required) in REQUIRED {
            let (run, passed) = self.counts.get(language).copied().unwrap_or_default();
            if run > *required && passed < *required {
                found.push(format!("{passed} of {run} {language} packages pass ({required} are required)"));
            }
        }
        for case in cases {
            let name = case.name();
            match (known.get(&name), self.failures.get(&name)) {
                (None, Some(what)) => found.push(format!("{name}: {what}")),
                (Some(reason), None) => {
                    found.push(format!("{name} passes now: strike it off {KNOWN} (it stood there because: {reason})"));
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_package_has_a_script_and_every_script_a_package() -> Result<()> {
        let tests = paths::root().join("tests/packages");
        let mut listed = Vec::new();
        let requirements = std::fs::read_to_string(tests.join("python/requirements.txt"))?;
        let wanted = requirements.split("# What they need.").next().unwrap_or_default();
        listed
            .extend(wanted.lines().filter_map(|l| Some(format!("python/{}", l.split_once("==")?.0.replace('-', "_")))));
        let manifest: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(tests.join("node/package.json"))?)?;
        let names = manifest["dependencies"].as_object().map(|d| d.keys().cloned().collect::<Vec<_>>());
        listed.extend(names.unwrap_or_default().iter().map(|n| format!("node/{}", n.replace('-', "_"))));
        let scripts: Vec<String> = cases()?.iter().map(Case::name).collect();
        assert_eq!((listed.len(), scripts.len()), (80, 80));
        assert_eq!(listed.iter().filter(|l| !scripts.contains(l)).collect::<Vec<_>>(), Vec::<&String>::new());
        Ok(())
    }

    #[test]
    fn known_failures_are_names_of_cases() -> Result<()> {
        let names: Vec<String> = cases()?.iter().map(Case::name).collect();
        for name in known::failures(KNOWN)?.keys() {
            assert!(names.contains(name), "{KNOWN}: no such case: {name}");
        }
        Ok(())
    }

    #[test]
    fn differences_are_told_in_one_line() {
        let outcome = |status, stdout: &str| Outcome { status, stdout: stdout.into(), stderr: b"a\nlast\n\n".to_vec() };
        assert_eq!(difference(&outcome(0, "a\nb"), &outcome(0, "a\nb")), None);
        assert_eq!(difference(&outcome(0, "a\nb"), &outcome(0, "a\nc")).as_deref(), Some("stdout differs from line 2"));
        assert_eq!(difference(&outcome(0, "a"), &outcome(1, "a")).as_deref(), Some("status 1: last"));
        assert_eq!(difference(&outcome(0, "a"), &outcome(-1, "a")).as_deref(), Some("hangs"));
    }
}
