//! Tools: programs of a bundle that are called by name (`megalith tools`).

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use xtask::subject::{self, Outcome, Stdin};
use xtask::{paths, sh};

use crate::{Test, context};

pub fn tests() -> Vec<Test> {
    vec![
        Test::ours("tools::list", list),
        Test::ours("tools::call", call),
        Test::ours("tools::only-that-hash", only_that_hash),
        Test::ours("tools::limits", limits),
        Test::ours("tools::mistakes", mistakes),
    ]
}

/// Neither marked as executable nor called by anything.
const REPORT: &str = "#!/bin/sh -e\nread line\necho \"$0 $# $1: $line\"\nexit 7\n";

/// A directory with an image `root` whose busybox, two of its applets and a script are tools, and its bundle `b`.
fn bundle() -> Result<TempDir> {
    let context = context::get()?;
    let dir = tempfile::tempdir()?;
    let root = dir.path().join("root");
    for d in ["bin", "proc", "dev", "tmp", "opt"] {
        fs::create_dir_all(root.join(d))?;
    }
    fs::copy(context.corpus.rootfs.join("bin/busybox"), root.join("bin/busybox"))?;
    fs::copy(context.corpus.rootfs.join("opt/t/hello"), root.join("bin/hello"))?;
    for applet in ["sh", "sort"] {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    fs::write(root.join("opt/report.sh"), REPORT)?;
    // An env that is not recompiled: the gate does what its line asks for.
    fs::create_dir_all(root.join("usr/bin"))?;
    fs::write(root.join("usr/bin/env"), b"\x7fELF")?;
    fs::set_permissions(root.join("usr/bin/env"), fs::Permissions::from_mode(0o755))?;
    fs::write(
        root.join("opt/env.sh"),
        "#!/usr/bin/env -S -u HOME A=5 sh -e\necho $0 $1 $A $HOME.\nfalse\necho never\n",
    )?;
    let tools = [
        "--tool",
        "report=/opt/report.sh",
        "--tool",
        "sort=/bin/sort",
        "--tool",
        "busybox=/bin/busybox",
        "--tool",
        "env=/opt/env.sh",
    ];
    let outcome = build(dir.path(), "b", &tools)?;
    ensure!(outcome.status == 0, "{}", outcome.describe());
    Ok(dir)
}

fn build(dir: &Path, bundle: &str, more: &[&str]) -> Result<Outcome> {
    let mut command = sh::command(paths::release("megalith"), ["build"]);
    command.arg(dir.join("root")).arg("-o").arg(dir.join(bundle)).args(more);
    subject::run(command, &Stdin::Empty, Duration::from_secs(600))
}

fn tools(dir: &Path, args: &[&str], input: &str) -> Result<Outcome> {
    let mut command = sh::command(paths::release("megalith"), ["tools"]);
    command.arg(dir.join("b")).args(args);
    subject::run(command, &Stdin::Bytes(input.into()), Duration::from_secs(60))
}

fn is(outcome: &Outcome, status: i32, stdout: &str) -> Result<()> {
    ensure!(outcome.status == status && outcome.text() == stdout, "{}", outcome.describe());
    Ok(())
}

fn says(outcome: &Outcome, status: i32, stderr: &str) -> Result<()> {
    let said = String::from_utf8_lossy(&outcome.stderr).contains(stderr);
    ensure!(outcome.status == status && outcome.stdout.is_empty() && said, "not '{stderr}': {}", outcome.describe());
    Ok(())
}

fn list() -> Result<()> {
    let dir = bundle()?;
    let json: serde_json::Value = serde_json::from_slice(&tools(dir.path(), &["list", "--json"], "")?.stdout)?;
    let tools_of = |v: &serde_json::Value| -> Option<Vec<String>> {
        let text = |t: &serde_json::Value, key: &str| t.get(key).and_then(|x| x.as_str()).unwrap_or("-").to_owned();
        let line = |t| ["name", "path", "kind", "interpreter"].map(|key| text(t, key)).join(" ");
        Some(v.as_array()?.iter().map(line).collect())
    };
    let expected = [
        "busybox /bin/busybox elf -",
        "env /opt/env.sh script /bin/busybox",
        "report /opt/report.sh script /bin/busybox",
        "sort /bin/sort elf -",
    ];
    ensure!(tools_of(&json).context("a list")? == expected, "{json:#}");
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(dir.path().join("b/manifest.json"))?)?;
    for tool in json.as_array().context("a list")? {
        let name = tool["name"].as_str().context("a name")?;
        ensure!(manifest["agent_tools"][name] == tool["hash"], "{name}: {tool}");
    }
    let text = tools(dir.path(), &[], "")?;
    let report = text.text().lines().find(|l| l.starts_with("report ")).map(str::to_owned).context("a line")?;
    ensure!(report.contains("open, read by /bin/busybox"), "{report}");
    Ok(())
}

fn call() -> Result<()> {
    let dir = bundle()?;
    let report = tools(dir.path(), &["call", "report", "--month", "11"], "{\"a\": 1}\n")?;
    is(&report, 7, "/opt/report.sh 2 --month: {\"a\": 1}\n")?;
    // By way of a symlink: the applet goes by the name it was started with.
    is(&tools(dir.path(), &["call", "--read-only", "sort", "-r"], "a\nb\n")?, 0, "b\na\n")?;
    is(&tools(dir.path(), &["call", "-e", "A=1", "env", "x"], "")?, 1, "/opt/env.sh x 5 .\n")?;
    let options = ["call", "-e", "A=x y", "--hostname", "h", "-w", "/opt", "--", "busybox"];
    let script = ["sh", "-c", "echo $A; hostname; pwd; kill -9 $$"];
    is(&tools(dir.path(), &[&options[..], &script[..]].concat(), "")?, 137, "x y\nh\n/opt\n")
}

/// What a volume puts in the place of a tool does not start, be it another program of the bundle.
fn only_that_hash() -> Result<()> {
    let dir = bundle()?;
    let place = |name: &str, from: &str, to: &str| -> Result<String> {
        let volume = dir.path().join(name);
        fs::create_dir(&volume)?;
        fs::copy(dir.path().join("root").join(from), volume.join(to))?;
        Ok(volume.display().to_string())
    };
    // The manifest names no file /bin/sort: the tool's own hash decides.
    let volume = format!("{}:/bin", place("hello", "bin/hello", "sort")?);
    let refused = tools(dir.path(), &["call", "-v", &volume, "sort"], "")?;
    says(&refused, 126, "is not the tool's hash")?;
    let mut run = sh::command(paths::release("megalith"), ["run", "-v", &volume]);
    run.arg(dir.path().join("b")).args(["--", "/bin/sort"]);
    is(&subject::run(run, &Stdin::Empty, Duration::from_secs(60))?, 0, "hello from a sealed module\n")?;
    // The same bytes are the same tool.
    let volume = format!("{}:/bin", place("same", "bin/busybox", "sort")?);
    is(&tools(dir.path(), &["call", "-v", &volume, "sort"], "b\na\n")?, 0, "a\nb\n")?;
    let volume = format!("{}:/opt", place("script", "bin/hello", "report.sh")?);
    says(&tools(dir.path(), &["call", "-v", &volume, "report"], "x\n")?, 126, "refused to start /opt/report.sh")?;
    fs::write(dir.path().join("script/report.sh"), format!("{REPORT}#"))?;
    says(&tools(dir.path(), &["call", "-v", &volume, "report"], "x\n")?, 126, "refused to start /opt/report.sh")
}

fn limits() -> Result<()> {
    let dir = bundle()?;
    is(&tools(dir.path(), &["call", "--timeout", "1", "busybox", "sleep", "20"], "")?, 124, "")?;
    let hog = ["call", "--memory", "32m", "busybox", "awk", "BEGIN { s = \"x\"; while (1) s = s s }"];
    is(&tools(dir.path(), &hog, "")?, 137, "")
}

fn mistakes() -> Result<()> {
    let dir = bundle()?;
    says(&tools(dir.path(), &["call", "nothing"], "")?, 127, "has no tool named 'nothing'")?;
    for (tool, why) in [
        ("x=/bin/none", "/bin/none is not in the image"),
        ("x=/opt", "/opt is not a regular file"),
        ("x=bin/sort", "absolute"),
        ("/bin/sort", "NAME=PATH"),
        ("a/b=/bin/sort", "is not a name"),
    ] {
        let outcome = build(dir.path(), "c", &["--tool", tool])?;
        let said = String::from_utf8_lossy(&outcome.stderr).contains(why);
        ensure!(outcome.status != 0 && said && !dir.path().join("c").exists(), "{tool}: {}", outcome.describe());
    }
    let twice = build(dir.path(), "c", &["--tool", "x=/bin/sort", "--tool", "x=/bin/sh"])?;
    ensure!(twice.status == 1 && String::from_utf8_lossy(&twice.stderr).contains("twice"), "{}", twice.describe());
    Ok(())
}
