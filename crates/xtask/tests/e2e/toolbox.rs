//! An agent's tool box, with Debian's python3 and nodejs: here the polyfills answer for them. Packages (`tests/packages`) and the scripts that compare Python
//! with Debian's (`polyfills/python/test/compare`), natively and here.

use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use xtask::packages::{self, Case};
use xtask::subject::{Job, Subject};
use xtask::toolbox::{self, Toolbox};
use xtask::{known, paths, setup};

use crate::{Test, context};

/// The packages that are tried each time; `cargo xtask conformance` tries all.
const SAMPLE: usize = 3;

pub fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    match packages::cases() {
        Ok(cases) => {
            let sample = cases.into_iter().enumerate().filter(|(i, _)| i % SAMPLE == 0);
            tests.extend(sample.map(|(_, case)| {
                Test::new(format!("packages::{}", case.name().replace('/', "::")), move || package(&case))
            }));
        }
        Err(error) => tests.push(Test::new("packages", move || Err(error))),
    }
    tests.push(Test::new("node::changed_packages".to_owned(), changed_packages));
    let compare = paths::root().join("polyfills/python/test/compare");
    let mut scripts: Vec<_> = fs::read_dir(&compare).into_iter().flatten().flatten().map(|e| e.path()).collect();
    scripts.retain(|p| p.extension().is_some_and(|e| e == "sh"));
    scripts.sort();
    for script in scripts {
        let name = script.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        tests.push(Test::new(format!("python::{name}"), move || python(&name)));
    }
    tests
}

/// Both sides of the tool box.
struct Sides {
    native: Subject,
    subject: Subject,
    _toolbox: Toolbox,
}

fn sides() -> Result<&'static Sides> {
    static SIDES: OnceLock<Result<Sides, String>> = OnceLock::new();
    let make = || {
        setup::packages()?;
        let toolbox = toolbox::with_packages()?;
        let native = Subject::native(&context::xtask(), &toolbox.corpus.rootfs);
        let subject = Subject::under_test_with(&toolbox.corpus, &toolbox::warm())?;
        Ok::<_, anyhow::Error>(Sides { native, subject, _toolbox: toolbox })
    };
    SIDES.get_or_init(|| make().map_err(|e| format!("{e:#}"))).as_ref().map_err(|e| anyhow!("{e}"))
}

/// The tool box under test, its packages warmed.
pub fn subject() -> Result<&'static Subject> {
    Ok(&sides()?.subject)
}

/// The same output and status, or a known failure.
fn package(case: &Case) -> Result<()> {
    let sides = sides()?;
    let native = packages::run_case(&sides.native, case)?;
    ensure!(native.status == 0 && !native.stdout.is_empty(), "natively: {}", native.describe());
    let ours = packages::run_case(&sides.subject, case)?;
    let known = known::failures(packages::KNOWN)?;
    match (packages::difference(&native, &ours), known.get(&case.name())) {
        (Some(what), None) => bail!("{what}\nnative:\n{}\n\nhere:\n{}", native.describe(), ours.describe()),
        (None, Some(reason)) if !context::judging_native() => {
            bail!("passes now: strike it off {} (it stood there because: {reason})", packages::KNOWN)
        }
        _ => Ok(()),
    }
}

/// Changes packages that node has in its snapshot, in several ways, and asks new processes what they are then.
const CHANGES: &str = r#"
const fs = require('fs'), { execFileSync } = require('child_process');
const at = (name) => '/packages/node/node_modules/' + name;
const ask = (what, name) => {
  const code = `const m = require('${at(name)}'); console.log(m.changed ?? (m.dump ? 'yaml' : m.compile ? 'handlebars' : m.VERSION ? 'lodash' : m.valid ? 'semver' : 'commander'))`;
  console.log(what, execFileSync(process.execPath, ['-e', code]).toString().trim());
};
ask('before', 'lodash');
ask('before', 'js-yaml');
fs.writeFileSync('/packages/beside', 'x');
ask('something else', 'lodash');
fs.writeFileSync(at('lodash/lodash.js'), 'exports.changed = "contents";');
ask('contents', 'lodash');
ask('another package', 'semver');
fs.writeFileSync(at('semver.js'), 'exports.changed = "another name";');
ask('a new name', 'semver');
fs.renameSync(at('js-yaml'), at('x'));
fs.renameSync(at('handlebars'), at('js-yaml'));
fs.renameSync(at('x'), at('handlebars'));
ask('exchanged', 'js-yaml');
fs.renameSync('/packages/node', '/packages/old');
fs.mkdirSync(at('commander'), { recursive: true });
fs.writeFileSync(at('commander/index.js'), 'exports.changed = "another tree";');
ask('another tree', 'commander');
"#;

fn changed_packages() -> Result<()> {
    if context::judging_native() {
        // It would change the tool box itself.
        return Ok(());
    }
    let mut job = Job::new(["/usr/bin/node", "-e", CHANGES]);
    job.environment = toolbox::environment();
    let outcome = subject()?.run(&job)?;
    let expected = "before lodash\nbefore yaml\nsomething else lodash\ncontents contents\nanother package semver\na new name another name\n\
                    exchanged handlebars\nanother tree another tree\n";
    ensure!(outcome.status == 0 && outcome.text() == expected, "{}", outcome.describe());
    Ok(())
}

/// The failures of `python::*` that are known, with their reasons.
const KNOWN: &str = "polyfills/python/test/known-failures.toml";

fn python(name: &str) -> Result<()> {
    let sides = sides()?;
    let tests = paths::root().join("polyfills/python/test");
    let run = |subject: &Subject| -> Result<String> {
        let scratch = tempfile::tempdir()?;
        let mut job = Job::new(["/bin/busybox", "sh", "-c", "exec 2>&1; unset HOSTNAME; . \"$0\""]);
        job.command.push(format!("/test/compare/{name}.sh"));
        job.environment = toolbox::environment();
        job.volumes = vec![
            format!("{}:/test:ro", tests.display()),
            format!("{}:/usr/lib/python3/dist-packages:ro", tests.join("site").display()),
            format!("{}:/work", scratch.path().display()),
        ];
        job.directory = "/work".into();
        job.timeout = Duration::from_secs(120);
        let outcome = subject.run(&job).context("start")?;
        Ok(format!("{}status {}\n", outcome.text(), outcome.status))
    };
    let (native, ours) = (without_addresses(&run(&sides.native)?), without_addresses(&run(&sides.subject)?));
    match (native == ours, known::failures(KNOWN)?.get(name)) {
        (false, None) => {
            let line = native.lines().zip(ours.lines()).take_while(|(a, b)| a == b).count();
            let from = |text: &str| text.lines().skip(line).take(12).collect::<Vec<_>>().join("\n");
            bail!("differs from line {}\nnative:\n{}\n\nhere:\n{}", line + 1, from(&native), from(&ours))
        }
        (true, Some(reason)) if !context::judging_native() => {
            bail!("passes now: strike it off {KNOWN} (it stood there because: {reason})")
        }
        _ => Ok(()),
    }
}

/// `0x7f6fb444c4a0` differs from run to run.
fn without_addresses(text: &str) -> String {
    let mut parts = text.split(" at 0x");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + " at 0x" + part.trim_start_matches(|c: char| c.is_ascii_hexdigit()))
}
