//! Processes that begin from a snapshot know nothing of each other: `tests/leaks/probe.py` and `probe.js` print what must be the same in each and what must
//! not, and then change all of it, for whoever begins from the same pages next.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use xtask::paths;
use xtask::subject::{Job, Subject};
use xtask::toolbox::{self, NODE, PYTHON};

use crate::{Test, toolbox as sides};

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("leaks::python", || leaks(&[PYTHON, "/leaks/probe.py"], 100, 5)),
        Test::new("leaks::node", || leaks(&[NODE, "/leaks/probe.js"], 48, 3)),
        Test::new("leaks::node-directory", directory),
        Test::new("leaks::node-changed-module", changed_module),
        Test::new("leaks::the-judge-sees-them", judge),
    ]
}

/// Runs the probe `together` times (a multiple of four) in one run, some at the same time, and `alone` times in runs of their own.
fn leaks(command: &[&str], together: usize, alone: usize) -> Result<()> {
    let subject = sides::subject()?;
    let words = command.join(" ");
    let script = format!(
        "i=0; while [ $i -lt {together} ]; do for end in exit _exit signal exec; do
           i=$((i + 1)); if [ $((i % 10)) = 0 ]; then {words} $end > /tmp/out-$i & else {words} $end > /tmp/out-$i; fi
         done; done 2>/tmp/err; wait; cat /tmp/out-*; rm /tmp/out-*"
    );
    let mut probes = run(subject, &["/bin/busybox", "sh", "-c", &script])?;
    ensure!(probes.len() == together, "{} of {together} processes have answered", probes.len());
    let pids: BTreeSet<_> = probes.iter().map(|p| p["pid"].to_string()).collect();
    ensure!(pids.len() == together, "{} process ids of {together} processes", pids.len());
    compare(&probes)?;
    let mut files = Vec::new();
    for _ in 0..alone {
        let probe = run(subject, &[command, &["exit", "alone"]].concat())?.pop().context("no answer")?;
        files.push(probe["same"]["files"].to_string());
        probes.push(probe);
    }
    ensure!(files.iter().all(|f| *f == files[0]), "files of one run are there in the next: {files:?}");
    let unless_alone = |probe: &mut Value| {
        if let Some(same) = probe["same"].as_object_mut() {
            // The shell in between adds to the environment; who is alone has one more argument and looks at the files.
            for name in ["files", "argv", "environment", "directory"] {
                same.remove(name);
            }
        }
    };
    probes.iter_mut().for_each(unless_alone);
    compare(&probes)
}

/// Node keeps the working directory: a process has its own.
fn directory() -> Result<()> {
    for place in ["/", "/tmp", "/usr/bin"] {
        let mut job = Job::new([NODE, "-p", "process.cwd() + ' ' + require('path').resolve('x')"]);
        job.directory = place.to_owned();
        let outcome = sides::subject()?.run(&job)?;
        let wanted = format!("{place} {}/x\n", place.trim_end_matches('/'));
        ensure!(outcome.text() == wanted, "not {wanted:?}: {}", outcome.describe());
    }
    Ok(())
}

/// A module that was loaded before the snapshot is not used when its file, or what leads to it, is another now; the others are.
fn changed_module() -> Result<()> {
    let at = "/packages/node/node_modules/semver";
    let program = "const { major } = require('AT'); console.log(typeof major, Object.keys(require.cache).length)"
        .replace("AT", at);
    let script = format!(
        "node() {{ {NODE} -e \"{program}\"; }}
         node
         touch {at}/functions/major.js; node
         echo 'module.exports = {{ major: 1 }}' > {at}/other.js
         echo '{{\"main\": \"other.js\"}}' > {at}/package.json; node
         rm {at}/package.json; echo 'module.exports = {{ major: [] }}' > {at}/index.js; node"
    );
    let job = Job::new(["/bin/busybox", "sh", "-c", &script]);
    let outcome = sides::subject()?.run(&job)?;
    let text = outcome.text();
    let lines: Vec<_> = text.lines().collect();
    let [warm, touched, other, index] = lines[..] else { bail!("{}", outcome.describe()) };
    ensure!(warm.starts_with("function ") && warm == touched, "{}", outcome.describe());
    ensure!(other == "number 1" && index == "object 1", "{}", outcome.describe());
    Ok(())
}

/// What each of the processes in one run has printed.
fn run(subject: &Subject, command: &[&str]) -> Result<Vec<Value>> {
    let mut job = Job::new(command.iter().copied());
    job.environment = toolbox::environment();
    job.volumes = vec![format!("{}:/leaks:ro", paths::root().join("tests/leaks").display())];
    job.timeout = Duration::from_secs(300);
    let outcome = subject.run(&job)?;
    let lines = outcome.text();
    let probes: Result<Vec<Value>, _> = lines.lines().map(serde_json::from_str).collect();
    probes.with_context(|| outcome.describe())
}

/// What must be the same is, and what must not be is new in every process.
fn compare(probes: &[Value]) -> Result<()> {
    let mut values: BTreeMap<(&str, &str), BTreeSet<String>> = BTreeMap::new();
    for kind in ["same", "fresh"] {
        for (name, value) in probes.iter().filter_map(|p| p[kind].as_object()).flatten() {
            values.entry((kind, name)).or_default().insert(value.to_string());
        }
    }
    ensure!(values.keys().any(|k| k.0 == "same") && values.keys().any(|k| k.0 == "fresh"), "nothing to compare");
    for ((kind, name), found) in values {
        let wanted = if kind == "same" { 1 } else { probes.len() };
        if found.len() != wanted {
            let some: Vec<&String> = found.iter().take(3).collect();
            bail!("{name}: {} values in {} processes, not {wanted}: {some:#?}", found.len(), probes.len());
        }
    }
    Ok(())
}

fn judge() -> Result<()> {
    let probe = |same: u32, fresh: u32| serde_json::json!({"same": {"a": same}, "fresh": {"b": fresh}});
    compare(&[probe(1, 1), probe(1, 2)])?;
    ensure!(compare(&[probe(1, 1), probe(2, 2)]).is_err(), "a leak is not seen");
    ensure!(compare(&[probe(1, 1), probe(1, 1)]).is_err(), "what is not fresh is not seen");
    ensure!(compare(&[]).is_err(), "nothing is enough");
    Ok(())
}
