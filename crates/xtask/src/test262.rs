//! test262 and QuickJS-ng's own tests, run by one and the same static `qjs` ([`crate::quickjs`]), natively and recompiled under Megalith.
//!
//! The suite is the copy in Debian's source package mozjs78 (of 2020; each file is one scenario there, as SpiderMonkey imports it), or a
//! checkout named by `MEGALITH_TEST262`. QuickJS-ng's own tests are in the crate that carries its source.
//! `MEGALITH_QJS` names another program with qjs' options to judge in its place. What passes natively counts, and nothing else.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::corpus::{self, Corpus};
use crate::subject::{Job, Subject};
use crate::{debian, parallel, paths, quickjs, sh};

/// Share of the natively passing tests that must pass here.
pub const REQUIRED: f64 = 0.995;

/// Where `qjs` lies in the image.
const QJS: &str = "/usr/bin/qjs";
/// Seconds for one test; the slowest take a few natively.
const LIMIT: (u32, u32) = (20, 200);
/// Tests that share a container.
const BATCH: usize = 100;

/// One run of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Path in the suite; a strict run of a file that is also run otherwise has ` (strict)` behind it.
    pub name: String,
    /// Arguments of qjs.
    arguments: Vec<String>,
    /// Constructor of the error that it must end with.
    negative: Option<String>,
    /// Whether it says itself when it is done.
    asynchronous: bool,
}

/// A suite on this machine.
pub struct Suite {
    /// `test262`, `quickjs-ng`.
    pub name: &'static str,
    /// Where it comes from, for the page.
    pub origin: String,
    /// What is run.
    pub scenarios: Vec<Scenario>,
    /// `HOST:GUEST:ro`.
    volumes: Vec<String>,
    directory: &'static str,
    /// Holds the strict copies.
    _strict: Option<tempfile::TempDir>,
}

/// A copy of a tree of the cache that can be a volume: `megalith run` refuses those in its own cache.
fn as_volume(tree: &Path, name: &str) -> Result<PathBuf> {
    paths::make_once(&paths::target().join("suites").join(name), |dir| {
        sh::output(sh::command("cp", ["-a"]).arg(tree.join(".")).arg(dir)).map(drop)
    })
}

/// An image with `qjs`.
///
/// # Errors
/// The sources cannot be fetched or compiled.
pub fn corpus() -> Result<Corpus> {
    let qjs = match std::env::var_os("MEGALITH_QJS") {
        Some(path) => PathBuf::from(path),
        None => quickjs::qjs()?,
    };
    corpus::build("qjs", &[(QJS.trim_start_matches('/').to_owned(), qjs, 0o755)], false)
}

/// QuickJS-ng's own tests.
///
/// # Errors
/// The sources cannot be fetched.
pub fn own_tests() -> Result<Suite> {
    let quickjs::Source { dir, version } = quickjs::source()?;
    let sources = as_volume(&dir, &format!("quickjs-ng-{version}"))?;
    let configuration = fs::read_to_string(sources.join("tests.conf"))?;
    let excluded = configuration.split("[exclude]").nth(1).unwrap_or_default();
    let excluded: Vec<&str> = excluded.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let mut names = Vec::new();
    find(&sources.join("tests"), Path::new("tests"), &mut names)?;
    names.retain(|n| !excluded.contains(&n.as_str()) && !n.contains("fixture"));
    let mut scenarios = Vec::new();
    for name in names {
        let text = String::from_utf8_lossy(&fs::read(sources.join(&name))?).into_owned();
        let front = front_matter(&text).unwrap_or_default();
        let flags = list(front, "flags");
        // These run for ever unless the host interrupts them, which qjs does not do.
        if flags.iter().any(|f| f == "qjs:set-interrupt-handler") {
            continue;
        }
        let mut arguments = vec!["--std".to_owned()];
        arguments.extend(flags.iter().any(|f| f == "module").then(|| "-m".to_owned()));
        arguments.push(name.clone());
        scenarios.push(Scenario { name, arguments, negative: negative(front), asynchronous: false });
    }
    Ok(Suite {
        name: "quickjs-ng",
        origin: format!("`tests/` of the crate {} {version}", quickjs::CRATE),
        scenarios,
        volumes: vec![format!("{}:/suite:ro", sources.display())],
        directory: "/suite",
        _strict: None,
    })
}

/// test262, from `MEGALITH_TEST262` or Debian's mozjs78.
///
/// # Errors
/// There is neither.
pub fn suite() -> Result<Suite> {
    let (dir, origin) = match std::env::var_os("MEGALITH_TEST262") {
        Some(dir) => (PathBuf::from(dir), "the checkout that `MEGALITH_TEST262` named".to_owned()),
        None => {
            let debian::SourcePackage { tree, version } = debian::newest_source_package("mozjs78")?;
            let copy =
                as_volume(&tree.join("js/src/tests/test262"), &format!("test262-{}", version.replace(':', "_")))?;
            (copy, format!("Debian's source package mozjs78 {version}"))
        }
    };
    let prelude = paths::root().join("tests/test262");
    let mut volumes = vec![format!("{}:/suite:ro", dir.display()), format!("{}:/prelude:ro", prelude.display())];
    let plain = dir.join("harness/assert.js").exists();
    if !plain && !dir.join("shell.js").exists() {
        bail!("{}: no test262 there", dir.display());
    }
    let mut names = Vec::new();
    find(&if plain { dir.join("test") } else { dir.clone() }, Path::new(if plain { "test" } else { "" }), &mut names)?;
    let strict = tempfile::tempdir()?;
    let mut scenarios = Vec::new();
    for name in names {
        let file_name = name.rsplit('/').next().unwrap_or_default();
        if name.contains("_FIXTURE") || matches!(file_name, "shell.js" | "browser.js") {
            continue;
        }
        // Some tests are about bytes that are no UTF-8.
        let text = String::from_utf8_lossy(&fs::read(dir.join(&name))?).into_owned();
        if plain {
            scenarios.extend(plain_scenarios(&name, &text, strict.path())?);
        } else {
            scenarios.extend(imported_scenario(&dir, &name, &text));
        }
    }
    if plain {
        volumes.push(format!("{}:/strict:ro", strict.path().display()));
    }
    Ok(Suite { name: "test262", origin, scenarios, volumes, directory: "/suite", _strict: Some(strict) })
}

/// `.js` files below `dir`, as paths below `prefix`, in order.
fn find(dir: &Path, prefix: &Path, found: &mut Vec<String>) -> Result<()> {
    let mut entries: Vec<_> =
        fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = prefix.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            find(&entry.path(), &path, found)?;
        } else if path.extension().is_some_and(|e| e == "js") {
            found.push(path.to_string_lossy().into_owned());
        }
    }
    Ok(())
}

/// A file as SpiderMonkey imports it: `// |reftest| skip-if(...) error:SyntaxError module async`, and a shell.js a directory.
fn imported_scenario(dir: &Path, name: &str, text: &str) -> Option<Scenario> {
    let head = text.lines().take(3).find_map(|l| l.strip_prefix("// |reftest|")).unwrap_or_default();
    let words = || head.split(" -- ").next().unwrap_or_default().split_whitespace();
    // The metadata has no word on `raw`; such tests take no harness.
    let raw = front_matter(text).is_some_and(|f| list(f, "flags").iter().any(|flag| flag == "raw"));
    let mut arguments = vec![if words().any(|w| w == "module") { "-m" } else { "-C" }.to_owned()];
    arguments.extend(["-I".to_owned(), "/prelude/prelude.js".to_owned()]);
    if !raw {
        for at in Path::new(name).ancestors().skip(1).collect::<Vec<_>>().into_iter().rev() {
            let shell = at.join("shell.js");
            if fs::metadata(dir.join(&shell)).is_ok_and(|m| m.len() > 0) {
                arguments.extend(["-I".to_owned(), format!("/suite/{}", shell.display())]);
            }
        }
    }
    arguments.push(format!("/suite/{name}"));
    let negative = words().find_map(|w| w.strip_prefix("error:")).map(str::to_owned);
    Some(Scenario { name: name.to_owned(), arguments, negative, asynchronous: words().any(|w| w == "async") })
}

/// A file of a checkout (INTERPRETING.md there): run in sloppy and in strict mode unless it says otherwise.
fn plain_scenarios(name: &str, text: &str, strict: &Path) -> Result<Vec<Scenario>> {
    let Some(front) = front_matter(text) else { return Ok(Vec::new()) };
    let flags = list(front, "flags");
    let flag = |wanted: &str| flags.iter().any(|f| f == wanted);
    let mut arguments = vec![if flag("module") { "-m" } else { "-C" }.to_owned()];
    if !flag("raw") {
        arguments.extend(["-I".to_owned(), "/prelude/prelude.js".to_owned()]);
        let mut harness = vec!["assert.js".to_owned(), "sta.js".to_owned()];
        harness.extend(list(front, "includes"));
        arguments.extend(harness.iter().flat_map(|h| ["-I".to_owned(), format!("/suite/harness/{h}")]));
    }
    let negative = negative(front);
    let scenario = |name: String, path: String| Scenario {
        name,
        arguments: arguments.iter().cloned().chain([path]).collect(),
        negative: negative.clone(),
        asynchronous: flag("async"),
    };
    let mut found = Vec::new();
    if !flag("onlyStrict") {
        found.push(scenario(name.to_owned(), format!("/suite/{name}")));
    }
    if !flag("noStrict") && !flag("raw") && !flag("module") {
        let to = strict.join(name);
        fs::create_dir_all(to.parent().context("a test lies in a directory")?)?;
        fs::write(&to, format!("\"use strict\";\n{text}"))?;
        found.push(scenario(format!("{name} (strict)"), format!("/strict/{name}")));
    }
    Ok(found)
}

/// The error that a test must end with.
fn negative(front: &str) -> Option<String> {
    let (_, rest) = front.split_once("negative:")?;
    let line = rest.lines().find(|l| l.trim_start().starts_with("type:"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn front_matter(text: &str) -> Option<&str> {
    Some(text.split_once("/*---")?.1.split_once("---*/")?.0)
}

/// A list in YAML's flow style or with dashes; all that test262 uses.
fn list(front: &str, key: &str) -> Vec<String> {
    let Some((_, rest)) = front.split_once(&format!("\n{key}:")) else { return Vec::new() };
    if let Some(flow) = rest.trim_start_matches(' ').strip_prefix('[') {
        let inside = flow.split(']').next().unwrap_or_default();
        return inside.split(',').map(|w| w.trim().to_owned()).filter(|w| !w.is_empty()).collect();
    }
    let lines = rest.lines().skip(1).map(str::trim).take_while(|l| l.starts_with('-'));
    lines.map(|l| l.trim_start_matches('-').trim().to_owned()).collect()
}

/// The runs that `cargo xtask test` makes: the first `count` of a suite in the order of their names' hashes.
pub fn sample(suite: &mut Suite, count: usize) {
    suite.scenarios.sort_by_cached_key(|s| Sha256::digest(&s.name));
    suite.scenarios.truncate(count);
}

/// Runs tests one after the other in a container; the answer of each stands between marks.
const LOOP: &str = r#"while IFS= read -r line; do
  eval "set -- $line"
  timeout -s KILL "$EACH" /usr/bin/qjs "$@" > /tmp/out 2>&1 < /dev/null
  status=$?
  echo "$MARK begin"
  head -c 2000 /tmp/out
  echo "$MARK end $status"
done"#;

/// Which runs of a suite pass natively, and of these, which pass here.
///
/// # Errors
/// A side cannot be started.
pub fn compare(
    native: &Subject,
    subject: &Subject,
    suite: &Suite,
) -> Result<(BTreeMap<String, bool>, BTreeMap<String, bool>)> {
    let all: Vec<&Scenario> = suite.scenarios.iter().collect();
    let theirs = run(native, suite, &all)?;
    let passing: Vec<&Scenario> = all.into_iter().filter(|s| theirs.get(&s.name) == Some(&true)).collect();
    let ours = run(subject, suite, &passing)?;
    Ok((theirs, ours))
}

fn run(subject: &Subject, suite: &Suite, scenarios: &[&Scenario]) -> Result<BTreeMap<String, bool>> {
    let batches: Vec<&[&Scenario]> = scenarios.chunks(BATCH).collect();
    let results = parallel::map(&batches, |batch| run_batch(subject, suite, batch))?;
    Ok(results.into_iter().flatten().collect())
}

fn run_batch(subject: &Subject, suite: &Suite, batch: &[&Scenario]) -> Result<Vec<(String, bool)>> {
    let limit = if subject.native { LIMIT.0 } else { LIMIT.1 };
    let mark = "@@test262@@";
    let mut job = Job::new(["/bin/busybox", "sh", "-c", LOOP]);
    let quoted = |s: &Scenario| {
        s.arguments.iter().map(|a| format!("'{}'", a.replace('\'', "'\\''"))).collect::<Vec<_>>().join(" ")
    };
    job.stdin = crate::subject::Stdin::Bytes(batch.iter().map(|s| quoted(s) + "\n").collect::<String>().into_bytes());
    job.environment = vec![format!("MARK={mark}"), format!("EACH={limit}"), "LANG=C.UTF-8".to_owned()];
    job.volumes.clone_from(&suite.volumes);
    job.directory = suite.directory.to_owned();
    job.timeout = Duration::from_secs(u64::from(limit) * 60);
    let text = subject.run(&job)?.text();
    let begin = format!("{mark} begin\n");
    let mut answers = text.split(&begin).skip(1).map(|part| {
        let (output, rest) = part.rsplit_once(&format!("{mark} end "))?;
        Some((output.to_owned(), rest.trim().parse::<i32>().ok()?))
    });
    // A container that died early leaves the rest without an answer: not passed.
    Ok(batch
        .iter()
        .map(|s| (s.name.clone(), answers.next().flatten().is_some_and(|(output, status)| passes(s, &output, status))))
        .collect())
}

fn passes(scenario: &Scenario, output: &str, status: i32) -> bool {
    match &scenario.negative {
        Some(error) => status != 0 && status < 124 && output.contains(error.as_str()),
        None if scenario.asynchronous => {
            status == 0 && output.contains("Test262:AsyncTestComplete") && !output.contains("Test262:AsyncTestFailure")
        }
        None => status == 0,
    }
}

/// What passes natively, and not here.
pub fn regressions<'a>(native: &'a BTreeMap<String, bool>, ours: &BTreeMap<String, bool>) -> Vec<&'a str> {
    native.iter().filter(|(name, passed)| **passed && ours.get(*name) != Some(&true)).map(|(n, _)| n.as_str()).collect()
}

/// Both sides of a suite, for the page and for people, and the share that passes.
pub fn text(suite: &Suite, native: &BTreeMap<String, bool>, ours: &BTreeMap<String, bool>) -> (String, f64) {
    const SHOWN: usize = 60;
    let wanted = native.values().filter(|passed| **passed).count();
    let bad = regressions(native, ours);
    let share = (wanted - bad.len()) as f64 / wanted.max(1) as f64;
    let mut text = format!(
        "| {} | runs | pass natively | pass here too | share |\n|---|--:|--:|--:|--:|\n| {} | {} | {} | {} | {:.2} % |\n",
        suite.name,
        suite.origin,
        native.len(),
        wanted,
        wanted - bad.len(),
        share * 100.0
    );
    if !bad.is_empty() {
        text.push_str("\nPass natively, not here:\n\n");
    }
    for name in bad.iter().take(SHOWN) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "- `{name}`");
    }
    if bad.len() > SHOWN {
        let _ = writeln!(text, "- and {} more", bad.len() - SHOWN);
    }
    (text, share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkout_says_how_its_files_are_run() -> Result<()> {
        let strict = tempfile::tempdir()?;
        let text = "/*---\ndescription: x\nflags: [async]\nincludes:\n  - a.js\n  - b.js\nnegative:\n  phase: parse\n  type: SyntaxError\n---*/\nx";
        let found = plain_scenarios("test/x.js", text, strict.path())?;
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].negative.as_deref(), Some("SyntaxError"));
        assert!(found[0].asynchronous && found[0].arguments.contains(&"/suite/harness/b.js".to_owned()));
        assert!(fs::read_to_string(strict.path().join("test/x.js"))?.starts_with("\"use strict\";\n/*---"));
        assert_eq!(
            plain_scenarios("t.js", "/*---\nflags: [raw]\n---*/", strict.path())?[0].arguments,
            ["-C", "/suite/t.js"]
        );
        assert_eq!(plain_scenarios("t.js", "/*---\nflags: [module]\n---*/", strict.path())?[0].arguments[0], "-m");
        Ok(())
    }

    #[test]
    fn an_imported_file_says_how_it_is_run() -> Result<()> {
        let dir = tempfile::tempdir()?;
        fs::create_dir_all(dir.path().join("a/b"))?;
        fs::write(dir.path().join("shell.js"), "x")?;
        fs::write(dir.path().join("a/shell.js"), "")?;
        let text = "// |reftest| skip-if(!x) error:SyntaxError module -- async later\n/*---\n---*/";
        let found = imported_scenario(dir.path(), "a/b/t.js", text).context("a scenario")?;
        assert_eq!(found.arguments, ["-m", "-I", "/prelude/prelude.js", "-I", "/suite/shell.js", "/suite/a/b/t.js"]);
        assert_eq!((found.negative.as_deref(), found.asynchronous), (Some("SyntaxError"), false));
        Ok(())
    }

    #[test]
    fn verdicts_follow_the_kind_of_test() {
        let scenario = |negative: Option<&str>, asynchronous| Scenario {
            name: String::new(),
            arguments: Vec::new(),
            negative: negative.map(String::from),
            asynchronous,
        };
        assert!(passes(&scenario(None, false), "", 0) && !passes(&scenario(None, false), "", 1));
        assert!(
            passes(&scenario(Some("TypeError"), false), "TypeError: x", 1)
                && !passes(&scenario(Some("TypeError"), false), "TypeError", 137)
        );
        assert!(
            !passes(&scenario(None, true), "", 0) && passes(&scenario(None, true), "Test262:AsyncTestComplete\n", 0)
        );
    }
}
