//! Native extensions of Python packages, built from their sources: MarkupSafe's and numpy's that the build adds, and PyYAML's that the image has from Debian. One
//! that cannot be built, and an index that does not answer. What the program does is in `tests/extensions`.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use xtask::corpus::Corpus;
use xtask::subject::{self, Job, Outcome, Stdin, Subject};
use xtask::{paths, setup, sh, toolbox};

use crate::{Test, context};

pub fn tests() -> Vec<Test> {
    vec![
        Test::ours("extensions::same-as-native", same_as_native),
        Test::ours("extensions::fresh", fresh),
        Test::ours("extensions::listed", listed),
        Test::ours("extensions::cannot-be-built", cannot_be_built),
        Test::ours("extensions::offline", offline),
    ]
}

const USES: &str = "/uses.py";
const SITE: &str = "/usr/local/lib/python3.11/dist-packages";

struct Sides {
    corpus: Corpus,
    native: Subject,
    subject: Subject,
    bundle: PathBuf,
}

fn sides() -> Result<&'static Sides> {
    static SIDES: OnceLock<Result<Sides, String>> = OnceLock::new();
    context::shared(&SIDES, || {
        setup::packages()?;
        setup::extension_builder()?;
        let corpus = toolbox::with_extensions()?.corpus;
        let requirements = paths::root().join("tests/extensions/requirements.txt");
        let requirements = requirements.to_str().context("a path")?;
        let options = ["--pip", requirements, "--warm", "markupsafe", "--warm", "yaml"].map(str::to_owned);
        let bundle = subject::bundle_with(&corpus, &options)?;
        let native = Subject::native(&context::xtask(), &corpus.rootfs);
        Ok(Sides { corpus, native, subject: Subject::megalith(&bundle), bundle })
    })
}

fn job(command: &[&str]) -> Result<Job> {
    let uses = paths::root().join("tests/extensions/uses.py");
    Ok(Job {
        environment: toolbox::environment(),
        volumes: vec![format!("{}:{USES}:ro", uses.display())],
        timeout: Duration::from_secs(120),
        ..Job::new([&[toolbox::PYTHON], command].concat())
    })
}

fn python(command: &[&str]) -> Result<Outcome> {
    sides()?.subject.run(&job(command)?)
}

fn same_as_native() -> Result<()> {
    let mut native = job(&[USES])?;
    // The image has them where our build does not look for packages.
    native.environment.push(format!("PYTHONPATH=/{}", toolbox::NATIVE));
    let native = sides()?.native.run(&native)?;
    let ours = python(&[USES])?;
    ensure!(native.status == 0 && native.text().lines().count() > 20, "{}", native.describe());
    ensure!(native == ours, "native:\n{}\n\nhere:\n{}", native.describe(), ours.describe());
    // The same from a cold start.
    let cold = python(&["-X", "utf8", USES])?;
    ensure!(native == cold, "native:\n{}\n\nhere, cold:\n{}", native.describe(), cold.describe());
    Ok(())
}

/// The polyfill with extensions has its snapshot, and what has to be new in each process is.
fn fresh() -> Result<()> {
    let print = "import sys, random; print('markupsafe' in sys.modules, hash('x'), random.random())";
    let (one, other) = (python(&["-c", print])?, python(&["-c", print])?);
    ensure!(one.status == 0 && one.text().starts_with("False "), "{}", one.describe());
    let differ = one.text().split_whitespace().zip(other.text().split_whitespace()).filter(|(a, b)| a != b).count();
    ensure!(differ == 2, "{}\n{}", one.describe(), other.describe());
    Ok(())
}

fn inspect() -> Result<String> {
    sh::text(sh::command(paths::release("megalith"), ["inspect"]).arg(&sides()?.bundle))
}

/// What is linked in is named with the interpreter, and is not among what was not recompiled.
fn listed() -> Result<()> {
    let text = inspect()?;
    for file in [
        format!("{SITE}/markupsafe/_speedups.cpython-311-x86_64-linux-gnu.so"),
        format!("{SITE}/numpy/linalg/_umath_linalg.cpython-311-x86_64-linux-gnu.so"),
        "/usr/lib/python3/dist-packages/yaml/_yaml.cpython-311-x86_64-linux-gnu.so".to_owned(),
    ] {
        let linked = text.lines().find(|l| l.contains("linked with ") && l.contains(&file));
        ensure!(linked.is_some_and(|l| l.starts_with(toolbox::PYTHON)), "{file}: {text}");
        ensure!(!text.lines().any(|l| l.starts_with(&format!("{file}:"))), "{file}: {text}");
    }
    let warmed = text.lines().find(|l| l.starts_with(toolbox::PYTHON) && l.contains("begins from a snapshot"));
    ensure!(warmed.is_some_and(|l| l.contains("markupsafe") && l.contains("yaml")), "{text}");
    Ok(())
}

/// It is listed, and its import says which, why, and what to do.
fn cannot_be_built() -> Result<()> {
    let file = format!("{SITE}/ujson.cpython-311-x86_64-linux-gnu.so");
    let why = "ujson 5.10.0: its build needs setuptools_scm";
    let text = inspect()?;
    let lines: Vec<_> = text.lines().filter(|l| l.starts_with(&format!("{file}:"))).collect();
    ensure!(lines.len() == 1 && lines.iter().all(|l| l.contains(why)), "{lines:?}");
    let outcome = python(&["-c", "import ujson"])?;
    let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
    let last = said.lines().last().unwrap_or_default();
    let says = ["ImportError: ", &file, "'ujson'", why, "--python recompile"].iter().all(|part| last.contains(part));
    ensure!(outcome.status == 1 && says, "{}", outcome.describe());
    Ok(())
}

/// One line when the package index does not answer.
fn offline() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let lock = dir.path().join("requirements.txt");
    fs::write(&lock, format!("MarkupSafe==2.1.4 --hash=sha256:{:064}\n", 1))?;
    let bundle = dir.path().join("b");
    let mut command = sh::command(paths::release("megalith"), ["build"]);
    command.arg(&sides()?.corpus.image).arg("-o").arg(&bundle).arg("--pip").arg(&lock);
    // Nobody listens there.
    command.env("PIP_INDEX_URL", "http://127.0.0.1:9/simple").env("PIP_CONFIG_FILE", "/dev/null");
    for variable in ["PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(variable);
    }
    let outcome = subject::run(command, &Stdin::Empty, Duration::from_secs(120))?;
    let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
    let errors: Vec<_> = said.lines().filter(|l| l.starts_with("megalith: ")).collect();
    let says = errors.iter().all(|l| l.contains("the package index cannot be reached"));
    ensure!(outcome.status == 1 && errors.len() == 1 && says && !bundle.exists(), "{}", outcome.describe());
    Ok(())
}
