//! `cargo xtask demo`: from Debian's packages of busybox, Python and Node to a pipeline and an agent's tools in a sealed container, denied starts, and a table.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{bench, corpus, paths, setup, sh, toolbox, workspace};

/// Input of the tools: file on the host, text.
const INPUTS: &[(&str, &str, &str)] = &[
    (
        "report",
        "records.json",
        "[{\"name\": \"pear\", \"kg\": 3}, {\"name\": \"apple\", \"kg\": 5}, {\"name\": \"quince\", \"kg\": 1}]\n",
    ),
    ("outline", "text.md", "# Seals\nA seal & its gate.\n\n## Kinds\nA gate, a seal.\n"),
];

/// Runs the demo.
///
/// # Errors
/// A step does not do what it should.
pub fn run() -> Result<()> {
    setup::packages()?;
    workspace::build()?;
    let toolbox = toolbox::with_tools()?;
    let demo = &toolbox.corpus;
    let megalith = paths::release("megalith");
    let bundle = paths::target().join("demo-bundle");
    println!("\n# An OCI image of Debian's busybox-static {}: {}", demo.busybox, demo.image.display());
    for (package, version) in &toolbox.versions {
        println!("# with {package} {version}");
    }
    let tools: Vec<String> = toolbox::TOOLS.iter().map(|(name, _, path)| format!("--tool={name}={path}")).collect();

    let start = Instant::now();
    step(sh::command(&megalith, ["build"]).arg(&demo.image).arg("-o").arg(&bundle).args(&tools), 0)?;
    println!("# built in {:.1} s; again (nothing changed):", start.elapsed().as_secs_f64());
    let start = Instant::now();
    step(sh::command(&megalith, ["build"]).arg(&demo.image).arg("-o").arg(&bundle).args(&tools), 0)?;
    println!("# {:.1} s", start.elapsed().as_secs_f64());
    step(sh::command(&megalith, ["verify"]).arg(&bundle), 0)?;

    println!("\n# A pipeline over real files in it");
    let script = "zcat /usr/share/doc/busybox-static/changelog.Debian.gz | tr -cs A-Za-z '\\n' | tr A-Z a-z | sort | uniq -c | sort -rn | head -5";
    step(guest(&bundle, &[]).args(["/bin/busybox", "sh", "-c", script]), 0)?;
    step(
        guest(&bundle, &[]).args([
            "/bin/busybox",
            "sh",
            "-c",
            "seq 100000 | sort -r | sha256sum; (sleep 1; echo late) & wait; echo $?",
        ]),
        0,
    )?;

    println!("\n# The same bytes run under any name; one byte more, and they do not");
    let script = "cp /bin/busybox /tmp/busybox2; /tmp/busybox2 echo same bytes run; printf x >> /tmp/busybox2; /tmp/busybox2 echo never";
    step(guest(&bundle, &[]).args(["/bin/busybox", "sh", "-c", script]), 126)?;

    agents(&bundle)?;

    println!("\n# Speed against native (a short run; `cargo xtask bench` is the long one)\n");
    println!("{}", bench::short(&corpus::standard()?)?);
    Ok(())
}

/// A Python and a Node tool, by path and by name, and changed.
fn agents(bundle: &Path) -> Result<()> {
    let megalith = paths::release("megalith");
    let dir = tempfile::tempdir()?;
    println!("\n# An agent's tools, in Python and Node: by path, and by name, where nothing but that hash starts");
    step(sh::command(&megalith, ["tools"]).arg(bundle), 0)?;
    for (tool, name, text) in INPUTS {
        let input = dir.path().join(name);
        fs::write(&input, text)?;
        let path = toolbox::TOOLS.iter().find(|(name, ..)| name == tool).map(|(_, _, path)| *path);
        let path = path.context("the tool has a path")?;
        step_with(guest(bundle, &[]).arg(path), &input, 0)?;
        let call = || {
            let mut command = sh::command(&megalith, ["tools"]);
            command.arg(bundle).arg("call");
            command
        };
        step_with(call().args([tool, "--json"]), &input, 0)?;
        println!("# one byte more:");
        let script = format!("echo >> {path}; {path}");
        step_with(guest(bundle, &[]).args(["/bin/busybox", "sh", "-c", &script]), &input, 126)?;
        let place = Path::new(path).parent().context("a tool has a directory")?;
        let changed = dir.path().join(tool);
        fs::create_dir(&changed)?;
        let source = paths::root().join("demo/tools").join(Path::new(path).file_name().context("a name")?);
        let to = changed.join(source.file_name().context("a name")?);
        fs::write(&to, [&fs::read(&source)?[..], b"\n"].concat())?;
        let volume = format!("{}:{}", changed.display(), place.display());
        step_with(call().args(["-v", &volume, tool]), &input, 126)?;
    }
    Ok(())
}

fn guest(bundle: &Path, options: &[&str]) -> Command {
    let mut command = sh::command(paths::release("megalith"), ["run"]);
    command.arg(bundle).args(options).arg("--");
    command
}

/// The same with a file as its standard input.
fn step_with(command: &mut Command, input: &Path, wanted: i32) -> Result<()> {
    command.stdin(Stdio::from(fs::File::open(input).with_context(|| format!("open {}", input.display()))?));
    shown(command, &format!(" < {}", quote(&input.to_string_lossy())), wanted)
}

/// Shows a command, runs it, and insists on its exit status.
fn step(command: &mut Command, wanted: i32) -> Result<()> {
    shown(command, "", wanted)
}

fn shown(command: &mut Command, more: &str, wanted: i32) -> Result<()> {
    let words: Vec<String> = command.get_args().map(|a| quote(&a.to_string_lossy())).collect();
    println!("$ megalith {}{more}", words.join(" "));
    let status = command.status()?;
    if status.code() != Some(wanted) {
        bail!("{status}, expected {wanted}");
    }
    if wanted != 0 {
        println!("(exit status {wanted})");
    }
    Ok(())
}

/// A word as a shell wants it.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.:=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}
