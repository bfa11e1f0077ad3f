//! The Python polyfill, natively: `polyfills/python/test` (its README says how the cases are written).
//!
//! Everything runs in a root directory of its own (bubblewrap) with Debian's standard library, so that paths are those of an
//! image, and nothing of this machine's Python is seen.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use libtest_mimic::{Arguments, Trial};
use xtask::{debian, paths, polyfill, setup, sh};

/// The Debian packages whose files lie in the root directory.
const PACKAGES: &[&str] =
    &["python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib", "libpython3.11-testsuite"];

/// Programs and directories of this machine that the root directory has, too.
const SHARED: &[&str] = &[
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/usr/lib/locale",
    "/usr/share/zoneinfo",
    "/usr/bin/env",
    "/usr/bin/sh",
];
const COMMANDS: &[&str] = &["cat", "head", "tail", "mkdir", "mv", "cp", "rm", "touch", "true"];

/// What is tested, and what it is compared with.
struct Side {
    name: &'static str,
    program: PathBuf,
}

/// Unpacks Debian's packages into one directory.
fn library() -> Result<PathBuf> {
    let packages = PACKAGES.iter().map(|p| debian::binary_package(p)).collect::<Result<Vec<_>>>()?;
    let key: String = packages.iter().filter_map(|p| p.hash.get(..8)).collect();
    paths::make_once(&paths::cache("python-root")?.join(key), |dir| {
        for package in &packages {
            sh::output(sh::command("cp", ["-a", "--"]).arg(package.files.join(".")).arg(dir))?;
        }
        Ok(())
    })
}

/// A case: a script and what is said in its first lines.
struct Case {
    script: PathBuf,
    warm: Option<String>,
    scripts: Option<String>,
    cold: bool,
}

impl Case {
    fn read(script: PathBuf) -> Result<Self> {
        let text = fs::read_to_string(&script)?;
        let head = text.lines().take_while(|l| l.starts_with('#'));
        let (mut warm, mut scripts, mut cold) = (None, None, false);
        for line in head {
            match line.split_once(": ") {
                Some(("# warm", names)) => warm = Some(names.to_owned()),
                Some(("# scripts", paths)) => scripts = Some(paths.to_owned()),
                _ => cold |= line == "# cold",
            }
        }
        Ok(Self { script, warm, scripts, cold })
    }

    /// Runs the script; returns its output and status as text.
    fn run(&self, library: &Path, side: &Side, warmed: bool) -> Result<String> {
        let scratch = tempfile::tempdir()?;
        let tests = paths::root().join("polyfills/python/test");
        let mut command = Command::new("bwrap");
        command.args([
            "--unshare-pid",
            "--die-with-parent",
            "--clearenv",
            "--tmpfs",
            "/",
            "--proc",
            "/proc",
            "--dev",
            "/dev",
        ]);
        command.args([
            "--tmpfs",
            "/tmp",
            "--tmpfs",
            "/dev/shm",
            "--symlink",
            "usr/lib",
            "/lib",
            "--symlink",
            "usr/lib64",
            "/lib64",
        ]);
        command.args(["--symlink", "usr/bin", "/bin", "--ro-bind", "/etc/passwd", "/etc/passwd"]);
        command.args(["--ro-bind", "/etc/group", "/etc/group", "--ro-bind-try", "/etc/ssl", "/etc/ssl"]);
        for path in SHARED {
            command.args(["--ro-bind-try", path, path]);
        }
        for program in COMMANDS {
            let path = format!("/usr/bin/{program}");
            command.args(["--ro-bind", &path, &path]);
        }
        let mut bind = |from: &Path, to: &str| {
            command.arg("--ro-bind").arg(from).arg(to);
        };
        bind(&library.join("usr/lib/python3.11"), "/usr/lib/python3.11");
        bind(&library.join("etc/python3.11"), "/etc/python3.11");
        bind(&side.program, "/usr/bin/python3.11");
        bind(&tests.join("site"), "/usr/lib/python3/dist-packages");
        bind(&tests, "/test");
        command.args(["--symlink", "python3.11", "/usr/bin/python3"]);
        command.arg("--bind").arg(scratch.path()).args(["/work", "--chdir", "/work"]);
        command.args(["--setenv", "PATH", "/usr/bin", "--setenv", "HOME", "/root", "--setenv", "LANG", "C.UTF-8"]);
        // The same on every side, since programs show their environment.
        let warm = self.warm.as_deref().unwrap_or("json");
        command.args(["--setenv", "MEGALITH_SIMULATE_WARM", warm]);
        if let Some(paths) = &self.scripts {
            command.args(["--setenv", "MEGALITH_SIMULATE_SCRIPTS", paths]);
        }
        command.args(["--setenv", "MEGALITH_SIMULATE_STRICT", if warmed && !self.cold { "1" } else { "0" }]);
        let script = self.script.strip_prefix(&tests)?;
        command.args(["/bin/sh", "-c", "exec 2>&1; . \"$0\""]).arg(Path::new("/test").join(script));
        let output = command.stdin(Stdio::null()).output().context("start bwrap")?;
        Ok(format!("{}{}\n", String::from_utf8_lossy(&output.stdout), output.status))
    }
}

fn same(expected: &str, got: &str, what: &str) -> Result<()> {
    if expected == got {
        return Ok(());
    }
    let (mut a, mut b) = (expected.lines(), got.lines());
    let mut number = 0;
    loop {
        number += 1;
        match (a.next(), b.next()) {
            (x, y) if x == y && x.is_some() => {}
            (x, y) => {
                bail!("{what}: line {number}:\nexpected {}\ngot      {}", x.unwrap_or("(end)"), y.unwrap_or("(end)"))
            }
        }
    }
}

/// Addresses and the like differ from one process to the next: they are replaced.
fn normal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("0x") {
        let (before, after) = rest.split_at(at + 2);
        out.push_str(before);
        out.push_str("...");
        rest = after.trim_start_matches(|c: char| c.is_ascii_hexdigit());
    }
    out + rest
}

fn main() -> Result<()> {
    let arguments = Arguments::from_args();
    setup::packages()?;
    let library = library()?;
    let python = polyfill::python::build()?;
    let debian = || Side { name: "Debian's", program: library.join("usr/bin/python3.11") };
    let cold = || Side { name: "cold", program: python.program.clone() };
    let simulated = || Side { name: "resumed", program: python.simulated.clone() };
    let tests = paths::root().join("polyfills/python/test");
    let scripts = |kind: &str| -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(tests.join(kind))?.filter_map(|e| Some(e.ok()?.path()));
        Ok(entries.filter(|p| p.extension().is_some_and(|e| e == "sh")).collect())
    };
    let name = |kind: &str, path: &Path| format!("python::{kind}::{}", path.file_stem().unwrap_or_default().display());
    let mut trials = Vec::new();
    for script in scripts("compare")? {
        let (library, sides) = (library.clone(), [debian(), cold(), simulated()]);
        trials.push(Trial::test(name("compare", &script), move || {
            let run = || -> Result<()> {
                let case = Case::read(script)?;
                let [expected, others @ ..] = &sides;
                let expected = normal(&case.run(&library, expected, false)?);
                for side in others {
                    let got = normal(&case.run(&library, side, side.name == "resumed")?);
                    let strictness = got.replace("'MEGALITH_SIMULATE_STRICT': '1'", "'MEGALITH_SIMULATE_STRICT': '0'");
                    same(&expected, &strictness.replace("STRICT', '1'", "STRICT', '0'"), side.name)?;
                }
                Ok(())
            };
            run().map_err(|e| format!("{e:#}").into())
        }));
    }
    for script in scripts("expect")? {
        let (library, side) = (library.clone(), simulated());
        trials.push(Trial::test(name("expect", &script), move || {
            let run = || -> Result<()> {
                let out = script.with_extension("out");
                let got = normal(&Case::read(script)?.run(&library, &side, true)?);
                // To be read before it is committed.
                if std::env::var_os("MEGALITH_WRITE_EXPECTED").is_some() {
                    fs::write(&out, &got)?;
                }
                same(&fs::read_to_string(out)?, &got, side.name)
            };
            run().map_err(|e| format!("{e:#}").into())
        }));
    }
    libtest_mimic::run(&arguments, trials).exit();
}
