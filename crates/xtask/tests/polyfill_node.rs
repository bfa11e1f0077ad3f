//! The Node polyfill, natively: every `polyfills/node/test/NAME.js` prints what `NAME.out` says, and each module in the list of
//! what is there (`polyfills/node/modules.toml`) loads or refuses as it says.
//!
//! The goldens are what Debian's own nodejs prints. With `NODE_REFERENCE=/path/to/node` that program is judged instead, which
//! proves the goldens; with `BLESS=1` beside it they are written anew.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use libtest_mimic::{Arguments, Failed, Trial};
use xtask::{paths, polyfill};

fn main() -> Result<()> {
    let arguments = Arguments::from_args();
    let root = paths::root().join("polyfills/node");
    let reference = std::env::var_os("NODE_REFERENCE").map(PathBuf::from);
    let program = match (&reference, arguments.list) {
        (Some(node), _) => node.clone(),
        (None, true) => PathBuf::new(),
        (None, false) => polyfill::node::build()?,
    };
    let mut trials = Vec::new();
    for entry in std::fs::read_dir(root.join("test"))? {
        let script = entry?.path();
        if script.extension().is_none_or(|e| e != "js") {
            continue;
        }
        let name = script.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let program = program.clone();
        trials.push(Trial::test(name, move || golden(&program, &script).map_err(failed)));
    }
    if reference.is_none() {
        for module in polyfill::node::modules()? {
            let program = program.clone();
            let name = format!("module {}", module.name);
            trials.push(Trial::test(name, move || loads(&program, &module).map_err(failed)));
        }
        trials.push(Trial::test("documentation", || documentation().map_err(failed)));
    }
    libtest_mimic::run(&arguments, trials).exit()
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function value")]
fn failed(error: anyhow::Error) -> Failed {
    Failed::from(format!("{error:#}"))
}

/// Runs a script and compares what it prints, and its exit status, with the file beside it.
fn golden(program: &Path, script: &Path) -> Result<()> {
    let directory = script.parent().context("a script lies in a directory")?;
    let out = Command::new(program).arg(script.file_name().unwrap_or_default()).current_dir(directory).output()?;
    let got = format!("{}exit status {}\n", String::from_utf8_lossy(&out.stdout), out.status.code().unwrap_or(-1));
    let golden = script.with_extension("out");
    if std::env::var_os("BLESS").is_some() && std::env::var_os("NODE_REFERENCE").is_some() {
        std::fs::write(&golden, &got)?;
    }
    let wanted = std::fs::read_to_string(&golden)?;
    if got != wanted {
        let line = got.lines().zip(wanted.lines()).take_while(|(a, b)| a == b).count();
        bail!(
            "line {}: got {:?}, wanted {:?}; stderr: {}",
            line + 1,
            got.lines().nth(line),
            wanted.lines().nth(line),
            String::from_utf8_lossy(&out.stderr)
        );
    }
    Ok(())
}

/// Requires a module by its name.
fn loads(program: &Path, module: &polyfill::node::Module) -> Result<()> {
    let source = format!("require({:?})", module.name);
    let out = Command::new(program).arg("-e").arg(source).output()?;
    match (module.there, out.status.success()) {
        (true, false) => bail!("does not load: {}", String::from_utf8_lossy(&out.stderr)),
        (false, true) => bail!("loads, but the list says it does not"),
        (false, false) if !String::from_utf8_lossy(&out.stderr).contains("not available") => {
            bail!("does not say why it refuses: {}", String::from_utf8_lossy(&out.stderr))
        }
        _ => Ok(()),
    }
}

/// `docs/node.md` is what the list makes of it. `BLESS=1` writes it.
fn documentation() -> Result<()> {
    let path = paths::root().join("docs/node.md");
    let wanted = polyfill::node::documentation()?;
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &wanted)?;
    }
    if std::fs::read_to_string(&path).unwrap_or_default() != wanted {
        bail!("docs/node.md is not what polyfills/node/modules.toml makes: run with BLESS=1");
    }
    Ok(())
}
