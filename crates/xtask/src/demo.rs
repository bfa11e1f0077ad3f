//! `cargo xtask demo`: from Debian's busybox-static package to a pipeline in a sealed container, a denied start, and a table.

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::{bench, corpus, paths, setup, sh, workspace};

/// Runs the demo.
///
/// # Errors
/// A step does not do what it should.
pub fn run() -> Result<()> {
    setup::packages()?;
    workspace::build()?;
    let demo = corpus::busybox_only()?;
    let megalith = paths::release("megalith");
    let bundle = paths::target().join("demo-bundle");
    println!("\n# An OCI image of Debian's busybox-static {}: {}", demo.busybox, demo.image.display());

    let start = Instant::now();
    step(sh::command(&megalith, ["build"]).arg(&demo.image).arg("-o").arg(&bundle), 0)?;
    println!("# built in {:.1} s; again (nothing changed):", start.elapsed().as_secs_f64());
    let start = Instant::now();
    step(sh::command(&megalith, ["build"]).arg(&demo.image).arg("-o").arg(&bundle), 0)?;
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

    println!("\n# Speed against native (a short run; `cargo xtask bench` is the long one)\n");
    println!("{}", bench::short(&corpus::standard()?)?);
    Ok(())
}

fn guest(bundle: &std::path::Path, options: &[&str]) -> Command {
    let mut command = sh::command(paths::release("megalith"), ["run"]);
    command.arg(bundle).args(options).arg("--");
    command
}

/// Shows a command, runs it, and insists on its exit status.
fn step(command: &mut Command, wanted: i32) -> Result<()> {
    let words: Vec<String> = command.get_args().map(|a| quote(&a.to_string_lossy())).collect();
    println!("$ megalith {}", words.join(" "));
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
